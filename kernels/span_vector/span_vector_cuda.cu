/* span_vector on the GPU. A thread works on four neighbouring columns, the elements of one dropout counter. Backward has
 * blocks that belong to sentences: CHUNKS of them share the words of one, and each word asks which entities begin or end
 * with it. The width table and the bias get their sums in two stages. */
#include "device/column_sum.h"
#include "device/columns.h"
#include "span_vector/span_vector.h"

enum { COLUMNS = 64, CHUNKS = 8 };

template <class T> struct vector_args {
    const T *projected;
    const float *width, *bias;
    const gm_entity_span *span;
    const gm_token *token;
    const int32_t *cu_words;
    gm_drop_args drop;
    const int *n_rows;
    int hidden;
    bool is_wide;
};

/* One entity a block. Added in the order of span_logits, so that relu decides alike. */
template <class T> static __global__ void __launch_bounds__(COLUMNS) forward_kernel(vector_args<T> a, T *y)
{
    const int e = (int)blockIdx.x;
    const bool is_entity = e < *a.n_rows;
    const gm_entity_span span = is_entity ? a.span[e] : gm_entity_span{ 0, 0 };
    const int sequence = is_entity && a.drop.p != 0.0f ? a.token[e].sequence : 0;
    const int place = is_entity && a.drop.p != 0.0f ? span.first - a.cu_words[sequence] : 0, words = span.last - span.first;
    for (int c = (int)threadIdx.x * 4; c < a.hidden; c += COLUMNS * 4) {
        const int left = a.hidden - c;
        float v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        if (is_entity) {
            float end[4], width[4], bias[4];
            load_columns(a.projected + (size_t)span.first * 2 * a.hidden + c, left, a.is_wide, v);
            load_columns(a.projected + ((size_t)span.last * 2 + 1) * a.hidden + c, left, a.is_wide, end);
            load_columns(a.width + (size_t)words * a.hidden + c, left, a.is_wide, width);
            load_columns(a.bias + c, left, a.is_wide, bias);
            const float4 drop = drop4(a.drop, sequence, (uint32_t)place << 4 | (uint32_t)words, (uint32_t)c);
            const float scale[4] = { drop.x, drop.y, drop.z, drop.w };
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float x = v[j] + end[j] + width[j] + bias[j];
                v[j] = x * (x > 0.0f ? scale[j] : 0.0f);
            }
        }
        store_columns(y + (size_t)e * a.hidden + c, left, a.is_wide, v);
    }
}

template <class T> static gm_status span_vector_forward(const gm_span_vector *a, gm_device *dev)
{
    const T *projected = (const T *)a->projected;
    T *y = (T *)a->y;
    const bool is_wide = has_wide_rows(projected, a->hidden) && has_wide_rows(a->width, a->hidden) && has_wide_rows(a->bias, a->hidden) &&
                         has_wide_rows(y, a->hidden);
    const vector_args<T> args = { projected, a->width, a->bias, a->span, a->token, a->cu_words, drop_args(&a->drop, dev), a->n_rows, a->hidden, is_wide };
    if (a->capacity == 0) return GM_OK;
    return GM_LAUNCH(dev, forward_kernel<T>, a->capacity, COLUMNS, 0, args, y);
}

template <class T> struct grad_args {
    const T *y, *dy;
    const gm_entity_span *span;
    const int32_t *cu_words, *cu_entities;
    const int *n_rows;
    float keep;
    int sequences, words, hidden;
};

/* A word a block at a time; half 0 of the threads sums over the entities that begin with it, half 1 over those that end
 * with it. The grid has one sentence more than there are: its blocks zero the rows behind the last one. The 8 lets the compiler
 * take more than 32 registers, with which it spills on sm_80. */
template <class T>
static __global__ void __launch_bounds__(2 * COLUMNS, 8)
    words_kernel(grad_args<T> a, T *dprojected, bool add, bool is_wide)
{
    const int half = (int)threadIdx.y, sequence = (int)blockIdx.x, begin = a.cu_words[sequence];
    const bool is_behind = sequence == a.sequences;
    const int end = is_behind ? a.words : a.cu_words[sequence + 1];
    const int first = is_behind ? 0 : a.cu_entities[sequence], last = is_behind ? 0 : a.cu_entities[sequence + 1];
    for (int word = begin + (int)blockIdx.y; word < end; word += CHUNKS)
        for (int c = (int)threadIdx.x * 4; c < a.hidden; c += COLUMNS * 4) {
            const int left = a.hidden - c;
            T *to = dprojected + ((size_t)word * 2 + half) * a.hidden + c;
            float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            bool has_entity = false;
            for (int e = first; e < last; e++) {
                if ((half == 0 ? a.span[e].first : a.span[e].last) != word) continue;
                float y[4], dy[4];
                load_columns(a.y + (size_t)e * a.hidden + c, left, is_wide, y);
                load_columns(a.dy + (size_t)e * a.hidden + c, left, is_wide, dy);
#pragma unroll
                for (int j = 0; j < 4; j++) sum[j] += y[j] > 0.0f ? dy[j] * a.keep : 0.0f;
                has_entity = true;
            }
            if (!has_entity && add) continue;
            if (add) {
                float before[4];
                load_columns(to, left, is_wide, before);
#pragma unroll
                for (int j = 0; j < 4; j++) sum[j] += before[j];
            }
            store_columns(to, left, is_wide, sum);
        }
}

/* The first stage: part blockIdx.z of the entities, those of width blockIdx.y, or all where that is `widths`. Parts of the
 * width table stand in front of those of the bias. */
template <class T>
static __global__ void __launch_bounds__(COLUMN_THREADS) parts_kernel(grad_args<T> a, int widths, int part, float *partial)
{
    const int column = (int)(blockIdx.x * COLUMN_THREADS + threadIdx.x), width = (int)blockIdx.y, z = (int)blockIdx.z;
    const int end = min((z + 1) * part, *a.n_rows);
    if (column >= a.hidden) return;
    float sum = 0.0f;
    for (int e = z * part; e < end; e++) {
        if (width < widths && a.span[e].last - a.span[e].first != width) continue;
        const size_t at = (size_t)e * a.hidden + column;
        sum += gm_load(a.y + at) > 0.0f ? gm_load(a.dy + at) * a.keep : 0.0f;
    }
    const size_t row = width < widths ? (size_t)z * widths + width : (size_t)gridDim.z * widths + z;
    partial[row * a.hidden + column] = sum;
}

template <class T> static gm_status span_vector_backward(const gm_span_vector_grad *a, gm_device *dev)
{
    const grad_args<T> args = { (const T *)a->y, (const T *)a->dy, a->span,      a->cu_words, a->cu_entities,
                                a->n_rows,       a->keep,          a->sequences, a->words,    a->hidden };
    T *dprojected = (T *)a->dprojected;
    const bool is_wide = has_wide_rows(args.y, a->hidden) && has_wide_rows(args.dy, a->hidden) && has_wide_rows(dprojected, a->hidden);
    const int part = gm_blocks(a->capacity, MOST_CHUNKS) > LEAST_CHUNK ? gm_blocks(a->capacity, MOST_CHUNKS) : LEAST_CHUNK;
    const int parts = gm_blocks(a->capacity, part);
    const size_t of_width = (size_t)parts * a->widths * a->hidden;
    void *scratch;
    GM_TRY(gm_scratch(dev, (of_width + (size_t)parts * a->hidden) * sizeof(float), "span_vector", &scratch));
    const float *partial = (const float *)scratch;
    if (dprojected != NULL)
        GM_TRY(GM_LAUNCH(dev, words_kernel<T>, dim3((unsigned)a->sequences + 1, CHUNKS), dim3(COLUMNS, 2), 0, args, dprojected, a->add_dprojected, is_wide));
    if (parts > 0)
        GM_TRY(GM_LAUNCH(dev, parts_kernel<T>, dim3((unsigned)gm_blocks(a->hidden, COLUMN_THREADS), (unsigned)a->widths + 1, (unsigned)parts),
                         COLUMN_THREADS, 0, args, a->widths, part, (float *)scratch));
    if (a->dwidth != NULL)
        GM_TRY(GM_LAUNCH(dev, column_total_kernel, gm_blocks((int64_t)a->widths * a->hidden, COLUMN_THREADS), COLUMN_THREADS, 0, partial, parts,
                         a->widths * a->hidden, a->dwidth, a->add_dwidth));
    if (a->dbias == NULL) return GM_OK;
    return GM_LAUNCH(dev, column_total_kernel, gm_blocks(a->hidden, COLUMN_THREADS), COLUMN_THREADS, 0, partial + of_width, parts, a->hidden, a->dbias,
                     a->add_dbias);
}

GM_KERNELS_CUDA(span_vector)
