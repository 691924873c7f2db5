/* Progress on a terminal (a pseudo terminal here) and elsewhere. */
#include "base_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/progress.h"

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) n++;
    return n;
}

static void plain_line_every_n_items(void **state)
{
    (void)state;
    gm_progress p;
    caught c;
    catch_start(&c, STDERR_FILENO);
    gm_progress_start(&p, "train", 25, 10);
    for (int i = 0; i <= 25; i++) gm_progress_update(&p, i, i == 10 ? "loss 0.5" : NULL);
    gm_progress_update(&p, 25, NULL); /* said once is enough */
    gm_progress_end(&p);
    const char *text = catch_end(&c);
    assert_false(p.is_terminal);
    assert_int_equal(count_of(text, "\n"), 3);
    assert_int_equal(count_of(text, " info train: "), 3);
    assert_non_null(strstr(text, "train: 10/25 40% "));
    assert_non_null(strstr(text, " loss 0.5\n"));
    assert_non_null(strstr(text, "train: 20/25 80% "));
    assert_non_null(strstr(text, "train: 25/25 100%"));
    assert_null(strstr(text, "\r"));
}

static void unknown_total_has_no_percent(void **state)
{
    (void)state;
    gm_progress p;
    caught c;
    catch_start(&c, STDERR_FILENO);
    gm_progress_start(&p, "predict", 0, 2);
    for (int i = 0; i <= 3; i++) gm_progress_update(&p, i, NULL);
    gm_progress_end(&p);
    const char *text = catch_end(&c);
    assert_int_equal(count_of(text, "\n"), 1);
    assert_non_null(strstr(text, "predict: 2"));
    assert_null(strstr(text, "%"));
    assert_null(strstr(text, "left"));
}

static void resumed_run_does_not_count_earlier_work(void **state)
{
    (void)state;
    gm_progress p;
    caught c;
    catch_start(&c, STDERR_FILENO);
    gm_progress_start(&p, "train", 1000000, 1);
    gm_progress_update(&p, 900000, NULL); /* the first: no rate yet */
    usleep(20000);
    gm_progress_update(&p, 900001, NULL); /* one item in 20 ms or more: 50 a second at most */
    const char *text = catch_end(&c);
    const char *rate = strstr(text, "900001/1000000 90% ");
    assert_non_null(rate);
    assert_true(strtod(rate + strlen("900001/1000000 90% "), NULL) <= 50.0);
    assert_non_null(strstr(text, " left"));
    assert_int_equal(count_of(text, "/s"), 1);
}

static void quiet_level_says_nothing(void **state)
{
    (void)state;
    gm_progress p;
    caught c;
    gm_log_set_level(GM_LOG_WARN);
    catch_start(&c, STDERR_FILENO);
    gm_progress_start(&p, "train", 2, 1);
    gm_progress_update(&p, 2, NULL);
    gm_progress_end(&p);
    const char *text = catch_end(&c);
    gm_log_set_level(GM_LOG_INFO);
    assert_string_equal(text, "");
}

/* A pseudo terminal of 60 columns becomes stderr; what arrives at its other end is what a user would see. */
static void terminal_line_is_rewritten_and_fits(void **state)
{
    (void)state;
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) skip();
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0) skip();
    const struct winsize window = { .ws_col = 60, .ws_row = 20 };
    ioctl(slave, TIOCSWINSZ, &window);
    setenv("TERM", "xterm", 1);
    const int saved = dup(STDERR_FILENO);
    gm_progress p;
    char text[4096] = { 0 };
    dup2(slave, STDERR_FILENO);
    gm_progress_start(&p, "train", 100, 1);
    for (int i = 0; i <= 100; i++)
        gm_progress_update(&p, i, "loss 0.125 and a detail that is longer than the line has room for");
    gm_progress_end(&p);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(slave);
    /* What was written reaches the master in pieces; after the last one a closed terminal reads as an error. */
    size_t n = 0;
    for (ssize_t k; (k = read(master, text + n, sizeof text - 1 - n)) > 0;) n += (size_t)k;
    close(master);
    assert_true(n > 0);
    assert_true(p.is_terminal);
    assert_int_equal(count_of(text, "\n"), 1);                                    /* the end */
    assert_true(count_of(text, "\033[K") >= 2 && count_of(text, "\033[K") <= 12); /* ten a second, not each item */
    const char *last = strrchr(text, '[');
    while (last > text && *last != '\r') last--;
    assert_non_null(strstr(text, "\rtrain [........................] 0/100 0%"));
    assert_int_equal(strncmp(last, "\rtrain [########################] 100/100 100%", 46), 0);
    assert_int_equal(strcspn(last + 1, "\033"), 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_line_every_n_items),
        cmocka_unit_test(unknown_total_has_no_percent),
        cmocka_unit_test(resumed_run_does_not_count_earlier_work),
        cmocka_unit_test(quiet_level_says_nothing),
        cmocka_unit_test(terminal_line_is_rewritten_and_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
