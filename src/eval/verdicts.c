/* Predictions against gold one by one, without a matching: of two predictions with one key both are judged by the gold
 * entities of that key. */
#include "eval/verdicts.h"

#include <math.h>

#include "base/memory.h"

const char *const gm_part_names[GM_PARTS] = { "span", "type", "region" };
const char *const gm_measure_names[GM_MEASURES] = { "entropy", "entropy_norm", "mutual_information", "max_softmax" };

bool gm_measure_is_probability(gm_measure m) { return m == GM_BY_ENTROPY_NORM || m == GM_BY_SOFTMAX; }

double gm_measure_of(const gm_entity *e, gm_part part, gm_measure m)
{
    const gm_uncertainty *u = &e->uncertainty;
    const double entropy[] = { u->span, u->type, u->region }, norm[] = { u->span_norm, u->type_norm, u->region_norm };
    const double expected[] = { u->span_expected, u->type_expected, u->region_expected };
    switch (m) {
    case GM_BY_ENTROPY: return entropy[part];
    case GM_BY_ENTROPY_NORM: return norm[part];
    case GM_BY_INFORMATION: return entropy[part] - expected[part];
    default: return 1.0 - (part == GM_PART_REGION ? e->region_score : e->score);
    }
}

static gm_verdict judge(const gm_record_pair *s, const gm_entity *p, const gm_eval_options *how)
{
    unsigned bits = 0;
    for (int32_t g = 0; g < s->gold->entity_count; g++)
        bits |= gm_compare(s->pred, p, s->gold, &s->gold->entities[g], how, NULL);
    return (gm_verdict) {
        .entity = p, .is_wrong = { (bits & GM_SAME_KEY) == 0, (bits & GM_SAME_TYPE) == 0, (bits & GM_SAME_REGION) == 0 }
    };
}

gm_status gm_judge(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, gm_verdicts *v,
                   gm_err *err)
{
    gm_record_pair *samples;
    int64_t missing;
    *v = (gm_verdicts) { 0 };
    GM_TRY(gm_pair_records(gold, pred, how, &samples, &missing, err));
    gm_status status = GM_OK;
    for (size_t i = 0; i < gold->count; i++) {
        const gm_record *r = samples[i].pred;
        for (int32_t p = 0; r != NULL && p < r->entity_count && status == GM_OK; p++) {
            status = gm_grow((void **)&v->items, &v->capacity, v->count, sizeof *v->items, err);
            if (status == GM_OK) v->items[v->count++] = judge(&samples[i], &r->entities[p], how);
        }
    }
    gm_free(samples);
    if (status != GM_OK) gm_verdicts_free(v);
    return status;
}

void gm_verdicts_free(gm_verdicts *v)
{
    gm_free(v->items);
    *v = (gm_verdicts) { 0 };
}

gm_status gm_verdicts_list(const gm_verdicts *v, gm_part part, gm_measure m, gm_ranked **list, size_t *count,
                           gm_err *err)
{
    *count = 0;
    *list = gm_calloc(v->count, sizeof **list);
    if (*list == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu predictions", v->count);
    for (size_t i = 0; i < v->count; i++) {
        const gm_verdict *one = &v->items[i];
        const double u = gm_measure_of(one->entity, part, m);
        if (isnan(u) || (part != GM_PART_SPAN && one->is_wrong[GM_PART_SPAN])) continue;
        (*list)[(*count)++] = (gm_ranked) { u, one->is_wrong[part] };
    }
    return GM_OK;
}

gm_status gm_doubts_score(const gm_verdicts *v, int32_t bins, gm_doubts *d, gm_err *err)
{
    int64_t ranked = 0;
    *d = (gm_doubts) { 0 };
    if (bins < 1 || bins > GM_MAX_BINS)
        return gm_fail(err, GM_ERR_USAGE, "%d bins: expected 1 to %d", (int)bins, (int)GM_MAX_BINS);
    for (size_t i = 0; i < v->count; i++) {
        for (int part = 0; part < GM_PARTS; part++) {
            if (part != GM_PART_SPAN && v->items[i].is_wrong[GM_PART_SPAN]) continue;
            d->wrong[part] += v->items[i].is_wrong[part];
            d->right[part] += !v->items[i].is_wrong[part];
        }
    }
    for (int part = 0; part < GM_PARTS; part++) {
        for (int m = 0; m < GM_MEASURES; m++) {
            gm_ranked *list;
            size_t count;
            GM_TRY(gm_verdicts_list(v, (gm_part)part, (gm_measure)m, &list, &count, err));
            gm_doubt *to = &d->of[part][m];
            to->ranking = gm_rank(list, count);
            if (gm_measure_is_probability((gm_measure)m)) to->calibration = gm_calibrate(list, count, bins);
            ranked += (int64_t)count;
            gm_free(list);
        }
    }
    if (ranked > 0) return GM_OK;
    return gm_fail(
        err, GM_ERR_DATA,
        "none of the %zu predicted entities carries \"uncertainty\" or \"score\": there is nothing to rank them by",
        v->count);
}
