/* What the tests of the model share: a device with tape and arena, records from JSON lines, gradients of one shard, and
 * numbers by counter. */
#ifndef GM_TESTS_MODEL_TEST_H
#define GM_TESTS_MODEL_TEST_H

#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/philox.h"
#include "backend/backend.h"
#include "model/model.h"

static gm_err err;

/* All that one worker needs. */
typedef struct machine {
    gm_backend backend;
    gm_step step;
    gm_device dev;
    gm_arena arena, notes;
    gm_tape tape;
    double loss; /* of the last pass */
} machine;

static inline void machine_open(machine *m)
{
    *m = (machine) { .step = { .seed = 17, .number = 1, .inv_words = 1.0f, .inv_sentences = 1.0f } };
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &m->backend, &err));
    assert_ok(gm_device_create(&m->backend, 1, &m->dev, &err));
    assert_ok(gm_arena_init(&m->arena, (size_t)1 << 30, &err));
    assert_ok(gm_arena_init(&m->notes, (size_t)1 << 30, &err));
    m->dev.step = &m->step;
    m->dev.err = &err;
    m->tape = (gm_tape) { .k = &m->backend.kernels, .dev = &m->dev, .arena = &m->arena, .notes = &m->notes, .err = &err };
}

static inline void machine_close(machine *m)
{
    gm_arena_destroy(&m->arena);
    gm_arena_destroy(&m->notes);
    gm_device_destroy(&m->dev);
}

/* A new pass whose losses go to m->loss. */
static inline void machine_begin(machine *m, gm_grads *grads, float dropout)
{
    m->loss = 0.0;
    gm_tape_begin(&m->tape, grads, dropout, &m->loss);
}

/* `lines` ends with NULL. */
static inline gm_records records_of(const char *const *lines)
{
    gm_records all = { 0 };
    for (; *lines != NULL; lines++) {
        gm_record r = { 0 };
        assert_ok(gm_record_parse(*lines, strlen(*lines), &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
    }
    return all;
}

static inline gm_grads grads_make(const gm_params *ps, int32_t touched)
{
    const size_t cols = ps->table != NULL ? (size_t)ps->table->spec.cols : 0;
    gm_grads g = { .dense = gm_calloc(ps->dense_count, sizeof(float)),
                   .rows = gm_calloc((size_t)touched * cols, sizeof(float)),
                   .is_written = gm_calloc((size_t)ps->count, sizeof(bool)),
                   .touched = touched };
    assert_true(g.dense != NULL && g.rows != NULL && g.is_written != NULL);
    return g;
}

static inline void grads_free(gm_grads *g)
{
    gm_free(g->dense);
    gm_free(g->rows);
    gm_free(g->is_written);
    *g = (gm_grads) { 0 };
}

/* Where a parameter's gradient stands; of the table the touched rows. */
static inline float *grad_of(const gm_grads *g, const gm_param *p)
{
    return p->spec.is_table ? g->rows : g->dense + p->offset;
}

/* The i-th normal number of a stream. */
static inline float normal(uint32_t stream, uint32_t i)
{
    float four[4];
    gm_normal4(gm_philox(2026, i / 4, stream, 0, gm_purpose(GM_SITE_TEST, 0, 0)), four);
    return four[i % 4];
}

/* Ends the program as skipped, or as failed where GM_REQUIRE names `what`, when the path is missing. */
static inline void need(const char *path, const char *what)
{
    if (gm_path_exists(path)) return;
    const char *require = getenv("GM_REQUIRE");
    const bool is_required = require != NULL && strstr(require, what) != NULL;
    fprintf(stderr, "%s: %s is missing\n", is_required ? "failed (GM_REQUIRE names it)" : "skipped", path);
    exit(is_required ? 1 : 77);
}

#endif
