/* The cuBLAS calls on the product: column-major, host scalars. */
#include <cublas_v2.h>

#include "internal.h"
#include "product.h"

using namespace emu;

struct cublasContext { cudaStream_t stream; };

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    *handle = new cublasContext{ nullptr };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *, size_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                                          const void *alpha, const void *a, cudaDataType at, int lda, long long step_a,
                                          const void *b, cudaDataType bt, int ldb, long long step_b, const void *beta, void *c,
                                          cudaDataType ct, int ldc, long long step_c, int batch, cublasComputeType_t compute,
                                          cublasGemmAlgo_t)
{
    const bool a_turned = ta != CUBLAS_OP_N, b_turned = tb != CUBLAS_OP_N;
    const Matrix ma = { (void *)a, at, a_turned ? k : m, a_turned ? m : k, lda, false };
    const Matrix mb = { (void *)b, bt, b_turned ? n : k, b_turned ? k : n, ldb, false }, mc = { c, ct, m, n, ldc, false };
    const Product p = { ma, mb, mc, mc, a_turned, b_turned, *(const float *)alpha, *(const float *)beta, compute,
                        { CUBLASLT_EPILOGUE_DEFAULT, nullptr, nullptr, CUDA_R_32F, 0 } };
    if (m < 0 || n < 0 || k < 0 || batch < 0 || !product_fits(p)) return CUBLAS_STATUS_INVALID_VALUE;
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32 && compute != CUBLAS_COMPUTE_32F_FAST_16BF)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    enqueue(handle->stream, [=] {
        for (int i = 0; i < batch; i++) {
            Product one = p;
            one.a.data = (char *)p.a.data + (ptrdiff_t)(i * step_a) * (ptrdiff_t)p.a.element_bytes();
            one.b.data = (char *)p.b.data + (ptrdiff_t)(i * step_b) * (ptrdiff_t)p.b.element_bytes();
            one.c.data = one.d.data = (char *)p.d.data + (ptrdiff_t)(i * step_c) * (ptrdiff_t)p.d.element_bytes();
            product_run(one, "cublasGemm");
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha,
                            const void *a, cudaDataType at, int lda, const void *b, cudaDataType bt, int ldb, const void *beta,
                            void *c, cudaDataType ct, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t algorithm)
{
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute,
                                      algorithm);
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *alpha,
                              const float *a, int lda, const float *b, int ldb, const float *beta, float *c, int ldc)
{
    return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb, beta, c, CUDA_R_32F, ldc,
                        CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}
}
