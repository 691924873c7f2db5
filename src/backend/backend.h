/* Backends: the function table of kernels and the making of devices. `cpu` is always there. */
#ifndef GM_BACKEND_H
#define GM_BACKEND_H

#include "kernels.h"

typedef struct gm_backend {
    const char *name;         /* "cpu" */
    const char *isa;          /* "x86-64-v4" */
    gm_kernels kernels;
} gm_backend;

/* device: cpu, cuda, sim or auto (the best there is; says which). isa: "auto" or v2, v3, v4 to force one.
 * GM_ERR_DEVICE says why a device is not to be had and what to do. */
gm_status gm_backend_open(const char *device, const char *isa, gm_backend *b, gm_err *err);
/* The instruction sets this build has and this machine runs, best first; count of them. For tests. */
int gm_backend_isas(const char *names[4]);

/* A device of a backend: one a worker thread. threads: what one operation may use. */
gm_status gm_device_create(const gm_backend *b, int threads, gm_device *dev, gm_err *err);
void gm_device_destroy(gm_device *dev);

/* Name and version of the matrix library, for run.json and bug reports. */
const char *gm_backend_library(void);

/* Number of GEMM plans made so far by this device: a steady loop makes none. */
int64_t gm_device_plan_count(const gm_device *dev);

#endif
