/* Shapes of words by the general categories of Unicode. A capital behind anything but a letter begins a part of the word;
 * accents and other marks belong to the letter before them. */
#include "text/shape.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

/* What stands in a word. */
typedef struct content {
    int starts, capitals;   /* capitals that begin a part; capitals inside one */
    int lower, caseless, digits, punctuation, symbols;
    bool begins_upper;      /* the first letter is a capital */
} content;

static void count_letter(content *c, bool is_upper, bool is_inside)
{
    if (c->lower + c->starts + c->capitals == 0) c->begins_upper = is_upper;
    c->lower += !is_upper;
    c->starts += is_upper && !is_inside;
    c->capitals += is_upper && is_inside;
}

/* Counts one character; true where it is a letter or belongs to one. */
static bool count(content *c, utf8proc_int32_t code, bool is_inside)
{
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: count_letter(c, true, is_inside); return true;
    case UTF8PROC_CATEGORY_LL: count_letter(c, false, is_inside); return true;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: c->caseless++; return true;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return is_inside;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: c->digits++; return false;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: c->punctuation++; return false;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: c->symbols++; return false;
    default: return false;
    }
}

static content look_at(const char *word)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)word;
    content c = { 0 };
    bool is_inside = false;
    while (*at != '\0') {
        utf8proc_int32_t code;
        const utf8proc_ssize_t bytes = utf8proc_iterate(at, -1, &code);
        if (bytes > 0) is_inside = count(&c, code, is_inside);
        at += bytes > 0 ? bytes : 1;
    }
    return c;
}

static gm_shape of_letters(const content *c)
{
    const int upper = c->starts + c->capitals;
    if (upper == 0) return GM_SHAPE_LOWER;
    if (c->lower == 0) return upper == 1 ? GM_SHAPE_INITIAL : GM_SHAPE_UPPER;
    return c->capitals == 0 && c->begins_upper ? GM_SHAPE_CAPITALISED : GM_SHAPE_MIXED;
}

static bool begins(const char *word, const char *with) { return strncasecmp(word, with, strlen(with)) == 0; }

gm_shape gm_shape_of(const char *word)
{
    const content c = look_at(word);
    const int upper = c.starts + c.capitals, letters = upper + c.lower;
    const bool names = letters + c.caseless + c.digits > 0; /* a bare @ or # is punctuation */
    if (begins(word, "http://") || begins(word, "https://") || begins(word, "www.")) return GM_SHAPE_URL;
    if (names && word[0] == '@') return GM_SHAPE_USER;
    if (names && word[0] == '#') return upper > 0 ? GM_SHAPE_TAG_UPPER : GM_SHAPE_TAG_LOWER;
    if (letters > 0 && c.digits > 0) return upper > 0 ? GM_SHAPE_DIGITS_UPPER : GM_SHAPE_DIGITS_LOWER;
    if (letters > 0) return of_letters(&c);
    if (c.caseless > 0) return GM_SHAPE_CASELESS;
    if (c.digits > 0) return GM_SHAPE_DIGITS;
    if (c.symbols > 0) return GM_SHAPE_SYMBOL;
    return c.punctuation > 0 ? GM_SHAPE_PUNCTUATION : GM_SHAPE_OTHER;
}
