/* Tensors, packed sequences and the tape. A tensor is a view: its memory belongs to the tape's arena (or to whoever made
 * it) until the arena is reset. Operations run at once and, while the tape records, push what their backward needs; the
 * walk back goes in reverse. One tape a worker. */
#ifndef GM_TENSOR_H
#define GM_TENSOR_H

#include "base/arena.h"
#include "kernels.h"
#include "tensor/params.h"

/* Packed sequences of a batch, its pieces or its words: rows of sequence s are cu[s] .. cu[s + 1] - 1. */
typedef struct gm_pack {
    const int32_t *cu;          /* [sequences + 1] */
    const gm_token *token;      /* [capacity] sequence and place of each row */
    const int32_t *n;           /* true number of rows, in device memory */
    const uint32_t *key, *draw; /* [sequences] of dropout: FNV-1a of the id; step or sample number */
    int32_t rows, capacity, sequences;
} gm_pack;

typedef struct gm_tensor {
    void *data;                 /* [capacity, cols]; rows behind the true count are finite */
    void *grad;                 /* the same shape, zero behind the true count; NULL until backward reaches it */
    const int32_t *n;           /* true number of rows, in device memory */
    int32_t rows, capacity, cols;
    bool requires_grad;
} gm_tensor;

typedef struct gm_tape gm_tape;
typedef gm_status (*gm_backward)(gm_tape *t, void *saved);

/* The gradients of one shard: dense groups in one block, rows of the table that the step touches in another. */
typedef struct gm_grads {
    float *dense;               /* [params->dense_count] */
    float *rows;                /* [touched rows, table cols] or NULL without a row table */
    bool *is_written;           /* [params->count] something stands in the block */
    int32_t touched;
} gm_grads;

struct gm_tape {
    const gm_kernels *k;
    gm_device *dev;
    gm_arena *arena;
    gm_err *err;
    gm_grads *grads;            /* NULL: prediction, nothing is recorded and nothing saved */
    float dropout;              /* probability at every site; 0 in prediction */
    double loss;                /* the losses of all operations of this shard */
    struct gm_node *last;
};

/* Clears the tape for a new pass and resets its arena. */
void gm_tape_begin(gm_tape *t, gm_grads *grads, float dropout);
static inline bool gm_tape_records(const gm_tape *t) { return t->grads != NULL; }

/* A block from the arena's low end (lives until the step ends) or high end; fails with the size asked for. */
gm_status gm_tape_low(gm_tape *t, size_t bytes, void *block);
gm_status gm_tape_high(gm_tape *t, size_t bytes, void *block);

/* A tensor with as many rows as the pack, or as another tensor; its tail is zeroed. */
gm_status gm_tape_tensor(gm_tape *t, const gm_pack *p, int32_t cols, gm_tensor **y);
gm_status gm_tape_like(gm_tape *t, const gm_tensor *x, int32_t cols, gm_tensor **y);
/* A tensor over memory that exists, such as the sum that takes its input's place. */
gm_status gm_tape_view(gm_tape *t, const gm_tensor *like, void *data, gm_tensor **y);

/* Records an operation: copies `saved` (bytes of it). Does nothing in prediction. */
gm_status gm_tape_push(gm_tape *t, gm_backward backward, const void *saved, size_t bytes);
/* Walks back. Losses have filled the gradients of their inputs themselves. */
gm_status gm_tape_backward(gm_tape *t);

/* The gradient buffer of x for a backward to fill; *add tells whether something stands in it. With add NULL the caller
 * can only overwrite: x then must have one consumer. *grad is NULL where x needs none. */
gm_status gm_tape_grad(gm_tape *t, gm_tensor *x, void **grad, bool *add);
/* The same for a parameter; NULL where it is frozen. */
gm_status gm_tape_param_grad(gm_tape *t, const gm_param *p, float **grad, bool *add);
/* The same for kernels that only add: zeroed at its first use in the shard. */
gm_status gm_tape_param_grad_zeroed(gm_tape *t, const gm_param *p, float **grad);

/* Dropout at a site of a layer for the sequences of a pack; p 0 in prediction. */
gm_drop gm_tape_drop(const gm_tape *t, const gm_pack *p, gm_site site, int32_t layer);

#endif
