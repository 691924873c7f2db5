/* attention: out = drop(softmax(scale q k^T + bias)) v for packed sequences, a head at a time (Vaswani et al. 2017,
 * equation 1). Queries and keys have offsets of their own (cross attention); causal lets query i see keys j <= i +
 * (keys - queries). A sequence without keys gives zeros. Rows of a head lie at row * stride + head * width, so q, k and v may
 * be columns of one [tokens, 3 hidden] tensor. Probabilities are never stored: backward recomputes them from lse.
 * Dropout element = head * 512 + key, position = query: at most 512 keys with dropout. A GPU takes heads of up to 128
 * columns, and so does the CPU in bf16, which also takes up to 1024 rows a sequence. Rows behind the last sequence are set to zero, up to q_rows of out and dq, k_rows of dk and dv.
 * Work: 4 x queries x keys x hidden flops. */
#ifndef GM_ATTENTION_H
#define GM_ATTENTION_H

#include "kernels.h"

enum { GM_ATTENTION_MAX_DROP_KEYS = 512 };

struct gm_attention {
    const void *q, *k, *v;
    int32_t q_stride, k_stride, v_stride; /* elements from row to row */
    const int32_t *cu_q, *cu_k;           /* [sequences + 1] rows of each sequence; may be the same array */
    const float *bias;                    /* [heads, 2 bias_reach + 1]: added at column clamp(key - query) + bias_reach; or NULL */
    int32_t bias_reach;
    bool is_causal;
    float scale;                          /* 1 / sqrt(width) */
    gm_drop drop;
    void *out;                            /* [queries, heads * width], stride out_stride */
    int32_t out_stride;
    float *lse;                           /* [queries, heads] log-sum-exp of the scores; NULL in prediction */
    int32_t sequences, heads, width;      /* width: of one head */
    int32_t q_rows;                       /* capacity of out */
};

/* Overwrites dq, dk, dv (strides as q, k, v). dbias (or NULL) is added to. */
struct gm_attention_grad {
    const void *q, *k, *v;
    int32_t q_stride, k_stride, v_stride;
    const int32_t *cu_q, *cu_k;
    const float *bias;
    int32_t bias_reach;
    bool is_causal;
    float scale;
    gm_drop drop;
    const void *out, *dout;               /* [queries, heads * width], stride out_stride */
    int32_t out_stride;
    const float *lse;
    void *dq, *dk, *dv;
    float *dbias;
    int32_t sequences, heads, width;
    int32_t q_rows, k_rows;               /* capacities of dq, and of dk and dv */
};

#endif
