/* All heap memory of the program passes through here, so that a test can count allocations and fail the k-th one.
 * Sizes are bytes. What these return is the caller's, to be given back with gm_free. */
#ifndef GM_BASE_MEMORY_H
#define GM_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

void *gm_malloc(size_t bytes);                 /* NULL when out of memory; 64-byte aligned is not promised */
void *gm_calloc(size_t count, size_t bytes);   /* zeroed; NULL when out of memory or when the product overflows */
void *gm_realloc(void *block, size_t bytes);   /* as realloc; the old block stays valid on NULL */
void gm_free(void *block);                     /* takes NULL */
char *gm_strdup(const char *text);             /* NULL when out of memory */
char *gm_strndup(const char *text, size_t n);  /* copies n bytes and ends them with NUL */

/* For a large block all of whose bytes will be used, before they are: the system may then give it pages of some megabytes, where
 * it has such, which come a hundred times faster. Harmless for any block. */
void gm_use_large_pages(void *block, size_t bytes);

/* Makes room for one more element in a growing array: doubles *capacity when count reaches it.
 * `*array` may move. GM_ERR_NOMEM leaves the array as it was. */
gm_status gm_grow(void **array, size_t *capacity, size_t count, size_t element_bytes, gm_err *err);

/* Number of successful allocations so far (malloc, calloc, realloc, arenas): a steady loop leaves it unchanged. */
uint64_t gm_alloc_count(void);
/* Lets the k-th allocation from now on (0 = the next) fail once; negative switches that off. For tests. */
void gm_alloc_fail_at(int64_t k);

#endif
