/* Routing: strict thresholds of the fixture `unco`, budgets, ties. */
#include "tests/eval/eval_test.h"

#include "mllm/route.h"

static const gm_route_options none = { .thresholds = { { 1, 1, 1 } }, .calls = -1, .share = -1, .asks = { true, true, true } };

static double number(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    if (v == NULL) fail_msg("the fixture has no \"%s\"", name);
    return cJSON_IsBool(v) ? (double)cJSON_IsTrue(v) : v->valuedouble;
}

static void add(gm_record *r, int32_t word, double span, double type, double region)
{
    gm_entity *e = add_entity(r, word, "PER");
    e->uncertainty.span_norm = span;
    e->uncertainty.type_norm = type;
    e->uncertainty.region_norm = region;
    e->score = 0.5;
}

static void thresholds_of_unco_are_strict(void **state)
{
    (void)state;
    gm_err err = { 0 };
    const cJSON *fixture = cJSON_GetObjectItem(gmt_fixture("unco"), "routing"), *it;
    gm_records pred = { 0 };
    gm_record r = blank("a");
    gm_route_options o = none;
    gm_route route;
    for (int part = 0; part < GM_PARTS; part++) o.thresholds.of[part] = number(cJSON_GetObjectItem(fixture, "thresholds"), gm_part_names[part]);
    cJSON_ArrayForEach(it, cJSON_GetObjectItem(fixture, "entities")) add(&r, 0, number(it, "u_span"), number(it, "u_type"), number(it, "u_region"));
    assert_ok(gm_records_add(&pred, &r, &err));
    assert_ok(gm_route_make(&pred, &o, &route, &err));
    int k = 0;
    cJSON_ArrayForEach(it, cJSON_GetObjectItem(fixture, "expected"))
    {
        for (int part = 0; part < GM_PARTS; part++) assert_int_equal(route.parts[k] >> part & 1, (int)number(it, gm_part_names[part]));
        k++;
    }
    assert_int_equal(k, 3);
    assert_int_equal(route.delegated, 3);
    gm_route_free(&route);
    gm_records_free(&pred);
}

static void refineg_hands_the_second_span_on(void **state)
{
    (void)state;
    gm_err err = { 0 };
    const cJSON *fixture = cJSON_GetObjectItem(gmt_fixture("refineg"), "routing");
    double u[3], want[3] = { 0, 1, 0 };
    gm_records pred = { 0 };
    gm_record r = blank("a");
    gm_route_options o = none;
    gm_route route;
    gmt_json_doubles(cJSON_GetObjectItem(fixture, "u_mean"), u, 3);
    for (int i = 0; i < 3; i++) add(&r, i, u[i], NAN, NAN);
    o.thresholds.of[GM_PART_SPAN] = number(fixture, "threshold");
    assert_ok(gm_records_add(&pred, &r, &err));
    assert_ok(gm_route_make(&pred, &o, &route, &err));
    for (int i = 0; i < 3; i++) assert_int_equal(route.parts[i], (int)want[i]);
    gm_route_free(&route);
    gm_records_free(&pred);
}

static void budgets_take_the_most_unsure_first(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records pred = { 0 };
    gm_record b = blank("b"), a = blank("a");
    gm_route_options o = none;
    gm_route route;
    add(&b, 0, 0.5, 0.25, NAN);
    add(&b, 1, 0.75, 0.25, 0.0); /* region 0: the model saw none */
    add(&a, 0, 0.25, 0.5, 0.125); /* ties with the first; "a" < "b" */
    add(&a, 1, NAN, NAN, NAN);
    assert_ok(gm_records_add(&pred, &b, &err));
    assert_ok(gm_records_add(&pred, &a, &err));
    static const struct { int64_t calls; double share; uint8_t want[4]; } cases[] = {
        { 0, -1, { 0, 0, 0, 0 } }, { 1, -1, { 0, 1, 0, 0 } }, { 3, -1, { 0, 3, 1, 0 } }, { 6, -1, { 1, 3, 7, 0 } }, { 99, -1, { 3, 3, 7, 0 } },
        { -1, 0, { 0, 0, 0, 0 } }, { -1, 0.25, { 0, 3, 0, 0 } }, { -1, 0.5, { 0, 3, 7, 0 } }, { -1, 1, { 3, 3, 7, 0 } }, { 3, 0.25, { 0, 3, 0, 0 } },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        o.calls = cases[i].calls;
        o.share = cases[i].share;
        assert_ok(gm_route_make(&pred, &o, &route, &err));
        assert_memory_equal(route.parts, cases[i].want, 4);
        gm_route_free(&route);
    }
    o.share = 1.5;
    assert_int_equal(gm_route_make(&pred, &o, &route, &err), GM_ERR_USAGE);
    o.share = 1;
    o.asks[GM_PART_SPAN] = o.asks[GM_PART_TYPE] = o.asks[GM_PART_REGION] = false;
    o.calls = -1;
    assert_int_equal(gm_route_make(&pred, &o, &route, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "no prediction carries a number"));
    gm_records_free(&pred);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(thresholds_of_unco_are_strict), cmocka_unit_test(refineg_hands_the_second_span_on),
                                        cmocka_unit_test(budgets_take_the_most_unsure_first) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
