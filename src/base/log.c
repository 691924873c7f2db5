#define _POSIX_C_SOURCE 200809L
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const names[] = { "error", "warn", "info", "debug" };
static gm_log_level level_now = GM_LOG_INFO;
static char place_now[32];

void gm_log_set_level(gm_log_level level) { level_now = level; }

void gm_log_set_place(const char *place) { snprintf(place_now, sizeof place_now, "%s%s", place[0] != '\0' ? " " : "", place); }

bool gm_log_is_on(gm_log_level level) { return level <= level_now; }

gm_status gm_log_parse_level(const char *text, gm_log_level *level, gm_err *err)
{
    for (int i = 0; i < (int)GM_LEN(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *level = (gm_log_level)i;
            return GM_OK;
        }
    return gm_fail(err, GM_ERR_USAGE, "--log-level is error, warn, info or debug, not \"%s\"", text);
}

void gm_log(gm_log_level level, const char *area, const char *format, ...)
{
    if (!gm_log_is_on(level)) return;
    char message[2048], clock[16];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    const time_t now = time(NULL);
    struct tm parts;
    localtime_r(&now, &parts);
    strftime(clock, sizeof clock, "%H:%M:%S", &parts);
    fprintf(stderr, "%s%s %s %s: %s\n", clock, place_now, names[level], area, message); /* one call: lines of threads do not mix */
}
