/* gather against element-wise copies in double with the plain dropout mask. */
#include "tests/support/kernel_test.h"

#include <string.h>

#include "gather/gather.h"

/* Words of sentences with 0, 1, 7, 8, 9 and 33 words, and one sentence whose words stand beyond *n_rows. */
static const int32_t lengths[] = { 0, 1, 7, 8, 9, 33, 2 };
enum { SEQUENCES = 7, ROWS = 58, CAPACITY = 60, SOURCE = 131 };
static const int32_t widths[] = { 1, 31, 64, 300 }; /* beyond one tile of masks and not a multiple of 4 */
static const float rates[] = { 0.0f, 0.3f };

/* Distinct rows, neither in order nor next to each other; 131 is prime. What stands beyond the count points nowhere. */
static gmt_buf some_rows(gmt_backend *b)
{
    int32_t index[CAPACITY];
    for (int32_t m = 0; m < CAPACITY; m++) index[m] = m < ROWS ? (m * 37 + 5) % SOURCE : INT32_MAX;
    return gmt_i32(b, index, CAPACITY);
}

static double mask(gmt_backend *b, const gm_drop *drop, const gmt_buf *token, int32_t m, int32_t c)
{
    const gm_token t = ((const gm_token *)token->host)[m];
    return gmt_scale(drop, b->step.seed, t.sequence, (uint32_t)t.position, (uint32_t)c);
}

static void forward(gmt_backend *b, int32_t width, float p)
{
    const int32_t n_rows = ROWS;
    gmt_buf x = gmt_act(b, (size_t)SOURCE * (size_t)width, 1.0f), index = some_rows(b), n = gmt_i32(b, &n_rows, 1);
    gmt_buf token = gmt_tokens(b, lengths, SEQUENCES), out = gmt_act_poison(b, (size_t)CAPACITY * (size_t)width);
    const gm_drop drop = gmt_drop(b, p, GM_SITE_TAG_STATE, SEQUENCES);
    double *want = gmt_doubles(b, (size_t)ROWS * (size_t)width);
    for (int32_t m = 0; m < ROWS; m++)
        for (int32_t c = 0; c < width; c++)
            want[m * width + c] = (double)x.f32[index.i32[m] * width + c] * mask(b, &drop, &token, m, c);
    gmt_ok(b, b->k->gather.forward(&(gm_gather){ x.dev, index.dev, p > 0.0f ? token.dev : NULL, drop, out.dev, n.dev,
                                                 CAPACITY, width },
                                   b->device));
    gmt_fetch(b, &out);
    gmt_close(out.f32, want, (size_t)(ROWS * width), gmt_tol_act(b, 1), "out");
    for (int32_t m = 0; m < ROWS; m++) /* the mask itself has no tolerance */
        for (int32_t c = 0; c < width; c++) assert_true((out.f32[m * width + c] == 0.0f) == (want[m * width + c] == 0.0));
    gmt_zero_from(&out, (size_t)(ROWS * width), "out");
}

static void copies_rows(gmt_backend *b)
{
    for (size_t w = 0; w < GM_LEN(widths); w++)
        for (size_t p = 0; p < GM_LEN(rates); p++) forward(b, widths[w], rates[p]);
}

/* The transpose of the forward reference. */
static void backward(gmt_backend *b, int32_t width, float p, bool add)
{
    const int32_t n_rows = ROWS;
    const size_t total = (size_t)SOURCE * (size_t)width;
    gmt_buf dout = gmt_act(b, (size_t)CAPACITY * (size_t)width, 1.0f), index = some_rows(b);
    gmt_buf n = gmt_i32(b, &n_rows, 1), token = gmt_tokens(b, lengths, SEQUENCES);
    gmt_buf dx = add ? gmt_act(b, total, 1.0f) : gmt_act_poison(b, total);
    const gm_drop drop = gmt_drop(b, p, GM_SITE_TAG_STATE, SEQUENCES);
    double *want = gmt_doubles(b, total);
    for (size_t i = 0; i < total; i++) want[i] = add ? (double)dx.f32[i] : 0.0;
    for (int32_t m = 0; m < ROWS; m++)
        for (int32_t c = 0; c < width; c++)
            want[index.i32[m] * width + c] += (double)dout.f32[m * width + c] * mask(b, &drop, &token, m, c);
    gmt_ok(b, b->k->gather.backward(&(gm_gather_grad){ dout.dev, index.dev, p > 0.0f ? token.dev : NULL, drop, dx.dev, add,
                                                       n.dev, CAPACITY, SOURCE, width },
                                    b->device));
    gmt_close(gmt_fetch(b, &dx), want, total, gmt_tol_act(b, 2), "dx");
}

static void scatters_gradients(gmt_backend *b)
{
    for (size_t w = 0; w < GM_LEN(widths); w++)
        for (size_t p = 0; p < GM_LEN(rates); p++) {
            backward(b, widths[w], rates[p], false);
            backward(b, widths[w], rates[p], true);
        }
}

static void no_rows_give_zeros(gmt_backend *b)
{
    const int32_t none = 0, nowhere = INT32_MAX;
    gmt_buf x = gmt_act(b, 8, 1.0f), out = gmt_act_poison(b, 8), n = gmt_i32(b, &none, 1), dx = gmt_act_poison(b, 8);
    gmt_buf index = gmt_i32(b, &nowhere, 1);
    gmt_ok(b, b->k->gather.forward(&(gm_gather){ .x = x.dev, .index = index.dev, .out = out.dev, .n_rows = n.dev, .capacity = 1, .width = 8 }, b->device));
    gmt_ok(b, b->k->gather.backward(&(gm_gather_grad){ .dout = x.dev, .index = index.dev, .dx = dx.dev, .n_rows = n.dev, .capacity = 1, .source = 1, .width = 8 }, b->device));
    gmt_fetch(b, &out);
    gmt_fetch(b, &dx);
    gmt_zero_from(&out, 0, "out");
    gmt_zero_from(&dx, 0, "dx");
}

/* Capacity 0: a batch without words. Nothing is launched or touched. */
static void no_capacity_is_no_work(gmt_backend *b)
{
    const int32_t none = 0;
    gmt_buf x = gmt_act(b, 8, 1.0f), empty = gmt_act_poison(b, 0), n = gmt_i32(b, &none, 1), dx = gmt_act(b, 8, 1.0f);
    float before[8];
    memcpy(before, dx.f32, sizeof before);
    gmt_ok(b, b->k->gather.forward(&(gm_gather){ .x = x.dev, .out = empty.dev, .n_rows = n.dev, .width = 8 }, b->device));
    gmt_ok(b, b->k->gather.backward(&(gm_gather_grad){ .dout = empty.dev, .dx = dx.dev, .add = true, .n_rows = n.dev, .source = 1, .width = 8 }, b->device));
    gmt_fetch(b, &empty);
    assert_memory_equal(gmt_fetch(b, &dx), before, sizeof before);
}

GMT_MAIN("gather", GMT(copies_rows), GMT(scatters_gradients), GMT(no_rows_give_zeros),
         GMT(no_capacity_is_no_work))
