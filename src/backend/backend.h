/* Backends: the function table of kernels and the making of devices. `cpu` is always there; cuda and sim are modules
 * (module.h) that are loaded from beside the program when they are asked for. */
#ifndef GM_BACKEND_H
#define GM_BACKEND_H

#include "backend/module.h"
#include "kernels.h"

typedef struct gm_backend {
    const char *name;         /* "cpu", "cuda", "sim" */
    const char *isa;          /* "v4"; of a module its name */
    const char *library;      /* of matrix products, with its version: for run.json and bug reports */
    gm_float_type type;       /* of activations */
    gm_kernels kernels;
    const gm_device_memory *memory;
    const gm_module *module;  /* NULL: cpu */
} gm_backend;

/* device: cpu, cuda, sim, sim-check (the simulator that checks every access) or auto (the best there is; says which).
 * isa: "auto" or v2, v3, v4 to force one on the cpu. GM_ERR_DEVICE says why a device is not to be had and what to do. */
gm_status gm_backend_open(const char *device, const char *isa, gm_float_type type, gm_backend *b, gm_err *err);
/* The module of a device that has one, before a GPU is looked for; GM_ERR_USAGE for the cpu. */
gm_status gm_backend_module(const char *device, const gm_module **module, gm_err *err);
/* The instruction sets this build has and this machine runs, best first; count of them. For tests. */
int gm_backend_isas(const char *names[4]);
bool gm_backend_has_bf16(void); /* whether the cpu here multiplies bf16 */

/* A backend whose kernels and moves do nothing, over no memory at all: what runs on it shows how large its arena must be.
 * Downloads give zeros. */
void gm_backend_dry(const gm_backend *of, gm_backend *b);

/* A device of a backend, which outlives it. threads: what one operation may use. */
gm_status gm_device_create(const gm_backend *b, int threads, gm_device *dev, gm_err *err);
void gm_device_destroy(gm_device *dev);

/* Number of GEMM plans made so far by this device: a steady loop makes none. */
int64_t gm_device_plan_count(const gm_device *dev);

#endif
