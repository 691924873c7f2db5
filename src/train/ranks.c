#include "train/ranks.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "adamw/adamw.h"
#include "backend/device_memory.h"
#include "base/bf16.h"
#include "base/log.h"
#include "base/memory.h"
#include "grad_norm/grad_norm.h"
#include "train/run.h"

static int64_t chunks(int64_t count) { return (count + GM_NORM_CHUNK - 1) / GM_NORM_CHUNK; }
static int64_t down(int64_t at) { return at / GM_NORM_CHUNK * GM_NORM_CHUNK; }
static int64_t up(int64_t at) { return chunks(at) * GM_NORM_CHUNK; }

/* Where the piece of a rank begins; that of rank `size` is the end of the bucket. */
static int64_t piece(const gm_ranks *k, const gm_bucket *b, int32_t rank)
{
    const int64_t at = b->from + chunks(b->to - b->from) * rank / k->size * GM_NORM_CHUNK;
    return at < b->to ? at : b->to;
}

static int64_t own_size(const gm_ranks *k, const gm_bucket *b) { return piece(k, b, k->rank + 1) - piece(k, b, k->rank); }

static int32_t first_shard(const gm_run *r, int32_t rank, int32_t size) { return (int32_t)((int64_t)r->shards * rank / size); }

/* The largest node that begins at `first` and ends at or before `end`, or where the tree does. */
static int32_t end_of_node(int32_t first, int32_t end, int32_t shards)
{
    int32_t to = first + 1;
    for (int32_t width = 2; first % width == 0 && to < shards; width *= 2) {
        const int32_t next = first + width < shards ? first + width : shards;
        if (next > end) break;
        to = next;
    }
    return to;
}

static gm_status list_nodes(gm_run *r, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    k->node = gm_calloc((size_t)r->shards, sizeof *k->node);
    if (k->node == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the shards of %d ranks", k->size);
    for (int32_t rank = 0; rank < k->size; rank++) {
        const int32_t end = first_shard(r, rank + 1, k->size);
        for (int32_t at = first_shard(r, rank, k->size); at < end; at = k->node[k->nodes++].end)
            k->node[k->nodes] = (gm_node){ rank, at, end_of_node(at, end, r->shards) };
    }
    return GM_OK;
}

/* The layer whose weights these are; -1 for everything else, small vectors included: they travel at the end. */
static int32_t layer_of(const gm_param *p)
{
    int layer;
    if (p->spec.is_frozen || p->spec.is_table || !p->spec.decays || p->spec.rate != GM_RATE_ENCODER) return -1;
    return sscanf(p->spec.part[0], "encoder.layer.%d.", &layer) == 1 ? layer : -1;
}

/* Where the weights of a layer begin in the dense block, and where all layers end; LLONG_MAX where it has none there. */
static int64_t begin_of_layer(const gm_params *ps, int32_t layer, int64_t *end)
{
    int64_t from = LLONG_MAX;
    for (int32_t i = 0; i < ps->count; i++) {
        const gm_param *p = ps->items[i];
        if (layer_of(p) < 0) continue;
        if ((int64_t)(p->offset + p->count) > *end) *end = (int64_t)(p->offset + p->count);
        if (layer_of(p) == layer && (int64_t)p->offset < from) from = (int64_t)p->offset;
    }
    return from;
}

static bool overlaps(const gm_param *p, const gm_bucket *b)
{
    return !p->spec.is_frozen && !p->spec.is_table && (int64_t)p->offset < b->to && (int64_t)(p->offset + p->count) > b->from;
}

/* Whether nothing in the bucket belongs to a lower layer, or to none. */
static bool is_above(const gm_params *ps, const gm_bucket *b)
{
    for (int32_t i = 0; i < ps->count; i++)
        if (overlaps(ps->items[i], b) && layer_of(ps->items[i]) < b->layer) return false;
    return true;
}

/* From the last layer down, as backward goes; then what is left on either side, and the rows. */
static void list_buckets(gm_run *r)
{
    gm_ranks *k = &r->ranks;
    const gm_params *ps = &r->model.params;
    int64_t end = 0;
    (void)begin_of_layer(ps, 0, &end);
    const int64_t top = down(end);
    int64_t below = top;
    for (int32_t layer = r->model.encoder.config.layers - 1; layer >= 0; layer--) {
        const int64_t begin = begin_of_layer(ps, layer, &end), from = begin < top ? up(begin) : top;
        const gm_bucket b = { .block = r->dense, .from = from, .to = below, .layer = layer };
        if (from >= below || !is_above(ps, &b)) continue;
        k->bucket[k->buckets++] = b;
        below = from;
    }
    k->bucket[k->buckets++] = (gm_bucket){ .block = r->dense, .from = 0, .to = below, .layer = -1 };
    k->bucket[k->buckets++] = (gm_bucket){ .block = r->dense, .from = top, .to = (int64_t)ps->dense_count, .layer = -1 };
    k->bucket[k->buckets++] = (gm_bucket){ .block = r->rows, .layer = -1 };
}

/* Floats that others' partial sums of a piece take at most, also where fewer rows are touched than now: the pieces of fewer
 * chunks are no larger, but the last chunk is then another one, and may be whole. */
static int64_t incoming_of(const gm_ranks *k, const gm_bucket *b)
{
    int64_t nodes = 0;
    for (int32_t i = 0; i < k->nodes; i++) nodes += k->node[i].rank != k->rank;
    return nodes * ((chunks(b->to - b->from) + k->size - 1) / k->size) * GM_NORM_CHUNK;
}

static gm_status take_device(gm_device *dev, size_t bytes, float **block)
{
    void *made;
    GM_TRY(dev->memory->alloc(dev, bytes, &made));
    *block = made;
    return GM_OK;
}

static gm_status make_buffers(gm_run *r, int64_t most_rows, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    gm_bucket *rows = &k->bucket[k->buckets - 1];
    int64_t floats = 0, squares = chunks((int64_t)r->model.params.dense_count) + chunks(most_rows);
    rows->to = most_rows;
    for (int32_t i = 0; i < k->buckets; i++) floats += incoming_of(k, &k->bucket[i]);
    GM_TRY(gm_workers_error(&r->workers, take_device(r->workers.whole, (size_t)(floats + 1) * sizeof *k->incoming, &k->incoming), err));
    GM_TRY(gm_workers_error(&r->workers, take_device(r->workers.whole, 2 * sizeof *k->scratch, &k->scratch), err));
    k->squares = k->is_host ? r->partial : gm_malloc((size_t)(squares + 1) * sizeof *k->squares);
    k->mine = gm_malloc((size_t)(1 + r->shards + squares) * sizeof *k->mine);
    k->all = gm_malloc((size_t)(k->size + r->shards + squares) * sizeof *k->all);
    k->bytes = gm_malloc((size_t)k->size * sizeof *k->bytes);
    bool all = k->squares != NULL && k->mine != NULL && k->all != NULL && k->bytes != NULL;
    int64_t at = 0;
    for (int32_t i = 0; i < k->buckets && all; i++) {
        gm_bucket *b = &k->bucket[i];
        b->part = gm_calloc((size_t)r->shards, sizeof *b->part);
        all = b->part != NULL;
        b->incoming = k->incoming + at;
        const int64_t chunk = b == rows ? chunks((int64_t)r->model.params.dense_count) : b->from / GM_NORM_CHUNK;
        b->partial = r->partial + chunk;
        b->squares = k->squares + chunk;
        at += incoming_of(k, b);
    }
    return all ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for sums over %d ranks", k->size);
}

gm_status gm_ranks_begin(gm_run *r, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    k->comm = r->options->comm;
    k->rank = gm_comm_rank(k->comm);
    k->size = gm_comm_size(k->comm);
    k->end = r->shards;
    k->is_host = r->backend.memory->is_host;
    if (k->size == 1) return GM_OK;
    if (k->size > r->shards)
        return gm_fail(err, GM_ERR_CONFIG, "%d processes, but train.shards is %d: each needs a shard; start fewer, or set train.shards to a multiple of processes x threads", k->size, r->shards);
    if (!k->is_host && !gm_comm_takes_device_memory(k->comm))
        return gm_fail(err, GM_ERR_CONFIG, "%d processes on the device %s exchange device memory, which needs --comm nccl", k->size, r->backend.name);
    gm_comm_follow(k->comm, r->workers.whole);
    k->first = first_shard(r, k->rank, k->size);
    k->end = first_shard(r, k->rank + 1, k->size);
    const int threads = (int)gm_config_int(r->config, GM_KEY_THREADS), processors = omp_get_num_procs();
    gm_log(GM_LOG_INFO, "ranks", "%d processes, shards %d to %d here, %d threads each", k->size, k->first, k->end - 1, threads);
    if (k->is_host && threads > processors)
        gm_log(GM_LOG_WARN, "ranks", "%d threads share %d processors, to which the launcher binds this rank: mpirun --bind-to none or --map-by slot:PE=%d gives it more, --set threads=%d asks for less",
               threads, processors, threads, processors);
    return GM_OK;
}

gm_status gm_ranks_make(gm_run *r, int64_t most_rows, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    if (k->size == 1) return GM_OK;
    k->bucket = gm_calloc((size_t)r->model.encoder.config.layers + 3, sizeof *k->bucket);
    if (k->bucket == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for sums over %d ranks", k->size);
    k->has_lock = pthread_mutex_init(&k->lock, NULL) == 0;
    if (!k->has_lock) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a lock");
    GM_TRY(list_nodes(r, err));
    list_buckets(r);
    return make_buffers(r, most_rows, err);
}

void gm_ranks_free(gm_run *r)
{
    gm_ranks *k = &r->ranks;
    gm_device *dev = r->workers.whole;
    for (int32_t i = 0; i < k->buckets; i++) gm_free((void *)k->bucket[i].part);
    dev->memory->release(dev, k->incoming);
    dev->memory->release(dev, k->scratch);
    void *const blocks[] = { k->node, k->bucket, k->is_host ? NULL : k->squares, k->mine, k->all, k->bytes };
    for (size_t i = 0; i < GM_LEN(blocks); i++) gm_free(blocks[i]);
    if (k->has_lock) pthread_mutex_destroy(&k->lock);
    *k = (gm_ranks){ .rank = k->rank, .size = k->size };
}

void gm_ranks_start_step(gm_run *r)
{
    gm_ranks *k = &r->ranks;
    const gm_param *table = r->model.params.table;
    if (k->size == 1) return;
    k->bucket[k->buckets - 1].to = table != NULL ? (int64_t)r->touched.count * table->spec.cols : 0;
    for (int32_t i = 0; i < k->buckets; i++) atomic_store(&k->bucket[i].passed, 0);
    for (int32_t s = k->first; s < k->end; s++) r->grads[s].passed = INT32_MAX;
}

/* part[0 .. count) of the run's shards, from `from` on, are summed into the first; squares of the sums' chunks go to `partial`. */
static gm_status sum_into_first(const gm_run *r, float *const *part, int32_t count, int64_t size, double *partial, gm_device *dev)
{
    float unread[2]; /* several workers may be here at the same time */
    float *norm = r->ranks.is_host ? unread : r->ranks.scratch;
    const gm_grad_norm a = { .shard = { part }, .size = { size }, .blocks = 1, .shards = count, .partial = partial, .norm = norm, .scale = norm + 1 };
    return r->backend.kernels.grad_norm.forward(&a, dev);
}

static gm_status sum_own_nodes(const gm_run *r, gm_bucket *b, gm_device *dev)
{
    const gm_ranks *k = &r->ranks;
    for (int32_t s = k->first; s < k->end; s++) b->part[s] = b->block[s] + b->from;
    for (int32_t i = 0; i < k->nodes; i++) {
        const gm_node *n = &k->node[i];
        if (n->rank != k->rank || n->end - n->first == 1) continue;
        GM_TRY(sum_into_first(r, b->part + n->first, n->end - n->first, b->to - b->from, b->partial, dev));
    }
    return GM_OK;
}

static gm_traffic traffic_of(const gm_ranks *k, int32_t bucket) { return bucket == k->buckets - 1 ? GM_TRAFFIC_ROWS : GM_TRAFFIC_DENSE; }

/* To each rank its piece of the own nodes; from each rank its nodes of the own piece. */
static gm_status exchange_nodes(gm_run *r, int32_t bucket, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    gm_bucket *b = &k->bucket[bucket];
    float *to = b->incoming;
    for (int32_t i = 0; i < k->nodes; i++) {
        const gm_node *n = &k->node[i];
        if (n->rank != k->rank) {
            GM_TRY(gm_comm_receive(k->comm, n->rank, bucket, to, (size_t)own_size(k, b) * sizeof *to, err));
            b->part[n->first] = to;
            to += own_size(k, b);
            continue;
        }
        for (int32_t rank = 0; rank < k->size; rank++) {
            const int64_t from = piece(k, b, rank), size = piece(k, b, rank + 1) - from;
            if (rank != k->rank)
                GM_TRY(gm_comm_send(k->comm, rank, bucket, b->block[n->first] + from, (size_t)size * sizeof(float), traffic_of(k, bucket), err));
        }
        b->part[n->first] = b->block[n->first] + piece(k, b, k->rank);
    }
    return GM_OK;
}

/* All own shards have these gradients. */
static gm_status leave(gm_run *r, int32_t bucket, gm_device *dev, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    if (sum_own_nodes(r, &k->bucket[bucket], dev) != GM_OK) {
        if (err != dev->err) *err = *dev->err;
        return dev->err->status;
    }
    pthread_mutex_lock(&k->lock);
    const gm_status status = exchange_nodes(r, bucket, err);
    pthread_mutex_unlock(&k->lock);
    return status;
}

/* A gradient that nothing has written is zero: what leaves must hold that already. */
static gm_status clear_bucket(const gm_run *r, const gm_bucket *b, gm_grads *g, gm_device *dev)
{
    const gm_params *ps = &r->model.params;
    for (int32_t i = 0; i < ps->count; i++) {
        if (g->is_written[i] || !overlaps(ps->items[i], b)) continue;
        GM_TRY(gm_grads_clear(g, ps->items[i], dev));
        g->is_written[i] = true;
    }
    return GM_OK;
}

gm_status gm_ranks_passed(gm_tape *t, int32_t layer, void *context)
{
    gm_run *r = context;
    gm_ranks *k = &r->ranks;
    gm_grads *g = t->grads;
    if (k->size == 1 || !k->is_host) return GM_OK;
    for (int32_t i = 0; i < k->buckets; i++) {
        gm_bucket *b = &k->bucket[i];
        if (b->layer < layer || b->layer >= g->passed) continue;
        if (layer >= 0) GM_TRY(clear_bucket(r, b, g, t->dev));
        if (atomic_fetch_add(&b->passed, 1) + 1 == k->end - k->first) GM_TRY(leave(r, i, t->dev, t->err));
    }
    g->passed = layer;
    if (pthread_mutex_trylock(&k->lock) != 0) return GM_OK; /* another worker moves transfers on */
    const gm_status status = gm_comm_progress(k->comm, t->err);
    pthread_mutex_unlock(&k->lock);
    return status;
}

/* Nodes are joined as the tree does: round by round, each with its neighbour, where that has not joined another. */
static gm_status join_nodes(gm_run *r, gm_bucket *b)
{
    gm_ranks *k = &r->ranks;
    const int64_t size = own_size(k, b);
    float *left[GM_NORM_MAX_SHARDS];
    memset(left, 0, (size_t)r->shards * sizeof *left);
    for (int32_t i = 0; i < k->nodes; i++) left[k->node[i].first] = b->part[k->node[i].first];
    double *partial = b->partial + (piece(k, b, k->rank) - b->from) / GM_NORM_CHUNK;
    for (int32_t stride = 1; stride < r->shards; stride *= 2)
        for (int32_t at = 0; at + stride < r->shards; at += 2 * stride) {
            float *const pair[2] = { left[at], left[at + stride] };
            if (pair[1] == NULL) continue;
            GM_TRY(sum_into_first(r, pair, 2, size, partial, r->workers.whole));
            left[at + stride] = NULL;
        }
    b->sum = left[0];
    return GM_OK;
}

static int64_t own_chunks(const gm_ranks *k, const gm_bucket *b, int32_t rank) { return chunks(piece(k, b, rank + 1) - piece(k, b, rank)); }

/* Moves the squares of a rank's pieces between its outcome and their places; returns where the outcome goes on. */
static double *move_squares(gm_ranks *k, int32_t rank, double *outcome, bool is_out)
{
    for (int32_t i = 0; i < k->buckets; i++) {
        const gm_bucket *b = &k->bucket[i];
        double *place = b->squares + (piece(k, b, rank) - b->from) / GM_NORM_CHUNK;
        const size_t n = (size_t)own_chunks(k, b, rank);
        memcpy(is_out ? outcome : place, is_out ? place : outcome, n * sizeof *place);
        outcome += n;
    }
    return outcome;
}

/* Losses, squares and signals of all ranks come together; then everybody knows the norm. */
static gm_status exchange_outcomes(gm_run *r, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    double *loss = r->outcome.host, *mine = k->mine, *from = k->all;
    *mine++ = (double)*r->options->signal;
    for (int32_t s = k->first; s < k->end; s++) *mine++ = loss[s];
    (void)move_squares(k, k->rank, mine, true);
    for (int32_t rank = 0; rank < k->size; rank++) {
        int64_t count = 1 + first_shard(r, rank + 1, k->size) - first_shard(r, rank, k->size);
        for (int32_t i = 0; i < k->buckets; i++) count += own_chunks(k, &k->bucket[i], rank);
        k->bytes[rank] = (size_t)count * sizeof *mine;
    }
    GM_TRY(gm_comm_gather(k->comm, k->mine, k->bytes, k->all, err));
    k->signal = 0;
    for (int32_t rank = 0; rank < k->size; rank++) {
        const int number = (int)*from++;
        if (number > k->signal) k->signal = number;
        for (int32_t s = first_shard(r, rank, k->size); s < first_shard(r, rank + 1, k->size); s++) loss[s] = *from++;
        from = move_squares(k, rank, from, false);
    }
    return GM_OK;
}

/* As grad_norm does it, from the squares of all chunks in their order. */
static void take_norm(gm_run *r, float *norm, float *scale)
{
    const gm_bucket *rows = &r->ranks.bucket[r->ranks.buckets - 1];
    const int64_t count = chunks((int64_t)r->model.params.dense_count) + chunks(rows->to);
    const float max = (float)gm_config_num(r->config, GM_KEY_CLIP);
    const double *loss = r->outcome.host;
    double squares = 0.0;
    bool is_finite = true;
    for (int64_t i = 0; i < count; i++) squares += r->ranks.squares[i];
    for (int32_t s = 0; s < r->shards; s++) is_finite = is_finite && isfinite(loss[s]);
    *norm = (float)sqrt(squares);
    if (!isfinite(*norm) || !is_finite) *scale = 0.0f;
    else *scale = max > 0.0f && max < *norm + 1e-6f ? max / (*norm + 1e-6f) : 1.0f;
}

/* Losses and squares as the host reads them. */
static gm_status bring_outcome(gm_run *r)
{
    gm_device *dev = r->workers.whole;
    const gm_ranks *k = &r->ranks;
    const int64_t count = chunks((int64_t)r->model.params.dense_count) + chunks(k->bucket[k->buckets - 1].to);
    if (k->is_host) return GM_OK;
    GM_TRY(gm_mirror_bring(&r->outcome, r->outcome.bytes, dev));
    GM_TRY(dev->memory->download(dev, k->squares, r->partial, (size_t)count * sizeof *k->squares));
    return dev->memory->sync(dev);
}

gm_status gm_ranks_sum(gm_run *r, float *norm, float *scale, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    for (int32_t i = 0; i < k->buckets && !k->is_host; i++) {
        GM_TRY(leave(r, i, r->workers.whole, err));
        GM_TRY(gm_comm_start(k->comm, i, err));
    }
    for (int32_t i = 0; i < k->buckets; i++) {
        GM_TRY(gm_comm_wait(k->comm, i, err));
        GM_TRY(gm_workers_error(&r->workers, join_nodes(r, &k->bucket[i]), err));
    }
    GM_TRY(gm_workers_error(&r->workers, bring_outcome(r), err));
    GM_TRY(exchange_outcomes(r, err));
    take_norm(r, norm, scale);
    return gm_workers_error(&r->workers, gm_mirror_send(&r->outcome, r->outcome.bytes, r->workers.whole), err);
}

/* Own pieces of `block` [as long as the bucket's block, numbers of `element` bytes] to all others, or to rank 0 alone; theirs
 * come. */
static gm_status spread(gm_ranks *k, int32_t bucket, void *block, const void *own, size_t element, bool to_all, gm_traffic kind, gm_err *err)
{
    const gm_bucket *b = &k->bucket[bucket];
    const size_t mine = (size_t)own_size(k, b) * element;
    for (int32_t rank = 0; rank < k->size; rank++) {
        const int64_t from = piece(k, b, rank), size = piece(k, b, rank + 1) - from;
        if (rank == k->rank) continue;
        if (to_all || k->rank == 0) GM_TRY(gm_comm_receive(k->comm, rank, bucket, (char *)block + (size_t)from * element, (size_t)size * element, err));
        if (to_all || rank == 0) GM_TRY(gm_comm_send(k->comm, rank, bucket, own, mine, kind, err));
    }
    return GM_OK;
}

/* The part of a bucket's own piece that lies in a group of parameters. */
static gm_status update_part(gm_run *r, const gm_bucket *b, const gm_group *g, gm_adamw a)
{
    enum { WIDTH = 16 }; /* pieces and groups begin at multiples of it */
    const gm_ranks *k = &r->ranks;
    const int64_t begin = piece(k, b, k->rank), end = piece(k, b, k->rank + 1);
    const int64_t from = begin > (int64_t)g->offset ? begin : (int64_t)g->offset, last = (int64_t)(g->offset + g->count), to = end < last ? end : last;
    const gm_param_blocks *d = &r->model.params.device;
    if (from >= to) return GM_OK;
    a.param = d->value + from;
    a.m = d->m + from;
    a.v = d->v + from;
    a.grad = b->sum + (from - begin);
    a.capacity = (int32_t)((to - from) / WIDTH);
    a.width = WIDTH;
    a.copy = r->model.params.copy != NULL ? (uint16_t *)r->model.params.copy + from : NULL;
    return r->backend.kernels.adamw.forward(&a, r->workers.whole);
}

/* The others' new weights in bf16 as well, rounded as AdamW rounds them. */
static void narrow_others(gm_run *r, const gm_bucket *b)
{
    const gm_ranks *k = &r->ranks;
    const int64_t begin = piece(k, b, k->rank), end = piece(k, b, k->rank + 1);
    const float *value = r->model.params.device.value;
    uint16_t *copy = r->model.params.copy;
    #pragma omp parallel for schedule(static) num_threads(r->workers.whole->threads)
    for (int64_t i = b->from; i < b->to; i++)
        if (i < begin || i >= end) copy[i] = gm_bf16_of(value[i]);
}

gm_status gm_ranks_update(gm_run *r, gm_adamw_of adamw_of, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    gm_params *ps = &r->model.params;
    const int32_t rows = k->buckets - 1;
    float *gradient = r->rows[k->first];
    GM_TRY(spread(k, rows, gradient, k->bucket[rows].sum, sizeof *gradient, true, GM_TRAFFIC_ROWS, err));
    GM_TRY(gm_comm_start(k->comm, rows, err));
    for (int32_t i = 0; i < rows; i++) {
        gm_bucket *b = &k->bucket[i];
        for (int32_t g = 0; g < ps->groups; g++)
            GM_TRY(gm_workers_error(&r->workers, update_part(r, b, &ps->group[g], adamw_of(r, ps->group[g].rate, ps->group[g].decays)), err));
        const int64_t own = piece(k, b, k->rank);
        uint16_t *copy = k->is_host ? NULL : ps->copy; /* of the host's own others' weights are rounded here */
        GM_TRY(spread(k, i, ps->device.value, ps->device.value + own, sizeof(float), true, GM_TRAFFIC_DENSE, err));
        if (copy != NULL) GM_TRY(spread(k, i, copy, copy + own, sizeof *copy, true, GM_TRAFFIC_DENSE, err));
        GM_TRY(gm_comm_start(k->comm, i, err));
        GM_TRY(gm_comm_progress(k->comm, err));
    }
    for (int32_t i = 0; i < k->buckets; i++) {
        GM_TRY(gm_comm_wait(k->comm, i, err));
        if (i < rows && ps->copy != NULL && k->is_host) narrow_others(r, &k->bucket[i]);
    }
    const gm_bucket *b = &k->bucket[rows];
    float *own = gradient + piece(k, b, k->rank);
    gm_device *dev = r->workers.whole;
    if (own == b->sum || own_size(k, b) == 0) return GM_OK;
    return gm_workers_error(&r->workers, dev->memory->copy(dev, own, b->sum, (size_t)own_size(k, b) * sizeof *own), err);
}

gm_status gm_ranks_gather_moments(gm_run *r, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    gm_param_blocks *d = &r->model.params.device;
    if (k->size == 1) return GM_OK;
    for (int32_t i = 0; i + 1 < k->buckets; i++) {
        const int64_t own = piece(k, &k->bucket[i], k->rank);
        GM_TRY(spread(k, i, d->m, d->m + own, sizeof *d->m, false, GM_TRAFFIC_OTHER, err));
        GM_TRY(spread(k, i, d->v, d->v + own, sizeof *d->v, false, GM_TRAFFIC_OTHER, err));
        GM_TRY(gm_comm_start(k->comm, i, err));
    }
    for (int32_t i = 0; i + 1 < k->buckets; i++) GM_TRY(gm_comm_wait(k->comm, i, err));
    return GM_OK;
}

gm_status gm_ranks_share_state(gm_run *r, gm_err *err)
{
    gm_ranks *k = &r->ranks;
    gm_params *ps = &r->model.params;
    gm_param_blocks *h = &ps->host;
    const size_t dense = ps->dense_count, table = ps->table != NULL ? ps->table->count : 0;
    const struct { float *block; size_t count; } blocks[] = { { h->value, dense }, { h->m, dense }, { h->v, dense }, { h->table_value, table },
                                                              { h->table_m, table }, { h->table_v, table }, { h->frozen, ps->frozen_count },
                                                              { ps->average, dense }, { ps->table_average, table } };
    GM_TRY(gm_comm_broadcast(k->comm, 0, &r->at, sizeof r->at, err));
    for (size_t i = 0; i < GM_LEN(blocks); i++)
        if (blocks[i].block != NULL) GM_TRY(gm_comm_broadcast(k->comm, 0, blocks[i].block, blocks[i].count * sizeof(float), err));
    return GM_OK;
}

gm_status gm_ranks_traffic(gm_run *r, const gm_comm_counts *since, gm_comm_counts *sum, gm_err *err)
{
    const gm_comm_counts now = gm_comm_traffic(r->ranks.comm);
    int64_t counts[GM_TRAFFIC_KINDS + 1];
    for (int i = 0; i < GM_TRAFFIC_KINDS; i++) counts[i] = now.sent[i] - since->sent[i];
    counts[GM_TRAFFIC_KINDS] = (int64_t)((now.wait_s - since->wait_s) * 1e6);
    GM_TRY(gm_comm_sum_counts(r->ranks.comm, counts, (int32_t)GM_LEN(counts), err));
    for (int i = 0; i < GM_TRAFFIC_KINDS; i++) sum->sent[i] = counts[i];
    sum->wait_s = (double)counts[GM_TRAFFIC_KINDS] * 1e-6;
    return GM_OK;
}

gm_status gm_ranks_report(gm_run *r, gm_err *err)
{
    const gm_comm_counts none = { 0 };
    gm_comm_counts sum;
    if (r->ranks.size == 1) return GM_OK;
    GM_TRY(gm_ranks_traffic(r, &none, &sum, err));
    gm_log(GM_LOG_INFO, "ranks", "%d processes sent each other %.1f MB of dense gradients and weights, %.1f MB of rows of the embedding and %.1f MB of other things; each waited %.1f s",
           r->ranks.size, (double)sum.sent[GM_TRAFFIC_DENSE] / 1e6, (double)sum.sent[GM_TRAFFIC_ROWS] / 1e6, (double)sum.sent[GM_TRAFFIC_OTHER] / 1e6,
           sum.wait_s / r->ranks.size);
    return GM_OK;
}
