/* Which gold entity a prediction stands for: what an oracle puts in its place, and what delegation is judged by. */
#ifndef GM_EVAL_PARTNERS_H
#define GM_EVAL_PARTNERS_H

#include "eval/compare.h"

/* partner[entities of s->pred]: the number of a gold entity, or -1. Each prediction stands for one gold entity at most and each gold
 * entity for one prediction: where the keys are equal, those that agree in more first; of the rest the pair with most words in common,
 * until no two have any. No partner without a prediction of the sample. */
gm_status gm_find_partners(const gm_record_pair *s, const gm_eval_options *how, int32_t *partner, gm_err *err);

#endif
