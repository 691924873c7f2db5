/* Targets of the region head: the shared fixtures `region_kl` and `unco`, and what they leave out. */
#include "tests/support/support.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model/region_target.h"

enum { MOST = 16 };
static const double tolerance = 1e-6;

static const cJSON *part(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

typedef struct boxes {
    gm_box box[MOST];
    int32_t count;
} boxes;

static boxes read_boxes(const cJSON *array)
{
    double x[4 * MOST];
    boxes b = { .count = (int32_t)gmt_json_doubles(array, x, 4 * MOST) / 4 };
    for (int32_t i = 0; i < b.count; i++) b.box[i] = (gm_box){ x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3] };
    return b;
}

typedef struct answer { float target[MOST + 1], iou[MOST + 1]; } answer;

static answer target_of(const boxes *region, const boxes *gold)
{
    answer a;
    for (int i = 0; i <= MOST; i++) a.target[i] = a.iou[i] = NAN;
    gm_region_target(region->box, region->count, gold->box, gold->count, 0.5, a.target, a.iou);
    assert_true(a.iou[region->count] == 0.0f);
    for (int i = region->count + 1; i <= MOST; i++) assert_true(isnan(a.target[i]) && isnan(a.iou[i]));
    return a;
}

static void assert_near(const float *got, const cJSON *want, const char *what)
{
    double x[MOST + 1];
    const int n = gmt_json_doubles(want, x, MOST + 1);
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - x[i]) <= tolerance)) fail_msg("%s[%d] is %.9g, the fixture says %.9g", what, i, (double)got[i], x[i]);
}

static void regions_of_the_fixture(void **state)
{
    (void)state;
    const cJSON *item = cJSON_GetArrayItem(part(gmt_fixture("region_kl"), "cases"), 0), *in = part(item, "inputs"), *out = part(item, "expected");
    const boxes region = read_boxes(part(in, "region_boxes")), gold = read_boxes(part(in, "gold_boxes_of_entity_0"));
    const answer a = target_of(&region, &gold);
    assert_near(a.iou, part(out, "iou_max"), "iou_max");
    assert_near(a.target, part(out, "target_row_0"), "target_row_0");
    assert_true(a.target[region.count] == 0.0f);
    const cJSON *alone;
    int i = 0;
    cJSON_ArrayForEach(alone, part(out, "iou_per_gold_box"))
    {
        const boxes one = { .box = { gold.box[i++] }, .count = 1 };
        assert_near(target_of(&region, &one).iou, alone, "iou_per_gold_box");
    }
}

static void covered_by_no_region(void **state)
{
    (void)state;
    const cJSON *item = cJSON_GetArrayItem(part(gmt_fixture("region_kl"), "cases"), 2), *in = part(item, "inputs");
    const boxes region = read_boxes(part(in, "region_boxes")), gold = read_boxes(part(in, "gold_boxes_of_entity_0"));
    const answer a = target_of(&region, &gold);
    assert_near(a.iou, part(part(item, "expected"), "iou_max"), "iou_max");
    for (int i = 0; i <= region.count; i++) assert_true(a.target[i] == (float)(i == region.count));
}

/* Strips of the box of area 1 that begins at `top`: their IoU with it is their width. */
static boxes strips(const cJSON *ious, double top)
{
    double x[MOST];
    boxes b = { .count = (int32_t)gmt_json_doubles(ious, x, MOST) };
    for (int32_t i = 0; i < b.count; i++) b.box[i] = (gm_box){ 0.0, top, x[i], top + 1.0 };
    return b;
}

static void targets_of_unco(void **state)
{
    (void)state;
    const cJSON *cases = part(gmt_fixture("unco"), "region_kl"), *kept = part(cases, "k_plus_1_threshold"), *two = part(cases, "two_gold_boxes");
    const boxes one_box = { .box = { { 0.0, 0.0, 1.0, 1.0 } }, .count = 1 }, none = { .count = 0 };
    boxes region = strips(part(kept, "ious_with_slot"), 0.0);
    region.count--; /* the slot is no region */
    assert_near(target_of(&region, &one_box).target, part(kept, "target"), "k_plus_1_threshold");
    region = strips(part(part(cases, "uncovered"), "ious"), 0.0);
    assert_near(target_of(&region, &one_box).target, part(part(cases, "uncovered"), "target_with_slot"), "uncovered");
    assert_near(target_of(&region, &none).target, part(part(cases, "ungroundable_slot"), "target"), "ungroundable_slot");
    /* the box that each region overlaps more is the one that counts: the first, or the second, ten rows below it */
    const boxes first = strips(part(two, "ious_box_a"), 0.0), second = strips(part(two, "ious_box_b"), 10.0);
    const boxes both_boxes = { .box = { { 0.0, 0.0, 1.0, 1.0 }, { 0.0, 10.0, 1.0, 11.0 } }, .count = 2 };
    for (int32_t i = 0; i < first.count; i++) region.box[i] = first.box[i].x2 < second.box[i].x2 ? second.box[i] : first.box[i];
    const answer a = target_of(&region, &both_boxes);
    assert_near(a.iou, part(two, "elementwise_max"), "elementwise_max");
    assert_near(a.target, part(two, "target"), "two_gold_boxes");
}

/* .5 itself is too little; a threshold of 0 keeps every region that overlaps. */
static void threshold_is_strict(void **state)
{
    (void)state;
    const boxes region = { .box = { { 0.0, 0.0, 0.5, 1.0 }, { 0.0, 0.0, 0.25, 1.0 } }, .count = 2 }, gold = { .box = { { 0.0, 0.0, 1.0, 1.0 } }, .count = 1 };
    const answer a = target_of(&region, &gold);
    assert_true(a.iou[0] == 0.5f && a.target[0] == 0.0f && a.target[2] == 1.0f);
    answer all;
    gm_region_target(region.box, region.count, gold.box, gold.count, 0.0, all.target, all.iou);
    assert_true(fabsf(all.target[0] - 2.0f / 3.0f) < 1e-6f && fabsf(all.target[1] - 1.0f / 3.0f) < 1e-6f && all.target[2] == 0.0f);
}

static void no_regions_and_boxes_without_area(void **state)
{
    (void)state;
    const boxes none = { .count = 0 }, gold = { .box = { { 0.0, 0.0, 1.0, 1.0 } }, .count = 1 };
    const boxes flat = { .box = { { 0.0, 0.0, 0.0, 1.0 }, { 0.5, 0.5, 0.5, 0.5 }, { 1.0, 1.0, 0.0, 0.0 } }, .count = 3 };
    assert_true(target_of(&none, &gold).target[0] == 1.0f);
    const answer a = target_of(&flat, &gold), b = target_of(&flat, &flat);
    for (int i = 0; i < 3; i++) assert_true(a.iou[i] == 0.0f && b.iou[i] == 0.0f && a.target[i] == 0.0f);
    assert_true(a.target[3] == 1.0f && b.target[3] == 1.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threshold_is_strict), cmocka_unit_test(no_regions_and_boxes_without_area), cmocka_unit_test(regions_of_the_fixture),
        cmocka_unit_test(covered_by_no_region), cmocka_unit_test(targets_of_unco),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
