/* WordPiece of BERT, equal to Hugging Face `tokenizers`: cleaning, CJK blanks, NFD and accent stripping, lower case,
 * punctuation split, greedy longest match. Thread-safe once loaded. */
#ifndef GM_TEXT_WORDPIECE_H
#define GM_TEXT_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/normalize.h"
#include "text/pieces.h"

typedef struct gm_wordpiece gm_wordpiece;

/* vocab.txt from memory, which is copied: one piece a line, its number is the line's (0-based). Needs [UNK] [CLS] [SEP]
 * [PAD]; a piece twice, an empty file or bad UTF-8 is an error naming place:line. */
gm_status gm_wordpiece_parse(const char *place, const char *text, size_t bytes, bool lower_case, gm_wordpiece **w, gm_err *err);
/* Vocabularies whose special pieces bear other names, as MPNet's: all four are needed. */
gm_status gm_wordpiece_parse_named(const char *place, const char *text, size_t bytes, bool lower_case,
                                   const gm_special_names *names, gm_wordpiece **w, gm_err *err);
void gm_wordpiece_destroy(gm_wordpiece *w);
int32_t gm_wordpiece_size(const gm_wordpiece *w);
int32_t gm_wordpiece_find(const gm_wordpiece *w, const char *piece); /* -1 when unknown */
const char *gm_wordpiece_piece(const gm_wordpiece *w, int32_t id);   /* the vocabulary's */

gm_special_ids gm_wordpiece_special(const gm_wordpiece *w);

/* Appends the pieces of a text (no [CLS], no [SEP]). A literal "[SEP]" is text. Bad UTF-8: GM_ERR_DATA with the offset. */
gm_status gm_wordpiece_encode(const gm_wordpiece *w, const char *text, size_t n, gm_pieces *out, gm_err *err);
/* The same with memory of the caller's for the normalised text, used again from call to call. */
gm_status gm_wordpiece_encode_with(const gm_wordpiece *w, gm_chars *chars, const char *text, size_t n, gm_pieces *out,
                                   gm_err *err);

#endif
