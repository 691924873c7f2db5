/* Scores of predictions against gold, exactly as docs/evaluation.md (SPAN, MNER, EEG, GMNER, with fine types fine-MNER and
 * FMNERG; micro over the whole file; maximum matching per sample). */
#ifndef GM_EVAL_METRICS_H
#define GM_EVAL_METRICS_H

#include "eval/compare.h"

typedef struct gm_score { int64_t tp, n_pred, n_gold; } gm_score;
double gm_precision(gm_score s); /* 0 where the denominator is 0 */
double gm_recall(gm_score s);
double gm_f1(gm_score s);

typedef struct gm_type_score { char *type; gm_score mner, gmner; } gm_type_score; /* type as compared: MISC, PER, aircraft */
typedef struct gm_type_table { gm_type_score *items; int32_t count; size_t capacity; } gm_type_table; /* sorted by name */

typedef struct gm_metrics {
    gm_score span, mner, eeg, gmner;
    gm_type_table types;
    double macro_mner, macro_gmner; /* mean F1 over types with gold */
    int64_t with_fine;              /* gold entities with a fine type; without any, the four below say nothing */
    gm_score fine_mner, fmnerg;     /* MNER and GMNER with the fine types */
    gm_type_table fines;
    double macro_fine_mner, macro_fmnerg;
    int64_t groundable;             /* gold entities with boxes; without any, EEG and GMNER say nothing about grounding */
    int64_t samples, missing;       /* missing: gold ids without a prediction, counted as empty */
    int64_t matched;                /* span-matched pairs */
    double type_accuracy, groundable_accuracy, region_accuracy, mean_iou; /* on them; NAN without any */
} gm_metrics;

/* What is refused: as gm_pair_records. gm_metrics_free afterwards. */
gm_status gm_evaluate(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, gm_metrics *m, gm_err *err);
void gm_metrics_free(gm_metrics *m);
/* One of the scores. */
typedef enum gm_score_kind { GM_SCORE_MNER, GM_SCORE_EEG, GM_SCORE_GMNER, GM_SCORE_FINE_MNER, GM_SCORE_FMNERG, GM_SCORES } gm_score_kind;
extern const char *const gm_score_names[GM_SCORES];  /* as an option takes them: "fine-mner" */
gm_score gm_score_of(const gm_metrics *m, gm_score_kind kind);
/* {"tp":..,"n_pred":..,"n_gold":..,"p":..,"r":..,"f1":..}: also the form of metrics.jsonl. */
gm_status gm_score_json(gm_score s, gm_buffer *out, gm_err *err);

#endif
