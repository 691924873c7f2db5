#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

gm_status gm_fail(gm_err *err, gm_status status, const char *format, ...)
{
    if (err == NULL) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->status = status;
    return status;
}

gm_status gm_fail_at(gm_err *err, const char *format, ...)
{
    if (err == NULL) return GM_ERR_DATA;
    char place[sizeof err->text], rest[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    memcpy(rest, err->text, sizeof rest);
    const size_t room = sizeof err->text - 1;
    const size_t n_place = strlen(place), n_rest = strlen(rest);
    const size_t sep = n_place + 2 <= room ? 2 : 0;
    const size_t keep = n_place + sep + n_rest <= room ? n_rest : room - n_place - sep;
    memcpy(err->text, place, n_place);
    memcpy(err->text + n_place, ": ", sep);
    memcpy(err->text + n_place + sep, rest, keep);
    err->text[n_place + sep + keep] = '\0';
    return err->status;
}

static const struct {
    const char *name, *text;
    int code;
} table[] = {
#define GM_STATUS(name, code, text) { #name, text, code },
#include "status.def"
#undef GM_STATUS
};

const char *gm_status_name(gm_status status) { return status < GM_STATUS_COUNT ? table[status].name : "unknown"; }
const char *gm_status_text(gm_status status) { return status < GM_STATUS_COUNT ? table[status].text : "unknown"; }
int gm_status_exit(gm_status status) { return status < GM_STATUS_COUNT ? table[status].code : 1; }
