/* span_logits: class scores of every span (i, j), j - i < widths, of each sentence, and their loss (docs/conventions.md,
 * "Span head"): hidden = drop(relu(start_i + end_j + width[j - i] + bias)), logits = out hidden + out_bias. The
 * [spans, hidden] tensor never exists: a span's hidden vector lives in registers and is recomputed in backward.
 * Work: some 2 x spans x hidden x (classes + 1) flops. */
#ifndef GM_SPAN_LOGITS_H
#define GM_SPAN_LOGITS_H

#include "kernels.h"

enum { GM_SPAN_MAX_WIDTHS = 16, GM_SPAN_MAX_CLASSES = 64 };

struct gm_span_logits {
    const void *projected;    /* [words, 2 hidden]: start | end, the products of the word states with both weights */
    const float *width;       /* [widths, hidden] */
    const float *bias;        /* [hidden] */
    const float *out;         /* [classes, hidden] */
    const float *out_bias;    /* [classes] */
    const int32_t *cu_words;  /* [sequences + 1] */
    gm_drop drop;             /* of hidden: position = start << 4 | width, element = column */
    float *logits;            /* [words * widths, classes]; row i * widths + (j - i), i over all words; rows that leave the sentence are zeroed */
    const uint8_t *label;     /* [words * widths] class, 255 beyond the sentence; NULL: no loss */
    const float *scale;       /* in device memory: 1 / words of the whole step */
    double *loss;             /* added to: sum over spans of cross-entropy x scale */
    float *dlogits;           /* [words * widths, classes]; written with label, zero beyond the sentence */
    int32_t sequences, widths, hidden, classes;
};

/* Gradients add or overwrite by their flag; overwritten dprojected has zeros in rows cu_words[sequences] to `words`. */
struct gm_span_logits_grad {
    const void *projected;
    const float *width, *bias, *out;
    const int32_t *cu_words;
    gm_drop drop;
    const float *dlogits;
    void *dprojected;         /* [words, 2 hidden] */
    float *dwidth, *dbias, *dout, *dout_bias;
    bool add_dprojected, add_dwidth, add_dbias, add_dout, add_dout_bias;
    int32_t sequences, widths, hidden, classes;
    int32_t words;            /* capacity of dprojected */
};

#endif
