/* What the .cu files share: warp and block sums in a fixed order, loads and stores of either activation type, Philox
 * dropout, block counts. */
#ifndef GM_DEVICE_BLOCK_H
#define GM_DEVICE_BLOCK_H

#include "device/port.h"

__device__ __forceinline__ float gm_load(const float *p) { return *p; }
__device__ __forceinline__ float gm_load(const gm_bf16 *p) { return __bfloat162float(*p); }
__device__ __forceinline__ void gm_store(float *p, float v) { *p = v; }
__device__ __forceinline__ void gm_store(gm_bf16 *p, float v) { *p = __float2bfloat16(v); }

/* Four neighbours at once; p is aligned to four of them. */
__device__ __forceinline__ void gm_load4(const float *p, float v[4])
{
    const float4 w = *reinterpret_cast<const float4 *>(p);
    v[0] = w.x, v[1] = w.y, v[2] = w.z, v[3] = w.w;
}
__device__ __forceinline__ void gm_load4(const gm_bf16 *p, float v[4])
{
    const uint2 w = *reinterpret_cast<const uint2 *>(p);
    v[0] = __uint_as_float(w.x << 16), v[1] = __uint_as_float(w.x & 0xFFFF0000u);
    v[2] = __uint_as_float(w.y << 16), v[3] = __uint_as_float(w.y & 0xFFFF0000u);
}
/* Two values as bf16 in one word, a in the low half, as mma takes them. */
__device__ __forceinline__ uint32_t gm_pair(float a, float b)
{
    return (uint32_t)__bfloat16_as_ushort(__float2bfloat16(a)) | (uint32_t)__bfloat16_as_ushort(__float2bfloat16(b)) << 16;
}
__device__ __forceinline__ void gm_store4(float *p, const float v[4])
{
    *reinterpret_cast<float4 *>(p) = make_float4(v[0], v[1], v[2], v[3]);
}
__device__ __forceinline__ void gm_store4(gm_bf16 *p, const float v[4])
{
    *reinterpret_cast<uint2 *>(p) = make_uint2(gm_pair(v[0], v[1]), gm_pair(v[2], v[3]));
}
/* v as memory of type T keeps it. */
template <class T> __device__ __forceinline__ float gm_rounded(float v)
{
    T stored;
    gm_store(&stored, v);
    return gm_load(&stored);
}
static inline bool gm_is_aligned(const void *p, size_t bytes) { return (uintptr_t)p % bytes == 0; } /* NULL is */

__device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) v += __shfl_xor_sync(0xFFFFFFFFu, v, m);
    return v;
}

__device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, m));
    return v;
}

/* The four words of one Philox counter: base/philox.h, written for the device. */
__device__ __forceinline__ uint4 philox4(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint32_t h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        const uint32_t h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0;
        c1 = l1;
        c2 = h0 ^ c3 ^ k1;
        c3 = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return make_uint4(c0, c1, c2, c3);
}

/* A drop as kernels take it, by value; seed and the arrays lie in device memory. */
struct gm_drop_args {
    float p, keep;            /* keep = 1 / (1 - p) */
    uint32_t site, layer;
    const uint32_t *key, *draw;
    const gm_step *step;
};

static inline gm_drop_args drop_args(const gm_drop *d, const gm_device *dev)
{
    const gm_drop_args a = { d->p, 1.0f / (1.0f - d->p), d->site, d->layer, d->key, d->draw, dev->step };
    return a;
}

/* Scales (0 or keep) of the four elements of one counter; all `keep` is 1 without dropout. */
__device__ __forceinline__ float4 drop4(const gm_drop_args &d, int sequence, uint32_t position, uint32_t element)
{
    if (d.p == 0.0f) return make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    const uint4 r = philox4(d.step->seed, element / 4, d.draw[sequence], d.key[sequence], d.site | d.layer << 8 | position << 16);
    return make_float4((float)(r.x >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f, (float)(r.y >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f,
                       (float)(r.z >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f, (float)(r.w >> 8) * 0x1p-24f >= d.p ? d.keep : 0.0f);
}

/* Blocks that cover n items, at least one each of `per`. */
static inline int gm_blocks(int64_t n, int64_t per) { return (int)((n + per - 1) / per); }

/* Scratch of the device for two-stage sums; an error when a kernel asks for more than there is. */
static inline gm_status gm_scratch(const gm_device *dev, size_t bytes, const char *who, void **block)
{
    *block = dev->workspace;
    if (bytes <= dev->workspace_bytes) return GM_OK;
    return gm_fail(dev->err, GM_ERR_NOMEM, "%s needs %zu bytes of workspace, the device has %zu", who, bytes, dev->workspace_bytes);
}

#endif
