/* What carries bytes between processes: the little that MPI and its like must give. */
#ifndef GM_COMM_TRANSPORT_H
#define GM_COMM_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comm/comm.h"

typedef struct gm_request { uint64_t bits; } gm_request; /* the transport's own handle, as far as it fits */

typedef struct gm_transport {
    const char *name;
    gm_status (*open)(const gm_comm_options *o, int32_t *rank, int32_t *size, gm_err *err);
    gm_status (*send)(int32_t to, int32_t tag, const void *block, size_t bytes, gm_request *request, gm_err *err);
    gm_status (*receive)(int32_t from, int32_t tag, void *block, size_t bytes, gm_request *request, gm_err *err);
    gm_status (*start)(int32_t tag, gm_err *err); /* all with this tag have been named; NULL: each starts at once */
    gm_status (*test)(gm_request *request, bool *is_done, gm_err *err); /* the request is gone when it is done */
    void (*follow)(const gm_device *device); /* blocks may lie in its memory, behind its work; NULL: host memory alone */
    void (*close)(void);
    void (*abort)(int exit_code);
} gm_transport;

const gm_transport *gm_transport_mpi(void); /* NULL in a build without MPI */
const gm_transport *gm_transport_nccl(void);

enum { GM_TRANSPORT_BYTES = 1 << 30 };      /* of one transfer at most */

#endif
