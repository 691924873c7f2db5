/* A text and its words, as ReFineG cuts them: a word is a run of letters, digits and underscores of any script, or one character that is
 * neither that nor blank. Words are byte ranges of the one text that they were cut from, so names are always slices of it. */
#ifndef GM_DATA_WORDS_H
#define GM_DATA_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/labels.h"

typedef struct gm_word { int32_t start, end; } gm_word; /* bytes of the text, [start, end) */

typedef struct gm_words {
    gm_word *items;
    int32_t count;
    size_t capacity;
} gm_words;

/* Replaces what stood in *to, keeping its memory. Bad UTF-8 or a NUL: GM_ERR_DATA with the offset. */
gm_status gm_words_of(const char *text, size_t n, gm_words *to, gm_err *err);
void gm_words_free(gm_words *w); /* takes a zeroed one */

/* The text from the first word to the last one, both inclusive, as it stands there; gm_malloc'ed, NULL when out of memory. */
char *gm_words_slice(const gm_words *w, const char *text, int32_t first, int32_t last);
/* Words of the length that people would count: as above, but in a script without blanks (Han, Kana) each letter is one. */
int32_t gm_words_length(const gm_words *w, const char *text);

/* Letters and digits alone, without case and accents: equal for texts that differ in nothing else. gm_malloc'ed; NULL when out of
 * memory. The text is good UTF-8. */
char *gm_text_folded(const char *text);

/* A name that a text is said to hold. */
typedef struct gm_named {
    const char *name;
    int32_t type;
    int32_t found; /* times that it was marked; 0: it stands only within names already marked; -1: nowhere */
} gm_named;

/* Marks every occurrence of each name that does not overlap one already marked, longest names first, also inside words; where the bytes
 * of a name do not occur, the same words with other blanks do. A word in which an occurrence begins begins an entity, one that holds
 * part of it goes on with it. Writes the spans, without overlap and at most `words->count`, to `spans`, and counts the occurrences
 * that begin or end inside a word. */
gm_status gm_words_name(const gm_words *words, const char *text, gm_named *names, int32_t name_count, gm_span *spans, int32_t *span_count,
                        int32_t *inside_words, gm_err *err);

#endif
