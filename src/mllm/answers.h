/* What a language model said, read leniently and judged strictly. Lenient: JSON in a fenced block, alone, or within prose; lists wrapped in an
 * object; boxes as text. Strict: words occur in the sample's text, types are of the set, boxes lie in the picture. What is refused is GM_ERR_DATA
 * with one sentence that says why, and the local prediction stays as it was. */
#ifndef GM_MLLM_ANSWERS_H
#define GM_MLLM_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/labels.h"
#include "data/records.h"
#include "mllm/endpoint.h"

/* The first JSON value of this form: the first fenced block that holds one, the whole text, the first balanced object or list. NULL: there is
 * none. To be freed with cJSON_Delete. */
cJSON *gm_answer_object(const char *text, size_t size);
cJSON *gm_answer_list(const char *text, size_t size); /* of objects; one within an object, or a single object, will do */

/* {"corrected_entity": "words"}: the run of words that reads so (blanks aside) and begins nearest to `start`, the first of two as near. "" and
 * "Null": *is_none, and the span stays as it was given. */
gm_status gm_answer_span(const char *text, size_t size, const gm_record *r, int32_t *start, int32_t *end, bool *is_none, gm_err *err);

/* {"corrected_type": "label"}: its number in the set; case aside, and OTHER is MISC. */
gm_status gm_answer_type(const char *text, size_t size, const gm_labels *labels, int32_t *type, gm_err *err);
int32_t gm_answer_find_type(const gm_labels *labels, const char *name); /* -1: none of the set */

enum { GM_ANSWER_BOXES = 16 };

/* {"corrected_bounding_box": [x1, y1, x2, y2]}, also as text, also a list of boxes; "Null", null and []: no box. In the endpoint's coordinates;
 * given back in pixels of the picture and clipped to it. */
gm_status gm_answer_boxes(const char *text, size_t size, const gm_mllm_view *view, gm_box boxes[GM_ANSWER_BOXES], int32_t *count, gm_err *err);
gm_status gm_answer_boxes_of(const cJSON *value, const gm_mllm_view *view, gm_box boxes[GM_ANSWER_BOXES], int32_t *count, gm_err *err);

/* One entity of an answer to a prompt of grounding. */
typedef struct gm_grounded {
    char *entity;
    int32_t type;         /* of the set; an unknown one is the last, "other" of CCKS */
    gm_box boxes[GM_ANSWER_BOXES];
    int32_t box_count;
    char why[160];        /* why there is no box although something was said, or "" */
} gm_grounded;

/* [{"entity", "entity_type", "bounding_box"}]. Entries without an entity are an error; bad boxes are none, with the reason. gm_free *list after
 * gm_grounded_free. */
gm_status gm_answer_grounding(const char *text, size_t size, const gm_labels *labels, const gm_mllm_view *view, gm_grounded **list, int32_t *count,
                              gm_err *err);
void gm_grounded_free(gm_grounded *list, int32_t count);

#endif
