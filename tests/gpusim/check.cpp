/* Exact checks of every memory access of kernel code. Kernel sources are compiled with -fsanitize=thread,alignment,bounds,
 * which makes the compiler call __tsan_readN, __tsan_writeN and __ubsan_handle_...; the link has no sanitizer, so the
 * calls arrive here. Found, by name: accesses out of bounds, misaligned vectors, reads of shared or device memory that
 * nobody has written, races within a block (no barrier between) and between blocks of a launch. */
#include "internal.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <map>

namespace emu {

/* One a byte: who last wrote and read it, and when. A phase is a global count of launches, blocks and barriers; an epoch
 * counts the __syncwarp of a warp. Shared memory is initialised where it was written in this block. */
struct Cell {
    uint32_t write_phase, read_phase;
    uint16_t writer, reader;
    uint8_t write_epoch, read_epoch, initialised, flags;
};
/* Reads of this phase: by several lanes in one epoch, by several warps. A __syncwarp orders what its lanes read before it. */
enum { WRITTEN_ATOMICALLY = 1, READ_BY_LANES = 2, READ_BY_WARPS = 4 };
/* One for 32 bytes of device memory, what the caches of a GPU ask for at least: the block and the launch, both numbered
 * from 1, that last read and wrote it. */
enum { SECTOR_BYTES = 32 };
struct Sector { uint32_t read_block, write_block, read_launch, write_launch; };
struct Region {
    char *low;
    size_t bytes;
    Cell *cells;     /* NULL where bytes are only counted */
    Sector *sectors; /* of device memory */
    const char *kind;
    bool holds(const char *p, size_t n) const { return p >= low && p + n <= low + bytes; }
};
struct Range {
    const char *low, *high;
    bool holds(const char *p) const { return p >= low && p < high; }
};
struct Where { const void *pc; const char *file; int line; }; /* pc, or file and line */

static std::map<char *, Region> allocations;
static Region dynamic_shared, static_shared, *last_found;
static uint32_t phase = 1, launch_phase, block_phase;
static bool block_fenced, block_acquired;
static Range own[2]; /* emulator memory that kernels read */
static std::vector<Range> image;
static const void *image_base;
static std::string image_path;
static Traffic traffic;
static uint32_t block_number, launch_number;

#ifdef EMU_CHECK
bool check_available() { return true; }
#else
bool check_available() { return false; }
#endif

/* Zeros, of which only what is used takes memory. */
template <class T> static T *make_shadow(size_t n)
{
    void *block = mmap(nullptr, n * sizeof(T) + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) abort();
    return (T *)block;
}
static size_t sectors_of(size_t bytes) { return (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES; }
static void drop_shadow(const Region &r)
{
    if (r.cells) munmap(r.cells, r.bytes * sizeof(Cell) + 1);
    if (r.sectors) munmap(r.sectors, sectors_of(r.bytes) * sizeof(Sector) + 1);
}

/* ---- what exists, and the order of things ---- */

void check_launch_begin()
{
    launch_phase = ++phase;
    launch_number++;
    traffic = Traffic();
}
Traffic check_launch_end()
{
    block_phase = ++phase;
    return traffic;
}
void check_barrier() { ++phase; }
void check_own(int slot, const void *p, size_t n) { own[slot] = { (const char *)p, (const char *)p + n }; }

static void fit(Region &r, char *low, size_t bytes, const char *kind)
{
    if (config.check && (r.bytes < bytes || !r.cells)) {
        drop_shadow(r);
        r.cells = make_shadow<Cell>(bytes);
    }
    r.low = low;
    r.bytes = bytes;
    r.kind = kind;
}

void check_block_begin(char *dynamic, size_t bytes)
{
    if (!config.hooks) return;
    block_number++;
    block_phase = ++phase;
    block_fenced = block_acquired = false;
    fit(dynamic_shared, dynamic, bytes, "dynamic shared");
    fit(static_shared, tls.segment, tls.segment_bytes, "static shared");
}

void check_alloc(char *p, size_t bytes, bool initialised)
{
    if (!config.hooks) return;
    const Region r = { p, bytes, config.check ? make_shadow<Cell>(bytes) : nullptr,
                       initialised ? nullptr : make_shadow<Sector>(sectors_of(bytes)), initialised ? "pinned host" : "device" };
    if (initialised && r.cells)
        for (size_t i = 0; i < bytes; i++) r.cells[i].initialised = 1;
    allocations[p] = r;
    last_found = nullptr;
}

void check_free(char *p)
{
    const auto found = allocations.find(p);
    if (found == allocations.end()) return;
    drop_shadow(found->second);
    allocations.erase(found);
    last_found = nullptr;
}

static Region *find(char *p, size_t n)
{
    if (static_shared.holds(p, n)) return &static_shared;
    if (dynamic_shared.holds(p, n)) return &dynamic_shared;
    if (last_found && last_found->holds(p, n)) return last_found;
    auto next = allocations.upper_bound(p);
    if (next == allocations.begin()) return nullptr;
    Region &r = (--next)->second;
    return r.holds(p, n) ? last_found = &r : nullptr;
}

void check_initialised(const void *p, size_t n)
{
    if (!config.check || n == 0) return;
    Region *r = find((char *)p, n);
    if (!r) return;
    for (size_t i = (size_t)((char *)p - r->low), end = i + n; i < end; i++) r->cells[i].initialised = 1;
}

void check_library_read(const char *who, const void *p, size_t n)
{
    if (!config.check || n == 0) return;
    const Region *r = find((char *)p, n);
    if (!r) return;
    const size_t first = (size_t)((char *)p - r->low);
    for (size_t i = first; i < first + n; i++) {
        if (r->cells[i].initialised) continue;
        fail(nullptr, 0, "%s reads device memory that nobody has written: byte %zu of the allocation at %p", who, i, (void *)r->low);
        return;
    }
}

/* ---- the image: constants of kernels lie in it, and messages need its source lines ---- */

static int find_image(struct dl_phdr_info *info, size_t, void *)
{
    std::vector<Range> ranges;
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD) continue;
        const char *low = (const char *)info->dlpi_addr + header.p_vaddr;
        ranges.push_back({ low, low + header.p_memsz });
        ours = ours || ranges.back().holds((const char *)&image);
    }
    if (!ours) return 0;
    image = ranges;
    image_base = (const void *)info->dlpi_addr;
    image_path = info->dlpi_name && *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
    return 1;
}
static void need_image()
{
    if (image.empty()) dl_iterate_phdr(find_image, nullptr);
}

/* file:line of a program counter by addr2line, where that tool is; else the offset in the image. */
static std::string source_line(const void *pc)
{
    static std::map<const void *, std::string> known;
    std::string &text = known[pc];
    if (!text.empty()) return text;
    need_image();
    char command[700], line[512] = "";
    const unsigned long offset = (unsigned long)((const char *)pc - (const char *)image_base) - 1; /* of the call */
    snprintf(command, sizeof command, "addr2line -s -e '%s' 0x%lx 2>/dev/null", image_path.c_str(), offset);
    if (image_path == "/proc/self/exe") { /* the shell would look at itself */
        char path[400] = "";
        if (!realpath("/proc/self/exe", path)) path[0] = 0;
        snprintf(command, sizeof command, "addr2line -s -e '%s' 0x%lx 2>/dev/null", path, offset);
    }
    FILE *pipe = popen(command, "r");
    if (pipe && !fgets(line, sizeof line, pipe)) line[0] = 0;
    if (pipe) pclose(pipe);
    line[strcspn(line, " \n")] = 0;
    if (!line[0] || line[0] == '?') snprintf(line, sizeof line, "image+0x%lx", offset);
    return text = line;
}

template <class... Values> static void report(const Where &at, const char *format, Values... values)
{
    if (at.file) {
        fail(at.file, at.line, format, values...);
        return;
    }
    std::string file = source_line(at.pc);
    int line = 0;
    const size_t colon = file.rfind(':');
    if (colon != std::string::npos) {
        line = atoi(file.c_str() + colon + 1);
        file.resize(colon);
    }
    fail(file.c_str(), line, format, values...);
}

/* ---- one access ---- */

static void report_outside(const Where &at, char *p, size_t n, const char *verb)
{
    const auto next = allocations.upper_bound(p + n);
    if (next == allocations.begin()) {
        report(at, "%s of %zu bytes at %p is in no device or shared memory", verb, n, (void *)p);
        return;
    }
    const Region &r = std::prev(next)->second;
    report(at, "%s of %zu bytes at %p is out of bounds: %td past the start of a %s allocation of %zu bytes", verb, n, (void *)p,
           p - r.low, r.kind, r.bytes);
}

/* Memory of the thread itself, of the emulator, or of the image. */
static bool is_private(const char *p, bool write)
{
    const Fiber *fiber = self_thread().fiber;
    if (p >= fiber->low && p < fiber->high) return true;
    if (p >= (const char *)&tls && p < (const char *)(&tls + 1)) return true;
    if (write) return false;
    for (const Range &r : own)
        if (r.holds(p)) return true;
    return false;
}

static bool in_image(const char *p)
{
    need_image();
    for (const Range &r : image)
        if (r.holds(p)) return true;
    return false;
}

struct Accessor { /* the thread that makes an access */
    unsigned thread;
    uint8_t epoch;
    bool shared; /* the memory is shared memory */

    /* Does an earlier access at this time by that thread lack an order with ours? */
    bool races(uint32_t when, unsigned other, uint8_t other_epoch) const
    {
        if (when < launch_phase) return false;
        if (when < block_phase) return !shared && !block_acquired; /* by another block of this launch */
        if (when < phase || other == thread) return false;
        return other / 32 != thread / 32 || other_epoch == epoch;
    }
    bool races_with_readers(const Cell &c) const
    {
        if (!c.read_phase) return false;
        if (c.read_phase == phase && (c.flags & READ_BY_WARPS)) return true;
        if (c.read_phase == phase && (c.flags & READ_BY_LANES)) return c.reader / 32 != thread / 32 || c.read_epoch == epoch;
        return races(c.read_phase, c.reader, c.read_epoch);
    }
};

static void note_write(Cell &c, const Accessor &by, bool atomic)
{
    c.write_phase = phase;
    c.writer = (uint16_t)by.thread;
    c.write_epoch = by.epoch;
    c.initialised = 1;
    if (c.read_phase != phase) c.read_phase = 0;
    const int readers = c.read_phase ? c.flags & (READ_BY_LANES | READ_BY_WARPS) : 0;
    c.flags = (uint8_t)(readers | (atomic ? WRITTEN_ATOMICALLY : 0));
}

static void note_read(Cell &c, const Accessor &by)
{
    if (c.read_phase != phase) c.flags &= WRITTEN_ATOMICALLY;
    else if (c.reader / 32 != by.thread / 32) c.flags |= READ_BY_WARPS;
    else if (c.read_epoch != by.epoch) c.flags &= (uint8_t)~READ_BY_LANES;
    else if (c.reader != by.thread) c.flags |= READ_BY_LANES;
    c.read_phase = phase;
    c.reader = (uint16_t)by.thread;
    c.read_epoch = by.epoch;
}

static void count_access(const Region &r, const char *p, size_t n, bool write)
{
    if (!r.sectors) return;
    for (size_t i = (size_t)(p - r.low) / SECTOR_BYTES, end = sectors_of((size_t)(p - r.low) + n); i < end; i++) {
        Sector &s = r.sectors[i];
        uint32_t &block = write ? s.write_block : s.read_block, &launch = write ? s.write_launch : s.read_launch;
        if (block != block_number) (write ? traffic.written : traffic.read) += SECTOR_BYTES;
        if (launch != launch_number) (write ? traffic.written_once : traffic.read_once) += SECTOR_BYTES;
        block = block_number;
        launch = launch_number;
    }
}

static bool access(char *p, size_t n, bool write, bool atomic, const Where &at)
{
    if (is_private(p, write)) return true;
    const char *verb = atomic ? "atomic" : write ? "write" : "read";
    Region *r = find(p, n);
    if (r) count_access(*r, p, n, write);
    if (!config.check) return true;
    if (!r) {
        if (!write && in_image(p)) return true;
        report_outside(at, p, n, verb);
        abandon_block();
        return false;
    }
    const bool shared = r == &static_shared || r == &dynamic_shared;
    const Accessor by = { tls.self->linear, (uint8_t)tls.worker->warps[tls.self->warp].epoch, shared };
    if (atomic && !shared && block_fenced) block_acquired = true;
    bool raced = false, fresh = false;
    unsigned other = 0;
    for (Cell *c = r->cells + (p - r->low), *end = c + n; c < end; c++) {
        if (c->write_phase && !(atomic && (c->flags & WRITTEN_ATOMICALLY)) && by.races(c->write_phase, c->writer, c->write_epoch)) {
            raced = true;
            other = c->writer;
        }
        if (write && by.races_with_readers(*c)) {
            raced = true;
            other = c->reader;
        }
        if (!write) fresh = fresh || (shared ? c->write_phase < block_phase : !c->initialised);
        if (write) note_write(*c, by, atomic);
        else note_read(*c, by);
    }
#ifndef __clang__ /* g++ guards thread-local arrays of classes (bf16) with a byte of their own */
    if (r == &static_shared && n == 1) return true;
#endif
    if (raced)
        report(at, "data race: %s of %s memory at byte %td against thread %u, no barrier between", verb, r->kind, p - r->low, other);
    if (fresh) report(at, "read of uninitialised %s memory at byte %td (%zu bytes)", r->kind, p - r->low, n);
    return true;
}

bool check_access(const void *p, size_t n, bool write, bool atomic)
{
    if (!config.hooks || !tls.self) return true;
    return access((char *)p, n, write, atomic, { __builtin_return_address(0), nullptr, 0 });
}

bool check_copy(const Copy &copy)
{
    if (!config.hooks) return true;
    const Where at = { nullptr, copy.file, copy.line };
    const bool readable = copy.bytes == 0 || access((char *)copy.from, (size_t)copy.bytes, false, false, at);
    return readable && access((char *)copy.to, 16, true, false, at);
}

/* A fence and then an atomic order this block behind the blocks before it, as in a last-block sum. That those blocks had
 * fences too is taken on trust. */
void fence()
{
    block_fenced = true;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void hook(void *p, size_t n, bool write, size_t alignment, const void *pc)
{
    if (!config.check && dynamic_shared.holds((char *)p, n)) return; /* most accesses: nothing to count */
    if (!tls.self) return;
    const Where at = { pc, nullptr, 0 };
    /* The compiler may join stores to a thread's own variables as it likes. */
    if (config.check && (uintptr_t)p % alignment && !is_private((char *)p, write)) {
        report(at, "misaligned %s of %zu bytes at %p", write ? "write" : "read", n, p);
        if (n == 16) abandon_block(); /* the processor would fault */
    }
    access((char *)p, n, write, false, at);
}

} // namespace emu

/* ---- what the compiler calls ---- */

using emu::hook;
#define HERE __builtin_return_address(0)
#define HIDDEN __attribute__((visibility("hidden")))
#define HOOKS(N)                                                                                      \
    HIDDEN void __tsan_read##N(void *p) { hook(p, N, false, N, HERE); }                               \
    HIDDEN void __tsan_write##N(void *p) { hook(p, N, true, N, HERE); }                               \
    HIDDEN void __tsan_unaligned_read##N(void *p) { hook(p, N, false, 1, HERE); }                     \
    HIDDEN void __tsan_unaligned_write##N(void *p) { hook(p, N, true, 1, HERE); }                     \
    HIDDEN void __tsan_read##N##_pc(void *p, void *pc) { hook(p, N, false, N, pc); }                  \
    HIDDEN void __tsan_write##N##_pc(void *p, void *pc) { hook(p, N, true, N, pc); }

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

HIDDEN void __tsan_init() {}
HIDDEN void __tsan_func_entry(void *) {}
HIDDEN void __tsan_func_exit() {}
HIDDEN void __tsan_vptr_update(void **, void *) {}
HIDDEN void __tsan_vptr_read(void **) {}
HIDDEN void __tsan_read_range(void *p, unsigned long n) { hook(p, n, false, 1, HERE); }
HIDDEN void __tsan_write_range(void *p, unsigned long n) { hook(p, n, true, 1, HERE); }
HIDDEN void *__tsan_memcpy(void *to, const void *from, size_t n)
{
    hook((void *)from, n, false, 1, HERE);
    hook(to, n, true, 1, HERE);
    return memcpy(to, from, n);
}
HIDDEN void *__tsan_memmove(void *to, const void *from, size_t n)
{
    hook((void *)from, n, false, 1, HERE);
    hook(to, n, true, 1, HERE);
    return memmove(to, from, n);
}
HIDDEN void *__tsan_memset(void *to, int byte, size_t n)
{
    hook(to, n, true, 1, HERE);
    return memset(to, byte, n);
}
HIDDEN void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* -fsanitize=alignment,bounds: their reports carry the source line */
struct SourceLine { const char *file; uint32_t line, column; };
HIDDEN void __ubsan_handle_type_mismatch_v1(SourceLine *at, void *p)
{
    if (!emu::tls.self) return;
    emu::fail(at->file, (int)at->line, "misaligned access at %p", p);
    emu::abandon_block();
}
HIDDEN void __ubsan_handle_out_of_bounds(SourceLine *at, void *index)
{
    if (!emu::tls.self) return;
    emu::fail(at->file, (int)at->line, "array index %ld is out of bounds", (long)index);
    emu::abandon_block();
}
}
