/* region_scores: probabilities of an entity's regions, and of none. Entity e of a sentence with K regions has K + 1 scores
 * from cu_scores[e] on: scale x drop(q_e) . keys_r for the regions r of its sentence in order, then with the null key;
 * their softmax, its largest entry, its entropy. Without regions null has probability 1 and the entropy is 0.
 * Loss: KL(target || prob) x inv_entities, 0 log 0 = 0. An entity without regions, or whose targets are all 0, adds
 * nothing and gets no gradient. Work per score: 2 width flops. */
#ifndef GM_REGION_SCORES_H
#define GM_REGION_SCORES_H

#include "kernels.h"

struct gm_region_scores {
    const void *q;            /* [capacity, width] */
    const void *keys;         /* [regions, width] */
    const float *null;        /* [width] */
    const gm_entity_span *span; /* [capacity]; with cu_words read only with dropout */
    const gm_token *token;    /* [capacity] sequence of each entity */
    const int32_t *cu_words, *cu_regions; /* [sequences + 1] */
    const int32_t *cu_scores; /* [capacity + 1] */
    gm_drop drop;             /* of q: position = start << 4 | width as the span's, element = column */
    float scale;
    float *prob;              /* at cu_scores */
    int32_t *argmax;          /* [capacity] place among the K + 1, the first of equals; K: null. Rows from *n_rows on stay */
    float *entropy;           /* [capacity] in nats. Rows from *n_rows on stay */
    const float *target;      /* at cu_scores, each entity's add up to 1 or are all 0; NULL: no loss */
    const float *inv_entities; /* in device memory */
    double *loss;             /* added to */
    float *dscore;            /* at cu_scores: gradient of each score; written with target */
    const int32_t *n_rows;
    int32_t capacity, width;
};

/* Gradients add or overwrite by their flags; overwritten dq and dkeys have zeros in the rows behind the true ones. NULL: not
 * asked for. In a fixed order: the same bits on every run. */
struct gm_region_scores_grad {
    const void *q, *keys;
    const float *null;
    const gm_entity_span *span;
    const gm_token *token;
    const int32_t *cu_words, *cu_regions;
    const int32_t *cu_entities; /* [sequences + 1] */
    const int32_t *cu_scores;
    gm_drop drop;
    float scale;
    const float *dscore;
    void *dq;                 /* [capacity, width] */
    void *dkeys;              /* [regions, width] */
    float *dnull;             /* [width] */
    bool add_dq, add_dkeys, add_dnull;
    const int32_t *n_rows;
    int32_t sequences, capacity, regions, width; /* regions: capacity of keys */
};

#endif
