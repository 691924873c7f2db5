/* span_logits against the shared fixture `span_head`, interaction form. The projections of the words are products that
 * the model makes with `linear`; here they are made in double. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "span_logits/span_logits.h"
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

/* a [rows, inner] times b transposed [cols, inner]; transposed: a [inner, rows] and b [inner, cols]. */
static matrix product(matrix a, matrix b, int rows, int inner, int cols, bool transposed)
{
    matrix c = { { 0.0 } };
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < cols; k++)
            for (int i = 0; i < inner; i++)
                c.x[r * cols + k] += transposed ? a.x[i * rows + r] * b.x[i * cols + k] : a.x[r * inner + i] * b.x[k * inner + i];
    return c;
}

static void assert_near(const double *got, matrix want, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want.x[i]) <= tolerance))
            fail_msg("%s[%d] is %.9g, the fixture says %.9g", what, i, got[i], want.x[i]);
}

static gmt_buf floats(gmt_backend *b, const double *x, int n)
{
    gmt_buf buf = gmt_zeros(b, (size_t)n);
    for (int i = 0; i < n; i++) buf.f32[i] = (float)x[i];
    gmt_push(b, &buf);
    return buf;
}

static void widen(gmt_backend *b, gmt_buf *buf, double *to)
{
    gmt_fetch(b, buf);
    for (size_t i = 0; i < buf->count; i++) to[i] = (double)buf->f32[i];
}

typedef struct head {
    matrix h, a, c, d, width;
    gmt_buf projected, width_product, bias, out, out_bias, cu, label, scale;
    int32_t row[SPANS];       /* of the kernel, for each span of the fixture */
} head;

static head read_head(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    head m = { .h = read(in, "h", WORDS * STATE), .a = read(in, "A", HIDDEN * STATE), .c = read(in, "C", HIDDEN * STATE),
               .d = read(in, "Dw", HIDDEN * EMBEDDING), .width = read(in, "width", WIDTHS * EMBEDDING) };
    const matrix start = product(m.h, m.a, WORDS, STATE, HIDDEN, false), end = product(m.h, m.c, WORDS, STATE, HIDDEN, false);
    const matrix width = product(m.width, m.d, WIDTHS, EMBEDDING, HIDDEN, false), span = read(expected, "spans", 2 * SPANS);
    const matrix gold = read(in, "gold", 6);
    double projected[WORDS * 2 * HIDDEN];
    uint8_t label[WORDS * WIDTHS];
    for (int i = 0; i < WORDS; i++)
        for (int c = 0; c < HIDDEN; c++) {
            projected[i * 2 * HIDDEN + c] = start.x[i * HIDDEN + c];
            projected[i * 2 * HIDDEN + HIDDEN + c] = end.x[i * HIDDEN + c];
        }
    memset(label, 255, sizeof label);
    for (int s = 0; s < SPANS; s++) {
        m.row[s] = (int32_t)(span.x[2 * s] * WIDTHS + span.x[2 * s + 1] - span.x[2 * s]);
        label[m.row[s]] = 0;
        for (int g = 0; g < 6; g += 3)
            if (gold.x[g] == span.x[2 * s] && gold.x[g + 1] == span.x[2 * s + 1]) label[m.row[s]] = (uint8_t)gold.x[g + 2];
    }
    m.projected = floats(b, projected, WORDS * 2 * HIDDEN);
    m.width_product = floats(b, width.x, WIDTHS * HIDDEN);
    m.bias = floats(b, read(in, "b", HIDDEN).x, HIDDEN);
    m.out = floats(b, read(in, "U", CLASSES * HIDDEN).x, CLASSES * HIDDEN);
    m.out_bias = floats(b, read(in, "c", CLASSES).x, CLASSES);
    m.cu = gmt_i32(b, (const int32_t[]){ 0, WORDS }, 2);
    m.label = gmt_bytes(b, label, sizeof label, sizeof label);
    m.scale = floats(b, (const double[]){ 1.0 / SPANS }, 1); /* the fixture's loss is a mean over spans */
    return m;
}

/* The fixture stops at h, A, C, Dw, width; the kernel at their products: the rest of the chain rule stands here. */
static void compare_gradients(gmt_backend *b, const head *m, gmt_buf dprojected, gmt_buf dwidth, const cJSON *expected)
{
    matrix dstart = { { 0.0 } }, dend = { { 0.0 } }, dproduct = { { 0.0 } }, dh = { { 0.0 } };
    double d[WORDS * 2 * HIDDEN];
    widen(b, &dprojected, d);
    widen(b, &dwidth, dproduct.x);
    for (int i = 0; i < WORDS; i++)
        for (int c = 0; c < HIDDEN; c++) {
            dstart.x[i * HIDDEN + c] = d[i * 2 * HIDDEN + c];
            dend.x[i * HIDDEN + c] = d[i * 2 * HIDDEN + HIDDEN + c];
            for (int k = 0; k < STATE; k++)
                dh.x[i * STATE + k] += dstart.x[i * HIDDEN + c] * m->a.x[c * STATE + k] + dend.x[i * HIDDEN + c] * m->c.x[c * STATE + k];
        }
    matrix d_width = { { 0.0 } };
    for (int w = 0; w < WIDTHS; w++)
        for (int c = 0; c < HIDDEN; c++)
            for (int e = 0; e < EMBEDDING; e++)
                d_width.x[w * EMBEDDING + e] += dproduct.x[w * HIDDEN + c] * m->d.x[c * EMBEDDING + e];
    assert_near(dh.x, read(expected, "grad_h", WORDS * STATE), WORDS * STATE, "grad_h");
    assert_near(product(dstart, m->h, HIDDEN, WORDS, STATE, true).x, read(expected, "grad_A", HIDDEN * STATE), HIDDEN * STATE, "grad_A");
    assert_near(product(dend, m->h, HIDDEN, WORDS, STATE, true).x, read(expected, "grad_C", HIDDEN * STATE), HIDDEN * STATE, "grad_C");
    assert_near(product(dproduct, m->width, HIDDEN, WIDTHS, EMBEDDING, true).x, read(expected, "grad_Dw", HIDDEN * EMBEDDING), HIDDEN * EMBEDDING, "grad_Dw");
    assert_near(d_width.x, read(expected, "grad_width", WIDTHS * EMBEDDING), WIDTHS * EMBEDDING, "grad_width");
}

static void check_interaction(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    head m = read_head(b, in, expected);
    gmt_buf logits = gmt_poison(b, WORDS * WIDTHS * CLASSES), dlogits = gmt_poison(b, WORDS * WIDTHS * CLASSES);
    gmt_buf loss = gmt_bytes(b, &(double){ 0.0 }, sizeof(double), 1), dprojected = gmt_poison(b, WORDS * 2 * HIDDEN);
    gmt_buf dwidth = gmt_poison(b, WIDTHS * HIDDEN), dbias = gmt_poison(b, HIDDEN);
    gmt_buf dout = gmt_poison(b, CLASSES * HIDDEN), dout_bias = gmt_poison(b, CLASSES);
    gmt_ok(b, b->k->span_logits.forward(&(gm_span_logits){ .projected = m.projected.dev, .width = m.width_product.dev,
                                                           .bias = m.bias.dev, .out = m.out.dev, .out_bias = m.out_bias.dev,
                                                           .cu_words = m.cu.dev, .logits = logits.dev, .label = m.label.dev,
                                                           .scale = m.scale.dev, .loss = loss.dev, .dlogits = dlogits.dev,
                                                           .sequences = 1, .widths = WIDTHS, .hidden = HIDDEN, .classes = CLASSES },
                                        b->device));
    gmt_ok(b, b->k->span_logits.backward(&(gm_span_logits_grad){ .projected = m.projected.dev, .width = m.width_product.dev,
                                                                 .bias = m.bias.dev, .out = m.out.dev, .cu_words = m.cu.dev,
                                                                 .dlogits = dlogits.dev, .dprojected = dprojected.dev,
                                                                 .dwidth = dwidth.dev, .dbias = dbias.dev, .dout = dout.dev,
                                                                 .dout_bias = dout_bias.dev, .sequences = 1,
                                                                 .widths = WIDTHS, .hidden = HIDDEN, .classes = CLASSES },
                                         b->device));
    gmt_fetch(b, &loss);
    assert_near(loss.f64, read(expected, "loss_ce_mean", 1), 1, "loss");
    double all[WORDS * WIDTHS * CLASSES], logit[SPANS * CLASSES], prob[SPANS * CLASSES], small[MOST];
    widen(b, &logits, all);
    for (int s = 0; s < SPANS; s++) {
        double sum = 0.0;
        memcpy(logit + s * CLASSES, all + m.row[s] * CLASSES, CLASSES * sizeof(double));
        for (int k = 0; k < CLASSES; k++) sum += exp(logit[s * CLASSES + k]);
        for (int k = 0; k < CLASSES; k++) prob[s * CLASSES + k] = exp(logit[s * CLASSES + k]) / sum;
    }
    assert_near(logit, read(expected, "logit", SPANS * CLASSES), SPANS * CLASSES, "logit");
    assert_near(prob, read(expected, "prob", SPANS * CLASSES), SPANS * CLASSES, "prob");
    compare_gradients(b, &m, dprojected, dwidth, expected);
    widen(b, &dbias, small);
    assert_near(small, read(expected, "grad_b", HIDDEN), HIDDEN, "grad_b");
    widen(b, &dout, small);
    assert_near(small, read(expected, "grad_U", CLASSES * HIDDEN), CLASSES * HIDDEN, "grad_U");
    widen(b, &dout_bias, small);
    assert_near(small, read(expected, "grad_c", CLASSES), CLASSES, "grad_c");
}

/* A case that nobody names fails, so that a new one is never passed over. */
static void every_case_is_known(gmt_backend *b)
{
    static const char *const elsewhere[] = {
        "n=4, max width 3, 3 classes", /* the concatenated form: a switch of a later release */
        "greedy non-overlap decode",   /* tests/model, as the span count */
        "span count",
    };
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(gmt_fixture("span_head"), "cases"))
    {
        const char *name = cJSON_GetObjectItemCaseSensitive(item, "case")->valuestring;
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(elsewhere); i++) is_known |= strcmp(name, elsewhere[i]) == 0;
        if (strcmp(name, "interaction form (default model)") == 0)
            check_interaction(b, cJSON_GetObjectItemCaseSensitive(item, "inputs"),
                              cJSON_GetObjectItemCaseSensitive(item, "expected"));
        else if (!is_known)
            fail_msg("span_head: nobody tests the case \"%s\"", name);
    }
}

GMT_MAIN("span_logits_fixture", GMT_F32(every_case_is_known))
