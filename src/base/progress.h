/* Progress of long work: one rewritten line on a terminal, a plain line every `every` items elsewhere (stderr). */
#ifndef GM_BASE_PROGRESS_H
#define GM_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gm_progress {
    const char *area;   /* first word of the line */
    int64_t total;      /* items in all; 0 when unknown */
    int64_t every;      /* items between plain lines */
    int64_t printed;    /* items at the last line; 0 when there was none */
    int64_t first;      /* items at the first update, from which rates count; -1 before it */
    double start_s, shown_s;
    bool is_terminal;
} gm_progress;

/* `area` must stay valid until the end. */
void gm_progress_start(gm_progress *p, const char *area, int64_t total, int64_t every);
/* `detail` (may be NULL) stands behind the bar: loss 0.123 lr 1e-4 ... Rewrites at most ten times a second. */
void gm_progress_update(gm_progress *p, int64_t done, const char *detail);
void gm_progress_end(gm_progress *p);
double gm_now_s(void); /* monotonic clock */

#endif
