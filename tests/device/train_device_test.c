/* Training on a device module (the simulator, or a GPU) against the cpu: losses, bits, graphs, failures, resuming. */
#include "tests/device/device_test.h"

#include "backend/backend.h"

enum { STEPS = 20, BATCHES = 4 };

#define TINY "data.format=synth", "encoder=tiny", "data.synth=32", "train.batch=8", "threads=1"

/* All that a model can be: with drawn pictures, fine types, and the loss against the bias of one modality. */
#define SEEING TINY, "vision=tiny", "fine=true", "region.weight=1", "region.debias=0.5"

static double off(double x, double y) { return fabs(x - y) / fabs(y); }

/* Bounds: docs/conventions.md, "Equality". A drift may cross zero by chance, so the largest one so far counts. */
static void fp32_follows_the_cpu(void **state)
{
    const sets cases[] = { SETS(TINY), SETS(TINY, "head=crf"), SETS(TINY, "train.shards=1", "train.dense_embedding=true"), SETS(TINY, "shape=both"),
                           SETS(SEEING, "region.max=4"), SETS(SEEING, "region.max=3", "head=crf", "train.shards=1") };
    enum { NUDGES = 3, SEEN = 4 /* cases from here on */ };
    (void)state;
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        double cpu[STEPS], nudged[NUDGES][STEPS], there[STEPS], drift = 0.0;
        device_losses("cpu", cases[c], 0, STEPS, cpu);
        for (uint32_t n = 0; n < NUDGES; n++) device_losses("cpu", cases[c], n + 1, STEPS, nudged[n]);
        device_losses(device(), cases[c], 0, STEPS, there);
        printf("case %zu: step, loss of cpu, of %s, relative distance, drift of cpu by one ulp\n", c, device());
        for (int i = 0; i < STEPS; i++) {
            for (int n = 0; n < NUDGES; n++) drift = fmax(drift, off(nudged[n][i], cpu[i]));
            printf("%2d  %.9f  %.9f  %.2e  %.2e\n", i + 1, cpu[i], there[i], off(there[i], cpu[i]), drift);
            const double bound = i == 0 ? 1e-6 : (c < SEEN ? 4.0 : 8.0) * drift; /* behind pictures twice as many operations round */
            if (!(off(there[i], cpu[i]) <= bound)) fail_msg("case %zu, step %d: %.3g away from the cpu, bound %.3g", c, i + 1, off(there[i], cpu[i]), bound);
        }
    }
}

/* Beside it the cpu in bf16, where the processor has it. */
static void bf16_begins_where_fp32_does(void **state)
{
    const sets whole[] = { SETS(TINY), SETS(TINY, "head=crf"), SETS(SEEING, "region.max=4") };
    const sets half[] = { SETS(TINY, "precision=bf16"), SETS(TINY, "head=crf", "precision=bf16"), SETS(SEEING, "region.max=4", "precision=bf16") };
    const char *const places[] = { device(), gm_backend_has_bf16() ? "cpu" : device() };
    (void)state;
    for (size_t c = 0; c < GM_LEN(whole); c++) {
        double fp32[STEPS], bf16[2][STEPS];
        device_losses("cpu", whole[c], 0, STEPS, fp32);
        for (int k = 0; k < 2; k++) device_losses(places[k], half[c], 0, STEPS, bf16[k]);
        printf("case %zu: step, loss of cpu in fp32, in bf16 of %s and of %s, relative distances\n", c, places[0], places[1]);
        for (int i = 0; i < STEPS; i++)
            printf("%2d  %.9f  %.9f  %.9f  %.2e  %.2e\n", i + 1, fp32[i], bf16[0][i], bf16[1][i], off(bf16[0][i], fp32[i]), off(bf16[1][i], fp32[i]));
        for (int k = 0; k < 2; k++) {
            if (!(off(bf16[k][0], fp32[0]) <= 1e-2)) fail_msg("case %zu: the first loss is %g, in fp32 %g", c, bf16[k][0], fp32[0]);
            if (bf16[k][0] == fp32[0]) fail_msg("case %zu: bf16 gave the very numbers of fp32", c);
            if (!(off(bf16[k][STEPS - 1], fp32[STEPS - 1]) <= 1e-2)) fail_msg("case %zu: the last loss is %g, in fp32 %g", c, bf16[k][STEPS - 1], fp32[STEPS - 1]);
        }
    }
}

static int recorded(const gm_run *r)
{
    int graphs = 0;
    for (int32_t i = 0; i < r->replay.count; i++) graphs += r->replay.known[i].graph != NULL;
    return graphs;
}

/* Steps as graphs give the bits of steps that are launched one kernel at a time. */
static void replayed_steps_give_the_same_bits(void **state)
{
    const sets cases[] = { SETS(TINY, "shape=both"), SETS(TINY, "head=crf", "precision=bf16", "train.shards=3"),
                           SETS(SEEING, "region.max=4", "precision=bf16", "train.shards=3") };
    (void)state;
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        double replayed[STEPS], plain[STEPS];
        bench b;
        gm_err err = { 0 };
        bench_begin(&b, device(), cases[c]);
        assert_ok(gm_run_place(&b.run, &err));
        for (int32_t i = 0; i < STEPS; i++) replayed[i] = bench_step(&b, i % BATCHES);
        assert_true(recorded(&b.run) > 0);
        bench_end(&b);
        bench_begin(&b, device(), cases[c]);
        assert_ok(gm_run_place(&b.run, &err));
        for (int32_t i = 0; i < STEPS; i++) {
            plain[i] = bench_step(&b, i % BATCHES);
            gm_replay_forget(&b.run.replay, &b.run.workers.items[0]);
        }
        bench_end(&b);
        for (int i = 0; i < STEPS; i++)
            if (replayed[i] != plain[i]) fail_msg("case %zu, step %d: %.17g replayed, %.17g launched", c, i + 1, replayed[i], plain[i]);
    }
}

/* Which of the four kinds of pictures (tests/support/pictures.h) the samples of a step have; GOLDLESS: the first kind, and no entities. */
enum { NO_PICTURES = 1, ONE_REGION = 2, MANY_REGIONS = 4 | 8, GOLDLESS = 16 };

static double step_of(bench *b, int kinds, int32_t count)
{
    gm_run *r = &b->run;
    double loss;
    gm_err err = { 0 };
    int32_t picked = 0, gold[BENCH_BATCH];
    for (size_t i = 0; i < r->train.records.count && picked < count; i++)
        if (kinds & ((1 << i % 4) | (i % 4 == 0 ? GOLDLESS : 0))) r->picked[picked++] = &r->train.samples[i];
    assert_int_equal(picked, count);
    gm_sample *of[BENCH_BATCH];
    for (int32_t i = 0; i < count; i++) {
        of[i] = &r->train.samples[r->picked[i] - r->train.samples];
        gold[i] = of[i]->gold_count;
        if (kinds == GOLDLESS) of[i]->gold_count = 0;
    }
    assert_ok(gm_run_step(r, count, &loss, &err));
    for (int32_t i = 0; i < count; i++) of[i]->gold_count = gold[i];
    return loss;
}

/* Steps whose shards have no picture, few regions or many, and no entity, in turn: each kind has a room of its own, and what one
 * needs must not move what another's graph reads. The first round is held against the cpu, all against single launches. */
static void steps_of_all_rooms(void **state)
{
    static const struct { int kinds; int32_t count; } steps[] = { { NO_PICTURES, 6 }, { MANY_REGIONS, 8 }, { ONE_REGION, 6 }, { NO_PICTURES | ONE_REGION, 2 }, { GOLDLESS, 4 } };
    enum { KINDS = 5, ROUNDS = 3 };
    const sets all = SETS(SEEING, "region.max=20", "train.shards=1");
    double loss[3][ROUNDS * KINDS];
    (void)state;
    for (int pass = 0; pass < 3; pass++) { /* as graphs, one launch at a time, on the cpu */
        bench b;
        gm_err err = { 0 };
        bench_begin(&b, pass < 2 ? device() : "cpu", all);
        assert_ok(gm_run_place(&b.run, &err));
        for (int i = 0; i < (pass < 2 ? ROUNDS : 1) * KINDS; i++) {
            loss[pass][i] = step_of(&b, steps[i % KINDS].kinds, steps[i % KINDS].count);
            if (pass == 1) gm_replay_forget(&b.run.replay, &b.run.workers.items[0]);
        }
        if (pass == 0) assert_int_equal(recorded(&b.run), b.run.replay.count);
        bench_end(&b);
    }
    for (int i = 0; i < ROUNDS * KINDS; i++) {
        if (loss[0][i] != loss[1][i]) fail_msg("step %d: %.17g replayed, %.17g launched", i + 1, loss[0][i], loss[1][i]);
        if (i >= KINDS) continue;
        printf("%d  %.9f  %.9f  %.2e\n", i + 1, loss[2][i], loss[0][i], off(loss[0][i], loss[2][i]));
        assert_true(off(loss[0][i], loss[2][i]) <= (i == 0 ? 1e-6 : 1e-4));
    }
}

/* Nothing is allocated or planned in a bucket that is known; a last batch that is smaller has its place as well. */
static void allocates_nothing(sets all)
{
    bench b;
    double loss;
    gm_err err = { 0 };
    bench_begin(&b, device(), all);
    assert_ok(gm_run_place(&b.run, &err));
    for (int32_t i = 0; i < 3 * BATCHES; i++) bench_step(&b, i % BATCHES);
    assert_ok(bench_try(&b, 0, 1, &loss, &err)); /* one sentence for two shards: one of them is empty */
    assert_ok(bench_try(&b, 0, 1, &loss, &err));
    assert_ok(bench_try(&b, 0, 1, &loss, &err));
    const uint64_t allocations = gm_alloc_count();
    const int64_t plans = gm_device_plan_count(b.run.workers.whole);
    const int32_t moves = b.run.workers.items[0].moves;
    assert_true(plans > 0 && moves > 0);
    for (int32_t i = 0; i < 2 * BATCHES; i++) bench_step(&b, i % BATCHES);
    assert_ok(bench_try(&b, 0, 1, &loss, &err));
    assert_true(gm_alloc_count() == allocations);
    assert_true(gm_device_plan_count(b.run.workers.whole) == plans);
    assert_true(b.run.workers.items[0].moves == moves);
    bench_end(&b);
}

static void steady_steps_allocate_nothing(void **state)
{
    (void)state;
    allocates_nothing(SETS(TINY));
    allocates_nothing(SETS(SEEING, "region.max=4"));
}

/* Nobody looks at the numbers between gradients and update: the kernels themselves must leave the weights alone. */
static void a_step_that_is_not_finite_changes_nothing(void **state)
{
    bench b;
    double loss;
    gm_err err = { 0 };
    (void)state;
    bench_begin(&b, device(), SETS(TINY, "train.warmup=0"));
    gm_params *ps = &b.run.model.params;
    ps->items[ps->count - 1]->value[1] = NAN; /* of the head's last bias */
    assert_ok(gm_run_place(&b.run, &err));
    float *before = malloc(ps->dense_count * sizeof *before);
    assert_non_null(before);
    memcpy(before, ps->host.value, ps->dense_count * sizeof *before);
    for (int i = 0; i < 3; i++) { /* as it is, recorded, replayed */
        assert_int_equal(bench_try(&b, 0, BENCH_BATCH, &loss, &err), GM_ERR_NUMERIC);
        assert_non_null(strstr(err.text, "the weights were left as they were"));
    }
    memset(ps->host.value, 0, ps->dense_count * sizeof *before);
    assert_ok(gm_run_fetch(&b.run, &err));
    assert_memory_equal(ps->host.value, before, ps->dense_count * sizeof *before);
    free(before);
    bench_end(&b);
}

static gm_status train_on(const char *name, const char *out, bool resume, sets all, gm_err *err)
{
    gm_config *config = NULL;
    volatile sig_atomic_t flag = 0;
    const gm_train_options o = { .out = out, .device = name, .isa = "auto", .resume = resume, .signal = &flag };
    gm_log_set_level(GM_LOG_WARN);
    if (gm_config_create(&config, err) != GM_OK) fail_msg("%s", err->text);
    for (sets s = all; *s != NULL; s++)
        if (gm_config_set(config, *s, err) != GM_OK) fail_msg("%s", err->text);
    const gm_status status = gm_train(config, &o, err);
    gm_config_destroy(config);
    return status;
}

#define AVERAGED SMALL, "shape=both", "train.average=0.5"

/* Weights, moments and averages come back from the device whole: half a run, resumed, is the run. Evaluation stands in between. */
static void resumed_runs_are_the_same(void **state)
{
    const char *whole = gmt_temp_dir(), *parts = gmt_temp_dir();
    gm_err err = { 0 };
    (void)state;
    assert_ok(train_on(device(), whole, false, SETS(AVERAGED), &err));
    assert_ok(train_on(device(), parts, false, SETS(AVERAGED, "train.max_steps=6"), &err));
    assert_ok(train_on(device(), parts, true, SETS(AVERAGED), &err));
    assert_same_runs(whole, parts);
    assert_same_metrics(whole, parts);
    if (train_on("cpu", whole, true, SETS(AVERAGED), &err) != GM_ERR_CONFIG || strstr(err.text, "which gives other bits: use --device") == NULL)
        fail_msg("another device went on with the run: %s", err.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fp32_follows_the_cpu),
        cmocka_unit_test(bf16_begins_where_fp32_does),
        cmocka_unit_test(replayed_steps_give_the_same_bits),
        cmocka_unit_test(steps_of_all_rooms),
        cmocka_unit_test(steady_steps_allocate_nothing),
        cmocka_unit_test(a_step_that_is_not_finite_changes_nothing),
        cmocka_unit_test(resumed_runs_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
