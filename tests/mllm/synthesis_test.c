/* Sentences of a language model: each reason for which one is not taken has its named case; answers of all shapes are read; what comes out does not
 * depend on the order of answers. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "mllm/synthesis.h"

/* A set of types with one for others, or without. */
static gm_type_set types_of(const char *list)
{
    gm_err err = { 0 };
    gm_type_set t;
    assert_ok(gm_type_set_parse(list, &t, &err));
    return t;
}

typedef struct reading {
    gm_type_set types;
    gm_synthesis_rules rules;
    gm_sentences got;
} reading;

static reading read_with(const char *types, bool keeps_partial, const char *answer)
{
    static gm_type_set set;
    gm_err err = { 0 };
    reading r = { .types = types_of(types) };
    set = r.types;
    r.rules = (gm_synthesis_rules) { .types = &set, .min_words = 4, .max_words = 14, .keeps_partial = keeps_partial };
    assert_ok(gm_synthesis_read(answer, strlen(answer), &r.rules, &r.got, &err));
    return r;
}

static void forget(reading *r)
{
    gm_sentences_free(&r->got);
    gm_type_set_free(&r->types);
}

static const char ccks[] = "aircraft,vehicle,weapon,vessel,location,other";
static const char *fault_name(gm_synthesis_fault f) { return f == GM_SYNTHESIS_FAULTS ? "none" : gm_synthesis_names[f]; }

static void one_fault(const char *types, const char *answer, const char *fault)
{
    reading r = read_with(types, false, answer);
    assert_int_equal(r.got.count, 2); /* the bad one, and a good one behind it */
    assert_string_equal(fault_name(r.got.items[0].fault), fault);
    assert_int_equal(r.got.items[0].record.token_count, 0);
    assert_string_equal(fault_name(r.got.items[1].fault), "none");
    forget(&r);
}

#define GOOD ", {\"text\": \"The crew saw a Rafale.\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"aircraft\"}]}]"

static void a_sentence_without_text_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"entity\": []}" GOOD, "no_text");
}

static void a_short_sentence_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"text\": \"A Rafale flew\", \"entity\": []}" GOOD, "too_short");
}

static void a_blank_sentence_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"text\": \" \\n \", \"entity\": []}" GOOD, "too_short");
}

static void a_long_sentence_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"text\": \"a b c d e f g h i j k l m n o\", \"entity\": []}" GOOD, "too_long");
}

static void too_many_entities_are_rejected(void **state)
{
    (void)state;
    gm_buffer b = { 0 };
    assert_int_equal(gm_buffer_printf(&b, NULL, "[{\"text\": \"So many of them here\", \"entity\": ["), GM_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(gm_buffer_printf(&b, NULL, "%s{\"name\": \"n%d\", \"type\": \"other\"}", i > 0 ? "," : "", i), GM_OK);
    assert_int_equal(gm_buffer_printf(&b, NULL, "]}" GOOD), GM_OK);
    one_fault(ccks, b.data, "too_many");
    gm_buffer_free(&b);
}

static void an_entity_without_a_name_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"text\": \"The crew saw a Rafale.\", \"entity\": [{\"name\": \"  \", \"type\": \"aircraft\"}]}" GOOD, "no_name");
    one_fault(ccks, "[{\"text\": \"The crew saw a Rafale.\", \"entity\": [\"Rafale\"]}" GOOD, "no_name");
}

static void an_unknown_type_is_other_or_rejected(void **state)
{
    (void)state;
    static const char answer[] = "[{\"text\": \"The crew saw a Rafale.\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"bird\"}]}" GOOD;
    one_fault("aircraft,location", answer, "unknown_type");
    reading r = read_with(ccks, false, answer);
    assert_string_equal(r.got.items[0].record.entities[0].type, "other");
    assert_int_equal(r.got.items[0].retyped, 1);
    assert_int_equal(r.got.items[1].retyped, 0);
    forget(&r);
    r = read_with("aircraft,MISC", false, "[{\"text\": \"The crew saw a Rafale.\", \"entity\": [{\"name\": \"Rafale\"}]}]");
    assert_string_equal(r.got.items[0].record.entities[0].type, "MISC");
    forget(&r);
}

static void a_name_of_two_types_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"text\": \"The crew saw a Rafale.\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"aircraft\"}, {\"name\": \" Rafale\", \"type\": \"vessel\"}]}" GOOD,
              "two_types");
}

static void an_entity_that_is_not_there_is_rejected(void **state)
{
    (void)state;
    one_fault(ccks, "[{\"text\": \"The crew saw a rafale.\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"aircraft\"}]}" GOOD, "absent");
}

/* As ReFineG's script does: the entity goes, the sentence stays. */
static void a_partial_sentence_can_be_kept(void **state)
{
    (void)state;
    reading r = read_with(ccks, true, "[{\"text\": \"The Rafale left Brest.\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"aircraft\"}, {\"name\": \"Toulon\", \"type\": "
                                      "\"location\"}, {\"name\": \"\", \"type\": \"location\"}]}]");
    assert_string_equal(fault_name(r.got.items[0].fault), "none");
    assert_int_equal(r.got.items[0].record.entity_count, 1);
    assert_int_equal(r.got.items[0].left_out, 2);
    forget(&r);
}

static void entities_that_are_no_list_are_none(void **state)
{
    (void)state;
    reading r = read_with(ccks, false, "[{\"text\": \"The crew slept all day.\", \"entity\": \"none\"}, {\"text\": \"The crew ate all day.\"}]");
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(fault_name(r.got.items[i].fault), "none");
        assert_int_equal(r.got.items[i].record.entity_count, 0);
        assert_true(r.got.items[i].record.token_count > 4);
    }
    forget(&r);
}

static void every_occurrence_is_tagged_longest_first(void **state)
{
    (void)state;
    reading r = read_with(ccks, false, "[{\"text\": \"An NH-90 met NH-90 NTH and NH-90s.\", \"entity\": [{\"name\": \"NH-90\", \"type\": \"aircraft\"}, {\"name\": \"NH-90 NTH\", "
                                       "\"type\": \"aircraft\"}, {\"name\": \"NTH\", \"type\": \"other\"}]}]");
    const gm_sentence *s = &r.got.items[0];
    assert_int_equal(s->record.entity_count, 3);
    assert_int_equal(s->record.entities[1].end - s->record.entities[1].start, 3);
    assert_int_equal(s->nested, 1);
    assert_int_equal(s->inside_words, 1);
    forget(&r);
}

/* "歼-20战机昨天起飞。": words by the same rule, so the whole clause behind the hyphen is one; its length is counted by letters. */
static void text_without_blanks_is_read(void **state)
{
    (void)state;
    reading r = read_with(ccks, false, "[{\"text\": \"\\u6b7c-20\\u6218\\u673a\\u6628\\u5929\\u8d77\\u98de\\u3002\", \"entity\": [{\"name\": \"\\u6b7c-20\", \"type\": \"aircraft\"}]}]");
    const gm_sentence *s = &r.got.items[0];
    assert_string_equal(fault_name(s->fault), "none");
    assert_int_equal(s->record.token_count, 4);
    assert_int_equal(s->record.entity_count, 1);
    assert_int_equal(s->record.entities[0].end, 2);
    assert_int_equal(s->inside_words, 1);
    forget(&r);
}

static void pairs_of_types_are_taken_apart(void **state)
{
    (void)state;
    reading r = read_with("person/actor,person/artist", false, "[{\"text\": \"Ann Lee sings in Oslo.\", \"entity\": [{\"name\": \"Ann Lee\", \"type\": \"Person/Artist\"}]}]");
    assert_int_equal(r.got.items[0].record.entity_count, 1);
    assert_string_equal(r.got.items[0].record.entities[0].type, "person");
    assert_string_equal(r.got.items[0].record.entities[0].fine, "artist");
    forget(&r);
}

/* ---- shapes of answers ---- */

static void answers_of_all_shapes_are_read(void **state)
{
    (void)state;
    static const struct { const char *text; size_t count; } cases[] = {
        { "[{\"text\": \"a b c d\", \"entity\": []}, {\"text\": \"e f g h\", \"entity\": []}]", 2 },
        { "{\"sentences\": [{\"text\": \"a b c d\", \"entity\": []}, {\"text\": \"e f g h\", \"entity\": []}]}", 2 },
        { "Sure!\n```json\n[{\"text\": \"a b c d\", \"entity\": []}, {\"text\": \"e f g h\", \"entity\": []}]\n```\nDone {x}.", 2 },
        { "Two {of them}: [{\"text\": \"a b c d\", \"entity\": []}, {\"text\": \"e f g h\", \"entity\": []}] as asked", 2 },
        { "{\"text\": \"a Rafale flew off\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"aircraft\"}]}", 1 },
        { "{\"text\": \"a b c d\", \"entity\": []}\n{\"text\": \"e f g h\", \"entity\": []}\n{\"text\": \"i j k l\"}", 3 }, /* a line each */
        { "```json\n[{\"text\": \"a Rafale flew off\", \"entity\": [{\"name\": \"Rafale\", \"type\": \"aircraft\"}]}, {\"text\": \"e f g h\", \"entity\": []}, {\"text\": \"i j", 2 },
        { "{\"sentences\": [{\"text\": \"a b c d\", \"entity\": []}, {\"text\": \"e f g h\", \"entity\": [", 1 },
        { "{\"a\": [{\"text\": \"a b c d\"}], \"b\": [{\"text\": \"e f g h\"}]}", 2 },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        reading r = read_with(ccks, false, cases[i].text);
        if (r.got.count != cases[i].count) fail_msg("case %zu: %zu sentences", i, r.got.count);
        for (size_t k = 0; k < r.got.count; k++) {
            assert_string_equal(fault_name(r.got.items[k].fault), "none");
            assert_int_equal(r.got.items[k].number, (int)k + 1);
        }
        forget(&r);
    }
}

static void answers_without_sentences_say_so(void **state)
{
    (void)state;
    static const char *const cases[] = { "", "no idea", "[]", "{\"something\": [\"else\", 1]}", "[{\"sentence\": \"a b c d\"}]", "[{\"text\": 4}]", "[{\"text\": \"a b c" };
    gm_type_set types = types_of(ccks);
    const gm_synthesis_rules rules = { .types = &types, .min_words = 1, .max_words = 9 };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        gm_sentences got = { 0 };
        assert_int_equal(gm_synthesis_read(cases[i], strlen(cases[i]), &rules, &got, &err), GM_ERR_DATA);
        assert_string_equal(err.text, "the answer holds no list of sentences");
        assert_int_equal(got.count, 0);
        gm_sentences_free(&got);
    }
    gm_type_set_free(&types);
}

/* ---- sets ---- */

enum { SAMPLES = 8 };

static gm_records labelled(void)
{
    static const char *const lines[SAMPLES] = {
        "{\"id\":\"a\",\"tokens\":[\"The\",\"NH\",\"-\",\"90\",\"flew\"],\"entities\":[{\"start\":1,\"end\":3,\"type\":\"aircraft\",\"boxes\":[]}]}",
        "{\"id\":\"b\",\"tokens\":[\"Two\"],\"entities\":[]}",
        "{\"id\":\"c\",\"tokens\":[\"Three\"],\"entities\":[]}",
        "{\"id\":\"d\",\"tokens\":[\"two\"],\"entities\":[]}", /* the text of b */
        "{\"id\":\"e\",\"tokens\":[\"Five\"],\"entities\":[]}",
        "{\"id\":\"f\",\"tokens\":[\"Six\"],\"entities\":[]}",
        "{\"id\":\"g\",\"tokens\":[\"Seven\"],\"entities\":[]}",
        "{\"id\":\"h\",\"tokens\":[\"Eight\"],\"entities\":[]}",
    };
    gm_records all = { 0 };
    for (int i = 0; i < SAMPLES; i++) {
        gm_err err = { 0 };
        gm_record r;
        assert_ok(gm_record_parse(lines[i], strlen(lines[i]), &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
    }
    return all;
}

static void labelled_and_repeated_sentences_are_rejected(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records samples = labelled(), train = { 0 }, dev = { 0 };
    gm_sentences made[SAMPLES] = { { 0 } };
    gm_type_set types = types_of(ccks);
    const gm_synthesis_rules rules = { .types = &types, .min_words = 1, .max_words = 12 };
    const bool is_dev[SAMPLES] = { false, true };
    gm_synthesis_counts c;
    static const char first[] = "[{\"text\": \"the NH-90 flew!\"}, {\"text\": \"It rained all day.\"}, {\"text\": \"It rained all day.\"}, {\"text\": \"New.\"}]";
    static const char second[] = "[{\"text\": \"it rained, all day\"}, {\"text\": \"It rained all day.\"}, {\"text\": \"Other \\\"one\\\".\"}]";
    assert_ok(gm_synthesis_read(first, strlen(first), &rules, &made[0], &err));
    assert_ok(gm_synthesis_read(second, strlen(second), &rules, &made[1], &err));
    assert_ok(gm_synthesis_collect(&samples, made, is_dev, &train, &dev, &c, &err));
    assert_int_equal(c.made, 7);
    assert_int_equal(c.of[GM_SYNTHESIS_copy], 1);
    assert_int_equal(c.of[GM_SYNTHESIS_duplicate], 2);
    assert_int_equal(c.of[GM_SYNTHESIS_near_duplicate], 1);
    assert_int_equal(c.kept, 3);
    assert_int_equal(train.count, 2);
    assert_int_equal(dev.count, 1);
    assert_string_equal(train.items[0].id, "a-llm-02");
    assert_string_equal(train.items[1].id, "a-llm-04");
    assert_string_equal(dev.items[0].id, "b-llm-03");
    assert_string_equal(dev.items[0].extra, "\"made_from\": \"b\"");
    for (int i = 0; i < 2; i++) gm_sentences_free(&made[i]);
    gm_type_set_free(&types);
    gm_records_free(&samples);
    gm_records_free(&train);
    gm_records_free(&dev);
}

static void the_split_follows_seed_and_ids_alone(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records samples = labelled();
    bool here[SAMPLES], there[SAMPLES];
    int differs = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        int dev = 0;
        assert_ok(gm_synthesis_split(&samples, 0.25, seed, here, &err));
        for (int i = 0; i < SAMPLES; i++) dev += here[i] && i != 3; /* of seven texts two */
        assert_int_equal(dev, 2);
        assert_int_equal(here[1], here[3]); /* of one text: on one side */
        if (seed > 0) differs += memcmp(here, there, sizeof here) != 0;
        memcpy(there, here, sizeof here);
    }
    assert_true(differs > 5);
    const gm_record last = samples.items[SAMPLES - 1];
    samples.items[SAMPLES - 1] = samples.items[0];
    samples.items[0] = last;
    assert_ok(gm_synthesis_split(&samples, 0.25, 19, here, &err));
    assert_int_equal(here[0], there[SAMPLES - 1]);
    assert_int_equal(here[SAMPLES - 1], there[0]);
    for (int i = 1; i < SAMPLES - 1; i++) assert_int_equal(here[i], there[i]);
    assert_ok(gm_synthesis_split(&samples, 0, 19, here, &err));
    for (int i = 0; i < SAMPLES; i++) assert_false(here[i]);
    gm_records_free(&samples);
}

/* ---- requests ---- */

static void requests_hold_sample_types_and_numbers(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records samples = labelled();
    gm_type_set types = types_of("aircraft,person/actor");
    gm_synthesis_order o = { .types = &types, .sentences = 7, .more = 5 };
    gm_prompt_message m;
    char *schema;
    assert_ok(gm_prompt_read(GM_PROMPT_synthesis, GM_SOURCE_DIR "/configs/prompts", &o.prompts[0], &err));
    assert_ok(gm_prompt_read(GM_PROMPT_synthesis_empty, GM_SOURCE_DIR "/configs/prompts", &o.prompts[1], &err));
    assert_ok(gm_synthesis_message(&o, &samples.items[0], &m, &err));
    assert_string_equal(m.parts[0].text, "Sentence: The NH - 90 flew\nEntities: [{\"name\": \"NH - 90\", \"type\": \"aircraft\"}]");
    assert_non_null(strstr(m.system, "1. 7 new sentences"));
    assert_non_null(strstr(m.system, "them 5 new, specific names"));
    assert_non_null(strstr(m.system, "exactly so: aircraft, person/actor"));
    gm_prompt_message_free(&m);
    assert_ok(gm_synthesis_message(&o, &samples.items[1], &m, &err));
    assert_string_equal(m.parts[0].text, "Sentence: Two");
    assert_non_null(strstr(m.system, "Write 12 sentences"));
    gm_prompt_message_free(&m);
    assert_ok(gm_synthesis_schema(&types, &schema, &err));
    cJSON *parsed;
    assert_ok(gm_json_parse(schema, strlen(schema), &parsed, &err));
    assert_string_equal(cJSON_GetObjectItem(parsed, "type")->valuestring, "object"); /* strict servers take no list */
    assert_non_null(strstr(schema, "{\"enum\":[\"aircraft\",\"person/actor\"]}"));
    cJSON_Delete(parsed);
    gm_free(schema);
    gm_prompt_free(&o.prompts[0]);
    gm_prompt_free(&o.prompts[1]);
    gm_type_set_free(&types);
    gm_records_free(&samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentence_without_text_is_rejected),
        cmocka_unit_test(a_short_sentence_is_rejected),
        cmocka_unit_test(a_blank_sentence_is_rejected),
        cmocka_unit_test(a_long_sentence_is_rejected),
        cmocka_unit_test(too_many_entities_are_rejected),
        cmocka_unit_test(an_entity_without_a_name_is_rejected),
        cmocka_unit_test(an_unknown_type_is_other_or_rejected),
        cmocka_unit_test(a_name_of_two_types_is_rejected),
        cmocka_unit_test(an_entity_that_is_not_there_is_rejected),
        cmocka_unit_test(a_partial_sentence_can_be_kept),
        cmocka_unit_test(entities_that_are_no_list_are_none),
        cmocka_unit_test(every_occurrence_is_tagged_longest_first),
        cmocka_unit_test(text_without_blanks_is_read),
        cmocka_unit_test(pairs_of_types_are_taken_apart),
        cmocka_unit_test(answers_of_all_shapes_are_read),
        cmocka_unit_test(answers_without_sentences_say_so),
        cmocka_unit_test(labelled_and_repeated_sentences_are_rejected),
        cmocka_unit_test(the_split_follows_seed_and_ids_alone),
        cmocka_unit_test(requests_hold_sample_types_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
