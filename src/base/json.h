/* JSON reading on cJSON, plus raw slices for what cJSON would change: 18-digit ids and 64-bit seeds. */
#ifndef GM_BASE_JSON_H
#define GM_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* Parses one whole JSON value (nothing but white space may follow; depth at most 64; UTF-8 checked).
 * The message gives line:column. Free with cJSON_Delete. */
gm_status gm_json_parse(const char *text, size_t size, cJSON **value, gm_err *err);

/* Members of an object as they stand in the text; the text must have passed gm_json_parse. */
typedef struct gm_json_member { const char *key, *value; size_t key_len, value_len; } gm_json_member; /* key without quotes, escapes kept */
/* Walks the members: *at starts as the text and is moved on; false at the end, or where the text is no object.
 * A nested object is walked by starting at its value. */
bool gm_json_next_member(const char **at, gm_json_member *member);

/* Appends text as a JSON string with quotes and escapes to a growing buffer. */
typedef struct gm_buffer { char *data; size_t size, capacity; } gm_buffer; /* data always NUL-ended once non-NULL */
gm_status gm_buffer_add(gm_buffer *b, const char *bytes, size_t n, gm_err *err);
gm_status gm_buffer_printf(gm_buffer *b, gm_err *err, const char *format, ...) GM_PRINTF(3, 4);
gm_status gm_buffer_json_string(gm_buffer *b, const char *text, gm_err *err);
void gm_buffer_free(gm_buffer *b);

/* True for well-formed UTF-8 without NUL; else *bad is the offset of the first wrong byte. */
bool gm_utf8_valid(const char *text, size_t n, size_t *bad);

#endif
