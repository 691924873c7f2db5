/* embedding: out[t] = word[ids[t]] + position[position_offset + place of t] + type (Devlin et al. 2019, section 3).
 * Rows from *n_tokens to capacity are set to zero. Work: 3 x hidden reads, 1 write a token, bound by memory. */
#ifndef GM_EMBEDDING_H
#define GM_EMBEDDING_H

#include "kernels.h"

struct gm_embedding {
    const int32_t *ids;       /* [capacity] rows of word */
    const gm_token *token;    /* [capacity] */
    const float *word;        /* [vocabulary, hidden] */
    const float *position;    /* [positions, hidden] */
    const float *type;        /* [hidden] or NULL */
    void *out;                /* [capacity, hidden] */
    const int32_t *n_tokens;
    int32_t capacity, hidden, position_offset;
};

/* Adds to all three gradients, in token order (same bits on every run): dword[slot[t]] += dout[t], and so on. */
struct gm_embedding_grad {
    const int32_t *slot;      /* [capacity] row of dword: the touched rows lie compactly, or slot = ids */
    const gm_token *token;
    const void *dout;         /* [capacity, hidden] */
    float *dword;             /* [touched, hidden] */
    float *dposition;         /* [positions, hidden] */
    float *dtype;             /* [hidden] or NULL */
    const int32_t *n_tokens;
    int32_t capacity, hidden, position_offset;
};

#endif
