/* The two heads over word states: all spans (docs/conventions.md, "Span head") and BIO or BIOES tags by a linear-chain CRF. */
#ifndef GM_MODEL_HEADS_H
#define GM_MODEL_HEADS_H

#include "data/labels.h"
#include "model/batch.h"
#include "span_logits/span_logits_op.h"
#include "crf/crf_op.h"

enum { GM_SPAN_HIDDEN = 256 };

/* A predicted entity: words, type and its probability; of models that see pictures, or know fine types, those; what samples of
 * dropout say of it stands in `u` once they are drawn. */
struct gm_found {
    int32_t start, end, type;
    float score;
    int32_t region;               /* of the sentence's regions; -1: none shows it */
    float region_score;           /* probability of that answer; NAN where nothing was asked */
    int32_t fine;                 /* -1: not asked for */
    float fine_score;
    gm_uncertainty u;
};

/* What stands before the span head's output: all spans' vectors are sums of these. Heads of entities share it. */
typedef struct gm_span_body { gm_param *project, *width, *bias; } gm_span_body;
typedef struct gm_span_head { gm_span_body body; gm_param *out, *out_bias; int32_t types; bool is_nested; } gm_span_head;

typedef struct gm_crf_head {
    gm_param *emit, *emit_bias;
    gm_crf_params crf;
    gm_tag_scheme scheme;
    int32_t types, tags;
    uint8_t allowed[(GM_MAX_TYPES * 4 + 2) * (GM_MAX_TYPES * 4 + 2)]; /* moves that the scheme allows, begin and end included */
} gm_crf_head;

gm_status gm_span_body_declare(gm_span_body *s, gm_params *ps, int32_t hidden, gm_err *err);
/* projected [words, 2 GM_SPAN_HIDDEN] from the states of words (gm_encoder_words). */
gm_status gm_span_body_project(const gm_span_body *s, gm_tape *t, gm_tensor *states, gm_tensor **projected);

/* Declares the body and the output. */
gm_status gm_span_head_declare(gm_span_head *h, gm_params *ps, int32_t hidden, int32_t types, gm_err *err);
/* with_loss adds it to the tape. *logits [words * GM_SPAN_WIDTHS, types + 1], in device memory. */
gm_status gm_span_head_forward(const gm_span_head *h, gm_tape *t, const gm_batch *b, gm_tensor *projected, bool with_loss, float **logits);
/* Entities of one sentence of n words from its logits rows: argmax not none, by falling probability without overlap (ties:
 * shorter, then earlier), unless nested; in order of start. found has room for n * GM_SPAN_WIDTHS, scratch for as many. */
int32_t gm_span_decode(const float *logits, int32_t n, int32_t types, bool is_nested, gm_found *found);

gm_status gm_crf_head_declare(gm_crf_head *h, gm_params *ps, int32_t hidden, int32_t types, gm_tag_scheme scheme, gm_err *err);
gm_status gm_crf_head_loss(const gm_crf_head *h, gm_tape *t, const gm_batch *b, gm_tensor *states);
/* Best well-formed paths: path [words], marginal [words, tags], in host memory until the pass ends. Waits for the device. */
gm_status gm_crf_head_paths(const gm_crf_head *h, gm_tape *t, const gm_batch *b, gm_tensor *states, int32_t **path, float **marginal);
/* Entities of one sentence; score = mean posterior marginal of the span's tags. */
int32_t gm_crf_spans(const gm_crf_head *h, const int32_t *path, const float *marginal, int32_t n, gm_span *scratch, gm_found *found);

#endif
