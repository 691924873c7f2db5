/* patches: images as rows of one product (Dosovitskiy et al. 2021, section 3.1). Image i has a row for its class token, which
 * is zero, and behind it one a patch, left to right and top down: row i (1 + P) + 1 + p. Columns are those of a convolution's
 * weight [out, 3, patch, patch], values byte * scale + shift of their channel. Rows behind the last image are zero.
 * Where images begin is given as well: they are sequences of one length, so nobody else needs to know.
 * Work: 1 byte read and one activation written a value. */
#ifndef GM_PATCHES_H
#define GM_PATCHES_H

#include "kernels.h"

struct gm_patches {
    const uint8_t *pixels;    /* [images, side, side, 3] rows top down; those of images behind *n_images may be anything */
    float scale[3], shift[3];
    void *out;                /* [images * (1 + P), 3 * patch * patch], P = (side / patch)^2 */
    int32_t *cu;              /* [images + 1]: min(i, *n_images) * (1 + P) */
    int32_t *n_rows;          /* *n_images * (1 + P) */
    const int32_t *n_images;
    int32_t images, side, patch; /* images: capacity; side a multiple of patch */
};

#endif
