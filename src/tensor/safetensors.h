/* safetensors files: strict reader (memory-mapped) and writer. Format: 8 bytes little-endian header size, a JSON object
 * name -> {dtype, shape, data_offsets}, then the data. */
#ifndef GM_TENSOR_SAFETENSORS_H
#define GM_TENSOR_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { GM_ST_MAX_DIMS = 8 };

typedef enum gm_dtype {
    GM_ST_F32,
    GM_ST_F16,
    GM_ST_BF16,
    GM_ST_F64,
    GM_ST_I64,
    GM_ST_I32,
    GM_ST_I16,
    GM_ST_I8,
    GM_ST_U8,
    GM_ST_BOOL,
    GM_DTYPE_COUNT
} gm_dtype;
size_t gm_dtype_bytes(gm_dtype t);
const char *gm_dtype_name(gm_dtype t); /* "F32" */

typedef struct gm_st_entry {
    char *name;
    gm_dtype dtype;
    int32_t dims;
    int64_t shape[GM_ST_MAX_DIMS];
    const void *data; /* inside the mapping; valid until close; may be misaligned: copy out with memcpy */
    size_t bytes;
} gm_st_entry;

typedef struct gm_safetensors gm_safetensors;

/* Refuses, each with its own message: a file shorter than 8 bytes; a header longer than the file or than 100 MB; bad
 * UTF-8 or JSON; a name twice; unknown dtype; a negative, fractional or overflowing dimension; offsets that are not
 * two numbers, run backwards, leave the file, overlap, leave gaps or differ from shape x dtype; bytes behind the data;
 * metadata that are not an object of strings; a field that is missing, unknown or stands twice; more than 8 dimensions.
 * Numbers are digits only: 3.0 and 3e0 are refused. docs/errors.md lists the messages. */
gm_status gm_safetensors_open(const char *path, gm_safetensors **st, gm_err *err);
/* The same on bytes in memory, which must outlive the handle: for fuzzing. `place` stands in messages. */
gm_status gm_safetensors_parse(const char *place, const void *bytes, size_t size, gm_safetensors **st, gm_err *err);
void gm_safetensors_close(gm_safetensors *st);
int32_t gm_safetensors_count(const gm_safetensors *st);
/* In the order of the data; NULL beyond. */
const gm_st_entry *gm_safetensors_at(const gm_safetensors *st, int32_t index);
const gm_st_entry *gm_safetensors_find(const gm_safetensors *st, const char *name); /* NULL when missing */
const char *gm_safetensors_metadata(const gm_safetensors *st, const char *key);     /* NULL when missing */

/* Copies a whole [.., cols] tensor with `rows` in all before its last dimension (a vector is one row of its length, or
 * `rows` of 1; a scalar is [1, 1]) as float32, converting F16, BF16 and F64. The message gives both shapes when they
 * differ. NaN, infinity and an F64 beyond float32 are GM_ERR_NUMERIC; the message names tensor and index. */
gm_status gm_safetensors_read_f32(const gm_safetensors *st, const char *name, int64_t rows, int64_t cols, float *to,
                                  gm_err *err);

/* Writer: declare all tensors, then the data in the same order. Written beside and renamed. */
typedef struct gm_st_spec {
    const char *name;
    gm_dtype dtype;
    int32_t dims;
    int64_t shape[GM_ST_MAX_DIMS];
    const void *data;
} gm_st_spec;
/* metadata: key, value, key, value ...; count of strings. {"format":"pt"} is always added: transformers asks for it.
 * The bytes depend on the arguments alone. */
gm_status gm_safetensors_write(const char *path, const gm_st_spec *specs, int32_t count, const char *const *metadata,
                               int32_t metadata_count, gm_err *err);

#endif
