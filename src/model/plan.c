/* A pass over the backend that does nothing (gm_backend_dry), three of whose operations count their flops by the formula of
 * their contracts. The rest is bound by memory. */
#include "model/plan.h"

#include "attention/attention.h"
#include "backend/backend.h"
#include "base/memory.h"
#include "linear/linear.h"
#include "span_logits/span_logits.h"

/* The device is the first member, so operations find the counts behind it. */
typedef struct counter {
    gm_device dev;
    double forward, backward;
} counter;

static gm_status count_linear(const gm_linear *a, gm_device *dev)
{
    ((counter *)dev)->forward += 2.0 * a->rows * a->in * a->out;
    return GM_OK;
}

static gm_status count_linear_grad(const gm_linear_grad *a, gm_device *dev)
{
    const int products = (a->dx != NULL) + (a->dw != NULL);
    ((counter *)dev)->backward += products * 2.0 * a->rows * a->in * a->out;
    return GM_OK;
}

static double attention_flops(const int32_t *cu_q, const int32_t *cu_k, int32_t sequences, double hidden)
{
    double pairs = 0.0;
    for (int32_t s = 0; s < sequences; s++) pairs += (double)(cu_q[s + 1] - cu_q[s]) * (double)(cu_k[s + 1] - cu_k[s]);
    return 4.0 * pairs * hidden; /* scores, and their products with the values */
}

static gm_status count_attention(const gm_attention *a, gm_device *dev)
{
    ((counter *)dev)->forward += attention_flops(a->cu_q, a->cu_k, a->sequences, (double)a->heads * a->width);
    return GM_OK;
}

/* Five products where forward has two: the scores once more, and gradients of probabilities, q, k and v. */
static gm_status count_attention_grad(const gm_attention_grad *a, gm_device *dev)
{
    ((counter *)dev)->backward += 2.5 * attention_flops(a->cu_q, a->cu_k, a->sequences, (double)a->heads * a->width);
    return GM_OK;
}

static double span_flops(const int32_t *cu, int32_t sequences, int32_t widths, double hidden, double classes)
{
    return 2.0 * cu[sequences] * widths * hidden * (classes + 1.0);
}

static gm_status count_span_logits(const gm_span_logits *a, gm_device *dev)
{
    ((counter *)dev)->forward += span_flops(a->cu_words, a->sequences, a->widths, a->hidden, a->classes);
    return GM_OK;
}

static gm_status count_span_logits_grad(const gm_span_logits_grad *a, gm_device *dev)
{
    ((counter *)dev)->backward += 2.0 * span_flops(a->cu_words, a->sequences, a->widths, a->hidden, a->classes);
    return GM_OK;
}

typedef struct counting {
    gm_backend backend;
    counter device;
    gm_arena arena, notes;
    gm_batch batch;
    gm_grads grads;
    gm_step step;
    int32_t *ids, *first;  /* [pieces], [words] of the one sentence that all are */
    uint8_t *shape;
    gm_sample sample;
    const gm_sample **samples;
} counting;

static gm_status make_load(counting *c, const gm_plan_load *load, gm_err *err)
{
    static const gm_record nobody = { .id = (char *)(uintptr_t) "plan" };
    c->ids = gm_calloc((size_t)load->pieces, sizeof *c->ids);
    c->first = gm_calloc((size_t)load->words, sizeof *c->first);
    c->shape = gm_calloc((size_t)load->words, sizeof *c->shape);
    c->samples = gm_calloc((size_t)load->sentences, sizeof *c->samples);
    if (c->ids == NULL || c->first == NULL || c->shape == NULL || c->samples == NULL)
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for a batch of %d sentences", load->sentences);
    for (int32_t i = 0; i < load->words; i++) c->first[i] = 1 + i; /* behind the piece that begins the sentence */
    c->sample = (gm_sample){ .record = &nobody, .text = { .ids = c->ids, .count = load->pieces, .first_piece = c->first, .words = load->words }, .shape = c->shape };
    for (int32_t i = 0; i < load->sentences; i++) c->samples[i] = &c->sample;
    return gm_batch_fill(&c->batch, c->samples, load->sentences, (gm_batch_options){ .scheme = GM_TAGS_BIO }, err);
}

/* Any address that is not NULL serves: nothing is read or written there. */
static void *nowhere(void) { return (void *)(uintptr_t)4096; }

static gm_status open_device(counting *c, gm_float_type type, gm_err *err)
{
    const gm_backend of = { .type = type };
    gm_backend_dry(&of, &c->backend);
    c->backend.kernels.linear = (gm_linear_row){ count_linear, count_linear_grad };
    c->backend.kernels.attention = (gm_attention_row){ count_attention, count_attention_grad };
    c->backend.kernels.span_logits = (gm_span_logits_row){ count_span_logits, count_span_logits_grad };
    GM_TRY(gm_device_create(&c->backend, 1, &c->device.dev, err));
    c->device.dev.err = err;
    c->device.dev.step = &c->step;
    gm_arena_lend(&c->arena, nowhere(), SIZE_MAX / 4);
    return gm_arena_init(&c->notes, (size_t)1 << 30, err);
}

static gm_status pass(counting *c, const gm_model *m, const gm_plan_load *load, gm_err *err)
{
    double loss = 0.0;
    gm_tape tape = { .k = &c->backend.kernels, .dev = &c->device.dev, .arena = &c->arena, .notes = &c->notes, .err = err };
    c->grads = (gm_grads){ .dense = nowhere(), .rows = nowhere(), .touched = load->sentences * load->pieces };
    c->grads.is_written = gm_calloc((size_t)m->params.count, sizeof(bool));
    if (c->grads.is_written == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a pass");
    gm_tape_begin(&tape, &c->grads, m->options.dropout, &loss);
    GM_TRY(gm_model_loss(m, &tape, &c->batch));
    return gm_tape_backward(&tape);
}

static int64_t parameters(const gm_params *ps)
{
    int64_t all = 0;
    for (int32_t i = 0; i < ps->count; i++) all += (int64_t)ps->items[i]->count;
    return all;
}

gm_status gm_plan_count(const gm_model *m, gm_float_type type, const gm_plan_load *load, gm_plan *p, gm_err *err)
{
    counting c = { 0 };
    gm_err scratch;
    if (gm_model_asks(m)) return gm_fail(err, GM_ERR_CONFIG, "plan: counts models of text; pictures and fine types (vision, fine) are not counted yet");
    gm_status status = open_device(&c, type, err != NULL ? err : &scratch);
    if (status == GM_OK) status = make_load(&c, load, err);
    if (status == GM_OK) status = pass(&c, m, load, c.device.dev.err);
    const int64_t table = m->params.table != NULL ? (int64_t)m->params.table->count : 0;
    *p = (gm_plan){ .parameters = parameters(&m->params),
                    .dense = (int64_t)m->params.dense_count,
                    .table = table,
                    .frozen = (int64_t)m->params.frozen_count,
                    .table_cols = m->params.table != NULL ? m->params.table->spec.cols : 0,
                    .forward = c.device.forward,
                    .backward = c.device.backward,
                    .arena = c.arena.peak };
    gm_batch_free(&c.batch);
    gm_arena_destroy(&c.notes);
    gm_device_destroy(&c.device.dev);
    void *const blocks[] = { c.ids, c.first, c.shape, (void *)c.samples, c.grads.is_written };
    for (size_t i = 0; i < GM_LEN(blocks); i++) gm_free(blocks[i]);
    return status;
}
