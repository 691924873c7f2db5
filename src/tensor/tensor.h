/* Tensors, packed sequences and the tape. A tensor is a view: its memory belongs to the tape's arena (or to whoever made
 * it) until the arena is reset. Operations run at once and, while the tape records, push what their backward needs; the
 * walk back goes in reverse. One tape a worker. Values and gradients lie in device memory and have the type of the
 * device's activations; the host looks at none of them, so that a step can be captured and run again. */
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
    int32_t rows, capacity;
    int32_t sequences;          /* the last ones may be empty: a captured step has room for more than a batch brings */
} gm_pack;

typedef struct gm_tensor {
    void *data;                 /* [capacity, cols]; rows behind the true count are finite: kernels see to it */
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
    int32_t touched;            /* rows that the step may touch at most; those behind the true count are zero */
    /* Told when backward has gone through a layer of the encoder and all above it; NULL: nobody asks. */
    gm_status (*on_layer)(gm_tape *t, int32_t layer, void *listener);
    void *listener;
    int32_t passed;             /* the listener's: the last layer that it was told of */
} gm_grads;
gm_status gm_grads_clear(const gm_grads *g, const gm_param *p, gm_device *dev); /* the gradient of one parameter */

struct gm_tape {
    const gm_kernels *k;
    gm_device *dev;
    gm_arena *arena;            /* device memory: values, gradients, scratch */
    gm_arena *notes;            /* host memory: tensors, recorded operations, results */
    gm_err *err;
    gm_grads *grads;            /* NULL: prediction, nothing is recorded and nothing saved */
    float dropout;              /* probability at every site; 0 in prediction */
    double *loss;               /* in device memory: the losses of all operations are added to it */
    struct gm_node *last;
};

/* Clears the tape for a new pass and resets its arenas. loss is zero before, or NULL in prediction. */
void gm_tape_begin(gm_tape *t, gm_grads *grads, float dropout, double *loss);
static inline bool gm_tape_records(const gm_tape *t) { return t->grads != NULL; }

/* A block from the arena's low end (lives until the step ends) or high end; fails with the size asked for. */
gm_status gm_tape_low(gm_tape *t, size_t bytes, void *block);
gm_status gm_tape_high(gm_tape *t, size_t bytes, void *block);
/* The same in host memory. */
gm_status gm_tape_note(gm_tape *t, size_t bytes, void *block);
/* Host memory (which must stay as it is until the pass ends) as kernels read it, and device memory as the host reads it:
 * the very same block where they share memory. fetch waits for the device. */
gm_status gm_tape_bring(gm_tape *t, const void *from, size_t bytes, void *block);
gm_status gm_tape_fetch(gm_tape *t, const void *from, size_t bytes, void *block);

/* A tensor with as many rows as the pack, or as another tensor. */
gm_status gm_tape_tensor(gm_tape *t, const gm_pack *p, int32_t cols, gm_tensor **y);
gm_status gm_tape_like(gm_tape *t, const gm_tensor *x, int32_t cols, gm_tensor **y);
/* A tensor over memory that exists, such as the sum that takes its input's place. */
gm_status gm_tape_view(gm_tape *t, const gm_tensor *like, void *data, gm_tensor **y);
/* Values [p->capacity, cols] that the caller has in device memory, such as a batch's: they need no gradient. */
gm_status gm_tape_given(gm_tape *t, const gm_pack *p, const void *values, int32_t cols, gm_tensor **y);
/* Copies the values of `from` over those of `to`, which has the same shape. */
gm_status gm_tape_move(gm_tape *t, const gm_tensor *from, gm_tensor *to);

/* Records an operation: copies `saved` (bytes of it). Does nothing in prediction. */
gm_status gm_tape_push(gm_tape *t, gm_backward backward, const void *saved, size_t bytes);
/* In front of a layer's operations: behind them, backward tells grads->on_layer. */
gm_status gm_tape_layer(gm_tape *t, int32_t layer);
/* Walks back. Losses have filled the gradients of their inputs themselves. */
gm_status gm_tape_backward(gm_tape *t);

/* y = segment(x) without what the segment makes on the way: its memory is given back, and backward runs it again before it
 * walks back through it. It reads x and parameters alone, x has no other consumer, and y has as many columns. Of the
 * context `bytes` bytes are kept. */
typedef gm_status (*gm_segment)(gm_tape *t, gm_tensor *x, const void *context, gm_tensor **y);
gm_status gm_tape_recompute(gm_tape *t, gm_tensor *x, gm_segment segment, const void *context, size_t bytes, gm_tensor **y);

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
