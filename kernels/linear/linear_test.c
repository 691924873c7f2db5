/* linear against plain loops in double; the reference's backward against central differences. What one stage has stored
 * (pre, the gradient at pre) is the next stage's input in the reference as well: each step is held to its own rounding. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "linear/linear.h"

typedef struct sizes { int32_t rows, in, out; } sizes;

static double gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2.0)); }
static double gelu_slope(double x) { return 0.5 * erfc(-x / sqrt(2.0)) + x * exp(-0.5 * x * x) / sqrt(6.283185307179586); }

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double quick_gelu(double x) { return x * sigmoid(1.702 * x); }
static double quick_gelu_slope(double x) { return sigmoid(1.702 * x) * (1.0 + 1.702 * x * sigmoid(-1.702 * x)); }

static double activated(double x, gm_activation act) { return act == GM_LINEAR_GELU ? gelu(x) : act == GM_LINEAR_QUICK_GELU ? quick_gelu(x) : x; }
static double slope(double x, gm_activation act)
{
    return act == GM_LINEAR_GELU ? gelu_slope(x) : act == GM_LINEAR_QUICK_GELU ? quick_gelu_slope(x) : 1.0;
}

/* x w^T + bias, [rows, out]. */
static void reference(sizes n, const double *x, const double *w, const double *bias, double *pre)
{
    for (int32_t r = 0; r < n.rows; r++)
        for (int32_t o = 0; o < n.out; o++) {
            double sum = bias != NULL ? bias[o] : 0.0;
            for (int32_t i = 0; i < n.in; i++) sum += x[r * n.in + i] * w[o * n.in + i];
            pre[r * n.out + o] = sum;
        }
}

/* Adds to dx, dw and db; dpre is the gradient at pre. */
static void reference_grad(sizes n, const double *x, const double *w, const double *dpre, double *dx, double *dw, double *db)
{
    for (int32_t r = 0; r < n.rows; r++)
        for (int32_t o = 0; o < n.out; o++) {
            const double g = dpre[r * n.out + o];
            db[o] += g;
            for (int32_t i = 0; i < n.in; i++) {
                dx[r * n.in + i] += g * w[o * n.in + i];
                dw[o * n.in + i] += g * x[r * n.in + i];
            }
        }
}

static double *widened(gmt_backend *b, const float *x, size_t n)
{
    double *y = gmt_doubles(b, n);
    for (size_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

/* shift: elements by which every activation lies off its block's start; the last `tail` rows have no gradient. */
typedef struct layout { size_t shift; int32_t tail; bool has_bias, add; } layout;

typedef struct problem {
    sizes n;
    layout l;
    gm_activation act;
    size_t nx, ny, nw;
    gmt_buf x, w, bias, pre, y, dy, dx, dw, db;
} problem;

static problem make(gmt_backend *b, sizes n, gm_activation act, layout l)
{
    const size_t nx = (size_t)(n.rows * n.in), ny = (size_t)(n.rows * n.out), nw = (size_t)(n.out * n.in), s = l.shift;
    problem p = { .n = n, .l = l, .act = act, .nx = nx, .ny = ny, .nw = nw };
    p.x = gmt_act(b, nx + s, 1.0f);
    p.w = gmt_act(b, nw + s, 0.5f);
    p.bias = gmt_normal(b, (size_t)n.out, 0.5f);
    p.pre = gmt_act_poison(b, ny + s);
    p.y = gmt_act_poison(b, ny + s);
    p.dy = gmt_act(b, ny + s, 1.0f);
    memset(p.dy.f32 + s + (size_t)((n.rows - l.tail) * n.out), 0, (size_t)(l.tail * n.out) * sizeof(float));
    gmt_push(b, &p.dy);
    p.dx = l.add ? gmt_act(b, nx + s, 1.0f) : gmt_act_poison(b, nx + s);
    p.dw = l.add ? gmt_normal(b, nw, 1.0f) : gmt_poison(b, nw);
    p.db = l.add ? gmt_normal(b, (size_t)n.out, 1.0f) : gmt_poison(b, (size_t)n.out);
    return p;
}

static gm_linear forward_args(const problem *p)
{
    const size_t s = p->l.shift;
    return (gm_linear){ .x = gmt_at(&p->x, s), .w = gmt_at(&p->w, s), .b = p->l.has_bias ? p->bias.dev : NULL,
                        .pre = p->act != GM_LINEAR_PLAIN ? gmt_at(&p->pre, s) : NULL, .y = gmt_at(&p->y, s), .act = p->act,
                        .rows = p->n.rows, .in = p->n.in, .out = p->n.out };
}

static gm_linear_grad backward_args(const problem *p)
{
    const size_t s = p->l.shift;
    return (gm_linear_grad){ .x = gmt_at(&p->x, s), .w = gmt_at(&p->w, s), .pre = p->act != GM_LINEAR_PLAIN ? gmt_at(&p->pre, s) : NULL,
                             .dy = gmt_at(&p->dy, s), .dx = gmt_at(&p->dx, s), .dw = p->dw.dev, .db = p->l.has_bias ? p->db.dev : NULL,
                             .add_dx = p->l.add, .add_dw = p->l.add, .add_db = p->l.add, .act = p->act,
                             .rows = p->n.rows, .in = p->n.in, .out = p->n.out };
}

/* The product is stored before a float bias is added to bf16: one rounding more. */
static void check_forward(gmt_backend *b, problem *p)
{
    const size_t s = p->l.shift;
    const bool is_plain = p->act == GM_LINEAR_PLAIN;
    const double tol = gmt_tol_act(b, (size_t)p->n.in) + (p->l.has_bias ? gmt_rounding(b) : 0.0);
    double *want = gmt_doubles(b, p->ny);
    reference(p->n, widened(b, p->x.f32 + s, p->nx), widened(b, p->w.f32 + s, p->nw), p->l.has_bias ? widened(b, p->bias.f32, p->bias.count) : NULL, want);
    const gm_linear a = forward_args(p);
    gmt_ok(b, b->k->linear.forward(&a, b->device));
    gmt_fetch(b, &p->y);
    gmt_fetch(b, &p->pre);
    gmt_close((is_plain ? p->y : p->pre).f32 + s, want, p->ny, tol, is_plain ? "y" : "pre");
    if (is_plain) return;
    for (size_t i = 0; i < p->ny; i++) want[i] = activated((double)p->pre.f32[s + i], p->act);
    gmt_close(p->y.f32 + s, want, p->ny, gmt_tol_act(b, 1), "y");
}

static void check_backward(gmt_backend *b, problem *p)
{
    const size_t s = p->l.shift, outs = (size_t)p->n.out;
    double *dpre = widened(b, p->dy.f32 + s, p->ny);
    double *dx = p->l.add ? widened(b, p->dx.f32 + s, p->nx) : gmt_doubles(b, p->nx);
    double *dw = p->l.add ? widened(b, p->dw.f32, p->nw) : gmt_doubles(b, p->nw);
    double *db = p->l.add ? widened(b, p->db.f32, outs) : gmt_doubles(b, outs);
    for (size_t i = 0; p->act != GM_LINEAR_PLAIN && i < p->ny; i++) dpre[i] *= slope((double)p->pre.f32[s + i], p->act);
    const gm_linear_grad a = backward_args(p);
    gmt_ok(b, b->k->linear.backward(&a, b->device));
    gmt_fetch(b, &p->dy);
    gmt_close(p->dy.f32 + s, dpre, p->ny, p->act != GM_LINEAR_PLAIN ? gmt_tol_act(b, 1) : 0.0, "the gradient at pre");
    for (size_t i = 0; i < p->ny; i++) dpre[i] = (double)p->dy.f32[s + i];
    reference_grad(p->n, widened(b, p->x.f32 + s, p->nx), widened(b, p->w.f32 + s, p->nw), dpre, dx, dw, db);
    gmt_close((float *)gmt_fetch(b, &p->dx) + s, dx, p->nx, gmt_tol_act(b, outs), "dx");
    gmt_close(gmt_fetch(b, &p->dw), dw, p->nw, gmt_tol_f32((size_t)p->n.rows), "dw");
    if (p->l.has_bias) gmt_close(gmt_fetch(b, &p->db), db, outs, gmt_tol_f32((size_t)p->n.rows), "db");
    if (!p->l.add) gmt_zero_from(&p->dx, s + (size_t)((p->n.rows - p->l.tail) * p->n.in), "dx");
}

static void check(gmt_backend *b, sizes n, gm_activation act, layout l)
{
    problem p = make(b, n, act, l);
    check_forward(b, &p);
    check_backward(b, &p);
}

static void matches_reference(gmt_backend *b)
{
    static const sizes all[] = { { 64, 32, 48 }, { 1, 1, 1 }, { 3, 17, 5 }, { 7, 384, 9 }, { 96, 384, 40 }, { 2, 3, 600 } };
    for (size_t i = 0; i < GM_LEN(all); i++)
        for (gm_activation act = GM_LINEAR_PLAIN; act <= GM_LINEAR_QUICK_GELU; act++)
            for (int variant = 0; variant < 4; variant++)
                check(b, all[i], act, (layout){ .tail = all[i].rows / 3, .has_bias = variant & 1, .add = variant & 2 });
}

/* A weight in the middle of the parameters' block, a tensor's columns: aligned to an element and no more. */
static void any_alignment(gmt_backend *b)
{
    for (size_t shift = 1; shift < 4; shift++)
        for (gm_activation act = GM_LINEAR_PLAIN; act <= GM_LINEAR_QUICK_GELU; act++)
            check(b, (sizes){ 20, 24, 36 }, act, (layout){ .shift = shift, .tail = 3, .has_bias = true });
}

static void prediction_without_pre_is_the_same(gmt_backend *b)
{
    const problem p = make(b, (sizes){ 64, 40, 24 }, GM_LINEAR_GELU, (layout){ .has_bias = true });
    gmt_buf with = gmt_act_poison(b, p.ny), without = gmt_act_poison(b, p.ny);
    gm_linear a = forward_args(&p);
    a.y = with.dev;
    gmt_ok(b, b->k->linear.forward(&a, b->device));
    a.pre = NULL;
    a.y = without.dev;
    gmt_ok(b, b->k->linear.forward(&a, b->device));
    assert_memory_equal(gmt_fetch(b, &with), gmt_fetch(b, &without), with.bytes);
}

/* A frozen weight, no bias, an input that needs no gradient: what is left is what it would have been. */
static void gradients_may_be_left_out(gmt_backend *b)
{
    const layout l = { .has_bias = true };
    problem all = make(b, (sizes){ 33, 24, 40 }, GM_LINEAR_PLAIN, l);
    check_backward(b, &all);
    for (int left = 0; left < 3; left++) {
        gmt_buf dx = gmt_act_poison(b, all.nx), dw = gmt_poison(b, all.nw), db = gmt_poison(b, 40);
        gm_linear_grad a = backward_args(&all);
        a.dx = left == 0 ? NULL : dx.dev;
        a.dw = left == 1 ? NULL : dw.dev;
        a.db = left == 2 ? NULL : db.dev;
        gmt_ok(b, b->k->linear.backward(&a, b->device));
        gmt_fetch(b, &dx);
        gmt_fetch(b, &dw);
        gmt_fetch(b, &db);
        if (left == 0) assert_true(isnan(dx.f32[0]));
        else assert_memory_equal(dx.f32, all.dx.f32, dx.bytes);
        if (left == 1) assert_true(isnan(dw.f32[0]));
        else gmt_close(dw.f32, widened(b, all.dw.f32, all.nw), all.nw, gmt_tol_f32(33), "dw");
        if (left == 2) assert_true(isnan(db.f32[0]));
        else gmt_close(db.f32, widened(b, all.db.f32, 40), 40, gmt_tol_f32(33), "db");
    }
}

/* The gradient of the bias alone is the first that asks for memory. */
static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    enum { OUT = 300 };
    problem p = make(b, (sizes){ 70, 8, OUT }, GM_LINEAR_PLAIN, (layout){ .has_bias = true });
    gm_linear_grad a = backward_args(&p);
    double *db = gmt_doubles(b, OUT);
    for (size_t i = 0; i < p.ny; i++) db[i % OUT] += (double)p.dy.f32[i];
    a.dx = a.dw = NULL;
    gmt_tight_workspace(b);
    gmt_ok(b, b->k->linear.backward(&a, b->device));
    gmt_close(gmt_fetch(b, &p.db), db, OUT, gmt_tol_f32(70), "db");
}

/* Nothing to multiply: gradients of the weights, or of x, are zero, or stay where they are added to. */
static void no_rows(gmt_backend *b)
{
    for (int i = 0; i < 4; i++) {
        const int add = i % 2;
        problem p = make(b, i < 2 ? (sizes){ 0, 2, 3 } : (sizes){ 3, 2, 0 }, add ? GM_LINEAR_GELU : GM_LINEAR_PLAIN, (layout){ .has_bias = true, .add = add });
        check_forward(b, &p);
        check_backward(b, &p);
    }
}

typedef struct forward_of { sizes n; gm_activation act; double *x, *w, *bias, *pre; const float *dy; } forward_of;

/* The sum of act(pre) x dy: what backward differentiates. */
static double loss(const void *of)
{
    const forward_of *f = of;
    double total = 0.0;
    reference(f->n, f->x, f->w, f->bias, f->pre);
    for (int32_t i = 0; i < f->n.rows * f->n.out; i++) total += activated(f->pre[i], f->act) * (double)f->dy[i];
    return total;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    const sizes n = { 3, 4, 5 };
    const gmt_buf dy = gmt_normal(b, 15, 1.0f);
    for (gm_activation act = GM_LINEAR_GELU; act <= GM_LINEAR_QUICK_GELU; act++) {
        const forward_of f = { n, act, widened(b, gmt_normal(b, 12, 1.0f).f32, 12), widened(b, gmt_normal(b, 20, 1.0f).f32, 20),
                               widened(b, gmt_normal(b, 5, 1.0f).f32, 5), gmt_doubles(b, 15), dy.f32 };
        double *dx = gmt_doubles(b, 12), *dw = gmt_doubles(b, 20), *db = gmt_doubles(b, 5), *dpre = gmt_doubles(b, 15);
        loss(&f);
        for (int i = 0; i < 15; i++) dpre[i] = (double)dy.f32[i] * slope(f.pre[i], act);
        reference_grad(n, f.x, f.w, dpre, dx, dw, db);
        gmt_slope(loss, &f, f.x, 12, dx, 1e-8, "dx");
        gmt_slope(loss, &f, f.w, 20, dw, 1e-8, "dw");
        gmt_slope(loss, &f, f.bias, 5, db, 1e-8, "db");
    }
}

/* Where exp overflows or vanishes: finite, and the limits of the formulas. The weight is one, so that x is pre. */
static void quick_gelu_far_out(gmt_backend *b)
{
    static const float at[] = { -3e4f, -300.0f, -60.0f, -48.0f, -40.0f, -20.0f, -1.0f, 0.0f, 1.0f, 20.0f, 60.0f, 300.0f, 3e4f };
    enum { N = GM_LEN(at) };
    gmt_buf x = gmt_act_f32(b, at, N), w = gmt_act_f32(b, &(float){ 1.0f }, 1), pre = gmt_act_poison(b, N), y = gmt_act_poison(b, N);
    float ones[N];
    for (int i = 0; i < N; i++) ones[i] = 1.0f;
    gmt_buf dy = gmt_act_f32(b, ones, N), db = gmt_poison(b, 1);
    gmt_ok(b, b->k->linear.forward(&(gm_linear){ .x = x.dev, .w = w.dev, .pre = pre.dev, .y = y.dev, .act = GM_LINEAR_QUICK_GELU, .rows = N, .in = 1, .out = 1 }, b->device));
    gmt_ok(b, b->k->linear.backward(&(gm_linear_grad){ .x = x.dev, .w = w.dev, .pre = pre.dev, .dy = dy.dev, .db = db.dev, .act = GM_LINEAR_QUICK_GELU,
                                                       .rows = N, .in = 1, .out = 1 }, b->device));
    gmt_fetch(b, &y);
    gmt_fetch(b, &dy);
    for (int i = 0; i < N; i++) { /* each alone: beside 30,000 anything would be close */
        const double want = quick_gelu((double)x.f32[i]), want_dy = quick_gelu_slope((double)x.f32[i]);
        assert_true(fabs((double)y.f32[i] - want) <= gmt_tol_act(b, 1) * (fabs(want) + 1e-6));
        assert_true(fabs((double)dy.f32[i] - want_dy) <= gmt_tol_act(b, 1) * (fabs(want_dy) + 1e-6));
    }
}

GMT_MAIN("linear", GMT(reference_is_the_derivative), GMT(matches_reference), GMT(any_alignment), GMT(prediction_without_pre_is_the_same),
         GMT(gradients_may_be_left_out), GMT(workspace_is_what_is_asked_for), GMT(no_rows),
         GMT(quick_gelu_far_out))
