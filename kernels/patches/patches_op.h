/* What patches gives the tape: the rows, which want no gradient, and the pack of these rows. */
#ifndef GM_PATCHES_OP_H
#define GM_PATCHES_OP_H

#include "tensor/tensor.h"

/* How bytes become numbers: (byte / 255 - mean) / std of each channel. */
typedef struct gm_pixel_norm { float mean[3], std[3]; } gm_pixel_norm;

/* pixels [images' capacity, side, side, 3] in device memory. *tokens are the rows as sequences, an image each; they have no keys,
 * so no dropout may fall on them. */
gm_status gm_op_patches(gm_tape *t, const gm_pack *images, const uint8_t *pixels, int32_t side, int32_t patch, gm_pixel_norm norm,
                        gm_pack **tokens, gm_tensor **y);

#endif
