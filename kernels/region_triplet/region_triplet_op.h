/* What region_triplet records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_REGION_TRIPLET_OP_H
#define GM_REGION_TRIPLET_OP_H

#include "region_scores/region_scores_op.h"

typedef struct gm_triplet { float margin, weight; bool is_code_form; } gm_triplet;

/* Adds the loss of states h [words, width] against regions v [regions, width] to the tape, over gm_step's inv_entities; iou:
 * floats at cu_scores. Does nothing in prediction. h and v may have other consumers. */
gm_status gm_op_region_triplet(gm_tape *t, const gm_region_batch *batch, gm_tensor *h, gm_tensor *v, const float *iou, gm_triplet by);

#endif
