/* What the tests of prediction share: a model that finds entities in any text, answers of many sentences, comparisons. */
#ifndef GM_TESTS_PREDICT_SUPPORT_H
#define GM_TESTS_PREDICT_SUPPORT_H

#include "tests/model/model_test.h"
#include "tests/support/pictures.h"

#include "data/synth.h"
#include "model/worker.h"

enum { SAMPLES = 48, MAX_LEN = 48 };

static bool has_packed; /* predictions read packed weights, as gmner predict does */
static gm_records records; /* SAMPLES of them; the test makes and frees them */
static bool has_pictures; /* models of make_model see them, and know fine types */
static gm_sampling sampling; /* of predict_on; none at first */
static int32_t part, parts; /* of predict_on; all at first */
static const uint64_t sampling_seed = 17;

static inline gm_model make_model(gm_head_kind head, bool is_nested)
{
    gm_model m;
    const gm_model_options o = {
        .head = head, .scheme = GM_TAGS_BIOES, .is_nested = is_nested, .max_len = MAX_LEN, .seed = 4,
        .vision = has_pictures ? GM_VISION_TINY : GM_VISION_NONE, .max_regions = 2, .fine = has_pictures ? PICTURES_FINE : NULL
    };
    assert_ok(gm_model_create_tiny(&records, "PER,LOC,ORG,OTHER", &o, &m, &err));
    for (int32_t i = 0; i < m.params.count; i++) { /* weights that find entities in any text */
        const gm_param *p = m.params.items[i];
        const float sigma = p->spec.is_vector ? 0.1f : 1.0f / sqrtf((float)p->spec.cols);
        for (size_t e = 0; e < p->count; e++)
            p->value[e] = (p->spec.init == GM_INIT_ONE ? 1.0f : 0.0f) + sigma * normal((uint32_t)i, (uint32_t)e);
    }
    return m;
}

/* Entities of all records, in their order. */
typedef struct answer {
    gm_entity *entities[SAMPLES];
    int32_t count[SAMPLES];
} answer;

/* Predicts record order[i] as sample i; the answer is put back into the records' order. */
static inline void predict_on(const char *device, gm_model *m, const gm_records *from, const int32_t *order, int32_t tokens, int32_t threads,
                    bool with_gold, answer *a)
{
    gm_backend backend;
    gm_workers workers;
    gm_sample s[SAMPLES];
    answer shuffled;
    assert_ok(gm_backend_open(device, "auto", GM_FP32, &backend, &err));
    assert_ok(gm_workers_create(&workers, &backend, threads, &err));
    assert_ok(gm_params_place(&m->params, workers.whole));
    assert_ok(gm_workers_error(&workers, gm_workers_set_step(&workers, &(gm_step) { .seed = sampling_seed }), &err));
    workers.sampling = sampling;
    workers.part = part;
    workers.parts = parts;
    if (has_packed) assert_ok(gm_params_pack(&m->params, &err));
    for (int32_t i = 0; i < SAMPLES; i++)
        assert_ok(gm_sample_make(&s[i], &from->items[order != NULL ? order[i] : i], m->tokenizer, &m->labels, MAX_LEN,
                                 with_gold, &err));
    for (int32_t i = 0; has_pictures && i < SAMPLES; i++) show_picture(m, &s[i], (uint32_t)(order != NULL ? order[i] : i));
    assert_ok(gm_predict(m, &workers, s, SAMPLES, tokens, shuffled.entities, shuffled.count, &err));
    for (int32_t i = 0; i < SAMPLES; i++) {
        const int32_t to = order != NULL ? order[i] : i;
        a->entities[to] = shuffled.entities[i];
        a->count[to] = shuffled.count[i];
        gm_sample_free(&s[i]);
    }
    gm_params_unplace(&m->params);
    gm_workers_destroy(&workers);
}

static inline void answer_free(answer *a)
{
    for (int32_t i = 0; i < SAMPLES; i++) gm_entities_free(a->entities[i], a->count[i]);
}

/* The numbers of both; absent in both is equal. */
static inline double apart(const gm_uncertainty *x, const gm_uncertainty *y)
{
    const double a[] = { x->span, x->type, x->region, x->span_norm, x->type_norm, x->region_norm, x->span_expected, x->type_expected, x->region_expected };
    const double b[] = { y->span, y->type, y->region, y->span_norm, y->type_norm, y->region_norm, y->span_expected, y->type_expected, y->region_expected };
    double worst = 0.0;
    for (size_t i = 0; i < GM_LEN(a); i++) {
        if (isnan(a[i]) != isnan(b[i])) return INFINITY;
        if (!isnan(a[i])) worst = fmax(worst, fabs(a[i] - b[i]));
    }
    return worst;
}

/* Compares and frees `got`; returns the largest difference of probabilities and uncertainties. */
static inline double same(const answer *want, answer *got, double tolerance)
{
    double worst = 0;
    for (int32_t i = 0; i < SAMPLES; i++) {
        if (want->count[i] != got->count[i])
            fail_msg("sample %d has %d entities, expected %d", i, got->count[i], want->count[i]);
        for (int32_t k = 0; k < want->count[i]; k++) {
            const gm_entity *x = &want->entities[i][k], *y = &got->entities[i][k];
            assert_true(x->start == y->start && x->end == y->end);
            assert_string_equal(x->type, y->type);
            assert_int_equal(x->box_count, y->box_count);
            assert_true(isnan(x->region_score) == isnan(y->region_score));
            if (x->box_count > 0) assert_memory_equal(x->boxes, y->boxes, sizeof *x->boxes);
            assert_true((x->fine == NULL) == (y->fine == NULL));
            if (x->fine != NULL) assert_string_equal(x->fine, y->fine);
            const double off = fmax(fmax(fabs(x->score - y->score), fabs(x->region_score - y->region_score)), apart(&x->uncertainty, &y->uncertainty));
            if (!(off <= tolerance))
                fail_msg("sample %d, entity %d: probability %.9g, expected %.9g; uncertainties apart by %.9g", i, k, y->score,
                         x->score, apart(&x->uncertainty, &y->uncertainty));
            worst = fmax(worst, off);
        }
    }
    answer_free(got);
    return worst;
}

#endif
