/* What region_scores records on the tape: shapes are checked here once for all backends; results live in the tape's arena. */
#ifndef GM_REGION_SCORES_OP_H
#define GM_REGION_SCORES_OP_H

#include "tensor/tensor.h"

/* The entities of a batch, their words and their regions: three packs of the same sequences. */
typedef struct gm_region_batch {
    const gm_pack *words, *entities, *regions;
    const gm_entity_span *span; /* [entities' capacity]; this and the next in device memory */
    const int32_t *cu_scores; /* [entities' capacity + 1]: entity e has the K + 1 scores from cu_scores[e] on */
    int32_t scores;           /* capacity of what lies there: room for so many floats */
} gm_region_batch;

typedef struct gm_region_result { float *prob, *entropy; int32_t *argmax; } gm_region_result; /* in device memory */

/* Probabilities from q [entities, width] and keys [regions, width], null [1, width] (or [width, 1]), with dropout of q at
 * GM_SITE_REGION_QUERY; with `target` (floats at cu_scores) the loss, over gm_step's inv_entities, and the gradients. */
gm_status gm_op_region_scores(gm_tape *t, const gm_region_batch *batch, gm_tensor *q, gm_tensor *keys, const gm_param *null, float scale,
                              const float *target, gm_region_result *result);

#endif
