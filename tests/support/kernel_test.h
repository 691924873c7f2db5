/* What the operations' tests share: every test runs once a backend and instruction set (cpu v2, v3, v4 where the machine
 * has them) and once a module (sim, cuda) and precision, on buffers with guard bytes, poisoned outputs and a derived tolerance. */
#ifndef GM_TESTS_KERNEL_TEST_H
#define GM_TESTS_KERNEL_TEST_H

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernels.h"

/* Something that kernels run on: a backend with its memory (kernel_targets_*.c). */
typedef struct gmt_target gmt_target;
struct gmt_target {
    char name[64];            /* "cpu v4, 2 threads", "cuda fp32" */
    const char *isa;          /* of the cpu */
    int threads;
    int precision;            /* of a module: gm_precision */
    bool is_checked;          /* every access of a kernel is: some fifty times slower, so tests take smaller shapes */
    gm_status (*open)(const gmt_target *t, gm_kernels *k, gm_device *dev, gm_err *err);
    gm_status (*device_create)(const gmt_target *t, int threads, gm_device *dev, gm_err *err);
    void (*device_destroy)(gm_device *dev);
    void *(*alloc)(gm_device *dev, size_t bytes); /* NULL when there is none */
    void (*release)(gm_device *dev, void *block);
    gm_status (*upload)(gm_device *dev, void *to, const void *from, size_t bytes);
    gm_status (*download)(gm_device *dev, void *to, const void *from, size_t bytes); /* has arrived when it returns */
};
/* The targets that this program was linked with and this machine has; at most `room`. */
int gmt_targets(gmt_target *to, int room);
int gmt_cpu_targets(gmt_target *to, int room);
int gmt_module_targets(gmt_target *to, int room); /* of the module that the environment variable GM_TEST_MODULE names */

typedef struct gmt_backend {
    const gmt_target *target;
    gm_kernels kernels;
    const gm_kernels *k;      /* = &kernels */
    gm_device *device;
    gm_step step;             /* host copy of what device->step points at */
    uint32_t stream;          /* counter of gmt_normal: each buffer gets other numbers */
} gmt_backend;

/* Another device of the same target, whose operations use so many threads, for the same step. */
void gmt_device_create(gmt_backend *b, int threads, gm_device *dev);
void gmt_device_destroy(gmt_backend *b, gm_device *dev);
/* Sends b->step to the device after the test has changed it. */
void gmt_push_step(gmt_backend *b);

/* From now on a call by gmt_ok has a workspace of exactly the bytes that it asks for, between guard bytes that are looked
 * at when it returns. A call that was refused is made again: before it asks, it must have changed nothing. */
void gmt_tight_workspace(gmt_backend *b);

/* A buffer in the backend's memory with its host copy. Freed when the test ends. */
typedef struct gmt_buf {
    size_t count, bytes;      /* elements, bytes of all on the host */
    union { void *host; float *f32; int32_t *i32; uint8_t *u8; uint32_t *u32; double *f64; };
    void *dev;                /* what kernels get; on the cpu a block of its own as well, between guard bytes */
    size_t dev_bytes;
    bool is_bf16;             /* on the device: activations of a bf16 target; .f32 holds the same values */
} gmt_buf;

gmt_buf gmt_normal(gmt_backend *b, size_t count, float sigma); /* N(0, sigma) */
gmt_buf gmt_poison(gmt_backend *b, size_t count);              /* float NaN */
gmt_buf gmt_zeros(gmt_backend *b, size_t count);               /* float */
gmt_buf gmt_f32(gmt_backend *b, const float *values, size_t count);
gmt_buf gmt_i32(gmt_backend *b, const int32_t *values, size_t count);
gmt_buf gmt_bytes(gmt_backend *b, const void *values, size_t bytes, size_t count);
/* Activations: float on the host and of the target's type on the device. Host values are rounded to what the device holds,
 * here and by gmt_push, so that a reference sees what the kernel sees. */
gmt_buf gmt_act(gmt_backend *b, size_t count, float sigma);    /* N(0, sigma) */
gmt_buf gmt_act_f32(gmt_backend *b, const float *values, size_t count);
gmt_buf gmt_act_poison(gmt_backend *b, size_t count);          /* NaN */
gmt_buf gmt_act_zeros(gmt_backend *b, size_t count);
/* Where element `at` of a buffer lies on the device: columns of a tensor, or a misaligned one. */
void *gmt_at(const gmt_buf *buf, size_t at);
/* Prefix sums of lengths: [n + 1]; the number of all is .i32[n]. */
gmt_buf gmt_offsets(gmt_backend *b, const int32_t *length, int32_t n);
/* gm_token of every element of packed sequences with these lengths. */
gmt_buf gmt_tokens(gmt_backend *b, const int32_t *length, int32_t n);
/* A drop with keys and draws for n sequences (p 0: none), in device memory. */
gm_drop gmt_drop(gmt_backend *b, float p, uint32_t site, int32_t n);
/* Copies the device's block to .host, checks the guards, returns .host. */
void *gmt_fetch(gmt_backend *b, gmt_buf *buf);
void gmt_push(gmt_backend *b, gmt_buf *buf); /* .host to the device, activations rounded */
/* Elements first ... of a fetched buffer are all zero; names the one that is not. */
void gmt_zero_from(const gmt_buf *buf, size_t first, const char *what);

double *gmt_doubles(gmt_backend *b, size_t count); /* zeroed host memory for references; freed when the test ends */

/* The plain mask of a drop that gmt_drop made, one element at a time through gm_philox: the reference of every dropout. */
double gmt_scale(const gm_drop *drop, uint64_t seed, int32_t sequence, uint32_t position, uint32_t element);
/* The number in [0, 1) that it compares with p: what is smaller is dropped. */
float gmt_draw(const gm_drop *drop, uint64_t seed, int32_t sequence, uint32_t position, uint32_t element);

/* Every |got - want| <= tol * max(1, |want|) elementwise against scale: tol * (rms(want) + |want|). NaN fails; names the first bad index. */
void gmt_close(const float *got, const double *want, size_t count, double tol, const char *what);
/* A tolerance for float32 sums of n terms of like size: 4 eps sqrt(n) + 8 eps. */
double gmt_tol_f32(size_t n);
/* What storing an activation costs at most beside its size: half an ulp of bf16, 2^-8; 0 where activations are float, since
 * gmt_tol_f32 holds it. Several roundings: gmt_tol_f32(n) + k * gmt_rounding(b). */
double gmt_rounding(const gmt_backend *b);
/* Sums of n terms in float32 that are stored as an activation: gmt_tol_f32(n) + gmt_rounding(b). */
double gmt_tol_act(const gmt_backend *b, size_t n);

/* dx is the derivative of loss(of) by the values x that it reads, says their central difference; off by at most
 * tol * (1 + |slope|). Names the first bad index. */
void gmt_slope(double (*loss)(const void *of), const void *of, double *x, size_t count, const double *dx, double tol, const char *what);

/* Runs the tests once a target; the program's exit code. */
typedef struct gmt_test { const char *name; void (*run)(gmt_backend *b); bool has_no_activations; } gmt_test;
int gmt_run_all(const char *operation, const gmt_test *tests, int count);
#define GMT_MAIN(operation, ...)                                                     \
    int main(void)                                                                   \
    {                                                                                \
        static const gmt_test tests[] = { __VA_ARGS__ };                             \
        return gmt_run_all(operation, tests, (int)(sizeof tests / sizeof tests[0])); \
    }
#define GMT(test) { #test, test, false }
/* The operation has no activations: the rows of both precisions are one kernel, so bf16 targets are left out. */
#define GMT_F32(test) { #test, test, true }

#define gmt_ok(b, call)                                                              \
    do {                                                                             \
        while ((call) != GM_OK) gmt_refused(b, #call);                               \
        gmt_accepted(b);                                                             \
    } while (0)
void gmt_refused(gmt_backend *b, const char *call); /* fails the test, or gives the workspace that was asked for */
void gmt_accepted(gmt_backend *b);

#endif
