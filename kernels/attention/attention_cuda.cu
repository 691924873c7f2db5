/* Attention on the GPU: one block a (sequence, head) forward, two backward. Lengths are known on the device only, so
 * the grid is sequences x heads; the blocks of TAILS more sequences zero the rows behind the last one. */
#include "attention/attention_backward_cuda.h"
#include "attention/attention_forward_cuda.h"
#include "attention/attention_mma_cuda.h"

template <class Args> static int blocks_of(const Args *a) { return (a->sequences + TAILS) * a->heads; }

static gm_status check_width(const gm_device *dev, int32_t width)
{
    if (width <= MAX_WIDTH) return GM_OK;
    return gm_fail(dev->err, GM_ERR_SHAPE, "attention: a head has %d columns, a GPU takes up to %d", width,
                   (int)MAX_WIDTH);
}

template <class T, int COLS> static gm_status launch_forward(const gm_attention *a, gm_device *dev, bool is_aligned)
{
    return GM_LAUNCH(dev, (forward_plain<T, COLS>), blocks_of(a), 32 * tiling<COLS>::FORWARD_WARPS,
                     tiling<COLS>::FORWARD_FLOATS * sizeof(float), *a, drop_args(&a->drop, dev), is_aligned);
}

template <int WIDTH> static gm_status launch_mma(const gm_attention *a, gm_device *dev)
{
    return GM_LAUNCH(dev, forward_mma<WIDTH>, blocks_of(a), 32 * MMA_WARPS,
                     2 * MMA_TILE * (WIDTH + 8) * sizeof(gm_bf16), *a, drop_args(&a->drop, dev));
}

template <class Args> static bool can_load(const Args *a, size_t bytes, size_t element)
{
    const int32_t n = (int32_t)(bytes / element);
    return gm_is_aligned(a->q, bytes) && gm_is_aligned(a->k, bytes) && gm_is_aligned(a->v, bytes) &&
           a->q_stride % n == 0 && a->k_stride % n == 0 && a->v_stride % n == 0 && a->width % n == 0;
}

/* Tensor cores take bfloat16 only, heads of these widths, rows that copies of 16 bytes can read. */
template <class T> static bool takes_mma(const gm_attention *) { return false; }
template <> bool takes_mma<gm_bf16>(const gm_attention *a)
{
    return (a->width == 32 || a->width == 64) && can_load(a, 16, sizeof(gm_bf16)) && gm_is_aligned(a->out, 4) &&
           a->out_stride % 2 == 0;
}

template <class T> static gm_status attention_forward(const gm_attention *a, gm_device *dev)
{
    GM_TRY(check_width(dev, a->width));
    if (takes_mma<T>(a)) return a->width == 32 ? launch_mma<32>(a, dev) : launch_mma<64>(a, dev);
    const bool is_aligned = can_load(a, 4 * sizeof(T), sizeof(T));
    if (a->width <= 32) return launch_forward<T, 1>(a, dev, is_aligned);
    if (a->width <= 64) return launch_forward<T, 2>(a, dev, is_aligned);
    return launch_forward<T, 4>(a, dev, is_aligned);
}

template <class T, int COLS>
static gm_status launch_backward(const gm_attention_grad *a, gm_device *dev, bool is_aligned, float *parts)
{
    return GM_LAUNCH(dev, (backward_plain<T, COLS>), dim3((unsigned)blocks_of(a), 2),
                     32 * tiling<COLS>::BACKWARD_WARPS, tiling<COLS>::BACKWARD_FLOATS * sizeof(float), *a,
                     drop_args(&a->drop, dev), is_aligned, parts);
}

template <class T> static gm_status attention_backward(const gm_attention_grad *a, gm_device *dev)
{
    const int32_t columns = a->heads * (2 * a->bias_reach + 1);
    const bool is_aligned =
        can_load(a, 4 * sizeof(T), sizeof(T)) && gm_is_aligned(a->dout, 4 * sizeof(T)) && a->out_stride % 4 == 0;
    void *parts = NULL;
    GM_TRY(check_width(dev, a->width));
    if (a->dbias != NULL)
        GM_TRY(gm_scratch(dev, (size_t)a->sequences * (size_t)columns * sizeof(float), "attention's dbias", &parts));
    if (a->width <= 32)
        GM_TRY((launch_backward<T, 1>(a, dev, is_aligned, (float *)parts)));
    else if (a->width <= 64)
        GM_TRY((launch_backward<T, 2>(a, dev, is_aligned, (float *)parts)));
    else
        GM_TRY((launch_backward<T, 4>(a, dev, is_aligned, (float *)parts)));
    if (a->dbias == NULL) return GM_OK;
    return GM_LAUNCH(dev, add_dbias, gm_blocks(columns, 128), 128, 0, (const float *)parts, a->sequences, columns,
                     a->dbias);
}

GM_KERNELS_CUDA(attention)
