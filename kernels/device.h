/* What every kernel is given beside its args. */
#ifndef GM_KERNELS_DEVICE_H
#define GM_KERNELS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/philox.h"
#include "base/status.h"

/* Of activations and of what products read; sums are float in either case. */
typedef enum gm_float_type { GM_FP32, GM_BF16, GM_PRECISION_COUNT } gm_float_type;

/* Learning rates a step has: parameter groups name one of them. */
typedef enum gm_rate { GM_RATE_ENCODER, GM_RATE_HEAD, GM_RATE_CRF, GM_RATE_COUNT } gm_rate;

/* All that changes from step to step, in device memory, so that a captured graph replays the right numbers. */
typedef struct gm_step {
    uint64_t seed;
    int32_t number;           /* of the optimiser step, from 1: AdamW's bias correction */
    float rate[GM_RATE_COUNT];
    float inv_words;          /* 1 / words of the whole step, all shards and ranks */
    float inv_sentences;
    float inv_entities;       /* 1 / gold entities of the whole step whose image has regions */
    float inv_typed;          /* 1 / gold entities of the whole step that have a fine type */
} gm_step;

typedef struct gm_plans gm_plans; /* GEMM plans of this device, by shape */
typedef struct gm_device_memory gm_device_memory; /* backend/device_memory.h */

typedef struct gm_device {
    int threads;              /* threads an operation may use; 1 inside a training worker */
    const gm_step *step;      /* in device memory */
    const gm_device_memory *memory;
    const struct gm_module *module; /* NULL on the cpu */
    size_t element;           /* bytes of an activation: 4, or 2 in bf16 */
    gm_plans *plans;
    void *stream;             /* cudaStream_t; NULL on the cpu */
    void *workspace;          /* device memory for two-stage sums and products, fixed for the life of the device */
    size_t workspace_bytes;
    gm_err *err;              /* where a failing kernel writes its message */
} gm_device;

/* A token's sequence in the batch and its place in it. */
typedef struct gm_token { int32_t sequence, position; } gm_token;

/* Rows of an entity's first and last word among the words of the batch. */
typedef struct gm_entity_span { int32_t first, last; } gm_entity_span;

/* Dropout of one operation. The mask of element e of a token is word e % 4 of Philox counter (e / 4, draw[sequence],
 * key[sequence], site | layer << 8 | position << 16): it depends on the sample and the draw alone. */
typedef struct gm_drop {
    float p;                  /* 0: no dropout, the rest is not read */
    uint32_t site, layer;
    const uint32_t *key;      /* [sequences] FNV-1a of the sample's id */
    const uint32_t *draw;     /* [sequences] training step, or number of the Monte-Carlo sample */
} gm_drop;

#endif
