/* The client with its cache: what was answered is not sent again, also after a kill; budgets; secrets. */
#define _POSIX_C_SOURCE 200809L
#include "tests/mllm/ask.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "mllm/cache.h"

static const char secret[] = "sk-very-secret-0123456789";

static char prompts[MAX_ASKED][64];

static asked *many(int count, const char *acts)
{
    asked *a = ask_new();
    for (int i = 0; i < count; i++) {
        snprintf(prompts[i], sizeof prompts[i], "%s question %d", acts, i);
        ask_for(a, prompts[i]);
    }
    return a;
}

static const char *path_of(char out[512], const char *name)
{
    snprintf(out, 512, "%s/%s", gmt_temp_dir(), name);
    return out;
}

static void answered_requests_are_not_sent_again(void **state)
{
    char log[512], cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log1") });
    gm_mllm_endpoint e = ask_endpoint(server.port, "");
    asked *a = many(100, ""), *b = many(100, "");
    ask_for(a, prompts[3]); /* equal to one that is on its way */
    gm_mllm_report r = ask_all(a, &e, path_of(cache, "cache1"), false);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED], 100);
    assert_int_equal(r.outcome[GM_MLLM_CACHED], 1);
    assert_int_equal(ask_log_count(log, "request"), 100);
    gmt_server_stop(&server);
    r = ask_all(b, &e, cache, true); /* the server is gone: a replay needs none */
    assert_int_equal(r.outcome[GM_MLLM_CACHED], 100);
    for (int i = 0; i < 100; i++) assert_string_equal(a->text[i], b->text[i]);
    ask_for(b, "never asked");
    r = ask_all(b, &e, cache, true);
    assert_int_equal(r.outcome[GM_MLLM_UNSENT], 1);
    ask_free(a);
    ask_free(b);
    gm_mllm_endpoint_free(&e);
}

/* A response that was whole at the first look was slept over, 0.2 s at a time: 110 requests a second where 6,000 are possible. */
static void a_quick_server_is_not_slept_over(void **state)
{
    char cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .is_forgetful = true });
    gm_mllm_endpoint e = ask_endpoint(server.port, "");
    asked *a = many(2000, "");
    const gm_mllm_report r = ask_all(a, &e, path_of(cache, "cache-quick"), false);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED], 2000);
    if (r.seconds > 9.0) fail_msg("2000 requests to a server that answers at once took %.1f s", r.seconds);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

static void a_kill_costs_at_most_the_requests_in_flight(void **state)
{
    char log[512], cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log2"), .latency_ms = 5 });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":8");
    asked *a = many(400, "");
    path_of(cache, "cache2");
    const pid_t child = fork();
    if (child == 0) {
        ask_all(a, &e, cache, false);
        _exit(0);
    }
    while (ask_log_count(log, "request") < 100) nanosleep(&(struct timespec) { 0, 2000000 }, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    const gm_mllm_report r = ask_all(a, &e, cache, false);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED] + r.outcome[GM_MLLM_CACHED], 400);
    assert_true(r.outcome[GM_MLLM_CACHED] >= 100 - 2 * 8);
    const int sent = ask_log_count(log, "request");
    assert_in_range(sent, 400, 408);
    assert_in_range(r.repeats, sent - 400, 8);
    asked *whole = many(400, ""); /* what nobody interrupts says the same */
    ask_all(whole, &e, NULL, false);
    for (int i = 0; i < 400; i++) assert_string_equal(a->text[i], whole->text[i]);
    ask_free(whole);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

static void processes_share_a_cache(void **state)
{
    char log[512], cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log3"), .latency_ms = 2 });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":4");
    asked *a = many(200, "");
    path_of(cache, "cache3");
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        if ((child[i] = fork()) == 0) {
            const gm_mllm_report r = ask_all(a, &e, cache, false);
            _exit(r.outcome[GM_MLLM_ANSWERED] + r.outcome[GM_MLLM_CACHED] == 200 ? 0 : 1);
        }
    for (int i = 0; i < 3; i++) {
        int status = 1;
        waitpid(child[i], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_true(ask_log_count(log, "request") < 3 * 200);
    const gm_mllm_report r = ask_all(a, &e, cache, true);
    assert_int_equal(r.outcome[GM_MLLM_CACHED], 200);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* Each request ends as answered or unsent, none in between, and what was spent stays below the limit. */
static void budgets_stop_cleanly(void **state)
{
    static const struct { const char *more; int least, most; const char *says; } cases[] = {
        { ",\"budget\":{\"calls\":10}", 10, 10, "budget of 10 calls" },
        { ",\"budget\":{\"tokens\":1200},\"max_tokens\":500", 6, 29, "budget of 1200 tokens" },
        { ",\"budget\":{\"cost\":0.002},\"price\":{\"in\":1,\"out\":2},\"max_tokens\":500", 6, 29, "budget of 0.002" },
    };
    char log[512];
    (void)state;
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        char name[16];
        snprintf(name, sizeof name, "log4-%zu", i);
        gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, name) });
        gm_mllm_endpoint e = ask_endpoint(server.port, cases[i].more);
        asked *a = many(30, "");
        const gm_mllm_report r = ask_all(a, &e, NULL, false);
        assert_in_range(r.outcome[GM_MLLM_ANSWERED], cases[i].least, cases[i].most);
        assert_int_equal(r.outcome[GM_MLLM_ANSWERED] + r.outcome[GM_MLLM_UNSENT], 30);
        assert_int_equal(ask_log_count(log, "request"), r.calls);
        assert_int_equal(r.calls, r.outcome[GM_MLLM_ANSWERED]);
        assert_non_null(r.stopped);
        if (e.budget_tokens > 0) assert_in_range(r.tokens_in + r.tokens_out, 1, e.budget_tokens);
        if (e.budget_cost > 0) assert_true(r.cost > 0.0 && r.cost <= e.budget_cost);
        for (int k = 0; k < 30; k++)
            if (a->outcome[k] == GM_MLLM_UNSENT && strstr(a->why[k], cases[i].says) == NULL) fail_msg("\"%s\" lacks \"%s\"", a->why[k], cases[i].says);
        ask_free(a);
        gm_mllm_endpoint_free(&e);
        gmt_server_stop(&server);
    }
}

/* Tries count as calls: 3 of the 8 go to errors. */
static void tries_are_calls_of_the_budget(void **state)
{
    char log[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log4b"), .acts = "503,ok,503,ok,503" });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":2,\"budget\":{\"calls\":8}");
    asked *a = many(20, "");
    const gm_mllm_report r = ask_all(a, &e, NULL, false);
    assert_int_equal(ask_log_count(log, "request"), 8);
    assert_int_equal(r.calls, 8);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED], 5);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* Asks 60 questions of its own in a process of its own, which exits with the number of those that were answered. */
static pid_t spend(const gm_mllm_endpoint *e, const char *cache, const char *name)
{
    const pid_t child = fork();
    if (child != 0) return child;
    asked *a = many(60, name);
    gm_mllm_client *c = NULL;
    gm_mllm_report r = { 0 };
    gm_err err = { 0 };
    const bool ok = gm_mllm_open(e, &(gm_mllm_options) { .cache = cache, .seed = 7 }, &c, &err) == GM_OK && gm_mllm_ask(c, ask_next, ask_got, a, &err) == GM_OK;
    if (ok) gm_mllm_report_of(c, &r);
    if (!ok) fprintf(stderr, "%s: %s\n", name, err.text);
    gm_mllm_close(c);
    _exit(ok ? (int)r.outcome[GM_MLLM_ANSWERED] : 99);
}

static int answered_by(pid_t child)
{
    int status = -1;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 99) fail_msg("a process that asks ended with status %d", status);
    return WEXITSTATUS(status);
}

static void processes_share_a_budget_by_its_name(void **state)
{
    char log[512], cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log6"), .latency_ms = 5 });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":4,\"budget\":{\"calls\":50,\"name\":\"both\"}");
    path_of(cache, "cache6");
    const pid_t one = spend(&e, cache, "one"), two = spend(&e, cache, "two");
    const int first = answered_by(one), second = answered_by(two);
    assert_int_equal(first + second, 50);
    assert_int_equal(answered_by(spend(&e, cache, "three")), 0); /* a later run finds the purse empty */
    assert_int_equal(ask_log_count(log, "request"), 50);
    gm_mllm_endpoint_free(&e);
    e = ask_endpoint(server.port, ",\"budget\":{\"calls\":5,\"name\":\"another\"}");
    assert_int_equal(answered_by(spend(&e, cache, "four")), 5);
    gm_mllm_endpoint_free(&e);
    e = ask_endpoint(server.port, ",\"budget\":{\"calls\":5}"); /* without a name each run has its own */
    assert_int_equal(answered_by(spend(&e, cache, "five")), 5);
    assert_int_equal(answered_by(spend(&e, cache, "six")), 5);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* What one process has in flight is not there for another; what comes back of it is. A request is estimated at over 500
 * tokens and costs some 40, so processes that did not wait for each other would stop with most of the budget left. */
static void a_shared_budget_of_tokens_is_spent_to_its_end(void **state)
{
    char log[512], cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log7"), .latency_ms = 5 });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":4,\"max_tokens\":500,\"budget\":{\"tokens\":3000,\"name\":\"both\"}");
    path_of(cache, "cache7");
    const pid_t one = spend(&e, cache, "one"), two = spend(&e, cache, "two");
    const int answers = answered_by(one) + answered_by(two);
    asked *a = many(1, "how much is one?");
    const gm_mllm_endpoint alone = ask_endpoint(server.port, "");
    const gm_mllm_report r = ask_all(a, &alone, NULL, false);
    const int64_t each = r.tokens_in + r.tokens_out;
    if (answers * each > 3000 + 4 * answers || answers * each < 3000 - 600)
        fail_msg("%d answers of %lld tokens for a budget of 3000", answers, (long long)each);
    ask_free(a);
    gm_mllm_endpoint_free((gm_mllm_endpoint *)&alone);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* The calls of a killed run are spent, and it holds back nothing for ever. */
static void a_killed_process_has_spent_what_it_sent(void **state)
{
    char log[512], cache[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log8"), .latency_ms = 20 });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":4,\"budget\":{\"calls\":40,\"name\":\"all\"}");
    const pid_t child = spend(&e, path_of(cache, "cache8"), "one");
    while (ask_log_count(log, "request") < 10) nanosleep(&(struct timespec) { 0, 2000000 }, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    answered_by(spend(&e, cache, "two"));
    assert_in_range(ask_log_count(log, "request"), 40 - 4, 40); /* what was charged may have been killed before it left */
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
    gm_mllm_cache *c = NULL;
    gm_err err = { 0 };
    gm_mllm_spending spent, held;
    const gm_mllm_purse dead = { "old", 1, 3600 }, sees_it_alive = { "old", 2, 3600 }, sees_it_dead = { "old", 2, -1 };
    assert_ok(gm_mllm_cache_open(cache, false, &c, &err));
    assert_ok(gm_mllm_cache_charge(c, &dead, &(gm_mllm_spending) { 3, 100, 1 }, &(gm_mllm_spending) { 0, 50, 0.5 }, &err));
    assert_ok(gm_mllm_cache_look(c, &sees_it_alive, &spent, &held, &err));
    assert_true(spent.calls == 3 && spent.tokens == 100 && held.tokens == 50 && held.cost == 0.5);
    assert_ok(gm_mllm_cache_look(c, &sees_it_dead, &spent, &held, &err));
    assert_true(spent.calls == 3 && spent.tokens == 150 && spent.cost == 1.5 && held.tokens == 0);
    gm_mllm_cache_close(c);
}

static void a_shared_budget_needs_a_cache(void **state)
{
    gm_mllm_client *c = NULL;
    gm_err err = { 0 };
    gm_mllm_endpoint e = ask_endpoint(1, ",\"budget\":{\"calls\":40,\"name\":\"all\"}");
    (void)state;
    assert_int_equal(gm_mllm_open(&e, &(gm_mllm_options) { 0 }, &c, &err), GM_ERR_CONFIG);
    assert_non_null(strstr(err.text, "\"budget.name\""));
    gm_mllm_endpoint_free(&e);
}

/* ---- a signal ---- */

static volatile sig_atomic_t asked_to_stop;

static void on_signal(int number) { asked_to_stop = number; }

static gm_status got_and_signal(void *user, const gm_mllm_answer *answer, gm_err *err)
{
    asked *a = user;
    int seen = 0;
    GM_TRY(ask_got(user, answer, err));
    for (int i = 0; i < a->count; i++) seen += a->seen[i];
    if (seen == 10) raise(SIGTERM);
    return GM_OK;
}

/* What is in flight is waited for and kept; the next run sends the rest, and nothing twice. */
static void a_signal_lets_what_flies_land(void **state)
{
    char log[512], cache[512];
    gm_mllm_client *c = NULL;
    gm_mllm_report r;
    gm_err err = { 0 };
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log9"), .latency_ms = 50 });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"concurrency\":8");
    asked *a = many(100, "");
    signal(SIGTERM, on_signal);
    assert_ok(gm_mllm_open(&e, &(gm_mllm_options) { .cache = path_of(cache, "cache9"), .signal = &asked_to_stop }, &c, &err));
    assert_ok(gm_mllm_ask(c, ask_next, got_and_signal, a, &err));
    gm_mllm_report_of(c, &r);
    assert_int_equal(asked_to_stop, SIGTERM);
    assert_string_equal(r.stopped, "a signal asked to stop");
    assert_in_range(r.outcome[GM_MLLM_ANSWERED], 10, 10 + 2 * 8);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED] + r.outcome[GM_MLLM_UNSENT], r.requests);
    assert_int_equal(ask_log_count(log, "request"), r.outcome[GM_MLLM_ANSWERED]);
    for (int i = 0; i < 100; i++) assert_int_equal(a->seen[i], i < a->next ? 1 : 0);
    gm_mllm_close(c);
    const gm_mllm_report rest = ask_all(a, &e, cache, false);
    assert_int_equal(rest.outcome[GM_MLLM_CACHED], r.outcome[GM_MLLM_ANSWERED]);
    assert_int_equal(ask_log_count(log, "request"), 100);
    assert_int_equal(rest.repeats, 0);
    signal(SIGTERM, SIG_DFL);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* ---- bad caches ---- */

static void opening_says(const char *path, gm_status status, const char *says)
{
    gm_mllm_cache *c = NULL;
    gm_err err = { 0 };
    assert_int_equal(gm_mllm_cache_open(path, false, &c, &err), status);
    if (strstr(err.text, path) == NULL || strstr(err.text, says) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, says);
}

static void bad_caches_are_named(void **state)
{
    char path[512], log[512], text[4096];
    char *bytes = NULL;
    size_t size = 0;
    gm_mllm_cache *cache = NULL;
    gm_mllm_client *c = NULL;
    gm_err err = { 0 };
    (void)state;
    memset(text, 'x', sizeof text);
    gmt_write_file(path_of(path, "text"), text, sizeof text);
    opening_says(path, GM_ERR_FORMAT, "not a database");
    opening_says(path_of(path, "none/cache"), GM_ERR_IO, "unable to open");
    assert_int_equal(gm_mllm_cache_open(path_of(path, "absent"), true, &cache, &err), GM_ERR_IO); /* a replay makes none */
    assert_false(gm_path_exists(path));
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log10") });
    gm_mllm_endpoint e = ask_endpoint(server.port, "");
    asked *a = many(300, "");
    ask_all(a, &e, path_of(path, "damaged"), false);
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    memset(bytes + 4096, 0xEE, size - 4096); /* all but the first page, whose header still says that it is a database */
    gmt_write_file(path, bytes, size);
    gm_free(bytes);
    gm_status status = gm_mllm_open(&e, &(gm_mllm_options) { .cache = path }, &c, &err);
    a->next = 0;
    if (status == GM_OK) status = gm_mllm_ask(c, ask_next, ask_got, a, &err);
    assert_int_equal(status, GM_ERR_FORMAT);
    if (strstr(err.text, path) == NULL || strstr(err.text, "malformed") == NULL) fail_msg("%s", err.text);
    gm_mllm_close(c);
    assert_int_equal(ask_log_count(log, "request"), 300); /* nothing was paid for that could not have been kept */
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* Six at once, thirty times over: a race that was lost once in some hundred opens. */
static void many_processes_make_one_cache(void **state)
{
    char path[512], name[32];
    (void)state;
    for (int round = 0; round < 30; round++) {
        int go[2];
        pid_t child[6];
        char byte;
        snprintf(name, sizeof name, "new%d", round);
        path_of(path, name);
        assert_int_equal(pipe(go), 0);
        for (size_t i = 0; i < GM_LEN(child); i++) {
            if ((child[i] = fork()) != 0) continue;
            gm_mllm_cache *c = NULL;
            gm_err err = { 0 };
            close(go[1]);
            if (read(go[0], &byte, 1) != 0) _exit(2); /* the pipe's end is the start */
            const gm_status status = gm_mllm_cache_open(path, false, &c, &err);
            if (status != GM_OK) fprintf(stderr, "%s\n", err.text);
            gm_mllm_cache_close(c);
            _exit(status != GM_OK);
        }
        close(go[0]), close(go[1]);
        for (size_t i = 0; i < GM_LEN(child); i++) {
            int status = 1;
            waitpid(child[i], &status, 0);
            assert_int_equal(status, 0);
        }
    }
}

/* Held by another process for good: named, after some patience. Held for a moment: waited for. */
static void a_locked_cache_is_waited_for(void **state)
{
    char path[512];
    gm_mllm_cache *holder = NULL, *c = NULL;
    gm_err err = { 0 };
    int held[2];
    char byte;
    (void)state;
    assert_ok(gm_mllm_cache_open(path_of(path, "locked"), false, &holder, &err));
    assert_ok(gm_mllm_cache_open(path, false, &c, &err));
    gm_mllm_cache_set_patience(c, 100);
    assert_ok(gm_mllm_cache_begin(holder, &err));
    assert_int_equal(gm_mllm_cache_begin(c, &err), GM_ERR_IO);
    if (strstr(err.text, "another process has kept it locked for 0.1 s") == NULL) fail_msg("%s", err.text);
    gm_mllm_cache_rollback(holder);
    gm_mllm_cache_close(holder);
    assert_int_equal(pipe(held), 0);
    const pid_t child = fork(); /* a lock of a connection must be taken by the process that uses it */
    if (child == 0) {
        if (gm_mllm_cache_open(path, false, &holder, &err) != GM_OK || gm_mllm_cache_begin(holder, &err) != GM_OK) _exit(1);
        if (write(held[1], "x", 1) != 1) _exit(1);
        nanosleep(&(struct timespec) { 0, 300000000 }, NULL);
        gm_mllm_cache_rollback(holder);
        _exit(0);
    }
    assert_int_equal(read(held[0], &byte, 1), 1);
    gm_mllm_cache_set_patience(c, 30000);
    assert_ok(gm_mllm_cache_begin(c, &err));
    gm_mllm_cache_rollback(c);
    gm_mllm_cache_close(c);
    waitpid(child, NULL, 0);
    close(held[0]), close(held[1]);
}

/* ---- the key ---- */

static void lacks_secret(const char *path)
{
    char *bytes = NULL;
    size_t size = 0;
    gm_err err = { 0 };
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    for (size_t i = 0; i + strlen(secret) <= size; i++)
        if (memcmp(bytes + i, secret, strlen(secret)) == 0) fail_msg("%s holds the key", path);
    gm_free(bytes);
}

/* The server repeats a wrong key in its error; here the right one comes back in an answer. */
static void the_key_is_in_no_answer_and_no_cache(void **state)
{
    char log[512], cache[512], answers[512], line[256];
    gm_err err = { 0 };
    char *bytes = NULL;
    size_t size = 0;
    (void)state;
    const int n = snprintf(line, sizeof line, "{\"find\": \"question\", \"text\": \"your key is %s!\"}\n", secret);
    gmt_write_file(path_of(answers, "answers"), line, (size_t)n);
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log5"), .key = secret, .answers = answers });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"key_env\":\"GM_TEST_KEY\"");
    asked *a = many(3, "");
    unsetenv("GM_TEST_KEY");
    gm_mllm_client *c = NULL;
    assert_int_equal(gm_mllm_open(&e, &(gm_mllm_options) { 0 }, &c, &err), GM_ERR_CONFIG);
    assert_non_null(strstr(err.text, "GM_TEST_KEY"));
    setenv("GM_TEST_KEY", secret, 1);
    const gm_mllm_report r = ask_all(a, &e, path_of(cache, "cache5"), false);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED], 3);
    assert_string_equal(a->text[0], "your key is *************************!");
    assert_ok(gm_file_read(cache, &bytes, &size, &err));
    for (size_t i = 0; i + strlen(secret) <= size; i++) assert_memory_not_equal(bytes + i, secret, strlen(secret));
    gm_free(bytes);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

/* The server says the key in answers, in errors and in refusals. The log is written at its most talkative, and the run is
 * killed, so that the cache's write-ahead log is still there to be read. */
static void the_key_is_nowhere(void **state)
{
    char log[512], cache[512], wal[600], answers[512], said[512], line[256];
    (void)state;
    const int n = snprintf(line, sizeof line, "{\"find\": \"question\", \"text\": \"your key is %s!\"}\n", secret);
    gmt_write_file(path_of(answers, "answers"), line, (size_t)n);
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log11"), .key = secret, .answers = answers });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"key_env\":\"GM_TEST_KEY\"");
    path_of(cache, "cache11");
    path_of(said, "said");
    setenv("GM_TEST_KEY", secret, 1);
    const pid_t child = fork();
    if (child == 0) {
        const int fd = open(said, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDERR_FILENO);
        dup2(fd, STDOUT_FILENO);
        gm_log_set_level(GM_LOG_DEBUG);
        asked *a = many(20, "[[says-key:500*2]]");
        asked *b = many(20, "[[says-key:400]]");
        for (int i = 0; i < 20; i++) ask_for(a, "[[says-key:429]] and more?");
        asked *both[] = { a, b };
        for (int k = 0; k < 2; k++) {
            gm_mllm_client *c = NULL;
            gm_mllm_report r;
            gm_err err = { 0 };
            gm_buffer page = { 0 };
            bool ok = gm_mllm_open(&e, &(gm_mllm_options) { .cache = cache, .seed = 7 }, &c, &err) == GM_OK;
            ok = ok && gm_mllm_ask(c, ask_next, ask_got, both[k], &err) == GM_OK;
            if (ok) gm_mllm_report_of(c, &r);
            if (!ok || gm_mllm_report_json(&r, &page, &err) != GM_OK) _exit(1);
            fprintf(stderr, "%s\n%s\n", page.data, err.text);
            for (int i = 0; i < both[k]->count; i++) fprintf(stderr, "%s|%s\n", both[k]->text[i], both[k]->why[i]);
        }
        fflush(NULL);
        kill(getpid(), SIGKILL); /* both clients are still open */
    }
    waitpid(child, NULL, 0);
    snprintf(wal, sizeof wal, "%s-wal", cache);
    assert_true(gm_path_exists(wal));
    lacks_secret(said);
    lacks_secret(cache);
    lacks_secret(wal);
    assert_true(ask_log_count(said, "your key is *************************!") >= 20);
    char *text = NULL;
    size_t size = 0;
    gm_err err = { 0 };
    assert_ok(gm_file_read(said, &text, &size, &err));
    assert_non_null(strstr(text, "the key *************************"));
    assert_non_null(strstr(text, "debug mllm")); /* the tries were logged */
    gm_free(text);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

int main(void)
{
    char cache[512];
    ask_skip_without_parts(path_of(cache, "probe"));
    const struct CMUnitTest tests[] = { cmocka_unit_test(answered_requests_are_not_sent_again), cmocka_unit_test(a_quick_server_is_not_slept_over),
                                        cmocka_unit_test(a_kill_costs_at_most_the_requests_in_flight),
                                        cmocka_unit_test(processes_share_a_cache), cmocka_unit_test(budgets_stop_cleanly),
                                        cmocka_unit_test(tries_are_calls_of_the_budget), cmocka_unit_test(processes_share_a_budget_by_its_name),
                                        cmocka_unit_test(a_shared_budget_of_tokens_is_spent_to_its_end), cmocka_unit_test(a_killed_process_has_spent_what_it_sent),
                                        cmocka_unit_test(a_shared_budget_needs_a_cache), cmocka_unit_test(a_signal_lets_what_flies_land),
                                        cmocka_unit_test(bad_caches_are_named), cmocka_unit_test(many_processes_make_one_cache),
                                        cmocka_unit_test(a_locked_cache_is_waited_for),
                                        cmocka_unit_test(the_key_is_in_no_answer_and_no_cache), cmocka_unit_test(the_key_is_nowhere) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
