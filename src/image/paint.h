/* Drawn images: what stands in for a photograph where there is none. A scene is a background with clutter, things that
 * belong to no entity, and one object per box whose look follows the entity's type and, a little, its name (docs/images.md). */
#ifndef GM_IMAGE_PAINT_H
#define GM_IMAGE_PAINT_H

#include "image/image.h"

/* One box of an entity. */
typedef struct gm_paint_object {
    gm_box box;
    const char *type; /* decides the shape: looks.c; types that it does not name get one of its looks by their hash */
    const char *name; /* the entity's words; in lower case they decide hue, pattern, hair and skin */
} gm_paint_object;

typedef struct gm_paint_scene {
    const char *image;     /* its file name: all chances depend on it and the seed */
    uint64_t seed;
    int32_t width, height; /* 0: not known; see gm_paint_size */
    gm_paint_object *objects; /* in any order; gm_paint sorts them */
    int32_t count;
} gm_paint_scene;

/* Gives a scene without a size one: what its boxes need and a margin; without boxes too one of a few usual sizes. */
void gm_paint_size(gm_paint_scene *scene);

/* GM_ERR_DATA, naming the box: one without inside, or wholly outside the picture; or a picture beyond the limits. */
gm_status gm_paint_check(const gm_paint_scene *scene, gm_err *err);

/* The picture of a scene that has a size and passes gm_paint_check: the same bytes wherever and in whatever order. */
gm_status gm_paint(const gm_paint_scene *scene, gm_image *to, gm_err *err);

#endif
