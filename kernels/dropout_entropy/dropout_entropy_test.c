/* dropout_entropy against plain loops in double with the same keys, and against what must hold: no dropout is the softmax,
 * several calls are one longer call, the place in a pack leaves no trace. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "dropout_entropy/dropout_entropy.h"

/* Sentences, some without an entity; entities may share words. */
enum { SEQUENCES = 4, WORDS = 20, ENTITIES = 6, MOST = ENTITIES * GM_ENTROPY_MAX_CLASSES };
static const int32_t words[SEQUENCES + 1] = { 0, 7, 7, 12, WORDS };
static const int32_t sequence[ENTITIES] = { 0, 0, 2, 3, 3, 3 };
static const gm_entity_span span[ENTITIES] = { { 0, 0 }, { 2, 5 }, { 7, 8 }, { 12, 19 }, { 13, 13 }, { 13, 19 } };
static const int32_t regions[SEQUENCES + 1] = { 0, 3, 3, 3, 40 }; /* sentence 2 has none, the last 37 */
static const uint32_t keys[SEQUENCES] = { 11, 0x80000000u, 7, 0xFFFFFFFFu };

/* rows of x: `samples` times ENTITIES where fresh, else ENTITIES. by_sentence: classes are the rows of w of the sentence, and null. */
typedef struct shape {
    int32_t width, classes, samples;
    float p, scale;
    bool is_fresh, by_sentence, has_bias;
} shape;

static const shape shapes[] = {
    { 256, 5, 3, 0.1f, 1.0f, false, false, true },  { 256, 5, 4, 0.3f, 1.0f, true, false, true },
    { 64, 0, 3, 0.1f, 0.125f, false, true, false }, { 33, 1, 2, 0.5f, 2.0f, false, false, false },
    { 7, 52, 2, 0.2f, 1.0f, true, false, true },    { 300, 128, 2, 0.1f, 0.1f, false, false, true },
    { 64, 0, 2, 0.0f, 1.0f, true, true, false },    { 1, 2, 1, 0.0f, 1.0f, false, false, true },
};

typedef struct problem {
    shape s;
    gmt_buf x, w, bias, null, span, token, cu_words, cu_rows, cu_scores, key, n;
    int32_t scores;           /* all classes of all entities */
} problem;

static int32_t rows_of(const problem *q, int32_t e) { return q->s.by_sentence ? regions[sequence[e] + 1] - regions[sequence[e]] : q->s.classes; }
static int32_t classes_of(const problem *q, int32_t e) { return rows_of(q, e) + q->s.by_sentence; }

static problem make(gmt_backend *b, shape s)
{
    const int32_t rows = s.by_sentence ? regions[SEQUENCES] : s.classes, count = ENTITIES;
    int32_t at[ENTITIES + 1] = { 0 };
    gm_token token[ENTITIES];
    problem q = { .s = s, .x = gmt_act(b, (size_t)((s.is_fresh ? s.samples : 1) * ENTITIES * s.width), 1.0f),
                  .w = gmt_act(b, (size_t)((rows + 1) * s.width), 0.5f), .cu_words = gmt_i32(b, words, SEQUENCES + 1), .n = gmt_i32(b, &count, 1) };
    for (int32_t c = rows * s.width; c < (rows + 1) * s.width; c++) q.w.f32[c] = NAN; /* behind the last class */
    gmt_push(b, &q.w);
    if (s.has_bias) q.bias = gmt_normal(b, (size_t)rows, 1.0f);
    if (s.by_sentence) {
        q.null = gmt_normal(b, (size_t)s.width, 0.5f);
        q.cu_rows = gmt_i32(b, regions, SEQUENCES + 1);
    }
    for (int32_t e = 0; e < ENTITIES; e++) {
        at[e + 1] = at[e] + classes_of(&q, e);
        token[e] = (gm_token){ sequence[e], e };
    }
    q.scores = at[ENTITIES];
    if (s.by_sentence) q.cu_scores = gmt_i32(b, at, ENTITIES + 1);
    q.token = gmt_bytes(b, token, sizeof token, ENTITIES);
    q.span = gmt_bytes(b, span, sizeof span, ENTITIES);
    q.key = gmt_bytes(b, keys, sizeof keys, SEQUENCES);
    return q;
}

typedef struct sums {
    gmt_buf prob, entropy;
} sums;

static sums zeros(gmt_backend *b, const problem *q)
{
    const double none[MOST] = { 0.0 };
    return (sums){ gmt_bytes(b, none, (size_t)q->scores * sizeof *none, (size_t)q->scores), gmt_bytes(b, none, 2 * ENTITIES * sizeof *none, 2 * ENTITIES) };
}

/* Samples first .. first + count - 1, added to what stands there. */
static void run(gmt_backend *b, const problem *q, int32_t first, int32_t count, sums *to)
{
    const shape *s = &q->s;
    const gm_dropout_entropy a = { .x = gmt_at(&q->x, s->is_fresh ? (size_t)(first * ENTITIES * s->width) : 0), .w = q->w.dev, .bias = q->bias.dev, .null = q->null.dev,
                                   .cu_rows = q->cu_rows.dev, .cu_scores = q->cu_scores.dev, .span = q->span.dev, .token = q->token.dev, .cu_words = q->cu_words.dev,
                                   .drop = { .p = s->p, .site = GM_SITE_SPAN_HIDDEN, .key = q->key.dev }, .prob = to->prob.dev, .entropy = to->entropy.dev, .n_rows = q->n.dev,
                                   .scale = s->scale, .first_draw = 5 + (uint32_t)first, .samples = count, .step = s->is_fresh ? ENTITIES : 0, .classes = s->classes,
                                   .capacity = ENTITIES + 2, .width = s->width };
    gmt_ok(b, b->k->dropout_entropy.forward(&a, b->device));
    gmt_fetch(b, &to->prob);
    gmt_fetch(b, &to->entropy);
}

/* What is compared with p. */
static float draw_of(const gmt_backend *b, int32_t e, int32_t sample, int32_t column)
{
    const uint32_t position = (uint32_t)(span[e].first - words[sequence[e]]) << 4 | (uint32_t)(span[e].last - span[e].first);
    const gm_philox4 bits = gm_philox(b->step.seed, (uint32_t)column / 4, 5 + (uint32_t)sample, keys[sequence[e]], gm_purpose(GM_SITE_SPAN_HIDDEN, 0, position));
    return gm_uniform(bits.word[column % 4]);
}

static double scale_of(const gmt_backend *b, const problem *q, int32_t e, int32_t sample, int32_t column)
{
    if (q->s.p == 0.0f) return 1.0;
    return draw_of(b, e, sample, column) >= q->s.p ? 1.0 / (1.0 - (double)q->s.p) : 0.0;
}

/* Softmax of one sample. */
static void softmax(const gmt_backend *b, const problem *q, int32_t e, int32_t sample, double *p)
{
    const shape *s = &q->s;
    const int32_t rows = rows_of(q, e), classes = classes_of(q, e), first = s->by_sentence ? regions[sequence[e]] : 0;
    const float *x = q->x.f32 + (s->is_fresh ? sample * ENTITIES + e : e) * s->width;
    double top = -INFINITY, sum = 0.0;
    for (int32_t c = 0; c < classes; c++) {
        const float *w = c < rows ? q->w.f32 + (first + c) * s->width : q->null.f32;
        p[c] = 0.0;
        for (int32_t i = 0; i < s->width; i++) p[c] += (double)x[i] * scale_of(b, q, e, sample, i) * (double)w[i];
        p[c] = p[c] * (double)s->scale + (s->has_bias && c < rows ? (double)q->bias.f32[c] : 0.0);
        top = fmax(top, p[c]);
    }
    for (int32_t c = 0; c < classes; c++) sum += p[c] = exp(p[c] - top);
    for (int32_t c = 0; c < classes; c++) p[c] /= sum;
}

static double surprise(double p) { return p > 0.0 ? -p * log(p) : 0.0; }

/* Entropy of {class 0, the others}, and what the others add to it. */
static void parts_of(const double *p, int32_t classes, double part[2])
{
    double all = 0.0;
    for (int32_t c = 0; c < classes; c++) all += surprise(p[c]);
    part[0] = classes > 1 ? surprise(p[0]) + surprise(1.0 - p[0]) : 0.0;
    part[1] = classes > 1 ? all - part[0] : 0.0;
}

static void close_to(double got, double want, double tolerance, const char *what, int32_t e)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s of entity %d is %.12g, expected %.12g", what, e, got, want);
}

static void check(gmt_backend *b, shape s)
{
    const problem q = make(b, s);
    sums got = zeros(b, &q);
    run(b, &q, 0, s.samples, &got);
    const double tolerance = (double)s.samples * gmt_tol_f32((size_t)s.width) * 8.0;
    for (int32_t e = 0, at = 0; e < ENTITIES; at += classes_of(&q, e++)) {
        double prob[GM_ENTROPY_MAX_CLASSES] = { 0.0 }, part[2] = { 0.0 };
        for (int32_t t = 0; t < s.samples; t++) {
            double p[GM_ENTROPY_MAX_CLASSES], of[2];
            softmax(b, &q, e, t, p);
            parts_of(p, classes_of(&q, e), of);
            for (int32_t c = 0; c < classes_of(&q, e); c++) prob[c] += p[c];
            for (int k = 0; k < 2; k++) part[k] += of[k];
        }
        for (int32_t c = 0; c < classes_of(&q, e); c++) close_to(got.prob.f64[at + c], prob[c], tolerance, "probability", e);
        close_to(got.entropy.f64[2 * e], part[0], tolerance, "entropy of class 0 and the others", e);
        close_to(got.entropy.f64[2 * e + 1], part[1], tolerance, "entropy of the others", e);
    }
}

static void matches_reference(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) check(b, shapes[i]);
}

/* Each of the four words of a counter. */
static void a_draw_of_exactly_p_is_kept(gmt_backend *b)
{
    for (int32_t column = 0; column < 4; column++)
        check(b, (shape){ .width = 8, .classes = 5, .samples = 1, .p = draw_of(b, 0, 0, column), .scale = 0.125f, .has_bias = true });
}

static void several_calls_are_one_longer_call(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++) {
        const problem q = make(b, shapes[i]);
        sums whole = zeros(b, &q), parts = zeros(b, &q);
        run(b, &q, 0, shapes[i].samples, &whole);
        for (int32_t t = 0; t < shapes[i].samples; t++) run(b, &q, t, 1, &parts);
        assert_memory_equal(whole.prob.f64, parts.prob.f64, whole.prob.bytes);
        assert_memory_equal(whole.entropy.f64, parts.entropy.f64, whole.entropy.bytes);
    }
}

/* All samples are the softmax, and its entropy is the mean of theirs: their mutual information is 0. */
static void no_dropout_is_the_softmax(gmt_backend *b)
{
    enum { SAMPLES = 10 };
    const problem q = make(b, (shape){ 256, 5, SAMPLES, 0.0f, 1.0f, false, false, true });
    sums got = zeros(b, &q);
    run(b, &q, 0, SAMPLES, &got);
    for (int32_t e = 0; e < ENTITIES; e++) {
        double p[GM_ENTROPY_MAX_CLASSES], mean[GM_ENTROPY_MAX_CLASSES], part[2];
        softmax(b, &q, e, 0, p);
        for (int32_t c = 0; c < 5; c++) close_to(mean[c] = got.prob.f64[5 * e + c] / SAMPLES, p[c], 1e-5, "probability", e);
        parts_of(mean, 5, part);
        for (int k = 0; k < 2; k++) close_to(part[k] - got.entropy.f64[2 * e + k] / SAMPLES, 0.0, 1e-6, "mutual information", e);
    }
}

/* Entities in another order, sentences at other places: the same sums, bit for bit. */
static void the_pack_leaves_no_trace(gmt_backend *b)
{
    static const int32_t other_words[SEQUENCES + 1] = { 0, 8, 13, 13, 20 }, new_sequence[SEQUENCES] = { 3, 2, 1, 0 };
    const shape s = { 256, 5, 4, 0.2f, 1.0f, false, false, true };
    const problem q = make(b, s);
    problem turned = q;
    uint32_t key[SEQUENCES];
    gm_token token[ENTITIES];
    gm_entity_span place[ENTITIES];
    gmt_buf x = gmt_act_zeros(b, q.x.count);
    for (int i = 0; i < SEQUENCES; i++) key[new_sequence[i]] = keys[i];
    for (int32_t e = 0; e < ENTITIES; e++) {
        const int32_t to = ENTITIES - 1 - e, shift = other_words[new_sequence[sequence[e]]] - words[sequence[e]];
        token[to] = (gm_token){ new_sequence[sequence[e]], 0 };
        place[to] = (gm_entity_span){ span[e].first + shift, span[e].last + shift };
        memcpy(x.f32 + to * s.width, q.x.f32 + e * s.width, (size_t)s.width * sizeof(float));
    }
    gmt_push(b, &x);
    turned.x = x;
    turned.cu_words = gmt_i32(b, other_words, SEQUENCES + 1);
    turned.key = gmt_bytes(b, key, sizeof key, SEQUENCES);
    turned.token = gmt_bytes(b, token, sizeof token, ENTITIES);
    turned.span = gmt_bytes(b, place, sizeof place, ENTITIES);
    sums want = zeros(b, &q), got = zeros(b, &q);
    run(b, &q, 0, s.samples, &want);
    run(b, &turned, 0, s.samples, &got);
    for (int32_t e = 0; e < ENTITIES; e++) {
        const int32_t to = ENTITIES - 1 - e;
        assert_memory_equal(got.prob.f64 + 5 * to, want.prob.f64 + 5 * e, 5 * sizeof(double));
        assert_memory_equal(got.entropy.f64 + 2 * to, want.entropy.f64 + 2 * e, 2 * sizeof(double));
    }
}

/* The mean of many samples is the expectation over all masks of three columns, within three standard errors. */
static void many_samples_find_the_expectation(gmt_backend *b)
{
    enum { WIDTH = 3, CLASSES = 4 };
    const int32_t samples = b->target->is_checked ? 500 : 10000;
    const shape s = { WIDTH, CLASSES, samples, 0.4f, 1.0f, false, false, true };
    problem q = make(b, s);
    sums got = zeros(b, &q);
    run(b, &q, 0, samples, &got);
    for (int32_t e = 0; e < ENTITIES; e++) {
        double mean[CLASSES] = { 0.0 }, square[CLASSES] = { 0.0 };
        for (int mask = 0; mask < 1 << WIDTH; mask++) {
            double p[CLASSES], sum = 0.0, share = 1.0;
            for (int i = 0; i < WIDTH; i++) share *= mask >> i & 1 ? 0.6 : 0.4;
            for (int c = 0; c < CLASSES; c++) {
                p[c] = (double)q.bias.f32[c];
                for (int i = 0; i < WIDTH; i++) p[c] += (mask >> i & 1) * (double)q.x.f32[e * WIDTH + i] * (double)q.w.f32[c * WIDTH + i] / 0.6;
                sum += p[c] = exp(p[c]);
            }
            for (int c = 0; c < CLASSES; c++) {
                mean[c] += share * p[c] / sum;
                square[c] += share * p[c] / sum * p[c] / sum;
            }
        }
        for (int c = 0; c < CLASSES; c++)
            close_to(got.prob.f64[CLASSES * e + c] / samples, mean[c], 3.0 * sqrt((square[c] - mean[c] * mean[c]) / samples) + 1e-6, "mean", e);
    }
}

/* Logits far apart: nothing overflows, what is sure has no entropy. */
static void large_logits_survive(gmt_backend *b)
{
    static const float x[ENTITIES] = { 1000.0f, -1000.0f, 200.0f, 100.0f, 0.0f, -90.0f }, w[3] = { 1.0f, 0.0f, -1.0f };
    problem q = make(b, (shape){ 1, 3, 1, 0.0f, 1.0f, false, false, false });
    q.x = gmt_act_f32(b, x, ENTITIES);
    q.w = gmt_act_f32(b, w, 3);
    sums got = zeros(b, &q);
    run(b, &q, 0, 1, &got);
    for (int32_t e = 0; e < ENTITIES; e++) {
        double p[3], part[2];
        softmax(b, &q, e, 0, p);
        parts_of(p, 3, part);
        for (int c = 0; c < 3; c++) close_to(got.prob.f64[3 * e + c], p[c], 1e-6, "probability", e);
        for (int k = 0; k < 2; k++) close_to(got.entropy.f64[2 * e + k], part[k], 1e-6, "entropy", e);
    }
}

/* Behind the true number of entities nothing is read or written. */
static void entities_behind_the_last(gmt_backend *b)
{
    problem q = make(b, shapes[0]);
    sums some = zeros(b, &q), none = zeros(b, &q);
    q.n = gmt_i32(b, &(const int32_t){ 2 }, 1);
    run(b, &q, 0, 2, &some);
    for (int32_t i = 0; i < q.scores; i++) assert_true((some.prob.f64[i] > 0.0) == (i < 2 * 5));
    q.n = gmt_i32(b, &(const int32_t){ 0 }, 1);
    run(b, &q, 0, 2, &none);
    for (int32_t i = 0; i < q.scores; i++) assert_true(none.prob.f64[i] == 0.0);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const problem q = make(b, shapes[0]);
    sums first = { 0 };
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        sums got = zeros(b, &q);
        run(b, &q, 0, 3, &got);
        if (b->device->threads == 1) first = got;
        assert_memory_equal(got.prob.f64, first.prob.f64, got.prob.bytes);
    }
}

GMT_MAIN("dropout_entropy", GMT(matches_reference), GMT(a_draw_of_exactly_p_is_kept), GMT(several_calls_are_one_longer_call), GMT(no_dropout_is_the_softmax),
         GMT(the_pack_leaves_no_trace), GMT(many_samples_find_the_expectation), GMT(large_logits_survive), GMT(entities_behind_the_last), GMT(same_bits_for_any_threads))
