/* Features on disk, one file for a picture with its regions and the weights that made them. A file that is damaged, or of
 * other boxes, is as good as none. Inside src/image only. */
#ifndef GM_IMAGE_FEATURE_CACHE_H
#define GM_IMAGE_FEATURE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "image/regions.h"

/* FNV-1a, 64 bits, going on from `hash`; begin with GM_HASH_START. */
#define GM_HASH_START 14695981039346656037u
uint64_t gm_hash(uint64_t hash, const void *bytes, size_t size);

/* Puts features [count, width] into r when folder holds them for r->key, its boxes and its size. */
gm_status gm_feature_cache_get(const char *folder, int32_t width, gm_regions *r, bool *have, gm_err *err);
/* Written beside and renamed; several threads and processes may write the same. */
gm_status gm_feature_cache_put(const char *folder, const gm_regions *r, gm_err *err);

#endif
