/* The files of a small random encoder, made in memory: for the simulator, tests and first steps without any download. */
#ifndef GM_MODEL_TINY_H
#define GM_MODEL_TINY_H

#include "data/records.h"

/* config.json of two layers, hidden 64, two heads; vocab.txt of the special pieces, single characters and the words of
 * the records in lower case, most frequent first, some 2,000 at most. Both are the caller's. */
gm_status gm_tiny_files(const gm_records *records, char **config, size_t *config_size, char **vocab, size_t *vocab_size, gm_err *err);

#endif
