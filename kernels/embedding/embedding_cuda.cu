/* embedding on the GPU. Forward takes a block a token. Backward must add the tokens of a row in a fixed order without
 * atomics: the block of a row's first token finds all others of that row itself and adds them up in token order, as the
 * cpu does; neither the host nor another launch prepares anything. To find them a block reads all rows' numbers, so it
 * looks for eight tokens at once: 1,024 tokens read 1 MB of numbers beside 8 MB of gradients. */
#include "device/column_sum.h"
#include "device/columns.h"
#include "embedding/embedding.h"

/* A block of 128 threads of four columns covers 512. Backward has a warp for each of the tokens that a block looks after;
 * LIST holds the tokens found until they are added. */
enum { THREADS = 128, SCATTER_THREADS = 256, OWNED = SCATTER_THREADS / 32, LIST = 1024 };

template <class T>
static __global__ void __launch_bounds__(THREADS)
    embedding_rows(const int *ids, const gm_token *token, const float *word, const float *position, const float *type, T *out,
                   const int *n_tokens, int hidden, int offset, bool is_wide)
{
    const int t = (int)blockIdx.x;
    T *row = out + (size_t)t * (size_t)hidden;
    if (t >= *n_tokens) { /* rows behind the last become zero */
        const float zero[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        for (int c = 4 * (int)threadIdx.x; c < hidden; c += 4 * THREADS) store_columns(row + c, hidden - c, is_wide, zero);
        return;
    }
    const float *word_row = word + (size_t)ids[t] * (size_t)hidden;
    const float *position_row = position + (size_t)(offset + token[t].position) * (size_t)hidden;
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

/* sum [hidden] += rows list[0 .. count) of dout, in this order, by `threads` threads of which this is number `thread`. */
template <class T>
static __device__ __forceinline__ void add_listed(const int *list, int count, const T *dout, float *sum, int hidden, bool is_wide, int thread,
                                                  int threads)
{
    for (int c = 4 * thread; c < hidden; c += 4 * threads) {
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

/* Bit k: a token before token first + k * apart has its row; bit OWNED + k: one behind it has. The same for all threads. */
static __device__ __forceinline__ unsigned find_others(const int *slot, const gm_token *token, int n, int first, int apart, unsigned *met_by)
{
    __shared__ int row[OWNED];
    unsigned met = 0;
    if (threadIdx.x < OWNED) {
        const int t = first + (int)threadIdx.x * apart;
        row[threadIdx.x] = t < n ? row_of(slot, token, t) : -1; /* nobody's */
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n; i += SCATTER_THREADS) {
        const int other = row_of(slot, token, i);
#pragma unroll
        for (int k = 0; k < OWNED; k++) {
            if (other != row[k]) continue;
            const int t = first + k * apart;
            met |= (unsigned)(i < t) << k | (unsigned)(i > t) << (OWNED + k);
        }
    }
    met = __reduce_or_sync(0xFFFFFFFFu, met);
    if (threadIdx.x % 32 == 0) met_by[threadIdx.x / 32] = met;
    __syncthreads();
    for (int w = 0; w < OWNED; w++) met |= met_by[w];
    return met;
}

/* sum += the rows of dout of all tokens from `first` on that have first's row, in token order. All threads call it. */
template <class T>
static __device__ __forceinline__ void add_all_of_row(const int *slot, const gm_token *token, int n, int first, const T *dout, float *sum,
                                                      int hidden, bool is_wide, int *list, unsigned *found_by)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, mine = row_of(slot, token, first);
    int held = 0;
    for (int start = first; start < n; start += SCATTER_THREADS) {
        const int i = start + (int)threadIdx.x;
        const bool is_mine = i < n && row_of(slot, token, i) == mine;
        const unsigned votes = __ballot_sync(0xFFFFFFFFu, is_mine);
        __syncthreads(); /* the counts and the list were read */
        if (lane == 0) found_by[warp] = (unsigned)__popc(votes);
        __syncthreads(); /* all counts are there */
        int at = held;
        for (int w = 0; w < OWNED; w++) {
            if (w < warp) at += (int)found_by[w];
            held += (int)found_by[w];
        }
        if (is_mine) list[at + __popc(votes & ((1u << lane) - 1u))] = i;
        if (held <= LIST - SCATTER_THREADS && start + SCATTER_THREADS < n) continue;
        __syncthreads(); /* the list is whole */
        add_listed(list, held, dout, sum, hidden, is_wide, (int)threadIdx.x, SCATTER_THREADS);
        held = 0;
    }
}

/* blockIdx.y 0: dword by slot, 1: dposition by position. The tokens of a block stand gridDim.x apart: the places of the
 * first sentence, which have the most tokens, fall to as many blocks. A row with one token needs its warp alone. */
template <class T>
static __global__ void __launch_bounds__(SCATTER_THREADS, 4)
    embedding_scatter(const int *slots, const gm_token *token, const T *dout, float *dword, float *dposition, const int *n_tokens, int hidden,
                      bool is_wide)
{
    __shared__ int list[LIST];
    __shared__ unsigned by_warp[OWNED];
    const int n = *n_tokens, first = (int)blockIdx.x, apart = (int)gridDim.x;
    const int *slot = blockIdx.y == 0 ? slots : NULL;
    float *table = blockIdx.y == 0 ? dword : dposition;
    if (first >= n) return;
    const unsigned met = find_others(slot, token, n, first, apart, by_warp);
    const int alone = first + (int)threadIdx.x / 32 * apart;
    if (alone < n && !(met >> threadIdx.x / 32 & (1u | 1u << OWNED)))
        add_listed(&alone, 1, dout, table + (size_t)row_of(slot, token, alone) * (size_t)hidden, hidden, is_wide, (int)threadIdx.x % 32, 32);
    for (int k = 0; k < OWNED; k++) {
        if ((met >> k & (1u | 1u << OWNED)) != 1u << OWNED) continue; /* the row is another block's, or done */
        const int t = first + k * apart;
        add_all_of_row(slot, token, n, t, dout, table + (size_t)row_of(slot, token, t) * (size_t)hidden, hidden, is_wide, list, by_warp);
    }
}

template <class T> static gm_status embedding_backward(const gm_embedding_grad *a, gm_device *dev)
{
    const T *dout = (const T *)a->dout;
    float *dposition = a->dposition + (size_t)a->position_offset * (size_t)a->hidden;
    const bool is_wide = has_wide_rows(dout, a->hidden) && has_wide_rows(a->dword, a->hidden) && has_wide_rows(dposition, a->hidden);
    if (a->capacity == 0) return GM_OK;
    GM_TRY(GM_LAUNCH(dev, embedding_scatter<T>, dim3((unsigned)gm_blocks(a->capacity, OWNED), 2), SCATTER_THREADS, 0, a->slot, a->token, dout,
                     a->dword, dposition, a->n_tokens, a->hidden, is_wide));
    if (a->dtype == NULL) return GM_OK;
    return column_sum(dout, a->capacity, a->n_tokens, a->hidden, a->dtype, true, dev);
}

GM_KERNELS_CUDA(embedding)
