/* Losses in two stages: every block puts down its share in double, then one block adds the shares in a fixed order. */
#ifndef GM_DEVICE_LOSS_H
#define GM_DEVICE_LOSS_H

#include "device/block.h"

/* The block's losses go to *share; red holds a double a warp. All threads of the block call it. */
template <int WARPS> __device__ __forceinline__ void put_loss(double loss, double *red, double *share)
{
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) loss += __shfl_xor_sync(0xFFFFFFFFu, loss, m);
    if (threadIdx.x % 32 == 0) red[threadIdx.x / 32] = loss;
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = 0.0;
    for (int w = 0; w < WARPS; w++) sum += red[w];
    *share = sum;
}

enum { LOSS_WARPS = 4 };

/* *loss += scale x the sum of n shares. */
static __global__ void add_loss_kernel(const double *share, int n, const float *scale, double *loss)
{
    __shared__ double red[LOSS_WARPS], total;
    double sum = 0.0;
    for (int i = (int)threadIdx.x; i < n; i += LOSS_WARPS * 32) sum += share[i];
    put_loss<LOSS_WARPS>(sum, red, &total);
    if (threadIdx.x == 0) *loss += total * (double)*scale;
}

static inline gm_status add_loss(const double *share, int n, const float *scale, double *loss, gm_device *dev)
{
    return GM_LAUNCH(dev, add_loss_kernel, 1, LOSS_WARPS * 32, 0, share, n, scale, loss);
}

#endif
