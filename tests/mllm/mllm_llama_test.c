/* The client against a real server with real weights: llama.cpp with SmolLM2-135M (tools/get-weights xllamacpp, smollm2), and a
 * projector of random weights that lets it take pictures. What it says is poor; how it says it, and what it refuses, is real.
 * Skipped where it is not fetched, unless GM_REQUIRE has llama. */
#define _POSIX_C_SOURCE 200809L
#include "tests/mllm/ask.h"

#include "image/image.h"
#include "tests/mllm/helper.h"

static char projector[512];

/* One question of the kinds below, with its answer. */
typedef struct question {
    const char *text, *schema;
    bool has_picture;
    gm_mllm_outcome outcome;
    char said[2048];
    int32_t tries;
    bool is_cut;
    int64_t tokens_in, tokens_out;
    int seen;
} question;

typedef struct questions { question *list; int count, next; gm_mllm_part part[2]; gm_buffer picture; gmt_helper *kill; } questions;

static gm_status next_question(void *user, gm_mllm_request *r, bool *have, gm_err *err)
{
    questions *q = user;
    (void)err;
    *have = q->next < q->count;
    if (!*have) return GM_OK;
    question *one = &q->list[q->next++];
    q->part[0] = (gm_mllm_part) { .text = one->text };
    q->part[1] = (gm_mllm_part) { .image = q->picture.data, .image_bytes = q->picture.size };
    *r = (gm_mllm_request) { .id = "s", .parts = q->part, .part_count = one->has_picture ? 2 : 1, .max_tokens = 24, .temperature = 0, .seed = 7, .schema = one->schema, .tag = one };
    return GM_OK;
}

static gm_status got_answer(void *user, const gm_mllm_answer *a, gm_err *err)
{
    questions *q = user;
    question *one = a->tag;
    (void)err;
    one->outcome = a->outcome;
    one->tries = a->tries;
    one->is_cut = a->is_cut;
    one->tokens_in = a->tokens_in;
    one->tokens_out = a->tokens_out;
    one->seen++;
    snprintf(one->said, sizeof one->said, "%s%s", a->text, a->why);
    if (q->kill != NULL) gmt_helper_kill(q->kill);
    q->kill = NULL;
    return GM_OK;
}

static gm_mllm_report ask_them(question *list, int count, int port, const char *more, const char *cache, gmt_helper *victim)
{
    char settings[256];
    gm_image picture;
    gm_mllm_client *c = NULL;
    gm_mllm_report r;
    gm_err err = { 0 };
    questions q = { .list = list, .count = count, .kill = victim };
    assert_ok(gm_image_create(320, 200, &picture, &err));
    assert_ok(gm_image_encode_png(&picture, &q.picture, &err));
    gm_image_free(&picture);
    snprintf(settings, sizeof settings, ",\"concurrency\":2,\"read_s\":250%s", more);
    gm_mllm_endpoint e = ask_endpoint(port, settings);
    assert_ok(gm_mllm_open(&e, &(gm_mllm_options) { .cache = cache }, &c, &err));
    assert_ok(gm_mllm_ask(c, next_question, got_answer, &q, &err));
    gm_mllm_report_of(c, &r);
    gm_mllm_close(c);
    gm_mllm_endpoint_free(&e);
    gm_buffer_free(&q.picture);
    for (int i = 0; i < count; i++)
        if (list[i].seen != 1) fail_msg("question %d got %d answers", i, list[i].seen);
    return r;
}

static void came_out_as(const question *q, gm_mllm_outcome outcome, int32_t tries, const char *says)
{
    if (q->outcome != outcome || q->tries != tries || strstr(q->said, says) == NULL)
        fail_msg("\"%.40s\": %s after %d tries: %s", q->text, gm_mllm_outcome_names[q->outcome], q->tries, q->said);
}

static gmt_helper start_llama(const char *with, const char *key)
{
    return gmt_helper_start((const char *const[]) { "python3", "tests/mllm/llama_server.py", with, key, NULL });
}

static const char cities[] = "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\",\"enum\":[\"Oslo\",\"Rome\"]}},\"required\":[\"city\"],\"additionalProperties\":false}";

/* Texts, pictures as JPEG and as PNG, JSON by a schema; and what was answered is not asked again. */
static void texts_and_pictures_are_answered(void **state)
{
    char cache[512];
    (void)state;
    gmt_helper server = start_llama(projector, NULL);
    question q[] = { { .text = "Name a city." }, { .text = "Name a river in Europe.", .has_picture = true }, { .text = "Choose a city. Answer in JSON.", .schema = cities },
                     { .text = "Choose a city, as JSON.", .schema = cities, .has_picture = true }, { .text = "Who are you? \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80" } };
    snprintf(cache, sizeof cache, "%s/cache", gmt_temp_dir());
    gm_mllm_report r = ask_them(q, GM_LEN(q), server.port, ",\"response_format\":\"json_schema\"", cache, NULL);
    for (size_t i = 0; i < GM_LEN(q); i++) {
        came_out_as(&q[i], GM_MLLM_ANSWERED, 1, "");
        assert_true(q[i].tokens_in > 10 + (q[i].has_picture ? 49 : 0) && q[i].tokens_out > 0 && q[i].tokens_out <= 24);
        assert_true(!q[i].is_cut || q[i].tokens_out == 24);
    }
    for (int i = 2; i < 4; i++) {
        cJSON *j = cJSON_Parse(q[i].said);
        const char *city = cJSON_GetStringValue(cJSON_GetObjectItem(j, "city"));
        if (city == NULL || (strcmp(city, "Oslo") != 0 && strcmp(city, "Rome") != 0)) fail_msg("the schema is not kept: %s", q[i].said);
        cJSON_Delete(j);
    }
    assert_int_equal(r.calls, GM_LEN(q));
    question png = { .text = "What is it?", .has_picture = true };
    ask_them(&png, 1, server.port, ",\"image\":{\"format\":\"png\"}", NULL, NULL);
    came_out_as(&png, GM_MLLM_ANSWERED, 1, "");
    gmt_helper_stop(&server);
    for (size_t i = 0; i < GM_LEN(q); i++) q[i].seen = 0;
    r = ask_them(q, GM_LEN(q), server.port, ",\"response_format\":\"json_schema\"", cache, NULL);
    assert_int_equal(r.outcome[GM_MLLM_CACHED], GM_LEN(q));
}

/* What it refuses is refused here, at once: a picture for a model of texts (its answer is a 500), too long a text, a wrong key. */
static void refusals_are_known_as_such(void **state)
{
    static char text[4 * 20000 + 1];
    (void)state;
    for (int i = 0; i < 20000; i++) memcpy(text + 4 * i, "cat ", 4);
    gmt_helper server = start_llama("", "right");
    question q[] = { { .text = "What is it?", .has_picture = true }, { .text = text }, { .text = "Name a city." } };
    setenv("GM_LLAMA_TEST_KEY", "right", 1);
    ask_them(q, GM_LEN(q), server.port, ",\"key_env\":\"GM_LLAMA_TEST_KEY\"", NULL, NULL);
    came_out_as(&q[0], GM_MLLM_REFUSED, 1, "image");
    came_out_as(&q[1], GM_MLLM_REFUSED, 1, "context size");
    came_out_as(&q[2], GM_MLLM_ANSWERED, 1, "");
    setenv("GM_LLAMA_TEST_KEY", "wrong", 1);
    question again[] = { { .text = "Name a city." }, { .text = "Name a sea." }, { .text = "Name a hill." } };
    ask_them(again, GM_LEN(again), server.port, ",\"key_env\":\"GM_LLAMA_TEST_KEY\"", NULL, NULL);
    came_out_as(&again[0], GM_MLLM_REFUSED, 1, "HTTP 401");
    came_out_as(&again[2], GM_MLLM_UNSENT, 0, "HTTP 401");
    gmt_helper_stop(&server);
}

/* The server is killed at its first answer: what was answered stays, the rest ends with a reason, nothing twice. */
static void a_killed_server_loses_no_question(void **state)
{
    question q[12];
    char texts[12][64];
    int answered = 0;
    (void)state;
    gmt_helper server = start_llama("", NULL);
    for (int i = 0; i < 12; i++) {
        snprintf(texts[i], sizeof texts[i], "Count from %d to %d.", i, i + 5);
        q[i] = (question) { .text = texts[i] };
    }
    const gm_mllm_report r = ask_them(q, 12, server.port, ",\"tries\":2,\"give_up_after\":3", NULL, &server);
    for (int i = 0; i < 12; i++) {
        answered += q[i].outcome == GM_MLLM_ANSWERED;
        if (q[i].outcome != GM_MLLM_ANSWERED && q[i].said[0] == '\0') fail_msg("question %d has no answer and no reason", i);
    }
    assert_in_range(answered, 1, 3);
    assert_int_equal(r.outcome[GM_MLLM_ANSWERED] + r.outcome[GM_MLLM_FAILED] + r.outcome[GM_MLLM_UNSENT], 12);
    assert_true(r.outcome[GM_MLLM_UNSENT] > 0);
}

static int set_up(void **state)
{
    char command[640];
    (void)state;
    snprintf(projector, sizeof projector, "%s/projector.gguf", gmt_temp_dir());
    snprintf(command, sizeof command, "python3 tests/mllm/random_projector.py %s", projector);
    return system(command);
}

int main(void)
{
    const char *required = getenv("GM_REQUIRE");
    ask_skip_without_parts(NULL);
    if (!gm_path_exists("weights/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") || !gm_path_exists("weights/xllamacpp/xllamacpp.abi3.so") ||
        system("python3 -c 'import sys; sys.path.insert(0, \"weights\"); import xllamacpp'") != 0) {
        fprintf(stderr, "there is no llama.cpp here: run tools/get-weights xllamacpp and tools/get-weights smollm2 (Python 3.10 or newer)\n");
        return required != NULL && strstr(required, "llama") != NULL ? 1 : 77;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(texts_and_pictures_are_answered), cmocka_unit_test(refusals_are_known_as_such),
                                        cmocka_unit_test(a_killed_server_loses_no_question) };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
