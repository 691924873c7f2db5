/* Delegation: what an oracle makes of it counted by hand, the search beside one that tries all thresholds, and that
 * raising a threshold never adds a call. */
#include "tests/eval/eval_test.h"

#include "eval/report.h"

typedef struct files {
    gm_records gold, pred;
} files;

static files random_pair(uint64_t seed)
{
    files f = { { 0 }, { 0 } };
    random_files(seed, &f.gold, &f.pred);
    add_numbers(seed, &f.pred);
    return f;
}

static void drop(files *f)
{
    gm_records_free(&f->gold);
    gm_records_free(&f->pred);
}

static gm_delegation tally(const files *f, double span, double type, double region, double cost)
{
    gm_err err;
    gm_delegation d;
    const gm_thresholds t = { { span, type, region } };
    assert_ok(gm_thresholds_score(&f->gold, &f->pred, &by_offset, cost, &t, &d, &err));
    return d;
}

/* One sample. Gold: 0 PER without a box, 2-3 LOC with one, 5 ORG with one. Predicted: 0 with the wrong type, 3 with the
 * wrong span and no box, 5 right, 6 where nothing is; each part as uncertain as asked. */
static files known(double u)
{
    gm_err err;
    files f = { { 0 }, { 0 } };
    gm_record g = blank("a"), p = blank("a");
    static const gm_box box = { 0, 0, 10, 10 };
    add_entity(&g, 0, "PER");
    gm_entity *e = add_entity(&g, 2, "LOC");
    e->end = 3;
    e->boxes[e->box_count++] = box;
    e = add_entity(&g, 5, "ORG");
    e->boxes[e->box_count++] = box;
    add_entity(&p, 0, "LOC");
    add_entity(&p, 3, "LOC");
    e = add_entity(&p, 5, "ORG");
    e->boxes[e->box_count++] = box;
    add_entity(&p, 6, "PER");
    for (int32_t i = 0; i < p.entity_count; i++)
        p.entities[i].uncertainty.span_norm = p.entities[i].uncertainty.type_norm =
            p.entities[i].uncertainty.region_norm = u;
    assert_ok(gm_records_add(&f.gold, &g, &err));
    assert_ok(gm_records_add(&f.pred, &p, &err));
    return f;
}

static void what_the_oracle_does(void **state)
{
    (void)state;
    static const struct {
        double span, type, region;
        int64_t tp, n_pred;
    } cases[] = {
        { 1, 1, 1, 1, 4 },       /* nothing is asked: only word 5 is right */
        { 1, 0.4, 1, 2, 4 },     /* the type of word 0 */
        { 0.4, 1, 1, 1, 3 },     /* word 6 is taken back; 2-3 still lacks its region */
        { 0.4, 1, 0.4, 2, 3 },   /* span and region of 2-3 */
        { 0.4, 0.4, 0.4, 3, 3 }, /* all */
        { 0.5, 0.5, 0.5, 1, 4 }, /* strictly above: nothing */
    };
    files f = known(0.5);
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        const gm_delegation d = tally(&f, cases[i].span, cases[i].type, cases[i].region, 0.05);
        assert_int_equal(d.before.tp, 1);
        assert_int_equal(d.before.n_pred, 4);
        assert_int_equal(d.after.tp, cases[i].tp);
        assert_int_equal(d.after.n_pred, cases[i].n_pred);
        assert_int_equal(d.after.n_gold, 3);
        assert_int_equal(d.calls[GM_PART_SPAN], cases[i].span < 0.5 ? 4 : 0);
        assert_int_equal(d.corrected[GM_PART_SPAN], cases[i].span < 0.5 ? 2 : 0);
        assert_int_equal(d.wrong[GM_PART_SPAN], 2);
        assert_int_equal(d.wrong[GM_PART_TYPE], 1);
        assert_int_equal(d.wrong[GM_PART_REGION], 1);
        const double calls = (double)(d.calls[0] + d.calls[1] + d.calls[2]);
        near("cost", d.cost, 0.05 * 100 * calls / 4);
        near("gain", d.gain, 100 * (gm_f1(d.after) - gm_f1(d.before)) - d.cost);
    }
    drop(&f);
}

/* Nothing can be asked where a number is absent. */
static void absent_numbers_are_not_delegated(void **state)
{
    (void)state;
    files f = known(NAN);
    gm_err err = { 0 };
    gm_delegation d = tally(&f, 0, 0, 0, 0);
    assert_int_equal(d.calls[0] + d.calls[1] + d.calls[2], 0);
    assert_int_equal(gm_thresholds_pick(&f.gold, &f.pred, &by_offset, 0.05, &d, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "span_norm"));
    assert_int_equal(gm_thresholds_pick(&f.gold, &f.pred, &by_offset, -1, &d, &err), GM_ERR_USAGE);
    drop(&f);
}

static void raising_a_threshold_adds_no_call(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        files f = random_pair(seed);
        for (int part = 0; part < GM_PARTS; part++) {
            gm_delegation last = { .predictions = -1 };
            for (int step = 0; step <= 20; step++) {
                double at[GM_PARTS] = { 0.3, 0.3, 0.3 };
                at[part] = step / 20.0;
                const gm_delegation d = tally(&f, at[0], at[1], at[2], 0);
                assert_true(last.predictions < 0 || d.calls[part] <= last.calls[part]);
                assert_true(last.predictions < 0 || d.corrected[part] <= last.corrected[part]);
                assert_true(last.predictions < 0 || d.after.tp <= last.after.tp);
                last = d;
            }
            assert_int_equal(last.calls[part], 0);
        }
        drop(&f);
    }
}

/* The numbers are eighths, so these thresholds separate all that can be separated. The climb from eight corners is no
 * exhaustive search: it may miss the best combination, so it is held to nine in ten of the files and to no single step
 * that would be better. */
static void search_beside_all_thresholds(void **state)
{
    (void)state;
    int best = 0, tried = 0;
    for (uint64_t seed = 0; seed < 80; seed++) {
        gm_err err;
        gm_delegation d;
        files f = random_pair(seed);
        const double cost = (double)(seed % 5) * 0.05;
        if (gm_thresholds_pick(&f.gold, &f.pred, &by_offset, cost, &d, &err) != GM_OK) {
            drop(&f);
            continue;
        }
        double top = -INFINITY;
        for (int i = 0; i < 9 * 9 * 9; i++) {
            const gm_delegation t = tally(&f, i % 9 / 8.0, i / 9 % 9 / 8.0, i / 81 / 8.0, cost);
            top = fmax(top, t.gain);
        }
        assert_true(d.gain <= top + 1e-9 && d.gain >= 0);
        best += d.gain >= top - 1e-9;
        tried++;
        for (int part = 0; part < GM_PARTS; part++) {
            for (int step = 0; step < 9; step++) {
                gm_thresholds t = d.thresholds;
                t.of[part] = step / 8.0;
                assert_true(tally(&f, t.of[0], t.of[1], t.of[2], cost).gain <= d.gain + 1e-9);
            }
        }
        const gm_delegation again = tally(&f, d.thresholds.of[0], d.thresholds.of[1], d.thresholds.of[2], cost);
        assert_memory_equal(&again, &d, sizeof d);
        drop(&f);
    }
    assert_true(tried > 60);
    if (best * 10 < tried * 9) fail_msg("the best thresholds were found for %d of %d files", best, tried);
}

static void dear_calls_are_not_made(void **state)
{
    (void)state;
    gm_err err;
    gm_delegation d;
    files f = known(0.5);
    assert_ok(gm_thresholds_pick(&f.gold, &f.pred, &by_offset, 100, &d, &err));
    assert_int_equal(d.calls[0] + d.calls[1] + d.calls[2], 0);
    assert_true(d.gain == 0 && d.thresholds.of[0] == 1 && d.thresholds.of[1] == 1 && d.thresholds.of[2] == 1);
    assert_ok(gm_thresholds_pick(&f.gold, &f.pred, &by_offset, 0, &d, &err));
    assert_int_equal(d.after.tp, 3);
    assert_true(d.thresholds.of[0] == 0.25); /* halfway down to 0 */
    drop(&f);
}

static void before_is_gmner(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        gm_err err;
        gm_metrics m;
        files f = random_pair(seed);
        assert_ok(gm_evaluate(&f.gold, &f.pred, &by_offset, &m, &err));
        const gm_delegation d = tally(&f, 1, 1, 1, 0.05);
        assert_int_equal(d.before.n_pred, m.gmner.n_pred);
        assert_int_equal(d.before.n_gold, m.gmner.n_gold);
        assert_true(d.before.tp <= m.gmner.tp); /* a key that stands twice is matched by first fit there */
        gm_metrics_free(&m);
        drop(&f);
    }
}

static void report(void **state)
{
    (void)state;
    gm_err err;
    gm_delegation d;
    gm_metrics m;
    gm_buffer json = { 0 }, table = { 0 };
    cJSON *parsed = NULL;
    files f = known(0.3);
    assert_ok(gm_evaluate(&f.gold, &f.pred, &by_offset, &m, &err));
    assert_ok(gm_thresholds_pick(&f.gold, &f.pred, &by_offset, 0.05, &d, &err));
    assert_ok(gm_report_json(&(gm_report) { .metrics = &m, .delegation = &d }, &json, &err));
    assert_ok(gm_report_table(&(gm_report) { .metrics = &m, .delegation = &d }, &table, &err));
    assert_ok(gm_json_parse(json.data, json.size, &parsed, &err));
    const cJSON *t = cJSON_GetObjectItem(parsed, "thresholds");
    for (int part = 0; part < GM_PARTS; part++) {
        assert_true(cJSON_GetObjectItem(t, gm_part_names[part])->valuedouble == d.thresholds.of[part]);
        assert_int_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(t, "calls"), gm_part_names[part])->valueint,
                         d.calls[part]);
    }
    assert_int_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(t, "after"), "tp")->valueint, d.after.tp);
    assert_non_null(strstr(table.data, "thresholds: what is above them is delegated"));
    cJSON_Delete(parsed);
    gm_buffer_free(&json);
    gm_buffer_free(&table);
    gm_metrics_free(&m);
    drop(&f);
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    files f = random_pair(11);
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_err err = { 0 };
        gm_delegation d;
        gm_alloc_fail_at(k);
        status = gm_thresholds_pick(&f.gold, &f.pred, &by_offset, 0.05, &d, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_NOMEM);
    }
    assert_true(k > 8);
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_oracle_does),
        cmocka_unit_test(absent_numbers_are_not_delegated),
        cmocka_unit_test(raising_a_threshold_adds_no_call),
        cmocka_unit_test(search_beside_all_thresholds),
        cmocka_unit_test(dear_calls_are_not_made),
        cmocka_unit_test(before_is_gmner),
        cmocka_unit_test(report),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
