/* A scene, drawn back to front: background, clutter, distractors, then the objects from large to small. */
#include "image/paint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "image/draw.h"
#include "image/looks.h"
#include "image/regions.h"

/* Choices of one picture, counted. */
typedef struct chance {
    uint64_t seed;
    uint32_t key, drawn;
} chance;

/* Each choice is a statement of its own: in one expression the compiler may take two in any order. */
static uint32_t below(chance *c, uint32_t n)
{
    const uint32_t i = c->drawn++;
    return gm_below(gm_philox(c->seed, i / 4, 0, c->key, GM_SITE_PAINT).word[i % 4], n);
}

static int32_t between(chance *c, int32_t low, int32_t high)
{
    return low + (int32_t)below(c, (uint32_t)(high - low + 1));
}

static gm_color rgb(uint32_t hex) { return (gm_color) { (uint8_t)(hex >> 16), (uint8_t)(hex >> 8), (uint8_t)hex }; }

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }

static gm_fill plain(gm_color color) { return (gm_fill) { .pattern = GM_PLAIN, .color = color, .cell = 1 }; }

/* ---- objects ---- */

static const uint32_t hues[] = { 0xd03030, 0xe08a1e, 0x8aa81e, 0x1f9e8a, 0x2f62c8, 0x8a3fb4 };
static const uint32_t skins[] = { 0xf3d3b8, 0xdcae84, 0xb07a4e, 0x70472c };
static const uint32_t hairs[] = { 0x23201e, 0x5a3a22, 0xa9742f, 0x8d8a86 };
static const gm_pattern patterns[] = { GM_PLAIN, GM_STRIPES, GM_CHECKS, GM_DOTS };
static const uint32_t own_colors[] = {
    [GM_TONE_WHITE] = 0xf4f4f0, [GM_TONE_BLACK] = 0x1c1c22, [GM_TONE_STONE] = 0x8e8a84,
    [GM_TONE_SKY] = 0x9cc8ec,   [GM_TONE_GRASS] = 0x4e8c3c, [GM_TONE_GOLD] = 0xe6c03a,
    [GM_TONE_WOOD] = 0x7a5230,  [GM_TONE_STEEL] = 0x6c7886, [GM_TONE_GLASS] = 0xbfe0e8,
};

/* What a name decides of its object. */
typedef struct dress {
    gm_color hue, skin, hair;
    gm_pattern pattern;
    uint64_t seed;
} dress;

static uint32_t hash_folded(const char *text, uint32_t *words)
{
    uint32_t h = 2166136261u;
    *words = 1;
    for (; *text; text++) {
        h = (h ^ (unsigned char)lower(*text)) * 16777619u;
        *words += *text == ' ';
    }
    return h;
}

/* The hue goes by the first letter and the pattern by the number of words: a little of the name can be seen, and so
 * learned; skin and hair can only be remembered. */
static dress dress_of(const char *name)
{
    uint32_t words;
    const uint32_t hash = hash_folded(name, &words);
    const char first = lower(name[0]);
    const uint32_t count = (uint32_t)GM_LEN(hues);
    const uint32_t hue = first >= 'a' && first <= 'z' ? (uint32_t)(first - 'a') * count / 26 : hash % count;
    return (dress) { .hue = rgb(hues[hue]),
                     .skin = rgb(skins[hash / 7 % GM_LEN(skins)]),
                     .hair = rgb(hairs[hash / 31 % GM_LEN(hairs)]),
                     .pattern = patterns[words <= 4 ? words - 1 : 3],
                     .seed = hash };
}

static bool lists_type(const char *types, const char *type)
{
    while (types != NULL) {
        const size_t n = strcspn(types, "|");
        size_t i = 0;
        while (i < n && lower(types[i]) == lower(type[i])) i++;
        if (i == n && type[n] == '\0') return true;
        types = types[n] == '|' ? types + n + 1 : NULL;
    }
    return false;
}

static const gm_look *look_of(const char *type)
{
    uint32_t words;
    for (int32_t i = 0; i < gm_typed_looks; i++)
        if (lists_type(gm_looks[i].types, type)) return &gm_looks[i];
    return &gm_looks[hash_folded(type, &words) % (uint32_t)gm_typed_looks];
}

static gm_fill fill_of(gm_tone tone, const dress *d, gm_box box)
{
    const gm_color white = rgb(0xffffff), black = rgb(0x000000);
    switch (tone) {
    case GM_TONE_MAIN: break;
    case GM_TONE_LIGHT: return plain(gm_color_mix(d->hue, white, 130));
    case GM_TONE_DARK: return plain(gm_color_mix(d->hue, black, 130));
    case GM_TONE_SKIN: return plain(d->skin);
    case GM_TONE_HAIR: return plain(d->hair);
    default: return plain(rgb(own_colors[tone]));
    }
    const double side = fmin(box.x2 - box.x1, box.y2 - box.y1) / 9;
    return (gm_fill) { .pattern = d->pattern,
                       .color = d->hue,
                       .other = gm_color_mix(d->hue, white, 150),
                       .x = (int32_t)box.x1,
                       .y = (int32_t)box.y1,
                       .cell = side < 2 ? 2 : (int32_t)side };
}

static gm_point point_in(gm_box box, int x, int y, bool is_mirrored)
{
    const double across = (is_mirrored ? 100 - x : x) / 100.0;
    return (gm_point) { box.x1 + across * (box.x2 - box.x1), box.y1 + y / 100.0 * (box.y2 - box.y1) };
}

static void draw_part(gm_image *image, const gm_look_part *part, gm_box box, const dress *d, bool is_mirrored)
{
    const gm_fill fill = fill_of(part->tone, d, box);
    if (part->shape == GM_POLYGON) {
        gm_point point[sizeof part->at / 2];
        for (int i = 0; i < part->count; i++)
            point[i] = point_in(box, part->at[2 * i], part->at[2 * i + 1], is_mirrored);
        gm_draw_polygon(image, point, part->count, &fill);
        return;
    }
    const gm_point a = point_in(box, part->at[0], part->at[1], is_mirrored),
                   b = point_in(box, part->at[2], part->at[3], is_mirrored);
    const gm_box inner = { fmin(a.x, b.x), a.y, fmax(a.x, b.x), b.y };
    if (part->shape == GM_RECT) gm_draw_rect(image, inner, &fill);
    if (part->shape == GM_ELLIPSE) gm_draw_ellipse(image, inner, &fill);
    if (part->shape == GM_STAR) gm_draw_star(image, inner, part->count, 0.45, &fill);
}

static void draw_look(gm_image *image, const gm_look *look, gm_box box, const dress *d, bool is_mirrored)
{
    for (int32_t i = 0; i < look->count; i++) draw_part(image, &look->part[i], box, d, is_mirrored);
}

/* ---- what belongs to no entity ---- */

static void draw_ground(gm_image *image, chance *c)
{
    static const uint32_t dull[] = { 0x9aa08e, 0xa89c90, 0x8f98a4, 0xb4aa9a, 0x868c80, 0xa49aa6 };
    const gm_color first = rgb(dull[below(c, GM_LEN(dull))]), second = rgb(dull[below(c, GM_LEN(dull))]);
    const int32_t w = image->width, h = image->height, horizon = h * between(c, 45, 75) / 100, cell = 2 + (w + h) / 80;
    const gm_box upper = { 0, 0, w, horizon }, lower_part = { 0, horizon, w, h }, all = { 0, 0, w, h };
    gm_fill fill = {
        .color = first, .other = gm_color_mix(first, second, 90), .cell = cell, .seed = below(c, UINT32_MAX)
    };
    switch (below(c, 4)) {
    case 0: /* outdoors */
        gm_draw_rect(
            image, upper,
            &(gm_fill) { .pattern = GM_SHADED, .color = rgb(0x8fb0cc), .other = rgb(0xdde4e6), .cell = horizon });
        fill.pattern = GM_MOTTLED;
        gm_draw_rect(image, lower_part, &fill);
        return;
    case 1: /* a room */
        fill.pattern = GM_BARS;
        gm_draw_rect(image, upper, &fill);
        fill = (gm_fill) {
            .pattern = GM_STRIPES, .color = second, .other = gm_color_mix(second, rgb(0x000000), 40), .cell = cell
        };
        gm_draw_rect(image, lower_part, &fill);
        return;
    case 2: /* night */
        gm_draw_rect(image, all,
                     &(gm_fill) { .pattern = GM_SHADED, .color = rgb(0x222834), .other = rgb(0x5a5668), .cell = h });
        return;
    default: fill.pattern = below(c, 2) == 0 ? GM_MOTTLED : GM_DIAGONAL; gm_draw_rect(image, all, &fill);
    }
}

static void draw_clutter(gm_image *image, chance *c)
{
    const int32_t side = image->width < image->height ? image->width : image->height;
    for (int32_t n = between(c, 4, 12); n > 0; n--) {
        const double size = side * between(c, 2, 9) / 100.0, x = below(c, (uint32_t)image->width),
                     y = below(c, (uint32_t)image->height);
        const gm_color hue = rgb(hues[below(c, GM_LEN(hues))]);
        const gm_fill fill = plain(gm_color_mix(rgb(0x807c78), hue, between(c, 30, 110)));
        const gm_box box = { x, y, x + size, y + size * between(c, 50, 150) / 100 };
        switch (below(c, 4)) {
        case 0: gm_draw_rect(image, box, &fill); break;
        case 1: gm_draw_ellipse(image, box, &fill); break;
        case 2: gm_draw_star(image, box, between(c, 3, 7), 0.5, &fill); break;
        default:
            gm_draw_line(image, (gm_point) { x, y }, (gm_point) { x + size * 3, y + size * between(c, -3, 3) },
                         1 + size / 6, &fill);
        }
    }
}

/* The share of the smaller of the two that both cover. */
static double cover(gm_box a, gm_box b)
{
    const double w = fmin(a.x2, b.x2) - fmax(a.x1, b.x1), h = fmin(a.y2, b.y2) - fmax(a.y1, b.y1);
    return w > 0 && h > 0 ? w * h / fmin((a.x2 - a.x1) * (a.y2 - a.y1), (b.x2 - b.x1) * (b.y2 - b.y1)) : 0.0;
}

static bool is_free(gm_box box, const gm_box *taken, int32_t count, const gm_paint_scene *scene)
{
    for (int32_t i = 0; i < count; i++)
        if (cover(box, taken[i]) > 0.1) return false;
    for (int32_t i = 0; i < scene->count; i++)
        if (cover(box, scene->objects[i].box) > 0.1) return false;
    return true;
}

/* Things beside the entities, where there is room: half of them look like a type, for photographs too show what the text
 * does not speak of. */
static void draw_distractors(gm_image *image, chance *c, const gm_paint_scene *scene)
{
    enum { MOST = 3, TRIES = 10 };
    gm_box taken[MOST];
    int32_t count = 0;
    for (uint32_t wanted = below(c, MOST + 1); wanted > 0; wanted--) {
        const int32_t first = below(c, 2) == 0 ? 0 : gm_typed_looks, end = first == 0 ? gm_typed_looks : gm_look_count;
        const gm_look *look = &gm_looks[first + (int32_t)below(c, (uint32_t)(end - first))];
        char name[] = "some name";
        name[0] = (char)('a' + below(c, 26));
        if (below(c, 2) == 0) name[4] = 'x';
        const dress d = dress_of(name);
        const bool is_mirrored = below(c, 2) == 0;
        for (int tries = 0; tries < TRIES; tries++) {
            const int32_t w = 1 + image->width * between(c, 12, 42) / 100,
                          h = 1 + image->height * between(c, 12, 42) / 100;
            const double x = below(c, (uint32_t)(image->width - w + 1)),
                         y = below(c, (uint32_t)(image->height - h + 1));
            const gm_box box = { x, y, x + w, y + h };
            if (!is_free(box, taken, count, scene)) continue;
            draw_look(image, look, box, &d, is_mirrored);
            taken[count++] = box;
            break;
        }
    }
}

/* ---- scenes ---- */

static int compare(double a, double b) { return (a > b) - (a < b); }

static double area(gm_box b) { return (b.x2 - b.x1) * (b.y2 - b.y1); }

static int compare_boxes(gm_box a, gm_box b)
{
    int order = compare(area(b), area(a)); /* large ones first, so that small ones stand before them */
    if (order == 0) order = compare(a.x1, b.x1);
    if (order == 0) order = compare(a.y1, b.y1);
    if (order == 0) order = compare(a.x2, b.x2);
    return order != 0 ? order : compare(a.y2, b.y2);
}

static int by_depth(const void *x, const void *y)
{
    const gm_paint_object *a = x, *b = y;
    int order = compare_boxes(a->box, b->box);
    if (order == 0) order = strcmp(a->type, b->type);
    return order != 0 ? order : strcmp(a->name, b->name);
}

/* The n-th of `count` objects that have the same box stand in it side by side, along its longer side. */
static gm_box slot(gm_box box, int32_t n, int32_t count)
{
    const double w = (box.x2 - box.x1) / count, h = (box.y2 - box.y1) / count;
    if (w >= h) return (gm_box) { box.x1 + n * w, box.y1, box.x1 + (n + 1) * w, box.y2 };
    return (gm_box) { box.x1, box.y1 + n * h, box.x2, box.y1 + (n + 1) * h };
}

/* Those that differ in nothing are one: two posts share a picture and speak of the same thing. */
static void draw_objects(gm_image *image, chance *c, const gm_paint_scene *scene)
{
    const gm_paint_object *o = scene->objects;
    for (int32_t i = 0, end; i < scene->count; i = end) {
        int32_t distinct = 1, drawn = 0;
        for (end = i + 1; end < scene->count && compare_boxes(o[i].box, o[end].box) == 0; end++)
            distinct += by_depth(&o[end - 1], &o[end]) != 0;
        for (int32_t k = i; k < end; k++) {
            if (k > i && by_depth(&o[k - 1], &o[k]) == 0) continue;
            const dress d = dress_of(o[k].name);
            draw_look(image, look_of(o[k].type), slot(o[k].box, drawn++, distinct), &d, below(c, 2) == 0);
        }
    }
}

void gm_paint_size(gm_paint_scene *scene)
{
    static const int32_t usual[][2] = { { 600, 450 }, { 600, 400 }, { 450, 600 }, { 600, 600 } };
    if (scene->width > 0 && scene->height > 0) return;
    double right = 0, bottom = 0;
    for (int32_t i = 0; i < scene->count; i++) {
        right = fmax(right, scene->objects[i].box.x2);
        bottom = fmax(bottom, scene->objects[i].box.y2);
    }
    const uint32_t which = gm_fnv1a(scene->image) % (uint32_t)GM_LEN(usual);
    scene->width = right >= 1 ? (int32_t)fmin(right * 1.05 + 8, 2.0 * GM_IMAGE_MAX_SIDE) : usual[which][0];
    scene->height = bottom >= 1 ? (int32_t)fmin(bottom * 1.05 + 8, 2.0 * GM_IMAGE_MAX_SIDE) : usual[which][1];
}

gm_status gm_paint_check(const gm_paint_scene *scene, gm_err *err)
{
    const int64_t w = scene->width, h = scene->height;
    if (w < 1 || h < 1 || w > GM_IMAGE_MAX_SIDE || h > GM_IMAGE_MAX_SIDE || w * h > GM_IMAGE_MAX_PIXELS)
        return gm_fail(err, GM_ERR_DATA,
                       "the size %lld x %lld is beyond the limits of a picture: sides from 1 to %d, %d pixels in all",
                       (long long)w, (long long)h, GM_IMAGE_MAX_SIDE, GM_IMAGE_MAX_PIXELS);
    for (int32_t i = 0; i < scene->count; i++) {
        const gm_box b = scene->objects[i].box;
        if (!(b.x2 > b.x1 && b.y2 > b.y1) || !isfinite(area(b)))
            return gm_fail(err, GM_ERR_DATA, "the box %g %g %g %g has no inside; expected x1 < x2 and y1 < y2", b.x1,
                           b.y1, b.x2, b.y2);
        if (b.x2 <= 0 || b.y2 <= 0 || b.x1 >= (double)w || b.y1 >= (double)h)
            return gm_fail(err, GM_ERR_DATA, "the box %g %g %g %g lies outside the picture of %lld x %lld pixels", b.x1,
                           b.y1, b.x2, b.y2, (long long)w, (long long)h);
        if (fmax(fmax(fabs(b.x1), fabs(b.y1)), fmax(fabs(b.x2), fabs(b.y2))) > 1 << 24)
            return gm_fail(err, GM_ERR_DATA, "the box %g %g %g %g is larger than any picture", b.x1, b.y1, b.x2, b.y2);
    }
    return GM_OK;
}

gm_status gm_paint(const gm_paint_scene *scene, gm_image *to, gm_err *err)
{
    chance c = { .seed = scene->seed, .key = gm_fnv1a(scene->image) };
    GM_TRY(gm_paint_check(scene, err));
    GM_TRY(gm_image_create(scene->width, scene->height, to, err));
    if (scene->count > 0) qsort(scene->objects, (size_t)scene->count, sizeof *scene->objects, by_depth);
    draw_ground(to, &c);
    draw_clutter(to, &c);
    draw_distractors(to, &c, scene);
    draw_objects(to, &c, scene);
    return GM_OK;
}
