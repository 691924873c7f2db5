#include "span_vector/span_vector_op.h"

#include "span_vector/span_vector.h"

typedef struct saved {
    gm_tensor *projected, *y;
    const gm_pack *words, *entities;
    const gm_entity_span *span;
    const gm_param *width, *bias;
    float keep;
} saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    gm_span_vector_grad g = { .y = s->y->data, .dy = s->y->grad, .span = s->span, .cu_words = s->words->cu, .cu_entities = s->entities->cu,
                              .keep = s->keep, .n_rows = s->entities->n, .sequences = s->entities->sequences, .capacity = s->entities->capacity,
                              .words = s->words->capacity, .widths = s->width->spec.rows, .hidden = s->y->cols };
    if (s->y->grad == NULL) return GM_OK;
    GM_TRY(gm_tape_grad(t, s->projected, &g.dprojected, &g.add_dprojected));
    GM_TRY(gm_tape_param_grad(t, s->width, &g.dwidth, &g.add_dwidth));
    GM_TRY(gm_tape_param_grad(t, s->bias, &g.dbias, &g.add_dbias));
    return t->k->span_vector.backward(&g, t->dev);
}

gm_status gm_op_span_vector(gm_tape *t, const gm_pack *words, const gm_pack *entities, const gm_entity_span *span, gm_tensor *projected,
                            const gm_param *width, const gm_param *bias, gm_tensor **y)
{
    const int32_t hidden = width->spec.cols;
    if (projected->cols != 2 * hidden)
        return gm_fail(t->err, GM_ERR_SHAPE, "span_vector: %d columns are not start and end of %d", projected->cols, hidden);
    if (words->sequences != entities->sequences)
        return gm_fail(t->err, GM_ERR_SHAPE, "span_vector: entities of %d sentences, but words of %d", entities->sequences, words->sequences);
    const gm_drop drop = gm_tape_drop(t, entities, GM_SITE_SPAN_HIDDEN, 0);
    GM_TRY(gm_tape_tensor(t, entities, hidden, y));
    GM_TRY(t->k->span_vector.forward(&(gm_span_vector){ .projected = projected->data, .width = width->master, .bias = bias->master, .span = span,
                                                        .token = entities->token, .cu_words = words->cu, .drop = drop, .y = (*y)->data,
                                                        .n_rows = entities->n, .capacity = entities->capacity, .hidden = hidden }, t->dev));
    const saved s = { projected, *y, words, entities, span, width, bias, 1.0f / (1.0f - drop.p) };
    return gm_tape_push(t, backward, &s, sizeof s);
}
