/* The two-ended arena. */
#include "base_test.h"

#include <math.h>

#include "base/arena.h"

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    gm_arena a;
    gm_err err;
    assert_ok(gm_arena_init(&a, 4096, &err));
    unsigned char *low = gm_arena_low(&a, 1), *low2 = gm_arena_low(&a, 65), *high = gm_arena_high(&a, 3),
                  *high2 = gm_arena_high(&a, 0);
    assert_int_equal((uintptr_t)low % 64, 0);
    assert_int_equal((uintptr_t)high % 64, 0);
    assert_int_equal(low2 - low, 64);
    assert_int_equal(high - high2, 64);
    assert_ptr_equal(low, a.base);
    assert_ptr_equal(high, a.base + 4096 - 64);
    assert_int_equal(a.low, 192);
    assert_int_equal(a.high, 128);
    assert_int_equal(a.peak, 320);
    gm_arena_destroy(&a);
}

static void marks_give_back_both_ends(void **state)
{
    (void)state;
    gm_arena a;
    gm_err err;
    assert_ok(gm_arena_init(&a, 8192, &err));
    gm_arena_low(&a, 100);
    gm_arena_high(&a, 200);
    const gm_mark mark = gm_arena_mark(&a);
    void *low = gm_arena_low(&a, 300), *high = gm_arena_high(&a, 400);
    gm_arena_release(&a, mark);
    assert_int_equal(a.low, 128);
    assert_int_equal(a.high, 256);
    assert_ptr_equal(gm_arena_low(&a, 1), low);
    assert_ptr_equal(gm_arena_high(&a, 448), high);
    gm_arena_reset(&a);
    assert_int_equal(a.low + a.high, 0);
    assert_int_equal(a.peak, 128 + 256 + 320 + 448);
    gm_arena_destroy(&a);
}

static void full_arena_gives_null_and_stays_usable(void **state)
{
    (void)state;
    gm_arena a;
    gm_err err;
    assert_ok(gm_arena_init(&a, 4096, &err));
    assert_null(gm_arena_low(&a, 4097));
    assert_null(gm_arena_low(&a, SIZE_MAX));
    assert_null(gm_arena_high(&a, SIZE_MAX - 62)); /* rounding up would pass zero */
    assert_non_null(gm_arena_low(&a, 4096 - 64));
    assert_null(gm_arena_high(&a, 65));
    assert_non_null(gm_arena_high(&a, 64));
    assert_null(gm_arena_low(&a, 0)); /* even no bytes take a place of their own */
    gm_arena_reset(&a);
    assert_non_null(gm_arena_high(&a, 4096));
    gm_arena_destroy(&a);
}

static void impossible_size_is_refused(void **state)
{
    (void)state;
    gm_arena a;
    gm_err err;
    assert_fails(gm_arena_init(&a, SIZE_MAX, &err), GM_ERR_NOMEM, "too large");
    assert_fails(gm_arena_init(&a, SIZE_MAX / 4, &err), GM_ERR_NOMEM, "cannot reserve");
    gm_arena_destroy(&a);
    gm_arena_reset(&a); /* nothing was reserved, nothing happens */
}

static void debug_builds_fill_with_nan(void **state)
{
    (void)state;
#ifdef NDEBUG
    skip();
#endif
    gm_arena a;
    gm_err err;
    assert_ok(gm_arena_init(&a, 4096, &err));
    const gm_mark mark = gm_arena_mark(&a);
    float *low = gm_arena_low(&a, 16 * sizeof(float)), *high = gm_arena_high(&a, 16 * sizeof(float));
    for (int i = 0; i < 16; i++) {
        assert_true(isnan(low[i]) && isnan(high[i]));
        low[i] = high[i] = 1.0f;
    }
    gm_arena_release(&a, mark);
    for (int i = 0; i < 16; i++) assert_true(isnan(low[i]) && isnan(high[i]));
    gm_arena_destroy(&a);
}

/* Lent memory may be a device's: addresses are handed out, nothing is read or written there. */
static void lent_memory_is_not_touched(void **state)
{
    gm_arena a;
    (void)state;
    unsigned char *nowhere = (unsigned char *)(uintptr_t)4096; /* never mapped */
    gm_arena_lend(&a, nowhere, 10000);
    assert_int_equal(a.size, 9984); /* whole units of 256 */
    assert_ptr_equal(gm_arena_low(&a, 1), nowhere);
    assert_ptr_equal(gm_arena_low(&a, 300), nowhere + 256);
    assert_ptr_equal(gm_arena_high(&a, 257), nowhere + 9984 - 512);
    assert_null(gm_arena_low(&a, 9984));
    assert_int_equal(a.peak, 256 + 512 + 512);
    gm_arena_reset(&a);
    assert_ptr_equal(gm_arena_low(&a, 9984), nowhere);
    gm_arena_destroy(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(marks_give_back_both_ends),
        cmocka_unit_test(full_arena_gives_null_and_stays_usable),
        cmocka_unit_test(impossible_size_is_refused),
        cmocka_unit_test(debug_builds_fill_with_nan),
        cmocka_unit_test(lent_memory_is_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
