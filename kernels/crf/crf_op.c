#include "crf/crf_op.h"

#include "crf/crf.h"

typedef struct saved { gm_tensor *emit; const gm_pack *words; gm_crf_params p; const int32_t *tag; float *alpha, *log_z; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    void *demit;
    gm_crf_grad g = { .emit = s->emit->data, .trans = s->p.trans->master, .start = s->p.start->master, .end = s->p.end->master, .alpha = s->alpha,
                      .log_z = s->log_z, .scale = &t->dev->step->inv_sentences, .tag = s->tag, .cu_words = s->words->cu,
                      .sequences = s->words->sequences, .tags = s->emit->cols, .words = s->words->capacity };
    GM_TRY(gm_tape_grad(t, s->emit, &demit, NULL));
    g.demit = demit;
    GM_TRY(gm_tape_high(t, (size_t)s->words->capacity * (size_t)s->emit->cols * sizeof(float), &g.scratch));
    GM_TRY(gm_tape_param_grad(t, s->p.trans, &g.dtrans, &g.add_dtrans));
    GM_TRY(gm_tape_param_grad(t, s->p.start, &g.dstart, &g.add_dstart));
    GM_TRY(gm_tape_param_grad(t, s->p.end, &g.dend, &g.add_dend));
    return t->k->crf.backward(&g, t->dev);
}

gm_status gm_op_crf(gm_tape *t, const gm_pack *words, gm_tensor *emit, gm_crf_params p, const int32_t *tag)
{
    if (p.trans->spec.rows != emit->cols || p.trans->spec.cols != emit->cols)
        return gm_fail(t->err, GM_ERR_SHAPE, "crf: %d emissions a word, but transitions are [%d, %d]", emit->cols, p.trans->spec.rows, p.trans->spec.cols);
    saved s = { .emit = emit, .words = words, .p = p, .tag = tag };
    GM_TRY(gm_tape_low(t, (size_t)words->capacity * (size_t)emit->cols * sizeof(float), &s.alpha));
    GM_TRY(gm_tape_low(t, (size_t)words->sequences * sizeof(float), &s.log_z));
    GM_TRY(t->k->crf.forward(&(gm_crf){ .emit = emit->data, .trans = p.trans->master, .start = p.start->master, .end = p.end->master, .tag = tag,
                                        .cu_words = words->cu, .scale = &t->dev->step->inv_sentences, .loss = t->loss, .alpha = s.alpha,
                                        .log_z = s.log_z, .sequences = words->sequences, .tags = emit->cols }, t->dev));
    return gm_tape_push(t, backward, &s, sizeof s);
}
