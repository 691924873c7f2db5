/* The function table of a backend, made from kernels.def. An operation's contract is the header in its folder: one
 * args struct for forward, one for backward. GM_KERNELS(op) at the end of <op>_cpu.c or <op>_cuda.cu is its row: the
 * one symbol that leaves the file. */
#ifndef GM_KERNELS_H
#define GM_KERNELS_H

#include "base/status.h"
#include "device.h"

#define GM_KERNEL(op)                                                          \
    typedef struct gm_##op gm_##op;                                            \
    typedef struct gm_##op##_grad gm_##op##_grad;                              \
    typedef struct gm_##op##_row {                                             \
        gm_status (*forward)(const gm_##op *a, gm_device *dev);                \
        gm_status (*backward)(const gm_##op##_grad *a, gm_device *dev);        \
    } gm_##op##_row;
#define GM_KERNEL_FORWARD(op)                                                  \
    typedef struct gm_##op gm_##op;                                            \
    typedef struct gm_##op##_row {                                             \
        gm_status (*forward)(const gm_##op *a, gm_device *dev);                \
    } gm_##op##_row;
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD

/* Called as k->linear.forward(&args, dev). All pointers of args are memory of the table's backend. */
typedef struct gm_kernels {
#define GM_KERNEL(op) gm_##op##_row op;
#define GM_KERNEL_FORWARD(op) gm_##op##_row op;
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
} gm_kernels;

#define GM_ROW_PASTE(backend, op) gm_row_##backend##_##op
#define GM_ROW(backend, op) GM_ROW_PASTE(backend, op)
#define GM_KERNELS(op)                                   \
    extern const gm_##op##_row GM_ROW(GM_BACKEND, op);   \
    const gm_##op##_row GM_ROW(GM_BACKEND, op) = { op##_forward, op##_backward };
#define GM_KERNELS_FORWARD(op)                           \
    extern const gm_##op##_row GM_ROW(GM_BACKEND, op);   \
    const gm_##op##_row GM_ROW(GM_BACKEND, op) = { op##_forward };

#endif
