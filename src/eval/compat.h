/* The public evaluators' way of counting, to repeat their numbers (docs/evaluation.md, "The public evaluators"). */
#ifndef GM_EVAL_COMPAT_H
#define GM_EVAL_COMPAT_H

#include "eval/metrics.h"

typedef enum gm_compat_rule { GM_COMPAT_UNCO, GM_COMPAT_REFINEG } gm_compat_rule;
bool gm_compat_find(const char *name, gm_compat_rule *rule); /* "unco", "refineg" */
const char *gm_compat_name(gm_compat_rule rule);

/* Counts of rows, one a box. cls: types on predictions whose key is right, its n_pred counts only those. */
typedef struct gm_compat {
    gm_compat_rule rule;
    gm_score span, mner, cls, eeg, gmner;
    int64_t dropped_samples;     /* one side empty: not in EEG and GMNER, with their entities */
    int64_t dropped_predictions; /* of a type outside the label set */
} gm_compat;

/* Pairs and refuses as gm_evaluate; of its options only the rule of equal keys is known, and it is the evaluator's own. */
gm_status gm_evaluate_compat(const gm_records *gold, const gm_records *pred, gm_compat_rule rule, gm_compat *c, gm_err *err);

#endif
