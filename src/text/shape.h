/* The shape of a word: what an uncased encoder is not shown of its letters, and what kind of thing it is on Twitter. A fixed
 * table, for models keep an embedding of each class: docs/training.md lists it. */
#ifndef GM_TEXT_SHAPE_H
#define GM_TEXT_SHAPE_H

#include <stdint.h>

/* Numbers are those of rows in models that were saved: new classes go behind the last. */
typedef enum gm_shape {
    GM_SHAPE_NONE,          /* no word: beyond the sentence, and pieces that stand for no word */
    GM_SHAPE_LOWER,         /* house, don't */
    GM_SHAPE_CAPITALISED,   /* House, Coca-Cola: capitals begin the word and its parts only */
    GM_SHAPE_UPPER,         /* NASA, U.S. */
    GM_SHAPE_INITIAL,       /* I, J. */
    GM_SHAPE_MIXED,         /* iPhone, YouTube */
    GM_SHAPE_DIGITS,        /* 2016, 5,000, 10:30 */
    GM_SHAPE_DIGITS_LOWER,  /* 2nd */
    GM_SHAPE_DIGITS_UPPER,  /* G20, iOS9 */
    GM_SHAPE_USER,          /* @user */
    GM_SHAPE_TAG_LOWER,     /* #tag */
    GM_SHAPE_TAG_UPPER,     /* #Tag: a capital anywhere */
    GM_SHAPE_URL,           /* http://, https://, www. */
    GM_SHAPE_PUNCTUATION,   /* , ... */
    GM_SHAPE_SYMBOL,        /* +, emoji */
    GM_SHAPE_CASELESS,      /* letters without case: Chinese, Arabic */
    GM_SHAPE_OTHER,         /* nothing of this: control characters, bare marks */
    GM_SHAPES
} gm_shape;

/* Of a NUL-terminated word. Bytes that are not UTF-8 count as nothing. */
gm_shape gm_shape_of(const char *word);

#endif
