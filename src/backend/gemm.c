/* Matrix products through oneDNN's matmul. A plan (primitive, memory objects, scratchpad) is made once a shape and kept
 * in an open-addressed table of the device, so a steady loop makes none. Bits depend on shape and thread count alone. */
#include "gemm.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "backend/plans.h"
#include "base/memory.h"

typedef struct plan_key { int32_t m, n, k, flags; } plan_key;

typedef struct plan {
    plan_key key;             /* stands first: gm_plan_table */
    dnnl_primitive_t run;
    dnnl_memory_t a, b, bias, c, scratch;
    void *scratch_bytes;
} plan;

struct gm_plans {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    gm_plan_table table;
};

static gm_status fail_dnnl(gm_err *err, const gm_gemm *g, const char *call, dnnl_status_t status)
{
    return gm_fail(err, GM_ERR_DEVICE, "%s failed with status %d for a product [%d, %d] x [%d, %d]", call, (int)status, g->m, g->k, g->k, g->n);
}

#define DNNL_TRY(call)                                                            \
    do {                                                                          \
        const dnnl_status_t dnnl_try_ = (call);                                   \
        if (dnnl_try_ != dnnl_success) return fail_dnnl(err, g, #call, dnnl_try_); \
    } while (0)

gm_status gm_plans_create(gm_plans **plans, gm_err *err)
{
    gm_plans *made = gm_calloc(1, sizeof *made);
    *plans = NULL;
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a device's plans");
    made->table.key_words = sizeof(plan_key) / sizeof(uint32_t);
    if (dnnl_engine_create(&made->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&made->stream, made->engine, dnnl_stream_default_flags) != dnnl_success) {
        gm_plans_destroy(made);
        return gm_fail(err, GM_ERR_DEVICE, "oneDNN cannot make a CPU engine");
    }
    *plans = made;
    return GM_OK;
}

static void plan_destroy(void *pointer)
{
    plan *p = pointer;
    const dnnl_memory_t memories[] = { p->a, p->b, p->bias, p->c, p->scratch };
    for (size_t i = 0; i < GM_LEN(memories); i++)
        if (memories[i] != NULL) dnnl_memory_destroy(memories[i]);
    if (p->run != NULL) dnnl_primitive_destroy(p->run);
    gm_free(p->scratch_bytes);
    gm_free(p);
}

void gm_plans_destroy(gm_plans *plans)
{
    if (plans == NULL) return;
    gm_plan_table_free(&plans->table, plan_destroy);
    if (plans->stream != NULL) dnnl_stream_destroy(plans->stream);
    if (plans->engine != NULL) dnnl_engine_destroy(plans->engine);
    gm_free(plans);
}

int64_t gm_plans_count(const gm_plans *plans) { return (int64_t)plans->table.count; }

static plan_key key_of(const gm_gemm *g)
{
    return (plan_key){ g->m, g->n, g->k, (int32_t)g->a_transposed | (int32_t)g->b_transposed << 1 | (int32_t)g->add << 2 |
                                           (int32_t)(g->bias != NULL) << 3 | (int32_t)g->in << 4 | (int32_t)g->out << 5 };
}

static gm_status matrix_desc(const gm_gemm *g, dnnl_memory_desc_t *md, int32_t rows, int32_t cols, bool transposed, gm_float_type type, gm_err *err)
{
    const dnnl_dims_t dims = { rows, cols }, plain = { cols, 1 }, turned = { 1, rows };
    DNNL_TRY(dnnl_memory_desc_init_by_strides(md, 2, dims, type == GM_BF16 ? dnnl_bf16 : dnnl_f32, transposed ? turned : plain));
    return GM_OK;
}

/* The primitive descriptor of a shape: c = a b (+ bias) (+ c), scratchpad given by us. */
static gm_status describe(gm_plans *plans, const gm_gemm *g, dnnl_memory_desc_t md[4], dnnl_primitive_desc_t *pd, gm_err *err)
{
    GM_TRY(matrix_desc(g, &md[0], g->m, g->k, g->a_transposed, g->in, err));
    GM_TRY(matrix_desc(g, &md[1], g->k, g->n, g->b_transposed, g->in, err));
    GM_TRY(matrix_desc(g, &md[2], 1, g->n, false, GM_FP32, err));
    GM_TRY(matrix_desc(g, &md[3], g->m, g->n, false, g->out, err));
    dnnl_matmul_desc_t desc;
    DNNL_TRY(dnnl_matmul_desc_init(&desc, &md[0], &md[1], g->bias != NULL ? &md[2] : NULL, &md[3]));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && g->add) {
        status = dnnl_post_ops_create(&post);
        if (status == dnnl_success) status = dnnl_post_ops_append_sum(post, 1.0f);
        if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attr, post);
    }
    if (status == dnnl_success) status = dnnl_primitive_desc_create(pd, &desc, attr, plans->engine, NULL);
    if (post != NULL) dnnl_post_ops_destroy(post);
    if (attr != NULL) dnnl_primitive_attr_destroy(attr);
    return status == dnnl_success ? GM_OK : fail_dnnl(err, g, "dnnl_primitive_desc_create", status);
}

static gm_status fill_plan(gm_plans *plans, const gm_gemm *g, plan *p, gm_err *err)
{
    dnnl_memory_desc_t md[4];
    dnnl_primitive_desc_t pd = NULL;
    GM_TRY(describe(plans, g, md, &pd, err));
    const dnnl_memory_desc_t scratch = *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    const dnnl_status_t status = dnnl_primitive_create(&p->run, pd);
    dnnl_primitive_desc_destroy(pd);
    if (status != dnnl_success) return fail_dnnl(err, g, "dnnl_primitive_create", status);
    const size_t bytes = dnnl_memory_desc_get_size(&scratch);
    p->scratch_bytes = gm_malloc(bytes + 64);
    if (p->scratch_bytes == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a product's scratch of %zu bytes", bytes);
    void *aligned = (void *)(((uintptr_t)p->scratch_bytes + 63) / 64 * 64);
    DNNL_TRY(dnnl_memory_create(&p->a, &md[0], plans->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->b, &md[1], plans->engine, DNNL_MEMORY_NONE));
    if (g->bias != NULL) DNNL_TRY(dnnl_memory_create(&p->bias, &md[2], plans->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->c, &md[3], plans->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->scratch, &scratch, plans->engine, aligned));
    return GM_OK;
}

static gm_status find_plan(gm_plans *plans, const gm_gemm *g, plan **found, gm_err *err)
{
    const plan_key key = key_of(g);
    *found = gm_plan_table_find(&plans->table, &key);
    if (*found != NULL) return GM_OK;
    plan *p = gm_calloc(1, sizeof *p);
    if (p == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a plan");
    p->key = key;
    gm_status status = fill_plan(plans, g, p, err);
    if (status == GM_OK) status = gm_plan_table_add(&plans->table, p, err);
    if (status != GM_OK) plan_destroy(p);
    *found = p;
    return status;
}

gm_status gm_gemm_run(const gm_gemm *g, gm_device *dev)
{
    gm_err *err = dev->err;
    if (g->m == 0 || g->n == 0) return GM_OK;
    /* oneDNN splits work by this count, when a plan is made and when it runs: the bits depend on it. */
    if (omp_get_max_threads() != dev->threads) omp_set_num_threads(dev->threads);
    plan *p;
    GM_TRY(find_plan(dev->plans, g, &p, err));
    /* The handles are not const in oneDNN's interface; sources are only read. */
    DNNL_TRY(dnnl_memory_set_data_handle(p->a, (void *)(uintptr_t)g->a));
    DNNL_TRY(dnnl_memory_set_data_handle(p->b, (void *)(uintptr_t)g->b));
    if (g->bias != NULL) DNNL_TRY(dnnl_memory_set_data_handle(p->bias, (void *)(uintptr_t)g->bias));
    DNNL_TRY(dnnl_memory_set_data_handle(p->c, g->c));
    const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, p->a }, { DNNL_ARG_WEIGHTS, p->b }, { DNNL_ARG_DST, p->c },
                                     { DNNL_ARG_SCRATCHPAD, p->scratch }, { DNNL_ARG_BIAS, p->bias } };
    DNNL_TRY(dnnl_primitive_execute(p->run, dev->plans->stream, g->bias != NULL ? 5 : 4, args));
    DNNL_TRY(dnnl_stream_wait(dev->plans->stream));
    return GM_OK;
}

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
const char *gm_gemm_library(void)
{
    return "oneDNN " TEXT(DNNL_VERSION_MAJOR) "." TEXT(DNNL_VERSION_MINOR) "." TEXT(DNNL_VERSION_PATCH);
}

/* Sets of instructions are masks: those with tiles hold this one. */
bool gm_gemm_has_tiles(void) { return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx; }
