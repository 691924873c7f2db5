/* The operations on entities as the tape records them: gradients of one loss through all of them at once, with dropout, against
 * central differences; tensors with two consumers; shapes that do not fit; prediction. */
#include "tests/model/model_test.h"

#include "linear/linear_op.h"
#include "region_scores/region_scores_op.h"
#include "region_triplet/region_triplet_op.h"
#include "span_logits/span_logits_op.h"
#include "span_vector/span_vector_op.h"

enum { SEQUENCES = 3, WORDS = 9, REGIONS = 5, ENTITIES = 4, STATE = 6, HIDDEN = 8, WIDTHS = 3, CLASSES = 3, SPARE = 2, SCORES = 13 };
enum { ROOM_WORDS = WORDS + SPARE, ROOM_REGIONS = REGIONS + SPARE, ROOM_ENTITIES = ENTITIES + SPARE };

/* Three sentences of 4, 2 and 3 words with 3, 0 and 2 regions and two, one and one entity. */
static const int32_t cu_words[] = { 0, 4, 6, 9 }, cu_regions[] = { 0, 3, 3, 5 }, cu_entities[] = { 0, 2, 3, 4 };
static const int32_t cu_scores[ROOM_ENTITIES + 1] = { 0, 4, 8, 9, 12 }, n_words = WORDS, n_regions = REGIONS, n_entities = ENTITIES;
static const gm_entity_span span[ROOM_ENTITIES] = { { 0, 1 }, { 1, 3 }, { 4, 4 }, { 7, 8 } };
static const gm_token token[ROOM_ENTITIES] = { { 0, 0 }, { 0, 1 }, { 1, 0 }, { 2, 0 } };
static const uint32_t key[SEQUENCES] = { 11, 22, 33 }, draw[SEQUENCES] = { 5, 5, 5 };
static const float target[SCORES] = { 0.6f, 0.4f, 0, 0, 0, 0, 0, 1, 1, 0.5f, 0.5f, 0 }, iou[SCORES] = { 0.9f, 0.6f, 0.1f, 0, 0, 0.3f, 0, 0, 0, 0.8f, 0.5f, 0 };

#define PACK(name, room) { .cu = cu_##name, .token = token, .n = &n_##name, .key = key, .draw = draw, .rows = room - SPARE, .capacity = room, .sequences = SEQUENCES }
static const gm_pack words = PACK(words, ROOM_WORDS), regions = PACK(regions, ROOM_REGIONS), entities = PACK(entities, ROOM_ENTITIES);
static const gm_region_batch batch = { &words, &entities, &regions, span, cu_scores, SCORES };

/* h -> projected -> span_logits and span_vector -> q; v -> keys; h and v also to the triplet. */
typedef struct world {
    machine m;
    gm_params params;
    gm_param *project, *width, *bias, *out, *out_bias, *query, *key, *null;
    float h[ROOM_WORDS * STATE], v[ROOM_REGIONS * STATE];
    float dh[ROOM_WORDS * STATE], dv[ROOM_REGIONS * STATE]; /* after a backward pass */
    uint8_t label[ROOM_WORDS * WIDTHS];
    bool is_code_form;
} world;

static gm_param *declare(world *w, const char *name, int32_t rows, int32_t cols)
{
    gm_param *p;
    assert_ok(gm_params_add(&w->params, &(gm_param_spec){ .part = { name }, .rows = rows, .cols = cols, .rate = GM_RATE_HEAD }, &p, &err));
    return p;
}

static void open_world(world *w)
{
    *w = (world){ .is_code_form = false };
    machine_open(&w->m);
    w->m.step.inv_words = 0.25f;
    w->m.step.inv_entities = 0.5f;
    gm_params_init_empty(&w->params);
    w->project = declare(w, "project", 2 * HIDDEN, STATE);
    w->width = declare(w, "width", WIDTHS, HIDDEN);
    w->bias = declare(w, "bias", 1, HIDDEN);
    w->out = declare(w, "out", CLASSES, HIDDEN);
    w->out_bias = declare(w, "out.bias", 1, CLASSES);
    w->query = declare(w, "query", STATE, HIDDEN);
    w->key = declare(w, "key", STATE, STATE);
    w->null = declare(w, "null", STATE, 1);
    assert_ok(gm_params_allocate(&w->params, false, &err));
    for (int32_t i = 0; i < w->params.count; i++)
        for (size_t e = 0; e < w->params.items[i]->count; e++) w->params.items[i]->value[e] = 0.4f * normal((uint32_t)i, (uint32_t)e);
    /* Off the bend of ReLU: half of the columns on, half off. */
    for (int32_t c = 0; c < HIDDEN; c++) w->bias->value[c] += c % 2 ? 6.0f : -6.0f;
    for (uint32_t e = 0; e < ROOM_WORDS * STATE; e++) w->h[e] = e < WORDS * STATE ? normal(20, e) : 0.0f;
    for (uint32_t e = 0; e < ROOM_REGIONS * STATE; e++) w->v[e] = e < REGIONS * STATE ? normal(21, e) : 0.0f;
    for (int32_t i = 0; i < ROOM_WORDS; i++)
        for (int32_t d = 0; d < WIDTHS; d++) {
            const int32_t end = i < 4 ? 4 : i < 6 ? 6 : WORDS;
            w->label[i * WIDTHS + d] = (uint8_t)(i + d < end ? (i + d) % CLASSES : 255);
        }
}

static void close_world(world *w)
{
    gm_params_destroy(&w->params);
    machine_close(&w->m);
}

static gm_tensor *leaf(world *w, const gm_pack *p, const float *values)
{
    gm_tensor *x;
    assert_ok(gm_tape_tensor(&w->m.tape, p, STATE, &x));
    memcpy(x->data, values, (size_t)x->capacity * STATE * sizeof *values);
    return x;
}

/* All the losses; with grads also the gradients. */
static double pass(world *w, gm_grads *grads)
{
    gm_tape *t = &w->m.tape;
    gm_grads unused = { 0 };
    machine_begin(&w->m, grads != NULL ? grads : &unused, 0.3f);
    gm_tensor *h = leaf(w, &words, w->h), *v = leaf(w, &regions, w->v), *projected, *y, *q, *keys;
    gm_region_result found;
    float *logits;
    assert_ok(gm_op_linear(t, h, w->project, NULL, GM_LINEAR_PLAIN, &projected));
    assert_ok(gm_op_span_logits(t, &words, projected, (gm_span_params){ w->width, w->bias, w->out, w->out_bias }, w->label, &logits));
    assert_ok(gm_op_span_vector(t, &words, &entities, span, projected, w->width, w->bias, &y));
    assert_ok(gm_op_linear(t, y, w->query, NULL, GM_LINEAR_PLAIN, &q));
    assert_ok(gm_op_linear(t, v, w->key, NULL, GM_LINEAR_PLAIN, &keys));
    assert_ok(gm_op_region_scores(t, &batch, q, keys, w->null, 0.5f, target, &found));
    assert_ok(gm_op_region_triplet(t, &batch, h, v, iou, (gm_triplet){ 0.5f, 0.8f, w->is_code_form }));
    if (grads == NULL) return w->m.loss;
    assert_ok(gm_tape_backward(t));
    memcpy(w->dh, h->grad, sizeof w->dh);
    memcpy(w->dv, v->grad, sizeof w->dv);
    return w->m.loss;
}

/* Losses are sums of floats: steps are wide, and their error is that of their rounding. */
static void compare(world *w, float *x, const float *dx, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        const float old = x[i], step = 4e-3f;
        x[i] = old + step;
        const float above = x[i];
        const double up = pass(w, NULL);
        x[i] = old - step;
        const double slope = (up - pass(w, NULL)) / (double)(above - x[i]);
        x[i] = old;
        if (!(fabs(slope - (double)dx[i]) < 1e-3 * (1.0 + fabs(slope)))) fail_msg("%s[%zu]: gradient %.7g, difference %.7g", what, i, (double)dx[i], slope);
    }
}

static void gradients_match_differences(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        world w;
        open_world(&w);
        w.is_code_form = form;
        gm_grads g = grads_make(&w.params, 0);
        assert_true(isfinite(pass(&w, &g)));
        float dh[ROOM_WORDS * STATE], dv[ROOM_REGIONS * STATE];
        memcpy(dh, w.dh, sizeof dh);
        memcpy(dv, w.dv, sizeof dv);
        compare(&w, w.h, dh, WORDS * STATE, "h");
        compare(&w, w.v, dv, REGIONS * STATE, "v");
        for (int32_t i = 0; i < w.params.count; i++) {
            gm_param *p = w.params.items[i];
            assert_true(g.is_written[p->index]);
            compare(&w, p->value, grad_of(&g, p), p->count, p->spec.part[0]);
        }
        for (size_t e = WORDS * STATE; e < GM_LEN(dh); e++) assert_true(dh[e] == 0.0f);
        for (size_t e = REGIONS * STATE; e < GM_LEN(dv); e++) assert_true(dv[e] == 0.0f);
        grads_free(&g);
        close_world(&w);
    }
}

/* Entity 2 has no regions: whatever else holds, its null has all. Prediction has no dropout and leaves no loss. */
static void prediction(void **state)
{
    (void)state;
    world w;
    open_world(&w);
    gm_tape *t = &w.m.tape;
    gm_tensor *h, *v, *projected, *y, *q, *keys;
    gm_region_result found[2];
    for (int i = 0; i < 2; i++) {
        machine_begin(&w.m, NULL, 0.0f);
        h = leaf(&w, &words, w.h);
        v = leaf(&w, &regions, w.v);
        assert_ok(gm_op_linear(t, h, w.project, NULL, GM_LINEAR_PLAIN, &projected));
        assert_ok(gm_op_span_vector(t, &words, &entities, span, projected, w.width, w.bias, &y));
        assert_ok(gm_op_linear(t, y, w.query, NULL, GM_LINEAR_PLAIN, &q));
        assert_ok(gm_op_linear(t, v, w.key, NULL, GM_LINEAR_PLAIN, &keys));
        assert_ok(gm_op_region_scores(t, &batch, q, keys, w.null, 0.5f, NULL, &found[i]));
        assert_ok(gm_op_region_triplet(t, &batch, h, v, iou, (gm_triplet){ 0.5f, 0.8f, false }));
        assert_true(w.m.loss == 0.0);
    }
    for (int32_t e = 0; e < ENTITIES; e++) {
        float sum = 0.0f;
        for (int32_t k = cu_scores[e]; k < cu_scores[e + 1]; k++) sum += found[1].prob[k];
        assert_true(fabsf(sum - 1.0f) < 1e-6f);
    }
    assert_true(found[1].prob[cu_scores[2]] == 1.0f && found[1].argmax[2] == 0 && found[1].entropy[2] == 0.0f);
    close_world(&w);
}

static void assert_refused(gm_status status, const char *text)
{
    assert_int_equal(status, GM_ERR_SHAPE);
    if (strstr(err.text, text) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void shapes_that_do_not_fit(void **state)
{
    (void)state;
    world w;
    open_world(&w);
    gm_tape *t = &w.m.tape;
    gm_grads unused = { 0 };
    machine_begin(&w.m, &unused, 0.0f);
    gm_tensor *h = leaf(&w, &words, w.h), *v = leaf(&w, &regions, w.v), *wide, *y;
    gm_region_result found;
    gm_pack fewer = words;
    fewer.sequences--;
    const gm_region_batch other_words = { &fewer, &entities, &regions, span, cu_scores, SCORES };
    assert_ok(gm_tape_tensor(t, &words, 2 * HIDDEN, &wide));
    assert_refused(gm_op_span_vector(t, &words, &entities, span, h, w.width, w.bias, &y), "span_vector: 6 columns are not start and end of 8");
    assert_refused(gm_op_span_vector(t, &fewer, &entities, span, wide, w.width, w.bias, &y), "span_vector: entities of 3 sentences, but words of 2");
    assert_refused(gm_op_region_scores(t, &batch, wide, v, w.null, 1.0f, NULL, &found), "region_scores: queries of 16 columns, keys of 6 and a null key of 6");
    assert_refused(gm_op_region_scores(t, &batch, v, v, w.out_bias, 1.0f, NULL, &found), "keys of 6 and a null key of 3");
    assert_refused(gm_op_region_scores(t, &other_words, v, v, w.null, 1.0f, NULL, &found), "region_scores: entities of 3 sentences, but words of 2 and regions of 3");
    assert_refused(gm_op_region_triplet(t, &batch, wide, v, iou, (gm_triplet){ 0.5f, 1.0f, false }), "region_triplet: words of 16 columns, but regions of 6");
    assert_refused(gm_op_region_triplet(t, &other_words, h, v, iou, (gm_triplet){ 0.5f, 1.0f, false }), "region_triplet: entities of 3 sentences, but words of 2");
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(prediction),
        cmocka_unit_test(shapes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
