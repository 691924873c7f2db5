/* Scores on random samples against a matching that tries everything, the properties that must hold for any input, and
 * each input that is refused. */
#include "tests/eval/eval_test.h"

#include "eval/report.h"

static gm_metrics score(const gm_records *gold, const gm_records *pred, gm_eval_options how)
{
    gm_err err;
    gm_metrics m;
    assert_ok(gm_evaluate(gold, pred, &how, &m, &err));
    return m;
}

/* ---- a matching that tries everything ---- */

static bool is_edge(const gm_record *pr, const gm_entity *p, const gm_record *gr, const gm_entity *g, int which,
                    bool by_name)
{
    bool ok = by_name ? strcmp(pr->tokens[p->start], gr->tokens[g->start]) == 0 : p->start == g->start;
    if (which == 1 || which == 3) ok = ok && strcmp(p->type, g->type) == 0;
    if (which >= 2) {
        bool hit = false;
        for (int i = 0; i < p->box_count; i++) {
            for (int j = 0; j < g->box_count; j++) hit = hit || gm_iou(p->boxes[i], g->boxes[j]) >= 0.5;
        }
        if (g->box_count == 0) hit = p->box_count == 0;
        ok = ok && hit && !p->has_bad_box;
    }
    return ok;
}

static int64_t try_all(const gm_record *pr, int32_t p, const gm_record *gr, unsigned used, int which, bool by_name)
{
    if (p == pr->entity_count) return 0;
    int64_t best = try_all(pr, p + 1, gr, used, which, by_name);
    for (int32_t g = 0; g < gr->entity_count; g++) {
        if (used >> g & 1u || !is_edge(pr, &pr->entities[p], gr, &gr->entities[g], which, by_name)) continue;
        const int64_t n = 1 + try_all(pr, p + 1, gr, used | 1u << g, which, by_name);
        if (n > best) best = n;
    }
    return best;
}

static void equals_trying_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        for (int by_name = 0; by_name < 2; by_name++) {
            gm_metrics m = score(&gold, &pred, by_name ? by_words : by_offset);
            const int64_t got[] = { m.span.tp, m.mner.tp, m.eeg.tp, m.gmner.tp };
            for (int which = 0; which < 4; which++) {
                int64_t want = 0;
                for (size_t p = 0; p < pred.count; p++) {
                    for (size_t g = 0; g < gold.count; g++) {
                        if (strcmp(pred.items[p].id, gold.items[g].id) != 0) continue;
                        want += try_all(&pred.items[p], 0, &gold.items[g], 0, which, by_name != 0);
                    }
                }
                assert_int_equal(got[which], want);
            }
            assert_int_equal(m.missing, gold.count - pred.count);
            gm_metrics_free(&m);
        }
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

/* ---- properties ---- */

static void in_order(gm_score s)
{
    assert_true(s.tp >= 0 && s.tp <= s.n_pred && s.tp <= s.n_gold);
    assert_true(gm_f1(s) >= 0 && gm_f1(s) <= 1);
}

static void scores_nest(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        gm_metrics m = score(&gold, &pred, by_words);
        in_order(m.span);
        in_order(m.mner);
        in_order(m.eeg);
        in_order(m.gmner);
        assert_true(m.gmner.tp <= m.mner.tp && m.gmner.tp <= m.eeg.tp && m.mner.tp <= m.span.tp &&
                    m.eeg.tp <= m.span.tp);
        gm_score sum = { 0 };
        for (int32_t i = 0; i < m.types.count; i++) {
            sum.tp += m.types.items[i].mner.tp;
            sum.n_pred += m.types.items[i].mner.n_pred;
            sum.n_gold += m.types.items[i].mner.n_gold;
            if (i > 0) assert_true(strcmp(m.types.items[i - 1].type, m.types.items[i].type) < 0);
        }
        assert_memory_equal(&sum, &m.mner, sizeof sum);
        gm_metrics_free(&m);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

static void turn_records(gm_records *all)
{
    for (size_t a = 0, b = all->count; a + 1 < b; a++) {
        const gm_record r = all->items[--b];
        all->items[b] = all->items[a];
        all->items[a] = r;
    }
    for (size_t i = 0; i < all->count; i++) {
        gm_record *r = &all->items[i];
        for (int32_t a = 0, b = r->entity_count - 1; a < b; a++, b--) {
            const gm_entity e = r->entities[a];
            r->entities[a] = r->entities[b];
            r->entities[b] = e;
        }
        for (int32_t e = 0; e < r->entity_count; e++) {
            gm_entity *x = &r->entities[e];
            if (x->box_count < 2) continue;
            const gm_box box = x->boxes[0];
            x->boxes[0] = x->boxes[x->box_count - 1];
            x->boxes[x->box_count - 1] = box;
        }
    }
}

static void order_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        gm_err err;
        gm_records gold = { 0 }, pred = { 0 };
        gm_buffer before = { 0 }, after = { 0 };
        random_files(seed, &gold, &pred);
        gm_metrics m = score(&gold, &pred, by_words);
        assert_ok(gm_report_json(&(gm_report) { .metrics = &m }, &before, &err));
        gm_metrics_free(&m);
        turn_records(seed % 2 ? &gold : &pred);
        if (seed % 3 == 0) turn_records(seed % 2 ? &pred : &gold);
        m = score(&gold, &pred, by_words);
        assert_ok(gm_report_json(&(gm_report) { .metrics = &m }, &after, &err));
        assert_string_equal(before.data, after.data);
        gm_metrics_free(&m);
        gm_buffer_free(&before);
        gm_buffer_free(&after);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

static void a_wrong_prediction_never_helps(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        if (pred.count > 0) {
            gm_metrics m = score(&gold, &pred, by_offset);
            add_entity(&pred.items[0], 7, "LOC"); /* no gold entity stands at the last word */
            gm_metrics n = score(&gold, &pred, by_offset);
            assert_true(gm_precision(n.span) <= gm_precision(m.span) && gm_recall(n.span) == gm_recall(m.span));
            assert_true(gm_precision(n.mner) <= gm_precision(m.mner) && gm_precision(n.gmner) <= gm_precision(m.gmner));
            assert_int_equal(n.mner.n_pred, m.mner.n_pred + 1);
            assert_int_equal(n.mner.tp, m.mner.tp);
            gm_metrics_free(&m);
            gm_metrics_free(&n);
        }
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

static void no_predictions_is_recall_zero_over_all_gold(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 }, none = { 0 };
    gm_buffer json = { 0 };
    random_files(5, &gold, &pred);
    int64_t entities = 0;
    for (size_t i = 0; i < gold.count; i++) entities += gold.items[i].entity_count;
    gm_metrics m = score(&gold, &none, by_offset);
    assert_true(entities > 0);
    assert_int_equal(m.mner.n_gold, entities);
    assert_int_equal(m.mner.n_pred + m.mner.tp, 0);
    assert_true(gm_recall(m.mner) == 0 && gm_precision(m.mner) == 0 && gm_f1(m.mner) == 0);
    assert_int_equal(m.missing, gold.count);
    assert_true(isnan(m.type_accuracy) && isnan(m.region_accuracy) && isnan(m.groundable_accuracy) &&
                isnan(m.mean_iou));
    assert_ok(gm_report_json(&(gm_report) { .metrics = &m }, &json, &err));
    assert_non_null(strstr(json.data, "\"mean_iou\":null"));
    gm_buffer_free(&json);
    gm_metrics_free(&m);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void gold_as_prediction_is_all_right(void **state)
{
    (void)state;
    gm_records gold = { 0 }, pred = { 0 };
    random_files(9, &gold, &pred);
    gm_metrics m = score(&gold, &gold, by_offset);
    assert_int_equal(m.gmner.tp, m.gmner.n_gold);
    assert_true(m.mean_iou == 1 && m.macro_gmner == 1 && m.type_accuracy == 1);
    gm_metrics_free(&m);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void thresholds(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_record g = blank("a"), p = blank("a");
    gm_entity *e = add_entity(&g, 0, "PER");
    e->boxes[e->box_count++] = (gm_box) { 0, 0, 10, 10 };
    e = add_entity(&p, 0, "PER");
    e->boxes[e->box_count++] = (gm_box) { 0, 0, 10, 5 };
    assert_ok(gm_records_add(&gold, &g, &err));
    assert_ok(gm_records_add(&pred, &p, &err));
    const struct {
        gm_eval_options how;
        int64_t tp;
    } cases[] = {
        { { .iou = 0.5 }, 1 },
        { { .iou = 0.5, .is_iou_strict = true }, 0 },
        { { .iou = 0.4, .is_iou_strict = true }, 1 },
        { { .iou = 0.6 }, 0 },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_metrics m = score(&gold, &pred, cases[i].how);
        assert_int_equal(m.gmner.tp, cases[i].tp);
        gm_metrics_free(&m);
    }
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void type_names(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "per", "PER" },
                                            { "Loc", "LOC" },
                                            { "ORG", "ORG" },
                                            { "OTHER", "MISC" },
                                            { "other", "MISC" },
                                            { "misc", "MISC" },
                                            { "Building_Other", "building_other" },
                                            { "aircraft", "aircraft" },
                                            { "PERSON", "person" },
                                            { "", "" } };
    char buf[128];
    for (size_t i = 0; i < GM_LEN(pairs); i++) assert_string_equal(gm_type_normal(pairs[i][0], buf), pairs[i][1]);
}

/* Gives entities fine types, or none; `as_type` makes that their type instead, one that nothing else has where there is none. */
static void set_fine(gm_records *all, uint64_t seed, bool as_type, const char *none)
{
    static const char *const fine[] = { "Actor", "actor", "painter", "OTHER", "misc" };
    dice d = { seed, 0 };
    for (size_t i = 0; i < all->count; i++) {
        for (int32_t k = 0; k < all->items[i].entity_count; k++) {
            gm_entity *e = &all->items[i].entities[k];
            const uint32_t n = roll(&d, GM_LEN(fine) + 1);
            char buf[128] = "";
            /* A letter before it keeps the rules of coarse names away: of fine ones, OTHER is not MISC. */
            if (n < GM_LEN(fine)) snprintf(buf, sizeof buf, as_type ? "z%s" : "%s", fine[n]);
            gm_free(as_type ? e->type : e->fine);
            if (as_type)
                e->type = text(n < GM_LEN(fine) ? buf : none);
            else
                e->fine = n < GM_LEN(fine) ? text(buf) : NULL;
        }
    }
}

static void fine_scores_are_those_of_fine_types(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        gm_records gold = { 0 }, pred = { 0 };
        int64_t with_fine = 0;
        random_files(seed, &gold, &pred);
        set_fine(&gold, seed, false, NULL);
        set_fine(&pred, seed + 500, false, NULL);
        for (size_t i = 0; i < gold.count; i++)
            for (int32_t k = 0; k < gold.items[i].entity_count; k++)
                with_fine += gold.items[i].entities[k].fine != NULL;
        gm_metrics m = score(&gold, &pred, by_words);
        set_fine(&gold, seed, true, "nothing in gold");
        set_fine(&pred, seed + 500, true, "nothing in predictions");
        gm_metrics as_types = score(&gold, &pred, by_words);
        assert_int_equal(m.with_fine, with_fine);
        assert_memory_equal(&m.fine_mner, &as_types.mner, sizeof m.mner);
        assert_memory_equal(&m.fmnerg, &as_types.gmner, sizeof m.gmner);
        for (int32_t i = 0; i < m.fines.count; i++) {
            bool is_found = false;
            for (int32_t k = 0; k < as_types.types.count; k++) {
                const gm_type_score *t = &as_types.types.items[k];
                if (strcmp(t->type + 1, m.fines.items[i].type) != 0) continue;
                assert_memory_equal(&t->mner, &m.fines.items[i].mner, sizeof t->mner);
                assert_memory_equal(&t->gmner, &m.fines.items[i].gmner, sizeof t->gmner);
                is_found = true;
            }
            assert_true(is_found);
        }
        gm_metrics_free(&m);
        gm_metrics_free(&as_types);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

static void fine_scores_are_reported_where_gold_has_fine_types(void **state)
{
    (void)state;
    for (int has_fine = 0; has_fine < 2; has_fine++) {
        gm_err err;
        gm_records gold = { 0 }, pred = { 0 };
        gm_buffer table = { 0 }, json = { 0 };
        cJSON *parsed = NULL;
        random_files(3, &gold, &pred);
        if (has_fine) set_fine(&gold, 3, false, NULL);
        set_fine(&pred, 4, false, NULL);
        gm_metrics m = score(&gold, &pred, by_offset);
        assert_ok(gm_report_table(&(gm_report) { .metrics = &m }, &table, &err));
        assert_ok(gm_report_json(&(gm_report) { .metrics = &m }, &json, &err));
        assert_ok(gm_json_parse(json.data, json.size, &parsed, &err));
        assert_int_equal(strstr(table.data, "FMNERG") != NULL, has_fine);
        assert_int_equal(cJSON_GetObjectItem(parsed, "fmnerg") != NULL, has_fine);
        assert_int_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(parsed, "macro_f1"), "fmnerg") != NULL, has_fine);
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(parsed, "per_fine_type")),
                         has_fine ? m.fines.count : 0);
        assert_non_null(cJSON_GetObjectItem(parsed, "eeg"));
        assert_non_null(cJSON_GetObjectItem(parsed, "gmner"));
        cJSON_Delete(parsed);
        gm_buffer_free(&table);
        gm_buffer_free(&json);
        gm_metrics_free(&m);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

static void report_forms(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_buffer table = { 0 }, json = { 0 }, one = { 0 };
    cJSON *parsed = NULL;
    random_files(3, &gold, &pred);
    gm_metrics m = score(&gold, &pred, by_offset);
    assert_ok(gm_report_table(&(gm_report) { .metrics = &m }, &table, &err));
    static const char *const lines[] = { "SPAN", "MNER", "EEG", "GMNER", "MISC", "macro F1", "without a prediction" };
    for (size_t i = 0; i < GM_LEN(lines); i++) assert_non_null(strstr(table.data, lines[i]));
    assert_ok(gm_report_json(&(gm_report) { .metrics = &m }, &json, &err));
    assert_ok(gm_json_parse(json.data, json.size, &parsed, &err));
    const cJSON *mner = cJSON_GetObjectItem(parsed, "mner");
    assert_int_equal(cJSON_GetObjectItem(mner, "n_gold")->valueint, m.mner.n_gold);
    assert_true(fabs(cJSON_GetObjectItem(mner, "f1")->valuedouble - gm_f1(m.mner)) < 1e-11);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(parsed, "per_type")), m.types.count);
    assert_ok(gm_score_json((gm_score) { 1, 3, 3 }, &one, &err));
    assert_string_equal(
        one.data,
        "{\"tp\":1,\"n_pred\":3,\"n_gold\":3,\"p\":0.333333333333,\"r\":0.333333333333,\"f1\":0.333333333333}");
    cJSON_Delete(parsed);
    gm_buffer_free(&table);
    gm_buffer_free(&json);
    gm_buffer_free(&one);
    gm_metrics_free(&m);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

/* EEG without a box in gold equals SPAN: a reader must not take that for grounding. */
static void gold_without_boxes_is_named(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    random_files(3, &gold, &pred);
    for (int has_boxes = 1; has_boxes >= 0; has_boxes--) {
        gm_buffer table = { 0 };
        int64_t boxed = 0;
        for (size_t i = 0; i < gold.count; i++)
            for (int32_t k = 0; k < gold.items[i].entity_count; k++) {
                if (!has_boxes) gold.items[i].entities[k].box_count = 0;
                boxed += gold.items[i].entities[k].box_count > 0;
            }
        gm_metrics m = score(&gold, &pred, by_offset);
        assert_int_equal(m.groundable, boxed);
        assert_ok(gm_report_table(&(gm_report) { .metrics = &m }, &table, &err));
        assert_int_equal(strstr(table.data, "no gold entity has a box") != NULL, !has_boxes);
        gm_buffer_free(&table);
        gm_metrics_free(&m);
    }
    gm_records_free(&gold);
    gm_records_free(&pred);
}

/* ---- refused ---- */

static void refuses(gm_records *gold, gm_records *pred, gm_eval_options how, gm_status status, const char *part)
{
    gm_err err = { 0 };
    gm_metrics m;
    assert_int_equal(gm_evaluate(gold, pred, &how, &m, &err), status);
    if (strstr(err.text, part) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, part);
    gm_records_free(gold);
    gm_records_free(pred);
}

static void an_unknown_id_is_refused(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_record a = blank("a"), b = blank("zz9");
    assert_ok(gm_records_add(&gold, &a, &err));
    assert_ok(gm_records_add(&pred, &b, &err));
    refuses(&gold, &pred, by_offset, GM_ERR_DATA, "\"zz9\"");
}

static void an_id_twice_is_refused(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        gm_err err;
        gm_records once = { 0 }, twice = { 0 };
        gm_record a = blank("a7"), b = blank("a7"), c = blank("a7");
        assert_ok(gm_records_add(&once, &a, &err));
        assert_ok(gm_records_add(&twice, &b, &err));
        assert_ok(gm_records_add(&twice, &c, &err));
        refuses(side ? &once : &twice, side ? &twice : &once, by_offset, GM_ERR_DATA,
                side ? "predictions: the id \"a7\"" : "gold: the id \"a7\"");
    }
}

static void a_span_beyond_the_words_is_refused_by_name(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    gm_record a = blank("a"), b = blank("a");
    add_entity(&b, WORDS, "PER");
    assert_ok(gm_records_add(&gold, &a, &err));
    assert_ok(gm_records_add(&pred, &b, &err));
    refuses(&gold, &pred, by_words, GM_ERR_DATA, "entities[0]");
}

static void a_type_too_long_is_refused(void **state)
{
    (void)state;
    gm_err err;
    char name[200];
    memset(name, 'x', sizeof name);
    name[128] = '\0';
    gm_records gold = { 0 }, pred = { 0 };
    gm_record a = blank("a");
    add_entity(&a, 0, name);
    assert_ok(gm_records_add(&gold, &a, &err));
    refuses(&gold, &pred, by_offset, GM_ERR_DATA, "127");
}

static void a_fine_type_too_long_is_refused(void **state)
{
    (void)state;
    gm_err err;
    char name[200];
    memset(name, 'x', sizeof name);
    name[128] = '\0';
    gm_records gold = { 0 }, pred = { 0 };
    gm_record a = blank("a");
    add_entity(&a, 0, "PER")->fine = text(name);
    assert_ok(gm_records_add(&gold, &a, &err));
    refuses(&gold, &pred, by_offset, GM_ERR_DATA, "fine type");
}

static void a_threshold_out_of_range_is_refused(void **state)
{
    (void)state;
    gm_records gold = { 0 }, pred = { 0 };
    refuses(&gold, &pred, (gm_eval_options) { .iou = 1.5 }, GM_ERR_USAGE, "1.5");
    refuses(&gold, &pred, (gm_eval_options) { .iou = NAN }, GM_ERR_USAGE, "nan");
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    gm_records gold = { 0 }, pred = { 0 };
    random_files(11, &gold, &pred);
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_err err = { 0 };
        gm_metrics m;
        gm_alloc_fail_at(k);
        status = gm_evaluate(&gold, &pred, &by_offset, &m, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_NOMEM);
        gm_metrics_free(&m);
    }
    assert_true(k > 5);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_trying_everything),
        cmocka_unit_test(scores_nest),
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(a_wrong_prediction_never_helps),
        cmocka_unit_test(no_predictions_is_recall_zero_over_all_gold),
        cmocka_unit_test(gold_as_prediction_is_all_right),
        cmocka_unit_test(thresholds),
        cmocka_unit_test(type_names),
        cmocka_unit_test(fine_scores_are_those_of_fine_types),
        cmocka_unit_test(fine_scores_are_reported_where_gold_has_fine_types),
        cmocka_unit_test(report_forms),
        cmocka_unit_test(gold_without_boxes_is_named),
        cmocka_unit_test(an_unknown_id_is_refused),
        cmocka_unit_test(an_id_twice_is_refused),
        cmocka_unit_test(a_span_beyond_the_words_is_refused_by_name),
        cmocka_unit_test(a_type_too_long_is_refused),
        cmocka_unit_test(a_fine_type_too_long_is_refused),
        cmocka_unit_test(a_threshold_out_of_range_is_refused),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
