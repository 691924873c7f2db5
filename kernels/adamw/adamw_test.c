/* adamw against the published update in double, several steps in a row, dense and by rows. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "adamw/adamw.h"

typedef struct state {
    double *param, *m, *v;
} state;

static double *widened(gmt_backend *b, const gmt_buf *x)
{
    double *y = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) y[i] = (double)x->f32[i];
    return y;
}

/* One element (Loshchilov and Hutter 2019, algorithm 2, line by line). */
static void reference(state s, size_t i, double grad, double rate, double decay, double beta1, double beta2, double eps, int t)
{
    s.param[i] -= rate * decay * s.param[i];
    s.m[i] = beta1 * s.m[i] + (1.0 - beta1) * grad;
    s.v[i] = beta2 * s.v[i] + (1.0 - beta2) * grad * grad;
    const double m_hat = s.m[i] / (1.0 - pow(beta1, t)), v_hat = s.v[i] / (1.0 - pow(beta2, t));
    s.param[i] -= rate * m_hat / (sqrt(v_hat) + eps);
}

typedef struct table {
    gmt_buf param, m, v, grad, grad_scale, row, n_rows, copy; /* without .dev: NULL */
    int32_t rows, width;
} table;

static table make(gmt_backend *b, int32_t rows, int32_t width, const int32_t *row, int32_t n_rows, float grad_scale)
{
    const size_t total = (size_t)rows * (size_t)width;
    return (table){ gmt_normal(b, total, 1.0f), gmt_zeros(b, total), gmt_zeros(b, total),
                    gmt_normal(b, (size_t)(row != NULL ? n_rows : rows) * (size_t)width, 0.1f), gmt_f32(b, &grad_scale, 1),
                    row != NULL ? gmt_i32(b, row, (size_t)n_rows) : (gmt_buf){ 0 }, gmt_i32(b, &n_rows, 1), { 0 }, rows, width };
}

static void step(gmt_backend *b, table *t, gm_rate rate, float decay)
{
    gmt_push_step(b);
    gmt_ok(b, b->k->adamw.forward(&(gm_adamw){ t->param.dev, t->m.dev, t->v.dev, t->grad.dev, t->grad_scale.dev, t->row.dev,
                                               t->n_rows.dev, t->row.dev != NULL ? (int32_t)t->row.count : t->rows, t->width,
                                               rate, decay, 0.9f, 0.999f, 1e-8f, t->copy.dev },
                                  b->device));
}

static void compare(gmt_backend *b, table *t, state want, const char *what)
{
    gmt_close(gmt_fetch(b, &t->param), want.param, t->param.count, gmt_tol_f32(16), what);
    gmt_close(gmt_fetch(b, &t->m), want.m, t->m.count, gmt_tol_f32(16), "m");
    gmt_close(gmt_fetch(b, &t->v), want.v, t->v.count, gmt_tol_f32(16), "v");
}

/* Betas are the floats that the kernel is given: 1 - .999f is off by 1e-5 from .001, which is no error of the kernel. */
static void dense_steps_match(gmt_backend *b)
{
    static const struct { int32_t rows, width; float decay, grad_scale; gm_rate rate; } cases[] = {
        { 1, 1, 0.01f, 1.0f, GM_RATE_ENCODER }, { 7, 33, 0.0f, 0.25f, GM_RATE_HEAD },
        { 1, 16385, 0.01f, 1.0f, GM_RATE_CRF }, { 40000, 1, 0.1f, 1.0f, GM_RATE_ENCODER },
    };
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        table t = make(b, cases[c].rows, cases[c].width, NULL, cases[c].rows, cases[c].grad_scale);
        state want = { widened(b, &t.param), widened(b, &t.m), widened(b, &t.v) };
        for (int n = 1; n <= 3; n++) {
            b->step.number = n;
            for (size_t i = 0; i < t.param.count; i++)
                reference(want, i, (double)t.grad.f32[i] * (double)cases[c].grad_scale, (double)b->step.rate[cases[c].rate],
                          (double)cases[c].decay, (double)0.9f, (double)0.999f, (double)1e-8f, n);
            step(b, &t, cases[c].rate, cases[c].decay);
        }
        compare(b, &t, want, "dense param");
    }
}

/* Rows beside a chosen one and rows between two of them, as wide as four columns at a time fit, and not. */
static void check_rows(gmt_backend *b, size_t width)
{
    enum { ROWS = 13, MOST = 40 };
    static const int32_t row[] = { 12, 0, 5, 6 };
    table t = make(b, ROWS, (int32_t)width, row, GM_LEN(row), 0.5f);
    state want = { widened(b, &t.param), widened(b, &t.m), widened(b, &t.v) };
    float before[ROWS * MOST];
    memcpy(before, t.param.f32, t.param.bytes);
    for (int n = 4; n <= 5; n++) { /* the bias correction counts steps in which the rows were not there */
        b->step.number = n;
        for (size_t r = 0; r < GM_LEN(row); r++)
            for (size_t c = 0; c < width; c++)
                reference(want, (size_t)row[r] * width + c, (double)t.grad.f32[r * width + c] * 0.5,
                          (double)b->step.rate[GM_RATE_HEAD], (double)0.01f, (double)0.9f, (double)0.999f, (double)1e-8f, n);
        step(b, &t, GM_RATE_HEAD, 0.01f);
    }
    compare(b, &t, want, "param by rows");
    for (size_t r = 0; r < ROWS; r++) {
        const bool is_chosen = r == 12 || r == 0 || r == 5 || r == 6;
        assert_true((memcmp(before + r * width, t.param.f32 + r * width, width * sizeof(float)) != 0) == is_chosen);
    }
}

static void rows_not_chosen_keep_their_bits(gmt_backend *b)
{
    static const size_t width[] = { 40, 37, 6, 4 };
    for (size_t i = 0; i < GM_LEN(width); i++) check_rows(b, width[i]);
}

/* One of the blocks is aligned to an element and no more: the same bits as when all begin where a GPU likes it. */
static void any_alignment(gmt_backend *b)
{
    enum { ROWS = 5, WIDTH = 8, PARTS = 5 };
    static const int32_t row[] = { 3, 0 };
    for (int dense = 0; dense < 2; dense++) {
        gmt_buf first[PARTS];
        for (int off = PARTS; off >= 0; off--) { /* none at first */
            b->stream = 0;
            table t = make(b, ROWS, WIDTH, dense ? NULL : row, dense ? ROWS : (int32_t)GM_LEN(row), 1.0f);
            gmt_buf part[PARTS] = { t.param, t.m, t.v, t.grad, gmt_act_zeros(b, ROWS * WIDTH) };
            for (int i = 0; i < PARTS; i++) {
                if (i != off) continue;
                gmt_buf moved = part[i].is_bf16 ? gmt_act_poison(b, part[i].count + 1) : gmt_poison(b, part[i].count + 1);
                memcpy(moved.f32 + 1, part[i].f32, part[i].bytes);
                gmt_push(b, &moved);
                part[i] = moved;
            }
            gmt_ok(b, b->k->adamw.forward(&(gm_adamw){ gmt_at(&part[0], off == 0), gmt_at(&part[1], off == 1), gmt_at(&part[2], off == 2),
                                                       gmt_at(&part[3], off == 3), t.grad_scale.dev, t.row.dev, t.n_rows.dev,
                                                       dense ? ROWS : (int32_t)GM_LEN(row), WIDTH, GM_RATE_HEAD, 0.01f, 0.9f, 0.999f, 1e-8f,
                                                       gmt_at(&part[4], off == 4) },
                                          b->device));
            for (int i = 0; i < PARTS; i++) {
                gmt_fetch(b, &part[i]);
                if (off == PARTS) first[i] = part[i];
                assert_memory_equal(part[i].f32 + (i == off), first[i].f32, first[i].bytes);
            }
        }
    }
}

static void only_the_first_n_rows_count(gmt_backend *b)
{
    static const int32_t row[] = { 1, 0, 2 };
    table t = make(b, 3, 5, row, 3, 1.0f);
    const int32_t two = 2;
    t.n_rows = gmt_i32(b, &two, 1);
    float before[15];
    memcpy(before, t.param.f32, sizeof before);
    step(b, &t, GM_RATE_HEAD, 0.01f);
    gmt_fetch(b, &t.param);
    assert_memory_not_equal(before, t.param.f32, 5 * sizeof(float));
    assert_memory_equal(before + 10, t.param.f32 + 10, 5 * sizeof(float));
}

/* Without a count all of the capacity is updated, to the same bits. */
static void no_count_means_all_rows(gmt_backend *b)
{
    static const int32_t row[] = { 1, 0, 2 };
    for (int dense = 0; dense < 2; dense++) {
        table t[2];
        for (int without = 0; without < 2; without++) {
            b->stream = 0;
            t[without] = make(b, 3, 5, dense ? NULL : row, 3, 1.0f);
            const size_t bytes = t[without].param.bytes;
            float before[15];
            memcpy(before, t[without].param.f32, bytes);
            if (without) t[without].n_rows.dev = NULL;
            step(b, &t[without], GM_RATE_HEAD, 0.01f);
            gmt_fetch(b, &t[without].param);
            for (size_t i = 0; i < 15; i++) assert_true(t[without].param.f32[i] != before[i]);
        }
        assert_memory_equal(t[0].param.f32, t[1].param.f32, t[0].param.bytes);
    }
}

/* What matrix products read: the new parameters of the rows that changed, rounded; other rows of the copy stay. fp32
 * needs no copy and writes none. */
static void copy_has_the_rounded_parameters(gmt_backend *b)
{
    enum { ROWS = 5, WIDTH = 37 };
    static const int32_t row[] = { 3, 0 };
    for (int dense = 0; dense < 2; dense++) {
        table t = make(b, ROWS, WIDTH, dense ? NULL : row, dense ? ROWS : (int32_t)GM_LEN(row), 1.0f);
        gmt_buf before = gmt_act(b, ROWS * WIDTH, 1.0f);
        t.copy = gmt_act_f32(b, before.f32, ROWS * WIDTH);
        step(b, &t, GM_RATE_HEAD, 0.01f);
        gmt_fetch(b, &t.param);
        gmt_fetch(b, &t.copy);
        const gmt_buf rounded = gmt_act_f32(b, t.param.f32, ROWS * WIDTH);
        for (size_t r = 0; r < ROWS; r++) {
            const bool is_written = t.copy.is_bf16 && (dense || r == 3 || r == 0);
            assert_memory_equal(t.copy.f32 + r * WIDTH, (is_written ? rounded.f32 : before.f32) + r * WIDTH, WIDTH * sizeof(float));
        }
    }
}

static void no_rows(gmt_backend *b)
{
    table t = make(b, 0, 8, NULL, 0, 1.0f);
    step(b, &t, GM_RATE_HEAD, 0.01f);
    t.n_rows.dev = NULL;
    step(b, &t, GM_RATE_HEAD, 0.01f);
    gmt_fetch(b, &t.param);
}

static void factor_zero_changes_nothing(gmt_backend *b)
{
    table t = make(b, 2, 20, NULL, 2, 0.0f);
    float before[40];
    memcpy(before, t.param.f32, sizeof before);
    t.grad.f32[3] = NAN;
    gmt_push(b, &t.grad);
    t.copy = gmt_act_zeros(b, 40);
    step(b, &t, GM_RATE_HEAD, 0.01f);
    assert_memory_equal(before, gmt_fetch(b, &t.param), sizeof before);
    gmt_fetch(b, &t.copy);
    gmt_zero_from(&t.copy, 0, "copy");
    gmt_fetch(b, &t.m);
    gmt_fetch(b, &t.v);
    for (int i = 0; i < 40; i++) assert_true(t.m.f32[i] == 0.0f && t.v.f32[i] == 0.0f);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    table first = { 0 };
    for (int threads = 1; threads <= 3; threads++) {
        b->stream = 0;
        b->device->threads = threads;
        table t = make(b, 1, 50001, NULL, 1, 1.0f);
        for (b->step.number = 1; b->step.number <= 2; b->step.number++) step(b, &t, GM_RATE_HEAD, 0.01f);
        gmt_fetch(b, &t.param);
        if (threads == 1) first = t;
        assert_memory_equal(t.param.f32, first.param.f32, t.param.bytes);
    }
}

GMT_MAIN("adamw", GMT(dense_steps_match), GMT(rows_not_chosen_keep_their_bits), GMT(any_alignment), GMT(only_the_first_n_rows_count),
         GMT(no_count_means_all_rows), GMT(copy_has_the_rounded_parameters), GMT(no_rows),
         GMT(factor_zero_changes_nothing), GMT(same_bits_for_any_threads))
