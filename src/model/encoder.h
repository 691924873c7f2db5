/* The text encoder: a post-norm transformer with absolute positions and erf-GELU, as BERT (Devlin et al. 2019), MPNet (Song
 * et al. 2020), RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2020) are. Families differ in names, in where positions
 * begin, in token types and in a bias by distance; one table holds all of that. Tensors keep their Hugging Face names in
 * files. */
#ifndef GM_MODEL_ENCODER_H
#define GM_MODEL_ENCODER_H

#include "distance_bias/distance_bias_op.h"
#include "model/batch.h"
#include "model/layer.h"
#include "tensor/tensor.h"

enum { GM_ENCODER_MAX_LAYERS = 48 };

/* What one "model_type" of config.json means. */
typedef struct gm_family {
    const char *model_type;
    const char *prefix;           /* before all names of the encoder in files of larger models: "bert." */
    gm_layer_names layer;
    bool has_types;               /* token types; all tokens are of type 0 */
    bool has_distances;           /* attention adds a bias by distance, shared by all layers */
    bool reads_pad;               /* config.json may name the padding piece; else it is `pad` */
    int32_t pad;                  /* positions begin behind that of the padding piece; -1: at 0 */
} gm_family;

typedef struct gm_encoder_config {
    const gm_family *family;
    int32_t vocabulary, hidden, layers, heads, ffn;
    int32_t positions;            /* rows of the table of positions */
    int32_t first_position;       /* the row of a sentence's first piece */
    int32_t types;                /* rows of the table of types; 0 without one */
    float eps;
} gm_encoder_config;

typedef struct gm_encoder {
    gm_encoder_config config;
    bool recomputes;              /* training keeps each layer's input only, and computes the layer again on the way back */
    gm_param *word, *position, *type, *norm, *norm_bias, *distance; /* type, distance: NULL where the family has none */
    const gm_param *shape;        /* [GM_SHAPE_BAG * GM_SHAPES, hidden] added to the pieces; NULL: none. The model declares it */
    gm_encoder_layer layer[GM_ENCODER_MAX_LAYERS];
} gm_encoder;

const gm_family *gm_family_find(const char *model_type); /* NULL where it is not known */
/* Reads a Hugging Face config.json: one of the families, hidden_act gelu, absolute positions. `place` stands in messages. */
gm_status gm_encoder_read_config(const char *place, const char *json, size_t size, gm_encoder_config *c, gm_err *err);
/* Pieces that a sentence may have. */
int32_t gm_encoder_max_len(const gm_encoder_config *c);
/* Declares all parameters; with_pooler carries pooler.dense along, frozen. dense_embedding: all word rows are updated each step. */
gm_status gm_encoder_declare(gm_encoder *e, gm_params *ps, bool with_pooler, bool dense_embedding, gm_err *err);
/* Hidden states [tokens, hidden] of the last layer. In prediction each layer gives its memory back. */
gm_status gm_encoder_forward(const gm_encoder *e, gm_tape *t, const gm_batch *batch, gm_tensor **states);
/* The same states, of each word's first piece only: [words, hidden], with less work. */
gm_status gm_encoder_words(const gm_encoder *e, gm_tape *t, const gm_batch *batch, gm_tensor **states);
/* In prediction: gm_encoder_words that also leaves the states [tokens, hidden] in front of layer `layer` (from 0) in *before. */
gm_status gm_encoder_words_keeping(const gm_encoder *e, gm_tape *t, const gm_batch *batch, int32_t layer, gm_tensor **before, gm_tensor **states);
/* In prediction: the states of words from the states in front of layer `layer`, which are lost. */
gm_status gm_encoder_words_from(const gm_encoder *e, gm_tape *t, const gm_batch *batch, int32_t layer, gm_tensor *before, gm_tensor **states);

#endif
