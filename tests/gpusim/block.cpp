/* Runs the threads of one block as fibers that take turns: picks who goes next, holds barriers, and reports barriers that
 * diverge and threads that wait for ever. A fiber whose thread ends takes the next thread that has not begun, so a kernel
 * without barriers is a loop on one stack. */
#include "internal.h"

#include <link.h>
#include <utility>

namespace emu {

static const char BARRIER[] = "__syncthreads";

static void block_done(Worker *w, Context *from);
static void fiber_entry();

/* ---- who goes next ---- */

static unsigned take_at(Worker *w, size_t i)
{
    std::swap(w->ready[i], w->ready.back());
    const unsigned thread = w->ready.back();
    w->ready.pop_back();
    return thread;
}

static unsigned take_random(Worker *w)
{
    const size_t n = w->ready.size();
    size_t best = w->random.next() % n;
    if (!w->by_warp) return take_at(w, best);
    /* One warp runs far ahead of the others: that is what finds a missing second barrier. */
    if (w->random.next() % 256 == 0)
        for (uint32_t &priority : w->priority) priority = w->random.next();
    for (size_t i = 0; i < n; i++)
        if (w->priority[w->ready[i] / 32] > w->priority[w->ready[best] / 32]) best = i;
    return take_at(w, best);
}

static unsigned take_ready(Worker *w)
{
    if (config.order == ORDER_RANDOM) return take_random(w);
    if (config.order == ORDER_REV) return take_at(w, w->ready.size() - 1);
    const unsigned thread = w->ready[w->ready_head++];
    if (w->ready_head == w->ready.size()) {
        w->ready.clear();
        w->ready_head = 0;
    }
    return thread;
}

/* A thread that can go on, else one that has not begun (*fresh), else NULL. */
static LiveThread *pick(Worker *w, bool *fresh)
{
    bool is_ready = w->ready_head < w->ready.size(), is_fresh = w->started < w->thread_count;
    if (is_ready && is_fresh && config.order == ORDER_RANDOM && !w->by_warp) (w->random.next() & 1 ? is_ready : is_fresh) = false;
    *fresh = !is_ready;
    if (is_ready) return &w->threads[take_ready(w)];
    return is_fresh ? &w->threads[w->order[w->started++]] : nullptr;
}

void go_next(Worker *w, Context *from)
{
    bool fresh;
    LiveThread *next = pick(w, &fresh);
    if (!next) {
        block_done(w, from);
        return;
    }
    tls.self = next;
    if (fresh) next->fiber = fiber_take(w->pool, fiber_entry);
    context_switch(from, &next->fiber->context);
}

/* ---- the end of threads and blocks ---- */

static void report_stuck(Worker *w)
{
    const LiveThread *last = nullptr;
    int shown = 0;
    for (unsigned i = 0; i < w->thread_count && shown < 4; i++) {
        LiveThread &t = w->threads[i];
        if (t.done || (last && last->wait_file == t.wait_file && last->wait_line == t.wait_line)) continue;
        tls.self = &t;
        fail(t.wait_file, t.wait_line, "deadlock: waits in %s (mask %08x) for threads that never come",
             t.waits_in ? t.waits_in : "nothing", t.wait_mask);
        last = &t;
        shown++;
    }
}

/* Nobody can go on: all threads have ended, or they wait for each other. */
static void block_done(Worker *w, Context *from)
{
    if (w->done_count < w->thread_count && !w->abandoned) {
        w->abandoned = true;
        report_stuck(w);
    }
    context_switch(from, &w->host);
}

void abandon_block()
{
    Worker *w = tls.worker;
    w->abandoned = true;
    context_switch(&w->discarded, &w->host);
}

static void release_barrier(Worker *w)
{
    w->vote_result = w->vote;
    w->at_barrier = 0;
    w->barrier_file = nullptr;
    check_barrier();
    for (unsigned i = 0; i < w->thread_count; i++) {
        LiveThread &t = w->threads[i];
        if (t.done || t.waits_in != BARRIER) continue;
        t.waits_in = nullptr;
        if (&t != tls.self) w->ready.push_back(i);
    }
}

/* Lanes that wait for a lane that has ended would wait for ever: reported, and they go on without it. */
static void leave_meetings(Warp &warp, unsigned lane)
{
    for (int i = 0; i < warp.meeting_count; i++) {
        const Meeting &m = warp.meetings[i];
        if (!(m.mask >> lane & 1)) continue;
        fail(m.file, m.line, "lane %u exits while lanes %08x wait for it in %s", lane, m.arrived, m.name);
        if (m.arrived == (m.mask & warp.alive)) meeting_finish(warp, i--);
    }
}

static void thread_end(Worker *w)
{
    LiveThread &t = self_thread();
    const std::vector<Copy> &left = t.copy_groups.empty() ? t.open_copies : t.copy_groups.back();
    if (!left.empty()) fail(left[0].file, left[0].line, "the thread ends without waiting for this cp.async");
    t.open_copies.clear();
    t.copy_groups.clear();
    t.done = true;
    w->done_count++;
    w->alive--;
    Warp &warp = w->warps[t.warp];
    warp.alive &= ~(1u << t.lane);
    leave_meetings(warp, t.lane);
    if (!w->at_barrier) return;
    if (!config.allow_exit)
        fail(w->barrier_file, w->barrier_line, "divergent barrier: a thread exits while others wait in __syncthreads");
    if (w->at_barrier == w->alive) release_barrier(w);
}

static void fiber_entry()
{
    Worker *w = tls.worker;
    for (;;) {
        w->call(w->bound);
        Fiber *own = self_thread().fiber;
        thread_end(w);
        bool fresh;
        LiveThread *next = pick(w, &fresh);
        if (next && fresh) { /* on the same stack, without a switch */
            tls.self = next;
            next->fiber = own;
            continue;
        }
        w->pool.push_back(own); /* taken again only after this switch: making a context writes the stack's first words */
        if (!next) block_done(w, &w->discarded);
        tls.self = next;
        context_switch(&w->discarded, &next->fiber->context);
    }
}

/* ---- barriers ---- */

void block_barrier(const char *file, int line)
{
    Worker *w = tls.worker;
    LiveThread &t = self_thread();
    const bool elsewhere = w->at_barrier && (w->barrier_line != line || strcmp(w->barrier_file, file) != 0);
    if (elsewhere)
        fail(file, line, "divergent barrier: other threads of the block wait at %s:%d", w->barrier_file, w->barrier_line);
    if (w->alive < w->thread_count && !config.allow_exit && !w->at_barrier)
        fail(file, line, "divergent barrier: %u threads of the block have exited", w->thread_count - w->alive);
    w->barrier_file = t.wait_file = file;
    w->barrier_line = t.wait_line = line;
    t.waits_in = BARRIER;
    t.wait_mask = 0;
    if (++w->at_barrier == w->alive)
        release_barrier(w);
    else
        go_next(w, &t.fiber->context);
}

int block_vote(int value, Vote vote, const char *file, int line)
{
    Worker *w = tls.worker;
    const int one = value != 0;
    if (!w->at_barrier) w->vote = vote == VOTE_AND;
    if (vote == VOTE_OR) w->vote |= one;
    if (vote == VOTE_AND) w->vote &= one;
    if (vote == VOTE_COUNT) w->vote += one;
    block_barrier(file, line);
    return w->vote_result;
}

/* ---- a block ---- */

static unsigned lanes_of(unsigned threads, unsigned warp)
{
    const unsigned left = threads - warp * 32;
    return left >= 32 ? 0xFFFFFFFFu : (1u << left) - 1;
}

static void set_up_order(Worker *w, uint64_t salt)
{
    const unsigned n = w->thread_count;
    w->random.state = salt * 0x9E3779B97F4A7C15ull + 0x1234567;
    w->by_warp = w->random.next() & 1;
    w->priority.resize(w->warps.size());
    for (uint32_t &priority : w->priority) priority = w->random.next();
    w->order.resize(n);
    for (unsigned i = 0; i < n; i++) w->order[i] = config.order == ORDER_REV ? n - 1 - i : i;
    if (config.order != ORDER_RANDOM) return;
    for (unsigned i = n; i > 1; i--) std::swap(w->order[i - 1], w->order[w->random.next() % i]);
    if (w->by_warp)
        std::stable_sort(w->order.begin(), w->order.end(),
                         [w](unsigned a, unsigned b) { return w->priority[a / 32] > w->priority[b / 32]; });
}

static void set_up_threads(Worker *w, dim3 block)
{
    if (w->threads.size() < w->thread_count) w->threads.resize(w->thread_count);
    const bool same = w->shape.x == block.x && w->shape.y == block.y && w->shape.z == block.z;
    w->shape = { block.x, block.y, block.z };
    for (unsigned i = 0; i < w->thread_count; i++) {
        LiveThread &t = w->threads[i];
        t.done = false;
        if (same) continue;
        t.index = { i % block.x, i / block.x % block.y, i / block.x / block.y };
        t.linear = i;
        t.lane = i % 32;
        t.warp = i / 32;
        t.waits_in = nullptr;
        t.fiber = nullptr;
        t.open_copies.clear();
        t.copy_groups.clear();
    }
    for (unsigned i = 0; i < w->warps.size(); i++) {
        w->warps[i].alive = lanes_of(w->thread_count, i);
        w->warps[i].meeting_count = 0;
        w->warps[i].epoch = 0;
    }
}

/* Finds the thread-local segment of the image that the emulator lies in, the shared object or the program, by the
 * emulator's own object in it: no other thread-local memory of the process may be touched. */
static int find_segment(struct dl_phdr_info *image, size_t, void *)
{
    const char *own = (const char *)&tls, *low = (const char *)image->dlpi_tls_data;
    if (!low) return 0;
    for (int i = 0; i < image->dlpi_phnum; i++) {
        const ElfW(Phdr) &header = image->dlpi_phdr[i];
        if (header.p_type != PT_TLS || own < low || own >= low + header.p_memsz) continue;
        tls.segment = (char *)image->dlpi_tls_data;
        tls.segment_bytes = header.p_memsz;
        return 1;
    }
    return 0;
}

static void poison_shared(char *dynamic_shared, size_t smem)
{
    if (!tls.segment) dl_iterate_phdr(find_segment, nullptr);
    memset(dynamic_shared, config.poison, smem);
    char *own = (char *)&tls, *high = tls.segment + tls.segment_bytes;
    memset(tls.segment, config.poison, (size_t)(own - tls.segment));
    memset(own + sizeof tls, config.poison, (size_t)(high - own) - sizeof tls);
}

void block_run(Worker *w, uint3 index, dim3 grid, dim3 block, size_t smem, uint64_t salt)
{
    w->thread_count = w->alive = block.x * block.y * block.z;
    w->started = w->done_count = w->at_barrier = 0;
    w->ready.clear();
    w->ready_head = 0;
    w->abandoned = false;
    w->warps.resize((w->thread_count + 31) / 32);
    set_up_threads(w, block);
    if (config.order != ORDER_SEQ || w->order.size() != w->thread_count) set_up_order(w, salt);
    tls.block_index = index;
    tls.block_dim = { block.x, block.y, block.z };
    tls.grid_dim = { grid.x, grid.y, grid.z };
    char *store = w->shared_store.data();
    tls.dynamic_shared = store + (128 - (uintptr_t)store % 128) % 128;
    poison_shared(tls.dynamic_shared, smem);
    check_own(0, w->threads.data(), w->threads.size() * sizeof(LiveThread));
    check_block_begin(tls.dynamic_shared, smem);
    go_next(w, &w->host);
    tls.self = nullptr;
    if (!w->abandoned) return;
    w->shape = { 0, 0, 0 }; /* the fibers that still wait are left behind with their stacks */
    w->pool.clear();
}

} // namespace emu
