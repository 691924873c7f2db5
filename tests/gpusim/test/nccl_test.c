/* NCCL of the simulator: each case runs in two or four processes, which this one starts and judges by how they end. */
#define _GNU_SOURCE /* kill, setenv */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cuda_runtime_api.h>
#include <nccl.h>

#include "gm_sim.h"

enum { LARGE = 200000, MOST = 4, LEFT_BY_SIGNAL = 200 }; /* LARGE: several slots of the shared memory */

/* A rank's process ends here, with the line that was not so. */
#define CHECK(condition)                                                                                                      \
    do {                                                                                                                      \
        if (!(condition)) {                                                                                                   \
            fprintf(stderr, "rank %d of %d: %s:%d: %s; the simulator says \"%s\", NCCL \"%s\"\n", rank, size, __FILE__, __LINE__, #condition, gm_sim_first_error(), ncclGetLastError(comm)); \
            _exit(1);                                                                                                         \
        }                                                                                                                     \
    } while (0)
#define GOOD(call) CHECK((call) == 0)

static ncclUniqueId id;
static ncclComm_t comm;
static int rank, size;
static cudaStream_t stream;

static void meet(void)
{
    GOOD(cudaSetDevice(rank));
    GOOD(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    GOOD(ncclCommInitRank(&comm, size, id, rank));
}

/* Device memory with value(i) = base + i. */
static float *numbers(size_t count, float base)
{
    float *p, *host = malloc(count * sizeof *host);
    CHECK(host != NULL);
    for (size_t i = 0; i < count; i++) host[i] = base + (float)i;
    GOOD(cudaMalloc((void **)&p, count * sizeof *p));
    GOOD(cudaMemcpy(p, host, count * sizeof *p, cudaMemcpyHostToDevice));
    free(host);
    return p;
}

static float at(const float *p, size_t i)
{
    float v = 0.0f;
    GOOD(cudaStreamSynchronize(stream));
    GOOD(cudaMemcpy(&v, p + i, sizeof v, cudaMemcpyDeviceToHost));
    return v;
}

/* ---- what ranks do ---- */

static void sends_and_receives_in_a_group(void)
{
    const int next = (rank + 1) % size, last = (rank + size - 1) % size;
    float *out = numbers(LARGE, 1000.0f * (float)rank), *in = numbers(LARGE, -1.0f), *small = numbers(3, (float)rank), *other = numbers(3, -1.0f);
    meet();
    GOOD(ncclGroupStart());
    GOOD(ncclSend(out, LARGE, ncclFloat, next, comm, stream));
    GOOD(ncclSend(small, 3, ncclFloat, next, comm, stream));
    GOOD(ncclRecv(in, LARGE, ncclFloat, last, comm, stream));
    GOOD(ncclRecv(other, 3, ncclFloat, last, comm, stream));
    GOOD(ncclGroupEnd());
    for (size_t i = 0; i < LARGE; i += 7919) CHECK(at(in, i) == 1000.0f * (float)last + (float)i);
    CHECK(at(other, 2) == (float)(last + 2));
    GOOD(ncclCommDestroy(comm));
}

static void sums_are_in_the_order_of_ranks(void)
{
    static const float tiny = 0x1p-24f;
    float *x = numbers(2, rank == 0 ? 1.0f : tiny), *sum = numbers(2, 0.0f), want = 1.0f;
    int64_t one = ((int64_t)1 << 60) + rank, *count, whole;
    meet();
    for (int r = 1; r < size; r++) want += tiny; /* each is lost; in another order they would not be */
    GOOD(ncclAllReduce(x, sum, 2, ncclFloat, ncclSum, comm, stream));
    CHECK(at(sum, 0) == want && want == 1.0f);
    GOOD(ncclAllReduce(x, x, 1, ncclFloat, ncclMax, comm, stream)); /* in place */
    CHECK(at(x, 0) == 1.0f);
    GOOD(cudaMalloc((void **)&count, sizeof one));
    GOOD(cudaMemcpy(count, &one, sizeof one, cudaMemcpyHostToDevice));
    GOOD(ncclAllReduce(count, count, 1, ncclInt64, ncclSum, comm, stream));
    GOOD(cudaStreamSynchronize(stream));
    GOOD(cudaMemcpy(&whole, count, sizeof whole, cudaMemcpyDeviceToHost));
    CHECK(whole == (int64_t)size * ((int64_t)1 << 60) + size * (size - 1) / 2);
    GOOD(ncclCommDestroy(comm));
}

static void collectives_move_what_they_say(void)
{
    float *x = numbers((size_t)size, 10.0f * (float)rank), *all = numbers((size_t)(size * size), -1.0f), *piece = numbers(1, -1.0f);
    meet();
    GOOD(ncclAllGather(x, all, (size_t)size, ncclFloat, comm, stream));
    for (int r = 0; r < size; r++) CHECK(at(all, (size_t)(r * size + 1)) == 10.0f * (float)r + 1.0f);
    GOOD(ncclReduceScatter(x, piece, 1, ncclFloat, ncclSum, comm, stream));
    CHECK(at(piece, 0) == 10.0f * (float)(size * (size - 1) / 2) + (float)(size * rank));
    GOOD(ncclReduce(x, piece, 1, ncclFloat, ncclAvg, 1, comm, stream));
    CHECK(at(piece, 0) == (rank == 1 ? 5.0f * (float)(size - 1) : 10.0f * (float)(size * (size - 1) / 2) + (float)(size * rank)));
    GOOD(ncclBroadcast(x, x, 1, ncclFloat, size - 1, comm, stream));
    CHECK(at(x, 0) == 10.0f * (float)(size - 1));
    GOOD(ncclCommDestroy(comm));
}

static void captured_calls_are_replayed(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float *x = numbers(4, 1.0f);
    meet();
    GOOD(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    GOOD(ncclAllReduce(x, x, 4, ncclFloat, ncclSum, comm, stream));
    GOOD(cudaStreamEndCapture(stream, &graph));
    GOOD(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 3; i++) GOOD(cudaGraphLaunch(exec, stream));
    CHECK(at(x, 0) == (float)(size * size * size));
    GOOD(ncclCommDestroy(comm));
}

static void a_comm_that_does_not_block_is_asked(void)
{
    ncclConfig_t settings = NCCL_CONFIG_INITIALIZER;
    ncclResult_t state = ncclInProgress;
    float *x = numbers(1, 1.0f);
    settings.blocking = 0;
    GOOD(cudaSetDevice(rank));
    GOOD(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    if (rank == 1) usleep(200000);
    CHECK(ncclCommInitRankConfig(&comm, size, id, rank, &settings) == ncclInProgress);
    CHECK(ncclAllReduce(x, x, 1, ncclFloat, ncclSum, comm, stream) == ncclInvalidArgument); /* before all have come */
    CHECK(gm_sim_take_errors() == 1);
    while (state == ncclInProgress) GOOD(ncclCommGetAsyncError(comm, &state));
    GOOD(state);
    CHECK(ncclAllReduce(x, x, 1, ncclFloat, ncclSum, comm, stream) == ncclInProgress);
    GOOD(ncclCommGetAsyncError(comm, &state));
    GOOD(state);
    CHECK(at(x, 0) == (float)size);
    GOOD(ncclCommDestroy(comm));
}

/* All hear of it, be it at the next question or at the call itself; whoever meets it counts an error of the program. */
static void unequal(const char *expected)
{
    ncclResult_t state = ncclSuccess;
    (void)cudaStreamSynchronize(stream);
    while (state == ncclSuccess) GOOD(ncclCommGetAsyncError(comm, &state));
    CHECK(state == ncclInvalidUsage);
    CHECK(strstr(ncclGetLastError(comm), expected) != NULL);
    GOOD(ncclCommAbort(comm));
    (void)gm_sim_take_errors();
}

static void other_counts_are_named(void)
{
    float *x = numbers(8, 0.0f);
    meet();
    (void)ncclAllReduce(x, x, rank == 0 ? 5 : 6, ncclFloat, ncclSum, comm, stream);
    unequal("ncclAllReduce of ");
}

static void other_calls_are_named(void)
{
    float *x = numbers(8, 0.0f);
    meet();
    if (rank == 0) (void)ncclBroadcast(x, x, 8, ncclFloat, 0, comm, stream);
    else (void)ncclAllReduce(x, x, 8, ncclFloat, ncclSum, comm, stream);
    unequal("ncclBroadcast of 8 float32, root 0");
}

static void a_receive_of_another_length_is_named(void)
{
    float *x = numbers(8, 0.0f);
    meet();
    if (rank == 0) (void)ncclSend(x, 8, ncclFloat, 1, comm, stream);
    else (void)ncclRecv(x, 7, ncclFloat, 0, comm, stream);
    unequal("ncclRecv of 7 float32 of rank 1 meets ncclSend of 8 float32 of rank 0");
}

static void a_dead_rank_is_named(void)
{
    float *x = numbers(LARGE, 0.0f);
    ncclResult_t state = ncclSuccess;
    meet();
    if (rank == 1) raise(SIGKILL);
    (void)ncclAllReduce(x, x, LARGE, ncclFloat, ncclSum, comm, stream);
    (void)cudaStreamSynchronize(stream);
    GOOD(ncclCommGetAsyncError(comm, &state));
    CHECK(state == ncclRemoteError);
    CHECK(strstr(ncclGetLastError(comm), "rank 1 is gone") != NULL);
    CHECK(gm_sim_take_errors() == 0); /* no fault of this rank's program */
    GOOD(ncclCommAbort(comm));
}

/* A pair that only waits for each other; the limit of patience ends it. */
static void ranks_that_wait_for_each_other_end(void)
{
    float *x = numbers(1, 0.0f);
    meet();
    (void)ncclRecv(x, 1, ncclFloat, (rank + 1) % size, comm, stream);
    unequal("(GM_SIM_PATIENCE) for rank");
}

static void a_wait_can_be_given_up(void)
{
    float *x = numbers(1, 0.0f);
    cudaEvent_t done;
    meet();
    GOOD(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    if (rank == 0) {
        GOOD(ncclRecv(x, 1, ncclFloat, 1, comm, stream));
        GOOD(cudaEventRecord(done, stream));
        for (int i = 0; i < 100; i++) CHECK(cudaEventQuery(done) == cudaErrorNotReady);
    } else {
        usleep(300000); /* there, but silent */
    }
    GOOD(ncclCommAbort(comm));
    GOOD(cudaStreamSynchronize(stream));
}

static void two_ranks_on_one_device_are_refused(void)
{
    GOOD(cudaSetDevice(0));
    CHECK(ncclCommInitRank(&comm, size, id, rank) == ncclInvalidUsage);
    CHECK(strstr(ncclGetLastError(NULL), "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 0") != NULL);
}

static void what_is_no_device_memory_is_refused(void)
{
    float host = 0.0f, *x = numbers(4, 0.0f);
    meet();
    CHECK(ncclSend(&host, 1, ncclFloat, 1 - rank, comm, stream) == ncclInvalidArgument);
    CHECK(strstr(gm_sim_first_error(), "is not within a device allocation") != NULL);
    CHECK(ncclAllGather(x, x, 4, ncclFloat, comm, stream) == ncclInvalidArgument); /* room for one rank only */
    CHECK(ncclSend(x, 1, ncclFloat, size, comm, stream) == ncclInvalidArgument);
    CHECK(gm_sim_take_errors() == 3);
    GOOD(ncclCommDestroy(comm));
}

static void numbers_that_nobody_wrote_are_named(void)
{
    float *x;
    GOOD(cudaMalloc((void **)&x, sizeof *x));
    meet();
    GOOD(ncclAllReduce(x, x, 1, ncclFloat, ncclSum, comm, stream));
    (void)cudaStreamSynchronize(stream);
    CHECK((gm_sim_take_errors() > 0) == (gm_sim_checks() != 0));
    GOOD(ncclCommDestroy(comm));
}

/* ---- this process ---- */

static int ended(pid_t child)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child) return 1;
    return WIFSIGNALED(status) ? LEFT_BY_SIGNAL : WEXITSTATUS(status);
}

/* Runs the case in so many processes, of which `killed` ends by a signal. */
static void in_processes(int count, void (*what)(void), int killed)
{
    pid_t child[MOST];
    assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
    fflush(NULL);
    for (int r = 0; r < count; r++) {
        child[r] = fork();
        if (child[r] != 0) continue;
        rank = r;
        size = count;
        alarm(100);
        what();
        CHECK(gm_sim_take_errors() == 0);
        _exit(0);
    }
    for (int r = 0; r < count; r++) assert_int_equal(ended(child[r]), r == killed ? LEFT_BY_SIGNAL : 0);
    char left[200];
    snprintf(left, sizeof left, "/dev/shm%s", id.internal);
    assert_int_not_equal(access(left, F_OK), 0);
}

#define CASE(name) static void run_##name(void **state) { (void)state; in_processes(2, name, -1); in_processes(4, name, -1); }
#define PAIR(name) static void run_##name(void **state) { (void)state; in_processes(2, name, -1); }
CASE(sends_and_receives_in_a_group)
CASE(sums_are_in_the_order_of_ranks)
CASE(collectives_move_what_they_say)
CASE(captured_calls_are_replayed)
CASE(a_comm_that_does_not_block_is_asked)
CASE(other_counts_are_named)
CASE(other_calls_are_named)
PAIR(a_receive_of_another_length_is_named)
PAIR(ranks_that_wait_for_each_other_end)
PAIR(a_wait_can_be_given_up)
CASE(two_ranks_on_one_device_are_refused)
PAIR(what_is_no_device_memory_is_refused)
PAIR(numbers_that_nobody_wrote_are_named)

static void run_a_dead_rank_is_named(void **state)
{
    (void)state;
    in_processes(2, a_dead_rank_is_named, 1);
    in_processes(4, a_dead_rank_is_named, 1);
}

int main(void)
{
    setenv("GM_SIM_PATIENCE", "8", 0); /* a loaded machine may take seconds to start four processes */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_sends_and_receives_in_a_group),
        cmocka_unit_test(run_sums_are_in_the_order_of_ranks),
        cmocka_unit_test(run_collectives_move_what_they_say),
        cmocka_unit_test(run_captured_calls_are_replayed),
        cmocka_unit_test(run_a_comm_that_does_not_block_is_asked),
        cmocka_unit_test(run_other_counts_are_named),
        cmocka_unit_test(run_other_calls_are_named),
        cmocka_unit_test(run_a_receive_of_another_length_is_named),
        cmocka_unit_test(run_ranks_that_wait_for_each_other_end),
        cmocka_unit_test(run_a_wait_can_be_given_up),
        cmocka_unit_test(run_two_ranks_on_one_device_are_refused),
        cmocka_unit_test(run_what_is_no_device_memory_is_refused),
        cmocka_unit_test(run_numbers_that_nobody_wrote_are_named),
        cmocka_unit_test(run_a_dead_rank_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
