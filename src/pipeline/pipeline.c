/* The file of a pipeline becomes command lines. */
#define _POSIX_C_SOURCE 200809L
#include "pipeline/pipeline.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "mllm/sha256.h"

typedef struct reading {
    const char *path, *out;
    const cJSON *variables;
    const gm_str_list *sets;
    gm_pipeline *p;
} reading;

/* ---- texts with placeholders ---- */

static gm_status keep(gm_pipeline *p, gm_buffer *b, const char **to, gm_err *err)
{
    gm_status status = gm_buffer_add(b, "", 0, err);
    if (status == GM_OK) status = gm_grow((void **)&p->texts, &p->text_capacity, p->text_count, sizeof *p->texts, err);
    if (status != GM_OK) {
        gm_buffer_free(b);
        return status;
    }
    *to = p->texts[p->text_count++] = b->data;
    return GM_OK;
}

static const char *set_of(const reading *r, const char *name, size_t length)
{
    for (int i = r->sets->count - 1; i >= 0; i--)
        if (strncmp(r->sets->items[i], name, length) == 0 && r->sets->items[i][length] == '=') return r->sets->items[i] + length + 1;
    return NULL;
}

/* What --set says of a variable, else what the file says, else {out}. */
static const char *value_of(const reading *r, const char *name, size_t length)
{
    const char *set = set_of(r, name, length);
    if (set != NULL) return set;
    if (length == 3 && strncmp(name, "out", 3) == 0) return r->out;
    for (const cJSON *v = r->variables != NULL ? r->variables->child : NULL; v != NULL; v = v->next)
        if (strlen(v->string) == length && strncmp(v->string, name, length) == 0) return v->valuestring;
    return NULL;
}

enum { DEPTH = 8 }; /* of variables within variables; one that holds itself reaches it */

static gm_status fill_into(const reading *r, const char *text, int depth, gm_buffer *b, gm_err *err)
{
    if (depth == DEPTH) return gm_fail(err, GM_ERR_CONFIG, "variables within variables do not end: \"%.80s\"", text);
    for (;;) {
        const size_t plain = strcspn(text, "{");
        GM_TRY(gm_buffer_add(b, text, plain, err));
        text += plain;
        if (*text == '\0') return GM_OK;
        const size_t length = strcspn(text + 1, "}");
        const char *value = text[1 + length] == '}' ? value_of(r, text + 1, length) : NULL;
        if (value == NULL) return gm_fail(err, GM_ERR_CONFIG, "there is no variable {%.*s}: name it under \"variables\" or by --set", (int)length, text + 1);
        GM_TRY(value == r->out ? gm_buffer_add(b, value, strlen(value), err) : fill_into(r, value, depth + 1, b, err));
        text += length + 2;
    }
}

static gm_status fill(const reading *r, const char *text, const char **to, gm_err *err)
{
    gm_buffer b = { 0 };
    const gm_status status = fill_into(r, text, 0, &b, err);
    if (status == GM_OK) return keep(r->p, &b, to, err);
    gm_buffer_free(&b);
    return status;
}

/* ---- one stage ---- */

typedef struct words {
    const char **item;
    size_t count, capacity;
} words;

static gm_status add_word(words *w, const char *text, gm_err *err)
{
    GM_TRY(gm_grow((void **)&w->item, &w->capacity, w->count + 1, sizeof *w->item, err)); /* one more for the NULL at the end */
    w->item[w->count++] = text;
    w->item[w->count] = NULL;
    return GM_OK;
}

static gm_status add_value(const reading *r, words *w, const cJSON *v, gm_err *err)
{
    const char *text = NULL;
    char number[32];
    if (cJSON_IsNumber(v)) snprintf(number, sizeof number, "%.15g", v->valuedouble);
    else if (!cJSON_IsString(v)) return gm_fail(err, GM_ERR_CONFIG, "expected a text, a number, true or a list of texts");
    GM_TRY(fill(r, cJSON_IsNumber(v) ? number : v->valuestring, &text, err));
    return add_word(w, text, err);
}

static gm_status add_option(const reading *r, words *w, const cJSON *o, gm_err *err)
{
    const cJSON *first = cJSON_IsArray(o) ? o->child : o;
    gm_buffer b = { 0 };
    const char *name;
    if (cJSON_IsFalse(o) || cJSON_IsNull(o)) return GM_OK; /* how a stand-in takes an option away */
    gm_status status = gm_buffer_printf(&b, err, "--%s", o->string);
    if (status != GM_OK) gm_buffer_free(&b);
    GM_TRY(status);
    GM_TRY(keep(r->p, &b, &name, err));
    if (cJSON_IsTrue(o)) return add_word(w, name, err);
    for (const cJSON *v = first; v != NULL; v = cJSON_IsArray(o) ? v->next : NULL) {
        GM_TRY(add_word(w, name, err));
        GM_TRY(add_value(r, w, v, err));
    }
    return GM_OK;
}

/* `other` may be NULL; its options stand in the place of those of the same name. */
static gm_status add_line(const reading *r, const cJSON *stage, const cJSON *other, words *w, gm_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(stage, "words"), *options = cJSON_GetObjectItemCaseSensitive(stage, "options");
    GM_TRY(add_value(r, w, cJSON_GetObjectItemCaseSensitive(stage, "command"), err));
    for (const cJSON *v = list != NULL ? list->child : NULL; v != NULL; v = v->next) GM_TRY(add_value(r, w, v, err));
    for (const cJSON *o = options != NULL ? options->child : NULL; o != NULL; o = o->next) {
        const cJSON *instead = other != NULL ? cJSON_GetObjectItemCaseSensitive(other, o->string) : NULL;
        if (add_option(r, w, instead != NULL ? instead : o, err) != GM_OK) return gm_fail_at(err, "option \"%s\"", o->string);
    }
    return GM_OK;
}

static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return name[0] != '\0' && name[strspn(name, letters)] == '\0';
}

static gm_status check_keys(const cJSON *object, const char *known, gm_err *err)
{
    for (const cJSON *v = object->child; v != NULL; v = v->next) {
        const char *at = strstr(known, v->string);
        const size_t length = strlen(v->string);
        if (at == NULL || length == 0 || (at != known && at[-1] != ' ') || (at[length] != ' ' && at[length] != '\0'))
            return gm_fail(err, GM_ERR_CONFIG, "unknown key \"%s\": expected one of %s", v->string, known);
        if (cJSON_GetObjectItemCaseSensitive(object, v->string) != v) return gm_fail(err, GM_ERR_CONFIG, "key \"%s\" stands twice", v->string);
    }
    return GM_OK;
}

static gm_status read_stage(const reading *r, const cJSON *stage, gm_pipeline_stage *s, gm_err *err)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(stage, "name"), *other = cJSON_GetObjectItemCaseSensitive(stage, "stand_in");
    const cJSON *options = cJSON_GetObjectItemCaseSensitive(stage, "options"), *to = cJSON_GetObjectItemCaseSensitive(stage, "to");
    words line = { 0 }, instead = { 0 };
    if (!cJSON_IsString(name) || !is_name(name->valuestring))
        return gm_fail(err, GM_ERR_CONFIG, "a stage wants a \"name\" of letters, digits, - and _");
    if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(stage, "command"))) return gm_fail(err, GM_ERR_CONFIG, "a stage wants a \"command\"");
    if (options != NULL && !cJSON_IsObject(options)) return gm_fail(err, GM_ERR_CONFIG, "\"options\" is no object");
    if (to != NULL && !cJSON_IsString(to)) return gm_fail(err, GM_ERR_CONFIG, "\"to\" is no text");
    GM_TRY(check_keys(stage, "name command words options to stand_in unless_set if_set", err));
    GM_TRY(fill(r, name->valuestring, &s->name, err));
    if (to != NULL) GM_TRY(fill(r, to->valuestring, &s->to, err));
    gm_status status = add_line(r, stage, NULL, &line, err);
    s->words = line.item;
    s->count = (int32_t)line.count;
    if (status == GM_OK && other != NULL) status = add_line(r, stage, other, &instead, err);
    s->stand_in = instead.item;
    if (status != GM_OK) return status;
    s->command = s->words[0];
    for (int32_t i = 1; i + 1 < s->count; i++) {
        if (strcmp(s->words[i], "--out") == 0) s->out = s->words[i + 1];
        s->asks = s->asks || strcmp(s->words[i], "--endpoint") == 0;
    }
    return GM_OK;
}

/* ---- the file ---- */

static gm_status check_sets(const reading *r, gm_err *err)
{
    for (int i = 0; i < r->sets->count; i++) {
        const char *set = r->sets->items[i];
        const size_t length = strcspn(set, "=");
        bool is_known = false;
        for (const cJSON *v = r->variables != NULL ? r->variables->child : NULL; v != NULL; v = v->next)
            is_known = is_known || (strlen(v->string) == length && strncmp(v->string, set, length) == 0);
        if (set[length] != '=') return gm_fail(err, GM_ERR_USAGE, "--set %s: expected NAME=VALUE", set);
        if (!is_known) return gm_fail(err, GM_ERR_USAGE, "--set %s: the pipeline has no variable of this name", set);
    }
    return GM_OK;
}

/* A stage that makes a stand-in is left out where --set names the real thing; one that needs what few users have is done only where it does. */
static gm_status look_whether(const reading *r, const cJSON *stage, const char *key, bool wanted, bool *is_wanted, gm_err *err)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(stage, key);
    if (name == NULL) return GM_OK;
    if (!cJSON_IsString(name) || cJSON_GetObjectItemCaseSensitive(r->variables, name->valuestring) == NULL)
        return gm_fail(err, GM_ERR_CONFIG, "\"%s\" names no variable", key);
    if ((set_of(r, name->valuestring, strlen(name->valuestring)) != NULL) != wanted) *is_wanted = false;
    return GM_OK;
}

static gm_status read_stages(const reading *r, const cJSON *list, gm_err *err)
{
    gm_pipeline *p = r->p;
    int number = 1;
    p->stages = gm_calloc((size_t)cJSON_GetArraySize(list), sizeof *p->stages);
    if (p->stages == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for stages");
    for (const cJSON *v = list->child; v != NULL; v = v->next, number++) {
        gm_pipeline_stage *s = &p->stages[p->count];
        bool is_wanted = true;
        if (!cJSON_IsObject(v)) return gm_fail(err, GM_ERR_CONFIG, "stage %d is no object", number);
        if (look_whether(r, v, "unless_set", false, &is_wanted, err) != GM_OK || look_whether(r, v, "if_set", true, &is_wanted, err) != GM_OK)
            return gm_fail_at(err, "stage %d", number);
        if (!is_wanted) continue;
        p->count++;
        if (read_stage(r, v, s, err) != GM_OK) return gm_fail_at(err, "stage %d", number);
        for (int32_t i = 0; i < p->count - 1; i++)
            if (strcmp(p->stages[i].name, s->name) == 0) return gm_fail(err, GM_ERR_CONFIG, "two stages are called \"%s\"", s->name);
    }
    return GM_OK;
}

static gm_status read_root(reading *r, const cJSON *root, gm_err *err)
{
    const cJSON *stages = cJSON_GetObjectItemCaseSensitive(root, "stages");
    r->variables = cJSON_GetObjectItemCaseSensitive(root, "variables");
    if (!cJSON_IsObject(root) || !cJSON_IsArray(stages) || stages->child == NULL)
        return gm_fail(err, GM_ERR_CONFIG, "a pipeline is an object with a list of \"stages\"");
    GM_TRY(check_keys(root, "about variables stages", err));
    if (r->variables != NULL && !cJSON_IsObject(r->variables)) return gm_fail(err, GM_ERR_CONFIG, "\"variables\" is no object");
    for (const cJSON *v = r->variables != NULL ? r->variables->child : NULL; v != NULL; v = v->next)
        if (!cJSON_IsString(v)) return gm_fail(err, GM_ERR_CONFIG, "variable \"%s\" is no text", v->string);
    GM_TRY(check_sets(r, err));
    return read_stages(r, stages, err);
}

gm_status gm_pipeline_read(const char *path, const char *out, const gm_str_list *sets, gm_pipeline *p, gm_err *err)
{
    reading r = { .path = path, .out = out, .sets = sets, .p = p };
    char *text = NULL;
    size_t size = 0;
    cJSON *root = NULL;
    *p = (gm_pipeline) { 0 };
    GM_TRY(gm_file_read(path, &text, &size, err));
    gm_status status = gm_json_parse(text, size, &root, err);
    if (status == GM_OK) status = read_root(&r, root, err);
    cJSON_Delete(root);
    gm_free(text);
    if (status == GM_OK) return GM_OK;
    gm_pipeline_free(p);
    return status == GM_ERR_USAGE ? status : gm_fail_at(err, "%s", path);
}

void gm_pipeline_free(gm_pipeline *p)
{
    for (int32_t i = 0; i < p->count; i++) {
        gm_free((void *)p->stages[i].words);
        gm_free((void *)p->stages[i].stand_in);
    }
    for (size_t i = 0; i < p->text_count; i++) gm_free(p->texts[i]);
    gm_free(p->texts);
    gm_free(p->stages);
    *p = (gm_pipeline) { 0 };
}

/* ---- fingerprints ---- */

static gm_status add_file(gm_sha256 *h, const char *path, gm_err *err)
{
    char block[1 << 16];
    FILE *f = fopen(path, "rb");
    if (f == NULL) return gm_fail(err, GM_ERR_IO, "%s: cannot be read", path);
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;) gm_sha256_add(h, block, n);
    const bool failed = ferror(f) != 0;
    fclose(f);
    return failed ? gm_fail(err, GM_ERR_IO, "%s: reading failed", path) : GM_OK;
}

static int is_no_dot(const struct dirent *e) { return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0; }

static gm_status add_path(gm_sha256 *h, const char *path, int depth, gm_err *err);

/* Names, sizes and times of what is in a folder, in the order of the names: it may hold thousands of pictures. */
static gm_status add_folder(gm_sha256 *h, const char *path, int depth, gm_err *err)
{
    struct dirent **entries = NULL;
    const int count = depth < DEPTH ? scandir(path, &entries, is_no_dot, alphasort) : 0;
    gm_status status = GM_OK;
    for (int i = 0; i < count; i++) {
        char *inner = gm_path_join(path, entries[i]->d_name);
        if (status == GM_OK && inner == NULL) status = gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
        if (status == GM_OK) gm_sha256_add(h, entries[i]->d_name, strlen(entries[i]->d_name) + 1);
        if (status == GM_OK) status = add_path(h, inner, depth + 1, err);
        gm_free(inner);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* A file that a word names by its content, a folder by what a listing of it shows. */
static gm_status add_path(gm_sha256 *h, const char *path, int depth, gm_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) return GM_OK;
    if (S_ISDIR(st.st_mode)) return add_folder(h, path, depth, err);
    if (S_ISREG(st.st_mode) && depth == 0) return add_file(h, path, err);
    const int64_t look[] = { (int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec };
    gm_sha256_add(h, look, sizeof look);
    return GM_OK;
}

gm_status gm_pipeline_fingerprint(const gm_pipeline_stage *s, const char *out, const char *before, char to[GM_FINGERPRINT], gm_err *err)
{
    gm_sha256 h;
    uint8_t digest[32];
    const size_t length = strlen(out);
    gm_sha256_begin(&h);
    gm_sha256_add(&h, before, strlen(before) + 1);
    gm_sha256_add(&h, GM_VERSION, sizeof GM_VERSION);
    for (int32_t i = 0; i < s->count; i++) {
        gm_sha256_add(&h, s->words[i], strlen(s->words[i]) + 1);
        if (strncmp(s->words[i], out, length) != 0 || s->words[i][length] != '/') GM_TRY(add_path(&h, s->words[i], 0, err));
    }
    gm_sha256_end(&h, digest);
    for (int i = 0; i < 32; i++) snprintf(to + 2 * i, 3, "%02x", digest[i]);
    return GM_OK;
}
