#define _DEFAULT_SOURCE /* getrandom */
#define _POSIX_C_SOURCE 200809L
#include "comm/meet.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"

typedef struct number { char bytes[16]; } number; /* of a process, drawn at its start */

typedef struct meeting {
    const char *path;
    int32_t rank, size;
    double until; /* 0: for ever */
    void *block;
    size_t bytes;
    number *known; /* [size] who has come, as rank 0 has read it; zeros: nobody yet */
} meeting;

static gm_status own_path(const meeting *m, int32_t rank, gm_buffer *path, gm_err *err)
{
    path->size = 0;
    return gm_buffer_printf(path, err, "%s.%d", m->path, rank);
}

/* Whether the file is there with so many bytes. It may come or go at any moment: what cannot be read is not there. */
static bool take_file(const char *path, void *block, size_t bytes)
{
    gm_err ignored = { 0 };
    char *read = NULL;
    size_t size = 0;
    if (!gm_path_exists(path) || gm_file_read(path, &read, &size, &ignored) != GM_OK) return false;
    const bool fits = size == bytes;
    if (fits) memcpy(block, read, bytes);
    gm_free(read);
    return fits;
}

static void pause_a_little(void)
{
    const struct timespec moment = { .tv_nsec = 20000000 };
    nanosleep(&moment, NULL);
}

static bool is_late(const meeting *m) { return m->until > 0.0 && gm_now_s() > m->until; }

static bool is_known(const meeting *m, int32_t rank)
{
    static const number nobody;
    return memcmp(&m->known[rank], &nobody, sizeof nobody) != 0;
}

static gm_status answer(const meeting *m, char *text, gm_err *err)
{
    memcpy(text, m->block, m->bytes);
    memcpy(text + m->bytes, m->known, (size_t)m->size * sizeof *m->known);
    return gm_file_write(m->path, text, m->bytes + (size_t)m->size * sizeof *m->known, err);
}

static gm_status name_the_missing(const meeting *m, gm_err *err)
{
    gm_buffer who = { 0 };
    for (int32_t r = 1; r < m->size; r++)
        if (!is_known(m, r)) (void)gm_buffer_printf(&who, NULL, "%s%d", who.size > 0 ? ", " : "", r);
    gm_fail(err, GM_ERR_DEVICE, "%s: of %d ranks %s did not come in time (comm.timeout_s); start all of them, with the same --comm-file in a folder that all see", m->path, m->size,
            who.data != NULL ? who.data : "some that another run has left behind");
    gm_buffer_free(&who);
    return GM_ERR_DEVICE;
}

/* Answers anew whenever somebody new has come, which may be a process that takes the place of what another run has left, until
 * each has read its answer and taken its own file away. */
static gm_status host_meeting(meeting *m, gm_buffer *path, char *text, gm_err *err)
{
    for (;;) {
        int32_t come = 0, here = 0;
        bool is_new = false;
        for (int32_t r = 1; r < m->size; r++) {
            number read;
            GM_TRY(own_path(m, r, path, err));
            if (take_file(path->data, &read, sizeof read)) {
                is_new |= memcmp(&read, &m->known[r], sizeof read) != 0;
                m->known[r] = read;
                here++;
            }
            come += is_known(m, r);
        }
        if (come == m->size - 1 && is_new) GM_TRY(answer(m, text, err));
        if (come == m->size - 1 && here == 0) return GM_OK;
        if (is_late(m)) return name_the_missing(m, err);
        pause_a_little();
    }
}

static gm_status visit(const meeting *m, const gm_buffer *path, char *text, gm_err *err)
{
    number own;
    const size_t bytes = m->bytes + (size_t)m->size * sizeof own;
    if (getrandom(&own, sizeof own, 0) != (ssize_t)sizeof own) return gm_fail(err, GM_ERR_IO, "no random numbers to be had");
    GM_TRY(gm_file_write(path->data, &own, sizeof own, err));
    while (!take_file(m->path, text, bytes) || memcmp(text + m->bytes + (size_t)m->rank * sizeof own, &own, sizeof own) != 0) {
        if (is_late(m)) {
            remove(path->data);
            return gm_fail(err, GM_ERR_DEVICE, "%s: rank 0 of %d did not answer in time (comm.timeout_s); start all ranks, with the same --comm-file in a folder that all see", m->path, m->size);
        }
        pause_a_little();
    }
    memcpy(m->block, text, m->bytes);
    if (remove(path->data) != 0) return gm_fail(err, GM_ERR_IO, "%s: cannot be removed, and rank 0 waits for that", path->data);
    return GM_OK;
}

gm_status gm_meet(const char *path, int32_t rank, int32_t size, double timeout_s, void *block, size_t bytes, gm_err *err)
{
    meeting m = { .path = path, .rank = rank, .size = size, .until = timeout_s > 0.0 ? gm_now_s() + timeout_s : 0.0, .block = block, .bytes = bytes };
    gm_buffer own = { 0 };
    if (size == 1) return GM_OK;
    m.known = gm_calloc((size_t)size, sizeof *m.known);
    char *text = gm_malloc(bytes + (size_t)size * sizeof *m.known);
    gm_status status = m.known != NULL && text != NULL ? own_path(&m, rank, &own, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", size);
    if (status == GM_OK) status = rank == 0 ? host_meeting(&m, &own, text, err) : visit(&m, &own, text, err);
    if (rank == 0) remove(path);
    gm_buffer_free(&own);
    gm_free(m.known);
    gm_free(text);
    return status;
}
