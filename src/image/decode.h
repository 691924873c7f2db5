/* What image.c asks of the two decoders; each stands in a file of its own with the library it needs. Inside src/image only.
 * `place` begins every message. */
#ifndef GM_IMAGE_DECODE_H
#define GM_IMAGE_DECODE_H

#include "image/image.h"

gm_status gm_png_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err);
gm_status gm_png_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err);
gm_status gm_jpeg_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err);
gm_status gm_jpeg_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err);

/* The sides that a file declares, against the limits: before anything is allocated for them. */
gm_status gm_image_check_size(const char *place, uint64_t width, uint64_t height, gm_err *err);

#endif
