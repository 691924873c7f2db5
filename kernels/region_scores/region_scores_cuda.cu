/* region_scores on the GPU. Forward takes a warp an entity: its query lies in shared memory after dropout, and each lane
 * makes the scores of the regions lane, lane + 32, ..., which it alone writes and reads. Backward takes a warp an entity for
 * dq and a warp a region for dkeys, over the entities of its sentence in order; the null key gets its sum in two stages. */
#include "device/column_sum.h"
#include "device/columns.h"
#include "device/loss.h"
#include "region_scores/region_scores.h"

enum { WARPS = 4, CHUNKS = 8 };

template <class T> struct score_args {
    const T *q, *keys;
    const float *null;
    const gm_entity_span *span;
    const gm_token *token;
    const int32_t *cu_words, *cu_regions, *cu_scores;
    gm_drop_args drop;
    const int *n_rows;
    float scale;
    int width;
    bool is_wide;
};

template <class T, class Args> static score_args<T> args_of(const Args *a, bool is_wide, const gm_device *dev)
{
    const T *q = (const T *)a->q, *keys = (const T *)a->keys;
    is_wide = is_wide && has_wide_rows(q, a->width) && has_wide_rows(keys, a->width) && has_wide_rows(a->null, a->width);
    const score_args<T> args = { q,           keys,        a->null,  a->span,  a->token, a->cu_words, a->cu_regions, a->cu_scores, drop_args(&a->drop, dev),
                                 a->n_rows, a->scale, a->width, is_wide };
    return args;
}

/* The dropout scales of columns c .. c + 3 of entity e's query. */
template <class T> static __device__ __forceinline__ float4 mask4(const score_args<T> &a, int e, int c)
{
    if (a.drop.p == 0.0f) return make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    const int sequence = a.token[e].sequence;
    const gm_entity_span span = a.span[e];
    return drop4(a.drop, sequence, (uint32_t)(span.first - a.cu_words[sequence]) << 4 | (uint32_t)(span.last - span.first), (uint32_t)c);
}

/* The same columns after dropout. */
template <class T> static __device__ __forceinline__ void dropped4(const score_args<T> &a, int e, int c, float v[4])
{
    const float4 mask = mask4(a, e, c);
    load_columns(a.q + (size_t)e * a.width + c, a.width - c, a.is_wide, v);
    v[0] *= mask.x, v[1] *= mask.y, v[2] *= mask.z, v[3] *= mask.w;
}

template <class K> static __device__ __forceinline__ float score_of(const float *q, const K *key, int width, bool is_wide)
{
    float sum = 0.0f;
    for (int c = 0; c < width; c += 4) {
        float v[4];
        load_columns(key + c, width - c, is_wide, v);
#pragma unroll
        for (int j = 0; j < 4; j++) sum = fmaf(q[c + j], v[j], sum);
    }
    return sum;
}

struct score_results {
    float *prob, *entropy;
    int32_t *argmax;
    const float *target, *inv_entities;
    float *dscore;
};

/* The lane's scores of entity e go to prob; the largest of all lanes and its place, the first of equals. */
template <class T>
static __device__ __forceinline__ float scores_of(const score_args<T> &a, int e, const float *q, int places, float *score, int *best)
{
    const int lane = (int)threadIdx.x % 32;
    const T *keys = a.keys + (size_t)a.cu_regions[a.token[e].sequence] * a.width;
    float top = -INFINITY;
    *best = lane; /* among the places even where all scores are NaN */
    for (int k = lane; k < places; k += 32) {
        const float x = a.scale * (k < places - 1 ? score_of(q, keys + (size_t)k * a.width, a.width, a.is_wide) : score_of(q, a.null, a.width, a.is_wide));
        score[k] = x;
        if (x > top) *best = k;
        top = fmaxf(top, x);
    }
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) {
        const float other = __shfl_xor_sync(0xFFFFFFFFu, top, m);
        const int place = __shfl_xor_sync(0xFFFFFFFFu, *best, m);
        if (other > top || (other == top && place < *best)) *best = place;
        top = fmaxf(top, other);
    }
    return top;
}

/* Probabilities of entity e from its scores, and what follows from them; returns the lane's part of the loss. */
static __device__ __forceinline__ double softmax_of(const score_results &to, int e, int begin, int places, float top, int best)
{
    const int lane = (int)threadIdx.x % 32;
    float *x = to.prob + begin, sum = 0.0f, entropy = 0.0f, targets = 0.0f;
    double loss = 0.0;
    for (int k = lane; k < places; k += 32) sum += expf(x[k] - top);
    sum = warp_sum(sum);
    const float log_sum = logf(sum);
    for (int k = lane; k < places; k += 32) {
        const float log_p = x[k] - top - log_sum, t = to.target != NULL ? to.target[begin + k] : 0.0f, p = expf(x[k] - top) / sum;
        x[k] = p;
        if (p > 0.0f) entropy -= p * log_p; /* 0 x -infinity is 0 here */
        if (t > 0.0f) loss += (double)(t * (logf(t) - log_p));
        targets += t;
    }
    entropy = warp_sum(entropy);
    targets = warp_sum(targets);
    if (lane == 0) {
        to.argmax[e] = best;
        to.entropy[e] = entropy;
    }
    if (to.target != NULL)
        for (int k = lane; k < places; k += 32) to.dscore[begin + k] = *to.inv_entities * (targets * x[k] - to.target[begin + k]);
    return loss;
}

template <class T>
static __global__ void __launch_bounds__(WARPS * 32) forward_kernel(score_args<T> a, score_results to, int stride, double *share)
{
    GM_DYN_SMEM(float, queries);
    __shared__ double red[WARPS];
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, e = (int)blockIdx.x * WARPS + warp;
    double loss = 0.0;
    if (e < *a.n_rows) { /* whole warps */
        float *q = queries + (size_t)warp * stride;
        const int begin = a.cu_scores[e], places = a.cu_scores[e + 1] - begin;
        for (int c = lane * 4; c < a.width; c += 128) {
            float v[4];
            dropped4(a, e, c, v);
#pragma unroll
            for (int j = 0; j < 4; j++) q[c + j] = v[j];
        }
        __syncwarp();
        int best;
        const float top = scores_of(a, e, q, places, to.prob + begin, &best);
        loss = softmax_of(to, e, begin, places, top, best);
    }
    if (to.target != NULL) put_loss<WARPS>(loss, red, share + blockIdx.x);
}

template <class T> static gm_status region_scores_forward(const gm_region_scores *a, gm_device *dev)
{
    const score_args<T> args = args_of<T>(a, true, dev);
    const score_results to = { a->prob, a->entropy, a->argmax, a->target, a->inv_entities, a->dscore };
    const int blocks = gm_blocks(a->capacity, WARPS), stride = (a->width + 3) / 4 * 4;
    void *share;
    if (blocks == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)blocks * sizeof(double), "region_scores", &share));
    GM_TRY(GM_LAUNCH(dev, forward_kernel<T>, blocks, WARPS * 32, (size_t)(WARPS * stride) * sizeof(float), args, to, stride, (double *)share));
    return a->target != NULL ? add_loss((const double *)share, blocks, a->inv_entities, a->loss, dev) : GM_OK;
}

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

/* A warp an entity, up to `capacity`: those behind the true ones are zeroed unless gradients are added. */
template <class T>
static __global__ void __launch_bounds__(WARPS * 32) query_kernel(score_args<T> a, const float *dscore, T *dq, bool add, int capacity)
{
    const int e = (int)blockIdx.x * WARPS + (int)threadIdx.x / 32;
    const bool is_entity = e < *a.n_rows;
    if (e >= capacity || (add && !is_entity)) return;
    const int begin = is_entity ? a.cu_scores[e] : 0, places = is_entity ? a.cu_scores[e + 1] - begin : 0;
    const T *keys = a.keys + (is_entity ? (size_t)a.cu_regions[a.token[e].sequence] * a.width : 0);
    for (int c = (int)threadIdx.x % 32 * 4; c < a.width; c += 128) {
        const int left = a.width - c;
        float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, v[4];
        for (int k = 0; k < places; k++) {
            if (k < places - 1)
                load_columns(keys + (size_t)k * a.width + c, left, a.is_wide, v);
            else
                load_columns(a.null + c, left, a.is_wide, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] = fmaf(dscore[begin + k], v[j], sum[j]);
        }
        if (is_entity) {
            const float4 mask = mask4(a, e, c);
            sum[0] *= a.scale * mask.x, sum[1] *= a.scale * mask.y, sum[2] *= a.scale * mask.z, sum[3] *= a.scale * mask.w;
        }
        put4(dq + (size_t)e * a.width + c, left, a.is_wide, sum, add);
    }
}

/* The warps of CHUNKS blocks share the regions of a sentence. The grid has one sentence more than there are: its blocks zero
 * the rows behind the last one. */
template <class T>
static __global__ void __launch_bounds__(WARPS * 32)
    keys_kernel(score_args<T> a, const float *dscore, const int32_t *cu_entities, T *dkeys, bool add, int sequences, int regions)
{
    const int sequence = (int)blockIdx.x, begin = a.cu_regions[sequence];
    const bool is_behind = sequence == sequences;
    if (is_behind && add) return;
    const int end = is_behind ? regions : a.cu_regions[sequence + 1];
    const int first = is_behind ? 0 : cu_entities[sequence], last = is_behind ? 0 : cu_entities[sequence + 1];
    for (int r = begin + (int)(blockIdx.y * WARPS + threadIdx.x / 32); r < end; r += CHUNKS * WARPS)
        for (int c = (int)threadIdx.x % 32 * 4; c < a.width; c += 128) {
            float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            for (int e = first; e < last; e++) {
                const float d = dscore[a.cu_scores[e] + r - begin] * a.scale;
                float v[4];
                dropped4(a, e, c, v);
#pragma unroll
                for (int j = 0; j < 4; j++) sum[j] = fmaf(d, v[j], sum[j]);
            }
            put4(dkeys + (size_t)r * a.width + c, a.width - c, a.is_wide, sum, add);
        }
}

/* The first stage of dnull: a thread sums four columns over part blockIdx.y of the entities. */
template <class T> static __global__ void __launch_bounds__(32) null_kernel(score_args<T> a, const float *dscore, int part, float *partial)
{
    const int c = (int)(blockIdx.x * 32 + threadIdx.x) * 4, end = min((int)(blockIdx.y + 1) * part, *a.n_rows);
    if (c >= a.width) return;
    float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    for (int e = (int)blockIdx.y * part; e < end; e++) {
        const float d = dscore[a.cu_scores[e + 1] - 1] * a.scale;
        float v[4];
        dropped4(a, e, c, v);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] = fmaf(d, v[j], sum[j]);
    }
    store_columns(partial + (size_t)blockIdx.y * a.width + c, a.width - c, false, sum);
}

template <class T> static gm_status region_scores_backward(const gm_region_scores_grad *a, gm_device *dev)
{
    T *dq = (T *)a->dq, *dkeys = (T *)a->dkeys;
    const score_args<T> args = args_of<T>(a, has_wide_rows(dq, a->width) && has_wide_rows(dkeys, a->width), dev);
    const int part = gm_blocks(a->capacity, MOST_CHUNKS) > LEAST_CHUNK ? gm_blocks(a->capacity, MOST_CHUNKS) : LEAST_CHUNK;
    const int parts = gm_blocks(a->capacity, part);
    void *partial;
    GM_TRY(gm_scratch(dev, (size_t)parts * a->width * sizeof(float), "region_scores", &partial));
    if (dq != NULL && a->capacity > 0)
        GM_TRY(GM_LAUNCH(dev, query_kernel<T>, gm_blocks(a->capacity, WARPS), WARPS * 32, 0, args, a->dscore, dq, a->add_dq, a->capacity));
    if (dkeys != NULL)
        GM_TRY(GM_LAUNCH(dev, keys_kernel<T>, dim3((unsigned)a->sequences + 1, CHUNKS), WARPS * 32, 0, args, a->dscore, a->cu_entities, dkeys, a->add_dkeys,
                         a->sequences, a->regions));
    if (a->dnull == NULL) return GM_OK;
    if (parts > 0)
        GM_TRY(GM_LAUNCH(dev, null_kernel<T>, dim3((unsigned)gm_blocks(a->width, 128), (unsigned)parts), 32, 0, args, a->dscore, part, (float *)partial));
    return GM_LAUNCH(dev, column_total_kernel, gm_blocks(a->width, COLUMN_THREADS), COLUMN_THREADS, 0, (const float *)partial, parts, a->width, a->dnull,
                     a->add_dnull);
}

GM_KERNELS_CUDA(region_scores)
