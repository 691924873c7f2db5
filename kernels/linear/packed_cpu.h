/* y = act(x w^T + b) with packed weights (backend/packed.h), for prediction: the sums of HEIGHT rows by WIDTH outputs stay in
 * registers while the inputs go by, and bias and activation are applied before anything is written. Each sum goes through
 * the inputs in order, so its bits depend on its row and the weights alone: not on the other rows, nor on threads.
 * Included by linear_cpu.c, which defines activate(). */
#ifndef GM_LINEAR_PACKED_CPU_H
#define GM_LINEAR_PACKED_CPU_H

#include <string.h>

#include "activation_cpu.h"
#include "backend/packed.h"
#include "linear/linear.h"

/* HEIGHT x 2 sums, two registers of weights and one of inputs. */
enum { WIDTH = 2 * GM_LANES, HEIGHT = GM_LANES == 16 ? 12 : 6 };

/* Rows of x that one pass over the weights serves: their bytes stay in the second cache. */
enum { ROW_BLOCK_BYTES = 256 << 10 };

/* Finished outputs of rows of x and one strip of a panel. */
typedef struct gm_strip {
    const gm_act *x, *w;      /* the first row; where the strip begins in its panel */
    const float *bias;        /* [WIDTH] */
    gm_act *y;                /* WIDTH outputs of the first row; the next row's lie `stride` further on */
    ptrdiff_t stride;
    int32_t in;
    gm_activation act;
} gm_strip;
typedef void (*gm_strip_function)(const gm_strip *s, int32_t height);

#define GM_INLINE static inline __attribute__((always_inline))

#ifdef GM_ACTIVATION_BF16
/* Two inputs of a row, the first in the low half. */
GM_INLINE uint32_t two_of(const gm_act *x)
{
    uint32_t two;
    memcpy(&two, x, sizeof two);
    return two;
}

GM_INLINE gm_uvec twos_load(const gm_act *from)
{
    gm_uvec v;
    memcpy(&v, from, sizeof v);
    return v;
}

GM_INLINE void add_products(const gm_strip *s, const int32_t height, gm_vec *low, gm_vec *high)
{
    const gm_act *w = s->w;
    for (int32_t i = 0; i < s->in; i += 2, w += 2 * GM_PANEL) {
        const gm_uvec w0 = twos_load(w), w1 = twos_load(w + 2 * GM_LANES);
        const gm_vec first0 = (gm_vec)(w0 << 16), first1 = (gm_vec)(w1 << 16);
        const gm_vec second0 = (gm_vec)(w0 & 0xFFFF0000u), second1 = (gm_vec)(w1 & 0xFFFF0000u);
        for (int32_t r = 0; r < height; r++) {
            const uint32_t two = two_of(s->x + (ptrdiff_t)r * s->in + i);
            const float a = gm_bits_float(two << 16), b = gm_bits_float(two & 0xFFFF0000u);
            low[r] = low[r] + a * first0 + b * second0;
            high[r] = high[r] + a * first1 + b * second1;
        }
    }
}
#else
GM_INLINE void add_products(const gm_strip *s, const int32_t height, gm_vec *low, gm_vec *high)
{
    const gm_act *w = s->w;
    for (int32_t i = 0; i < s->in; i++, w += GM_PANEL) {
        const gm_vec w0 = gm_vec_load(w), w1 = gm_vec_load(w + GM_LANES);
        for (int32_t r = 0; r < height; r++) {
            const float a = s->x[(ptrdiff_t)r * s->in + i];
            low[r] += a * w0;
            high[r] += a * w1;
        }
    }
}
#endif

GM_INLINE void strip_of(const gm_strip *s, const int32_t height)
{
    float sums[HEIGHT * WIDTH];
    gm_vec low[HEIGHT], high[HEIGHT];
    for (int32_t r = 0; r < height; r++) {
        low[r] = gm_vec_load(s->bias);
        high[r] = gm_vec_load(s->bias + GM_LANES);
    }
    add_products(s, height, low, high);
    for (int32_t r = 0; r < height; r++) {
        gm_vec_store(sums + r * WIDTH, low[r]);
        gm_vec_store(sums + r * WIDTH + GM_LANES, high[r]);
    }
    activate(s->act, sums, height * WIDTH);
    for (int32_t r = 0; r < height; r++) gm_narrow(sums + r * WIDTH, s->y + r * s->stride, WIDTH);
}

/* One copy of the strip for each height, so that its sums have registers. */
#define GM_STRIP_CASE(of, n) case n: of(s, n); break;
#define GM_STRIP_LOW(of) GM_STRIP_CASE(of, 1) GM_STRIP_CASE(of, 2) GM_STRIP_CASE(of, 3) GM_STRIP_CASE(of, 4) GM_STRIP_CASE(of, 5) GM_STRIP_CASE(of, 6)
#ifdef __AVX512F__
#define GM_STRIP_HIGH(of) GM_STRIP_CASE(of, 7) GM_STRIP_CASE(of, 8) GM_STRIP_CASE(of, 9) GM_STRIP_CASE(of, 10) GM_STRIP_CASE(of, 11) GM_STRIP_CASE(of, 12)
#else
#define GM_STRIP_HIGH(of)
#endif

static void plain_strip(const gm_strip *s, int32_t height)
{
    switch (height) { GM_STRIP_LOW(strip_of) GM_STRIP_HIGH(strip_of) }
}

#if defined(GM_ACTIVATION_BF16) && defined(__AVX512F__)
/* The set v4 lacks the instruction that multiplies two pairs of bf16 and adds both products to a sum; most of its
 * processors have it. It is the one place where a kernel asks which. */
#include <immintrin.h>

#define GM_DOT __attribute__((target("avx512bf16")))

GM_DOT GM_INLINE void dot_strip_of(const gm_strip *s, const int32_t height)
{
    const gm_act *w = s->w;
    __m512 low[HEIGHT], high[HEIGHT];
    for (int32_t r = 0; r < height; r++) {
        low[r] = _mm512_loadu_ps(s->bias);
        high[r] = _mm512_loadu_ps(s->bias + GM_LANES);
    }
    for (int32_t i = 0; i < s->in; i += 2, w += 2 * GM_PANEL) {
        const __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 2 * GM_LANES);
        for (int32_t r = 0; r < height; r++) {
            const __m512bh a = (__m512bh)_mm512_set1_epi32((int)two_of(s->x + (ptrdiff_t)r * s->in + i));
            low[r] = _mm512_dpbf16_ps(low[r], a, w0);
            high[r] = _mm512_dpbf16_ps(high[r], a, w1);
        }
    }
    if (s->act != GM_LINEAR_PLAIN) {
        float sums[HEIGHT * WIDTH];
        for (int32_t r = 0; r < height; r++) {
            _mm512_storeu_ps(sums + r * WIDTH, low[r]);
            _mm512_storeu_ps(sums + r * WIDTH + GM_LANES, high[r]);
        }
        activate(s->act, sums, height * WIDTH);
        for (int32_t r = 0; r < height; r++) {
            low[r] = _mm512_loadu_ps(sums + r * WIDTH);
            high[r] = _mm512_loadu_ps(sums + r * WIDTH + GM_LANES);
        }
    }
    for (int32_t r = 0; r < height; r++) _mm512_storeu_si512(s->y + r * s->stride, (__m512i)_mm512_cvtne2ps_pbh(high[r], low[r]));
}

GM_DOT static void dot_strip(const gm_strip *s, int32_t height)
{
    switch (height) { GM_STRIP_LOW(dot_strip_of) GM_STRIP_HIGH(dot_strip_of) }
}

static gm_strip_function best_strip(void) { return __builtin_cpu_supports("avx512bf16") ? dot_strip : plain_strip; }
#else
static gm_strip_function best_strip(void) { return plain_strip; }
#endif

static int32_t fewer(int32_t a, int32_t b) { return a < b ? a : b; }

/* Rows first .. first + n of one strip's outputs; blocks of rows of about equal height */
static void rows_of_strip(const gm_linear *a, gm_strip_function finish, int32_t column, int32_t first, int32_t n)
{
    const int32_t blocks = (n + HEIGHT - 1) / HEIGHT, columns = fewer(WIDTH, a->out - column);
    const gm_act *panel = (const gm_act *)a->packed + (ptrdiff_t)(column / GM_PANEL) * a->in * GM_PANEL;
    float bias[WIDTH] = { 0.0f };
    gm_act tile[HEIGHT * WIDTH];
    gm_strip s = { .w = panel + column % GM_PANEL * (GM_HAS_BF16 ? 2 : 1), .bias = bias, .in = a->in, .act = a->act,
                   .stride = columns < WIDTH ? WIDTH : a->out };
    if (a->b != NULL) memcpy(bias, a->b + column, (size_t)columns * sizeof *bias);
    for (int32_t b = 0; b < blocks; b++) {
        const int32_t from = first + n * b / blocks, height = first + n * (b + 1) / blocks - from;
        gm_act *y = (gm_act *)a->y + (ptrdiff_t)from * a->out + column;
        s.x = (const gm_act *)a->x + (ptrdiff_t)from * a->in;
        s.y = columns < WIDTH ? tile : y;
        finish(&s, height);
        for (int32_t r = 0; columns < WIDTH && r < height; r++) memcpy(y + (ptrdiff_t)r * a->out, tile + r * WIDTH, (size_t)columns * sizeof *tile);
    }
}

static void packed_forward(const gm_linear *a, const gm_device *dev)
{
    const gm_strip_function finish = best_strip();
    const int32_t fitting = ROW_BLOCK_BYTES / (a->in * (int32_t)sizeof(gm_act)) / HEIGHT * HEIGHT, most = fitting > HEIGHT ? fitting : HEIGHT;
    for (int32_t first = 0; first < a->rows; first += most) {
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t column = 0; column < a->out; column += WIDTH) rows_of_strip(a, finish, column, first, fewer(most, a->rows - first));
    }
}

#endif
