/* XLM-R's tokenizer: a SentencePiece model with fairseq's ids, which begin with <s> <pad> </s> <unk> and number all else
 * one higher than the model does. Needs the library at build time. Thread-safe once loaded. */
#ifndef GM_TEXT_SENTENCEPIECE_H
#define GM_TEXT_SENTENCEPIECE_H

#include "text/pieces.h"

typedef struct gm_sentencepiece gm_sentencepiece;

/* A model file in memory, which is copied; `place` stands in messages. GM_ERR_MISSING, naming the Debian package, where
 * the build lacks SentencePiece. */
gm_status gm_sentencepiece_parse(const char *place, const char *bytes, size_t size, gm_sentencepiece **s, gm_err *err);
void gm_sentencepiece_destroy(gm_sentencepiece *s);
int32_t gm_sentencepiece_size(const gm_sentencepiece *s); /* <mask>, the last id, included */
gm_special_ids gm_sentencepiece_special(const gm_sentencepiece *s);

/* Appends the pieces of a text. Bad UTF-8: GM_ERR_DATA with the offset; `out` stays as it was. */
gm_status gm_sentencepiece_encode(const gm_sentencepiece *s, const char *text, size_t n, gm_pieces *out, gm_err *err);

#endif
