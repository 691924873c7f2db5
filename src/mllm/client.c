/* The pump. Requests stand in slots, as many as the endpoint's concurrency:
 *
 *     free -> waiting -> flying -> done -> free
 *                ^----------'  (tried again)        following: an equal request is on its way, and its answer will do
 *
 * A slot is free again only when its answer is committed to the cache and the caller has it: that bounds what a kill can
 * make be sent twice. Slots that end together are committed together. */
#define _POSIX_C_SOURCE 200809L
#include "mllm/client.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/philox.h"
#include "mllm/cache.h"
#include "mllm/limits.h"
#include "mllm/response.h"
#include "mllm/wire.h"

/* Few at a time, so that answered slots fly again while the rest of a burst is read; and a turn never sleeps long, because
 * idle connections are looked at then. */
enum { ENDED_A_TURN = 16, TAKEN_A_TURN = 64, KEPT_BODY = 1024 * 1024 };
static const double LONGEST_SLEEP = 0.2;

typedef enum slot_state { FREE, WAITING, READY, FLYING, FOLLOWING, DONE } slot_state;

typedef struct slot {
    slot_state state;
    gm_mllm_post post;
    gm_buffer body, id;
    void *tag;
    gm_mllm_key key;
    bool is_noted;        /* the cache knows that it was sent */
    int32_t tries, errors; /* errors: of the tries, those that ended in a 500 */
    double not_before;
    double tokens, cost;  /* estimates; reserved while it flies */
    gm_mllm_response response;
    gm_mllm_outcome outcome;
    double latency_s;
} slot;

struct gm_mllm_client {
    const gm_mllm_endpoint *e;
    gm_mllm_options o;
    char *key;
    gm_mllm_cache *cache;
    gm_mllm_wire *wire; /* NULL offline */
    slot *slots;
    int32_t count;
    double window;      /* how many may fly: halved where the endpoint says too many, and slowly opened again */
    double pause_until; /* nobody flies before: Retry-After */
    double narrowed_until;
    gm_mllm_bucket requests, tokens;
    gm_mllm_spending spent, held;               /* by this run; held: by what flies. Calls stand in spent alone */
    gm_mllm_purse purse;                        /* of a budget that runs share; name NULL: none */
    gm_mllm_spending charged;                   /* of spent, what the cache knows */
    gm_mllm_spending others, held_by_others;    /* when the cache was last asked */
    double wake;                                /* longest sleep of this turn */
    int64_t failed_in_a_row;
    char stopped[512];
    gm_mllm_report report;
    gm_mllm_times times;
};

/* ---- open and close ---- */

static gm_status read_key(gm_mllm_client *c, gm_err *err)
{
    const char *name = c->e->key_env;
    if (name[0] == '\0') return GM_OK;
    GM_TRY(gm_mllm_endpoint_check_key(c->e, err));
    const char *key = getenv(name);
    if (key == NULL || key[0] == '\0')
        return gm_fail(err, GM_ERR_CONFIG, "the environment variable %s, which \"key_env\" names, is %s: put the endpoint's key there", name,
                       key == NULL ? "not set" : "empty");
    for (const char *k = key; *k != '\0'; k++)
        if ((unsigned char)*k <= ' ' || (unsigned char)*k >= 0x7F)
            return gm_fail(err, GM_ERR_CONFIG, "the environment variable %s holds a blank, a line end or another character that no key has", name);
    c->key = gm_strdup(key);
    return c->key != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory");
}

/* Processes are told apart by chance: two of the same number may run on two machines. */
static gm_status open_purse(gm_mllm_client *c, gm_err *err)
{
    if (c->e->budget_name[0] == '\0') return GM_OK;
    if (c->cache == NULL)
        return gm_fail(err, GM_ERR_CONFIG, "\"budget.name\": runs share a budget through their cache, and this one has none: name a cache, or leave the name empty");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const gm_philox4 bits = gm_philox((uint64_t)now.tv_sec, 0, (uint32_t)now.tv_nsec, (uint32_t)getpid(), 0);
    c->purse.name = c->e->budget_name;
    c->purse.owner = (int64_t)((uint64_t)bits.word[0] << 32 | bits.word[1]);
    c->purse.dead_after_s = c->e->total_s + 60.0; /* nothing flies longer, and each launch and landing is a sign of life */
    return GM_OK;
}

static gm_status open_parts(gm_mllm_client *c, gm_err *err)
{
    const double now = gm_mllm_now();
    if (c->e->url[0] == '\0') return gm_fail(err, GM_ERR_CONFIG, "the endpoint has no \"url\"");
    if (c->e->model[0] == '\0') return gm_fail(err, GM_ERR_CONFIG, "the endpoint has no \"model\"");
    if (c->o.is_offline && c->o.cache == NULL)
        return gm_fail(err, GM_ERR_CONFIG, "offline, answers come from a cache, and none is named");
    c->slots = gm_calloc((size_t)c->count, sizeof *c->slots);
    if (c->slots == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d requests", c->count);
    gm_mllm_bucket_init(&c->requests, c->e->requests_per_minute, now);
    gm_mllm_bucket_init(&c->tokens, c->e->tokens_per_minute, now);
    if (c->o.cache != NULL) GM_TRY(gm_mllm_cache_open(c->o.cache, c->o.is_offline, &c->cache, err));
    if (c->o.is_offline) return GM_OK;
    GM_TRY(open_purse(c, err));
    GM_TRY(read_key(c, err));
    return gm_mllm_wire_open(c->e, c->key, &c->wire, err);
}

gm_status gm_mllm_open(const gm_mllm_endpoint *endpoint, const gm_mllm_options *options, gm_mllm_client **to, gm_err *err)
{
    *to = NULL;
    gm_mllm_client *c = gm_calloc(1, sizeof *c);
    if (c == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a client");
    c->e = endpoint;
    c->o = *options;
    c->count = (int32_t)endpoint->concurrency;
    c->window = (double)c->count;
    const gm_status status = open_parts(c, err);
    if (status != GM_OK) {
        gm_mllm_close(c);
        return status;
    }
    *to = c;
    return GM_OK;
}

void gm_mllm_close(gm_mllm_client *c)
{
    if (c == NULL) return;
    for (int32_t i = 0; i < c->count && c->slots != NULL; i++) {
        slot *s = &c->slots[i];
        gm_mllm_post_free(&s->post);
        gm_mllm_response_free(&s->response);
        gm_buffer_free(&s->body);
        gm_buffer_free(&s->id);
    }
    gm_free(c->slots);
    gm_mllm_wire_close(c->wire);
    gm_mllm_cache_close(c->cache);
    for (volatile char *k = c->key; k != NULL && *k != '\0'; k++) *k = '\0';
    gm_free(c->key);
    gm_free(c);
}

/* ---- outcomes ---- */

static void stop(gm_mllm_client *c, const char *format, ...) GM_PRINTF(2, 3);
static void stop(gm_mllm_client *c, const char *format, ...)
{
    if (c->stopped[0] != '\0') return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->stopped, sizeof c->stopped, format, args);
    va_end(args);
    gm_log(GM_LOG_INFO, "mllm", "nothing more is sent: %s", c->stopped);
}

static gm_status set_why(slot *s, gm_err *err, const char *format, ...) GM_PRINTF(3, 4);
static gm_status set_why(slot *s, gm_err *err, const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->response.why.size = 0;
    return gm_buffer_add(&s->response.why, text, strlen(text), err);
}

static void end(slot *s, gm_mllm_outcome outcome)
{
    s->outcome = outcome;
    s->state = DONE;
}

static gm_status end_unsent(slot *s, const char *why, gm_err *err)
{
    if (s->tries == 0) {
        end(s, GM_MLLM_UNSENT);
        return set_why(s, err, "%s", why);
    }
    char last[320];
    snprintf(last, sizeof last, "%s", s->response.why.data);
    end(s, GM_MLLM_FAILED);
    return set_why(s, err, "%s; it was not tried again: %s", last, why);
}

static gm_status use_cached(slot *s, const gm_mllm_cached *a, gm_err *err)
{
    gm_mllm_response *r = &s->response;
    r->text.size = r->why.size = 0;
    GM_TRY(gm_buffer_add(&r->text, a->text, a->text_bytes, err));
    GM_TRY(gm_buffer_add(&r->why, a->refusal, strlen(a->refusal), err));
    r->is_cut = a->is_cut;
    r->tokens_in = a->tokens_in;
    r->tokens_out = a->tokens_out;
    s->latency_s = a->latency_s;
    end(s, a->refusal[0] != '\0' ? GM_MLLM_REFUSED : GM_MLLM_CACHED);
    return GM_OK;
}

/* ---- free -> waiting ---- */

static bool is_on_its_way(const gm_mllm_client *c, const slot *s)
{
    for (int32_t i = 0; i < c->count; i++) {
        const slot *other = &c->slots[i];
        const bool has_left = other->state == WAITING || other->state == READY || other->state == FLYING;
        if (other != s && has_left && memcmp(&other->key, &s->key, sizeof s->key) == 0) return true;
    }
    return false;
}

/* Looks whether the answer is known already, and otherwise lets the slot wait for its turn. */
static gm_status look_up(gm_mllm_client *c, slot *s, gm_err *err)
{
    gm_mllm_cached found;
    bool have = false;
    if (c->cache != NULL) GM_TRY(gm_mllm_cache_get(c->cache, &s->key, &have, &found, err));
    if (have) return use_cached(s, &found, err);
    if (c->o.is_offline) return end_unsent(s, "offline, and the cache has no answer to this request", err);
    if (c->stopped[0] != '\0') return end_unsent(s, c->stopped, err);
    s->state = c->cache != NULL && is_on_its_way(c, s) ? FOLLOWING : WAITING;
    s->not_before = 0.0;
    return GM_OK;
}

static gm_status take(gm_mllm_client *c, slot *s, const gm_mllm_request *r, gm_err *err)
{
    gm_err why = { 0 };
    int64_t tokens = 0;
    s->tag = r->tag;
    s->tries = s->errors = 0;
    s->is_noted = false;
    s->latency_s = 0.0;
    s->id.size = s->response.text.size = s->response.why.size = 0;
    s->response.is_cut = s->response.is_refusal = false;
    s->response.tokens_in = s->response.tokens_out = 0;
    GM_TRY(gm_buffer_add(&s->id, r->id != NULL ? r->id : "", r->id != NULL ? strlen(r->id) : 0, err));
    GM_TRY(gm_buffer_add(&s->response.text, "", 0, err));
    GM_TRY(gm_buffer_add(&s->response.why, "", 0, err));
    c->report.requests++;
    const gm_status status = gm_mllm_body(c->e, r, &s->body, &tokens, &why);
    if (status == GM_ERR_NOMEM) return gm_fail(err, status, "%s", why.text);
    if (status != GM_OK) {
        end(s, GM_MLLM_FAILED);
        return set_why(s, err, "%s", why.text);
    }
    const double out = (double)(r->max_tokens > 0 ? r->max_tokens : c->e->max_tokens), in = (double)tokens - out;
    s->tokens = (double)tokens;
    s->cost = gm_mllm_endpoint_cost(c->e, in, out);
    s->key = gm_mllm_key_of(gm_mllm_endpoint_name(c->e), s->body.data, s->body.size);
    return look_up(c, s, err);
}

static gm_status fill(gm_mllm_client *c, gm_mllm_next next, void *user, bool *more, gm_err *err)
{
    *more = false;
    if (c->o.signal != NULL && *c->o.signal != 0) {
        stop(c, "a signal asked to stop");
        return GM_OK;
    }
    for (int32_t i = 0, taken = 0; i < c->count && taken < TAKEN_A_TURN; i++) {
        slot *s = &c->slots[i];
        if (s->state != FREE) continue;
        gm_mllm_request r = { .temperature = -1.0, .seed = -1 };
        *more = false;
        GM_TRY(next(user, &r, more, err));
        if (!*more) return GM_OK;
        GM_TRY(take(c, s, &r, err));
        taken++;
    }
    return GM_OK;
}

/* ---- waiting -> flying ---- */

/* Whether the budget has room for one more; where it has none and nothing is in flight whose true cost may be lower, that
 * was the last. */
static bool fits_budget(gm_mllm_client *c, const slot *s)
{
    const gm_mllm_endpoint *e = c->e;
    const bool is_last = c->held.tokens <= 0.0 && c->held_by_others.tokens <= 0.0;
    const int64_t calls = c->spent.calls + c->others.calls;
    const double tokens = c->spent.tokens + c->others.tokens, cost = c->spent.cost + c->others.cost;
    if (e->budget_calls > 0 && calls >= e->budget_calls) {
        stop(c, "the budget of %lld calls is spent", (long long)e->budget_calls);
        return false;
    }
    if (e->budget_tokens > 0 && tokens + c->held.tokens + c->held_by_others.tokens + s->tokens > (double)e->budget_tokens) {
        if (is_last) stop(c, "the budget of %lld tokens has no room for another request (%.0f are spent)", (long long)e->budget_tokens, tokens);
        return false;
    }
    if (e->budget_cost > 0.0 && cost + c->held.cost + c->held_by_others.cost + s->cost > e->budget_cost) {
        if (is_last) stop(c, "the budget of %g has no room for another request (%.4g is spent)", e->budget_cost, cost);
        return false;
    }
    return true;
}

/* Marks a slot ready and takes what it needs; c->wake is when it is worth looking again. */
static bool may_fly(gm_mllm_client *c, slot *s, int32_t flying, double now)
{
    const double from = fmax(s->not_before, c->pause_until);
    double wait = from - now;
    if (wait <= 0.0 && (double)flying >= floor(c->window)) return false;
    if (wait <= 0.0) wait = fmax(gm_mllm_bucket_wait(&c->requests, 1.0, now), gm_mllm_bucket_wait(&c->tokens, s->tokens, now));
    if (wait > 0.0) {
        c->wake = fmin(c->wake, wait);
        return false;
    }
    if (!fits_budget(c, s)) return false;
    gm_mllm_bucket_take(&c->requests, 1.0);
    gm_mllm_bucket_take(&c->tokens, s->tokens);
    c->held.tokens += s->tokens;
    c->held.cost += s->cost;
    c->spent.calls++;
    c->report.retries += s->tries > 0;
    s->state = READY;
    return true;
}

static void let_go(gm_mllm_client *c, const slot *s)
{
    c->held.tokens = fmax(0.0, c->held.tokens - s->tokens);
    c->held.cost = fmax(0.0, c->held.cost - s->cost);
}

/* One transaction for all that leave: another process may have answered them since they were looked up. */
static gm_status note_ready(gm_mllm_client *c, gm_err *err)
{
    for (int32_t i = 0; i < c->count; i++) {
        slot *s = &c->slots[i];
        gm_mllm_cached found;
        bool have = false, was_sent = false;
        if (s->state != READY) continue;
        GM_TRY(gm_mllm_cache_get(c->cache, &s->key, &have, &found, err));
        if (have) {
            let_go(c, s);
            c->spent.calls--;
            c->report.retries -= s->tries > 0;
            GM_TRY(use_cached(s, &found, err));
        } else if (!s->is_noted) {
            GM_TRY(gm_mllm_cache_sending(c->cache, &s->key, &was_sent, err));
            c->report.repeats += was_sent;
            s->is_noted = true;
        }
    }
    return GM_OK;
}

static gm_status in_transaction(gm_mllm_client *c, gm_status (*work)(gm_mllm_client *, gm_err *), gm_err *err)
{
    if (c->cache == NULL || c->o.is_offline) return GM_OK;
    GM_TRY(gm_mllm_cache_begin(c->cache, err));
    gm_status status = work(c, err);
    if (status == GM_OK) status = gm_mllm_cache_commit(c->cache, err);
    if (status != GM_OK) gm_mllm_cache_rollback(c->cache);
    return status;
}

static gm_status charge(gm_mllm_client *c, gm_err *err)
{
    const gm_mllm_spending add = { c->spent.calls - c->charged.calls, c->spent.tokens - c->charged.tokens, c->spent.cost - c->charged.cost };
    if (c->purse.name == NULL) return GM_OK;
    GM_TRY(gm_mllm_cache_charge(c->cache, &c->purse, &add, &c->held, err));
    c->charged = c->spent;
    return GM_OK;
}

static gm_status choose(gm_mllm_client *c, gm_err *err)
{
    const double now = gm_mllm_now();
    int32_t flying = 0;
    for (int32_t i = 0; i < c->count; i++) flying += c->slots[i].state == FLYING;
    for (int32_t i = 0; i < c->count; i++) {
        slot *s = &c->slots[i];
        if (s->state != WAITING) continue;
        if (c->stopped[0] == '\0' && may_fly(c, s, flying, now))
            flying++;
        else if (c->stopped[0] != '\0')
            GM_TRY(end_unsent(s, c->stopped, err));
    }
    return GM_OK;
}

/* Nobody else spends between the look and the charge: both stand in the transaction of what leaves. */
static gm_status choose_from_shared(gm_mllm_client *c, gm_err *err)
{
    gm_mllm_spending all;
    GM_TRY(gm_mllm_cache_look(c->cache, &c->purse, &all, &c->held_by_others, err));
    c->others = (gm_mllm_spending) { all.calls - c->charged.calls, all.tokens - c->charged.tokens, all.cost - c->charged.cost };
    GM_TRY(choose(c, err));
    GM_TRY(note_ready(c, err));
    return charge(c, err);
}

static int32_t count_of(const gm_mllm_client *c, slot_state state)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->count; i++) n += c->slots[i].state == state;
    return n;
}

static gm_status launch(gm_mllm_client *c, gm_err *err)
{
    if (count_of(c, WAITING) == 0) return GM_OK;
    if (c->purse.name != NULL) {
        GM_TRY(in_transaction(c, choose_from_shared, err));
    } else {
        GM_TRY(choose(c, err));
        if (count_of(c, READY) > 0) GM_TRY(in_transaction(c, note_ready, err));
    }
    for (int32_t i = 0; i < c->count; i++) {
        slot *s = &c->slots[i];
        if (s->state != READY) continue;
        s->tries++;
        s->post.owner = s;
        s->state = FLYING;
        GM_TRY(gm_mllm_wire_start(c->wire, &s->post, s->body.data, s->body.size, err));
    }
    return GM_OK;
}

/* ---- flying -> done, or waiting again ---- */

static void try_again(gm_mllm_client *c, slot *s, int64_t most, bool is_asked_to_slow)
{
    const gm_mllm_endpoint *e = c->e;
    const double pause = s->post.retry_after_s, now = gm_mllm_now();
    double wait = gm_mllm_backoff(e->backoff_s, e->backoff_max_s, s->tries + 1, c->o.seed, s->id.data);
    if (is_asked_to_slow && now >= c->narrowed_until) { /* a burst that was refused counts once */
        c->window = fmax(1.0, floor(c->window / 2.0));
        c->narrowed_until = now + fmax(pause, wait);
    }
    if (pause > e->wait_max_s) {
        stop(c, "the endpoint asks for a pause of %.0f s, which is more than wait_max_s (%g)", pause, e->wait_max_s);
    } else if (pause > 0.0) {
        c->pause_until = fmax(c->pause_until, now + pause);
        wait += pause; /* not all at the same moment */
    }
    if (s->tries >= most || c->stopped[0] != '\0') {
        end(s, GM_MLLM_FAILED);
        return;
    }
    gm_log(GM_LOG_DEBUG, "mllm", "%s: try %d in %.2f s: %s", s->id.data, s->tries + 1, wait, s->response.why.data);
    s->not_before = now + wait;
    s->state = WAITING;
}

static void count_answer(gm_mllm_client *c, slot *s)
{
    const gm_mllm_endpoint *e = c->e;
    gm_mllm_response *r = &s->response;
    /* A server that does not count is taken at the estimate for what was asked, and at the length of what it said. */
    const bool is_counted = r->tokens_in + r->tokens_out > 0;
    const double out = is_counted ? (double)r->tokens_out : (double)r->text.size / 3.0;
    const double used = is_counted ? (double)(r->tokens_in + r->tokens_out) : fmin(s->tokens, (double)s->body.size / 3.0 + out);
    c->spent.tokens += used;
    c->spent.cost += gm_mllm_endpoint_cost(e, used - out, out);
    gm_mllm_bucket_take(&c->tokens, used - s->tokens);
    c->report.tokens_in += r->tokens_in;
    c->report.tokens_out += r->tokens_out;
    c->window = fmin((double)c->count, c->window + 1.0 / c->window);
    s->latency_s = s->post.seconds;
    gm_mllm_times_add(&c->times, s->latency_s);
}

static gm_status judge_response(gm_mllm_client *c, slot *s, gm_err *err)
{
    gm_mllm_response *r = &s->response;
    const gm_mllm_post *p = &s->post;
    const bool is_asked_to_slow = p->status == 429 || p->status == 503 || p->status == 529;
    GM_TRY(gm_mllm_response_read(p->status, p->reply.data, p->reply.size, r, err));
    gm_mllm_hide(r->text.data, r->text.size, c->key);
    gm_mllm_hide(r->why.data, r->why.size, c->key);
    switch (r->meaning) {
    case GM_MLLM_MEANS_ANSWER:
        count_answer(c, s);
        end(s, GM_MLLM_ANSWERED);
        break;
    case GM_MLLM_MEANS_AGAIN: try_again(c, s, c->e->tries, is_asked_to_slow); break;
    case GM_MLLM_MEANS_ERROR: try_again(c, s, ++s->errors < c->e->error_tries ? c->e->tries : s->tries, false); break;
    case GM_MLLM_MEANS_STOP: stop(c, "%s", r->why.data); /* fall through */
    case GM_MLLM_MEANS_NEVER:
        if (r->is_refusal) count_answer(c, s);
        end(s, GM_MLLM_REFUSED);
        break;
    }
    return GM_OK;
}

static gm_status judge(gm_mllm_client *c, slot *s, gm_err *err)
{
    const gm_mllm_post *p = &s->post;
    let_go(c, s);
    if (p->delivery == GM_MLLM_DELIVERED) {
        GM_TRY(judge_response(c, s, err));
    } else {
        GM_TRY(set_why(s, err, "%s", p->why));
        if (p->delivery == GM_MLLM_UNREACHABLE) stop(c, "%s", p->why);
        if (p->delivery == GM_MLLM_LOST)
            try_again(c, s, c->e->tries, false);
        else
            end(s, GM_MLLM_FAILED);
    }
    if (s->state != DONE) return GM_OK;
    c->failed_in_a_row = s->outcome == GM_MLLM_FAILED && p->delivery != GM_MLLM_UNREADABLE ? c->failed_in_a_row + 1 : 0;
    if (c->e->give_up_after > 0 && c->failed_in_a_row >= c->e->give_up_after)
        stop(c, "%lld requests in a row have failed, the last one: %s", (long long)c->failed_in_a_row, s->response.why.data);
    return GM_OK;
}

/* ---- done -> free ---- */

static gm_status store_done(gm_mllm_client *c, gm_err *err)
{
    for (int32_t i = 0; i < c->count; i++) {
        slot *s = &c->slots[i];
        const gm_mllm_response *r = &s->response;
        if (s->state != DONE || !s->is_noted) continue;
        if (s->outcome == GM_MLLM_CACHED) { /* another process was quicker; the note was ours or its */
            GM_TRY(gm_mllm_cache_drop(c->cache, &s->key, err));
            continue;
        }
        const gm_mllm_cached a = { r->text.data, r->text.size, r->why.data, r->is_cut, r->tokens_in, r->tokens_out, s->latency_s };
        if (s->outcome == GM_MLLM_ANSWERED || r->is_refusal)
            GM_TRY(gm_mllm_cache_put(c->cache, &s->key, s->id.data, &a, err));
        else
            GM_TRY(gm_mllm_cache_drop(c->cache, &s->key, err));
    }
    return charge(c, err);
}

static gm_status hand_over(gm_mllm_client *c, slot *s, gm_mllm_got got, void *user, gm_err *err)
{
    const gm_mllm_response *r = &s->response;
    const bool has_text = s->outcome == GM_MLLM_ANSWERED || s->outcome == GM_MLLM_CACHED;
    const gm_mllm_answer a = {
        .outcome = s->outcome,
        .id = s->id.data,
        .tag = s->tag,
        .text = has_text ? r->text.data : "",
        .text_bytes = has_text ? r->text.size : 0,
        .why = has_text ? "" : r->why.data,
        .is_cut = r->is_cut,
        .tokens_in = r->tokens_in,
        .tokens_out = r->tokens_out,
        .tries = s->tries,
        .latency_s = s->latency_s,
    };
    c->report.outcome[s->outcome]++;
    if (s->outcome == GM_MLLM_CACHED) {
        c->report.cached_tokens_in += r->tokens_in;
        c->report.cached_tokens_out += r->tokens_out;
    }
    s->state = FREE;
    if (s->body.capacity > KEPT_BODY) gm_buffer_free(&s->body);
    return got(user, &a, err);
}

static gm_status settle(gm_mllm_client *c, gm_mllm_got got, void *user, gm_err *err)
{
    bool has_noted = false;
    for (int32_t i = 0; i < c->count; i++) has_noted = has_noted || (c->slots[i].state == DONE && c->slots[i].is_noted);
    if (has_noted) GM_TRY(in_transaction(c, store_done, err));
    for (int32_t i = 0; i < c->count; i++)
        if (c->slots[i].state == DONE) GM_TRY(hand_over(c, &c->slots[i], got, user, err));
    for (int32_t i = 0; i < c->count; i++)
        if (c->slots[i].state == FOLLOWING && !is_on_its_way(c, &c->slots[i])) GM_TRY(look_up(c, &c->slots[i], err));
    return GM_OK;
}

/* ---- the pump ---- */

static gm_status collect(gm_mllm_client *c, int32_t *ended, gm_err *err)
{
    *ended = 0;
    if (c->wire == NULL) return GM_OK;
    for (gm_mllm_post *p; *ended < ENDED_A_TURN && (p = gm_mllm_wire_done(c->wire)) != NULL; ++*ended) GM_TRY(judge(c, p->owner, err));
    return GM_OK;
}

static gm_status turn(gm_mllm_client *c, gm_mllm_next next, gm_mllm_got got, void *user, bool *is_over, int32_t *ended, gm_err *err)
{
    bool more, is_at_rest = true, has_done = false;
    GM_TRY(fill(c, next, user, &more, err));
    c->wake = LONGEST_SLEEP;
    GM_TRY(launch(c, err));
    for (int32_t i = 0; i < c->count; i++) {
        is_at_rest = is_at_rest && c->slots[i].state == FREE;
        has_done = has_done || c->slots[i].state == DONE;
    }
    *is_over = is_at_rest && !more;
    if (*is_over) return GM_OK;
    /* Nothing is slept through that ended already: what the last turn left, or what the cache knew. */
    if (c->wire != NULL) GM_TRY(gm_mllm_wire_turn(c->wire, has_done || *ended == ENDED_A_TURN ? 0.0 : c->wake, err));
    GM_TRY(collect(c, ended, err));
    return settle(c, got, user, err);
}

gm_status gm_mllm_ask(gm_mllm_client *c, gm_mllm_next next, gm_mllm_got got, void *user, gm_err *err)
{
    const double start = gm_mllm_now();
    gm_status status = GM_OK;
    bool is_over = false;
    int32_t ended = 0;
    while (status == GM_OK && !is_over) status = turn(c, next, got, user, &is_over, &ended, err);
    if (status != GM_OK) { /* what still flies is let go, so that the client can be asked again or closed */
        for (int32_t i = 0; i < c->count; i++) {
            gm_mllm_post_free(&c->slots[i].post);
            c->slots[i].state = FREE;
        }
        c->held = (gm_mllm_spending) { 0 };
    }
    c->report.seconds += gm_mllm_now() - start;
    return status;
}

/* ---- report ---- */

void gm_mllm_report_of(const gm_mllm_client *c, gm_mllm_report *to)
{
    *to = c->report;
    to->calls = c->spent.calls;
    to->cost = c->spent.cost;
    to->latency_p50_s = gm_mllm_times_quantile(&c->times, 0.5);
    to->latency_p90_s = gm_mllm_times_quantile(&c->times, 0.9);
    to->latency_p99_s = gm_mllm_times_quantile(&c->times, 0.99);
    to->latency_max_s = c->times.max;
    to->stopped = c->stopped[0] != '\0' ? c->stopped : NULL;
}

gm_status gm_mllm_report_json(const gm_mllm_report *r, gm_buffer *to, gm_err *err)
{
    GM_TRY(gm_buffer_printf(to, err, "{\"requests\":%lld", (long long)r->requests));
    for (int i = 0; i < GM_MLLM_OUTCOMES; i++) GM_TRY(gm_buffer_printf(to, err, ",\"%s\":%lld", gm_mllm_outcome_names[i], (long long)r->outcome[i]));
    GM_TRY(gm_buffer_printf(to, err, ",\"calls\":%lld,\"retries\":%lld,\"repeats\":%lld", (long long)r->calls, (long long)r->retries, (long long)r->repeats));
    GM_TRY(gm_buffer_printf(to, err, ",\"tokens_in\":%lld,\"tokens_out\":%lld,\"cached_tokens_in\":%lld,\"cached_tokens_out\":%lld",
                            (long long)r->tokens_in, (long long)r->tokens_out, (long long)r->cached_tokens_in, (long long)r->cached_tokens_out));
    GM_TRY(gm_buffer_printf(to, err, ",\"cost\":%.10g,\"seconds\":%.3f,\"latency_s\":{\"p50\":%.4g,\"p90\":%.4g,\"p99\":%.4g,\"max\":%.4g},\"stopped\":",
                            r->cost, r->seconds, r->latency_p50_s, r->latency_p90_s, r->latency_p99_s, r->latency_max_s));
    GM_TRY(r->stopped != NULL ? gm_buffer_json_string(to, r->stopped, err) : gm_buffer_add(to, "null", 4, err));
    return gm_buffer_add(to, "}", 1, err);
}
