/* Any bytes as tagged text; the first byte chooses the format. What is read must be a file of good records: unique ids,
 * and lines that read back. Readers take paths, so the bytes stand in a file in memory. */
#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/readers.h"

static void check(const gm_records *all)
{
    gm_err err;
    gm_buffer line = { 0 };
    if (all->count == 0 || gm_records_check_ids(all, "fuzz", &err) != GM_OK) abort();
    for (size_t i = 0; i < all->count; i++) {
        gm_record r;
        line.size = 0;
        if (gm_record_write(&all->items[i], &line, &err) != GM_OK) abort();
        if (gm_record_parse(line.data, line.size, &r, &err) != GM_OK) abort();
        gm_record_free(&r);
    }
    gm_buffer_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = { "twitter-gmner", "twitter-fmnerg", "ccks", "conll", "records" };
    static int file = -1;
    char path[64];
    gm_err err = { 0 };
    gm_records all = { 0 };
    gm_import_counts counts;
    if (size == 0) return 0;
    if (file < 0) file = memfd_create("text", 0);
    if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data + 1, size - 1, 0) != (ssize_t)(size - 1)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    const gm_import what = { .format = formats[data[0] % GM_LEN(formats)], .text = path };
    if (gm_import_read(&what, &all, &counts, &err) == GM_OK)
        check(&all);
    else if (err.text[0] == '\0' || all.items != NULL)
        abort();
    gm_records_free(&all);
    return 0;
}
