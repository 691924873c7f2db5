/* WordPiece against Hugging Face `tokenizers`: tests/golden/wordpiece.json holds its hashes of 8500 tweets and 22000
 * CCKS sentences, block by block, and its pieces of nasty strings. The text is read from the shared data. Needs
 * weights/minilm/ (tools/get-weights minilm); without it the test is skipped, or fails where GM_REQUIRE has weights. */
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/wordpiece.h"

enum { WORDS_MAX = 1024, MODES = 2 };
enum { TEXTS, CASED, WORDS, FIRST_LENGTH, COLUMNS = 5 };

static cJSON *golden;
static gm_wordpiece *lower, *cased;
static gm_err err;

static const cJSON *field(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    if (value == NULL) fail_msg("wordpiece.json: \"%s\" is missing", name);
    return value;
}

/* ---- hashes ---- */

typedef struct hash {
    uint64_t value;
} hash;

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

/* ---- the data sets ---- */

typedef struct block {
    hash column[COLUMNS];
} block;
typedef struct counts {
    int sentences, words, pieces_of_texts, pieces_of_words, words_without_pieces;
} counts;
typedef struct sentence {
    char *words[WORDS_MAX];
    int32_t count;
    char *text;
    size_t length, capacity;
} sentence;

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

static void add_whole_text(const sentence *s, block *b, counts *c)
{
    gm_pieces p = { 0 };
    assert_ok(gm_wordpiece_encode(lower, s->text, s->length, &p, &err));
    add_pieces(&b->column[TEXTS], &p);
    c->pieces_of_texts += (int)p.count;
    p.count = 0;
    assert_ok(gm_wordpiece_encode(cased, s->text, s->length, &p, &err));
    add_pieces(&b->column[CASED], &p);
    gm_pieces_free(&p);
}

static void add_each_word(const sentence *s, block *b, counts *c)
{
    gm_pieces p = { 0 };
    for (int32_t i = 0; i < s->count; i++) {
        p.count = 0;
        assert_ok(gm_wordpiece_encode(lower, s->words[i], strlen(s->words[i]), &p, &err));
        add_pieces(&b->column[WORDS], &p);
        c->pieces_of_words += (int)p.count;
        c->words_without_pieces += p.count == 0;
    }
    gm_pieces_free(&p);
    int column = FIRST_LENGTH;
    const cJSON *length;
    cJSON_ArrayForEach(length, field(golden, "max_len"))
    {
        gm_encoded e;
        assert_ok(gm_wordpiece_sentence(lower, s->words, s->count, length->valueint, &e, &err));
        add_sentence(&b->column[column++], &e);
        gm_encoded_free(&e);
    }
    assert_int_equal(column, COLUMNS);
}

static void end_sentence(sentence *s, block *b, counts *c)
{
    join(s);
    add_whole_text(s, b, c);
    add_each_word(s, b, c);
    c->sentences++;
    c->words += s->count;
    while (s->count > 0) gm_free(s->words[--s->count]);
}

static void compare_block(const cJSON *file, const block *b, int index, int block_size)
{
    const cJSON *want = cJSON_GetArrayItem(field(file, "blocks"), index);
    if (want == NULL) fail_msg("%s: more than %d blocks", field(file, "path")->valuestring, index);
    for (int i = 0; i < COLUMNS; i++) {
        char got[17];
        snprintf(got, sizeof got, "%016llx", (unsigned long long)b->column[i].value);
        const char *expected = cJSON_GetArrayItem(want, i)->valuestring;
        if (strcmp(got, expected) != 0)
            fail_msg("%s: first difference in block %d (sentences %d to %d), column %s: %s, expected %s",
                     field(file, "path")->valuestring, index, index * block_size, (index + 1) * block_size - 1,
                     cJSON_GetArrayItem(field(golden, "columns"), i)->valuestring, got, expected);
    }
}

static block new_block(void)
{
    block b;
    for (int i = 0; i < COLUMNS; i++) b.column[i].value = UINT64_C(0xCBF29CE484222325);
    return b;
}

static void check_file(const cJSON *file)
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
            assert_true(s.count < WORDS_MAX);
            s.words[s.count++] = gm_strndup(lines.line, strcspn(lines.line, "\t"));
            continue;
        }
        if (s.count == 0) continue;
        end_sentence(&s, &b, &c);
        if (c.sentences % block_size != 0) continue;
        compare_block(file, &b, c.sentences / block_size - 1, block_size);
        b = new_block();
    }
    if (c.sentences % block_size != 0) compare_block(file, &b, c.sentences / block_size, block_size);
    gm_lines_close(&lines);
    gm_free(s.text);
    s = (sentence){ 0 };
    assert_int_equal(c.sentences, field(file, "sentences")->valueint);
    assert_int_equal(c.words, field(file, "words")->valueint);
    assert_int_equal(c.pieces_of_texts, field(file, "pieces_of_texts")->valueint);
    assert_int_equal(c.pieces_of_words, field(file, "pieces_of_words")->valueint);
    assert_int_equal(c.words_without_pieces, field(file, "words_without_pieces")->valueint);
}

static void real_text_has_the_same_ids_and_bytes(void **state)
{
    (void)state;
    const cJSON *file;
    cJSON_ArrayForEach(file, field(golden, "files")) check_file(file);
}

/* ---- the nasty strings ---- */

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

static void nasty_strings_have_the_same_pieces(void **state)
{
    (void)state;
    const struct {
        const char *name;
        const gm_wordpiece *w;
    } modes[MODES] = { { "lower", lower }, { "cased", cased } };
    const cJSON *string;
    int count = 0;
    cJSON_ArrayForEach(string, field(golden, "strings"))
    {
        const char *text = field(string, "text")->valuestring;
        for (int m = 0; m < MODES; m++) {
            gm_pieces got = { 0 };
            assert_ok(gm_wordpiece_encode(modes[m].w, text, strlen(text), &got, &err));
            compare_pieces(field(string, "what")->valuestring, modes[m].name, &got, field(string, modes[m].name));
            gm_pieces_free(&got);
        }
        count++;
    }
    assert_true(count >= 90);
}

static void the_vocabulary_reads_as_it_stands(void **state)
{
    (void)state;
    assert_int_equal(gm_wordpiece_size(lower), 30522);
    assert_int_equal(gm_wordpiece_find(lower, "[CLS]"), 101);
    assert_string_equal(gm_wordpiece_piece(lower, 30521), "##\xEF\xBD\x9E");
    for (int32_t id = 0; id < gm_wordpiece_size(lower); id++)
        assert_int_equal(gm_wordpiece_find(lower, gm_wordpiece_piece(lower, id)), id);
    assert_int_equal(gm_wordpiece_find(lower, "no such piece"), -1);
}

/* ---- set-up ---- */

static int load(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    assert_ok(gm_file_read(GM_SOURCE_DIR "/tests/golden/wordpiece.json", &text, &size, &err));
    assert_ok(gm_json_parse(text, size, &golden, &err));
    gm_free(text);
    char *vocab = gm_path_join(GM_SOURCE_DIR, field(golden, "vocab")->valuestring);
    assert_ok(gm_wordpiece_load(vocab, true, &lower, &err));
    assert_ok(gm_wordpiece_load(vocab, false, &cased, &err));
    gm_free(vocab);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    cJSON_Delete(golden);
    gm_wordpiece_destroy(lower);
    gm_wordpiece_destroy(cased);
    return 0;
}

int main(void)
{
    if (!gm_path_exists(GM_SOURCE_DIR "/weights/minilm/vocab.txt")) {
        const char *require = getenv("GM_REQUIRE");
        const bool is_required = require != NULL && strstr(require, "weights") != NULL;
        fprintf(stderr, "%s: weights/minilm/vocab.txt is missing: run tools/get-weights minilm\n",
                is_required ? "failed (GM_REQUIRE names weights)" : "skipped");
        return is_required ? 1 : 77;
    }
    const struct CMUnitTest stored[] = {
        cmocka_unit_test(the_vocabulary_reads_as_it_stands),
        cmocka_unit_test(nasty_strings_have_the_same_pieces),
    };
    const struct CMUnitTest read[] = { cmocka_unit_test(real_text_has_the_same_ids_and_bytes) };
    /* Without the shared data the second group ends the program as skipped: that must not hide a failure before. */
    const int failed = cmocka_run_group_tests(stored, load, unload);
    return failed != 0 ? failed : cmocka_run_group_tests(read, load, unload);
}
