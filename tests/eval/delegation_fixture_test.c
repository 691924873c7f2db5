/* The parts of the fixtures `mc_dropout` and `unco` that rank predictions and delegate them. */
#include "tests/eval/eval_test.h"

#include "eval/thresholds.h"

static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    if (value == NULL) fail_msg("the fixture has no \"%s\"", name);
    return value;
}

static double number(const cJSON *object, const char *name) { return cJSON_GetNumberValue(member(object, name)); }

static void auroc_of_mc_dropout(void **state)
{
    (void)state;
    const cJSON *it;
    int found = 0;
    cJSON_ArrayForEach(it, member(gmt_fixture("mc_dropout"), "cases"))
    {
        if (strcmp(cJSON_GetStringValue(member(it, "case")), "AUROC") != 0) continue;
        double value[2][8];
        gm_ranked list[16];
        size_t n = 0;
        for (int wrong = 0; wrong < 2; wrong++) {
            const int k =
                gmt_json_doubles(member(member(it, "inputs"), wrong ? "u_incorrect" : "u_correct"), value[wrong], 8);
            for (int i = 0; i < k; i++) list[n++] = (gm_ranked) { value[wrong][i], wrong == 1 };
        }
        const gm_ranking r = gm_rank(list, n);
        const cJSON *want = member(it, "expected"); /* ten digits there */
        assert_true(fabs(r.auroc - number(want, "auroc_half_ties")) < 1e-9);
        assert_true(fabs(r.auroc_strict - number(want, "auroc_strict")) < 1e-9);
        found++;
    }
    assert_int_equal(found, 1);
}

static void auroc_of_unco(void **state)
{
    (void)state;
    const cJSON *it = member(gmt_fixture("unco"), "auroc");
    double u[16], wrong[16];
    gm_ranked list[16];
    const int n = gmt_json_doubles(member(it, "u"), u, 16);
    assert_int_equal(gmt_json_doubles(member(it, "wrong"), wrong, 16), n);
    for (int i = 0; i < n; i++) list[i] = (gm_ranked) { u[i], wrong[i] != 0 };
    const gm_ranking r = gm_rank(list, (size_t)n);
    near("AUROC", r.auroc, number(it, "ties_half"));
    near("strict AUROC", r.auroc_strict, number(it, "strict"));
}

static gm_thresholds thresholds(const cJSON *from)
{
    gm_thresholds t;
    for (int part = 0; part < GM_PARTS; part++) t.of[part] = number(from, gm_part_names[part]);
    return t;
}

static gm_uncertainty uncertainty(const cJSON *entity)
{
    gm_uncertainty u = gm_no_uncertainty;
    u.span_norm = number(entity, "u_span");
    u.type_norm = number(entity, "u_type");
    u.region_norm = number(entity, "u_region");
    return u;
}

static void delegation_of_mc_dropout(void **state)
{
    (void)state;
    const cJSON *it;
    int found = 0;
    cJSON_ArrayForEach(it, member(gmt_fixture("mc_dropout"), "cases"))
    {
        if (strstr(cJSON_GetStringValue(member(it, "case")), "delegation") == NULL) continue;
        const cJSON *inputs = member(it, "inputs"), *entity, *want = member(member(it, "expected"), "delegate");
        const gm_thresholds t = thresholds(member(inputs, "thresholds"));
        cJSON_ArrayForEach(entity, member(inputs, "entities"))
        {
            double flags[GM_PARTS];
            const gm_uncertainty u = uncertainty(entity);
            assert_int_equal(gmt_json_doubles(cJSON_GetArrayItem(want, found++), flags, GM_PARTS), GM_PARTS);
            for (int part = 0; part < GM_PARTS; part++)
                assert_int_equal(gm_delegates(&u, &t, (gm_part)part), flags[part] != 0);
        }
    }
    assert_int_equal(found, 3);
}

static void routing_of_unco(void **state)
{
    (void)state;
    const cJSON *routing = member(gmt_fixture("unco"), "routing"), *entity;
    const gm_thresholds t = thresholds(member(routing, "thresholds"));
    int i = 0;
    cJSON_ArrayForEach(entity, member(routing, "entities"))
    {
        const gm_uncertainty u = uncertainty(entity);
        const cJSON *want = cJSON_GetArrayItem(member(routing, "expected"), i++);
        for (int part = 0; part < GM_PARTS; part++)
            assert_int_equal(gm_delegates(&u, &t, (gm_part)part), cJSON_IsTrue(member(want, gm_part_names[part])));
    }
    assert_int_equal(i, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auroc_of_mc_dropout),
        cmocka_unit_test(auroc_of_unco),
        cmocka_unit_test(delegation_of_mc_dropout),
        cmocka_unit_test(routing_of_unco),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
