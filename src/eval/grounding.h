/* What grounding is worth: EEG and GMNER of predictions beside those of the same spans and types with other boxes, and
 * the recall of the regions that were offered (docs/evaluation.md, "Baselines of grounding"). */
#ifndef GM_EVAL_GROUNDING_H
#define GM_EVAL_GROUNDING_H

#include "eval/metrics.h"

/* The regions offered for the sample of this record. The boxes must stay until the next call; no image: count 0. */
typedef gm_status (*gm_regions_of)(void *context, const gm_record *record, const gm_box **boxes, int32_t *count, gm_err *err);

typedef enum gm_boxes_from {
    GM_BOXES_PREDICTED, /* as they are */
    GM_BOXES_NULL,      /* none */
    GM_BOXES_LARGEST,   /* the region of the largest area; of equal ones the first */
    GM_BOXES_RANDOM,    /* a region by (seed, id, offsets of the entity) */
    GM_BOXES_BEST,      /* upper bound: of the gold entity with this key, its best region, or none as it has none */
    GM_BOXES_KINDS
} gm_boxes_from;
extern const char *const gm_boxes_names[GM_BOXES_KINDS]; /* "predicted", "null", "largest", "random", "upper_bound" */

typedef struct gm_coverage { char *type; int64_t groundable, covered; } gm_coverage; /* type as compared */

typedef struct gm_grounding {
    gm_score eeg[GM_BOXES_KINDS], gmner[GM_BOXES_KINDS];
    int64_t groundable, covered; /* gold entities with boxes; those of which a region reaches a box: recall@threshold */
    gm_coverage *types;          /* the same by type, sorted by name */
    int32_t type_count;
    size_t type_capacity;
    int64_t samples, regions, without_regions; /* samples without any */
} gm_grounding;

/* Pairs and refuses as gm_evaluate; gm_grounding_free afterwards. */
gm_status gm_ground(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, uint64_t seed,
                    gm_regions_of regions_of, void *context, gm_grounding *to, gm_err *err);
void gm_grounding_free(gm_grounding *g);
gm_status gm_grounding_table(const gm_grounding *g, gm_buffer *out, gm_err *err);
gm_status gm_grounding_json(const gm_grounding *g, gm_buffer *out, gm_err *err); /* one object, no line's end */

#endif
