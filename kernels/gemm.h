/* Matrix products of the CPU kernels, by oneDNN (src/backend/gemm.c), with plans cached by shape and layout. */
#ifndef GM_KERNELS_GEMM_H
#define GM_KERNELS_GEMM_H

#include "kernels.h"

typedef struct gm_gemm {
    const void *a;            /* [m, k], or [k, m] when a_transposed */
    const void *b;            /* [k, n], or [n, k] when b_transposed */
    const float *bias;        /* [n] or NULL */
    void *c;                  /* [m, n] */
    gm_float_type in, out;    /* of a and b, of c; sums are float */
    int32_t m, n, k;
    bool a_transposed, b_transposed, add; /* add: c += */
} gm_gemm;

gm_status gm_gemm_run(const gm_gemm *g, gm_device *dev);
gm_status gm_plans_create(gm_plans **plans, gm_err *err);
void gm_plans_destroy(gm_plans *plans);
int64_t gm_plans_count(const gm_plans *plans);
const char *gm_gemm_library(void); /* name and version */
bool gm_gemm_has_tiles(void);      /* whether it multiplies bf16 by tiles (AMX) here */

#endif
