/* Stands in for cmocka on a GPU machine that lacks it: what tests/support/kernel_test and the operations' tests use, with
 * cmocka's meaning and the same lines of output. Nothing else of cmocka is here. */
#ifndef GM_STANDIN_CMOCKA_H
#define GM_STANDIN_CMOCKA_H

#include <stddef.h>
#include <stdint.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func, teardown_func;
    void *initial_state;
};

/* The number of tests that failed. Neither group fixture may be given. */
int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup, CMFixtureFunction teardown);
#define cmocka_run_group_tests(tests, setup, teardown) \
    _cmocka_run_group_tests(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_unit_test(test) { #test, test, NULL, NULL, NULL }

/* Ends the running test. */
_Noreturn void _skip(const char *file, int line);
_Noreturn void standin_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void standin_bytes(const void *a, const void *b, size_t size, int want_equal, const char *file, int line);

#define skip() _skip(__FILE__, __LINE__)
#define fail_msg(...) standin_fail(__FILE__, __LINE__, __VA_ARGS__)
#define fail() standin_fail(__FILE__, __LINE__, "fail()")

#define assert_true(c)                                              \
    do {                                                            \
        if (!(c)) standin_fail(__FILE__, __LINE__, "%s", #c);       \
    } while (0)
#define assert_false(c) assert_true(!(c))
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_null(p) assert_true((p) == NULL)
#define assert_int_equal(a, b)                                                                                                       \
    do {                                                                                                                             \
        const uintmax_t standin_a = (uintmax_t)(a), standin_b = (uintmax_t)(b);                                                      \
        if (standin_a != standin_b) standin_fail(__FILE__, __LINE__, "%#jx != %#jx", standin_a, standin_b);                          \
    } while (0)
#define assert_string_equal(a, b)                                                                                                    \
    do {                                                                                                                             \
        const char *const standin_a = (a), *const standin_b = (b);                                                                   \
        if (__builtin_strcmp(standin_a, standin_b) != 0) standin_fail(__FILE__, __LINE__, "\"%s\" != \"%s\"", standin_a, standin_b); \
    } while (0)
#define assert_memory_equal(a, b, size) standin_bytes(a, b, size, 1, __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, size) standin_bytes(a, b, size, 0, __FILE__, __LINE__)

#endif
