/* Grounding by analogy: what is sent, what an answer means for the entities of a record, and what of it is refused. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "image/image.h"
#include "mllm/ground.h"

static gm_err err;

static gm_record record(const char *line)
{
    gm_record r;
    assert_ok(gm_record_parse(line, strlen(line), &r, &err));
    return r;
}

static gm_mllm_endpoint endpoint(const char *coordinates)
{
    char json[256];
    gm_mllm_endpoint e;
    const int n = snprintf(json, sizeof json, "{\"url\": \"http://127.0.0.1/v1\", \"model\": \"m\", \"coordinates\": \"%s\", \"image\": {\"max_side\": 100}}", coordinates);
    assert_ok(gm_mllm_endpoint_parse("endpoint", json, (size_t)n, &e, &err));
    return e;
}

static const char PARIS[] = "{\"id\": \"1\", \"tokens\": [\"Paris\", \"Hilton\", \"in\", \"Paris\", \"Hilton\", \"Paris\"], \"image\": \"1.png\", \"entities\": ["
                            "{\"start\": 0, \"end\": 1, \"type\": \"PER\", \"boxes\": [[1, 2, 3, 4]]}, {\"start\": 3, \"end\": 4, \"type\": \"ORG\", \"boxes\": []}, "
                            "{\"start\": 5, \"end\": 5, \"type\": \"LOC\", \"boxes\": [[5, 6, 7, 8]]}]}";

/* Labels, options and a view of 200 x 100 pixels sent as they are. */
typedef struct setting {
    gm_labels types, never;
    gm_mllm_endpoint e;
    gm_ground_options o;
    gm_shown shown;
} setting;

static void setting_open(setting *s, const char *coordinates, const char *never)
{
    *s = (setting){ .e = endpoint(coordinates), .shown = { .width = 200, .height = 100 } };
    assert_ok(gm_labels_parse("PER,LOC,ORG", &s->types, &err));
    if (never != NULL) assert_ok(gm_labels_parse(never, &s->never, &err));
    s->o = (gm_ground_options){ .endpoint = &s->e, .prompts = "configs/prompts", .types = &s->types, .never = &s->never };
}

static void setting_close(setting *s)
{
    gm_labels_free(&s->types);
    gm_labels_free(&s->never);
    gm_mllm_endpoint_free(&s->e);
}

static gm_ground_result read_text(const setting *s, const gm_record *r, const char *text)
{
    gm_ground_result result;
    const gm_mllm_answer answer = { .outcome = GM_MLLM_ANSWERED, .text = text, .text_bytes = strlen(text), .why = "" };
    assert_ok(gm_ground_read(&s->o, r, &s->shown, &answer, &result, &err));
    return result;
}

static gm_reply reply_to(const setting *s, const gm_record *r, const gm_ground_result *result, int32_t entity)
{
    gm_reply reply;
    const gm_ground_results all = { &s->o, result };
    const gm_question q = { .record = 0, .sample = r, .entity = entity, .part = GM_PART_REGION, .now = &r->entities[entity] };
    assert_ok(gm_ground_reply((void *)&all, &q, &reply, &err));
    return reply;
}

static void box_is(const gm_reply *reply, int32_t k, double x1, double y1, double x2, double y2)
{
    assert_int_equal(reply->kind, GM_REPLY_REGION);
    assert_true(k < reply->box_count);
    const gm_box b = reply->boxes[k];
    if (b.x1 != x1 || b.y1 != y1 || b.x2 != x2 || b.y2 != y2) fail_msg("the box is [%g, %g, %g, %g]", b.x1, b.y1, b.x2, b.y2);
}

/* Two mentions of one phrase get their own; the order of other entries does not matter; blanks and case do not either. */
static void mentions_get_their_own(void **state)
{
    (void)state;
    setting s;
    gm_record r = record(PARIS);
    setting_open(&s, "pixels", NULL);
    gm_ground_result got = read_text(&s, &r, "Here: ```json\n{\"entities\": [{\"entity\": \"paris\", \"entity_type\": \"LOC\", \"bounding_box\": []},"
                                             "{\"entity\": \"ParisHilton\", \"entity_type\": \"PER\", \"bounding_box\": [10, 10, 20, 20]},"
                                             "{\"entity\": \"Paris Hilton\", \"entity_type\": \"strange\", \"bounding_box\": [[30, 10, 40, 20], [50, 10, 60, 20]]}]}\n```");
    assert_null(got.why);
    gm_reply reply = reply_to(&s, &r, &got, 0);
    box_is(&reply, 0, 10, 10, 20, 20);
    reply = reply_to(&s, &r, &got, 1);
    assert_int_equal(reply.box_count, 2);
    box_is(&reply, 1, 50, 10, 60, 20);
    reply = reply_to(&s, &r, &got, 2);
    assert_true(reply.kind == GM_REPLY_REGION && reply.box_count == 0);
    gm_ground_result_free(&got);
    setting_close(&s);
    gm_record_free(&r);
}

/* The exact words come before those that differ in case. */
static void case_counts_where_it_tells(void **state)
{
    (void)state;
    setting s;
    gm_record r = record("{\"id\": \"1\", \"tokens\": [\"US\", \"us\"], \"entities\": [{\"start\": 0, \"end\": 0, \"type\": \"LOC\", \"boxes\": []}, "
                         "{\"start\": 1, \"end\": 1, \"type\": \"PER\", \"boxes\": []}]}");
    setting_open(&s, "pixels", NULL);
    gm_ground_result got = read_text(&s, &r, "[{\"entity\": \"us\", \"bounding_box\": [1, 1, 9, 9]}, {\"entity\": \"Us\", \"bounding_box\": [2, 2, 8, 8]}]");
    gm_reply reply = reply_to(&s, &r, &got, 1);
    box_is(&reply, 0, 1, 1, 9, 9);
    reply = reply_to(&s, &r, &got, 0);
    box_is(&reply, 0, 2, 2, 8, 8);
    gm_ground_result_free(&got);
    setting_close(&s);
    gm_record_free(&r);
}

static void refused(const setting *s, const gm_record *r, const char *text, int32_t entity, const char *why)
{
    gm_ground_result got = read_text(s, r, text);
    const gm_reply reply = reply_to(s, r, &got, entity);
    assert_int_equal(reply.kind, GM_REPLY_REFUSED);
    if (strstr(reply.why, why) == NULL) fail_msg("\"%s\" lacks \"%s\"", reply.why, why);
    gm_ground_result_free(&got);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    setting s;
    gm_record r = record(PARIS);
    setting_open(&s, "pixels", "LOC");
    refused(&s, &r, "[{\"entity\": \"Paris Hilton\", \"bounding_box\": [30, 30, 10, 40]}]", 0, "corners are reversed");
    refused(&s, &r, "[{\"entity\": \"Paris Hilton\", \"bounding_box\": [300, 30, 310, 40]}]", 0, "lies outside the picture");
    refused(&s, &r, "[{\"entity\": \"Paris Hilton\", \"bounding_box\": [1, 2, 3]}]", 0, "no list of four numbers");
    refused(&s, &r, "[{\"entity\": \"Paris Hilton\", \"bounding_box\": [1, 1, 9, 9]}]", 1, "the answer says nothing of it");
    refused(&s, &r, "I see two people.", 0, "no JSON list");
    refused(&s, &r, "[{\"name\": \"Paris Hilton\"}]", 0, "lacks \"entity\"");
    gm_ground_result cut = { 0 };
    const gm_mllm_answer answer = { .outcome = GM_MLLM_CACHED, .text = "[{\"entity\": ", .text_bytes = 12, .is_cut = true, .why = "" };
    assert_ok(gm_ground_read(&s.o, &r, &s.shown, &answer, &cut, &err));
    assert_non_null(strstr(cut.why, "cut at max_tokens"));
    gm_ground_result_free(&cut);
    const gm_mllm_answer none = { .outcome = GM_MLLM_FAILED, .text = "", .why = "no answer in 5 tries" };
    assert_ok(gm_ground_read(&s.o, &r, &s.shown, &none, &cut, &err));
    gm_reply reply = reply_to(&s, &r, &cut, 0);
    assert_int_equal(reply.kind, GM_REPLY_FAILED);
    assert_string_equal(reply.why, "no answer in 5 tries");
    reply = reply_to(&s, &r, &cut, 2); /* --never LOC: whatever came */
    assert_true(reply.kind == GM_REPLY_REGION && reply.box_count == 0);
    gm_ground_result_free(&cut);
    setting_close(&s);
    gm_record_free(&r);
}

static void write_picture(const char *folder, const char *name, int32_t width, int32_t height)
{
    char path[300];
    gm_image image;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(gm_image_create(width, height, &image, &err));
    assert_ok(gm_image_write_png(&image, path, &err));
    gm_image_free(&image);
}

static void pictures_that_cannot_be_shown(void **state)
{
    (void)state;
    const char *folder = gmt_temp_dir();
    char path[300];
    write_picture(folder, "good.png", 7, 5);
    snprintf(path, sizeof path, "%s/bad.png", folder);
    gmt_write_file(path, "\x89PNG", 4);
    const struct { const char *folder, *image, *why; } cases[] = { { folder, "\"good.png\"", NULL }, { folder, "\"bad.png\"", "bad.png" }, { folder, "\"none.png\"", "there is no picture none.png" },
                                                                   { folder, "null", "names no picture" }, { folder, "\"../good.png\"", "no name of a picture inside" }, { NULL, "\"good.png\"", "no folder" } };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        char line[200];
        gm_shown shown;
        snprintf(line, sizeof line, "{\"id\": \"1\", \"tokens\": [\"a\"], \"image\": %s, \"entities\": []}", cases[i].image);
        gm_record r = record(line);
        assert_ok(gm_shown_look(cases[i].folder, &r, &shown, &err));
        if (cases[i].why == NULL) assert_true(shown.path != NULL && shown.width == 7 && shown.height == 5);
        else if (shown.path != NULL || strstr(shown.why, cases[i].why) == NULL) fail_msg("\"%s\" lacks \"%s\"", shown.why, cases[i].why);
        gm_shown_free(&shown);
        gm_record_free(&r);
    }
}

/* All texts of a request, pictures as <name>. */
static void text_of(const gm_mllm_request *q, char *to, size_t room)
{
    int n = snprintf(to, room, "%s\n", q->system);
    for (int32_t i = 0; i < q->part_count; i++) {
        const char *slash = q->parts[i].text == NULL ? strrchr(q->parts[i].image_path, '/') : NULL;
        n += snprintf(to + n, room - (size_t)n, slash != NULL ? "<%s>" : "%s", slash != NULL ? slash + 1 : q->parts[i].text);
    }
}

static void has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) fail_msg("\"%s\" is not in:\n%s", part, text);
}

/* A demonstration is 200 x 100 and sent as 100 x 50; the picture asked about is 50 x 80. */
static void what_is_sent(void **state)
{
    (void)state;
    static char text[8192];
    const struct { const char *coordinates, *box, *sides, *unit; } ways[] = { { "resized", "[5, 10, 50, 50]", "50 wide and 80 high", "in pixels" },
                                                                              { "pixels", "[10, 20, 100, 100]", "50 wide and 80 high", "in pixels" },
                                                                              { "thousandths", "[50, 200, 500, 1000]", "1000 wide and 1000 high", "in thousandths" } };
    const char *folder = gmt_temp_dir();
    write_picture(folder, "1.png", 50, 80);
    write_picture(folder, "2.png", 200, 100);
    gm_record r = record(PARIS);
    gm_record sample = record("{\"id\": \"2\", \"tokens\": [\"Ann\", \"\\\"x\\\"\", \"Oslo\", \"Bo\"], \"image\": \"2.png\", \"entities\": [{\"start\": 0, \"end\": 1, \"type\": \"PER\", \"boxes\": [[10, 20, 100, 100]]}, "
                              "{\"start\": 2, \"end\": 2, \"type\": \"LOC\", \"boxes\": [[1, 1, 9, 9]]}, {\"start\": 3, \"end\": 3, \"type\": \"PER\", \"boxes\": [[10, 20, 100, 100], [10, 20, 100, 100]]}]}");
    for (size_t i = 0; i < GM_LEN(ways); i++) {
        setting s;
        gm_grounder *g;
        gm_mllm_request q;
        gm_shown own, other;
        char part[256];
        setting_open(&s, ways[i].coordinates, "LOC");
        assert_ok(gm_grounder_open(&s.o, &g, &err));
        assert_ok(gm_shown_look(folder, &r, &own, &err));
        assert_ok(gm_shown_look(folder, &sample, &other, &err));
        const gm_demonstration d = { &sample, &other };
        for (int twice = 0; twice < 2; twice++) assert_ok(gm_grounder_request(g, &r, &own, &d, 1, &q, &err));
        assert_string_equal(q.id, "1:ground");
        text_of(&q, text, sizeof text);
        has(text, "Types: PER, LOC, ORG");
        has(text, "is one of: LOC.");
        has(text, ways[i].unit);
        has(text, ways[i].sides);
        has(text, "Example 1:\n<2.png>\nText: Ann \"x\" Oslo Bo\nEntities: [{\"name\": \"Ann \\\"x\\\"\", \"type\": \"PER\"}, ");
        snprintf(part, sizeof part, "\"entity_type\": \"PER\", \"bounding_box\": %s}, {\"entity\": \"Oslo\", \"entity_type\": \"LOC\", \"bounding_box\": []}, ", ways[i].box);
        has(text, part);
        snprintf(part, sizeof part, "{\"entity\": \"Bo\", \"entity_type\": \"PER\", \"bounding_box\": [%s, %s]}]", ways[i].box, ways[i].box);
        has(text, part);
        has(text, "<1.png>\nText: Paris Hilton in Paris Hilton Paris\nEntities: [{\"name\": \"Paris Hilton\", \"type\": \"PER\"}, {\"name\": \"Paris Hilton\", \"type\": \"ORG\"}, "
                  "{\"name\": \"Paris\", \"type\": \"LOC\"}]");
        assert_null(strstr(strstr(text, "<1.png>"), "bounding_box")); /* what the local model had is not shown */
        cJSON *schema;
        assert_ok(gm_json_parse(q.schema, strlen(q.schema), &schema, &err));
        assert_string_equal(cJSON_GetObjectItem(schema, "type")->valuestring, "object");
        cJSON_Delete(schema);
        assert_ok(gm_grounder_request(g, &r, &own, NULL, 0, &q, &err));
        text_of(&q, text, sizeof text);
        assert_null(strstr(text, "Example"));
        gm_shown_free(&own);
        gm_shown_free(&other);
        gm_grounder_free(g);
        setting_close(&s);
    }
    gm_record_free(&r);
    gm_record_free(&sample);
}

/* One request and one answer, whatever allocation fails: a status, and nothing is lost. */
static gm_status ask_once(const setting *s, const gm_record *r, const char *folder)
{
    static const char text[] = "[{\"entity\": \"Paris Hilton\", \"entity_type\": \"PER\", \"bounding_box\": [1, 1, 9, 9]}]";
    const gm_mllm_answer answer = { .outcome = GM_MLLM_ANSWERED, .text = text, .text_bytes = sizeof text - 1, .why = "" };
    gm_grounder *g = NULL;
    gm_mllm_request q;
    gm_shown shown = { 0 };
    gm_ground_result result = { 0 };
    gm_status status = gm_grounder_open(&s->o, &g, &err);
    if (status == GM_OK) status = gm_shown_look(folder, r, &shown, &err);
    const gm_demonstration d[] = { { r, &shown }, { r, &shown } };
    if (status == GM_OK) status = gm_grounder_request(g, r, &shown, d, 2, &q, &err);
    if (status == GM_OK) status = gm_ground_read(&s->o, r, &shown, &answer, &result, &err);
    gm_ground_result_free(&result);
    gm_shown_free(&shown);
    gm_grounder_free(g);
    return status;
}

static void without_memory(void **state)
{
    (void)state;
    setting s;
    const char *folder = gmt_temp_dir();
    gm_record r = record(PARIS);
    setting_open(&s, "resized", NULL);
    write_picture(folder, "1.png", 50, 80);
    const uint64_t before = gm_alloc_count();
    assert_ok(ask_once(&s, &r, folder));
    const int64_t all = (int64_t)(gm_alloc_count() - before);
    for (int64_t k = 0; k < all; k++) {
        gm_alloc_fail_at(k);
        const gm_status status = ask_once(&s, &r, folder);
        gm_alloc_fail_at(-1);
        if (status != GM_OK && status != GM_ERR_NOMEM) fail_msg("allocation %d: %s: %s", (int)k, gm_status_name(status), err.text);
    }
    setting_close(&s);
    gm_record_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(mentions_get_their_own), cmocka_unit_test(case_counts_where_it_tells), cmocka_unit_test(what_is_wrong_is_said),
                                        cmocka_unit_test(pictures_that_cannot_be_shown), cmocka_unit_test(what_is_sent), cmocka_unit_test(without_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
