/* A clock round each operation: a table of kernels that times the backend's own. Where whole sentences are dealt to workers
 * a worker runs one operation at a time, so its times add up to its pass. Reading the clock twice costs some 50 ns a call. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

typedef enum operation {
#define GM_KERNEL(op) WATCH_##op,
#define GM_KERNEL_FORWARD(op) WATCH_##op,
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
    WATCHED
} operation;

static const char *const names[WATCHED] = {
#define GM_KERNEL(op) #op,
#define GM_KERNEL_FORWARD(op) #op,
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
};

enum { MAX_THREADS = 1024, FORWARD = 0, BACKWARD = 1 };

static gm_kernels own;
static double spent[MAX_THREADS][WATCHED][2];

static gm_status note(operation op, int direction, double began, gm_status status)
{
    const int thread = omp_get_thread_num();
    if (thread < MAX_THREADS) spent[thread][op][direction] += gm_bench_now() - began;
    return status;
}

#define GM_KERNEL_FORWARD(op)                                         \
    static gm_status op##_forward(const gm_##op *a, gm_device *dev)   \
    {                                                                 \
        const double began = gm_bench_now();                          \
        return note(WATCH_##op, FORWARD, began, own.op.forward(a, dev)); \
    }
#define GM_KERNEL(op)                                                      \
    GM_KERNEL_FORWARD(op)                                                  \
    static gm_status op##_backward(const gm_##op##_grad *a, gm_device *dev) \
    {                                                                      \
        const double began = gm_bench_now();                               \
        return note(WATCH_##op, BACKWARD, began, own.op.backward(a, dev)); \
    }
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD

void gm_bench_watch(gm_bench *b, bool on)
{
    static const gm_kernels watched = {
#define GM_KERNEL(op) .op = { op##_forward, op##_backward },
#define GM_KERNEL_FORWARD(op) .op = { op##_forward },
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
    };
    own = b->kernels;
    if (on) memset(spent, 0, sizeof spent);
    b->run.backend.kernels = on ? watched : b->kernels;
}

/* What is done once a step, by all threads together: its time is the calling thread's. */
static bool is_optimiser(operation op) { return op == WATCH_grad_norm || op == WATCH_adamw; }

/* A worker's mean over those that had anything to do: a lone sentence is one worker's. */
static double spent_ms(operation op, int direction, int32_t passes)
{
    double sum = 0.0;
    int workers = 0;
    for (int thread = 0; thread < MAX_THREADS; thread++) {
        sum += spent[thread][op][direction];
        workers += spent[thread][op][direction] > 0.0;
    }
    return workers > 0 ? 1e3 * sum / workers / passes : 0.0;
}

gm_status gm_bench_add_watched(gm_bench *b, const char *part, int32_t passes, double total_s, gm_err *err)
{
    static const char *const sums[] = { "all forward", "all backward", "all of the optimiser" };
    double sum[GM_LEN(sums)] = { 0 }, left = 1e3 * total_s / passes;
    char name[48];
    for (operation op = 0; op < WATCHED; op++)
        for (int direction = FORWARD; direction <= BACKWARD; direction++) {
            const double ms = spent_ms(op, direction, passes);
            if (!(ms > 0.0)) continue;
            sum[is_optimiser(op) ? 2 : direction] += ms;
            left -= ms;
            snprintf(name, sizeof name, "%s %s", names[op], direction == FORWARD ? "forward" : "backward");
            GM_TRY(gm_bench_add(b, part, name, "ms", ms, NULL, err));
        }
    for (size_t i = 0; i < GM_LEN(sums); i++)
        if (sum[i] > 0.0) GM_TRY(gm_bench_add(b, part, sums[i], "ms", sum[i], NULL, err));
    return gm_bench_add(b, part, "outside of operations", "ms", left, NULL, err);
}
