/* What a device module (cuda, sim) exports: one function, gm_module_open, that gives this table. The module is loaded with
 * RTLD_LOCAL, so its names never meet the program's. Memory functions are ordered on the device's stream. */
#ifndef GM_BACKEND_MODULE_H
#define GM_BACKEND_MODULE_H

#include "kernels.h"

enum { GM_MODULE_ABI = 1 };

typedef enum gm_precision { GM_FP32, GM_BF16, GM_PRECISION_COUNT } gm_precision;

typedef struct gm_module {
    int32_t abi;              /* GM_MODULE_ABI */
    const char *name;         /* "cuda", "sim" */
    gm_kernels kernels[GM_PRECISION_COUNT];
    /* GM_ERR_DEVICE without a usable GPU, with the reason. Makes stream, plans and workspace; err is kept in the device. */
    gm_status (*device_create)(gm_device *dev, gm_err *err);
    void (*device_destroy)(gm_device *dev);
    gm_status (*alloc)(gm_device *dev, size_t bytes, void **block);  /* 256-byte aligned device memory */
    void (*release)(gm_device *dev, void *block);                     /* takes NULL */
    gm_status (*host_alloc)(gm_device *dev, size_t bytes, void **block); /* pinned host memory */
    void (*host_release)(gm_device *dev, void *block);
    gm_status (*upload)(gm_device *dev, void *to, const void *from, size_t bytes);   /* asynchronous: from must stay until sync */
    gm_status (*download)(gm_device *dev, void *to, const void *from, size_t bytes);
    gm_status (*fill)(gm_device *dev, void *to, int byte, size_t bytes);
    gm_status (*sync)(gm_device *dev);
    int64_t (*plan_count)(const gm_device *dev);
} gm_module;

typedef const gm_module *(*gm_module_open_fn)(void);

#endif
