/* The pump of src/mllm, as a command runs it. */
#define _POSIX_C_SOURCE 200809L
#include "infer/stage.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/signals.h"
#include "mllm/cache.h"

gm_status gm_stage_open(gm_stage *s, const char *command, gm_err *err)
{
    s->command = command;
    if (s->endpoint_path == NULL) return gm_fail(err, GM_ERR_USAGE, "--endpoint FILE is missing: it says where the language model answers");
    GM_TRY(gm_mllm_endpoint_read(s->endpoint_path, &s->endpoint, err));
    if (s->is_estimate) return GM_OK;
    gm_signals_catch();
    const gm_mllm_options o = { .cache = s->cache_path, .is_offline = s->is_offline, .seed = 42, .signal = gm_signal_number };
    return gm_mllm_open(&s->endpoint, &o, &s->client, err);
}

void gm_stage_close(gm_stage *s)
{
    gm_mllm_close(s->client);
    gm_mllm_endpoint_free(&s->endpoint);
    *s = (gm_stage) { 0 };
}

/* ---- asking ---- */

typedef struct passing {
    gm_stage *s;
    gm_mllm_next next;
    gm_mllm_got got;
    void *user;
} passing;

static gm_status pass_next(void *user, gm_mllm_request *request, bool *have, gm_err *err)
{
    passing *p = user;
    return p->next(p->user, request, have, err);
}

static gm_status pass_got(void *user, const gm_mllm_answer *answer, gm_err *err)
{
    passing *p = user;
    p->s->done++;
    if (answer->outcome >= GM_MLLM_REFUSED) gm_log(GM_LOG_DEBUG, p->s->command, "%s: %s: %s", answer->id, gm_mllm_outcome_names[answer->outcome], answer->why);
    gm_progress_update(&p->s->progress, p->s->done, NULL);
    return p->got(p->user, answer, err);
}

/* What the client would do first with a request, without sending it. */
static gm_status look_up(gm_stage *s, gm_mllm_cache *cache, const gm_mllm_request *r, gm_buffer *body, gm_mllm_answer *answer, gm_err *err)
{
    gm_err why = { 0 };
    int64_t tokens = 0;
    *answer = (gm_mllm_answer) { .outcome = GM_MLLM_UNSENT, .id = r->id, .tag = r->tag, .text = "", .why = "an estimate sends nothing" };
    if (gm_mllm_body(&s->endpoint, r, body, &tokens, &why) != GM_OK) return GM_OK; /* a broken picture costs no call */
    const gm_mllm_key key = gm_mllm_key_of(gm_mllm_endpoint_name(&s->endpoint), body->data, body->size);
    gm_mllm_cached kept;
    bool have = false;
    if (cache != NULL) GM_TRY(gm_mllm_cache_get(cache, &key, &have, &kept, err));
    if (have) {
        s->estimate_cached++;
        answer->outcome = kept.refusal[0] == '\0' ? GM_MLLM_CACHED : GM_MLLM_REFUSED;
        answer->text = kept.text;
        answer->text_bytes = kept.text_bytes;
        answer->why = kept.refusal;
        return GM_OK;
    }
    const double out = (double)(r->max_tokens > 0 ? r->max_tokens : s->endpoint.max_tokens), in = (double)tokens - out;
    s->estimate_calls++;
    s->estimate_tokens_in += in;
    s->estimate_tokens_out += out;
    s->estimate_cost += gm_mllm_endpoint_cost(&s->endpoint, in, out);
    return GM_OK;
}

static gm_status estimate(gm_stage *s, gm_mllm_next next, gm_mllm_got got, void *user, gm_err *err)
{
    gm_mllm_cache *cache = NULL;
    gm_buffer body = { 0 };
    if (s->cache_path != NULL && gm_path_exists(s->cache_path)) GM_TRY(gm_mllm_cache_open(s->cache_path, true, &cache, err));
    gm_status status;
    for (;;) {
        gm_mllm_request r = { .temperature = -1, .seed = -1 };
        gm_mllm_answer answer;
        bool have = false;
        if ((status = next(user, &r, &have, err)) != GM_OK || !have) break;
        if ((status = look_up(s, cache, &r, &body, &answer, err)) != GM_OK) break;
        if ((status = got(user, &answer, err)) != GM_OK) break;
    }
    gm_buffer_free(&body);
    gm_mllm_cache_close(cache);
    return status;
}

gm_status gm_stage_ask(gm_stage *s, int64_t expected, gm_mllm_next next, gm_mllm_got got, void *user, gm_err *err)
{
    if (s->is_estimate) return estimate(s, next, got, user, err);
    passing p = { s, next, got, user };
    s->done = 0;
    gm_progress_start(&s->progress, s->command, expected, 100);
    const gm_status status = gm_mllm_ask(s->client, pass_next, pass_got, &p, err);
    gm_progress_end(&s->progress);
    GM_TRY(status);
    return gm_signals_check(s->cache_path != NULL ? "stopped: the answers so far are in the cache, and the same command goes on from there"
                                                  : "stopped, and without --cache the answers so far are lost", err);
}

/* ---- reports ---- */

gm_status gm_stage_report(const gm_stage *s, gm_buffer *to, gm_err *err)
{
    gm_mllm_report r;
    if (s->is_estimate)
        return gm_buffer_printf(to, err, "{\"calls\": %lld, \"cached\": %lld, \"tokens_in\": %.0f, \"tokens_out\": %.0f, \"cost\": %.10g}",
                                (long long)s->estimate_calls, (long long)s->estimate_cached, s->estimate_tokens_in, s->estimate_tokens_out,
                                s->estimate_cost);
    gm_mllm_report_of(s->client, &r);
    return gm_mllm_report_json(&r, to, err);
}

void gm_stage_tell(const gm_stage *s)
{
    gm_mllm_report r;
    if (s->is_estimate) {
        printf("%s: at most %lld calls, %.0f tokens of requests, %.0f of answers, cost %.4g; %lld answers are in the cache\n", s->command,
               (long long)s->estimate_calls, s->estimate_tokens_in, s->estimate_tokens_out, s->estimate_cost, (long long)s->estimate_cached);
        return;
    }
    gm_mllm_report_of(s->client, &r);
    gm_log(GM_LOG_INFO, s->command,
           "%lld requests: %lld answered, %lld from the cache, %lld refused, %lld failed, %lld not sent; %lld calls, %lld + %lld tokens, cost %.4g, %.1f s",
           (long long)r.requests, (long long)r.outcome[GM_MLLM_ANSWERED], (long long)r.outcome[GM_MLLM_CACHED], (long long)r.outcome[GM_MLLM_REFUSED],
           (long long)r.outcome[GM_MLLM_FAILED], (long long)r.outcome[GM_MLLM_UNSENT], (long long)r.calls, (long long)r.tokens_in, (long long)r.tokens_out,
           r.cost, r.seconds);
    if (r.stopped != NULL) gm_log(GM_LOG_WARN, s->command, "nothing more was sent: %s", r.stopped);
}

/* ---- prompts ---- */

gm_status gm_stage_prompts(const gm_stage *s, char **folder, gm_err *err)
{
    static const char *const beside[] = { "../configs/prompts", "../share/gmner/configs/prompts" };
    char program[4096];
    const char *found = s->prompts != NULL ? s->prompts : "configs/prompts";
    *folder = NULL;
    if (gm_path_is_dir(found)) {
        *folder = gm_strdup(found);
        return *folder != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    }
    const ssize_t length = s->prompts != NULL ? -1 : readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) program[length] = '\0';
    char *slash = length > 0 ? strrchr(program, '/') : NULL;
    for (size_t i = 0; i < GM_LEN(beside) && slash != NULL; i++) {
        *slash = '\0';
        *folder = gm_path_join(program, beside[i]);
        if (*folder != NULL && gm_path_is_dir(*folder)) return GM_OK;
        gm_free(*folder);
        *folder = NULL;
    }
    return gm_fail(err, GM_ERR_IO, "%s: there is no such folder: name the one of the prompts by --prompts", found);
}
