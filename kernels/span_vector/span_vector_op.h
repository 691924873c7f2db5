/* What span_vector records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_SPAN_VECTOR_OP_H
#define GM_SPAN_VECTOR_OP_H

#include "tensor/tensor.h"

/* y [entities, hidden] from projected [words, 2 hidden], with dropout at GM_SITE_SPAN_HIDDEN. span [entities' capacity], in
 * device memory, none wider than `width` has rows. projected may have other consumers; nobody writes into y. */
gm_status gm_op_span_vector(gm_tape *t, const gm_pack *words, const gm_pack *entities, const gm_entity_span *span, gm_tensor *projected,
                            const gm_param *width, const gm_param *bias, gm_tensor **y);

#endif
