/* residual_norm: sum = residual + drop(x), norm = drop_out(gamma (sum - mean) / sqrt(var + eps) + beta), a row at a
 * time (Ba et al. 2016; population variance). Gives both, so that post-norm (BERT: use norm) and pre-norm (ViT: use
 * both) fit. Without a residual (embeddings) sum = drop(x). Rows from *n_rows to capacity of sum and norm
 * are set to zero.
 * Work: 2 reads, 2 writes of rows x width: bound by memory. */
#ifndef GM_RESIDUAL_NORM_H
#define GM_RESIDUAL_NORM_H

#include "kernels.h"

struct gm_residual_norm {
    const void *x;            /* [capacity, width] */
    const void *residual;     /* [capacity, width] or NULL */
    const float *gamma, *beta; /* [width] */
    const gm_token *token;    /* [capacity]; read only with dropout */
    gm_drop drop;             /* of x, element = column */
    gm_drop drop_out;         /* of the norm (BERT's embeddings), element = column */
    void *sum;                /* [capacity, width]; may be x or residual */
    void *norm;               /* [capacity, width]; not sum */
    float *mean, *rstd;       /* [capacity] for backward; may be NULL in prediction */
    float eps;
    const int32_t *n_rows;
    int32_t capacity, width;
};

/* d_sum_total = dsum (may be NULL: nobody else used the sum) + gradient through the norm; dresidual = d_sum_total,
 * dx = drop(d_sum_total). dgamma and dbeta are summed over rows in a fixed order. Rows from *n_rows to
 * capacity of dx and dresidual are set to zero; with add_ they are left alone (they were zero). */
struct gm_residual_norm_grad {
    const void *sum;
    const float *mean, *rstd, *gamma;
    const gm_token *token;
    gm_drop drop, drop_out;
    const void *dnorm;        /* [capacity, width] */
    const void *dsum;         /* [capacity, width] or NULL */
    void *dx;                 /* [capacity, width]; not dresidual */
    void *dresidual;          /* [capacity, width] or NULL where forward had none */
    float *dgamma, *dbeta;    /* [width] or NULL: frozen */
    bool add_dx, add_dresidual, add_dgamma, add_dbeta;
    const int32_t *n_rows;
    int32_t capacity, width;
};

#endif
