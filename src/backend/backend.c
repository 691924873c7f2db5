/* Opens backends: on the cpu the rows of the best instruction set that both the build and the machine have, else a module. */
#define _GNU_SOURCE
#include "backend/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "gemm.h"

enum { GM_MODULE_PATH = 8192 };

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
#define ROWS_OF(op) gm_row_cpu_v4_bf16_##op
#define FILL fill_v4_bf16
#include "backend/rows.h"
#define ROWS_OF(op) gm_row_cpu_v3_bf16_##op
#define FILL fill_v3_bf16
#include "backend/rows.h"
#define ROWS_OF(op) gm_row_cpu_v2_bf16_##op
#define FILL fill_v2_bf16
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
#define ROWS_OF(op) gm_row_cpu_generic_bf16_##op
#define FILL fill_generic_bf16
#include "backend/rows.h"
static bool runs_generic(void) { return true; }
#endif

/* Best first. */
static const struct {
    const char *name;
    bool (*runs)(void);
    void (*fill[GM_PRECISION_COUNT])(gm_kernels *k);
} sets[] = {
#ifdef GM_HAVE_CPU_V4
    { "v4", runs_v4, { fill_v4, fill_v4_bf16 } },
    { "v3", runs_v3, { fill_v3, fill_v3_bf16 } },
    { "v2", runs_v2, { fill_v2, fill_v2_bf16 } },
#else
    { "generic", runs_generic, { fill_generic, fill_generic_bf16 } },
#endif
};

/* oneDNN multiplies bf16 on processors with AVX-512 only, whichever hot loops were chosen. */
bool gm_backend_has_bf16(void)
{
#ifdef GM_HAVE_CPU_V4
    return runs_v4();
#else
    return false;
#endif
}

int gm_backend_isas(const char *names[4])
{
    int count = 0;
    for (size_t i = 0; i < GM_LEN(sets); i++)
        if (sets[i].runs()) names[count++] = sets[i].name;
    return count;
}

static gm_status host_alloc(gm_device *dev, size_t bytes, void **block)
{
    enum { LARGE = 4 << 20 };
    *block = gm_malloc(bytes);
    if (bytes >= LARGE) gm_use_large_pages(*block, bytes);
    return *block != NULL ? GM_OK : gm_fail(dev->err, GM_ERR_NOMEM, "out of memory for %zu bytes", bytes);
}

static void host_release(gm_device *dev, void *block)
{
    (void)dev;
    gm_free(block);
}

static gm_status host_move(gm_device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev;
    if (to != from && bytes > 0) memcpy(to, from, bytes);
    return GM_OK;
}

static gm_status host_fill(gm_device *dev, void *to, int byte, size_t bytes)
{
    (void)dev;
    if (bytes > 0) memset(to, byte, bytes);
    return GM_OK;
}

static gm_status no_wait(gm_device *dev)
{
    (void)dev;
    return GM_OK;
}

static const gm_device_memory host_memory = { .is_host = true, .alloc = host_alloc, .release = host_release, .host_alloc = host_alloc,
                                              .host_release = host_release, .upload = host_move, .download = host_move, .copy = host_move,
                                              .fill = host_fill, .sync = no_wait };

static gm_status open_cpu(const char *isa, gm_float_type type, gm_backend *b, gm_err *err)
{
    const bool any = strcmp(isa, "auto") == 0;
    if (type == GM_BF16 && !gm_backend_has_bf16())
        return gm_fail(err, GM_ERR_DEVICE, "precision bf16: this processor lacks AVX-512, which products in bf16 need; use precision fp32, or --device cuda");
    for (size_t i = 0; i < GM_LEN(sets); i++) {
        if (!any && strcmp(isa, sets[i].name) != 0) continue;
        if (!sets[i].runs()) {
            if (any) continue;
            return gm_fail(err, GM_ERR_DEVICE, "--cpu-isa %s: this processor lacks it; leave the option out to take the best there is", isa);
        }
        *b = (gm_backend){ .name = "cpu", .isa = sets[i].name, .library = gm_gemm_library(), .type = type, .memory = &host_memory };
        sets[i].fill[type](&b->kernels);
        return GM_OK;
    }
    if (any) return gm_fail(err, GM_ERR_DEVICE, "this processor is older than x86-64-v2, the least that the build supports");
    return gm_fail(err, GM_ERR_USAGE, "--cpu-isa %s: this build knows auto and %s and older", isa, sets[0].name);
}

/* Where a module may lie: beside the program, or where `make install` puts it. */
static bool find_module(const char *name, char path[GM_MODULE_PATH])
{
    static const char *const places[] = { "", "../" GM_MODULE_DIR "/" };
    char program[GM_MODULE_PATH / 2];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return false;
    program[length] = '\0';
    *(strrchr(program, '/') + 1) = '\0';
    for (size_t i = 0; i < GM_LEN(places); i++) {
        const int written = snprintf(path, GM_MODULE_PATH, "%s%sgmner-%s.so", program, places[i], name);
        if (written > 0 && written < GM_MODULE_PATH && access(path, F_OK) == 0) return true;
    }
    return false;
}

static gm_status load_module(const char *name, const gm_module **module, gm_err *err)
{
    char path[GM_MODULE_PATH];
    if (!find_module(name, path))
        return gm_fail(err, GM_ERR_DEVICE, "this build has no %s module (gmner-%s.so beside the program): `make %s` builds it; or use --device cpu",
                       name, name, strcmp(name, "cuda") == 0 ? "cuda" : "sim");
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays until the program ends */
    if (object == NULL) return gm_fail(err, GM_ERR_DEVICE, "the module cannot be loaded: %s; use --device cpu", dlerror());
    gm_module_open_fn open_it;
    *(void **)&open_it = dlsym(object, "gm_module_open");
    *module = open_it != NULL ? open_it() : NULL;
    if (*module == NULL || (*module)->abi != GM_MODULE_ABI)
        return gm_fail(err, GM_ERR_DEVICE, "%s is of another version of gmner: build it anew, or use --device cpu", path);
    return GM_OK;
}

static gm_status open_module(const char *name, gm_float_type type, gm_backend *b, gm_err *err)
{
    const gm_module *m;
    gm_device probe = { .threads = 1 };
    GM_TRY(load_module(name, &m, err));
    GM_TRY(m->device_create(&probe, err)); /* a missing GPU shows here, before any file is read */
    m->device_destroy(&probe);
    *b = (gm_backend){ .name = m->name, .isa = m->name, .library = m->library, .type = type, .kernels = m->kernels[type], .memory = &m->memory, .module = m };
    return GM_OK;
}

static const char *const modules[] = { "cuda", "sim", "sim-check" };

gm_status gm_backend_module(const char *device, const gm_module **module, gm_err *err)
{
    for (size_t i = 0; i < GM_LEN(modules); i++)
        if (strcmp(device, modules[i]) == 0) return load_module(device, module, err);
    return gm_fail(err, GM_ERR_USAGE, "--device %s has no module: cuda has one", device);
}

gm_status gm_backend_open(const char *device, const char *isa, gm_float_type type, gm_backend *b, gm_err *err)
{
    if (strcmp(device, "cpu") == 0) return open_cpu(isa, type, b, err);
    for (size_t i = 0; i < GM_LEN(modules); i++)
        if (strcmp(device, modules[i]) == 0) return open_module(device, type, b, err) == GM_OK ? GM_OK : gm_fail_at(err, "--device %s", device);
    if (strcmp(device, "auto") != 0)
        return gm_fail(err, GM_ERR_USAGE, "--device is cpu, cuda, sim, sim-check or auto, not \"%s\"", device);
    gm_err why = { 0 };
    if (open_module("cuda", type, b, &why) == GM_OK) {
        gm_log(GM_LOG_INFO, "device", "auto: the GPU");
        return GM_OK;
    }
    GM_TRY(open_cpu(isa, type, b, err));
    gm_log(GM_LOG_INFO, "device", "auto: the cpu (%s), because %s", b->isa, why.text);
    return GM_OK;
}

gm_status gm_device_create(const gm_backend *b, int threads, gm_device *dev, gm_err *err)
{
    *dev = (gm_device){ .threads = threads, .err = err };
    if (b->module != NULL) GM_TRY(b->module->device_create(dev, err));
    if (b->memory->is_host) GM_TRY(gm_plans_create(&dev->plans, err));
    dev->module = b->module;
    dev->memory = b->memory;
    dev->element = b->type == GM_BF16 ? 2 : 4;
    return GM_OK;
}

void gm_device_destroy(gm_device *dev)
{
    if (dev == NULL) return;
    if (dev->module != NULL)
        dev->module->device_destroy(dev);
    else
        gm_plans_destroy(dev->plans);
    *dev = (gm_device){ 0 };
}

int64_t gm_device_plan_count(const gm_device *dev)
{
    return dev->module != NULL ? dev->module->plan_count(dev) : gm_plans_count(dev->plans);
}
