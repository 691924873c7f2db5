/* The search comes back to the same parts of a sample over and over, so what a sample scores is kept by which parts were asked. */
#include "mllm/pick.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

enum { MOST_KEPT = 64 / GM_PARTS }; /* entities of a sample whose parts have room in a key */

typedef struct kept {
    uint64_t key;
    gm_score score;
} kept;

typedef struct sample {
    const gm_record *gold, *pred;
    size_t record; /* of the predictions */
    kept *kept;
    size_t count, capacity;
} sample;

typedef struct picker {
    const gm_pick_options *o;
    gm_corrector ask;
    void *user;
    sample *samples;
    gm_delegable *items;
    size_t sample_count, item_count, item_capacity;
    size_t record; /* whose sample is being corrected */
} picker;

/* One sample is corrected alone; its corrector knows it by its place among all. */
static gm_status ask_for_sample(void *user, const gm_question *q, gm_reply *reply, gm_err *err)
{
    picker *p = user;
    gm_question all = *q;
    all.record = p->record;
    return p->ask(p->user, &all, reply, err);
}

static gm_status correct(picker *p, const sample *s, const uint8_t *asked, gm_score *score, gm_err *err)
{
    const gm_eval_options how = { .iou = 0.5 };
    gm_record gold_item = *s->gold, pred_item = *s->pred;
    const gm_records gold = { .items = &gold_item, .count = 1 }, pred = { .items = &pred_item, .count = 1 };
    size_t first = 0;
    gm_route route = { .first = &first, .entities = (size_t)pred_item.entity_count };
    gm_corrections *c = NULL;
    const gm_records *now;
    gm_metrics m;
    route.parts = gm_malloc(route.entities + 1);
    if (route.parts == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the sample \"%s\"", pred_item.id);
    memcpy(route.parts, asked, route.entities);
    p->record = s->record;
    gm_status status = gm_correct_all(&pred, &route, ask_for_sample, p, &c, &now, err);
    if (status == GM_OK) status = gm_evaluate(&gold, now, &how, &m, err);
    if (status == GM_OK) {
        *score = gm_score_of(&m, p->o->score);
        gm_metrics_free(&m);
    }
    gm_correct_free(c);
    gm_free(route.parts);
    return status;
}

static gm_status score_sample(void *user, size_t number, const uint8_t *asked, gm_score *score, gm_err *err)
{
    picker *p = user;
    sample *s = &p->samples[number];
    uint64_t key = 0;
    if (s->pred->entity_count > MOST_KEPT) return correct(p, s, asked, score, err);
    for (int32_t k = 0; k < s->pred->entity_count; k++) key = key << GM_PARTS | asked[k];
    for (size_t i = 0; i < s->count; i++) {
        if (s->kept[i].key != key) continue;
        *score = s->kept[i].score;
        return GM_OK;
    }
    GM_TRY(correct(p, s, asked, score, err));
    GM_TRY(gm_grow((void **)&s->kept, &s->capacity, s->count, sizeof *s->kept, err));
    s->kept[s->count++] = (kept) { key, *score };
    return GM_OK;
}

static gm_status add_items(picker *p, const gm_record *r, gm_err *err)
{
    for (int32_t k = 0; k < r->entity_count; k++) {
        const gm_uncertainty *u = &r->entities[k].uncertainty;
        const double norm[GM_PARTS] = { u->span_norm, u->type_norm, u->region_norm };
        GM_TRY(gm_grow((void **)&p->items, &p->item_capacity, p->item_count, sizeof *p->items, err));
        gm_delegable *d = &p->items[p->item_count++];
        d->sample = p->sample_count;
        for (int part = 0; part < GM_PARTS; part++) d->u[part] = p->o->asks[part] ? norm[part] : NAN;
    }
    return GM_OK;
}

/* Samples with predictions are searched; of the others gold counts as missed. */
static gm_status take_samples(picker *p, const gm_record_pair *pairs, size_t count, const gm_records *pred,
                              gm_score *rest, gm_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].pred == NULL || pairs[i].pred->entity_count == 0) {
            rest->n_gold += pairs[i].gold->entity_count;
            continue;
        }
        p->samples[p->sample_count] =
            (sample) { .gold = pairs[i].gold, .pred = pairs[i].pred, .record = (size_t)(pairs[i].pred - pred->items) };
        GM_TRY(add_items(p, pairs[i].pred, err));
        p->sample_count++;
    }
    return GM_OK;
}

gm_status gm_pick_thresholds(const gm_records *gold, const gm_records *pred, const gm_pick_options *o, gm_corrector ask,
                             void *user, gm_thresholds *to, gm_err *err)
{
    const gm_eval_options how = { .iou = 0.5 };
    picker p = { .o = o, .ask = ask, .user = user };
    gm_record_pair *pairs = NULL;
    gm_score rest = { 0 };
    int64_t missing;
    GM_TRY(gm_pair_records(gold, pred, &how, &pairs, &missing, err));
    p.samples = gm_calloc(gold->count + 1, sizeof *p.samples);
    gm_status status =
        p.samples == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu samples", gold->count) : GM_OK;
    if (status == GM_OK) status = take_samples(&p, pairs, gold->count, pred, &rest, err);
    if (status == GM_OK) {
        const gm_threshold_search s = { .items = p.items,
                                        .count = p.item_count,
                                        .samples = p.sample_count,
                                        .rest = rest,
                                        .score = score_sample,
                                        .user = &p,
                                        .call_cost = o->call_cost,
                                        .calls = o->calls };
        status = gm_thresholds_search(&s, to, err);
    }
    for (size_t i = 0; i < p.sample_count; i++) gm_free(p.samples[i].kept);
    gm_free(p.samples);
    gm_free(p.items);
    gm_free(pairs);
    return status;
}
