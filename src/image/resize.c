/* Bicubic resize with the bytes of Pillow's (Keys' kernel with a = -0.5, stretched when shrinking; rows first, then
 * columns). What makes the bytes equal: weights normalised in double, then rounded to 22 bits behind the point; a half
 * added to each sum; clipped to 8 bits after either pass. */
#include "image/image.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "image/decode.h"

enum { POINT = 22 };

/* Of one axis: output i is the sum of weight[i * taps + t] * input[first[i] + t] over t < count[i]. */
typedef struct axis {
    int32_t *first, *count, *weight;
    int32_t taps;
} axis;

static void free_axis(axis *a)
{
    gm_free(a->first);
    gm_free(a->count);
    gm_free(a->weight);
    *a = (axis) { 0 };
}

static double kernel(double x)
{
    x = fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    return 0.0;
}

/* The weights of output i; `w` is room for `taps` doubles. */
static void weigh(axis *a, int32_t i, int32_t from, double scale, double stretch, double *w)
{
    const double centre = (i + 0.5) * scale, support = 2.0 * stretch, inverse = 1.0 / stretch;
    int32_t first = (int32_t)(centre - support + 0.5), end = (int32_t)(centre + support + 0.5);
    double sum = 0.0;
    if (first < 0) first = 0;
    if (end > from) end = from;
    const int32_t n = end - first;
    for (int32_t t = 0; t < n; t++) {
        w[t] = kernel((t + first - centre + 0.5) * inverse);
        sum += w[t];
    }
    for (int32_t t = 0; t < n; t++) {
        const double x = (sum != 0.0 ? w[t] / sum : w[t]) * (1 << POINT);
        a->weight[(size_t)i * (size_t)a->taps + (size_t)t] = (int32_t)(x < 0.0 ? x - 0.5 : x + 0.5);
    }
    a->first[i] = first;
    a->count[i] = n;
}

static gm_status make_axis(int32_t from, int32_t to, axis *a, gm_err *err)
{
    const double scale = (double)from / to, stretch = scale < 1.0 ? 1.0 : scale;
    a->taps = (int32_t)ceil(2.0 * stretch) * 2 + 1;
    double *w = gm_malloc((size_t)a->taps * sizeof *w);
    a->first = gm_calloc((size_t)to, sizeof *a->first);
    a->count = gm_calloc((size_t)to, sizeof *a->count);
    a->weight = gm_calloc((size_t)to * (size_t)a->taps, sizeof *a->weight);
    const bool is_there = w != NULL && a->first != NULL && a->count != NULL && a->weight != NULL;
    for (int32_t i = 0; is_there && i < to; i++) weigh(a, i, from, scale, stretch, w);
    gm_free(w);
    return is_there ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory to resize %d pixels to %d", from, to);
}

static uint8_t clip(int32_t sum)
{
    sum >>= POINT;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One row of pixels to `to` [width, 3]. */
static void resize_row(const axis *a, const uint8_t *from, int32_t width, uint8_t *to)
{
    for (int32_t i = 0; i < width; i++, to += 3) {
        const uint8_t *p = from + 3 * (size_t)a->first[i];
        const int32_t *w = a->weight + (size_t)i * (size_t)a->taps;
        int32_t r = 1 << (POINT - 1), g = r, b = r;
        for (int32_t t = 0; t < a->count[i]; t++, p += 3) {
            r += p[0] * w[t];
            g += p[1] * w[t];
            b += p[2] * w[t];
        }
        to[0] = clip(r);
        to[1] = clip(g);
        to[2] = clip(b);
    }
}

/* Row i of the result out of rows of `from` [rows, row_bytes]; `sum` is room for a row. */
static void mix_rows(const axis *a, const uint8_t *from, size_t row_bytes, int32_t i, int32_t *sum, uint8_t *to)
{
    const int32_t *w = a->weight + (size_t)i * (size_t)a->taps;
    for (size_t x = 0; x < row_bytes; x++) sum[x] = 1 << (POINT - 1);
    for (int32_t t = 0; t < a->count[i]; t++) {
        const uint8_t *p = from + (size_t)(a->first[i] + t) * row_bytes;
        for (size_t x = 0; x < row_bytes; x++) sum[x] += p[x] * w[t];
    }
    for (size_t x = 0; x < row_bytes; x++) to[x] = clip(sum[x]);
}

typedef struct window { int32_t x, y, width, height; } window;

static gm_status find_window(const gm_image *image, gm_box crop, window *at, gm_err *err)
{
    const double x1 = fmax(floor(crop.x1), 0.0), x2 = fmin(ceil(crop.x2), image->width);
    const double y1 = fmax(floor(crop.y1), 0.0), y2 = fmin(ceil(crop.y2), image->height);
    const bool is_finite = isfinite(crop.x1) && isfinite(crop.y1) && isfinite(crop.x2) && isfinite(crop.y2);
    if (!is_finite || !(crop.x2 > crop.x1) || !(crop.y2 > crop.y1) || !(x2 > x1) || !(y2 > y1))
        return gm_fail(err, GM_ERR_DATA, "the box %g %g %g %g holds no pixel of a picture of %d x %d", crop.x1, crop.y1, crop.x2,
                       crop.y2, image->width, image->height);
    *at = (window) { (int32_t)x1, (int32_t)y1, (int32_t)(x2 - x1), (int32_t)(y2 - y1) };
    return GM_OK;
}

gm_status gm_image_resize_into(const gm_image *from, gm_box crop, int32_t width, int32_t height, uint8_t *rgb, gm_err *err)
{
    window at = { 0 };
    axis across = { 0 }, down = { 0 };
    uint8_t *rows = NULL;
    int32_t *sum = NULL;
    GM_TRY(gm_image_check_size("a resized picture", width > 0 ? (uint64_t)width : 0, height > 0 ? (uint64_t)height : 0, err));
    GM_TRY(find_window(from, crop, &at, err));
    const size_t row = 3 * (size_t)width;
    gm_status status = make_axis(at.width, width, &across, err);
    if (status == GM_OK) status = make_axis(at.height, height, &down, err);
    if (status != GM_OK) goto out;
    rows = gm_malloc((size_t)at.height * row);
    sum = gm_malloc(row * sizeof *sum);
    if (rows == NULL || sum == NULL) {
        status = gm_fail(err, GM_ERR_NOMEM, "out of memory to resize to %d x %d pixels", width, height);
        goto out;
    }
    for (int32_t y = 0; y < at.height; y++) {
        const size_t pixel = (size_t)(at.y + y) * (size_t)from->width + (size_t)at.x;
        resize_row(&across, from->rgb + 3 * pixel, width, rows + (size_t)y * row);
    }
    for (int32_t y = 0; y < height; y++) mix_rows(&down, rows, row, y, sum, rgb + (size_t)y * row);
out:
    gm_free(sum);
    gm_free(rows);
    free_axis(&across);
    free_axis(&down);
    return status;
}

gm_status gm_image_resize(const gm_image *from, gm_box crop, int32_t width, int32_t height, gm_image *to, gm_err *err)
{
    gm_image made = { 0 };
    GM_TRY(gm_image_create(width, height, &made, err));
    const gm_status status = gm_image_resize_into(from, crop, width, height, made.rgb, err);
    if (status == GM_OK) *to = made;
    else gm_image_free(&made);
    return status;
}
