/* The fixture bio_decode: tags to spans under three rules, and the numbers of tags. A case that this program does not
 * know is a failure, so that the fixture cannot grow unseen. */
#include "tests/data/data_test.h"

#include "data/labels.h"

enum { MAX_TAGS = 16 };

static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    if (v == NULL) fail_msg("the fixture has no \"%s\"", name);
    return v;
}

static int32_t read_tags(const cJSON *list, const char *tag[MAX_TAGS])
{
    int32_t n = 0;
    for (const cJSON *v = list->child; v != NULL; v = v->next) {
        assert_true(n < MAX_TAGS);
        tag[n++] = v->valuestring;
    }
    return n;
}

static void check_rule(const cJSON *c, const gm_labels *l, gm_bio_rule rule, const char *name)
{
    gm_err err;
    const char *tag[MAX_TAGS];
    gm_span got[MAX_TAGS];
    int32_t count, i = 0;
    const int32_t n = read_tags(member(member(c, "inputs"), "tags"), tag);
    const cJSON *wanted = member(member(c, "expected"), name);
    assert_ok(gm_bio_decode_text(tag, n, l, rule, got, &count, &err));
    if (count != cJSON_GetArraySize(wanted)) fail_msg("%s, %s: %d spans", member(c, "case")->valuestring, name, count);
    for (const cJSON *v = wanted->child; v != NULL; v = v->next, i++) {
        assert_int_equal(got[i].start, v->child->valueint);
        assert_int_equal(got[i].end, v->child->next->valueint);
        assert_string_equal(l->names[got[i].type], v->child->next->next->valuestring);
    }
}

/* Words carry one tag each here (the model gathers first pieces), so the numbers are those of the first sub-words. */
static void check_numbers(const cJSON *c)
{
    gm_err err;
    gm_labels l;
    const cJSON *in = member(c, "inputs");
    const char *tag[MAX_TAGS];
    gm_span spans[MAX_TAGS];
    int32_t count, number[MAX_TAGS], i = 0;
    const int32_t n = read_tags(member(in, "word_tags"), tag), ignored = member(in, "ignore_id")->valueint;
    assert_ok(gm_labels_parse("PER", &l, &err));
    assert_ok(gm_bio_decode_text(tag, n, &l, GM_BIO_LENIENT, spans, &count, &err));
    gm_tags_encode(GM_TAGS_BIO, spans, count, number, n);
    for (const cJSON *v = member(member(c, "expected"), "label_ids")->child; v != NULL; v = v->next) {
        if (v->valueint == ignored) continue;
        assert_true(i < n);
        assert_int_equal(number[i++], v->valueint);
    }
    assert_int_equal(i, n);
    gm_labels_free(&l);
}

static void every_case_holds(void **state)
{
    (void)state;
    static const char *const known[] = { "regular",   "adjacent", "stray I", "type change",
                                         "ends open", "all O",    "I first", "B then other I then same I" };
    gm_err err;
    gm_labels l;
    size_t seen = 0;
    assert_ok(gm_labels_parse("PER,LOC,ORG", &l, &err));
    for (const cJSON *c = member(gmt_fixture("bio_decode"), "cases")->child; c != NULL; c = c->next, seen++) {
        const char *name = member(c, "case")->valuestring;
        size_t i = 0;
        while (i < GM_LEN(known) && strcmp(known[i], name) != 0) i++;
        if (i < GM_LEN(known)) {
            check_rule(c, &l, GM_BIO_LENIENT, "lenient");
            check_rule(c, &l, GM_BIO_STRICT, "strict");
            check_rule(c, &l, GM_BIO_ANY_I, "any_I");
        } else if (strncmp(name, "sub-word labels", strlen("sub-word labels")) == 0) {
            check_numbers(c);
        } else {
            fail_msg("\"%s\" is a case this test does not know", name);
        }
    }
    assert_int_equal(seen, GM_LEN(known) + 1);
    gm_labels_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_case_holds) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
