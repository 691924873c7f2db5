/* Log lines and their level. */
#include "base_test.h"

#include <regex.h>

#include "base/log.h"

static void level_is_parsed_whole(void **state)
{
    (void)state;
    gm_err err;
    gm_log_level level = GM_LOG_ERROR;
    assert_ok(gm_log_parse_level("debug", &level, &err));
    assert_int_equal(level, GM_LOG_DEBUG);
    assert_ok(gm_log_parse_level("warn", &level, &err));
    assert_int_equal(level, GM_LOG_WARN);
    assert_fails(gm_log_parse_level("warning", &level, &err), GM_ERR_USAGE, "\"warning\"");
    assert_int_equal(level, GM_LOG_WARN);
}

static void line_has_time_level_and_area(void **state)
{
    (void)state;
    caught c;
    regex_t wanted;
    gm_log_set_level(GM_LOG_INFO);
    catch_start(&c, STDERR_FILENO);
    gm_log(GM_LOG_INFO, "train", "step %d", 20);
    const char *line = catch_end(&c);
    assert_int_equal(
        regcomp(&wanted, "^[0-2][0-9]:[0-5][0-9]:[0-6][0-9] info train: step 20\n$", REG_EXTENDED | REG_NOSUB), 0);
    const int found = regexec(&wanted, line, 0, NULL, 0);
    regfree(&wanted);
    if (found != 0) fail_msg("the line is %s", line);
}

static void a_place_stands_in_each_line(void **state)
{
    (void)state;
    caught c;
    catch_start(&c, STDERR_FILENO);
    gm_log_set_place("rank 3");
    gm_log(GM_LOG_WARN, "data", "cut");
    gm_log_set_place("");
    gm_log(GM_LOG_WARN, "data", "whole");
    const char *text = catch_end(&c);
    assert_non_null(strstr(text, " rank 3 warn data: cut\n"));
    assert_non_null(strstr(text, " warn data: whole\n"));
    assert_null(strstr(text, "rank 3 warn data: whole"));
}

static void level_hides_what_is_below(void **state)
{
    (void)state;
    caught c;
    catch_start(&c, STDERR_FILENO);
    gm_log_set_level(GM_LOG_WARN);
    gm_log(GM_LOG_INFO, "a", "hidden");
    gm_log(GM_LOG_WARN, "a", "shown");
    gm_log(GM_LOG_ERROR, "a", "shown too");
    const char *text = catch_end(&c);
    gm_log_set_level(GM_LOG_INFO);
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, " warn a: shown\n"));
    assert_non_null(strstr(text, " error a: shown too\n"));
    assert_true(gm_log_is_on(GM_LOG_INFO));
    assert_false(gm_log_is_on(GM_LOG_DEBUG));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_is_parsed_whole),
        cmocka_unit_test(line_has_time_level_and_area),
        cmocka_unit_test(a_place_stands_in_each_line),
        cmocka_unit_test(level_hides_what_is_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
