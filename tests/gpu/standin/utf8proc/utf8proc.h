/* Stands in for utf8proc on a GPU machine that lacks it: encoding and decoding are whole, the tables are not. Every
 * character beyond ASCII is a letter without case or parts, so words with accents are cut otherwise than with the library;
 * a comparison of two runs of one program does not mind. */
#ifndef GM_STANDIN_UTF8PROC_H
#define GM_STANDIN_UTF8PROC_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t utf8proc_int32_t;
typedef uint8_t utf8proc_uint8_t;
typedef ptrdiff_t utf8proc_ssize_t;
typedef enum utf8proc_category_t {
    UTF8PROC_CATEGORY_LO, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO, UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZP,
    UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CF, UTF8PROC_CATEGORY_CO
} utf8proc_category_t;
typedef struct utf8proc_property_t { int category, combining_class; } utf8proc_property_t;
typedef enum utf8proc_option_t { UTF8PROC_DECOMPOSE = 1 } utf8proc_option_t;
enum { UTF8PROC_BOUNDCLASS_START = 0 };

const utf8proc_property_t *utf8proc_get_property(utf8proc_int32_t code);
utf8proc_ssize_t utf8proc_iterate(const utf8proc_uint8_t *text, utf8proc_ssize_t size, utf8proc_int32_t *code);
utf8proc_ssize_t utf8proc_encode_char(utf8proc_int32_t code, utf8proc_uint8_t *to);
utf8proc_ssize_t utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *to, utf8proc_ssize_t room, utf8proc_option_t options, int *boundary);
utf8proc_int32_t utf8proc_tolower(utf8proc_int32_t code);
const char *utf8proc_errmsg(utf8proc_ssize_t code);

#endif
