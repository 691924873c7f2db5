/* Corrections of delegated parts, in the hierarchy span, type, region (UnCo, section 3.3): each sees the result of the one before. Within a record
 * one question is open at a time, entities in their order, so that results do not depend on the order in which answers come; many records
 * may be open at once. An entity of which nothing is delegated never changes. */
#ifndef GM_MLLM_CORRECT_H
#define GM_MLLM_CORRECT_H

#include "mllm/route.h"

/* What is to be corrected: the entity as corrections before this one have left it. */
typedef struct gm_question {
    size_t record;             /* its number, to be given back with the reply */
    const gm_record *sample;   /* its text and picture; its entities are the local model's */
    int32_t entity;
    gm_part part;
    const gm_entity *now;
} gm_question;

typedef enum gm_reply_kind {
    GM_REPLY_SPAN,    /* start, end */
    GM_REPLY_TYPE,    /* type, fine */
    GM_REPLY_REGION,  /* boxes */
    GM_REPLY_KEEP,    /* right as it is */
    GM_REPLY_REMOVE,  /* no entity at all */
    GM_REPLY_REFUSED, /* an answer that does not hold: why */
    GM_REPLY_FAILED   /* no answer: why */
} gm_reply_kind;

typedef struct gm_reply {
    gm_reply_kind kind;
    int32_t start, end;
    const char *type, *fine;
    const gm_box *boxes;
    int32_t box_count;
    const char *why;
} gm_reply;

typedef struct gm_corrections gm_corrections;

typedef struct gm_correct_counts {
    int64_t asked[GM_PARTS], corrected[GM_PARTS], kept[GM_PARTS], refused[GM_PARTS], failed[GM_PARTS];
    int64_t removed; /* entities */
    int64_t clashed; /* entities put back because their new words were another's */
} gm_correct_counts;

/* Both must outlive it. */
gm_status gm_correct_begin(const gm_records *pred, const gm_route *route, gm_corrections **to, gm_err *err);
/* The next question that can be asked now; *have is false where all others wait for replies, or nothing is left. */
gm_status gm_correct_next(gm_corrections *c, gm_question *q, bool *have, gm_err *err);
gm_status gm_correct_reply(gm_corrections *c, size_t record, const gm_reply *reply, gm_err *err);
bool gm_correct_is_done(const gm_corrections *c);
gm_correct_counts gm_correct_count(const gm_corrections *c);

/* The corrected records: their texts are shared with the local ones, their entities are c's. Entities that were asked about carry source, status,
 * why and before. Call it once, when all is done. */
gm_status gm_correct_end(gm_corrections *c, const gm_records **to, gm_err *err);
bool gm_correct_has_touched(const gm_corrections *c, size_t record); /* false: the record is as it was */
void gm_correct_free(gm_corrections *c); /* takes NULL */

/* A corrector that answers at once. */
typedef gm_status (*gm_corrector)(void *user, const gm_question *q, gm_reply *reply, gm_err *err);
/* Begins, asks, ends. */
gm_status gm_correct_all(const gm_records *pred, const gm_route *route, gm_corrector ask, void *user, gm_corrections **to, const gm_records **records,
                         gm_err *err);

/* An oracle: gold in the place of a model. It puts the asked part right and nothing else; may_remove: where no gold entity is meant, it takes the
 * entity back when asked about the span. */
typedef struct gm_oracle gm_oracle;
gm_status gm_oracle_open(const gm_records *gold, const gm_records *pred, bool may_remove, gm_oracle **to, gm_err *err);
gm_status gm_oracle_ask(void *oracle, const gm_question *q, gm_reply *reply, gm_err *err);
void gm_oracle_free(gm_oracle *o); /* takes NULL */

#endif
