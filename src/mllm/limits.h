/* What holds a client back: limits a minute, waiting times, and how long answers took. Time is seconds of a clock that only
 * goes forward. Inside src/mllm only. */
#ifndef GM_MLLM_LIMITS_H
#define GM_MLLM_LIMITS_H

#include <stdint.h>

/* At most `per_minute` in any 60 seconds: a tenth may come at once, the rest flows in evenly. */
typedef struct gm_mllm_bucket { double level, capacity, rate, at; } gm_mllm_bucket; /* capacity 0: no limit */

void gm_mllm_bucket_init(gm_mllm_bucket *b, int64_t per_minute, double now);
/* Seconds until `amount` may be taken; 0: now. More than the bucket holds may be taken from a full one, and is paid off later. */
double gm_mllm_bucket_wait(gm_mllm_bucket *b, double amount, double now);
void gm_mllm_bucket_take(gm_mllm_bucket *b, double amount); /* negative: given back */

/* Seconds before try number `next` (2, 3 ...): start 2^(next - 2), at most `most`, of which the upper half is drawn. */
double gm_mllm_backoff(double start, double most, int32_t next, uint64_t seed, const char *id);

/* Durations counted in steps of 2 %, from a millisecond to some hours. */
enum { GM_MLLM_TIME_STEPS = 1024 };
typedef struct gm_mllm_times { int64_t count[GM_MLLM_TIME_STEPS], total; double max; } gm_mllm_times;
void gm_mllm_times_add(gm_mllm_times *t, double seconds);
double gm_mllm_times_quantile(const gm_mllm_times *t, double share); /* 0 where nothing was added */

#endif
