/* Scores of predictions against gold, exactly as docs/evaluation.md (SPAN, MNER, EEG, GMNER; micro over the whole file;
 * maximum matching per sample). */
#ifndef GM_EVAL_METRICS_H
#define GM_EVAL_METRICS_H

#include "data/labels.h"
#include "data/records.h"

typedef struct gm_score { int64_t tp, n_pred, n_gold; } gm_score;
double gm_precision(gm_score s); /* 0 where the denominator is 0 */
double gm_recall(gm_score s);
double gm_f1(gm_score s);

typedef struct gm_type_score { char *type; gm_score mner, gmner; } gm_type_score; /* type as compared: MISC, PER, aircraft */

typedef struct gm_eval_options {
    bool by_name;          /* match by the entity's words instead of offsets */
    double iou;            /* 0.5 */
    bool is_iou_strict;    /* > instead of >= */
} gm_eval_options;

typedef struct gm_metrics {
    gm_score span, mner, eeg, gmner;
    gm_type_score *types;  /* sorted by name */
    int32_t type_count;
    double macro_mner, macro_gmner; /* mean F1 over types with gold */
    int64_t groundable;             /* gold entities with boxes; without any, EEG and GMNER say nothing about grounding */
    int64_t samples, missing;       /* missing: gold ids without a prediction, counted as empty */
    int64_t matched;                /* span-matched pairs */
    double type_accuracy, groundable_accuracy, region_accuracy, mean_iou; /* on them; NAN without any */
} gm_metrics;

/* An id in pred that gold lacks, or an id twice, is GM_ERR_DATA naming it. gm_metrics_free afterwards. */
gm_status gm_evaluate(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, gm_metrics *m, gm_err *err);
void gm_metrics_free(gm_metrics *m);
/* Upper-cases the four coarse names and maps OTHER to MISC; other names are lower-cased as they are. buf of 128 bytes. */
const char *gm_type_normal(const char *type, char buf[128]);
double gm_iou(gm_box a, gm_box b);

/* The report of `gmner eval`: a table for people, or JSON with integer counts beside every ratio (12 digits). */
gm_status gm_metrics_table(const gm_metrics *m, gm_buffer *out, gm_err *err);
gm_status gm_metrics_json(const gm_metrics *m, gm_buffer *out, gm_err *err);
/* {"tp":..,"n_pred":..,"n_gold":..,"p":..,"r":..,"f1":..}: also the form of metrics.jsonl. */
gm_status gm_score_json(gm_score s, gm_buffer *out, gm_err *err);

#endif
