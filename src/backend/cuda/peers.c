/* Blocks between processes with a GPU each, by NCCL's sends and receives. The communicator does not block: a call that takes time
 * is asked for, so whoever waits can give up. Blocks of host memory pass through pinned memory and a copy on the GPU. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "backend/cuda/peers.h"

#if GM_HAVE_NCCL

#include <nccl.h>
#include <string.h>
#include <time.h>

#include "backend/cuda/cuda_error.h"
#include "base/memory.h"

_Static_assert(sizeof(ncclUniqueId) == GM_PEER_ID_BYTES, "an id of this NCCL does not fit");

enum { ALIGNMENT = 256, CLOSING_MS = 10000 };

typedef enum progress { FREE, BEGINNING, RUNNING } progress;

/* A group of sends and receives, with the memory that its host blocks pass through; used again and again. */
typedef struct batch {
    struct batch *next;
    progress at;
    cudaEvent_t done;
    char *pinned, *on_device; /* [capacity] */
    size_t capacity, received_from; /* what host blocks receive lies behind what they send */
    gm_peer_move *move;       /* [count] */
    size_t move_capacity;
    int32_t count;
} batch;

typedef struct peers {
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t behind;
    batch *batches;
    batch *beginning;         /* NCCL takes one group at a time */
} peers;

static gm_status fail(const peers *p, ncclResult_t result, const char *what, gm_err *err)
{
    const char *hint = result == ncclInvalidUsage && strstr(ncclGetLastError(p->comm), "Duplicate GPU") != NULL ? "; start at most one process a GPU" : "";
    return gm_fail(err, GM_ERR_DEVICE, "NCCL: %s: %s: %s%s", what, ncclGetErrorString(result), ncclGetLastError(p->comm), hint);
}

static gm_status check(const peers *p, ncclResult_t result, const char *what, gm_err *err)
{
    return result == ncclSuccess || result == ncclInProgress ? GM_OK : fail(p, result, what, err);
}

/* Whether the last call has got through; an error of a peer shows here as well. */
static gm_status ask(const peers *p, const char *what, bool *is_through, gm_err *err)
{
    ncclResult_t state = ncclSuccess;
    const ncclResult_t result = ncclCommGetAsyncError(p->comm, &state);
    GM_TRY(check(p, result, what, err));
    *is_through = state == ncclSuccess;
    return check(p, state, what, err);
}

static gm_status make_id(char id[GM_PEER_ID_BYTES], gm_err *err)
{
    ncclUniqueId made;
    const ncclResult_t result = ncclGetUniqueId(&made);
    if (result != ncclSuccess) return gm_fail(err, GM_ERR_DEVICE, "NCCL: ncclGetUniqueId: %s: %s", ncclGetErrorString(result), ncclGetLastError(NULL));
    memcpy(id, &made, sizeof made);
    return GM_OK;
}

static void free_batch(batch *b)
{
    if (b->done != NULL) cudaEventDestroy(b->done);
    cudaFreeHost(b->pinned);
    cudaFree(b->on_device);
    gm_free(b->move);
    gm_free(b);
}

static void peers_close(void *pointer, bool is_finished)
{
    peers *p = pointer;
    const struct timespec moment = { .tv_nsec = 1000000 };
    bool is_through = false;
    gm_err ignored = { 0 };
    if (p == NULL) return;
    if (p->comm != NULL && is_finished) {
        is_finished = check(p, ncclCommFinalize(p->comm), "ncclCommFinalize", &ignored) == GM_OK;
        for (int i = 0; is_finished && !is_through && i < CLOSING_MS; i++) {
            is_finished = ask(p, "ncclCommFinalize", &is_through, &ignored) == GM_OK;
            if (!is_through) nanosleep(&moment, NULL);
        }
    }
    if (p->comm != NULL && is_finished && is_through) ncclCommDestroy(p->comm);
    else if (p->comm != NULL) ncclCommAbort(p->comm);
    if (p->stream != NULL) cudaStreamSynchronize(p->stream);
    for (batch *b = p->batches, *next; b != NULL; b = next) {
        next = b->next;
        free_batch(b);
    }
    if (p->behind != NULL) cudaEventDestroy(p->behind);
    if (p->stream != NULL) cudaStreamDestroy(p->stream);
    gm_free(p);
}

static gm_status make_parts(peers *p, const char id[GM_PEER_ID_BYTES], int32_t rank, int32_t size, gm_err *err)
{
    ncclConfig_t settings = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId taken;
    memcpy(&taken, id, sizeof taken);
    settings.blocking = 0;
    CUDA_TRY(err, cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking));
    CUDA_TRY(err, cudaEventCreateWithFlags(&p->behind, cudaEventDisableTiming));
    return check(p, ncclCommInitRankConfig(&p->comm, size, taken, rank, &settings), "ncclCommInitRankConfig", err);
}

static gm_status peers_open(const char id[GM_PEER_ID_BYTES], int32_t rank, int32_t size, void **made, gm_err *err)
{
    peers *p = gm_calloc(1, sizeof *p);
    *made = NULL;
    if (p == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", size);
    const gm_status status = make_parts(p, id, rank, size, err);
    if (status == GM_OK) *made = p;
    else peers_close(p, false);
    return status;
}

static gm_status peers_ready(void *pointer, bool *is_ready, gm_err *err) { return ask(pointer, "ncclCommInitRankConfig", is_ready, err); }

static bool is_on_device(const void *block)
{
    struct cudaPointerAttributes attributes;
    const bool known = cudaPointerGetAttributes(&attributes, block) == cudaSuccess;
    if (!known) cudaGetLastError(); /* host memory that CUDA knows nothing of is no error */
    return known && (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged);
}

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static gm_status find_free(peers *p, batch **found, gm_err *err)
{
    batch *b = p->batches;
    while (b != NULL && b->at != FREE) b = b->next;
    *found = b;
    if (b != NULL) return GM_OK;
    b = gm_calloc(1, sizeof *b);
    if (b == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a transfer");
    b->next = p->batches;
    p->batches = b;
    *found = b;
    CUDA_TRY(err, cudaEventCreateWithFlags(&b->done, cudaEventDisableTiming));
    return GM_OK;
}

static gm_status reserve(batch *b, size_t bytes, gm_err *err)
{
    if (bytes <= b->capacity) return GM_OK;
    cudaFreeHost(b->pinned);
    cudaFree(b->on_device);
    b->pinned = b->on_device = NULL;
    b->capacity = 0;
    CUDA_TRY(err, cudaMallocHost((void **)&b->pinned, bytes));
    CUDA_TRY(err, cudaMalloc((void **)&b->on_device, bytes));
    b->capacity = bytes;
    return GM_OK;
}

/* What host blocks send goes to the GPU in one copy; NCCL sees device memory alone. The batch keeps the host blocks. */
static gm_status stage(peers *p, batch *b, const gm_device *behind, gm_err *err)
{
    size_t sent = 0, received = 0;
    bool any_on_device = false;
    for (int32_t i = 0; i < b->count; i++) {
        const gm_peer_move *m = &b->move[i];
        if (is_on_device(m->block)) any_on_device = true;
        else if (m->is_send) sent += aligned(m->bytes);
        else received += aligned(m->bytes);
    }
    b->received_from = sent;
    GM_TRY(reserve(b, sent + received, err));
    if (any_on_device && behind == NULL) return gm_fail(err, GM_ERR_USAGE, "a block in device memory, but nobody has said whose work it waits for (gm_comm_follow)");
    if (any_on_device) {
        CUDA_TRY(err, cudaEventRecord(p->behind, (cudaStream_t)behind->stream));
        CUDA_TRY(err, cudaStreamWaitEvent(p->stream, p->behind, 0));
    }
    size_t at = 0;
    for (int32_t i = 0; i < b->count; i++) {
        const gm_peer_move *m = &b->move[i];
        if (!m->is_send || is_on_device(m->block)) continue;
        memset(b->pinned + at + m->bytes, 0, aligned(m->bytes) - m->bytes);
        memcpy(b->pinned + at, m->block, m->bytes);
        at += aligned(m->bytes);
    }
    if (sent > 0) CUDA_TRY(err, cudaMemcpyAsync(b->on_device, b->pinned, sent, cudaMemcpyHostToDevice, p->stream));
    return GM_OK;
}

static gm_status call_all(const peers *p, const batch *b, gm_err *err)
{
    size_t send_at = 0, receive_at = b->received_from;
    for (int32_t i = 0; i < b->count; i++) {
        const gm_peer_move *m = &b->move[i];
        size_t *at = m->is_send ? &send_at : &receive_at;
        char *block = m->block;
        if (!is_on_device(block)) {
            block = b->on_device + *at;
            *at += aligned(m->bytes);
        }
        GM_TRY(m->is_send ? check(p, ncclSend(block, m->bytes, ncclChar, m->peer, p->comm, p->stream), "ncclSend", err)
                          : check(p, ncclRecv(block, m->bytes, ncclChar, m->peer, p->comm, p->stream), "ncclRecv", err));
    }
    return GM_OK;
}

/* The group is NCCL's: what host blocks have got comes back behind it. */
static gm_status follow_group(peers *p, batch *b, gm_err *err)
{
    size_t at = b->received_from;
    for (int32_t i = 0; i < b->count; i++) {
        const gm_peer_move *m = &b->move[i];
        if (m->is_send || is_on_device(m->block)) continue;
        CUDA_TRY(err, cudaMemcpyAsync(b->pinned + at, b->on_device + at, m->bytes, cudaMemcpyDeviceToHost, p->stream));
        at += aligned(m->bytes);
    }
    CUDA_TRY(err, cudaEventRecord(b->done, p->stream));
    b->at = RUNNING;
    p->beginning = NULL;
    return GM_OK;
}

static gm_status move_on(peers *p, gm_err *err)
{
    bool is_through = false;
    if (p->beginning == NULL) return GM_OK;
    GM_TRY(ask(p, "ncclGroupEnd", &is_through, err));
    return is_through ? follow_group(p, p->beginning, err) : GM_OK;
}

static gm_status peers_begin(void *pointer, const gm_device *behind, const gm_peer_move *move, int32_t count, void **made, gm_err *err)
{
    peers *p = pointer;
    batch *b;
    *made = NULL;
    GM_TRY(move_on(p, err));
    if (p->beginning != NULL) return GM_OK;
    GM_TRY(find_free(p, &b, err));
    GM_TRY(gm_grow((void **)&b->move, &b->move_capacity, (size_t)count, sizeof *b->move, err));
    memcpy(b->move, move, (size_t)count * sizeof *move);
    b->count = count;
    GM_TRY(stage(p, b, behind, err));
    GM_TRY(check(p, ncclGroupStart(), "ncclGroupStart", err));
    const gm_status status = call_all(p, b, err);
    const ncclResult_t result = ncclGroupEnd(); /* also behind a failed call: the group must not stay open */
    GM_TRY(status);
    GM_TRY(check(p, result, "ncclGroupEnd", err));
    b->at = BEGINNING;
    p->beginning = b;
    *made = b;
    return move_on(p, err);
}

static void copy_out(batch *b)
{
    size_t at = b->received_from;
    for (int32_t i = 0; i < b->count; i++) {
        const gm_peer_move *m = &b->move[i];
        if (m->is_send || is_on_device(m->block)) continue;
        memcpy(m->block, b->pinned + at, m->bytes);
        at += aligned(m->bytes);
    }
    b->at = FREE;
}

static gm_status peers_end(void *pointer, void *made, bool *is_done, gm_err *err)
{
    peers *p = pointer;
    batch *b = made;
    bool is_through;
    *is_done = false;
    GM_TRY(move_on(p, err));
    if (b->at != RUNNING) return GM_OK;
    const cudaError_t error = cudaEventQuery(b->done);
    if (p->beginning == NULL) GM_TRY(ask(p, "a transfer", &is_through, err)); /* a group that was given up leaves the stream as well */
    if (error == cudaErrorNotReady) return GM_OK;
    CUDA_TRY(err, error);
    copy_out(b);
    *is_done = true;
    return GM_OK;
}

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

gm_module_peers gm_cuda_peers(void)
{
    return (gm_module_peers){ .library = "NCCL " TEXT(NCCL_MAJOR) "." TEXT(NCCL_MINOR) "." TEXT(NCCL_PATCH), .make_id = make_id, .open = peers_open,
                              .ready = peers_ready, .begin = peers_begin, .end = peers_end, .close = peers_close };
}

#endif
