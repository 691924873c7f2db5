/* The looks: coordinates are percent of the box. Parts are drawn in their order. */
#include "image/looks.h"

#include <stddef.h>

#include "base/status.h"

static const gm_look_part person[] = {
    { GM_ELLIPSE, GM_TONE_HAIR, 0, { 27, 0, 73, 54 } },
    { GM_POLYGON, GM_TONE_SKIN, 4, { 42, 44, 58, 44, 60, 64, 40, 64 } },
    { GM_POLYGON, GM_TONE_MAIN, 8, { 0, 100, 5, 72, 20, 62, 40, 58, 60, 58, 80, 62, 95, 72, 100, 100 } },
    { GM_ELLIPSE, GM_TONE_SKIN, 0, { 31, 8, 69, 56 } },
    { GM_POLYGON, GM_TONE_HAIR, 5, { 29, 26, 34, 8, 50, 3, 66, 8, 71, 22 } },
    { GM_ELLIPSE, GM_TONE_BLACK, 0, { 39, 26, 45, 33 } },
    { GM_ELLIPSE, GM_TONE_BLACK, 0, { 55, 26, 61, 33 } },
    { GM_RECT, GM_TONE_DARK, 0, { 43, 44, 57, 47 } },
};

static const gm_look_part landscape[] = {
    { GM_RECT, GM_TONE_SKY, 0, { 0, 0, 100, 70 } },
    { GM_ELLIPSE, GM_TONE_GOLD, 0, { 72, 6, 90, 26 } },
    { GM_POLYGON, GM_TONE_STONE, 3, { 0, 72, 32, 14, 64, 72 } },
    { GM_POLYGON, GM_TONE_WHITE, 3, { 24, 29, 32, 14, 40, 29 } },
    { GM_POLYGON, GM_TONE_DARK, 3, { 40, 74, 70, 34, 100, 74 } },
    { GM_RECT, GM_TONE_GRASS, 0, { 0, 66, 100, 100 } },
    { GM_POLYGON, GM_TONE_MAIN, 4, { 44, 66, 56, 66, 84, 100, 16, 100 } },
};

static const gm_look_part emblem[] = {
    { GM_POLYGON, GM_TONE_DARK, 7, { 0, 0, 100, 0, 100, 52, 80, 82, 50, 100, 20, 82, 0, 52 } },
    { GM_POLYGON, GM_TONE_MAIN, 7, { 8, 8, 92, 8, 92, 50, 75, 76, 50, 91, 25, 76, 8, 50 } },
    { GM_RECT, GM_TONE_WHITE, 0, { 8, 18, 92, 28 } },
    { GM_ELLIPSE, GM_TONE_WHITE, 0, { 26, 32, 74, 76 } },
    { GM_STAR, GM_TONE_DARK, 5, { 30, 35, 70, 74 } },
};

static const gm_look_part parcel[] = {
    { GM_RECT, GM_TONE_MAIN, 0, { 4, 34, 96, 100 } },
    { GM_RECT, GM_TONE_LIGHT, 0, { 0, 22, 100, 42 } },
    { GM_RECT, GM_TONE_GOLD, 0, { 43, 22, 57, 100 } },
    { GM_POLYGON, GM_TONE_GOLD, 4, { 50, 24, 22, 0, 12, 16, 30, 24 } },
    { GM_POLYGON, GM_TONE_GOLD, 4, { 50, 24, 78, 0, 88, 16, 70, 24 } },
    { GM_ELLIPSE, GM_TONE_DARK, 0, { 43, 16, 57, 30 } },
};

static const gm_look_part building[] = {
    { GM_RECT, GM_TONE_MAIN, 0, { 10, 22, 90, 100 } },  { GM_POLYGON, GM_TONE_DARK, 3, { 0, 24, 50, 0, 100, 24 } },
    { GM_RECT, GM_TONE_GLASS, 0, { 20, 34, 34, 48 } },  { GM_RECT, GM_TONE_GLASS, 0, { 43, 34, 57, 48 } },
    { GM_RECT, GM_TONE_GLASS, 0, { 66, 34, 80, 48 } },  { GM_RECT, GM_TONE_GLASS, 0, { 20, 56, 34, 70 } },
    { GM_RECT, GM_TONE_GLASS, 0, { 66, 56, 80, 70 } },  { GM_RECT, GM_TONE_WOOD, 0, { 42, 66, 58, 100 } },
    { GM_RECT, GM_TONE_STONE, 0, { 0, 95, 100, 100 } },
};

static const gm_look_part painting[] = {
    { GM_RECT, GM_TONE_WOOD, 0, { 0, 0, 100, 100 } },
    { GM_RECT, GM_TONE_GOLD, 0, { 5, 5, 95, 95 } },
    { GM_RECT, GM_TONE_WHITE, 0, { 11, 11, 89, 89 } },
    { GM_ELLIPSE, GM_TONE_MAIN, 0, { 16, 20, 58, 70 } },
    { GM_POLYGON, GM_TONE_DARK, 3, { 40, 82, 66, 28, 84, 82 } },
    { GM_RECT, GM_TONE_LIGHT, 0, { 16, 74, 60, 82 } },
};

static const gm_look_part bottle[] = {
    { GM_RECT, GM_TONE_DARK, 0, { 34, 0, 66, 8 } },
    { GM_RECT, GM_TONE_GLASS, 0, { 38, 8, 62, 30 } },
    { GM_POLYGON, GM_TONE_GLASS, 6, { 38, 28, 62, 28, 100, 46, 100, 100, 0, 100, 0, 46 } },
    { GM_RECT, GM_TONE_MAIN, 0, { 0, 54, 100, 88 } },
    { GM_STAR, GM_TONE_WHITE, 8, { 34, 58, 66, 84 } },
};

static const gm_look_part celebration[] = {
    { GM_STAR, GM_TONE_MAIN, 12, { 0, 0, 100, 100 } },     { GM_STAR, GM_TONE_GOLD, 12, { 16, 16, 84, 84 } },
    { GM_ELLIPSE, GM_TONE_WHITE, 0, { 34, 34, 66, 66 } },  { GM_ELLIPSE, GM_TONE_DARK, 0, { 0, 0, 20, 26 } },
    { GM_ELLIPSE, GM_TONE_DARK, 0, { 80, 74, 100, 100 } }, { GM_ELLIPSE, GM_TONE_LIGHT, 0, { 80, 0, 100, 26 } },
    { GM_ELLIPSE, GM_TONE_LIGHT, 0, { 0, 74, 20, 100 } },
};

static const gm_look_part aircraft[] = {
    { GM_POLYGON, GM_TONE_STEEL, 4, { 36, 50, 52, 50, 24, 0, 14, 0 } },
    { GM_POLYGON, GM_TONE_STEEL, 4, { 36, 56, 56, 56, 28, 100, 16, 100 } },
    { GM_POLYGON, GM_TONE_DARK, 4, { 2, 46, 14, 46, 8, 20, 0, 20 } },
    { GM_ELLIPSE, GM_TONE_MAIN, 0, { 0, 40, 100, 66 } },
    { GM_POLYGON, GM_TONE_GLASS, 4, { 80, 46, 90, 48, 92, 53, 80, 53 } },
};

static const gm_look_part vehicle[] = {
    { GM_POLYGON, GM_TONE_DARK, 4, { 18, 44, 32, 0, 74, 0, 86, 44 } },
    { GM_POLYGON, GM_TONE_GLASS, 4, { 26, 42, 36, 10, 50, 10, 50, 42 } },
    { GM_POLYGON, GM_TONE_GLASS, 4, { 56, 42, 56, 10, 70, 10, 78, 42 } },
    { GM_RECT, GM_TONE_MAIN, 0, { 0, 40, 100, 80 } },
    { GM_ELLIPSE, GM_TONE_BLACK, 0, { 10, 58, 34, 100 } },
    { GM_ELLIPSE, GM_TONE_BLACK, 0, { 66, 58, 90, 100 } },
    { GM_ELLIPSE, GM_TONE_STEEL, 0, { 16, 68, 28, 90 } },
    { GM_ELLIPSE, GM_TONE_STEEL, 0, { 72, 68, 84, 90 } },
};

static const gm_look_part cannon[] = {
    { GM_POLYGON, GM_TONE_STEEL, 4, { 26, 40, 92, 0, 100, 18, 34, 62 } },
    { GM_POLYGON, GM_TONE_MAIN, 5, { 0, 52, 40, 40, 58, 60, 46, 78, 6, 74 } },
    { GM_ELLIPSE, GM_TONE_WOOD, 0, { 14, 46, 56, 100 } },
    { GM_ELLIPSE, GM_TONE_STEEL, 0, { 28, 64, 42, 82 } },
};

static const gm_look_part vessel[] = {
    { GM_RECT, GM_TONE_STEEL, 0, { 46, 0, 50, 60 } },
    { GM_POLYGON, GM_TONE_WHITE, 3, { 52, 4, 92, 56, 52, 56 } },
    { GM_POLYGON, GM_TONE_LIGHT, 3, { 44, 14, 44, 56, 12, 56 } },
    { GM_POLYGON, GM_TONE_MAIN, 4, { 0, 62, 100, 62, 82, 94, 16, 94 } },
    { GM_RECT, GM_TONE_SKY, 0, { 0, 92, 100, 100 } },
};

/* Of no type. */
static const gm_look_part tree[] = {
    { GM_RECT, GM_TONE_WOOD, 0, { 43, 58, 57, 100 } },
    { GM_POLYGON, GM_TONE_GRASS, 3, { 0, 66, 50, 16, 100, 66 } },
    { GM_POLYGON, GM_TONE_GRASS, 3, { 14, 40, 50, 0, 86, 40 } },
};
static const gm_look_part rings[] = {
    { GM_ELLIPSE, GM_TONE_MAIN, 0, { 0, 0, 100, 100 } },
    { GM_ELLIPSE, GM_TONE_WHITE, 0, { 18, 18, 82, 82 } },
    { GM_ELLIPSE, GM_TONE_DARK, 0, { 36, 36, 64, 64 } },
};
static const gm_look_part cross[] = {
    { GM_RECT, GM_TONE_MAIN, 0, { 34, 0, 66, 100 } },
    { GM_RECT, GM_TONE_MAIN, 0, { 0, 34, 100, 66 } },
};
static const gm_look_part table[] = {
    { GM_RECT, GM_TONE_WOOD, 0, { 0, 30, 100, 44 } },
    { GM_RECT, GM_TONE_WOOD, 0, { 6, 44, 14, 100 } },
    { GM_RECT, GM_TONE_WOOD, 0, { 86, 44, 94, 100 } },
    { GM_ELLIPSE, GM_TONE_LIGHT, 0, { 40, 0, 66, 30 } },
};
static const gm_look_part stones[] = {
    { GM_ELLIPSE, GM_TONE_STONE, 0, { 0, 40, 56, 100 } },
    { GM_ELLIPSE, GM_TONE_STEEL, 0, { 44, 54, 100, 100 } },
    { GM_ELLIPSE, GM_TONE_STONE, 0, { 30, 0, 76, 58 } },
};

#define LOOK(types, parts)                                                                                             \
    {                                                                                                                  \
        types, parts, GM_LEN(parts)                                                                                    \
    }
const gm_look gm_looks[] = {
    LOOK("PER|person", person),
    LOOK("LOC|location", landscape),
    LOOK("ORG|organization", emblem),
    LOOK("OTHER|MISC", parcel),
    LOOK("building", building),
    LOOK("art", painting),
    LOOK("product", bottle),
    LOOK("event", celebration),
    LOOK("aircraft", aircraft),
    LOOK("vehicle", vehicle),
    LOOK("weapon", cannon),
    LOOK("vessel", vessel),
    LOOK(NULL, tree),
    LOOK(NULL, rings),
    LOOK(NULL, cross),
    LOOK(NULL, table),
    LOOK(NULL, stones),
};
const int32_t gm_typed_looks = 12, gm_look_count = (int32_t)GM_LEN(gm_looks);
