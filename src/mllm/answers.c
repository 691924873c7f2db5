/* Candidates for the answer's JSON are tried in an order that prefers what the prompt asked for: a fenced block. */
#include "mllm/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "eval/compare.h"

enum { MAX_TRIES = 64 }; /* places in prose that could begin a value: more would let a hostile answer cost minutes */

/* ---- the JSON within the text ---- */

static bool is_object(const cJSON *v) { return cJSON_IsObject(v); }

static bool is_list_of_objects(const cJSON *v)
{
    if (!cJSON_IsArray(v)) return false;
    for (const cJSON *c = v->child; c != NULL; c = c->next)
        if (!cJSON_IsObject(c)) return false;
    return true;
}

/* The value as a list: itself, the only list of objects within an object, or an object as the only one of a list. */
static cJSON *as_list(cJSON *v)
{
    if (is_list_of_objects(v)) return v;
    if (!cJSON_IsObject(v)) {
        cJSON_Delete(v);
        return NULL;
    }
    for (cJSON *c = v->child; c != NULL; c = c->next) {
        if (!is_list_of_objects(c) || c->child == NULL) continue;
        cJSON *inner = cJSON_DetachItemViaPointer(v, c);
        cJSON_Delete(v);
        return inner;
    }
    cJSON *list = cJSON_CreateArray();
    if (list != NULL && cJSON_AddItemToArray(list, v)) return list;
    cJSON_Delete(list);
    cJSON_Delete(v);
    return NULL;
}

static cJSON *as_object(cJSON *v)
{
    if (cJSON_IsArray(v) && is_object(v->child) && v->child->next == NULL) {
        cJSON *inner = cJSON_DetachItemViaPointer(v, v->child);
        cJSON_Delete(v);
        return inner;
    }
    if (is_object(v)) return v;
    cJSON_Delete(v);
    return NULL;
}

static cJSON *parse(const char *at, size_t n, bool wants_list)
{
    cJSON *v;
    if (gm_json_parse(at, n, &v, NULL) != GM_OK) return NULL;
    return wants_list ? as_list(v) : as_object(v);
}

/* What a fence encloses, from behind its line; NULL where there is none at or after `from`. */
static const char *fenced(const char *from, const char *end, const char **stop)
{
    const char *open = from < end ? strstr(from, "```") : NULL;
    if (open == NULL || open >= end) return NULL;
    open += 3;
    while (open < end && ((*open >= 'a' && *open <= 'z') || (*open >= 'A' && *open <= 'Z'))) open++; /* "json" */
    const char *close = strstr(open, "```");
    *stop = close != NULL ? close : end;
    return open;
}

/* The end of the object or list that begins at `at`, behind its last bracket; NULL where it is not closed. */
static const char *balanced(const char *at, const char *end)
{
    int depth = 0;
    bool is_string = false;
    for (; at < end; at++) {
        if (is_string) {
            if (*at == '\\' && at + 1 < end) at++;
            else if (*at == '"') is_string = false;
        } else if (*at == '"') is_string = true;
        else if (*at == '{' || *at == '[') depth++;
        else if ((*at == '}' || *at == ']') && --depth == 0) return at + 1;
    }
    return NULL;
}

static cJSON *search(const char *at, const char *end, bool wants_list)
{
    for (int tries = 0; at < end && tries < MAX_TRIES; at++) {
        if (*at != '{' && *at != '[') continue;
        const char *stop = balanced(at, end);
        cJSON *v = stop != NULL ? parse(at, (size_t)(stop - at), wants_list) : NULL;
        if (v != NULL) return v;
        tries++;
    }
    return NULL;
}

static cJSON *find(const char *text, size_t size, bool wants_list)
{
    char *copy = gm_strndup(text, size); /* ends with NUL, as strstr wants */
    if (copy == NULL) return NULL;
    const char *end = copy + strlen(copy), *stop = copy, *at = copy;
    cJSON *v = NULL;
    for (int tries = 0; v == NULL && tries < MAX_TRIES && (at = fenced(stop, end, &stop)) != NULL; tries++) {
        v = parse(at, (size_t)(stop - at), wants_list);
        if (stop + 3 <= end) stop += 3;
    }
    if (v == NULL) v = parse(copy, (size_t)(end - copy), wants_list);
    if (v == NULL) v = search(copy, end, wants_list);
    gm_free(copy);
    return v;
}

cJSON *gm_answer_object(const char *text, size_t size) { return find(text, size, false); }
cJSON *gm_answer_list(const char *text, size_t size) { return find(text, size, true); }

/* The member of the answer's object, with the object that must be freed. */
static gm_status member(const char *text, size_t size, const char *name, cJSON **object, const cJSON **value, gm_err *err)
{
    *object = gm_answer_object(text, size);
    if (*object == NULL) return gm_fail(err, GM_ERR_DATA, "the answer holds no JSON object");
    *value = cJSON_GetObjectItem(*object, name); /* case aside */
    if (*value != NULL) return GM_OK;
    cJSON_Delete(*object);
    return gm_fail(err, GM_ERR_DATA, "the answer lacks \"%s\"", name);
}

static bool says_none(const cJSON *v)
{
    return cJSON_IsNull(v) || (cJSON_IsString(v) && (v->valuestring[strspn(v->valuestring, " \t\r\n")] == '\0' || strcasecmp(v->valuestring, "null") == 0 ||
                                                     strcasecmp(v->valuestring, "none") == 0));
}

/* ---- span ---- */

static const char *past_blanks(const char *at) { return at + strspn(at, " \t\r\n"); }

/* The last word of the run from word `first` on that reads as the text, blanks aside; -1 where none does. */
static int32_t run_from(const gm_record *r, int32_t first, const char *text)
{
    for (int32_t w = first; w < r->token_count; w++) {
        for (const char *t = past_blanks(r->tokens[w]); *t != '\0'; t = past_blanks(t + 1)) {
            text = past_blanks(text);
            if (*text != *t) return -1;
            text++;
        }
        if (*past_blanks(text) == '\0') return w;
    }
    return -1;
}

static gm_status find_words(const gm_record *r, const char *text, int32_t *start, int32_t *end, gm_err *err)
{
    int32_t best = -1, best_end = -1;
    for (int32_t w = 0; w < r->token_count; w++) {
        const int32_t last = run_from(r, w, text);
        if (last < 0 || (best >= 0 && abs(w - *start) >= abs(best - *start))) continue;
        best = w;
        best_end = last;
    }
    if (best < 0) return gm_fail(err, GM_ERR_DATA, "\"%.80s\" does not stand in the text", text);
    *start = best;
    *end = best_end;
    return GM_OK;
}

gm_status gm_answer_span(const char *text, size_t size, const gm_record *r, int32_t *start, int32_t *end, bool *is_none, gm_err *err)
{
    cJSON *object;
    const cJSON *v;
    GM_TRY(member(text, size, "corrected_entity", &object, &v, err));
    gm_status status = GM_OK;
    *is_none = says_none(v);
    if (!*is_none && !cJSON_IsString(v)) status = gm_fail(err, GM_ERR_DATA, "\"corrected_entity\" is no text");
    else if (!*is_none) status = find_words(r, v->valuestring, start, end, err);
    cJSON_Delete(object);
    return status;
}

/* ---- type ---- */

int32_t gm_answer_find_type(const gm_labels *labels, const char *name)
{
    char a[128], b[128];
    if (strlen(name) > 127) return -1;
    const char *normal = gm_type_normal(name, a); /* not always in a: OTHER becomes MISC */
    for (int32_t k = 0; k < labels->count; k++)
        if (strcasecmp(gm_type_normal(labels->names[k], b), normal) == 0) return k;
    return -1;
}

gm_status gm_answer_type(const char *text, size_t size, const gm_labels *labels, int32_t *type, gm_err *err)
{
    cJSON *object;
    const cJSON *v;
    GM_TRY(member(text, size, "corrected_type", &object, &v, err));
    gm_status status = GM_OK;
    const int32_t k = cJSON_IsString(v) ? gm_answer_find_type(labels, v->valuestring) : -1;
    if (!cJSON_IsString(v)) status = gm_fail(err, GM_ERR_DATA, "\"corrected_type\" is no text");
    else if (k < 0) status = gm_fail(err, GM_ERR_DATA, "\"%.80s\" is no type of the set", v->valuestring);
    else *type = k;
    cJSON_Delete(object);
    return status;
}

/* ---- boxes ---- */

/* Four numbers of a list, or of a text such as "[94, 55, 408, 87]". */
static bool four_numbers(const cJSON *v, double out[4])
{
    int n = 0;
    if (cJSON_IsArray(v)) {
        for (const cJSON *c = v->child; c != NULL; c = c->next, n++) {
            if (!cJSON_IsNumber(c) || n == 4) return false;
            out[n] = c->valuedouble;
        }
        return n == 4;
    }
    if (!cJSON_IsString(v)) return false;
    const char *at = v->valuestring + strspn(v->valuestring, " [(");
    for (; n < 4; n++) {
        char *stop;
        out[n] = strtod(at, &stop);
        if (stop == at) return false;
        at = stop + strspn(stop, n < 3 ? " ," : " ])");
    }
    return *at == '\0';
}

static gm_status take_box(const cJSON *v, const gm_mllm_view *view, gm_box *to, gm_err *err)
{
    double in[4];
    if (!four_numbers(v, in)) return gm_fail(err, GM_ERR_DATA, "a box is no list of four numbers");
    for (int i = 0; i < 4; i++)
        if (!(fabs(in[i]) <= 1e6)) return gm_fail(err, GM_ERR_DATA, "a box holds a number beyond all pictures");
    if (!(in[2] > in[0] && in[3] > in[1]))
        return gm_fail(err, GM_ERR_DATA, "the box [%g, %g, %g, %g] has no inside: its corners are reversed or equal", in[0], in[1], in[2], in[3]);
    gm_box b = gm_mllm_box_from_answer(view, in);
    const gm_box whole = { 0, 0, view->width, view->height };
    if (whole.x2 > 0 && whole.y2 > 0) b = (gm_box){ fmax(b.x1, 0), fmax(b.y1, 0), fmin(b.x2, whole.x2), fmin(b.y2, whole.y2) };
    if (!gm_box_is_valid(b))
        return gm_fail(err, GM_ERR_DATA, "the box [%g, %g, %g, %g] lies outside the picture, or is thinner than a pixel", in[0], in[1], in[2], in[3]);
    *to = b;
    return GM_OK;
}

gm_status gm_answer_boxes_of(const cJSON *value, const gm_mllm_view *view, gm_box boxes[GM_ANSWER_BOXES], int32_t *count, gm_err *err)
{
    *count = 0;
    if (says_none(value) || (cJSON_IsArray(value) && value->child == NULL)) return GM_OK;
    if (cJSON_IsString(value) && strcmp(value->valuestring, "[]") == 0) return GM_OK;
    if (!cJSON_IsArray(value) || !(cJSON_IsArray(value->child) || cJSON_IsString(value->child))) {
        GM_TRY(take_box(value, view, &boxes[0], err));
        *count = 1;
        return GM_OK;
    }
    int32_t n = 0;
    for (const cJSON *c = value->child; c != NULL; c = c->next) {
        if (n == GM_ANSWER_BOXES) return gm_fail(err, GM_ERR_DATA, "more than %d boxes for one entity", (int)GM_ANSWER_BOXES);
        GM_TRY(take_box(c, view, &boxes[n++], err));
    }
    *count = n;
    return GM_OK;
}

gm_status gm_answer_boxes(const char *text, size_t size, const gm_mllm_view *view, gm_box boxes[GM_ANSWER_BOXES], int32_t *count, gm_err *err)
{
    cJSON *object;
    const cJSON *v;
    GM_TRY(member(text, size, "corrected_bounding_box", &object, &v, err));
    const gm_status status = gm_answer_boxes_of(v, view, boxes, count, err);
    cJSON_Delete(object);
    return status;
}

/* ---- grounding ---- */

static gm_status take_grounded(const cJSON *object, const gm_labels *labels, const gm_mllm_view *view, gm_grounded *to, gm_err *err)
{
    const cJSON *name = cJSON_GetObjectItem(object, "entity"), *type = cJSON_GetObjectItem(object, "entity_type");
    const cJSON *box = cJSON_GetObjectItem(object, "bounding_box");
    gm_err why = { 0 };
    if (!cJSON_IsString(name) || name->valuestring[0] == '\0') return gm_fail(err, GM_ERR_DATA, "an entry of the answer lacks \"entity\"");
    to->entity = gm_strdup(name->valuestring);
    if (to->entity == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for an answer");
    to->type = cJSON_IsString(type) ? gm_answer_find_type(labels, type->valuestring) : -1;
    if (to->type < 0) to->type = labels->count - 1;
    if (box != NULL && gm_answer_boxes_of(box, view, to->boxes, &to->box_count, &why) != GM_OK) {
        to->box_count = 0;
        snprintf(to->why, sizeof to->why, "%.159s", why.text);
    }
    return GM_OK;
}

gm_status gm_answer_grounding(const char *text, size_t size, const gm_labels *labels, const gm_mllm_view *view, gm_grounded **list, int32_t *count,
                              gm_err *err)
{
    *list = NULL;
    *count = 0;
    cJSON *all = gm_answer_list(text, size);
    if (all == NULL) return gm_fail(err, GM_ERR_DATA, "the answer holds no JSON list");
    gm_status status = GM_OK;
    const size_t n = (size_t)cJSON_GetArraySize(all);
    *list = gm_calloc(n > 0 ? n : 1, sizeof **list);
    if (*list == NULL) status = gm_fail(err, GM_ERR_NOMEM, "out of memory for an answer");
    for (const cJSON *c = all->child; c != NULL && status == GM_OK; c = c->next) status = take_grounded(c, labels, view, &(*list)[(*count)++], err);
    cJSON_Delete(all);
    if (status != GM_OK) {
        gm_grounded_free(*list, *count);
        *list = NULL;
        *count = 0;
    }
    return status;
}

void gm_grounded_free(gm_grounded *list, int32_t count)
{
    for (int32_t i = 0; i < count && list != NULL; i++) gm_free(list[i].entity);
    gm_free(list);
}
