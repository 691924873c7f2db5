/* Where regions come from: what becomes of pictures that are missing, broken or named badly, the three kinds of proposals,
 * and the cache of features. */
#define _POSIX_C_SOURCE 200809L
#include "tests/image/picture.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "image/region_source.h"

#if !GM_HAVE_PNG || !GM_HAVE_JPEG || !GM_HAVE_ZLIB

int main(void)
{
    printf("this build lacks libpng, libjpeg-turbo or zlib\n");
    const char *require = getenv("GM_REQUIRE");
    return require != NULL && strstr(require, "images") != NULL ? 1 : 77;
}

#else

static char images[512], npz[512], cache[512], lines[512];

static void copy(const char *from, const char *to)
{
    char *bytes = NULL, path[1024];
    size_t size = 0;
    gm_err err = { 0 };
    snprintf(path, sizeof path, "%s%s", GMT_IMAGES, from);
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    gmt_write_file(to, bytes, size);
    gm_free(bytes);
}

/* images/: a.jpg (45 x 37), b.png (23 x 17), cut.jpg, sub/c.png; npz/: a.jpg.npz, b.png.npz (broken); ../x.png beside. */
static int make_files(void **state)
{
    (void)state;
    gm_err err = { 0 };
    char path[1024];
    const char *root = gmt_temp_dir();
    snprintf(images, sizeof images, "%s/images", root);
    snprintf(npz, sizeof npz, "%s/npz", root);
    snprintf(cache, sizeof cache, "%s/deep/cache", root);
    snprintf(lines, sizeof lines, "%s/boxes.jsonl", root);
    snprintf(path, sizeof path, "%s/sub", images);
    assert_ok(gm_make_dirs(path, &err));
    assert_ok(gm_make_dirs(npz, &err));
    snprintf(path, sizeof path, "%s/a.jpg", images);
    copy("rgb420.jpg", path);
    snprintf(path, sizeof path, "%s/cut.jpg", images);
    copy("rgb420.jpg", path);
    assert_int_equal(truncate(path, 780), 0);
    snprintf(path, sizeof path, "%s/b.png", images);
    copy("rgb.png", path);
    snprintf(path, sizeof path, "%s/sub/c.png", images);
    copy("one.png", path);
    snprintf(path, sizeof path, "%s/x.png", root);
    copy("rgb.png", path);
    snprintf(path, sizeof path, "%s/a.jpg.npz", npz);
    copy("stored.npz", path);
    snprintf(path, sizeof path, "%s/b.png.npz", npz);
    gmt_write_file(path, "PK", 2);
    static const char text[] = "{\"image\": \"b.png\", \"boxes\": [[0, 0, 9, 9], [9, 9, 1, 1], [5, 5, 90, 90]], \"scores\": [1, 3, 2]}\n"
                               "{\"image\": \"a.jpg\", \"boxes\": [[0, 0, 9, 9], [900, 9, 901, 10]], \"more\": 1}\n"
                               "{\"image\": \"sub/c.png\", \"boxes\": []}\n";
    gmt_write_file(lines, text, sizeof text - 1);
    return 0;
}

static gm_region_source *open_source(gm_region_source_options o)
{
    gm_region_source *s = NULL;
    gm_err err = { 0 };
    o.images = o.images != NULL ? o.images : "";
    o.regions = o.regions != NULL ? o.regions : "";
    o.cache = o.cache != NULL ? o.cache : "";
    assert_ok(gm_region_source_open(&o, &s, &err));
    return s;
}

static gm_record record_of(const char *image) { return (gm_record) { .id = "17", .image = (char *)(uintptr_t)image }; }

static gm_image_status ask(gm_region_source *s, const char *image, gm_regions *r, uint8_t **crops)
{
    const gm_record record = record_of(image);
    gm_image_status why = GM_IMAGE_STATUS_COUNT;
    gm_err err = { 0 };
    assert_ok(gm_region_source_get(s, &record, r, crops, &why, &err));
    if (why != GM_IMAGE_FOUND) assert_true(r->count == 0 && r->box == NULL && (crops == NULL || *crops == NULL));
    return why;
}

static void names_that_leave_the_folder_are_broken(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .images = images, .max = 4, .crop = 8 });
    static const char *const names[] = { "../x.png",    "../../x",   "/etc/passwd", "sub/../../x.png", "..",    ".",    "",
                                         "sub//c.png",  "./b.png",   "sub/",        "a\nb.png",        "a\\b",  "/", "sub/.." };
    uint8_t *crops;
    gm_regions r;
    for (size_t i = 0; i < GM_LEN(names); i++) assert_int_equal(ask(s, names[i], &r, &crops), GM_IMAGE_BROKEN);
    assert_int_equal(gm_region_source_counts(s).records[GM_IMAGE_BROKEN], GM_LEN(names));
    gm_region_source_close(s);
    s = open_source((gm_region_source_options) { .regions = npz, .max = 4 });
    assert_int_equal(ask(s, "../npz/a.jpg", &r, &crops), GM_IMAGE_BROKEN);
    gm_region_source_close(s);
}

static void each_picture_has_its_status(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .images = images, .max = 4, .crop = 8 });
    uint8_t *crops;
    gm_regions r;
    assert_int_equal(ask(s, NULL, &r, &crops), GM_IMAGE_NONE);
    assert_int_equal(ask(s, "none.jpg", &r, &crops), GM_IMAGE_MISSING);
    assert_int_equal(ask(s, "a.jpg/none.jpg", &r, &crops), GM_IMAGE_MISSING);
    assert_int_equal(ask(s, "cut.jpg", &r, &crops), GM_IMAGE_BROKEN);
    assert_int_equal(ask(s, "sub", &r, &crops), GM_IMAGE_BROKEN);
    assert_int_equal(ask(s, "a.jpg", &r, &crops), GM_IMAGE_FOUND);
    assert_true(r.count == 4 && r.width == 45 && r.height == 37 && r.feature == NULL && crops != NULL);
    gm_regions_free(&r);
    gm_free(crops);
    assert_int_equal(ask(s, "sub/c.png", &r, NULL), GM_IMAGE_FOUND);
    assert_true(r.count == 4 && r.width == 1 && r.height == 1);
    gm_regions_free(&r);
    const gm_region_counts c = gm_region_source_counts(s);
    assert_true(c.records[GM_IMAGE_FOUND] == 2 && c.records[GM_IMAGE_NONE] == 1 && c.records[GM_IMAGE_MISSING] == 2);
    assert_true(c.records[GM_IMAGE_BROKEN] == 2 && c.records[GM_IMAGE_NO_PROPOSALS] == 0);
    assert_true(c.boxes == 8 && c.dropped == 0 && c.from_cache == 0 && c.other_size == 0);
    assert_string_equal(gm_image_status_name(GM_IMAGE_NO_PROPOSALS), "no_proposals");
    gm_region_source_close(s);
}

static void crops_are_the_resized_boxes(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .images = images, .max = 3, .crop = 8 });
    uint8_t *crops, want[8 * 8 * 3];
    gm_regions r;
    gm_image image = { 0 };
    gm_err err = { 0 };
    char path[1024];
    snprintf(path, sizeof path, "%s/b.png", images);
    assert_ok(gm_image_read(path, &image, &err));
    assert_int_equal(ask(s, "b.png", &r, &crops), GM_IMAGE_FOUND);
    for (int i = 0; i < 3; i++) {
        assert_ok(gm_image_resize_into(&image, r.box[i], 8, 8, want, &err));
        assert_memory_equal(crops + (size_t)i * sizeof want, want, sizeof want);
    }
    gm_image_free(&image);
    gm_regions_free(&r);
    gm_free(crops);
    gm_region_source_close(s);
}

static void features_of_npz_need_no_picture(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .regions = npz, .max = 5 });
    gm_regions r;
    assert_int_equal(gm_region_source_feature_width(s), 8);
    assert_int_equal(ask(s, "a.jpg", &r, NULL), GM_IMAGE_FOUND);
    assert_true(r.count == 5 && r.feature_width == 8 && r.feature[0] == 1.0f && r.width == 100 && r.height == 80);
    gm_regions_free(&r);
    assert_int_equal(ask(s, "b.png", &r, NULL), GM_IMAGE_BROKEN);
    assert_int_equal(ask(s, "none.jpg", &r, NULL), GM_IMAGE_NO_PROPOSALS);
    gm_region_source_close(s);
    s = open_source((gm_region_source_options) { .images = images, .regions = npz, .max = 5, .crop = 4 });
    assert_int_equal(gm_region_source_feature_width(s), 0);
    assert_int_equal(ask(s, "a.jpg", &r, NULL), GM_IMAGE_FOUND);
    assert_true(r.count == 5 && r.feature == NULL && r.feature_width == 0 && r.width == 45); /* pixels are what is asked for */
    gm_regions_free(&r);
    gm_region_source_close(s);
}

static void features_of_two_widths_stop(void **state)
{
    (void)state;
    char folder[512], path[1024];
    gm_err err = { 0 };
    snprintf(folder, sizeof folder, "%s/mixed", gmt_temp_dir());
    assert_ok(gm_make_dirs(folder, &err));
    snprintf(path, sizeof path, "%s/a.jpg.npz", folder);
    copy("stored.npz", path);
    gm_region_source *s = open_source((gm_region_source_options) { .regions = folder, .max = 5 });
    /* The same file with the key of its features renamed: a file of boxes alone. */
    char *bytes = NULL;
    size_t size = 0;
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    for (size_t i = 0; i + 12 <= size; i++)
        if (memcmp(bytes + i, "box_features", 12) == 0) bytes[i] = 'c';
    snprintf(path, sizeof path, "%s/b.jpg.npz", folder);
    gmt_write_file(path, bytes, size);
    gm_free(bytes);
    const gm_record record = record_of("b.jpg");
    gm_regions r;
    gm_image_status why;
    assert_int_equal(gm_region_source_get(s, &record, &r, NULL, &why, &err), GM_ERR_SHAPE);
    assert_non_null(strstr(err.text, "17: "));
    assert_non_null(strstr(err.text, "features of 0 numbers, other files of the folder have 8"));
    gm_region_source_close(s);
}

static void proposals_by_line(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .images = images, .regions = lines, .max = 1, .crop = 4 });
    gm_regions r;
    assert_int_equal(ask(s, "b.png", &r, NULL), GM_IMAGE_FOUND);
    assert_true(r.count == 1 && r.box[0].x1 == 5 && r.box[0].x2 == 23 && r.box[0].y2 == 17 && r.score[0] == 2.0f);
    gm_regions_free(&r);
    assert_int_equal(ask(s, "a.jpg", &r, NULL), GM_IMAGE_FOUND);
    gm_regions_free(&r);
    assert_int_equal(ask(s, "sub/c.png", &r, NULL), GM_IMAGE_NO_PROPOSALS);
    assert_int_equal(gm_region_source_counts(s).dropped, 2);
    gm_region_source_close(s);
    s = open_source((gm_region_source_options) { .regions = lines, .max = 9 }); /* sizes from the record */
    gm_record record = record_of("b.png");
    gm_image_status why;
    gm_err err = { 0 };
    assert_ok(gm_region_source_get(s, &record, &r, NULL, &why, &err));
    assert_int_equal(why, GM_IMAGE_NO_PROPOSALS);
    record.width = record.height = 50;
    assert_ok(gm_region_source_get(s, &record, &r, NULL, &why, &err));
    assert_true(why == GM_IMAGE_FOUND && r.count == 2 && r.box[1].x2 == 50 && r.width == 50);
    gm_regions_free(&r);
    gm_region_source_close(s);
}

static void broken_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "the file holds no proposals" },
        { "[]\n", ":1: expected an object" },
        { "{\"boxes\": []}\n", ":1: image: expected the name of a picture" },
        { "{\"image\": \"a\"}\n", ":1: boxes: expected an array" },
        { "{\"image\": \"a\", \"boxes\": [[1, 2, 3]]}\n", ":1: boxes[0]: expected [x1, y1, x2, y2]" },
        { "{\"image\": \"a\", \"boxes\": [[1, 2, 3, 4], [1, 2, 3, \"4\"]]}\n", ":1: boxes[1]: expected" },
        { "{\"image\": \"a\", \"boxes\": [[1, 2, 3, 4, 5]]}\n", ":1: boxes[0]: expected" },
        { "{\"image\": \"a\", \"boxes\": [[1, 2, 3, 4]], \"scores\": []}\n", ":1: scores: expected an array of 1 numbers" },
        { "{\"image\": \"a\", \"boxes\": [[1, 2, 3, 4]], \"scores\": [1e300]}\n", ":1: scores[0]: expected a number" },
        { "{\"image\": \"a\", \"boxes\": []}\nx\n", ":2: " },
        { "{\"image\": \"a\", \"boxes\": []}\n{\"image\": \"b\", \"boxes\": []}\n{\"image\": \"a\", \"boxes\": []}\n",
          ":3: the picture \"a\" stands in line 1 already" },
    };
    char path[1024];
    snprintf(path, sizeof path, "%s/broken.jsonl", gmt_temp_dir());
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_region_source *s = NULL;
        gm_err err = { 0 };
        const gm_region_source_options o = { .images = "", .regions = path, .cache = "", .max = 4 };
        gmt_write_file(path, cases[i].text, strlen(cases[i].text));
        assert_true(gm_region_source_open(&o, &s, &err) != GM_OK && s == NULL);
        if (strstr(err.text, cases[i].message) == NULL) fail_msg("\"%s\", expected \"%s\"", err.text, cases[i].message);
    }
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    char empty[512];
    gm_err err = { 0 };
    snprintf(empty, sizeof empty, "%s/empty", gmt_temp_dir());
    assert_ok(gm_make_dirs(empty, &err));
    const struct {
        gm_region_source_options o;
        const char *message;
    } cases[] = {
        { { "", "", "", 0, 0, 0, 0 }, "0 a picture, expected 1 to 1024" },
        { { "", "", "", 1025, 0, 0, 0 }, "1025 a picture" },
        { { images, "", "", 4, 1025, 0, 0 }, "crops of 1025 pixels" },
        { { "", "", "", 4, 8, 0, 0 }, "no folder of pictures is named" },
        { { "/none/at/all", "", "", 4, 8, 0, 0 }, "there is no folder /none/at/all" },
        { { images, "/none/at/all", "", 4, 8, 0, 0 }, "neither a folder of <image>.npz nor a .jsonl file" },
        { { images, "", cache, 4, 8, 0, 0 }, "a cache needs the width of its features" },
        { { "", empty, "", 4, 0, 0, 0 }, "no .npz in this folder can be read" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_region_source *s = NULL;
        assert_true(gm_region_source_open(&cases[i].o, &s, &err) != GM_OK && s == NULL);
        if (strstr(err.text, cases[i].message) == NULL) fail_msg("\"%s\", expected \"%s\"", err.text, cases[i].message);
    }
}

static int files_in(const char *folder, char *last)
{
    DIR *d = opendir(folder);
    int count = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        assert_true(snprintf(last, 512, "%s/%.200s", folder, e->d_name) < 512);
        count++;
    }
    closedir(d);
    return count;
}

static gm_region_source *cached(uint64_t weights, int32_t max, int32_t crop, const char *regions)
{
    return open_source((gm_region_source_options) {
        .images = images, .regions = regions, .cache = cache, .max = max, .crop = crop, .weights = weights, .feature_width = 3 });
}

static bool is_cached(uint64_t weights, int32_t max, int32_t crop, const char *regions, const char *image)
{
    gm_region_source *s = cached(weights, max, crop, regions);
    uint8_t *crops = NULL;
    gm_regions r;
    assert_int_equal(ask(s, image, &r, &crops), GM_IMAGE_FOUND);
    const bool is = r.feature != NULL;
    assert_true(is == (crops == NULL));
    if (is)
        for (int i = 0; i < 3 * r.count; i++) assert_true(r.feature[i] == (float)i + 0.5f);
    assert_int_equal(gm_region_source_counts(s).from_cache, is);
    gm_regions_free(&r);
    gm_free(crops);
    gm_region_source_close(s);
    return is;
}

static void keep(const char *image)
{
    gm_region_source *s = cached(99, 4, 8, "");
    uint8_t *crops = NULL;
    gm_regions r;
    gm_err err = { 0 };
    assert_int_equal(ask(s, image, &r, &crops), GM_IMAGE_FOUND);
    gm_free(r.feature);
    r.feature = gm_malloc((size_t)r.count * 3 * sizeof(float));
    for (int i = 0; i < 3 * r.count; i++) r.feature[i] = (float)i + 0.5f;
    assert_int_equal(gm_region_source_store(s, &r, &err), GM_ERR_SHAPE); /* their width is not said */
    r.feature_width = 3;
    assert_ok(gm_region_source_store(s, &r, &err));
    gm_regions_free(&r);
    gm_free(crops);
    gm_region_source_close(s);
}

static void the_cache_knows_its_picture_weights_and_boxes(void **state)
{
    (void)state;
    char file[512];
    assert_false(is_cached(99, 4, 8, "", "a.jpg"));
    keep("a.jpg");
    assert_int_equal(files_in(cache, file), 1);
    assert_true(is_cached(99, 4, 8, "", "a.jpg"));
    assert_false(is_cached(98, 4, 8, "", "a.jpg"));    /* other weights */
    assert_false(is_cached(99, 3, 8, "", "a.jpg"));    /* fewer regions */
    assert_false(is_cached(99, 4, 9, "", "a.jpg"));    /* other crops */
    assert_false(is_cached(99, 4, 8, lines, "a.jpg")); /* other boxes */
    assert_false(is_cached(99, 4, 8, "", "b.png"));
    keep("b.png");
    assert_int_equal(files_in(cache, file), 2);
    assert_true(is_cached(99, 4, 8, "", "b.png"));
    char path[1024]; /* another picture under the same name */
    snprintf(path, sizeof path, "%s/b.png", images);
    copy("rgba.png", path);
    assert_false(is_cached(99, 4, 8, "", "b.png"));
    copy("rgb.png", path);
    assert_true(is_cached(99, 4, 8, "", "b.png"));
}

static void a_damaged_cache_is_as_good_as_none(void **state)
{
    (void)state;
    char file[512], *bytes = NULL;
    size_t size = 0;
    gm_err err = { 0 };
    assert_ok(gm_remove_tree(cache, &err));
    keep("a.jpg");
    assert_int_equal(files_in(cache, file), 1);
    assert_ok(gm_file_read(file, &bytes, &size, &err));
    for (size_t n = 0; n < size; n += 13) {
        gmt_write_file(file, bytes, n);
        assert_false(is_cached(99, 4, 8, "", "a.jpg"));
    }
    for (size_t at = 0; at < size; at += 7) {
        bytes[at] ^= 4;
        gmt_write_file(file, bytes, size);
        assert_false(is_cached(99, 4, 8, "", "a.jpg"));
        bytes[at] ^= 4;
    }
    gmt_write_file(file, bytes, size);
    assert_true(is_cached(99, 4, 8, "", "a.jpg"));
    gm_free(bytes);
}

static void *ask_often(void *source)
{
    static const char *const names[] = { "a.jpg", "cut.jpg", "sub/c.png", "none.jpg" };
    for (int i = 0; i < 40; i++) {
        const gm_record record = record_of(names[i % 4]);
        gm_regions r;
        uint8_t *crops;
        gm_image_status why;
        gm_err err = { 0 };
        if (gm_region_source_get(source, &record, &r, &crops, &why, &err) != GM_OK) return source;
        if (why == GM_IMAGE_FOUND && r.feature == NULL) {
            r.feature = gm_calloc((size_t)r.count, 3 * sizeof(float));
            r.feature_width = 3;
            if (gm_region_source_store(source, &r, &err) != GM_OK) return source;
        }
        gm_regions_free(&r);
        gm_free(crops);
    }
    return NULL;
}

static void threads_ask_at_once(void **state)
{
    (void)state;
    gm_region_source *s = cached(5, 6, 8, "");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_often, s), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    const gm_region_counts c = gm_region_source_counts(s);
    assert_true(c.records[GM_IMAGE_FOUND] == 80 && c.records[GM_IMAGE_BROKEN] == 40 && c.records[GM_IMAGE_MISSING] == 40);
    assert_true(c.boxes == 480 && c.from_cache > 0);
    char file[512];
    DIR *d = opendir(cache);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) assert_null(strstr(e->d_name, ".part"));
    closedir(d);
    assert_true(files_in(cache, file) >= 2);
    gm_region_source_close(s);
}

static void sizes_that_differ_are_counted(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .images = images, .max = 2, .crop = 4 });
    gm_record record = record_of("a.jpg");
    gm_regions r;
    gm_image_status why;
    gm_err err = { 0 };
    record.width = 45;
    record.height = 37;
    assert_ok(gm_region_source_get(s, &record, &r, NULL, &why, &err));
    gm_regions_free(&r);
    assert_int_equal(gm_region_source_counts(s).other_size, 0);
    record.height = 38;
    assert_ok(gm_region_source_get(s, &record, &r, NULL, &why, &err));
    assert_int_equal(r.height, 37);
    gm_regions_free(&r);
    assert_int_equal(gm_region_source_counts(s).other_size, 1);
    gm_region_source_close(s);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    gm_region_source *s = open_source((gm_region_source_options) { .images = images, .regions = lines, .max = 4, .crop = 8 });
    const gm_record record = record_of("a.jpg");
    gm_status status = GM_ERR_NOMEM;
    for (int64_t k = 0; status != GM_OK; k++) {
        gm_regions r;
        uint8_t *crops;
        gm_image_status why;
        gm_err err = { 0 };
        assert_true(k < 100);
        gm_alloc_fail_at(k);
        status = gm_region_source_get(s, &record, &r, &crops, &why, &err);
        gm_alloc_fail_at(-1);
        assert_true(status == GM_OK || (status == GM_ERR_NOMEM && r.box == NULL && crops == NULL));
        gm_regions_free(&r);
        gm_free(crops);
    }
    gm_region_source_close(s);
}

int main(void)
{
    gm_log_set_level(GM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_leave_the_folder_are_broken),
        cmocka_unit_test(each_picture_has_its_status),
        cmocka_unit_test(crops_are_the_resized_boxes),
        cmocka_unit_test(features_of_npz_need_no_picture),
        cmocka_unit_test(features_of_two_widths_stop),
        cmocka_unit_test(proposals_by_line),
        cmocka_unit_test(broken_lines_are_named),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(the_cache_knows_its_picture_weights_and_boxes),
        cmocka_unit_test(a_damaged_cache_is_as_good_as_none),
        cmocka_unit_test(threads_ask_at_once),
        cmocka_unit_test(sizes_that_differ_are_counted),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, make_files, NULL);
}

#endif
