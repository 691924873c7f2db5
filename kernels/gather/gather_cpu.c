/* gather on the CPU: rows are distinct in both directions, so threads share rows and the result is the same for any
 * number of them. */
#include "gather/gather.h"

#include <string.h>

#include "activation_cpu.h"
#include "dropout_cpu.h"

enum { TILE = 256 }; /* columns whose masks are drawn at once; a multiple of 32 */

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static void zero_rows(gm_act *x, int32_t rows, int32_t width, int threads)
{
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int32_t r = 0; r < rows; r++) memset(x + (size_t)r * (size_t)width, 0, (size_t)width * sizeof *x);
}

static gm_status gather_forward(const gm_gather *a, gm_device *dev)
{
    const size_t width = (size_t)a->width;
    const int32_t n = *a->n_rows;
    zero_rows((gm_act *)a->out + (size_t)n * width, a->capacity - n, a->width, dev->threads);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t m = 0; m < n; m++) {
        const gm_act *restrict x = (const gm_act *)a->x + (size_t)a->index[m] * width;
        gm_act *restrict out = (gm_act *)a->out + (size_t)m * width;
        if (a->drop.p == 0.0f) {
            memcpy(out, x, width * sizeof *out);
            continue;
        }
        for (int32_t first = 0; first < a->width; first += TILE) {
            const int32_t columns = least(TILE, a->width - first);
            float scale[TILE];
            gm_drop_scales(&a->drop, dev->step->seed, a->token[m].sequence, (uint32_t)a->token[m].position,
                           (uint32_t)first, columns, scale);
            for (int32_t c = 0; c < columns; c++) out[first + c] = gm_act_of(gm_get(x[first + c]) * scale[c]);
        }
    }
    return GM_OK;
}

static gm_status gather_backward(const gm_gather_grad *a, gm_device *dev)
{
    const size_t width = (size_t)a->width;
    if (!a->add) zero_rows(a->dx, a->source, a->width, dev->threads);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t m = 0; m < *a->n_rows; m++) {
        const gm_act *restrict dout = (const gm_act *)a->dout + (size_t)m * width;
        gm_act *restrict dx = (gm_act *)a->dx + (size_t)a->index[m] * width;
        if (a->drop.p == 0.0f) {
            for (size_t c = 0; c < width; c++) dx[c] = gm_act_of(gm_get(dx[c]) + gm_get(dout[c]));
            continue;
        }
        for (int32_t first = 0; first < a->width; first += TILE) {
            const int32_t n = least(TILE, a->width - first);
            float scale[TILE];
            gm_drop_scales(&a->drop, dev->step->seed, a->token[m].sequence, (uint32_t)a->token[m].position,
                           (uint32_t)first, n, scale);
            for (int32_t c = 0; c < n; c++) dx[first + c] = gm_act_of(gm_get(dx[first + c]) + gm_get(dout[first + c]) * scale[c]);
        }
    }
    return GM_OK;
}

GM_KERNELS(gather)
