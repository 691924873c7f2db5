/* The reference is the formula in double, a row at a time; its backward goes through the full Jacobian of the norm and
 * is itself checked by central differences. */
#include "tests/support/kernel_test.h"

#include <math.h>
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

static void reference_sum(gmt_backend *b, const problem *p, const result *r)
{
    for (int32_t row = 0; row < p->rows; row++)
        for (int32_t c = 0; c < p->s.width; c++) {
            const ptrdiff_t i = (ptrdiff_t)row * p->s.width + c;
            r->sum[i] = p->rx[i] * kept(b, p, &p->drop, row, c) + (p->s.has_residual ? p->rresidual[i] : 0.0);
        }
}

/* Of r->sum. */
static void reference_norm(gmt_backend *b, const problem *p, const result *r)
{
    const int32_t width = p->s.width;
    for (int32_t row = 0; row < p->rows; row++) {
        const ptrdiff_t at = (ptrdiff_t)row * width;
        double mean = 0.0, square = 0.0;
        for (int32_t c = 0; c < width; c++) mean += r->sum[at + c] / width;
        for (int32_t c = 0; c < width; c++) square += (r->sum[at + c] - mean) * (r->sum[at + c] - mean) / width;
        r->mean[row] = mean;
        r->rstd[row] = 1.0 / sqrt(square + eps);
        for (int32_t c = 0; c < width; c++)
            r->norm[at + c] = kept(b, p, &p->drop_out, row, c)
                            * (p->rgamma[c] * (r->sum[at + c] - mean) * r->rstd[row] + p->rbeta[c]);
    }
}

/* Through the Jacobian: d normalised[c] / d sum[to] = rstd (c == to - 1 / n - x'c x'to / n). */
static void reference_backward(gmt_backend *b, const problem *p, const result *r)
{
    const int32_t width = p->s.width;
    double *d = gmt_doubles(b, (size_t)width), *hat = gmt_doubles(b, (size_t)width);
    for (int32_t row = 0; row < p->rows; row++) {
        const ptrdiff_t at = (ptrdiff_t)row * width;
        for (int32_t c = 0; c < width; c++) {
            d[c] = p->rdnorm[at + c] * kept(b, p, &p->drop_out, row, c);
            hat[c] = (r->sum[at + c] - r->mean[row]) * r->rstd[row];
            r->dgamma[c] += d[c] * hat[c];
            r->dbeta[c] += d[c];
        }
        for (int32_t to = 0; to < width; to++) {
            double total = p->s.has_dsum ? p->rdsum[at + to] : 0.0;
            for (int32_t c = 0; c < width; c++)
                total += d[c] * p->rgamma[c] * r->rstd[row] * ((c == to) - 1.0 / width - hat[c] * hat[to] / width);
            r->dresidual[at + to] = total;
            r->dx[at + to] = total * kept(b, p, &p->drop, row, to);
        }
    }
}

/* Rows beyond the count are NaN: reading them would show. */
static gmt_buf inputs(gmt_backend *b, int32_t rows, int32_t width, float offset)
{
    gmt_buf buf = gmt_act(b, (size_t)(rows + TAIL) * (size_t)width, 1.0f);
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

/* Tokens beyond the count belong to no sequence. */
static gmt_buf token_table(gmt_backend *b, const int32_t *length, int32_t sequences, int32_t *rows)
{
    const gmt_buf token = gmt_tokens(b, length, sequences);
    gm_token *all = (gm_token *)gmt_doubles(b, token.count + TAIL);
    memcpy(all, token.host, token.bytes);
    for (size_t i = 0; i < TAIL; i++) all[token.count + i] = (gm_token){ INT32_MAX / 2, INT32_MAX / 2 };
    *rows = (int32_t)token.count;
    return gmt_bytes(b, all, (token.count + TAIL) * sizeof *all, token.count + TAIL);
}

static problem make(gmt_backend *b, shape s, const int32_t *length, int32_t sequences)
{
    problem p = { .s = s };
    p.token = token_table(b, length, sequences, &p.rows);
    p.n_rows = gmt_i32(b, &p.rows, 1);
    p.x = inputs(b, p.rows, s.width, s.offset);
    p.residual = inputs(b, p.rows, s.width, 0.0f);
    p.gamma = gmt_normal(b, (size_t)s.width, 1.0f);
    p.beta = gmt_normal(b, (size_t)s.width, 1.0f);
    p.dnorm = inputs(b, p.rows, s.width, 0.0f);
    p.dsum = inputs(b, p.rows, s.width, 0.0f);
    p.before = gmt_act(b, p.x.count, 1.0f);
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

static result results(gmt_backend *b, const problem *p)
{
    const size_t n = area(p), rows = (size_t)p->rows, width = (size_t)p->s.width;
    return (result){ gmt_doubles(b, n), gmt_doubles(b, n), gmt_doubles(b, rows), gmt_doubles(b, rows),
                     gmt_doubles(b, n), gmt_doubles(b, n), gmt_doubles(b, width), gmt_doubles(b, width) };
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

/* dx and dresidual are activations, dgamma and dbeta float. */
static gmt_buf act_gradient(gmt_backend *b, const problem *p, bool adds)
{
    return adds ? gmt_act_f32(b, p->before.f32, p->before.count) : gmt_act_poison(b, p->before.count);
}

static gmt_buf float_gradient(gmt_backend *b, const problem *p, bool adds)
{
    return adds ? gmt_f32(b, p->before.f32, (size_t)p->s.width) : gmt_poison(b, (size_t)p->s.width);
}

static answer run(gmt_backend *b, const problem *p, gm_device *dev)
{
    const size_t n = p->x.count, rows = (size_t)p->rows + TAIL;
    answer a = { gmt_act_poison(b, n), gmt_act_poison(b, n), gmt_poison(b, rows), gmt_poison(b, rows),
                 act_gradient(b, p, p->s.adds & ADD_DX), act_gradient(b, p, p->s.adds & ADD_DRESIDUAL),
                 float_gradient(b, p, p->s.adds & ADD_DGAMMA), float_gradient(b, p, p->s.adds & ADD_DBETA) };
    const gm_residual_norm forward = forward_args(p, &a);
    const gm_residual_norm_grad backward = backward_args(p, &a);
    gmt_ok(b, b->k->residual_norm.forward(&forward, dev));
    gmt_ok(b, b->k->residual_norm.backward(&backward, dev));
    gmt_buf *all[] = { &a.sum, &a.norm, &a.mean, &a.rstd, &a.dx, &a.dresidual, &a.dgamma, &a.dbeta };
    for (size_t i = 0; i < GM_LEN(all); i++) gmt_fetch(b, all[i]);
    return a;
}

/* want gains what was there before; rows behind the last are zero, or as they were where gradients are added. */
static void close_gradient(const problem *p, int add, const gmt_buf *got, double *want, size_t count, double tol,
                           const char *what)
{
    const bool adds = p->s.adds & add;
    for (size_t i = 0; adds && i < count; i++) want[i] += (double)p->before.f32[i];
    gmt_close(got->f32, want, count, tol, what);
    if (!adds) gmt_zero_from(got, count, what);
    for (size_t i = count; adds && i < got->count; i++)
        if (got->f32[i] != p->before.f32[i]) fail_msg("%s[%zu] lies beyond the rows, but was written", what, i);
}

/* What a mask drops is zero and nothing else is: masks have no tolerance. */
static void masked(gmt_backend *b, const problem *p, const gm_drop *drop, const gmt_buf *got, const char *what)
{
    for (int32_t row = 0; row < p->rows; row++)
        for (int32_t c = 0; c < p->s.width; c++)
            if ((got->f32[row * p->s.width + c] == 0.0f) != (kept(b, p, drop, row, c) == 0.0))
                fail_msg("%s[%d][%d] is %.9g: the mask is another", what, row, c, (double)got->f32[row * p->s.width + c]);
}

static const int32_t lengths[] = { 5, 0, 1, 33, 2 };

/* The norm and all gradients are those of the sum as the kernel stored it. Sums have `width` terms (dgamma and dbeta one a
 * row); a mean away from 0 costs its size in differences from it. */
static void check(gmt_backend *b, shape s)
{
    const problem p = make(b, s, lengths, GM_LEN(lengths));
    const result want = results(b, &p);
    const answer got = run(b, &p, b->device);
    const size_t n = area(&p), rows = (size_t)p.rows, width = (size_t)s.width;
    const double tol = gmt_tol_f32(width) * (1.0 + (double)s.offset), rounding = gmt_rounding(b);
    reference_sum(b, &p, &want);
    gmt_close(got.sum.f32, want.sum, n, gmt_tol_act(b, 1), "sum");
    for (size_t i = 0; i < n; i++) want.sum[i] = (double)got.sum.f32[i];
    reference_norm(b, &p, &want);
    reference_backward(b, &p, &want);
    gmt_close(got.norm.f32, want.norm, n, tol + rounding, "norm");
    gmt_close(got.mean.f32, want.mean, rows, tol, "mean");
    gmt_close(got.rstd.f32, want.rstd, rows, tol, "rstd");
    gmt_zero_from(&got.sum, n, "sum");
    gmt_zero_from(&got.norm, n, "norm");
    masked(b, &p, &p.drop_out, &got.norm, "norm");
    if (!s.has_residual) masked(b, &p, &p.drop, &got.sum, "sum");
    if (!(s.adds & ADD_DX)) masked(b, &p, &p.drop, &got.dx, "dx");
    close_gradient(&p, ADD_DX, &got.dx, want.dx, n, 2.0 * tol + rounding, "dx");
    if (s.has_residual) close_gradient(&p, ADD_DRESIDUAL, &got.dresidual, want.dresidual, n, 2.0 * tol + rounding, "dresidual");
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
    check(b, (shape){ .width = 40, .p = 0.3f, .p_out = 0.1f });
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
        gmt_buf x = gmt_act_f32(b, p.x.f32, p.x.count), residual = gmt_act_f32(b, p.residual.f32, p.residual.count);
        gmt_buf dnorm = gmt_act_f32(b, p.dnorm.f32, p.dnorm.count), norm = gmt_act_poison(b, p.x.count);
        gm_residual_norm forward = forward_args(&p, &apart);
        forward.x = x.dev;
        forward.residual = residual.dev;
        forward.sum = over_x ? x.dev : residual.dev;
        forward.norm = norm.dev;
        gmt_ok(b, b->k->residual_norm.forward(&forward, b->device));
        assert_memory_equal(gmt_fetch(b, &norm), apart.norm.host, p.x.bytes);
        assert_memory_equal(gmt_fetch(b, over_x ? &x : &residual), apart.sum.host, p.x.bytes);
        gm_residual_norm_grad backward = backward_args(&p, &apart);
        backward.dnorm = backward.dx = dnorm.dev;
        gmt_ok(b, b->k->residual_norm.backward(&backward, b->device));
        assert_memory_equal(gmt_fetch(b, &dnorm), apart.dx.host, p.x.bytes);
    }
}

static void prediction_without_mean_and_frozen_weights(gmt_backend *b)
{
    const problem p = make(b, (shape){ .width = 64, .has_residual = true }, lengths, GM_LEN(lengths));
    const answer all = run(b, &p, b->device);
    gmt_buf norm = gmt_act_poison(b, p.x.count), dx = gmt_act_poison(b, p.x.count);
    gm_residual_norm forward = forward_args(&p, &all);
    forward.norm = norm.dev;
    forward.mean = forward.rstd = NULL;
    gmt_ok(b, b->k->residual_norm.forward(&forward, b->device));
    assert_memory_equal(gmt_fetch(b, &norm), all.norm.host, p.x.bytes);
    gm_residual_norm_grad backward = backward_args(&p, &all);
    backward.dx = dx.dev;
    backward.dgamma = backward.dbeta = NULL;
    backward.dresidual = NULL;
    gmt_ok(b, b->k->residual_norm.backward(&backward, b->device));
    assert_memory_equal(gmt_fetch(b, &dx), all.dx.host, p.x.bytes);
    for (int is_beta = 0; is_beta < 2; is_beta++) { /* one of the two is frozen */
        gmt_buf one = gmt_poison(b, 64);
        backward.dgamma = is_beta ? NULL : one.dev;
        backward.dbeta = is_beta ? one.dev : NULL;
        gmt_ok(b, b->k->residual_norm.backward(&backward, b->device));
        assert_memory_equal(gmt_fetch(b, &one), (is_beta ? all.dbeta : all.dgamma).host, one.bytes);
    }
}

static void no_rows(gmt_backend *b)
{
    static const int32_t none[] = { 0, 0 };
    const problem p = make(b, (shape){ .width = 40, .has_residual = true, .p = 0.1f }, none, GM_LEN(none));
    const answer a = run(b, &p, b->device);
    const gmt_buf *all[] = { &a.sum, &a.norm, &a.dx, &a.dresidual, &a.dgamma, &a.dbeta };
    for (size_t i = 0; i < GM_LEN(all); i++) gmt_zero_from(all[i], 0, "a result");
}

static void no_capacity(gmt_backend *b)
{
    static const int32_t none[] = { 0 };
    const problem p = make(b, (shape){ .width = 40, .has_residual = true }, none, GM_LEN(none));
    const answer a = run(b, &p, b->device);
    gmt_buf empty = gmt_act_poison(b, 0), dgamma = gmt_poison(b, 40), dbeta = gmt_poison(b, 40);
    gm_residual_norm forward = forward_args(&p, &a);
    gm_residual_norm_grad backward = backward_args(&p, &a);
    forward.capacity = backward.capacity = 0;
    forward.x = forward.residual = forward.sum = forward.norm = empty.dev;
    backward.sum = backward.dnorm = backward.dx = backward.dresidual = empty.dev;
    backward.dgamma = dgamma.dev;
    backward.dbeta = dbeta.dev;
    gmt_ok(b, b->k->residual_norm.forward(&forward, b->device));
    gmt_ok(b, b->k->residual_norm.backward(&backward, b->device));
    gmt_fetch(b, &empty);
    gmt_fetch(b, &dgamma);
    gmt_fetch(b, &dbeta);
    gmt_zero_from(&dgamma, 0, "dgamma");
    gmt_zero_from(&dbeta, 0, "dbeta");
}

/* More rows than a GPU has blocks for: each takes several, and the tail begins in the middle of a round. */
static void many_rows(gmt_backend *b)
{
    static const int32_t length[] = { 300, 257, 44 };
    for (int i = 0; i < 2; i++) {
        const problem p = make(b, (shape){ .width = i ? 8 : 5, .has_residual = true, .p = 0.1f }, length, GM_LEN(length));
        const result want = results(b, &p);
        const answer got = run(b, &p, b->device);
        const size_t rows = (size_t)p.rows, width = (size_t)p.s.width;
        for (size_t k = 0; k < area(&p); k++) want.sum[k] = (double)got.sum.f32[k];
        reference_norm(b, &p, &want);
        reference_backward(b, &p, &want);
        close_gradient(&p, ADD_DX, &got.dx, want.dx, area(&p), 4.0 * gmt_tol_f32(width) + gmt_rounding(b), "dx");
        close_gradient(&p, ADD_DGAMMA, &got.dgamma, want.dgamma, width, gmt_tol_f32(width) + gmt_tol_f32(rows), "dgamma");
        close_gradient(&p, ADD_DBETA, &got.dbeta, want.dbeta, width, gmt_tol_f32(rows), "dbeta");
    }
}

/* Each of the four words of a counter. */
static void a_draw_of_exactly_p_is_kept(gmt_backend *b)
{
    const problem any = make(b, (shape){ .width = 8, .p_out = 0.5f }, lengths, GM_LEN(lengths));
    for (uint32_t element = 0; element < 4; element++) {
        const problem p = make(b, (shape){ .width = 8, .p_out = gmt_draw(&any.drop_out, b->step.seed, 0, 0, element) }, lengths, GM_LEN(lengths));
        const answer got = run(b, &p, b->device);
        assert_true(kept(b, &p, &p.drop_out, 0, (int32_t)element) > 0.0);
        masked(b, &p, &p.drop_out, &got.norm, "norm");
    }
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check(b, (shape){ .width = 13, .has_residual = true, .adds = ADD_ALL });
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

typedef struct forward_of {
    gmt_backend *b;
    const problem *p;
    const result *r;
} forward_of;

/* Sum of dnorm * norm + dsum * sum: what backward differentiates. */
static double loss(const void *of)
{
    const forward_of *f = of;
    double total = 0.0;
    reference_sum(f->b, f->p, f->r);
    reference_norm(f->b, f->p, f->r);
    for (size_t i = 0; i < area(f->p); i++) total += f->p->rdnorm[i] * f->r->norm[i] + f->p->rdsum[i] * f->r->sum[i];
    return total;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    static const int32_t few[] = { 2, 0, 1 };
    const problem p = make(b, (shape){ .width = 9, .has_residual = true, .has_dsum = true, .p = 0.2f, .p_out = 0.2f },
                           few, GM_LEN(few));
    const result r = results(b, &p);
    const forward_of f = { b, &p, &r };
    loss(&f);
    reference_backward(b, &p, &r);
    gmt_slope(loss, &f, p.rx, area(&p), r.dx, 1e-7, "dx");
    gmt_slope(loss, &f, p.rresidual, area(&p), r.dresidual, 1e-7, "dresidual");
    gmt_slope(loss, &f, p.rgamma, 9, r.dgamma, 1e-7, "dgamma");
    gmt_slope(loss, &f, p.rbeta, 9, r.dbeta, 1e-7, "dbeta");
}

GMT_MAIN("residual_norm", GMT(reference_is_the_derivative), GMT(post_norm), GMT(post_norm_with_dropout),
         GMT(pre_norm_adds_the_gradient_of_the_sum), GMT(embeddings_drop_the_norm_and_have_no_residual),
         GMT(odd_and_wide_rows), GMT(mean_far_from_zero), GMT(in_place),
         GMT(prediction_without_mean_and_frozen_weights), GMT(no_rows), GMT(no_capacity), GMT(many_rows), GMT(a_draw_of_exactly_p_is_kept), GMT(workspace_is_what_is_asked_for),
         GMT(same_bits_on_any_number_of_threads))
