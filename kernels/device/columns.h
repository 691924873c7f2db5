/* Loads and stores of four neighbouring columns of a row that may have any length and alignment. */
#ifndef GM_DEVICE_COLUMNS_H
#define GM_DEVICE_COLUMNS_H

#include "device/block.h"

/* Four columns of which `count` exist, the rest reads as 0 and is not written. is_wide, the same for all threads: count is
 * 4 wherever the kernel calls, and p is aligned to four elements. */
template <class T> __device__ __forceinline__ void load_columns(const T *p, int count, bool is_wide, float v[4])
{
    if (is_wide) {
        gm_load4(p, v);
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = j < count ? gm_load(p + j) : 0.0f;
}

template <class T> __device__ __forceinline__ void store_columns(T *p, int count, bool is_wide, const float v[4])
{
    if (is_wide) {
        gm_store4(p, v);
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (j < count) gm_store(p + j, v[j]);
}

template <class T> static inline bool has_wide_rows(const T *p, int columns) { return columns % 4 == 0 && gm_is_aligned(p, 4 * sizeof(T)); }

#endif
