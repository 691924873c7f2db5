#include "residual_norm/residual_norm_op.h"

#include "residual_norm/residual_norm.h"

typedef struct saved {
    gm_tensor *x, *residual, *sum, *norm;
    const gm_pack *tokens;
    const gm_param *gamma, *beta;
    gm_drop drop, drop_out;
    float *mean, *rstd;
} saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    if (s->norm->grad == NULL) return GM_OK;
    gm_residual_norm_grad g = { .sum = s->sum->data, .mean = s->mean, .rstd = s->rstd, .gamma = s->gamma->master, .token = s->tokens->token,
                                .drop = s->drop, .drop_out = s->drop_out, .dnorm = s->norm->grad, .dsum = s->sum->grad,
                                .n_rows = s->tokens->n, .capacity = s->tokens->capacity, .width = s->x->cols };
    GM_TRY(gm_tape_grad(t, s->x, &g.dx, &g.add_dx));
    if (s->residual != NULL) GM_TRY(gm_tape_grad(t, s->residual, &g.dresidual, &g.add_dresidual));
    GM_TRY(gm_tape_param_grad(t, s->gamma, &g.dgamma, &g.add_dgamma));
    GM_TRY(gm_tape_param_grad(t, s->beta, &g.dbeta, &g.add_dbeta));
    return t->k->residual_norm.backward(&g, t->dev);
}

gm_status gm_op_residual_norm(gm_tape *t, const gm_pack *tokens, gm_tensor *x, gm_tensor *residual, const gm_param *gamma,
                              const gm_param *beta, float eps, gm_norm_sites sites, gm_tensor **sum, gm_tensor **norm)
{
    if (gamma->spec.rows != x->cols || (residual != NULL && residual->cols != x->cols))
        return gm_fail(t->err, GM_ERR_SHAPE, "residual_norm: the input has %d columns, \"%s\" has %d", x->cols, gamma->spec.part[0], gamma->spec.rows);
    saved s = { .x = x, .residual = residual, .tokens = tokens, .gamma = gamma, .beta = beta,
                .drop = sites.drop ? gm_tape_drop(t, tokens, sites.drop, sites.layer) : (gm_drop){ 0 },
                .drop_out = sites.drop_out ? gm_tape_drop(t, tokens, sites.drop_out, sites.layer) : (gm_drop){ 0 } };
    GM_TRY(gm_tape_view(t, x, x->data, &s.sum));
    GM_TRY(gm_tape_like(t, x, x->cols, &s.norm));
    if (gm_tape_records(t)) {
        GM_TRY(gm_tape_low(t, (size_t)x->capacity * sizeof(float), &s.mean));
        GM_TRY(gm_tape_low(t, (size_t)x->capacity * sizeof(float), &s.rstd));
    }
    GM_TRY(t->k->residual_norm.forward(&(gm_residual_norm){ .x = x->data, .residual = residual != NULL ? residual->data : NULL, .gamma = gamma->master,
                                                            .beta = beta->master, .token = tokens->token, .drop = s.drop, .drop_out = s.drop_out,
                                                            .sum = s.sum->data, .norm = s.norm->data, .mean = s.mean, .rstd = s.rstd, .eps = eps,
                                                            .n_rows = tokens->n, .capacity = tokens->capacity, .width = x->cols }, t->dev));
    if (sum != NULL) *sum = s.sum;
    *norm = s.norm;
    return gm_tape_push(t, backward, &s, sizeof s);
}
