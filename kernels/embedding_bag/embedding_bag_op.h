/* What embedding_bag records on the tape: the table's gradient; that of x is the one it has. */
#ifndef GM_EMBEDDING_BAG_OP_H
#define GM_EMBEDDING_BAG_OP_H

#include "tensor/tensor.h"

/* Adds to x itself, which nothing else has read yet and whose maker does not need it on the way back. index [x's capacity, bag] */
gm_status gm_op_embedding_bag(gm_tape *t, gm_tensor *x, const uint8_t *index, int32_t bag, const gm_param *table);

#endif
