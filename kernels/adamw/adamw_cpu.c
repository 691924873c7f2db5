/* adamw on the CPU: one pass over memory, element by element, so any split among threads gives the same bits. */
#include "adamw/adamw.h"

#include <math.h>

#include "activation_cpu.h"

enum { CHUNK = 16384 }; /* elements a thread takes at once */

/* The step's factors, made once in double: at step 1 the second correction is 1 - .999, which float would round to
 * 4 digits. */
typedef struct factors {
    float keep;               /* 1 - rate x decay */
    float beta1, beta2, left1, left2; /* left = 1 - beta */
    float rate;               /* rate / (1 - beta1^t) */
    float spread;             /* 1 / sqrt(1 - beta2^t) */
    float eps, grad_scale;
} factors;

static factors factors_of(const gm_adamw *a, const gm_step *step)
{
    const double rate = (double)step->rate[a->rate], beta1 = (double)a->beta1, beta2 = (double)a->beta2;
    return (factors){
        .keep = (float)(1.0 - rate * (double)a->decay),
        .beta1 = a->beta1,
        .beta2 = a->beta2,
        .left1 = (float)(1.0 - beta1),
        .left2 = (float)(1.0 - beta2),
        .rate = (float)(rate / (1.0 - pow(beta1, step->number))),
        .spread = (float)(1.0 / sqrt(1.0 - pow(beta2, step->number))),
        .eps = a->eps,
        .grad_scale = *a->grad_scale,
    };
}

static void update(float *restrict param, float *restrict m, float *restrict v, const float *restrict grad, int64_t n, factors f)
{
    for (int64_t i = 0; i < n; i++) {
        const float g = grad[i] * f.grad_scale;
        const float mean = f.beta1 * m[i] + f.left1 * g;
        const float square = f.beta2 * v[i] + f.left2 * g * g;
        m[i] = mean;
        v[i] = square;
        param[i] = f.keep * param[i] - f.rate * mean / (sqrtf(square) * f.spread + f.eps);
    }
}

/* The new parameters in bf16 as well, while they are in the cache. */
static void copy_from(const gm_adamw *a, int64_t at, int64_t n)
{
    if (GM_HAS_BF16 && a->copy != NULL) gm_narrow(a->param + at, (gm_act *)a->copy + at, (int32_t)n);
}

static gm_status adamw_forward(const gm_adamw *a, gm_device *dev)
{
    const factors f = factors_of(a, dev->step);
    if (f.grad_scale == 0.0f) return GM_OK; /* the norm is not finite: 0 x NaN would still be NaN */
    const int64_t width = a->width;
    const int32_t rows = a->n_rows != NULL ? *a->n_rows : a->capacity;
    if (a->row == NULL) {
        const int64_t total = rows * width;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int64_t at = 0; at < total; at += CHUNK) {
            const int64_t n = total - at < CHUNK ? total - at : CHUNK;
            update(a->param + at, a->m + at, a->v + at, a->grad + at, n, f);
            copy_from(a, at, n);
        }
        return GM_OK;
    }
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t r = 0; r < rows; r++) {
        const int64_t at = a->row[r] * width;
        update(a->param + at, a->m + at, a->v + at, a->grad + r * width, width, f);
        copy_from(a, at, width);
    }
    return GM_OK;
}

GM_KERNELS_FORWARD(adamw)
