/* What image_embedding records on the tape: the gradients of its two parameters; that of x is the one it has. */
#ifndef GM_IMAGE_EMBEDDING_OP_H
#define GM_IMAGE_EMBEDDING_OP_H

#include "tensor/tensor.h"

/* Adds to x [images, rows] itself, which nothing else has read yet and whose maker does not need it on the way back. */
gm_status gm_op_image_embedding(gm_tape *t, const gm_pack *images, gm_tensor *x, const gm_param *class_token, const gm_param *position);

#endif
