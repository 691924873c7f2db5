/* A launch: checks it against the limits of the hardware, then runs its blocks on a standing pool of threads. Limits are
 * those of sm_80, the least the project supports. */
#include "internal.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace emu {

enum { MAX_THREADS = 1024, MAX_Z = 64, MAX_GRID_YZ = 65535, SHARED_DEFAULT = 48 * 1024, SHARED_OPTIN = 163 * 1024 };

/* ---- limits ---- */

static std::mutex limits_mutex;
static std::map<const void *, size_t> limits; /* dynamic shared memory that a kernel was allowed beyond the default */

cudaError_t set_dynamic_limit(const void *kernel, int bytes)
{
    if (bytes < 0 || bytes > SHARED_OPTIN) return cudaErrorInvalidValue;
    std::lock_guard<std::mutex> lock(limits_mutex);
    limits[kernel] = (size_t)bytes;
    return cudaSuccess;
}

static bool shared_fits(const void *kernel, size_t smem)
{
    if (smem <= SHARED_DEFAULT) return true;
    std::lock_guard<std::mutex> lock(limits_mutex);
    const auto found = limits.find(kernel);
    return found != limits.end() && smem <= found->second;
}

static bool shape_fits(dim3 grid, dim3 block)
{
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    return threads > 0 && block.x <= MAX_THREADS && block.y <= MAX_THREADS && block.z <= MAX_Z && threads <= MAX_THREADS &&
           grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7FFFFFFF && grid.y <= MAX_GRID_YZ && grid.z <= MAX_GRID_YZ;
}

cudaError_t launch(const char *name, const void *kernel, Call call, const void *bound, size_t bytes, dim3 grid, dim3 block,
                   size_t smem, cudaStream_t stream)
{
    config_read();
    if (!shape_fits(grid, block)) return remember(cudaErrorInvalidConfiguration);
    if (!shared_fits(kernel, smem)) return remember(cudaErrorInvalidValue);
    const char *first = (const char *)bound;
    const Launch l = { name, kernel_name(kernel, name), call, std::vector<char>(first, first + bytes), grid, block, smem };
    enqueue(stream, [l] { grid_run(l); });
    return cudaSuccess;
}

/* ---- the pool ---- */

/* The caller and `workers - 1` standing threads run the same function once. */
class Pool {
  public:
    void run(int workers, const std::function<void()> &work)
    {
        std::unique_lock<std::mutex> lock(mutex);
        while ((int)size < workers - 1) {
            std::thread([this, number = size] { serve(number); }).detach();
            size++;
        }
        job = &work;
        wanted = busy = (size_t)workers - 1;
        generation++;
        wake.notify_all();
        lock.unlock();
        work();
        lock.lock();
        finished.wait(lock, [this] { return busy == 0; });
    }

  private:
    void serve(size_t number)
    {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            wake.wait(lock, [&] { return generation != seen; });
            seen = generation;
            if (number >= wanted) continue;
            const std::function<void()> *mine = job;
            lock.unlock();
            (*mine)();
            lock.lock();
            if (--busy == 0) finished.notify_one();
        }
    }

    std::mutex mutex;
    std::condition_variable wake, finished;
    const std::function<void()> *job = nullptr;
    size_t size = 0, wanted = 0, busy = 0;
    uint64_t generation = 0;
};

/* ---- a grid ---- */

static uint64_t launch_count;

static std::vector<uint64_t> block_order(uint64_t blocks, uint64_t salt)
{
    std::vector<uint64_t> order;
    if (config.order == ORDER_SEQ) return order;
    order.resize(blocks);
    for (uint64_t i = 0; i < blocks; i++) order[i] = config.order == ORDER_REV ? blocks - 1 - i : i;
    Random random = { salt | 1 };
    if (config.order == ORDER_RANDOM)
        for (uint64_t i = blocks; i > 1; i--) std::swap(order[i - 1], order[random.next() % i]);
    return order;
}

static Worker *own_worker(const Launch &l)
{
    if (!tls.worker) {
        tls.worker = new Worker;
        faults_prepare_thread();
    }
    Worker *w = tls.worker;
    w->call = l.call;
    w->bound = l.bound.data();
    w->kernel_name = l.name.c_str();
    if (w->shared_store.size() < l.smem + 128) w->shared_store.resize(l.smem + 128);
    return w;
}

void grid_run(const Launch &l)
{
    static Pool *pool = new Pool; /* never destroyed: its threads wait in it until the process ends */
    static std::mutex one_launch;
    std::lock_guard<std::mutex> lock(one_launch);
    const uint64_t blocks = (uint64_t)l.grid.x * l.grid.y * l.grid.z;
    const uint64_t salt = config.seed * 1000003 + ++launch_count * 7919;
    const std::vector<uint64_t> order = block_order(blocks, salt);
    std::atomic<uint64_t> next(0);
    const std::function<void()> work = [&] {
        Worker *w = own_worker(l);
        for (uint64_t i; (i = next.fetch_add(1)) < blocks;) {
            const uint64_t b = order.empty() ? i : order[i];
            const uint3 index = { (unsigned)(b % l.grid.x), (unsigned)(b / l.grid.x % l.grid.y),
                                  (unsigned)(b / l.grid.x / l.grid.y) };
            block_run(w, index, l.grid, l.block, l.smem, salt + b * 31 + 1);
        }
    };
    count_launch(l.counted_as, { blocks, l.block.x * l.block.y * l.block.z, l.smem });
    check_own(1, l.bound.data(), l.bound.size());
    check_launch_begin();
    faults_take();
    if (config.workers > 1 && blocks > 1)
        pool->run((int)std::min<uint64_t>((uint64_t)config.workers, blocks), work);
    else
        work();
    faults_give_back();
    count_bytes(l.counted_as, check_launch_end());
}

} // namespace emu
