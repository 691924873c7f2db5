/* An oracle stands for what is asked: it puts right the part that it is asked about and nothing else. A wrong span becomes
 * that of the gold entity that it overlaps most, among those that no other prediction stands for; where there is none, the
 * prediction is taken back. Type and region become those of the gold entity. A prediction counts for GMNER once all its
 * wrong parts were delegated, so the parts need each other, and the search looks at them together: from each of the eight
 * corners (a part wholly delegated or not at all) one threshold after the other is moved to its best place until none moves. */
#include "eval/thresholds.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

typedef struct one {
    double u[GM_PARTS]; /* NAN: cannot be delegated */
    bool is_wrong[GM_PARTS];
    bool has_gold; /* there is a gold entity that it stands for */
} one;

typedef struct all {
    one *items;
    size_t count, capacity;
    int64_t gold;
    double call_cost;
} all;

static bool is_over(double u, double threshold) { return u > threshold; } /* false for NAN */

bool gm_delegates(const gm_uncertainty *u, const gm_thresholds *t, gm_part part)
{
    const double norm[GM_PARTS] = { u->span_norm, u->type_norm, u->region_norm };
    return is_over(norm[part], t->of[part]);
}

/* ---- which gold entity a prediction stands for ---- */

static int32_t overlap(const gm_entity *a, const gm_entity *b)
{
    const int32_t first = a->start > b->start ? a->start : b->start, last = a->end < b->end ? a->end : b->end;
    return last - first + 1;
}

/* Gives predictions without a partner (-1) gold entities that have none, where all bits of `need` agree. */
static void take_partners(const gm_record_pair *s, const gm_eval_options *how, unsigned need, int32_t *partner,
                          bool *is_taken)
{
    for (int32_t p = 0; p < s->pred->entity_count; p++) {
        for (int32_t g = 0; g < s->gold->entity_count && partner[p] < 0; g++) {
            const unsigned same = gm_compare(s->pred, &s->pred->entities[p], s->gold, &s->gold->entities[g], how, NULL);
            if (is_taken[g] || (same & need) != need) continue;
            partner[p] = g;
            is_taken[g] = true;
        }
    }
}

/* The rest, the pair with the largest overlap first. */
static void take_overlapping(const gm_record_pair *s, int32_t *partner, bool *is_taken)
{
    for (;;) {
        int32_t most = 0, best_p = -1, best_g = -1;
        for (int32_t p = 0; p < s->pred->entity_count; p++) {
            for (int32_t g = 0; g < s->gold->entity_count && partner[p] < 0; g++) {
                const int32_t n = is_taken[g] ? 0 : overlap(&s->pred->entities[p], &s->gold->entities[g]);
                if (n <= most) continue;
                most = n;
                best_p = p;
                best_g = g;
            }
        }
        if (best_p < 0) return;
        partner[best_p] = best_g;
        is_taken[best_g] = true;
    }
}

/* Type and region of p against gold entity g, whatever the key: as if p had g's offsets. */
static one look_at(const gm_record_pair *s, int32_t p, int32_t g, const gm_eval_options *how)
{
    const gm_entity *e = &s->pred->entities[p];
    const gm_uncertainty *u = &e->uncertainty;
    one o = { .u = { u->span_norm, u->type_norm, u->region_norm }, .is_wrong = { true }, .has_gold = g >= 0 };
    if (g < 0) return o;
    const gm_entity *ge = &s->gold->entities[g];
    gm_entity moved = *e;
    moved.start = ge->start;
    moved.end = ge->end;
    const unsigned same = gm_compare(s->gold, &moved, s->gold, ge, how, NULL);
    o.is_wrong[GM_PART_SPAN] = gm_compare(s->pred, e, s->gold, ge, how, NULL) == 0;
    o.is_wrong[GM_PART_TYPE] = (same & GM_SAME_TYPE) == 0;
    o.is_wrong[GM_PART_REGION] = (same & GM_SAME_REGION) == 0;
    return o;
}

static gm_status add_sample(all *a, const gm_record_pair *s, const gm_eval_options *how, gm_err *err)
{
    static const unsigned needs[] = { GM_SAME_KEY | GM_SAME_TYPE | GM_SAME_REGION, GM_SAME_KEY | GM_SAME_TYPE,
                                      GM_SAME_KEY | GM_SAME_REGION, GM_SAME_KEY };
    a->gold += s->gold->entity_count;
    if (s->pred == NULL) return GM_OK;
    int32_t *partner = gm_calloc((size_t)s->pred->entity_count, sizeof *partner);
    bool *is_taken = gm_calloc((size_t)s->gold->entity_count, sizeof *is_taken);
    gm_status status = GM_OK;
    if (partner == NULL || is_taken == NULL) {
        status = gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the entities of \"%s\"", s->gold->id);
        goto out;
    }
    for (int32_t p = 0; p < s->pred->entity_count; p++) partner[p] = -1;
    for (size_t i = 0; i < GM_LEN(needs); i++) take_partners(s, how, needs[i], partner, is_taken);
    take_overlapping(s, partner, is_taken);
    for (int32_t p = 0; p < s->pred->entity_count && status == GM_OK; p++) {
        status = gm_grow((void **)&a->items, &a->capacity, a->count, sizeof *a->items, err);
        if (status == GM_OK) a->items[a->count++] = look_at(s, p, partner[p], how);
    }
out:
    gm_free(partner);
    gm_free(is_taken);
    return status;
}

static gm_status collect(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, all *a,
                         gm_err *err)
{
    gm_record_pair *samples;
    int64_t missing;
    GM_TRY(gm_pair_records(gold, pred, how, &samples, &missing, err));
    gm_status status = GM_OK;
    for (size_t i = 0; i < gold->count && status == GM_OK; i++) status = add_sample(a, &samples[i], how, err);
    gm_free(samples);
    return status;
}

/* ---- what thresholds give ---- */

static bool is_hit(const one *o, const bool *is_asked)
{
    bool is_right = o->has_gold;
    for (int part = 0; part < GM_PARTS; part++) is_right = is_right && (!o->is_wrong[part] || is_asked[part]);
    return is_right;
}

/* Taken back: the oracle finds no entity there. */
static bool is_taken_back(const one *o, const bool *is_asked) { return !o->has_gold && is_asked[GM_PART_SPAN]; }

static double cost_of(const all *a, int64_t calls)
{
    return a->count > 0 ? a->call_cost * 100.0 * (double)calls / (double)a->count : 0.0;
}

static void tally(const all *a, const gm_thresholds *t, gm_delegation *d)
{
    static const bool nothing[GM_PARTS] = { false };
    int64_t calls = 0;
    *d = (gm_delegation) { .thresholds = *t, .predictions = (int64_t)a->count };
    d->before = d->after = (gm_score) { .n_pred = (int64_t)a->count, .n_gold = a->gold };
    for (size_t i = 0; i < a->count; i++) {
        const one *o = &a->items[i];
        bool is_asked[GM_PARTS];
        for (int part = 0; part < GM_PARTS; part++) {
            is_asked[part] = is_over(o->u[part], t->of[part]);
            d->calls[part] += is_asked[part];
            d->wrong[part] += o->is_wrong[part];
            d->corrected[part] += o->is_wrong[part] && is_asked[part];
        }
        d->before.tp += is_hit(o, nothing);
        d->after.tp += is_hit(o, is_asked);
        d->after.n_pred -= is_taken_back(o, is_asked);
    }
    for (int part = 0; part < GM_PARTS; part++) calls += d->calls[part];
    d->cost = cost_of(a, calls);
    d->gain = 100.0 * (gm_f1(d->after) - gm_f1(d->before)) - d->cost;
}

/* ---- the search ---- */

typedef struct ranked_part {
    double u;
    const one *o;
} ranked_part;

static int most_uncertain_first(const void *x, const void *y)
{
    const ranked_part *a = x, *b = y;
    return (a->u < b->u) - (a->u > b->u);
}

/* A threshold that lets through u and all above it and nothing that is not above `next`. */
static double between(double next, double u)
{
    const double middle = next + (u - next) / 2;
    return middle < u ? middle : next;
}

/* Moves the threshold of one part to its best place, the others as they are: walks down from "nothing is delegated", one
 * block of equal values at a time. Of equally good places the one with fewer calls stays. */
static bool improve(const all *a, gm_part part, ranked_part *scratch, gm_delegation *best)
{
    gm_thresholds t = best->thresholds;
    size_t n = 0;
    t.of[part] = INFINITY;
    gm_delegation now;
    tally(a, &t, &now);
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].u[part] > 0) scratch[n++] = (ranked_part) { a->items[i].u[part], &a->items[i] };
    qsort(scratch, n, sizeof *scratch, most_uncertain_first);
    gm_score after = now.after;
    int64_t calls = now.calls[0] + now.calls[1] + now.calls[2];
    double top = now.gain, place = n > 0 ? fmax(1.0, scratch[0].u) : 1.0;
    for (size_t i = 0; i < n; i++) {
        bool is_asked[GM_PARTS];
        for (int k = 0; k < GM_PARTS; k++) is_asked[k] = is_over(scratch[i].o->u[k], t.of[k]);
        is_asked[part] = false;
        after.tp -= is_hit(scratch[i].o, is_asked);
        after.n_pred += is_taken_back(scratch[i].o, is_asked);
        is_asked[part] = true;
        after.tp += is_hit(scratch[i].o, is_asked);
        after.n_pred -= is_taken_back(scratch[i].o, is_asked);
        calls++;
        const double next = i + 1 < n ? scratch[i + 1].u : 0.0;
        const double gain = 100.0 * (gm_f1(after) - gm_f1(now.before)) - cost_of(a, calls);
        if (next == scratch[i].u || gain <= top) continue;
        top = gain;
        place = between(next, scratch[i].u);
    }
    if (top <= best->gain) return false;
    t.of[part] = place;
    tally(a, &t, best);
    return true;
}

static void climb(const all *a, ranked_part *scratch, gm_delegation *d)
{
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        for (int part = 0; part < GM_PARTS; part++) is_moving = improve(a, (gm_part)part, scratch, d) || is_moving;
    }
}

static double largest(const all *a, gm_part part)
{
    double top = 1.0;
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].u[part] > top) top = a->items[i].u[part];
    return top;
}

gm_status gm_thresholds_score(const gm_records *gold, const gm_records *pred, const gm_eval_options *how,
                              double call_cost, const gm_thresholds *t, gm_delegation *d, gm_err *err)
{
    all a = { .call_cost = call_cost };
    const gm_status status = collect(gold, pred, how, &a, err);
    if (status == GM_OK) tally(&a, t, d);
    gm_free(a.items);
    return status;
}

static bool has_any(const all *a)
{
    for (size_t i = 0; i < a->count; i++)
        for (int part = 0; part < GM_PARTS; part++)
            if (!isnan(a->items[i].u[part])) return true;
    return false;
}

gm_status gm_thresholds_pick(const gm_records *gold, const gm_records *pred, const gm_eval_options *how,
                             double call_cost, gm_delegation *d, gm_err *err)
{
    all a = { .call_cost = call_cost };
    ranked_part *scratch = NULL;
    if (!(call_cost >= 0 && isfinite(call_cost)))
        return gm_fail(err, GM_ERR_USAGE, "the cost of calls is %g; expected a number from 0", call_cost);
    gm_status status = collect(gold, pred, how, &a, err);
    if (status == GM_OK && !has_any(&a))
        status = gm_fail(
            err, GM_ERR_DATA,
            "none of the %zu predicted entities carries span_norm, type_norm or region_norm in \"uncertainty\": "
            "thresholds need them",
            a.count);
    if (status == GM_OK && (scratch = gm_calloc(a.count, sizeof *scratch)) == NULL)
        status = gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu predictions", a.count);
    for (unsigned corner = 0; corner < 1u << GM_PARTS && status == GM_OK; corner++) {
        gm_thresholds t;
        gm_delegation found;
        for (int part = 0; part < GM_PARTS; part++) t.of[part] = corner >> part & 1u ? 0.0 : largest(&a, (gm_part)part);
        tally(&a, &t, &found);
        climb(&a, scratch, &found);
        if (corner == 0 || found.gain > d->gain) *d = found;
    }
    gm_free(scratch);
    gm_free(a.items);
    return status;
}
