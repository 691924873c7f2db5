/* The published figures, held against the files of the data sets; and tags -> spans -> tags on all of them. */
#include "tests/data/data_test.h"

#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/id_set.h"
#include "data/labels.h"
#include "data/readers.h"

static const struct set {
    const char *format, *text, *boxes, *without;
    gm_import_counts wanted;
} sets[] = {
    { "twitter-gmner",
      "data/twitter-gmner/train.txt",
      "data/twitter-gmner/xml",
      NULL,
      { .samples = 7000,
        .words = 112542,
        .entities = 11782,
        .groundable = 4694,
        .boxes = 5680,
        .stray_tags = 4,
        .images_with_boxes = 3926,
        .images_without = 3074,
        .boxes_unmatched = 45 } },
    { "twitter-gmner",
      "data/twitter-gmner/dev.txt",
      "data/twitter-gmner/xml",
      NULL,
      { .samples = 1500,
        .words = 24199,
        .entities = 2453,
        .groundable = 986,
        .boxes = 1166,
        .stray_tags = 3,
        .images_with_boxes = 832,
        .images_without = 668,
        .boxes_unmatched = 5 } },
    { "twitter-fmnerg",
      "data/twitter-fmnerg/train.txt",
      "data/twitter-gmner/xml",
      NULL,
      { .samples = 7000,
        .words = 112542,
        .entities = 11779,
        .groundable = 4697,
        .boxes = 5683,
        .images_with_boxes = 3926,
        .images_without = 3074,
        .boxes_unmatched = 42 } },
    { "twitter-fmnerg",
      "data/twitter-fmnerg/dev.txt",
      "data/twitter-gmner/xml",
      NULL,
      { .samples = 1500,
        .words = 24199,
        .entities = 2450,
        .groundable = 986,
        .boxes = 1166,
        .images_with_boxes = 832,
        .images_without = 668,
        .boxes_unmatched = 5 } },
    { "ccks",
      "data/ccks-aug/CCKS_Aug_train.conll",
      NULL,
      NULL,
      { .samples = 16000, .words = 198638, .entities = 13386 } },
    { "ccks", "data/ccks-aug/CCKS_Aug_dev.conll", NULL, NULL, { .samples = 5500, .words = 73433, .entities = 5982 } },
    { "ccks", "data/ccks-aug/CCKS_test.conll", NULL, NULL, { .samples = 500, .words = 8033 } },
    /* 5500 sentences of dev stand in train 5561 times: train repeats some. */
    { "ccks",
      "data/ccks-aug/CCKS_Aug_train.conll",
      NULL,
      "data/ccks-aug/CCKS_Aug_dev.conll",
      { .samples = 10439, .words = 124560, .entities = 7382, .dropped = 5561 } },
    { "conll", "data/twitter-fmnerg/dev.txt", NULL, NULL, { .samples = -1 } }, /* IMGID lines are no tokens */
};

static void read_set(const struct set *s, gm_records *all, gm_import_counts *counts)
{
    gm_err err;
    const gm_import what = { .format = s->format,
                             .text = gmt_shared(s->text),
                             .boxes = s->boxes ? gmt_shared(s->boxes) : NULL,
                             .without = s->without ? gmt_shared(s->without) : NULL };
    *all = (gm_records) { 0 };
    if (s->wanted.samples < 0) {
        assert_refused(gm_import_read(&what, all, counts, &err), GM_ERR_DATA, "dev.txt:1: no tab in \"IMGID:");
        return;
    }
    assert_ok(gm_import_read(&what, all, counts, &err));
}

static void figures_are_the_published_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < GM_LEN(sets); i++) {
        const struct set *s = &sets[i];
        const gm_import_counts *w = &s->wanted;
        gm_import_counts c;
        gm_records all;
        gm_err err;
        read_set(s, &all, &c);
        if (w->samples < 0) continue;
        const struct {
            const char *name;
            int64_t got, wanted;
        } figures[] = {
            { "samples", c.samples, w->samples },
            { "words", c.words, w->words },
            { "entities", c.entities, w->entities },
            { "groundable", c.groundable, w->groundable },
            { "boxes", c.boxes, w->boxes },
            { "stray tags", c.stray_tags, w->stray_tags },
            { "images with boxes", c.images_with_boxes, w->images_with_boxes },
            { "images without", c.images_without, w->images_without },
            { "dropped", c.dropped, w->dropped },
            { "ids twice", c.ids_twice, w->ids_twice },
            { "boxes unmatched", c.boxes_unmatched, w->boxes_unmatched },
        };
        for (size_t k = 0; k < GM_LEN(figures); k++)
            if (figures[k].got != figures[k].wanted)
                fail_msg("%s: %s: %lld, expected %lld", s->text, figures[k].name, (long long)figures[k].got,
                         (long long)figures[k].wanted);
        assert_ok(gm_records_check_ids(&all, s->text, &err));
        gm_records_free(&all);
    }
}

/* The sentences of dev all stand in train: the reason for dropping them. */
static void every_ccks_dev_sentence_stands_in_train(void **state)
{
    (void)state;
    gm_err err;
    gm_records all = { 0 };
    gm_import_counts c;
    const gm_import what = { .format = "ccks",
                             .text = gmt_shared("data/ccks-aug/CCKS_Aug_dev.conll"),
                             .without = gmt_shared("data/ccks-aug/CCKS_Aug_train.conll") };
    assert_refused(gm_import_read(&what, &all, &c, &err), GM_ERR_DATA, "none is left");
}

/* FMNERG: eight coarse types, 51 fine ones, every entity has one. */
static void fmnerg_has_its_types(void **state)
{
    (void)state;
    gm_err err;
    gm_id_set fine = { 0 }, coarse = { 0 };
    gm_records all;
    gm_import_counts c;
    read_set(&sets[2], &all, &c);
    for (size_t i = 0; i < all.count; i++) {
        for (int32_t k = 0; k < all.items[i].entity_count; k++) {
            size_t first;
            assert_non_null(all.items[i].entities[k].fine);
            assert_ok(gm_id_set_add(&fine, all.items[i].entities[k].fine, i, &first, &err));
            assert_ok(gm_id_set_add(&coarse, all.items[i].entities[k].type, i, &first, &err));
        }
    }
    assert_int_equal(fine.count, 51);
    assert_int_equal(coarse.count, 8);
    assert_true(gm_id_set_has(&coarse, "PER") && !gm_id_set_has(&coarse, "person"));
    gm_id_set_free(&fine);
    gm_id_set_free(&coarse);
    gm_records_free(&all);
}

static gm_span *spans_of(const gm_record *r, const gm_labels *l)
{
    gm_span *spans = gm_calloc((size_t)r->entity_count + 1, sizeof *spans);
    assert_non_null(spans);
    for (int32_t k = 0; k < r->entity_count; k++)
        spans[k] = (gm_span) { r->entities[k].start, r->entities[k].end, gm_labels_find(l, r->entities[k].type) };
    return spans;
}

/* Walks the file beside the records: tags made from the spans must be the tags of the file. Returns how many differ. */
static int64_t compare_with_file(const struct set *s, const gm_records *all, const gm_labels *l)
{
    gm_err err;
    gm_lines lines;
    bool have = true;
    int64_t differ = 0;
    assert_ok(gm_lines_open(&lines, gmt_shared(s->text), &err));
    for (size_t i = 0; i < all->count; i++) {
        const gm_record *r = &all->items[i];
        gm_span *spans = spans_of(r, l);
        int32_t *tag = gm_calloc((size_t)r->token_count, sizeof *tag);
        assert_non_null(tag);
        gm_tags_encode(GM_TAGS_BIO, spans, r->entity_count, tag, r->token_count);
        for (int32_t w = 0; w < r->token_count;) {
            assert_ok(gm_lines_next(&lines, &have, &err));
            assert_true(have);
            const char *tab = strchr(lines.line, '\t');
            if (tab == NULL) continue; /* an id or an empty line */
            char wanted[64] = "O";
            if (tag[w] > 0)
                snprintf(wanted, sizeof wanted, "%c-%s", tag[w] % 2 ? 'B' : 'I', l->names[(tag[w] - 1) / 2]);
            assert_int_equal(strlen(r->tokens[w]), tab - lines.line);
            assert_memory_equal(r->tokens[w], lines.line, (size_t)(tab - lines.line));
            differ += strcmp(tab + 1, wanted) != 0;
            w++;
        }
        gm_free(tag);
        gm_free(spans);
    }
    gm_lines_close(&lines);
    return differ;
}

static void tags_come_back_but_for_the_stray_ones(void **state)
{
    (void)state;
    static const size_t chosen[] = { 0, 1, 4, 5 };
    for (size_t i = 0; i < GM_LEN(chosen); i++) {
        gm_err err;
        gm_labels l;
        gm_records all;
        gm_import_counts c;
        read_set(&sets[chosen[i]], &all, &c);
        assert_ok(gm_labels_parse(gm_labels_of_format(sets[chosen[i]].format), &l, &err));
        assert_int_equal(compare_with_file(&sets[chosen[i]], &all, &l), c.stray_tags);
        gm_labels_free(&l);
        gm_records_free(&all);
    }
}

static void spans_come_back_in_both_schemes(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        gm_err err;
        gm_labels l;
        gm_records all;
        gm_import_counts c;
        read_set(&sets[i], &all, &c);
        assert_ok(gm_labels_parse(gm_labels_of_format(sets[i].format), &l, &err));
        for (size_t k = 0; k < all.count; k++) {
            const gm_record *r = &all.items[k];
            gm_span *spans = spans_of(r, &l), *back = gm_calloc((size_t)r->token_count, sizeof *back);
            int32_t *tag = gm_calloc((size_t)r->token_count, sizeof *tag);
            assert_true(back != NULL && tag != NULL);
            for (int s = GM_TAGS_BIO; s <= GM_TAGS_BIOES; s++) {
                gm_tags_encode((gm_tag_scheme)s, spans, r->entity_count, tag, r->token_count);
                assert_int_equal(gm_tags_decode((gm_tag_scheme)s, tag, r->token_count, back), r->entity_count);
                assert_memory_equal(back, spans, (size_t)r->entity_count * sizeof *spans);
            }
            gm_free(spans);
            gm_free(back);
            gm_free(tag);
        }
        gm_labels_free(&l);
        gm_records_free(&all);
    }
}

/* Written, read and written again, every record is the same line. */
static void records_survive_a_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        gm_err err;
        gm_records all;
        gm_import_counts c;
        gm_buffer first = { 0 }, second = { 0 };
        read_set(&sets[i], &all, &c);
        for (size_t k = 0; k < all.count; k++) {
            gm_record back;
            first.size = second.size = 0;
            assert_ok(gm_record_write(&all.items[k], &first, &err));
            assert_ok(gm_record_parse(first.data, first.size, &back, &err));
            assert_ok(gm_record_write(&back, &second, &err));
            assert_string_equal(first.data, second.data);
            assert_int_equal(back.token_count, all.items[k].token_count);
            for (int32_t w = 0; w < back.token_count; w++) assert_string_equal(back.tokens[w], all.items[k].tokens[w]);
            gm_record_free(&back);
        }
        gm_buffer_free(&first);
        gm_buffer_free(&second);
        gm_records_free(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_the_published_ones),
        cmocka_unit_test(every_ccks_dev_sentence_stands_in_train),
        cmocka_unit_test(fmnerg_has_its_types),
        cmocka_unit_test(tags_come_back_but_for_the_stray_ones),
        cmocka_unit_test(spans_come_back_in_both_schemes),
        cmocka_unit_test(records_survive_a_round_trip),
    };
    skip_without_xml();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
