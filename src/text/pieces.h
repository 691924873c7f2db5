/* What every tokenizer gives: the pieces of a text with the bytes they came from, and a sentence of words as an encoder
 * reads it. */
#ifndef GM_TEXT_PIECES_H
#define GM_TEXT_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* One piece with the bytes of the input it came from, [start, end). */
typedef struct gm_piece { int32_t id; int32_t start, end; } gm_piece;
typedef struct gm_pieces { gm_piece *items; size_t count, capacity; } gm_pieces;
void gm_pieces_free(gm_pieces *p);
gm_status gm_pieces_add(gm_pieces *p, gm_piece piece, gm_err *err);

/* A sentence of words as the encoder reads it: begin, pieces of each word, end. */
typedef struct gm_encoded {
    int32_t *ids;          /* [count] */
    int32_t count;
    int32_t *first_piece;  /* [words] index into ids of each kept word's first piece */
    int32_t words;         /* kept words: fewer than given when the sentence was cut at a word */
    bool is_cut;
} gm_encoded;
void gm_encoded_free(gm_encoded *e);

#endif
