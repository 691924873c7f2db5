/* Records: what a round trip keeps, and each way a line or a file can be bad. */
#include "tests/data/data_test.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "data/records.h"

static gm_status parse(const char *line, gm_record *r, gm_err *err)
{
    return gm_record_parse(line, strlen(line), r, err);
}

/* Reads, writes, and expects this line. */
static void check_round_trip(const char *line, const char *wanted)
{
    gm_err err;
    gm_record r;
    gm_buffer out = { 0 };
    assert_ok(parse(line, &r, &err));
    assert_ok(gm_record_write(&r, &out, &err));
    assert_string_equal(out.data, wanted);
    gm_record_free(&r);
    gm_buffer_free(&out);
}

static void reads_every_member(void **state)
{
    (void)state;
    gm_err err;
    gm_record r;
    assert_ok(parse(
        "{\"id\":\"O_998\",\"tokens\":[\"Ada\",\"Vex\",\"in\",\"Tor vale\"],\"image\":\"O_998.jpg\",\"size\":[640,480],"
        "\"entities\":[{\"start\":0,\"end\":1,\"type\":\"PER\",\"fine\":\"artist\",\"boxes\":[[1,2.5,3,4],[5,6,7,8]],"
        "\"score\":0.75,\"region_score\":0.5,\"source\":\"local\"},{\"start\":3,\"end\":3,\"type\":\"LOC\"}]}",
        &r, &err));
    assert_string_equal(r.id, "O_998");
    assert_int_equal(r.token_count, 4);
    assert_string_equal(r.tokens[3], "Tor vale");
    assert_string_equal(r.image, "O_998.jpg");
    assert_int_equal(r.width, 640);
    assert_int_equal(r.height, 480);
    assert_null(r.extra);
    assert_int_equal(r.entity_count, 2);
    const gm_entity *e = r.entities;
    assert_int_equal(e[0].start, 0);
    assert_int_equal(e[0].end, 1);
    assert_string_equal(e[0].type, "PER");
    assert_string_equal(e[0].fine, "artist");
    assert_int_equal(e[0].box_count, 2);
    assert_true(e[0].boxes[0].y1 == 2.5 && e[0].boxes[1].x2 == 7.0);
    assert_false(e[0].has_bad_box);
    assert_true(e[0].score == 0.75 && e[0].region_score == 0.5);
    assert_string_equal(e[0].extra, "\"source\":\"local\"");
    assert_true(isnan(e[1].score) && isnan(e[1].region_score));
    assert_null(e[1].fine);
    assert_null(e[1].boxes);
    assert_null(e[1].extra);
    gm_record_free(&r);
}

static void round_trip_keeps_unknown_members_and_long_numbers(void **state)
{
    (void)state;
    check_round_trip(
        "{ \"tweet\" : 797970123456789012 ,\"id\":\"1\",\"tokens\":[\"a\"],\"seed\":18446744073709551615,"
        "\"n\": {\"a\" : [1, {}]} ,\"entities\":[ {\"k\\u0041\":-0.10,\"start\":0 , \"end\":0,\"type\":\"X\","
        "\"uncertainty\":{\"span\":0.30000000000000004}, \"was\":797970123456789013} , "
        "{\"end\":0,\"start\":0,\"type\":\"Y\"}] , \"last\":null }",
        "{\"id\": \"1\", \"tokens\": [\"a\"], \"image\": null, \"size\": null, \"entities\": "
        "[{\"start\": 0, \"end\": 0, \"type\": \"X\", \"fine\": null, \"boxes\": [], "
        "\"uncertainty\": {\"span\": 0.30000000000000004}, \"k\\u0041\":-0.10,\"was\":797970123456789013}, "
        "{\"start\": 0, \"end\": 0, \"type\": \"Y\", \"fine\": null, \"boxes\": []}], "
        "\"tweet\":797970123456789012,\"seed\":18446744073709551615,\"n\":{\"a\" : [1, {}]},\"last\":null}\n");
}

static void round_trip_keeps_numbers(void **state)
{
    (void)state;
    check_round_trip(
        "{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[{\"start\":0,\"end\":0,\"type\":\"X\",\"boxes\":"
        "[[0.1,0.30000000000000004,600,1e3]],\"score\":1e-300,\"region_score\":0}]}",
        "{\"id\": \"1\", \"tokens\": [\"a\"], \"image\": null, \"size\": null, \"entities\": [{\"start\": 0, "
        "\"end\": 0, \"type\": \"X\", \"fine\": null, \"boxes\": [[0.1, 0.30000000000000004, 600, 1000]], "
        "\"score\": 1e-300, \"region_score\": 0}]}\n");
}

static void round_trip_keeps_uncertainty(void **state)
{
    (void)state;
    static const char before[] = "{\"id\": \"1\", \"tokens\": [\"a\"], \"image\": null, \"size\": null, \"entities\": "
                                 "[{\"start\": 0, \"end\": 0, \"type\": \"X\", \"fine\": null, \"boxes\": []";
    static const char *const forms[][2] = {
        { ",\"uncertainty\":{\"mine\" : [1],\"region_expected\":9,\"type_expected\":8,\"span_expected\":7,\"region_norm\":6,"
          "\"type_norm\":5,\"span_norm\":4,\"region\":3,\"type\":0.1,\"span\":1e-3,\"yours\":797970123456789013}",
          ", \"uncertainty\": {\"span\": 0.001, \"type\": 0.1, \"region\": 3, \"span_norm\": 4, \"type_norm\": 5, "
          "\"region_norm\": 6, \"span_expected\": 7, \"type_expected\": 8, \"region_expected\": 9, \"mine\":[1],"
          "\"yours\":797970123456789013}" },
        { ",\"uncertainty\":{\"u\":{}},\"why\":1", ", \"uncertainty\": {\"u\":{}}, \"why\":1" },
        { ",\"why\":1,\"uncertainty\":{ \"type\" : 0, \"span\":null }", ", \"uncertainty\": {\"type\": 0}, \"why\":1" },
        { ",\"uncertainty\":{}", "" },
        { ",\"uncertainty\":null,\"why\":1", ", \"why\":1" },
    };
    for (size_t i = 0; i < GM_LEN(forms); i++) {
        char line[1024], wanted[1024];
        snprintf(line, sizeof line, "%s%s}]}", before, forms[i][0]);
        snprintf(wanted, sizeof wanted, "%s%s}]}\n", before, forms[i][1]);
        check_round_trip(line, wanted);
        check_round_trip(wanted, wanted);
    }
    gm_err err;
    gm_record r;
    assert_ok(parse("{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[{\"start\":0,\"end\":0,\"type\":\"X\",\"uncertainty\":"
                    "{\"span\":1,\"type\":2,\"region\":3,\"span_norm\":4,\"type_norm\":5,\"region_norm\":6,"
                    "\"span_expected\":7,\"type_expected\":8}},{\"start\":0,\"end\":0,\"type\":\"X\"}]}",
                    &r, &err));
    const gm_uncertainty *u = &r.entities[0].uncertainty, *none = &r.entities[1].uncertainty;
    assert_true(u->span == 1 && u->type == 2 && u->region == 3 && u->span_norm == 4 && u->type_norm == 5);
    assert_true(u->region_norm == 6 && u->span_expected == 7 && u->type_expected == 8 && isnan(u->region_expected));
    assert_true(isnan(none->span) && isnan(none->type) && isnan(none->region) && isnan(none->span_norm));
    assert_true(isnan(none->type_norm) && isnan(none->region_norm) && isnan(none->span_expected));
    gm_record_free(&r);
}

static void round_trip_keeps_strange_words(void **state)
{
    (void)state;
    check_round_trip(
        "{\"id\":\"\\u00e9\",\"tokens\":[\"\\u200b\",\"a\\tb\\n\",\"\\\"\\\\\",\"\\ud83d\\ude00\",\"\\u0001\"],"
        "\"entities\":[]}",
        "{\"id\": \"\xC3\xA9\", \"tokens\": [\"\xE2\x80\x8B\", \"a\\tb\\n\", \"\\\"\\\\\", \"\xF0\x9F\x98\x80\", "
        "\"\\u0001\"], \"image\": null, \"size\": null, \"entities\": []}\n");
}

static void members_may_stand_in_any_order_and_spelling(void **state)
{
    (void)state;
    check_round_trip(
        "{\"entities\":[{\"type\":\"X\",\"end\":1,\"start\":1}],\"tokens\":[\"a\",\"b\"],\"\\u0069d\":\"1\"}",
        "{\"id\": \"1\", \"tokens\": [\"a\", \"b\"], \"image\": null, \"size\": null, \"entities\": "
        "[{\"start\": 1, \"end\": 1, \"type\": \"X\", \"fine\": null, \"boxes\": []}]}\n");
}

static void box_without_inside_is_kept_and_marked(void **state)
{
    (void)state;
    static const char *const boxes[] = { "[3,3,3,9]", "[3,9,8,9]", "[9,3,3,9]", "[1,1,2,2],[5,5,4,6]" };
    for (size_t i = 0; i < GM_LEN(boxes); i++) {
        gm_err err;
        gm_record r;
        char line[200];
        snprintf(
            line, sizeof line,
            "{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[{\"start\":0,\"end\":0,\"type\":\"X\",\"boxes\":[%s]}]}",
            boxes[i]);
        assert_ok(parse(line, &r, &err));
        assert_true(r.entities[0].has_bad_box);
        assert_true(r.entities[0].box_count > 0);
        gm_record_free(&r);
    }
}

#define WORDS "\"tokens\":[\"a\",\"b\"]"
#define WITH_ENTITY(members)                                                                                           \
    "{\"id\":\"1\"," WORDS ",\"entities\":[{\"start\":0,\"end\":0,\"type\":\"X\"},{" members "}]}"

static const struct bad_line {
    const char *name, *line;
    gm_status status;
    const char *message;
} bad_lines[] = {
    { "empty", "", GM_ERR_FORMAT, "1:1: expected a value" },
    { "no JSON", "id: 1", GM_ERR_FORMAT, "1:1" },
    { "cut off", "{\"id\":\"1\"", GM_ERR_FORMAT, "the end of the text" },
    { "array", "[]", GM_ERR_DATA, "expected a record (a JSON object), found an array" },
    { "bad UTF-8", "{\"id\":\"\xFF\"," WORDS ",\"entities\":[]}", GM_ERR_FORMAT, "0xFF is not UTF-8" },
    { "two lines", "{\"id\":\"1\",\n" WORDS ",\"entities\":[]}", GM_ERR_DATA, "a record is one line" },
    { "carriage return inside", "{\"id\":\"1\",\r" WORDS ",\"entities\":[]}", GM_ERR_DATA, "a record is one line" },
    { "number too large", "{\"id\":\"1\"," WORDS ",\"entities\":[],\"x\":1e999}", GM_ERR_FORMAT, "1e999 is too large" },
    { "no id", "{" WORDS ",\"entities\":[]}", GM_ERR_DATA, "id: expected a string, found nothing" },
    { "empty id", "{\"id\":\"\"," WORDS ",\"entities\":[]}", GM_ERR_DATA, "id: the text is empty" },
    { "number as id", "{\"id\":797970123456789012," WORDS ",\"entities\":[]}", GM_ERR_DATA,
      "put it in quotes, \"797970123456789012\"" },
    { "null as id", "{\"id\":null," WORDS ",\"entities\":[]}", GM_ERR_DATA, "id: expected a string, found null" },
    { "id twice", "{\"id\":\"1\"," WORDS ",\"entities\":[],\"id\":\"2\"}", GM_ERR_DATA,
      "id: this member stands twice" },
    { "id twice in disguise", "{\"id\":\"1\"," WORDS ",\"entities\":[],\"\\u0069d\":\"2\"}", GM_ERR_DATA,
      "id: this member stands twice" },
    { "unknown member twice", "{\"id\":\"1\",\"u\":1," WORDS ",\"entities\":[],\"u\":2}", GM_ERR_DATA,
      "u: this member stands twice" },
    { "no words", "{\"id\":\"1\",\"tokens\":[],\"entities\":[]}", GM_ERR_DATA, "tokens: expected at least one word" },
    { "tokens missing", "{\"id\":\"1\",\"entities\":[]}", GM_ERR_DATA,
      "tokens: expected an array of words, found nothing" },
    { "number as word", "{\"id\":\"1\",\"tokens\":[\"a\",2],\"entities\":[]}", GM_ERR_DATA,
      "tokens[1]: expected a string, found a number" },
    { "empty word", "{\"id\":\"1\",\"tokens\":[\"a\",\"\"],\"entities\":[]}", GM_ERR_DATA,
      "tokens[1]: the word is empty" },
    { "NUL in word", "{\"id\":\"1\",\"tokens\":[\"a\\u0000b\"],\"entities\":[]}", GM_ERR_FORMAT, "\\u0000" },
    { "number as image", "{\"id\":\"1\"," WORDS ",\"image\":1,\"entities\":[]}", GM_ERR_DATA,
      "image: expected a string, found a number" },
    { "size of one", "{\"id\":\"1\"," WORDS ",\"size\":[1],\"entities\":[]}", GM_ERR_DATA,
      "size: expected [width, height] or null" },
    { "size of zero", "{\"id\":\"1\"," WORDS ",\"size\":[1,0],\"entities\":[]}", GM_ERR_DATA,
      "size[1]: expected a whole number" },
    { "size not whole", "{\"id\":\"1\"," WORDS ",\"size\":[1.5,2],\"entities\":[]}", GM_ERR_DATA,
      "size[0]: expected a whole number" },
    { "entities missing", "{\"id\":\"1\"," WORDS "}", GM_ERR_DATA,
      "entities: expected an array (write [] for none), found nothing" },
    { "entities null", "{\"id\":\"1\"," WORDS ",\"entities\":null}", GM_ERR_DATA, "entities: expected an array" },
    { "entity not an object", "{\"id\":\"1\"," WORDS ",\"entities\":[3]}", GM_ERR_DATA,
      "entities[0]: expected an object, found a number" },
    { "entity empty", WITH_ENTITY(""), GM_ERR_DATA, "entities[1].start: expected the number of a word, found nothing" },
    { "start negative", WITH_ENTITY("\"start\":-1,\"end\":0,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].start: expected a whole number from 0 to 1" },
    { "start not whole", WITH_ENTITY("\"start\":0.5,\"end\":1,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].start: expected a whole number from 0 to 1 (the sample has 2 words), found 0.5" },
    { "start a string", WITH_ENTITY("\"start\":\"0\",\"end\":1,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].start: expected the number of a word, found a string" },
    { "end beyond the words", WITH_ENTITY("\"start\":0,\"end\":2,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].end: expected a whole number from 0 to 1 (the sample has 2 words), found 2" },
    { "end huge", WITH_ENTITY("\"start\":0,\"end\":4294967296,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].end: expected a whole number" },
    { "end before start", WITH_ENTITY("\"start\":1,\"end\":0,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].end: 0 lies before start 1" },
    { "type missing", WITH_ENTITY("\"start\":1,\"end\":1"), GM_ERR_DATA,
      "entities[1].type: expected a string, found nothing" },
    { "type empty", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"\""), GM_ERR_DATA,
      "entities[1].type: the text is empty" },
    { "fine a number", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"fine\":1"), GM_ERR_DATA,
      "entities[1].fine: expected a string" },
    { "boxes an object", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"boxes\":{}"), GM_ERR_DATA,
      "entities[1].boxes: expected an array of boxes, found an object" },
    { "box of three", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"boxes\":[[1,2,3,4],[1,2,3]]"), GM_ERR_DATA,
      "entities[1].boxes[1]: expected four numbers" },
    { "box of five", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"boxes\":[[1,2,3,4,5]]"), GM_ERR_DATA,
      "entities[1].boxes[0]: expected four numbers" },
    { "box of text", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"boxes\":[[1,2,3,\"4\"]]"), GM_ERR_DATA,
      "entities[1].boxes[0]: expected four numbers" },
    { "box flat", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"boxes\":[1,2,3,4]"), GM_ERR_DATA,
      "entities[1].boxes[0]: expected four numbers" },
    { "score a string", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"score\":\"1\""), GM_ERR_DATA,
      "entities[1].score: expected a number, found a string" },
    { "uncertainty a number", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"uncertainty\":1"), GM_ERR_DATA,
      "entities[1].uncertainty: expected an object, found a number" },
    { "uncertainty of text", WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"uncertainty\":{\"span\":\"1\"}"),
      GM_ERR_DATA, "entities[1].uncertainty.span: expected a number, found a string" },
    { "uncertainty below 0",
      WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"uncertainty\":{\"u\":1,\"region_norm\":-0.25}"), GM_ERR_DATA,
      "entities[1].uncertainty.region_norm: expected a number from 0, found -0.25" },
    { "uncertainty twice",
      WITH_ENTITY("\"start\":1,\"end\":1,\"type\":\"X\",\"uncertainty\":{\"a\":1,\"a\":2}"), GM_ERR_DATA,
      "entities[1].uncertainty.a: this member stands twice" },
    { "start twice", WITH_ENTITY("\"start\":1,\"start\":0,\"end\":1,\"type\":\"X\""), GM_ERR_DATA,
      "entities[1].start: this member stands twice" },
};

static void bad_lines_are_refused_by_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < GM_LEN(bad_lines); i++) {
        const struct bad_line *b = &bad_lines[i];
        gm_err err = { 0 };
        gm_record r;
        const gm_status status = parse(b->line, &r, &err);
        if (status != b->status || strstr(err.text, b->message) == NULL)
            fail_msg("%s: expected %s with \"%s\", got %s: %s", b->name, gm_status_name(b->status), b->message,
                     gm_status_name(status), err.text);
        assert_null(r.tokens);
    }
}

static void infinite_numbers_are_not_written(void **state)
{
    (void)state;
    gm_err err;
    char *words[] = { (char[]) { "a" } };
    gm_box box = { 0, 0, INFINITY, 1 };
    gm_entity e = { .type = (char[]) { "X" }, .score = INFINITY, .region_score = NAN,
                    .uncertainty = gm_no_uncertainty };
    const gm_record r = {
        .id = (char[]) { "1" }, .tokens = words, .token_count = 1, .entities = &e, .entity_count = 1
    };
    gm_buffer out = { 0 };
    assert_refused(gm_record_write(&r, &out, &err), GM_ERR_NUMERIC, "score is infinite");
    e.score = 0.5;
    e.boxes = &box;
    e.box_count = 1;
    assert_refused(gm_record_write(&r, &out, &err), GM_ERR_NUMERIC, "a box of words 0 to 0 is not finite");
    e.box_count = 0;
    e.uncertainty.type_norm = INFINITY;
    assert_refused(gm_record_write(&r, &out, &err), GM_ERR_NUMERIC, "uncertainty.type_norm of words 0 to 0 is inf");
    e.uncertainty.type_norm = -0.5;
    assert_refused(gm_record_write(&r, &out, &err), GM_ERR_NUMERIC, "uncertainty.type_norm of words 0 to 0 is -0.5");
    gm_buffer_free(&out);
}

#define LINE(id) "{\"id\":\"" id "\",\"tokens\":[\"a\"],\"entities\":[]}\n"

static gm_status load(const char *text, gm_records *all, char *path, size_t room, gm_err *err)
{
    snprintf(path, room, "%s/records.jsonl", gmt_temp_dir());
    gmt_write_file(path, text, strlen(text));
    return gm_records_load(path, all, err);
}

static void loads_a_file(void **state)
{
    (void)state;
    gm_err err;
    char path[512];
    static const char *const forms[] = { LINE("1") LINE("2"),
                                         LINE("1") "{\"id\":\"2\",\"tokens\":[\"a\"],\"entities\":[]}",
                                         "{\"id\":\"1\",\"tokens\":[\"a\"],\"entities\":[]}\r\n" LINE("2") };
    for (size_t i = 0; i < GM_LEN(forms); i++) {
        gm_records all;
        assert_ok(load(forms[i], &all, path, sizeof path, &err));
        assert_int_equal(all.count, 2);
        assert_string_equal(all.items[1].id, "2");
        gm_records_free(&all);
    }
}

static void bad_files_are_refused_by_line(void **state)
{
    (void)state;
    gm_err err;
    gm_records all;
    char path[512];
    assert_refused(load(LINE("1") LINE("x") LINE("2") LINE("x"), &all, path, sizeof path, &err), GM_ERR_DATA,
                   "records.jsonl:4: the id \"x\" stands in line 2 already");
    assert_refused(load(LINE("1") "{}\n", &all, path, sizeof path, &err), GM_ERR_DATA, "records.jsonl:2: id: expected");
    assert_refused(load(LINE("1") "\n" LINE("2"), &all, path, sizeof path, &err), GM_ERR_DATA,
                   "records.jsonl:2: the line is empty");
    assert_refused(load("", &all, path, sizeof path, &err), GM_ERR_DATA, "holds no record");
    assert_refused(gm_records_load("no/such.jsonl", &all, &err), GM_ERR_IO, "no/such.jsonl");
    const char *folder = gmt_temp_dir();
    assert_refused(gm_records_load(folder, &all, &err), GM_ERR_IO, folder);
}

static void thousands_of_ids_are_told_apart(void **state)
{
    (void)state;
    gm_err err;
    gm_records all = { 0 };
    for (int i = 0; i < 5000; i++) {
        char line[100];
        gm_record r;
        snprintf(line, sizeof line, "{\"id\":\"%d\",\"tokens\":[\"a\"],\"entities\":[]}", i == 4999 ? 17 : i);
        assert_ok(parse(line, &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
        assert_null(r.id);
    }
    assert_refused(gm_records_check_ids(&all, "f", &err), GM_ERR_DATA,
                   "f:5000: the id \"17\" stands in line 18 already");
    all.items[4999].id[0] = 'x';
    assert_ok(gm_records_check_ids(&all, "f", &err));
    gm_records_free(&all);
}

/* Whichever allocation fails, the answer is "out of memory" and nothing leaks (the sanitizer looks). */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    const char *line =
        "{\"id\":\"1\",\"x\":{\"y\":1},\"tokens\":[\"a\",\"b\"],\"image\":\"i\",\"entities\":[{\"start\":0,\"end\":1,"
        "\"type\":\"X\",\"fine\":\"y\",\"boxes\":[[1,2,3,4]],\"z\":1,\"zz\":2}]}";
    gm_status status = GM_ERR_NOMEM;
    int64_t k = 0;
    for (; status != GM_OK; k++) {
        gm_err err;
        gm_records all = { 0 };
        gm_record r = { 0 };
        gm_buffer out = { 0 };
        gm_alloc_fail_at(k);
        status = parse(line, &r, &err);
        if (status == GM_OK) status = gm_record_write(&r, &out, &err);
        if (status == GM_OK) status = gm_records_add(&all, &r, &err);
        if (status == GM_OK) status = gm_records_check_ids(&all, "f", &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK && status != GM_ERR_NOMEM) fail_msg("allocation %d: %s", (int)k, err.text);
        gm_record_free(&r);
        gm_records_free(&all);
        gm_buffer_free(&out);
    }
    assert_true(k > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_member),
        cmocka_unit_test(round_trip_keeps_unknown_members_and_long_numbers),
        cmocka_unit_test(round_trip_keeps_numbers),
        cmocka_unit_test(round_trip_keeps_uncertainty),
        cmocka_unit_test(round_trip_keeps_strange_words),
        cmocka_unit_test(members_may_stand_in_any_order_and_spelling),
        cmocka_unit_test(box_without_inside_is_kept_and_marked),
        cmocka_unit_test(bad_lines_are_refused_by_path),
        cmocka_unit_test(infinite_numbers_are_not_written),
        cmocka_unit_test(loads_a_file),
        cmocka_unit_test(bad_files_are_refused_by_line),
        cmocka_unit_test(thousands_of_ids_are_told_apart),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
