/* The encoder of images: a vision transformer (Dosovitskiy et al. 2021) as CLIP has it (Radford et al. 2021): patches as one
 * product, a class token, learned positions, a norm before the first layer, layers with the norms before attention and
 * feed-forward, no dropout. What it gives of an image is the state of its class token behind a last norm, or its projection.
 * Read from a Hugging Face folder (CLIPModel, CLIPVisionModel or CLIPVisionModelWithProjection), or of the project's own,
 * trained from nothing. Names in files are Hugging Face's. */
#ifndef GM_MODEL_VIT_H
#define GM_MODEL_VIT_H

#include "base/json.h"
#include "model/layer.h"

enum { GM_VIT_MAX_LAYERS = 48, GM_VIT_MAX_SIDE = 1024 };

typedef struct gm_vit_config {
    int32_t image, patch;         /* sides in pixels */
    int32_t hidden, layers, heads, ffn;
    int32_t projection;           /* columns that the file's visual_projection has; 0: the file says nothing of one */
    gm_activation activation;     /* of the feed-forward block */
    float eps;
    float mean[3], std[3];        /* of red, green and blue, from 0 to 1 */
} gm_vit_config;

typedef struct gm_vit {
    gm_vit_config config;         /* these three are the caller's, before gm_vit_declare */
    gm_rate rate;                 /* that its parameters are trained with */
    bool is_projected;            /* states are the projections that CLIP compares with texts; config.projection columns */
    bool is_frozen;
    gm_param *patch, *class_token, *position, *pre, *pre_bias, *post, *post_bias, *project; /* project: NULL without */
    gm_encoder_layer layer[GM_VIT_MAX_LAYERS];
    int32_t first_param, params;  /* of the store, all its own */
    char prefix[64];              /* before all names but the projection's, which has what stands before "vision_model." */
} gm_vit;

/* Reads config.json: that of a CLIP (its "vision_config") or of its vision model alone. What it leaves out has the value that
 * transformers gives it. mean and std become CLIP's. `place` stands in messages. */
gm_status gm_vit_read_config(const char *place, const char *json, size_t size, gm_vit_config *c, gm_err *err);
/* Reads preprocessor_config.json: mean and std; images must be scaled to the size that the config asks for, bicubic. */
gm_status gm_vit_read_preprocessor(const char *place, const char *json, size_t size, gm_vit_config *c, gm_err *err);
/* Both files of a folder; without the second one CLIP's mean and std stand. */
gm_status gm_vit_read_folder(const char *folder, gm_vit_config *c, gm_err *err);
/* The config as a JSON object that gm_vit_read_config reads back, mean and std included, and transformers opens. */
gm_status gm_vit_write_config(const gm_vit_config *c, gm_buffer *out, gm_err *err);
/* A vision transformer to be trained from nothing: "vit-tiny". GM_ERR_CONFIG names all there are. */
gm_status gm_vit_preset(const char *name, gm_vit_config *c, gm_err *err);

/* Declares all parameters under prefix + Hugging Face's names; prefix is "vision_model." unless two are in one store. */
gm_status gm_vit_declare(gm_vit *v, gm_params *ps, const char *prefix, bool is_frozen, gm_err *err);
/* Reads them all from a file of any of the three classes, or from one that the project wrote. */
gm_status gm_vit_load(const gm_vit *v, gm_params *ps, const gm_safetensors *st, gm_err *err);

/* Columns of the states: hidden or projection. */
static inline int32_t gm_vit_columns(const gm_vit *v) { return v->is_projected ? v->config.projection : v->config.hidden; }
static inline int32_t gm_vit_patches(const gm_vit_config *c) { return (c->image / c->patch) * (c->image / c->patch); }

/* States [images, columns] of the images' class tokens. pixels [capacity, side, side, 3] bytes in device memory, rows top
 * down; of `images` only the counts are read: *n images are there, the rest of the capacity may hold anything and gives
 * zeros. Frozen: nothing is recorded, and the states want no gradient. In prediction the states are all that stays. */
gm_status gm_vit_forward(const gm_vit *v, gm_tape *t, const gm_pack *images, const uint8_t *pixels, gm_tensor **states);

#endif
