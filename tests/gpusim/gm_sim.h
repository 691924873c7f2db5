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
    const char *kernel;      /* as written in GM_LAUNCH; "cublas", "copy", "fill" for what is no kernel */
    uint64_t launches;
    uint64_t read, written;  /* bytes of device memory; of kernels only in the check build */
} gm_sim_counter;

/* Copies at most `capacity` counters, sorted by name; the number there are. Names stay valid until the reset. */
GM_SIM_API int gm_sim_counters(gm_sim_counter *out, int capacity);
GM_SIM_API void gm_sim_counters_reset(void);

#ifdef __cplusplus
}
#endif

#endif
