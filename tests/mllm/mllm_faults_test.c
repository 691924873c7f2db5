/* Each way in which an endpoint can be bad, against what the client makes of it. The table is docs/endpoint-faults.md, which
 * GM_WRITE_DOCS=1 writes anew; the server's verdict on the client must be clean in every row. */
#include "tests/mllm/ask.h"

static const struct row {
    const char *fault, *acts, *more; /* more: members of the endpoint */
    gm_mllm_outcome outcome, next;   /* of the request, and of another one behind it */
    int32_t tries;
    const char *says;                /* part of the reason, or of the text where it was answered */
} rows[] = {
    { "429 with Retry-After", "429:1", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "429 without Retry-After, twice", "429*2", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 3, "answer" },
    { "429 without end", "429*99", "", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 5, "HTTP 429: Rate limit" },
    { "429 with a Retry-After of an hour", "429:3600*99", "", GM_MLLM_FAILED, GM_MLLM_UNSENT, 1, "HTTP 429: Rate limit" },
    { "429 because the quota is spent", "quota", "", GM_MLLM_REFUSED, GM_MLLM_UNSENT, 1, "insufficient_quota" },
    { "503 with Retry-After", "503:1", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "503 while it loads its model, twice", "503*2", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 3, "answer" },
    { "502 without end", "502*99", "", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 5, "HTTP 502" },
    { "500 once", "500", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "500 without end", "500*99", "", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 3, "HTTP 500: Internal server error" },
    { "500 behind two 429", "429*2,500", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 4, "answer" },
    { "500 and 503 by turns", "500,503,500,503,500", "", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 5, "HTTP 500" },
    { "500 whose body says that it is for good", "permanent", "", GM_MLLM_REFUSED, GM_MLLM_ANSWERED, 1, "not supported" },
    { "400: the request is too long", "400", "", GM_MLLM_REFUSED, GM_MLLM_ANSWERED, 1, "context" },
    { "401: wrong key", "401", "", GM_MLLM_REFUSED, GM_MLLM_UNSENT, 1, "HTTP 401" },
    { "404: wrong address or model", "404", "", GM_MLLM_REFUSED, GM_MLLM_UNSENT, 1, "HTTP 404" },
    { "a redirect", "redirect", "", GM_MLLM_REFUSED, GM_MLLM_UNSENT, 1, "HTTP 307" },
    { "an error hidden behind status 200", "hidden", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "no answer, once", "stall", ",\"read_s\":0.3", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "no answer, ever", "stall*99", ",\"read_s\":0.3,\"tries\":2", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 2, "no byte came for 0.3 s" },
    { "a drip of bytes", "drip:0.01*99", ",\"read_s\":0.5,\"total_s\":0.8,\"tries\":2", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 2, "no whole response came in 0.8 s" },
    { "a cut body", "cut", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "a connection closed without a byte", "reset", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "no HTTP", "garbage", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "HTML in the place of JSON", "html", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "broken JSON without end", "broken*99", "", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 5, "no JSON object" },
    { "JSON without an answer", "nothing", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "an empty body", "empty", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 2, "answer" },
    { "100 MB in the place of an answer", "big", "", GM_MLLM_FAILED, GM_MLLM_ANSWERED, 1, "longer than response_bytes" },
    { "the server is gone", "gone", "", GM_MLLM_FAILED, GM_MLLM_FAILED, 5, "" },
    { "the server goes in the middle of its answer", "half", ",\"give_up_after\":1", GM_MLLM_FAILED, GM_MLLM_UNSENT, 5, "" },
    { "prose around the JSON", "prose", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 1, "Of course" },
    { "JSON of another schema", "schema", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 1, "something" },
    { "a box outside the picture", "outside", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 1, "99999" },
    { "a box with its corners reversed", "reversed", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 1, "300" },
    { "an answer cut by max_tokens", "length", "", GM_MLLM_ANSWERED, GM_MLLM_ANSWERED, 1, "cut in the mi" },
    { "an answer held back by a filter", "filter", "", GM_MLLM_REFUSED, GM_MLLM_ANSWERED, 1, "content_filter" },
};

static const char head[] =
    "# What the client makes of an endpoint's faults\n\n"
    "Written by `tests/mllm/mllm_faults_test.c` (`GM_WRITE_DOCS=1` writes it anew): each row was run against `tests/mllm/server.c`, whose\n"
    "act stands in the second column, with another request behind it. The server judges the client as well: a request that is tried\n"
    "again after an error that does not get better, or before the time of `Retry-After`, fails the test. Texts that are answers to\n"
    "HTTP and no answer to the question (prose, another schema, boxes that cannot be) are `answered` here; what reads them keeps the\n"
    "local prediction and says why ([mllm.md](mllm.md)).\n\n"
    "| fault | act | settings | the request is | tries | the next one is | reason |\n|---|---|---|---|---|---|---|\n";

static void run_row(const struct row *row, int number, gm_buffer *page)
{
    char log[512], prompt[128], settings[128];
    gm_err err = { 0 };
    snprintf(log, sizeof log, "%s/log-%d", gmt_temp_dir(), number);
    snprintf(prompt, sizeof prompt, "[[%s]] what is it?", row->acts);
    gmt_server server = gmt_server_start(&(gmt_server_options) { .log = log });
    snprintf(settings, sizeof settings, ",\"concurrency\":1%s", row->more);
    gm_mllm_endpoint e = ask_endpoint(server.port, settings);
    asked *a = ask_new();
    ask_for(a, prompt);
    ask_for(a, "and what is this?");
    ask_all(a, &e, NULL, false);
    const char *said = a->outcome[0] == GM_MLLM_ANSWERED ? a->text[0] : a->why[0];
    const int violations = ask_log_count(log, "violation");
    if (a->outcome[0] != row->outcome || a->outcome[1] != row->next || a->tries[0] != row->tries || strstr(said, row->says) == NULL || violations > 0)
        fail_msg("%s: %s after %d tries (\"%s\"), then %s (\"%s\"); %d violations", row->fault, gm_mllm_outcome_names[a->outcome[0]], a->tries[0], said,
                 gm_mllm_outcome_names[a->outcome[1]], a->why[1], violations);
    /* What the system calls a lost connection differs from run to run. */
    const bool is_lost = strcmp(row->acts, "gone") == 0 || strcmp(row->acts, "half") == 0;
    assert_ok(gm_buffer_printf(page, &err, "| %s | `%s` | %s%s%s | %s | %d | %s | %s |\n", row->fault, row->acts, row->more[0] != '\0' ? "`" : "",
                               row->more[0] != '\0' ? row->more + 1 : "", row->more[0] != '\0' ? "`" : "", gm_mllm_outcome_names[a->outcome[0]], a->tries[0],
                               gm_mllm_outcome_names[a->outcome[1]], is_lost ? "the system's words for it" : a->why[0]));
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
}

static void outcomes_are_those_of_the_page(void **state)
{
    gm_buffer page = { 0 };
    gm_err err = { 0 };
    char *text = NULL;
    size_t size = 0;
    (void)state;
    assert_ok(gm_buffer_add(&page, head, strlen(head), &err));
    for (size_t i = 0; i < GM_LEN(rows); i++) run_row(&rows[i], (int)i, &page);
    const char *path = GM_SOURCE_DIR "/docs/endpoint-faults.md";
    if (getenv("GM_WRITE_DOCS") != NULL) gmt_write_file(path, page.data, page.size);
    assert_ok(gm_file_read(path, &text, &size, &err));
    if (strcmp(text, page.data) != 0) fail_msg("docs/endpoint-faults.md is not what this run gives: GM_WRITE_DOCS=1 mllm_faults_test writes it anew");
    gm_free(text);
    gm_buffer_free(&page);
}

int main(void)
{
    ask_skip_without_parts(NULL);
    const struct CMUnitTest tests[] = { cmocka_unit_test(outcomes_are_those_of_the_page) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
