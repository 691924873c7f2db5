/* embedding against sums in double; its backward is checked by central differences of the forward reference. */
#include "tests/support/kernel_test.h"

#include <math.h>
#include <string.h>

#include "embedding/embedding.h"

enum { VOCABULARY = 23, POSITIONS = 40, OFFSET = 2, SPARE = 3 };
static const int32_t lengths[] = { 5, 0, 1, 33, 7, SPARE }; /* the last stands beyond *n_tokens */
enum { TOKENS = 46, CAPACITY = TOKENS + SPARE };

typedef struct shape {
    int32_t hidden;
    bool with_type;
} shape;
static const shape shapes[] = { { 1, true }, { 33, false }, { 64, true }, { 100, true } };

static void reference(const double *word, const double *position, const double *type, const int32_t *ids,
                      const gm_token *token, int32_t hidden, double *out)
{
    for (int32_t t = 0; t < TOKENS; t++)
        for (int32_t c = 0; c < hidden; c++)
            out[t * hidden + c] = word[ids[t] * hidden + c] + position[(OFFSET + token[t].position) * hidden + c] +
                                  (type != NULL ? type[c] : 0.0);
}

static void reference_grad(const float *dout, const int32_t *slot, const gm_token *token, int32_t hidden, double *dword,
                           double *dposition, double *dtype)
{
    for (int32_t t = 0; t < TOKENS; t++)
        for (int32_t c = 0; c < hidden; c++) {
            const double d = (double)dout[t * hidden + c];
            dword[slot[t] * hidden + c] += d;
            dposition[(OFFSET + token[t].position) * hidden + c] += d;
            if (dtype != NULL) dtype[c] += d;
        }
}

static double *widened(gmt_backend *b, const float *x, size_t n)
{
    double *y = gmt_doubles(b, n);
    for (size_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

/* Ids repeat, so that gradients meet. */
static gmt_buf some_ids(gmt_backend *b)
{
    int32_t ids[CAPACITY];
    for (int32_t t = 0; t < CAPACITY; t++) ids[t] = t * t % VOCABULARY;
    return gmt_i32(b, ids, CAPACITY);
}

static gmt_buf token_table(gmt_backend *b) { return gmt_tokens(b, lengths, GM_LEN(lengths)); }

static void sums_three_rows(gmt_backend *b)
{
    for (size_t s = 0; s < GM_LEN(shapes); s++) {
        const int32_t hidden = shapes[s].hidden, n_tokens = TOKENS;
        const size_t width = (size_t)hidden;
        gmt_buf word = gmt_normal(b, VOCABULARY * width, 1.0f), position = gmt_normal(b, POSITIONS * width, 1.0f);
        gmt_buf type = gmt_normal(b, width, 1.0f), ids = some_ids(b), token = token_table(b);
        gmt_buf out = gmt_poison(b, CAPACITY * width), n = gmt_i32(b, &n_tokens, 1);
        double *want = gmt_doubles(b, TOKENS * width);
        reference(widened(b, word.f32, word.count), widened(b, position.f32, position.count),
                  shapes[s].with_type ? widened(b, type.f32, width) : NULL, ids.i32, token.host, hidden, want);
        gmt_ok(b, b->k->embedding.forward(&(gm_embedding){ ids.dev, token.dev, word.dev, position.dev,
                                                           shapes[s].with_type ? type.dev : NULL, out.dev, n.dev, CAPACITY,
                                                           hidden, OFFSET },
                                          b->device));
        gmt_fetch(b, &out);
        gmt_close(out.f32, want, TOKENS * width, gmt_tol_f32(3), "out");
        for (size_t i = TOKENS * width; i < CAPACITY * width; i++) assert_true(isnan(out.f32[i]));
    }
}

/* Runs backward and fetches what it has added to the three gradients. */
static void backward(gmt_backend *b, shape s, gmt_buf *dword, gmt_buf *dposition, gmt_buf *dtype, const gmt_buf *dout)
{
    const int32_t n_tokens = TOKENS;
    gmt_buf slot = some_ids(b), token = token_table(b), n = gmt_i32(b, &n_tokens, 1);
    gmt_ok(b, b->k->embedding.backward(&(gm_embedding_grad){ slot.dev, token.dev, dout->dev, dword->dev, dposition->dev,
                                                             s.with_type ? dtype->dev : NULL, n.dev, CAPACITY, s.hidden,
                                                             OFFSET },
                                       b->device));
    gmt_fetch(b, dword);
    gmt_fetch(b, dposition);
    gmt_fetch(b, dtype);
}

static void adds_gradients(gmt_backend *b)
{
    for (size_t s = 0; s < GM_LEN(shapes); s++) {
        const size_t width = (size_t)shapes[s].hidden;
        gmt_buf dout = gmt_normal(b, CAPACITY * width, 1.0f), dtype = gmt_normal(b, width, 1.0f);
        gmt_buf dword = gmt_normal(b, VOCABULARY * width, 1.0f), dposition = gmt_normal(b, POSITIONS * width, 1.0f);
        gmt_buf ids = some_ids(b), token = token_table(b);
        double *want_word = widened(b, dword.f32, dword.count), *want_type = widened(b, dtype.f32, width);
        double *want_position = widened(b, dposition.f32, dposition.count);
        reference_grad(dout.f32, ids.i32, token.host, shapes[s].hidden, want_word, want_position,
                       shapes[s].with_type ? want_type : NULL);
        backward(b, shapes[s], &dword, &dposition, &dtype, &dout);
        gmt_close(dword.f32, want_word, dword.count, gmt_tol_f32(TOKENS), "dword");
        gmt_close(dposition.f32, want_position, dposition.count, gmt_tol_f32(TOKENS), "dposition");
        gmt_close(dtype.f32, want_type, width, gmt_tol_f32(TOKENS), "dtype");
    }
}

static void same_bits_for_any_threads(gmt_backend *b)
{
    const shape s = { 100, true };
    const size_t width = 100;
    gmt_buf dout = gmt_normal(b, CAPACITY * width, 1.0f);
    gmt_buf dword[3], dposition[3], dtype[3];
    for (int threads = 1; threads <= 3; threads++) {
        const int i = threads - 1;
        dword[i] = gmt_zeros(b, VOCABULARY * width);
        dposition[i] = gmt_zeros(b, POSITIONS * width);
        dtype[i] = gmt_zeros(b, width);
        b->device->threads = threads;
        backward(b, s, &dword[i], &dposition[i], &dtype[i], &dout);
        assert_memory_equal(dword[i].f32, dword[0].f32, dword[0].bytes);
        assert_memory_equal(dposition[i].f32, dposition[0].f32, dposition[0].bytes);
        assert_memory_equal(dtype[i].f32, dtype[0].f32, dtype[0].bytes);
    }
}

/* d(sum of dout x out) / dx by central differences, for every input of the reference. */
static void reference_matches_differences(gmt_backend *b)
{
    enum { HIDDEN = 3, N = TOKENS * HIDDEN };
    gmt_buf ids = some_ids(b), token = token_table(b), dout = gmt_normal(b, N, 1.0f);
    const size_t sizes[3] = { VOCABULARY * HIDDEN, POSITIONS * HIDDEN, HIDDEN };
    double *x[3], *dx[3], *out[2] = { gmt_doubles(b, N), gmt_doubles(b, N) };
    for (int i = 0; i < 3; i++) {
        gmt_buf values = gmt_normal(b, sizes[i], 1.0f);
        x[i] = widened(b, values.f32, sizes[i]);
        dx[i] = gmt_doubles(b, sizes[i]);
    }
    reference_grad(dout.f32, ids.i32, token.host, HIDDEN, dx[0], dx[1], dx[2]);
    for (int i = 0; i < 3; i++)
        for (size_t e = 0; e < sizes[i]; e++) {
            const double old = x[i][e], step = 1e-4;
            double change = 0.0;
            for (int side = 0; side < 2; side++) {
                x[i][e] = side ? old + step : old - step;
                reference(x[0], x[1], x[2], ids.i32, token.host, HIDDEN, out[side]);
            }
            x[i][e] = old;
            for (int32_t k = 0; k < N; k++) change += (double)dout.f32[k] * (out[1][k] - out[0][k]);
            assert_true(fabs(change / (2.0 * step) - dx[i][e]) < 1e-8);
        }
}

GMT_MAIN("embedding", GMT_F32(sums_three_rows), GMT_F32(adds_gradients), GMT_F32(same_bits_for_any_threads),
         GMT_F32(reference_matches_differences))
