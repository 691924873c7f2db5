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

/* A text that is not UTF-8, holds a NUL or is beyond 2 GiB is GM_ERR_DATA naming the byte. */
gm_status gm_text_check(const char *text, size_t n, gm_err *err);

/* Pieces that stand for no text. */
typedef struct gm_special_ids { int32_t begin, end, pad, unknown; } gm_special_ids;
typedef struct gm_special_names { const char *begin, *end, *pad, *unknown; } gm_special_names;

/* A sentence of words as the encoder reads it: begin, pieces of each word, end. */
typedef struct gm_encoded {
    int32_t *ids;          /* [count] */
    int32_t count;
    int32_t *first_piece;  /* [words] index into ids of each kept word's first piece */
    int32_t words;         /* kept words: fewer than given when the sentence was cut at a word */
    bool is_cut;
} gm_encoded;
void gm_encoded_free(gm_encoded *e);

/* What a sentence asks of a tokenizer: `encode` appends the pieces of one word. */
typedef struct gm_word_encoder {
    gm_status (*encode)(void *self, const char *word, size_t n, gm_pieces *out, gm_err *err);
    void *self;
    gm_special_ids special;
} gm_word_encoder;
/* The contract of gm_tokenizer_sentence (text/tokenizer.h). */
gm_status gm_encoded_make(const gm_word_encoder *encoder, char *const *words, int32_t count, int32_t max_len, gm_encoded *out,
                          gm_err *err);

#endif
