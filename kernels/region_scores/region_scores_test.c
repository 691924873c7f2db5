/* region_scores against a reference in double, whose gradients are checked by central differences. */
#include "tests/support/entities.h"

#include <math.h>

#include "region_scores/region_scores.h"

typedef struct shape {
    int32_t width;
    float p, sigma;           /* of dropout; of queries and keys */
} shape;

static const shape shapes[] = { { 64, 0.0f, 1.0f }, { 64, 0.1f, 1.0f }, { 1, 0.0f, 2.0f }, { 33, 0.3f, 1.0f }, { 130, 0.5f, 0.7f }, { 300, 0.1f, 4.0f } };

/* Sentences without words, entities or regions; fewer regions than lanes of a warp, with null as many, more, and far more. */
enum { SEQUENCES = 12, WIDTHS = 8, SPARE = 3, SPARE_REGIONS = 2, PARTS = 3 };
static const int32_t words[SEQUENCES] = { 0, 1, 7, 4, 8, 9, 33, 20, 5, 3, 2, 0 };
static const int32_t regions[SEQUENCES] = { 3, 1, 2, 0, 31, 32, 5, 64, 36, 0, 100, 0 };
static const int32_t entities[SEQUENCES] = { 0, 1, 0, 2, 2, 3, 40, 2, 1, 0, 1, 0 };
static const float scale = 0.125f, inv_entities = 0.25f;
enum { Q, KEYS, EMPTY }; /* inputs, and their gradients in the same order; EMPTY: the null key */

typedef struct inputs {
    gmt_entities of;
    shape s;
    gmt_buf x[PARTS], target, inv;
    double *wide[PARTS], *mask, *goal; /* mask [n, width] */
    double *score, *prob, *dscore; /* at cu_scores */
    gm_drop drop;
} inputs;

/* Distributions with zeros; every fifth entity has no target at all, every fifth one only on null. */
static void make_targets(gmt_backend *b, inputs *in)
{
    in->target = gmt_normal(b, (size_t)in->of.scores, 1.0f);
    for (int32_t e = 0; e < in->of.n; e++) {
        const int32_t begin = in->of.cu_scores.i32[e], end = in->of.cu_scores.i32[e + 1];
        float sum = 0.0f;
        for (int32_t k = begin; k < end; k++) {
            float *t = &in->target.f32[k];
            *t = e % 5 == 1 ? 0.0f : e % 5 == 2 || gmt_regions_of(&in->of, e) == 0 ? (k == end - 1) : fmaxf(*t, 0.0f);
            sum += *t;
        }
        for (int32_t k = begin; k < end && sum > 0.0f; k++) in->target.f32[k] /= sum;
    }
    gmt_push(b, &in->target);
    in->goal = gmt_widened(b, &in->target);
}

static inputs make(gmt_backend *b, shape s)
{
    inputs in = { .of = gmt_entities_make(b, words, regions, entities, SEQUENCES, WIDTHS, SPARE), .s = s };
    const size_t width = (size_t)s.width, scores = (size_t)in.of.scores;
    in.drop = gmt_drop(b, s.p, GM_SITE_REGION_QUERY, SEQUENCES);
    in.x[Q] = gmt_act(b, (size_t)in.of.capacity * width, s.sigma);
    in.x[KEYS] = gmt_act(b, (size_t)(in.of.regions + SPARE_REGIONS) * width, s.sigma);
    in.x[EMPTY] = gmt_normal(b, width, s.sigma);
    for (int i = 0; i < PARTS; i++) in.wide[i] = gmt_widened(b, &in.x[i]);
    in.mask = gmt_doubles(b, (size_t)in.of.n * width);
    for (int32_t e = 0; e < in.of.n; e++)
        for (int32_t c = 0; c < s.width; c++)
            in.mask[e * s.width + c] = gmt_scale(&in.drop, b->step.seed, gmt_sequence(&in.of, e), gmt_place(&in.of, e), (uint32_t)c);
    in.score = gmt_doubles(b, scores);
    in.prob = gmt_doubles(b, scores);
    in.dscore = gmt_doubles(b, scores);
    in.inv = gmt_f32(b, &inv_entities, 1);
    make_targets(b, &in);
    return in;
}

/* The key that place k of entity e is scored against, among all keys or as null. */
static const double *key_of(const inputs *in, int32_t e, int32_t k)
{
    const int32_t r = in->of.cu_regions.i32[gmt_sequence(&in->of, e)] + k;
    return k < gmt_regions_of(&in->of, e) ? in->wide[KEYS] + r * in->s.width : in->wide[EMPTY];
}

/* Scores, probabilities and dscore; returns the loss. */
static double reference(const inputs *in)
{
    double loss = 0.0;
    for (int32_t e = 0; e < in->of.n; e++) {
        const int32_t begin = in->of.cu_scores.i32[e], places = gmt_regions_of(&in->of, e) + 1;
        double *x = in->score + begin, *p = in->prob + begin, sum = 0.0, goals = 0.0, top = -INFINITY;
        for (int32_t k = 0; k < places; k++) {
            const double *key = key_of(in, e, k);
            x[k] = 0.0;
            for (int32_t c = 0; c < in->s.width; c++) x[k] += (double)scale * in->wide[Q][e * in->s.width + c] * in->mask[e * in->s.width + c] * key[c];
            top = fmax(top, x[k]);
            goals += in->goal[begin + k];
        }
        for (int32_t k = 0; k < places; k++) sum += exp(x[k] - top);
        for (int32_t k = 0; k < places; k++) {
            const double t = in->goal[begin + k];
            p[k] = exp(x[k] - top) / sum;
            in->dscore[begin + k] = goals > 0.0 && places > 1 ? (double)inv_entities * (goals * p[k] - t) : 0.0;
            if (t > 0.0 && places > 1) loss += (double)inv_entities * t * (log(t) - x[k] + top + log(sum));
        }
    }
    return loss;
}

/* Adds to dx, by the dscore that is given. */
static void reference_grad(const inputs *in, const double *dscore, double *const dx[PARTS])
{
    for (int32_t e = 0; e < in->of.n; e++)
        for (int32_t k = 0; k <= gmt_regions_of(&in->of, e); k++) {
            const double *key = key_of(in, e, k), d = dscore[in->of.cu_scores.i32[e] + k] * (double)scale;
            double *dkey = k < gmt_regions_of(&in->of, e) ? dx[KEYS] + (key - in->wide[KEYS]) : dx[EMPTY];
            for (int32_t c = 0; c < in->s.width; c++) {
                dx[Q][e * in->s.width + c] += d * key[c] * in->mask[e * in->s.width + c];
                dkey[c] += d * in->wide[Q][e * in->s.width + c] * in->mask[e * in->s.width + c];
            }
        }
}

typedef struct outputs { gmt_buf prob, entropy, argmax, dscore, loss; } outputs;

static outputs forward(gmt_backend *b, const inputs *in, bool with_loss)
{
    const size_t scores = (size_t)in->of.scores, rows = (size_t)in->of.capacity;
    const double before = 1.5;
    outputs y = { gmt_poison(b, scores + 1), gmt_poison(b, rows), gmt_poison(b, rows), gmt_poison(b, scores + 1), gmt_bytes(b, &before, sizeof before, 1) };
    gmt_ok(b, b->k->region_scores.forward(&(gm_region_scores){ .q = in->x[Q].dev, .keys = in->x[KEYS].dev, .null = in->x[EMPTY].dev, .span = in->of.span.dev,
                                                               .token = in->of.token.dev, .cu_words = in->of.cu_words.dev,
                                                               .cu_regions = in->of.cu_regions.dev, .cu_scores = in->of.cu_scores.dev, .drop = in->drop,
                                                               .scale = scale, .prob = y.prob.dev, .argmax = y.argmax.dev, .entropy = y.entropy.dev,
                                                               .target = with_loss ? in->target.dev : NULL, .inv_entities = with_loss ? in->inv.dev : NULL,
                                                               .loss = with_loss ? y.loss.dev : NULL, .dscore = with_loss ? y.dscore.dev : NULL,
                                                               .n_rows = in->of.count.dev, .capacity = in->of.capacity, .width = in->s.width },
                                          b->device));
    gmt_fetch(b, &y.prob);
    gmt_fetch(b, &y.entropy);
    gmt_fetch(b, &y.argmax);
    gmt_fetch(b, &y.dscore);
    gmt_fetch(b, &y.loss);
    return y;
}

/* How far a score may be off: sums of `width` products, the largest of which counts. */
static double score_tolerance(const inputs *in)
{
    double top = 0.0;
    for (int32_t k = 0; k < in->of.scores; k++) top = fmax(top, fabs(in->score[k]));
    return gmt_tol_f32((size_t)in->s.width) * (1.0 + top);
}

static void check_forward(gmt_backend *b, shape s, bool with_loss)
{
    const inputs in = make(b, s);
    const size_t scores = (size_t)in.of.scores;
    const outputs y = forward(b, &in, with_loss);
    const double loss = reference(&in), near = score_tolerance(&in);
    double *entropy = gmt_doubles(b, (size_t)in.of.n);
    gmt_close(y.prob.f32, in.prob, scores, 2.0 * near, "prob");
    assert_true(isnan(y.prob.f32[scores]));
    for (int32_t e = 0; e < in.of.n; e++) {
        const int32_t begin = in.of.cu_scores.i32[e], places = gmt_regions_of(&in.of, e) + 1, best = y.argmax.i32[e];
        assert_in_range(best, 0, places - 1);
        for (int32_t k = 0; k < places; k++) {
            entropy[e] -= in.prob[begin + k] * log(in.prob[begin + k]);
            assert_true(in.score[begin + k] <= in.score[begin + best] + near);
        }
        if (places == 1) assert_true(y.prob.f32[begin] == 1.0f && y.entropy.f32[e] == 0.0f);
    }
    gmt_close(y.entropy.f32, entropy, (size_t)in.of.n, 8.0 * near, "entropy");
    for (int32_t e = in.of.n; e < in.of.capacity; e++) assert_true(isnan(y.entropy.f32[e]) && isnan(y.argmax.f32[e]));
    assert_true(fabs(*y.loss.f64 - 1.5 - (with_loss ? loss : 0.0)) <= 2.0 * near * (1.0 + fabs(loss)));
    if (!with_loss) {
        gmt_rows_behind(&y.dscore, 0, 0, "dscore");
        return;
    }
    gmt_close(y.dscore.f32, in.dscore, scores, 4.0 * near, "dscore");
    for (size_t k = 0; k < scores; k++) assert_true(in.dscore[k] != 0.0 || y.dscore.f32[k] == 0.0f);
    assert_true(isnan(y.dscore.f32[scores]));
}

static void forward_matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) {
        check_forward(b, shapes[i], true);
        check_forward(b, shapes[i], false);
    }
}

/* Scores that are all alike, so that the first of them wins; and scores that are no numbers, whose place must exist still. */
static void first_of_equals_wins(gmt_backend *b)
{
    inputs in = make(b, (shape){ 20, 0.0f, 0.0f });
    for (int nan = 0; nan < 2; nan++) {
        const outputs y = forward(b, &in, false);
        for (int32_t e = 0; e < in.of.n; e++) assert_int_equal(y.argmax.i32[e], 0);
        for (size_t k = 0; k < in.x[Q].count; k++) in.x[Q].f32[k] = NAN;
        gmt_push(b, &in.x[Q]);
    }
}

/* Differences of 60 and more: what underflows counts nothing, and the rest is as it should be. */
static void large_scores(gmt_backend *b)
{
    inputs in = make(b, (shape){ 16, 0.0f, 20.0f });
    const outputs y = forward(b, &in, true);
    reference(&in);
    for (int32_t k = 0; k < in.of.scores; k++) assert_true(fabs((double)y.prob.f32[k] - in.prob[k]) < 1e-3 && isfinite(y.dscore.f32[k]));
    for (int32_t e = 0; e < in.of.n; e++) assert_true(y.entropy.f32[e] >= 0.0f && y.entropy.f32[e] < 5.0f);
    assert_true(isfinite(*y.loss.f64));
}

enum { NO_Q = 8, NO_KEYS = 16, NO_NULL = 32 };
/* bit i of `flags`: add to the gradient of input i; NO_...: it is not asked for. */
static void run_backward(gmt_backend *b, const inputs *in, const gmt_buf *dscore, unsigned flags, gmt_buf dx[PARTS])
{
    gmt_ok(b, b->k->region_scores.backward(&(gm_region_scores_grad){ .q = in->x[Q].dev, .keys = in->x[KEYS].dev, .null = in->x[EMPTY].dev,
                                                                     .span = in->of.span.dev, .token = in->of.token.dev,
                                                                     .cu_words = in->of.cu_words.dev, .cu_regions = in->of.cu_regions.dev,
                                                                     .cu_entities = in->of.cu.dev, .cu_scores = in->of.cu_scores.dev, .drop = in->drop,
                                                                     .scale = scale, .dscore = dscore->dev, .dq = flags & NO_Q ? NULL : dx[Q].dev,
                                                                     .dkeys = flags & NO_KEYS ? NULL : dx[KEYS].dev,
                                                                     .dnull = flags & NO_NULL ? NULL : dx[EMPTY].dev, .add_dq = flags & 1,
                                                                     .add_dkeys = (flags & 2) != 0, .add_dnull = (flags & 4) != 0,
                                                                     .n_rows = in->of.count.dev, .sequences = SEQUENCES, .capacity = in->of.capacity,
                                                                     .regions = in->of.regions + SPARE_REGIONS, .width = in->s.width },
                                           b->device));
    for (int i = 0; i < PARTS; i++) gmt_fetch(b, &dx[i]);
}

/* Of each gradient: the numbers of true rows, and of those behind them that belong to it. */
static void sizes_of(const inputs *in, size_t size[PARTS], size_t behind[PARTS])
{
    const size_t width = (size_t)in->s.width;
    memcpy(size, (const size_t[]){ (size_t)in->of.n * width, (size_t)in->of.regions * width, width }, PARTS * sizeof *size);
    memcpy(behind, (const size_t[]){ (size_t)(in->of.capacity - in->of.n) * width, SPARE_REGIONS * width, 0 }, PARTS * sizeof *behind);
}

static void grads_of(gmt_backend *b, const inputs *in, unsigned flags, gmt_buf dx[PARTS])
{
    size_t size[PARTS], behind[PARTS];
    sizes_of(in, size, behind);
    for (int i = 0; i < PARTS; i++) dx[i] = gmt_output(b, size[i], behind[i] + 2, flags & 1u << i, i != EMPTY);
}

static void check_backward(gmt_backend *b, shape s, unsigned flags)
{
    static const char *const names[PARTS] = { "dq", "dkeys", "dnull" };
    const inputs in = make(b, s);
    gmt_buf dscore = gmt_normal(b, (size_t)in.of.scores, 1.0f), dx[PARTS];
    size_t size[PARTS], behind[PARTS];
    double *want[PARTS];
    sizes_of(&in, size, behind);
    grads_of(b, &in, flags, dx);
    for (int i = 0; i < PARTS; i++) want[i] = flags & 1u << i ? gmt_widened(b, &dx[i]) : gmt_doubles(b, size[i]);
    reference_grad(&in, gmt_widened(b, &dscore), want);
    run_backward(b, &in, &dscore, flags, dx);
    for (int i = 0; i < PARTS; i++) {
        const bool is_asked = !(flags & (unsigned)NO_Q << i);
        if (is_asked) gmt_close(dx[i].f32, want[i], size[i], gmt_tol_f32(100) + (i == EMPTY ? 0.0 : gmt_rounding(b)), names[i]);
        gmt_rows_behind(&dx[i], is_asked ? size[i] : 0, is_asked ? size[i] + (flags & 1u << i ? 0 : behind[i]) : 0, names[i]);
    }
}

static void backward_matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) {
        check_backward(b, shapes[i], 0);
        check_backward(b, shapes[i], 7);
    }
    for (unsigned flags = 1; flags < 7; flags++) check_backward(b, (shape){ 12, 0.2f, 1.0f }, flags);
    check_backward(b, (shape){ 12, 0.2f, 1.0f }, NO_Q);
    check_backward(b, (shape){ 12, 0.2f, 1.0f }, NO_KEYS);
    check_backward(b, (shape){ 12, 0.2f, 1.0f }, NO_NULL);
}

/* What forward leaves is what backward takes. */
static void gradients_of_the_loss(gmt_backend *b)
{
    const inputs in = make(b, (shape){ 64, 0.1f, 1.0f });
    const outputs y = forward(b, &in, true);
    size_t size[PARTS], behind[PARTS];
    gmt_buf dx[PARTS];
    double *want[PARTS];
    sizes_of(&in, size, behind);
    grads_of(b, &in, 0, dx);
    for (int i = 0; i < PARTS; i++) want[i] = gmt_doubles(b, size[i]);
    reference(&in);
    reference_grad(&in, in.dscore, want);
    run_backward(b, &in, &y.dscore, 0, dx);
    for (int i = 0; i < PARTS; i++) gmt_close(dx[i].f32, want[i], size[i], 8.0 * score_tolerance(&in) + (i == EMPTY ? 0.0 : gmt_rounding(b)), "dx");
}

/* No room for entities, and room that nobody fills. */
static void batch_without_an_entity(gmt_backend *b)
{
    for (int32_t capacity = 0; capacity < 2; capacity++)
        for (unsigned flags = 0; flags < 8; flags += 7) {
            inputs in = make(b, (shape){ 24, 0.1f, 1.0f });
            gmt_buf dscore = gmt_poison(b, (size_t)in.of.scores), dx[PARTS];
            size_t size[PARTS], behind[PARTS];
            in.of.n = 0;
            in.of.capacity = capacity;
            in.of.scores = 0;
            in.of.count = gmt_i32(b, &in.of.n, 1);
            in.of.cu = gmt_i32(b, (const int32_t[SEQUENCES + 1]){ 0 }, SEQUENCES + 1);
            const outputs y = forward(b, &in, true);
            assert_true(*y.loss.f64 == 1.5);
            sizes_of(&in, size, behind);
            grads_of(b, &in, flags, dx);
            double *before[PARTS];
            for (int i = 0; i < PARTS; i++) before[i] = gmt_widened(b, &dx[i]);
            run_backward(b, &in, &dscore, flags, dx);
            for (int i = 0; i < PARTS; i++)
                for (size_t k = 0; k < size[i]; k++) assert_true((double)dx[i].f32[k] == (flags ? before[i][k] : 0.0));
        }
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check_forward(b, (shape){ 12, 0.2f, 1.0f }, true);
    check_backward(b, (shape){ 12, 0.2f, 1.0f }, 5);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const inputs in = make(b, (shape){ 64, 0.1f, 1.0f });
    gmt_buf first[5];
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        gmt_buf got[5];
        const outputs y = forward(b, &in, true);
        grads_of(b, &in, 0, got);
        run_backward(b, &in, &y.dscore, 0, got);
        got[3] = y.prob;
        got[4] = y.loss;
        for (int i = 0; i < 5; i++) {
            if (b->device->threads == 1) first[i] = got[i];
            assert_memory_equal(got[i].f32, first[i].f32, first[i].bytes);
        }
    }
}

static double loss_of(const void *of) { return reference(of); }

static void reference_is_the_derivative(gmt_backend *b)
{
    const inputs in = make(b, (shape){ 5, 0.2f, 1.0f });
    double *dx[PARTS];
    for (int i = 0; i < PARTS; i++) dx[i] = gmt_doubles(b, in.x[i].count);
    reference(&in);
    reference_grad(&in, in.dscore, dx);
    for (int i = 0; i < PARTS; i++) gmt_slope(loss_of, &in, in.wide[i], in.x[i].count, dx[i], 1e-6, "dx");
}

GMT_MAIN("region_scores", GMT(forward_matches_reference), GMT(first_of_equals_wins), GMT(large_scores), GMT(backward_matches_reference),
         GMT(gradients_of_the_loss), GMT(batch_without_an_entity), GMT(workspace_is_what_is_asked_for), GMT(same_bits_for_any_threads),
         GMT_F32(reference_is_the_derivative))
