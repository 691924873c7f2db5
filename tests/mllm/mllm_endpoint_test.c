/* Endpoint files: each bad one with its message; the table of docs/mllm.md; pictures' sizes and boxes, the case of ReFineG. */
#include "tests/mllm/ask.h"

static void refuses(const char *json, const char *says)
{
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    const gm_status status = gm_mllm_endpoint_parse("e.json", json, strlen(json), &e, &err);
    if (status == GM_OK || strstr(err.text, says) == NULL) fail_msg("%s: expected \"%s\", found \"%s\"", json, says, err.text);
    if (strstr(err.text, "sk-") != NULL) fail_msg("the message repeats a secret: %s", err.text);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    refuses("[]", "e.json: expected an object");
    refuses("{\"modle\": \"x\"}", "did you mean \"model\"?");
    refuses("{\"budget\": {\"clals\": 1}}", "did you mean \"budget.calls\"?");
    refuses("{\"model\": \"x\", \"model\": \"y\"}", "stands twice");
    refuses("{\"tries\": 0}", "a whole number from 1 to 100, found 0");
    refuses("{\"tries\": 2.5}", "found 2.5");
    refuses("{\"coordinates\": \"feet\"}", "one of pixels, resized, thousandths");
    refuses("{\"url\": \"ftp://host\"}", "begin with https:// or http://");
    refuses("{\"url\": \"https://user:sk-1@host/v1\"}", "holds a user or password");
    refuses("{\"url\": \"https://host/v1?a=b&api_key=sk-1\"}", "holds \"api_key=\"");
    refuses("{\"url\": \"https://host /v1\"}", "a blank");
    refuses("{\"key_env\": \"sk-this.is+a/key\"}", "the name of an environment variable");
    refuses("{\"key_header\": \"X: y\"}", "the name of a header");
}

static void key_over_plain_http_is_refused(void **state)
{
    static const struct { const char *url; bool is_fine; } cases[] = {
        { "http://127.0.0.1:1/v1", true }, { "http://localhost/v1", true },     { "http://[::1]:8/v1", true },
        { "https://host/v1", true },       { "http://host/v1", false },         { "http://localhost.evil.org/v1", false },
        { "http://127.evil.org/v1", false },
    };
    (void)state;
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        char json[256];
        gm_mllm_endpoint e;
        gm_err err = { 0 };
        const int n = snprintf(json, sizeof json, "{\"url\": \"%s\", \"key_env\": \"KEY\"}", cases[i].url);
        assert_ok(gm_mllm_endpoint_parse("e.json", json, (size_t)n, &e, &err));
        if ((gm_mllm_endpoint_check_key(&e, &err) == GM_OK) != cases[i].is_fine) fail_msg("%s", cases[i].url);
        gm_mllm_endpoint_free(&e);
    }
}

static void a_file_without_url_has_nowhere_to_send_a_key(void **state)
{
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    const char *json = "{\"key_env\": \"KEY\"}";
    (void)state;
    assert_ok(gm_mllm_endpoint_parse("e.json", json, strlen(json), &e, &err));
    assert_ok(gm_mllm_endpoint_check_key(&e, &err)); /* the fuzzer's: read beyond the empty url */
    assert_false(gm_mllm_endpoint_is_local(&e));
    gm_mllm_endpoint_free(&e);
}

/* Rounded to multiples of 28, both would be 112 wide: one that is enlarged, and one that fits as it is. */
static void multiples_stay_within_the_longest_side(void **state)
{
    gm_err err = { 0 };
    gm_mllm_endpoint e;
    (void)state;
    assert_ok(gm_mllm_endpoint_default(&e, &err));
    e.picture_side = 100;
    e.picture_multiple = 28;
    e.picture_min = 9756;
    gm_mllm_view v = gm_mllm_view_of(&e, 1, 1); /* the fuzzer's */
    assert_true(v.sent_width == 84 && v.sent_height == 84);
    e.picture_min = 0;
    v = gm_mllm_view_of(&e, 100, 60);
    assert_true(v.sent_width == 84 && v.sent_height == 56);
    e.picture_side = 16; /* less than a multiple: one it is */
    v = gm_mllm_view_of(&e, 100, 60);
    assert_true(v.sent_width == 28 && v.sent_height == 28);
    gm_mllm_endpoint_free(&e);
}

static void page_lists_all_keys(void **state)
{
    const char *path = GM_SOURCE_DIR "/docs/mllm.md";
    gm_buffer table = { 0 };
    gm_err err = { 0 };
    char *page = NULL;
    size_t size = 0;
    (void)state;
    assert_ok(gm_mllm_endpoint_markdown(&table, &err));
    assert_ok(gm_file_read(path, &page, &size, &err));
    char *first = strstr(page, "| key | value |"), *last = first != NULL ? strstr(first, "\n\n") : NULL;
    assert_non_null(last);
    if (getenv("GM_WRITE_DOCS") != NULL) {
        gm_buffer whole = { 0 };
        assert_ok(gm_buffer_add(&whole, page, (size_t)(first - page), &err));
        assert_ok(gm_buffer_add(&whole, table.data, table.size, &err));
        assert_ok(gm_buffer_add(&whole, last + 1, strlen(last + 1), &err));
        gmt_write_file(path, whole.data, whole.size);
        gm_buffer_free(&whole);
    } else if ((size_t)(last + 1 - first) != table.size || memcmp(first, table.data, table.size) != 0) {
        fail_msg("docs/mllm.md is not what endpoint_keys.def gives: GM_WRITE_DOCS=1 mllm_endpoint_test writes it anew");
    }
    gm_free(page);
    gm_buffer_free(&table);
}

/* methods/refineg.md, item 6: 1600 x 900 -> 1000 x 562. */
static void boxes_go_there_and_back(void **state)
{
    gm_err err = { 0 };
    gm_mllm_endpoint e;
    int32_t shown[4];
    (void)state;
    assert_ok(gm_mllm_endpoint_default(&e, &err));
    gm_mllm_view v = gm_mllm_view_of(&e, 1600, 900);
    assert_int_equal(v.sent_width, 1000);
    assert_int_equal(v.sent_height, 562);
    gm_mllm_box_to_prompt(&v, (gm_box) { 100, 36, 1500, 801 }, shown);
    assert_memory_equal(shown, ((int32_t[]) { 62, 22, 938, 501 }), sizeof shown);
    gm_box back = gm_mllm_box_from_answer(&v, (double[]) { 62, 22, 938, 501 });
    assert_true(back.x1 == 99 && back.y1 == 35 && back.x2 == 1501 && back.y2 == 802);
    e.coordinates = GM_MLLM_COORDINATES_THOUSANDTHS;
    e.picture_multiple = 28;
    v = gm_mllm_view_of(&e, 1600, 900);
    assert_int_equal(v.sent_width % 28, 0);
    assert_int_equal(v.sent_height % 28, 0);
    assert_true(v.sent_width <= 1000);
    back = gm_mllm_box_from_answer(&v, (double[]) { 0, 500, 1000, 1000 });
    assert_true(back.x1 == 0 && back.y1 == 450 && back.x2 == 1600 && back.y2 == 900);
    gm_mllm_endpoint_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bad_files_are_refused), cmocka_unit_test(key_over_plain_http_is_refused),
                                        cmocka_unit_test(a_file_without_url_has_nowhere_to_send_a_key), cmocka_unit_test(page_lists_all_keys), cmocka_unit_test(boxes_go_there_and_back),
                                        cmocka_unit_test(multiples_stay_within_the_longest_side) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
