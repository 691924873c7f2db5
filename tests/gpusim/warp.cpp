/* Warp operations: all lanes of a mask meet, the last to arrive works for all of them. Tensor-core operations follow the
 * fragment layouts of the PTX ISA, so a wrong layout in a kernel gives a wrong result here too. */
#include "internal.h"

namespace emu {

static const unsigned ALL_LANES = 0xFFFFFFFFu;

/* ---- meeting ---- */

void meeting_finish(Warp &warp, int index)
{
    Meeting m = warp.meetings[index];
    warp.meetings[index] = warp.meetings[--warp.meeting_count];
    m.run(m.arrived, m.arguments);
    Worker *w = tls.worker;
    const unsigned first = (unsigned)(&warp - w->warps.data()) * 32;
    if (m.run == warp_nothing) warp.epoch++;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!(m.arrived >> lane & 1)) continue;
        LiveThread &t = w->threads[first + lane];
        t.waits_in = nullptr;
        if (&t != tls.self) w->ready.push_back(first + lane);
    }
}

static void check_mask(const Worker *w, const LiveThread &t, unsigned mask, const char *name, const char *file, int line)
{
    const unsigned left = w->thread_count - t.warp * 32, existing = left >= 32 ? ALL_LANES : (1u << left) - 1;
    if (mask & existing & ~w->warps[t.warp].alive) fail(file, line, "%s: mask %08x names lanes that have exited", name, mask);
    if (mask & ~existing) fail(file, line, "%s: mask %08x names lanes that the block does not have", name, mask);
}

static int find_meeting(Warp &warp, unsigned mask, const char *name, WarpFunction run, const char *file, int line)
{
    for (int i = 0; i < warp.meeting_count; i++)
        if (warp.meetings[i].mask == mask) return i;
    Meeting &m = warp.meetings[warp.meeting_count];
    m.mask = mask;
    m.arrived = 0;
    m.name = name;
    m.file = file;
    m.line = line;
    m.run = run;
    return warp.meeting_count++;
}

void warp_meet(unsigned mask, const char *name, WarpFunction run, void *argument, const char *file, int line)
{
    Worker *w = tls.worker;
    LiveThread &t = self_thread();
    Warp &warp = w->warps[t.warp];
    if (!(mask >> t.lane & 1)) {
        fail(file, line, "%s: mask %08x lacks the calling lane %u", name, mask, t.lane);
        return;
    }
    if (mask != warp.alive) check_mask(w, t, mask, name, file, line);
    const int index = find_meeting(warp, mask, name, run, file, line);
    Meeting &m = warp.meetings[index];
    if (m.run != run || m.line != line)
        fail(file, line, "divergent warp operation: %s meets %s of %s:%d", name, m.name, m.file, m.line);
    m.arrived |= 1u << t.lane;
    m.arguments[t.lane] = argument;
    t.waits_in = name;
    t.wait_mask = mask;
    t.wait_file = file;
    t.wait_line = line;
    if (m.arrived == (mask & warp.alive))
        meeting_finish(warp, index);
    else
        go_next(w, &t.fiber->context);
}

/* ---- what they do when they have met ---- */

/* At the call that the running lane waits in. */
template <class... Values> static void report(const char *format, Values... values)
{
    const LiveThread &t = self_thread();
    fail(t.wait_file, t.wait_line, format, values...);
}

template <class Argument, class Work> static void for_lanes(unsigned lanes, void **arguments, Work work)
{
    for (unsigned lane = 0; lane < 32; lane++)
        if (lanes >> lane & 1) work(lane, *(Argument *)arguments[lane]);
}

void warp_nothing(unsigned, void **) {}

void warp_shuffle(unsigned lanes, void **arguments)
{
    for_lanes<Shuffle>(lanes, arguments, [&](unsigned, Shuffle &s) {
        if (lanes >> (s.source & 31) & 1) {
            s.out = ((const Shuffle *)arguments[s.source & 31])->value;
            return;
        }
        s.out = 0x7FC0DEAD7FC0DEADull; /* NaN in either half */
        report("shuffle reads lane %d, which takes no part", s.source);
    });
}

void warp_ballot(unsigned lanes, void **arguments)
{
    unsigned votes = 0;
    for_lanes<Ballot>(lanes, arguments, [&](unsigned lane, Ballot &b) { votes |= (unsigned)(b.predicate != 0) << lane; });
    for_lanes<Ballot>(lanes, arguments, [&](unsigned, Ballot &b) { b.out = votes; });
}

static uint32_t reduce(ReduceOp op, uint32_t a, uint32_t b)
{
    switch (op) {
    case REDUCE_ADD: return a + b;
    case REDUCE_MIN: return a < b ? a : b;
    case REDUCE_MAX: return a > b ? a : b;
    case REDUCE_AND: return a & b;
    case REDUCE_OR: return a | b;
    case REDUCE_XOR: return a ^ b;
    }
    return 0;
}

void warp_reduce(unsigned lanes, void **arguments)
{
    bool any = false;
    uint32_t total = 0;
    for_lanes<Reduce>(lanes, arguments, [&](unsigned, Reduce &r) {
        total = any ? reduce(r.op, total, r.value) : r.value;
        any = true;
    });
    for_lanes<Reduce>(lanes, arguments, [&](unsigned, Reduce &r) { r.out = total; });
}

/* Lane l gives the address of row l % 8 of tile l / 8, and gets the two elements l % 4 * 2 of row l / 4 of each tile. */
void warp_ldmatrix(unsigned lanes, void **arguments)
{
    if (lanes != ALL_LANES) {
        report("ldmatrix needs all 32 lanes");
        return;
    }
    const int tiles = ((const Ldmatrix *)arguments[0])->tiles;
    for (int tile = 0; tile < tiles; tile++) {
        uint16_t m[8][8];
        for (int row = 0; row < 8; row++) {
            const void *p = ((const Ldmatrix *)arguments[tile * 8 + row])->row;
            if ((uintptr_t)p % 16) report("ldmatrix: the row address %p is not 16-byte aligned", p);
            memset(m[row], 0xFF, sizeof m[row]);
            if (check_access(p, 16, false, false)) memcpy(m[row], p, 16);
        }
        for_lanes<Ldmatrix>(lanes, arguments, [&](unsigned lane, Ldmatrix &l) {
            const unsigned row = lane / 4, column = lane % 4 * 2;
            const uint32_t low = l.transposed ? m[column][row] : m[row][column];
            const uint32_t high = l.transposed ? m[column + 1][row] : m[row][column + 1];
            l.out[tile] = low | high << 16;
        });
    }
}

static float half_of(uint32_t pair, int half)
{
    const uint32_t bits = (half ? pair >> 16 : pair & 0xFFFF) << 16; /* a bf16 is the upper half of a float */
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void warp_mma_m16n8k16(unsigned lanes, void **arguments)
{
    if (lanes != ALL_LANES) {
        report("mma needs all 32 lanes");
        return;
    }
    float a[16][16], b[16][8], d[16][8];
    for_lanes<Mma>(lanes, arguments, [&](unsigned lane, Mma &m) {
        const unsigned group = lane / 4, pair = lane % 4 * 2;
        for (unsigned r = 0; r < 4; r++)
            for (unsigned half = 0; half < 2; half++)
                a[group + r % 2 * 8][pair + r / 2 * 8 + half] = half_of(m.a[r], (int)half);
        for (unsigned r = 0; r < 2; r++)
            for (unsigned half = 0; half < 2; half++) b[pair + r * 8 + half][group] = half_of(m.b[r], (int)half);
        for (unsigned r = 0; r < 4; r++) d[group + r / 2 * 8][pair + r % 2] = m.d[r];
    });
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
    for_lanes<Mma>(lanes, arguments, [&](unsigned lane, Mma &m) {
        const unsigned group = lane / 4, pair = lane % 4 * 2;
        for (unsigned r = 0; r < 4; r++) m.d[r] = d[group + r / 2 * 8][pair + r % 2];
    });
}

/* ---- cp.async: lands only where it is waited for ---- */

void cp_async(void *shared, const void *global, int bytes, const char *file, int line)
{
    if (((uintptr_t)shared | (bytes ? (uintptr_t)global : 0)) % 16)
        fail(file, line, "cp.async: an address is not 16-byte aligned (to %p, from %p)", shared, global);
    if (bytes < 0 || bytes > 16) fail(file, line, "cp.async: %d source bytes, 0 to 16 are possible", bytes);
    self_thread().open_copies.push_back({ shared, global, bytes, file, line });
}

void cp_async_close_group()
{
    LiveThread &t = self_thread();
    t.copy_groups.push_back(std::move(t.open_copies));
    t.open_copies.clear();
}

void cp_async_wait_for(int groups_left)
{
    LiveThread &t = self_thread();
    while ((int)t.copy_groups.size() > groups_left) {
        for (const Copy &copy : t.copy_groups.front()) {
            if (!check_copy(copy)) continue;
            memcpy(copy.to, copy.from, (size_t)copy.bytes);
            memset((char *)copy.to + copy.bytes, 0, 16 - (size_t)copy.bytes);
        }
        t.copy_groups.pop_front();
    }
}

} // namespace emu
