/* What the tests of the encoder of images share: golden folders, pixels by a formula, and an encoder over a machine. */
#ifndef GM_TESTS_VIT_TEST_H
#define GM_TESTS_VIT_TEST_H

#include "tests/model/model_test.h"

#include "model/vit.h"
#include "tensor/safetensors.h"

/* As in tests/golden/vision.py. */
static inline uint8_t pixel(size_t i) { return (uint8_t)((uint32_t)(i * 2654435761u) >> 13); }

/* An encoder with its parameters and images, of which the last ones are not there. */
typedef struct eye {
    gm_vit vit;
    gm_params params;
    uint8_t *pixels;              /* [capacity, side, side, 3] */
    int32_t n;                    /* images that are there */
    gm_pack images;
} eye;

/* capacity images, n of them there; those behind them are noise as well. */
static inline void eye_images(eye *e, int32_t n, int32_t capacity)
{
    const size_t bytes = (size_t)e->vit.config.image * (size_t)e->vit.config.image * 3, all = bytes * (size_t)capacity;
    gm_free(e->pixels);
    e->pixels = gm_malloc(all + 1);
    assert_non_null(e->pixels);
    for (size_t i = 0; i < all; i++) e->pixels[i] = pixel(i);
    e->n = n;
    e->images = (gm_pack) { .n = &e->n, .rows = n, .capacity = capacity };
}

static inline void eye_declare(eye *e, const char *prefix, bool is_frozen)
{
    gm_params_init_empty(&e->params);
    assert_ok(gm_vit_declare(&e->vit, &e->params, prefix, is_frozen, &err));
    assert_ok(gm_params_allocate(&e->params, false, &err));
}

static inline void eye_close(eye *e)
{
    gm_params_destroy(&e->params);
    gm_free(e->pixels);
    *e = (eye) { 0 };
}

static inline void eye_load(eye *e, const char *file)
{
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file, &st, &err));
    assert_ok(gm_vit_load(&e->vit, &e->params, st, &err));
    gm_safetensors_close(st);
}

/* The encoder of a golden folder. */
static inline void eye_open(eye *e, const char *folder, bool is_projected, bool is_frozen)
{
    char path[256];
    *e = (eye) { .vit = { .is_projected = is_projected } };
    assert_ok(gm_vit_read_folder(folder, &e->vit.config, &err));
    eye_declare(e, "vision_model.", is_frozen);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    eye_load(e, path);
}

static inline cJSON *golden_of(const char *folder)
{
    char path[256], *text;
    size_t size;
    cJSON *golden;
    snprintf(path, sizeof path, "%s/golden.json", folder);
    assert_ok(gm_file_read(path, &text, &size, &err));
    assert_ok(gm_json_parse(text, size, &golden, &err));
    gm_free(text);
    return golden;
}

/* What multiplies element i of the states in the objective whose gradients are compared. */
static inline double objective_weight(size_t i) { return 0.3 * cos(2 + 1.3 * (double)i); }

/* Puts the objective's gradient on the states: zero behind the last image. */
static inline void objective_gradient(gm_tape *t, gm_tensor *states, int32_t n)
{
    void *grad;
    const size_t real = (size_t)n * (size_t)states->cols;
    assert_ok(gm_tape_grad(t, states, &grad, NULL));
    memset(grad, 0, (size_t)states->capacity * (size_t)states->cols * sizeof(float));
    for (size_t i = 0; i < real; i++) ((float *)grad)[i] = (float)objective_weight(i);
}

#endif
