/* Answers kept on disk: SQLite, keyed by the SHA-256 of the whole request (the endpoint's name and the body, which never
 * holds the API key). Several processes may share a file. What was committed survives a killed process; after a power cut
 * the last answers may be missing, and the file is whole. */
#ifndef GM_MLLM_CACHE_H
#define GM_MLLM_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gm_mllm_cache gm_mllm_cache;

typedef struct gm_mllm_key { uint8_t byte[32]; } gm_mllm_key;

gm_mllm_key gm_mllm_key_of(const char *endpoint, const char *body, size_t body_bytes);

typedef struct gm_mllm_cached {
    const char *text;
    size_t text_bytes;
    const char *refusal; /* what the endpoint said instead of answering, or "" */
    bool is_cut;
    int64_t tokens_in, tokens_out;
    double latency_s;
} gm_mllm_cached;

/* Makes the file where there is none, unless is_read_only (for replays): then it must exist. GM_ERR_MISSING: the build has no SQLite. */
gm_status gm_mllm_cache_open(const char *path, bool is_read_only, gm_mllm_cache **to, gm_err *err);
void gm_mllm_cache_close(gm_mllm_cache *c); /* takes NULL */
void gm_mllm_cache_set_patience(gm_mllm_cache *c, int32_t milliseconds); /* for a lock of another process; 30 s at first */

/* The texts are the cache's until its next call. */
gm_status gm_mllm_cache_get(gm_mllm_cache *c, const gm_mllm_key *key, bool *have, gm_mllm_cached *to, gm_err *err);

/* What follows stands in a transaction: begin, any number of these, commit. On an error of any of them: rollback. */
gm_status gm_mllm_cache_begin(gm_mllm_cache *c, gm_err *err);
/* Notes that a request is about to be sent. *was_sent: an earlier run, or one at the same time, noted that as well and has
 * no answer yet, so the endpoint may get it twice. */
gm_status gm_mllm_cache_sending(gm_mllm_cache *c, const gm_mllm_key *key, bool *was_sent, gm_err *err);
gm_status gm_mllm_cache_put(gm_mllm_cache *c, const gm_mllm_key *key, const char *id, const gm_mllm_cached *answer, gm_err *err);
/* Ended without an answer: takes the note of gm_mllm_cache_sending back. */
gm_status gm_mllm_cache_drop(gm_mllm_cache *c, const gm_mllm_key *key, gm_err *err);
gm_status gm_mllm_cache_commit(gm_mllm_cache *c, gm_err *err);
void gm_mllm_cache_rollback(gm_mllm_cache *c);

/* A budget that processes share, by name. What is in flight is held by the process that sent it; a process that has not been
 * heard of for `dead_after_s` seconds was killed, and what it held counts as spent: it was sent. */
typedef struct gm_mllm_spending { int64_t calls; double tokens, cost; } gm_mllm_spending;
typedef struct gm_mllm_purse { const char *name; int64_t owner; double dead_after_s; } gm_mllm_purse;

/* Both inside a transaction. Look: what all have spent, and what processes other than this one hold. Charge: adds to what is
 * spent, and sets what this process holds. */
gm_status gm_mllm_cache_look(gm_mllm_cache *c, const gm_mllm_purse *p, gm_mllm_spending *spent, gm_mllm_spending *held_by_others, gm_err *err);
gm_status gm_mllm_cache_charge(gm_mllm_cache *c, const gm_mllm_purse *p, const gm_mllm_spending *add, const gm_mllm_spending *held, gm_err *err);

gm_status gm_mllm_cache_count(gm_mllm_cache *c, int64_t *answers, gm_err *err);

#endif
