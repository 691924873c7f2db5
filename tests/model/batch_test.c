/* Samples and batches: what is packed where, what is cut, which rows are touched, and that a batch is reused. */
#include "tests/model/model_test.h"

/* Numbers of the pieces below. */
enum { UNK = 1, CLS, SEP, MASK, ONE, TWO, S, THREE, FOUR };
static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\ntwo\n##s\nthree\nfour\n";

static gm_tokenizer *tokenizer;
static gm_labels labels;

/* Records, and samples of them with gold. */
typedef struct set {
    gm_records records;
    gm_sample samples[4];
    const gm_sample *picked[4];
    int32_t count;
} set;

static set make(const char *const *lines, int32_t max_len)
{
    set s = { .records = records_of(lines) };
    for (; s.count < (int32_t)s.records.count; s.count++)
        assert_ok(
            gm_sample_make(&s.samples[s.count], &s.records.items[s.count], tokenizer, &labels, max_len, true, &err));
    return s;
}

/* Pointers into the set: taken where it has come to rest. */
static const gm_sample *const *pick(set *s)
{
    for (int32_t i = 0; i < s->count; i++) s->picked[i] = &s->samples[i];
    return s->picked;
}

static void drop(set *s)
{
    for (int32_t i = 0; i < s->count; i++) gm_sample_free(&s->samples[i]);
    gm_records_free(&s->records);
}

#define ENTITY(start, end, type) "{\"start\":" #start ",\"end\":" #end ",\"type\":\"" type "\",\"boxes\":[]}"
static const char *const three[] = {
    "{\"id\":\"x\",\"tokens\":[\"Ones\",\"two\"],\"entities\":[" ENTITY(0, 1, "LOC") "]}",
    "{\"id\":\"y\",\"tokens\":[\"zzz\"],\"entities\":[]}",
    "{\"id\":\"z\",\"tokens\":[\"two\",\"twos\",\"four\",\"four\",\"four\",\"four\",\"four\",\"four\",\"four\",\"one\"]"
    ",\"entities\":[" ENTITY(0, 8, "PER") "," ENTITY(9, 9, "LOC") "]}",
    NULL,
};

static void expect(const int32_t *got, const int32_t *want, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (got[i] != want[i]) fail_msg("%s[%zu] is %d, expected %d", what, i, got[i], want[i]);
}
#define EXPECT(got, ...)                                                                                               \
    expect(got, (const int32_t[]) { __VA_ARGS__ }, GM_LEN(((const int32_t[]) { __VA_ARGS__ })), #got)

static void packs_pieces_and_words(void **state)
{
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { .draw = 7 }, &err));
    EXPECT(b.ids, CLS, ONE, S, TWO, SEP, CLS, UNK, SEP, CLS, TWO, TWO, S, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, ONE,
           SEP);
    EXPECT(b.tokens.cu, 0, 5, 8, 21);
    EXPECT(b.words.cu, 0, 2, 3, 13);
    EXPECT(b.first_piece, 1, 3, 6, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19);
    assert_true(b.tokens.rows == 21 && *b.tokens.n == 21 && b.words.rows == 13 && *b.words.n == 13);
    assert_true(b.tokens.sequences == 3 && b.words.sequences == 3);
    for (int32_t q = 0; q < 3; q++) {
        assert_true(b.tokens.key[q] == gm_fnv1a(s.records.items[q].id) && b.words.key[q] == b.tokens.key[q]);
        assert_true(b.tokens.draw[q] == 7 && b.words.draw[q] == 7);
        for (int32_t i = b.tokens.cu[q]; i < b.tokens.cu[q + 1]; i++)
            assert_true(b.tokens.token[i].sequence == q && b.tokens.token[i].position == i - b.tokens.cu[q]);
        for (int32_t i = b.words.cu[q]; i < b.words.cu[q + 1]; i++)
            assert_true(b.words.token[i].sequence == q && b.words.token[i].position == i - b.words.cu[q]);
    }
    for (int32_t i = 0; i < 21; i++) assert_int_equal(b.slot[i], b.ids[i]); /* no list of touched rows */
    gm_batch_free(&b);
    drop(&s);
}

/* What each piece and each word is shown: pieces of a word the same, [CLS], [SEP] and what lies beyond a sentence nothing. */
static void shows_shapes_of_words_and_neighbours(void **state)
{
    enum { CAP = GM_SHAPE_CAPITALISED, LOW = GM_SHAPE_LOWER, BAG = GM_SHAPE_BAG, ROWS = GM_SHAPES };
    static const uint8_t pieces[][BAG] = { { 0, 0, 0 }, { 0, CAP, LOW }, { 0, CAP, LOW }, { CAP, LOW, 0 }, { 0, 0, 0 }, { 0, 0, 0 },
                                           { 0, LOW, 0 }, { 0, 0, 0 }, { 0, 0, 0 }, { 0, LOW, LOW }, { LOW, LOW, LOW } };
    static const int words[] = { 1, 3, 6, 9, 10 }; /* their first pieces */
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { 0 }, &err));
    for (size_t i = 0; i < GM_LEN(pieces); i++)
        for (int k = 0; k < BAG; k++) assert_int_equal(b.token_shape[i * BAG + (size_t)k], k * ROWS + pieces[i][k]);
    for (size_t i = 0; i < GM_LEN(words); i++) assert_memory_equal(b.word_shape + i * BAG, b.token_shape + (size_t)words[i] * BAG, BAG);
    const int last = 12; /* "one" at the end of the third sentence */
    assert_int_equal(b.word_shape[last * BAG + 2], 2 * ROWS + GM_SHAPE_NONE);
    gm_batch_free(&b);
    drop(&s);
}

/* Class of the span of words [from, to] of the sentence that begins at word `at`. */
static int label(const gm_batch *b, int32_t at, int32_t from, int32_t to)
{
    return b->span_label[(at + from) * GM_SPAN_WIDTHS + to - from];
}

static void labels_every_span_once(void **state)
{
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { 0 }, &err));
    int32_t kinds[256] = { 0 };
    for (int32_t i = 0; i < 13 * GM_SPAN_WIDTHS; i++) kinds[b.span_label[i]]++;
    /* Spans inside sentences of 2, 1 and 10 words, at most 8 wide: 3 + 1 + (8 + 8 + 8 + 7 + 6 + 5 + 4 + 3 + 2 + 1).
     * */
    assert_int_equal(kinds[0] + kinds[1] + kinds[2], 3 + 1 + 52);
    assert_int_equal(kinds[255], 13 * GM_SPAN_WIDTHS - 56);
    assert_int_equal(kinds[2], 2); /* LOC is type 1, class 2 */
    assert_int_equal(kinds[1], 0); /* the PER is nine words wide: no span of the head */
    assert_int_equal(label(&b, 0, 0, 1), 2);
    assert_int_equal(label(&b, 3, 9, 9), 2);
    assert_int_equal(label(&b, 0, 1, 2), 255); /* the next word is another sentence's */
    EXPECT(b.tag, 3, 4, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3);
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { .scheme = GM_TAGS_BIOES }, &err));
    EXPECT(b.tag, 5, 7, 0, 1, 2, 2, 2, 2, 2, 2, 2, 3, 8);
    gm_batch_free(&b);
    drop(&s);
}

/* The spans of the fixture's sentence in its order: labels are row-major in (start, width). */
static void span_count_of_the_fixture(void **state)
{
    (void)state;
    const cJSON *first = cJSON_GetObjectItem(gmt_fixture("span_head"), "cases")->child;
    const int width = cJSON_GetObjectItem(cJSON_GetObjectItem(first, "inputs"), "max_width")->valueint;
    double want[64];
    const int count =
        gmt_json_doubles(cJSON_GetObjectItem(cJSON_GetObjectItem(first, "expected"), "spans"), want, 64) / 2;
    set s = make(
        (const char *[]) { "{\"id\":\"f\",\"tokens\":[\"one\",\"two\",\"one\",\"two\"],\"entities\":[]}", NULL }, 32);
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, pick(&s), 1, (gm_batch_options) { 0 }, &err));
    int found = 0;
    for (int i = 0; i < 4; i++)
        for (int w = 0; w < GM_SPAN_WIDTHS; w++) {
            if (b.span_label[i * GM_SPAN_WIDTHS + w] == 255 || w >= width) continue;
            assert_true(found < count && want[2 * found] == i && want[2 * found + 1] == i + w);
            found++;
        }
    assert_int_equal(found, count);
    gm_batch_free(&b);
    drop(&s);
}

static void tails_are_zero(void **state)
{
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { 0 }, &err));
    memset(b.block.host, 0x5A, b.block.bytes); /* what an earlier batch left */
    assert_ok(gm_batch_fill(&b, pick(&s), 2, (gm_batch_options) { 0 }, &err));
    assert_true(b.tokens.capacity == (b.tokens.rows + 15) / 16 * 16 && b.words.capacity == (b.words.rows + 15) / 16 * 16);
    for (int32_t i = b.tokens.rows; i < b.tokens.capacity; i++)
        assert_true(b.ids[i] == 0 && b.slot[i] == 0 && b.tokens.token[i].sequence == 0 &&
                    b.tokens.token[i].position == 0);
    for (int32_t i = b.words.rows; i < b.words.capacity; i++)
        assert_true(b.first_piece[i] == 0 && b.tag[i] == 0 && b.words.token[i].sequence == 0 &&
                    b.words.token[i].position == 0);
    gm_batch_free(&b);
    drop(&s);
}

/* Two shards of a step share the list: rows keep their slots, in order of first use. The next step begins anew. */
static void touched_rows_have_slots(void **state)
{
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    gm_touched t;
    assert_ok(gm_touched_make(&t, 10, &err));
    gm_touched_begin(&t);
    assert_ok(gm_batch_fill(&b, pick(&s), 2, (gm_batch_options) { .touched = &t }, &err));
    EXPECT(t.row, CLS, ONE, S, TWO, SEP, UNK);
    EXPECT(b.slot, 0, 1, 2, 3, 4, 0, 5, 4);
    EXPECT(b.ids, CLS, ONE, S, TWO, SEP, CLS, UNK, SEP);
    assert_ok(gm_batch_fill(&b, pick(&s) + 2, 1, (gm_batch_options) { .touched = &t }, &err));
    assert_int_equal(t.count, 7);
    EXPECT(t.row, CLS, ONE, S, TWO, SEP, UNK, FOUR);
    EXPECT(b.slot, 0, 3, 3, 2, 6, 6, 6, 6, 6, 6, 6, 1, 4);
    gm_touched_begin(&t);
    assert_int_equal(t.count, 0);
    assert_ok(gm_batch_fill(&b, pick(&s) + 1, 1, (gm_batch_options) { .touched = &t }, &err));
    EXPECT(t.row, CLS, UNK, SEP);
    EXPECT(b.slot, 0, 1, 2);
    gm_touched_free(&t);
    gm_batch_free(&b);
    drop(&s);
}

static void no_sentence_is_an_empty_batch(void **state)
{
    (void)state;
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, NULL, 0, (gm_batch_options) { 0 }, &err));
    assert_true(b.tokens.rows == 0 && b.words.rows == 0 && b.tokens.sequences == 0 && *b.tokens.n == 0 &&
                *b.words.n == 0);
    assert_true(b.tokens.cu[0] == 0 && b.words.cu[0] == 0);
    gm_batch_free(&b);
    gm_batch_free(&b); /* takes a freed one */
}

static void a_sentence_of_max_len_is_whole(void **state)
{
    (void)state;
    set s = make(three, 13); /* the third sentence has 13 pieces */
    assert_true(s.samples[2].text.count == 13 && s.samples[2].text.words == 10 && !s.samples[2].text.is_cut);
    assert_int_equal(s.samples[2].gold_count, 2);
    drop(&s);
    s = make(three, 12);
    assert_true(s.samples[2].text.count == 12 && s.samples[2].text.words == 9 && s.samples[2].text.is_cut);
    assert_int_equal(s.samples[2].gold_count, 1); /* the entity of the last word went with it */
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { 0 }, &err));
    EXPECT(b.words.cu, 0, 2, 3, 12);
    EXPECT(b.tag, 3, 4, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2);
    gm_batch_free(&b);
    drop(&s);
}

static void a_data_set_counts_its_losses(void **state)
{
    (void)state;
    gm_records records = records_of(three);
    gm_dataset d;
    assert_ok(gm_dataset_make(&d, &records, tokenizer, &labels, 12, &err));
    assert_true(records.items == NULL && records.count == 0); /* taken over */
    assert_true(d.pieces == 5 + 3 + 12 && d.words == 12 && d.entities == 3);
    assert_true(d.cut_sentences == 1 && d.cut_words == 1 && d.lost_to_cut == 1 && d.lost_to_width == 1);
    gm_dataset_free(&d);
}

static void reuse_allocates_nothing(void **state)
{
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    gm_touched t;
    assert_ok(gm_touched_make(&t, 10, &err));
    for (int round = 0; round < 2; round++) {
        const uint64_t before = gm_alloc_count();
        for (int32_t n = 3; n >= 0; n--) {
            gm_touched_begin(&t);
            assert_ok(gm_batch_fill(&b, pick(&s), n, (gm_batch_options) { .touched = &t }, &err));
        }
        if (round == 1) assert_true(gm_alloc_count() == before);
    }
    gm_touched_free(&t);
    gm_batch_free(&b);
    drop(&s);
}

/* It once kept the new size beside no block, and the next fill wrote to NULL. */
static void growth_that_failed_can_be_tried_again(void **state)
{
    (void)state;
    set s = make(three, 32);
    gm_batch b = { 0 };
    gm_alloc_fail_at(0);
    assert_int_equal(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { 0 }, &err), GM_ERR_NOMEM);
    gm_alloc_fail_at(-1);
    assert_ok(gm_batch_fill(&b, pick(&s), 3, (gm_batch_options) { 0 }, &err));
    EXPECT(b.tokens.cu, 0, 5, 8, 21);
    gm_batch_free(&b);
    drop(&s);
}

static void an_unknown_type_names_its_record(void **state)
{
    (void)state;
    gm_records r = records_of(
        (const char *[]) { "{\"id\":\"q7\",\"tokens\":[\"one\"],\"entities\":[" ENTITY(0, 0, "MISC") "]}", NULL });
    gm_sample s;
    assert_int_equal(gm_sample_make(&s, &r.items[0], tokenizer, &labels, 16, true, &err), GM_ERR_DATA);
    assert_string_equal(err.text, "record \"q7\": entities[0] has the type \"MISC\", which the model does not know");
    assert_ok(gm_sample_make(&s, &r.items[0], tokenizer, &labels, 16, false, &err)); /* prediction reads no gold */
    assert_int_equal(s.gold_count, 0);
    gm_sample_free(&s);
    gm_dataset d;
    assert_int_equal(gm_dataset_make(&d, &r, tokenizer, &labels, 16, &err), GM_ERR_DATA);
    assert_null(r.items);
}

static void a_record_without_words(void **state)
{
    (void)state;
    const gm_record r = { .id = (char[]) { "e" } };
    gm_sample s;
    assert_ok(gm_sample_make(&s, &r, tokenizer, &labels, 16, true, &err));
    const gm_sample *const one = &s;
    gm_batch b = { 0 };
    assert_ok(gm_batch_fill(&b, &one, 1, (gm_batch_options) { 0 }, &err));
    EXPECT(b.ids, CLS, SEP);
    EXPECT(b.words.cu, 0, 0);
    gm_batch_free(&b);
    gm_sample_free(&s);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_records records = records_of(three);
        gm_dataset d;
        gm_touched t = { 0 };
        gm_batch b = { 0 };
        gm_alloc_fail_at(k);
        status = gm_dataset_make(&d, &records, tokenizer, &labels, 32, &err);
        if (status == GM_OK) {
            const gm_sample *const picked[] = { &d.samples[0], &d.samples[1], &d.samples[2] };
            status = gm_touched_make(&t, 10, &err);
            if (status == GM_OK) {
                gm_touched_begin(&t);
                status = gm_batch_fill(&b, picked, 3, (gm_batch_options) { .touched = &t }, &err);
            }
            gm_dataset_free(&d);
        }
        gm_alloc_fail_at(-1);
        gm_batch_free(&b);
        gm_touched_free(&t);
        assert_true(status == GM_OK || (status == GM_ERR_NOMEM && err.status == GM_ERR_NOMEM));
    }
    assert_true(k > 8);
}

int main(void)
{
    if (gm_tokenizer_parse_bert("vocab", vocab, sizeof vocab - 1, true, &tokenizer, &err) != GM_OK ||
        gm_labels_parse("PER,LOC", &labels, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_pieces_and_words),
        cmocka_unit_test(shows_shapes_of_words_and_neighbours),
        cmocka_unit_test(labels_every_span_once),
        cmocka_unit_test(tails_are_zero),
        cmocka_unit_test(touched_rows_have_slots),
        cmocka_unit_test(no_sentence_is_an_empty_batch),
        cmocka_unit_test(a_sentence_of_max_len_is_whole),
        cmocka_unit_test(a_data_set_counts_its_losses),
        cmocka_unit_test(reuse_allocates_nothing),
        cmocka_unit_test(growth_that_failed_can_be_tried_again),
        cmocka_unit_test(an_unknown_type_names_its_record),
        cmocka_unit_test(a_record_without_words),
        cmocka_unit_test(every_allocation_may_fail),
    };
    const struct CMUnitTest fixture[] = { cmocka_unit_test(
        span_count_of_the_fixture) }; /* last: it ends the program where the fixture is missing */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed == 0) failed = cmocka_run_group_tests(fixture, NULL, NULL);
    gm_labels_free(&labels);
    gm_tokenizer_destroy(tokenizer);
    return failed;
}
