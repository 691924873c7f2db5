/* Strict JSON reading, raw members, the growing text and UTF-8. */
#include "base_test.h"

#include "base/json.h"

static gm_status parse(const char *text, gm_err *err)
{
    cJSON *value;
    const gm_status status = gm_json_parse(text, strlen(text), &value, err);
    assert_true((value != NULL) == (status == GM_OK));
    cJSON_Delete(value);
    return status;
}

static void good_texts_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        " null\n",
        "true",
        "false",
        "0",
        "-0",
        "-1.5e-3",
        "1E+2",
        "\"\"",
        "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
        "{\"a\": [1, {\"b\": \"\xC3\xA9\"}], \"a\": 2}",
        "[[[[]]]]",
        "\t[1 ,\r\n2 ]",
        "1e-400",
    };
    gm_err err;
    for (size_t i = 0; i < GM_LEN(texts); i++) assert_ok(parse(texts[i], &err));
}

static void values_are_the_ones_written(void **state)
{
    (void)state;
    static const char text[] = "{\"n\": -1.5e3, \"s\": \"\\ud83d\\ude00\\t\"}";
    gm_err err;
    cJSON *value;
    assert_ok(gm_json_parse(text, sizeof text - 1, &value, &err));
    assert_true(cJSON_GetObjectItem(value, "n")->valuedouble == -1500.0);
    assert_string_equal(cJSON_GetObjectItem(value, "s")->valuestring, "\xF0\x9F\x98\x80\t");
    cJSON_Delete(value);
}

static void bad_texts_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "1:1: expected a value, found the end of the text" },
        { "{\"a\": 1} x", "1:10: expected the end of the text, found 'x'" },
        { "[1] [2]", "1:5: expected the end" },
        { "[1,]", "1:4: expected a value, found ']'" },
        { "{\"a\":1,}", "1:8: expected a string in double quotes, found '}'" },
        { "{\n  \"a\" 1}", "2:7: expected ':' behind a key, found '1'" },
        { "[1 2]", "1:4: expected ',' or ']', found '2'" },
        { "{\"a\": 1 \"b\": 2}", "1:9: expected ',' or '}'" },
        { "{'a': 1}", "1:2: expected a string in double quotes, found '''" },
        { "{a: 1}", "1:2: expected a string" },
        { "01", "1:2: expected the end of the text, found '1'" },
        { "+1", "1:1: expected a value, found '+'" },
        { ".5", "1:1: expected a value" },
        { "-", "1:2: expected a digit, found the end" },
        { "1.", "1:3: expected a digit behind the point" },
        { "1e", "1:3: expected a digit of the exponent" },
        { "[1, 1e999]", "1:5: 1e999 is too large" },
        { "nul", "1:1: expected a value, found 'n'" },
        { "NaN", "1:1: expected a value, found 'N'" },
        { "\"abc", "1:5: expected a closing quote, found the end of the text" },
        { "\"a\nb\"", "1:3: the control character 0x0A" },
        { "\"\\x\"", "1:3: expected one of" },
        { "\"\\", "1:3: expected one of" },
        { "\"\\u12", "1:6: expected four hexadecimal digits" },
        { "\"\\u12g4\"", "1:6: expected four hexadecimal digits behind \\u, found 'g'" },
        { "\"a\\u0000b\"", "\\u0000 cannot stand in a string" },
        { "\"\\udc00\"", "second half of a surrogate pair without the first" },
        { "\"\\ud800x\"", "1:8: expected the second half" },
        { "\"\\ud800\\u0041\"", "\\u0041 is not the second half" },
        { "\"\xC3\xA9\" x", "1:5: expected the end" }, /* columns count characters */
        { "{\"a\": \"\xFF\"}", "1:8: the byte 0xFF is not UTF-8" },
        { "\"\xC3\"", "1:2: the byte 0xC3 is not UTF-8" },
        { "\xEF\xBB\xBF{}", "byte order mark" },
        { "\f1", "1:1: expected a value, found the byte 0x0C" },
    };
    gm_err err;
    for (size_t i = 0; i < GM_LEN(cases); i++)
        assert_fails(parse(cases[i].text, &err), GM_ERR_FORMAT, cases[i].message);
}

static void nul_inside_the_text_is_refused(void **state)
{
    (void)state;
    gm_err err;
    cJSON *value;
    assert_fails(gm_json_parse("[1]\0", 4, &value, &err), GM_ERR_FORMAT, "1:4: the byte 0x00");
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[131] = { 0 };
    gm_err err;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_ok(parse(text, &err));
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_fails(parse(text, &err), GM_ERR_FORMAT, "1:65: more than 64 levels");
    static char deep[1000001];
    memset(deep, '[', sizeof deep - 1);
    assert_fails(parse(deep, &err), GM_ERR_FORMAT, "levels");
}

static void number_longer_than_cjson_reads_is_refused(void **state)
{
    (void)state;
    char text[65] = { 0 };
    gm_err err;
    memset(text, '1', 63);
    assert_ok(parse(text, &err));
    memset(text, '1', 64);
    assert_fails(parse(text, &err), GM_ERR_FORMAT, "1:1: a number of 64 characters");
}

/* The text has no NUL behind it: reading past its end is what the address sanitizer watches for. */
static void text_without_nul_is_not_overrun(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [tru";
    gm_err err;
    for (size_t n = 0; n < sizeof text - 1; n++) {
        cJSON *value;
        char *exact = gm_malloc(n);
        memcpy(exact, text, n);
        const gm_status status = gm_json_parse(exact, n, &value, &err);
        gm_free(exact);
        assert_int_equal(status, GM_ERR_FORMAT);
    }
}

static gm_status parse_sample(void *state, gm_err *err)
{
    (void)state;
    return parse("{\"words\": [\"a\", \"b\"], \"seed\": 42, \"nested\": {\"deep\": [1, 2, 3]}}", err);
}

static void failed_allocation_is_reported(void **state)
{
    (void)state;
    fail_each_allocation(parse_sample, NULL);
}

static void members_are_the_text_as_it_stands(void **state)
{
    (void)state;
    static const char text[] =
        " { \"id\" : 908236471892316160 ,\"a\\\"}\":{\"x\":[1,{\"}\":2}]} , \"s\": \"q\\\\\" ,\"e\":[ ], \"t\":true}";
    static const char *const want[][2] = {
        { "id", "908236471892316160" },
        { "a\\\"}", "{\"x\":[1,{\"}\":2}]}" },
        { "s", "\"q\\\\\"" },
        { "e", "[ ]" },
        { "t", "true" },
    };
    gm_err err;
    gm_json_member m;
    const char *at = text;
    assert_ok(parse(text, &err));
    for (size_t i = 0; i < GM_LEN(want); i++) {
        assert_true(gm_json_next_member(&at, &m));
        assert_int_equal(m.key_len, strlen(want[i][0]));
        assert_memory_equal(m.key, want[i][0], m.key_len);
        assert_int_equal(m.value_len, strlen(want[i][1]));
        assert_memory_equal(m.value, want[i][1], m.value_len);
    }
    assert_false(gm_json_next_member(&at, &m));
    assert_false(gm_json_next_member(&at, &m));
}

static void empty_object_and_other_values_have_no_members(void **state)
{
    (void)state;
    static const char *const texts[] = { "{ }", "[1]", "\"a\"", "3" };
    for (size_t i = 0; i < GM_LEN(texts); i++) {
        gm_json_member m;
        const char *at = texts[i];
        assert_false(gm_json_next_member(&at, &m));
    }
}

static void string_written_is_read_back(void **state)
{
    (void)state;
    char all[256];
    for (int c = 1; c < 128; c++) all[c - 1] = (char)c;
    memcpy(all + 127, "\xC3\xA9\xF0\x9F\x98\x80", 7);
    gm_err err;
    gm_buffer b = { 0 };
    cJSON *value;
    assert_ok(gm_buffer_json_string(&b, all, &err));
    assert_ok(gm_json_parse(b.data, b.size, &value, &err));
    assert_string_equal(value->valuestring, all);
    cJSON_Delete(value);
    gm_buffer_free(&b);
    assert_null(b.data);
}

static void escapes_are_the_short_ones(void **state)
{
    (void)state;
    gm_err err;
    gm_buffer b = { 0 };
    assert_ok(gm_buffer_json_string(&b, "a\"\\\n\x01", &err));
    assert_string_equal(b.data, "\"a\\\"\\\\\\n\\u0001\"");
    gm_buffer_free(&b);
}

static void buffer_grows_and_stays_ended(void **state)
{
    (void)state;
    gm_err err;
    gm_buffer b = { 0 };
    assert_ok(gm_buffer_add(&b, "", 0, &err));
    assert_string_equal(b.data, "");
    for (int i = 0; i < 1000; i++) assert_ok(gm_buffer_printf(&b, &err, "%03d,", i));
    assert_int_equal(b.size, 4000);
    assert_int_equal(strlen(b.data), 4000);
    assert_memory_equal(b.data + 3996, "999,", 5);
    gm_alloc_fail_at(0);
    char big[8192] = { 0 };
    assert_fails(gm_buffer_add(&b, big, sizeof big, &err), GM_ERR_NOMEM, "out of memory");
    assert_int_equal(strlen(b.data), 4000);
    gm_buffer_free(&b);
}

static void utf8_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int bad;
    } cases[] = {
        { "", -1 },
        { "abc", -1 },
        { "\xC2\x80", -1 },
        { "\xDF\xBF", -1 },
        { "\xE0\xA0\x80", -1 },
        { "\xED\x9F\xBF", -1 },
        { "\xEE\x80\x80", -1 },
        { "\xEF\xBF\xBF", -1 },
        { "\xF0\x90\x80\x80", -1 },
        { "\xF4\x8F\xBF\xBF", -1 },
        { "a\x80", 1 },
        { "\xC0\x80", 0 },
        { "\xC1\xBF", 0 },
        { "\xE0\x9F\xBF", 0 },
        { "\xED\xA0\x80", 0 },
        { "\xF0\x8F\xBF\xBF", 0 },
        { "\xF4\x90\x80\x80", 0 },
        { "\xF5\x80\x80\x80", 0 },
        { "ab\xE2\x82", 2 },
        { "\xE2\x82z", 0 },
        { "\xF0\x9F\x98", 0 },
        { "\xFE", 0 },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        size_t bad = 99;
        assert_int_equal(gm_utf8_valid(cases[i].text, strlen(cases[i].text), &bad), cases[i].bad < 0);
        if (cases[i].bad >= 0) assert_int_equal(bad, cases[i].bad);
    }
    size_t bad;
    assert_false(gm_utf8_valid("a\0b", 3, &bad));
    assert_int_equal(bad, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts_are_read),
        cmocka_unit_test(values_are_the_ones_written),
        cmocka_unit_test(bad_texts_are_refused_with_their_place),
        cmocka_unit_test(nul_inside_the_text_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(number_longer_than_cjson_reads_is_refused),
        cmocka_unit_test(text_without_nul_is_not_overrun),
        cmocka_unit_test(failed_allocation_is_reported),
        cmocka_unit_test(members_are_the_text_as_it_stands),
        cmocka_unit_test(empty_object_and_other_values_have_no_members),
        cmocka_unit_test(string_written_is_read_back),
        cmocka_unit_test(escapes_are_the_short_ones),
        cmocka_unit_test(buffer_grows_and_stays_ended),
        cmocka_unit_test(utf8_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
