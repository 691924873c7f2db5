#include "region_scores/region_scores_op.h"

#include "region_scores/region_scores.h"

typedef struct saved {
    gm_region_batch batch;
    gm_tensor *q, *keys;
    const gm_param *null;
    gm_drop drop;
    float scale;
    float *dscore;
} saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    const gm_region_batch *b = &s->batch;
    gm_region_scores_grad g = { .q = s->q->data, .keys = s->keys->data, .null = s->null->master, .span = b->span, .token = b->entities->token,
                                .cu_words = b->words->cu, .cu_regions = b->regions->cu, .cu_entities = b->entities->cu, .cu_scores = b->cu_scores,
                                .drop = s->drop, .scale = s->scale, .dscore = s->dscore, .n_rows = b->entities->n, .sequences = b->entities->sequences,
                                .capacity = b->entities->capacity, .regions = b->regions->capacity, .width = s->q->cols };
    GM_TRY(gm_tape_grad(t, s->q, &g.dq, &g.add_dq));
    GM_TRY(gm_tape_grad(t, s->keys, &g.dkeys, &g.add_dkeys));
    GM_TRY(gm_tape_param_grad(t, s->null, &g.dnull, &g.add_dnull));
    return t->k->region_scores.backward(&g, t->dev);
}

gm_status gm_op_region_scores(gm_tape *t, const gm_region_batch *batch, gm_tensor *q, gm_tensor *keys, const gm_param *null, float scale,
                              const float *target, gm_region_result *result)
{
    const gm_pack *entities = batch->entities;
    if (keys->cols != q->cols || null->count != (size_t)q->cols)
        return gm_fail(t->err, GM_ERR_SHAPE, "region_scores: queries of %d columns, keys of %d and a null key of %zu", q->cols, keys->cols, null->count);
    if (batch->words->sequences != entities->sequences || batch->regions->sequences != entities->sequences)
        return gm_fail(t->err, GM_ERR_SHAPE, "region_scores: entities of %d sentences, but words of %d and regions of %d", entities->sequences,
                       batch->words->sequences, batch->regions->sequences);
    const size_t bytes = (size_t)batch->scores * sizeof(float), rows = (size_t)entities->capacity;
    saved s = { .batch = *batch, .q = q, .keys = keys, .null = null, .drop = gm_tape_drop(t, entities, GM_SITE_REGION_QUERY, 0), .scale = scale };
    GM_TRY(gm_tape_low(t, bytes, &result->prob));
    GM_TRY(gm_tape_low(t, rows * sizeof *result->entropy, &result->entropy));
    GM_TRY(gm_tape_low(t, rows * sizeof *result->argmax, &result->argmax));
    if (target != NULL) GM_TRY(gm_tape_low(t, bytes, &s.dscore));
    GM_TRY(t->k->region_scores.forward(&(gm_region_scores){ .q = q->data, .keys = keys->data, .null = null->master, .span = batch->span,
                                                            .token = entities->token, .cu_words = batch->words->cu, .cu_regions = batch->regions->cu,
                                                            .cu_scores = batch->cu_scores, .drop = s.drop, .scale = scale, .prob = result->prob,
                                                            .argmax = result->argmax, .entropy = result->entropy, .target = target,
                                                            .inv_entities = &t->dev->step->inv_entities, .loss = t->loss, .dscore = s.dscore,
                                                            .n_rows = entities->n, .capacity = entities->capacity, .width = q->cols }, t->dev));
    return target != NULL ? gm_tape_push(t, backward, &s, sizeof s) : GM_OK;
}
