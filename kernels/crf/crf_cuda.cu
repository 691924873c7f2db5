/* crf on the GPU: one block a sentence, one thread a tag. Gradients of the transitions gather in a table of each block
 * and are added block by block: the same bits on every run. */
#include "crf/crf_chain_cuda.h"
#include "device/loss.h"

/* BLOCKS: of backward, each with a table; more sentences take turns. SUM_THREADS: one a number of the summed tables. */
enum { BLOCKS = 512, SUM_THREADS = 128 };

/* Score of the gold path, in lane 0 of the calling warp. */
template <class T>
static __device__ double gold_score(const crf_scores<T> &c, const int32_t *tag, int begin, int end)
{
    double score = 0.0;
    for (int t = begin + (int)threadIdx.x % 32; t < end; t += 32) {
        score += (double)gm_load(c.emit + (size_t)t * c.tags + tag[t]);
        score += (double)(t > begin ? c.trans[tag[t - 1] * c.tags + tag[t]] : c.start[tag[t]]);
        if (t == end - 1) score += (double)c.end[tag[t]];
    }
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) score += __shfl_xor_sync(0xFFFFFFFFu, score, m);
    return score;
}

template <class T>
static __global__ void filter_kernel(crf_scores<T> c, const int32_t *tag, const int32_t *cu_words, float *alpha,
                                     float *log_z, double *share, bool has_room)
{
    GM_DYN_SMEM(float, room);
    __shared__ float row[2][GM_CRF_MAX_TAGS];
    const int s = (int)blockIdx.x, begin = cu_words[s], end = cu_words[s + 1];
    if (begin == end) {
        if (threadIdx.x == 0) {
            log_z[s] = 0.0f;
            share[s] = 0.0;
        }
        return;
    }
    const float *trans = crf_keep(c.trans, c.tags, room, has_room);
    const double sum = crf_filter(c, trans, begin, end, row, alpha);
    if (threadIdx.x >= 32) return;
    const double gold = gold_score(c, tag, begin, end);
    if (threadIdx.x != 0) return;
    log_z[s] = (float)sum;
    share[s] = sum - gold;
}

template <class T> static gm_status crf_forward(const gm_crf *a, gm_device *dev)
{
    const int smem = crf_shared_bytes(a->tags, 1);
    void *share;
    if (a->sequences == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)a->sequences * sizeof(double), "crf", &share));
    GM_TRY(GM_LAUNCH(dev, filter_kernel<T>, a->sequences, crf_threads(a->tags), (size_t)smem, crf_scores_of<T>(a),
                     a->tag, a->cu_words, a->alpha, a->log_z, (double *)share, smem > 0));
    return add_loss((const double *)share, a->sequences, a->scale, a->loss, dev);
}

/* What one block's sentences give: pair [tags, tags], start [tags], end [tags]. */
static __host__ __device__ __forceinline__ size_t table_count(int tags)
{
    return (size_t)tags * (size_t)tags + 2 * (size_t)tags;
}

/* Numbers from `first` to `end` become 0, shared by all threads of the grid. */
template <class T> static __device__ __forceinline__ void zero_behind(T *to, size_t first, size_t end)
{
    for (size_t i = first + blockIdx.x * blockDim.x + threadIdx.x; i < end; i += (size_t)gridDim.x * blockDim.x)
        gm_store(to + i, 0.0f);
}

/* tables: how many [tags, tags] tables fit shared memory, the transitions first. words: rows of demit. */
template <class T>
static __global__ void smooth_kernel(crf_scores<T> c, const float *alpha, const float *scale, const int32_t *tag,
                                     const int32_t *cu_words, int sequences, int words, T *demit, float *table,
                                     int tables)
{
    GM_DYN_SMEM(float, room);
    __shared__ crf_rows rows;
    const int j = (int)threadIdx.x, tags = c.tags, lane = j % 32, warps = (int)blockDim.x / 32;
    float *mine = table + (size_t)blockIdx.x * table_count(tags);
    float *pair = tables > 1 ? room + tags * tags : mine;
    const float *trans = crf_keep(c.trans, tags, room, tables > 0);
    float starts = 0.0f, ends = 0.0f;
    /* whoever adds to a number also sets it to zero and writes it: no barrier */
    for (int i = j / 32; i < tags; i += warps)
        for (int k = lane; k < tags; k += 32) pair[i * tags + k] = 0.0f;
    zero_behind(demit, (size_t)cu_words[sequences] * tags, (size_t)words * tags);
    for (int s = (int)blockIdx.x; s < sequences; s += (int)gridDim.x) {
        const int begin = cu_words[s], end = cu_words[s + 1];
        if (begin == end) continue;
        const float last = crf_smooth(c, trans, begin, end, alpha, tag, *scale, demit, pair, rows);
        if (j >= tags) continue;
        starts += rows.marginal[j] - (tag[begin] == j ? 1.0f : 0.0f);
        ends += last - (tag[end - 1] == j ? 1.0f : 0.0f);
    }
    if (tables > 1)
        for (int i = j / 32; i < tags; i += warps)
            for (int k = lane; k < tags; k += 32) mine[i * tags + k] = pair[i * tags + k];
    if (j >= tags) return;
    mine[tags * tags + j] = starts;
    mine[tags * tags + tags + j] = ends;
}

struct sum_to {
    float *trans, *start, *end;
    bool add_trans, add_start, add_end;
};

/* Adds up the tables in order. */
static __global__ void sum_kernel(const float *table, int tables, int tags, const float *scale, sum_to to)
{
    const int64_t pairs = (int64_t)tags * tags, count = (int64_t)table_count(tags);
    const int64_t e = (int64_t)blockIdx.x * SUM_THREADS + threadIdx.x;
    if (e >= count) return;
    float sum = 0.0f;
    for (int b = 0; b < tables; b++) sum += table[b * count + e];
    float *d = e < pairs ? to.trans + e : e < pairs + tags ? to.start + (e - pairs) : to.end + (e - pairs - tags);
    const bool is_added = e < pairs ? to.add_trans : e < pairs + tags ? to.add_start : to.add_end;
    *d = is_added ? *d + *scale * sum : *scale * sum;
}

template <class T> static gm_status crf_backward(const gm_crf_grad *a, gm_device *dev)
{
    const size_t bytes = table_count(a->tags) * sizeof(float), most = dev->workspace_bytes / bytes;
    const int tables = crf_shared_bytes(a->tags, 2) > 0 ? 2 : crf_shared_bytes(a->tags, 1) > 0 ? 1 : 0;
    int blocks = a->sequences < BLOCKS ? a->sequences : BLOCKS; /* without a sentence one block still writes zeros */
    if (most < (size_t)blocks) blocks = (int)most;
    if (blocks < 1) blocks = 1;
    const sum_to to = { a->dtrans, a->dstart, a->dend, a->add_dtrans, a->add_dstart, a->add_dend };
    void *table;
    GM_TRY(gm_scratch(dev, (size_t)blocks * bytes, "crf", &table));
    GM_TRY(GM_LAUNCH(dev, smooth_kernel<T>, blocks, crf_threads(a->tags), (size_t)crf_shared_bytes(a->tags, tables),
                     crf_scores_of<T>(a), a->alpha, a->scale, a->tag, a->cu_words, a->sequences, a->words,
                     (T *)a->demit, (float *)table, tables));
    return GM_LAUNCH(dev, sum_kernel, gm_blocks((int64_t)table_count(a->tags), SUM_THREADS), SUM_THREADS, 0,
                     (const float *)table, blocks, a->tags, a->scale, to);
}

GM_KERNELS_CUDA(crf)
