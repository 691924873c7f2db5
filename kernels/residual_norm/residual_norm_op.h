/* What residual_norm records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_RESIDUAL_NORM_OP_H
#define GM_RESIDUAL_NORM_OP_H

#include "tensor/tensor.h"

/* sum = residual + drop(x), norm = drop_out(LayerNorm(sum)); site 0 = no dropout there; residual may be NULL. The sum takes x's
 * memory; `sum` may be NULL where nobody else needs it. */
typedef struct gm_norm_sites { gm_site drop, drop_out; int32_t layer; } gm_norm_sites;
gm_status gm_op_residual_norm(gm_tape *t, const gm_pack *tokens, gm_tensor *x, gm_tensor *residual, const gm_param *gamma,
                              const gm_param *beta, float eps, gm_norm_sites sites, gm_tensor **sum, gm_tensor **norm);

#endif
