/* Drawing against the plain question, pixel by pixel, whether its centre lies in the shape. */
#include "tests/support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "image/draw.h"

enum { WIDE = 61, HIGH = 47 };

static const gm_color ink = { 200, 10, 30 }, other = { 10, 20, 250 };
static const gm_fill full = { .pattern = GM_PLAIN, .color = { 200, 10, 30 }, .cell = 1 };

static gm_image paper(void)
{
    gm_err err = { 0 };
    gm_image image = { 0 };
    assert_ok(gm_image_create(WIDE, HIGH, &image, &err));
    return image;
}

static gm_color at(const gm_image *image, int x, int y)
{
    const uint8_t *p = image->rgb + (size_t)(y * image->width + x) * 3;
    return (gm_color) { p[0], p[1], p[2] };
}

static bool same(gm_color a, gm_color b) { return a.r == b.r && a.g == b.g && a.b == b.b; }

static double number(uint32_t i, double low, double high)
{
    return low + (double)gm_uniform(gm_philox(5, i, 0, 0, GM_SITE_TEST).word[0]) * (high - low);
}

/* Winding by angle-free crossing of a ray upwards, where the code looks to the left. */
static bool is_in_polygon(const gm_point *p, int n, double x, double y)
{
    bool is_in = false;
    for (int i = 0; i < n; i++) {
        const gm_point a = p[i], b = p[(i + 1) % n];
        if ((a.x > x) != (b.x > x) && y < a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x)) is_in = !is_in;
    }
    return is_in;
}

static void polygons_hold_what_lies_in_them(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        gm_image image = paper();
        gm_point p[9];
        const int n = 3 + (int)(round % 7); /* they cross themselves, and reach beyond the paper */
        for (int i = 0; i < n; i++)
            p[i] = (gm_point) { number(round * 20 + 2 * (uint32_t)i, -20, WIDE + 20),
                                number(round * 20 + 2 * (uint32_t)i + 1, -20, HIGH + 20) };
        gm_draw_polygon(&image, p, n, &full);
        for (int y = 0; y < HIGH; y++)
            for (int x = 0; x < WIDE; x++)
                if (same(at(&image, x, y), ink) != is_in_polygon(p, n, x + 0.5, y + 0.5))
                    fail_msg("polygon %u: pixel %d %d", round, x, y);
        gm_image_free(&image);
    }
}

static void rectangles_and_ellipses_hold_what_lies_in_them(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        const double x = number(round * 4, -30, WIDE), y = number(round * 4 + 1, -30, HIGH);
        const gm_box box = { x, y, x + number(round * 4 + 2, 0, 60), y + number(round * 4 + 3, 0, 60) };
        gm_image rect = paper(), ellipse = paper();
        gm_draw_rect(&rect, box, &full);
        gm_draw_ellipse(&ellipse, box, &full);
        for (int row = 0; row < HIGH; row++) {
            for (int column = 0; column < WIDE; column++) {
                const double cx = column + 0.5, cy = row + 0.5;
                const double u = (2 * cx - box.x1 - box.x2) / (box.x2 - box.x1),
                             v = (2 * cy - box.y1 - box.y2) / (box.y2 - box.y1);
                const bool in_box = cx >= box.x1 && cx < box.x2 && cy >= box.y1 && cy < box.y2;
                if (same(at(&rect, column, row), ink) != in_box)
                    fail_msg("rectangle %u: pixel %d %d", round, column, row);
                if (fabs(u * u + v * v - 1) > 1e-9 && same(at(&ellipse, column, row), ink) != (u * u + v * v < 1))
                    fail_msg("ellipse %u: pixel %d %d", round, column, row);
            }
        }
        gm_image_free(&rect);
        gm_image_free(&ellipse);
    }
}

/* A line of width w holds the points within w / 2 of it, between its ends. */
static void lines_have_their_width(void **state)
{
    (void)state;
    gm_image image = paper();
    const gm_point a = { 5.2, 7.1 }, b = { 50.3, 31.7 };
    gm_draw_line(&image, a, b, 5, &full);
    const double dx = b.x - a.x, dy = b.y - a.y, length = hypot(dx, dy);
    for (int y = 0; y < HIGH; y++) {
        for (int x = 0; x < WIDE; x++) {
            const double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
            const double along = (px * dx + py * dy) / length, beside = fabs(px * dy - py * dx) / length;
            if (same(at(&image, x, y), ink) != (along > 0 && along < length && beside < 2.5))
                fail_msg("line: pixel %d %d", x, y);
        }
    }
    gm_image_free(&image);
}

/* The ends of the spikes, by sine and cosine. */
static void stars_have_their_spikes(void **state)
{
    (void)state;
    for (int spikes = 3; spikes <= GM_STAR_MAX; spikes++) {
        gm_image image = paper();
        gm_point p[2 * GM_STAR_MAX];
        for (int i = 0; i < 2 * spikes; i++) {
            const double angle = 3.14159265358979323846 * i / spikes, r = i % 2 == 0 ? 1.0 : 0.4;
            p[i] = (gm_point) { 30 + 25 * r * sin(angle), 20 - 19 * r * cos(angle) };
        }
        gm_draw_star(&image, (gm_box) { 5, 1, 55, 39 }, spikes, 0.4, &full);
        int wrong = 0, inside = 0;
        for (int y = 0; y < HIGH; y++) {
            for (int x = 0; x < WIDE; x++) {
                const bool is_in = is_in_polygon(p, 2 * spikes, x + 0.5, y + 0.5);
                inside += is_in;
                wrong += same(at(&image, x, y), ink) != is_in;
            }
        }
        assert_true(inside > 200);
        assert_true(wrong <= 2); /* a centre that lies on an edge may fall to either side */
        gm_image_free(&image);
    }
}

static void patterns_repeat_from_their_origin(void **state)
{
    (void)state;
    static const gm_pattern all[] = { GM_STRIPES, GM_BARS, GM_CHECKS, GM_DIAGONAL };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        gm_image image = paper();
        const gm_fill fill = { .pattern = all[i], .color = ink, .other = other, .x = 13, .y = 7, .cell = 5 };
        gm_draw_rect(&image, (gm_box) { 0, 0, WIDE, HIGH }, &fill);
        for (int y = 0; y < HIGH; y++) {
            for (int x = 0; x < WIDE; x++) {
                const int column = (x - 13 + 500) / 5 - 100, row = (y - 7 + 500) / 5 - 100,
                          slant = (x - 13 + y - 7 + 500) / 5 - 100;
                const int turn = all[i] == GM_STRIPES  ? row
                                 : all[i] == GM_BARS   ? column
                                 : all[i] == GM_CHECKS ? row + column
                                                       : slant;
                if (!same(at(&image, x, y), turn % 2 == 0 ? ink : other))
                    fail_msg("pattern %d: pixel %d %d", (int)all[i], x, y);
            }
        }
        gm_image_free(&image);
    }
}

static void dots_and_blocks_and_shades(void **state)
{
    (void)state;
    gm_image image = paper();
    const gm_box all = { 0, 0, WIDE, HIGH };
    gm_draw_rect(&image, all, &(gm_fill) { .pattern = GM_DOTS, .color = ink, .other = other, .cell = 9 });
    assert_true(same(at(&image, 4, 4), other) && same(at(&image, 13, 22), other));
    assert_true(same(at(&image, 0, 0), ink) && same(at(&image, 9, 8), ink));

    gm_draw_rect(&image, all, &(gm_fill) { .pattern = GM_SHADED, .color = ink, .other = other, .y = 3, .cell = 40 });
    assert_true(same(at(&image, 5, 0), ink) && same(at(&image, 60, 3), ink) && same(at(&image, 9, 46), other));
    for (int y = 4; y < 43; y++)
        assert_true(at(&image, 7, y).r <= at(&image, 7, y - 1).r && at(&image, 7, y).b >= at(&image, 7, y - 1).b);

    const gm_fill mottled = { .pattern = GM_MOTTLED, .color = ink, .other = other, .cell = 4, .seed = 3 };
    gm_draw_rect(&image, all, &mottled);
    int changes = 0;
    for (int y = 0; y < HIGH; y++) {
        for (int x = 0; x < WIDE; x++) {
            assert_true(same(at(&image, x, y), at(&image, x / 4 * 4, y / 4 * 4)));
            changes += x > 0 && !same(at(&image, x, y), at(&image, x - 1, y));
        }
    }
    assert_true(changes > HIGH * 6); /* of 15 borders a row three in four differ */
    gm_image again = paper();
    gm_draw_rect(&again, all, &mottled);
    assert_memory_equal(image.rgb, again.rgb, WIDE * HIGH * 3);
    gm_image_free(&again);
    gm_image_free(&image);
}

/* The sanitizer sees a write beyond the paper. */
static void what_lies_outside_is_cut_off(void **state)
{
    (void)state;
    static const double far[] = { -INFINITY, -1e300, -2e9, -1e6, -1, 0, 30, WIDE, 1e6, 2e9, 1e300, INFINITY, NAN };
    gm_image image = paper();
    const gm_fill fill = {
        .pattern = GM_CHECKS, .color = ink, .other = other, .x = INT32_MIN, .y = INT32_MAX, .cell = 3
    };
    for (size_t a = 0; a < GM_LEN(far); a++) {
        for (size_t b = 0; b < GM_LEN(far); b++) {
            for (size_t c = 0; c < GM_LEN(far); c++) {
                const gm_box box = { far[a], far[b], far[c], far[a] };
                const gm_point p[3] = { { far[a], far[b] }, { far[c], far[b] }, { far[b], far[c] } };
                gm_draw_rect(&image, box, &fill);
                gm_draw_ellipse(&image, box, &fill);
                gm_draw_star(&image, box, 5, 0.5, &fill);
                gm_draw_polygon(&image, p, 3, &fill);
                gm_draw_line(&image, p[0], p[2], far[b], &fill);
            }
        }
    }
    gm_image_free(&image);
    image = paper();
    gm_draw_rect(&image, (gm_box) { NAN, 0, 20, 20 }, &full);
    gm_draw_rect(&image, (gm_box) { 20, 20, 10, 10 }, &full);
    gm_draw_polygon(&image, (gm_point[]) { { 0, 0 }, { 50, 0 } }, 2, &full);
    gm_draw_star(&image, (gm_box) { 0, 0, 30, 30 }, GM_STAR_MAX + 1, 0.5, &full);
    for (size_t i = 0; i < WIDE * HIGH * 3; i++) assert_int_equal(image.rgb[i], 0);
    gm_image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(polygons_hold_what_lies_in_them),
        cmocka_unit_test(rectangles_and_ellipses_hold_what_lies_in_them),
        cmocka_unit_test(lines_have_their_width),
        cmocka_unit_test(stars_have_their_spikes),
        cmocka_unit_test(patterns_repeat_from_their_origin),
        cmocka_unit_test(dots_and_blocks_and_shades),
        cmocka_unit_test(what_lies_outside_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
