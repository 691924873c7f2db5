#include "backend/device_memory.h"

#include "base/memory.h"

void gm_mirror_free(gm_mirror *m, gm_device *dev)
{
    if (dev == NULL)
        gm_free(m->host);
    else if (m->host != NULL) {
        if (m->device != m->host) dev->memory->release(dev, m->device);
        dev->memory->host_release(dev, m->host);
    }
    *m = (gm_mirror){ 0 };
}

static gm_status make(gm_mirror *m, size_t bytes, gm_device *dev, gm_err *err)
{
    if (dev != NULL) {
        GM_TRY(dev->memory->host_alloc(dev, bytes, &m->host));
        if (!dev->memory->is_host) return dev->memory->alloc(dev, bytes, &m->device);
    } else if ((m->host = gm_malloc(bytes)) == NULL)
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu bytes", bytes);
    m->device = m->host;
    return GM_OK;
}

gm_status gm_mirror_make(gm_mirror *m, size_t bytes, gm_device *dev, gm_err *err)
{
    gm_mirror_free(m, dev);
    if (make(m, bytes, dev, err) != GM_OK) {
        if (dev != NULL && dev->err != err) *err = *dev->err;
        gm_mirror_free(m, dev);
        return err->status;
    }
    m->bytes = bytes;
    return GM_OK;
}

gm_status gm_mirror_send(const gm_mirror *m, size_t bytes, gm_device *dev)
{
    return m->device != m->host ? dev->memory->upload(dev, m->device, m->host, bytes) : GM_OK;
}

gm_status gm_mirror_bring(const gm_mirror *m, size_t bytes, gm_device *dev)
{
    return m->device != m->host ? dev->memory->download(dev, m->host, m->device, bytes) : GM_OK;
}
