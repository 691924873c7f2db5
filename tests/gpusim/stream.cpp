/* Streams, events and graphs. Work runs at once, or with GM_SIM_ASYNC=1 only when something waits for it and mixed with
 * the other streams: then a missing wait, or a host buffer that is reused too early, changes the result. A stream under
 * capture collects its work as nodes of a graph; a replay runs them in an order that their dependencies allow. */
#include "internal.h"

#include <memory>
#include <mutex>
#include <time.h>

/* A capture under way, shared by the streams that an event has drawn into it. */
struct Capture {
    CUgraph_st *graph;
    CUstream_st *origin;
    cudaStreamCaptureMode mode;
    bool broken = false, ended = false;
};
struct GraphNode { std::function<void()> work; std::vector<size_t> after; };
struct CUgraph_st { std::vector<GraphNode> nodes; };
struct CUgraphExec_st { std::vector<GraphNode> nodes; };
struct CUevent_st {
    uint64_t recorded = 0, reached = 0; /* how often */
    double time_ms = 0;
    std::shared_ptr<Capture> capture;   /* of the last record, when that was captured */
    std::vector<size_t> nodes;          /* what it stands behind then */
};
struct CUstream_st {
    struct Work {
        std::function<void()> run;
        CUevent_st *record, *wait;
        uint64_t count;                 /* of the event */
        std::function<bool()> attempt = nullptr; /* of work with other processes: true when it has ended */
    };
    std::deque<Work> queue;
    bool running = false, non_blocking = false;
    std::shared_ptr<Capture> capture;
    std::vector<size_t> tail;           /* nodes that the next one comes after */
};

namespace emu {

/* Held while stream work runs: the ranks of a process share the device. */
static std::recursive_mutex &mutex = *new std::recursive_mutex;
typedef std::lock_guard<std::recursive_mutex> Lock;
static CUstream_st null_stream;
static std::vector<CUstream_st *> streams = { &null_stream };
static std::vector<std::shared_ptr<Capture>> captures;
static Random mixer = { 88172645463325252ull };

cudaError_t remember(cudaError_t error)
{
    if (error != cudaSuccess) tls.last_error = error;
    return error;
}

static CUstream_st *stream_of(cudaStream_t s)
{
    const bool standard = s == nullptr || s == cudaStreamLegacy || s == cudaStreamPerThread;
    return standard ? &null_stream : s;
}

static double now_ms()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* What waits answer: an error of a kernel sticks, as it does on a device. */
static cudaError_t sticky() { return errors_pending() ? remember(cudaErrorLaunchFailure) : cudaSuccess; }

/* ---- queues ---- */

/* Runs the head of one queue; false where it is empty or waits for an event that is not reached. */
static bool step(CUstream_st *s)
{
    if (s->queue.empty() || s->running) return false;
    const CUstream_st::Work &head = s->queue.front();
    if (head.wait && head.wait->reached < head.count) return false;
    if (head.attempt && !head.attempt()) return false;
    const CUstream_st::Work work = std::move(s->queue.front());
    s->queue.pop_front();
    s->running = true;
    if (work.run) work.run();
    s->running = false;
    if (work.record) {
        work.record->reached = std::max(work.record->reached, work.count);
        work.record->time_ms = now_ms();
    }
    return true;
}

static bool step_any()
{
    const size_t n = streams.size(), first = mixer.next() % n;
    for (size_t i = 0; i < n; i++)
        if (step(streams[(first + i) % n])) return true;
    return false;
}

/* Some stream has met work that other processes have not come to yet. */
static bool waits_for_others()
{
    for (const CUstream_st *s : streams)
        if (!s->queue.empty() && s->queue.front().attempt) return true;
    return false;
}

static void pause_for_others()
{
    const struct timespec moment = { 0, 50000 };
    nanosleep(&moment, nullptr);
}

static void report_stuck() { fail(nullptr, 0, "streams are stuck: one waits for an event that nobody records"); }

static void drain_until(const std::function<bool()> &enough)
{
    while (!enough()) {
        if (step_any()) continue;
        if (enough()) return;
        if (!waits_for_others()) {
            report_stuck();
            return;
        }
        pause_for_others();
    }
}

void drain(cudaStream_t stream)
{
    Lock lock(mutex);
    CUstream_st *s = stream_of(stream);
    drain_until([s] { return s->queue.empty(); });
}

void drain_all()
{
    Lock lock(mutex);
    drain_until([] {
        for (const CUstream_st *s : streams)
            if (!s->queue.empty()) return false;
        return true;
    });
}

/* The legacy default stream and all blocking streams wait for each other. */
static void wait_for_legacy(CUstream_st *s)
{
    if (s == &null_stream) {
        for (CUstream_st *other : streams)
            if (other != s && !other->non_blocking) drain(other);
    } else if (!s->non_blocking && !null_stream.queue.empty()) {
        drain(nullptr);
    }
}

static void push(CUstream_st *s, CUstream_st::Work work)
{
    wait_for_legacy(s);
    s->queue.push_back(std::move(work));
    if (config.async) return;
    while (!s->queue.empty() && step_any()) {}
    if (!s->queue.empty() && !waits_for_others()) report_stuck();
}

/* ---- capture ---- */

static void break_capture(Capture &capture, const char *call)
{
    capture.broken = true;
    fail(nullptr, 0, "%s is not allowed while a stream is captured; the capture is lost", call);
}

bool capturing_forbids(const char *call)
{
    Lock lock(mutex);
    bool forbidden = false;
    for (const auto &capture : captures) {
        if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
        break_capture(*capture, call);
        forbidden = true;
    }
    return forbidden;
}

static void capture_node(CUstream_st *s, std::function<void()> work)
{
    std::vector<GraphNode> &nodes = s->capture->graph->nodes;
    nodes.push_back({ std::move(work), s->tail });
    s->tail = { nodes.size() - 1 };
}

/* Work belongs to the operation that queued it, however late or often it runs. */
static std::function<void()> of_operation(std::function<void()> work)
{
    const char *operation = tls.operation;
    if (!operation) return work;
    return [operation, work] {
        const char *outer = tls.operation;
        tls.operation = operation;
        work();
        tls.operation = outer;
    };
}

void enqueue(cudaStream_t stream, std::function<void()> unnamed)
{
    std::function<void()> work = of_operation(std::move(unnamed));
    config_read();
    Lock lock(mutex);
    CUstream_st *s = stream_of(stream);
    if (s->capture) {
        capture_node(s, std::move(work));
        return;
    }
    if (s == &null_stream) capturing_forbids("work on the legacy default stream");
    push(s, { std::move(work), nullptr, nullptr, 0 });
}

/* A replayed graph runs as one piece of work: a node that needs others waits for them where it stands. */
void enqueue_together(cudaStream_t stream, std::function<std::function<bool()>()> begin)
{
    config_read();
    Lock lock(mutex);
    CUstream_st *s = stream_of(stream);
    if (s->capture) {
        capture_node(s, [begin] {
            const std::function<bool()> attempt = begin();
            while (!attempt()) pause_for_others();
        });
        return;
    }
    push(s, { nullptr, nullptr, nullptr, 0, begin() });
}

/* A wait that a captured stream cannot answer. */
static bool wait_is_captured(CUstream_st *s, const char *call)
{
    if (!s->capture) return false;
    break_capture(*s->capture, call);
    return true;
}

/* All work of the streams drawn in comes before the origin's last nodes. */
static bool is_joined(const Capture &capture)
{
    const std::vector<GraphNode> &nodes = capture.graph->nodes;
    std::vector<bool> reached(nodes.size());
    std::vector<size_t> open = capture.origin->tail;
    while (!open.empty()) {
        const size_t node = open.back();
        open.pop_back();
        if (reached[node]) continue;
        reached[node] = true;
        open.insert(open.end(), nodes[node].after.begin(), nodes[node].after.end());
    }
    for (size_t node = 0; node < nodes.size(); node++)
        if (!reached[node]) return false;
    return true;
}

static void leave_capture(const std::shared_ptr<Capture> &capture)
{
    capture->ended = true;
    for (CUstream_st *s : streams) {
        if (s->capture != capture) continue;
        s->capture.reset();
        s->tail.clear();
    }
    captures.erase(std::find(captures.begin(), captures.end(), capture));
}

static cudaError_t wait_captured_event(CUstream_st *s, CUevent_st *event)
{
    if (event->capture->ended) return remember(cudaErrorCapturedEvent);
    if (s->capture && s->capture != event->capture) return remember(cudaErrorStreamCaptureMerge);
    if (!s->capture) s->capture = event->capture; /* a fork */
    for (const size_t node : event->nodes)
        if (std::find(s->tail.begin(), s->tail.end(), node) == s->tail.end()) s->tail.push_back(node);
    return cudaSuccess;
}

/* In seq order as captured; else any order that the dependencies allow, by draw or last first. */
static void replay(const std::vector<GraphNode> &nodes)
{
    std::vector<size_t> open(nodes.size()), ready;
    std::vector<std::vector<size_t>> before(nodes.size());
    for (size_t i = 0; i < nodes.size(); i++) {
        open[i] = nodes[i].after.size();
        for (const size_t first : nodes[i].after) before[first].push_back(i);
        if (open[i] == 0) ready.push_back(i);
    }
    while (!ready.empty()) {
        size_t at = 0;
        if (config.order == ORDER_SEQ) at = (size_t)(std::min_element(ready.begin(), ready.end()) - ready.begin());
        if (config.order == ORDER_REV) at = (size_t)(std::max_element(ready.begin(), ready.end()) - ready.begin());
        if (config.order == ORDER_RANDOM) at = mixer.next() % ready.size();
        const size_t node = ready[at];
        ready.erase(ready.begin() + (ptrdiff_t)at);
        nodes[node].work();
        for (const size_t next : before[node])
            if (--open[next] == 0) ready.push_back(next);
    }
}

static cudaError_t create_stream(cudaStream_t *stream, bool non_blocking)
{
    config_read();
    Lock lock(mutex);
    *stream = new CUstream_st;
    (*stream)->non_blocking = non_blocking;
    streams.push_back(*stream);
    return cudaSuccess;
}

} // namespace emu

using namespace emu;

extern "C" {

/* ---- streams ---- */

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return create_stream(stream, false); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) { return create_stream(stream, flags & cudaStreamNonBlocking); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    Lock lock(mutex);
    const auto found = std::find(streams.begin(), streams.end(), stream);
    if (found == streams.end() || stream == &null_stream) {
        fail(nullptr, 0, "cudaStreamDestroy of %p, which is no live stream", (void *)stream);
        return remember(cudaErrorInvalidResourceHandle);
    }
    drain(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    Lock lock(mutex);
    if (wait_is_captured(stream_of(stream), "cudaStreamSynchronize")) return remember(cudaErrorStreamCaptureUnsupported);
    drain(stream);
    return sticky();
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    Lock lock(mutex);
    if (wait_is_captured(stream_of(stream), "cudaStreamQuery")) return remember(cudaErrorStreamCaptureUnsupported);
    if (stream_of(stream)->queue.empty()) return sticky();
    step(stream_of(stream)); /* so that a loop of queries ends */
    return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void)
{
    if (capturing_forbids("cudaDeviceSynchronize")) return remember(cudaErrorStreamCaptureUnsupported);
    drain_all();
    return sticky();
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    config_read();
    *event = new CUevent_st;
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    drain_all();
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    Lock lock(mutex);
    CUstream_st *s = stream_of(stream);
    event->capture = s->capture;
    event->nodes = s->tail;
    if (!s->capture) push(s, { nullptr, event, nullptr, ++event->recorded });
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    Lock lock(mutex);
    CUstream_st *s = stream_of(stream);
    if (event->capture) return wait_captured_event(s, event);
    if (s->capture) {
        s->capture->broken = true;
        return remember(cudaErrorStreamCaptureIsolation); /* the event belongs to work outside the capture */
    }
    push(s, { nullptr, nullptr, event, event->recorded });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    Lock lock(mutex);
    if (event->capture) return remember(cudaErrorCapturedEvent);
    drain_until([event] { return event->reached >= event->recorded; });
    return sticky();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    Lock lock(mutex);
    if (event->capture) return remember(cudaErrorCapturedEvent);
    if (event->reached >= event->recorded) return sticky();
    for (CUstream_st *s : streams)
        if (step(s)) break;
    return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    Lock lock(mutex);
    if (!from->recorded || !to->recorded) return remember(cudaErrorInvalidResourceHandle);
    if (from->reached < from->recorded || to->reached < to->recorded) return cudaErrorNotReady;
    *ms = (float)(to->time_ms - from->time_ms);
    return cudaSuccess;
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    config_read();
    Lock lock(mutex);
    CUstream_st *s = stream_of(stream);
    if (s == &null_stream) return remember(cudaErrorStreamCaptureUnsupported);
    if (s->capture) return remember(cudaErrorIllegalState);
    s->capture = std::make_shared<Capture>();
    s->capture->graph = new CUgraph_st;
    s->capture->origin = s;
    s->capture->mode = mode;
    captures.push_back(s->capture);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    Lock lock(mutex);
    const std::shared_ptr<Capture> capture = stream_of(stream)->capture;
    *graph = nullptr;
    if (!capture) return remember(cudaErrorIllegalState);
    if (capture->origin != stream) return remember(cudaErrorStreamCaptureUnmatched);
    const cudaError_t error = capture->broken        ? cudaErrorStreamCaptureInvalidated
                              : is_joined(*capture) ? cudaSuccess
                                                    : cudaErrorStreamCaptureUnjoined;
    leave_capture(capture);
    if (error == cudaSuccess)
        *graph = capture->graph;
    else
        delete capture->graph;
    return remember(error);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    Lock lock(mutex);
    const CUstream_st *s = stream_of(stream);
    *status = !s->capture           ? cudaStreamCaptureStatusNone
              : s->capture->broken ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    if (nodes) return remember(cudaErrorNotSupported); /* only the number is modelled */
    *count = graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new CUgraphExec_st{ graph->nodes };
    return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *result)
{
    bool same = exec->nodes.size() == graph->nodes.size();
    for (size_t i = 0; same && i < exec->nodes.size(); i++) same = exec->nodes[i].after == graph->nodes[i].after;
    memset(result, 0, sizeof *result);
    result->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (!same) return remember(cudaErrorGraphExecUpdateFailure);
    Lock lock(mutex);
    exec->nodes = graph->nodes;
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    enqueue(stream, [exec] {
        count_input();
        count_launch("graph");
        replay(exec->nodes);
    });
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    drain_all();
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
}
