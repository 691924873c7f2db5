/* The module's table with every operation watched, for GM_SIM_REPORT: work is counted for the operation that queued it,
 * beside the least that the operation could do. That least follows from the contracts in the operations' headers: every
 * input is read once and every output written once, and one that is added to is read as well. Inputs of which only some
 * rows are used (tables of embeddings) count these rows, each once. Scratch, a tensor that a contract only allows to be
 * overwritten (dy of linear), keys of dropout and the step's own numbers count nothing. Flops are those of the formulas
 * in the headers; products count 2 for a multiplication and its sum. */
#include "../internal.h"

#include <stdlib.h>
#include <set>

extern "C" {
#include "backend/module.h"
}
#include "adamw/adamw.h"
#include "attention/attention.h"
#include "crf/crf.h"
#include "crf_decode/crf_decode.h"
#include "cross_entropy/cross_entropy.h"
#include "distance_bias/distance_bias.h"
#include "dropout_entropy/dropout_entropy.h"
#include "embedding/embedding.h"
#include "embedding_bag/embedding_bag.h"
#include "gather/gather.h"
#include "grad_norm/grad_norm.h"
#include "image_embedding/image_embedding.h"
#include "linear/linear.h"
#include "patches/patches.h"
#include "region_scores/region_scores.h"
#include "region_triplet/region_triplet.h"
#include "residual_norm/residual_norm.h"
#include "span_logits/span_logits.h"
#include "span_vector/span_vector.h"

using namespace emu;

enum { FLOAT = 4, INDEX = 4, DOUBLE = 8, TOKEN = sizeof(gm_token) };

/* The sums below in one shape: in(bytes) is read, out(bytes) written, both(bytes) added to. */
struct Sum : Least {
    explicit Sum(double work = 0.0) : Least{ 0, 0, work } {}
    Sum &in(uint64_t bytes)
    {
        read += bytes;
        return *this;
    }
    Sum &out(uint64_t bytes)
    {
        written += bytes;
        return *this;
    }
    Sum &out(const void *p, uint64_t bytes, bool is_added = false) { return !p ? *this : is_added ? both(bytes) : out(bytes); }
    Sum &in(const void *p, uint64_t bytes) { return p ? in(bytes) : *this; }
    Sum &both(uint64_t bytes) { return in(bytes).out(bytes); }
};

/* Device memory is memory: counts are read when the operation runs. */
static uint64_t count_of(const int32_t *n, int32_t capacity)
{
    return n ? (uint64_t)std::max(0, std::min(*n, capacity)) : (uint64_t)capacity;
}

template <class Number> static uint64_t distinct(uint64_t n, Number number)
{
    std::set<int64_t> seen;
    for (uint64_t i = 0; i < n; i++) seen.insert(number(i));
    return seen.size();
}

static Least least(const gm_embedding &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_tokens, a.capacity), row = (uint64_t)a.hidden;
    const uint64_t words = distinct(n, [&](uint64_t i) { return a.ids[i]; });
    const uint64_t places = distinct(n, [&](uint64_t i) { return a.token[i].position; });
    return Sum(2.0 * (double)(n * row)).in(n * (INDEX + TOKEN)).in((words + places) * row * FLOAT).in(a.type, row * FLOAT).out((uint64_t)a.capacity * row * element);
}

static Least least(const gm_embedding_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_tokens, a.capacity), row = (uint64_t)a.hidden;
    const uint64_t words = distinct(n, [&](uint64_t i) { return a.slot[i]; });
    const uint64_t places = distinct(n, [&](uint64_t i) { return a.token[i].position; });
    return Sum(3.0 * (double)(n * row)).in(n * (INDEX + TOKEN)).in(n * row * element).both((words + places) * row * FLOAT).out(a.dtype, row * FLOAT, true);
}

static Least least(const gm_embedding_bag &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), row = (uint64_t)a.width, bag = (uint64_t)a.bag;
    const uint64_t met = distinct(n * bag, [&](uint64_t i) { return a.index[i]; });
    return Sum((double)(n * bag * row)).in(n * bag).in(met * row * FLOAT).both(n * row * element);
}

static Least least(const gm_embedding_bag_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), row = (uint64_t)a.width, bag = (uint64_t)a.bag;
    return Sum((double)(n * bag * row)).in(n * bag).in(n * row * element).out(a.dtable, (uint64_t)a.rows * row * FLOAT, a.add);
}

static Least least(const gm_patches &a, uint64_t element)
{
    const uint64_t across = (uint64_t)(a.side / a.patch), area = (uint64_t)(a.patch * a.patch), n = count_of(a.n_images, a.images), images = (uint64_t)a.images;
    const uint64_t values = 3 * across * across * area;
    return Sum(2.0 * (double)(n * values)).in(n * values).out(images * (values + 3 * area) * element).out((images + 2) * INDEX);
}

static Least least(const gm_image_embedding &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_images, a.images), width = (uint64_t)a.width, place = (uint64_t)a.rows * width;
    return Sum((double)(n * (place + width))).in((place + width) * FLOAT).both(n * place * element);
}

static Least least(const gm_image_embedding_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_images, a.images), width = (uint64_t)a.width, place = (uint64_t)a.rows * width;
    return Sum((double)(n * place)).in(n * place * element).out(a.dclass_token, width * FLOAT, a.add_dclass_token).out(a.dposition, place * FLOAT, a.add_dposition);
}

static Least least(const gm_gather &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), row = (uint64_t)a.width * element;
    return Sum().in(n * (INDEX + row)).in(a.drop.p != 0.0f ? n * TOKEN : 0).out((uint64_t)a.capacity * row);
}

static Least least(const gm_gather_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), row = (uint64_t)a.width * element;
    Sum s;
    s.in(n * (INDEX + row)).in(a.drop.p != 0.0f ? n * TOKEN : 0);
    return a.add ? s.both(n * row) : s.out((uint64_t)a.source * row);
}

static Least least(const gm_linear &a, uint64_t element)
{
    const uint64_t rows = (uint64_t)a.rows, in = (uint64_t)a.in, out = (uint64_t)a.out;
    const bool keeps_pre = a.act != GM_LINEAR_PLAIN && a.pre;
    return Sum(2.0 * (double)(rows * in * out)).in((rows * in + in * out) * element).in(a.b, out * FLOAT).out(rows * out * element * (keeps_pre ? 2 : 1));
}

static Least least(const gm_linear_grad &a, uint64_t element)
{
    const uint64_t rows = (uint64_t)a.rows, in = (uint64_t)a.in, out = (uint64_t)a.out, products = (a.dw ? 1 : 0) + (a.dx ? 1 : 0);
    return Sum(2.0 * (double)(products * rows * in * out)).in(rows * out * element * (a.act != GM_LINEAR_PLAIN ? 2 : 1)).in(a.dw, rows * in * element)
        .in(a.dx, in * out * element).out(a.dw, in * out * FLOAT, a.add_dw).out(a.db, out * FLOAT, a.add_db).out(a.dx, rows * in * element, a.add_dx);
}

static Least least(const gm_residual_norm &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), all = (uint64_t)a.capacity, row = (uint64_t)a.width * element;
    const bool drops = a.drop.p != 0.0f || a.drop_out.p != 0.0f;
    return Sum(8.0 * (double)n * a.width).in(n * row).in(a.residual, n * row).in(2 * (uint64_t)a.width * FLOAT).in(drops ? n * TOKEN : 0).out(2 * all * row)
        .out(a.mean, n * FLOAT).out(a.rstd, n * FLOAT);
}

static Least least(const gm_residual_norm_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), all = (uint64_t)a.capacity, row = (uint64_t)a.width * element, width = (uint64_t)a.width * FLOAT;
    const bool drops = a.drop.p != 0.0f || a.drop_out.p != 0.0f;
    return Sum(14.0 * (double)n * a.width).in(n * (2 * row + 2 * FLOAT)).in(a.dsum, n * row).in(width).in(drops ? n * TOKEN : 0)
        .out(a.dx, (a.add_dx ? n : all) * row, a.add_dx).out(a.dresidual, (a.add_dresidual ? n : all) * row, a.add_dresidual)
        .out(a.dgamma, width, a.add_dgamma).out(a.dbeta, width, a.add_dbeta);
}

struct Pairs { uint64_t queries, keys; double of_both; };
template <class Args> static Pairs pairs_of(const Args &a)
{
    Pairs p = { (uint64_t)a.cu_q[a.sequences], (uint64_t)a.cu_k[a.sequences], 0.0 };
    for (int s = 0; s < a.sequences; s++) p.of_both += (double)(a.cu_q[s + 1] - a.cu_q[s]) * (double)(a.cu_k[s + 1] - a.cu_k[s]);
    return p;
}
template <class Args> static uint64_t offset_bytes(const Args &a) { return ((uint64_t)a.sequences + 1) * INDEX * (a.cu_q == a.cu_k ? 1 : 2); }
template <class Args> static uint64_t bias_bytes(const Args &a) { return (uint64_t)a.heads * (2 * (uint64_t)a.bias_reach + 1) * FLOAT; }

static Least least(const gm_attention &a, uint64_t element)
{
    const Pairs p = pairs_of(a);
    const uint64_t hidden = (uint64_t)a.heads * (uint64_t)a.width, row = hidden * element;
    return Sum(4.0 * p.of_both * (double)hidden).in((p.queries + 2 * p.keys) * row).in(offset_bytes(a)).in(a.bias, bias_bytes(a)).out((uint64_t)a.q_rows * row)
        .out(a.lse, p.queries * (uint64_t)a.heads * FLOAT);
}

static Least least(const gm_attention_grad &a, uint64_t element)
{
    const Pairs p = pairs_of(a);
    const uint64_t hidden = (uint64_t)a.heads * (uint64_t)a.width, row = hidden * element;
    return Sum(10.0 * p.of_both * (double)hidden).in((3 * p.queries + 2 * p.keys) * row).in(p.queries * (uint64_t)a.heads * FLOAT).in(offset_bytes(a))
        .in(a.bias, bias_bytes(a)).out(((uint64_t)a.q_rows + 2 * (uint64_t)a.k_rows) * row).out(a.dbias, bias_bytes(a), true);
}

template <class Args> static uint64_t table_bytes(const Args &a) { return 2 * (uint64_t)a.buckets.half * (uint64_t)a.heads * FLOAT; }
template <class Args> static uint64_t spread_bytes(const Args &a) { return (2 * (uint64_t)a.buckets.reach + 1) * (uint64_t)a.heads * FLOAT; }

static Least least(const gm_distance_bias &a, uint64_t)
{
    return Sum().in(table_bytes(a)).out(spread_bytes(a));
}

static Least least(const gm_distance_bias_grad &a, uint64_t)
{
    return Sum((double)(spread_bytes(a) / FLOAT)).in(spread_bytes(a)).both(table_bytes(a));
}

static double spans_of(const int32_t *cu, int sequences, int widths)
{
    double spans = 0.0;
    for (int s = 0; s < sequences; s++)
        for (int left = cu[s + 1] - cu[s]; left > 0; left--) spans += std::min(left, widths);
    return spans;
}

static Least least(const gm_span_logits &a, uint64_t element)
{
    const uint64_t words = (uint64_t)a.cu_words[a.sequences], hidden = (uint64_t)a.hidden, classes = (uint64_t)a.classes, widths = (uint64_t)a.widths;
    const uint64_t scores = words * widths * classes * FLOAT;
    const double work = 2.0 * spans_of(a.cu_words, a.sequences, a.widths) * (double)(hidden * (classes + 1));
    return Sum(work).in(2 * words * hidden * element).in((widths + 1 + classes) * hidden * FLOAT + classes * FLOAT)
        .in(((uint64_t)a.sequences + 1) * INDEX).out(scores).in(a.label, words * widths).out(a.label, scores).out(a.label, DOUBLE, true);
}

static Least least(const gm_span_logits_grad &a, uint64_t element)
{
    const uint64_t words = (uint64_t)a.cu_words[a.sequences], hidden = (uint64_t)a.hidden, classes = (uint64_t)a.classes, widths = (uint64_t)a.widths;
    const double work = 4.0 * spans_of(a.cu_words, a.sequences, a.widths) * (double)(hidden * (classes + 1));
    return Sum(work).in(2 * words * hidden * element).in((widths + 1 + classes) * hidden * FLOAT).in(((uint64_t)a.sequences + 1) * INDEX)
        .in(words * widths * classes * FLOAT)
        .out(a.dprojected, 2 * (a.add_dprojected ? words : (uint64_t)a.words) * hidden * element, a.add_dprojected).out(a.dwidth, widths * hidden * FLOAT, a.add_dwidth)
        .out(a.dbias, hidden * FLOAT, a.add_dbias).out(a.dout, classes * hidden * FLOAT, a.add_dout).out(a.dout_bias, classes * FLOAT, a.add_dout_bias);
}

/* Rows of words that entities begin with, and those that they end with. */
static uint64_t ends_of(const gm_entity_span *span, uint64_t n)
{
    return distinct(n, [&](uint64_t i) { return span[i].first; }) + distinct(n, [&](uint64_t i) { return span[i].last; });
}

static Least least(const gm_span_vector &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), hidden = (uint64_t)a.hidden;
    const uint64_t widths = distinct(n, [&](uint64_t i) { return a.span[i].last - a.span[i].first; });
    return Sum(4.0 * (double)(n * hidden)).in(ends_of(a.span, n) * hidden * element).in((widths + (n > 0 ? 1 : 0)) * hidden * FLOAT).in(n * sizeof *a.span)
        .in(a.drop.p != 0.0f ? n * TOKEN : 0).out((uint64_t)a.capacity * hidden * element);
}

static Least least(const gm_span_vector_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), hidden = (uint64_t)a.hidden;
    const uint64_t rows = a.add_dprojected ? ends_of(a.span, n) : 2 * (uint64_t)a.words;
    return Sum(4.0 * (double)(n * hidden)).in(2 * n * hidden * element).in(n * sizeof *a.span).in(2 * ((uint64_t)a.sequences + 1) * INDEX)
        .out(a.dprojected, rows * hidden * element, a.add_dprojected).out(a.dwidth, (uint64_t)a.widths * hidden * FLOAT, a.add_dwidth)
        .out(a.dbias, hidden * FLOAT, a.add_dbias);
}

/* Rows of regions that entities look at; their places, those of none among them, lie in cu_scores. */
template <class Args> static uint64_t regions_of(const Args &a, uint64_t n)
{
    std::set<int32_t> seen;
    uint64_t rows = 0;
    for (uint64_t i = 0; i < n; i++)
        if (seen.insert(a.token[i].sequence).second) rows += (uint64_t)(a.cu_regions[a.token[i].sequence + 1] - a.cu_regions[a.token[i].sequence]);
    return rows;
}

static Least least(const gm_region_scores &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), width = (uint64_t)a.width, places = (uint64_t)a.cu_scores[n];
    return Sum(2.0 * (double)(places * width)).in((n + regions_of(a, n)) * width * element).in(n > 0 ? width * FLOAT : 0).in(n * (TOKEN + INDEX))
        .in(a.drop.p != 0.0f ? n * sizeof *a.span : 0).in(a.target, places * FLOAT).out((places + n) * FLOAT + n * INDEX).out(a.target, places * FLOAT)
        .out(a.target, DOUBLE, true);
}

static Least least(const gm_region_scores_grad &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), width = (uint64_t)a.width, places = (uint64_t)a.cu_scores[n], regions = regions_of(a, n);
    const uint64_t rows = a.add_dq ? n : (uint64_t)a.capacity, keys = a.add_dkeys ? regions : (uint64_t)a.regions;
    return Sum(4.0 * (double)(places * width)).in((n + regions) * width * element).in(n > 0 ? width * FLOAT : 0).in(n * (TOKEN + INDEX))
        .in(places * FLOAT).out(a.dq, rows * width * element, a.add_dq).out(a.dkeys, keys * width * element, a.add_dkeys)
        .out(a.dnull, width * FLOAT, a.add_dnull);
}

static uint64_t words_of(const gm_entity_span *span, uint64_t n)
{
    std::set<int32_t> seen;
    for (uint64_t i = 0; i < n; i++)
        for (int32_t w = span[i].first; w <= span[i].last; w++) seen.insert(w);
    return seen.size();
}

static Least least(const gm_region_triplet &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), width = (uint64_t)a.width, places = (uint64_t)a.cu_scores[n] - n;
    return Sum(8.0 * (double)(places * width)).in((words_of(a.span, n) + regions_of(a, n)) * width * element).in(places * FLOAT)
        .in(n * (TOKEN + INDEX + sizeof *a.span)).out(2 * n * width * FLOAT + 3 * places * FLOAT).both(DOUBLE);
}

static Least least(const gm_region_triplet_grad &a, uint64_t element)
{
    const uint64_t n = (uint64_t)a.cu_entities[a.sequences], width = (uint64_t)a.width, places = (uint64_t)a.cu_scores[n] - n;
    const uint64_t words = a.add_dh ? words_of(a.span, n) : (uint64_t)a.words, regions = (uint64_t)a.cu_regions[a.sequences];
    return Sum(4.0 * (double)(places * width)).in(a.dv, regions * width * element + (n * width + 2 * places) * FLOAT).in(a.dh, n * (width * FLOAT + sizeof *a.span))
        .out(a.dh, words * width * element, a.add_dh).out(a.dv, (a.add_dv ? regions : (uint64_t)a.regions) * width * element, a.add_dv);
}

static uint64_t crf_tables(int tags) { return ((uint64_t)tags * (uint64_t)tags + 2 * (uint64_t)tags) * FLOAT; }

static Least least(const gm_crf &a, uint64_t)
{
    const uint64_t words = (uint64_t)a.cu_words[a.sequences], tags = (uint64_t)a.tags, sequences = (uint64_t)a.sequences;
    return Sum(2.0 * (double)(words * tags * tags)).in(words * (tags * FLOAT + INDEX)).in(crf_tables(a.tags)).in((sequences + 1) * INDEX)
        .out(a.alpha, words * tags * FLOAT).out(a.log_z, sequences * FLOAT).out(a.loss, DOUBLE, true);
}

static Least least(const gm_crf_grad &a, uint64_t)
{
    const uint64_t words = (uint64_t)a.cu_words[a.sequences], tags = (uint64_t)a.tags, sequences = (uint64_t)a.sequences;
    return Sum(4.0 * (double)(words * tags * tags)).in(words * (2 * tags * FLOAT + INDEX)).in(crf_tables(a.tags)).in((sequences + 1) * INDEX)
        .in(sequences * FLOAT).out(a.demit, words * tags * FLOAT).out(a.dtrans, tags * tags * FLOAT, a.add_dtrans)
        .out(a.dstart, tags * FLOAT, a.add_dstart).out(a.dend, tags * FLOAT, a.add_dend);
}

/* Rows without a label are not read, but get a zero gradient. */
static Least least(const gm_cross_entropy &a, uint64_t element)
{
    const uint64_t rows = (uint64_t)a.rows, classes = (uint64_t)a.classes;
    uint64_t labelled = 0;
    for (uint64_t r = 0; r < rows; r++) labelled += a.label[r] != GM_NO_LABEL;
    return Sum(6.0 * (double)(labelled * classes)).in(labelled * classes * element + rows).out(a.dlogits, rows * classes * element).both(DOUBLE);
}

static Least least(const gm_crf_decode &a, uint64_t)
{
    const uint64_t words = (uint64_t)a.cu_words[a.sequences], tags = (uint64_t)a.tags, sequences = (uint64_t)a.sequences;
    return Sum(6.0 * (double)(words * tags * tags)).in(words * tags * FLOAT).in(crf_tables(a.tags)).in(a.allowed, (tags + 1) * (tags + 1))
        .in((sequences + 1) * INDEX).out(words * INDEX + 2 * sequences * FLOAT).out(a.marginal, words * tags * FLOAT);
}

/* Rows of classes count once a sequence that has an entity. */
static Least least(const gm_dropout_entropy &a, uint64_t element)
{
    const uint64_t n = count_of(a.n_rows, a.capacity), row = (uint64_t)a.width, samples = (uint64_t)a.samples;
    std::set<int32_t> met;
    uint64_t rows = 0, classes = 0;
    for (uint64_t e = 0; e < n; e++) {
        const int32_t s = a.token[e].sequence;
        const uint64_t own = a.cu_rows ? (uint64_t)(a.cu_rows[s + 1] - a.cu_rows[s]) : (uint64_t)a.classes;
        if (a.cu_rows ? met.insert(s).second : e == 0) rows += own;
        classes += own + (a.null ? 1 : 0);
    }
    return Sum(2.0 * (double)(samples * classes * row)).in(n * (a.step ? samples : 1) * row * element).in(rows * row * element).in(a.null, row * FLOAT)
        .in(a.bias, rows * FLOAT).in(n * TOKEN).in(a.drop.p != 0.0f ? n * sizeof(gm_entity_span) : 0).both((classes + 2 * n) * DOUBLE);
}

static Least least(const gm_grad_norm &a, uint64_t)
{
    const uint64_t shards = (uint64_t)a.shards;
    Sum s;
    for (int b = 0; b < a.blocks; b++) {
        const uint64_t size = (uint64_t)a.size[b];
        s.in(shards * size * FLOAT).out(shards > 1 ? size * FLOAT : 0);
        s.flops += (double)((shards + 1) * size);
    }
    return s.in(a.loss, shards * DOUBLE).out(2 * FLOAT);
}

static Least least(const gm_adamw &a, uint64_t element)
{
    const uint64_t rows = count_of(a.n_rows, a.capacity), all = rows * (uint64_t)a.width;
    return Sum(14.0 * (double)all).in(all * FLOAT).both(3 * all * FLOAT).in(a.row, rows * INDEX).out(element == FLOAT ? 0 : a.copy ? all * element : 0);
}

/* ---- the table ---- */

static gm_module table;
static gm_kernels inner[GM_PRECISION_COUNT];

template <class Args>
static gm_status watch(const char *operation, const Args &a, uint64_t element, gm_device *dev, gm_status (*run)(const Args *, gm_device *))
{
    const bool is_update = std::is_same<Args, gm_adamw>::value;
    enqueue((cudaStream_t)dev->stream, [=] { count_operation(operation, least(a, element), is_update); });
    tls.operation = operation;
    const gm_status status = run(&a, dev);
    tls.operation = nullptr;
    return status;
}

template <int PRECISION> struct Watched {
    enum { ELEMENT = PRECISION == GM_FP32 ? 4 : 2 };
#define GM_KERNEL(op)                                                             \
    static gm_status op##_forward(const gm_##op *a, gm_device *dev)               \
    {                                                                             \
        return watch(#op " forward", *a, ELEMENT, dev, inner[PRECISION].op.forward); \
    }                                                                             \
    static gm_status op##_backward(const gm_##op##_grad *a, gm_device *dev)       \
    {                                                                             \
        return watch(#op " backward", *a, ELEMENT, dev, inner[PRECISION].op.backward); \
    }
#define GM_KERNEL_FORWARD(op)                                                     \
    static gm_status op##_forward(const gm_##op *a, gm_device *dev)               \
    {                                                                             \
        return watch(#op, *a, ELEMENT, dev, inner[PRECISION].op.forward);         \
    }
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD

    static void fill(gm_kernels &k)
    {
#define GM_KERNEL(op) k.op = { op##_forward, op##_backward };
#define GM_KERNEL_FORWARD(op) k.op = { op##_forward };
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
    }
};

/* The module's own function, which the build renames. */
extern "C" const gm_module *gm_plain_module_open(void);

extern "C" __attribute__((visibility("default"))) const gm_module *gm_module_open(void)
{
    const gm_module *plain = gm_plain_module_open();
    if (!getenv("GM_SIM_REPORT")) return plain;
    table = *plain;
    for (int p = 0; p < GM_PRECISION_COUNT; p++) inner[p] = plain->kernels[p];
    Watched<GM_FP32>::fill(table.kernels[GM_FP32]);
    Watched<GM_BF16>::fill(table.kernels[GM_BF16]);
    return &table;
}
