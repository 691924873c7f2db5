/* How well an uncertainty tells wrong answers from right ones, and a confidence the share of right ones
 * (docs/evaluation.md, "Uncertainty"): plain statistics over lists of numbers. */
#ifndef GM_EVAL_RANKING_H
#define GM_EVAL_RANKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gm_ranked { double u; bool is_wrong; } gm_ranked; /* u finite: larger is less certain */

typedef struct gm_ranking {
    int64_t right, wrong;
    double auroc, auroc_strict; /* pairs of right and wrong in order; ties a half, or nothing. NAN without both kinds */
    double auprc;               /* average precision at finding the wrong ones; NAN without any */
    double aurc, e_aurc;        /* NAN of nothing */
} gm_ranking;

/* Sorts the list by u and scores it. Equal values are one block: no order among them has a say. */
gm_ranking gm_rank(gm_ranked *list, size_t count);
/* risk[k - 1]: the expected share of wrong ones among the k most certain. The list as gm_rank left it. */
void gm_risk_coverage(const gm_ranked *list, size_t count, double *risk);

enum { GM_MAX_BINS = 100 };
typedef struct gm_bin { int64_t count; double accuracy, confidence; } gm_bin; /* 0, 0 when empty */

typedef struct gm_calibration {
    double ece, mce, brier; /* NAN of nothing */
    int32_t bin_count;
    gm_bin bins[GM_MAX_BINS];
} gm_calibration;

/* Of confidences 1 - u in [0, 1], as gm_rank left the list; bin m holds (m / bins, (m + 1) / bins], 0 goes to bin 0. */
gm_calibration gm_calibrate(const gm_ranked *list, size_t count, int32_t bins);

#endif
