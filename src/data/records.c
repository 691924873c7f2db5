/* Records: reading, writing and collecting them. Reading is strict and names the JSON path of what is wrong. Members
 * that this program does not know are kept as the text they were, at the record and at each entity, so that reading
 * and writing loses nothing, 18-digit numbers included. */
#include "data/records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/id_set.h"

const gm_uncertainty gm_no_uncertainty = { NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN };

enum { MAX_MEMBERS = 9 };

enum { REC_ID, REC_TOKENS, REC_IMAGE, REC_SIZE, REC_ENTITIES, REC_MEMBERS };
static const char *const record_members[] = { "id", "tokens", "image", "size", "entities" };

enum { ENT_START, ENT_END, ENT_TYPE, ENT_FINE, ENT_BOXES, ENT_SCORE, ENT_REGION_SCORE, ENT_UNCERTAINTY, ENT_MEMBERS };
static const char *const entity_members[] = { "start", "end",   "type",         "fine",
                                              "boxes", "score", "region_score", "uncertainty" };

enum { UNC_MEMBERS = 9 };
static const char *const uncertainty_members[UNC_MEMBERS] = { "span",          "type",          "region",
                                                              "span_norm",     "type_norm",     "region_norm",
                                                              "span_expected", "type_expected", "region_expected" };

/* An object taken apart: the members that the program knows, each as value and as text, and the others as text. */
typedef struct parts {
    const char *where; /* JSON path of the object with a point behind it, "" for the record itself */
    const cJSON *value[MAX_MEMBERS];
    gm_json_member raw[MAX_MEMBERS];
    gm_buffer extra;
} parts;

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for a record"); }

static const char *kind(const cJSON *v)
{
    if (v == NULL) return "nothing";
    if (cJSON_IsString(v)) return "a string";
    if (cJSON_IsNumber(v)) return "a number";
    if (cJSON_IsArray(v)) return "an array";
    if (cJSON_IsObject(v)) return "an object";
    return cJSON_IsNull(v) ? "null" : cJSON_IsTrue(v) ? "true" : "false";
}

static bool is_absent(const cJSON *v) { return v == NULL || cJSON_IsNull(v); }

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* A key that stands twice would lose one of its values on the way to the next program. */
static gm_status check_keys(const cJSON *object, const char *where, gm_err *err)
{
    const size_t count = (size_t)cJSON_GetArraySize(object);
    if (count < 2) return GM_OK;
    const char **keys = gm_calloc(count, sizeof *keys);
    if (keys == NULL) return no_memory(err);
    size_t n = 0;
    for (const cJSON *v = object->child; v != NULL; v = v->next) keys[n++] = v->string;
    qsort(keys, n, sizeof *keys, by_text);
    gm_status status = GM_OK;
    for (size_t i = 1; i < n && status == GM_OK; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            status = gm_fail(err, GM_ERR_DATA, "%s%s: this member stands twice", where, keys[i]);
    gm_free(keys);
    return status;
}

static gm_status keep(gm_buffer *extra, const gm_json_member *m, gm_err *err)
{
    if (extra->size > 0) GM_TRY(gm_buffer_add(extra, ",", 1, err));
    GM_TRY(gm_buffer_add(extra, "\"", 1, err));
    GM_TRY(gm_buffer_add(extra, m->key, m->key_len, err));
    GM_TRY(gm_buffer_add(extra, "\":", 2, err));
    return gm_buffer_add(extra, m->value, m->value_len, err);
}

/* Takes the object at *at apart and moves *at behind its last member. The tree and the text list the members in the
 * same order; names are compared in the tree, where escapes are resolved. */
static gm_status take_apart(const cJSON *object, const char **at, const char *const *known, int count, parts *p,
                            gm_err *err)
{
    GM_TRY(check_keys(object, p->where, err));
    gm_json_member m;
    for (const cJSON *v = object->child; v != NULL && gm_json_next_member(at, &m); v = v->next) {
        int i = 0;
        while (i < count && strcmp(known[i], v->string) != 0) i++;
        if (i == count) {
            GM_TRY(keep(&p->extra, &m, err));
        } else {
            p->value[i] = v;
            p->raw[i] = m;
        }
    }
    return GM_OK;
}

static gm_status wrong(const parts *p, const char *name, const char *expected, const cJSON *found, gm_err *err)
{
    return gm_fail(err, GM_ERR_DATA, "%s%s: expected %s, found %s", p->where, name, expected, kind(found));
}

static gm_status take_string(const parts *p, int i, const char *name, char **out, gm_err *err)
{
    const cJSON *v = p->value[i];
    if (!cJSON_IsString(v)) return wrong(p, name, "a string", v, err);
    if (v->valuestring[0] == '\0') return gm_fail(err, GM_ERR_DATA, "%s%s: the text is empty", p->where, name);
    *out = gm_strdup(v->valuestring);
    return *out == NULL ? no_memory(err) : GM_OK;
}

static gm_status take_id(const parts *p, gm_record *r, gm_err *err)
{
    const gm_json_member *raw = &p->raw[REC_ID];
    if (cJSON_IsNumber(p->value[REC_ID]))
        return gm_fail(err, GM_ERR_DATA, "id: %.*s is a number; ids are strings: put it in quotes, \"%.*s\"",
                       (int)raw->value_len, raw->value, (int)raw->value_len, raw->value);
    return take_string(p, REC_ID, "id", &r->id, err);
}

static gm_status take_tokens(const parts *p, gm_record *r, gm_err *err)
{
    const cJSON *list = p->value[REC_TOKENS];
    if (!cJSON_IsArray(list)) return wrong(p, "tokens", "an array of words", list, err);
    const int32_t count = cJSON_GetArraySize(list);
    if (count == 0) return gm_fail(err, GM_ERR_DATA, "tokens: expected at least one word");
    r->tokens = gm_calloc((size_t)count, sizeof *r->tokens);
    if (r->tokens == NULL) return no_memory(err);
    for (const cJSON *v = list->child; v != NULL; v = v->next) {
        const int32_t i = r->token_count;
        if (!cJSON_IsString(v)) return gm_fail(err, GM_ERR_DATA, "tokens[%d]: expected a string, found %s", i, kind(v));
        if (v->valuestring[0] == '\0') return gm_fail(err, GM_ERR_DATA, "tokens[%d]: the word is empty", i);
        r->tokens[i] = gm_strdup(v->valuestring);
        if (r->tokens[i] == NULL) return no_memory(err);
        r->token_count++;
    }
    return GM_OK;
}

static bool is_int32(const cJSON *v)
{
    return cJSON_IsNumber(v) && v->valuedouble >= 0.0 && v->valuedouble <= INT32_MAX &&
           v->valuedouble == floor(v->valuedouble);
}

static gm_status take_size(const parts *p, gm_record *r, gm_err *err)
{
    const cJSON *size = p->value[REC_SIZE];
    if (is_absent(size)) return GM_OK;
    if (!cJSON_IsArray(size) || cJSON_GetArraySize(size) != 2)
        return wrong(p, "size", "[width, height] or null", size, err);
    const cJSON *width = size->child, *height = width->next;
    if (!is_int32(width) || width->valuedouble < 1)
        return gm_fail(err, GM_ERR_DATA, "size[0]: expected a whole number of pixels above 0");
    if (!is_int32(height) || height->valuedouble < 1)
        return gm_fail(err, GM_ERR_DATA, "size[1]: expected a whole number of pixels above 0");
    r->width = (int32_t)width->valuedouble;
    r->height = (int32_t)height->valuedouble;
    return GM_OK;
}

static gm_status take_index(const parts *p, int i, const char *name, int32_t words, int32_t *out, gm_err *err)
{
    const cJSON *v = p->value[i];
    if (!cJSON_IsNumber(v)) return wrong(p, name, "the number of a word", v, err);
    const gm_json_member *raw = &p->raw[i];
    if (!is_int32(v) || v->valuedouble >= words)
        return gm_fail(err, GM_ERR_DATA,
                       "%s%s: expected a whole number from 0 to %d (the sample has %d words), found %.*s", p->where,
                       name, words - 1, words, (int)raw->value_len, raw->value);
    *out = (int32_t)v->valuedouble;
    return GM_OK;
}

static gm_status take_number(const parts *p, int i, const char *name, double *out, gm_err *err)
{
    const cJSON *v = p->value[i];
    *out = NAN;
    if (is_absent(v)) return GM_OK;
    if (!cJSON_IsNumber(v)) return wrong(p, name, "a number", v, err);
    *out = v->valuedouble; /* finite: the parser refuses the rest */
    return GM_OK;
}

/* A box of four numbers without an inside is kept and marked: in a prediction it is a wrong region, not none. */
static gm_status take_boxes(const parts *p, gm_entity *e, gm_err *err)
{
    const cJSON *list = p->value[ENT_BOXES];
    if (is_absent(list)) return GM_OK;
    if (!cJSON_IsArray(list)) return wrong(p, "boxes", "an array of boxes", list, err);
    if (list->child == NULL) return GM_OK;
    e->boxes = gm_calloc((size_t)cJSON_GetArraySize(list), sizeof *e->boxes);
    if (e->boxes == NULL) return no_memory(err);
    for (const cJSON *v = list->child; v != NULL; v = v->next) {
        double corner[4];
        int n = 0;
        const cJSON *c = cJSON_IsArray(v) ? v->child : NULL;
        for (; c != NULL && n < 4 && cJSON_IsNumber(c); c = c->next) corner[n++] = c->valuedouble;
        if (n != 4 || c != NULL)
            return gm_fail(err, GM_ERR_DATA, "%sboxes[%d]: expected four numbers [x1, y1, x2, y2]", p->where,
                           e->box_count);
        const gm_box box = { corner[0], corner[1], corner[2], corner[3] };
        if (!(box.x2 > box.x1 && box.y2 > box.y1)) e->has_bad_box = true;
        e->boxes[e->box_count++] = box;
    }
    return GM_OK;
}

/* The numbers of an uncertainty in the order of uncertainty_members. */
static void list_numbers(gm_uncertainty *u, double *list[UNC_MEMBERS])
{
    double *const all[] = { &u->span,          &u->type,          &u->region,
                            &u->span_norm,     &u->type_norm,     &u->region_norm,
                            &u->span_expected, &u->type_expected, &u->region_expected };
    for (int i = 0; i < UNC_MEMBERS; i++) list[i] = all[i];
}

static gm_status take_uncertainty(const parts *entity, gm_entity *e, gm_err *err)
{
    const cJSON *object = entity->value[ENT_UNCERTAINTY];
    e->uncertainty = gm_no_uncertainty;
    if (is_absent(object)) return GM_OK;
    if (!cJSON_IsObject(object)) return wrong(entity, "uncertainty", "an object", object, err);
    char where[48];
    snprintf(where, sizeof where, "%suncertainty.", entity->where);
    parts p = { .where = where };
    const char *at = entity->raw[ENT_UNCERTAINTY].value;
    const gm_status status = take_apart(object, &at, uncertainty_members, UNC_MEMBERS, &p, err);
    e->uncertainty_extra = p.extra.data;
    if (status != GM_OK) return status;
    double *number[UNC_MEMBERS];
    list_numbers(&e->uncertainty, number);
    for (int i = 0; i < UNC_MEMBERS; i++) {
        GM_TRY(take_number(&p, i, uncertainty_members[i], number[i], err));
        if (*number[i] < 0)
            return gm_fail(err, GM_ERR_DATA, "%s%s: expected a number from 0, found %.*s; entropies are not negative",
                           where, uncertainty_members[i], (int)p.raw[i].value_len, p.raw[i].value);
    }
    return GM_OK;
}

static gm_status take_entity_parts(const parts *p, int32_t words, gm_entity *e, gm_err *err)
{
    GM_TRY(take_index(p, ENT_START, "start", words, &e->start, err));
    GM_TRY(take_index(p, ENT_END, "end", words, &e->end, err));
    if (e->end < e->start)
        return gm_fail(err, GM_ERR_DATA, "%send: %d lies before start %d; both are inclusive", p->where, e->end,
                       e->start);
    GM_TRY(take_string(p, ENT_TYPE, "type", &e->type, err));
    if (!is_absent(p->value[ENT_FINE])) GM_TRY(take_string(p, ENT_FINE, "fine", &e->fine, err));
    GM_TRY(take_boxes(p, e, err));
    GM_TRY(take_number(p, ENT_SCORE, "score", &e->score, err));
    GM_TRY(take_number(p, ENT_REGION_SCORE, "region_score", &e->region_score, err));
    return take_uncertainty(p, e, err);
}

static const char *past_space(const char *at)
{
    while (*at == ' ' || *at == '\t') at++;
    return at;
}

/* One entity at *at; moves *at to what stands behind its closing brace. */
static gm_status take_entity(const cJSON *object, const char **at, int32_t index, int32_t words, gm_entity *e,
                             gm_err *err)
{
    char where[32];
    snprintf(where, sizeof where, "entities[%d].", index);
    if (!cJSON_IsObject(object))
        return gm_fail(err, GM_ERR_DATA, "entities[%d]: expected an object, found %s", index, kind(object));
    parts p = { .where = where };
    gm_status status = take_apart(object, at, entity_members, ENT_MEMBERS, &p, err);
    e->extra = p.extra.data;
    if (status != GM_OK) return status;
    if (object->child == NULL) (*at)++; /* nothing moved past the opening brace */
    *at = past_space(*at) + 1;
    return take_entity_parts(&p, words, e, err);
}

static gm_status take_entities(const parts *p, gm_record *r, gm_err *err)
{
    const cJSON *list = p->value[REC_ENTITIES];
    if (!cJSON_IsArray(list)) return wrong(p, "entities", "an array (write [] for none)", list, err);
    if (list->child == NULL) return GM_OK;
    r->entities = gm_calloc((size_t)cJSON_GetArraySize(list), sizeof *r->entities);
    if (r->entities == NULL) return no_memory(err);
    const char *at = p->raw[REC_ENTITIES].value + 1;
    for (const cJSON *v = list->child; v != NULL; v = v->next) {
        const int32_t i = r->entity_count++;
        at = past_space(at);
        GM_TRY(take_entity(v, &at, i, r->token_count, &r->entities[i], err));
        at = past_space(at) + 1; /* the comma, or the bracket that ends the list */
    }
    return GM_OK;
}

static gm_status take_record(const cJSON *object, const char *line, gm_record *r, gm_err *err)
{
    if (!cJSON_IsObject(object))
        return gm_fail(err, GM_ERR_DATA, "expected a record (a JSON object), found %s", kind(object));
    parts p = { .where = "" };
    const char *at = past_space(line);
    const gm_status status = take_apart(object, &at, record_members, REC_MEMBERS, &p, err);
    r->extra = p.extra.data;
    if (status != GM_OK) return status;
    GM_TRY(take_id(&p, r, err));
    GM_TRY(take_tokens(&p, r, err));
    if (!is_absent(p.value[REC_IMAGE])) GM_TRY(take_string(&p, REC_IMAGE, "image", &r->image, err));
    GM_TRY(take_size(&p, r, err));
    return take_entities(&p, r, err);
}

gm_status gm_record_parse(const char *line, size_t n, gm_record *r, gm_err *err)
{
    *r = (gm_record) { 0 };
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
    /* A kept member with a line break inside could not be written back as one line. */
    if (memchr(line, '\n', n) != NULL || memchr(line, '\r', n) != NULL)
        return gm_fail(err, GM_ERR_DATA, "a record is one line, but this text has several");
    cJSON *tree;
    GM_TRY(gm_json_parse(line, n, &tree, err));
    const gm_status status = take_record(tree, line, r, err);
    cJSON_Delete(tree);
    if (status != GM_OK) gm_record_free(r);
    return status;
}

/* The shortest of two forms that reads back as the same double. */
static gm_status add_number(gm_buffer *out, double x, gm_err *err)
{
    char text[40];
    snprintf(text, sizeof text, "%.15g", x);
    if (strtod(text, NULL) != x) snprintf(text, sizeof text, "%.17g", x);
    return gm_buffer_add(out, text, strlen(text), err);
}

static gm_status add_text(gm_buffer *out, const char *text, gm_err *err)
{
    return gm_buffer_add(out, text, strlen(text), err);
}

static gm_status add_string_or_null(gm_buffer *out, const char *text, gm_err *err)
{
    return text == NULL ? add_text(out, "null", err) : gm_buffer_json_string(out, text, err);
}

static gm_status add_score(gm_buffer *out, const char *name, double score, gm_err *err)
{
    if (isnan(score)) return GM_OK;
    if (isinf(score)) return gm_fail(err, GM_ERR_NUMERIC, "%s is infinite: JSON has no such number", name);
    GM_TRY(gm_buffer_printf(out, err, ", \"%s\": ", name));
    return add_number(out, score, err);
}

static gm_status add_extra(gm_buffer *out, const char *extra, gm_err *err)
{
    if (extra == NULL) return GM_OK;
    GM_TRY(add_text(out, ", ", err));
    return add_text(out, extra, err);
}

static gm_status write_uncertainty(const gm_entity *e, gm_buffer *out, gm_err *err)
{
    gm_uncertainty u = e->uncertainty;
    double *number[UNC_MEMBERS];
    list_numbers(&u, number);
    const char *before = ", \"uncertainty\": {";
    for (int i = 0; i < UNC_MEMBERS; i++) {
        if (isnan(*number[i])) continue;
        if (!(*number[i] >= 0 && isfinite(*number[i])))
            return gm_fail(err, GM_ERR_NUMERIC, "uncertainty.%s of words %d to %d is %g: expected a finite number from 0",
                           uncertainty_members[i], e->start, e->end, *number[i]);
        GM_TRY(gm_buffer_printf(out, err, "%s\"%s\": ", before, uncertainty_members[i]));
        GM_TRY(add_number(out, *number[i], err));
        before = ", ";
    }
    if (e->uncertainty_extra != NULL) {
        GM_TRY(add_text(out, before, err));
        GM_TRY(add_text(out, e->uncertainty_extra, err));
        before = ", ";
    }
    return strcmp(before, ", ") == 0 ? add_text(out, "}", err) : GM_OK;
}

static gm_status write_entity(const gm_entity *e, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "{\"start\": %d, \"end\": %d, \"type\": ", e->start, e->end));
    GM_TRY(gm_buffer_json_string(out, e->type, err));
    GM_TRY(add_text(out, ", \"fine\": ", err));
    GM_TRY(add_string_or_null(out, e->fine, err));
    GM_TRY(add_text(out, ", \"boxes\": [", err));
    for (int32_t i = 0; i < e->box_count; i++) {
        const gm_box *b = &e->boxes[i];
        const double corner[4] = { b->x1, b->y1, b->x2, b->y2 };
        for (int c = 0; c < 4; c++) {
            if (!isfinite(corner[c]))
                return gm_fail(err, GM_ERR_NUMERIC, "a box of words %d to %d is not finite", e->start, e->end);
            GM_TRY(add_text(out, c > 0 ? ", " : i > 0 ? ", [" : "[", err));
            GM_TRY(add_number(out, corner[c], err));
        }
        GM_TRY(add_text(out, "]", err));
    }
    GM_TRY(add_text(out, "]", err));
    GM_TRY(add_score(out, "score", e->score, err));
    GM_TRY(add_score(out, "region_score", e->region_score, err));
    GM_TRY(write_uncertainty(e, out, err));
    GM_TRY(add_extra(out, e->extra, err));
    return add_text(out, "}", err);
}

gm_status gm_record_write(const gm_record *r, gm_buffer *out, gm_err *err)
{
    GM_TRY(add_text(out, "{\"id\": ", err));
    GM_TRY(gm_buffer_json_string(out, r->id, err));
    GM_TRY(add_text(out, ", \"tokens\": [", err));
    for (int32_t i = 0; i < r->token_count; i++) {
        if (i > 0) GM_TRY(add_text(out, ", ", err));
        GM_TRY(gm_buffer_json_string(out, r->tokens[i], err));
    }
    GM_TRY(add_text(out, "], \"image\": ", err));
    GM_TRY(add_string_or_null(out, r->image, err));
    if (r->width > 0)
        GM_TRY(gm_buffer_printf(out, err, ", \"size\": [%d, %d]", r->width, r->height));
    else
        GM_TRY(add_text(out, ", \"size\": null", err));
    GM_TRY(add_text(out, ", \"entities\": [", err));
    for (int32_t i = 0; i < r->entity_count; i++) {
        if (i > 0) GM_TRY(add_text(out, ", ", err));
        GM_TRY(write_entity(&r->entities[i], out, err));
    }
    GM_TRY(add_text(out, "]", err));
    GM_TRY(add_extra(out, r->extra, err));
    return add_text(out, "}\n", err);
}

void gm_record_free(gm_record *r)
{
    for (int32_t i = 0; i < r->token_count; i++) gm_free(r->tokens[i]);
    for (int32_t i = 0; i < r->entity_count; i++) {
        gm_entity *e = &r->entities[i];
        gm_free(e->type);
        gm_free(e->fine);
        gm_free(e->boxes);
        gm_free(e->uncertainty_extra);
        gm_free(e->extra);
    }
    gm_free(r->id);
    gm_free(r->tokens);
    gm_free(r->image);
    gm_free(r->entities);
    gm_free(r->extra);
    *r = (gm_record) { 0 };
}

gm_status gm_records_add(gm_records *all, gm_record *r, gm_err *err)
{
    GM_TRY(gm_grow((void **)&all->items, &all->capacity, all->count, sizeof *all->items, err));
    all->items[all->count++] = *r;
    *r = (gm_record) { 0 };
    return GM_OK;
}

static gm_status read_lines(gm_lines *l, gm_records *all, gm_err *err)
{
    for (;;) {
        bool have;
        gm_record r;
        GM_TRY(gm_lines_next(l, &have, err));
        if (!have) break;
        /* Without empty lines, record i stands in line i + 1: check_ids names lines by that. */
        if (l->length == 0)
            return gm_fail(err, GM_ERR_DATA, "%s:%lld: the line is empty: one record a line", l->path,
                           (long long)l->number);
        if (gm_record_parse(l->line, l->length, &r, err) != GM_OK)
            return gm_fail_at(err, "%s:%lld", l->path, (long long)l->number);
        const gm_status status = gm_records_add(all, &r, err);
        gm_record_free(&r);
        if (status != GM_OK) return status;
    }
    if (all->count == 0) return gm_fail(err, GM_ERR_DATA, "%s: the file holds no record", l->path);
    return gm_records_check_ids(all, l->path, err);
}

gm_status gm_records_load(const char *path, gm_records *all, gm_err *err)
{
    *all = (gm_records) { 0 };
    gm_lines l;
    GM_TRY(gm_lines_open(&l, path, err));
    const gm_status status = read_lines(&l, all, err);
    gm_lines_close(&l);
    if (status != GM_OK) gm_records_free(all);
    return status;
}

gm_status gm_records_check_ids(const gm_records *all, const char *path, gm_err *err)
{
    gm_id_set seen = { 0 };
    gm_status status = GM_OK;
    for (size_t i = 0; i < all->count && status == GM_OK; i++) {
        size_t first;
        status = gm_id_set_add(&seen, all->items[i].id, i, &first, err);
        if (status == GM_OK && first != i)
            status = gm_fail(err, GM_ERR_DATA,
                             "%s:%zu: the id \"%s\" stands in line %zu already; ids are unique in their file", path,
                             i + 1, all->items[i].id, first + 1);
    }
    gm_id_set_free(&seen);
    return status;
}

void gm_records_free(gm_records *all)
{
    for (size_t i = 0; i < all->count; i++) gm_record_free(&all->items[i]);
    gm_free(all->items);
    *all = (gm_records) { 0 };
}
