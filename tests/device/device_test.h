/* What the tests of whole steps on a device module share. GM_TEST_DEVICE names the device; without it the simulator. */
#ifndef GM_TESTS_DEVICE_TEST_H
#define GM_TESTS_DEVICE_TEST_H

#include "tests/train/bench.h"

#include <math.h>

static inline const char *device(void)
{
    const char *name = getenv("GM_TEST_DEVICE");
    return name != NULL ? name : "sim";
}

/* Moves every initial weight by one unit in the last place, up or down. */
static inline void nudge(gm_params *ps, uint32_t seed)
{
    for (int32_t i = 0; i < ps->count; i++)
        for (size_t k = 0; k < ps->items[i]->count; k++) {
            float *x = &ps->items[i]->value[k];
            const uint32_t bits = gm_philox(seed, (uint32_t)k, (uint32_t)i, 0, gm_purpose(GM_SITE_TEST, 0, 0)).word[0];
            *x = nextafterf(*x, bits & 1 ? INFINITY : -INFINITY);
        }
}

/* Losses of some steps, over the first three batches and again; initial weights nudged by a seed, or not by 0. */
static inline void device_losses(const char *on, sets all, uint32_t seed, int32_t steps, double *loss)
{
    enum { BATCHES = 3 };
    bench b;
    gm_err err = { 0 };
    bench_begin(&b, on, all);
    if (seed != 0) nudge(&b.run.model.params, seed);
    assert_ok(gm_run_place(&b.run, &err));
    for (int32_t i = 0; i < steps; i++) loss[i] = bench_step(&b, i % BATCHES);
    bench_end(&b);
}

#endif
