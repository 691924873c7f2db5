/* patches on the GPU: a block a row. Its threads write four neighbours at once and gather their bytes one by one: those of a
 * patch are few and stay in the first-level cache for the other two channels. */
#include "device/columns.h"
#include "patches/patches.h"

enum { THREADS = 128 };

struct patch_scales { float scale[3], shift[3]; };

/* The value of channel c; an index that is known when compiling keeps the scales out of local memory. */
static __device__ __forceinline__ float scaled(const patch_scales &s, int c, uint8_t byte)
{
    const float scale = c == 0 ? s.scale[0] : c == 1 ? s.scale[1] : s.scale[2], shift = c == 0 ? s.shift[0] : c == 1 ? s.shift[1] : s.shift[2];
    return fmaf((float)byte, scale, shift);
}

/* The row behind the last image's belongs to no buffer: its block says how many rows there are. */
template <class T>
static __global__ void __launch_bounds__(THREADS)
    patch_rows(const uint8_t *pixels, patch_scales scales, T *out, int *cu, int *n_rows, const int *n_images, int images, int side, int patch, bool is_wide)
{
    const int across = side / patch, rows = 1 + across * across, i = (int)blockIdx.x / rows, p = (int)blockIdx.x % rows - 1, n = *n_images;
    if (p < 0 && threadIdx.x == 0) {
        cu[i] = min(i, n) * rows;
        if (i == images) *n_rows = n * rows;
    }
    if (i == images) return;
    const int width = 3 * patch * patch;
    const bool is_there = i < n && p >= 0;
    const uint8_t *from = pixels + 3 * (((size_t)i * (size_t)side + (size_t)(p / across * patch)) * (size_t)side + (size_t)(p % across * patch));
    T *to = out + (size_t)blockIdx.x * (size_t)width;
    for (int first = 4 * (int)threadIdx.x; first < width; first += 4 * THREADS) {
        int x = first % patch, y = first / patch % patch, c = first / (patch * patch);
        float v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (is_there && first + j < width) v[j] = scaled(scales, c, from[3 * (y * side + x) + c]);
            if (++x < patch) continue;
            x = 0;
            if (++y < patch) continue;
            y = 0;
            c++;
        }
        store_columns(to + first, width - first, is_wide, v);
    }
}

template <class T> static gm_status patches_forward(const gm_patches *a, gm_device *dev)
{
    const int across = a->side / a->patch, rows = 1 + across * across;
    patch_scales scales;
    for (int c = 0; c < 3; c++) {
        scales.scale[c] = a->scale[c];
        scales.shift[c] = a->shift[c];
    }
    T *out = (T *)a->out;
    return GM_LAUNCH(dev, patch_rows<T>, a->images * rows + 1, THREADS, 0, a->pixels, scales, out, a->cu, a->n_rows, a->n_images, a->images, a->side,
                     a->patch, has_wide_rows(out, 3 * a->patch * a->patch));
}

GM_KERNELS_CUDA_FORWARD(patches)
