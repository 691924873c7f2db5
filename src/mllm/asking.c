/* A record has one question open at a time, so what must be known when its answer comes has one place a record. */
#include "mllm/asking.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/image.h"
#include "mllm/prompts.h"

enum { NUMBER = 32, NAMED = 20 /* pictures that the log names */ };

typedef enum picture_state { PICTURE_UNKNOWN, PICTURE_THERE, PICTURE_NONE } picture_state;

typedef struct open_question {
    gm_question q;
    picture_state picture;
    gm_mllm_view view; /* of the picture that is there */
} open_question;

struct gm_asking {
    gm_asking_options o;
    gm_corrections *c;
    open_question *open; /* [records] */
    gm_prompt prompts[GM_PARTS];
    gm_buffer types, schemas[GM_PARTS];
    int64_t without_picture;
    /* Of the request that was made last. */
    gm_prompt_message message;
    gm_buffer id, text, entity, type, box;
    char *path;
    char uncertainty[NUMBER], threshold[NUMBER], width[NUMBER], height[NUMBER];
};

/* ---- the beginning ---- */

static gm_status list_types(gm_asking *a, gm_err *err)
{
    for (int32_t k = 0; k < a->o.types->shown.count; k++)
        GM_TRY(gm_buffer_printf(&a->types, err, "%s%s", k > 0 ? ", " : "", a->o.types->shown.names[k]));
    return gm_buffer_add(&a->types, "", 0, err);
}

/* An object of the reasoning and one more member. */
static gm_status make_schema(gm_buffer *b, const char *name, const char *value, gm_err *err)
{
    return gm_buffer_printf(
        b, err,
        "{\"type\":\"object\",\"properties\":{\"reasoning_process\":{\"type\":\"string\"},\"%s\":%s},"
        "\"required\":[\"reasoning_process\",\"%s\"],\"additionalProperties\":false}",
        name, value, name);
}

static gm_status make_schemas(gm_asking *a, gm_err *err)
{
    gm_buffer list = { 0 };
    gm_status status = gm_buffer_printf(&list, err, "{\"type\":\"string\",\"enum\":[");
    for (int32_t k = 0; k < a->o.types->shown.count && status == GM_OK; k++) {
        if (k > 0) status = gm_buffer_add(&list, ",", 1, err);
        if (status == GM_OK) status = gm_buffer_json_string(&list, a->o.types->shown.names[k], err);
    }
    if (status == GM_OK) status = gm_buffer_printf(&list, err, "]}");
    if (status == GM_OK)
        status = make_schema(&a->schemas[GM_PART_SPAN], "corrected_entity", "{\"type\":\"string\"}", err);
    if (status == GM_OK) status = make_schema(&a->schemas[GM_PART_TYPE], "corrected_type", list.data, err);
    if (status == GM_OK)
        status = make_schema(&a->schemas[GM_PART_REGION], "corrected_bounding_box",
                             "{\"anyOf\":[{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"minItems\":4,"
                             "\"maxItems\":4},{\"type\":\"string\",\"enum\":[\"Null\"]}]}",
                             err);
    gm_buffer_free(&list);
    return status;
}

gm_status gm_asking_open(const gm_asking_options *o, const gm_records *pred, gm_corrections *c, gm_asking **to,
                         gm_err *err)
{
    static const gm_prompt_kind kinds[GM_PARTS] = { GM_PROMPT_span, GM_PROMPT_type, GM_PROMPT_region };
    gm_asking *a = *to = gm_calloc(1, sizeof *a);
    if (a == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for questions");
    *a = (gm_asking) { .o = *o, .c = c, .open = gm_calloc(pred->count + 1, sizeof *a->open) };
    gm_status status = a->open == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for questions") : GM_OK;
    for (int part = 0; part < GM_PARTS && status == GM_OK; part++)
        status = gm_prompt_read(kinds[part], o->prompts, &a->prompts[part], err);
    if (status == GM_OK) status = list_types(a, err);
    if (status == GM_OK) status = make_schemas(a, err);
    if (status != GM_OK) {
        gm_asking_free(a);
        *to = NULL;
    }
    return status;
}

void gm_asking_free(gm_asking *a)
{
    if (a == NULL) return;
    for (int part = 0; part < GM_PARTS; part++) {
        gm_prompt_free(&a->prompts[part]);
        gm_buffer_free(&a->schemas[part]);
    }
    gm_prompt_message_free(&a->message);
    gm_buffer_free(&a->types);
    gm_buffer_free(&a->id);
    gm_buffer_free(&a->text);
    gm_buffer_free(&a->entity);
    gm_buffer_free(&a->type);
    gm_buffer_free(&a->box);
    gm_free(a->path);
    gm_free(a->open);
    gm_free(a);
}

int64_t gm_asking_without_picture(const gm_asking *a) { return a->without_picture; }

/* ---- the picture ---- */

static void drop_path(gm_asking *a)
{
    gm_free(a->path);
    a->path = NULL;
}

static gm_status measure(const char *path, int32_t *width, int32_t *height, gm_err *why)
{
    char *bytes;
    size_t size;
    GM_TRY(gm_image_load(path, &bytes, &size, why));
    const gm_status status = gm_image_probe(path, bytes, size, width, height, why);
    gm_free(bytes);
    return status;
}

/* Looks at the file of a record's picture. */
static gm_status look(gm_asking *a, open_question *x, gm_err *err)
{
    int32_t width, height;
    gm_err why = { 0 };
    gm_status status = GM_OK;
    if (!gm_image_name_is_inside(x->q.sample->image))
        status = gm_fail(&why, GM_ERR_DATA, "\"%s\" is no name of a picture inside the folder", x->q.sample->image);
    else
        status = measure(a->path, &width, &height, &why);
    if (status == GM_ERR_NOMEM || status == GM_ERR_MISSING) return gm_fail(err, status, "%s", why.text);
    x->picture = status == GM_OK ? PICTURE_THERE : PICTURE_NONE;
    if (status == GM_OK)
        x->view = gm_mllm_view_of(a->o.endpoint, width, height);
    else if (a->without_picture++ < NAMED)
        gm_log(GM_LOG_WARN, "refine", "%s: asked without its picture: %s", x->q.sample->id, why.text);
    return GM_OK;
}

/* Sets a->path where the record has a picture; its file is looked at once. */
static gm_status find_picture(gm_asking *a, open_question *x, gm_err *err)
{
    const char *name = x->q.sample->image;
    if (x->picture == PICTURE_UNKNOWN && (name == NULL || a->o.images == NULL)) x->picture = PICTURE_NONE;
    if (x->picture == PICTURE_NONE) return GM_OK;
    a->path = gm_path_join(a->o.images, name);
    if (a->path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (x->picture == PICTURE_UNKNOWN) GM_TRY(look(a, x, err));
    if (x->picture == PICTURE_NONE) drop_path(a);
    return GM_OK;
}

/* ---- the request ---- */

static gm_status join(gm_buffer *b, const gm_record *r, int32_t first, int32_t last, gm_err *err)
{
    b->size = 0;
    GM_TRY(gm_buffer_add(b, "", 0, err));
    for (int32_t w = first; w <= last; w++)
        GM_TRY(gm_buffer_printf(b, err, "%s%s", w > first ? " " : "", r->tokens[w]));
    return GM_OK;
}

static gm_status write_box(gm_asking *a, const open_question *x, gm_err *err)
{
    const gm_entity *e = x->q.now;
    a->box.size = 0;
    if (e->box_count == 0 || e->has_bad_box) return gm_buffer_printf(&a->box, err, "Null");
    for (int32_t i = 0; i < e->box_count; i++) {
        int32_t n[4];
        gm_mllm_box_to_prompt(&x->view, e->boxes[i], n);
        GM_TRY(gm_buffer_printf(&a->box, err, "%s[%d, %d, %d, %d]", i > 0 ? ", " : "", n[0], n[1], n[2], n[3]));
    }
    return GM_OK;
}

/* What the sides of the picture are in the endpoint's coordinates. */
static void write_sides(gm_asking *a, const gm_mllm_view *v)
{
    int32_t n[4];
    gm_mllm_box_to_prompt(v, (gm_box) { 0, 0, v->width, v->height }, n);
    snprintf(a->width, sizeof a->width, "%d", n[2]);
    snprintf(a->height, sizeof a->height, "%d", n[3]);
}

static gm_status write_texts(gm_asking *a, const open_question *x, gm_err *err)
{
    const gm_question *q = &x->q;
    const gm_uncertainty *u = &q->sample->entities[q->entity].uncertainty;
    const double norm[GM_PARTS] = { u->span_norm, u->type_norm, u->region_norm };
    a->id.size = a->type.size = 0;
    GM_TRY(gm_buffer_printf(&a->id, err, "%s:%d:%s", q->sample->id, q->entity, gm_part_names[q->part]));
    GM_TRY(join(&a->text, q->sample, 0, q->sample->token_count - 1, err));
    GM_TRY(join(&a->entity, q->sample, q->now->start, q->now->end, err));
    GM_TRY(gm_buffer_printf(&a->type, err, "%s%s%s", q->now->type, q->now->fine != NULL ? "/" : "",
                            q->now->fine != NULL ? q->now->fine : ""));
    if (isnan(norm[q->part]))
        snprintf(a->uncertainty, sizeof a->uncertainty, "unknown");
    else
        snprintf(a->uncertainty, sizeof a->uncertainty, "%.2f", norm[q->part]);
    snprintf(a->threshold, sizeof a->threshold, "%.2f", a->o.thresholds.of[q->part]);
    write_sides(a, &x->view);
    return write_box(a, x, err);
}

static gm_status make_request(gm_asking *a, const open_question *x, gm_mllm_request *request, gm_err *err)
{
    static const char *const schema_names[GM_PARTS] = { "span", "type", "region" };
    const gm_part part = x->q.part;
    const gm_mllm_part picture = { .image_path = a->path };
    const bool in_thousandths = x->view.coordinates == GM_MLLM_COORDINATES_THOUSANDTHS;
    GM_TRY(write_texts(a, x, err));
    const gm_prompt_value values[] = {
        { "text", a->text.data, NULL, 0 },
        { "entity", a->entity.data, NULL, 0 },
        { "type", a->type.data, NULL, 0 },
        { "types", a->types.data, NULL, 0 },
        { "box", a->box.data, NULL, 0 },
        { "image", NULL, &picture, a->path != NULL ? 1 : 0 },
        { "width", a->width, NULL, 0 },
        { "height", a->height, NULL, 0 },
        { "coordinates", in_thousandths ? "thousandths of the picture's sides" : "pixels", NULL, 0 },
        { "uncertainty", a->uncertainty, NULL, 0 },
        { "threshold", a->threshold, NULL, 0 },
    };
    GM_TRY(gm_prompt_fill(&a->prompts[part], values, GM_LEN(values), &a->message, err));
    *request = (gm_mllm_request) { .id = a->id.data,
                                   .system = a->message.system,
                                   .parts = a->message.parts,
                                   .part_count = a->message.part_count,
                                   .temperature = 0.1,
                                   .seed = -1,
                                   .schema_name = schema_names[part],
                                   .schema = a->schemas[part].data,
                                   .tag = &a->open[x->q.record] };
    return GM_OK;
}

static gm_status give(gm_asking *a, const open_question *x, const gm_said *said, const gm_reply *reply, gm_err *err)
{
    if (a->o.record != NULL) GM_TRY(gm_recorded_put(a->o.record, x->q.record, x->q.entity, x->q.part, said, err));
    return gm_correct_reply(a->c, x->q.record, reply, err);
}

static gm_status give_no_picture(gm_asking *a, const open_question *x, gm_err *err)
{
    const gm_said said = { .why = "there is no picture to look at" };
    return give(a, x, &said, &(gm_reply) { .kind = GM_REPLY_FAILED, .why = said.why }, err);
}

gm_status gm_asking_next(void *asking, gm_mllm_request *request, bool *have, gm_err *err)
{
    gm_asking *a = asking;
    gm_prompt_message_free(&a->message);
    for (;;) {
        gm_question q;
        drop_path(a);
        GM_TRY(gm_correct_next(a->c, &q, have, err));
        if (!*have) return GM_OK;
        open_question *x = &a->open[q.record];
        x->q = q;
        x->view = x->picture == PICTURE_THERE ? x->view : gm_view_of_record(q.sample);
        if (q.part != GM_PART_SPAN) GM_TRY(find_picture(a, x, err));
        if (q.part == GM_PART_REGION && x->picture != PICTURE_THERE) {
            GM_TRY(give_no_picture(a, x, err));
            continue;
        }
        return make_request(a, x, request, err);
    }
}

/* ---- the answer ---- */

static gm_status read_answer(gm_asking *a, const open_question *x, const gm_mllm_answer *answer, gm_err *err)
{
    gm_reply_room room;
    gm_reply reply;
    const gm_said said = { .text = answer->text, .view = x->view };
    GM_TRY(gm_reply_read(&x->q, a->o.types, &x->view, answer->text, answer->text_bytes, &room, &reply, err));
    return give(a, x, &said, &reply, err);
}

gm_status gm_asking_got(void *asking, const gm_mllm_answer *answer, gm_err *err)
{
    gm_asking *a = asking;
    const open_question *x = answer->tag;
    if (answer->outcome == GM_MLLM_ANSWERED || answer->outcome == GM_MLLM_CACHED) return read_answer(a, x, answer, err);
    const gm_said said = { .why = answer->why };
    return give(a, x, &said, &(gm_reply) { .kind = GM_REPLY_FAILED, .why = answer->why }, err);
}
