/* WordPiece (Wu et al., 2016) as BERT uses it: a normalised text is cut at blanks and round each punctuation
 * character, and every word is covered from the left by the longest pieces of the vocabulary. The vocabulary is one
 * block of text and one open-addressing table over it; a word costs no allocation. */
#include "text/wordpiece.h"

#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "base/memory.h"
#include "text/normalize.h"

enum { WORD_MAX = 100, CHAR_BYTES_MAX = 4 }; /* longer words, in normalised characters, are [UNK] */

typedef struct slot {
    uint32_t hash;
    int32_t id;
} slot; /* id -1: free */

struct gm_wordpiece {
    char *text;             /* the file, each piece NUL-ended */
    uint32_t *start, *size; /* [count] of each piece in `text` */
    size_t start_capacity, size_capacity;
    int32_t count;
    slot *slots; /* [mask + 1], at most half full */
    uint32_t mask;
    uint32_t continued; /* hash of "##" */
    size_t longest;     /* bytes of the longest piece, "##" included */
    gm_special_ids special;
    bool lower_case;
};

/* FNV-1a over bytes, continued from `hash`, so that a longer prefix goes on from a shorter one. */
static uint32_t hash_from(uint32_t hash, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

static uint32_t hash_of(const char *bytes, size_t n) { return hash_from(2166136261u, bytes, n); }

/* The piece made of `prefix` ("" or "##") and n bytes, whose hash is known; -1 when there is none. */
static int32_t look_up(const gm_wordpiece *w, uint32_t hash, const char *prefix, const char *bytes, size_t n)
{
    const size_t skipped = strlen(prefix);
    for (uint32_t at = hash & w->mask; w->slots[at].id >= 0; at = (at + 1) & w->mask) {
        if (w->slots[at].hash != hash) continue;
        const int32_t id = w->slots[at].id;
        const char *piece = w->text + w->start[id];
        if (w->size[id] != n + skipped) continue;
        if (memcmp(piece, prefix, skipped) == 0 && memcmp(piece + skipped, bytes, n) == 0) return id;
    }
    return -1;
}

/* ---- loading ---- */

static gm_status add_piece(gm_wordpiece *w, const char *path, size_t start, size_t size, gm_err *err)
{
    const int line = (int)w->count + 1;
    size_t bad;
    if (!gm_utf8_valid(w->text + start, size, &bad))
        return gm_fail(err, GM_ERR_FORMAT,
                       "%s:%d: byte %zu of the line is not UTF-8: a vocabulary is text, one piece a line", path, line,
                       bad);
    if (size == 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s:%d: an empty line, expected a piece: remove the line", path, line);
    GM_TRY(gm_grow((void **)&w->start, &w->start_capacity, (size_t)w->count, sizeof *w->start, err));
    GM_TRY(gm_grow((void **)&w->size, &w->size_capacity, (size_t)w->count, sizeof *w->size, err));
    w->start[w->count] = (uint32_t)start;
    w->size[w->count] = (uint32_t)size;
    w->count++;
    if (size > w->longest) w->longest = size;
    return GM_OK;
}

/* Cuts the file's bytes at line ends, which become the NULs of the pieces. */
static gm_status cut_lines(gm_wordpiece *w, const char *path, size_t bytes, gm_err *err)
{
    for (size_t at = 0; at < bytes;) {
        char *end = memchr(w->text + at, '\n', bytes - at);
        const size_t next = end != NULL ? (size_t)(end - w->text) + 1 : bytes;
        size_t size = end != NULL ? next - 1 - at : bytes - at;
        if (end != NULL && size > 0 && w->text[at + size - 1] == '\r') size--;
        GM_TRY(add_piece(w, path, at, size, err));
        w->text[at + size] = '\0';
        at = next;
    }
    if (w->count == 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s:1: the vocabulary is empty, expected one piece a line", path);
    return GM_OK;
}

static gm_status fill_table(gm_wordpiece *w, const char *path, gm_err *err)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)w->count) slots *= 2;
    w->slots = gm_malloc(slots * sizeof *w->slots);
    if (w->slots == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for %zu slots", path, slots);
    for (size_t i = 0; i < slots; i++) w->slots[i].id = -1;
    w->mask = (uint32_t)(slots - 1);
    for (int32_t id = 0; id < w->count; id++) {
        const char *piece = gm_wordpiece_piece(w, id);
        const uint32_t hash = hash_of(piece, w->size[id]);
        const int32_t first = look_up(w, hash, "", piece, w->size[id]);
        if (first >= 0)
            return gm_fail(err, GM_ERR_FORMAT, "%s:%d: the piece \"%s\" stands already on line %d: each may stand once",
                           path, (int)id + 1, piece, (int)first + 1);
        uint32_t at = hash & w->mask;
        while (w->slots[at].id >= 0) at = (at + 1) & w->mask;
        w->slots[at] = (slot){ hash, id };
    }
    return GM_OK;
}

static gm_status find_special(const gm_wordpiece *w, const char *path, const gm_special_names *names, const char *piece,
                              int32_t *id, gm_err *err)
{
    *id = gm_wordpiece_find(w, piece);
    if (*id >= 0) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT,
                   "%s: the piece %s is missing among %d: %s %s %s %s are needed, is this the encoder's vocab.txt?", path,
                   piece, (int)w->count, names->unknown, names->begin, names->end, names->pad);
}

/* Builds everything from w->text. */
static gm_status understand(gm_wordpiece *w, const char *place, size_t bytes, const gm_special_names *names, gm_err *err)
{
    if (bytes > INT32_MAX)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %zu bytes are too long for a vocabulary: is this vocab.txt?", place,
                       bytes);
    GM_TRY(cut_lines(w, place, bytes, err));
    GM_TRY(fill_table(w, place, err));
    GM_TRY(find_special(w, place, names, names->unknown, &w->special.unknown, err));
    GM_TRY(find_special(w, place, names, names->begin, &w->special.begin, err));
    GM_TRY(find_special(w, place, names, names->end, &w->special.end, err));
    return find_special(w, place, names, names->pad, &w->special.pad, err);
}

static const gm_special_names bert_names = { "[CLS]", "[SEP]", "[PAD]", "[UNK]" };

gm_status gm_wordpiece_parse_named(const char *place, const char *text, size_t bytes, bool lower_case,
                                   const gm_special_names *names, gm_wordpiece **w, gm_err *err)
{
    *w = NULL;
    gm_wordpiece *made = gm_calloc(1, sizeof *made);
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for the vocabulary", place);
    made->lower_case = lower_case;
    made->continued = hash_of("##", 2);
    made->text = gm_strndup(text, bytes);
    const gm_status status = made->text != NULL ? understand(made, place, bytes, names, err)
                                                : gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for the vocabulary", place);
    if (status == GM_OK)
        *w = made;
    else
        gm_wordpiece_destroy(made);
    return status;
}

gm_status gm_wordpiece_parse(const char *place, const char *text, size_t bytes, bool lower_case, gm_wordpiece **w,
                             gm_err *err)
{
    return gm_wordpiece_parse_named(place, text, bytes, lower_case, &bert_names, w, err);
}

void gm_wordpiece_destroy(gm_wordpiece *w)
{
    if (w == NULL) return;
    gm_free(w->text);
    gm_free(w->start);
    gm_free(w->size);
    gm_free(w->slots);
    gm_free(w);
}

int32_t gm_wordpiece_size(const gm_wordpiece *w) { return w->count; }

int32_t gm_wordpiece_find(const gm_wordpiece *w, const char *piece)
{
    const size_t n = strlen(piece);
    return look_up(w, hash_of(piece, n), "", piece, n);
}

const char *gm_wordpiece_piece(const gm_wordpiece *w, int32_t id) { return w->text + w->start[id]; }

gm_special_ids gm_wordpiece_special(const gm_wordpiece *w) { return w->special; }

/* ---- one text ---- */

static gm_status add_to(gm_pieces *out, int32_t id, const gm_char *first, const gm_char *last, gm_err *err)
{
    return gm_pieces_add(out, (gm_piece){ id, first->start, last->end }, err);
}

/* The longest piece that begins at character `from` of a word; *to becomes the character behind it. `at` are the
 * characters' byte offsets in `bytes`. Hashes of all prefixes are made in one pass; then the longest is tried first. */
static int32_t longest_piece(const gm_wordpiece *w, const char *bytes, const size_t *at, size_t from, size_t length,
                             size_t *to)
{
    uint32_t hashes[WORD_MAX];
    const char *prefix = from > 0 ? "##" : "";
    const size_t room = w->longest > strlen(prefix) ? w->longest - strlen(prefix) : 0;
    uint32_t hash = from > 0 ? w->continued : hash_of("", 0);
    size_t end = from;
    while (end < length && at[end + 1] - at[from] <= room) {
        hash = hash_from(hash, bytes + at[end], at[end + 1] - at[end]);
        hashes[end++] = hash;
    }
    for (; end > from; end--) {
        const int32_t id = look_up(w, hashes[end - 1], prefix, bytes + at[from], at[end] - at[from]);
        if (id >= 0) {
            *to = end;
            return id;
        }
    }
    return -1;
}

/* A word that cannot be covered to its end, or is too long to be one, is a single [UNK]. */
static gm_status add_word(const gm_wordpiece *w, const gm_char *word, size_t length, gm_pieces *out, gm_err *err)
{
    if (length > WORD_MAX) return add_to(out, w->special.unknown, word, word + length - 1, err);
    char bytes[WORD_MAX * CHAR_BYTES_MAX];
    size_t at[WORD_MAX + 1] = { 0 };
    for (size_t i = 0; i < length; i++)
        at[i + 1] = at[i] + (size_t)utf8proc_encode_char(word[i].code, (utf8proc_uint8_t *)bytes + at[i]);
    const size_t before = out->count;
    for (size_t from = 0, to = 0; from < length; from = to) {
        const int32_t id = longest_piece(w, bytes, at, from, length, &to);
        if (id < 0) {
            out->count = before;
            return add_to(out, w->special.unknown, word, word + length - 1, err);
        }
        GM_TRY(add_to(out, id, word + from, word + to - 1, err));
    }
    return GM_OK;
}

static gm_status add_text(const gm_wordpiece *w, const char *text, size_t n, gm_chars *chars, gm_pieces *out,
                          gm_err *err)
{
    GM_TRY(gm_normalize(text, n, w->lower_case, chars, err));
    for (size_t i = 0; i < chars->count;) {
        const gm_char *word = chars->items + i;
        size_t length = 0;
        while (i + length < chars->count && word[length].kind == GM_CHAR_WORD) length++;
        if (word->kind == GM_CHAR_PUNCT) length = 1;
        if (length > 0) GM_TRY(add_word(w, word, length, out, err));
        i += length > 0 ? length : 1;
    }
    return GM_OK;
}

gm_status gm_wordpiece_encode_with(const gm_wordpiece *w, gm_chars *chars, const char *text, size_t n, gm_pieces *out,
                                   gm_err *err)
{
    const size_t before = out->count;
    const gm_status s = add_text(w, text, n, chars, out, err);
    if (s != GM_OK) out->count = before;
    return s;
}

gm_status gm_wordpiece_encode(const gm_wordpiece *w, const char *text, size_t n, gm_pieces *out, gm_err *err)
{
    gm_chars chars = { 0 };
    const gm_status s = gm_wordpiece_encode_with(w, &chars, text, n, out, err);
    gm_chars_free(&chars);
    return s;
}
