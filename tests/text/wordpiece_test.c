/* WordPiece with vocabularies made here: how sentences are cut, which vocabularies and texts are refused and with what
 * message, and that running out of memory at any allocation is a clean error. */
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer.h"
#include "text/wordpiece.h"

enum {
    PAD,
    UNK,
    CLS,
    SEP,
    A,
    B,
    AB,
    CONT_B,
    CONT_C,
    WALK,
    CONT_ING,
    BANG,
    CJK,
    CONT_LONG,
    E_ACUTE,
    UPPER,
    CONT_BZ,
    NOTE_HEAD,
    CONT_STEM
};

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nab\n##b\n##c\nwalk\n##ing\n!\n"
                                 "\xE4\xB8\xAD\n##bbb\n\xC3\xA9\nA\n##bz\n"
                                 "\xF0\x9D\x85\x97\n##\xF0\x9D\x85\xA5\n";

static gm_wordpiece *w;
static gm_tokenizer *t; /* the same, for sentences */
static gm_err err;
static const char path[] = "folder/vocab.txt";

static gm_status load_text(const char *text, size_t n, gm_wordpiece **out)
{
    return gm_wordpiece_parse(path, text, n, true, out, &err);
}

static int set_up(void **state)
{
    (void)state;
    assert_ok(load_text(vocabulary, sizeof vocabulary - 1, &w));
    assert_ok(gm_tokenizer_parse_bert(path, vocabulary, sizeof vocabulary - 1, true, &t, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gm_wordpiece_destroy(w);
    gm_tokenizer_destroy(t);
    return 0;
}

/* ---- one text ---- */

static void check_pieces(const gm_wordpiece *words, const char *text, const gm_piece *want, size_t count)
{
    gm_pieces got = { 0 };
    assert_ok(gm_wordpiece_encode(words, text, strlen(text), &got, &err));
    assert_int_equal(got.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(got.items[i].id, want[i].id);
        assert_int_equal(got.items[i].start, want[i].start);
        assert_int_equal(got.items[i].end, want[i].end);
    }
    gm_pieces_free(&got);
}
#define CHECK(text, ...)                                                                                               \
    check_pieces(w, text, (const gm_piece[]){ __VA_ARGS__ },                                                          \
                 sizeof((const gm_piece[]){ __VA_ARGS__ }) / sizeof(gm_piece))

static void the_longest_piece_wins(void **state)
{
    (void)state;
    CHECK("Walking ab!", { WALK, 0, 4 }, { CONT_ING, 4, 7 }, { AB, 8, 10 }, { BANG, 10, 11 });
    CHECK("abbbbc", { AB, 0, 2 }, { CONT_LONG, 2, 5 }, { CONT_C, 5, 6 });
}

static void greedy_does_not_go_back(void **state)
{
    (void)state;
    /* a ##bbb ... would cover abbb, but greedy takes ab ##b ##b. */
    CHECK("abbb", { AB, 0, 2 }, { CONT_B, 2, 3 }, { CONT_B, 3, 4 });
    /* a ##bz would cover abz, but greedy takes ab and then knows no ##z. */
    CHECK("abz", { UNK, 0, 3 });
}

static void a_word_with_an_unknown_rest_is_one_unk(void **state)
{
    (void)state;
    CHECK("walkx a", { UNK, 0, 5 }, { A, 6, 7 });
    CHECK("a~b", { A, 0, 1 }, { UNK, 1, 2 }, { B, 2, 3 });
}

static void offsets_are_bytes_of_the_original(void **state)
{
    (void)state;
    /* The accents and U+200B are gone from the pieces, but their bytes count. */
    CHECK("\xC3\xA1\xE2\x80\x8B"
          "b \xE4\xB8\xAD"
          "A\xCC\x81!",
          { AB, 0, 6 }, { CJK, 7, 10 }, { A, 10, 11 }, { BANG, 13, 14 });
}

static void parts_of_one_character_share_its_bytes(void **state)
{
    (void)state;
    /* U+1D15E decomposes into a head and a stem; a second stem follows. tokenizers 0.23.3 gives these ranges. */
    CHECK("a \xF0\x9D\x85\x9E\xF0\x9D\x85\xA5", { A, 0, 1 }, { NOTE_HEAD, 2, 6 }, { CONT_STEM, 2, 6 },
          { CONT_STEM, 6, 10 });
}

static void special_pieces_in_a_text_are_text(void **state)
{
    (void)state;
    CHECK("[SEP]", { UNK, 0, 1 }, { UNK, 1, 4 }, { UNK, 4, 5 });
}

static void a_word_of_101_characters_is_one_unk(void **state)
{
    (void)state;
    char word[102] = "a";
    memset(word + 1, 'c', 100);
    CHECK(word, { UNK, 0, 101 });
    word[100] = '\0';
    gm_pieces got = { 0 };
    assert_ok(gm_wordpiece_encode(w, word, 100, &got, &err));
    assert_int_equal(got.count, 100);
    gm_pieces_free(&got);
}

static void cased_keeps_case_and_accents(void **state)
{
    (void)state;
    gm_wordpiece *cased;
    assert_ok(gm_wordpiece_parse(path, vocabulary, sizeof vocabulary - 1, false, &cased, &err));
    check_pieces(cased, "A \xC3\xA9 a", (const gm_piece[]){ { UPPER, 0, 1 }, { E_ACUTE, 2, 4 }, { A, 5, 6 } }, 3);
    gm_wordpiece_destroy(cased);
}

static void pieces_are_appended(void **state)
{
    (void)state;
    gm_pieces got = { 0 };
    assert_ok(gm_wordpiece_encode(w, "", 0, &got, &err));
    assert_int_equal(got.count, 0);
    assert_ok(gm_wordpiece_encode(w, "a", 1, &got, &err));
    assert_ok(gm_wordpiece_encode(w, "bx!", 1, &got, &err));
    assert_int_equal(got.count, 2);
    assert_int_equal(got.items[1].id, B);
    gm_pieces_free(&got);
}

static void refuse_text(const char *text, size_t n, const char *message)
{
    gm_pieces got = { 0 };
    assert_ok(gm_wordpiece_encode(w, "a", 1, &got, &err));
    assert_int_equal(gm_wordpiece_encode(w, text, n, &got, &err), GM_ERR_DATA);
    if (strstr(err.text, message) == NULL) fail_msg("\"%s\" does not name \"%s\"", err.text, message);
    assert_int_equal(got.count, 1);
    gm_pieces_free(&got);
}

static void bad_utf8_is_refused_with_its_offset(void **state)
{
    (void)state;
    refuse_text("ab \xFF", 4, "byte 3 (0xFF)");
    refuse_text("\xC3", 1, "byte 0 (0xC3)");              /* cut off */
    refuse_text("a\xC0\x80", 3, "byte 1 (0xC0)");         /* too long a form of NUL */
    refuse_text("\xED\xA0\x80", 3, "byte 0 (0xED)");      /* surrogate */
    refuse_text("a\xF4\x90\x80\x80", 5, "byte 1 (0xF4)"); /* beyond U+10FFFF */
    refuse_text("\x80", 1, "byte 0 (0x80)");
}

static void a_nul_is_refused_with_its_offset(void **state)
{
    (void)state;
    refuse_text("ab\0a", 4, "byte 2 (0x00): a NUL");
}

/* ---- sentences ---- */

static void check_sentence(char *const *words, int32_t count, int32_t max_len, const int32_t *ids, int32_t n_ids,
                           const int32_t *first, int32_t n_first, bool is_cut)
{
    gm_encoded e;
    assert_ok(gm_tokenizer_sentence(t, words, count, max_len, &e, &err));
    assert_int_equal(e.count, n_ids);
    for (int32_t i = 0; i < n_ids; i++) assert_int_equal(e.ids[i], ids[i]);
    assert_int_equal(e.words, n_first);
    for (int32_t i = 0; i < n_first; i++) assert_int_equal(e.first_piece[i], first[i]);
    assert_int_equal(e.is_cut, is_cut);
    gm_encoded_free(&e);
}
#define IDS(...)                                                                                                       \
    (const int32_t[]){ __VA_ARGS__ }, (int32_t)(sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t))
#define NAMES(...) (char *const[]){ __VA_ARGS__ }, (int32_t)(sizeof((char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void a_word_without_pieces_becomes_unk(void **state)
{
    (void)state;
    check_sentence(NAMES("a", "\xE2\x80\x8B", "\xC2\x92", "", "b"), 16, IDS(CLS, A, UNK, UNK, UNK, B, SEP),
                   IDS(1, 2, 3, 4, 5), false);
}

static void a_word_of_forty_pieces_stays_whole(void **state)
{
    (void)state;
    char word[41] = "a";
    memset(word + 1, 'c', 39);
    int32_t ids[44] = { CLS, B, A };
    for (int i = 3; i < 42; i++) ids[i] = CONT_C;
    ids[42] = B;
    ids[43] = SEP;
    check_sentence(NAMES("b", word, "b"), 44, ids, 44, IDS(1, 2, 42), false);
    check_sentence(NAMES("b", word, "b"), 42, IDS(CLS, B, SEP), IDS(1), true);
}

static void a_sentence_too_long_is_cut_at_a_word(void **state)
{
    (void)state;
    check_sentence(NAMES("a", "walking", "b"), 6, IDS(CLS, A, WALK, CONT_ING, B, SEP), IDS(1, 2, 4), false);
    check_sentence(NAMES("a", "walking", "b"), 5, IDS(CLS, A, WALK, CONT_ING, SEP), IDS(1, 2), true);
    /* b would still fit, but stands behind the word that does not. */
    check_sentence(NAMES("a", "walking", "b"), 4, IDS(CLS, A, SEP), IDS(1), true);
}

static void a_first_word_too_long_is_cut_in_itself(void **state)
{
    (void)state;
    check_sentence(NAMES("abcc", "b"), 4, IDS(CLS, AB, CONT_C, SEP), IDS(1), true);
    check_sentence(NAMES("walking"), 3, IDS(CLS, WALK, SEP), IDS(1), true);
}

static void a_sentence_without_words_is_two_pieces(void **state)
{
    (void)state;
    check_sentence(NULL, 0, 3, IDS(CLS, SEP), NULL, 0, false);
}

static void no_room_for_a_piece_is_refused(void **state)
{
    (void)state;
    gm_encoded e;
    assert_int_equal(gm_tokenizer_sentence(t, NAMES("a"), 2, &e, &err), GM_ERR_SHAPE);
    assert_non_null(strstr(err.text, "2 pieces"));
    assert_int_equal(gm_tokenizer_sentence(t, NULL, -1, 8, &e, &err), GM_ERR_SHAPE);
}

static void a_bad_word_is_named_with_its_offset(void **state)
{
    (void)state;
    gm_encoded e;
    assert_int_equal(gm_tokenizer_sentence(t, NAMES("a", "b\xFF"), 8, &e, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "word 1: byte 1 (0xFF)"));
    assert_null(e.ids);
    assert_null(e.first_piece);
}

/* ---- vocabularies ---- */

static void refuse_vocabulary(const char *text, size_t n, const char *message)
{
    char full[1024];
    snprintf(full, sizeof full, "%s%s", path, message);
    gm_wordpiece *made = w; /* must be set to NULL */
    assert_int_equal(load_text(text, n, &made), GM_ERR_FORMAT);
    assert_null(made);
    if (strncmp(err.text, full, strlen(full)) != 0) fail_msg("\"%s\" does not begin with \"%s\"", err.text, full);
}
#define REFUSE(text, message) refuse_vocabulary(text, sizeof(text) - 1, message)

static void a_piece_twice_is_refused_with_both_lines(void **state)
{
    (void)state;
    REFUSE("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\na\n", ":7: the piece \"a\" stands already on line 5");
}

static void an_empty_vocabulary_is_refused(void **state)
{
    (void)state;
    REFUSE("", ":1: the vocabulary is empty");
}

static void an_empty_line_is_refused(void **state)
{
    (void)state;
    REFUSE("[PAD]\n\n[UNK]\n", ":2: an empty line");
}

static void a_missing_special_piece_is_refused(void **state)
{
    (void)state;
    REFUSE("[PAD]\n[CLS]\n[SEP]\na\n", ": the piece [UNK] is missing");
    REFUSE("[PAD]\n[UNK]\n[SEP]\na\n", ": the piece [CLS] is missing");
    REFUSE("[PAD]\n[UNK]\n[CLS]\na\n", ": the piece [SEP] is missing");
    REFUSE("[UNK]\n[CLS]\n[SEP]\na\n", ": the piece [PAD] is missing");
}

static void a_vocabulary_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    REFUSE("[PAD]\nab\xFF\n", ":2: byte 2 of the line");
    REFUSE("[PAD]\na\0b\n", ":2: byte 1 of the line");
}

static void line_ends_of_both_kinds_and_none_at_the_end_are_read(void **state)
{
    (void)state;
    static const char text[] = "[PAD]\r\n[UNK]\r\n[CLS]\n[SEP]\r\nlast";
    gm_wordpiece *made;
    assert_ok(load_text(text, sizeof text - 1, &made));
    assert_int_equal(gm_wordpiece_size(made), 5);
    assert_int_equal(gm_wordpiece_find(made, "[SEP]"), 3);
    assert_int_equal(gm_wordpiece_find(made, "last"), 4);
    assert_int_equal(gm_wordpiece_find(made, "[SEP]\r"), -1);
    assert_string_equal(gm_wordpiece_piece(made, 4), "last");
    gm_wordpiece_destroy(made);
}

static void a_vocabulary_in_memory_is_copied(void **state)
{
    (void)state;
    char text[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n";
    gm_wordpiece *made;
    assert_ok(gm_wordpiece_parse("memory", text, sizeof text - 1, true, &made, &err));
    memset(text, 'x', sizeof text - 1);
    assert_int_equal(gm_wordpiece_size(made), 5);
    assert_int_equal(gm_wordpiece_find(made, "a"), 4);
    gm_wordpiece_destroy(made);
    assert_int_equal(gm_wordpiece_parse("memory", "a\na\n", 4, true, &made, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "memory:2: "));
    assert_null(made);
}

/* ---- memory ---- */

static void running_out_of_memory_while_loading_is_clean(void **state)
{
    (void)state;
    for (int64_t k = 0;; k++) {
        gm_wordpiece *made = NULL;
        gm_alloc_fail_at(k);
        const gm_status s = load_text(vocabulary, sizeof vocabulary - 1, &made);
        gm_alloc_fail_at(-1);
        if (s == GM_OK) {
            assert_true(k > 3);
            gm_wordpiece_destroy(made);
            return;
        }
        assert_int_equal(s, GM_ERR_NOMEM);
        assert_null(made);
    }
}

static void running_out_of_memory_in_a_sentence_is_clean(void **state)
{
    (void)state;
    /* Marks out of order take the sort's memory too. */
    char word[64] = "a\xE3\x80\xAE\xCC\x96\xE3\x80\xAE\xCC\x96\xE3\x80\xAE\xCC\x96"
                    "\xE3\x80\xAE\xCC\x96\xE3\x80\xAE\xCC\x96\xE3\x80\xAE\xCC\x96";
    for (int64_t k = 0;; k++) {
        gm_encoded e;
        gm_alloc_fail_at(k);
        const gm_status s = gm_tokenizer_sentence(t, NAMES("a", "walking", word), 16, &e, &err);
        gm_alloc_fail_at(-1);
        if (s == GM_OK) {
            assert_true(k > 4);
            gm_encoded_free(&e);
            return;
        }
        assert_int_equal(s, GM_ERR_NOMEM);
        assert_null(e.ids);
        assert_null(e.first_piece);
    }
}

static void running_out_of_memory_in_a_text_keeps_what_stood(void **state)
{
    (void)state;
    gm_pieces got = { 0 };
    assert_ok(gm_wordpiece_encode(w, "a", 1, &got, &err));
    char many[256];
    memset(many, '!', sizeof many);
    gm_status s = GM_ERR_NOMEM;
    for (int64_t k = 0; s != GM_OK; k++) {
        gm_alloc_fail_at(k);
        s = gm_wordpiece_encode(w, many, sizeof many, &got, &err);
        gm_alloc_fail_at(-1);
        if (s != GM_OK) {
            assert_int_equal(s, GM_ERR_NOMEM);
            assert_int_equal(got.count, 1);
        }
    }
    assert_int_equal(got.count, 1 + sizeof many);
    gm_pieces_free(&got);
}

static void words_cost_no_allocation(void **state)
{
    (void)state;
    gm_pieces got = { 0 };
    assert_ok(gm_wordpiece_encode(w, "a b ab walking a b ab walking", 29, &got, &err));
    got.count = 0;
    const uint64_t before = gm_alloc_count();
    assert_ok(gm_wordpiece_encode(w, "a b ab wa", 9, &got, &err));
    assert_int_equal(gm_alloc_count() - before, 1); /* the normalised characters */
    gm_pieces_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_piece_wins),
        cmocka_unit_test(greedy_does_not_go_back),
        cmocka_unit_test(a_word_with_an_unknown_rest_is_one_unk),
        cmocka_unit_test(offsets_are_bytes_of_the_original),
        cmocka_unit_test(parts_of_one_character_share_its_bytes),
        cmocka_unit_test(special_pieces_in_a_text_are_text),
        cmocka_unit_test(a_word_of_101_characters_is_one_unk),
        cmocka_unit_test(cased_keeps_case_and_accents),
        cmocka_unit_test(pieces_are_appended),
        cmocka_unit_test(bad_utf8_is_refused_with_its_offset),
        cmocka_unit_test(a_nul_is_refused_with_its_offset),
        cmocka_unit_test(a_word_without_pieces_becomes_unk),
        cmocka_unit_test(a_word_of_forty_pieces_stays_whole),
        cmocka_unit_test(a_sentence_too_long_is_cut_at_a_word),
        cmocka_unit_test(a_first_word_too_long_is_cut_in_itself),
        cmocka_unit_test(a_sentence_without_words_is_two_pieces),
        cmocka_unit_test(no_room_for_a_piece_is_refused),
        cmocka_unit_test(a_bad_word_is_named_with_its_offset),
        cmocka_unit_test(a_piece_twice_is_refused_with_both_lines),
        cmocka_unit_test(an_empty_vocabulary_is_refused),
        cmocka_unit_test(an_empty_line_is_refused),
        cmocka_unit_test(a_missing_special_piece_is_refused),
        cmocka_unit_test(a_vocabulary_that_is_not_utf8_is_refused),
        cmocka_unit_test(line_ends_of_both_kinds_and_none_at_the_end_are_read),
        cmocka_unit_test(a_vocabulary_in_memory_is_copied),
        cmocka_unit_test(running_out_of_memory_while_loading_is_clean),
        cmocka_unit_test(running_out_of_memory_in_a_sentence_is_clean),
        cmocka_unit_test(running_out_of_memory_in_a_text_keeps_what_stood),
        cmocka_unit_test(words_cost_no_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
