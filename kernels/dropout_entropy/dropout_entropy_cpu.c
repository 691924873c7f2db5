/* dropout_entropy on the CPU: threads share the entities. */
#include "dropout_entropy/dropout_entropy.h"

#include "activation_cpu.h"
#include "dropout_cpu.h"

enum { TILE = 256 }; /* columns worked on at once, a multiple of 32 */

typedef struct entity {
    size_t row, first_row, to; /* of x, of w, of prob */
    int32_t sequence, rows, classes;
    uint32_t position;
} entity;

static entity entity_of(const gm_dropout_entropy *a, int32_t e)
{
    entity k = { .row = (size_t)e, .sequence = a->token[e].sequence, .rows = a->classes };
    if (a->cu_rows != NULL) {
        k.first_row = (size_t)a->cu_rows[k.sequence];
        k.rows = a->cu_rows[k.sequence + 1] - a->cu_rows[k.sequence];
    }
    k.classes = k.rows + (a->null != NULL);
    k.to = a->cu_scores != NULL ? (size_t)a->cu_scores[e] : (size_t)e * (size_t)k.classes;
    if (a->drop.p > 0.0f) {
        const gm_entity_span s = a->span[e];
        k.position = (uint32_t)(s.first - a->cu_words[k.sequence]) << 4 | (uint32_t)(s.last - s.first);
    }
    return k;
}

/* Sum of a[i] b[i], i < n. */
static float dot(const float *a, const gm_act *b, int32_t n)
{
    gm_vec even = { 0.0f }, odd = { 0.0f };
    int32_t i = 0;
    for (; i + 2 * GM_LANES <= n; i += 2 * GM_LANES) {
        even += gm_vec_load(a + i) * gm_act_load(b + i);
        odd += gm_vec_load(a + i + GM_LANES) * gm_act_load(b + i + GM_LANES);
    }
    for (; i + GM_LANES <= n; i += GM_LANES) even += gm_vec_load(a + i) * gm_act_load(b + i);
    float sum = gm_vec_sum(even + odd);
    for (; i < n; i++) sum += a[i] * gm_get(b[i]);
    return sum;
}

/* The n columns of x from `first` on in one sample, dropped. */
static void state_of(const gm_dropout_entropy *a, const entity *k, int32_t sample, int32_t first, int32_t n, uint64_t seed,
                     float *restrict state)
{
    const gm_act *restrict x = (const gm_act *)a->x + (k->row + (size_t)sample * (size_t)a->step) * (size_t)a->width + first;
    if (a->drop.p == 0.0f) {
        gm_widen(x, state, n);
        return;
    }
    float scale[TILE];
    const uint32_t draw = a->first_draw + (uint32_t)sample;
    const gm_drop drop = { a->drop.p, a->drop.site, a->drop.layer, a->drop.key + k->sequence, &draw };
    gm_drop_scales(&drop, seed, 0, k->position, (uint32_t)first, n, scale);
    for (int32_t c = 0; c < n; c++) state[c] = gm_get(x[c]) * scale[c];
}

static void logits_of(const gm_dropout_entropy *a, const entity *k, int32_t sample, uint64_t seed, float *z)
{
    const size_t width = (size_t)a->width;
    const gm_act *rows = (const gm_act *)a->w + k->first_row * width;
    memset(z, 0, (size_t)k->classes * sizeof *z);
    for (int32_t first = 0; first < a->width; first += TILE) {
        float state[TILE];
        const int32_t n = a->width - first < TILE ? a->width - first : TILE;
        state_of(a, k, sample, first, n, seed, state);
        for (int32_t r = 0; r < k->rows; r++) z[r] += dot(state, rows + (size_t)r * width + first, n);
        if (a->null != NULL) z[k->rows] += gm_dot(state, a->null + first, n);
    }
    for (int32_t c = 0; c < k->classes; c++) z[c] *= a->scale;
    for (int32_t r = 0; a->bias != NULL && r < k->rows; r++) z[r] += a->bias[r];
}

/* The others' softmax among themselves first, then class 0 against their sum: no part overflows or cancels. z is lost. */
static void add_sample(float *z, int32_t classes, double *prob, double *entropy)
{
    float top = -INFINITY, sum = 0.0f, moment = 0.0f;
    if (classes == 1) {
        prob[0] += 1.0;
        return;
    }
    for (int32_t c = 1; c < classes; c++) top = z[c] > top ? z[c] : top;
    for (int32_t c = 1; c < classes; c++) {
        const float below = z[c] - top;
        z[c] = gm_exp(below);
        sum += z[c];
        moment += z[c] * below;
    }
    const float log_sum = logf(sum), lead = z[0] - top - log_sum, ratio = gm_exp(-fabsf(lead));
    const float larger = 1.0f / (1.0f + ratio), smaller = ratio * larger;
    const float others = lead > 0.0f ? smaller : larger, share = others / sum;
    prob[0] += (double)(lead > 0.0f ? larger : smaller);
    for (int32_t c = 1; c < classes; c++) prob[c] += (double)(z[c] * share);
    entropy[0] += (double)(log1pf(ratio) + fabsf(lead) * smaller);
    entropy[1] += (double)(others * (log_sum - moment / sum));
}

static gm_status dropout_entropy_forward(const gm_dropout_entropy *a, gm_device *dev)
{
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t e = 0; e < *a->n_rows; e++) {
        const entity k = entity_of(a, e);
        for (int32_t t = 0; t < a->samples; t++) {
            float z[GM_ENTROPY_MAX_CLASSES];
            logits_of(a, &k, t, dev->step->seed, z);
            add_sample(z, k.classes, a->prob + k.to, a->entropy + 2 * (size_t)e);
        }
    }
    return GM_OK;
}

GM_KERNELS_FORWARD(dropout_entropy)
