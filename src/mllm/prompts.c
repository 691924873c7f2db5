/* Prompts are taken apart once, when they are read, so that whatever is wrong with a file is said before the first call. */
#include "mllm/prompts.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parse.h"

const char *const gm_prompt_names[GM_PROMPTS] = {
#define GM_PROMPT(name, needs, may) #name,
#include "mllm/prompts.def"
#undef GM_PROMPT
};

static const struct { const char *needs, *may; } placeholders[GM_PROMPTS] = {
#define GM_PROMPT(name, needs, may) { needs, may },
#include "mllm/prompts.def"
#undef GM_PROMPT
};

enum { MAX_NAMES = 16, MAX_NAME = 31 };

/* Copies the names of a list parted by blanks; returns how many there are now. */
static int add_names(const char *list, char names[MAX_NAMES][MAX_NAME + 1], int count)
{
    while (*list != '\0' && count < MAX_NAMES) {
        const size_t n = strcspn(list, " ");
        if (n > 0 && n <= MAX_NAME) {
            memcpy(names[count], list, n);
            names[count++][n] = '\0';
        }
        list += n + (list[n] == ' ');
    }
    return count;
}

static bool has_pictures(const char *name) { return strcmp(name, "image") == 0 || strcmp(name, "demonstrations") == 0; }

/* Where in the text `at` stands, as people count. */
static gm_status wrong_at(const gm_prompt *p, const char *at, gm_err *err)
{
    int line = 1, column = 1;
    for (const char *c = p->text; c < at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    return gm_fail_at(err, "%s:%d:%d", p->place, line, column);
}

static gm_status add_piece(gm_prompt *p, gm_prompt_piece piece, gm_err *err)
{
    if (piece.size == 0) return GM_OK;
    GM_TRY(gm_grow((void **)&p->pieces, &p->capacity, p->count, sizeof *p->pieces, err));
    p->pieces[p->count++] = piece;
    return GM_OK;
}

/* The length of the lower-case name behind a brace, 0 where there is none. */
static size_t name_length(const char *at, const char *end)
{
    size_t n = 0;
    while (at + n < end && ((at[n] >= 'a' && at[n] <= 'z') || at[n] == '_')) n++;
    return at + n < end && at[n] == '}' ? n : 0;
}

static gm_status add_placeholder(gm_prompt *p, const char *at, size_t n, bool is_system, gm_err *err)
{
    char names[MAX_NAMES][MAX_NAME + 1], found[MAX_NAME + 1] = "";
    const char *list[MAX_NAMES];
    const int count = add_names(placeholders[p->kind].may, names, add_names(placeholders[p->kind].needs, names, 0));
    if (n <= MAX_NAME) memcpy(found, at, n);
    int i = 0;
    while (i < count && strcmp(names[i], found) != 0) i++;
    if (i == count) {
        for (int k = 0; k < count; k++) list[k] = names[k];
        const char *near = gm_nearest(found, list, count);
        gm_fail(err, GM_ERR_CONFIG, "a prompt for \"%s\" has no placeholder {%.*s}%s%s%s; it has %s %s", gm_prompt_names[p->kind], (int)n, at,
                near != NULL ? ", did you mean {" : "", near != NULL ? near : "", near != NULL ? "}" : "", placeholders[p->kind].needs,
                placeholders[p->kind].may);
        return wrong_at(p, at - 1, err);
    }
    if (is_system && has_pictures(found)) {
        gm_fail(err, GM_ERR_CONFIG, "{%s} is in [system], which holds no pictures: move it to [user]", found);
        return wrong_at(p, at - 1, err);
    }
    return add_piece(p, (gm_prompt_piece){ at, n, true, is_system }, err);
}

static gm_status add_text(gm_prompt *p, const char *at, const char *end, bool is_system, gm_err *err)
{
    const char *from = at;
    for (; at < end; at++) {
        const size_t n = *at == '{' ? name_length(at + 1, end) : 0;
        if (n == 0) continue;
        GM_TRY(add_piece(p, (gm_prompt_piece){ from, (size_t)(at - from), false, is_system }, err));
        GM_TRY(add_placeholder(p, at + 1, n, is_system, err));
        at += n + 1;
        from = at + 1;
    }
    return add_piece(p, (gm_prompt_piece){ from, (size_t)(end - from), false, is_system }, err);
}

static bool is_header(const char *line, const char *end)
{
    if (end - line < 3 || *line != '[' || end[-1] != ']') return false;
    for (const char *c = line + 1; c < end - 1; c++)
        if (*c < 'a' || *c > 'z') return false;
    return true;
}

/* The blank lines round a part are for the eye. */
static gm_status add_part(gm_prompt *p, const char *at, const char *end, bool is_system, gm_err *err)
{
    while (at < end && *at == '\n') at++;
    while (end > at && end[-1] == '\n') end--;
    return add_text(p, at, end, is_system, err);
}

static gm_status split(gm_prompt *p, gm_err *err)
{
    static const char *const parts[] = { "[system]", "[user]" };
    const char *from = NULL, *line = p->text;
    int part = -1;
    bool seen[2] = { false, false };
    while (*line != '\0') {
        const char *end = line + strcspn(line, "\n");
        if (is_header(line, end)) {
            int now = 0;
            const size_t n = (size_t)(end - line);
            while (now < 2 && (strlen(parts[now]) != n || memcmp(parts[now], line, n) != 0)) now++;
            if (now == 2 || seen[now]) {
                gm_fail(err, GM_ERR_CONFIG, "%.*s %s", (int)n, line, now == 2 ? "is no part of a prompt; it has [system] and [user]" : "stands twice");
                return wrong_at(p, line, err);
            }
            if (part >= 0) GM_TRY(add_part(p, from, line, part == 0, err));
            seen[now] = true;
            part = now;
            from = end;
        }
        line = end + (*end == '\n');
    }
    if (part >= 0) GM_TRY(add_part(p, from, line, part == 0, err));
    if (!seen[1]) return gm_fail(err, GM_ERR_CONFIG, "%s: the line [user] is missing: what stands behind it is sent", p->place);
    return GM_OK;
}

static gm_status check_needs(const gm_prompt *p, gm_err *err)
{
    char names[MAX_NAMES][MAX_NAME + 1];
    const int count = add_names(placeholders[p->kind].needs, names, 0);
    for (int i = 0; i < count; i++) {
        size_t k = 0;
        while (k < p->count && !(p->pieces[k].is_placeholder && strlen(names[i]) == p->pieces[k].size && memcmp(names[i], p->pieces[k].text, p->pieces[k].size) == 0)) k++;
        if (k == p->count)
            return gm_fail(err, GM_ERR_CONFIG, "%s: the placeholder {%s} is missing; a prompt for \"%s\" needs %s", p->place, names[i], gm_prompt_names[p->kind],
                           placeholders[p->kind].needs);
    }
    return GM_OK;
}

gm_status gm_prompt_parse(gm_prompt_kind kind, const char *place, const char *text, size_t size, gm_prompt *p, gm_err *err)
{
    size_t bad;
    *p = (gm_prompt){ .kind = kind };
    if (!gm_utf8_valid(text, size, &bad)) return gm_fail(err, GM_ERR_CONFIG, "%s: byte %zu is not UTF-8: a prompt is text", place, bad);
    p->place = gm_strdup(place);
    p->text = gm_strndup(text, size);
    gm_status status = p->place == NULL || p->text == NULL ? gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for a prompt", place) : GM_OK;
    if (status == GM_OK) status = split(p, err);
    if (status == GM_OK) status = check_needs(p, err);
    if (status != GM_OK) gm_prompt_free(p);
    return status;
}

gm_status gm_prompt_read(gm_prompt_kind kind, const char *folder, gm_prompt *p, gm_err *err)
{
    char name[64], *text = NULL;
    size_t size = 0;
    snprintf(name, sizeof name, "%s.txt", gm_prompt_names[kind]);
    char *path = gm_path_join(folder, name);
    *p = (gm_prompt){ .kind = kind };
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for a prompt", folder) : gm_file_read(path, &text, &size, err);
    if (status == GM_OK) status = gm_prompt_parse(kind, path, text, size, p, err);
    gm_free(text);
    gm_free(path);
    return status;
}

void gm_prompt_free(gm_prompt *p)
{
    gm_free(p->place);
    gm_free(p->text);
    gm_free(p->pieces);
    *p = (gm_prompt){ 0 };
}

/* ---- filling ---- */

static const gm_prompt_value *find_value(const gm_prompt_value *values, size_t count, const gm_prompt_piece *piece)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(values[i].name) == piece->size && memcmp(values[i].name, piece->text, piece->size) == 0) return &values[i];
    return NULL;
}

/* Takes what has gathered in `text` over as a piece of the message. */
static gm_status end_text(gm_buffer *text, gm_prompt_message *to, gm_err *err)
{
    if (text->size == 0) return GM_OK;
    GM_TRY(gm_grow((void **)&to->parts, &to->capacity, (size_t)to->part_count, sizeof *to->parts, err));
    to->parts[to->part_count++] = (gm_mllm_part){ .text = text->data };
    *text = (gm_buffer){ 0 };
    return GM_OK;
}

static gm_status add_value(const gm_prompt_value *v, gm_buffer *text, gm_prompt_message *to, gm_err *err)
{
    if (v->text != NULL) return gm_buffer_add(text, v->text, strlen(v->text), err);
    for (int32_t i = 0; i < v->part_count; i++) {
        if (v->parts[i].text != NULL) {
            GM_TRY(gm_buffer_add(text, v->parts[i].text, strlen(v->parts[i].text), err));
            continue;
        }
        GM_TRY(end_text(text, to, err));
        GM_TRY(gm_grow((void **)&to->parts, &to->capacity, (size_t)to->part_count, sizeof *to->parts, err));
        to->parts[to->part_count++] = v->parts[i];
    }
    return GM_OK;
}

gm_status gm_prompt_fill(const gm_prompt *p, const gm_prompt_value *values, size_t count, gm_prompt_message *to, gm_err *err)
{
    gm_buffer text[2] = { { 0 }, { 0 } }; /* the user's, the system's */
    gm_status status = GM_OK;
    *to = (gm_prompt_message){ 0 };
    for (size_t i = 0; i < p->count && status == GM_OK; i++) {
        const gm_prompt_piece *piece = &p->pieces[i];
        gm_buffer *into = &text[piece->is_system];
        const gm_prompt_value *v = piece->is_placeholder ? find_value(values, count, piece) : NULL;
        if (!piece->is_placeholder) status = gm_buffer_add(into, piece->text, piece->size, err);
        else if (v != NULL) status = add_value(v, into, to, err);
        else {
            gm_fail(err, GM_ERR_CONFIG, "there is nothing to put in for {%.*s}", (int)piece->size, piece->text);
            status = wrong_at(p, piece->text - 1, err);
        }
    }
    if (status == GM_OK) status = end_text(&text[0], to, err);
    to->system = text[1].data;
    gm_buffer_free(&text[0]);
    if (status != GM_OK) gm_prompt_message_free(to);
    return status;
}

void gm_prompt_message_free(gm_prompt_message *m)
{
    for (int32_t i = 0; i < m->part_count; i++) gm_free((void *)m->parts[i].text);
    gm_free(m->parts);
    gm_free(m->system);
    *m = (gm_prompt_message){ 0 };
}
