/* A prediction is right once all its wrong parts were asked about, so the parts need each other, and the search looks at them
 * together: from each of the eight corners (a part wholly delegated or not at all) one threshold after the other is moved to its
 * best place until none moves. Moving a threshold past one entity changes the score of that entity's sample alone.
 *
 * With a limit on calls the parts also compete, and moving one at a time cannot take calls from one for another. There the search
 * looks for a price at which as many calls pay as are allowed: for every price all parts are judged by the same measure. */
#include "eval/thresholds.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

enum { PRICES = 12 }; /* tries at finding the price of calls */

typedef struct ranked_part {
    double u;
    size_t item;
} ranked_part;

typedef struct search {
    const gm_threshold_search *s;
    double price; /* of a percent of calls */
    int64_t most_calls;
    uint8_t *asked;     /* [entities] */
    size_t *first;      /* [samples]: where the entities of a sample begin */
    gm_score *scores;   /* [samples] as they are asked now */
    ranked_part *order; /* [entities], scratch */
    gm_score sum;
    int64_t calls;
} search;

typedef struct place {
    gm_thresholds t;
    int64_t calls;
    double gain; /* -INFINITY: more calls than allowed */
} place;

/* ---- what is asked, and what it scores ---- */

static gm_status score_sample(search *x, size_t sample, gm_err *err)
{
    gm_score new;
    GM_TRY(x->s->score(x->s->user, sample, x->asked + x->first[sample], &new, err));
    x->sum.tp += new.tp - x->scores[sample].tp;
    x->sum.n_pred += new.n_pred - x->scores[sample].n_pred;
    x->sum.n_gold += new.n_gold - x->scores[sample].n_gold;
    x->scores[sample] = new;
    return GM_OK;
}

static gm_status ask(search *x, const gm_thresholds *t, gm_err *err)
{
    x->calls = 0;
    for (size_t i = 0; i < x->s->count; i++) {
        const gm_delegable *d = &x->s->items[i];
        x->asked[i] = 0;
        for (int part = 0; part < GM_PARTS; part++)
            if (d->u[part] > t->of[part]) { /* false for NAN */
                x->asked[i] = (uint8_t)(x->asked[i] | 1u << part);
                x->calls++;
            }
    }
    for (size_t i = 0; i < x->s->count; i++)
        if (i == 0 || x->s->items[i].sample != x->s->items[i - 1].sample)
            GM_TRY(score_sample(x, x->s->items[i].sample, err));
    return GM_OK;
}

static double gain_of(const search *x)
{
    if (x->most_calls >= 0 && x->calls > x->most_calls) return -INFINITY;
    return 100.0 * gm_f1(x->sum) - x->price * 100.0 * (double)x->calls / (double)x->s->count;
}

/* ---- climbing ---- */

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
static gm_status improve(search *x, gm_part part, place *best, bool *is_moving, gm_err *err)
{
    place p = { .t = best->t };
    size_t n = 0;
    p.t.of[part] = INFINITY;
    GM_TRY(ask(x, &p.t, err));
    for (size_t i = 0; i < x->s->count; i++)
        if (x->s->items[i].u[part] > 0) x->order[n++] = (ranked_part) { x->s->items[i].u[part], i };
    qsort(x->order, n, sizeof *x->order, most_uncertain_first);
    p.gain = gain_of(x);
    p.calls = x->calls;
    p.t.of[part] = n > 0 ? fmax(1.0, x->order[0].u) : 1.0;
    for (size_t i = 0; i < n; i++) {
        const size_t item = x->order[i].item;
        x->asked[item] = (uint8_t)(x->asked[item] | 1u << part);
        x->calls++;
        GM_TRY(score_sample(x, x->s->items[item].sample, err));
        const double next = i + 1 < n ? x->order[i + 1].u : 0.0, gain = gain_of(x);
        if (next == x->order[i].u || gain <= p.gain) continue;
        p.gain = gain;
        p.calls = x->calls;
        p.t.of[part] = between(next, x->order[i].u);
    }
    *is_moving = p.gain > best->gain;
    if (*is_moving) *best = p;
    return GM_OK;
}

static gm_status climb(search *x, gm_thresholds from, place *to, gm_err *err)
{
    *to = (place) { .t = from };
    GM_TRY(ask(x, &from, err));
    to->gain = gain_of(x);
    to->calls = x->calls;
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        for (int part = 0; part < GM_PARTS; part++) {
            bool moved;
            GM_TRY(improve(x, (gm_part)part, to, &moved, err));
            is_moving = is_moving || moved;
        }
    }
    return GM_OK;
}

static double largest(const gm_threshold_search *s, int part)
{
    double top = 1.0;
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].u[part] > top) top = s->items[i].u[part];
    return top;
}

static gm_status from_corners(search *x, place *best, gm_err *err)
{
    for (unsigned corner = 0; corner < 1u << GM_PARTS; corner++) {
        gm_thresholds t;
        place found;
        for (int part = 0; part < GM_PARTS; part++) t.of[part] = corner >> part & 1u ? 0.0 : largest(x->s, part);
        GM_TRY(climb(x, t, &found, err));
        if (corner == 0 || found.gain > best->gain) *best = found;
    }
    return GM_OK;
}

/* ---- a limit on calls ---- */

/* What a place gains at the caller's price. */
static double worth(const search *x, const place *p, double price)
{
    return p->gain + (x->price - price) * 100.0 * (double)p->calls / (double)x->s->count;
}

static gm_status within_limit(search *x, place *best, gm_err *err)
{
    const gm_threshold_search *s = x->s;
    /* At the highest price no call pays: a single one costs more than the 100 points that there are. */
    double low = fmax(s->call_cost, 1e-4), high = fmax((double)s->count, 2 * low), top = -INFINITY;
    place p, kept = *best;
    for (int i = 0; i < PRICES; i++) {
        x->price = sqrt(low * high);
        GM_TRY(from_corners(x, &p, err));
        if (p.calls > s->calls) {
            low = x->price;
            continue;
        }
        high = x->price;
        if (worth(x, &p, s->call_cost) <= top) continue;
        top = worth(x, &p, s->call_cost);
        kept = p;
    }
    x->price = s->call_cost;
    x->most_calls = s->calls;
    GM_TRY(from_corners(x, best, err));
    GM_TRY(climb(x, kept.t, &p, err));
    if (p.gain > best->gain) *best = p;
    return GM_OK;
}

static bool has_any(const gm_threshold_search *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (int part = 0; part < GM_PARTS; part++)
            if (!isnan(s->items[i].u[part])) return true;
    return false;
}

static gm_status find(search *x, place *best, gm_err *err)
{
    const gm_threshold_search *s = x->s;
    for (size_t i = s->count; i-- > 0;) x->first[s->items[i].sample] = i;
    GM_TRY(from_corners(x, best, err));
    return s->calls < 0 || best->calls <= s->calls ? GM_OK : within_limit(x, best, err);
}

gm_status gm_thresholds_search(const gm_threshold_search *s, gm_thresholds *best, gm_err *err)
{
    search x = { .s = s, .price = s->call_cost, .most_calls = -1, .sum = s->rest };
    place p;
    if (!(s->call_cost >= 0 && isfinite(s->call_cost)))
        return gm_fail(err, GM_ERR_USAGE, "the cost of calls is %g; expected a number from 0", s->call_cost);
    if (!has_any(s))
        return gm_fail(
            err, GM_ERR_DATA,
            "none of the %zu predicted entities carries span_norm, type_norm or region_norm in \"uncertainty\": "
            "thresholds need them",
            s->count);
    x.asked = gm_calloc(s->count, sizeof *x.asked);
    x.order = gm_calloc(s->count, sizeof *x.order);
    x.first = gm_calloc(s->samples, sizeof *x.first);
    x.scores = gm_calloc(s->samples, sizeof *x.scores);
    gm_status status = GM_OK;
    if (x.asked == NULL || x.order == NULL || x.first == NULL || x.scores == NULL)
        status = gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu predictions", s->count);
    if (status == GM_OK) status = find(&x, &p, err);
    if (status == GM_OK) *best = p.t;
    gm_free(x.asked);
    gm_free(x.order);
    gm_free(x.first);
    gm_free(x.scores);
    return status;
}
