/* region_triplet against a reference in double that walks over pairs; its gradients are checked by central differences. */
#include "tests/support/entities.h"

#include <math.h>

#include "region_triplet/region_triplet.h"

typedef struct shape {
    int32_t width;
    bool is_code_form;
} shape;

/* The cosine of numbers has no slope, so width 1 is for the code form. */
static const shape shapes[] = { { 64, false }, { 64, true }, { 1, true }, { 33, false }, { 130, true }, { 520, false }, { 520, true } };

/* Sentences without words, entities or regions; fewer regions than warps of a block, as many as lanes, more than threads. */
enum { SEQUENCES = 10, WIDTHS = 8, SPARE = 3, SPARE_ROWS = 2, PARTS = 2, MOST_COLUMNS = 520 };
static const int32_t words[SEQUENCES] = { 0, 1, 7, 4, 8, 9, 12, 20, 5, 0 };
static const int32_t regions[SEQUENCES] = { 3, 1, 2, 0, 33, 6, 5, 4, 140, 0 };
static const int32_t entities[SEQUENCES] = { 0, 1, 0, 2, 2, 5, 12, 3, 1, 0 };
static const float margin = 0.5f, weight = 0.75f, inv_entities = 0.25f;
enum { H, V }; /* inputs, and their gradients in the same order */

typedef struct inputs {
    gmt_entities of;
    shape s;
    gmt_buf x[PARTS], iou, inv;
    double *wide[PARTS];
} inputs;

/* Every fourth entity has no positive region, every fourth none that is negative; some regions are at .5 exactly. */
static void make_ious(gmt_backend *b, inputs *in)
{
    in->iou = gmt_normal(b, (size_t)in->of.scores, 0.35f);
    for (int32_t e = 0; e < in->of.n; e++)
        for (int32_t k = in->of.cu_scores.i32[e]; k < in->of.cu_scores.i32[e + 1]; k++) {
            float *iou = &in->iou.f32[k];
            const float any = fminf(fabsf(*iou), 1.0f);
            *iou = k == in->of.cu_scores.i32[e + 1] - 1 ? NAN : e % 4 == 1 ? any * 0.5f : e % 4 == 2 ? 0.51f + any * 0.49f : k % 5 == 2 ? 0.5f : any;
        }
    gmt_push(b, &in->iou);
}

static inputs make(gmt_backend *b, shape s)
{
    inputs in = { .of = gmt_entities_make(b, words, regions, entities, SEQUENCES, WIDTHS, SPARE), .s = s, .inv = gmt_f32(b, &inv_entities, 1) };
    in.x[H] = gmt_act(b, (size_t)(in.of.words + SPARE_ROWS) * (size_t)s.width, 1.0f);
    in.x[V] = gmt_act(b, (size_t)(in.of.regions + SPARE_ROWS) * (size_t)s.width, 1.0f);
    for (int i = 0; i < PARTS; i++) in.wide[i] = gmt_widened(b, &in.x[i]);
    make_ious(b, &in);
    return in;
}

/* D(a, v); with da its derivatives times d are added to da and dv. */
static double distance(const inputs *in, const double *a, const double *v, double d, double *da, double *dv)
{
    double dot = 0.0, aa = 0.0, vv = 0.0, square = 0.0;
    for (int32_t c = 0; c < in->s.width; c++) {
        const double difference = a[c] - v[c] + 1e-6;
        dot += a[c] * v[c];
        aa += a[c] * a[c];
        vv += v[c] * v[c];
        square += difference * difference;
    }
    const bool is_null = aa < 1e-16 || vv < 1e-16;
    const double cosine = is_null ? 0.0 : dot / sqrt(aa * vv);
    for (int32_t c = 0; c < in->s.width && da != NULL; c++) {
        if (in->s.is_code_form) {
            da[c] += d * (a[c] - v[c] + 1e-6) / sqrt(square);
            dv[c] -= d * (a[c] - v[c] + 1e-6) / sqrt(square);
        } else if (!is_null) {
            da[c] += d * (cosine * a[c] / aa - v[c] / sqrt(aa * vv));
            dv[c] += d * (cosine * v[c] / vv - a[c] / sqrt(aa * vv));
        }
    }
    return in->s.is_code_form ? sqrt(square) : 1.0 - cosine;
}

/* Sums over the pairs of entity e with anchor a: their number, and the hinge; with da, times `factor`, its derivatives. */
static double pairs_of(const inputs *in, int32_t e, const double *a, double factor, double *da, double *dv, int32_t *pairs)
{
    const int32_t width = in->s.width, row = in->of.cu_regions.i32[gmt_sequence(&in->of, e)], n = gmt_regions_of(&in->of, e);
    const float *iou = in->iou.f32 + in->of.cu_scores.i32[e];
    double sum = 0.0;
    *pairs = 0;
    for (int32_t p = 0; p < n; p++)
        for (int32_t q = 0; q < n; q++) {
            const int32_t vp = (row + p) * width, vq = (row + q) * width;
            if (!(iou[p] > 0.5f) || iou[q] > 0.5f || (in->s.is_code_form && iou[q] == 0.5f)) continue;
            const double hinge = distance(in, a, in->wide[V] + vp, 0.0, NULL, NULL) - distance(in, a, in->wide[V] + vq, 0.0, NULL, NULL) +
                                 (double)margin * (1.0 - (double)iou[in->s.is_code_form ? p : q]);
            ++*pairs;
            sum += fmax(hinge, 0.0);
            if (hinge <= 0.0 || da == NULL) continue;
            distance(in, a, in->wide[V] + vp, factor, da, dv + vp);
            distance(in, a, in->wide[V] + vq, -factor, da, dv + vq);
        }
    return sum;
}

/* Returns the loss; adds to dx unless it is NULL. */
static double reference(const inputs *in, double *const *dx)
{
    const int32_t width = in->s.width;
    double loss = 0.0, a[MOST_COLUMNS], da[MOST_COLUMNS];
    for (int32_t e = 0; e < in->of.n; e++) {
        const gm_entity_span span = gmt_span(&in->of, e);
        const double share = 1.0 / (span.last - span.first + 1), scale = (double)weight * (double)inv_entities;
        int32_t pairs;
        for (int32_t c = 0; c < width; c++) {
            a[c] = da[c] = 0.0;
            for (int32_t w = span.first; w <= span.last; w++) a[c] += share * in->wide[H][w * width + c];
        }
        const double sum = pairs_of(in, e, a, 0.0, NULL, NULL, &pairs);
        if (pairs == 0) continue;
        loss += scale * sum / pairs;
        if (dx == NULL) continue;
        pairs_of(in, e, a, scale / pairs, da, dx[V], &pairs);
        for (int32_t w = span.first; w <= span.last; w++)
            for (int32_t c = 0; c < width; c++) dx[H][w * width + c] += share * da[c];
    }
    return loss;
}

typedef struct outputs { gmt_buf anchor, danchor, distance, pull, own, loss; } outputs;

static outputs forward(gmt_backend *b, const inputs *in)
{
    const size_t rows = (size_t)(in->of.capacity * in->s.width), scores = (size_t)in->of.scores;
    const double before = 1.5;
    outputs y = { gmt_poison(b, rows), gmt_poison(b, rows), gmt_poison(b, scores), gmt_poison(b, scores), gmt_poison(b, scores),
                  gmt_bytes(b, &before, sizeof before, 1) };
    gmt_ok(b, b->k->region_triplet.forward(&(gm_region_triplet){ .h = in->x[H].dev, .v = in->x[V].dev, .span = in->of.span.dev, .token = in->of.token.dev,
                                                                 .cu_regions = in->of.cu_regions.dev, .cu_scores = in->of.cu_scores.dev,
                                                                 .iou = in->iou.dev, .margin = margin, .weight = weight,
                                                                 .is_code_form = in->s.is_code_form, .inv_entities = in->inv.dev, .loss = y.loss.dev,
                                                                 .anchor = y.anchor.dev, .danchor = y.danchor.dev, .distance = y.distance.dev,
                                                                 .pull = y.pull.dev, .own = y.own.dev, .n_rows = in->of.count.dev,
                                                                 .capacity = in->of.capacity, .width = in->s.width },
                                           b->device));
    gmt_fetch(b, &y.loss);
    gmt_fetch(b, &y.distance);
    return y;
}

enum { NO_H = 4, NO_V = 8 };
/* bit i of `flags`: add to the gradient of input i; NO_...: it is not asked for. */
static void run_backward(gmt_backend *b, const inputs *in, const outputs *y, unsigned flags, gmt_buf dx[PARTS])
{
    gmt_ok(b, b->k->region_triplet.backward(&(gm_region_triplet_grad){ .v = in->x[V].dev, .span = in->of.span.dev, .cu_words = in->of.cu_words.dev,
                                                                       .cu_regions = in->of.cu_regions.dev, .cu_entities = in->of.cu.dev,
                                                                       .cu_scores = in->of.cu_scores.dev, .is_code_form = in->s.is_code_form,
                                                                       .anchor = y->anchor.dev, .danchor = y->danchor.dev, .pull = y->pull.dev,
                                                                       .own = y->own.dev, .dh = flags & NO_H ? NULL : dx[H].dev,
                                                                       .dv = flags & NO_V ? NULL : dx[V].dev, .add_dh = flags & 1,
                                                                       .add_dv = (flags & 2) != 0, .sequences = SEQUENCES,
                                                                       .words = in->of.words + SPARE_ROWS, .regions = in->of.regions + SPARE_ROWS,
                                                                       .width = in->s.width },
                                            b->device));
    for (int i = 0; i < PARTS; i++) gmt_fetch(b, &dx[i]);
}

static size_t size_of(const inputs *in, int part) { return (size_t)((part == H ? in->of.words : in->of.regions) * in->s.width); }

static void grads_of(gmt_backend *b, const inputs *in, unsigned flags, gmt_buf dx[PARTS])
{
    for (int i = 0; i < PARTS; i++) dx[i] = gmt_output(b, size_of(in, i), (size_t)((SPARE_ROWS + 1) * in->s.width), flags & 1u << i, true);
}

static void check(gmt_backend *b, shape s, unsigned flags)
{
    static const char *const names[PARTS] = { "dh", "dv" };
    const inputs in = make(b, s);
    const size_t behind = (size_t)(SPARE_ROWS * s.width);
    gmt_buf dx[PARTS];
    double *want[PARTS];
    grads_of(b, &in, flags, dx);
    for (int i = 0; i < PARTS; i++) want[i] = flags & 1u << i ? gmt_widened(b, &dx[i]) : gmt_doubles(b, size_of(&in, i));
    const double loss = reference(&in, want);
    const outputs y = forward(b, &in);
    run_backward(b, &in, &y, flags, dx);
    assert_true(fabs(*y.loss.f64 - 1.5 - loss) <= gmt_tol_f32((size_t)s.width) * (1.0 + loss));
    for (int i = 0; i < PARTS; i++) {
        const bool is_asked = !(flags & (unsigned)NO_H << i);
        const size_t size = size_of(&in, i);
        if (is_asked) gmt_close(dx[i].f32, want[i], size, 4.0 * gmt_tol_f32((size_t)s.width) + gmt_rounding(b), names[i]);
        gmt_rows_behind(&dx[i], is_asked ? size : 0, is_asked ? size + (flags & 1u << i ? 0 : behind) : 0, names[i]);
    }
}

static void matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) check(b, shapes[i], (unsigned)i % 4);
    for (int form = 0; form < 2; form++)
        for (unsigned flags = 0; flags <= NO_V; flags += flags < 4 ? 1 : 4) check(b, (shape){ 12, form }, flags);
}

/* The place of none has no distance, and nobody reads its IoU. */
static void none_has_no_place_in_what_is_kept(gmt_backend *b)
{
    for (int form = 0; form < 2; form++) {
        const inputs in = make(b, (shape){ 12, form });
        outputs y = forward(b, &in);
        gmt_fetch(b, &y.pull);
        gmt_fetch(b, &y.own);
        for (int32_t e = 0; e < in.of.n; e++) {
            const int32_t none = in.of.cu_scores.i32[e + 1] - 1;
            assert_true(isnan(y.distance.f32[none]) && isnan(y.pull.f32[none]) && isnan(y.own.f32[none]));
        }
    }
}

/* A word state or a region of zeros, a region that is the anchor: the loss is finite, and so are all gradients. */
static void vectors_without_a_direction(gmt_backend *b)
{
    for (int form = 0; form < 2; form++) {
        const shape s = { 24, form };
        inputs in = make(b, s);
        gmt_buf dx[PARTS];
        double *want[PARTS];
        memset(in.x[H].f32, 0, size_of(&in, H) / 2 * sizeof(float));
        for (size_t k = 0; k < size_of(&in, V); k++) /* every third region is zero, so some meet an anchor of zero */
            if (k / 24 % 3 == 0) in.x[V].f32[k] = 0.0f;
        for (int i = 0; i < PARTS; i++) {
            gmt_push(b, &in.x[i]);
            in.wide[i] = gmt_widened(b, &in.x[i]);
            want[i] = gmt_doubles(b, size_of(&in, i));
        }
        const double loss = reference(&in, want);
        const outputs y = forward(b, &in);
        grads_of(b, &in, 0, dx);
        run_backward(b, &in, &y, 0, dx);
        assert_true(fabs(*y.loss.f64 - 1.5 - loss) <= gmt_tol_f32(24) * (1.0 + loss));
        for (int i = 0; i < PARTS; i++) gmt_close(dx[i].f32, want[i], size_of(&in, i), 4.0 * gmt_tol_f32(24) + gmt_rounding(b), "dx");
    }
}

/* No room for entities, and room that nobody fills. */
static void batch_without_an_entity(gmt_backend *b)
{
    for (int32_t capacity = 0; capacity < 2; capacity++)
        for (unsigned flags = 0; flags < 4; flags += 3) {
            inputs in = make(b, (shape){ 24, false });
            gmt_buf dx[PARTS];
            in.of.n = 0;
            in.of.capacity = capacity;
            in.of.count = gmt_i32(b, &in.of.n, 1);
            in.of.cu = gmt_i32(b, (const int32_t[SEQUENCES + 1]){ 0 }, SEQUENCES + 1);
            const outputs y = forward(b, &in);
            assert_true(*y.loss.f64 == 1.5);
            grads_of(b, &in, flags, dx);
            double *before[PARTS] = { gmt_widened(b, &dx[H]), gmt_widened(b, &dx[V]) };
            run_backward(b, &in, &y, flags, dx);
            for (int i = 0; i < PARTS; i++)
                for (size_t k = 0; k < size_of(&in, i); k++) assert_true((double)dx[i].f32[k] == (flags ? before[i][k] : 0.0));
        }
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check(b, (shape){ 12, false }, 1);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const inputs in = make(b, (shape){ 64, false });
    gmt_buf first[3];
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        gmt_buf got[3];
        const outputs y = forward(b, &in);
        grads_of(b, &in, 0, got);
        run_backward(b, &in, &y, 0, got);
        got[2] = y.loss;
        for (int i = 0; i < 3; i++) {
            if (b->device->threads == 1) first[i] = got[i];
            assert_memory_equal(got[i].f32, first[i].f32, first[i].bytes);
        }
    }
}

static double loss_of(const void *of) { return reference(of, NULL); }

static void reference_is_the_derivative(gmt_backend *b)
{
    for (int form = 0; form < 2; form++) {
        const inputs in = make(b, (shape){ 3, form });
        double *dx[PARTS];
        for (int i = 0; i < PARTS; i++) dx[i] = gmt_doubles(b, size_of(&in, i));
        reference(&in, dx);
        for (int i = 0; i < PARTS; i++) gmt_slope(loss_of, &in, in.wide[i], size_of(&in, i), dx[i], 1e-6, i == H ? "dh" : "dv");
    }
}

GMT_MAIN("region_triplet", GMT(matches_reference), GMT(none_has_no_place_in_what_is_kept), GMT(vectors_without_a_direction), GMT(batch_without_an_entity),
         GMT(workspace_is_what_is_asked_for), GMT(same_bits_for_any_threads), GMT_F32(reference_is_the_derivative))
