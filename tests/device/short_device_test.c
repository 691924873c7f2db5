/* Three steps of each head in each precision, of an encoder with a bias by distance whose layers are computed twice,
 * and of a model that sees pictures, small enough for every schedule of the simulator and for its check of every access (GM_TEST_DEVICE=sim-check): losses
 * stay by the cpu's. */
#include "tests/device/device_test.h"

enum { STEPS = 3 };

#define SMALLEST "data.format=synth", "encoder=tiny", "data.synth=24", "threads=1", "train.lr=1e-3", "train.warmup=0"

static void follows_the_cpu(sets whole, sets on_device, double bound)
{
    double here[STEPS], there[STEPS];
    device_losses("cpu", whole, 0, STEPS, here);
    device_losses(device(), on_device, 0, STEPS, there);
    for (int i = 0; i < STEPS; i++) {
        printf("%d  cpu %.9f  %s %.9f\n", i + 1, here[i], device(), there[i]);
        if (!(fabs(there[i] - here[i]) <= bound * here[i])) fail_msg("step %d: the loss is %.9g, on the cpu %.9g", i + 1, there[i], here[i]);
    }
}

static void spans(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST), SETS(SMALLEST), 1e-6);
}

static void tags(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST, "head=crf"), SETS(SMALLEST, "head=crf"), 1e-6);
}

static void spans_in_bf16(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST), SETS(SMALLEST, "precision=bf16"), 1e-2);
}

static void tags_in_bf16(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST, "head=crf"), SETS(SMALLEST, "head=crf", "precision=bf16"), 1e-2);
}

/* Its words are spelt by some five pieces each. */
#define SMALLEST_MPNET SMALLEST, "encoder=tests/golden/mpnet/h48", "max_len=46"

static void mpnet(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST_MPNET), SETS(SMALLEST_MPNET), 1e-6);
}

static void mpnet_in_bf16(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST_MPNET), SETS(SMALLEST_MPNET, "precision=bf16"), 1e-2);
}

/* With drawn pictures, fine types, and the loss against the bias of one modality. */
#define SMALLEST_SEEING SMALLEST, "vision=tiny", "fine=true", "region.max=2", "region.weight=1", "region.debias=0.5", "train.shards=1"

static void pictures(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST_SEEING), SETS(SMALLEST_SEEING), 1e-6);
}

static void pictures_in_bf16(void **state)
{
    (void)state;
    follows_the_cpu(SETS(SMALLEST_SEEING), SETS(SMALLEST_SEEING, "precision=bf16"), 1e-2);
}

/* On the device as well: not a bit differs. */
static void layers_computed_twice(void **state)
{
    (void)state;
    double once[STEPS], twice[STEPS];
    device_losses(device(), SETS(SMALLEST_MPNET), 0, STEPS, once);
    device_losses(device(), SETS(SMALLEST_MPNET, "train.checkpointing=true"), 0, STEPS, twice);
    for (int i = 0; i < STEPS; i++) assert_true(once[i] == twice[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans),
        cmocka_unit_test(tags),
        cmocka_unit_test(spans_in_bf16),
        cmocka_unit_test(tags_in_bf16),
        cmocka_unit_test(mpnet),
        cmocka_unit_test(mpnet_in_bf16),
        cmocka_unit_test(pictures),
        cmocka_unit_test(pictures_in_bf16),
        cmocka_unit_test(layers_computed_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
