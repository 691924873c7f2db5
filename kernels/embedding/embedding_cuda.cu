/* embedding on the GPU. Forward takes a block a token. Backward must add the tokens of a row in a fixed order without
 * atomics: the block of a row's first token finds all others of that row itself and adds them up in token order, as the
 * cpu does; the other blocks leave at once. The search reads tokens^2 / 2 small integers from the caches: 8,192 tokens
 * make 34 million comparisons, some tens of microseconds, and neither the host nor another launch prepares anything. */
#include "device/column_sum.h"
#include "device/columns.h"
#include "embedding/embedding.h"

/* LIST holds the found tokens until they are added; a block of 128 threads of four columns covers 512. */
enum { THREADS = 128, WARPS = THREADS / 32, LIST = 1024 };

template <class T>
static __global__ void __launch_bounds__(THREADS)
    embedding_rows(const int *ids, const gm_token *token, const float *word, const float *position, const float *type, T *out,
                   const int *n_tokens, int hidden, int offset, bool is_wide)
{
    const int t = (int)blockIdx.x;
    if (t >= *n_tokens) return;
    const float *word_row = word + (size_t)ids[t] * (size_t)hidden;
    const float *position_row = position + (size_t)(offset + token[t].position) * (size_t)hidden;
    T *row = out + (size_t)t * (size_t)hidden;
    for (int c = 4 * (int)threadIdx.x; c < hidden; c += 4 * THREADS) {
        float v[4], p[4], k[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        load_columns(word_row + c, hidden - c, is_wide, v);
        load_columns(position_row + c, hidden - c, is_wide, p);
        if (type != NULL) load_columns(type + c, hidden - c, is_wide, k);
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = v[j] + p[j] + k[j];
        store_columns(row + c, hidden - c, is_wide, v);
    }
}

template <class T> static gm_status embedding_forward(const gm_embedding *a, gm_device *dev)
{
    T *out = (T *)a->out;
    const bool is_wide = has_wide_rows(a->word, a->hidden) && has_wide_rows(a->position, a->hidden) && has_wide_rows(a->type, a->hidden) &&
                         has_wide_rows(out, a->hidden);
    if (a->capacity == 0) return GM_OK;
    return GM_LAUNCH(dev, embedding_rows<T>, a->capacity, THREADS, 0, a->ids, a->token, a->word, a->position, a->type, out, a->n_tokens,
                     a->hidden, a->position_offset, is_wide);
}

/* The row of the gradient that a token adds to. */
static __device__ __forceinline__ int row_of(const int *slot, const gm_token *token, int t) { return slot != NULL ? slot[t] : token[t].position; }

/* sum [hidden] += rows list[0 .. count) of dout, in this order. */
template <class T>
static __device__ __forceinline__ void add_listed(const int *list, int count, const T *dout, float *sum, int hidden, bool is_wide)
{
    for (int c = 4 * (int)threadIdx.x; c < hidden; c += 4 * THREADS) {
        float total[4];
        load_columns(sum + c, hidden - c, is_wide, total);
#pragma unroll 4
        for (int i = 0; i < count; i++) {
            float d[4];
            load_columns(dout + (size_t)list[i] * (size_t)hidden + (size_t)c, hidden - c, is_wide, d);
#pragma unroll
            for (int j = 0; j < 4; j++) total[j] += d[j];
        }
        store_columns(sum + c, hidden - c, is_wide, total);
    }
}

/* blockIdx.y 0: dword by slot, 1: dposition by position. 8 blocks a multiprocessor leave it 64 registers: left alone,
 * ptxas aims at 16 blocks and spills. */
template <class T>
static __global__ void __launch_bounds__(THREADS, 8)
    embedding_scatter(const int *slots, const gm_token *token, const T *dout, float *dword, float *dposition, const int *n_tokens, int hidden,
                      bool is_wide)
{
    __shared__ int list[LIST];
    __shared__ int found_by[WARPS];
    const int t = (int)blockIdx.x, n = *n_tokens, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int *slot = blockIdx.y == 0 ? slots : NULL;
    if (t >= n) return;
    const int mine = row_of(slot, token, t);
    bool has_earlier = false;
    for (int i = (int)threadIdx.x; i < t && !has_earlier; i += THREADS) has_earlier = row_of(slot, token, i) == mine;
    if (__syncthreads_or(has_earlier)) return;
    float *sum = (blockIdx.y == 0 ? dword : dposition) + (size_t)mine * (size_t)hidden;
    int held = 0;
    for (int first = t; first < n; first += THREADS) {
        const int i = first + (int)threadIdx.x;
        const bool is_mine = i < n && row_of(slot, token, i) == mine;
        const unsigned votes = __ballot_sync(0xFFFFFFFFu, is_mine);
        if (lane == 0) found_by[warp] = __popc(votes);
        __syncthreads(); /* all counts are there */
        int at = held;
        for (int w = 0; w < WARPS; w++) {
            if (w < warp) at += found_by[w];
            held += found_by[w];
        }
        if (is_mine) list[at + __popc(votes & ((1u << lane) - 1u))] = i;
        __syncthreads(); /* the list is whole, and the counts may change */
        if (held <= LIST - THREADS && first + THREADS < n) continue;
        add_listed(list, held, dout, sum, hidden, is_wide);
        held = 0; /* the next round's first barrier keeps the list from being written before all have read it */
    }
}

template <class T> static gm_status embedding_backward(const gm_embedding_grad *a, gm_device *dev)
{
    const T *dout = (const T *)a->dout;
    float *dposition = a->dposition + (size_t)a->position_offset * (size_t)a->hidden;
    const bool is_wide = has_wide_rows(dout, a->hidden) && has_wide_rows(a->dword, a->hidden) && has_wide_rows(dposition, a->hidden);
    if (a->capacity == 0) return GM_OK;
    GM_TRY(GM_LAUNCH(dev, embedding_scatter<T>, dim3((unsigned)a->capacity, 2), THREADS, 0, a->slot, a->token, dout, a->dword, dposition,
                     a->n_tokens, a->hidden, is_wide));
    if (a->dtype == NULL) return GM_OK;
    return column_sum(dout, a->capacity, a->n_tokens, a->hidden, a->dtype, true, dev);
}

GM_KERNELS_CUDA(embedding)
