/* linear on the GPU: products by cuBLASLt, which adds the bias and sums the bias gradient where it can; what it cannot
 * (a float bias to bf16 results, odd shapes) is done with the activation in one pass. GELU is ours: the library's is the
 * tanh form. */
#include "device/column_sum.h"
#include "device/columns.h"
#include "linear/linear.h"

extern "C" {
#include "backend/cuda/gemm_cuda.h"
}

/* 128 threads of four columns cover the usual 384 or 512 columns at once; GELU's 1,536 take three rounds. A block finishes ROWS
 * rows: a float bias, of which it reads all, has twice the bytes of a row of products in bf16. */
enum { THREADS = 128, ROWS = 4 };

static inline gm_float_type precision_of(const float *) { return GM_FP32; }
static inline gm_float_type precision_of(const gm_bf16 *) { return GM_BF16; }

/* x Phi(x) (Hendrycks and Gimpel 2016). */
static __device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

/* Phi(x) + x phi(x). */
static __device__ __forceinline__ float gelu_slope(float x)
{
    return fmaf(x * 0.39894228f, expf(-0.5f * x * x), 0.5f * (1.0f + erff(x * 0.70710678f)));
}

static __device__ __forceinline__ float quick_gelu(float x) { return x / (1.0f + expf(-1.702f * x)); }

/* s + 1.702 x s (1 - s) with 1 - s = e s; below -47 it is as good as 0, and e stays finite. */
static __device__ __forceinline__ float quick_gelu_slope(float x)
{
    const float z = x < -47.0f ? -47.0f : x, e = expf(-1.702f * z), s = 1.0f / (1.0f + e);
    return fmaf(1.702f * z * s, e * s, s);
}

static __device__ __forceinline__ float activated(float x, gm_activation act) { return act == GM_LINEAR_GELU ? gelu(x) : quick_gelu(x); }
static __device__ __forceinline__ float slope(float x, gm_activation act) { return act == GM_LINEAR_GELU ? gelu_slope(x) : quick_gelu_slope(x); }

/* Four columns: the bias is added to what pre holds, and y = act(pre). */
template <class T>
static __device__ __forceinline__ void finish4(float v[4], const float b[4], bool has_bias, T *pre, T *y, gm_activation act, int left, bool is_wide)
{
    if (has_bias) {
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = gm_rounded<T>(v[j] + b[j]); /* y follows from pre as backward will read it */
        store_columns(pre, left, is_wide, v);
    }
    if (act == GM_LINEAR_PLAIN) return;
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = activated(v[j], act);
    store_columns(y, left, is_wide, v);
}

/* pre holds the product on entry, with the bias on return (NULL: it is there already); y = act(pre). pre and y may be the same
 * memory: a thread reads all it needs of its rows before it writes. */
template <class T>
static __global__ void __launch_bounds__(THREADS) linear_finish(const float *bias, T *pre, T *y, gm_activation act, int rows, int columns, bool is_wide)
{
    const int first = (int)blockIdx.x * ROWS;
    for (int c = 4 * (int)threadIdx.x; c < columns; c += 4 * THREADS) {
        float v[ROWS][4], b[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        if (bias != NULL) load_columns(bias + c, columns - c, is_wide, b);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (first + r < rows) load_columns(pre + (size_t)(first + r) * (size_t)columns + c, columns - c, is_wide, v[r]);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const size_t at = (size_t)(first + r) * (size_t)columns + c;
            if (first + r < rows) finish4(v[r], b, bias != NULL, pre + at, y + at, act, columns - c, is_wide);
        }
    }
}

/* dy becomes the gradient at pre, [count] values. */
template <class T>
static __global__ void __launch_bounds__(THREADS) linear_activation_backward(const T *pre, T *dy, gm_activation act, int64_t count, bool is_wide)
{
    const int64_t at = 4 * ((int64_t)blockIdx.x * THREADS + (int64_t)threadIdx.x);
    if (at >= count) return;
    const int left = (int)min(count - at, (int64_t)4);
    float x[4], d[4];
    load_columns(pre + at, left, is_wide, x);
    load_columns(dy + at, left, is_wide, d);
#pragma unroll
    for (int j = 0; j < 4; j++) d[j] *= slope(x[j], act);
    store_columns(dy + at, left, is_wide, d);
}

template <class T> static gm_status linear_forward(const gm_linear *a, gm_device *dev)
{
    const bool is_plain = a->act == GM_LINEAR_PLAIN;
    T *y = (T *)a->y, *pre = !is_plain && a->pre != NULL ? (T *)a->pre : y;
    const gm_float_type type = precision_of(y);
    if (a->rows == 0 || a->out == 0) return GM_OK;
    gm_cuda_gemm g = { a->x, a->w, pre, NULL, NULL, type, type, a->rows, a->out, a->in, false, true, false };
    if (type == GM_FP32) g.bias = a->b;
    bool is_fused;
    GM_TRY(gm_cuda_gemm_run(&g, dev, &is_fused));
    const float *bias = is_fused ? NULL : a->b;
    if (bias == NULL && is_plain) return GM_OK;
    const bool is_wide = has_wide_rows(pre, a->out) && has_wide_rows(y, a->out) && has_wide_rows(bias, a->out);
    return GM_LAUNCH(dev, linear_finish<T>, gm_blocks(a->rows, ROWS), THREADS, 0, bias, pre, y, a->act, a->rows, a->out, is_wide);
}

template <class T> static gm_status activation_backward(const gm_linear_grad *a, const gm_device *dev)
{
    const int64_t count = (int64_t)a->rows * a->out;
    const T *pre = (const T *)a->pre;
    T *dy = (T *)a->dy;
    if (count == 0) return GM_OK;
    const bool is_wide = count % 4 == 0 && gm_is_aligned(pre, 4 * sizeof(T)) && gm_is_aligned(dy, 4 * sizeof(T));
    return GM_LAUNCH(dev, linear_activation_backward<T>, gm_blocks(count, 4 * THREADS), THREADS, 0, pre, dy, a->act, count, is_wide);
}

template <class T> static gm_status linear_backward(const gm_linear_grad *a, gm_device *dev)
{
    const T *dy = (const T *)a->dy;
    const gm_float_type type = precision_of(dy);
    bool has_db = a->db == NULL;
    if (a->act != GM_LINEAR_PLAIN) GM_TRY(activation_backward<T>(a, dev));
    if (a->dw != NULL) { /* dw = dy^T x; the sum over rows of dy comes with it, but cannot be added to what is there */
        float *db = a->add_db ? NULL : a->db;
        const gm_cuda_gemm g = { dy, a->x, a->dw, NULL, db, type, GM_FP32, a->out, a->in, a->rows, true, false, a->add_dw };
        bool is_fused;
        GM_TRY(gm_cuda_gemm_run(&g, dev, &is_fused));
        has_db = has_db || (db != NULL && is_fused);
    }
    if (!has_db) GM_TRY(column_sum(dy, a->rows, NULL, a->out, a->db, a->add_db, dev));
    if (a->dx == NULL) return GM_OK;
    const gm_cuda_gemm g = { dy, a->w, a->dx, NULL, NULL, type, type, a->rows, a->in, a->out, false, false, a->add_dx };
    return gm_cuda_gemm_run(&g, dev, NULL);
}

GM_KERNELS_CUDA(linear)
