/* gm_schedule by hand-worked numbers, at its edges, and against the shared fixture `adamw_and_schedules`. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "train/trainer.h"

static const double tolerance = 1e-9; /* the fixture gives ten digits */

static void assert_factor(double got, double want, int64_t at)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("step %lld: factor %.12g, expected %.12g", (long long)at, got, want);
}

/* Ten steps with a warm-up of two: 0, 1/2, then 8/8, 7/8 ... 1/8, and nothing behind the end. */
static void rises_then_falls(void **state)
{
    static const double want[] = { 0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0, 0 };
    (void)state;
    for (int64_t t = 0; t < (int64_t)GM_LEN(want); t++) assert_factor(gm_schedule(t, 10, 0.2), want[t], t);
}

static void edges(void **state)
{
    (void)state;
    assert_factor(gm_schedule(0, 10, 0.0), 1.0, 0);   /* no warm-up: the first step has the full rate */
    assert_factor(gm_schedule(9, 10, 1.0), 0.9, 9);   /* only warm-up: the top is never passed */
    assert_factor(gm_schedule(10, 10, 1.0), 0.0, 10); /* and no division by zero behind it */
    assert_factor(gm_schedule(0, 1, 0.1), 1.0, 0);    /* less than one step of warm-up is none */
    assert_factor(gm_schedule(0, 0, 0.1), 0.0, 0);
    assert_factor(gm_schedule(1000000000000, 4000000000000, 0.5), 0.5, 0); /* counts beyond 32 bits */
}

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL) fail_msg("the fixture has no \"%s\"", key);
    return item;
}

static double number(const cJSON *object, const char *key)
{
    double x;
    assert_int_equal(gmt_json_doubles(member(object, key), &x, 1), 1);
    return x;
}

/* Two schedules one behind the other, the counter starting again: what a two-stage method makes of gm_schedule. */
static void check_two_stages(const cJSON *in, const cJSON *expected)
{
    double step[64], want[64];
    const int n = gmt_json_doubles(member(in, "steps"), step, 64);
    const int64_t first = (int64_t)number(in, "total1"), second = (int64_t)number(in, "total2");
    assert_int_equal(gmt_json_doubles(member(expected, "factor"), want, 64), n);
    for (int i = 0; i < n; i++) {
        const int64_t t = (int64_t)step[i];
        const double got = t <= first ? gm_schedule(t, first, number(in, "warm1") / (double)first)
                                      : gm_schedule(t - first, second, number(in, "warm2") / (double)second);
        /* At the seam both are 0: the end of one stage, the start of the next. */
        assert_factor(got, want[i], t);
    }
    assert_factor(gm_schedule(0, second, number(in, "warm2") / (double)second), 0.0, first);
}

/* Cases named here belong to another test or method; a case that nobody names fails, so that a new one is never passed
 * over. */
static void every_case_of_the_fixture_is_known(void **state)
{
    static const char *const elsewhere[] = {
        "three steps", "clip by global norm",             /* adamw_fixture_test */
        "LinearLR 1.0 -> 0.0 over 10 epochs (local NER)", /* another method's: it steps once an epoch */
    };
    const cJSON *item;
    bool seen = false;
    (void)state;
    cJSON_ArrayForEach(item, member(gmt_fixture("adamw_and_schedules"), "cases"))
    {
        const char *name = member(item, "case")->valuestring;
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(elsewhere); i++) is_known |= strcmp(name, elsewhere[i]) == 0;
        if (strcmp(name, "two-stage warm-up and linear decay (MQSPN)") == 0) {
            check_two_stages(member(item, "inputs"), member(item, "expected"));
            seen = true;
        } else if (!is_known)
            fail_msg("adamw_and_schedules: nobody tests the case \"%s\"", name);
    }
    assert_true(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rises_then_falls),
        cmocka_unit_test(edges),
        cmocka_unit_test(every_case_of_the_fixture_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
