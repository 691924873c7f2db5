/* An oracle stands for what is asked: it puts right the part that it is asked about and nothing else. A wrong span becomes
 * that of the gold entity that the prediction stands for (partners.h); where there is none, the prediction is taken back. Type
 * and region become those of the gold entity. */
#include "eval/thresholds.h"

#include "eval/partners.h"

#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

typedef struct one {
    double u[GM_PARTS]; /* NAN: cannot be delegated */
    bool is_wrong[GM_PARTS];
    bool has_gold; /* there is a gold entity that it stands for */
    size_t sample;
} one;

typedef struct all {
    one *items;
    size_t count, capacity, samples;
    int64_t gold;
    double call_cost;
} all;

static bool is_over(double u, double threshold) { return u > threshold; } /* false for NAN */

bool gm_delegates(const gm_uncertainty *u, const gm_thresholds *t, gm_part part)
{
    const double norm[GM_PARTS] = { u->span_norm, u->type_norm, u->region_norm };
    return is_over(norm[part], t->of[part]);
}

gm_status gm_thresholds_read(const char *path, gm_thresholds *t, gm_err *err)
{
    char *text;
    size_t size;
    cJSON *value = NULL;
    GM_TRY(gm_file_read(path, &text, &size, err));
    gm_status status = gm_json_parse(text, size, &value, err) == GM_OK ? GM_OK : gm_fail_at(err, "%s", path);
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(value, "thresholds");
    for (int part = 0; part < GM_PARTS && status == GM_OK; part++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(inner != NULL ? inner : value, gm_part_names[part]);
        if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0))
            status = gm_fail(err, GM_ERR_DATA, "%s: \"%s\" is no number from 0; expected {\"span\": 0.4, \"type\": 0.5, \"region\": 0.3}, or that as \"thresholds\"", path,
                             gm_part_names[part]);
        else t->of[part] = v->valuedouble;
    }
    cJSON_Delete(value);
    gm_free(text);
    return status;
}

/* ---- what is wrong with a prediction ---- */

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

static gm_status add_sample(all *a, const gm_record_pair *s, size_t sample, const gm_eval_options *how, gm_err *err)
{
    a->gold += s->gold->entity_count;
    if (s->pred == NULL) return GM_OK;
    int32_t *partner = gm_calloc((size_t)s->pred->entity_count + 1, sizeof *partner);
    if (partner == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the entities of \"%s\"", s->gold->id);
    gm_status status = gm_find_partners(s, how, partner, err);
    for (int32_t p = 0; p < s->pred->entity_count && status == GM_OK; p++) {
        status = gm_grow((void **)&a->items, &a->capacity, a->count, sizeof *a->items, err);
        if (status != GM_OK) break;
        a->items[a->count] = look_at(s, p, partner[p], how);
        a->items[a->count++].sample = sample;
    }
    gm_free(partner);
    return status;
}

static gm_status collect(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, all *a,
                         gm_err *err)
{
    gm_record_pair *samples;
    int64_t missing;
    GM_TRY(gm_pair_records(gold, pred, how, &samples, &missing, err));
    gm_status status = GM_OK;
    a->samples = gold->count;
    for (size_t i = 0; i < gold->count && status == GM_OK; i++) status = add_sample(a, &samples[i], i, how, err);
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

gm_status gm_thresholds_score(const gm_records *gold, const gm_records *pred, const gm_eval_options *how,
                              double call_cost, const gm_thresholds *t, gm_delegation *d, gm_err *err)
{
    all a = { .call_cost = call_cost };
    const gm_status status = collect(gold, pred, how, &a, err);
    if (status == GM_OK) tally(&a, t, d);
    gm_free(a.items);
    return status;
}

/* ---- the best for an oracle ---- */

typedef struct oracle {
    const all *a;
    const size_t *first; /* [samples]: where the items of a sample begin */
} oracle;

/* Gold is counted once for all, in the search's `rest`. */
static gm_status score_sample(void *user, size_t sample, const uint8_t *asked, gm_score *score, gm_err *err)
{
    const oracle *o = user;
    (void)err;
    *score = (gm_score) { 0 };
    for (size_t i = o->first[sample]; i < o->a->count && o->a->items[i].sample == sample; i++) {
        const uint8_t bits = asked[i - o->first[sample]];
        const bool is_asked[GM_PARTS] = { bits & 1, bits >> 1 & 1, bits >> 2 & 1 };
        score->tp += is_hit(&o->a->items[i], is_asked);
        score->n_pred += !is_taken_back(&o->a->items[i], is_asked);
    }
    return GM_OK;
}

static gm_status search(const all *a, double call_cost, gm_thresholds *t, gm_err *err)
{
    gm_delegable *items = gm_calloc(a->count + 1, sizeof *items);
    size_t *first = gm_calloc(a->samples + 1, sizeof *first);
    oracle o = { a, first };
    gm_status status = GM_OK;
    if (items == NULL || first == NULL) status = gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu predictions", a->count);
    for (size_t i = 0; i < a->count && status == GM_OK; i++) {
        const one *p = &a->items[i];
        items[i] = (gm_delegable) { { p->u[0], p->u[1], p->u[2] }, p->sample };
        if (i == 0 || p[-1].sample != p->sample) first[p->sample] = i;
    }
    const gm_threshold_search s = { .items = items, .count = a->count, .samples = a->samples, .rest = { .n_gold = a->gold },
                                    .score = score_sample, .user = &o, .call_cost = call_cost, .calls = -1 };
    if (status == GM_OK) status = gm_thresholds_search(&s, t, err);
    gm_free(items);
    gm_free(first);
    return status;
}

gm_status gm_thresholds_pick(const gm_records *gold, const gm_records *pred, const gm_eval_options *how,
                             double call_cost, gm_delegation *d, gm_err *err)
{
    all a = { .call_cost = call_cost };
    gm_thresholds t;
    gm_status status = collect(gold, pred, how, &a, err);
    if (status == GM_OK) status = search(&a, call_cost, &t, err);
    if (status == GM_OK) tally(&a, &t, d);
    gm_free(a.items);
    return status;
}
