/* References of the two crf tests, in double: all paths one by one for small chains, and the textbook's forward and
 * backward sums (Lafferty et al. 2001) for longer ones. Nothing here is shared with the kernels. */
#ifndef GM_KERNELS_CRF_REFERENCE_H
#define GM_KERNELS_CRF_REFERENCE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { CHAIN_WORDS = 40, CHAIN_TAGS = 260 };

typedef struct chain {
    const double *emit, *trans, *start, *end; /* as gm_crf, of one sentence */
    int32_t words, tags;
} chain;

static double chain_score(const chain *c, const int32_t *path)
{
    double score = c->start[path[0]] + c->end[path[c->words - 1]];
    for (int32_t t = 0; t < c->words; t++) {
        score += c->emit[t * c->tags + path[t]];
        if (t > 0) score += c->trans[path[t - 1] * c->tags + path[t]];
    }
    return score;
}

/* The next path in counting order, last word fastest; false after the last one. */
static bool chain_next(const chain *c, int32_t *path)
{
    for (int32_t t = c->words - 1; t >= 0; t--) {
        if (++path[t] < c->tags) return true;
        path[t] = 0;
    }
    return false;
}

static double chain_log_sum(const double *x, int32_t n)
{
    double top = x[0], sum = 0.0;
    for (int32_t i = 1; i < n; i++) top = fmax(top, x[i]);
    for (int32_t i = 0; i < n; i++) sum += exp(x[i] - top);
    return top + log(sum);
}

/* Log Z; alpha and beta [words, tags]. */
static double chain_forward_backward(const chain *c, double *alpha, double *beta)
{
    const int32_t tags = c->tags, last = c->words - 1;
    double x[CHAIN_TAGS];
    for (int32_t j = 0; j < tags; j++) {
        alpha[j] = c->start[j] + c->emit[j];
        beta[last * tags + j] = c->end[j];
    }
    for (int32_t t = 1; t <= last; t++)
        for (int32_t j = 0; j < tags; j++) {
            for (int32_t i = 0; i < tags; i++) x[i] = alpha[(t - 1) * tags + i] + c->trans[i * tags + j];
            alpha[t * tags + j] = c->emit[t * tags + j] + chain_log_sum(x, tags);
        }
    for (int32_t t = last - 1; t >= 0; t--)
        for (int32_t i = 0; i < tags; i++) {
            for (int32_t j = 0; j < tags; j++)
                x[j] = c->trans[i * tags + j] + c->emit[(t + 1) * tags + j] + beta[(t + 1) * tags + j];
            beta[t * tags + i] = chain_log_sum(x, tags);
        }
    for (int32_t j = 0; j < tags; j++) x[j] = alpha[last * tags + j] + c->end[j];
    return chain_log_sum(x, tags);
}

#endif
