/* Readers of the data sets as their authors publish them; each fills records. */
#ifndef GM_DATA_READERS_H
#define GM_DATA_READERS_H

#include "data/records.h"

/* What an importer counted; printed by `gmner import` on stderr. */
typedef struct gm_import_counts {
    int64_t samples, words, entities, groundable, boxes, stray_tags;
    int64_t images_with_boxes, images_without, dropped; /* dropped: samples of the other split that stood in this one */
    int64_t ids_twice;       /* samples whose id stood before them already; they got "-2", "-3" ... behind it */
    int64_t boxes_unmatched; /* boxes in the files of images whose name no entity of the sample has */
    int64_t names_unmatched; /* names of entities that do not stand in their text, or only within longer ones */
    int64_t names_widened;   /* occurrences that begin or end inside a word, and became the whole word */
} gm_import_counts;

typedef struct gm_import {
    const char *format;  /* twitter-gmner twitter-fmnerg ccks ccks-json conll records */
    const char *text;    /* path of the text file */
    const char *boxes;   /* folder of XML files, or NULL */
    const char *entities; /* ccks-json: the file of entities, or NULL */
    const char *without; /* CCKS: the dev file whose sentences are dropped from this one, or NULL */
    const char *split;   /* prefix of made ids where a set has none: "train" gives train-000123; NULL: the file's stem */
} gm_import;

/* Reads into *all (zeroed by the caller; empty again after a failure). Messages say path:line. */
gm_status gm_import_read(const gm_import *what, gm_records *all, gm_import_counts *counts, gm_err *err);

/* Boxes of one Pascal-VOC file: objects by name, one a box. Names are the text as it stands. Size 0: not given. Missing
 * file: count 0 and *found false. GM_ERR_MISSING in a build without libxml2. */
typedef struct gm_voc_object { char *name; gm_box box; } gm_voc_object;
typedef struct gm_voc { gm_voc_object *objects; int32_t count; int32_t width, height; } gm_voc;
gm_status gm_voc_read(const char *path, gm_voc *voc, bool *found, gm_err *err);
gm_status gm_voc_parse(const char *bytes, size_t n, gm_voc *voc, gm_err *err);
void gm_voc_free(gm_voc *voc);

#endif
