/* What a device module (cuda, sim) exports: one function, gm_module_open, that gives this table. The module is loaded with
 * RTLD_LOCAL, so its names never meet the program's. */
#ifndef GM_BACKEND_MODULE_H
#define GM_BACKEND_MODULE_H

#include "backend/device_memory.h"
#include "kernels.h"

enum { GM_MODULE_ABI = 2 };

typedef struct gm_module {
    int32_t abi;              /* GM_MODULE_ABI */
    const char *name;         /* "cuda", "sim" */
    const char *library;      /* of matrix products, with its version: for run.json */
    gm_kernels kernels[GM_PRECISION_COUNT];
    gm_device_memory memory;
    /* GM_ERR_DEVICE without a usable GPU, with the reason. Makes stream, plans and workspace; err is kept in the device. */
    gm_status (*device_create)(gm_device *dev, gm_err *err);
    void (*device_destroy)(gm_device *dev);
    int64_t (*plan_count)(const gm_device *dev);
    /* All that is put on the device's stream between begin and end is recorded, not run: only kernels, fills and copies
     * within the device, whose plans all exist. end gives the graph, also to release after a failure in between. */
    gm_status (*graph_begin)(gm_device *dev);
    gm_status (*graph_end)(gm_device *dev, void **graph);
    gm_status (*graph_run)(gm_device *dev, void *graph);
    void (*graph_release)(gm_device *dev, void *graph); /* takes NULL */
} gm_module;

typedef const gm_module *(*gm_module_open_fn)(void);

#endif
