/* embedding_bag on the CPU. Forward runs over rows, backward over column blocks with all rows in order in each: a
 * column's sum never depends on how many threads there are. */
#include "embedding_bag/embedding_bag.h"

#include <string.h>

#include "activation_cpu.h"

static gm_status embedding_bag_forward(const gm_embedding_bag *a, gm_device *dev)
{
    const size_t width = (size_t)a->width, bag = (size_t)a->bag;
    const int32_t n = *a->n_rows;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t r = 0; r < n; r++) {
        gm_act *restrict x = (gm_act *)a->x + (size_t)r * width;
        const uint8_t *index = a->index + (size_t)r * bag;
        for (size_t c = 0; c < width; c++) {
            float sum = gm_get(x[c]);
            for (size_t k = 0; k < bag; k++) sum += a->table[index[k] * width + c];
            x[c] = gm_act_of(sum);
        }
    }
    return GM_OK;
}

static void add_columns(float *restrict sum, const gm_act *restrict row, size_t n)
{
    for (size_t c = 0; c < n; c++) sum[c] += gm_get(row[c]);
}

static gm_status embedding_bag_backward(const gm_embedding_bag_grad *a, gm_device *dev)
{
    const int32_t block = (a->width + dev->threads - 1) / dev->threads;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->width; first += block) {
        const size_t width = (size_t)a->width, n = (size_t)(first + block < a->width ? block : a->width - first), bag = (size_t)a->bag;
        for (int32_t i = 0; i < a->rows && !a->add; i++) memset(a->dtable + (size_t)i * width + first, 0, n * sizeof *a->dtable);
        for (int32_t r = 0; r < *a->n_rows; r++)
            for (size_t k = 0; k < bag; k++)
                add_columns(a->dtable + a->index[(size_t)r * bag + k] * width + first, (const gm_act *)a->dx + (size_t)r * width + first, n);
    }
    return GM_OK;
}

GM_KERNELS(embedding_bag)
