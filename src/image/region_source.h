/* Where the regions of a record's picture come from: proposals (authors' .npz files, a .jsonl of boxes, or built in),
 * pixels of their crops, and a cache of features on disk.
 *
 * A record whose picture is missing or broken is not an error: it goes on as text only. It is named by its id in the log
 * (the first 20, then they are only counted), and the counts say what became of all. */
#ifndef GM_IMAGE_REGION_SOURCE_H
#define GM_IMAGE_REGION_SOURCE_H

#include <stdint.h>

#include "base/status.h"
#include "data/records.h"
#include "image/regions.h"

typedef enum gm_image_status {
    GM_IMAGE_FOUND,
    GM_IMAGE_NONE,         /* the record names no picture */
    GM_IMAGE_MISSING,      /* there is no such file */
    GM_IMAGE_BROKEN,       /* not a picture, cut, too large, or a name that leaves the folder; or its .npz is broken */
    GM_IMAGE_NO_PROPOSALS, /* nothing is proposed for it, no box lies within it, or its size cannot be known */
    GM_IMAGE_STATUS_COUNT
} gm_image_status;
const char *gm_image_status_name(gm_image_status status); /* found none missing broken no_proposals */

typedef struct gm_region_source_options {
    const char *images;  /* folder of pictures, or "" */
    const char *regions; /* folder of <image>.npz, or a .jsonl of {"image", "boxes", "scores"?}, or "": built in */
    const char *cache;   /* folder of features, made when missing, or "" */
    int32_t max;         /* regions of a picture, 1..GM_REGIONS_MAX */
    int32_t crop;        /* side of the crops in pixels, 1..1024; 0: no pixels, features of the .npz files */
    uint64_t weights;    /* names what computes features from crops; of interest with a cache alone */
    int32_t feature_width; /* of the features that the cache holds; 0 without one */
} gm_region_source_options;

typedef struct gm_region_source gm_region_source;

/* Copies its options. Reads the .jsonl; finds the width of features in a folder of .npz. */
gm_status gm_region_source_open(const gm_region_source_options *options, gm_region_source **source, gm_err *err);
void gm_region_source_close(gm_region_source *source); /* takes NULL */
/* Of the features that get gives: the cache's, or the .npz files' (0 when they hold none, or with crops). */
int32_t gm_region_source_feature_width(const gm_region_source *source);

/* The regions of a record's picture; the caller frees them, and *crops [count, crop, crop, 3] with gm_free. Any number of
 * threads may call this at once.
 *
 * With crop > 0: regions->feature is what the cache holds, and then *crops is NULL; else *crops holds pixels and
 * regions->feature is NULL, until the caller puts features there and stores them. `crops` NULL: no pixels are wanted, the
 * picture is decoded all the same. With crop 0: regions->feature is the .npz file's, or NULL, and no picture is opened
 * where it is not needed for its size.
 * Fails only for what the user must mend (memory, widths of features that differ); everything else is *why, count 0. */
gm_status gm_region_source_get(gm_region_source *source, const gm_record *record, gm_regions *regions, uint8_t **crops,
                               gm_image_status *why, gm_err *err);

/* Keeps regions->feature [count, feature_width] of regions that get gave. Without a cache it does nothing. */
gm_status gm_region_source_store(gm_region_source *source, const gm_regions *regions, gm_err *err);

typedef struct gm_region_counts {
    int64_t records[GM_IMAGE_STATUS_COUNT]; /* by gm_image_status */
    int64_t boxes;       /* given out */
    int64_t dropped;     /* empty, reversed or outside */
    int64_t other_size;  /* pictures whose size is not the record's: their gold boxes may be of another picture */
    int64_t from_cache;
} gm_region_counts;
gm_region_counts gm_region_source_counts(const gm_region_source *source);
/* One line at level info with these counts. */
void gm_region_source_report(const gm_region_source *source);

#endif
