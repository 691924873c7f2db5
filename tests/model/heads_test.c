/* Decoding of both heads: the fixture's greedy choice, nesting, ties and limits of spans; the form and the scores of
 * tags. */
#include "tests/model/model_test.h"

enum { W = GM_SPAN_WIDTHS };

/* Logits of n words where every span is none, as decided as `none` says. */
static void all_none(float *logits, int32_t n, int32_t types)
{
    for (int32_t i = 0; i < n * W; i++)
        for (int32_t c = 0; c <= types; c++) logits[i * (types + 1) + c] = c == 0 ? 3.0f : 0.0f;
}

static void put(float *logits, int32_t types, int32_t start, int32_t end, int32_t type, float logit)
{
    float *row = logits + (start * W + end - start) * (types + 1);
    for (int32_t c = 0; c <= types; c++) row[c] = c == type + 1 ? logit : 0.0f;
}

static void expect(const gm_found *found, int32_t count, const gm_span *want, int32_t want_count)
{
    assert_int_equal(count, want_count);
    for (int32_t i = 0; i < count; i++)
        if (found[i].start != want[i].start || found[i].end != want[i].end || found[i].type != want[i].type)
            fail_msg("entity %d is [%d, %d] of type %d, expected [%d, %d] of type %d", i, found[i].start, found[i].end,
                     found[i].type, want[i].start, want[i].end, want[i].type);
}
#define EXPECT(...)                                                                                                    \
    expect(found, count, (const gm_span[]) { __VA_ARGS__ }, (int32_t)GM_LEN(((const gm_span[]) { __VA_ARGS__ })))

static void greedy_decode_of_the_fixture(void **state)
{
    (void)state;
    const cJSON *fixture = gmt_fixture("span_head"), *one = cJSON_GetObjectItem(fixture, "cases")->child,
                *want = cJSON_GetObjectItem(one, "expected");
    const double tolerance = cJSON_GetObjectItem(fixture, "abs_tol_f32")->valuedouble;
    double spans[32], numbers[64], entities[32];
    float logits[4 * W * 3];
    const int count_spans = gmt_json_doubles(cJSON_GetObjectItem(want, "spans"), spans, 32) / 2;
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItem(want, "logit"), numbers, 64), 3 * count_spans);
    const int count_want = gmt_json_doubles(cJSON_GetObjectItem(want, "decoded_start_end_type_prob"), entities, 32) / 4;
    all_none(logits, 4, 2); /* the fixture's head is 3 wide: wider spans are none */
    for (int i = 0; i < count_spans; i++)
        for (int c = 0; c < 3; c++)
            logits[((int)spans[2 * i] * W + (int)(spans[2 * i + 1] - spans[2 * i])) * 3 + c] =
                (float)numbers[3 * i + c];
    gm_found found[4 * W];
    const int32_t count = gm_span_decode(logits, 4, 2, false, found);
    assert_int_equal(count, count_want);
    for (int32_t i = 0; i < count; i++) {
        const double *e = entities + 4 * i;
        assert_true(found[i].start == e[0] && found[i].end == e[1] && found[i].type + 1 == e[2]);
        assert_true(fabs((double)found[i].score - e[3]) <= tolerance);
    }
}

static void the_surer_span_wins(void **state)
{
    (void)state;
    float logits[6 * W * 3];
    gm_found found[6 * W];
    all_none(logits, 6, 2);
    put(logits, 2, 0, 2, 0, 4.0f);
    put(logits, 2, 2, 3, 1, 5.0f); /* overlaps the first by its end word, and is surer */
    put(logits, 2, 4, 5, 0, 1.0f);
    int32_t count = gm_span_decode(logits, 6, 2, false, found);
    EXPECT({ 2, 3, 1 }, { 4, 5, 0 });
    /* Beaten by a span that itself is beaten, a span stays out only where it overlaps one that was kept. */
    put(logits, 2, 3, 4, 1, 6.0f);
    count = gm_span_decode(logits, 6, 2, false, found);
    EXPECT({ 0, 2, 0 }, { 3, 4, 1 });
    const double p = 1 / (1 + 2 * exp(-4.0));
    assert_true(fabs((double)found[0].score - p) < 1e-6);
}

static void nested_spans_stay_when_asked_for(void **state)
{
    (void)state;
    float logits[4 * W * 3];
    gm_found found[4 * W];
    all_none(logits, 4, 2);
    put(logits, 2, 1, 1, 1, 1.0f);
    put(logits, 2, 0, 3, 0, 2.0f);
    put(logits, 2, 0, 1, 1, 9.0f);
    int32_t count = gm_span_decode(logits, 4, 2, true, found);
    EXPECT({ 0, 1, 1 }, { 0, 3, 0 }, { 1, 1, 1 }); /* by start, then end */
    count = gm_span_decode(logits, 4, 2, false, found);
    EXPECT({ 0, 1, 1 });
}

static void ties_go_to_the_shorter_then_the_earlier(void **state)
{
    (void)state;
    float logits[5 * W * 2];
    gm_found found[5 * W];
    all_none(logits, 5, 1);
    put(logits, 1, 0, 2, 0, 2.0f);
    put(logits, 1, 2, 3, 0, 2.0f);
    int32_t count = gm_span_decode(logits, 5, 1, false, found);
    EXPECT({ 2, 3, 0 }); /* two words before three */
    all_none(logits, 5, 1);
    put(logits, 1, 2, 3, 0, 2.0f);
    put(logits, 1, 1, 2, 0, 2.0f);
    count = gm_span_decode(logits, 5, 1, false, found);
    EXPECT({ 1, 2, 0 });        /* the earlier of two */
    put(logits, 1, 1, 2, 0, 0.0f); /* none and a type alike: the lower class, none */
    count = gm_span_decode(logits, 5, 1, false, found);
    EXPECT({ 2, 3, 0 });
}

static void nothing_and_everything(void **state)
{
    (void)state;
    enum { N = 20 };
    float logits[N * W * 2];
    static gm_found found[N * W];
    all_none(logits, N, 1);
    assert_int_equal(gm_span_decode(logits, N, 1, false, found), 0);
    assert_int_equal(gm_span_decode(logits, 0, 1, false, found), 0);
    for (int32_t i = 0; i < N; i++)
        for (int32_t w = 0; w < W; w++)
            put(logits, 1, i, i + w, 0, 1.0f); /* also beyond the sentence: never looked at */
    assert_int_equal(gm_span_decode(logits, N, 1, true, found), N * W - W * (W - 1) / 2);
    for (int32_t i = 0; i < N * W - W * (W - 1) / 2; i++) assert_true(found[i].end < N);
    assert_int_equal(gm_span_decode(logits, N, 1, false, found), N); /* all alike: single words */
}

/* Large logits must not overflow the softmax. */
static void huge_logits_give_a_probability(void **state)
{
    (void)state;
    float logits[W * 3];
    gm_found found[W];
    all_none(logits, 1, 2);
    put(logits, 2, 0, 0, 1, 1e30f);
    assert_int_equal(gm_span_decode(logits, 1, 2, false, found), 1);
    assert_true(found[0].score == 1.0f && found[0].type == 1);
}

static void tags_become_spans_with_mean_marginals(void **state)
{
    (void)state;
    const gm_crf_head h = { .scheme = GM_TAGS_BIO, .types = 2, .tags = 5 };
    const int32_t path[] = { 0, 1, 2, 2, 3, 1 }; /* O B-0 I-0 I-0 B-1 B-0 */
    float marginal[6 * 5] = { 0 };
    for (int32_t w = 0; w < 6; w++) marginal[w * 5 + path[w]] = 0.1f * (float)(w + 1);
    gm_span scratch[6];
    gm_found found[6];
    const int32_t count = gm_crf_spans(&h, path, marginal, 6, scratch, found);
    EXPECT({ 1, 3, 0 }, { 4, 4, 1 }, { 5, 5, 0 });
    static const double want[] = { (0.2 + 0.3 + 0.4) / 3, 0.5, 0.6 };
    for (int32_t i = 0; i < count; i++) assert_true(fabs((double)found[i].score - want[i]) < 1e-6);
    assert_int_equal(gm_crf_spans(&h, path, marginal, 0, scratch, found), 0);
}

/* Emissions drawn at random ask for tags that no scheme allows; no path may hold such a move, and marginals of a
 * word are a distribution. */
static void paths_are_well_formed(gm_tag_scheme scheme)
{
    enum { HIDDEN = 8, TYPES = 3, WORDS = 60, ROOM = 64 };
    machine m;
    machine_open(&m);
    gm_params ps;
    gm_params_init_empty(&ps);
    gm_crf_head h;
    assert_ok(gm_crf_head_declare(&h, &ps, HIDDEN, TYPES, scheme, &err));
    assert_ok(gm_params_allocate(&ps, false, &err));
    for (int32_t i = 0; i < ps.count; i++)
        for (size_t e = 0; e < ps.items[i]->count; e++) ps.items[i]->value[e] = 2 * normal((uint32_t)i, (uint32_t)e);
    const int32_t cu[] = { 0, 1, 3, 3, 20, WORDS }, n = WORDS;
    gm_token token[ROOM] = { { 0, 0 } };
    int32_t word_row[ROOM] = { 0 };
    for (int32_t s = 0; s < 5; s++)
        for (int32_t w = cu[s]; w < cu[s + 1]; w++) {
            token[w] = (gm_token) { s, w - cu[s] };
            word_row[w] = w;
        }
    const uint32_t key[5] = { 0 };
    const gm_batch b = { .words = { cu, token, &n, key, key, WORDS, ROOM, 5 },
                         .tokens = { cu, token, &n, key, key, WORDS, ROOM, 5 },
                         .word_row = word_row };
    machine_begin(&m, NULL, 0.0f);
    gm_tensor *states;
    assert_ok(gm_tape_tensor(&m.tape, &b.tokens, HIDDEN, &states));
    for (uint32_t e = 0; e < WORDS * HIDDEN; e++) ((float *)states->data)[e] = normal(77, e);
    int32_t *path, forbidden_alone = 0;
    float *marginal;
    assert_ok(gm_crf_head_paths(&h, &m.tape, &b, states, &path, &marginal));
    for (int32_t s = 0; s < 5; s++)
        for (int32_t w = cu[s]; w < cu[s + 1]; w++) {
            assert_true(path[w] >= 0 && path[w] < h.tags);
            assert_true(gm_tag_allowed(scheme, w == cu[s] ? -1 : path[w - 1], path[w]));
            if (w + 1 == cu[s + 1]) assert_true(gm_tag_allowed(scheme, path[w], -1));
            double sum = 0;
            int32_t best = 0;
            for (int32_t t = 0; t < h.tags; t++) {
                sum += (double)marginal[w * h.tags + t];
                if (marginal[w * h.tags + t] > marginal[w * h.tags + best]) best = t;
            }
            assert_true(fabs(sum - 1) < 1e-5);
            forbidden_alone += best != path[w];
        }
    assert_true(forbidden_alone > 0); /* else the rules had nothing to forbid */
    gm_params_destroy(&ps);
    machine_close(&m);
}

static void no_path_breaks_its_scheme(void **state)
{
    (void)state;
    paths_are_well_formed(GM_TAGS_BIO);
    paths_are_well_formed(GM_TAGS_BIOES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_surer_span_wins),
        cmocka_unit_test(nested_spans_stay_when_asked_for),
        cmocka_unit_test(ties_go_to_the_shorter_then_the_earlier),
        cmocka_unit_test(nothing_and_everything),
        cmocka_unit_test(huge_logits_give_a_probability),
        cmocka_unit_test(tags_become_spans_with_mean_marginals),
        cmocka_unit_test(no_path_breaks_its_scheme),
    };
    const struct CMUnitTest fixture[] = { cmocka_unit_test(
        greedy_decode_of_the_fixture) }; /* last: it ends the program where the fixture is missing */
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed != 0 ? failed : cmocka_run_group_tests(fixture, NULL, NULL);
}
