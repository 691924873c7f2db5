/* Answers of another run or of another system, by the part of the prediction that they are about: a corrector without an endpoint, so that
 * routings can be compared over and over. docs/refine.md, "Recorded answers", has the two forms that are read. */
#ifndef GM_MLLM_RECORDED_H
#define GM_MLLM_RECORDED_H

#include "mllm/reply.h"

typedef struct gm_recorded gm_recorded;

/* An answer as it is kept. The text is what was said; without one, `why` says what came in its place. */
typedef struct gm_said {
    const char *text, *why; /* NULL where there is none */
    gm_mllm_view view;      /* of boxes */
} gm_said;

/* Holds nothing yet; both must outlive it. */
gm_status gm_recorded_open(const gm_records *pred, const gm_type_set *types, gm_recorded **to, gm_err *err);
void gm_recorded_free(gm_recorded *r); /* takes NULL */

/* entity is one of pred->items[record]. One answer a part. */
gm_status gm_recorded_put(gm_recorded *r, size_t record, int32_t entity, gm_part part, const gm_said *said,
                          gm_err *err);

typedef struct gm_recorded_counts {
    int64_t answers, strange;
} gm_recorded_counts; /* strange: of what was not predicted */
/* Adds the answers of one line to what is counted. */
gm_status gm_recorded_take(gm_recorded *r, const char *line, size_t size, gm_recorded_counts *counts, gm_err *err);
/* Adds the answers of a file. Messages say path:line. */
gm_status gm_recorded_read(gm_recorded *r, const char *path, gm_recorded_counts *counts, gm_err *err);
/* In the order of the predictions, whatever the order in which they came. */
gm_status gm_recorded_write(const gm_recorded *r, const char *path, gm_err *err);

/* A corrector (gm_corrector): the answer, or GM_REPLY_FAILED where there is none. */
gm_status gm_recorded_ask(void *recorded, const gm_question *q, gm_reply *reply, gm_err *err);

#endif
