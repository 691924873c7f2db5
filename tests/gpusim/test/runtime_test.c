/* The simulator's runtime: memory, copies, streams that run late, events, graphs, limits, counters. Stream work is late
 * here (GM_SIM_ASYNC=1), so that a wait that is missing shows. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "gm_sim.h"
#include "kernels.h"

enum { COUNT = 100 };
#define assert_cuda(call) assert_int_equal(call, cudaSuccess)

static float *ones(cudaStream_t stream)
{
    static float host[COUNT];
    float *p;
    for (int i = 0; i < COUNT; i++) host[i] = 1.0f;
    assert_cuda(cudaMalloc((void **)&p, sizeof host));
    assert_cuda(cudaMemcpyAsync(p, host, sizeof host, cudaMemcpyHostToDevice, stream));
    assert_cuda(cudaStreamSynchronize(stream));
    return p;
}

static float first_of(const float *p)
{
    float v;
    assert_cuda(cudaMemcpy(&v, p, sizeof v, cudaMemcpyDeviceToHost));
    return v;
}

static void assert_reported(const char *part)
{
    if (strstr(gm_sim_first_error(), part) == NULL) fail_msg("the simulator says \"%s\", not \"%s\"", gm_sim_first_error(), part);
    assert_true(gm_sim_take_errors() > 0);
    cudaGetLastError();
}

static cudaStream_t new_stream(void)
{
    cudaStream_t s;
    assert_cuda(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

static void work_waits_for_a_wait(void **state)
{
    (void)state;
    cudaStream_t s = new_stream();
    float *p = ones(s), host = 1.0f;
    assert_cuda(cudaMemcpyAsync(p, &host, sizeof host, cudaMemcpyHostToDevice, s));
    host = 5.0f; /* too early: the copy has not run */
    assert_cuda(cudaStreamSynchronize(s));
    assert_true(first_of(p) == 5.0f);
    host = -1.0f;
    assert_cuda(cudaMemcpyAsync(&host, p, sizeof host, cudaMemcpyDeviceToHost, s));
    assert_true(host == -1.0f);
    assert_cuda(cudaStreamSynchronize(s));
    assert_true(host == 5.0f);
    cudaStreamDestroy(s);
    cudaFree(p);
}

static void copies_keep_to_their_kind(void **state)
{
    (void)state;
    float *p = ones(NULL), host[2] = { 0 };
    cudaMemcpy(host, p, sizeof host, cudaMemcpyHostToDevice);
    assert_reported("the kind says device memory");
    cudaMemcpy(p + COUNT - 1, host, sizeof host, cudaMemcpyHostToDevice);
    assert_reported("the kind says device memory");
    cudaMemset(p + COUNT - 1, 0, 8);
    assert_reported("is not within a device allocation");
    cudaFree(p);
}

static void errors_stick_until_taken(void **state)
{
    (void)state;
    float *p = ones(NULL);
    cudaMemset(p, 0, (COUNT + 1) * sizeof(float));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    assert_non_null(strstr(cudaGetErrorString(cudaErrorLaunchFailure), "not within a device allocation"));
    assert_reported("is not within a device allocation");
    assert_cuda(cudaDeviceSynchronize());
    cudaFree(p);
}

static void frees_are_checked(void **state)
{
    (void)state;
    const size_t before = gm_sim_live_bytes();
    float *p = ones(NULL);
    assert_int_equal(gm_sim_live_bytes(), before + COUNT * sizeof(float));
    ((unsigned char *)p)[COUNT * sizeof(float)] = 1; /* the host writes past the end, before the guard page */
    cudaFree(p);
    assert_reported("something wrote byte 400");
    cudaFree(p);
    assert_reported("which is no live allocation");
    assert_int_equal(gm_sim_live_bytes(), before);
}

static void frees_wait_for_their_place_in_the_stream(void **state)
{
    (void)state;
    cudaStream_t s = new_stream();
    float *p = ones(s), *q;
    assert_cuda(launch_add(p, 1.0f, COUNT, s));
    assert_cuda(cudaFreeAsync(p, s));
    assert_cuda(cudaMallocAsync((void **)&q, 64, s));
    assert_cuda(cudaStreamSynchronize(s));
    assert_int_equal(gm_sim_take_errors(), 0);
    assert_cuda(cudaFreeAsync(q, s));
    cudaStreamDestroy(s);
}

static void events_order_streams(void **state)
{
    (void)state;
    cudaStream_t a = new_stream(), b = new_stream();
    cudaEvent_t done;
    float *p = ones(a), ms;
    assert_cuda(cudaEventCreate(&done));
    assert_int_equal(cudaEventElapsedTime(&ms, done, done), cudaErrorInvalidResourceHandle); /* never recorded */
    cudaGetLastError();
    for (int i = 0; i < 20; i++) {
        assert_cuda(launch_add(p, 1.0f, COUNT, a));
        assert_cuda(cudaEventRecord(done, a));
        assert_cuda(cudaStreamWaitEvent(b, done, 0));
        assert_cuda(launch_scale(p, 2.0f, COUNT, b));
        assert_cuda(cudaEventRecord(done, b));
        assert_int_equal(cudaEventQuery(done), cudaErrorNotReady);
        assert_cuda(cudaEventSynchronize(done));
        assert_true(first_of(p) == 4.0f);
        assert_cuda(launch_add(p, -3.0f, COUNT, a));
        assert_cuda(cudaStreamSynchronize(a));
    }
    cudaEventDestroy(done);
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaFree(p);
}

static void legacy_stream_waits_for_blocking_streams(void **state)
{
    (void)state;
    cudaStream_t s;
    assert_cuda(cudaStreamCreate(&s));
    float *p = ones(s);
    assert_cuda(launch_add(p, 1.0f, COUNT, s));
    assert_cuda(launch_scale(p, 3.0f, COUNT, NULL));
    assert_cuda(launch_add(p, 1.0f, COUNT, s));
    assert_cuda(cudaDeviceSynchronize());
    assert_true(first_of(p) == 7.0f);
    cudaStreamDestroy(s);
    cudaFree(p);
}

/* add on a; then scale on b, forked from a and joined again; then add on a. */
static cudaGraph_t capture_fork(cudaStream_t a, cudaStream_t b, float *p, float *q)
{
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    assert_cuda(cudaEventCreate(&fork));
    assert_cuda(cudaEventCreate(&join));
    assert_cuda(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    assert_cuda(launch_add(p, 1.0f, COUNT, a));
    assert_cuda(cudaEventRecord(fork, a));
    assert_cuda(cudaStreamWaitEvent(b, fork, 0));
    assert_cuda(launch_scale(p, 2.0f, COUNT, b));
    assert_cuda(launch_add(q, 1.0f, COUNT, a));
    assert_cuda(cudaEventRecord(join, b));
    assert_cuda(cudaStreamWaitEvent(a, join, 0));
    assert_cuda(launch_add(p, 10.0f, COUNT, a));
    assert_cuda(cudaStreamEndCapture(a, &graph));
    cudaEventDestroy(fork);
    cudaEventDestroy(join);
    return graph;
}

static void graphs_replay_what_was_captured(void **state)
{
    (void)state;
    cudaStream_t a = new_stream(), b = new_stream();
    float *p = ones(a), *q = ones(a), want = 1.0f;
    size_t nodes = 0;
    cudaGraphExec_t exec;
    cudaGraph_t graph = capture_fork(a, b, p, q);
    assert_cuda(cudaGraphGetNodes(graph, NULL, &nodes));
    assert_int_equal(nodes, 4);
    assert_true(first_of(p) == 1.0f); /* a capture runs nothing */
    assert_cuda(cudaGraphInstantiate(&exec, graph, 0));
    assert_cuda(cudaGraphDestroy(graph));
    for (int i = 1; i <= 5; i++) {
        assert_cuda(cudaGraphLaunch(exec, a));
        assert_cuda(cudaStreamSynchronize(a));
        want = (want + 1.0f) * 2.0f + 10.0f;
        assert_true(first_of(p) == want);
        assert_true(first_of(q) == 1.0f + (float)i);
    }
    assert_cuda(cudaGraphExecDestroy(exec));
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaFree(p);
    cudaFree(q);
}

static void captures_refuse_what_a_device_refuses(void **state)
{
    (void)state;
    cudaStream_t a = new_stream(), b = new_stream();
    cudaEvent_t event;
    cudaGraph_t graph;
    float *p = ones(a), *q;
    assert_cuda(cudaEventCreate(&event));
    assert_int_equal(cudaStreamEndCapture(a, &graph), cudaErrorIllegalState);

    assert_cuda(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    assert_int_equal(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal), cudaErrorIllegalState);
    assert_int_equal(cudaStreamSynchronize(a), cudaErrorStreamCaptureUnsupported);
    assert_reported("cudaStreamSynchronize is not allowed");
    assert_int_equal(cudaStreamEndCapture(a, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);

    assert_cuda(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    assert_int_equal(cudaMalloc((void **)&q, 4), cudaErrorStreamCaptureUnsupported);
    assert_reported("cudaMalloc is not allowed");
    assert_int_equal(cudaStreamEndCapture(a, &graph), cudaErrorStreamCaptureInvalidated);

    assert_cuda(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    assert_cuda(cudaEventRecord(event, a));
    assert_cuda(cudaStreamWaitEvent(b, event, 0));
    assert_cuda(launch_add(p, 1.0f, COUNT, b));
    assert_int_equal(cudaStreamEndCapture(b, &graph), cudaErrorStreamCaptureUnmatched);
    assert_int_equal(cudaStreamEndCapture(a, &graph), cudaErrorStreamCaptureUnjoined);
    assert_int_equal(cudaStreamWaitEvent(b, event, 0), cudaErrorCapturedEvent);

    cudaGetLastError();
    assert_true(first_of(p) == 1.0f);
    cudaEventDestroy(event);
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaFree(p);
}

static void launches_keep_to_the_limits(void **state)
{
    (void)state;
    float *p = ones(NULL);
    const dim3 one = { 1, 1, 1 };
    static const struct { dim3 grid, block; size_t smem; cudaError_t error; } cases[] = {
        { { 1, 1, 1 }, { 1024, 1, 1 }, 48 << 10, cudaSuccess },
        { { 1, 1, 1 }, { 1025, 1, 1 }, 0, cudaErrorInvalidConfiguration },
        { { 1, 1, 1 }, { 512, 3, 1 }, 0, cudaErrorInvalidConfiguration },
        { { 1, 1, 1 }, { 1, 1, 65 }, 0, cudaErrorInvalidConfiguration },
        { { 0, 1, 1 }, { 32, 1, 1 }, 0, cudaErrorInvalidConfiguration },
        { { 1, 65536, 1 }, { 32, 1, 1 }, 0, cudaErrorInvalidConfiguration },
        { { 1, 1, 65536 }, { 32, 1, 1 }, 0, cudaErrorInvalidConfiguration },
        { { 1, 1, 1 }, { 32, 1, 1 }, (48 << 10) + 1, cudaErrorInvalidValue },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(launch_shape(p, cases[i].grid, cases[i].block, cases[i].smem, NULL), cases[i].error);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(allow_shape(164 << 10), cudaErrorInvalidValue);
    assert_cuda(allow_shape(64 << 10));
    assert_cuda(launch_shape(p, one, one, 64 << 10, NULL));
    assert_int_equal(launch_shape(p, one, one, (64 << 10) + 1, NULL), cudaErrorInvalidValue);
    cudaGetLastError();
    assert_cuda(cudaDeviceSynchronize());
    cudaFree(p);
}

/* A fault ends neither the program nor the simulator, whatever handler the test frame has. */
static void faults_of_kernels_are_reported(void **state)
{
    (void)state;
    float *p = ones(NULL);
    assert_cuda(launch_add(NULL, 1.0f, COUNT, NULL));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    assert_reported(gm_sim_checks() ? "is in no device or shared memory" : "memory fault at");
    assert_cuda(launch_add(p, 1.0f, COUNT, NULL));
    assert_cuda(cudaDeviceSynchronize());
    assert_true(first_of(p) == 2.0f);
    cudaFree(p);
}

static void counters_count(void **state)
{
    (void)state;
    float *p = ones(NULL);
    gm_sim_counter c[8];
    assert_cuda(cudaDeviceSynchronize());
    gm_sim_counters_reset();
    for (int i = 0; i < 3; i++) assert_cuda(launch_add(p, 1.0f, COUNT, NULL));
    assert_cuda(cudaMemset(p, 0, COUNT * sizeof *p));
    assert_int_equal(gm_sim_counters(c, 8), 2);
    assert_string_equal(c[0].kernel, "add");
    assert_int_equal(c[0].launches, 3);
    assert_int_equal(c[0].read, gm_sim_checks() ? 3 * ((COUNT * sizeof *p + 31) / 32 * 32) : 0);
    assert_int_equal(c[0].written, c[0].read);
    assert_string_equal(c[1].kernel, "fill");
    assert_int_equal(c[1].written, COUNT * sizeof *p);
    cudaFree(p);
}

int main(void)
{
    setenv("GM_SIM_ASYNC", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_waits_for_a_wait),
        cmocka_unit_test(copies_keep_to_their_kind),
        cmocka_unit_test(errors_stick_until_taken),
        cmocka_unit_test(frees_are_checked),
        cmocka_unit_test(frees_wait_for_their_place_in_the_stream),
        cmocka_unit_test(events_order_streams),
        cmocka_unit_test(legacy_stream_waits_for_blocking_streams),
        cmocka_unit_test(graphs_replay_what_was_captured),
        cmocka_unit_test(captures_refuse_what_a_device_refuses),
        cmocka_unit_test(launches_keep_to_the_limits),
        cmocka_unit_test(faults_of_kernels_are_reported),
        cmocka_unit_test(counters_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
