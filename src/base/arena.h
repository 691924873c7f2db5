/* Arena with two ends: values that live until the step ends grow from the low end, scratch and gradients from the
 * high end. Address space is reserved once and the system gives pages as they are touched, so an arena needs no
 * exact size and a step allocates nothing. Blocks are 64-byte aligned, those of lent memory 256, as devices like it. One thread at a time. */
#ifndef GM_BASE_ARENA_H
#define GM_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct gm_arena {
    unsigned char *base;
    size_t size;      /* bytes reserved */
    size_t low, high; /* bytes in use at either end */
    size_t peak;      /* largest low + high so far */
    bool is_lent;     /* the memory is another's, perhaps a device's: it is never touched */
} gm_arena;

typedef struct gm_mark { size_t low, high; } gm_mark;

/* Reserves `bytes` of address space (rounded up to pages). */
gm_status gm_arena_init(gm_arena *a, size_t bytes, gm_err *err);
/* Hands out `bytes` bytes at `base`, which belong to the caller and are not touched here; base aligned to 256. */
void gm_arena_lend(gm_arena *a, void *base, size_t bytes);
void gm_arena_destroy(gm_arena *a); /* takes a zeroed arena */

/* A block of uninitialised bytes (NaN in debug builds), the arena's until the mark before it is released.
 * NULL when the arena is full. */
void *gm_arena_low(gm_arena *a, size_t bytes);
void *gm_arena_high(gm_arena *a, size_t bytes);

gm_mark gm_arena_mark(const gm_arena *a);
/* Gives back all blocks made since the mark, at both ends. Debug builds fill them with NaN. */
void gm_arena_release(gm_arena *a, gm_mark mark);
void gm_arena_reset(gm_arena *a);

#endif
