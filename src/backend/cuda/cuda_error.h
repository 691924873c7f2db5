/* Errors of the CUDA runtime as statuses: the message names the function, the call and CUDA's reason. */
#ifndef GM_CUDA_ERROR_H
#define GM_CUDA_ERROR_H

#include <cuda_runtime_api.h>

#include "base/status.h"

/* A failed kernel or copy shows at a later call: what CUDA reports here may have begun before it. */
#define CUDA_TRY(err, call)                                                                                         \
    do {                                                                                                            \
        const cudaError_t cuda_try_ = (call);                                                                       \
        if (cuda_try_ != cudaSuccess)                                                                               \
            return gm_fail((err), GM_ERR_DEVICE, "%s: %s failed: %s (%s)", __func__, #call,                         \
                           cudaGetErrorString(cuda_try_), cudaGetErrorName(cuda_try_));                             \
    } while (0)

#endif
