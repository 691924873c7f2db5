/* Random numbers against the generator's published answers and the project's fixture. */
#include "base_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/philox.h"

/* The case of the fixture whose name begins with `prefix`. */
static const cJSON *find_case(const char *prefix)
{
    const cJSON *one;
    cJSON_ArrayForEach(one, cJSON_GetObjectItem(gmt_fixture("philox"),
                                                "cases")) if (strncmp(cJSON_GetObjectItem(one, "case")->valuestring,
                                                                      prefix, strlen(prefix)) == 0) return one;
    fail_msg("the fixture has no case \"%s\"", prefix);
    return NULL;
}

static uint32_t hex(const cJSON *array, int i)
{
    return (uint32_t)strtoul(cJSON_GetArrayItem(array, i)->valuestring, NULL, 16);
}

static double input(const cJSON *one, const char *name)
{
    return cJSON_GetObjectItem(cJSON_GetObjectItem(one, "inputs"), name)->valuedouble;
}

static void assert_words(gm_philox4 got, const cJSON *want)
{
    for (int i = 0; i < 4; i++) assert_int_equal(got.word[i], hex(want, i));
}

static void known_answers(void **state)
{
    (void)state;
    static const char *const names[] = { "known answer: zeros", "known answer: ones", "known answer: pi digits" };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        const cJSON *one = find_case(names[i]), *in = cJSON_GetObjectItem(one, "inputs");
        const cJSON *c = cJSON_GetObjectItem(in, "counter_hex"), *key = cJSON_GetObjectItem(in, "key_hex");
        const uint64_t seed = hex(key, 0) | (uint64_t)hex(key, 1) << 32;
        assert_words(gm_philox(seed, hex(c, 0), hex(c, 1), hex(c, 2), hex(c, 3)),
                     cJSON_GetObjectItem(cJSON_GetObjectItem(one, "expected"), "out_hex"));
    }
}

static void uniform_and_normal_mapping(void **state)
{
    (void)state;
    const cJSON *one = find_case("uniform and normal"), *want = cJSON_GetObjectItem(one, "expected");
    const gm_philox4 bits = gm_philox((uint64_t)input(one, "seed"), 0, (uint32_t)input(one, "sample"),
                                      (uint32_t)input(one, "row"), (uint32_t)input(one, "purpose"));
    double uniform[4], normal[4];
    float got[4];
    assert_words(bits, cJSON_GetObjectItem(want, "out_hex"));
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItem(want, "uniform"), uniform, 4), 4);
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItem(want, "normal"), normal, 4), 4);
    gm_normal4(bits, got);
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(gm_uniform(bits.word[i]) - uniform[i]) <= 5e-11);       /* the fixture has ten digits */
        assert_true(fabs(got[i] - normal[i]) <= 1e-7 * (1.0 + fabs(normal[i]))); /* one rounding to float */
    }
    assert_true(gm_uniform(0) == 0.0f);
    assert_true(gm_uniform(UINT32_MAX) == 1.0f - 0x1p-24f);
}

static bool is_kept(uint64_t seed, uint32_t element, uint32_t draw, uint32_t row, uint32_t purpose, float p)
{
    return gm_uniform(gm_philox(seed, element / 4, draw, row, purpose).word[element % 4]) >= p;
}

static void masks_of_mc_dropout_from_a_seed(void **state)
{
    (void)state;
    const cJSON *one = find_case("MC dropout from a seed");
    double want[3 * 2 * 6], rows[2];
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItem(cJSON_GetObjectItem(one, "expected"), "mask"), want, 36), 36);
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItem(cJSON_GetObjectItem(one, "inputs"), "row_ids"), rows, 2), 2);
    for (uint32_t i = 0; i < 36; i++) {
        const uint32_t draw = i / 12, row = i / 6 % 2, column = i % 6;
        assert_int_equal(is_kept((uint64_t)input(one, "seed"), column, draw, (uint32_t)rows[row],
                                 (uint32_t)input(one, "purpose"), (float)input(one, "drop_prob")),
                         (int)want[i]);
    }
}

static void kept_count_of_100000_units(void **state)
{
    (void)state;
    const cJSON *one = find_case("kept count of 100000 units");
    const uint32_t units = (uint32_t)input(one, "units");
    int kept = 0;
    for (uint32_t e = 0; e < units; e++)
        kept += is_kept((uint64_t)input(one, "seed"), e, (uint32_t)input(one, "sample"), (uint32_t)input(one, "row"),
                        (uint32_t)input(one, "purpose"), (float)input(one, "drop_prob"));
    assert_int_equal(kept, cJSON_GetObjectItem(cJSON_GetObjectItem(one, "expected"), "kept")->valueint);
    assert_int_equal(kept, 90038);
}

static void seed_uses_all_64_bits(void **state)
{
    (void)state;
    const gm_philox4 low = gm_philox(1, 0, 0, 0, 0), high = gm_philox(1 | UINT64_C(1) << 63, 0, 0, 0, 0);
    assert_memory_not_equal(&low, &high, sizeof low);
}

/* The published vectors of FNV-1a, 32 bits. */
static void sample_key_is_fnv1a(void **state)
{
    (void)state;
    assert_int_equal(gm_fnv1a(""), 0x811c9dc5u);
    assert_int_equal(gm_fnv1a("a"), 0xe40c292cu);
    assert_int_equal(gm_fnv1a("foobar"), 0xbf9cf968u);
}

static void number_below_n_stays_below(void **state)
{
    (void)state;
    assert_int_equal(gm_below(UINT32_MAX, 7), 6);
    assert_int_equal(gm_below(0, 7), 0);
    assert_int_equal(gm_below(UINT32_MAX, 1), 0);
}

static void purpose_fields_do_not_overlap(void **state)
{
    (void)state;
    assert_int_equal(gm_purpose(GM_SITE_ATTENTION, 11, 511), 2u | 11u << 8 | 511u << 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(uniform_and_normal_mapping),
        cmocka_unit_test(masks_of_mc_dropout_from_a_seed),
        cmocka_unit_test(kept_count_of_100000_units),
        cmocka_unit_test(seed_uses_all_64_bits),
        cmocka_unit_test(sample_key_is_fnv1a),
        cmocka_unit_test(number_below_n_stays_below),
        cmocka_unit_test(purpose_fields_do_not_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
