/* span_logits against a reference in double that does materialise [spans, hidden]; the reference's gradients are checked
 * by central differences. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "span_logits/span_logits.h"

typedef struct shape {
    int32_t widths, hidden, classes;
    float p;
} shape;

/* Sentences shorter than the widest span, as long as it, and longer; padded with many empty ones. Behind the words comes
 * one row that belongs to dprojected's capacity, then one that does not. */
enum { SEQUENCES = 40, WORDS = 58, CAPACITY = 59, SPARE = 2, PARTS = 5 };
static const int32_t lengths[SEQUENCES] = { 0, 1, 7, 0, 8, 9, 33, 0 };
enum { PROJECTED, WIDTH, BIAS, OUT, OUT_BIAS }; /* inputs, and their gradients in the same order */

static void sizes_of(shape s, int32_t words, size_t size[PARTS])
{
    const size_t hidden = (size_t)s.hidden;
    size[PROJECTED] = (size_t)words * 2 * hidden;
    size[WIDTH] = (size_t)s.widths * hidden;
    size[BIAS] = hidden;
    size[OUT] = (size_t)s.classes * hidden;
    size[OUT_BIAS] = (size_t)s.classes;
}

/* Pre-activations, masks and hidden vectors of all spans; rows that leave their sentence stay zero and is_span false. */
typedef struct spans {
    double *pre, *scale, *hidden;
    bool is_span[WORDS * GM_SPAN_MAX_WIDTHS];
} spans;

static spans *make_spans(gmt_backend *b, shape s)
{
    const size_t n = (size_t)(WORDS * s.widths * s.hidden);
    spans *all = (spans *)gmt_doubles(b, sizeof *all / sizeof(double) + 1);
    *all = (spans){ gmt_doubles(b, n), gmt_doubles(b, n), gmt_doubles(b, n), { false } };
    return all;
}

static void draw_masks(gmt_backend *b, shape s, const int32_t *cu, int32_t sequences, const gm_drop *drop, spans *all)
{
    for (int32_t q = 0; q < sequences; q++)
        for (int32_t i = cu[q]; i < cu[q + 1]; i++)
            for (int32_t w = 0; w < s.widths && i + w < cu[q + 1]; w++) {
                const int32_t row = i * s.widths + w;
                all->is_span[row] = true;
                for (int32_t c = 0; c < s.hidden; c++)
                    all->scale[row * s.hidden + c] =
                        gmt_scale(drop, b->step.seed, q, (uint32_t)(i - cu[q]) << 4 | (uint32_t)w, (uint32_t)c);
            }
}

static void reference(shape s, double *const x[PARTS], int32_t words, spans *all, double *logits)
{
    for (int32_t row = 0; row < words * s.widths; row++) {
        const int32_t i = row / s.widths, w = row % s.widths;
        for (int32_t k = 0; k < s.classes; k++) logits[row * s.classes + k] = all->is_span[row] ? x[OUT_BIAS][k] : 0.0;
        if (!all->is_span[row]) continue;
        for (int32_t c = 0; c < s.hidden; c++) {
            const int32_t at = row * s.hidden + c;
            all->pre[at] = x[PROJECTED][i * 2 * s.hidden + c] + x[PROJECTED][(i + w) * 2 * s.hidden + s.hidden + c] +
                           x[WIDTH][w * s.hidden + c] + x[BIAS][c];
            all->hidden[at] = fmax(all->pre[at], 0.0) * all->scale[at];
            for (int32_t k = 0; k < s.classes; k++)
                logits[row * s.classes + k] += x[OUT][k * s.hidden + c] * all->hidden[at];
        }
    }
}

/* Adds to dx, after reference() has filled `all`. */
static void reference_grad(shape s, double *const x[PARTS], int32_t words, const spans *all, const double *dlogits,
                           double *const dx[PARTS])
{
    for (int32_t row = 0; row < words * s.widths; row++) {
        const int32_t i = row / s.widths, w = row % s.widths;
        if (!all->is_span[row]) continue;
        for (int32_t k = 0; k < s.classes; k++) dx[OUT_BIAS][k] += dlogits[row * s.classes + k];
        for (int32_t c = 0; c < s.hidden; c++) {
            double d = 0.0;
            for (int32_t k = 0; k < s.classes; k++) {
                d += dlogits[row * s.classes + k] * x[OUT][k * s.hidden + c];
                dx[OUT][k * s.hidden + c] += dlogits[row * s.classes + k] * all->hidden[row * s.hidden + c];
            }
            if (all->pre[row * s.hidden + c] <= 0.0) continue;
            d *= all->scale[row * s.hidden + c];
            dx[PROJECTED][i * 2 * s.hidden + c] += d;
            dx[PROJECTED][(i + w) * 2 * s.hidden + s.hidden + c] += d;
            dx[WIDTH][w * s.hidden + c] += d;
            dx[BIAS][c] += d;
        }
    }
}

static double *widened(gmt_backend *b, const gmt_buf *x)
{
    double *y = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) y[i] = (double)x->f32[i];
    return y;
}

typedef struct inputs {
    gmt_buf x[PARTS], cu;
    double *wide[PARTS];
    gm_drop drop;
    spans *all;
} inputs;

static inputs make(gmt_backend *b, shape s)
{
    inputs in = { .cu = gmt_offsets(b, lengths, SEQUENCES), .drop = gmt_drop(b, s.p, GM_SITE_SPAN_HIDDEN, SEQUENCES), .all = make_spans(b, s) };
    size_t size[PARTS];
    sizes_of(s, WORDS, size);
    for (int i = 0; i < PARTS; i++) {
        in.x[i] = i == PROJECTED ? gmt_act(b, size[i], 1.0f) : gmt_normal(b, size[i], 1.0f);
        in.wide[i] = widened(b, &in.x[i]);
    }
    draw_masks(b, s, in.cu.i32, SEQUENCES, &in.drop, in.all);
    return in;
}

/* Labels where there is a span, 255 elsewhere. */
static gmt_buf labels(gmt_backend *b, shape s, const spans *all)
{
    uint8_t label[WORDS * GM_SPAN_MAX_WIDTHS];
    for (int32_t row = 0; row < WORDS * s.widths; row++) label[row] = (uint8_t)(all->is_span[row] ? row % s.classes : 255);
    return gmt_bytes(b, label, (size_t)(WORDS * s.widths), (size_t)(WORDS * s.widths));
}

/* Turns logits into scale x (softmax - onehot); returns scale x the sum of losses. */
static double reference_loss(shape s, const spans *all, const uint8_t *label, double scale, const double *logits, double *d)
{
    double loss = 0.0;
    for (int32_t row = 0; row < WORDS * s.widths; row++) {
        const double *x = logits + row * s.classes;
        double sum = 0.0;
        if (!all->is_span[row]) continue;
        for (int32_t k = 0; k < s.classes; k++) sum += exp(x[k]);
        loss += scale * (log(sum) - x[label[row]]);
        for (int32_t k = 0; k < s.classes; k++) d[row * s.classes + k] = scale * (exp(x[k]) / sum - (k == label[row]));
    }
    return loss;
}

static const shape shapes[] = {
    { 8, 256, 5, 0.0f }, { 8, 256, 5, 0.1f }, { 1, 1, 1, 0.0f },    { 16, 33, 64, 0.3f },
    { 3, 100, 2, 0.5f }, { 8, 515, 5, 0.1f }, { 16, 64, 17, 0.0f },
};

static void check_forward(gmt_backend *b, shape s, bool with_loss)
{
    const size_t scores = (size_t)(WORDS * s.widths * s.classes), spare = (size_t)(SPARE * s.widths * s.classes);
    const double before = 1.5, scale = 0.25;
    inputs in = make(b, s);
    gmt_buf logits = gmt_poison(b, scores + spare), dlogits = gmt_poison(b, scores + spare), label = labels(b, s, in.all);
    gmt_buf loss = gmt_bytes(b, &before, sizeof before, 1), factor = gmt_f32(b, &(float){ 0.25f }, 1);
    double *want = gmt_doubles(b, scores), *want_d = gmt_doubles(b, scores);
    reference(s, in.wide, WORDS, in.all, want);
    const double want_loss = before + (with_loss ? reference_loss(s, in.all, label.u8, scale, want, want_d) : 0.0);
    gmt_ok(b, b->k->span_logits.forward(&(gm_span_logits){ in.x[PROJECTED].dev, in.x[WIDTH].dev, in.x[BIAS].dev, in.x[OUT].dev,
                                                           in.x[OUT_BIAS].dev, in.cu.dev, in.drop, logits.dev,
                                                           with_loss ? label.dev : NULL, with_loss ? factor.dev : NULL,
                                                           with_loss ? loss.dev : NULL, with_loss ? dlogits.dev : NULL,
                                                           SEQUENCES, s.widths, s.hidden, s.classes },
                                        b->device));
    gmt_close(gmt_fetch(b, &logits), want, scores, gmt_tol_f32((size_t)s.hidden), "logits");
    for (size_t i = 0; i < scores; i++)
        if (!in.all->is_span[i / (size_t)s.classes]) assert_true(logits.f32[i] == 0.0f);
    for (size_t i = scores; i < scores + spare; i++) assert_true(isnan(logits.f32[i]));
    gmt_fetch(b, &loss);
    assert_true(fabs(*loss.f64 - want_loss) <= gmt_tol_f32((size_t)s.hidden) * fabs(want_loss));
    gmt_fetch(b, &dlogits);
    if (!with_loss) return;
    /* an error of the logit's size moves the probabilities by as much */
    gmt_close(dlogits.f32, want_d, scores, gmt_tol_f32((size_t)s.hidden) * (8.0 + sqrt((double)s.hidden)), "dlogits");
    for (size_t i = 0; i < scores; i++)
        if (!in.all->is_span[i / (size_t)s.classes]) assert_true(dlogits.f32[i] == 0.0f);
}

static void forward_matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) {
        check_forward(b, shapes[i], true);
        check_forward(b, shapes[i], false);
    }
}

/* dlogits as forward makes them: zero beyond the sentence. */
static gmt_buf some_dlogits(gmt_backend *b, shape s, const spans *all)
{
    gmt_buf d = gmt_normal(b, (size_t)(WORDS * s.widths * s.classes), 0.5f);
    for (size_t i = 0; i < d.count; i++)
        if (!all->is_span[i / (size_t)s.classes]) d.f32[i] = 0.0f;
    gmt_push(b, &d);
    return d;
}

static void run_backward(gmt_backend *b, shape s, const inputs *in, int32_t sequences, const gmt_buf *dlogits, gmt_buf dx[PARTS],
                         const bool add[PARTS])
{
    gmt_ok(b, b->k->span_logits.backward(&(gm_span_logits_grad){ in->x[PROJECTED].dev, in->x[WIDTH].dev, in->x[BIAS].dev,
                                                                 in->x[OUT].dev, in->cu.dev, in->drop, dlogits->dev,
                                                                 dx[PROJECTED].dev, dx[WIDTH].dev, dx[BIAS].dev, dx[OUT].dev,
                                                                 dx[OUT_BIAS].dev, add[PROJECTED], add[WIDTH], add[BIAS], add[OUT],
                                                                 add[OUT_BIAS], sequences, s.widths, s.hidden, s.classes,
                                                                 CAPACITY },
                                         b->device));
    for (int i = 0; i < PARTS; i++) gmt_fetch(b, &dx[i]);
}

static gmt_buf poisoned_rows(gmt_backend *b, shape s) { return gmt_act_poison(b, (size_t)((WORDS + SPARE) * 2 * s.hidden)); }

/* Those of the words hold numbers to be added to, if asked for. */
static gmt_buf rows_of(gmt_backend *b, shape s, bool with_numbers)
{
    gmt_buf rows = poisoned_rows(b, s);
    if (!with_numbers) return rows;
    const gmt_buf number = gmt_act(b, (size_t)(WORDS * 2 * s.hidden), 3.0f);
    memcpy(rows.f32, number.f32, number.count * sizeof(float));
    gmt_push(b, &rows);
    return rows;
}

/* From `first` on dprojected is zero up to `end` and as poisoned further on. */
static void rows_behind(const gmt_buf *dprojected, size_t first, size_t end)
{
    for (size_t i = first; i < dprojected->count; i++) {
        const float x = dprojected->f32[i];
        if (i < end ? x != 0.0f : !isnan(x)) fail_msg("dprojected[%zu] behind the words is %.9g", i, (double)x);
    }
}

/* bit i of `flags`: add to input i's gradient. */
static void check_backward(gmt_backend *b, shape s, unsigned flags)
{
    static const char *const names[PARTS] = { "dprojected", "dwidth", "dbias", "dout", "dout_bias" };
    const bool add[PARTS] = { flags & 1, flags & 2, flags & 4, flags & 8, flags & 16 };
    inputs in = make(b, s);
    size_t size[PARTS];
    gmt_buf dx[PARTS], dlogits = some_dlogits(b, s, in.all);
    double *want[PARTS], *logits = gmt_doubles(b, dlogits.count);
    sizes_of(s, WORDS, size);
    for (int i = 0; i < PARTS; i++) {
        dx[i] = i == PROJECTED ? rows_of(b, s, add[i]) : add[i] ? gmt_normal(b, size[i], 3.0f) : gmt_poison(b, size[i]);
        want[i] = add[i] ? widened(b, &dx[i]) : gmt_doubles(b, size[i]);
    }
    reference(s, in.wide, WORDS, in.all, logits);
    reference_grad(s, in.wide, WORDS, in.all, widened(b, &dlogits), want);
    run_backward(b, s, &in, SEQUENCES, &dlogits, dx, add);
    for (int i = 0; i < PARTS; i++)
        gmt_close(dx[i].f32, want[i], size[i],
                  gmt_tol_f32((size_t)(WORDS * s.widths + s.classes)) + (i == PROJECTED ? gmt_rounding(b) : 0.0), names[i]);
    rows_behind(&dx[PROJECTED], size[PROJECTED], add[PROJECTED] ? size[PROJECTED] : (size_t)(CAPACITY * 2 * s.hidden));
}

static void backward_matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) {
        if (!b->target->is_checked || i % 2 == 0) check_backward(b, shapes[i], 0);
        if (!b->target->is_checked || i % 2 == 1) check_backward(b, shapes[i], 31);
    }
    for (unsigned i = 0; i < PARTS; i++) { /* each alone, and all but one */
        check_backward(b, (shape){ 4, 20, 3, 0.2f }, 1u << i);
        check_backward(b, (shape){ 4, 20, 3, 0.2f }, 31u ^ 1u << i);
    }
}

/* A batch of empty sentences only, or of none: sums are zero or stay what they were, all rows are behind the words. */
static void batch_without_a_word(gmt_backend *b)
{
    const shape s = { 8, 40, 5, 0.1f };
    inputs in = make(b, s);
    const gmt_buf cu = gmt_i32(b, (const int32_t[SEQUENCES + 1]){ 0 }, SEQUENCES + 1), d = some_dlogits(b, s, in.all);
    in.cu = cu;
    for (int add = 0; add < 2; add++)
        for (int32_t sequences = 0; sequences <= SEQUENCES; sequences += SEQUENCES) {
            const bool flags[PARTS] = { false, add, add, add, add };
            gmt_buf dx[PARTS];
            for (int i = 0; i < PARTS; i++) dx[i] = i == PROJECTED ? poisoned_rows(b, s) : gmt_poison(b, in.x[i].count);
            for (int i = WIDTH; add && i < PARTS; i++) {
                for (size_t e = 0; e < dx[i].count; e++) dx[i].f32[e] = 1.5f;
                gmt_push(b, &dx[i]);
            }
            run_backward(b, s, &in, sequences, &d, dx, flags);
            for (int i = WIDTH; i < PARTS; i++)
                for (size_t e = 0; e < dx[i].count; e++) assert_true(dx[i].f32[e] == (add ? 1.5f : 0.0f));
            rows_behind(&dx[PROJECTED], 0, (size_t)(CAPACITY * 2 * s.hidden));
        }
}

/* The first sentence's spans have the scores that they have in a batch of two; without a sentence nothing is written. */
static void batch_of_one(gmt_backend *b)
{
    enum { FIRST = 7 };
    const shape s = { 4, 20, 3, 0.0f };
    const inputs in = make(b, s);
    const gmt_buf cu = gmt_i32(b, (const int32_t[]){ 0, FIRST, WORDS }, 3);
    gmt_buf logits[3];
    for (int32_t n = 2; n >= 0; n--) {
        logits[n] = gmt_poison(b, (size_t)(WORDS * s.widths * s.classes));
        gmt_ok(b, b->k->span_logits.forward(&(gm_span_logits){ .projected = in.x[PROJECTED].dev, .width = in.x[WIDTH].dev,
                                                               .bias = in.x[BIAS].dev, .out = in.x[OUT].dev,
                                                               .out_bias = in.x[OUT_BIAS].dev, .cu_words = cu.dev, .drop = in.drop,
                                                               .logits = logits[n].dev, .sequences = n, .widths = s.widths,
                                                               .hidden = s.hidden, .classes = s.classes },
                                            b->device));
        gmt_fetch(b, &logits[n]);
        for (int32_t i = 0; i < WORDS * s.widths * s.classes; i++) {
            const float x = logits[n].f32[i];
            assert_true(i < (n > 1 ? WORDS : n * FIRST) * s.widths * s.classes ? x == logits[2].f32[i] : isnan(x));
        }
    }
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check_forward(b, (shape){ 4, 20, 3, 0.2f }, true);
    check_backward(b, (shape){ 4, 20, 3, 0.2f }, 10);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const shape s = { 8, 200, 5, 0.1f };
    static const bool add[PARTS] = { false };
    inputs in = make(b, s);
    gmt_buf d = some_dlogits(b, s, in.all), label = labels(b, s, in.all), factor = gmt_f32(b, &(float){ 0.3f }, 1);
    gmt_buf first[PARTS], first_loss = { 0 };
    size_t size[PARTS];
    sizes_of(s, WORDS, size);
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        gmt_buf dx[PARTS], loss = gmt_bytes(b, &(double){ 0.0 }, sizeof(double), 1);
        gmt_buf logits = gmt_poison(b, d.count), dlogits = gmt_poison(b, d.count);
        for (int i = 0; i < PARTS; i++) dx[i] = i == PROJECTED ? poisoned_rows(b, s) : gmt_poison(b, size[i]);
        gmt_ok(b, b->k->span_logits.forward(&(gm_span_logits){ in.x[PROJECTED].dev, in.x[WIDTH].dev, in.x[BIAS].dev,
                                                               in.x[OUT].dev, in.x[OUT_BIAS].dev, in.cu.dev, in.drop,
                                                               logits.dev, label.dev, factor.dev, loss.dev, dlogits.dev,
                                                               SEQUENCES, s.widths, s.hidden, s.classes },
                                            b->device));
        run_backward(b, s, &in, SEQUENCES, &d, dx, add);
        gmt_fetch(b, &loss);
        if (b->device->threads == 1) {
            memcpy(first, dx, sizeof first);
            first_loss = loss;
        }
        assert_memory_equal(loss.f64, first_loss.f64, sizeof(double));
        for (int i = 0; i < PARTS; i++) assert_memory_equal(dx[i].f32, first[i].f32, first[i].bytes);
    }
}

/* d(sum of dlogits x logits) for every input; the masks stay as drawn. */
static void reference_matches_differences(gmt_backend *b)
{
    const shape s = { 3, 5, 3, 0.2f };
    inputs in = make(b, s);
    gmt_buf dlogits = some_dlogits(b, s, in.all);
    const size_t scores = dlogits.count;
    double *d = widened(b, &dlogits), *dx[PARTS], *logits[2] = { gmt_doubles(b, scores), gmt_doubles(b, scores) };
    size_t size[PARTS];
    sizes_of(s, WORDS, size);
    for (int i = 0; i < PARTS; i++) dx[i] = gmt_doubles(b, size[i]);
    reference(s, in.wide, WORDS, in.all, logits[0]);
    reference_grad(s, in.wide, WORDS, in.all, d, dx);
    for (int i = 0; i < PARTS; i++)
        for (size_t e = 0; e < size[i]; e++) {
            const double old = in.wide[i][e], step = 1e-6;
            double change = 0.0;
            for (int side = 0; side < 2; side++) {
                in.wide[i][e] = side ? old + step : old - step;
                reference(s, in.wide, WORDS, in.all, logits[side]);
            }
            in.wide[i][e] = old;
            for (size_t k = 0; k < scores; k++) change += d[k] * (logits[1][k] - logits[0][k]);
            assert_true(fabs(change / (2.0 * step) - dx[i][e]) < 1e-6);
        }
}

GMT_MAIN("span_logits", GMT(forward_matches_reference), GMT(backward_matches_reference), GMT(batch_without_a_word), GMT(batch_of_one),
         GMT(workspace_is_what_is_asked_for), GMT(same_bits_for_any_threads), GMT_F32(reference_matches_differences))
