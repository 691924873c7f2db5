/* Any bytes as the CCKS authors' two files, parted by a NUL. What is read can be written, and what was written is read again, for the same
 * samples. Readers take paths, so the bytes stand in files in memory. */
#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/ccks_json.h"

static void put(int *file, char path[64], const char *bytes, size_t size)
{
    if (*file < 0) *file = memfd_create("json", 0);
    if (*file < 0 || ftruncate(*file, 0) != 0 || pwrite(*file, bytes, size, 0) != (ssize_t)size) abort();
    snprintf(path, 64, "/proc/self/fd/%d", *file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int files[2] = { -1, -1 };
    char path[2][64];
    gm_err err = { 0 };
    gm_records all = { 0 }, again = { 0 };
    gm_import_counts counts;
    gm_buffer once = { 0 }, twice = { 0 };
    const char *bytes = (const char *)data, *nul = size > 0 ? memchr(bytes, 0, size) : NULL;
    const size_t first = nul != NULL ? (size_t)(nul - bytes) : size;
    put(&files[0], path[0], bytes, first);
    put(&files[1], path[1], nul != NULL ? nul + 1 : "{}", nul != NULL ? size - first - 1 : 2);
    gm_import what = { .format = "ccks-json", .text = path[0], .entities = path[1] };
    if (gm_import_read(&what, &all, &counts, &err) != GM_OK) {
        if (err.text[0] == '\0' || all.items != NULL) abort();
        return 0;
    }
    if (gm_ccks_json_write(&all, true, &once, &err) != GM_OK) abort();
    put(&files[1], path[1], once.data, once.size);
    if (gm_import_read(&what, &again, &counts, &err) != GM_OK || gm_ccks_json_write(&again, true, &twice, &err) != GM_OK) abort();
    if (again.count != all.count || twice.size == 0) abort();
    gm_records_free(&all);
    gm_records_free(&again);
    gm_buffer_free(&once);
    gm_buffer_free(&twice);
    return 0;
}
