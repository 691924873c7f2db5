/* A step on several processes (docs/ranks.md): each has a run of the step's shards and, of each bucket of parameters, a piece.
 * Partial sums of the others' pieces leave while backward still works on lower layers; a rank sums its own pieces, updates
 * them and sends the new weights to all. Sums follow the tree that one process uses, so bits do not depend on ranks. */
#ifndef GM_TRAIN_RANKS_H
#define GM_TRAIN_RANKS_H

#include <pthread.h>
#include <stdatomic.h>

#include "comm/comm.h"
#include "tensor/tensor.h"

/* Shards first .. end - 1, all of one rank: a node of the tree over shards, or what there is of one at its end. */
typedef struct gm_node { int32_t rank, first, end; } gm_node;

/* Numbers of a block of gradients that are complete at the same time, in whole chunks of the norm: from, and all ends but the
 * block's, are multiples of GM_NORM_CHUNK. */
typedef struct gm_bucket {
    float **block;            /* [shards] the run's dense or rows; NULL where another rank has the shard */
    int64_t from, to;
    int32_t layer;            /* complete when backward has passed this layer of the encoder; -1: all of the shard */
    atomic_int passed;        /* own shards that have */
    float **part;             /* [shards] scratch */
    float *incoming;          /* others' partial sums of the own piece, node by node */
    float *sum;               /* of all shards, the own piece */
    double *partial;          /* [chunks of from .. to] squares, where kernels write them */
    double *squares;          /* the same in host memory */
} gm_bucket;

typedef struct gm_ranks {
    gm_comm *comm;
    int32_t rank, size;
    int32_t first, end;       /* own shards */
    gm_node *node;            /* [nodes] of all ranks, in order */
    int32_t nodes;
    gm_bucket *bucket;        /* [buckets] of the dense block, then that of the rows, empty without a table */
    int32_t buckets;
    float *incoming;          /* in device memory */
    float *scratch;           /* in device memory: a norm and a factor that nobody reads */
    double *squares;          /* of all buckets, in host memory: the run's partial itself on the cpu */
    bool is_host;             /* kernels read host memory: gradients can leave while backward runs, which no captured step allows */
    double *mine, *all;       /* outcomes of a rank and of all: signal, losses, squares */
    size_t *bytes;            /* [size] of each outcome */
    pthread_mutex_t lock;     /* MPI serves one thread at a time */
    bool has_lock;
    int signal;               /* that any rank had got before the last step; 0: none */
} gm_ranks;

#endif
