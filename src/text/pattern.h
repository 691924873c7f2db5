/* Cuts a text into words, numbers, symbols and white space as GPT-2's and RoBERTa's tokenizers do before byte-level BPE.
 * Needs PCRE2 at build time. Thread-safe once made. */
#ifndef GM_TEXT_PATTERN_H
#define GM_TEXT_PATTERN_H

#include <stddef.h>

#include "base/status.h"

typedef struct gm_pattern gm_pattern;
typedef struct gm_pattern_memory gm_pattern_memory; /* what a thread needs of its own */

/* GM_ERR_MISSING, naming the Debian package, where the build lacks PCRE2. */
gm_status gm_pattern_make(gm_pattern **p, gm_err *err);
void gm_pattern_destroy(gm_pattern *p);
gm_status gm_pattern_memory_make(const gm_pattern *p, gm_pattern_memory **m, gm_err *err);
void gm_pattern_memory_destroy(gm_pattern_memory *m);

/* The part of a text that begins at byte `from` < n ends at *end > from. The text is good UTF-8. */
gm_status gm_pattern_next(const gm_pattern *p, gm_pattern_memory *m, const char *text, size_t n, size_t from, size_t *end,
                          gm_err *err);

#endif
