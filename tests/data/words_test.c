/* Words of a text and the names in it: the fixture `refineg` (bio_conversion, bioes_decode, clitic_offset_drift), and what it leaves open. */
#include "tests/data/data_test.h"

#include "base/memory.h"
#include "data/labels.h"
#include "data/words.h"

enum { MAX = 64 };

static const char ccks[] = "aircraft,vehicle,weapon,vessel,location,other";

static const cJSON *get(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    if (v == NULL) fail_msg("the fixture has no \"%s\"", name);
    return v;
}

/* A text taken apart and named; free with `forget`. */
typedef struct named_text {
    gm_labels labels;
    gm_words words;
    gm_span spans[MAX];
    int32_t span_count, inside_words;
    int32_t bio[MAX], bioes[MAX];
} named_text;

static void name_all(named_text *t, const char *text, gm_named *names, int32_t count)
{
    gm_err err = { 0 };
    *t = (named_text) { .span_count = 0 };
    assert_ok(gm_labels_parse(ccks, &t->labels, &err));
    assert_ok(gm_words_of(text, strlen(text), &t->words, &err));
    assert_true(t->words.count <= MAX);
    assert_ok(gm_words_name(&t->words, text, names, count, t->spans, &t->span_count, &t->inside_words, &err));
    gm_tags_encode(GM_TAGS_BIO, t->spans, t->span_count, t->bio, t->words.count);
    gm_tags_encode(GM_TAGS_BIOES, t->spans, t->span_count, t->bioes, t->words.count);
}

static void forget(named_text *t)
{
    gm_words_free(&t->words);
    gm_labels_free(&t->labels);
}

static const char *spelled(const named_text *t, const char *letters, int32_t tag)
{
    static char name[80];
    const int32_t width = (int32_t)strlen(letters);
    if (tag == 0) return "O";
    snprintf(name, sizeof name, "%c-%s", letters[(tag - 1) % width], t->labels.names[(tag - 1) / width]);
    return name;
}

static void check_conversion(const cJSON *c)
{
    gm_labels labels;
    gm_err err = { 0 };
    gm_named names[MAX];
    named_text t;
    int32_t count = 0, i = 0;
    assert_ok(gm_labels_parse(ccks, &labels, &err));
    for (const cJSON *e = get(c, "entities")->child; e != NULL; e = e->next)
        names[count++] = (gm_named) { get(e, "name")->valuestring, gm_labels_find(&labels, get(e, "type")->valuestring), 0 };
    gm_labels_free(&labels);
    name_all(&t, get(c, "text")->valuestring, names, count);
    assert_int_equal(t.words.count, cJSON_GetArraySize(get(c, "tokens")));
    for (const cJSON *w = get(c, "tokens")->child; w != NULL; w = w->next, i++) {
        char *token = gm_words_slice(&t.words, get(c, "text")->valuestring, i, i);
        assert_string_equal(token, get(w, "token")->valuestring);
        gm_free(token);
        assert_int_equal(t.words.items[i].start, get(w, "start")->valueint); /* the fixture's texts are ASCII: characters are bytes */
        assert_int_equal(t.words.items[i].end, get(w, "end")->valueint);
        assert_string_equal(spelled(&t, "BI", t.bio[i]), get(w, "bio")->valuestring);
        assert_string_equal(spelled(&t, "BIES", t.bioes[i]), cJSON_GetArrayItem(get(c, "bioes"), i)->valuestring);
    }
    forget(&t);
}

static void bio_conversion(void **state)
{
    (void)state;
    int seen = 0;
    for (const cJSON *c = get(gmt_fixture("refineg"), "bio_conversion")->child; c != NULL; c = c->next, seen++) check_conversion(c);
    assert_true(seen >= 3);
}

static void bioes_decode(void **state)
{
    (void)state;
    const cJSON *fixture = get(gmt_fixture("refineg"), "bioes_decode");
    gm_err err = { 0 };
    gm_labels labels;
    const char *tags[MAX];
    gm_span got[MAX];
    int32_t n = 0, count = 0, i = 0;
    for (const cJSON *v = get(fixture, "tags")->child; v != NULL; v = v->next) tags[n++] = v->valuestring;
    assert_ok(gm_labels_parse(ccks, &labels, &err));
    assert_ok(gm_bio_decode_text(tags, n, &labels, GM_BIO_WHOLE, got, &count, &err));
    assert_int_equal(count, cJSON_GetArraySize(get(fixture, "spans")));
    for (const cJSON *v = get(fixture, "spans")->child; v != NULL; v = v->next, i++) {
        assert_int_equal(got[i].start, cJSON_GetArrayItem(v, 0)->valueint);
        assert_int_equal(got[i].end, cJSON_GetArrayItem(v, 1)->valueint);
        assert_string_equal(labels.names[got[i].type], cJSON_GetArrayItem(v, 2)->valuestring);
    }
    static const char *const open[] = { "S-weapon", "B-vessel", "I-vessel" }; /* the text ends within an entity */
    assert_ok(gm_bio_decode_text(open, 3, &labels, GM_BIO_WHOLE, got, &count, &err));
    assert_int_equal(count, 1);
    gm_labels_free(&labels);
}

/* ReFineG's converter rewrites the clitic and slices the original with the rewritten offsets. Here there is one text only. */
static void clitic_offset_drift(void **state)
{
    (void)state;
    const cJSON *fixture = get(gmt_fixture("refineg"), "clitic_offset_drift");
    const char *text = get(fixture, "text")->valuestring, *wanted = get(fixture, "correct_slice")->valuestring;
    gm_named name = { wanted, 3, 0 };
    named_text t;
    name_all(&t, text, &name, 1);
    assert_int_equal(t.span_count, 1);
    char *slice = gm_words_slice(&t.words, text, t.spans[0].start, t.spans[0].end);
    assert_string_equal(slice, wanted);
    assert_string_not_equal(slice, get(fixture, "slice_of_original_with_those_offsets")->valuestring);
    gm_free(slice);
    forget(&t);
}

static void words_of_all_scripts(void **state)
{
    (void)state;
    static const struct { const char *text; const char *words; int32_t length; } cases[] = {
        { "", "", 0 },
        { " \t\n\xC2\xA0\xE2\x80\xA8\xE3\x80\x80", "", 0 },
        { "a_1 b.c", "a_1|b|.|c", 4 },
        { "caf\xC3\xA9 na\xC3\xAFve", "caf\xC3\xA9|na\xC3\xAFve", 2 },
        { "\xD0\xA2-90\xD0\x9C", "\xD0\xA2|-|90\xD0\x9C", 3 },
        { "\xE6\xAD\xBC-20\xE6\x88\x98\xE6\x9C\xBA\xE8\xB5\xB7\xE9\xA3\x9E\xE3\x80\x82", "\xE6\xAD\xBC|-|20\xE6\x88\x98\xE6\x9C\xBA\xE8\xB5\xB7\xE9\xA3\x9E|\xE3\x80\x82", 8 },
        { "\xF0\x9F\x9A\x80\xF0\x9F\x9A\x80 go", "\xF0\x9F\x9A\x80|\xF0\x9F\x9A\x80|go", 3 },
        { "x\xC2\xB2 \xE2\x85\xA7", "x\xC2\xB2|\xE2\x85\xA7", 2 },
    };
    gm_words words = { 0 };
    gm_err err = { 0 };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        char joined[256] = "";
        assert_ok(gm_words_of(cases[i].text, strlen(cases[i].text), &words, &err));
        for (int32_t w = 0; w < words.count; w++) {
            const size_t used = strlen(joined);
            snprintf(joined + used, sizeof joined - used, "%s%.*s", w > 0 ? "|" : "", words.items[w].end - words.items[w].start,
                     cases[i].text + words.items[w].start);
        }
        assert_string_equal(joined, cases[i].words);
        assert_int_equal(gm_words_length(&words, cases[i].text), cases[i].length);
    }
    assert_refused(gm_words_of("a\xFF", 2, &words, &err), GM_ERR_DATA, "byte 2 of the text is not UTF-8");
    gm_words_free(&words);
}

static void folding_keeps_letters_and_digits(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        { "The NH-90, again!", "the nh90 AGAIN" },
        { "Stra\xC3\x9F" "e", "STRASSE" },
        { "caf\xC3\xA9", "cafe\xCC\x81" },
        { "\xEF\xBC\xA1\xEF\xBC\x91", "a1" }, /* full width */
        { "...", "" },
    };
    for (size_t i = 0; i < GM_LEN(same); i++) {
        char *a = gm_text_folded(same[i][0]), *b = gm_text_folded(same[i][1]);
        assert_string_equal(a, b);
        gm_free(a);
        gm_free(b);
    }
    char *a = gm_text_folded("F 124"), *b = gm_text_folded("F 125");
    assert_string_not_equal(a, b);
    gm_free(a);
    gm_free(b);
}

static void names_are_marked_longest_first(void **state)
{
    (void)state;
    gm_named names[] = { { "Berlin", 4, 0 }, { "Berlin Wall", 5, 0 }, { "Bonn", 4, 0 }, { "", 0, 0 } };
    named_text t;
    name_all(&t, "The Berlin Wall stood.", names, 4);
    assert_int_equal(t.span_count, 1);
    assert_int_equal(t.spans[0].end, 2);
    assert_int_equal(names[0].found, 0); /* only within the longer name */
    assert_int_equal(names[1].found, 1);
    assert_int_equal(names[2].found, -1);
    assert_int_equal(names[3].found, -1);
    forget(&t);
}

static void names_inside_words_are_counted(void **state)
{
    (void)state;
    gm_named names[] = { { "F-16", 0, 0 } };
    named_text t;
    name_all(&t, "F-16s and an F-16.", names, 1);
    assert_int_equal(names[0].found, 2);
    assert_int_equal(t.inside_words, 1);
    assert_int_equal(t.span_count, 2);
    assert_int_equal(t.spans[0].end, 2); /* "16s" goes on with the name */
    forget(&t);
}

/* Words of a CoNLL file joined by blanks are the same name. */
static void other_blanks_are_the_same_name(void **state)
{
    (void)state;
    gm_named names[] = { { "NH - 90", 0, 0 }, { "F  124", 3, 0 } };
    named_text t;
    name_all(&t, "An NH-90 over the F 124; NH-90!", names, 2);
    assert_int_equal(names[0].found, 2);
    assert_int_equal(names[1].found, 1);
    assert_int_equal(t.span_count, 3);
    forget(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_all_scripts),           cmocka_unit_test(folding_keeps_letters_and_digits), cmocka_unit_test(names_are_marked_longest_first),
        cmocka_unit_test(names_inside_words_are_counted), cmocka_unit_test(other_blanks_are_the_same_name),   cmocka_unit_test(bio_conversion),
        cmocka_unit_test(bioes_decode),                   cmocka_unit_test(clitic_offset_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
