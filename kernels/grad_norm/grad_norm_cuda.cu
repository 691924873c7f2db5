/* grad_norm on the GPU: a block a chunk sums the shards, each element by the fixed tree in registers, and adds up the
 * squares in double; one block then adds up the chunks. Both orders depend on sizes alone. */
#include "device/columns.h"
#include "grad_norm/grad_norm.h"

/* The list of arrays travels as an argument of the launch: 1 KB of the 4 KB that every GPU takes. */
enum { THREADS = 256, WARPS = THREADS / 32, LEVELS = 8, MOST_SHARDS = 128 };

struct shards { float *first[MOST_SHARDS]; };

/* Sum over the block, given to every thread; red holds a double a warp. */
static __device__ __forceinline__ double block_sum_double(double v, double *red)
{
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) v += __shfl_xor_sync(0xFFFFFFFFu, v, m);
    if (threadIdx.x % 32 == 0) red[threadIdx.x / 32] = v;
    __syncthreads();
    double sum = 0.0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += red[w];
    return sum;
}

/* The tree as a counter counts: level l keeps the sum of 2^l shards until the next 2^l are there. Levels are unrolled so
 * that they stay in registers; the branches are the same for all threads. */
static __device__ __forceinline__ void sum_shards(const shards &list, int count, size_t at, int left, bool is_wide, float x[4])
{
    float level[LEVELS][4];
    for (int s = 0; s < count; s++) {
        load_columns(list.first[s] + at, left, is_wide, x);
        bool is_carried = true;
#pragma unroll
        for (int l = 0; l < LEVELS; l++) {
            if (!is_carried) continue;
            const bool is_full = s >> l & 1;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[j] = is_full ? level[l][j] + x[j] : x[j];
                level[l][j] = is_full ? level[l][j] : x[j];
            }
            is_carried = is_full;
        }
    }
    bool has_rest = false;
#pragma unroll
    for (int l = 0; l < LEVELS; l++) {
        if (!(count >> l & 1)) continue;
#pragma unroll
        for (int j = 0; j < 4; j++) x[j] = has_rest ? level[l][j] + x[j] : level[l][j];
        has_rest = true;
    }
}

/* Writes the sum of the shards to the first and partial[chunk] = the sum of its squares. */
static __global__ void __launch_bounds__(THREADS) norm_chunk(shards list, int count, int64_t size, double *partial, bool is_wide)
{
    __shared__ double red[WARPS];
    const int64_t first = (int64_t)blockIdx.x * GM_NORM_CHUNK, end = min(first + GM_NORM_CHUNK, size);
    double squares = 0.0;
    for (int64_t at = first + 4 * (int64_t)threadIdx.x; at < end; at += 4 * THREADS) {
        const int left = (int)min(end - at, (int64_t)4);
        const bool is_whole = is_wide && left == 4;
        float x[4];
        if (count == 1) {
            load_columns(list.first[0] + at, left, is_whole, x);
        } else {
            sum_shards(list, count, (size_t)at, left, is_whole, x);
            store_columns(list.first[0] + at, left, is_whole, x);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) squares = fma((double)x[j], (double)x[j], squares); /* what is not there is 0 */
    }
    squares = block_sum_double(squares, red);
    if (threadIdx.x == 0) partial[blockIdx.x] = squares;
}

static __global__ void __launch_bounds__(THREADS) norm_total(const double *partial, int64_t chunks, const double *loss, int shards, float max_norm,
                                                              float *norm, float *scale)
{
    __shared__ double red[WARPS];
    double squares = 0.0;
    bool is_lost = false;
    for (int s = (int)threadIdx.x; loss != NULL && s < shards; s += THREADS) is_lost = is_lost || !(fabs(loss[s]) < INFINITY); /* NaN as well */
    is_lost = __syncthreads_or(is_lost);
    for (int64_t k = threadIdx.x; k < chunks; k += THREADS) squares += partial[k];
    squares = block_sum_double(squares, red);
    if (threadIdx.x != 0) return;
    const float n = (float)sqrt(squares);
    *norm = n;
    if (is_lost || !(n < INFINITY))
        *scale = 0.0f;
    else
        *scale = max_norm > 0.0f && max_norm < n + 1e-6f ? max_norm / (n + 1e-6f) : 1.0f;
}

template <class T> static gm_status grad_norm_forward(const gm_grad_norm *a, gm_device *dev)
{
    double *partial = a->partial;
    if (a->shards < 1 || a->shards > MOST_SHARDS)
        return gm_fail(dev->err, GM_ERR_CONFIG, "a GPU sums 1 to %d shards of a step, this one has %d; lower train.shards", (int)MOST_SHARDS, a->shards);
    for (int b = 0; b < a->blocks; b++) {
        const int chunks = gm_blocks(a->size[b], GM_NORM_CHUNK);
        if (chunks == 0) continue;
        shards list;
        bool is_wide = true;
        for (int s = 0; s < MOST_SHARDS; s++) {
            list.first[s] = s < a->shards ? a->shard[b][s] : NULL;
            is_wide = is_wide && gm_is_aligned(list.first[s], 16);
        }
        GM_TRY(GM_LAUNCH(dev, norm_chunk, chunks, THREADS, 0, list, a->shards, a->size[b], partial, is_wide));
        partial += chunks;
    }
    return GM_LAUNCH(dev, norm_total, 1, THREADS, 0, (const double *)a->partial, (int64_t)(partial - a->partial), a->loss,
                     a->shards, a->max, a->norm, a->scale);
}

GM_KERNELS_CUDA_FORWARD(grad_norm)
