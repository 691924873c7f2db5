/* crf against all paths of a small chain, and against forward and backward sums in double, which central differences
 * check. */
#include "tests/support/kernel_test.h"

#include "crf/crf.h"
#include "crf/crf_reference.h"

/* Behind the last word come BEHIND rows that belong to demit's capacity, more numbers than a block has threads, then one
 * that does not. */
enum { PARTS = 4, BEHIND = 9, TAIL = 10 };
enum { EMIT, TRANS, START, END }; /* inputs, and their gradients in the same order */

typedef struct problem {
    gmt_buf x[PARTS], tag, cu, scale;
    double *wide[PARTS];
    int32_t sequences, words, tags, capacity;
} problem;

static double *widened(gmt_backend *b, const gmt_buf *x)
{
    double *y = gmt_doubles(b, x->count);
    for (size_t i = 0; i < x->count; i++) y[i] = (double)x->f32[i];
    return y;
}

static problem make(gmt_backend *b, const int32_t *length, int32_t sequences, int32_t tags, float sigma)
{
    problem p = { .cu = gmt_offsets(b, length, sequences), .scale = gmt_f32(b, &(float){ 0.25f }, 1), .sequences = sequences, .tags = tags };
    p.words = p.cu.i32[sequences];
    p.capacity = p.words + BEHIND;
    const size_t k = (size_t)tags, size[PARTS] = { (size_t)p.words * k, k * k, k, k };
    for (int i = 0; i < PARTS; i++) {
        p.x[i] = i == EMIT ? gmt_act(b, size[i], sigma) : gmt_normal(b, size[i], 1.0f);
        p.wide[i] = widened(b, &p.x[i]);
    }
    gmt_buf tag = gmt_zeros(b, (size_t)p.words);
    for (int32_t t = 0; t < p.words; t++) tag.i32[t] = t * 7 % tags;
    gmt_push(b, &tag);
    p.tag = tag;
    return p;
}

static chain sentence(const problem *p, int32_t s)
{
    return (chain){ p->wide[EMIT] + p->cu.i32[s] * p->tags, p->wide[TRANS], p->wide[START], p->wide[END],
                    p->cu.i32[s + 1] - p->cu.i32[s], p->tags };
}

/* Sum over sentences of log Z - gold, without the scale; log_z [sequences] may be NULL. */
static double reference(gmt_backend *b, const problem *p, double *log_z)
{
    double loss = 0.0, *alpha = gmt_doubles(b, (size_t)(p->words * p->tags)), *beta = gmt_doubles(b, (size_t)(p->words * p->tags));
    for (int32_t s = 0; s < p->sequences; s++) {
        const chain c = sentence(p, s);
        if (c.words == 0) continue;
        const double z = chain_forward_backward(&c, alpha, beta);
        loss += z - chain_score(&c, p->tag.i32 + p->cu.i32[s]);
        if (log_z != NULL) log_z[s] = z;
    }
    return loss;
}

/* Adds scale x (marginals - gold) to dx. */
static void reference_grad(gmt_backend *b, const problem *p, double scale, double *const dx[PARTS])
{
    const int32_t k = p->tags;
    double *alpha = gmt_doubles(b, (size_t)(p->words * k)), *beta = gmt_doubles(b, (size_t)(p->words * k));
    for (int32_t s = 0; s < p->sequences; s++) {
        const chain c = sentence(p, s);
        const int32_t *gold = p->tag.i32 + p->cu.i32[s], last = c.words - 1;
        double *demit = dx[EMIT] + p->cu.i32[s] * k;
        if (c.words == 0) continue;
        const double z = chain_forward_backward(&c, alpha, beta);
        for (int32_t t = 0; t < c.words; t++)
            for (int32_t j = 0; j < k; j++) {
                const double d = scale * (exp(alpha[t * k + j] + beta[t * k + j] - z) - (j == gold[t]));
                demit[t * k + j] += d;
                if (t == 0) dx[START][j] += d;
                if (t == last) dx[END][j] += d;
                for (int32_t i = 0; t > 0 && i < k; i++)
                    dx[TRANS][i * k + j] +=
                        scale * (exp(alpha[(t - 1) * k + i] + c.trans[i * k + j] + c.emit[t * k + j] + beta[t * k + j] - z) -
                                 (i == gold[t - 1] && j == gold[t]));
            }
    }
}

typedef struct answer {
    gmt_buf loss, log_z, alpha, dx[PARTS];
} answer;

/* Behind the last word demit is zero within its capacity, and as poisoned further on. */
static void rows_behind(const problem *p, const gmt_buf *demit)
{
    for (size_t i = (size_t)(p->words * p->tags); i < demit->count; i++) {
        const bool is_row = i < (size_t)(p->capacity * p->tags);
        if (is_row ? demit->f32[i] != 0.0f : !isnan(demit->f32[i]))
            fail_msg("demit[%zu] is %.9g behind %d words, capacity %d", i, (double)demit->f32[i], p->words, p->capacity);
    }
}

/* Forward and backward; where add[i], dx[i] must stand already. */
static answer run(gmt_backend *b, const problem *p, const bool add[PARTS], const gmt_buf *before)
{
    answer r = { .loss = gmt_bytes(b, &(double){ 2.0 }, sizeof(double), 1), .log_z = gmt_poison(b, (size_t)p->sequences),
                 .alpha = gmt_poison(b, p->x[EMIT].count) };
    r.dx[EMIT] = gmt_act_poison(b, p->x[EMIT].count + (size_t)(TAIL * p->tags));
    for (int i = TRANS; i < PARTS; i++) r.dx[i] = add[i] ? before[i] : gmt_poison(b, p->x[i].count);
    gmt_ok(b, b->k->crf.forward(&(gm_crf){ p->x[EMIT].dev, p->x[TRANS].dev, p->x[START].dev, p->x[END].dev, p->tag.dev,
                                           p->cu.dev, p->scale.dev, r.loss.dev, r.alpha.dev, r.log_z.dev, p->sequences, p->tags },
                                b->device));
    gmt_ok(b, b->k->crf.backward(&(gm_crf_grad){ p->x[EMIT].dev, p->x[TRANS].dev, p->x[START].dev, p->x[END].dev, r.alpha.dev,
                                                 r.log_z.dev, p->scale.dev, p->tag.dev, p->cu.dev, r.dx[EMIT].dev,
                                                 r.dx[TRANS].dev, r.dx[START].dev, r.dx[END].dev, add[TRANS], add[START],
                                                 add[END], p->sequences, p->tags, p->capacity,
                                                 gmt_poison(b, p->x[EMIT].count).dev },
                                 b->device));
    gmt_fetch(b, &r.loss);
    gmt_fetch(b, &r.log_z);
    gmt_fetch(b, &r.alpha);
    for (int i = 0; i < PARTS; i++) gmt_fetch(b, &r.dx[i]);
    rows_behind(p, &r.dx[EMIT]);
    return r;
}

static const bool overwrite[PARTS] = { false };
static const char *const names[PARTS] = { "demit", "dtrans", "dstart", "dend" };

/* What storing part i of the gradients adds to the error of float32 sums. */
static double rounding_of(const gmt_backend *b, int i) { return i == EMIT ? gmt_rounding(b) : 0.0; }

/* An exponent's error grows with the scores on the way: tol is for exponents of size 1. */
static void check_problem(gmt_backend *b, const problem *p, double sigma, double tol, unsigned flags)
{
    const bool add[PARTS] = { false, flags & 1, flags & 2, flags & 4 };
    double *want[PARTS], *log_z = gmt_doubles(b, (size_t)p->sequences);
    gmt_buf before[PARTS];
    for (int i = 0; i < PARTS; i++) {
        before[i] = gmt_normal(b, p->x[i].count, 1.0f);
        want[i] = add[i] ? widened(b, &before[i]) : gmt_doubles(b, p->x[i].count);
    }
    const double loss = 2.0 + 0.25 * reference(b, p, log_z);
    reference_grad(b, p, 0.25, want);
    answer r = run(b, p, add, before);
    assert_true(fabs(*r.loss.f64 - loss) <= tol * (fabs(loss) + sigma));
    gmt_close(r.log_z.f32, log_z, (size_t)p->sequences, tol, "log_z");
    for (int i = 0; i < PARTS; i++) gmt_close(r.dx[i].f32, want[i], p->x[i].count, tol + rounding_of(b, i), names[i]);
}

static void check(gmt_backend *b, const int32_t *length, int32_t sequences, int32_t tags, float sigma, double tol, unsigned flags)
{
    const problem p = make(b, length, sequences, tags, sigma);
    check_problem(b, &p, (double)sigma, tol, flags);
}

static const int32_t lengths[] = { 0, 1, 7, 8, 9, 33, 0 };

/* A device with room for the gradients of one block only: its sentences take turns. */
static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check(b, lengths, GM_LEN(lengths), 5, 2.0f, gmt_tol_f32(33 * 5), 0);
    check(b, lengths, GM_LEN(lengths), 5, 2.0f, gmt_tol_f32(33 * 5), 7);
}

/* More sentences than a GPU has blocks for: a block's second one begins with what the first one left. */
static void more_sentences_than_blocks(gmt_backend *b)
{
    int32_t length[700];
    for (int32_t s = 0; s < (int32_t)GM_LEN(length); s++) length[s] = 1 + s % 2;
    check(b, length, GM_LEN(length), 3, 1.0f, gmt_tol_f32(700), 0);
}

/* Scores of the last word's end, too: they may be far from all the others. */
static void ends_of_ten_thousand_survive(gmt_backend *b)
{
    for (int is_low = 0; is_low < 2; is_low++) { /* the largest is the last, or the first, that a warp's lanes read in a round */
        problem p = make(b, lengths, GM_LEN(lengths), 40, 2.0f);
        for (int32_t j = 0; j < 40; j++) {
            p.x[END].f32[j] += (is_low ? -1e4f : 1e4f) * (float)(1 + j % 3) + (j == 32 - is_low ? 4e4f : 0.0f);
            p.wide[END][j] = (double)p.x[END].f32[j];
        }
        gmt_push(b, &p.x[END]);
        check_problem(b, &p, 1e4, 7.0 * 1e4 * 0x1p-24, 0);
    }
}

static void matches_reference(gmt_backend *b)
{
    static const int32_t tags[] = { 1, 2, 9, 16, 17, 33 };
    for (size_t k = 0; k < GM_LEN(tags); k++)
        check(b, lengths, GM_LEN(lengths), tags[k], 2.0f, gmt_tol_f32((size_t)(33 * tags[k])), k % 2 ? 7 : 0);
    for (unsigned flags = 1; flags < 7; flags++) check(b, lengths, GM_LEN(lengths), 5, 2.0f, gmt_tol_f32(33 * 5), flags);
}

static void most_tags(gmt_backend *b)
{
    static const int32_t two[] = { 3, 1 };
    check(b, two, 2, GM_CRF_MAX_TAGS, 2.0f, gmt_tol_f32(3 * GM_CRF_MAX_TAGS), 7);
}

/* Float holds scores of 1e4 to 1e-3 at most, so probabilities of near ties are right to some 1e-3; nothing overflows. */
static void emissions_of_ten_thousand_survive(gmt_backend *b)
{
    check(b, lengths, GM_LEN(lengths), 9, 1e4f, 33.0 * 1e4 * 0x1p-24, 0);
}

/* The same large number on every tag of a word changes nothing but log Z: the shift is a power of two and emissions are
 * whole numbers below it, 128 of them for the 8 bits of bfloat16, so the shift itself is exact, and the gradients have to
 * agree as if it were not there. Two stored ones may lie on either side of a rounding. */
static void common_shift_changes_no_gradient(gmt_backend *b)
{
    const float shift = gmt_rounding(b) > 0.0 ? 128.0f : 4096.0f;
    problem p = make(b, lengths, GM_LEN(lengths), 9, 2.0f);
    for (size_t i = 0; i < p.x[EMIT].count; i++) p.x[EMIT].f32[i] = rintf(fabsf(p.x[EMIT].f32[i]));
    gmt_push(b, &p.x[EMIT]);
    const answer plain = run(b, &p, overwrite, NULL);
    for (size_t i = 0; i < p.x[EMIT].count; i++) p.x[EMIT].f32[i] += shift;
    gmt_push(b, &p.x[EMIT]);
    const answer shifted = run(b, &p, overwrite, NULL);
    for (int i = 0; i < PARTS; i++)
        gmt_close(shifted.dx[i].f32, widened(b, &plain.dx[i]), p.x[i].count,
                  (double)shift * 0x1p-23 + 2.0 * rounding_of(b, i), names[i]);
    for (size_t s = 0; s < GM_LEN(lengths); s++)
        assert_true(fabs((double)shifted.log_z.f32[s] - (double)plain.log_z.f32[s] - (double)(shift * (float)lengths[s])) <= 0.02);
}

/* Every path of 5 words and 4 tags; expectations are sums over paths. */
static void matches_all_paths(gmt_backend *b)
{
    enum { WORDS = 5, TAGS = 4 };
    static const int32_t length[] = { WORDS };
    const problem p = make(b, length, 1, TAGS, 1.5f);
    const chain c = sentence(&p, 0);
    double want[PARTS][WORDS * TAGS] = { { 0.0 } }, z = 0.0;
    for (int round = 0; round < 2; round++) { /* the first one finds Z */
        int32_t path[WORDS] = { 0 };
        double sum = 0.0;
        do {
            const double mass = exp(chain_score(&c, path)), share = round ? 0.25 * mass / z : 0.0;
            sum += mass;
            want[START][path[0]] += share;
            want[END][path[WORDS - 1]] += share;
            for (int t = 0; t < WORDS; t++) {
                want[EMIT][t * TAGS + path[t]] += share;
                if (t > 0) want[TRANS][path[t - 1] * TAGS + path[t]] += share;
            }
        } while (chain_next(&c, path));
        z = sum;
    }
    const int32_t *gold = p.tag.i32;
    want[START][gold[0]] -= 0.25;
    want[END][gold[WORDS - 1]] -= 0.25;
    for (int t = 0; t < WORDS; t++) {
        want[EMIT][t * TAGS + gold[t]] -= 0.25;
        if (t > 0) want[TRANS][gold[t - 1] * TAGS + gold[t]] -= 0.25;
    }
    const double log_z = log(z), loss = 2.0 + 0.25 * (log_z - chain_score(&c, gold)), tol = gmt_tol_f32(WORDS * TAGS);
    const answer r = run(b, &p, overwrite, NULL);
    gmt_close(r.log_z.f32, &log_z, 1, tol, "log_z");
    assert_true(fabs(*r.loss.f64 - loss) <= tol * loss);
    for (int i = 0; i < PARTS; i++) gmt_close(r.dx[i].f32, want[i], p.x[i].count, tol + rounding_of(b, i), names[i]);
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const problem p = make(b, lengths, GM_LEN(lengths), 37, 2.0f);
    answer first = { 0 };
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        const answer r = run(b, &p, overwrite, NULL);
        if (b->device->threads == 1) first = r;
        assert_memory_equal(r.loss.f64, first.loss.f64, sizeof(double));
        assert_memory_equal(r.log_z.f32, first.log_z.f32, r.log_z.bytes);
        for (int i = 0; i < PARTS; i++) assert_memory_equal(r.dx[i].f32, first.dx[i].f32, r.dx[i].bytes);
    }
}

/* A batch of a fixed number of sentences, most of them empty; and batches without a word: nothing but zeros is written,
 * and what is added to stays. */
static void padded_batch(gmt_backend *b)
{
    static const int32_t few[48] = { 0, 5, 0, 0, 33, 1 }, none[48] = { 0 };
    for (unsigned flags = 0; flags < 8; flags += 7) {
        check(b, few, GM_LEN(few), 9, 2.0f, gmt_tol_f32(33 * 9), flags);
        check(b, none, GM_LEN(none), 9, 2.0f, gmt_tol_f32(1), flags);
        check(b, none, 0, 9, 2.0f, gmt_tol_f32(1), flags);
    }
}

/* What is not said to belong to the capacity is left alone: rows_behind looks. */
static void rows_behind_without_capacity(gmt_backend *b)
{
    problem p = make(b, lengths, GM_LEN(lengths), 9, 1.0f);
    p.capacity = 0;
    run(b, &p, overwrite, NULL);
}

static void reference_matches_differences(gmt_backend *b)
{
    static const int32_t few[] = { 4, 0, 1, 6 };
    const problem p = make(b, few, GM_LEN(few), 3, 1.0f);
    double *dx[PARTS];
    for (int i = 0; i < PARTS; i++) dx[i] = gmt_doubles(b, p.x[i].count);
    reference_grad(b, &p, 1.0, dx);
    for (int i = 0; i < PARTS; i++)
        for (size_t e = 0; e < p.x[i].count; e++) {
            const double old = p.wide[i][e], step = 1e-5;
            p.wide[i][e] = old + step;
            const double up = reference(b, &p, NULL);
            p.wide[i][e] = old - step;
            const double down = reference(b, &p, NULL);
            p.wide[i][e] = old;
            assert_true(fabs((up - down) / (2.0 * step) - dx[i][e]) < 1e-8);
        }
}

GMT_MAIN("crf", GMT(matches_reference), GMT(workspace_is_what_is_asked_for), GMT(more_sentences_than_blocks),
         GMT(most_tags), GMT(emissions_of_ten_thousand_survive), GMT(ends_of_ten_thousand_survive),
         GMT(common_shift_changes_no_gradient), GMT(matches_all_paths), GMT(same_bits_for_any_threads),
         GMT(padded_batch), GMT(rows_behind_without_capacity), GMT_F32(reference_matches_differences))
