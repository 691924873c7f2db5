/* What the simulator says beyond the CUDA runtime; for tests and reports. */
#ifndef GM_SIM_H
#define GM_SIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GM_SIM_API __attribute__((visibility("default")))

/* Errors of the program under test reported since the last call, and forgets them. Until then every wait of the runtime
 * answers cudaErrorLaunchFailure, as after a fault on a device. */
GM_SIM_API int gm_sim_take_errors(void);

/* The first of them, "" without any; valid until they are taken. */
GM_SIM_API const char *gm_sim_first_error(void);

/* 1 in the check build, where kernels have access hooks. */
GM_SIM_API int gm_sim_checks(void);

/* Bytes in live device and pinned allocations. */
GM_SIM_API size_t gm_sim_live_bytes(void);

typedef struct gm_sim_counter {
    const char *kernel;      /* with its template arguments; "cublas", "upload", "download", "copy", "fill", "graph", "nccl" for what is none */
    uint64_t launches;
    uint64_t read, written;  /* bytes of device memory, as in the report */
} gm_sim_counter;

/* GM_SIM_REPORT names a file that gets all counters when the program ends: a line of names, then a line a counter, tabs
 * between. In this order:
 *   step           training step, from 1: a step ends with the last adamw before another operation, an upload or a graph
 *   operation      "linear forward", ...: whose row of the module's table was called; "-" outside
 *   kernel         as above; "-": the operation as a whole, its calls and the least it could do
 *   launches       of the kernel, calls of the operation
 *   blocks         of all launches together
 *   threads        of a block, the most that a launch had
 *   shared         bytes of dynamic shared memory, the most that a launch had
 *   read, written  bytes of device memory between a block and the caches behind it: the 32-byte sectors that it reads or
 *                  writes, each counted once a block. Of kernels in the check build only. Products by shape: each matrix once
 *   read_once, written_once   the same, each sector counted once a launch: what memory must give where all caches hit
 *   least_read, least_written, flops   of "-" lines: every input once, every output once (module/operations.cpp) */

/* Copies at most `capacity` counters, sorted by name; the number there are. Names stay valid until the reset. */
GM_SIM_API int gm_sim_counters(gm_sim_counter *out, int capacity);
GM_SIM_API void gm_sim_counters_reset(void);

#ifdef __cplusplus
}
#endif

#endif
