/* Stands in for src/backend/gemm.c on a GPU machine without oneDNN: plain loops, sums in double, enough for the tiny model. */
#include "gemm.h"

#include <string.h>

#include "base/memory.h"

struct gm_plans { int64_t none; };

gm_status gm_plans_create(gm_plans **plans, gm_err *err)
{
    *plans = gm_calloc(1, sizeof **plans);
    return *plans != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a device's plans");
}

void gm_plans_destroy(gm_plans *plans) { gm_free(plans); }

int64_t gm_plans_count(const gm_plans *plans) { return plans->none; }

static double get(const void *from, gm_float_type type, size_t i)
{
    if (type == GM_FP32) return (double)((const float *)from)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* bf16: to the nearest, ties to even. */
static void put(void *to, gm_float_type type, size_t i, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (type == GM_FP32) ((float *)to)[i] = value;
    else ((uint16_t *)to)[i] = (uint16_t)(value != value ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

gm_status gm_gemm_run(const gm_gemm *g, gm_device *dev)
{
    const size_t m = (size_t)g->m, n = (size_t)g->n, k = (size_t)g->k;
    (void)dev;
    for (size_t row = 0; row < m; row++)
        for (size_t col = 0; col < n; col++) {
            double sum = g->bias != NULL ? (double)g->bias[col] : 0.0;
            for (size_t i = 0; i < k; i++)
                sum += get(g->a, g->in, g->a_transposed ? i * m + row : row * k + i) * get(g->b, g->in, g->b_transposed ? col * k + i : i * n + col);
            put(g->c, g->out, row * n + col, (float)(g->add ? get(g->c, g->out, row * n + col) + sum : sum));
        }
    return GM_OK;
}

const char *gm_gemm_library(void) { return "plain loops"; }
bool gm_gemm_has_tiles(void) { return false; }
