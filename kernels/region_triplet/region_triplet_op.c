#include "region_triplet/region_triplet_op.h"

#include "region_triplet/region_triplet.h"

typedef struct saved {
    gm_region_batch batch;
    gm_tensor *h, *v;
    bool is_code_form;
    float *anchor, *danchor, *pull, *own;
} saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    const gm_region_batch *b = &s->batch;
    gm_region_triplet_grad g = { .v = s->v->data, .span = b->span, .cu_words = b->words->cu, .cu_regions = b->regions->cu, .cu_entities = b->entities->cu,
                                 .cu_scores = b->cu_scores, .is_code_form = s->is_code_form, .anchor = s->anchor, .danchor = s->danchor, .pull = s->pull,
                                 .own = s->own, .sequences = b->entities->sequences, .words = b->words->capacity, .regions = b->regions->capacity,
                                 .width = s->v->cols };
    GM_TRY(gm_tape_grad(t, s->h, &g.dh, &g.add_dh));
    GM_TRY(gm_tape_grad(t, s->v, &g.dv, &g.add_dv));
    return t->k->region_triplet.backward(&g, t->dev);
}

gm_status gm_op_region_triplet(gm_tape *t, const gm_region_batch *batch, gm_tensor *h, gm_tensor *v, const float *iou, gm_triplet by)
{
    const gm_pack *entities = batch->entities;
    if (!gm_tape_records(t)) return GM_OK;
    if (h->cols != v->cols)
        return gm_fail(t->err, GM_ERR_SHAPE, "region_triplet: words of %d columns, but regions of %d", h->cols, v->cols);
    if (batch->words->sequences != entities->sequences || batch->regions->sequences != entities->sequences)
        return gm_fail(t->err, GM_ERR_SHAPE, "region_triplet: entities of %d sentences, but words of %d and regions of %d", entities->sequences,
                       batch->words->sequences, batch->regions->sequences);
    const size_t rows = (size_t)entities->capacity * (size_t)h->cols * sizeof(float), places = (size_t)batch->scores * sizeof(float);
    saved s = { .batch = *batch, .h = h, .v = v, .is_code_form = by.is_code_form };
    float *distance;
    GM_TRY(gm_tape_low(t, rows, &s.anchor));
    GM_TRY(gm_tape_low(t, rows, &s.danchor));
    GM_TRY(gm_tape_low(t, places, &s.pull));
    GM_TRY(gm_tape_low(t, places, &s.own));
    GM_TRY(gm_tape_low(t, places, &distance));
    GM_TRY(t->k->region_triplet.forward(&(gm_region_triplet){ .h = h->data, .v = v->data, .span = batch->span, .token = entities->token,
                                                              .cu_regions = batch->regions->cu, .cu_scores = batch->cu_scores, .iou = iou,
                                                              .margin = by.margin, .weight = by.weight, .is_code_form = by.is_code_form,
                                                              .inv_entities = &t->dev->step->inv_entities, .loss = t->loss, .anchor = s.anchor,
                                                              .danchor = s.danchor, .distance = distance, .pull = s.pull, .own = s.own,
                                                              .n_rows = entities->n, .capacity = entities->capacity, .width = h->cols }, t->dev));
    return gm_tape_push(t, backward, &s, sizeof s);
}
