/* Small kernels that the C tests of the simulator launch. */
#ifndef GM_SIM_TEST_KERNELS_H
#define GM_SIM_TEST_KERNELS_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

cudaError_t launch_add(float *p, float v, int n, cudaStream_t stream);   /* p[i] += v */
cudaError_t launch_scale(float *p, float v, int n, cudaStream_t stream); /* p[i] *= v */
/* p[0] = 1 by a kernel of this shape; the limits of a launch are what is tested. */
cudaError_t launch_shape(float *p, dim3 grid, dim3 block, size_t smem, cudaStream_t stream);
cudaError_t allow_shape(int smem); /* the attribute for more than 48 KB of dynamic shared memory */

#ifdef __cplusplus
}
#endif

#endif
