/* embedding on the CPU. Forward runs over tokens, backward over column blocks with all tokens in order in each: a
 * column's sum never depends on how many threads there are. */
#include "embedding/embedding.h"

#include <string.h>

#include "activation_cpu.h"

static gm_status embedding_forward(const gm_embedding *a, gm_device *dev)
{
    const size_t hidden = (size_t)a->hidden;
    const int32_t n = *a->n_tokens;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t t = 0; t < a->capacity; t++) {
        gm_act *restrict out = (gm_act *)a->out + (size_t)t * hidden;
        if (t >= n) {
            memset(out, 0, hidden * sizeof *out);
            continue;
        }
        const float *restrict word = a->word + (size_t)a->ids[t] * hidden;
        const float *restrict position = a->position + (size_t)(a->position_offset + a->token[t].position) * hidden;
        if (a->type == NULL) {
            for (size_t c = 0; c < hidden; c++) out[c] = gm_act_of(word[c] + position[c]);
        } else {
            const float *restrict type = a->type;
            for (size_t c = 0; c < hidden; c++) out[c] = gm_act_of(word[c] + position[c] + type[c]);
        }
    }
    return GM_OK;
}

static void add_columns(float *restrict sum, const gm_act *restrict row, size_t n)
{
    for (size_t c = 0; c < n; c++) sum[c] += gm_get(row[c]);
}

static gm_status embedding_backward(const gm_embedding_grad *a, gm_device *dev)
{
    const int32_t block = (a->hidden + dev->threads - 1) / dev->threads;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->hidden; first += block) {
        const size_t hidden = (size_t)a->hidden, n = (size_t)(first + block < a->hidden ? block : a->hidden - first);
        for (int32_t t = 0; t < *a->n_tokens; t++) {
            const gm_act *dout = (const gm_act *)a->dout + (size_t)t * hidden + first;
            add_columns(a->dword + (size_t)a->slot[t] * hidden + first, dout, n);
            add_columns(a->dposition + (size_t)(a->position_offset + a->token[t].position) * hidden + first, dout, n);
            if (a->dtype != NULL) add_columns(a->dtype + first, dout, n);
        }
    }
    return GM_OK;
}

GM_KERNELS(embedding)
