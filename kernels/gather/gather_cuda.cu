/* gather on the GPU: a warp a row, four columns a lane, which is what one Philox counter decides. Rows are distinct in
 * both directions, so nothing is added in an order that could change. */
#include "device/columns.h"
#include "gather/gather.h"

enum { THREADS = 128, WARPS = THREADS / 32 };

static __device__ __forceinline__ void drop_columns(const gm_drop_args &drop, const gm_token *token, int row, int column, float v[4])
{
    if (drop.p == 0.0f) return; /* token may be NULL then */
    const gm_token t = token[row];
    const float4 scale = drop4(drop, t.sequence, (uint32_t)t.position, (uint32_t)column);
    v[0] *= scale.x, v[1] *= scale.y, v[2] *= scale.z, v[3] *= scale.w;
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    gather_rows(const T *x, const int *index, const gm_token *token, gm_drop_args drop, T *out, const int *n_rows, int capacity, int width,
                bool is_wide)
{
    const int lane = (int)threadIdx.x % 32, row = (int)blockIdx.x * WARPS + (int)threadIdx.x / 32;
    if (row >= capacity) return;
    const bool is_there = row < *n_rows; /* rows behind the last become zero */
    const T *from = x + (size_t)(is_there ? index[row] : 0) * (size_t)width;
    T *to = out + (size_t)row * (size_t)width;
    for (int c = 4 * lane; c < width; c += 128) {
        float v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        if (is_there) {
            load_columns(from + c, width - c, is_wide, v);
            drop_columns(drop, token, row, c, v);
        }
        store_columns(to + c, width - c, is_wide, v);
    }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    scatter_rows(const T *dout, const int *index, const gm_token *token, gm_drop_args drop, T *dx, const int *n_rows, int width, bool is_wide)
{
    const int lane = (int)threadIdx.x % 32, row = (int)blockIdx.x * WARPS + (int)threadIdx.x / 32;
    if (row >= *n_rows) return;
    const T *from = dout + (size_t)row * (size_t)width;
    T *to = dx + (size_t)index[row] * (size_t)width;
    for (int c = 4 * lane; c < width; c += 128) {
        float v[4], sum[4];
        load_columns(from + c, width - c, is_wide, v);
        drop_columns(drop, token, row, c, v);
        load_columns(to + c, width - c, is_wide, sum);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] += v[j];
        store_columns(to + c, width - c, is_wide, sum);
    }
}

template <class T> static gm_status gather_forward(const gm_gather *a, gm_device *dev)
{
    const T *x = (const T *)a->x;
    T *out = (T *)a->out;
    if (a->capacity == 0) return GM_OK;
    return GM_LAUNCH(dev, gather_rows<T>, gm_blocks(a->capacity, WARPS), THREADS, 0, x, a->index, a->token, drop_args(&a->drop, dev), out,
                     a->n_rows, a->capacity, a->width, has_wide_rows(x, a->width) && has_wide_rows(out, a->width));
}

template <class T> static gm_status gather_backward(const gm_gather_grad *a, gm_device *dev)
{
    const T *dout = (const T *)a->dout;
    T *dx = (T *)a->dx;
    if (!a->add && a->source > 0) {
        const cudaError_t error = cudaMemsetAsync(dx, 0, (size_t)a->source * (size_t)a->width * sizeof(T), (cudaStream_t)dev->stream);
        GM_TRY(gm_launched(dev, "cudaMemsetAsync in gather_backward", error));
    }
    if (a->capacity == 0) return GM_OK;
    return GM_LAUNCH(dev, scatter_rows<T>, gm_blocks(a->capacity, WARPS), THREADS, 0, dout, a->index, a->token, drop_args(&a->drop, dev), dx,
                     a->n_rows, a->width, has_wide_rows(dout, a->width) && has_wide_rows(dx, a->width));
}

GM_KERNELS_CUDA(gather)
