/* Scores by maximum-cardinality matching, one bipartite graph a sample (docs/evaluation.md). Counts are integers until
 * the last division, so the order of samples and entities cannot change them. */
#include "eval/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* What a pair of a prediction and a gold entity agrees in; a score names the bits that its edges need. */
enum { SAME_KEY = 1, SAME_TYPE = 2, SAME_REGION = 4, SAME_GROUNDING = 8 };

/* One sample's pairs and the scratch of the matching; all arrays grow to the largest sample. */
typedef struct pairs {
    const gm_record *gold, *pred; /* pred is NULL where the sample has no prediction */
    int32_t n_pred, n_gold;
    unsigned char *same; /* [n_pred, n_gold] */
    double *iou;         /* [n_pred, n_gold] best over the boxes of both */
    int32_t *gold_of;    /* [n_pred] matched gold entity or -1 */
    int32_t *pred_of;    /* [n_gold] matched prediction or -1 */
    int32_t *reached_by; /* [n_gold] prediction from which the search came, -1 when not reached */
    int32_t *queue;      /* [n_pred] */
    size_t pair_capacity, pred_capacity, gold_capacity;
} pairs;

/* Sums over samples that become the means on span-matched entities. */
typedef struct sums {
    int64_t same_grounding, with_boxes; /* with_boxes: gold entities that have boxes and whose key was predicted */
    double iou;
    size_t type_capacity;
} sums;

double gm_precision(gm_score s) { return s.n_pred > 0 ? (double)s.tp / (double)s.n_pred : 0.0; }
double gm_recall(gm_score s) { return s.n_gold > 0 ? (double)s.tp / (double)s.n_gold : 0.0; }

double gm_f1(gm_score s)
{
    /* 2PR / (P + R) with the denominators cancelled: one division, and no 0 / 0 while anything was predicted. */
    return s.n_pred + s.n_gold > 0 ? 2.0 * (double)s.tp / (double)(s.n_pred + s.n_gold) : 0.0;
}

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }
static char upper(char c) { return (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c); }

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
    for (size_t i = 0; i < n; i++) buf[i] = lower(type[i]);
    return buf;
}

static bool box_is_valid(gm_box b)
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

/* ---- one sample ---- */

static bool has_bad_box(const gm_entity *e)
{
    if (e->has_bad_box) return true;
    for (int32_t i = 0; i < e->box_count; i++) {
        if (!box_is_valid(e->boxes[i])) return true;
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

static void compare_pair(pairs *s, int32_t p, int32_t g, const gm_eval_options *how)
{
    const gm_entity *pe = &s->pred->entities[p], *ge = &s->gold->entities[g];
    const size_t at = (size_t)p * (size_t)s->n_gold + (size_t)g;
    const bool is_key =
        how->by_name ? same_words(s->pred, pe, s->gold, ge) : pe->start == ge->start && pe->end == ge->end;
    s->iou[at] = 0;
    s->same[at] = 0;
    if (!is_key) return;
    char a[128], b[128];
    const bool is_bad = has_bad_box(pe), has_box = is_bad || pe->box_count > 0, wants_box = ge->box_count > 0;
    if (!is_bad) s->iou[at] = best_iou(pe, ge);
    const bool is_over = how->is_iou_strict ? s->iou[at] > how->iou : s->iou[at] >= how->iou;
    const bool is_region = wants_box ? has_box && !is_bad && is_over : !has_box;
    unsigned bits = SAME_KEY;
    if (strcmp(gm_type_normal(pe->type, a), gm_type_normal(ge->type, b)) == 0) bits |= SAME_TYPE;
    if (is_region) bits |= SAME_REGION;
    if (has_box == wants_box) bits |= SAME_GROUNDING;
    s->same[at] = (unsigned char)bits;
}

/* Looks for an augmenting path from the free prediction `from`, breadth first so that no sample can exhaust the stack,
 * and flips it. */
static bool augment(pairs *s, int32_t from, unsigned need)
{
    int32_t head = 0, tail = 0;
    for (int32_t g = 0; g < s->n_gold; g++) s->reached_by[g] = -1;
    s->queue[tail++] = from;
    while (head < tail) {
        const int32_t p = s->queue[head++];
        for (int32_t g = 0; g < s->n_gold; g++) {
            if ((s->same[(size_t)p * (size_t)s->n_gold + (size_t)g] & need) != need || s->reached_by[g] >= 0) continue;
            s->reached_by[g] = p;
            if (s->pred_of[g] >= 0) {
                s->queue[tail++] = s->pred_of[g];
                continue;
            }
            for (int32_t free_gold = g; free_gold >= 0;) {
                const int32_t owner = s->reached_by[free_gold], next = s->gold_of[owner];
                s->gold_of[owner] = free_gold;
                s->pred_of[free_gold] = owner;
                free_gold = next;
            }
            return true;
        }
    }
    return false;
}

/* Size of a maximum matching over the pairs that have all bits of `need`; it stands in gold_of and pred_of. */
static int64_t match(pairs *s, unsigned need)
{
    int64_t size = 0;
    for (int32_t p = 0; p < s->n_pred; p++) s->gold_of[p] = -1;
    for (int32_t g = 0; g < s->n_gold; g++) s->pred_of[g] = -1;
    for (int32_t p = 0; p < s->n_pred; p++) size += augment(s, p, need);
    return size;
}

static gm_status resize(void **array, size_t *capacity, size_t count, size_t bytes, gm_err *err)
{
    if (count <= *capacity && *array != NULL) return GM_OK;
    void *moved = count <= SIZE_MAX / bytes ? gm_realloc(*array, count * bytes) : NULL;
    if (moved == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for %zu pairs of one sample", count);
    *array = moved;
    *capacity = count;
    return GM_OK;
}

static gm_status resize_pairs(pairs *s, gm_err *err)
{
    const size_t n = (size_t)s->n_pred, m = (size_t)s->n_gold;
    size_t capacity = s->pair_capacity;
    GM_TRY(resize((void **)&s->same, &capacity, n * m, 1, err));
    GM_TRY(resize((void **)&s->iou, &s->pair_capacity, n * m, sizeof *s->iou, err));
    capacity = s->pred_capacity;
    GM_TRY(resize((void **)&s->gold_of, &capacity, n, sizeof *s->gold_of, err));
    GM_TRY(resize((void **)&s->queue, &s->pred_capacity, n, sizeof *s->queue, err));
    capacity = s->gold_capacity;
    GM_TRY(resize((void **)&s->pred_of, &capacity, m, sizeof *s->pred_of, err));
    return resize((void **)&s->reached_by, &s->gold_capacity, m, sizeof *s->reached_by, err);
}

static void free_pairs(pairs *s)
{
    gm_free(s->same);
    gm_free(s->iou);
    gm_free(s->gold_of);
    gm_free(s->pred_of);
    gm_free(s->reached_by);
    gm_free(s->queue);
}

/* ---- the whole file ---- */

static gm_status find_type(gm_metrics *m, sums *sum, const char *type, gm_type_score **found, gm_err *err)
{
    char buf[128];
    const char *name = gm_type_normal(type, buf);
    int32_t low = 0, high = m->type_count;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const int order = strcmp(m->types[middle].type, name);
        if (order == 0) {
            *found = &m->types[middle];
            return GM_OK;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    GM_TRY(gm_grow((void **)&m->types, &sum->type_capacity, (size_t)m->type_count, sizeof *m->types, err));
    char *copy = gm_strdup(name);
    if (copy == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the type %s", name);
    memmove(&m->types[low + 1], &m->types[low], (size_t)(m->type_count - low) * sizeof *m->types);
    m->type_count++;
    m->types[low] = (gm_type_score) { .type = copy };
    *found = &m->types[low];
    return GM_OK;
}

/* Offsets and types as the reader promises them; records made in memory are held to the same. */
static gm_status check_record(const gm_record *r, const char *which, const gm_eval_options *how, gm_err *err)
{
    for (int32_t i = 0; i < r->entity_count; i++) {
        const gm_entity *e = &r->entities[i];
        if (e->type == NULL || strlen(e->type) > 127)
            return gm_fail(err, GM_ERR_DATA, "%s \"%s\": entities[%d] has no type or one of more than 127 bytes", which,
                           r->id, (int)i);
        if (how->by_name && (e->start < 0 || e->end < e->start || e->end >= r->token_count))
            return gm_fail(err, GM_ERR_DATA,
                           "%s \"%s\": entities[%d] spans words %d to %d of %d; its name is needed to match by name",
                           which, r->id, (int)i, (int)e->start, (int)e->end, (int)r->token_count);
    }
    return GM_OK;
}

static gm_status count_types(const pairs *s, gm_metrics *m, sums *sum, gm_err *err)
{
    gm_type_score *t = NULL;
    for (int32_t p = 0; p < s->n_pred; p++) {
        GM_TRY(find_type(m, sum, s->pred->entities[p].type, &t, err));
        t->mner.n_pred++;
        t->gmner.n_pred++;
    }
    for (int32_t g = 0; g < s->n_gold; g++) {
        GM_TRY(find_type(m, sum, s->gold->entities[g].type, &t, err));
        t->mner.n_gold++;
        t->gmner.n_gold++;
    }
    return GM_OK;
}

/* Adds the matching that stands in `s` to the types of its gold entities; both ends of a pair have that type. */
static gm_status count_hits(const pairs *s, bool is_gmner, gm_metrics *m, sums *sum, gm_err *err)
{
    gm_type_score *t = NULL;
    for (int32_t g = 0; g < s->n_gold; g++) {
        if (s->pred_of[g] < 0) continue;
        GM_TRY(find_type(m, sum, s->gold->entities[g].type, &t, err));
        if (is_gmner)
            t->gmner.tp++;
        else
            t->mner.tp++;
    }
    return GM_OK;
}

/* The best IoU that any prediction of the same key reaches, for each gold entity with boxes: where a key stands once on
 * either side this is the matched pair, and where it repeats no choice of pairs can change it. */
static void add_iou(const pairs *s, sums *sum)
{
    for (int32_t g = 0; g < s->n_gold; g++) {
        bool is_matched = false;
        double best = 0;
        for (int32_t p = 0; p < s->n_pred; p++) {
            const size_t at = (size_t)p * (size_t)s->n_gold + (size_t)g;
            is_matched = is_matched || (s->same[at] & SAME_KEY) != 0;
            best = fmax(best, s->iou[at]);
        }
        if (!is_matched || s->gold->entities[g].box_count == 0) continue;
        sum->with_boxes++;
        sum->iou += best;
    }
}

static gm_status score_sample(pairs *s, const gm_eval_options *how, gm_metrics *m, sums *sum, gm_err *err)
{
    s->n_gold = s->gold->entity_count;
    s->n_pred = s->pred != NULL ? s->pred->entity_count : 0;
    GM_TRY(resize_pairs(s, err));
    for (int32_t g = 0; g < s->n_gold; g++) m->groundable += s->gold->entities[g].box_count > 0;
    for (int32_t p = 0; p < s->n_pred; p++) {
        for (int32_t g = 0; g < s->n_gold; g++) compare_pair(s, p, g, how);
    }
    gm_score *const all[] = { &m->span, &m->mner, &m->eeg, &m->gmner };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        all[i]->n_pred += s->n_pred;
        all[i]->n_gold += s->n_gold;
    }
    GM_TRY(count_types(s, m, sum, err));
    m->span.tp += match(s, SAME_KEY);
    m->eeg.tp += match(s, SAME_KEY | SAME_REGION);
    sum->same_grounding += match(s, SAME_KEY | SAME_GROUNDING);
    m->mner.tp += match(s, SAME_KEY | SAME_TYPE);
    GM_TRY(count_hits(s, false, m, sum, err));
    m->gmner.tp += match(s, SAME_KEY | SAME_TYPE | SAME_REGION);
    GM_TRY(count_hits(s, true, m, sum, err));
    add_iou(s, sum);
    return GM_OK;
}

static void finish(gm_metrics *m, const sums *sum)
{
    int32_t with_gold = 0;
    for (int32_t i = 0; i < m->type_count; i++) {
        if (m->types[i].mner.n_gold == 0) continue;
        with_gold++;
        m->macro_mner += gm_f1(m->types[i].mner);
        m->macro_gmner += gm_f1(m->types[i].gmner);
    }
    if (with_gold > 0) {
        m->macro_mner /= with_gold;
        m->macro_gmner /= with_gold;
    }
    /* Pairs of one key form complete bipartite groups, so the best matching that also asks for the type extends to a
     * largest span matching: its share is the accuracy on span-matched pairs, whatever the order of the entities. */
    const double n = (double)m->span.tp;
    m->matched = m->span.tp;
    m->type_accuracy = m->matched > 0 ? (double)m->mner.tp / n : NAN;
    m->region_accuracy = m->matched > 0 ? (double)m->eeg.tp / n : NAN;
    m->groundable_accuracy = m->matched > 0 ? (double)sum->same_grounding / n : NAN;
    m->mean_iou = sum->with_boxes > 0 ? sum->iou / (double)sum->with_boxes : NAN;
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

gm_status gm_evaluate(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, gm_metrics *m,
                      gm_err *err)
{
    gm_status status = GM_OK;
    const gm_record **gold_ids = NULL, **pred_ids = NULL;
    pairs s = { 0 };
    sums sum = { 0 };
    *m = (gm_metrics) { .samples = (int64_t)gold->count };
    if (!(how->iou >= 0 && how->iou <= 1))
        return gm_fail(err, GM_ERR_USAGE, "the IoU threshold is %g; it lies between 0 and 1", how->iou);
    if ((status = sort_ids(gold, "gold", &gold_ids, err)) != GM_OK) goto out;
    if ((status = sort_ids(pred, "predictions", &pred_ids, err)) != GM_OK) goto out;
    for (size_t i = 0; i < pred->count; i++) {
        if ((status = check_record(&pred->items[i], "prediction", how, err)) != GM_OK) goto out;
        if (find_id(gold_ids, gold->count, &pred->items[i]) != NULL) continue;
        status =
            gm_fail(err, GM_ERR_DATA,
                    "predictions: the id \"%s\" is not in the gold file; score against the file that was predicted",
                    pred->items[i].id);
        goto out;
    }
    for (size_t i = 0; i < gold->count; i++) {
        s.gold = &gold->items[i];
        s.pred = find_id(pred_ids, pred->count, s.gold);
        if (s.pred == NULL) m->missing++;
        if ((status = check_record(s.gold, "gold", how, err)) != GM_OK) goto out;
        if ((status = score_sample(&s, how, m, &sum, err)) != GM_OK) goto out;
    }
    finish(m, &sum);
out:
    free_pairs(&s);
    gm_free(gold_ids);
    gm_free(pred_ids);
    if (status != GM_OK) gm_metrics_free(m);
    return status;
}

void gm_metrics_free(gm_metrics *m)
{
    for (int32_t i = 0; i < m->type_count; i++) gm_free(m->types[i].type);
    gm_free(m->types);
    *m = (gm_metrics) { 0 };
}
