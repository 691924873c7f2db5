/* The local model: tokenizer, encoder, head and label set; made from a Hugging Face encoder, or read from a folder that
 * training wrote (model.safetensors, config.json, the tokenizer's files, gmner.json). Read-only while workers run it. */
#ifndef GM_MODEL_H
#define GM_MODEL_H

#include "model/encoder.h"
#include "model/heads.h"
#include "model/region.h"
#include "model/vit.h"

typedef enum gm_head_kind { GM_HEAD_SPAN, GM_HEAD_CRF } gm_head_kind;

/* Where embeddings of word shapes are added: nowhere, to the states of words, to these and to the pieces before the encoder. */
typedef enum gm_shape_use { GM_SHAPE_UNUSED, GM_SHAPE_OF_WORDS, GM_SHAPE_OF_BOTH, GM_SHAPE_USES } gm_shape_use;
extern const char *const gm_shape_use_names[GM_SHAPE_USES]; /* none, word, both */

/* What a region looks like to the model: nothing, it sees no pictures; a feature that is given; the state of a small
 * vision encoder that is trained along. */
typedef enum gm_vision_kind { GM_VISION_NONE, GM_VISION_FEATURES, GM_VISION_TINY, GM_VISION_KINDS } gm_vision_kind;
extern const char *const gm_vision_names[GM_VISION_KINDS]; /* none, features, tiny */

typedef struct gm_model_options {
    gm_head_kind head;
    gm_shape_use shape;
    gm_tag_scheme scheme;
    bool is_nested, dense_embedding;
    gm_vision_kind vision;
    int32_t feature_width;    /* of GM_VISION_FEATURES */
    int32_t max_regions;      /* of a picture, where the model sees any */
    gm_triplet debias;        /* of the region head; weight 0: without */
    const char *fine;         /* fine types, which a second classifier tells apart; NULL: none. Read when a model is made */
    bool recomputes;          /* training computes each layer again on the way back, to save its memory */
    int32_t max_len;
    float dropout;
    uint64_t seed;            /* of the initial weights */
} gm_model_options;

typedef struct gm_model {
    gm_model_options options;
    gm_labels labels;
    gm_tokenizer *tokenizer;
    gm_params params;
    int32_t encoder_params;   /* the first so many of params are the encoder's */
    gm_encoder encoder;
    const gm_param *shape;    /* [GM_SHAPE_BAG * GM_SHAPES, hidden] added to the words' states; NULL: none */
    gm_span_head span;        /* of a CRF model that asks about entities its body alone */
    gm_crf_head crf;
    gm_region_head region;    /* of a model that sees pictures */
    gm_vit vit;               /* of GM_VISION_TINY */
    gm_param *fine, *fine_bias; /* [fine types, GM_SPAN_HIDDEN]; NULL: none */
    gm_labels fine_labels;
    char *vision_folder;      /* of the frozen encoder that computes features; NULL: they come in files, or there are none */
    uint64_t vision_weights;  /* names that encoder's weights */
    char *config_json;        /* kept as it came, to be written beside the weights */
    size_t config_size;
} gm_model;

/* A new model over the encoder in `folder` (config.json, the tokenizer's files, model.safetensors); the head is initialised by seed. */
gm_status gm_model_create(const char *folder, const char *labels, const gm_model_options *o, gm_model *m, gm_err *err);
/* A small random encoder (two layers, hidden 64, two heads) whose vocabulary is made of the words of `records`. */
gm_status gm_model_create_tiny(const gm_records *records, const char *labels, const gm_model_options *o, gm_model *m, gm_err *err);
/* A model of the sizes in this config.json, for counting (model/plan.h): no tokenizer, and all its numbers are zero. */
gm_status gm_model_create_bare(const char *place, const char *json, size_t size, const char *labels, const gm_model_options *o, gm_model *m, gm_err *err);
/* Reads a folder that gm_model_save wrote, or a run folder (then its best/). for_training also makes moments. */
gm_status gm_model_load(const char *folder, bool for_training, gm_model *m, gm_err *err);
/* Writes the files into an existing folder. */
gm_status gm_model_save(const gm_model *m, const char *folder, gm_err *err);
void gm_model_destroy(gm_model *m);

/* What the model asks of the scenes of its batches; without pictures and fine types none needs to be filled. */
bool gm_model_asks(const gm_model *m);
gm_scene_options gm_model_scene(const gm_model *m);

/* Forward pass and loss of one shard, recorded on the tape: its loss is added to *t->loss. */
gm_status gm_model_loss(const gm_model *m, gm_tape *t, const gm_batch *b);
/* What a pass of prediction leaves on its tape for samples of dropout (model/uncertainty.h). */
typedef struct gm_trace {
    int32_t layer;            /* asked for: states in front of this layer; below 0: none */
    gm_tensor *before;        /* these states [pieces, hidden]; NULL where none were asked for */
    gm_tensor *projected;     /* of the span head */
    const float *marginal;    /* [words, tags] of the tagger, in host memory */
    gm_asked asked;           /* all that was found, where the model asks about entities */
    gm_region_view view;      /* of the region head; NULLs where no picture was in sight */
} gm_trace;

/* States of words with what their shapes add, all that a head sees. In prediction it may begin with the states in front of
 * a layer, which are lost; `before` NULL: with the pieces. */
gm_status gm_model_words(const gm_model *m, gm_tape *t, const gm_batch *b, int32_t layer, gm_tensor *before, gm_tensor **states);
/* Entities of each sentence of a batch, in order of start, in host memory until the pass ends: sentence s has found[first[s]] ..
 * found[first[s + 1] - 1]. */
gm_status gm_model_find(const gm_model *m, gm_tape *t, const gm_batch *b, gm_found **found, int32_t **first);
/* The same, and a trace of the pass: *trace names the layer. */
gm_status gm_model_find_traced(const gm_model *m, gm_tape *t, const gm_batch *b, gm_trace *trace, gm_found **found, int32_t **first);

#endif
