/* What the timing of single operations rests on: batches as a step would deal them, memory for operands that is filled and
 * given back, and a clock round calls that all workers make at once. The first failure stays in the shop, and nothing
 * that is asked of it later does anything. */
#ifndef GM_INFER_BENCH_SHOP_H
#define GM_INFER_BENCH_SHOP_H

#include <math.h>

#include "bench.h"

enum { GM_SHOP_WORKERS = 64, GM_SHOP_ROUNDS = 15 };

typedef struct gm_shop {
    gm_bench *b;
    gm_worker *worker;        /* [workers] */
    int workers;
    gm_batch batch[GM_SHOP_WORKERS];
    gm_touched touched;
    int32_t touched_rows;
    struct gm_held *held;     /* blocks of operands */
    size_t held_count, held_capacity;
    float *pattern;           /* N(0, 1) x 0.1, and the same as bf16 behind it */
    bool is_bf16;
    gm_status status;         /* of the first call that failed */
    gm_err *err;
} gm_shop;

gm_status gm_shop_open(gm_bench *b, gm_shop *s, gm_err *err);
void gm_shop_close(gm_shop *s);
/* Each worker's share of a step, with a picture for every sentence and regions of it for every entity. */
void gm_shop_fill_batches(gm_shop *s);
void gm_shop_fail(gm_shop *s, gm_status status);
void gm_shop_give_back(gm_shop *s); /* all operands that were taken */

/* Worker w's memory of so many numbers of `element` bytes, N(0, 1) x 0.1; NULL after a failure. */
void *gm_shop_filled(gm_shop *s, int w, int64_t count, size_t element);
/* Bytes of one value: 0 gives zeros, and 0x41 numbers of some 12, where the slope of GELU is 1. */
void *gm_shop_same(gm_shop *s, int w, size_t bytes, int byte);
float *gm_shop_one(gm_shop *s, int w);

static inline void *gm_shop_acts(gm_shop *s, int w, int64_t rows, int64_t cols) { return gm_shop_filled(s, w, rows * cols, s->worker[w].dev.element); }
static inline float *gm_shop_floats(gm_shop *s, int w, int64_t count) { return gm_shop_filled(s, w, count, sizeof(float)); }

typedef gm_status (*gm_shop_call)(const gm_kernels *k, const void *args, gm_device *dev);

/* Appends a row of `operations`: args are [workers] structs of `size` bytes, bytes and flops those of a call of the first. */
void gm_shop_show(gm_shop *s, const char *name, gm_shop_call run, const void *args, size_t size, double bytes, double flops, double rate);
/* Median seconds of calls by the first `workers` workers, or by one that has all `threads` threads where they are not 0. */
void gm_shop_time(gm_shop *s, gm_shop_call run, const void *args, size_t size, int workers, int threads, double *seconds);

static inline const gm_encoder_config *gm_shop_encoder(const gm_shop *s) { return &s->b->run.model.encoder.config; }
static inline gm_drop gm_shop_drop(const gm_pack *p, gm_site site) { return (gm_drop){ .p = 0.1f, .site = site, .key = p->key, .draw = p->draw }; }

/* Work is counted for the first worker's batch; the others hold about as much. */
#define GM_SHOP_EACH for (int w = 0; w < s->workers; w++)
#define GM_SHOP_FORWARD(op) \
    static gm_status op##_forward(const gm_kernels *k, const void *args, gm_device *dev) { return k->op.forward(args, dev); }
#define GM_SHOP_BACKWARD(op) \
    static gm_status op##_backward(const gm_kernels *k, const void *args, gm_device *dev) { return k->op.backward(args, dev); }

/* bench_regions.c: the operations that only a model of pictures calls. */
void gm_bench_regions(gm_shop *s);

#endif
