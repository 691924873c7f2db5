/* Entities are ordered once; the budget cuts the list. A share rounds to the nearest whole entity. */
#include "mllm/route.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"

typedef struct item {
    double u;
    const char *id;
    size_t at; /* number of the entity */
    uint8_t parts;
} item;

static int most_unsure_first(const void *x, const void *y)
{
    const item *a = x, *b = y;
    if (a->u != b->u) return a->u < b->u ? 1 : -1;
    const int ids = strcmp(a->id, b->id);
    return ids != 0 ? ids : (a->at > b->at) - (a->at < b->at);
}

static double chance(const gm_record *r, int32_t index, uint64_t seed)
{
    return (double)gm_uniform(gm_philox(seed, (uint32_t)index, 0, gm_fnv1a(r->id), GM_SITE_BASELINE).word[0]);
}

/* The parts of an entity that can be handed on, and its place in the order. */
static item look_at(const gm_record *r, int32_t index, const gm_route_options *o, size_t at)
{
    const gm_entity *e = &r->entities[index];
    const double norm[GM_PARTS] = { e->uncertainty.span_norm, e->uncertainty.type_norm, e->uncertainty.region_norm };
    const bool has_softmax = o->by == GM_ROUTE_BY_SOFTMAX;
    item it = { .u = -INFINITY, .id = r->id, .at = at };
    for (int part = 0; part < GM_PARTS; part++) {
        if (!o->asks[part] || isnan(norm[part]) || (part == GM_PART_REGION && norm[part] <= 0)) continue;
        const double u = has_softmax ? gm_measure_of(e, (gm_part)part, GM_BY_SOFTMAX) : norm[part];
        if (isnan(u)) continue;
        it.parts = (uint8_t)(it.parts | 1u << part);
        it.u = fmax(it.u, u);
    }
    if (o->by == GM_ROUTE_BY_CHANCE) it.u = chance(r, index, o->seed);
    return it;
}

static uint8_t over_thresholds(const gm_entity *e, const gm_route_options *o)
{
    uint8_t parts = 0;
    for (int part = 0; part < GM_PARTS; part++)
        if (o->asks[part] && gm_delegates(&e->uncertainty, &o->thresholds, (gm_part)part)) parts = (uint8_t)(parts | 1u << part);
    return parts;
}

/* The first parts of a mask, no more than `room`: later ones see the result of earlier ones, never the other way. */
static uint8_t first_parts(uint8_t parts, int64_t room)
{
    uint8_t kept = 0;
    for (int part = 0; part < GM_PARTS && room > 0; part++) {
        if (((unsigned)parts >> part & 1u) == 0) continue;
        kept = (uint8_t)(kept | 1u << part);
        room--;
    }
    return kept;
}

static int64_t count_parts(uint8_t parts) { return (parts & 1) + (parts >> 1 & 1) + (parts >> 2 & 1); }

static void spend(const item *items, size_t count, const gm_route_options *o, gm_route *to)
{
    int64_t calls = o->calls >= 0 ? o->calls : INT64_MAX;
    size_t left = o->share >= 0 ? (size_t)nearbyint(o->share * (double)to->entities) : SIZE_MAX;
    for (size_t i = 0; i < count && calls > 0 && left > 0; i++, left--) {
        to->parts[items[i].at] = first_parts(items[i].parts, calls);
        calls -= count_parts(to->parts[items[i].at]);
    }
}

static gm_status by_budget(const gm_records *pred, const gm_route_options *o, gm_route *to, gm_err *err)
{
    size_t count = 0;
    item *items = gm_calloc(to->entities + 1, sizeof *items);
    if (items == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the order of %zu entities", to->entities);
    for (size_t i = 0; i < pred->count; i++) {
        for (int32_t k = 0; k < pred->items[i].entity_count; k++) {
            items[count] = look_at(&pred->items[i], k, o, to->first[i] + (size_t)k);
            count += items[count].parts != 0;
        }
    }
    const bool wants = o->calls != 0 && o->share != 0;
    gm_status status = GM_OK;
    if (count == 0 && to->entities > 0 && wants)
        status = gm_fail(err, GM_ERR_DATA, "no prediction carries a number to order them by; `gmner predict --samples 10` gives uncertainties");
    qsort(items, count, sizeof *items, most_unsure_first);
    if (status == GM_OK) spend(items, count, o, to);
    gm_free(items);
    return status;
}

gm_status gm_route_make(const gm_records *pred, const gm_route_options *o, gm_route *to, gm_err *err)
{
    *to = (gm_route){ .first = gm_calloc(pred->count + 1, sizeof *to->first) };
    for (size_t i = 0; i < pred->count && to->first != NULL; i++) {
        to->first[i] = to->entities;
        to->entities += (size_t)pred->items[i].entity_count;
    }
    to->parts = gm_calloc(to->entities + 1, sizeof *to->parts);
    gm_status status = GM_OK;
    if (to->first == NULL || to->parts == NULL) status = gm_fail(err, GM_ERR_NOMEM, "out of memory for the routes of %zu records", pred->count);
    else if (o->share > 1) status = gm_fail(err, GM_ERR_USAGE, "a share of %g is more than all", o->share);
    else if (o->calls >= 0 || o->share >= 0) status = by_budget(pred, o, to, err);
    else
        for (size_t i = 0; i < pred->count; i++)
            for (int32_t k = 0; k < pred->items[i].entity_count; k++) to->parts[to->first[i] + (size_t)k] = over_thresholds(&pred->items[i].entities[k], o);
    for (size_t i = 0; i < to->entities && status == GM_OK; i++) {
        to->delegated += to->parts[i] != 0;
        for (int part = 0; part < GM_PARTS; part++) to->calls[part] += to->parts[i] >> part & 1;
    }
    if (status != GM_OK) gm_route_free(to);
    return status;
}

void gm_route_free(gm_route *r)
{
    gm_free(r->parts);
    gm_free(r->first);
    *r = (gm_route){ 0 };
}
