/* crf_decode against all paths of small chains, ties and forbidden moves included, and against plain recursions in
 * double for longer ones. */
#include "tests/support/kernel_test.h"

#include "crf/crf_reference.h"
#include "crf_decode/crf_decode.h"

enum { EMIT, TRANS, START, END, PARTS };
static const double penalty = -1e4;
static const int32_t lengths[] = { 0, 1, 7, 8, 9, 33, 0 };

typedef struct problem {
    gmt_buf x[PARTS], cu, allowed;
    double *wide[PARTS];
    int32_t sequences, words, tags;
} problem;

/* steps > 0: all scores are whole multiples of 1 / steps, so that paths tie. */
static problem make(gmt_backend *b, const int32_t *length, int32_t sequences, int32_t tags, float sigma, float steps)
{
    problem p = { .cu = gmt_offsets(b, length, sequences), .sequences = sequences, .tags = tags };
    p.words = p.cu.i32[sequences];
    const size_t k = (size_t)tags, size[PARTS] = { (size_t)p.words * k, k * k, k, k };
    for (int i = 0; i < PARTS; i++) {
        p.x[i] = i == EMIT ? gmt_act(b, size[i], sigma) : gmt_normal(b, size[i], 1.0f);
        p.wide[i] = gmt_doubles(b, size[i]);
        for (size_t e = 0; steps > 0.0f && e < size[i]; e++) p.x[i].f32[e] = rintf(p.x[i].f32[e] * steps) / steps;
        gmt_push(b, &p.x[i]);
        for (size_t e = 0; e < size[i]; e++) p.wide[i][e] = (double)p.x[i].f32[e];
    }
    return p;
}

/* Allows a move when its number modulo `every` is not 0. */
static void forbid(gmt_backend *b, problem *p, uint32_t every)
{
    const size_t n = (size_t)((p->tags + 1) * (p->tags + 1));
    p->allowed = gmt_zeros(b, n);
    p->allowed.bytes = n;
    for (size_t i = 0; i < n; i++) p->allowed.u8[i] = every > 1 && (i * 7 + 3) % every != 0;
    p->allowed = gmt_bytes(b, p->allowed.host, n, n);
}

static chain sentence(const problem *p, int32_t s)
{
    return (chain){ p->wide[EMIT] + p->cu.i32[s] * p->tags, p->wide[TRANS], p->wide[START], p->wide[END],
                    p->cu.i32[s + 1] - p->cu.i32[s], p->tags };
}

/* Score of a path with the penalties of the moves it makes. */
static double path_score(const problem *p, const chain *c, const int32_t *path)
{
    double score = chain_score(c, path);
    if (p->allowed.host == NULL) return score;
    for (int32_t t = 0; t <= c->words; t++) {
        const int32_t from = t > 0 ? path[t - 1] : p->tags, to = t < c->words ? path[t] : p->tags;
        if (!p->allowed.u8[from * (p->tags + 1) + to]) score += penalty;
    }
    return score;
}

typedef struct answer {
    gmt_buf path, score, log_z, marginal;
} answer;

static answer run(gmt_backend *b, const problem *p, bool with_marginal)
{
    answer r = { gmt_poison(b, (size_t)p->words), gmt_poison(b, (size_t)p->sequences), gmt_poison(b, (size_t)p->sequences),
                 gmt_poison(b, p->x[EMIT].count) };
    gmt_ok(b, b->k->crf_decode.forward(&(gm_crf_decode){ p->x[EMIT].dev, p->x[TRANS].dev, p->x[START].dev, p->x[END].dev,
                                                         p->allowed.dev, p->cu.dev, r.path.dev, r.score.dev, r.log_z.dev,
                                                         with_marginal ? r.marginal.dev : NULL, p->sequences, p->tags, p->words },
                                       b->device));
    gmt_fetch(b, &r.path);
    gmt_fetch(b, &r.score);
    gmt_fetch(b, &r.log_z);
    gmt_fetch(b, &r.marginal);
    return r;
}

/* Of two equally good paths the one with the lower tag at the last word where they differ. */
static bool comes_first(const int32_t *a, const int32_t *b, int32_t words)
{
    for (int32_t t = words - 1; t >= 0; t--)
        if (a[t] != b[t]) return a[t] < b[t];
    return false;
}

/* All paths of 5 words and 4 tags. */
static void check_all_paths(gmt_backend *b, float steps, uint32_t every)
{
    enum { WORDS = 5, TAGS = 4 };
    static const int32_t length[] = { WORDS };
    problem p = make(b, length, 1, TAGS, 1.5f, steps);
    if (every > 0) forbid(b, &p, every);
    const chain c = sentence(&p, 0);
    int32_t path[WORDS] = { 0 }, best[WORDS] = { 0 };
    double top = -INFINITY, z = 0.0, mass[WORDS * TAGS] = { 0.0 };
    do {
        const double score = path_score(&p, &c, path), share = exp(chain_score(&c, path));
        /* 1e-9 tells true ties, which rounding in another order may part, from scores that differ */
        if (score > top + 1e-9 || (score > top - 1e-9 && comes_first(path, best, WORDS))) memcpy(best, path, sizeof best);
        top = fmax(top, score);
        z += share;
        for (int t = 0; t < WORDS; t++) mass[t * TAGS + path[t]] += share;
    } while (chain_next(&c, path));
    for (int i = 0; i < WORDS * TAGS; i++) mass[i] /= z;
    const answer r = run(b, &p, true);
    const double log_z = log(z), tol = gmt_tol_f32(WORDS * TAGS);
    assert_memory_equal(r.path.i32, best, sizeof best);
    gmt_close(r.score.f32, &top, 1, gmt_tol_f32(1), "score");
    gmt_close(r.log_z.f32, &log_z, 1, tol, "log_z");
    gmt_close(r.marginal.f32, mass, WORDS * TAGS, tol, "marginal");
}

static void matches_all_paths(gmt_backend *b)
{
    for (int draw = 0; draw < 4; draw++) check_all_paths(b, 0.0f, 0);
}

static void ties_take_the_lowest_tag(gmt_backend *b)
{
    for (int draw = 0; draw < 16; draw++) check_all_paths(b, 1.0f, 0);
    check_all_paths(b, 1e-9f, 0); /* every score is 0 */
}

static void forbidden_moves_are_avoided(gmt_backend *b)
{
    for (uint32_t every = 2; every < 8; every++) {
        check_all_paths(b, 0.0f, every);
        check_all_paths(b, 1.0f, every);
    }
}

/* Nothing is allowed: the best path is still found, with the penalties of all its moves. */
static void all_moves_forbidden(gmt_backend *b) { check_all_paths(b, 0.0f, 1); }

/* The best score by the textbook's recursion, without paths. */
static double best_score(const problem *p, const chain *c)
{
    double row[CHAIN_TAGS], next[CHAIN_TAGS], top = -INFINITY;
    const int32_t side = p->tags + 1;
    const uint8_t *allowed = p->allowed.host != NULL ? p->allowed.u8 : NULL;
    for (int32_t j = 0; j < c->tags; j++)
        row[j] = c->start[j] + c->emit[j] + (allowed && !allowed[c->tags * side + j] ? penalty : 0.0);
    for (int32_t t = 1; t < c->words; t++) {
        for (int32_t j = 0; j < c->tags; j++) {
            next[j] = -INFINITY;
            for (int32_t i = 0; i < c->tags; i++)
                next[j] = fmax(next[j], row[i] + c->trans[i * c->tags + j] + c->emit[t * c->tags + j] +
                                            (allowed && !allowed[i * side + j] ? penalty : 0.0));
        }
        memcpy(row, next, sizeof row);
    }
    for (int32_t j = 0; j < c->tags; j++)
        top = fmax(top, row[j] + c->end[j] + (allowed && !allowed[j * side + c->tags] ? penalty : 0.0));
    return top;
}

static void check_problem(gmt_backend *b, problem p, bool with_marginal, double tol)
{
    const int32_t tags = p.tags;
    const answer r = run(b, &p, with_marginal);
    double *alpha = gmt_doubles(b, p.x[EMIT].count), *beta = gmt_doubles(b, p.x[EMIT].count);
    double *marginal = gmt_doubles(b, p.x[EMIT].count);
    for (int32_t s = 0; s < p.sequences; s++) {
        const chain c = sentence(&p, s);
        if (c.words == 0) {
            assert_true(r.score.f32[s] == 0.0f && r.log_z.f32[s] == 0.0f);
            continue;
        }
        const double top = best_score(&p, &c), log_z = chain_forward_backward(&c, alpha, beta);
        for (int32_t t = 0; t < c.words; t++) {
            const int32_t tag = r.path.i32[p.cu.i32[s] + t];
            assert_true(tag >= 0 && tag < tags);
        }
        assert_true(fabs(path_score(&p, &c, r.path.i32 + p.cu.i32[s]) - top) <= 1e-9 * (1.0 + fabs(top)));
        gmt_close(&r.score.f32[s], &top, 1, gmt_tol_f32(1), "score");
        gmt_close(&r.log_z.f32[s], &log_z, 1, tol, "log_z");
        for (int32_t i = 0; i < c.words * tags; i++) marginal[p.cu.i32[s] * tags + i] = exp(alpha[i] + beta[i] - log_z);
    }
    if (with_marginal) gmt_close(r.marginal.f32, marginal, p.x[EMIT].count, tol, "marginal");
}

static void check_sentences(gmt_backend *b, int32_t tags, float sigma, uint32_t every, bool with_marginal, double tol)
{
    problem p = make(b, lengths, GM_LEN(lengths), tags, sigma, 0.0f);
    if (every > 0) forbid(b, &p, every);
    check_problem(b, p, with_marginal, tol);
}

static void sentences_of_all_lengths(gmt_backend *b)
{
    static const int32_t tags[] = { 1, 2, 9, 17, 33 };
    for (size_t k = 0; k < GM_LEN(tags); k++) {
        const double tol = gmt_tol_f32((size_t)(33 * tags[k]));
        check_sentences(b, tags[k], 2.0f, 0, true, tol);
        check_sentences(b, tags[k], 2.0f, 0, false, tol);
        check_sentences(b, tags[k], 2.0f, 5, true, tol);
    }
}

/* As in crf_test: float holds scores of 1e4 to 1e-3. */
static void emissions_of_ten_thousand_survive(gmt_backend *b)
{
    check_sentences(b, 9, 1e4f, 0, true, 33.0 * 1e4 * 0x1p-24);
    check_sentences(b, 9, 1e4f, 5, true, 33.0 * 1e4 * 0x1p-24);
}

/* A batch of a fixed number of sentences, most of them empty; and batches without a word. */
static void padded_batch(gmt_backend *b)
{
    static const int32_t few[48] = { 0, 5, 0, 0, 33, 1 }, none[48] = { 0 };
    check_problem(b, make(b, few, GM_LEN(few), 9, 2.0f, 0.0f), true, gmt_tol_f32(33 * 9));
    check_problem(b, make(b, none, GM_LEN(none), 9, 2.0f, 0.0f), true, gmt_tol_f32(1));
    check_problem(b, make(b, none, 0, 9, 2.0f, 0.0f), true, gmt_tol_f32(1));
}

/* The cpu's limit is its stack, by sentence; a device's is the workspace, by all words of the batch's capacity: either
 * must be refused before anything is read, here NULL. */
static void too_long_a_sentence_is_refused(gmt_backend *b)
{
    const bool is_cpu = b->target->isa != NULL;
    gmt_buf cu = gmt_i32(b, (const int32_t[]){ 0, 1009 }, 2);
    const gm_crf_decode long_one = { .cu_words = cu.dev, .sequences = 1, .tags = 260, .words = is_cpu ? 1009 : INT32_MAX };
    assert_int_equal(b->k->crf_decode.forward(&long_one, b->device), is_cpu ? GM_ERR_SHAPE : GM_ERR_NOMEM);
    assert_non_null(strstr(b->device->err->text, is_cpu ? "sentence 0 has 1009 words; with 260 tags at most 1008"
                                                        : "crf_decode needs 1116691496440 bytes of workspace"));
}

static void workspace_is_what_is_asked_for(gmt_backend *b)
{
    gmt_tight_workspace(b);
    check_sentences(b, 9, 2.0f, 0, true, gmt_tol_f32(33 * 9));
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    problem p = make(b, lengths, GM_LEN(lengths), 21, 2.0f, 0.0f);
    answer first = { 0 };
    for (b->device->threads = 1; b->device->threads <= 3; b->device->threads++) {
        const answer r = run(b, &p, true);
        if (b->device->threads == 1) first = r;
        assert_memory_equal(r.path.i32, first.path.i32, r.path.bytes);
        assert_memory_equal(r.score.f32, first.score.f32, r.score.bytes);
        assert_memory_equal(r.log_z.f32, first.log_z.f32, r.log_z.bytes);
        assert_memory_equal(r.marginal.f32, first.marginal.f32, r.marginal.bytes);
    }
}

GMT_MAIN("crf_decode", GMT(matches_all_paths), GMT(ties_take_the_lowest_tag), GMT(forbidden_moves_are_avoided),
         GMT(all_moves_forbidden), GMT(sentences_of_all_lengths), GMT(emissions_of_ten_thousand_survive),
         GMT(padded_batch), GMT(workspace_is_what_is_asked_for), GMT(too_long_a_sentence_is_refused), GMT(same_bits_for_any_threads))
