/* Matrix products through cuBLASLt. The library is column-major, where our row-major matrix is its own transpose: a
 * row-major c = a b is the column-major c' = b' a', so the operands change places and nothing is copied. */
#include "backend/cuda/gemm_cuda.h"

#include <cublasLt.h>
#include <string.h>

#include "backend/cuda/cuda_error.h"
#include "backend/plans.h"
#include "base/memory.h"

enum { FLAG_A_TRANSPOSED = 1, FLAG_B_TRANSPOSED = 2, FLAG_ADD = 4, FLAG_BIAS = 8, FLAG_SUM_A = 16 };

/* What tells plans apart; only int32_t, so that it compares as bytes. Alignments count because the library's algorithms
 * ask for up to 256 bytes unless told that there is less. */
typedef struct plan_key {
    int32_t m, n, k, in, out, flags;
    int32_t align_a, align_b, align_c, align_extra;
} plan_key;

typedef struct plan {
    plan_key key;             /* stands first: gm_plan_table */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t first, second, result; /* b, a and c of the row-major view */
    cublasLtMatmulAlgo_t algorithm;
    bool is_fused;
} plan;

struct gm_plans {
    cublasLtHandle_t library;
    gm_plan_table table;
};

static const float one = 1.0f, zero = 0.0f;

static gm_status fail_blas(gm_err *err, const gm_cuda_gemm *g, const char *call, cublasStatus_t status)
{
    return gm_fail(err, GM_ERR_DEVICE, "%s failed for a product [%d, %d] x [%d, %d]: %s", call, g->m, g->k, g->k, g->n,
                   cublasLtGetStatusString(status));
}

#define BLAS_TRY(call)                                                                     \
    do {                                                                                   \
        const cublasStatus_t blas_try_ = (call);                                           \
        if (blas_try_ != CUBLAS_STATUS_SUCCESS) return fail_blas(err, g, #call, blas_try_); \
    } while (0)

gm_status gm_cuda_plans_create(gm_plans **plans, gm_err *err)
{
    gm_plans *made = gm_calloc(1, sizeof *made);
    *plans = NULL;
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a device's plans");
    made->table.key_words = sizeof(plan_key) / sizeof(uint32_t);
    const cublasStatus_t created = cublasLtCreate(&made->library);
    if (created != CUBLAS_STATUS_SUCCESS) {
        gm_free(made);
        return gm_fail(err, GM_ERR_DEVICE, "cublasLtCreate failed: %s", cublasLtGetStatusString(created));
    }
    *plans = made;
    return GM_OK;
}

static void plan_destroy(void *pointer)
{
    plan *p = pointer;
    if (p->product != NULL) cublasLtMatmulDescDestroy(p->product);
    if (p->first != NULL) cublasLtMatrixLayoutDestroy(p->first);
    if (p->second != NULL) cublasLtMatrixLayoutDestroy(p->second);
    if (p->result != NULL) cublasLtMatrixLayoutDestroy(p->result);
    gm_free(p);
}

void gm_cuda_plans_destroy(gm_plans *plans)
{
    if (plans == NULL) return;
    gm_plan_table_free(&plans->table, plan_destroy);
    if (plans->library != NULL) cublasLtDestroy(plans->library);
    gm_free(plans);
}

int64_t gm_cuda_plans_count(const gm_plans *plans) { return plans != NULL ? (int64_t)plans->table.count : 0; }

/* The largest power of two up to 256 that divides the address. */
static int32_t alignment_of(const void *p)
{
    const uintptr_t address = (uintptr_t)p | 256;
    return (int32_t)(address & (~address + 1));
}

static void *extra_of(const gm_cuda_gemm *g) { return g->bias != NULL ? (void *)(uintptr_t)g->bias : g->sum_a; }

static plan_key key_of(const gm_cuda_gemm *g)
{
    const int32_t flags = (g->a_transposed ? FLAG_A_TRANSPOSED : 0) | (g->b_transposed ? FLAG_B_TRANSPOSED : 0) | (g->add ? FLAG_ADD : 0) |
                          (g->bias != NULL ? FLAG_BIAS : 0) | (g->sum_a != NULL ? FLAG_SUM_A : 0);
    return (plan_key){ .m = g->m, .n = g->n, .k = g->k, .in = (int32_t)g->in, .out = (int32_t)g->out, .flags = flags,
                       .align_a = alignment_of(g->a), .align_b = alignment_of(g->b), .align_c = alignment_of(g->c),
                       .align_extra = alignment_of(extra_of(g)) };
}

static cudaDataType_t type_of(gm_float_type precision) { return precision == GM_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

/* The row-major matrix [rows, cols] as the library sees it: column-major [cols, rows]. */
static gm_status make_layout(const gm_cuda_gemm *g, cublasLtMatrixLayout_t *layout, gm_float_type type, int32_t rows, int32_t cols, gm_err *err)
{
    BLAS_TRY(cublasLtMatrixLayoutCreate(layout, type_of(type), (uint64_t)cols, (uint64_t)rows, cols));
    return GM_OK;
}

static gm_status set_epilogue(const gm_cuda_gemm *g, plan *p, cublasLtEpilogue_t epilogue, gm_err *err)
{
    BLAS_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    return GM_OK;
}

/* The search for an algorithm reads the pointer's alignment, so it is set before as well as at each run. */
static gm_status set_extra(const gm_cuda_gemm *g, plan *p, gm_err *err)
{
    void *extra = extra_of(g);
    BLAS_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &extra, sizeof extra));
    return GM_OK;
}

static gm_status describe(const gm_cuda_gemm *g, plan *p, gm_err *err)
{
    const cublasOperation_t plain = CUBLAS_OP_N, turned = CUBLAS_OP_T;
    BLAS_TRY(cublasLtMatmulDescCreate(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    BLAS_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, g->b_transposed ? &turned : &plain, sizeof plain));
    BLAS_TRY(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSB, g->a_transposed ? &turned : &plain, sizeof plain));
    GM_TRY(make_layout(g, &p->first, g->in, g->b_transposed ? g->n : g->k, g->b_transposed ? g->k : g->n, err));
    GM_TRY(make_layout(g, &p->second, g->in, g->a_transposed ? g->k : g->m, g->a_transposed ? g->m : g->k, err));
    return make_layout(g, &p->result, g->out, g->m, g->n, err);
}

static cublasStatus_t set_limit(cublasLtMatmulPreference_t limits, cublasLtMatmulPreferenceAttributes_t which, int32_t align)
{
    const uint32_t bytes = (uint32_t)align;
    return cublasLtMatmulPreferenceSetAttribute(limits, which, &bytes, sizeof bytes);
}

/* The library's first choice within our workspace and alignments; *found is false where it has none. */
static gm_status choose(const gm_plans *plans, const gm_cuda_gemm *g, plan *p, const gm_device *dev, bool *found)
{
    gm_err *err = dev->err;
    cublasLtMatmulPreference_t limits = NULL;
    cublasLtMatmulHeuristicResult_t best;
    int count = 0;
    BLAS_TRY(cublasLtMatmulPreferenceCreate(&limits));
    const uint64_t workspace = dev->workspace_bytes;
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(limits, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    if (status == CUBLAS_STATUS_SUCCESS) status = set_limit(limits, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p->key.align_b);
    if (status == CUBLAS_STATUS_SUCCESS) status = set_limit(limits, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p->key.align_a);
    if (status == CUBLAS_STATUS_SUCCESS) status = set_limit(limits, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p->key.align_c);
    if (status == CUBLAS_STATUS_SUCCESS) status = set_limit(limits, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p->key.align_c);
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = cublasLtMatmulAlgoGetHeuristic(plans->library, p->product, p->first, p->second, p->result, p->result, limits, 1, &best, &count);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
            count = 0;
            status = CUBLAS_STATUS_SUCCESS;
        }
    }
    cublasLtMatmulPreferenceDestroy(limits);
    if (status != CUBLAS_STATUS_SUCCESS) return fail_blas(err, g, "cublasLtMatmulAlgoGetHeuristic", status);
    *found = count > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    if (*found) p->algorithm = best.algo;
    return GM_OK;
}

static gm_status fill_plan(const gm_plans *plans, const gm_cuda_gemm *g, plan *p, const gm_device *dev)
{
    gm_err *err = dev->err;
    bool found = false;
    GM_TRY(describe(g, p, err));
    if (extra_of(g) != NULL) {
        GM_TRY(set_epilogue(g, p, g->bias != NULL ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB, err));
        GM_TRY(set_extra(g, p, err));
        GM_TRY(choose(plans, g, p, dev, &found));
        if (found) {
            p->is_fused = true;
            return GM_OK;
        }
        GM_TRY(set_epilogue(g, p, CUBLASLT_EPILOGUE_DEFAULT, err));
    }
    GM_TRY(choose(plans, g, p, dev, &found));
    return found ? GM_OK : fail_blas(err, g, "cublasLtMatmulAlgoGetHeuristic", CUBLAS_STATUS_NOT_SUPPORTED);
}

static gm_status find_plan(gm_plans *plans, const gm_cuda_gemm *g, const gm_device *dev, plan **found)
{
    const plan_key key = key_of(g);
    *found = gm_plan_table_find(&plans->table, &key);
    if (*found != NULL) return GM_OK;
    plan *p = gm_calloc(1, sizeof *p);
    if (p == NULL) return gm_fail(dev->err, GM_ERR_NOMEM, "out of memory for a plan");
    p->key = key;
    gm_status status = fill_plan(plans, g, p, dev);
    if (status == GM_OK) status = gm_plan_table_add(&plans->table, p, dev->err);
    if (status != GM_OK) plan_destroy(p);
    *found = p;
    return status;
}

/* A product over nothing is zero, which the library would refuse. */
static gm_status run_empty(const gm_cuda_gemm *g, gm_device *dev)
{
    const size_t bytes = (size_t)g->m * (size_t)g->n * (g->out == GM_BF16 ? 2 : 4);
    if (!g->add) CUDA_TRY(dev->err, cudaMemsetAsync(g->c, 0, bytes, (cudaStream_t)dev->stream));
    return GM_OK;
}

gm_status gm_cuda_gemm_run(const gm_cuda_gemm *g, gm_device *dev, bool *is_fused)
{
    gm_err *err = dev->err;
    plan *p;
    if (is_fused != NULL) *is_fused = false;
    if (g->m == 0 || g->n == 0) return GM_OK;
    if (g->k == 0) return run_empty(g, dev);
    GM_TRY(find_plan(dev->plans, g, dev, &p));
    if (p->is_fused) GM_TRY(set_extra(g, p, err));
    if (is_fused != NULL) *is_fused = p->is_fused;
    BLAS_TRY(cublasLtMatmul(dev->plans->library, p->product, &one, g->b, p->first, g->a, p->second, g->add ? &one : &zero, g->c, p->result,
                            g->c, p->result, &p->algorithm, dev->workspace, dev->workspace_bytes, (cudaStream_t)dev->stream));
    return GM_OK;
}
