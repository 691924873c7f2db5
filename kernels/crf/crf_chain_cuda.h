/* What crf and crf_decode share on the GPU: the recursions of crf_chain_cpu.h, one block a sentence and one thread a
 * tag. Rows keep the size that emissions give them; each step takes away the largest number of the row before, so that
 * scores of +-1e4 lose no more than their own rounding. Marginals need no beta: the marginal of a word is spread over
 * its predecessors by the same softmax as in the forward direction. */
#ifndef GM_KERNELS_CRF_CHAIN_CUDA_H
#define GM_KERNELS_CRF_CHAIN_CUDA_H

#include "device/block.h" /* first: it gives the C headers C linkage */
#include "crf/crf.h"

/* Bytes of dynamic shared memory for [tags, tags] tables: with the static rows below they make up 48 KiB, what every
 * GPU gives without asking. It holds the transitions of 103 tags (51 types in BIO); larger tables stay in L1 and L2. */
enum { CRF_SHARED_BYTES = 43000 };

/* T: the type of activations; everything else is float. */
template <class T> struct crf_scores {
    const T *emit;
    const float *trans, *start, *end;
    int tags;
};

/* Of the structs that forward, backward and decoding take. */
template <class T, class Args> static crf_scores<T> crf_scores_of(const Args *a)
{
    const crf_scores<T> c = { (const T *)a->emit, a->trans, a->start, a->end, a->tags };
    return c;
}

/* A warp at least: the sums over a row are made by warps. */
static inline int crf_threads(int tags) { return (tags + 31) / 32 * 32; }
static inline size_t crf_table_bytes(int tags) { return (size_t)tags * (size_t)tags * sizeof(float); }
/* Dynamic shared memory of `tables` tables, 0 where they do not fit. */
static inline int crf_shared_bytes(int tags, int tables)
{
    const size_t bytes = (size_t)tables * crf_table_bytes(tags);
    return bytes <= CRF_SHARED_BYTES ? (int)bytes : 0;
}

/* The transitions in shared memory if there is room, else where they are. All threads of the block call it, and read what
 * it returns behind a barrier: a chain's first step, which needs no transition, has one. */
__device__ __forceinline__ const float *crf_keep(const float *trans, int tags, float *room, bool has_room)
{
    if (!has_room) return trans;
    for (int i = (int)threadIdx.x; i < tags * tags; i += (int)blockDim.x) room[i] = trans[i];
    return room;
}

/* A softmax before its division: exponents are x - top + y - shift, and sum is that of their exponentials. */
typedef struct crf_sum {
    float top, shift, sum;
} crf_sum;

/* Over `from` of row[from] + column[from x tags]; top is the largest of the row, whatever the column. */
__device__ __forceinline__ crf_sum crf_column(const float *row, const float *column, int tags)
{
    crf_sum s = { -INFINITY, -INFINITY, 0.0f };
    for (int i = 0; i < tags; i++) {
        s.top = fmaxf(s.top, row[i]);
        s.shift = fmaxf(s.shift, row[i] + column[i * tags]);
    }
    s.shift -= s.top;
    for (int i = 0; i < tags; i++) s.sum += expf(row[i] - s.top + column[i * tags] - s.shift);
    return s;
}

/* Over the last word's tags of row + end; every warp finds the same numbers. */
__device__ __forceinline__ crf_sum crf_last(const float *row, const float *end, int tags)
{
    crf_sum s = { -INFINITY, -INFINITY, 0.0f };
    for (int j = (int)threadIdx.x % 32; j < tags; j += 32) s.top = fmaxf(s.top, row[j]);
    s.top = warp_max(s.top);
    for (int j = (int)threadIdx.x % 32; j < tags; j += 32) s.shift = fmaxf(s.shift, row[j] - s.top + end[j]);
    s.shift = warp_max(s.shift);
    for (int j = (int)threadIdx.x % 32; j < tags; j += 32) s.sum += expf(row[j] - s.top + end[j] - s.shift);
    s.sum = warp_sum(s.sum);
    return s;
}

/* Log Z of words begin .. end - 1, at least one; right in thread 0. alpha [words, tags] gets the rows, or is NULL. All
 * threads of the block call it; row is shared. */
template <class T>
static __device__ double crf_filter(const crf_scores<T> &c, const float *trans, int begin, int end,
                                    float (*row)[GM_CRF_MAX_TAGS], float *alpha)
{
    const int j = (int)threadIdx.x, tags = c.tags;
    const bool is_tag = j < tags;
    float emit = is_tag ? gm_load(c.emit + (size_t)begin * tags + j) : 0.0f;
    double log_z = 0.0;
    for (int t = begin; t < end; t++) {
        const size_t at = (size_t)t * tags + j;
        /* under way while this word is worked on */
        const float next = is_tag && t + 1 < end ? gm_load(c.emit + at + tags) : 0.0f;
        if (is_tag) {
            float value = emit;
            if (t == begin) {
                value += c.start[j];
            } else {
                const crf_sum s = crf_column(row[(t - begin - 1) % 2], trans + j, tags);
                value += s.shift + logf(s.sum);
                log_z += (double)s.top;
            }
            row[(t - begin) % 2][j] = value;
            if (alpha != NULL) alpha[at] = value;
        }
        emit = next;
        __syncthreads(); /* the row is whole; the one before it may be overwritten, for two take turns */
    }
    const crf_sum s = crf_last(row[(end - begin - 1) % 2], c.end, tags);
    return log_z + (double)s.top + (double)s.shift + (double)logf(s.sum);
}

/* Shared memory of crf_smooth. */
typedef struct crf_rows {
    float row[2][GM_CRF_MAX_TAGS], shift[GM_CRF_MAX_TAGS], weight[GM_CRF_MAX_TAGS], marginal[GM_CRF_MAX_TAGS];
} crf_rows;

/* Writes out = scale x (marginal - gold) of words begin .. end - 1, last word first; tag NULL: no gold. out may be
 * alpha. pair [tags, tags], unless NULL, gets the pair marginals added, gold taken away, without the scale; row i of it
 * belongs to warp i modulo warps. Out is float or the type of activations; the marginals that go on from word to word
 * stay float. Returns the last word's marginal of the thread's tag; r.marginal holds the first
 * word's. All threads of the block call it. */
template <class T, class Out>
static __device__ float crf_smooth(const crf_scores<T> &c, const float *trans, int begin, int end, const float *alpha,
                                   const int32_t *tag, float scale, Out *out, float *pair, crf_rows &r)
{
    const int j = (int)threadIdx.x, tags = c.tags, lane = j % 32, warps = (int)blockDim.x / 32;
    const bool is_tag = j < tags;
    size_t at = (size_t)(end - 1) * tags + j;
    if (is_tag) r.row[0][j] = alpha[at];
    __syncthreads();
    const crf_sum last = crf_last(r.row[0], c.end, tags);
    const float of_last = is_tag ? expf(r.row[0][j] - last.top + c.end[j] - last.shift) / last.sum : 0.0f;
    if (is_tag) {
        r.marginal[j] = of_last;
        gm_store(out + at, scale * (of_last - (tag != NULL && tag[end - 1] == j ? 1.0f : 0.0f)));
    }
    float next = is_tag && end - 1 > begin ? alpha[at - tags] : 0.0f;
    for (int t = end - 2; t >= begin; t--) {
        float *row = r.row[(end - 1 - t) % 2];
        at -= tags;
        if (is_tag) row[j] = next;
        __syncthreads(); /* row and the marginals of word t + 1 are whole */
        next = is_tag && t > begin ? alpha[at - tags] : 0.0f;
        const crf_sum s = crf_column(row, trans + (is_tag ? j : 0), tags); /* threads without a tag want its top */
        if (is_tag) {
            r.shift[j] = s.shift;
            r.weight[j] = r.marginal[j] / s.sum;
        }
        __syncthreads();
        const int gold = tag != NULL ? tag[t] : -1, after = pair != NULL ? tag[t + 1] : -1;
        /* a warp a row: both tables are read along their rows */
        for (int i = j / 32; i < tags; i += warps) {
            const float own = row[i] - s.top;
            float sum = 0.0f;
            for (int k = lane; k < tags; k += 32) {
                const float p = expf(own + trans[i * tags + k] - r.shift[k]) * r.weight[k];
                sum += p;
                if (pair != NULL) pair[i * tags + k] += p - (i == gold && k == after ? 1.0f : 0.0f);
            }
            sum = warp_sum(sum);
            if (lane == 0) {
                r.marginal[i] = sum;
                gm_store(out + (size_t)t * tags + i, scale * (sum - (i == gold ? 1.0f : 0.0f)));
            }
        }
    }
    __syncthreads(); /* the first word's marginals are whole */
    return of_last;
}

#endif
