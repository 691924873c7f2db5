/* patches against plain loops in double. */
#include "tests/support/kernel_test.h"

#include <string.h>

#include "patches/patches.h"

enum { SPARE = 2 };
typedef struct shape { int32_t images, side, patch; } shape;
/* One patch and many, of one pixel, of odd sides, of more columns than a block has threads for; no image. */
static const shape shapes[] = { { 1, 1, 1 }, { 3, 8, 4 }, { 2, 6, 3 }, { 4, 5, 5 }, { 2, 28, 14 }, { 2, 3, 1 }, { 0, 4, 2 }, { 1, 32, 16 } };
static const float scale[3] = { 0.0146f, 0.015f, 0.0142f }, shift[3] = { -1.79f, -1.75f, -1.48f };

/* All bytes, so also those of images that are not there. */
static gmt_buf some_pixels(gmt_backend *b, size_t count)
{
    uint8_t *v = (uint8_t *)gmt_doubles(b, count / sizeof(double) + 1);
    for (size_t i = 0; i < count; i++) v[i] = (uint8_t)(i * 2654435761u >> 13);
    return gmt_bytes(b, v, count, count);
}

static int32_t rows_of(shape s) { return 1 + s.side / s.patch * (s.side / s.patch); }

/* Pixel by pixel: where each goes. */
static void reference(const uint8_t *pixels, shape s, double *out)
{
    const int32_t across = s.side / s.patch, rows = rows_of(s), area = s.patch * s.patch;
    for (int32_t i = 0; i < s.images; i++)
        for (int32_t y = 0; y < s.side; y++)
            for (int32_t x = 0; x < s.side; x++)
                for (int32_t c = 0; c < 3; c++) {
                    const int32_t row = i * rows + 1 + y / s.patch * across + x / s.patch, column = c * area + y % s.patch * s.patch + x % s.patch;
                    out[row * 3 * area + column] = (double)pixels[((i * s.side + y) * s.side + x) * 3 + c] * (double)scale[c] + (double)shift[c];
                }
}

static void check(gmt_backend *b, shape s, int32_t spare)
{
    const int32_t capacity = s.images + spare, rows = rows_of(s), width = 3 * s.patch * s.patch;
    const size_t all = (size_t)capacity * (size_t)rows * (size_t)width, real = (size_t)s.images * (size_t)rows * (size_t)width;
    gmt_buf pixels = some_pixels(b, (size_t)capacity * (size_t)s.side * (size_t)s.side * 3), count = gmt_i32(b, &s.images, 1);
    gmt_buf out = gmt_act_poison(b, all), cu = gmt_poison(b, (size_t)capacity + 1), n = gmt_poison(b, 1);
    double *want = gmt_doubles(b, all);
    reference(pixels.u8, s, want);
    gm_patches a = { .pixels = pixels.dev, .out = out.dev, .cu = cu.dev, .n_rows = n.dev, .n_images = count.dev, .images = capacity, .side = s.side, .patch = s.patch };
    memcpy(a.scale, scale, sizeof scale);
    memcpy(a.shift, shift, sizeof shift);
    gmt_ok(b, b->k->patches.forward(&a, b->device));
    gmt_fetch(b, &out);
    gmt_close(out.f32, want, real, gmt_tol_act(b, 2), "out");
    for (int32_t i = 0; i < s.images; i++) /* the class tokens' rows */
        for (int32_t c = 0; c < width; c++) assert_true(out.f32[i * rows * width + c] == 0.0f);
    gmt_zero_from(&out, real, "out");
    gmt_fetch(b, &cu);
    for (int32_t i = 0; i <= capacity; i++) assert_int_equal(cu.i32[i], (i < s.images ? i : s.images) * rows);
    gmt_fetch(b, &n);
    assert_int_equal(n.i32[0], s.images * rows);
}

static void places_every_pixel(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++)
        for (int32_t spare = 0; spare <= SPARE; spare += SPARE) check(b, shapes[i], spare);
}

GMT_MAIN("patches", GMT(places_every_pixel))
