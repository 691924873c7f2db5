/* Forward on tensor cores, for bfloat16 heads of 32 or 64 columns: a warp takes 16 queries, probabilities stay in
 * registers. A fragment of m16n8k16 gives lane 4 g + t the elements of rows g and g + 8, columns 2 t and 2 t + 1 of
 * each 8: so scores of 16 queries x 8 keys, packed to bfloat16, are half of the left side of the next product. */
#ifndef GM_ATTENTION_MMA_CUDA_H
#define GM_ATTENTION_MMA_CUDA_H

#include "attention/attention_pair_cuda.h"

enum { MMA_WARPS = 4, MMA_ROWS = 16, MMA_TILE = 128 };

template <int WIDTH> struct fragments {
    uint32_t q[WIDTH / 16][4];
    float out[WIDTH / 8][4], top[2], sum[2]; /* of rows g and g + 8; sum is a lane's share */
};

/* 16 queries x 32 keys; k: rows of keys, WIDTH + 8 apart: 8 of them, read 16 bytes each, fall into different banks. */
template <int WIDTH>
static __device__ __forceinline__ void mma_scores(const fragments<WIDTH> &now, const gm_bf16 *k, int lane,
                                                  float s[4][4])
{
#pragma unroll
    for (int n = 0; n < 4; n++) {
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0.0f;
#pragma unroll
        for (int c = 0; c < WIDTH / 32; c++) { /* four 8x8 tiles: 8 keys, 32 columns */
            uint32_t b[4];
            ldmatrix_x4(b, k + (8 * n + lane % 8) * (WIDTH + 8) + 32 * c + lane / 8 * 8);
            mma_m16n8k16(s[n], now.q[2 * c], b);
            mma_m16n8k16(s[n], now.q[2 * c + 1], b + 2);
        }
    }
}

template <int WIDTH>
static __device__ __forceinline__ void mma_values(const float s[4][4], const gm_bf16 *v, int lane,
                                                  fragments<WIDTH> &now)
{
#pragma unroll
    for (int n = 0; n < 4; n += 2) { /* 16 keys */
        const uint32_t a[4] = { gm_pair(s[n][0], s[n][1]), gm_pair(s[n][2], s[n][3]), gm_pair(s[n + 1][0], s[n + 1][1]),
                                gm_pair(s[n + 1][2], s[n + 1][3]) };
#pragma unroll
        for (int c = 0; c < WIDTH / 16; c++) { /* four 8x8 tiles, turned: 16 keys, 16 columns */
            uint32_t b[4];
            ldmatrix_x4_trans(b, v + (8 * n + lane % 16) * (WIDTH + 8) + 16 * c + lane / 16 * 8);
            mma_m16n8k16(now.out[2 * c], a, b);
            mma_m16n8k16(now.out[2 * c + 1], a, b + 2);
        }
    }
}

/* Drops 16 queries x 8 keys. Their 32 counters are drawn one a lane: lane 4 g + t takes row g + 8 (t % 2) and keys
 * 4 (t / 2) .. + 3, of which it keeps two and its neighbour's row gets two. */
static __device__ __forceinline__ void mma_drop(const pair &p, const gm_drop_args &drop, int query, int key, int lane,
                                                float s[4])
{
    const int odd = lane % 2;
    const float4 scale = drop_keys(p, drop, query + lane / 4 + 8 * odd, key + lane % 4 / 2 * 4);
    const float give0 = odd ? scale.x : scale.z, give1 = odd ? scale.y : scale.w;
    const float got0 = __shfl_xor_sync(0xFFFFFFFFu, give0, 1), got1 = __shfl_xor_sync(0xFFFFFFFFu, give1, 1);
    s[0] *= odd ? got0 : scale.x;
    s[1] *= odd ? got1 : scale.y;
    s[2] *= odd ? scale.z : got0;
    s[3] *= odd ? scale.w : got1;
}

/* The four lanes that share a row agree on its maximum. */
static __device__ __forceinline__ float quad_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 2));
}

static __device__ __forceinline__ float quad_sum(float v)
{
    v += __shfl_xor_sync(0xFFFFFFFFu, v, 1);
    return v + __shfl_xor_sync(0xFFFFFFFFu, v, 2);
}

/* Scores become exp(score - top), undropped, and what was summed before shrinks to the new top. */
template <int WIDTH>
static __device__ __forceinline__ void mma_soften(const pair &p, int query, int key, int lane, float s[4][4],
                                                  fragments<WIDTH> &now)
{
#pragma unroll
    for (int h = 0; h < 2; h++) { /* rows g and g + 8 */
        const int row = query + lane / 4 + 8 * h;
        float top = now.top[h];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float &x = s[i / 2][2 * h + i % 2];
            const int column = key + i / 2 * 8 + lane % 4 * 2 + i % 2;
            x = is_seen(p, row, column) ? scaled(p, row, column, x) : -INFINITY;
            top = fmaxf(top, x);
        }
        top = quad_max(top);
        const float base = top == -INFINITY ? 0.0f : top, shrink = expf(now.top[h] - base);
        now.top[h] = top;
        now.sum[h] *= shrink;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float &x = s[i / 2][2 * h + i % 2];
            x = expf(x - base);
            now.sum[h] += x;
        }
#pragma unroll
        for (int c = 0; c < WIDTH / 8; c++) now.out[c][2 * h] *= shrink, now.out[c][2 * h + 1] *= shrink;
    }
}

/* Queries from `query` as left side of a product, straight from memory: each is read once. */
template <int WIDTH>
static __device__ __forceinline__ void mma_start(const gm_attention &a, const pair &p, int query, int lane,
                                                 fragments<WIDTH> &now)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = query + lane / 4 + 8 * h;
        const gm_bf16 *q = row_of<gm_bf16>(a.q, p.first_query + (size_t)row, a.q_stride, p.column) + lane % 4 * 2;
        now.top[h] = -INFINITY;
        now.sum[h] = 0.0f;
#pragma unroll
        for (int c = 0; c < WIDTH / 16; c++) {
            now.q[c][h] = row < p.queries ? *reinterpret_cast<const uint32_t *>(q + 16 * c) : 0u;
            now.q[c][h + 2] = row < p.queries ? *reinterpret_cast<const uint32_t *>(q + 16 * c + 8) : 0u;
        }
    }
#pragma unroll
    for (int c = 0; c < WIDTH / 8; c++) now.out[c][0] = now.out[c][1] = now.out[c][2] = now.out[c][3] = 0.0f;
}

template <int WIDTH>
static __device__ __forceinline__ void mma_store(const gm_attention &a, const pair &p, int query, int lane,
                                                 const fragments<WIDTH> &now)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int i = query + lane / 4 + 8 * h;
        const size_t row = p.first_query + (size_t)i;
        const float sum = quad_sum(now.sum[h]);
        const bool sees = sum != 0.0f;
        if (i >= p.queries) continue;
        gm_bf16 *out = (gm_bf16 *)a.out + row * (size_t)a.out_stride + p.column + lane % 4 * 2;
#pragma unroll
        for (int c = 0; c < WIDTH / 8; c++)
            *reinterpret_cast<uint32_t *>(out + 8 * c) =
                sees ? gm_pair(now.out[c][2 * h] / sum, now.out[c][2 * h + 1] / sum) : 0u;
        if (lane % 4 == 0 && a.lse != NULL)
            a.lse[row * (size_t)a.heads + (size_t)p.head] = sees ? now.top[h] + logf(sum) : -INFINITY;
    }
}

/* A tile of keys or values to shared memory, rows beyond count zeros. */
template <int WIDTH>
static __device__ __forceinline__ void mma_load(gm_bf16 *to, const gm_bf16 *from, int stride, int count, int rows)
{
    for (int i = (int)threadIdx.x; i < rows * (WIDTH / 8); i += 32 * MMA_WARPS) {
        const int row = i / (WIDTH / 8), column = i % (WIDTH / 8) * 8;
        const bool is_real = row < count;
        cp_async16(to + row * (WIDTH + 8) + column, from + (size_t)(is_real ? row : 0) * (size_t)stride + column,
                   is_real ? 16 : 0);
    }
}

template <int WIDTH>
static __global__ void __launch_bounds__(32 * MMA_WARPS) forward_mma(gm_attention a, gm_drop_args drop)
{
    GM_DYN_SMEM(gm_bf16, k);
    gm_bf16 *v = k + MMA_TILE * (WIDTH + 8);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    if (is_behind(a)) {
        zero_behind<gm_bf16>(a, a.out, a.out_stride, a.cu_q, a.q_rows);
        return;
    }
    const pair p = pair_of(a);
    for (int first = 0; first < p.queries; first += MMA_WARPS * MMA_ROWS) {
        const int query = first + warp * MMA_ROWS;
        fragments<WIDTH> now;
        mma_start<WIDTH>(a, p, query, lane, now);
        for (int from = 0; from < p.keys; from += MMA_TILE) {
            const int count = min((int)MMA_TILE, p.keys - from), rows = (count + STEP - 1) / STEP * STEP;
            if (first == 0 || p.keys > MMA_TILE) {
                __syncthreads();
                mma_load<WIDTH>(k, row_of<gm_bf16>(a.k, p.first_key + (size_t)from, a.k_stride, p.column), a.k_stride,
                                count, rows);
                mma_load<WIDTH>(v, row_of<gm_bf16>(a.v, p.first_key + (size_t)from, a.v_stride, p.column), a.v_stride,
                                count, rows);
                cp_async_commit();
                cp_async_wait<0>();
                __syncthreads();
            }
            for (int j = 0; j < count && query < p.queries; j += STEP) {
                float s[4][4];
                mma_scores<WIDTH>(now, k + j * (WIDTH + 8), lane, s);
                mma_soften<WIDTH>(p, query, from + j, lane, s, now);
                if (drop.p != 0.0f)
#pragma unroll
                    for (int n = 0; n < 4; n++) mma_drop(p, drop, query, from + j + 8 * n, lane, s[n]);
                mma_values<WIDTH>(s, v + j * (WIDTH + 8), lane, now);
            }
        }
        mma_store<WIDTH>(a, p, query, lane, now);
    }
}

#endif
