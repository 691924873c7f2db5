/* linear on the CPU: products by oneDNN, activations and the bias gradient as passes of their own; prediction multiplies by packed
 * weights instead where that is faster. */
#include "linear/linear.h"

#include <string.h>

#include "activation_cpu.h"
#include "gemm.h"

static const gm_float_type TYPE = GM_HAS_BF16 ? GM_BF16 : GM_FP32;

static inline float gelu(float x) { return GM_HAS_BF16 ? gm_gelu_coarse(x) : gm_gelu(x); }
static inline float gelu_grad(float x) { return GM_HAS_BF16 ? gm_gelu_grad_coarse(x) : gm_gelu_grad(x); }

/* What a row's sums become, before they are rounded. */
static inline void activate(gm_activation act, float *restrict x, int32_t n)
{
    for (int32_t c = 0; act == GM_LINEAR_GELU && c < n; c++) x[c] = gelu(x[c]);
    for (int32_t c = 0; act == GM_LINEAR_QUICK_GELU && c < n; c++) x[c] = gm_quick_gelu(x[c]);
}

#include "linear/packed_cpu.h"

/* A loop for each, so that the compiler makes vector code of both. */
static void activate_row(const gm_act *pre, gm_act *y, int32_t n, gm_activation act)
{
    if (act == GM_LINEAR_GELU)
        for (int32_t c = 0; c < n; c++) y[c] = gm_act_of(gelu(gm_get(pre[c])));
    else
        for (int32_t c = 0; c < n; c++) y[c] = gm_act_of(gm_quick_gelu(gm_get(pre[c])));
}

static gm_status linear_forward(const gm_linear *a, gm_device *dev)
{
    if (a->packed != NULL && a->pre == NULL && a->in > 0 && gm_packed_serves(TYPE, a->rows)) {
        packed_forward(a, dev);
        return GM_OK;
    }
    const bool is_plain = a->act == GM_LINEAR_PLAIN;
    void *product = !is_plain && a->pre != NULL ? a->pre : a->y;
    GM_TRY(gm_gemm_run(&(gm_gemm){ .a = a->x, .b = a->w, .bias = a->b, .c = product, .in = TYPE, .out = TYPE,
                                  .m = a->rows, .n = a->out, .k = a->in, .b_transposed = true }, dev));
    if (is_plain) return GM_OK;
    const gm_act *pre = product;
    gm_act *y = a->y;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t row = 0; row < a->rows; row++) {
        const size_t at = (size_t)row * (size_t)a->out;
        activate_row(pre + at, y + at, a->out, a->act);
    }
    return GM_OK;
}

static void times_slope(const gm_act *pre, gm_act *dy, int32_t n, gm_activation act)
{
    if (act == GM_LINEAR_GELU)
        for (int32_t c = 0; c < n; c++) dy[c] = gm_act_of(gm_get(dy[c]) * gelu_grad(gm_get(pre[c])));
    else
        for (int32_t c = 0; c < n; c++) dy[c] = gm_act_of(gm_get(dy[c]) * gm_quick_gelu_grad(gm_get(pre[c])));
}

/* dy becomes the gradient at the pre-activation. */
static void activation_backward(const gm_linear_grad *a, const gm_device *dev)
{
    const gm_act *pre = a->pre;
    gm_act *dy = a->dy;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t row = 0; row < a->rows; row++) {
        const size_t at = (size_t)row * (size_t)a->out;
        times_slope(pre + at, dy + at, a->out, a->act);
    }
}

/* db = sum of dy over rows, in row order; threads share the columns, so their number does not show. */
static void bias_gradient(const gm_linear_grad *a, const gm_device *dev)
{
    enum { TILE = 64 };
    const gm_act *dy = a->dy;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->out; first += TILE) {
        const int32_t n = a->out - first < TILE ? a->out - first : TILE;
        float sum[TILE] = { 0 };
        for (int32_t row = 0; row < a->rows; row++) {
            const gm_act *from = dy + (size_t)row * (size_t)a->out + first;
            for (int32_t c = 0; c < n; c++) sum[c] += gm_get(from[c]);
        }
        for (int32_t c = 0; c < n; c++) a->db[first + c] = a->add_db ? a->db[first + c] + sum[c] : sum[c];
    }
}

static gm_status linear_backward(const gm_linear_grad *a, gm_device *dev)
{
    if (a->act != GM_LINEAR_PLAIN) activation_backward(a, dev);
    if (a->db != NULL) bias_gradient(a, dev);
    if (a->dx != NULL)
        GM_TRY(gm_gemm_run(&(gm_gemm){ .a = a->dy, .b = a->w, .c = a->dx, .in = TYPE, .out = TYPE, .m = a->rows, .n = a->in, .k = a->out, .add = a->add_dx }, dev));
    if (a->dw != NULL && a->rows == 0) { /* oneDNN divides by the length of the sums */
        if (!a->add_dw) memset(a->dw, 0, (size_t)a->out * (size_t)a->in * sizeof *a->dw);
    } else if (a->dw != NULL)
        GM_TRY(gm_gemm_run(&(gm_gemm){ .a = a->dy, .b = a->x, .c = a->dw, .in = TYPE, .out = GM_FP32, .m = a->out, .n = a->in, .k = a->rows, .a_transposed = true, .add = a->add_dw }, dev));
    return GM_OK;
}

GM_KERNELS(linear)
