/* Device and pinned memory: pages of their own between guard pages, poisoned when fresh, unreachable after they are
 * freed. An overrun into the slack before the guard page is found when the block is freed. */
#include "internal.h"

#include <sys/mman.h>
#include <map>
#include <mutex>

#include "gm_sim.h"

namespace emu {

enum { PAGE = 4096, ALIGNMENT = 256, SLACK_BYTE = 0xA5 };
static const size_t DEVICE_BYTES = (size_t)8 << 30;

struct Block {
    size_t bytes;
    char *pages;
    size_t page_bytes;
};
typedef std::map<char *, Block> Blocks;
static Blocks device_blocks, pinned_blocks;
static std::mutex blocks_mutex;
static size_t live_bytes;

static char *add_block(Blocks &blocks, size_t bytes, bool device)
{
    if (bytes > DEVICE_BYTES - live_bytes) return nullptr;
    const size_t page_bytes = (bytes + ALIGNMENT + PAGE - 1) / PAGE * PAGE;
    char *low = (char *)mmap(nullptr, page_bytes + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (low == MAP_FAILED) return nullptr;
    mprotect(low, PAGE, PROT_NONE);
    mprotect(low + PAGE + page_bytes, PAGE, PROT_NONE);
    /* as far right as the alignment allows: an overrun soon meets the guard page */
    char *block = low + PAGE + (page_bytes - bytes) / ALIGNMENT * ALIGNMENT, *end = low + PAGE + page_bytes;
    if (device) memset(block, config.poison, bytes);
    memset(block + bytes, SLACK_BYTE, (size_t)(end - block) - bytes);
    std::lock_guard<std::mutex> lock(blocks_mutex);
    blocks[block] = { bytes, low + PAGE, page_bytes };
    live_bytes += bytes;
    check_alloc(block, bytes, !device);
    return block;
}

static void drop_block(Blocks &blocks, Blocks::iterator found)
{
    const Block b = found->second;
    const char *end = b.pages + b.page_bytes;
    for (const char *p = found->first + b.bytes; p < end; p++) {
        if ((unsigned char)*p == SLACK_BYTE) continue;
        fail(nullptr, 0, "something wrote byte %td of a block of %zu bytes", p - found->first, b.bytes);
        break;
    }
    check_free(found->first);
    madvise(b.pages, b.page_bytes, MADV_DONTNEED);
    mprotect(b.pages, b.page_bytes, PROT_NONE); /* a use after this faults; the addresses are never given out again */
    live_bytes -= b.bytes;
    blocks.erase(found);
}

static cudaError_t release(Blocks &blocks, void *p)
{
    std::lock_guard<std::mutex> lock(blocks_mutex);
    const auto found = blocks.find((char *)p);
    if (found == blocks.end()) {
        fail(nullptr, 0, "free of %p, which is no live allocation", p);
        return remember(cudaErrorInvalidValue);
    }
    drop_block(blocks, found);
    return cudaSuccess;
}

bool device_range(const void *p, size_t bytes)
{
    std::lock_guard<std::mutex> lock(blocks_mutex);
    auto next = device_blocks.upper_bound((char *)p);
    if (next == device_blocks.begin()) return false;
    --next;
    return (char *)p + bytes <= next->first + next->second.bytes;
}

static bool in_pinned(const void *p)
{
    std::lock_guard<std::mutex> lock(blocks_mutex);
    auto next = pinned_blocks.upper_bound((char *)p);
    return next != pinned_blocks.begin() && (char *)p < std::prev(next)->first + std::prev(next)->second.bytes;
}

static bool in_device(const void *p)
{
    return device_range(p, 0);
}

/* Each end is where the kind says, as a whole. */
static bool ends_fit(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (kind == cudaMemcpyDefault) return true;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (to_device ? !device_range(to, bytes) : in_device(to)) {
        fail(nullptr, 0, "copy of %zu bytes to %p: the kind says %s memory", bytes, to, to_device ? "device" : "host");
        return false;
    }
    if (from_device ? !device_range(from, bytes) : in_device(from)) {
        fail(nullptr, 0, "copy of %zu bytes from %p: the kind says %s memory", bytes, from, from_device ? "device" : "host");
        return false;
    }
    return true;
}

static void copy_now(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (bytes == 0 || !ends_fit(to, from, bytes, kind)) return;
    if (in_device(from)) check_library_read("a copy", from, bytes);
    memmove(to, from, bytes);
    check_initialised(to, bytes);
    const bool reads = in_device(from), writes = in_device(to);
    const char *name = !reads ? "upload" : !writes ? "download" : "copy";
    if (!reads) count_input();
    count_launch(name);
    count_bytes(name, reads ? bytes : 0, writes ? bytes : 0);
}

static void fill_now(void *to, int byte, size_t bytes)
{
    if (bytes == 0) return;
    if (!device_range(to, bytes)) {
        fail(nullptr, 0, "fill of %zu bytes at %p is not within a device allocation", bytes, to);
        return;
    }
    memset(to, byte, bytes);
    check_initialised(to, bytes);
    count_launch("fill");
    count_bytes("fill", 0, bytes);
}

} // namespace emu

using namespace emu;

extern "C" size_t gm_sim_live_bytes(void)
{
    drain_all();
    return live_bytes;
}

extern "C" {

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    config_read();
    *p = nullptr;
    if (capturing_forbids("cudaMalloc")) return remember(cudaErrorStreamCaptureUnsupported);
    if (bytes) *p = add_block(device_blocks, bytes, true);
    return *p || !bytes ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *p)
{
    if (!p) return cudaSuccess;
    if (capturing_forbids("cudaFree")) return remember(cudaErrorStreamCaptureUnsupported);
    drain_all();
    return release(device_blocks, p);
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    config_read();
    *p = add_block(pinned_blocks, bytes ? bytes : 1, false);
    return *p ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) { return cudaMallocHost(p, bytes); }

cudaError_t cudaFreeHost(void *p)
{
    if (!p) return cudaSuccess;
    drain_all();
    return release(pinned_blocks, p);
}

/* Pools: memory is there at once and goes when the stream reaches the free, so a later use in stream order faults. */
cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t stream)
{
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cudaStreamIsCapturing(stream, &status);
    if (status != cudaStreamCaptureStatusNone) return remember(cudaErrorNotSupported); /* memory nodes are not modelled */
    return cudaMalloc(p, bytes);
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t stream)
{
    if (!p) return cudaSuccess;
    if (!in_device(p)) return release(device_blocks, p); /* names it */
    enqueue(stream, [p] { release(device_blocks, p); });
    return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void **p, size_t bytes, cudaMemPool_t, cudaStream_t stream) { return cudaMallocAsync(p, bytes, stream); }
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int)
{
    static int only;
    *pool = (cudaMemPool_t)&only;
    return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    enqueue(stream, [=] { copy_now(to, from, bytes, kind); });
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream)
{
    enqueue(stream, [=] { fill_now(to, byte, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int byte, size_t bytes)
{
    cudaMemsetAsync(to, byte, bytes, nullptr);
    return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = DEVICE_BYTES;
    *free_bytes = DEVICE_BYTES - live_bytes;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *p)
{
    memset(attributes, 0, sizeof *attributes);
    attributes->type = in_device(p) ? cudaMemoryTypeDevice : in_pinned(p) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    if (attributes->type == cudaMemoryTypeDevice) attributes->devicePointer = (void *)p;
    return cudaSuccess;
}
}
