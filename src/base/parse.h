/* Words that people type: numbers read whole, and the name that a misspelt one was meant to be. */
#ifndef GM_BASE_PARSE_H
#define GM_BASE_PARSE_H

#include <stdint.h>

#include "base/status.h"

/* The whole text must be the number: `12x` and a blank are refused with GM_ERR_USAGE. */
gm_status gm_parse_int(const char *text, int64_t *value, gm_err *err);
gm_status gm_parse_u64(const char *text, uint64_t *value, gm_err *err);
gm_status gm_parse_num(const char *text, double *value, gm_err *err); /* finite */

/* The name among `names` (count of them) nearest to `word` by edit distance, or NULL when none is near. */
const char *gm_nearest(const char *word, const char *const *names, int count);

#endif
