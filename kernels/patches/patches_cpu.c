/* patches on the CPU: threads share rows. */
#include "patches/patches.h"

#include <string.h>

#include "activation_cpu.h"

/* One channel of a patch, whose first byte is `from`. */
static void channel(const uint8_t *from, gm_act *to, float scale, float shift, int32_t side, int32_t patch)
{
    for (int32_t y = 0; y < patch; y++, from += 3 * side, to += patch)
        for (int32_t x = 0; x < patch; x++) to[x] = gm_act_of((float)from[3 * x] * scale + shift);
}

static gm_status patches_forward(const gm_patches *a, gm_device *dev)
{
    const int32_t across = a->side / a->patch, rows = 1 + across * across, n = *a->n_images;
    const size_t area = (size_t)a->patch * (size_t)a->patch, width = 3 * area;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t r = 0; r < a->images * rows; r++) {
        gm_act *to = (gm_act *)a->out + (size_t)r * width;
        const int32_t i = r / rows, p = r % rows - 1;
        if (i >= n || p < 0) {
            memset(to, 0, width * sizeof *to);
            continue;
        }
        const uint8_t *from = a->pixels + 3 * (((size_t)i * (size_t)a->side + (size_t)(p / across * a->patch)) * (size_t)a->side + (size_t)(p % across * a->patch));
        for (int32_t c = 0; c < 3; c++) channel(from + c, to + (size_t)c * area, a->scale[c], a->shift[c], a->side, a->patch);
    }
    for (int32_t i = 0; i <= a->images; i++) a->cu[i] = (i < n ? i : n) * rows;
    *a->n_rows = n * rows;
    return GM_OK;
}

GM_KERNELS_FORWARD(patches)
