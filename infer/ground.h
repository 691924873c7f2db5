/* The parts of gmner ground: what is asked about (ground.c), what it resembles (ground_similar.c), what is written (ground_report.c). */
#ifndef GM_INFER_GROUND_H
#define GM_INFER_GROUND_H

#include "infer/kept.h"
#include "infer/stage.h"
#include "mllm/ground.h"
#include "mllm/similar.h"

enum { GM_GROUND_SAMPLES = 32 }; /* shown at most */

typedef struct ground_settings {
    const char *in, *samples, *images, *sample_images, *encoder, *vision, *features, *gold, *out, *never, *device;
    int64_t k, calls, threads;
    gm_similar_options similar;
    gm_stage stage;
} ground_settings;

/* What became of a record before anybody was asked. */
typedef enum ground_state {
    GROUND_LEFT,         /* beyond --calls: as it was */
    GROUND_EMPTY,        /* it has no entity */
    GROUND_NEVER,        /* no entity of a type that is grounded */
    GROUND_NO_PICTURE,
    GROUND_ASKED,
    GROUND_STATES
} ground_state;

typedef struct ground_job {
    ground_settings *s;
    gm_kept in;
    gm_records gold, samples;
    gm_labels types, never;
    gm_ground_options options;
    char *prompts;
    gm_grounder *grounder;
    gm_similar similar;          /* rows: in.records, columns: samples */
    gm_shown *shown;             /* [records] */
    gm_shown *sample_shown;      /* [samples] */
    bool *is_barred, *is_known;  /* [samples]: cannot be shown; has been looked at */
    bool *is_barred_here;        /* [samples] of the record at hand */
    double *row;                 /* [samples] */
    int32_t *chosen;             /* [records, k] columns, -1 behind the last */
    ground_state *state;         /* [records] */
    gm_ground_result *results;   /* [records] */
    size_t next;                 /* record */
    int64_t asked;
    gm_route route;
    gm_corrections *c;
    const gm_records *now;
} ground_job;

/* Fills job->similar and makes room for what is chosen; samples have been read. */
gm_status ground_compare(ground_job *job, gm_err *err);
/* The samples that record i is shown with, best first, into job->chosen: none of its own id and none without a picture. */
gm_status ground_choose(ground_job *job, size_t i, int32_t *count, gm_err *err);
/* predictions.jsonl, demonstrations.jsonl and report.json. */
gm_status ground_write(ground_job *job, gm_err *err);

#endif
