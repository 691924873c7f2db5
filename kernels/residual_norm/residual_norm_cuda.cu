/* residual_norm on the GPU. Both directions are bound by memory, so a row is read once and kept in registers: forward
 * takes a warp a row (a row of 384 is 12 values a lane, and sums need no barrier), backward a thread four columns of
 * every row of its block, which keeps dgamma and dbeta of these columns in 8 registers whatever the width. Rows that
 * cannot be read four values at a time, or are wider than 1,024, take loops over memory instead.
 * Statistics are those of the sum as stored, so that backward sees the row that forward normalised. */
#include "device/block.h"
#include "residual_norm/residual_norm.h"

/* PARTS blocks share out the rows of backward, row r to block r % PARTS, whatever the capacity: the order of the sums
 * over rows depends on the true number of rows alone. */
enum { WARPS = 4, THREADS = 256, MAX_WIDTH = 4 * THREADS, PARTS = 256, SLICES = 16 };

static __device__ __forceinline__ gm_token token_of(const gm_token *token, int row, const gm_drop_args &a,
                                                    const gm_drop_args &b)
{
    const gm_token none = { 0, 0 };
    return a.p != 0.0f || b.p != 0.0f ? token[row] : none;
}

static __device__ __forceinline__ void drop_quad(const gm_drop_args &drop, gm_token token, int column, float v[4])
{
    if (drop.p == 0.0f) return;
    const float4 scale = drop4(drop, token.sequence, (uint32_t)token.position, (uint32_t)column);
    v[0] *= scale.x, v[1] *= scale.y, v[2] *= scale.z, v[3] *= scale.w;
}

/* Four columns of a row where `n` are left; the rest reads as 0 and is not written. QUADS: n is 4 and p aligned. */
template <bool QUADS, class T> static __device__ __forceinline__ void load_quad(const T *p, int n, float v[4])
{
    if (QUADS) {
        gm_load4(p, v);
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = j < n ? gm_load(p + j) : 0.0f;
    }
}

template <bool QUADS, class T> static __device__ __forceinline__ void store_quad(T *p, int n, const float v[4])
{
    if (QUADS) {
        gm_store4(p, v);
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < n) gm_store(p + j, v[j]);
    }
}

/* v = residual + drop(x) as it is stored, and stores it. */
template <bool QUADS, class T>
static __device__ __forceinline__ void add_residual(const gm_residual_norm &a, const gm_drop_args &drop, gm_token token,
                                                    size_t row, int column, float v[4])
{
    const size_t at = row * (size_t)a.width + (size_t)column;
    const int n = a.width - column;
    load_quad<QUADS>((const T *)a.x + at, n, v);
    drop_quad(drop, token, column, v);
    if (a.residual != NULL) {
        float r[4];
        load_quad<QUADS>((const T *)a.residual + at, n, r);
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] += r[j];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = gm_rounded<T>(v[j]);
    store_quad<QUADS>((T *)a.sum + at, n, v);
}

template <bool QUADS, class T>
static __device__ __forceinline__ void store_norm(const gm_residual_norm &a, const gm_drop_args &drop_out,
                                                  gm_token token, size_t row, int column, float mean, float rstd,
                                                  const float v[4])
{
    const int n = a.width - column;
    float gamma[4], beta[4], y[4];
    load_quad<QUADS>(a.gamma + column, n, gamma);
    load_quad<QUADS>(a.beta + column, n, beta);
#pragma unroll
    for (int j = 0; j < 4; j++) y[j] = fmaf((v[j] - mean) * rstd, gamma[j], beta[j]);
    drop_quad(drop_out, token, column, y);
    store_quad<QUADS>((T *)a.norm + row * (size_t)a.width + (size_t)column, n, y);
}

static __device__ __forceinline__ void keep_statistics(const gm_residual_norm &a, int row, int lane, float mean,
                                                       float rstd)
{
    if (lane != 0) return;
    if (a.mean != NULL) a.mean[row] = mean;
    if (a.rstd != NULL) a.rstd[row] = rstd;
}

/* A row behind the last. */
template <bool QUADS, class T> static __device__ __forceinline__ void store_zeros(T *row, int width, int first, int step)
{
    const float zero[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    for (int column = first; column < width; column += step) store_quad<QUADS>(row + column, width - column, zero);
}

/* Whether the warp's row is one that counts; a row behind the last becomes zero. */
template <bool QUADS, class T> static __device__ __forceinline__ bool is_counted(const gm_residual_norm &a, int row, int lane)
{
    if (row < *a.n_rows) return true;
    if (row >= a.capacity) return false;
    store_zeros<QUADS>((T *)a.sum + (size_t)row * (size_t)a.width, a.width, 4 * lane, 128);
    store_zeros<QUADS>((T *)a.norm + (size_t)row * (size_t)a.width, a.width, 4 * lane, 128);
    return false;
}

/* N groups of 128 columns cover the row. */
template <class T, int N>
static __global__ void __launch_bounds__(32 * WARPS)
    forward_in_registers(gm_residual_norm a, gm_drop_args drop, gm_drop_args drop_out)
{
    const int lane = (int)threadIdx.x % 32, row = (int)blockIdx.x * WARPS + (int)threadIdx.x / 32;
    if (!is_counted<true, T>(a, row, lane)) return; /* the whole warp leaves */
    const gm_token token = token_of(a.token, row, drop, drop_out);
    float v[N][4], total = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int column = 4 * (lane + 32 * i);
        if (column >= a.width) continue;
        add_residual<true, T>(a, drop, token, (size_t)row, column, v[i]);
        total += (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
    }
    const float mean = warp_sum(total) / (float)a.width;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (4 * (lane + 32 * i) < a.width)
#pragma unroll
            for (int j = 0; j < 4; j++) squares = fmaf(v[i][j] - mean, v[i][j] - mean, squares);
    const float rstd = 1.0f / sqrtf(warp_sum(squares) / (float)a.width + a.eps);
    keep_statistics(a, row, lane, mean, rstd);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int column = 4 * (lane + 32 * i);
        if (column < a.width) store_norm<true, T>(a, drop_out, token, (size_t)row, column, mean, rstd, v[i]);
    }
}

/* Any width and alignment: the row is read back from `sum`, each lane what it wrote itself. */
template <class T>
static __global__ void __launch_bounds__(32 * WARPS)
    forward_by_loops(gm_residual_norm a, gm_drop_args drop, gm_drop_args drop_out)
{
    const int lane = (int)threadIdx.x % 32, row = (int)blockIdx.x * WARPS + (int)threadIdx.x / 32;
    if (!is_counted<false, T>(a, row, lane)) return;
    const gm_token token = token_of(a.token, row, drop, drop_out);
    const T *sum = (const T *)a.sum + (size_t)row * (size_t)a.width;
    float v[4], total = 0.0f, squares = 0.0f;
    for (int column = 4 * lane; column < a.width; column += 128) {
        add_residual<false, T>(a, drop, token, (size_t)row, column, v);
        for (int j = 0; j < 4 && column + j < a.width; j++) total += v[j];
    }
    const float mean = warp_sum(total) / (float)a.width;
    for (int column = 4 * lane; column < a.width; column += 128)
        for (int j = 0; j < 4 && column + j < a.width; j++) {
            const float apart = gm_load(sum + column + j) - mean;
            squares = fmaf(apart, apart, squares);
        }
    const float rstd = 1.0f / sqrtf(warp_sum(squares) / (float)a.width + a.eps);
    keep_statistics(a, row, lane, mean, rstd);
    for (int column = 4 * lane; column < a.width; column += 128) {
        load_quad<false>(sum + column, a.width - column, v);
        store_norm<false, T>(a, drop_out, token, (size_t)row, column, mean, rstd, v);
    }
}

static bool rows_are_quads(int32_t width, size_t quad_bytes, const void *const *rows, int n, const float *gamma,
                           const float *beta)
{
    bool is_aligned = width % 4 == 0 && width <= MAX_WIDTH && gm_is_aligned(gamma, 16) && gm_is_aligned(beta, 16);
    for (int i = 0; i < n; i++) is_aligned = is_aligned && gm_is_aligned(rows[i], quad_bytes);
    return is_aligned;
}

template <class T> static gm_status residual_norm_forward(const gm_residual_norm *a, gm_device *dev)
{
    if (a->capacity == 0) return GM_OK;
    const gm_drop_args drop = drop_args(&a->drop, dev), drop_out = drop_args(&a->drop_out, dev);
    const void *const rows[] = { a->x, a->residual, a->sum, a->norm };
    const int blocks = gm_blocks(a->capacity, WARPS), threads = 32 * WARPS;
    if (!rows_are_quads(a->width, 4 * sizeof(T), rows, 4, a->gamma, a->beta))
        return GM_LAUNCH(dev, (forward_by_loops<T>), blocks, threads, 0, *a, drop, drop_out);
    if (a->width <= 128) return GM_LAUNCH(dev, (forward_in_registers<T, 1>), blocks, threads, 0, *a, drop, drop_out);
    if (a->width <= 384) return GM_LAUNCH(dev, (forward_in_registers<T, 3>), blocks, threads, 0, *a, drop, drop_out);
    if (a->width <= 768) return GM_LAUNCH(dev, (forward_in_registers<T, 6>), blocks, threads, 0, *a, drop, drop_out);
    return GM_LAUNCH(dev, (forward_in_registers<T, 8>), blocks, threads, 0, *a, drop, drop_out);
}

/* Two sums over the block, with one barrier: red alternates, so that a row's sums are read before the barrier of the
 * next row and overwritten after it. */
static __device__ __forceinline__ float2 sum_pair(float a, float b, float2 *red)
{
    a = warp_sum(a);
    b = warp_sum(b);
    if (threadIdx.x % 32 == 0) red[threadIdx.x / 32] = make_float2(a, b);
    __syncthreads();
    float2 sum = make_float2(0.0f, 0.0f);
    for (unsigned w = 0; w < blockDim.x / 32; w++) sum.x += red[w].x, sum.y += red[w].y;
    return sum;
}

/* Normalised row and gradient of its affine image, four columns. */
template <bool QUADS, class T>
static __device__ __forceinline__ void load_grad(const gm_residual_norm_grad &a, const gm_drop_args &drop_out,
                                                 gm_token token, size_t row, int column, float mean, float rstd,
                                                 float hat[4], float d[4])
{
    const size_t at = row * (size_t)a.width + (size_t)column;
    const int n = a.width - column;
    load_quad<QUADS>((const T *)a.sum + at, n, hat);
    load_quad<QUADS>((const T *)a.dnorm + at, n, d);
    drop_quad(drop_out, token, column, d);
#pragma unroll
    for (int j = 0; j < 4; j++) hat[j] = (hat[j] - mean) * rstd;
}

template <bool QUADS, class T>
static __device__ __forceinline__ void put_grad(T *to, int n, bool adds, const float v[4])
{
    float w[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    if (adds) load_quad<QUADS>(to, n, w);
#pragma unroll
    for (int j = 0; j < 4; j++) w[j] += v[j];
    store_quad<QUADS>(to, n, w);
}

/* d (times gamma on entry) becomes the gradient of the sum, and goes to dresidual and, dropped, to dx. */
template <bool QUADS, class T>
static __device__ __forceinline__ void store_grads(const gm_residual_norm_grad &a, const gm_drop_args &drop,
                                                   gm_token token, size_t row, int column, float rstd, float2 mean,
                                                   const float hat[4], float d[4])
{
    const size_t at = row * (size_t)a.width + (size_t)column;
    const int n = a.width - column;
#pragma unroll
    for (int j = 0; j < 4; j++) d[j] = rstd * (d[j] - mean.x - hat[j] * mean.y);
    if (a.dsum != NULL) {
        float dsum[4];
        load_quad<QUADS>((const T *)a.dsum + at, n, dsum);
#pragma unroll
        for (int j = 0; j < 4; j++) d[j] += dsum[j];
    }
    if (a.dresidual != NULL) put_grad<QUADS>((T *)a.dresidual + at, n, a.add_dresidual, d);
    if (a.dx == NULL) return;
    drop_quad(drop, token, column, d);
    put_grad<QUADS>((T *)a.dx + at, n, a.add_dx, d);
}

/* Rows behind the last: zero, or left alone where gradients are added (they were zero). */
template <bool QUADS, class T> static __device__ __forceinline__ void zero_tail(const gm_residual_norm_grad &a, int row, int first, int step)
{
    for (; row < a.capacity; row += PARTS) {
        const size_t at = (size_t)row * (size_t)a.width;
        if (a.dx != NULL && !a.add_dx) store_zeros<QUADS>((T *)a.dx + at, a.width, first, step);
        if (a.dresidual != NULL && !a.add_dresidual) store_zeros<QUADS>((T *)a.dresidual + at, a.width, first, step);
    }
}

/* A block has width / 4 threads, rounded up to warps. partial (or NULL): dgamma, then dbeta of each block's rows. */
template <class T>
static __global__ void __launch_bounds__(THREADS)
    backward_in_registers(gm_residual_norm_grad a, gm_drop_args drop, gm_drop_args drop_out, float *partial)
{
    __shared__ float2 red[2][THREADS / 32];
    const int column = 4 * (int)threadIdx.x, n = *a.n_rows;
    const bool is_live = column < a.width;
    float gamma[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, dgamma[4] = { 0.0f, 0.0f, 0.0f, 0.0f },
          dbeta[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    int row = (int)blockIdx.x;
    if (is_live) gm_load4(a.gamma + column, gamma);
    for (int turn = 0; row < n; row += PARTS, turn ^= 1) {
        const gm_token token = token_of(a.token, row, drop, drop_out);
        const float mean = a.mean[row], rstd = a.rstd[row];
        float hat[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, d[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, along = 0.0f;
        if (is_live) load_grad<true, T>(a, drop_out, token, (size_t)row, column, mean, rstd, hat, d);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            dgamma[j] = fmaf(d[j], hat[j], dgamma[j]);
            dbeta[j] += d[j];
            d[j] *= gamma[j];
            along = fmaf(d[j], hat[j], along);
        }
        const float2 sum = sum_pair((d[0] + d[1]) + (d[2] + d[3]), along, red[turn]);
        const float2 means = make_float2(sum.x / (float)a.width, sum.y / (float)a.width);
        if (is_live) store_grads<true, T>(a, drop, token, (size_t)row, column, rstd, means, hat, d);
    }
    zero_tail<true, T>(a, row, column, MAX_WIDTH);
    if (partial == NULL || !is_live || (int)blockIdx.x >= n) return;
    partial += (size_t)blockIdx.x * 2 * (size_t)a.width;
    gm_store4(partial + column, dgamma);
    gm_store4(partial + a.width + column, dbeta);
}

/* Any width and alignment: two passes over the row, sums over rows in the block's own part of `partial`. */
template <class T>
static __global__ void __launch_bounds__(THREADS)
    backward_by_loops(gm_residual_norm_grad a, gm_drop_args drop, gm_drop_args drop_out, float *partial)
{
    __shared__ float2 red[2][THREADS / 32];
    const int n = *a.n_rows;
    int row = (int)blockIdx.x;
    float hat[4], d[4];
    float *dgamma = partial != NULL ? partial + (size_t)blockIdx.x * 2 * (size_t)a.width : NULL;
    for (int turn = 0; row < n; row += PARTS, turn ^= 1) {
        const gm_token token = token_of(a.token, row, drop, drop_out);
        const float mean = a.mean[row], rstd = a.rstd[row];
        const bool is_first = row == (int)blockIdx.x;
        float total = 0.0f, along = 0.0f;
        for (int column = 4 * (int)threadIdx.x; column < a.width; column += MAX_WIDTH) {
            load_grad<false, T>(a, drop_out, token, (size_t)row, column, mean, rstd, hat, d);
            for (int j = 0; j < 4 && column + j < a.width; j++) {
                if (dgamma != NULL) {
                    float *to = dgamma + column + j;
                    to[0] = fmaf(d[j], hat[j], is_first ? 0.0f : to[0]);
                    to[a.width] = d[j] + (is_first ? 0.0f : to[a.width]);
                }
                total = fmaf(d[j], a.gamma[column + j], total);
                along = fmaf(d[j] * a.gamma[column + j], hat[j], along);
            }
        }
        const float2 sum = sum_pair(total, along, red[turn]);
        const float2 means = make_float2(sum.x / (float)a.width, sum.y / (float)a.width);
        for (int column = 4 * (int)threadIdx.x; column < a.width; column += MAX_WIDTH) {
            load_grad<false, T>(a, drop_out, token, (size_t)row, column, mean, rstd, hat, d);
            for (int j = 0; j < 4 && column + j < a.width; j++) d[j] *= a.gamma[column + j];
            store_grads<false, T>(a, drop, token, (size_t)row, column, rstd, means, hat, d);
        }
    }
    zero_tail<false, T>(a, row, 4 * (int)threadIdx.x, MAX_WIDTH);
}

/* Second stage: 32 columns a block, SLICES threads a column so that loads overlap; their sums are added in order. */
static __global__ void __launch_bounds__(32 * SLICES)
    add_parts(const float *partial, const int32_t *n_rows, int width, float *dgamma, float *dbeta, bool add_dgamma,
              bool add_dbeta)
{
    __shared__ float red[SLICES][32];
    const int lane = (int)threadIdx.x % 32, slice = (int)threadIdx.x / 32, column = (int)blockIdx.x * 32 + lane;
    const int parts = min(*n_rows, (int)PARTS);
    float sum = 0.0f;
    if (column < 2 * width)
        for (int part = slice; part < parts; part += SLICES)
            sum += partial[(size_t)part * 2 * (size_t)width + (size_t)column];
    red[slice][lane] = sum;
    __syncthreads();
    if (slice != 0 || column >= 2 * width) return;
    for (int s = 1; s < SLICES; s++) sum += red[s][lane];
    float *to = column < width ? dgamma : dbeta;
    if (to == NULL) return;
    to += column % width;
    *to = sum + ((column < width ? add_dgamma : add_dbeta) ? *to : 0.0f);
}

template <class T> static gm_status residual_norm_backward(const gm_residual_norm_grad *a, gm_device *dev)
{
    const bool is_frozen = a->dgamma == NULL && a->dbeta == NULL;
    const gm_drop_args drop = drop_args(&a->drop, dev), drop_out = drop_args(&a->drop_out, dev);
    const int blocks = a->capacity < PARTS ? a->capacity : PARTS;
    const void *const rows[] = { a->sum, a->dnorm, a->dsum, a->dx, a->dresidual };
    void *partial = NULL;
    if (!is_frozen)
        GM_TRY(gm_scratch(dev, (size_t)blocks * 2 * (size_t)a->width * sizeof(float), "residual_norm", &partial));
    if (blocks > 0 && rows_are_quads(a->width, 4 * sizeof(T), rows, 5, a->gamma, NULL))
        GM_TRY(GM_LAUNCH(dev, (backward_in_registers<T>), blocks, gm_blocks(a->width, 128) * 32, 0, *a, drop, drop_out,
                         (float *)partial));
    else if (blocks > 0)
        GM_TRY(GM_LAUNCH(dev, (backward_by_loops<T>), blocks, THREADS, 0, *a, drop, drop_out, (float *)partial));
    if (is_frozen) return GM_OK;
    return GM_LAUNCH(dev, add_parts, gm_blocks(2 * (int64_t)a->width, 32), 32 * SLICES, 0, (const float *)partial,
                     a->n_rows, a->width, a->dgamma, a->dbeta, a->add_dgamma, a->add_dbeta);
}

GM_KERNELS_CUDA(residual_norm)
