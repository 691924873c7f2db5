/* Each part of an entity has its own form of answer (answers.h). */
#include "mllm/reply.h"

#include <stdio.h>
#include <string.h>

static gm_status read_span(const gm_question *q, const char *text, size_t size, gm_reply *reply, gm_err *err)
{
    int32_t start = q->now->start, end = q->now->end;
    bool is_none;
    GM_TRY(gm_answer_span(text, size, q->sample, &start, &end, &is_none, err));
    *reply = (gm_reply) { .kind = is_none ? GM_REPLY_KEEP : GM_REPLY_SPAN, .start = start, .end = end };
    return GM_OK;
}

static gm_status read_type(const gm_type_set *types, const char *text, size_t size, gm_reply *reply, gm_err *err)
{
    int32_t k;
    GM_TRY(gm_type_set_answer(types, text, size, &k, err));
    *reply = (gm_reply) { .kind = GM_REPLY_TYPE, .type = types->coarse[k], .fine = types->fine[k] };
    return GM_OK;
}

static gm_status read_region(const gm_mllm_view *view, const char *text, size_t size, gm_reply_room *room,
                             gm_reply *reply, gm_err *err)
{
    int32_t count;
    GM_TRY(gm_answer_boxes(text, size, view, room->boxes, &count, err));
    *reply = (gm_reply) { .kind = GM_REPLY_REGION, .boxes = room->boxes, .box_count = count };
    return GM_OK;
}

gm_status gm_reply_read(const gm_question *q, const gm_type_set *types, const gm_mllm_view *view, const char *text,
                        size_t size, gm_reply_room *room, gm_reply *reply, gm_err *err)
{
    gm_err why = { 0 };
    gm_status status;
    if (q->part == GM_PART_SPAN)
        status = read_span(q, text, size, reply, &why);
    else if (q->part == GM_PART_TYPE)
        status = read_type(types, text, size, reply, &why);
    else
        status = read_region(view, text, size, room, reply, &why);
    if (status == GM_ERR_DATA) {
        snprintf(room->why, sizeof room->why, "%.500s", why.text);
        *reply = (gm_reply) { .kind = GM_REPLY_REFUSED, .why = room->why };
        return GM_OK;
    }
    return status == GM_OK ? GM_OK : gm_fail(err, status, "%s", why.text);
}

gm_mllm_view gm_view_of_record(const gm_record *r)
{
    return (gm_mllm_view) { r->width, r->height, r->width, r->height, 1.0, 1.0, GM_MLLM_COORDINATES_PIXELS };
}
