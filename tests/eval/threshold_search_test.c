/* The search for thresholds under a limit on calls, beside one that tries all of them. */
#include "tests/eval/eval_test.h"

#include "eval/thresholds.h"

enum { ENTITIES = 12, SAMPLES = 5 };

typedef struct game {
    gm_delegable items[ENTITIES];
    uint8_t wrong[ENTITIES]; /* parts that must be asked about before the entity is right */
    size_t first[SAMPLES];
    int64_t scored;
} game;

static gm_status score(void *user, size_t sample, const uint8_t *asked, gm_score *to, gm_err *err)
{
    game *g = user;
    (void)err;
    *to = (gm_score) { 0 };
    for (size_t i = g->first[sample]; i < ENTITIES && g->items[i].sample == sample; i++) {
        to->tp += (g->wrong[i] & ~asked[i - g->first[sample]]) == 0;
        to->n_pred++;
        to->n_gold++;
    }
    g->scored++;
    return GM_OK;
}

static game deal(uint64_t seed)
{
    dice d = { seed, 0 };
    game g = { .scored = 0 };
    for (size_t i = 0; i < ENTITIES; i++) {
        g.items[i].sample =
            i == 0 ? 0 : g.items[i - 1].sample + (g.items[i - 1].sample + 1 < SAMPLES && roll(&d, 2) == 0);
        if (i == 0 || g.items[i].sample != g.items[i - 1].sample) g.first[g.items[i].sample] = i;
        g.wrong[i] = (uint8_t)(roll(&d, 8) & roll(&d, 8));
        for (int part = 0; part < GM_PARTS; part++) g.items[i].u[part] = number_of(&d);
    }
    return g;
}

/* F1 with these thresholds; *calls: how many are made. */
static double f1_at(game *g, const gm_thresholds *t, int64_t *calls)
{
    gm_score sum = { .n_gold = 3 };
    uint8_t asked[ENTITIES] = { 0 };
    *calls = 0;
    for (size_t i = 0; i < ENTITIES; i++) {
        for (int part = 0; part < GM_PARTS; part++)
            if (g->items[i].u[part] > t->of[part]) {
                asked[i] = (uint8_t)(asked[i] | 1u << part);
                ++*calls;
            }
        sum.tp += (g->wrong[i] & ~asked[i]) == 0;
        sum.n_pred++;
        sum.n_gold++;
    }
    return 100.0 * gm_f1(sum);
}

static void no_more_calls_than_allowed(void **state)
{
    (void)state;
    int best = 0, tried = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        gm_err err = { 0 };
        game g = deal(seed);
        gm_thresholds t;
        int64_t calls;
        const gm_threshold_search s = { .items = g.items,
                                        .count = ENTITIES,
                                        .samples = SAMPLES,
                                        .rest = { .n_gold = 3 },
                                        .score = score,
                                        .user = &g,
                                        .calls = (int64_t)(seed % 7) };
        assert_ok(gm_thresholds_search(&s, &t, &err));
        const double f1 = f1_at(&g, &t, &calls);
        assert_true(calls <= s.calls);
        double top = 0;
        for (int i = 0; i < 9 * 9 * 9; i++) {
            int64_t n;
            const gm_thresholds other = { { i % 9 / 8.0, i / 9 % 9 / 8.0, i / 81 / 8.0 } };
            const double v = f1_at(&g, &other, &n);
            if (n <= s.calls) top = fmax(top, v);
        }
        assert_true(f1 <= top + 1e-9);
        best += f1 >= top - 1e-9;
        tried++;
    }
    if (best * 10 < tried * 8) fail_msg("the best thresholds within the limit were found for %d of %d", best, tried);
}

static void a_wide_limit_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        gm_err err = { 0 };
        game g = deal(seed);
        gm_thresholds a, b;
        gm_threshold_search s = { .items = g.items,
                                  .count = ENTITIES,
                                  .samples = SAMPLES,
                                  .rest = { .n_gold = 3 },
                                  .score = score,
                                  .user = &g,
                                  .call_cost = 0.05,
                                  .calls = -1 };
        assert_ok(gm_thresholds_search(&s, &a, &err));
        s.calls = GM_PARTS * ENTITIES;
        assert_ok(gm_thresholds_search(&s, &b, &err));
        assert_memory_equal(&a, &b, sizeof a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_more_calls_than_allowed),
                                        cmocka_unit_test(a_wide_limit_changes_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
