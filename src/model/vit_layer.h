/* One layer of the encoder of images, for the test that holds it against published numbers. Private to src/model; users take
 * vit.h. */
#ifndef GM_MODEL_VIT_LAYER_H
#define GM_MODEL_VIT_LAYER_H

#include "model/vit.h"

/* The sum that runs through all layers, and its norm, which the next block reads. */
typedef struct gm_vit_stream { gm_tensor *sum, *norm; } gm_vit_stream;

/* rows of x, with the first norm of layer 0. */
gm_status gm_vit_enter(const gm_vit *v, gm_tape *t, const gm_pack *rows, gm_tensor *x, gm_vit_stream *s);
/* Layer i, which is not the last one; its last norm is the first one of the layer behind it. */
gm_status gm_vit_layer(const gm_vit *v, int32_t i, gm_tape *t, const gm_pack *rows, gm_vit_stream *s);

#endif
