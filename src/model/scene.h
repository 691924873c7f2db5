/* What a batch shows beside its words: regions of the sentences' pictures, and the entities whose regions and fine types
 * are asked for. Packed like words; a text-only model has none of it. */
#ifndef GM_MODEL_SCENE_H
#define GM_MODEL_SCENE_H

#include "backend/device_memory.h"
#include "image/region_source.h"
#include "span_vector/span_vector.h"
#include "tensor/tensor.h"

typedef struct gm_sample gm_sample;
typedef struct gm_batch gm_batch;
typedef struct gm_found gm_found;

/* What a model is told of a region beside its look: x1 y1 x2 y2 in parts of the picture's sides, its area, width and height
 * likewise, and the detector's score. */
enum { GM_REGION_GEOMETRY = 8, GM_MAX_REGIONS = 64 };

/* The picture of a sample; count 0: none. */
typedef struct gm_picture {
    gm_regions regions;
    uint8_t *crops;               /* [count, side, side, 3] or NULL */
    float *target, *iou;          /* [gold, count + 1] by gm_region_target; NULL without gold */
} gm_picture;

/* Takes the regions of the sample's record, and targets for its gold. A missing picture leaves it empty. */
gm_status gm_picture_take(gm_sample *s, gm_region_source *source, gm_err *err);
void gm_picture_free(gm_picture *p);

/* Entities that a head looks at: gold ones in training, found ones in prediction. All arrays in device memory. */
typedef struct gm_asked {
    gm_pack pack;                 /* rows are entities, in the order of their sentences */
    const gm_entity_span *span;   /* [pack.capacity] rows of first and last word in the batch */
    const int32_t *cu_scores;     /* [pack.capacity + 1]: an entity has a score for each region of its sentence, and the last for none */
    const float *target, *iou;    /* [scores]; NULL in prediction */
    const uint8_t *fine;          /* [pack.capacity] class of the fine type, GM_NO_LABEL: not known; NULL in prediction */
    int32_t scores;               /* room for so many */
} gm_asked;

typedef struct gm_scene_options {
    int32_t feature_width;        /* 0: none */
    int32_t side;                 /* of crops; 0: none */
    int32_t regions, entities;    /* room for at least so many, for captured steps; 0: what the samples need */
    int32_t max_regions;          /* of a picture */
} gm_scene_options;

typedef struct gm_scene {
    gm_pack regions;
    const void *feature;          /* [regions.capacity, feature_width] activations, or NULL */
    const void *geometry;         /* [regions.capacity, GM_REGION_GEOMETRY] activations */
    const uint8_t *crops;         /* [regions.capacity, side, side, 3] or NULL */
    gm_asked gold;
    const int32_t *region_cu;     /* regions.cu as the host reads it */
    gm_mirror block;              /* all of the above */
} gm_scene;

gm_status gm_scene_reserve(gm_scene *s, int32_t sequences, gm_scene_options o, gm_device *dev, gm_err *err);
/* Fills b->scene from the samples that b was filled from, and sends it; blocks are reused as those of the batch are. */
gm_status gm_scene_fill(gm_batch *b, const gm_sample *const *samples, int32_t count, gm_scene_options o, gm_err *err);
/* Spans of found entities, which stand in sentence s from first[s] to first[s + 1] - 1, as kernels read them; wide ones by
 * their first GM_SPAN_WIDTHS words. The memory is the tape's. */
gm_status gm_asked_of_found(gm_tape *t, const gm_batch *b, const gm_found *found, const int32_t *first, bool is_nested, gm_asked *a);

#endif
