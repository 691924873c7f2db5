/* Records: the project's own form of a sample, one JSON object a line (docs/data-formats.md). Words are 0-based,
 * span ends inclusive; boxes x1 y1 x2 y2 in pixels of the original image. */
#ifndef GM_DATA_RECORDS_H
#define GM_DATA_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

typedef struct gm_box { double x1, y1, x2, y2; } gm_box;

/* Of a prediction, from samples of dropout (docs/uncertainty.md): entropies of the mean probabilities in nats, the same over
 * the logarithm of their classes (_norm), and the mean entropy of the samples (_expected). NAN: absent. */
typedef struct gm_uncertainty {
    double span, type, region;
    double span_norm, type_norm, region_norm;
    double span_expected, type_expected, region_expected;
} gm_uncertainty;
extern const gm_uncertainty gm_no_uncertainty; /* all NAN */

typedef struct gm_entity {
    int32_t start, end;      /* words, both inclusive */
    char *type;              /* "LOC" */
    char *fine;              /* or NULL */
    gm_box *boxes;
    int32_t box_count;       /* 0: cannot be grounded */
    bool has_bad_box;        /* boxes holds one with x2 <= x1 or y2 <= y1: in a prediction region-wrong for every gold
                              * entity, not "no region"; gold must not have one */
    /* Of predictions; NAN and NULL where absent. */
    double score, region_score;
    gm_uncertainty uncertainty;
    char *uncertainty_extra; /* unknown members inside "uncertainty", as JSON text, or NULL */
    char *extra;             /* members of this entity that this program does not know, as JSON text `"a":1,"b":2`, or NULL */
} gm_entity;

typedef struct gm_record {
    char *id;
    char **tokens;
    int32_t token_count;
    char *image;             /* or NULL */
    int32_t width, height;   /* 0 when unknown */
    gm_entity *entities;
    int32_t entity_count;
    char *extra;             /* unknown members of the record, kept when it is written out again; or NULL */
} gm_record;

typedef struct gm_records {
    gm_record *items;
    size_t count, capacity;
} gm_records;

/* One line of JSON (id, tokens and entities must be there) to a record the caller frees with gm_record_free. Strict:
 * types, ranges (0 <= start <= end < words), finite numbers, UTF-8, no repeated key; messages name the JSON path. */
gm_status gm_record_parse(const char *line, size_t n, gm_record *r, gm_err *err);
/* Appends the record as one line (with "\n"); known members first, then extra. Numbers survive a round trip. */
gm_status gm_record_write(const gm_record *r, gm_buffer *out, gm_err *err);
void gm_record_free(gm_record *r);

/* Reads a whole file ("-" = stdin). Messages say path:line. An id twice and a file without records are errors. */
gm_status gm_records_load(const char *path, gm_records *all, gm_err *err);
gm_status gm_records_add(gm_records *all, gm_record *r, gm_err *err); /* takes over r's memory and leaves r empty */
/* GM_ERR_DATA naming both places when an id stands twice. */
gm_status gm_records_check_ids(const gm_records *all, const char *path, gm_err *err);
void gm_records_free(gm_records *all);

#endif
