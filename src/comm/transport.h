/* What carries bytes between processes: the little that MPI and its like must give. */
#ifndef GM_COMM_TRANSPORT_H
#define GM_COMM_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gm_request { uint64_t bits; } gm_request; /* the transport's own handle, as far as it fits */

typedef struct gm_transport {
    const char *name;
    gm_status (*open)(int32_t *rank, int32_t *size, gm_err *err);
    gm_status (*send)(int32_t to, int32_t tag, const void *block, size_t bytes, gm_request *request, gm_err *err);
    gm_status (*receive)(int32_t from, int32_t tag, void *block, size_t bytes, gm_request *request, gm_err *err);
    gm_status (*test)(gm_request *request, bool *is_done, gm_err *err);
    void (*close)(void);
    void (*abort)(int exit_code);
} gm_transport;

const gm_transport *gm_transport_mpi(void); /* NULL in a build without MPI */

enum { GM_TRANSPORT_BYTES = 1 << 30 };      /* of one transfer at most */

#endif
