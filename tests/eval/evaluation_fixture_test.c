/* The shared fixture `evaluation`: counts exactly, ratios to 1e-9. Every key of the fixture is either tested here or
 * named with the reason why not, so that nothing in it goes unnoticed. */
#include "tests/eval/eval_test.h"

#include "eval/compat.h"
#include "eval/ranking.h"

static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    if (value == NULL) fail_msg("the fixture has no \"%s\"", name);
    return value;
}

static double number(const cJSON *object, const char *name) { return cJSON_GetNumberValue(member(object, name)); }

static bool is_box(const cJSON *b, gm_box *box)
{
    double v[4];
    assert_int_equal(gmt_json_doubles(b, v, 4), 4);
    *box = (gm_box) { v[0], v[1], v[2], v[3] };
    return box->x2 > box->x1 && box->y2 > box->y1;
}

/* A fixture entity without offsets (the one-to-one case) takes word `index`. */
static void fill_entity(gm_entity *e, const cJSON *from, int index)
{
    const cJSON *boxes = member(from, "boxes"), *start = cJSON_GetObjectItem(from, "start");
    e->start = start != NULL ? start->valueint : index;
    e->end = start != NULL ? (int)number(from, "end") : index;
    e->type = gm_strdup(cJSON_GetStringValue(member(from, "type")));
    e->score = e->region_score = NAN;
    e->uncertainty = gm_no_uncertainty;
    e->boxes = gm_calloc((size_t)cJSON_GetArraySize(boxes), sizeof *e->boxes);
    const cJSON *b;
    cJSON_ArrayForEach(b, boxes)
    {
        if (is_box(b, &e->boxes[e->box_count]))
            e->box_count++;
        else
            e->has_bad_box = true;
    }
}

/* The words of a record: the fixture's tokens (predictions have those of their gold sample), else the names. */
static void fill_tokens(gm_record *r, const cJSON *tokens, const cJSON *entities)
{
    const int n = tokens != NULL ? cJSON_GetArraySize(tokens) : cJSON_GetArraySize(entities);
    r->tokens = gm_calloc((size_t)n, sizeof *r->tokens);
    for (; r->token_count < n; r->token_count++) {
        const cJSON *from = tokens != NULL ? cJSON_GetArrayItem(tokens, r->token_count)
                                           : member(cJSON_GetArrayItem(entities, r->token_count), "name");
        r->tokens[r->token_count] = gm_strdup(cJSON_GetStringValue(from));
    }
}

static gm_records load(const cJSON *samples, const cJSON *tokens_of)
{
    gm_err err;
    gm_records all = { 0 };
    for (int i = 0; i < cJSON_GetArraySize(samples); i++) {
        const cJSON *sample = cJSON_GetArrayItem(samples, i), *entities = member(sample, "entities");
        gm_record r = { .id = gm_strdup(cJSON_GetStringValue(member(sample, "id"))) };
        fill_tokens(&r, cJSON_GetObjectItem(cJSON_GetArrayItem(tokens_of, i), "tokens"), entities);
        r.entities = gm_calloc((size_t)cJSON_GetArraySize(entities), sizeof *r.entities);
        const cJSON *e;
        cJSON_ArrayForEach(e, entities)
        {
            fill_entity(&r.entities[r.entity_count], e, r.entity_count);
            r.entity_count++;
        }
        assert_ok(gm_records_add(&all, &r, &err));
    }
    return all;
}

static gm_metrics evaluate(const cJSON *pair, gm_eval_options how)
{
    gm_err err;
    gm_metrics m = { 0 };
    const cJSON *gold_json = member(pair, "gold"), *pred_json = member(pair, "pred");
    gm_records gold = load(gold_json, gold_json), pred = load(pred_json, gold_json);
    assert_ok(gm_evaluate(&gold, &pred, &how, &m, &err));
    gm_records_free(&gold);
    gm_records_free(&pred);
    return m;
}

static void check_score(const char *name, gm_score got, const cJSON *want)
{
    static const char *const known[] = { "tp", "n_pred", "n_gold", "precision", "recall", "f1" };
    const double value[] = { (double)got.tp,    (double)got.n_pred, (double)got.n_gold,
                             gm_precision(got), gm_recall(got),     gm_f1(got) };
    assert_int_equal(cJSON_GetArraySize(want), GM_LEN(known));
    for (size_t i = 0; i < GM_LEN(known); i++) {
        if (i < 3 && value[i] != number(want, known[i]))
            fail_msg("%s.%s is %g, the fixture says %g", name, known[i], value[i], number(want, known[i]));
        near(name, value[i], number(want, known[i]));
    }
}

static void check_types(const gm_metrics *m, const char *score, const cJSON *want)
{
    assert_int_equal(m->types.count, cJSON_GetArraySize(want));
    for (int32_t i = 0; i < m->types.count; i++) {
        const gm_type_score *t = &m->types.items[i];
        check_score(t->type, strcmp(score, "MNER") == 0 ? t->mner : t->gmner, member(want, t->type));
    }
}

static void check_span_matched(const gm_metrics *m, const cJSON *want)
{
    assert_int_equal(cJSON_GetArraySize(want), 6);
    assert_int_equal(m->matched, number(want, "n"));
    near("type accuracy", m->type_accuracy, number(want, "type_accuracy"));
    near("groundability accuracy", m->groundable_accuracy, number(want, "groundability_accuracy"));
    near("region accuracy", m->region_accuracy, number(want, "region_accuracy"));
    near("mean IoU", m->mean_iou, number(want, "mean_iou_groundable"));
}

static void check_report(const gm_metrics *m, const cJSON *want)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, want)
    {
        const char *key = item->string;
        if (strcmp(key, "SPAN") == 0)
            check_score(key, m->span, item);
        else if (strcmp(key, "MNER") == 0)
            check_score(key, m->mner, item);
        else if (strcmp(key, "EEG") == 0)
            check_score(key, m->eeg, item);
        else if (strcmp(key, "GMNER") == 0)
            check_score(key, m->gmner, item);
        else if (strcmp(key, "span_matched") == 0)
            check_span_matched(m, item);
        else if (strcmp(key, "per_type") == 0) {
            assert_int_equal(cJSON_GetArraySize(item), 2);
            check_types(m, "MNER", member(item, "MNER"));
            check_types(m, "GMNER", member(item, "GMNER"));
        } else if (strcmp(key, "macro_f1") == 0) {
            near("macro MNER", m->macro_mner, number(item, "MNER"));
            near("macro GMNER", m->macro_gmner, number(item, "GMNER"));
        } else
            fail_msg("the fixture expects \"%s\", which this test does not know", key);
    }
}

static void toy_file(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        gm_eval_options how;
    } tested[] = {
        { "reference_offset_ge_0.5", { .iou = 0.5 } },
        { "reference_name_ge_0.5", { .iou = 0.5, .by_name = true } },
        { "reference_offset_gt_0.5", { .iou = 0.5, .is_iou_strict = true } },
    };
    /* compat_*: tested below. SAKE's is a reward for training, a mean over samples, and no evaluator of gmner eval. */
    static const char *const elsewhere[] = { "compat_unco", "compat_refineg", "compat_sake_mean_sample_f1" };
    const cJSON *fixture = gmt_fixture("evaluation"), *item;
    size_t done = 0;
    cJSON_ArrayForEach(item, member(fixture, "expected"))
    {
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(elsewhere); i++) is_known = is_known || strcmp(item->string, elsewhere[i]) == 0;
        for (size_t i = 0; i < GM_LEN(tested); i++) {
            if (strcmp(item->string, tested[i].key) != 0) continue;
            gm_metrics m = evaluate(member(fixture, "toy"), tested[i].how);
            check_report(&m, item);
            assert_int_equal(m.samples, 6);
            assert_int_equal(m.missing, 0);
            gm_metrics_free(&m);
            is_known = true;
            done++;
        }
        if (!is_known) fail_msg("expected.%s is not known to this test", item->string);
    }
    assert_int_equal(done, GM_LEN(tested));
}

static void public_evaluators(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        gm_compat_rule rule;
    } tested[] = { { "compat_unco", GM_COMPAT_UNCO }, { "compat_refineg", GM_COMPAT_REFINEG } };
    const cJSON *fixture = gmt_fixture("evaluation"), *toy = member(fixture, "toy");
    gm_records gold = load(member(toy, "gold"), member(toy, "gold")),
               pred = load(member(toy, "pred"), member(toy, "gold"));
    for (size_t i = 0; i < GM_LEN(tested); i++) {
        gm_err err;
        gm_compat c;
        assert_ok(gm_evaluate_compat(&gold, &pred, tested[i].rule, &c, &err));
        const struct {
            const char *name;
            gm_score got;
        } scores[] = {
            { "GMNER", c.gmner }, { "EEG", c.eeg }, { "MNER", c.mner }, { "SPAN", c.span }, { "CLS", c.cls }
        };
        const cJSON *wanted = member(member(fixture, "expected"), tested[i].key);
        assert_int_equal(cJSON_GetArraySize(wanted), GM_LEN(scores));
        for (size_t k = 0; k < GM_LEN(scores); k++) {
            const cJSON *want = member(wanted, scores[k].name);
            near(scores[k].name, gm_precision(scores[k].got), number(want, "precision"));
            near(scores[k].name, gm_recall(scores[k].got), number(want, "recall"));
            near(scores[k].name, gm_f1(scores[k].got), number(want, "f1"));
        }
        assert_int_equal(c.dropped_samples, 2); /* s4 has no gold, s5 no prediction */
        assert_int_equal(c.dropped_predictions, 0);
    }
    gm_records_free(&gold);
    gm_records_free(&pred);
}

/* ---- uncertainty ---- */

static size_t load_ranked(const cJSON *from, const char *u, const char *verdict, bool is_right, gm_ranked list[16])
{
    double value[16], other[16];
    const int n = gmt_json_doubles(member(from, u), value, 16);
    assert_int_equal(gmt_json_doubles(member(from, verdict), other, 16), n);
    for (int i = 0; i < n; i++)
        list[i] = (gm_ranked) { is_right ? 1 - value[i] : value[i], (other[i] != 0) != is_right };
    return (size_t)n;
}

static void auroc(void **state)
{
    (void)state;
    const cJSON *it = member(gmt_fixture("evaluation"), "auroc");
    gm_ranked list[16];
    const gm_ranking r = gm_rank(list, load_ranked(it, "uncertainty", "wrong", false, list));
    assert_int_equal(cJSON_GetArraySize(it), 4);
    near("AUROC", r.auroc, number(it, "auroc_ties_half"));
    near("strict AUROC", r.auroc_strict, number(it, "auroc_strict"));
    assert_int_equal(r.right, 7);
    assert_int_equal(r.wrong, 3);
}

static void calibration(void **state)
{
    (void)state;
    const cJSON *it = member(gmt_fixture("evaluation"), "ece"), *row, *wanted = member(it, "bins10");
    gm_ranked list[16];
    const size_t n = load_ranked(it, "confidence", "correct", true, list);
    (void)gm_rank(list, n);
    gm_calibration c = gm_calibrate(list, n, 10);
    assert_int_equal(cJSON_GetArraySize(it), 5);
    near("ECE", c.ece, number(wanted, "ece"));
    near("MCE", c.mce, number(wanted, "mce"));
    near("Brier", c.brier, number(it, "brier"));
    cJSON_ArrayForEach(row, member(wanted, "rows"))
    {
        const gm_bin *bin = &c.bins[(int)number(row, "bin")];
        assert_int_equal(bin->count, number(row, "n"));
        if (bin->count == 0) continue;
        near("accuracy", bin->accuracy, number(row, "accuracy"));
        near("confidence", bin->confidence, number(row, "confidence"));
        near("gap", fabs(bin->accuracy - bin->confidence), number(row, "gap"));
    }
    c = gm_calibrate(list, n, 5);
    near("ECE of 5 bins", c.ece, number(member(it, "bins5"), "ece"));
    near("MCE of 5 bins", c.mce, number(member(it, "bins5"), "mce"));
}

static void risk_coverage(void **state)
{
    (void)state;
    const cJSON *it = member(gmt_fixture("evaluation"), "risk_coverage"), *point;
    gm_ranked list[16];
    double risk[16];
    const size_t n = load_ranked(it, "uncertainty", "wrong", false, list);
    const gm_ranking r = gm_rank(list, n);
    assert_int_equal(cJSON_GetArraySize(it), 5);
    near("AURC", r.aurc, number(it, "aurc"));
    near("E-AURC", r.e_aurc, number(it, "e_aurc"));
    gm_risk_coverage(list, n, risk);
    size_t k = 0;
    cJSON_ArrayForEach(point, member(it, "curve"))
    {
        near("coverage", (double)(k + 1) / (double)n, number(point, "coverage"));
        near("risk", risk[k++], number(point, "risk"));
    }
    assert_int_equal(k, n);
}

static void one_to_one(void **state)
{
    (void)state;
    const cJSON *it = member(gmt_fixture("evaluation"), "one_to_one_matching");
    gm_metrics m = evaluate(it, (gm_eval_options) { .iou = 0.5, .by_name = true });
    check_score("one_to_one", m.gmner, member(it, "expected_gmner"));
    assert_int_not_equal(m.gmner.tp, number(it, "greedy_first_gold_would_give_tp"));
    gm_metrics_free(&m);
}

static void iou(void **state)
{
    (void)state;
    const cJSON *it;
    cJSON_ArrayForEach(it, member(gmt_fixture("evaluation"), "iou"))
    {
        gm_box a, b;
        (void)is_box(member(it, "a"), &a);
        (void)is_box(member(it, "b"), &b);
        near("IoU", gm_iou(a, b), number(it, "iou"));
        near("IoU, swapped", gm_iou(b, a), number(it, "iou"));
    }
    assert_true(gm_iou((gm_box) { 0, 0, 10, 10 }, (gm_box) { 0, 0, 10, 5 }) == 0.5);
}

static void every_part_is_known(void **state)
{
    (void)state;
    static const char *const tested[] = { "note",  "iou", "toy",          "expected", "one_to_one_matching",
                                          "auroc", "ece", "risk_coverage" };
    const cJSON *it;
    cJSON_ArrayForEach(it, gmt_fixture("evaluation"))
    {
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(tested); i++) is_known = is_known || strcmp(it->string, tested[i]) == 0;
        if (!is_known) fail_msg("the fixture's part \"%s\" is not known to this test", it->string);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(toy_file),    cmocka_unit_test(public_evaluators),   cmocka_unit_test(auroc),
        cmocka_unit_test(calibration), cmocka_unit_test(risk_coverage),       cmocka_unit_test(one_to_one),
        cmocka_unit_test(iou),         cmocka_unit_test(every_part_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
