/* Whom a prediction stands for is decided once, before anything is asked. */
#include "base/memory.h"
#include "eval/partners.h"
#include "mllm/correct.h"

struct gm_oracle {
    const gm_records *pred;
    gm_record_pair *pairs; /* in gold's order */
    size_t *first;         /* [records of pred]: where the entities of a record begin */
    const gm_entity **gold; /* of each entity of pred, or NULL */
    bool may_remove;
};

static gm_status match(gm_oracle *o, const gm_record_pair *s, const gm_eval_options *how, size_t first, gm_err *err)
{
    int32_t *partner = gm_calloc((size_t)s->pred->entity_count + 1, sizeof *partner);
    if (partner == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the oracle of \"%s\"", s->gold->id);
    const gm_status status = gm_find_partners(s, how, partner, err);
    for (int32_t i = 0; i < s->pred->entity_count && status == GM_OK; i++)
        if (partner[i] >= 0) o->gold[first + (size_t)i] = &s->gold->entities[partner[i]];
    gm_free(partner);
    return status;
}

gm_status gm_oracle_open(const gm_records *gold, const gm_records *pred, bool may_remove, gm_oracle **to, gm_err *err)
{
    const gm_eval_options how = { .iou = 0.5 };
    int64_t missing;
    size_t count = 0;
    gm_oracle *o = *to = gm_calloc(1, sizeof *o);
    if (o == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the oracle");
    *o = (gm_oracle){ .pred = pred, .may_remove = may_remove };
    gm_status status = gm_pair_records(gold, pred, &how, &o->pairs, &missing, err);
    o->first = gm_calloc(pred->count + 1, sizeof *o->first);
    for (size_t i = 0; i < pred->count && o->first != NULL; i++) {
        o->first[i] = count;
        count += (size_t)pred->items[i].entity_count;
    }
    o->gold = gm_calloc(count + 1, sizeof *o->gold);
    if (status == GM_OK && (o->first == NULL || o->gold == NULL)) status = gm_fail(err, GM_ERR_NOMEM, "out of memory for the oracle");
    for (size_t i = 0; i < gold->count && status == GM_OK; i++)
        if (o->pairs[i].pred != NULL) status = match(o, &o->pairs[i], &how, o->first[o->pairs[i].pred - pred->items], err);
    if (status != GM_OK) {
        gm_oracle_free(o);
        *to = NULL;
    }
    return status;
}

gm_status gm_oracle_ask(void *oracle, const gm_question *q, gm_reply *reply, gm_err *err)
{
    const gm_oracle *o = oracle;
    const gm_entity *g = o->gold[o->first[q->record] + (size_t)q->entity];
    (void)err;
    *reply = (gm_reply){ .kind = GM_REPLY_KEEP };
    if (g == NULL && q->part == GM_PART_SPAN && o->may_remove) reply->kind = GM_REPLY_REMOVE;
    else if (g != NULL && q->part == GM_PART_SPAN) *reply = (gm_reply){ .kind = GM_REPLY_SPAN, .start = g->start, .end = g->end };
    else if (g != NULL && q->part == GM_PART_TYPE) *reply = (gm_reply){ .kind = GM_REPLY_TYPE, .type = g->type, .fine = g->fine };
    else if (g != NULL) *reply = (gm_reply){ .kind = GM_REPLY_REGION, .boxes = g->boxes, .box_count = g->box_count };
    return GM_OK;
}

void gm_oracle_free(gm_oracle *o)
{
    if (o == NULL) return;
    gm_free(o->pairs);
    gm_free(o->first);
    gm_free((void *)o->gold);
    gm_free(o);
}
