/* Settings from the environment, and the reports of errors. Only the simulator reads environment variables:
 *   GM_SIM_ORDER       seq (default), rev or random: the order in which threads, blocks and graph nodes run
 *   GM_SIM_SEED        seed of the random order (default 1)
 *   GM_SIM_ASYNC       1: stream work runs only when something waits for it, streams mixed (default 0: at once)
 *   GM_SIM_WORKERS     threads of the system that run blocks (default: all cores; 1 when checking or not seq)
 *   GM_SIM_POISON      byte that fills fresh device and shared memory (default 255: NaN)
 *   GM_SIM_ALLOW_EXIT  1: a thread may end before barriers of its block (default 0: reported)
 *   GM_SIM_DEVICES     number of devices (default 8, as a node has)
 *   GM_SIM_PATIENCE    seconds that a collective of several processes waits for one of them (default 60)
 *   GM_SIM_CHECK       0: the check build only counts bytes, which is faster than checking (default 1)
 *   GM_SIM_REPORT      file that gets the counters when the program ends: gm_sim.h says what it holds */
#include "internal.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <map>
#include <mutex>
#include <thread>

#include "gm_sim.h"

namespace emu {

__thread Tls tls;
Config config;
static int errors;

enum { SHOWN_ERRORS = 24, SHOWN_OF_A_KIND = 2 };
static std::mutex &report_mutex = *new std::mutex;
static std::map<std::pair<int, std::string>, int> &kinds = *new std::map<std::pair<int, std::string>, int>; /* line, format */
static char first_report[1000];

static void describe(char *text, size_t bytes, const char *file, int line, const char *message)
{
    const Tls &t = tls;
    if (t.self)
        snprintf(text, bytes, "%s:%d: kernel %s, block (%u,%u,%u), thread (%u,%u,%u): %s", file ? file : "?", line, t.worker->kernel_name,
                 t.block_index.x, t.block_index.y, t.block_index.z, t.self->index.x, t.self->index.y, t.self->index.z, message);
    else
        snprintf(text, bytes, "%s", message);
}

void fail(const char *file, int line, const char *format, ...)
{
    char message[600], text[sizeof first_report];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    describe(text, sizeof text, file, line, message);
    std::lock_guard<std::mutex> lock(report_mutex);
    if (errors++ == 0) memcpy(first_report, text, sizeof text);
    if (++kinds[{ line, format }] <= SHOWN_OF_A_KIND && errors <= SHOWN_ERRORS) fprintf(stderr, "sim error: %s\n", text);
}

int errors_pending()
{
    std::lock_guard<std::mutex> lock(report_mutex);
    return errors;
}

static const int FAULTS[] = { SIGSEGV, SIGBUS };
static struct sigaction outer[2]; /* handlers of the program: a test frame, a sanitizer */

/* A kernel met a guard page or no memory at all: reported, and its block is given up. Other faults are the program's. */
static void on_fault(int number, siginfo_t *info, void *)
{
    if (!tls.self) {
        sigaction(number, &outer[number == SIGBUS], nullptr); /* the access is made again and faults there */
        return;
    }
    fail(nullptr, 0, "memory fault at %p; the check build names the access", info->si_addr);
    abandon_block();
}

/* While a kernel runs, its faults are ours: a test frame that jumps out of the handler would leave the simulator locked. */
void faults_take()
{
    struct sigaction own = {};
    own.sa_sigaction = on_fault;
    own.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; /* the handler may not return */
    for (int i = 0; i < 2; i++) sigaction(FAULTS[i], &own, &outer[i]);
}

void faults_give_back()
{
    for (int i = 0; i < 2; i++) sigaction(FAULTS[i], &outer[i], nullptr);
}

/* A fiber's stack that overflows leaves no room for a handler: each thread that runs blocks has another stack for it. */
void faults_prepare_thread()
{
    enum { BYTES = 64 * 1024 };
    stack_t stack = {};
    if (sigaltstack(nullptr, &stack) == 0 && !(stack.ss_flags & SS_DISABLE)) return;
    stack.ss_sp = new char[BYTES];
    stack.ss_size = BYTES;
    stack.ss_flags = 0;
    sigaltstack(&stack, nullptr);
}

static int number(const char *name, int standard, int least, int most)
{
    const char *text = getenv(name);
    if (!text || !*text) return standard;
    char *end;
    const long value = strtol(text, &end, 10);
    if (!*end && value >= least && value <= most) return (int)value;
    fail(nullptr, 0, "%s is a number from %d to %d, not \"%s\"", name, least, most, text);
    return standard;
}

static Order order()
{
    const char *text = getenv("GM_SIM_ORDER");
    if (!text || !*text || strcmp(text, "seq") == 0) return ORDER_SEQ;
    if (strcmp(text, "rev") == 0) return ORDER_REV;
    if (strcmp(text, "random") == 0) return ORDER_RANDOM;
    fail(nullptr, 0, "GM_SIM_ORDER is seq, rev or random, not \"%s\"", text);
    return ORDER_SEQ;
}

static void read_environment()
{
    config.order = order();
    config.seed = (uint64_t)number("GM_SIM_SEED", 1, 0, 2147483647);
    config.poison = number("GM_SIM_POISON", 255, 0, 255);
    config.allow_exit = number("GM_SIM_ALLOW_EXIT", 0, 0, 1) != 0;
    config.async = number("GM_SIM_ASYNC", 0, 0, 1) != 0;
    config.devices = number("GM_SIM_DEVICES", 8, 1, 64);
    config.patience_s = number("GM_SIM_PATIENCE", 60, 1, 86400);
    config.hooks = check_available();
    config.check = config.hooks && number("GM_SIM_CHECK", 1, 0, 1);
    config.workers = number("GM_SIM_WORKERS", 0, 0, 256);
    if (config.workers == 0) config.workers = config.order == ORDER_SEQ ? (int)std::thread::hardware_concurrency() : 1;
    if (config.hooks || config.workers < 1) config.workers = 1; /* the hooks see one block at a time */
}

void config_read()
{
    static std::once_flag once;
    std::call_once(once, read_environment);
}

} // namespace emu

extern "C" int gm_sim_take_errors(void)
{
    std::lock_guard<std::mutex> lock(emu::report_mutex);
    const int count = emu::errors;
    emu::errors = 0;
    emu::first_report[0] = 0;
    emu::kinds.clear();
    return count;
}

extern "C" const char *gm_sim_first_error(void) { return emu::first_report; }

extern "C" int gm_sim_checks(void)
{
    emu::config_read();
    return emu::config.check;
}
