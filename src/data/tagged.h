/* Text of one token a line with its tag behind a tab and an empty line between samples: the form in which
 * Twitter-GMNER, Twitter-FMNERG, CCKS and CoNLL files come. */
#ifndef GM_DATA_TAGGED_H
#define GM_DATA_TAGGED_H

#include "data/readers.h"

typedef struct gm_tagged_format {
    const char *name;
    int32_t columns;        /* 2: token, tag; 3: token, tag, fine tag; 0: token, anything, tag in the last column */
    bool has_ids;           /* samples begin with IMGID:<id>; else ids are made of a prefix and the sample's number */
    const char *types;      /* as the files spell them; NULL: any */
    const char *from, *to;  /* a type that records spell another way, or NULL */
} gm_tagged_format;

/* Appends the samples of the file to *all. Counts stray tags and ids that stand twice. */
gm_status gm_tagged_read(const gm_tagged_format *format, const char *path, const char *prefix, gm_records *all,
                         gm_import_counts *counts, gm_err *err);

/* Appends the words with their BIO tags and an empty line, as ccks and conll are read. What this form cannot hold is refused: entities that
 * share a word, words with a tab or a line's end. */
gm_status gm_tagged_write(const gm_record *r, gm_buffer *to, gm_err *err);

#endif
