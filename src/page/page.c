/* The page as a whole: counts, legend, samples. Written sample by sample, so that a page of many pictures needs no memory. */
#include "page/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/metrics.h"
#include "page/parts.h"

typedef struct page {
    const gm_page_options *o;
    gm_record_pair *pairs; /* gold NULL in each where there is no gold */
    size_t count, shown;
    gm_labels types;
    int64_t entities, grounded;
    bool has_gold, has_scores, has_doubts;
    gm_metrics scores;
} page;

static gm_status add(gm_buffer *out, const char *text, gm_err *err)
{
    return gm_buffer_add(out, text, strlen(text), err);
}

/* ---- what is shown ---- */

static gm_status pair_up(page *p, const gm_records *pred, const gm_records *gold, gm_err *err)
{
    int64_t missing;
    if (gold != NULL) {
        p->has_gold = true;
        p->count = gold->count;
        GM_TRY(gm_pair_records(gold, pred, &p->o->how, &p->pairs, &missing, err));
        return gm_evaluate(gold, pred, &p->o->how, &p->scores, err);
    }
    p->count = pred->count;
    p->pairs = gm_calloc(pred->count + 1, sizeof *p->pairs);
    if (p->pairs == NULL) return gm_fail(err, GM_ERR_NOMEM, "page: no memory for %zu records", pred->count);
    for (size_t i = 0; i < pred->count; i++) p->pairs[i].pred = &pred->items[i];
    return GM_OK;
}

/* More types than there is room for share the last colour. */
static gm_status take_types(page *p, const gm_record *r, gm_err *err)
{
    for (int32_t i = 0; r != NULL && i < r->entity_count; i++) {
        const char *type = r->entities[i].type;
        if (type[0] == '\0' || gm_labels_find(&p->types, type) >= 0 || p->types.count == GM_MAX_TYPES) continue;
        GM_TRY(gm_labels_add(&p->types, type, strlen(type), err));
    }
    return GM_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static gm_status look_through(page *p, gm_err *err)
{
    for (size_t i = 0; i < p->count; i++) {
        const gm_record *r = p->pairs[i].pred;
        GM_TRY(take_types(p, r, err));
        GM_TRY(take_types(p, p->pairs[i].gold, err));
        for (int32_t k = 0; r != NULL && k < r->entity_count; k++) {
            p->entities++;
            p->grounded += r->entities[k].box_count > 0;
            p->has_scores = p->has_scores || !isnan(r->entities[k].score);
            p->has_doubts = p->has_doubts || gm_page_has_doubt(&r->entities[k]);
        }
    }
    qsort(p->types.names, (size_t)p->types.count, sizeof *p->types.names, by_name);
    return GM_OK;
}

/* ---- the top ---- */

static gm_status add_count(gm_buffer *out, const char *what, int64_t count, gm_err *err)
{
    return gm_buffer_printf(out, err, "<div><dt>%s</dt><dd>%lld</dd></div>", what, (long long)count);
}

static gm_status add_score(gm_buffer *out, const char *what, gm_score s, gm_err *err)
{
    return gm_buffer_printf(out, err,
                            "<div title=\"precision %.4f, recall %.4f: %lld right of %lld predicted and %lld "
                            "gold\"><dt>%s F1</dt><dd>%.2f</dd></div>",
                            gm_precision(s), gm_recall(s), (long long)s.tp, (long long)s.n_pred, (long long)s.n_gold,
                            what, 100 * gm_f1(s));
}

static gm_status add_counts(gm_buffer *out, const page *p, gm_err *err)
{
    GM_TRY(add(out, "<dl>", err));
    GM_TRY(add_count(out, "samples", (int64_t)p->count, err));
    GM_TRY(add_count(out, "shown here", (int64_t)p->shown, err));
    GM_TRY(add_count(out, "entities predicted", p->entities, err));
    GM_TRY(add_count(out, "with a region", p->grounded, err));
    if (p->has_gold) {
        GM_TRY(add_count(out, "entities in gold", p->scores.mner.n_gold, err));
        GM_TRY(add_score(out, "MNER", p->scores.mner, err));
        GM_TRY(add_score(out, "EEG", p->scores.eeg, err));
        GM_TRY(add_score(out, "GMNER", p->scores.gmner, err));
    }
    return add(out, "</dl>\n", err);
}

static gm_status add_legend(gm_buffer *out, const page *p, gm_err *err)
{
    GM_TRY(add(out, "<p class=\"legend\">", err));
    for (int32_t i = 0; i < p->types.count; i++) {
        GM_TRY(gm_buffer_printf(out, err, "<span class=\"type t%d\">", (int)i % GM_PAGE_COLORS));
        GM_TRY(gm_page_text(out, p->types.names[i], err));
        GM_TRY(add(out, "</span> ", err));
    }
    GM_TRY(add(out,
               "</p>\n<p class=\"help\">A solid box is where an entity was found in the picture, its number that of "
               "the table.",
               err));
    if (p->has_gold)
        GM_TRY(add(out,
                   " A dashed box is gold, and the sentence stands twice where gold has other entities. The scores are "
                   "of all samples, shown here or not.",
                   err));
    if (p->has_doubts)
        GM_TRY(
            add(out,
                " Bars show how unsure the model is, from 0 to the largest value possible: <span class=\"key "
                "of-span\"></span> whether it is an entity,"
                " <span class=\"key of-type\"></span> which type, <span class=\"key of-region\"></span> which region.",
                err));
    return add(out, "</p>\n", err);
}

static gm_status add_top(gm_buffer *out, const page *p, gm_err *err)
{
    GM_TRY(gm_page_head(out, "Predictions", err));
    if (p->o->note != NULL) {
        GM_TRY(add(out, "<p class=\"note\">", err));
        GM_TRY(gm_page_text(out, p->o->note, err));
        GM_TRY(add(out, "</p>\n", err));
    }
    GM_TRY(add_counts(out, p, err));
    return add_legend(out, p, err);
}

/* ---- samples ---- */

/* Whether both have the same spans with the same types: then one sentence says it all. */
static bool has_same_marks(const gm_page_sample *s)
{
    if (s->pred == NULL || s->pred->entity_count != s->gold->entity_count) return false;
    for (int32_t i = 0; i < s->gold->entity_count; i++) {
        unsigned same = 0;
        for (int32_t k = 0; k < s->pred->entity_count && !(same & GM_SAME_TYPE); k++)
            same = gm_compare(s->pred, &s->pred->entities[k], s->gold, &s->gold->entities[i], &s->o->how, NULL);
        if (!(same & GM_SAME_TYPE)) return false;
    }
    return true;
}

static gm_status add_sentences(gm_buffer *out, const gm_page_sample *s, gm_err *err)
{
    if (s->pred != NULL) {
        GM_TRY(add(out, "<p class=\"text\" dir=\"auto\">", err));
        GM_TRY(gm_page_sentence(out, s->pred, s->types, err));
        GM_TRY(add(out, "</p>\n", err));
    } else {
        GM_TRY(add(out, "<p class=\"none\">there is no prediction for this sample</p>\n", err));
    }
    if (s->gold == NULL || has_same_marks(s)) return GM_OK;
    GM_TRY(add(out, "<p class=\"text goldtext\" dir=\"auto\"><b>gold</b>", err));
    GM_TRY(gm_page_sentence(out, s->gold, s->types, err));
    return add(out, "</p>\n", err);
}

static gm_status add_sample(gm_buffer *out, const page *p, size_t i, gm_err *err)
{
    const gm_record_pair *pair = &p->pairs[i];
    const gm_page_sample s = { .pred = pair->pred,
                               .gold = pair->gold,
                               .types = &p->types,
                               .o = p->o,
                               .has_scores = p->has_scores,
                               .has_doubts = p->has_doubts,
                               .number = (int32_t)i + 1 };
    bool is_shown;
    GM_TRY(gm_buffer_printf(out, err, "<article id=\"s%d\" data-id=\"", s.number));
    GM_TRY(gm_page_text(out, (s.pred != NULL ? s.pred : s.gold)->id, err));
    GM_TRY(add(out, "\">\n<figure>", err));
    GM_TRY(gm_page_picture(out, &s, &is_shown, err));
    GM_TRY(add(out, "</figure>\n<div>\n<h2>", err));
    GM_TRY(gm_page_text(out, (s.pred != NULL ? s.pred : s.gold)->id, err));
    GM_TRY(add(out, "</h2>\n", err));
    GM_TRY(add_sentences(out, &s, err));
    GM_TRY(add(out, "<div class=\"scroll\">", err));
    GM_TRY(gm_page_table(out, &s, err));
    return add(out, "</div>\n</div>\n</article>\n", err);
}

static gm_status write_parts(const page *p, gm_out *file, gm_buffer *out, gm_err *err)
{
    GM_TRY(add_top(out, p, err));
    for (size_t i = 0; i < p->shown; i++) {
        GM_TRY(add_sample(out, p, i, err));
        GM_TRY(gm_out_write(file, out->data, out->size, err));
        out->size = 0;
    }
    GM_TRY(add(out, "</body>\n</html>\n", err));
    return gm_out_write(file, out->data, out->size, err);
}

static gm_status write_file(const page *p, const char *path, gm_err *err)
{
    gm_out file = { 0 };
    gm_buffer out = { 0 };
    GM_TRY(gm_out_open(&file, path, err));
    const gm_status status = write_parts(p, &file, &out, err);
    gm_buffer_free(&out);
    if (status == GM_OK) return gm_out_commit(&file, err);
    gm_out_abort(&file);
    return status;
}

gm_status gm_page_write(const gm_records *pred, const gm_records *gold, const gm_page_options *o, const char *path,
                        gm_err *err)
{
    page p = { .o = o };
    if (o->limit < 0)
        return gm_fail(err, GM_ERR_USAGE, "page: %d samples are to be shown; expected 0 or more", (int)o->limit);
    gm_status status = pair_up(&p, pred, gold, err);
    if (status == GM_OK) status = look_through(&p, err);
    p.shown = p.count < (size_t)o->limit ? p.count : (size_t)o->limit;
    if (status == GM_OK) status = write_file(&p, path, err);
    gm_labels_free(&p.types);
    gm_metrics_free(&p.scores);
    gm_free(p.pairs);
    return status;
}
