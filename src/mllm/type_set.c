/* A pair is spelt coarse/fine. */
#include "mllm/type_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/compare.h"
#include "mllm/answers.h"

static gm_status add(gm_type_set *s, const char *name, gm_err *err)
{
    const int32_t k = s->shown.count;
    const char *slash = strchr(name, '/');
    if (slash == name || (slash != NULL && slash[1] == '\0'))
        return gm_fail(err, GM_ERR_USAGE, "the type \"%s\" is neither a name nor a pair such as person/actor", name);
    GM_TRY(gm_labels_add(&s->shown, name, strlen(name), err));
    s->coarse[k] = slash == NULL ? gm_strdup(name) : gm_strndup(name, (size_t)(slash - name));
    s->fine[k] = slash == NULL ? NULL : gm_strdup(slash + 1);
    s->is_fine = s->is_fine || slash != NULL;
    return s->coarse[k] == NULL || (slash != NULL && s->fine[k] == NULL)
               ? gm_fail(err, GM_ERR_NOMEM, "out of memory for types")
               : GM_OK;
}

static bool is_alone(const gm_type_set *s, int32_t k)
{
    int32_t same = 0;
    for (int32_t i = 0; i < s->shown.count && s->fine[k] != NULL; i++)
        same += s->fine[i] != NULL && strcmp(s->fine[i], s->fine[k]) == 0;
    return same == 1;
}

static gm_status add_alone(gm_type_set *s, gm_err *err)
{
    for (int32_t k = 0; k < s->shown.count && s->is_fine; k++) {
        const char *name = is_alone(s, k) ? s->fine[k] : s->shown.names[k];
        GM_TRY(gm_labels_add(&s->alone, name, strlen(name), err));
    }
    return GM_OK;
}

gm_status gm_type_set_parse(const char *list, gm_type_set *s, gm_err *err)
{
    gm_labels l = { .count = 0 };
    *s = (gm_type_set) { .is_fine = false };
    gm_status status = gm_labels_parse(list, &l, err);
    for (int32_t k = 0; k < l.count && status == GM_OK; k++) status = add(s, l.names[k], err);
    if (status == GM_OK) status = add_alone(s, err);
    gm_labels_free(&l);
    if (status != GM_OK) gm_type_set_free(s);
    return status;
}

/* ---- from records ---- */

static int by_name(const void *x, const void *y) { return strcmp(*(char *const *)x, *(char *const *)y); }

static gm_status collect(const gm_records *records, gm_labels *l, bool *has_fine, gm_err *err)
{
    *has_fine = false;
    for (size_t i = 0; i < records->count; i++)
        for (int32_t k = 0; k < records->items[i].entity_count; k++)
            *has_fine = *has_fine || records->items[i].entities[k].fine != NULL;
    for (size_t i = 0; i < records->count; i++) {
        for (int32_t k = 0; k < records->items[i].entity_count; k++) {
            const gm_entity *e = &records->items[i].entities[k];
            char name[300];
            if (*has_fine && e->fine == NULL) continue; /* its coarse type alone is none of the choices */
            const int n =
                snprintf(name, sizeof name, "%s%s%s", e->type, *has_fine ? "/" : "", *has_fine ? e->fine : "");
            if (n < 0 || (size_t)n >= sizeof name)
                return gm_fail(err, GM_ERR_DATA, "record \"%s\": a type of more than 127 bytes", records->items[i].id);
            if (gm_labels_find(l, name) < 0) GM_TRY(gm_labels_add(l, name, (size_t)n, err));
        }
    }
    qsort(l->names, (size_t)l->count, sizeof l->names[0], by_name);
    return GM_OK;
}

/* The number of the label that means the same as `name`, or -1. */
static int32_t find_same(const gm_labels *l, const char *name)
{
    char a[128], b[128];
    for (int32_t k = 0; k < l->count; k++)
        if (strcmp(gm_type_normal(l->names[k], a), gm_type_normal(name, b)) == 0) return k;
    return -1;
}

/* Makes l the whole set of the format where it has nothing besides; names keep the spelling of the records. */
static gm_status complete(gm_labels *l, const char *format, bool *is_done, gm_err *err)
{
    gm_labels whole = { .count = 0 };
    GM_TRY(gm_labels_parse(gm_labels_of_format(format), &whole, err));
    gm_status status = GM_OK;
    bool fits = l->count > 0;
    for (int32_t k = 0; k < l->count; k++)
        fits = fits && strlen(l->names[k]) < 128 && find_same(&whole, l->names[k]) >= 0;
    for (int32_t k = 0; k < whole.count && fits && status == GM_OK; k++)
        if (find_same(l, whole.names[k]) < 0) status = gm_labels_add(l, whole.names[k], strlen(whole.names[k]), err);
    *is_done = fits;
    gm_labels_free(&whole);
    return status;
}

gm_status gm_type_set_of(const gm_records *records, gm_type_set *s, gm_err *err)
{
    static const char *const formats[] = { "twitter-gmner", "ccks", "twitter-fmnerg" };
    gm_labels l = { .count = 0 };
    bool has_fine, is_done = false;
    *s = (gm_type_set) { .is_fine = false };
    gm_status status = collect(records, &l, &has_fine, err);
    for (size_t i = 0; i < GM_LEN(formats) && status == GM_OK && !has_fine && !is_done; i++)
        status = complete(&l, formats[i], &is_done, err);
    for (int32_t k = 0; k < l.count && status == GM_OK; k++) status = add(s, l.names[k], err);
    if (status == GM_OK) status = add_alone(s, err);
    gm_labels_free(&l);
    if (status != GM_OK) gm_type_set_free(s);
    return status;
}

void gm_type_set_free(gm_type_set *s)
{
    gm_labels_free(&s->shown);
    gm_labels_free(&s->alone);
    for (int32_t k = 0; k < GM_MAX_TYPES; k++) {
        gm_free(s->coarse[k]);
        gm_free(s->fine[k]);
    }
    *s = (gm_type_set) { .is_fine = false };
}

gm_status gm_type_set_answer(const gm_type_set *s, const char *text, size_t size, int32_t *number, gm_err *err)
{
    if (s->is_fine && gm_answer_type(text, size, &s->alone, number, NULL) == GM_OK) return GM_OK;
    return gm_answer_type(text, size, &s->shown, number, err);
}
