/* grad_norm on the CPU: one pass that sums the shards in tiles and squares the sum while it is in cache. Each chunk has
 * a place of its own in `partial`, each lane of a chunk its own sum: neither threads nor vector width show. */
#include "grad_norm/grad_norm.h"

#include <math.h>
#include <string.h>

enum { TILE = 1024, LEVELS = 12, LANES = 16 }; /* 2^LEVELS = GM_NORM_MAX_SHARDS; TILE divides GM_NORM_CHUNK */

static void add_tile(float *restrict sum, const float *restrict x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) sum[i] += x[i];
}

static void add_pair(float *restrict sum, const float *restrict x, const float *restrict y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) sum[i] = x[i] + y[i];
}

/* The tree, as a counter counts: `sum` of level l holds 2^(l + 1) shards, and two of a level make one of the next.
 * What is left at the end is added from the lowest level up. Returns the tile with all shards. */
static const float *sum_shards(float *const *shard, int32_t shards, int64_t at, int32_t n, float sum[LEVELS][TILE])
{
    uint32_t held = 0; /* bit l: level l waits for its other half */
    for (int32_t s = 0; s + 1 < shards; s += 2) {
        int level = 0;
        while (held >> level & 1) level++;
        add_pair(sum[level], shard[s] + at, shard[s + 1] + at, n);
        for (int below = 0; below < level; below++) add_tile(sum[level], sum[below], n);
        held += 1;
    }
    const float *rest = shards % 2 ? shard[shards - 1] + at : NULL;
    for (int level = 0; held >> level; level++) {
        if (!(held >> level & 1)) continue;
        if (rest != NULL) add_tile(sum[level], rest, n);
        rest = sum[level];
    }
    return rest;
}

/* lane[l] += x[i]^2 for i = l, l + LANES, ...: a float's square is exact in double, so fused or not makes no difference. */
static void add_squares(double *restrict lane, const float *restrict x, int32_t n)
{
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
    for (int l = 0; i < n; i++, l++) lane[l] += (double)x[i] * (double)x[i];
}

static double sum_chunk(float *const *shard, int32_t shards, int64_t at, int32_t n)
{
    double lane[LANES] = { 0.0 }, total = 0.0;
    for (int32_t done = 0; done < n; done += TILE) {
        const int32_t count = n - done < TILE ? n - done : TILE;
        float sum[LEVELS][TILE];
        const float *whole = sum_shards(shard, shards, at + done, count, sum);
        if (shards > 1) memcpy(shard[0] + at + done, whole, (size_t)count * sizeof *whole);
        add_squares(lane, whole, count);
    }
    for (int l = 0; l < LANES; l++) total += lane[l];
    return total;
}

static bool is_finite_loss(const double *loss, int32_t shards)
{
    for (int32_t s = 0; loss != NULL && s < shards; s++)
        if (!isfinite(loss[s])) return false;
    return true;
}

static gm_status grad_norm_forward(const gm_grad_norm *a, gm_device *dev)
{
    double squares = 0.0, *partial = a->partial;
    for (int32_t b = 0; b < a->blocks; b++) {
        const int64_t size = a->size[b], chunks = (size + GM_NORM_CHUNK - 1) / GM_NORM_CHUNK;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int64_t k = 0; k < chunks; k++) {
            const int64_t at = k * GM_NORM_CHUNK, left = size - at;
            partial[k] = sum_chunk(a->shard[b], a->shards, at, (int32_t)(left < GM_NORM_CHUNK ? left : GM_NORM_CHUNK));
        }
        for (int64_t k = 0; k < chunks; k++) squares += partial[k];
        partial += chunks;
    }
    *a->norm = (float)sqrt(squares);
    if (!isfinite(*a->norm) || !is_finite_loss(a->loss, a->shards))
        *a->scale = 0.0f;
    else if (a->max > 0.0f && a->max < *a->norm + 1e-6f)
        *a->scale = a->max / (*a->norm + 1e-6f);
    else
        *a->scale = 1.0f;
    return GM_OK;
}

GM_KERNELS_FORWARD(grad_norm)
