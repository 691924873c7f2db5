/* Sums over the rows of a matrix, in two stages and a fixed order. */
#ifndef GM_DEVICE_COLUMN_SUM_H
#define GM_DEVICE_COLUMN_SUM_H

#include "device/block.h"

/* At most 64 chunks of rows, so that the second stage is short; at least 32 rows each, so that its input is small. */
enum { COLUMN_THREADS = 128, LEAST_CHUNK = 32, MOST_CHUNKS = 64 };

/* Block (x, y) adds up chunk y of columns x * 128 ...: one thread a column, so that a warp reads neighbours. */
template <class T>
static __global__ void __launch_bounds__(COLUMN_THREADS)
    column_chunk_kernel(const T *x, int rows, const int *n_rows, int columns, int chunk, float *partial)
{
    const int column = (int)(blockIdx.x * blockDim.x + threadIdx.x), first = (int)blockIdx.y * chunk;
    if (column >= columns) return;
    const int true_rows = n_rows != NULL ? min(rows, *n_rows) : rows, end = min(first + chunk, true_rows);
    float sum = 0.0f;
#pragma unroll 4
    for (int row = first; row < end; row++) sum += gm_load(x + (size_t)row * (size_t)columns + (size_t)column);
    partial[(size_t)blockIdx.y * (size_t)columns + (size_t)column] = sum;
}

static __global__ void __launch_bounds__(COLUMN_THREADS)
    column_total_kernel(const float *partial, int chunks, int columns, float *total, bool add)
{
    const int column = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (column >= columns) return;
    float sum = add ? total[column] : 0.0f;
#pragma unroll 4
    for (int k = 0; k < chunks; k++) sum += partial[(size_t)k * (size_t)columns + (size_t)column];
    total[column] = sum;
}

/* total [columns] = (or +=) the sum over the rows of x [rows, columns], of which *n_rows count (NULL: all). The chunks
 * depend on `rows` alone. */
template <class T>
static gm_status column_sum(const T *x, int rows, const int *n_rows, int columns, float *total, bool add, const gm_device *dev)
{
    const int chunk = (rows + MOST_CHUNKS - 1) / MOST_CHUNKS > LEAST_CHUNK ? (rows + MOST_CHUNKS - 1) / MOST_CHUNKS : LEAST_CHUNK;
    const int chunks = gm_blocks(rows, chunk), wide = gm_blocks(columns, COLUMN_THREADS);
    void *partial;
    if (columns == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)chunks * (size_t)columns * sizeof(float), "a sum over rows", &partial));
    if (chunks > 0)
        GM_TRY(GM_LAUNCH(dev, column_chunk_kernel<T>, dim3((unsigned)wide, (unsigned)chunks), COLUMN_THREADS, 0, x, rows, n_rows, columns, chunk,
                         (float *)partial));
    return GM_LAUNCH(dev, column_total_kernel, wide, COLUMN_THREADS, 0, (const float *)partial, chunks, columns, total, add);
}

#endif
