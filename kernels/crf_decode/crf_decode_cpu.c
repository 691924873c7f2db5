/* crf_decode on the CPU: Viterbi in double, so that only true ties are ties, and marginals by the recursions of crf.
 * Threads share the sentences. */
#include "crf_decode/crf_decode.h"

#include <math.h>
#include <string.h>

#include "crf/crf_chain_cpu.h"

/* Back pointers live on the stack, since kernels do not allocate: 512 KiB are 1008 words with 260 tags, 29127 with 9. */
enum { MOST_POINTERS = 1 << 18 };
static const double forbidden = -1e4;

/* best[j] = largest of from[i] + trans[i][j] + penalty; back[j] = the lowest i that has it. */
static void best_predecessors(const gm_crf_decode *a, const double *restrict from, double *restrict best, uint16_t *restrict back)
{
    double choice[GM_CRF_MAX_TAGS]; /* as wide as the scores, for the sake of vector code */
    for (int32_t j = 0; j < a->tags; j++) {
        best[j] = -INFINITY;
        choice[j] = 0.0;
    }
    for (int32_t i = 0; i < a->tags; i++) {
        const float *restrict trans = a->trans + (size_t)i * (size_t)a->tags;
        double score[GM_CRF_MAX_TAGS];
        for (int32_t j = 0; j < a->tags; j++) score[j] = from[i] + (double)trans[j];
        if (a->allowed != NULL) {
            const uint8_t *restrict allowed = a->allowed + (size_t)i * ((size_t)a->tags + 1);
            for (int32_t j = 0; j < a->tags; j++) score[j] += allowed[j] ? 0.0 : forbidden;
        }
        for (int32_t j = 0; j < a->tags; j++) {
            const bool is_better = score[j] > best[j];
            best[j] = is_better ? score[j] : best[j];
            choice[j] = is_better ? (double)i : choice[j];
        }
    }
    for (int32_t j = 0; j < a->tags; j++) back[j] = (uint16_t)choice[j];
}

/* What beginning with a tag or ending with it costs: row or column `tags`. */
static double penalty(const gm_crf_decode *a, int32_t from, int32_t to)
{
    return a->allowed == NULL || a->allowed[(size_t)from * ((size_t)a->tags + 1) + (size_t)to] ? 0.0 : forbidden;
}

/* Writes the best path of a sentence with words; returns its score. */
static double viterbi(const gm_crf_decode *a, int32_t begin, int32_t end)
{
    const size_t tags = (size_t)a->tags;
    const gm_act *emit = a->emit;
    uint16_t back[MOST_POINTERS];
    double rows[2][GM_CRF_MAX_TAGS], *now = rows[0], *next = rows[1];
    for (int32_t j = 0; j < a->tags; j++)
        now[j] = (double)a->start[j] + penalty(a, a->tags, j) + (double)gm_get(emit[(size_t)begin * tags + (size_t)j]);
    for (int32_t t = begin + 1; t < end; t++) {
        best_predecessors(a, now, next, back + (size_t)(t - begin) * tags);
        for (size_t j = 0; j < tags; j++) next[j] += (double)gm_get(emit[(size_t)t * tags + j]);
        double *swap = now;
        now = next;
        next = swap;
    }
    double top = -INFINITY;
    int32_t tag = 0;
    for (int32_t j = 0; j < a->tags; j++) {
        const double score = now[j] + (double)a->end[j] + penalty(a, j, a->tags);
        if (!(score > top)) continue;
        top = score;
        tag = j;
    }
    for (int32_t t = end - 1; t >= begin; t--) {
        a->path[t] = tag;
        if (t > begin) tag = back[(size_t)(t - begin) * tags + (size_t)tag];
    }
    return top;
}

/* Log Z of a sentence with words; fills its marginals where they are wanted. */
static double posterior(const gm_crf_decode *a, int32_t begin, int32_t end)
{
    const size_t tags = (size_t)a->tags;
    const gm_act *emit = a->emit;
    float scratch[2][GM_CRF_MAX_TAGS];
    float *rows = a->marginal != NULL ? a->marginal + (size_t)begin * tags : NULL;
    float *last = rows != NULL ? rows : scratch[0];
    double log_z = crf_begin(a->start, emit + (size_t)begin * tags, a->tags, last);
    for (int32_t t = begin + 1; t < end; t++) {
        float *next = rows != NULL ? last + tags : scratch[(t - begin) % 2];
        log_z += crf_advance(last, a->trans, emit + (size_t)t * tags, a->tags, next);
        last = next;
    }
    log_z += crf_finish(last, a->end, a->tags);
    if (rows != NULL) crf_smooth(rows, a->trans, a->end, end - begin, a->tags);
    return log_z;
}

static gm_status crf_decode_forward(const gm_crf_decode *a, gm_device *dev)
{
    for (int32_t s = 0; s < a->sequences; s++) {
        const int32_t words = a->cu_words[s + 1] - a->cu_words[s];
        if ((int64_t)words * a->tags > MOST_POINTERS)
            return gm_fail(dev->err, GM_ERR_SHAPE, "crf_decode: sentence %d has %d words; with %d tags at most %d are decoded, split it",
                           s, words, a->tags, MOST_POINTERS / a->tags);
    }
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t s = 0; s < a->sequences; s++) {
        const int32_t begin = a->cu_words[s], end = a->cu_words[s + 1];
        a->score[s] = begin < end ? (float)viterbi(a, begin, end) : 0.0f;
        a->log_z[s] = begin < end ? (float)posterior(a, begin, end) : 0.0f;
    }
    return GM_OK;
}

GM_KERNELS_FORWARD(crf_decode)
