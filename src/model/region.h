/* Grounding by attention over regions (docs/conventions.md, "Region head"): an entity's span vector asks, the regions of its
 * sentence's picture and one learned null answer. A region is its look, a feature or the state of a vision encoder, and
 * where it lies in the picture. */
#ifndef GM_MODEL_REGION_H
#define GM_MODEL_REGION_H

#include "model/batch.h"
#include "region_scores/region_scores_op.h"
#include "region_triplet/region_triplet_op.h"

enum { GM_REGION_KEY = 64 };

typedef struct gm_region_head {
    gm_param *visual, *visual_bias; /* [hidden, look's width] */
    gm_param *box;                  /* [hidden, GM_REGION_GEOMETRY] */
    gm_param *norm, *norm_bias;     /* of the sum of both */
    gm_param *query, *key, *null;   /* [GM_REGION_KEY, span's], [GM_REGION_KEY, hidden], [1, GM_REGION_KEY] */
    gm_triplet debias;              /* weight 0: without the loss */
} gm_region_head;

gm_status gm_region_head_declare(gm_region_head *h, gm_params *ps, int32_t look, int32_t hidden, int32_t span, gm_err *err);
/* What the scores are made of: query [entities, GM_REGION_KEY], keys [regions, GM_REGION_KEY]. */
typedef struct gm_region_view { gm_tensor *query, *keys; } gm_region_view;

/* Probabilities of the regions of the entities asked about, whose span vectors are `spans` [entities, span]; look [regions,
 * width]. In training with the losses: words are the states [words, hidden] that the debias loss compares with. */
gm_status gm_region_head_forward(const gm_region_head *h, gm_tape *t, const gm_batch *b, const gm_asked *asked, gm_tensor *look, gm_tensor *spans,
                                 gm_tensor *words, gm_region_view *view, gm_region_result *result);
float gm_region_scale(void); /* of the scores: 1 / sqrt(GM_REGION_KEY) */

#endif
