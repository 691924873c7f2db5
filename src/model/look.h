/* Where a model's pictures come from, in training and prediction alike: regions and their crops or features from files
 * (image/region_source.h), and features that a frozen vision encoder computes of the crops. */
#ifndef GM_MODEL_LOOK_H
#define GM_MODEL_LOOK_H

#include "model/worker.h"

typedef struct gm_look_options {
    const char *images, *regions, *cache; /* as of gm_region_source_options */
    int32_t max;
    gm_vision_kind kind;      /* not GM_VISION_NONE */
    const char *encoder;      /* computes features: folder of a CLIP, or of a model with vision=tiny; NULL: they come in files */
} gm_look_options;

typedef struct gm_look gm_look;

gm_status gm_look_open(const gm_look_options *o, gm_look **look, gm_err *err);
void gm_look_close(gm_look *look); /* before the workers that it was used with; takes NULL */
int32_t gm_look_width(const gm_look *look); /* of features; 0 where the model sees pixels */
/* A new model is told which encoder its features are of; of one that was read it is checked. */
gm_status gm_look_tell(const gm_look *look, gm_model *m, gm_err *err);
/* Opens what a model that was read needs; `encoder` NULL: the folder that the model names. *look NULL for a text model. */
gm_status gm_look_open_for(gm_model *m, const char *images, const char *regions, const char *cache, const char *encoder, gm_look **look, gm_err *err);
/* Takes the pictures of samples that have none yet. A missing or broken one leaves its sample text only, and is reported. */
gm_status gm_look_take(gm_look *look, gm_workers *w, gm_sample *samples, size_t count, gm_err *err);
void gm_look_report(const gm_look *look); /* what became of all records, in the log */

#endif
