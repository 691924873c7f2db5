/* crf_decode on the GPU: two blocks a sentence that run side by side, one for the best path, one for log Z and
 * marginals; one thread a tag. Scores of paths are double, added in the order of the CPU, so that the same ties are
 * ties. */
#include "crf/crf_chain_cuda.h"
#include "crf_decode/crf_decode.h"

#define FORBIDDEN -1e4

/* Row or column `tags` of allowed is begin or end. */
static __device__ __forceinline__ double penalty(const uint8_t *allowed, int tags, int from, int to)
{
    return allowed == NULL || allowed[from * (tags + 1) + to] ? 0.0 : FORBIDDEN;
}

/* The best path of words begin .. end - 1, at least one. back [its words, tags]: the best tag before each. */
template <class T>
static __device__ void best_path(const crf_scores<T> &c, const float *trans, const uint8_t *allowed, int begin, int end,
                                 double (*row)[GM_CRF_MAX_TAGS], uint16_t *back, int32_t *path, float *score)
{
    const int j = (int)threadIdx.x, tags = c.tags, words = end - begin;
    float emit = j < tags ? gm_load(c.emit + (size_t)begin * tags + j) : 0.0f;
    for (int t = 0; t < words; t++) {
        const float next = j < tags && t + 1 < words ? gm_load(c.emit + (size_t)(begin + t + 1) * tags + j) : 0.0f;
        if (j < tags && t == 0) row[0][j] = (double)c.start[j] + penalty(allowed, tags, tags, j) + (double)emit;
        if (j < tags && t > 0) {
            const double *from = row[(t - 1) % 2];
            double best = -INFINITY;
            int choice = 0;
            for (int i = 0; i < tags; i++) {
                const double x = from[i] + (double)trans[i * tags + j] + penalty(allowed, tags, i, j);
                choice = x > best ? i : choice; /* only a better one: ties stay with the lowest tag */
                best = x > best ? x : best;
            }
            row[t % 2][j] = best + (double)emit;
            back[(size_t)t * tags + j] = (uint16_t)choice;
        }
        emit = next;
        __syncthreads(); /* the row is whole; the one before it may be overwritten, for two take turns */
    }
    if (j != 0) return;
    double top = -INFINITY;
    int tag = 0;
    for (int i = 0; i < tags; i++) {
        const double x = row[(words - 1) % 2][i] + (double)c.end[i] + penalty(allowed, tags, i, tags);
        tag = x > top ? i : tag;
        top = x > top ? x : top;
    }
    *score = (float)top;
    for (int t = words - 1; t >= 0; t--) {
        path[begin + t] = tag;
        if (t > 0) tag = back[(size_t)t * tags + tag];
    }
}

/* What the two blocks of a sentence write. */
struct answer {
    uint16_t *back; /* [words, tags] */
    int32_t *path;
    float *score, *log_z, *marginal;
};

union shared_rows {
    crf_rows posterior;
    double path[2][GM_CRF_MAX_TAGS];
};

template <class T>
static __global__ void decode_kernel(crf_scores<T> c, const uint8_t *allowed, const int32_t *cu_words, answer a,
                                     bool has_room)
{
    GM_DYN_SMEM(float, room);
    __shared__ shared_rows rows;
    const int s = (int)blockIdx.x, begin = cu_words[s], end = cu_words[s + 1];
    const bool is_path = blockIdx.y == 0;
    if (begin == end) {
        if (threadIdx.x == 0) (is_path ? a.score : a.log_z)[s] = 0.0f;
        return;
    }
    const float *trans = crf_keep(c.trans, c.tags, room, has_room);
    if (is_path) {
        best_path(c, trans, allowed, begin, end, rows.path, a.back + (size_t)begin * c.tags, a.path, a.score + s);
        return;
    }
    const double log_z = crf_filter(c, trans, begin, end, rows.posterior.row, a.marginal);
    if (threadIdx.x == 0) a.log_z[s] = (float)log_z;
    if (a.marginal == NULL) return;
    __syncthreads(); /* every warp has read the last row */
    crf_smooth(c, trans, begin, end, a.marginal, NULL, 1.0f, a.marginal, NULL, rows.posterior);
}

template <class T> static gm_status crf_decode_forward(const gm_crf_decode *a, gm_device *dev)
{
    const int smem = crf_shared_bytes(a->tags, 1);
    void *back;
    if (a->sequences == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)a->words * (size_t)a->tags * sizeof(uint16_t), "crf_decode", &back));
    const answer to = { (uint16_t *)back, a->path, a->score, a->log_z, a->marginal };
    return GM_LAUNCH(dev, decode_kernel<T>, dim3((unsigned)a->sequences, 2), crf_threads(a->tags), (size_t)smem,
                     crf_scores_of<T>(a), a->allowed, a->cu_words, to, smem > 0);
}

GM_KERNELS_CUDA_FORWARD(crf_decode)
