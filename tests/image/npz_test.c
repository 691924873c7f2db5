/* Regions from .npz: files that numpy wrote (tests/golden/npz.py), files made here member by member, and every way they can
 * be broken. */
#include "tests/image/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/npz.h"
#include "image/regions.h"

#if !GM_HAVE_ZLIB

int main(void)
{
    printf("this build lacks zlib\n");
    const char *require = getenv("GM_REQUIRE");
    return require != NULL && strstr(require, "images") != NULL ? 1 : 77;
}

#else

#include <zlib.h>

static gm_regions read_golden(const char *name, int32_t max)
{
    gm_regions r = { 0 };
    gm_err err = { 0 };
    int32_t dropped = -1;
    char path[512];
    snprintf(path, sizeof path, "%s%s", GMT_IMAGES, name);
    assert_ok(gm_regions_read_npz(path, max, &r, &dropped, &err));
    assert_int_equal(dropped, 0);
    return r;
}

static void check_row(const gm_regions *r, int32_t at, int i)
{
    const gm_box want = { i, 2 * i, i + 10, 2 * i + 5 };
    assert_memory_equal(&r->box[at], &want, sizeof want);
    assert_int_equal(r->feature_width, 8);
    for (int d = 0; d < 8; d++) assert_true(r->feature[at * 8 + d] == (float)i + (float)d / 8.0f);
}

static void numpys_files_are_read(void **state)
{
    (void)state;
    const char *const names[] = { "stored.npz", "deflated.npz" };
    for (size_t n = 0; n < GM_LEN(names); n++) {
        gm_regions r = read_golden(names[n], 100);
        assert_true(r.count == 6 && r.width == 100 && r.height == 80);
        for (int i = 0; i < 6; i++) {
            check_row(&r, i, i);
            assert_true(r.score[i] == (float)(7 * i % 6 / 6.0));
        }
        gm_regions_free(&r);
    }
}

static void fortrans_order_and_integers_are_read(void **state)
{
    (void)state;
    gm_regions r = read_golden("fortran.npz", 100);
    assert_int_equal(r.count, 4); /* num_boxes, fewer than the rows */
    assert_true(r.width == 0 && r.height == 0 && r.score == NULL);
    for (int i = 0; i < 4; i++) check_row(&r, i, i);
    gm_regions_free(&r);
}

static void the_best_by_score_are_kept_in_order(void **state)
{
    (void)state;
    gm_regions r = read_golden("stored.npz", 3); /* scores 0, 1/6, 2/6, ... */
    assert_int_equal(r.count, 3);
    for (int i = 0; i < 3; i++) check_row(&r, i, i + 3);
    gm_regions_free(&r);
    r = read_golden("fortran.npz", 2); /* no scores: the first */
    assert_int_equal(r.count, 2);
    for (int i = 0; i < 2; i++) check_row(&r, i, i);
    gm_regions_free(&r);
}

/* An archive in the making. */
typedef struct zip {
    gm_buffer all, directory;
    int members;
} zip;

static void add(gm_buffer *b, const void *bytes, size_t n)
{
    gm_err err = { 0 };
    assert_ok(gm_buffer_add(b, bytes, n, &err));
}

static void add_number(gm_buffer *b, uint32_t x, int bytes)
{
    for (int i = 0; i < bytes; i++) add(b, &(char) { (char)(x >> (8 * i)) }, 1);
}

typedef struct spoil {
    uint32_t flags, method, crc, packed, unpacked, offset; /* added to the right one */
} spoil;

static void add_member(zip *z, const char *name, const void *bytes, size_t n, spoil s)
{
    const uint32_t offset = (uint32_t)z->all.size, crc = (uint32_t)crc32(0, bytes, (uInt)n);
    const uint32_t name_size = (uint32_t)strlen(name);
    add(&z->all, "PK\3\4", 4);
    for (int i = 0; i < 22; i++) add(&z->all, "", 1); /* this reader takes sizes from the directory */
    add_number(&z->all, name_size, 2);
    add_number(&z->all, 0, 2);
    add(&z->all, name, name_size);
    add(&z->all, bytes, n);
    add(&z->directory, "PK\1\2", 4);
    add_number(&z->directory, 45 << 16 | 45, 4);
    add_number(&z->directory, s.flags, 2);
    add_number(&z->directory, s.method, 2);
    add_number(&z->directory, 0, 4);
    add_number(&z->directory, crc + s.crc, 4);
    add_number(&z->directory, (uint32_t)n + s.packed, 4);
    add_number(&z->directory, (uint32_t)n + s.unpacked, 4);
    add_number(&z->directory, name_size, 2);
    for (int i = 0; i < 12; i++) add(&z->directory, "", 1);
    add_number(&z->directory, offset + s.offset, 4);
    add(&z->directory, name, name_size);
    z->members++;
}

static void finish(zip *z, const char *comment)
{
    const uint32_t offset = (uint32_t)z->all.size;
    if (z->directory.size > 0) add(&z->all, z->directory.data, z->directory.size);
    add(&z->all, "PK\5\6\0\0\0\0", 8);
    add_number(&z->all, (uint32_t)z->members, 2);
    add_number(&z->all, (uint32_t)z->members, 2);
    add_number(&z->all, (uint32_t)z->directory.size, 4);
    add_number(&z->all, offset, 4);
    add_number(&z->all, (uint32_t)strlen(comment), 2);
    add(&z->all, comment, strlen(comment));
}

static void free_zip(zip *z)
{
    gm_buffer_free(&z->all);
    gm_buffer_free(&z->directory);
    *z = (zip) { 0 };
}

/* A .npy of version 1.0 with this header and these bytes. */
static gm_buffer npy(const char *header, const void *bytes, size_t n)
{
    gm_buffer b = { 0 };
    add(&b, "\x93NUMPY\1\0", 8);
    add_number(&b, (uint32_t)strlen(header), 2);
    add(&b, header, strlen(header));
    add(&b, bytes, n);
    return b;
}

static void add_array(zip *z, const char *name, const char *header, const void *bytes, size_t n)
{
    gm_buffer b = npy(header, bytes, n);
    add_member(z, name, b.data, b.size, (spoil) { 0 });
    gm_buffer_free(&b);
}

static const float two_boxes[8] = { 0, 0, 10, 10, 5, 5, 20, 30 };
#define BOXES "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }"

static void refused(const void *bytes, size_t size, gm_status want, const char *message)
{
    gm_regions r = { 0 };
    gm_err err = { 0 };
    const gm_status got = gm_regions_parse_npz("x.npz", bytes, size, 10, &r, NULL, &err);
    if (got != want || strncmp(err.text, "x.npz: ", 7) != 0 || strstr(err.text, message) == NULL)
        fail_msg("%s: \"%s\", expected %s: \"%s\"", gm_status_name(got), err.text, gm_status_name(want), message);
    assert_true(r.box == NULL && r.count == 0);
}

static void refuse_zip(zip *z, gm_status want, const char *message)
{
    finish(z, "");
    refused(z->all.data, z->all.size, want, message);
    free_zip(z);
}

static void a_comment_at_the_end_is_skipped(void **state)
{
    (void)state;
    zip z = { 0 };
    gm_regions r = { 0 };
    gm_err err = { 0 };
    add_array(&z, "bounding_boxes.npy", BOXES, two_boxes, sizeof two_boxes);
    finish(&z, "PK\5\6 is not the end");
    assert_ok(gm_regions_parse_npz("x", z.all.data, z.all.size, 10, &r, NULL, &err));
    assert_true(r.count == 2 && r.box[1].y2 == 30 && r.feature == NULL && r.score == NULL);
    gm_regions_free(&r);
    free_zip(&z);
}

static void no_cut_file_passes(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    gm_err err = { 0 };
    assert_ok(gm_file_read(GMT_IMAGES "deflated.npz", &bytes, &size, &err));
    for (size_t n = 0; n < size; n++) refused(bytes, n, GM_ERR_FORMAT, "is no whole .npz");
    gm_free(bytes);
}

static void no_damaged_file_crashes(void **state)
{
    (void)state;
    const char *const names[] = { GMT_IMAGES "deflated.npz", GMT_IMAGES "fortran.npz" };
    for (size_t k = 0; k < GM_LEN(names); k++) {
        char *bytes = NULL;
        size_t size = 0;
        gm_err err = { 0 };
        assert_ok(gm_file_read(names[k], &bytes, &size, &err));
        for (size_t at = 0; at < size; at++)
            for (int bit = 0; bit < 8; bit += 3) {
                gm_regions r = { 0 };
                bytes[at] ^= (char)(1 << bit);
                const gm_status status = gm_regions_parse_npz("x", bytes, size, 10, &r, NULL, &err);
                assert_true(status == GM_OK || status == GM_ERR_FORMAT || status == GM_ERR_DATA);
                gm_regions_free(&r);
                bytes[at] ^= (char)(1 << bit);
            }
        gm_free(bytes);
    }
}

static void broken_archives_are_named(void **state)
{
    (void)state;
    const struct {
        spoil how;
        const char *message;
    } cases[] = {
        { { .flags = 1 }, "\"bounding_boxes\" is encrypted" },
        { { .method = 12 }, "is packed by method 12; stored (0) and deflated (8) are read" },
        { { .crc = 1 }, "\"bounding_boxes\" has the wrong checksum" },
        { { .packed = 1000 }, "\"bounding_boxes\" is cut short" },
        { { .packed = 0x7fffffff }, "\"bounding_boxes\" is cut short" },
        { { .unpacked = 1 }, "cannot be" },
        { { .unpacked = 0x7fffff00 }, "67108864 are the limit" },
        { { .offset = 1 }, "\"bounding_boxes\" is not where the directory says" },
        { { .offset = 0x7fffffff }, "\"bounding_boxes\" is not where the directory says" },
        { { .method = 8, .unpacked = 1 << 20 }, "cannot be 1048" },
        { { .method = 8, .unpacked = 1 << 10 }, "does not unpack to its" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        zip z = { 0 };
        gm_buffer b = npy(BOXES, two_boxes, sizeof two_boxes);
        add_member(&z, "bounding_boxes.npy", b.data, b.size, cases[i].how);
        refuse_zip(&z, GM_ERR_FORMAT, cases[i].message);
        gm_buffer_free(&b);
    }
    zip z = { 0 };
    refuse_zip(&z, GM_ERR_FORMAT, "holds no \"bounding_boxes\": is it a file of regions?");
    add_array(&z, "bounding_boxes.npy", BOXES, two_boxes, sizeof two_boxes);
    add_array(&z, "bounding_boxes.npy", BOXES, two_boxes, sizeof two_boxes);
    refuse_zip(&z, GM_ERR_FORMAT, "holds \"bounding_boxes\" twice");
    refused("", 0, GM_ERR_FORMAT, "is no whole .npz");
    refused("no archive at all, but long enough", 34, GM_ERR_FORMAT, "has no directory at its end");
}

static void broken_headers_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *header, *message;
    } cases[] = {
        { "", "the header of" },
        { "{", "the header of" },
        { "{}", "the header of" },
        { "{'descr': '<f4'}", "the header of" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)", "the header of" },
        { "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 4)}", "the header of" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -4)}", "the header of" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2 4)}", "the header of" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4, 1)}", "at most two dimensions" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}", "the header of" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), 'more': 1}", "the header of" },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}", "the header of" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)} x", "the header of" },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 4)}", "the header of" },
        { "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 4)}", "is of type \"<f2\"" },
        { "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 4)}", "is of type \">f4\"" },
        { "{'descr': '|O', 'fortran_order': False, 'shape': (2, 4)}", "is of type \"|O\"" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}", "is [3, 4] of 4 bytes each, but 32 bytes are there" },
        { "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 4)}", "is [2, 4] of 8 bytes each, but 32 bytes are there" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (67108864, 67108864)}", "but 32 bytes are there" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2)}", "is [4, 2], expected [boxes, 4]" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (8,)}", "is [8, 1], expected [boxes, 4]" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        zip z = { 0 };
        add_array(&z, "bounding_boxes.npy", cases[i].header, two_boxes, sizeof two_boxes);
        refuse_zip(&z, GM_ERR_FORMAT, cases[i].message);
    }
    zip z = { 0 };
    add_member(&z, "bounding_boxes.npy", "\x93NUMPY\1\0\xff\xff{}", 12, (spoil) { 0 });
    refuse_zip(&z, GM_ERR_FORMAT, "the header of \"bounding_boxes\" is cut short");
    add_member(&z, "bounding_boxes.npy", "\x93NUMPY\3\0\2\0\0\0{}", 14, (spoil) { 0 });
    refuse_zip(&z, GM_ERR_FORMAT, "is no .npy of version 1.0 or 2.0");
    add_member(&z, "bounding_boxes.npy", "", 0, (spoil) { 0 });
    refuse_zip(&z, GM_ERR_FORMAT, "is no .npy of version 1.0 or 2.0");
}

/* Good boxes beside one array that does not fit them. */
static void refuse_beside(const char *name, const char *header, const void *bytes, size_t n, gm_status want, const char *message)
{
    zip z = { 0 };
    add_array(&z, "bounding_boxes.npy", BOXES, two_boxes, sizeof two_boxes);
    add_array(&z, name, header, bytes, n);
    refuse_zip(&z, want, message);
}

static void arrays_that_do_not_fit_are_named(void **state)
{
    (void)state;
    const float three[3] = { 1, 2, NAN };
    const int64_t numbers[] = { 3, -1, 0 };
    const double half = 1.5;
    refuse_beside("box_features.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1)}", three, 12, GM_ERR_FORMAT,
                  "\"box_features\" is [3, 1], expected [2, 1 to 16384]");
    refuse_beside("box_features.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0)}", three, 0, GM_ERR_FORMAT,
                  "\"box_features\" is [2, 0]");
    refuse_beside("box_features.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}", three + 1, 8, GM_ERR_DATA,
                  "\"box_features\" is nan at [1, 0]");
    refuse_beside("scores.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", three, 12, GM_ERR_FORMAT,
                  "3 scores for 2 boxes");
    refuse_beside("num_boxes.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': ()}", &numbers[0], 8, GM_ERR_DATA,
                  "\"num_boxes\" is 3, expected a whole number from 0 to 2");
    refuse_beside("num_boxes.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': ()}", &numbers[1], 8, GM_ERR_DATA,
                  "\"num_boxes\" is -1");
    refuse_beside("num_boxes.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': ()}", &half, 8, GM_ERR_DATA,
                  "\"num_boxes\" is 1.5");
    refuse_beside("num_boxes.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", numbers, 16, GM_ERR_FORMAT,
                  "\"num_boxes\" is [2, 1], expected one number");
    refuse_beside("image_w.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': ()}", &numbers[2], 8, GM_ERR_DATA,
                  "\"image_w\" is 0, expected a whole number from 1 to 32768");
}

static void boxes_outside_or_reversed_are_left_out(void **state)
{
    (void)state;
    const float boxes[9][4] = { { 0, 0, 10, 10 },  { 5, 5, 5, 9 },     { 9, 1, 3, 8 },          { 30, 0, 40, 9 },  { -9, -9, -1, -1 },
                                { -5, 2, 50, 50 }, { NAN, 0, 10, 10 }, { 0, 0, INFINITY, 10 }, { 1, 2, 3, 4 } };
    const float features[9] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    const int32_t width = 30, height = 20;
    zip z = { 0 };
    gm_regions r = { 0 };
    gm_err err = { 0 };
    int32_t dropped = 0;
    add_array(&z, "bounding_boxes.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 4)}", boxes, sizeof boxes);
    add_array(&z, "box_features.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 1)}", features, sizeof features);
    add_array(&z, "image_w.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': ()}", &width, 4);
    add_array(&z, "image_h.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': ()}", &height, 4);
    finish(&z, "");
    assert_ok(gm_regions_parse_npz("x", z.all.data, z.all.size, 10, &r, &dropped, &err));
    assert_int_equal(r.count, 3);
    assert_int_equal(dropped, 6);
    assert_true(r.feature[0] == 0 && r.feature[1] == 5 && r.feature[2] == 8);
    assert_true(r.box[1].x1 == 0 && r.box[1].y1 == 2 && r.box[1].x2 == 30 && r.box[1].y2 == 20);
    gm_regions_free(&r);
    free_zip(&z);
}

static void no_box_at_all_is_no_error(void **state)
{
    (void)state;
    zip z = { 0 };
    gm_regions r = { 0 };
    gm_err err = { 0 };
    add_array(&z, "bounding_boxes.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4)}", two_boxes, 0);
    add_array(&z, "box_features.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2048)}", two_boxes, 0);
    finish(&z, "");
    assert_ok(gm_regions_parse_npz("x", z.all.data, z.all.size, 10, &r, NULL, &err));
    assert_true(r.count == 0 && r.feature_width == 2048);
    gm_regions_free(&r);
    free_zip(&z);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    gm_err err = { 0 };
    assert_ok(gm_file_read(GMT_IMAGES "deflated.npz", &bytes, &size, &err));
    gm_status status = GM_ERR_NOMEM;
    for (int64_t k = 0; status != GM_OK; k++) {
        gm_regions r = { 0 };
        assert_true(k < 100);
        gm_alloc_fail_at(k);
        status = gm_regions_parse_npz("x", bytes, size, 10, &r, NULL, &err);
        gm_alloc_fail_at(-1);
        assert_true(status == GM_OK || (status == GM_ERR_NOMEM && r.box == NULL));
        gm_regions_free(&r);
    }
    gm_free(bytes);
}

static void windows_lie_within_their_picture(void **state)
{
    (void)state;
    const int32_t sizes[][2] = { { 1, 1 }, { 1, 700 }, { 600, 1 }, { 599, 801 }, { 32768, 3051 } };
    for (size_t s = 0; s < GM_LEN(sizes); s++) {
        gm_box box[GM_REGIONS_MAX];
        assert_int_equal(gm_regions_propose(sizes[s][0], sizes[s][1], 0, box), 0);
        assert_int_equal(gm_regions_propose(sizes[s][0], sizes[s][1], 7, box), 7);
        assert_int_equal(gm_regions_propose(sizes[s][0], sizes[s][1], GM_REGIONS_MAX, box), 96);
        assert_true(box[0].x1 == 0 && box[0].y1 == 0 && box[0].x2 == sizes[s][0] && box[0].y2 == sizes[s][1]);
        for (int i = 0; i < 96; i++) {
            gm_box clipped = box[i];
            assert_true(gm_box_clip(&clipped, sizes[s][0], sizes[s][1]));
            assert_true(gm_box_iou(clipped, box[i]) > 0.999999);
            for (int k = 0; k < i; k++) assert_true(gm_box_iou(box[i], box[k]) < 0.999);
        }
    }
}

static void overlap_is_of_continuous_pixels(void **state)
{
    (void)state;
    const gm_box a = { 0, 0, 10, 10 };
    assert_true(gm_box_iou(a, a) == 1.0);
    assert_true(gm_box_iou(a, (gm_box) { 5, 0, 15, 10 }) == 50.0 / 150.0);
    assert_true(gm_box_iou(a, (gm_box) { 10, 0, 20, 10 }) == 0.0);
    assert_true(gm_box_iou(a, (gm_box) { 20, 20, 30, 30 }) == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpys_files_are_read),
        cmocka_unit_test(fortrans_order_and_integers_are_read),
        cmocka_unit_test(the_best_by_score_are_kept_in_order),
        cmocka_unit_test(a_comment_at_the_end_is_skipped),
        cmocka_unit_test(no_cut_file_passes),
        cmocka_unit_test(no_damaged_file_crashes),
        cmocka_unit_test(broken_archives_are_named),
        cmocka_unit_test(broken_headers_are_named),
        cmocka_unit_test(arrays_that_do_not_fit_are_named),
        cmocka_unit_test(boxes_outside_or_reversed_are_left_out),
        cmocka_unit_test(no_box_at_all_is_no_error),
        cmocka_unit_test(without_memory_it_says_so),
        cmocka_unit_test(windows_lie_within_their_picture),
        cmocka_unit_test(overlap_is_of_continuous_pixels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
