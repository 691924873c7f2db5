/* The two halves of an encoder layer, for the tests that hold each against published numbers. Private to src/model;
 * users take bert.h. */
#ifndef GM_MODEL_BERT_LAYER_H
#define GM_MODEL_BERT_LAYER_H

#include "model/bert.h"

/* x1 = norm(x + drop(attention(x))) of layer i. */
gm_status gm_bert_attention_block(const gm_bert *bert, int32_t i, gm_tape *t, const gm_pack *tokens, gm_tensor *x,
                                  gm_tensor **x1);
/* y = norm(x1 + drop(ffn(x1))) of layer i. */
gm_status gm_bert_ffn_block(const gm_bert *bert, int32_t i, gm_tape *t, const gm_pack *tokens, gm_tensor *x1,
                            gm_tensor **y);

#endif
