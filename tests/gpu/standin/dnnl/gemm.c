/* Stands in for src/backend/gemm.c on a GPU machine without oneDNN: plain loops, sums in double, enough for the tiny model. */
#include "gemm.h"

#include "base/memory.h"

struct gm_plans { int64_t none; };

gm_status gm_plans_create(gm_plans **plans, gm_err *err)
{
    *plans = gm_calloc(1, sizeof **plans);
    return *plans != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a device's plans");
}

void gm_plans_destroy(gm_plans *plans) { gm_free(plans); }

int64_t gm_plans_count(const gm_plans *plans) { return plans->none; }

gm_status gm_gemm_run(const gm_gemm *g, gm_device *dev)
{
    const size_t m = (size_t)g->m, n = (size_t)g->n, k = (size_t)g->k;
    (void)dev;
    for (size_t row = 0; row < m; row++)
        for (size_t col = 0; col < n; col++) {
            double sum = g->bias != NULL ? (double)g->bias[col] : 0.0;
            for (size_t i = 0; i < k; i++)
                sum += (double)g->a[g->a_transposed ? i * m + row : row * k + i] * (double)g->b[g->b_transposed ? col * k + i : i * n + col];
            float *c = &g->c[row * n + col];
            *c = (float)(g->add ? (double)*c + sum : sum);
        }
    return GM_OK;
}

const char *gm_gemm_library(void) { return "plain loops"; }
