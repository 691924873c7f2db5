/* The client with its cache: what was answered is not sent again, also after a kill; budgets; secrets. */
#define _POSIX_C_SOURCE 200809L
#include "tests/mllm/ask.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

static void budgets_stop_cleanly(void **state)
{
    char log[512];
    (void)state;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = path_of(log, "log4") });
    gm_mllm_endpoint e = ask_endpoint(server.port, ",\"budget\":{\"calls\":10}");
    asked *a = many(30, "");
    gm_mllm_report r = ask_all(a, &e, NULL, false);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED], 10);
    assert_int_equal(r.outcome[GM_MLLM_UNSENT], 20);
    assert_int_equal(ask_log_count(log, "request"), 10);
    assert_non_null(r.stopped);
    gm_mllm_endpoint_free(&e);
    e = ask_endpoint(server.port, ",\"budget\":{\"tokens\":1200},\"max_tokens\":500");
    r = ask_all(a, &e, NULL, false);
    assert_true(r.outcome[GM_MLLM_ANSWERED] > 5 && r.outcome[GM_MLLM_UNSENT] > 0);
    assert_in_range(r.tokens_in + r.tokens_out, 1, 1200);
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
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

int main(void)
{
    char cache[512];
    ask_skip_without_parts(path_of(cache, "probe"));
    const struct CMUnitTest tests[] = { cmocka_unit_test(answered_requests_are_not_sent_again), cmocka_unit_test(a_kill_costs_at_most_the_requests_in_flight),
                                        cmocka_unit_test(processes_share_a_cache), cmocka_unit_test(budgets_stop_cleanly),
                                        cmocka_unit_test(the_key_is_in_no_answer_and_no_cache) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
