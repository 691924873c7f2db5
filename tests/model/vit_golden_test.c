/* The encoder of images against CLIP's vision model in Hugging Face transformers (tests/golden/vision.py made the folders): its
 * states, projections and gradients in float32, and its states in bf16. The bound of states is the project's: the largest
 * difference divided by the root of the reference's mean square is at most 1e-4. */
#include "tests/model/vit_test.h"

enum { IMAGES = 3, SPARE = 2, MOST = 1024 };

/* The largest difference from the golden numbers, as a part of their root mean square. */
static double difference(const cJSON *golden, const char *key, const float *got, int count)
{
    static double want[MOST];
    double worst = 0, squares = 0;
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(golden, key), want, MOST), count);
    for (int i = 0; i < count; i++) {
        const double d = fabs((double)got[i] - want[i]);
        assert_true(d >= 0);
        worst = fmax(worst, d);
        squares += want[i] * want[i];
    }
    return worst / sqrt(squares / count);
}

static void close_enough(const cJSON *golden, const char *key, const gm_tensor *states, const char *what)
{
    const float *x = states->data;
    const double off = difference(golden, key, x, IMAGES * states->cols);
    printf("%s: largest difference %.3g of the reference's rms\n", what, off);
    if (!(off <= 1e-4)) fail_msg("%s: %.3g is beyond 1e-4", what, off);
    for (int32_t i = IMAGES * states->cols; i < states->capacity * states->cols; i++) assert_true(x[i] == 0.0f); /* no image */
}

/* Gradients are float32 sums through some 40 operations; 2e-5 of the norm is what the text's encoders are held to. One that is
 * zero in exact arithmetic (the keys' bias) is judged against the norm of the whole. */
static double gradient_off(const cJSON *pair, const char *name, const float *got, size_t count, double whole)
{
    double dot = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        dot += (double)got[i] * cos(1 + 0.7 * (double)i);
        squares += (double)got[i] * (double)got[i];
    }
    const double want_dot = cJSON_GetArrayItem(pair, 0)->valuedouble, want_norm = cJSON_GetArrayItem(pair, 1)->valuedouble;
    const double off = fmax(fabs(dot - want_dot), fabs(sqrt(squares) - want_norm)) / fmax(want_norm, 1e-3 * whole);
    if (!(off <= 2e-5)) fail_msg("%s: dot %.9g and norm %.9g, expected %.9g and %.9g", name, dot, sqrt(squares), want_dot, want_norm);
    return off;
}

/* Of the vision model alone the golden file's names have no prefix. */
static const cJSON *pair_of(const cJSON *gradients, const char *name)
{
    const cJSON *pair = cJSON_GetObjectItemCaseSensitive(gradients, name);
    if (pair == NULL) pair = cJSON_GetObjectItemCaseSensitive(gradients, name + strlen("vision_model."));
    if (pair == NULL) fail_msg("the golden file has no gradient of \"%s\"", name);
    return pair;
}

static void same_gradients(const cJSON *gradients, const eye *e, const gm_grads *g)
{
    double whole = 0, worst = 0;
    int compared = 0;
    const cJSON *pair;
    cJSON_ArrayForEach(pair, gradients) whole += pow(cJSON_GetArrayItem(pair, 1)->valuedouble, 2);
    for (int32_t i = 0; i < e->params.count; i++) {
        const gm_param *p = e->params.items[i];
        const size_t share = p->count / (size_t)p->parts;
        assert_true(g->is_written[i]);
        for (int32_t k = 0; k < p->parts; k++, compared++)
            worst = fmax(worst, gradient_off(pair_of(gradients, p->spec.part[k]), p->spec.part[k], grad_of(g, p) + (size_t)k * share, share, sqrt(whole)));
    }
    assert_int_equal(compared, cJSON_GetArraySize(gradients));
    printf("%d gradients, at most %.3g of their norms away\n", compared, worst);
}

static void check(const char *folder, bool is_projected)
{
    eye e;
    machine m;
    gm_tensor *states, *trained;
    cJSON *golden = golden_of(folder);
    const char *key = is_projected ? "projected" : "states";
    eye_open(&e, folder, is_projected, false);
    eye_images(&e, IMAGES, IMAGES + SPARE);
    machine_open(&m);
    machine_begin(&m, NULL, 0.0f);
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &e.images, e.pixels, &states));
    close_enough(golden, key, states, folder);
    const size_t bytes = (size_t)states->capacity * (size_t)states->cols * sizeof(float);
    float *kept = gm_malloc(bytes);
    assert_non_null(kept);
    memcpy(kept, states->data, bytes);

    gm_grads g = grads_make(&e.params, 0);
    memset(g.dense, 0xFF, e.params.dense_count * sizeof *g.dense);
    machine_begin(&m, &g, 0.3f); /* dropout is the text's: here it has no place */
    assert_ok(gm_vit_forward(&e.vit, &m.tape, &e.images, e.pixels, &trained));
    assert_memory_equal(trained->data, kept, bytes);
    objective_gradient(&m.tape, trained, IMAGES);
    assert_ok(gm_tape_backward(&m.tape));
    assert_true(m.tape.dropout == 0.3f);
    if (is_projected || cJSON_GetObjectItemCaseSensitive(golden, "projected") == NULL)
        same_gradients(cJSON_GetObjectItemCaseSensitive(golden, "gradients"), &e, &g);
    gm_free(kept);
    grads_free(&g);
    machine_close(&m);
    eye_close(&e);
    cJSON_Delete(golden);
}

static void vision_model_alone(void **state)
{
    (void)state;
    check("tests/golden/clip/vision", false);
}

static void whole_clip_with_and_without_projection(void **state)
{
    (void)state;
    check("tests/golden/clip/whole", true);
    check("tests/golden/clip/whole", false);
}

/* Frozen: weights have a bf16 copy all the same, and nothing is recorded in a pass that trains. bf16 keeps 8 bits; through
 * three layers some 2 % of the rms are left. */
static void states_in_bf16(void **state)
{
    (void)state;
    if (!gm_backend_has_bf16()) {
        printf("left out: this machine does not multiply bf16\n");
        return;
    }
    static const char *const folders[] = { "tests/golden/clip/vision", "tests/golden/clip/whole" };
    for (int k = 0; k < 4; k++) {
        eye e;
        machine m;
        gm_tensor *states;
        cJSON *golden = golden_of(folders[k / 2]);
        eye_open(&e, folders[k / 2], false, k % 2);
        eye_images(&e, IMAGES, IMAGES + SPARE);
        machine_open(&m);
        gm_device_destroy(&m.dev);
        assert_ok(gm_backend_open("cpu", "auto", GM_BF16, &m.backend, &err));
        assert_ok(gm_device_create(&m.backend, 1, &m.dev, &err));
        m.dev.step = &m.step;
        m.dev.err = &err;
        assert_ok(gm_params_place(&e.params, &m.dev));
        gm_grads g = grads_make(&e.params, 0);
        machine_begin(&m, &g, 0.0f);
        assert_ok(gm_vit_forward(&e.vit, &m.tape, &e.images, e.pixels, &states));
        assert_true(states->requires_grad == (k % 2 == 0));
        static float wide[MOST];
        for (int32_t i = 0; i < IMAGES * states->cols; i++) {
            const uint32_t bits = (uint32_t)((const uint16_t *)states->data)[i] << 16;
            memcpy(&wide[i], &bits, sizeof bits);
        }
        const double off = difference(golden, "states", wide, IMAGES * states->cols);
        printf("%s in bf16: %.3g of the reference's rms\n", folders[k / 2], off);
        assert_true(off <= 0.06);
        grads_free(&g);
        eye_close(&e);
        machine_close(&m);
        cJSON_Delete(golden);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(vision_model_alone), cmocka_unit_test(whole_clip_with_and_without_projection),
                                        cmocka_unit_test(states_in_bf16) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
