/* Drawn images: each look is its type's, lies in its box and reaches its sides, and nothing but the scene decides a byte. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/labels.h"
#include "image/looks.h"
#include "image/paint.h"

enum { SIDE = 200 };
static const gm_box middle = { 50, 40, 150, 160 };

static gm_image draw(gm_paint_scene scene)
{
    gm_err err = { 0 };
    gm_image image = { 0 };
    assert_ok(gm_paint(&scene, &image, &err));
    assert_int_equal(image.width, scene.width);
    assert_int_equal(image.height, scene.height);
    return image;
}

static gm_image draw_one(const char *type, const char *name, gm_box box)
{
    gm_paint_object o = { box, type, name };
    return draw(
        (gm_paint_scene) { .image = "a.png", .seed = 1, .width = SIDE, .height = SIDE, .objects = &o, .count = 1 });
}

/* How many pixels of the box differ; fails when one outside it does. */
static int changed(const gm_image *a, const gm_image *b, gm_box box)
{
    int inside = 0;
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            const size_t at = (size_t)(y * SIDE + x) * 3;
            if (memcmp(a->rgb + at, b->rgb + at, 3) == 0) continue;
            inside++;
            if (x + 0.5 < box.x1 || x + 0.5 > box.x2 || y + 0.5 < box.y1 || y + 0.5 > box.y2)
                fail_msg("pixel %d %d lies outside the box and changed", x, y);
        }
    }
    return inside;
}

static int difference(const char *type_a, const char *name_a, const char *type_b, const char *name_b)
{
    gm_image a = draw_one(type_a, name_a, middle), b = draw_one(type_b, name_b, middle);
    const int count = changed(&a, &b, middle);
    gm_image_free(&a);
    gm_image_free(&b);
    return count;
}

static void the_types_of_each_data_set_look_different(void **state)
{
    (void)state;
    static const char *const formats[] = { "twitter-gmner", "synth", "twitter-fmnerg", "ccks" };
    for (size_t f = 0; f < GM_LEN(formats); f++) {
        gm_err err = { 0 };
        gm_labels types = { 0 };
        assert_ok(gm_labels_parse(gm_labels_of_format(formats[f]), &types, &err));
        for (int32_t a = 0; a < types.count; a++) {
            for (int32_t b = 0; b < a; b++) {
                const bool is_same = strcmp(types.names[a], "MISC") == 0 || strcmp(types.names[b], "MISC") == 0;
                if (!is_same && difference(types.names[a], "Emma", types.names[b], "Emma") < 100 * 120 / 5)
                    fail_msg("%s: %s and %s look alike", formats[f], types.names[a], types.names[b]);
            }
        }
        gm_labels_free(&types);
    }
    assert_int_equal(difference("MISC", "Emma", "OTHER", "Emma"), 0);
    assert_int_equal(difference("PER", "Emma", "person", "Emma"), 0);
}

static void a_name_decides_hue_and_pattern(void **state)
{
    (void)state;
    assert_int_equal(difference("ORG", "New York Times", "ORG", "NEW YORK times"), 0); /* case does not matter */
    assert_true(difference("ORG", "Arsenal", "ORG", "Zenit") > 2000);                  /* the first letter does */
    assert_true(difference("ORG", "Arsenal", "ORG", "Arsenal London") > 1000);         /* and the number of words */
    assert_int_equal(difference("ORG", "Arsenal", "ORG", "Ajax"),
                     0); /* no more than that, but for a person's hair and skin */
    assert_true(difference("PER", "Ann", "PER", "Alexandra") > 500);
}

static void a_type_without_a_look_gets_one(void **state)
{
    (void)state;
    assert_true(difference("GPE", "Emma", "PER", "Emma") > 500);
    assert_int_equal(difference("GPE", "Emma", "gpe", "Emma"), 0);
}

/* A box is tight around its object, as an annotator would draw it. */
static void every_look_reaches_all_sides_of_its_box(void **state)
{
    (void)state;
    for (int32_t i = 0; i < gm_look_count; i++) {
        const gm_look *look = &gm_looks[i];
        int low[2] = { 100, 100 }, high[2] = { 0, 0 };
        assert_true((look->types != NULL) == (i < gm_typed_looks));
        for (int32_t p = 0; p < look->count; p++) {
            const gm_look_part *part = &look->part[p];
            const int points = part->shape == GM_POLYGON ? part->count : 2;
            assert_true(points >= 2 && points <= (int)sizeof part->at / 2);
            for (int k = 0; k < 2 * points; k++) {
                assert_true(part->at[k] >= 0 && part->at[k] <= 100);
                if (part->at[k] < low[k % 2]) low[k % 2] = part->at[k];
                if (part->at[k] > high[k % 2]) high[k % 2] = part->at[k];
            }
        }
        if (low[0] != 0 || low[1] != 0 || high[0] != 100 || high[1] != 100)
            fail_msg("look %d leaves a side of its box free", i);
    }
}

static void nothing_but_the_scene_decides_a_byte(void **state)
{
    (void)state;
    gm_paint_object a[] = { { { 10, 10, 90, 120 }, "PER", "Emma Stone" },
                            { { 60, 30, 190, 190 }, "LOC", "Paris" },
                            { { 10, 10, 90, 120 }, "ORG", "Arsenal" } };
    gm_paint_object b[] = { a[2], a[0], a[1] };
    gm_paint_scene scene = { .image = "x.png", .seed = 7, .width = SIDE, .height = SIDE, .objects = a, .count = 3 };
    gm_image first = draw(scene);
    scene.objects = b;
    gm_image second = draw(scene);
    assert_memory_equal(first.rgb, second.rgb, SIDE * SIDE * 3);
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < SIDE * SIDE * 3; i++) hash = (hash ^ first.rgb[i]) * 16777619u;
    assert_int_equal(hash, 0x3773014bu); /* of this picture when it was looked at, the same from gcc and clang */
    gm_image_free(&second);
    scene.seed = 8;
    second = draw(scene);
    assert_memory_not_equal(first.rgb, second.rgb, SIDE * SIDE * 3);
    gm_image_free(&second);
    scene.seed = 7;
    scene.image = "y.png";
    second = draw(scene);
    assert_memory_not_equal(first.rgb, second.rgb, SIDE * SIDE * 3);
    gm_image_free(&second);
    gm_image_free(&first);
}

/* Two entities that share a box stand in it side by side; two posts that name the same thing draw it once. */
static void objects_of_one_box_share_it(void **state)
{
    (void)state;
    gm_paint_object o[] = { { middle, "PER", "Emma" }, { middle, "PER", "Emma" }, { middle, "PER", "Emma" } };
    gm_paint_scene scene = { .image = "a.png", .seed = 1, .width = SIDE, .height = SIDE, .objects = o, .count = 3 };
    gm_image once = draw_one("PER", "Emma", middle), thrice = draw(scene);
    assert_memory_equal(once.rgb, thrice.rgb, SIDE * SIDE * 3);
    gm_image_free(&thrice);
    o[1].type = "LOC";
    gm_image two = draw(scene);
    static const uint8_t sky[] = { 0x9c, 0xc8, 0xec }, red[] = { 0xd0, 0x30, 0x30 }, grass[] = { 0x4e, 0x8c, 0x3c };
    for (int x = 50; x < 150; x++)
        assert_memory_equal(two.rgb + (41 * SIDE + x) * 3, sky, 3); /* by type: above the place, */
    assert_memory_equal(two.rgb + (158 * SIDE + 100) * 3, red, 3);  /* below the person's clothes */
    assert_memory_equal(two.rgb + (98 * SIDE + 52) * 3, grass, 3);
    assert_true(changed(&two, &once, middle) > 1000);
    gm_image_free(&two);
    gm_image_free(&once);
}

/* Over many pictures: distractors never cover what they should only stand beside. */
static void distractors_keep_off_the_boxes(void **state)
{
    (void)state;
    gm_image alone = draw_one("LOC", "Emma", (gm_box) { 0, 0, SIDE, SIDE });
    gm_paint_object o = { { 0, 0, SIDE, SIDE }, "LOC", "Emma" };
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.png", i);
        gm_image image = draw(
            (gm_paint_scene) { .image = name, .seed = 3, .width = SIDE, .height = SIDE, .objects = &o, .count = 1 });
        int differs = memcmp(image.rgb, alone.rgb, SIDE * SIDE * 3); /* it may be the mirror image */
        if (differs != 0) {
            differs = 0;
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < SIDE; x++)
                    differs +=
                        memcmp(image.rgb + (y * SIDE + x) * 3, alone.rgb + (y * SIDE + SIDE - 1 - x) * 3, 3) != 0;
        }
        assert_true(differs < SIDE * SIDE / 20); /* patterns begin at the left in both */
        gm_image_free(&image);
    }
    gm_image_free(&alone);
}

static void pictures_without_boxes_show_things_too(void **state)
{
    (void)state;
    gm_image image = draw((gm_paint_scene) { .image = "b.png", .seed = 1, .width = 90, .height = 1 });
    gm_image_free(&image);
    image = draw((gm_paint_scene) { .image = "b.png", .seed = 1, .width = 1, .height = 1 });
    gm_image_free(&image);
}

static void a_size_follows_from_the_boxes(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_paint_object o[] = { { { 10, 10, 400, 120 }, "PER", "Emma" }, { { 60, 30, 190, 700.5 }, "LOC", "Paris" } };
    gm_paint_scene scene = { .image = "x.png", .objects = o, .count = 2 };
    gm_paint_size(&scene);
    assert_true(scene.width > 400 && scene.width < 500 && scene.height > 700 && scene.height < 800);
    assert_ok(gm_paint_check(&scene, &err));
    scene = (gm_paint_scene) { .image = "x.png" };
    gm_paint_size(&scene);
    assert_true(scene.width >= 400 && scene.height >= 400);
    scene = (gm_paint_scene) { .image = "x.png", .width = 7, .height = 9 };
    gm_paint_size(&scene);
    assert_true(scene.width == 7 && scene.height == 9);
}

static void refuses(gm_paint_scene scene, const char *part)
{
    gm_err err = { 0 };
    gm_image image = { 0 };
    scene.image = "x.png";
    assert_int_equal(gm_paint(&scene, &image, &err), GM_ERR_DATA);
    assert_null(image.rgb);
    if (strstr(err.text, part) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

static void refuses_box(gm_box box, const char *part)
{
    gm_paint_object o = { box, "PER", "Emma" };
    refuses((gm_paint_scene) { .width = 100, .height = 50, .objects = &o, .count = 1 }, part);
}

static void a_box_outside_the_picture_is_refused(void **state)
{
    (void)state;
    refuses_box((gm_box) { 100, 0, 120, 20 }, "lies outside the picture of 100 x 50");
    refuses_box((gm_box) { -20, 0, 0, 20 }, "lies outside");
    refuses_box((gm_box) { 0, 50, 20, 60 }, "lies outside");
    refuses_box((gm_box) { 0, 0, 1e9, 60 }, "larger than any picture");
}

static void a_box_without_inside_is_refused(void **state)
{
    (void)state;
    refuses_box((gm_box) { 20, 0, 10, 20 }, "the box 20 0 10 20 has no inside");
    refuses_box((gm_box) { 10, 5, 20, 5 }, "has no inside");
    refuses_box((gm_box) { NAN, 5, 20, 9 }, "has no inside");
    refuses_box((gm_box) { 0, 5, INFINITY, 9 }, "has no inside");
}

static void a_picture_beyond_the_limits_is_refused(void **state)
{
    (void)state;
    refuses((gm_paint_scene) { .width = 0, .height = 5 }, "0 x 5");
    refuses((gm_paint_scene) { .width = 40000, .height = 5 }, "40000 x 5");
    refuses((gm_paint_scene) { .width = 30000, .height = 30000 }, "30000 x 30000");
}

static void names_stay_inside_the_folder(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a.jpg", "O_998.jpg", "2015/a.jpg", "..a", "a..b", "\xE5\x9B\xBE.png", "a b.png"
    };
    static const char *const bad[] = { "",     ".",  "..",   "../../x", "/etc/x", "a/../b",
                                       "a//b", "a/", "a\\b", "a\nb",    "./a",    "a/." };
    for (size_t i = 0; i < GM_LEN(good); i++) assert_true(gm_image_name_is_inside(good[i]));
    for (size_t i = 0; i < GM_LEN(bad); i++) assert_false(gm_image_name_is_inside(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_types_of_each_data_set_look_different),
        cmocka_unit_test(a_name_decides_hue_and_pattern),
        cmocka_unit_test(a_type_without_a_look_gets_one),
        cmocka_unit_test(every_look_reaches_all_sides_of_its_box),
        cmocka_unit_test(nothing_but_the_scene_decides_a_byte),
        cmocka_unit_test(objects_of_one_box_share_it),
        cmocka_unit_test(distractors_keep_off_the_boxes),
        cmocka_unit_test(pictures_without_boxes_show_things_too),
        cmocka_unit_test(a_size_follows_from_the_boxes),
        cmocka_unit_test(a_box_outside_the_picture_is_refused),
        cmocka_unit_test(a_box_without_inside_is_refused),
        cmocka_unit_test(a_picture_beyond_the_limits_is_refused),
        cmocka_unit_test(names_stay_inside_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
