/* See cjson/cJSON.h beside this file. Lists are short in what the tests read: an item is found by walking. */
#include "cjson/cJSON.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON_Hooks memory = { malloc, free };

void cJSON_InitHooks(cJSON_Hooks *hooks)
{
    memory = hooks != NULL ? *hooks : (cJSON_Hooks){ malloc, free };
}

void cJSON_free(void *block) { memory.free_fn(block); }

static void *take(size_t bytes)
{
    void *block = memory.malloc_fn(bytes);
    if (block != NULL) memset(block, 0, bytes);
    return block;
}

void cJSON_Delete(cJSON *item)
{
    while (item != NULL) {
        cJSON *next = item->next;
        cJSON_Delete(item->child);
        if (item->valuestring != NULL) memory.free_fn(item->valuestring);
        if (item->string != NULL) memory.free_fn(item->string);
        memory.free_fn(item);
        item = next;
    }
}

typedef struct scan { const char *at, *end; } scan;

static char peek(scan *s)
{
    while (s->at < s->end && strchr(" \t\r\n", *s->at) != NULL && *s->at != '\0') s->at++;
    return s->at < s->end ? *s->at : '\0';
}

static unsigned hex4(scan *s)
{
    char digits[5] = { 0 };
    if (s->end - s->at < 4) return 0;
    memcpy(digits, s->at, 4);
    s->at += 4;
    return (unsigned)strtoul(digits, NULL, 16);
}

static char *put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3F));
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    return to;
}

/* Behind a backslash. */
static char *put_escape(char *to, scan *s)
{
    static const char from[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char c = *s->at++;
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    if (c == 'u') {
        unsigned code = hex4(s);
        if (code >= 0xD800 && code < 0xDC00 && s->end - s->at >= 6) {
            s->at += 2;
            code = 0x10000 + ((code - 0xD800) << 10) + (hex4(s) - 0xDC00);
        }
        return put_utf8(to, code);
    }
    *to++ = known != NULL ? meant[known - from] : c;
    return to;
}

/* From the first quote to behind the last. No escape is longer than what it stands for. */
static char *parse_string(scan *s)
{
    const char *end = s->at + 1;
    while (end < s->end && *end != '"') end += *end == '\\' ? 2 : 1;
    char *made = take((size_t)(end - s->at) + 1), *to = made;
    if (made == NULL) return NULL;
    for (s->at++; s->at < s->end && *s->at != '"';) {
        if (*s->at == '\\') {
            s->at++;
            to = put_escape(to, s);
        } else {
            *to++ = *s->at++;
        }
    }
    s->at++;
    return made;
}

static cJSON *parse_value(scan *s);

/* Items of an array or an object, up to the closing bracket. */
static cJSON_bool parse_items(scan *s, cJSON *into, char close)
{
    cJSON **last = &into->child;
    s->at++;
    while (peek(s) != close) {
        char *key = NULL;
        if (close == '}') {
            if ((key = parse_string(s)) == NULL) return 0;
            peek(s);
            s->at++; /* the colon */
        }
        *last = parse_value(s);
        if (*last == NULL) {
            if (key != NULL) memory.free_fn(key);
            return 0;
        }
        (*last)->string = key;
        last = &(*last)->next;
        if (peek(s) == ',') s->at++;
    }
    s->at++;
    return 1;
}

static void parse_number(scan *s, cJSON *item)
{
    char text[64] = { 0 };
    size_t n = 0;
    while (s->at < s->end && n < sizeof text - 1 && strchr("+-.eE0123456789", *s->at) != NULL) text[n++] = *s->at++;
    item->type = cJSON_Number;
    item->valuedouble = strtod(text, NULL);
    item->valueint = item->valuedouble >= INT_MAX ? INT_MAX : item->valuedouble <= INT_MIN ? INT_MIN : (int)item->valuedouble;
}

static cJSON_bool parse_into(scan *s, cJSON *item)
{
    static const struct { char first; int type, length; } words[] = { { 't', cJSON_True, 4 }, { 'f', cJSON_False, 5 }, { 'n', cJSON_NULL, 4 } };
    const char c = peek(s);
    for (size_t i = 0; i < 3; i++)
        if (c == words[i].first) {
            item->type = words[i].type;
            s->at += words[i].length;
            return 1;
        }
    if (c == '"') {
        item->type = cJSON_String;
        return (item->valuestring = parse_string(s)) != NULL;
    }
    if (c == '[' || c == '{') {
        item->type = c == '[' ? cJSON_Array : cJSON_Object;
        return parse_items(s, item, c == '[' ? ']' : '}');
    }
    parse_number(s, item);
    return 1;
}

static cJSON *parse_value(scan *s)
{
    cJSON *item = take(sizeof *item);
    if (item == NULL) return NULL;
    if (parse_into(s, item)) return item;
    cJSON_Delete(item);
    return NULL;
}

cJSON *cJSON_ParseWithLength(const char *text, size_t size) { return parse_value(&(scan){ text, text + size }); }

int cJSON_GetArraySize(const cJSON *item)
{
    int count = 0;
    for (const cJSON *c = item != NULL ? item->child : NULL; c != NULL; c = c->next) count++;
    return count;
}

cJSON *cJSON_GetArrayItem(const cJSON *item, int index)
{
    cJSON *c = item != NULL ? item->child : NULL;
    while (c != NULL && index-- > 0) c = c->next;
    return c;
}

cJSON *cJSON_GetObjectItemCaseSensitive(const cJSON *item, const char *key)
{
    cJSON *c = item != NULL ? item->child : NULL;
    while (c != NULL && (c->string == NULL || strcmp(c->string, key) != 0)) c = c->next;
    return c;
}

static cJSON_bool has_type(const cJSON *item, int types) { return item != NULL && (item->type & types) != 0; }
cJSON_bool cJSON_IsBool(const cJSON *item) { return has_type(item, cJSON_True | cJSON_False); }
cJSON_bool cJSON_IsFalse(const cJSON *item) { return has_type(item, cJSON_False); }
cJSON_bool cJSON_IsTrue(const cJSON *item) { return has_type(item, cJSON_True); }
cJSON_bool cJSON_IsNull(const cJSON *item) { return has_type(item, cJSON_NULL); }
cJSON_bool cJSON_IsNumber(const cJSON *item) { return has_type(item, cJSON_Number); }
cJSON_bool cJSON_IsString(const cJSON *item) { return has_type(item, cJSON_String); }
cJSON_bool cJSON_IsArray(const cJSON *item) { return has_type(item, cJSON_Array); }
cJSON_bool cJSON_IsObject(const cJSON *item) { return has_type(item, cJSON_Object); }

cJSON_bool cJSON_HasObjectItem(const cJSON *item, const char *key) { return cJSON_GetObjectItemCaseSensitive(item, key) != NULL; }
double cJSON_GetNumberValue(const cJSON *item) { return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN; }
char *cJSON_GetStringValue(const cJSON *item) { return cJSON_IsString(item) ? item->valuestring : NULL; }

/* Members of objects may stand in any order. */
cJSON_bool cJSON_Compare(const cJSON *a, const cJSON *b, cJSON_bool case_sensitive)
{
    if (a == NULL || b == NULL || a->type != b->type) return 0;
    if (a->type == cJSON_Number) return !(a->valuedouble < b->valuedouble) && !(a->valuedouble > b->valuedouble);
    if (a->type == cJSON_String) return strcmp(a->valuestring, b->valuestring) == 0;
    if (cJSON_GetArraySize(a) != cJSON_GetArraySize(b)) return 0;
    int index = 0;
    for (const cJSON *c = a->child; c != NULL; c = c->next, index++) {
        const cJSON *d = a->type == cJSON_Object ? cJSON_GetObjectItemCaseSensitive(b, c->string) : cJSON_GetArrayItem(b, index);
        if (!cJSON_Compare(c, d, case_sensitive)) return 0;
    }
    return 1;
}

/* Only messages print values: a number or a string is shown, of a list its size. */
char *cJSON_PrintUnformatted(const cJSON *item)
{
    const size_t room = 64 + (item->valuestring != NULL ? strlen(item->valuestring) : 0);
    char *text = take(room);
    if (text == NULL) return NULL;
    if (item->type == cJSON_Number) snprintf(text, room, "%.17g", item->valuedouble);
    else if (item->type == cJSON_String) snprintf(text, room, "\"%s\"", item->valuestring);
    else if (item->child != NULL) snprintf(text, room, "(a list of %d)", cJSON_GetArraySize(item));
    else snprintf(text, room, "%s", cJSON_IsTrue(item) ? "true" : cJSON_IsBool(item) ? "false" : "null");
    return text;
}
