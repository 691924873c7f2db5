/* The table of plans against a plain list: thousands of keys, most of them alike, over several growths. */
#include "tests/support/support.h"

#include "backend/plans.h"
#include "base/memory.h"

typedef struct plan { int32_t key[3]; int number; } plan;
enum { COUNT = 3000 };

static gm_err err;
static int destroyed;
static plan plans[COUNT];
static void destroy(void *p)
{
    assert_true((plan *)p >= plans && (plan *)p < plans + COUNT);
    destroyed++;
}

static void finds_what_was_added(void **state)
{
    gm_plan_table t = { .key_words = 3 };
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        plans[i] = (plan) { { i % 10, i / 10 % 30, i / 300 }, i };
        assert_null(gm_plan_table_find(&t, plans[i].key));
        assert_ok(gm_plan_table_add(&t, &plans[i], &err));
        for (int k = 0; k <= i; k += 1 + i / 50) {
            const plan *found = gm_plan_table_find(&t, plans[k].key);
            assert_true(found != NULL && found->number == k);
        }
    }
    assert_true(t.count == COUNT && t.capacity > COUNT);
    const int32_t unknown[3] = { 3, 4, 1000 };
    assert_null(gm_plan_table_find(&t, unknown));
    destroyed = 0;
    gm_plan_table_free(&t, destroy);
    assert_int_equal(destroyed, COUNT);
    assert_null(gm_plan_table_find(&t, plans[0].key));
}

/* A plan that finds no room stays the caller's, and the table as it was. */
static void a_failed_growth_loses_nothing(void **state)
{
    gm_plan_table t = { .key_words = 3 };
    int added = 0, failures = 0;
    (void)state;
    while (added < 500) {
        gm_alloc_fail_at(0);
        gm_status status = gm_plan_table_add(&t, &plans[added], &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) {
            failures++;
            assert_int_equal(status, GM_ERR_NOMEM);
            assert_null(gm_plan_table_find(&t, plans[added].key));
            assert_ok(gm_plan_table_add(&t, &plans[added], &err));
        }
        added++;
    }
    assert_true(failures == 3 && t.count == 500); /* empty, 256 and 512 slots */
    for (int i = 0; i < added; i++) assert_ptr_equal(gm_plan_table_find(&t, plans[i].key), &plans[i]);
    gm_plan_table_free(&t, destroy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(a_failed_growth_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
