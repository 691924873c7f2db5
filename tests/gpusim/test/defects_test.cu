/* Planted defects, one a kernel, each beside its correct twin: the check build must name the defect and say nothing of
 * the twin. Without access hooks only the twins run. */
#include "device/port.h"

#include <stdio.h>

#include "gm_sim.h"

template <bool BROKEN> __global__ void out_of_bounds(float *p, const float *, int n) { p[(BROKEN ? n : 0) + threadIdx.x] = 1.0f; }

template <bool BROKEN> __global__ void misaligned_vector(float *p, const float *from, int)
{
    if (threadIdx.x == 0) *(float4 *)p = *(const float4 *)(from + (BROKEN ? 1 : 4));
}

template <bool BROKEN> __global__ void divergent_barrier(float *p, const float *from, int)
{
    __shared__ float s[64];
    s[threadIdx.x] = from[threadIdx.x];
    if (!BROKEN) __syncthreads();
    if (BROKEN && threadIdx.x < 32) __syncthreads();
    if (BROKEN && threadIdx.x >= 32 && threadIdx.x < 48) __syncthreads();
    p[threadIdx.x] = s[threadIdx.x ^ 1];
}

template <bool BROKEN> __global__ void early_exit(float *p, const float *from, int)
{
    if (BROKEN && threadIdx.x == 5) return;
    p[threadIdx.x] = from[threadIdx.x];
    __syncthreads();
}

template <bool BROKEN> __global__ void uninitialised_shared(float *p, const float *, int)
{
    GM_DYN_SMEM(float, s);
    if (!BROKEN || threadIdx.x < 31) s[threadIdx.x] = 1.0f;
    __syncthreads();
    p[threadIdx.x] = s[63 - threadIdx.x];
}

template <bool BROKEN> __global__ void uninitialised_global(float *p, const float *from, int n)
{
    p[threadIdx.x] = BROKEN ? p[n - 1 - (int)threadIdx.x] : from[threadIdx.x];
}

template <bool BROKEN> __global__ void partial_shuffle(float *p, const float *from, int)
{
    float v = from[threadIdx.x];
    if (!BROKEN || threadIdx.x % 32 < 16) v += __shfl_xor_sync(0xFFFFFFFFu, v, 16);
    p[threadIdx.x] = v;
}

template <bool BROKEN> __global__ void missing_syncwarp(float *p, const float *from, int)
{
    __shared__ float s[64];
    s[threadIdx.x] = from[threadIdx.x];
    if (!BROKEN) __syncwarp();
    p[threadIdx.x] = s[threadIdx.x ^ 1];
}

/* All lanes have read what one of them then changes. */
template <bool BROKEN> __global__ void write_after_read(float *p, const float *from, int)
{
    __shared__ float s[64];
    s[threadIdx.x] = from[threadIdx.x];
    __syncwarp();
    const float v = s[threadIdx.x / 32 * 32] + s[threadIdx.x ^ 1];
    if (!BROKEN) __syncwarp();
    s[threadIdx.x] = s[threadIdx.x] * 2.0f + v;
    p[threadIdx.x] = s[threadIdx.x];
}

template <bool BROKEN> __global__ void missing_barrier(float *p, const float *from, int)
{
    __shared__ float s[64];
    s[threadIdx.x] = from[threadIdx.x];
    if (!BROKEN) __syncthreads();
    p[threadIdx.x] = s[63 - threadIdx.x];
}

template <bool BROKEN> __global__ void race_of_blocks(float *p, const float *, int)
{
    if (BROKEN || threadIdx.x / 32 == blockIdx.x) p[threadIdx.x] = (float)blockIdx.x;
}

template <bool BROKEN> __global__ void missing_copy_wait(float *p, const float *from, int)
{
    __shared__ __align__(16) float s[64];
    if (threadIdx.x < 16) cp_async16(s + 4 * threadIdx.x, from + 4 * threadIdx.x);
    cp_async_commit();
    if (!BROKEN) cp_async_wait<0>();
    __syncthreads();
    p[threadIdx.x] = s[threadIdx.x];
    if (BROKEN) cp_async_wait<0>();
}

template <bool BROKEN> __global__ void shared_overrun(float *p, const float *from, int n)
{
    __shared__ float s[64];
    s[threadIdx.x] = from[threadIdx.x];
    __syncthreads();
    s[threadIdx.x + (BROKEN ? n * 100 : 0)] = 1.0f;
    p[threadIdx.x] = s[threadIdx.x];
}

template <bool BROKEN> __global__ void unaligned_copy(float *p, const float *from, int)
{
    __shared__ __align__(16) float s[64];
    if (threadIdx.x == 0) cp_async16(s, from + (BROKEN ? 1 : 0));
    cp_async_commit();
    cp_async_wait<0>();
    if (threadIdx.x == 0) p[0] = s[0];
}

typedef void (*Kernel)(float *, const float *, int);
static const struct { const char *name; Kernel broken, correct; const char *report; unsigned blocks; } defects[] = {
    { "out_of_bounds", out_of_bounds<true>, out_of_bounds<false>, "is out of bounds", 1 },
    { "misaligned_vector", misaligned_vector<true>, misaligned_vector<false>, "misaligned", 1 },
    { "divergent_barrier", divergent_barrier<true>, divergent_barrier<false>, "divergent barrier", 1 },
    { "early_exit", early_exit<true>, early_exit<false>, "divergent barrier", 1 },
    { "uninitialised_shared", uninitialised_shared<true>, uninitialised_shared<false>, "uninitialised dynamic shared memory", 1 },
    { "uninitialised_global", uninitialised_global<true>, uninitialised_global<false>, "uninitialised device memory", 1 },
    { "partial_shuffle", partial_shuffle<true>, partial_shuffle<false>, "__shfl_xor_sync", 1 },
    { "missing_syncwarp", missing_syncwarp<true>, missing_syncwarp<false>, "static shared memory", 1 },
    { "write_after_read", write_after_read<true>, write_after_read<false>, "static shared memory", 1 },
    { "missing_barrier", missing_barrier<true>, missing_barrier<false>, "static shared memory", 1 },
    { "race_of_blocks", race_of_blocks<true>, race_of_blocks<false>, "data race", 2 },
    { "missing_copy_wait", missing_copy_wait<true>, missing_copy_wait<false>, "static shared memory", 1 },
    { "shared_overrun", shared_overrun<true>, shared_overrun<false>, "out of bounds", 1 },
    { "unaligned_copy", unaligned_copy<true>, unaligned_copy<false>, "not 16-byte aligned", 1 },
};

enum { COUNT = 256, THREADS = 64 };

/* On fresh memory: the reports, and whether the first says what is wrong and in which file. */
static int run(Kernel kernel, unsigned blocks, const char *report, bool *is_named)
{
    float *p, *from;
    cudaMalloc((void **)&p, COUNT * sizeof(float));
    cudaMalloc((void **)&from, COUNT * sizeof(float));
    cudaMemset(from, 0, COUNT * sizeof(float));
    gm_launch("defect", kernel, dim3(blocks), dim3(THREADS), THREADS * sizeof(float), nullptr, p, from, COUNT);
    cudaDeviceSynchronize();
    *is_named = strstr(gm_sim_first_error(), report) && strstr(gm_sim_first_error(), "defects_test.cu");
    const int count = gm_sim_take_errors();
    cudaFree(p);
    cudaFree(from);
    gm_sim_take_errors();
    return count;
}

int main()
{
    int failed = 0;
    for (const auto &d : defects) {
        bool is_named = true, ignored;
        const int twin = run(d.correct, d.blocks, d.report, &ignored), broken = gm_sim_checks() ? run(d.broken, d.blocks, d.report, &is_named) : 1;
        const bool ok = twin == 0 && broken > 0 && is_named;
        printf("%-5s %-22s %d reports of the defect, %d of its twin\n", ok ? "ok" : "FAIL", d.name, broken, twin);
        failed += !ok;
    }
    return failed ? 1 : 0;
}
