/* gather: out[m] = drop(x[index[m]]): the state of each word's first piece, or rows repeated for samples of dropout. Indices
 * are distinct where there is a backward. Dropout (site GM_SITE_TAG_STATE) is by word: token[m] is the word's sequence and
 * place. Rows from *n_rows to capacity are set to zero. */
#ifndef GM_GATHER_H
#define GM_GATHER_H

#include "kernels.h"

struct gm_gather {
    const void *x;            /* [source, width] */
    const int32_t *index;     /* [capacity] */
    const gm_token *token;    /* [capacity] of the words; read only with dropout */
    gm_drop drop;
    void *out;                /* [capacity, width] */
    const int32_t *n_rows;
    int32_t capacity, width;
};

/* dx[index[m]] += drop(dout[m]); where `add` is false all `source` rows of dx are zeroed first. */
struct gm_gather_grad {
    const void *dout;         /* [capacity, width] */
    const int32_t *index;
    const gm_token *token;
    gm_drop drop;
    void *dx;                 /* [source, width] */
    bool add;
    const int32_t *n_rows;
    int32_t capacity, source, width;
};

#endif
