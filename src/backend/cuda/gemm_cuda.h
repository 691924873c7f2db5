/* Matrix products of the CUDA kernels, row-major, by cuBLASLt (gemm_cuda.c). Everything runs on the device's stream with
 * the device's workspace; the call returns before the product is done. A plan is made once a shape, precision, epilogue
 * and alignment of the pointers, so a steady loop makes none, and equal calls give the same bits. */
#ifndef GM_CUDA_GEMM_H
#define GM_CUDA_GEMM_H

#include "backend/module.h"

typedef struct gm_cuda_gemm {
    const void *a;            /* [m, k], or [k, m] when a_transposed */
    const void *b;            /* [k, n], or [n, k] when b_transposed */
    void *c;                  /* [m, n] */
    const float *bias;        /* [n] added to each row of c, or NULL; only with a float c */
    float *sum_a;             /* [m] receives the sum over k of a: the bias gradient; or NULL; only with a float c, without bias */
    gm_float_type in, out;     /* of a and b, of c; sums are float32 in either case, and never of TF32 factors */
    int32_t m, n, k;
    bool a_transposed, b_transposed, add; /* add: c += */
} gm_cuda_gemm;

/* *is_fused (may be NULL): bias or sum_a was done with the product. False where cuBLASLt has no algorithm with that
 * epilogue for the shape, type or alignment, or where k is 0: the caller then does it in a pass of its own. */
gm_status gm_cuda_gemm_run(const gm_cuda_gemm *g, gm_device *dev, bool *is_fused);

gm_status gm_cuda_plans_create(gm_plans **plans, gm_err *err);
void gm_cuda_plans_destroy(gm_plans *plans);
int64_t gm_cuda_plans_count(const gm_plans *plans);

#endif
