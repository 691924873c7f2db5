/* Limits a minute, waiting times, quantiles. */
#include "mllm/limits.h"

#include <math.h>

#include "base/philox.h"

void gm_mllm_bucket_init(gm_mllm_bucket *b, int64_t per_minute, double now)
{
    *b = (gm_mllm_bucket) { .at = now };
    if (per_minute <= 0) return;
    b->capacity = fmax(1.0, (double)per_minute / 10.0);
    /* Full at first and then filled for a minute: both together are the limit. One a minute has no room for a burst. */
    b->rate = fmax((double)per_minute - b->capacity, 0.5 * (double)per_minute) / 60.0;
    b->level = b->capacity;
}

double gm_mllm_bucket_wait(gm_mllm_bucket *b, double amount, double now)
{
    if (b->capacity <= 0.0) return 0.0;
    b->level = fmin(b->capacity, b->level + (now - b->at) * b->rate);
    b->at = now;
    const double lacking = fmin(amount, b->capacity) - b->level;
    return lacking <= 1e-9 ? 0.0 : lacking / b->rate;
}

void gm_mllm_bucket_take(gm_mllm_bucket *b, double amount)
{
    if (b->capacity > 0.0) b->level = fmin(b->capacity, b->level - amount);
}

double gm_mllm_backoff(double start, double most, int32_t next, uint64_t seed, const char *id)
{
    const double whole = fmin(most, ldexp(start, next - 2));
    const gm_philox4 bits = gm_philox(seed, 0, (uint32_t)next, gm_fnv1a(id), gm_purpose(GM_SITE_RETRY, 0, 0));
    return whole * (0.5 + 0.5 * (double)gm_uniform(bits.word[0]));
}

static const double LEAST = 1e-3, STEP = 1.02;

void gm_mllm_times_add(gm_mllm_times *t, double seconds)
{
    const double at = seconds > LEAST ? ceil(log(seconds / LEAST) / log(STEP)) : 0.0;
    t->count[at < GM_MLLM_TIME_STEPS ? (int)at : GM_MLLM_TIME_STEPS - 1]++;
    t->total++;
    t->max = fmax(t->max, seconds);
}

double gm_mllm_times_quantile(const gm_mllm_times *t, double share)
{
    int64_t seen = 0;
    for (int i = 0; i < GM_MLLM_TIME_STEPS; i++) {
        seen += t->count[i];
        if (seen > 0 && (double)seen >= share * (double)t->total) return fmin(t->max, LEAST * pow(STEP, i));
    }
    return t->max;
}
