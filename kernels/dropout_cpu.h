/* Dropout masks for the CPU kernels: eight Philox counters at a time, in vectors by name, since left to itself GCC makes
 * scalar code of most loops with 32 x 32 -> 64 bit products (a row of 384 columns took 1.1 us with AVX-512 and takes
 * .2 us this way). The masks are those of gm_philox, bit for bit. */
#ifndef GM_KERNELS_DROPOUT_CPU_H
#define GM_KERNELS_DROPOUT_CPU_H

#include <string.h>

#include "device.h"

/* A counter's word fills the low half of a 64-bit lane; what a product leaves in the high half is never read. */
#if defined(__AVX512F__)
#include <immintrin.h>
enum { GM_DROP_LANES = 8 };
#define GM_DROP_MUL(a, b) ((gm_drop_vec)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#elif defined(__AVX2__)
#include <immintrin.h>
enum { GM_DROP_LANES = 4 };
#define GM_DROP_MUL(a, b) ((gm_drop_vec)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#elif defined(__SSE2__)
#include <immintrin.h>
enum { GM_DROP_LANES = 2 };
#define GM_DROP_MUL(a, b) ((gm_drop_vec)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#else
enum { GM_DROP_LANES = 2 };
#define GM_DROP_MUL(a, b) (((a) & 0xFFFFFFFFu) * (b))
#endif
typedef uint64_t gm_drop_vec __attribute__((vector_size(GM_DROP_LANES * sizeof(uint64_t))));

/* The bits of the kept scale in the low half of every lane whose word is not below `limit`. */
static inline gm_drop_vec gm_drop_kept(gm_drop_vec word, uint64_t limit, uint32_t keep_bits)
{
    return (gm_drop_vec)((word & 0xFFFFFFFFu) >= limit) & (uint64_t)keep_bits;
}

/* scale[i] of elements first + i, i < n: 0 where dropped, 1 / (1 - p) where kept. `first` is a multiple of 4 and scale
 * has room for n rounded up to 32. */
static inline void gm_drop_scales(const gm_drop *d, uint64_t seed, int32_t sequence, uint32_t position, uint32_t first,
                                  int32_t n, float *restrict scale)
{
    enum { PARTS = 8 / GM_DROP_LANES }; /* independent chains, which hide the latency of the products */
    const gm_drop_vec zero = { 0 }, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
    const uint32_t purpose = gm_purpose(d->site, d->layer, position), draw = d->draw[sequence], key = d->key[sequence];
    const float keep = 1.0f / (1.0f - d->p), steps = d->p * 0x1p24f;
    /* gm_uniform(word) >= p says word >> 8 >= p 2^24, and on whole numbers: not below p 2^24 rounded up. */
    const uint64_t limit = ((uint64_t)steps + ((float)(uint64_t)steps < steps)) << 8;
    uint32_t keep_bits;
    memcpy(&keep_bits, &keep, sizeof keep_bits);
    gm_drop_vec lane = zero;
    for (int l = 0; l < GM_DROP_LANES; l++) lane[l] = (uint64_t)l;
    for (int32_t at = 0; at < n; at += 32) {
        gm_drop_vec c0[PARTS], c1[PARTS], c2[PARTS], c3[PARTS];
        for (int u = 0; u < PARTS; u++) {
            c0[u] = lane + ((uint64_t)(first + (uint32_t)at) / 4 + (uint64_t)(u * GM_DROP_LANES));
            c1[u] = zero + draw;
            c2[u] = zero + key;
            c3[u] = zero + purpose;
        }
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++) {
            for (int u = 0; u < PARTS; u++) {
                const gm_drop_vec p0 = GM_DROP_MUL(c0[u], m0), p1 = GM_DROP_MUL(c2[u], m1);
                c0[u] = (p1 >> 32) ^ c1[u] ^ (uint64_t)k0;
                c1[u] = p1;
                c2[u] = (p0 >> 32) ^ c3[u] ^ (uint64_t)k1;
                c3[u] = p0;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        for (int u = 0; u < PARTS; u++) {
            /* Two floats a lane, so that lanes of both alternate in memory. */
            const gm_drop_vec low = gm_drop_kept(c0[u], limit, keep_bits) | gm_drop_kept(c1[u], limit, keep_bits) << 32;
            const gm_drop_vec high = gm_drop_kept(c2[u], limit, keep_bits) | gm_drop_kept(c3[u], limit, keep_bits) << 32;
            uint64_t four[2 * GM_DROP_LANES];
            for (int l = 0; l < GM_DROP_LANES; l++) {
                four[2 * l] = low[l];
                four[2 * l + 1] = high[l];
            }
            memcpy(scale + at + 4 * GM_DROP_LANES * u, four, sizeof four);
        }
    }
}

/* Room a caller of gm_drop_scales must have for n elements. */
static inline int32_t gm_drop_room(int32_t n) { return (n + 31) / 32 * 32; }

#endif
