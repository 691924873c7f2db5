/* The public evaluators' counting: beside a plain one that keeps rows as texts in lists, and each peculiarity by name. */
#include "tests/eval/eval_test.h"

#include "eval/compat.h"

/* ---- a plain counting ---- */

enum { MOST_ROWS = 40, ROW = 64 };

typedef struct rows {
    char text[MOST_ROWS][ROW];
    int count;
} rows;

static bool has(const rows *list, const char *text)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->text[i], text) == 0) return true;
    return false;
}

static void add(rows *list, const char *text)
{
    if (has(list, text)) return;
    assert_true(list->count < MOST_ROWS);
    snprintf(list->text[list->count++], ROW, "%s", text);
}

/* One word an entity in these files. */
static void key(char to[ROW], const gm_record *r, const gm_entity *e, bool by_name)
{
    if (by_name)
        snprintf(to, ROW, "%s", r->tokens[e->start]);
    else
        snprintf(to, ROW, "%d-%d", e->start, e->end);
}

/* The row of one box of e (NULL: without), "key/type/region". */
static void row(char to[ROW], const gm_record *r, const gm_entity *e, bool by_name, bool with_type, int region)
{
    char name[ROW], type[128];
    key(name, r, e, by_name);
    snprintf(to, ROW, "%.20s/%.20s/%d", name, with_type ? gm_type_normal(e->type, type) : "", region);
}

static int region_of(const gm_record *gold, const gm_record *pred, const gm_entity *e, const gm_box *box, bool by_name)
{
    char mine[ROW], other[ROW];
    key(mine, pred, e, by_name);
    for (int g = 0, n = 1; g < gold->entity_count; g++) {
        key(other, gold, &gold->entities[g], by_name);
        for (int b = 0; b < gold->entities[g].box_count; b++, n++)
            if (strcmp(mine, other) == 0 && gm_iou(*box, gold->entities[g].boxes[b]) >= 0.5) return n;
    }
    return -1;
}

static void take(rows *g, rows *p, const gm_record *gold, const gm_record *pred, bool by_name, bool with_type,
                 bool with_region)
{
    char text[ROW];
    *g = *p = (rows) { .count = 0 };
    for (int i = 0, n = 0; i < gold->entity_count; i++) {
        const gm_entity *e = &gold->entities[i];
        if (e->box_count == 0) {
            row(text, gold, e, by_name, with_type, 0);
            add(g, text);
        }
        for (int b = 0; b < e->box_count; b++) {
            n++;
            row(text, gold, e, by_name, with_type, with_region ? n : 0);
            add(g, text);
        }
    }
    for (int i = 0; i < pred->entity_count; i++) {
        const gm_entity *e = &pred->entities[i];
        if (e->box_count == 0) {
            row(text, pred, e, by_name, with_type, with_region && e->has_bad_box ? -1 : 0);
            add(p, text);
        }
        for (int b = 0; b < e->box_count; b++) {
            row(text, pred, e, by_name, with_type, with_region ? region_of(gold, pred, e, &e->boxes[b], by_name) : 0);
            add(p, text);
        }
    }
}

static void count(const rows *g, const rows *p, gm_score *s)
{
    s->n_gold += g->count;
    s->n_pred += p->count;
    for (int i = 0; i < p->count; i++) s->tp += has(g, p->text[i]);
}

/* UnCo: for each wrong row the same row without a region, where gold has one that differs in nothing else. */
static void add_zero(const rows *g, rows *p)
{
    for (int i = 0, n = p->count; i < n; i++) {
        const size_t length = (size_t)(strrchr(p->text[i], '/') - p->text[i]) + 1;
        for (int k = 0; k < g->count && !has(g, p->text[i]); k++) {
            if (strncmp(g->text[k], p->text[i], length) != 0) continue;
            char text[ROW];
            snprintf(text, sizeof text, "%.*s0", (int)length, p->text[i]);
            add(p, text);
            break;
        }
    }
}

/* cls: of the predicted rows those whose key gold has. */
static void count_known(const rows *g, const rows *p, gm_score *s)
{
    rows known = { .count = 0 };
    for (int i = 0; i < p->count; i++) {
        const size_t length = (size_t)(strchr(p->text[i], '/') - p->text[i]) + 1;
        for (int k = 0; k < g->count; k++)
            if (strncmp(g->text[k], p->text[i], length) == 0) add(&known, p->text[i]);
    }
    count(g, &known, s);
}

static gm_compat plain(const gm_records *gold, const gm_records *pred, gm_compat_rule rule)
{
    gm_compat c = { .rule = rule };
    const bool by_name = rule == GM_COMPAT_REFINEG;
    for (size_t i = 0; i < gold->count; i++) {
        gm_record none = { 0 };
        const gm_record *p = &none;
        rows g, r;
        for (size_t k = 0; k < pred->count; k++)
            if (strcmp(pred->items[k].id, gold->items[i].id) == 0) p = &pred->items[k];
        take(&g, &r, &gold->items[i], p, by_name, false, false);
        count(&g, &r, &c.span);
        take(&g, &r, &gold->items[i], p, by_name, true, false);
        count(&g, &r, &c.mner);
        count_known(&g, &r, &c.cls);
        if (g.count == 0 || r.count == 0) {
            c.dropped_samples += g.count + r.count > 0;
            continue;
        }
        for (int with_type = 0; with_type < 2; with_type++) {
            take(&g, &r, &gold->items[i], p, by_name, with_type != 0, true);
            if (!by_name) add_zero(&g, &r);
            count(&g, &r, with_type ? &c.gmner : &c.eeg);
        }
    }
    return c;
}

static void equals_plain_counting(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        gm_err err;
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        gm_record known = blank("known"); /* of the four types, so that none is left out */
        add_entity(&known, 7, "LOC");
        assert_ok(gm_records_add(&gold, &known, &err));
        for (size_t i = 0; i < pred.count; i++)
            for (int32_t k = 0; k < pred.items[i].entity_count; k++) {
                gm_entity *e = &pred.items[i].entities[k];
                if (e->has_bad_box) e->box_count = 0;
            }
        for (int rule = 0; rule < 2; rule++) {
            gm_compat got, want = plain(&gold, &pred, (gm_compat_rule)rule);
            assert_ok(gm_evaluate_compat(&gold, &pred, (gm_compat_rule)rule, &got, &err));
            assert_memory_equal(&got, &want, sizeof got);
        }
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

/* ---- by name ---- */

typedef struct files {
    gm_records gold, pred;
} files;

/* One sample with one entity a side; box NULL: none; type NULL: no entity. */
static files pair(const char *gold_type, const gm_box *gold_box, const char *pred_type, const gm_box *pred_box)
{
    gm_err err;
    files f = { { 0 }, { 0 } };
    gm_record g = blank("a"), p = blank("a");
    gm_entity *e = gold_type != NULL ? add_entity(&g, 5, gold_type) : NULL;
    if (gold_box != NULL) e->boxes[e->box_count++] = *gold_box;
    e = pred_type != NULL ? add_entity(&p, 5, pred_type) : NULL;
    if (pred_box != NULL) e->boxes[e->box_count++] = *pred_box;
    assert_ok(gm_records_add(&f.gold, &g, &err));
    assert_ok(gm_records_add(&f.pred, &p, &err));
    return f;
}

static gm_compat counted(files *f, gm_compat_rule rule)
{
    gm_err err;
    gm_compat c;
    assert_ok(gm_evaluate_compat(&f->gold, &f->pred, rule, &c, &err));
    gm_records_free(&f->gold);
    gm_records_free(&f->pred);
    return c;
}

static void is_score(gm_score s, int64_t tp, int64_t n_pred, int64_t n_gold)
{
    assert_int_equal(s.tp, tp);
    assert_int_equal(s.n_pred, n_pred);
    assert_int_equal(s.n_gold, n_gold);
}

static const gm_box here = { 0, 0, 10, 10 }, there = { 40, 40, 50, 50 };

static void a_wrong_region_on_an_ungroundable_entity(void **state)
{
    (void)state;
    files f = pair("PER", NULL, "PER", &here);
    is_score(counted(&f, GM_COMPAT_UNCO).gmner, 1, 2, 1); /* the copy without a region hits */
    f = pair("PER", NULL, "PER", &here);
    is_score(counted(&f, GM_COMPAT_REFINEG).gmner, 0, 1, 1);
    f = pair("PER", &there, "PER", &here);
    is_score(counted(&f, GM_COMPAT_UNCO).gmner, 0, 2, 1); /* here it is one more wrong row */
    f = pair("PER", &there, "LOC", &here);
    is_score(counted(&f, GM_COMPAT_UNCO).gmner, 0, 1, 1); /* no copy where the type is wrong */
}

static void an_empty_side_drops_the_sample(void **state)
{
    (void)state;
    for (int rule = 0; rule < 2; rule++) {
        files f = pair("PER", &here, NULL, NULL);
        gm_compat c = counted(&f, (gm_compat_rule)rule);
        is_score(c.gmner, 0, 0, 0);
        is_score(c.eeg, 0, 0, 0);
        is_score(c.mner, 0, 0, 1);
        assert_int_equal(c.dropped_samples, 1);
    }
}

static void an_unknown_type_drops_the_prediction(void **state)
{
    (void)state;
    static const struct {
        const char *gold, *pred;
        bool is_known;
    } cases[] = { { "PER", "GOD", false },    { "PER", "LOC", true },       { "PER", "other", true },
                  { "PER", "vessel", false }, { "weapon", "vessel", true }, { "weapon", "OTHER", true },
                  { "weapon", "LOC", false }, { "GOD", "god", true },       { "OTHER", "PER", false } };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        files f = pair(cases[i].gold, NULL, cases[i].pred, NULL);
        const gm_compat c = counted(&f, GM_COMPAT_UNCO);
        assert_int_equal(c.dropped_predictions, !cases[i].is_known);
        assert_int_equal(c.span.n_pred, cases[i].is_known);
    }
}

static void a_name_twice_is_once(void **state)
{
    (void)state;
    gm_err err;
    files f = { { 0 }, { 0 } };
    gm_record g = blank("a"), p = blank("a"); /* words 0, 2 and 4 are the same name */
    add_entity(&g, 0, "PER");
    add_entity(&g, 2, "PER");
    add_entity(&p, 4, "PER");
    assert_ok(gm_records_add(&f.gold, &g, &err));
    assert_ok(gm_records_add(&f.pred, &p, &err));
    gm_compat c;
    assert_ok(gm_evaluate_compat(&f.gold, &f.pred, GM_COMPAT_UNCO, &c, &err));
    is_score(c.gmner, 0, 1, 2);
    c = counted(&f, GM_COMPAT_REFINEG);
    is_score(c.gmner, 1, 1, 1);
}

static void what_is_refused(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_compat c;
    gm_compat_rule rule;
    files f = pair("PER", NULL, "PER", NULL);
    f.pred.items[0].id[0] = 'z';
    assert_int_equal(gm_evaluate_compat(&f.gold, &f.pred, GM_COMPAT_UNCO, &c, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "\"z\""));
    gm_records_free(&f.gold);
    gm_records_free(&f.pred);
    assert_false(gm_compat_find("sake", &rule));
    assert_true(gm_compat_find("refineg", &rule) && rule == GM_COMPAT_REFINEG);
    assert_true(gm_compat_find("unco", &rule) && strcmp(gm_compat_name(rule), "unco") == 0);
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    gm_records gold = { 0 }, pred = { 0 };
    random_files(11, &gold, &pred);
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_err err = { 0 };
        gm_compat c;
        gm_alloc_fail_at(k);
        status = gm_evaluate_compat(&gold, &pred, GM_COMPAT_REFINEG, &c, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_NOMEM);
    }
    assert_true(k > 8);
    gm_records_free(&gold);
    gm_records_free(&pred);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_plain_counting),
        cmocka_unit_test(a_wrong_region_on_an_ungroundable_entity),
        cmocka_unit_test(an_empty_side_drops_the_sample),
        cmocka_unit_test(an_unknown_type_drops_the_prediction),
        cmocka_unit_test(a_name_twice_is_once),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
