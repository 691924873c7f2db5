/* Delegation: which parts of which predictions are handed on to something better and dearer, and from what uncertainty on
 * that pays (docs/evaluation.md, "Thresholds"). */
#ifndef GM_EVAL_THRESHOLDS_H
#define GM_EVAL_THRESHOLDS_H

#include "eval/verdicts.h"

/* A part is delegated when its normalised uncertainty is strictly larger; 1 delegates nothing. */
typedef struct gm_thresholds { double of[GM_PARTS]; } gm_thresholds;
/* A JSON object of span, type and region, or one that has such an object as its member "thresholds": what `gmner eval --thresholds --json` prints. */
gm_status gm_thresholds_read(const char *path, gm_thresholds *t, gm_err *err);
bool gm_delegates(const gm_uncertainty *u, const gm_thresholds *t, gm_part part); /* false where it is absent */

typedef struct gm_delegation {
    gm_thresholds thresholds;
    int64_t predictions;
    int64_t calls[GM_PARTS];     /* delegated */
    int64_t corrected[GM_PARTS]; /* delegated, and it was wrong */
    int64_t wrong[GM_PARTS];     /* with type and region against the gold entity that the span is, or should be */
    gm_score before, after;      /* GMNER as predicted, and with the delegated parts put right */
    double cost;                 /* calls' share of the predictions in percent, times the cost of one percent */
    double gain;                 /* 100 (F1 after - F1 before) - cost: what was made as large as possible */
} gm_delegation;

/* A search for thresholds, whoever answers: all it knows is what a sample scores once certain parts of its entities were asked. */
typedef struct gm_delegable {
    double u[GM_PARTS]; /* NAN: this part cannot be delegated */
    size_t sample;      /* of the entity; those of a sample stand side by side */
} gm_delegable;

/* asked: one byte an entity of the sample, one bit a part. */
typedef gm_status (*gm_sample_score)(void *user, size_t sample, const uint8_t *asked, gm_score *score, gm_err *err);

typedef struct gm_threshold_search {
    const gm_delegable *items;
    size_t count, samples;
    gm_score rest;         /* of samples without entities, which nothing can change */
    gm_sample_score score;
    void *user;
    double call_cost;      /* points of F1 (of 100) for each percent of calls */
    int64_t calls;         /* at most so many; negative: any number */
} gm_threshold_search;

/* The thresholds with the largest gain, 100 F1 - cost. GM_ERR_DATA when nothing can be delegated. */
gm_status gm_thresholds_search(const gm_threshold_search *s, gm_thresholds *best, gm_err *err);

/* What these thresholds give. call_cost: points of F1 (of 100) for each percent of calls. */
gm_status gm_thresholds_score(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, double call_cost,
                              const gm_thresholds *t, gm_delegation *d, gm_err *err);
/* The thresholds with the largest gain when an oracle answers. GM_ERR_DATA when no prediction carries a normalised uncertainty. */
gm_status gm_thresholds_pick(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, double call_cost,
                             gm_delegation *d, gm_err *err);

#endif
