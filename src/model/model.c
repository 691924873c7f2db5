#include "model/model.h"

#include <math.h>

#include "base/bf16.h"
#include "base/memory.h"
#include "cross_entropy/cross_entropy_op.h"
#include "embedding_bag/embedding_bag_op.h"
#include "linear/linear_op.h"
#include "span_vector/span_vector_op.h"

const char *const gm_shape_use_names[GM_SHAPE_USES] = { "none", "word", "both" };
const char *const gm_vision_names[GM_VISION_KINDS] = { "none", "features", "tiny" };

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

bool gm_model_asks(const gm_model *m) { return m->options.vision != GM_VISION_NONE || m->fine != NULL; }

gm_scene_options gm_model_scene(const gm_model *m)
{
    return (gm_scene_options){ .feature_width = m->options.vision == GM_VISION_FEATURES ? m->options.feature_width : 0,
                               .side = m->options.vision == GM_VISION_TINY ? m->vit.config.image : 0,
                               .max_regions = m->options.vision == GM_VISION_NONE ? 0 : m->options.max_regions };
}

/* What the regions of the batch look like, [regions, width]. */
static gm_status look_at(const gm_model *m, gm_tape *t, const gm_batch *b, gm_tensor **look)
{
    if (m->options.vision == GM_VISION_TINY) return gm_vit_forward(&m->vit, t, &b->scene.regions, b->scene.crops, look);
    return gm_tape_given(t, &b->scene.regions, b->scene.feature, m->options.feature_width, look);
}

/* What the heads of entities say. */
typedef struct answers { gm_region_result region; gm_region_view view; gm_tensor *fine; } answers;

/* With the targets of `asked` the losses as well. told->region is empty where no picture is in sight. */
static gm_status ask(const gm_model *m, gm_tape *t, const gm_batch *b, const gm_asked *asked, gm_tensor *projected, gm_tensor *states, answers *told)
{
    gm_tensor *spans, *look;
    *told = (answers){ 0 };
    if (asked->pack.capacity == 0) return GM_OK;
    GM_TRY(gm_op_span_vector(t, &b->words, &asked->pack, asked->span, projected, m->span.body.width, m->span.body.bias, &spans));
    if (m->fine != NULL) {
        GM_TRY(gm_op_linear(t, spans, m->fine, m->fine_bias, GM_LINEAR_PLAIN, &told->fine));
        if (asked->fine != NULL) GM_TRY(gm_op_cross_entropy(t, told->fine, asked->fine, &t->dev->step->inv_typed));
    }
    if (m->options.vision == GM_VISION_NONE || b->scene.regions.capacity == 0) return GM_OK;
    GM_TRY(look_at(m, t, b, &look));
    return gm_region_head_forward(&m->region, t, b, asked, look, spans, states, &told->view, &told->region);
}

static bool needs_projection(const gm_model *m) { return m->options.head == GM_HEAD_SPAN || gm_model_asks(m); }

gm_status gm_model_loss(const gm_model *m, gm_tape *t, const gm_batch *b)
{
    gm_tensor *states, *projected = NULL;
    float *logits;
    answers unread;
    GM_TRY(gm_model_words(m, t, b, 0, NULL, &states));
    if (needs_projection(m)) GM_TRY(gm_span_body_project(&m->span.body, t, states, &projected));
    if (m->options.head == GM_HEAD_CRF)
        GM_TRY(gm_crf_head_loss(&m->crf, t, b, states));
    else
        GM_TRY(gm_span_head_forward(&m->span, t, b, projected, true, &logits));
    return gm_model_asks(m) ? ask(m, t, b, &b->scene.gold, projected, states, &unread) : GM_OK;
}

static gm_status find_spans(const gm_model *m, gm_tape *t, const gm_batch *b, gm_tensor *projected, gm_found *found, int32_t *first)
{
    float *computed;
    const float *logits;
    const size_t row = GM_SPAN_WIDTHS * (size_t)(m->labels.count + 1); /* of a word */
    GM_TRY(gm_span_head_forward(&m->span, t, b, projected, false, &computed));
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

/* An entity of a sentence without a picture is shown by none, for sure. */
static gm_status take_regions(gm_tape *t, const gm_batch *b, const gm_region_result *r, const gm_asked *asked, gm_found *found, const int32_t *first)
{
    const float *prob;
    const int32_t *best;
    int32_t at = 0;
    if (r->prob != NULL) {
        GM_TRY(gm_tape_fetch(t, r->prob, (size_t)asked->scores * sizeof *prob, &prob));
        GM_TRY(gm_tape_fetch(t, r->argmax, (size_t)asked->pack.rows * sizeof *best, &best));
    }
    for (int32_t s = 0; s < b->sentences; s++) {
        const int32_t regions = b->scene.region_cu[s + 1] - b->scene.region_cu[s];
        for (int32_t e = first[s]; e < first[s + 1]; e++, at += regions + 1) {
            found[e].region = r->prob != NULL && best[e] < regions ? best[e] : -1;
            found[e].region_score = r->prob != NULL ? prob[at + best[e]] : 1.0f;
        }
    }
    return GM_OK;
}

/* The likeliest fine type of each entity, and its probability. */
static gm_status take_fine(gm_tape *t, const gm_tensor *logits, int32_t entities, gm_found *found)
{
    const size_t element = t->dev->element, row = (size_t)logits->cols;
    const char *values;
    GM_TRY(gm_tape_fetch(t, logits->data, (size_t)entities * row * element, &values));
    for (int32_t e = 0; e < entities; e++) {
        const char *z = values + (size_t)e * row * element;
        float top = -INFINITY, sum = 0.0f;
        for (int32_t c = 0; c < logits->cols; c++) {
            const float v = gm_activation_at(z, c, element);
            if (v > top) found[e].fine = c;
            top = fmaxf(top, v);
        }
        for (int32_t c = 0; c < logits->cols; c++) sum += expf(gm_activation_at(z, c, element) - top);
        found[e].fine_score = 1.0f / sum;
    }
    return GM_OK;
}

static gm_status ask_about(const gm_model *m, gm_tape *t, const gm_batch *b, gm_tensor *projected, gm_tensor *states, gm_trace *trace, gm_found *found,
                           const int32_t *first)
{
    answers told;
    GM_TRY(gm_asked_of_found(t, b, found, first, m->options.is_nested, &trace->asked));
    GM_TRY(ask(m, t, b, &trace->asked, projected, states, &told));
    trace->view = told.view;
    if (told.fine != NULL) GM_TRY(take_fine(t, told.fine, trace->asked.pack.rows, found));
    return m->options.vision != GM_VISION_NONE ? take_regions(t, b, &told.region, &trace->asked, found, first) : GM_OK;
}

gm_status gm_model_find_traced(const gm_model *m, gm_tape *t, const gm_batch *b, gm_trace *trace, gm_found **found, int32_t **first)
{
    gm_tensor *states, *projected = NULL;
    GM_TRY(gm_tape_note(t, ((size_t)b->sentences + 1) * sizeof(int32_t), first));
    GM_TRY(gm_tape_note(t, (size_t)b->words.rows * GM_SPAN_WIDTHS * sizeof(gm_found), found));
    (*first)[0] = 0;
    GM_TRY(traced_words(m, t, b, trace, &states));
    if (needs_projection(m)) GM_TRY(gm_span_body_project(&m->span.body, t, states, &projected));
    trace->projected = projected;
    if (m->options.head == GM_HEAD_CRF)
        GM_TRY(find_tags(m, t, b, states, trace, *found, *first));
    else
        GM_TRY(find_spans(m, t, b, projected, *found, *first));
    return gm_model_asks(m) ? ask_about(m, t, b, projected, states, trace, *found, *first) : GM_OK;
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
    gm_labels_free(&m->fine_labels);
    gm_free(m->config_json);
    gm_free(m->vision_folder);
    *m = (gm_model){ 0 };
}
