/* What the files of src/train share: the trainer's state and its parts. */
#ifndef GM_TRAIN_RUN_H
#define GM_TRAIN_RUN_H

#include "eval/metrics.h"
#include "model/worker.h"
#include "train/trainer.h"

/* Where a run stands: all that a checkpoint must know beside weights and moments. */
typedef struct gm_progress_state {
    int64_t epoch, step_in_epoch, step; /* epochs finished; steps done in this one and in all */
    double best_f1;                     /* of dev MNER; -1 before the first evaluation */
    int64_t best_epoch, epochs_without_gain;
} gm_progress_state;

typedef struct gm_run {
    const gm_config *config;
    const gm_train_options *options;
    gm_backend backend;
    gm_model model;
    gm_dataset train, dev; /* dev.records.count 0: none */
    gm_workers workers;
    gm_device device; /* with all threads, for the optimiser */
    gm_step step;     /* what kernels read */
    gm_touched touched;
    int32_t shards;
    gm_batch *batch;       /* [shards] */
    gm_grads *grads;       /* [shards] */
    double *loss;          /* [shards] */
    float **dense, **rows; /* [shards] pointers into grads, for grad_norm */
    double *partial;
    float norm, scale;
    uint32_t *order;          /* [train.records.count] of the epoch at hand */
    const gm_sample **picked; /* [train.batch] samples of a step */
    int64_t steps_per_epoch, total_steps;
    gm_progress_state at;
    FILE *metrics;  /* metrics.jsonl, open for appending */
    double train_s; /* time in steps since the last line of metrics, and pieces in it */
    int64_t train_pieces;
    double epoch_s; /* the same since the epoch began or the run was resumed */
    int64_t epoch_pieces;
} gm_run;

/* data.c: the files that the configuration names, with their counts in the log; the label set of the format. */
gm_status gm_run_read_records(const gm_config *c, gm_records *train, gm_records *dev, gm_err *err);
gm_status gm_run_label_list(const gm_config *c, const gm_records *train, gm_buffer *list, gm_err *err);

/* step.c: one optimiser step over the samples picked[0 .. count). *loss is the mean that the model minimises. */
gm_status gm_run_make_buffers(gm_run *r, gm_err *err);
void gm_run_free_buffers(gm_run *r);
void gm_run_shuffle(gm_run *r); /* the order of epoch at.epoch */
gm_status gm_run_step(gm_run *r, int32_t count, double *loss, gm_err *err);

/* checkpoint.c */
gm_status gm_run_save_best(const gm_run *r, gm_err *err);
gm_status gm_run_save_last(const gm_run *r, gm_err *err);
/* Reads out/last into the run; *found false where there is none. The model is made by the caller before. What a crash
 * left beside the checkpoints is put back or removed. */
gm_status gm_run_load_last(gm_run *r, bool *found, gm_err *err);
/* Writes run.json, or compares it with this run's configuration when resuming: a key that changes the result is an error. */
gm_status gm_run_describe(const gm_run *r, gm_err *err);
gm_status gm_run_check_description(const gm_run *r, gm_err *err);

/* metrics.c: lines of metrics.jsonl; opening cuts off what lies beyond the state. */
gm_status gm_run_open_metrics(gm_run *r, gm_err *err);
gm_status gm_run_note_step(gm_run *r, double loss, gm_err *err);
gm_status gm_run_note_eval(gm_run *r, const gm_metrics *m, gm_err *err);
/* Scores of the model on the dev set. */
gm_status gm_run_evaluate(gm_run *r, gm_metrics *m, gm_err *err);

#endif
