/* embedding against sums in double; its backward is checked by central differences of the forward reference. */
#include "tests/support/kernel_test.h"

#include <string.h>

#include "embedding/embedding.h"

enum { VOCABULARY = 23, POSITIONS = 40, OFFSET = 2, SPARE = 3 };
static const int32_t lengths[] = { 5, 0, 1, 33, 7, SPARE }; /* the last stands beyond *n_tokens */
enum { TOKENS = 46, CAPACITY = TOKENS + SPARE };

typedef struct shape {
    int32_t hidden;
    bool with_type;
} shape;
static const shape shapes[] = { { 1, true }, { 33, false }, { 64, true }, { 100, true }, { 520, true } };

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

/* Ids repeat, so that gradients meet. What stands beyond the count points nowhere. */
static gmt_buf some_ids(gmt_backend *b)
{
    int32_t ids[CAPACITY];
    for (int32_t t = 0; t < CAPACITY; t++) ids[t] = t < TOKENS ? t * t % VOCABULARY : INT32_MAX;
    return gmt_i32(b, ids, CAPACITY);
}

static gmt_buf token_table(gmt_backend *b)
{
    gmt_buf token = gmt_tokens(b, lengths, GM_LEN(lengths));
    for (int32_t t = TOKENS; t < CAPACITY; t++) ((gm_token *)token.host)[t] = (gm_token){ INT32_MAX / 2, INT32_MAX / 2 };
    gmt_push(b, &token);
    return token;
}

static void sums_three_rows(gmt_backend *b)
{
    for (size_t s = 0; s < GM_LEN(shapes); s++) {
        const int32_t hidden = shapes[s].hidden, n_tokens = TOKENS;
        const size_t width = (size_t)hidden;
        gmt_buf word = gmt_normal(b, VOCABULARY * width, 1.0f), position = gmt_normal(b, POSITIONS * width, 1.0f);
        gmt_buf type = gmt_normal(b, width, 1.0f), ids = some_ids(b), token = token_table(b);
        gmt_buf out = gmt_act_poison(b, CAPACITY * width), n = gmt_i32(b, &n_tokens, 1);
        double *want = gmt_doubles(b, TOKENS * width);
        reference(widened(b, word.f32, word.count), widened(b, position.f32, position.count),
                  shapes[s].with_type ? widened(b, type.f32, width) : NULL, ids.i32, token.host, hidden, want);
        gmt_ok(b, b->k->embedding.forward(&(gm_embedding){ ids.dev, token.dev, word.dev, position.dev,
                                                           shapes[s].with_type ? type.dev : NULL, out.dev, n.dev, CAPACITY,
                                                           hidden, OFFSET },
                                          b->device));
        gmt_fetch(b, &out);
        gmt_close(out.f32, want, TOKENS * width, gmt_tol_act(b, 3), "out");
        gmt_zero_from(&out, TOKENS * width, "out");
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
        gmt_buf dout = gmt_act(b, CAPACITY * width, 1.0f), dtype = gmt_normal(b, width, 1.0f);
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
    gmt_buf dout = gmt_act(b, CAPACITY * width, 1.0f);
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

/* Many tokens: rows with one token, with a few, and, by place or with `is_one_row`, with more than a GPU's block finds
 * before it adds. The order of the sums is that of the tokens on every backend, so the bits are those of the plain loop. */
static void large(gmt_backend *b, int32_t sequences, int32_t length, int32_t hidden, bool is_one_row)
{
    const int32_t n_tokens = sequences * length, capacity = n_tokens + 7;
    const size_t width = (size_t)hidden, rows = (size_t)n_tokens;
    int32_t *slots = (int32_t *)gmt_zeros(b, (size_t)capacity).host;
    gm_token *tokens = (gm_token *)gmt_doubles(b, (size_t)capacity);
    for (int32_t t = 0; t < capacity; t++) {
        const bool is_there = t < n_tokens, is_rare = t % 3 != 0;
        slots[t] = !is_there ? INT32_MAX : is_one_row ? 4 : is_rare ? t : t % 30;
        tokens[t] = is_there ? (gm_token){ t / length, t % length } : (gm_token){ INT32_MAX / 2, INT32_MAX / 2 };
    }
    gmt_buf slot = gmt_i32(b, slots, (size_t)capacity), token = gmt_bytes(b, tokens, (size_t)capacity * sizeof *tokens, (size_t)capacity);
    gmt_buf n = gmt_i32(b, &n_tokens, 1), dout = gmt_act(b, (size_t)capacity * width, 1.0f);
    gmt_buf dword = gmt_normal(b, rows * width, 1.0f), dposition = gmt_normal(b, (size_t)length * width, 1.0f), dtype = gmt_zeros(b, width);
    float *want_word = gmt_f32(b, dword.f32, dword.count).f32, *want_position = gmt_f32(b, dposition.f32, dposition.count).f32;
    double *want_type = gmt_doubles(b, width);
    for (size_t t = 0; t < rows; t++)
        for (size_t c = 0; c < width; c++) {
            want_word[(size_t)slots[t] * width + c] += dout.f32[t * width + c];
            want_position[(size_t)tokens[t].position * width + c] += dout.f32[t * width + c];
            want_type[c] += (double)dout.f32[t * width + c];
        }
    gmt_ok(b, b->k->embedding.backward(&(gm_embedding_grad){ slot.dev, token.dev, dout.dev, dword.dev, dposition.dev, dtype.dev, n.dev,
                                                             capacity, hidden, 0 },
                                       b->device));
    assert_memory_equal(gmt_fetch(b, &dword), want_word, dword.bytes);
    assert_memory_equal(gmt_fetch(b, &dposition), want_position, dposition.bytes);
    gmt_close(gmt_fetch(b, &dtype), want_type, width, gmt_tol_f32(rows), "dtype");
}

static void many_tokens_are_added_in_order(gmt_backend *b)
{
    large(b, 18, 33, 36, false);
    large(b, 3, 7, 4, false);
}

static void one_row_gets_all_tokens(gmt_backend *b) { large(b, 43, 50, 5, true); }

static void no_tokens(gmt_backend *b)
{
    const int32_t none = 0;
    for (int32_t capacity = 0; capacity < 2; capacity++) {
        const size_t size = (size_t)capacity * 8;
        gmt_buf id = gmt_i32(b, &(int32_t){ INT32_MAX }, (size_t)capacity), n = gmt_i32(b, &none, 1), table = gmt_normal(b, 8, 1.0f);
        gmt_buf token = gmt_bytes(b, &(gm_token){ INT32_MAX / 2, INT32_MAX / 2 }, (size_t)capacity * sizeof(gm_token), (size_t)capacity);
        gmt_buf out = gmt_act_poison(b, size), dout = gmt_act_poison(b, size), dtable = gmt_f32(b, table.f32, 8);
        gmt_ok(b, b->k->embedding.forward(&(gm_embedding){ id.dev, token.dev, table.dev, table.dev, NULL, out.dev, n.dev, capacity, 8, 0 }, b->device));
        gmt_ok(b, b->k->embedding.backward(&(gm_embedding_grad){ id.dev, token.dev, dout.dev, dtable.dev, dtable.dev, dtable.dev, n.dev, capacity, 8, 0 },
                                           b->device));
        gmt_fetch(b, &out);
        gmt_zero_from(&out, 0, "out");
        assert_memory_equal(gmt_fetch(b, &dtable), table.f32, table.bytes);
    }
}

typedef struct forward_of {
    double *x[3], *out;
    const int32_t *ids;
    const gm_token *token;
    const float *dout;
    int32_t hidden;
} forward_of;

/* The sum of dout x out: what backward differentiates. */
static double loss(const void *of)
{
    const forward_of *f = of;
    double total = 0.0;
    reference(f->x[0], f->x[1], f->x[2], f->ids, f->token, f->hidden, f->out);
    for (int32_t k = 0; k < TOKENS * f->hidden; k++) total += (double)f->dout[k] * f->out[k];
    return total;
}

static void reference_is_the_derivative(gmt_backend *b)
{
    enum { HIDDEN = 3, N = TOKENS * HIDDEN };
    const size_t sizes[3] = { VOCABULARY * HIDDEN, POSITIONS * HIDDEN, HIDDEN };
    const char *const names[3] = { "dword", "dposition", "dtype" };
    gmt_buf ids = some_ids(b), token = token_table(b), dout = gmt_normal(b, N, 1.0f);
    forward_of f = { .out = gmt_doubles(b, N), .ids = ids.i32, .token = token.host, .dout = dout.f32, .hidden = HIDDEN };
    double *dx[3];
    for (int i = 0; i < 3; i++) {
        f.x[i] = widened(b, gmt_normal(b, sizes[i], 1.0f).f32, sizes[i]);
        dx[i] = gmt_doubles(b, sizes[i]);
    }
    reference_grad(dout.f32, ids.i32, token.host, HIDDEN, dx[0], dx[1], dx[2]);
    for (int i = 0; i < 3; i++) gmt_slope(loss, &f, f.x[i], sizes[i], dx[i], 1e-8, names[i]);
}

GMT_MAIN("embedding", GMT(reference_is_the_derivative), GMT(sums_three_rows), GMT(adds_gradients), GMT(many_tokens_are_added_in_order),
         GMT(one_row_gets_all_tokens), GMT(no_tokens), GMT(same_bits_for_any_threads))
