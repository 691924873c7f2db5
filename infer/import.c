/* gmner import: a data set as its authors publish it to records. Records go to stdout, the counts to stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cli.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/readers.h"

static int import_main(int argc, char **argv);
const gm_command gm_import_command = {
    "import", "reads a data set (twitter-gmner twitter-fmnerg ccks ccks-json conll records) and writes records",
    "gmner import FORMAT --text FILE [--boxes DIR | --entities FILE] [--without FILE] [--split NAME] > records.jsonl", import_main
};

typedef struct tally {
    const char *type; /* the records' */
    int64_t count;
} tally;

static int by_type(const void *a, const void *b) { return strcmp(((const tally *)a)->type, ((const tally *)b)->type); }

/* Entities of each type, sorted by its name; *types is gm_malloc'ed. */
static gm_status count_types(const gm_records *all, tally **types, size_t *count, gm_err *err)
{
    size_t capacity = 0;
    for (size_t i = 0; i < all->count; i++) {
        for (int32_t k = 0; k < all->items[i].entity_count; k++) {
            const char *type = all->items[i].entities[k].type;
            size_t at = 0;
            while (at < *count && strcmp((*types)[at].type, type) != 0) at++;
            if (at == *count) {
                GM_TRY(gm_grow((void **)types, &capacity, *count, sizeof **types, err));
                (*types)[(*count)++] = (tally) { type, 0 };
            }
            (*types)[at].count++;
        }
    }
    if (*count > 0) qsort(*types, *count, sizeof **types, by_type);
    return GM_OK;
}

static void line(const char *indent, const char *what, int64_t count)
{
    fprintf(stderr, "%s%-*s %10lld\n", indent, 28 - (int)strlen(indent), what, (long long)count);
}

static void print_counts(const gm_import *what, const gm_import_counts *c, const tally *types, size_t type_count)
{
    line("", "samples", c->samples);
    line("", "words", c->words);
    line("", "entities", c->entities);
    for (size_t i = 0; i < type_count; i++) line("  ", types[i].type, types[i].count);
    line("", "groundable entities", c->groundable);
    line("", "boxes", c->boxes);
    if (what->boxes != NULL) {
        line("", "boxes of no entity", c->boxes_unmatched);
        line("", "images with XML", c->images_with_boxes);
        line("", "images without XML", c->images_without);
    }
    if (what->entities != NULL) {
        line("", "names not in their text", c->names_unmatched);
        line("", "boxes of these", c->boxes_unmatched);
        line("", "widened to whole words", c->names_widened);
    }
    line("", "stray I- tags", c->stray_tags);
    line("", "ids twice", c->ids_twice);
    if (what->without != NULL) line("", "dropped sentences", c->dropped);
}

static gm_status write_all(const gm_records *all, gm_err *err)
{
    gm_out out;
    gm_buffer text = { 0 };
    GM_TRY(gm_out_open(&out, "-", err));
    gm_status status = GM_OK;
    for (size_t i = 0; i < all->count && status == GM_OK; i++) {
        text.size = 0;
        status = gm_record_write(&all->items[i], &text, err);
        if (status == GM_OK) status = gm_out_write(&out, text.data, text.size, err);
    }
    gm_buffer_free(&text);
    if (status == GM_OK) return gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

static gm_status import(const gm_import *what, gm_err *err)
{
    gm_records all = { 0 };
    gm_import_counts counts;
    tally *types = NULL;
    size_t type_count = 0;
    gm_status status = gm_import_read(what, &all, &counts, err);
    if (status == GM_OK) status = count_types(&all, &types, &type_count, err);
    if (status == GM_OK) status = write_all(&all, err);
    if (status == GM_OK) print_counts(what, &counts, types, type_count);
    if (status == GM_OK && what->boxes != NULL && counts.images_with_boxes == 0)
        gm_log(GM_LOG_WARN, "import", "%s: none of %lld images has an XML file there; is it the right folder?",
               what->boxes, (long long)counts.images_without);
    gm_free(types);
    gm_records_free(&all);
    return status;
}

static int import_main(int argc, char **argv)
{
    gm_import what = { 0 };
    gm_option options[] = {
        { "text", GM_OPT_STR, &what.text, "FILE", "text with tags, or - for stdin", true },
        { "boxes", GM_OPT_STR, &what.boxes, "DIR", "folder of Pascal-VOC XML files, <id>.xml (Twitter sets)", false },
        { "entities", GM_OPT_STR, &what.entities, "FILE", "entities by name, with boxes (ccks-json)", false },
        { "without", GM_OPT_STR, &what.without, "FILE", "drops the sentences that stand in this file (ccks, conll)",
          false },
        { "split", GM_OPT_STR, &what.split, "NAME", "first part of made ids (ccks, conll); default: the file's name",
          false },
    };
    gm_err err = { 0 };
    int words = 0;
    bool done = false;
    gm_status status = gm_cli_parse(&gm_import_command, options, (int)GM_LEN(options), &what.format, 1, &words, argc,
                                    argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && words == 0)
        status = gm_fail(&err, GM_ERR_USAGE, "expected a format: twitter-gmner twitter-fmnerg ccks ccks-json conll records");
    if (status == GM_OK) status = import(&what, &err);
    return gm_cli_finish(&gm_import_command, status, &err);
}
