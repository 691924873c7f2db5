/* Rows of all ranks side by side, on the tape: what a contrastive loss over the whole step compares with. */
#ifndef GM_COMM_GATHER_OP_H
#define GM_COMM_GATHER_OP_H

#include "comm/comm.h"
#include "tensor/tensor.h"

/* y: the rows of x of rank 0, then those of rank 1, ...; the ranks' x have one shape, all of whose rows count (GM_ERR_SHAPE
 * otherwise), in fp32 and in host memory. The loss is the sum over ranks of what each makes of y, so the gradient of x is the
 * sum, in the fixed tree over ranks, of their gradients of its rows. Both ways are calls that all ranks make together. */
gm_status gm_op_gather_ranks(gm_tape *t, gm_comm *c, gm_tensor *x, gm_tensor **y);

#endif
