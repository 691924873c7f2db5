/* dropout_entropy on the GPU: a warp an entity, one sample after the other. A lane owns every 32nd group of four columns,
 * the elements of one dropout counter, and keeps them in shared memory where no other lane looks, so that one draw serves
 * all classes. */
#include "device/columns.h"
#include "dropout_entropy/dropout_entropy.h"

enum { WARPS = 4, SLOTS = GM_ENTROPY_MAX_CLASSES / 32 };

template <class T> struct entropy_args {
    const T *x, *w;
    const float *bias, *null;
    const int32_t *cu_rows, *cu_scores;
    const gm_entity_span *span;
    const gm_token *token;
    const int32_t *cu_words;
    gm_drop_args drop;
    double *prob, *entropy;
    const int32_t *n_rows;
    float scale;
    uint32_t first_draw;
    int samples, step, classes, width;
    bool is_wide, has_wide_null;
};

/* An entity, and where its classes and their sums lie. */
struct of_entity {
    int sequence, first_row, rows, classes;
    uint32_t position;
    double *prob;
};

template <class T> static __device__ __forceinline__ of_entity entity_of(const entropy_args<T> &a, int e)
{
    of_entity k = { a.token[e].sequence, 0, a.classes, 0, 0, NULL };
    if (a.cu_rows != NULL) {
        k.first_row = a.cu_rows[k.sequence];
        k.rows = a.cu_rows[k.sequence + 1] - k.first_row;
    }
    k.classes = k.rows + (a.null != NULL ? 1 : 0);
    k.prob = a.prob + (a.cu_scores != NULL ? (size_t)a.cu_scores[e] : (size_t)e * (size_t)k.classes);
    if (a.drop.p > 0.0f)
        k.position = (uint32_t)(a.span[e].first - a.cu_words[k.sequence]) << 4 | (uint32_t)(a.span[e].last - a.span[e].first);
    return k;
}

/* The scales of the four elements of one counter. */
template <class T>
static __device__ __forceinline__ float4 scales_of(const entropy_args<T> &a, const of_entity &k, uint32_t draw, int column)
{
    const gm_drop_args &d = a.drop;
    if (d.p == 0.0f) return make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    const uint4 r = philox4(d.step->seed, (uint32_t)column / 4, draw, d.key[k.sequence], d.site | d.layer << 8 | k.position << 16);
    return make_float4((float)(r.x >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f, (float)(r.y >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f,
                       (float)(r.z >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f, (float)(r.w >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f);
}

template <class T>
static __device__ __forceinline__ void drop_state(const entropy_args<T> &a, const of_entity &k, int e, int sample, float4 *state)
{
    const T *x = a.x + ((size_t)e + (size_t)sample * (size_t)a.step) * (size_t)a.width;
    for (int c = 4 * ((int)threadIdx.x % 32); c < a.width; c += 128) {
        float v[4];
        load_columns(x + c, a.width - c, a.is_wide, v);
        const float4 s = scales_of(a, k, a.first_draw + (uint32_t)sample, c);
        state[c / 4] = make_float4(v[0] * s.x, v[1] * s.y, v[2] * s.z, v[3] * s.w);
    }
}

/* The lane's share of the product with one row. */
template <class W> static __device__ __forceinline__ float share_of(const float4 *state, const W *row, int width, bool is_wide)
{
    float sum = 0.0f;
    for (int c = 4 * ((int)threadIdx.x % 32); c < width; c += 128) {
        float v[4];
        load_columns(row + c, width - c, is_wide, v);
        const float4 s = state[c / 4];
        sum = fmaf(s.x, v[0], fmaf(s.y, v[1], fmaf(s.z, v[2], fmaf(s.w, v[3], sum))));
    }
    return sum;
}

/* Logits of one sample: lane l gets those of classes l, l + 32, ... */
template <class T>
static __device__ __forceinline__ void logits_of(const entropy_args<T> &a, const of_entity &k, const float4 *state, float z[SLOTS])
{
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int s = 0; s < SLOTS; s++) {
        z[s] = -INFINITY;
        for (int c = 32 * s; c < min(k.classes, 32 * s + 32); c++) {
            const bool is_null = c == k.rows;
            const float share = is_null ? share_of(state, a.null, a.width, a.has_wide_null)
                                        : share_of(state, a.w + (size_t)(k.first_row + c) * (size_t)a.width, a.width, a.is_wide);
            const float sum = warp_sum(share) * a.scale;
            if (c % 32 == lane) z[s] = a.bias != NULL && !is_null ? sum + a.bias[c] : sum;
        }
    }
}

/* The lane's sums over the samples. */
struct sums {
    double prob[SLOTS], first, others;
};

/* The others' softmax among themselves first, then class 0 against their sum, as on the CPU. */
static __device__ __forceinline__ void add_sample(const float z[SLOTS], int classes, sums *to)
{
    const int lane = (int)threadIdx.x % 32;
    const float first = __shfl_sync(0xFFFFFFFFu, z[0], 0);
    float top = -INFINITY, sum = 0.0f, moment = 0.0f, e[SLOTS];
#pragma unroll
    for (int s = 0; s < SLOTS; s++) top = fmaxf(top, lane + 32 * s == 0 ? -INFINITY : z[s]);
    top = warp_max(top);
#pragma unroll
    for (int s = 0; s < SLOTS; s++) {
        const bool is_other = lane + 32 * s > 0 && lane + 32 * s < classes;
        const float below = is_other ? z[s] - top : 0.0f;
        e[s] = is_other ? expf(below) : 0.0f;
        sum += e[s];
        moment = fmaf(e[s], below, moment);
    }
    sum = warp_sum(sum);
    moment = warp_sum(moment);
    const float log_sum = logf(sum), lead = first - top - log_sum, ratio = expf(-fabsf(lead));
    const float larger = 1.0f / (1.0f + ratio), smaller = ratio * larger;
    const float others = lead > 0.0f ? smaller : larger, share = others / sum;
#pragma unroll
    for (int s = 0; s < SLOTS; s++) to->prob[s] += (double)(lane + 32 * s == 0 ? (lead > 0.0f ? larger : smaller) : e[s] * share);
    to->first += (double)(log1pf(ratio) + fabsf(lead) * smaller);
    to->others += (double)(others * (log_sum - moment / sum));
}

template <class T> static __global__ void __launch_bounds__(WARPS * 32, 4) entropy_kernel(entropy_args<T> a)
{
    GM_DYN_SMEM(float4, states);
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, e = (int)blockIdx.x * WARPS + warp;
    if (e >= *a.n_rows) return;
    const of_entity k = entity_of(a, e);
    float4 *state = states + (size_t)warp * (size_t)((a.width + 3) / 4);
    sums to;
#pragma unroll
    for (int s = 0; s < SLOTS; s++) to.prob[s] = lane + 32 * s < k.classes ? k.prob[lane + 32 * s] : 0.0;
    to.first = lane == 0 ? a.entropy[2 * (size_t)e] : 0.0; /* only the lane that writes them reads them */
    to.others = lane == 0 ? a.entropy[2 * (size_t)e + 1] : 0.0;
    for (int t = 0; t < a.samples; t++) {
        float z[SLOTS];
        if (k.classes == 1) {
            to.prob[0] += 1.0;
            continue;
        }
        drop_state(a, k, e, t, state);
        logits_of(a, k, state, z);
        add_sample(z, k.classes, &to);
    }
#pragma unroll
    for (int s = 0; s < SLOTS; s++)
        if (lane + 32 * s < k.classes) k.prob[lane + 32 * s] = to.prob[s];
    if (lane != 0) return;
    a.entropy[2 * (size_t)e] = to.first;
    a.entropy[2 * (size_t)e + 1] = to.others;
}

template <class T> static gm_status dropout_entropy_forward(const gm_dropout_entropy *a, gm_device *dev)
{
    const T *x = (const T *)a->x, *w = (const T *)a->w;
    const entropy_args<T> args = { x, w, a->bias, a->null, a->cu_rows, a->cu_scores, a->span, a->token, a->cu_words,
                                   drop_args(&a->drop, dev), a->prob, a->entropy, a->n_rows, a->scale, a->first_draw,
                                   a->samples, a->step, a->classes, a->width, has_wide_rows(x, a->width) && has_wide_rows(w, a->width),
                                   has_wide_rows(a->null, a->width) };
    const size_t smem = (size_t)WARPS * (size_t)((a->width + 3) / 4) * sizeof(float4);
    if (a->capacity == 0) return GM_OK;
    return GM_LAUNCH(dev, entropy_kernel<T>, gm_blocks(a->capacity, WARPS), WARPS * 32, smem, args);
}

GM_KERNELS_CUDA_FORWARD(dropout_entropy)
