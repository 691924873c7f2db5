/* What the commands that ask a language model have in common: their options, the client, its progress, an estimate before
 * anything is sent, a stop by signal, and the report. */
#ifndef GM_INFER_STAGE_H
#define GM_INFER_STAGE_H

#include "base/cli.h"
#include "base/progress.h"
#include "mllm/client.h"

typedef struct gm_stage {
    const char *command;                     /* "refine" */
    const char *endpoint_path, *cache_path;  /* NULL where the option was not given */
    const char *prompts;                     /* folder of the prompts; NULL: configs/prompts of the installation */
    bool is_offline, is_estimate;
    gm_mllm_endpoint endpoint;
    gm_mllm_client *client;                  /* NULL while it is an estimate */
    gm_progress progress;
    int64_t done;
    int64_t estimate_calls, estimate_cached; /* of an estimate */
    double estimate_tokens_in, estimate_tokens_out, estimate_cost; /* at most: all of max_tokens, and no answer changes what is asked next */
} gm_stage;

/* Rows of a command's table of options. */
#define GM_STAGE_OPTIONS(s) \
    { "endpoint", GM_OPT_STR, &(s)->endpoint_path, "FILE", "the endpoint of the language model (docs/mllm.md)", false }, \
    { "cache", GM_OPT_STR, &(s)->cache_path, "FILE", "answers are kept here, and never asked for twice", false }, \
    { "offline", GM_OPT_FLAG, &(s)->is_offline, NULL, "answers come from the cache alone", false }, \
    { "estimate", GM_OPT_FLAG, &(s)->is_estimate, NULL, "send nothing: print how many calls and tokens it would take at most", false }, \
    { "prompts", GM_OPT_STR, &(s)->prompts, "DIR", "folder of prompts (default configs/prompts)", false }

/* Reads the endpoint and opens the client. A zeroed stage but for the options. SIGINT and SIGTERM stop the asking from here on. */
gm_status gm_stage_open(gm_stage *s, const char *command, gm_err *err);
/* gm_mllm_ask with progress of `expected` requests (0: unknown). Returns GM_STOP_* after a signal: what was answered is in the
 * cache, and the command, which writes nothing then, goes on from there when it is called again. In an estimate each request
 * that the cache does not hold is answered as unsent. */
gm_status gm_stage_ask(gm_stage *s, int64_t expected, gm_mllm_next next, gm_mllm_got got, void *user, gm_err *err);
/* The client's report as a JSON object; of an estimate: its numbers. */
gm_status gm_stage_report(const gm_stage *s, gm_buffer *to, gm_err *err);
/* One line of the log: requests, calls, tokens, cost; or prints the estimate to stdout. */
void gm_stage_tell(const gm_stage *s);
/* Where the prompts are: what --prompts names, configs/prompts of the working folder, or those that were installed. */
gm_status gm_stage_prompts(const gm_stage *s, char **folder, gm_err *err); /* gm_free it */
void gm_stage_close(gm_stage *s); /* takes a zeroed one */

#endif
