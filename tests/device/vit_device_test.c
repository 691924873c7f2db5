/* The encoder of images on a device as on the cpu: states and all gradients, in both precisions, with room for images that are
 * not there. Small enough for the simulator's check of every access. */
#include "tests/model/vit_test.h"

enum { MOST_IMAGES = 5, ARENA = 1 << 24 };

static const char *device(void)
{
    const char *name = getenv("GM_TEST_DEVICE");
    return name != NULL ? name : "sim";
}

/* A device with all that a pass needs; the cpu is one as well. */
typedef struct rig {
    gm_backend backend;
    gm_device dev;
    gm_arena arena, notes;
    gm_tape tape;
    void *memory, *step, *pixels, *n, *dense;
} rig;

static void *sent(rig *r, const void *from, size_t bytes)
{
    void *block;
    assert_ok(r->dev.memory->alloc(&r->dev, bytes, &block));
    assert_ok(r->dev.memory->upload(&r->dev, block, from, bytes));
    assert_ok(r->dev.memory->sync(&r->dev));
    return block;
}

static void rig_open(rig *r, const char *name, gm_float_type type, eye *e)
{
    static const gm_step step = { .seed = 17, .number = 1 };
    *r = (rig) { 0 };
    assert_ok(gm_backend_open(name, "auto", type, &r->backend, &err));
    assert_ok(gm_device_create(&r->backend, 1, &r->dev, &err));
    r->dev.err = &err;
    assert_ok(gm_arena_init(&r->notes, (size_t)1 << 24, &err));
    assert_ok(r->dev.memory->alloc(&r->dev, ARENA, &r->memory));
    gm_arena_lend(&r->arena, r->memory, ARENA);
    r->step = sent(r, &step, sizeof step);
    r->dev.step = r->step;
    r->pixels = sent(r, e->pixels, (size_t)e->images.capacity * (size_t)e->vit.config.image * (size_t)e->vit.config.image * 3);
    r->n = sent(r, &e->n, sizeof e->n);
    assert_ok(r->dev.memory->alloc(&r->dev, (e->params.dense_count + 1) * sizeof(float), &r->dense));
    r->tape = (gm_tape) { .k = &r->backend.kernels, .dev = &r->dev, .arena = &r->arena, .notes = &r->notes, .err = &err };
    assert_ok(gm_params_place(&e->params, &r->dev));
}

static void rig_close(rig *r, eye *e)
{
    void *const blocks[] = { r->memory, r->step, r->pixels, r->n, r->dense };
    gm_params_unplace(&e->params);
    for (size_t i = 0; i < GM_LEN(blocks); i++) r->dev.memory->release(&r->dev, blocks[i]);
    gm_arena_destroy(&r->notes);
    gm_device_destroy(&r->dev);
}

static float *fetched(rig *r, const void *from, size_t count, bool is_activation)
{
    const bool is_bf16 = is_activation && r->dev.element == 2;
    const size_t bytes = count * (is_bf16 ? 2 : 4);
    float *to = gm_malloc(count * sizeof *to + 1);
    uint16_t *half = gm_malloc(bytes + 1);
    assert_true(to != NULL && half != NULL);
    assert_ok(r->dev.memory->download(&r->dev, half, from, bytes));
    assert_ok(r->dev.memory->sync(&r->dev));
    if (!is_bf16) memcpy(to, half, bytes);
    for (size_t i = 0; is_bf16 && i < count; i++) {
        const uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
    gm_free(half);
    return to;
}

/* The objective's gradient in the type of activations. */
static void put_gradient(rig *r, gm_tensor *states, int32_t n)
{
    const size_t count = (size_t)states->capacity * (size_t)states->cols, real = (size_t)n * (size_t)states->cols;
    void *grad;
    float *wide = gm_calloc(count, sizeof *wide);
    uint16_t *half = gm_calloc(count, sizeof *half);
    assert_true(wide != NULL && half != NULL);
    for (size_t i = 0; i < real; i++) {
        uint32_t bits;
        wide[i] = (float)objective_weight(i);
        memcpy(&bits, &wide[i], sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
    }
    assert_ok(gm_tape_grad(&r->tape, states, &grad, NULL));
    assert_ok(r->dev.memory->upload(&r->dev, grad, r->dev.element == 2 ? (const void *)half : wide, count * r->dev.element));
    assert_ok(r->dev.memory->sync(&r->dev));
    gm_free(wide);
    gm_free(half);
}

/* States of prediction and of training, and gradients, as the host reads them. */
typedef struct results { float *predicted, *trained, *dense; size_t count, dense_count; } results;

static results results_of(const char *name, gm_float_type type, eye *e, bool has_gradients)
{
    rig r;
    gm_tensor *states;
    results all = { 0 };
    rig_open(&r, name, type, e);
    const gm_pack images = { .n = r.n, .rows = e->n, .capacity = e->images.capacity };
    gm_tape_begin(&r.tape, NULL, 0.0f, NULL);
    assert_ok(gm_vit_forward(&e->vit, &r.tape, &images, r.pixels, &states));
    all.count = (size_t)states->capacity * (size_t)states->cols;
    all.predicted = fetched(&r, states->data, all.count, true);
    if (has_gradients) {
        bool *is_written = gm_calloc((size_t)e->params.count, sizeof *is_written);
        assert_non_null(is_written);
        gm_grads g = { .dense = r.dense, .is_written = is_written };
        assert_ok(r.dev.memory->fill(&r.dev, r.dense, 0, e->params.dense_count * sizeof(float))); /* what aligns parameters is never written */
        gm_tape_begin(&r.tape, &g, 0.1f, NULL);
        assert_ok(gm_vit_forward(&e->vit, &r.tape, &images, r.pixels, &states));
        all.trained = fetched(&r, states->data, all.count, true);
        put_gradient(&r, states, e->n);
        assert_ok(gm_tape_backward(&r.tape));
        for (int32_t i = 0; i < e->params.count; i++) assert_true(is_written[i]);
        all.dense_count = e->params.dense_count;
        all.dense = fetched(&r, r.dense, all.dense_count, false);
        gm_free(is_written);
    }
    rig_close(&r, e);
    return all;
}

static void results_free(results *r)
{
    gm_free(r->predicted);
    gm_free(r->trained);
    gm_free(r->dense);
}

/* |a - b| / |b| of whole blocks. */
static double apart(const float *a, const float *b, size_t count)
{
    double differences = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        differences += pow((double)a[i] - (double)b[i], 2);
        squares += pow((double)b[i], 2);
    }
    assert_true(squares > 0);
    return sqrt(differences / squares);
}

/* Each parameter's gradient by itself; one that is zero in exact arithmetic (the keys' bias) against the norm of the whole. */
static void same_gradients(const eye *e, const results *there, const results *here, double bound)
{
    double whole = 0, worst = 0;
    for (size_t i = 0; i < here->dense_count; i++) whole += pow((double)here->dense[i], 2);
    for (int32_t i = 0; i < e->params.count; i++) {
        const gm_param *p = e->params.items[i];
        double differences = 0, squares = 0;
        for (size_t k = p->offset; k < p->offset + p->count; k++) {
            differences += pow((double)there->dense[k] - (double)here->dense[k], 2);
            squares += pow((double)here->dense[k], 2);
        }
        const double off = sqrt(differences) / fmax(sqrt(squares), 1e-2 * sqrt(whole));
        if (!(off <= bound)) fail_msg("the gradient of \"%s\" is %.3g of its norm away from the cpu's", p->spec.part[0], off);
        worst = fmax(worst, off);
    }
    printf("gradients at most %.3g of their norms away\n", worst);
}

static void follows_the_cpu(const char *folder, bool is_projected, gm_float_type type, int32_t n, double bound)
{
    eye e;
    eye_open(&e, folder, is_projected, false);
    eye_images(&e, n, MOST_IMAGES);
    results here = results_of("cpu", GM_FP32, &e, true), there = results_of(device(), type, &e, true);
    const double off = apart(there.predicted, here.predicted, here.count);
    printf("%s, %d images, %s on %s: states %.3g away\n", folder, n, type == GM_BF16 ? "bf16" : "fp32", device(), off);
    assert_true(off <= bound);
    assert_true(apart(there.trained, here.trained, here.count) <= bound);
    for (size_t i = (size_t)n * (size_t)gm_vit_columns(&e.vit); i < here.count; i++) assert_true(there.predicted[i] == 0.0f && there.trained[i] == 0.0f);
    same_gradients(&e, &there, &here, 4 * bound);
    results_free(&here);
    results_free(&there);
    eye_close(&e);
}

static void quick_gelu_in_both_precisions(void **state)
{
    (void)state;
    follows_the_cpu("tests/golden/clip/vision", false, GM_FP32, 3, 1e-5);
    follows_the_cpu("tests/golden/clip/vision", false, GM_BF16, 3, 0.03);
}

static void projections_in_both_precisions(void **state)
{
    (void)state;
    follows_the_cpu("tests/golden/clip/whole", true, GM_FP32, MOST_IMAGES, 1e-5);
    follows_the_cpu("tests/golden/clip/whole", true, GM_BF16, 1, 0.05);
}

/* Their weights have a copy in bf16, too. */
static void frozen_ones(void **state)
{
    (void)state;
    for (gm_float_type type = GM_FP32; type <= GM_BF16; type++) {
        eye e;
        eye_open(&e, "tests/golden/clip/vision", false, true);
        eye_images(&e, 2, MOST_IMAGES);
        results here = results_of("cpu", GM_FP32, &e, false), there = results_of(device(), type, &e, false);
        assert_true(apart(there.predicted, here.predicted, here.count) <= (type == GM_BF16 ? 0.03 : 1e-5));
        results_free(&here);
        results_free(&there);
        eye_close(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(quick_gelu_in_both_precisions), cmocka_unit_test(projections_in_both_precisions),
                                        cmocka_unit_test(frozen_ones) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
