/* embedding_bag on the GPU. Forward takes a warp a row. Backward must add without atomics: a block owns 128 columns of one
 * row of the table and reads all indices to find its share, a byte each; its warps take 32 of them in turn, and their
 * sums are added in the order of the warps. Tables are small, and most rows of x hit a few of their rows, so the widest
 * sum is what counts: WARPS warps share it. */
#include "device/columns.h"
#include "embedding_bag/embedding_bag.h"

enum { THREADS = 128, ROWS = THREADS / 32, WARPS = 8, COLUMNS = 128 };

template <class T>
static __global__ void __launch_bounds__(THREADS)
    add_bags(T *x, const uint8_t *index, const float *table, const int *n_rows, int width, int bag, bool is_wide)
{
    const int lane = (int)threadIdx.x % 32, row = (int)blockIdx.x * ROWS + (int)threadIdx.x / 32;
    if (row >= *n_rows) return;
    T *to = x + (size_t)row * (size_t)width;
    for (int c = 4 * lane; c < width; c += COLUMNS) {
        float sum[4];
        load_columns(to + c, width - c, is_wide, sum);
        for (int k = 0; k < bag; k++) {
            float v[4];
            load_columns(table + (size_t)index[(size_t)row * (size_t)bag + (size_t)k] * (size_t)width + (size_t)c, width - c, is_wide, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] += v[j];
        }
        store_columns(to + c, width - c, is_wide, sum);
    }
}

template <class T> static gm_status embedding_bag_forward(const gm_embedding_bag *a, gm_device *dev)
{
    T *x = (T *)a->x;
    if (a->capacity == 0) return GM_OK;
    return GM_LAUNCH(dev, add_bags<T>, gm_blocks(a->capacity, ROWS), THREADS, 0, x, a->index, a->table, a->n_rows, a->width, a->bag,
                     has_wide_rows(x, a->width) && has_wide_rows(a->table, a->width));
}

/* blockIdx.x: the row of the table, blockIdx.y: its columns. */
template <class T>
static __global__ void __launch_bounds__(32 * WARPS)
    sum_bags(const T *dx, const uint8_t *index, float *dtable, const int *n_rows, int width, int bag, bool is_wide, bool add)
{
    __shared__ float of_warp[WARPS][COLUMNS];
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, entries = *n_rows * bag;
    const int first = (int)blockIdx.y * COLUMNS, column = first + 4 * lane;
    float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    for (int start = 32 * warp; start < entries; start += 32 * WARPS) {
        const bool is_mine = start + lane < entries && (unsigned)index[start + lane] == blockIdx.x;
        for (unsigned left = __ballot_sync(0xFFFFFFFFu, is_mine); left != 0; left &= left - 1) {
            const int row = (start + __ffs((int)left) - 1) / bag;
            float v[4];
            if (column >= width) continue;
            load_columns(dx + (size_t)row * (size_t)width + (size_t)column, width - column, is_wide, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] += v[j];
        }
    }
#pragma unroll
    for (int j = 0; j < 4; j++) of_warp[warp][4 * lane + j] = sum[j];
    __syncthreads(); /* all sums are there */
    const int mine = first + (int)threadIdx.x;
    if (threadIdx.x >= COLUMNS || mine >= width) return;
    float *to = dtable + (size_t)blockIdx.x * (size_t)width + (size_t)mine, total = add ? *to : 0.0f;
    for (int w = 0; w < WARPS; w++) total += of_warp[w][threadIdx.x];
    *to = total;
}

template <class T> static gm_status embedding_bag_backward(const gm_embedding_bag_grad *a, gm_device *dev)
{
    const T *dx = (const T *)a->dx;
    const dim3 grid((unsigned)a->rows, (unsigned)gm_blocks(a->width, COLUMNS));
    return GM_LAUNCH(dev, sum_bags<T>, grid, 32 * WARPS, 0, dx, a->index, a->dtable, a->n_rows, a->width, a->bag, has_wide_rows(dx, a->width),
                     a->add);
}

GM_KERNELS_CUDA(embedding_bag)
