/* Byte-level BPE with a vocabulary made here: the order of merges worked out by hand, ranges, and each way the two files
 * can be bad. */
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "text/bpe.h"

enum { BYTES = 4, AB = 260, BLANK_A, ABC, BC, BLANK_AB, AA, AAA };

static const gm_special_names names = { "<s>", "</s>", "<pad>", "<unk>" };
static const char merges[] = "#version: 0.2\nb c\n\xC4\xA0 a\na b\n\xC4\xA0"
                             "a b\nab c\na a\naa a\n";
static char *vocab;   /* the JSON text */
static int32_t id_of_byte[256];
static gm_bpe *bpe;
static gm_err err;

/* All bytes in the order of their spelling, as `tokenizers` numbers them, then the merged ones. */
static void make_vocab(void)
{
    static const char *const merged[] = { "ab", "\\u0120a", "abc", "bc", "\\u0120ab", "aa", "aaa" };
    gm_buffer b = { 0 };
    int id = BYTES, next = 0x100;
    assert_ok(gm_buffer_printf(&b, &err, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3"));
    for (int byte = 0; byte < 256; byte++) {
        const bool kept = (byte > ' ' && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        id_of_byte[byte] = id;
        assert_ok(gm_buffer_printf(&b, &err, ", \"\\u%04x\": %d", kept ? (unsigned)byte : (unsigned)next++, id++));
    }
    for (size_t i = 0; i < GM_LEN(merged); i++) assert_ok(gm_buffer_printf(&b, &err, ", \"%s\": %d", merged[i], id++));
    assert_ok(gm_buffer_printf(&b, &err, "}"));
    vocab = b.data;
}

static gm_status parse(const char *vocab_text, const char *merges_text, size_t merges_size, gm_bpe **b)
{
    const gm_bpe_source v = { "vocab.json", vocab_text, strlen(vocab_text) };
    const gm_bpe_source m = { "merges.txt", merges_text, merges_size };
    return gm_bpe_parse(&v, &m, &names, b, &err);
}

static int set_up(void **state)
{
    (void)state;
    make_vocab();
    assert_ok(parse(vocab, merges, sizeof merges - 1, &bpe));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gm_bpe_destroy(bpe);
    gm_free(vocab);
    return 0;
}

/* ---- encoding ---- */

static void check(const char *text, const gm_piece *want, size_t count)
{
    gm_bpe_memory *m;
    gm_pieces got = { 0 };
    assert_ok(gm_bpe_memory_make(bpe, &m, &err));
    assert_ok(gm_bpe_encode(bpe, m, text, strlen(text), &got, &err));
    assert_int_equal(got.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(got.items[i].id, want[i].id);
        assert_int_equal(got.items[i].start, want[i].start);
        assert_int_equal(got.items[i].end, want[i].end);
    }
    gm_pieces_free(&got);
    gm_bpe_memory_destroy(m);
}
#define CHECK(text, ...) check(text, (const gm_piece[]){ __VA_ARGS__ }, sizeof((const gm_piece[]){ __VA_ARGS__ }) / sizeof(gm_piece))
#define BYTE(c) id_of_byte[(unsigned char)(c)]

static void the_first_merge_of_the_file_wins(void **state)
{
    (void)state;
    /* b c before a b: abc is never made of ab and c, though that pair stands in the file. */
    CHECK("abc", { BLANK_A, 0, 1 }, { BC, 1, 3 });
    CHECK("xabc", { BYTE(' '), 0, 0 }, { BYTE('x'), 0, 1 }, { BYTE('a'), 1, 2 }, { BC, 2, 4 });
    CHECK("xab", { BYTE(' '), 0, 0 }, { BYTE('x'), 0, 1 }, { AB, 1, 3 });
    CHECK("ab", { BLANK_AB, 0, 2 });
}

static void of_equal_pairs_the_left_one_is_merged_first(void **state)
{
    (void)state;
    CHECK("xaaaa", { BYTE(' '), 0, 0 }, { BYTE('x'), 0, 1 }, { AA, 1, 3 }, { AA, 3, 5 });
    CHECK("xaaaaa", { BYTE(' '), 0, 0 }, { BYTE('x'), 0, 1 }, { AA, 1, 3 }, { AAA, 3, 6 });
}

static void merges_do_not_cross_the_pattern(void **state)
{
    (void)state;
    CHECK("a b", { BLANK_A, 0, 1 }, { BYTE(' '), 2, 2 }, { BYTE('b'), 2, 3 });
    CHECK("a1b", { BLANK_A, 0, 1 }, { BYTE('1'), 1, 2 }, { BYTE('b'), 2, 3 });
    CHECK("a\tb", { BLANK_A, 0, 1 }, { BYTE('\t'), 1, 2 }, { BYTE('b'), 2, 3 });
}

static void the_bytes_of_a_character_share_its_range(void **state)
{
    (void)state;
    CHECK("a\xC3\xA9z", { BLANK_A, 0, 1 }, { BYTE('\xC3'), 1, 3 }, { BYTE('\xA9'), 1, 3 }, { BYTE('z'), 3, 4 });
}

static void no_text_has_no_pieces(void **state)
{
    (void)state;
    check("", NULL, 0);
}

static void a_long_run_is_merged_in_time(void **state)
{
    (void)state;
    enum { RUN = 1 << 20 };
    char *run = gm_malloc(RUN);
    gm_bpe_memory *m;
    gm_pieces got = { 0 };
    assert_ok(gm_bpe_memory_make(bpe, &m, &err));
    memset(run, 'a', RUN);
    assert_ok(gm_bpe_encode(bpe, m, run, RUN, &got, &err));
    assert_int_equal(got.items[0].id, BLANK_A);
    assert_int_equal(got.items[1].id, AA);
    assert_int_equal(got.items[got.count - 1].id, AAA);
    assert_int_equal(got.count, 1 + (RUN - 2) / 2);
    memset(run, ' ', RUN);
    got.count = 0;
    assert_ok(gm_bpe_encode(bpe, m, run, RUN, &got, &err));
    assert_int_equal(got.count, RUN);
    gm_pieces_free(&got);
    gm_bpe_memory_destroy(m);
    gm_free(run);
}

static void bad_text_is_refused_with_its_offset(void **state)
{
    (void)state;
    gm_bpe_memory *m;
    gm_pieces got = { 0 };
    assert_ok(gm_bpe_memory_make(bpe, &m, &err));
    assert_ok(gm_bpe_encode(bpe, m, "a", 1, &got, &err));
    assert_int_equal(gm_bpe_encode(bpe, m, "ab\xFF", 3, &got, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "byte 2 (0xFF): not UTF-8"));
    assert_int_equal(gm_bpe_encode(bpe, m, "a\0b", 3, &got, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "byte 1 (0x00): a NUL"));
    assert_int_equal(got.count, 1);
    gm_pieces_free(&got);
    gm_bpe_memory_destroy(m);
}

/* ---- bad files ---- */

static void refuse(const char *vocab_text, const char *merges_text, size_t merges_size, const char *message)
{
    gm_bpe *made = bpe;
    assert_int_equal(parse(vocab_text, merges_text, merges_size, &made), GM_ERR_FORMAT);
    assert_null(made);
    if (strncmp(err.text, message, strlen(message)) != 0) fail_msg("\"%s\" does not begin with \"%s\"", err.text, message);
}
#define REFUSE_MERGES(text, message) refuse(vocab, text, sizeof(text) - 1, message)

/* The vocabulary with its last bytes, from the last `from` on, made `to`. */
static void refuse_changed(const char *from, const char *to, const char *message)
{
    gm_buffer b = { 0 };
    const char *at = strstr(vocab, from);
    assert_non_null(at);
    assert_ok(gm_buffer_add(&b, vocab, (size_t)(at - vocab), &err));
    assert_ok(gm_buffer_printf(&b, &err, "%s%s", to, at + strlen(from)));
    refuse(b.data, merges, sizeof merges - 1, message);
    gm_buffer_free(&b);
}

static void a_vocabulary_that_is_no_object_is_refused(void **state)
{
    (void)state;
    refuse("[]", "", 0, "vocab.json: no object");
    refuse("{\"a\": 1", "", 0, "vocab.json: 1:8: ");
    refuse("{}", "", 0, "vocab.json: the byte 0x00, spelt \"\xC4\x80\", is no piece");
}

static void a_missing_byte_is_named(void **state)
{
    (void)state;
    refuse_changed("\"\\u0041\"", "\"AA\"", "vocab.json: the byte 0x41, spelt \"A\", is no piece");
    refuse_changed("\"\\u0120\"", "\"x y\"", "vocab.json: the byte 0x20, spelt \"\xC4\xA0\", is no piece");
}

static void a_missing_special_piece_is_named(void **state)
{
    (void)state;
    refuse_changed("\"<pad>\"", "\"<PAD>\"", "vocab.json: the special piece <pad> is missing");
    refuse_changed("\"<unk>\"", "\"[UNK]\"", "vocab.json: the special piece <unk> is missing");
}

static void bad_ids_are_refused(void **state)
{
    (void)state;
    refuse_changed("\"<pad>\": 1", "\"<pad>\": -1", "vocab.json: the id of \"<pad>\" is no whole number");
    refuse_changed("\"<pad>\": 1", "\"<pad>\": 1.5", "vocab.json: the id of \"<pad>\" is no whole number");
    refuse_changed("\"<pad>\": 1", "\"<pad>\": \"1\"", "vocab.json: the id of \"<pad>\" is no whole number");
    refuse_changed("\"<pad>\": 1", "\"<pad>\": 2147483647", "vocab.json: the id of \"<pad>\" is no whole number");
    refuse_changed("\"<pad>\": 1", "\"<pad>\": 0", "vocab.json: \"");
    assert_non_null(strstr(err.text, "have the same id 0"));
}

static void a_piece_twice_is_refused(void **state)
{
    (void)state;
    refuse_changed("\"aaa\"", "\"aa\"", "vocab.json: the piece \"aa\" stands twice");
    refuse_changed("\"aaa\"", "\"\\u0061\\u0061\"", "vocab.json: the piece \"aa\" stands twice");
}

static void a_line_of_merges_that_is_no_pair_is_refused(void **state)
{
    (void)state;
    REFUSE_MERGES("a b\nab\n", "merges.txt:2: expected two pieces with one blank between them");
    REFUSE_MERGES("a  b\n", "merges.txt:1: expected two pieces");
    REFUSE_MERGES("a b c\n", "merges.txt:1: expected two pieces");
    REFUSE_MERGES("a \n", "merges.txt:1: expected two pieces");
    REFUSE_MERGES("#version: 0.2\n\na b\n", "merges.txt:2: expected two pieces");
    REFUSE_MERGES("a b\na\xFF b\n", "merges.txt:2: byte 1 of the line is not UTF-8");
    REFUSE_MERGES("a\0 b\n", "merges.txt:1: byte 1 of the line is not UTF-8");
}

static void a_pair_of_unknown_pieces_is_refused(void **state)
{
    (void)state;
    REFUSE_MERGES("a zz\n", "merges.txt:1: the right part of the pair is no piece of vocab.json");
    REFUSE_MERGES("zz a\n", "merges.txt:1: the left part of the pair is no piece");
    REFUSE_MERGES("z a\n", "merges.txt:1: the whole of the pair is no piece");
}

static void a_pair_twice_is_refused(void **state)
{
    (void)state;
    REFUSE_MERGES("a b\nb c\na b\n", "merges.txt:3: the pair stands twice");
}

static void holes_among_the_ids_are_allowed(void **state)
{
    (void)state;
    static const char more[] = "a b";
    gm_buffer b = { 0 };
    gm_bpe *made;
    assert_ok(gm_buffer_add(&b, vocab, strlen(vocab) - 1, &err));
    assert_ok(gm_buffer_printf(&b, &err, ", \"<mask>\": 5000}"));
    assert_ok(parse(b.data, more, sizeof more - 1, &made));
    assert_int_equal(gm_bpe_size(made), 5001);
    assert_int_equal(gm_bpe_size(bpe), AAA + 1);
    assert_int_equal(gm_bpe_special(made).end, 2);
    gm_bpe_destroy(made);
    gm_buffer_free(&b);
}

static void line_ends_of_both_kinds_are_read(void **state)
{
    (void)state;
    static const char text[] = "#version: 0.2\r\nb c\r\n#version\na b";
    gm_bpe *made;
    assert_ok(parse(vocab, text, sizeof text - 1, &made));
    gm_bpe_destroy(made);
}

/* ---- memory ---- */

static void running_out_of_memory_is_clean(void **state)
{
    (void)state;
    gm_bpe *made;
    const uint64_t before = gm_alloc_count();
    assert_ok(parse(vocab, merges, sizeof merges - 1, &made));
    gm_bpe_destroy(made);
    const int64_t count = (int64_t)(gm_alloc_count() - before);
    int64_t errors = 0;
    for (int64_t k = 0; k < count; k++) {
        made = bpe;
        gm_alloc_fail_at(k);
        const gm_status s = parse(vocab, merges, sizeof merges - 1, &made);
        gm_alloc_fail_at(-1);
        errors += s == GM_ERR_NOMEM;
        if (s == GM_OK) {
            gm_bpe_destroy(made); /* PCRE2 does without the memory of its machine code */
            continue;
        }
        assert_int_equal(s, GM_ERR_NOMEM);
        assert_null(made);
    }
    assert_true(count > 256 && errors >= count - 16);
}

static void running_out_of_memory_in_a_text_keeps_what_stood(void **state)
{
    (void)state;
    gm_pieces got = { 0 };
    gm_status s = GM_ERR_NOMEM;
    int failures = 0;
    for (int64_t k = 0; s != GM_OK; k++) {
        gm_bpe_memory *m = NULL;
        gm_alloc_fail_at(k);
        s = gm_bpe_memory_make(bpe, &m, &err);
        if (s == GM_OK) s = gm_bpe_encode(bpe, m, "aaaa bbbb cccc dddd eeee ffff gggg", 34, &got, &err);
        gm_alloc_fail_at(-1);
        gm_bpe_memory_destroy(m);
        if (s == GM_OK) break;
        assert_int_equal(s, GM_ERR_NOMEM);
        assert_int_equal(got.count, 0);
        failures++;
    }
    assert_true(failures >= 6);
    gm_pieces_free(&got);
}

static void later_texts_cost_no_allocation(void **state)
{
    (void)state;
    gm_bpe_memory *m;
    gm_pieces got = { 0 };
    assert_ok(gm_bpe_memory_make(bpe, &m, &err));
    assert_ok(gm_bpe_encode(bpe, m, "aaaa bbbb cccc dddd", 19, &got, &err));
    got.count = 0;
    const uint64_t before = gm_alloc_count();
    assert_ok(gm_bpe_encode(bpe, m, "abab cccc aaaa", 14, &got, &err));
    assert_int_equal(gm_alloc_count() - before, 0);
    gm_pieces_free(&got);
    gm_bpe_memory_destroy(m);
}

int main(void)
{
    gm_bpe *probe;
    if (parse("{}", "", 0, &probe) == GM_ERR_MISSING) {
        fprintf(stderr, "skipped: %s\n", err.text);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_merge_of_the_file_wins),
        cmocka_unit_test(of_equal_pairs_the_left_one_is_merged_first),
        cmocka_unit_test(merges_do_not_cross_the_pattern),
        cmocka_unit_test(the_bytes_of_a_character_share_its_range),
        cmocka_unit_test(no_text_has_no_pieces),
        cmocka_unit_test(a_long_run_is_merged_in_time),
        cmocka_unit_test(bad_text_is_refused_with_its_offset),
        cmocka_unit_test(a_vocabulary_that_is_no_object_is_refused),
        cmocka_unit_test(a_missing_byte_is_named),
        cmocka_unit_test(a_missing_special_piece_is_named),
        cmocka_unit_test(bad_ids_are_refused),
        cmocka_unit_test(a_piece_twice_is_refused),
        cmocka_unit_test(a_line_of_merges_that_is_no_pair_is_refused),
        cmocka_unit_test(a_pair_of_unknown_pieces_is_refused),
        cmocka_unit_test(a_pair_twice_is_refused),
        cmocka_unit_test(holes_among_the_ids_are_allowed),
        cmocka_unit_test(line_ends_of_both_kinds_are_read),
        cmocka_unit_test(running_out_of_memory_is_clean),
        cmocka_unit_test(running_out_of_memory_in_a_text_keeps_what_stood),
        cmocka_unit_test(later_texts_cost_no_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
