/* span_vector: the hidden vector of chosen spans, the entities: y_e = drop(relu(start_i + end_j + width[j - i] + bias)) of
 * entity e with first word i and last word j. Inputs and masks are those of span_logits, so y_e is the vector that span's
 * logits were made of. Rows from *n_rows on are set to zero. Work per element: some 4 flops, bound by memory. */
#ifndef GM_SPAN_VECTOR_H
#define GM_SPAN_VECTOR_H

#include "kernels.h"

struct gm_span_vector {
    const void *projected;    /* [words, 2 hidden]: start | end */
    const float *width;       /* [widths, hidden]; last - first < widths for every entity */
    const float *bias;        /* [hidden] */
    const gm_entity_span *span; /* [capacity] */
    const gm_token *token;    /* [capacity] sequence of each entity */
    const int32_t *cu_words;  /* [sequences + 1]; read only with dropout */
    gm_drop drop;             /* position = start << 4 | width, start in the sentence; element = column */
    void *y;                  /* [capacity, hidden] */
    const int32_t *n_rows;
    int32_t capacity, hidden;
};

/* Needs y as forward left it, and no masks: a column passed where y is above zero. Gradients add or overwrite by their
 * flags; overwritten dprojected has zeros in rows that no entity begins or ends with, up to `words`. In a fixed order:
 * the same bits on every run. */
struct gm_span_vector_grad {
    const void *y, *dy;       /* [capacity, hidden] */
    const gm_entity_span *span;
    const int32_t *cu_words;  /* [sequences + 1] */
    const int32_t *cu_entities; /* [sequences + 1]; the last is *n_rows */
    float keep;               /* 1 / (1 - p) of the dropout */
    void *dprojected;         /* [words, 2 hidden] */
    float *dwidth, *dbias;    /* [widths, hidden], [hidden]; NULL: not asked for, as dprojected */
    bool add_dprojected, add_dwidth, add_dbias;
    const int32_t *n_rows;
    int32_t sequences, capacity, words, widths, hidden;
};

#endif
