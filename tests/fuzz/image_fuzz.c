/* Any bytes as a picture: refused with a message, or pixels of the size that probing said. Pictures of more than a million
 * pixels are only probed, so that the fuzzer's time goes into the decoders. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_err err = { 0 };
    gm_image image = { 0 };
    int32_t width = 0, height = 0;
    const gm_status probed = gm_image_probe("x", data, size, &width, &height, &err);
    if (probed != GM_OK && strncmp(err.text, "x: ", 3) != 0) abort();
    if (probed == GM_OK && (width < 1 || height < 1 || (int64_t)width * height > GM_IMAGE_MAX_PIXELS)) abort();
    if ((int64_t)width * height > 1000000) return 0;
    const gm_status status = gm_image_decode("x", data, size, &image, &err);
    if ((status == GM_OK) != (image.rgb != NULL)) abort();
    if (status != GM_OK) return 0;
    if (probed != GM_OK || image.width != width || image.height != height) abort();
    uint8_t small[4 * 4 * 3], sum = 0;
    for (size_t i = 0; i < 3 * (size_t)width * (size_t)height; i++) sum ^= image.rgb[i]; /* each byte is there to be read */
    if (gm_image_resize_into(&image, (gm_box) { 0, 0, width, height }, 4, 4, small, &err) != GM_OK) abort();
    gm_image_free(&image);
    volatile uint8_t used = sum;
    (void)used;
    return 0;
}
