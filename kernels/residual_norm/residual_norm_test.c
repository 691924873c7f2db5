/* The reference is the formula in double, a row at a time; its backward goes through the full Jacobian of the norm and
 * is itself checked by central differences. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "residual_norm/residual_norm.h"

enum { TAIL = 3 };
enum { ADD_DX = 1, ADD_DRESIDUAL = 2, ADD_DGAMMA = 4, ADD_DBETA = 8, ADD_ALL = 15 };
static const double eps = 1e-5;

typedef struct shape {
    int32_t width;
    bool has_residual, has_dsum;
    int adds;                          /* bits: which gradients are added to */
    float p, p_out, offset;            /* offset: added to x, to move the mean away from 0 */
} shape;

typedef struct problem {
    shape s;
    int32_t rows;
    gmt_buf token, n_rows, x, residual, gamma, beta, dnorm, dsum, before; /* before: what gradients are added to */
    gm_drop drop, drop_out;
    double *rx, *rresidual, *rgamma, *rbeta, *rdnorm, *rdsum;
} problem;

typedef struct result { double *sum, *norm, *mean, *rstd, *dx, *dresidual, *dgamma, *dbeta; } result;

static size_t area(const problem *p) { return (size_t)p->rows * (size_t)p->s.width; }

static double kept(gmt_backend *b, const problem *p, const gm_drop *drop, int32_t row, int32_t c)
{
    const gm_token *token = p->token.host;
    return gmt_scale(drop, b->step.seed, token[row].sequence, (uint32_t)token[row].position, (uint32_t)c);
}

static void reference_forward(gmt_backend *b, const problem *p, const result *r)
{
    const int32_t width = p->s.width;
    for (int32_t row = 0; row < p->rows; row++) {
        const ptrdiff_t at = (ptrdiff_t)row * width;
        double mean = 0.0, square = 0.0;
        for (int32_t c = 0; c < width; c++) {
            r->sum[at + c] =
                p->rx[at + c] * kept(b, p, &p->drop, row, c) + (p->s.has_residual ? p->rresidual[at + c] : 0.0);
            mean += r->sum[at + c] / width;
        }
        for (int32_t c = 0; c < width; c++) square += (r->sum[at + c] - mean) * (r->sum[at + c] - mean) / width;
        r->mean[row] = mean;
        r->rstd[row] = 1.0 / sqrt(square + eps);
        for (int32_t c = 0; c < width; c++)
            r->norm[at + c] = kept(b, p, &p->drop_out, row, c)
                            * (p->rgamma[c] * (r->sum[at + c] - mean) * r->rstd[row] + p->rbeta[c]);
    }
}

static void reference_backward(gmt_backend *b, const problem *p, const result *r)
{
    const int32_t width = p->s.width;
    for (int32_t row = 0; row < p->rows; row++) {
        const ptrdiff_t at = (ptrdiff_t)row * width;
        for (int32_t c = 0; c < width; c++) {
            const double d = p->rdnorm[at + c] * kept(b, p, &p->drop_out, row, c);
            r->dgamma[c] += d * (r->sum[at + c] - r->mean[row]) * r->rstd[row];
            r->dbeta[c] += d;
        }
        for (int32_t to = 0; to < width;
             to++) { /* d normalised[c] / d sum[to] = rstd (c == to - 1 / n - x'c x'to / n) */
            const double hat_to = (r->sum[at + to] - r->mean[row]) * r->rstd[row];
            double total = p->s.has_dsum ? p->rdsum[at + to] : 0.0;
            for (int32_t c = 0; c < width; c++) {
                const double hat = (r->sum[at + c] - r->mean[row]) * r->rstd[row];
                total += p->rdnorm[at + c] * kept(b, p, &p->drop_out, row, c) * p->rgamma[c] * r->rstd[row]
                       * ((c == to) - 1.0 / width - hat * hat_to / width);
            }
            r->dresidual[at + to] = total;
            r->dx[at + to] = total * kept(b, p, &p->drop, row, to);
        }
    }
}

/* Rows beyond the count are NaN: reading them would show. */
static gmt_buf inputs(gmt_backend *b, int32_t rows, int32_t width, float offset)
{
    gmt_buf buf = gmt_normal(b, (size_t)(rows + TAIL) * (size_t)width, 1.0f);
    for (size_t i = 0; i < buf.count; i++) buf.f32[i] = i < (size_t)rows * (size_t)width ? buf.f32[i] + offset : NAN;
    gmt_push(b, &buf);
    return buf;
}

static double *doubles_of(gmt_backend *b, const gmt_buf *from)
{
    double *to = gmt_doubles(b, from->count);
    for (size_t i = 0; i < from->count; i++) to[i] = (double)from->f32[i];
    return to;
}

static problem make(gmt_backend *b, shape s, const int32_t *length, int32_t sequences)
{
    problem p = { .s = s, .token = gmt_tokens(b, length, sequences) };
    p.rows = (int32_t)p.token.count;
    p.n_rows = gmt_i32(b, &p.rows, 1);
    p.x = inputs(b, p.rows, s.width, s.offset);
    p.residual = inputs(b, p.rows, s.width, 0.0f);
    p.gamma = gmt_normal(b, (size_t)s.width, 1.0f);
    p.beta = gmt_normal(b, (size_t)s.width, 1.0f);
    p.dnorm = inputs(b, p.rows, s.width, 0.0f);
    p.dsum = inputs(b, p.rows, s.width, 0.0f);
    p.before = gmt_normal(b, p.x.count, 1.0f);
    p.drop = gmt_drop(b, s.p, GM_SITE_FFN_OUT, sequences);
    p.drop_out = gmt_drop(b, s.p_out, GM_SITE_EMBEDDING, sequences);
    p.rx = doubles_of(b, &p.x);
    p.rresidual = doubles_of(b, &p.residual);
    p.rgamma = doubles_of(b, &p.gamma);
    p.rbeta = doubles_of(b, &p.beta);
    p.rdnorm = doubles_of(b, &p.dnorm);
    p.rdsum = doubles_of(b, &p.dsum);
    return p;
}

static result reference(gmt_backend *b, const problem *p)
{
    const size_t n = area(p), rows = (size_t)p->rows, width = (size_t)p->s.width;
    const result r = { gmt_doubles(b, n), gmt_doubles(b, n), gmt_doubles(b, rows), gmt_doubles(b, rows),
                       gmt_doubles(b, n), gmt_doubles(b, n), gmt_doubles(b, width), gmt_doubles(b, width) };
    reference_forward(b, p, &r);
    reference_backward(b, p, &r);
    return r;
}

typedef struct answer { gmt_buf sum, norm, mean, rstd, dx, dresidual, dgamma, dbeta; } answer;

static gm_residual_norm forward_args(const problem *p, const answer *a)
{
    return (gm_residual_norm){ .x = p->x.dev,
                                .residual = p->s.has_residual ? p->residual.dev : NULL,
                                .gamma = p->gamma.dev,
                                .beta = p->beta.dev,
                                .token = p->token.dev,
                                .drop = p->drop,
                                .drop_out = p->drop_out,
                                .sum = a->sum.dev,
                                .norm = a->norm.dev,
                                .mean = a->mean.dev,
                                .rstd = a->rstd.dev,
                                .eps = (float)eps,
                                .n_rows = p->n_rows.dev,
                                .capacity = p->rows + TAIL,
                                .width = p->s.width };
}

static gm_residual_norm_grad backward_args(const problem *p, const answer *a)
{
    return (gm_residual_norm_grad){ .sum = a->sum.dev,
                                     .mean = a->mean.dev,
                                     .rstd = a->rstd.dev,
                                     .gamma = p->gamma.dev,
                                     .token = p->token.dev,
                                     .drop = p->drop,
                                     .drop_out = p->drop_out,
                                     .dnorm = p->dnorm.dev,
                                     .dsum = p->s.has_dsum ? p->dsum.dev : NULL,
                                     .dx = a->dx.dev,
                                     .dresidual = p->s.has_residual ? a->dresidual.dev : NULL,
                                     .dgamma = a->dgamma.dev,
                                     .dbeta = a->dbeta.dev,
                                     .add_dx = p->s.adds & ADD_DX,
                                     .add_dresidual = p->s.adds & ADD_DRESIDUAL,
                                     .add_dgamma = p->s.adds & ADD_DGAMMA,
                                     .add_dbeta = p->s.adds & ADD_DBETA,
                                     .n_rows = p->n_rows.dev,
                                     .capacity = p->rows + TAIL,
                                     .width = p->s.width };
}

static gmt_buf gradient(gmt_backend *b, const problem *p, size_t count, bool adds)
{
    return adds ? gmt_f32(b, p->before.f32, count) : gmt_poison(b, count);
}

static answer run(gmt_backend *b, const problem *p, gm_device *dev)
{
    const size_t n = p->x.count, rows = (size_t)p->rows + TAIL, width = (size_t)p->s.width;
    answer a = { gmt_poison(b, n), gmt_poison(b, n), gmt_poison(b, rows), gmt_poison(b, rows),
                 gradient(b, p, n, p->s.adds & ADD_DX), gradient(b, p, n, p->s.adds & ADD_DRESIDUAL),
                 gradient(b, p, width, p->s.adds & ADD_DGAMMA), gradient(b, p, width, p->s.adds & ADD_DBETA) };
    const gm_residual_norm forward = forward_args(p, &a);
    const gm_residual_norm_grad backward = backward_args(p, &a);
    gmt_ok(b, b->k->residual_norm.forward(&forward, dev));
    gmt_ok(b, b->k->residual_norm.backward(&backward, dev));
    gmt_buf *all[] = { &a.sum, &a.norm, &a.mean, &a.rstd, &a.dx, &a.dresidual, &a.dgamma, &a.dbeta };
    for (size_t i = 0; i < GM_LEN(all); i++) gmt_fetch(b, all[i]);
    return a;
}

/* want gains what was there before; what lies beyond `count` must stand as it stood. */
static void close_gradient(const problem *p, int add, const gmt_buf *got, double *want, size_t count, double tol,
                           const char *what)
{
    const bool adds = p->s.adds & add;
    for (size_t i = 0; adds && i < count; i++) want[i] += (double)p->before.f32[i];
    gmt_close(got->f32, want, count, tol, what);
    for (size_t i = count; i < got->count; i++)
        if (adds ? got->f32[i] != p->before.f32[i] : !isnan(got->f32[i]))
            fail_msg("%s[%zu] lies beyond the rows, but was written", what, i);
}

static void beyond_is_poison(const gmt_buf *got, size_t count, const char *what)
{
    for (size_t i = count; i < got->count; i++)
        if (!isnan(got->f32[i])) fail_msg("%s[%zu] lies beyond the rows, but was written", what, i);
}

static const int32_t lengths[] = { 5, 0, 1, 33, 2 };

/* Sums have `width` terms (dgamma and dbeta one a row); a mean away from 0 costs its size in differences from it. */
static void check(gmt_backend *b, shape s)
{
    const problem p = make(b, s, lengths, GM_LEN(lengths));
    const result want = reference(b, &p);
    const answer got = run(b, &p, b->device);
    const size_t n = area(&p), rows = (size_t)p.rows, width = (size_t)s.width;
    const double tol = gmt_tol_f32(width) * (1.0 + (double)s.offset);
    gmt_close(got.sum.f32, want.sum, n, gmt_tol_f32(1), "sum");
    gmt_close(got.norm.f32, want.norm, n, tol, "norm");
    gmt_close(got.mean.f32, want.mean, rows, tol, "mean");
    gmt_close(got.rstd.f32, want.rstd, rows, tol, "rstd");
    beyond_is_poison(&got.sum, n, "sum");
    beyond_is_poison(&got.norm, n, "norm");
    beyond_is_poison(&got.mean, rows, "mean");
    beyond_is_poison(&got.rstd, rows, "rstd");
    close_gradient(&p, ADD_DX, &got.dx, want.dx, n, 2.0 * tol, "dx");
    if (s.has_residual) close_gradient(&p, ADD_DRESIDUAL, &got.dresidual, want.dresidual, n, 2.0 * tol, "dresidual");
    close_gradient(&p, ADD_DGAMMA, &got.dgamma, want.dgamma, width, tol + gmt_tol_f32(rows), "dgamma");
    close_gradient(&p, ADD_DBETA, &got.dbeta, want.dbeta, width, gmt_tol_f32(rows), "dbeta");
}

static void post_norm(gmt_backend *b) { check(b, (shape){ .width = 384, .has_residual = true }); }

static void post_norm_with_dropout(gmt_backend *b)
{
    check(b, (shape){ .width = 384, .has_residual = true, .p = 0.1f, .adds = ADD_ALL });
}

static void pre_norm_adds_the_gradient_of_the_sum(gmt_backend *b)
{
    check(b, (shape){ .width = 64, .has_residual = true, .has_dsum = true, .p = 0.2f });
    check(b, (shape){ .width = 64, .has_residual = true, .has_dsum = true, .p = 0.2f, .adds = ADD_ALL });
}

static void embeddings_drop_the_norm_and_have_no_residual(gmt_backend *b)
{
    check(b, (shape){ .width = 384, .p_out = 0.1f });
    check(b, (shape){ .width = 768, .p_out = 0.1f, .has_dsum = true, .adds = ADD_ALL });
}

static void odd_and_wide_rows(gmt_backend *b)
{
    static const int32_t widths[] = { 5, 7, 15, 33, 65, 130, 515, 1061 };
    for (size_t i = 0; i < GM_LEN(widths); i++)
        check(
            b,
            (shape){
                .width = widths[i], .has_residual = true, .has_dsum = true, .adds = (int)i, .p = 0.1f, .p_out = 0.1f });
}

static void mean_far_from_zero(gmt_backend *b)
{
    check(b, (shape){ .width = 384, .has_residual = true, .offset = 1000.0f });
}

/* sum may be x or residual, and dx may lie over dnorm. */
static void in_place(gmt_backend *b)
{
    const problem p = make(b, (shape){ .width = 384, .has_residual = true, .p = 0.1f }, lengths, GM_LEN(lengths));
    const answer apart = run(b, &p, b->device);
    for (int over_x = 0; over_x < 2; over_x++) {
        gmt_buf x = gmt_f32(b, p.x.f32, p.x.count), residual = gmt_f32(b, p.residual.f32, p.residual.count);
        gmt_buf dnorm = gmt_f32(b, p.dnorm.f32, p.dnorm.count), norm = gmt_poison(b, p.x.count);
        gm_residual_norm forward = forward_args(&p, &apart);
        forward.x = x.dev;
        forward.residual = residual.dev;
        forward.sum = over_x ? x.dev : residual.dev;
        forward.norm = norm.dev;
        gmt_ok(b, b->k->residual_norm.forward(&forward, b->device));
        assert_memory_equal(gmt_fetch(b, &norm), apart.norm.host, area(&p) * sizeof(float));
        assert_memory_equal(gmt_fetch(b, over_x ? &x : &residual), apart.sum.host, area(&p) * sizeof(float));
        gm_residual_norm_grad backward = backward_args(&p, &apart);
        backward.dnorm = backward.dx = dnorm.dev;
        gmt_ok(b, b->k->residual_norm.backward(&backward, b->device));
        assert_memory_equal(gmt_fetch(b, &dnorm), apart.dx.host, area(&p) * sizeof(float));
    }
}

static void prediction_without_mean_and_frozen_weights(gmt_backend *b)
{
    const problem p = make(b, (shape){ .width = 64, .has_residual = true }, lengths, GM_LEN(lengths));
    const answer all = run(b, &p, b->device);
    gmt_buf norm = gmt_poison(b, p.x.count), dx = gmt_poison(b, p.x.count);
    gm_residual_norm forward = forward_args(&p, &all);
    forward.norm = norm.dev;
    forward.mean = forward.rstd = NULL;
    gmt_ok(b, b->k->residual_norm.forward(&forward, b->device));
    assert_memory_equal(gmt_fetch(b, &norm), all.norm.host, area(&p) * sizeof(float));
    gm_residual_norm_grad backward = backward_args(&p, &all);
    backward.dx = dx.dev;
    backward.dgamma = backward.dbeta = NULL;
    backward.dresidual = NULL;
    gmt_ok(b, b->k->residual_norm.backward(&backward, b->device));
    assert_memory_equal(gmt_fetch(b, &dx), all.dx.host, area(&p) * sizeof(float));
}

static void no_rows(gmt_backend *b)
{
    static const int32_t none[] = { 0, 0 };
    const problem p = make(b, (shape){ .width = 40, .has_residual = true, .p = 0.1f }, none, GM_LEN(none));
    const answer a = run(b, &p, b->device);
    beyond_is_poison(&a.norm, 0, "norm");
    beyond_is_poison(&a.dx, 0, "dx");
    for (size_t i = 0; i < a.dgamma.count; i++) assert_true(a.dgamma.f32[i] == 0.0f && a.dbeta.f32[i] == 0.0f);
}

static void same_bits_on_any_number_of_threads(gmt_backend *b)
{
    const shape s = { .width = 384, .has_residual = true, .p = 0.1f, .p_out = 0.1f, .adds = ADD_ALL };
    const problem p = make(b, s, lengths, GM_LEN(lengths));
    const answer first = run(b, &p, b->device);
    for (int threads = 1; threads <= 3; threads++) {
        gm_device other;
        gmt_device_create(b, threads, &other);
        const answer again = run(b, &p, &other);
        gmt_device_destroy(b, &other);
        const gmt_buf *one[] = { &first.norm, &first.sum, &first.dx, &first.dresidual, &first.dgamma, &first.dbeta };
        const gmt_buf *two[] = { &again.norm, &again.sum, &again.dx, &again.dresidual, &again.dgamma, &again.dbeta };
        for (size_t i = 0; i < GM_LEN(one); i++) assert_memory_equal(one[i]->host, two[i]->host, one[i]->bytes);
    }
}

/* Sum of dnorm * norm + dsum * sum: what backward differentiates. */
static double loss(gmt_backend *b, const problem *p, const result *r)
{
    double total = 0.0;
    reference_forward(b, p, r);
    for (size_t i = 0; i < area(p); i++) total += p->rdnorm[i] * r->norm[i] + p->rdsum[i] * r->sum[i];
    return total;
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
        if (!(fabs(slope - dx[i]) <= 1e-7 * (1.0 + fabs(slope))))
            fail_msg("reference %s[%zu] is %.12g, central differences say %.12g", what, i, dx[i], slope);
    }
}

static void reference_is_the_derivative(gmt_backend *b)
{
    static const int32_t few[] = { 2, 0, 1 };
    const problem p = make(b, (shape){ .width = 9, .has_residual = true, .has_dsum = true, .p = 0.2f, .p_out = 0.2f },
                           few, GM_LEN(few));
    const result r = reference(b, &p);
    assert_slope(b, &p, &r, p.rx, area(&p), r.dx, "dx");
    assert_slope(b, &p, &r, p.rresidual, area(&p), r.dresidual, "dresidual");
    assert_slope(b, &p, &r, p.rgamma, 9, r.dgamma, "dgamma");
    assert_slope(b, &p, &r, p.rbeta, 9, r.dbeta, "dbeta");
}

GMT_MAIN("residual_norm", GMT_F32(reference_is_the_derivative), GMT_F32(post_norm), GMT_F32(post_norm_with_dropout),
         GMT_F32(pre_norm_adds_the_gradient_of_the_sum), GMT_F32(embeddings_drop_the_norm_and_have_no_residual),
         GMT_F32(odd_and_wide_rows), GMT_F32(mean_far_from_zero), GMT_F32(in_place),
         GMT_F32(prediction_without_mean_and_frozen_weights), GMT_F32(no_rows), GMT_F32(same_bits_on_any_number_of_threads))
