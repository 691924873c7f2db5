/* SHA-256 (FIPS 180-4). */
#ifndef GM_MLLM_SHA256_H
#define GM_MLLM_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct gm_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64]; /* bytes % 64 of them are filled */
} gm_sha256;

void gm_sha256_begin(gm_sha256 *h);
void gm_sha256_add(gm_sha256 *h, const void *bytes, size_t size);
void gm_sha256_end(gm_sha256 *h, uint8_t digest[32]);

#endif
