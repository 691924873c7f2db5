/* Any bytes as a file of regions: refused with a message, or boxes within the picture and finite features. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/regions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_err err = { 0 };
    gm_regions r = { 0 };
    if (gm_regions_parse_npz("x", data, size, 5, &r, NULL, &err) != GM_OK) {
        if (strncmp(err.text, "x: ", 3) != 0 || r.box != NULL || r.count != 0) abort();
        return 0;
    }
    if (r.count < 0 || r.count > 5) abort();
    for (int32_t i = 0; i < r.count; i++) {
        gm_box box = r.box[i];
        if (!gm_box_clip(&box, r.width, r.height) || memcmp(&box, &r.box[i], sizeof box) != 0) abort();
        for (int32_t d = 0; d < r.feature_width; d++)
            if (!isfinite(r.feature[(size_t)i * (size_t)r.feature_width + (size_t)d])) abort();
    }
    gm_regions_free(&r);
    return 0;
}
