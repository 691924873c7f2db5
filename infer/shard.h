/* Shards of predictions: which records one holds, and the note beside its file that says of what it is a part. `gmner predict
 * --shard I/N --out FILE` writes FILE and FILE.shard.json; `gmner merge` reads both. */
#ifndef GM_INFER_SHARD_H
#define GM_INFER_SHARD_H

#include "mllm/sha256.h"
#include "model/model.h"

/* Record k (from 0) of n shards belongs to shard k mod n. */
typedef struct gm_shard { int64_t index, count; } gm_shard;

/* "i/n" with 0 <= i < n. */
gm_status gm_shard_parse(const char *text, gm_shard *s, gm_err *err);

/* What FILE.shard.json says. Two shards belong together where model and settings are the same. */
typedef struct gm_shard_note {
    gm_shard shard;
    int64_t records;
    char sha256[65];      /* of FILE */
    char model[65];       /* of the model's weights and types */
    char settings[256];   /* what else the answers depend on, for people to read */
} gm_shard_note;

/* `digest` becomes 64 digits and a NUL. */
void gm_shard_hex(gm_sha256 *h, char text[65]);
/* Names the model that answers: its types, and each parameter with its name. */
void gm_shard_name_model(const gm_model *m, char text[65]);
gm_status gm_shard_note_write(const gm_shard_note *n, const char *file, gm_err *err);
/* *found false where there is no note; one that cannot be read is an error. */
gm_status gm_shard_note_read(const char *file, gm_shard_note *n, bool *found, gm_err *err);

#endif
