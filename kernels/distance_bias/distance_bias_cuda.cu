/* distance_bias on the GPU: a few thousand numbers once a pass. Forward a thread a distance and head; backward a thread a
 * bucket and head, which adds its distances in order: some thirty at most in MPNet's buckets. */
#include "device/block.h"
#include "distance_bias/distance_bias.h"

enum { THREADS = 128 };

static __global__ void __launch_bounds__(THREADS)
    spread_buckets(const float *table, float *bias, gm_distance_buckets buckets, int heads)
{
    const int columns = 2 * buckets.reach + 1, at = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (at >= heads * columns) return;
    const int head = at / columns, d = at % columns - buckets.reach, apart = abs(d);
    int i = buckets.half - 1;
    while (i > 0 && buckets.first[i] > apart) i--;
    bias[at] = table[(d > 0 ? buckets.half + i : i) * heads + head];
}

static __global__ void __launch_bounds__(THREADS)
    gather_buckets(const float *dbias, float *dtable, gm_distance_buckets buckets, int heads)
{
    const int at = (int)(blockIdx.x * THREADS + threadIdx.x), row = at / heads, head = at % heads;
    if (row >= 2 * buckets.half) return;
    const bool is_behind = row >= buckets.half;
    const int i = is_behind ? row - buckets.half : row;
    const int end = min(buckets.reach + 1, i + 1 < buckets.half ? buckets.first[i + 1] : buckets.reach + 1);
    const float *middle = dbias + (size_t)head * (2 * (size_t)buckets.reach + 1) + buckets.reach;
    float sum = 0.0f;
    for (int d = is_behind ? max(1, buckets.first[i]) : buckets.first[i]; d < end; d++) sum += middle[is_behind ? d : -d];
    dtable[at] += sum;
}

template <class T> static gm_status distance_bias_forward(const gm_distance_bias *a, gm_device *dev)
{
    const int cells = a->heads * (2 * a->buckets.reach + 1);
    return GM_LAUNCH(dev, spread_buckets, gm_blocks(cells, THREADS), THREADS, 0, a->table, a->bias, a->buckets, a->heads);
}

template <class T> static gm_status distance_bias_backward(const gm_distance_bias_grad *a, gm_device *dev)
{
    const int cells = 2 * a->buckets.half * a->heads;
    return GM_LAUNCH(dev, gather_buckets, gm_blocks(cells, THREADS), THREADS, 0, a->dbias, a->dtable, a->buckets, a->heads);
}

GM_KERNELS_CUDA(distance_bias)
