/* What this file hands out hangs on one list from the start of the program to its end, so that a test may stop
 * anywhere (cmocka leaves a failed test by longjmp) and the leak check stays quiet. */
#define _XOPEN_SOURCE 700
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

typedef struct kept {
    struct kept *next;
    char *path;
    cJSON *json;
    bool is_temp_dir;
} kept;

static kept *all;
static pid_t owner;

static void let_go(void)
{
    if (getpid() != owner) return; /* a forked child leaves its parent's folders alone */
    while (all != NULL) {
        kept *k = all;
        gm_err err;
        if (k->is_temp_dir && gm_remove_tree(k->path, &err) != GM_OK) fprintf(stderr, "%s\n", err.text);
        all = k->next;
        gm_free(k->path);
        cJSON_Delete(k->json);
        free(k);
    }
}

static kept *keep(char *path)
{
    kept *k = calloc(1, sizeof *k);
    if (k == NULL || path == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    if (owner == 0) {
        owner = getpid();
        atexit(let_go);
    }
    k->path = path;
    k->next = all;
    all = k;
    return k;
}

static void skip_without_data(const char *path)
{
    const char *require = getenv("GM_REQUIRE");
    const bool is_required = require != NULL && strstr(require, "data") != NULL;
    fprintf(stderr, "%s: %s is missing\n", is_required ? "failed (GM_REQUIRE names data)" : "skipped", path);
    exit(is_required ? 1 : 77);
}

const char *gmt_shared(const char *relative)
{
    const kept *k = keep(gm_path_join(GM_SOURCE_DIR "/../shared", relative));
    if (!gm_path_exists(k->path)) skip_without_data(k->path);
    return k->path;
}

const cJSON *gmt_fixture(const char *name)
{
    char relative[256];
    snprintf(relative, sizeof relative, "methods/fixtures/%s.json", name);
    const char *path = gmt_shared(relative);
    char *text = NULL;
    size_t size = 0;
    gm_err err;
    assert_ok(gm_file_read(path, &text, &size, &err));
    kept *k = keep(gm_strdup(path));
    const gm_status status = gm_json_parse(text, size, &k->json, &err);
    gm_free(text);
    if (status != GM_OK) fail_msg("%s: %s", path, err.text);
    return k->json;
}

const char *gmt_temp_dir(void)
{
    const char *base = getenv("TMPDIR");
    kept *k = keep(gm_path_join(base != NULL && base[0] != '\0' ? base : "/tmp", "gmner-test-XXXXXX"));
    if (mkdtemp(k->path) == NULL) fail_msg("cannot make a folder like %s", k->path);
    k->is_temp_dir = true;
    return k->path;
}

void gmt_allow_mpirun(void)
{
    const char *sanitizer = getenv("ASAN_OPTIONS");
    char options[512];
    snprintf(options, sizeof options, "%s:detect_leaks=0", sanitizer != NULL ? sanitizer : "");
    setenv("ASAN_OPTIONS", options, 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
}

void gmt_write_file(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) fail_msg("cannot create %s", path);
    const size_t written = n > 0 ? fwrite(bytes, 1, n, file) : 0;
    if (fclose(file) != 0 || written != n) fail_msg("cannot write %s", path);
}

int gmt_json_doubles(const cJSON *value, double *out, int max)
{
    if (cJSON_IsNumber(value)) {
        if (max < 1) fail_msg("the fixture holds more numbers than the test expects");
        *out = value->valuedouble;
        return 1;
    }
    if (!cJSON_IsArray(value)) fail_msg("the fixture holds no array of numbers where the test expects one");
    int n = 0;
    for (const cJSON *item = value->child; item != NULL; item = item->next)
        n += gmt_json_doubles(item, out + n, max - n);
    return n;
}
