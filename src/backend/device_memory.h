/* Memory of a device and what moves it: one table a backend, so that the floors above need not know where kernels run.
 * Everything but alloc, release and sync only joins the device's queue. */
#ifndef GM_BACKEND_DEVICE_MEMORY_H
#define GM_BACKEND_DEVICE_MEMORY_H

#include "device.h"

struct gm_device_memory {
    bool is_host;             /* kernels read the program's own memory: nothing needs to be moved */
    gm_status (*alloc)(gm_device *dev, size_t bytes, void **block);      /* 256-byte aligned device memory */
    void (*release)(gm_device *dev, void *block);                        /* takes NULL */
    gm_status (*host_alloc)(gm_device *dev, size_t bytes, void **block); /* host memory that copies may read while the program runs on */
    void (*host_release)(gm_device *dev, void *block);
    gm_status (*upload)(gm_device *dev, void *to, const void *from, size_t bytes); /* `from` must stay as it is until sync */
    gm_status (*download)(gm_device *dev, void *to, const void *from, size_t bytes);
    gm_status (*copy)(gm_device *dev, void *to, const void *from, size_t bytes);   /* within the device */
    gm_status (*fill)(gm_device *dev, void *to, int byte, size_t bytes);
    gm_status (*sync)(gm_device *dev);
};

/* A block of host memory and its twin on a device; one and the same where they share memory, or where dev is NULL. */
typedef struct gm_mirror { void *host, *device; size_t bytes; } gm_mirror;

/* Takes a zeroed mirror, or frees the one there is. Contents are not kept. */
gm_status gm_mirror_make(gm_mirror *m, size_t bytes, gm_device *dev, gm_err *err);
/* Copies the first `bytes` to or from the device; the copy has arrived after the next sync. */
gm_status gm_mirror_send(const gm_mirror *m, size_t bytes, gm_device *dev);
gm_status gm_mirror_bring(const gm_mirror *m, size_t bytes, gm_device *dev);
void gm_mirror_free(gm_mirror *m, gm_device *dev);

#endif
