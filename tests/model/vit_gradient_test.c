/* Gradients of a whole small encoder of images against central differences of its own objective, none left out; passes that add
 * to one block; and that an image's state is its own. */
#include "tests/model/vit_test.h"

enum { IMAGES = 4, SPARE = 1 };

/* Weights large enough for every part to matter. */
static void open_eye(eye *e, gm_activation activation, bool is_projected)
{
    *e = (eye) { .vit = { .is_projected = is_projected } };
    e->vit.config = (gm_vit_config) { .image = 9, .patch = 3, .hidden = 24, .layers = 3, .heads = 2, .ffn = 40, .projection = 10, .activation = activation,
                                      .eps = 1e-5f, .mean = { 0.4f, 0.5f, 0.45f }, .std = { 0.25f, 0.2f, 0.3f } };
    eye_declare(e, "vision_model.", false);
    for (int32_t i = 0; i < e->params.count; i++) {
        gm_param *p = e->params.items[i];
        const float sigma = p->spec.is_vector ? 0.1f : 1.0f / sqrtf((float)p->spec.cols);
        for (size_t k = 0; k < p->count; k++) p->value[k] = (p->spec.init == GM_INIT_ONE ? 1.0f : 0.0f) + sigma * normal((uint32_t)i, (uint32_t)k);
    }
    eye_images(e, IMAGES, IMAGES + SPARE);
}

/* The objective; *size is what its terms are in all, for what rounding does to it. */
static double objective(eye *e, machine *m, double *size)
{
    gm_tensor *states;
    double sum = 0;
    *size = 0;
    machine_begin(m, NULL, 0.0f);
    assert_ok(gm_vit_forward(&e->vit, &m->tape, &e->images, e->pixels, &states));
    for (int32_t i = 0; i < states->rows * states->cols; i++) {
        const double term = objective_weight((size_t)i) * (double)((float *)states->data)[i];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static void backward(eye *e, machine *m, gm_grads *g)
{
    gm_tensor *states;
    machine_begin(m, g, 0.0f);
    assert_ok(gm_vit_forward(&e->vit, &m->tape, &e->images, e->pixels, &states));
    objective_gradient(&m->tape, states, e->n);
    assert_ok(gm_tape_backward(&m->tape));
}

/* By steps h and 2h, extrapolated. Its own error is estimated by what the two differ by, plus the rounding of the objective's
 * float32 terms divided by the step. */
static double slope(eye *e, machine *m, float *value, size_t count, const float *direction, double h, double *error)
{
    static const double steps[] = { 1, -1, 2, -2 };
    double at[4], size;
    float *kept = gm_malloc(count * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, value, count * sizeof *kept);
    for (int k = 0; k < 4; k++) {
        for (size_t i = 0; i < count; i++) value[i] = (float)((double)kept[i] + steps[k] * h * (double)direction[i]);
        at[k] = objective(e, m, &size);
    }
    memcpy(value, kept, count * sizeof *kept);
    gm_free(kept);
    const double near = (at[0] - at[1]) / (2 * h), far = (at[2] - at[3]) / (4 * h);
    *error = fabs(near - far) + 4 * 0x1p-24 * size / h;
    return (4 * near - far) / 3;
}

/* tolerance / (slope + tolerance): how much of an error would be missed. */
static double check_slope(eye *e, machine *m, const gm_param *p, const float *grad, const float *direction, double h)
{
    double want = 0, error;
    for (size_t i = 0; i < p->count; i++) want += (double)grad[i] * (double)direction[i];
    const double got = slope(e, m, p->value, p->count, direction, h, &error);
    if (!(fabs(got - want) <= error)) fail_msg("%s: the slope is %.6g, by differences %.6g +- %.2g", p->spec.part[0], want, got, error);
    return error / (fabs(want) + error);
}

/* One step along a random direction moves every element at once, so that no forgotten element can hide; single elements
 * then say where. */
static double check_param(eye *e, machine *m, const gm_param *p, const float *grad)
{
    enum { SINGLES = 3 };
    float *direction = gm_calloc(p->count, sizeof *direction);
    double squares = 0, missed = 0;
    assert_non_null(direction);
    for (size_t i = 0; i < p->count; i++) {
        direction[i] = normal(1000 + (uint32_t)p->index, (uint32_t)i);
        squares += (double)direction[i] * (double)direction[i];
    }
    for (size_t i = 0; i < p->count; i++) direction[i] = (float)((double)direction[i] / sqrt(squares));
    missed += check_slope(e, m, p, grad, direction, 0.05);
    for (uint32_t k = 0; k < SINGLES; k++) {
        memset(direction, 0, p->count * sizeof *direction);
        direction[gm_philox(9, k, 1000 + (uint32_t)p->index, 0, gm_purpose(GM_SITE_TEST, 0, 0)).word[0] % p->count] = 1.0f;
        missed += check_slope(e, m, p, grad, direction, 0.01);
    }
    gm_free(direction);
    return missed / (1 + SINGLES);
}

static void against_differences(gm_activation activation, bool is_projected)
{
    eye e;
    machine m;
    double missed = 0;
    open_eye(&e, activation, is_projected);
    machine_open(&m);
    gm_grads g = grads_make(&e.params, 0);
    memset(g.dense, 0xFF, e.params.dense_count * sizeof *g.dense); /* whatever is written must be written whole */
    backward(&e, &m, &g);
    for (int32_t i = 0; i < e.params.count; i++) {
        assert_true(g.is_written[i]);
        missed += check_param(&e, &m, e.params.items[i], grad_of(&g, e.params.items[i]));
    }
    printf("%d parameters; tolerance %.2g of the slope on average\n", e.params.count, missed / e.params.count);
    assert_true(missed / e.params.count <= 0.1);
    grads_free(&g);
    machine_close(&m);
    eye_close(&e);
}

static void states_against_differences(void **state)
{
    (void)state;
    against_differences(GM_LINEAR_QUICK_GELU, false);
}

static void projections_against_differences(void **state)
{
    (void)state;
    against_differences(GM_LINEAR_GELU, true);
}

/* A second pass into the same block adds to what the first one left. */
static void passes_add_up(void **state)
{
    (void)state;
    eye e;
    machine m;
    double differences = 0, squares = 0;
    open_eye(&e, GM_LINEAR_QUICK_GELU, false);
    machine_open(&m);
    gm_grads once = grads_make(&e.params, 0), twice = grads_make(&e.params, 0);
    backward(&e, &m, &once);
    backward(&e, &m, &twice);
    backward(&e, &m, &twice);
    for (size_t i = 0; i < e.params.dense_count; i++) {
        differences += pow((double)twice.dense[i] - 2 * (double)once.dense[i], 2);
        squares += pow((double)once.dense[i], 2);
    }
    assert_true(sqrt(differences / squares) <= 1e-5);
    grads_free(&once);
    grads_free(&twice);
    machine_close(&m);
    eye_close(&e);
}

/* An image's state is its own: it does not depend on the others, on the room for more or on what lies there. */
static void images_do_not_see_each_other(void **state)
{
    (void)state;
    eye e;
    machine m;
    gm_tensor *states;
    float alone[24];
    open_eye(&e, GM_LINEAR_QUICK_GELU, false);
    machine_open(&m);
    machine_begin(&m, NULL, 0.0f);
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &e.images, e.pixels, &states));
    float third[24];
    memcpy(third, (float *)states->data + 2 * 24, sizeof third);
    const int32_t one = 1;
    const gm_pack single = { .n = &one, .rows = 1, .capacity = 1 };
    machine_begin(&m, NULL, 0.0f);
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &single, e.pixels + 2 * 243, &states));
    memcpy(alone, states->data, sizeof alone);
    for (int c = 0; c < 24; c++) assert_true(fabsf(alone[c] - third[c]) <= 1e-5f);
    const int32_t none = 0;
    const gm_pack empty = { .n = &none, .rows = 0, .capacity = 2 }, nothing = { .n = &none };
    machine_begin(&m, NULL, 0.0f);
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &empty, e.pixels, &states));
    for (int i = 0; i < 48; i++) assert_true(((float *)states->data)[i] == 0.0f);
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &nothing, e.pixels, &states));
    gm_grads g = grads_make(&e.params, 0);
    e.images = empty;
    e.n = 0;
    backward(&e, &m, &g);
    for (size_t i = 0; i < e.params.dense_count; i++) assert_true(g.dense[i] == 0.0f);
    grads_free(&g);
    machine_close(&m);
    eye_close(&e);
}

/* Nothing is recorded of a frozen encoder in a pass that trains something else, and its states want no gradient. */
static void frozen_ones_record_nothing(void **state)
{
    (void)state;
    eye e = { 0 };
    machine m;
    gm_tensor *states;
    assert_ok(gm_vit_preset("vit-tiny", &e.vit.config, &err));
    eye_declare(&e, "vision_model.", true);
    gm_params_randomise(&e.params, 0, 3);
    eye_images(&e, 2, 2);
    machine_open(&m);
    gm_grads g = grads_make(&e.params, 0);
    machine_begin(&m, &g, 0.1f);
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &e.images, e.pixels, &states));
    assert_true(m.tape.last == NULL && m.tape.grads == &g && !states->requires_grad);
    for (int32_t i = 0; i < 2 * 64; i++) assert_true(isfinite(((float *)states->data)[i]));
    grads_free(&g);
    machine_close(&m);
    eye_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(states_against_differences), cmocka_unit_test(projections_against_differences),
                                        cmocka_unit_test(passes_add_up), cmocka_unit_test(images_do_not_see_each_other),
                                        cmocka_unit_test(frozen_ones_record_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
