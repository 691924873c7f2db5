/* distance_bias against one look-up a distance, and its gradient against central differences. Sums are of float32 in
 * either type of activations. */
#include "tests/support/kernel_test.h"

#include <stdlib.h>

#include "distance_bias/distance_bias.h"

/* MPNet's; one bucket a side; more reach than the last bucket needs; a reach that cuts the last buckets off; gaps. */
static const gm_distance_buckets all_buckets[] = {
    { .first = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91 }, .half = 16, .reach = 91 },
    { .first = { 0 }, .half = 1, .reach = 5 },
    { .first = { 0 }, .half = 1, .reach = 0 },
    { .first = { 0, 1, 3 }, .half = 3, .reach = 200 },
    { .first = { 0, 2, 5, 9 }, .half = 4, .reach = 4 },
};
static const int32_t heads[] = { 1, 2, 12, 33 };

static int32_t bucket_of(const gm_distance_buckets *b, int32_t d)
{
    int32_t found = 0;
    for (int32_t i = 0; i < b->half; i++)
        if (abs(d) >= b->first[i]) found = i;
    return d > 0 ? b->half + found : found;
}

static size_t table_size(const gm_distance_buckets *b, int32_t n) { return 2 * (size_t)b->half * (size_t)n; }
static size_t bias_size(const gm_distance_buckets *b, int32_t n) { return (2 * (size_t)b->reach + 1) * (size_t)n; }

/* bias or, the other way round, the sums of dbias: calls back with the element of each. */
static void each(const gm_distance_buckets *b, int32_t n, const double *from, double *to, bool back)
{
    for (int32_t h = 0; h < n; h++)
        for (int32_t d = -b->reach; d <= b->reach; d++) {
            const int32_t cell = h * (2 * b->reach + 1) + b->reach + d, row = bucket_of(b, d) * n + h;
            if (back)
                to[row] += from[cell];
            else
                to[cell] = from[row];
        }
}

static double *doubles_of(gmt_backend *b, const gmt_buf *x)
{
    double *to = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) to[i] = (double)x->f32[i];
    return to;
}

static void forward(gmt_backend *b, const gm_distance_buckets *of, int32_t n)
{
    gmt_buf table = gmt_normal(b, table_size(of, n), 1.0f), bias = gmt_poison(b, bias_size(of, n));
    double *want = gmt_doubles(b, bias.count);
    each(of, n, doubles_of(b, &table), want, false);
    gmt_ok(b, b->k->distance_bias.forward(&(gm_distance_bias){ table.dev, bias.dev, *of, n }, b->device));
    gmt_close(gmt_fetch(b, &bias), want, bias.count, 0.0, "bias"); /* copies: not a bit may differ */
}

static void spreads_buckets(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(all_buckets); i++)
        for (size_t h = 0; h < GM_LEN(heads); h++) forward(b, &all_buckets[i], heads[h]);
}

static void backward(gmt_backend *b, const gm_distance_buckets *of, int32_t n)
{
    gmt_buf dbias = gmt_normal(b, bias_size(of, n), 1.0f), dtable = gmt_normal(b, table_size(of, n), 1.0f);
    double *want = doubles_of(b, &dtable);
    each(of, n, doubles_of(b, &dbias), want, true);
    gmt_ok(b, b->k->distance_bias.backward(&(gm_distance_bias_grad){ dbias.dev, dtable.dev, *of, n }, b->device));
    gmt_close(gmt_fetch(b, &dtable), want, dtable.count, gmt_tol_f32((size_t)of->reach + 1), "dtable");
}

static void adds_up_distances(gmt_backend *b)
{
    for (size_t i = 0; i < GM_LEN(all_buckets); i++)
        for (size_t h = 0; h < GM_LEN(heads); h++) backward(b, &all_buckets[i], heads[h]);
}

/* A weighted sum of the bias, by the table. */
typedef struct objective { const double *table, *weight; double *bias; } objective;
enum { HEADS = 2 };

static double value(const void *of)
{
    const objective *o = of;
    double sum = 0.0;
    each(&all_buckets[0], HEADS, o->table, o->bias, false);
    for (size_t i = 0; i < bias_size(&all_buckets[0], HEADS); i++) sum += o->weight[i] * o->bias[i];
    return sum;
}

static void reference_agrees_with_differences(gmt_backend *b)
{
    const size_t n = table_size(&all_buckets[0], HEADS), cells = bias_size(&all_buckets[0], HEADS);
    gmt_buf table = gmt_normal(b, n, 1.0f), weight = gmt_normal(b, cells, 1.0f);
    double *x = doubles_of(b, &table), *want = gmt_doubles(b, n);
    const objective o = { x, doubles_of(b, &weight), gmt_doubles(b, cells) };
    each(&all_buckets[0], HEADS, o.weight, want, true);
    gmt_slope(value, &o, x, n, want, 1e-6, "dtable");
}

GMT_MAIN("distance_bias", GMT_F32(spreads_buckets), GMT_F32(adds_up_distances), GMT_F32(reference_agrees_with_differences))
