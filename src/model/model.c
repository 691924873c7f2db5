#include "model/model.h"

#include "base/memory.h"
#include "embedding_bag/embedding_bag_op.h"

const char *const gm_shape_use_names[GM_SHAPE_USES] = { "none", "word", "both" };

gm_status gm_model_words(const gm_model *m, gm_tape *t, const gm_batch *b, int32_t layer, gm_tensor *before, gm_tensor **states)
{
    if (before != NULL)
        GM_TRY(gm_encoder_words_from(&m->encoder, t, b, layer, before, states));
    else
        GM_TRY(gm_encoder_words(&m->encoder, t, b, states));
    return m->shape != NULL ? gm_op_embedding_bag(t, *states, b->word_shape, GM_SHAPE_BAG, m->shape) : GM_OK;
}

/* The same, keeping the states that the trace asks for. */
static gm_status traced_words(const gm_model *m, gm_tape *t, const gm_batch *b, gm_trace *trace, gm_tensor **states)
{
    trace->before = NULL;
    if (trace->layer < 0) return gm_model_words(m, t, b, 0, NULL, states);
    GM_TRY(gm_encoder_words_keeping(&m->encoder, t, b, trace->layer, &trace->before, states));
    return m->shape != NULL ? gm_op_embedding_bag(t, *states, b->word_shape, GM_SHAPE_BAG, m->shape) : GM_OK;
}

gm_status gm_model_loss(const gm_model *m, gm_tape *t, const gm_batch *b)
{
    gm_tensor *states;
    float *logits;
    GM_TRY(gm_model_words(m, t, b, 0, NULL, &states));
    if (m->options.head == GM_HEAD_CRF) return gm_crf_head_loss(&m->crf, t, b, states);
    return gm_span_head_forward(&m->span, t, b, states, true, &logits);
}

static gm_status find_spans(const gm_model *m, gm_tape *t, const gm_batch *b, gm_tensor *states, gm_trace *trace, gm_found *found, int32_t *first)
{
    float *computed;
    const float *logits;
    const size_t row = GM_SPAN_WIDTHS * (size_t)(m->labels.count + 1); /* of a word */
    GM_TRY(gm_span_head_project(&m->span, t, states, &trace->projected));
    GM_TRY(gm_span_head_logits(&m->span, t, b, trace->projected, false, &computed));
    GM_TRY(gm_tape_fetch(t, computed, (size_t)b->words.rows * row * sizeof *logits, &logits));
    for (int32_t s = 0; s < b->sentences; s++) {
        const int32_t at = b->word_cu[s], n = b->word_cu[s + 1] - at;
        const float *rows = logits + (size_t)at * row;
        first[s + 1] = first[s] + gm_span_decode(rows, n, m->labels.count, m->options.is_nested, found + first[s]);
    }
    return GM_OK;
}

static gm_status find_tags(const gm_model *m, gm_tape *t, const gm_batch *b, gm_tensor *states, gm_trace *trace, gm_found *found, int32_t *first)
{
    int32_t *path;
    float *marginal;
    gm_span *scratch;
    GM_TRY(gm_crf_head_paths(&m->crf, t, b, states, &path, &marginal));
    trace->marginal = marginal;
    GM_TRY(gm_tape_note(t, (size_t)b->words.rows * sizeof *scratch, &scratch));
    for (int32_t s = 0; s < b->sentences; s++) {
        const int32_t at = b->word_cu[s], n = b->word_cu[s + 1] - at;
        first[s + 1] = first[s] + gm_crf_spans(&m->crf, path + at, marginal + (size_t)at * (size_t)m->crf.tags, n, scratch, found + first[s]);
    }
    return GM_OK;
}

gm_status gm_model_find_traced(const gm_model *m, gm_tape *t, const gm_batch *b, gm_trace *trace, gm_found **found, int32_t **first)
{
    gm_tensor *states;
    GM_TRY(gm_tape_note(t, ((size_t)b->sentences + 1) * sizeof(int32_t), first));
    GM_TRY(gm_tape_note(t, (size_t)b->words.rows * GM_SPAN_WIDTHS * sizeof(gm_found), found));
    (*first)[0] = 0;
    GM_TRY(traced_words(m, t, b, trace, &states));
    return (m->options.head == GM_HEAD_CRF ? find_tags : find_spans)(m, t, b, states, trace, *found, *first);
}

gm_status gm_model_find(const gm_model *m, gm_tape *t, const gm_batch *b, gm_found **found, int32_t **first)
{
    return gm_model_find_traced(m, t, b, &(gm_trace){ .layer = -1 }, found, first);
}

void gm_model_destroy(gm_model *m)
{
    gm_tokenizer_destroy(m->tokenizer);
    gm_params_destroy(&m->params);
    gm_labels_free(&m->labels);
    gm_free(m->config_json);
    *m = (gm_model){ 0 };
}
