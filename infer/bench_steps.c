/* Whole training steps and whole predictions, as `gmner train` and `gmner predict` do them, without files. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "bench.h"

/* Seconds since this process began, by the kernel's clock of processes (hundredths); NAN where there is none. */
static double process_age(void)
{
    char *text = NULL;
    size_t size;
    struct timespec now;
    double age = (double)NAN;
    if (gm_file_read("/proc/self/stat", &text, &size, NULL) != GM_OK) return age;
    const char *at = strrchr(text, ')'); /* behind the program's name, which may hold blanks */
    for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
    if (at != NULL && clock_gettime(CLOCK_BOOTTIME, &now) == 0)
        age = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - strtod(at, NULL) / (double)sysconf(_SC_CLK_TCK);
    gm_free(text);
    return age;
}

/* The s-th batch of the epoch's order; begins anew at its end. */
static int64_t pick(gm_run *r, int64_t s, int32_t batch)
{
    int64_t pieces = 0;
    const size_t count = r->train.records.count;
    for (int32_t i = 0; i < batch; i++) {
        r->picked[i] = &r->train.samples[r->order[((size_t)s * (size_t)batch + (size_t)i) % count]];
        pieces += r->picked[i]->text.count;
    }
    return pieces;
}

/* `count` steps from the s-th on; seconds of each, pieces of all. */
static gm_status run_steps(gm_bench *b, int64_t s, int32_t count, double *seconds, int64_t *pieces, gm_err *err)
{
    const int32_t batch = (int32_t)b->options->batch;
    double loss;
    *pieces = 0;
    for (int32_t i = 0; i < count; i++) {
        *pieces += pick(&b->run, s + i, batch);
        const double began = gm_bench_now();
        GM_TRY(gm_run_step(&b->run, batch, &loss, err));
        seconds[i] = gm_bench_now() - began;
    }
    return GM_OK;
}

/* Rows that products of so many pieces have on the cpu. */
static int32_t rows_for(int32_t pieces) { return (pieces + 15) / 16 * 16; }

static double sum_of(const double *x, int32_t n)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

/* The rate that products alone would allow, and how much of it was reached. */
static gm_status add_limit(gm_bench *b, const char *part, const char *name, int32_t rows, int passes, int cores, bool shared, double pieces_per_s, gm_err *err)
{
    double limit;
    gm_bench_row *row;
    GM_TRY(gm_bench_product_limit(b, rows, passes, cores, shared, &limit, err));
    if (isnan(limit)) return GM_OK;
    GM_TRY(gm_bench_add(b, part, name, "pieces/s", limit, &row, err));
    row->share = pieces_per_s / limit;
    return GM_OK;
}

static gm_status time_training(gm_bench *b, double *seconds, gm_err *err)
{
    enum { WARM = 5 };
    static const char part[] = "training";
    gm_run *r = &b->run;
    const int32_t steps = (int32_t)b->options->steps;
    int64_t pieces;
    double first;
    gm_bench_row *row;
    GM_TRY(run_steps(b, 0, 1, &first, &pieces, err));
    GM_TRY(gm_bench_add(b, part, "start to first step", "s", process_age() - b->aside_s, NULL, err));
    GM_TRY(gm_bench_add(b, part, "first step", "s", first, NULL, err));
    for (int s = 1; s < WARM; s++) GM_TRY(run_steps(b, s, 1, seconds, &pieces, err));
    GM_TRY(run_steps(b, WARM, steps, seconds, &pieces, err));
    const double rate = (double)pieces / sum_of(seconds, steps);
    GM_TRY(gm_bench_add(b, part, "steps", "pieces/s", rate, NULL, err));
    GM_TRY(gm_bench_add(b, part, "pieces a step", "pieces", (double)pieces / steps, NULL, err));
    GM_TRY(gm_bench_add_times(b, part, "step", "ms", seconds, steps, &row, err));
    GM_TRY(gm_bench_add(b, part, "peak RSS", "MiB", gm_bench_peak_mib(), NULL, err));
    const int32_t rows = rows_for((int32_t)(pieces / steps / r->shards));
    GM_TRY(add_limit(b, part, "products alone", rows, 3, r->workers.count, false, rate, err));
    if (!r->backend.memory->is_host) return GM_OK;
    gm_bench_watch(b, true);
    const gm_status status = run_steps(b, WARM, steps, seconds, &pieces, err);
    gm_bench_watch(b, false);
    return status == GM_OK ? gm_bench_add_watched(b, part, steps, sum_of(seconds, steps), err) : status;
}

gm_status gm_bench_training(gm_bench *b, gm_err *err)
{
    double *seconds = gm_calloc((size_t)b->options->steps + 1, sizeof *seconds);
    if (seconds == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %lld steps", (long long)b->options->steps);
    const gm_status status = time_training(b, seconds, err);
    gm_free(seconds);
    return status;
}

/* ---- prediction ---- */

typedef struct answers {
    size_t count;
    gm_entity **entities;
    int32_t *found;
    double *seconds;
    double total;             /* of the last call */
} answers;

static gm_status predict(gm_bench *b, answers *a, const gm_sample *samples, size_t count, int32_t tokens, gm_err *err)
{
    gm_run *r = &b->run;
    const double began = gm_bench_now();
    GM_TRY(gm_predict(&r->model, &r->workers, samples, count, tokens, a->entities, a->found, err));
    a->total = gm_bench_now() - began;
    for (size_t i = 0; i < count; i++) gm_entities_free(a->entities[i], a->found[i]);
    return GM_OK;
}

/* One sentence after another, each answered before the next comes. */
static gm_status predict_each(gm_bench *b, answers *a, gm_err *err)
{
    for (size_t i = 0; i < a->count; i++) {
        GM_TRY(predict(b, a, &b->run.train.samples[i], 1, 1, err));
        a->seconds[i] = a->total;
    }
    return GM_OK;
}

static gm_status watch_each(gm_bench *b, answers *a, const char *part, bool each, gm_err *err)
{
    if (!b->run.backend.memory->is_host) return GM_OK;
    gm_bench_watch(b, true);
    const gm_status status = each ? predict_each(b, a, err) : predict(b, a, b->run.train.samples, a->count, (int32_t)b->options->tokens, err);
    gm_bench_watch(b, false);
    if (status != GM_OK) return status;
    return gm_bench_add_watched(b, part, each ? (int32_t)a->count : 1, each ? sum_of(a->seconds, (int32_t)a->count) : a->total, err);
}

static int64_t pieces_of(const gm_bench *b, size_t count)
{
    int64_t pieces = 0;
    for (size_t i = 0; i < count; i++) pieces += b->run.train.samples[i].text.count;
    return pieces;
}

static gm_status one_by_one(gm_bench *b, answers *a, gm_err *err)
{
    static const char part[] = "prediction, batch 1";
    const double pieces = (double)pieces_of(b, a->count);
    GM_TRY(predict_each(b, a, err)); /* each length makes its plans */
    GM_TRY(predict_each(b, a, err));
    const double total = sum_of(a->seconds, (int32_t)a->count);
    GM_TRY(gm_bench_add(b, part, "sentences", "sentences/s", (double)a->count / total, NULL, err));
    GM_TRY(gm_bench_add_times(b, part, "latency", "us", a->seconds, (int32_t)a->count, NULL, err));
    const int32_t rows = rows_for((int32_t)(pieces / (double)a->count));
    GM_TRY(add_limit(b, part, "products alone, one thread", rows, 1, 1, false, pieces / total, err));
    GM_TRY(add_limit(b, part, "products alone, all threads", rows, 1, b->run.workers.count, true, pieces / total, err));
    return watch_each(b, a, part, true, err);
}

static gm_status in_batches(gm_bench *b, answers *a, gm_err *err)
{
    enum { ROUNDS = 5 };
    static const char part[] = "prediction, batched";
    const double pieces = (double)pieces_of(b, a->count);
    double round[ROUNDS];
    gm_bench_row *row;
    GM_TRY(predict(b, a, b->run.train.samples, a->count, (int32_t)b->options->tokens, err));
    for (int i = 0; i < ROUNDS; i++) {
        GM_TRY(predict(b, a, b->run.train.samples, a->count, (int32_t)b->options->tokens, err));
        round[i] = a->total;
    }
    GM_TRY(gm_bench_add_times(b, part, "all sentences", "ms", round, ROUNDS, &row, err));
    const double seconds = 1e-3 * row->value;
    GM_TRY(gm_bench_add(b, part, "sentences", "sentences/s", (double)a->count / seconds, NULL, err));
    GM_TRY(gm_bench_add(b, part, "pieces", "pieces/s", pieces / seconds, NULL, err));
    GM_TRY(gm_bench_add(b, part, "peak RSS", "MiB", gm_bench_peak_mib(), NULL, err));
    const int32_t rows = rows_for((int32_t)(pieces < (double)b->options->tokens ? pieces : (double)b->options->tokens));
    GM_TRY(add_limit(b, part, "products alone", rows, 1, b->run.workers.count, false, pieces / seconds, err));
    return watch_each(b, a, part, false, err);
}

gm_status gm_bench_prediction(gm_bench *b, gm_err *err)
{
    static const gm_step none = { 0 };
    answers a = { .count = b->run.train.records.count };
    if ((int64_t)a.count > b->options->sentences) a.count = (size_t)b->options->sentences;
    a.entities = gm_calloc(a.count, sizeof *a.entities);
    a.found = gm_calloc(a.count, sizeof *a.found);
    a.seconds = gm_calloc(a.count, sizeof *a.seconds);
    gm_status status = a.entities != NULL && a.found != NULL && a.seconds != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu sentences", a.count);
    if (status == GM_OK) status = gm_workers_error(&b->run.workers, gm_workers_set_step(&b->run.workers, &none), err);
    if (status == GM_OK) status = gm_params_pack(&b->run.model.params, err);
    if (status == GM_OK) status = one_by_one(b, &a, err);
    if (status == GM_OK) status = in_batches(b, &a, err);
    gm_free((void *)a.entities);
    gm_free(a.found);
    gm_free(a.seconds);
    return status;
}
