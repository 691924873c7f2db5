/* WordPiece against Hugging Face `tokenizers`: tests/golden/wordpiece.json holds its hashes of 8500 tweets and 22000
 * CCKS sentences, block by block, and its pieces of nasty strings. The text is read from the shared data. Needs
 * weights/minilm/ (tools/get-weights minilm); without it the test is skipped, or fails where GM_REQUIRE has weights. */
#include "tests/text/golden.h"

#include <stdlib.h>

#include "text/tokenizer.h"
#include "text/wordpiece.h"

enum { MODES = 2 };
enum { TEXTS, CASED, WORDS, COLUMNS = 5 };

static gm_wordpiece *lower, *cased;
static gm_tokenizer *tokenizer; /* as lower, for sentences */

/* ---- the data sets ---- */

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

static void look(const sentence *s, block *b, counts *c)
{
    add_whole_text(s, b, c);
    add_words(tokenizer, s, b, WORDS, COLUMNS, c);
}

static void real_text_has_the_same_ids_and_bytes(void **state)
{
    (void)state;
    const cJSON *file;
    cJSON_ArrayForEach(file, field(golden, "files")) check_file(file, look);
}

/* ---- the nasty strings ---- */

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
    read_golden("wordpiece.json");
    char *vocab = gm_path_join(GM_SOURCE_DIR, field(golden, "vocab")->valuestring), *text = NULL;
    size_t size = 0;
    assert_ok(gm_file_read(vocab, &text, &size, &err));
    assert_ok(gm_wordpiece_parse(vocab, text, size, true, &lower, &err));
    assert_ok(gm_wordpiece_parse(vocab, text, size, false, &cased, &err));
    assert_ok(gm_tokenizer_parse_bert(vocab, text, size, true, &tokenizer, &err));
    gm_free(text);
    gm_free(vocab);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    cJSON_Delete(golden);
    gm_wordpiece_destroy(lower);
    gm_wordpiece_destroy(cased);
    gm_tokenizer_destroy(tokenizer);
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
