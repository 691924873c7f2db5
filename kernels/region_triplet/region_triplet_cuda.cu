/* region_triplet on the GPU. Forward takes a block an entity: its threads share the columns of the anchor, its warps the
 * distances to the regions, its threads the pairs of a region each, then the columns again. Backward has blocks that belong
 * to sentences: CHUNKS of them share the words, then the regions, and add the entities of the sentence in order. */
#include "device/columns.h"
#include "device/loss.h"
#include "region_triplet/region_triplet.h"

enum { WARPS = 4, THREADS = WARPS * 32, CHUNKS = 8 };
static constexpr float least_norm = 1e-8f, shift = 1e-6f, positive_from = 0.5f;

template <class T> struct triplet_args {
    const T *h, *v;
    const gm_entity_span *span;
    const gm_token *token;
    const int32_t *cu_regions, *cu_scores;
    const float *iou, *inv_entities;
    float *anchor, *danchor, *distance, *pull, *own;
    const int *n_rows;
    float margin, weight;
    int width;
    bool is_code_form, is_wide;
};

static __device__ __forceinline__ float inverse(float norm) { return norm < least_norm ? 0.0f : 1.0f / norm; }

/* The sum over the block, in every thread; red holds a float a warp. */
static __device__ __forceinline__ float block_sum(float v, float *red)
{
    v = warp_sum(v);
    __syncthreads(); /* red may still be read by an earlier sum */
    if (threadIdx.x % 32 == 0) red[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += red[w];
    return sum;
}

/* Writes the anchor of entity e and returns the thread's part of its square. */
template <class T> static __device__ __forceinline__ float make_anchor(const triplet_args<T> &a, int e)
{
    const gm_entity_span span = a.span[e];
    const float inv = 1.0f / (float)(span.last - span.first + 1);
    float square = 0.0f;
    for (int c = (int)threadIdx.x * 4; c < a.width; c += THREADS * 4) {
        float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        for (int word = span.first; word <= span.last; word++) {
            float v[4];
            load_columns(a.h + (size_t)word * a.width + c, a.width - c, a.is_wide, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] += v[j];
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum[j] *= inv;
            square = fmaf(sum[j], sum[j], square);
        }
        store_columns(a.anchor + (size_t)e * a.width + c, a.width - c, a.is_wide, sum);
    }
    return square;
}

/* The distance of place `at`, whose region is row v, and in `pull` what it divides by: the inverse norm of the region, in the
 * code form that of the difference. A warp a region. */
template <class T> static __device__ __forceinline__ void make_distance(const triplet_args<T> &a, int e, const T *v, int at, float inv_norm)
{
    float dot = 0.0f, square = 0.0f;
    for (int c = (int)threadIdx.x % 32 * 4; c < a.width; c += 128) {
        const int left = a.width - c;
        float anchor[4], region[4];
        load_columns(a.anchor + (size_t)e * a.width + c, left, a.is_wide, anchor);
        load_columns(v + c, left, a.is_wide, region);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (a.is_code_form) region[j] = j < left ? anchor[j] - region[j] + shift : 0.0f;
            dot = fmaf(anchor[j], region[j], dot);
            square = fmaf(region[j], region[j], square);
        }
    }
    dot = warp_sum(dot);
    const float norm = sqrtf(warp_sum(square));
    const float inv = !a.is_code_form ? inverse(norm) : norm > 0.0f ? 1.0f / norm : 0.0f;
    if (threadIdx.x % 32 != 0) return;
    a.pull[at] = inv;
    a.distance[at] = a.is_code_form ? norm : 1.0f - dot * inv_norm * inv;
}

template <class T> static __device__ __forceinline__ bool is_pair(const triplet_args<T> &a, float positive, float negative)
{
    return positive > positive_from && (a.is_code_form ? negative < positive_from : negative <= positive_from);
}

/* The same bits for both regions of a pair. */
template <class T> static __device__ __forceinline__ float hinge_of(const triplet_args<T> &a, int p, int n)
{
    return fmaf(a.margin, 1.0f - a.iou[a.is_code_form ? p : n], a.distance[p] - a.distance[n]);
}

/* Pairs of places begin .. begin + regions. Region k is looked after by thread k % THREADS: own[k] counts the pairs at work that it
 * is in, those as a negative negatively. Returns the thread's part of the loss; *pairs are all. */
template <class T> static __device__ __forceinline__ double make_pairs(const triplet_args<T> &a, int begin, int regions, float *red, float *pairs)
{
    double loss = 0.0;
    float mine = 0.0f;
    for (int k = begin + (int)threadIdx.x; k < begin + regions; k += THREADS) {
        float count = 0.0f;
        for (int j = begin; j < begin + regions; j++) {
            if (is_pair(a, a.iou[k], a.iou[j])) {
                const float hinge = hinge_of(a, k, j);
                mine += 1.0f;
                if (hinge > 0.0f) {
                    count += 1.0f;
                    loss += (double)hinge;
                }
            }
            if (is_pair(a, a.iou[j], a.iou[k]) && hinge_of(a, j, k) > 0.0f) count -= 1.0f;
        }
        a.own[k] = count;
    }
    *pairs = block_sum(mine, red);
    return loss;
}

/* From the derivative of the loss by the thread's distances, factor x own, to what their vectors get; returns the thread's
 * part of what the anchor gets times itself. */
template <class T> static __device__ __forceinline__ float make_factors(const triplet_args<T> &a, int begin, int regions, float factor, float inv_norm)
{
    float of_anchor = 0.0f;
    for (int k = begin + (int)threadIdx.x; k < begin + regions; k += THREADS) {
        const float d = factor * a.own[k], inv = a.pull[k], cosine = 1.0f - a.distance[k];
        a.own[k] = a.is_code_form ? 0.0f : d * cosine * inv * inv;
        a.pull[k] = a.is_code_form ? -d * inv : -d * inv * inv_norm;
        of_anchor += a.is_code_form ? 0.0f : d * cosine * inv_norm * inv_norm;
    }
    return of_anchor;
}

template <class T>
static __device__ __forceinline__ void make_danchor(const triplet_args<T> &a, int e, const T *v, int begin, int regions, float of_anchor)
{
    for (int c = (int)threadIdx.x * 4; c < a.width; c += THREADS * 4) {
        const int left = a.width - c;
        float anchor[4], region[4], sum[4];
        load_columns(a.anchor + (size_t)e * a.width + c, left, a.is_wide, anchor);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] = of_anchor * anchor[j];
        for (int k = 0; k < regions; k++) {
            const float pull = a.pull[begin + k];
            load_columns(v + (size_t)k * a.width + c, left, a.is_wide, region);
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum[j] = a.is_code_form ? fmaf(-pull, anchor[j] - region[j] + shift, sum[j]) : fmaf(pull, region[j], sum[j]);
        }
        store_columns(a.danchor + (size_t)e * a.width + c, left, a.is_wide, sum);
    }
}

template <class T> static __global__ void __launch_bounds__(THREADS) forward_kernel(triplet_args<T> a, double *share)
{
    __shared__ float red[WARPS];
    __shared__ double losses[WARPS];
    const int e = (int)blockIdx.x;
    if (e >= *a.n_rows) { /* the whole block */
        if (threadIdx.x == 0) share[e] = 0.0;
        return;
    }
    const int begin = a.cu_scores[e], regions = a.cu_scores[e + 1] - 1 - begin;
    const T *v = a.v + (size_t)a.cu_regions[a.token[e].sequence] * a.width;
    const float inv_norm = inverse(sqrtf(block_sum(make_anchor(a, e), red))); /* its barriers show the anchor to all */
    for (int k = (int)threadIdx.x / 32; k < regions; k += WARPS) make_distance(a, e, v + (size_t)k * a.width, begin + k, inv_norm);
    __syncthreads(); /* distances */
    float pairs;
    const double loss = make_pairs(a, begin, regions, red, &pairs);
    const float factor = pairs > 0.0f ? a.weight * *a.inv_entities / pairs : 0.0f;
    const float of_anchor = block_sum(make_factors(a, begin, regions, factor, inv_norm), red); /* and pull */
    make_danchor(a, e, v, begin, regions, of_anchor);
    put_loss<WARPS>(pairs > 0.0f ? loss * (double)a.weight / (double)pairs : 0.0, losses, share + e);
}

template <class T> static gm_status region_triplet_forward(const gm_region_triplet *a, gm_device *dev)
{
    const T *h = (const T *)a->h, *v = (const T *)a->v;
    const bool is_wide = has_wide_rows(h, a->width) && has_wide_rows(v, a->width) && has_wide_rows(a->anchor, a->width) && has_wide_rows(a->danchor, a->width);
    const triplet_args<T> args = { h,          v,         a->span, a->token,  a->cu_regions, a->cu_scores, a->iou,   a->inv_entities, a->anchor, a->danchor,
                                   a->distance, a->pull, a->own,  a->n_rows, a->margin,     a->weight,    a->width, a->is_code_form, is_wide };
    void *share;
    if (a->capacity == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)a->capacity * sizeof(double), "region_triplet", &share));
    GM_TRY(GM_LAUNCH(dev, forward_kernel<T>, a->capacity, THREADS, 0, args, (double *)share));
    return add_loss((const double *)share, a->capacity, a->inv_entities, a->loss, dev);
}

template <class T> struct triplet_grad_args {
    const T *v;
    const gm_entity_span *span;
    const int32_t *cu_entities, *cu_scores;
    const float *anchor, *danchor, *pull, *own;
    int sequences, width;
    bool is_code_form;
};

template <class T> static __device__ __forceinline__ void put4(T *to, int left, bool is_wide, float v[4], bool add)
{
    if (add) {
        float before[4];
        load_columns(to, left, is_wide, before);
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] += before[j];
    }
    store_columns(to, left, is_wide, v);
}

/* A word a block at a time gets a share of every entity that it stands in. The grid has one sentence more than there are: its
 * blocks zero the rows behind the last one, as those of regions_kernel. */
template <class T>
static __global__ void __launch_bounds__(THREADS)
    words_kernel(triplet_grad_args<T> a, const int32_t *cu_words, T *dh, bool add, bool is_wide, int words)
{
    const int sequence = (int)blockIdx.x, begin = cu_words[sequence];
    const bool is_behind = sequence == a.sequences;
    const int end = is_behind ? words : cu_words[sequence + 1];
    const int first = is_behind ? 0 : a.cu_entities[sequence], last = is_behind ? 0 : a.cu_entities[sequence + 1];
    if (is_behind && add) return;
    for (int word = begin + (int)blockIdx.y; word < end; word += CHUNKS)
        for (int c = (int)threadIdx.x * 4; c < a.width; c += THREADS * 4) {
            float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            for (int e = first; e < last; e++) {
                const gm_entity_span span = a.span[e];
                if (word < span.first || word > span.last) continue;
                const float inv = 1.0f / (float)(span.last - span.first + 1);
                float danchor[4];
                load_columns(a.danchor + (size_t)e * a.width + c, a.width - c, is_wide, danchor);
#pragma unroll
                for (int j = 0; j < 4; j++) sum[j] = fmaf(danchor[j], inv, sum[j]);
            }
            put4(dh + (size_t)word * a.width + c, a.width - c, is_wide, sum, add);
        }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    regions_kernel(triplet_grad_args<T> a, const int32_t *cu_regions, T *dv, bool add, bool is_wide, int regions)
{
    const int sequence = (int)blockIdx.x, begin = cu_regions[sequence];
    const bool is_behind = sequence == a.sequences;
    const int end = is_behind ? regions : cu_regions[sequence + 1];
    const int first = is_behind ? 0 : a.cu_entities[sequence], last = is_behind ? 0 : a.cu_entities[sequence + 1];
    if (is_behind && add) return;
    for (int r = begin + (int)blockIdx.y; r < end; r += CHUNKS)
        for (int c = (int)threadIdx.x * 4; c < a.width; c += THREADS * 4) {
            const int left = a.width - c;
            float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            if (!is_behind) load_columns(a.v + (size_t)r * a.width + c, left, is_wide, v);
            for (int e = first; e < last; e++) {
                const int at = a.cu_scores[e] + r - begin;
                const float pull = a.pull[at], own = a.own[at];
                float anchor[4];
                load_columns(a.anchor + (size_t)e * a.width + c, left, is_wide, anchor);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[j] = a.is_code_form ? fmaf(pull, anchor[j] - v[j] + shift, sum[j]) : fmaf(pull, anchor[j], fmaf(own, v[j], sum[j]));
            }
            put4(dv + (size_t)r * a.width + c, left, is_wide, sum, add);
        }
}

template <class T> static gm_status region_triplet_backward(const gm_region_triplet_grad *a, gm_device *dev)
{
    const triplet_grad_args<T> args = { (const T *)a->v, a->span, a->cu_entities, a->cu_scores, a->anchor,      a->danchor,
                                        a->pull,         a->own,  a->sequences,   a->width,     a->is_code_form };
    T *dh = (T *)a->dh, *dv = (T *)a->dv;
    const bool is_wide = has_wide_rows(args.v, a->width) && has_wide_rows(a->anchor, a->width) && has_wide_rows(a->danchor, a->width) &&
                         has_wide_rows(dh, a->width) && has_wide_rows(dv, a->width);
    const dim3 grid((unsigned)a->sequences + 1, CHUNKS);
    if (dh != NULL) GM_TRY(GM_LAUNCH(dev, words_kernel<T>, grid, THREADS, 0, args, a->cu_words, dh, a->add_dh, is_wide, a->words));
    if (dv == NULL) return GM_OK;
    return GM_LAUNCH(dev, regions_kernel<T>, grid, THREADS, 0, args, a->cu_regions, dv, a->add_dv, is_wide, a->regions);
}

GM_KERNELS_CUDA(region_triplet)
