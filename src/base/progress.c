/* Progress on stderr. A terminal shows one line that is written over itself; elsewhere log lines, so that a log file
 * stays readable. Says nothing where the log level is below info. */
#define _DEFAULT_SOURCE /* winsize */
#define _POSIX_C_SOURCE 200809L
#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

double gm_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void gm_progress_start(gm_progress *p, const char *area, int64_t total, int64_t every)
{
    const char *term = getenv("TERM");
    const bool can_rewrite = isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
    *p = (gm_progress) { .area = area, .total = total, .every = every, .first = -1, .is_terminal = can_rewrite };
    p->start_s = gm_now_s();
}

static void add(char *line, size_t size, const char *text)
{
    const size_t n = strlen(line);
    if (n + 1 < size) snprintf(line + n, size - n, "%s", text);
}

/* "450/1000 45% 12.3/s 0:45 left loss 0.1". Rate and time count from the first update on, so that a resumed run does
 * not count the work of the earlier one. */
static void describe(const gm_progress *p, int64_t done, const char *detail, double now, char *line, size_t size)
{
    char part[64];
    const double rate = now > p->start_s ? (double)(done - p->first) / (now - p->start_s) : 0.0;
    if (p->total > 0)
        snprintf(line, size, "%lld/%lld %d%%", (long long)done, (long long)p->total,
                 (int)(100.0 * (double)done / (double)p->total));
    else
        snprintf(line, size, "%lld", (long long)done);
    if (rate > 0.0) {
        snprintf(part, sizeof part, " %.1f/s", rate);
        add(line, size, part);
        if (p->total > done) {
            const long long left = (long long)((double)(p->total - done) / rate);
            if (left >= 3600)
                snprintf(part, sizeof part, " %lld:%02lld:%02lld left", left / 3600, left / 60 % 60, left % 60);
            else
                snprintf(part, sizeof part, " %lld:%02lld left", left / 60, left % 60);
            add(line, size, part);
        }
    }
    if (detail != NULL && detail[0] != '\0') {
        add(line, size, " ");
        add(line, size, detail);
    }
}

/* The whole line is cut to the terminal's width: a wrapped line could not be written over. */
static void rewrite(const gm_progress *p, int64_t done, const char *text)
{
    enum { CELLS = 24 };
    char bar[CELLS + 4] = "", line[512];
    struct winsize window;
    const int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col - 1 : 79;
    if (p->total > 0) {
        const int64_t shown = done < p->total ? done : p->total;
        const int full = (int)((double)CELLS * (double)shown / (double)p->total);
        bar[0] = '[';
        memset(bar + 1, '#', (size_t)full);
        memset(bar + 1 + full, '.', (size_t)(CELLS - full));
        bar[CELLS + 1] = ']';
        bar[CELLS + 2] = ' ';
    }
    snprintf(line, sizeof line, "%s %s%s", p->area, bar, text);
    fprintf(stderr, "\r%.*s\033[K", width, line); /* \033[K wipes what a longer line left */
    fflush(stderr);
}

void gm_progress_update(gm_progress *p, int64_t done, const char *detail)
{
    const double now = gm_now_s();
    if (p->first < 0) {
        p->first = done;
        p->start_s = now;
    }
    const bool is_last = p->total > 0 && done >= p->total;
    const bool is_due =
        p->is_terminal ? now - p->shown_s >= 0.1 : p->every > 0 && done / p->every > p->printed / p->every;
    if (!gm_log_is_on(GM_LOG_INFO) || (!is_due && !is_last) || (is_last && p->printed >= done)) return;
    char text[384];
    describe(p, done, detail, now, text, sizeof text);
    if (p->is_terminal)
        rewrite(p, done, text);
    else
        gm_log(GM_LOG_INFO, p->area, "%s", text);
    p->printed = done;
    p->shown_s = now;
}

void gm_progress_end(gm_progress *p)
{
    if (p->is_terminal && p->printed > 0) fputc('\n', stderr);
    p->printed = 0;
}
