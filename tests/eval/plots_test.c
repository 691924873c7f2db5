/* Pictures of uncertainty: written whole or not at all, and a missing gnuplot is named. Skipped where there is none. */
#define _POSIX_C_SOURCE 200809L
#include "tests/eval/eval_test.h"

#include <stdlib.h>

#include "base/file.h"
#include "eval/plots.h"

static bool has_gnuplot(void) { return system("command -v gnuplot > /dev/null 2>&1") == 0; }

static gm_status write_plots(const char *folder, int *written, gm_err *err)
{
    gm_records gold = { 0 }, pred = { 0 };
    gm_verdicts v;
    gm_doubts d;
    rich_files(&gold, &pred);
    for (size_t i = 0; i < pred.count; i++)
        for (int32_t k = 0; k < pred.items[i].entity_count; k++) {
            gm_entity *e = &pred.items[i].entities[k];
            e->region_score = e->uncertainty.region_norm = NAN; /* of regions, nothing that is a confidence */
        }
    gm_status status = gm_judge(&gold, &pred, &by_offset, &v, err);
    if (status == GM_OK) status = gm_doubts_score(&v, 10, &d, err);
    if (status == GM_OK) status = gm_plots_write(&v, &d, folder, written, err);
    gm_verdicts_free(&v);
    gm_records_free(&gold);
    gm_records_free(&pred);
    return status;
}

static void pictures(void **state)
{
    (void)state;
    gm_err err;
    int written = 0;
    char folder[600];
    snprintf(folder, sizeof folder, "%s/it's \"a\" folder\nof plots", gmt_temp_dir());
    assert_ok(write_plots(folder, &written, &err));
    assert_int_equal(written, 5);
    static const char *const names[] = { "risk-coverage-span.png", "risk-coverage-type.png", "risk-coverage-region.png",
                                         "reliability-span.png",   "reliability-type.png",   "reliability-region.png" };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        char *path = gm_path_join(folder, names[i]), *bytes;
        size_t size;
        assert_int_equal(gm_path_exists(path), i < 5);
        if (i < 5) {
            assert_ok(gm_file_read(path, &bytes, &size, &err));
            assert_true(size > 1000);
            assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\xf8\0\0\x02\x58", 24); /* 760 x 600 */
            assert_memory_equal(bytes + size - 8, "IEND\xae\x42\x60\x82", 8);
            gm_free(bytes);
        }
        gm_free(path);
    }
}

static void no_gnuplot_and_no_folder(void **state)
{
    (void)state;
    gm_err err = { 0 };
    int written = 0;
    char path[600];
    const char *old = getenv("PATH");
    char *kept = gm_strdup(old != NULL ? old : "");
    snprintf(path, sizeof path, "%s/none", gmt_temp_dir());
    assert_int_equal(setenv("PATH", "/nowhere", 1), 0);
    assert_int_equal(write_plots(path, &written, &err), GM_ERR_MISSING);
    assert_non_null(strstr(err.text, "gnuplot-nox"));
    assert_int_equal(setenv("PATH", kept, 1), 0);
    assert_int_equal(written, 0);
    char *part = gm_path_join(path, "risk-coverage-span.png.part");
    assert_false(gm_path_exists(part));
    gm_free(part);
    gm_free(kept);
    snprintf(path, sizeof path, "%s/file", gmt_temp_dir());
    gmt_write_file(path, "", 0);
    assert_int_equal(write_plots(path, &written, &err), GM_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest always[] = { cmocka_unit_test(no_gnuplot_and_no_folder) };
    const struct CMUnitTest with_gnuplot[] = { cmocka_unit_test(pictures) };
    if (cmocka_run_group_tests(always, NULL, NULL) != 0) return 1;
    if (!has_gnuplot()) {
        puts("skipped: there is no gnuplot (Debian: gnuplot-nox)");
        return 77;
    }
    return cmocka_run_group_tests(with_gnuplot, NULL, NULL);
}
