/* What libsentencepiece trusts a model file in, checked before it sees the file. */
#ifndef GM_TEXT_SENTENCEPIECE_FILE_H
#define GM_TEXT_SENTENCEPIECE_FILE_H

#include <stddef.h>

#include "base/status.h"

/* GM_ERR_FORMAT for a file that is cut short, even between two pieces, or whose table of normalisation points outside
 * itself: the library takes the first for whole and reads wild memory with the second. */
gm_status gm_sentencepiece_check_file(const char *place, const char *bytes, size_t size, gm_err *err);

#endif
