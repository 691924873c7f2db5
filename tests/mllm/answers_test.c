/* Answers of models: the fixtures `unco` and `refineg`, and each way in which an answer can be bad. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "mllm/answers.h"

static const gm_mllm_view plain = { 640, 480, 640, 480, 1.0, 1.0, GM_MLLM_COORDINATES_PIXELS };

static const cJSON *get(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    if (v == NULL) fail_msg("the fixture has no \"%s\"", name);
    return v;
}

static void labels_of(const char *list, gm_labels *l)
{
    gm_err err = { 0 };
    *l = (gm_labels){ .count = 0 };
    assert_ok(gm_labels_parse(list, l, &err));
}

static void corrections_of_unco(void **state)
{
    (void)state;
    const cJSON *fixture = get(gmt_fixture("unco"), "correction"), *it;
    char *words[16];
    gm_record r = { .tokens = words };
    cJSON_ArrayForEach(it, get(fixture, "tokens")) words[r.token_count++] = it->valuestring;
    gm_labels labels;
    labels_of("PER,LOC,ORG,MISC", &labels);
    int seen = 0;
    cJSON_ArrayForEach(it, get(fixture, "answers"))
    {
        gm_err err = { 0 };
        const char *stage = get(it, "stage")->valuestring, *text = get(it, "answer")->valuestring;
        const cJSON *want = get(it, "expect");
        int32_t start = 6, end = 7, type = 1, count = 0;
        bool is_none;
        gm_box boxes[GM_ANSWER_BOXES];
        if (strcmp(stage, "span") == 0) {
            (void)gm_answer_span(text, strlen(text), &r, &start, &end, &is_none, &err);
            assert_int_equal(start, (int)get(want, "start")->valuedouble);
            assert_int_equal(end, (int)get(want, "end")->valuedouble);
        } else if (strcmp(stage, "type") == 0) {
            (void)gm_answer_type(text, strlen(text), &labels, &type, &err);
            assert_string_equal(labels.names[type], get(want, "type")->valuestring);
        } else {
            const gm_status status = gm_answer_boxes(text, strlen(text), &plain, boxes, &count, &err);
            double box[4];
            assert_int_equal(status == GM_OK, cJSON_GetObjectItem(want, "unchanged") == NULL);
            assert_int_equal(count, cJSON_IsNull(get(want, "box")) ? 0 : 1);
            if (count == 1) {
                assert_int_equal(gmt_json_doubles(get(want, "box"), box, 4), 4);
                assert_true(boxes[0].x1 == box[0] && boxes[0].y1 == box[1] && boxes[0].x2 == box[2] && boxes[0].y2 == box[3]);
            }
        }
        seen++;
    }
    assert_int_equal(seen, 7);
    gm_labels_free(&labels);
}

static void answers_of_refineg(void **state)
{
    (void)state;
    const cJSON *it;
    gm_labels labels;
    int seen = 0;
    labels_of("aircraft,vehicle,weapon,vessel,location,other", &labels);
    cJSON_ArrayForEach(it, get(gmt_fixture("refineg"), "answer_parsing"))
    {
        gm_err err = { 0 };
        gm_grounded *list;
        int32_t count;
        const char *text = get(it, "text")->valuestring;
        const cJSON *want = get(it, "parsed");
        const gm_status status = gm_answer_grounding(text, strlen(text), &labels, &plain, &list, &count, &err);
        seen++;
        assert_int_equal(status == GM_OK, !cJSON_IsNull(want));
        assert_int_equal(count, cJSON_GetArraySize(want));
        for (int32_t i = 0; i < count; i++) {
            const cJSON *one = cJSON_GetArrayItem(want, i), *box = get(one, "bounding_box");
            double b[4];
            assert_string_equal(list[i].entity, get(one, "entity")->valuestring);
            assert_string_equal(labels.names[list[i].type], get(one, "entity_type")->valuestring);
            assert_int_equal(list[i].box_count, box->child != NULL);
            if (box->child == NULL) continue;
            assert_int_equal(gmt_json_doubles(box, b, 4), 4);
            assert_true(list[i].boxes[0].x1 == b[0] && list[i].boxes[0].y1 == b[1] && list[i].boxes[0].x2 == b[2] && list[i].boxes[0].y2 == b[3]);
        }
        gm_grounded_free(list, count);
    }
    assert_int_equal(seen, 5);
    gm_labels_free(&labels);
}

/* Scales of pictures and half-even rounding, as `refineg` sends and gets them. */
static void boxes_of_refineg(void **state)
{
    (void)state;
    const cJSON *it;
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    assert_ok(gm_mllm_endpoint_default(&e, &err));
    cJSON_ArrayForEach(it, get(gmt_fixture("refineg"), "image_resize"))
    {
        double size[2], box[4], sent[2], small[4], back[4];
        int32_t got[4];
        gmt_json_doubles(get(it, "size"), size, 2);
        gmt_json_doubles(get(it, "box"), box, 4);
        gmt_json_doubles(get(it, "new_size"), sent, 2);
        gmt_json_doubles(get(it, "box_small"), small, 4);
        gmt_json_doubles(get(it, "box_back"), back, 4);
        const gm_mllm_view v = gm_mllm_view_of(&e, (int32_t)size[0], (int32_t)size[1]);
        assert_int_equal(v.sent_width, (int)sent[0]);
        assert_int_equal(v.sent_height, (int)sent[1]);
        gm_mllm_box_to_prompt(&v, (gm_box){ box[0], box[1], box[2], box[3] }, got);
        for (int i = 0; i < 4; i++) assert_int_equal(got[i], (int)small[i]);
        const gm_box b = gm_mllm_box_from_answer(&v, small);
        assert_true(b.x1 == back[0] && b.y1 == back[1] && b.x2 == back[2] && b.y2 == back[3]);
    }
    gm_mllm_endpoint_free(&e);
}

static char w0[] = "Ann", w1[] = "and", w2[] = "@", w3[] = "Ann", w4[] = "Lee";
static char *words[] = { w0, w1, w2, w3, w4 };
static const gm_record sample = { .tokens = words, .token_count = 5 };

static void span(const char *text, int32_t from, int32_t start, int32_t end, const char *why)
{
    gm_err err = { 0 };
    int32_t s = from, e = from;
    bool is_none = false;
    const gm_status status = gm_answer_span(text, strlen(text), &sample, &s, &e, &is_none, &err);
    assert_int_equal(status, why == NULL ? GM_OK : GM_ERR_DATA);
    if (why != NULL && strstr(err.text, why) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, why);
    assert_int_equal(s, start);
    assert_int_equal(e, end);
}

static void the_nearest_run_of_words_is_meant(void **state)
{
    (void)state;
    span("{\"corrected_entity\": \"Ann\"}", 4, 3, 3, NULL);
    span("{\"corrected_entity\": \"Ann\"}", 1, 0, 0, NULL);
    span("{\"corrected_entity\": \" @Ann  Lee \"}", 4, 2, 4, NULL); /* blanks aside */
    span("{\"corrected_entity\": \"An\"}", 4, 4, 4, "\"An\" does not stand in the text");
    span("{\"corrected_entity\": \"Ann Lee too\"}", 4, 4, 4, "does not stand in the text");
    span("{\"corrected_entity\": \"NULL\"}", 4, 4, 4, NULL);
    span("{\"corrected_entity\": 5}", 4, 4, 4, "is no text");
    span("{\"entity\": \"Ann\"}", 4, 4, 4, "lacks \"corrected_entity\"");
    span("none", 4, 4, 4, "holds no JSON object");
    span("", 4, 4, 4, "holds no JSON object");
}

static void json_is_found_in_prose(void **state)
{
    (void)state;
    span("See [1]: {x} or {\"Corrected_Entity\": \"Ann Lee\"}. Done }", 4, 3, 4, NULL);
    span("```\nnothing\n```\n```JSON\n{\"corrected_entity\": \"Ann Lee\"}", 4, 3, 4, NULL); /* the last fence is open */
    span("[{\"corrected_entity\": \"Ann Lee\"}]", 4, 3, 4, NULL);
    span("{\"corrected_entity\": \"Ann ", 4, 4, 4, "holds no JSON object"); /* cut */
    char *deep = gm_malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    span(deep, 4, 4, 4, "holds no JSON object"); /* and quickly */
    gm_free(deep);
}

static void box(const char *value, const gm_mllm_view *view, int count, const char *why)
{
    char text[256];
    gm_err err = { 0 };
    gm_box boxes[GM_ANSWER_BOXES];
    int32_t n = 0;
    snprintf(text, sizeof text, "{\"corrected_bounding_box\": %s}", value);
    const gm_status status = gm_answer_boxes(text, strlen(text), view, boxes, &n, &err);
    if (status != (why == NULL ? GM_OK : GM_ERR_DATA)) fail_msg("%s: %s", value, err.text);
    if (why != NULL && strstr(err.text, why) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, why);
    assert_int_equal(n, count);
}

static void boxes_lie_in_the_picture(void **state)
{
    (void)state;
    box("[1, 2, 3, 4]", &plain, 1, NULL);
    box("\"[1, 2.5, 3, 4]\"", &plain, 1, NULL);
    box("\"1, 2, 3, 4\"", &plain, 1, NULL);
    box("[[1, 2, 3, 4], [5, 6, 7, 8]]", &plain, 2, NULL);
    box("[600, 400, 700, 500]", &plain, 1, NULL); /* clipped */
    box("null", &plain, 0, NULL);
    box("\"\"", &plain, 0, NULL);
    box("[]", &plain, 0, NULL);
    box("[1, 2, 3]", &plain, 0, "no list of four numbers");
    box("[1, 2, 3, 4, 5]", &plain, 0, "no list of four numbers");
    box("[1, 2, 3, \"4\"]", &plain, 0, "no list of four numbers");
    box("\"left\"", &plain, 0, "no list of four numbers");
    box("true", &plain, 0, "no list of four numbers");
    box("[30, 40, 10, 20]", &plain, 0, "reversed or equal");
    box("[700, 10, 800, 20]", &plain, 0, "outside the picture");
    box("[1, 2, 1e9, 4]", &plain, 0, "beyond all pictures");
    box("[[1,2,3,4],[1,2,3]]", &plain, 0, "no list of four numbers");
}

static void types_are_of_the_set(void **state)
{
    (void)state;
    gm_labels labels;
    gm_err err = { 0 };
    int32_t type = -1;
    labels_of("PER,LOC,ORG,OTHER", &labels);
    const char *misc = "{\"corrected_type\": \"misc\"}", *bad = "{\"corrected_type\": \"NEWSPAPER\"}";
    assert_ok(gm_answer_type(misc, strlen(misc), &labels, &type, &err));
    assert_int_equal(type, 3);
    assert_int_equal(gm_answer_type(bad, strlen(bad), &labels, &type, &err), GM_ERR_DATA);
    assert_string_equal(err.text, "\"NEWSPAPER\" is no type of the set");
    assert_int_equal(type, 3);
    gm_labels_free(&labels);
}

/* Once "OTHER" was refused whatever the set called it, since its normal form was looked for in the wrong place. */
static void other_is_found_by_either_name(void **state)
{
    (void)state;
    static const char *const sets[] = { "PER,OTHER", "PER,MISC", "person,other" }, *const names[] = { "OTHER", "Other", "MISC", "misc" };
    for (size_t i = 0; i < GM_LEN(sets); i++) {
        gm_labels labels;
        labels_of(sets[i], &labels);
        for (size_t k = 0; k < GM_LEN(names); k++) assert_int_equal(gm_answer_find_type(&labels, names[k]), 1);
        assert_int_equal(gm_answer_find_type(&labels, "animal"), -1);
        gm_labels_free(&labels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(corrections_of_unco),      cmocka_unit_test(answers_of_refineg),
                                        cmocka_unit_test(boxes_of_refineg),         cmocka_unit_test(the_nearest_run_of_words_is_meant),
                                        cmocka_unit_test(json_is_found_in_prose),   cmocka_unit_test(boxes_lie_in_the_picture),
                                        cmocka_unit_test(types_are_of_the_set),     cmocka_unit_test(other_is_found_by_either_name) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
