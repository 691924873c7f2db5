/* Pictures: 8-bit RGB in memory, read from PNG and JPEG, written as PNG, resized as Pillow does it.
 *
 * Reading takes the kind from the content, never from the name, and refuses what would exhaust memory before anything is
 * allocated for it. The pixels are those of Pillow's Image.open(path).convert("RGB"), bit for bit: grey and palettes
 * become RGB, alpha is dropped (not blended), 16 bits keep their upper 8 (where Pillow clips grey), CMYK is less its black;
 * an EXIF orientation and colour profiles are not applied. A file that is cut or damaged is an error, even where the library
 * behind would fill the rest with grey. */
#ifndef GM_IMAGE_IMAGE_H
#define GM_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/records.h"

#define GM_IMAGE_MAX_BYTES ((size_t)64 << 20) /* of a file */
#define GM_IMAGE_MAX_SIDE 32768
#define GM_IMAGE_MAX_PIXELS 100000000

typedef struct gm_image {
    int32_t width, height; /* at least 1 once there are pixels */
    uint8_t *rgb;          /* [height, width, 3], rows top down; gm_malloc'ed */
} gm_image;

/* Messages begin with the path (the place). GM_ERR_DATA: not a picture, cut, damaged or beyond the limits; GM_ERR_IO:
 * cannot be read; GM_ERR_MISSING: the build lacks the library. `to` is written on success only. */
gm_status gm_image_read(const char *path, gm_image *to, gm_err *err);
gm_status gm_image_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err);
/* Width and height as the file's header says, without decoding; the limits hold here too. */
gm_status gm_image_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err);
/* The bytes of a file as gm_image_decode takes them, gm_malloc'ed: refused beyond GM_IMAGE_MAX_BYTES, folders and pipes too. */
gm_status gm_image_load(const char *path, char **bytes, size_t *size, gm_err *err);

/* All pixels 0; the sides from 1 to GM_IMAGE_MAX_SIDE. */
gm_status gm_image_create(int32_t width, int32_t height, gm_image *to, gm_err *err);
gm_status gm_image_write_png(const gm_image *image, const char *path, gm_err *err); /* written beside and renamed */
gm_status gm_image_encode_png(const gm_image *image, gm_buffer *to, gm_err *err); /* appended: the bytes of such a file */
gm_status gm_image_encode_jpeg(const gm_image *image, int quality, gm_buffer *to, gm_err *err); /* quality: 1..100 */
void gm_image_free(gm_image *image); /* takes an empty one, and leaves one */

/* The crop rounded outward to whole pixels and clipped to the picture, then resized: the bytes of Pillow's
 * crop(...).resize((width, height), BICUBIC), versions 3.3 to 12 (13 resizes columns first where that is less work, which
 * moves a few bytes). GM_ERR_DATA where no pixel is left or a corner is no number. */
gm_status gm_image_resize(const gm_image *from, gm_box crop, int32_t width, int32_t height, gm_image *to, gm_err *err);
/* The same into memory of the caller's: rgb [height, width, 3]. */
gm_status gm_image_resize_into(const gm_image *from, gm_box crop, int32_t width, int32_t height, uint8_t *rgb, gm_err *err);

/* Whether a picture's name stays inside the folder it is looked up in: no empty part, "." or "..", no backslash, no control
 * character, so not absolute either. Folders below are fine. */
bool gm_image_name_is_inside(const char *name);

#endif
