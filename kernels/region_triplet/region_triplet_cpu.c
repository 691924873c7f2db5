/* region_triplet on the CPU: forward shares the entities among threads, backward the sentences; each number is summed by one
 * thread in a fixed order, and losses are added in the order of the entities. */
#include "region_triplet/region_triplet.h"

#include "activation_cpu.h"

/* BLOCK: entities whose losses wait to be added. TILE: columns worked on at once. */
enum { BLOCK = 1024, TILE = 256 };
static const float least_norm = 1e-8f, shift = 1e-6f, positive_from = 0.5f;

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* One entity: its regions are rows v of width columns, its places those of cu_scores. */
typedef struct entity {
    const gm_act *v;
    const float *iou;
    float *anchor, *danchor, *distance, *pull, *own;
    float inv_norm;           /* of the anchor; 0 where it has none */
    int32_t regions;
} entity;

static entity entity_of(const gm_region_triplet *a, int32_t e)
{
    const size_t begin = (size_t)a->cu_scores[e], width = (size_t)a->width, row = (size_t)e * width;
    return (entity){ .v = (const gm_act *)a->v + (size_t)a->cu_regions[a->token[e].sequence] * width,
                     .iou = a->iou + begin,
                     .anchor = a->anchor + row,
                     .danchor = a->danchor + row,
                     .distance = a->distance + begin,
                     .pull = a->pull + begin,
                     .own = a->own + begin,
                     .regions = a->cu_scores[e + 1] - 1 - a->cu_scores[e] };
}

static float inverse(float norm) { return norm < least_norm ? 0.0f : 1.0f / norm; }

static void make_anchor(const gm_region_triplet *a, int32_t e, entity *x)
{
    const gm_entity_span span = a->span[e];
    const float inv = 1.0f / (float)(span.last - span.first + 1);
    memset(x->anchor, 0, (size_t)a->width * sizeof *x->anchor);
    for (int32_t word = span.first; word <= span.last; word++) {
        const gm_act *h = (const gm_act *)a->h + (size_t)word * (size_t)a->width;
        for (int32_t c = 0; c < a->width; c++) x->anchor[c] += gm_get(h[c]);
    }
    for (int32_t c = 0; c < a->width; c++) x->anchor[c] *= inv;
    x->inv_norm = inverse(sqrtf(gm_dot(x->anchor, x->anchor, a->width)));
}

/* distance, and in `pull` what it divides by: the inverse norm of the region, in the code form that of the difference. */
static void make_distances(const gm_region_triplet *a, const entity *x)
{
    for (int32_t k = 0; k < x->regions; k++) {
        const gm_act *v = x->v + (size_t)k * (size_t)a->width;
        float dot = 0.0f, square = 0.0f, region[TILE];
        for (int32_t first = 0; first < a->width; first += TILE) {
            const int32_t n = least(TILE, a->width - first);
            const float *anchor = x->anchor + first;
            gm_widen(v + first, region, n);
            if (!a->is_code_form) dot += gm_dot(anchor, region, n);
            for (int32_t c = 0; c < n && a->is_code_form; c++) region[c] = anchor[c] - region[c] + shift;
            square += gm_dot(region, region, n);
        }
        const float norm = sqrtf(square);
        x->pull[k] = a->is_code_form ? norm > 0.0f ? 1.0f / norm : 0.0f : inverse(norm);
        x->distance[k] = a->is_code_form ? norm : 1.0f - dot * x->inv_norm * x->pull[k];
    }
}

static bool is_positive(float iou) { return iou > positive_from; }
static bool is_negative(const gm_region_triplet *a, float iou) { return a->is_code_form ? iou < positive_from : iou <= positive_from; }

/* The sum over pairs of the hinge; own[k] counts the pairs at work that region k is in, those as a negative negatively. */
static double make_pairs(const gm_region_triplet *a, const entity *x, int64_t *pairs)
{
    double loss = 0.0;
    *pairs = 0;
    memset(x->own, 0, (size_t)x->regions * sizeof *x->own);
    for (int32_t p = 0; p < x->regions; p++)
        for (int32_t n = 0; n < x->regions && is_positive(x->iou[p]); n++) {
            if (!is_negative(a, x->iou[n])) continue;
            const float margin = a->margin * (1.0f - x->iou[a->is_code_form ? p : n]), hinge = x->distance[p] - x->distance[n] + margin;
            ++*pairs;
            if (!(hinge > 0.0f)) continue;
            loss += (double)hinge;
            x->own[p] += 1.0f;
            x->own[n] -= 1.0f;
        }
    return loss;
}

/* From the derivative of the loss by each distance, factor x own, to what its vectors get. */
static void make_gradients(const gm_region_triplet *a, const entity *x, float factor)
{
    float of_anchor = 0.0f;
    memset(x->danchor, 0, (size_t)a->width * sizeof *x->danchor);
    for (int32_t k = 0; k < x->regions; k++) {
        const gm_act *v = x->v + (size_t)k * (size_t)a->width;
        const float d = factor * x->own[k], inv = x->pull[k], cosine = 1.0f - x->distance[k];
        float *danchor = x->danchor, *anchor = x->anchor;
        if (a->is_code_form) {
            x->own[k] = 0.0f;
            x->pull[k] = -d * inv;
            for (int32_t c = 0; c < a->width; c++) danchor[c] -= x->pull[k] * (anchor[c] - gm_get(v[c]) + shift);
        } else {
            x->own[k] = d * cosine * inv * inv;
            x->pull[k] = -d * inv * x->inv_norm;
            of_anchor += d * cosine * x->inv_norm * x->inv_norm;
            for (int32_t c = 0; c < a->width; c++) danchor[c] += x->pull[k] * gm_get(v[c]);
        }
    }
    for (int32_t c = 0; c < a->width; c++) x->danchor[c] += of_anchor * x->anchor[c];
}

/* Returns the mean hinge of the entity's pairs. */
static double one_entity(const gm_region_triplet *a, int32_t e)
{
    entity x = entity_of(a, e);
    int64_t pairs;
    make_anchor(a, e, &x);
    make_distances(a, &x);
    const double loss = make_pairs(a, &x, &pairs);
    make_gradients(a, &x, pairs > 0 ? a->weight * *a->inv_entities / (float)pairs : 0.0f);
    return pairs > 0 ? loss / (double)pairs : 0.0;
}

static gm_status region_triplet_forward(const gm_region_triplet *a, gm_device *dev)
{
    for (int32_t first = 0; first < *a->n_rows; first += BLOCK) {
        const int32_t n = least(BLOCK, *a->n_rows - first);
        double loss[BLOCK], sum = 0.0;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t i = 0; i < n; i++) loss[i] = one_entity(a, first + i);
        for (int32_t i = 0; i < n; i++) sum += loss[i];
        *a->loss += sum * (double)a->weight * (double)*a->inv_entities;
    }
    return GM_OK;
}

/* A word gets a share of every entity that it stands in. */
static void one_word(const gm_region_triplet_grad *a, int32_t sequence, int32_t word)
{
    gm_act *to = (gm_act *)a->dh + (size_t)word * (size_t)a->width;
    for (int32_t first = 0; first < a->width; first += TILE) {
        const int32_t n = least(TILE, a->width - first);
        float sum[TILE] = { 0.0f };
        for (int32_t e = a->cu_entities[sequence]; e < a->cu_entities[sequence + 1]; e++) {
            const gm_entity_span span = a->span[e];
            const float *danchor = a->danchor + (size_t)e * (size_t)a->width + first, inv = 1.0f / (float)(span.last - span.first + 1);
            if (word < span.first || word > span.last) continue;
            for (int32_t c = 0; c < n; c++) sum[c] += danchor[c] * inv;
        }
        for (int32_t c = 0; c < n && a->add_dh; c++) sum[c] += gm_get(to[first + c]);
        gm_narrow(sum, to + first, n);
    }
}

static void one_region(const gm_region_triplet_grad *a, int32_t sequence, int32_t r)
{
    const size_t row = (size_t)r * (size_t)a->width;
    const int32_t k = r - a->cu_regions[sequence];
    for (int32_t first = 0; first < a->width; first += TILE) {
        const int32_t n = least(TILE, a->width - first);
        gm_act *to = (gm_act *)a->dv + row + first;
        float sum[TILE] = { 0.0f }, v[TILE];
        gm_widen((const gm_act *)a->v + row + first, v, n);
        for (int32_t e = a->cu_entities[sequence]; e < a->cu_entities[sequence + 1]; e++) {
            const float *anchor = a->anchor + (size_t)e * (size_t)a->width + first;
            const float pull = a->pull[a->cu_scores[e] + k], own = a->own[a->cu_scores[e] + k];
            for (int32_t c = 0; c < n; c++) sum[c] += a->is_code_form ? pull * (anchor[c] - v[c] + shift) : pull * anchor[c] + own * v[c];
        }
        for (int32_t c = 0; c < n && a->add_dv; c++) sum[c] += gm_get(to[c]);
        gm_narrow(sum, to, n);
    }
}

static gm_status region_triplet_backward(const gm_region_triplet_grad *a, gm_device *dev)
{
    const size_t row = (size_t)a->width * sizeof(gm_act);
    const int32_t words = a->cu_words[a->sequences], regions = a->cu_regions[a->sequences];
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t s = 0; s < a->sequences; s++) {
        for (int32_t word = a->cu_words[s]; a->dh != NULL && word < a->cu_words[s + 1]; word++) one_word(a, s, word);
        for (int32_t r = a->cu_regions[s]; a->dv != NULL && r < a->cu_regions[s + 1]; r++) one_region(a, s, r);
    }
    if (a->dh != NULL && !a->add_dh) memset((unsigned char *)a->dh + (size_t)words * row, 0, (size_t)(a->words - words) * row);
    if (a->dv != NULL && !a->add_dv) memset((unsigned char *)a->dv + (size_t)regions * row, 0, (size_t)(a->regions - regions) * row);
    return GM_OK;
}

GM_KERNELS(region_triplet)
