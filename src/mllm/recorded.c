/* A table with a place for each part of each predicted entity. An answer is taken apart when it is first asked for: a sweep asks many times. */
#include "mllm/recorded.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/id_set.h"

typedef struct answer {
    char *text, *why;
    gm_mllm_view view;
    gm_reply_room *room;
    gm_reply reply;
    bool is_there, is_read, is_by_words;
} answer;

struct gm_recorded {
    const gm_records *pred;
    const gm_type_set *types;
    size_t *first; /* [records]: where the entities of a record begin */
    size_t entities;
    answer *answers; /* [entities, GM_PARTS] */
    gm_id_set ids;
};

static const char *const coordinate_names[] = { "pixels", "resized",
                                                "thousandths" }; /* as endpoint_keys.def has them */

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for recorded answers"); }

gm_status gm_recorded_open(const gm_records *pred, const gm_type_set *types, gm_recorded **to, gm_err *err)
{
    gm_recorded *r = *to = gm_calloc(1, sizeof *r);
    if (r == NULL) return no_memory(err);
    *r = (gm_recorded) { .pred = pred, .types = types };
    r->first = gm_calloc(pred->count + 1, sizeof *r->first);
    gm_status status = r->first == NULL ? no_memory(err) : GM_OK;
    for (size_t i = 0; i < pred->count && status == GM_OK; i++) {
        size_t other;
        r->first[i] = r->entities;
        r->entities += (size_t)pred->items[i].entity_count;
        status = gm_id_set_add(&r->ids, pred->items[i].id, i, &other, err);
    }
    if (status == GM_OK && (r->answers = gm_calloc(r->entities * GM_PARTS + 1, sizeof *r->answers)) == NULL)
        status = no_memory(err);
    if (status != GM_OK) {
        gm_recorded_free(r);
        *to = NULL;
    }
    return status;
}

void gm_recorded_free(gm_recorded *r)
{
    if (r == NULL) return;
    for (size_t i = 0; r->answers != NULL && i < r->entities * GM_PARTS; i++) {
        gm_free(r->answers[i].text);
        gm_free(r->answers[i].why);
        gm_free(r->answers[i].room);
    }
    gm_free(r->answers);
    gm_free(r->first);
    gm_id_set_free(&r->ids);
    gm_free(r);
}

static answer *answer_of(const gm_recorded *r, size_t record, int32_t entity, gm_part part)
{
    return &r->answers[(r->first[record] + (size_t)entity) * GM_PARTS + (size_t)part];
}

gm_status gm_recorded_put(gm_recorded *r, size_t record, int32_t entity, gm_part part, const gm_said *said, gm_err *err)
{
    answer *a = answer_of(r, record, entity, part);
    if (a->is_there)
        return gm_fail(err, GM_ERR_DATA, "\"%s\": the %s of the entity at word %d has an answer already",
                       r->pred->items[record].id, gm_part_names[part], r->pred->items[record].entities[entity].start);
    a->text = said->text != NULL ? gm_strdup(said->text) : NULL;
    a->why = said->why != NULL ? gm_strdup(said->why) : NULL;
    a->view = said->view;
    a->is_there = true;
    return (said->text != NULL && a->text == NULL) || (said->why != NULL && a->why == NULL) ? no_memory(err) : GM_OK;
}

gm_status gm_recorded_ask(void *recorded, const gm_question *q, gm_reply *reply, gm_err *err)
{
    const gm_recorded *r = recorded;
    answer *a = answer_of(r, q->record, q->entity, q->part);
    *reply = (gm_reply) { .kind = GM_REPLY_FAILED, .why = a->is_there ? a->why : "no answer is recorded" };
    if (a->text == NULL) return GM_OK;
    if (!a->is_read) {
        if (a->room == NULL && (a->room = gm_calloc(1, sizeof *a->room)) == NULL) return no_memory(err);
        GM_TRY(gm_reply_read(q, r->types, &a->view, a->text, strlen(a->text), a->room, &a->reply, err));
        a->is_read = true;
    }
    *reply = a->reply;
    return GM_OK;
}

/* ---- reading ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

/* The number of the record with this id, or with what stands before the ending of a picture's name; false where there is none. */
static gm_status find_record(gm_recorded *r, const char *id, size_t *record, bool *have, gm_err *err)
{
    const char *dot = strrchr(id, '.');
    GM_TRY(gm_id_set_add(&r->ids, id, SIZE_MAX, record, err));
    if (*record == SIZE_MAX && dot != NULL && dot > id) {
        char *stem = gm_strndup(id, (size_t)(dot - id));
        if (stem == NULL) return no_memory(err);
        const gm_status status = gm_id_set_add(&r->ids, stem, SIZE_MAX, record, err);
        gm_free(stem);
        GM_TRY(status);
    }
    *have = *record != SIZE_MAX;
    return GM_OK;
}

/* Whether the entity's words read so, blanks aside. */
static bool has_words(const gm_record *r, const gm_entity *e, const char *words)
{
    for (int32_t w = e->start; w <= e->end; w++) {
        for (const char *t = r->tokens[w]; *t != '\0'; t++) {
            if (*t == ' ') continue;
            words += strspn(words, " ");
            if (*words++ != *t) return false;
        }
    }
    return words[strspn(words, " ")] == '\0';
}

/* The first entity of these words whose part has no answer yet; -1 where there is none. */
static int32_t find_words(const gm_recorded *r, size_t record, gm_part part, const char *words)
{
    const gm_record *sample = &r->pred->items[record];
    for (int32_t k = 0; k < sample->entity_count; k++)
        if (!answer_of(r, record, k, part)->is_there && has_words(sample, &sample->entities[k], words)) return k;
    return -1;
}

static gm_status put_by_words(gm_recorded *r, size_t record, gm_part part, const char *words, const gm_said *said,
                              gm_recorded_counts *n, gm_err *err)
{
    const int32_t k = find_words(r, record, part, words);
    if (k < 0) {
        n->strange++;
        return GM_OK;
    }
    n->answers++;
    GM_TRY(gm_recorded_put(r, record, k, part, said, err));
    answer_of(r, record, k, part)->is_by_words = true;
    return GM_OK;
}

static gm_status read_view(const cJSON *v, gm_mllm_view *view, gm_err *err)
{
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(v, "size"),
                *scale = cJSON_GetObjectItemCaseSensitive(v, "scale");
    const char *name = text_of(v, "coordinates");
    const cJSON *n[4] = { cJSON_GetArrayItem(size, 0), cJSON_GetArrayItem(size, 1), cJSON_GetArrayItem(scale, 0),
                          cJSON_GetArrayItem(scale, 1) };
    size_t c = 0;
    bool is_right = name != NULL;
    for (int i = 0; i < 4; i++)
        is_right = is_right && cJSON_IsNumber(n[i]) && n[i]->valuedouble > 0 && n[i]->valuedouble <= 1e6;
    while (is_right && c < GM_LEN(coordinate_names) && strcmp(coordinate_names[c], name) != 0) c++;
    if (!is_right || c == GM_LEN(coordinate_names))
        return gm_fail(err, GM_ERR_DATA,
                       "view: expected {\"size\": [w, h], \"scale\": [x, y], \"coordinates\": \"pixels\", \"resized\" "
                       "or \"thousandths\"}");
    const double sx = n[2]->valuedouble, sy = n[3]->valuedouble;
    *view = (gm_mllm_view) { .width = n[0]->valueint,
                             .height = n[1]->valueint,
                             .scale_x = sx,
                             .scale_y = sy,
                             .coordinates = (gm_mllm_coordinates)c };
    return GM_OK;
}

/* {"id", "start" and "end" or "entity", "part", "text" or "why"} */
static gm_status read_own(gm_recorded *r, const cJSON *v, gm_recorded_counts *n, gm_err *err)
{
    const char *id = text_of(v, "id"), *name = text_of(v, "part"), *words = text_of(v, "entity");
    const cJSON *start = cJSON_GetObjectItemCaseSensitive(v, "start"),
                *end = cJSON_GetObjectItemCaseSensitive(v, "end");
    const cJSON *view = cJSON_GetObjectItemCaseSensitive(v, "view");
    gm_said said = { .text = text_of(v, "text"), .why = text_of(v, "why") };
    size_t record;
    bool have;
    int part = 0;
    while (part < GM_PARTS && (name == NULL || strcmp(name, gm_part_names[part]) != 0)) part++;
    if (id == NULL || part == GM_PARTS || (said.text == NULL && said.why == NULL) ||
        (words == NULL && !(cJSON_IsNumber(start) && cJSON_IsNumber(end))))
        return gm_fail(err, GM_ERR_DATA,
                       "expected \"id\", \"start\" and \"end\" (or \"entity\"), \"part\" (span, type or region) and "
                       "\"text\" (or \"why\")");
    GM_TRY(find_record(r, id, &record, &have, err));
    if (have) said.view = gm_view_of_record(&r->pred->items[record]);
    if (view != NULL) GM_TRY(read_view(view, &said.view, err));
    if (have && words != NULL) return put_by_words(r, record, (gm_part)part, words, &said, n, err);
    for (int32_t k = 0; have && k < r->pred->items[record].entity_count; k++) {
        const gm_entity *e = &r->pred->items[record].entities[k];
        if (e->start != start->valueint || e->end != end->valueint) continue;
        n->answers++;
        return gm_recorded_put(r, record, k, (gm_part)part, &said, err);
    }
    n->strange++;
    return GM_OK;
}

/* One member of UnCo's log as the answer to our prompt. */
static gm_status put_member(gm_recorded *r, size_t record, gm_part part, const char *words, const cJSON *value,
                            gm_recorded_counts *n, gm_err *err)
{
    static const char *const names[GM_PARTS] = { "corrected_entity", "corrected_type", "corrected_bounding_box" };
    gm_buffer b = { 0 };
    char *json = cJSON_PrintUnformatted(value);
    gm_status status = json == NULL ? no_memory(err) : gm_buffer_printf(&b, err, "{\"%s\": %s}", names[part], json);
    const gm_said said = { .text = b.data, .view = gm_view_of_record(&r->pred->items[record]) };
    if (status == GM_OK) status = put_by_words(r, record, part, words, &said, n, err);
    cJSON_free(json);
    gm_buffer_free(&b);
    return status;
}

/* {"img_id", "pre_entities": [{"entity", "corrected_entity", "corrected_type", "corrected_region"}]}: UnCo's refinement log. */
static gm_status read_unco(gm_recorded *r, const cJSON *v, gm_recorded_counts *n, gm_err *err)
{
    static const char *const names[GM_PARTS] = { "corrected_entity", "corrected_type", "corrected_region" };
    const char *id = text_of(v, "img_id");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(v, "pre_entities"), *it;
    size_t record;
    bool have;
    if (id == NULL || !cJSON_IsArray(list))
        return gm_fail(err, GM_ERR_DATA, "expected \"img_id\", a text, and \"pre_entities\", a list");
    GM_TRY(find_record(r, id, &record, &have, err));
    cJSON_ArrayForEach(it, list)
    {
        const char *words = text_of(it, "entity");
        if (words == NULL)
            return gm_fail(err, GM_ERR_DATA, "pre_entities: each needs \"entity\", the words that were predicted");
        for (int part = 0; part < GM_PARTS; part++) {
            const cJSON *value = cJSON_GetObjectItemCaseSensitive(it, names[part]);
            if (value == NULL) continue;
            if (have)
                GM_TRY(put_member(r, record, (gm_part)part, words, value, n, err));
            else
                n->strange++;
        }
    }
    return GM_OK;
}

static bool same_words(const gm_record *r, const gm_entity *a, const gm_entity *b)
{
    if (a->end - a->start != b->end - b->start) return false;
    for (int32_t w = 0; w <= a->end - a->start; w++)
        if (strcmp(r->tokens[a->start + w], r->tokens[b->start + w]) != 0) return false;
    return true;
}

/* Where fewer answers name some words than entities have them, the last serves the rest: such systems answer by words. */
static gm_status serve(gm_recorded *r, size_t record, int32_t entity, gm_part part, gm_err *err)
{
    const gm_record *s = &r->pred->items[record];
    if (answer_of(r, record, entity, part)->is_there) return GM_OK;
    for (int32_t k = entity - 1; k >= 0; k--) {
        const answer *a = answer_of(r, record, k, part);
        if (a->is_by_words && same_words(s, &s->entities[entity], &s->entities[k]))
            return gm_recorded_put(r, record, entity, part, &(gm_said) { a->text, a->why, a->view }, err);
    }
    return GM_OK;
}

static gm_status serve_all(gm_recorded *r, gm_err *err)
{
    for (size_t i = 0; i < r->pred->count; i++)
        for (int32_t k = 0; k < r->pred->items[i].entity_count; k++)
            for (int part = 0; part < GM_PARTS; part++) GM_TRY(serve(r, i, k, (gm_part)part, err));
    return GM_OK;
}

gm_status gm_recorded_take(gm_recorded *r, const char *line, size_t size, gm_recorded_counts *counts, gm_err *err)
{
    cJSON *v;
    GM_TRY(gm_json_parse(line, size, &v, err));
    const gm_status status = cJSON_GetObjectItemCaseSensitive(v, "img_id") != NULL ? read_unco(r, v, counts, err)
                                                                                   : read_own(r, v, counts, err);
    cJSON_Delete(v);
    return status;
}

gm_status gm_recorded_read(gm_recorded *r, const char *path, gm_recorded_counts *counts, gm_err *err)
{
    gm_lines l;
    bool have = true;
    *counts = (gm_recorded_counts) { 0 };
    GM_TRY(gm_lines_open(&l, path, err));
    gm_status status = GM_OK;
    while (status == GM_OK && have) {
        status = gm_lines_next(&l, &have, err);
        if (status == GM_OK && have && gm_recorded_take(r, l.line, l.length, counts, err) != GM_OK)
            status = gm_fail_at(err, "%s:%lld", path, (long long)l.number);
    }
    gm_lines_close(&l);
    return status == GM_OK ? serve_all(r, err) : status;
}

/* ---- writing ---- */

static gm_status write_answer(const gm_record *s, const gm_entity *e, gm_part part, const answer *a, gm_buffer *b,
                              gm_err *err)
{
    const char *said = a->text != NULL ? a->text : a->why != NULL ? a->why : "";
    GM_TRY(gm_buffer_printf(b, err, "{\"id\": "));
    GM_TRY(gm_buffer_json_string(b, s->id, err));
    GM_TRY(gm_buffer_printf(b, err, ", \"start\": %d, \"end\": %d, \"part\": \"%s\", \"%s\": ", e->start, e->end,
                            gm_part_names[part], a->text != NULL ? "text" : "why"));
    GM_TRY(gm_buffer_json_string(b, said, err));
    if (part == GM_PART_REGION && a->view.width > 0 && a->view.height > 0)
        GM_TRY(gm_buffer_printf(
            b, err, ", \"view\": {\"size\": [%d, %d], \"scale\": [%.17g, %.17g], \"coordinates\": \"%s\"}",
            a->view.width, a->view.height, a->view.scale_x, a->view.scale_y, coordinate_names[a->view.coordinates]));
    return gm_buffer_printf(b, err, "}\n");
}

gm_status gm_recorded_write(const gm_recorded *r, const char *path, gm_err *err)
{
    gm_out out = { 0 };
    gm_buffer b = { 0 };
    gm_status status = gm_out_open(&out, path, err);
    for (size_t i = 0; i < r->pred->count && status == GM_OK; i++) {
        const gm_record *s = &r->pred->items[i];
        b.size = 0;
        for (int32_t k = 0; k < s->entity_count && status == GM_OK; k++)
            for (int part = 0; part < GM_PARTS && status == GM_OK; part++)
                if (answer_of(r, i, k, (gm_part)part)->is_there)
                    status =
                        write_answer(s, &s->entities[k], (gm_part)part, answer_of(r, i, k, (gm_part)part), &b, err);
        if (status == GM_OK && b.size > 0) status = gm_out_write(&out, b.data, b.size, err);
    }
    if (status == GM_OK)
        status = gm_out_commit(&out, err);
    else
        gm_out_abort(&out);
    gm_buffer_free(&b);
    return status;
}
