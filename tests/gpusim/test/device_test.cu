/* The device side of the simulator against plain loops: shuffles, votes, reductions, atomics, block votes, asynchronous
 * copies, ldmatrix and mma by the layouts of the PTX ISA, and the last-block pattern of two-stage sums. */
#include "device/block.h"

#include <math.h>
#include <stdio.h>

#include "gm_sim.h"

enum { THREADS = 64, ROWS = 16, INNER = 16, COLUMNS = 8 };

__global__ void shuffles(int *out)
{
    const int t = (int)threadIdx.x;
    const unsigned all = 0xFFFFFFFFu;
    int *mine = out + t * 8;
    mine[0] = __shfl_sync(all, t, 3);
    mine[1] = __shfl_xor_sync(all, t, 5);
    mine[2] = __shfl_down_sync(all, t, 4);
    mine[3] = __shfl_up_sync(all, t, 4, 8);
    mine[4] = (int)__ballot_sync(all, t % 3 == 0);
    mine[5] = __any_sync(all, t == 40) + 2 * __all_sync(all, t < 32);
    mine[6] = __reduce_max_sync(all, t - 50);
    mine[7] = (int)__reduce_add_sync(all, (unsigned)t);
}

static int expect_shuffles(const int *out)
{
    int wrong = 0;
    for (int t = 0; t < THREADS; t++) {
        const int lane = t % 32, warp = t / 32 * 32;
        unsigned ballot = 0;
        int sum = 0;
        for (int l = 0; l < 32; l++) {
            ballot |= (unsigned)((warp + l) % 3 == 0) << l;
            sum += warp + l;
        }
        const int want[8] = { warp + 3, t ^ 5, lane < 28 ? t + 4 : t, lane % 8 >= 4 ? t - 4 : t, (int)ballot,
                              (warp == 32) + 2 * (warp == 0), warp + 31 - 50, sum };
        for (int i = 0; i < 8; i++) wrong += out[t * 8 + i] != want[i];
    }
    return wrong;
}

/* a [16, 16] and b [8, 16] (its transpose's columns) go through shared memory by cp.async. */
__global__ void tile_product(const gm_bf16 *a, const gm_bf16 *b, float *c)
{
    __shared__ __align__(16) gm_bf16 sa[ROWS * INNER], sb[COLUMNS * INNER];
    const int lane = (int)threadIdx.x;
    cp_async16(sa + lane * 8, a + lane * 8);
    if (lane < 16) cp_async16(sb + lane * 8, b + lane * 8);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    uint32_t fa[4], fb[2];
    ldmatrix_x4(fa, sa + lane % 16 * INNER + lane / 16 * 8);
    ldmatrix_x2(fb, sb + lane % 8 * INNER + lane / 8 % 2 * 8);
    float d[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    mma_m16n8k16(d, fa, fb);
    const int row = lane / 4, column = lane % 4 * 2;
    c[row * COLUMNS + column] = d[0];
    c[row * COLUMNS + column + 1] = d[1];
    c[(row + 8) * COLUMNS + column] = d[2];
    c[(row + 8) * COLUMNS + column + 1] = d[3];
}

__global__ void copy_parts(const float *from, float *out)
{
    __shared__ __align__(16) float s[12];
    if (threadIdx.x == 0) {
        cp_async16(s, from);
        cp_async16(s + 4, from + 4, 0);
        cp_async16(s + 8, from + 8, 8);
        cp_async_commit();
        cp_async_wait<0>();
    }
    __syncthreads();
    if (threadIdx.x < 12) out[threadIdx.x] = s[threadIdx.x];
}

__global__ void votes(int *out)
{
    const int t = (int)threadIdx.x;
    const int count = __syncthreads_count(t % 5 == 0), any = __syncthreads_or(t == 7), all = __syncthreads_and(t < 63);
    if (t == 9) out[0] = count * 100 + any * 10 + all;
}

/* The block that takes the last ticket adds what all blocks have written. */
__global__ void last_block_sum(int *parts, unsigned *ticket, int *sum)
{
    __shared__ bool is_last;
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = (int)blockIdx.x + 1;
        __threadfence();
        is_last = atomicAdd(ticket, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!is_last || threadIdx.x) return;
    int total = 0;
    for (unsigned b = 0; b < gridDim.x; b++) total += parts[b];
    *sum = total;
}

template <class T> static T *device(const T *host, size_t count)
{
    T *p;
    cudaMalloc((void **)&p, count * sizeof(T));
    if (host) cudaMemcpy(p, host, count * sizeof(T), cudaMemcpyHostToDevice);
    return p;
}

template <class T> static void fetch(T *host, T *p, size_t count)
{
    cudaMemcpy(host, p, count * sizeof(T), cudaMemcpyDeviceToHost);
    cudaFree(p);
}

static int test_shuffles()
{
    int host[THREADS * 8], *out = device<int>(nullptr, THREADS * 8);
    gm_launch("shuffles", shuffles, dim3(1), dim3(THREADS), 0, nullptr, out);
    fetch(host, out, THREADS * 8);
    return expect_shuffles(host);
}

static int test_tile_product()
{
    gm_bf16 a[ROWS * INNER], b[COLUMNS * INNER];
    for (int i = 0; i < ROWS * INNER; i++) a[i] = __float2bfloat16((float)(i * 7 % 23 - 11) / 4);
    for (int i = 0; i < COLUMNS * INNER; i++) b[i] = __float2bfloat16((float)(i * 5 % 19 - 9) / 8);
    float c[ROWS * COLUMNS], *out = device<float>(nullptr, ROWS * COLUMNS);
    gm_bf16 *da = device(a, ROWS * INNER), *db = device(b, COLUMNS * INNER);
    gm_launch("tile_product", tile_product, dim3(1), dim3(32), 0, nullptr, da, db, out);
    fetch(c, out, ROWS * COLUMNS);
    int wrong = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            double want = 0.0;
            for (int k = 0; k < INNER; k++) want += (double)__bfloat162float(a[i * INNER + k]) * (double)__bfloat162float(b[j * INNER + k]);
            wrong += fabs(want - (double)c[i * COLUMNS + j]) > 1e-6; /* these sums are exact in float */
        }
    cudaFree(da);
    cudaFree(db);
    return wrong;
}

static int test_copy_parts()
{
    float from[12], host[12], *out = device<float>(nullptr, 12);
    for (int i = 0; i < 12; i++) from[i] = (float)i + 1.0f;
    float *source = device(from, 12);
    gm_launch("copy_parts", copy_parts, dim3(1), dim3(32), 0, nullptr, source, out);
    fetch(host, out, 12);
    cudaFree(source);
    int wrong = 0;
    for (int i = 0; i < 12; i++) wrong += host[i] != (i < 4 || (i >= 8 && i < 10) ? from[i] : 0.0f);
    return wrong;
}

static int test_votes()
{
    int host, *out = device<int>(nullptr, 1);
    gm_launch("votes", votes, dim3(1), dim3(THREADS), 0, nullptr, out);
    fetch(&host, out, 1);
    return host != 13 * 100 + 10 + 0;
}

static int test_last_block_sum()
{
    const unsigned zero = 0;
    int host = 0, *parts = device<int>(nullptr, 10), *sum = device<int>(nullptr, 1);
    unsigned *ticket = device(&zero, 1);
    gm_launch("last_block_sum", last_block_sum, dim3(10), dim3(32), 0, nullptr, parts, ticket, sum);
    fetch(&host, sum, 1);
    cudaFree(parts);
    cudaFree(ticket);
    return host != 55;
}

int main()
{
    static const struct { const char *name; int (*run)(); } tests[] = {
        { "shuffles", test_shuffles }, { "tile_product", test_tile_product }, { "copy_parts", test_copy_parts },
        { "votes", test_votes }, { "last_block_sum", test_last_block_sum },
    };
    int failed = 0;
    for (const auto &t : tests) {
        const int wrong = t.run(), reports = gm_sim_take_errors();
        printf("%-5s %-16s %d values wrong, %d reports\n", wrong || reports ? "FAIL" : "ok", t.name, wrong, reports);
        failed += wrong || reports;
    }
    return failed ? 1 : 0;
}
