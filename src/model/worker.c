#include "model/worker.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/device_memory.h"
#include "backend/packed.h"
#include "base/memory.h"

/* Address space only: pages are taken as they are touched. */
static const size_t ARENA_BYTES = (size_t)16 << 30, NOTES_BYTES = (size_t)4 << 30;

static gm_status make_worker(gm_worker *w, const gm_backend *backend, gm_err *err)
{
    GM_TRY(gm_device_create(backend, 1, &w->dev, err));
    if (backend->memory->is_host) GM_TRY(gm_arena_init(&w->arena, ARENA_BYTES, err));
    GM_TRY(gm_arena_init(&w->notes, NOTES_BYTES, err));
    w->dev.err = &w->err;
    w->batch.dev = w->drawn.dev = &w->dev;
    w->tape = (gm_tape){ .k = &backend->kernels, .dev = &w->dev, .arena = &w->arena, .notes = &w->notes, .err = &w->err };
    return GM_OK;
}

gm_status gm_workers_error(const gm_workers *w, gm_status status, gm_err *err)
{
    if (status != GM_OK && err != w->whole->err) *err = *w->whole->err;
    return status;
}

gm_status gm_workers_set_step(gm_workers *w, const gm_step *step)
{
    memcpy(w->step.host, step, sizeof *step);
    return gm_mirror_send(&w->step, sizeof *step, w->whole);
}

static gm_status share_step(gm_workers *w, gm_err *err)
{
    static const gm_step none = { 0 };
    GM_TRY(gm_mirror_make(&w->step, sizeof(gm_step), w->whole, err));
    for (int32_t i = 0; i < w->count; i++) w->items[i].dev.step = w->step.device;
    w->whole->step = w->step.device;
    GM_TRY(gm_workers_set_step(w, &none));
    return w->whole->memory->sync(w->whole);
}

gm_status gm_workers_create(gm_workers *w, const gm_backend *backend, int32_t count, gm_err *err)
{
    gm_status status = GM_OK;
    *w = (gm_workers){ .backend = backend, .count = backend->memory->is_host ? count : 1 };
    w->items = gm_calloc((size_t)w->count, sizeof *w->items);
    if (w->items == NULL) {
        w->count = 0;
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d workers", count);
    }
    for (int32_t i = 0; i < w->count && status == GM_OK; i++) status = make_worker(&w->items[i], backend, err);
    w->whole = w->count == 1 ? &w->items[0].dev : &w->threads;
    if (status == GM_OK && w->count > 1) status = gm_device_create(backend, w->count, &w->threads, err);
    if (status == GM_OK) status = share_step(w, err);
    if (status != GM_OK) gm_workers_destroy(w);
    return status;
}

void gm_workers_destroy(gm_workers *w)
{
    if (w->step.host != NULL) gm_mirror_free(&w->step, w->whole);
    for (int32_t i = 0; w->items != NULL && i < w->count; i++) {
        gm_worker *k = &w->items[i];
        gm_batch_free(&k->batch);
        gm_batch_free(&k->drawn);
        gm_arena_destroy(&k->arena);
        gm_arena_destroy(&k->notes);
        if (k->lent != NULL) k->dev.memory->release(&k->dev, k->lent);
        gm_device_destroy(&k->dev);
    }
    gm_device_destroy(&w->threads);
    gm_free(w->items);
    *w = (gm_workers){ 0 };
}

/* Any address that is not NULL serves: nothing is read or written there. */
static void *nowhere(void) { return (void *)(uintptr_t)4096; }

gm_status gm_worker_measure(gm_worker *w, gm_pass pass, void *context, size_t *bytes)
{
    const gm_tape kept = w->tape;
    gm_backend dry;
    gm_device dev;
    gm_arena arena;
    const gm_backend of = { .type = w->dev.element == 2 ? GM_BF16 : GM_FP32 };
    gm_backend_dry(&of, &dry);
    GM_TRY(gm_device_create(&dry, 1, &dev, &w->err));
    dev.step = w->dev.step;
    gm_arena_lend(&arena, nowhere(), SIZE_MAX / 4);
    w->tape = (gm_tape){ .k = &dry.kernels, .dev = &dev, .arena = &arena, .notes = &w->notes, .err = &w->err };
    const gm_status status = pass(w, context);
    *bytes = arena.peak;
    gm_device_destroy(&dev);
    w->tape = kept;
    return status;
}

gm_status gm_worker_reserve(gm_worker *w, size_t bytes)
{
    if (w->dev.memory->is_host || bytes <= w->arena.size) return GM_OK;
    GM_TRY(w->dev.memory->sync(&w->dev));
    w->dev.memory->release(&w->dev, w->lent);
    gm_arena_destroy(&w->arena);
    w->lent = NULL;
    w->moves++;
    bytes += bytes / 8; /* the next larger batch is often a little larger */
    GM_TRY(w->dev.memory->alloc(&w->dev, bytes, &w->lent));
    gm_arena_lend(&w->arena, w->lent, bytes);
    return GM_OK;
}

gm_status gm_workers_run(gm_workers *w, int32_t jobs, gm_job job, void *context, gm_err *err)
{
    int32_t failed = jobs; /* the lowest failing job */
    const gm_worker *culprit = NULL;
    #pragma omp parallel num_threads(w->count)
    {
        const int32_t self = (int32_t)omp_get_thread_num();
        /* Fewer threads than asked for still run every worker's share, in turn. */
        for (int32_t k = self; k < w->count; k += (int32_t)omp_get_num_threads())
            for (int32_t i = k; i < jobs; i += w->count) {
                if (job(&w->items[k], i, context) == GM_OK) continue;
                #pragma omp critical(gm_workers_failed)
                if (i < failed) {
                    failed = i;
                    culprit = &w->items[k];
                }
                break;
            }
    }
    if (culprit == NULL) return GM_OK;
    if (err != NULL) *err = culprit->err;
    return culprit->err.status;
}

void gm_entities_free(gm_entity *entities, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        gm_free(entities[i].type);
        gm_free(entities[i].fine);
        gm_free(entities[i].boxes);
        gm_free(entities[i].uncertainty_extra);
        gm_free(entities[i].extra);
    }
    gm_free(entities);
}

enum { MAX_SENTENCES = 4096 }; /* of a batch */

typedef struct prediction {
    const gm_model *model;
    const gm_sample *samples;
    const size_t *first;      /* [batches + 1] */
    int32_t part, parts;      /* job i is batch part + i parts */
    gm_sampling sampling;
    gm_entity **entities;
    int32_t *count;
} prediction;

static gm_status to_entity(const gm_model *m, const gm_picture *picture, const gm_found *f, gm_entity *e, gm_err *err)
{
    static const char origin[] = "\"source\": \"local\", \"status\": \"kept\"";
    *e = (gm_entity){ .start = f->start, .end = f->end, .score = (double)f->score, .region_score = (double)f->region_score, .uncertainty = f->u };
    e->type = gm_strdup(m->labels.names[f->type]);
    e->extra = gm_strdup(origin);
    if (f->fine >= 0) e->fine = gm_strdup(m->fine_labels.names[f->fine]);
    if (f->region >= 0) e->boxes = gm_malloc(sizeof *e->boxes);
    if (e->type == NULL || e->extra == NULL || (f->fine >= 0 && e->fine == NULL) || (f->region >= 0 && e->boxes == NULL))
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for an entity");
    if (f->region >= 0) e->boxes[e->box_count++] = picture->regions.box[f->region];
    return GM_OK;
}

static gm_status to_entities(const gm_model *m, const gm_picture *picture, const gm_found *found, int32_t count, gm_entity **to, int32_t *to_count, gm_err *err)
{
    *to_count = 0;
    *to = NULL;
    if (count == 0) return GM_OK;
    *to = gm_calloc((size_t)count, sizeof **to);
    if (*to == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d entities", count);
    for (int32_t i = 0; i < count; i++) GM_TRY(to_entity(m, picture, &found[i], &(*to)[(*to_count)++], err));
    return GM_OK;
}

/* A pass of prediction; is_measured: on a device that does nothing. */
typedef struct finding { const gm_model *model; const gm_sampling *sampling; gm_findings all; bool is_measured; } finding;

static gm_status find(gm_worker *w, void *context)
{
    finding *f = context;
    gm_tape_begin(&w->tape, NULL, 0.0f, NULL);
    GM_TRY(gm_sampling_layer(f->sampling, f->model, &f->all.trace.layer, &w->err));
    GM_TRY(gm_model_find_traced(f->model, &w->tape, &w->batch, &f->all.trace, &f->all.found, &f->all.first));
    if (f->sampling->samples == 0) return GM_OK;
    return (f->is_measured ? gm_model_sample_room : gm_model_sample)(f->model, f->sampling, &w->tape, &f->all);
}

static int32_t pieces_of(const prediction *p, int32_t batch)
{
    int32_t pieces = 0;
    for (size_t k = p->first[batch]; k < p->first[batch + 1]; k++) pieces += p->samples[k].text.count;
    return pieces;
}

/* Whether the bits of a batch's products depend on nothing but the row. */
static bool has_own_products(const gm_worker *w, const prediction *p, int32_t batch)
{
    return p->model->params.packed != NULL && gm_packed_serves(w->dev.element == 2 ? GM_BF16 : GM_FP32, pieces_of(p, batch));
}

static gm_status predict_batch(gm_worker *w, int32_t job, void *context)
{
    const prediction *p = context;
    const int32_t i = p->part + job * p->parts;
    const gm_sample *samples[MAX_SENTENCES];
    const size_t from = p->first[i], n = p->first[i + 1] - from;
    finding f = { .model = p->model, .sampling = &p->sampling, .all = { .batch = &w->batch, .samples = samples, .drawn = &w->drawn } };
    for (size_t k = 0; k < n; k++) samples[k] = &p->samples[from + k];
    const gm_batch_options o = { .scheme = p->model->options.scheme, .is_exact = has_own_products(w, p, i) };
    GM_TRY(gm_batch_fill(&w->batch, samples, (int32_t)n, o, &w->err));
    if (gm_model_asks(p->model)) GM_TRY(gm_scene_fill(&w->batch, samples, (int32_t)n, gm_model_scene(p->model), &w->err));
    if (!w->dev.memory->is_host) {
        size_t bytes;
        f.is_measured = true;
        GM_TRY(gm_worker_measure(w, find, &f, &bytes));
        f.is_measured = false;
        GM_TRY(gm_worker_reserve(w, bytes));
    }
    GM_TRY(find(w, &f));
    for (size_t k = 0; k < n; k++)
        GM_TRY(to_entities(p->model, &samples[k]->picture, f.all.found + f.all.first[k], f.all.first[k + 1] - f.all.first[k], &p->entities[from + k], &p->count[from + k], &w->err));
    return GM_OK;
}

/* Cuts samples into batches of about equal pieces: as few as keep most of them within the budget, each of at least one sample and
 * at most 4096. Where they are cut does not depend on the number of threads. */
static int32_t cut(const gm_sample *samples, size_t count, int32_t tokens, size_t *first)
{
    int32_t batches = 0;
    int64_t total = 0, before = 0;
    for (size_t i = 0; i < count; i++) total += samples[i].text.count;
    const int64_t parts = (total + tokens - 1) / tokens;
    for (size_t i = 0; i < count; i++) {
        /* A sample stands in the part that the middle of its pieces falls in. */
        const int64_t middle = 2 * before + samples[i].text.count;
        if (i == 0 || middle * parts >= 2 * total * batches || i - first[batches - 1] == MAX_SENTENCES) first[batches++] = i;
        before += samples[i].text.count;
    }
    first[batches] = count;
    return batches;
}

/* One batch keeps all threads busy inside of operations, where its numbers do not depend on how many there are. */
static gm_status predict_alone(gm_workers *w, prediction *p, gm_err *err)
{
    gm_worker *one = &w->items[0];
    if (!has_own_products(one, p, 0)) return gm_workers_run(w, 1, predict_batch, p, err);
    one->dev.threads = w->count;
    const gm_status status = predict_batch(one, 0, p);
    one->dev.threads = 1;
    if (status != GM_OK && err != NULL) *err = one->err;
    return status;
}

gm_status gm_predict(const gm_model *m, gm_workers *w, const gm_sample *samples, size_t sample_count, int32_t tokens,
                     gm_entity **entities, int32_t *count, gm_err *err)
{
    if (sample_count == 0) return GM_OK;
    memset(entities, 0, sample_count * sizeof *entities);
    memset(count, 0, sample_count * sizeof *count);
    size_t *first = gm_malloc((sample_count + 1) * sizeof *first);
    if (first == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu samples", sample_count);
    const int32_t batches = cut(samples, sample_count, tokens, first);
    const int32_t parts = w->parts > 0 ? w->parts : 1, jobs = (batches - w->part + parts - 1) / parts;
    prediction p = { m, samples, first, w->part, parts, w->sampling, entities, count };
    p.sampling.tokens = tokens;
    for (int32_t b = 0; b < batches; b++)
        for (size_t k = first[b]; b % parts != w->part && k < first[b + 1]; k++) count[k] = GM_NOT_PREDICTED;
    const gm_status status = batches == 1 && jobs == 1 ? predict_alone(w, &p, err) : gm_workers_run(w, jobs, predict_batch, &p, err);
    if (status != GM_OK)
        for (size_t i = 0; i < sample_count; i++) {
            gm_entities_free(entities[i], count[i]);
            entities[i] = NULL;
            count[i] = 0;
        }
    gm_free(first);
    return status;
}
