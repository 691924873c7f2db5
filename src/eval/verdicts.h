/* Each prediction judged: are its span, its type and its region right, and how well do the uncertainties that it carries
 * tell so (docs/evaluation.md, "Uncertainty"). */
#ifndef GM_EVAL_VERDICTS_H
#define GM_EVAL_VERDICTS_H

#include "eval/metrics.h"
#include "eval/ranking.h"

/* The three parts of an answer. Span: wrong when no gold entity has its key. Type and region: only where the span is right;
 * wrong when no gold entity of that key has the type, or is met by the region. */
typedef enum gm_part { GM_PART_SPAN, GM_PART_TYPE, GM_PART_REGION, GM_PARTS } gm_part;
extern const char *const gm_part_names[GM_PARTS]; /* "span", "type", "region" */

/* What a prediction can be ranked by: entropy of the mean probabilities in nats, the same over its largest value, mutual
 * information (entropy - expected entropy), and 1 - the largest probability (score, of a region region_score). */
typedef enum gm_measure { GM_BY_ENTROPY, GM_BY_ENTROPY_NORM, GM_BY_INFORMATION, GM_BY_SOFTMAX, GM_MEASURES } gm_measure;
extern const char *const gm_measure_names[GM_MEASURES]; /* "entropy", "entropy_norm", "mutual_information", "max_softmax" */
bool gm_measure_is_probability(gm_measure m);            /* 1 - u is a confidence: entropy_norm, max_softmax */
double gm_measure_of(const gm_entity *e, gm_part part, gm_measure m); /* NAN: absent */

typedef struct gm_verdict {
    const gm_entity *entity;  /* of the predictions, which must stay */
    bool is_wrong[GM_PARTS];  /* [type] and [region] mean nothing where the span is wrong */
} gm_verdict;

typedef struct gm_verdicts {
    gm_verdict *items;
    size_t count, capacity;
} gm_verdicts;

/* Pairs and refuses as gm_evaluate. */
gm_status gm_judge(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, gm_verdicts *v, gm_err *err);
void gm_verdicts_free(gm_verdicts *v);

/* The predictions to which this part and measure apply, as (u, wrong); *list is the caller's to gm_free. */
gm_status gm_verdicts_list(const gm_verdicts *v, gm_part part, gm_measure m, gm_ranked **list, size_t *count, gm_err *err);

typedef struct gm_doubt { gm_ranking ranking; gm_calibration calibration; } gm_doubt; /* calibration: of probabilities only */
typedef struct gm_doubts {
    gm_doubt of[GM_PARTS][GM_MEASURES];
    int64_t right[GM_PARTS], wrong[GM_PARTS]; /* whatever they carry */
} gm_doubts;

/* GM_ERR_DATA when no prediction carries a number to rank by. */
gm_status gm_doubts_score(const gm_verdicts *v, int32_t bins, gm_doubts *d, gm_err *err);

#endif
