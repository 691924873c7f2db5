/* crf on the CPU. Sentences are shared among threads, and for the transitions' gradient columns are: sums over sentences
 * run in order, so the number of threads leaves no trace in the bits. */
#include "crf/crf.h"

#include <string.h>

#include "crf/crf_chain_cpu.h"

enum { BLOCK = 1024 }; /* sentences whose losses wait to be added */

/* Log Z of a sentence with words, its filtered rows in alpha. */
static double filter(const gm_crf *a, int32_t begin, int32_t end)
{
    const size_t tags = (size_t)a->tags;
    const gm_act *emit = a->emit;
    double log_z = crf_begin(a->start, emit + (size_t)begin * tags, a->tags, a->alpha + (size_t)begin * tags);
    for (int32_t t = begin + 1; t < end; t++) {
        float *row = a->alpha + (size_t)t * tags;
        log_z += crf_advance(row - tags, a->trans, emit + (size_t)t * tags, a->tags, row);
    }
    return log_z + crf_finish(a->alpha + (size_t)(end - 1) * tags, a->end, a->tags);
}

static double gold_score(const gm_crf *a, int32_t begin, int32_t end)
{
    const size_t tags = (size_t)a->tags;
    const gm_act *emit = a->emit;
    double score = (double)a->start[a->tag[begin]] + (double)a->end[a->tag[end - 1]];
    for (int32_t t = begin; t < end; t++) {
        score += (double)gm_get(emit[(size_t)t * tags + (size_t)a->tag[t]]);
        if (t > begin) score += (double)a->trans[(size_t)a->tag[t - 1] * tags + (size_t)a->tag[t]];
    }
    return score;
}

static gm_status crf_forward(const gm_crf *a, gm_device *dev)
{
    for (int32_t first = 0; first < a->sequences; first += BLOCK) {
        const int32_t n = a->sequences - first < BLOCK ? a->sequences - first : BLOCK;
        double loss[BLOCK], sum = 0.0;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t s = 0; s < n; s++) {
            const int32_t begin = a->cu_words[first + s], end = a->cu_words[first + s + 1];
            const double log_z = begin < end ? filter(a, begin, end) : 0.0;
            a->log_z[first + s] = (float)log_z;
            loss[s] = begin < end ? log_z - gold_score(a, begin, end) : 0.0;
        }
        for (int32_t s = 0; s < n; s++) sum += loss[s];
        *a->loss += sum * (double)*a->scale;
    }
    return GM_OK;
}

/* dtrans of the columns from `first` on: pair marginals minus gold, over all sentences in order. */
static void transitions(const gm_crf_grad *a, const float *marginal, int32_t first)
{
    const size_t tags = (size_t)a->tags;
    const int32_t n = a->tags - first < GM_LANES ? a->tags - first : GM_LANES;
    float sum[GM_CRF_MAX_TAGS][GM_LANES];
    memset(sum, 0, tags * sizeof sum[0]);
    for (int32_t s = 0; s < a->sequences; s++)
        for (int32_t t = a->cu_words[s] + 1; t < a->cu_words[s + 1]; t++) {
            gm_vec e[GM_CRF_MAX_TAGS], top, total;
            crf_columns(a->alpha + (size_t)(t - 1) * tags, a->trans, a->tags, first, e, &top, &total);
            const gm_vec weight = crf_load(marginal + (size_t)t * tags + first, n) * *a->scale / total;
            for (size_t i = 0; i < tags; i++) gm_vec_store(sum[i], gm_vec_load(sum[i]) + e[i] * weight);
            if (a->tag[t] >= first && a->tag[t] < first + n) sum[a->tag[t - 1]][a->tag[t] - first] -= *a->scale;
        }
    for (size_t i = 0; i < tags; i++)
        for (int32_t l = 0; l < n; l++) {
            float *d = a->dtrans + i * tags + (size_t)(first + l);
            *d = a->add_dtrans ? *d + sum[i][l] : sum[i][l];
        }
}

/* dstart and dend: what the first and the last word of each sentence got. */
static void ends(const gm_crf_grad *a, const float *share)
{
    const size_t tags = (size_t)a->tags;
    if (!a->add_dstart) memset(a->dstart, 0, tags * sizeof *a->dstart);
    if (!a->add_dend) memset(a->dend, 0, tags * sizeof *a->dend);
    for (int32_t s = 0; s < a->sequences; s++) {
        const int32_t begin = a->cu_words[s], end = a->cu_words[s + 1];
        if (begin == end) continue;
        for (size_t j = 0; j < tags; j++) a->dstart[j] += share[(size_t)begin * tags + j];
        for (size_t j = 0; j < tags; j++) a->dend[j] += share[(size_t)(end - 1) * tags + j];
    }
}

/* `share` holds the marginals until the transitions have read them; then it is demit in float, and may be its memory. */
static gm_status crf_backward(const gm_crf_grad *a, gm_device *dev)
{
    const size_t tags = (size_t)a->tags;
    const int32_t total = a->cu_words[a->sequences];
    gm_act *demit = a->demit;
    float *share = GM_HAS_BF16 ? a->scratch : a->demit;
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t s = 0; s < a->sequences; s++) {
        const size_t begin = (size_t)a->cu_words[s] * tags, end = (size_t)a->cu_words[s + 1] * tags;
        if (begin == end) continue;
        memcpy(share + begin, a->alpha + begin, (end - begin) * sizeof *share);
        crf_smooth(share + begin, a->trans, a->end, a->cu_words[s + 1] - a->cu_words[s], a->tags);
    }
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->tags; first += GM_LANES) transitions(a, share, first);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t t = 0; t < total; t++) {
        float *row = share + (size_t)t * tags;
        row[a->tag[t]] -= 1.0f;
        for (size_t j = 0; j < tags; j++) row[j] *= *a->scale;
        if (GM_HAS_BF16) gm_narrow(row, demit + (size_t)t * tags, a->tags);
    }
    ends(a, share);
    if (a->words > total) memset(demit + (size_t)total * tags, 0, (size_t)(a->words - total) * tags * sizeof *demit);
    return GM_OK;
}

GM_KERNELS(crf)
