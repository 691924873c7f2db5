/* linear against plain loops in double; the reference's backward against central differences. */
#include <math.h>
#include <string.h>

#include "linear/linear.h"
#include "tests/support/kernel_test.h"

typedef struct sizes { int32_t rows, in, out; } sizes;

static double gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2.0)); }
static double gelu_slope(double x) { return 0.5 * erfc(-x / sqrt(2.0)) + x * exp(-0.5 * x * x) / sqrt(6.283185307179586); }

/* y and pre [rows, out] in double. */
static void reference(sizes n, const float *x, const float *w, const float *b, gm_activation act, double *pre, double *y)
{
    for (int32_t r = 0; r < n.rows; r++)
        for (int32_t o = 0; o < n.out; o++) {
            double sum = b != NULL ? b[o] : 0.0;
            for (int32_t i = 0; i < n.in; i++) sum += (double)x[r * n.in + i] * w[o * n.in + i];
            pre[r * n.out + o] = sum;
            y[r * n.out + o] = act == GM_LINEAR_GELU ? gelu(sum) : sum;
        }
}

static void reference_grad(sizes n, const float *x, const float *w, const double *pre, const float *dy, gm_activation act,
                           double *dx, double *dw, double *db)
{
    for (int32_t r = 0; r < n.rows; r++)
        for (int32_t o = 0; o < n.out; o++) {
            const double g = dy[r * n.out + o] * (act == GM_LINEAR_GELU ? gelu_slope(pre[r * n.out + o]) : 1.0);
            db[o] += g;
            for (int32_t i = 0; i < n.in; i++) {
                dx[r * n.in + i] += g * w[o * n.in + i];
                dw[o * n.in + i] += g * x[r * n.in + i];
            }
        }
}

static void check(gmt_backend *b, sizes n, gm_activation act, bool has_bias, bool add)
{
    const size_t nx = (size_t)(n.rows * n.in), ny = (size_t)(n.rows * n.out), nw = (size_t)(n.out * n.in);
    gmt_buf x = gmt_normal(b, nx, 1.0f), w = gmt_normal(b, nw, 0.5f), bias = gmt_normal(b, (size_t)n.out, 0.5f);
    gmt_buf pre = gmt_poison(b, ny), y = gmt_poison(b, ny), dy = gmt_normal(b, ny, 1.0f);
    gmt_buf dx = add ? gmt_normal(b, nx, 1.0f) : gmt_poison(b, nx), dw = add ? gmt_normal(b, nw, 1.0f) : gmt_poison(b, nw);
    gmt_buf db = add ? gmt_normal(b, (size_t)n.out, 1.0f) : gmt_poison(b, (size_t)n.out);
    double *want_pre = gmt_doubles(b, ny), *want_y = gmt_doubles(b, ny), *want_dx = gmt_doubles(b, nx);
    double *want_dw = gmt_doubles(b, nw), *want_db = gmt_doubles(b, (size_t)n.out);
    for (size_t i = 0; add && i < nx; i++) want_dx[i] = dx.f32[i];
    for (size_t i = 0; add && i < nw; i++) want_dw[i] = dw.f32[i];
    for (size_t i = 0; add && i < (size_t)n.out; i++) want_db[i] = db.f32[i];
    reference(n, x.f32, w.f32, has_bias ? bias.f32 : NULL, act, want_pre, want_y);
    reference_grad(n, x.f32, w.f32, want_pre, dy.f32, act, want_dx, want_dw, want_db);
    gmt_ok(b, b->k->linear.forward(&(gm_linear){ .x = x.dev, .w = w.dev, .b = has_bias ? bias.dev : NULL, .pre = act == GM_LINEAR_GELU ? pre.dev : NULL,
                                                 .y = y.dev, .act = act, .rows = n.rows, .in = n.in, .out = n.out }, b->device));
    gmt_close(gmt_fetch(b, &y), want_y, ny, gmt_tol_f32((size_t)n.in), "y");
    gmt_ok(b, b->k->linear.backward(&(gm_linear_grad){ .x = x.dev, .w = w.dev, .pre = pre.dev, .dy = dy.dev, .dx = dx.dev, .dw = dw.dev,
                                                       .db = has_bias ? db.dev : NULL, .add_dx = add, .add_dw = add, .add_db = add,
                                                       .act = act, .rows = n.rows, .in = n.in, .out = n.out }, b->device));
    gmt_close(gmt_fetch(b, &dx), want_dx, nx, gmt_tol_f32((size_t)n.out), "dx");
    gmt_close(gmt_fetch(b, &dw), want_dw, nw, gmt_tol_f32((size_t)n.rows), "dw");
    if (has_bias) gmt_close(gmt_fetch(b, &db), want_db, (size_t)n.out, gmt_tol_f32((size_t)n.rows), "db");
}

static void matches_reference(gmt_backend *b)
{
    static const sizes all[] = { { 64, 32, 48 }, { 1, 1, 1 }, { 3, 17, 5 }, { 128, 384, 96 } };
    for (size_t i = 0; i < GM_LEN(all); i++)
        for (int variant = 0; variant < 8; variant++)
            check(b, all[i], variant & 1 ? GM_LINEAR_GELU : GM_LINEAR_PLAIN, variant & 2, variant & 4);
}

static void prediction_without_pre_is_the_same(gmt_backend *b)
{
    const sizes n = { 64, 40, 24 };
    gmt_buf x = gmt_normal(b, 64 * 40, 1.0f), w = gmt_normal(b, 24 * 40, 1.0f), pre = gmt_poison(b, 64 * 24);
    gmt_buf with = gmt_poison(b, 64 * 24), without = gmt_poison(b, 64 * 24);
    gm_linear a = { .x = x.dev, .w = w.dev, .pre = pre.dev, .y = with.dev, .act = GM_LINEAR_GELU, .rows = n.rows, .in = n.in, .out = n.out };
    gmt_ok(b, b->k->linear.forward(&a, b->device));
    a.pre = NULL;
    a.y = without.dev;
    gmt_ok(b, b->k->linear.forward(&a, b->device));
    assert_memory_equal(gmt_fetch(b, &with), gmt_fetch(b, &without), with.bytes);
}

static void no_rows_is_no_work(gmt_backend *b)
{
    gmt_buf x = gmt_poison(b, 0), w = gmt_normal(b, 6, 1.0f), y = gmt_poison(b, 0);
    gmt_ok(b, b->k->linear.forward(&(gm_linear){ .x = x.dev, .w = w.dev, .y = y.dev, .rows = 0, .in = 2, .out = 3 }, b->device));
}

/* d/dx of the reference's sum(y dy) by central differences: the reference's own backward is checked, not assumed. */
static void reference_agrees_with_differences(gmt_backend *b)
{
    const sizes n = { 3, 4, 5 };
    gmt_buf x = gmt_normal(b, 12, 1.0f), w = gmt_normal(b, 20, 1.0f), bias = gmt_normal(b, 5, 1.0f), dy = gmt_normal(b, 15, 1.0f);
    double *pre = gmt_doubles(b, 15), *y = gmt_doubles(b, 15), *dx = gmt_doubles(b, 12), *dw = gmt_doubles(b, 20), *db = gmt_doubles(b, 5);
    reference(n, x.f32, w.f32, bias.f32, GM_LINEAR_GELU, pre, y);
    reference_grad(n, x.f32, w.f32, pre, dy.f32, GM_LINEAR_GELU, dx, dw, db);
    struct { float *value; double *grad; int count; } all[] = { { x.f32, dx, 12 }, { w.f32, dw, 20 }, { bias.f32, db, 5 } };
    for (size_t k = 0; k < GM_LEN(all); k++)
        for (int i = 0; i < all[k].count; i++) {
            const float kept = all[k].value[i];
            double side[2];
            float at[2];
            for (int s = 0; s < 2; s++) {
                all[k].value[i] = at[s] = kept + (s ? -1e-3f : 1e-3f);
                reference(n, x.f32, w.f32, bias.f32, GM_LINEAR_GELU, pre, y);
                side[s] = 0.0;
                for (int j = 0; j < 15; j++) side[s] += y[j] * dy.f32[j];
            }
            all[k].value[i] = kept;
            assert_true(fabs((side[0] - side[1]) / ((double)at[0] - at[1]) - all[k].grad[i]) < 1e-4);
        }
}

GMT_MAIN("linear", GMT_F32(matches_reference), GMT_F32(prediction_without_pre_is_the_same), GMT_F32(no_rows_is_no_work), GMT_F32(reference_agrees_with_differences))
