/* What the files of src/train share: the trainer's state and its parts. */
#ifndef GM_TRAIN_RUN_H
#define GM_TRAIN_RUN_H

#include "eval/metrics.h"
#include "adamw/adamw.h"
#include "model/look.h"
#include "train/ranks.h"
#include "train/trainer.h"

/* Where a run stands: all that a checkpoint must know beside weights and moments. */
typedef struct gm_progress_state {
    int64_t epoch, step_in_epoch, step; /* epochs finished; steps done in this one and in all */
    double best_f1;                     /* of dev MNER, or GMNER where the model sees pictures; -1 before the first evaluation */
    int64_t best_epoch, epochs_without_gain;
} gm_progress_state;

/* replay.c: steps of a device as graphs. Steps of one bucket (so many packed pieces a shard at most) launch the same kernels
 * on the same memory: the first one runs as it is, the second is recorded, the others are replayed. Backends without graphs
 * run each step as it is. */
enum { GM_REPLAY_BUCKETS = 64 };
typedef struct gm_replay {
    struct { int32_t bucket; void *graph; } known[GM_REPLAY_BUCKETS]; /* graph NULL: has run once */
    int32_t count;
    int32_t moves;            /* of the worker's arena when these were recorded */
} gm_replay;
/* Runs the body, all of whose work goes to the worker's stream; measure is a pass that takes as much of the arena. */
typedef gm_status (*gm_body)(void *context, gm_err *err);
gm_status gm_replay_run(gm_replay *r, gm_worker *w, int32_t bucket, gm_pass measure, gm_body body, void *context, gm_err *err);
void gm_replay_forget(gm_replay *r, gm_worker *w);

typedef struct gm_run {
    const gm_config *config;
    const gm_train_options *options;
    gm_backend backend;
    gm_model model;
    gm_dataset train, dev; /* dev.records.count 0: none */
    gm_look *look;         /* where pictures come from; NULL: the model sees none */
    gm_workers workers;
    gm_step step; /* of the step at hand; the workers have a copy */
    gm_touched touched;
    gm_mirror touched_rows; /* int32_t: their count, then the rows */
    int32_t shards;
    gm_batch *batch;       /* [shards] */
    int32_t *cut;          /* [shards + 1] picked samples of shard s: cut[s] .. cut[s + 1] - 1 */
    gm_grads *grads;       /* [shards], in device memory */
    float **dense, **rows; /* [shards] pointers into grads, for grad_norm */
    double *partial;       /* in device memory */
    gm_mirror outcome;     /* of a step: loss of each shard, as double; then norm and factor of clipping, as float */
    gm_replay replay;
    gm_ranks ranks;
    float norm;
    uint32_t *order;          /* [train.records.count] of the epoch at hand */
    const gm_sample **picked; /* [train.batch] samples of a step */
    struct gm_dealt *dealt;   /* [train.batch] and [shards]: scratch of step.c's dealing */
    int32_t *dealt_pieces;
    int64_t steps_per_epoch, total_steps;
    gm_progress_state at;
    FILE *metrics;  /* metrics.jsonl, open for appending */
    double train_s; /* time in steps since the last line of metrics, and pieces in it */
    int64_t train_pieces;
    gm_comm_counts noted; /* traffic at the last line of metrics */
    double epoch_s; /* the same since the epoch began or the run was resumed */
    int64_t epoch_pieces;
} gm_run;

/* data.c: the files that the configuration names, with their counts in the log; the label set of the format. */
gm_status gm_run_read_records(const gm_config *c, gm_records *train, gm_records *dev, gm_err *err);
gm_status gm_run_label_list(const gm_config *c, const gm_records *train, gm_buffer *list, gm_err *err);
gm_status gm_run_fine_list(const gm_records *train, gm_buffer *list, gm_err *err); /* all fine types that occur, sorted */

/* step.c: one optimiser step over the samples picked[0 .. count). *loss is the mean that the model minimises. */
gm_status gm_run_make_buffers(gm_run *r, gm_err *err);
void gm_run_free_buffers(gm_run *r);
gm_status gm_run_place(gm_run *r, gm_err *err); /* weights and moments, as they are now, go to the device */
gm_status gm_run_fetch(gm_run *r, gm_err *err); /* and come back, to be written */
void gm_run_shuffle(gm_run *r); /* the order of epoch at.epoch */
gm_status gm_run_step(gm_run *r, int32_t count, double *loss, gm_err *err);

/* ranks.c: begin says what shards are this process's (all of them where it is alone); make takes memory for the sums, behind
 * the gradients' own. most_rows: floats of the rows that a step can touch. */
gm_status gm_ranks_begin(gm_run *r, gm_err *err);
gm_status gm_ranks_make(gm_run *r, int64_t most_rows, gm_err *err);
void gm_ranks_free(gm_run *r);
void gm_ranks_start_step(gm_run *r); /* behind the list of touched rows */
/* gm_grads.on_layer of own shards, their run being the listener; layer -1: all of the shard's gradients stand. */
gm_status gm_ranks_passed(gm_tape *t, int32_t layer, void *run);
/* Of several processes: the sums over all shards, each rank its pieces, and the norm; then new weights of dense parameters,
 * and gradients of rows in rows[ranks.first], for all. */
gm_status gm_ranks_sum(gm_run *r, float *norm, float *scale, gm_err *err);
typedef gm_adamw (*gm_adamw_of)(const gm_run *r, gm_rate rate, bool decays);
gm_status gm_ranks_update(gm_run *r, gm_adamw_of adamw_of, gm_err *err);
gm_status gm_ranks_gather_moments(gm_run *r, gm_err *err); /* to rank 0, which writes them */
gm_status gm_ranks_share_state(gm_run *r, gm_err *err);    /* rank 0's weights, moments and progress become everybody's */
/* What all ranks have sent and waited since `since`, in all; by all ranks. */
gm_status gm_ranks_traffic(gm_run *r, const gm_comm_counts *since, gm_comm_counts *sum, gm_err *err);
gm_status gm_ranks_report(gm_run *r, gm_err *err); /* the same since the beginning, in the log */

/* average.c: takes the weights behind a step into their average where it is time; puts one in the other's place, for all
 * that reads the model's weights, and back. */
gm_status gm_run_average(gm_run *r, gm_err *err);
gm_status gm_run_swap_average(gm_run *r, gm_err *err);

/* checkpoint.c */
gm_status gm_run_save_best(gm_run *r, gm_err *err);
gm_status gm_run_save_last(gm_run *r, gm_err *err);
/* Reads out/last into the run; *found false where there is none. The model is made by the caller before. What a crash
 * left beside the checkpoints is put back or removed. */
gm_status gm_run_load_last(gm_run *r, bool *found, gm_err *err);
/* Writes run.json, or compares it with this run's configuration when resuming: a key that changes the result is an error. */
gm_status gm_run_describe(const gm_run *r, gm_err *err);
gm_status gm_run_check_description(const gm_run *r, gm_err *err);
/* Whether all processes have the same program, configuration and data. */
gm_status gm_run_check_ranks(const gm_run *r, gm_err *err);

/* metrics.c: lines of metrics.jsonl; opening cuts off what lies beyond the state. */
gm_status gm_run_open_metrics(gm_run *r, gm_err *err);
gm_status gm_run_note_step(gm_run *r, double loss, gm_err *err);
gm_status gm_run_note_eval(gm_run *r, const gm_metrics *m, const gm_metrics *average, gm_err *err); /* average: NULL without */
/* Scores of the model on the dev set. */
gm_status gm_run_evaluate(gm_run *r, gm_metrics *m, gm_err *err);

#endif
