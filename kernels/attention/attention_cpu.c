/* Attention on the CPU: one (sequence, head) after another, a block of queries against a tile of keys at a time, so
 * that scores stay in the cache and any length fits the stack. Forward keeps a running maximum and sum (Milakov and
 * Gimelshein 2018); backward recomputes probabilities from lse and takes rowsum(dout * out) for the sum over keys that
 * the softmax derivative needs (Dao et al. 2022, appendix B.4), which holds with dropout as well.
 * All five products run through one register-blocked loop; each sum's order depends on the lengths alone. In bf16 a pair's
 * rows are widened into scratch on the stack and what it gives is rounded from there, once. */
#include "attention/attention.h"

#include <string.h>

#include "activation_cpu.h"
#include "dropout_cpu.h"

/* A block of scores is 32 KiB; 64 queries make the transposition of a key tile small beside its use. DEPTH columns are
 * transposed at a time, so that the width of a head has no limit. KEYS is a multiple of 32 for gm_drop_scales. */
enum { QUERIES = 64, KEYS = 128, DEPTH = 64, ROWS = 4 };

/* Scratch of one of a pair's tensors in bf16, which bounds its size; floats are worked on where they lie. */
enum { MOST_ROWS = 1024, MOST_WIDTH = 128, SCRATCH = GM_HAS_BF16 ? MOST_ROWS * MOST_WIDTH : 1 };

/* Rows of one head: row i at at + i * stride. */
typedef struct rows { const float *at; ptrdiff_t stride; } rows;

/* One (sequence, head). */
typedef struct pair {
    rows q, k, v;
    int32_t queries, keys, width, sequence, head;
    const float *bias;        /* of this head, NULL or its middle: key - query = 0 */
    int32_t bias_reach;
    bool is_causal;
    float scale;
    const gm_drop *drop;
    uint64_t seed;
} pair;

static size_t offset(int32_t stride, int32_t first, int32_t column) { return (size_t)first * (size_t)stride + (size_t)column; }

/* n rows of a head, read. */
static rows rows_of(const void *base, int32_t stride, int32_t first, int32_t column, int32_t n, int32_t width, float *scratch)
{
    const gm_act *from = (const gm_act *)base + offset(stride, first, column);
    if (!GM_HAS_BF16) return (rows){ (const float *)(const void *)from, stride };
    for (int32_t i = 0; i < n; i++) gm_widen(from + (ptrdiff_t)i * stride, scratch + (ptrdiff_t)i * width, width);
    return (rows){ scratch, width };
}

/* Rows of a head, to be written: where, and with which stride. */
typedef struct room { float *at; int32_t stride; } room;
static room room_for(void *base, int32_t stride, int32_t first, int32_t column, int32_t width, float *scratch)
{
    if (GM_HAS_BF16) return (room){ scratch, width };
    return (room){ (float *)base + offset(stride, first, column), stride };
}

/* What was written goes to its place. */
static void put_away(room from, void *base, int32_t stride, int32_t first, int32_t column, int32_t n, int32_t width)
{
    gm_act *to = (gm_act *)base + offset(stride, first, column);
    for (int32_t i = 0; GM_HAS_BF16 && i < n; i++) gm_narrow(from.at + (ptrdiff_t)i * from.stride, to + (ptrdiff_t)i * stride, width);
}

static rows rows_from(rows r, int32_t first) { return (rows){ r.at + first * r.stride, r.stride }; }

static int32_t at_most(int32_t a, int32_t b) { return a < b ? a : b; }

/* Columns of a score tile: whole registers. */
static int32_t padded(int32_t n) { return (n + GM_LANES - 1) / GM_LANES * GM_LANES; }

static inline void put(float *c, gm_vec v, bool add) { gm_vec_store(c, add ? gm_vec_load(c) + v : v); }

/* Element (i, step) of a product's left side is at[i * row + step * step_stride]: either way round. */
typedef struct left { const float *at; ptrdiff_t row, step; } left;

/* ROWS rows of c by two registers; of these the first `height` rows are real, the others repeat the first. */
static inline void strip2(left a, int32_t height, rows b, int32_t steps, float *c, ptrdiff_t c_stride, bool add)
{
    const ptrdiff_t i1 = height > 1 ? a.row : 0, i2 = height > 2 ? 2 * a.row : 0, i3 = height > 3 ? 3 * a.row : 0;
    gm_vec c00 = { 0.0f }, c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
    for (int32_t s = 0; s < steps; s++) {
        const gm_vec b0 = gm_vec_load(b.at), b1 = gm_vec_load(b.at + GM_LANES);
        const float a0 = a.at[0], a1 = a.at[i1], a2 = a.at[i2], a3 = a.at[i3];
        c00 += a0 * b0;
        c01 += a0 * b1;
        c10 += a1 * b0;
        c11 += a1 * b1;
        c20 += a2 * b0;
        c21 += a2 * b1;
        c30 += a3 * b0;
        c31 += a3 * b1;
        a.at += a.step;
        b.at += b.stride;
    }
    const gm_vec low[ROWS] = { c00, c10, c20, c30 }, high[ROWS] = { c01, c11, c21, c31 };
    for (int32_t i = 0; i < height; i++) {
        put(c + i * c_stride, low[i], add);
        put(c + i * c_stride + GM_LANES, high[i], add);
    }
}

static inline void strip1(left a, int32_t height, rows b, int32_t steps, float *c, ptrdiff_t c_stride, bool add)
{
    const ptrdiff_t i1 = height > 1 ? a.row : 0, i2 = height > 2 ? 2 * a.row : 0, i3 = height > 3 ? 3 * a.row : 0;
    gm_vec c0 = { 0.0f }, c1 = c0, c2 = c0, c3 = c0;
    for (int32_t s = 0; s < steps; s++) {
        const gm_vec b0 = gm_vec_load(b.at);
        c0 += a.at[0] * b0;
        c1 += a.at[i1] * b0;
        c2 += a.at[i2] * b0;
        c3 += a.at[i3] * b0;
        a.at += a.step;
        b.at += b.stride;
    }
    const gm_vec sum[ROWS] = { c0, c1, c2, c3 };
    for (int32_t i = 0; i < height; i++) put(c + i * c_stride, sum[i], add);
}

/* c [m, n] = a [m, steps] b [steps, n], or += with add. */
static void product(left a, rows b, float *c, ptrdiff_t c_stride, int32_t m, int32_t n, int32_t steps, bool add)
{
    for (int32_t i = 0; i < m; i += ROWS) {
        const int32_t height = at_most(ROWS, m - i);
        const left from = { a.at + i * a.row, a.row, a.step };
        float *to = c + i * c_stride;
        int32_t j = 0;
        for (; j + 2 * GM_LANES <= n; j += 2 * GM_LANES)
            strip2(from, height, (rows){ b.at + j, b.stride }, steps, to + j, c_stride, add);
        for (; j + GM_LANES <= n; j += GM_LANES)
            strip1(from, height, (rows){ b.at + j, b.stride }, steps, to + j, c_stride, add);
        for (; j < n; j++)
            for (int32_t r = 0; r < height; r++) {
                float sum = 0.0f;
                for (int32_t s = 0; s < steps; s++) sum += from.at[r * a.row + s * a.step] * b.at[s * b.stride + j];
                to[r * c_stride + j] = add ? to[r * c_stride + j] + sum : sum;
            }
    }
}

/* s [m, padded(n)] = a b^T for m rows of a and n rows of b; columns beyond n get 0. */
static void product_transposed(rows a, int32_t m, rows b, int32_t n, int32_t width, float *s)
{
    float turned[DEPTH * KEYS];
    const int32_t ld = padded(n);
    for (int32_t first = 0; first < width; first += DEPTH) {
        const int32_t depth = at_most(DEPTH, width - first);
        for (int32_t d = 0; d < depth; d++) {
            gm_vec_store(turned + (d + 1) * ld - GM_LANES, (gm_vec){ 0.0f }); /* one store covers the padding */
            for (int32_t j = 0; j < n; j++) turned[d * ld + j] = b.at[j * b.stride + first + d];
        }
        product((left){ a.at + first, a.stride, 1 }, (rows){ turned, ld }, s, ld, m, ld, depth, first > 0);
    }
}

static int32_t bias_column(const pair *p, int32_t query, int32_t key)
{
    const int32_t apart = key - query, reach = p->bias_reach;
    return apart < -reach ? -reach : apart > reach ? reach : apart;
}

/* Scales a query's row of scores, adds the bias and sets what the query does not see to -infinity. */
static void finish_scores(const pair *p, int32_t query, int32_t first_key, int32_t n, float *s)
{
    const int32_t ld = padded(n);
    for (int32_t j = 0; j < ld; j += GM_LANES) gm_vec_store(s + j, p->scale * gm_vec_load(s + j));
    if (p->bias != NULL)
        for (int32_t j = 0; j < n; j++) s[j] += p->bias[bias_column(p, query, first_key + j)];
    int32_t seen = n;
    if (p->is_causal) seen = at_most(n, query + p->keys - p->queries + 1 - first_key);
    for (int32_t j = seen < 0 ? 0 : seen; j < ld; j++) s[j] = -INFINITY;
}

/* mask[j] of keys first_key + j, j < n; room for KEYS. */
static void draw_mask(const pair *p, int32_t query, int32_t first_key, int32_t n, float *mask)
{
    gm_drop_scales(p->drop, p->seed, p->sequence, (uint32_t)query,
                   (uint32_t)(p->head * GM_ATTENTION_MAX_DROP_KEYS + first_key), n, mask);
}

/* One query's row of scores becomes exp(score - *top), dropped; *top and *sum take the tile in. Returns by how much to
 * multiply what earlier tiles gave. A row that sees nothing yet keeps top -infinity and gives zeros, not NaN. */
static float soften(const pair *p, int32_t query, int32_t first_key, int32_t n, float *s, float *top, float *sum)
{
    const int32_t ld = padded(n);
    gm_vec tops = gm_vec_load(s);
    for (int32_t j = GM_LANES; j < ld; j += GM_LANES) tops = gm_vec_max(gm_vec_load(s + j), tops);
    float lane[GM_LANES], highest = *top;
    gm_vec_store(lane, tops);
    for (int l = 0; l < GM_LANES; l++) highest = lane[l] > highest ? lane[l] : highest;
    const float base = highest == -INFINITY ? 0.0f : highest;
    gm_vec sums = { 0.0f };
    for (int32_t j = 0; j < ld; j += GM_LANES) {
        const gm_vec e = gm_vec_exp(gm_vec_load(s + j) - base);
        sums += e;
        gm_vec_store(s + j, e);
    }
    if (p->drop->p > 0.0f) {
        float mask[KEYS];
        draw_mask(p, query, first_key, n, mask);
        for (int32_t j = 0; j < ld; j += GM_LANES) gm_vec_store(s + j, gm_vec_load(s + j) * gm_vec_load(mask + j));
    }
    const float shrink = gm_exp(*top - base);
    *sum = *sum * shrink + gm_vec_sum(sums);
    *top = highest;
    return shrink;
}

static void zero_rows(float *at, int32_t stride, int32_t n, int32_t width)
{
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < width; c++) at[i * (ptrdiff_t)stride + c] = 0.0f;
}

/* Rows of all heads from the end of the last sequence, `first`, to `end`; none where `end` is not set. */
static void zero_behind(void *to, int32_t stride, int32_t first, int32_t end, int32_t hidden)
{
    for (int32_t i = first; i < end; i++) memset((gm_act *)to + (ptrdiff_t)i * stride, 0, (size_t)hidden * sizeof(gm_act));
}

/* Whether all pairs fit the scratch. */
static gm_status check_size(const int32_t *cu_q, const int32_t *cu_k, int32_t sequences, int32_t width, gm_err *err)
{
    for (int32_t s = 0; GM_HAS_BF16 && s < sequences; s++)
        if (cu_q[s + 1] - cu_q[s] > MOST_ROWS || cu_k[s + 1] - cu_k[s] > MOST_ROWS || width > MOST_WIDTH)
            return gm_fail(err, GM_ERR_SHAPE, "attention: sequence %d has %d queries and %d keys of %d columns; in bf16 the cpu takes up to %d rows of %d: use fp32",
                           s, cu_q[s + 1] - cu_q[s], cu_k[s + 1] - cu_k[s], width, MOST_ROWS, MOST_WIDTH);
    return GM_OK;
}

static void scale_row(float *row, int32_t n, float by)
{
    int32_t i = 0;
    for (; i + GM_LANES <= n; i += GM_LANES) gm_vec_store(row + i, by * gm_vec_load(row + i));
    for (; i < n; i++) row[i] *= by;
}

/* Queries first .. first + m of a pair; out and lse at the block's first query. */
static void forward_block(const pair *p, int32_t first, int32_t m, float *out, int32_t out_stride, float *lse,
                          int32_t heads)
{
    float s[QUERIES * KEYS], top[QUERIES], sum[QUERIES];
    for (int32_t i = 0; i < m; i++) {
        top[i] = -INFINITY;
        sum[i] = 0.0f;
    }
    zero_rows(out, out_stride, m, p->width);
    for (int32_t key = 0; key < p->keys; key += KEYS) {
        const int32_t n = at_most(KEYS, p->keys - key), ld = padded(n);
        product_transposed(rows_from(p->q, first), m, rows_from(p->k, key), n, p->width, s);
        for (int32_t i = 0; i < m; i++) {
            finish_scores(p, first + i, key, n, s + i * ld);
            const float shrink = soften(p, first + i, key, n, s + i * ld, &top[i], &sum[i]);
            if (key > 0) scale_row(out + i * (ptrdiff_t)out_stride, p->width, shrink);
        }
        product((left){ s, ld, 1 }, rows_from(p->v, key), out, out_stride, m, p->width, n, true);
    }
    for (int32_t i = 0; i < m; i++) {
        const bool sees = sum[i] != 0.0f; /* NaN counts: it must reach the output */
        scale_row(out + i * (ptrdiff_t)out_stride, p->width, sees ? 1.0f / sum[i] : 0.0f);
        if (lse != NULL) lse[i * (ptrdiff_t)heads] = sees ? top[i] + logf(sum[i]) : -INFINITY;
    }
}

static void forward_pair(const gm_attention *a, int32_t sequence, int32_t head, uint64_t seed)
{
    const int32_t column = head * a->width, q0 = a->cu_q[sequence], k0 = a->cu_k[sequence];
    const int32_t queries = a->cu_q[sequence + 1] - q0, keys = a->cu_k[sequence + 1] - k0;
    float q[SCRATCH], k[SCRATCH], v[SCRATCH], out[SCRATCH];
    const pair p = { rows_of(a->q, a->q_stride, q0, column, queries, a->width, q), rows_of(a->k, a->k_stride, k0, column, keys, a->width, k),
                     rows_of(a->v, a->v_stride, k0, column, keys, a->width, v), queries, keys, a->width, sequence, head,
                     a->bias ? a->bias + (ptrdiff_t)head * (2 * a->bias_reach + 1) + a->bias_reach : NULL,
                     a->bias_reach, a->is_causal, a->scale, &a->drop, seed };
    const room to = room_for(a->out, a->out_stride, q0, column, a->width, out);
    for (int32_t i = 0; i < queries; i += QUERIES)
        forward_block(&p, i, at_most(QUERIES, queries - i), to.at + (ptrdiff_t)i * to.stride, to.stride,
                      a->lse ? a->lse + (ptrdiff_t)(q0 + i) * a->heads + head : NULL, a->heads);
    put_away(to, a->out, a->out_stride, q0, column, queries, a->width);
}

static gm_status attention_forward(const gm_attention *a, gm_device *dev)
{
    const int32_t pairs = a->sequences * a->heads;
    const uint64_t seed = a->drop.p > 0.0f ? dev->step->seed : 0;
    GM_TRY(check_size(a->cu_q, a->cu_k, a->sequences, a->width, dev->err));
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t at = 0; at < pairs; at++) forward_pair(a, at / a->heads, at % a->heads, seed);
    zero_behind(a->out, a->out_stride, a->cu_q[a->sequences], a->q_rows, a->heads * a->width);
    return GM_OK;
}

/* What backward reads and writes of one pair beside q, k and v. */
typedef struct pair_grad {
    rows out, dout;
    const float *lse;         /* of query i at i * heads */
    int32_t heads;
    room dq, dk, dv;
    float *dbias;             /* as pair.bias */
} pair_grad;

/* One query: its scores s become dropped probabilities, its ds (on entry: d of the dropped probabilities) the gradient
 * of q k^T. lse is -infinity for a query that sees no key: then all its probabilities are 0. */
static void soften_grad(const pair *p, const pair_grad *g, int32_t query, int32_t first_key, int32_t n, float *s,
                        float *ds)
{
    const int32_t ld = padded(n);
    const float lse = g->lse[query * (ptrdiff_t)g->heads], base = lse == -INFINITY ? INFINITY : lse;
    const float delta = gm_dot(rows_from(g->dout, query).at, rows_from(g->out, query).at, p->width);
    float mask[KEYS];
    finish_scores(p, query, first_key, n, s);
    if (p->drop->p > 0.0f) draw_mask(p, query, first_key, n, mask);
    for (int32_t j = 0; j < ld; j += GM_LANES) {
        const gm_vec e = gm_vec_exp(gm_vec_load(s + j) - base), d = gm_vec_load(ds + j);
        if (p->drop->p > 0.0f) {
            const gm_vec keep = gm_vec_load(mask + j);
            gm_vec_store(s + j, e * keep);
            gm_vec_store(ds + j, e * (d * keep - delta));
        } else {
            gm_vec_store(s + j, e);
            gm_vec_store(ds + j, e * (d - delta));
        }
    }
    if (g->dbias != NULL)
        for (int32_t j = 0; j < n; j++) g->dbias[bias_column(p, query, first_key + j)] += ds[j];
    for (int32_t j = 0; j < ld; j += GM_LANES) gm_vec_store(ds + j, p->scale * gm_vec_load(ds + j));
}

static void backward_pair(const pair *p, const pair_grad *g)
{
    float s[QUERIES * KEYS], ds[QUERIES * KEYS];
    zero_rows(g->dq.at, g->dq.stride, p->queries, p->width);
    zero_rows(g->dk.at, g->dk.stride, p->keys, p->width);
    zero_rows(g->dv.at, g->dv.stride, p->keys, p->width);
    for (int32_t key = 0; key < p->keys; key += KEYS) {
        const int32_t n = at_most(KEYS, p->keys - key), ld = padded(n);
        const rows k = rows_from(p->k, key), v = rows_from(p->v, key);
        for (int32_t first = 0; first < p->queries; first += QUERIES) {
            const int32_t m = at_most(QUERIES, p->queries - first);
            const rows q = rows_from(p->q, first), dout = rows_from(g->dout, first);
            product_transposed(q, m, k, n, p->width, s);
            product_transposed(dout, m, v, n, p->width, ds);
            for (int32_t i = 0; i < m; i++) soften_grad(p, g, first + i, key, n, s + i * ld, ds + i * ld);
            product((left){ s, 1, ld }, dout, g->dv.at + key * (ptrdiff_t)g->dv.stride, g->dv.stride, n, p->width, m,
                    true);
            product((left){ ds, 1, ld }, q, g->dk.at + key * (ptrdiff_t)g->dk.stride, g->dk.stride, n, p->width, m, true);
            product((left){ ds, ld, 1 }, k, g->dq.at + first * (ptrdiff_t)g->dq.stride, g->dq.stride, m, p->width, n,
                    true);
        }
    }
}

/* One (sequence, head) backwards. */
static void backward_of(const gm_attention_grad *a, int32_t sequence, int32_t head, uint64_t seed)
{
    const int32_t width = a->width, column = head * width, q0 = a->cu_q[sequence], k0 = a->cu_k[sequence];
    const int32_t queries = a->cu_q[sequence + 1] - q0, keys = a->cu_k[sequence + 1] - k0;
    const ptrdiff_t middle = (ptrdiff_t)head * (2 * a->bias_reach + 1) + a->bias_reach;
    float q[SCRATCH], k[SCRATCH], v[SCRATCH], out[SCRATCH], dout[SCRATCH], dq[SCRATCH], dk[SCRATCH], dv[SCRATCH];
    const pair p = { rows_of(a->q, a->q_stride, q0, column, queries, width, q), rows_of(a->k, a->k_stride, k0, column, keys, width, k),
                     rows_of(a->v, a->v_stride, k0, column, keys, width, v), queries, keys, width, sequence, head,
                     a->bias ? a->bias + middle : NULL, a->bias_reach, a->is_causal, a->scale, &a->drop, seed };
    const pair_grad g = { rows_of(a->out, a->out_stride, q0, column, queries, width, out),
                          rows_of(a->dout, a->out_stride, q0, column, queries, width, dout),
                          a->lse + (ptrdiff_t)q0 * a->heads + head,
                          a->heads,
                          room_for(a->dq, a->q_stride, q0, column, width, dq),
                          room_for(a->dk, a->k_stride, k0, column, width, dk),
                          room_for(a->dv, a->v_stride, k0, column, width, dv),
                          a->dbias != NULL ? a->dbias + middle : NULL };
    backward_pair(&p, &g);
    put_away(g.dq, a->dq, a->q_stride, q0, column, queries, width);
    put_away(g.dk, a->dk, a->k_stride, k0, column, keys, width);
    put_away(g.dv, a->dv, a->v_stride, k0, column, keys, width);
}

/* All pairs of a head add to the same dbias: with one the threads share out heads, and each goes through its sequences
 * in order; without one they share out pairs. */
static gm_status attention_backward(const gm_attention_grad *a, gm_device *dev)
{
    const bool by_head = a->dbias != NULL;
    const int32_t chunks = by_head ? a->heads : a->sequences * a->heads;
    const uint64_t seed = a->drop.p > 0.0f ? dev->step->seed : 0;
    GM_TRY(check_size(a->cu_q, a->cu_k, a->sequences, a->width, dev->err));
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t chunk = 0; chunk < chunks; chunk++) {
        const int32_t from = by_head ? 0 : chunk / a->heads, to = by_head ? a->sequences : from + 1;
        for (int32_t sequence = from; sequence < to; sequence++) backward_of(a, sequence, chunk % a->heads, seed);
    }
    const int32_t q_end = a->cu_q[a->sequences], k_end = a->cu_k[a->sequences], hidden = a->heads * a->width;
    zero_behind(a->dq, a->q_stride, q_end, a->q_rows, hidden);
    zero_behind(a->dk, a->k_stride, k_end, a->k_rows, hidden);
    zero_behind(a->dv, a->v_stride, k_end, a->k_rows, hidden);
    return GM_OK;
}

GM_KERNELS(attention)
