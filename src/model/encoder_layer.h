/* The two halves of an encoder layer, for the tests that hold each against published numbers. Private to src/model;
 * users take encoder.h. */
#ifndef GM_MODEL_ENCODER_LAYER_H
#define GM_MODEL_ENCODER_LAYER_H

#include "model/encoder.h"

/* x1 = norm(x + drop(attention(x))) of layer i; `distances` of the encoder's families that have them, else NULL. */
gm_status gm_encoder_attention_block(const gm_encoder *e, int32_t i, gm_tape *t, const gm_pack *tokens, const gm_distances *distances,
                                     gm_tensor *x, gm_tensor **x1);
/* y = norm(x1 + drop(ffn(x1))) of layer i. */
gm_status gm_encoder_ffn_block(const gm_encoder *e, int32_t i, gm_tape *t, const gm_pack *tokens, gm_tensor *x1, gm_tensor **y);

#endif
