/* The configuration: defaults, files, --set, every kind of wrong value, and its pages. */
#include "base_test.h"

#include <stdlib.h>

#include "base/config.h"
#include "base/file.h"

typedef struct room {
    gm_config *c;
    char path[512];
} room;

static int open_room(void **state)
{
    static room r;
    gm_err err;
    assert_ok(gm_config_create(&r.c, &err));
    snprintf(r.path, sizeof r.path, "%s/c.json", gmt_temp_dir());
    *state = &r;
    return 0;
}

static int close_room(void **state)
{
    room *r = *state;
    gm_config_destroy(r->c);
    gm_config_destroy(NULL);
    return 0;
}

static gm_status load(const room *r, const char *text, gm_err *err)
{
    gmt_write_file(r->path, text, strlen(text));
    return gm_config_load(r->c, r->path, err);
}

static void defaults_are_the_tables(void **state)
{
    const room *r = *state;
    assert_int_equal(gm_config_int(r->c, GM_KEY_BATCH), 32);
    assert_true(gm_config_num(r->c, GM_KEY_LR) == 1e-4);
    assert_int_equal(gm_config_u64(r->c, GM_KEY_SEED), 42);
    assert_false(gm_config_bool(r->c, GM_KEY_NESTED));
    assert_string_equal(gm_config_str(r->c, GM_KEY_HEAD), "span");
    assert_string_equal(gm_config_str(r->c, GM_KEY_DATA_TRAIN), "");
}

static void nested_and_dotted_keys_are_read(void **state)
{
    const room *r = *state;
    gm_err err;
    assert_ok(load(r,
                   "{\"train\": {\"lr\": 5e-5, \"batch\": 8}, \"train.epochs\": 3, \"head\": \"crf\", \"span\": "
                   "{\"nested\": true},"
                   " \"data\": {\"train\": \"a \\u00e9.jsonl\"}}",
                   &err));
    assert_true(gm_config_num(r->c, GM_KEY_LR) == 5e-5);
    assert_int_equal(gm_config_int(r->c, GM_KEY_BATCH), 8);
    assert_int_equal(gm_config_int(r->c, GM_KEY_EPOCHS), 3);
    assert_string_equal(gm_config_str(r->c, GM_KEY_HEAD), "crf");
    assert_true(gm_config_bool(r->c, GM_KEY_NESTED));
    assert_string_equal(gm_config_str(r->c, GM_KEY_DATA_TRAIN), "a \xC3\xA9.jsonl");
}

static void set_wins_over_file_and_the_last_set_over_both(void **state)
{
    const room *r = *state;
    gm_err err;
    assert_ok(load(r, "{\"train.batch\": 8}", &err));
    assert_ok(gm_config_set(r->c, "train.batch=9", &err));
    assert_ok(gm_config_set(r->c, "train.batch=10", &err));
    assert_ok(gm_config_set(r->c, "data.train=a=b", &err));
    assert_ok(gm_config_set(r->c, "data.dev=", &err));
    assert_ok(gm_config_set(r->c, "span.nested=true", &err));
    assert_int_equal(gm_config_int(r->c, GM_KEY_BATCH), 10);
    assert_string_equal(gm_config_str(r->c, GM_KEY_DATA_TRAIN), "a=b");
    assert_true(gm_config_bool(r->c, GM_KEY_NESTED));
}

static void wrong_files_are_refused(void **state)
{
    const room *r = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "{\n \"train\": {\n  \"btach\": 8}}",
          "c.json:3: unknown key \"train.btach\": did you mean \"train.batch\"?" },
        { "{\"epochs\": 8}", "c.json:1: unknown key \"epochs\": did you mean \"train.epochs\"?" },
        { "{\"zzzzzzzzzzzz\": 8}", "unknown key \"zzzzzzzzzzzz\": docs/configuration.md lists all keys" },
        { "{\"models\": {\"train\": 1}}", "unknown key \"models\"" },
        { "{\"train\": 8}", "unknown key \"train\"" },
        { "{\"\": 8}", "unknown key \"\"" },
        { "{\"tra\\u0069n.batch\": 1, \"train.batch\": 2}", "key \"train.batch\" stands twice" },
        { "{\"seed\": 1,\n\"seed\": 1}", "c.json:2: key \"seed\" stands twice" },
        { "{\"train\": {\"lr\": 1}, \"train.lr\": 1}", "c.json:1: key \"train.lr\" stands twice" },
        { "{\"train\": {\"lr\": 1}, \"train\": {\"batch\": 1}}", "key \"train\" stands twice" },
        { "{\"train.batch\": \"8\"}", "train.batch: expected a whole number from 1 to 65536, found a text" },
        { "{\"train.batch\": 8.5}", "train.batch: expected a whole number from 1 to 65536, found 8.5" },
        { "{\"train.batch\": 0}", "train.batch: expected a whole number from 1 to 65536, found 0" },
        { "{\"train.batch\": 65537}", "found 65537" },
        { "{\"train.batch\": 99999999999999999999}", "found 99999999999999999999" },
        { "{\"train.batch\": null}", "found null" },
        { "{\"train.batch\": [1]}", "found an array" },
        { "{\"train.lr\": -0.1}", "train.lr: expected a number from 0 to 1, found -0.1" },
        { "{\"dropout\": 0.91}", "dropout: expected a number from 0 to 0.9, found 0.91" },
        { "{\"train.lr\": true}", "found true or false" },
        { "{\"span.nested\": 1}", "span.nested: expected true or false, found a number" },
        { "{\"span.nested\": \"true\"}", "span.nested: expected true or false, found a text" },
        { "{\"head\": \"tree\"}", "head: expected one of span, crf, found tree" },
        { "{\"head\": {\"a\": 1}}", "head: expected one of span, crf, found an object" },
        { "{\"precision\": \"int8\"}", "precision: expected one of fp32, bf16, found int8" },
        { "{\"data.train\": 1}", "data.train: expected a text, found a number" },
        { "[1]", "c.json: expected an object, found an array" },
    };
    gm_err err;
    for (size_t i = 0; i < GM_LEN(cases); i++)
        assert_fails(load(r, cases[i].text, &err), GM_ERR_CONFIG, cases[i].message);
    assert_fails(load(r, "{\"seed\": 1,}", &err), GM_ERR_FORMAT, "c.json: 1:12: expected a string in double quotes");
    assert_fails(load(r, "", &err), GM_ERR_FORMAT, "c.json: 1:1: expected a value");
    assert_fails(gm_config_load(r->c, "/nowhere/c.json", &err), GM_ERR_IO, "/nowhere/c.json: cannot open");
    assert_int_equal(gm_config_load(r->c, "/nowhere/c.json", NULL), GM_ERR_IO);
    assert_int_equal(load(r, "{\"seeed\": 1}", NULL), GM_ERR_CONFIG);
}

static void wrong_sets_are_refused(void **state)
{
    const room *r = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "train.batch", "--set train.batch: expected key=value" },
        { "train.batch=", "--set train.batch=: train.batch: expected a whole number from 1 to 65536, found nothing" },
        { "train.batch=12x", "found 12x" },
        { "train.batch= 12", "found  12" },
        { "train.lr=nan", "found nan" },
        { "train.lr=0x1p-3", "found 0x1p-3" },
        { "train.lr=2", "found 2" },
        { "span.nested=yes", "expected true or false, found yes" },
        { "head=CRF", "expected one of span, crf, found CRF" },
        { "head=span|crf", "found span|crf" },
        { "head=", "expected one of span, crf, found nothing" },
        { "trian.lr=1", "unknown key \"trian.lr\": did you mean \"train.lr\"?" },
        { "seed=-1", "seed: expected a whole number from 0 to 18446744073709551615, found -1" },
        { "seed=18446744073709551616", "found 18446744073709551616" },
    };
    gm_err err;
    for (size_t i = 0; i < GM_LEN(cases); i++)
        assert_fails(gm_config_set(r->c, cases[i].text, &err), GM_ERR_CONFIG, cases[i].message);
    assert_int_equal(gm_config_set(r->c, "head=CRF", NULL), GM_ERR_CONFIG);
    assert_int_equal(gm_config_int(r->c, GM_KEY_BATCH), 32); /* a refused value changes nothing */
}

static void bounds_themselves_are_in_range(void **state)
{
    const room *r = *state;
    gm_err err;
    assert_ok(load(r, "{\"train.batch\": 1, \"dropout\": 0.9, \"max_len\": 512, \"train.warmup\": 0}", &err));
    assert_ok(gm_config_set(r->c, "train.batch=65536", &err));
    assert_true(gm_config_num(r->c, GM_KEY_DROPOUT) == 0.9);
}

static void seed_keeps_its_64_bits(void **state)
{
    const room *r = *state;
    gm_err err;
    assert_ok(load(r, "{\"seed\": 9007199254740992}", &err));
    assert_true(gm_config_u64(r->c, GM_KEY_SEED) == UINT64_C(9007199254740992));
    assert_ok(load(r, "{\"seed\": \"18446744073709551615\"}", &err));
    assert_true(gm_config_u64(r->c, GM_KEY_SEED) == UINT64_MAX);
    assert_fails(load(r, "{\"seed\": 9007199254740993}", &err), GM_ERR_CONFIG,
                 "write it as a string, \"seed\": \"9007199254740993\"");
    assert_fails(load(r, "{\"seed\": \"12x\"}", &err), GM_ERR_CONFIG, "found 12x");
    assert_fails(load(r, "{\"seed\": \"18446744073709551616\"}", &err), GM_ERR_CONFIG, "found 18446744073709551616");
    assert_fails(load(r, "{\"seed\": 1.5}", &err), GM_ERR_CONFIG, "found 1.5");
    assert_true(gm_config_u64(r->c, GM_KEY_SEED) == UINT64_MAX);
    assert_ok(gm_config_set(r->c, "seed=9007199254740993", &err));
    assert_true(gm_config_u64(r->c, GM_KEY_SEED) == UINT64_C(9007199254740993));
}

/* Every key gets a value other than its default; the JSON of that must give the same configuration and JSON again. */
static void json_reads_back_as_the_same_configuration(void **state)
{
    const room *r = *state;
    gm_err err;
    static const char *const sets[] = {
        "seed=18446744073709551557",
        "train.lr=0.1234567890123456",
        "train.head_lr=1e-300",
        "data.train=a \"b\"\\\t\xC3\xA9",
        "span.nested=true",
        "head=crf",
        "train.batch=7",
        "train.clip=1e9",
    };
    for (size_t i = 0; i < GM_LEN(sets); i++) assert_ok(gm_config_set(r->c, sets[i], &err));
    char *json = gm_config_json(r->c);
    gm_config *again;
    assert_ok(gm_config_create(&again, &err));
    gmt_write_file(r->path, json, strlen(json));
    assert_ok(gm_config_load(again, r->path, &err));
    assert_true(gm_config_u64(again, GM_KEY_SEED) == UINT64_C(18446744073709551557));
    assert_true(gm_config_num(again, GM_KEY_LR) == 0.1234567890123456);
    assert_true(gm_config_num(again, GM_KEY_HEAD_LR) == 1e-300);
    assert_string_equal(gm_config_str(again, GM_KEY_DATA_TRAIN), "a \"b\"\\\t\xC3\xA9");
    char *json2 = gm_config_json(again);
    assert_string_equal(json, json2);
    gm_free(json);
    gm_free(json2);
    gm_config_destroy(again);
}

static void print_shows_each_value_with_its_origin(void **state)
{
    const room *r = *state;
    gm_err err;
    caught c;
    char from_file[600];
    assert_ok(load(r, "{\"train\": {\"batch\": 8}, \"seed\": 1}", &err));
    assert_ok(gm_config_set(r->c, "seed=7", &err));
    catch_start(&c, STDOUT_FILENO);
    gm_config_print(r->c, stdout);
    const char *text = catch_end(&c);
    snprintf(from_file, sizeof from_file, "\ntrain.batch = 8   (file %s)\n", r->path);
    assert_non_null(strstr(text, from_file));
    assert_non_null(strstr(text, "\nseed = 7   (--set)\n"));
    assert_non_null(strstr(text, "\ntrain.lr = 0.0001   (default)\n"));
    assert_non_null(strstr(text, "\nspan.nested = false   (default)\n"));
    int lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) lines++;
    assert_int_equal(lines, GM_KEY_COUNT);
}

static void docs_page_equals_the_table(void **state)
{
    (void)state;
    gm_err err;
    caught c;
    char *page;
    size_t size;
    catch_start(&c, STDOUT_FILENO);
    gm_config_print_docs(stdout);
    catch_end(&c);
    assert_ok(gm_file_read(GM_SOURCE_DIR "/docs/configuration.md", &page, &size, &err));
    const int is_equal = strcmp(page, c.text) == 0;
    const char *rewrite = getenv("GM_WRITE_DOCS");
    if (!is_equal && rewrite != NULL) gmt_write_file(GM_SOURCE_DIR "/docs/configuration.md", c.text, strlen(c.text));
    gm_free(page);
    if (!is_equal && rewrite == NULL)
        fail_msg("docs/configuration.md is not what config_keys.def gives: GM_WRITE_DOCS=1 config_test writes it anew");
    assert_true(strlen(c.text) < sizeof c.text - 1); /* not cut by the catcher */
}

static gm_status load_all(void *state, gm_err *err)
{
    const room *r = state;
    gm_config *c;
    GM_TRY(gm_config_create(&c, err));
    gm_status status = gm_config_load(c, r->path, err);
    if (status == GM_OK) status = gm_config_set(c, "data.dev=x", err);
    gm_config_destroy(c);
    return status;
}

static void each_failed_allocation_is_reported(void **state)
{
    static const char text[] =
        "{\"train\": {\"lr\": 1e-5, \"batch\": 8}, \"data.train\": \"a\", \"seed\": \"7\", \"head\": \"crf\"}";
    const room *r = *state;
    gmt_write_file(r->path, text, sizeof text - 1);
    fail_each_allocation(load_all, *state);
}

static void refusals_survive_each_failed_allocation(void **state)
{
    const room *r = *state;
    gmt_write_file(r->path, "{\"train\": {\"btach\": 8}}", 23);
    for (int64_t k = 0; k < 60; k++) {
        gm_err err;
        gm_alloc_fail_at(k);
        const gm_status status = load_all(*state, &err);
        gm_alloc_fail_at(-1);
        assert_true(status == GM_ERR_NOMEM || status == GM_ERR_CONFIG);
    }
}

static void json_without_memory_is_null(void **state)
{
    const room *r = *state;
    int64_t k = 0;
    for (char *json = NULL; json == NULL; k++) {
        gm_alloc_fail_at(k);
        json = gm_config_json(r->c);
        gm_alloc_fail_at(-1);
        gm_free(json);
    }
    assert_true(k > 1);
}

static void nearest_name(void **state)
{
    (void)state;
    static const char *const names[] = { "config", "seed", "out", "resume", "log-level" };
    static const char *const cases[][2] = {
        { "confg", "config" }, { "conifg", "config" }, { "config", "config" },
        { "sed", "seed" },     { "resum", "resume" },  { "loglevel", "log-level" },
        { "xyzzy", NULL },     { "", NULL },           { "o", NULL },
        { "ou", "out" },
    };
    char endless[5000];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        const char *got = gm_nearest(cases[i][0], names, GM_LEN(names));
        if (cases[i][1] == NULL)
            assert_null(got);
        else
            assert_string_equal(got != NULL ? got : "nothing", cases[i][1]);
    }
    assert_null(gm_nearest(endless, names, GM_LEN(names)));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_room, close_room)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(defaults_are_the_tables),
        CASE(nested_and_dotted_keys_are_read),
        CASE(set_wins_over_file_and_the_last_set_over_both),
        CASE(wrong_files_are_refused),
        CASE(wrong_sets_are_refused),
        CASE(bounds_themselves_are_in_range),
        CASE(seed_keeps_its_64_bits),
        CASE(json_reads_back_as_the_same_configuration),
        CASE(print_shows_each_value_with_its_origin),
        CASE(docs_page_equals_the_table),
        CASE(each_failed_allocation_is_reported),
        CASE(refusals_survive_each_failed_allocation),
        CASE(json_without_memory_is_null),
        CASE(nearest_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
