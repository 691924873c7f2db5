/* Thresholds of delegation for a corrector at hand, an oracle or recorded answers: what its answers gain is weighed against the calls. */
#ifndef GM_MLLM_PICK_H
#define GM_MLLM_PICK_H

#include "eval/thresholds.h"
#include "mllm/correct.h"

typedef struct gm_pick_options {
    gm_score_kind score; /* what is to be large */
    double call_cost;    /* points of F1 for each percent of calls */
    int64_t calls;       /* at most so many; negative: any number */
    bool asks[GM_PARTS]; /* parts that may be handed on at all */
} gm_pick_options;

/* The best thresholds (gm_thresholds_search), with each answer taken as it is, right or wrong. */
gm_status gm_pick_thresholds(const gm_records *gold, const gm_records *pred, const gm_pick_options *o, gm_corrector ask,
                             void *user, gm_thresholds *to, gm_err *err);

#endif
