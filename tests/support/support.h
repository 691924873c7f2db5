/* What test programs share: the shared fixtures, temporary folders, and assertions that print the message.
 * What these return belongs to this file and lives until the program ends. */
#ifndef GM_TESTS_SUPPORT_H
#define GM_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "base/status.h"

/* "methods/fixtures/crf.json" -> its path below the folder `shared` beside the repository. Where that is missing the
 * program ends as skipped (77), or as failed (1) when the environment variable GM_REQUIRE names data. */
const char *gmt_shared(const char *relative);

/* The fixture methods/fixtures/<name>.json, parsed. Missing: as gmt_shared. */
const cJSON *gmt_fixture(const char *name);

/* A fresh folder, removed with all it holds when the program ends. */
const char *gmt_temp_dir(void);

/* For processes that this one starts by mpirun: as root too, and without LeakSanitizer, since MPI keeps some memory to the end. */
void gmt_allow_mpirun(void);

void gmt_write_file(const char *path, const void *bytes, size_t n);

/* Writes the numbers of `value`, nested arrays flattened in order, to out; fails beyond `max` or on anything that is
 * not a number. Returns how many. */
int gmt_json_doubles(const cJSON *value, double *out, int max);

/* `call` returns a gm_status and writes to a `gm_err err` in scope. */
#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        const gm_status gmt_status_ = (call);                                                                          \
        if (gmt_status_ != GM_OK) fail_msg("%s gave %s: %s", #call, gm_status_name(gmt_status_), err.text);            \
    } while (0)

#endif
