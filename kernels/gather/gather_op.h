/* What gather records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_GATHER_OP_H
#define GM_GATHER_OP_H

#include "tensor/tensor.h"

/* Rows index[m] of x for the words of a pack, with dropout at `site` (0: none). */
gm_status gm_op_gather(gm_tape *t, gm_tensor *x, const gm_pack *words, const int32_t *index, gm_site site, gm_tensor **y);

#endif
