/* Pictures of synthetic tweets as records describe them; `gmner paint` draws them. Shares of groundable entities and sizes
 * of boxes are like those of Twitter-GMNER: four entities in ten, a box taking a quarter of the picture. */
#include "data/synth_picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"

enum {
    WITH_PICTURE = 88, /* percent of the records */
    MOST_BOXES = 8,    /* of a picture */
    TRIES = 12         /* places tried for a box before it is made smaller, and sizes before it is left out */
};

static const int32_t sizes[][2] = {
    { 320, 240 }, { 240, 320 }, { 300, 300 }, { 400, 300 }, { 300, 400 }, { 360, 240 }
};

static const struct {
    const char *type;
    uint32_t percent; /* of its entities that can be seen */
} seen[] = { { "PER", 72 }, { "LOC", 22 }, { "ORG", 50 }, { "OTHER", 48 } };

typedef struct chooser {
    uint64_t seed;
    uint32_t number, purpose, drawn;
} chooser;

static uint32_t below(chooser *c, uint32_t n)
{
    const uint32_t i = c->drawn++;
    return gm_below(gm_philox(c->seed, i / 4, 0, c->number, c->purpose).word[i % 4], n);
}

static bool can_be_seen(chooser *c, const char *type)
{
    const uint32_t roll = below(c, 100);
    for (size_t i = 0; i < GM_LEN(seen); i++) {
        if (strcmp(type, seen[i].type) == 0) return roll < seen[i].percent;
    }
    return false;
}

/* Whether the two share more than a twentieth of the smaller one. */
static bool collide(const gm_box *a, const gm_box *b)
{
    const double w = fmin(a->x2, b->x2) - fmax(a->x1, b->x1), h = fmin(a->y2, b->y2) - fmax(a->y1, b->y1);
    if (w <= 0 || h <= 0) return false;
    return w * h * 20 > fmin((a->x2 - a->x1) * (a->y2 - a->y1), (b->x2 - b->x1) * (b->y2 - b->y1));
}

/* Finds a free place for a box; false when the picture is too full. */
static bool place_box(chooser *c, const gm_record *r, const gm_box *taken, int32_t count, gm_box *box)
{
    for (int size = 0; size < TRIES; size++) {
        const uint32_t least = 29 - (uint32_t)size, range = 68 - 5 * (uint32_t)size; /* percent of a side */
        const int32_t w = r->width * (int32_t)(least + below(c, range)) / 100;
        const int32_t h = r->height * (int32_t)(least + below(c, range)) / 100;
        for (int place = 0; place < TRIES; place++) {
            const double x = below(c, (uint32_t)(r->width - w + 1)), y = below(c, (uint32_t)(r->height - h + 1));
            *box = (gm_box) { x, y, x + w, y + h };
            int32_t i = 0;
            while (i < count && !collide(box, &taken[i])) i++;
            if (i == count) return true;
        }
    }
    return false;
}

static gm_status give_boxes(chooser *c, const gm_record *r, gm_entity *e, gm_box *taken, int32_t *count, gm_err *err)
{
    const uint32_t roll = below(c, 100);
    const int32_t wanted = roll < 85 ? 1 : roll < 97 ? 2 : 3;
    const int32_t first = *count;
    while (*count < MOST_BOXES && *count - first < wanted && place_box(c, r, taken, *count, &taken[*count])) ++*count;
    if (*count == first) return GM_OK;
    e->boxes = gm_malloc((size_t)(*count - first) * sizeof *e->boxes);
    if (e->boxes == NULL) return gm_fail(err, GM_ERR_NOMEM, "synth: no memory for the boxes of record %s", r->id);
    e->box_count = *count - first;
    memcpy(e->boxes, taken + first, (size_t)e->box_count * sizeof *e->boxes);
    return GM_OK;
}

gm_status gm_synth_picture(uint64_t seed, uint32_t number, uint32_t purpose, gm_record *r, gm_err *err)
{
    chooser c = { .seed = seed, .number = number, .purpose = purpose };
    gm_box taken[MOST_BOXES];
    int32_t count = 0;
    if (below(&c, 100) >= WITH_PICTURE) return GM_OK;
    const size_t room = strlen(r->id) + sizeof ".png";
    r->image = gm_malloc(room);
    if (r->image == NULL) return gm_fail(err, GM_ERR_NOMEM, "synth: no memory for the picture of record %s", r->id);
    snprintf(r->image, room, "%s.png", r->id);
    const uint32_t size = below(&c, (uint32_t)GM_LEN(sizes));
    r->width = sizes[size][0];
    r->height = sizes[size][1];
    for (int32_t i = 0; i < r->entity_count; i++) {
        if (can_be_seen(&c, r->entities[i].type)) GM_TRY(give_boxes(&c, r, &r->entities[i], taken, &count, err));
    }
    return GM_OK;
}
