/* What the files of `gmner bench` share. A run of it makes a list of rows; each part of the command appends its own, and
 * the report prints them for people or programs, beside an older run's where one is given. */
#ifndef GM_INFER_BENCH_H
#define GM_INFER_BENCH_H

#include "base/json.h"
#include "train/run.h"

typedef struct gm_bench_row {
    const char *part;          /* "training" */
    char name[48];             /* part and name together are a row's identity */
    const char *unit;          /* one that ends in "/s" is better when larger, all others when smaller */
    double value, p90;         /* median; p90 NAN where there is none */
    double bytes, flops;       /* of a call, by the contract of the operation; 0: not counted */
    double share;              /* of the limit that products alone set, measured in this run; NAN: not to be had */
} gm_bench_row;

typedef struct gm_bench_options {
    const char *only;          /* NULL: all parts */
    const char *model, *encoder, *shape, *data;
    const char *precision, *device, *isa, *compare;
    int64_t threads, batch, steps, sentences, tokens;
    double seconds;            /* spent on each operation */
    bool json;
} gm_bench_options;

typedef struct gm_bench {
    const gm_bench_options *options;
    gm_run run;                /* its options and configuration are ours */
    gm_train_options run_options;
    gm_config *config;
    gm_kernels kernels;        /* the backend's own, before gm_bench_watch put a clock round each */
    double aside_s;            /* spent on what a user's run does not do: making random weights */
    cJSON *older;              /* what --compare names; NULL without it */
    gm_bench_row *rows;
    size_t count, capacity;
} gm_bench;

double gm_bench_now(void);     /* seconds */
/* Appends a row; the caller may fill in the rest through *row (or NULL). */
gm_status gm_bench_add(gm_bench *b, const char *part, const char *name, const char *unit, double value, gm_bench_row **row, gm_err *err);
/* The same from times in seconds, which are sorted: median and p90 in `unit`, which is "us" or "ms". */
gm_status gm_bench_add_times(gm_bench *b, const char *part, const char *name, const char *unit, double *seconds, int32_t count, gm_bench_row **row,
                             gm_err *err);
double gm_bench_peak_mib(void); /* of this process so far */

/* bench_model.c: the run's model from a folder, or with random weights in one of the known shapes; false for others. */
bool gm_bench_knows_shape(const char *shape);
gm_status gm_bench_make_model(gm_bench *b, const gm_records *records, gm_err *err);

/* bench_watch.c: while it is on, each call of an operation adds its time to the operation's. Host memory only. */
void gm_bench_watch(gm_bench *b, bool on);
/* Rows of `part`: milliseconds a pass of one worker in each operation and direction that took time, the sums of the
 * directions, and what is left of `total_s` seconds of `passes` passes. */
gm_status gm_bench_add_watched(gm_bench *b, const char *part, int32_t passes, double total_s, gm_err *err);

/* bench_steps.c */
gm_status gm_bench_training(gm_bench *b, gm_err *err);
gm_status gm_bench_prediction(gm_bench *b, gm_err *err);

/* bench_operations.c */
gm_status gm_bench_operations(gm_bench *b, gm_err *err);
/* Flops a second of one core in the product [rows, in] x [in, out], all of `cores` cores at work on one of their own, or on a
 * common one where `shared`: the better of both layouts of the weight. NAN where the device's products are not ours to call. */
gm_status gm_bench_product_rate(gm_bench *b, int32_t rows, int32_t in, int32_t out, int cores, bool shared, double *rate, gm_err *err);
/* Pieces a second that the encoder's products alone would allow: `passes` times the forward product each. */
gm_status gm_bench_product_limit(gm_bench *b, int32_t rows, int passes, int cores, bool shared, double *limit, gm_err *err);

/* bench_report.c: what `gmner bench --json` wrote; the caller's, for cJSON_Delete. */
gm_status gm_bench_read_older(const char *path, cJSON **older, gm_err *err);
gm_status gm_bench_report(const gm_bench *b, gm_err *err);

#endif
