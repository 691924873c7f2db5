/* Entities for the tests of operations on them: sentences with words, regions and spans of words, packed as a batch has them.
 * What stands behind the true entities in the arrays points nowhere. */
#ifndef GM_TESTS_ENTITIES_H
#define GM_TESTS_ENTITIES_H

#include "tests/support/kernel_test.h"

#include <string.h>

typedef struct gmt_entities {
    int32_t sequences, words, regions, n, capacity, scores;
    gmt_buf cu_words, cu_regions, cu, cu_scores; /* offsets; those of scores for n entities, then nonsense */
    gmt_buf span, token, count; /* pairs of int32 */
} gmt_entities;

static inline gm_entity_span gmt_span(const gmt_entities *x, int32_t e) { return (gm_entity_span){ x->span.i32[2 * e], x->span.i32[2 * e + 1] }; }
static inline int32_t gmt_sequence(const gmt_entities *x, int32_t e) { return x->token.i32[2 * e]; }
static inline int32_t gmt_regions_of(const gmt_entities *x, int32_t e) { return x->cu_scores.i32[e + 1] - x->cu_scores.i32[e] - 1; }

/* Dropout's name of an entity's span. */
static inline uint32_t gmt_place(const gmt_entities *x, int32_t e)
{
    const gm_entity_span s = gmt_span(x, e);
    return (uint32_t)(s.first - x->cu_words.i32[gmt_sequence(x, e)]) << 4 | (uint32_t)(s.last - s.first);
}

/* Sentence s has words[s] words, regions[s] regions and entities[s] entities (none without words) of at most `widths` words: some
 * overlap, share an end or are the same. `spare` more than there are is the capacity. */
static inline gmt_entities gmt_entities_make(gmt_backend *b, const int32_t *words, const int32_t *regions, const int32_t *entities, int32_t sequences,
                                             int32_t widths, int32_t spare)
{
    enum { MOST = 512, NONSENSE = 1 << 28 };
    static int32_t count[MOST], span[2 * MOST], token[2 * MOST], scores[MOST + 1];
    gmt_entities x = { .sequences = sequences, .cu_words = gmt_offsets(b, words, sequences), .cu_regions = gmt_offsets(b, regions, sequences) };
    for (int32_t i = 0; i < 2 * MOST; i++) span[i] = token[i] = NONSENSE;
    for (int32_t i = 1; i <= MOST; i++) scores[i] = NONSENSE;
    scores[0] = 0;
    for (int32_t s = 0; s < sequences; s++) {
        count[s] = words[s] > 0 ? entities[s] : 0;
        for (int32_t j = 0; j < count[s]; j++, x.n++) {
            const int32_t at = (5 * j + s) % words[s], more = (3 * j + s) % widths, first = x.cu_words.i32[s] + at;
            span[2 * x.n] = first;
            span[2 * x.n + 1] = first + (more < words[s] - at ? more : words[s] - at - 1);
            token[2 * x.n] = s;
            token[2 * x.n + 1] = j;
            scores[x.n + 1] = scores[x.n] + regions[s] + 1;
        }
    }
    x.words = x.cu_words.i32[sequences];
    x.regions = x.cu_regions.i32[sequences];
    x.capacity = x.n + spare;
    x.scores = scores[x.n];
    x.cu = gmt_offsets(b, count, sequences);
    x.cu_scores = gmt_i32(b, scores, (size_t)x.capacity + 1);
    x.span = gmt_i32(b, span, 2 * (size_t)x.capacity);
    x.token = gmt_i32(b, token, 2 * (size_t)x.capacity);
    x.count = gmt_i32(b, &x.n, 1);
    return x;
}

static inline double *gmt_widened(gmt_backend *b, const gmt_buf *x)
{
    double *y = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) y[i] = (double)x->f32[i];
    return y;
}

/* An output of `size` numbers and `spare` more behind them: NaN, or numbers to be added to in front of NaN. */
static inline gmt_buf gmt_output(gmt_backend *b, size_t size, size_t spare, bool with_numbers, bool is_act)
{
    gmt_buf x = is_act ? gmt_act_poison(b, size + spare) : gmt_poison(b, size + spare);
    if (!with_numbers) return x;
    const gmt_buf number = is_act ? gmt_act(b, size, 1.5f) : gmt_normal(b, size, 1.5f);
    memcpy(x.f32, number.f32, size * sizeof(float));
    gmt_push(b, &x);
    return x;
}

/* Elements first ... of a fetched buffer: zero up to `end`, as poisoned further on. */
static inline void gmt_rows_behind(const gmt_buf *x, size_t first, size_t end, const char *what)
{
    for (size_t i = first; i < x->count; i++)
        if (i < end ? x->f32[i] != 0.0f : x->f32[i] == x->f32[i]) fail_msg("%s[%zu] behind the true ones is %.9g", what, i, (double)x->f32[i]);
}

#endif
