/* Backward runs the loop of forward twice, in two blocks a pair: over keys for dq, over queries for dk and dv. So each
 * row of a gradient is summed by one warp, in order, at the price of taking scores twice (7 products instead of 5). */
#ifndef GM_ATTENTION_BACKWARD_CUDA_H
#define GM_ATTENTION_BACKWARD_CUDA_H

#include "attention/attention_pair_cuda.h"

/* Of a query: lse, and the sum over keys of probability times its gradient, which is dout . out with dropout
 * as well (Dao et al. 2022, appendix B.4). */
template <class T, int COLS>
static __device__ __forceinline__ float dot_out(const gm_attention_grad &a, const pair &p, int query, const float *dout,
                                                int lane)
{
    const T *out = row_of<T>(a.out, p.first_query + (size_t)query, a.out_stride, p.column);
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < COLS; c++) {
        const int column = lane + 32 * c;
        if (column < a.width) sum = fmaf(dout[column], gm_load(out + column), sum);
    }
    return warp_sum(sum);
}

/* Probability, undropped, from q . k; 0 where the query does not see the key. */
static __device__ __forceinline__ float probability(const pair &p, int query, int key, float product, float lse)
{
    return is_seen(p, query, key) ? expf(scaled(p, query, key, product) - lse) : 0.0f;
}

template <class T, int COLS>
static __device__ __forceinline__ void store_rows(void *to, size_t first, int stride, size_t column, int rows,
                                                  int width, int lane, float scale, const float v[OWN][COLS])
{
#pragma unroll
    for (int r = 0; r < OWN; r++)
#pragma unroll
        for (int c = 0; c < COLS; c++)
            if (r < rows && lane + 32 * c < width)
                gm_store((T *)to + (first + (size_t)r) * (size_t)stride + column + (size_t)(lane + 32 * c),
                         scale * v[r][c]);
}

/* Adds a tile of score gradients ([queries][STEP], m x n of them real) to the block's part of dbias. A thread owns the
 * columns it adds to, and adds diagonal after diagonal, so the order is fixed. */
static __device__ __forceinline__ void add_diagonals(const pair &p, const float *ds, int query, int m, int key, int n,
                                                     float *partial)
{
    const int low = key - (query + m - 1), high = key + n - 1 - query, reach = p.bias_reach;
    const int first = max(-reach, min(reach, low)), last = max(-reach, min(reach, high));
    for (int column = first + (int)threadIdx.x; column <= last; column += (int)blockDim.x) {
        const int to = column == reach ? high : min(column, high);
        float sum = 0.0f;
        for (int apart = column == -reach ? low : max(column, low); apart <= to; apart++) {
            const int shift = apart - (key - query); /* element (i, i + shift) of the tile */
            for (int i = max(0, -shift); i < min(m, n - shift); i++) sum += ds[i * STEP + i + shift];
        }
        partial[column] += sum;
    }
}

/* The block's shared memory: two tiles of rows that every warp reads, two sets of OWN rows a warp, weights. */
template <int COLS> struct backward_memory {
    float *a, *b, *own_a, *own_b, *ds, *dropped, *all_ds, *lse, *delta;
    __device__ __forceinline__ backward_memory(float *shared, int warp)
    {
        enum { LD = tiling<COLS>::LD, WARPS = tiling<COLS>::BACKWARD_WARPS, TILE = tiling<COLS>::BACKWARD_TILE };
        a = shared;
        b = a + TILE * LD;
        own_a = b + TILE * LD + warp * OWN * LD;
        own_b = own_a + WARPS * OWN * LD;
        all_ds = b + TILE * LD + 2 * WARPS * OWN * LD;
        ds = all_ds + warp * OWN * STEP;
        dropped = ds + WARPS * OWN * STEP;
        lse = all_ds + 2 * WARPS * OWN * STEP;
        delta = lse + TILE;
    }
};

/* dq, and the pair's part of dbias: own rows are queries (q, dout), the tile's are keys (k, v). */
template <class T, int COLS>
static __device__ __forceinline__ void backward_queries(const gm_attention_grad &a, const pair &p,
                                                        const gm_drop_args &drop, bool is_aligned, float *shared,
                                                        float *dbias)
{
    enum { LD = tiling<COLS>::LD, WARPS = tiling<COLS>::BACKWARD_WARPS, TILE = tiling<COLS>::BACKWARD_TILE };
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const backward_memory<COLS> at(shared, warp);
    for (int first = 0; first < p.queries; first += WARPS * OWN) {
        const int query = first + warp * OWN, left = p.queries - query;
        const size_t row = p.first_query + (size_t)query;
        float dq[OWN][COLS] = {}, lse[OWN] = {}, delta[OWN] = {};
        __syncwarp(); /* the last queries of this warp are done with */
        load_rows<T, COLS>(at.own_a, row_of<T>(a.q, row, a.q_stride, p.column), a.q_stride, left, OWN, a.width,
                           is_aligned, lane, 32);
        load_rows<T, COLS>(at.own_b, row_of<T>(a.dout, row, a.out_stride, p.column), a.out_stride, left, OWN, a.width,
                           is_aligned, lane, 32);
        __syncwarp();
#pragma unroll
        for (int r = 0; r < OWN; r++)
            if (r < left) {
                lse[r] = a.lse[(row + (size_t)r) * (size_t)a.heads + (size_t)p.head];
                delta[r] = dot_out<T, COLS>(a, p, query + r, at.own_b + r * LD, lane);
            }
        for (int from = 0; from < p.keys; from += TILE) {
            const int count = min((int)TILE, p.keys - from);
            if (first == 0 || p.keys > TILE) {
                const int rows = (count + STEP - 1) / STEP * STEP;
                const size_t key = p.first_key + (size_t)from;
                __syncthreads();
                load_rows<T, COLS>(at.a, row_of<T>(a.k, key, a.k_stride, p.column), a.k_stride, count, rows, a.width,
                                   is_aligned, (int)threadIdx.x, 32 * WARPS);
                load_rows<T, COLS>(at.b, row_of<T>(a.v, key, a.v_stride, p.column), a.v_stride, count, rows, a.width,
                                   is_aligned, (int)threadIdx.x, 32 * WARPS);
                __syncthreads();
            }
            for (int j = 0; j < count; j += STEP) {
                const int key = from + j, n = min((int)STEP, p.keys - key);
                if (left > 0) {
                    float s[OWN] = {}, d[OWN] = {};
                    draw_scales(p, drop, query, key, lane, at.ds);
                    add_products<COLS>(at.own_a, at.a + (j + lane) * LD, s);
                    add_products<COLS>(at.own_b, at.b + (j + lane) * LD, d);
#pragma unroll
                    for (int r = 0; r < OWN; r++) {
                        float *ds = at.ds + r * STEP + lane;
                        if (drop.p != 0.0f) d[r] *= *ds;
                        *ds = probability(p, query + r, key + lane, s[r], lse[r]) * (d[r] - delta[r]);
                    }
                    __syncwarp();
                    add_rows<COLS>(at.ds, at.a + j * LD, n, lane, dq);
                    __syncwarp(); /* the next step overwrites the weights */
                }
                if (dbias == NULL) continue;
                __syncthreads(); /* diagonals cross the rows of all warps */
                add_diagonals(p, at.all_ds, first, min((int)(WARPS * OWN), p.queries - first), key, n, dbias);
                __syncthreads();
            }
        }
        store_rows<T, COLS>(a.dq, row, a.q_stride, p.column, left, a.width, lane, a.scale, dq);
    }
}

/* dk and dv: own rows are keys (k, v), the tile's are queries (q, dout). */
template <class T, int COLS>
static __device__ __forceinline__ void backward_keys(const gm_attention_grad &a, const pair &p,
                                                     const gm_drop_args &drop, bool is_aligned, float *shared)
{
    enum { LD = tiling<COLS>::LD, WARPS = tiling<COLS>::BACKWARD_WARPS, TILE = tiling<COLS>::BACKWARD_TILE };
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const backward_memory<COLS> at(shared, warp);
    for (int first = 0; first < p.keys; first += WARPS * OWN) {
        const int key = first + warp * OWN, left = p.keys - key;
        const size_t row = p.first_key + (size_t)key;
        float dk[OWN][COLS] = {}, dv[OWN][COLS] = {};
        __syncwarp();
        load_rows<T, COLS>(at.own_a, row_of<T>(a.k, row, a.k_stride, p.column), a.k_stride, left, OWN, a.width,
                           is_aligned, lane, 32);
        load_rows<T, COLS>(at.own_b, row_of<T>(a.v, row, a.v_stride, p.column), a.v_stride, left, OWN, a.width,
                           is_aligned, lane, 32);
        __syncwarp();
        for (int from = 0; from < p.queries; from += TILE) {
            const int count = min((int)TILE, p.queries - from);
            if (first == 0 || p.queries > TILE) {
                const int rows = (count + STEP - 1) / STEP * STEP;
                const size_t query = p.first_query + (size_t)from;
                __syncthreads();
                load_rows<T, COLS>(at.a, row_of<T>(a.q, query, a.q_stride, p.column), a.q_stride, count, rows, a.width,
                                   is_aligned, (int)threadIdx.x, 32 * WARPS);
                load_rows<T, COLS>(at.b, row_of<T>(a.dout, query, a.out_stride, p.column), a.out_stride, count, rows,
                                   a.width, is_aligned, (int)threadIdx.x, 32 * WARPS);
                for (int i = (int)threadIdx.x; i < rows; i += 32 * WARPS)
                    at.lse[i] = i < count ? a.lse[(query + (size_t)i) * (size_t)a.heads + (size_t)p.head] : 0.0f;
                __syncthreads(); /* dout is read back below */
                for (int i = warp; i < rows; i += WARPS) {
                    const float delta = i < count ? dot_out<T, COLS>(a, p, from + i, at.b + i * LD, lane) : 0.0f;
                    if (lane == 0) at.delta[i] = delta;
                }
                __syncthreads();
            }
            for (int j = 0; j < count && left > 0; j += STEP) {
                const int query = from + j + lane, n = min((int)STEP, count - j);
                const float4 scales = drop_keys(p, drop, query, key);
                const float scale[OWN] = { scales.x, scales.y, scales.z, scales.w };
                float s[OWN] = {}, d[OWN] = {};
                add_products<COLS>(at.own_a, at.a + (j + lane) * LD, s);
                add_products<COLS>(at.own_b, at.b + (j + lane) * LD, d);
#pragma unroll
                for (int r = 0; r < OWN; r++) {
                    const float e = probability(p, query, key + r, s[r], at.lse[j + lane]);
                    at.dropped[r * STEP + lane] = e * scale[r];
                    at.ds[r * STEP + lane] = e * (d[r] * scale[r] - at.delta[j + lane]);
                }
                __syncwarp();
                add_rows<COLS>(at.ds, at.a + j * LD, n, lane, dk);
                add_rows<COLS>(at.dropped, at.b + j * LD, n, lane, dv);
                __syncwarp();
            }
        }
        store_rows<T, COLS>(a.dk, row, a.k_stride, p.column, left, a.width, lane, a.scale, dk);
        store_rows<T, COLS>(a.dv, row, a.v_stride, p.column, left, a.width, lane, 1.0f, dv);
    }
}

/* blockIdx.y 0: dq and dbias, 1: dk and dv. dbias_parts: [sequences, heads, 2 reach + 1] or NULL. */
template <class T, int COLS>
static __global__ void __launch_bounds__(32 * tiling<COLS>::BACKWARD_WARPS, 2)
    backward_plain(gm_attention_grad a, gm_drop_args drop, bool is_aligned, float *dbias_parts)
{
    GM_DYN_SMEM(float, shared);
    if (is_behind(a)) {
        if (blockIdx.y == 0) zero_behind<T>(a, a.dq, a.q_stride, a.cu_q, a.q_rows);
        if (blockIdx.y == 1) zero_behind<T>(a, a.dk, a.k_stride, a.cu_k, a.k_rows);
        if (blockIdx.y == 1) zero_behind<T>(a, a.dv, a.v_stride, a.cu_k, a.k_rows);
        return;
    }
    const pair p = pair_of(a);
    if (blockIdx.y == 1) {
        backward_keys<T, COLS>(a, p, drop, is_aligned, shared);
        return;
    }
    float *dbias = NULL;
    if (dbias_parts != NULL) {
        const int columns = 2 * p.bias_reach + 1;
        float *part = dbias_parts + (size_t)blockIdx.x * (size_t)columns;
        for (int i = (int)threadIdx.x; i < columns; i += (int)blockDim.x) part[i] = 0.0f;
        __syncthreads(); /* other threads add to it */
        dbias = part + p.bias_reach;
    }
    backward_queries<T, COLS>(a, p, drop, is_aligned, shared, dbias);
}

/* Second stage: a thread a column, sequence after sequence. */
static __global__ void __launch_bounds__(128) add_dbias(const float *parts, int sequences, int columns, float *dbias)
{
    const int column = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (column >= columns) return;
    float sum = 0.0f;
#pragma unroll 4
    for (int i = 0; i < sequences; i++) sum += parts[(size_t)i * (size_t)columns + (size_t)column];
    dbias[column] += sum;
}

#endif
