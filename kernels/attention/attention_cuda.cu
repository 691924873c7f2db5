/* Attention on the GPU: one block a (sequence, head). Lengths are known on the device only, so the grid is sequences x
 * heads, and a block holds keys and values of a tweet in shared memory at once; longer sequences go through the same
 * loop a tile at a time, with a running maximum and sum (Milakov and Gimelshein 2018).
 * A warp takes OWN queries and 32 keys: a lane first is a key (scores), then columns of the head (sums over keys), and
 * hands over through 4 x 32 floats of shared memory. All sums are float32.
 * bfloat16 heads of 32 or 64 columns run forward on tensor cores instead: a warp takes 16 queries, probabilities stay
 * in registers.
 * Backward runs the same loop twice, in two blocks a pair: over keys for dq, over queries for dk and dv. So each row of
 * a gradient is summed by one warp, in order, at the price of taking scores twice (7 products instead of 5). */
#include "device/block.h"
#include "attention/attention.h"

/* OWN rows a warp: their 4 x 32 dropout scales are the words of 32 Philox counters, one a lane. */
enum { OWN = 4, STEP = 32, MAX_WIDTH = 128 };

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

/* Tensor cores. A fragment of m16n8k16 gives lane 4 g + t the elements of rows g and g + 8, columns 2 t and 2 t + 1 of
 * each 8: so scores of 16 queries x 8 keys, packed to bfloat16, are half of the left side of the next product. */
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

/* Backward. Of a query: lse, and the sum over keys of probability times its gradient, which is dout . out with dropout
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

static gm_status check_width(const gm_device *dev, int32_t width)
{
    if (width <= MAX_WIDTH) return GM_OK;
    return gm_fail(dev->err, GM_ERR_SHAPE, "attention: a head has %d columns, a GPU takes up to %d", width,
                   (int)MAX_WIDTH);
}

template <class T, int COLS> static gm_status launch_forward(const gm_attention *a, gm_device *dev, bool is_aligned)
{
    return GM_LAUNCH(dev, (forward_plain<T, COLS>), a->sequences * a->heads, 32 * tiling<COLS>::FORWARD_WARPS,
                     tiling<COLS>::FORWARD_FLOATS * sizeof(float), *a, drop_args(&a->drop, dev), is_aligned);
}

template <int WIDTH> static gm_status launch_mma(const gm_attention *a, gm_device *dev)
{
    return GM_LAUNCH(dev, forward_mma<WIDTH>, a->sequences * a->heads, 32 * MMA_WARPS,
                     2 * MMA_TILE * (WIDTH + 8) * sizeof(gm_bf16), *a, drop_args(&a->drop, dev));
}

template <class Args> static bool can_load(const Args *a, size_t bytes, size_t element)
{
    const int32_t n = (int32_t)(bytes / element);
    return gm_is_aligned(a->q, bytes) && gm_is_aligned(a->k, bytes) && gm_is_aligned(a->v, bytes) &&
           a->q_stride % n == 0 && a->k_stride % n == 0 && a->v_stride % n == 0 && a->width % n == 0;
}

/* Tensor cores take bfloat16 only, heads of these widths, rows that copies of 16 bytes can read. */
template <class T> static bool takes_mma(const gm_attention *) { return false; }
template <> bool takes_mma<gm_bf16>(const gm_attention *a)
{
    return (a->width == 32 || a->width == 64) && can_load(a, 16, sizeof(gm_bf16)) && gm_is_aligned(a->out, 4) &&
           a->out_stride % 2 == 0;
}

template <class T> static gm_status attention_forward(const gm_attention *a, gm_device *dev)
{
    GM_TRY(check_width(dev, a->width));
    if (a->sequences == 0) return GM_OK;
    if (takes_mma<T>(a)) return a->width == 32 ? launch_mma<32>(a, dev) : launch_mma<64>(a, dev);
    const bool is_aligned = can_load(a, 4 * sizeof(T), sizeof(T));
    if (a->width <= 32) return launch_forward<T, 1>(a, dev, is_aligned);
    if (a->width <= 64) return launch_forward<T, 2>(a, dev, is_aligned);
    return launch_forward<T, 4>(a, dev, is_aligned);
}

template <class T, int COLS>
static gm_status launch_backward(const gm_attention_grad *a, gm_device *dev, bool is_aligned, float *parts)
{
    return GM_LAUNCH(dev, (backward_plain<T, COLS>), dim3((unsigned)(a->sequences * a->heads), 2),
                     32 * tiling<COLS>::BACKWARD_WARPS, tiling<COLS>::BACKWARD_FLOATS * sizeof(float), *a,
                     drop_args(&a->drop, dev), is_aligned, parts);
}

template <class T> static gm_status attention_backward(const gm_attention_grad *a, gm_device *dev)
{
    const int32_t columns = a->heads * (2 * a->bias_reach + 1);
    const bool is_aligned =
        can_load(a, 4 * sizeof(T), sizeof(T)) && gm_is_aligned(a->dout, 4 * sizeof(T)) && a->out_stride % 4 == 0;
    void *parts = NULL;
    GM_TRY(check_width(dev, a->width));
    if (a->sequences == 0) return GM_OK;
    if (a->dbias != NULL)
        GM_TRY(gm_scratch(dev, (size_t)a->sequences * (size_t)columns * sizeof(float), "attention's dbias", &parts));
    if (a->width <= 32)
        GM_TRY((launch_backward<T, 1>(a, dev, is_aligned, (float *)parts)));
    else if (a->width <= 64)
        GM_TRY((launch_backward<T, 2>(a, dev, is_aligned, (float *)parts)));
    else
        GM_TRY((launch_backward<T, 4>(a, dev, is_aligned, (float *)parts)));
    if (a->dbias == NULL) return GM_OK;
    return GM_LAUNCH(dev, add_dbias, gm_blocks(columns, 128), 128, 0, (const float *)parts, a->sequences, columns,
                     a->dbias);
}

GM_KERNELS_CUDA(attention)
