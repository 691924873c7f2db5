/* Statuses and error texts. What can fail returns gm_status and writes one sentence into the caller's gm_err:
 * the place, what was expected, what was found, what to do. Library code never prints and never exits. */
#ifndef GM_BASE_STATUS_H
#define GM_BASE_STATUS_H

typedef enum gm_status {
#define GM_STATUS(name, code, text) GM_##name,
#include "status.def"
#undef GM_STATUS
    GM_STATUS_COUNT
} gm_status;

typedef struct gm_err {
    gm_status status;
    char text[1024]; /* ends with NUL; a longer message is cut */
} gm_err;

#define GM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define GM_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* Returns at once with the status of a failed call; where something must be released first, use `goto out`. */
#define GM_TRY(call)                          \
    do {                                      \
        const gm_status gm_try_ = (call);     \
        if (gm_try_ != GM_OK) return gm_try_; \
    } while (0)

/* Writes the message (unless err is NULL) and returns `status`. The newest message replaces an older one. */
gm_status gm_fail(gm_err *err, gm_status status, const char *format, ...) GM_PRINTF(3, 4);

/* Puts "text: " before the message that stands in err: adds the place that only the caller knows. Returns its status. */
gm_status gm_fail_at(gm_err *err, const char *format, ...) GM_PRINTF(2, 3);

const char *gm_status_name(gm_status status); /* "ERR_DATA" */
const char *gm_status_text(gm_status status);
int gm_status_exit(gm_status status); /* the program's exit code */

#endif
