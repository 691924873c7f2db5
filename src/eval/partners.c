/* Pairs are few in a sentence, so each choice looks at all that are left. */
#include "eval/partners.h"

#include "base/memory.h"

static int32_t shared_words(const gm_entity *a, const gm_entity *b)
{
    const int32_t first = a->start > b->start ? a->start : b->start, last = a->end < b->end ? a->end : b->end;
    return last - first + 1;
}

/* Gives predictions without a partner gold entities that have none, where all bits of `need` agree. */
static void take_equal(const gm_record_pair *s, const gm_eval_options *how, unsigned need, int32_t *partner,
                       bool *is_taken)
{
    for (int32_t p = 0; p < s->pred->entity_count; p++) {
        for (int32_t g = 0; g < s->gold->entity_count && partner[p] < 0; g++) {
            const unsigned same = gm_compare(s->pred, &s->pred->entities[p], s->gold, &s->gold->entities[g], how, NULL);
            if (is_taken[g] || (same & need) != need) continue;
            partner[p] = g;
            is_taken[g] = true;
        }
    }
}

/* The rest, the pair with most words in common first. */
static void take_overlapping(const gm_record_pair *s, int32_t *partner, bool *is_taken)
{
    for (;;) {
        int32_t most = 0, best_p = -1, best_g = -1;
        for (int32_t p = 0; p < s->pred->entity_count; p++) {
            for (int32_t g = 0; g < s->gold->entity_count && partner[p] < 0; g++) {
                const int32_t n = is_taken[g] ? 0 : shared_words(&s->pred->entities[p], &s->gold->entities[g]);
                if (n <= most) continue;
                most = n;
                best_p = p;
                best_g = g;
            }
        }
        if (best_p < 0) return;
        partner[best_p] = best_g;
        is_taken[best_g] = true;
    }
}

gm_status gm_find_partners(const gm_record_pair *s, const gm_eval_options *how, int32_t *partner, gm_err *err)
{
    static const unsigned needs[] = { GM_SAME_KEY | GM_SAME_TYPE | GM_SAME_REGION, GM_SAME_KEY | GM_SAME_TYPE,
                                      GM_SAME_KEY | GM_SAME_REGION, GM_SAME_KEY };
    if (s->pred == NULL) return GM_OK;
    bool *is_taken = gm_calloc((size_t)s->gold->entity_count + 1, sizeof *is_taken);
    if (is_taken == NULL)
        return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the entities of \"%s\"", s->gold->id);
    for (int32_t p = 0; p < s->pred->entity_count; p++) partner[p] = -1;
    for (size_t i = 0; i < GM_LEN(needs); i++) take_equal(s, how, needs[i], partner, is_taken);
    take_overlapping(s, partner, is_taken);
    gm_free(is_taken);
    return GM_OK;
}
