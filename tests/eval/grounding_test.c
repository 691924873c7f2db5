/* Baselines of grounding: each kind of box by hand, beside a scoring of files made by hand, and properties of any files. */
#include "tests/eval/eval_test.h"

#include "eval/grounding.h"

static const gm_box offered[] = { { 0, 0, 10, 10 }, { 40, 0, 50, 10 }, { 0, 0, 60, 20 }, { 0, 20, 60, 40 } };

typedef struct giver {
    int32_t count;
    const char *none_for; /* this id has no regions */
    gm_status status;
} giver;

static gm_status give(void *context, const gm_record *record, const gm_box **boxes, int32_t *count, gm_err *err)
{
    const giver *g = context;
    if (g->status != GM_OK) return gm_fail(err, g->status, "no regions of %s", record->id);
    *boxes = offered;
    *count = g->none_for != NULL && strcmp(record->id, g->none_for) == 0 ? 0 : g->count;
    return GM_OK;
}

static gm_grounding ground(const gm_records *gold, const gm_records *pred, uint64_t seed, giver g)
{
    gm_err err;
    gm_grounding to;
    assert_ok(gm_ground(gold, pred, &by_offset, seed, give, &g, &to, &err));
    return to;
}

/* Predictions with these boxes, scored as any file is. */
static void scored(const gm_records *gold, gm_records *pred, const gm_box *box, gm_score *eeg, gm_score *gmner)
{
    gm_err err;
    gm_metrics m;
    for (size_t i = 0; i < pred->count; i++) {
        for (int32_t k = 0; k < pred->items[i].entity_count; k++) {
            gm_entity *e = &pred->items[i].entities[k];
            e->has_bad_box = false;
            e->box_count = box != NULL;
            if (box != NULL) e->boxes[0] = *box;
        }
    }
    assert_ok(gm_evaluate(gold, pred, &by_offset, &m, &err));
    *eeg = m.eeg;
    *gmner = m.gmner;
    gm_metrics_free(&m);
}

static void kinds_beside_files_made_by_hand(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        gm_err err;
        gm_metrics m;
        gm_score eeg, gmner;
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        gm_grounding g = ground(&gold, &pred, seed, (giver) { .count = 3 });
        assert_ok(gm_evaluate(&gold, &pred, &by_offset, &m, &err));
        assert_memory_equal(&g.eeg[GM_BOXES_PREDICTED], &m.eeg, sizeof m.eeg);
        assert_memory_equal(&g.gmner[GM_BOXES_PREDICTED], &m.gmner, sizeof m.eeg);
        gm_metrics_free(&m);
        scored(&gold, &pred, NULL, &eeg, &gmner);
        assert_memory_equal(&g.eeg[GM_BOXES_NULL], &eeg, sizeof eeg);
        assert_memory_equal(&g.gmner[GM_BOXES_NULL], &gmner, sizeof gmner);
        scored(&gold, &pred, &offered[2], &eeg, &gmner);
        assert_memory_equal(&g.eeg[GM_BOXES_LARGEST], &eeg, sizeof eeg);
        assert_memory_equal(&g.gmner[GM_BOXES_LARGEST], &gmner, sizeof gmner);
        assert_int_equal(g.samples, gold.count);
        assert_int_equal(g.regions, 3 * (int64_t)gold.count);
        gm_grounding_free(&g);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

/* One sample: 0 PER at the first region, 1 LOC without, 2 PER at a place that no region reaches; all predicted, and word 5. */
static void small_files(gm_records *gold, gm_records *pred)
{
    gm_err err;
    gm_record g = blank("a"), p = blank("a");
    gm_entity *e = add_entity(&g, 0, "PER");
    e->boxes[e->box_count++] = (gm_box) { 0, 0, 10, 9 };
    add_entity(&g, 1, "LOC");
    e = add_entity(&g, 2, "PER");
    e->boxes[e->box_count++] = (gm_box) { 100, 100, 110, 110 };
    for (int32_t word = 0; word < 3; word++) add_entity(&p, word, word == 1 ? "ORG" : "PER");
    add_entity(&p, 5, "PER");
    assert_ok(gm_records_add(gold, &g, &err));
    assert_ok(gm_records_add(pred, &p, &err));
}

static void is_score(gm_score s, int64_t tp, int64_t n_pred, int64_t n_gold)
{
    assert_int_equal(s.tp, tp);
    assert_int_equal(s.n_pred, n_pred);
    assert_int_equal(s.n_gold, n_gold);
}

static void upper_bound_and_recall(void **state)
{
    (void)state;
    gm_err err;
    gm_records gold = { 0 }, pred = { 0 };
    small_files(&gold, &pred);
    gm_grounding g = ground(&gold, &pred, 1, (giver) { .count = 4 });
    is_score(g.eeg[GM_BOXES_BEST], 2, 4, 3);
    is_score(g.gmner[GM_BOXES_BEST], 1, 4, 3); /* word 1 has the wrong type */
    is_score(g.eeg[GM_BOXES_NULL], 1, 4, 3);
    is_score(g.eeg[GM_BOXES_LARGEST], 0, 4, 3);
    assert_int_equal(g.groundable, 2);
    assert_int_equal(g.covered, 1);
    assert_int_equal(g.type_count, 1);
    assert_string_equal(g.types[0].type, "PER");
    assert_int_equal(g.types[0].groundable, 2);
    assert_int_equal(g.types[0].covered, 1);
    gm_buffer table = { 0 }, json = { 0 };
    cJSON *parsed = NULL;
    assert_ok(gm_grounding_table(&g, &table, &err));
    assert_non_null(strstr(table.data, "upper bound"));
    assert_non_null(strstr(table.data, "1 of 2 gold entities with boxes"));
    assert_ok(gm_grounding_json(&g, &json, &err));
    assert_ok(gm_json_parse(json.data, json.size, &parsed, &err));
    const cJSON *regions = cJSON_GetObjectItem(parsed, "regions");
    near("recall", cJSON_GetObjectItem(cJSON_GetObjectItem(regions, "all"), "recall")->valuedouble, 0.5);
    for (int i = 0; i < GM_BOXES_KINDS; i++) {
        const cJSON *eeg = cJSON_GetObjectItem(cJSON_GetObjectItem(parsed, gm_boxes_names[i]), "eeg");
        assert_int_equal(cJSON_GetObjectItem(eeg, "tp")->valueint, g.eeg[i].tp);
    }
    cJSON_Delete(parsed);
    gm_buffer_free(&table);
    gm_buffer_free(&json);
    gm_grounding_free(&g);
    g = ground(&gold, &pred, 1, (giver) { .count = 4, .none_for = "a" });
    assert_int_equal(g.without_regions, 1);
    assert_int_equal(g.covered, 0);
    for (int i = GM_BOXES_NULL; i < GM_BOXES_KINDS; i++) is_score(g.eeg[i], 1, 4, 3);
    gm_grounding_free(&g);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

/* A name twice in one sample, its mentions seen in two places: the bound offers both. */
static void upper_bound_of_a_name_twice(void **state)
{
    (void)state;
    gm_err err;
    gm_grounding g;
    gm_records gold = { 0 }, pred = { 0 };
    gm_record a = blank("a"), b = blank("a");
    for (int i = 0; i < 2; i++) {
        gm_entity *e = add_entity(&a, 2 * i, "PER");
        e->boxes[e->box_count++] = offered[i];
        add_entity(&b, 2 * i, "PER");
    }
    assert_ok(gm_records_add(&gold, &a, &err));
    assert_ok(gm_records_add(&pred, &b, &err));
    giver from = { .count = 2 };
    assert_ok(gm_ground(&gold, &pred, &by_words, 1, give, &from, &g, &err));
    is_score(g.gmner[GM_BOXES_BEST], 2, 2, 2);
    gm_grounding_free(&g);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

static void nothing_is_above_the_bound(void **state)
{
    (void)state;
    int differ = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        for (size_t i = 0; i < pred.count; i++) { /* a key once in a sample */
            for (int32_t k = 0; k < pred.items[i].entity_count; k++)
                pred.items[i].entities[k].start = pred.items[i].entities[k].end = k;
        }
        for (size_t i = 0; i < gold.count; i++) {
            for (int32_t k = 0; k < gold.items[i].entity_count; k++)
                gold.items[i].entities[k].start = gold.items[i].entities[k].end = k;
        }
        gm_grounding a = ground(&gold, &pred, 1, (giver) { .count = 4 }),
                     b = ground(&gold, &pred, 1, (giver) { .count = 4 });
        gm_grounding c = ground(&gold, &pred, 2, (giver) { .count = 4 });
        for (int kind = GM_BOXES_NULL; kind < GM_BOXES_BEST; kind++) {
            assert_true(a.eeg[kind].tp <= a.eeg[GM_BOXES_BEST].tp);
            assert_true(a.gmner[kind].tp <= a.gmner[GM_BOXES_BEST].tp);
            assert_memory_equal(&a.eeg[kind], &b.eeg[kind], sizeof a.eeg[kind]); /* the same seed, the same boxes */
        }
        differ += a.eeg[GM_BOXES_RANDOM].tp != c.eeg[GM_BOXES_RANDOM].tp;
        gm_grounding_free(&a);
        gm_grounding_free(&b);
        gm_grounding_free(&c);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
    assert_true(differ > 0);
}

static void what_is_refused(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_grounding g;
    gm_records gold = { 0 }, pred = { 0 };
    giver from = { .status = GM_ERR_IO };
    small_files(&gold, &pred);
    assert_int_equal(gm_ground(&gold, &pred, &by_offset, 1, give, &from, &g, &err), GM_ERR_IO);
    assert_string_equal(err.text, "no regions of a");
    int64_t k = 0;
    from = (giver) { .count = 4 };
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_alloc_fail_at(k);
        status = gm_ground(&gold, &pred, &by_offset, 1, give, &from, &g, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_NOMEM);
    }
    assert_true(k > 10);
    gm_grounding_free(&g);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_beside_files_made_by_hand),
        cmocka_unit_test(upper_bound_and_recall),
        cmocka_unit_test(upper_bound_of_a_name_twice),
        cmocka_unit_test(nothing_is_above_the_bound),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
