/* Statuses, their messages and the page that repeats them. */
#include "base_test.h"

#include "base/file.h"

static void message_is_written_and_status_returned(void **state)
{
    (void)state;
    gm_err err;
    assert_int_equal(gm_fail(&err, GM_ERR_SHAPE, "%d rows, expected %d", 3, 4), GM_ERR_SHAPE);
    assert_string_equal(err.text, "3 rows, expected 4");
    assert_int_equal(err.status, GM_ERR_SHAPE);
    assert_int_equal(gm_fail(NULL, GM_ERR_IO, "unheard"), GM_ERR_IO);
}

static void long_message_is_cut_and_ended(void **state)
{
    (void)state;
    gm_err err;
    char longer[4000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    gm_fail(&err, GM_ERR_DATA, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void place_is_put_before_the_message(void **state)
{
    (void)state;
    gm_err err;
    gm_fail(&err, GM_ERR_DATA, "no words");
    assert_int_equal(gm_fail_at(&err, "%s:%d", "dev.jsonl", 7), GM_ERR_DATA);
    assert_string_equal(err.text, "dev.jsonl:7: no words");
}

static void place_before_a_full_message_keeps_the_place(void **state)
{
    (void)state;
    char longer[1500];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    for (int n = 1015; n <= 1030; n++) { /* around the end of err.text */
        gm_err err;
        gm_fail(&err, GM_ERR_IO, "%s", longer);
        assert_int_equal(gm_fail_at(&err, "%.*s", n, longer), GM_ERR_IO);
        assert_int_equal(strlen(err.text), sizeof err.text - 1);
        assert_memory_equal(err.text, longer, n < 1023 ? (size_t)n : 1023);
    }
}

static void exit_codes_are_the_documented_ones(void **state)
{
    (void)state;
    assert_int_equal(gm_status_exit(GM_OK), 0);
    assert_int_equal(gm_status_exit(GM_ERR_USAGE), 2);
    assert_int_equal(gm_status_exit(GM_ERR_CONFIG), 1);
    assert_int_equal(gm_status_exit(GM_STOP_INT), 130);
    assert_int_equal(gm_status_exit(GM_STOP_TERM), 143);
    assert_int_equal(gm_status_exit(GM_STATUS_COUNT), 1);
    assert_string_equal(gm_status_name(GM_ERR_NOMEM), "ERR_NOMEM");
}

static void docs_page_repeats_the_list(void **state)
{
    (void)state;
    gm_err err;
    char *page;
    size_t size, rows = 0;
    assert_ok(gm_file_read(GM_SOURCE_DIR "/docs/errors.md", &page, &size, &err));
    for (const char *row = page; (row = strstr(row, "\n| `")) != NULL; row++) rows++;
    for (int s = 0; s < GM_STATUS_COUNT; s++) {
        char row[256];
        snprintf(row, sizeof row, "\n| `%s` | %d | %s |\n", gm_status_name((gm_status)s), gm_status_exit((gm_status)s),
                 gm_status_text((gm_status)s));
        if (strstr(page, row) == NULL) fail_msg("docs/errors.md lacks the row%s", row);
    }
    gm_free(page);
    assert_int_equal(rows, GM_STATUS_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_written_and_status_returned),
        cmocka_unit_test(long_message_is_cut_and_ended),
        cmocka_unit_test(place_is_put_before_the_message),
        cmocka_unit_test(place_before_a_full_message_keeps_the_place),
        cmocka_unit_test(exit_codes_are_the_documented_ones),
        cmocka_unit_test(docs_page_repeats_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
