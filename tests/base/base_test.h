/* What the tests of base share: asking for a failure by status and words, failing every allocation in turn, and
 * catching what a call prints. */
#ifndef GM_TESTS_BASE_TEST_H
#define GM_TESTS_BASE_TEST_H

#define _GNU_SOURCE /* dup2, fileno and what single tests need of the system; so this is included first */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/support.h"

/* `call` must give `want` with a message that holds `part`; it writes to a `gm_err err` in scope. */
#define assert_fails(call, want, part)                                                                                 \
    do {                                                                                                               \
        err = (gm_err) { 0 };                                                                                          \
        const gm_status gmt_status_ = (call);                                                                          \
        if (gmt_status_ != (want) || err.status != (want) || strstr(err.text, part) == NULL)                           \
            fail_msg("%s gave %s with \"%s\", wanted %s with \"%s\"", #call, gm_status_name(gmt_status_), err.text,    \
                     gm_status_name(want), part);                                                                      \
    } while (0)

/* Runs `work` once to count its allocations, then fails each of them once: all must end as ERR_NOMEM. */
static inline void fail_each_allocation(gm_status (*work)(void *state, gm_err *err), void *state)
{
    gm_err err = { 0 };
    const uint64_t before = gm_alloc_count();
    assert_ok(work(state, &err));
    const int64_t count = (int64_t)(gm_alloc_count() - before);
    assert_true(count > 0);
    for (int64_t k = 0; k <= count; k++) {
        err = (gm_err) { 0 };
        gm_alloc_fail_at(k);
        const gm_status status = work(state, &err);
        gm_alloc_fail_at(-1);
        if (k < count && (status != GM_ERR_NOMEM || err.status != GM_ERR_NOMEM))
            fail_msg("allocation %lld of %lld failed, but the call gave %s: %s", (long long)k, (long long)count,
                     gm_status_name(status), err.text);
        if (k == count) assert_int_equal(status, GM_OK);
    }
}

/* What stands between catch_start and catch_end lands in `text` instead of on descriptor `fd`. */
typedef struct caught {
    FILE *file;
    int fd, saved;
    char text[16384];
} caught;

static inline void catch_start(caught *c, int fd)
{
    fflush(NULL);
    c->file = tmpfile();
    assert_non_null(c->file);
    c->fd = fd;
    c->saved = dup(fd);
    assert_int_equal(dup2(fileno(c->file), fd), fd);
}

static inline const char *catch_end(caught *c)
{
    fflush(NULL);
    dup2(c->saved, c->fd);
    close(c->saved);
    rewind(c->file);
    const size_t n = fread(c->text, 1, sizeof c->text - 1, c->file);
    c->text[n] = '\0';
    fclose(c->file);
    return c->text;
}

#endif
