/* region_triplet: UnCo's loss against the bias of one modality. The anchor a of an entity is the mean of its words' states;
 * over all pairs of a positive region p (IoU > .5) and another n of its sentence the loss is the mean of
 *     max(0, D(a, v_p) - D(a, v_n) + margin (1 - IoU_n)),   D = 1 - cosine,
 * and the sum over entities x weight x inv_entities. Code form, as the authors' program has it: D is the Euclidean distance
 * with 1e-6 added to every component of the difference, the margin takes IoU_p, and a region of IoU .5 is in no pair. The
 * hinge has gradient 0 at 0. An entity without a pair adds nothing. A vector of norm below 1e-8 has cosine 0 with all and
 * no gradient. Work per region of an entity: some 10 width flops. */
#ifndef GM_REGION_TRIPLET_H
#define GM_REGION_TRIPLET_H

#include "kernels.h"

struct gm_region_triplet {
    const void *h;            /* [words, width] */
    const void *v;            /* [regions, width] */
    const gm_entity_span *span; /* [capacity] */
    const gm_token *token;    /* [capacity] sequence of each entity */
    const int32_t *cu_regions; /* [sequences + 1] */
    const int32_t *cu_scores; /* [capacity + 1]; entity e has K + 1 places from cu_scores[e] on, the last for none */
    const float *iou;         /* at cu_scores; that of none is not read */
    float margin, weight;
    bool is_code_form;
    const float *inv_entities; /* in device memory */
    double *loss;             /* added to */
    /* For backward; all zero but the anchor where an entity has no pair. */
    float *anchor, *danchor;  /* [capacity, width] */
    float *distance;          /* at cu_scores: D of each region, as the two below not written for none */
    float *pull, *own;        /* at cu_scores: dv_r = pull a + own v_r; code form: pull (a - v_r + 1e-6) */
    const int32_t *n_rows;
    int32_t capacity, width;
};

/* Gradients add or overwrite by their flags; overwritten, all rows up to `words` and `regions` are written. NULL: not asked
 * for. In a fixed order: the same bits on every run. */
struct gm_region_triplet_grad {
    const void *v;
    const gm_entity_span *span;
    const int32_t *cu_words, *cu_regions, *cu_entities; /* [sequences + 1] */
    const int32_t *cu_scores;
    bool is_code_form;
    const float *anchor, *danchor, *pull, *own;
    void *dh;                 /* [words, width] */
    void *dv;                 /* [regions, width] */
    bool add_dh, add_dv;
    int32_t sequences, words, regions, width; /* words, regions: capacities of dh and dv */
};

#endif
