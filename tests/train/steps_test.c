/* Steps driven by hand through src/train/run.h: over batches that were met before a step neither allocates memory nor
 * plans a matrix product, and what it does to the weights is AdamW with each tensor's own rate and decay. */
#include "tests/train/bench.h"

#include <math.h>

enum { BATCHES = 4 };

static void begin(bench *b, sets all) { bench_begin(b, "cpu", all); }

static int64_t plans(const gm_run *r)
{
    int64_t n = gm_device_plan_count(r->workers.whole);
    for (int32_t i = 0; i < r->workers.count; i++) n += gm_device_plan_count(&r->workers.items[i].dev);
    return n;
}

#define STEPS "data.format=synth", "encoder=tiny", "data.synth=32", "train.batch=8"

static void steady_steps_allocate_nothing(void **state)
{
    const sets cases[] = { SETS(STEPS, "threads=1"), SETS(STEPS, "threads=2", "train.shards=3"),
                           SETS(STEPS, "head=crf", "crf.tags=bioes"), SETS(STEPS, "train.dense_embedding=true"),
                           SETS(STEPS, "shape=both") };
    (void)state;
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        bench b;
        begin(&b, cases[c]);
        for (int32_t i = 0; i < BATCHES; i++) bench_step(&b, i);
        const uint64_t allocations = gm_alloc_count();
        const int64_t made = plans(&b.run);
        assert_true(made > 0); /* else the count says nothing */
        for (int32_t i = 0; i < 20; i++) bench_step(&b, i % BATCHES);
        if (gm_alloc_count() != allocations)
            fail_msg("case %zu: %llu allocations in 20 steady steps", c,
                     (unsigned long long)(gm_alloc_count() - allocations));
        if (plans(&b.run) != made)
            fail_msg("case %zu: %lld new plans in 20 steady steps", c, (long long)(plans(&b.run) - made));
        bench_end(&b);
    }
}

/* Place of a sample among those that step 0 picks. */
static int32_t place_of(const gm_run *r, const gm_sample *s)
{
    for (int32_t i = 0; i < BENCH_BATCH; i++)
        if (&r->train.samples[r->order[i]] == s) return i;
    fail_msg("a sample that was not picked");
    return -1;
}

/* Each sample once, a shard's in the order in which they were picked; and without its shortest sample, which came last, no
 * shard has more pieces than another: so greedy dealing goes. */
static void shards_have_like_pieces(void **state)
{
    bench b;
    (void)state;
    begin(&b, SETS(STEPS, "train.shards=3", "threads=2"));
    const gm_run *r = &b.run;
    bench_step(&b, 0);
    int32_t pieces[3] = { 0 }, shortest[3] = { 1000, 1000, 1000 }, seen = 0;
    assert_true(r->cut[0] == 0 && r->cut[3] == BENCH_BATCH);
    for (int32_t s = 0; s < 3; s++)
        for (int32_t i = r->cut[s], last = -1; i < r->cut[s + 1]; i++) {
            const int32_t place = place_of(r, r->picked[i]), n = r->picked[i]->text.count;
            assert_true(place > last);
            last = place;
            seen |= 1 << place;
            pieces[s] += n;
            if (n < shortest[s]) shortest[s] = n;
        }
    assert_int_equal(seen, (1 << BENCH_BATCH) - 1);
    for (int32_t s = 0; s < 3; s++)
        for (int32_t k = 0; k < 3; k++) assert_true(pieces[s] - shortest[s] <= pieces[k]);
    bench_end(&b);
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
        const double first = bench_step(&b, 0);
        double last = first;
        for (int i = 1; i < 60; i++) last = bench_step(&b, 0);
        if (!(last < 0.5 * first)) fail_msg("case %zu: the loss went from %g to %g", c, first, last);
        bench_end(&b);
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
    for (int32_t i = 0; i < BATCHES; i++) bench_step(&b, i);
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
    bench_step(&b, 2);
    for (int32_t i = 0; i < ps->count; i++) {
        check_update(r, ps->items[i], before[i], 5.0, 4.0 / 100.0); /* four of a hundred steps of warm-up are done */
        free(before[i]);
    }
    free(before);
    bench_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_steps_allocate_nothing),
        cmocka_unit_test(the_update_is_adamws),
        cmocka_unit_test(shards_have_like_pieces), cmocka_unit_test(one_batch_is_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
