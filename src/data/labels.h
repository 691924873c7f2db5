/* Entity types of a data set, and tags: BIO / BIOES <-> spans. */
#ifndef GM_DATA_LABELS_H
#define GM_DATA_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { GM_MAX_TYPES = 64 };

/* Types in the order of their class numbers: class 0 is "none", type k is class k + 1. */
typedef struct gm_labels {
    char *names[GM_MAX_TYPES];
    int32_t count;
} gm_labels;

/* "PER,LOC,ORG,OTHER". A name twice, an empty name or more than GM_MAX_TYPES is an error. */
gm_status gm_labels_parse(const char *list, gm_labels *l, gm_err *err);
gm_status gm_labels_add(gm_labels *l, const char *name, size_t n, gm_err *err); /* n bytes of name; the same rules */
void gm_labels_free(gm_labels *l);
int32_t gm_labels_find(const gm_labels *l, const char *type); /* -1 when unknown; exact spelling */

/* The types of a format: twitter-gmner, synth: PER LOC ORG OTHER; twitter-fmnerg: its eight coarse types; ccks: aircraft
 * vehicle weapon vessel location other. NULL for records and conll: there the training file tells (sorted by name). */
const char *gm_labels_of_format(const char *format);

typedef struct gm_span { int32_t start, end, type; } gm_span; /* end inclusive; type indexes gm_labels */

/* Takes "B-PER" apart: its letter (O B I E S) and its type ("" for O; points into tag). False for any other form. */
bool gm_tag_split(const char *tag, char *letter, const char **type);

/* How tags become spans (fixture bio_decode). Lenient is the project's rule: a stray I- begins an entity. Whole is ReFineG's rule for BIOES:
 * only S and B I* E of one type are entities (fixture refineg, bioes_decode). */
typedef enum gm_bio_rule { GM_BIO_LENIENT, GM_BIO_STRICT, GM_BIO_ANY_I, GM_BIO_WHOLE } gm_bio_rule;
/* `tag[n]` as text ("B-PER", "I-PER", "O"; BIOES: "S-", "E-" too). Spans go to out[at most n]; *count of them.
 * An unknown tag or type is GM_ERR_DATA naming it. */
gm_status gm_bio_decode_text(const char *const *tag, int32_t n, const gm_labels *l, gm_bio_rule rule, gm_span *out,
                             int32_t *count, gm_err *err);

/* Tag numbers of a scheme with c types: BIO 0 = O, 1 + 2k = B-k, 2 + 2k = I-k; BIOES 0 = O, 1 + 4k = B, I, E, S. */
typedef enum gm_tag_scheme { GM_TAGS_BIO, GM_TAGS_BIOES } gm_tag_scheme;
int32_t gm_tag_count(gm_tag_scheme s, int32_t types);
/* Spans without overlap; one that does not lie wholly within the n words gives no tags. */
void gm_tags_encode(gm_tag_scheme s, const gm_span *spans, int32_t count, int32_t *tag, int32_t n);
int32_t gm_tags_decode(gm_tag_scheme s, const int32_t *tag, int32_t n, gm_span *out); /* lenient; returns the count */
/* Whether tag b may follow tag a (from = -1: may begin; to = -1: may end) in a well-formed sequence. */
bool gm_tag_allowed(gm_tag_scheme s, int32_t from, int32_t to);

#endif
