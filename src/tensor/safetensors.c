/* Reading safetensors: maps the file, hands the header to safetensors_header.c, answers look-ups and copies tensors out
 * as float32. The mapping is private and read-only; a file that another program cuts short while it is mapped ends this
 * one with SIGBUS, as for every mapping, so weights are replaced by renaming and never written in place. */
#define _POSIX_C_SOURCE 200809L

#include "tensor/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "tensor/safetensors_header.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian and is copied as it stands");
_Static_assert(sizeof(size_t) == 8, "files beyond 4 GiB are mapped whole");

struct gm_safetensors {
    char *place;
    void *mapping; /* NULL when the bytes are the caller's */
    size_t mapped;
    gm_st_header header;
};

static gm_status check_frame(const char *place, const unsigned char *bytes, size_t size, uint64_t *header_bytes,
                             gm_err *err)
{
    if (size < 8)
        return gm_fail(err, GM_ERR_FORMAT,
                       "%s: %zu bytes, but a safetensors file begins with 8 bytes that give its header's size", place,
                       size);
    memcpy(header_bytes, bytes, 8);
    if (*header_bytes > size - 8)
        return gm_fail(
            err, GM_ERR_FORMAT,
            "%s: the header should have %llu bytes, but only %zu follow: the file is cut short or no safetensors file",
            place, (unsigned long long)*header_bytes, size - 8);
    if (*header_bytes > GM_ST_MAX_HEADER_BYTES)
        return gm_fail(err, GM_ERR_FORMAT, "%s: the header has %llu bytes, the format allows %u", place,
                       (unsigned long long)*header_bytes, GM_ST_MAX_HEADER_BYTES);
    return GM_OK;
}

gm_status gm_safetensors_parse(const char *place, const void *bytes, size_t size, gm_safetensors **out, gm_err *err)
{
    const char *start = bytes;
    gm_status status = GM_OK;
    uint64_t header_bytes = 0;
    *out = NULL;
    GM_TRY(check_frame(place, bytes, size, &header_bytes, err));
    gm_safetensors *st = gm_calloc(1, sizeof *st);
    if (st != NULL) st->place = gm_strdup(place);
    if (st == NULL || st->place == NULL)
        status = gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for the list of tensors", place);
    else
        status =
            gm_st_header_parse(place, start + 8, (size_t)header_bytes, (const unsigned char *)start + 8 + header_bytes,
                               size - 8 - (size_t)header_bytes, &st->header, err);
    if (status != GM_OK) {
        gm_safetensors_close(st);
        return status;
    }
    *out = st;
    return GM_OK;
}

/* Maps a whole file; an empty one has no mapping and *size 0. */
static gm_status map_file(const char *path, void **mapping, size_t *size, gm_err *err)
{
    gm_status status = GM_OK;
    struct stat about;
    /* Without O_NONBLOCK a named pipe would wait here for its writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return gm_fail(err, GM_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &about) != 0) {
        status = gm_fail(err, GM_ERR_IO, "%s: its size cannot be read: %s", path, strerror(errno));
    } else if (S_ISDIR(about.st_mode)) {
        status = gm_fail(err, GM_ERR_IO, "%s: is a folder, expected a safetensors file", path);
    } else if (!S_ISREG(about.st_mode)) {
        status = gm_fail(err, GM_ERR_IO, "%s: is a pipe or a device, expected a safetensors file on disk", path);
    } else if (about.st_size == 0) {
        status = gm_fail(err, GM_ERR_FORMAT, "%s: is empty, expected a safetensors file: was its download interrupted?",
                         path);
    } else {
        *size = (size_t)about.st_size;
        *mapping = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (*mapping == MAP_FAILED) status = gm_fail(err, GM_ERR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
    }
    close(fd);
    return status;
}

gm_status gm_safetensors_open(const char *path, gm_safetensors **st, gm_err *err)
{
    void *mapping = NULL;
    size_t size = 0;
    *st = NULL;
    GM_TRY(map_file(path, &mapping, &size, err));
    const gm_status status = gm_safetensors_parse(path, mapping, size, st, err);
    if (status != GM_OK) {
        munmap(mapping, size);
        return status;
    }
    (*st)->mapping = mapping;
    (*st)->mapped = size;
    return GM_OK;
}

void gm_safetensors_close(gm_safetensors *st)
{
    if (st == NULL) return;
    gm_st_header_destroy(&st->header);
    if (st->mapping != NULL) munmap(st->mapping, st->mapped);
    gm_free(st->place);
    gm_free(st);
}

int32_t gm_safetensors_count(const gm_safetensors *st) { return (int32_t)st->header.count; }

const gm_st_entry *gm_safetensors_at(const gm_safetensors *st, int32_t index)
{
    return index >= 0 && (size_t)index < st->header.count ? &st->header.entries[index] : NULL;
}

static int name_against_entry(const void *name, const void *entry)
{
    return strcmp(name, (*(const gm_st_entry *const *)entry)->name);
}

const gm_st_entry *gm_safetensors_find(const gm_safetensors *st, const char *name)
{
    const gm_st_header *h = &st->header;
    const gm_st_entry *const *found = bsearch(name, h->by_name, h->count, sizeof *h->by_name, name_against_entry);
    return found != NULL ? *found : NULL;
}

static int key_against_pair(const void *key, const void *pair) { return strcmp(key, ((const gm_st_pair *)pair)->key); }

const char *gm_safetensors_metadata(const gm_safetensors *st, const char *key)
{
    const gm_st_header *h = &st->header;
    if (h->metadata_count == 0) return NULL; /* bsearch must not be given a NULL array */
    const gm_st_pair *found = bsearch(key, h->metadata, h->metadata_count, sizeof *h->metadata, key_against_pair);
    return found != NULL ? found->value : NULL;
}

/* The conversions are exact but for F64, which is rounded to nearest. Each value is copied out first, because the
 * format does not align tensors. */
static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u;
    if (exponent == 31) return from_bits(sign | 0x7F800000u | fraction << 13);
    if (exponent != 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13); /* biases 127 and 15 */
    const float tiny = (float)fraction * 0x1p-24f; /* zero or subnormal, which float32 holds as a normal number */
    return sign != 0 ? -tiny : tiny;
}

/* What rounds beyond the largest float32 becomes infinity here and is refused with the others. */
static float from_f64(double value)
{
    if (fabs(value) >= 0x1.ffffffp127) return value > 0 ? INFINITY : -INFINITY;
    return (float)value;
}

static void convert(const gm_st_entry *e, size_t n, float *to)
{
    const unsigned char *from = e->data;
    uint16_t half;
    double wide;
    switch (e->dtype) {
    case GM_ST_F16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, from + 2 * i, sizeof half);
            to[i] = from_f16(half);
        }
        break;
    case GM_ST_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, from + 2 * i, sizeof half);
            to[i] = from_bits((uint32_t)half << 16);
        }
        break;
    case GM_ST_F64:
        for (size_t i = 0; i < n; i++) {
            memcpy(&wide, from + 8 * i, sizeof wide);
            to[i] = from_f64(wide);
        }
        break;
    default: memcpy(to, from, 4 * n);
    }
}

/* "[2, 3]" */
static const char *shape_text(const gm_st_entry *e, char text[static 192])
{
    size_t n = 0;
    text[n++] = '[';
    for (int32_t i = 0; i < e->dims; i++)
        n += (size_t)snprintf(text + n, 192 - n, i == 0 ? "%lld" : ", %lld", (long long)e->shape[i]);
    snprintf(text + n, 192 - n, "]");
    return text;
}

/* [.., cols] with `rows` in all before the last dimension, or a vector that is one row or one column. */
static bool fits(const gm_st_entry *e, int64_t rows, int64_t cols)
{
    if (rows < 0 || cols < 0) return false;
    if (e->dims == 0) return rows == 1 && cols == 1;
    if (e->dims == 1) return (rows == 1 && e->shape[0] == cols) || (cols == 1 && e->shape[0] == rows);
    uint64_t leading;
    return e->shape[e->dims - 1] == cols && gm_st_bytes(GM_ST_U8, e->shape, e->dims - 1, &leading) &&
           leading == (uint64_t)rows;
}

gm_status gm_safetensors_read_f32(const gm_safetensors *st, const char *name, int64_t rows, int64_t cols, float *to,
                                  gm_err *err)
{
    char shape[192];
    const gm_st_entry *e = gm_safetensors_find(st, name);
    if (e == NULL)
        return gm_fail(err, GM_ERR_DATA, "%s: no tensor \"%.120s\" among its %d: is this the file of another model?",
                       st->place, name, gm_safetensors_count(st));
    if (e->dtype != GM_ST_F32 && e->dtype != GM_ST_F16 && e->dtype != GM_ST_BF16 && e->dtype != GM_ST_F64)
        return gm_fail(err, GM_ERR_DATA, "%s: tensor \"%.120s\" is %s, expected F32, F16, BF16 or F64", st->place, name,
                       gm_dtype_name(e->dtype));
    if (!fits(e, rows, cols))
        return gm_fail(err, GM_ERR_SHAPE, "%s: tensor \"%.120s\" is %s, expected [%lld, %lld]", st->place, name,
                       shape_text(e, shape), (long long)rows, (long long)cols);
    const size_t n = e->bytes / gm_dtype_bytes(e->dtype);
    if (n == 0) return GM_OK; /* `to` may be NULL */
    convert(e, n, to);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(to[i]))
            return gm_fail(err, GM_ERR_NUMERIC,
                           "%s: tensor \"%.120s\" is %s at index %zu (row %zu, column %zu) as float32", st->place, name,
                           isnan(to[i]) ? "NaN" : "infinite", i, i / (size_t)cols, i % (size_t)cols);
    return GM_OK;
}
