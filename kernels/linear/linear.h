/* linear: y = act(x w^T + b), w stored [out][in]. All `rows` rows are computed: rows is the buffer's capacity, and
 * rows behind the true count hold finite values in and out. Work: 2 x rows x in x out flops. */
#ifndef GM_LINEAR_H
#define GM_LINEAR_H

#include "kernels.h"

/* GELU is the erf form, x Phi(x) (Hendrycks and Gimpel 2016); quick GELU is x sigmoid(1.702 x), section 2 of the same paper,
 * which CLIP's models were trained with. */
typedef enum gm_activation { GM_LINEAR_PLAIN, GM_LINEAR_GELU, GM_LINEAR_QUICK_GELU } gm_activation;

struct gm_linear {
    const void *x;            /* [rows, in] */
    const void *w;            /* [out, in] of the activations' type: the float master, or its bf16 copy */
    const void *packed;       /* the same as the CPU's prediction reads it (backend/packed.h), or NULL */
    const float *b;           /* [out] or NULL */
    void *pre;                /* [rows, out] x w^T + b, kept for backward; only with an activation, may be NULL in prediction */
    void *y;                  /* [rows, out]; not x */
    gm_activation act;
    int32_t rows, in, out;
};

/* The gradient at the rows behind the true count is zero in dy, so they add nothing to dw and db.
 * With an activation dy is overwritten with the gradient at `pre`. dx may be NULL. Each add_ flag adds instead of overwriting. */
struct gm_linear_grad {
    const void *x;
    const void *w;            /* as in forward */
    const void *pre;          /* with an activation */
    void *dy;                 /* [rows, out] */
    void *dx;                 /* [rows, in] or NULL */
    float *dw;                /* [out, in] or NULL: the weight is frozen */
    float *db;                /* [out] or NULL */
    bool add_dx, add_dw, add_db;
    gm_activation act;
    int32_t rows, in, out;
};

#endif
