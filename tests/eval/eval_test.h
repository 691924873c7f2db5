/* Records of chance for the tests of evaluation: few words, types and boxes, so that whatever can be equal often is. */
#ifndef GM_TESTS_EVAL_H
#define GM_TESTS_EVAL_H

#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"
#include "eval/metrics.h"

enum { WORDS = 8, MOST = 5 };

static const gm_eval_options by_offset = { .iou = 0.5 }, by_words = { .iou = 0.5, .by_name = true };

typedef struct dice {
    uint64_t seed;
    uint32_t at;
} dice;

static inline uint32_t roll(dice *d, uint32_t n)
{
    const uint32_t i = d->at++;
    return gm_below(gm_philox(d->seed, i / 4, 0, 0, GM_SITE_TEST).word[i % 4], n);
}

static inline char *text(const char *s)
{
    char *copy = gm_strdup(s);
    assert_non_null(copy);
    return copy;
}

static inline gm_record blank(const char *id)
{
    static const char *const words[WORDS] = { "Mira", "and", "Mira", "met", "Mira", "Joss", "Joss", "today" };
    gm_record r = { .id = text(id), .token_count = WORDS, .tokens = gm_calloc(WORDS, sizeof *r.tokens) };
    r.entities = gm_calloc(MOST + 1, sizeof *r.entities);
    for (int i = 0; i < WORDS; i++) r.tokens[i] = text(words[i]);
    return r;
}

static inline gm_entity *add_entity(gm_record *r, int32_t word, const char *type)
{
    gm_entity *e = &r->entities[r->entity_count++];
    *e = (gm_entity) { .start = word,
                       .end = word,
                       .type = text(type),
                       .score = NAN,
                       .region_score = NAN,
                       .uncertainty = gm_no_uncertainty };
    e->boxes = gm_calloc(3, sizeof *e->boxes);
    return e;
}

/* Few words, types and boxes, so that equal keys, equal types and hit regions are frequent. */
static inline void add_random(gm_record *r, dice *d, bool is_pred)
{
    static const char *const types[] = { "PER", "LOC", "OTHER" };
    static const gm_box boxes[] = { { 0, 0, 10, 10 }, { 0, 0, 10, 6 }, { 0, 4, 10, 10 }, { 40, 0, 50, 10 } };
    gm_entity *e = add_entity(r, (int32_t)roll(d, 6), types[roll(d, 3)]);
    const int32_t n = (int32_t)roll(d, 4) - 1;
    while (e->box_count < n) e->boxes[e->box_count++] = boxes[roll(d, 4)];
    if (is_pred && roll(d, 12) == 0) e->has_bad_box = true;
}

static inline void random_files(uint64_t seed, gm_records *gold, gm_records *pred)
{
    gm_err err;
    dice d = { seed, 0 };
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "s%d", i);
        gm_record g = blank(id), p = blank(id);
        for (uint32_t n = roll(&d, MOST + 1); n > 0; n--) add_random(&g, &d, false);
        for (uint32_t n = roll(&d, MOST + 1); n > 0; n--) add_random(&p, &d, true);
        assert_ok(gm_records_add(gold, &g, &err));
        if (roll(&d, 5) > 0)
            assert_ok(gm_records_add(pred, &p, &err));
        else
            gm_record_free(&p);
    }
}

/* Numbers to rank by, of few values so that many are equal; some are absent. */
static inline double number_of(dice *d)
{
    const uint32_t i = roll(d, 8);
    return i == 7 ? (double)NAN : (double)i / 8.0;
}

static inline void add_numbers(uint64_t seed, gm_records *pred)
{
    dice d = { seed + 1000, 0 };
    for (size_t i = 0; i < pred->count; i++) {
        for (int32_t k = 0; k < pred->items[i].entity_count; k++) {
            gm_entity *e = &pred->items[i].entities[k];
            e->score = number_of(&d);
            e->region_score = number_of(&d);
            e->uncertainty =
                (gm_uncertainty) { number_of(&d), number_of(&d), number_of(&d), number_of(&d), number_of(&d),
                                   number_of(&d), number_of(&d), number_of(&d), number_of(&d) };
        }
    }
}

static inline void near(const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-9) && !(isnan(got) && isnan(want)))
        fail_msg("%s is %.12g, expected %.12g", what, got, want);
}

/* The first files in which at least seven predictions have a right span: every measure then has something to rank. */
static inline void rich_files(gm_records *gold, gm_records *pred)
{
    for (uint64_t seed = 0;; seed++) {
        gm_err err;
        gm_metrics m;
        random_files(seed, gold, pred);
        add_numbers(seed, pred);
        assert_ok(gm_evaluate(gold, pred, &by_offset, &m, &err));
        const int64_t matched = m.matched;
        gm_metrics_free(&m);
        if (matched >= 7) return;
        gm_records_free(gold);
        gm_records_free(pred);
    }
}

#endif
