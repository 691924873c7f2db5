#define _GNU_SOURCE
#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"

static const size_t ALIGN = 64, LENT_ALIGN = 256, PAGE = 4096;

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

gm_status gm_arena_init(gm_arena *a, size_t bytes, gm_err *err)
{
    *a = (gm_arena) { 0 };
    if (bytes > SIZE_MAX / 2) return gm_fail(err, GM_ERR_NOMEM, "an arena of %zu bytes is too large", bytes);
    const size_t size = round_up(bytes ? bytes : 1, PAGE);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return gm_fail(
            err, GM_ERR_NOMEM,
            "cannot reserve %zu bytes of address space for an arena: raise the limit (ulimit -v) or use fewer threads",
            size);
    gm_use_large_pages(base, size);
    a->base = base;
    a->size = size;
    return GM_OK;
}

void gm_arena_lend(gm_arena *a, void *base, size_t bytes)
{
    *a = (gm_arena) { .base = base, .size = bytes / LENT_ALIGN * LENT_ALIGN, .is_lent = true };
}

void gm_arena_destroy(gm_arena *a)
{
    if (a->base != NULL && !a->is_lent) munmap(a->base, a->size);
    *a = (gm_arena) { 0 };
}

/* Debug builds let whoever reads a block before writing it, or after its release, meet NaN. */
static void poison(const gm_arena *a, unsigned char *from, size_t bytes)
{
#ifndef NDEBUG
    if (!a->is_lent) memset(from, 0xFF, bytes);
#else
    (void)a;
    (void)from;
    (void)bytes;
#endif
}

static int take(gm_arena *a, size_t bytes, size_t *rounded)
{
    if (bytes > a->size) return 0;
    *rounded = round_up(bytes ? bytes : 1, a->is_lent ? LENT_ALIGN : ALIGN);
    if (*rounded > a->size - a->low - a->high) return 0;
    if (a->low + a->high + *rounded > a->peak) a->peak = a->low + a->high + *rounded;
    return 1;
}

void *gm_arena_low(gm_arena *a, size_t bytes)
{
    size_t n;
    if (!take(a, bytes, &n)) return NULL;
    unsigned char *block = a->base + a->low;
    a->low += n;
    poison(a, block, n);
    return block;
}

void *gm_arena_high(gm_arena *a, size_t bytes)
{
    size_t n;
    if (!take(a, bytes, &n)) return NULL;
    a->high += n;
    unsigned char *block = a->base + (a->size - a->high);
    poison(a, block, n);
    return block;
}

gm_mark gm_arena_mark(const gm_arena *a) { return (gm_mark) { a->low, a->high }; }

void gm_arena_release(gm_arena *a, gm_mark mark)
{
    if (a->base == NULL) return; /* a zeroed arena has no blocks and no address to count from */
    assert(mark.low <= a->low && mark.high <= a->high);
    poison(a, a->base + mark.low, a->low - mark.low);
    poison(a, a->base + (a->size - a->high), a->high - mark.high);
    a->low = mark.low;
    a->high = mark.high;
}

void gm_arena_reset(gm_arena *a) { gm_arena_release(a, (gm_mark) { 0, 0 }); }
