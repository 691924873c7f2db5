/* The rules of comparison, and samples brought together by id. */
#include "eval/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }
static char upper(char c) { return (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c); }

const char *gm_fine_normal(const char *fine, char buf[128])
{
    size_t n = 0;
    for (; fine[n] != '\0' && n < 127; n++) buf[n] = lower(fine[n]);
    buf[n] = '\0';
    return buf;
}

const char *gm_type_normal(const char *type, char buf[128])
{
    static const char *const coarse[] = { "PER", "LOC", "ORG", "MISC" };
    size_t n = 0;
    for (; type[n] != '\0' && n < 127; n++) buf[n] = upper(type[n]);
    buf[n] = '\0';
    if (strcmp(buf, "OTHER") == 0) return coarse[3];
    for (size_t i = 0; i < GM_LEN(coarse); i++) {
        if (strcmp(buf, coarse[i]) == 0) return coarse[i];
    }
    return gm_fine_normal(type, buf);
}

bool gm_box_is_valid(gm_box b)
{
    return isfinite(b.x1) && isfinite(b.y1) && isfinite(b.x2) && isfinite(b.y2) && b.x2 > b.x1 && b.y2 > b.y1;
}

double gm_iou(gm_box a, gm_box b)
{
    const double w = fmin(a.x2, b.x2) - fmax(a.x1, b.x1), h = fmin(a.y2, b.y2) - fmax(a.y1, b.y1);
    const double inter = w > 0 && h > 0 ? w * h : 0.0;
    const double all = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - inter;
    return all > 0 ? inter / all : 0.0;
}

bool gm_has_bad_box(const gm_entity *e)
{
    if (e->has_bad_box) return true;
    for (int32_t i = 0; i < e->box_count; i++) {
        if (!gm_box_is_valid(e->boxes[i])) return true;
    }
    return false;
}

static double best_iou(const gm_entity *p, const gm_entity *g)
{
    double best = 0;
    for (int32_t i = 0; i < p->box_count; i++) {
        for (int32_t j = 0; j < g->box_count; j++) best = fmax(best, gm_iou(p->boxes[i], g->boxes[j]));
    }
    return best;
}

static bool same_words(const gm_record *a, const gm_entity *x, const gm_record *b, const gm_entity *y)
{
    if (x->end - x->start != y->end - y->start) return false;
    for (int32_t i = 0; i <= x->end - x->start; i++) {
        if (strcmp(a->tokens[x->start + i], b->tokens[y->start + i]) != 0) return false;
    }
    return true;
}

static bool same_name(const char *normal(const char *, char *), const char *x, const char *y)
{
    char a[128], b[128];
    return x != NULL && y != NULL && strcmp(normal(x, a), normal(y, b)) == 0;
}

unsigned gm_compare(const gm_record *pr, const gm_entity *p, const gm_record *gr, const gm_entity *g,
                    const gm_eval_options *how, double *iou)
{
    const bool is_key = how->by_name ? same_words(pr, p, gr, g) : p->start == g->start && p->end == g->end;
    if (iou != NULL) *iou = 0;
    if (!is_key) return 0;
    const bool is_bad = gm_has_bad_box(p), has_box = is_bad || p->box_count > 0, wants_box = g->box_count > 0;
    const double best = is_bad ? 0.0 : best_iou(p, g);
    if (iou != NULL) *iou = best;
    const bool is_over = how->is_iou_strict ? best > how->iou : best >= how->iou;
    const bool is_region = wants_box ? has_box && !is_bad && is_over : !has_box;
    unsigned bits = GM_SAME_KEY;
    if (same_name(gm_type_normal, p->type, g->type)) bits |= GM_SAME_TYPE;
    if (same_name(gm_fine_normal, p->fine, g->fine)) bits |= GM_SAME_FINE;
    if (is_region) bits |= GM_SAME_REGION;
    if (has_box == wants_box) bits |= GM_SAME_GROUNDING;
    return bits;
}

/* ---- samples by id ---- */

/* Offsets and types as the reader promises them; records made in memory are held to the same. */
static gm_status check_record(const gm_record *r, const char *which, const gm_eval_options *how, gm_err *err)
{
    for (int32_t i = 0; i < r->entity_count; i++) {
        const gm_entity *e = &r->entities[i];
        if (e->type == NULL || strlen(e->type) > 127)
            return gm_fail(err, GM_ERR_DATA, "%s \"%s\": entities[%d] has no type or one of more than 127 bytes", which,
                           r->id, (int)i);
        if (e->fine != NULL && strlen(e->fine) > 127)
            return gm_fail(err, GM_ERR_DATA, "%s \"%s\": entities[%d] has a fine type of more than 127 bytes", which,
                           r->id, (int)i);
        if (how->by_name && (e->start < 0 || e->end < e->start || e->end >= r->token_count))
            return gm_fail(err, GM_ERR_DATA,
                           "%s \"%s\": entities[%d] spans words %d to %d of %d; its name is needed to match by name",
                           which, r->id, (int)i, (int)e->start, (int)e->end, (int)r->token_count);
    }
    return GM_OK;
}

static int by_id(const void *a, const void *b)
{
    const gm_record *const *x = a, *const *y = b;
    return strcmp((*x)->id, (*y)->id);
}

/* Pointers to the records in the order of their ids; the caller's. */
static gm_status sort_ids(const gm_records *all, const char *which, const gm_record ***sorted, gm_err *err)
{
    const gm_record **list = gm_calloc(all->count, sizeof *list);
    *sorted = list;
    if (list == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu samples", all->count);
    for (size_t i = 0; i < all->count; i++) list[i] = &all->items[i];
    qsort(list, all->count, sizeof *list, by_id);
    for (size_t i = 1; i < all->count; i++) {
        if (by_id(&list[i - 1], &list[i]) == 0)
            return gm_fail(err, GM_ERR_DATA, "%s: the id \"%s\" stands twice; each sample is scored once", which,
                           list[i]->id);
    }
    return GM_OK;
}

static const gm_record *find_id(const gm_record *const *sorted, size_t count, const gm_record *wanted)
{
    const gm_record *const *hit = bsearch(&wanted, sorted, count, sizeof *sorted, by_id);
    return hit != NULL ? *hit : NULL;
}

static gm_status fill_pairs(const gm_records *gold, const gm_record **pred_ids, size_t pred_count,
                            const gm_eval_options *how, gm_record_pair *pairs, int64_t *missing, gm_err *err)
{
    for (size_t i = 0; i < gold->count; i++) {
        pairs[i].gold = &gold->items[i];
        pairs[i].pred = find_id(pred_ids, pred_count, pairs[i].gold);
        if (pairs[i].pred == NULL) ++*missing;
        GM_TRY(check_record(pairs[i].gold, "gold", how, err));
    }
    return GM_OK;
}

static gm_status check_predictions(const gm_records *pred, const gm_record **gold_ids, size_t gold_count,
                                   const gm_eval_options *how, gm_err *err)
{
    for (size_t i = 0; i < pred->count; i++) {
        const gm_record *r = &pred->items[i];
        GM_TRY(check_record(r, "prediction", how, err));
        if (find_id(gold_ids, gold_count, r) != NULL) continue;
        return gm_fail(err, GM_ERR_DATA,
                       "predictions: the id \"%s\" is not in the gold file; score against the file that was predicted",
                       r->id);
    }
    return GM_OK;
}

gm_status gm_pair_records(const gm_records *gold, const gm_records *pred, const gm_eval_options *how,
                          gm_record_pair **pairs, int64_t *missing, gm_err *err)
{
    gm_status status = GM_OK;
    const gm_record **gold_ids = NULL, **pred_ids = NULL;
    *missing = 0;
    *pairs = NULL;
    if (!(how->iou >= 0 && how->iou <= 1))
        return gm_fail(err, GM_ERR_USAGE, "the IoU threshold is %g; it lies between 0 and 1", how->iou);
    if ((status = sort_ids(gold, "gold", &gold_ids, err)) != GM_OK) goto out;
    if ((status = sort_ids(pred, "predictions", &pred_ids, err)) != GM_OK) goto out;
    if ((status = check_predictions(pred, gold_ids, gold->count, how, err)) != GM_OK) goto out;
    *pairs = gm_calloc(gold->count, sizeof **pairs);
    if (*pairs == NULL) {
        status = gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu samples", gold->count);
        goto out;
    }
    status = fill_pairs(gold, pred_ids, pred->count, how, *pairs, missing, err);
out:
    gm_free(gold_ids);
    gm_free(pred_ids);
    if (status != GM_OK) {
        gm_free(*pairs);
        *pairs = NULL;
    }
    return status;
}
