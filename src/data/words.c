/* Categories are those of Unicode as utf8proc has them, which is what the word class of ReFineG's scripts looks at: letters and
 * numbers of any script and the underscore. Marks are no letters there, and none here. */
#include "data/words.h"

#include <string.h>

#include <utf8proc.h>

#include "base/json.h"
#include "base/memory.h"

static int32_t next_code(const char *at, int32_t *bytes)
{
    utf8proc_int32_t code;
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)at, -1, &code);
    *bytes = n > 0 ? (int32_t)n : 1; /* texts were checked before: this never happens */
    return code;
}

static bool is_alphanumeric(int32_t code)
{
    const utf8proc_category_t c = utf8proc_category(code);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) || (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
}

static bool is_word_class(int32_t code) { return code == '_' || is_alphanumeric(code); }

static bool is_blank(int32_t code)
{
    const utf8proc_category_t c = utf8proc_category(code);
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F) || code == 0x85 || c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL ||
           c == UTF8PROC_CATEGORY_ZP;
}

void gm_words_free(gm_words *w)
{
    gm_free(w->items);
    *w = (gm_words) { 0 };
}

gm_status gm_words_of(const char *text, size_t n, gm_words *to, gm_err *err)
{
    size_t bad;
    to->count = 0;
    if (n > INT32_MAX) return gm_fail(err, GM_ERR_DATA, "a text of %zu bytes is too long", n);
    if (!gm_utf8_valid(text, n, &bad)) return gm_fail(err, GM_ERR_DATA, "byte %zu of the text is not UTF-8", bad + 1);
    bool is_inside = false;
    int32_t bytes;
    for (int32_t at = 0; at < (int32_t)n; at += bytes) {
        const int32_t code = next_code(text + at, &bytes);
        const bool is_class = is_word_class(code);
        if (is_class && is_inside) {
            to->items[to->count - 1].end = at + bytes;
        } else if (is_class || !is_blank(code)) {
            GM_TRY(gm_grow((void **)&to->items, &to->capacity, (size_t)to->count, sizeof *to->items, err));
            to->items[to->count++] = (gm_word) { at, at + bytes };
        }
        is_inside = is_class;
    }
    return GM_OK;
}

char *gm_words_slice(const gm_words *w, const char *text, int32_t first, int32_t last)
{
    const int32_t start = w->items[first].start;
    return gm_strndup(text + start, (size_t)(w->items[last].end - start));
}

int32_t gm_words_length(const gm_words *w, const char *text)
{
    int32_t length = 0, bytes;
    for (int32_t i = 0; i < w->count; i++) {
        bool is_counted = false; /* the run of narrow letters that ends here */
        for (int32_t at = w->items[i].start; at < w->items[i].end; at += bytes) {
            const int32_t code = next_code(text + at, &bytes);
            const bool is_wide = utf8proc_charwidth(code) == 2 && utf8proc_category(code) == UTF8PROC_CATEGORY_LO;
            length += is_wide || !is_counted;
            is_counted = !is_wide;
        }
    }
    return length;
}

char *gm_text_folded(const char *text)
{
    enum { MAX_PARTS = 32 };
    size_t size = 0, capacity = 0;
    char *folded = NULL;
    int32_t bytes;
    for (const char *at = text; *at != '\0'; at += bytes) {
        utf8proc_int32_t parts[MAX_PARTS];
        int boundary = 0;
        const int32_t code = next_code(at, &bytes);
        const utf8proc_ssize_t n = utf8proc_decompose_char(code, parts, MAX_PARTS, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD, &boundary);
        for (utf8proc_ssize_t i = 0; i < n && i < MAX_PARTS; i++) {
            utf8proc_uint8_t utf8[4];
            if (!is_alphanumeric(parts[i])) continue;
            const utf8proc_ssize_t length = utf8proc_encode_char(parts[i], utf8);
            for (utf8proc_ssize_t k = 0; k < length; k++) {
                if (gm_grow((void **)&folded, &capacity, size, 1, NULL) != GM_OK) goto none;
                folded[size++] = (char)utf8[k];
            }
        }
    }
    if (gm_grow((void **)&folded, &capacity, size, 1, NULL) != GM_OK) goto none;
    folded[size] = '\0';
    return folded;
none:
    gm_free(folded);
    return NULL;
}

/* ---- names ---- */

/* Which name each byte of the text belongs to (0: none, k + 1) and where one begins. */
typedef struct marks {
    const gm_words *words;
    const char *text;
    int32_t size;
    int32_t *owner;
    bool *begins, *is_edge; /* is_edge: a word begins or ends before this byte; [size + 1] */
    gm_words name_words;
    int32_t inside_words;
} marks;

static bool mark(marks *m, gm_named *n, int32_t number, int32_t start, int32_t end)
{
    if (n->found < 0) n->found = 0;
    for (int32_t i = start; i < end; i++)
        if (m->owner[i] != 0) return false;
    for (int32_t i = start; i < end; i++) m->owner[i] = number + 1;
    m->begins[start] = true;
    m->inside_words += !m->is_edge[start] || !m->is_edge[end];
    n->found++;
    return true;
}

static void mark_bytes(marks *m, gm_named *n, int32_t number)
{
    const int32_t length = (int32_t)strlen(n->name);
    const char *at = m->text;
    while ((at = strstr(at, n->name)) != NULL) {
        const int32_t start = (int32_t)(at - m->text);
        at += mark(m, n, number, start, start + length) ? length : 1;
    }
}

/* Whether the words of the name stand in the text from its word `first` on. */
static bool reads(const marks *m, const char *name, int32_t first)
{
    const gm_words *own = &m->name_words;
    if (own->count == 0 || own->count > m->words->count - first) return false;
    for (int32_t i = 0; i < own->count; i++) {
        const gm_word a = m->words->items[first + i], b = own->items[i];
        if (a.end - a.start != b.end - b.start || memcmp(m->text + a.start, name + b.start, (size_t)(a.end - a.start)) != 0) return false;
    }
    return true;
}

static gm_status mark_words(marks *m, gm_named *n, int32_t number, gm_err *err)
{
    GM_TRY(gm_words_of(n->name, strlen(n->name), &m->name_words, err));
    for (int32_t w = 0; w < m->words->count;) {
        const int32_t last = w + m->name_words.count - 1;
        const bool is_marked = reads(m, n->name, w) && mark(m, n, number, m->words->items[w].start, m->words->items[last].end);
        w = is_marked ? last + 1 : w + 1;
    }
    return GM_OK;
}

/* Characters, not bytes: the order in which names are marked follows it. */
static int32_t characters(const char *name)
{
    int32_t count = 0;
    for (; *name != '\0'; name++) count += ((unsigned char)*name & 0xC0) != 0x80;
    return count;
}

/* Longest first, names of one length in their order; empty names are left out. Returns how many there are. */
static int32_t sort_names(const gm_named *names, int32_t count, int32_t *order)
{
    int32_t sorted = 0;
    for (int32_t k = 0; k < count; k++) {
        const int32_t length = characters(names[k].name);
        if (length == 0) continue;
        int32_t at = sorted++;
        for (; at > 0 && characters(names[order[at - 1]].name) < length; at--) order[at] = order[at - 1];
        order[at] = k;
    }
    return sorted;
}

static gm_status mark_all(marks *m, gm_named *names, int32_t count, gm_err *err)
{
    int32_t *order = gm_calloc((size_t)count + 1, sizeof *order);
    if (order == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for names");
    gm_status status = GM_OK;
    for (int32_t k = 0; k < count; k++) names[k].found = -1;
    const int32_t sorted = sort_names(names, count, order);
    for (int32_t i = 0; i < sorted && status == GM_OK; i++) {
        gm_named *n = &names[order[i]];
        mark_bytes(m, n, order[i]);
        if (n->found < 0) status = mark_words(m, n, order[i], err);
    }
    gm_free(order);
    return status;
}

/* The BIO tag of a word: the first character that begins a name decides, else the first that belongs to one. */
static int32_t tag_of(const marks *m, const gm_named *names, gm_word w)
{
    int32_t inside = 0;
    for (int32_t i = w.start; i < w.end; i++) {
        if (m->owner[i] == 0) continue;
        const int32_t type = names[m->owner[i] - 1].type;
        if (m->begins[i]) return 1 + 2 * type;
        if (inside == 0) inside = 2 + 2 * type;
    }
    return inside;
}

static gm_status name_words(marks *m, gm_named *names, int32_t name_count, gm_span *spans, int32_t *span_count, gm_err *err)
{
    int32_t *tags = gm_calloc((size_t)m->words->count + 1, sizeof *tags);
    if (tags == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for tags");
    for (int32_t w = 0; w < m->words->count; w++) {
        m->is_edge[m->words->items[w].start] = true;
        m->is_edge[m->words->items[w].end] = true;
    }
    const gm_status status = mark_all(m, names, name_count, err);
    for (int32_t w = 0; w < m->words->count; w++) tags[w] = tag_of(m, names, m->words->items[w]);
    *span_count = gm_tags_decode(GM_TAGS_BIO, tags, m->words->count, spans);
    gm_free(tags);
    return status;
}

gm_status gm_words_name(const gm_words *words, const char *text, gm_named *names, int32_t name_count, gm_span *spans, int32_t *span_count,
                        int32_t *inside_words, gm_err *err)
{
    marks m = { .words = words, .text = text, .size = (int32_t)strlen(text) };
    const size_t room = (size_t)m.size + 1;
    *span_count = *inside_words = 0;
    m.owner = gm_calloc(room, sizeof *m.owner);
    m.begins = gm_calloc(room, sizeof *m.begins);
    m.is_edge = gm_calloc(room, sizeof *m.is_edge);
    gm_status status = m.owner == NULL || m.begins == NULL || m.is_edge == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for a text")
                                                                                : name_words(&m, names, name_count, spans, span_count, err);
    *inside_words = m.inside_words;
    gm_words_free(&m.name_words);
    gm_free(m.owner);
    gm_free(m.begins);
    gm_free(m.is_edge);
    return status;
}
