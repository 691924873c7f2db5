/* residual_norm on the CPU: rows are shared out to threads, three passes over a row while it is in the first cache. The
 * variance is taken around the mean in a pass of its own: the one-pass form loses all digits where the mean is large.
 * dgamma and dbeta are summed by threads that share out columns instead, each going through all rows in order, so that
 * the result does not depend on the number of threads. */
#include "residual_norm/residual_norm.h"

#include "activation_cpu.h"
#include "dropout_cpu.h"

/* CHUNK columns of a mask are drawn at a time: any width, bounded stack. COLUMNS of dgamma are a thread's share. Both
 * are multiples of 32 for gm_drop_scales. */
enum { CHUNK = 512, COLUMNS = 64 };

static int32_t at_most(int32_t a, int32_t b) { return a < b ? a : b; }

/* The mask of columns first .. first + n of a row; all 1 without dropout. */
static void draw_mask(const gm_drop *drop, const gm_token *token, int32_t row, int32_t first, int32_t n,
                      const gm_device *dev, float *mask)
{
    if (drop->p > 0.0f)
        gm_drop_scales(drop, dev->step->seed, token[row].sequence, (uint32_t)token[row].position, (uint32_t)first, n,
                       mask);
    else
        for (int32_t c = 0; c < n; c++) mask[c] = 1.0f;
}

/* sum = residual + drop(x) as memory keeps it; the sum of the row. */
static float add_residual(const gm_residual_norm *a, int32_t row, const gm_act *x, const gm_act *residual, gm_act *sum,
                          const gm_device *dev)
{
    gm_vec sums = { 0.0f };
    float tail = 0.0f, mask[CHUNK];
    for (int32_t first = 0; first < a->width; first += CHUNK) {
        const int32_t n = at_most(CHUNK, a->width - first);
        draw_mask(&a->drop, a->token, row, first, n, dev, mask);
        int32_t c = 0;
        for (; c + GM_LANES <= n; c += GM_LANES) {
            gm_vec v = gm_act_load(x + first + c) * gm_vec_load(mask + c);
            if (residual != NULL) v += gm_act_load(residual + first + c);
            gm_act_store(sum + first + c, v);
            sums += gm_act_load(sum + first + c);
        }
        for (; c < n; c++) {
            const float v = gm_get(x[first + c]) * mask[c] + (residual != NULL ? gm_get(residual[first + c]) : 0.0f);
            sum[first + c] = gm_act_of(v);
            tail += gm_get(sum[first + c]);
        }
    }
    return gm_vec_sum(sums) + tail;
}

static float squares_around(const gm_act *row, int32_t n, float mean)
{
    gm_vec sums = { 0.0f };
    float tail = 0.0f;
    int32_t c = 0;
    for (; c + GM_LANES <= n; c += GM_LANES) {
        const gm_vec v = gm_act_load(row + c) - mean;
        sums += v * v;
    }
    for (; c < n; c++) tail += (gm_get(row[c]) - mean) * (gm_get(row[c]) - mean);
    return gm_vec_sum(sums) + tail;
}

/* Rows *n_rows .. capacity. */
static void zero_tail(gm_act *x, const int32_t *n_rows, int32_t capacity, int32_t width)
{
    memset(x + (ptrdiff_t)*n_rows * width, 0, (size_t)(capacity - *n_rows) * (size_t)width * sizeof *x);
}

static gm_status residual_norm_forward(const gm_residual_norm *a, gm_device *dev)
{
    zero_tail(a->sum, a->n_rows, a->capacity, a->width);
    zero_tail(a->norm, a->n_rows, a->capacity, a->width);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t row = 0; row < *a->n_rows; row++) {
        const ptrdiff_t at = (ptrdiff_t)row * a->width;
        gm_act *sum = (gm_act *)a->sum + at, *norm = (gm_act *)a->norm + at;
        const gm_act *residual = a->residual != NULL ? (const gm_act *)a->residual + at : NULL;
        const float mean = add_residual(a, row, (const gm_act *)a->x + at, residual, sum, dev) / (float)a->width;
        const float rstd = 1.0f / sqrtf(squares_around(sum, a->width, mean) / (float)a->width + a->eps);
        if (a->mean != NULL) a->mean[row] = mean;
        if (a->rstd != NULL) a->rstd[row] = rstd;
        float mask[CHUNK];
        for (int32_t first = 0; first < a->width; first += CHUNK) {
            const int32_t n = at_most(CHUNK, a->width - first);
            const float *gamma = a->gamma + first, *beta = a->beta + first;
            const gm_act *from = sum + first;
            gm_act *to = norm + first;
            if (a->drop_out.p > 0.0f) {
                draw_mask(&a->drop_out, a->token, row, first, n, dev, mask);
                for (int32_t c = 0; c < n; c++) to[c] = gm_act_of(((gm_get(from[c]) - mean) * rstd * gamma[c] + beta[c]) * mask[c]);
            } else
                for (int32_t c = 0; c < n; c++) to[c] = gm_act_of((gm_get(from[c]) - mean) * rstd * gamma[c] + beta[c]);
        }
    }
    return GM_OK;
}

/* dgamma and dbeta of columns first .. first + n. */
static void add_columns(const gm_residual_norm_grad *a, int32_t first, int32_t n, const gm_device *dev)
{
    float gamma[COLUMNS] = { 0.0f }, beta[COLUMNS] = { 0.0f }, mask[COLUMNS];
    for (int32_t row = 0; row < *a->n_rows; row++) {
        const ptrdiff_t at = (ptrdiff_t)row * a->width + first;
        const gm_act *sum = (const gm_act *)a->sum + at, *dnorm = (const gm_act *)a->dnorm + at;
        const float mean = a->mean[row], rstd = a->rstd[row];
        draw_mask(&a->drop_out, a->token, row, first, n, dev, mask);
        for (int32_t c = 0; c < n; c++) {
            const float d = gm_get(dnorm[c]) * mask[c];
            gamma[c] += d * ((gm_get(sum[c]) - mean) * rstd);
            beta[c] += d;
        }
    }
    for (int32_t c = 0; c < n; c++) {
        if (a->dgamma != NULL) a->dgamma[first + c] = (a->add_dgamma ? a->dgamma[first + c] : 0.0f) + gamma[c];
        if (a->dbeta != NULL) a->dbeta[first + c] = (a->add_dbeta ? a->dbeta[first + c] : 0.0f) + beta[c];
    }
}

/* d = dnorm, dropped, times gamma: the gradient of the normalised row. Its sum, and that of d times the row itself. */
static void sum_row(const gm_residual_norm_grad *a, int32_t row, const gm_device *dev, float *sum_d, float *sum_dx)
{
    const ptrdiff_t at = (ptrdiff_t)row * a->width;
    const gm_act *sum = (const gm_act *)a->sum + at, *dnorm = (const gm_act *)a->dnorm + at;
    const float mean = a->mean[row];
    gm_vec ds = { 0.0f }, dxs = { 0.0f };
    float d_tail = 0.0f, dx_tail = 0.0f, mask[CHUNK];
    for (int32_t first = 0; first < a->width; first += CHUNK) {
        const int32_t n = at_most(CHUNK, a->width - first);
        const float *gamma = a->gamma + first;
        draw_mask(&a->drop_out, a->token, row, first, n, dev, mask);
        int32_t c = 0;
        for (; c + GM_LANES <= n; c += GM_LANES) {
            const gm_vec d = gm_act_load(dnorm + first + c) * gm_vec_load(mask + c) * gm_vec_load(gamma + c);
            ds += d;
            dxs += d * (gm_act_load(sum + first + c) - mean);
        }
        for (; c < n; c++) {
            const float d = gm_get(dnorm[first + c]) * mask[c] * gamma[c];
            d_tail += d;
            dx_tail += d * (gm_get(sum[first + c]) - mean);
        }
    }
    *sum_d = gm_vec_sum(ds) + d_tail;
    *sum_dx = (gm_vec_sum(dxs) + dx_tail) * a->rstd[row];
}

/* dresidual and dx of one row. With x' the normalised row: dsum += rstd (d - mean(d) - x' mean(d x')). */
static void backward_row(const gm_residual_norm_grad *a, int32_t row, const gm_device *dev)
{
    const ptrdiff_t at = (ptrdiff_t)row * a->width;
    const float mean = a->mean[row], rstd = a->rstd[row];
    float sum_d, sum_dx, mask[CHUNK], total[CHUNK];
    sum_row(a, row, dev, &sum_d, &sum_dx);
    const float mean_d = sum_d / (float)a->width, slope = sum_dx / (float)a->width * rstd;
    for (int32_t first = 0; first < a->width; first += CHUNK) {
        const int32_t n = at_most(CHUNK, a->width - first);
        const gm_act *sum = (const gm_act *)a->sum + at + first, *dnorm = (const gm_act *)a->dnorm + at + first;
        const float *gamma = a->gamma + first;
        draw_mask(&a->drop_out, a->token, row, first, n, dev, mask);
        for (int32_t c = 0; c < n; c++)
            total[c] = rstd * (gm_get(dnorm[c]) * mask[c] * gamma[c] - mean_d - (gm_get(sum[c]) - mean) * slope);
        if (a->dsum != NULL) {
            const gm_act *dsum = (const gm_act *)a->dsum + at + first;
            for (int32_t c = 0; c < n; c++) total[c] += gm_get(dsum[c]);
        }
        if (a->dresidual != NULL) {
            gm_act *dresidual = (gm_act *)a->dresidual + at + first;
            for (int32_t c = 0; c < n; c++) dresidual[c] = gm_act_of(total[c] + (a->add_dresidual ? gm_get(dresidual[c]) : 0.0f));
        }
        if (a->dx == NULL) continue;
        gm_act *dx = (gm_act *)a->dx + at + first;
        if (a->drop.p > 0.0f) {
            draw_mask(&a->drop, a->token, row, first, n, dev, mask);
            for (int32_t c = 0; c < n; c++) total[c] *= mask[c];
        }
        for (int32_t c = 0; c < n; c++) dx[c] = gm_act_of(total[c] + (a->add_dx ? gm_get(dx[c]) : 0.0f));
    }
}

/* Columns first: dx may lie over dnorm. */
static gm_status residual_norm_backward(const gm_residual_norm_grad *a, gm_device *dev)
{
    if (a->dgamma != NULL || a->dbeta != NULL) {
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t first = 0; first < a->width; first += COLUMNS)
            add_columns(a, first, at_most(COLUMNS, a->width - first), dev);
    }
    if (a->dx == NULL && a->dresidual == NULL) return GM_OK;
    if (a->dx != NULL && !a->add_dx) zero_tail(a->dx, a->n_rows, a->capacity, a->width);
    if (a->dresidual != NULL && !a->add_dresidual) zero_tail(a->dresidual, a->n_rows, a->capacity, a->width);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t row = 0; row < *a->n_rows; row++) backward_row(a, row, dev);
    return GM_OK;
}

GM_KERNELS(residual_norm)
