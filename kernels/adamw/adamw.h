/* adamw: one step of AdamW in PyTorch's form (Loshchilov and Hutter 2019, algorithm 2) over a block of parameters, or
 * over chosen rows of a table: p -= lr decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
 * p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps). Rows not chosen are not touched at all: their moments and
 * decay wait, the bias correction counts all steps. Work: 4 reads, 3 writes an element: bound by memory. */
#ifndef GM_ADAMW_H
#define GM_ADAMW_H

#include "kernels.h"

struct gm_adamw {
    float *param, *m, *v;     /* [table rows, width] */
    const float *grad;        /* [rows, width]: row r belongs to table row row[r] */
    const float *grad_scale;  /* in device memory: the factor of clipping; 0 (the norm was not finite): nothing changes */
    const int32_t *row;       /* [capacity] distinct rows, or NULL: all rows in order */
    const int32_t *n_rows;    /* in device memory, or NULL: all of capacity */
    int32_t capacity, width;  /* a dense group is one table of `capacity` rows of any width */
    gm_rate rate;
    float decay, beta1, beta2, eps;
    void *copy;               /* the bf16 row writes the new parameters here as bf16 as well, laid out as param; NULL: no copy. fp32 ignores it */
};

#endif
