/* embedding_bag against sums in double; its backward is checked by central differences of the forward reference. */
#include "tests/support/kernel_test.h"

#include <string.h>

#include "embedding_bag/embedding_bag.h"

enum { SPARE = 3 };
typedef struct shape { int32_t rows, width, bag, classes; } shape;
/* Widths: one, odd, more than a GPU's block of columns, wide rows; bags: none, one, many; a table of all 256 rows. */
static const shape shapes[] = { { 1, 1, 1, 1 }, { 7, 33, 3, 5 }, { 64, 384, 3, 51 }, { 37, 130, 2, 256 }, { 5, 8, 0, 4 }, { 700, 20, 3, 9 } };

/* Where a class is met again and again, as it is in texts; its square keeps some classes out. Those behind the count stand in
 * the largest row that an index can name. */
static gmt_buf some_bags(gmt_backend *b, shape s)
{
    const size_t all = (size_t)(s.rows + SPARE) * (size_t)s.bag;
    uint8_t *index = (uint8_t *)gmt_doubles(b, all / sizeof(double) + 1);
    for (size_t i = 0; i < all; i++) index[i] = (uint8_t)(i < (size_t)s.rows * (size_t)s.bag ? i * i / 2 % (size_t)s.classes : UINT8_MAX);
    return gmt_bytes(b, index, all, all);
}

static void reference(const double *x, const uint8_t *index, const double *table, shape s, double *y)
{
    for (int32_t r = 0; r < s.rows; r++)
        for (int32_t c = 0; c < s.width; c++) {
            y[r * s.width + c] = x[r * s.width + c];
            for (int32_t k = 0; k < s.bag; k++) y[r * s.width + c] += table[index[r * s.bag + k] * s.width + c];
        }
}

static void reference_grad(const float *dx, const uint8_t *index, shape s, double *dtable)
{
    for (int32_t r = 0; r < s.rows; r++)
        for (int32_t k = 0; k < s.bag; k++)
            for (int32_t c = 0; c < s.width; c++) dtable[index[r * s.bag + k] * s.width + c] += (double)dx[r * s.width + c];
}

static double *widened(gmt_backend *b, const gmt_buf *x)
{
    double *y = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) y[i] = (double)x->f32[i];
    return y;
}

static void forward(gmt_backend *b, shape s)
{
    const size_t n = (size_t)s.rows * (size_t)s.width, all = n + SPARE * (size_t)s.width;
    gmt_buf x = gmt_act(b, all, 1.0f), table = gmt_normal(b, (size_t)s.classes * (size_t)s.width, 1.0f);
    gmt_buf index = some_bags(b, s), count = gmt_i32(b, &s.rows, 1), before = gmt_f32(b, x.f32, all);
    double *want = gmt_doubles(b, n);
    reference(widened(b, &x), index.u8, widened(b, &table), s, want);
    gmt_ok(b, b->k->embedding_bag.forward(&(gm_embedding_bag){ x.dev, index.dev, table.dev, count.dev, s.rows + SPARE, s.width, s.bag, s.classes },
                                          b->device));
    gmt_close(gmt_fetch(b, &x), want, n, gmt_tol_act(b, (size_t)s.bag + 1), "x");
    assert_memory_equal(x.f32 + n, before.f32 + n, (all - n) * sizeof(float)); /* rows beyond the true ones stay */
}

static void adds_rows_of_the_table(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) forward(b, shapes[i]);
}

static gmt_buf backward(gmt_backend *b, shape s, const gmt_buf *dx, gmt_buf dtable, bool add)
{
    gmt_buf index = some_bags(b, s), count = gmt_i32(b, &s.rows, 1);
    gmt_ok(b, b->k->embedding_bag.backward(&(gm_embedding_bag_grad){ dx->dev, index.dev, dtable.dev, add, count.dev, s.rows + SPARE, s.width, s.bag,
                                                                     s.classes },
                                           b->device));
    gmt_fetch(b, &dtable);
    return dtable;
}

static void sums_the_gradients_of_each_row(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++)
        for (int add = 0; add < 2; add++) {
            const shape s = shapes[i];
            const size_t n = (size_t)s.classes * (size_t)s.width, most = (size_t)s.rows * (size_t)s.bag;
            gmt_buf dx = gmt_act(b, (size_t)(s.rows + SPARE) * (size_t)s.width, 1.0f), index = some_bags(b, s);
            gmt_buf dtable = add ? gmt_normal(b, n, 1.0f) : gmt_poison(b, n);
            double *want = add ? widened(b, &dtable) : gmt_doubles(b, n);
            reference_grad(dx.f32, index.u8, s, want);
            dtable = backward(b, s, &dx, dtable, add);
            gmt_close(dtable.f32, want, n, gmt_tol_f32(most + 1), "dtable");
        }
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const shape s = { 300, 100, 3, 17 };
    gmt_buf dx = gmt_act(b, (size_t)(s.rows + SPARE) * (size_t)s.width, 1.0f), dtable[3];
    for (int i = 0; i < 3; i++) {
        b->device->threads = i + 1;
        dtable[i] = backward(b, s, &dx, gmt_poison(b, (size_t)s.classes * (size_t)s.width), false);
        assert_memory_equal(dtable[i].f32, dtable[0].f32, dtable[0].bytes);
    }
}

static void no_rows_give_zero_gradients(gmt_backend *b)
{
    const int32_t none = 0;
    for (int32_t capacity = 0; capacity < 2; capacity++) {
        const size_t size = (size_t)capacity * 8;
        gmt_buf x = gmt_act(b, size, 1.0f), kept = gmt_f32(b, x.f32, size), n = gmt_i32(b, &none, 1), table = gmt_normal(b, 16, 1.0f);
        gmt_buf index = gmt_bytes(b, &(uint8_t){ UINT8_MAX }, (size_t)capacity, (size_t)capacity), dtable = gmt_poison(b, 16);
        gmt_ok(b, b->k->embedding_bag.forward(&(gm_embedding_bag){ x.dev, index.dev, table.dev, n.dev, capacity, 8, 1, 2 }, b->device));
        gmt_ok(b, b->k->embedding_bag.backward(&(gm_embedding_bag_grad){ x.dev, index.dev, dtable.dev, false, n.dev, capacity, 8, 1, 2 }, b->device));
        assert_memory_equal(gmt_fetch(b, &x), kept.f32, size * sizeof(float));
        gmt_fetch(b, &dtable);
        gmt_zero_from(&dtable, 0, "dtable");
    }
}

/* The sum of dx times the sums, by the table: what backward differentiates. */
typedef struct forward_of { const double *x; double *table, *y; const uint8_t *index; const float *dx; shape s; } forward_of;

static double loss(const void *of)
{
    const forward_of *f = of;
    double total = 0.0;
    reference(f->x, f->index, f->table, f->s, f->y);
    for (int32_t k = 0; k < f->s.rows * f->s.width; k++) total += (double)f->dx[k] * f->y[k];
    return total;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    const shape s = { 9, 3, 2, 4 };
    gmt_buf x = gmt_normal(b, 27, 1.0f), dx = gmt_normal(b, 27, 1.0f), table = gmt_normal(b, 12, 1.0f), index = some_bags(b, s);
    const forward_of f = { widened(b, &x), widened(b, &table), gmt_doubles(b, 27), index.u8, dx.f32, s };
    double *dtable = gmt_doubles(b, 12);
    reference_grad(dx.f32, index.u8, s, dtable);
    gmt_slope(loss, &f, f.table, 12, dtable, 1e-8, "dtable");
}

GMT_MAIN("embedding_bag", GMT(adds_rows_of_the_table), GMT(sums_the_gradients_of_each_row), GMT(no_rows_give_zero_gradients),
         GMT(same_bits_for_any_threads), GMT(reference_is_the_derivative))
