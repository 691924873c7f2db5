/* dropout_entropy: what Monte-Carlo dropout needs of a classifier over entities (Gal and Ghahramani 2016; Houlsby et al. 2011
 * for the split of the entropy). In sample t entity e has the logits z_c = scale x drop(x) . w_c + bias_c over its classes;
 * the softmax p of each sample is added up, and so is its entropy, in two parts that make the whole: that of {class 0, the
 * others}, and (1 - p_0) times that of the others among themselves. Masks and samples are never stored.
 * Entity e draws sample t as number first_draw + t, so several calls that add to the same sums are one longer call, bit for
 * bit. Work per entity and sample: 2 width classes flops and width / 4 counters of Philox. */
#ifndef GM_DROPOUT_ENTROPY_H
#define GM_DROPOUT_ENTROPY_H

#include "kernels.h"

enum { GM_ENTROPY_MAX_CLASSES = 128, GM_ENTROPY_MAX_WIDTH = 1024 };

struct gm_dropout_entropy {
    const void *x;            /* row e + t * step is entity e's in sample t, [.., width]; step 0: all samples share it */
    const void *w;            /* [.., width] rows of classes */
    const float *bias;        /* [classes] or NULL */
    const float *null;        /* [width] of one class more, the last, without bias; or NULL */
    const int32_t *cu_rows;   /* [sequences + 1] classes of an entity: the rows of w of its sequence; NULL: the first `classes` */
    const int32_t *cu_scores; /* [capacity + 1] where in prob entity e's classes lie, null included; NULL: as many for each */
    const gm_entity_span *span; /* [capacity]; this and cu_words are read only with dropout */
    const gm_token *token;    /* [capacity] sequence of each entity */
    const int32_t *cu_words;  /* [sequences + 1] */
    gm_drop drop;             /* of x: position = start << 4 | width, start in the sentence, element = column; draw is not read */
    double *prob;             /* at cu_scores: sum over the samples of each class's probability; added to */
    double *entropy;          /* [capacity, 2] sums of the entropy's parts; added to. One class alone has none */
    const int32_t *n_rows;
    float scale;
    uint32_t first_draw;
    int32_t samples, step, classes, capacity, width;
};

#endif
