/* region_scores against the shared fixtures `span_region_attention` (from states, with the products that the model makes with
 * `linear` in double here), `region_kl` and the part `region_kl` of `unco` (from logits, each a product of width one). */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "region_scores/region_scores.h"
#include "tests/support/support.h"

enum { MOST = 64 };
static const double tolerance = 1e-5; /* the fixtures' abs_tol_f32 */

typedef struct matrix {
    double x[MOST];
    int n;
} matrix;

static matrix read(const cJSON *object, const char *key)
{
    matrix m = { .n = 0 };
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    if (value == NULL) fail_msg("the fixture has no \"%s\"", key);
    m.n = cJSON_IsNumber(value) ? 1 : gmt_json_doubles(value, m.x, MOST);
    if (cJSON_IsNumber(value)) m.x[0] = value->valuedouble;
    return m;
}

static const cJSON *part(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

static void assert_near(const double *got, matrix want, int first, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want.x[first + i]) <= tolerance)) fail_msg("%s[%d] is %.9g, the fixture says %.9g", what, i, got[i], want.x[first + i]);
}

static gmt_buf floats(gmt_backend *b, const double *x, int n)
{
    float values[MOST];
    for (int i = 0; i < n; i++) values[i] = (float)x[i];
    return gmt_f32(b, values, (size_t)n);
}

/* Entities of one sentence, all of them over the same regions; keys [regions, width], then null [width]. */
typedef struct question {
    int32_t entities, regions, width;
    double q[MOST], keys[MOST], target[MOST], scale;
} question;

typedef struct answer {
    double prob[MOST], entropy[MOST], loss, dscore[MOST], dq[MOST], dkeys[MOST]; /* dkeys: null's behind the regions' */
    int32_t argmax[MOST];
} answer;

static void fetch(gmt_backend *b, gmt_buf buf, double *to)
{
    gmt_fetch(b, &buf);
    for (size_t i = 0; i < buf.count; i++) to[i] = (double)buf.f32[i];
}

static answer ask(gmt_backend *b, const question *of)
{
    const int32_t n = of->entities, places = of->regions + 1, width = of->width;
    const int32_t token[2 * MOST] = { 0 };
    int32_t offsets[MOST];
    answer y = { .loss = 0.0 };
    for (int32_t e = 0; e <= n; e++) offsets[e] = e * places;
    gmt_buf q = floats(b, of->q, n * width), keys = floats(b, of->keys, of->regions * width), null = floats(b, of->keys + of->regions * width, width);
    gmt_buf target = floats(b, of->target, n * places), tokens = gmt_i32(b, token, 2 * (size_t)n), cu_scores = gmt_i32(b, offsets, (size_t)n + 1);
    gmt_buf cu_regions = gmt_i32(b, (const int32_t[]){ 0, of->regions }, 2), cu = gmt_i32(b, (const int32_t[]){ 0, n }, 2), count = gmt_i32(b, &n, 1);
    gmt_buf prob = gmt_poison(b, (size_t)(n * places)), dscore = gmt_poison(b, (size_t)(n * places)), entropy = gmt_poison(b, (size_t)n);
    gmt_buf argmax = gmt_poison(b, (size_t)n), loss = gmt_bytes(b, &y.loss, sizeof y.loss, 1), inv = floats(b, (const double[]){ 1.0 / n }, 1);
    gmt_buf dq = gmt_poison(b, (size_t)(n * width)), dkeys = gmt_poison(b, (size_t)(of->regions * width)), dnull = gmt_poison(b, (size_t)width);
    gmt_ok(b, b->k->region_scores.forward(&(gm_region_scores){ .q = q.dev, .keys = keys.dev, .null = null.dev, .token = tokens.dev,
                                                               .cu_regions = cu_regions.dev, .cu_scores = cu_scores.dev, .scale = (float)of->scale,
                                                               .prob = prob.dev, .argmax = argmax.dev, .entropy = entropy.dev, .target = target.dev,
                                                               .inv_entities = inv.dev, .loss = loss.dev, .dscore = dscore.dev, .n_rows = count.dev,
                                                               .capacity = n, .width = width },
                                          b->device));
    gmt_ok(b, b->k->region_scores.backward(&(gm_region_scores_grad){ .q = q.dev, .keys = keys.dev, .null = null.dev, .token = tokens.dev,
                                                                     .cu_regions = cu_regions.dev, .cu_entities = cu.dev, .cu_scores = cu_scores.dev,
                                                                     .scale = (float)of->scale, .dscore = dscore.dev, .dq = dq.dev, .dkeys = dkeys.dev,
                                                                     .dnull = dnull.dev, .n_rows = count.dev, .sequences = 1, .capacity = n,
                                                                     .regions = of->regions, .width = width },
                                           b->device));
    fetch(b, prob, y.prob);
    fetch(b, entropy, y.entropy);
    fetch(b, dscore, y.dscore);
    fetch(b, dq, y.dq);
    fetch(b, dkeys, y.dkeys);
    fetch(b, dnull, y.dkeys + of->regions * width);
    gmt_fetch(b, &argmax);
    memcpy(y.argmax, argmax.i32, (size_t)n * sizeof *y.argmax);
    y.loss = *(double *)gmt_fetch(b, &loss);
    return y;
}

/* a [rows, inner] times b transposed [cols, inner]. */
static matrix product(const double *a, const double *b, int rows, int inner, int cols)
{
    matrix c = { .n = rows * cols };
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < cols; k++)
            for (int i = 0; i < inner; i++) c.x[r * cols + k] += a[r * inner + i] * b[k * inner + i];
    return c;
}

/* a [rows, cols] transposed. */
static matrix turned(const double *a, int rows, int cols)
{
    matrix t = { .n = rows * cols };
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) t.x[c * rows + r] = a[r * cols + c];
    return t;
}

/* The third region is padding, which a packed batch does not have: places 0, 1 and null of the fixture's 0, 1, padding, null. */
static void attention(gmt_backend *b)
{
    enum { ENTITIES = 2, REGIONS = 2, STATE = 3, VISUAL = 4, DK = 2, PLACES = 3 };
    const cJSON *item = cJSON_GetArrayItem(part(gmt_fixture("span_region_attention"), "cases"), 0), *in = part(item, "inputs"), *out = part(item, "expected");
    const matrix s = read(in, "s"), v = read(in, "v"), wq = read(in, "Wq"), wk = read(in, "Wk"), null = read(in, "null"), target = read(in, "target");
    question of = { .entities = ENTITIES, .regions = REGIONS, .width = DK, .scale = 1.0 / sqrt(DK) };
    assert_int_equal(cJSON_GetArraySize(part(gmt_fixture("span_region_attention"), "cases")), 1); /* a new case must not be passed over */
    memcpy(of.q, product(s.x, wq.x, ENTITIES, STATE, DK).x, sizeof of.q);
    memcpy(of.keys, product(v.x, wk.x, REGIONS, VISUAL, DK).x, sizeof of.keys);
    memcpy(of.keys + REGIONS * DK, null.x, DK * sizeof *null.x);
    static const int place[PLACES] = { 0, 1, 3 };
    for (int e = 0; e < ENTITIES; e++)
        for (int k = 0; k < PLACES; k++) of.target[e * PLACES + k] = target.x[e * 4 + place[k]];
    const answer y = ask(b, &of);
    const matrix prob = read(out, "prob"), best = read(out, "predicted");
    for (int e = 0; e < ENTITIES; e++) {
        for (int k = 0; k < PLACES; k++) assert_near(&y.prob[e * PLACES + k], prob, e * 4 + place[k], 1, "prob");
        assert_int_equal(place[y.argmax[e]], (int)best.x[e]);
    }
    assert_near(y.entropy, read(out, "entropy"), 0, ENTITIES, "entropy");
    assert_near(&y.loss, read(out, "loss"), 0, 1, "loss");
    assert_near(y.dkeys + REGIONS * DK, read(out, "grad_null"), 0, DK, "grad_null");
    const matrix dq = turned(y.dq, ENTITIES, DK), dk = turned(y.dkeys, REGIONS, DK), s_turned = turned(s.x, ENTITIES, STATE), v_turned = turned(v.x, REGIONS, VISUAL);
    const matrix wq_turned = turned(wq.x, DK, STATE), wk_turned = turned(wk.x, DK, VISUAL);
    assert_near(product(y.dq, wq_turned.x, ENTITIES, DK, STATE).x, read(out, "grad_s"), 0, ENTITIES * STATE, "grad_s");
    assert_near(product(y.dkeys, wk_turned.x, REGIONS, DK, VISUAL).x, read(out, "grad_v"), 0, REGIONS * VISUAL, "grad_v");
    assert_near(product(dq.x, s_turned.x, DK, ENTITIES, STATE).x, read(out, "grad_Wq"), 0, DK * STATE, "grad_Wq");
    assert_near(product(dk.x, v_turned.x, DK, REGIONS, VISUAL).x, read(out, "grad_Wk"), 0, DK * VISUAL, "grad_Wk");
}

/* Rows of logits: query e is the e-th unit vector, so that column e of all keys holds the logits of row e. The last place is
 * null's, whether or not the fixture means it so. */
static question of_logits(matrix logit, matrix target, int rows)
{
    const int places = logit.n / rows;
    question of = { .entities = rows, .regions = places - 1, .width = rows, .scale = 1.0 };
    for (int e = 0; e < rows; e++) of.q[e * rows + e] = 1.0;
    memcpy(of.keys, turned(logit.x, rows, places).x, sizeof of.keys);
    memcpy(of.target, target.x, sizeof of.target);
    return of;
}

static void regions_only(gmt_backend *b, const cJSON *in, const cJSON *out)
{
    matrix target = read(out, "target_row_0");
    const matrix second = read(in, "target_row_1");
    memcpy(target.x + 4, second.x, 4 * sizeof *second.x);
    const question of = of_logits(read(in, "logit"), target, 2);
    const answer y = ask(b, &of);
    assert_near(y.prob, read(out, "prob"), 0, 8, "prob");
    assert_near(&y.loss, read(out, "kl_batchmean"), 0, 1, "kl_batchmean");
    assert_near(y.dscore, read(out, "grad_logit"), 0, 8, "grad_logit");
    assert_near(turned(y.dkeys, 4, 2).x, read(out, "grad_logit"), 0, 8, "grad_logit by the keys");
}

static void ungroundable(gmt_backend *b, const cJSON *in, const cJSON *out)
{
    const question of = of_logits(read(in, "logit"), read(in, "target"), 1);
    const answer y = ask(b, &of);
    assert_near(y.prob, read(out, "prob"), 0, 5, "prob");
    assert_near(&y.loss, read(out, "kl_batchmean"), 0, 1, "kl_batchmean");
    assert_near(y.dkeys, read(out, "grad_logit"), 0, 5, "grad_logit");
}

/* The mean of three logits is a product with a query of ones, scaled by a third. */
static void mean_of_three(gmt_backend *b, const cJSON *in, const cJSON *out)
{
    const matrix logit = read(in, "logit3"), target = read(in, "target");
    question of = { .entities = 1, .regions = 3, .width = 3, .q = { 1.0, 1.0, 1.0 }, .scale = 1.0 / 3.0 };
    memcpy(of.keys, turned(logit.x, 3, 4).x, sizeof of.keys);
    memcpy(of.target, target.x, sizeof of.target);
    const answer y = ask(b, &of);
    assert_near(y.prob, read(out, "prob"), 0, 4, "prob");
    assert_near(&y.loss, read(out, "kl_batchmean"), 0, 1, "kl_batchmean");
    assert_near(turned(y.dkeys, 4, 3).x, read(out, "grad_logit3"), 0, 12, "grad_logit3");
}

static void kl(gmt_backend *b)
{
    static const struct { const char *name; void (*run)(gmt_backend *b, const cJSON *in, const cJSON *out); } known[] = {
        { "K regions, two groundable entities", regions_only },
        { "K+1 form, ungroundable entity (last column = whole image)", ungroundable },
        { "gold box covered by no proposal", NULL }, /* tests/model/region_target_test.c */
        { "three-step mean (\"in the image\", TIGER)", mean_of_three },
    };
    const cJSON *item;
    cJSON_ArrayForEach(item, part(gmt_fixture("region_kl"), "cases"))
    {
        const char *name = part(item, "case")->valuestring;
        size_t i = 0;
        while (i < GM_LEN(known) && strcmp(known[i].name, name) != 0) i++;
        if (i == GM_LEN(known)) fail_msg("region_kl: nobody tests the case \"%s\"", name);
        if (known[i].run != NULL) known[i].run(b, part(item, "inputs"), part(item, "expected"));
    }
}

static void kl_of_unco(gmt_backend *b)
{
    static const char *const known[] = { "released_code_k_way_threshold", "paper_k_plus_1_raw_ious", "k_plus_1_threshold", "ungroundable_slot" };
    static const char *const of_boxes[] = { "uncovered", "two_gold_boxes" }; /* tests/model/region_target_test.c */
    const cJSON *cases = part(gmt_fixture("unco"), "region_kl");
    assert_int_equal(cJSON_GetArraySize(cases), GM_LEN(known) + GM_LEN(of_boxes));
    for (size_t i = 0; i < GM_LEN(known); i++) {
        const cJSON *item = part(cases, known[i]);
        const question of = of_logits(read(item, "logits"), read(item, i == 0 ? "target_k" : "target"), 1);
        const answer y = ask(b, &of);
        assert_near(&y.loss, read(item, "kl"), 0, 1, known[i]);
    }
}

GMT_MAIN("region_scores_fixture", GMT_F32(attention), GMT_F32(kl), GMT_F32(kl_of_unco))
