/* Counted, failing and growing memory. */
#include "base_test.h"

static void chosen_allocation_fails_once(void **state)
{
    (void)state;
    gm_alloc_fail_at(1);
    void *first = gm_malloc(8), *second = gm_malloc(8), *third = gm_malloc(8);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    gm_free(first);
    gm_free(third);
}

static void every_kind_of_allocation_can_fail(void **state)
{
    (void)state;
    gm_alloc_fail_at(0);
    assert_null(gm_calloc(2, 2));
    char *block = gm_malloc(4);
    gm_alloc_fail_at(0);
    assert_null(gm_realloc(block, 8));
    block[0] = 'a'; /* still ours */
    gm_free(block);
    gm_alloc_fail_at(0);
    assert_null(gm_strdup("a"));
}

static void count_rises_with_each_success_only(void **state)
{
    (void)state;
    const uint64_t before = gm_alloc_count();
    void *block = gm_malloc(1);
    gm_alloc_fail_at(0);
    assert_null(gm_malloc(1));
    assert_int_equal(gm_alloc_count() - before, 1);
    gm_free(block);
}

static void overflowing_product_is_refused(void **state)
{
    (void)state;
    volatile size_t half = SIZE_MAX / 2; /* volatile: the compiler would warn of the size it sees */
    assert_null(gm_calloc(half, 4));
}

static void grown_array_keeps_its_elements(void **state)
{
    (void)state;
    gm_err err;
    int *array = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 1000; i++) {
        assert_ok(gm_grow((void **)&array, &capacity, (size_t)i, sizeof *array, &err));
        array[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(array[i], i);
    gm_alloc_fail_at(0);
    assert_fails(gm_grow((void **)&array, &capacity, capacity, sizeof *array, &err), GM_ERR_NOMEM, "out of memory");
    assert_int_equal(array[999], 999);
    gm_free(array);
}

static void copied_part_of_a_text_is_ended(void **state)
{
    (void)state;
    char *copy = gm_strndup("entity", 3);
    assert_string_equal(copy, "ent");
    gm_free(copy);
}

/* Advice: whatever the block, its bytes stay. */
static void large_pages_change_nothing(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 4096, 5000, (size_t)5 << 20 };
    for (size_t i = 0; i < GM_LEN(sizes); i++) {
        char *block = gm_malloc(sizes[i]);
        memset(block, 'x', sizes[i]);
        gm_use_large_pages(block, sizes[i]);
        assert_true(block[0] == 'x' && block[sizes[i] / 2] == 'x' && block[sizes[i] - 1] == 'x');
        gm_free(block);
    }
    gm_use_large_pages(NULL, 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_pages_change_nothing),         cmocka_unit_test(chosen_allocation_fails_once),       cmocka_unit_test(every_kind_of_allocation_can_fail),
        cmocka_unit_test(count_rises_with_each_success_only), cmocka_unit_test(overflowing_product_is_refused),
        cmocka_unit_test(grown_array_keeps_its_elements),     cmocka_unit_test(copied_part_of_a_text_is_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
