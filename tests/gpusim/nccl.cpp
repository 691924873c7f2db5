/* NCCL between processes of one machine, each a rank with a device of its own. A unique id names a block of shared memory that
 * holds a slot for each ordered pair of ranks; every call is made of messages through these slots, in the order of the calls.
 * Each message says what call it belongs to, so calls that do not match are named; so is a process that is gone, and one that
 * does not come (GM_SIM_PATIENCE). Sums are taken in the order of ranks. Calls join their stream and run when it reaches them. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <atomic>
#include <map>
#include <memory>

#if __has_include(<nccl.h>)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <nccl.h>

namespace emu::nccl {

enum { MOST_RANKS = 16, SLOT_BYTES = 1 << 18 };
enum Kind { POINT_TO_POINT, ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, REDUCE };
static const char *const kind_names[] = { "ncclSend", "ncclAllReduce", "ncclBroadcast", "ncclAllGather", "ncclReduceScatter", "ncclReduce" };

/* What a rank has called; both ends of a message must agree on it. */
struct Signature { int kind, type, op, root; uint64_t count; };

struct Slot { /* from one rank to another: full while sent is ahead of taken */
    std::atomic<uint64_t> sent, taken;
    Signature call;
    uint64_t bytes;
    char data[SLOT_BYTES];
};
enum Presence { ABSENT, PRESENT, GONE };
struct Member {
    pthread_mutex_t alive; /* robust, and held as long as its process is there */
    std::atomic<int> presence;
    int device;
    pid_t process;
};
struct Clique { /* the shared memory; fresh it is all zeros */
    std::atomic<int> size, broken; /* broken: 1 while the reason is written, 2 with it */
    char reason[400];
    ncclResult_t result;
    Member member[MOST_RANKS];
    Slot slot[1];
};
static size_t clique_bytes(int size) { return sizeof(Clique) + sizeof(Slot) * (size_t)(size * size); }

/* One direction of a call with one rank. */
struct Part {
    int peer;
    bool is_send;
    char *block;
    size_t bytes, done = 0;
    Signature call;
    bool has_ended = false;
};

} // namespace emu::nccl

struct ncclComm {
    std::string name;
    emu::nccl::Clique *clique = nullptr;
    int rank = 0, size = 0, device = 0;
    bool blocking = true, joined = false, announced = true, aborted = false; /* announced: no call is in progress */
    ncclResult_t result = ncclSuccess;
    std::string reason;
    ~ncclComm();
};

using namespace emu;
using namespace emu::nccl;

namespace emu::nccl {

typedef std::shared_ptr<ncclComm> Shared;

/* All calls of a group with one comm, while the stream has reached them. */
struct Work {
    Shared comm;
    std::vector<Part> parts;
    std::vector<std::function<void()>> before, after; /* copies within the rank, sums of what has come */
    std::vector<std::vector<char>> room;
    double since = 0;
    bool begun = false;
};

struct Operation { Shared comm; Signature call; const void *in; void *out; int peer; cudaStream_t stream; };
struct Group { int depth = 0; std::vector<Operation> operations; };

static std::map<ncclComm *, Shared> &comms = *new std::map<ncclComm *, Shared>;
static std::string last_reason; /* of a comm that could not be made */

static double now_s()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

__attribute__((format(printf, 1, 2))) static std::string text_of(const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

static ncclResult_t refuse(ncclResult_t result, const std::string &reason)
{
    last_reason = reason;
    fail(nullptr, 0, "%s", reason.c_str());
    return result;
}

static size_t size_of(int type)
{
    switch (type) {
    case ncclInt8: case ncclUint8: return 1;
    case ncclFloat16: case ncclBfloat16: return 2;
    case ncclInt32: case ncclUint32: case ncclFloat32: return 4;
    case ncclInt64: case ncclUint64: case ncclFloat64: return 8;
    default: return 0;
    }
}

static const char *type_name(int type)
{
    static const char *const names[] = { "int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64", "bfloat16" };
    return type >= 0 && type < (int)(sizeof names / sizeof *names) ? names[type] : "an unknown type";
}

static std::string text_of(const Signature &c, bool is_send)
{
    const char *name = c.kind == POINT_TO_POINT && !is_send ? "ncclRecv" : kind_names[c.kind];
    const bool has_root = c.kind == BROADCAST || c.kind == REDUCE;
    return text_of("%s of %llu %s%s", name, (unsigned long long)c.count, type_name(c.type), has_root ? text_of(", root %d", c.root).c_str() : "");
}

static bool is_same(const Signature &a, const Signature &b) { return a.kind == b.kind && a.type == b.type && a.op == b.op && a.root == b.root && a.count == b.count; }

/* ---- ends of a comm ---- */

/* The first reason counts, and everybody hears it. */
static void break_clique(ncclComm &c, ncclResult_t result, const std::string &reason)
{
    int whole = 0;
    if (!c.clique->broken.compare_exchange_strong(whole, 1)) return;
    snprintf(c.clique->reason, sizeof c.clique->reason, "%s", reason.c_str());
    c.clique->result = result;
    c.clique->broken.store(2);
}

static bool is_broken(ncclComm &c)
{
    if (c.result != ncclSuccess) return true;
    if (c.clique->broken.load() != 2) return false;
    c.result = c.clique->result;
    c.reason = c.clique->reason;
    return true;
}

/* An error of the program: counted by the rank that sees it. */
static void break_by_misuse(ncclComm &c, const std::string &reason)
{
    fail(nullptr, 0, "%s", reason.c_str());
    break_clique(c, ncclInvalidUsage, reason);
}

/* The system gives up a lock whose holder has ended, however it ended. */
static bool is_gone(const ncclComm &c, int rank)
{
    Member &m = c.clique->member[rank];
    if (m.presence.load() == GONE) return true;
    if (rank == c.rank || m.presence.load() != PRESENT) return false;
    const int error = pthread_mutex_trylock(&m.alive);
    if (error == EBUSY) return false;
    m.presence.store(GONE);
    if (error == EOWNERDEAD) pthread_mutex_consistent(&m.alive);
    if (error == 0 || error == EOWNERDEAD) pthread_mutex_unlock(&m.alive);
    return true;
}

/* ---- messages ---- */

static Slot &slot(const ncclComm &c, int from, int to) { return c.clique->slot[from * c.size + to]; }

static void end_part(Part &p)
{
    p.has_ended = true;
    if (!p.is_send) check_initialised(p.block, p.bytes);
}

static bool put(ncclComm &c, Part &p)
{
    Slot &s = slot(c, c.rank, p.peer);
    if (s.sent.load() != s.taken.load()) return false;
    const size_t n = std::min(p.bytes - p.done, (size_t)SLOT_BYTES);
    s.call = p.call;
    s.bytes = n;
    memcpy(s.data, p.block + p.done, n);
    s.sent.fetch_add(1);
    p.done += n;
    if (p.done == p.bytes) end_part(p);
    return true;
}

static bool take(ncclComm &c, Part &p)
{
    Slot &s = slot(c, p.peer, c.rank);
    if (s.sent.load() == s.taken.load()) return false;
    if (!is_same(s.call, p.call)) {
        break_by_misuse(c, text_of("%s of rank %d meets %s of rank %d", text_of(p.call, false).c_str(), c.rank, text_of(s.call, true).c_str(), p.peer));
        return false;
    }
    memcpy(p.block + p.done, s.data, s.bytes);
    p.done += s.bytes;
    s.taken.fetch_add(1);
    if (p.done == p.bytes) end_part(p);
    return true;
}

/* Messages between two ranks keep the order of the calls: only the first open one of each direction moves. */
static bool move_once(Work &w)
{
    bool blocked[2][MOST_RANKS] = {}, any = false;
    for (Part &p : w.parts) {
        bool &is_blocked = blocked[p.is_send][p.peer];
        if (p.has_ended || is_blocked) continue;
        any |= p.is_send ? put(*w.comm, p) : take(*w.comm, p);
        is_blocked = !p.has_ended;
    }
    return any;
}

static const Part *first_open(const Work &w)
{
    for (const Part &p : w.parts)
        if (!p.has_ended) return &p;
    return nullptr;
}

/* A rank that is gone has left nothing behind, and one that is there gets its time. */
static void look_for_others(Work &w)
{
    ncclComm &c = *w.comm;
    for (const Part &p : w.parts)
        if (!p.has_ended && is_gone(c, p.peer) && !move_once(w))
            break_clique(c, ncclRemoteError, text_of("rank %d is gone: rank %d waits for it in %s", p.peer, c.rank, text_of(p.call, p.is_send).c_str()));
    const Part *open = first_open(w);
    if (open && now_s() - w.since > config.patience_s)
        break_by_misuse(c, text_of("rank %d has waited %d s (GM_SIM_PATIENCE) for rank %d in %s", c.rank, config.patience_s, open->peer, text_of(open->call, open->is_send).c_str()));
}

static void begin_work(Work &w)
{
    w.begun = true;
    w.since = now_s();
    for (const auto &f : w.before) f();
    uint64_t read = 0, written = 0;
    for (const Part &p : w.parts) (p.is_send ? read : written) += p.bytes;
    count_launch("nccl");
    count_bytes("nccl", read, written);
}

/* True when all has come and gone, or nothing more will. */
static bool attempt(Work &w)
{
    ncclComm &c = *w.comm;
    if (c.aborted || is_broken(c)) return true;
    if (!w.begun) begin_work(w);
    bool any = false;
    while (move_once(w)) any = true;
    if (any) w.since = now_s();
    if (!first_open(w)) {
        for (const auto &f : w.after) f();
        return true;
    }
    look_for_others(w);
    return is_broken(c);
}

/* ---- sums ---- */

template <class T> struct SumOf { typedef T type; };
template <> struct SumOf<__half> { typedef float type; };
template <> struct SumOf<__nv_bfloat16> { typedef float type; };

template <class T> static T combined(T a, T b, int op)
{
    if (op == ncclMax) return std::max(a, b);
    if (op == ncclMin) return std::min(a, b);
    return op == ncclProd ? (T)(a * b) : (T)(a + b);
}

template <class T> static void reduce_typed(const std::vector<const char *> &in, char *out, uint64_t count, int op)
{
    typedef typename SumOf<T>::type Sum;
    for (uint64_t i = 0; i < count; i++) {
        Sum sum = (Sum)((const T *)in[0])[i];
        for (size_t r = 1; r < in.size(); r++) sum = combined(sum, (Sum)((const T *)in[r])[i], op);
        ((T *)out)[i] = (T)(op == ncclAvg ? (Sum)(sum / (Sum)in.size()) : sum);
    }
}

static void reduce(int type, const std::vector<const char *> &in, char *out, uint64_t count, int op)
{
    switch (type) {
    case ncclInt8: reduce_typed<int8_t>(in, out, count, op); break;
    case ncclUint8: reduce_typed<uint8_t>(in, out, count, op); break;
    case ncclInt32: reduce_typed<int32_t>(in, out, count, op); break;
    case ncclUint32: reduce_typed<uint32_t>(in, out, count, op); break;
    case ncclInt64: reduce_typed<int64_t>(in, out, count, op); break;
    case ncclUint64: reduce_typed<uint64_t>(in, out, count, op); break;
    case ncclFloat16: reduce_typed<__half>(in, out, count, op); break;
    case ncclBfloat16: reduce_typed<__nv_bfloat16>(in, out, count, op); break;
    case ncclFloat32: reduce_typed<float>(in, out, count, op); break;
    default: reduce_typed<double>(in, out, count, op); break;
    }
}

/* ---- calls as messages ---- */

static void add_part(Work &w, const Operation &o, int peer, bool is_send, const void *block, size_t bytes)
{
    Part p = { peer, is_send, (char *)const_cast<void *>(block), bytes, 0, o.call, false };
    if (is_send) w.before.push_back([p, name = kind_names[o.call.kind]] { check_library_read(name, p.block, p.bytes); });
    w.parts.push_back(p);
}

static void add_copy(Work &w, void *to, const void *from, size_t bytes)
{
    if (to != from) w.before.push_back([=] { memmove(to, from, bytes); check_initialised(to, bytes); });
}

/* Everybody's numbers come to those who sum, piece by piece where each rank keeps one of its own. */
static void add_reduction(Work &w, const Operation &o)
{
    const ncclComm &c = *w.comm;
    const size_t bytes = o.call.count * size_of(o.call.type);
    const bool scatters = o.call.kind == REDUCE_SCATTER;
    for (int r = 0; r < c.size; r++)
        if (r != c.rank && (o.call.kind != REDUCE || r == o.call.root)) add_part(w, o, r, true, (const char *)o.in + (scatters ? (size_t)r * bytes : 0), bytes);
    if (o.call.kind == REDUCE && c.rank != o.call.root) return;
    w.room.emplace_back(bytes * (size_t)c.size + 1);
    char *room = w.room.back().data();
    std::vector<const char *> in;
    for (int r = 0; r < c.size; r++) {
        in.push_back(r == c.rank ? (const char *)o.in + (scatters ? (size_t)r * bytes : 0) : room + (size_t)r * bytes);
        if (r != c.rank) add_part(w, o, r, false, in.back(), bytes);
    }
    const Signature call = o.call;
    char *out = (char *)o.out;
    w.after.push_back([=] { reduce(call.type, in, out, call.count, call.op); check_initialised(out, bytes); });
}

static void add_operation(Work &w, const Operation &o)
{
    const ncclComm &c = *w.comm;
    const size_t bytes = o.call.count * size_of(o.call.type);
    if (o.call.kind == POINT_TO_POINT) {
        add_part(w, o, o.peer, o.in != nullptr, o.in ? o.in : o.out, bytes);
    } else if (o.call.kind == BROADCAST && c.rank != o.call.root) {
        add_part(w, o, o.call.root, false, o.out, bytes);
    } else if (o.call.kind == BROADCAST || o.call.kind == ALL_GATHER) {
        const bool gathers = o.call.kind == ALL_GATHER;
        for (int r = 0; r < c.size; r++) {
            if (r == c.rank) continue;
            add_part(w, o, r, true, o.in, bytes);
            if (gathers) add_part(w, o, r, false, (char *)o.out + (size_t)r * bytes, bytes);
        }
        add_copy(w, (char *)o.out + (gathers ? (size_t)c.rank * bytes : 0), o.in, bytes);
    } else {
        add_reduction(w, o);
    }
}

static std::function<bool()> begin(const Shared &comm, const std::vector<Operation> &operations)
{
    const std::shared_ptr<Work> w = std::make_shared<Work>();
    w->comm = comm;
    w->room.reserve(operations.size());
    for (const Operation &o : operations)
        if (o.comm == comm) add_operation(*w, o);
    return [w] { return attempt(*w); };
}

/* All calls of a group are one piece of work on the stream of each comm. */
static ncclResult_t enqueue_group(const std::vector<Operation> &operations)
{
    std::vector<Shared> order;
    ncclResult_t result = ncclSuccess;
    for (const Operation &o : operations)
        if (std::find(order.begin(), order.end(), o.comm) == order.end()) order.push_back(o.comm);
    for (const Shared &comm : order) {
        const auto first = std::find_if(operations.begin(), operations.end(), [&](const Operation &o) { return o.comm == comm; });
        enqueue_together(first->stream, [comm, operations] { return begin(comm, operations); });
        comm->announced = comm->blocking;
        if (!comm->blocking) result = ncclInProgress;
    }
    return result;
}

static bool fits(const Operation &o)
{
    const size_t bytes = o.call.count * size_of(o.call.type), all = bytes * (size_t)o.comm->size;
    const size_t in = o.call.kind == REDUCE_SCATTER ? all : bytes, out = o.call.kind == ALL_GATHER ? all : bytes;
    const bool has_out = o.out && (o.call.kind != REDUCE || o.comm->rank == o.call.root), has_in = o.in && (o.call.kind != BROADCAST || o.comm->rank == o.call.root);
    if ((!has_in || device_range(o.in, in)) && (!has_out || device_range(o.out, out))) return true;
    refuse(ncclInvalidArgument, text_of("%s: a block of rank %d is not within a device allocation", text_of(o.call, o.in != nullptr).c_str(), o.comm->rank));
    return false;
}

static Shared find_comm(ncclComm_t c)
{
    const auto found = comms.find(c);
    return found == comms.end() ? nullptr : found->second;
}

static ncclResult_t call(Kind kind, const void *in, void *out, size_t count, ncclDataType_t type, int op, int peer, ncclComm_t handle, cudaStream_t stream)
{
    const Shared comm = find_comm(handle);
    if (!comm) return refuse(ncclInvalidArgument, text_of("%s: no live communicator", kind_names[kind]));
    if (!comm->joined || !comm->announced)
        return refuse(ncclInvalidArgument, text_of("%s: the last call of rank %d is in progress: ncclCommGetAsyncError says when it is not", kind_names[kind], comm->rank));
    if (is_broken(*comm)) return comm->result;
    if (peer < 0 || peer >= comm->size) return refuse(ncclInvalidArgument, text_of("%s: there is no rank %d among %d", kind_names[kind], peer, comm->size));
    const Operation o = { comm, { kind, type, op, kind == POINT_TO_POINT ? 0 : peer, count }, in, out, peer, stream };
    if (size_of(type) == 0) return refuse(ncclInvalidArgument, text_of("%s: type %d is not modelled", kind_names[kind], (int)type));
    if (!fits(o)) return ncclInvalidArgument;
    if (!tls.group) return enqueue_group({ o });
    ((Group *)tls.group)->operations.push_back(o);
    return ncclSuccess;
}

/* ---- communicators ---- */

static void make_alive(Member &m)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&m.alive, &a);
    pthread_mutexattr_destroy(&a);
    pthread_mutex_lock(&m.alive);
}

static ncclResult_t map_clique(ncclComm &c)
{
    const size_t bytes = clique_bytes(c.size);
    const int file = shm_open(c.name.c_str(), O_RDWR | O_CREAT, 0600);
    void *block = file >= 0 && ftruncate(file, (off_t)bytes) == 0 ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (file >= 0) close(file);
    if (block == MAP_FAILED) return refuse(ncclSystemError, text_of("shared memory for %d ranks: %s", c.size, strerror(errno)));
    c.clique = (Clique *)block;
    return ncclSuccess;
}

static ncclResult_t join(ncclComm &c)
{
    int none = 0, absent = ABSENT;
    if (!c.clique->size.compare_exchange_strong(none, c.size) && none != c.size)
        return refuse(ncclInvalidArgument, text_of("rank %d says that there are %d ranks, another one said %d", c.rank, c.size, none));
    Member &m = c.clique->member[c.rank];
    if (m.process != 0) return refuse(ncclInvalidArgument, text_of("rank %d has come twice", c.rank));
    m.process = getpid();
    m.device = c.device;
    make_alive(m);
    m.presence.compare_exchange_strong(absent, PRESENT);
    return ncclSuccess;
}

/* As NCCL says it: one rank a device. All ranks come to the same answer. */
static void check_devices(ncclComm &c)
{
    const Member *m = c.clique->member;
    for (int a = 0; a < c.size && c.reason.empty(); a++)
        for (int b = a + 1; b < c.size && c.reason.empty(); b++) {
            if (m[a].process == m[b].process) c.reason = text_of("ranks %d and %d are one process: a rank of the simulator is a process of its own", a, b);
            else if (m[a].device == m[b].device) c.reason = text_of("Duplicate GPU detected : rank %d and rank %d both on CUDA device %d", a, b, m[a].device);
        }
    if (!c.reason.empty()) c.result = ncclInvalidUsage;
}

/* Whether it is known how this ends: all have come, be they still there or not, or one ended while others were awaited. */
static bool try_join(ncclComm &c)
{
    int gone = -1, come = 0;
    if (c.joined || c.result != ncclSuccess) return true;
    for (int r = 0; r < c.size; r++)
        if (is_gone(c, r)) gone = r;
    for (int r = 0; r < c.size; r++) come += c.clique->member[r].presence.load() != ABSENT;
    if (come < c.size && gone >= 0) break_clique(c, ncclRemoteError, text_of("rank %d is gone before all %d have come", gone, c.size));
    if (come < c.size) return is_broken(c);
    check_devices(c);
    shm_unlink(c.name.c_str()); /* whoever needs it has it; nothing stays behind */
    c.joined = c.result == ncclSuccess;
    return true;
}

static ncclResult_t wait_for_all(ncclComm &c)
{
    const double since = now_s();
    while (!try_join(c)) {
        const struct timespec moment = { 0, 200000 };
        nanosleep(&moment, nullptr);
        if (now_s() - since > config.patience_s) break_by_misuse(c, text_of("rank %d has waited %d s (GM_SIM_PATIENCE) for %d ranks to come", c.rank, config.patience_s, c.size));
    }
    return c.result;
}

static void forget(ncclComm_t handle)
{
    const Shared comm = find_comm(handle);
    if (!comm) return;
    if (!comm->joined) shm_unlink(comm->name.c_str());
    comms.erase(handle);
}

} // namespace emu::nccl

/* Streams that still hold work of it keep it until they drop that. */
ncclComm::~ncclComm()
{
    if (!clique) return;
    Member &m = clique->member[rank];
    if (m.process == getpid()) {
        m.presence.store(GONE);
        pthread_mutex_unlock(&m.alive);
    }
    munmap(clique, clique_bytes(size));
}

extern "C" {

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    unsigned char random[16];
    config_read();
    memset(id, 0, sizeof *id);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) return refuse(ncclSystemError, "no random numbers for an id");
    size_t at = (size_t)snprintf(id->internal, sizeof id->internal, "/gmner-sim-nccl-");
    for (const unsigned char byte : random) at += (size_t)snprintf(id->internal + at, sizeof id->internal - at, "%02x", byte);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *handle, int size, ncclUniqueId id, int rank, ncclConfig_t *settings)
{
    config_read();
    *handle = nullptr;
    if (size < 1 || size > MOST_RANKS || rank < 0 || rank >= size) return refuse(ncclInvalidArgument, text_of("rank %d of %d: there are 1 to %d", rank, size, MOST_RANKS));
    if (strncmp(id.internal, "/gmner-sim-nccl-", 16) != 0 || !memchr(id.internal, 0, sizeof id.internal)) return refuse(ncclInvalidArgument, "the id is none of ncclGetUniqueId");
    const Shared c = std::make_shared<ncclComm>();
    c->name = id.internal;
    c->rank = rank;
    c->size = size;
    c->device = tls.device;
    c->blocking = !settings || settings->blocking != 0;
    ncclResult_t result = map_clique(*c);
    if (result == ncclSuccess) result = join(*c);
    if (result != ncclSuccess) return result;
    comms[c.get()] = c;
    *handle = c.get();
    if (!c->blocking) return ncclInProgress;
    result = wait_for_all(*c);
    if (result == ncclSuccess) return result;
    last_reason = c->reason;
    forget(c.get());
    *handle = nullptr;
    return result;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int rank) { return ncclCommInitRankConfig(comm, size, id, rank, nullptr); }

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t *error)
{
    const Shared c = find_comm(handle);
    if (!c) return ncclInvalidArgument;
    const bool is_ready = try_join(*c);
    c->announced = true;
    *error = !is_ready ? ncclInProgress : is_broken(*c) ? c->result : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }

ncclResult_t ncclCommDestroy(ncclComm_t handle)
{
    if (!find_comm(handle)) return ncclInvalidArgument;
    drain_all();
    forget(handle);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t handle)
{
    const Shared c = find_comm(handle);
    if (!c) return ncclInvalidArgument;
    c->aborted = true;
    drain_all();
    forget(handle);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t c, int *size)
{
    *size = c->size;
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t c, int *rank)
{
    *rank = c->rank;
    return ncclSuccess;
}
ncclResult_t ncclCommCuDevice(const ncclComm_t c, int *device)
{
    *device = c->device;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = { "no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument", "invalid usage",
                                         "remote process exited or there was a network error", "NCCL operation in progress" };
    return (size_t)result < sizeof texts / sizeof *texts ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t c)
{
    static std::string kept;
    kept = c && find_comm(c) && !c->reason.empty() ? c->reason : last_reason;
    return kept.c_str();
}

ncclResult_t ncclGroupStart(void)
{
    if (!tls.group) tls.group = new Group;
    ((Group *)tls.group)->depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    Group *g = (Group *)tls.group;
    if (!g) return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--g->depth > 0) return ncclSuccess;
    const std::vector<Operation> operations = std::move(g->operations);
    delete g;
    tls.group = nullptr;
    return enqueue_group(operations);
}

ncclResult_t ncclSend(const void *block, size_t count, ncclDataType_t type, int to, ncclComm_t c, cudaStream_t s)
{
    return call(POINT_TO_POINT, block, nullptr, count, type, 0, to, c, s);
}
ncclResult_t ncclRecv(void *block, size_t count, ncclDataType_t type, int from, ncclComm_t c, cudaStream_t s)
{
    return call(POINT_TO_POINT, nullptr, block, count, type, 0, from, c, s);
}
ncclResult_t ncclAllReduce(const void *in, void *out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c, cudaStream_t s)
{
    return call(ALL_REDUCE, in, out, count, type, op, 0, c, s);
}
ncclResult_t ncclReduce(const void *in, void *out, size_t count, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t c, cudaStream_t s)
{
    return call(REDUCE, in, out, count, type, op, root, c, s);
}
ncclResult_t ncclReduceScatter(const void *in, void *out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c, cudaStream_t s)
{
    return call(REDUCE_SCATTER, in, out, count, type, op, 0, c, s);
}
ncclResult_t ncclBroadcast(const void *in, void *out, size_t count, ncclDataType_t type, int root, ncclComm_t c, cudaStream_t s)
{
    return call(BROADCAST, in, out, count, type, 0, root, c, s);
}
ncclResult_t ncclAllGather(const void *in, void *out, size_t count, ncclDataType_t type, ncclComm_t c, cudaStream_t s)
{
    return call(ALL_GATHER, in, out, count, type, 0, 0, c, s);
}
}

#endif
