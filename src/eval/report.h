/* The report of `gmner eval`: a table for people, or JSON for programs. */
#ifndef GM_EVAL_REPORT_H
#define GM_EVAL_REPORT_H

#include "eval/compat.h"
#include "eval/grounding.h"
#include "eval/metrics.h"
#include "eval/thresholds.h"
#include "eval/verdicts.h"

/* What was evaluated; NULL: not asked for. */
typedef struct gm_report {
    const gm_metrics *metrics;
    const gm_compat *compat;
    const gm_doubts *doubts;
    const gm_grounding *grounding;
    const gm_delegation *delegation;
} gm_report;

gm_status gm_report_table(const gm_report *r, gm_buffer *out, gm_err *err);
/* One object and a line's end. Integer counts stand beside every ratio, which has 12 significant digits; null: nothing to
 * take it from. */
gm_status gm_report_json(const gm_report *r, gm_buffer *out, gm_err *err);

/* For other reports: {"a": ...} parts. `before` is written as it stands. */
gm_status gm_report_score(gm_buffer *out, const char *before, gm_score s, gm_err *err);
gm_status gm_report_number(gm_buffer *out, const char *before, double value, gm_err *err); /* NAN: null */

#endif
