#define _DEFAULT_SOURCE /* gethostname */
#define _POSIX_C_SOURCE 200809L
#include "comm/comm.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "comm/transport.h"

enum { GROUP_OF_ALL = 1000, GROUP_OF_WAITING }; /* of the calls that all ranks make together; of "I wait as well" */

typedef struct transfer { gm_request request; int32_t peer, group; } transfer;
typedef struct rank_name { char host[64]; int64_t process; } rank_name;

struct gm_comm {
    const gm_transport *transport;
    int32_t rank, size;
    double timeout_s;
    transfer *open;           /* [count] begun and not yet done */
    size_t capacity;
    int32_t count;
    rank_name *names;         /* [size] */
    char *word;               /* [size] of ranks that wait as well */
    gm_comm_counts counts;
    bool is_agreed;
};

int32_t gm_comm_rank(const gm_comm *c) { return c != NULL ? c->rank : 0; }
int32_t gm_comm_size(const gm_comm *c) { return c != NULL ? c->size : 1; }
gm_comm_counts gm_comm_traffic(const gm_comm *c) { return c != NULL ? c->counts : (gm_comm_counts){ 0 }; }
bool gm_comm_is_agreed(const gm_comm *c) { return c == NULL || c->is_agreed; }

static gm_status note(gm_comm *c, int32_t peer, int32_t group, gm_request request)
{
    c->open[c->count++] = (transfer){ request, peer, group };
    return GM_OK;
}

static gm_status make_room(gm_comm *c, gm_err *err)
{
    return gm_grow((void **)&c->open, &c->capacity, (size_t)c->count, sizeof *c->open, err);
}

gm_status gm_comm_send(gm_comm *c, int32_t to, int32_t group, const void *block, size_t bytes, gm_traffic kind, gm_err *err)
{
    gm_request request;
    for (size_t at = 0; at < bytes; at += GM_TRANSPORT_BYTES) {
        const size_t n = bytes - at < GM_TRANSPORT_BYTES ? bytes - at : GM_TRANSPORT_BYTES;
        GM_TRY(make_room(c, err));
        GM_TRY(c->transport->send(to, group, (const char *)block + at, n, &request, err));
        GM_TRY(note(c, to, group, request));
        c->counts.sent[kind] += (int64_t)n;
    }
    return GM_OK;
}

gm_status gm_comm_receive(gm_comm *c, int32_t from, int32_t group, void *block, size_t bytes, gm_err *err)
{
    gm_request request;
    for (size_t at = 0; at < bytes; at += GM_TRANSPORT_BYTES) {
        const size_t n = bytes - at < GM_TRANSPORT_BYTES ? bytes - at : GM_TRANSPORT_BYTES;
        GM_TRY(make_room(c, err));
        GM_TRY(c->transport->receive(from, group, (char *)block + at, n, &request, err));
        GM_TRY(note(c, from, group, request));
    }
    return GM_OK;
}

bool gm_comm_takes_device_memory(const gm_comm *c) { return c != NULL && c->transport->follow != NULL; }

void gm_comm_follow(gm_comm *c, const gm_device *device)
{
    if (gm_comm_takes_device_memory(c)) c->transport->follow(device);
}

gm_status gm_comm_start(gm_comm *c, int32_t group, gm_err *err) { return c != NULL && c->transport->start != NULL ? c->transport->start(group, err) : GM_OK; }

/* *left: transfers of the group that are not done. */
static gm_status advance(gm_comm *c, int32_t group, int32_t *left, gm_err *err)
{
    int32_t kept = 0;
    *left = 0;
    for (int32_t i = 0; i < c->count; i++) {
        bool is_done = false;
        GM_TRY(c->transport->test(&c->open[i].request, &is_done, err));
        if (is_done) continue;
        *left += c->open[i].group == group;
        c->open[kept++] = c->open[i];
    }
    c->count = kept;
    return GM_OK;
}

gm_status gm_comm_progress(gm_comm *c, gm_err *err)
{
    int32_t left;
    return c != NULL && c->count > 0 ? advance(c, 0, &left, err) : GM_OK;
}

/* The first tries only let others run, for an answer is often a moment away; later ones sleep, so that ranks that share a
 * processor do not take it from those who still work. */
static void pause_a_little(int tries)
{
    static const struct timespec moment = { .tv_nsec = 50000 };
    if (tries < 200) sched_yield();
    else nanosleep(&moment, NULL);
}

/* A rank that waits for the one that hangs may itself be waited for. So whoever has waited too long says so to all, and is
 * not to blame for those who hear it; they listen for half as long as they have waited, at most ten seconds. */
static void hear_who_waits(gm_comm *c, double seconds)
{
    gm_request *request = gm_calloc(2 * (size_t)c->size, sizeof *request);
    bool *is_open = gm_calloc((size_t)c->size, sizeof *is_open);
    const double end = gm_now_s() + (seconds < 20.0 ? seconds / 2.0 : 10.0);
    for (int32_t r = 0; r < c->size && request != NULL && is_open != NULL; r++) {
        if (r == c->rank) continue;
        is_open[r] = c->transport->receive(r, GROUP_OF_WAITING, &c->word[r], 1, &request[r], NULL) == GM_OK &&
                     c->transport->send(r, GROUP_OF_WAITING, &c->word[c->rank], 1, &request[c->size + r], NULL) == GM_OK;
    }
    while (request != NULL && is_open != NULL && gm_now_s() < end) {
        for (int32_t r = 0; r < c->size; r++) {
            bool is_done = false;
            if (is_open[r] && c->transport->test(&request[r], &is_done, NULL) == GM_OK) is_open[r] = !is_done;
        }
        pause_a_little(1000);
    }
    gm_free(request);
    gm_free(is_open);
}

static bool is_awaited(const gm_comm *c, int32_t group, int32_t rank)
{
    for (int32_t i = 0; i < c->count; i++)
        if (c->open[i].group == group && c->open[i].peer == rank) return true;
    return false;
}

static gm_status name_the_silent(gm_comm *c, int32_t group, double waited, gm_err *err)
{
    gm_buffer who = { 0 };
    c->word[c->rank] = 1;
    hear_who_waits(c, waited);
    for (int32_t r = 0; r < c->size; r++)
        if (is_awaited(c, group, r) && c->word[r] == 0)
            (void)gm_buffer_printf(&who, NULL, "%srank %d (process %lld on %s)", who.size > 0 ? ", " : "", r, (long long)c->names[r].process, c->names[r].host);
    gm_fail(err, GM_ERR_DEVICE, "no answer for %.0f s (comm.timeout_s) from %s: it hangs or is gone; all processes end, the last checkpoint stands: start again with --resume",
            waited, who.data != NULL ? who.data : "another rank, which others name");
    gm_buffer_free(&who);
    return GM_ERR_DEVICE;
}

gm_status gm_comm_wait(gm_comm *c, int32_t group, gm_err *err)
{
    int32_t left;
    if (c == NULL) return GM_OK;
    GM_TRY(gm_comm_start(c, group, err));
    double last = gm_now_s(), waited = 0.0;
    for (int tries = 0;; tries += tries < 200) {
        GM_TRY(advance(c, group, &left, err));
        const double now = gm_now_s(), step = now - last;
        c->counts.wait_s += step;
        waited += step < 1.0 ? step : 1.0; /* a job that was suspended as a whole has not waited meanwhile */
        last = now;
        if (left == 0) return GM_OK;
        if (c->timeout_s > 0.0 && waited > c->timeout_s) return name_the_silent(c, group, waited, err);
        pause_a_little(tries);
    }
}

static gm_status send_to_all(gm_comm *c, const void *block, size_t bytes, gm_err *err)
{
    for (int32_t r = 0; r < c->size; r++)
        if (r != c->rank) GM_TRY(gm_comm_send(c, r, GROUP_OF_ALL, block, bytes, GM_TRAFFIC_OTHER, err));
    return GM_OK;
}

gm_status gm_comm_broadcast(gm_comm *c, int32_t root, void *block, size_t bytes, gm_err *err)
{
    if (c == NULL) return GM_OK;
    if (c->rank == root) GM_TRY(send_to_all(c, block, bytes, err));
    else GM_TRY(gm_comm_receive(c, root, GROUP_OF_ALL, block, bytes, err));
    return gm_comm_wait(c, GROUP_OF_ALL, err);
}

gm_status gm_comm_gather(gm_comm *c, const void *mine, const size_t *bytes, void *all, gm_err *err)
{
    size_t at = 0;
    if (c == NULL) {
        memcpy(all, mine, bytes[0]);
        return GM_OK;
    }
    for (int32_t r = 0; r < c->size; r++) {
        if (r != c->rank) GM_TRY(gm_comm_receive(c, r, GROUP_OF_ALL, (char *)all + at, bytes[r], err));
        else memcpy((char *)all + at, mine, bytes[r]);
        at += bytes[r];
    }
    GM_TRY(send_to_all(c, mine, bytes[c->rank], err));
    return gm_comm_wait(c, GROUP_OF_ALL, err);
}

/* The same number of bytes from everybody. */
static gm_status gather_equal(gm_comm *c, const void *mine, size_t bytes, void *all, gm_err *err)
{
    for (int32_t r = 0; r < c->size; r++)
        if (r != c->rank) GM_TRY(gm_comm_receive(c, r, GROUP_OF_ALL, (char *)all + (size_t)r * bytes, bytes, err));
        else memcpy((char *)all + (size_t)r * bytes, mine, bytes);
    GM_TRY(send_to_all(c, mine, bytes, err));
    return gm_comm_wait(c, GROUP_OF_ALL, err);
}

gm_status gm_comm_barrier(gm_comm *c, gm_err *err)
{
    const char here = 1;
    if (c == NULL) return GM_OK;
    char *all = gm_malloc((size_t)c->size);
    if (all == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", c->size);
    const gm_status status = gather_equal(c, &here, 1, all, err);
    gm_free(all);
    return status;
}

static void add(float *restrict sum, const float *restrict x, int64_t size)
{
    for (int64_t i = 0; i < size; i++) sum[i] += x[i];
}

/* Round k adds what stands 2^k places on to every place that is a multiple of 2^(k + 1): pairs, then pairs of pairs; what has
 * no partner waits for a later round. */
void gm_tree_sum(float *const *part, int32_t count, int64_t size)
{
    for (int64_t stride = 1; stride < count; stride *= 2)
        for (int64_t at = 0; at + stride < count; at += 2 * stride) add(part[at], part[at + stride], size);
}

/* Rank r sums piece r of everybody's numbers and gives the sum to all. */
gm_status gm_comm_sum(gm_comm *c, float *x, int64_t count, float *scratch, gm_err *err)
{
    if (c == NULL) return GM_OK;
    const int64_t first = count * c->rank / c->size, mine = count * (c->rank + 1) / c->size - first;
    float **part = gm_malloc((size_t)c->size * sizeof *part);
    if (part == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", c->size);
    gm_status status = GM_OK;
    for (int32_t r = 0; r < c->size && status == GM_OK; r++) {
        const int64_t from = count * r / c->size, n = count * (r + 1) / c->size - from;
        part[r] = scratch + r * mine;
        if (r == c->rank) {
            memcpy(part[r], x + from, (size_t)n * sizeof *x);
            continue;
        }
        status = gm_comm_receive(c, r, GROUP_OF_ALL, part[r], (size_t)mine * sizeof *x, err);
        if (status == GM_OK) status = gm_comm_send(c, r, GROUP_OF_ALL, x + from, (size_t)n * sizeof *x, GM_TRAFFIC_OTHER, err);
    }
    if (status == GM_OK) status = gm_comm_wait(c, GROUP_OF_ALL, err);
    if (status == GM_OK) {
        gm_tree_sum(part, c->size, mine);
        memcpy(x + first, part[0], (size_t)mine * sizeof *x);
        status = send_to_all(c, x + first, (size_t)mine * sizeof *x, err);
    }
    for (int32_t r = 0; r < c->size && status == GM_OK; r++) {
        const int64_t from = count * r / c->size, n = count * (r + 1) / c->size - from;
        if (r != c->rank) status = gm_comm_receive(c, r, GROUP_OF_ALL, x + from, (size_t)n * sizeof *x, err);
    }
    gm_free(part);
    return status == GM_OK ? gm_comm_wait(c, GROUP_OF_ALL, err) : status;
}

gm_status gm_comm_sum_counts(gm_comm *c, int64_t *x, int32_t count, gm_err *err)
{
    if (c == NULL) return GM_OK;
    const size_t bytes = (size_t)count * sizeof *x;
    int64_t *all = gm_malloc((size_t)c->size * bytes);
    if (all == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", c->size);
    const gm_status status = gather_equal(c, x, bytes, all, err);
    for (int32_t i = 0; i < count && status == GM_OK; i++) {
        x[i] = 0;
        for (int32_t r = 0; r < c->size; r++) x[i] += all[(size_t)r * (size_t)count + (size_t)i];
    }
    gm_free(all);
    return status;
}

gm_status gm_comm_agree(gm_comm *c, gm_status mine, gm_err *err)
{
    if (c == NULL || c->is_agreed) return mine;
    const int32_t own = (int32_t)mine;
    int32_t *all = gm_malloc((size_t)c->size * sizeof *all);
    if (all == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", c->size);
    gm_err failed = { .status = mine };
    if (mine != GM_OK && err != NULL) failed = *err;
    gm_status status = gather_equal(c, &own, sizeof own, all, err);
    int32_t culprit = 0;
    while (status == GM_OK && culprit < c->size && all[culprit] == (int32_t)GM_OK) culprit++;
    const bool is_bad = status == GM_OK && culprit < c->size;
    gm_free(all);
    if (!is_bad) return status;
    GM_TRY(gm_comm_broadcast(c, culprit, &failed, sizeof failed, err));
    c->is_agreed = true;
    if (err != NULL) *err = failed;
    if (err != NULL && culprit > 0) return gm_fail_at(err, "rank %d (process %lld on %s)", culprit, (long long)c->names[culprit].process, c->names[culprit].host);
    return failed.status;
}

/* Each launcher tells a process in the environment which of how many it is; these are what Open MPI, PMIx (srun --mpi=pmix)
 * and PMI (MPICH, Intel MPI, srun --mpi=pmi2) set. */
bool gm_comm_is_launched(void)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE" };
    for (size_t i = 0; i < GM_LEN(names); i++)
        if (getenv(names[i]) != NULL) return true;
    return false;
}

/* srun without a plug-in for MPI starts copies that know nothing of each other: they would write into one folder. */
static bool is_lonely_copy(void)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    return tasks != NULL && strtol(tasks, NULL, 10) > 1;
}

static gm_status choose(const char *kind, const gm_transport **transport, gm_err *err)
{
    *transport = NULL;
    if (strcmp(kind, "none") == 0) return GM_OK;
    if (strcmp(kind, "auto") == 0 && !gm_comm_is_launched())
        return !is_lonely_copy() ? GM_OK
                                 : gm_fail(err, GM_ERR_USAGE, "srun has started several processes that cannot find each other: use srun --mpi=pmix, or --comm none for independent runs");
    if (strcmp(kind, "nccl") == 0) {
        *transport = gm_transport_nccl();
        return GM_OK;
    }
    if (strcmp(kind, "mpi") != 0 && strcmp(kind, "auto") != 0) return gm_fail(err, GM_ERR_USAGE, "--comm is none, mpi, nccl or auto, not \"%s\"", kind);
    *transport = gm_transport_mpi();
    if (*transport != NULL) return GM_OK;
    return gm_fail(err, GM_ERR_MISSING, "--comm %s: this process is one of several, but this build lacks MPI: install libopenmpi-dev and build again, or use --comm none for independent runs", kind);
}

static gm_status exchange_names(gm_comm *c, gm_err *err)
{
    rank_name mine = { .process = (int64_t)getpid() };
    c->names = gm_calloc((size_t)c->size, sizeof *c->names);
    c->word = gm_calloc((size_t)c->size, 1);
    if (c->names == NULL || c->word == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", c->size);
    for (int32_t r = 0; r < c->size; r++) c->names[r] = (rank_name){ "an unknown host", 0 };
    if (gethostname(mine.host, sizeof mine.host - 1) != 0) snprintf(mine.host, sizeof mine.host, "an unknown host");
    return gather_equal(c, &mine, sizeof mine, c->names, err);
}

gm_status gm_comm_open(const char *kind, double timeout_s, gm_comm **c, gm_err *err)
{
    return gm_comm_open_as(&(gm_comm_options){ .kind = kind, .timeout_s = timeout_s }, c, err);
}

gm_status gm_comm_open_as(const gm_comm_options *o, gm_comm **c, gm_err *err)
{
    const gm_transport *transport;
    *c = NULL;
    GM_TRY(choose(o->kind, &transport, err));
    if (transport == NULL) return GM_OK;
    gm_comm *made = gm_calloc(1, sizeof *made);
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the connection of processes");
    made->transport = transport;
    made->timeout_s = o->timeout_s;
    gm_status status = transport->open(o, &made->rank, &made->size, err);
    if (status == GM_OK) status = exchange_names(made, err);
    if (status == GM_OK) {
        *c = made;
        return GM_OK;
    }
    gm_free(made->names);
    gm_free(made->word);
    gm_free(made->open);
    gm_free(made);
    return status;
}

void gm_comm_close(gm_comm *c)
{
    if (c == NULL) return;
    c->transport->close();
    gm_free(c->names);
    gm_free(c->word);
    gm_free(c->open);
    gm_free(c);
}

void gm_comm_abort(gm_comm *c, int exit_code)
{
    if (c != NULL) c->transport->abort(exit_code);
}
