/* Writing safetensors: the header is made in memory, then all goes to a file beside the final name, which takes the
 * name when it is complete. Tensors keep the caller's order; the header is padded with blanks so that the data begin at
 * a multiple of 8. No time, path or address enters the bytes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tensor/safetensors_header.h"

static gm_status check_text(const char *path, const char *what, const char *text, gm_err *err)
{
    size_t bad;
    if (text == NULL) return gm_fail(err, GM_ERR_DATA, "%s: %s is NULL", path, what);
    if (!gm_utf8_valid(text, strlen(text), &bad))
        return gm_fail(err, GM_ERR_DATA, "%s: %s \"%.120s\" is not UTF-8 at byte %zu", path, what, text, bad);
    return GM_OK;
}

static gm_status check_spec(const char *path, const gm_st_spec *s, uint64_t *bytes, gm_err *err)
{
    GM_TRY(check_text(path, "a tensor's name", s->name, err));
    if (strcmp(s->name, "__metadata__") == 0)
        return gm_fail(err, GM_ERR_DATA, "%s: the format keeps the name \"__metadata__\" for itself", path);
    if (gm_dtype_bytes(s->dtype) == 0)
        return gm_fail(err, GM_ERR_DATA, "%s: tensor \"%.120s\" has the unknown dtype %d", path, s->name,
                       (int)s->dtype);
    if (s->dims < 0 || s->dims > GM_ST_MAX_DIMS)
        return gm_fail(err, GM_ERR_SHAPE, "%s: tensor \"%.120s\" has %d dimensions, expected 0 to %d", path, s->name,
                       s->dims, GM_ST_MAX_DIMS);
    for (int32_t i = 0; i < s->dims; i++)
        if (s->shape[i] < 0)
            return gm_fail(err, GM_ERR_SHAPE, "%s: dimension %d of tensor \"%.120s\" is %" PRId64, path, i, s->name,
                           s->shape[i]);
    if (!gm_st_bytes(s->dtype, s->shape, s->dims, bytes))
        return gm_fail(err, GM_ERR_SHAPE, "%s: the size of tensor \"%.120s\" overflows", path, s->name);
    if (s->data == NULL && *bytes > 0)
        return gm_fail(err, GM_ERR_DATA, "%s: tensor \"%.120s\" has no data", path, s->name);
    return GM_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static gm_status check_unique(const char *path, const gm_st_spec *specs, int32_t count, gm_err *err)
{
    gm_status status = GM_OK;
    const char **names = gm_calloc((size_t)count, sizeof *names);
    if (names == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for %d names", path, count);
    for (int32_t i = 0; i < count; i++) names[i] = specs[i].name;
    qsort(names, (size_t)count, sizeof *names, by_text);
    for (int32_t i = 1; i < count && status == GM_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = gm_fail(err, GM_ERR_DATA, "%s: tensor \"%.120s\" is given twice", path, names[i]);
    gm_free(names);
    return status;
}

/* The few keys are compared one with another; "format" is the writer's own. */
static gm_status add_metadata(const char *path, const char *const *metadata, int32_t count, gm_buffer *header,
                              gm_err *err)
{
    if (count < 0 || count % 2 != 0)
        return gm_fail(err, GM_ERR_DATA, "%s: %d metadata strings, expected pairs of key and value", path, count);
    GM_TRY(gm_buffer_printf(header, err, "{\"__metadata__\":{\"format\":\"pt\""));
    for (int32_t i = 0; i < count; i += 2) {
        GM_TRY(check_text(path, "a metadata key", metadata[i], err));
        GM_TRY(check_text(path, "a metadata value", metadata[i + 1], err));
        bool is_twice = strcmp(metadata[i], "format") == 0;
        for (int32_t j = 0; j < i; j += 2) is_twice = is_twice || strcmp(metadata[i], metadata[j]) == 0;
        if (is_twice) return gm_fail(err, GM_ERR_DATA, "%s: metadata key \"%.120s\" is given twice", path, metadata[i]);
        GM_TRY(gm_buffer_add(header, ",", 1, err));
        GM_TRY(gm_buffer_json_string(header, metadata[i], err));
        GM_TRY(gm_buffer_add(header, ":", 1, err));
        GM_TRY(gm_buffer_json_string(header, metadata[i + 1], err));
    }
    return gm_buffer_add(header, "}", 1, err);
}

static gm_status add_spec(const gm_st_spec *s, uint64_t begin, uint64_t end, gm_buffer *header, gm_err *err)
{
    GM_TRY(gm_buffer_add(header, ",", 1, err));
    GM_TRY(gm_buffer_json_string(header, s->name, err));
    GM_TRY(gm_buffer_printf(header, err, ":{\"dtype\":\"%s\",\"shape\":[", gm_dtype_name(s->dtype)));
    for (int32_t i = 0; i < s->dims; i++)
        GM_TRY(gm_buffer_printf(header, err, i == 0 ? "%" PRId64 : ",%" PRId64, s->shape[i]));
    return gm_buffer_printf(header, err, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
}

static gm_status make_header(const char *path, const gm_st_spec *specs, int32_t count, const char *const *metadata,
                             int32_t metadata_count, gm_buffer *header, gm_err *err)
{
    uint64_t at = 0;
    if (count < 0) return gm_fail(err, GM_ERR_DATA, "%s: %d tensors", path, count);
    GM_TRY(add_metadata(path, metadata, metadata_count, header, err));
    for (int32_t i = 0; i < count; i++) {
        uint64_t bytes;
        GM_TRY(check_spec(path, &specs[i], &bytes, err));
        if (bytes > GM_ST_MAX_INT - at)
            return gm_fail(err, GM_ERR_SHAPE, "%s: the sizes of the tensors overflow at \"%.120s\"", path,
                           specs[i].name);
        GM_TRY(add_spec(&specs[i], at, at + bytes, header, err));
        at += bytes;
    }
    GM_TRY(check_unique(path, specs, count, err));
    GM_TRY(gm_buffer_add(header, "}", 1, err));
    GM_TRY(gm_buffer_add(header, "       ", (8 - header->size % 8) % 8, err));
    if (header->size > GM_ST_MAX_HEADER_BYTES)
        return gm_fail(err, GM_ERR_DATA, "%s: the header would have %zu bytes, the format allows %u", path,
                       header->size, GM_ST_MAX_HEADER_BYTES);
    return GM_OK;
}

static gm_status write_all(gm_out *out, const gm_buffer *header, const gm_st_spec *specs, int32_t count, gm_err *err)
{
    const uint64_t header_bytes = header->size; /* little-endian as it stands: safetensors.c asserts it */
    GM_TRY(gm_out_write(out, &header_bytes, sizeof header_bytes, err));
    GM_TRY(gm_out_write(out, header->data, header->size, err));
    for (int32_t i = 0; i < count; i++) {
        uint64_t bytes = 0;
        if (gm_st_bytes(specs[i].dtype, specs[i].shape, specs[i].dims, &bytes) && bytes > 0)
            GM_TRY(gm_out_write(out, specs[i].data, (size_t)bytes, err));
    }
    return gm_out_commit(out, err);
}

gm_status gm_safetensors_write(const char *path, const gm_st_spec *specs, int32_t count, const char *const *metadata,
                               int32_t metadata_count, gm_err *err)
{
    gm_buffer header = { 0 };
    gm_out out = { 0 };
    gm_status status = make_header(path, specs, count, metadata, metadata_count, &header, err);
    if (status != GM_OK) goto done;
    status = gm_out_open(&out, path, err);
    if (status != GM_OK) goto done;
    status = write_all(&out, &header, specs, count, err);
done:
    gm_out_abort(&out);
    gm_buffer_free(&header);
    return status;
}
