/* The types that a corrector may choose from: coarse ones ("PER"), or, where predictions have fine types, pairs ("person/actor"). */
#ifndef GM_MLLM_TYPE_SET_H
#define GM_MLLM_TYPE_SET_H

#include "data/labels.h"
#include "data/records.h"

typedef struct gm_type_set {
    gm_labels shown; /* as prompts and answers spell them */
    gm_labels alone; /* of pairs: the fine type alone where it names one pair only, which an answer may say too */
    char *coarse[GM_MAX_TYPES], *fine[GM_MAX_TYPES]; /* of each; fine is NULL where none is told apart */
    bool is_fine;
} gm_type_set;

/* "PER,LOC" or "person/actor,person/artist,...". */
gm_status gm_type_set_parse(const char *list, gm_type_set *s, gm_err *err);
/* The types that occur in the records. Where all of them are of one known format (data/labels.h) and none is fine, all of that format. */
gm_status gm_type_set_of(const gm_records *records, gm_type_set *s, gm_err *err);
void gm_type_set_free(gm_type_set *s); /* takes a zeroed one */

/* {"corrected_type": ...} (mllm/answers.h): its number in the set. */
gm_status gm_type_set_answer(const gm_type_set *s, const char *text, size_t size, int32_t *number, gm_err *err);

#endif
