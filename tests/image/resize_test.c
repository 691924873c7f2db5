/* Resizing against Pillow's bytes (tests/golden/images/resize.json), and what is refused. */
#include "tests/image/picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void equals_pillow(void **state)
{
    (void)state;
    cJSON *tree = NULL, *row, *rows = gmt_rows("resize.json", &tree);
    gm_err err = { 0 };
    int count = 0;
    cJSON_ArrayForEach(row, rows)
    {
        char hash[17];
        gm_image from = gmt_picture((int32_t)gmt_number(row, "from", 0), (int32_t)gmt_number(row, "from", 1),
                                    (uint32_t)gmt_number(row, "seed", 0));
        const gm_box crop = { gmt_number(row, "crop", 0), gmt_number(row, "crop", 1), gmt_number(row, "crop", 2),
                              gmt_number(row, "crop", 3) };
        gm_image to = { 0 };
        assert_ok(gm_image_resize(&from, crop, (int32_t)gmt_number(row, "to", 0), (int32_t)gmt_number(row, "to", 1), &to, &err));
        gmt_hash_image(&to, hash);
        if (strcmp(hash, gmt_text(row, "hash")) != 0) {
            char *text = cJSON_PrintUnformatted(row);
            fail_msg("%s came out as %s", text, hash);
        }
        gm_image_free(&to);
        gm_image_free(&from);
        count++;
    }
    assert_int_equal(count, 166);
    cJSON_Delete(tree);
}

static void same_size_is_a_copy(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_image from = gmt_picture(19, 23, 5), to = { 0 };
    assert_ok(gm_image_resize(&from, (gm_box) { 0, 0, 19, 23 }, 19, 23, &to, &err));
    assert_memory_equal(from.rgb, to.rgb, 19 * 23 * 3);
    gm_image_free(&from);
    gm_image_free(&to);
}

static void a_part_of_a_pixel_is_the_whole_pixel(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_image from = gmt_picture(4, 4, 6), to = { 0 };
    assert_ok(gm_image_resize(&from, (gm_box) { 2.4, 1.2, 2.5, 1.3 }, 1, 1, &to, &err));
    assert_memory_equal(from.rgb + 3 * (4 + 2), to.rgb, 3);
    gm_image_free(&from);
    gm_image_free(&to);
}

static void boxes_without_a_pixel_are_refused(void **state)
{
    (void)state;
    gm_image from = gmt_picture(4, 4, 6), to = { 0 };
    const gm_box none[] = { { 2, 0, 2, 4 },   { 3, 0, 1, 4 },    { 0, 3, 4, 1 },         { 4, 0, 9, 4 },        { -9, 0, 0, 4 },
                            { 0, -5, 4, -1 }, { NAN, 0, 4, 4 },  { 0, 0, NAN, 4 },       { 0, 0, INFINITY, 4 }, { 0, -INFINITY, 4, 4 },
                            { 0, 0, 4, NAN }, { 1e300, 0, 2e300, 4 } };
    for (size_t i = 0; i < GM_LEN(none); i++) {
        gm_err err = { 0 };
        assert_int_equal(gm_image_resize(&from, none[i], 2, 2, &to, &err), GM_ERR_DATA);
        assert_non_null(strstr(err.text, "holds no pixel of a picture of 4 x 4"));
        assert_null(to.rgb);
    }
    gm_image_free(&from);
}

static void sizes_beyond_the_limits_are_refused(void **state)
{
    (void)state;
    gm_image from = gmt_picture(4, 4, 6), to = { 0 };
    const int32_t sizes[][2] = { { 0, 1 }, { 1, 0 }, { -1, 1 }, { 32769, 1 }, { 1, 32769 }, { 20000, 20000 } };
    for (size_t i = 0; i < GM_LEN(sizes); i++) {
        gm_err err = { 0 };
        assert_int_equal(gm_image_resize(&from, (gm_box) { 0, 0, 4, 4 }, sizes[i][0], sizes[i][1], &to, &err), GM_ERR_DATA);
        assert_null(to.rgb);
    }
    gm_image_free(&from);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    gm_image from = gmt_picture(9, 9, 6), to = { 0 };
    gm_status status = GM_ERR_NOMEM;
    for (int64_t k = 0; status != GM_OK; k++) {
        gm_err err = { 0 };
        assert_true(k < 50);
        gm_alloc_fail_at(k);
        status = gm_image_resize(&from, (gm_box) { 0, 0, 9, 9 }, 5, 5, &to, &err);
        gm_alloc_fail_at(-1);
        assert_true(status == GM_OK || (status == GM_ERR_NOMEM && to.rgb == NULL));
    }
    gm_image_free(&from);
    gm_image_free(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pillow),
        cmocka_unit_test(same_size_is_a_copy),
        cmocka_unit_test(a_part_of_a_pixel_is_the_whole_pixel),
        cmocka_unit_test(boxes_without_a_pixel_are_refused),
        cmocka_unit_test(sizes_beyond_the_limits_are_refused),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
