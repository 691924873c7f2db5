/* The shared fixture `evaluation`: counts exactly, ratios to 1e-9. Every key of the fixture is either tested here or
 * named as coming later, so that nothing in it goes unnoticed. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "eval/metrics.h"

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

static void near(const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-9)) fail_msg("%s is %.12g, the fixture says %.12g", what, got, want);
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
    static const char *const later[] = { "compat_unco", "compat_refineg", "compat_sake_mean_sample_f1" };
    const cJSON *fixture = gmt_fixture("evaluation"), *item;
    size_t done = 0;
    cJSON_ArrayForEach(item, member(fixture, "expected"))
    {
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(later); i++) is_known = is_known || strcmp(item->string, later[i]) == 0;
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
    static const char *const tested[] = { "note", "iou", "toy", "expected", "one_to_one_matching" };
    static const char *const later[] = { "auroc", "ece", "risk_coverage" };
    const cJSON *it;
    cJSON_ArrayForEach(it, gmt_fixture("evaluation"))
    {
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(tested); i++) is_known = is_known || strcmp(it->string, tested[i]) == 0;
        for (size_t i = 0; i < GM_LEN(later); i++) is_known = is_known || strcmp(it->string, later[i]) == 0;
        if (!is_known) fail_msg("the fixture's part \"%s\" is not known to this test", it->string);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(toy_file),
        cmocka_unit_test(one_to_one),
        cmocka_unit_test(iou),
        cmocka_unit_test(every_part_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
