/* What the golden tests of tokenizers share: a JSON file made by a script beside it holds hashes of what another
 * implementation says about the sentences of the shared data, one row a block, and its pieces of nasty strings. */
#ifndef GM_TESTS_TEXT_GOLDEN_H
#define GM_TESTS_TEXT_GOLDEN_H

#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/pieces.h"
#include "text/tokenizer.h"

enum { GOLDEN_WORDS_MAX = 1024, GOLDEN_COLUMNS_MAX = 8 };

static cJSON *golden;
static gm_err err;

static const cJSON *field(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    if (value == NULL) fail_msg("the golden file: \"%s\" is missing", name);
    return value;
}

static void read_golden(const char *name)
{
    char *text = NULL, path[512];
    size_t size = 0;
    snprintf(path, sizeof path, GM_SOURCE_DIR "/tests/golden/%s", name);
    assert_ok(gm_file_read(path, &text, &size, &err));
    assert_ok(gm_json_parse(text, size, &golden, &err));
    gm_free(text);
}

/* ---- hashes: FNV-1a with 64 bits over 32-bit numbers ---- */

typedef struct hash {
    uint64_t value;
} hash;
typedef struct block {
    hash column[GOLDEN_COLUMNS_MAX];
} block;

static block new_block(void)
{
    block b;
    for (int i = 0; i < GOLDEN_COLUMNS_MAX; i++) b.column[i].value = UINT64_C(0xCBF29CE484222325);
    return b;
}

static void add(hash *h, int32_t number) { h->value = (h->value ^ (uint32_t)number) * UINT64_C(0x100000001B3); }

static void add_pieces(hash *h, const gm_pieces *p)
{
    for (size_t i = 0; i < p->count; i++) {
        add(h, p->items[i].id);
        add(h, p->items[i].start);
        add(h, p->items[i].end);
    }
    add(h, -1);
}

static void add_sentence(hash *h, const gm_encoded *e)
{
    for (int32_t i = 0; i < e->count; i++) add(h, e->ids[i]);
    add(h, -1);
    for (int32_t i = 0; i < e->words; i++) add(h, e->first_piece[i]);
    add(h, -1);
    add(h, e->words);
    add(h, e->is_cut);
}

static void compare_block(const cJSON *file, const block *b, int index, int block_size)
{
    const cJSON *want = cJSON_GetArrayItem(field(file, "blocks"), index);
    if (want == NULL) fail_msg("%s: more than %d blocks", field(file, "path")->valuestring, index);
    for (int i = 0; i < cJSON_GetArraySize(want); i++) {
        char got[17];
        snprintf(got, sizeof got, "%016llx", (unsigned long long)b->column[i].value);
        const char *expected = cJSON_GetArrayItem(want, i)->valuestring;
        if (strcmp(got, expected) != 0)
            fail_msg("%s: first difference in block %d (sentences %d to %d), column %s: %s, expected %s",
                     field(file, "path")->valuestring, index, index * block_size, (index + 1) * block_size - 1,
                     cJSON_GetArrayItem(field(golden, "columns"), i)->valuestring, got, expected);
    }
}

/* ---- the data sets ---- */

typedef struct counts {
    int sentences, words, pieces_of_texts, pieces_of_words, words_without_pieces;
} counts;
typedef struct sentence {
    char *words[GOLDEN_WORDS_MAX];
    int32_t count;
    char *text; /* the words joined by one blank */
    size_t length, capacity;
} sentence;

/* Each word alone into column `words`, and the words as sentences of each of the golden file's lengths into the columns behind. */
static void add_words(const gm_tokenizer *t, const sentence *s, block *b, int words, int columns, counts *c)
{
    gm_pieces p = { 0 };
    for (int32_t i = 0; i < s->count; i++) {
        p.count = 0;
        assert_ok(gm_tokenizer_encode(t, s->words[i], strlen(s->words[i]), &p, &err));
        add_pieces(&b->column[words], &p);
        c->pieces_of_words += (int)p.count;
        c->words_without_pieces += p.count == 0;
    }
    gm_pieces_free(&p);
    int column = words + 1;
    const cJSON *length;
    cJSON_ArrayForEach(length, field(golden, "max_len"))
    {
        gm_encoded e;
        assert_ok(gm_tokenizer_sentence(t, s->words, s->count, length->valueint, &e, &err));
        add_sentence(&b->column[column++], &e);
        gm_encoded_free(&e);
    }
    assert_int_equal(column, columns);
}

static void join(sentence *s)
{
    s->length = 0;
    for (int32_t i = 0; i < s->count; i++) {
        const size_t n = strlen(s->words[i]);
        while (s->length + n + 2 > s->capacity) {
            s->capacity = s->capacity * 2 + 256;
            s->text = gm_realloc(s->text, s->capacity);
            assert_non_null(s->text);
        }
        if (i > 0) s->text[s->length++] = ' ';
        memcpy(s->text + s->length, s->words[i], n + 1);
        s->length += n;
    }
}

/* True where the golden file says that the sentence has more than one right answer. */
static bool is_tie(const cJSON *file, int number)
{
    const cJSON *tie, *ties = cJSON_GetObjectItemCaseSensitive(file, "ties");
    cJSON_ArrayForEach(tie, ties) if (tie->valueint == number) return true;
    return false;
}

/* Adds one sentence to the block's columns and to the counts, but for counts.sentences. */
typedef void (*look_at)(const sentence *s, block *b, counts *c);

static void end_sentence(const cJSON *file, sentence *s, block *b, counts *c, look_at look)
{
    join(s);
    if (!is_tie(file, c->sentences)) {
        c->words += s->count;
        look(s, b, c);
    }
    c->sentences++;
    while (s->count > 0) gm_free(s->words[--s->count]);
}

static void check_counts(const cJSON *file, const counts *c)
{
    assert_int_equal(c->sentences, field(file, "sentences")->valueint);
    assert_int_equal(c->words, field(file, "words")->valueint);
    assert_int_equal(c->pieces_of_texts, field(file, "pieces_of_texts")->valueint);
    assert_int_equal(c->pieces_of_words, field(file, "pieces_of_words")->valueint);
    assert_int_equal(c->words_without_pieces, field(file, "words_without_pieces")->valueint);
}

/* Reads one file of the shared data as the script did: the first column is the word, a blank line ends a sentence, an
 * IMGID line begins one. */
static void check_file(const cJSON *file, look_at look)
{
    const int block_size = field(golden, "block")->valueint;
    gm_lines lines = { 0 };
    static sentence s;
    counts c = { 0 };
    block b = new_block();
    bool have = true;
    assert_ok(gm_lines_open(&lines, gmt_shared(field(file, "path")->valuestring), &err));
    while (have) {
        assert_ok(gm_lines_next(&lines, &have, &err));
        if (have && strncmp(lines.line, "IMGID:", 6) == 0) continue;
        if (have && lines.length > 0) {
            assert_true(s.count < GOLDEN_WORDS_MAX);
            s.words[s.count++] = gm_strndup(lines.line, strcspn(lines.line, "\t"));
            continue;
        }
        if (s.count == 0) continue;
        end_sentence(file, &s, &b, &c, look);
        if (c.sentences % block_size != 0) continue;
        compare_block(file, &b, c.sentences / block_size - 1, block_size);
        b = new_block();
    }
    if (c.sentences % block_size != 0) compare_block(file, &b, c.sentences / block_size, block_size);
    gm_lines_close(&lines);
    gm_free(s.text);
    s = (sentence){ 0 };
    check_counts(file, &c);
}

/* ---- the nasty strings ---- */

/* `want` holds id, first byte and end byte of each piece, one after another. */
static void compare_pieces(const char *what, const char *mode, const gm_pieces *got, const cJSON *want)
{
    const size_t count = (size_t)cJSON_GetArraySize(want) / 3;
    if (got->count != count) fail_msg("%s (%s): %zu pieces, expected %zu", what, mode, got->count, count);
    const cJSON *number = want->child;
    for (size_t i = 0; i < count; i++) {
        const int id = number->valueint, start = number->next->valueint, end = number->next->next->valueint;
        const gm_piece *p = &got->items[i];
        if (p->id != id || p->start != start || p->end != end)
            fail_msg("%s (%s): piece %zu is %d [%d, %d), expected %d [%d, %d)", what, mode, i, (int)p->id,
                     (int)p->start, (int)p->end, id, start, end);
        number = number->next->next->next;
    }
}

#endif
