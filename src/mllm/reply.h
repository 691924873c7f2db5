/* From what a language model said to the reply that a correction takes. */
#ifndef GM_MLLM_REPLY_H
#define GM_MLLM_REPLY_H

#include "mllm/answers.h"
#include "mllm/correct.h"
#include "mllm/type_set.h"

/* What a reply points to. */
typedef struct gm_reply_room {
    gm_box boxes[GM_ANSWER_BOXES];
    char why[512];
} gm_reply_room;

/* An answer that does not hold becomes GM_REPLY_REFUSED with its reason; "Null" for a span keeps it. Types are those of the set. */
gm_status gm_reply_read(const gm_question *q, const gm_type_set *types, const gm_mllm_view *view, const char *text,
                        size_t size, gm_reply_room *room, gm_reply *reply, gm_err *err);

/* Boxes in pixels of the record's picture. */
gm_mllm_view gm_view_of_record(const gm_record *r);

#endif
