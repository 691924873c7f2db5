/* dropout_entropy against the shared fixtures `mc_dropout` (samples given as logits or as masks), `unco` (as probabilities or
 * logits) and `philox` (samples from a seed). */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "dropout_entropy/dropout_entropy.h"
#include "tests/support/support.h"

enum { MOST = 96 };
static const double tolerance = 1e-5; /* the fixtures' abs_tol_f32 */

static const cJSON *case_of(const char *fixture, const char *name)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(gmt_fixture(fixture), "cases"))
        if (strcmp(cJSON_GetObjectItemCaseSensitive(c, "case")->valuestring, name) == 0) return c;
    fail_msg("%s has no case \"%s\"", fixture, name);
    return NULL;
}

typedef struct list {
    double x[MOST];
    int n;
} list;

static list read(const cJSON *c, const char *part, const char *key)
{
    list l = { .n = 0 };
    l.n = gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(c, part), key), l.x, MOST);
    return l;
}

static gmt_buf acts(gmt_backend *b, list l)
{
    float x[MOST];
    for (int i = 0; i < l.n; i++) x[i] = (float)l.x[i];
    return gmt_act_f32(b, x, (size_t)l.n);
}

static gmt_buf floats(gmt_backend *b, list l)
{
    float x[MOST];
    for (int i = 0; i < l.n; i++) x[i] = (float)l.x[i];
    return gmt_f32(b, x, (size_t)l.n);
}

/* What storing the fixture's numbers as bf16 may change beside the tolerance. */
static double allowed(const gmt_backend *b) { return tolerance + 4.0 * gmt_rounding(b); }

/* Entity e is the one word of sentence e, whose key is e: position 0. */
typedef struct answer {
    double mean[MOST], entropy[MOST], expected[MOST]; /* probabilities; entropy of the mean; mean of the entropies */
} answer;

static answer run(gmt_backend *b, gm_dropout_entropy a, int32_t entities)
{
    const double none[MOST] = { 0.0 };
    gm_entity_span span[MOST];
    gm_token token[MOST];
    int32_t cu[MOST + 1] = { 0 };
    uint32_t key[MOST];
    for (int32_t e = 0; e < entities; e++) {
        span[e] = (gm_entity_span){ e, e };
        token[e] = (gm_token){ e, 0 };
        cu[e + 1] = e + 1;
        key[e] = (uint32_t)e;
    }
    gmt_buf spans = gmt_bytes(b, span, (size_t)entities * sizeof *span, (size_t)entities), tokens = gmt_bytes(b, token, (size_t)entities * sizeof *token, (size_t)entities);
    gmt_buf words = gmt_i32(b, cu, (size_t)entities + 1), count = gmt_i32(b, &entities, 1), keys = gmt_bytes(b, key, (size_t)entities * sizeof *key, (size_t)entities);
    gmt_buf prob = gmt_bytes(b, none, (size_t)(entities * a.classes) * sizeof(double), (size_t)(entities * a.classes));
    gmt_buf entropy = gmt_bytes(b, none, 2 * (size_t)entities * sizeof(double), 2 * (size_t)entities);
    a.span = spans.dev;
    a.token = tokens.dev;
    a.cu_words = words.dev;
    a.n_rows = count.dev;
    a.drop.key = keys.dev;
    a.prob = prob.dev;
    a.entropy = entropy.dev;
    a.capacity = entities;
    a.scale = 1.0f;
    gmt_ok(b, b->k->dropout_entropy.forward(&a, b->device));
    gmt_fetch(b, &prob);
    gmt_fetch(b, &entropy);
    answer r = { { 0.0 }, { 0.0 }, { 0.0 } };
    for (int32_t e = 0; e < entities; e++) {
        for (int32_t c = e * a.classes; c < (e + 1) * a.classes; c++) {
            r.mean[c] = prob.f64[c] / a.samples;
            r.entropy[e] -= r.mean[c] * log(r.mean[c]);
        }
        r.expected[e] = (entropy.f64[2 * e] + entropy.f64[2 * e + 1]) / a.samples;
    }
    return r;
}

static void compare(const gmt_backend *b, const double *got, list want, const char *what)
{
    for (int i = 0; i < want.n; i++)
        if (!(fabs(got[i] - want.x[i]) <= allowed(b))) fail_msg("%s[%d] is %.9g, the fixture says %.9g", what, i, got[i], want.x[i]);
}

/* Logits of every sample: x is one row of logits, w the unit matrix. */
static void samples_given_as_logits(gmt_backend *b)
{
    enum { SAMPLES = 4, STEPS = 3, CLASSES = 5 };
    const cJSON *c = case_of("mc_dropout", "T=4 samples, 3 steps, 5 classes");
    list unit = { .n = CLASSES * CLASSES };
    for (int i = 0; i < CLASSES; i++) unit.x[i * CLASSES + i] = 1.0;
    const gmt_buf x = acts(b, read(c, "inputs", "logit")), w = acts(b, unit);
    const answer r = run(b, (gm_dropout_entropy){ .x = x.dev, .w = w.dev, .samples = SAMPLES, .step = STEPS, .classes = CLASSES, .width = CLASSES }, STEPS);
    double information[STEPS], norm[STEPS], sum = 0.0;
    list span = read(c, "inputs", "span_steps");
    for (int e = 0; e < STEPS; e++) {
        information[e] = r.entropy[e] - r.expected[e];
        norm[e] = r.entropy[e] / log(CLASSES);
    }
    compare(b, r.mean, read(c, "expected", "mean_prob"), "mean_prob");
    compare(b, r.entropy, read(c, "expected", "entropy_of_mean"), "entropy_of_mean");
    compare(b, r.expected, read(c, "expected", "mean_of_entropies"), "mean_of_entropies");
    compare(b, information, read(c, "expected", "mutual_information"), "mutual_information");
    compare(b, norm, read(c, "expected", "normalised_entropy"), "normalised_entropy");
    for (int i = 0; i < span.n; i++) sum += r.entropy[(int)span.x[i]];
    const double mean = sum / span.n;
    compare(b, &mean, read(c, "expected", "span_uncertainty_mean"), "span_uncertainty_mean");
}

/* Masks given: three samples of a hidden vector that are dropped already. */
static void samples_given_as_masks(gmt_backend *b)
{
    enum { SAMPLES = 3, WIDTH = 4, CLASSES = 3 };
    const cJSON *c = case_of("mc_dropout", "inverted dropout with given masks");
    const list hidden = read(c, "inputs", "hidden"), mask = read(c, "inputs", "masks"), p = read(c, "inputs", "drop_prob");
    list dropped = { .n = SAMPLES * WIDTH };
    for (int i = 0; i < dropped.n; i++) dropped.x[i] = hidden.x[i % WIDTH] * mask.x[i] / (1.0 - p.x[0]);
    const gmt_buf x = acts(b, dropped), w = acts(b, read(c, "inputs", "W"));
    const answer r = run(b, (gm_dropout_entropy){ .x = x.dev, .w = w.dev, .samples = SAMPLES, .step = 1, .classes = CLASSES, .width = WIDTH }, 1);
    compare(b, r.mean, read(c, "expected", "mean_prob"), "mean_prob");
    compare(b, r.entropy, read(c, "expected", "entropy"), "entropy");
}

/* UnCo's cases: samples of probabilities (their logarithms are logits), and logits of six tokens and of the regions. */
static list read_unco(const char *part, const char *key)
{
    list l = { .n = 0 };
    l.n = gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(gmt_fixture("unco"), part), key), l.x, MOST);
    return l;
}

static answer ask_unco(gmt_backend *b, list logits, int32_t entities, int32_t classes)
{
    enum { SAMPLES = 3 };
    list unit = { .n = classes * classes };
    for (int32_t i = 0; i < classes; i++) unit.x[i * classes + i] = 1.0;
    const gmt_buf x = acts(b, logits), w = acts(b, unit);
    return run(b, (gm_dropout_entropy){ .x = x.dev, .w = w.dev, .samples = SAMPLES, .step = entities, .classes = classes, .width = classes }, entities);
}

static void samples_of_unco(gmt_backend *b)
{
    enum { TOKENS = 6, CLASSES = 5, TYPE_AT = 4 };
    static const char one[] = "mc_predictive_entropy", all[] = "entity_uncertainty";
    list p = read_unco(one, "samples");
    for (int i = 0; i < p.n; i++) p.x[i] = log(p.x[i]);
    answer r = ask_unco(b, p, 1, 4);
    const double norm = r.entropy[0] / log(4.0), information = r.entropy[0] - r.expected[0], rest = 1.0 - r.mean[0];
    compare(b, r.mean, read_unco(one, "mean"), "mean");
    compare(b, r.entropy, read_unco(one, "predictive_entropy_nats"), "predictive_entropy_nats");
    compare(b, &norm, read_unco(one, "normalised_by_log_v"), "normalised_by_log_v");
    compare(b, r.expected, read_unco(one, "expected_entropy"), "expected_entropy");
    compare(b, &information, read_unco(one, "mutual_information"), "mutual_information");
    compare(b, &rest, read_unco(one, "one_minus_max_of_mean"), "one_minus_max_of_mean");
    r = ask_unco(b, read_unco(all, "token_logits"), TOKENS, CLASSES);
    const double span = (r.entropy[0] + r.entropy[1] + r.entropy[2]) / 3.0, type = r.entropy[TYPE_AT];
    compare(b, r.entropy, read_unco(all, "token_entropy"), "token_entropy");
    compare(b, &span, read_unco(all, "u_span_mean"), "u_span_mean");
    compare(b, &type, read_unco(all, "u_type"), "u_type");
    r = ask_unco(b, read_unco(all, "region_logits"), 1, CLASSES);
    compare(b, r.mean, read_unco(all, "region_mean"), "region_mean");
    compare(b, r.entropy, read_unco(all, "u_region"), "u_region");
}

static void samples_from_a_seed(gmt_backend *b)
{
    enum { SAMPLES = 3, ROWS = 2, WIDTH = 6, CLASSES = 4 };
    const cJSON *c = case_of("philox", "MC dropout from a seed: 3 samples, 2 rows, 6 units, 4 classes");
    const gmt_buf x = acts(b, read(c, "inputs", "hidden")), w = acts(b, read(c, "inputs", "W")), bias = floats(b, read(c, "inputs", "b"));
    b->step.seed = (uint64_t)read(c, "inputs", "seed").x[0];
    gmt_push_step(b);
    const gm_drop drop = { .p = (float)read(c, "inputs", "drop_prob").x[0], .site = (uint32_t)read(c, "inputs", "purpose").x[0] };
    const answer r = run(b, (gm_dropout_entropy){ .x = x.dev, .w = w.dev, .bias = bias.dev, .drop = drop, .samples = SAMPLES, .classes = CLASSES, .width = WIDTH }, ROWS);
    compare(b, r.mean, read(c, "expected", "mean_prob"), "mean_prob");
    compare(b, r.entropy, read(c, "expected", "entropy"), "entropy");
    compare(b, r.expected, read(c, "expected", "mean_of_entropies"), "mean_of_entropies");
}

GMT_MAIN("dropout_entropy fixtures", GMT(samples_given_as_logits), GMT(samples_given_as_masks), GMT(samples_of_unco), GMT(samples_from_a_seed))
