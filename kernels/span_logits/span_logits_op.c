#include "span_logits/span_logits_op.h"

#include "span_logits/span_logits.h"

typedef struct saved { gm_tensor *projected; const gm_pack *words; gm_span_params p; gm_drop drop; float *dlogits; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    gm_span_logits_grad g = { .projected = s->projected->data, .width = s->p.width->master, .bias = s->p.bias->master, .out = s->p.out->master,
                              .cu_words = s->words->cu, .drop = s->drop, .dlogits = s->dlogits, .sequences = s->words->sequences,
                              .widths = s->p.width->spec.rows, .hidden = s->p.width->spec.cols, .classes = s->p.out->spec.rows, .words = s->words->capacity };
    GM_TRY(gm_tape_grad(t, s->projected, &g.dprojected, &g.add_dprojected));
    GM_TRY(gm_tape_param_grad(t, s->p.width, &g.dwidth, &g.add_dwidth));
    GM_TRY(gm_tape_param_grad(t, s->p.bias, &g.dbias, &g.add_dbias));
    GM_TRY(gm_tape_param_grad(t, s->p.out, &g.dout, &g.add_dout));
    GM_TRY(gm_tape_param_grad(t, s->p.out_bias, &g.dout_bias, &g.add_dout_bias));
    return t->k->span_logits.backward(&g, t->dev);
}

gm_status gm_op_span_logits(gm_tape *t, const gm_pack *words, gm_tensor *projected, gm_span_params p, const uint8_t *label, float **logits)
{
    const int32_t widths = p.width->spec.rows, hidden = p.width->spec.cols, classes = p.out->spec.rows;
    if (projected->cols != 2 * hidden)
        return gm_fail(t->err, GM_ERR_SHAPE, "span_logits: %d columns are not start and end of %d", projected->cols, hidden);
    const size_t bytes = (size_t)words->capacity * (size_t)widths * (size_t)classes * sizeof(float);
    saved s = { .projected = projected, .words = words, .p = p, .drop = gm_tape_drop(t, words, GM_SITE_SPAN_HIDDEN, 0) };
    GM_TRY(gm_tape_low(t, bytes, logits));
    if (label != NULL) GM_TRY(gm_tape_low(t, bytes, &s.dlogits));
    GM_TRY(t->k->span_logits.forward(&(gm_span_logits){ .projected = projected->data, .width = p.width->master, .bias = p.bias->master, .out = p.out->master,
                                                        .out_bias = p.out_bias->master, .cu_words = words->cu, .drop = s.drop, .logits = *logits,
                                                        .label = label, .scale = &t->dev->step->inv_words, .loss = t->loss, .dlogits = s.dlogits,
                                                        .sequences = words->sequences, .widths = widths, .hidden = hidden, .classes = classes }, t->dev));
    return label != NULL ? gm_tape_push(t, backward, &s, sizeof s) : GM_OK;
}
