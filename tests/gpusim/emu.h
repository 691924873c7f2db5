/* CUDA's device side on a CPU: what device/port.h includes when the compiler is not nvcc. Types (float4, __nv_bfloat16,
 * cudaStream_t) come from the toolkit's own headers; keywords, barriers, warp operations, atomics and launches from here.
 * Every device thread is a fiber; the threads of a block take turns on one thread of the system. */
#ifndef GM_SIM_EMU_H
#define GM_SIM_EMU_H

#include <cuda_runtime.h> /* before the macros below: it has parameters named gridDim and blockDim */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
#include <string.h>
#include <algorithm>
#include <cmath>
#include <type_traits>

#undef __host__
#undef __device__
#undef __global__
#undef __shared__
#undef __constant__
#undef __managed__
#undef __forceinline__
#undef __launch_bounds__
#undef __grid_constant__
#undef __align__
#define __host__
#define __device__
#define __global__
#define __constant__ static
#define __managed__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
/* A thread of the system runs one block at a time, so its thread-local memory serves as the block's static shared
 * memory. It is poisoned before each block. */
#define __shared__ static __thread

/* Where a device function was called, for messages. */
#define EMU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#ifdef __clang__ /* keeps the access hooks of the check build out of the emulator's own inline code */
#define EMU_NOCHECK __attribute__((disable_sanitizer_instrumentation, noinline))
#else
#define EMU_NOCHECK __attribute__((no_sanitize("thread"), noinline))
#endif

namespace emu {

struct Thread { /* of the device, as device code sees it */
    uint3 index;
    unsigned linear, lane, warp;
};

struct Worker;
/* The one thread-local object of the emulator: the poison of a block steps around it. */
struct Tls {
    Thread *self; /* NULL outside kernels */
    uint3 block_index, block_dim, grid_dim;
    char *dynamic_shared;
    Worker *worker;
    char *segment; /* the thread-local segment that this object and all __shared__ variables lie in */
    size_t segment_bytes;
    int device, last_error;
    const char *operation; /* that the calling thread is in: "linear forward"; NULL outside */
    void *group;           /* calls between ncclGroupStart and ncclGroupEnd; NULL outside */
};
extern __thread Tls tls;

/* Reports an error of the program under test; counted, and sticky for the runtime like a fault on a device. */
__attribute__((format(printf, 3, 4))) void fail(const char *file, int line, const char *format, ...);

enum Vote { VOTE_OR, VOTE_AND, VOTE_COUNT };
void block_barrier(const char *file, int line);
int block_vote(int value, Vote vote, const char *file, int line);

/* All lanes of the mask leave their arguments; the last to arrive runs the function once over all lanes. */
typedef void (*WarpFunction)(unsigned lanes, void **arguments);
void warp_meet(unsigned mask, const char *name, WarpFunction run, void *argument, const char *file, int line);
void warp_nothing(unsigned lanes, void **arguments);

struct Shuffle { uint64_t value, out; int source; };
struct Ballot { int predicate; unsigned out; };
enum ReduceOp { REDUCE_ADD, REDUCE_MIN, REDUCE_MAX, REDUCE_AND, REDUCE_OR, REDUCE_XOR };
struct Reduce { uint32_t value, out; ReduceOp op; };
struct Ldmatrix { const void *row; uint32_t *out; int tiles; bool transposed; };
struct Mma { float *d; const uint32_t *a, *b; };
void warp_shuffle(unsigned lanes, void **arguments);
void warp_ballot(unsigned lanes, void **arguments);
void warp_reduce(unsigned lanes, void **arguments);
void warp_ldmatrix(unsigned lanes, void **arguments);
void warp_mma_m16n8k16(unsigned lanes, void **arguments);

void cp_async(void *shared, const void *global, int bytes, const char *file, int line);
void cp_async_close_group();
void cp_async_wait_for(int groups_left);

/* True when the access may be made; always true unless checking. */
bool check_access(const void *p, size_t bytes, bool write, bool atomic);
void fence();

/* A kernel bound to its arguments: `bytes` plain bytes, which are copied. */
typedef void (*Call)(const void *bound);
cudaError_t launch(const char *name, const void *kernel, Call call, const void *bound, size_t bytes, dim3 grid, dim3 block,
                   size_t smem, cudaStream_t stream);

template <class Bound> EMU_NOCHECK void call_bound(const void *bound) { (*(const Bound *)bound)(); }

template <class T> inline T shuffle(unsigned mask, T value, int source, const char *name, const char *file, int line)
{
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    Shuffle s = { 0, 0, source };
    memcpy(&s.value, &value, sizeof(T));
    warp_meet(mask, name, warp_shuffle, &s, file, line);
    memcpy(&value, &s.out, sizeof(T));
    return value;
}

template <class T, class F> EMU_NOCHECK T atomic_update(T *p, F update)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics of 4 or 8 bytes");
    typedef typename std::conditional<sizeof(T) == 8, uint64_t, uint32_t>::type Bits;
    check_access(p, sizeof(T), true, true);
    Bits old_bits = __atomic_load_n((Bits *)p, __ATOMIC_RELAXED), new_bits;
    T old_value, new_value;
    do {
        memcpy(&old_value, &old_bits, sizeof(T));
        new_value = update(old_value);
        memcpy(&new_bits, &new_value, sizeof(T));
    } while (!__atomic_compare_exchange_n((Bits *)p, &old_bits, new_bits, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old_value;
}

} // namespace emu

#define threadIdx (emu::tls.self->index)
#define blockIdx (emu::tls.block_index)
#define blockDim (emu::tls.block_dim)
#define gridDim (emu::tls.grid_dim)
static const int warpSize = 32;

#define GM_DYN_SMEM(T, name) T *name = reinterpret_cast<T *>(emu::tls.dynamic_shared)

template <class T> struct gm_same { typedef T type; };

/* Arguments convert to the kernel's parameter types, as in a call. */
template <class... P>
inline cudaError_t gm_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                             typename gm_same<P>::type... arguments)
{
    auto bound = [=]() EMU_NOCHECK { kernel(arguments...); };
    typedef decltype(bound) Bound;
    static_assert(std::is_trivially_copyable<Bound>::value, "kernel arguments are plain data");
    return emu::launch(name, (const void *)kernel, emu::call_bound<Bound>, &bound, sizeof bound, grid, block, smem, stream);
}

static inline void __syncthreads(EMU_SITE) { emu::block_barrier(file, line); }
static inline int __syncthreads_or(int p, EMU_SITE) { return emu::block_vote(p, emu::VOTE_OR, file, line); }
static inline int __syncthreads_and(int p, EMU_SITE) { return emu::block_vote(p, emu::VOTE_AND, file, line); }
static inline int __syncthreads_count(int p, EMU_SITE) { return emu::block_vote(p, emu::VOTE_COUNT, file, line); }
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMU_SITE)
{
    emu::warp_meet(mask, "__syncwarp", emu::warp_nothing, nullptr, file, line);
}
static inline void __threadfence() { emu::fence(); }
static inline void __threadfence_block() {}

/* A source lane outside the segment of `width` lanes gives a lane its own value. */
template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_SITE)
{
    const int lane = (int)emu::tls.self->lane;
    return emu::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", file, line);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMU_SITE)
{
    const int lane = (int)emu::tls.self->lane, source = lane ^ bits;
    const bool beyond = (source & ~(width - 1)) > (lane & ~(width - 1));
    return emu::shuffle(mask, value, beyond ? lane : source, "__shfl_xor_sync", file, line);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE)
{
    const int lane = (int)emu::tls.self->lane, source = lane + (int)delta;
    return emu::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, "__shfl_down_sync", file, line);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE)
{
    const int lane = (int)emu::tls.self->lane, source = lane - (int)delta;
    return emu::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, "__shfl_up_sync", file, line);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_SITE)
{
    emu::Ballot b = { predicate, 0 };
    emu::warp_meet(mask, "__ballot_sync", emu::warp_ballot, &b, file, line);
    return b.out;
}
static inline int __any_sync(unsigned mask, int p, EMU_SITE) { return __ballot_sync(mask, p, file, line) != 0; }
static inline int __all_sync(unsigned mask, int p, EMU_SITE) { return __ballot_sync(mask, !p, file, line) == 0; }

#define EMU_REDUCE(name, type, operation, flip)                                           \
    static inline type name(unsigned mask, type value, EMU_SITE)                          \
    {                                                                                     \
        emu::Reduce r = { (uint32_t)value ^ (flip), 0, emu::operation };                  \
        emu::warp_meet(mask, #name, emu::warp_reduce, &r, file, line);                    \
        return (type)(r.out ^ (flip));                                                    \
    }
EMU_REDUCE(__reduce_add_sync, unsigned, REDUCE_ADD, 0u)
EMU_REDUCE(__reduce_min_sync, unsigned, REDUCE_MIN, 0u)
EMU_REDUCE(__reduce_max_sync, unsigned, REDUCE_MAX, 0u)
EMU_REDUCE(__reduce_and_sync, unsigned, REDUCE_AND, 0u)
EMU_REDUCE(__reduce_or_sync, unsigned, REDUCE_OR, 0u)
EMU_REDUCE(__reduce_xor_sync, unsigned, REDUCE_XOR, 0u)
EMU_REDUCE(__reduce_add_sync, int, REDUCE_ADD, 0u)
EMU_REDUCE(__reduce_min_sync, int, REDUCE_MIN, 0x80000000u) /* signed order is unsigned order with the sign turned */
EMU_REDUCE(__reduce_max_sync, int, REDUCE_MAX, 0x80000000u)
#undef EMU_REDUCE

template <class T> inline T atomicAdd(T *p, typename gm_same<T>::type v)
{
    return emu::atomic_update(p, [v](T old) { return (T)(old + v); });
}
template <class T> inline T atomicMax(T *p, typename gm_same<T>::type v)
{
    return emu::atomic_update(p, [v](T old) { return old > v ? old : v; });
}
template <class T> inline T atomicMin(T *p, typename gm_same<T>::type v)
{
    return emu::atomic_update(p, [v](T old) { return old < v ? old : v; });
}
template <class T> inline T atomicOr(T *p, typename gm_same<T>::type v)
{
    return emu::atomic_update(p, [v](T old) { return (T)(old | v); });
}
template <class T> inline T atomicExch(T *p, typename gm_same<T>::type v)
{
    return emu::atomic_update(p, [v](T) { return v; });
}
template <class T> inline T atomicCAS(T *p, typename gm_same<T>::type expected, typename gm_same<T>::type v)
{
    return emu::atomic_update(p, [expected, v](T old) { return old == expected ? v : old; });
}

/* Twins of the PTX wrappers in device/port.h. A copy lands when it is waited for: a missing wait reads poison. */
static inline void cp_async16(void *shared, const void *global, int bytes = 16, EMU_SITE)
{
    emu::cp_async(shared, global, bytes, file, line);
}
static inline void cp_async_commit() { emu::cp_async_close_group(); }
template <int N> inline void cp_async_wait() { emu::cp_async_wait_for(N); }

namespace emu {
static inline void ldmatrix(uint32_t *out, const void *row, int tiles, bool transposed, const char *file, int line)
{
    Ldmatrix l = { row, out, tiles, transposed };
    warp_meet(0xFFFFFFFFu, "ldmatrix", warp_ldmatrix, &l, file, line);
}
} // namespace emu
static inline void ldmatrix_x4(uint32_t r[4], const void *row, EMU_SITE) { emu::ldmatrix(r, row, 4, false, file, line); }
static inline void ldmatrix_x4_trans(uint32_t r[4], const void *row, EMU_SITE) { emu::ldmatrix(r, row, 4, true, file, line); }
static inline void ldmatrix_x2(uint32_t r[2], const void *row, EMU_SITE) { emu::ldmatrix(r, row, 2, false, file, line); }
static inline void mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2], EMU_SITE)
{
    emu::Mma m = { d, a, b };
    emu::warp_meet(0xFFFFFFFFu, "mma_m16n8k16", emu::warp_mma_m16n8k16, &m, file, line);
}

#include "emu_math.h"

#endif
