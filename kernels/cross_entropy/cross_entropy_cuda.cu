/* cross_entropy on the GPU: a warp a row, the loss in two stages. A lane reads and writes the same columns in every
 * pass, so dlogits may be logits without a barrier. */
#include "device/loss.h"
#include "cross_entropy/cross_entropy.h"

/* WARPS: small blocks spread few rows over many multiprocessors. MOST: blocks, and so shares of the loss. */
enum { WARPS = 4, MOST = 2048 };

/* Loss of one row without the scale, in lane 0; 0 elsewhere. */
template <class T>
static __device__ __forceinline__ double one_row(const T *logits, int classes, int label, float scale, T *dlogits)
{
    const int lane = (int)threadIdx.x % 32;
    float top = -INFINITY, sum = 0.0f, gold = 0.0f;
    for (int c = lane; c < classes; c += 32) {
        const float z = gm_load(logits + c);
        top = fmaxf(top, z);
        if (c == label) gold = z;
    }
    top = warp_max(top);
    for (int c = lane; c < classes; c += 32) sum += expf(gm_load(logits + c) - top);
    sum = warp_sum(sum);
    gold = warp_sum(gold); /* one lane has it, the others 0 */
    const float inv = 1.0f / sum;
    if (dlogits != NULL)
        for (int c = lane; c < classes; c += 32)
            gm_store(dlogits + c, scale * (expf(gm_load(logits + c) - top) * inv - (c == label ? 1.0f : 0.0f)));
    return lane == 0 ? (double)top - (double)gold + (double)logf(sum) : 0.0;
}

/* The 8 lets the compiler take more than 48 registers, with which it spills on sm_80. */
template <class T>
static __global__ void __launch_bounds__(WARPS * 32, 8)
    rows_kernel(const T *logits, const uint8_t *label, const float *scale, T *dlogits, double *share, int rows, int classes)
{
    __shared__ double red[WARPS];
    double loss = 0.0;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows; r += (int64_t)gridDim.x * WARPS) {
        T *d = dlogits != NULL ? dlogits + r * classes : NULL;
        if (label[r] != GM_NO_LABEL)
            loss += one_row(logits + r * classes, classes, label[r], *scale, d);
        else if (d != NULL)
            for (int c = (int)threadIdx.x % 32; c < classes; c += 32) gm_store(d + c, 0.0f);
    }
    put_loss<WARPS>(loss, red, share + blockIdx.x);
}

template <class T> static gm_status cross_entropy_forward(const gm_cross_entropy *a, gm_device *dev)
{
    const int blocks = gm_blocks(a->rows, WARPS) < MOST ? gm_blocks(a->rows, WARPS) : MOST;
    void *share;
    if (blocks == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)blocks * sizeof(double), "cross_entropy", &share));
    GM_TRY(GM_LAUNCH(dev, rows_kernel<T>, blocks, WARPS * 32, 0, (const T *)a->logits, a->label, a->scale, (T *)a->dlogits, (double *)share, a->rows,
                     a->classes));
    return add_loss((const double *)share, blocks, a->scale, a->loss, dev);
}

GM_KERNELS_CUDA_FORWARD(cross_entropy)
