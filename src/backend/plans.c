#include "backend/plans.h"

#include <string.h>

#include "base/memory.h"

enum { FIRST_CAPACITY = 256 };

static size_t home(const gm_plan_table *t, const void *key)
{
    uint64_t h = 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < t->key_words; i++) {
        uint32_t word;
        memcpy(&word, (const char *)key + i * sizeof word, sizeof word);
        h = (h ^ word) * 0xD6E8FEB86659FD93u ^ (h >> 29);
    }
    return (size_t)h % t->capacity;
}

/* The slot of the plan with this key, or the free one where it would stand. */
static void **place(const gm_plan_table *t, const void *key)
{
    size_t at = home(t, key);
    while (t->slot[at] != NULL && memcmp(t->slot[at], key, t->key_words * sizeof(uint32_t)) != 0) at = (at + 1) % t->capacity;
    return &t->slot[at];
}

void *gm_plan_table_find(const gm_plan_table *t, const void *key) { return t->capacity > 0 ? *place(t, key) : NULL; }

/* Doubles the table before it is three quarters full. */
static gm_status make_room(gm_plan_table *t, gm_err *err)
{
    if (t->count * 4 < t->capacity * 3) return GM_OK;
    gm_plan_table wider = { .capacity = t->capacity > 0 ? 2 * t->capacity : FIRST_CAPACITY, .count = t->count, .key_words = t->key_words };
    wider.slot = gm_calloc(wider.capacity, sizeof *wider.slot);
    if (wider.slot == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu plans", wider.capacity);
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slot[i] != NULL) *place(&wider, t->slot[i]) = t->slot[i];
    gm_free(t->slot);
    *t = wider;
    return GM_OK;
}

gm_status gm_plan_table_add(gm_plan_table *t, void *plan, gm_err *err)
{
    GM_TRY(make_room(t, err));
    *place(t, plan) = plan;
    t->count++;
    return GM_OK;
}

void gm_plan_table_free(gm_plan_table *t, void (*destroy)(void *plan))
{
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slot[i] != NULL) destroy(t->slot[i]);
    gm_free(t->slot);
    *t = (gm_plan_table){ .key_words = t->key_words };
}
