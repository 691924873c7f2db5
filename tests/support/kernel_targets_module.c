/* A device module (cuda or sim) as a target: the shared object that the environment variable GM_TEST_MODULE names. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/module.h"
#include "kernel_test.h"

static const gm_module *module;

static gm_status create(const gmt_target *t, int threads, gm_device *dev, gm_err *err)
{
    (void)t;
    *dev = (gm_device){ .threads = threads, .err = err };
    return module->device_create(dev, err);
}

static gm_status open_module(const gmt_target *t, gm_kernels *k, gm_device *dev, gm_err *err)
{
    *k = module->kernels[t->precision];
    return create(t, 1, dev, err);
}

static void destroy(gm_device *dev) { module->device_destroy(dev); }

static void *take(gm_device *dev, size_t bytes)
{
    void *block = NULL;
    return module->memory.alloc(dev, bytes, &block) == GM_OK ? block : NULL;
}

static void give_back(gm_device *dev, void *block) { module->memory.release(dev, block); }

static gm_status upload(gm_device *dev, void *to, const void *from, size_t bytes)
{
    GM_TRY(module->memory.upload(dev, to, from, bytes));
    return module->memory.sync(dev); /* the caller may change `from` at once */
}

static gm_status download(gm_device *dev, void *to, const void *from, size_t bytes)
{
    GM_TRY(module->memory.download(dev, to, from, bytes));
    return module->memory.sync(dev);
}

int gmt_module_targets(gmt_target *to, int room)
{
    static const char *const names[GM_PRECISION_COUNT] = { [GM_FP32] = "fp32", [GM_BF16] = "bf16" };
    const char *path = getenv("GM_TEST_MODULE");
    if (path == NULL) return 0;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    gm_module_open_fn open_it = NULL;
    if (object != NULL) *(void **)&open_it = dlsym(object, "gm_module_open");
    if (open_it == NULL || (module = open_it()) == NULL || module->abi != GM_MODULE_ABI) {
        fprintf(stderr, "kernel_test: %s is no device module: %s\n", path, dlerror());
        exit(1);
    }
    int (*checks)(void) = NULL; /* the simulator has it, a GPU's module has not */
    *(void **)&checks = dlsym(object, "gm_sim_checks");
    const bool is_checked = (checks != NULL && checks() != 0) || getenv("GM_TEST_SMALL") != NULL; /* compute-sanitizer is slow as well */
    int made = 0;
    for (; made < GM_PRECISION_COUNT && made < room; made++) {
        to[made] = (gmt_target){ .threads = 1, .precision = made, .is_checked = is_checked, .open = open_module, .device_create = create,
                                 .device_destroy = destroy, .alloc = take, .release = give_back, .upload = upload, .download = download };
        snprintf(to[made].name, sizeof to[made].name, "%s %s", module->name, names[made]);
    }
    return made;
}
