/* Between the emulator's own files. */
#ifndef GM_SIM_INTERNAL_H
#define GM_SIM_INTERNAL_H

#include <stdint.h>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "emu.h"
#include "fiber.h"

namespace emu {

/* ---- settings (config.cpp) ---- */
enum Order { ORDER_SEQ, ORDER_REV, ORDER_RANDOM };
struct Config {
    Order order;
    uint64_t seed;
    int poison;      /* the byte that fills fresh memory: 255 makes floats NaN */
    bool allow_exit; /* a thread may end before the barriers of others */
    bool async;      /* stream work runs only when something waits for it */
    int devices, workers;
    int patience_s;  /* with other processes, in collectives */
    bool hooks;      /* kernels were built with access hooks: bytes are counted */
    bool check;      /* and every access is checked */
};
extern Config config;
void config_read(); /* once; every entry of the runtime calls it */

void faults_take(); /* around a launch: memory faults of its kernel are reported */
void faults_give_back();
void faults_prepare_thread();
int errors_pending(); /* reports since they were last taken */

/* xorshift: the simulator's draws need no quality, only a seed */
struct Random {
    uint64_t state;
    uint32_t next()
    {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (uint32_t)(state >> 16);
    }
};

/* ---- a block in execution (block.cpp, warp.cpp) ---- */
struct Copy { void *to; const void *from; int bytes; const char *file; int line; };
struct LiveThread : Thread {
    Fiber *fiber;
    bool done;
    const char *waits_in; /* name of the operation, NULL while it runs */
    const char *wait_file;
    int wait_line;
    unsigned wait_mask;
    std::vector<Copy> open_copies;
    std::deque<std::vector<Copy>> copy_groups;
};
struct Meeting { /* of lanes that called the same warp operation with the same mask */
    unsigned mask, arrived;
    const char *name, *file;
    int line;
    WarpFunction run;
    void *arguments[32];
};
struct Warp {
    unsigned alive;
    int meeting_count;
    Meeting meetings[32];
    unsigned epoch; /* counts its __syncwarp, which orders memory within the warp */
};
struct Worker { /* runs one block after the other on a thread of the system */
    std::vector<Fiber *> pool;
    std::vector<LiveThread> threads;
    std::vector<Warp> warps;
    unsigned thread_count = 0, started = 0, done_count = 0, alive = 0;
    std::vector<unsigned> order;    /* in which threads start */
    std::vector<unsigned> ready;    /* started, and free to go on: a queue in seq order, else a bag */
    size_t ready_head = 0;
    unsigned at_barrier = 0;
    const char *barrier_file = nullptr;
    int barrier_line = 0, vote = 0, vote_result = 0;
    Context host, discarded;
    Random random;
    bool by_warp = false;           /* random order: warps have priorities instead of threads being mixed */
    std::vector<uint32_t> priority; /* of a warp */
    bool abandoned = false;         /* the block was given up; its fibers are left behind */
    uint3 shape = { 0, 0, 0 };      /* block shape that threads[] is set up for */
    Call call = nullptr;
    const void *bound = nullptr;
    const char *kernel_name = "";
    std::vector<char> shared_store;
};
inline LiveThread &self_thread() { return *static_cast<LiveThread *>(tls.self); }
void block_run(Worker *worker, uint3 index, dim3 grid, dim3 block, size_t smem, uint64_t salt);
void abandon_block();           /* an access that would fault: gives the block up */
void go_next(Worker *worker, Context *from);
void meeting_finish(Warp &warp, int index);

/* ---- a launch (grid.cpp) ---- */
struct Launch {
    std::string name, counted_as;
    Call call;
    std::vector<char> bound;
    dim3 grid, block;
    size_t smem;
};
void grid_run(const Launch &launch);
cudaError_t set_dynamic_limit(const void *kernel, int bytes);

/* ---- streams (stream.cpp) ---- */
void enqueue(cudaStream_t stream, std::function<void()> work); /* runs now, later under GM_SIM_ASYNC, or is captured */
/* Work with other processes: `begin` gives what is tried, from its turn in the stream on, until it says that it has ended. */
void enqueue_together(cudaStream_t stream, std::function<std::function<bool()>()> begin);
void drain(cudaStream_t stream);
void drain_all();
bool capturing_forbids(const char *call); /* reports and says true while a global capture is under way */
cudaError_t remember(cudaError_t error);

/* ---- device memory (memory.cpp) ---- */
bool device_range(const void *p, size_t bytes); /* lies within one live device allocation */
void forget_devices_memory();

/* ---- the checker (check.cpp); no-ops unless the check build ---- */
bool check_available();
void check_launch_begin();
struct Traffic;
Traffic check_launch_end(); /* what the launch moved; nothing without hooks */
void check_block_begin(char *dynamic_shared, size_t bytes);
void check_barrier();
void check_own(int slot, const void *p, size_t bytes); /* emulator memory that kernels read: 0 threads, 1 arguments */
void check_alloc(char *p, size_t bytes, bool initialised);
void check_free(char *p);
void check_initialised(const void *p, size_t bytes);
void check_library_read(const char *who, const void *p, size_t bytes); /* reports memory that nobody has written */
bool check_copy(const Copy &copy);

/* ---- counters (count.cpp), of the operation that queued the work ---- */
struct Traffic { /* bytes of device memory */
    uint64_t read, written;           /* a block's accesses to the same 32 bytes count once */
    uint64_t read_once, written_once; /* a launch's do */
};
struct Shape { uint64_t blocks; unsigned threads; size_t shared; };
void count_launch(const std::string &kernel, const Shape &shape = { 0, 0, 0 });
void count_bytes(const std::string &kernel, const Traffic &traffic);
void count_bytes(const std::string &kernel, uint64_t read, uint64_t written);
struct Least { uint64_t read, written; double flops; };
void count_operation(const char *operation, const Least &least, bool is_update); /* is_update: such end a step */
void count_input(); /* data from the host, or a graph: the first after an update begins a step */

/* ---- names of kernels with their template arguments (names.cpp) ---- */
std::string kernel_name(const void *kernel, const char *otherwise);

} // namespace emu

#endif
