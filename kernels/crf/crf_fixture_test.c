/* crf and crf_decode against the shared fixture `crf`. Of what it expects, alpha_log, beta_log, pair_marginals,
 * sequence_entropy and kbest_* are no kernel's output; a wrong alpha, beta or pair marginal shows in the gradients. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "crf/crf.h"
#include "crf_decode/crf_decode.h"
#include "tests/support/support.h"

enum { MOST = 64 };
static const double tolerance = 1e-5; /* the fixture's abs_tol_f32 */

typedef struct list {
    double x[MOST];
    int n;
} list;

static list read(const cJSON *object, const char *key)
{
    list l = { .n = 0 };
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL) fail_msg("crf: the fixture has no \"%s\"", key);
    l.n = gmt_json_doubles(item, l.x, MOST);
    return l;
}

static gmt_buf floats(gmt_backend *b, const list *l)
{
    gmt_buf buf = gmt_zeros(b, (size_t)l->n);
    for (int i = 0; i < l->n; i++) buf.f32[i] = (float)l->x[i];
    gmt_push(b, &buf);
    return buf;
}

static void near(double got, double want, const char *what)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s is %.9g, the fixture says %.9g", what, got, want);
}

static void all_near(const float *got, const cJSON *expected, const char *key, int n)
{
    const list want = read(expected, key);
    assert_int_equal(want.n, n);
    for (int i = 0; i < n; i++) near((double)got[i], want.x[i], key);
}

/* The sentences of a case with both kernels' outputs. */
typedef struct chains {
    gmt_buf emit, trans, start, end, tag, cu, allowed, scale;
    gmt_buf loss, log_z, alpha, demit, dtrans, dstart, dend, path, score, marginal;
    int32_t sequences, words, tags;
} chains;

static chains make(gmt_backend *b, const cJSON *in, const list *emit, const int32_t *length, int32_t sequences)
{
    const list trans = read(in, "trans"), start = read(in, "start"), end = read(in, "end");
    chains c = { .emit = floats(b, emit), .trans = floats(b, &trans), .start = floats(b, &start), .end = floats(b, &end),
                 .cu = gmt_offsets(b, length, sequences), .sequences = sequences, .tags = start.n };
    const size_t k = (size_t)c.tags;
    c.words = c.cu.i32[sequences];
    assert_int_equal(emit->n, c.words * c.tags);
    c.scale = gmt_f32(b, &(float){ 1.0f / (float)sequences }, 1);
    c.loss = gmt_bytes(b, &(double){ 0.0 }, sizeof(double), 1);
    c.log_z = gmt_poison(b, (size_t)sequences);
    c.score = gmt_poison(b, (size_t)sequences);
    c.path = gmt_poison(b, (size_t)c.words);
    c.alpha = gmt_poison(b, c.emit.count);
    c.demit = gmt_poison(b, c.emit.count);
    c.marginal = gmt_poison(b, c.emit.count);
    c.dtrans = gmt_poison(b, k * k);
    c.dstart = gmt_poison(b, k);
    c.dend = gmt_poison(b, k);
    return c;
}

static void train(gmt_backend *b, chains *c, const list *gold)
{
    c->tag = gmt_zeros(b, (size_t)gold->n);
    for (int i = 0; i < gold->n; i++) c->tag.i32[i] = (int32_t)gold->x[i];
    gmt_push(b, &c->tag);
    gmt_ok(b, b->k->crf.forward(&(gm_crf){ c->emit.dev, c->trans.dev, c->start.dev, c->end.dev, c->tag.dev, c->cu.dev,
                                           c->scale.dev, c->loss.dev, c->alpha.dev, c->log_z.dev, c->sequences, c->tags },
                                b->device));
    gmt_ok(b, b->k->crf.backward(&(gm_crf_grad){ .emit = c->emit.dev, .trans = c->trans.dev, .start = c->start.dev,
                                                 .end = c->end.dev, .alpha = c->alpha.dev, .log_z = c->log_z.dev,
                                                 .scale = c->scale.dev, .tag = c->tag.dev, .cu_words = c->cu.dev,
                                                 .demit = c->demit.dev, .dtrans = c->dtrans.dev, .dstart = c->dstart.dev,
                                                 .dend = c->dend.dev, .sequences = c->sequences, .tags = c->tags,
                                                 .scratch = gmt_poison(b, c->demit.count + 1).dev },
                                 b->device));
    gmt_fetch(b, &c->loss);
    gmt_fetch(b, &c->log_z);
    gmt_fetch(b, &c->demit);
    gmt_fetch(b, &c->dtrans);
    gmt_fetch(b, &c->dstart);
    gmt_fetch(b, &c->dend);
}

static void decode(gmt_backend *b, chains *c)
{
    gmt_ok(b, b->k->crf_decode.forward(&(gm_crf_decode){ c->emit.dev, c->trans.dev, c->start.dev, c->end.dev, c->allowed.dev,
                                                         c->cu.dev, c->path.dev, c->score.dev, c->log_z.dev, c->marginal.dev,
                                                         c->sequences, c->tags, c->words },
                                       b->device));
    gmt_fetch(b, &c->path);
    gmt_fetch(b, &c->score);
    gmt_fetch(b, &c->log_z);
    gmt_fetch(b, &c->marginal);
}

static void same_path(const chains *c, const cJSON *expected, const char *key)
{
    const list want = read(expected, key);
    assert_int_equal(want.n, c->words);
    for (int i = 0; i < want.n; i++) assert_int_equal(c->path.i32[i], (int32_t)want.x[i]);
}

static void check_unconstrained(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    const list emit = read(in, "emit"), gold = read(in, "gold"), entropy = read(expected, "token_posterior_entropy");
    chains c = make(b, in, &emit, (const int32_t[]){ 4 }, 1);
    train(b, &c, &gold);
    near((double)*c.log_z.f32, read(expected, "log_z").x[0], "log_z");
    near(*c.loss.f64, read(expected, "nll").x[0], "nll");
    near((double)*c.log_z.f32 - *c.loss.f64, read(expected, "gold_score").x[0], "gold_score");
    near(exp(-*c.loss.f64), read(expected, "gold_prob").x[0], "gold_prob");
    all_near(c.demit.f32, expected, "grad_emit", 12);
    all_near(c.dtrans.f32, expected, "grad_trans", 9);
    all_near(c.dstart.f32, expected, "grad_start", 3);
    all_near(c.dend.f32, expected, "grad_end", 3);
    decode(b, &c);
    near((double)*c.log_z.f32, read(expected, "log_z").x[0], "log_z of crf_decode");
    near((double)*c.score.f32, read(expected, "viterbi_score").x[0], "viterbi_score");
    near(exp((double)*c.score.f32 - (double)*c.log_z.f32), read(expected, "viterbi_prob").x[0], "viterbi_prob");
    all_near(c.marginal.f32, expected, "marginals", 12);
    same_path(&c, expected, "viterbi_path");
    double u[4] = { 0.0 };
    for (int i = 0; i < 12; i++) u[i / 3] -= (double)c.marginal.f32[i] * log((double)c.marginal.f32[i]);
    for (int t = 0; t < 4; t++) near(u[t], entropy.x[t], "token_posterior_entropy");
    near((u[1] + u[2]) / 2.0, read(expected, "span_uncertainty_mean_entropy_tokens_1_to_2").x[0], "span uncertainty");
}

/* The fixture pads; here sentences are packed, and the rows of the padding have to be zero in what it expects. */
static void check_batch(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    list emit = read(in, "emitA"), gold = read(in, "goldA");
    const list more = read(in, "emitB"), more_gold = read(in, "goldB"), length = read(in, "lengths"), b_grad = read(expected, "grad_emitB");
    assert_true(length.n == 2 && length.x[0] == 4.0 && length.x[1] == 2.0);
    memcpy(emit.x + emit.n, more.x, 6 * sizeof(double));
    emit.n += 6;
    memcpy(gold.x + gold.n, more_gold.x, 2 * sizeof(double));
    gold.n += 2;
    chains c = make(b, in, &emit, (const int32_t[]){ 4, 2 }, 2);
    train(b, &c, &gold);
    near(*c.loss.f64, read(expected, "mean_nll").x[0], "mean_nll");
    all_near(c.demit.f32, expected, "grad_emitA", 12);
    for (int i = 0; i < 12; i++) near(i < 6 ? (double)c.demit.f32[12 + i] : 0.0, b_grad.x[i], "grad_emitB");
    all_near(c.dtrans.f32, expected, "grad_trans", 9);
    all_near(c.dstart.f32, expected, "grad_start", 3);
    all_near(c.dend.f32, expected, "grad_end", 3);
}

static void check_constrained(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    const list emit = read(in, "emit"), trans = read(in, "forbidden_trans"), start = read(in, "forbidden_start");
    assert_true(read(in, "forbidden_value").x[0] == -1e4);
    chains c = make(b, in, &emit, (const int32_t[]){ 4 }, 1);
    decode(b, &c);
    same_path(&c, expected, "unconstrained_path");
    near((double)*c.score.f32, read(expected, "unconstrained_score").x[0], "unconstrained_score");
    uint8_t allowed[16];
    memset(allowed, 1, sizeof allowed);
    for (int i = 0; i < trans.n; i += 2) allowed[(int)trans.x[i] * 4 + (int)trans.x[i + 1]] = 0;
    for (int i = 0; i < start.n; i++) allowed[3 * 4 + (int)start.x[i]] = 0;
    c.allowed = gmt_bytes(b, allowed, sizeof allowed, sizeof allowed);
    decode(b, &c);
    same_path(&c, expected, "constrained_path");
    near((double)*c.score.f32, read(expected, "constrained_score").x[0], "constrained_score");
}

static void check_ties(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    const list emit = read(in, "emit");
    chains c = make(b, in, &emit, (const int32_t[]){ 3 }, 1);
    decode(b, &c);
    same_path(&c, expected, "viterbi_path");
    near((double)*c.log_z.f32, read(expected, "log_z").x[0], "log_z");
}

/* A case that nobody names fails, so that a new one is never passed over. */
static void every_case_is_known(gmt_backend *b)
{
    static const struct {
        const char *name;
        void (*check)(gmt_backend *b, const cJSON *in, const cJSON *expected);
    } known[] = {
        { "unconstrained 4x3", check_unconstrained },
        { "batch of two, second has length 2 (padding emissions must not matter), mean reduction", check_batch },
        { "BIO-constrained decode (tags 0=O 1=B 2=I; O->I and start->I forbidden with -1e4)", check_constrained },
        { "tie breaking", check_ties },
    };
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(gmt_fixture("crf"), "cases"))
    {
        const char *name = cJSON_GetObjectItemCaseSensitive(item, "case")->valuestring;
        size_t i = 0;
        while (i < GM_LEN(known) && strcmp(name, known[i].name) != 0) i++;
        if (i == GM_LEN(known)) fail_msg("crf: nobody tests the case \"%s\"", name);
        known[i].check(b, cJSON_GetObjectItemCaseSensitive(item, "inputs"), cJSON_GetObjectItemCaseSensitive(item, "expected"));
    }
}

GMT_MAIN("crf_fixture", GMT_F32(every_case_is_known))
