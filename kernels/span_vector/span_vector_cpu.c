/* span_vector on the CPU: forward shares the entities among threads, backward the sentences, then the columns; each number
 * is summed by one thread in the order of the entities. */
#include "span_vector/span_vector.h"

#include "activation_cpu.h"
#include "dropout_cpu.h"

enum { TILE = 256, GRAD_TILE = 64 }; /* columns worked on at once; TILE is a multiple of 32 */

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* Added in the order of span_logits, so that relu decides alike. */
static void one_entity(const gm_span_vector *a, int32_t e, uint64_t seed)
{
    const size_t hidden = (size_t)a->hidden;
    const gm_entity_span span = a->span[e];
    const int32_t words = span.last - span.first;
    const gm_act *start = (const gm_act *)a->projected + (size_t)span.first * 2 * hidden;
    const gm_act *end = (const gm_act *)a->projected + (size_t)span.last * 2 * hidden + hidden;
    const float *width = a->width + (size_t)words * hidden;
    gm_act *y = (gm_act *)a->y + (size_t)e * hidden;
    float scale[TILE];
    for (int32_t c = 0; c < TILE; c++) scale[c] = 1.0f;
    for (int32_t first = 0; first < a->hidden; first += TILE) {
        const int32_t n = least(TILE, a->hidden - first), sequence = a->token[e].sequence;
        if (a->drop.p > 0.0f) {
            const uint32_t place = (uint32_t)(span.first - a->cu_words[sequence]);
            gm_drop_scales(&a->drop, seed, sequence, place << 4 | (uint32_t)words, (uint32_t)first, n, scale);
        }
        for (int32_t c = first; c < first + n; c++) {
            const float x = gm_get(start[c]) + gm_get(end[c]) + width[c] + a->bias[c];
            y[c] = gm_act_of(x * (x > 0.0f ? scale[c - first] : 0.0f));
        }
    }
}

static gm_status span_vector_forward(const gm_span_vector *a, gm_device *dev)
{
    const size_t row = (size_t)a->hidden * sizeof(gm_act);
    const int32_t n = *a->n_rows;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t e = 0; e < n; e++) one_entity(a, e, dev->step->seed);
    memset((unsigned char *)a->y + (size_t)n * row, 0, (size_t)(a->capacity - n) * row);
    return GM_OK;
}

/* sum += the gradient of the pre-activations of entity e, columns first .. first + n. */
static void add_entity(const gm_span_vector_grad *a, int32_t e, int32_t first, int32_t n, float *restrict sum)
{
    const size_t at = (size_t)e * (size_t)a->hidden + (size_t)first;
    const gm_act *restrict y = (const gm_act *)a->y + at, *restrict dy = (const gm_act *)a->dy + at;
    for (int32_t c = 0; c < n; c++) sum[c] += gm_get(y[c]) > 0.0f ? gm_get(dy[c]) * a->keep : 0.0f;
}

/* The start half (0) or the end half (1) of a word's row: entities that begin or end with it. */
static void one_half(const gm_span_vector_grad *a, int32_t sequence, int32_t word, int half)
{
    gm_act *to = (gm_act *)a->dprojected + ((size_t)word * 2 + (size_t)half) * (size_t)a->hidden;
    for (int32_t first = 0; first < a->hidden; first += TILE, to += TILE) {
        const int32_t n = least(TILE, a->hidden - first);
        float sum[TILE] = { 0.0f };
        bool has_entity = false;
        for (int32_t e = a->cu_entities[sequence]; e < a->cu_entities[sequence + 1]; e++)
            if ((half == 0 ? a->span[e].first : a->span[e].last) == word) {
                add_entity(a, e, first, n, sum);
                has_entity = true;
            }
        if (has_entity && a->add_dprojected)
            for (int32_t c = 0; c < n; c++) sum[c] += gm_get(to[c]);
        if (has_entity || !a->add_dprojected) gm_narrow(sum, to, n);
    }
}

static void words_grad(const gm_span_vector_grad *a, int threads)
{
    const int32_t total = a->cu_words[a->sequences];
    const size_t row = 2 * (size_t)a->hidden * sizeof(gm_act);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int32_t s = 0; s < a->sequences; s++)
        for (int32_t word = a->cu_words[s]; word < a->cu_words[s + 1]; word++)
            for (int half = 0; half < 2; half++) one_half(a, s, word, half);
    if (!a->add_dprojected) memset((unsigned char *)a->dprojected + (size_t)total * row, 0, (size_t)(a->words - total) * row);
}

/* Columns first .. first + n of the width table and the bias. */
static void one_tile(const gm_span_vector_grad *a, int32_t first, int32_t n)
{
    const size_t hidden = (size_t)a->hidden;
    if (a->dwidth != NULL && !a->add_dwidth)
        for (int32_t w = 0; w < a->widths; w++) memset(a->dwidth + (size_t)w * hidden + first, 0, (size_t)n * sizeof *a->dwidth);
    if (a->dbias != NULL && !a->add_dbias) memset(a->dbias + first, 0, (size_t)n * sizeof *a->dbias);
    for (int32_t e = 0; e < *a->n_rows; e++) {
        const size_t width = (size_t)(a->span[e].last - a->span[e].first);
        if (a->dwidth != NULL) add_entity(a, e, first, n, a->dwidth + width * hidden + first);
        if (a->dbias != NULL) add_entity(a, e, first, n, a->dbias + first);
    }
}

static gm_status span_vector_backward(const gm_span_vector_grad *a, gm_device *dev)
{
    if (a->dprojected != NULL) words_grad(a, dev->threads);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->hidden; first += GRAD_TILE) one_tile(a, first, least(GRAD_TILE, a->hidden - first));
    return GM_OK;
}

GM_KERNELS(span_vector)
