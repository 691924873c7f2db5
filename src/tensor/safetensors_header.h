/* The JSON header of a safetensors file, as the reader needs it: entries in the order of their bytes, an index by name,
 * the metadata. Private to src/tensor; users take safetensors.h. */
#ifndef GM_TENSOR_SAFETENSORS_HEADER_H
#define GM_TENSOR_SAFETENSORS_HEADER_H

#include "tensor/safetensors.h"

/* The limits both directions share: the header's size that the format allows, and the largest whole number that every
 * JSON reader keeps. */
#define GM_ST_MAX_HEADER_BYTES 100000000u
#define GM_ST_MAX_INT (UINT64_C(1) << 53)

typedef struct gm_st_pair {
    char *key, *value;
} gm_st_pair;

typedef struct gm_st_header {
    gm_st_entry *entries;        /* [count] ordered by offset, then size, then name */
    const gm_st_entry **by_name; /* [count] ordered by strcmp */
    gm_st_pair *metadata;        /* [metadata_count] ordered by key */
    size_t count, capacity, metadata_count, metadata_capacity;
} gm_st_header;

/* Parses and checks everything of a file but its first 8 bytes. Entries point into `data`. `place` stands in messages.
 * `h` must be zeroed; it is the caller's to destroy, after a failure too. */
gm_status gm_st_header_parse(const char *place, const char *text, size_t size, const unsigned char *data,
                             size_t data_bytes, gm_st_header *h, gm_err *err);
void gm_st_header_destroy(gm_st_header *h); /* takes a zeroed one */

/* Bytes of a tensor, dims dimensions of at most 2^53 each; false when the product does not fit 2^53. */
bool gm_st_bytes(gm_dtype dtype, const int64_t *shape, int32_t dims, uint64_t *bytes);

#endif
