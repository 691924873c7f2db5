/* Times each operation of a device module at the shapes of a training step, by itself and many times over.
 *
 *   bench_kernels --module gmner-cuda.so [--model minilm|base|tiny] [--batch tweets|long|few] [--precision fp32|bf16]
 *                 [--peak GBS,GFLOPS] [--json FILE] [--once]
 *
 * Prints a line an operation and pass: microseconds a call (median of five rounds), GB/s of the bytes that it must move (each
 * operand read or written once), GFLOP/s by the formulas of the contracts, and of both the share of the peaks given. Calls are
 * recorded and replayed as a graph, as training does, so that launches cost what they cost there. Operands are used again by each
 * call: what fits the cache of the GPU is found there, and a share may exceed 100 %. --json appends the same to a file, a line an
 * object. --once calls everything once, for the simulator. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adamw/adamw.h"
#include "attention/attention.h"
#include "backend/module.h"
#include "base/memory.h"
#include "cross_entropy/cross_entropy.h"
#include "crf/crf.h"
#include "crf_decode/crf_decode.h"
#include "embedding/embedding.h"
#include "gather/gather.h"
#include "grad_norm/grad_norm.h"
#include "linear/linear.h"
#include "residual_norm/residual_norm.h"
#include "span_logits/span_logits.h"

enum { MAX_BLOCKS = 256, CALLS = 16, ROUNDS = 5, PATTERN = 1 << 18, WIDTHS = 8, SPAN_HIDDEN = 256, CLASSES = 5, TAGS = 9 };

typedef struct model { const char *name; int32_t layers, hidden, heads, ffn, vocabulary; } model;
static const model models[] = { { "minilm", 6, 384, 12, 1536, 30522 }, { "base", 12, 768, 12, 3072, 30522 }, { "tiny", 1, 64, 2, 128, 300 } };

/* Sentences and their pieces: `even` each, or with even 0 as long as tweets are (deciles of Twitter-GMNER's training set). */
typedef struct batch { const char *name; int32_t sequences, even; } batch;
static const batch batches[] = { { "tweets", 32, 0 }, { "long", 64, 128 }, { "few", 2, 6 } };
static const int32_t tweet_length[] = { 13, 17, 19, 22, 24, 27, 29, 33 };

typedef struct bench {
    const gm_module *module;
    gm_kernels k;
    gm_device dev;
    gm_err err;
    const model *model;
    const batch *batch;
    gm_float_type type;
    bool once;
    double peak_bytes, peak_flops; /* a second; 0: not known */
    FILE *json;
    void *blocks[MAX_BLOCKS];
    int block_count;
    float *pattern;           /* N(0, 1) x 0.1, [PATTERN]; as bf16 behind it */
    int32_t tokens, words;
    const int32_t *cu, *cu_words, *n_tokens, *n_words, *ids, *slot, *first_piece, *tag; /* in device memory */
    const gm_token *token, *word_token;
    const uint8_t *span_label;
    const uint32_t *key, *draw;
    const float *one;
    double *loss;
    int32_t touched;
} bench;

static void stop_if(gm_status status, const bench *b)
{
    if (status == GM_OK) return;
    fprintf(stderr, "bench_kernels: %s\n", b->err.text);
    exit(1);
}

/* ---- memory ---- */

static void *take(bench *b, size_t bytes)
{
    void *block = NULL;
    if (b->block_count == MAX_BLOCKS) {
        fprintf(stderr, "bench_kernels: MAX_BLOCKS is too small\n");
        exit(1);
    }
    stop_if(b->dev.memory->alloc(&b->dev, bytes, &block), b);
    return b->blocks[b->block_count++] = block;
}

static void drop_since(bench *b, int mark)
{
    while (b->block_count > mark) b->dev.memory->release(&b->dev, b->blocks[--b->block_count]);
}

static void *send(bench *b, const void *from, size_t bytes)
{
    void *to = take(b, bytes);
    stop_if(b->dev.memory->upload(&b->dev, to, from, bytes), b);
    stop_if(b->dev.memory->sync(&b->dev), b);
    return to;
}

/* `count` numbers of the pattern; a type of 2 bytes takes its bf16 half. */
static void *numbers(bench *b, size_t count, size_t element)
{
    unsigned char *to = take(b, count * element);
    const void *from = element == 2 ? (const void *)(b->pattern + PATTERN) : (const void *)b->pattern;
    for (size_t at = 0; at < count; at += PATTERN)
        stop_if(b->dev.memory->upload(&b->dev, to + at * element, from, (count - at < PATTERN ? count - at : PATTERN) * element), b);
    return to;
}

static void *activations(bench *b, int64_t rows, int64_t width) { return numbers(b, (size_t)(rows * width), b->dev.element); }
static float *floats(bench *b, int64_t count) { return numbers(b, (size_t)count, 4); }

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static void make_pattern(bench *b)
{
    b->pattern = gm_malloc(PATTERN * 6);
    if (b->pattern == NULL) exit(1);
    uint16_t *half = (uint16_t *)(void *)(b->pattern + PATTERN);
    for (uint32_t i = 0; i < PATTERN; i += 4) {
        gm_normal4(gm_philox(1, i / 4, 0, 0, gm_purpose(GM_SITE_TEST, 0, 0)), b->pattern + i);
        for (uint32_t j = i; j < i + 4; j++) half[j] = bf16_of(b->pattern[j] *= 0.1f);
    }
}

/* ---- the batch ---- */

static int32_t length_of(const bench *b, int32_t sequence)
{
    return b->batch->even > 0 ? b->batch->even : tweet_length[sequence % (int32_t)GM_LEN(tweet_length)];
}

/* A sentence is [CLS], words of one piece or two, [SEP]; here every fifth word has two. */
static int32_t words_of(int32_t length) { return (length - 2) * 5 / 6; }

static void *list(size_t count, size_t element)
{
    void *block = gm_calloc(count, element);
    if (block == NULL) exit(1);
    return block;
}

static void send_sequences(bench *b)
{
    const int32_t sequences = b->batch->sequences;
    int32_t *cu = list((size_t)sequences + 1, 4), *cu_words = list((size_t)sequences + 1, 4);
    uint32_t *key = list((size_t)sequences, 4), *draw = list((size_t)sequences, 4);
    for (int32_t s = 0; s < sequences; s++) {
        cu[s + 1] = cu[s] + length_of(b, s);
        cu_words[s + 1] = cu_words[s] + words_of(length_of(b, s));
        key[s] = 2654435761u * (uint32_t)(s + 1);
        draw[s] = 1;
    }
    b->tokens = cu[sequences];
    b->words = cu_words[sequences];
    b->cu = send(b, cu, ((size_t)sequences + 1) * 4);
    b->cu_words = send(b, cu_words, ((size_t)sequences + 1) * 4);
    b->key = send(b, key, (size_t)sequences * 4);
    b->draw = send(b, draw, (size_t)sequences * 4);
    gm_free(cu);
    gm_free(cu_words);
    gm_free(key);
    gm_free(draw);
}

static void send_tokens(bench *b)
{
    const size_t tokens = (size_t)b->tokens;
    int32_t *ids = list(tokens, 4), *slot = list(tokens, 4), at = 0;
    gm_token *token = list(tokens, sizeof *token);
    b->touched = 2; /* [CLS] and [SEP] stand in every sentence, the others once */
    for (int32_t s = 0; s < b->batch->sequences; s++)
        for (int32_t i = 0, n = length_of(b, s); i < n; i++, at++) {
            const bool first = i == 0, last = i == n - 1;
            token[at] = (gm_token){ s, i };
            slot[at] = first ? 0 : last ? 1 : b->touched++;
            ids[at] = first ? 101 : last ? 102 : 103 + slot[at] * 37 % (b->model->vocabulary - 103);
        }
    b->ids = send(b, ids, tokens * 4);
    b->slot = send(b, slot, tokens * 4);
    b->token = send(b, token, tokens * sizeof *token);
    gm_free(ids);
    gm_free(slot);
    gm_free(token);
}

static void send_words(bench *b)
{
    const size_t words = (size_t)b->words;
    int32_t *first_piece = list(words, 4), *tag = list(words, 4), at = 0, row = 0;
    gm_token *token = list(words, sizeof *token);
    uint8_t *label = list(words * WIDTHS, 1);
    for (int32_t s = 0; s < b->batch->sequences; s++) {
        const int32_t n = words_of(length_of(b, s));
        for (int32_t i = 0; i < n; i++, at++) {
            token[at] = (gm_token){ s, i };
            first_piece[at] = row + 1 + i * 6 / 5;
            tag[at] = at % TAGS;
            for (int32_t w = 0; w < WIDTHS; w++) label[at * WIDTHS + w] = (uint8_t)(i + w >= n ? GM_NO_LABEL : (at + w) % 11 == 0);
        }
        row += length_of(b, s);
    }
    b->first_piece = send(b, first_piece, words * 4);
    b->tag = send(b, tag, words * 4);
    b->word_token = send(b, token, words * sizeof *token);
    b->span_label = send(b, label, words * WIDTHS);
    gm_free(first_piece);
    gm_free(tag);
    gm_free(token);
    gm_free(label);
}

static void send_batch(bench *b)
{
    const float one = 1.0f;
    const double zero = 0.0;
    const gm_step step = { .seed = 1, .number = 3, .rate = { 1e-5f, 1e-4f, 1e-3f }, .inv_words = 1e-3f, .inv_sentences = 1e-2f };
    send_sequences(b);
    send_tokens(b);
    send_words(b);
    b->n_tokens = send(b, &b->tokens, 4);
    b->n_words = send(b, &b->words, 4);
    b->one = send(b, &one, sizeof one);
    b->loss = send(b, &zero, sizeof zero);
    b->dev.step = send(b, &step, sizeof step);
}

static gm_drop drop_of(const bench *b, uint32_t site)
{
    return (gm_drop){ .p = 0.1f, .site = site, .key = b->key, .draw = b->draw };
}

/* ---- time ---- */

typedef gm_status (*call)(const bench *b, const void *args);

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static double replay(bench *b, void *graph, int times)
{
    stop_if(b->dev.memory->sync(&b->dev), b);
    const double start = now();
    for (int i = 0; i < times; i++) stop_if(b->module->graph_run(&b->dev, graph), b);
    stop_if(b->dev.memory->sync(&b->dev), b);
    return now() - start;
}

/* Seconds a call. The first calls make the plans of the products; the clock of a GPU rises in the round that is thrown away. */
static double time_of(bench *b, call run, const void *args)
{
    double round[ROUNDS];
    void *graph = NULL;
    const int calls = b->once ? 1 : CALLS;
    stop_if(run(b, args), b);
    stop_if(b->dev.memory->sync(&b->dev), b);
    stop_if(b->module->graph_begin(&b->dev), b);
    for (int i = 0; i < calls; i++) stop_if(run(b, args), b);
    stop_if(b->module->graph_end(&b->dev, &graph), b);
    int times = 1;
    if (!b->once) {
        replay(b, graph, 3);
        const double few = replay(b, graph, 3) / 3.0;
        times = few < 0.02 ? (int)(0.02 / (few + 1e-7)) + 1 : 1;
    }
    for (int i = 0; i < (b->once ? 1 : ROUNDS); i++) round[i] = replay(b, graph, times) / times / calls;
    b->module->graph_release(&b->dev, graph);
    if (b->once) return round[0];
    qsort(round, ROUNDS, sizeof *round, by_size);
    return round[ROUNDS / 2];
}

static void show(bench *b, const char *op, const char *pass, call run, const void *args, double bytes, double flops)
{
    const double seconds = time_of(b, run, args);
    const char *precision = b->type == GM_BF16 ? "bf16" : "fp32";
    printf("%-15s %-8s %10.2f us %9.1f GB/s %10.1f GFLOP/s", op, pass, seconds * 1e6, bytes / seconds * 1e-9, flops / seconds * 1e-9);
    if (b->peak_bytes > 0.0 && b->peak_flops > 0.0)
        printf("  %5.1f %% of bytes/s  %5.1f %% of flop/s", 100.0 * bytes / seconds / b->peak_bytes, 100.0 * flops / seconds / b->peak_flops);
    printf("\n");
    if (b->json != NULL)
        fprintf(b->json, "{\"by\": \"gmner\", \"model\": \"%s\", \"batch\": \"%s\", \"precision\": \"%s\", \"op\": \"%s\", \"pass\": \"%s\", "
                "\"us\": %.3f, \"bytes\": %.0f, \"flops\": %.0f}\n", b->model->name, b->batch->name, precision, op, pass, seconds * 1e6, bytes, flops);
    fflush(stdout);
}

#define FORWARD(op) static gm_status op##_forward(const bench *b, const void *args) { return b->k.op.forward(args, (gm_device *)(uintptr_t)&b->dev); }
#define BACKWARD(op) static gm_status op##_backward(const bench *b, const void *args) { return b->k.op.backward(args, (gm_device *)(uintptr_t)&b->dev); }
FORWARD(embedding) BACKWARD(embedding)
FORWARD(gather) BACKWARD(gather)
FORWARD(linear) BACKWARD(linear)
FORWARD(residual_norm) BACKWARD(residual_norm)
FORWARD(attention) BACKWARD(attention)
FORWARD(span_logits) BACKWARD(span_logits)
FORWARD(crf) BACKWARD(crf)
FORWARD(cross_entropy)
FORWARD(crf_decode)
FORWARD(grad_norm)
FORWARD(adamw)

/* ---- the operations ---- */

static void bench_embedding(bench *b)
{
    const int32_t hidden = b->model->hidden;
    const double cells = (double)b->tokens * hidden, e = (double)b->dev.element;
    const gm_embedding f = { .ids = b->ids, .token = b->token, .word = floats(b, (int64_t)b->model->vocabulary * hidden), .position = floats(b, 512 * hidden),
                             .type = floats(b, hidden), .out = activations(b, b->tokens, hidden), .n_tokens = b->n_tokens, .capacity = b->tokens, .hidden = hidden };
    show(b, "embedding", "forward", embedding_forward, &f, cells * (8 + e), cells * 2);
    const gm_embedding_grad g = { .slot = b->slot, .token = b->token, .dout = activations(b, b->tokens, hidden), .dword = floats(b, (int64_t)b->touched * hidden),
                                  .dposition = floats(b, 512 * hidden), .dtype = floats(b, hidden), .n_tokens = b->n_tokens, .capacity = b->tokens, .hidden = hidden };
    show(b, "embedding", "backward", embedding_backward, &g, cells * e + 8.0 * b->touched * hidden, cells * 3);
}

static void bench_residual_norm(bench *b)
{
    const int32_t width = b->model->hidden, rows = b->tokens;
    const double cells = (double)rows * width, e = (double)b->dev.element;
    const gm_residual_norm f = { .x = activations(b, rows, width), .residual = activations(b, rows, width), .gamma = floats(b, width), .beta = floats(b, width),
                                 .token = b->token, .drop = drop_of(b, GM_SITE_FFN_OUT), .sum = activations(b, rows, width), .norm = activations(b, rows, width),
                                 .mean = floats(b, rows), .rstd = floats(b, rows), .eps = 1e-12f, .n_rows = b->n_tokens, .capacity = rows, .width = width };
    show(b, "residual_norm", "forward", residual_norm_forward, &f, cells * 4 * e, cells * 9);
    const gm_residual_norm_grad g = { .sum = f.sum, .mean = f.mean, .rstd = f.rstd, .gamma = f.gamma, .token = b->token, .drop = f.drop,
                                      .dnorm = activations(b, rows, width), .dx = activations(b, rows, width), .dresidual = activations(b, rows, width),
                                      .dgamma = floats(b, width), .dbeta = floats(b, width), .n_rows = b->n_tokens, .capacity = rows, .width = width };
    show(b, "residual_norm", "backward", residual_norm_backward, &g, cells * 4 * e, cells * 14);
}

static void bench_linear(bench *b, const char *name, int32_t in, int32_t out, gm_activation act)
{
    const int32_t rows = b->tokens;
    const double e = (double)b->dev.element, x = (double)rows * in, y = (double)rows * out, w = (double)in * out, flops = 2.0 * (double)rows * w;
    const bool is_gelu = act == GM_LINEAR_GELU;
    const gm_linear f = { .x = activations(b, rows, in), .w = activations(b, out, in), .b = floats(b, out), .pre = is_gelu ? activations(b, rows, out) : NULL,
                          .y = activations(b, rows, out), .act = act, .rows = rows, .in = in, .out = out };
    show(b, name, "forward", linear_forward, &f, e * (x + w + (is_gelu ? 2 : 1) * y), flops);
    const gm_linear_grad g = { .x = f.x, .w = f.w, .pre = f.pre, .dy = activations(b, rows, out), .dx = activations(b, rows, in), .dw = floats(b, (int64_t)out * in),
                               .db = floats(b, out), .act = act, .rows = rows, .in = in, .out = out };
    show(b, name, "backward", linear_backward, &g, e * (2 * x + w + (is_gelu ? 3 : 1) * y) + 4 * w, 2 * flops);
}

static void bench_attention(bench *b)
{
    const int32_t hidden = b->model->hidden, heads = b->model->heads, width = hidden / heads, rows = b->tokens, stride = 3 * hidden;
    const double cells = (double)rows * hidden, e = (double)b->dev.element;
    double pairs = 0.0;
    for (int32_t s = 0; s < b->batch->sequences; s++) pairs += (double)length_of(b, s) * length_of(b, s);
    char *qkv = activations(b, rows, stride), *dqkv = activations(b, rows, stride);
    const size_t step = (size_t)hidden * b->dev.element;
    const gm_attention f = { .q = qkv, .k = qkv + step, .v = qkv + 2 * step, .q_stride = stride, .k_stride = stride, .v_stride = stride, .cu_q = b->cu, .cu_k = b->cu,
                             .scale = 1.0f / sqrtf((float)width), .drop = drop_of(b, GM_SITE_ATTENTION), .out = activations(b, rows, hidden), .out_stride = hidden,
                             .lse = floats(b, (int64_t)rows * heads), .sequences = b->batch->sequences, .heads = heads, .width = width, .q_rows = rows };
    show(b, "attention", "forward", attention_forward, &f, e * 4 * cells, 4 * pairs * hidden);
    const gm_attention_grad g = { .q = f.q, .k = f.k, .v = f.v, .q_stride = stride, .k_stride = stride, .v_stride = stride, .cu_q = b->cu, .cu_k = b->cu,
                                  .scale = f.scale, .drop = f.drop, .out = f.out, .dout = activations(b, rows, hidden), .out_stride = hidden, .lse = f.lse,
                                  .dq = dqkv, .dk = dqkv + step, .dv = dqkv + 2 * step, .sequences = b->batch->sequences, .heads = heads, .width = width,
                                  .q_rows = rows, .k_rows = rows };
    show(b, "attention", "backward", attention_backward, &g, e * 8 * cells, 10 * pairs * hidden);
}

static void bench_gather(bench *b)
{
    const int32_t width = b->model->hidden;
    const double e = (double)b->dev.element, cells = (double)b->words * width;
    const gm_gather f = { .x = activations(b, b->tokens, width), .index = b->first_piece, .token = b->word_token, .drop = drop_of(b, GM_SITE_TAG_STATE),
                          .out = activations(b, b->words, width), .n_rows = b->n_words, .capacity = b->words, .width = width };
    show(b, "gather", "forward", gather_forward, &f, 2 * e * cells, cells);
    const gm_gather_grad g = { .dout = f.out, .index = b->first_piece, .token = b->word_token, .drop = f.drop, .dx = activations(b, b->tokens, width),
                               .n_rows = b->n_words, .capacity = b->words, .source = b->tokens, .width = width };
    show(b, "gather", "backward", gather_backward, &g, e * (cells + (double)b->tokens * width), cells);
}

static void bench_span_logits(bench *b)
{
    const int32_t words = b->words;
    const double e = (double)b->dev.element, spans = (double)words * WIDTHS, rows = 2.0 * words * SPAN_HIDDEN, logits = spans * CLASSES;
    float *dlogits = floats(b, (int64_t)words * WIDTHS * CLASSES);
    const gm_span_logits f = { .projected = activations(b, words, 2 * SPAN_HIDDEN), .width = floats(b, WIDTHS * SPAN_HIDDEN), .bias = floats(b, SPAN_HIDDEN),
                               .out = floats(b, CLASSES * SPAN_HIDDEN), .out_bias = floats(b, CLASSES), .cu_words = b->cu_words, .drop = drop_of(b, GM_SITE_SPAN_HIDDEN),
                               .logits = floats(b, (int64_t)words * WIDTHS * CLASSES), .label = b->span_label, .scale = b->one, .loss = b->loss, .dlogits = dlogits,
                               .sequences = b->batch->sequences, .widths = WIDTHS, .hidden = SPAN_HIDDEN, .classes = CLASSES };
    show(b, "span_logits", "forward", span_logits_forward, &f, e * rows + 8 * logits, 2 * spans * SPAN_HIDDEN * (CLASSES + 1));
    const gm_span_logits_grad g = { .projected = f.projected, .width = f.width, .bias = f.bias, .out = f.out, .cu_words = b->cu_words, .drop = f.drop, .dlogits = dlogits,
                                    .dprojected = activations(b, words, 2 * SPAN_HIDDEN), .dwidth = floats(b, WIDTHS * SPAN_HIDDEN), .dbias = floats(b, SPAN_HIDDEN),
                                    .dout = floats(b, CLASSES * SPAN_HIDDEN), .dout_bias = floats(b, CLASSES), .sequences = b->batch->sequences, .widths = WIDTHS,
                                    .hidden = SPAN_HIDDEN, .classes = CLASSES, .words = words };
    show(b, "span_logits", "backward", span_logits_backward, &g, 2 * e * rows + 4 * logits, 4 * spans * SPAN_HIDDEN * (CLASSES + 1));
}

static void bench_crf(bench *b)
{
    const int32_t words = b->words, sequences = b->batch->sequences;
    const double e = (double)b->dev.element, cells = (double)words * TAGS;
    const gm_crf f = { .emit = activations(b, words, TAGS), .trans = floats(b, TAGS * TAGS), .start = floats(b, TAGS), .end = floats(b, TAGS), .tag = b->tag,
                       .cu_words = b->cu_words, .scale = b->one, .loss = b->loss, .alpha = floats(b, (int64_t)words * TAGS), .log_z = floats(b, sequences),
                       .sequences = sequences, .tags = TAGS };
    show(b, "crf", "forward", crf_forward, &f, cells * (e + 4), 4 * cells * TAGS);
    const gm_crf_grad g = { .emit = f.emit, .trans = f.trans, .start = f.start, .end = f.end, .alpha = f.alpha, .log_z = f.log_z, .scale = b->one, .tag = b->tag,
                            .cu_words = b->cu_words, .demit = activations(b, words, TAGS), .dtrans = floats(b, TAGS * TAGS), .dstart = floats(b, TAGS),
                            .dend = floats(b, TAGS), .sequences = sequences, .tags = TAGS, .words = words };
    show(b, "crf", "backward", crf_backward, &g, cells * (2 * e + 4), 8 * cells * TAGS);
    const gm_crf_decode d = { .emit = f.emit, .trans = f.trans, .start = f.start, .end = f.end, .cu_words = b->cu_words, .path = take(b, (size_t)words * 4),
                              .score = floats(b, sequences), .log_z = floats(b, sequences), .marginal = floats(b, (int64_t)words * TAGS), .sequences = sequences,
                              .tags = TAGS, .words = words };
    show(b, "crf_decode", "forward", crf_decode_forward, &d, cells * (e + 4), 10 * cells * TAGS);
}

static void bench_cross_entropy(bench *b)
{
    const int32_t rows = b->words * WIDTHS;
    const double logits = (double)rows * CLASSES;
    const gm_cross_entropy f = { .logits = floats(b, (int64_t)rows * CLASSES), .label = b->span_label, .scale = b->one, .loss = b->loss,
                                 .dlogits = floats(b, (int64_t)rows * CLASSES), .rows = rows, .classes = CLASSES };
    show(b, "cross_entropy", "forward", cross_entropy_forward, &f, 8 * logits, 6 * logits);
}

/* All of the encoder's parameters but the word table, of which a step touches some rows. */
static void bench_optimiser(bench *b)
{
    const model *m = b->model;
    const int64_t layer = 4LL * m->hidden * m->hidden + 2LL * m->hidden * m->ffn, dense = layer * m->layers, table = (int64_t)b->touched * m->hidden;
    const double all = (double)(dense + table);
    float *grad = floats(b, dense), *table_grad = floats(b, table);
    float *const dense_shards[] = { grad, floats(b, dense) }, *const table_shards[] = { table_grad, floats(b, table) };
    const gm_grad_norm n = { .shard = { dense_shards, table_shards }, .size = { dense, table }, .blocks = 2, .shards = 2,
                             .partial = take(b, (size_t)((dense + table) / GM_NORM_CHUNK + 4) * 8), .max = 1.0f, .norm = floats(b, 1), .scale = floats(b, 1) };
    show(b, "grad_norm", "forward", grad_norm_forward, &n, 12 * all, 3 * all);
    float *variance = take(b, (size_t)dense * 4);
    stop_if(b->dev.memory->fill(&b->dev, variance, 0, (size_t)dense * 4), b);
    const gm_adamw a = { .param = floats(b, dense), .m = floats(b, dense), .v = variance, .grad = grad, .grad_scale = b->one, .capacity = 1, .width = (int32_t)dense,
                         .decay = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .copy = b->type == GM_BF16 ? take(b, (size_t)dense * 2) : NULL };
    show(b, "adamw", "forward", adamw_forward, &a, (double)dense * (b->type == GM_BF16 ? 30 : 28), 12 * (double)dense);
}

static void bench_all(bench *b)
{
    static void (*const parts[])(bench *) = { bench_embedding, bench_residual_norm, bench_attention, bench_gather, bench_span_logits,
                                              bench_crf, bench_cross_entropy, bench_optimiser };
    const int32_t hidden = b->model->hidden, ffn = b->model->ffn;
    const int batch_blocks = b->block_count;
    for (size_t i = 0; i < GM_LEN(parts); i++) {
        parts[i](b);
        drop_since(b, batch_blocks);
    }
    bench_linear(b, "linear qkv", hidden, 3 * hidden, GM_LINEAR_PLAIN);
    drop_since(b, batch_blocks);
    bench_linear(b, "linear out", hidden, hidden, GM_LINEAR_PLAIN);
    drop_since(b, batch_blocks);
    bench_linear(b, "linear ffn gelu", hidden, ffn, GM_LINEAR_GELU);
    drop_since(b, batch_blocks);
    bench_linear(b, "linear ffn down", ffn, hidden, GM_LINEAR_PLAIN);
    drop_since(b, batch_blocks);
}

/* ---- the program ---- */

static const gm_module *open_module(const char *path)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    gm_module_open_fn open_it = NULL;
    if (object != NULL) *(void **)&open_it = dlsym(object, "gm_module_open");
    const gm_module *m = open_it != NULL ? open_it() : NULL;
    if (m == NULL || m->abi != GM_MODULE_ABI) {
        fprintf(stderr, "bench_kernels: %s is no module of this version: %s\n", path, object == NULL ? dlerror() : "no table");
        exit(1);
    }
    return m;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_kernels --module FILE [--model minilm|base|tiny] [--batch tweets|long|few] [--precision fp32|bf16]\n"
                    "                     [--peak GBS,GFLOPS] [--json FILE] [--once]\n");
    return 2;
}

static bool choose(bench *b, const char *option, const char *value)
{
    if (strcmp(option, "--module") == 0) {
        b->module = open_module(value);
        return true;
    }
    if (strcmp(option, "--precision") == 0) {
        b->type = strcmp(value, "bf16") == 0 ? GM_BF16 : GM_FP32;
        return b->type == GM_BF16 || strcmp(value, "fp32") == 0;
    }
    if (strcmp(option, "--peak") == 0) {
        char *comma = NULL;
        b->peak_bytes = 1e9 * strtod(value, &comma);
        b->peak_flops = *comma == ',' ? 1e9 * strtod(comma + 1, NULL) : 0.0;
        return b->peak_bytes > 0.0 && b->peak_flops > 0.0;
    }
    if (strcmp(option, "--json") == 0) return (b->json = fopen(value, "a")) != NULL;
    for (size_t i = 0; i < GM_LEN(models); i++)
        if (strcmp(option, "--model") == 0 && strcmp(value, models[i].name) == 0) return (b->model = &models[i]) != NULL;
    for (size_t i = 0; i < GM_LEN(batches); i++)
        if (strcmp(option, "--batch") == 0 && strcmp(value, batches[i].name) == 0) return (b->batch = &batches[i]) != NULL;
    return false;
}

int main(int argc, char **argv)
{
    static bench b = { .model = &models[0], .batch = &batches[0] };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--once") == 0) b.once = true;
        else if (i + 1 < argc && choose(&b, argv[i], argv[i + 1])) i++;
        else return usage();
    }
    if (b.module == NULL) return usage();
    b.k = b.module->kernels[b.type];
    b.dev.threads = 1;
    stop_if(b.module->device_create(&b.dev, &b.err), &b);
    b.dev.memory = &b.module->memory;
    b.dev.module = b.module;
    b.dev.element = b.type == GM_BF16 ? 2 : 4;
    make_pattern(&b);
    send_batch(&b);
    printf("%s, %s: %d sentences, %d pieces, %d words, %s\n", b.model->name, b.batch->name, b.batch->sequences, b.tokens, b.words,
           b.type == GM_BF16 ? "bf16" : "fp32");
    bench_all(&b);
    drop_since(&b, 0);
    b.module->device_destroy(&b.dev);
    gm_free(b.pattern);
    return b.json == NULL || fclose(b.json) == 0 ? 0 : 1;
}
