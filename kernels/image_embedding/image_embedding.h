/* image_embedding: x[i, r] += position[r], and x[i, 0] += class_token (Dosovitskiy et al. 2021, equation 1): what an image's rows
 * get beside their patches. x is there already (the patches' product, zero in row 0), so nothing else is made and its gradient
 * passes by untouched. Sums are taken in float and rounded once; rows of images from *n_images on are left as they are.
 * Work per element: 1 read and 1 write of x, bound by memory. */
#ifndef GM_IMAGE_EMBEDDING_H
#define GM_IMAGE_EMBEDDING_H

#include "kernels.h"

struct gm_image_embedding {
    void *x;                  /* [images, rows, width] */
    const float *class_token; /* [width] */
    const float *position;    /* [rows, width] */
    const int32_t *n_images;
    int32_t images, rows, width; /* images: capacity */
};

/* dposition[r] = the sum of dx[i, r] over all images, dclass_token that of dx[i, 0]; added where asked for, NULL: frozen. In a
 * fixed order: the same bits on every run. */
struct gm_image_embedding_grad {
    const void *dx;           /* [images, rows, width] */
    float *dclass_token, *dposition;
    bool add_dclass_token, add_dposition;
    const int32_t *n_images;
    int32_t images, rows, width;
};

#endif
