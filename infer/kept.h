/* Predictions with the lines that they came from: a record that a command has not touched is written as it came, byte for byte. */
#ifndef GM_INFER_KEPT_H
#define GM_INFER_KEPT_H

#include "data/records.h"
#include "mllm/correct.h"

typedef struct gm_kept {
    gm_records records;
    char **lines;
    size_t count, capacity;
} gm_kept;

/* "-" is stdin. Messages say path:line; no record and an id twice are errors. */
gm_status gm_kept_read(const char *path, gm_kept *to, gm_err *err);
/* DIR/predictions.jsonl: of `now` what the corrections have touched (NULL: nothing), else the lines. */
gm_status gm_kept_write(const gm_kept *k, const gm_corrections *c, const gm_records *now, const char *folder, gm_err *err);
void gm_kept_free(gm_kept *k); /* takes a zeroed one */

#endif
