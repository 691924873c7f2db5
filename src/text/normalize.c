/* BERT's normaliser (Devlin et al., NAACL 2019, the released tokeniser) with the tables of utf8proc. Promises the
 * characters of Hugging Face `tokenizers`, and its byte ranges too: after the accents of a character were put in
 * canonical order, its ranges are handed out again in the order of the text. tests/golden/wordpiece.py is the check.
 * The two differ only where Unicode has changed since the tables of either: all code points were tried one by one, and
 * utf8proc 2.8 drops, parts or lowers 624 characters of rare scripts, assigned or reclassified since Unicode 8,
 * otherwise than tokenizers 0.23.3. */
#include "text/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"

enum { DECOMPOSED_MAX = 16, CLASSES = 256 };

typedef struct range {
    int32_t first, last;
} range;

/* The blocks that get blanks round each character. 2B920 (where the block begins at 2B820) is the range that trained
 * vocabularies were used with, so it stays. */
static const range cjk[] = {
    { 0x3400, 0x4DBF },   { 0x4E00, 0x9FFF },   { 0xF900, 0xFAFF },   { 0x20000, 0x2A6DF },
    { 0x2A700, 0x2B73F }, { 0x2B740, 0x2B81F }, { 0x2B920, 0x2CEAF }, { 0x2F800, 0x2FA1F },
};

typedef struct normalizer {
    gm_chars *out;
    size_t run;                       /* index in `out` where the open run of combining characters begins */
    int32_t start, end;               /* bytes of the character being read */
    int32_t before_start, before_end; /* bytes of the character in front of the open run */
    bool lower_case;
} normalizer;

void gm_chars_free(gm_chars *c)
{
    gm_free(c->items);
    *c = (gm_chars){ 0 };
}

static bool is_cjk(int32_t code)
{
    for (size_t i = 0; i < GM_LEN(cjk) && code >= cjk[i].first; i++)
        if (code <= cjk[i].last) return true;
    return false;
}

/* Control, format and private-use characters are dropped, U+0085 with them before anyone asks whether it is blank.
 * Unassigned ones stay, or new emoji would vanish. */
static bool is_dropped(int32_t code, const utf8proc_property_t *p)
{
    return code == 0xFFFD || p->category == UTF8PROC_CATEGORY_CC || p->category == UTF8PROC_CATEGORY_CF ||
           p->category == UTF8PROC_CATEGORY_CO;
}

static bool is_blank(const utf8proc_property_t *p)
{
    return p->category >= UTF8PROC_CATEGORY_ZS && p->category <= UTF8PROC_CATEGORY_ZP;
}

/* Every ASCII symbol counts as punctuation, `$` and `+` too; beyond ASCII only Unicode's P categories. */
static bool is_ascii_symbol(int32_t code)
{
    return (code > ' ' && code < '0') || (code > '9' && code < 'A') || (code > 'Z' && code < 'a') ||
           (code > 'z' && code < 127);
}

static bool is_punct(int32_t code, const utf8proc_property_t *p)
{
    if (code < 128) return is_ascii_symbol(code);
    return p->category >= UTF8PROC_CATEGORY_PC && p->category <= UTF8PROC_CATEGORY_PO;
}

/* Puts a run of combining characters in canonical order: stable, by class, in linear time, since a text may hold a
 * run of any length. */
static gm_status sort_run(gm_chars *out, size_t run, gm_err *err)
{
    const size_t length = out->count - run;
    size_t place[CLASSES] = { 0 }, sum = 0;
    for (size_t i = run; i < out->count; i++) {
        const size_t spare = out->count + i - run;
        GM_TRY(gm_grow((void **)&out->items, &out->capacity, spare, sizeof *out->items, err));
        out->items[spare] = out->items[i];
        place[out->items[i].order]++;
    }
    for (size_t order = 0; order < CLASSES; order++) {
        const size_t count = place[order];
        place[order] = sum;
        sum += count;
    }
    const gm_char *copy = out->items + out->count;
    for (size_t i = 0; i < length; i++) out->items[run + place[copy[i].order]++] = copy[i];
    return GM_OK;
}

/* In the order of the text, each first character of a decomposition takes the next source character's bytes, and a
 * later one those of the source character before it. */
static void hand_out_ranges(gm_char *run, const gm_char *text_order, size_t length, int32_t start, int32_t end)
{
    size_t next = 0;
    for (size_t i = 0; i < length; i++) {
        if (!run[i].is_extra) {
            while (text_order[next].is_extra) next++;
            start = text_order[next].start;
            end = text_order[next].end;
            next++;
        }
        run[i].start = start;
        run[i].end = end;
    }
}

static bool is_accent(const gm_char *c) { return utf8proc_get_property(c->code)->category == UTF8PROC_CATEGORY_MN; }

/* Ends the open run: canonical order, then its accents go. Hardly any run keeps a character (spacing marks with a
 * combining class do), so only those pay for the sort. */
static gm_status close_run(normalizer *z, gm_err *err)
{
    gm_chars *out = z->out;
    const size_t length = out->count - z->run;
    size_t kept = 0;
    for (size_t i = z->run; i < out->count; i++) kept += !is_accent(&out->items[i]);
    if (kept > 0 && length > 1) {
        GM_TRY(sort_run(out, z->run, err));
        hand_out_ranges(out->items + z->run, out->items + out->count, length, z->before_start, z->before_end);
    }
    size_t to = z->run;
    for (size_t i = z->run; kept > 0 && i < out->count; i++)
        if (!is_accent(&out->items[i])) out->items[to++] = out->items[i];
    out->count = z->run = to;
    return GM_OK;
}

static gm_status append(normalizer *z, gm_char c, gm_err *err)
{
    gm_chars *out = z->out;
    GM_TRY(gm_grow((void **)&out->items, &out->capacity, out->count, sizeof *out->items, err));
    out->items[out->count++] = c;
    return GM_OK;
}

/* A character that starts anew: whatever run of combining characters stood open before it ends. */
static gm_status add_start(normalizer *z, int32_t code, gm_char_kind kind, bool is_extra, gm_err *err)
{
    if (z->out->count > z->run) GM_TRY(close_run(z, err));
    const gm_char c = { .code = code, .start = z->start, .end = z->end, .kind = (uint8_t)kind, .is_extra = is_extra };
    z->before_start = z->start;
    z->before_end = z->end;
    GM_TRY(append(z, c, err));
    z->run = z->out->count;
    return GM_OK;
}

/* ASCII, most of all text, needs no table. */
static gm_status add_ascii(normalizer *z, int32_t code, gm_err *err)
{
    if (code == ' ' || code == '\t' || code == '\n' || code == '\r')
        return add_start(z, ' ', GM_CHAR_BLANK, false, err);
    if (code < ' ' || code == 127) return GM_OK;
    if (z->lower_case && code >= 'A' && code <= 'Z') code += 'a' - 'A';
    return add_start(z, code, is_ascii_symbol(code) ? GM_CHAR_PUNCT : GM_CHAR_WORD, false, err);
}

/* One code point of the decomposed text. A nonspacing mark of class 0 is no part of a run, but parts two of them. */
static gm_status add(normalizer *z, int32_t code, bool is_extra, gm_err *err)
{
    const utf8proc_property_t *p = utf8proc_get_property(code);
    if (z->lower_case && p->combining_class > 0) {
        gm_char mark = { .code = code, .start = z->start, .end = z->end, .is_extra = is_extra };
        mark.order = (uint8_t)p->combining_class;
        return append(z, mark, err);
    }
    const gm_char_kind kind = is_punct(code, p) ? GM_CHAR_PUNCT : GM_CHAR_WORD;
    GM_TRY(add_start(z, z->lower_case ? utf8proc_tolower(code) : code, kind, is_extra, err));
    if (z->lower_case && p->category == UTF8PROC_CATEGORY_MN) z->run = --z->out->count;
    return GM_OK;
}

static gm_status add_decomposed(normalizer *z, int32_t code, gm_err *err)
{
    if (!z->lower_case) return add(z, code, false, err);
    utf8proc_int32_t parts[DECOMPOSED_MAX];
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const utf8proc_ssize_t count = utf8proc_decompose_char(code, parts, DECOMPOSED_MAX, UTF8PROC_DECOMPOSE, &boundary);
    if (count < 0 || count > DECOMPOSED_MAX)
        return gm_fail(err, GM_ERR_DATA, "byte %d: U+%04X cannot be decomposed: %s", (int)z->start, (unsigned)code,
                       utf8proc_errmsg(count));
    for (utf8proc_ssize_t i = 0; i < count; i++) GM_TRY(add(z, parts[i], i > 0, err));
    return GM_OK;
}

static gm_status add_source(normalizer *z, int32_t code, gm_err *err)
{
    if (code < 128) return add_ascii(z, code, err);
    const utf8proc_property_t *p = utf8proc_get_property(code);
    if (is_dropped(code, p)) return GM_OK;
    if (is_blank(p)) return add_ascii(z, ' ', err);
    if (!is_cjk(code)) return add_decomposed(z, code, err);
    GM_TRY(add_ascii(z, ' ', err));
    GM_TRY(add_decomposed(z, code, err));
    return add_ascii(z, ' ', err);
}

gm_status gm_normalize(const char *text, size_t n, bool lower_case, gm_chars *out, gm_err *err)
{
    if (n > INT32_MAX)
        return gm_fail(err, GM_ERR_DATA, "a text of %zu bytes is too long: at most %d fit", n, INT32_MAX);
    normalizer z = { .out = out, .lower_case = lower_case };
    out->count = 0;
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t code = -1;
        const utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(n - at), &code);
        if (bytes <= 0 || code == 0)
            return gm_fail(err, GM_ERR_DATA, "byte %zu (0x%02X): %s; the text must be UTF-8 without NUL", at,
                           (unsigned)(unsigned char)text[at], code == 0 ? "a NUL" : "not UTF-8");
        z.start = (int32_t)at;
        at += (size_t)bytes;
        z.end = (int32_t)at;
        GM_TRY(add_source(&z, code, err));
    }
    return out->count > z.run ? close_run(&z, err) : GM_OK;
}
