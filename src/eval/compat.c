/* Two public evaluators as they count, peculiarities included: a row for each box of an entity, sets of rows instead of
 * matchings, and samples dropped from the grounded scores when either side is empty. UnCo's tells entities by offsets and
 * adds, for a prediction whose region is wrong while its key and type are right, a second row without a region; ReFineG's
 * tells them by name. */
#include "eval/compat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/id_set.h"

enum { NO_REGION = 0, WRONG_REGION = -100 };

/* What the evaluators compare whole. region: of gold its place among the rows + 1, of a prediction that of the gold row it
 * reaches. */
typedef struct row {
    int32_t first, last, type, region;
} row;

typedef struct row_list {
    row *items;
    size_t count, capacity;
} row_list;

typedef struct counter {
    gm_compat *to;
    gm_eval_options how;
    gm_id_set types; /* the label set; a type's number is its place */
    row_list gold, pred, left, right;
    gm_box *box; /* of the gold rows */
    size_t box_capacity;
} counter;

static const struct {
    const char *name;
    bool by_name, adds_without_region;
} rules[] = {
    [GM_COMPAT_UNCO] = { "unco", false, true },
    [GM_COMPAT_REFINEG] = { "refineg", true, false },
};

bool gm_compat_find(const char *name, gm_compat_rule *rule)
{
    for (size_t i = 0; i < GM_LEN(rules); i++) {
        if (strcmp(name, rules[i].name) != 0) continue;
        *rule = (gm_compat_rule)i;
        return true;
    }
    return false;
}

const char *gm_compat_name(gm_compat_rule rule) { return rules[rule].name; }

/* ---- sets of rows ---- */

static gm_status add_row(row_list *list, row r, gm_err *err)
{
    GM_TRY(gm_grow((void **)&list->items, &list->capacity, list->count, sizeof r, err));
    list->items[list->count++] = r;
    return GM_OK;
}

static int by_value(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    if (x->last != y->last) return x->last < y->last ? -1 : 1;
    if (x->type != y->type) return x->type < y->type ? -1 : 1;
    return (x->region > y->region) - (x->region < y->region);
}

static void make_set(row_list *list)
{
    size_t n = 0;
    if (list->count == 0) return;
    qsort(list->items, list->count, sizeof *list->items, by_value);
    for (size_t i = 1; i < list->count; i++) {
        if (by_value(&list->items[n], &list->items[i]) != 0) list->items[++n] = list->items[i];
    }
    list->count = n + 1;
}

static bool has_row(const row_list *set, row r)
{
    return set->count > 0 && bsearch(&r, set->items, set->count, sizeof r, by_value) != NULL;
}

/* The rows with only the parts that a score looks at, as a set. */
static gm_status take_rows(const row_list *from, bool with_type, bool with_region, row_list *to, gm_err *err)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++) {
        row r = from->items[i];
        if (!with_type) r.type = 0;
        if (!with_region) r.region = 0;
        GM_TRY(add_row(to, r, err));
    }
    make_set(to);
    return GM_OK;
}

static void count_rows(const row_list *gold, const row_list *pred, gm_score *s)
{
    s->n_gold += (int64_t)gold->count;
    s->n_pred += (int64_t)pred->count;
    for (size_t i = 0; i < pred->count; i++) s->tp += has_row(gold, pred->items[i]);
}

/* UnCo's second row: no region, beside each wrong row whose key and type are those of a gold row. */
static gm_status add_without_region(const row_list *gold, row_list *pred, gm_err *err)
{
    const size_t n = pred->count;
    for (size_t i = 0; i < n; i++) {
        const row p = pred->items[i];
        bool is_near = false;
        if (has_row(gold, p)) continue;
        for (size_t g = 0; g < gold->count && !is_near; g++) {
            const row *r = &gold->items[g];
            is_near = r->first == p.first && r->last == p.last && r->type == p.type;
        }
        if (is_near) GM_TRY(add_row(pred, (row) { p.first, p.last, p.type, NO_REGION }, err));
    }
    make_set(pred);
    return GM_OK;
}

/* ---- rows of a sample ---- */

/* The evaluators ask torchvision, which computes in float: beside a threshold the last bit counts. */
static bool is_over_half(gm_box a, gm_box b)
{
    const float ax = (float)a.x1, ay = (float)a.y1, aw = (float)a.x2 - ax, ah = (float)a.y2 - ay;
    const float bx = (float)b.x1, by = (float)b.y1, bw = (float)b.x2 - bx, bh = (float)b.y2 - by;
    const float w = fmaxf(fminf((float)a.x2, (float)b.x2) - fmaxf(ax, bx), 0.0f);
    const float h = fmaxf(fminf((float)a.y2, (float)b.y2) - fmaxf(ay, by), 0.0f);
    const float inter = w * h, all = aw * ah + bw * bh - inter;
    return inter / all >= 0.5f; /* false for 0 / 0 */
}

/* Offsets, or by name the place of the sample's first entity with these words. */
static row key_of(const counter *c, const gm_record_pair *s, const gm_record *r, const gm_entity *e)
{
    if (!c->how.by_name) return (row) { .first = e->start, .last = e->end };
    int32_t place = 0;
    for (int32_t g = 0; g < s->gold->entity_count; g++, place++) {
        if (gm_compare(r, e, s->gold, &s->gold->entities[g], &c->how, NULL) != 0) return (row) { .first = place };
    }
    for (int32_t p = 0; s->pred != NULL && p < s->pred->entity_count; p++, place++) {
        if (gm_compare(r, e, s->pred, &s->pred->entities[p], &c->how, NULL) != 0) break;
    }
    return (row) { .first = place };
}

static gm_status add_gold(counter *c, const gm_record_pair *s, gm_err *err)
{
    for (int32_t g = 0; g < s->gold->entity_count; g++) {
        const gm_entity *e = &s->gold->entities[g];
        char buf[128];
        size_t type;
        row r = key_of(c, s, s->gold, e);
        GM_TRY(gm_id_set_add(&c->types, gm_type_normal(e->type, buf), c->types.count, &type, err));
        r.type = (int32_t)type;
        for (int32_t b = 0; b < e->box_count || b == 0; b++) {
            r.region = e->box_count > 0 ? (int32_t)c->gold.count + 1 : NO_REGION;
            GM_TRY(gm_grow((void **)&c->box, &c->box_capacity, c->gold.count, sizeof *c->box, err));
            c->box[c->gold.count] = e->box_count > 0 ? e->boxes[b] : (gm_box) { 0 };
            GM_TRY(add_row(&c->gold, r, err));
        }
    }
    return GM_OK;
}

static int32_t reached_region(const counter *c, row key, gm_box box)
{
    for (size_t i = 0; i < c->gold.count; i++) {
        const row *g = &c->gold.items[i];
        if (g->region == NO_REGION || g->first != key.first || g->last != key.last) continue;
        if (is_over_half(box, c->box[i])) return g->region;
    }
    return WRONG_REGION;
}

static gm_status add_predictions(counter *c, const gm_record_pair *s, gm_err *err)
{
    for (int32_t p = 0; s->pred != NULL && p < s->pred->entity_count; p++) {
        const gm_entity *e = &s->pred->entities[p];
        char buf[128];
        size_t type;
        const char *name = gm_type_normal(e->type, buf);
        if (!gm_id_set_has(&c->types, name)) {
            c->to->dropped_predictions++;
            continue;
        }
        row r = key_of(c, s, s->pred, e);
        GM_TRY(gm_id_set_add(&c->types, name, 0, &type, err));
        r.type = (int32_t)type;
        r.region = e->has_bad_box ? WRONG_REGION : NO_REGION;
        if (e->box_count == 0) GM_TRY(add_row(&c->pred, r, err));
        for (int32_t b = 0; b < e->box_count; b++) {
            r.region = reached_region(c, r, e->boxes[b]);
            GM_TRY(add_row(&c->pred, r, err));
        }
    }
    return GM_OK;
}

/* ---- scores ---- */

static gm_status count_score(counter *c, bool with_type, bool with_region, gm_score *s, gm_err *err)
{
    GM_TRY(take_rows(&c->gold, with_type, with_region, &c->left, err));
    GM_TRY(take_rows(&c->pred, with_type, with_region, &c->right, err));
    if (with_region && rules[c->to->rule].adds_without_region) GM_TRY(add_without_region(&c->left, &c->right, err));
    count_rows(&c->left, &c->right, s);
    return GM_OK;
}

/* Types on the predictions whose key gold has; `left` and `right` hold MNER's rows. */
static void count_cls(counter *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->right.count; i++) {
        bool is_known = false;
        for (size_t g = 0; g < c->left.count && !is_known; g++)
            is_known =
                c->left.items[g].first == c->right.items[i].first && c->left.items[g].last == c->right.items[i].last;
        if (is_known) c->right.items[n++] = c->right.items[i];
    }
    c->right.count = n;
    count_rows(&c->left, &c->right, &c->to->cls);
}

static gm_status count_sample(counter *c, const gm_record_pair *s, gm_err *err)
{
    c->gold.count = c->pred.count = 0;
    GM_TRY(add_gold(c, s, err));
    GM_TRY(add_predictions(c, s, err));
    GM_TRY(count_score(c, false, false, &c->to->span, err));
    GM_TRY(count_score(c, true, false, &c->to->mner, err));
    count_cls(c);
    if (c->gold.count == 0 || c->pred.count == 0) {
        c->to->dropped_samples += c->gold.count + c->pred.count > 0;
        return GM_OK;
    }
    GM_TRY(count_score(c, false, true, &c->to->eeg, err));
    return count_score(c, true, true, &c->to->gmner, err);
}

/* The label set: gold's types, and the rest of the set that they are from, which a small file need not use up. */
static gm_status learn_types(counter *c, const gm_records *gold, gm_err *err)
{
    static const char *const sets[][7] = { { "PER", "LOC", "ORG", "MISC" },
                                           { "aircraft", "vehicle", "weapon", "vessel", "location", "MISC" } };
    size_t first;
    for (size_t i = 0; i < gold->count; i++) {
        for (int32_t k = 0; k < gold->items[i].entity_count; k++) {
            char buf[128];
            const char *type = gm_type_normal(gold->items[i].entities[k].type, buf);
            GM_TRY(gm_id_set_add(&c->types, type, c->types.count, &first, err));
        }
    }
    for (size_t s = 0; s < GM_LEN(sets); s++) {
        bool is_used = false;
        for (int i = 0; sets[s][i] != NULL; i++)
            is_used = is_used || (strcmp(sets[s][i], "MISC") != 0 && gm_id_set_has(&c->types, sets[s][i]));
        for (int i = 0; is_used && sets[s][i] != NULL; i++)
            GM_TRY(gm_id_set_add(&c->types, sets[s][i], c->types.count, &first, err));
    }
    return GM_OK;
}

gm_status gm_evaluate_compat(const gm_records *gold, const gm_records *pred, gm_compat_rule rule, gm_compat *to,
                             gm_err *err)
{
    gm_record_pair *samples = NULL;
    int64_t missing;
    counter c = { .to = to, .how = { .by_name = rules[rule].by_name, .iou = 0.5 } };
    *to = (gm_compat) { .rule = rule };
    gm_status status = gm_pair_records(gold, pred, &c.how, &samples, &missing, err);
    if (status == GM_OK) status = learn_types(&c, gold, err);
    for (size_t i = 0; i < gold->count && status == GM_OK; i++) status = count_sample(&c, &samples[i], err);
    gm_id_set_free(&c.types);
    gm_free(c.gold.items);
    gm_free(c.pred.items);
    gm_free(c.left.items);
    gm_free(c.right.items);
    gm_free(c.box);
    gm_free(samples);
    return status;
}
