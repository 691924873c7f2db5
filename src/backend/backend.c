/* Opens the CPU backend: the rows of the best instruction set that both the build and the machine have. */
#include "backend/backend.h"

#include <string.h>

#include "base/log.h"
#include "gemm.h"

#ifdef GM_HAVE_CPU_V4
#define ROWS_OF(op) gm_row_cpu_v4_##op
#define FILL fill_v4
#include "backend/rows.h"
#define ROWS_OF(op) gm_row_cpu_v3_##op
#define FILL fill_v3
#include "backend/rows.h"
#define ROWS_OF(op) gm_row_cpu_v2_##op
#define FILL fill_v2
#include "backend/rows.h"

static bool runs_v2(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
static bool runs_v3(void)
{
    return runs_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
static bool runs_v4(void)
{
    return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
#define ROWS_OF(op) gm_row_cpu_generic_##op
#define FILL fill_generic
#include "backend/rows.h"
static bool runs_generic(void) { return true; }
#endif

/* Best first. */
static const struct {
    const char *name;
    bool (*runs)(void);
    void (*fill)(gm_kernels *k);
} sets[] = {
#ifdef GM_HAVE_CPU_V4
    { "v4", runs_v4, fill_v4 },
    { "v3", runs_v3, fill_v3 },
    { "v2", runs_v2, fill_v2 },
#else
    { "generic", runs_generic, fill_generic },
#endif
};

int gm_backend_isas(const char *names[4])
{
    int count = 0;
    for (size_t i = 0; i < GM_LEN(sets); i++)
        if (sets[i].runs()) names[count++] = sets[i].name;
    return count;
}

static gm_status open_cpu(const char *isa, gm_backend *b, gm_err *err)
{
    const bool any = strcmp(isa, "auto") == 0;
    for (size_t i = 0; i < GM_LEN(sets); i++) {
        if (!any && strcmp(isa, sets[i].name) != 0) continue;
        if (!sets[i].runs()) {
            if (any) continue;
            return gm_fail(err, GM_ERR_DEVICE, "--cpu-isa %s: this processor lacks it; leave the option out to take the best there is", isa);
        }
        *b = (gm_backend){ .name = "cpu", .isa = sets[i].name };
        sets[i].fill(&b->kernels);
        return GM_OK;
    }
    if (any) return gm_fail(err, GM_ERR_DEVICE, "this processor is older than x86-64-v2, the least that the build supports");
    return gm_fail(err, GM_ERR_USAGE, "--cpu-isa %s: this build knows auto and %s and older", isa, sets[0].name);
}

gm_status gm_backend_open(const char *device, const char *isa, gm_backend *b, gm_err *err)
{
    if (strcmp(device, "cpu") == 0) return open_cpu(isa, b, err);
    if (strcmp(device, "auto") == 0) {
        GM_TRY(open_cpu(isa, b, err));
        gm_log(GM_LOG_INFO, "device", "auto: this build has no cuda module, so the cpu (%s) it is", b->isa);
        return GM_OK;
    }
    if (strcmp(device, "cuda") == 0)
        return gm_fail(err, GM_ERR_DEVICE, "--device cuda: this build has no cuda module; use --device cpu or auto");
    if (strcmp(device, "sim") == 0)
        return gm_fail(err, GM_ERR_DEVICE, "--device sim: this build has no simulator module (tests only); use --device cpu or auto");
    return gm_fail(err, GM_ERR_USAGE, "--device is cpu, cuda, sim or auto, not \"%s\"", device);
}

gm_status gm_device_create(const gm_backend *b, int threads, gm_device *dev, gm_err *err)
{
    (void)b;
    *dev = (gm_device){ .threads = threads, .err = err };
    return gm_plans_create(&dev->plans, err);
}

void gm_device_destroy(gm_device *dev)
{
    if (dev == NULL) return;
    gm_plans_destroy(dev->plans);
    *dev = (gm_device){ 0 };
}

int64_t gm_device_plan_count(const gm_device *dev) { return gm_plans_count(dev->plans); }
