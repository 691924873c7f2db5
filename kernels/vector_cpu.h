/* What the CPU kernels compute with: exp, GELU and its derivative, sums and dot products. Plain C that GCC and
 * clang turn into vector code without -ffast-math, so NaN and infinity keep their meaning. The order of
 * every sum depends on sizes alone: not on addresses, threads or what else stands in the batch. */
#ifndef GM_KERNELS_VECTOR_CPU_H
#define GM_KERNELS_VECTOR_CPU_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* One register of the instruction set the file is compiled for. */
#if defined(__AVX512F__)
enum { GM_LANES = 16 };
#elif defined(__AVX__)
enum { GM_LANES = 8 };
#else
enum { GM_LANES = 4 };
#endif
typedef float gm_vec __attribute__((vector_size(GM_LANES * sizeof(float))));
typedef int32_t gm_ivec __attribute__((vector_size(GM_LANES * sizeof(int32_t))));

static inline gm_vec gm_vec_load(const float *from)
{
    gm_vec v;
    memcpy(&v, from, sizeof v); /* any alignment */
    return v;
}

static inline void gm_vec_store(float *to, gm_vec v) { memcpy(to, &v, sizeof v); }

static inline uint32_t gm_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float gm_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* exp(x) within 1.5 ulp. Below -86.9, where the result would soon be subnormal, it is 0; beyond 88.722 infinity; NaN
 * stays NaN. x = n ln 2 + r; exp(r) = 1 + r + r^2 p(r) with p of degree 4 fitted on |r| <= .3476 (iteratively
 * reweighted least squares towards the smallest largest relative error: 3.1e-9). Adding 1.5 * 2^23 rounds n into the
 * low bits of t; the last doubling comes late because 2^128 itself is no float. The ends are chosen with masks: for a
 * choice between floats GCC makes a branch, and then no vector code below AVX-512. */
static inline float gm_exp(float x)
{
    const float t = x * 1.44269504f + 0x1.8p23f;
    const float n = t - 0x1.8p23f;
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    const float p = (((1.3814166e-3f * r + 8.3689205e-3f) * r + 4.1668408e-2f) * r + 0.16666520f) * r + 0.49999994f;
    const float scale = gm_bits_float((gm_float_bits(t) << 23) + (126u << 23)); /* 2^(n - 1) */
    const uint32_t y = gm_float_bits(((p * r * r + r) + 1.0f) * scale * 2.0f);
    const uint32_t is_low = 0u - (uint32_t)(x < -86.9f), is_high = 0u - (uint32_t)(x > 88.722f);
    return gm_bits_float((y & ~(is_low | is_high)) | (is_high & gm_float_bits(INFINITY)));
}

/* The integral of the standard normal density from z >= 0 to infinity, absolute error below 4e-8, and the density at
 * z: exp(-z^2 / 2) u q(u), u = 1 / (1 + .28 z), the form in which one exp serves both. q, of degree 5, was fitted on
 * 6001 points of [0, 6] as the exp above, but to the absolute error of the tail: 9.3e-9. */
static inline float gm_normal_tail(float z, float *density)
{
    const float e = gm_exp(-0.5f * z * z), u = 1.0f / (1.0f + 0.28f * z);
    const float q = ((((-0.10580782f * u + 0.38987234f) * u - 0.23699088f) * u + 0.26890817f) * u + 0.067497522f) * u
                  + 0.11652067f;
    *density = e * 0.39894228f;
    return e * (u * q);
}

/* GELU in its erf form, x Phi(x) (Hendrycks and Gimpel 2016, section 2); absolute error below 1.1e-7 max(1, |x|).
 * max(x, 0) - |x| Phi(-|x|) is the same with one rounding less, and without a branch. */
static inline float gm_gelu(float x)
{
    float density;
    const float z = fabsf(x), tail = gm_normal_tail(z, &density);
    return 0.5f * (x + z) - z * tail;
}

/* d GELU / dx = Phi(x) + x phi(x); absolute error below 2.5e-7, two units of its last place. */
static inline float gm_gelu_grad(float x)
{
    float density;
    const float tail = gm_normal_tail(fabsf(x), &density), sign = copysignf(1.0f, x);
    return (0.5f + sign * (0.5f - tail)) + x * density;
}

/* GELU for results that bf16 keeps: absolute error below 4.3e-5 max(1, |x|). Phi(x) - 1/2 as an odd polynomial of degree 15,
 * fitted on [-4, 4] by reweighted least squares to the absolute error of x Phi(x); below -4 the result is 0. */
static inline float gm_gelu_coarse(float x)
{
    const float low = x < -4.0f ? -4.0f : x, z = low > 4.0f ? 4.0f : low, s = z * z;
    const float p = ((((((-1.3013691e-9f * s + 1.0420152e-7f) * s - 3.6572943e-6f) * s + 7.4857504e-5f) * s - 1.0065110e-3f) * s
                      + 9.5054917e-3f) * s - 6.5888047e-2f) * s + 0.39867356f;
    return x < -4.0f ? 0.0f : x * (0.5f + z * p);
}

/* Its derivative Phi(x) + x phi(x) in the same way, absolute error below 5.1e-4; 0 below -4 and 1 above 4. */
static inline float gm_gelu_grad_coarse(float x)
{
    const float low = x < -4.0f ? -4.0f : x, z = low > 4.0f ? 4.0f : low, s = z * z;
    const float p = ((((((-1.6418394e-8f * s + 1.2137297e-6f) * s - 3.8457903e-5f) * s + 6.8762712e-4f) * s - 7.6873349e-3f) * s
                      + 5.5914510e-2f) * s - 0.26202944f) * s + 0.79672152f;
    const float y = 0.5f + z * p;
    return x < -4.0f ? 0.0f : x > 4.0f ? 1.0f : y;
}

/* x sigmoid(1.702 x); relative error below 4e-7, and 0 where the sigmoid is no float any more. */
static inline float gm_quick_gelu(float x) { return x / (1.0f + gm_exp(-1.702f * x)); }

/* d quick GELU / dx = s + 1.702 x s (1 - s) with 1 - s = e s: nothing cancels. Below -47 all of it is less than 1e-32. */
static inline float gm_quick_gelu_grad(float x)
{
    const float z = x < -47.0f ? -47.0f : x, e = gm_exp(-1.702f * z), s = 1.0f / (1.0f + e);
    return s + 1.702f * z * s * (e * s);
}

/* exp of every lane. The loop has a register's length, so that it becomes straight vector code. */
static inline gm_vec gm_vec_exp(gm_vec x)
{
    float lane[GM_LANES];
    gm_vec_store(lane, x);
    for (int l = 0; l < GM_LANES; l++) lane[l] = gm_exp(lane[l]);
    return gm_vec_load(lane);
}

/* The larger of each pair of lanes; b where one of them is NaN. */
static inline gm_vec gm_vec_max(gm_vec a, gm_vec b)
{
    const gm_ivec is_a = a > b;
    return (gm_vec)((is_a & (gm_ivec)a) | (~is_a & (gm_ivec)b));
}

/* Adds up the lanes, halves first. */
static inline float gm_vec_sum(gm_vec v)
{
    float lane[GM_LANES];
    gm_vec_store(lane, v);
    for (int width = GM_LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    return lane[0];
}

/* Sum of a[i] b[i], i < n. */
static inline float gm_dot(const float *a, const float *b, int32_t n)
{
    gm_vec even = { 0.0f }, odd = { 0.0f };
    int32_t i = 0;
    for (; i + 2 * GM_LANES <= n; i += 2 * GM_LANES) {
        even += gm_vec_load(a + i) * gm_vec_load(b + i);
        odd += gm_vec_load(a + i + GM_LANES) * gm_vec_load(b + i + GM_LANES);
    }
    for (; i + GM_LANES <= n; i += GM_LANES) even += gm_vec_load(a + i) * gm_vec_load(b + i);
    float sum = gm_vec_sum(even + odd);
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

#endif
