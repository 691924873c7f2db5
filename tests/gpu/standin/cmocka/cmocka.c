/* See cmocka.h beside this file. */
#include "cmocka.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum verdict { PASSED, FAILED, SKIPPED } verdict;
static jmp_buf around; /* the running test, set-up or tear-down */

void _skip(const char *file, int line)
{
    fprintf(stderr, "%s:%d: skipped\n", file, line);
    longjmp(around, SKIPPED);
}

void standin_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n%s:%d: error: Failure!\n", file, line);
    longjmp(around, FAILED);
}

void standin_bytes(const void *a, const void *b, size_t size, int want_equal, const char *file, int line)
{
    const unsigned char *x = a, *y = b;
    size_t at = 0;
    while (at < size && x[at] == y[at]) at++;
    if (want_equal && at < size) standin_fail(file, line, "byte %zu of %zu is %#x, expected %#x", at, size, x[at], y[at]);
    if (!want_equal && at == size) standin_fail(file, line, "%zu bytes are the same", size);
}

static verdict run_fixture(CMFixtureFunction fixture, void **state)
{
    const int how = setjmp(around);
    if (how != 0) return (verdict)how;
    return fixture == NULL || fixture(state) == 0 ? PASSED : FAILED;
}

static verdict run_test(CMUnitTestFunction test, void **state)
{
    const int how = setjmp(around);
    if (how != 0) return (verdict)how;
    test(state);
    return PASSED;
}

/* The tear-down runs after a test that failed as well; without a set-up there is nothing to test or to tear down. */
static verdict run_one(const struct CMUnitTest *test)
{
    void *state = test->initial_state;
    verdict v = run_fixture(test->setup_func, &state);
    if (v != PASSED) return v;
    v = run_test(test->test_func, &state);
    return run_fixture(test->teardown_func, &state) == PASSED ? v : FAILED;
}

int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    static const char *const words[] = { [PASSED] = "       OK", [FAILED] = "  FAILED ", [SKIPPED] = "  SKIPPED" };
    int failed = 0;
    if (setup != NULL || teardown != NULL) {
        fprintf(stderr, "%s: the stand-in for cmocka knows no group fixtures\n", group);
        exit(1);
    }
    for (size_t i = 0; i < count; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        const verdict v = run_one(&tests[i]);
        printf("[%s ] %s\n", words[v], tests[i].name);
        fflush(stdout);
        failed += v == FAILED;
    }
    return failed;
}
