/* The reference is attention as the formula says it, in double, one score after another; its backward keeps whole
 * probability matrices and is itself checked by central differences. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attention/attention.h"
#include "vector_cpu.h"

/* Behind the last row come BEHIND that belong to the capacity, more than a GPU zeroes at once, then one that does not. */
enum { MAX_KEYS = 640, BEHIND = 37, TAIL = 38 };

/* key_length NULL: self attention on one [tokens, 3 hidden] tensor. gap: columns between rows of out, and of q in cross
 * attention; an odd one keeps a GPU from wide loads and from tensor cores. */
typedef struct shape {
    const int32_t *query_length, *key_length;
    int32_t sequences, heads, width, gap, reach;
    bool is_causal, has_bias;
    float p, sigma;
} shape;

/* Inputs of a shape, dense in double for the reference and strided in the backend's memory. */
typedef struct problem {
    shape s;
    int32_t queries, keys, hidden;
    double scale;
    gmt_buf cu_q, cu_k, q_block, k_block, bias, dout;
    const void *q, *k, *v;
    int32_t q_stride, k_stride, k_at, out_stride, q_rows, k_rows;
    gm_drop drop;
    double *rq, *rk, *rv, *rbias, *rdout;
} problem;

/* size: of the terms that an element of out is the sum of. */
typedef struct result { double *out, *size, *lse, *dq, *dk, *dv, *dbias; } result;

static double score(const problem *p, int32_t sequence, int32_t head, int32_t i, int32_t j)
{
    const int32_t q0 = p->cu_q.i32[sequence], k0 = p->cu_k.i32[sequence], reach = p->s.reach;
    const int32_t queries = p->cu_q.i32[sequence + 1] - q0, keys = p->cu_k.i32[sequence + 1] - k0;
    if (p->s.is_causal && j > i + keys - queries) return -INFINITY;
    double sum = 0.0;
    for (int32_t c = head * p->s.width; c < (head + 1) * p->s.width; c++)
        sum += p->rq[(q0 + i) * p->hidden + c] * p->rk[(k0 + j) * p->hidden + c];
    sum *= p->scale;
    if (p->s.has_bias) {
        int32_t apart = j - i;
        if (apart > reach) apart = reach;
        if (apart < -reach) apart = -reach;
        sum += p->rbias[head * (2 * reach + 1) + apart + reach];
    }
    return sum;
}

/* prob[j] of one query, undropped; returns the log-sum-exp. */
static double probabilities(const problem *p, int32_t sequence, int32_t head, int32_t i, int32_t keys, double *prob)
{
    double top = -INFINITY, sum = 0.0;
    for (int32_t j = 0; j < keys; j++) {
        prob[j] = score(p, sequence, head, i, j);
        top = fmax(top, prob[j]);
    }
    for (int32_t j = 0; j < keys; j++) sum += prob[j] = top == -INFINITY ? 0.0 : exp(prob[j] - top);
    for (int32_t j = 0; j < keys; j++) prob[j] = sum > 0.0 ? prob[j] / sum : 0.0;
    return sum > 0.0 ? top + log(sum) : -INFINITY;
}

static double kept(const problem *p, gmt_backend *b, int32_t sequence, int32_t head, int32_t i, int32_t j)
{
    return gmt_scale(&p->drop, b->step.seed, sequence, (uint32_t)i, (uint32_t)(head * 512 + j));
}

static void reference_forward(gmt_backend *b, const problem *p, const result *r)
{
    double prob[MAX_KEYS];
    for (int32_t n = 0; n < p->s.sequences; n++)
        for (int32_t h = 0; h < p->s.heads; h++)
            for (int32_t i = 0; i < p->cu_q.i32[n + 1] - p->cu_q.i32[n]; i++) {
                const int32_t row = p->cu_q.i32[n] + i, k0 = p->cu_k.i32[n], keys = p->cu_k.i32[n + 1] - k0;
                r->lse[row * p->s.heads + h] = probabilities(p, n, h, i, keys, prob);
                for (int32_t c = h * p->s.width; c < (h + 1) * p->s.width; c++) {
                    double sum = 0.0, size = 0.0;
                    for (int32_t j = 0; j < keys; j++) {
                        const double term = prob[j] * kept(p, b, n, h, i, j) * p->rv[(k0 + j) * p->hidden + c];
                        sum += term;
                        size += fabs(term);
                    }
                    r->out[row * p->hidden + c] = sum;
                    r->size[row * p->hidden + c] = size;
                }
            }
}

/* One query of one head: d of its probabilities, through the softmax, to everything below. The sum over keys of
 * probability times its d is taken from out, as backward has to: out is an input there, rounded as it may be. */
static void reference_backward_row(gmt_backend *b, const problem *p, const result *r, int32_t n, int32_t h, int32_t i)
{
    double prob[MAX_KEYS], dprob[MAX_KEYS], mean = 0.0;
    const int32_t row = p->cu_q.i32[n] + i, k0 = p->cu_k.i32[n], keys = p->cu_k.i32[n + 1] - k0, reach = p->s.reach;
    probabilities(p, n, h, i, keys, prob);
    for (int32_t c = h * p->s.width; c < (h + 1) * p->s.width; c++)
        mean += p->rdout[row * p->hidden + c] * r->out[row * p->hidden + c];
    for (int32_t j = 0; j < keys; j++) {
        const double keep = kept(p, b, n, h, i, j);
        dprob[j] = 0.0;
        for (int32_t c = h * p->s.width; c < (h + 1) * p->s.width; c++) {
            dprob[j] += keep * p->rdout[row * p->hidden + c] * p->rv[(k0 + j) * p->hidden + c];
            r->dv[(k0 + j) * p->hidden + c] += keep * prob[j] * p->rdout[row * p->hidden + c];
        }
    }
    for (int32_t j = 0; j < keys; j++) {
        const double dscore = prob[j] * (dprob[j] - mean);
        for (int32_t c = h * p->s.width; c < (h + 1) * p->s.width; c++) {
            r->dq[row * p->hidden + c] += dscore * p->scale * p->rk[(k0 + j) * p->hidden + c];
            r->dk[(k0 + j) * p->hidden + c] += dscore * p->scale * p->rq[row * p->hidden + c];
        }
        if (p->s.has_bias)
            r->dbias[h * (2 * reach + 1) + (j - i > reach ? reach : j - i < -reach ? -reach : j - i) + reach] += dscore;
    }
}

static void reference_backward(gmt_backend *b, const problem *p, const result *r)
{
    for (int32_t n = 0; n < p->s.sequences; n++)
        for (int32_t h = 0; h < p->s.heads; h++)
            for (int32_t i = 0; i < p->cu_q.i32[n + 1] - p->cu_q.i32[n]; i++) reference_backward_row(b, p, r, n, h, i);
}

static size_t area(int32_t rows, int32_t columns) { return (size_t)rows * (size_t)columns; }

/* A [rows + TAIL, stride] block whose tail rows are NaN: reading them would show. */
static gmt_buf inputs(gmt_backend *b, int32_t rows, int32_t stride, float sigma)
{
    gmt_buf buf = gmt_act(b, area(rows + TAIL, stride), sigma);
    for (size_t i = area(rows, stride); i < buf.count; i++) buf.f32[i] = NAN;
    gmt_push(b, &buf);
    return buf;
}

static void copy_dense(double *to, const float *from, int32_t rows, int32_t stride, int32_t columns)
{
    for (int32_t i = 0; i < rows; i++)
        for (int32_t c = 0; c < columns; c++) to[i * columns + c] = (double)from[i * stride + c];
}

/* What the reference reads, after the buffers were filled. */
static void read_inputs(const problem *p)
{
    const int32_t diagonals = 2 * p->s.reach + 1;
    copy_dense(p->rq, p->q_block.f32, p->queries, p->q_stride, p->hidden);
    copy_dense(p->rk, p->k_block.f32 + p->k_at, p->keys, p->k_stride, p->hidden);
    copy_dense(p->rv, p->k_block.f32 + p->k_at + p->hidden, p->keys, p->k_stride, p->hidden);
    copy_dense(p->rbias, p->bias.f32, p->s.heads, diagonals, diagonals);
    copy_dense(p->rdout, p->dout.f32, p->queries, p->out_stride, p->hidden);
}

static problem make(gmt_backend *b, shape s)
{
    problem p = { .s = s, .hidden = s.heads * s.width, .cu_q = gmt_offsets(b, s.query_length, s.sequences) };
    const bool is_self = s.key_length == NULL;
    p.cu_k = is_self ? p.cu_q : gmt_offsets(b, s.key_length, s.sequences);
    p.queries = p.cu_q.i32[s.sequences];
    p.keys = p.cu_k.i32[s.sequences];
    p.q_rows = p.queries + BEHIND;
    p.k_rows = p.keys + BEHIND;
    p.scale = (double)(float)(1.0 / sqrt(s.width));
    p.q_stride = is_self ? 3 * p.hidden : p.hidden + s.gap;
    p.k_stride = is_self ? 3 * p.hidden : 2 * p.hidden;
    p.k_at = is_self ? p.hidden : 0;
    p.out_stride = p.hidden + s.gap;
    p.q_block = inputs(b, p.queries, p.q_stride, s.sigma);
    p.k_block = is_self ? p.q_block : inputs(b, p.keys, p.k_stride, s.sigma);
    p.dout = inputs(b, p.queries, p.out_stride, 1.0f);
    p.bias = gmt_normal(b, area(s.heads, 2 * s.reach + 1), 1.0f);
    p.drop = gmt_drop(b, s.p, GM_SITE_ATTENTION, s.sequences);
    p.q = p.q_block.dev;
    p.k = gmt_at(&p.k_block, (size_t)p.k_at);
    p.v = gmt_at(&p.k_block, (size_t)(p.k_at + p.hidden));
    p.rq = gmt_doubles(b, area(p.queries, p.hidden));
    p.rk = gmt_doubles(b, area(p.keys, p.hidden));
    p.rv = gmt_doubles(b, area(p.keys, p.hidden));
    p.rbias = gmt_doubles(b, p.bias.count);
    p.rdout = gmt_doubles(b, area(p.queries, p.hidden));
    read_inputs(&p);
    return p;
}

/* Forward's part filled in. */
static result reference(gmt_backend *b, const problem *p)
{
    const size_t q = area(p->queries, p->hidden), k = area(p->keys, p->hidden);
    const result r = { gmt_doubles(b, q), gmt_doubles(b, q), gmt_doubles(b, area(p->queries, p->s.heads)),
                       gmt_doubles(b, q), gmt_doubles(b, k), gmt_doubles(b, k), gmt_doubles(b, p->bias.count) };
    reference_forward(b, p, &r);
    return r;
}

/* What the kernel wrote; in self attention dk_block is dq_block. */
typedef struct answer { gmt_buf out, lse, dq_block, dk_block, dbias; const float *dq, *dk, *dv; } answer;

/* The fields that both directions have. */
#define SHARED(p)                                                                                                      \
    .q = (p)->q, .k = (p)->k, .v = (p)->v, .q_stride = (p)->q_stride, .k_stride = (p)->k_stride,                       \
    .v_stride = (p)->k_stride, .cu_q = (p)->cu_q.dev, .cu_k = (p)->cu_k.dev,                                           \
    .bias = (p)->s.has_bias ? (p)->bias.dev : NULL, .bias_reach = (p)->s.reach, .is_causal = (p)->s.is_causal,         \
    .scale = (float)(p)->scale, .drop = (p)->drop, .out_stride = (p)->out_stride, .sequences = (p)->s.sequences,       \
    .heads = (p)->s.heads, .width = (p)->s.width, .q_rows = (p)->q_rows

static gm_status forward(gmt_backend *b, const problem *p, const gmt_buf *out, float *lse, gm_device *dev)
{
    return b->k->attention.forward(&(gm_attention){ SHARED(p), .out = out->dev, .lse = lse }, dev);
}

static gm_status backward(gmt_backend *b, const problem *p, const answer *a, gm_device *dev)
{
    const size_t k_at = (size_t)p->k_at;
    return b->k->attention.backward(&(gm_attention_grad){ SHARED(p), .out = a->out.dev, .dout = p->dout.dev,
                                                          .lse = a->lse.dev, .dq = a->dq_block.dev,
                                                          .dk = gmt_at(&a->dk_block, k_at),
                                                          .dv = gmt_at(&a->dk_block, k_at + (size_t)p->hidden),
                                                          .dbias = p->s.has_bias ? a->dbias.dev : NULL,
                                                          .k_rows = p->k_rows },
                                    dev);
}

static answer run(gmt_backend *b, const problem *p, gm_device *dev)
{
    answer a = { .out = gmt_act_poison(b, area(p->queries + TAIL, p->out_stride)),
                 .lse = gmt_poison(b, area(p->queries + TAIL, p->s.heads)),
                 .dq_block = gmt_act_poison(b, area(p->queries + TAIL, p->q_stride)),
                 .dbias = gmt_zeros(b, p->bias.count) };
    a.dk_block = p->s.key_length == NULL ? a.dq_block : gmt_act_poison(b, area(p->keys + TAIL, p->k_stride));
    for (size_t i = 0; i < a.dbias.count; i++) a.dbias.f32[i] = 1.0f; /* added to */
    gmt_push(b, &a.dbias);
    gmt_ok(b, forward(b, p, &a.out, a.lse.dev, dev));
    gmt_ok(b, backward(b, p, &a, dev));
    gmt_fetch(b, &a.out);
    gmt_fetch(b, &a.lse);
    gmt_fetch(b, &a.dq_block);
    gmt_fetch(b, &a.dk_block);
    gmt_fetch(b, &a.dbias);
    a.dq = a.dq_block.f32;
    a.dk = a.dk_block.f32 + p->k_at;
    a.dv = a.dk + p->hidden;
    return a;
}

/* Of TAIL rows behind `rows` those of the capacity are 0 and the others as poisoned. */
static void rows_behind(const float *got, int32_t stride, int32_t rows, int32_t capacity, int32_t columns,
                        const char *what)
{
    for (int32_t i = rows; i < rows + TAIL; i++)
        for (int32_t c = 0; c < columns; c++) {
            const float x = got[i * (ptrdiff_t)stride + c];
            if (i < capacity ? !(x == 0.0f) : !isnan(x))
                fail_msg("%s: row %d of %d, capacity %d, is %.9g", what, i, rows, capacity, (double)x);
        }
}

/* Of a strided block with TAIL rows more. */
static void close_rows(gmt_backend *b, const float *got, int32_t stride, int32_t rows, int32_t capacity,
                       int32_t columns, const double *want, double tol, const char *what)
{
    float *packed = gmt_zeros(b, area(rows, columns)).f32;
    for (int32_t i = 0; i < rows; i++)
        memcpy(packed + i * columns, got + i * (ptrdiff_t)stride, (size_t)columns * sizeof(float));
    gmt_close(packed, want, area(rows, columns), tol, what);
    rows_behind(got, stride, rows, capacity, columns, what);
}

/* Forward's out, which then stands for the reference's. Of bfloat16, `rounding` is what storing costs and once more what
 * it costs to take each term's probability to tensor cores; `sums` is for the rest, in float32. */
static void close_out(gmt_backend *b, const problem *p, const answer *got, const result *want, double sums)
{
    const double rounding = gmt_rounding(b);
    double squares = 0.0;
    for (size_t i = 0; i < area(p->queries, p->hidden); i++) squares += want->out[i] * want->out[i];
    const double rms = sqrt(squares / fmax(1.0, (double)area(p->queries, p->hidden)));
    for (int32_t i = 0; i < p->queries; i++)
        for (int32_t c = 0; c < p->hidden; c++) {
            const int32_t at = i * p->hidden + c;
            const double x = (double)got->out.f32[i * p->out_stride + c], y = want->out[at], off = fabs(x - y);
            const double bound = sums * (rms + fabs(y)) + rounding * (fabs(y) + want->size[at]);
            if (!(off <= bound))
                fail_msg("out[%d, %d] is %.9g, the reference says %.9g (off by %.3g, bound %.3g)", i, c, x, y, off,
                         bound);
        }
    rows_behind(got->out.f32, p->out_stride, p->queries, p->q_rows, p->hidden, "out");
    copy_dense(want->out, got->out.f32, p->queries, p->out_stride, p->hidden);
}

/* No kernel touches the columns between two rows. */
static void gaps_are_untouched(const float *got, int32_t stride, int32_t rows, int32_t columns)
{
    for (int32_t i = 0; i < rows; i++)
        for (int32_t c = columns; c < stride; c++) assert_true(isnan(got[i * (ptrdiff_t)stride + c]));
}

static void close_lse(const problem *p, const answer *a, const double *want, double tol)
{
    for (int32_t i = 0; i < p->queries * p->s.heads; i++) {
        const double got = (double)a->lse.f32[i];
        if (want[i] == -INFINITY ? got != -INFINITY : !(fabs(got - want[i]) <= tol * (1.0 + fabs(want[i]))))
            fail_msg("lse[%d] is %.9g, the reference says %.9g", i, got, want[i]);
    }
    for (int32_t i = p->queries * p->s.heads; i < (p->queries + TAIL) * p->s.heads; i++)
        assert_true(isnan(a->lse.f32[i]));
}

static int32_t most_keys(const problem *p)
{
    int32_t most = 1;
    for (int32_t n = 0; n < p->s.sequences; n++) {
        const int32_t keys = p->cu_k.i32[n + 1] - p->cu_k.i32[n];
        if (keys > most) most = keys;
    }
    return most;
}

/* A sum of `width` terms in the exponent, then a sum over keys: their errors add up. Gradients of the scores lose as
 * much again to the difference in them. */
static void check(gmt_backend *b, shape s)
{
    const problem p = make(b, s);
    const result want = reference(b, &p);
    const answer got = run(b, &p, b->device);
    const double tol = gmt_tol_f32((size_t)s.width) + gmt_tol_f32((size_t)most_keys(&p));
    const double grad = 2.0 * tol + gmt_rounding(b);
    close_lse(&p, &got, want.lse, tol);
    close_out(b, &p, &got, &want, tol);
    reference_backward(b, &p, &want);
    close_rows(b, got.dq, p.q_stride, p.queries, p.q_rows, p.hidden, want.dq, grad, "dq");
    close_rows(b, got.dk, p.k_stride, p.keys, p.k_rows, p.hidden, want.dk, grad, "dk");
    close_rows(b, got.dv, p.k_stride, p.keys, p.k_rows, p.hidden, want.dv, grad, "dv");
    gaps_are_untouched(got.out.f32, p.out_stride, p.queries + TAIL, p.hidden);
    if (s.key_length != NULL) gaps_are_untouched(got.dq, p.q_stride, p.queries + TAIL, p.hidden);
    if (!s.has_bias) return;
    for (size_t i = 0; i < got.dbias.count; i++) want.dbias[i] += 1.0;
    gmt_close(got.dbias.f32, want.dbias, got.dbias.count, gmt_tol_f32((size_t)p.queries) + 2.0 * tol, "dbias");
}

/* Self attention of lengths that are odd, empty, and one more than a tile of keys, with more queries than a block takes
 * at once. */
static shape self(gmt_backend *b, int32_t heads, int32_t width)
{
    static const int32_t lengths[] = { 31, 0, 1, 33, 65, 129, 2 }, few[] = { 31, 0, 1, 33, 40, 5, 2 };
    return (shape){ .query_length = b->target->is_checked ? few : lengths, .sequences = GM_LEN(lengths), .heads = heads,
                    .width = width, .gap = 8, .reach = 1, .sigma = 1.0f };
}

static const int32_t few_queries[] = { 5, 0, 3, 7, 40, 1 }, few_keys[] = { 9, 4, 0, 1, 130, 17 };

static shape cross(int32_t heads, int32_t width, int32_t gap)
{
    return (shape){ .query_length = few_queries, .key_length = few_keys, .sequences = GM_LEN(few_keys), .heads = heads,
                    .width = width, .gap = gap, .reach = 1, .sigma = 1.0f };
}

static void self_attention(gmt_backend *b)
{
    check(b, self(b, 3, 32));
    check(b, self(b, 2, 64));
    check(b, self(b, 1, 80));
}

static void self_attention_with_dropout(gmt_backend *b)
{
    shape s = self(b, 3, 32);
    s.p = 0.1f;
    check(b, s);
    s.gap = 5; /* in bfloat16: the same heads without tensor cores */
    check(b, s);
    s = self(b, 2, 64);
    s.p = 0.1f;
    check(b, s);
}

static void cross_attention_with_odd_width(gmt_backend *b)
{
    shape s = cross(2, 13, 5);
    s.p = 0.25f;
    check(b, s);
}

static void causal(gmt_backend *b)
{
    for (int32_t width = 16; width <= 32; width += 16) {
        shape s = self(b, 2, width);
        s.is_causal = true;
        s.p = 0.1f;
        check(b, s);
    }
}

/* Sequences with fewer keys than queries: the first queries see none and give zeros. */
static void causal_with_other_keys(gmt_backend *b)
{
    for (int32_t width = 8; width <= 64; width *= 8) {
        shape s = cross(2, width, 8);
        s.is_causal = true;
        check(b, s);
    }
}

static void additive_bias(gmt_backend *b)
{
    for (int32_t width = 24; width <= 32; width += 8) {
        shape s = self(b, 2, width);
        s.has_bias = true;
        s.reach = 9;
        s.p = 0.1f;
        check(b, s);
    }
    shape s = cross(2, 64, 8);
    s.has_bias = s.is_causal = true;
    s.reach = 3;
    check(b, s);
}

/* Lengths around a warp and around every tile, as keys and as queries, for each number of columns a lane. */
static void lengths_around_tiles(gmt_backend *b)
{
    static const int32_t edges[] = { 1, 31, 32, 33, 64, 65, 128, 129, 200, 513 };
    static const int32_t few[] = { 3, 17, 1, 5, 16, 33, 2, 9, 4, 2 }, widths[] = { 32, 64, 128 };
    const int32_t sequences = b->target->is_checked ? 8 : GM_LEN(edges);
    for (size_t w = 0; w < GM_LEN(widths); w += b->target->is_checked ? 2 : 1)
        for (int are_keys = 0; are_keys < 2; are_keys++) {
            shape s = cross(1, widths[w], 8);
            s.query_length = are_keys ? few : edges;
            s.key_length = are_keys ? edges : few;
            s.sequences = sequences;
            check(b, s);
        }
}

/* More keys than a tile and than dropout allows, heads wider than is transposed at once. */
static void long_sequences_and_wide_heads(gmt_backend *b)
{
    static const int32_t queries[] = { 70, 2 }, few[] = { 3, 2 }, keys[] = { 600, 3 };
    const shape wide = { .query_length = b->target->is_checked ? few : queries, .key_length = keys, .sequences = 2,
                         .heads = 1, .width = 72, .gap = 5, .reach = 300, .has_bias = true, .sigma = 1.0f };
    const shape narrow = { .query_length = b->target->is_checked ? few : keys, .key_length = keys, .sequences = 2,
                           .heads = 1, .width = 8, .gap = 5, .reach = 1, .is_causal = true, .sigma = 1.0f };
    check(b, wide);
    check(b, narrow);
}

/* The contract's limit of a GPU; the cpu has none. */
static void heads_wider_than_128(gmt_backend *b)
{
    static const int32_t length[] = { 3 };
    const shape s = { .query_length = length, .sequences = 1, .heads = 1, .width = 129, .gap = 5, .reach = 1,
                      .sigma = 1.0f };
    if (b->target->isa != NULL && b->target->precision == GM_FP32) {
        check(b, s);
        return;
    }
    const problem p = make(b, s);
    const gmt_buf out = gmt_act_poison(b, area(p.queries + TAIL, p.out_stride));
    assert_int_equal(forward(b, &p, &out, NULL, b->device), GM_ERR_SHAPE);
    assert_string_equal(b->device->err->text, b->target->isa == NULL ? "attention: a head has 129 columns, a GPU takes up to 128"
                        : "attention: sequence 0 has 3 queries and 3 keys of 129 columns; in bf16 the cpu takes up to 1024 rows of 128: use fp32");
}

/* Scores of some +-1e4: nothing overflows, and what the reference gives comes out within what the rounding of such a
 * score moves it. */
static void large_scores(gmt_backend *b)
{
    shape s = self(b, 2, 32);
    s.p = 0.1f;
    s.sigma = 60.0f;
    const problem p = make(b, s);
    const result want = reference(b, &p);
    const answer got = run(b, &p, b->device);
    double top = 0.0;
    for (int32_t i = 0; i < p.queries * p.s.heads; i++) top = fmax(top, fabs(want.lse[i]));
    assert_true(top > 1e4);
    const double tol = top * gmt_tol_f32(32);
    close_out(b, &p, &got, &want, tol);
    reference_backward(b, &p, &want);
    close_rows(b, got.dv, p.k_stride, p.keys, p.k_rows, p.hidden, want.dv, tol + gmt_rounding(b), "dv");
    for (int32_t i = 0; i < p.queries; i++)
        for (int32_t c = 0; c < 3 * p.hidden; c++) assert_true(isfinite(got.dq[i * p.q_stride + c]));
}

/* Row i of a [rows, hidden] part of a block is 0 but for column i % width of each head: 2^(i / width). */
static void set_powers(float *at, int32_t stride, int32_t rows, const problem *p)
{
    for (int32_t i = 0; i < rows; i++)
        for (int32_t c = 0; c < p->hidden; c++)
            at[i * stride + c] = c % p->s.width == i % p->s.width ? (float)(1 << i / p->s.width) : 0.0f;
}

static void set_all(float *at, int32_t stride, int32_t rows, int32_t columns, float value)
{
    for (int32_t i = 0; i < rows; i++)
        for (int32_t c = 0; c < columns; c++) at[i * stride + c] = value;
}

/* Half of what one wrong element of a mask changes at least. */
static void differ_by_no_mask(const float *got, int32_t stride, int32_t rows, int32_t columns, const double *want,
                              double one, const char *what)
{
    for (int32_t i = 0; i < rows; i++)
        for (int32_t c = 0; c < columns; c++)
            if (!(fabs((double)got[i * stride + c] - want[i * columns + c]) < 0.5 * one))
                fail_msg("%s[%d, %d] is %.9g, with the mask of the reference %.9g", what, i, c,
                         (double)got[i * stride + c], want[i * columns + c]);
}

/* Every mask element by itself: with queries 0 all keys weigh the same, and with rows of powers of two a sum over keys
 * (out, dq) or queries (dv) is a binary number whose digits are mask elements. Four digits stand clear of bfloat16's
 * rounding. In round 1 dout . v is 1 for every pair, which makes the digits of dq masks as well. */
static void masks_are_those_of_the_reference(gmt_backend *b)
{
    static const int32_t widths[] = { 16, 32, 64, 100 }, queries[] = { 2, 20 };
    for (size_t w = 0; w < (b->target->is_checked ? 2 : GM_LEN(widths)); w++)
        for (int round = 0; round < 2; round++) {
            const int32_t width = widths[w], keys[] = { 0, 4 * width };
            problem p = make(b, (shape){ .query_length = queries, .key_length = keys, .sequences = 2, .heads = 2,
                                         .width = width, .gap = 8, .reach = 1, .p = 0.1f, .sigma = 1.0f });
            float *v = p.k_block.f32 + p.hidden;
            set_all(p.q_block.f32, p.q_stride, p.queries, p.hidden, 0.0f);
            set_powers(p.k_block.f32, p.k_stride, p.keys, &p);
            set_powers(v, p.k_stride, p.keys, &p);
            set_powers(p.dout.f32, p.out_stride, p.queries, &p);
            if (round == 1) {
                set_all(v, p.k_stride, p.keys, p.hidden, 1.0f);
                set_all(p.dout.f32, p.out_stride, p.queries, p.hidden, 0.0f);
                for (int32_t h = 0; h < 2; h++) set_all(p.dout.f32 + h * width, p.out_stride, p.queries, 1, 1.0f);
            }
            gmt_push(b, &p.q_block);
            gmt_push(b, &p.k_block);
            gmt_push(b, &p.dout);
            read_inputs(&p);
            const result want = reference(b, &p);
            const answer got = run(b, &p, b->device);
            const double one = 1.0 / 0.9 / keys[1];
            if (round == 0) differ_by_no_mask(got.out.f32, p.out_stride, p.queries, p.hidden, want.out, one, "out");
            copy_dense(want.out, got.out.f32, p.queries, p.out_stride, p.hidden);
            reference_backward(b, &p, &want);
            if (round == 0) differ_by_no_mask(got.dv, p.k_stride, p.keys, p.hidden, want.dv, one, "dv");
            if (round == 1) differ_by_no_mask(got.dq, p.q_stride, p.queries, p.hidden, want.dq, p.scale * one, "dq");
        }
}

/* A batch of a fixed number of sequences, most of them empty: queries without keys, keys without queries, neither. */
static void padded_batch(gmt_backend *b)
{
    static const int32_t queries[48] = { 0, 5, 0, 3, 33, 0, 0, 2 }, keys[48] = { 0, 9, 4, 0, 40, 0, 7, 1 };
    for (int has_bias = 0; has_bias < 2; has_bias++) {
        shape s = { .query_length = queries, .key_length = keys, .sequences = GM_LEN(keys), .heads = 2, .width = 32,
                    .gap = 8, .reach = 4, .has_bias = has_bias, .p = 0.1f, .sigma = 1.0f };
        check(b, s);
        s.key_length = NULL;
        check(b, s);
    }
}

/* All of the capacity lies behind: the sums that are added to stay what they were, rows become zero. */
static void batch_without_a_row(gmt_backend *b)
{
    static const int32_t none[4] = { 0 };
    shape s = { .query_length = none, .heads = 2, .width = 32, .gap = 8, .reach = 4, .has_bias = true, .sigma = 1.0f };
    check(b, s);
    s.sequences = GM_LEN(none);
    check(b, s);
}

/* What is not said to belong to the capacity is left alone. */
static void rows_behind_without_capacity(gmt_backend *b)
{
    problem p = make(b, cross(2, 32, 8));
    p.q_rows = p.k_rows = 0;
    const answer got = run(b, &p, b->device);
    rows_behind(got.out.f32, p.out_stride, p.queries, 0, p.hidden, "out");
    rows_behind(got.dq, p.q_stride, p.queries, 0, p.hidden, "dq");
    rows_behind(got.dk, p.k_stride, p.keys, 0, 2 * p.hidden, "dk and dv");
}

/* A tensor of its own: NaN between its rows, which begin `shift` elements behind the block's start. */
typedef struct placed { gmt_buf block; size_t shift; int32_t rows, columns, stride; } placed;

static placed place(gmt_backend *b, const float *from, int32_t from_stride, int32_t rows, int32_t columns, size_t shift, int32_t gap)
{
    placed x = { .shift = shift, .rows = rows, .columns = columns, .stride = columns + gap };
    x.block = gmt_act_poison(b, shift + area(rows + TAIL, x.stride));
    for (int32_t i = 0; from != NULL && i < rows; i++)
        memcpy(x.block.f32 + shift + area(i, x.stride), from + area(i, from_stride), (size_t)columns * sizeof(float));
    gmt_push(b, &x.block);
    return x;
}

static void *start_of(const placed *x) { return gmt_at(&x->block, x->shift); }

static double *dense_of(gmt_backend *b, placed *x)
{
    double *to = gmt_doubles(b, area(x->rows, x->columns));
    gmt_fetch(b, &x->block);
    copy_dense(to, x->block.f32 + x->shift, x->rows, x->stride, x->columns);
    return to;
}

/* Inputs q, k, v and dout; results dq, dk, dv and out. */
enum { Q, K, V, OUT, TENSORS };

/* `off` < TENSORS: this tensor begins one element off; < 2 TENSORS: its rows lie an odd number apart; 2 TENSORS: all are as
 * a GPU likes them. out is that of the first call, to which all later ones are held. */
static void run_placed(gmt_backend *b, const problem *p, int off, const double *out, double *to[TENSORS])
{
    const int32_t rows[] = { p->queries, p->keys, p->keys, p->queries }, columns = p->hidden;
    const float *from[] = { p->q_block.f32, p->k_block.f32, p->k_block.f32 + columns, p->dout.f32 };
    const int32_t stride[] = { p->q_stride, p->k_stride, p->k_stride, p->out_stride };
    gmt_buf lse = gmt_poison(b, area(p->queries, p->s.heads)), dense = gmt_zeros(b, area(p->queries, columns));
    placed in[TENSORS], made[TENSORS];
    for (int i = 0; i < TENSORS; i++) {
        const int32_t gap = off == TENSORS + i ? 9 : 8;
        in[i] = place(b, from[i], stride[i], rows[i], columns, off == i, gap);
        made[i] = place(b, NULL, 0, rows[i], columns, off == i, gap);
    }
    gm_attention f = { SHARED(p), .out = start_of(&made[OUT]), .lse = lse.dev };
    f.q = start_of(&in[Q]), f.k = start_of(&in[K]), f.v = start_of(&in[V]);
    f.q_stride = in[Q].stride, f.k_stride = in[K].stride, f.v_stride = in[V].stride, f.out_stride = in[OUT].stride;
    gmt_ok(b, b->k->attention.forward(&f, b->device));
    to[OUT] = dense_of(b, &made[OUT]);
    for (size_t i = 0; i < dense.count; i++) dense.f32[i] = (float)(out != NULL ? out : to[OUT])[i];
    const placed again = place(b, dense.f32, columns, p->queries, columns, off == OUT, in[OUT].stride - columns);
    gm_attention_grad g = { SHARED(p), .out = start_of(&again), .dout = start_of(&in[OUT]), .lse = lse.dev, .dq = start_of(&made[Q]),
                            .dk = start_of(&made[K]), .dv = start_of(&made[V]), .k_rows = p->k_rows };
    g.q = f.q, g.k = f.k, g.v = f.v;
    g.q_stride = f.q_stride, g.k_stride = f.k_stride, g.v_stride = f.v_stride, g.out_stride = f.out_stride;
    gmt_ok(b, b->k->attention.backward(&g, b->device));
    for (int i = 0; i < OUT; i++) to[i] = dense_of(b, &made[i]);
}

static void any_alignment(gmt_backend *b)
{
    static const char *const names[] = { "dq", "dk", "dv", "out" };
    static const int32_t queries[] = { 5, 0, 34 }, keys[] = { 9, 4, 35 };
    for (int32_t width = 32; width >= 12; width -= 20) {
        const problem p = make(b, (shape){ .query_length = queries, .key_length = keys, .sequences = GM_LEN(keys), .heads = 2,
                                           .width = width, .gap = 8, .reach = 1, .sigma = 1.0f });
        const double tol = 2.0 * (gmt_tol_f32((size_t)width) + gmt_tol_f32(35) + gmt_rounding(b));
        double *first[TENSORS], *moved[TENSORS];
        run_placed(b, &p, 2 * TENSORS, NULL, first);
        for (int off = 0; off < 2 * TENSORS; off++) {
            run_placed(b, &p, off, first[OUT], moved);
            for (int i = 0; i < TENSORS; i++) {
                const size_t size = area(i == K || i == V ? p.keys : p.queries, p.hidden);
                float *got = gmt_zeros(b, size).f32;
                for (size_t e = 0; e < size; e++) got[e] = (float)moved[i][e];
                gmt_close(got, first[i], size, tol, names[i]);
            }
        }
    }
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    shape s = cross(2, 8, 8);
    s.has_bias = true;
    gmt_tight_workspace(b);
    check(b, s);
}

static void prediction_without_lse(gmt_backend *b)
{
    const problem p = make(b, self(b, 2, 32));
    const answer with = run(b, &p, b->device);
    gmt_buf out = gmt_act_poison(b, with.out.count);
    gmt_ok(b, forward(b, &p, &out, NULL, b->device));
    assert_memory_equal(gmt_fetch(b, &out), with.out.host, with.out.bytes);
}

/* A module knows no threads: there it is the same bits on every run. */
static void same_bits_on_any_number_of_threads(gmt_backend *b)
{
    for (int has_bias = b->target->is_checked; has_bias < 2; has_bias++) {
        shape s = self(b, 3, 32);
        s.has_bias = has_bias;
        s.reach = 9;
        s.p = 0.1f;
        const problem p = make(b, s);
        const answer first = run(b, &p, b->device);
        for (int threads = 1; threads <= (b->target->isa != NULL ? 3 : 1); threads++) {
            gm_device other;
            gmt_device_create(b, threads, &other);
            const answer again = run(b, &p, &other);
            gmt_device_destroy(b, &other);
            assert_memory_equal(again.out.host, first.out.host, first.out.bytes);
            assert_memory_equal(again.lse.host, first.lse.host, first.lse.bytes);
            assert_memory_equal(again.dq_block.host, first.dq_block.host, first.dq_block.bytes);
            assert_memory_equal(again.dbias.host, first.dbias.host, first.dbias.bytes);
        }
    }
}

typedef struct derived { gmt_backend *b; const problem *p; const result *r; } derived;

/* Sum of dout * out: what backward differentiates. */
static double loss(const void *of)
{
    const derived *d = of;
    double sum = 0.0;
    reference_forward(d->b, d->p, d->r);
    for (size_t i = 0; i < area(d->p->queries, d->p->hidden); i++) sum += d->p->rdout[i] * d->r->out[i];
    return sum;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    static const int32_t queries[] = { 3, 0, 4, 2, 1 }, keys[] = { 2, 3, 5, 0, 1 };
    for (int variant = 0; variant < 3; variant++) {
        const problem p = make(b, (shape){ .query_length = queries, .key_length = keys, .sequences = GM_LEN(keys),
                                           .heads = 2, .width = 3, .gap = 5, .reach = 2, .is_causal = variant == 1,
                                           .has_bias = variant > 0, .p = variant == 2 ? 0.3f : 0.0f, .sigma = 1.0f });
        const result r = reference(b, &p);
        reference_backward(b, &p, &r);
        const derived d = { b, &p, &r };
        gmt_slope(loss, &d, p.rq, area(p.queries, p.hidden), r.dq, 1e-8, "dq");
        gmt_slope(loss, &d, p.rk, area(p.keys, p.hidden), r.dk, 1e-8, "dk");
        gmt_slope(loss, &d, p.rv, area(p.keys, p.hidden), r.dv, 1e-8, "dv");
        gmt_slope(loss, &d, p.rbias, p.bias.count, r.dbias, 1e-8, "dbias");
    }
}

/* vector_cpu.h, as this file's own instruction set compiles it. */
static void exp_and_gelu_hold_their_bounds(gmt_backend *b)
{
    (void)b;
    for (float x = -86.9f; x < 88.7f; x += 0.0031f) {
        const double want = exp((double)x), unit = (double)(nextafterf((float)want, INFINITY) - (float)want);
        if (!(fabs((double)gm_exp(x) - want) <= 1.5 * unit))
            fail_msg("exp(%.9g) is %.9g", (double)x, (double)gm_exp(x));
    }
    assert_true(gm_exp(-INFINITY) == 0.0f && gm_exp(-1e30f) == 0.0f && gm_exp(-87.0f) == 0.0f && gm_exp(0.0f) == 1.0f);
    assert_true(gm_exp(1e30f) == INFINITY && gm_exp(INFINITY) == INFINITY && isnan(gm_exp(NAN)));
    for (float x = -30.0f; x < 30.0f; x += 0.0007f) {
        const double at = (double)x, integral = 0.5 * erfc(-at / sqrt(2.0)),
                     density = exp(-at * at / 2.0) * 0.39894228040143268;
        const double value = (double)gm_gelu(x) - at * integral,
                     slope = (double)gm_gelu_grad(x) - integral - at * density;
        if (!(fabs(value) <= 1.1e-7 * fmax(1.0, fabs(at)))) fail_msg("gelu(%.9g) is off by %.3g", at, value);
        if (!(fabs(slope) <= 2.5e-7)) fail_msg("the derivative of gelu at %.9g is off by %.3g", at, slope);
    }
    assert_true(isnan(gm_gelu(NAN)) && isnan(gm_gelu_grad(NAN)));
}

GMT_MAIN("attention", GMT_F32(exp_and_gelu_hold_their_bounds), GMT_F32(reference_is_the_derivative),
         GMT(self_attention), GMT(self_attention_with_dropout), GMT(cross_attention_with_odd_width), GMT(causal),
         GMT(causal_with_other_keys), GMT(additive_bias), GMT(lengths_around_tiles), GMT(long_sequences_and_wide_heads),
         GMT(heads_wider_than_128), GMT(large_scores), GMT(masks_are_those_of_the_reference), GMT(padded_batch),
         GMT(batch_without_a_row), GMT(rows_behind_without_capacity), GMT(prediction_without_lse), GMT(any_alignment), GMT(workspace_is_what_is_asked_for),
         GMT(same_bits_on_any_number_of_threads))
