/* linear with packed weights, which only the CPU has, against plain loops in double: all heights of a strip and outputs that
 * fill a panel, or not; and what makes it more than fast: a row's bits depend on neither the other rows nor the threads. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "backend/packed.h"
#include "linear/linear.h"

typedef struct problem {
    int32_t rows, in, out;
    gm_activation act;
    gmt_buf x, w, packed, bias, y;
} problem;

static bool is_cpu(const gmt_backend *b) { return b->device->module == NULL; }
static gm_float_type type_of(const gmt_backend *b) { return b->device->element == 2 ? GM_BF16 : GM_FP32; }

static problem make(gmt_backend *b, int32_t rows, int32_t in, int32_t out, gm_activation act, bool has_bias)
{
    problem p = { rows, in, out, act, .x = gmt_act(b, (size_t)(rows * in), 1.0f), .w = gmt_act(b, (size_t)(out * in), 0.5f) };
    const size_t bytes = gm_packed_bytes(type_of(b), out, in);
    p.packed = gmt_zeros(b, bytes / sizeof(float));
    gm_pack_weight(type_of(b), p.w.dev, out, in, p.packed.dev, 1);
    if (has_bias) p.bias = gmt_normal(b, (size_t)out, 0.5f);
    p.y = gmt_act_poison(b, (size_t)(rows * out));
    return p;
}

static void run(gmt_backend *b, problem *p, gm_device *dev)
{
    const gm_linear a = { .x = p->x.dev, .packed = p->packed.dev, .b = p->bias.dev, .y = p->y.dev, .act = p->act, .rows = p->rows, .in = p->in, .out = p->out };
    gmt_ok(b, b->k->linear.forward(&a, dev)); /* without w: nothing else can have been read */
    gmt_fetch(b, &p->y);
}

static double activated(gm_activation act, double x)
{
    return act == GM_LINEAR_GELU ? 0.5 * x * erfc(-x / sqrt(2.0)) : act == GM_LINEAR_QUICK_GELU ? x / (1.0 + exp(-1.702 * x)) : x;
}

static void check(gmt_backend *b, int32_t rows, int32_t in, int32_t out, gm_activation act, bool has_bias)
{
    problem p = make(b, rows, in, out, act, has_bias);
    double *want = gmt_doubles(b, (size_t)(rows * out));
    for (int32_t r = 0; r < rows; r++)
        for (int32_t o = 0; o < out; o++) {
            double sum = has_bias ? (double)p.bias.f32[o] : 0.0;
            for (int32_t i = 0; i < in; i++) sum += (double)p.x.f32[r * in + i] * (double)p.w.f32[o * in + i];
            want[r * out + o] = activated(act, sum);
        }
    run(b, &p, b->device);
    gmt_close(p.y.f32, want, (size_t)(rows * out), gmt_tol_act(b, (size_t)in), "y");
}

static void all_row_counts_and_outputs(gmt_backend *b)
{
    static const int32_t outs[] = { 1, 5, 31, 32, 33, 67 };
    if (!is_cpu(b)) return;
    for (int32_t rows = 1; rows <= 33; rows++)
        for (size_t i = 0; i < GM_LEN(outs); i++) check(b, rows, i % 2 == 0 ? 18 : 64, outs[i], (gm_activation)(rows % 3), rows % 2 == 0);
}

/* More rows than one pass over the weights serves; inputs that come one by one in fp32. */
static void blocks_of_rows(gmt_backend *b)
{
    if (!is_cpu(b)) return;
    check(b, 250, 640, 40, GM_LINEAR_PLAIN, true);
    check(b, 1, 4096, 33, GM_LINEAR_GELU, true);
    check(b, 0, 6, 33, GM_LINEAR_PLAIN, true);
    if (type_of(b) == GM_FP32) check(b, 5, 7, 9, GM_LINEAR_PLAIN, true);
}

static void bf16_needs_an_even_number_of_inputs(gmt_backend *b)
{
    (void)b;
    assert_int_equal(gm_packed_bytes(GM_BF16, 33, 7), 0);
    assert_int_equal(gm_packed_bytes(GM_BF16, 33, 8), 64 * 8 * 2);
    assert_int_equal(gm_packed_bytes(GM_FP32, 33, 7), 64 * 7 * 4);
}

static void bits_are_the_rows_own(gmt_backend *b)
{
    enum { ROWS = 29, IN = 96, OUT = 70 };
    if (!is_cpu(b)) return;
    problem p = make(b, ROWS, IN, OUT, GM_LINEAR_GELU, true);
    run(b, &p, b->device);
    const size_t row = p.y.dev_bytes / ROWS, in_row = p.x.dev_bytes / ROWS;
    for (int threads = 1; threads <= 4; threads++) {
        gm_device dev;
        problem q = p;
        q.y = gmt_act_poison(b, ROWS * OUT);
        gmt_device_create(b, threads, &dev);
        run(b, &q, &dev);
        gmt_device_destroy(b, &dev);
        assert_memory_equal(q.y.dev, p.y.dev, p.y.dev_bytes);
    }
    for (int32_t r = 0; r < ROWS; r++) {
        problem q = p;
        q.rows = 1;
        q.x.dev = (char *)p.x.dev + (size_t)r * in_row;
        q.y = gmt_act_poison(b, OUT);
        run(b, &q, b->device);
        assert_memory_equal(q.y.dev, (char *)p.y.dev + (size_t)r * row, row);
    }
}

static void packing_is_the_same_for_any_threads(gmt_backend *b)
{
    enum { IN = 10, OUT = 150 };
    if (!is_cpu(b)) return;
    const problem p = make(b, 1, IN, OUT, GM_LINEAR_PLAIN, false);
    gmt_buf other = gmt_poison(b, p.packed.count);
    gm_pack_weight(type_of(b), p.w.dev, OUT, IN, other.dev, 3);
    assert_memory_equal(other.dev, p.packed.dev, p.packed.bytes);
}

GMT_MAIN("linear, packed", GMT(all_row_counts_and_outputs), GMT(blocks_of_rows), GMT(bf16_needs_an_even_number_of_inputs), GMT(bits_are_the_rows_own),
         GMT(packing_is_the_same_for_any_threads))
