/* grad_norm against sums in double, and against the fixed tree of float sums bit for bit. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "grad_norm/grad_norm.h"

enum { BLOCKS = 3, SHARDS_MOST = 13 };
static const int64_t sizes[BLOCKS] = { 2 * GM_NORM_CHUNK + 1037, 5, 0 };

typedef struct gradients {
    gmt_buf shard[BLOCKS][SHARDS_MOST];
    float *list[BLOCKS][SHARDS_MOST]; /* what the kernel gets */
    gmt_buf partial, norm, scale, loss; /* loss without .dev: NULL */
    int32_t shards;
    int64_t size[BLOCKS];
} gradients;

static gmt_buf partials(gmt_backend *b)
{
    enum { MOST = 8 };
    double poison[MOST];
    for (int i = 0; i < MOST; i++) poison[i] = NAN;
    return gmt_bytes(b, poison, sizeof poison, MOST);
}

static gradients make(gmt_backend *b, int32_t shards, float sigma)
{
    gradients g = { .shards = shards, .norm = gmt_poison(b, 1), .scale = gmt_poison(b, 1) };
    for (int k = 0; k < BLOCKS; k++)
        for (int32_t s = 0; s < shards; s++) {
            g.shard[k][s] = gmt_normal(b, (size_t)sizes[k], sigma);
            g.list[k][s] = g.shard[k][s].dev;
        }
    memcpy(g.size, sizes, sizeof sizes);
    g.partial = partials(b);
    return g;
}

static void run(gmt_backend *b, gradients *g, float max)
{
    gm_grad_norm a = { .size = { g->size[0], g->size[1], g->size[2] }, .blocks = BLOCKS, .shards = g->shards,
                       .partial = g->partial.dev, .loss = g->loss.dev, .max = max, .norm = g->norm.dev, .scale = g->scale.dev };
    for (int k = 0; k < BLOCKS; k++) a.shard[k] = g->list[k];
    gmt_ok(b, b->k->grad_norm.forward(&a, b->device));
    gmt_fetch(b, &g->norm);
    gmt_fetch(b, &g->scale);
    gmt_fetch(b, &g->partial);
}

/* The tree as the contract words it: neighbours, then neighbours at distance 2, 4, ... */
static float tree_sum(const gradients *g, int block, size_t i)
{
    float x[SHARDS_MOST];
    for (int32_t s = 0; s < g->shards; s++) x[s] = g->shard[block][s].f32[i];
    for (int32_t d = 1; d < g->shards; d *= 2)
        for (int32_t s = 0; s + d < g->shards; s += 2 * d) x[s] += x[s + d];
    return x[0];
}

static void sums_and_norm_match(gmt_backend *b)
{
    for (int32_t shards = 1; shards <= SHARDS_MOST; shards++) {
        gradients g = make(b, shards, 1.0f);
        double squares = 0.0;
        for (int k = 0; k < BLOCKS; k++)
            for (size_t i = 0; i < (size_t)sizes[k]; i++) {
                double sum = 0.0;
                for (int32_t s = 0; s < shards; s++) sum += (double)g.shard[k][s].f32[i];
                squares += sum * sum;
            }
        float *want[BLOCKS];
        for (int k = 0; k < BLOCKS; k++) {
            want[k] = gmt_zeros(b, (size_t)sizes[k]).f32;
            for (size_t i = 0; i < (size_t)sizes[k]; i++) want[k][i] = tree_sum(&g, k, i);
        }
        run(b, &g, 1.0f);
        const double norm = sqrt(squares), scale = fmin(1.0, 1.0 / (norm + 1e-6));
        gmt_close(g.norm.f32, &norm, 1, gmt_tol_f32((size_t)shards), "norm");
        gmt_close(g.scale.f32, &scale, 1, gmt_tol_f32((size_t)shards), "scale");
        for (int k = 0; k < BLOCKS; k++) {
            gmt_fetch(b, &g.shard[k][0]);
            for (size_t i = 0; i < (size_t)sizes[k]; i++) assert_true(g.shard[k][0].f32[i] == want[k][i]);
        }
    }
}

/* A GPU takes the list of shards as an argument, which has room for so many; the cpu has no limit. */
static void too_many_shards_are_refused(gmt_backend *b)
{
    if (b->target->isa != NULL) return;
    float *none[129] = { NULL };
    for (int32_t shards = 0; shards <= 129; shards += 129) {
        gm_grad_norm a = { .size = { 4 }, .shard = { none }, .blocks = 1, .shards = shards };
        assert_int_equal(b->k->grad_norm.forward(&a, b->device), GM_ERR_CONFIG);
        assert_non_null(strstr(b->device->err->text, "1 to 128 shards"));
    }
}

static void small_norm_is_not_scaled(gmt_backend *b)
{
    gradients g = make(b, 2, 1e-6f);
    run(b, &g, 1.0f);
    assert_true(*g.scale.f32 == 1.0f && *g.norm.f32 > 0.0f);
}

static void max_zero_never_scales(gmt_backend *b)
{
    gradients g = make(b, 2, 10.0f);
    run(b, &g, 0.0f);
    assert_true(*g.scale.f32 == 1.0f && *g.norm.f32 > 100.0f);
}

static void all_zero_gradients(gmt_backend *b)
{
    gradients g = make(b, 3, 0.0f);
    run(b, &g, 1.0f);
    assert_true(*g.scale.f32 == 1.0f && *g.norm.f32 == 0.0f);
}

static void not_finite_is_reported(gmt_backend *b)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    for (size_t k = 0; k < GM_LEN(bad); k++) {
        gradients g = make(b, 2, 1.0f);
        g.shard[1][1].f32[4] = bad[k];
        gmt_push(b, &g.shard[1][1]);
        run(b, &g, 1.0f);
        assert_true(!isfinite(*g.norm.f32) && *g.scale.f32 == 0.0f);
    }
}

/* Nobody looks at the losses between two kernels: AdamW must be told here. The norm itself is a good one. */
static void loss_not_finite_is_factor_zero(gmt_backend *b)
{
    enum { SHARDS = 5 };
    static const double bad[] = { NAN, -NAN, INFINITY, -INFINITY };
    gradients g = make(b, SHARDS, 1e-6f);
    for (size_t k = 0; k < GM_LEN(bad); k++)
        for (int at = -1; at < SHARDS; at++) { /* -1: all are finite, however large */
            double loss[SHARDS] = { 1.0, 0.0, -3.0, 1e300, -1e300 };
            if (at >= 0) loss[at] = bad[k];
            g.loss = gmt_bytes(b, loss, sizeof loss, SHARDS);
            run(b, &g, 1.0f);
            assert_true(*g.scale.f32 == (at >= 0 ? 0.0f : 1.0f) && isfinite(*g.norm.f32) && *g.norm.f32 > 0.0f);
        }
}

/* Blocks of touched rows are as large as their capacity, and zero behind the rows: that shows in no bit. */
static void zeros_behind_change_nothing(gmt_backend *b)
{
    enum { SHARDS = 3 };
    gradients g = make(b, SHARDS, 1.0f), longer = g;
    longer.norm = gmt_poison(b, 1);
    longer.scale = gmt_poison(b, 1);
    for (int k = 0; k < BLOCKS; k++) {
        longer.size[k] = sizes[k] + GM_NORM_CHUNK + 3;
        for (int s = 0; s < SHARDS; s++) {
            gmt_buf whole = gmt_zeros(b, (size_t)longer.size[k]);
            memcpy(whole.f32, g.shard[k][s].f32, g.shard[k][s].bytes);
            gmt_push(b, &whole);
            longer.shard[k][s] = whole;
            longer.list[k][s] = whole.dev;
        }
    }
    longer.partial = partials(b);
    run(b, &g, 1.0f);
    run(b, &longer, 1.0f);
    assert_memory_equal(g.norm.f32, longer.norm.f32, sizeof(float));
    assert_memory_equal(g.scale.f32, longer.scale.f32, sizeof(float));
    for (int k = 0; k < BLOCKS; k++) {
        gmt_fetch(b, &g.shard[k][0]);
        gmt_fetch(b, &longer.shard[k][0]);
        assert_memory_equal(g.shard[k][0].f32, longer.shard[k][0].f32, g.shard[k][0].bytes);
        gmt_zero_from(&longer.shard[k][0], (size_t)sizes[k], "the sum of the shards");
    }
}

/* 1e30 squared is beyond float: the sum of squares is taken in double. */
static void large_gradients_survive(gmt_backend *b)
{
    gradients g = make(b, 2, 1e30f);
    run(b, &g, 1.0f);
    assert_true(isfinite(*g.norm.f32) && *g.norm.f32 > 1e31f && *g.scale.f32 > 0.0f);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    gradients first = { 0 };
    for (int threads = 1; threads <= 3; threads++) {
        b->stream = 0;
        b->device->threads = threads;
        gradients g = make(b, 5, 1.0f);
        run(b, &g, 1.0f);
        gmt_fetch(b, &g.shard[0][0]);
        if (threads == 1) first = g;
        assert_memory_equal(g.norm.f32, first.norm.f32, sizeof(float));
        assert_memory_equal(g.partial.f64, first.partial.f64, g.partial.bytes);
        assert_memory_equal(g.shard[0][0].f32, first.shard[0][0].f32, g.shard[0][0].bytes);
    }
}

GMT_MAIN("grad_norm", GMT(sums_and_norm_match), GMT(too_many_shards_are_refused), GMT(small_norm_is_not_scaled), GMT(max_zero_never_scales),
         GMT(all_zero_gradients), GMT(not_finite_is_reported), GMT(loss_not_finite_is_factor_zero),
         GMT(zeros_behind_change_nothing), GMT(large_gradients_survive), GMT(same_bits_for_any_threads))
