/* The reference is attention as the formula says it, in double, one score after another; its backward keeps whole
 * probability matrices and is itself checked by central differences. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attention/attention.h"
#include "vector_cpu.h"

enum { MAX_KEYS = 640, TAIL = 3, GAP = 5 };

/* key_length NULL: self attention on one [tokens, 3 hidden] tensor. */
typedef struct shape {
    const int32_t *query_length, *key_length;
    int32_t sequences, heads, width, reach;
    bool is_causal, has_bias;
    float p, sigma;
} shape;

/* Inputs of a shape, dense in double for the reference and strided in the backend's memory. */
typedef struct problem {
    shape s;
    int32_t queries, keys, hidden;
    double scale;
    gmt_buf cu_q, cu_k, q_block, k_block, bias, dout;
    const float *q, *k, *v;
    int32_t q_stride, k_stride, out_stride;
    gm_drop drop;
    double *rq, *rk, *rv, *rbias, *rdout;
} problem;

typedef struct result { double *out, *lse, *dq, *dk, *dv, *dbias; } result;

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
                    double sum = 0.0;
                    for (int32_t j = 0; j < keys; j++)
                        sum += prob[j] * kept(p, b, n, h, i, j) * p->rv[(k0 + j) * p->hidden + c];
                    r->out[row * p->hidden + c] = sum;
                }
            }
}

/* One query of one head: d of its probabilities, through the softmax, to everything below. */
static void reference_backward_row(gmt_backend *b, const problem *p, const result *r, int32_t n, int32_t h, int32_t i)
{
    double prob[MAX_KEYS], dprob[MAX_KEYS], mean = 0.0;
    const int32_t row = p->cu_q.i32[n] + i, k0 = p->cu_k.i32[n], keys = p->cu_k.i32[n + 1] - k0, reach = p->s.reach;
    probabilities(p, n, h, i, keys, prob);
    for (int32_t j = 0; j < keys; j++) {
        const double keep = kept(p, b, n, h, i, j);
        dprob[j] = 0.0;
        for (int32_t c = h * p->s.width; c < (h + 1) * p->s.width; c++) {
            dprob[j] += keep * p->rdout[row * p->hidden + c] * p->rv[(k0 + j) * p->hidden + c];
            r->dv[(k0 + j) * p->hidden + c] += keep * prob[j] * p->rdout[row * p->hidden + c];
        }
        mean += prob[j] * dprob[j];
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
    gmt_buf buf = gmt_normal(b, area(rows + TAIL, stride), sigma);
    for (size_t i = area(rows, stride); i < buf.count; i++) buf.f32[i] = NAN;
    gmt_push(b, &buf);
    return buf;
}

static double *dense(gmt_backend *b, const float *from, int32_t rows, int32_t stride, int32_t columns)
{
    double *to = gmt_doubles(b, area(rows, columns));
    for (int32_t i = 0; i < rows; i++)
        for (int32_t c = 0; c < columns; c++) to[i * columns + c] = (double)from[i * stride + c];
    return to;
}

static problem make(gmt_backend *b, shape s)
{
    problem p = { .s = s, .hidden = s.heads * s.width, .cu_q = gmt_offsets(b, s.query_length, s.sequences) };
    const bool is_self = s.key_length == NULL;
    p.cu_k = is_self ? p.cu_q : gmt_offsets(b, s.key_length, s.sequences);
    p.queries = p.cu_q.i32[s.sequences];
    p.keys = p.cu_k.i32[s.sequences];
    p.scale = (double)(float)(1.0 / sqrt(s.width));
    p.q_stride = is_self ? 3 * p.hidden : p.hidden + GAP;
    p.k_stride = is_self ? 3 * p.hidden : 2 * p.hidden;
    p.out_stride = p.hidden + GAP;
    p.q_block = inputs(b, p.queries, p.q_stride, s.sigma);
    p.k_block = is_self ? p.q_block : inputs(b, p.keys, p.k_stride, s.sigma);
    p.dout = inputs(b, p.queries, p.out_stride, 1.0f);
    p.bias = gmt_normal(b, area(s.heads, 2 * s.reach + 1), 1.0f);
    p.drop = gmt_drop(b, s.p, GM_SITE_ATTENTION, s.sequences);
    const int32_t k_at = is_self ? p.hidden : 0;
    p.q = p.q_block.dev;
    p.k = (const float *)p.k_block.dev + k_at;
    p.v = p.k + p.hidden;
    p.rq = dense(b, p.q_block.f32, p.queries, p.q_stride, p.hidden);
    p.rk = dense(b, p.k_block.f32 + k_at, p.keys, p.k_stride, p.hidden);
    p.rv = dense(b, p.k_block.f32 + k_at + p.hidden, p.keys, p.k_stride, p.hidden);
    p.rbias = dense(b, p.bias.f32, s.heads, 2 * s.reach + 1, 2 * s.reach + 1);
    p.rdout = dense(b, p.dout.f32, p.queries, p.out_stride, p.hidden);
    return p;
}

static result reference(gmt_backend *b, const problem *p)
{
    const size_t q = area(p->queries, p->hidden), k = area(p->keys, p->hidden);
    const result r = { gmt_doubles(b, q), gmt_doubles(b, area(p->queries, p->s.heads)),
                       gmt_doubles(b, q), gmt_doubles(b, k),
                       gmt_doubles(b, k), gmt_doubles(b, area(p->s.heads, 2 * p->s.reach + 1)) };
    reference_forward(b, p, &r);
    reference_backward(b, p, &r);
    return r;
}

/* What the kernel wrote; in self attention dk_block is dq_block. */
typedef struct answer { gmt_buf out, lse, dq_block, dk_block, dbias; const float *dq, *dk, *dv; } answer;

static gm_status forward(gmt_backend *b, const problem *p, answer *a, float *lse, gm_device *dev)
{
    return b->k->attention.forward(&(gm_attention){ .q = p->q,
                                                     .k = p->k,
                                                     .v = p->v,
                                                     .q_stride = p->q_stride,
                                                     .k_stride = p->k_stride,
                                                     .v_stride = p->k_stride,
                                                     .cu_q = p->cu_q.dev,
                                                     .cu_k = p->cu_k.dev,
                                                     .bias = p->s.has_bias ? p->bias.dev : NULL,
                                                     .bias_reach = p->s.reach,
                                                     .is_causal = p->s.is_causal,
                                                     .scale = (float)p->scale,
                                                     .drop = p->drop,
                                                     .out = a->out.dev,
                                                     .out_stride = p->out_stride,
                                                     .lse = lse,
                                                     .sequences = p->s.sequences,
                                                     .heads = p->s.heads,
                                                     .width = p->s.width },
                                   dev);
}

static answer run(gmt_backend *b, const problem *p, gm_device *dev)
{
    const bool is_self = p->s.key_length == NULL;
    const int32_t k_at = is_self ? p->hidden : 0;
    answer a = { .out = gmt_poison(b, area(p->queries + TAIL, p->out_stride)),
                 .lse = gmt_poison(b, area(p->queries + TAIL, p->s.heads)),
                 .dq_block = gmt_poison(b, area(p->queries + TAIL, p->q_stride)),
                 .dbias = gmt_zeros(b, area(p->s.heads, 2 * p->s.reach + 1)) };
    a.dk_block = is_self ? a.dq_block : gmt_poison(b, area(p->keys + TAIL, p->k_stride));
    for (size_t i = 0; i < a.dbias.count; i++) a.dbias.f32[i] = 1.0f; /* added to */
    gmt_push(b, &a.dbias);
    float *dk = (float *)a.dk_block.dev + k_at;
    gmt_ok(b, forward(b, p, &a, a.lse.dev, dev));
    gmt_ok(b, b->k->attention.backward(&(gm_attention_grad){ .q = p->q,
                                                              .k = p->k,
                                                              .v = p->v,
                                                              .q_stride = p->q_stride,
                                                              .k_stride = p->k_stride,
                                                              .v_stride = p->k_stride,
                                                              .cu_q = p->cu_q.dev,
                                                              .cu_k = p->cu_k.dev,
                                                              .bias = p->s.has_bias ? p->bias.dev : NULL,
                                                              .bias_reach = p->s.reach,
                                                              .is_causal = p->s.is_causal,
                                                              .scale = (float)p->scale,
                                                              .drop = p->drop,
                                                              .out = a.out.dev,
                                                              .dout = p->dout.dev,
                                                              .out_stride = p->out_stride,
                                                              .lse = a.lse.dev,
                                                              .dq = a.dq_block.dev,
                                                              .dk = dk,
                                                              .dv = dk + p->hidden,
                                                              .dbias = p->s.has_bias ? a.dbias.dev : NULL,
                                                              .sequences = p->s.sequences,
                                                              .heads = p->s.heads,
                                                              .width = p->s.width },
                                       dev));
    gmt_fetch(b, &a.out);
    gmt_fetch(b, &a.lse);
    gmt_fetch(b, &a.dq_block);
    gmt_fetch(b, &a.dk_block);
    gmt_fetch(b, &a.dbias);
    a.dq = a.dq_block.f32;
    a.dk = a.dk_block.f32 + k_at;
    a.dv = a.dk + p->hidden;
    return a;
}

/* Compares rows x columns of a strided block and asserts that tail rows are as poisoned. */
static void close_rows(gmt_backend *b, const float *got, int32_t stride, int32_t rows, int32_t columns,
                       const double *want, double tol, const char *what)
{
    float *packed = gmt_zeros(b, area(rows, columns)).f32;
    for (int32_t i = 0; i < rows; i++)
        memcpy(packed + i * columns, got + i * (ptrdiff_t)stride, (size_t)columns * sizeof(float));
    gmt_close(packed, want, area(rows, columns), tol, what);
    for (int32_t i = rows; i < rows + TAIL; i++)
        for (int32_t c = 0; c < columns; c++)
            if (!isnan(got[i * (ptrdiff_t)stride + c]))
                fail_msg("%s: row %d lies beyond the %d rows, but was written", what, i, rows);
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
    close_rows(b, got.out.f32, p.out_stride, p.queries, p.hidden, want.out, tol, "out");
    close_lse(&p, &got, want.lse, tol);
    close_rows(b, got.dq, p.q_stride, p.queries, p.hidden, want.dq, 2.0 * tol, "dq");
    close_rows(b, got.dk, p.k_stride, p.keys, p.hidden, want.dk, 2.0 * tol, "dk");
    close_rows(b, got.dv, p.k_stride, p.keys, p.hidden, want.dv, 2.0 * tol, "dv");
    for (int32_t i = 0; i < p.queries; i++)
        for (int32_t c = p.hidden; c < p.out_stride; c++) assert_true(isnan(got.out.f32[i * p.out_stride + c]));
    if (!s.has_bias) return;
    for (size_t i = 0; i < got.dbias.count; i++) want.dbias[i] += 1.0;
    gmt_close(got.dbias.f32, want.dbias, got.dbias.count, gmt_tol_f32((size_t)p.queries) + 2.0 * tol, "dbias");
}

static const int32_t lengths[] = { 31, 0, 1, 33, 64, 130, 2 };
static const int32_t few_queries[] = { 5, 0, 3, 7, 40, 1 }, few_keys[] = { 9, 4, 0, 1, 130, 17 };

static void self_attention(gmt_backend *b)
{
    check(b, (shape){ lengths, NULL, GM_LEN(lengths), 3, 32, 1, .sigma = 1.0f });
}

static void self_attention_with_dropout(gmt_backend *b)
{
    check(b, (shape){ lengths, NULL, GM_LEN(lengths), 3, 32, 1, .p = 0.1f, .sigma = 1.0f });
}

static void cross_attention_with_odd_width(gmt_backend *b)
{
    check(b, (shape){ few_queries, few_keys, GM_LEN(few_keys), 2, 13, 1, .p = 0.25f, .sigma = 1.0f });
}

static void causal(gmt_backend *b)
{
    check(b, (shape){ lengths, NULL, GM_LEN(lengths), 2, 16, 1, .is_causal = true, .p = 0.1f, .sigma = 1.0f });
}

/* Sequences with fewer keys than queries: the first queries see none and give zeros. */
static void causal_with_other_keys(gmt_backend *b)
{
    check(b, (shape){ few_queries, few_keys, GM_LEN(few_keys), 2, 8, 1, .is_causal = true, .sigma = 1.0f });
}

static void additive_bias(gmt_backend *b)
{
    check(b, (shape){ lengths, NULL, GM_LEN(lengths), 2, 24, 9, .has_bias = true, .p = 0.1f, .sigma = 1.0f });
}

/* More keys than a tile and than dropout allows, heads wider than is transposed at once. */
static void long_sequences_and_wide_heads(gmt_backend *b)
{
    static const int32_t queries[] = { 70, 2 }, keys[] = { 600, 3 };
    check(b, (shape){ queries, keys, 2, 1, 72, 300, .has_bias = true, .sigma = 1.0f });
    check(b, (shape){ keys, NULL, 2, 1, 8, 1, .is_causal = true, .sigma = 1.0f });
}

/* Scores of some +-1e4: nothing overflows, and what the reference gives comes out within what the rounding of such a
 * score moves it. */
static void large_scores(gmt_backend *b)
{
    const problem p = make(b, (shape){ lengths, NULL, GM_LEN(lengths), 2, 32, 1, .p = 0.1f, .sigma = 60.0f });
    const result want = reference(b, &p);
    const answer got = run(b, &p, b->device);
    double top = 0.0;
    for (int32_t i = 0; i < p.queries * p.s.heads; i++) top = fmax(top, fabs(want.lse[i]));
    assert_true(top > 1e4);
    const double tol = top * gmt_tol_f32(32);
    close_rows(b, got.out.f32, p.out_stride, p.queries, p.hidden, want.out, tol, "out");
    close_rows(b, got.dv, p.k_stride, p.keys, p.hidden, want.dv, tol, "dv");
    for (int32_t i = 0; i < p.queries; i++)
        for (int32_t c = 0; c < 3 * p.hidden; c++) assert_true(isfinite(got.dq[i * p.q_stride + c]));
}

static void prediction_without_lse(gmt_backend *b)
{
    const problem p = make(b, (shape){ lengths, NULL, GM_LEN(lengths), 2, 32, 1, .sigma = 1.0f });
    const answer with = run(b, &p, b->device);
    answer without = { .out = gmt_poison(b, with.out.count) };
    gmt_ok(b, forward(b, &p, &without, NULL, b->device));
    assert_memory_equal(gmt_fetch(b, &without.out), with.out.host, with.out.bytes);
}

static void same_bits_on_any_number_of_threads(gmt_backend *b)
{
    for (int has_bias = 0; has_bias < 2; has_bias++) {
        const problem p = make(
            b, (shape){ lengths, NULL, GM_LEN(lengths), 3, 32, 9, .has_bias = has_bias, .p = 0.1f, .sigma = 1.0f });
        const answer first = run(b, &p, b->device);
        for (int threads = 1; threads <= 3; threads++) {
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

/* Sum of dout * out: what backward differentiates. */
static double loss(gmt_backend *b, const problem *p, const result *r)
{
    double sum = 0.0;
    reference_forward(b, p, r);
    for (size_t i = 0; i < area(p->queries, p->hidden); i++) sum += p->rdout[i] * r->out[i];
    return sum;
}

static void assert_slope(gmt_backend *b, const problem *p, const result *r, double *x, size_t count, const double *dx,
                         const char *what)
{
    const double step = 1e-5;
    for (size_t i = 0; i < count; i++) {
        const double at = x[i];
        x[i] = at + step;
        const double above = loss(b, p, r);
        x[i] = at - step;
        const double below = loss(b, p, r);
        x[i] = at;
        const double slope = (above - below) / (2.0 * step);
        if (!(fabs(slope - dx[i]) <= 1e-8 * (1.0 + fabs(slope))))
            fail_msg("reference %s[%zu] is %.12g, central differences say %.12g", what, i, dx[i], slope);
    }
}

static void reference_is_the_derivative(gmt_backend *b)
{
    static const int32_t queries[] = { 3, 0, 4, 2, 1 }, keys[] = { 2, 3, 5, 0, 1 };
    for (int variant = 0; variant < 3; variant++) {
        const problem p = make(b, (shape){ queries, keys, GM_LEN(keys), 2, 3, 2, .is_causal = variant == 1,
                                            .has_bias = variant > 0, .p = variant == 2 ? 0.3f : 0.0f, .sigma = 1.0f });
        const result r = reference(b, &p);
        assert_slope(b, &p, &r, p.rq, area(p.queries, p.hidden), r.dq, "dq");
        assert_slope(b, &p, &r, p.rk, area(p.keys, p.hidden), r.dk, "dk");
        assert_slope(b, &p, &r, p.rv, area(p.keys, p.hidden), r.dv, "dv");
        assert_slope(b, &p, &r, p.rbias, p.bias.count, r.dbias, "dbias");
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

GMT_MAIN("attention", GMT_F32(exp_and_gelu_hold_their_bounds), GMT_F32(reference_is_the_derivative), GMT_F32(self_attention),
         GMT_F32(self_attention_with_dropout), GMT_F32(cross_attention_with_odd_width), GMT_F32(causal),
         GMT_F32(causal_with_other_keys), GMT_F32(additive_bias), GMT_F32(long_sequences_and_wide_heads), GMT_F32(large_scores),
         GMT_F32(prediction_without_lse), GMT_F32(same_bits_on_any_number_of_threads))
