/* What the objects of drawn images look like: a table of parts. Inside src/image only. */
#ifndef GM_IMAGE_LOOKS_H
#define GM_IMAGE_LOOKS_H

#include <stdint.h>

typedef enum gm_shape { GM_RECT, GM_ELLIPSE, GM_POLYGON, GM_STAR } gm_shape;

/* Where a part's colour comes from. The first five follow the object's name, the others are the look's own. */
typedef enum gm_tone {
    GM_TONE_MAIN, /* the object's hue, with its pattern */
    GM_TONE_LIGHT,
    GM_TONE_DARK,
    GM_TONE_SKIN,
    GM_TONE_HAIR,
    GM_TONE_WHITE,
    GM_TONE_BLACK,
    GM_TONE_STONE,
    GM_TONE_SKY,
    GM_TONE_GRASS,
    GM_TONE_GOLD,
    GM_TONE_WOOD,
    GM_TONE_STEEL,
    GM_TONE_GLASS
} gm_tone;

typedef struct gm_look_part {
    gm_shape shape;
    gm_tone tone;
    int8_t count;  /* of GM_POLYGON: its points; of GM_STAR: its spikes */
    int8_t at[20]; /* percent of the object's box: x1 y1 x2 y2, or x y of each point */
} gm_look_part;

typedef struct gm_look {
    const char *types; /* "PER|person": entity types in any case; NULL: the look of no type */
    const gm_look_part *part;
    int32_t count;
} gm_look;

/* The parts of each look reach all four sides of its box. Looks of types come first. */
extern const gm_look gm_looks[];
extern const int32_t gm_typed_looks, gm_look_count;

#endif
