/* What attention records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_ATTENTION_OP_H
#define GM_ATTENTION_OP_H

#include "distance_bias/distance_bias_op.h"
#include "tensor/tensor.h"

/* Self-attention over qkv [tokens, 3 hidden] = q | k | v; scores get the bias of their distance, unless it is NULL. */
gm_status gm_op_self_attention(gm_tape *t, const gm_pack *tokens, gm_tensor *qkv, int32_t heads, const gm_distances *bias, int32_t layer,
                               gm_tensor **y);

#endif
