/* Prediction on a device module against the cpu: the same entities, with probabilities within 1e-5 (docs/conventions.md,
 * "Equality"), for both heads and any size of batch. GM_TEST_DEVICE names the device; without it the simulator. */
#include "tests/model/predict_support.h"

#include <stdlib.h>

static const char *device(void)
{
    const char *name = getenv("GM_TEST_DEVICE");
    return name != NULL ? name : "sim";
}

static void as_on_the_cpu(gm_head_kind head, bool is_nested)
{
    gm_model m = make_model(head, is_nested);
    answer want, got;
    int32_t found = 0, mixed[SAMPLES];
    for (int32_t i = 0; i < SAMPLES; i++) mixed[i] = i * 29 % SAMPLES;
    predict_on("cpu", &m, &records, NULL, 200, 1, false, &want);
    for (int32_t i = 0; i < SAMPLES; i++) found += want.count[i];
    assert_true(found > SAMPLES);
    predict_on(device(), &m, &records, NULL, 200, 1, false, &got);
    const double worst = same(&want, &got, 1e-5);
    predict_on(device(), &m, &records, mixed, 1000, 1, false, &got);
    printf("%d entities, probabilities within %.2g\n", found, fmax(worst, same(&want, &got, 1e-5)));
    if (has_pictures) { /* one by one: some batches show no picture, some hold no entity */
        predict_on(device(), &m, &records, NULL, 1, 1, false, &got);
        same(&want, &got, 1e-5);
    }
    answer_free(&want);
    gm_model_destroy(&m);
}

static void the_span_head(void **state)
{
    (void)state;
    as_on_the_cpu(GM_HEAD_SPAN, false);
}

static void the_nested_span_head(void **state)
{
    (void)state;
    as_on_the_cpu(GM_HEAD_SPAN, true);
}

static void the_crf_head(void **state)
{
    (void)state;
    as_on_the_cpu(GM_HEAD_CRF, false);
}

/* With samples of dropout; a batch of copies takes no more memory than was measured. */
static void sampled_as_on_the_cpu(gm_head_kind head, bool is_nested)
{
    static const int32_t layers[] = { 0, 1, GM_SAMPLE_ALL };
    for (size_t d = 0; d < GM_LEN(layers); d++) {
        sampling = (gm_sampling) { .samples = 3, .layers = layers[d], .p = 0.2f };
        as_on_the_cpu(head, is_nested);
    }
    sampling = (gm_sampling) { 0 };
}

static void samples_of_the_span_head(void **state)
{
    (void)state;
    sampled_as_on_the_cpu(GM_HEAD_SPAN, false);
}

static void samples_of_the_nested_span_head(void **state)
{
    (void)state;
    sampled_as_on_the_cpu(GM_HEAD_SPAN, true);
}

static void samples_of_the_crf_head(void **state)
{
    (void)state;
    sampled_as_on_the_cpu(GM_HEAD_CRF, false);
}

/* Regions of drawn pictures and fine types of what was found, with samples of dropout. Some sentences have no picture, and
 * small batches none at all. */
static void of_pictures(gm_head_kind head, int32_t layers)
{
    has_pictures = true;
    sampling = (gm_sampling) { .samples = 2, .layers = layers, .p = 0.2f };
    as_on_the_cpu(head, false);
    sampling = (gm_sampling) { 0 };
    has_pictures = false;
}

static void pictures_sampled_in_the_heads(void **state)
{
    (void)state;
    of_pictures(GM_HEAD_SPAN, 0);
}

static void pictures_sampled_in_the_last_layer(void **state)
{
    (void)state;
    of_pictures(GM_HEAD_CRF, 1);
}

static void pictures_sampled_in_all_layers(void **state)
{
    (void)state;
    of_pictures(GM_HEAD_SPAN, GM_SAMPLE_ALL);
}

int main(void)
{
    if (gm_synth(&(gm_synth_options) { .split = "train", .seed = 3, .count = SAMPLES }, &records, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_span_head),
        cmocka_unit_test(the_nested_span_head),
        cmocka_unit_test(the_crf_head),
        cmocka_unit_test(samples_of_the_span_head),
        cmocka_unit_test(samples_of_the_nested_span_head),
        cmocka_unit_test(samples_of_the_crf_head),
        cmocka_unit_test(pictures_sampled_in_the_heads),
        cmocka_unit_test(pictures_sampled_in_the_last_layer),
        cmocka_unit_test(pictures_sampled_in_all_layers),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gm_records_free(&records);
    return failed;
}
