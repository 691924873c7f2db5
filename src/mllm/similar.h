/* Which labelled samples resemble a record most: likeness of texts, of pictures and of entities, each brought to 0 .. 1 over the
 * whole matrix and added with weights (ReFineG, methods of its demonstrations). The vectors come from elsewhere. */
#ifndef GM_MLLM_SIMILAR_H
#define GM_MLLM_SIMILAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/records.h"

typedef enum gm_likeness { GM_LIKENESS_TEXT, GM_LIKENESS_IMAGE, GM_LIKENESS_ENTITY, GM_LIKENESSES } gm_likeness;
extern const char *const gm_likeness_names[GM_LIKENESSES]; /* text, image, entity */

/* The names of entities, each different one once. */
typedef struct gm_names {
    const char **text;     /* [count] sorted; the texts lie in `memory` */
    int32_t count;
    int32_t *of[2];        /* for all entities of the first and of the second records, in their order: the number of its name */
    char *memory;
} gm_names;
/* An entity's name is its words with a blank between them. */
gm_status gm_names_make(const gm_records *a, const gm_records *b, gm_names *to, gm_err *err);
void gm_names_free(gm_names *n); /* takes a zeroed one */

/* A record's words, or those of an entity, with a blank between them; gm_free it. */
gm_status gm_words_text(const gm_record *r, int32_t first, int32_t last, char **text, gm_err *err);

/* What is known of the records on one side. Vectors need not be of unit length. */
typedef struct gm_likes {
    const gm_records *records;
    const float *text;     /* [records, text_width] */
    const float *image;    /* [records, image_width]; a row of zeros: the picture cannot be read. NULL: nobody looks at pictures */
    const int32_t *name;   /* [entities] rows of gm_similar_options.name */
} gm_likes;

typedef struct gm_similar_options {
    int32_t text_width, image_width, name_width;
    const float *name;     /* [names, name_width] */
    double weight[GM_LIKENESSES];
    double same_type;      /* what a pair of entities of one type has besides the cosine of its names */
    bool is_mean;          /* over the pairs of entities, in the place of their sum */
} gm_similar_options;

/* Weights .4, .2 and .6, .8 for the same type: the paper's. */
extern const gm_similar_options gm_similar_usual;

typedef struct gm_similar {
    int32_t rows, cols;
    float *of[GM_LIKENESSES];          /* [rows, cols]; NULL: not known, counts as 0 */
    double low[GM_LIKENESSES], high[GM_LIKENESSES];
    double weight[GM_LIKENESSES];
} gm_similar;

/* Rows are to's, columns from's records. A vector that is not finite is GM_ERR_NUMERIC naming the record, so no number of the
 * matrix is. */
gm_status gm_similar_make(const gm_likes *rows, const gm_likes *cols, const gm_similar_options *o, gm_similar *to, gm_err *err);
/* Sets low and high of the matrices; a caller who filled them himself calls it. */
void gm_similar_measure(gm_similar *s);
/* The weighted sum of row i, [cols]. A matrix of equal numbers gives 0. */
void gm_similar_row(const gm_similar *s, int32_t i, double *row);
/* The k largest of a row, largest first, ties by the lower column; columns that are barred (NULL: none is) are left out. Returns how
 * many there are. */
int32_t gm_similar_best(const double *row, const bool *is_barred, int32_t cols, int32_t k, int32_t *best);
void gm_similar_free(gm_similar *s); /* takes a zeroed one */

#endif
