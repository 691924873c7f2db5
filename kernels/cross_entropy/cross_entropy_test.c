/* cross_entropy against log-sum-exp in double. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "cross_entropy/cross_entropy.h"

enum { ROWS = 1100, MANY_ROWS = 8200 }; /* beyond one block of waiting losses; beyond the rows that a GPU's warps take at once */

/* Loss of a row without the scale; probabilities to p. */
static double reference(const double *logits, int32_t classes, int32_t label, double *p)
{
    double top = logits[0], sum = 0.0;
    for (int32_t c = 1; c < classes; c++) top = fmax(top, logits[c]);
    for (int32_t c = 0; c < classes; c++) sum += exp(logits[c] - top);
    for (int32_t c = 0; c < classes; c++) p[c] = exp(logits[c] - top) / sum;
    return top + log(sum) - logits[label];
}

static gmt_buf labels(gmt_backend *b, int32_t rows, int32_t classes)
{
    uint8_t label[MANY_ROWS];
    for (int32_t r = 0; r < rows; r++) label[r] = (uint8_t)(r % 7 == 3 ? GM_NO_LABEL : r * 5 % classes);
    return gmt_bytes(b, label, (size_t)rows, (size_t)rows);
}

/* in_place: dlogits is logits. */
static void check(gmt_backend *b, int32_t rows, int32_t classes, float sigma, bool in_place)
{
    const size_t total = (size_t)(rows * classes);
    const float scale = 0.125f;
    const double before = 3.5;
    gmt_buf x = gmt_act(b, total, sigma), label = labels(b, rows, classes), factor = gmt_f32(b, &scale, 1);
    gmt_buf loss = gmt_bytes(b, &before, sizeof before, 1), grad = in_place ? x : gmt_act_poison(b, total);
    double *want = gmt_doubles(b, total), want_loss = 0.0;
    for (int32_t r = 0; r < rows; r++) {
        double logits[GM_NO_LABEL], p[GM_NO_LABEL];
        if (label.u8[r] == GM_NO_LABEL) continue;
        for (int32_t c = 0; c < classes; c++) logits[c] = (double)x.f32[r * classes + c];
        want_loss += reference(logits, classes, label.u8[r], p);
        for (int32_t c = 0; c < classes; c++) want[r * classes + c] = (double)scale * (p[c] - (c == label.u8[r]));
    }
    gmt_ok(b, b->k->cross_entropy.forward(&(gm_cross_entropy){ x.dev, label.dev, factor.dev, loss.dev, grad.dev, rows, classes },
                                          b->device));
    gmt_close(gmt_fetch(b, &grad), want, total, gmt_tol_f32((size_t)classes) * (1.0 + (double)sigma) + gmt_rounding(b), "dlogits");
    gmt_fetch(b, &loss);
    want_loss = before + (double)scale * want_loss;
    assert_true(fabs(*loss.f64 - want_loss) <= gmt_tol_f32((size_t)classes) * fabs(want_loss));
}

static void matches_reference(gmt_backend *b)
{
    static const int32_t classes[] = { 1, 2, 5, 17, 64 };
    for (size_t c = 0; c < GM_LEN(classes); c++) {
        check(b, ROWS, classes[c], 1.0f, false);
        check(b, ROWS, classes[c], 1.0f, true);
    }
    check(b, MANY_ROWS, 3, 1.0f, false);
}

/* Rows that pad a batch carry no label: whatever their logits are, they reach neither the loss nor the gradient. */
static void unlabelled_rows_are_not_read(gmt_backend *b)
{
    enum { ALL = 40, LABELLED = 3, CLASSES = 5 };
    uint8_t label[ALL];
    const double before = 3.5;
    double loss[2] = { 0.0 };
    for (int in_place = 0; in_place < 2; in_place++) {
        gmt_buf x = gmt_act(b, ALL * CLASSES, 1.0f), factor = gmt_f32(b, &(float){ 0.5f }, 1);
        memset(label, GM_NO_LABEL, sizeof label);
        for (int r = 0; r < LABELLED; r++) label[r * 5 + 1] = (uint8_t)r;
        for (size_t i = 0; i < x.count; i++)
            if (label[i / CLASSES] == GM_NO_LABEL) x.f32[i] = i % 2 ? NAN : INFINITY;
        gmt_push(b, &x);
        gmt_buf to = gmt_bytes(b, label, sizeof label, ALL), sum = gmt_bytes(b, &before, sizeof before, 1);
        gmt_buf grad = in_place ? x : gmt_act_poison(b, x.count);
        gmt_ok(b, b->k->cross_entropy.forward(&(gm_cross_entropy){ x.dev, to.dev, factor.dev, sum.dev, grad.dev, ALL, CLASSES },
                                              b->device));
        gmt_fetch(b, &grad);
        for (size_t i = 0; i < grad.count; i++)
            assert_true(label[i / CLASSES] == GM_NO_LABEL ? grad.f32[i] == 0.0f : fabsf(grad.f32[i]) > 0.0f);
        loss[in_place] = *(double *)gmt_fetch(b, &sum);
        assert_true(loss[in_place] > before && isfinite(loss[in_place]));
        memset(label, GM_NO_LABEL, sizeof label); /* and a batch without any */
        to = gmt_bytes(b, label, sizeof label, ALL);
        for (int32_t rows = 0; rows <= ALL; rows += ALL)
            gmt_ok(b, b->k->cross_entropy.forward(&(gm_cross_entropy){ x.dev, to.dev, factor.dev, sum.dev, grad.dev, rows, CLASSES },
                                                  b->device));
        assert_true(*(double *)gmt_fetch(b, &sum) == loss[in_place]);
    }
}

/* The largest exponent is 0: no overflow, and a certain row's gradient is 0 rather than NaN. */
static void large_logits_survive(gmt_backend *b)
{
    check(b, ROWS, 5, 1e4f, false);
    check(b, 40, 100, 1e4f, false); /* the largest is any lane's, in any of its rounds */
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check(b, 41, 5, 1.0f, false);
}

static void loss_alone(gmt_backend *b)
{
    const float scale = 1.0f;
    const double zero = 0.0;
    const uint8_t label = 1;
    gmt_buf x = gmt_act_zeros(b, 4), factor = gmt_f32(b, &scale, 1), loss = gmt_bytes(b, &zero, sizeof zero, 1);
    gmt_buf one = gmt_bytes(b, &label, 1, 1);
    gmt_ok(b, b->k->cross_entropy.forward(&(gm_cross_entropy){ .logits = x.dev, .label = one.dev, .scale = factor.dev,
                                                               .loss = loss.dev, .rows = 1, .classes = 4 },
                                          b->device));
    gmt_fetch(b, &loss);
    assert_true(fabs(*loss.f64 - log(4.0)) < 1e-7);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    gmt_buf x = gmt_act(b, ROWS * 5, 2.0f), label = labels(b, ROWS, 5), factor = gmt_zeros(b, 1), first = { 0 };
    *factor.f32 = 0.3f;
    gmt_push(b, &factor);
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        const double zero = 0.0;
        gmt_buf loss = gmt_bytes(b, &zero, sizeof zero, 1), grad = gmt_act_poison(b, ROWS * 5);
        gmt_ok(b, b->k->cross_entropy.forward(&(gm_cross_entropy){ x.dev, label.dev, factor.dev, loss.dev, grad.dev, ROWS, 5 },
                                              b->device));
        gmt_fetch(b, &loss);
        if (b->device->threads == 1) first = loss;
        assert_memory_equal(loss.f64, first.f64, sizeof(double));
    }
}

static void reference_matches_differences(gmt_backend *b)
{
    enum { CLASSES = 6 };
    gmt_buf values = gmt_normal(b, CLASSES, 2.0f);
    double x[CLASSES], p[CLASSES], unused[CLASSES];
    for (int c = 0; c < CLASSES; c++) x[c] = (double)values.f32[c];
    for (int32_t label = 0; label < CLASSES; label++) {
        reference(x, CLASSES, label, p);
        for (int c = 0; c < CLASSES; c++) {
            const double old = x[c], step = 1e-5;
            x[c] = old + step;
            const double up = reference(x, CLASSES, label, unused);
            x[c] = old - step;
            const double down = reference(x, CLASSES, label, unused);
            x[c] = old;
            assert_true(fabs((up - down) / (2.0 * step) - (p[c] - (c == label))) < 1e-8);
        }
    }
}

GMT_MAIN("cross_entropy", GMT(matches_reference), GMT(unlabelled_rows_are_not_read), GMT(large_logits_survive),
         GMT(workspace_is_what_is_asked_for), GMT(loss_alone), GMT(same_bits_for_any_threads), GMT_F32(reference_matches_differences))
