/* grad_norm: sums the shards' gradients (a fixed tree: pairs, then pairs of pairs, so the order of threads never shows)
 * into the first, then the norm over all blocks and the factor of clipping: min(1, max / (norm + 1e-6)), 1 where max is 0.
 * The sum of squares is taken in double, in chunks of GM_NORM_CHUNK elements added in order. A norm that is not finite
 * is reported through `norm`; the factor is then 0, and so it is where a loss is not finite: AdamW then changes nothing. */
#ifndef GM_GRAD_NORM_H
#define GM_GRAD_NORM_H

#include "kernels.h"

enum { GM_NORM_CHUNK = 16384, GM_NORM_MAX_BLOCKS = 4, GM_NORM_MAX_SHARDS = 4096 };

struct gm_grad_norm {
    /* block b: a list in host memory of [shards] arrays of size[b] floats on the device; the sum goes to shard[b][0] */
    float *const *shard[GM_NORM_MAX_BLOCKS];
    int64_t size[GM_NORM_MAX_BLOCKS];
    int32_t blocks, shards;
    double *partial;          /* scratch: one double a chunk of all blocks (sum over blocks of ceil(size / GM_NORM_CHUNK)) */
    const double *loss;       /* [shards] in device memory, or NULL: only the norm counts */
    float max;
    float *norm, *scale;      /* device memory */
};

#endif
