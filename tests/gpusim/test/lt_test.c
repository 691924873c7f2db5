/* cuBLASLt as the simulator answers it, against plain loops in double: transposes, bias, bias gradients, beta, and the
 * calls that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cublasLt.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "gm_sim.h"

enum { M = 6, N = 5, K = 7, MOST = 64 };
#define assert_cuda(call) assert_int_equal(call, cudaSuccess)
#define assert_blas(call) assert_int_equal(call, CUBLAS_STATUS_SUCCESS)

typedef struct problem {
    float a[MOST], b[MOST], c[MOST], bias[MOST], got[MOST];
    float *da, *db, *dc, *dbias, *workspace;
    cublasLtHandle_t library;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t la, lb, lc;
    bool ta, tb;
} problem;

static float *device(const float *host)
{
    float *p;
    assert_cuda(cudaMalloc((void **)&p, MOST * sizeof *p));
    assert_cuda(cudaMemcpy(p, host, MOST * sizeof *p, cudaMemcpyHostToDevice));
    return p;
}

static void set(cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t which, const void *value, size_t bytes)
{
    assert_blas(cublasLtMatmulDescSetAttribute(op, which, value, bytes));
}

static problem make(bool ta, bool tb, int32_t epilogue)
{
    problem p = { .ta = ta, .tb = tb };
    for (int i = 0; i < MOST; i++) {
        p.a[i] = sinf((float)i);
        p.b[i] = cosf((float)(3 * i));
        p.c[i] = (float)i / 16.0f;
        p.bias[i] = (float)(i % 5) - 2.0f;
    }
    p.da = device(p.a);
    p.db = device(p.b);
    p.dc = device(p.c);
    p.dbias = device(p.bias);
    assert_cuda(cudaMalloc((void **)&p.workspace, 4096));
    const int32_t op_a = ta ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    assert_blas(cublasLtCreate(&p.library));
    assert_blas(cublasLtMatmulDescCreate(&p.op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(p.op, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a);
    set(p.op, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b);
    set(p.op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    set(p.op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.dbias, sizeof p.dbias);
    assert_blas(cublasLtMatrixLayoutCreate(&p.la, CUDA_R_32F, ta ? K : M, ta ? M : K, ta ? K : M));
    assert_blas(cublasLtMatrixLayoutCreate(&p.lb, CUDA_R_32F, tb ? N : K, tb ? K : N, tb ? N : K));
    assert_blas(cublasLtMatrixLayoutCreate(&p.lc, CUDA_R_32F, M, N, M));
    return p;
}

static void drop(problem *p)
{
    cublasLtMatrixLayoutDestroy(p->la);
    cublasLtMatrixLayoutDestroy(p->lb);
    cublasLtMatrixLayoutDestroy(p->lc);
    cublasLtMatmulDescDestroy(p->op);
    cublasLtDestroy(p->library);
    cudaFree(p->da);
    cudaFree(p->db);
    cudaFree(p->dc);
    cudaFree(p->dbias);
    cudaFree(p->workspace);
}

static cublasStatus_t choose(const problem *p, cublasLtMatmulHeuristicResult_t *best)
{
    cublasLtMatmulPreference_t limits;
    const uint64_t bytes = 4096;
    int count = 0;
    assert_blas(cublasLtMatmulPreferenceCreate(&limits));
    assert_blas(cublasLtMatmulPreferenceSetAttribute(limits, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes));
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(p->library, p->op, p->la, p->lb, p->lc, p->lc, limits, 1, best, &count);
    cublasLtMatmulPreferenceDestroy(limits);
    return status;
}

static void run(problem *p, float alpha, float beta)
{
    cublasLtMatmulHeuristicResult_t best;
    assert_blas(choose(p, &best));
    assert_blas(cublasLtMatmul(p->library, p->op, &alpha, p->da, p->la, p->db, p->lb, &beta, p->dc, p->lc, p->dc, p->lc, &best.algo,
                               p->workspace, 4096, NULL));
    assert_cuda(cudaMemcpy(p->got, p->dc, sizeof p->got, cudaMemcpyDeviceToHost));
}

static double factor_a(const problem *p, int i, int k) { return (double)p->a[p->ta ? i * K + k : k * M + i]; }
static double factor_b(const problem *p, int k, int j) { return (double)p->b[p->tb ? k * N + j : j * K + k]; }

/* The bias, where it is added, is one a row of the column-major D. */
static void check(const problem *p, double alpha, double beta, bool with_bias)
{
    for (int j = 0; j < N; j++)
        for (int i = 0; i < M; i++) {
            double want = beta * (double)p->c[j * M + i] + (with_bias ? (double)p->bias[i] : 0.0);
            for (int k = 0; k < K; k++) want += alpha * factor_a(p, i, k) * factor_b(p, k, j);
            if (!(fabs(want - (double)p->got[j * M + i]) < 1e-5))
                fail_msg("D(%d, %d) is %g, not %g", i, j, (double)p->got[j * M + i], want);
        }
    assert_true(p->got[M * N] == p->c[M * N]); /* and nothing behind it */
}

static void products_in_all_layouts(void **state)
{
    (void)state;
    for (int turns = 0; turns < 4; turns++) {
        problem p = make(turns & 1, turns >> 1, CUBLASLT_EPILOGUE_DEFAULT);
        run(&p, 0.5f, turns == 3 ? 2.0f : 0.0f);
        check(&p, 0.5, turns == 3 ? 2.0 : 0.0, false);
        drop(&p);
    }
}

static void bias_is_added_to_each_column(void **state)
{
    (void)state;
    problem p = make(true, false, CUBLASLT_EPILOGUE_BIAS);
    run(&p, 1.0f, 0.0f);
    check(&p, 1.0, 0.0, true);
    drop(&p);
}

static void bias_gradients_are_sums_over_k(void **state)
{
    (void)state;
    for (int of_b = 0; of_b < 2; of_b++) {
        problem p = make(false, true, of_b ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_BGRADA);
        float sums[MOST];
        run(&p, 1.0f, 1.0f);
        check(&p, 1.0, 1.0, false);
        assert_cuda(cudaMemcpy(sums, p.dbias, sizeof sums, cudaMemcpyDeviceToHost));
        for (int i = 0; i < (of_b ? N : M); i++) {
            double want = 0.0;
            for (int k = 0; k < K; k++) want += of_b ? factor_b(&p, k, i) : factor_a(&p, i, k);
            assert_true(fabs(want - (double)sums[i]) < 1e-5);
        }
        assert_true(sums[of_b ? N : M] == p.bias[of_b ? N : M]);
        drop(&p);
    }
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    const float one = 1.0f, zero = 0.0f;
    problem p = make(false, false, CUBLASLT_EPILOGUE_DEFAULT);
    cublasLtMatmulHeuristicResult_t best;
    assert_blas(choose(&p, &best));
    assert_int_equal(cublasLtMatmul(p.library, p.op, &one, p.db, p.lb, p.da, p.la, &zero, p.dc, p.lc, p.dc, p.lc, NULL, NULL, 0, NULL),
                     CUBLAS_STATUS_INVALID_VALUE); /* shapes */
    assert_int_equal(cublasLtMatmul(p.library, p.op, &one, p.da, p.la, p.db, p.lb, &zero, p.dc, p.lc, p.dc, p.lc, &best.algo, NULL, 0, NULL),
                     CUBLAS_STATUS_INVALID_VALUE); /* less workspace than the algorithm wants */
    const int32_t epilogue = CUBLASLT_EPILOGUE_BIAS, unknown = CUBLASLT_EPILOGUE_DGELU;
    set(p.op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    assert_int_equal(cublasLtMatmul(p.library, p.op, &one, p.da, p.la, p.db, p.lb, &zero, p.dc, p.lc, p.dc, p.lc, &best.algo, p.workspace, 4096,
                                    NULL), CUBLAS_STATUS_INVALID_VALUE);
    assert_non_null(strstr(gm_sim_first_error(), "found for other shapes"));
    gm_sim_take_errors();
    set(p.op, CUBLASLT_MATMUL_DESC_EPILOGUE, &unknown, sizeof unknown);
    assert_int_equal(choose(&p, &best), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(cublasLtMatmulDescSetAttribute(p.op, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &one, 1), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(cublasLtMatmulDescSetAttribute(p.op, CUBLASLT_MATMUL_DESC_TRANSA, &one, 1), CUBLAS_STATUS_INVALID_VALUE);
    drop(&p);
}

static void matrices_lie_in_device_memory(void **state)
{
    (void)state;
    const float one = 1.0f, zero = 0.0f;
    problem p = make(false, false, CUBLASLT_EPILOGUE_DEFAULT);
    cublasLtMatmul(p.library, p.op, &one, p.a, p.la, p.db, p.lb, &zero, p.dc, p.lc, p.dc, p.lc, NULL, NULL, 0, NULL);
    assert_non_null(strstr(gm_sim_first_error(), "A [6, 7]"));
    gm_sim_take_errors();
    cublasLtMatmul(p.library, p.op, &one, p.da, p.la, p.db, p.lb, &zero, p.dc, p.lc, p.dc + MOST - M * N + 1, p.lc, NULL, NULL, 0, NULL);
    assert_non_null(strstr(gm_sim_first_error(), "D [6, 5]"));
    gm_sim_take_errors();
    drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_in_all_layouts), cmocka_unit_test(bias_is_added_to_each_column),
        cmocka_unit_test(bias_gradients_are_sums_over_k), cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(matrices_lie_in_device_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
