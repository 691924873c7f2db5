/* The cache of features (docs/data-formats.md). All numbers little-endian: "gmregion", version, count, the picture's width
 * and height, width of the features (i32 each), the key (2 u64), boxes (f64), features (f32), FNV-1a of all before (u64). */
#define _POSIX_C_SOURCE 200809L
#include "image/feature_cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { VERSION = 1, PATH_BYTES = 4096 };

typedef struct header {
    char magic[8];
    int32_t version, count, width, height, feature_width, zero;
    uint64_t key[2];
} header;

uint64_t gm_hash(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static header header_of(const gm_regions *r, int32_t feature_width)
{
    return (header) { { 'g', 'm', 'r', 'e', 'g', 'i', 'o', 'n' }, VERSION,       r->count, r->width, r->height,
                      feature_width,                              0, { r->key[0], r->key[1] } };
}

static gm_status name_file(const char *folder, const gm_regions *r, const char *ending, char path[PATH_BYTES], gm_err *err)
{
    const int n = snprintf(path, PATH_BYTES, "%s/%016llx-%016llx.features%s", folder, (unsigned long long)r->key[0],
                           (unsigned long long)r->key[1], ending);
    return n < PATH_BYTES ? GM_OK : gm_fail(err, GM_ERR_IO, "%s: the path is too long", folder);
}

static size_t feature_bytes(const gm_regions *r, int32_t width) { return (size_t)r->count * (size_t)width * sizeof(float); }

/* Whether the bytes are the file that these regions would have written. */
static bool is_whole(const char *bytes, size_t size, const gm_regions *r, int32_t width)
{
    const header want = header_of(r, width);
    const size_t boxes = (size_t)r->count * sizeof *r->box, body = sizeof want + boxes + feature_bytes(r, width);
    uint64_t sum;
    if (size != body + sizeof sum || memcmp(bytes, &want, sizeof want) != 0) return false;
    memcpy(&sum, bytes + body, sizeof sum);
    return memcmp(bytes + sizeof want, r->box, boxes) == 0 && gm_hash(GM_HASH_START, bytes, body) == sum;
}

gm_status gm_feature_cache_get(const char *folder, int32_t width, gm_regions *r, bool *have, gm_err *err)
{
    char path[PATH_BYTES], *bytes = NULL;
    size_t size = 0;
    *have = false;
    GM_TRY(name_file(folder, r, "", path, err));
    if (access(path, R_OK) != 0) return GM_OK;
    GM_TRY(gm_file_read(path, &bytes, &size, err));
    if (is_whole(bytes, size, r, width)) {
        r->feature = gm_malloc(feature_bytes(r, width) + 1);
        if (r->feature == NULL) {
            gm_free(bytes);
            return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for its features", path);
        }
        memcpy(r->feature, bytes + sizeof(header) + (size_t)r->count * sizeof *r->box, feature_bytes(r, width));
        r->feature_width = width;
        *have = true;
    }
    gm_free(bytes);
    return GM_OK;
}

static bool write_all(FILE *file, const gm_regions *r)
{
    const header head = header_of(r, r->feature_width);
    const struct {
        const void *bytes;
        size_t size;
    } parts[] = { { &head, sizeof head },
                  { r->box, (size_t)r->count * sizeof *r->box },
                  { r->feature, feature_bytes(r, r->feature_width) } };
    uint64_t sum = GM_HASH_START;
    for (size_t i = 0; i < GM_LEN(parts); i++) {
        if (parts[i].size > 0 && fwrite(parts[i].bytes, 1, parts[i].size, file) != parts[i].size) return false;
        sum = gm_hash(sum, parts[i].bytes, parts[i].size);
    }
    return fwrite(&sum, sizeof sum, 1, file) == 1;
}

/* Not synced: a file that a crash leaves half written fails its checksum, and is made again. */
gm_status gm_feature_cache_put(const char *folder, const gm_regions *r, gm_err *err)
{
    static atomic_uint turn;
    char path[PATH_BYTES], part[PATH_BYTES], ending[64];
    snprintf(ending, sizeof ending, ".%ld-%u.part", (long)getpid(), atomic_fetch_add(&turn, 1));
    GM_TRY(name_file(folder, r, "", path, err));
    GM_TRY(name_file(folder, r, ending, part, err));
    FILE *file = fopen(part, "wb");
    if (file == NULL) return gm_fail(err, GM_ERR_IO, "%s: cannot create: %s", part, strerror(errno));
    bool is_good = write_all(file, r);
    is_good = fclose(file) == 0 && is_good;
    if (is_good && rename(part, path) == 0) return GM_OK;
    const gm_status status = gm_fail(err, GM_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    remove(part);
    return status;
}
