/* Workers: each thread of training and prediction has a device, an arena, a tape and an error of its own and takes whole
 * sentences through the whole model; inside a worker an operation uses one thread. */
#ifndef GM_MODEL_WORKER_H
#define GM_MODEL_WORKER_H

#include "backend/backend.h"
#include "model/model.h"

typedef struct gm_worker {
    gm_device dev;
    gm_arena arena;
    gm_tape tape;
    gm_batch batch;           /* for prediction */
    gm_err err;
} gm_worker;

typedef struct gm_workers {
    const gm_backend *backend;
    gm_worker *items;
    int32_t count;
} gm_workers;

/* `step` is shared by all devices and outlives the workers; prediction may pass one that never changes. */
gm_status gm_workers_create(gm_workers *w, const gm_backend *backend, int32_t count, const gm_step *step, gm_err *err);
void gm_workers_destroy(gm_workers *w);

/* Runs job(worker, i, context) for i in [0, jobs), each worker taking i = its number, + count, ...: which worker runs a
 * job is fixed. The error of the lowest failing job is the result. */
typedef gm_status (*gm_job)(gm_worker *worker, int32_t i, void *context);
gm_status gm_workers_run(gm_workers *w, int32_t jobs, gm_job job, void *context, gm_err *err);

/* Entities that the model finds in samples, in batches of about `tokens` packed pieces. entities[i] (count[i] of them) is
 * gm_malloc'ed with its strings and the caller's: see gm_entities_free. */
gm_status gm_predict(const gm_model *m, gm_workers *w, const gm_sample *samples, size_t sample_count, int32_t tokens,
                     gm_entity **entities, int32_t *count, gm_err *err);
void gm_entities_free(gm_entity *entities, int32_t count);

#endif
