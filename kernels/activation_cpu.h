/* Activations on the CPU: float, or bf16 where the file is compiled with GM_ACTIVATION_BF16. Kernels compute in float and
 * read and write activations by the functions below, which do nothing for floats. */
#ifndef GM_KERNELS_ACTIVATION_CPU_H
#define GM_KERNELS_ACTIVATION_CPU_H

#include "vector_cpu.h"

#ifdef GM_ACTIVATION_BF16
enum { GM_HAS_BF16 = 1 };
typedef uint16_t gm_act;
typedef uint16_t gm_act_vec __attribute__((vector_size(GM_LANES * sizeof(uint16_t))));
typedef uint32_t gm_uvec __attribute__((vector_size(GM_LANES * sizeof(uint32_t))));

static inline float gm_get(gm_act x) { return gm_bits_float((uint32_t)x << 16); }

/* To the nearest, ties to even, as GPUs round; a NaN stays one. */
static inline gm_act gm_act_of(float x)
{
    const uint32_t bits = gm_float_bits(x), is_nan = 0u - (uint32_t)(x != x);
    const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return (gm_act)((rounded & ~is_nan) | ((bits >> 16 | 0x40u) & is_nan));
}

static inline gm_vec gm_act_load(const gm_act *from)
{
    gm_act_vec v;
    memcpy(&v, from, sizeof v);
    return (gm_vec)(__builtin_convertvector(v, gm_uvec) << 16);
}

static inline void gm_act_store(gm_act *to, gm_vec x)
{
    const gm_uvec bits = (gm_uvec)x, is_nan = (gm_uvec)(x != x);
    const gm_uvec rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    const gm_act_vec v = __builtin_convertvector((rounded & ~is_nan) | ((bits >> 16 | 0x40u) & is_nan), gm_act_vec);
    memcpy(to, &v, sizeof v);
}
#else
enum { GM_HAS_BF16 = 0 };
typedef float gm_act;
static inline float gm_get(gm_act x) { return x; }
static inline gm_act gm_act_of(float x) { return x; }
static inline gm_vec gm_act_load(const gm_act *from) { return gm_vec_load(from); }
static inline void gm_act_store(gm_act *to, gm_vec x) { gm_vec_store(to, x); }
#endif

static inline void gm_widen(const gm_act *restrict from, float *restrict to, int32_t n)
{
    for (int32_t i = 0; i < n; i++) to[i] = gm_get(from[i]);
}

static inline void gm_narrow(const float *restrict from, gm_act *restrict to, int32_t n)
{
    for (int32_t i = 0; i < n; i++) to[i] = gm_act_of(from[i]);
}

/* v as memory keeps it. */
static inline float gm_kept(float v) { return gm_get(gm_act_of(v)); }

#endif
