/* .npz as numpy writes it: a zip archive of .npy arrays. Reads arrays of numbers by name; every size is checked against the
 * file before it is used. Inside src/image only. */
#ifndef GM_IMAGE_NPZ_H
#define GM_IMAGE_NPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define GM_NPZ_MAX_BYTES ((size_t)64 << 20) /* of a file, and of a member unpacked */

/* One array: of floats (32, 64 bits) or integers (8 to 64 bits), at most two dimensions, in either order of memory. */
typedef struct gm_npy {
    char *bytes;          /* the member unpacked, gm_malloc'ed; NULL: not in the file */
    const char *data;     /* in bytes */
    int dims;             /* 0 to 2 */
    size_t rows, columns; /* 1 where there is no such dimension */
    char kind;            /* 'f', 'i', 'u', 'b' */
    size_t width;         /* bytes of a number */
    bool by_column;       /* Fortran's order */
} gm_npy;

/* Looks for the member "<name>.npy"; a file without it gives bytes NULL. Messages begin with `place`. */
gm_status gm_npz_find(const char *place, const void *bytes, size_t size, const char *name, gm_npy *to, gm_err *err);
double gm_npy_at(const gm_npy *a, size_t row, size_t column);
void gm_npy_free(gm_npy *a); /* takes an empty one */

#endif
