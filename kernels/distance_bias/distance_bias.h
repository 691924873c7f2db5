/* distance_bias: the bias that attention adds by distance, from a learned table of buckets of distances (Raffel et al.
 * 2020, section 2.1): bias[head][reach + d] = table[bucket(d)][head] for distances d = key - query from -reach to reach.
 * The first half of the buckets is for d <= 0, the second for d > 0; within a half, bucket i holds |d| from first[i] up
 * to where the next one begins, the last one all from first[half - 1] on. attention takes larger distances as reach, so
 * reach = first[half - 1] stands for any. Float in either type of activations. Work: 4 bytes written an element. */
#ifndef GM_DISTANCE_BIAS_H
#define GM_DISTANCE_BIAS_H

#include "kernels.h"

enum { GM_DISTANCE_MAX_HALF = 32 };

/* By value, so that a captured step has it. */
typedef struct gm_distance_buckets {
    int32_t first[GM_DISTANCE_MAX_HALF]; /* [half] rising, first[0] = 0 */
    int32_t half, reach;                 /* half at least 1 */
} gm_distance_buckets;

struct gm_distance_bias {
    const float *table;       /* [2 half, heads] */
    float *bias;              /* [heads, 2 reach + 1] */
    gm_distance_buckets buckets;
    int32_t heads;
};

/* dtable[bucket][head] += sum of dbias[head][reach + d] over the bucket's distances, in rising order of |d|. A bucket
 * without distances (d > 0 knows no |d| = 0) gets nothing. */
struct gm_distance_bias_grad {
    const float *dbias;       /* [heads, 2 reach + 1] */
    float *dtable;            /* [2 half, heads] */
    gm_distance_buckets buckets;
    int32_t heads;
};

#endif
