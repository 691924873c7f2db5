/* The CCKS authors' files: texts and entities by name, read, written and read again; and whatever is wrong with them. The files are of our own
 * making. */
#include "tests/data/data_test.h"

#include "base/memory.h"
#include "data/ccks_json.h"
#include "data/words.h"

static const char *file_of(const char *name, const char *bytes)
{
    static char path[2][512];
    static int turn;
    char *to = path[turn++ % 2];
    snprintf(to, sizeof path[0], "%s/%s", gmt_temp_dir(), name);
    gmt_write_file(to, bytes, strlen(bytes));
    return to;
}

static gm_status read_both(const char *texts, const char *entities, gm_records *all, gm_import_counts *counts, gm_err *err)
{
    const gm_import what = { .format = "ccks-json", .text = file_of("text.json", texts), .entities = entities != NULL ? file_of("entity.json", entities) : NULL };
    *all = (gm_records) { 0 };
    return gm_import_read(&what, all, counts, err);
}

static const char texts[] = "{\"17\": {\"text\": \"NATO's crew boarded Fregatte F 124 Hessen; the NH-90 followed.\"},\n \"4\": {\"text\": \"An NH-90, an NH-90!\"}, \"9\": {\"text\": \"Nothing.\"}}";
static const char entities[] =
    "{\"17\": [{\"name\": \"NATO\", \"label\": \"other\", \"bnd\": null}, {\"name\": \"Fregatte F 124 Hessen\", \"label\": \"vessel\", \"bnd\": {\"xmin\": 1, \"ymin\": 2.5, \"xmax\": "
    "30, \"ymax\": 40}}], \"4\": [{\"name\": \"NH-90\", \"label\": \"aircraft\", \"bnd\": {\"xmin\": 0, \"ymin\": 0, \"xmax\": 10, \"ymax\": 10}}, {\"name\": \"NH-90\", \"label\": "
    "\"aircraft\", \"bnd\": {\"xmin\": 20, \"ymin\": 0, \"xmax\": 30, \"ymax\": 10}}]}";

static void names_become_entities(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records all;
    gm_import_counts c;
    assert_ok(read_both(texts, entities, &all, &c, &err));
    assert_int_equal(all.count, 3);
    const gm_record *r = &all.items[0];
    assert_string_equal(r->id, "17"); /* the order of the file */
    assert_string_equal(r->image, "17.jpg");
    assert_int_equal(r->entity_count, 2);
    assert_int_equal(r->entities[1].start, 5);
    assert_int_equal(r->entities[1].end, 8);
    assert_int_equal(r->entities[0].box_count, 0);
    assert_true(r->entities[1].boxes[0].y1 == 2.5);
    assert_int_equal(all.items[1].entity_count, 2); /* both occurrences, with both boxes */
    assert_int_equal(all.items[1].entities[1].box_count, 2);
    assert_int_equal(all.items[2].entity_count, 0);
    assert_int_equal(c.samples, 3);
    assert_int_equal(c.names_unmatched, 0);
    gm_records_free(&all);
}

static void names_without_a_place_are_counted(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records all;
    gm_import_counts c;
    assert_ok(read_both("{\"1\": {\"text\": \"The Berlin Wall.\"}}",
                        "{\"1\": [{\"name\": \"Berlin Wall\", \"label\": \"other\"}, {\"name\": \"Berlin\", \"label\": \"location\"}, {\"name\": \"Bonn\", \"label\": \"location\", "
                        "\"bnd\": {\"xmin\": 0, \"ymin\": 0, \"xmax\": 1, \"ymax\": 1}}]}",
                        &all, &c, &err));
    assert_int_equal(c.entities, 1);
    assert_int_equal(c.names_unmatched, 2);
    assert_int_equal(c.names_widened, 0);
    assert_int_equal(c.boxes_unmatched, 1);
    gm_records_free(&all);
}

static void names_inside_words_are_widened(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records all;
    gm_import_counts c;
    gm_buffer b = { 0 };
    assert_ok(read_both("{\"1\": {\"text\": \"Two F-16s.\"}}", "{\"1\": [{\"name\": \"F-16\", \"label\": \"aircraft\"}]}", &all, &c, &err));
    assert_int_equal(c.names_widened, 1);
    assert_ok(gm_ccks_json_write(&all, true, &b, &err));
    assert_non_null(strstr(b.data, "\"name\": \"F-16s\""));
    gm_buffer_free(&b);
    gm_records_free(&all);
}

static void what_is_read_is_written(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records all, again;
    gm_import_counts c;
    gm_buffer once = { 0 }, twice = { 0 }, first = { 0 };
    assert_ok(read_both(texts, entities, &all, &c, &err));
    assert_ok(gm_ccks_json_write(&all, true, &once, &err));
    cJSON *wanted = cJSON_Parse(entities), *got = cJSON_Parse(once.data);
    cJSON_AddItemToObject(wanted, "9", cJSON_CreateArray());
    assert_true(cJSON_Compare(wanted, got, true));
    cJSON_Delete(wanted);
    cJSON_Delete(got);
    assert_ok(read_both(texts, once.data, &again, &c, &err));
    assert_ok(gm_ccks_json_write(&again, true, &twice, &err));
    assert_string_equal(once.data, twice.data);
    assert_ok(gm_ccks_json_write(&all, false, &first, &err)); /* a submission has one box an entity */
    assert_non_null(strstr(first.data, "\"xmin\": 0"));
    assert_null(strstr(first.data, "\"xmin\": 20"));
    gm_records_free(&all);
    gm_records_free(&again);
    gm_buffer_free(&once);
    gm_buffer_free(&twice);
    gm_buffer_free(&first);
}

/* Names of records that came from elsewhere, or whose words have changed, are their words. */
static void records_without_their_text_are_written_too(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "{\"id\":\"a\",\"tokens\":[\"An\",\"NH-90\",\"flew\"],\"entities\":[{\"start\":1,\"end\":2,\"type\":\"aircraft\",\"boxes\":[]}]}",
        "{\"id\":\"a\",\"tokens\":[\"An\",\"NH-90\",\"flew\"],\"text\":\"Other words\",\"entities\":[{\"start\":1,\"end\":2,\"type\":\"aircraft\",\"boxes\":[]}]}",
    };
    for (size_t i = 0; i < GM_LEN(lines); i++) {
        gm_err err = { 0 };
        gm_records all = { 0 };
        gm_record r;
        gm_buffer b = { 0 };
        assert_ok(gm_record_parse(lines[i], strlen(lines[i]), &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
        assert_ok(gm_ccks_json_write(&all, false, &b, &err));
        assert_string_equal(b.data, "{\n\"a\": [{\"name\": \"NH-90 flew\", \"label\": \"aircraft\", \"bnd\": null}]\n}\n");
        gm_buffer_free(&b);
        gm_records_free(&all);
    }
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const struct { const char *texts, *entities, *message; } cases[] = {
        { "[1]", NULL, "text.json: expected an object of ids" },
        { "{}", NULL, "text.json: the file holds no sample" },
        { "{\"1\": {\"text\": \"a\"}, \"1\": {\"text\": \"b\"}}", NULL, "text.json: \"1\": the id stands twice" },
        { "{\"1\": \"a\"}", NULL, "\"1\": expected {\"text\": \"...\"}" },
        { "{\"1\": {\"text\": \"  \"}}", NULL, "\"1\": the text has no words" },
        { "{\"../1\": {\"text\": \"a\"}}", NULL, "an id is empty or holds a slash" },
        { "{\"1\": {\"text\": \"a\"}", NULL, "text.json: 1:20" },
        { "{\"1\": {\"text\": \"a\"}}", "{\"2\": []}", "entity.json: \"2\" has entities, but no text" },
        { "{\"1\": {\"text\": \"a\"}}", "{\"1\": [], \"1\": []}", "entity.json: \"1\" stands twice" },
        { "{\"1\": {\"text\": \"a\"}}", "{\"1\": {}}", "entity.json: \"1\": expected a list of entities" },
        { "{\"1\": {\"text\": \"a\"}}", "{\"1\": [{\"name\": \"a\"}]}", "\"1\": entity 1 lacks \"name\" or \"label\"" },
        { "{\"1\": {\"text\": \"a\"}}", "{\"1\": [{\"name\": \"a\", \"label\": \"b\", \"bnd\": [1, 2, 3, 4]}]}", "\"a\": \"bnd\" has no number \"xmin\"" },
        { "{\"1\": {\"text\": \"a\"}}", "{\"1\": [{\"name\": \"a\", \"label\": \"b\", \"bnd\": {\"xmin\": 5, \"ymin\": 0, \"xmax\": 5, \"ymax\": 9}}]}", "the box [5, 0, 5, 9] has no inside" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        gm_records all;
        gm_import_counts c;
        assert_refused(read_both(cases[i].texts, cases[i].entities, &all, &c, &err), err.status, cases[i].message);
        assert_int_not_equal(err.status, GM_OK);
        assert_null(all.items);
    }
    gm_err err = { 0 };
    gm_records all = { 0 };
    gm_import_counts c;
    const gm_import tagged = { .format = "ccks", .text = "x", .entities = "y" };
    assert_refused(gm_import_read(&tagged, &all, &c, &err), GM_ERR_USAGE, "leave the file of entities out");
}

/* The record's words with a blank behind each. */
static char *joined(const gm_record *r, int32_t first, int32_t last)
{
    gm_buffer b = { 0 };
    gm_err err = { 0 };
    for (int32_t w = first; w <= last; w++) assert_ok(gm_buffer_printf(&b, &err, "%s%s", w > first ? " " : "", r->tokens[w]));
    return b.data;
}

static void check_sentence(const gm_record *r, gm_words *words)
{
    enum { MAX = 200 };
    gm_err err = { 0 };
    gm_named names[MAX];
    gm_span spans[MAX];
    int32_t count = 0, inside = 0;
    char *text = joined(r, 0, r->token_count - 1);
    assert_ok(gm_words_of(text, strlen(text), words, &err));
    if (words->count != r->token_count || words->count > MAX) fail_msg("%s: %d words, not %d: %s", r->id, words->count, r->token_count, text);
    for (int32_t k = 0; k < r->entity_count; k++) names[k] = (gm_named) { joined(r, r->entities[k].start, r->entities[k].end), 0, 0 };
    assert_ok(gm_words_name(words, text, names, r->entity_count, spans, &count, &inside, &err));
    if (count != r->entity_count) fail_msg("%s: %d entities, not %d: %s", r->id, count, r->entity_count, text);
    for (int32_t k = 0; k < count; k++) {
        assert_int_equal(spans[k].start, r->entities[k].start);
        assert_int_equal(spans[k].end, r->entities[k].end);
        gm_free((char *)(uintptr_t)names[k].name);
    }
    gm_free(text);
}

/* Texts and names taken from the tagged files that the authors made of such: this program cuts the same words and marks the same ones. */
static void words_and_tags_are_those_of_the_authors(void **state)
{
    (void)state;
    static const char *const files[] = { "data/ccks-aug/CCKS_Aug_dev.conll", "data/ccks-aug/CCKS_Aug_train.conll" };
    for (size_t f = 0; f < GM_LEN(files); f++) {
        gm_err err = { 0 };
        gm_records all = { 0 };
        gm_import_counts c;
        gm_words words = { 0 };
        const gm_import what = { .format = "ccks", .text = gmt_shared(files[f]) };
        assert_ok(gm_import_read(&what, &all, &c, &err));
        assert_true(all.count > 5000);
        for (size_t i = 0; i < all.count; i++) check_sentence(&all.items[i], &words);
        gm_words_free(&words);
        gm_records_free(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_become_entities),
        cmocka_unit_test(names_without_a_place_are_counted),
        cmocka_unit_test(names_inside_words_are_widened),
        cmocka_unit_test(what_is_read_is_written),
        cmocka_unit_test(records_without_their_text_are_written_too),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(words_and_tags_are_those_of_the_authors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
