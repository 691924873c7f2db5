#include "model/worker.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/memory.h"

/* Address space only: pages are taken as they are touched. */
static const size_t ARENA_BYTES = (size_t)16 << 30;

gm_status gm_workers_create(gm_workers *w, const gm_backend *backend, int32_t count, const gm_step *step, gm_err *err)
{
    *w = (gm_workers){ .backend = backend };
    w->items = gm_calloc((size_t)count, sizeof *w->items);
    if (w->items == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d workers", count);
    w->count = count;
    for (int32_t i = 0; i < count; i++) {
        gm_worker *k = &w->items[i];
        gm_status status = gm_device_create(backend, 1, &k->dev, err);
        if (status == GM_OK) status = gm_arena_init(&k->arena, ARENA_BYTES, err);
        if (status != GM_OK) {
            gm_workers_destroy(w);
            return status;
        }
        k->dev.step = step;
        k->dev.err = &k->err;
        k->tape = (gm_tape){ .k = &backend->kernels, .dev = &k->dev, .arena = &k->arena, .err = &k->err };
    }
    return GM_OK;
}

void gm_workers_destroy(gm_workers *w)
{
    for (int32_t i = 0; i < w->count; i++) {
        gm_batch_free(&w->items[i].batch);
        gm_arena_destroy(&w->items[i].arena);
        gm_device_destroy(&w->items[i].dev);
    }
    gm_free(w->items);
    *w = (gm_workers){ 0 };
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
        gm_free(entities[i].extra);
    }
    gm_free(entities);
}

typedef struct prediction {
    const gm_model *model;
    const gm_sample *samples;
    const size_t *first;      /* [batches + 1] */
    gm_entity **entities;
    int32_t *count;
} prediction;

static gm_status to_entities(const gm_model *m, const gm_found *found, int32_t count, gm_entity **to, int32_t *to_count, gm_err *err)
{
    static const char origin[] = "\"source\": \"local\", \"status\": \"kept\"";
    *to_count = 0;
    *to = NULL;
    if (count == 0) return GM_OK;
    *to = gm_calloc((size_t)count, sizeof **to);
    if (*to == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d entities", count);
    for (int32_t i = 0; i < count; i++) {
        gm_entity *e = &(*to)[(*to_count)++];
        *e = (gm_entity){ .start = found[i].start, .end = found[i].end, .score = (double)found[i].score, .region_score = (double)NAN };
        e->type = gm_strdup(m->labels.names[found[i].type]);
        e->extra = gm_strdup(origin);
        if (e->type == NULL || e->extra == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for an entity");
    }
    return GM_OK;
}

static gm_status predict_batch(gm_worker *w, int32_t i, void *context)
{
    enum { MAX_SENTENCES = 4096 };
    const prediction *p = context;
    const gm_sample *samples[MAX_SENTENCES];
    const size_t from = p->first[i], n = p->first[i + 1] - from;
    gm_found *found;
    int32_t *first;
    for (size_t k = 0; k < n; k++) samples[k] = &p->samples[from + k];
    GM_TRY(gm_batch_fill(&w->batch, samples, (int32_t)n, (gm_batch_options){ .scheme = p->model->options.scheme }, &w->err));
    gm_tape_begin(&w->tape, NULL, 0.0f);
    GM_TRY(gm_model_find(p->model, &w->tape, &w->batch, &found, &first));
    for (size_t k = 0; k < n; k++)
        GM_TRY(to_entities(p->model, found + first[k], first[k + 1] - first[k], &p->entities[from + k], &p->count[from + k], &w->err));
    return GM_OK;
}

/* Batches of consecutive samples: as many as fit the budget, at least one, at most 4096. */
static int32_t cut(const gm_sample *samples, size_t count, int32_t tokens, size_t *first)
{
    int32_t batches = 0;
    int64_t held = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || held + samples[i].text.count > tokens || i - first[batches - 1] == 4096) {
            first[batches++] = i;
            held = 0;
        }
        held += samples[i].text.count;
    }
    first[batches] = count;
    return batches;
}

gm_status gm_predict(const gm_model *m, gm_workers *w, const gm_sample *samples, size_t sample_count, int32_t tokens,
                     gm_entity **entities, int32_t *count, gm_err *err)
{
    memset(entities, 0, sample_count * sizeof *entities);
    memset(count, 0, sample_count * sizeof *count);
    size_t *first = gm_malloc((sample_count + 1) * sizeof *first);
    if (first == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu samples", sample_count);
    const int32_t batches = cut(samples, sample_count, tokens, first);
    prediction p = { m, samples, first, entities, count };
    const gm_status status = gm_workers_run(w, batches, predict_batch, &p, err);
    if (status != GM_OK)
        for (size_t i = 0; i < sample_count; i++) {
            gm_entities_free(entities[i], count[i]);
            entities[i] = NULL;
            count[i] = 0;
        }
    gm_free(first);
    return status;
}
