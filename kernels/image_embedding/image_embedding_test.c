/* image_embedding against plain loops in double; its backward is checked by central differences of the forward reference. */
#include "tests/support/kernel_test.h"

#include <string.h>

#include "image_embedding/image_embedding.h"

enum { SPARE = 2 };
typedef struct shape { int32_t images, rows, width; } shape;
/* Widths: one, odd, more than a GPU's block of columns, wide; images: one, fewer and more than warps that share them. */
static const shape shapes[] = { { 1, 1, 1 }, { 3, 5, 33 }, { 19, 2, 130 }, { 2, 17, 64 }, { 40, 3, 20 } };

static void reference(const double *x, const double *class_token, const double *position, shape s, double *y)
{
    for (int32_t i = 0; i < s.images; i++)
        for (int32_t r = 0; r < s.rows; r++)
            for (int32_t c = 0; c < s.width; c++) {
                const int32_t at = (i * s.rows + r) * s.width + c;
                y[at] = x[at] + position[r * s.width + c] + (r == 0 ? class_token[c] : 0.0);
            }
}

/* Adds to both. */
static void reference_grad(const float *dx, shape s, double *dclass_token, double *dposition)
{
    for (int32_t i = 0; i < s.images; i++)
        for (int32_t r = 0; r < s.rows; r++)
            for (int32_t c = 0; c < s.width; c++) {
                const double d = (double)dx[(i * s.rows + r) * s.width + c];
                dposition[r * s.width + c] += d;
                if (r == 0) dclass_token[c] += d;
            }
}

static double *widened(gmt_backend *b, const gmt_buf *x)
{
    double *y = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) y[i] = (double)x->f32[i];
    return y;
}

static size_t size_of(shape s) { return (size_t)s.images * (size_t)s.rows * (size_t)s.width; }

/* Each begins so many elements behind its block's begin: 0, or where no four columns are aligned. */
typedef struct places { size_t x, class_token, position; } places;

static void forward(gmt_backend *b, shape s, places at)
{
    const size_t n = size_of(s), place = (size_t)s.rows * (size_t)s.width, all = n + SPARE * place;
    gmt_buf x = gmt_act(b, at.x + all, 1.0f), before = gmt_f32(b, x.f32, at.x + all), position = gmt_normal(b, at.position + place, 1.0f);
    gmt_buf class_token = gmt_normal(b, at.class_token + (size_t)s.width, 1.0f), count = gmt_i32(b, &s.images, 1);
    double *want = gmt_doubles(b, n);
    reference(widened(b, &x) + at.x, widened(b, &class_token) + at.class_token, widened(b, &position) + at.position, s, want);
    gmt_ok(b, b->k->image_embedding.forward(&(gm_image_embedding){ gmt_at(&x, at.x), gmt_at(&class_token, at.class_token), gmt_at(&position, at.position),
                                                                   count.dev, s.images + SPARE, s.rows, s.width }, b->device));
    gmt_fetch(b, &x);
    gmt_close(x.f32 + at.x, want, n, gmt_tol_act(b, 3), "x");
    assert_memory_equal(x.f32, before.f32, at.x * sizeof(float));
    assert_memory_equal(x.f32 + at.x + n, before.f32 + at.x + n, (all - n) * sizeof(float)); /* images beyond the true ones stay */
}

static void adds_places(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) forward(b, shapes[i], (places){ 0 });
}

static void any_alignment(gmt_backend *b)
{
    const shape s = { 9, 3, 64 };
    forward(b, s, (places){ .x = 1 });
    forward(b, s, (places){ .class_token = 1 });
    forward(b, s, (places){ .position = 1 });
}

typedef struct gradients { gmt_buf class_token, position; } gradients;

/* what: 1 the class token's, 2 the positions'. */
static gradients backward(gmt_backend *b, shape s, const gmt_buf *dx, gradients g, bool add, int what)
{
    gmt_buf count = gmt_i32(b, &s.images, 1);
    gmt_ok(b, b->k->image_embedding.backward(&(gm_image_embedding_grad){ dx->dev, what & 1 ? g.class_token.dev : NULL, what & 2 ? g.position.dev : NULL, add,
                                                                         add, count.dev, s.images + SPARE, s.rows, s.width },
                                             b->device));
    gmt_fetch(b, &g.class_token);
    gmt_fetch(b, &g.position);
    return g;
}

static gmt_buf some(gmt_backend *b, size_t count, bool add) { return add ? gmt_normal(b, count, 1.0f) : gmt_poison(b, count); }

static void sums_the_gradients_of_each_place(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++)
        for (int k = 0; k < 6; k++) {
            const shape s = shapes[i];
            const bool add = k % 2;
            const int what = 1 + k / 2;
            const size_t width = (size_t)s.width, place = (size_t)s.rows * width;
            gmt_buf dx = gmt_act(b, size_of(s) + SPARE * place, 1.0f);
            gradients g = { some(b, width, add), some(b, place, add) };
            double *want_class = add ? widened(b, &g.class_token) : gmt_doubles(b, width), *want = add ? widened(b, &g.position) : gmt_doubles(b, place);
            const float first = what & 1 ? 0.0f : g.class_token.f32[0];
            reference_grad(dx.f32, s, want_class, want);
            g = backward(b, s, &dx, g, add, what);
            if (what & 1) gmt_close(g.class_token.f32, want_class, width, gmt_tol_f32((size_t)s.images + 1), "dclass_token");
            else assert_memory_equal(&g.class_token.f32[0], &first, sizeof first); /* frozen: as it was */
            if (what & 2) gmt_close(g.position.f32, want, place, gmt_tol_f32((size_t)s.images + 1), "dposition");
        }
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const shape s = { 30, 7, 100 };
    gmt_buf dx = gmt_act(b, size_of(s) + SPARE * 700, 1.0f);
    gradients g[3];
    for (int i = 0; i < 3; i++) {
        b->device->threads = i + 1;
        g[i] = backward(b, s, &dx, (gradients){ gmt_poison(b, 100), gmt_poison(b, 700) }, false, 3);
        assert_memory_equal(g[i].class_token.f32, g[0].class_token.f32, g[0].class_token.bytes);
        assert_memory_equal(g[i].position.f32, g[0].position.f32, g[0].position.bytes);
    }
}

static void no_images_give_zero_gradients(gmt_backend *b)
{
    const int32_t none = 0;
    for (int32_t capacity = 0; capacity < 2; capacity++) {
        const size_t size = (size_t)capacity * 24;
        gmt_buf x = gmt_act(b, size, 1.0f), kept = gmt_f32(b, x.f32, size), n = gmt_i32(b, &none, 1);
        gmt_buf class_token = gmt_normal(b, 8, 1.0f), position = gmt_normal(b, 24, 1.0f), dclass = gmt_poison(b, 8), dposition = gmt_poison(b, 24);
        gmt_ok(b, b->k->image_embedding.forward(&(gm_image_embedding){ x.dev, class_token.dev, position.dev, n.dev, capacity, 3, 8 }, b->device));
        gmt_ok(b, b->k->image_embedding.backward(&(gm_image_embedding_grad){ x.dev, dclass.dev, dposition.dev, false, false, n.dev, capacity, 3, 8 }, b->device));
        assert_memory_equal(gmt_fetch(b, &x), kept.f32, size * sizeof(float));
        gmt_fetch(b, &dclass);
        gmt_fetch(b, &dposition);
        gmt_zero_from(&dclass, 0, "dclass_token");
        gmt_zero_from(&dposition, 0, "dposition");
    }
}

typedef struct forward_of { const double *x; double *class_token, *position, *y; const float *dx; shape s; } forward_of;

/* The sum of dx times what forward gives: what backward differentiates. */
static double loss(const void *of)
{
    const forward_of *f = of;
    double total = 0.0;
    reference(f->x, f->class_token, f->position, f->s, f->y);
    for (size_t i = 0; i < size_of(f->s); i++) total += f->y[i] * (double)f->dx[i];
    return total;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    const shape s = { 3, 4, 5 };
    const gmt_buf x = gmt_normal(b, 60, 1.0f), dx = gmt_normal(b, 60, 1.0f), class_token = gmt_normal(b, 5, 1.0f), position = gmt_normal(b, 20, 1.0f);
    const forward_of f = { widened(b, &x), widened(b, &class_token), widened(b, &position), gmt_doubles(b, 60), dx.f32, s };
    double *dclass_token = gmt_doubles(b, 5), *dposition = gmt_doubles(b, 20);
    reference_grad(dx.f32, s, dclass_token, dposition);
    gmt_slope(loss, &f, f.class_token, 5, dclass_token, 1e-8, "dclass_token");
    gmt_slope(loss, &f, f.position, 20, dposition, 1e-8, "dposition");
}

GMT_MAIN("image_embedding", GMT(reference_is_the_derivative), GMT(adds_places), GMT(any_alignment), GMT(sums_the_gradients_of_each_place), GMT(same_bits_for_any_threads),
         GMT(no_images_give_zero_gradients))
