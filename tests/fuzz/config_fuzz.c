/* Fuzzes gm_config_load and gm_config_set. What they take must print as JSON that loads back to the same JSON.
 * Files stand in memory (memfd), so that no run touches the disk. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"
#include "base/json.h"
#include "base/memory.h"

static void check(int holds)
{
    if (!holds) abort();
}

static gm_status load_bytes(gm_config *c, const void *bytes, size_t size)
{
    char path[64];
    gm_err err;
    const int fd = memfd_create("config", 0);
    check(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const gm_status status = gm_config_load(c, path, &err);
    check(status == GM_OK || (err.status == status && strstr(err.text, path) == err.text));
    close(fd);
    return status;
}

static void check_round_trip(const gm_config *c)
{
    gm_config *again;
    gm_err err;
    check(gm_config_create(&again, &err) == GM_OK);
    char *json = gm_config_json(c);
    check(json != NULL && load_bytes(again, json, strlen(json)) == GM_OK);
    char *second = gm_config_json(again);
    check(second != NULL && strcmp(json, second) == 0);
    gm_free(json);
    gm_free(second);
    gm_config_destroy(again);
}

/* Input that begins with '{' or a blank is a file; other input is an assignment. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_config *c;
    gm_err err;
    check(gm_config_create(&c, &err) == GM_OK);
    if (size > 0 && (data[0] == '{' || data[0] == ' ')) {
        if (load_bytes(c, data, size) == GM_OK) check_round_trip(c);
    } else {
        char *assignment = gm_strndup((const char *)data, size);
        size_t bad;
        if (gm_config_set(c, assignment, &err) == GM_OK && gm_utf8_valid(assignment, strlen(assignment), &bad))
            check_round_trip(c);
        gm_free(assignment);
    }
    gm_config_destroy(c);
    return 0;
}
