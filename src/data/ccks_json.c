/* Objects are walked in the order of the file: that is the order of the records. */
#include "data/ccks_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/id_set.h"
#include "data/words.h"

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for a sample"); }

/* A file whose whole is one object. */
static gm_status read_object(const char *path, cJSON **object, gm_err *err)
{
    char *bytes;
    size_t size;
    GM_TRY(gm_file_read(path, &bytes, &size, err));
    gm_status status = gm_json_parse(bytes, size, object, err);
    if (status != GM_OK) gm_fail_at(err, "%s", path);
    gm_free(bytes);
    if (status == GM_OK && !cJSON_IsObject(*object)) {
        cJSON_Delete(*object);
        *object = NULL;
        return gm_fail(err, GM_ERR_DATA, "%s: expected an object of ids, {\"id\": ...}", path);
    }
    return status;
}

/* ---- names ---- */

/* The entries of a sample. Those of one name and label are one name with several boxes. */
typedef struct entries {
    const cJSON **entry;
    gm_named *names;         /* each different one once; its type is the number of its first entry */
    gm_box *boxes;           /* of each entry; x2 = x1: none */
    int32_t count, name_count;
} entries;

static const char *text_in(const cJSON *entry, const char *member)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(entry, member);
    return cJSON_IsString(v) && v->valuestring[0] != '\0' ? v->valuestring : NULL;
}

static bool same_name(const cJSON *a, const cJSON *b)
{
    return strcmp(text_in(a, "name"), text_in(b, "name")) == 0 && strcmp(text_in(a, "label"), text_in(b, "label")) == 0;
}

static gm_status read_box(const cJSON *entry, gm_box *box, gm_err *err)
{
    static const char *const sides[] = { "xmin", "ymin", "xmax", "ymax" };
    const cJSON *bnd = cJSON_GetObjectItemCaseSensitive(entry, "bnd");
    double at[4];
    *box = (gm_box) { 0 };
    if (bnd == NULL || cJSON_IsNull(bnd)) return GM_OK;
    for (int i = 0; i < 4; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(bnd, sides[i]);
        if (!cJSON_IsNumber(v) || !(fabs(v->valuedouble) <= 1e9))
            return gm_fail(err, GM_ERR_DATA, "\"%.80s\": \"bnd\" has no number \"%s\"; expected {\"xmin\", \"ymin\", \"xmax\", \"ymax\"} or null", text_in(entry, "name"), sides[i]);
        at[i] = v->valuedouble;
    }
    *box = (gm_box) { at[0], at[1], at[2], at[3] };
    if (box->x2 > box->x1 && box->y2 > box->y1) return GM_OK;
    return gm_fail(err, GM_ERR_DATA, "\"%.80s\": the box [%g, %g, %g, %g] has no inside", text_in(entry, "name"), at[0], at[1], at[2], at[3]);
}

static gm_status read_entry(entries *e, const cJSON *entry, gm_err *err)
{
    const int32_t k = e->count;
    if (text_in(entry, "name") == NULL || text_in(entry, "label") == NULL)
        return gm_fail(err, GM_ERR_DATA, "entity %d lacks \"name\" or \"label\"", k + 1);
    GM_TRY(read_box(entry, &e->boxes[k], err));
    e->entry[e->count++] = entry;
    for (int32_t i = 0; i < k; i++)
        if (same_name(e->entry[i], entry)) return GM_OK;
    e->names[e->name_count++] = (gm_named) { text_in(entry, "name"), k, 0 };
    return GM_OK;
}

/* ---- records ---- */

static gm_status add_tokens(const gm_words *words, const char *text, gm_record *r, gm_err *err)
{
    r->tokens = gm_calloc((size_t)words->count, sizeof *r->tokens);
    if (r->tokens == NULL) return no_memory(err);
    for (; r->token_count < words->count; r->token_count++) {
        r->tokens[r->token_count] = gm_words_slice(words, text, r->token_count, r->token_count);
        if (r->tokens[r->token_count] == NULL) return no_memory(err);
    }
    return GM_OK;
}

static gm_status add_entity(const entries *all, const gm_span *s, gm_record *r, gm_err *err)
{
    gm_entity *e = &r->entities[r->entity_count++];
    size_t capacity = 0;
    *e = (gm_entity) { .start = s->start, .end = s->end, .score = NAN, .region_score = NAN, .uncertainty = gm_no_uncertainty };
    e->type = gm_strdup(text_in(all->entry[s->type], "label"));
    if (e->type == NULL) return no_memory(err);
    for (int32_t k = 0; k < all->count; k++) {
        if (!same_name(all->entry[k], all->entry[s->type]) || !(all->boxes[k].x2 > all->boxes[k].x1)) continue;
        GM_TRY(gm_grow((void **)&e->boxes, &capacity, (size_t)e->box_count, sizeof *e->boxes, err));
        e->boxes[e->box_count++] = all->boxes[k];
    }
    return GM_OK;
}

static void count_unmatched(const entries *all, gm_import_counts *counts)
{
    for (int32_t n = 0; n < all->name_count; n++) {
        if (all->names[n].found > 0) continue;
        counts->names_unmatched++;
        for (int32_t k = 0; k < all->count; k++)
            counts->boxes_unmatched += same_name(all->entry[k], all->entry[all->names[n].type]) && all->boxes[k].x2 > all->boxes[k].x1;
    }
}

static gm_status place_entities(entries *all, const gm_words *words, const char *text, gm_record *r, gm_import_counts *counts, gm_err *err)
{
    gm_span *spans = gm_calloc((size_t)words->count, sizeof *spans);
    int32_t count = 0, inside = 0;
    if (spans == NULL) return no_memory(err);
    gm_status status = gm_words_name(words, text, all->names, all->name_count, spans, &count, &inside, err);
    if (status == GM_OK) r->entities = gm_calloc((size_t)count + 1, sizeof *r->entities);
    if (status == GM_OK && r->entities == NULL) status = no_memory(err);
    for (int32_t i = 0; i < count && status == GM_OK; i++) status = add_entity(all, &spans[i], r, err);
    if (status == GM_OK) count_unmatched(all, counts);
    counts->names_widened += inside;
    gm_free(spans);
    return status;
}

static gm_status read_entities(const cJSON *list, const gm_words *words, const char *text, gm_record *r, gm_import_counts *counts, gm_err *err)
{
    if (!cJSON_IsArray(list)) return gm_fail(err, GM_ERR_DATA, "expected a list of entities");
    const size_t room = (size_t)cJSON_GetArraySize(list) + 1;
    entries all = { .entry = gm_calloc(room, sizeof *all.entry), .names = gm_calloc(room, sizeof *all.names), .boxes = gm_calloc(room, sizeof *all.boxes) };
    gm_status status = all.entry == NULL || all.names == NULL || all.boxes == NULL ? no_memory(err) : GM_OK;
    for (const cJSON *e = list->child; e != NULL && status == GM_OK; e = e->next) status = read_entry(&all, e, err);
    if (status == GM_OK) status = place_entities(&all, words, text, r, counts, err);
    gm_free(all.entry);
    gm_free(all.names);
    gm_free(all.boxes);
    return status;
}

static gm_status name_sample(const char *id, const char *text, gm_record *r, gm_err *err)
{
    gm_buffer image = { 0 }, extra = { 0 };
    r->id = gm_strdup(id);
    if (r->id == NULL) return no_memory(err);
    gm_status status = gm_buffer_printf(&image, err, "%s.jpg", id);
    r->image = image.data;
    if (status == GM_OK) status = gm_buffer_printf(&extra, err, "\"text\": ");
    if (status == GM_OK) status = gm_buffer_json_string(&extra, text, err);
    r->extra = extra.data;
    return status;
}

static gm_status read_sample(const cJSON *sample, const cJSON *entities, gm_words *words, gm_record *r, gm_import_counts *counts, gm_err *err)
{
    const char *text = cJSON_IsObject(sample) ? text_in(sample, "text") : NULL;
    const cJSON *list = entities != NULL ? cJSON_GetObjectItemCaseSensitive(entities, sample->string) : NULL;
    if (sample->string[0] == '\0' || strpbrk(sample->string, "/\\") != NULL) /* the id is the picture's name too */
        return gm_fail(err, GM_ERR_DATA, "an id is empty or holds a slash");
    if (text == NULL) return gm_fail(err, GM_ERR_DATA, "expected {\"text\": \"...\"}");
    GM_TRY(gm_words_of(text, strlen(text), words, err));
    if (words->count == 0) return gm_fail(err, GM_ERR_DATA, "the text has no words");
    GM_TRY(name_sample(sample->string, text, r, err));
    GM_TRY(add_tokens(words, text, r, err));
    return list != NULL ? read_entities(list, words, text, r, counts, err) : GM_OK;
}

static gm_status read_samples(const cJSON *texts, const cJSON *entities, gm_id_set *ids, gm_records *all, gm_import_counts *counts, gm_err *err)
{
    gm_words words = { 0 };
    gm_status status = GM_OK;
    for (const cJSON *c = texts->child; c != NULL && status == GM_OK; c = c->next) {
        gm_record r = { 0 };
        const size_t place = all->count;
        size_t first;
        status = gm_id_set_add(ids, c->string, place, &first, err);
        if (status == GM_OK && first != place) status = gm_fail(err, GM_ERR_DATA, "the id stands twice");
        if (status == GM_OK) status = read_sample(c, entities, &words, &r, counts, err);
        if (status == GM_OK) status = gm_records_add(all, &r, err);
        if (status != GM_OK) gm_fail_at(err, "\"%.80s\"", c->string);
        gm_record_free(&r);
    }
    gm_words_free(&words);
    return status;
}

/* Every id of the entities must have a text, and none may stand twice: a second list would be lost. */
static gm_status check_entities(const cJSON *entities, const gm_id_set *ids, gm_err *err)
{
    gm_id_set seen = { 0 };
    gm_status status = GM_OK;
    size_t place = 0, first;
    for (const cJSON *c = entities != NULL ? entities->child : NULL; c != NULL && status == GM_OK; c = c->next, place++) {
        status = gm_id_set_add(&seen, c->string, place, &first, err);
        if (status == GM_OK && first != place) status = gm_fail(err, GM_ERR_DATA, "\"%.80s\" stands twice", c->string);
        else if (status == GM_OK && !gm_id_set_has(ids, c->string)) status = gm_fail(err, GM_ERR_DATA, "\"%.80s\" has entities, but no text", c->string);
    }
    gm_id_set_free(&seen);
    return status;
}

gm_status gm_ccks_json_read(const char *texts, const char *entities, gm_records *all, gm_import_counts *counts, gm_err *err)
{
    cJSON *text = NULL, *entity = NULL;
    gm_id_set ids = { 0 };
    gm_status status = read_object(texts, &text, err);
    if (status == GM_OK && entities != NULL) status = read_object(entities, &entity, err);
    if (status == GM_OK) {
        status = read_samples(text, entity, &ids, all, counts, err);
        if (status != GM_OK) gm_fail_at(err, "%s", entities != NULL ? entities : texts);
        else if (all->count == 0) status = gm_fail(err, GM_ERR_DATA, "%s: the file holds no sample", texts);
    }
    if (status == GM_OK && check_entities(entity, &ids, err) != GM_OK) status = gm_fail_at(err, "%s", entities);
    gm_id_set_free(&ids);
    cJSON_Delete(text);
    cJSON_Delete(entity);
    return status;
}

/* ---- writing ---- */

/* The record's own text, where it has one that reads as its words; else its words with blanks between them. *words are those of the text. */
static gm_status text_of(const gm_record *r, gm_words *words, char **text, gm_err *err)
{
    gm_buffer b = { 0 };
    cJSON *extra = NULL;
    gm_status status = gm_buffer_printf(&b, err, "{%s}", r->extra != NULL ? r->extra : "");
    if (status == GM_OK) status = gm_json_parse(b.data, b.size, &extra, err);
    const char *own = status == GM_OK ? text_in(extra, "text") : NULL;
    *text = own != NULL ? gm_strdup(own) : NULL;
    cJSON_Delete(extra);
    b.size = 0;
    if (status == GM_OK && *text != NULL) status = gm_words_of(*text, strlen(*text), words, err);
    bool reads = status == GM_OK && *text != NULL && words->count == r->token_count;
    for (int32_t w = 0; w < r->token_count && reads; w++) {
        const gm_word at = words->items[w];
        reads = strlen(r->tokens[w]) == (size_t)(at.end - at.start) && memcmp(r->tokens[w], *text + at.start, strlen(r->tokens[w])) == 0;
    }
    if (status != GM_OK || reads) goto out;
    gm_free(*text);
    *text = NULL;
    words->count = 0;
    for (int32_t w = 0; w < r->token_count && status == GM_OK; w++) { /* a token of another splitter may be several words: it stays one */
        const int32_t start = (int32_t)b.size + (w > 0);
        status = gm_buffer_printf(&b, err, "%s%s", w > 0 ? " " : "", r->tokens[w]);
        if (status == GM_OK) status = gm_grow((void **)&words->items, &words->capacity, (size_t)w, sizeof *words->items, err);
        if (status == GM_OK) words->items[words->count++] = (gm_word) { start, (int32_t)b.size };
    }
    *text = b.data;
    b.data = NULL;
out:
    gm_buffer_free(&b);
    return status;
}

static gm_status write_box(const gm_box *box, gm_buffer *to, gm_err *err)
{
    static const char *const sides[] = { "xmin", "ymin", "xmax", "ymax" };
    if (box == NULL) return gm_buffer_printf(to, err, "null");
    const double at[] = { box->x1, box->y1, box->x2, box->y2 };
    for (int i = 0; i < 4; i++) {
        char number[40];
        snprintf(number, sizeof number, "%.15g", at[i]);
        if (strtod(number, NULL) != at[i]) snprintf(number, sizeof number, "%.17g", at[i]);
        GM_TRY(gm_buffer_printf(to, err, "%s\"%s\": %s", i == 0 ? "{" : ", ", sides[i], number));
    }
    return gm_buffer_printf(to, err, "}");
}

/* Writes the entry unless the same one stands in the record's list, of which `written` has the texts. */
static gm_status write_entry(const char *name, const char *label, const gm_box *box, gm_id_set *written, gm_buffer *to, gm_err *err)
{
    gm_buffer b = { 0 };
    size_t first;
    const size_t place = written->count;
    gm_status status = gm_buffer_printf(&b, err, "{\"name\": ");
    if (status == GM_OK) status = gm_buffer_json_string(&b, name, err);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, ", \"label\": ");
    if (status == GM_OK) status = gm_buffer_json_string(&b, label, err);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, ", \"bnd\": ");
    if (status == GM_OK) status = write_box(box, &b, err);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "}");
    if (status == GM_OK) status = gm_id_set_add(written, b.data, place, &first, err);
    if (status == GM_OK && first == place) status = gm_buffer_printf(to, err, "%s%s", place > 0 ? ", " : "", b.data);
    gm_buffer_free(&b);
    return status;
}

static gm_status write_entities(const gm_record *r, const gm_words *words, const char *text, bool has_all_boxes, gm_buffer *to, gm_err *err)
{
    gm_id_set written = { 0 };
    gm_status status = GM_OK;
    for (int32_t k = 0; k < r->entity_count && status == GM_OK; k++) {
        const gm_entity *e = &r->entities[k];
        char *name = gm_words_slice(words, text, e->start, e->end);
        if (name == NULL) status = no_memory(err);
        const int32_t times = has_all_boxes && e->box_count > 1 ? e->box_count : 1;
        for (int32_t i = 0; i < times && status == GM_OK; i++) status = write_entry(name, e->type, e->box_count > 0 ? &e->boxes[i] : NULL, &written, to, err);
        gm_free(name);
    }
    gm_id_set_free(&written);
    return status;
}

static gm_status write_record(const gm_record *r, gm_words *words, bool has_all_boxes, gm_buffer *to, gm_err *err)
{
    char *text = NULL;
    gm_status status = text_of(r, words, &text, err);
    if (status == GM_OK) status = gm_buffer_json_string(to, r->id, err);
    if (status == GM_OK) status = gm_buffer_printf(to, err, ": [");
    if (status == GM_OK) status = write_entities(r, words, text, has_all_boxes, to, err);
    if (status == GM_OK) status = gm_buffer_printf(to, err, "]");
    gm_free(text);
    return status;
}

gm_status gm_ccks_json_write(const gm_records *all, bool has_all_boxes, gm_buffer *to, gm_err *err)
{
    gm_words words = { 0 };
    gm_status status = gm_buffer_printf(to, err, "{");
    for (size_t i = 0; i < all->count && status == GM_OK; i++) {
        status = gm_buffer_printf(to, err, i > 0 ? ",\n" : "\n");
        if (status == GM_OK) status = write_record(&all->items[i], &words, has_all_boxes, to, err);
    }
    gm_words_free(&words);
    return status == GM_OK ? gm_buffer_printf(to, err, "\n}\n") : status;
}
