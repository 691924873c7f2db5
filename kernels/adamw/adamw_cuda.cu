/* adamw on the GPU: one launch over memory, each element alone. The step's number and rates lie in device memory, so the
 * bias corrections are made there: by one thread of each block, in double, since 1 - .999 has 4 digits in float. */
#include "device/columns.h" /* first: it declares the C names as C */
#include "adamw/adamw.h"

/* MOST_BLOCKS fill the largest GPUs several times over; more would only repeat the corrections. */
enum { THREADS = 256, MOST_BLOCKS = 4096 };

struct factors {
    float keep;               /* 1 - rate x decay */
    float left1, left2;       /* 1 - beta */
    float rate;               /* rate / (1 - beta1^t) */
    float spread;             /* 1 / sqrt(1 - beta2^t) */
    float grad_scale;
};

/* beta^t by squaring: its error, some t x 1e-16 of a power that shrinks with t, never shows. */
static __device__ double power(double beta, int t)
{
    double result = 1.0;
    for (; t > 0; t >>= 1) {
        if (t & 1) result *= beta;
        beta *= beta;
    }
    return result;
}

static __device__ factors make_factors(const gm_adamw &a, const gm_step *step)
{
    const double rate = (double)step->rate[a.rate], beta1 = (double)a.beta1, beta2 = (double)a.beta2;
    factors f;
    f.keep = (float)(1.0 - rate * (double)a.decay);
    f.left1 = (float)(1.0 - beta1);
    f.left2 = (float)(1.0 - beta2);
    f.rate = (float)(rate / (1.0 - power(beta1, step->number)));
    f.spread = (float)(1.0 / sqrt(1.0 - power(beta2, step->number)));
    f.grad_scale = *a.grad_scale;
    return f;
}

/* Four elements at `at`, their gradient at `from`. */
template <class T>
static __device__ __forceinline__ void update(const gm_adamw &a, const factors &f, size_t at, size_t from, int count, bool is_wide)
{
    float p[4], m[4], v[4], g[4];
    load_columns(a.param + at, count, is_wide, p);
    load_columns(a.m + at, count, is_wide, m);
    load_columns(a.v + at, count, is_wide, v);
    load_columns(a.grad + from, count, is_wide, g);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        g[j] *= f.grad_scale;
        m[j] = fmaf(a.beta1, m[j], f.left1 * g[j]);
        v[j] = fmaf(a.beta2, v[j], f.left2 * g[j] * g[j]);
        p[j] = fmaf(f.keep, p[j], -(f.rate * m[j] / fmaf(sqrtf(v[j]), f.spread, a.eps)));
    }
    store_columns(a.param + at, count, is_wide, p);
    store_columns(a.m + at, count, is_wide, m);
    store_columns(a.v + at, count, is_wide, v);
    if (sizeof(T) != sizeof(float) && a.copy != NULL) store_columns((T *)a.copy + at, count, is_wide, p);
}

/* Dense: the blocks share out all rows x width elements as one line. By rows: a block takes a row at a time. */
template <class T> static __global__ void __launch_bounds__(THREADS) adamw_step(gm_adamw a, const gm_step *step, bool is_wide)
{
    __shared__ factors shared;
    if (threadIdx.x == 0) shared = make_factors(a, step);
    __syncthreads();
    const factors f = shared;
    if (f.grad_scale == 0.0f) return; /* the norm is not finite: 0 x NaN would still be NaN */
    const int rows = a.n_rows != NULL ? *a.n_rows : a.capacity;
    if (a.row == NULL) {
        const int64_t total = (int64_t)rows * a.width, stride = (int64_t)4 * THREADS * gridDim.x;
        for (int64_t at = 4 * ((int64_t)blockIdx.x * THREADS + (int64_t)threadIdx.x); at < total; at += stride)
            update<T>(a, f, (size_t)at, (size_t)at, (int)min(total - at, (int64_t)4), is_wide && total - at >= 4);
        return;
    }
    for (int r = (int)blockIdx.x; r < rows; r += (int)gridDim.x) {
        const size_t at = (size_t)a.row[r] * (size_t)a.width, from = (size_t)r * (size_t)a.width;
        for (int c = 4 * (int)threadIdx.x; c < a.width; c += 4 * THREADS) update<T>(a, f, at + c, from + c, a.width - c, is_wide);
    }
}

template <class T> static gm_status adamw_forward(const gm_adamw *a, gm_device *dev)
{
    const int64_t work = a->row == NULL ? ((int64_t)a->capacity * a->width + 4 * THREADS - 1) / (4 * THREADS) : a->capacity;
    const bool is_aligned = gm_is_aligned(a->param, 16) && gm_is_aligned(a->m, 16) && gm_is_aligned(a->v, 16) && gm_is_aligned(a->grad, 16) &&
                            gm_is_aligned(a->copy, 8);
    if (work == 0) return GM_OK;
    return GM_LAUNCH(dev, adamw_step<T>, (unsigned)(work < MOST_BLOCKS ? work : MOST_BLOCKS), THREADS, 0, *a, dev->step,
                     is_aligned && (a->row == NULL || a->width % 4 == 0));
}

GM_KERNELS_CUDA_FORWARD(adamw)
