/* What crf and crf_decode share on the CPU: the two recursions of a linear chain over normalised rows.
 * Forward keeps filtered log probabilities (each row's exponentials add up to 1) and hands out what it took away in
 * double, so that emissions of +-1e4 in long sentences lose nothing. Backward is the derivative of forward: the
 * marginal of a word is spread over its predecessors by the same column softmax, without beta, log Z or emissions. */
#ifndef GM_KERNELS_CRF_CHAIN_CPU_H
#define GM_KERNELS_CRF_CHAIN_CPU_H

#include "activation_cpu.h"
#include "crf/crf.h"

/* One register of columns: x[first ...], zero beyond n. */
static inline gm_vec crf_load(const float *x, int32_t n)
{
    float lane[GM_LANES] = { 0.0f };
    if (n >= GM_LANES) return gm_vec_load(x);
    memcpy(lane, x, (size_t)n * sizeof *x);
    return gm_vec_load(lane);
}

/* Softmax over `from` of from[i] + trans[i][first + lane], before the division: e[i] and their sum, which is at least 1,
 * and the largest exponent, which was taken away. Lanes beyond `tags` hold numbers that nobody reads. */
static inline void crf_columns(const float *from, const float *trans, int32_t tags, int32_t first, gm_vec *restrict e,
                               gm_vec *restrict top, gm_vec *restrict sum)
{
    const int32_t n = tags - first;
    gm_vec most = crf_load(trans + first, n) + from[0], total = { 0.0f };
    e[0] = most;
    for (int32_t i = 1; i < tags; i++) {
        e[i] = crf_load(trans + (size_t)i * (size_t)tags + first, n) + from[i];
        most = gm_vec_max(e[i], most);
    }
    for (int32_t i = 0; i < tags; i++) {
        e[i] = gm_vec_exp(e[i] - most);
        total += e[i];
    }
    *top = most;
    *sum = total;
}

/* row -= log sum exp row; returns what was taken away. */
static inline double crf_normalise(float *row, int32_t tags)
{
    float top = -INFINITY, sum = 0.0f;
    for (int32_t j = 0; j < tags; j++) top = row[j] > top ? row[j] : top;
    for (int32_t j = 0; j < tags; j++) sum += gm_exp(row[j] - top);
    const float rest = logf(sum);
    for (int32_t j = 0; j < tags; j++) row[j] = (row[j] - top) - rest; /* top may be large, rest is not */
    return (double)top + (double)rest;
}

/* next[j] = emit[j] + log sum over i of exp(from[i] + trans[i][j]), normalised; returns what was taken away. */
static inline double crf_advance(const float *from, const float *trans, const gm_act *emit, int32_t tags, float *next)
{
    for (int32_t first = 0; first < tags; first += GM_LANES) {
        gm_vec e[GM_CRF_MAX_TAGS], top, sum;
        crf_columns(from, trans, tags, first, e, &top, &sum);
        for (int32_t l = 0; l < GM_LANES && first + l < tags; l++) next[first + l] = gm_get(emit[first + l]) + (top[l] + logf(sum[l]));
    }
    return crf_normalise(next, tags);
}

static inline double crf_begin(const float *start, const gm_act *emit, int32_t tags, float *next)
{
    for (int32_t j = 0; j < tags; j++) next[j] = start[j] + gm_get(emit[j]);
    return crf_normalise(next, tags);
}

/* The last factor of Z. */
static inline double crf_finish(const float *from, const float *end, int32_t tags)
{
    float row[GM_CRF_MAX_TAGS];
    for (int32_t j = 0; j < tags; j++) row[j] = from[j] + end[j];
    return crf_normalise(row, tags);
}

/* Turns a sentence's filtered rows [words, tags] into posterior marginals, in place, last word first. */
static inline void crf_smooth(float *rows, const float *trans, const float *end, int32_t words, int32_t tags)
{
    float *last = rows + (size_t)(words - 1) * (size_t)tags;
    for (int32_t j = 0; j < tags; j++) last[j] += end[j];
    crf_normalise(last, tags);
    for (int32_t j = 0; j < tags; j++) last[j] = gm_exp(last[j]);
    for (int32_t t = words - 2; t >= 0; t--) {
        float *row = rows + (size_t)t * (size_t)tags;
        gm_vec spread[GM_CRF_MAX_TAGS];
        memset(spread, 0, (size_t)tags * sizeof spread[0]);
        for (int32_t first = 0; first < tags; first += GM_LANES) {
            gm_vec e[GM_CRF_MAX_TAGS], top, sum;
            crf_columns(row, trans, tags, first, e, &top, &sum);
            const gm_vec weight = crf_load(row + tags + first, tags - first) / sum;
            for (int32_t i = 0; i < tags; i++) spread[i] += e[i] * weight;
        }
        for (int32_t i = 0; i < tags; i++) row[i] = gm_vec_sum(spread[i]);
    }
}

#endif
