/* crf_decode: best tag path of each sentence (Viterbi; ties: lowest tag), and the posterior marginals. Transitions that a
 * tag scheme forbids get `forbidden` added (-1e4, never -inf). */
#ifndef GM_CRF_DECODE_H
#define GM_CRF_DECODE_H

#include "kernels.h"

struct gm_crf_decode {
    const void *emit;         /* as gm_crf, like the next three */
    const float *trans, *start, *end;
    const uint8_t *allowed;   /* [tags + 1, tags + 1] allowed[from][to], row `tags` = begin, column `tags` = end; or NULL: all */
    const int32_t *cu_words;
    int32_t *path;            /* [words] */
    float *score;             /* [sequences] of the best path without penalties of moves it does not use */
    float *log_z;             /* [sequences] over all paths, unconstrained */
    float *marginal;          /* [words, tags] or NULL; unconstrained */
    int32_t sequences, tags;
    int32_t words;            /* capacity: sizes the back pointers of a GPU */
};

#endif
