/* What a transformer layer is made of, wherever its norms stand: parameters under the names of their files, attention and
 * feed-forward. The encoders of text (encoder.h, norms behind) and of images (vit.h, norms before) put residual sums and
 * norms between them. */
#ifndef GM_MODEL_LAYER_H
#define GM_MODEL_LAYER_H

#include "distance_bias/distance_bias_op.h"
#include "linear/linear_op.h"
#include "tensor/tensor.h"

/* Names within a layer, without ".weight" and ".bias". */
typedef struct gm_layer_names {
    const char *attention[4];     /* q, k, v and out */
    const char *norm1, *up, *down, *norm2;
} gm_layer_names;

/* q, k and v are one matrix in memory, so that one product serves. */
typedef struct gm_encoder_layer {
    gm_param *qkv, *qkv_bias, *out, *out_bias, *norm1, *norm1_bias;
    gm_param *up, *up_bias, *down, *down_bias, *norm2, *norm2_bias;
} gm_encoder_layer;

/* Declares parameters of one model part under a common prefix. */
typedef struct gm_declarer {
    gm_params *ps;
    gm_rate rate;
    bool is_frozen;
    float sigma;                  /* of the first values of matrices */
    char prefix[96];
    gm_err *err;
} gm_declarer;

/* names: of the parts in files, NULL behind the last; sizes, rate and frozen come from the other arguments. */
gm_status gm_declare(const gm_declarer *d, const char *const *names, int32_t rows, int32_t cols, gm_param_spec kind, gm_param **p);
gm_status gm_declare_matrix(const gm_declarer *d, const char *name, int32_t rows, int32_t cols, gm_param **p);
gm_status gm_declare_vector(const gm_declarer *d, const char *name, int32_t size, gm_init_kind init, gm_param **p);
gm_status gm_declare_norm(const gm_declarer *d, const char *name, int32_t size, gm_param **w, gm_param **b);
gm_status gm_declare_layer(const gm_declarer *d, const gm_layer_names *names, int32_t hidden, int32_t ffn, gm_encoder_layer *l);

/* Attention of the layer with this number before its output matrix; `bias` by distance or NULL. */
gm_status gm_layer_mix(const gm_encoder_layer *l, int32_t number, int32_t heads, gm_tape *t, const gm_pack *tokens, const gm_distances *bias,
                       gm_tensor *x, gm_tensor **mixed);
/* The same with its output matrix. */
gm_status gm_layer_attention(const gm_encoder_layer *l, int32_t number, int32_t heads, gm_tape *t, const gm_pack *tokens,
                             const gm_distances *bias, gm_tensor *x, gm_tensor **attended);
gm_status gm_layer_ffn(const gm_encoder_layer *l, gm_activation act, gm_tape *t, gm_tensor *x, gm_tensor **y);

#endif
