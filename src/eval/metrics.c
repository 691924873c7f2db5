/* Scores by maximum-cardinality matching, one bipartite graph a sample (docs/evaluation.md). Counts are integers until
 * the last division, so the order of samples and entities cannot change them. */
#include "eval/metrics.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

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
} sums;

double gm_precision(gm_score s) { return s.n_pred > 0 ? (double)s.tp / (double)s.n_pred : 0.0; }
double gm_recall(gm_score s) { return s.n_gold > 0 ? (double)s.tp / (double)s.n_gold : 0.0; }

double gm_f1(gm_score s)
{
    /* 2PR / (P + R) with the denominators cancelled: one division, and no 0 / 0 while anything was predicted. */
    return s.n_pred + s.n_gold > 0 ? 2.0 * (double)s.tp / (double)(s.n_pred + s.n_gold) : 0.0;
}

/* ---- one sample ---- */

static void compare_all(pairs *s, const gm_eval_options *how)
{
    for (int32_t p = 0; p < s->n_pred; p++) {
        for (int32_t g = 0; g < s->n_gold; g++) {
            const size_t at = (size_t)p * (size_t)s->n_gold + (size_t)g;
            s->same[at] = (unsigned char)gm_compare(s->pred, &s->pred->entities[p], s->gold, &s->gold->entities[g], how,
                                                    &s->iou[at]);
        }
    }
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

static gm_status find_type(gm_type_table *t, const char *name, gm_type_score **found, gm_err *err)
{
    int32_t low = 0, high = t->count;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const int order = strcmp(t->items[middle].type, name);
        if (order == 0) {
            *found = &t->items[middle];
            return GM_OK;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    GM_TRY(gm_grow((void **)&t->items, &t->capacity, (size_t)t->count, sizeof *t->items, err));
    char *copy = gm_strdup(name);
    if (copy == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the type %s", name);
    memmove(&t->items[low + 1], &t->items[low], (size_t)(t->count - low) * sizeof *t->items);
    t->count++;
    t->items[low] = (gm_type_score) { .type = copy };
    *found = &t->items[low];
    return GM_OK;
}

/* The row of an entity's type or, where is_fine says so, of its fine type; *found is NULL for an entity without one. */
static gm_status type_of(gm_metrics *m, const gm_entity *e, bool is_fine, gm_type_score **found, gm_err *err)
{
    char buf[128];
    *found = NULL;
    if (!is_fine) return find_type(&m->types, gm_type_normal(e->type, buf), found, err);
    return e->fine != NULL ? find_type(&m->fines, gm_fine_normal(e->fine, buf), found, err) : GM_OK;
}

static gm_status count_types(const pairs *s, bool is_fine, gm_metrics *m, gm_err *err)
{
    gm_type_score *t = NULL;
    for (int32_t p = 0; p < s->n_pred; p++) {
        GM_TRY(type_of(m, &s->pred->entities[p], is_fine, &t, err));
        if (t == NULL) continue;
        t->mner.n_pred++;
        t->gmner.n_pred++;
    }
    for (int32_t g = 0; g < s->n_gold; g++) {
        GM_TRY(type_of(m, &s->gold->entities[g], is_fine, &t, err));
        if (t == NULL) continue;
        t->mner.n_gold++;
        t->gmner.n_gold++;
    }
    return GM_OK;
}

/* Adds the matching that stands in `s` to the types of its gold entities; both ends of a pair have that type. */
static gm_status count_hits(const pairs *s, bool is_fine, bool is_gmner, gm_metrics *m, gm_err *err)
{
    gm_type_score *t = NULL;
    for (int32_t g = 0; g < s->n_gold; g++) {
        if (s->pred_of[g] < 0) continue;
        GM_TRY(type_of(m, &s->gold->entities[g], is_fine, &t, err));
        if (is_gmner)
            t->gmner.tp++;
        else
            t->mner.tp++;
    }
    return GM_OK;
}

/* MNER and GMNER, or fine-MNER and FMNERG: the same formulas on another type. */
static gm_status score_types(pairs *s, bool is_fine, gm_metrics *m, gm_err *err)
{
    const unsigned same = is_fine ? GM_SAME_FINE : GM_SAME_TYPE;
    gm_score *mner = is_fine ? &m->fine_mner : &m->mner, *gmner = is_fine ? &m->fmnerg : &m->gmner;
    GM_TRY(count_types(s, is_fine, m, err));
    mner->tp += match(s, GM_SAME_KEY | same);
    GM_TRY(count_hits(s, is_fine, false, m, err));
    gmner->tp += match(s, GM_SAME_KEY | same | GM_SAME_REGION);
    return count_hits(s, is_fine, true, m, err);
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
            is_matched = is_matched || (s->same[at] & GM_SAME_KEY) != 0;
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
    for (int32_t g = 0; g < s->n_gold; g++) {
        m->groundable += s->gold->entities[g].box_count > 0;
        m->with_fine += s->gold->entities[g].fine != NULL;
    }
    compare_all(s, how);
    gm_score *const all[] = { &m->span, &m->mner, &m->eeg, &m->gmner, &m->fine_mner, &m->fmnerg };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        all[i]->n_pred += s->n_pred;
        all[i]->n_gold += s->n_gold;
    }
    m->span.tp += match(s, GM_SAME_KEY);
    m->eeg.tp += match(s, GM_SAME_KEY | GM_SAME_REGION);
    sum->same_grounding += match(s, GM_SAME_KEY | GM_SAME_GROUNDING);
    GM_TRY(score_types(s, false, m, err));
    GM_TRY(score_types(s, true, m, err));
    add_iou(s, sum);
    return GM_OK;
}

/* Means of F1 over the types that occur in gold; 0 without any. */
static void take_macro(const gm_type_table *t, double *mner, double *gmner)
{
    int32_t with_gold = 0;
    *mner = *gmner = 0;
    for (int32_t i = 0; i < t->count; i++) {
        if (t->items[i].mner.n_gold == 0) continue;
        with_gold++;
        *mner += gm_f1(t->items[i].mner);
        *gmner += gm_f1(t->items[i].gmner);
    }
    if (with_gold == 0) return;
    *mner /= with_gold;
    *gmner /= with_gold;
}

static void finish(gm_metrics *m, const sums *sum)
{
    take_macro(&m->types, &m->macro_mner, &m->macro_gmner);
    take_macro(&m->fines, &m->macro_fine_mner, &m->macro_fmnerg);
    /* Pairs of one key form complete bipartite groups, so the best matching that also asks for the type extends to a
     * largest span matching: its share is the accuracy on span-matched pairs, whatever the order of the entities. */
    const double n = (double)m->span.tp;
    m->matched = m->span.tp;
    m->type_accuracy = m->matched > 0 ? (double)m->mner.tp / n : NAN;
    m->region_accuracy = m->matched > 0 ? (double)m->eeg.tp / n : NAN;
    m->groundable_accuracy = m->matched > 0 ? (double)sum->same_grounding / n : NAN;
    m->mean_iou = sum->with_boxes > 0 ? sum->iou / (double)sum->with_boxes : NAN;
}

gm_status gm_evaluate(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, gm_metrics *m,
                      gm_err *err)
{
    gm_record_pair *samples = NULL;
    pairs s = { 0 };
    sums sum = { 0 };
    *m = (gm_metrics) { .samples = (int64_t)gold->count };
    gm_status status = gm_pair_records(gold, pred, how, &samples, &m->missing, err);
    for (size_t i = 0; i < gold->count && status == GM_OK; i++) {
        s.gold = samples[i].gold;
        s.pred = samples[i].pred;
        status = score_sample(&s, how, m, &sum, err);
    }
    finish(m, &sum);
    free_pairs(&s);
    gm_free(samples);
    if (status != GM_OK) gm_metrics_free(m);
    return status;
}

const char *const gm_score_names[GM_SCORES] = { "mner", "eeg", "gmner", "fine-mner", "fmnerg" };

gm_score gm_score_of(const gm_metrics *m, gm_score_kind kind)
{
    const gm_score of[GM_SCORES] = { m->mner, m->eeg, m->gmner, m->fine_mner, m->fmnerg };
    return of[kind];
}

static void free_types(gm_type_table *t)
{
    for (int32_t i = 0; i < t->count; i++) gm_free(t->items[i].type);
    gm_free(t->items);
}

void gm_metrics_free(gm_metrics *m)
{
    free_types(&m->types);
    free_types(&m->fines);
    *m = (gm_metrics) { 0 };
}
