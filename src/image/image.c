/* Pictures in memory, and which decoder a file's first bytes ask for. */
#define _POSIX_C_SOURCE 200809L
#include "image/image.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "image/decode.h"

void gm_image_free(gm_image *image)
{
    gm_free(image->rgb);
    *image = (gm_image) { 0 };
}

gm_status gm_image_check_size(const char *place, uint64_t width, uint64_t height, gm_err *err)
{
    if (width == 0 || height == 0)
        return gm_fail(err, GM_ERR_DATA, "%s: is %llu x %llu pixels: there is nothing in it", place,
                       (unsigned long long)width, (unsigned long long)height);
    if (width > GM_IMAGE_MAX_SIDE || height > GM_IMAGE_MAX_SIDE || width * height > GM_IMAGE_MAX_PIXELS)
        return gm_fail(err, GM_ERR_DATA, "%s: is %llu x %llu pixels; %d a side and %d in all are the limits: make it smaller",
                       place, (unsigned long long)width, (unsigned long long)height, GM_IMAGE_MAX_SIDE, GM_IMAGE_MAX_PIXELS);
    return GM_OK;
}

gm_status gm_image_create(int32_t width, int32_t height, gm_image *to, gm_err *err)
{
    const uint64_t w = width > 0 ? (uint64_t)width : 0, h = height > 0 ? (uint64_t)height : 0;
    GM_TRY(gm_image_check_size("a picture", w, h, err));
    uint8_t *rgb = gm_calloc((size_t)(w * h), 3);
    if (rgb == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a picture of %d x %d pixels", width, height);
    *to = (gm_image) { width, height, rgb };
    return GM_OK;
}

typedef enum kind { PNG, JPEG, OTHER } kind;

static kind kind_of(const void *bytes, size_t size)
{
    if (size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) return PNG;
    if (size >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) return JPEG;
    return OTHER;
}

/* Says what the file is instead, where its first bytes tell: a download that failed leaves a page of HTML. */
static gm_status refuse_kind(const char *place, const void *bytes, size_t size, gm_err *err)
{
    static const struct {
        const char *begins, *name;
        size_t skip;
    } others[] = { { "GIF8", "a GIF", 0 },      { "WEBP", "a WebP", 8 },     { "BM", "a BMP", 0 },
                   { "II*", "a TIFF", 0 },      { "MM", "a TIFF", 0 },       { "<!", "a page of HTML", 0 },
                   { "<html", "a page of HTML", 0 }, { "ftypavif", "an AVIF", 4 }, { "ftyphei", "a HEIC", 4 } };
    if (size == 0) return gm_fail(err, GM_ERR_DATA, "%s: is empty, expected a PNG or a JPEG", place);
    for (size_t i = 0; i < GM_LEN(others); i++) {
        const size_t n = strlen(others[i].begins);
        if (size >= others[i].skip + n && memcmp((const char *)bytes + others[i].skip, others[i].begins, n) == 0)
            return gm_fail(err, GM_ERR_DATA, "%s: is %s; PNG and JPEG are read: convert it", place, others[i].name);
    }
    return gm_fail(err, GM_ERR_DATA, "%s: begins neither as a PNG nor as a JPEG", place);
}

static gm_status check_bytes(const char *place, size_t size, gm_err *err)
{
    if (size <= GM_IMAGE_MAX_BYTES) return GM_OK;
    return gm_fail(err, GM_ERR_DATA, "%s: has %zu bytes; %zu are the limit", place, size, GM_IMAGE_MAX_BYTES);
}

gm_status gm_image_decode(const char *place, const void *bytes, size_t size, gm_image *to, gm_err *err)
{
    GM_TRY(check_bytes(place, size, err));
    switch (kind_of(bytes, size)) {
    case PNG: return gm_png_decode(place, bytes, size, to, err);
    case JPEG: return gm_jpeg_decode(place, bytes, size, to, err);
    default: return refuse_kind(place, bytes, size, err);
    }
}

gm_status gm_image_probe(const char *place, const void *bytes, size_t size, int32_t *width, int32_t *height, gm_err *err)
{
    GM_TRY(check_bytes(place, size, err));
    switch (kind_of(bytes, size)) {
    case PNG: return gm_png_probe(place, bytes, size, width, height, err);
    case JPEG: return gm_jpeg_probe(place, bytes, size, width, height, err);
    default: return refuse_kind(place, bytes, size, err);
    }
}

gm_status gm_image_load(const char *path, char **bytes, size_t *size, gm_err *err)
{
    struct stat s;
    *bytes = NULL;
    *size = 0;
    if (stat(path, &s) != 0) return gm_fail(err, GM_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    /* A pipe would block a worker for ever, and has no size to check. */
    if (!S_ISREG(s.st_mode)) return gm_fail(err, GM_ERR_DATA, "%s: is no plain file", path);
    GM_TRY(check_bytes(path, (size_t)s.st_size, err));
    return gm_file_read(path, bytes, size, err);
}

gm_status gm_image_read(const char *path, gm_image *to, gm_err *err)
{
    char *bytes = NULL;
    size_t size = 0;
    GM_TRY(gm_image_load(path, &bytes, &size, err));
    const gm_status status = gm_image_decode(path, bytes, size, to, err);
    gm_free(bytes);
    return status;
}

bool gm_image_name_is_inside(const char *name)
{
    for (const char *part = name;; part++) {
        const size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.')) return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)part[i] < 0x20 || part[i] == '\\') return false;
        part += n;
        if (*part == '\0') return true;
    }
}
