/* span_logits on the CPU. Forward shares the sentences among threads and adds their losses in order; backward shares the
 * columns, which never meet: either way the number of threads leaves no trace in the bits. */
#include "span_logits/span_logits.h"

#include <string.h>

#include "activation_cpu.h"
#include "cross_entropy/cross_entropy.h"
#include "dropout_cpu.h"

/* BLOCK: sentences whose losses wait to be added. TILE: columns worked on at once, a multiple of 32; backward's sums of
 * a tile stay in the first-level cache with 5 classes and 8 widths. */
enum { BLOCK = 1024, TILE = 256, GRAD_TILE = 64 };

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* What both directions read of one span: rows of the tile that begins at column `first`. */
typedef struct span {
    const gm_act *start, *end;
    const float *width, *bias;
    uint32_t position;        /* start << 4 | width: dropout's name for it */
    int32_t sequence, first, n;
} span;

/* active[c] = the span's dropout scale where relu lets column c pass, else 0; hidden[c] = relu x scale. */
static void hidden_of(const span *s, const gm_drop *drop, uint64_t seed, float *restrict hidden, float *restrict active)
{
    if (drop->p > 0.0f)
        gm_drop_scales(drop, seed, s->sequence, s->position, (uint32_t)s->first, s->n, active);
    else
        for (int32_t c = 0; c < s->n; c++) active[c] = 1.0f;
    const gm_act *restrict start = s->start, *restrict end = s->end;
    const float *restrict width = s->width, *restrict bias = s->bias;
    for (int32_t c = 0; c < s->n; c++) {
        const float x = gm_get(start[c]) + gm_get(end[c]) + width[c] + bias[c];
        active[c] = x > 0.0f ? active[c] : 0.0f;
        hidden[c] = x * active[c];
    }
}

/* Logits and loss of one span inside the sentence; returns the loss without the scale. */
static double one_span(const gm_span_logits *a, span s, size_t row, uint64_t seed)
{
    const size_t hidden = (size_t)a->hidden, classes = (size_t)a->classes;
    float *logits = a->logits + row * classes;
    memcpy(logits, a->out_bias, classes * sizeof *logits);
    for (; s.first < a->hidden; s.first += TILE, s.start += TILE, s.end += TILE, s.width += TILE, s.bias += TILE) {
        float state[TILE], active[TILE];
        s.n = least(TILE, a->hidden - s.first);
        hidden_of(&s, &a->drop, seed, state, active);
        for (size_t k = 0; k < classes; k++) logits[k] += gm_dot(state, a->out + k * hidden + s.first, s.n);
    }
    if (a->label == NULL) return 0.0;
    return gm_cross_entropy_of(logits, a->classes, a->label[row], *a->scale, a->dlogits + row * classes);
}

static double one_sentence(const gm_span_logits *a, int32_t sequence, uint64_t seed)
{
    const int32_t begin = a->cu_words[sequence], end = a->cu_words[sequence + 1];
    const size_t hidden = (size_t)a->hidden, classes = (size_t)a->classes;
    const gm_act *projected = a->projected;
    double loss = 0.0;
    for (int32_t i = begin; i < end; i++)
        for (int32_t w = 0; w < a->widths; w++) {
            const size_t row = (size_t)i * (size_t)a->widths + (size_t)w;
            if (w >= end - i) {
                memset(a->logits + row * classes, 0, classes * sizeof *a->logits);
                if (a->label != NULL) memset(a->dlogits + row * classes, 0, classes * sizeof *a->dlogits);
                continue;
            }
            const span s = { .start = projected + (size_t)i * 2 * hidden,
                             .end = projected + (size_t)(i + w) * 2 * hidden + hidden,
                             .width = a->width + (size_t)w * hidden,
                             .bias = a->bias,
                             .position = (uint32_t)(i - begin) << 4 | (uint32_t)w,
                             .sequence = sequence };
            loss += one_span(a, s, row, seed);
        }
    return loss;
}

static gm_status span_logits_forward(const gm_span_logits *a, gm_device *dev)
{
    for (int32_t first = 0; first < a->sequences; first += BLOCK) {
        const int32_t n = least(BLOCK, a->sequences - first);
        double loss[BLOCK], sum = 0.0;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t s = 0; s < n; s++) loss[s] = one_sentence(a, first + s, dev->step->seed);
        for (int32_t s = 0; s < n; s++) sum += loss[s];
        if (a->label != NULL) *a->loss += sum * (double)*a->scale;
    }
    return GM_OK;
}

/* Sums over all spans of one tile of columns. */
typedef struct tile {
    float dwidth[GM_SPAN_MAX_WIDTHS][GRAD_TILE], dout[GM_SPAN_MAX_CLASSES][GRAD_TILE];
} tile;

static void add_scaled(float *restrict sum, float factor, const float *restrict x, int32_t n)
{
    for (int32_t c = 0; c < n; c++) sum[c] += factor * x[c];
}

static void put(float *restrict to, const float *restrict x, int32_t n, bool add)
{
    if (add)
        for (int32_t c = 0; c < n; c++) to[c] += x[c];
    else
        memcpy(to, x, (size_t)n * sizeof *to);
}

/* A row of dprojected: rounded once, and once more with what stands there. */
static void put_row(gm_act *restrict to, const float *restrict x, int32_t n, bool add)
{
    if (!add) {
        gm_narrow(x, to, n);
        return;
    }
    for (int32_t c = 0; c < n; c++) to[c] = gm_act_of(gm_get(to[c]) + x[c]);
}

/* One span's share of every gradient in the tile; its start and end rows are dstart and dend. */
static void one_span_grad(const gm_span_logits_grad *a, const span *s, const float *dlogits, uint64_t seed, tile *sum,
                          float *restrict dstart, float *restrict dend)
{
    float hidden[GRAD_TILE], active[GRAD_TILE], dhidden[GRAD_TILE] = { 0.0f };
    float *restrict dwidth = sum->dwidth[s->position & 15];
    hidden_of(s, &a->drop, seed, hidden, active);
    for (int32_t k = 0; k < a->classes; k++) {
        add_scaled(dhidden, dlogits[k], a->out + (size_t)k * (size_t)a->hidden + s->first, s->n);
        add_scaled(sum->dout[k], dlogits[k], hidden, s->n);
    }
    for (int32_t c = 0; c < s->n; c++) {
        const float d = dhidden[c] * active[c];
        dstart[c] += d;
        dend[c] += d;
        dwidth[c] += d;
    }
}

/* A word's dend is whole once the spans that end there are: those that start up to widths - 1 words before it, or there.
 * So a ring of rows waits, word i in row i % GM_SPAN_MAX_WIDTHS, and every number is rounded once. */
static void one_sentence_grad(const gm_span_logits_grad *a, int32_t sequence, int32_t first, int32_t n, uint64_t seed, tile *sum)
{
    const int32_t begin = a->cu_words[sequence], end = a->cu_words[sequence + 1];
    const size_t hidden = (size_t)a->hidden;
    const gm_act *starts = (const gm_act *)a->projected + first, *ends = starts + hidden;
    gm_act *dstarts = (gm_act *)a->dprojected + first, *dends = dstarts + hidden;
    float ring[GM_SPAN_MAX_WIDTHS][GRAD_TILE] = { { 0.0f } };
    for (int32_t i = begin; i < end; i++) {
        float dstart[GRAD_TILE] = { 0.0f };
        for (int32_t w = 0; w < least(a->widths, end - i); w++) {
            const span s = { .start = starts + (size_t)i * 2 * hidden,
                             .end = ends + (size_t)(i + w) * 2 * hidden,
                             .width = a->width + (size_t)w * hidden + first,
                             .bias = a->bias + first,
                             .position = (uint32_t)(i - begin) << 4 | (uint32_t)w,
                             .sequence = sequence,
                             .first = first,
                             .n = n };
            const size_t row = (size_t)i * (size_t)a->widths + (size_t)w;
            one_span_grad(a, &s, a->dlogits + row * (size_t)a->classes, seed, sum, dstart, ring[(i + w) % GM_SPAN_MAX_WIDTHS]);
        }
        float *dend = ring[i % GM_SPAN_MAX_WIDTHS];
        put_row(dstarts + (size_t)i * 2 * hidden, dstart, n, a->add_dprojected);
        put_row(dends + (size_t)i * 2 * hidden, dend, n, a->add_dprojected);
        memset(dend, 0, sizeof ring[0]);
    }
}

/* All gradients of columns first .. first + n: sentences, words and widths in order. */
static void one_tile(const gm_span_logits_grad *a, int32_t first, int32_t n, uint64_t seed)
{
    const size_t hidden = (size_t)a->hidden;
    tile sum;
    memset(sum.dwidth, 0, (size_t)a->widths * sizeof sum.dwidth[0]);
    memset(sum.dout, 0, (size_t)a->classes * sizeof sum.dout[0]);
    for (int32_t s = 0; s < a->sequences; s++) one_sentence_grad(a, s, first, n, seed, &sum);
    float dbias[GRAD_TILE] = { 0.0f };
    for (int32_t w = 0; w < a->widths; w++) {
        put(a->dwidth + (size_t)w * hidden + first, sum.dwidth[w], n, a->add_dwidth);
        put(dbias, sum.dwidth[w], n, true); /* every span has one width */
    }
    put(a->dbias + first, dbias, n, a->add_dbias);
    for (int32_t k = 0; k < a->classes; k++)
        put(a->dout + (size_t)k * hidden + first, sum.dout[k], n, a->add_dout);
}

static gm_status span_logits_backward(const gm_span_logits_grad *a, gm_device *dev)
{
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int32_t first = 0; first < a->hidden; first += GRAD_TILE)
        one_tile(a, first, least(GRAD_TILE, a->hidden - first), dev->step->seed);

    const int32_t total = a->cu_words[a->sequences], rows = total * a->widths; /* those beyond a sentence are zero */
    const size_t row = 2 * (size_t)a->hidden * sizeof(gm_act);
    if (a->words > total && !a->add_dprojected)
        memset((unsigned char *)a->dprojected + (size_t)total * row, 0, (size_t)(a->words - total) * row);
    float dout_bias[GM_SPAN_MAX_CLASSES] = { 0.0f };
    for (int32_t r = 0; r < rows; r++)
        for (int32_t k = 0; k < a->classes; k++) dout_bias[k] += a->dlogits[(size_t)r * (size_t)a->classes + (size_t)k];
    put(a->dout_bias, dout_bias, a->classes, a->add_dout_bias);
    return GM_OK;
}

GM_KERNELS(span_logits)
