/* Samples of dropout against plain loops of whole passes, one sample after the other, and what must hold whatever is
 * sampled: without dropout nothing is gained, and neither company, order, budget nor threads leave a trace. */
#include "tests/model/predict_support.h"

#include "model/uncertainty.h"

enum { FEW = 5, T = 6 }; /* sentences and samples of the plain loops */

static const int32_t layers[] = { 0, 1, 2, GM_SAMPLE_ALL }; /* the tiny encoder has two */

/* Sums of a plain loop for one entity. */
typedef struct plain { double prob[GM_MAX_TYPES + 1], span, type; } plain;

static double surprise(double p) { return p > 0.0 ? -p * log(p) : 0.0; }

static double entropy(const double *share, int32_t n, double whole)
{
    double u = 0.0;
    for (int32_t i = 0; i < n; i++) u += surprise(share[i] / whole);
    return u;
}

typedef struct bed {
    gm_model model;
    machine m;
    gm_batch batch, drawn;
    gm_sample sample[FEW];
    const gm_sample *picked[FEW];
    gm_findings found;
} bed;

static void open_bed(bed *b, gm_head_kind head)
{
    memset(b, 0, sizeof *b);
    b->model = make_model(head, false);
    machine_open(&b->m);
    for (int i = 0; i < FEW; i++) {
        assert_ok(gm_sample_make(&b->sample[i], &records.items[i], b->model.tokenizer, &b->model.labels, MAX_LEN, false, &err));
        b->picked[i] = &b->sample[i];
    }
    b->found = (gm_findings) { .batch = &b->batch, .samples = b->picked, .drawn = &b->drawn };
}

static void close_bed(bed *b)
{
    for (int i = 0; i < FEW; i++) gm_sample_free(&b->sample[i]);
    gm_batch_free(&b->batch);
    gm_batch_free(&b->drawn);
    machine_close(&b->m);
    gm_model_destroy(&b->model);
}

/* What heads see of sample t, the dropout of the head left on. */
static gm_tensor *states_of(bed *b, int32_t depth, float p, uint32_t t)
{
    gm_tensor *states, *before = NULL;
    const int32_t first = 2 - depth;
    gm_tape *tape = &b->m.tape;
    assert_ok(gm_batch_fill(&b->batch, b->picked, FEW, (gm_batch_options) { .scheme = b->model.options.scheme, .draw = t }, &err));
    gm_tape_begin(tape, NULL, depth == GM_SAMPLE_ALL ? p : 0.0f, NULL);
    if (depth > 0) {
        assert_ok(gm_encoder_words_keeping(&b->model.encoder, tape, &b->batch, first, &before, &states));
        tape->dropout = p;
    }
    assert_ok(gm_model_words(&b->model, tape, &b->batch, first, before, &states));
    tape->dropout = p;
    return states;
}

static void compare(double got, double want, const char *what, int32_t i)
{
    if (!(fabs(got - want) <= 2e-5)) fail_msg("%s of entity %d is %.9g, a plain loop says %.9g", what, i, got, want);
}

static void find_and_sample(bed *b, int32_t depth, float p, int32_t tokens)
{
    const gm_sampling o = { .samples = T, .layers = depth, .p = p, .tokens = tokens };
    assert_ok(gm_batch_fill(&b->batch, b->picked, FEW, (gm_batch_options) { .scheme = b->model.options.scheme }, &err));
    gm_tape_begin(&b->m.tape, NULL, 0.0f, NULL);
    assert_ok(gm_sampling_layer(&o, &b->model, &b->found.trace.layer, &err));
    assert_ok(gm_model_find_traced(&b->model, &b->m.tape, &b->batch, &b->found.trace, &b->found.found, &b->found.first));
    assert_ok(gm_model_sample(&b->model, &o, &b->m.tape, &b->found));
}

/* Entities of all sentences, which outlive the tape's next pass. */
typedef struct kept { gm_found e[FEW * MAX_LEN]; int32_t sentence[FEW * MAX_LEN], count; } kept;

static kept keep(const bed *b)
{
    kept k = { .count = b->found.first[FEW] };
    memcpy(k.e, b->found.found, (size_t)k.count * sizeof *k.e);
    for (int32_t s = 0; s < FEW; s++)
        for (int32_t i = b->found.first[s]; i < b->found.first[s + 1]; i++) k.sentence[i] = s;
    return k;
}

static void spans_are_a_plain_loop(void **state)
{
    enum { CLASSES = 5 };
    const float p = 0.3f;
    (void)state;
    for (size_t d = 0; d < GM_LEN(layers); d++) {
        bed b;
        plain sum[FEW * MAX_LEN] = { 0 };
        open_bed(&b, GM_HEAD_SPAN);
        find_and_sample(&b, layers[d], p, 100);
        const kept k = keep(&b);
        assert_true(k.count > FEW);
        for (uint32_t t = 0; t < T; t++) {
            float *logits;
            gm_tensor *projected;
            assert_ok(gm_span_body_project(&b.model.span.body, &b.m.tape, states_of(&b, layers[d], p, t), &projected));
            assert_ok(gm_span_head_forward(&b.model.span, &b.m.tape, &b.batch, projected, false, &logits));
            for (int32_t i = 0; i < k.count; i++) {
                const gm_found *e = &k.e[i];
                const float *z = logits + ((b.batch.word_cu[k.sentence[i]] + e->start) * GM_SPAN_WIDTHS + e->end - e->start) * CLASSES;
                double x[CLASSES], whole = 0.0;
                for (int c = 0; c < CLASSES; c++) whole += x[c] = exp((double)z[c]);
                const double none = x[0] / whole, entity = 1.0 - none;
                for (int c = 0; c < CLASSES; c++) sum[i].prob[c] += x[c] / whole / T;
                sum[i].span += (surprise(none) + surprise(entity)) / T;
                sum[i].type += entity * entropy(x + 1, CLASSES - 1, whole - x[0]) / T;
            }
        }
        for (int32_t i = 0; i < k.count; i++) {
            const gm_uncertainty *u = &k.e[i].u;
            const double none = sum[i].prob[0], type = entropy(sum[i].prob + 1, CLASSES - 1, 1.0 - none), span = surprise(none) + surprise(1.0 - none);
            compare(u->span, span, "span", i);
            compare(u->span_norm, span / log(2.0), "span_norm", i);
            compare(u->span_expected, sum[i].span, "span_expected", i);
            compare(u->type, type, "type", i);
            compare(u->type_norm, type / log(CLASSES - 1.0), "type_norm", i);
            compare(u->type_expected, sum[i].type / (1.0 - none), "type_expected", i);
            assert_true(isnan(u->region));
            assert_true(u->span_expected <= u->span + 1e-6 && u->type_expected <= u->type + 1e-6);
        }
        close_bed(&b);
    }
}

static void tags_are_a_plain_loop(void **state)
{
    enum { TAGS = 17, TYPES = 4, OF_TYPE = 4 };
    const float p = 0.3f;
    (void)state;
    for (size_t d = 0; d < GM_LEN(layers); d++) {
        bed b;
        static double mean[FEW * MAX_LEN][TAGS], of_word[FEW * MAX_LEN], of_type[FEW * MAX_LEN];
        const int32_t draws = layers[d] == 0 ? 1 : T; /* the posterior without dropout stands for samples of the head */
        memset(mean, 0, sizeof mean);
        memset(of_word, 0, sizeof of_word);
        memset(of_type, 0, sizeof of_type);
        open_bed(&b, GM_HEAD_CRF);
        find_and_sample(&b, layers[d], p, 100);
        const kept k = keep(&b);
        assert_true(k.count > FEW);
        for (int32_t t = 0; t < draws; t++) {
            int32_t *path;
            float *marginal;
            gm_tensor *states = states_of(&b, layers[d], layers[d] == 0 ? 0.0f : p, (uint32_t)t);
            assert_int_equal(b.model.crf.tags, TAGS);
            assert_ok(gm_crf_head_paths(&b.model.crf, &b.m.tape, &b.batch, states, &path, &marginal));
            for (int32_t w = 0; w < b.batch.words.rows; w++)
                for (int32_t c = 0; c < TAGS; c++) {
                    mean[w][c] += (double)marginal[w * TAGS + c] / draws;
                    of_word[w] += surprise((double)marginal[w * TAGS + c]) / draws;
                }
            for (int32_t i = 0; i < k.count; i++) {
                double mass[TYPES] = { 0.0 }, whole = 0.0;
                for (int32_t w = k.e[i].start; w <= k.e[i].end; w++)
                    for (int32_t c = 1; c < TAGS; c++) mass[(c - 1) / OF_TYPE] += (double)marginal[(b.batch.word_cu[k.sentence[i]] + w) * TAGS + c];
                for (int32_t y = 0; y < TYPES; y++) whole += mass[y];
                of_type[i] += whole * entropy(mass, TYPES, whole) / draws;
            }
        }
        for (int32_t i = 0; i < k.count; i++) {
            const gm_found *e = &k.e[i];
            const int32_t at = b.batch.word_cu[k.sentence[i]], words = e->end - e->start + 1;
            double span = 0.0, expected = 0.0, mass[TYPES] = { 0.0 }, whole = 0.0;
            for (int32_t w = at + e->start; w <= at + e->end; w++) {
                span += entropy(mean[w], TAGS, 1.0) / words;
                expected += of_word[w] / words;
                for (int32_t c = 1; c < TAGS; c++) mass[(c - 1) / OF_TYPE] += mean[w][c];
            }
            for (int32_t y = 0; y < TYPES; y++) whole += mass[y];
            compare(e->u.span, span, "span", i);
            compare(e->u.span_norm, span / log(TAGS), "span_norm", i);
            compare(e->u.span_expected, expected, "span_expected", i);
            compare(e->u.type, entropy(mass, TYPES, whole), "type", i);
            compare(e->u.type_expected, of_type[i] / whole, "type_expected", i);
        }
        close_bed(&b);
    }
}

static void no_dropout_gains_nothing(void **state)
{
    (void)state;
    for (int head = 0; head < 2; head++) {
        bed b;
        kept first = { .count = 0 };
        open_bed(&b, head == 0 ? GM_HEAD_SPAN : GM_HEAD_CRF);
        for (size_t d = 0; d < GM_LEN(layers); d++) {
            find_and_sample(&b, layers[d], 0.0f, 64);
            const kept k = keep(&b);
            if (d == 0) first = k;
            assert_int_equal(k.count, first.count);
            for (int32_t i = 0; i < k.count; i++) {
                assert_true(apart(&k.e[i].u, &first.e[i].u) < 2e-5);
                assert_true(fabs(k.e[i].u.span - k.e[i].u.span_expected) < 1e-5 && fabs(k.e[i].u.type - k.e[i].u.type_expected) < 1e-5);
            }
        }
        close_bed(&b);
    }
}

static void whatever_stands_beside(gm_head_kind head, bool is_nested, int32_t depth)
{
    gm_model m = make_model(head, is_nested);
    answer want, got;
    int32_t mixed[SAMPLES];
    for (int32_t i = 0; i < SAMPLES; i++) mixed[i] = i * 29 % SAMPLES;
    sampling = (gm_sampling) { .samples = 3, .layers = depth, .p = 0.2f };
    predict_on("cpu", &m, &records, NULL, 200, 1, false, &want);
    for (int32_t i = 0; i < SAMPLES; i++)
        for (int32_t k = 0; k < want.count[i]; k++) assert_true(want.entities[i][k].uncertainty.type >= 0.0);
    predict_on("cpu", &m, &records, mixed, 333, 1, false, &got);
    double worst = same(&want, &got, 1e-5);
    predict_on("cpu", &m, &records, NULL, 1, 1, false, &got); /* sentence by sentence, sample by sample */
    worst = fmax(worst, same(&want, &got, 1e-5));
    predict_on("cpu", &m, &records, mixed, 1 << 20, 1, false, &got);
    worst = fmax(worst, same(&want, &got, 1e-5));
    printf("numbers within %.2g\n", worst);
    predict_on("cpu", &m, &records, NULL, 200, 3, false, &got);
    same(&want, &got, 0.0);
    answer_free(&want);
    gm_model_destroy(&m);
    sampling = (gm_sampling) { 0 };
}

static void company_order_budget_and_threads_leave_no_trace(void **state)
{
    (void)state;
    for (size_t d = 0; d < GM_LEN(layers); d++) {
        whatever_stands_beside(GM_HEAD_SPAN, false, layers[d]);
        whatever_stands_beside(GM_HEAD_CRF, false, layers[d]);
    }
    whatever_stands_beside(GM_HEAD_SPAN, true, 1);
}

static void more_layers_than_there_are(void **state)
{
    gm_model m = make_model(GM_HEAD_SPAN, false);
    int32_t layer;
    (void)state;
    assert_ok(gm_sampling_layer(&(gm_sampling) { .samples = 1, .layers = 2 }, &m, &layer, &err));
    assert_int_equal(layer, 0);
    assert_int_equal(gm_sampling_layer(&(gm_sampling) { .samples = 1, .layers = 3 }, &m, &layer, &err), GM_ERR_USAGE);
    assert_string_equal(err.text, "samples in the last 3 layers, but the encoder has 2");
    gm_model_destroy(&m);
}

int main(void)
{
    if (gm_synth(&(gm_synth_options) { .split = "train", .seed = 3, .count = SAMPLES }, &records, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_a_plain_loop),
        cmocka_unit_test(tags_are_a_plain_loop),
        cmocka_unit_test(no_dropout_gains_nothing),
        cmocka_unit_test(company_order_budget_and_threads_leave_no_trace),
        cmocka_unit_test(more_layers_than_there_are),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gm_records_free(&records);
    return failed;
}
