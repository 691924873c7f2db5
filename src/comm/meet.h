/* How ranks without MPI tell each other a few bytes: through a file in a folder that all see. */
#ifndef GM_COMM_MEET_H
#define GM_COMM_MEET_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* By all ranks: `bytes` of rank 0 come to all. Each rank but 0 says in `path`.RANK that it is there, under a number of its own, and
 * rank 0 answers in `path`, naming these numbers, so that what an earlier run left behind is never taken for an answer. Nothing is
 * left when all are through. timeout_s: 0 waits for ever. */
gm_status gm_meet(const char *path, int32_t rank, int32_t size, double timeout_s, void *block, size_t bytes, gm_err *err);

#endif
