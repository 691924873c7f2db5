/* BERT encoder (Devlin et al. 2019): post-norm transformer, absolute positions, erf-GELU. Tensors keep their Hugging Face
 * names in files; in memory q, k and v of a layer are one matrix, so that one product serves. */
#ifndef GM_MODEL_BERT_H
#define GM_MODEL_BERT_H

#include "model/batch.h"
#include "tensor/tensor.h"

enum { GM_BERT_MAX_LAYERS = 48 };

typedef struct gm_bert_config {
    int32_t vocabulary, hidden, layers, heads, ffn, positions, types;
    float eps;
} gm_bert_config;

typedef struct gm_bert_layer {
    gm_param *qkv, *qkv_bias, *out, *out_bias, *norm1, *norm1_bias;
    gm_param *up, *up_bias, *down, *down_bias, *norm2, *norm2_bias;
} gm_bert_layer;

typedef struct gm_bert {
    gm_bert_config config;
    gm_param *word, *position, *type, *norm, *norm_bias;
    gm_bert_layer layer[GM_BERT_MAX_LAYERS];
} gm_bert;

/* Reads a Hugging Face config.json: model_type bert, hidden_act gelu, absolute positions. `place` stands in messages. */
gm_status gm_bert_read_config(const char *place, const char *json, size_t size, gm_bert_config *c, gm_err *err);
/* Declares all parameters; with_pooler carries pooler.dense along, frozen. dense_embedding: all word rows are updated each step. */
gm_status gm_bert_declare(gm_bert *bert, gm_params *ps, bool with_pooler, bool dense_embedding, gm_err *err);
/* Hidden states [tokens, hidden] of the last layer. In prediction each layer gives its memory back. */
gm_status gm_bert_forward(const gm_bert *bert, gm_tape *t, const gm_batch *batch, gm_tensor **states);

#endif
