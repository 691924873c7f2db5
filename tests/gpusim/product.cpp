/* The product itself, plain: factors rounded as the compute type says, float32 sums in order of k. */
#include "product.h"

#include <math.h>

#include "internal.h"

namespace emu {

static float load(const Matrix &m, size_t at)
{
    if (m.type == CUDA_R_32F) return ((const float *)m.data)[at];
    if (m.type == CUDA_R_16BF) return __bfloat162float(((const __nv_bfloat16 *)m.data)[at]);
    return __half2float(((const __half *)m.data)[at]);
}

static void store(const Matrix &m, size_t at, float v)
{
    if (m.type == CUDA_R_32F) ((float *)m.data)[at] = v;
    else if (m.type == CUDA_R_16BF) ((__nv_bfloat16 *)m.data)[at] = __float2bfloat16(v);
    else ((__half *)m.data)[at] = __float2half(v);
}

/* TF32 keeps 10 bits of the mantissa, rounded to nearest. */
static float round_tf32(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x1000u) & ~0x1FFFu;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static float round_factor(float v, cublasComputeType_t compute)
{
    if (compute == CUBLAS_COMPUTE_32F_FAST_TF32) return round_tf32(v);
    if (compute == CUBLAS_COMPUTE_32F_FAST_16BF) return __bfloat162float(__float2bfloat16(v));
    return v;
}

/* op(M) [rows, cols] as floats, column after column. */
static std::vector<float> unpack(const Matrix &m, bool turned, int64_t rows, int64_t cols, cublasComputeType_t compute)
{
    std::vector<float> out((size_t)(rows * cols));
    for (int64_t j = 0; j < cols; j++)
        for (int64_t i = 0; i < rows; i++)
            out[(size_t)(j * rows + i)] = round_factor(load(m, turned ? m.at(j, i) : m.at(i, j)), compute);
    return out;
}

static float gelu_tanh(float v) { return 0.5f * v * (1.0f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v))); }

static float finish(const Product &p, float v, int64_t i, int64_t j)
{
    const Epilogue &e = p.epilogue;
    if (e.kind & CUBLASLT_EPILOGUE_BIAS) v += load({ e.bias, e.bias_type, 0, 0, 0, false }, (size_t)i); /* one a row of D */
    if (e.aux) store({ e.aux, p.d.type, 0, 0, 0, false }, (size_t)(j * e.aux_ld + i), v);
    if (e.kind & CUBLASLT_EPILOGUE_RELU) v = v > 0.0f ? v : 0.0f;
    if (e.kind & CUBLASLT_EPILOGUE_GELU) v = gelu_tanh(v);
    return v;
}

/* The bias gradients: sums of a factor over k. */
static void sum_factors(const Product &p, const std::vector<float> &a, const std::vector<float> &b)
{
    const bool of_a = p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADA;
    const int64_t count = of_a ? p.m() : p.n();
    const Matrix out = { p.epilogue.bias, p.epilogue.bias_type, 0, 0, 0, false };
    for (int64_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int64_t k = 0; k < p.k(); k++) sum += of_a ? a[(size_t)(k * p.m() + i)] : b[(size_t)(i * p.k() + k)];
        store(out, (size_t)i, sum);
    }
    check_initialised(out.data, (size_t)count * out.element_bytes());
}

static void multiply(const Product &p, const std::vector<float> &a, const std::vector<float> &b)
{
    std::vector<float> column((size_t)p.m());
    for (int64_t j = 0; j < p.n(); j++) {
        std::fill(column.begin(), column.end(), 0.0f);
        for (int64_t k = 0; k < p.k(); k++) {
            const float factor = b[(size_t)(j * p.k() + k)];
            const float *from = &a[(size_t)(k * p.m())];
            for (size_t i = 0; i < column.size(); i++) column[i] += from[i] * factor;
        }
        for (int64_t i = 0; i < p.m(); i++) {
            float v = p.alpha * column[(size_t)i];
            if (p.beta != 0.0f) v += p.beta * load(p.c, p.c.at(i, j));
            store(p.d, p.d.at(i, j), finish(p, v, i, j));
        }
    }
}

/* Lines of a matrix that are used, the gaps of the leading dimension left out. */
template <class Use> static void for_lines(const Matrix &m, Use use)
{
    const int64_t lines = m.row_major ? m.rows : m.cols, length = m.row_major ? m.cols : m.rows;
    for (int64_t line = 0; line < lines; line++)
        use((char *)m.data + (size_t)(line * m.ld) * m.element_bytes(), (size_t)length * m.element_bytes());
}

static bool is_reachable(const Matrix &m, const char *who, const char *name)
{
    if (device_range(m.data, m.bytes())) return true;
    fail(nullptr, 0, "%s: %s [%ld, %ld], leading dimension %ld, at %p is not within a device allocation", who, name, (long)m.rows,
         (long)m.cols, (long)m.ld, m.data);
    return false;
}

static bool uses_bias(int kind) { return (kind & CUBLASLT_EPILOGUE_BIAS) || kind == CUBLASLT_EPILOGUE_BGRADA || kind == CUBLASLT_EPILOGUE_BGRADB; }

static bool memory_fits(const Product &p, const char *who)
{
    const int64_t length = p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADB ? p.n() : p.m();
    const Matrix bias = { p.epilogue.bias, p.epilogue.bias_type, length, 1, length, false };
    return is_reachable(p.a, who, "A") && is_reachable(p.b, who, "B") && (p.beta == 0.0f || is_reachable(p.c, who, "C")) &&
           is_reachable(p.d, who, "D") && (!uses_bias(p.epilogue.kind) || is_reachable(bias, who, "the bias"));
}

/* By shape: each factor read once, the result written once, and what the epilogue takes or gives. */
static void count_product(const Product &p)
{
    const auto bytes = [](const Matrix &m) { return (uint64_t)(m.rows * m.cols) * m.element_bytes(); };
    const uint64_t bias = (uint64_t)(p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADB ? p.n() : p.m()) * (p.epilogue.bias_type == CUDA_R_32F ? 4 : 2);
    const bool takes_bias = p.epilogue.kind & CUBLASLT_EPILOGUE_BIAS, gives_bias = uses_bias(p.epilogue.kind) && !takes_bias;
    count_launch("cublas");
    count_bytes("cublas", bytes(p.a) + bytes(p.b) + (p.beta != 0.0f ? bytes(p.c) : 0) + (takes_bias ? bias : 0),
                bytes(p.d) + (p.epilogue.aux ? bytes(p.d) : 0) + (gives_bias ? bias : 0));
}

void product_run(const Product &p, const char *who)
{
    if (p.m() == 0 || p.n() == 0 || !memory_fits(p, who)) return;
    const auto read = [who](char *line, size_t bytes) { check_library_read(who, line, bytes); };
    for_lines(p.a, read);
    for_lines(p.b, read);
    if (p.beta != 0.0f) for_lines(p.c, read);
    if (p.epilogue.kind & CUBLASLT_EPILOGUE_BIAS) read((char *)p.epilogue.bias, (size_t)p.m() * (p.epilogue.bias_type == CUDA_R_32F ? 4 : 2));
    const std::vector<float> a = unpack(p.a, p.a_turned, p.m(), p.k(), p.compute);
    const std::vector<float> b = unpack(p.b, p.b_turned, p.k(), p.n(), p.compute);
    multiply(p, a, b);
    for_lines(p.d, [](char *line, size_t bytes) { check_initialised(line, bytes); });
    if (p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADA || p.epilogue.kind == CUBLASLT_EPILOGUE_BGRADB) sum_factors(p, a, b);
    count_product(p);
}

static bool layout_fits(const Matrix &m) { return m.rows >= 0 && m.cols >= 0 && m.ld >= (m.row_major ? m.cols : m.rows); }

bool product_fits(const Product &p)
{
    return (p.a_turned ? p.a.cols : p.a.rows) == p.m() && (p.b_turned ? p.b.rows : p.b.cols) == p.n() &&
           (p.b_turned ? p.b.cols : p.b.rows) == p.k() && p.c.rows == p.m() && p.c.cols == p.n() && p.c.type == p.d.type &&
           p.a.type == p.b.type && layout_fits(p.a) && layout_fits(p.b) && layout_fits(p.c) && layout_fits(p.d);
}

} // namespace emu
