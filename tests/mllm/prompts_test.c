/* Prompts: the files that come with the program, what is put in, and what is wrong with a file. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "mllm/prompts.h"

static gm_status parse(const char *text, gm_prompt *p, gm_err *err)
{
    return gm_prompt_parse(GM_PROMPT_span, "span.txt", text, strlen(text), p, err);
}

static void refused(const char *text, const char *message)
{
    gm_err err = { 0 };
    gm_prompt p;
    assert_int_equal(parse(text, &p, &err), GM_ERR_CONFIG);
    if (strstr(err.text, message) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, message);
}

static void own_files_are_whole(void **state)
{
    (void)state;
    for (int k = 0; k < GM_PROMPTS; k++) {
        gm_err err = { 0 };
        gm_prompt p;
        assert_ok(gm_prompt_read((gm_prompt_kind)k, GM_SOURCE_DIR "/configs/prompts", &p, &err));
        gm_prompt_free(&p);
    }
}

static void values_are_put_in_once(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_prompt p;
    gm_prompt_message m;
    const gm_prompt_value values[] = { { .name = "text", .text = "a {entity} b" }, { .name = "entity", .text = "E" } };
    assert_ok(parse("comment {nonsense}\n[system]\nForm: {\"x\": {}}\n\n[user]\n{text}|{entity}|{Upper}|{\n", &p, &err));
    assert_ok(gm_prompt_fill(&p, values, GM_LEN(values), &m, &err));
    assert_string_equal(m.system, "Form: {\"x\": {}}");
    assert_int_equal(m.part_count, 1);
    assert_string_equal(m.parts[0].text, "a {entity} b|E|{Upper}|{");
    gm_prompt_message_free(&m);
    assert_int_equal(gm_prompt_fill(&p, values, 1, &m, &err), GM_ERR_CONFIG);
    assert_string_equal(err.text, "span.txt:6:8: there is nothing to put in for {entity}");
    gm_prompt_free(&p);
}

static void pictures_part_the_text(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_prompt p;
    gm_prompt_message m;
    const gm_mllm_part shown[] = { { .text = "one" }, { .image_path = "1.png" }, { .text = "two" } }, query = { .image_path = "q.png" };
    const gm_prompt_value values[] = { { .name = "text", .text = "T" }, { .name = "entities", .text = "E" }, { .name = "types", .text = "Y" },
                                       { .name = "image", .parts = &query, .part_count = 1 },
                                       { .name = "demonstrations", .parts = shown, .part_count = 3 } };
    const char *text = "[user]\n<{demonstrations}>{image}{text}{entities}{types}";
    assert_ok(gm_prompt_parse(GM_PROMPT_grounding, "g", text, strlen(text), &p, &err));
    assert_ok(gm_prompt_fill(&p, values, GM_LEN(values), &m, &err));
    assert_null(m.system);
    assert_int_equal(m.part_count, 5);
    assert_string_equal(m.parts[0].text, "<one");
    assert_string_equal(m.parts[1].image_path, "1.png");
    assert_string_equal(m.parts[2].text, "two>");
    assert_string_equal(m.parts[3].image_path, "q.png");
    assert_string_equal(m.parts[4].text, "TEY");
    gm_prompt_message_free(&m);
    gm_prompt_free(&p);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_prompt p;
    refused("[user]\n{text}\n {entitty}", "span.txt:3:2: a prompt for \"span\" has no placeholder {entitty}, did you mean {entity}");
    refused("[user]\n{text}", "span.txt: the placeholder {entity} is missing");
    refused("{text} {entity}", "the line [user] is missing");
    refused("[usr]\n{text}", "span.txt:1:1: [usr] is no part of a prompt");
    refused("[user]\n{text}\n[user]\n{entity}", "span.txt:3:1: [user] stands twice");
    refused("[user]\n\xff", "byte 7 is not UTF-8");
    const char *text = "[system]\n{image}\n[user]\n";
    assert_int_equal(gm_prompt_parse(GM_PROMPT_region, "r", text, strlen(text), &p, &err), GM_ERR_CONFIG);
    assert_string_equal(err.text, "r:2:1: {image} is in [system], which holds no pictures: move it to [user]");
    assert_int_equal(gm_prompt_read(GM_PROMPT_span, "no/such/folder", &p, &err), GM_ERR_IO);
    assert_non_null(strstr(err.text, "no/such/folder/span.txt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(own_files_are_whole), cmocka_unit_test(values_are_put_in_once),
                                        cmocka_unit_test(pictures_part_the_text), cmocka_unit_test(bad_files_are_named) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
