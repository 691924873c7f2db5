/* PNG and JPEG against Pillow (tests/golden/images/decode.json), and every way a file can be bad. */
#define _POSIX_C_SOURCE 200809L
#include "tests/image/picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if !GM_HAVE_PNG || !GM_HAVE_JPEG

int main(void)
{
    printf("this build lacks libpng or libjpeg-turbo\n");
    const char *require = getenv("GM_REQUIRE");
    return require != NULL && strstr(require, "images") != NULL ? 1 : 77;
}

#else

/* A file of the golden folder, to be spoilt. */
typedef struct file { char *bytes; size_t size; } file;

static file load(const char *name)
{
    file f = { 0 };
    char path[512];
    gm_err err = { 0 };
    snprintf(path, sizeof path, "%s%s", GMT_IMAGES, name);
    assert_ok(gm_image_load(path, &f.bytes, &f.size, &err));
    return f;
}

static void refused(const void *bytes, size_t size, gm_status want, const char *message)
{
    gm_image image = { 0 };
    gm_err err = { 0 };
    const gm_status got = gm_image_decode("x.img", bytes, size, &image, &err);
    assert_null(image.rgb);
    if (got != want || strncmp(err.text, "x.img: ", 7) != 0 || strstr(err.text, message) == NULL)
        fail_msg("%s: \"%s\", expected %s: \"%s\"", gm_status_name(got), err.text, gm_status_name(want), message);
}

static void equals_pillow(void **state)
{
    (void)state;
    cJSON *tree = NULL, *row, *rows = gmt_rows("decode.json", &tree);
    int count = 0;
    cJSON_ArrayForEach(row, rows)
    {
        char path[512], hash[17];
        gm_image image = { 0 };
        gm_err err = { 0 };
        int32_t width = 0, height = 0;
        snprintf(path, sizeof path, "%s%s", GMT_IMAGES, gmt_text(row, "file"));
        assert_ok(gm_image_read(path, &image, &err));
        gmt_hash_image(&image, hash);
        assert_int_equal(image.width, (int)gmt_number(row, "size", 0));
        assert_int_equal(image.height, (int)gmt_number(row, "size", 1));
        if (strcmp(hash, gmt_text(row, "hash")) != 0) fail_msg("%s came out as %s", path, hash);
        file f = load(gmt_text(row, "file"));
        assert_ok(gm_image_probe(path, f.bytes, f.size, &width, &height, &err));
        assert_true(width == image.width && height == image.height);
        gm_free(f.bytes);
        gm_image_free(&image);
        count++;
    }
    assert_int_equal(count, 26);
    cJSON_Delete(tree);
}

static void written_png_comes_back(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/a.png", gmt_temp_dir());
    const int32_t sizes[][2] = { { 1, 1 }, { 1, 40 }, { 33, 1 }, { 61, 47 } };
    for (size_t i = 0; i < GM_LEN(sizes); i++) {
        gm_err err = { 0 };
        gm_image from = gmt_picture(sizes[i][0], sizes[i][1], 3), to = { 0 };
        assert_ok(gm_image_write_png(&from, path, &err));
        assert_ok(gm_image_read(path, &to, &err));
        assert_true(from.width == to.width && from.height == to.height);
        assert_memory_equal(from.rgb, to.rgb, 3 * (size_t)from.width * (size_t)from.height);
        gm_image_free(&from);
        gm_image_free(&to);
    }
}

static void a_png_that_cannot_be_written_leaves_nothing(void **state)
{
    (void)state;
    char path[512];
    gm_err err = { 0 };
    gm_image from = gmt_picture(2, 2, 3);
    snprintf(path, sizeof path, "%s/none/a.png", gmt_temp_dir());
    assert_int_equal(gm_image_write_png(&from, path, &err), GM_ERR_IO);
    assert_non_null(strstr(err.text, path));
    if (access("/dev/full", W_OK) == 0) {
        gm_image large = gmt_picture(200, 200, 3);
        assert_int_equal(gm_image_write_png(&large, "/dev/full", &err), GM_ERR_IO);
        gm_image_free(&large);
    }
    gm_image_free(&from);
}

static void sizes_of_nothing_are_refused(void **state)
{
    (void)state;
    gm_image image = { 0 };
    gm_err err = { 0 };
    assert_int_equal(gm_image_create(0, 5, &image, &err), GM_ERR_DATA);
    assert_int_equal(gm_image_create(5, 0, &image, &err), GM_ERR_DATA);
    assert_int_equal(gm_image_create(-1, 5, &image, &err), GM_ERR_DATA);
    assert_int_equal(gm_image_create(32769, 1, &image, &err), GM_ERR_DATA);
    assert_null(image.rgb);
}

/* Every length but the whole: PNG ends with a mark, so no cut passes. */
static void a_png_cut_anywhere_is_refused(void **state)
{
    (void)state;
    const char *const names[] = { "rgb.png", "interlaced.png", "palette.png", "chunks.png", "one.png" };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        file f = load(names[i]);
        for (size_t n = 8; n < f.size; n++) refused(f.bytes, n, GM_ERR_DATA, "PNG");
        for (size_t n = 1; n < 8; n++) refused(f.bytes, n, GM_ERR_DATA, "begins neither as a PNG nor as a JPEG");
        gm_free(f.bytes);
    }
}

static void a_jpeg_cut_in_its_pixels_is_refused(void **state)
{
    (void)state;
    const char *const names[] = { "rgb420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "restart.jpg" };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        file f = load(names[i]);
        for (size_t n = 3; n < f.size - 1; n++) refused(f.bytes, n, GM_ERR_DATA, "JPEG");
        gm_free(f.bytes);
    }
}

static void a_cut_jpeg_says_so(void **state)
{
    (void)state;
    file f = load("rgb444.jpg");
    refused(f.bytes, f.size - 60, GM_ERR_DATA, "is a JPEG that ends before its pixels do: is it cut short?");
    gm_free(f.bytes);
}

/* A wrong byte anywhere in the pixels breaks the checksum; a wrong checksum is the same. */
static void a_wrong_checksum_is_refused(void **state)
{
    (void)state;
    file f = load("rgb.png");
    for (size_t at = 16; at < f.size; at++) {
        const size_t end = f.size - 12; /* the end's own length, name and checksum */
        if (at >= end && at < end + 8) continue;
        f.bytes[at] ^= 0x10;
        gm_image image = { 0 };
        gm_err err = { 0 };
        assert_int_equal(gm_image_decode("x.img", f.bytes, f.size, &image, &err), GM_ERR_DATA);
        f.bytes[at] ^= 0x10;
    }
    f.bytes[f.size - 1] ^= 1;
    refused(f.bytes, f.size, GM_ERR_DATA, "CRC error");
    gm_free(f.bytes);
}

static void damage_to_a_jpeg_is_refused_or_harmless(void **state)
{
    (void)state;
    file f = load("restart.jpg");
    int refusals = 0;
    for (size_t at = 2; at < f.size; at++)
        for (int bit = 0; bit < 8; bit++) {
            gm_image image = { 0 };
            gm_err err = { 0 };
            f.bytes[at] ^= (char)(1 << bit);
            const gm_status status = gm_image_decode("x.img", f.bytes, f.size, &image, &err);
            assert_true(status == GM_OK || status == GM_ERR_DATA);
            refusals += status != GM_OK;
            gm_image_free(&image);
            f.bytes[at] ^= (char)(1 << bit);
        }
    assert_true(refusals > 500);
    gm_free(f.bytes);
}

static uint32_t crc_of(const unsigned char *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    }
    return ~c;
}

static void put32(char *to, uint32_t x)
{
    for (int i = 0; i < 4; i++) to[i] = (char)(x >> (24 - 8 * i));
}

/* rgb.png with other sides in its header, whose checksum is made right again. */
static void refuse_sides(uint32_t width, uint32_t height, const char *message)
{
    file f = load("rgb.png");
    put32(f.bytes + 16, width);
    put32(f.bytes + 20, height);
    put32(f.bytes + 29, crc_of((unsigned char *)f.bytes + 12, 17));
    refused(f.bytes, f.size, GM_ERR_DATA, message);
    gm_free(f.bytes);
}

static void png_bombs_are_refused_by_their_header(void **state)
{
    (void)state;
    const uint64_t before = gm_alloc_count();
    refuse_sides(40000, 10, "is 40000 x 10 pixels; 32768 a side and 100000000 in all are the limits");
    refuse_sides(10, 40000, "is 10 x 40000 pixels");
    refuse_sides(30000, 30000, "is 30000 x 30000 pixels");
    refuse_sides(0x7fffffff, 0x7fffffff, "is 2147483647 x 2147483647 pixels");
    refuse_sides(10000, 10000, "is a PNG of 10000 x 10000 pixels in 998 bytes, which cannot hold them");
    refuse_sides(0, 17, "PNG");
    refuse_sides(23, 0, "PNG");
    assert_true(gm_alloc_count() - before < 100); /* libpng's own few */
}

static void jpeg_bombs_are_refused_by_their_header(void **state)
{
    (void)state;
    file f = load("rgb420.jpg");
    for (size_t i = 2; i + 9 < f.size; i++) {
        if ((unsigned char)f.bytes[i] != 0xff || (unsigned char)f.bytes[i + 1] != 0xc0) continue;
        memcpy(f.bytes + i + 5, "\xff\xff\xff\xff", 4);
        refused(f.bytes, f.size, GM_ERR_DATA, "is a damaged JPEG: Maximum supported image dimension is 65500 pixels");
        memcpy(f.bytes + i + 5, "\x75\x30\x75\x30", 4);
        refused(f.bytes, f.size, GM_ERR_DATA, "is 30000 x 30000 pixels; 32768 a side and 100000000 in all are the limits");
        memcpy(f.bytes + i + 5, "\x00\x25\x00\x00", 4);
        refused(f.bytes, f.size, GM_ERR_DATA, "is a damaged JPEG");
        memcpy(f.bytes + i + 5, "\x20\x00\x20\x00", 4);
        refused(f.bytes, f.size, GM_ERR_DATA, "is a JPEG that ends before its pixels do");
        gm_free(f.bytes);
        return;
    }
    fail_msg("no header in rgb420.jpg");
}

/* The first scan, of average colours, again and again: small to store, a pass over all pixels each. */
static void a_jpeg_of_many_scans_is_refused(void **state)
{
    (void)state;
    file f = load("progressive.jpg");
    size_t scan = 2;
    while (memcmp(f.bytes + scan, "\xff\xda", 2) != 0) scan++;
    size_t end = scan + 14; /* behind the scan's header; a marker's second byte is not 0 */
    while ((unsigned char)f.bytes[end] != 0xff || f.bytes[end + 1] == 0) end++;
    gm_buffer many = { 0 };
    gm_err err = { 0 };
    assert_ok(gm_buffer_add(&many, f.bytes, scan, &err));
    for (int i = 0; i < 300; i++) assert_ok(gm_buffer_add(&many, f.bytes + scan, end - scan, &err));
    assert_ok(gm_buffer_add(&many, "\xff\xd9", 2, &err));
    refused(many.data, many.size, GM_ERR_DATA, "is a JPEG of more than 200 scans");
    gm_buffer_free(&many);
    gm_free(f.bytes);
}

static void other_kinds_are_named(void **state)
{
    (void)state;
    refused("", 0, GM_ERR_DATA, "is empty, expected a PNG or a JPEG");
    refused("GIF89a......", 12, GM_ERR_DATA, "is a GIF; PNG and JPEG are read");
    refused("RIFF....WEBPVP8 ", 16, GM_ERR_DATA, "is a WebP");
    refused("BM......", 8, GM_ERR_DATA, "is a BMP");
    refused("<!DOCTYPE html>", 15, GM_ERR_DATA, "is a page of HTML");
    refused("<html><body>404", 15, GM_ERR_DATA, "is a page of HTML");
    refused("\0\0\0\x1c""ftypavif", 12, GM_ERR_DATA, "is an AVIF");
    refused("what is this", 12, GM_ERR_DATA, "begins neither as a PNG nor as a JPEG");
    refused("\xff\xd8\xff", 3, GM_ERR_DATA, "JPEG");
    refused("\x89PNG\r\n\x1a\n", 8, GM_ERR_DATA, "is a PNG that ends after 8 bytes");
}

static void folders_pipes_and_large_files_are_refused(void **state)
{
    (void)state;
    char path[512];
    gm_image image = { 0 };
    gm_err err = { 0 };
    assert_int_equal(gm_image_read(gmt_temp_dir(), &image, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "is no plain file"));
    snprintf(path, sizeof path, "%s/pipe", gmt_temp_dir());
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gm_image_read(path, &image, &err), GM_ERR_DATA);
    snprintf(path, sizeof path, "%s/none.png", gmt_temp_dir());
    assert_int_equal(gm_image_read(path, &image, &err), GM_ERR_IO);
    snprintf(path, sizeof path, "%s/large.png", gmt_temp_dir());
    gmt_write_file(path, "\x89PNG\r\n\x1a\n", 8);
    assert_int_equal(truncate(path, (64 << 20) + 1), 0);
    assert_int_equal(gm_image_read(path, &image, &err), GM_ERR_DATA);
    assert_non_null(strstr(err.text, "has 67108865 bytes; 67108864 are the limit"));
    assert_null(image.rgb);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    const char *const names[] = { "interlaced.png", "cmyk.jpg" };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        file f = load(names[i]);
        gm_status status = GM_ERR_NOMEM;
        for (int64_t k = 0; status != GM_OK; k++) {
            gm_err err = { 0 };
            gm_image image = { 0 };
            assert_true(k < 100);
            gm_alloc_fail_at(k);
            status = gm_image_decode("x.img", f.bytes, f.size, &image, &err);
            gm_alloc_fail_at(-1);
            /* libpng calls its own shortage an error of the file */
            assert_true((image.rgb != NULL) == (status == GM_OK));
            gm_image_free(&image);
        }
        gm_free(f.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pillow),
        cmocka_unit_test(written_png_comes_back),
        cmocka_unit_test(a_png_that_cannot_be_written_leaves_nothing),
        cmocka_unit_test(sizes_of_nothing_are_refused),
        cmocka_unit_test(a_png_cut_anywhere_is_refused),
        cmocka_unit_test(a_jpeg_cut_in_its_pixels_is_refused),
        cmocka_unit_test(a_cut_jpeg_says_so),
        cmocka_unit_test(a_wrong_checksum_is_refused),
        cmocka_unit_test(damage_to_a_jpeg_is_refused_or_harmless),
        cmocka_unit_test(png_bombs_are_refused_by_their_header),
        cmocka_unit_test(jpeg_bombs_are_refused_by_their_header),
        cmocka_unit_test(a_jpeg_of_many_scans_is_refused),
        cmocka_unit_test(other_kinds_are_named),
        cmocka_unit_test(folders_pipes_and_large_files_are_refused),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
