/* region_scores on the CPU: forward and dq share the entities among threads, dkeys the sentences, dnull the columns; each
 * number is summed by one thread in a fixed order, and losses are added in the order of the entities. */
#include "region_scores/region_scores.h"

#include "activation_cpu.h"
#include "dropout_cpu.h"

/* BLOCK: entities whose losses wait to be added. TILE: columns worked on at once, a multiple of 32. */
enum { BLOCK = 1024, TILE = 128 };

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* Which query is meant, by the sequence and the place of its span. */
typedef struct query {
    const gm_drop *drop;
    const gm_act *q;          /* its row */
    int32_t sequence;
    uint32_t position;
} query;

static query query_of(const gm_drop *drop, const void *q, int32_t width, const gm_entity_span *span, const gm_token *token, const int32_t *cu_words, int32_t e)
{
    query y = { .drop = drop, .q = (const gm_act *)q + (size_t)e * (size_t)width, .sequence = token[e].sequence };
    if (drop->p > 0.0f) y.position = (uint32_t)(span[e].first - cu_words[y.sequence]) << 4 | (uint32_t)(span[e].last - span[e].first);
    return y;
}

static void mask_of(const query *y, uint64_t seed, int32_t first, int32_t n, float mask[TILE])
{
    if (y->drop->p > 0.0f)
        gm_drop_scales(y->drop, seed, y->sequence, y->position, (uint32_t)first, n, mask);
    else
        for (int32_t c = 0; c < n; c++) mask[c] = 1.0f;
}

/* Columns first .. first + n of the query after dropout. */
static void dropped(const query *y, uint64_t seed, int32_t first, int32_t n, float x[TILE])
{
    mask_of(y, seed, first, n, x);
    for (int32_t c = 0; c < n; c++) x[c] *= gm_get(y->q[first + c]);
}

/* Scores of entity e at its places of prob, without the scale. */
static void scores_of(const gm_region_scores *a, int32_t e, int32_t places, uint64_t seed, float *score)
{
    const query y = query_of(&a->drop, a->q, a->width, a->span, a->token, a->cu_words, e);
    const gm_act *keys = (const gm_act *)a->keys + (size_t)a->cu_regions[y.sequence] * (size_t)a->width;
    memset(score, 0, (size_t)places * sizeof *score);
    for (int32_t first = 0; first < a->width; first += TILE) {
        const int32_t n = least(TILE, a->width - first);
        float x[TILE], key[TILE];
        dropped(&y, seed, first, n, x);
        for (int32_t k = 0; k < places - 1; k++) {
            gm_widen(keys + (size_t)k * (size_t)a->width + first, key, n);
            score[k] += gm_dot(x, key, n);
        }
        score[places - 1] += gm_dot(x, a->null + first, n);
    }
}

/* Turns the scores into probabilities; returns KL(target || prob), 0 without targets. */
static double one_entity(const gm_region_scores *a, int32_t e, uint64_t seed)
{
    const int32_t begin = a->cu_scores[e], places = a->cu_scores[e + 1] - begin;
    float *x = a->prob + begin, sum = 0.0f, all_targets = 0.0f, entropy = 0.0f;
    double loss = 0.0;
    int32_t best = 0;
    scores_of(a, e, places, seed, x);
    for (int32_t k = 0; k < places; k++) {
        x[k] *= a->scale;
        if (x[k] > x[best]) best = k;
    }
    const float top = x[best];
    for (int32_t k = 0; k < places; k++) sum += expf(x[k] - top);
    const float log_sum = logf(sum);
    for (int32_t k = 0; k < places; k++) {
        const float log_p = x[k] - top - log_sum, t = a->target != NULL ? a->target[begin + k] : 0.0f;
        x[k] = expf(x[k] - top) / sum;
        entropy -= x[k] > 0.0f ? x[k] * log_p : 0.0f; /* 0 x -infinity is 0 here */
        loss += t > 0.0f ? (double)(t * (logf(t) - log_p)) : 0.0;
        all_targets += t;
    }
    a->argmax[e] = best;
    a->entropy[e] = entropy;
    if (a->target != NULL)
        for (int32_t k = 0; k < places; k++) a->dscore[begin + k] = *a->inv_entities * (all_targets * x[k] - a->target[begin + k]);
    return loss;
}

static gm_status region_scores_forward(const gm_region_scores *a, gm_device *dev)
{
    for (int32_t first = 0; first < *a->n_rows; first += BLOCK) {
        const int32_t n = least(BLOCK, *a->n_rows - first);
        double loss[BLOCK], sum = 0.0;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t i = 0; i < n; i++) loss[i] = one_entity(a, first + i, dev->step->seed);
        for (int32_t i = 0; i < n; i++) sum += loss[i];
        if (a->target != NULL) *a->loss += sum * (double)*a->inv_entities;
    }
    return GM_OK;
}

static query query_of_grad(const gm_region_scores_grad *a, int32_t e)
{
    return query_of(&a->drop, a->q, a->width, a->span, a->token, a->cu_words, e);
}

/* to = (or +=) x, in the type of activations. */
static void put(gm_act *restrict to, float *restrict x, int32_t n, bool add)
{
    for (int32_t c = 0; c < n && add; c++) x[c] += gm_get(to[c]);
    gm_narrow(x, to, n);
}

static void one_query_grad(const gm_region_scores_grad *a, int32_t e, uint64_t seed)
{
    const query y = query_of_grad(a, e);
    const int32_t begin = a->cu_scores[e], regions = a->cu_scores[e + 1] - 1 - begin;
    const gm_act *keys = (const gm_act *)a->keys + (size_t)a->cu_regions[y.sequence] * (size_t)a->width;
    for (int32_t first = 0; first < a->width; first += TILE) {
        const int32_t n = least(TILE, a->width - first);
        float mask[TILE], sum[TILE] = { 0.0f };
        mask_of(&y, seed, first, n, mask);
        for (int32_t k = 0; k < regions; k++) {
            const gm_act *key = keys + (size_t)k * (size_t)a->width + first;
            for (int32_t c = 0; c < n; c++) sum[c] += a->dscore[begin + k] * gm_get(key[c]);
        }
        for (int32_t c = 0; c < n; c++) sum[c] = (sum[c] + a->dscore[begin + regions] * a->null[first + c]) * (a->scale * mask[c]);
        put((gm_act *)a->dq + (size_t)e * (size_t)a->width + first, sum, n, a->add_dq);
    }
}

/* Region r is the k-th of its sentence: the entities of the sentence give to it in order. */
static void one_key_grad(const gm_region_scores_grad *a, int32_t sequence, int32_t r, uint64_t seed)
{
    const int32_t k = r - a->cu_regions[sequence];
    for (int32_t first = 0; first < a->width; first += TILE) {
        const int32_t n = least(TILE, a->width - first);
        float x[TILE], sum[TILE] = { 0.0f };
        for (int32_t e = a->cu_entities[sequence]; e < a->cu_entities[sequence + 1]; e++) {
            const query y = query_of_grad(a, e);
            const float d = a->dscore[a->cu_scores[e] + k] * a->scale;
            dropped(&y, seed, first, n, x);
            for (int32_t c = 0; c < n; c++) sum[c] += d * x[c];
        }
        put((gm_act *)a->dkeys + (size_t)r * (size_t)a->width + first, sum, n, a->add_dkeys);
    }
}

static void null_grad(const gm_region_scores_grad *a, int32_t first, int32_t n, uint64_t seed)
{
    float x[TILE], sum[TILE] = { 0.0f };
    for (int32_t e = 0; e < *a->n_rows; e++) {
        const query y = query_of_grad(a, e);
        const float d = a->dscore[a->cu_scores[e + 1] - 1] * a->scale;
        dropped(&y, seed, first, n, x);
        for (int32_t c = 0; c < n; c++) sum[c] += d * x[c];
    }
    for (int32_t c = 0; c < n; c++) a->dnull[first + c] = a->add_dnull ? a->dnull[first + c] + sum[c] : sum[c];
}

/* Rows from `first` to `end` are zero unless gradients are added to what stands there. */
static void clear_rows(void *x, int32_t first, int32_t end, int32_t width, bool add)
{
    const size_t row = (size_t)width * sizeof(gm_act);
    if (!add) memset((unsigned char *)x + (size_t)first * row, 0, (size_t)(end - first) * row);
}

static gm_status region_scores_backward(const gm_region_scores_grad *a, gm_device *dev)
{
    const uint64_t seed = dev->step->seed;
    const int32_t n = *a->n_rows;
    if (a->dq != NULL) {
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t e = 0; e < n; e++) one_query_grad(a, e, seed);
        clear_rows(a->dq, n, a->capacity, a->width, a->add_dq);
    }
    if (a->dkeys != NULL) {
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t s = 0; s < a->sequences; s++)
            for (int32_t r = a->cu_regions[s]; r < a->cu_regions[s + 1]; r++) one_key_grad(a, s, r, seed);
        clear_rows(a->dkeys, a->cu_regions[a->sequences], a->regions, a->width, a->add_dkeys);
    }
    if (a->dnull == NULL) return GM_OK;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->width; first += TILE) null_grad(a, first, least(TILE, a->width - first), seed);
    return GM_OK;
}

GM_KERNELS(region_scores)
