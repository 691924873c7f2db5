/* A text as BERT's WordPiece reads it: cleaned, blanks round CJK characters, and for uncased vocabularies decomposed
 * (NFD), without accents and in lower case. Each character keeps the bytes of the input it came from. */
#ifndef GM_TEXT_NORMALIZE_H
#define GM_TEXT_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum gm_char_kind { GM_CHAR_WORD, GM_CHAR_BLANK, GM_CHAR_PUNCT } gm_char_kind;

typedef struct gm_char {
    int32_t code;       /* code point after all rules */
    int32_t start, end; /* bytes of the input, [start, end) */
    uint8_t kind;       /* gm_char_kind */
    uint8_t order;      /* canonical combining class; 0 for what starts a character */
    bool is_extra;      /* second or later character of a decomposition */
} gm_char;

typedef struct gm_chars { gm_char *items; size_t count, capacity; } gm_chars;
void gm_chars_free(gm_chars *c);

/* Replaces what stood in `out`, keeping its memory. Bad UTF-8 or a NUL: GM_ERR_DATA with the offset. */
gm_status gm_normalize(const char *text, size_t n, bool lower_case, gm_chars *out, gm_err *err);

#endif
