/* span_vector against the shared fixture `span_head`, interaction form: all its spans as entities of one sentence. What stands
 * before and behind the vectors is made in double here: the projections of the words, and the layer of classes. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "span_vector/span_vector.h"
#include "tests/support/support.h"

enum { WORDS = 4, STATE = 3, HIDDEN = 4, EMBEDDING = 2, CLASSES = 3, WIDTHS = 3, SPANS = 9, MOST = 64 };
static const double tolerance = 1e-5; /* the fixture's abs_tol_f32 */

typedef struct matrix {
    double x[MOST];
} matrix;

static matrix read(const cJSON *object, const char *key, int count)
{
    matrix m = { { 0.0 } };
    const int n = gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(object, key), m.x, MOST);
    if (n != count) fail_msg("span_head: \"%s\" has %d numbers, the test expects %d", key, n, count);
    return m;
}

/* a times b over `inner`, whose elements lie a_step and b_step apart: rows of a by columns of b. */
static matrix product(matrix a, int a_row, int a_step, matrix b, int b_col, int b_step, int rows, int inner, int cols)
{
    matrix c = { { 0.0 } };
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < cols; k++)
            for (int i = 0; i < inner; i++) c.x[r * cols + k] += a.x[r * a_row + i * a_step] * b.x[k * b_col + i * b_step];
    return c;
}

static void assert_near(matrix got, matrix want, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got.x[i] - want.x[i]) <= tolerance)) fail_msg("%s[%d] is %.9g, the fixture says %.9g", what, i, got.x[i], want.x[i]);
}

static gmt_buf floats(gmt_backend *b, matrix m, int n)
{
    float x[MOST];
    for (int i = 0; i < n; i++) x[i] = (float)m.x[i];
    return gmt_f32(b, x, (size_t)n);
}

static matrix fetched(gmt_backend *b, gmt_buf buf)
{
    matrix m = { { 0.0 } };
    gmt_fetch(b, &buf);
    for (size_t i = 0; i < buf.count; i++) m.x[i] = (double)buf.f32[i];
    return m;
}

/* start of every word beside its end: [WORDS, 2 HIDDEN]. */
static matrix beside(matrix start, matrix end)
{
    matrix m = { { 0.0 } };
    for (int i = 0; i < WORDS; i++) {
        memcpy(m.x + i * 2 * HIDDEN, start.x + i * HIDDEN, HIDDEN * sizeof *m.x);
        memcpy(m.x + i * 2 * HIDDEN + HIDDEN, end.x + i * HIDDEN, HIDDEN * sizeof *m.x);
    }
    return m;
}

static matrix half(matrix both, int which)
{
    matrix m = { { 0.0 } };
    for (int i = 0; i < WORDS; i++) memcpy(m.x + i * HIDDEN, both.x + i * 2 * HIDDEN + which * HIDDEN, HIDDEN * sizeof *m.x);
    return m;
}

/* (prob - onehot) / SPANS: the loss is a mean over spans. */
static matrix gradient_of_logits(const cJSON *in, const cJSON *out)
{
    matrix d = read(out, "prob", SPANS * CLASSES);
    const matrix span = read(out, "spans", 2 * SPANS), gold = read(in, "gold", 6);
    for (int s = 0; s < SPANS; s++) {
        int label = 0;
        for (int g = 0; g < 6; g += 3)
            if (gold.x[g] == span.x[2 * s] && gold.x[g + 1] == span.x[2 * s + 1]) label = (int)gold.x[g + 2];
        for (int k = 0; k < CLASSES; k++) d.x[s * CLASSES + k] = (d.x[s * CLASSES + k] - (k == label)) / SPANS;
    }
    return d;
}

static void interaction_form(gmt_backend *b)
{
    const cJSON *item, *found = NULL;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(gmt_fixture("span_head"), "cases"))
        if (strcmp(cJSON_GetObjectItemCaseSensitive(item, "case")->valuestring, "interaction form (default model)") == 0) found = item;
    assert_non_null(found);
    const cJSON *in = cJSON_GetObjectItemCaseSensitive(found, "inputs"), *out = cJSON_GetObjectItemCaseSensitive(found, "expected");
    const matrix h = read(in, "h", WORDS * STATE), u = read(in, "U", CLASSES * HIDDEN), c = read(in, "c", CLASSES), table = read(in, "width", WIDTHS * EMBEDDING);
    const matrix start = product(h, STATE, 1, read(in, "A", HIDDEN * STATE), STATE, 1, WORDS, STATE, HIDDEN);
    const matrix end = product(h, STATE, 1, read(in, "C", HIDDEN * STATE), STATE, 1, WORDS, STATE, HIDDEN);
    const matrix of_width = product(table, EMBEDDING, 1, read(in, "Dw", HIDDEN * EMBEDDING), EMBEDDING, 1, WIDTHS, EMBEDDING, HIDDEN);
    const matrix place = read(out, "spans", 2 * SPANS), dlogits = gradient_of_logits(in, out);
    int32_t ends[2 * SPANS];
    for (int i = 0; i < 2 * SPANS; i++) ends[i] = (int32_t)place.x[i];
    gmt_buf projected = floats(b, beside(start, end), WORDS * 2 * HIDDEN), width = floats(b, of_width, WIDTHS * HIDDEN), bias = floats(b, read(in, "b", HIDDEN), HIDDEN);
    gmt_buf span = gmt_i32(b, ends, 2 * SPANS), token = gmt_i32(b, (const int32_t[2 * SPANS]){ 0 }, 2 * SPANS), count = gmt_i32(b, (const int32_t[]){ SPANS }, 1);
    gmt_buf cu_words = gmt_i32(b, (const int32_t[]){ 0, WORDS }, 2), cu = gmt_i32(b, (const int32_t[]){ 0, SPANS }, 2), y = gmt_poison(b, SPANS * HIDDEN);
    gmt_ok(b, b->k->span_vector.forward(&(gm_span_vector){ .projected = projected.dev, .width = width.dev, .bias = bias.dev, .span = span.dev,
                                                           .token = token.dev, .cu_words = cu_words.dev, .y = y.dev, .n_rows = count.dev,
                                                           .capacity = SPANS, .hidden = HIDDEN },
                                        b->device));
    matrix logit = product(fetched(b, y), HIDDEN, 1, u, HIDDEN, 1, SPANS, HIDDEN, CLASSES);
    for (int i = 0; i < SPANS * CLASSES; i++) logit.x[i] += c.x[i % CLASSES];
    assert_near(logit, read(out, "logit", SPANS * CLASSES), SPANS * CLASSES, "logit");

    gmt_buf dy = floats(b, product(dlogits, CLASSES, 1, u, 1, HIDDEN, SPANS, CLASSES, HIDDEN), SPANS * HIDDEN), dprojected = gmt_poison(b, WORDS * 2 * HIDDEN);
    gmt_buf dwidth = gmt_poison(b, WIDTHS * HIDDEN), dbias = gmt_poison(b, HIDDEN);
    gmt_ok(b, b->k->span_vector.backward(&(gm_span_vector_grad){ .y = y.dev, .dy = dy.dev, .span = span.dev, .cu_words = cu_words.dev, .cu_entities = cu.dev,
                                                                 .keep = 1.0f, .dprojected = dprojected.dev, .dwidth = dwidth.dev, .dbias = dbias.dev,
                                                                 .n_rows = count.dev, .sequences = 1, .capacity = SPANS, .words = WORDS, .widths = WIDTHS,
                                                                 .hidden = HIDDEN },
                                         b->device));
    const matrix both = fetched(b, dprojected);
    assert_near(product(half(both, 0), 1, HIDDEN, h, 1, STATE, HIDDEN, WORDS, STATE), read(out, "grad_A", HIDDEN * STATE), HIDDEN * STATE, "grad_A");
    assert_near(product(half(both, 1), 1, HIDDEN, h, 1, STATE, HIDDEN, WORDS, STATE), read(out, "grad_C", HIDDEN * STATE), HIDDEN * STATE, "grad_C");
    assert_near(product(fetched(b, dwidth), 1, HIDDEN, table, 1, EMBEDDING, HIDDEN, WIDTHS, EMBEDDING), read(out, "grad_Dw", HIDDEN * EMBEDDING),
                HIDDEN * EMBEDDING, "grad_Dw");
    assert_near(fetched(b, dbias), read(out, "grad_b", HIDDEN), HIDDEN, "grad_b");
}

GMT_MAIN("span_vector_fixture", GMT_F32(interaction_form))
