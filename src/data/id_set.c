/* Open addressing with linear steps, at most half full, so that a free slot always ends a search. */
#include "data/id_set.h"

#include <string.h>

#include "base/memory.h"
#include "base/philox.h"

/* The slot that holds the text, or the free one where it belongs. */
static gm_id_slot *find(const gm_id_set *s, const char *text)
{
    size_t i = gm_fnv1a(text) & (s->capacity - 1);
    while (s->slots[i].text != NULL && strcmp(s->slots[i].text, text) != 0) i = (i + 1) & (s->capacity - 1);
    return &s->slots[i];
}

static gm_status grow(gm_id_set *s, gm_err *err)
{
    gm_id_set larger = { .capacity = s->capacity ? s->capacity * 2 : 64, .count = s->count };
    larger.slots = gm_calloc(larger.capacity, sizeof *larger.slots);
    if (larger.slots == NULL)
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for a table of %zu ids", larger.capacity);
    for (size_t i = 0; i < s->capacity; i++)
        if (s->slots[i].text != NULL) *find(&larger, s->slots[i].text) = s->slots[i];
    gm_free(s->slots);
    *s = larger;
    return GM_OK;
}

gm_status gm_id_set_add(gm_id_set *s, const char *text, size_t place, size_t *first, gm_err *err)
{
    if (s->count * 2 >= s->capacity) GM_TRY(grow(s, err));
    gm_id_slot *slot = find(s, text);
    if (slot->text == NULL) {
        slot->text = gm_strdup(text);
        if (slot->text == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for an id of %zu bytes", strlen(text));
        slot->place = place;
        s->count++;
    }
    *first = slot->place;
    return GM_OK;
}

bool gm_id_set_has(const gm_id_set *s, const char *text) { return s->capacity > 0 && find(s, text)->text != NULL; }

void gm_id_set_free(gm_id_set *s)
{
    for (size_t i = 0; i < s->capacity; i++) gm_free(s->slots[i].text);
    gm_free(s->slots);
    *s = (gm_id_set) { 0 };
}
