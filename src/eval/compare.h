/* What two entities agree in, and which prediction belongs to which gold sample: the rules that all evaluations share
 * (docs/evaluation.md, "What is compared"). */
#ifndef GM_EVAL_COMPARE_H
#define GM_EVAL_COMPARE_H

#include "data/records.h"

typedef struct gm_eval_options {
    bool by_name;          /* match by the entity's words instead of offsets */
    double iou;            /* 0.5 */
    bool is_iou_strict;    /* > instead of >= */
} gm_eval_options;

enum { GM_SAME_KEY = 1, GM_SAME_TYPE = 2, GM_SAME_FINE = 4, GM_SAME_REGION = 8, GM_SAME_GROUNDING = 16 };

/* The bits above for prediction p of pr and gold entity g of gr; 0 unless their keys are equal. Two entities without a fine
 * type do not agree in it. *iou (may be NULL): the best over the boxes of both, 0 for an invalid box or another key. */
unsigned gm_compare(const gm_record *pr, const gm_entity *p, const gm_record *gr, const gm_entity *g,
                    const gm_eval_options *how, double *iou);

/* Upper-cases the four coarse names and maps OTHER to MISC; other names are lower-cased as they are. buf of 128 bytes. */
const char *gm_type_normal(const char *type, char buf[128]);
const char *gm_fine_normal(const char *fine, char buf[128]); /* lower case, nothing mapped */
double gm_iou(gm_box a, gm_box b);
bool gm_box_is_valid(gm_box b); /* finite, x2 > x1, y2 > y1 */
bool gm_has_bad_box(const gm_entity *e);

/* One gold sample and its prediction, NULL where there is none. */
typedef struct gm_record_pair { const gm_record *gold, *pred; } gm_record_pair;

/* The pairs [gold->count] in gold's order, the caller's to gm_free; *missing counts those without a prediction. An id in
 * pred that gold lacks, an id twice, a type of more than 127 bytes and, by name, offsets beyond the words are GM_ERR_DATA;
 * a threshold that is none is GM_ERR_USAGE. */
gm_status gm_pair_records(const gm_records *gold, const gm_records *pred, const gm_eval_options *how,
                          gm_record_pair **pairs, int64_t *missing, gm_err *err);

#endif
