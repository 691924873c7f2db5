/* Candidate regions of a picture: boxes, and what is known of each. From the .npz files that the data sets' authors
 * publish, or proposed here. */
#ifndef GM_IMAGE_REGIONS_H
#define GM_IMAGE_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/records.h"

#define GM_REGIONS_MAX 1024 /* of a picture */

typedef struct gm_regions {
    int32_t count;
    int32_t width, height;  /* of the picture; 0 when unknown */
    int32_t feature_width;  /* 0 when there are none */
    gm_box *box;            /* [count] pixels of the picture, within it where its size is known, never empty */
    float *score;           /* [count] of the detector, or NULL */
    float *feature;         /* [count, feature_width] or NULL */
    uint64_t key[2];        /* names the features in the cache; 0 where there is no cache */
} gm_regions;

void gm_regions_free(gm_regions *r); /* takes an empty one, and leaves one */

/* An authors' file: `bounding_boxes` [K, 4] must be there; `box_features` [K, D], `scores` [K] or `objects_conf` [K],
 * `num_boxes`, `image_w` and `image_h` may; other members are ignored. The best `max` by score, else the first `max`, in
 * the file's order; boxes that are empty, reversed or outside are left out, and counted in *dropped (may be NULL). */
gm_status gm_regions_read_npz(const char *path, int32_t max, gm_regions *to, int32_t *dropped, gm_err *err);
gm_status gm_regions_parse_npz(const char *place, const void *bytes, size_t size, int32_t max, gm_regions *to, int32_t *dropped,
                               gm_err *err);

/* At most `max` boxes for a picture of this size, the whole picture first, then windows of many sizes, in the order of how
 * many people and things of tweets they find (region_windows.def). Returns how many: there are 96. */
int32_t gm_regions_propose(int32_t width, int32_t height, int32_t max, gm_box *box);

/* Brings a box inside a picture; a side of 0 is unknown and bounds nothing. False where nothing is left: empty, reversed,
 * outside, or not a number. */
bool gm_box_clip(gm_box *box, int32_t width, int32_t height);
/* The same for all boxes; leaves out those of which nothing is left, and returns how many. Sets the size. */
int32_t gm_regions_clip(gm_regions *r, int32_t width, int32_t height);
/* Leaves the best `max` (1..GM_REGIONS_MAX) by score, in their order; without scores the first. */
void gm_regions_keep_best(gm_regions *r, int32_t max);

/* Intersection over union, 0 where they do not meet: continuous pixels, no +1. */
double gm_box_iou(gm_box a, gm_box b);

#endif
