/* Counters of launches and of bytes, by step, operation and kernel: a step's launches may not grow unnoticed. The report
 * is described in gm_sim.h. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <inttypes.h>
#include <map>
#include <mutex>
#include <tuple>

#include "gm_sim.h"

namespace emu {

struct Key {
    unsigned step;
    std::string operation, kernel;
    bool operator<(const Key &other) const
    {
        return std::tie(step, operation, kernel) < std::tie(other.step, other.operation, other.kernel);
    }
};
struct Counter {
    uint64_t launches;
    Shape shape;
    Traffic traffic;
    Least least;
};
/* Never destroyed: programs may still launch while they end. */
static std::map<Key, Counter> &counters = *new std::map<Key, Counter>;
static std::map<std::string, gm_sim_counter> &by_kernel = *new std::map<std::string, gm_sim_counter>;
static std::mutex &mutex = *new std::mutex;
static unsigned step = 1;
static bool is_updated; /* an update has run: what follows it begins the next step */

static const char NONE[] = "-";

static void write_report()
{
    FILE *file = fopen(getenv("GM_SIM_REPORT"), "w");
    if (!file) {
        fprintf(stderr, "sim: GM_SIM_REPORT=%s cannot be written\n", getenv("GM_SIM_REPORT"));
        return;
    }
    std::lock_guard<std::mutex> lock(mutex);
    fprintf(file, "step\toperation\tkernel\tlaunches\tblocks\tthreads\tshared\tread\twritten\tread_once\twritten_once\tleast_read\t"
                  "least_written\tflops\n");
    for (const auto &entry : counters) {
        const Key &k = entry.first;
        const Counter &c = entry.second;
        fprintf(file, "%u\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%u\t%zu\t", k.step, k.operation.c_str(), k.kernel.c_str(), c.launches,
                c.shape.blocks, c.shape.threads, c.shape.shared);
        fprintf(file, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t", c.traffic.read, c.traffic.written, c.traffic.read_once,
                c.traffic.written_once);
        fprintf(file, "%" PRIu64 "\t%" PRIu64 "\t%.0f\n", c.least.read, c.least.written, c.least.flops);
    }
    fclose(file);
}

/* The counter of the running operation; the lock is held. */
static Counter &counter_of(const std::string &kernel)
{
    static const bool registered = getenv("GM_SIM_REPORT") && atexit(write_report) == 0;
    (void)registered;
    return counters[{ step, tls.operation ? tls.operation : NONE, kernel }];
}

void count_launch(const std::string &kernel, const Shape &shape)
{
    std::lock_guard<std::mutex> lock(mutex);
    Counter &c = counter_of(kernel);
    c.launches++;
    c.shape.blocks += shape.blocks;
    c.shape.threads = std::max(c.shape.threads, shape.threads);
    c.shape.shared = std::max(c.shape.shared, shape.shared);
    by_kernel[kernel].launches++;
}

void count_bytes(const std::string &kernel, const Traffic &traffic)
{
    if (!traffic.read && !traffic.written) return;
    std::lock_guard<std::mutex> lock(mutex);
    Traffic &t = counter_of(kernel).traffic;
    t.read += traffic.read;
    t.written += traffic.written;
    t.read_once += traffic.read_once;
    t.written_once += traffic.written_once;
    by_kernel[kernel].read += traffic.read;
    by_kernel[kernel].written += traffic.written;
}

void count_bytes(const std::string &kernel, uint64_t read, uint64_t written)
{
    count_bytes(kernel, { read, written, read, written });
}

void count_operation(const char *operation, const Least &least, bool is_update)
{
    std::lock_guard<std::mutex> lock(mutex);
    if (is_updated && !is_update) step++;
    is_updated = is_update;
    const char *outer = tls.operation;
    tls.operation = operation;
    Counter &c = counter_of(NONE);
    tls.operation = outer;
    c.launches++;
    c.least.read += least.read;
    c.least.written += least.written;
    c.least.flops += least.flops;
}

void count_input()
{
    std::lock_guard<std::mutex> lock(mutex);
    if (is_updated) step++;
    is_updated = false;
}

} // namespace emu

extern "C" int gm_sim_counters(gm_sim_counter *out, int capacity)
{
    std::lock_guard<std::mutex> lock(emu::mutex);
    int count = 0;
    for (auto &c : emu::by_kernel) {
        c.second.kernel = c.first.c_str();
        if (count < capacity) out[count] = c.second;
        count++;
    }
    return count;
}

extern "C" void gm_sim_counters_reset(void)
{
    std::lock_guard<std::mutex> lock(emu::mutex);
    emu::counters.clear();
    emu::by_kernel.clear();
    emu::step = 1;
    emu::is_updated = false;
}
