/* Byte-level BPE. Loaded, it is two tables: the piece of each byte, and the pairs that are merged, each with its rank
 * and the piece it makes. Pieces' names are needed while loading only. */
#include "text/bpe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "text/pattern.h"

typedef struct merge {
    int32_t left, right; /* left -1: a free slot */
    int32_t rank, whole;
} merge;

struct gm_bpe {
    gm_pattern *pattern;
    int32_t byte_piece[256];
    merge *merges; /* [mask + 1], at most half full */
    uint32_t mask;
    int32_t size;
    gm_special_ids special;
};

static uint32_t pair_hash(int32_t left, int32_t right)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

/* The slot of a pair, or the free one where it would go. */
static merge *find_merge(const gm_bpe *b, int32_t left, int32_t right)
{
    uint32_t at = pair_hash(left, right) & b->mask;
    while (b->merges[at].left >= 0 && (b->merges[at].left != left || b->merges[at].right != right)) at = (at + 1) & b->mask;
    return &b->merges[at];
}

/* ---- vocab.json ---- */

typedef struct entry {
    const char *name; /* in the JSON tree */
    int32_t id;
} entry;

typedef struct vocabulary {
    const char *place;
    entry *entries;  /* [count] */
    int32_t *slots;  /* [mask + 1] index of an entry, -1: free */
    size_t count;
    uint32_t mask;
} vocabulary;

/* FNV-1a, continued from `hash`, so that a pair is looked up without joining it. */
static uint32_t hash_from(uint32_t hash, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

/* The slot of the piece made of two parts, or the free one where it would go. */
static uint32_t find_slot(const vocabulary *v, const char *a, size_t a_size, const char *b, size_t b_size)
{
    uint32_t at = hash_from(hash_from(2166136261u, a, a_size), b, b_size) & v->mask;
    for (; v->slots[at] >= 0; at = (at + 1) & v->mask) {
        const char *name = v->entries[v->slots[at]].name;
        if (strncmp(name, a, a_size) == 0 && strncmp(name + a_size, b, b_size) == 0 && name[a_size + b_size] == '\0') break;
    }
    return at;
}

/* -1 when there is no such piece. */
static int32_t find_piece(const vocabulary *v, const char *a, size_t a_size, const char *b, size_t b_size)
{
    const int32_t index = v->slots[find_slot(v, a, a_size, b, b_size)];
    return index >= 0 ? v->entries[index].id : -1;
}

static gm_status add_entry(vocabulary *v, const cJSON *item, gm_err *err)
{
    const char *name = item->string;
    const double id = item->valuedouble;
    if (!cJSON_IsNumber(item) || !(id >= 0 && id < INT32_MAX) || floor(id) != id)
        return gm_fail(err, GM_ERR_FORMAT, "%s: the id of \"%.80s\" is no whole number from 0 to 2^31 - 2", v->place, name);
    const uint32_t at = find_slot(v, name, strlen(name), "", 0);
    if (v->slots[at] >= 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: the piece \"%.80s\" stands twice: each may stand once", v->place, name);
    v->slots[at] = (int32_t)v->count;
    v->entries[v->count++] = (entry){ name, (int32_t)id };
    return GM_OK;
}

static int by_id(const void *a, const void *b)
{
    const int32_t x = ((const entry *)a)->id, y = ((const entry *)b)->id;
    return (x > y) - (x < y);
}

/* Sorting moves the entries, so this comes when nothing is looked up any more. */
static gm_status check_ids(vocabulary *v, gm_err *err)
{
    qsort(v->entries, v->count, sizeof *v->entries, by_id);
    for (size_t i = 1; i < v->count; i++)
        if (v->entries[i].id == v->entries[i - 1].id)
            return gm_fail(err, GM_ERR_FORMAT, "%s: \"%.80s\" and \"%.80s\" have the same id %d", v->place,
                           v->entries[i - 1].name, v->entries[i].name, (int)v->entries[i].id);
    return GM_OK;
}

static gm_status fill_vocabulary(vocabulary *v, const cJSON *root, gm_err *err)
{
    if (!cJSON_IsObject(root)) return gm_fail(err, GM_ERR_FORMAT, "%s: no object, expected {\"piece\": id, ...}", v->place);
    size_t count = 0, slots = 16;
    const cJSON *item;
    cJSON_ArrayForEach(item, root) count++;
    while (slots < 2 * count) slots *= 2;
    v->entries = gm_calloc(count, sizeof *v->entries);
    v->slots = gm_malloc(slots * sizeof *v->slots);
    if (v->entries == NULL || v->slots == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for %zu pieces", v->place, count);
    memset(v->slots, 0xFF, slots * sizeof *v->slots);
    v->mask = (uint32_t)(slots - 1);
    cJSON_ArrayForEach(item, root) GM_TRY(add_entry(v, item, err));
    return GM_OK;
}

static bool prints(int byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD); }

/* GPT-2 writes each byte as one printable character: those that print in Latin-1 stand for themselves, the others for
 * the characters from U+0100 on, in order. */
static size_t spell_byte(int byte, char out[2])
{
    int code = prints(byte) ? byte : 0x100;
    for (int i = 0; i < byte && code >= 0x100; i++) code += !prints(i);
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return 2;
}

static gm_status find_bytes(gm_bpe *b, const vocabulary *v, gm_err *err)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[2];
        const size_t n = spell_byte(byte, name);
        b->byte_piece[byte] = find_piece(v, name, n, "", 0);
        if (b->byte_piece[byte] < 0)
            return gm_fail(err, GM_ERR_FORMAT,
                           "%s: the byte 0x%02X, spelt \"%.*s\", is no piece; byte-level BPE needs all 256: is this RoBERTa's vocab.json?",
                           v->place, (unsigned)byte, (int)n, name);
    }
    return GM_OK;
}

static gm_status find_special(const vocabulary *v, const char *piece, int32_t *id, gm_err *err)
{
    *id = find_piece(v, piece, strlen(piece), "", 0);
    if (*id >= 0) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT, "%s: the special piece %.80s is missing among %zu", v->place, piece, v->count);
}

/* ---- merges.txt ---- */

static gm_status allocate_merges(gm_bpe *b, const gm_bpe_source *merges, gm_err *err)
{
    size_t lines = 1, slots = 16;
    for (size_t i = 0; i < merges->size; i++) lines += merges->bytes[i] == '\n';
    while (slots < 2 * lines) slots *= 2;
    if (merges->size > INT32_MAX) return gm_fail(err, GM_ERR_FORMAT, "%s: %zu bytes are too long for merges", merges->place, merges->size);
    b->merges = gm_malloc(slots * sizeof *b->merges);
    if (b->merges == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for %zu merges", merges->place, lines);
    for (size_t i = 0; i < slots; i++) b->merges[i].left = -1;
    b->mask = (uint32_t)(slots - 1);
    return GM_OK;
}

/* One line, "left right". */
static gm_status add_merge(gm_bpe *b, const vocabulary *v, const char *place, int number, const char *line, size_t size, int32_t rank,
                           gm_err *err)
{
    const char *blank = memchr(line, ' ', size);
    const size_t left_size = blank != NULL ? (size_t)(blank - line) : 0;
    const size_t right_size = blank != NULL ? size - left_size - 1 : 0;
    if (left_size == 0 || right_size == 0 || memchr(blank + 1, ' ', right_size) != NULL)
        return gm_fail(err, GM_ERR_FORMAT, "%s:%d: expected two pieces with one blank between them", place, number);
    const char *right_name = blank + 1;
    const int32_t left = find_piece(v, line, left_size, "", 0), right = find_piece(v, right_name, right_size, "", 0);
    const int32_t whole = find_piece(v, line, left_size, right_name, right_size);
    if (left < 0 || right < 0 || whole < 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s:%d: %s of the pair is no piece of %s: do the two files belong together?", place, number,
                       left < 0 ? "the left part" : right < 0 ? "the right part" : "the whole", v->place);
    merge *slot = find_merge(b, left, right);
    if (slot->left >= 0) return gm_fail(err, GM_ERR_FORMAT, "%s:%d: the pair stands twice: each may stand once", place, number);
    *slot = (merge){ left, right, rank, whole };
    return GM_OK;
}

static gm_status read_merges(gm_bpe *b, const vocabulary *v, const gm_bpe_source *merges, gm_err *err)
{
    static const char version[] = "#version";
    int number = 0;
    int32_t rank = 0;
    GM_TRY(allocate_merges(b, merges, err));
    for (size_t at = 0; at < merges->size;) {
        const char *line = merges->bytes + at, *end = memchr(line, '\n', merges->size - at);
        size_t size = end != NULL ? (size_t)(end - line) : merges->size - at, bad;
        at += size + 1;
        number++;
        if (size > 0 && line[size - 1] == '\r') size--;
        if (size >= sizeof version - 1 && memcmp(line, version, sizeof version - 1) == 0) continue;
        if (!gm_utf8_valid(line, size, &bad))
            return gm_fail(err, GM_ERR_FORMAT, "%s:%d: byte %zu of the line is not UTF-8", merges->place, number, bad);
        GM_TRY(add_merge(b, v, merges->place, number, line, size, rank, err));
        rank++;
    }
    return GM_OK;
}

/* ---- loading ---- */

static gm_status fill(gm_bpe *b, vocabulary *v, const cJSON *root, const gm_bpe_source *merges, const gm_special_names *names, gm_err *err)
{
    GM_TRY(fill_vocabulary(v, root, err));
    GM_TRY(find_bytes(b, v, err));
    GM_TRY(find_special(v, names->begin, &b->special.begin, err));
    GM_TRY(find_special(v, names->end, &b->special.end, err));
    GM_TRY(find_special(v, names->pad, &b->special.pad, err));
    GM_TRY(find_special(v, names->unknown, &b->special.unknown, err));
    GM_TRY(read_merges(b, v, merges, err));
    GM_TRY(check_ids(v, err));
    b->size = v->entries[v->count - 1].id + 1;
    return GM_OK;
}

static gm_status understand(gm_bpe *b, const gm_bpe_source *vocab, const gm_bpe_source *merges, const gm_special_names *names, gm_err *err)
{
    cJSON *root = NULL;
    vocabulary v = { .place = vocab->place };
    GM_TRY(gm_pattern_make(&b->pattern, err));
    gm_status status = gm_json_parse(vocab->bytes, vocab->size, &root, err);
    if (status == GM_ERR_FORMAT) gm_fail_at(err, "%s", vocab->place);
    if (status == GM_OK) status = fill(b, &v, root, merges, names, err);
    gm_free(v.entries);
    gm_free(v.slots);
    cJSON_Delete(root);
    return status;
}

gm_status gm_bpe_parse(const gm_bpe_source *vocab, const gm_bpe_source *merges, const gm_special_names *names, gm_bpe **b, gm_err *err)
{
    *b = NULL;
    gm_bpe *made = gm_calloc(1, sizeof *made);
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for the vocabulary", vocab->place);
    const gm_status status = understand(made, vocab, merges, names, err);
    if (status == GM_OK)
        *b = made;
    else
        gm_bpe_destroy(made);
    return status;
}

void gm_bpe_destroy(gm_bpe *b)
{
    if (b == NULL) return;
    gm_pattern_destroy(b->pattern);
    gm_free(b->merges);
    gm_free(b);
}

int32_t gm_bpe_size(const gm_bpe *b) { return b->size; }
gm_special_ids gm_bpe_special(const gm_bpe *b) { return b->special; }

/* ---- one part of a text ---- */

/* A piece so far; merged ones form a list. */
typedef struct symbol {
    int32_t id;         /* -1: merged into its left neighbour */
    int32_t left, right; /* symbols, -1: none */
    int32_t end;        /* bytes of the text, [its index + the part's first byte, end) */
} symbol;

/* A pair that may be merged, in a heap by rank, then place. It is stale when its symbols have changed meanwhile. */
typedef struct candidate {
    int32_t rank, at, left, right, whole;
} candidate;

struct gm_bpe_memory {
    gm_pattern_memory *match;
    char *text; /* with the blank before it */
    symbol *symbols;
    candidate *heap;
    size_t text_capacity, symbol_capacity, heap_capacity, heap_count;
};

gm_status gm_bpe_memory_make(const gm_bpe *b, gm_bpe_memory **m, gm_err *err)
{
    *m = gm_calloc(1, sizeof **m);
    if (*m == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a tokenizer's working space");
    const gm_status status = gm_pattern_memory_make(b->pattern, &(*m)->match, err);
    if (status != GM_OK) {
        gm_free(*m);
        *m = NULL;
    }
    return status;
}

void gm_bpe_memory_destroy(gm_bpe_memory *m)
{
    if (m == NULL) return;
    gm_pattern_memory_destroy(m->match);
    gm_free(m->text);
    gm_free(m->symbols);
    gm_free(m->heap);
    gm_free(m);
}

static gm_status reserve(void **array, size_t *capacity, size_t count, size_t element_bytes, gm_err *err)
{
    while (*capacity < count) GM_TRY(gm_grow(array, capacity, *capacity, element_bytes, err));
    return GM_OK;
}

static bool comes_before(const candidate *a, const candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void push(gm_bpe_memory *m, candidate c)
{
    size_t at = m->heap_count++;
    while (at > 0 && comes_before(&c, &m->heap[(at - 1) / 2])) {
        m->heap[at] = m->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->heap[at] = c;
}

static candidate pop(gm_bpe_memory *m)
{
    const candidate top = m->heap[0], last = m->heap[--m->heap_count];
    size_t at = 0;
    for (size_t child = 1; child < m->heap_count; child = 2 * at + 1) {
        if (child + 1 < m->heap_count && comes_before(&m->heap[child + 1], &m->heap[child])) child++;
        if (!comes_before(&m->heap[child], &last)) break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = last;
    return top;
}

/* Makes a symbol and its right neighbour a candidate, if there is a merge for them. */
static void offer(const gm_bpe *b, gm_bpe_memory *m, int32_t at)
{
    if (at < 0 || m->symbols[at].right < 0) return;
    const int32_t left = m->symbols[at].id, right = m->symbols[m->symbols[at].right].id;
    const merge *found = find_merge(b, left, right);
    if (found->left >= 0) push(m, (candidate){ found->rank, at, left, right, found->whole });
}

/* Each symbol is offered at most once at first and twice after a merge, and there are fewer merges than symbols. */
static gm_status merge_part(const gm_bpe *b, gm_bpe_memory *m, size_t first, size_t end, gm_err *err)
{
    const int32_t count = (int32_t)(end - first);
    GM_TRY(reserve((void **)&m->symbols, &m->symbol_capacity, (size_t)count, sizeof *m->symbols, err));
    GM_TRY(reserve((void **)&m->heap, &m->heap_capacity, 3 * (size_t)count, sizeof *m->heap, err));
    for (int32_t i = 0; i < count; i++) {
        const unsigned char byte = (unsigned char)m->text[first + (size_t)i];
        m->symbols[i] = (symbol){ b->byte_piece[byte], i - 1, i + 1 < count ? i + 1 : -1, (int32_t)first + i + 1 };
    }
    m->heap_count = 0;
    for (int32_t i = 0; i < count; i++) offer(b, m, i);
    while (m->heap_count > 0) {
        const candidate c = pop(m);
        symbol *left = &m->symbols[c.at];
        if (left->id != c.left || left->right < 0 || m->symbols[left->right].id != c.right) continue;
        symbol *right = &m->symbols[left->right];
        *left = (symbol){ c.whole, left->left, right->right, right->end };
        right->id = -1;
        if (left->right >= 0) m->symbols[left->right].left = c.at;
        offer(b, m, left->left);
        offer(b, m, c.at);
    }
    return GM_OK;
}

/* ---- ranges ---- */

/* What the ranges need to know: m->text is `text` behind `shift` blanks. */
typedef struct origin {
    const char *text;
    size_t n, shift;
} origin;

static size_t start_of_character(const origin *o, size_t at)
{
    while (at > 0 && ((unsigned char)o->text[at] & 0xC0) == 0x80) at--;
    return at;
}

static size_t end_of_character(const origin *o, size_t at)
{
    for (at++; at < o->n && ((unsigned char)o->text[at] & 0xC0) == 0x80;) at++;
    return at;
}

/* Bytes [first, end) of the text with its blank become whole characters of the text without it. Blanks at the ends are
 * left out, but one of the very first piece: the blank put before the text stands for the first character, as in
 * `tokenizers`, and where a text brings its own, `tokenizers` takes that one for it. */
static gm_piece piece_of(const origin *o, const char *bytes, int32_t id, size_t first, size_t end)
{
    size_t before = 0, behind = 0;
    while (first + before < end && bytes[first + before] == ' ') before++;
    while (behind < end - first && bytes[end - 1 - behind] == ' ') behind++;
    size_t from = start_of_character(o, first >= o->shift ? first - o->shift : 0);
    size_t to = end_of_character(o, end > o->shift ? end - 1 - o->shift : 0);
    if (first == 0 && before > 0) before--;
    from = from + before < to ? from + before : to;
    to = to >= from + behind ? to - behind : from;
    if (first == 0 && behind == end) to = from; /* blanks only: nothing, however long the first character is */
    return (gm_piece){ id, (int32_t)from, (int32_t)to };
}

static gm_status add_parts(const gm_bpe *b, gm_bpe_memory *m, const origin *o, gm_pieces *out, gm_err *err)
{
    const size_t n = o->n + o->shift;
    for (size_t first = 0, end = 0; first < n; first = end) {
        GM_TRY(gm_pattern_next(b->pattern, m->match, m->text, n, first, &end, err));
        GM_TRY(merge_part(b, m, first, end, err));
        for (int32_t i = 0; i >= 0; i = m->symbols[i].right)
            GM_TRY(gm_pieces_add(out, piece_of(o, m->text, m->symbols[i].id, first + (size_t)i, (size_t)m->symbols[i].end), err));
    }
    return GM_OK;
}

gm_status gm_bpe_encode(const gm_bpe *b, gm_bpe_memory *m, const char *text, size_t n, gm_pieces *out, gm_err *err)
{
    const origin o = { text, n, n > 0 && text[0] != ' ' };
    const size_t before = out->count;
    GM_TRY(gm_text_check(text, n, err));
    GM_TRY(reserve((void **)&m->text, &m->text_capacity, n + 1, 1, err));
    m->text[0] = ' ';
    if (n > 0) memcpy(m->text + o.shift, text, n);
    const gm_status status = add_parts(b, m, &o, out, err);
    if (status != GM_OK) out->count = before;
    return status;
}
