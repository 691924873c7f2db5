/* Requests and answers of grounding. Boxes of demonstrations and of answers are in the endpoint's coordinates, each by the view of
 * its own picture. */
#include "mllm/ground.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/image.h"
#include "mllm/similar.h"

/* OpenAI's strict mode wants an object at the root, so the list has a name. A box is four numbers, several are a list of such. */
static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"entities\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
    "\"entity\":{\"type\":\"string\"},\"entity_type\":{\"type\":\"string\"},"
    "\"bounding_box\":{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"array\",\"items\":{\"type\":\"number\"}}]}}},"
    "\"required\":[\"entity\",\"entity_type\",\"bounding_box\"],\"additionalProperties\":false}}},"
    "\"required\":[\"entities\"],\"additionalProperties\":false}";

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for grounding"); }

bool gm_is_never_grounded(const gm_ground_options *o, const char *type) { return gm_labels_find(o->never, type) >= 0; }

/* ---- pictures ---- */

static gm_status decode(const char *folder, const gm_record *r, gm_shown *to, gm_err *why)
{
    gm_image image = { 0 };
    if (folder == NULL) return gm_fail(why, GM_ERR_DATA, "no folder of pictures is named");
    if (r->image == NULL) return gm_fail(why, GM_ERR_DATA, "the record names no picture");
    if (!gm_image_name_is_inside(r->image)) return gm_fail(why, GM_ERR_DATA, "\"%s\" is no name of a picture inside the folder", r->image);
    to->path = gm_path_join(folder, r->image);
    if (to->path == NULL) return no_memory(why);
    if (!gm_path_exists(to->path)) return gm_fail(why, GM_ERR_IO, "there is no picture %s", r->image);
    GM_TRY(gm_image_read(to->path, &image, why));
    to->width = image.width;
    to->height = image.height;
    gm_image_free(&image);
    return GM_OK;
}

gm_status gm_shown_look(const char *folder, const gm_record *r, gm_shown *to, gm_err *err)
{
    gm_err why = { 0 };
    *to = (gm_shown){ 0 };
    const gm_status status = decode(folder, r, to, &why);
    if (status == GM_OK) return GM_OK;
    gm_shown_free(to);
    if (status == GM_ERR_NOMEM || status == GM_ERR_MISSING) return gm_fail(err, status, "%s", why.text);
    snprintf(to->why, sizeof to->why, "%.319s", why.text);
    return GM_OK;
}

void gm_shown_free(gm_shown *s)
{
    gm_free(s->path);
    *s = (gm_shown){ 0 };
}

/* ---- the request ---- */

enum { NUMBER = 16 };

struct gm_grounder {
    gm_ground_options o;
    gm_prompt grounding, demonstration;
    gm_buffer types, never;
    /* Of the request that was made last. */
    gm_prompt_message message;
    gm_mllm_part *parts;      /* of all demonstrations; their texts are theirs */
    int32_t part_count;
    size_t part_capacity;
    gm_buffer id, entities, answer;
    char *text;
    char width[NUMBER], height[NUMBER];
};

static gm_status list_names(const gm_labels *l, gm_buffer *b, gm_err *err)
{
    if (l->count == 0) return gm_buffer_printf(b, err, "(none)");
    for (int32_t i = 0; i < l->count; i++) GM_TRY(gm_buffer_printf(b, err, "%s%s", i > 0 ? ", " : "", l->names[i]));
    return GM_OK;
}

gm_status gm_grounder_open(const gm_ground_options *o, gm_grounder **to, gm_err *err)
{
    gm_grounder *g = *to = gm_calloc(1, sizeof *g);
    if (g == NULL) return no_memory(err);
    g->o = *o;
    gm_status status = gm_prompt_read(GM_PROMPT_grounding, o->prompts, &g->grounding, err);
    if (status == GM_OK) status = gm_prompt_read(GM_PROMPT_demonstration, o->prompts, &g->demonstration, err);
    if (status == GM_OK) status = list_names(o->types, &g->types, err);
    if (status == GM_OK) status = list_names(o->never, &g->never, err);
    if (status != GM_OK) {
        gm_grounder_free(g);
        *to = NULL;
    }
    return status;
}

static void free_parts(gm_grounder *g)
{
    for (int32_t i = 0; i < g->part_count; i++) gm_free((void *)g->parts[i].text);
    g->part_count = 0;
}

void gm_grounder_free(gm_grounder *g)
{
    if (g == NULL) return;
    gm_prompt_free(&g->grounding);
    gm_prompt_free(&g->demonstration);
    gm_prompt_message_free(&g->message);
    free_parts(g);
    gm_free(g->parts);
    gm_buffer_free(&g->types);
    gm_buffer_free(&g->never);
    gm_buffer_free(&g->id);
    gm_buffer_free(&g->entities);
    gm_buffer_free(&g->answer);
    gm_free(g->text);
    gm_free(g);
}

/* "name": and the words of an entity. */
static gm_status add_words(gm_buffer *b, const char *name, const gm_record *r, const gm_entity *e, gm_err *err)
{
    char *words = NULL;
    GM_TRY(gm_words_text(r, e->start, e->end, &words, err));
    gm_status status = gm_buffer_printf(b, err, "{\"%s\": ", name);
    if (status == GM_OK) status = gm_buffer_json_string(b, words, err);
    gm_free(words);
    return status;
}

static gm_status add_box(gm_buffer *b, const gm_mllm_view *view, gm_box box, gm_err *err)
{
    int32_t n[4];
    gm_mllm_box_to_prompt(view, box, n);
    return gm_buffer_printf(b, err, "[%d, %d, %d, %d]", n[0], n[1], n[2], n[3]);
}

/* [] for what is not seen, four numbers for one box, a list of such for several. */
static gm_status add_boxes(gm_grounder *g, const gm_mllm_view *view, const gm_entity *e, gm_buffer *b, gm_err *err)
{
    const int32_t count = e->has_bad_box || gm_is_never_grounded(&g->o, e->type) ? 0 : e->box_count;
    if (count != 1) GM_TRY(gm_buffer_printf(b, err, "["));
    for (int32_t i = 0; i < count; i++) {
        if (i > 0) GM_TRY(gm_buffer_printf(b, err, ", "));
        GM_TRY(add_box(b, view, e->boxes[i], err));
    }
    return count != 1 ? gm_buffer_printf(b, err, "]") : GM_OK;
}

/* g->text, g->entities and, of a demonstration, g->answer (view NULL: none). */
static gm_status write_texts(gm_grounder *g, const gm_record *r, const gm_mllm_view *view, gm_err *err)
{
    g->entities.size = g->answer.size = 0;
    gm_free(g->text);
    g->text = NULL;
    GM_TRY(gm_words_text(r, 0, r->token_count - 1, &g->text, err));
    GM_TRY(gm_buffer_printf(&g->entities, err, "["));
    GM_TRY(gm_buffer_printf(&g->answer, err, "["));
    for (int32_t k = 0; k < r->entity_count; k++) {
        const gm_entity *e = &r->entities[k];
        if (k > 0) GM_TRY(gm_buffer_printf(&g->entities, err, ", "));
        GM_TRY(add_words(&g->entities, "name", r, e, err));
        GM_TRY(gm_buffer_printf(&g->entities, err, ", \"type\": "));
        GM_TRY(gm_buffer_json_string(&g->entities, e->type, err));
        GM_TRY(gm_buffer_printf(&g->entities, err, "}"));
        if (view == NULL) continue;
        if (k > 0) GM_TRY(gm_buffer_printf(&g->answer, err, ", "));
        GM_TRY(add_words(&g->answer, "entity", r, e, err));
        GM_TRY(gm_buffer_printf(&g->answer, err, ", \"entity_type\": "));
        GM_TRY(gm_buffer_json_string(&g->answer, e->type, err));
        GM_TRY(gm_buffer_printf(&g->answer, err, ", \"bounding_box\": "));
        GM_TRY(add_boxes(g, view, e, &g->answer, err));
        GM_TRY(gm_buffer_printf(&g->answer, err, "}"));
    }
    GM_TRY(gm_buffer_printf(&g->entities, err, "]"));
    return gm_buffer_printf(&g->answer, err, "]");
}

/* Moves the pieces of a demonstration behind those that are there. */
static gm_status take_parts(gm_grounder *g, gm_prompt_message *m, gm_err *err)
{
    for (int32_t i = 0; i < m->part_count; i++) {
        GM_TRY(gm_grow((void **)&g->parts, &g->part_capacity, (size_t)g->part_count, sizeof *g->parts, err));
        g->parts[g->part_count++] = m->parts[i];
        m->parts[i].text = NULL;
    }
    return GM_OK;
}

static gm_status add_demonstration(gm_grounder *g, const gm_demonstration *d, int32_t number, gm_err *err)
{
    const gm_mllm_view view = gm_mllm_view_of(g->o.endpoint, d->shown->width, d->shown->height);
    const gm_mllm_part picture = { .image_path = d->shown->path };
    gm_prompt_message m = { 0 };
    char text[NUMBER];
    snprintf(text, sizeof text, "%d", number);
    GM_TRY(write_texts(g, d->record, &view, err));
    const gm_prompt_value values[] = { { .name = "number", .text = text }, { .name = "text", .text = g->text }, { .name = "entities", .text = g->entities.data },
                                       { .name = "answer", .text = g->answer.data }, { .name = "image", .parts = &picture, .part_count = 1 } };
    GM_TRY(gm_prompt_fill(&g->demonstration, values, GM_LEN(values), &m, err));
    const gm_status status = take_parts(g, &m, err);
    gm_prompt_message_free(&m);
    return status;
}

static const char *name_coordinates(const gm_mllm_view *v)
{
    return v->coordinates == GM_MLLM_COORDINATES_THOUSANDTHS ? "thousandths of the picture's sides" : "pixels";
}

gm_status gm_grounder_request(gm_grounder *g, const gm_record *r, const gm_shown *shown, const gm_demonstration *demonstrations, int32_t count,
                              gm_mllm_request *request, gm_err *err)
{
    const gm_mllm_view view = gm_mllm_view_of(g->o.endpoint, shown->width, shown->height);
    const gm_mllm_part picture = { .image_path = shown->path };
    int32_t sides[4];
    gm_prompt_message_free(&g->message);
    free_parts(g);
    for (int32_t i = 0; i < count; i++) GM_TRY(add_demonstration(g, &demonstrations[i], i + 1, err));
    GM_TRY(write_texts(g, r, NULL, err));
    gm_mllm_box_to_prompt(&view, (gm_box){ 0, 0, shown->width, shown->height }, sides);
    snprintf(g->width, sizeof g->width, "%d", sides[2]);
    snprintf(g->height, sizeof g->height, "%d", sides[3]);
    g->id.size = 0;
    GM_TRY(gm_buffer_printf(&g->id, err, "%s:ground", r->id));
    const gm_prompt_value values[] = {
        { .name = "types", .text = g->types.data }, { .name = "never", .text = g->never.data }, { .name = "text", .text = g->text },
        { .name = "entities", .text = g->entities.data }, { .name = "image", .parts = &picture, .part_count = 1 },
        { .name = "demonstrations", .parts = g->parts, .part_count = g->part_count }, { .name = "coordinates", .text = name_coordinates(&view) },
        { .name = "width", .text = g->width }, { .name = "height", .text = g->height },
    };
    GM_TRY(gm_prompt_fill(&g->grounding, values, GM_LEN(values), &g->message, err));
    *request = (gm_mllm_request){ .id = g->id.data, .system = g->message.system, .parts = g->message.parts, .part_count = g->message.part_count,
                                  .temperature = 0.1, .seed = -1, .schema_name = "grounding", .schema = schema };
    return GM_OK;
}

/* ---- the answer ---- */

static const char *past_blanks(const char *at) { return at + strspn(at, " \t\r\n"); }

/* Whether the words of an entity read so, blanks aside. */
static bool reads(const gm_record *r, const gm_entity *e, const char *text, bool with_case)
{
    for (int32_t w = e->start; w <= e->end; w++)
        for (const char *t = past_blanks(r->tokens[w]); *t != '\0'; t = past_blanks(t + 1)) {
            text = past_blanks(text);
            if (with_case ? *text != *t : strncasecmp(text, t, 1) != 0) return false;
            text++;
        }
    return *past_blanks(text) == '\0';
}

static void match(const gm_record *r, gm_ground_result *to)
{
    for (int32_t k = 0; k < r->entity_count; k++) to->of[k] = -1;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = 0; i < to->count; i++) {
            bool is_taken = false;
            for (int32_t k = 0; k < r->entity_count && !is_taken; k++) is_taken = to->of[k] == i;
            for (int32_t k = 0; k < r->entity_count && !is_taken; k++) {
                if (to->of[k] >= 0 || !reads(r, &r->entities[k], to->list[i].entity, pass == 0)) continue;
                to->of[k] = i;
                is_taken = true;
            }
        }
}

gm_status gm_ground_fail(gm_ground_result *to, const char *why, gm_err *err)
{
    *to = (gm_ground_result){ .why = gm_strdup(why), .is_failed = true };
    return to->why != NULL ? GM_OK : no_memory(err);
}

gm_status gm_ground_read(const gm_ground_options *o, const gm_record *r, const gm_shown *shown, const gm_mllm_answer *answer, gm_ground_result *to, gm_err *err)
{
    const gm_mllm_view view = gm_mllm_view_of(o->endpoint, shown->width, shown->height);
    gm_err why = { 0 };
    if (answer->outcome != GM_MLLM_ANSWERED && answer->outcome != GM_MLLM_CACHED) return gm_ground_fail(to, answer->why, err);
    *to = (gm_ground_result){ 0 };
    const gm_status status = gm_answer_grounding(answer->text, answer->text_bytes, o->types, &view, &to->list, &to->count, &why);
    if (status == GM_ERR_NOMEM) return no_memory(err);
    if (status != GM_OK) {
        char text[sizeof why.text + 64];
        snprintf(text, sizeof text, "%s%s", why.text, answer->is_cut ? " (it was cut at max_tokens)" : "");
        GM_TRY(gm_ground_fail(to, text, err));
        to->is_failed = false;
        return GM_OK;
    }
    to->of = gm_malloc(((size_t)r->entity_count + 1) * sizeof *to->of);
    if (to->of == NULL) {
        gm_ground_result_free(to);
        return no_memory(err);
    }
    match(r, to);
    return GM_OK;
}

void gm_ground_result_free(gm_ground_result *r)
{
    gm_grounded_free(r->list, r->count);
    gm_free(r->of);
    gm_free(r->why);
    *r = (gm_ground_result){ 0 };
}

gm_status gm_ground_reply(void *user, const gm_question *q, gm_reply *reply, gm_err *err)
{
    const gm_ground_results *results = user;
    const gm_ground_result *r = &results->items[q->record];
    (void)err;
    *reply = (gm_reply){ .kind = GM_REPLY_REGION };
    if (gm_is_never_grounded(results->options, q->now->type)) return GM_OK;
    if (r->why != NULL) {
        *reply = (gm_reply){ .kind = r->is_failed ? GM_REPLY_FAILED : GM_REPLY_REFUSED, .why = r->why };
        return GM_OK;
    }
    const gm_grounded *found = r->of[q->entity] >= 0 ? &r->list[r->of[q->entity]] : NULL;
    if (found == NULL) *reply = (gm_reply){ .kind = GM_REPLY_REFUSED, .why = "the answer says nothing of it" };
    else if (found->why[0] != '\0') *reply = (gm_reply){ .kind = GM_REPLY_REFUSED, .why = found->why };
    else *reply = (gm_reply){ .kind = GM_REPLY_REGION, .boxes = found->boxes, .box_count = found->box_count };
    return GM_OK;
}
