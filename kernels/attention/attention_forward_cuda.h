/* Forward without tensor cores: float32, and bfloat16 where rows or heads do not suit attention_mma_cuda.h. Keys and
 * values of a tweet lie in shared memory at once; longer sequences go through the same loop a tile at a time, with a
 * running maximum and sum (Milakov and Gimelshein 2018). All sums are float32. */
#ifndef GM_ATTENTION_FORWARD_CUDA_H
#define GM_ATTENTION_FORWARD_CUDA_H

#include "attention/attention_pair_cuda.h"

/* What one warp knows of its queries while it goes through the keys. */
template <int COLS> struct running {
    float out[OWN][COLS], top[OWN], sum[OWN];
};

/* OWN queries from `query`, 32 keys from `key`, whose rows are k and v. sum is a lane's share until the end. */
template <int COLS>
static __device__ __forceinline__ void forward_step(const pair &p, const gm_drop_args &drop, int query, int key,
                                                    int lane, const float *own, const float *k, const float *v,
                                                    float *weight, running<COLS> &now)
{
    float s[OWN] = { 0.0f, 0.0f, 0.0f, 0.0f };
    draw_scales(p, drop, query, key, lane, weight);
    add_products<COLS>(own, k + lane * tiling<COLS>::LD, s);
#pragma unroll
    for (int r = 0; r < OWN; r++) {
        s[r] = is_seen(p, query + r, key + lane) ? scaled(p, query + r, key + lane, s[r]) : -INFINITY;
        const float top = fmaxf(now.top[r], warp_max(s[r]));
        const float base = top == -INFINITY ? 0.0f : top; /* sees no key yet: zeros, not NaN */
        const float e = expf(s[r] - base), shrink = expf(now.top[r] - base);
        float *w = weight + r * STEP + lane;
        *w = drop.p == 0.0f ? e : e * *w;
        now.top[r] = top;
        now.sum[r] = fmaf(now.sum[r], shrink, e);
#pragma unroll
        for (int c = 0; c < COLS; c++) now.out[r][c] *= shrink;
    }
    __syncwarp();
    add_rows<COLS>(weight, v, min((int)STEP, p.keys - key), lane, now.out);
    __syncwarp(); /* the next step overwrites the weights */
}

template <class T, int COLS>
static __device__ __forceinline__ void store_queries(const gm_attention &a, const pair &p, int query, int lane,
                                                     running<COLS> &now)
{
#pragma unroll
    for (int r = 0; r < OWN; r++) {
        const float sum = warp_sum(now.sum[r]);
        const bool sees = sum != 0.0f; /* NaN counts: it must reach the output */
        if (query + r >= p.queries) continue;
        const size_t row = p.first_query + (size_t)(query + r);
        T *out = (T *)a.out + row * (size_t)a.out_stride + p.column;
#pragma unroll
        for (int c = 0; c < COLS; c++)
            if (lane + 32 * c < a.width) gm_store(out + lane + 32 * c, sees ? now.out[r][c] / sum : 0.0f);
        if (lane == 0 && a.lse != NULL)
            a.lse[row * (size_t)a.heads + (size_t)p.head] = sees ? now.top[r] + logf(sum) : -INFINITY;
    }
}

template <class T, int COLS>
static __global__ void __launch_bounds__(32 * tiling<COLS>::FORWARD_WARPS, 2)
    forward_plain(gm_attention a, gm_drop_args drop, bool is_aligned)
{
    enum { LD = tiling<COLS>::LD, WARPS = tiling<COLS>::FORWARD_WARPS, TILE = tiling<COLS>::FORWARD_TILE };
    GM_DYN_SMEM(float, shared);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float *k = shared, *v = k + TILE * LD, *own = v + TILE * LD + warp * OWN * LD;
    float *weight = shared + 2 * TILE * LD + WARPS * OWN * LD + warp * OWN * STEP;
    if (is_behind(a)) {
        zero_behind<T>(a, a.out, a.out_stride, a.cu_q, a.q_rows);
        return;
    }
    const pair p = pair_of(a);
    for (int first = 0; first < p.queries; first += WARPS * OWN) {
        const int query = first + warp * OWN;
        running<COLS> now;
#pragma unroll
        for (int r = 0; r < OWN; r++) {
            now.top[r] = -INFINITY;
            now.sum[r] = 0.0f;
#pragma unroll
            for (int c = 0; c < COLS; c++) now.out[r][c] = 0.0f;
        }
        __syncwarp(); /* the last queries of this warp are done with */
        load_rows<T, COLS>(own, row_of<T>(a.q, p.first_query + (size_t)query, a.q_stride, p.column), a.q_stride,
                           p.queries - query, OWN, a.width, is_aligned, lane, 32);
        __syncwarp();
        for (int from = 0; from < p.keys; from += TILE) {
            const int count = min((int)TILE, p.keys - from);
            if (first == 0 || p.keys > TILE) { /* else the keys of the last queries are still there */
                const int rows = (count + STEP - 1) / STEP * STEP;
                __syncthreads();
                load_rows<T, COLS>(k, row_of<T>(a.k, p.first_key + (size_t)from, a.k_stride, p.column), a.k_stride,
                                   count, rows, a.width, is_aligned, (int)threadIdx.x, 32 * WARPS);
                load_rows<T, COLS>(v, row_of<T>(a.v, p.first_key + (size_t)from, a.v_stride, p.column), a.v_stride,
                                   count, rows, a.width, is_aligned, (int)threadIdx.x, 32 * WARPS);
                __syncthreads();
            }
            if (query < p.queries)
                for (int j = 0; j < count; j += STEP)
                    forward_step<COLS>(p, drop, query, from + j, lane, own, k + j * LD, v + j * LD, weight, now);
        }
        store_queries<T, COLS>(a, p, query, lane, now);
    }
}

#endif
