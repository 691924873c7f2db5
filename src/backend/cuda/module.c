/* The cuda module: opens the GPU, owns its stream, workspace and plans, and moves memory. Every call works on the
 * device's one stream, so order of calls is order of effects; nothing but sync, alloc and release waits. */
#include "backend/module.h"

#include <cublasLt.h>

#include "backend/cuda/cuda_error.h"
#include "backend/cuda/gemm_cuda.h"
#include "backend/cuda/peers.h"

#ifndef GM_MODULE_NAME
#define GM_MODULE_NAME "cuda" /* the simulator compiles this file under its own name */
#endif

/* What cuBLAS itself takes on Hopper; sums in two stages need less. */
enum { WORKSPACE_BYTES = 32 << 20, LEAST_MAJOR = 8 };

#define ROWS_OF(op) gm_row_cuda_fp32_##op
#define FILL fill_fp32
#include "backend/rows.h"
#define ROWS_OF(op) gm_row_cuda_bf16_##op
#define FILL fill_bf16
#include "backend/rows.h"

static cudaStream_t stream_of(const gm_device *dev) { return (cudaStream_t)dev->stream; }

static int gpu; /* CUDA_VISIBLE_DEVICES chooses which GPU is number 0 */

static gm_status count_gpus(int *count, gm_err *err)
{
    *count = 0;
    const cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess && *count > 0) return GM_OK;
    return gm_fail(err, GM_ERR_DEVICE, "no usable GPU: cudaGetDeviceCount says \"%s\"; check that nvidia-smi lists a GPU and that its driver "
                   "is made for CUDA %d.%d or newer, or use --device cpu", error != cudaSuccess ? cudaGetErrorString(error) : "0 devices",
                   CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
}

static gm_status take_gpu(gm_err *err)
{
    int count, major = 0, minor = 0;
    GM_TRY(count_gpus(&count, err));
    CUDA_TRY(err, cudaSetDevice(gpu));
    CUDA_TRY(err, cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu));
    CUDA_TRY(err, cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu));
    if (major < LEAST_MAJOR)
        return gm_fail(err, GM_ERR_DEVICE, "the GPU has compute capability %d.%d, the kernels need %d.0 (Ampere) or newer; use --device cpu",
                       major, minor, LEAST_MAJOR);
    return GM_OK;
}

/* A launcher that binds each process to a GPU shows it that one alone; two processes that share it are found by NCCL. */
static gm_status choose_gpu(int32_t number, gm_err *err)
{
    int count;
    GM_TRY(count_gpus(&count, err));
    if (count > 1 && number >= count)
        return gm_fail(err, GM_ERR_DEVICE, "process %d of this machine has no GPU of its own: there are %d; start at most one process a GPU", number + 1, count);
    gpu = count > 1 ? number : 0;
    CUDA_TRY(err, cudaSetDevice(gpu));
    return GM_OK;
}

static gm_status device_alloc(gm_device *dev, size_t bytes, void **block)
{
    *block = NULL;
    const cudaError_t error = cudaMalloc(block, bytes > 0 ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, all_bytes = 0;
        cudaGetLastError(); /* this error does not stick to later launches */
        cudaMemGetInfo(&free_bytes, &all_bytes);
        return gm_fail(dev->err, GM_ERR_NOMEM, "out of GPU memory: %zu bytes asked for, %zu of %zu free", bytes, free_bytes, all_bytes);
    }
    CUDA_TRY(dev->err, error);
    return GM_OK;
}

/* An error of what ran before comes back from the next call that can report it. */
static void device_release(gm_device *dev, void *block)
{
    (void)dev;
    if (block != NULL) cudaFree(block);
}

static void device_destroy(gm_device *dev)
{
    if (dev == NULL) return;
    if (dev->stream != NULL) cudaStreamSynchronize(stream_of(dev));
    gm_cuda_plans_destroy(dev->plans);
    device_release(dev, dev->workspace);
    if (dev->stream != NULL) cudaStreamDestroy(stream_of(dev));
    *dev = (gm_device){ 0 };
}

static gm_status make_parts(gm_device *dev)
{
    cudaStream_t stream = NULL;
    GM_TRY(take_gpu(dev->err));
    CUDA_TRY(dev->err, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    dev->stream = stream;
    GM_TRY(device_alloc(dev, WORKSPACE_BYTES, &dev->workspace));
    dev->workspace_bytes = WORKSPACE_BYTES;
    return gm_cuda_plans_create(&dev->plans, dev->err);
}

static gm_status device_create(gm_device *dev, gm_err *err)
{
    *dev = (gm_device){ .threads = dev->threads, .step = dev->step, .err = err };
    const gm_status status = make_parts(dev);
    if (status != GM_OK) device_destroy(dev);
    return status;
}

static gm_status host_alloc(gm_device *dev, size_t bytes, void **block)
{
    *block = NULL;
    CUDA_TRY(dev->err, cudaMallocHost(block, bytes > 0 ? bytes : 1));
    return GM_OK;
}

static void host_release(gm_device *dev, void *block)
{
    (void)dev;
    if (block != NULL) cudaFreeHost(block);
}

static gm_status upload(gm_device *dev, void *to, const void *from, size_t bytes)
{
    if (bytes > 0) CUDA_TRY(dev->err, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(dev)));
    return GM_OK;
}

static gm_status download(gm_device *dev, void *to, const void *from, size_t bytes)
{
    if (bytes > 0) CUDA_TRY(dev->err, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(dev)));
    return GM_OK;
}

static gm_status copy(gm_device *dev, void *to, const void *from, size_t bytes)
{
    if (bytes > 0) CUDA_TRY(dev->err, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(dev)));
    return GM_OK;
}

static gm_status fill(gm_device *dev, void *to, int byte, size_t bytes)
{
    if (bytes > 0) CUDA_TRY(dev->err, cudaMemsetAsync(to, byte, bytes, stream_of(dev)));
    return GM_OK;
}

static gm_status sync_stream(gm_device *dev)
{
    CUDA_TRY(dev->err, cudaStreamSynchronize(stream_of(dev)));
    return GM_OK;
}

static int64_t plan_count(const gm_device *dev) { return gm_cuda_plans_count(dev->plans); }

static gm_status graph_begin(gm_device *dev)
{
    CUDA_TRY(dev->err, cudaStreamBeginCapture(stream_of(dev), cudaStreamCaptureModeThreadLocal));
    return GM_OK;
}

static gm_status graph_end(gm_device *dev, void **graph)
{
    cudaGraph_t recorded = NULL;
    cudaGraphExec_t made = NULL;
    *graph = NULL;
    CUDA_TRY(dev->err, cudaStreamEndCapture(stream_of(dev), &recorded));
    const cudaError_t error = cudaGraphInstantiate(&made, recorded, 0);
    cudaGraphDestroy(recorded);
    CUDA_TRY(dev->err, error);
    *graph = made;
    return GM_OK;
}

static gm_status graph_run(gm_device *dev, void *graph)
{
    CUDA_TRY(dev->err, cudaGraphLaunch((cudaGraphExec_t)graph, stream_of(dev)));
    return GM_OK;
}

static void graph_release(gm_device *dev, void *graph)
{
    (void)dev;
    if (graph != NULL) cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
static const char library[] =
    "cuBLASLt " TEXT(CUBLAS_VER_MAJOR) "." TEXT(CUBLAS_VER_MINOR) "." TEXT(CUBLAS_VER_PATCH) ", CUDART " TEXT(CUDART_VERSION);

__attribute__((visibility("default"))) const gm_module *gm_module_open(void);

/* The rows are constants of other files, which C does not take as an initialiser: each call writes the same bytes. */
const gm_module *gm_module_open(void)
{
    static gm_module module = {
        .abi = GM_MODULE_ABI, .name = GM_MODULE_NAME, .library = library, .device_create = device_create, .device_destroy = device_destroy,
        .memory = { .alloc = device_alloc, .release = device_release, .host_alloc = host_alloc, .host_release = host_release,
                    .upload = upload, .download = download, .copy = copy, .fill = fill, .sync = sync_stream },
        .plan_count = plan_count, .graph_begin = graph_begin, .graph_end = graph_end, .graph_run = graph_run, .graph_release = graph_release,
        .choose_gpu = choose_gpu };
    module.peers = gm_cuda_peers();
    fill_fp32(&module.kernels[GM_FP32]);
    fill_bf16(&module.kernels[GM_BF16]);
    return &module;
}
