/* JSON reading. A strict check of our own (RFC 8259, depth, UTF-8) walks the text first and names line and column;
 * cJSON then builds the tree from text that is known to be good, so that a failure of cJSON can only mean memory.
 * cJSON alone is too kind: it takes 01, 1e999 and raw line feeds in strings, and cuts a string at \u0000. */
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "base/memory.h"

enum { MAX_DEPTH = 64, MAX_NUMBER = 63 }; /* cJSON reads at most 63 characters of a number */

typedef struct scan {
    const char *text, *at, *end;
    gm_err *err;
} scan;

static gm_status refuse(const scan *s, const char *format, ...) GM_PRINTF(2, 3);

/* Columns count characters, not bytes, as an editor does. */
static gm_status refuse(const scan *s, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t line = 1, column = 1;
    for (const char *c = s->text; c < s->at; c++) {
        if (*c == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*c & 0xC0) != 0x80) {
            column++;
        }
    }
    return gm_fail(s->err, GM_ERR_FORMAT, "%zu:%zu: %s", line, column, message);
}

static gm_status expected(const scan *s, const char *what)
{
    if (s->at >= s->end) return refuse(s, "expected %s, found the end of the text", what);
    const unsigned char c = (unsigned char)*s->at;
    if (c < 0x20 || c >= 0x7F) return refuse(s, "expected %s, found the byte 0x%02X", what, c);
    return refuse(s, "expected %s, found '%c'", what, c);
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_space(scan *s)
{
    while (s->at < s->end && is_space(*s->at)) s->at++;
}

static bool take(scan *s, char c)
{
    if (s->at >= s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static bool take_digits(scan *s)
{
    const char *first = s->at;
    while (s->at < s->end && is_digit(*s->at)) s->at++;
    return s->at > first;
}

static gm_status check_number(scan *s)
{
    const char *first = s->at;
    take(s, '-');
    if (!take(s, '0') && !take_digits(s)) return expected(s, "a digit");
    if (take(s, '.') && !take_digits(s)) return expected(s, "a digit behind the point");
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+')) take(s, '-');
        if (!take_digits(s)) return expected(s, "a digit of the exponent");
    }
    char copy[MAX_NUMBER + 1];
    const size_t n = (size_t)(s->at - first);
    s->at = n > MAX_NUMBER ? first : s->at;
    if (n > MAX_NUMBER) return refuse(s, "a number of %zu characters: at most %d are read", n, MAX_NUMBER);
    memcpy(copy, first, n);
    copy[n] = '\0';
    if (isfinite(strtod(copy, NULL))) return GM_OK;
    s->at = first;
    return refuse(s, "%s is too large for a number", copy);
}

/* Reads the four hexadecimal digits behind \u. */
static gm_status check_hex4(scan *s, unsigned *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        const char c = s->at < s->end ? *s->at : '\0';
        unsigned digit;
        if (is_digit(c))
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (unsigned)(c - 'A') + 10;
        else
            return expected(s, "four hexadecimal digits behind \\u");
        *code = *code * 16 + digit;
    }
    return GM_OK;
}

static gm_status check_escape(scan *s)
{
    const char c = s->at < s->end ? *s->at : '\0';
    if (c != 'u') {
        if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
            return expected(s, "one of \" \\ / b f n r t u behind a backslash");
        s->at++;
        return GM_OK;
    }
    s->at++;
    unsigned code, low;
    GM_TRY(check_hex4(s, &code));
    if (code == 0) return refuse(s, "\\u0000 cannot stand in a string");
    if (code >= 0xDC00 && code <= 0xDFFF)
        return refuse(s, "\\u%04X is the second half of a surrogate pair without the first", code);
    if (code < 0xD800 || code > 0xDBFF) return GM_OK;
    if (!take(s, '\\') || !take(s, 'u')) return expected(s, "the second half of a surrogate pair");
    GM_TRY(check_hex4(s, &low));
    if (low < 0xDC00 || low > 0xDFFF) return refuse(s, "\\u%04X is not the second half of a surrogate pair", low);
    return GM_OK;
}

static gm_status check_string(scan *s)
{
    if (!take(s, '"')) return expected(s, "a string in double quotes");
    while (s->at < s->end) {
        const unsigned char c = (unsigned char)*s->at;
        if (c < 0x20) return refuse(s, "the control character 0x%02X in a string must be written as an escape", c);
        s->at++;
        if (c == '"') return GM_OK;
        if (c == '\\') GM_TRY(check_escape(s));
    }
    return expected(s, "a closing quote");
}

static gm_status check_value(scan *s, int depth);

static gm_status check_list(scan *s, int depth, char close, bool is_object)
{
    s->at++;
    skip_space(s);
    if (take(s, close)) return GM_OK;
    for (;;) {
        if (is_object) {
            GM_TRY(check_string(s));
            skip_space(s);
            if (!take(s, ':')) return expected(s, "':' behind a key");
            skip_space(s);
        }
        GM_TRY(check_value(s, depth + 1));
        skip_space(s);
        if (take(s, close)) return GM_OK;
        if (!take(s, ',')) return expected(s, is_object ? "',' or '}'" : "',' or ']'");
        skip_space(s);
    }
}

static gm_status check_value(scan *s, int depth)
{
    static const char *const words[] = { "true", "false", "null" };
    const char c = s->at < s->end ? *s->at : '\0';
    if (c == '{' || c == '[') {
        if (depth >= MAX_DEPTH) return refuse(s, "more than %d levels of objects and arrays", MAX_DEPTH);
        return check_list(s, depth, c == '{' ? '}' : ']', c == '{');
    }
    if (c == '"') return check_string(s);
    if (c == '-' || is_digit(c)) return check_number(s);
    for (size_t i = 0; i < GM_LEN(words); i++) {
        const size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= n && memcmp(s->at, words[i], n) == 0) {
            s->at += n;
            return GM_OK;
        }
    }
    return expected(s, "a value");
}

static once_flag hooks_once = ONCE_FLAG_INIT;

static void set_hooks(void)
{
    cJSON_Hooks hooks = { gm_malloc, gm_free };
    cJSON_InitHooks(&hooks);
}

gm_status gm_json_parse(const char *text, size_t size, cJSON **value, gm_err *err)
{
    *value = NULL;
    call_once(&hooks_once, set_hooks);
    scan s = { text, text, text + size, err };
    size_t bad;
    if (!gm_utf8_valid(text, size, &bad)) {
        s.at = text + bad;
        return refuse(&s, "the byte 0x%02X is not UTF-8 text", (unsigned char)text[bad]);
    }
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return refuse(&s, "the text begins with a byte order mark: save it as UTF-8 without one");
    skip_space(&s);
    GM_TRY(check_value(&s, 0));
    skip_space(&s);
    if (s.at != s.end) return expected(&s, "the end of the text");
    *value = cJSON_ParseWithLength(text, size);
    if (*value == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu bytes of JSON", size);
    return GM_OK;
}

/* Moves past a string whose quotes and escapes are known to be good. */
static const char *past_string(const char *at)
{
    for (at++; *at != '"'; at++)
        if (*at == '\\') at++;
    return at + 1;
}

static const char *past_space(const char *at)
{
    while (is_space(*at)) at++;
    return at;
}

static const char *past_value(const char *at)
{
    if (*at == '"') return past_string(at);
    if (*at != '{' && *at != '[') {
        while (!is_space(*at) && *at != ',' && *at != '}' && *at != ']') at++;
        return at;
    }
    int depth = 0;
    do {
        if (*at == '"') {
            at = past_string(at);
            continue;
        }
        if (*at == '{' || *at == '[') depth++;
        if (*at == '}' || *at == ']') depth--;
        at++;
    } while (depth > 0);
    return at;
}

bool gm_json_next_member(const char **at, gm_json_member *member)
{
    const char *c = past_space(*at); /* at the object's '{', or behind a value: at ',' or '}' */
    if (*c != '{' && *c != ',') return false;
    c = past_space(c + 1);
    if (*c != '"') return false;
    const char *key_end = past_string(c);
    member->key = c + 1;
    member->key_len = (size_t)(key_end - c) - 2;
    c = past_space(past_space(key_end) + 1);
    member->value = c;
    *at = past_value(c);
    member->value_len = (size_t)(*at - c);
    return true;
}

static gm_status reserve(gm_buffer *b, size_t more, gm_err *err)
{
    if (more > SIZE_MAX / 2 - b->size - 1)
        return gm_fail(err, GM_ERR_NOMEM, "a text of more than %zu bytes is too large", b->size);
    const size_t wanted = b->size + more + 1;
    if (wanted <= b->capacity) return GM_OK;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < wanted) capacity *= 2;
    char *moved = gm_realloc(b->data, capacity);
    if (moved == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a text of %zu bytes", capacity);
    b->data = moved;
    b->capacity = capacity;
    return GM_OK;
}

gm_status gm_buffer_add(gm_buffer *b, const char *bytes, size_t n, gm_err *err)
{
    GM_TRY(reserve(b, n, err));
    if (n > 0) memcpy(b->data + b->size, bytes, n);
    b->size += n;
    b->data[b->size] = '\0';
    return GM_OK;
}

gm_status gm_buffer_printf(gm_buffer *b, gm_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) return gm_fail(err, GM_ERR_FORMAT, "\"%s\" cannot be printed", format);
    GM_TRY(reserve(b, (size_t)n, err));
    va_start(args, format);
    vsnprintf(b->data + b->size, (size_t)n + 1, format, args);
    va_end(args);
    b->size += (size_t)n;
    return GM_OK;
}

gm_status gm_buffer_json_string(gm_buffer *b, const char *text, gm_err *err)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    GM_TRY(gm_buffer_add(b, "\"", 1, err));
    for (const char *run = text;;) {
        const char *c = run;
        while ((unsigned char)*c >= 0x20 && *c != '"' && *c != '\\') c++;
        GM_TRY(gm_buffer_add(b, run, (size_t)(c - run), err));
        if (*c == '\0') return gm_buffer_add(b, "\"", 1, err);
        const char *known = strchr(plain, *c);
        if (known != NULL)
            GM_TRY(gm_buffer_add(b, (char[]) { '\\', letter[known - plain] }, 2, err));
        else
            GM_TRY(gm_buffer_printf(b, err, "\\u%04x", (unsigned)(unsigned char)*c));
        run = c + 1;
    }
}

void gm_buffer_free(gm_buffer *b)
{
    gm_free(b->data);
    *b = (gm_buffer) { 0 };
}

/* The length of the UTF-8 character at c, 0 when it is not one: overlong forms, surrogates and codes beyond
 * U+10FFFF fall to the bounds of the second byte. */
static size_t utf8_length(const unsigned char *c, size_t n)
{
    if (c[0] >= 0x01 && c[0] <= 0x7F) return 1;
    const size_t length = c[0] < 0xC2 ? 0 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : c[0] < 0xF5 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    const unsigned char low = c[0] == 0xE0 ? 0xA0 : c[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = c[0] == 0xED ? 0x9F : c[0] == 0xF4 ? 0x8F : 0xBF;
    if (c[1] < low || c[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    return length;
}

bool gm_utf8_valid(const char *text, size_t n, size_t *bad)
{
    for (size_t i = 0; i < n;) {
        const size_t length = utf8_length((const unsigned char *)text + i, n - i);
        if (length == 0) {
            *bad = i;
            return false;
        }
        i += length;
    }
    return true;
}
