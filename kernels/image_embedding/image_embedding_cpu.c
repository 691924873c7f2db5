/* image_embedding on the CPU. Forward runs over images, backward over places with all images in order in each: a sum never
 * depends on how many threads there are. */
#include "image_embedding/image_embedding.h"

#include <string.h>

#include "activation_cpu.h"

static gm_status image_embedding_forward(const gm_image_embedding *a, gm_device *dev)
{
    const size_t width = (size_t)a->width;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t i = 0; i < *a->n_images; i++)
        for (int32_t r = 0; r < a->rows; r++) {
            gm_act *restrict x = (gm_act *)a->x + ((size_t)i * (size_t)a->rows + (size_t)r) * width;
            const float *restrict position = a->position + (size_t)r * width;
            if (r == 0)
                for (size_t c = 0; c < width; c++) x[c] = gm_act_of(gm_get(x[c]) + (a->class_token[c] + position[c]));
            else
                for (size_t c = 0; c < width; c++) x[c] = gm_act_of(gm_get(x[c]) + position[c]);
        }
    return GM_OK;
}

/* to (+)= the sum of place r of all images. */
static void sum_place(const gm_image_embedding_grad *a, int32_t r, bool add, float *restrict to)
{
    const size_t width = (size_t)a->width;
    if (!add) memset(to, 0, width * sizeof *to);
    for (int32_t i = 0; i < *a->n_images; i++) {
        const gm_act *restrict dx = (const gm_act *)a->dx + ((size_t)i * (size_t)a->rows + (size_t)r) * width;
        for (size_t c = 0; c < width; c++) to[c] += gm_get(dx[c]);
    }
}

static gm_status image_embedding_backward(const gm_image_embedding_grad *a, gm_device *dev)
{
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t r = 0; r < a->rows; r++) {
        if (r == 0 && a->dclass_token != NULL) sum_place(a, 0, a->add_dclass_token, a->dclass_token);
        if (a->dposition != NULL) sum_place(a, r, a->add_dposition, a->dposition + (size_t)r * (size_t)a->width);
    }
    return GM_OK;
}

GM_KERNELS(image_embedding)
