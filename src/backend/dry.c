/* The backend that does nothing (gm_backend_dry): its arena is only counted. */
#include <string.h>

#include "backend/backend.h"

#define GM_KERNEL(op)                                                                                \
    static gm_status skip_##op(const gm_##op *a, gm_device *dev) { return a != NULL && dev != NULL ? GM_OK : GM_ERR_SHAPE; } \
    static gm_status skip_##op##_grad(const gm_##op##_grad *a, gm_device *dev) { return a != NULL && dev != NULL ? GM_OK : GM_ERR_SHAPE; }
#define GM_KERNEL_FORWARD(op)                                                                        \
    static gm_status skip_##op(const gm_##op *a, gm_device *dev) { return a != NULL && dev != NULL ? GM_OK : GM_ERR_SHAPE; }
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD

static gm_status skip_move(gm_device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev, (void)to, (void)from, (void)bytes;
    return GM_OK;
}

static gm_status give_zeros(gm_device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev, (void)from;
    memset(to, 0, bytes);
    return GM_OK;
}

static gm_status skip_fill(gm_device *dev, void *to, int byte, size_t bytes)
{
    (void)dev, (void)to, (void)byte, (void)bytes;
    return GM_OK;
}

static gm_status skip_sync(gm_device *dev)
{
    (void)dev;
    return GM_OK;
}

static const gm_device_memory no_memory = { .upload = skip_move, .download = give_zeros, .copy = skip_move, .fill = skip_fill, .sync = skip_sync };

void gm_backend_dry(const gm_backend *of, gm_backend *b)
{
    *b = (gm_backend){ .name = "dry", .isa = "dry", .library = "none", .type = of->type, .memory = &no_memory };
#define GM_KERNEL(op) b->kernels.op = (gm_##op##_row){ skip_##op, skip_##op##_grad };
#define GM_KERNEL_FORWARD(op) b->kernels.op = (gm_##op##_row){ skip_##op };
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
}
