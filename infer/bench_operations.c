/* Each operation by itself, at the shapes of a training step: every worker calls it at the same time on operands of its own,
 * as training does. Those of a family or head that the model lacks are timed as well, with the model's widths.
 * Operands are used again by each call (warm): what fits a cache is found there. Work is counted by the
 * formulas of the contracts, each operand read or written once. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "adamw/adamw.h"
#include "attention/attention.h"
#include "base/memory.h"
#include "bench_shop.h"
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

enum { TAGS = 9, REACH = 128, HALF = 16 };

GM_SHOP_FORWARD(embedding)
GM_SHOP_BACKWARD(embedding)
GM_SHOP_FORWARD(embedding_bag)
GM_SHOP_BACKWARD(embedding_bag)
GM_SHOP_FORWARD(gather)
GM_SHOP_BACKWARD(gather)
GM_SHOP_FORWARD(linear)
GM_SHOP_BACKWARD(linear)
GM_SHOP_FORWARD(residual_norm)
GM_SHOP_BACKWARD(residual_norm)
GM_SHOP_FORWARD(distance_bias)
GM_SHOP_BACKWARD(distance_bias)
GM_SHOP_FORWARD(attention)
GM_SHOP_BACKWARD(attention)
GM_SHOP_FORWARD(span_logits)
GM_SHOP_BACKWARD(span_logits)
GM_SHOP_FORWARD(crf)
GM_SHOP_BACKWARD(crf)
GM_SHOP_FORWARD(cross_entropy)
GM_SHOP_FORWARD(crf_decode)
GM_SHOP_FORWARD(grad_norm)
GM_SHOP_FORWARD(adamw)

/* ---- products alone: the limit ---- */

typedef struct product { gm_gemm gemm[GM_SHOP_WORKERS]; } product;

static gm_status run_product(const gm_kernels *k, const void *args, gm_device *dev)
{
    (void)k;
    return gm_gemm_run(args, dev);
}

/* Median seconds a call of the product with the weight stored [out, in] or [in, out]. */
static void time_product(gm_shop *s, gm_gemm g, int cores, bool shared, double *seconds)
{
    product p;
    const int calls = shared ? 1 : cores;
    const gm_float_type type = s->is_bf16 ? GM_BF16 : GM_FP32;
    for (int w = 0; w < calls; w++) {
        p.gemm[w] = g;
        p.gemm[w].in = p.gemm[w].out = type;
        p.gemm[w].a = gm_shop_acts(s, w, g.m, g.k);
        p.gemm[w].b = gm_shop_acts(s, w, g.k, g.n);
        p.gemm[w].c = gm_shop_acts(s, w, g.m, g.n);
    }
    gm_shop_time(s, run_product, p.gemm, sizeof p.gemm[0], calls, shared ? cores : 0, seconds);
    gm_shop_give_back(s);
}

gm_status gm_bench_product_rate(gm_bench *b, int32_t rows, int32_t in, int32_t out, int cores, bool shared, double *rate, gm_err *err)
{
    gm_shop s;
    *rate = (double)NAN;
    if (!b->run.backend.memory->is_host) return GM_OK;
    GM_TRY(gm_shop_open(b, &s, err));
    if (cores > s.workers) cores = s.workers;
    for (int turned = 0; turned < 2; turned++) {
        double seconds = 0.0;
        time_product(&s, (gm_gemm){ .m = rows, .n = out, .k = in, .b_transposed = turned }, cores, shared, &seconds);
        const double found = 2.0 * rows * in * out / seconds / (shared ? cores : 1);
        if (s.status == GM_OK && !(found <= *rate)) *rate = found;
    }
    gm_shop_close(&s);
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

static void bench_embedding(gm_shop *s)
{
    const gm_encoder_config *c = gm_shop_encoder(s);
    const int32_t hidden = c->hidden;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * hidden;
    gm_embedding f[GM_SHOP_WORKERS];
    gm_embedding_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_batch *b = &s->batch[w];
        const gm_pack *t = &b->tokens;
        f[w] = (gm_embedding){ .ids = b->ids, .token = t->token, .word = gm_shop_floats(s, w, (int64_t)c->vocabulary * hidden), .position = gm_shop_floats(s, w, (int64_t)c->positions * hidden),
                               .type = gm_shop_floats(s, w, hidden), .out = gm_shop_acts(s, w, t->capacity, hidden), .n_tokens = t->n, .capacity = t->capacity, .hidden = hidden,
                               .position_offset = c->first_position };
        g[w] = (gm_embedding_grad){ .slot = b->slot, .token = t->token, .dout = gm_shop_acts(s, w, t->capacity, hidden), .dword = gm_shop_floats(s, w, (int64_t)s->touched_rows * hidden),
                                    .dposition = gm_shop_floats(s, w, (int64_t)c->positions * hidden), .dtype = gm_shop_floats(s, w, hidden), .n_tokens = t->n, .capacity = t->capacity,
                                    .hidden = hidden, .position_offset = c->first_position };
    }
    gm_shop_show(s, "embedding forward", embedding_forward, f, sizeof *f, cells * (8 + e), 2 * cells, (double)NAN);
    gm_shop_show(s, "embedding backward", embedding_backward, g, sizeof *g, cells * (8 + e), 3 * cells, (double)NAN);
}

/* Shapes of words, added to pieces. */
static void bench_embedding_bag(gm_shop *s)
{
    const int32_t width = gm_shop_encoder(s)->hidden, rows = GM_SHAPE_BAG * GM_SHAPES;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * width;
    gm_embedding_bag f[GM_SHOP_WORKERS];
    gm_embedding_bag_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_batch *b = &s->batch[w];
        f[w] = (gm_embedding_bag){ .x = gm_shop_acts(s, w, b->tokens.capacity, width), .index = b->token_shape, .table = gm_shop_same(s, w, (size_t)(rows * width) * sizeof(float), 0),
                                   .n_rows = b->tokens.n, .capacity = b->tokens.capacity, .width = width, .bag = GM_SHAPE_BAG, .rows = rows };
        g[w] = (gm_embedding_bag_grad){ .dx = f[w].x, .index = b->token_shape, .dtable = gm_shop_floats(s, w, (int64_t)rows * width), .n_rows = b->tokens.n,
                                        .capacity = b->tokens.capacity, .width = width, .bag = GM_SHAPE_BAG, .rows = rows };
    }
    gm_shop_show(s, "embedding_bag forward", embedding_bag_forward, f, sizeof *f, 2 * e * cells, cells * GM_SHAPE_BAG, (double)NAN);
    gm_shop_show(s, "embedding_bag backward", embedding_bag_backward, g, sizeof *g, e * cells, cells * GM_SHAPE_BAG, (double)NAN);
}

static void bench_residual_norm(gm_shop *s)
{
    const int32_t width = gm_shop_encoder(s)->hidden;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * width;
    gm_residual_norm f[GM_SHOP_WORKERS];
    gm_residual_norm_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_pack *t = &s->batch[w].tokens;
        const int32_t rows = t->capacity;
        f[w] = (gm_residual_norm){ .x = gm_shop_acts(s, w, rows, width), .residual = gm_shop_acts(s, w, rows, width), .gamma = gm_shop_floats(s, w, width), .beta = gm_shop_floats(s, w, width),
                                   .token = t->token, .drop = gm_shop_drop(t, GM_SITE_FFN_OUT), .sum = gm_shop_acts(s, w, rows, width), .norm = gm_shop_acts(s, w, rows, width),
                                   .mean = gm_shop_floats(s, w, rows), .rstd = gm_shop_floats(s, w, rows), .eps = 1e-12f, .n_rows = t->n, .capacity = rows, .width = width };
        g[w] = (gm_residual_norm_grad){ .sum = f[w].sum, .mean = f[w].mean, .rstd = f[w].rstd, .gamma = f[w].gamma, .token = t->token, .drop = f[w].drop,
                                        .dnorm = gm_shop_acts(s, w, rows, width), .dx = gm_shop_acts(s, w, rows, width), .dresidual = gm_shop_acts(s, w, rows, width),
                                        .dgamma = gm_shop_floats(s, w, width), .dbeta = gm_shop_floats(s, w, width), .n_rows = t->n, .capacity = rows, .width = width };
    }
    gm_shop_show(s, "residual_norm forward", residual_norm_forward, f, sizeof *f, 4 * e * cells, 9 * cells, (double)NAN);
    gm_shop_show(s, "residual_norm backward", residual_norm_backward, g, sizeof *g, 4 * e * cells, 14 * cells, (double)NAN);
}

static void bench_linear(gm_shop *s, const char *name, int32_t in, int32_t out, gm_activation act)
{
    const int32_t rows = s->batch->tokens.capacity;
    const bool is_gelu = act == GM_LINEAR_GELU;
    const double e = (double)s->worker->dev.element, x = (double)rows * in, y = (double)rows * out, m = (double)in * out;
    double rate = (double)NAN;
    char text[48];
    gm_linear f[GM_SHOP_WORKERS];
    gm_linear_grad g[GM_SHOP_WORKERS];
    if (s->status == GM_OK) gm_shop_fail(s, gm_bench_product_rate(s->b, rows, in, out, s->workers, false, &rate, s->err));
    GM_SHOP_EACH {
        f[w] = (gm_linear){ .x = gm_shop_acts(s, w, rows, in), .w = gm_shop_acts(s, w, out, in), .b = gm_shop_floats(s, w, out), .pre = is_gelu ? gm_shop_acts(s, w, rows, out) : NULL,
                            .y = gm_shop_acts(s, w, rows, out), .act = act, .rows = rows, .in = in, .out = out };
        /* At a pre-activation of 12 the slope is 1, so that dy, overwritten by each call, stays what it was. */
        g[w] = (gm_linear_grad){ .x = f[w].x, .w = f[w].w, .pre = is_gelu ? gm_shop_same(s, w, (size_t)(rows * out) * s->worker[w].dev.element, 0x41) : NULL,
                                 .dy = gm_shop_acts(s, w, rows, out), .dx = gm_shop_acts(s, w, rows, in), .dw = gm_shop_floats(s, w, (int64_t)out * in), .db = gm_shop_floats(s, w, out), .act = act,
                                 .rows = rows, .in = in, .out = out };
    }
    snprintf(text, sizeof text, "%s forward", name);
    gm_shop_show(s, text, linear_forward, f, sizeof *f, e * (x + m + (is_gelu ? 2 : 1) * y), 2 * rows * m, rate);
    snprintf(text, sizeof text, "%s backward", name);
    gm_shop_show(s, text, linear_backward, g, sizeof *g, e * (2 * x + m + (is_gelu ? 3 : 1) * y) + 4 * m, 4 * rows * m, rate);
}

static void bench_linears(gm_shop *s)
{
    const int32_t hidden = gm_shop_encoder(s)->hidden, ffn = gm_shop_encoder(s)->ffn;
    const struct { const char *name; int32_t in, out; gm_activation act; } all[] = { { "linear qkv", hidden, 3 * hidden, GM_LINEAR_PLAIN },
                                                                                     { "linear out", hidden, hidden, GM_LINEAR_PLAIN },
                                                                                     { "linear up, GELU", hidden, ffn, GM_LINEAR_GELU },
                                                                                     { "linear down", ffn, hidden, GM_LINEAR_PLAIN } };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        bench_linear(s, all[i].name, all[i].in, all[i].out, all[i].act);
        gm_shop_give_back(s);
    }
}

/* Sum of the squared lengths of the first worker's sentences. */
static double pairs_of(const gm_shop *s)
{
    double pairs = 0.0;
    for (int32_t i = 0; i < s->batch->sentences; i++) {
        const double n = (double)s->b->run.train.samples[i].text.count;
        pairs += n * n;
    }
    return pairs;
}

static void bench_attention(gm_shop *s)
{
    const gm_encoder_config *c = gm_shop_encoder(s);
    const int32_t hidden = c->hidden, heads = c->heads, width = hidden / heads, stride = 3 * hidden;
    const size_t step = (size_t)hidden * s->worker->dev.element;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->tokens.rows * hidden, pairs = pairs_of(s);
    const bool has_bias = c->family->has_distances;
    gm_attention f[GM_SHOP_WORKERS];
    gm_attention_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_pack *t = &s->batch[w].tokens;
        const int32_t rows = t->capacity;
        char *qkv = gm_shop_acts(s, w, rows, stride), *dqkv = gm_shop_acts(s, w, rows, stride);
        if (s->status != GM_OK) return;
        f[w] = (gm_attention){ .q = qkv, .k = qkv + step, .v = qkv + 2 * step, .q_stride = stride, .k_stride = stride, .v_stride = stride, .cu_q = t->cu, .cu_k = t->cu,
                               .bias = has_bias ? gm_shop_floats(s, w, (int64_t)heads * (2 * REACH + 1)) : NULL, .bias_reach = REACH, .scale = 1.0f / sqrtf((float)width),
                               .drop = gm_shop_drop(t, GM_SITE_ATTENTION), .out = gm_shop_acts(s, w, rows, hidden), .out_stride = hidden, .lse = gm_shop_floats(s, w, (int64_t)rows * heads),
                               .sequences = t->sequences, .heads = heads, .width = width, .q_rows = rows };
        g[w] = (gm_attention_grad){ .q = f[w].q, .k = f[w].k, .v = f[w].v, .q_stride = stride, .k_stride = stride, .v_stride = stride, .cu_q = t->cu, .cu_k = t->cu,
                                    .bias = f[w].bias, .bias_reach = REACH, .scale = f[w].scale, .drop = f[w].drop, .out = f[w].out, .dout = gm_shop_acts(s, w, rows, hidden),
                                    .out_stride = hidden, .lse = f[w].lse, .dq = dqkv, .dk = dqkv + step, .dv = dqkv + 2 * step,
                                    .dbias = has_bias ? gm_shop_floats(s, w, (int64_t)heads * (2 * REACH + 1)) : NULL, .sequences = t->sequences, .heads = heads, .width = width,
                                    .q_rows = rows, .k_rows = rows };
    }
    gm_shop_show(s, "attention forward", attention_forward, f, sizeof *f, 4 * e * cells, 4 * pairs * hidden, (double)NAN);
    gm_shop_show(s, "attention backward", attention_backward, g, sizeof *g, 8 * e * cells, 10 * pairs * hidden, (double)NAN);
}

static void bench_distance_bias(gm_shop *s)
{
    const int32_t heads = gm_shop_encoder(s)->heads;
    const double cells = (double)heads * (2 * REACH + 1);
    gm_distance_buckets buckets = { .half = HALF, .reach = REACH };
    gm_distance_bias f[GM_SHOP_WORKERS];
    gm_distance_bias_grad g[GM_SHOP_WORKERS];
    for (int32_t i = 0; i < HALF; i++) buckets.first[i] = i < HALF - 1 ? i : REACH;
    GM_SHOP_EACH {
        f[w] = (gm_distance_bias){ .table = gm_shop_floats(s, w, 2LL * HALF * heads), .bias = gm_shop_floats(s, w, (int64_t)cells), .buckets = buckets, .heads = heads };
        g[w] = (gm_distance_bias_grad){ .dbias = f[w].bias, .dtable = gm_shop_floats(s, w, 2LL * HALF * heads), .buckets = buckets, .heads = heads };
    }
    gm_shop_show(s, "distance_bias forward", distance_bias_forward, f, sizeof *f, 4 * cells, 0.0, (double)NAN);
    gm_shop_show(s, "distance_bias backward", distance_bias_backward, g, sizeof *g, 4 * cells, cells, (double)NAN);
}

static void bench_gather(gm_shop *s)
{
    const int32_t width = gm_shop_encoder(s)->hidden;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->words.rows * width, all = (double)s->batch->tokens.rows * width;
    gm_gather f[GM_SHOP_WORKERS];
    gm_gather_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_batch *b = &s->batch[w];
        f[w] = (gm_gather){ .x = gm_shop_acts(s, w, b->tokens.capacity, width), .index = b->first_piece, .token = b->words.token, .drop = gm_shop_drop(&b->words, GM_SITE_TAG_STATE),
                            .out = gm_shop_acts(s, w, b->words.capacity, width), .n_rows = b->words.n, .capacity = b->words.capacity, .width = width };
        g[w] = (gm_gather_grad){ .dout = f[w].out, .index = b->first_piece, .token = b->words.token, .drop = f[w].drop, .dx = gm_shop_acts(s, w, b->tokens.capacity, width),
                                 .n_rows = b->words.n, .capacity = b->words.capacity, .source = b->tokens.capacity, .width = width };
    }
    gm_shop_show(s, "gather forward", gather_forward, f, sizeof *f, 2 * e * cells, cells, (double)NAN);
    gm_shop_show(s, "gather backward", gather_backward, g, sizeof *g, e * (cells + all), cells, (double)NAN);
}

static void bench_span_logits(gm_shop *s)
{
    const int32_t classes = s->b->run.model.labels.count + 1, hidden = GM_SPAN_HIDDEN, widths = GM_SPAN_WIDTHS;
    const double e = (double)s->worker->dev.element, words = (double)s->batch->words.rows, logits = words * widths * classes, flops = 2 * words * widths * hidden * (classes + 1);
    gm_span_logits f[GM_SHOP_WORKERS];
    gm_span_logits_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_batch *b = &s->batch[w];
        const int32_t rows = b->words.capacity;
        float *dlogits = gm_shop_floats(s, w, (int64_t)rows * widths * classes);
        f[w] = (gm_span_logits){ .projected = gm_shop_acts(s, w, rows, 2 * hidden), .width = gm_shop_floats(s, w, widths * hidden), .bias = gm_shop_floats(s, w, hidden),
                                 .out = gm_shop_floats(s, w, (int64_t)classes * hidden), .out_bias = gm_shop_floats(s, w, classes), .cu_words = b->words.cu,
                                 .drop = gm_shop_drop(&b->words, GM_SITE_SPAN_HIDDEN), .logits = gm_shop_floats(s, w, (int64_t)rows * widths * classes), .label = b->span_label,
                                 .scale = gm_shop_one(s, w), .loss = gm_shop_same(s, w, sizeof(double), 0), .dlogits = dlogits, .sequences = b->words.sequences, .widths = widths,
                                 .hidden = hidden, .classes = classes };
        g[w] = (gm_span_logits_grad){ .projected = f[w].projected, .width = f[w].width, .bias = f[w].bias, .out = f[w].out, .cu_words = b->words.cu, .drop = f[w].drop,
                                      .dlogits = dlogits, .dprojected = gm_shop_acts(s, w, rows, 2 * hidden), .dwidth = gm_shop_floats(s, w, widths * hidden), .dbias = gm_shop_floats(s, w, hidden),
                                      .dout = gm_shop_floats(s, w, (int64_t)classes * hidden), .dout_bias = gm_shop_floats(s, w, classes), .sequences = b->words.sequences,
                                      .widths = widths, .hidden = hidden, .classes = classes, .words = rows };
    }
    gm_shop_show(s, "span_logits forward", span_logits_forward, f, sizeof *f, 2 * e * words * hidden + 8 * logits, flops, (double)NAN);
    gm_shop_show(s, "span_logits backward", span_logits_backward, g, sizeof *g, 4 * e * words * hidden + 4 * logits, 2 * flops, (double)NAN);
}

static void bench_crf(gm_shop *s)
{
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->words.rows * TAGS;
    gm_crf f[GM_SHOP_WORKERS];
    gm_crf_grad g[GM_SHOP_WORKERS];
    gm_crf_decode d[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_pack *p = &s->batch[w].words;
        const int32_t words = p->capacity, sequences = p->sequences;
        f[w] = (gm_crf){ .emit = gm_shop_acts(s, w, words, TAGS), .trans = gm_shop_floats(s, w, TAGS * TAGS), .start = gm_shop_floats(s, w, TAGS), .end = gm_shop_floats(s, w, TAGS),
                         .tag = gm_shop_same(s, w, (size_t)words * sizeof(int32_t), 0), .cu_words = p->cu, .scale = gm_shop_one(s, w), .loss = gm_shop_same(s, w, sizeof(double), 0),
                         .alpha = gm_shop_floats(s, w, (int64_t)words * TAGS), .log_z = gm_shop_floats(s, w, sequences), .sequences = sequences, .tags = TAGS };
        g[w] = (gm_crf_grad){ .emit = f[w].emit, .trans = f[w].trans, .start = f[w].start, .end = f[w].end, .alpha = f[w].alpha, .log_z = f[w].log_z, .scale = f[w].scale,
                              .tag = f[w].tag, .cu_words = p->cu, .demit = gm_shop_acts(s, w, words, TAGS), .dtrans = gm_shop_floats(s, w, TAGS * TAGS), .dstart = gm_shop_floats(s, w, TAGS),
                              .dend = gm_shop_floats(s, w, TAGS), .sequences = sequences, .tags = TAGS, .words = words, .scratch = gm_shop_floats(s, w, (int64_t)words * TAGS) };
        d[w] = (gm_crf_decode){ .emit = f[w].emit, .trans = f[w].trans, .start = f[w].start, .end = f[w].end, .cu_words = p->cu,
                                .path = gm_shop_same(s, w, (size_t)words * sizeof(int32_t), 0), .score = gm_shop_floats(s, w, sequences), .log_z = gm_shop_floats(s, w, sequences),
                                .marginal = gm_shop_floats(s, w, (int64_t)words * TAGS), .sequences = sequences, .tags = TAGS, .words = words };
    }
    gm_shop_show(s, "crf forward", crf_forward, f, sizeof *f, cells * (e + 4), 4 * cells * TAGS, (double)NAN);
    gm_shop_show(s, "crf backward", crf_backward, g, sizeof *g, cells * (2 * e + 4), 8 * cells * TAGS, (double)NAN);
    gm_shop_show(s, "crf_decode forward", crf_decode_forward, d, sizeof *d, cells * (e + 4), 10 * cells * TAGS, (double)NAN);
}

static void bench_cross_entropy(gm_shop *s)
{
    const int32_t classes = s->b->run.model.labels.count + 1;
    const double logits = (double)s->batch->words.rows * GM_SPAN_WIDTHS * classes;
    gm_cross_entropy f[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const int32_t rows = s->batch[w].words.rows * GM_SPAN_WIDTHS;
        f[w] = (gm_cross_entropy){ .logits = gm_shop_floats(s, w, (int64_t)rows * classes), .label = s->batch[w].span_label, .scale = gm_shop_one(s, w),
                                   .loss = gm_shop_same(s, w, sizeof(double), 0), .dlogits = gm_shop_floats(s, w, (int64_t)rows * classes), .rows = rows, .classes = classes };
    }
    gm_shop_show(s, "cross_entropy forward", cross_entropy_forward, f, sizeof *f, 8 * logits, 6 * logits, (double)NAN);
}

/* Dense parameters and the rows of the word table that a step touches; each worker takes its even share of them. */
static void bench_optimiser(gm_shop *s)
{
    const int64_t all = (int64_t)s->b->run.model.params.dense_count + (int64_t)s->touched_rows * gm_shop_encoder(s)->hidden;
    const int64_t count = all / s->workers / 16 * 16;
    const double n = (double)count;
    float *shard[GM_SHOP_WORKERS][2];
    gm_grad_norm norm[GM_SHOP_WORKERS];
    gm_adamw a[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        shard[w][0] = gm_shop_floats(s, w, count);
        shard[w][1] = gm_shop_floats(s, w, count);
        norm[w] = (gm_grad_norm){ .shard = { shard[w] }, .size = { count }, .blocks = 1, .shards = 2, .max = 1.0f, .norm = gm_shop_floats(s, w, 1), .scale = gm_shop_floats(s, w, 1),
                                  .partial = gm_shop_same(s, w, (size_t)(count / GM_NORM_CHUNK + 2) * sizeof(double), 0) };
        a[w] = (gm_adamw){ .param = gm_shop_floats(s, w, count), .m = gm_shop_floats(s, w, count), .v = gm_shop_same(s, w, (size_t)count * sizeof(float), 0), .grad = shard[w][1],
                           .grad_scale = gm_shop_one(s, w), .capacity = (int32_t)(count / 16), .width = 16, .decay = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f,
                           .copy = s->is_bf16 ? gm_shop_same(s, w, (size_t)count * 2, 0) : NULL };
    }
    gm_shop_show(s, "grad_norm forward", grad_norm_forward, norm, sizeof *norm, 12 * n, 3 * n, (double)NAN);
    gm_shop_show(s, "adamw forward", adamw_forward, a, sizeof *a, (s->is_bf16 ? 30 : 28) * n, 12 * n, (double)NAN);
}

gm_status gm_bench_operations(gm_bench *b, gm_err *err)
{
    static void (*const parts[])(gm_shop *) = { bench_embedding, bench_embedding_bag, bench_residual_norm, bench_linears, bench_attention, bench_distance_bias, bench_gather,
                                             bench_span_logits, bench_crf, bench_cross_entropy, bench_optimiser, gm_bench_regions };
    const gm_step step = { .seed = 1, .number = 3, .rate = { 1e-5f, 1e-4f, 1e-3f }, .inv_words = 1e-3f, .inv_sentences = 1e-2f };
    gm_shop s;
    GM_TRY(gm_shop_open(b, &s, err));
    gm_shop_fail(&s, gm_workers_error(&b->run.workers, gm_workers_set_step(&b->run.workers, &step), err));
    gm_shop_fill_batches(&s);
    if (s.status == GM_OK) gm_shop_fail(&s, b->run.workers.whole->memory->sync(b->run.workers.whole));
    for (size_t i = 0; i < GM_LEN(parts) && s.status == GM_OK; i++) {
        parts[i](&s);
        gm_shop_give_back(&s);
    }
    gm_shop_close(&s);
    return s.status;
}
