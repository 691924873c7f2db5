/* region_triplet against the shared fixtures `debias_triplet` and the triplet parts of `unco`. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "region_triplet/region_triplet.h"
#include "tests/support/support.h"

enum { MOST = 32, WIDTH = 3 };
static const double tolerance = 1e-5; /* the fixtures' abs_tol_f32 */

typedef struct list {
    double x[MOST];
    int n;
} list;

static const cJSON *part(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

static list read(const cJSON *object, const char *key)
{
    list l = { .n = 0 };
    const cJSON *value = part(object, key);
    if (value == NULL) fail_msg("the fixture has no \"%s\"", key);
    l.n = cJSON_IsNumber(value) ? 1 : gmt_json_doubles(value, l.x, MOST);
    if (cJSON_IsNumber(value)) l.x[0] = value->valuedouble;
    return l;
}

static gmt_buf floats(gmt_backend *b, list l)
{
    float x[MOST];
    for (int i = 0; i < l.n; i++) x[i] = (float)l.x[i];
    return gmt_f32(b, x, (size_t)l.n);
}

static void assert_near(gmt_backend *b, gmt_buf got, list want, const char *what)
{
    gmt_fetch(b, &got);
    for (int i = 0; i < want.n; i++)
        if (!(fabs((double)got.f32[i] - want.x[i]) <= tolerance)) fail_msg("%s[%d] is %.9g, the fixture says %.9g", what, i, (double)got.f32[i], want.x[i]);
}

typedef struct answer {
    double loss;
    gmt_buf anchor, distance, dh, dv;
} answer;

/* What stands in the loss before, and how much of this one is added. */
typedef struct form {
    bool is_code_form;
    double before, weight;
} form;

/* One entity of all the words, with these regions. */
static answer ask(gmt_backend *b, list words, list regions, list iou, double margin, form f)
{
    const int32_t n = words.n / WIDTH, k = regions.n / WIDTH;
    const size_t rows = (size_t)k + 1;
    answer y = { f.before, gmt_poison(b, WIDTH), gmt_poison(b, rows), gmt_poison(b, (size_t)words.n), gmt_poison(b, (size_t)regions.n) };
    gmt_buf h = floats(b, words), v = floats(b, regions), one = gmt_f32(b, &(float){ 1.0f }, 1), loss = gmt_bytes(b, &y.loss, sizeof y.loss, 1);
    gmt_buf span = gmt_i32(b, (const int32_t[]){ 0, n - 1 }, 2), token = gmt_i32(b, (const int32_t[]){ 0, 0 }, 2), cu = gmt_i32(b, (const int32_t[]){ 0, 1 }, 2);
    gmt_buf cu_words = gmt_i32(b, (const int32_t[]){ 0, n }, 2), cu_regions = gmt_i32(b, (const int32_t[]){ 0, k }, 2);
    gmt_buf cu_scores = gmt_i32(b, (const int32_t[]){ 0, k + 1 }, 2), count = gmt_i32(b, (const int32_t[]){ 1 }, 1);
    gmt_buf danchor = gmt_poison(b, WIDTH), pull = gmt_poison(b, rows), own = gmt_poison(b, rows);
    iou.n = k + 1; /* 0 for none */
    gmt_buf ious = floats(b, iou);
    gmt_ok(b, b->k->region_triplet.forward(&(gm_region_triplet){ .h = h.dev, .v = v.dev, .span = span.dev, .token = token.dev, .cu_regions = cu_regions.dev,
                                                                 .cu_scores = cu_scores.dev, .iou = ious.dev, .margin = (float)margin, .weight = (float)f.weight,
                                                                 .is_code_form = f.is_code_form, .inv_entities = one.dev, .loss = loss.dev,
                                                                 .anchor = y.anchor.dev, .danchor = danchor.dev, .distance = y.distance.dev,
                                                                 .pull = pull.dev, .own = own.dev, .n_rows = count.dev, .capacity = 1, .width = WIDTH },
                                           b->device));
    gmt_ok(b, b->k->region_triplet.backward(&(gm_region_triplet_grad){ .v = v.dev, .span = span.dev, .cu_words = cu_words.dev, .cu_regions = cu_regions.dev,
                                                                       .cu_entities = cu.dev, .cu_scores = cu_scores.dev, .is_code_form = f.is_code_form,
                                                                       .anchor = y.anchor.dev, .danchor = danchor.dev, .pull = pull.dev, .own = own.dev,
                                                                       .dh = y.dh.dev, .dv = y.dv.dev, .sequences = 1, .words = n, .regions = k,
                                                                       .width = WIDTH },
                                            b->device));
    y.loss = *(double *)gmt_fetch(b, &loss);
    return y;
}

static void assert_loss(double got, double want, const char *what)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s: the loss is %.9g, the fixture says %.9g", what, got, want);
}

static void debias(gmt_backend *b)
{
    static const char *const known[] = { "paper form", "code form", "no positive region" };
    const cJSON *item;
    cJSON_ArrayForEach(item, part(gmt_fixture("debias_triplet"), "cases"))
    {
        const char *name = part(item, "case")->valuestring;
        const cJSON *in = part(item, "inputs"), *out = part(item, "expected");
        size_t i = 0;
        while (i < GM_LEN(known) && strcmp(known[i], name) != 0) i++;
        if (i == GM_LEN(known)) fail_msg("debias_triplet: nobody tests the case \"%s\"", name);
        const answer y = ask(b, read(in, "tokens"), read(in, "regions"), read(in, "iou"), read(in, "lambda_").x[0], (form){ .is_code_form = i == 1, .weight = 1 });
        assert_loss(y.loss, read(out, "loss").x[0], name);
        const list zero = { .n = WIDTH };
        assert_near(b, y.dh, i == 2 ? zero : read(out, "grad_tokens"), "grad_tokens");
        assert_near(b, y.dv, i == 2 ? zero : read(out, "grad_regions"), "grad_regions");
        if (i < 2) assert_near(b, y.anchor, read(out, "anchor"), "anchor");
    }
}

/* The sum over the best positive alone is a third form, which nobody trains with. */
static void unco(gmt_backend *b)
{
    static const char *const cases[] = { "triplet", "triplet_case2" };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        const cJSON *item = part(gmt_fixture("unco"), cases[i]);
        const list anchor = read(item, "anchor"), regions = read(item, "regions"), iou = read(item, "ious");
        const double margin = read(item, "lambda").x[0], pairs = 4.0; /* two positives, two negatives */
        const answer y = ask(b, anchor, regions, iou, margin, (form){ .weight = 1 });
        assert_loss(y.loss, read(item, "paper_mean_all_pairs").x[0], cases[i]);
        assert_loss(y.loss * pairs, read(item, "paper_sum_all_pairs").x[0], cases[i]);
        if (i > 0) continue;
        const cJSON *sum = part(gmt_fixture("unco"), "total_loss"); /* of the words, of the regions, and gamma of this */
        const form total = { .before = read(sum, "token_loss_mean").x[0] + read(sum, "region_loss").x[0], .weight = read(sum, "gamma").x[0] };
        assert_loss(ask(b, anchor, regions, iou, margin, total).loss, read(sum, "total").x[0], "total_loss");
        assert_near(b, y.distance, read(item, "cosine_distance"), "cosine_distance");
        assert_loss(ask(b, anchor, regions, iou, margin, (form){ .is_code_form = true, .weight = 1 }).loss, read(item, "released_code_euclid_margin_on_positive_mean").x[0], "code form");
    }
}

GMT_MAIN("region_triplet_fixture", GMT_F32(debias), GMT_F32(unco))
