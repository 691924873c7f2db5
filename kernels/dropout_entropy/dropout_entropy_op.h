/* dropout_entropy as a model calls it, in prediction: shapes are checked here once for all backends. */
#ifndef GM_DROPOUT_ENTROPY_OP_H
#define GM_DROPOUT_ENTROPY_OP_H

#include "tensor/tensor.h"

/* What is sampled: the entities of a batch and their sentences' words, two packs of the same sequences. */
typedef struct gm_sampled {
    const gm_pack *words, *entities;
    const gm_entity_span *span; /* [entities' capacity] in device memory */
    gm_site site;
    float p;
    uint32_t first_draw;
    int32_t samples;
    int32_t step;               /* rows of x from a sample to the next; 0: all samples share the entities' rows */
} gm_sampled;

/* Sums over samples, in device memory: prob [entities, classes] and entropy [entities, 2]. */
typedef struct gm_sample_sums { double *prob, *entropy; } gm_sample_sums;

/* Sums of zero. */
gm_status gm_sample_sums_make(gm_tape *t, int32_t entities, int32_t classes, gm_sample_sums *sums);
/* Adds the samples of x under a linear classifier with weight [classes, width] and bias [classes]. */
gm_status gm_op_dropout_entropy(gm_tape *t, const gm_sampled *s, const gm_tensor *x, const gm_param *weight, const gm_param *bias, gm_sample_sums sums);

/* Classes that differ from sentence to sentence: rows of `w`, those of sequence q from cu_rows[q] on, and one class more whose
 * weight is `null` [width]. Sums of the probabilities of entity e lie from cu_scores[e] on. All in device memory. */
typedef struct gm_sample_rows { const gm_tensor *w; const gm_param *null; const int32_t *cu_rows, *cu_scores; float scale; int32_t most; } gm_sample_rows; /* most: classes of an entity, null included */
gm_status gm_op_dropout_entropy_rows(gm_tape *t, const gm_sampled *s, const gm_tensor *x, const gm_sample_rows *rows, gm_sample_sums sums);

#endif
