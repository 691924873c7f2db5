/* Training of the local model: batches in shards, workers, AdamW, evaluation, checkpoints, resuming. The same seed,
 * configuration and instruction set give the same bits for any number of threads and of processes, and after any number of
 * resumptions. */
#ifndef GM_TRAIN_TRAINER_H
#define GM_TRAIN_TRAINER_H

#include <signal.h>

#include "base/config.h"
#include "comm/comm.h"
#include "base/status.h"

typedef struct gm_train_options {
    const char *out;                     /* run folder */
    const char *device, *isa;            /* gm_backend_open */
    bool resume;                         /* from out/last; an empty folder starts anew */
    const volatile sig_atomic_t *signal; /* the number of a signal that asked to stop, or 0 */
    gm_comm *comm;                       /* NULL: this process alone */
} gm_train_options;

/* Returns GM_STOP_INT or GM_STOP_TERM after a signal, its state saved in out/last. */
gm_status gm_train(const gm_config *config, const gm_train_options *o, gm_err *err);

/* Factor of the learning rate after `done` of `total` steps: rises linearly over warmup x total steps, then falls
 * linearly to zero. */
double gm_schedule(int64_t done, int64_t total, double warmup);

#endif
