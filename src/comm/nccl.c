/* Transport by NCCL, between processes with a GPU each: sends and receives of a group go on together, from the moment that all of
 * them have been named, on a stream of their own. Blocks may lie in device or in host memory. Who is which rank, and the id that
 * NCCL needs, come by MPI where a launcher has started it, else from the launcher's variables or the options, and a file. */
#define _POSIX_C_SOURCE 200809L
#include "comm/transport.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/progress.h"
#include "comm/meet.h"

typedef struct transfer {
    struct transfer *next; /* of those whose group has not been started */
    int32_t tag;
    gm_peer_move move;
    bool is_done;
} transfer;

typedef struct group {
    struct group *next;
    void *batch; /* NULL: NCCL has not got it yet */
    transfer **member;
    gm_peer_move *move;
    int32_t count;
} group;

static struct {
    const gm_module *module;
    const gm_transport *mpi; /* NULL: not launched by it */
    void *peers;
    const gm_device *device; /* whose work device blocks wait for */
    transfer *waiting;
    group *groups;           /* in the order in which all ranks start them */
    bool has_failed;
} n;

/* ---- who is who ---- */

static bool number_of(const char *const *names, size_t count, int32_t *value)
{
    gm_err ignored = { 0 };
    for (size_t i = 0; i < count; i++) {
        const char *text = getenv(names[i]);
        int64_t read;
        if (text == NULL || gm_parse_int(text, &read, &ignored) != GM_OK || read < 0 || read > INT32_MAX) continue;
        *value = (int32_t)read;
        return true;
    }
    return false;
}

/* Which of the processes of this machine: it chooses the GPU. */
static int32_t local_rank(int32_t rank)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK", "SLURM_LOCALID" };
    int32_t local = rank;
    (void)number_of(names, GM_LEN(names), &local);
    return local;
}

static gm_status take_rank(const gm_comm_options *o, int32_t *rank, int32_t *size, gm_err *err)
{
    static const char *const ranks[] = { "RANK", "SLURM_PROCID" }, *const sizes[] = { "WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS" };
    *rank = o->rank;
    *size = o->size;
    if (o->size == 0 && gm_comm_is_launched()) {
        n.mpi = gm_transport_mpi();
        if (n.mpi != NULL) return n.mpi->open(o, rank, size, err);
    }
    if (o->size == 0 && (!number_of(ranks, GM_LEN(ranks), rank) || !number_of(sizes, GM_LEN(sizes), size)))
        return gm_fail(err, GM_ERR_USAGE, "--comm nccl: which of how many processes is this? Start it by mpirun%s, srun or torchrun, or give --comm-rank, --comm-size and --comm-file",
                       gm_transport_mpi() != NULL ? "" : " (this build lacks MPI: libopenmpi-dev)");
    if (*size < 1 || *rank < 0 || *rank >= *size) return gm_fail(err, GM_ERR_USAGE, "--comm nccl: rank %d of %d: ranks are 0 to %d", *rank, *size, *size - 1);
    if (*size > 1 && o->file == NULL)
        return gm_fail(err, GM_ERR_USAGE, "--comm nccl: %d processes without MPI meet by a file: name one by --comm-file, the same for all, in a folder that all see", *size);
    return GM_OK;
}

static bool is_over(double since, double timeout_s) { return timeout_s > 0.0 && gm_now_s() - since > timeout_s; }

static void pause_a_little(void)
{
    const struct timespec moment = { .tv_nsec = 200000 };
    nanosleep(&moment, NULL);
}

static gm_status wait_for_mpi(gm_request *request, int32_t peer, double timeout_s, gm_err *err)
{
    const double since = gm_now_s();
    for (bool is_done = false;;) {
        GM_TRY(n.mpi->test(request, &is_done, err));
        if (is_done) return GM_OK;
        if (is_over(since, timeout_s)) return gm_fail(err, GM_ERR_DEVICE, "--comm nccl: no answer from rank %d for %.0f s (comm.timeout_s)", peer, timeout_s);
        pause_a_little();
    }
}

static gm_status share_by_mpi(int32_t rank, int32_t size, double timeout_s, char *id, gm_err *err)
{
    gm_request request;
    if (rank > 0) {
        GM_TRY(n.mpi->receive(0, 0, id, GM_PEER_ID_BYTES, &request, err));
        return wait_for_mpi(&request, 0, timeout_s, err);
    }
    for (int32_t r = 1; r < size; r++) {
        GM_TRY(n.mpi->send(r, 0, id, GM_PEER_ID_BYTES, &request, err));
        GM_TRY(wait_for_mpi(&request, r, timeout_s, err));
    }
    return GM_OK;
}

/* ---- start ---- */

static gm_status load(const char *device, gm_err *err)
{
    GM_TRY(gm_backend_module(device, &n.module, err));
    if (n.module->peers.library != NULL) return GM_OK;
    return gm_fail(err, GM_ERR_MISSING, "this build has no NCCL: tools/get-nccl fetches it, `make cuda` then builds the module with it");
}

static gm_status meet_others(const gm_comm_options *o, int32_t rank, int32_t size, gm_err *err)
{
    char id[GM_PEER_ID_BYTES] = "";
    bool is_ready = false;
    if (rank == 0) GM_TRY(n.module->peers.make_id(id, err));
    GM_TRY(n.mpi != NULL ? share_by_mpi(rank, size, o->timeout_s, id, err) : gm_meet(o->file, rank, size, o->timeout_s, id, sizeof id, err));
    GM_TRY(n.module->peers.open(id, rank, size, &n.peers, err));
    const double since = gm_now_s();
    for (;;) {
        GM_TRY(n.module->peers.ready(n.peers, &is_ready, err));
        if (is_ready) return GM_OK;
        if (is_over(since, o->timeout_s)) return gm_fail(err, GM_ERR_DEVICE, "%d processes do not find each other by NCCL within %.0f s (comm.timeout_s); NCCL_DEBUG=INFO shows what it tries", size, o->timeout_s);
        pause_a_little();
    }
}

static gm_status nccl_open(const gm_comm_options *o, int32_t *rank, int32_t *size, gm_err *err)
{
    const char *device = o->device != NULL ? o->device : "cuda";
    memset(&n, 0, sizeof n);
    GM_TRY(take_rank(o, rank, size, err));
    gm_status status = load(device, err);
    if (status == GM_OK) status = n.module->choose_gpu(local_rank(*rank), err);
    if (status == GM_OK) status = meet_others(o, *rank, *size, err);
    if (status == GM_OK) return GM_OK;
    if (n.peers != NULL) n.module->peers.close(n.peers, false);
    return gm_fail_at(err, "--comm nccl: rank %d of %d needs a GPU of its own and NCCL (--device %s)", *rank, *size, device);
}

/* ---- transfers ---- */

static gm_status name_transfer(int32_t peer, bool is_send, int32_t tag, void *block, size_t bytes, gm_request *request, gm_err *err)
{
    transfer *t = gm_malloc(sizeof *t), **last = &n.waiting;
    if (t == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a transfer");
    *t = (transfer){ .tag = tag, .move = { peer, is_send, block, bytes } };
    while (*last != NULL) last = &(*last)->next;
    *last = t;
    request->bits = (uint64_t)(uintptr_t)t;
    return GM_OK;
}

static gm_status nccl_send(int32_t to, int32_t tag, const void *block, size_t bytes, gm_request *request, gm_err *err)
{
    return name_transfer(to, true, tag, (void *)(uintptr_t)block, bytes, request, err);
}

static gm_status nccl_receive(int32_t from, int32_t tag, void *block, size_t bytes, gm_request *request, gm_err *err)
{
    return name_transfer(from, false, tag, block, bytes, request, err);
}

static void free_group(group *g)
{
    gm_free((void *)g->member);
    gm_free(g->move);
    gm_free(g);
}

/* Transfers that are done leave the list, in whichever order; NCCL gets the next one when it can take it. */
static gm_status move_on(gm_err *err)
{
    const gm_module_peers *p = &n.module->peers;
    for (group **at = &n.groups, *g; (g = *at) != NULL;) {
        bool is_done = false;
        if (g->batch == NULL) GM_TRY(p->begin(n.peers, n.device, g->move, g->count, &g->batch, err));
        if (g->batch == NULL) return GM_OK;
        GM_TRY(p->end(n.peers, g->batch, &is_done, err));
        if (!is_done) {
            at = &g->next;
            continue;
        }
        for (int32_t i = 0; i < g->count; i++) g->member[i]->is_done = true;
        *at = g->next;
        free_group(g);
    }
    return GM_OK;
}

static gm_status try_to_move_on(gm_err *err)
{
    const gm_status status = n.has_failed ? gm_fail(err, GM_ERR_DEVICE, "NCCL: an earlier transfer has failed") : move_on(err);
    n.has_failed |= status != GM_OK;
    return status;
}

static group *make_group(int32_t count)
{
    group *g = gm_calloc(1, sizeof *g);
    if (g == NULL) return NULL;
    g->member = gm_calloc((size_t)count, sizeof *g->member);
    g->move = gm_calloc((size_t)count, sizeof *g->move);
    if (g->member != NULL && g->move != NULL) return g;
    free_group(g);
    return NULL;
}

static gm_status nccl_start(int32_t tag, gm_err *err)
{
    int32_t count = 0;
    for (const transfer *t = n.waiting; t != NULL; t = t->next) count += t->tag == tag;
    if (count == 0) return GM_OK;
    group *g = make_group(count), **last = &n.groups;
    if (g == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d transfers", count);
    for (transfer **at = &n.waiting, *t; (t = *at) != NULL;) {
        if (t->tag != tag) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        g->member[g->count] = t;
        g->move[g->count++] = t->move;
    }
    while (*last != NULL) last = &(*last)->next;
    *last = g;
    return try_to_move_on(err);
}

static gm_status nccl_test(gm_request *request, bool *is_done, gm_err *err)
{
    transfer *t = (transfer *)(uintptr_t)request->bits;
    *is_done = t->is_done;
    if (!t->is_done) GM_TRY(try_to_move_on(err));
    *is_done = t->is_done;
    if (t->is_done) gm_free(t);
    return GM_OK;
}

static void nccl_follow(const gm_device *device) { n.device = device; }

/* ---- end ---- */

static void nccl_close(void)
{
    const bool is_finished = n.groups == NULL && n.waiting == NULL && !n.has_failed;
    if (n.peers != NULL) n.module->peers.close(n.peers, is_finished);
    for (group *g = n.groups, *next; g != NULL; g = next) {
        next = g->next;
        for (int32_t i = 0; i < g->count; i++) gm_free(g->member[i]);
        free_group(g);
    }
    for (transfer *t = n.waiting, *next; t != NULL; t = next) {
        next = t->next;
        gm_free(t);
    }
    const gm_transport *mpi = n.mpi;
    memset(&n, 0, sizeof n);
    if (mpi != NULL) mpi->close();
}

/* Without MPI the others see it by the launcher, by NCCL or by their time-out. */
static void nccl_abort(int exit_code)
{
    if (n.mpi != NULL) n.mpi->abort(exit_code);
    _exit(exit_code);
}

static const gm_transport nccl = { .name = "nccl", .open = nccl_open, .send = nccl_send, .receive = nccl_receive, .start = nccl_start, .test = nccl_test,
                                   .follow = nccl_follow, .close = nccl_close, .abort = nccl_abort };

const gm_transport *gm_transport_nccl(void) { return &nccl; }
