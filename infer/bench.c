/* gmner bench: times training steps, predictions and each operation, with the real model or one of random weights, and
 * prints medians with the share of what products alone would allow, measured in the same run. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/cli.h"
#include "base/memory.h"
#include "data/synth.h"

double gm_bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double gm_bench_peak_mib(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss / 1024.0 : (double)NAN;
}

gm_status gm_bench_add(gm_bench *b, const char *part, const char *name, const char *unit, double value, gm_bench_row **row, gm_err *err)
{
    GM_TRY(gm_grow((void **)&b->rows, &b->capacity, b->count, sizeof *b->rows, err));
    gm_bench_row *made = &b->rows[b->count++];
    *made = (gm_bench_row){ .part = part, .unit = unit, .value = value, .p90 = (double)NAN, .share = (double)NAN };
    snprintf(made->name, sizeof made->name, "%s", name);
    if (row != NULL) *row = made;
    return GM_OK;
}

static int by_size(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

gm_status gm_bench_add_times(gm_bench *b, const char *part, const char *name, const char *unit, double *seconds, int32_t count, gm_bench_row **row, gm_err *err)
{
    gm_bench_row *made;
    const double scale = strcmp(unit, "us") == 0 ? 1e6 : 1e3;
    qsort(seconds, (size_t)count, sizeof *seconds, by_size);
    GM_TRY(gm_bench_add(b, part, name, unit, scale * seconds[count / 2], &made, err));
    made->p90 = scale * seconds[count * 9 / 10];
    if (row != NULL) *row = made;
    return GM_OK;
}

static gm_status set_number(gm_config *c, const char *key, int64_t value, gm_err *err)
{
    char text[64];
    snprintf(text, sizeof text, "%s=%lld", key, (long long)value);
    return gm_config_set(c, text, err);
}

/* A configuration as `gmner train` would have it. */
static gm_status configure(gm_bench *b, gm_err *err)
{
    const gm_bench_options *o = b->options;
    GM_TRY(gm_config_create(&b->config, err));
    GM_TRY(gm_config_set(b->config, strcmp(o->precision, "bf16") == 0 ? "precision=bf16" : "precision=fp32", err));
    GM_TRY(set_number(b->config, "threads", o->threads, err));
    GM_TRY(set_number(b->config, "train.batch", o->batch, err));
    GM_TRY(set_number(b->config, "train.shards", o->threads > 2 ? o->threads : 2, err));
    b->run_options = (gm_train_options){ .out = "", .device = o->device, .isa = o->isa };
    b->run.config = b->config;
    b->run.options = &b->run_options;
    b->run.shards = (int32_t)gm_config_int(b->config, GM_KEY_SHARDS);
    b->run.step.seed = 42;
    b->run.total_steps = 1000;
    return GM_OK;
}

static gm_status read_records(const gm_bench_options *o, gm_records *records, gm_err *err)
{
    enum { SENTENCES = 2048 };
    if (o->data != NULL) return gm_records_load(o->data, records, err);
    return gm_synth(&(gm_synth_options){ .split = "train", .seed = 42, .count = SENTENCES, .is_hard = true }, records, err);
}

static gm_status make_all(gm_bench *b, gm_err *err)
{
    const gm_bench_options *o = b->options;
    gm_run *r = &b->run;
    gm_records records = { 0 };
    GM_TRY(configure(b, err));
    GM_TRY(gm_backend_open(o->device, o->isa, strcmp(o->precision, "bf16") == 0 ? GM_BF16 : GM_FP32, &r->backend, err));
    b->kernels = r->backend.kernels;
    gm_status status = read_records(o, &records, err);
    if (status == GM_OK) status = gm_bench_make_model(b, &records, err);
    if (status == GM_OK && gm_dataset_make(&r->train, &records, r->model.tokenizer, &r->model.labels, r->model.options.max_len, err) != GM_OK)
        status = gm_fail_at(err, "%s", o->data != NULL ? o->data : "synthetic sentences");
    gm_records_free(&records);
    if (status == GM_OK) status = gm_workers_create(&r->workers, &r->backend, (int32_t)o->threads, err);
    return status;
}

static bool wants(const gm_bench_options *o, const char *part) { return o->only == NULL || strcmp(o->only, part) == 0; }

/* Training comes first: the time from the start to its first step is one of its figures. */
static gm_status run_parts(gm_bench *b, gm_err *err)
{
    const gm_bench_options *o = b->options;
    gm_run *r = &b->run;
    if (wants(o, "training")) GM_TRY(gm_run_make_buffers(r, err));
    GM_TRY(gm_run_place(r, err));
    if (wants(o, "training")) {
        gm_run_shuffle(r);
        GM_TRY(gm_bench_training(b, err));
    }
    if (wants(o, "prediction")) GM_TRY(gm_bench_prediction(b, err));
    if (wants(o, "operations")) GM_TRY(gm_bench_operations(b, err));
    return GM_OK;
}

static gm_status bench(const gm_bench_options *o, gm_err *err)
{
    gm_bench b = { .options = o };
    gm_status status = o->compare != NULL ? gm_bench_read_older(o->compare, &b.older, err) : GM_OK;
    if (status == GM_OK) status = make_all(&b, err);
    if (status == GM_OK) status = run_parts(&b, err);
    if (status == GM_OK) status = gm_bench_report(&b, err);
    cJSON_Delete(b.older);
    gm_run_free_buffers(&b.run);
    gm_model_destroy(&b.run.model);
    gm_workers_destroy(&b.run.workers);
    gm_dataset_free(&b.run.train);
    gm_config_destroy(b.config);
    gm_free(b.rows);
    return status;
}

static gm_status check_range(const char *name, int64_t value, int64_t low, int64_t high, gm_err *err)
{
    if (value >= low && value <= high) return GM_OK;
    return gm_fail(err, GM_ERR_USAGE, "--%s is %lld to %lld, not %lld", name, (long long)low, (long long)high, (long long)value);
}

static gm_status check(const gm_bench_options *o, gm_err *err)
{
    static const char *const parts[] = { "training", "prediction", "operations" };
    size_t part = 0;
    while (o->only != NULL && part < GM_LEN(parts) && strcmp(o->only, parts[part]) != 0) part++;
    if (part == GM_LEN(parts)) return gm_fail(err, GM_ERR_USAGE, "--only is training, prediction or operations, not \"%s\"", o->only);
    if (!gm_bench_knows_shape(o->shape)) return gm_fail(err, GM_ERR_USAGE, "--shape is minilm, base or tiny, not \"%s\"", o->shape);
    if (o->model != NULL && o->encoder != NULL) return gm_fail(err, GM_ERR_USAGE, "--model and --encoder are two ways to name the weights: give one of them");
    if (strcmp(o->precision, "fp32") != 0 && strcmp(o->precision, "bf16") != 0)
        return gm_fail(err, GM_ERR_USAGE, "--precision is fp32 or bf16, not \"%s\"", o->precision);
    if (!(o->seconds > 0.0 && o->seconds <= 3600.0)) return gm_fail(err, GM_ERR_USAGE, "--seconds is above 0 and at most 3600, not %g", o->seconds);
    GM_TRY(check_range("threads", o->threads, 1, 1024, err));
    GM_TRY(check_range("batch", o->batch, 1, 65536, err));
    GM_TRY(check_range("steps", o->steps, 1, 1000000, err));
    GM_TRY(check_range("sentences", o->sentences, 1, 1000000, err));
    return check_range("tokens", o->tokens, 16, 1 << 20, err);
}

static int bench_main(int argc, char **argv);
const gm_command gm_bench_command = { "bench", "time training, prediction and each operation on this machine",
                                      "gmner bench [--encoder DIR] [--data records.jsonl] [--precision bf16] [--json] [--compare OLD.json]", bench_main };

static int bench_main(int argc, char **argv)
{
    gm_bench_options o = { .shape = "minilm", .precision = "fp32", .device = "cpu", .isa = "auto", .threads = 2, .batch = 32, .steps = 40, .sentences = 1000,
                           .tokens = 2048, .seconds = 0.3 };
    gm_option options[] = {
        { "only", GM_OPT_STR, &o.only, "PART", "training, prediction or operations; all three without it", false },
        { "model", GM_OPT_STR, &o.model, "DIR", "weights of a run folder (its best/) or model folder", false },
        { "encoder", GM_OPT_STR, &o.encoder, "DIR", "weights of a Hugging Face encoder, with a new head", false },
        { "shape", GM_OPT_STR, &o.shape, "NAME", "random weights without --model and --encoder: minilm, base (BERT) or tiny", false },
        { "data", GM_OPT_STR, &o.data, "FILE", "records; synthetic sentences without it", false },
        { "precision", GM_OPT_STR, &o.precision, "NAME", "fp32 or bf16", false },
        { "threads", GM_OPT_INT, &o.threads, "N", "worker threads", false },
        { "batch", GM_OPT_INT, &o.batch, "N", "sentences a training step", false },
        { "steps", GM_OPT_INT, &o.steps, "N", "training steps that are timed, behind five that are not", false },
        { "sentences", GM_OPT_INT, &o.sentences, "N", "sentences that are predicted, at most", false },
        { "tokens", GM_OPT_INT, &o.tokens, "N", "pieces of a packed batch of prediction", false },
        { "seconds", GM_OPT_NUM, &o.seconds, "S", "spent on each operation", false },
        { "device", GM_OPT_STR, &o.device, "NAME", "cpu, cuda, sim or auto", false },
        { "cpu-isa", GM_OPT_STR, &o.isa, "NAME", "instruction set of the cpu kernels: auto, v2, v3 or v4", false },
        { "json", GM_OPT_FLAG, &o.json, NULL, "print JSON", false },
        { "compare", GM_OPT_STR, &o.compare, "FILE", "what --json printed before: each row gets its ratio, above 1 where this run is better", false },
    };
    bool done = false;
    gm_err err = { 0 };
    gm_status status = gm_cli_parse(&gm_bench_command, options, (int)GM_LEN(options), NULL, 0, NULL, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK) status = check(&o, &err);
    if (status == GM_OK) status = bench(&o, &err);
    return gm_cli_finish(&gm_bench_command, status, &err);
}
