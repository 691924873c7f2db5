/* Dropout masks for the CPU kernels: eight counters at a time, so that the compiler fills vector registers. */
#ifndef GM_KERNELS_DROPOUT_CPU_H
#define GM_KERNELS_DROPOUT_CPU_H

#include "device.h"

/* scale[i] of elements first + i, i < n: 0 where dropped, 1 / (1 - p) where kept. `first` is a multiple of 4 and scale
 * has room for n rounded up to 32. */
static inline void gm_drop_scales(const gm_drop *d, uint64_t seed, int32_t sequence, uint32_t position, uint32_t first,
                                  int32_t n, float *restrict scale)
{
    enum { LANES = 8 };
    const uint32_t purpose = gm_purpose(d->site, d->layer, position);
    const uint32_t draw = d->draw[sequence], key = d->key[sequence];
    const float keep = 1.0f / (1.0f - d->p);
    for (int32_t at = 0; at < n; at += 4 * LANES) {
        uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
        for (int l = 0; l < LANES; l++) {
            c0[l] = (first + (uint32_t)at) / 4 + (uint32_t)l;
            c1[l] = draw;
            c2[l] = key;
            c3[l] = purpose;
        }
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++) {
            for (int l = 0; l < LANES; l++) {
                const uint64_t p0 = (uint64_t)0xD2511F53u * c0[l], p1 = (uint64_t)0xCD9E8D57u * c2[l];
                c0[l] = (uint32_t)(p1 >> 32) ^ c1[l] ^ k0;
                c1[l] = (uint32_t)p1;
                c2[l] = (uint32_t)(p0 >> 32) ^ c3[l] ^ k1;
                c3[l] = (uint32_t)p0;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        for (int l = 0; l < LANES; l++) {
            scale[at + 4 * l + 0] = gm_uniform(c0[l]) >= d->p ? keep : 0.0f;
            scale[at + 4 * l + 1] = gm_uniform(c1[l]) >= d->p ? keep : 0.0f;
            scale[at + 4 * l + 2] = gm_uniform(c2[l]) >= d->p ? keep : 0.0f;
            scale[at + 4 * l + 3] = gm_uniform(c3[l]) >= d->p ? keep : 0.0f;
        }
    }
}

/* Room a caller of gm_drop_scales must have for n elements. */
static inline int32_t gm_drop_room(int32_t n) { return (n + 31) / 32 * 32; }

#endif
