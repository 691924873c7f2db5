/* Rankings and calibrations against plain references that look at all pairs, all orders and all cuts, and the edges. */
#include "tests/eval/eval_test.h"

#include "eval/ranking.h"

enum { SIZE = 40 };

/* ---- plain references ---- */

static double all_pairs(const gm_ranked *list, size_t n, double of_tie)
{
    double sum = 0, pairs = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            if (list[i].is_wrong || !list[k].is_wrong) continue;
            pairs++;
            sum += list[i].u < list[k].u ? 1.0 : list[i].u == list[k].u ? of_tie : 0.0;
        }
    }
    return pairs > 0 ? sum / pairs : (double)NAN;
}

/* Sum over the distinct values t, from above, of precision at {u >= t} times the recall it adds. */
static double all_cuts(const gm_ranked *list, size_t n)
{
    double sum = 0, recall = 0, below = INFINITY, wrong = 0;
    for (size_t i = 0; i < n; i++) wrong += list[i].is_wrong;
    if (wrong == 0) return NAN;
    for (;;) {
        double cut = -INFINITY, found = 0, taken = 0;
        for (size_t i = 0; i < n; i++)
            if (list[i].u < below) cut = fmax(cut, list[i].u);
        if (cut == -INFINITY) return sum;
        for (size_t i = 0; i < n; i++) {
            taken += list[i].u >= cut;
            found += list[i].u >= cut && list[i].is_wrong;
        }
        sum += found / taken * (found / wrong - recall);
        recall = found / wrong;
        below = cut;
    }
}

/* The expected risk at k: of the first k in some order by u, all orders of equal ones alike. */
static double expected_risk(const gm_ranked *list, size_t n, size_t k)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double before = 0, same = 0;
        for (size_t j = 0; j < n; j++) {
            before += list[j].u < list[i].u;
            same += list[j].u == list[i].u;
        }
        const double is_taken = fmin(fmax(((double)k - before) / same, 0.0), 1.0);
        sum += list[i].is_wrong ? is_taken : 0.0;
    }
    return sum / (double)k;
}

static size_t random_list(uint64_t seed, gm_ranked list[SIZE])
{
    dice d = { seed, 0 };
    const size_t n = roll(&d, SIZE);
    const uint32_t values = 1 + roll(&d, 20), wrong = roll(&d, 11);
    for (size_t i = 0; i < n; i++) list[i] = (gm_ranked) { (double)roll(&d, values) / 20.0, roll(&d, 10) < wrong };
    return n;
}

static void equals_plain_references(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        gm_ranked list[SIZE];
        double risk[SIZE], aurc = 0, perfect = 0;
        const size_t n = random_list(seed, list);
        const double auroc = all_pairs(list, n, 0.5), strict = all_pairs(list, n, 0), auprc = all_cuts(list, n);
        int64_t wrong = 0;
        for (size_t i = 0; i < n; i++) wrong += list[i].is_wrong;
        for (size_t k = 1; k <= n; k++) {
            aurc += expected_risk(list, n, k) / (double)n;
            perfect += fmax(0.0, (double)k - (double)((int64_t)n - wrong)) / (double)k / (double)n;
        }
        const gm_ranking r = gm_rank(list, n);
        near("AUROC", r.auroc, auroc);
        near("strict AUROC", r.auroc_strict, strict);
        near("AUPRC", r.auprc, auprc);
        near("AURC", r.aurc, n > 0 ? aurc : (double)NAN);
        near("E-AURC", r.e_aurc, n > 0 ? aurc - perfect : (double)NAN);
        assert_int_equal(r.wrong, wrong);
        assert_int_equal(r.right + r.wrong, n);
        gm_risk_coverage(list, n, risk);
        for (size_t k = 1; k <= n; k++) near("risk", risk[k - 1], expected_risk(list, n, k));
    }
}

static void calibration_equals_plain_reference(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        gm_ranked list[SIZE];
        const size_t n = random_list(seed, list);
        const int32_t bins = 1 + (int32_t)(seed % 12);
        double ece = 0, mce = 0, brier = 0;
        for (int32_t m = 0; m < bins; m++) {
            double count = 0, right = 0, confidence = 0;
            for (size_t i = 0; i < n; i++) {
                const double c = 1 - list[i].u; /* twentieths: an edge of no bin but those it equals */
                const bool is_in =
                    (c > (double)m / bins + 1e-12 || (m == 0 && c <= 1e-12)) && c <= (double)(m + 1) / bins + 1e-12;
                if (!is_in) continue;
                count++;
                right += !list[i].is_wrong;
                confidence += c;
            }
            if (count == 0) continue;
            const double gap = fabs(right - confidence) / count;
            ece += count / (double)n * gap;
            mce = fmax(mce, gap);
        }
        for (size_t i = 0; i < n; i++) brier += pow(1 - list[i].u - !list[i].is_wrong, 2) / (double)n;
        const gm_calibration c = gm_calibrate(list, n, bins);
        near("ECE", c.ece, n > 0 ? ece : (double)NAN);
        near("MCE", c.mce, n > 0 ? mce : (double)NAN);
        near("Brier", c.brier, n > 0 ? brier : (double)NAN);
        assert_int_equal(c.bin_count, bins);
    }
}

/* ---- properties and edges ---- */

static void order_changes_no_bit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        gm_ranked list[SIZE], turned[SIZE];
        const size_t n = random_list(seed, list);
        for (size_t i = 0; i < n; i++) turned[i] = list[n - 1 - i];
        const gm_ranking a = gm_rank(list, n), b = gm_rank(turned, n);
        const gm_calibration x = gm_calibrate(list, n, 10), y = gm_calibrate(turned, n, 10);
        assert_memory_equal(&a, &b, sizeof a);
        assert_memory_equal(&x.ece, &y.ece, sizeof x.ece);
        assert_memory_equal(&x.brier, &y.brier, sizeof x.brier);
    }
}

static void one_kind_alone_has_no_auroc(void **state)
{
    (void)state;
    gm_ranked right[] = { { 0.1, false }, { 0.2, false } }, wrong[] = { { 0.1, true }, { 0.2, true } };
    gm_ranking r = gm_rank(right, 2);
    assert_true(isnan(r.auroc) && isnan(r.auroc_strict) && isnan(r.auprc) && r.aurc == 0 && r.e_aurc == 0);
    r = gm_rank(wrong, 2);
    assert_true(isnan(r.auroc) && isnan(r.auroc_strict) && r.auprc == 1 && r.aurc == 1 && r.e_aurc == 0);
    r = gm_rank(NULL, 0);
    assert_true(isnan(r.auroc) && isnan(r.auprc) && isnan(r.aurc) && isnan(r.e_aurc) && r.right == 0 && r.wrong == 0);
}

static void perfect_and_reversed_orders(void **state)
{
    (void)state;
    gm_ranked perfect[] = { { 0.9, true }, { 0.1, false }, { 0.2, false }, { 0.8, true } };
    gm_ranking r = gm_rank(perfect, 4);
    assert_true(r.auroc == 1 && r.auroc_strict == 1 && r.auprc == 1);
    near("E-AURC", r.e_aurc, 0);
    for (int i = 0; i < 4; i++) perfect[i].u = 1 - perfect[i].u;
    r = gm_rank(perfect, 4);
    assert_true(r.auroc == 0 && r.auroc_strict == 0);
    for (int i = 0; i < 4; i++) perfect[i].u = 0.5;
    r = gm_rank(perfect, 4);
    assert_true(r.auroc == 0.5 && r.auroc_strict == 0 && r.auprc == 0.5 && r.aurc == 0.5);
}

/* 0 goes to the first bin, 1 to the last, an edge to the bin below it, and what lies beyond stays in the outer bins. */
static void edges_of_bins(void **state)
{
    (void)state;
    static const struct {
        double confidence;
        int bin;
    } cases[] = { { 0, 0 },   { 1e-9, 0 }, { 0.1, 0 }, { 0.1000001, 1 }, { 0.3, 2 }, { 0.7, 6 },
                  { 0.9, 8 }, { 0.95, 9 }, { 1, 9 },   { 1.5, 9 },       { -0.5, 0 } };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        const gm_ranked one = { 1 - cases[i].confidence, false };
        const gm_calibration c = gm_calibrate(&one, 1, 10);
        for (int b = 0; b < 10; b++) assert_int_equal(c.bins[b].count, b == cases[i].bin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_plain_references),     cmocka_unit_test(calibration_equals_plain_reference),
        cmocka_unit_test(order_changes_no_bit),        cmocka_unit_test(one_kind_alone_has_no_auroc),
        cmocka_unit_test(perfect_and_reversed_orders), cmocka_unit_test(edges_of_bins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
