/* Processes that work on one task, as ranks 0 .. size - 1, and what they tell each other. All sums are taken in the tree of
 * kernels/grad_norm over ranks in their order, so that bits depend on nothing but the numbers. A wait that lasts too long
 * ends with the names of those who did not answer. A comm serves one thread at a time. NULL is one process alone: every call
 * takes it. */
#ifndef GM_COMM_COMM_H
#define GM_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device.h"

typedef struct gm_comm gm_comm;

/* What bytes were sent for: the gradients and weights of dense parameters, rows of the embedding, all else. */
typedef enum gm_traffic { GM_TRAFFIC_DENSE, GM_TRAFFIC_ROWS, GM_TRAFFIC_OTHER, GM_TRAFFIC_KINDS } gm_traffic;

typedef struct gm_comm_counts {
    int64_t sent[GM_TRAFFIC_KINDS]; /* bytes */
    double wait_s;                  /* spent in waits */
} gm_comm_counts;

typedef struct gm_comm_options {
    const char *kind;         /* as in gm_comm_open */
    double timeout_s;
    const char *device;       /* nccl: the --device that has the memory; NULL: cuda */
    int32_t rank, size;       /* nccl: which of how many; size 0: as the launcher says */
    const char *file;         /* nccl without MPI: by which ranks meet, in a folder that all see */
} gm_comm_options;

/* kind: none, mpi, nccl, or auto: MPI where mpirun, srun or their like have started this process as one of several, else none.
 * MPI is not even started where no launcher has. *c is NULL for one process. timeout_s: 0 waits for ever. */
gm_status gm_comm_open(const char *kind, double timeout_s, gm_comm **c, gm_err *err);
bool gm_comm_is_launched(void); /* by mpirun, srun or their like */
/* The same with all that nccl can be told. It chooses the GPU of this process, so it comes before any device is made. */
gm_status gm_comm_open_as(const gm_comm_options *o, gm_comm **c, gm_err *err);
/* By all ranks together: each waits for the others. */
void gm_comm_close(gm_comm *c);
/* Ends all processes, also those that wait or hang; does not return, but for NULL. */
void gm_comm_abort(gm_comm *c, int exit_code);

int32_t gm_comm_rank(const gm_comm *c);
int32_t gm_comm_size(const gm_comm *c);
gm_comm_counts gm_comm_traffic(const gm_comm *c); /* since it was opened */

/* Transfers that go on while the program does; blocks stay as they are until the wait. Both sides name the same group
 * (0 .. 999), within which transfers of a pair of ranks keep their order. */
gm_status gm_comm_send(gm_comm *c, int32_t to, int32_t group, const void *block, size_t bytes, gm_traffic kind, gm_err *err);
gm_status gm_comm_receive(gm_comm *c, int32_t from, int32_t group, void *block, size_t bytes, gm_err *err);
/* Lets transfers move on; many go on only inside of calls. */
gm_status gm_comm_progress(gm_comm *c, gm_err *err);
gm_status gm_comm_wait(gm_comm *c, int32_t group, gm_err *err); /* until all of the group is done */

/* NCCL alone takes blocks in device memory, and only behind gm_comm_follow: what then stands on the device's stream, when a group
 * starts, comes first. */
bool gm_comm_takes_device_memory(const gm_comm *c);
void gm_comm_follow(gm_comm *c, const gm_device *device);
/* All transfers of the group have been named: those of NCCL go on from here, not before; a wait says it as well. By all ranks, in
 * the same order of groups. */
gm_status gm_comm_start(gm_comm *c, int32_t group, gm_err *err);

/* By all ranks, in the same order. */
gm_status gm_comm_barrier(gm_comm *c, gm_err *err);
gm_status gm_comm_broadcast(gm_comm *c, int32_t root, void *block, size_t bytes, gm_err *err);
/* Everybody's block to everybody: rank r's takes bytes[r] of `all`, behind those of lower ranks. */
gm_status gm_comm_gather(gm_comm *c, const void *mine, const size_t *bytes, void *all, gm_err *err);
/* x[i] becomes the sum over ranks, the same bits everywhere; `scratch` has room for as many numbers and a size's more. */
gm_status gm_comm_sum(gm_comm *c, float *x, int64_t count, float *scratch, gm_err *err);
gm_status gm_comm_sum_counts(gm_comm *c, int64_t *x, int32_t count, gm_err *err);
/* Whether all succeeded: else everybody gets the status and the message of the lowest rank that failed. */
gm_status gm_comm_agree(gm_comm *c, gm_status mine, gm_err *err);
/* True behind an agreement on a failure, or for one process: all end alike, and rank 0 may speak for all. */
bool gm_comm_is_agreed(const gm_comm *c);

/* Parts[0 .. count) summed in the tree, in place: the sum stands in part[0]. */
void gm_tree_sum(float *const *part, int32_t count, int64_t size);

#endif
