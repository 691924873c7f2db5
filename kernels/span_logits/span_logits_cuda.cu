/* span_logits on the GPU. A thread works on four neighbouring columns, the elements of one dropout counter. Blocks
 * belong to sentences, so nobody searches for the sentence of a word; CHUNKS blocks share one. Pre-activations are
 * added in the order of the CPU everywhere: relu decides alike in forward, in both halves of backward and on both
 * backends. */
#include "device/loss.h"
#include "span_logits/span_logits.h"

/* WIDTHS x CLASSES = 32: a forward warp sums the logits of WIDTHS spans of one word over its lanes at once, and lane l
 * ends with one of them. More widths go to other warps, more classes to further rounds. */
enum { WARPS = 4, CHUNKS = 16, WIDTHS = 4, CLASSES = 8, COLUMNS = 64, AHEAD = 8 };
/* Backward's sums over spans: SLOTS blocks or so, each a part of the words (SPLIT parts a sentence) and one width;
 * SUM_ROWS threads share a column in the second stage. */
enum { SLOTS = 512, SPLIT = 4, SUM_COLUMNS = 32, SUM_ROWS = 16, SUM_THREADS = SUM_COLUMNS * SUM_ROWS };

/* Columns c .. c + 3 of a row that has `left` columns from c on. VEC 4: one load; VEC 1: one by one, zero beyond. */
template <int VEC, class T> static __device__ __forceinline__ float4 load4(const T *p, int left)
{
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = VEC == 1 && i < left ? gm_load(p + i) : 0.0f;
    if (VEC == 4) gm_load4(p, v);
    return make_float4(v[0], v[1], v[2], v[3]);
}

template <int VEC, class T> static __device__ __forceinline__ void store4(T *p, float4 x, int left)
{
    const float v[4] = { x.x, x.y, x.z, x.w };
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (VEC == 1 && i < left) gm_store(p + i, v[i]);
    if (VEC == 4) gm_store4(p, v);
}

static __device__ __forceinline__ float4 zero4() { return make_float4(0.0f, 0.0f, 0.0f, 0.0f); }

static __device__ __forceinline__ float4 add4(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

static __device__ __forceinline__ float4 mul4(float4 a, float4 b)
{
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

static __device__ __forceinline__ float4 scaled4(float s, float4 a, float4 sum)
{
    return make_float4(fmaf(s, a.x, sum.x), fmaf(s, a.y, sum.y), fmaf(s, a.z, sum.z), fmaf(s, a.w, sum.w));
}

static __device__ __forceinline__ float dot4(float4 a, float4 b, float sum)
{
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

template <class T> struct span_args {
    const T *projected;
    const float *width, *bias, *out;
    const int32_t *cu;
    gm_drop_args drop;
    int widths, hidden, classes;
};

/* A span by its first word, in the batch and in its sentence. */
struct span {
    int sequence, start, begin, width;
};

/* The dropout scale of four columns where relu lets them pass, else 0; x is the pre-activation. */
template <class T, int VEC>
static __device__ __forceinline__ float4 active4(const span_args<T> &a, const span &s, float4 start, float4 end,
                                                 float4 bias, int column, float4 *x)
{
    *x = add4(add4(add4(start, end), load4<VEC>(a.width + (size_t)s.width * a.hidden + column, a.hidden - column)),
              bias);
    const float4 scale =
        drop4(a.drop, s.sequence, (uint32_t)(s.start - s.begin) << 4 | (uint32_t)s.width, (uint32_t)column);
    return make_float4(x->x > 0.0f ? scale.x : 0.0f, x->y > 0.0f ? scale.y : 0.0f, x->z > 0.0f ? scale.z : 0.0f,
                       x->w > 0.0f ? scale.w : 0.0f);
}

/* Columns of the start half (0) or the end half (1) of a word. */
template <class T, int VEC>
static __device__ __forceinline__ float4 word4(const span_args<T> &a, int word, int half, int column)
{
    return load4<VEC>(a.projected + ((size_t)word * 2 + half) * a.hidden + column, a.hidden - column);
}

/* Lane l gets the sum over the warp of v[l], with 31 shuffles in place of 160: each round halves what a lane looks
 * after. */
template <int N> static __device__ __forceinline__ void halve(float v[2 * N])
{
    const bool is_upper = (threadIdx.x & N) != 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float keep = is_upper ? v[i + N] : v[i], give = is_upper ? v[i] : v[i + N];
        v[i] = keep + __shfl_xor_sync(0xFFFFFFFFu, give, N);
    }
}

static __device__ __forceinline__ float warp_sum_by_lane(float v[32])
{
    halve<16>(v);
    halve<8>(v);
    halve<4>(v);
    halve<2>(v);
    halve<1>(v);
    return v[0];
}

/* Logits of classes chunk .. chunk + 7 of spans (word, first .. first + 3), of which those below `spans` stay in the
 * sentence: lane 8 v + k gets that of width first + v, class chunk + k, without out_bias. */
template <class T, int VEC>
static __device__ __forceinline__ float logits_of(const span_args<T> &a, span s, int first, int spans, int chunk)
{
    float sum[WIDTHS * CLASSES];
#pragma unroll
    for (int i = 0; i < WIDTHS * CLASSES; i++) sum[i] = 0.0f;
    for (int c = (int)threadIdx.x % 32 * 4; c < a.hidden; c += 128) {
        const float4 start = word4<T, VEC>(a, s.start, 0, c), bias = load4<VEC>(a.bias + c, a.hidden - c);
        float4 out[CLASSES];
#pragma unroll
        for (int k = 0; k < CLASSES; k++)
            out[k] =
                chunk + k < a.classes ? load4<VEC>(a.out + (size_t)(chunk + k) * a.hidden + c, a.hidden - c) : zero4();
#pragma unroll
        for (int v = 0; v < WIDTHS; v++) {
            s.width = first + v;
            if (s.width >= spans) continue;
            float4 x;
            const float4 last = word4<T, VEC>(a, s.start + s.width, 1, c);
            const float4 active = active4<T, VEC>(a, s, start, last, bias, c, &x), state = mul4(x, active);
#pragma unroll
            for (int k = 0; k < CLASSES; k++) sum[v * CLASSES + k] = dot4(state, out[k], sum[v * CLASSES + k]);
        }
    }
    return warp_sum_by_lane(sum);
}

/* What forward writes. */
struct span_loss {
    float *logits;
    const uint8_t *label;
    const float *scale;
    float *dlogits;
};

/* Loss of the lane's span, in the first of its 8 lanes, 0 elsewhere; row: its row of logits, which these 8 lanes have
 * written and read back, each its own classes. */
static __device__ __forceinline__ double loss_of(const span_loss &to, size_t row, int classes, bool is_span,
                                                 bool has_row)
{
    const int sub = (int)threadIdx.x % CLASSES;
    const float *logits = to.logits + row * classes;
    const int label = is_span ? to.label[row] : -1;
    float top = -INFINITY, sum = 0.0f, gold = 0.0f;
    if (is_span)
        for (int k = sub; k < classes; k += CLASSES) {
            top = fmaxf(top, logits[k]);
            if (k == label) gold = logits[k];
        }
#pragma unroll
    for (int m = CLASSES / 2; m > 0; m >>= 1) {
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, m));
        gold += __shfl_xor_sync(0xFFFFFFFFu, gold, m); /* one lane has it, the others 0 */
    }
    if (is_span)
        for (int k = sub; k < classes; k += CLASSES) sum += expf(logits[k] - top);
#pragma unroll
    for (int m = CLASSES / 2; m > 0; m >>= 1) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, m);
    const float inv = 1.0f / sum, scale = *to.scale;
    if (has_row)
        for (int k = sub; k < classes; k += CLASSES)
            to.dlogits[row * classes + k] =
                is_span ? scale * (expf(logits[k] - top) * inv - (k == label ? 1.0f : 0.0f)) : 0.0f;
    return is_span && sub == 0 ? (double)top - (double)gold + (double)logf(sum) : 0.0;
}

/* A warp works on WIDTHS spans of one word at a time: start, bias and out are loaded once for all of them. */
template <class T, int VEC>
static __global__ void __launch_bounds__(WARPS * 32)
    forward_kernel(span_args<T> a, const float *out_bias, span_loss to, double *share)
{
    __shared__ double red[WARPS];
    const int lane = (int)threadIdx.x % 32, begin = a.cu[blockIdx.x], end = a.cu[blockIdx.x + 1];
    const int groups = (a.widths + WIDTHS - 1) / WIDTHS;
    double loss = 0.0;
    for (int task = (int)(blockIdx.y * WARPS + threadIdx.x / 32); task < (end - begin) * groups;
         task += CHUNKS * WARPS) {
        const int word = begin + task / groups, first = task % groups * WIDTHS;
        const int spans = min(a.widths, end - word), width = first + lane / CLASSES;
        const size_t row = (size_t)word * a.widths + width;
        const span s = { (int)blockIdx.x, word, begin, 0 };
        for (int chunk = 0; chunk < a.classes; chunk += CLASSES) {
            const float logit = logits_of<T, VEC>(a, s, first, spans, chunk);
            const int k = chunk + lane % CLASSES;
            if (width < a.widths && k < a.classes)
                to.logits[row * a.classes + k] = width < spans ? logit + out_bias[k] : 0.0f;
        }
        if (to.label != NULL) loss += loss_of(to, row, a.classes, width < spans, width < a.widths);
    }
    if (to.label != NULL) put_loss<WARPS>(loss, red, share + (blockIdx.x * CHUNKS + blockIdx.y));
}

/* dprojected, a word a block at a time: half 0 of the threads sums over the spans that start with it, half 1 over those
 * that end with it. A row of out serves AHEAD spans. The grid has one sentence more than there are: its blocks zero the
 * rows behind the last one, up to `words`. */
template <class T, int VEC>
static __global__ void __launch_bounds__(2 * COLUMNS)
    words_kernel(span_args<T> a, const float *dlogits, T *dprojected, bool add, int sequences, int words)
{
    const int half = (int)threadIdx.y, begin = a.cu[blockIdx.x];
    if ((int)blockIdx.x == sequences) {
        for (int word = begin + (int)blockIdx.y; !add && word < words; word += CHUNKS)
            for (int c = (int)threadIdx.x * 4; c < a.hidden; c += COLUMNS * 4)
                store4<VEC>(dprojected + ((size_t)word * 2 + half) * a.hidden + c, zero4(), a.hidden - c);
        return;
    }
    const int end = a.cu[blockIdx.x + 1];
    for (int word = begin + (int)blockIdx.y; word < end; word += CHUNKS) {
        const int spans = min(a.widths, half == 0 ? end - word : word - begin + 1);
        for (int c = (int)threadIdx.x * 4; c < a.hidden; c += COLUMNS * 4) {
            const float4 own = word4<T, VEC>(a, word, half, c), bias = load4<VEC>(a.bias + c, a.hidden - c);
            float4 sum = zero4();
            for (int first = 0; first < spans; first += AHEAD) {
                float4 d[AHEAD];
#pragma unroll
                for (int v = 0; v < AHEAD; v++) d[v] = zero4();
                for (int k = 0; k < a.classes; k++) {
                    const float4 out = load4<VEC>(a.out + (size_t)k * a.hidden + c, a.hidden - c);
#pragma unroll
                    for (int v = 0; v < AHEAD; v++) {
                        const int w = first + v, start = half == 0 ? word : word - w;
                        if (w < spans)
                            d[v] = scaled4(dlogits[((size_t)start * a.widths + w) * a.classes + k], out, d[v]);
                    }
                }
#pragma unroll
                for (int v = 0; v < AHEAD; v++) {
                    const int w = first + v;
                    if (w >= spans) continue;
                    const span s = { (int)blockIdx.x, half == 0 ? word : word - w, begin, w };
                    const float4 other = word4<T, VEC>(a, half == 0 ? word + w : word - w, 1 - half, c);
                    float4 x;
                    sum = add4(sum, mul4(d[v], active4<T, VEC>(a, s, half == 0 ? own : other, half == 0 ? other : own,
                                                               bias, c, &x)));
                }
            }
            T *to = dprojected + ((size_t)word * 2 + half) * a.hidden + c;
            if (add) sum = add4(load4<VEC>(to, a.hidden - c), sum);
            store4<VEC>(to, sum, a.hidden - c);
        }
    }
}

/* A slot of the sums over spans: dwidth [hidden], dout [CLASSES, hidden], dout_bias [CLASSES]. */
static __host__ __device__ __forceinline__ size_t slot_size(int hidden)
{
    return (size_t)(1 + CLASSES) * hidden + CLASSES;
}

/* Slot (width blockIdx.y, part blockIdx.x, chunk of classes): sums over the spans of one width in one part of the
 * words. dwidth holds what these classes give to it. Width, columns and classes are fixed, so their rows of out stay in
 * registers. The 4 lets the compiler take some 140 of them; left to choose 128, it spills. */
template <class T, int VEC>
static __global__ void __launch_bounds__(COLUMNS, 4)
    weights_kernel(span_args<T> a, const float *dlogits, float *slot, int sequences, int chunks)
{
    const int width = (int)blockIdx.y, chunk = (int)blockIdx.z % chunks;
    const int c = ((int)blockIdx.z / chunks * COLUMNS + (int)threadIdx.x) * 4;
    const int left = a.hidden - c, classes = min((int)CLASSES, a.classes - chunk * CLASSES);
    if (left <= 0) return;
    const float4 bias = load4<VEC>(a.bias + c, left);
    float4 out[CLASSES], dout[CLASSES], dwidth = zero4();
    float dbias[CLASSES];
#pragma unroll
    for (int k = 0; k < CLASSES; k++) {
        out[k] = k < classes ? load4<VEC>(a.out + (size_t)(chunk * CLASSES + k) * a.hidden + c, left) : zero4();
        dout[k] = zero4();
        dbias[k] = 0.0f;
    }
    for (int64_t q = blockIdx.x; q < (int64_t)sequences * SPLIT; q += gridDim.x) {
        const int sequence = (int)(q / SPLIT), begin = a.cu[sequence], end = a.cu[sequence + 1];
        for (int word = begin + (int)(q % SPLIT); word + width < end; word += SPLIT) {
            const float *dl = dlogits + ((size_t)word * a.widths + width) * a.classes + chunk * CLASSES;
            const span s = { sequence, word, begin, width };
            float4 x, dstate = zero4();
            const float4 active =
                active4<T, VEC>(a, s, word4<T, VEC>(a, word, 0, c), word4<T, VEC>(a, word + width, 1, c), bias, c, &x);
            const float4 state = mul4(x, active);
#pragma unroll
            for (int k = 0; k < CLASSES; k++) {
                const float d = k < classes ? dl[k] : 0.0f;
                dstate = scaled4(d, out[k], dstate);
                dout[k] = scaled4(d, state, dout[k]);
                dbias[k] += d;
            }
            dwidth = add4(dwidth, mul4(dstate, active));
        }
    }
    float *to = slot + (((size_t)width * gridDim.x + blockIdx.x) * chunks + chunk) * slot_size(a.hidden);
    store4<VEC>(to + c, dwidth, left);
#pragma unroll
    for (int k = 0; k < CLASSES; k++) {
        store4<VEC>(to + (size_t)(1 + k) * a.hidden + c, dout[k], left);
        if (c == 0) to[(size_t)(1 + CLASSES) * a.hidden + k] = dbias[k];
    }
}

/* Slots of one width are `width_slots` neighbours, their chunks of classes side by side. */
struct span_sums {
    const float *slot;
    float *dwidth, *dbias, *dout, *dout_bias;
    bool add_dwidth, add_dbias, add_dout, add_dout_bias;
    int widths, hidden, classes, width_slots, chunks;
};

/* The second stage: a block sums SUM_COLUMNS columns of one row, in a fixed order. Rows: those of dwidth, of dout, then
 * dbias and dout_bias. */
static __global__ void __launch_bounds__(SUM_THREADS) sums_kernel(span_sums a)
{
    __shared__ float part[SUM_ROWS][SUM_COLUMNS];
    const int row = (int)blockIdx.y, k = row - a.widths, c = (int)(blockIdx.x * SUM_COLUMNS + threadIdx.x);
    const int slots = a.widths * a.width_slots;
    int first = 0, stride = 1, count = slots, columns = a.hidden;
    size_t column = (size_t)c;
    float *to = a.dbias;
    bool is_added = a.add_dbias;
    if (k < 0) {
        first = row * a.width_slots;
        count = a.width_slots;
        to = a.dwidth + (size_t)row * a.hidden;
        is_added = a.add_dwidth;
    } else if (k < a.classes) {
        first = k / CLASSES;
        stride = a.chunks;
        count = slots / a.chunks;
        column = (size_t)(1 + k % CLASSES) * a.hidden + c;
        to = a.dout + (size_t)k * a.hidden;
        is_added = a.add_dout;
    } else if (k > a.classes) {
        first = c / CLASSES;
        stride = a.chunks;
        count = slots / a.chunks;
        columns = a.classes;
        column = (size_t)(1 + CLASSES) * a.hidden + c % CLASSES;
        to = a.dout_bias;
        is_added = a.add_dout_bias;
    }
    float sum = 0.0f;
    if (c < columns)
        for (int q = (int)threadIdx.y; q < count; q += SUM_ROWS)
            sum += a.slot[(size_t)(first + q * stride) * slot_size(a.hidden) + column];
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= columns) return;
    for (int y = 1; y < SUM_ROWS; y++) sum += part[y][threadIdx.x];
    to[c] = is_added ? to[c] + sum : sum;
}

/* Rows of `hidden` columns can be read four columns at a time. */
static bool is_wide(int hidden, const void *projected, const void *width, const void *bias, const void *out)
{
    return hidden % 4 == 0 && gm_is_aligned(projected, 16) && gm_is_aligned(width, 16) && gm_is_aligned(bias, 16) &&
           gm_is_aligned(out, 16);
}

template <class T> static gm_status span_logits_forward(const gm_span_logits *a, gm_device *dev)
{
    const bool wide = is_wide(a->hidden, a->projected, a->width, a->bias, a->out);
    const auto span_logits = wide ? forward_kernel<T, 4> : forward_kernel<T, 1>;
    const span_args<T> args = { (const T *)a->projected,  a->width,  a->bias,   a->out,    a->cu_words,
                                drop_args(&a->drop, dev), a->widths, a->hidden, a->classes };
    const span_loss to = { a->logits, a->label, a->scale, a->dlogits };
    const int blocks = a->sequences * CHUNKS;
    void *share;
    if (a->sequences == 0) return GM_OK;
    GM_TRY(gm_scratch(dev, (size_t)blocks * sizeof(double), "span_logits", &share));
    GM_TRY(GM_LAUNCH(dev, span_logits, dim3((unsigned)a->sequences, CHUNKS), WARPS * 32, 0, args, a->out_bias, to,
                     (double *)share));
    return a->label != NULL ? add_loss((const double *)share, blocks, a->scale, a->loss, dev) : GM_OK;
}

template <class T> static gm_status span_logits_backward(const gm_span_logits_grad *a, gm_device *dev)
{
    const bool wide = is_wide(a->hidden, a->projected, a->width, a->bias, a->out) && gm_is_aligned(a->dprojected, 16);
    const auto span_words = wide ? words_kernel<T, 4> : words_kernel<T, 1>;
    const auto span_weights = wide ? weights_kernel<T, 4> : weights_kernel<T, 1>;
    const span_args<T> args = { (const T *)a->projected,  a->width,  a->bias,   a->out,    a->cu_words,
                                drop_args(&a->drop, dev), a->widths, a->hidden, a->classes };
    const int chunks = gm_blocks(a->classes, CLASSES), tiles = gm_blocks(a->hidden, COLUMNS * 4);
    const int columns = a->hidden > a->classes ? a->hidden : a->classes;
    const int64_t most = (int64_t)a->sequences * SPLIT;
    int parts = SLOTS / (a->widths * chunks);
    if (parts > most) parts = (int)most;
    if (parts < 1) parts = 1; /* without a sentence it writes zeros */
    void *slot;
    GM_TRY(gm_scratch(dev, (size_t)(a->widths * parts * chunks) * slot_size(a->hidden) * sizeof(float), "span_logits",
                      &slot));
    const span_sums sums = { (const float *)slot, a->dwidth,   a->dbias,         a->dout,   a->dout_bias, a->add_dwidth,
                             a->add_dbias,        a->add_dout, a->add_dout_bias, a->widths, a->hidden,    a->classes,
                             parts * chunks,      chunks };
    GM_TRY(GM_LAUNCH(dev, span_words, dim3((unsigned)a->sequences + 1, CHUNKS), dim3(COLUMNS, 2), 0, args, a->dlogits,
                     (T *)a->dprojected, a->add_dprojected, a->sequences, a->words));
    GM_TRY(GM_LAUNCH(dev, span_weights, dim3((unsigned)parts, (unsigned)a->widths, (unsigned)(tiles * chunks)), COLUMNS,
                     0, args, a->dlogits, (float *)slot, a->sequences, chunks));
    return GM_LAUNCH(dev, sums_kernel,
                     dim3((unsigned)gm_blocks(columns, SUM_COLUMNS), (unsigned)(a->widths + a->classes + 2)),
                     dim3(SUM_COLUMNS, SUM_ROWS), 0, sums);
}

GM_KERNELS_CUDA(span_logits)
