/* What a pipeline did, as a page and as one JSON file: the reports that its stages wrote, and the sum of what their endpoints took. */
#ifndef GM_PAGE_STAGES_H
#define GM_PAGE_STAGES_H

#include <stdint.h>

#include "base/json.h"
#include "base/status.h"

typedef struct gm_stage_report {
    const char *name;   /* of the stage */
    const cJSON *report; /* an object; its member "endpoint", where there is one, is what gm_mllm_report_json writes */
} gm_stage_report;

typedef struct gm_stage_total {
    double requests, calls, retries, cached, refused, failed, unsent, tokens_in, tokens_out, cost, seconds;
} gm_stage_total;

gm_stage_total gm_stages_sum(const gm_stage_report *parts, int32_t count);
/* {"total": {...}, "stages": {name: report}} */
gm_status gm_stages_json(const gm_stage_report *parts, int32_t count, gm_buffer *to, gm_err *err);
/* Objects of one form beside each other become the rows of a table: span, type and region; before and after. Well-formed XML, without
 * script. Written beside `path` and renamed. */
gm_status gm_stages_page(const char *title, const gm_stage_report *parts, int32_t count, const char *path, gm_err *err);

#endif
