/* Strict reading of a safetensors header. base/json.h checks the syntax and decodes names (it refuses an escaped NUL,
 * which would make two names one); sizes and offsets are read from the text itself, because a double would round them
 * and would let 3.0 and 3e0 pass, which other readers refuse.
 * Promise: after success the entries tile the data exactly, so every byte of the file belongs to one thing. */
#include "tensor/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"

/* Long names are cut in messages, so that the rest of the sentence survives. */
#define NAME "tensor \"%.120s\""

static const struct {
    const char *name;
    size_t bytes;
} dtypes[GM_DTYPE_COUNT] = {
    [GM_ST_F32] = { "F32", 4 }, [GM_ST_F16] = { "F16", 2 },   [GM_ST_BF16] = { "BF16", 2 }, [GM_ST_F64] = { "F64", 8 },
    [GM_ST_I64] = { "I64", 8 }, [GM_ST_I32] = { "I32", 4 },   [GM_ST_I16] = { "I16", 2 },   [GM_ST_I8] = { "I8", 1 },
    [GM_ST_U8] = { "U8", 1 },   [GM_ST_BOOL] = { "BOOL", 1 },
};

static bool is_dtype(gm_dtype t) { return (unsigned)t < GM_DTYPE_COUNT; }
size_t gm_dtype_bytes(gm_dtype t) { return is_dtype(t) ? dtypes[t].bytes : 0; }
const char *gm_dtype_name(gm_dtype t) { return is_dtype(t) ? dtypes[t].name : "unknown"; }

bool gm_st_bytes(gm_dtype dtype, const int64_t *shape, int32_t dims, uint64_t *bytes)
{
    uint64_t n = gm_dtype_bytes(dtype);
    for (int32_t i = 0; i < dims; i++) {
        const uint64_t size = (uint64_t)shape[i];
        if (size != 0 && n > GM_ST_MAX_INT / size) return false;
        n *= size;
    }
    *bytes = n;
    return true;
}

/* One member of an object seen twice: decoded by cJSON, and as it stands in the text. */
typedef struct member {
    const char *key;
    const cJSON *value;
    const char *raw;
    size_t raw_size;
} member;

typedef struct walk {
    const char *at;
    const cJSON *next;
} walk;

static walk walk_object(const cJSON *object, const char *raw) { return (walk) { raw, object->child }; }

static bool walk_next(walk *w, member *m)
{
    gm_json_member raw;
    if (w->next == NULL || !gm_json_next_member(&w->at, &raw)) return false;
    *m = (member) { w->next->string, w->next, raw.value, raw.value_len };
    w->next = w->next->next;
    return true;
}

/* A cursor over the raw text of an array of whole numbers. */
typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

static bool take(cursor *c, char wanted)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != wanted) return false;
    c->at++;
    return true;
}

/* Digits only, at most 2^53. (Leading zeros are no JSON.) */
static bool take_whole(cursor *c, uint64_t *value)
{
    skip_blanks(c);
    const char *first = c->at;
    uint64_t n = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        n = n * 10 + (uint64_t)(*c->at - '0');
        if (n > GM_ST_MAX_INT) return false;
    }
    *value = n;
    return c->at > first;
}

/* [n, n, ...] with at most `most` whole numbers; *count may come out as most + 1, which says that there are more. */
static bool parse_whole_array(const member *m, uint64_t *values, int32_t most, int32_t *count)
{
    cursor c = { m->raw, m->raw + m->raw_size };
    *count = 0;
    if (!take(&c, '[')) return false;
    if (take(&c, ']')) return true;
    do {
        uint64_t value;
        if (!take_whole(&c, &value)) return false;
        if (*count == most) {
            *count = most + 1;
            return true;
        }
        values[(*count)++] = value;
    } while (take(&c, ','));
    return take(&c, ']');
}

typedef struct parser {
    const char *place;
    const unsigned char *data;
    size_t data_bytes;
    gm_st_header *h;
    gm_err *err;
} parser;

/* How much of a wrong value a message shows. */
static int shown(const member *m) { return m->raw_size < 60 ? (int)m->raw_size : 60; }

static gm_status parse_dtype(parser *p, const char *name, const member *m, gm_dtype *dtype)
{
    if (!cJSON_IsString(m->value))
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME ": \"dtype\" is %.*s, expected a string such as \"F32\"",
                       p->place, name, shown(m), m->raw);
    for (int t = 0; t < GM_DTYPE_COUNT; t++)
        if (strcmp(m->value->valuestring, dtypes[t].name) == 0) {
            *dtype = (gm_dtype)t;
            return GM_OK;
        }
    return gm_fail(p->err, GM_ERR_FORMAT,
                   "%s: " NAME ": unknown dtype \"%.20s\", expected one of F32 F16 BF16 F64 I64 I32 I16 I8 U8 BOOL",
                   p->place, name, m->value->valuestring);
}

static gm_status parse_shape(parser *p, const member *m, gm_st_entry *e)
{
    uint64_t size[GM_ST_MAX_DIMS];
    if (!parse_whole_array(m, size, GM_ST_MAX_DIMS, &e->dims))
        return gm_fail(p->err, GM_ERR_FORMAT,
                       "%s: " NAME ": \"shape\" is %.*s, expected a list of whole numbers from 0 to 2^53", p->place,
                       e->name, shown(m), m->raw);
    if (e->dims > GM_ST_MAX_DIMS)
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME ": \"shape\" has more than %d dimensions", p->place, e->name,
                       GM_ST_MAX_DIMS);
    for (int32_t i = 0; i < e->dims; i++) e->shape[i] = (int64_t)size[i];
    return GM_OK;
}

static gm_status parse_offsets(parser *p, const member *m, gm_st_entry *e)
{
    uint64_t at[2];
    int32_t count;
    if (!parse_whole_array(m, at, 2, &count) || count != 2)
        return gm_fail(p->err, GM_ERR_FORMAT,
                       "%s: " NAME ": \"data_offsets\" is %.*s, expected two whole numbers from 0 to 2^53", p->place,
                       e->name, shown(m), m->raw);
    if (at[1] < at[0])
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME ": \"data_offsets\" run backwards, from %llu to %llu",
                       p->place, e->name, (unsigned long long)at[0], (unsigned long long)at[1]);
    if (at[1] > p->data_bytes)
        return gm_fail(p->err, GM_ERR_FORMAT,
                       "%s: " NAME
                       ": \"data_offsets\" end at %llu, but the file has %zu bytes of data: is it cut short?",
                       p->place, e->name, (unsigned long long)at[1], p->data_bytes);
    e->data = p->data + at[0];
    e->bytes = (size_t)(at[1] - at[0]);
    return GM_OK;
}

static gm_status check_size(parser *p, const gm_st_entry *e)
{
    uint64_t bytes;
    if (!gm_st_bytes(e->dtype, e->shape, e->dims, &bytes))
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME ": \"shape\" overflows, its bytes are more than 2^53",
                       p->place, e->name);
    if (bytes != e->bytes)
        return gm_fail(p->err, GM_ERR_FORMAT,
                       "%s: " NAME ": \"data_offsets\" span %zu bytes, but shape and dtype (%s) make %llu", p->place,
                       e->name, e->bytes, gm_dtype_name(e->dtype), (unsigned long long)bytes);
    return GM_OK;
}

/* Reads one entry's fields; the shape's size is checked last, because the fields come in any order. */
static gm_status parse_entry(parser *p, const member *m, gm_st_entry *e)
{
    static const char *const fields[] = { "dtype", "shape", "data_offsets" };
    bool seen[GM_LEN(fields)] = { false };
    if (!cJSON_IsObject(m->value))
        return gm_fail(p->err, GM_ERR_FORMAT,
                       "%s: " NAME " is described by no object; expected dtype, shape and data_offsets", p->place,
                       e->name);
    walk w = walk_object(m->value, m->raw);
    for (member field; walk_next(&w, &field);) {
        size_t i = 0;
        while (i < GM_LEN(fields) && strcmp(field.key, fields[i]) != 0) i++;
        if (i == GM_LEN(fields))
            return gm_fail(p->err, GM_ERR_FORMAT,
                           "%s: " NAME ": unknown field \"%.60s\", expected dtype, shape and data_offsets", p->place,
                           e->name, field.key);
        if (seen[i])
            return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME ": \"%s\" stands twice", p->place, e->name, fields[i]);
        seen[i] = true;
        if (i == 0) GM_TRY(parse_dtype(p, e->name, &field, &e->dtype));
        if (i == 1) GM_TRY(parse_shape(p, &field, e));
        if (i == 2) GM_TRY(parse_offsets(p, &field, e));
    }
    for (size_t i = 0; i < GM_LEN(fields); i++)
        if (!seen[i]) return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME " has no \"%s\"", p->place, e->name, fields[i]);
    return check_size(p, e);
}

static gm_status add_entry(parser *p, const member *m)
{
    gm_st_header *h = p->h;
    void *entries = h->entries;
    if (h->count == INT32_MAX) return gm_fail(p->err, GM_ERR_FORMAT, "%s: more than %d tensors", p->place, INT32_MAX);
    GM_TRY(gm_grow(&entries, &h->capacity, h->count, sizeof *h->entries, p->err));
    h->entries = entries;
    gm_st_entry *e = &h->entries[h->count];
    *e = (gm_st_entry) { .name = gm_strdup(m->key) };
    if (e->name == NULL) return gm_fail(p->err, GM_ERR_NOMEM, "%s: out of memory for the name of a tensor", p->place);
    h->count++; /* from here on destroy frees the name */
    return parse_entry(p, m, e);
}

static gm_status add_pair(parser *p, const member *m)
{
    gm_st_header *h = p->h;
    void *pairs = h->metadata;
    if (!cJSON_IsString(m->value))
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: \"__metadata__\": the value of \"%.120s\" is no string", p->place,
                       m->key);
    GM_TRY(gm_grow(&pairs, &h->metadata_capacity, h->metadata_count, sizeof *h->metadata, p->err));
    h->metadata = pairs;
    gm_st_pair *pair = &h->metadata[h->metadata_count++];
    *pair = (gm_st_pair) { gm_strdup(m->key), gm_strdup(m->value->valuestring) };
    if (pair->key == NULL || pair->value == NULL)
        return gm_fail(p->err, GM_ERR_NOMEM, "%s: out of memory for the metadata", p->place);
    return GM_OK;
}

static gm_status parse_metadata(parser *p, const member *m)
{
    if (!cJSON_IsObject(m->value))
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: \"__metadata__\" is no object; expected an object of strings",
                       p->place);
    walk w = walk_object(m->value, m->raw);
    for (member pair; walk_next(&w, &pair);) GM_TRY(add_pair(p, &pair));
    return GM_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const gm_st_pair *)a)->key, ((const gm_st_pair *)b)->key);
}

static gm_status sort_metadata(parser *p)
{
    gm_st_pair *pairs = p->h->metadata;
    const size_t count = p->h->metadata_count;
    if (count > 1) qsort(pairs, count, sizeof *pairs, by_key);
    for (size_t i = 1; i < count; i++)
        if (strcmp(pairs[i - 1].key, pairs[i].key) == 0)
            return gm_fail(p->err, GM_ERR_FORMAT, "%s: \"__metadata__\": \"%.120s\" stands twice", p->place,
                           pairs[i].key);
    return GM_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const gm_st_entry *const *)a)->name, (*(const gm_st_entry *const *)b)->name);
}

static gm_status index_names(parser *p)
{
    gm_st_header *h = p->h;
    h->by_name = gm_calloc(h->count, sizeof *h->by_name);
    if (h->by_name == NULL)
        return gm_fail(p->err, GM_ERR_NOMEM, "%s: out of memory for %zu tensors", p->place, h->count);
    for (size_t i = 0; i < h->count; i++) h->by_name[i] = &h->entries[i];
    qsort(h->by_name, h->count, sizeof *h->by_name, by_name);
    for (size_t i = 1; i < h->count; i++)
        if (strcmp(h->by_name[i - 1]->name, h->by_name[i]->name) == 0)
            return gm_fail(p->err, GM_ERR_FORMAT, "%s: " NAME " stands twice in the header", p->place,
                           h->by_name[i]->name);
    return GM_OK;
}

/* Equal starts happen with empty tensors: these come first, ordered by name, so that the order is one. */
static int by_offset(const void *a, const void *b)
{
    const gm_st_entry *x = a, *y = b;
    const unsigned char *x_data = x->data, *y_data = y->data;
    if (x_data != y_data) return x_data < y_data ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Each tensor must begin where the one before it ends, from the first byte of the data to the last. */
static gm_status check_tiling(const parser *p)
{
    const gm_st_header *h = p->h;
    size_t end = 0;
    for (size_t i = 0; i < h->count; i++) {
        const gm_st_entry *e = &h->entries[i];
        const size_t begin = (size_t)((const unsigned char *)e->data - p->data);
        if (begin < end)
            return gm_fail(p->err, GM_ERR_FORMAT,
                           "%s: " NAME " begins at %zu and overlaps \"%.120s\", which ends at %zu", p->place, e->name,
                           begin, h->entries[i - 1].name, end);
        if (begin > end)
            return gm_fail(p->err, GM_ERR_FORMAT,
                           "%s: " NAME " begins at %zu, which leaves a gap behind byte %zu of the data", p->place,
                           e->name, begin, end);
        end = begin + e->bytes;
    }
    if (end != p->data_bytes)
        return gm_fail(p->err, GM_ERR_FORMAT, "%s: %zu bytes stand behind the data of the last tensor", p->place,
                       p->data_bytes - end);
    return GM_OK;
}

static gm_status parse_members(parser *p, const cJSON *root, const char *text)
{
    bool has_metadata = false;
    walk w = walk_object(root, text);
    for (member m; walk_next(&w, &m);) {
        if (strcmp(m.key, "__metadata__") != 0) {
            GM_TRY(add_entry(p, &m));
            continue;
        }
        if (has_metadata)
            return gm_fail(p->err, GM_ERR_FORMAT, "%s: \"__metadata__\" stands twice in the header", p->place);
        has_metadata = true;
        GM_TRY(parse_metadata(p, &m));
    }
    GM_TRY(sort_metadata(p));
    /* The index points at entries, so they are put in order first. A name that stands twice mostly overlaps as well:
     * the name is the better message, so the tiling is checked last. */
    if (p->h->count > 1) qsort(p->h->entries, p->h->count, sizeof *p->h->entries, by_offset);
    GM_TRY(index_names(p));
    GM_TRY(check_tiling(p));
    return GM_OK;
}

gm_status gm_st_header_parse(const char *place, const char *text, size_t size, const unsigned char *data,
                             size_t data_bytes, gm_st_header *h, gm_err *err)
{
    parser p = { place, data, data_bytes, h, err };
    cJSON *root = NULL;
    if (size == 0 || text[0] != '{')
        return gm_fail(err, GM_ERR_FORMAT, "%s: the header does not begin with \"{\": this is no safetensors file",
                       place);
    gm_status status = gm_json_parse(text, size, &root, err);
    if (status == GM_OK)
        status = parse_members(&p, root, text);
    else
        gm_fail_at(err, "%s: header", place);
    cJSON_Delete(root);
    return status;
}

void gm_st_header_destroy(gm_st_header *h)
{
    for (size_t i = 0; i < h->count; i++) gm_free(h->entries[i].name);
    for (size_t i = 0; i < h->metadata_count; i++) {
        gm_free(h->metadata[i].key);
        gm_free(h->metadata[i].value);
    }
    gm_free(h->entries);
    gm_free(h->by_name);
    gm_free(h->metadata);
    *h = (gm_st_header) { 0 };
}
