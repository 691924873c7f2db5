/* Shapes become rows of pixels, and a row is painted in runs of one colour. */
#include "image/draw.h"

#include <math.h>

#include "base/philox.h"

gm_color gm_color_mix(gm_color a, gm_color b, int32_t part)
{
    return (gm_color) { (uint8_t)((a.r * (256 - part) + b.r * part) / 256),
                        (uint8_t)((a.g * (256 - part) + b.g * part) / 256),
                        (uint8_t)((a.b * (256 - part) + b.b * part) / 256) };
}

/* ---- patterns ---- */

static int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

static gm_color mottled(const gm_fill *f, int64_t column, int64_t row)
{
    const gm_philox4 bits = gm_philox(f->seed, (uint32_t)column, (uint32_t)row, 0, GM_SITE_PAINT);
    return gm_color_mix(f->color, f->other, (int32_t)(bits.word[0] % 4) * 64);
}

static bool is_in_dot(int64_t x, int64_t y, int64_t cell)
{
    const int64_t dx = 2 * x + 1 - cell, dy = 2 * y + 1 - cell;
    return 2 * (dx * dx + dy * dy) < cell * cell;
}

/* The colour of pixel (x, y), and with it where in this row the next colour may begin. */
static gm_color color_at(const gm_fill *f, int32_t x, int32_t y, int64_t *end)
{
    const int64_t cell = f->cell, dx = (int64_t)x - f->x, dy = (int64_t)y - f->y;
    const int64_t column = floor_divide(dx, cell), row = floor_divide(dy, cell), slant = floor_divide(dx + dy, cell);
    *end = INT32_MAX;
    switch (f->pattern) {
    case GM_PLAIN: return f->color;
    case GM_SHADED:
        return gm_color_mix(f->color, f->other, (int32_t)(dy <= 0 ? 0 : dy >= cell ? 256 : dy * 256 / cell));
    case GM_STRIPES: return row % 2 == 0 ? f->color : f->other;
    case GM_DIAGONAL: *end = f->x - dy + (slant + 1) * cell; return slant % 2 == 0 ? f->color : f->other;
    case GM_DOTS:
        *end = (int64_t)x + 1;
        return is_in_dot(dx - column * cell, dy - row * cell, cell) ? f->other : f->color;
    default: break;
    }
    *end = f->x + (column + 1) * cell;
    if (f->pattern == GM_MOTTLED) return mottled(f, column, row);
    return (f->pattern == GM_BARS ? column : column + row) % 2 == 0 ? f->color : f->other;
}

static void paint_run(uint8_t *rgb, int32_t count, gm_color c)
{
    for (int32_t i = 0; i < count; i++, rgb += 3) {
        rgb[0] = c.r;
        rgb[1] = c.g;
        rgb[2] = c.b;
    }
}

/* The first pixel whose centre is not before `at`, within 0 .. size. */
static int32_t first_pixel(double at, int32_t size)
{
    if (!(at > 0)) return 0;
    return at >= size ? size : (int32_t)ceil(at - 0.5);
}

static void paint_row(gm_image *image, int32_t y, double left, double right, const gm_fill *fill)
{
    const int32_t end = first_pixel(right, image->width);
    uint8_t *row = image->rgb + (size_t)y * (size_t)image->width * 3;
    for (int32_t x = first_pixel(left, image->width); x < end;) {
        int64_t next;
        const gm_color color = color_at(fill, x, y, &next);
        const int32_t stop = next < end ? (int32_t)next : end;
        paint_run(row + (size_t)x * 3, stop - x, color);
        x = stop;
    }
}

/* ---- shapes ---- */

static bool is_finite_box(gm_box b) { return isfinite(b.x1) && isfinite(b.y1) && isfinite(b.x2) && isfinite(b.y2); }

void gm_draw_rect(gm_image *image, gm_box box, const gm_fill *fill)
{
    if (!is_finite_box(box)) return;
    const int32_t end = first_pixel(box.y2, image->height);
    for (int32_t y = first_pixel(box.y1, image->height); y < end; y++) paint_row(image, y, box.x1, box.x2, fill);
}

void gm_draw_ellipse(gm_image *image, gm_box box, const gm_fill *fill)
{
    if (!is_finite_box(box)) return;
    const double x = (box.x1 + box.x2) / 2, y = (box.y1 + box.y2) / 2, wide = (box.x2 - box.x1) / 2,
                 high = (box.y2 - box.y1) / 2;
    const int32_t end = first_pixel(box.y2, image->height);
    for (int32_t row = first_pixel(box.y1, image->height); row < end; row++) {
        const double up = (row + 0.5 - y) / high, half = wide * sqrt(fmax(0.0, 1.0 - up * up));
        paint_row(image, row, x - half, x + half, fill);
    }
}

/* Where the edges cross the line through the centres of a row, from left to right. */
static int crossings(const gm_point *point, int count, double y, double at[GM_POLYGON_MAX])
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        const gm_point p = point[i], q = point[(i + 1) % count];
        if ((p.y <= y) == (q.y <= y)) continue;
        const double x = p.x + (y - p.y) / (q.y - p.y) * (q.x - p.x);
        int k = n++;
        for (; k > 0 && at[k - 1] > x; k--) at[k] = at[k - 1];
        at[k] = x;
    }
    return n;
}

void gm_draw_polygon(gm_image *image, const gm_point *point, int count, const gm_fill *fill)
{
    double top = INFINITY, bottom = -INFINITY, at[GM_POLYGON_MAX];
    if (count < 3 || count > GM_POLYGON_MAX) return;
    for (int i = 0; i < count; i++) {
        if (!isfinite(point[i].x) || !isfinite(point[i].y)) return;
        top = fmin(top, point[i].y);
        bottom = fmax(bottom, point[i].y);
    }
    const int32_t end = first_pixel(bottom, image->height);
    for (int32_t y = first_pixel(top, image->height); y < end; y++) {
        const int n = crossings(point, count, y + 0.5, at);
        for (int i = 0; i + 1 < n; i += 2) paint_row(image, y, at[i], at[i + 1], fill);
    }
}

void gm_draw_line(gm_image *image, gm_point from, gm_point to, double width, const gm_fill *fill)
{
    const double dx = to.x - from.x, dy = to.y - from.y, length = sqrt(dx * dx + dy * dy);
    if (!(length > 0)) return;
    const double x = -dy / length * width / 2, y = dx / length * width / 2;
    const gm_point corner[4] = {
        { from.x + x, from.y + y }, { to.x + x, to.y + y }, { to.x - x, to.y - y }, { from.x - x, from.y - y }
    };
    gm_draw_polygon(image, corner, 4, fill);
}

/* Cosine and sine of half a turn over n, n = 3 .. GM_STAR_MAX: written out, for libraries differ in the last bit. */
static const double half_turn[][2] = {
    { 0.5, 0.8660254037844386 },
    { 0.7071067811865476, 0.7071067811865476 },
    { 0.8090169943749475, 0.5877852522924731 },
    { 0.8660254037844387, 0.5 },
    { 0.9009688679024191, 0.4338837391175581 },
    { 0.9238795325112867, 0.3826834323650898 },
    { 0.9396926207859084, 0.3420201433256687 },
    { 0.9510565162951535, 0.3090169943749474 },
    { 0.9594929736144974, 0.2817325568414297 },
    { 0.9659258262890683, 0.2588190451025207 },
};

void gm_draw_star(gm_image *image, gm_box box, int spikes, double inner, const gm_fill *fill)
{
    gm_point point[2 * GM_STAR_MAX];
    if (spikes < 3 || spikes > GM_STAR_MAX) return;
    const double *turn = half_turn[spikes - 3];
    double x = 0.0, y = -1.0;
    for (int i = 0; i < 2 * spikes; i++) {
        const double radius = i % 2 == 0 ? 0.5 : 0.5 * inner;
        point[i].x = (box.x1 + box.x2) / 2 + radius * x * (box.x2 - box.x1);
        point[i].y = (box.y1 + box.y2) / 2 + radius * y * (box.y2 - box.y1);
        const double turned = x * turn[0] - y * turn[1];
        y = x * turn[1] + y * turn[0];
        x = turned;
    }
    gm_draw_polygon(image, point, 2 * spikes, fill);
}
