/* The files of `gmner refine`: refine.c parses and corrects, refine_report.c writes what came out, refine_sweep.c compares routings. */
#ifndef GM_INFER_REFINE_H
#define GM_INFER_REFINE_H

#include "infer/kept.h"
#include "infer/stage.h"
#include "mllm/asking.h"

typedef struct refine_settings {
    const char *corrector; /* "endpoint", "answers", "oracle" or "none" */
    const char *in, *out, *gold, *answers, *record, *images, *types, *thresholds_path, *score_name;
    bool is_sweep, never_removes, without_regions;
    double share, call_cost;
    int64_t calls;
    gm_thresholds thresholds;
    gm_score_kind score;
    gm_stage stage;
} refine_settings;

typedef struct refine_input {
    gm_kept pred;
    gm_records gold;
    gm_type_set types;
} refine_input;

/* What a run came to. */
typedef struct refine_outcome {
    gm_route route;
    gm_corrections *c;
    const gm_records *now; /* of c */
    int64_t without_picture;
} refine_outcome;

gm_route_options refine_route_of(const refine_settings *s);
/* The recorded answers of --answers. */
gm_status refine_open_answers(const refine_settings *s, const refine_input *in, gm_recorded **to, gm_err *err);

/* predictions.jsonl and report.json in --out. */
gm_status refine_write(const refine_settings *s, const refine_input *in, const refine_outcome *o, gm_err *err);
/* Prints the share delegated against F1 and thresholds; with --out also writes sweep.json, thresholds.json and curve.png. */
gm_status refine_sweep(const refine_settings *s, const refine_input *in, gm_err *err);

#endif
