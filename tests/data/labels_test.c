/* Types and tags: lists, the numbers of both schemes, reading back what was written, and which tag may follow which. */
#include "tests/data/data_test.h"

#include <stdio.h>

#include "base/philox.h"
#include "data/labels.h"

static void lists_are_parsed_in_order(void **state)
{
    (void)state;
    gm_err err;
    gm_labels l;
    assert_ok(gm_labels_parse("PER,LOC,OTHER", &l, &err));
    assert_int_equal(l.count, 3);
    assert_int_equal(gm_labels_find(&l, "LOC"), 1);
    assert_int_equal(gm_labels_find(&l, "loc"), -1);
    assert_int_equal(gm_labels_find(&l, "LO"), -1);
    gm_labels_free(&l);
    assert_int_equal(l.count, 0);
}

static void bad_lists_are_refused(void **state)
{
    (void)state;
    gm_err err;
    gm_labels l;
    assert_refused(gm_labels_parse("", &l, &err), GM_ERR_DATA, "type 1 has an empty name");
    assert_refused(gm_labels_parse("A,,B", &l, &err), GM_ERR_DATA, "type 2 has an empty name");
    assert_refused(gm_labels_parse("A,B,", &l, &err), GM_ERR_DATA, "type 3 has an empty name");
    assert_refused(gm_labels_parse("A,B,A", &l, &err), GM_ERR_DATA, "\"A\" stands twice");
    assert_refused(gm_labels_parse("A, B", &l, &err), GM_ERR_DATA, "holds white space");
    char many[512] = "t0";
    for (int i = 1; i <= GM_MAX_TYPES; i++) snprintf(many + strlen(many), sizeof many - strlen(many), ",t%d", i);
    assert_refused(gm_labels_parse(many, &l, &err), GM_ERR_DATA, "\"t64\" is one type too many: at most 64");
    assert_int_equal(l.count, 0);
}

static void formats_have_their_types(void **state)
{
    (void)state;
    assert_string_equal(gm_labels_of_format("twitter-gmner"), "PER,LOC,ORG,OTHER");
    assert_string_equal(gm_labels_of_format("synth"), "PER,LOC,ORG,OTHER");
    assert_string_equal(gm_labels_of_format("ccks"), "aircraft,vehicle,weapon,vessel,location,other");
    assert_string_equal(gm_labels_of_format("twitter-fmnerg"),
                        "PER,location,building,organization,product,art,event,other");
    assert_null(gm_labels_of_format("conll"));
    assert_null(gm_labels_of_format("records"));
}

static void bad_tags_are_refused(void **state)
{
    (void)state;
    static const char *const forms[] = { "", "o", "B", "B-", "X-PER", "B_PER", "PER", "-PER", "b-PER", "OO" };
    gm_err err;
    gm_labels l;
    gm_span out[2];
    int32_t count;
    assert_ok(gm_labels_parse("PER", &l, &err));
    for (size_t i = 0; i < GM_LEN(forms); i++) {
        const char *const tags[] = { "O", forms[i] };
        assert_refused(gm_bio_decode_text(tags, 2, &l, GM_BIO_LENIENT, out, &count, &err), GM_ERR_DATA, "is not a tag");
        assert_non_null(strstr(err.text, "word 1: "));
    }
    const char *const unknown[] = { "B-LOC" };
    assert_refused(gm_bio_decode_text(unknown, 1, &l, GM_BIO_STRICT, out, &count, &err), GM_ERR_DATA,
                   "the type of \"B-LOC\" is unknown");
    gm_labels_free(&l);
}

static void bioes_text_is_read(void **state)
{
    (void)state;
    static const char *const tags[] = { "S-A", "B-A", "E-A", "I-A", "E-B", "B-B", "I-B", "S-B" };
    static const gm_span lenient[] = { { 0, 0, 0 }, { 1, 2, 0 }, { 3, 3, 0 }, { 4, 4, 1 }, { 5, 6, 1 }, { 7, 7, 1 } };
    static const gm_span strict[] = { { 0, 0, 0 }, { 1, 2, 0 }, { 5, 6, 1 }, { 7, 7, 1 } };
    gm_err err;
    gm_labels l;
    gm_span out[GM_LEN(tags)];
    int32_t count;
    assert_ok(gm_labels_parse("A,B", &l, &err));
    assert_ok(gm_bio_decode_text(tags, GM_LEN(tags), &l, GM_BIO_LENIENT, out, &count, &err));
    assert_int_equal(count, GM_LEN(lenient));
    assert_memory_equal(out, lenient, sizeof lenient);
    assert_ok(gm_bio_decode_text(tags, GM_LEN(tags), &l, GM_BIO_STRICT, out, &count, &err));
    assert_int_equal(count, GM_LEN(strict));
    assert_memory_equal(out, strict, sizeof strict);
    gm_labels_free(&l);
}

static void tag_numbers_are_the_documented_ones(void **state)
{
    (void)state;
    static const gm_span spans[] = { { 0, 0, 0 }, { 1, 3, 1 }, { 5, 6, 0 } };
    static const int32_t bio[] = { 1, 3, 4, 4, 0, 1, 2 }, bioes[] = { 4, 5, 6, 7, 0, 1, 3 };
    int32_t tag[7];
    assert_int_equal(gm_tag_count(GM_TAGS_BIO, 4), 9);
    assert_int_equal(gm_tag_count(GM_TAGS_BIOES, 4), 17);
    gm_tags_encode(GM_TAGS_BIO, spans, 3, tag, 7);
    assert_memory_equal(tag, bio, sizeof bio);
    gm_tags_encode(GM_TAGS_BIOES, spans, 3, tag, 7);
    assert_memory_equal(tag, bioes, sizeof bioes);
}

static void spans_beyond_the_words_give_no_tags(void **state)
{
    (void)state;
    static const gm_span spans[] = { { 0, 0, 0 }, { 2, 4, 0 }, { 6, 7, 0 } };
    static const int32_t wanted[] = { 1, 0, 0, 0 };
    int32_t tag[4];
    gm_tags_encode(GM_TAGS_BIO, spans, 3, tag, 4);
    assert_memory_equal(tag, wanted, sizeof wanted);
}

/* Random spans without overlap, some adjacent and of equal type: decode(encode(x)) is x, in both schemes. */
static void decoding_gives_back_what_was_encoded(void **state)
{
    (void)state;
    enum { WORDS = 40 };
    for (uint32_t trial = 0; trial < 2000; trial++) {
        gm_span spans[WORDS], back[WORDS];
        int32_t count = 0, tag[WORDS];
        for (int32_t at = 0; at < WORDS;) {
            const gm_philox4 draw = gm_philox(7, (uint32_t)at, trial, 0, GM_SITE_TEST);
            const int32_t length = 1 + (int32_t)gm_below(draw.word[0], 4);
            if (at + length > WORDS) break;
            if (gm_below(draw.word[1], 3) > 0)
                spans[count++] = (gm_span) { at, at + length - 1, (int32_t)gm_below(draw.word[2], 3) };
            at += length;
        }
        for (int s = GM_TAGS_BIO; s <= GM_TAGS_BIOES; s++) {
            gm_tags_encode((gm_tag_scheme)s, spans, count, tag, WORDS);
            assert_int_equal(gm_tags_decode((gm_tag_scheme)s, tag, WORDS, back), count);
            assert_memory_equal(back, spans, (size_t)count * sizeof *spans);
            for (int32_t i = 0; i <= WORDS; i++) /* and the sequence is well-formed */
                assert_true(gm_tag_allowed((gm_tag_scheme)s, i > 0 ? tag[i - 1] : -1, i < WORDS ? tag[i] : -1));
        }
    }
}

/* Any sequence of tags at all: what is decoded lies in order, without overlap, and encodes and decodes to itself. */
static void any_tag_sequence_decodes(void **state)
{
    (void)state;
    enum { WORDS = 12, TYPES = 2 };
    for (uint32_t trial = 0; trial < 4000; trial++) {
        const gm_tag_scheme s = trial % 2 ? GM_TAGS_BIOES : GM_TAGS_BIO;
        gm_span spans[WORDS], again[WORDS];
        int32_t tag[WORDS], last = -1;
        for (int32_t i = 0; i < WORDS; i++)
            tag[i] = (int32_t)gm_below(gm_philox(8, (uint32_t)i, trial, 0, GM_SITE_TEST).word[0],
                                       (uint32_t)gm_tag_count(s, TYPES));
        const int32_t count = gm_tags_decode(s, tag, WORDS, spans);
        for (int32_t k = 0; k < count; k++) {
            assert_true(spans[k].start > last && spans[k].end >= spans[k].start && spans[k].end < WORDS);
            last = spans[k].end;
        }
        gm_tags_encode(s, spans, count, tag, WORDS);
        assert_int_equal(gm_tags_decode(s, tag, WORDS, again), count);
        assert_memory_equal(again, spans, (size_t)count * sizeof *spans);
    }
}

/* The whole table of each scheme with one type, and the rule between two types. Rows: before; columns: after. */
static void neighbours_follow_the_table(void **state)
{
    (void)state;
    static const bool bio[4][4] = {
        /*            end  O  B  I */
        /* begin */ { 1, 1, 1, 0 },
        /* O     */ { 1, 1, 1, 0 },
        /* B     */ { 1, 1, 1, 1 },
        /* I     */ { 1, 1, 1, 1 },
    };
    static const bool bioes[6][6] = {
        /*            end  O  B  I  E  S */
        /* begin */ { 1, 1, 1, 0, 0, 1 },
        /* O     */ { 1, 1, 1, 0, 0, 1 },
        /* B     */ { 0, 0, 0, 1, 1, 0 },
        /* I     */ { 0, 0, 0, 1, 1, 0 },
        /* E     */ { 1, 1, 1, 0, 0, 1 },
        /* S     */ { 1, 1, 1, 0, 0, 1 },
    };
    for (int32_t from = -1; from < 3; from++)
        for (int32_t to = -1; to < 3; to++)
            assert_int_equal(gm_tag_allowed(GM_TAGS_BIO, from, to), bio[from + 1][to + 1]);
    for (int32_t from = -1; from < 5; from++)
        for (int32_t to = -1; to < 5; to++)
            assert_int_equal(gm_tag_allowed(GM_TAGS_BIOES, from, to), bioes[from + 1][to + 1]);
    assert_false(gm_tag_allowed(GM_TAGS_BIO, 1, 4));   /* B of type 0, I of type 1 */
    assert_true(gm_tag_allowed(GM_TAGS_BIO, 3, 4));    /* both of type 1 */
    assert_false(gm_tag_allowed(GM_TAGS_BIOES, 1, 7)); /* B of type 0, E of type 1 */
    assert_true(gm_tag_allowed(GM_TAGS_BIOES, 5, 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_parsed_in_order),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(formats_have_their_types),
        cmocka_unit_test(bad_tags_are_refused),
        cmocka_unit_test(bioes_text_is_read),
        cmocka_unit_test(tag_numbers_are_the_documented_ones),
        cmocka_unit_test(spans_beyond_the_words_give_no_tags),
        cmocka_unit_test(decoding_gives_back_what_was_encoded),
        cmocka_unit_test(any_tag_sequence_decodes),
        cmocka_unit_test(neighbours_follow_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
