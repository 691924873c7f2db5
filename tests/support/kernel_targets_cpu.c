/* The CPU as a target: each instruction set of the machine with one and two threads; blocks of its own between guards. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "kernel_test.h"

static gm_status create(const gmt_target *t, int threads, gm_device *dev, gm_err *err)
{
    gm_backend backend;
    GM_TRY(gm_backend_open("cpu", t->isa, (gm_float_type)t->precision, &backend, err));
    return gm_device_create(&backend, threads, dev, err);
}

static gm_status open_cpu(const gmt_target *t, gm_kernels *k, gm_device *dev, gm_err *err)
{
    gm_backend backend;
    GM_TRY(gm_backend_open("cpu", t->isa, (gm_float_type)t->precision, &backend, err));
    *k = backend.kernels;
    return gm_device_create(&backend, t->threads, dev, err);
}

static void *take(gm_device *dev, size_t bytes)
{
    void *block = NULL;
    (void)dev;
    return posix_memalign(&block, 64, bytes) == 0 ? block : NULL;
}

static void give_back(gm_device *dev, void *block)
{
    (void)dev;
    free(block);
}

static gm_status copy(gm_device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev;
    memcpy(to, from, bytes);
    return GM_OK;
}

int gmt_cpu_targets(gmt_target *to, int room)
{
    const char *isas[4];
    const int count = gm_backend_isas(isas), types = gm_backend_has_bf16() ? 2 : 1;
    int made = 0;
    for (int i = 0; i < count * types; i++)
        for (int threads = 1; threads <= 2 && made < room; threads++, made++) {
            const int precision = i / count == 0 ? GM_FP32 : GM_BF16;
            to[made] = (gmt_target){ .isa = isas[i % count], .threads = threads, .precision = precision, .open = open_cpu, .device_create = create,
                                     .device_destroy = gm_device_destroy, .alloc = take, .release = give_back, .upload = copy, .download = copy };
            snprintf(to[made].name, sizeof to[made].name, "cpu %s %s, %d threads", isas[i % count], precision == GM_BF16 ? "bf16" : "fp32", threads);
        }
    return made;
}
