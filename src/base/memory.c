#define _GNU_SOURCE
#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_uint_fast64_t allocations;
static atomic_int_fast64_t fail_in = -1;

/* True when a test asked for this allocation to fail. */
static bool injected(void)
{
    if (atomic_load_explicit(&fail_in, memory_order_relaxed) < 0) return false;
    return atomic_fetch_sub(&fail_in, 1) == 0;
}

static void *counted(void *block)
{
    if (block != NULL) atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return block;
}

void *gm_malloc(size_t bytes) { return injected() ? NULL : counted(malloc(bytes ? bytes : 1)); }

void *gm_calloc(size_t count, size_t bytes)
{
    if (bytes > 0 && count > SIZE_MAX / bytes) return NULL; /* calloc knows too, but sanitizers end the program there */
    return injected() ? NULL : counted(calloc(count ? count : 1, bytes ? bytes : 1));
}

void *gm_realloc(void *block, size_t bytes) { return injected() ? NULL : counted(realloc(block, bytes ? bytes : 1)); }
void gm_free(void *block) { free(block); }

void gm_use_large_pages(void *block, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    enum { PAGE = 4096 };
    const uintptr_t first = ((uintptr_t)block + PAGE - 1) / PAGE * PAGE, end = ((uintptr_t)block + bytes) / PAGE * PAGE;
    if (block != NULL && first < end) (void)madvise((void *)first, end - first, MADV_HUGEPAGE); /* advice: it may be declined */
#else
    (void)block;
    (void)bytes;
#endif
}

char *gm_strndup(const char *text, size_t n)
{
    char *copy = gm_malloc(n + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

char *gm_strdup(const char *text) { return gm_strndup(text, strlen(text)); }

gm_status gm_grow(void **array, size_t *capacity, size_t count, size_t element_bytes, gm_err *err)
{
    if (count < *capacity) return GM_OK;
    const size_t wanted = *capacity ? *capacity * 2 : 16;
    if (wanted > SIZE_MAX / element_bytes)
        return gm_fail(err, GM_ERR_NOMEM, "an array of %zu elements is too large", wanted);
    void *moved = gm_realloc(*array, wanted * element_bytes);
    if (moved == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu bytes", wanted * element_bytes);
    *array = moved;
    *capacity = wanted;
    return GM_OK;
}

uint64_t gm_alloc_count(void) { return atomic_load(&allocations); }
void gm_alloc_fail_at(int64_t k) { atomic_store(&fail_in, k); }
