/* Statistics over sorted lists. Counts are integers until the last division, sums run in the order of the sorted list:
 * the order of the predictions in their file cannot change a bit. */
#include "eval/ranking.h"

#include <math.h>
#include <stdlib.h>

static int by_uncertainty(const void *a, const void *b)
{
    const gm_ranked *x = a, *y = b;
    if (x->u != y->u) return x->u < y->u ? -1 : 1;
    return (int)x->is_wrong - (int)y->is_wrong;
}

/* The end of the block of equal values that begins at `first`, and how many in it are wrong. */
static size_t block_end(const gm_ranked *list, size_t count, size_t first, int64_t *wrong)
{
    size_t end = first;
    *wrong = 0;
    while (end < count && list[end].u == list[first].u) *wrong += list[end++].is_wrong;
    return end;
}

static void take_auroc(const gm_ranked *list, size_t count, gm_ranking *r)
{
    int64_t ordered = 0, tied = 0, right_before = 0, wrong;
    for (size_t i = 0, end; i < count; i = end) {
        end = block_end(list, count, i, &wrong);
        const int64_t right = (int64_t)(end - i) - wrong;
        ordered += wrong * right_before;
        tied += wrong * right;
        right_before += right;
    }
    const double pairs = (double)r->right * (double)r->wrong;
    r->auroc = pairs > 0 ? ((double)ordered + 0.5 * (double)tied) / pairs : (double)NAN;
    r->auroc_strict = pairs > 0 ? (double)ordered / pairs : (double)NAN;
}

/* sum over blocks, from the least certain, of the precision so far times the recall that the block adds. */
static double average_precision(const gm_ranked *list, size_t count, int64_t all_wrong)
{
    double sum = 0;
    int64_t wrong_so_far = 0;
    if (all_wrong == 0) return NAN;
    for (size_t end = count, first; end > 0; end = first) {
        int64_t wrong = 0;
        first = end;
        while (first > 0 && list[first - 1].u == list[end - 1].u) wrong += list[--first].is_wrong;
        wrong_so_far += wrong;
        sum += (double)wrong / (double)all_wrong * ((double)wrong_so_far / (double)(count - first));
    }
    return sum;
}

/* The risk at place k, which is the in_block-th of a block of `size`: its wrong ones are spread evenly over it. */
static double risk_at(double wrong_before, double wrong, size_t in_block, size_t size, size_t k)
{
    return (wrong_before + wrong * (double)in_block / (double)size) / (double)k;
}

void gm_risk_coverage(const gm_ranked *list, size_t count, double *risk)
{
    int64_t before = 0, wrong;
    for (size_t i = 0, end; i < count; i = end) {
        end = block_end(list, count, i, &wrong);
        for (size_t k = i; k < end; k++) risk[k] = risk_at((double)before, (double)wrong, k - i + 1, end - i, k + 1);
        before += wrong;
    }
}

static void take_aurc(const gm_ranked *list, size_t count, gm_ranking *r)
{
    double sum = 0, perfect = 0;
    int64_t before = 0, wrong;
    for (size_t i = 0, end; i < count; i = end) {
        end = block_end(list, count, i, &wrong);
        for (size_t k = i; k < end; k++) {
            const int64_t forced = (int64_t)k + 1 - r->right;
            sum += risk_at((double)before, (double)wrong, k - i + 1, end - i, k + 1);
            perfect += forced > 0 ? (double)forced / (double)(k + 1) : 0.0;
        }
        before += wrong;
    }
    r->aurc = count > 0 ? sum / (double)count : (double)NAN;
    r->e_aurc = count > 0 ? (sum - perfect) / (double)count : (double)NAN;
}

gm_ranking gm_rank(gm_ranked *list, size_t count)
{
    gm_ranking r = { 0 };
    for (size_t i = 0; i < count; i++) r.wrong += list[i].is_wrong;
    r.right = (int64_t)count - r.wrong;
    if (count > 0) qsort(list, count, sizeof *list, by_uncertainty);
    take_auroc(list, count, &r);
    r.auprc = average_precision(list, count, r.wrong);
    take_aurc(list, count, &r);
    return r;
}

gm_calibration gm_calibrate(const gm_ranked *list, size_t count, int32_t bins)
{
    gm_calibration c = { .bin_count = bins };
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        const double confidence = 1.0 - list[i].u, right = list[i].is_wrong ? 0.0 : 1.0;
        /* 1e-12: a confidence on an edge, such as 0.7 of ten bins, must not leave its bin by rounding. */
        const double at = fmin(fmax(ceil(confidence * bins - 1e-12) - 1.0, 0.0), bins - 1.0);
        gm_bin *bin = &c.bins[(int32_t)at];
        bin->count++;
        bin->accuracy += right;
        bin->confidence += confidence;
        squares += (confidence - right) * (confidence - right);
    }
    for (int32_t b = 0; b < bins; b++) {
        gm_bin *bin = &c.bins[b];
        if (bin->count == 0) continue;
        bin->accuracy /= (double)bin->count;
        bin->confidence /= (double)bin->count;
        const double gap = fabs(bin->accuracy - bin->confidence);
        c.ece += (double)bin->count / (double)count * gap;
        c.mce = fmax(c.mce, gap);
    }
    if (count == 0) c.ece = c.mce = NAN;
    c.brier = count > 0 ? squares / (double)count : (double)NAN;
    return c;
}
