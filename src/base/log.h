/* `time level area: message` lines on stderr. Results go to stdout by the commands; nothing else prints. */
#ifndef GM_BASE_LOG_H
#define GM_BASE_LOG_H

#include <stdbool.h>

#include "base/status.h"

typedef enum gm_log_level { GM_LOG_ERROR, GM_LOG_WARN, GM_LOG_INFO, GM_LOG_DEBUG } gm_log_level;

void gm_log_set_level(gm_log_level level);      /* default info */
bool gm_log_is_on(gm_log_level level); /* whether a line of this level is printed */
void gm_log_set_place(const char *place); /* which of several processes speaks: stands in each line; default none */
gm_status gm_log_parse_level(const char *text, gm_log_level *level, gm_err *err); /* error warn info debug */
void gm_log(gm_log_level level, const char *area, const char *format, ...) GM_PRINTF(3, 4);

#endif
