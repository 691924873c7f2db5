/* adamw and grad_norm against the shared fixture `adamw_and_schedules`. Of its three update rules this kernel is
 * PyTorch's. */
#include "tests/support/kernel_test.h"

#include <string.h>

#include "adamw/adamw.h"
#include "grad_norm/grad_norm.h"
#include "tests/support/support.h"

static const double tolerance = 1e-5; /* the fixture's abs_tol_f32 */

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) fail_msg("the fixture has no number \"%s\"", key);
    return item->valuedouble;
}

static int numbers(const cJSON *object, const char *key, double *out, int max)
{
    return gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(object, key), out, max);
}

static gmt_buf floats(gmt_backend *b, const double *x, int n)
{
    gmt_buf buf = gmt_zeros(b, (size_t)n);
    for (int i = 0; i < n; i++) buf.f32[i] = (float)x[i];
    gmt_push(b, &buf);
    return buf;
}

static void assert_near(const float *got, const double *want, int n)
{
    for (int i = 0; i < n; i++)
        if (!((double)got[i] > want[i] - tolerance && (double)got[i] < want[i] + tolerance))
            fail_msg("[%d] is %.9g, the fixture says %.9g", i, (double)got[i], want[i]);
}

static void check_three_steps(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    double start[2], grads[6], want[6];
    const int32_t one = 1;
    const float unscaled = 1.0f;
    assert_int_equal(numbers(in, "p", start, 2), 2);
    assert_int_equal(numbers(in, "grads", grads, 6), 6);
    assert_int_equal(numbers(expected, "torch", want, 6), 6);
    gmt_buf param = floats(b, start, 2), m = gmt_zeros(b, 2), v = gmt_zeros(b, 2), n_rows = gmt_i32(b, &one, 1);
    gmt_buf grad_scale = gmt_f32(b, &unscaled, 1);
    b->step.rate[GM_RATE_HEAD] = (float)number(in, "lr");
    for (int t = 0; t < 3; t++) {
        gmt_buf grad = floats(b, grads + 2 * t, 2);
        b->step.number = t + 1;
        gmt_push_step(b);
        gmt_ok(b, b->k->adamw.forward(&(gm_adamw){ .param = param.dev, .m = m.dev, .v = v.dev, .grad = grad.dev,
                                                   .grad_scale = grad_scale.dev, .n_rows = n_rows.dev, .capacity = 1,
                                                   .width = 2, .rate = GM_RATE_HEAD,
                                                   .decay = (float)number(in, "weight_decay"),
                                                   .beta1 = (float)number(in, "beta1"), .beta2 = (float)number(in, "beta2"),
                                                   .eps = (float)number(in, "eps_torch") },
                                      b->device));
        assert_near(gmt_fetch(b, &param), want + 2 * t, 2);
    }
}

static void check_clip(gmt_backend *b, const cJSON *in, const cJSON *expected)
{
    double grad[2], clipped[2];
    const double want = number(expected, "norm");
    assert_int_equal(numbers(in, "grad", grad, 2), 2);
    assert_int_equal(numbers(expected, "clipped", clipped, 2), 2);
    gmt_buf g = floats(b, grad, 2), norm = gmt_poison(b, 1), scale = gmt_poison(b, 1), partial = gmt_zeros(b, 2);
    float *const shard[] = { g.dev };
    gmt_ok(b, b->k->grad_norm.forward(&(gm_grad_norm){ .shard = { shard }, .size = { 2 }, .blocks = 1, .shards = 1,
                                                       .partial = partial.dev, .max = (float)number(in, "max_norm"),
                                                       .norm = norm.dev, .scale = scale.dev },
                                      b->device));
    assert_near(gmt_fetch(b, &norm), &want, 1);
    gmt_fetch(b, &scale);
    const float got[2] = { g.f32[0] * scale.f32[0], g.f32[1] * scale.f32[0] };
    assert_near(got, clipped, 2);
}

/* Cases named here belong to another test; a case that nobody names fails, so that a new one is never passed over. */
static void every_case_is_known(gmt_backend *b)
{
    static const char *const of_the_trainer[] = { "two-stage warm-up and linear decay (MQSPN)",
                                                  "LinearLR 1.0 -> 0.0 over 10 epochs (local NER)" };
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(gmt_fixture("adamw_and_schedules"), "cases"))
    {
        const char *name = cJSON_GetObjectItemCaseSensitive(item, "case")->valuestring;
        const cJSON *in = cJSON_GetObjectItemCaseSensitive(item, "inputs");
        const cJSON *expected = cJSON_GetObjectItemCaseSensitive(item, "expected");
        bool is_known = false;
        for (size_t i = 0; i < GM_LEN(of_the_trainer); i++) is_known |= strcmp(name, of_the_trainer[i]) == 0;
        if (strcmp(name, "three steps") == 0)
            check_three_steps(b, in, expected);
        else if (strcmp(name, "clip by global norm") == 0)
            check_clip(b, in, expected);
        else if (!is_known)
            fail_msg("adamw_and_schedules: nobody tests the case \"%s\"", name);
    }
}

GMT_MAIN("adamw_fixture", GMT(every_case_is_known))
