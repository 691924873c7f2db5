/* The one header a .cu file includes, and the only one with #if. nvcc (__CUDACC__) gets CUDA and thin wrappers of the PTX
 * instructions that the kernels use; any other C++ compiler gets the simulator (tests/gpusim), which has a twin of each
 * with the same name and contract. */
#ifndef GM_DEVICE_PORT_H
#define GM_DEVICE_PORT_H

#include <cuda_runtime_api.h>
#include <cuda_bf16.h>
#include <stdint.h>

extern "C" {
#include "kernels.h"
}

#ifdef __CUDACC__
#include <cuda_runtime.h>

/* Dynamic shared memory of the launch, as an array of T. */
#define GM_DYN_SMEM(T, name)                                             \
    extern __shared__ __align__(16) unsigned char gm_dyn_smem_[];        \
    T *name = reinterpret_cast<T *>(gm_dyn_smem_)

template <class T> struct gm_same { typedef T type; };

/* Arguments convert to the kernel's parameter types, as in a call. */
template <class... P>
inline cudaError_t gm_launch(const char *, void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                             typename gm_same<P>::type... arguments)
{
    kernel<<<grid, block, smem, stream>>>(arguments...);
    return cudaGetLastError();
}

__device__ __forceinline__ uint32_t gm_smem_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* Asynchronous copy of 16 bytes to shared memory, both ends 16-byte aligned; bytes 0 fills with zeros. */
__device__ __forceinline__ void cp_async16(void *smem, const void *global, int bytes = 16)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(gm_smem_address(smem)), "l"(global), "r"(bytes) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/* Waits until at most N groups of this thread are under way. */
template <int N> __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory"); }

/* Four 8x8 tiles of 16-bit values; lane l gives the address of row l % 8 of tile l / 8. */
__device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(gm_smem_address(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(gm_smem_address(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n" : "=r"(r[0]), "=r"(r[1]) : "r"(gm_smem_address(row)) : "memory");
}
/* d += a (16 x 16, row-major) b (16 x 8, column-major), bf16 in, float32 sums; all 32 lanes. */
__device__ __forceinline__ void mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
#include "emu.h"
#endif

/* Launches on the device's stream and turns a refused launch into a status that names the kernel. Never waits. */
#define GM_LAUNCH(dev, kernel, grid, block, smem, ...)                                                                  \
    gm_launched(dev, #kernel, gm_launch(#kernel, kernel, dim3(grid), dim3(block), (smem), (cudaStream_t)(dev)->stream, __VA_ARGS__))

static inline gm_status gm_launched(const gm_device *dev, const char *kernel, cudaError_t error)
{
    if (error == cudaSuccess) return GM_OK;
    return gm_fail(dev->err, GM_ERR_DEVICE, "launch of %s failed: %s", kernel, cudaGetErrorString(error));
}

#define GM_NOINLINE __attribute__((noinline))

/* Rows of an operation: its launchers are templates over the type of activations, float or __nv_bfloat16. */
typedef __nv_bfloat16 gm_bf16;
#define GM_KERNELS_CUDA(op)                                                                                  \
    extern "C" {                                                                                             \
    extern const gm_##op##_row gm_row_cuda_fp32_##op, gm_row_cuda_bf16_##op;                                 \
    const gm_##op##_row gm_row_cuda_fp32_##op = { op##_forward<float>, op##_backward<float> };               \
    const gm_##op##_row gm_row_cuda_bf16_##op = { op##_forward<gm_bf16>, op##_backward<gm_bf16> };           \
    }
#define GM_KERNELS_CUDA_FORWARD(op)                                                                          \
    extern "C" {                                                                                             \
    extern const gm_##op##_row gm_row_cuda_fp32_##op, gm_row_cuda_bf16_##op;                                 \
    const gm_##op##_row gm_row_cuda_fp32_##op = { op##_forward<float> };                                     \
    const gm_##op##_row gm_row_cuda_bf16_##op = { op##_forward<gm_bf16> };                                   \
    }

#endif
