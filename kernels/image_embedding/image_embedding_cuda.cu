/* image_embedding on the GPU. Forward takes a block for a place in some images, of which its warps take one at a time: so what
 * is added is read once for all of them. Backward must add without atomics: a block owns 128 columns of a place, its warps
 * take the images in turn, and their sums are added in the order of the warps. */
#include "device/columns.h"
#include "image_embedding/image_embedding.h"

enum { FORWARD_WARPS = 4, IMAGES = 8, WARPS = 8, COLUMNS = 128 };

/* Place r of images first .. first + IMAGES - 1. */
template <class T>
static __global__ void __launch_bounds__(32 * FORWARD_WARPS)
    add_places(T *x, const float *class_token, const float *position, const int *n_images, int rows, int width, bool is_wide)
{
    const int r = (int)blockIdx.x % rows, first = (int)blockIdx.x / rows * IMAGES, end = min(first + IMAGES, *n_images);
    for (int i = first + (int)threadIdx.x / 32; i < end; i += FORWARD_WARPS) {
        T *to = x + ((size_t)i * (size_t)rows + (size_t)r) * (size_t)width;
        for (int c = 4 * ((int)threadIdx.x % 32); c < width; c += 128) {
            float v[4], p[4], k[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            load_columns(to + c, width - c, is_wide, v);
            load_columns(position + (size_t)r * (size_t)width + (size_t)c, width - c, is_wide, p);
            if (r == 0) load_columns(class_token + c, width - c, is_wide, k);
#pragma unroll
            for (int j = 0; j < 4; j++) v[j] += k[j] + p[j];
            store_columns(to + c, width - c, is_wide, v);
        }
    }
}

template <class T> static gm_status image_embedding_forward(const gm_image_embedding *a, gm_device *dev)
{
    T *x = (T *)a->x;
    if (a->images == 0) return GM_OK;
    return GM_LAUNCH(dev, add_places<T>, gm_blocks(a->images, IMAGES) * a->rows, 32 * FORWARD_WARPS, 0, x, a->class_token, a->position, a->n_images, a->rows,
                     a->width, has_wide_rows(x, a->width) && has_wide_rows(a->class_token, a->width) && has_wide_rows(a->position, a->width));
}

/* blockIdx.x: the place, blockIdx.y: its columns. */
template <class T>
static __global__ void __launch_bounds__(32 * WARPS)
    sum_places(const T *dx, float *dclass_token, float *dposition, bool add_dclass_token, bool add_dposition, const int *n_images, int rows, int width,
               bool is_wide)
{
    __shared__ float of_warp[WARPS][COLUMNS];
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, n = *n_images, r = (int)blockIdx.x;
    const int first = (int)blockIdx.y * COLUMNS, column = first + 4 * lane;
    float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    if (column < width) {
#pragma unroll 4
        for (int i = warp; i < n; i += WARPS) {
            float v[4];
            load_columns(dx + ((size_t)i * (size_t)rows + (size_t)r) * (size_t)width + (size_t)column, width - column, is_wide, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] += v[j];
        }
    }
#pragma unroll
    for (int j = 0; j < 4; j++) of_warp[warp][4 * lane + j] = sum[j];
    __syncthreads(); /* all sums are there */
    const int mine = first + (int)threadIdx.x;
    if (threadIdx.x >= COLUMNS || mine >= width) return;
    float total = 0.0f;
    for (int w = 0; w < WARPS; w++) total += of_warp[w][threadIdx.x];
    if (r == 0 && dclass_token != NULL) dclass_token[mine] = add_dclass_token ? dclass_token[mine] + total : total;
    if (dposition == NULL) return;
    float *to = dposition + (size_t)r * (size_t)width + (size_t)mine;
    *to = add_dposition ? *to + total : total;
}

template <class T> static gm_status image_embedding_backward(const gm_image_embedding_grad *a, gm_device *dev)
{
    const T *dx = (const T *)a->dx;
    const dim3 grid((unsigned)a->rows, (unsigned)gm_blocks(a->width, COLUMNS));
    return GM_LAUNCH(dev, sum_places<T>, grid, 32 * WARPS, 0, dx, a->dclass_token, a->dposition, a->add_dclass_token, a->add_dposition, a->n_images, a->rows,
                     a->width, has_wide_rows(dx, a->width));
}

GM_KERNELS_CUDA(image_embedding)
