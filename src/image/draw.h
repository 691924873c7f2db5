/* Drawing on a picture in memory: filled shapes, plain or patterned. Nothing fails: what lies outside the picture is cut off,
 * and a shape with a coordinate that is no number draws nothing. No anti-aliasing: a pixel is painted when its centre lies in
 * the shape, so the same calls give the same bytes on every machine. */
#ifndef GM_IMAGE_DRAW_H
#define GM_IMAGE_DRAW_H

#include "image/image.h"

typedef struct gm_color { uint8_t r, g, b; } gm_color;
typedef struct gm_point { double x, y; } gm_point;

typedef enum gm_pattern {
    GM_PLAIN,    /* color alone */
    GM_SHADED,   /* from color at y to other at y + cell */
    GM_STRIPES,  /* rows of `cell` pixels in turn */
    GM_BARS,     /* columns of `cell` pixels in turn */
    GM_CHECKS,   /* squares of `cell` pixels in turn */
    GM_DIAGONAL, /* slanting bands */
    GM_DOTS,     /* a dot of other in each square of color */
    GM_MOTTLED   /* squares in one of four steps from color to other, by chance */
} gm_pattern;

/* What a shape is filled with. The pattern begins at (x, y) of the picture, so that neighbouring shapes can share it. */
typedef struct gm_fill {
    gm_pattern pattern;
    gm_color color, other;
    int32_t x, y, cell; /* cell: 1 or more; of no matter to GM_PLAIN */
    uint64_t seed;      /* GM_MOTTLED */
} gm_fill;

enum { GM_POLYGON_MAX = 64, GM_STAR_MAX = 12 };

void gm_draw_rect(gm_image *image, gm_box box, const gm_fill *fill);
void gm_draw_ellipse(gm_image *image, gm_box box, const gm_fill *fill);
/* Closed by itself; where it crosses itself, inside is what an odd number of edges encloses. 3 to GM_POLYGON_MAX points. */
void gm_draw_polygon(gm_image *image, const gm_point *point, int count, const gm_fill *fill);
void gm_draw_line(gm_image *image, gm_point from, gm_point to, double width, const gm_fill *fill);
/* One spike up, 3 to GM_STAR_MAX of them; `inner`: radius between the spikes over that of their ends. */
void gm_draw_star(gm_image *image, gm_box box, int spikes, double inner, const gm_fill *fill);

/* `part` of 256 parts of b, the others of a. */
gm_color gm_color_mix(gm_color a, gm_color b, int32_t part);

#endif
