/* The cuBLASLt calls on the product. Attributes and epilogues that are not modelled are refused, never ignored. An
 * algorithm belongs to the shapes it was found for, and a workspace is scribbled over, as on a device. */
#include <cublasLt.h>

#include "internal.h"
#include "product.h"

using namespace emu;

struct Layout {
    cudaDataType type;
    int32_t order, batch;
    uint64_t rows, cols;
    int64_t ld, step;
};
struct Operation {
    cublasComputeType_t compute;
    cudaDataType scale_type;
    int32_t turned_a, turned_b, epilogue;
    bool has_bias_type;
    cudaDataType bias_type;
    void *bias, *aux;
    int64_t aux_ld;
};
struct Limits { uint64_t workspace; };
struct Algorithm { uint64_t magic, shapes, workspace; };

/* Descriptors of the caller hold ours in place. */
static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "a layout fits its descriptor");
static_assert(sizeof(Operation) <= sizeof(cublasLtMatmulDescOpaque_t), "an operation fits its descriptor");
static_assert(sizeof(Limits) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "limits fit their descriptor");
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm fits its descriptor");

static const uint64_t MAGIC = 0x676D5F73696D5F6Cull;
static const uint64_t WORKSPACE_WANTED = 4096;

static const Layout &layout(cublasLtMatrixLayout_t l) { return *(const Layout *)l; }
static const Operation &operation(cublasLtMatmulDesc_t d) { return *(const Operation *)d; }

template <class T> static cublasStatus_t set(T *to, const void *value, size_t bytes)
{
    if (bytes != sizeof(T) || !value) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, sizeof(T));
    return CUBLAS_STATUS_SUCCESS;
}

static Matrix matrix(const void *data, const Layout &l)
{
    return { (void *)data, l.type, (int64_t)l.rows, (int64_t)l.cols, l.ld, l.order == CUBLASLT_ORDER_ROW };
}

static Product product(const Operation &o, const void *alpha, const void *a, const Layout &la, const void *b, const Layout &lb,
                       const void *beta, const void *c, const Layout &lc, void *d, const Layout &ld)
{
    const float one = 1.0f, zero = 0.0f;
    const Epilogue e = { o.epilogue, o.bias, o.aux, o.has_bias_type ? o.bias_type : ld.type, o.aux_ld };
    return { matrix(a, la), matrix(b, lb), matrix(c, lc), matrix(d, ld), o.turned_a != CUBLAS_OP_N, o.turned_b != CUBLAS_OP_N,
             *(const float *)(alpha ? alpha : &one), *(const float *)(beta ? beta : &zero), o.compute, e };
}

static bool is_float_type(cudaDataType t) { return t == CUDA_R_32F || t == CUDA_R_16BF || t == CUDA_R_16F; }

static cublasStatus_t check_epilogue(const Product &p)
{
    const int forward = CUBLASLT_EPILOGUE_DEFAULT | CUBLASLT_EPILOGUE_RELU | CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_GELU |
                        CUBLASLT_EPILOGUE_GELU_AUX;
    const bool sums = p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADA || p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADB;
    if (!sums && (p.epilogue.kind & ~forward)) return CUBLAS_STATUS_NOT_SUPPORTED;
    const bool plain = p.epilogue.kind == CUBLASLT_EPILOGUE_DEFAULT;
    if (!plain && p.d.row_major) return CUBLAS_STATUS_NOT_SUPPORTED; /* vectors run along columns of D */
    if ((sums || (p.epilogue.kind & CUBLASLT_EPILOGUE_BIAS)) && !p.epilogue.bias) return CUBLAS_STATUS_INVALID_VALUE;
    const bool wants_aux = (p.epilogue.kind & CUBLASLT_EPILOGUE_GELU_AUX) == CUBLASLT_EPILOGUE_GELU_AUX;
    return wants_aux && !p.epilogue.aux ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check(const Product &p, const Operation &o)
{
    if (!product_fits(p)) return CUBLAS_STATUS_INVALID_VALUE;
    const bool computes = o.compute == CUBLAS_COMPUTE_32F || o.compute == CUBLAS_COMPUTE_32F_FAST_TF32 || o.compute == CUBLAS_COMPUTE_32F_FAST_16BF;
    if (!computes || o.scale_type != CUDA_R_32F || !is_float_type(p.a.type) || !is_float_type(p.d.type)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.a.type == CUDA_R_32F && p.d.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.m() == 0 || p.n() == 0 || p.k() == 0) return CUBLAS_STATUS_INVALID_VALUE;
    return check_epilogue(p);
}

/* What an algorithm was chosen for. */
static uint64_t shapes_of(const Product &p)
{
    const int64_t facts[] = { p.m(), p.n(), p.k(), p.a.ld, p.b.ld, p.c.ld, p.d.ld, p.a.type, p.d.type, p.a_turned, p.b_turned,
                              p.epilogue.kind, p.compute };
    uint64_t hash = 14695981039346656037ull;
    for (const int64_t fact : facts) hash = (hash ^ (uint64_t)fact) * 1099511628211ull;
    return hash;
}

static cublasStatus_t check_algorithm(const cublasLtMatmulAlgo_t *chosen, const Product &p, const void *workspace, size_t bytes)
{
    if (!chosen) return CUBLAS_STATUS_SUCCESS;
    Algorithm a;
    memcpy(&a, chosen, sizeof a);
    if (a.magic != MAGIC || a.shapes != shapes_of(p)) {
        fail(nullptr, 0, "cublasLtMatmul: the algorithm was found for other shapes, types or epilogue");
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return a.workspace > bytes || (a.workspace && !workspace) ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}

static void scribble(void *workspace, size_t bytes)
{
    if (!workspace || bytes == 0) return;
    if (!device_range(workspace, bytes)) {
        fail(nullptr, 0, "cublasLtMatmul: the workspace at %p is not %zu bytes of device memory", workspace, bytes);
        return;
    }
    const size_t used = std::min<size_t>(bytes, WORKSPACE_WANTED);
    memset(workspace, config.poison, used);
}

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = (cublasLtHandle_t) new char;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete (char *)handle;
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_INVALID_VALUE: return "an unsupported value or parameter was passed";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "the requested functionality is not supported";
    default: return "error";
    }
}
const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_INTERNAL_ERROR";
    }
}

/* ---- layouts ---- */

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t l, size_t bytes, cudaDataType type, uint64_t rows, uint64_t cols,
                                                 int64_t ld)
{
    if (bytes < sizeof(Layout)) return CUBLAS_STATUS_INVALID_VALUE;
    const Layout own = { type, CUBLASLT_ORDER_COL, 1, rows, cols, ld, 0 };
    memcpy((void *)l, &own, sizeof own);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
    *l = new cublasLtMatrixLayoutOpaque_t;
    return cublasLtMatrixLayoutInit_internal(*l, sizeof **l, type, rows, cols, ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete l;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                size_t bytes)
{
    Layout *own = (Layout *)l;
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return set(&own->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return set(&own->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(&own->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return set(&own->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return set(&own->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(&own->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&own->step, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

/* ---- operations ---- */

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t d, size_t bytes, cublasComputeType_t compute, cudaDataType scale_type)
{
    if (bytes < sizeof(Operation)) return CUBLAS_STATUS_INVALID_VALUE;
    const Operation own = { compute, scale_type, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, false, CUDA_R_32F, nullptr, nullptr, 0 };
    memcpy((void *)d, &own, sizeof own);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType scale_type)
{
    *d = new cublasLtMatmulDescOpaque_t;
    return cublasLtMatmulDescInit_internal(*d, sizeof **d, compute, scale_type);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete d;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes)
{
    Operation *own = (Operation *)d;
    int32_t mode;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: return set(&own->compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE: return set(&own->scale_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&own->turned_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(&own->turned_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&own->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&own->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: own->has_bias_type = true; return set(&own->bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return set(&own->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return set(&own->aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: /* scalars of the host only */
        if (set(&mode, value, bytes) != CUBLAS_STATUS_SUCCESS) return CUBLAS_STATUS_INVALID_VALUE;
        return mode == CUBLASLT_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

/* ---- the choice of an algorithm ---- */

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t p, size_t bytes)
{
    if (bytes < sizeof(Limits)) return CUBLAS_STATUS_INVALID_VALUE;
    memset((void *)p, 0, bytes);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = new cublasLtMatmulPreferenceOpaque_t;
    return cublasLtMatmulPreferenceInit_internal(*p, sizeof **p);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    uint32_t alignment; /* any is good enough here */
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(&((Limits *)p)->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(&alignment, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t result, cublasLtMatmulPreference_t limits,
                                              int wanted, cublasLtMatmulHeuristicResult_t *results, int *count)
{
    *count = 0;
    if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
    const Product p = product(operation(d), nullptr, nullptr, layout(a), nullptr, layout(b), nullptr, nullptr, layout(c), nullptr, layout(result));
    const cublasStatus_t status = check(p, operation(d));
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const Algorithm algorithm = { MAGIC, shapes_of(p), std::min<uint64_t>(((const Limits *)limits)->workspace, WORKSPACE_WANTED) };
    memset((void *)results, 0, sizeof *results);
    memcpy((void *)&results->algo, &algorithm, sizeof algorithm);
    results->workspaceSize = algorithm.workspace;
    results->state = CUBLAS_STATUS_SUCCESS;
    results->wavesCount = 1.0f;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                              const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *d,
                              cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    const Product p = product(operation(desc), alpha, a, layout(la), b, layout(lb), beta, c, layout(lc), d, layout(ld));
    const int32_t batch = layout(ld).batch;
    cublasStatus_t status = check(p, operation(desc));
    if (status == CUBLAS_STATUS_SUCCESS) status = check_algorithm(algorithm, p, workspace, workspace_bytes);
    if (status == CUBLAS_STATUS_SUCCESS && (layout(la).batch != batch || layout(lb).batch != batch || layout(lc).batch != batch))
        status = CUBLAS_STATUS_INVALID_VALUE;
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const int64_t step_a = layout(la).step, step_b = layout(lb).step, step_c = layout(lc).step, step_d = layout(ld).step;
    enqueue(stream, [=] {
        scribble(workspace, workspace_bytes);
        for (int64_t i = 0; i < batch; i++) {
            Product one = p;
            one.a.data = (char *)p.a.data + i * step_a * (int64_t)p.a.element_bytes();
            one.b.data = (char *)p.b.data + i * step_b * (int64_t)p.b.element_bytes();
            one.c.data = (char *)p.c.data + i * step_c * (int64_t)p.c.element_bytes();
            one.d.data = (char *)p.d.data + i * step_d * (int64_t)p.d.element_bytes();
            product_run(one, "cublasLtMatmul");
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}
}
