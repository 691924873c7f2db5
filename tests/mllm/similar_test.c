/* Likeness of samples: the fixture `refineg`, plain loops in double, and vectors that cannot be used. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/philox.h"
#include "mllm/similar.h"

enum { WIDTH = 384 };
static gm_err err;

static const cJSON *part_of(const char *a, const char *b)
{
    const cJSON *v = cJSON_GetObjectItem(gmt_fixture("refineg"), a);
    return b != NULL ? cJSON_GetObjectItem(v, b) : v;
}

/* ---- the fixture ---- */

static void the_sum_of_the_fixture(void **state)
{
    (void)state;
    double given[16], want[16];
    gm_similar s = { .rows = 3, .cols = 4 };
    for (int k = 0; k < GM_LIKENESSES; k++) {
        const int n = gmt_json_doubles(part_of("fusion", gm_likeness_names[k]), given, 16);
        s.of[k] = gm_malloc((size_t)n * sizeof(float));
        for (int i = 0; i < n; i++) s.of[k][i] = (float)given[i];
    }
    assert_int_equal(gmt_json_doubles(part_of("fusion", "weights"), s.weight, GM_LIKENESSES), GM_LIKENESSES);
    for (int k = 0; k < GM_LIKENESSES; k++) assert_true(s.weight[k] == gm_similar_usual.weight[k]);
    gm_similar_measure(&s);
    gmt_json_doubles(part_of("fusion", "fused"), want, 16);
    double index[9];
    gmt_json_doubles(part_of("fusion", "top3_index"), index, 9);
    for (int32_t i = 0; i < 3; i++) {
        double row[4];
        int32_t best[3];
        gm_similar_row(&s, i, row);
        for (int j = 0; j < 4; j++) assert_true(fabs(row[j] - want[4 * i + j]) < 1e-6); /* the matrices are floats */
        assert_int_equal(gm_similar_best(row, NULL, 4, 3, best), 3);
        for (int j = 0; j < 3; j++) assert_int_equal(best[j], (int)index[3 * i + j]);
    }
    gm_similar_free(&s);
}

static void equal_numbers_say_nothing(void **state)
{
    (void)state;
    double row[2];
    gm_similar s = { .rows = 2, .cols = 2, .weight = { 1, 1, 1 } };
    s.of[GM_LIKENESS_TEXT] = gm_malloc(4 * sizeof(float));
    for (int i = 0; i < 4; i++) s.of[GM_LIKENESS_TEXT][i] = 0.5f;
    gm_similar_measure(&s);
    gm_similar_row(&s, 1, row);
    assert_true(row[0] == 0.0 && row[1] == 0.0);
    gm_similar_free(&s);
}

static void the_lower_column_comes_first(void **state)
{
    (void)state;
    double row[4], want[2];
    int32_t best[4];
    const bool barred[] = { false, true, false, false };
    const cJSON *tie = part_of("fusion", "tie_policy");
    gmt_json_doubles(cJSON_GetObjectItem(tie, "scores"), row, 4);
    gmt_json_doubles(cJSON_GetObjectItem(tie, "top2_lower_index_first"), want, 2);
    assert_int_equal(gm_similar_best(row, NULL, 4, 2, best), 2);
    for (int i = 0; i < 2; i++) assert_int_equal(best[i], (int)want[i]);
    assert_int_equal(gm_similar_best(row, barred, 4, 4, best), 3);
    assert_true(best[0] == 2 && best[1] == 0 && best[2] == 3);
    assert_int_equal(gm_similar_best(row, NULL, 4, 0, best), 0);
}

/* ---- records ---- */

static gm_records records_of(const char *const *lines, size_t count)
{
    gm_records all = { 0 };
    for (size_t i = 0; i < count; i++) {
        gm_record r;
        assert_ok(gm_record_parse(lines[i], strlen(lines[i]), &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
    }
    return all;
}

/* Unit vectors whose products are the cosines of the fixture: two that stand upright on each other, and three that lean on both. */
static void pairs_of_the_fixture(void **state)
{
    (void)state;
    double cosine[6];
    gmt_json_doubles(part_of("entity_similarity", "cosine"), cosine, 6);
    static const char *const left[] = { "{\"id\": \"e\", \"tokens\": [\"a\", \"b\"], \"entities\": [{\"start\": 0, \"end\": 0, \"type\": \"aircraft\", \"boxes\": []}, "
                                        "{\"start\": 1, \"end\": 1, \"type\": \"weapon\", \"boxes\": []}]}" };
    static const char *const right[] = { "{\"id\": \"s\", \"tokens\": [\"c\", \"d\", \"e\"], \"entities\": [{\"start\": 0, \"end\": 0, \"type\": \"aircraft\", \"boxes\": []}, "
                                         "{\"start\": 1, \"end\": 1, \"type\": \"aircraft\", \"boxes\": []}, {\"start\": 2, \"end\": 2, \"type\": \"weapon\", \"boxes\": []}]}",
                                         "{\"id\": \"none\", \"tokens\": [\"c\"], \"entities\": []}" };
    gm_records a = records_of(left, 1), b = records_of(right, 2);
    gm_names names;
    assert_ok(gm_names_make(&a, &b, &names, &err));
    assert_int_equal(names.count, 5);
    float name[5 * 3], text[2] = { 1, 1 };
    for (int k = 0; k < 2; k++)
        for (int c = 0; c < 3; c++) name[3 * names.of[0][k] + c] = c == k ? 2.0f : 0.0f; /* lengths do not matter */
    for (int k = 0; k < 3; k++) {
        const double x = cosine[k], y = cosine[3 + k];
        const float v[3] = { (float)x, (float)y, (float)sqrt(1.0 - x * x - y * y) };
        memcpy(&name[3 * names.of[1][k]], v, sizeof v);
    }
    gm_similar_options o = gm_similar_usual;
    o.text_width = 1;
    o.name_width = 3;
    o.name = name;
    const gm_likes rows = { .records = &a, .text = text, .name = names.of[0] }, cols = { .records = &b, .text = text, .name = names.of[1] };
    for (int mean = 0; mean < 2; mean++) {
        gm_similar s;
        o.is_mean = mean == 1;
        assert_ok(gm_similar_make(&rows, &cols, &o, &s, &err));
        const double want = part_of("entity_similarity", mean ? "mean_variant" : "sum")->valuedouble;
        assert_true(fabs((double)s.of[GM_LIKENESS_ENTITY][0] - want) < 1e-6);
        assert_true(s.of[GM_LIKENESS_ENTITY][1] == 0.0f);
        assert_null(s.of[GM_LIKENESS_IMAGE]);
        gm_similar_free(&s);
    }
    gm_names_free(&names);
    gm_records_free(&a);
    gm_records_free(&b);
}

static void a_name_is_counted_once(void **state)
{
    (void)state;
    static const char *const left[] = { "{\"id\": \"1\", \"tokens\": [\"New\", \"York\", \"New\", \"York\"], \"entities\": [{\"start\": 2, \"end\": 3, \"type\": \"LOC\", \"boxes\": []}, "
                                        "{\"start\": 0, \"end\": 1, \"type\": \"LOC\", \"boxes\": []}, {\"start\": 0, \"end\": 0, \"type\": \"LOC\", \"boxes\": []}]}" };
    static const char *const right[] = { "{\"id\": \"2\", \"tokens\": [\"x\", \"New York\"], \"entities\": [{\"start\": 1, \"end\": 1, \"type\": \"ORG\", \"boxes\": []}]}" };
    gm_records a = records_of(left, 1), b = records_of(right, 1), none = { 0 };
    gm_names n;
    assert_ok(gm_names_make(&a, &b, &n, &err));
    assert_int_equal(n.count, 2);
    assert_string_equal(n.text[n.of[0][0]], "New York");
    assert_true(n.of[0][0] == n.of[0][1] && n.of[0][0] == n.of[1][0] && n.of[0][2] != n.of[0][0]);
    gm_names_free(&n);
    assert_ok(gm_names_make(&none, &none, &n, &err));
    assert_int_equal(n.count, 0);
    gm_names_free(&n);
    gm_records_free(&a);
    gm_records_free(&b);
}

/* ---- plain loops ---- */

typedef struct side {
    gm_records records;
    float *text, *image;
    int32_t *name;
} side;

static float normal_number(uint64_t seed, size_t i)
{
    const gm_philox4 w = gm_philox(seed, (uint32_t)(i / 4), 0, 0, 0);
    return gm_uniform(w.word[i % 4]) - 0.5f;
}

static float *vectors(uint64_t seed, size_t count, int32_t width)
{
    float *v = gm_malloc(count * (size_t)width * sizeof *v);
    for (size_t i = 0; i < count * (size_t)width; i++) v[i] = normal_number(seed, i);
    return v;
}

/* Records of no to three entities; every seventh picture cannot be read. */
static side make_side(uint64_t seed, int count, int32_t image_width, int32_t names)
{
    static const char *const types[] = { "PER", "LOC", "ORG" };
    side s = { .text = vectors(seed, (size_t)count, WIDTH), .image = vectors(seed + 1, (size_t)count, image_width), .name = gm_malloc((size_t)count * 3 * sizeof(int32_t)) };
    int32_t entities = 0;
    for (int i = 0; i < count; i++) {
        char line[512];
        int n = snprintf(line, sizeof line, "{\"id\": \"%d\", \"tokens\": [\"a\"], \"entities\": [", i);
        for (int k = 0; k < i % 4; k++) {
            n += snprintf(line + n, sizeof line - (size_t)n, "%s{\"start\": 0, \"end\": 0, \"type\": \"%s\", \"boxes\": []}", k > 0 ? ", " : "", types[(i + k) % 3]);
            s.name[entities++] = (i * 7 + k * 3) % names;
        }
        snprintf(line + n, sizeof line - (size_t)n, "]}");
        const char *const one = line;
        gm_records r = records_of(&one, 1);
        assert_ok(gm_records_add(&s.records, &r.items[0], &err));
        gm_records_free(&r);
        if (i % 7 == 0) memset(s.image + (size_t)i * (size_t)image_width, 0, (size_t)image_width * sizeof(float));
    }
    return s;
}

static void free_side(side *s)
{
    gm_records_free(&s->records);
    gm_free(s->text);
    gm_free(s->image);
    gm_free(s->name);
}

static double cosine_of(const float *a, const float *b, int32_t width)
{
    double ab = 0, aa = 0, bb = 0;
    for (int32_t c = 0; c < width; c++) {
        ab += (double)a[c] * (double)b[c];
        aa += (double)a[c] * (double)a[c];
        bb += (double)b[c] * (double)b[c];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0.0;
}

static double pairs_of(const side *a, size_t i, const int32_t *ni, const side *b, size_t j, const int32_t *nj, const float *name)
{
    double sum = 0;
    for (int32_t k = 0; k < a->records.items[i].entity_count; k++)
        for (int32_t m = 0; m < b->records.items[j].entity_count; m++) {
            const bool same = strcmp(a->records.items[i].entities[k].type, b->records.items[j].entities[m].type) == 0;
            sum += cosine_of(name + (size_t)ni[k] * WIDTH, name + (size_t)nj[m] * WIDTH, WIDTH) + (same ? 0.8 : 0.0);
        }
    return sum;
}

static double seconds(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Every number, and the time that plain loops take beside the products. */
static void compare(int rows, int cols, bool all)
{
    enum { IMAGE = 512, NAMES = 90 };
    side a = make_side(10, rows, IMAGE, NAMES), b = make_side(20, cols, IMAGE, NAMES);
    float *name = vectors(30, NAMES, WIDTH);
    gm_similar_options o = gm_similar_usual;
    o.text_width = o.name_width = WIDTH;
    o.image_width = IMAGE;
    o.name = name;
    const gm_likes left = { &a.records, a.text, a.image, a.name }, right = { &b.records, b.text, b.image, b.name };
    gm_similar s;
    double start = seconds();
    assert_ok(gm_similar_make(&left, &right, &o, &s, &err));
    const double fast = seconds() - start;
    start = seconds();
    const int32_t *ni = a.name;
    for (size_t i = 0; i < (size_t)rows; ni += a.records.items[i].entity_count, i++) {
        const int32_t *nj = b.name;
        for (size_t j = 0; j < (size_t)cols; nj += b.records.items[j].entity_count, j++) {
            if (!all && (i + j) % 17 != 0) continue;
            const size_t at = i * (size_t)cols + j;
            assert_true(fabs((double)s.of[GM_LIKENESS_TEXT][at] - cosine_of(a.text + i * WIDTH, b.text + j * WIDTH, WIDTH)) < 1e-6);
            assert_true(fabs((double)s.of[GM_LIKENESS_IMAGE][at] - cosine_of(a.image + i * IMAGE, b.image + j * IMAGE, IMAGE)) < 1e-6);
            assert_true(fabs((double)s.of[GM_LIKENESS_ENTITY][at] - pairs_of(&a, i, ni, &b, j, nj, name)) < 2e-5); /* nine pairs at most */
        }
    }
    printf("%d x %d: %.1f ms, plain loops %.1f ms%s\n", rows, cols, 1e3 * fast, 1e3 * (seconds() - start), all ? "" : " for a seventeenth of it");
    gm_similar_free(&s);
    gm_free(name);
    free_side(&a);
    free_side(&b);
}

static void as_plain_loops_say(void **state)
{
    (void)state;
    compare(1, 1, true);
    compare(37, 61, true);
    compare(500, 500, false);
}

static void what_is_no_number_is_named(void **state)
{
    (void)state;
    gm_similar s;
    for (int bad = 0; bad < 4; bad++) {
        side a = make_side(1, 3, 8, 4), b = make_side(2, 3, 8, 4);
        float *name = vectors(3, 4, WIDTH);
        gm_similar_options o = gm_similar_usual;
        o.text_width = o.name_width = WIDTH;
        o.image_width = 8;
        o.name = name;
        const char *const says[] = { "record \"2\": the vector of its text", "record \"1\": the vector of its picture", "record \"1\": the vector of its entities' names",
                                     "record \"0\": the vector of its text" };
        if (bad == 0) b.text[2 * WIDTH + 5] = NAN;
        if (bad == 1) a.image[8] = NAN;
        if (bad == 2) name[(size_t)a.name[0] * WIDTH] = INFINITY * 0.0f;
        if (bad == 3) a.text[0] = INFINITY;
        const gm_likes left = { &a.records, a.text, a.image, a.name }, right = { &b.records, b.text, b.image, b.name };
        assert_int_equal(gm_similar_make(&left, &right, &o, &s, &err), GM_ERR_NUMERIC);
        if (strncmp(err.text, says[bad], strlen(says[bad])) != 0) fail_msg("\"%s\" does not begin with \"%s\"", err.text, says[bad]);
        gm_free(name);
        free_side(&a);
        free_side(&b);
    }
}

/* Each allocation fails once: a status, and nothing is lost. */
static void without_memory(void **state)
{
    (void)state;
    side a = make_side(1, 5, 8, 4), b = make_side(2, 6, 8, 4);
    float *name = vectors(3, 4, WIDTH);
    gm_similar_options o = gm_similar_usual;
    o.text_width = o.name_width = WIDTH;
    o.image_width = 8;
    o.name = name;
    const gm_likes left = { &a.records, a.text, a.image, a.name }, right = { &b.records, b.text, b.image, b.name };
    gm_status status = GM_ERR_NOMEM;
    for (int k = 0; status != GM_OK; k++) {
        gm_similar s = { .rows = 0 };
        gm_names n = { .count = 0 };
        gm_alloc_fail_at(k);
        status = gm_similar_make(&left, &right, &o, &s, &err);
        if (status == GM_OK) status = gm_names_make(&a.records, &b.records, &n, &err);
        gm_alloc_fail_at(-1);
        assert_true(status == GM_OK || status == GM_ERR_NOMEM);
        assert_true(k < 1000);
        gm_similar_free(&s);
        gm_names_free(&n);
    }
    gm_free(name);
    free_side(&a);
    free_side(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_sum_of_the_fixture),     cmocka_unit_test(equal_numbers_say_nothing),
                                        cmocka_unit_test(the_lower_column_comes_first), cmocka_unit_test(pairs_of_the_fixture),
                                        cmocka_unit_test(a_name_is_counted_once),     cmocka_unit_test(as_plain_loops_say),
                                        cmocka_unit_test(what_is_no_number_is_named), cmocka_unit_test(without_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
