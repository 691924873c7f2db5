/* span_vector against a reference in double, whose gradients are checked by central differences, and against the logits that
 * span_logits makes of the same spans. */
#include "tests/support/entities.h"

#include <math.h>

#include "span_logits/span_logits.h"
#include "span_vector/span_vector.h"

typedef struct shape {
    int32_t widths, hidden;
    float p;
} shape;

static const shape shapes[] = { { 8, 256, 0.0f }, { 8, 256, 0.1f }, { 1, 1, 0.0f }, { 16, 33, 0.3f }, { 3, 100, 0.5f }, { 8, 515, 0.1f } };

/* Sentences without words, without entities, with one, with many; more rows than there are on every side. */
enum { SEQUENCES = 12, SPARE = 3, SPARE_WORDS = 2, PARTS = 4 };
static const int32_t words[SEQUENCES] = { 0, 1, 7, 0, 8, 9, 33, 20, 5, 3, 0, 0 };
static const int32_t entities[SEQUENCES] = { 0, 1, 0, 4, 2, 3, 45, 1, 6, 0, 0, 0 };
enum { PROJECTED, WIDTH, BIAS, DY }; /* inputs; the gradients of the first three in the same order */

typedef struct inputs {
    gmt_entities of;
    shape s;
    gmt_buf x[PARTS];
    double *wide[PARTS];
    double *scale, *pre, *y;  /* [n, hidden] */
    gm_drop drop;
} inputs;

static inputs make(gmt_backend *b, shape s)
{
    inputs in = { .of = gmt_entities_make(b, words, words, entities, SEQUENCES, s.widths, SPARE), .s = s };
    const size_t hidden = (size_t)s.hidden, all = (size_t)in.of.n * hidden;
    in.drop = gmt_drop(b, s.p, GM_SITE_SPAN_HIDDEN, SEQUENCES);
    in.x[PROJECTED] = gmt_act(b, (size_t)in.of.words * 2 * hidden, 1.0f);
    in.x[WIDTH] = gmt_normal(b, (size_t)s.widths * hidden, 1.0f);
    in.x[BIAS] = gmt_normal(b, hidden, 1.0f);
    in.x[DY] = gmt_act(b, (size_t)in.of.capacity * hidden, 1.0f);
    for (int i = 0; i < PARTS; i++) in.wide[i] = gmt_widened(b, &in.x[i]);
    in.scale = gmt_doubles(b, all);
    in.pre = gmt_doubles(b, all);
    in.y = gmt_doubles(b, all);
    for (int32_t e = 0; e < in.of.n; e++)
        for (int32_t c = 0; c < s.hidden; c++)
            in.scale[e * s.hidden + c] = gmt_scale(&in.drop, b->step.seed, gmt_sequence(&in.of, e), gmt_place(&in.of, e), (uint32_t)c);
    return in;
}

static void reference(const inputs *in)
{
    const int32_t hidden = in->s.hidden;
    for (int32_t e = 0; e < in->of.n; e++) {
        const gm_entity_span span = gmt_span(&in->of, e);
        for (int32_t c = 0; c < hidden; c++) {
            const int32_t at = e * hidden + c;
            in->pre[at] = in->wide[PROJECTED][span.first * 2 * hidden + c] + in->wide[PROJECTED][span.last * 2 * hidden + hidden + c] +
                          in->wide[WIDTH][(span.last - span.first) * hidden + c] + in->wide[BIAS][c];
            in->y[at] = fmax(in->pre[at], 0.0) * in->scale[at];
        }
    }
}

/* Adds to dx, after reference(). */
static void reference_grad(const inputs *in, double *const dx[PARTS])
{
    const int32_t hidden = in->s.hidden;
    for (int32_t e = 0; e < in->of.n; e++) {
        const gm_entity_span span = gmt_span(&in->of, e);
        for (int32_t c = 0; c < hidden; c++) {
            const int32_t at = e * hidden + c;
            const double d = in->pre[at] > 0.0 ? in->wide[DY][at] * in->scale[at] : 0.0;
            dx[PROJECTED][span.first * 2 * hidden + c] += d;
            dx[PROJECTED][span.last * 2 * hidden + hidden + c] += d;
            dx[WIDTH][(span.last - span.first) * hidden + c] += d;
            dx[BIAS][c] += d;
        }
    }
}

/* y begins `at` elements behind its block: 0, or where no four columns are aligned. */
static gmt_buf forward(gmt_backend *b, const inputs *in, size_t at)
{
    gmt_buf y = gmt_act_poison(b, (size_t)(in->of.capacity * in->s.hidden) + at);
    gmt_ok(b, b->k->span_vector.forward(&(gm_span_vector){ .projected = in->x[PROJECTED].dev, .width = in->x[WIDTH].dev, .bias = in->x[BIAS].dev,
                                                           .span = in->of.span.dev, .token = in->of.token.dev, .cu_words = in->of.cu_words.dev,
                                                           .drop = in->drop, .y = gmt_at(&y, at), .n_rows = in->of.count.dev,
                                                           .capacity = in->of.capacity, .hidden = in->s.hidden },
                                        b->device));
    gmt_fetch(b, &y);
    return y;
}

static void forward_matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++)
        for (size_t at = 0; at < 2; at++) {
            const inputs in = make(b, shapes[i]);
            const size_t n = (size_t)(in.of.n * in.s.hidden);
            gmt_buf y = forward(b, &in, at);
            reference(&in);
            gmt_close(y.f32 + at, in.y, n, gmt_tol_act(b, 4), "y");
            for (size_t k = 0; k < n; k++) /* the very masks */
                if (fabs(in.pre[k]) > 1e-5) assert_true((y.f32[at + k] == 0.0f) == (in.pre[k] < 0.0 || in.scale[k] == 0.0));
            gmt_zero_from(&y, at + n, "y");
            assert_true(at == 0 || isnan(y.f32[0]));
        }
}

/* What span_logits adds up for a span is the vector of that span. */
static void is_what_the_logits_are_made_of(gmt_backend *b)
{
    enum { CLASSES = 5 };
    const shape s = { 8, 256, 0.1f };
    const inputs in = make(b, s);
    const size_t scores = (size_t)(in.of.words * s.widths * CLASSES);
    gmt_buf out = gmt_normal(b, (size_t)(CLASSES * s.hidden), 1.0f), out_bias = gmt_normal(b, CLASSES, 1.0f), logits = gmt_poison(b, scores);
    const gmt_buf y = forward(b, &in, 0);
    gmt_ok(b, b->k->span_logits.forward(&(gm_span_logits){ .projected = in.x[PROJECTED].dev, .width = in.x[WIDTH].dev, .bias = in.x[BIAS].dev,
                                                           .out = out.dev, .out_bias = out_bias.dev, .cu_words = in.of.cu_words.dev, .drop = in.drop,
                                                           .logits = logits.dev, .sequences = SEQUENCES, .widths = s.widths, .hidden = s.hidden,
                                                           .classes = CLASSES },
                                        b->device));
    gmt_fetch(b, &logits);
    for (int32_t e = 0; e < in.of.n; e++) {
        const gm_entity_span span = gmt_span(&in.of, e);
        double want[CLASSES];
        for (int32_t k = 0; k < CLASSES; k++) {
            want[k] = (double)out_bias.f32[k];
            for (int32_t c = 0; c < s.hidden; c++) want[k] += (double)out.f32[k * s.hidden + c] * (double)y.f32[e * s.hidden + c];
        }
        gmt_close(logits.f32 + (span.first * s.widths + span.last - span.first) * CLASSES, want, CLASSES, gmt_tol_f32((size_t)s.hidden) + 4.0 * gmt_rounding(b), "logits"); /* y was rounded, logits are not */
    }
}

enum { NONE = 8 };
/* bit i of `flags`: add to the gradient of input i; with NONE no gradient but dprojected is asked for. */
static void run_backward(gmt_backend *b, const inputs *in, const gmt_buf *y, unsigned flags, gmt_buf dx[3])
{
    gmt_ok(b, b->k->span_vector.backward(&(gm_span_vector_grad){ .y = y->dev, .dy = in->x[DY].dev, .span = in->of.span.dev,
                                                                 .cu_words = in->of.cu_words.dev, .cu_entities = in->of.cu.dev,
                                                                 .keep = 1.0f / (1.0f - in->s.p), .dprojected = dx[PROJECTED].dev,
                                                                 .dwidth = flags & NONE ? NULL : dx[WIDTH].dev, .dbias = flags & NONE ? NULL : dx[BIAS].dev,
                                                                 .add_dprojected = flags & 1, .add_dwidth = (flags & 2) != 0,
                                                                 .add_dbias = (flags & 4) != 0, .n_rows = in->of.count.dev, .sequences = SEQUENCES,
                                                                 .capacity = in->of.capacity, .words = in->of.words + SPARE_WORDS,
                                                                 .widths = in->s.widths, .hidden = in->s.hidden },
                                         b->device));
    for (int i = 0; i < 3; i++) gmt_fetch(b, &dx[i]);
}

static void outputs(gmt_backend *b, const inputs *in, unsigned flags, gmt_buf dx[3])
{
    const size_t row = 2 * (size_t)in->s.hidden;
    for (int i = 0; i < 3; i++) dx[i] = gmt_output(b, in->x[i].count, i == PROJECTED ? (SPARE_WORDS + 1) * row : 0, flags & 1u << i, i == PROJECTED);
}

static void check_backward(gmt_backend *b, shape s, unsigned flags)
{
    static const char *const names[3] = { "dprojected", "dwidth", "dbias" };
    const inputs in = make(b, s);
    const gmt_buf y = forward(b, &in, 0);
    const size_t row = 2 * (size_t)s.hidden, behind = (size_t)in.of.words * row;
    gmt_buf dx[3];
    double *want[PARTS] = { 0 };
    outputs(b, &in, flags, dx);
    for (int i = 0; i < 3; i++) want[i] = flags & 1u << i ? gmt_widened(b, &dx[i]) : gmt_doubles(b, in.x[i].count);
    reference(&in);
    reference_grad(&in, want);
    run_backward(b, &in, &y, flags, dx);
    for (int i = 0; i < (flags & NONE ? 1 : 3); i++)
        gmt_close(dx[i].f32, want[i], in.x[i].count, gmt_tol_f32((size_t)in.of.n) + (i == PROJECTED ? gmt_rounding(b) : 0.0), names[i]);
    for (int i = 1; i < 3 && flags & NONE; i++) gmt_rows_behind(&dx[i], 0, 0, names[i]);
    gmt_rows_behind(&dx[PROJECTED], behind, behind + (flags & 1 ? 0 : SPARE_WORDS * row), "dprojected");
}

static void backward_matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) {
        check_backward(b, shapes[i], 0);
        check_backward(b, shapes[i], 7);
    }
    for (unsigned flags = 1; flags < 7; flags++) check_backward(b, (shape){ 4, 20, 0.2f }, flags);
    check_backward(b, (shape){ 4, 20, 0.2f }, NONE);
}

/* No room for entities, and room that nobody fills: gradients are zero or stay. */
static void batch_without_an_entity(gmt_backend *b)
{
    for (int32_t capacity = 0; capacity < 2; capacity++)
        for (unsigned flags = 0; flags < 8; flags += 7) {
            inputs in = make(b, (shape){ 8, 40, 0.1f });
            gmt_buf dx[3];
            in.of.n = 0;
            in.of.capacity = capacity;
            in.of.count = gmt_i32(b, &in.of.n, 1);
            in.of.cu = gmt_i32(b, (const int32_t[SEQUENCES + 1]){ 0 }, SEQUENCES + 1);
            const gmt_buf y = forward(b, &in, 0);
            gmt_zero_from(&y, 0, "y");
            outputs(b, &in, flags, dx);
            double *before[3];
            for (int i = 0; i < 3; i++) before[i] = gmt_widened(b, &dx[i]);
            run_backward(b, &in, &y, flags, dx);
            for (int i = 0; i < 3; i++)
                for (size_t k = 0; k < in.x[i].count; k++) assert_true((double)dx[i].f32[k] == (flags ? before[i][k] : 0.0));
        }
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check_backward(b, (shape){ 4, 20, 0.2f }, 5);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const inputs in = make(b, (shape){ 8, 200, 0.1f });
    gmt_buf first[4];
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        gmt_buf got[4];
        got[3] = forward(b, &in, 0);
        outputs(b, &in, 0, got);
        run_backward(b, &in, &got[3], 0, got);
        for (int i = 0; i < 4; i++) {
            if (b->device->threads == 1) first[i] = got[i];
            assert_memory_equal(got[i].f32, first[i].f32, first[i].bytes);
        }
    }
}

static double loss(const void *of)
{
    const inputs *in = of;
    double sum = 0.0;
    reference(in);
    for (int32_t k = 0; k < in->of.n * in->s.hidden; k++) sum += in->wide[DY][k] * in->y[k];
    return sum;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    const inputs in = make(b, (shape){ 3, 5, 0.2f });
    double *dx[PARTS];
    for (int i = 0; i < 3; i++) dx[i] = gmt_doubles(b, in.x[i].count);
    reference(&in);
    reference_grad(&in, dx);
    for (int i = 0; i < 3; i++) gmt_slope(loss, &in, in.wide[i], in.x[i].count, dx[i], 1e-7, "dx");
}

GMT_MAIN("span_vector", GMT(forward_matches_reference), GMT(is_what_the_logits_are_made_of), GMT(backward_matches_reference),
         GMT(batch_without_an_entity), GMT(workspace_is_what_is_asked_for), GMT(same_bits_for_any_threads), GMT_F32(reference_is_the_derivative))
