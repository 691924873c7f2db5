/* What span_logits records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_SPAN_LOGITS_OP_H
#define GM_SPAN_LOGITS_OP_H

#include "tensor/tensor.h"

/* Logits of all spans from projected [words, 2 hidden]; with `label` the loss and its gradient as well. */
typedef struct gm_span_params { const gm_param *width, *bias, *out, *out_bias; } gm_span_params;
gm_status gm_op_span_logits(gm_tape *t, const gm_pack *words, gm_tensor *projected, gm_span_params p, const uint8_t *label, float **logits);

#endif
