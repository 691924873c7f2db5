/* crf: negative log-likelihood of a linear-chain CRF over the words of each sentence, in log space (Lafferty et al. 2001;
 * Lample et al. 2016, section 2.2): score(y) = start[y_0] + sum emit[t][y_t] + sum trans[y_t-1][y_t] + end[y_last],
 * loss = scale x sum over sentences of (log Z - score(gold)). A sentence without words adds nothing.
 * Work: 2 x words x tags^2 exponentials. */
#ifndef GM_CRF_H
#define GM_CRF_H

#include "kernels.h"

enum { GM_CRF_MAX_TAGS = 260 };

struct gm_crf {
    const void *emit;         /* [words, tags] activations: the product that makes them writes that type */
    const float *trans;       /* [tags, tags] from, to */
    const float *start, *end; /* [tags] */
    const int32_t *tag;       /* [words] gold */
    const int32_t *cu_words;  /* [sequences + 1] */
    const float *scale;       /* in device memory: 1 / sentences of the whole step */
    double *loss;             /* added to */
    float *alpha;             /* [words, tags] kept for backward */
    float *log_z;             /* [sequences] */
    int32_t sequences, tags;
};

/* demit is overwritten: scale x (marginal - onehot), rows from cu_words[sequences] to `words` with zero. */
struct gm_crf_grad {
    const void *emit;
    const float *trans, *start, *end, *alpha, *log_z, *scale;
    const int32_t *tag, *cu_words;
    void *demit;
    float *dtrans, *dstart, *dend;
    bool add_dtrans, add_dstart, add_dend;
    int32_t sequences, tags;
    int32_t words;            /* capacity of demit */
    float *scratch;           /* [words of all sentences, tags] for the cpu in bf16; nobody else reads it */
};

#endif
