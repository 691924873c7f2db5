/* Counters of launches and of bytes, by kernel: a step's launches may not grow unnoticed. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <inttypes.h>
#include <map>
#include <mutex>

#include "gm_sim.h"

namespace emu {

struct Counter { uint64_t launches, read, written; };
/* Never destroyed: programs may still launch while they end. */
static std::map<std::string, Counter> &counters = *new std::map<std::string, Counter>;
static std::mutex &mutex = *new std::mutex;

static void write_report()
{
    FILE *file = fopen(getenv("GM_SIM_REPORT"), "w");
    if (!file) return;
    std::lock_guard<std::mutex> lock(mutex);
    fprintf(file, "launches\tread_bytes\twritten_bytes\tkernel\n");
    for (const auto &c : counters)
        fprintf(file, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\n", c.second.launches, c.second.read, c.second.written,
                c.first.c_str());
    fclose(file);
}

void count_launch(const std::string &kernel)
{
    static const bool registered = getenv("GM_SIM_REPORT") && atexit(write_report) == 0;
    (void)registered;
    std::lock_guard<std::mutex> lock(mutex);
    counters[kernel].launches++;
}

void count_bytes(const char *kernel, uint64_t read, uint64_t written)
{
    if (!read && !written) return;
    std::lock_guard<std::mutex> lock(mutex);
    Counter &c = counters[kernel];
    c.read += read;
    c.written += written;
}

} // namespace emu

extern "C" int gm_sim_counters(gm_sim_counter *out, int capacity)
{
    std::lock_guard<std::mutex> lock(emu::mutex);
    int count = 0;
    for (const auto &c : emu::counters) {
        if (count < capacity) out[count] = { c.first.c_str(), c.second.launches, c.second.read, c.second.written };
        count++;
    }
    return count;
}

extern "C" void gm_sim_counters_reset(void)
{
    std::lock_guard<std::mutex> lock(emu::mutex);
    emu::counters.clear();
}
