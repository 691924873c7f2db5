/* What cross_entropy records on the tape: its gradient comes with the loss. */
#ifndef GM_CROSS_ENTROPY_OP_H
#define GM_CROSS_ENTROPY_OP_H

#include "cross_entropy/cross_entropy.h"
#include "tensor/tensor.h"

/* Adds scale x the sum of the rows' losses to the tape's; logits [rows, classes] have no other consumer. label [logits'
 * capacity], GM_NO_LABEL behind the true count, and scale in device memory. Does nothing in prediction. */
gm_status gm_op_cross_entropy(gm_tape *t, gm_tensor *logits, const uint8_t *label, const float *scale);

#endif
