/* Steps driven by hand through src/train/run.h: over batches that were met before a step neither allocates memory nor
 * plans a matrix product, and what it does to the weights is AdamW with each tensor's own rate and decay. */
#include "tests/train/train_test.h"

#include <math.h>

#include "model/tiny.h"
#include "train/run.h"

enum { BATCH = 8, BATCHES = 4 };

typedef struct bench {
    gm_config *config;
    gm_train_options options;
    volatile sig_atomic_t flag;
    gm_run run;
} bench;

static void begin(bench *b, sets all)
{
    gm_err err = { 0 };
    gm_records train = { 0 }, dev = { 0 };
    *b = (bench) { .options = { .out = "nowhere", .device = "cpu", .isa = "auto", .signal = &b->flag } };
    assert_ok(gm_config_create(&b->config, &err));
    for (sets s = all; *s != NULL; s++) assert_ok(gm_config_set(b->config, *s, &err));
    gm_run *r = &b->run;
    const int32_t threads = (int32_t)gm_config_int(b->config, GM_KEY_THREADS);
    const gm_model_options o = { .head = strcmp(gm_config_str(b->config, GM_KEY_HEAD), "crf") == 0 ? GM_HEAD_CRF
                                                                                                   : GM_HEAD_SPAN,
                                 .dense_embedding = gm_config_bool(b->config, GM_KEY_DENSE_EMBEDDING),
                                 .max_len = 128,
                                 .dropout = 0.1f,
                                 .seed = 42 };
    r->config = b->config;
    r->options = &b->options;
    r->shards = (int32_t)gm_config_int(b->config, GM_KEY_SHARDS);
    r->step.seed = 42;
    r->total_steps = 1000;
    assert_ok(gm_backend_open("cpu", "auto", &r->backend, &err));
    assert_ok(gm_run_read_records(b->config, &train, &dev, &err));
    assert_ok(gm_model_create_tiny(&train, "PER,LOC,ORG,OTHER", &o, &r->model, &err));
    assert_ok(gm_dataset_make(&r->train, &train, r->model.wordpiece, &r->model.labels, 128, &err));
    gm_records_free(&dev);
    assert_ok(gm_workers_create(&r->workers, &r->backend, threads, &r->step, &err));
    assert_ok(gm_device_create(&r->backend, threads, &r->device, &err));
    r->device.step = &r->step;
    assert_ok(gm_run_make_buffers(r, &err));
    gm_run_shuffle(r);
}

static void end(bench *b)
{
    gm_run *r = &b->run;
    gm_run_free_buffers(r);
    gm_workers_destroy(&r->workers);
    gm_device_destroy(&r->device);
    gm_dataset_free(&r->train);
    gm_model_destroy(&r->model);
    gm_config_destroy(b->config);
}

static double step(bench *b, int32_t batch)
{
    gm_run *r = &b->run;
    double loss;
    gm_err err = { 0 };
    for (int32_t i = 0; i < BATCH; i++) r->picked[i] = &r->train.samples[r->order[batch * BATCH + i]];
    assert_ok(gm_run_step(r, BATCH, &loss, &err));
    return loss;
}

static int64_t plans(const gm_run *r)
{
    int64_t n = gm_device_plan_count(&r->device);
    for (int32_t i = 0; i < r->workers.count; i++) n += gm_device_plan_count(&r->workers.items[i].dev);
    return n;
}

#define STEPS "data.format=synth", "encoder=tiny", "data.synth=32", "train.batch=8"

static void steady_steps_allocate_nothing(void **state)
{
    const sets cases[] = { SETS(STEPS, "threads=1"), SETS(STEPS, "threads=2", "train.shards=3"),
                           SETS(STEPS, "head=crf", "crf.tags=bioes"), SETS(STEPS, "train.dense_embedding=true") };
    (void)state;
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        bench b;
        begin(&b, cases[c]);
        for (int32_t i = 0; i < BATCHES; i++) step(&b, i);
        const uint64_t allocations = gm_alloc_count();
        const int64_t made = plans(&b.run);
        assert_true(made > 0); /* else the count says nothing */
        for (int32_t i = 0; i < 20; i++) step(&b, i % BATCHES);
        if (gm_alloc_count() != allocations)
            fail_msg("case %zu: %llu allocations in 20 steady steps", c,
                     (unsigned long long)(gm_alloc_count() - allocations));
        if (plans(&b.run) != made)
            fail_msg("case %zu: %lld new plans in 20 steady steps", c, (long long)(plans(&b.run) - made));
        end(&b);
    }
}

/* The same batch again and again: its loss must fall by far, or nothing is learnt. */
static void one_batch_is_learnt(void **state)
{
    const sets cases[] = { SETS(STEPS), SETS(STEPS, "head=crf"), SETS(STEPS, "train.dense_embedding=true") };
    (void)state;
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        bench b;
        begin(&b, cases[c]);
        b.run.total_steps = 60;
        const double first = step(&b, 0);
        double last = first;
        for (int i = 1; i < 60; i++) last = step(&b, 0);
        if (!(last < 0.5 * first)) fail_msg("case %zu: the loss went from %g to %g", c, first, last);
        end(&b);
    }
}

static bool is_touched(const gm_touched *t, int32_t row)
{
    for (int32_t i = 0; i < t->count; i++)
        if (t->row[i] == row) return true;
    return false;
}

/* AdamW's last line in double, from the moments as they stand behind step t; by names, a head's tensors have the head's
 * rate, and biases and norms do not decay. Rows of the word table that the step did not touch must not have moved. */
static void check_update(const gm_run *r, const gm_param *p, const float *before, double t, double factor)
{
    const char *name = p->spec.part[0];
    const double lr = factor * gm_config_num(r->config, strncmp(name, "span.", 5) == 0 ? GM_KEY_HEAD_LR : GM_KEY_LR);
    const double decay = strstr(name, "bias") != NULL || strstr(name, "LayerNorm") != NULL ? 0.0 : 0.1;
    for (size_t i = 0; i < p->count; i++) {
        const double x = (double)before[i], got = (double)p->value[i];
        const double rise = (double)p->m[i] / (1.0 - pow(0.9, t)),
                     spread = sqrt((double)p->v[i] / (1.0 - pow(0.999, t)));
        double want = x * (1.0 - lr * decay) - lr * rise / (spread + 1e-8);
        if (p->spec.is_table && !is_touched(&r->touched, (int32_t)(i / (size_t)p->spec.cols))) want = x;
        if (!(fabs(got - want) <= 2e-7 * fabs(x) + 1e-5 * lr)) /* two roundings of x, and those of the moments */
            fail_msg("%s[%zu]: %.9g became %.9g, expected %.9g", name, i, x, got, want);
    }
}

/* The count of steps goes on over the end of an epoch. */
static void the_update_is_adamws(void **state)
{
    bench b;
    (void)state;
    begin(&b, SETS(STEPS, "train.lr=1e-3", "train.head_lr=5e-3", "train.weight_decay=0.1", "train.warmup=0.1"));
    gm_run *r = &b.run;
    for (int32_t i = 0; i < BATCHES; i++) step(&b, i);
    r->at.epoch++;
    r->at.step_in_epoch = 0;
    const gm_params *ps = &r->model.params;
    float **before = calloc((size_t)ps->count, sizeof *before);
    assert_non_null(before);
    for (int32_t i = 0; i < ps->count; i++) {
        before[i] = malloc(ps->items[i]->count * sizeof **before);
        assert_non_null(before[i]);
        memcpy(before[i], ps->items[i]->value, ps->items[i]->count * sizeof **before);
    }
    step(&b, 2);
    for (int32_t i = 0; i < ps->count; i++) {
        check_update(r, ps->items[i], before[i], 5.0, 4.0 / 100.0); /* four of a hundred steps of warm-up are done */
        free(before[i]);
    }
    free(before);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_steps_allocate_nothing),
        cmocka_unit_test(the_update_is_adamws),
        cmocka_unit_test(one_batch_is_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
