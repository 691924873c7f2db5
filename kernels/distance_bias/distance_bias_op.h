/* What distance_bias records on the tape: the table is read once a pass and serves all layers. */
#ifndef GM_DISTANCE_BIAS_OP_H
#define GM_DISTANCE_BIAS_OP_H

#include "distance_bias/distance_bias.h"
#include "tensor/tensor.h"

/* The bias of attention by distance, float in device memory. What layers add to `grad` reaches the table behind the last
 * of them. */
typedef struct gm_distances {
    float *bias, *grad;       /* [heads, 2 reach + 1]; grad NULL where nothing is recorded or the table is frozen */
    int32_t heads, reach;
} gm_distances;

/* table [2 half, heads] */
gm_status gm_op_distance_bias(gm_tape *t, const gm_param *table, const gm_distance_buckets *buckets, gm_distances **y);

#endif
