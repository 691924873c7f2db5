/* The computed pictures of tests/golden/images.py, the hash of its rows, and its files. */
#ifndef GM_TESTS_PICTURE_H
#define GM_TESTS_PICTURE_H

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/image.h"
#include "tests/support/support.h"

#define GMT_IMAGES GM_SOURCE_DIR "/tests/golden/images/"

static inline uint8_t gmt_value(uint32_t x, uint32_t y, uint32_t c, uint32_t seed)
{
    uint32_t h = x * 374761393u + y * 668265263u + c * 2246822519u + seed * 3266489917u;
    h = (h ^ h >> 13) * 1274126177u;
    if ((x / 5 + y / 3) % 3 == 0) return (x / 5 + c) % 2 ? 255 : 0;
    return (uint8_t)(h >> 24);
}

static inline gm_image gmt_picture(int32_t width, int32_t height, uint32_t seed)
{
    gm_image made = { 0 };
    gm_err err = { 0 };
    assert_ok(gm_image_create(width, height, &made, &err));
    uint8_t *p = made.rgb;
    for (uint32_t y = 0; y < (uint32_t)height; y++)
        for (uint32_t x = 0; x < (uint32_t)width; x++)
            for (uint32_t c = 0; c < 3; c++) *p++ = gmt_value(x, y, c, seed);
    return made;
}

/* FNV-1a, 64 bits, as 16 hexadecimal digits. */
static inline void gmt_hash(const void *bytes, size_t n, char out[17])
{
    const uint8_t *p = bytes;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211u;
    snprintf(out, 17, "%016llx", (unsigned long long)h);
}

static inline void gmt_hash_image(const gm_image *image, char out[17])
{
    gmt_hash(image->rgb, 3 * (size_t)image->width * (size_t)image->height, out);
}

static inline cJSON *gmt_rows(const char *file, cJSON **tree)
{
    char *bytes = NULL, path[512];
    size_t size = 0;
    gm_err err = { 0 };
    snprintf(path, sizeof path, "%s%s", GMT_IMAGES, file);
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    assert_ok(gm_json_parse(bytes, size, tree, &err));
    gm_free(bytes);
    return cJSON_GetObjectItem(*tree, "rows");
}

static inline const char *gmt_text(const cJSON *row, const char *key) { return cJSON_GetObjectItem(row, key)->valuestring; }

static inline double gmt_number(const cJSON *row, const char *key, int i)
{
    const cJSON *v = cJSON_GetObjectItem(row, key);
    return cJSON_IsArray(v) ? cJSON_GetArrayItem(v, i)->valuedouble : v->valuedouble;
}

#endif
