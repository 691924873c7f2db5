/* What tests of the client share: a list of prompts asked through the pump, and what came of each. */
#ifndef GM_TESTS_MLLM_ASK_H
#define GM_TESTS_MLLM_ASK_H

#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "mllm/client.h"
#include "tests/mllm/server.h"

enum { MAX_ASKED = 2048 };

typedef struct asked {
    int count, next;
    const char *prompt[MAX_ASKED];
    int seen[MAX_ASKED]; /* answers that came: must end as 1 */
    gm_mllm_outcome outcome[MAX_ASKED];
    char *text[MAX_ASKED], *why[MAX_ASKED];
    int32_t tries[MAX_ASKED];
    bool is_cut[MAX_ASKED];
    gm_mllm_part part;
    char id[32];
} asked;

static inline void ask_for(asked *a, const char *prompt) { a->prompt[a->count++] = prompt; }

static inline gm_status ask_next(void *user, gm_mllm_request *r, bool *have, gm_err *err)
{
    asked *a = user;
    (void)err;
    *have = a->next < a->count;
    if (!*have) return GM_OK;
    snprintf(a->id, sizeof a->id, "s%d:span", a->next);
    a->part = (gm_mllm_part) { .text = a->prompt[a->next] };
    *r = (gm_mllm_request) { .id = a->id, .parts = &a->part, .part_count = 1, .temperature = 0.1, .seed = -1, .tag = (void *)(intptr_t)a->next };
    a->next++;
    return GM_OK;
}

static inline gm_status ask_got(void *user, const gm_mllm_answer *answer, gm_err *err)
{
    asked *a = user;
    const intptr_t i = (intptr_t)answer->tag;
    (void)err;
    a->seen[i]++;
    a->outcome[i] = answer->outcome;
    gm_free(a->text[i]);
    gm_free(a->why[i]);
    a->text[i] = gm_strdup(answer->text);
    a->why[i] = gm_strdup(answer->why);
    a->tries[i] = answer->tries;
    a->is_cut[i] = answer->is_cut;
    return GM_OK;
}

static inline void ask_free(asked *a)
{
    for (int i = 0; i < a->count; i++) {
        gm_free(a->text[i]);
        gm_free(a->why[i]);
    }
    gm_free(a);
}

static inline asked *ask_new(void)
{
    asked *a = gm_calloc(1, sizeof *a);
    assert_non_null(a);
    return a;
}

/* An endpoint that is quick to give up, for tests. `more` is further members of its JSON, or "". */
static inline gm_mllm_endpoint ask_endpoint(int port, const char *more)
{
    char json[1024];
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    const int n = snprintf(json, sizeof json,
                           "{\"url\": \"http://127.0.0.1:%d/v1/chat/completions\", \"model\": \"m\", \"name\": \"test\", \"connect_s\": 5, \"backoff_s\": 0.01, \"backoff_max_s\": 0.05%s}",
                           port, more);
    assert_ok(gm_mllm_endpoint_parse("endpoint", json, (size_t)n, &e, &err));
    return e;
}

/* An endpoint where nobody answers, for tests that send nothing. `members` is further members of its JSON, or "". */
static inline gm_mllm_endpoint ask_nowhere(const char *members)
{
    char json[512];
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    const int n = snprintf(json, sizeof json, "{\"url\": \"http://127.0.0.1:1/v1\", \"model\": \"m\"%s}", members);
    assert_ok(gm_mllm_endpoint_parse("endpoint", json, (size_t)n, &e, &err));
    return e;
}

/* Asks all through a client of its own; each must have got one answer. */
static inline gm_mllm_report ask_all(asked *a, const gm_mllm_endpoint *e, const char *cache, bool is_offline)
{
    gm_mllm_client *c = NULL;
    gm_mllm_report report;
    gm_err err = { 0 };
    a->next = 0;
    memset(a->seen, 0, sizeof a->seen);
    assert_ok(gm_mllm_open(e, &(gm_mllm_options) { .cache = cache, .is_offline = is_offline, .seed = 7 }, &c, &err));
    assert_ok(gm_mllm_ask(c, ask_next, ask_got, a, &err));
    gm_mllm_report_of(c, &report);
    report.stopped = report.stopped != NULL ? "stopped" : NULL; /* the text was the client's */
    gm_mllm_close(c);
    for (int i = 0; i < a->count; i++)
        if (a->seen[i] != 1) fail_msg("request %d got %d answers", i, a->seen[i]);
    return report;
}

/* Ends the program as skipped where the build lacks libcurl, or SQLite for a `cache` (else NULL). */
static inline void ask_skip_without_parts(const char *cache)
{
    gm_mllm_client *c = NULL;
    gm_err err = { 0 };
    gm_mllm_endpoint e = ask_endpoint(1, "");
    const gm_status status = gm_mllm_open(&e, &(gm_mllm_options) { .cache = cache }, &c, &err);
    gm_mllm_close(c);
    gm_mllm_endpoint_free(&e);
    if (status != GM_ERR_MISSING) return;
    printf("skipped: %s\n", err.text);
    exit(77);
}

/* Lines of the server's log that begin with `word`. */
static inline int ask_log_count(const char *log, const char *word)
{
    char *text = NULL;
    size_t size = 0;
    int count = 0;
    gm_err err = { 0 };
    if (!gm_path_exists(log)) return 0;
    assert_ok(gm_file_read(log, &text, &size, &err));
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL)
        count += strncmp(line, word, strlen(word)) == 0;
    gm_free(text);
    return count;
}

#endif
