#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include "kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of the running test, given back when it ends; cmocka's own leak check would want one free a buffer. */
enum { GUARD = 64, MAX_BLOCKS = 4096 };
static void *blocks[MAX_BLOCKS];
static int block_count;

static void *keep(void *block)
{
    if (block == NULL || block_count == MAX_BLOCKS) {
        fprintf(stderr, "kernel_test: out of memory or of block slots\n");
        exit(1);
    }
    return blocks[block_count++] = block;
}

static gmt_buf make(size_t count, size_t element_bytes)
{
    gmt_buf buf = { .count = count, .bytes = count * element_bytes };
    buf.host = keep(calloc(1, buf.bytes + 1));
    unsigned char *guarded = NULL;
    if (posix_memalign((void **)&guarded, 64, buf.bytes + 2 * GUARD) != 0) guarded = NULL;
    keep(guarded);
    memset(guarded, 0xA5, buf.bytes + 2 * GUARD);
    buf.dev = guarded + GUARD;
    return buf;
}

void gmt_push(gmt_backend *b, gmt_buf *buf)
{
    (void)b;
    memcpy(buf->dev, buf->host, buf->bytes);
}

void *gmt_fetch(gmt_backend *b, gmt_buf *buf)
{
    (void)b;
    const unsigned char *block = buf->dev;
    for (size_t i = 0; i < GUARD; i++)
        if (block[-1 - (ptrdiff_t)i] != 0xA5 || block[buf->bytes + i] != 0xA5)
            fail_msg("a kernel wrote outside its buffer of %zu bytes", buf->bytes);
    memcpy(buf->host, buf->dev, buf->bytes);
    return buf->host;
}

gmt_buf gmt_bytes(gmt_backend *b, const void *values, size_t bytes, size_t count)
{
    gmt_buf buf = make(count, count ? bytes / count : 1);
    if (bytes) memcpy(buf.host, values, bytes);
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_f32(gmt_backend *b, const float *values, size_t count) { return gmt_bytes(b, values, count * 4, count); }
gmt_buf gmt_i32(gmt_backend *b, const int32_t *values, size_t count) { return gmt_bytes(b, values, count * 4, count); }

gmt_buf gmt_zeros(gmt_backend *b, size_t count)
{
    gmt_buf buf = make(count, sizeof(float));
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_poison(gmt_backend *b, size_t count)
{
    gmt_buf buf = make(count, sizeof(float));
    for (size_t i = 0; i < count; i++) buf.f32[i] = NAN;
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_normal(gmt_backend *b, size_t count, float sigma)
{
    gmt_buf buf = make(count, sizeof(float));
    const uint32_t stream = b->stream++;
    for (size_t i = 0; i < count; i += 4) {
        float four[4];
        gm_normal4(gm_philox(7, (uint32_t)(i / 4), stream, 0, gm_purpose(GM_SITE_TEST, 0, 0)), four);
        for (size_t j = i; j < count && j < i + 4; j++) buf.f32[j] = sigma * four[j - i];
    }
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_offsets(gmt_backend *b, const int32_t *length, int32_t n)
{
    gmt_buf buf = make((size_t)n + 1, sizeof(int32_t));
    buf.i32[0] = 0;
    for (int32_t i = 0; i < n; i++) buf.i32[i + 1] = buf.i32[i] + length[i];
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_tokens(gmt_backend *b, const int32_t *length, int32_t n)
{
    size_t total = 0, at = 0;
    for (int32_t i = 0; i < n; i++) total += (size_t)length[i];
    gmt_buf buf = make(total, sizeof(gm_token));
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < length[i]; j++) ((gm_token *)buf.host)[at++] = (gm_token){ i, j };
    gmt_push(b, &buf);
    return buf;
}

gm_drop gmt_drop(gmt_backend *b, float p, uint32_t site, int32_t n)
{
    gmt_buf key = make((size_t)n, 4), draw = make((size_t)n, 4);
    for (int32_t i = 0; i < n; i++) {
        key.u32[i] = 2654435761u * (uint32_t)(i + 1);
        draw.u32[i] = (uint32_t)(3 + i % 2);
    }
    gmt_push(b, &key);
    gmt_push(b, &draw);
    return (gm_drop){ .p = p, .site = site, .layer = 2, .key = key.dev, .draw = draw.dev };
}

double *gmt_doubles(gmt_backend *b, size_t count)
{
    (void)b;
    return keep(calloc(count + 1, sizeof(double)));
}

double gmt_scale(const gm_drop *d, uint64_t seed, int32_t sequence, uint32_t position, uint32_t element)
{
    if (d->p == 0.0f) return 1.0;
    const gm_philox4 bits = gm_philox(seed, element / 4, d->draw[sequence], d->key[sequence],
                                      gm_purpose(d->site, d->layer, position));
    return gm_uniform(bits.word[element % 4]) >= d->p ? 1.0 / (1.0 - (double)d->p) : 0.0;
}

double gmt_tol_f32(size_t n) { return 0x1p-23 * (4.0 * sqrt((double)n) + 8.0); }

void gmt_close(const float *got, const double *want, size_t count, double tol, const char *what)
{
    double squares = 0.0;
    for (size_t i = 0; i < count; i++) squares += want[i] * want[i];
    const double rms = count ? sqrt(squares / (double)count) : 0.0;
    for (size_t i = 0; i < count; i++) {
        const double bound = tol * (rms + fabs(want[i])), off = fabs((double)got[i] - want[i]);
        if (!(off <= bound))
            fail_msg("%s[%zu] is %.9g, the reference says %.9g (off by %.3g, bound %.3g)", what, i, (double)got[i], want[i], off, bound);
    }
}

static const char *current_isa;
static int threads_now;

static int set_up(void **state)
{
    static gmt_backend b;
    static gm_device device;
    static gm_err err;
    memset(&b, 0, sizeof b);
    if (gm_backend_open("cpu", current_isa, &b.backend, &err) != GM_OK ||
        gm_device_create(&b.backend, threads_now, &device, &err) != GM_OK) {
        fprintf(stderr, "kernel_test: %s\n", err.text);
        return -1;
    }
    b.k = &b.backend.kernels;
    b.device = &device;
    b.step = (gm_step){ .seed = 0x0123456789ABCDEFull, .number = 3, .rate = { 1e-3f, 2e-3f, 3e-3f }, .inv_words = 0.25f, .inv_sentences = 0.5f };
    device.step = &b.step;
    device.err = &err;
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    gmt_backend *b = *state;
    gm_device_destroy(b->device);
    while (block_count > 0) free(blocks[--block_count]);
    return 0;
}

static const gmt_test *running;
static void run_one(void **state) { running->run(*state); }

int gmt_run_all(const char *operation, const gmt_test *tests, int count)
{
    const char *isas[4];
    const int isa_count = gm_backend_isas(isas);
    int failed = 0;
    for (int i = 0; i < isa_count; i++)
        for (threads_now = 1; threads_now <= 2; threads_now++)
            for (int t = 0; t < count; t++) {
                char name[256];
                snprintf(name, sizeof name, "%s/%s cpu %s, %d threads", operation, tests[t].name, isas[i], threads_now);
                current_isa = isas[i];
                running = &tests[t];
                const struct CMUnitTest one[] = { { name, run_one, set_up, tear_down, NULL } };
                failed += _cmocka_run_group_tests(operation, one, 1, NULL, NULL);
            }
    return failed ? 1 : 0;
}
