/* What crf records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_CRF_OP_H
#define GM_CRF_OP_H

#include "tensor/tensor.h"

/* Negative log-likelihood of tag[words]; adds to the tape's loss. */
typedef struct gm_crf_params { const gm_param *trans, *start, *end; } gm_crf_params;
gm_status gm_op_crf(gm_tape *t, const gm_pack *words, gm_tensor *emit, gm_crf_params p, const int32_t *tag);

#endif
