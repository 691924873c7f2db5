/* bf16 on the host: the upper half of a float. Kernels have vectors of their own. */
#ifndef GM_BASE_BF16_H
#define GM_BASE_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* To the nearest, ties to even, as GPUs round; a NaN stays one. */
static inline uint16_t gm_bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/* Number i of activations that are kept in `element` bytes each: floats, or bf16. */
static inline float gm_activation_at(const void *values, int32_t i, size_t element)
{
    uint32_t bits;
    uint16_t half;
    float value;
    if (element == sizeof half) {
        memcpy(&half, (const char *)values + (size_t)i * sizeof half, sizeof half);
        bits = (uint32_t)half << 16;
        memcpy(&value, &bits, sizeof value);
    } else
        memcpy(&value, (const char *)values + (size_t)i * sizeof value, sizeof value);
    return value;
}

#endif
