#include "model/scene.h"

#include <math.h>
#include <string.h>

#include "base/bf16.h"
#include "base/memory.h"
#include "cross_entropy/cross_entropy.h"
#include "model/batch.h"
#include "model/heads.h"
#include "model/region_target.h"

void gm_picture_free(gm_picture *p)
{
    gm_regions_free(&p->regions);
    gm_free(p->crops);
    gm_free(p->target);
    gm_free(p->iou);
    *p = (gm_picture){ 0 };
}

/* The record's entity that the sample's k-th gold span was made of. */
static const gm_entity *entity_of(const gm_sample *s, int32_t k)
{
    for (int32_t i = 0; i < s->record->entity_count; i++)
        if (s->record->entities[i].end < s->text.words && k-- == 0) return &s->record->entities[i];
    return NULL;
}

static gm_status aim(gm_sample *s, gm_err *err)
{
    gm_picture *p = &s->picture;
    const size_t row = (size_t)p->regions.count + 1, cells = (size_t)s->gold_count * row;
    if (p->regions.count == 0 || s->gold_count == 0) return GM_OK;
    p->target = gm_calloc(cells, sizeof *p->target);
    p->iou = gm_calloc(cells, sizeof *p->iou);
    if (p->target == NULL || p->iou == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the regions of \"%s\"", s->record->id);
    for (int32_t k = 0; k < s->gold_count; k++) {
        const gm_entity *e = entity_of(s, k);
        gm_region_target(p->regions.box, p->regions.count, e->boxes, e->box_count, 0.5, p->target + (size_t)k * row, p->iou + (size_t)k * row);
    }
    return GM_OK;
}

gm_status gm_picture_take(gm_sample *s, gm_region_source *source, gm_err *err)
{
    gm_image_status why;
    GM_TRY(gm_region_source_get(source, s->record, &s->picture.regions, &s->picture.crops, &why, err));
    return aim(s, err);
}

/* The arrays of a scene while they are filled. */
typedef struct arrays {
    int32_t *counts;              /* regions, entities */
    int32_t *cu_regions, *cu_entities, *cu_scores;
    gm_token *region, *entity;
    gm_entity_span *span;
    char *feature, *geometry;
    uint8_t *crops, *fine;
    float *target, *iou;
} arrays;

typedef struct rooms { int32_t sequences, regions, entities, scores; } rooms;

static void *piece(char *block, size_t *at, size_t bytes)
{
    void *here = block != NULL ? block + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static size_t crop_bytes(gm_scene_options o) { return (size_t)o.side * (size_t)o.side * 3; }

static size_t lay_out(arrays *a, char *block, rooms n, gm_scene_options o, size_t element)
{
    const size_t i32 = sizeof(int32_t), b = (size_t)n.sequences, r = (size_t)n.regions, e = (size_t)n.entities, k = (size_t)n.scores;
    size_t at = 0;
    a->counts = piece(block, &at, 2 * i32);
    a->cu_regions = piece(block, &at, (b + 1) * i32);
    a->region = piece(block, &at, r * sizeof(gm_token));
    a->feature = piece(block, &at, r * (size_t)o.feature_width * element);
    a->geometry = piece(block, &at, r * GM_REGION_GEOMETRY * element);
    a->crops = piece(block, &at, r * crop_bytes(o));
    a->cu_entities = piece(block, &at, (b + 1) * i32);
    a->entity = piece(block, &at, e * sizeof(gm_token));
    a->span = piece(block, &at, e * sizeof(gm_entity_span));
    a->cu_scores = piece(block, &at, (e + 1) * i32);
    a->target = piece(block, &at, k * sizeof(float));
    a->iou = piece(block, &at, k * sizeof(float));
    a->fine = piece(block, &at, e);
    return at;
}

/* Numbers as activations are kept. */
static void put(char *to, size_t at, const float *from, size_t count, size_t element)
{
    if (element == sizeof(float)) {
        memcpy(to + at * element, from, count * element);
        return;
    }
    uint16_t *half = (uint16_t *)(void *)to + at;
    for (size_t i = 0; i < count; i++) half[i] = gm_bf16_of(from[i]);
}

static void describe(const gm_regions *r, int32_t k, float row[GM_REGION_GEOMETRY])
{
    const gm_box box = r->box[k];
    const double w = r->width > 0 ? r->width : 1.0, h = r->height > 0 ? r->height : 1.0, wide = (box.x2 - box.x1) / w, high = (box.y2 - box.y1) / h;
    const double of_box[GM_REGION_GEOMETRY] = { box.x1 / w, box.y1 / h, box.x2 / w, box.y2 / h, wide * high, wide, high, r->score != NULL ? (double)r->score[k] : 0.0 };
    for (int c = 0; c < GM_REGION_GEOMETRY; c++) row[c] = (float)of_box[c];
}

static void fill_regions(arrays *a, int32_t b, const gm_sample *s, gm_scene_options o, size_t element)
{
    const gm_picture *p = &s->picture;
    const int32_t at = a->cu_regions[b];
    for (int32_t k = 0; k < p->regions.count; k++) {
        float row[GM_REGION_GEOMETRY];
        const size_t to = (size_t)(at + k);
        a->region[to] = (gm_token){ b, k };
        describe(&p->regions, k, row);
        put(a->geometry, to * GM_REGION_GEOMETRY, row, GM_REGION_GEOMETRY, element);
        if (o.feature_width > 0)
            put(a->feature, to * (size_t)o.feature_width, p->regions.feature + (size_t)k * (size_t)o.feature_width, (size_t)o.feature_width, element);
        if (o.side > 0) memcpy(a->crops + to * crop_bytes(o), p->crops + (size_t)k * crop_bytes(o), crop_bytes(o));
    }
    a->cu_regions[b + 1] = at + p->regions.count;
}

/* Gold entities that the span head can have found; `word`: row of the sentence's first word. */
static void fill_entities(arrays *a, int32_t b, const gm_sample *s, int32_t word)
{
    const size_t row = (size_t)s->picture.regions.count + 1;
    int32_t e = a->cu_entities[b];
    for (int32_t k = 0; k < s->gold_count; k++) {
        const gm_span g = s->gold[k];
        if (g.end - g.start >= GM_SPAN_WIDTHS) continue;
        const int32_t at = a->cu_scores[e];
        a->entity[e] = (gm_token){ b, e - a->cu_entities[b] };
        a->span[e] = (gm_entity_span){ word + g.start, word + g.end };
        a->fine[e] = s->gold_fine != NULL ? s->gold_fine[k] : GM_NO_LABEL;
        if (s->picture.target != NULL) {
            memcpy(a->target + at, s->picture.target + (size_t)k * row, row * sizeof(float));
            memcpy(a->iou + at, s->picture.iou + (size_t)k * row, row * sizeof(float));
        }
        a->cu_scores[++e] = at + (int32_t)row;
    }
    a->cu_entities[b + 1] = e;
}

static bool has_pixels(const gm_picture *p, gm_scene_options o)
{
    return p->regions.count == 0 || ((o.feature_width == 0 || (p->regions.feature != NULL && p->regions.feature_width == o.feature_width)) &&
                                     (o.side == 0 || p->crops != NULL));
}

static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

/* Room for what the samples bring, and at least what the options ask for. */
static gm_status measure(const gm_batch *b, const gm_sample *const *samples, int32_t count, gm_scene_options o, rooms *n, gm_err *err)
{
    int32_t regions = 0, entities = 0, scores = 0;
    for (int32_t i = 0; i < count; i++) {
        const int32_t k = samples[i]->picture.regions.count;
        if (!has_pixels(&samples[i]->picture, o))
            return gm_fail(err, GM_ERR_DATA, "\"%s\": the features of its regions are missing, or are not of the model's width", samples[i]->record->id);
        regions += k;
        entities += samples[i]->gold_count;
        scores += samples[i]->gold_count * (k + 1);
    }
    n->sequences = b->tokens.sequences;
    n->regions = gm_batch_capacity(b, most(regions, o.regions));
    n->entities = gm_batch_capacity(b, most(entities, o.entities));
    n->scores = most(scores, o.entities * (o.max_regions + 1));
    return GM_OK;
}

/* The packs and arrays as kernels read them. */
static void show(gm_scene *s, const arrays *a, const gm_batch *b, rooms n, gm_scene_options o, int32_t regions, int32_t entities)
{
    s->regions = (gm_pack){ a->cu_regions, a->region, &a->counts[0], b->tokens.key, b->tokens.draw, regions, n.regions, n.sequences };
    s->feature = o.feature_width > 0 ? a->feature : NULL;
    s->geometry = a->geometry;
    s->crops = o.side > 0 ? a->crops : NULL;
    s->gold = (gm_asked){ .pack = { a->cu_entities, a->entity, &a->counts[1], b->tokens.key, b->tokens.draw, entities, n.entities, n.sequences },
                          .span = a->span, .cu_scores = a->cu_scores, .target = a->target, .iou = a->iou, .fine = a->fine, .scores = n.scores };
}

gm_status gm_scene_reserve(gm_scene *s, int32_t sequences, gm_scene_options o, gm_device *dev, gm_err *err)
{
    arrays a;
    const gm_batch of = { .dev = dev };
    const rooms n = { sequences, gm_batch_capacity(&of, o.regions), gm_batch_capacity(&of, o.entities), o.entities * (o.max_regions + 1) };
    return gm_mirror_make(&s->block, lay_out(&a, NULL, n, o, dev->element), dev, err);
}

gm_status gm_scene_fill(gm_batch *b, const gm_sample *const *samples, int32_t count, gm_scene_options o, gm_err *err)
{
    gm_scene *s = &b->scene;
    const size_t element = b->dev != NULL ? b->dev->element : sizeof(float);
    arrays a;
    rooms n;
    GM_TRY(measure(b, samples, count, o, &n, err));
    const size_t bytes = lay_out(&a, NULL, n, o, element);
    if (bytes > s->block.bytes) GM_TRY(gm_mirror_make(&s->block, bytes + bytes / 2, b->dev, err));
    lay_out(&a, s->block.host, n, o, element);
    memset(s->block.host, 0, bytes);
    for (int32_t i = 0; i < n.sequences; i++) {
        a.cu_regions[i + 1] = a.cu_regions[i];
        a.cu_entities[i + 1] = a.cu_entities[i];
        if (i >= count) continue;
        fill_regions(&a, i, samples[i], o, element);
        fill_entities(&a, i, samples[i], b->word_cu[i]);
    }
    const int32_t regions = a.counts[0] = a.cu_regions[n.sequences], entities = a.counts[1] = a.cu_entities[n.sequences];
    for (int32_t e = entities; e < n.entities; e++) a.cu_scores[e + 1] = a.cu_scores[entities];
    memset(a.fine + entities, GM_NO_LABEL, (size_t)(n.entities - entities));
    s->region_cu = a.cu_regions;
    lay_out(&a, s->block.device, n, o, element);
    show(s, &a, b, n, o, regions, entities);
    return gm_mirror_send(&s->block, bytes, b->dev);
}

/* On a device the memory of a pass is measured before anything is found: there is room for all that could be. */
static int32_t room_for(const gm_batch *b, int32_t entities, bool is_nested)
{
    const bool is_host = b->dev == NULL || b->dev->memory->is_host;
    return is_host ? gm_batch_capacity(b, entities) : b->words.capacity * (is_nested ? GM_SPAN_WIDTHS : 1);
}

static int32_t most_regions(const gm_batch *b)
{
    int32_t k = 0;
    for (int32_t s = 0; b->scene.region_cu != NULL && s < b->sentences; s++) k = most(k, b->scene.region_cu[s + 1] - b->scene.region_cu[s]);
    return k;
}

gm_status gm_asked_of_found(gm_tape *t, const gm_batch *b, const gm_found *found, const int32_t *first, bool is_nested, gm_asked *a)
{
    const int32_t entities = first[b->sentences], room = room_for(b, entities, is_nested), sequences = b->tokens.sequences;
    const bool sees = b->scene.region_cu != NULL;
    int32_t *n, *cu, *cu_scores;
    gm_token *token;
    gm_entity_span *span;
    GM_TRY(gm_tape_note(t, sizeof *n, &n));
    GM_TRY(gm_tape_note(t, (size_t)(sequences + 1) * sizeof *cu, &cu));
    GM_TRY(gm_tape_note(t, (size_t)(room + 1) * sizeof *cu_scores, &cu_scores));
    GM_TRY(gm_tape_note(t, (size_t)room * sizeof *token, &token));
    GM_TRY(gm_tape_note(t, (size_t)room * sizeof *span, &span));
    memset(token, 0, (size_t)room * sizeof *token);
    memset(span, 0, (size_t)room * sizeof *span);
    cu[0] = cu_scores[0] = 0;
    for (int32_t s = 0; s < sequences; s++) {
        const int32_t from = s < b->sentences ? first[s] : entities, to = s < b->sentences ? first[s + 1] : entities;
        const int32_t regions = sees && s < b->sentences ? b->scene.region_cu[s + 1] - b->scene.region_cu[s] : 0;
        cu[s + 1] = to;
        for (int32_t e = from; e < to; e++) {
            token[e] = (gm_token){ s, e - from };
            const int32_t start = b->word_cu[s] + found[e].start, width = found[e].end - found[e].start; /* tags know no widest span */
            span[e] = (gm_entity_span){ start, start + (width < GM_SPAN_WIDTHS ? width : GM_SPAN_WIDTHS - 1) };
            cu_scores[e + 1] = cu_scores[e] + regions + 1;
        }
    }
    for (int32_t e = entities; e < room; e++) cu_scores[e + 1] = cu_scores[entities];
    *n = entities;
    *a = (gm_asked){ .pack = { .key = b->tokens.key, .draw = b->tokens.draw, .rows = entities, .capacity = room, .sequences = sequences },
                     .scores = room * (most_regions(b) + 1) };
    GM_TRY(gm_tape_bring(t, n, sizeof *n, &a->pack.n));
    GM_TRY(gm_tape_bring(t, cu, (size_t)(sequences + 1) * sizeof *cu, &a->pack.cu));
    GM_TRY(gm_tape_bring(t, token, (size_t)room * sizeof *token, &a->pack.token));
    GM_TRY(gm_tape_bring(t, span, (size_t)room * sizeof *span, &a->span));
    return gm_tape_bring(t, cu_scores, (size_t)(room + 1) * sizeof *cu_scores, &a->cu_scores);
}
