/* Transport by MPI: messages between two ranks, nothing collective, so that every wait is our own and can end. */
#include "comm/transport.h"

#if GM_HAVE_MPI

#include <mpi.h>
#include <string.h>

_Static_assert(sizeof(MPI_Request) <= sizeof(gm_request), "a request of this MPI does not fit");

static MPI_Comm world; /* a copy, whose messages never meet those of others */

static gm_status check(int code, const char *what, gm_err *err)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return GM_OK;
    MPI_Error_string(code, text, &length);
    return gm_fail(err, GM_ERR_DEVICE, "MPI: %s: %s", what, text);
}

/* Workers of one process take turns, so MPI may be called by any of them, but by one at a time. */
static gm_status mpi_open(const gm_comm_options *o, int32_t *rank, int32_t *size, gm_err *err)
{
    int given = 0, self = 0, all = 0;
    (void)o;
    GM_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &given), "MPI_Init_thread", err));
    if (given < MPI_THREAD_SERIALIZED)
        return gm_fail(err, GM_ERR_MISSING, "this MPI cannot be called by several threads in turn (MPI_THREAD_SERIALIZED): use a build of it that can");
    GM_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup", err));
    GM_TRY(check(MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", err));
    GM_TRY(check(MPI_Comm_rank(world, &self), "MPI_Comm_rank", err));
    GM_TRY(check(MPI_Comm_size(world, &all), "MPI_Comm_size", err));
    *rank = self;
    *size = all;
    return GM_OK;
}

static gm_status mpi_send(int32_t to, int32_t tag, const void *block, size_t bytes, gm_request *request, gm_err *err)
{
    MPI_Request made;
    GM_TRY(check(MPI_Isend(block, (int)bytes, MPI_BYTE, to, tag, world, &made), "MPI_Isend", err));
    memcpy(request, &made, sizeof made);
    return GM_OK;
}

static gm_status mpi_receive(int32_t from, int32_t tag, void *block, size_t bytes, gm_request *request, gm_err *err)
{
    MPI_Request made;
    GM_TRY(check(MPI_Irecv(block, (int)bytes, MPI_BYTE, from, tag, world, &made), "MPI_Irecv", err));
    memcpy(request, &made, sizeof made);
    return GM_OK;
}

static gm_status mpi_test(gm_request *request, bool *is_done, gm_err *err)
{
    MPI_Request at;
    int done = 0;
    memcpy(&at, request, sizeof at);
    GM_TRY(check(MPI_Test(&at, &done, MPI_STATUS_IGNORE), "MPI_Test", err));
    memcpy(request, &at, sizeof at);
    *is_done = done != 0;
    return GM_OK;
}

static void mpi_close(void)
{
    MPI_Comm_free(&world);
    MPI_Finalize();
}

static void mpi_abort(int exit_code) { MPI_Abort(MPI_COMM_WORLD, exit_code); }

static const gm_transport mpi = { .name = "mpi", .open = mpi_open, .send = mpi_send, .receive = mpi_receive, .test = mpi_test,
                                  .close = mpi_close, .abort = mpi_abort };

const gm_transport *gm_transport_mpi(void) { return &mpi; }

#endif
