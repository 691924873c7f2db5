/* What embedding records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_EMBEDDING_OP_H
#define GM_EMBEDDING_OP_H

#include "tensor/tensor.h"

/* The sum of word, position and type embeddings; `slot` is each token's row in the gradient of the touched rows. */
gm_status gm_op_embedding(gm_tape *t, const gm_pack *tokens, const int32_t *ids, const int32_t *slot, const gm_param *word,
                          const gm_param *position, const gm_param *type, int32_t position_offset, gm_tensor **y);

#endif
