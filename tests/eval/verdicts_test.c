/* Predictions judged one by one: counted by hand and on random files, and what is refused. */
#include "tests/eval/eval_test.h"

#include "eval/report.h"

static void measures(void **state)
{
    (void)state;
    const gm_entity e = { .score = 0.75, .region_score = 0.5, .uncertainty = { 1, 2, 3, 0.1, 0.2, 0.3, 0.25, 0.5, 1 } };
    const gm_entity none = { .score = NAN, .region_score = NAN, .uncertainty = gm_no_uncertainty };
    static const double want[GM_PARTS][GM_MEASURES] = { { 1, 0.1, 0.75, 0.25 },
                                                        { 2, 0.2, 1.5, 0.25 },
                                                        { 3, 0.3, 2, 0.5 } };
    for (int part = 0; part < GM_PARTS; part++) {
        for (int m = 0; m < GM_MEASURES; m++) {
            assert_true(gm_measure_of(&e, (gm_part)part, (gm_measure)m) == want[part][m]);
            assert_true(isnan(gm_measure_of(&none, (gm_part)part, (gm_measure)m)));
        }
    }
}

/* By the definition: any gold entity of the same key, type, region. */
static void random_verdicts(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        gm_err err;
        gm_records gold = { 0 }, pred = { 0 };
        gm_verdicts v;
        size_t at = 0;
        random_files(seed, &gold, &pred);
        assert_ok(gm_judge(&gold, &pred, &by_offset, &v, &err));
        for (size_t i = 0; i < gold.count; i++) {
            for (size_t k = 0; k < pred.count; k++) {
                if (strcmp(gold.items[i].id, pred.items[k].id) != 0) continue;
                for (int32_t p = 0; p < pred.items[k].entity_count; p++, at++) {
                    const gm_entity *e = &pred.items[k].entities[p];
                    bool has_span = false, has_type = false, has_region = false;
                    for (int32_t g = 0; g < gold.items[i].entity_count; g++) {
                        const gm_entity *ge = &gold.items[i].entities[g];
                        if (ge->start != e->start) continue;
                        has_span = true;
                        has_type = has_type || strcmp(ge->type, e->type) == 0;
                        if (ge->box_count == 0) has_region = has_region || (e->box_count == 0 && !e->has_bad_box);
                        for (int32_t a = 0; a < ge->box_count && !e->has_bad_box; a++)
                            for (int32_t b = 0; b < e->box_count; b++)
                                has_region = has_region || gm_iou(ge->boxes[a], e->boxes[b]) >= 0.5;
                    }
                    assert_ptr_equal(v.items[at].entity, e);
                    assert_int_equal(v.items[at].is_wrong[GM_PART_SPAN], !has_span);
                    assert_int_equal(v.items[at].is_wrong[GM_PART_TYPE], !has_type);
                    assert_int_equal(v.items[at].is_wrong[GM_PART_REGION], !has_region);
                }
            }
        }
        assert_int_equal(at, v.count);
        gm_verdicts_free(&v);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

/* Of spans all, of the others those with a right span; each measure has those that carry it. */
static void who_is_counted(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_verdicts v;
    gm_doubts d;
    rich_files(&gold, &pred);
    assert_ok(gm_judge(&gold, &pred, &by_offset, &v, &err));
    assert_ok(gm_doubts_score(&v, 10, &d, &err));
    for (int part = 0; part < GM_PARTS; part++) {
        int64_t right = 0, wrong = 0, with[GM_MEASURES] = { 0 };
        for (size_t i = 0; i < v.count; i++) {
            if (part != GM_PART_SPAN && v.items[i].is_wrong[GM_PART_SPAN]) continue;
            right += !v.items[i].is_wrong[part];
            wrong += v.items[i].is_wrong[part];
            for (int m = 0; m < GM_MEASURES; m++)
                with[m] += !isnan(gm_measure_of(v.items[i].entity, (gm_part)part, (gm_measure)m));
        }
        assert_int_equal(d.right[part], right);
        assert_int_equal(d.wrong[part], wrong);
        for (int m = 0; m < GM_MEASURES; m++) {
            const gm_ranking *r = &d.of[part][m].ranking;
            assert_int_equal(r->right + r->wrong, with[m]);
            assert_true(with[m] > 0 && with[m] <= right + wrong);
        }
    }
    assert_true(d.right[GM_PART_TYPE] + d.wrong[GM_PART_TYPE] == d.right[GM_PART_SPAN]);
    gm_verdicts_free(&v);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void report_has_counts_and_nulls(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_verdicts v;
    gm_doubts d;
    gm_metrics m;
    gm_buffer json = { 0 }, table = { 0 };
    cJSON *parsed = NULL;
    rich_files(&gold, &pred);
    for (size_t i = 0; i < pred.count; i++)
        for (int32_t k = 0; k < pred.items[i].entity_count; k++) pred.items[i].entities[k].uncertainty.region = NAN;
    assert_ok(gm_evaluate(&gold, &pred, &by_offset, &m, &err));
    assert_ok(gm_judge(&gold, &pred, &by_offset, &v, &err));
    assert_ok(gm_doubts_score(&v, 4, &d, &err));
    const gm_report report = { .metrics = &m, .doubts = &d };
    assert_ok(gm_report_json(&report, &json, &err));
    assert_ok(gm_report_table(&report, &table, &err));
    assert_ok(gm_json_parse(json.data, json.size, &parsed, &err));
    const cJSON *all = cJSON_GetObjectItem(parsed, "uncertainty");
    for (int part = 0; part < GM_PARTS; part++) {
        const cJSON *one = cJSON_GetObjectItem(all, gm_part_names[part]);
        assert_int_equal(cJSON_GetObjectItem(one, "n_right")->valueint, d.right[part]);
        assert_int_equal(cJSON_GetObjectItem(one, "n_wrong")->valueint, d.wrong[part]);
        for (int k = 0; k < GM_MEASURES; k++) {
            const cJSON *by = cJSON_GetObjectItem(one, gm_measure_names[k]);
            assert_int_equal(cJSON_GetObjectItem(by, "n_wrong")->valueint, d.of[part][k].ranking.wrong);
            const bool is_confidence = gm_measure_is_probability((gm_measure)k);
            assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(by, "bins")), is_confidence ? 4 : 0);
            assert_int_equal(cJSON_GetObjectItem(by, "ece") != NULL, is_confidence);
        }
    }
    const cJSON *absent = cJSON_GetObjectItem(cJSON_GetObjectItem(all, "region"), "entropy");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(absent, "auroc")));
    assert_non_null(strstr(table.data, "span   entropy_norm"));
    assert_null(strstr(table.data, "region entropy  ")); /* nobody carries it */
    cJSON_Delete(parsed);
    gm_buffer_free(&json);
    gm_buffer_free(&table);
    gm_metrics_free(&m);
    gm_verdicts_free(&v);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void what_is_refused(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_verdicts v;
    gm_doubts d;
    random_files(3, &gold, &pred);
    assert_ok(gm_judge(&gold, &pred, &by_offset, &v, &err));
    assert_int_equal(gm_doubts_score(&v, 10, &d, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "nothing to rank them by"));
    add_numbers(3, &pred);
    assert_int_equal(gm_doubts_score(&v, 0, &d, &err), GM_ERR_USAGE);
    assert_int_equal(gm_doubts_score(&v, GM_MAX_BINS + 1, &d, &err), GM_ERR_USAGE);
    assert_ok(gm_doubts_score(&v, GM_MAX_BINS, &d, &err));
    gm_verdicts_free(&v);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    gm_records gold = { 0 }, pred = { 0 };
    random_files(11, &gold, &pred);
    add_numbers(11, &pred);
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_err err = { 0 };
        gm_verdicts v;
        gm_doubts d;
        gm_alloc_fail_at(k);
        status = gm_judge(&gold, &pred, &by_offset, &v, &err);
        if (status == GM_OK) status = gm_doubts_score(&v, 10, &d, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_NOMEM);
        gm_verdicts_free(&v);
    }
    assert_true(k > 12);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures),        cmocka_unit_test(random_verdicts),
        cmocka_unit_test(who_is_counted),  cmocka_unit_test(report_has_counts_and_nulls),
        cmocka_unit_test(what_is_refused), cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
