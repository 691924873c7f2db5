/* Each operation by itself, at the shapes of a training step: every worker calls it at the same time on operands of its own,
 * as training does. Operands are used again by each call (warm): what fits a cache is found there. Work is counted by the
 * formulas of the contracts, each operand read or written once. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "adamw/adamw.h"
#include "attention/attention.h"
#include "base/memory.h"
#include "bench.h"
#include "cross_entropy/cross_entropy.h"
#include "crf/crf.h"
#include "crf_decode/crf_decode.h"
#include "distance_bias/distance_bias.h"
#include "embedding/embedding.h"
#include "embedding_bag/embedding_bag.h"
#include "gather/gather.h"
#include "gemm.h"
#include "grad_norm/grad_norm.h"
#include "linear/linear.h"
#include "residual_norm/residual_norm.h"
#include "span_logits/span_logits.h"

enum { MAX_WORKERS = 64, ROUNDS = 15, PATTERN = 1 << 16, TAGS = 9, REACH = 128, HALF = 16, ALIGN = 256 };

/* Memory of one operation, freed behind it. */
typedef struct held { gm_device *dev; void *block; } held;

typedef struct shop {
    gm_bench *b;
    gm_worker *worker;        /* [workers] */
    int workers;
    gm_batch batch[MAX_WORKERS];
    gm_touched touched;
    int32_t touched_rows;
    held *held;
    size_t held_count, held_capacity;
    float *pattern;           /* [PATTERN] N(0, 1) x 0.1, and the same as bf16 behind it */
    bool is_bf16;
    gm_status status;         /* of the first call that failed; the rest then does nothing */
    gm_err *err;
} shop;

/* ---- memory ---- */

static void fail(shop *s, gm_status status)
{
    if (s->status == GM_OK) s->status = status;
}

/* `bytes` of worker w's memory, on a cache line; NULL after a failure. */
static void *take(shop *s, int w, size_t bytes)
{
    gm_device *dev = &s->worker[w].dev;
    void *block = NULL;
    if (s->status != GM_OK) return NULL;
    fail(s, gm_grow((void **)&s->held, &s->held_capacity, s->held_count, sizeof *s->held, s->err));
    if (s->status == GM_OK && dev->memory->alloc(dev, bytes + ALIGN, &block) != GM_OK) fail(s, gm_fail(s->err, GM_ERR_NOMEM, "%s", s->worker[w].err.text));
    if (s->status != GM_OK) return NULL;
    s->held[s->held_count++] = (held){ dev, block };
    return (void *)(((uintptr_t)block + ALIGN - 1) / ALIGN * ALIGN);
}

static void give_back(shop *s)
{
    while (s->held_count > 0) {
        const held *h = &s->held[--s->held_count];
        h->dev->memory->release(h->dev, h->block);
    }
}

static void *filled(shop *s, int w, int64_t count, size_t element)
{
    gm_device *dev = &s->worker[w].dev;
    unsigned char *to = take(s, w, (size_t)count * element);
    const void *from = element == 2 ? (const void *)(s->pattern + PATTERN) : (const void *)s->pattern;
    for (int64_t at = 0; to != NULL && at < count; at += PATTERN)
        fail(s, dev->memory->upload(dev, to + (size_t)at * element, from, (size_t)(count - at < PATTERN ? count - at : PATTERN) * element));
    return to;
}

static void *acts(shop *s, int w, int64_t rows, int64_t cols) { return filled(s, w, rows * cols, s->worker[w].dev.element); }
static float *floats(shop *s, int w, int64_t count) { return filled(s, w, count, sizeof(float)); }

/* Bytes of one value: 0 gives zeros, and 0x41 numbers of some 12, where the slope of GELU is 1. */
static void *same(shop *s, int w, size_t bytes, int byte)
{
    gm_device *dev = &s->worker[w].dev;
    void *to = take(s, w, bytes);
    if (to != NULL) fail(s, dev->memory->fill(dev, to, byte, bytes));
    return to;
}

static float *one(shop *s, int w)
{
    static const float value = 1.0f;
    gm_device *dev = &s->worker[w].dev;
    float *to = take(s, w, sizeof value);
    if (to != NULL) fail(s, dev->memory->upload(dev, to, &value, sizeof value));
    return to;
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static gm_status make_pattern(shop *s)
{
    s->pattern = gm_malloc(PATTERN * (sizeof(float) + sizeof(uint16_t)));
    if (s->pattern == NULL) return gm_fail(s->err, GM_ERR_NOMEM, "out of memory for numbers");
    uint16_t *half = (uint16_t *)(void *)(s->pattern + PATTERN);
    for (uint32_t i = 0; i < PATTERN; i += 4) {
        gm_normal4(gm_philox(1, i / 4, 0, 0, gm_purpose(GM_SITE_TEST, 0, 0)), s->pattern + i);
        for (uint32_t j = i; j < i + 4; j++) half[j] = bf16_of(s->pattern[j] *= 0.1f);
    }
    return GM_OK;
}

/* ---- time ---- */

typedef gm_status (*call)(const gm_kernels *k, const void *args, gm_device *dev);

typedef struct timing {
    const gm_kernels *kernels;
    call run;
    const unsigned char *args; /* [workers] of `size` bytes */
    size_t size;
    double seconds;
    double *round;             /* [workers * ROUNDS] seconds a call */
} timing;

static gm_status several(const timing *t, int32_t w, gm_device *dev, int times, double *seconds)
{
    const double began = gm_bench_now();
    for (int i = 0; i < times; i++) GM_TRY(t->run(t->kernels, t->args + (size_t)w * t->size, dev));
    GM_TRY(dev->memory->sync(dev));
    *seconds = gm_bench_now() - began;
    return GM_OK;
}

static gm_status time_worker(gm_worker *worker, int32_t w, void *context)
{
    const timing *t = context;
    double seconds;
    int times = 1;
    GM_TRY(several(t, w, &worker->dev, 1, &seconds)); /* makes the plans of products */
    GM_TRY(several(t, w, &worker->dev, 1, &seconds));
    const double a_round = t->seconds / ROUNDS;
    if (seconds < a_round) times = (int)(a_round / (seconds + 1e-7)) + 1;
    for (int i = 0; i < ROUNDS; i++) {
        GM_TRY(several(t, w, &worker->dev, times, &seconds));
        t->round[w * ROUNDS + i] = seconds / times;
    }
    return GM_OK;
}

static void show(shop *s, const char *name, call run, const void *args, size_t size, double bytes, double flops, double rate)
{
    double round[MAX_WORKERS * ROUNDS];
    timing t = { &s->b->kernels, run, args, size, s->b->options->seconds, round };
    gm_bench_row *row;
    if (s->status == GM_OK) fail(s, gm_workers_run(&s->b->run.workers, s->workers, time_worker, &t, s->err));
    if (s->status == GM_OK) fail(s, gm_bench_add_times(s->b, "operations", name, "us", round, s->workers * ROUNDS, &row, s->err));
    if (s->status != GM_OK) return;
    row->bytes = bytes;
    row->flops = flops;
    row->share = flops / (1e-6 * row->value) / rate;
}

#define FORWARD(op) \
    static gm_status op##_forward(const gm_kernels *k, const void *args, gm_device *dev) { return k->op.forward(args, dev); }
#define BACKWARD(op) \
    static gm_status op##_backward(const gm_kernels *k, const void *args, gm_device *dev) { return k->op.backward(args, dev); }
FORWARD(embedding)
BACKWARD(embedding)
FORWARD(embedding_bag)
BACKWARD(embedding_bag)
FORWARD(gather)
BACKWARD(gather)
FORWARD(linear)
BACKWARD(linear)
FORWARD(residual_norm)
BACKWARD(residual_norm)
FORWARD(distance_bias)
BACKWARD(distance_bias)
FORWARD(attention)
BACKWARD(attention)
FORWARD(span_logits)
BACKWARD(span_logits)
FORWARD(crf)
BACKWARD(crf)
FORWARD(cross_entropy)
FORWARD(crf_decode)
FORWARD(grad_norm)
FORWARD(adamw)

/* ---- products alone: the limit ---- */

typedef struct product { gm_gemm gemm[MAX_WORKERS]; } product;

static gm_status run_product(const gm_kernels *k, const void *args, gm_device *dev)
{
    (void)k;
    return gm_gemm_run(args, dev);
}

/* Median seconds a call of the product with the weight stored [out, in] or [in, out]. */
static void time_product(shop *s, gm_gemm g, int cores, bool shared, double *seconds)
{
    product p;
    double round[MAX_WORKERS * ROUNDS];
    const int calls = shared ? 1 : cores;
    const gm_float_type type = s->is_bf16 ? GM_BF16 : GM_FP32;
    for (int w = 0; w < calls; w++) {
        p.gemm[w] = g;
        p.gemm[w].in = p.gemm[w].out = type;
        p.gemm[w].a = acts(s, w, g.m, g.k);
        p.gemm[w].b = acts(s, w, g.k, g.n);
        p.gemm[w].c = acts(s, w, g.m, g.n);
    }
    timing t = { NULL, run_product, (const unsigned char *)p.gemm, sizeof p.gemm[0], s->b->options->seconds / 4, round };
    if (s->status == GM_OK && shared) {
        gm_worker lone = { .dev = *s->b->run.workers.whole };
        lone.dev.threads = cores;
        fail(s, time_worker(&lone, 0, &t));
    } else if (s->status == GM_OK) fail(s, gm_workers_run(&s->b->run.workers, calls, time_worker, &t, s->err));
    give_back(s);
    if (s->status != GM_OK) return;
    gm_bench_row row;
    gm_bench scratch = { .rows = &row, .capacity = 1 };
    fail(s, gm_bench_add_times(&scratch, "", "", "us", round, calls * ROUNDS, NULL, s->err));
    *seconds = 1e-6 * row.value;
}

static gm_status open_shop(gm_bench *b, shop *s, gm_err *err)
{
    gm_run *r = &b->run;
    *s = (shop){ .b = b, .worker = r->workers.items, .workers = r->workers.count < MAX_WORKERS ? r->workers.count : MAX_WORKERS,
                 .is_bf16 = r->backend.type == GM_BF16, .err = err };
    return make_pattern(s);
}

static void close_shop(shop *s)
{
    give_back(s);
    for (int w = 0; w < s->workers; w++) gm_batch_free(&s->batch[w]);
    gm_touched_free(&s->touched);
    gm_free(s->held);
    gm_free(s->pattern);
}

gm_status gm_bench_product_rate(gm_bench *b, int32_t rows, int32_t in, int32_t out, int cores, bool shared, double *rate, gm_err *err)
{
    shop s;
    *rate = (double)NAN;
    if (!b->run.backend.memory->is_host) return GM_OK;
    GM_TRY(open_shop(b, &s, err));
    if (cores > s.workers) cores = s.workers;
    for (int turned = 0; turned < 2; turned++) {
        double seconds = 0.0;
        time_product(&s, (gm_gemm){ .m = rows, .n = out, .k = in, .b_transposed = turned }, cores, shared, &seconds);
        const double found = 2.0 * rows * in * out / seconds / (shared ? cores : 1);
        if (s.status == GM_OK && !(found <= *rate)) *rate = found;
    }
    close_shop(&s);
    return s.status;
}

gm_status gm_bench_product_limit(gm_bench *b, int32_t rows, int passes, int cores, bool shared, double *limit, gm_err *err)
{
    const gm_encoder_config *c = &b->run.model.encoder.config;
    const int32_t shape[][2] = { { c->hidden, 3 * c->hidden }, { c->hidden, c->hidden }, { c->hidden, c->ffn }, { c->ffn, c->hidden } };
    double seconds = 0.0; /* of one core, a piece */
    for (size_t i = 0; i < GM_LEN(shape); i++) {
        double rate;
        GM_TRY(gm_bench_product_rate(b, rows, shape[i][0], shape[i][1], cores, shared, &rate, err));
        seconds += passes * 2.0 * shape[i][0] * shape[i][1] * c->layers / rate;
    }
    *limit = cores / seconds;
    return GM_OK;
}

/* ---- the operations ---- */

static const gm_encoder_config *encoder_of(const shop *s) { return &s->b->run.model.encoder.config; }

static gm_drop drop_of(const gm_pack *p, gm_site site) { return (gm_drop){ .p = 0.1f, .site = site, .key = p->key, .draw = p->draw }; }

/* Work is counted for the first worker's batch; the others hold about as much. */
#define EACH_WORKER for (int w = 0; w < s->workers; w++)

static void bench_embedding(shop *s)
{
    const gm_encoder_config *c = encoder_of(s);
    const int32_t hidden = c->hidden;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * hidden;
    gm_embedding f[MAX_WORKERS];
    gm_embedding_grad g[MAX_WORKERS];
    EACH_WORKER {
        const gm_batch *b = &s->batch[w];
        const gm_pack *t = &b->tokens;
        f[w] = (gm_embedding){ .ids = b->ids, .token = t->token, .word = floats(s, w, (int64_t)c->vocabulary * hidden), .position = floats(s, w, (int64_t)c->positions * hidden),
                               .type = floats(s, w, hidden), .out = acts(s, w, t->capacity, hidden), .n_tokens = t->n, .capacity = t->capacity, .hidden = hidden,
                               .position_offset = c->first_position };
        g[w] = (gm_embedding_grad){ .slot = b->slot, .token = t->token, .dout = acts(s, w, t->capacity, hidden), .dword = floats(s, w, (int64_t)s->touched_rows * hidden),
                                    .dposition = floats(s, w, (int64_t)c->positions * hidden), .dtype = floats(s, w, hidden), .n_tokens = t->n, .capacity = t->capacity,
                                    .hidden = hidden, .position_offset = c->first_position };
    }
    show(s, "embedding forward", embedding_forward, f, sizeof *f, cells * (8 + e), 2 * cells, (double)NAN);
    show(s, "embedding backward", embedding_backward, g, sizeof *g, cells * (8 + e), 3 * cells, (double)NAN);
}

/* Shapes of words, added to pieces. */
static void bench_embedding_bag(shop *s)
{
    const int32_t width = encoder_of(s)->hidden, rows = GM_SHAPE_BAG * GM_SHAPES;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * width;
    gm_embedding_bag f[MAX_WORKERS];
    gm_embedding_bag_grad g[MAX_WORKERS];
    EACH_WORKER {
        const gm_batch *b = &s->batch[w];
        f[w] = (gm_embedding_bag){ .x = acts(s, w, b->tokens.capacity, width), .index = b->token_shape, .table = same(s, w, (size_t)(rows * width) * sizeof(float), 0),
                                   .n_rows = b->tokens.n, .capacity = b->tokens.capacity, .width = width, .bag = GM_SHAPE_BAG, .rows = rows };
        g[w] = (gm_embedding_bag_grad){ .dx = f[w].x, .index = b->token_shape, .dtable = floats(s, w, (int64_t)rows * width), .n_rows = b->tokens.n,
                                        .capacity = b->tokens.capacity, .width = width, .bag = GM_SHAPE_BAG, .rows = rows };
    }
    show(s, "embedding_bag forward", embedding_bag_forward, f, sizeof *f, 2 * e * cells, cells * GM_SHAPE_BAG, (double)NAN);
    show(s, "embedding_bag backward", embedding_bag_backward, g, sizeof *g, e * cells, cells * GM_SHAPE_BAG, (double)NAN);
}

static void bench_residual_norm(shop *s)
{
    const int32_t width = encoder_of(s)->hidden;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * width;
    gm_residual_norm f[MAX_WORKERS];
    gm_residual_norm_grad g[MAX_WORKERS];
    EACH_WORKER {
        const gm_pack *t = &s->batch[w].tokens;
        const int32_t rows = t->capacity;
        f[w] = (gm_residual_norm){ .x = acts(s, w, rows, width), .residual = acts(s, w, rows, width), .gamma = floats(s, w, width), .beta = floats(s, w, width),
                                   .token = t->token, .drop = drop_of(t, GM_SITE_FFN_OUT), .sum = acts(s, w, rows, width), .norm = acts(s, w, rows, width),
                                   .mean = floats(s, w, rows), .rstd = floats(s, w, rows), .eps = 1e-12f, .n_rows = t->n, .capacity = rows, .width = width };
        g[w] = (gm_residual_norm_grad){ .sum = f[w].sum, .mean = f[w].mean, .rstd = f[w].rstd, .gamma = f[w].gamma, .token = t->token, .drop = f[w].drop,
                                        .dnorm = acts(s, w, rows, width), .dx = acts(s, w, rows, width), .dresidual = acts(s, w, rows, width),
                                        .dgamma = floats(s, w, width), .dbeta = floats(s, w, width), .n_rows = t->n, .capacity = rows, .width = width };
    }
    show(s, "residual_norm forward", residual_norm_forward, f, sizeof *f, 4 * e * cells, 9 * cells, (double)NAN);
    show(s, "residual_norm backward", residual_norm_backward, g, sizeof *g, 4 * e * cells, 14 * cells, (double)NAN);
}

static void bench_linear(shop *s, const char *name, int32_t in, int32_t out, gm_activation act)
{
    const int32_t rows = s->batch->tokens.capacity;
    const bool is_gelu = act == GM_LINEAR_GELU;
    const double e = (double)s->worker->dev.element, x = (double)rows * in, y = (double)rows * out, m = (double)in * out;
    double rate = (double)NAN;
    char text[48];
    gm_linear f[MAX_WORKERS];
    gm_linear_grad g[MAX_WORKERS];
    if (s->status == GM_OK) fail(s, gm_bench_product_rate(s->b, rows, in, out, s->workers, false, &rate, s->err));
    EACH_WORKER {
        f[w] = (gm_linear){ .x = acts(s, w, rows, in), .w = acts(s, w, out, in), .b = floats(s, w, out), .pre = is_gelu ? acts(s, w, rows, out) : NULL,
                            .y = acts(s, w, rows, out), .act = act, .rows = rows, .in = in, .out = out };
        /* At a pre-activation of 12 the slope is 1, so that dy, overwritten by each call, stays what it was. */
        g[w] = (gm_linear_grad){ .x = f[w].x, .w = f[w].w, .pre = is_gelu ? same(s, w, (size_t)(rows * out) * s->worker[w].dev.element, 0x41) : NULL,
                                 .dy = acts(s, w, rows, out), .dx = acts(s, w, rows, in), .dw = floats(s, w, (int64_t)out * in), .db = floats(s, w, out), .act = act,
                                 .rows = rows, .in = in, .out = out };
    }
    snprintf(text, sizeof text, "%s forward", name);
    show(s, text, linear_forward, f, sizeof *f, e * (x + m + (is_gelu ? 2 : 1) * y), 2 * rows * m, rate);
    snprintf(text, sizeof text, "%s backward", name);
    show(s, text, linear_backward, g, sizeof *g, e * (2 * x + m + (is_gelu ? 3 : 1) * y) + 4 * m, 4 * rows * m, rate);
}

static void bench_linears(shop *s)
{
    const int32_t hidden = encoder_of(s)->hidden, ffn = encoder_of(s)->ffn;
    const struct { const char *name; int32_t in, out; gm_activation act; } all[] = { { "linear qkv", hidden, 3 * hidden, GM_LINEAR_PLAIN },
                                                                                     { "linear out", hidden, hidden, GM_LINEAR_PLAIN },
                                                                                     { "linear up, GELU", hidden, ffn, GM_LINEAR_GELU },
                                                                                     { "linear down", ffn, hidden, GM_LINEAR_PLAIN } };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        bench_linear(s, all[i].name, all[i].in, all[i].out, all[i].act);
        give_back(s);
    }
}

/* Sum of the squared lengths of the first worker's sentences. */
static double pairs_of(const shop *s)
{
    double pairs = 0.0;
    for (int32_t i = 0; i < s->batch->sentences; i++) {
        const double n = (double)s->b->run.train.samples[i].text.count;
        pairs += n * n;
    }
    return pairs;
}

static void bench_attention(shop *s)
{
    const gm_encoder_config *c = encoder_of(s);
    const int32_t hidden = c->hidden, heads = c->heads, width = hidden / heads, stride = 3 * hidden;
    const size_t step = (size_t)hidden * s->worker->dev.element;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * hidden, pairs = pairs_of(s);
    const bool has_bias = c->family->has_distances;
    gm_attention f[MAX_WORKERS];
    gm_attention_grad g[MAX_WORKERS];
    EACH_WORKER {
        const gm_pack *t = &s->batch[w].tokens;
        const int32_t rows = t->capacity;
        char *qkv = acts(s, w, rows, stride), *dqkv = acts(s, w, rows, stride);
        if (s->status != GM_OK) return;
        f[w] = (gm_attention){ .q = qkv, .k = qkv + step, .v = qkv + 2 * step, .q_stride = stride, .k_stride = stride, .v_stride = stride, .cu_q = t->cu, .cu_k = t->cu,
                               .bias = has_bias ? floats(s, w, (int64_t)heads * (2 * REACH + 1)) : NULL, .bias_reach = REACH, .scale = 1.0f / sqrtf((float)width),
                               .drop = drop_of(t, GM_SITE_ATTENTION), .out = acts(s, w, rows, hidden), .out_stride = hidden, .lse = floats(s, w, (int64_t)rows * heads),
                               .sequences = t->sequences, .heads = heads, .width = width, .q_rows = rows };
        g[w] = (gm_attention_grad){ .q = f[w].q, .k = f[w].k, .v = f[w].v, .q_stride = stride, .k_stride = stride, .v_stride = stride, .cu_q = t->cu, .cu_k = t->cu,
                                    .bias = f[w].bias, .bias_reach = REACH, .scale = f[w].scale, .drop = f[w].drop, .out = f[w].out, .dout = acts(s, w, rows, hidden),
                                    .out_stride = hidden, .lse = f[w].lse, .dq = dqkv, .dk = dqkv + step, .dv = dqkv + 2 * step,
                                    .dbias = has_bias ? floats(s, w, (int64_t)heads * (2 * REACH + 1)) : NULL, .sequences = t->sequences, .heads = heads, .width = width,
                                    .q_rows = rows, .k_rows = rows };
    }
    show(s, "attention forward", attention_forward, f, sizeof *f, 4 * e * cells, 4 * pairs * hidden, (double)NAN);
    show(s, "attention backward", attention_backward, g, sizeof *g, 8 * e * cells, 10 * pairs * hidden, (double)NAN);
}

static void bench_distance_bias(shop *s)
{
    const int32_t heads = encoder_of(s)->heads;
    const double cells = (double)heads * (2 * REACH + 1);
    gm_distance_buckets buckets = { .half = HALF, .reach = REACH };
    gm_distance_bias f[MAX_WORKERS];
    gm_distance_bias_grad g[MAX_WORKERS];
    if (!encoder_of(s)->family->has_distances) return;
    for (int32_t i = 0; i < HALF; i++) buckets.first[i] = i < HALF - 1 ? i : REACH;
    EACH_WORKER {
        f[w] = (gm_distance_bias){ .table = floats(s, w, 2LL * HALF * heads), .bias = floats(s, w, (int64_t)cells), .buckets = buckets, .heads = heads };
        g[w] = (gm_distance_bias_grad){ .dbias = f[w].bias, .dtable = floats(s, w, 2LL * HALF * heads), .buckets = buckets, .heads = heads };
    }
    show(s, "distance_bias forward", distance_bias_forward, f, sizeof *f, 4 * cells, 0.0, (double)NAN);
    show(s, "distance_bias backward", distance_bias_backward, g, sizeof *g, 4 * cells, cells, (double)NAN);
}

static void bench_gather(shop *s)
{
    const int32_t width = encoder_of(s)->hidden;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->words.rows * width, all = (double)s->batch->tokens.rows * width;
    gm_gather f[MAX_WORKERS];
    gm_gather_grad g[MAX_WORKERS];
    EACH_WORKER {
        const gm_batch *b = &s->batch[w];
        f[w] = (gm_gather){ .x = acts(s, w, b->tokens.capacity, width), .index = b->first_piece, .token = b->words.token, .drop = drop_of(&b->words, GM_SITE_TAG_STATE),
                            .out = acts(s, w, b->words.capacity, width), .n_rows = b->words.n, .capacity = b->words.capacity, .width = width };
        g[w] = (gm_gather_grad){ .dout = f[w].out, .index = b->first_piece, .token = b->words.token, .drop = f[w].drop, .dx = acts(s, w, b->tokens.capacity, width),
                                 .n_rows = b->words.n, .capacity = b->words.capacity, .source = b->tokens.capacity, .width = width };
    }
    show(s, "gather forward", gather_forward, f, sizeof *f, 2 * e * cells, cells, (double)NAN);
    show(s, "gather backward", gather_backward, g, sizeof *g, e * (cells + all), cells, (double)NAN);
}

static void bench_span_logits(shop *s)
{
    const int32_t classes = s->b->run.model.labels.count + 1, hidden = GM_SPAN_HIDDEN, widths = GM_SPAN_WIDTHS;
    const double e = (double)s->worker->dev.element, words = (double)s->batch->words.rows, logits = words * widths * classes, flops = 2 * words * widths * hidden * (classes + 1);
    gm_span_logits f[MAX_WORKERS];
    gm_span_logits_grad g[MAX_WORKERS];
    EACH_WORKER {
        const gm_batch *b = &s->batch[w];
        const int32_t rows = b->words.capacity;
        float *dlogits = floats(s, w, (int64_t)rows * widths * classes);
        f[w] = (gm_span_logits){ .projected = acts(s, w, rows, 2 * hidden), .width = floats(s, w, widths * hidden), .bias = floats(s, w, hidden),
                                 .out = floats(s, w, (int64_t)classes * hidden), .out_bias = floats(s, w, classes), .cu_words = b->words.cu,
                                 .drop = drop_of(&b->words, GM_SITE_SPAN_HIDDEN), .logits = floats(s, w, (int64_t)rows * widths * classes), .label = b->span_label,
                                 .scale = one(s, w), .loss = same(s, w, sizeof(double), 0), .dlogits = dlogits, .sequences = b->words.sequences, .widths = widths,
                                 .hidden = hidden, .classes = classes };
        g[w] = (gm_span_logits_grad){ .projected = f[w].projected, .width = f[w].width, .bias = f[w].bias, .out = f[w].out, .cu_words = b->words.cu, .drop = f[w].drop,
                                      .dlogits = dlogits, .dprojected = acts(s, w, rows, 2 * hidden), .dwidth = floats(s, w, widths * hidden), .dbias = floats(s, w, hidden),
                                      .dout = floats(s, w, (int64_t)classes * hidden), .dout_bias = floats(s, w, classes), .sequences = b->words.sequences,
                                      .widths = widths, .hidden = hidden, .classes = classes, .words = rows };
    }
    show(s, "span_logits forward", span_logits_forward, f, sizeof *f, 2 * e * words * hidden + 8 * logits, flops, (double)NAN);
    show(s, "span_logits backward", span_logits_backward, g, sizeof *g, 4 * e * words * hidden + 4 * logits, 2 * flops, (double)NAN);
}

static void bench_crf(shop *s)
{
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->words.rows * TAGS;
    gm_crf f[MAX_WORKERS];
    gm_crf_grad g[MAX_WORKERS];
    gm_crf_decode d[MAX_WORKERS];
    EACH_WORKER {
        const gm_pack *p = &s->batch[w].words;
        const int32_t words = p->capacity, sequences = p->sequences;
        f[w] = (gm_crf){ .emit = acts(s, w, words, TAGS), .trans = floats(s, w, TAGS * TAGS), .start = floats(s, w, TAGS), .end = floats(s, w, TAGS),
                         .tag = same(s, w, (size_t)words * sizeof(int32_t), 0), .cu_words = p->cu, .scale = one(s, w), .loss = same(s, w, sizeof(double), 0),
                         .alpha = floats(s, w, (int64_t)words * TAGS), .log_z = floats(s, w, sequences), .sequences = sequences, .tags = TAGS };
        g[w] = (gm_crf_grad){ .emit = f[w].emit, .trans = f[w].trans, .start = f[w].start, .end = f[w].end, .alpha = f[w].alpha, .log_z = f[w].log_z, .scale = f[w].scale,
                              .tag = f[w].tag, .cu_words = p->cu, .demit = acts(s, w, words, TAGS), .dtrans = floats(s, w, TAGS * TAGS), .dstart = floats(s, w, TAGS),
                              .dend = floats(s, w, TAGS), .sequences = sequences, .tags = TAGS, .words = words, .scratch = floats(s, w, (int64_t)words * TAGS) };
        d[w] = (gm_crf_decode){ .emit = f[w].emit, .trans = f[w].trans, .start = f[w].start, .end = f[w].end, .cu_words = p->cu,
                                .path = same(s, w, (size_t)words * sizeof(int32_t), 0), .score = floats(s, w, sequences), .log_z = floats(s, w, sequences),
                                .marginal = floats(s, w, (int64_t)words * TAGS), .sequences = sequences, .tags = TAGS, .words = words };
    }
    show(s, "crf forward", crf_forward, f, sizeof *f, cells * (e + 4), 4 * cells * TAGS, (double)NAN);
    show(s, "crf backward", crf_backward, g, sizeof *g, cells * (2 * e + 4), 8 * cells * TAGS, (double)NAN);
    show(s, "crf_decode forward", crf_decode_forward, d, sizeof *d, cells * (e + 4), 10 * cells * TAGS, (double)NAN);
}

static void bench_cross_entropy(shop *s)
{
    const int32_t classes = s->b->run.model.labels.count + 1;
    const double logits = (double)s->batch->words.rows * GM_SPAN_WIDTHS * classes;
    gm_cross_entropy f[MAX_WORKERS];
    EACH_WORKER {
        const int32_t rows = s->batch[w].words.rows * GM_SPAN_WIDTHS;
        f[w] = (gm_cross_entropy){ .logits = floats(s, w, (int64_t)rows * classes), .label = s->batch[w].span_label, .scale = one(s, w),
                                   .loss = same(s, w, sizeof(double), 0), .dlogits = floats(s, w, (int64_t)rows * classes), .rows = rows, .classes = classes };
    }
    show(s, "cross_entropy forward", cross_entropy_forward, f, sizeof *f, 8 * logits, 6 * logits, (double)NAN);
}

/* Dense parameters and the rows of the word table that a step touches; each worker takes its even share of them. */
static void bench_optimiser(shop *s)
{
    const int64_t all = (int64_t)s->b->run.model.params.dense_count + (int64_t)s->touched_rows * encoder_of(s)->hidden;
    const int64_t count = all / s->workers / 16 * 16;
    const double n = (double)count;
    float *shard[MAX_WORKERS][2];
    gm_grad_norm norm[MAX_WORKERS];
    gm_adamw a[MAX_WORKERS];
    EACH_WORKER {
        shard[w][0] = floats(s, w, count);
        shard[w][1] = floats(s, w, count);
        norm[w] = (gm_grad_norm){ .shard = { shard[w] }, .size = { count }, .blocks = 1, .shards = 2, .max = 1.0f, .norm = floats(s, w, 1), .scale = floats(s, w, 1),
                                  .partial = same(s, w, (size_t)(count / GM_NORM_CHUNK + 2) * sizeof(double), 0) };
        a[w] = (gm_adamw){ .param = floats(s, w, count), .m = floats(s, w, count), .v = same(s, w, (size_t)count * sizeof(float), 0), .grad = shard[w][1],
                           .grad_scale = one(s, w), .capacity = (int32_t)(count / 16), .width = 16, .decay = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f,
                           .copy = s->is_bf16 ? same(s, w, (size_t)count * 2, 0) : NULL };
    }
    show(s, "grad_norm forward", grad_norm_forward, norm, sizeof *norm, 12 * n, 3 * n, (double)NAN);
    show(s, "adamw forward", adamw_forward, a, sizeof *a, (s->is_bf16 ? 30 : 28) * n, 12 * n, (double)NAN);
}

/* Each worker's share of a step, as training would deal it. */
static void fill_batches(shop *s)
{
    const gm_run *r = &s->b->run;
    const int32_t each = (int32_t)(s->b->options->batch / s->workers);
    const gm_sample **picked = gm_calloc((size_t)(each > 0 ? each : 1), sizeof *picked);
    const gm_batch_options o = { .draw = 1, .touched = &s->touched };
    if (picked == NULL) fail(s, gm_fail(s->err, GM_ERR_NOMEM, "out of memory for a batch"));
    if (s->status == GM_OK) fail(s, gm_touched_make(&s->touched, encoder_of(s)->vocabulary, s->err));
    if (s->status == GM_OK) gm_touched_begin(&s->touched);
    for (int w = 0; w < s->workers && s->status == GM_OK; w++) {
        for (int32_t i = 0; i < each; i++) picked[i] = &r->train.samples[(size_t)(w * each + i) % r->train.records.count];
        s->batch[w].dev = &s->worker[w].dev;
        fail(s, gm_batch_fill(&s->batch[w], picked, each, o, s->err));
    }
    s->touched_rows = s->touched.count;
    gm_free((void *)picked);
}

gm_status gm_bench_operations(gm_bench *b, gm_err *err)
{
    static void (*const parts[])(shop *) = { bench_embedding, bench_embedding_bag, bench_residual_norm, bench_linears, bench_attention, bench_distance_bias, bench_gather,
                                             bench_span_logits, bench_crf, bench_cross_entropy, bench_optimiser };
    const gm_step step = { .seed = 1, .number = 3, .rate = { 1e-5f, 1e-4f, 1e-3f }, .inv_words = 1e-3f, .inv_sentences = 1e-2f };
    shop s;
    GM_TRY(open_shop(b, &s, err));
    fail(&s, gm_workers_error(&b->run.workers, gm_workers_set_step(&b->run.workers, &step), err));
    fill_batches(&s);
    if (s.status == GM_OK) fail(&s, b->run.workers.whole->memory->sync(b->run.workers.whole));
    for (size_t i = 0; i < GM_LEN(parts) && s.status == GM_OK; i++) {
        parts[i](&s);
        give_back(&s);
    }
    close_shop(&s);
    return s.status;
}
