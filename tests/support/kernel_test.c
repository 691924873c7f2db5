#include "kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/module.h"

/* Blocks of the running test, given back when it ends; cmocka's own leak check would want one free a buffer. */
enum { GUARD = 256, MAX_BLOCKS = 4096, MAX_TARGETS = 16 };
typedef struct block { void *bytes; bool is_device; } block;
static block blocks[MAX_BLOCKS];
static int block_count;

static void *keep(void *bytes, bool is_device)
{
    if (bytes == NULL || block_count == MAX_BLOCKS) {
        fprintf(stderr, "kernel_test: out of memory or of block slots\n");
        exit(1);
    }
    blocks[block_count++] = (block){ bytes, is_device };
    return bytes;
}

/* What the harness itself asks of the target; gmt_ok is for operations. */
static void moved(const gmt_backend *b, gm_status status)
{
    if (status != GM_OK) fail_msg("%s", b->device->err->text);
}

/* A device block between guard bytes, all 0xA5. */
static unsigned char *guarded(gmt_backend *b, size_t bytes)
{
    unsigned char *made = keep(b->target->alloc(b->device, bytes + 2 * GUARD), true);
    unsigned char *pattern = malloc(bytes + 2 * GUARD);
    if (pattern == NULL) fail_msg("out of memory");
    memset(pattern, 0xA5, bytes + 2 * GUARD);
    moved(b, b->target->upload(b->device, made, pattern, bytes + 2 * GUARD));
    free(pattern);
    return made + GUARD;
}

/* `element_bytes` on the host, `dev_element_bytes` on the device. */
static gmt_buf make_both(gmt_backend *b, size_t count, size_t element_bytes, size_t dev_element_bytes)
{
    gmt_buf buf = { .count = count, .bytes = count * element_bytes, .dev_bytes = count * dev_element_bytes };
    buf.host = keep(calloc(1, buf.bytes + 1), false);
    buf.dev = guarded(b, buf.dev_bytes);
    return buf;
}

static gmt_buf make(gmt_backend *b, size_t count, size_t element_bytes) { return make_both(b, count, element_bytes, element_bytes); }

static bool is_bf16(const gmt_backend *b) { return b->target->precision == GM_BF16; }

static gmt_buf make_act(gmt_backend *b, size_t count)
{
    gmt_buf buf = make_both(b, count, sizeof(float), is_bf16(b) ? sizeof(uint16_t) : sizeof(float));
    buf.is_bf16 = is_bf16(b);
    return buf;
}

/* To the nearest, ties to even; a NaN stays one. */
static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float float_of(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

void gmt_push(gmt_backend *b, gmt_buf *buf)
{
    uint16_t *packed = NULL;
    if (buf->is_bf16) {
        packed = malloc(buf->dev_bytes + 1);
        if (packed == NULL) fail_msg("out of memory");
        for (size_t i = 0; i < buf->count; i++) {
            packed[i] = bf16_of(buf->f32[i]);
            buf->f32[i] = float_of(packed[i]);
        }
    }
    moved(b, b->target->upload(b->device, buf->dev, packed != NULL ? packed : buf->host, buf->dev_bytes));
    free(packed);
}

void *gmt_fetch(gmt_backend *b, gmt_buf *buf)
{
    unsigned char *all = malloc(buf->dev_bytes + 2 * GUARD);
    if (all == NULL) fail_msg("out of memory");
    moved(b, b->target->download(b->device, all, (unsigned char *)buf->dev - GUARD, buf->dev_bytes + 2 * GUARD));
    bool is_whole = true;
    for (size_t i = 0; i < GUARD; i++) is_whole = is_whole && all[i] == 0xA5 && all[GUARD + buf->dev_bytes + i] == 0xA5;
    if (buf->is_bf16)
        for (size_t i = 0; i < buf->count; i++) {
            uint16_t x;
            memcpy(&x, all + GUARD + i * sizeof x, sizeof x);
            buf->f32[i] = float_of(x);
        }
    else
        memcpy(buf->host, all + GUARD, buf->bytes);
    free(all);
    if (!is_whole) fail_msg("a kernel wrote outside its buffer of %zu bytes", buf->dev_bytes);
    return buf->host;
}

void *gmt_at(const gmt_buf *buf, size_t at) { return (unsigned char *)buf->dev + at * (buf->count ? buf->dev_bytes / buf->count : 0); }

gmt_buf gmt_bytes(gmt_backend *b, const void *values, size_t bytes, size_t count)
{
    gmt_buf buf = make(b, count, count ? bytes / count : 1);
    if (bytes) memcpy(buf.host, values, bytes);
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_f32(gmt_backend *b, const float *values, size_t count) { return gmt_bytes(b, values, count * 4, count); }
gmt_buf gmt_i32(gmt_backend *b, const int32_t *values, size_t count) { return gmt_bytes(b, values, count * 4, count); }

static gmt_buf pushed(gmt_backend *b, gmt_buf buf)
{
    gmt_push(b, &buf);
    return buf;
}

static gmt_buf poisoned(gmt_backend *b, gmt_buf buf)
{
    for (size_t i = 0; i < buf.count; i++) buf.f32[i] = NAN;
    return pushed(b, buf);
}

static gmt_buf normal(gmt_backend *b, gmt_buf buf, float sigma)
{
    const uint32_t stream = b->stream++;
    for (size_t i = 0; i < buf.count; i += 4) {
        float four[4];
        gm_normal4(gm_philox(7, (uint32_t)(i / 4), stream, 0, gm_purpose(GM_SITE_TEST, 0, 0)), four);
        for (size_t j = i; j < buf.count && j < i + 4; j++) buf.f32[j] = sigma * four[j - i];
    }
    return pushed(b, buf);
}

gmt_buf gmt_zeros(gmt_backend *b, size_t count) { return pushed(b, make(b, count, sizeof(float))); }
gmt_buf gmt_poison(gmt_backend *b, size_t count) { return poisoned(b, make(b, count, sizeof(float))); }
gmt_buf gmt_normal(gmt_backend *b, size_t count, float sigma) { return normal(b, make(b, count, sizeof(float)), sigma); }
gmt_buf gmt_act(gmt_backend *b, size_t count, float sigma) { return normal(b, make_act(b, count), sigma); }
gmt_buf gmt_act_poison(gmt_backend *b, size_t count) { return poisoned(b, make_act(b, count)); }
gmt_buf gmt_act_zeros(gmt_backend *b, size_t count) { return pushed(b, make_act(b, count)); }

gmt_buf gmt_act_f32(gmt_backend *b, const float *values, size_t count)
{
    gmt_buf buf = make_act(b, count);
    if (count) memcpy(buf.host, values, buf.bytes);
    return pushed(b, buf);
}

gmt_buf gmt_offsets(gmt_backend *b, const int32_t *length, int32_t n)
{
    gmt_buf buf = make(b, (size_t)n + 1, sizeof(int32_t));
    buf.i32[0] = 0;
    for (int32_t i = 0; i < n; i++) buf.i32[i + 1] = buf.i32[i] + length[i];
    gmt_push(b, &buf);
    return buf;
}

gmt_buf gmt_tokens(gmt_backend *b, const int32_t *length, int32_t n)
{
    size_t total = 0, at = 0;
    for (int32_t i = 0; i < n; i++) total += (size_t)length[i];
    gmt_buf buf = make(b, total, sizeof(gm_token));
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < length[i]; j++) ((gm_token *)buf.host)[at++] = (gm_token){ i, j };
    gmt_push(b, &buf);
    return buf;
}

static uint32_t key_of(int32_t sequence) { return 2654435761u * (uint32_t)(sequence + 1); }
static uint32_t draw_of(int32_t sequence) { return (uint32_t)(3 + sequence % 2); }

gm_drop gmt_drop(gmt_backend *b, float p, uint32_t site, int32_t n)
{
    gmt_buf key = make(b, (size_t)n, 4), draw = make(b, (size_t)n, 4);
    for (int32_t i = 0; i < n; i++) {
        key.u32[i] = key_of(i);
        draw.u32[i] = draw_of(i);
    }
    gmt_push(b, &key);
    gmt_push(b, &draw);
    return (gm_drop){ .p = p, .site = site, .layer = 2, .key = key.dev, .draw = draw.dev };
}

double *gmt_doubles(gmt_backend *b, size_t count)
{
    (void)b;
    return keep(calloc(count + 1, sizeof(double)), false);
}

/* References ask for one element after another: the last counter's words are kept for the three beside it. */
float gmt_draw(const gm_drop *d, uint64_t seed, int32_t sequence, uint32_t position, uint32_t element)
{
    static struct { bool is_set; uint64_t seed; uint32_t group, draw, key, purpose; gm_philox4 bits; } last;
    const uint32_t group = element / 4, draw = draw_of(sequence), key = key_of(sequence), purpose = gm_purpose(d->site, d->layer, position);
    if (!last.is_set || last.seed != seed || last.group != group || last.draw != draw || last.key != key || last.purpose != purpose) {
        last.is_set = true;
        last.seed = seed, last.group = group, last.draw = draw, last.key = key, last.purpose = purpose;
        last.bits = gm_philox(seed, group, draw, key, purpose);
    }
    return gm_uniform(last.bits.word[element % 4]);
}

double gmt_scale(const gm_drop *d, uint64_t seed, int32_t sequence, uint32_t position, uint32_t element)
{
    if (d->p == 0.0f) return 1.0;
    return gmt_draw(d, seed, sequence, position, element) >= d->p ? 1.0 / (1.0 - (double)d->p) : 0.0;
}

double gmt_tol_f32(size_t n) { return 0x1p-23 * (4.0 * sqrt((double)n) + 8.0); }
double gmt_rounding(const gmt_backend *b) { return is_bf16(b) ? 0x1p-8 : 0.0; }
double gmt_tol_act(const gmt_backend *b, size_t n) { return gmt_tol_f32(n) + gmt_rounding(b); }

void gmt_zero_from(const gmt_buf *buf, size_t first, const char *what)
{
    for (size_t i = first; i < buf->count; i++)
        if (!(buf->f32[i] == 0.0f)) fail_msg("%s[%zu] is %.9g, a row behind the last must be zero", what, i, (double)buf->f32[i]);
}

void gmt_slope(double (*loss)(const void *of), const void *of, double *x, size_t count, const double *dx, double tol, const char *what)
{
    const double step = 1e-5;
    for (size_t i = 0; i < count; i++) {
        const double at = x[i];
        x[i] = at + step;
        const double above = loss(of);
        x[i] = at - step;
        const double below = loss(of), slope = (above - below) / (2.0 * step);
        x[i] = at;
        if (!(fabs(slope - dx[i]) <= tol * (1.0 + fabs(slope))))
            fail_msg("reference %s[%zu] is %.12g, central differences say %.12g", what, i, dx[i], slope);
    }
}

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

/* What gmt_tight_workspace took from the device, and the block that the call under way got instead. */
static struct { bool is_on; void *own; size_t own_bytes; gmt_buf given; } tight;

void gmt_tight_workspace(gmt_backend *b)
{
    tight.is_on = true;
    tight.own = b->device->workspace;
    tight.own_bytes = b->device->workspace_bytes;
    b->device->workspace = NULL;
    b->device->workspace_bytes = 0;
}

void gmt_refused(gmt_backend *b, const char *call)
{
    gm_device *dev = b->device;
    const char *needs = strstr(dev->err->text, " needs ");
    const size_t asked = needs != NULL ? (size_t)strtoull(needs + strlen(" needs "), NULL, 10) : 0;
    if (!tight.is_on || dev->err->status != GM_ERR_NOMEM || asked <= dev->workspace_bytes) fail_msg("%s: %s", call, dev->err->text);
    const gmt_buf given = make(b, asked, 1);
    tight.given = given;
    dev->workspace = given.dev;
    dev->workspace_bytes = asked;
}

void gmt_accepted(gmt_backend *b)
{
    gmt_buf given = tight.given;
    if (given.dev == NULL) return;
    tight.given = (gmt_buf){ 0 };
    b->device->workspace = NULL;
    b->device->workspace_bytes = 0;
    gmt_fetch(b, &given);
}

static const gmt_target *target_now;

void gmt_push_step(gmt_backend *b) { moved(b, b->target->upload(b->device, (void *)(uintptr_t)b->device->step, &b->step, sizeof b->step)); }

void gmt_device_create(gmt_backend *b, int threads, gm_device *dev)
{
    moved(b, b->target->device_create(b->target, threads, dev, b->device->err));
    dev->step = b->device->step;
    dev->err = b->device->err;
}

void gmt_device_destroy(gmt_backend *b, gm_device *dev) { b->target->device_destroy(dev); }

static int set_up(void **state)
{
    static gmt_backend b;
    static gm_device device;
    static gm_err err;
    memset(&b, 0, sizeof b);
    memset(&tight, 0, sizeof tight);
    b.target = target_now;
    b.k = &b.kernels;
    b.device = &device;
    if (target_now->open(target_now, &b.kernels, &device, &err) != GM_OK) {
        fprintf(stderr, "kernel_test: %s\n", err.text);
        return -1;
    }
    device.err = &err;
    b.step = (gm_step){ .seed = 0x0123456789ABCDEFull, .number = 3, .rate = { 1e-3f, 2e-3f, 3e-3f }, .inv_words = 0.25f, .inv_sentences = 0.5f };
    device.step = keep(target_now->alloc(&device, sizeof b.step), true);
    gmt_push_step(&b);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    gmt_backend *b = *state;
    while (block_count > 0) {
        const block last = blocks[--block_count];
        if (last.is_device)
            b->target->release(b->device, last.bytes);
        else
            free(last.bytes);
    }
    if (tight.is_on) {
        b->device->workspace = tight.own;
        b->device->workspace_bytes = tight.own_bytes;
    }
    b->target->device_destroy(b->device);
    return 0;
}

static const gmt_test *running;
static void run_one(void **state) { running->run(*state); }

int gmt_run_all(const char *operation, const gmt_test *tests, int count)
{
    static gmt_target targets[MAX_TARGETS];
    const int target_count = gmt_targets(targets, MAX_TARGETS);
    int failed = 0;
    if (target_count == 0) {
        fprintf(stderr, "%s: no backend here: skipped\n", operation);
        return 77;
    }
    for (int i = 0; i < target_count; i++)
        for (int t = 0; t < count; t++) {
            if (tests[t].has_no_activations && targets[i].precision == GM_BF16) continue;
            char name[256];
            snprintf(name, sizeof name, "%.80s/%.80s %.63s", operation, tests[t].name, targets[i].name);
            target_now = &targets[i];
            running = &tests[t];
            const struct CMUnitTest one[] = { { name, run_one, set_up, tear_down, NULL } };
            failed += _cmocka_run_group_tests(operation, one, 1, NULL, NULL);
        }
    return failed ? 1 : 0;
}
