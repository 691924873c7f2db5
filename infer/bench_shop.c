#include "bench_shop.h"

#include <string.h>

#include "base/bf16.h"
#include "base/memory.h"
#include "image/regions.h"
#include "model/region_target.h"

enum { PATTERN = 1 << 16, ALIGN = 256 };

typedef struct gm_held { gm_device *dev; void *block; } gm_held;

/* ---- memory ---- */

void gm_shop_fail(gm_shop *s, gm_status status)
{
    if (s->status == GM_OK) s->status = status;
}

/* `bytes` of worker w's memory, on a cache line; NULL after a failure. */
static void *take(gm_shop *s, int w, size_t bytes)
{
    gm_device *dev = &s->worker[w].dev;
    void *block = NULL;
    if (s->status != GM_OK) return NULL;
    gm_shop_fail(s, gm_grow((void **)&s->held, &s->held_capacity, s->held_count, sizeof *s->held, s->err));
    if (s->status == GM_OK && dev->memory->alloc(dev, bytes + ALIGN, &block) != GM_OK) gm_shop_fail(s, gm_fail(s->err, GM_ERR_NOMEM, "%s", s->worker[w].err.text));
    if (s->status != GM_OK) return NULL;
    s->held[s->held_count++] = (gm_held){ dev, block };
    return (void *)(((uintptr_t)block + ALIGN - 1) / ALIGN * ALIGN);
}

void gm_shop_give_back(gm_shop *s)
{
    while (s->held_count > 0) {
        const gm_held *h = &s->held[--s->held_count];
        h->dev->memory->release(h->dev, h->block);
    }
}

void *gm_shop_filled(gm_shop *s, int w, int64_t count, size_t element)
{
    gm_device *dev = &s->worker[w].dev;
    unsigned char *to = take(s, w, (size_t)count * element);
    const void *from = element == 2 ? (const void *)(s->pattern + PATTERN) : (const void *)s->pattern;
    for (int64_t at = 0; to != NULL && at < count; at += PATTERN)
        gm_shop_fail(s, dev->memory->upload(dev, to + (size_t)at * element, from, (size_t)(count - at < PATTERN ? count - at : PATTERN) * element));
    return to;
}

void *gm_shop_same(gm_shop *s, int w, size_t bytes, int byte)
{
    gm_device *dev = &s->worker[w].dev;
    void *to = take(s, w, bytes);
    if (to != NULL) gm_shop_fail(s, dev->memory->fill(dev, to, byte, bytes));
    return to;
}

float *gm_shop_one(gm_shop *s, int w)
{
    static const float value = 1.0f;
    gm_device *dev = &s->worker[w].dev;
    float *to = take(s, w, sizeof value);
    if (to != NULL) gm_shop_fail(s, dev->memory->upload(dev, to, &value, sizeof value));
    return to;
}

static gm_status make_pattern(gm_shop *s)
{
    s->pattern = gm_malloc(PATTERN * (sizeof(float) + sizeof(uint16_t)));
    if (s->pattern == NULL) return gm_fail(s->err, GM_ERR_NOMEM, "out of memory for numbers");
    uint16_t *half = (uint16_t *)(void *)(s->pattern + PATTERN);
    for (uint32_t i = 0; i < PATTERN; i += 4) {
        gm_normal4(gm_philox(1, i / 4, 0, 0, gm_purpose(GM_SITE_TEST, 0, 0)), s->pattern + i);
        for (uint32_t j = i; j < i + 4; j++) half[j] = gm_bf16_of(s->pattern[j] *= 0.1f);
    }
    return GM_OK;
}

/* ---- time ---- */

typedef struct timing {
    const gm_kernels *kernels;
    gm_shop_call run;
    const unsigned char *args; /* [workers] of `size` bytes */
    size_t size;
    double seconds;
    double *round;             /* [workers * GM_SHOP_ROUNDS] seconds a call */
} timing;

static gm_status several(const timing *t, int32_t w, gm_device *dev, int times, double *seconds)
{
    const double began = gm_bench_now();
    for (int i = 0; i < times; i++) GM_TRY(t->run(t->kernels, t->args + (size_t)w * t->size, dev));
    GM_TRY(dev->memory->sync(dev));
    *seconds = gm_bench_now() - began;
    return GM_OK;
}

static gm_status time_worker(gm_worker *worker, int32_t w, void *context)
{
    const timing *t = context;
    double seconds;
    int times = 1;
    GM_TRY(several(t, w, &worker->dev, 1, &seconds)); /* makes the plans of products */
    GM_TRY(several(t, w, &worker->dev, 1, &seconds));
    const double a_round = t->seconds / GM_SHOP_ROUNDS;
    if (seconds < a_round) times = (int)(a_round / (seconds + 1e-7)) + 1;
    for (int i = 0; i < GM_SHOP_ROUNDS; i++) {
        GM_TRY(several(t, w, &worker->dev, times, &seconds));
        t->round[w * GM_SHOP_ROUNDS + i] = seconds / times;
    }
    return GM_OK;
}

void gm_shop_time(gm_shop *s, gm_shop_call run, const void *args, size_t size, int workers, int threads, double *seconds)
{
    double round[GM_SHOP_WORKERS * GM_SHOP_ROUNDS];
    timing t = { &s->b->kernels, run, args, size, s->b->options->seconds / 4, round };
    if (s->status == GM_OK && threads > 0) {
        gm_worker lone = { .dev = *s->b->run.workers.whole };
        lone.dev.threads = threads;
        gm_shop_fail(s, time_worker(&lone, 0, &t));
    } else if (s->status == GM_OK) gm_shop_fail(s, gm_workers_run(&s->b->run.workers, workers, time_worker, &t, s->err));
    if (s->status != GM_OK) return;
    gm_bench_row row;
    gm_bench scratch = { .rows = &row, .capacity = 1 };
    gm_shop_fail(s, gm_bench_add_times(&scratch, "", "", "us", round, (threads > 0 ? 1 : workers) * GM_SHOP_ROUNDS, NULL, s->err));
    *seconds = 1e-6 * row.value;
}

void gm_shop_show(gm_shop *s, const char *name, gm_shop_call run, const void *args, size_t size, double bytes, double flops, double rate)
{
    double round[GM_SHOP_WORKERS * GM_SHOP_ROUNDS];
    timing t = { &s->b->kernels, run, args, size, s->b->options->seconds, round };
    gm_bench_row *row;
    if (s->status == GM_OK) gm_shop_fail(s, gm_workers_run(&s->b->run.workers, s->workers, time_worker, &t, s->err));
    if (s->status == GM_OK) gm_shop_fail(s, gm_bench_add_times(s->b, "operations", name, "us", round, s->workers * GM_SHOP_ROUNDS, &row, s->err));
    if (s->status != GM_OK) return;
    row->bytes = bytes;
    row->flops = flops;
    row->share = flops / (1e-6 * row->value) / rate;
}


gm_status gm_shop_open(gm_bench *b, gm_shop *s, gm_err *err)
{
    gm_run *r = &b->run;
    *s = (gm_shop){ .b = b, .worker = r->workers.items, .workers = r->workers.count < GM_SHOP_WORKERS ? r->workers.count : GM_SHOP_WORKERS,
                 .is_bf16 = r->backend.type == GM_BF16, .err = err };
    return make_pattern(s);
}

void gm_shop_close(gm_shop *s)
{
    gm_shop_give_back(s);
    for (int w = 0; w < s->workers; w++) gm_batch_free(&s->batch[w]);
    gm_touched_free(&s->touched);
    gm_free(s->held);
    gm_free(s->pattern);
}

/* ---- batches ---- */

enum { REGIONS = 16, SIDE = 32, PICTURE_WIDTH = 640, PICTURE_HEIGHT = 480 }; /* as configs/twitter-gmner.json asks for */

/* Regions as they are proposed; the sample's k-th entity is in the k-th of them. Pixels are of one colour. */
static gm_status take_picture(gm_sample *sample, gm_err *err)
{
    gm_picture *p = &sample->picture;
    const size_t row = REGIONS + 1, gold = (size_t)sample->gold_count, crops = (size_t)REGIONS * SIDE * SIDE * 3;
    if (p->regions.count > 0) return GM_OK; /* it stands in the batches twice */
    p->regions = (gm_regions){ .width = PICTURE_WIDTH, .height = PICTURE_HEIGHT, .box = gm_calloc(REGIONS, sizeof *p->regions.box) };
    p->crops = gm_malloc(crops);
    p->target = gm_calloc(gold * row + 1, sizeof *p->target);
    p->iou = gm_calloc(gold * row + 1, sizeof *p->iou);
    if (p->regions.box == NULL || p->crops == NULL || p->target == NULL || p->iou == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a picture");
    p->regions.count = gm_regions_propose(PICTURE_WIDTH, PICTURE_HEIGHT, REGIONS, p->regions.box);
    memset(p->crops, 128, crops);
    for (size_t k = 0; k < gold; k++)
        gm_region_target(p->regions.box, REGIONS, &p->regions.box[k % REGIONS], 1, 0.5, p->target + k * row, p->iou + k * row);
    return GM_OK;
}

static gm_status fill_batch(gm_shop *s, int w, const gm_sample **picked, int32_t count)
{
    gm_run *r = &s->b->run;
    gm_batch *b = &s->batch[w];
    const gm_batch_options o = { .draw = 1, .touched = &s->touched };
    for (int32_t i = 0; i < count; i++) {
        gm_sample *sample = &r->train.samples[(size_t)(w * count + i) % r->train.records.count];
        GM_TRY(take_picture(sample, s->err));
        picked[i] = sample;
    }
    b->dev = &s->worker[w].dev;
    GM_TRY(gm_batch_fill(b, picked, count, o, s->err));
    return gm_scene_fill(b, picked, count, (gm_scene_options){ .side = SIDE, .max_regions = REGIONS }, s->err);
}

void gm_shop_fill_batches(gm_shop *s)
{
    const int32_t each = (int32_t)(s->b->options->batch / s->workers);
    const gm_sample **picked = gm_calloc((size_t)(each > 0 ? each : 1), sizeof *picked);
    if (picked == NULL) gm_shop_fail(s, gm_fail(s->err, GM_ERR_NOMEM, "out of memory for a batch"));
    if (s->status == GM_OK) gm_shop_fail(s, gm_touched_make(&s->touched, gm_shop_encoder(s)->vocabulary, s->err));
    if (s->status == GM_OK) gm_touched_begin(&s->touched);
    for (int w = 0; w < s->workers && s->status == GM_OK; w++) gm_shop_fail(s, fill_batch(s, w, picked, each));
    s->touched_rows = s->touched.count;
    gm_free((void *)picked);
}
