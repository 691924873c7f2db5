/* What linear records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_LINEAR_OP_H
#define GM_LINEAR_OP_H

#include "linear/linear.h"
#include "tensor/tensor.h"

/* y = act(x w^T + b); b may be NULL. */
gm_status gm_op_linear(gm_tape *t, gm_tensor *x, const gm_param *w, const gm_param *b, gm_activation act, gm_tensor **y);

#endif
