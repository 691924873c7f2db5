/* Steps driven by hand through src/train/run.h, on any device: bench_begin, gm_run_place, bench_step, ..., bench_end. */
#ifndef GM_TESTS_BENCH_H
#define GM_TESTS_BENCH_H

#include "tests/support/pictures.h"
#include "tests/train/train_test.h"

#include "model/tiny.h"
#include "train/run.h"

enum { BENCH_BATCH = 8 };

typedef struct bench {
    gm_config *config;
    gm_train_options options;
    volatile sig_atomic_t flag;
    gm_run run;
} bench;

/* A tiny model, or one over the encoder of a folder, and synthetic sentences (data.synth), with drawn pictures and fine types where
 * it asks for them; weights still in host memory. */
static inline void bench_begin(bench *b, const char *device, sets all)
{
    gm_err err = { 0 };
    gm_records train = { 0 }, dev = { 0 };
    *b = (bench) { .options = { .out = "nowhere", .device = device, .isa = "auto", .signal = &b->flag } };
    assert_ok(gm_config_create(&b->config, &err));
    for (sets s = all; *s != NULL; s++) assert_ok(gm_config_set(b->config, *s, &err));
    gm_run *r = &b->run;
    const gm_model_options o = { .head = strcmp(gm_config_str(b->config, GM_KEY_HEAD), "crf") == 0 ? GM_HEAD_CRF
                                                                                                   : GM_HEAD_SPAN,
                                 .dense_embedding = gm_config_bool(b->config, GM_KEY_DENSE_EMBEDDING),
                                 .recomputes = gm_config_bool(b->config, GM_KEY_CHECKPOINTING),
                                 .vision = strcmp(gm_config_str(b->config, GM_KEY_VISION), "tiny") == 0 ? GM_VISION_TINY : GM_VISION_NONE,
                                 .max_regions = (int32_t)gm_config_int(b->config, GM_KEY_REGION_MAX),
                                 .debias = { .margin = (float)gm_config_num(b->config, GM_KEY_REGION_MARGIN),
                                             .weight = (float)gm_config_num(b->config, GM_KEY_REGION_DEBIAS) },
                                 .fine = gm_config_bool(b->config, GM_KEY_FINE) ? PICTURES_FINE : NULL,
                                 .max_len = (int32_t)gm_config_int(b->config, GM_KEY_MAX_LEN),
                                 .dropout = (float)gm_config_num(b->config, GM_KEY_DROPOUT),
                                 .seed = 42 };
    const gm_float_type type = strcmp(gm_config_str(b->config, GM_KEY_PRECISION), "bf16") == 0 ? GM_BF16 : GM_FP32;
    r->config = b->config;
    r->options = &b->options;
    r->shards = (int32_t)gm_config_int(b->config, GM_KEY_SHARDS);
    r->step.seed = 42;
    r->total_steps = 1000;
    assert_ok(gm_backend_open(device, "auto", type, &r->backend, &err));
    assert_ok(gm_run_read_records(b->config, &train, &dev, &err));
    const char *encoder = gm_config_str(b->config, GM_KEY_ENCODER), *labels = "PER,LOC,ORG,OTHER";
    assert_ok(strcmp(encoder, "tiny") == 0 ? gm_model_create_tiny(&train, labels, &o, &r->model, &err)
                                           : gm_model_create(encoder, labels, &o, &r->model, &err));
    assert_ok(gm_dataset_make(&r->train, &train, r->model.tokenizer, &r->model.labels, o.max_len, &err));
    gm_records_free(&dev);
    show_pictures(&r->model, r->train.samples, r->train.records.count);
    assert_ok(gm_workers_create(&r->workers, &r->backend, (int32_t)gm_config_int(b->config, GM_KEY_THREADS), &err));
    assert_ok(gm_run_make_buffers(r, &err));
    gm_run_shuffle(r);
}

static inline void bench_end(bench *b)
{
    gm_run *r = &b->run;
    gm_run_free_buffers(r);
    gm_model_destroy(&r->model);
    gm_workers_destroy(&r->workers);
    gm_dataset_free(&r->train);
    gm_config_destroy(b->config);
}

/* One optimiser step over `count` sentences of the epoch's order from the `from`-th on; the loss. */
static inline gm_status bench_try(bench *b, int32_t from, int32_t count, double *loss, gm_err *err)
{
    gm_run *r = &b->run;
    for (int32_t i = 0; i < count; i++) r->picked[i] = &r->train.samples[r->order[from + i]];
    return gm_run_step(r, count, loss, err);
}

static inline double bench_step(bench *b, int32_t batch)
{
    double loss;
    gm_err err = { 0 };
    assert_ok(bench_try(b, batch * BENCH_BATCH, BENCH_BATCH, &loss, &err));
    return loss;
}

#endif
