/* The readers of tagged text on small files of each kind: what they make of it, and path:line for what is wrong. */
#include "tests/data/data_test.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/labels.h"
#include "data/readers.h"

/* Where the test's files lie: text.txt, other.txt and the folder of boxes. */
static const char *folder;
static char text_path[512], other_path[512], boxes_path[512];

static gm_import_counts counts;

static gm_status read_bytes(const char *format, const char *text, size_t n, gm_records *all, gm_err *err)
{
    gmt_write_file(text_path, text, n);
    *all = (gm_records) { 0 };
    return gm_import_read(&(gm_import) { .format = format, .text = text_path }, all, &counts, err);
}

static gm_status read_text(const char *format, const char *text, gm_records *all, gm_err *err)
{
    return read_bytes(format, text, strlen(text), all, err);
}

static void check_entity(const gm_record *r, int32_t k, int32_t start, int32_t end, const char *type)
{
    assert_true(k < r->entity_count);
    assert_int_equal(r->entities[k].start, start);
    assert_int_equal(r->entities[k].end, end);
    assert_string_equal(r->entities[k].type, type);
    assert_true(isnan(r->entities[k].score) && isnan(r->entities[k].region_score));
    assert_null(r->entities[k].extra);
}

static void twitter_text_is_read(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    assert_ok(
        read_text("twitter-gmner",
                  "IMGID:O_998\nAda\tB-PER\nVex\tI-PER\nin\tO\n\nIMGID:2\nFest\tB-MISC\nSale\tI-OTHER\nx\tB-OTHER\n\n",
                  &all, &err));
    assert_int_equal(counts.samples, 2);
    assert_int_equal(counts.words, 6);
    assert_int_equal(counts.entities, 4);
    assert_string_equal(all.items[0].id, "O_998");
    assert_string_equal(all.items[0].image, "O_998.jpg");
    assert_int_equal(all.items[0].width, 0);
    check_entity(&all.items[0], 0, 0, 1, "PER");
    check_entity(&all.items[1], 0, 0, 0, "OTHER"); /* the older name of the same type */
    check_entity(&all.items[1], 2, 2, 2, "OTHER");
    gm_records_free(&all);
}

static void fine_types_are_read_and_person_is_per(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    assert_ok(read_text(
        "twitter-fmnerg",
        "IMGID:1\nAda\tB-person\tB-artist\nVex\tI-person\tI-artist\nHall\tB-building\tB-cultural_place\nx\tO\tO\n",
        &all, &err));
    check_entity(&all.items[0], 0, 0, 1, "PER");
    assert_string_equal(all.items[0].entities[0].fine, "artist");
    check_entity(&all.items[0], 1, 2, 2, "building");
    assert_string_equal(all.items[0].entities[1].fine, "cultural_place");
    gm_records_free(&all);
}

/* Each type of a format's list is read, and read as the list spells it. */
static void readers_and_lists_know_the_same_types(void **state)
{
    (void)state;
    static const char *const formats[] = { "twitter-gmner", "twitter-fmnerg", "ccks" };
    for (size_t i = 0; i < GM_LEN(formats); i++) {
        gm_err err;
        gm_labels l;
        const bool has_ids = strcmp(formats[i], "ccks") != 0, is_fine = strcmp(formats[i], "twitter-fmnerg") == 0;
        assert_ok(gm_labels_parse(gm_labels_of_format(formats[i]), &l, &err));
        for (int32_t k = 0; k < l.count; k++) {
            char text[200];
            gm_records all;
            const char *type = is_fine && strcmp(l.names[k], "PER") == 0 ? "person" : l.names[k];
            snprintf(text, sizeof text, "%sa\tB-%s%s\n", has_ids ? "IMGID:1\n" : "", type, is_fine ? "\tB-x" : "");
            assert_ok(read_text(formats[i], text, &all, &err));
            check_entity(&all.items[0], 0, 0, 0, l.names[k]);
            gm_records_free(&all);
        }
        gm_labels_free(&l);
    }
}

static void made_ids_come_from_the_file_or_the_split(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    assert_ok(read_text("ccks", "a\tB-vessel\n\nb\tO\n", &all, &err));
    assert_string_equal(all.items[0].id, "text-000000");
    assert_string_equal(all.items[1].id, "text-000001");
    assert_null(all.items[0].image);
    gm_records_free(&all);
    assert_ok(
        gm_import_read(&(gm_import) { .format = "ccks", .text = text_path, .split = "train" }, &all, &counts, &err));
    assert_string_equal(all.items[1].id, "train-000001");
    gm_records_free(&all);
    assert_refused(
        gm_import_read(&(gm_import) { .format = "ccks", .text = text_path, .split = "\xFF" }, &all, &counts, &err),
        GM_ERR_USAGE, "not UTF-8");
}

static void conll_takes_any_type_and_the_last_column(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    assert_ok(read_text("conll", "Ada\tNNP\tB-sh\xC3\xA9\nVex\tNNP\tI-sh\xC3\xA9\nx\tO\ny\tS-q\n", &all, &err));
    check_entity(&all.items[0], 0, 0, 1, "sh\xC3\xA9");
    check_entity(&all.items[0], 1, 3, 3, "q");
    gm_records_free(&all);
    char text[2048] = "";
    for (int i = 0; i <= GM_MAX_TYPES; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "a\tB-t%d\n", i);
    assert_refused(read_text("conll", text, &all, &err), GM_ERR_DATA, "text.txt:65: \"t64\" is one type too many");
}

static void stray_tags_begin_entities_and_are_counted(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    assert_ok(read_text("conll", "a\tI-X\nb\tI-X\nc\tO\nd\tB-X\ne\tI-Y\nf\tE-Y\ng\tE-Y\n", &all, &err));
    assert_int_equal(counts.stray_tags, 3);
    assert_int_equal(counts.entities, 4);
    check_entity(&all.items[0], 0, 0, 1, "X");
    check_entity(&all.items[0], 1, 3, 3, "X");
    check_entity(&all.items[0], 2, 4, 5, "Y");
    check_entity(&all.items[0], 3, 6, 6, "Y");
    gm_records_free(&all);
}

/* The same two samples, however the file ends its lines and itself. */
static void line_ends_and_empty_lines_do_not_matter(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "IMGID:1\na\tB-PER\n\nIMGID:2\nb\tO\n\n",
        "IMGID:1\na\tB-PER\n\nIMGID:2\nb\tO\n",
        "IMGID:1\na\tB-PER\n\nIMGID:2\nb\tO",
        "IMGID:1\r\na\tB-PER\r\n\r\nIMGID:2\r\nb\tO\r\n\r\n",
        "\n\nIMGID:1\na\tB-PER\n\n\n\nIMGID:2\nb\tO\n\n\n",
        "IMGID:1\na\tB-PER\nIMGID:2\nb\tO\n",
        "\xEF\xBB\xBFIMGID:1\na\tB-PER\n\nIMGID:2\nb\tO\n\n",
    };
    for (size_t i = 0; i < GM_LEN(forms); i++) {
        gm_err err;
        gm_records all;
        assert_ok(read_text("twitter-gmner", forms[i], &all, &err));
        assert_int_equal(all.count, 2);
        assert_string_equal(all.items[0].id, "1");
        assert_int_equal(all.items[0].token_count, 1);
        check_entity(&all.items[0], 0, 0, 0, "PER");
        assert_string_equal(all.items[1].tokens[0], "b");
        assert_int_equal(all.items[1].entity_count, 0);
        gm_records_free(&all);
    }
}

static void strange_tokens_are_kept_as_they_stand(void **state)
{
    (void)state;
    static const char *const words[] = { "a b", " ", "\xE2\x80\x8B", "\xC2\x92", "\x01", "\xF0\x9F\x98\x80", "IMGID",
                                         "\"",  "\r" };
    gm_err err;
    gm_records all;
    char text[512] = "IMGID:1\n";
    for (size_t i = 0; i < GM_LEN(words); i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\tO\n", words[i]);
    assert_ok(read_text("twitter-gmner", text, &all, &err));
    assert_int_equal(all.items[0].token_count, GM_LEN(words));
    for (size_t i = 0; i < GM_LEN(words); i++) assert_string_equal(all.items[0].tokens[i], words[i]);
    gm_records_free(&all);
}

static void ids_that_stand_twice_get_a_number(void **state)
{
    (void)state;
    static const char *const wanted[] = { "7", "7-2", "7-2-2", "7-3" };
    gm_err err;
    gm_records all;
    assert_ok(
        read_text("twitter-gmner", "IMGID:7\na\tO\n\nIMGID:7\nb\tO\n\nIMGID:7-2\nc\tO\n\nIMGID:7\nd\tO\n", &all, &err));
    assert_int_equal(counts.ids_twice, 3);
    for (size_t i = 0; i < 4; i++) assert_string_equal(all.items[i].id, wanted[i]);
    assert_string_equal(all.items[1].image, "7.jpg"); /* the image is still the one both share */
    assert_ok(gm_records_check_ids(&all, "x", &err));
    gm_records_free(&all);
}

static const struct bad_text {
    const char *name, *format, *text, *message;
} bad_texts[] = {
    { "empty file", "twitter-gmner", "", "text.txt: the file holds no sample" },
    { "empty lines only", "ccks", "\n\n\n", "text.txt: the file holds no sample" },
    { "no tab", "twitter-gmner", "IMGID:1\na\tO\nb O\n",
      "text.txt:3: no tab in \"b O\"; expected a token, a tab and a tag" },
    { "a line of blanks", "ccks", "a\tO\n  \nb\tO\n", "text.txt:2: no tab in \"  \"" },
    { "no token", "ccks", "\tO\n", "text.txt:1: no token before the tab" },
    { "no tag", "ccks", "a\t\n", "text.txt:1: \"\" is not a tag" },
    { "too many columns", "twitter-gmner", "IMGID:1\na\tb\tO\n",
      "text.txt:2: expected 2 columns between tabs, found 3" },
    { "too few columns", "twitter-fmnerg", "IMGID:1\na\tO\n", "text.txt:2: expected 3 columns between tabs, found 2" },
    { "unknown tag form", "twitter-gmner", "IMGID:1\na\tX-PER\n", "text.txt:2: \"X-PER\" is not a tag" },
    { "tag with a blank", "twitter-gmner", "IMGID:1\na\tO \n", "text.txt:2: \"O \" is not a tag" },
    { "sample without words", "twitter-gmner", "IMGID:1\n\nIMGID:1\n", "text.txt:1: the sample \"1\" has no words" },
    { "type of another set", "twitter-gmner", "IMGID:1\na\tB-vessel\n",
      "text.txt:2: the type of \"B-vessel\" is unknown; twitter-gmner has PER,LOC" },
    { "type in other letters", "ccks", "a\tO\nb\tI-Vessel\n",
      "text.txt:2: the type of \"I-Vessel\" is unknown; ccks has aircraft" },
    { "type with a blank", "conll", "a\tB-x y\n", "text.txt:1: the type \"x y\" holds white space" },
    { "fine tag of another letter", "twitter-fmnerg", "IMGID:1\na\tB-person\tI-actor\n",
      "text.txt:2: the fine tag \"I-actor\" does not go with the tag \"B-person\"" },
    { "fine tag without coarse", "twitter-fmnerg", "IMGID:1\na\tO\tB-actor\n",
      "text.txt:2: the fine tag \"B-actor\" does not go with the tag \"O\"" },
    { "words before an id", "twitter-gmner", "a\tO\n", "text.txt:1: expected IMGID:<id> before the words" },
    { "words behind an empty line", "twitter-gmner", "IMGID:1\na\tO\n\nb\tO\n",
      "text.txt:4: expected IMGID:<id> before the words" },
    { "sample without words at the end", "twitter-gmner", "IMGID:1\na\tO\n\nIMGID:2\n",
      "text.txt:4: the sample \"2\" has no words" },
    { "no id", "twitter-gmner", "IMGID:\na\tO\n", "text.txt:1: no id behind IMGID:" },
    { "id with a blank", "twitter-gmner", "IMGID:1 2\na\tO\n",
      "text.txt:1: the id \"1 2\" holds white space or a slash" },
    { "id that leaves the folder", "twitter-gmner", "IMGID:../1\na\tO\n",
      "text.txt:1: the id \"../1\" holds white space or a slash" },
    { "bad UTF-8", "ccks", "a\tO\nab\xC3(\tO\n", "text.txt:2: byte 3 of the line (0xC3) is not UTF-8" },
    { "record that is none", "records", "{}\n", "text.txt:1: id: expected a string" },
    { "record id twice", "records",
      "{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[]}\n{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[]}\n",
      "text.txt:2: the id \"1\" stands in line 1 already" },
};

static void bad_text_is_refused_by_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < GM_LEN(bad_texts); i++) {
        const struct bad_text *b = &bad_texts[i];
        gm_err err = { 0 };
        gm_records all;
        const gm_status status = read_text(b->format, b->text, &all, &err);
        if (status != GM_ERR_DATA || strstr(err.text, b->message) == NULL || all.count != 0 || all.items != NULL)
            fail_msg("%s: expected \"%s\", got %s: %s", b->name, b->message, gm_status_name(status), err.text);
    }
    gm_err err;
    gm_records all;
    assert_refused(read_bytes("ccks", "a\0b\tO\n", 6, &all, &err), GM_ERR_DATA,
                   "text.txt:1: byte 2 of the line (0x00)");
}

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    gm_err err;
    gm_records all = { 0 };
    gmt_write_file(text_path, "IMGID:1\na\tO\n", 12);
    const struct {
        gm_import what;
        gm_status status;
        const char *message;
    } bad[] = {
        { { .format = "twitter", .text = text_path },
          GM_ERR_USAGE,
          "\"twitter\" is no format; there are twitter-gmner" },
        { { .format = "ccks" }, GM_ERR_USAGE, "expected a text file" },
        { { .format = "ccks", .text = text_path, .boxes = folder }, GM_ERR_USAGE, "ccks has no box files" },
        { { .format = "records", .text = text_path, .boxes = folder }, GM_ERR_USAGE, "records has no box files" },
        { { .format = "twitter-gmner", .text = text_path, .without = text_path },
          GM_ERR_USAGE,
          "for ccks and conll only" },
        { { .format = "records", .text = text_path, .without = text_path }, GM_ERR_USAGE, "for ccks and conll only" },
        { { .format = "twitter-gmner", .text = "no/such.txt" }, GM_ERR_IO, "no/such.txt" },
        { { .format = "twitter-gmner", .text = text_path, .boxes = "no/such" },
          GM_ERR_IO,
          "no/such: expected a folder" },
        { { .format = "twitter-gmner", .text = text_path, .boxes = text_path },
          GM_ERR_IO,
          "text.txt: expected a folder" },
    };
    for (size_t i = 0; i < GM_LEN(bad); i++)
        assert_refused(gm_import_read(&bad[i].what, &all, &counts, &err), bad[i].status, bad[i].message);
}

#define BOX(name, x)                                                                                                   \
    "<object><name>" name "</name><bndbox><xmin>" x                                                                    \
    "</xmin><ymin>1</ymin><xmax>99</xmax><ymax>9</ymax></bndbox></object>"

static void write_boxes(const char *id, const char *objects)
{
    char path[600], text[2048];
    snprintf(path, sizeof path, "%s/%s.xml", boxes_path, id);
    snprintf(text, sizeof text, "<annotation><size><width>640</width><height>480</height></size>%s</annotation>",
             objects);
    gmt_write_file(path, text, strlen(text));
}

static void boxes_go_to_the_entities_of_their_name(void **state)
{
    (void)state;
    gm_err err;
    gm_records all = { 0 };
    const char *text = "IMGID:1\nAda\tB-PER\nVex\tI-PER\nand\tO\nAda\tB-PER\nVex\tI-PER\nin\tO\nOz\tB-LOC\n\nIMGID:"
                       "2\nOz\tB-LOC\n\nIMGID:1\nOz\tB-LOC\n";
    gmt_write_file(text_path, text, strlen(text));
    write_boxes("1", BOX("Ada Vex", "1") BOX("ada vex", "2") BOX("Ada Vex", "3") BOX("Vex", "4"));
    assert_ok(gm_import_read(&(gm_import) { .format = "twitter-gmner", .text = text_path, .boxes = boxes_path }, &all,
                             &counts, &err));
    const gm_record *r = all.items;
    assert_int_equal(r[0].width, 640);
    assert_int_equal(r[0].height, 480);
    for (int k = 0; k < 2; k++) { /* both mentions get both boxes */
        assert_int_equal(r[0].entities[k].box_count, 2);
        assert_true(r[0].entities[k].boxes[0].x1 == 1 && r[0].entities[k].boxes[1].x1 == 3);
        assert_true(r[0].entities[k].boxes[1].x2 == 99 && r[0].entities[k].boxes[1].y2 == 9);
    }
    assert_int_equal(r[0].entities[2].box_count, 0);
    assert_int_equal(r[1].width, 0);
    assert_int_equal(r[2].width, 640); /* the second sample of image 1 */
    assert_int_equal(counts.entities, 5);
    assert_int_equal(counts.groundable, 2);
    assert_int_equal(counts.boxes, 4);
    assert_int_equal(counts.images_with_boxes, 2);
    assert_int_equal(counts.images_without, 1);
    assert_int_equal(counts.boxes_unmatched, 2 + 4);
    gm_records_free(&all);
    write_boxes("2", "<object/>");
    assert_refused(gm_import_read(&(gm_import) { .format = "twitter-gmner", .text = text_path, .boxes = boxes_path },
                                  &all, &counts, &err),
                   GM_ERR_FORMAT, "/2.xml: line 1: <object> has no <name>");
    assert_null(all.items);
}

static void sentences_of_the_other_split_are_dropped(void **state)
{
    (void)state;
    gm_err err;
    gm_records all = { 0 };
    const char *text = "a\tB-vessel\nb\tO\n\nc\tO\n\na b\tO\n\na\tO\nb\tO\n\nd\tO\n",
               *other = "a\tO\nb\tO\n\nx\tO\n\nd\tB-other\n";
    gmt_write_file(text_path, text, strlen(text));
    gmt_write_file(other_path, other, strlen(other));
    const gm_import what = { .format = "ccks", .text = text_path, .without = other_path };
    assert_ok(gm_import_read(&what, &all, &counts, &err));
    assert_int_equal(counts.dropped, 3); /* by words: tags may differ, and one sentence stood twice */
    assert_int_equal(counts.samples, 2);
    assert_int_equal(counts.entities, 0);
    assert_string_equal(all.items[0].id, "text-000001"); /* as without dropping */
    assert_string_equal(all.items[1].tokens[0], "a b");
    gm_records_free(&all);
    gmt_write_file(other_path, text, strlen(text));
    assert_refused(gm_import_read(&what, &all, &counts, &err), GM_ERR_DATA, "other.txt as well; none is left");
    gmt_write_file(other_path, "a\n", 2);
    assert_refused(gm_import_read(&what, &all, &counts, &err), GM_ERR_DATA, "other.txt:1: no tab");
}

static void records_are_read_as_a_format(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    assert_ok(read_text("records",
                        "{\"id\":\"1\",\"tokens\":[\"a\",\"b\"],\"entities\":[{\"start\":0,\"end\":1,\"type\":\"X\","
                        "\"boxes\":[[1,2,3,4]]}]}\n",
                        &all, &err));
    assert_int_equal(counts.words, 2);
    assert_int_equal(counts.groundable, 1);
    assert_int_equal(counts.boxes, 1);
    gm_records_free(&all);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    const char *text = "IMGID:1\nAda\tB-person\tB-actor\nVex\tI-person\tI-actor\n\nIMGID:1\nOz\tI-location\tI-city\n";
    gmt_write_file(text_path, text, strlen(text));
    write_boxes("1", BOX("Ada Vex", "1") BOX("Oz", "2"));
    gm_status status = GM_ERR_NOMEM;
    int64_t k = 0;
    for (; status != GM_OK; k++) {
        gm_err err;
        gm_records all = { 0 };
        gm_alloc_fail_at(k);
        status = gm_import_read(&(gm_import) { .format = "twitter-fmnerg", .text = text_path, .boxes = boxes_path },
                                &all, &counts, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK && (status != GM_ERR_NOMEM || all.items != NULL))
            fail_msg("allocation %d: %s", (int)k, err.text);
        gm_records_free(&all);
    }
    assert_true(k > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twitter_text_is_read),
        cmocka_unit_test(fine_types_are_read_and_person_is_per),
        cmocka_unit_test(readers_and_lists_know_the_same_types),
        cmocka_unit_test(made_ids_come_from_the_file_or_the_split),
        cmocka_unit_test(conll_takes_any_type_and_the_last_column),
        cmocka_unit_test(stray_tags_begin_entities_and_are_counted),
        cmocka_unit_test(line_ends_and_empty_lines_do_not_matter),
        cmocka_unit_test(strange_tokens_are_kept_as_they_stand),
        cmocka_unit_test(ids_that_stand_twice_get_a_number),
        cmocka_unit_test(bad_text_is_refused_by_line),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(boxes_go_to_the_entities_of_their_name),
        cmocka_unit_test(sentences_of_the_other_split_are_dropped),
        cmocka_unit_test(records_are_read_as_a_format),
        cmocka_unit_test(any_allocation_may_fail),
    };
    skip_without_xml();
    folder = gmt_temp_dir();
    snprintf(text_path, sizeof text_path, "%s/text.txt", folder);
    snprintf(other_path, sizeof other_path, "%s/other.txt", folder);
    snprintf(boxes_path, sizeof boxes_path, "%s", gmt_temp_dir());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
