/* What the kernels of attention share on the GPU: a block's sequence and head, which keys a query sees, tiles of rows
 * in shared memory and the two products over them, on plain float cores. A warp takes OWN rows against 32 rows of a
 * tile: a lane first is a row of the tile (products of columns), then columns of the head (sums over rows), and hands
 * over through 4 x 32 floats of shared memory. */
#ifndef GM_ATTENTION_PAIR_CUDA_H
#define GM_ATTENTION_PAIR_CUDA_H

#include "device/block.h" /* first: it gives the C headers C linkage */
#include "attention/attention.h"

/* OWN rows a warp: their 4 x 32 dropout scales are the words of 32 Philox counters, one a lane. Grids have TAILS
 * sequences more than there are: zero_behind is for their blocks. */
enum { OWN = 4, STEP = 32, MAX_WIDTH = 128, TAILS = 4 };

/* COLS columns a lane: heads up to 32 COLS wide. Rows are padded by 4 floats, so that 16-byte reads of 8 rows fall into
 * different banks. Sizes keep to the 48 KiB that every launch may use. Kernels are bounded to two blocks a
 * multiprocessor, which 128 registers allow: left to itself the assembler aims at three and spills. */
template <int COLS> struct tiling {
    enum { LD = 32 * COLS + 4, FORWARD_WARPS = COLS == 4 ? 4 : 8, FORWARD_TILE = 128 / COLS };
    enum { BACKWARD_WARPS = COLS == 4 ? 2 : 8, BACKWARD_TILE = COLS == 1 ? 64 : 32 };
    enum { FORWARD_FLOATS = 2 * FORWARD_TILE * LD + FORWARD_WARPS * OWN * (LD + STEP) };
    enum { BACKWARD_FLOATS = 2 * BACKWARD_TILE * LD + BACKWARD_WARPS * OWN * (2 * LD + 2 * STEP) + 2 * BACKWARD_TILE };
};

/* What forward and backward know of a block's sequence and head. */
struct pair {
    int sequence, head, queries, keys, bias_reach;
    size_t first_query, first_key, column;
    const float *bias; /* of the head, at distance 0; or NULL */
    float scale;
    bool is_causal;
};

template <class Args> static __device__ __forceinline__ pair pair_of(const Args &a)
{
    pair p;
    p.sequence = (int)blockIdx.x / a.heads;
    p.head = (int)blockIdx.x % a.heads;
    p.first_query = (size_t)a.cu_q[p.sequence];
    p.first_key = (size_t)a.cu_k[p.sequence];
    p.queries = a.cu_q[p.sequence + 1] - (int)p.first_query;
    p.keys = a.cu_k[p.sequence + 1] - (int)p.first_key;
    p.column = (size_t)p.head * (size_t)a.width;
    p.bias = a.bias != NULL ? a.bias + (size_t)p.head * (2 * (size_t)a.bias_reach + 1) + a.bias_reach : NULL;
    p.bias_reach = a.bias_reach;
    p.scale = a.scale;
    p.is_causal = a.is_causal;
    return p;
}

template <class Args> static __device__ __forceinline__ bool is_behind(const Args &a)
{
    return (int)blockIdx.x / a.heads >= a.sequences;
}

/* Rows of the block's head from the end of the last sequence to `rows` become 0, a warp a row. */
template <class T, class Args>
static __device__ void zero_behind(const Args &a, void *to, int stride, const int32_t *cu, int rows)
{
    const int lane = (int)threadIdx.x % 32, warps = (int)blockDim.x / 32;
    const int part = ((int)blockIdx.x / a.heads - a.sequences) * warps + (int)threadIdx.x / 32;
    for (int row = cu[a.sequences] + part; row < rows; row += TAILS * warps) {
        T *at = (T *)to + (size_t)row * (size_t)stride + (size_t)((int)blockIdx.x % a.heads * a.width);
        for (int column = lane; column < a.width; column += 32) gm_store(at + column, 0.0f);
    }
}

template <class T>
static __device__ __forceinline__ const T *row_of(const void *base, size_t row, int stride, size_t column)
{
    return (const T *)base + row * (size_t)stride + column;
}

static __device__ __forceinline__ bool is_seen(const pair &p, int query, int key)
{
    return query < p.queries && key < p.keys && (!p.is_causal || key <= query + p.keys - p.queries);
}

static __device__ __forceinline__ float scaled(const pair &p, int query, int key, float product)
{
    const float s = product * p.scale;
    return p.bias == NULL ? s : s + p.bias[max(-p.bias_reach, min(p.bias_reach, key - query))];
}

/* Scales of keys key .. key + 3 (key a multiple of 4) for a query. */
static __device__ __forceinline__ float4 drop_keys(const pair &p, const gm_drop_args &drop, int query, int key)
{
    return drop4(drop, p.sequence, (uint32_t)query, (uint32_t)(p.head * GM_ATTENTION_MAX_DROP_KEYS + key));
}

/* `rows` rows of a head to shared memory as float, `count` of them real, the others and columns beyond width 0.
 * Of n threads this is number i. */
template <class T, int COLS>
static __device__ __forceinline__ void load_rows(float *to, const T *from, int stride, int count, int rows, int width,
                                                 bool is_aligned, int i, int n)
{
#pragma unroll 2
    for (; i < rows * 8 * COLS; i += n) {
        const int row = i / (8 * COLS), column = i % (8 * COLS) * 4;
        const T *p = from + (size_t)row * (size_t)stride + column;
        float v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        if (row < count && is_aligned && column < width) gm_load4(p, v);
        if (row < count && !is_aligned)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (column + j < width) v[j] = gm_load(p + j);
        gm_store4(to + row * tiling<COLS>::LD + column, v);
    }
}

/* s[r] += own row r . row. Reads of own rows are the same in all lanes, those of `row` a row a lane. */
template <int COLS>
static __device__ __forceinline__ void add_products(const float *own, const float *row, float s[OWN])
{
#pragma unroll 2
    for (int c = 0; c < 32 * COLS; c += 4) {
        const float4 b = *reinterpret_cast<const float4 *>(row + c);
#pragma unroll
        for (int r = 0; r < OWN; r++) {
            const float4 a = *reinterpret_cast<const float4 *>(own + r * tiling<COLS>::LD + c);
            s[r] = fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, s[r]))));
        }
    }
}

/* sum[r] += weights of own row r times the first n rows; weights beyond n and rows up to a multiple of 4 are 0. */
template <int COLS>
static __device__ __forceinline__ void add_rows(const float *weight, const float *rows, int n, int lane,
                                                float sum[OWN][COLS])
{
#pragma unroll 1
    for (int j = 0; j < n; j += 4) {
        float w[OWN][4];
#pragma unroll
        for (int r = 0; r < OWN; r++) gm_load4(weight + r * STEP + j, w[r]);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int c = 0; c < COLS; c++) {
                const float v = rows[(j + i) * tiling<COLS>::LD + lane + 32 * c];
#pragma unroll
                for (int r = 0; r < OWN; r++) sum[r][c] = fmaf(w[r][i], v, sum[r][c]);
            }
    }
}

/* Dropout scales of OWN queries and 32 keys, written a counter a lane where lanes then read their own key's. */
static __device__ __forceinline__ void draw_scales(const pair &p, const gm_drop_args &drop, int query, int key,
                                                   int lane, float *to)
{
    if (drop.p == 0.0f) return;
    const int group = lane % 8 * 4;
    *reinterpret_cast<float4 *>(to + lane / 8 * STEP + group) = drop_keys(p, drop, query + lane / 8, key + group);
    __syncwarp();
}

#endif
