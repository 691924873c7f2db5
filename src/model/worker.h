/* Workers: each thread of training and prediction has a device, an arena, a tape and an error of its own and takes whole
 * sentences through the whole model; inside a worker an operation uses one thread, but where a single batch is to be predicted:
 * then one worker's operations use all. A GPU is one worker. */
#ifndef GM_MODEL_WORKER_H
#define GM_MODEL_WORKER_H

#include "backend/backend.h"
#include "model/uncertainty.h"

typedef struct gm_worker {
    gm_device dev;
    gm_arena arena, notes;
    gm_tape tape;
    gm_batch batch, drawn;    /* for prediction, and for samples of dropout */
    gm_err err;
    void *lent;               /* device memory of the arena; NULL on the cpu, whose pages come as they are touched */
    int32_t moves;            /* how often the arena got new memory: what was captured before is of no use */
} gm_worker;

typedef struct gm_workers {
    const gm_backend *backend;
    gm_worker *items;
    int32_t count;
    gm_device *whole;         /* a device whose operations use all threads: for what is done once a step */
    gm_device threads;        /* it lies here where a worker's does not serve */
    gm_mirror step;           /* gm_step of all devices; all zero at first, as prediction without samples likes it */
    int32_t part, parts;      /* gm_predict takes batches part, part + parts, ... alone; parts 0: all. The others' samples get the count below */
    gm_sampling sampling;     /* of gm_predict; none at first. Its tokens are gm_predict's */
} gm_workers;

/* On the cpu `count` threads; elsewhere one worker. */
gm_status gm_workers_create(gm_workers *w, const gm_backend *backend, int32_t count, gm_err *err);
/* Hands on the status of a call on w->whole; *err gets the message of one that failed. */
gm_status gm_workers_error(const gm_workers *w, gm_status status, gm_err *err);
/* What kernels read from now on; on a device only after a sync behind the last call. */
gm_status gm_workers_set_step(gm_workers *w, const gm_step *step);
void gm_workers_destroy(gm_workers *w);

/* What the worker's tape would take while `pass` runs, in bytes: the pass is made once on a device that does nothing. The
 * worker's tape is as new afterwards. */
typedef gm_status (*gm_pass)(gm_worker *worker, void *context);
gm_status gm_worker_measure(gm_worker *w, gm_pass pass, void *context, size_t *bytes);
/* Device memory for an arena of so many bytes; nothing to do on the cpu. Waits for the device where memory moves. */
gm_status gm_worker_reserve(gm_worker *w, size_t bytes);

/* Runs job(worker, i, context) for i in [0, jobs), each worker taking i = its number, + count, ...: which worker runs a
 * job is fixed. The error of the lowest failing job is the result. */
typedef gm_status (*gm_job)(gm_worker *worker, int32_t i, void *context);
gm_status gm_workers_run(gm_workers *w, int32_t jobs, gm_job job, void *context, gm_err *err);

enum { GM_NOT_PREDICTED = -1 };

/* Entities that the model finds in samples, in batches of about `tokens` packed pieces. entities[i] (count[i] of them) is
 * gm_malloc'ed with its strings and the caller's: see gm_entities_free. */
gm_status gm_predict(const gm_model *m, gm_workers *w, const gm_sample *samples, size_t sample_count, int32_t tokens,
                     gm_entity **entities, int32_t *count, gm_err *err);
void gm_entities_free(gm_entity *entities, int32_t count);

#endif
