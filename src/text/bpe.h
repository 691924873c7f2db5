/* Byte-level BPE of GPT-2 and RoBERTa (Radford et al., 2019), equal to Hugging Face `tokenizers`: the text is cut by a
 * pattern, each part becomes bytes, and neighbours are merged in the order of merges.txt. Thread-safe once loaded. */
#ifndef GM_TEXT_BPE_H
#define GM_TEXT_BPE_H

#include "text/pieces.h"

typedef struct gm_bpe gm_bpe;
typedef struct gm_bpe_memory gm_bpe_memory; /* what a thread needs of its own, used again from call to call */

/* One file in memory; `place` stands in messages. */
typedef struct gm_bpe_source { const char *place, *bytes; size_t size; } gm_bpe_source;

/* vocab.json: an object of piece and id, all 256 bytes among the pieces (in GPT-2's spelling, "\u0120" for a blank) and
 * the four special pieces. merges.txt: two pieces a line, the pair merged first standing first; lines that begin with
 * #version are skipped. A piece, an id or a pair twice is an error, and so is a pair whose parts or whole are no pieces. */
gm_status gm_bpe_parse(const gm_bpe_source *vocab, const gm_bpe_source *merges, const gm_special_names *names, gm_bpe **b,
                       gm_err *err);
void gm_bpe_destroy(gm_bpe *b);
int32_t gm_bpe_size(const gm_bpe *b); /* largest id + 1 */
gm_special_ids gm_bpe_special(const gm_bpe *b);

gm_status gm_bpe_memory_make(const gm_bpe *b, gm_bpe_memory **m, gm_err *err);
void gm_bpe_memory_destroy(gm_bpe_memory *m);

/* Appends the pieces of a text that is read as if a blank stood before it, unless it begins with one. A range holds
 * whole characters, and no blanks at its ends. Bad UTF-8: GM_ERR_DATA with the offset; `out` stays as it was. */
gm_status gm_bpe_encode(const gm_bpe *b, gm_bpe_memory *m, const char *text, size_t n, gm_pieces *out, gm_err *err);

#endif
