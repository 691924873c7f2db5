/* Sentences of all samples become two sets. Which of two equal sentences is kept, and on which side, follows from the samples' order in
 * their file, never from the order of answers. */
#include "mllm/synthesis.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"
#include "data/id_set.h"
#include "data/words.h"
#include "mllm/similar.h"

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for sentences"); }

/* The text as near duplicates share it: letters and digits alone. */
static gm_status folded_of(const gm_record *r, char **folded, gm_err *err)
{
    char *text;
    GM_TRY(gm_words_text(r, 0, r->token_count - 1, &text, err));
    *folded = gm_text_folded(text);
    gm_free(text);
    return *folded != NULL ? GM_OK : no_memory(err);
}

/* ---- two sides ---- */

typedef struct drawn {
    uint32_t number; /* drawn for the sample */
    const char *id;
    size_t sample;
} drawn;

static int by_number(const void *x, const void *y)
{
    const drawn *a = x, *b = y;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return strcmp(a->id, b->id);
}

/* first[i]: the first sample with the text of sample i. */
static gm_status find_firsts(const gm_records *samples, size_t *first, gm_err *err)
{
    gm_id_set set = { 0 };
    gm_status status = GM_OK;
    for (size_t i = 0; i < samples->count && status == GM_OK; i++) {
        char *folded = NULL;
        status = folded_of(&samples->items[i], &folded, err);
        if (status == GM_OK) status = gm_id_set_add(&set, folded, i, &first[i], err);
        gm_free(folded);
    }
    gm_id_set_free(&set);
    return status;
}

gm_status gm_synthesis_split(const gm_records *samples, double share, uint64_t seed, bool *is_dev, gm_err *err)
{
    size_t *first = gm_calloc(samples->count + 1, sizeof *first), count = 0;
    drawn *order = gm_calloc(samples->count + 1, sizeof *order);
    gm_status status = first == NULL || order == NULL ? no_memory(err) : find_firsts(samples, first, err);
    if (status == GM_OK) {
        for (size_t i = 0; i < samples->count; i++) {
            is_dev[i] = false;
            if (first[i] != i) continue;
            const char *id = samples->items[i].id;
            order[count++] = (drawn) { gm_philox(seed, 0, 0, gm_fnv1a(id), gm_purpose(GM_SITE_SPLIT, 0, 0)).word[0], id, i };
        }
        qsort(order, count, sizeof *order, by_number);
        const size_t dev = (size_t)(share * (double)count + 0.5);
        for (size_t k = 0; k < dev && k < count; k++) is_dev[order[k].sample] = true;
        for (size_t i = 0; i < samples->count; i++) is_dev[i] = is_dev[first[i]];
    }
    gm_free(first);
    gm_free(order);
    return status;
}

/* ---- what stood before ---- */

/* Texts by their place: the labelled ones first, then the sentences in their order. */
typedef struct seen {
    gm_id_set exact, folded;
    size_t labelled, place;
} seen;

static gm_status see_labelled(seen *s, const gm_records *samples, gm_err *err)
{
    gm_status status = GM_OK;
    s->labelled = samples->count;
    for (size_t i = 0; i < samples->count && status == GM_OK; i++) {
        char *folded = NULL;
        size_t first;
        status = folded_of(&samples->items[i], &folded, err);
        if (status == GM_OK) status = gm_id_set_add(&s->folded, folded, s->place++, &first, err);
        gm_free(folded);
    }
    return status;
}

/* What is wrong with a sentence beside those before it, which it now is one of. */
static gm_status see(seen *s, const gm_sentence *one, gm_synthesis_fault *fault, gm_err *err)
{
    const size_t place = s->place++;
    size_t first, same;
    char *folded = gm_text_folded(one->text);
    if (folded == NULL) return no_memory(err);
    gm_status status = gm_id_set_add(&s->folded, folded, place, &first, err);
    if (status == GM_OK) status = gm_id_set_add(&s->exact, one->text, place, &same, err);
    gm_free(folded);
    GM_TRY(status);
    *fault = first == place ? GM_SYNTHESIS_FAULTS : first < s->labelled ? GM_SYNTHESIS_copy : same < place ? GM_SYNTHESIS_duplicate : GM_SYNTHESIS_near_duplicate;
    return GM_OK;
}

/* ---- records ---- */

static gm_status name_record(const char *sample, gm_sentence *s, gm_err *err)
{
    gm_buffer id = { 0 }, extra = { 0 };
    gm_status status = gm_buffer_printf(&id, err, "%s-llm-%02d", sample, s->number);
    if (status == GM_OK) status = gm_buffer_printf(&extra, err, "\"made_from\": ");
    if (status == GM_OK) status = gm_buffer_json_string(&extra, sample, err);
    s->record.id = id.data;
    s->record.extra = extra.data;
    return status;
}

static gm_status keep(const char *sample, gm_sentence *s, gm_records *to, gm_synthesis_counts *c, gm_err *err)
{
    GM_TRY(name_record(sample, s, err));
    c->kept++;
    c->entities += s->record.entity_count;
    c->retyped += s->retyped;
    c->nested += s->nested;
    c->inside_words += s->inside_words;
    c->left_out += s->left_out;
    return gm_records_add(to, &s->record, err);
}

gm_status gm_synthesis_collect(const gm_records *samples, gm_sentences *made, const bool *is_dev, gm_records *train, gm_records *dev,
                               gm_synthesis_counts *counts, gm_err *err)
{
    seen before = { .place = 0 };
    *counts = (gm_synthesis_counts) { 0 };
    gm_status status = see_labelled(&before, samples, err);
    for (size_t i = 0; i < samples->count && status == GM_OK; i++) {
        for (size_t k = 0; k < made[i].count && status == GM_OK; k++) {
            gm_sentence *s = &made[i].items[k];
            counts->made++;
            if (s->fault == GM_SYNTHESIS_FAULTS) status = see(&before, s, &s->fault, err);
            if (status != GM_OK) break;
            if (s->fault == GM_SYNTHESIS_FAULTS) status = keep(samples->items[i].id, s, is_dev[i] ? dev : train, counts, err);
            else counts->of[s->fault]++;
        }
    }
    counts->train = (int64_t)train->count;
    counts->dev = (int64_t)dev->count;
    gm_id_set_free(&before.exact);
    gm_id_set_free(&before.folded);
    if (status == GM_OK && train->count > 0) status = gm_records_check_ids(train, "train", err);
    if (status == GM_OK && dev->count > 0) status = gm_records_check_ids(dev, "dev", err);
    return status;
}
