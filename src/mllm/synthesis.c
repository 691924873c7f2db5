/* Sentences are looked for in two ways, and the one that finds more is taken: as the list that the prompt asks for, and object by object,
 * which saves what is whole in an answer that max_tokens has cut. */
#include "mllm/synthesis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "data/words.h"
#include "mllm/answers.h"
#include "mllm/similar.h"

enum { MAX_ENTITIES = 100, MAX_TRIES = 64 /* braces that begin no sentence: more would let a hostile answer cost minutes */ };

const char *const gm_synthesis_names[GM_SYNTHESIS_FAULTS] = {
#define GM_SYNTHESIS_FAULT(name, meaning) #name,
#include "mllm/synthesis.def"
#undef GM_SYNTHESIS_FAULT
};

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for sentences"); }

/* ---- asking ---- */

static gm_status add_types(const gm_type_set *types, const char *between, bool is_json, gm_buffer *b, gm_err *err)
{
    for (int32_t k = 0; k < types->shown.count; k++) {
        const char *name = types->shown.names[k];
        if (k > 0) GM_TRY(gm_buffer_printf(b, err, "%s", between));
        GM_TRY(is_json ? gm_buffer_json_string(b, name, err) : gm_buffer_printf(b, err, "%s", name));
    }
    return GM_OK;
}

static gm_status add_entity(const gm_record *r, const gm_entity *e, bool is_first, gm_buffer *b, gm_err *err)
{
    char *name, type[300];
    GM_TRY(gm_words_text(r, e->start, e->end, &name, err));
    snprintf(type, sizeof type, "%s%s%s", e->type, e->fine != NULL ? "/" : "", e->fine != NULL ? e->fine : "");
    gm_status status = gm_buffer_printf(b, err, is_first ? "{\"name\": " : ", {\"name\": ");
    if (status == GM_OK) status = gm_buffer_json_string(b, name, err);
    if (status == GM_OK) status = gm_buffer_printf(b, err, ", \"type\": ");
    if (status == GM_OK) status = gm_buffer_json_string(b, type, err);
    if (status == GM_OK) status = gm_buffer_printf(b, err, "}");
    gm_free(name);
    return status;
}

gm_status gm_synthesis_message(const gm_synthesis_order *o, const gm_record *sample, gm_prompt_message *to, gm_err *err)
{
    const bool is_empty = sample->entity_count == 0;
    char *text = NULL, sentences[16], more[16];
    gm_buffer entities = { 0 }, types = { 0 };
    *to = (gm_prompt_message) { .system = NULL };
    snprintf(sentences, sizeof sentences, "%d", is_empty ? o->sentences + o->more : o->sentences);
    snprintf(more, sizeof more, "%d", o->more);
    gm_status status = gm_words_text(sample, 0, sample->token_count - 1, &text, err);
    if (status == GM_OK) status = add_types(o->types, ", ", false, &types, err);
    if (status == GM_OK) status = gm_buffer_printf(&entities, err, "[");
    for (int32_t k = 0; k < sample->entity_count && status == GM_OK; k++) status = add_entity(sample, &sample->entities[k], k == 0, &entities, err);
    if (status == GM_OK) status = gm_buffer_printf(&entities, err, "]");
    if (status == GM_OK) {
        const gm_prompt_value values[] = { { .name = "text", .text = text }, { .name = "entities", .text = entities.data },
                                           { .name = "types", .text = types.data }, { .name = "sentences", .text = sentences },
                                           { .name = "more", .text = more } };
        status = gm_prompt_fill(&o->prompts[is_empty], values, GM_LEN(values), to, err);
    }
    gm_free(text);
    gm_buffer_free(&entities);
    gm_buffer_free(&types);
    return status;
}

gm_status gm_synthesis_schema(const gm_type_set *types, char **schema, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status = gm_buffer_printf(&b, err, "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"sentences\"],\"properties\":{"
                                                 "\"sentences\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"additionalProperties\":false,"
                                                 "\"required\":[\"text\",\"entity\"],\"properties\":{\"text\":{\"type\":\"string\"},\"entity\":{"
                                                 "\"type\":\"array\",\"items\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":["
                                                 "\"name\",\"type\"],\"properties\":{\"name\":{\"type\":\"string\"},\"type\":{\"enum\":[");
    if (status == GM_OK) status = add_types(types, ",", true, &b, err);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "]}}}}}}}}}");
    if (status != GM_OK) gm_buffer_free(&b);
    *schema = b.data;
    return status;
}

/* ---- the sentences within an answer ---- */

static const cJSON *text_of(const cJSON *item)
{
    const cJSON *text = cJSON_GetObjectItem(item, "text"); /* case aside */
    return cJSON_IsString(text) ? text : NULL;
}

static int32_t sentences_in(const cJSON *list)
{
    int32_t count = 0;
    for (const cJSON *c = list != NULL ? list->child : NULL; c != NULL; c = c->next) count += text_of(c) != NULL;
    return count;
}

/* The object that begins at `at`, if it is a sentence; *stop is where it ends. */
static cJSON *sentence_at(const char *at, const char *end, const char **stop)
{
    cJSON *v = cJSON_ParseWithLengthOpts(at, (size_t)(end - at), stop, false);
    cJSON_Delete(v);
    if (v == NULL || gm_json_parse(at, (size_t)(*stop - at), &v, NULL) != GM_OK) return NULL;
    if (text_of(v) != NULL) return v;
    cJSON_Delete(v);
    return NULL;
}

/* Every object with a text, wherever it stands. */
static cJSON *salvage(const char *text, size_t size)
{
    char *copy = gm_strndup(text, size);
    cJSON *list = cJSON_CreateArray();
    const char *end = copy != NULL ? copy + strlen(copy) : NULL, *stop;
    int tries = 0;
    for (const char *at = copy; list != NULL && at != NULL && tries < MAX_TRIES && (at = strchr(at, '{')) != NULL;) {
        cJSON *v = sentence_at(at, end, &stop);
        tries += v == NULL;
        at = v == NULL ? at + 1 : stop;
        if (v != NULL && !cJSON_AddItemToArray(list, v)) cJSON_Delete(v);
    }
    gm_free(copy);
    return list;
}

static gm_status find_sentences(const char *text, size_t size, cJSON **list, gm_err *err)
{
    cJSON *listed = gm_answer_list(text, size), *saved = salvage(text, size);
    const bool is_saved = sentences_in(saved) > sentences_in(listed);
    *list = is_saved ? saved : listed;
    cJSON_Delete(is_saved ? listed : saved);
    if (sentences_in(*list) > 0) return GM_OK;
    cJSON_Delete(*list);
    *list = NULL;
    return gm_fail(err, GM_ERR_DATA, "the answer holds no list of sentences");
}

/* ---- one sentence ---- */

/* A sentence that is being judged. */
typedef struct judging {
    const gm_synthesis_rules *rules;
    gm_sentence *s;
    gm_words words;
    gm_named names[MAX_ENTITIES];
    char *owned[MAX_ENTITIES]; /* the names, without blanks around them */
    int32_t count;
} judging;

/* The name without blanks around it; NULL where nothing is left. */
static gm_status trim(const cJSON *name, char **to, gm_err *err)
{
    gm_words words = { 0 };
    *to = NULL;
    if (!cJSON_IsString(name)) return GM_OK;
    gm_status status = gm_words_of(name->valuestring, strlen(name->valuestring), &words, err);
    if (status == GM_OK && words.count > 0) {
        *to = gm_words_slice(&words, name->valuestring, 0, words.count - 1);
        if (*to == NULL) status = no_memory(err);
    }
    gm_words_free(&words);
    return status;
}

/* Takes the name, unless something is wrong with it. */
static gm_synthesis_fault take_name(judging *j, char *name, const cJSON *type)
{
    int32_t k = cJSON_IsString(type) ? gm_answer_find_type(&j->rules->types->shown, type->valuestring) : -1;
    if (k < 0) {
        k = gm_answer_find_type(&j->rules->types->shown, "other");
        j->s->retyped += k >= 0;
    }
    gm_synthesis_fault fault = k < 0 ? GM_SYNTHESIS_unknown_type : GM_SYNTHESIS_FAULTS;
    bool is_known = false;
    for (int32_t i = 0; i < j->count && k >= 0; i++) {
        if (strcmp(j->names[i].name, name) != 0) continue;
        is_known = true;
        if (j->names[i].type != k) fault = GM_SYNTHESIS_two_types;
    }
    if (fault != GM_SYNTHESIS_FAULTS || is_known) {
        gm_free(name);
        return fault;
    }
    j->owned[j->count] = name;
    j->names[j->count++] = (gm_named) { name, k, 0 };
    return GM_SYNTHESIS_FAULTS;
}

/* Notes what is wrong with an entity: with the sentence, or, by the rule, with the entity alone. */
static void blame(judging *j, gm_synthesis_fault fault)
{
    if (fault == GM_SYNTHESIS_FAULTS) return;
    if (j->rules->keeps_partial) j->s->left_out++;
    else if (j->s->fault == GM_SYNTHESIS_FAULTS) j->s->fault = fault;
}

static gm_status take_names(judging *j, const cJSON *item, gm_err *err)
{
    const cJSON *list = cJSON_GetObjectItem(item, "entity"); /* what is no list names nothing */
    for (const cJSON *e = cJSON_IsArray(list) ? list->child : NULL; e != NULL; e = e->next) {
        char *name;
        GM_TRY(trim(cJSON_GetObjectItem(e, "name"), &name, err));
        if (j->count == MAX_ENTITIES) {
            gm_free(name);
            j->s->fault = GM_SYNTHESIS_too_many;
            return GM_OK;
        }
        blame(j, name == NULL ? GM_SYNTHESIS_no_name : take_name(j, name, cJSON_GetObjectItem(e, "type")));
    }
    return GM_OK;
}

static gm_status fill_record(judging *j, const gm_span *spans, int32_t count, gm_err *err)
{
    gm_record *r = &j->s->record;
    const gm_type_set *types = j->rules->types;
    r->tokens = gm_calloc((size_t)j->words.count, sizeof *r->tokens);
    r->entities = gm_calloc((size_t)count + 1, sizeof *r->entities);
    if (r->tokens == NULL || r->entities == NULL) return no_memory(err);
    for (; r->token_count < j->words.count; r->token_count++) {
        r->tokens[r->token_count] = gm_words_slice(&j->words, j->s->text, r->token_count, r->token_count);
        if (r->tokens[r->token_count] == NULL) return no_memory(err);
    }
    for (; r->entity_count < count; r->entity_count++) {
        const gm_span *s = &spans[r->entity_count];
        gm_entity *e = &r->entities[r->entity_count];
        *e = (gm_entity) { .start = s->start, .end = s->end, .score = NAN, .region_score = NAN, .uncertainty = gm_no_uncertainty };
        e->type = gm_strdup(types->coarse[s->type]);
        e->fine = types->fine[s->type] != NULL ? gm_strdup(types->fine[s->type]) : NULL;
        if (e->type == NULL || (types->fine[s->type] != NULL && e->fine == NULL)) {
            r->entity_count++;
            return no_memory(err);
        }
    }
    return GM_OK;
}

static gm_status name_words(judging *j, gm_err *err)
{
    gm_span *spans = gm_calloc((size_t)j->words.count, sizeof *spans);
    int32_t count = 0;
    if (spans == NULL) return no_memory(err);
    gm_status status = gm_words_name(&j->words, j->s->text, j->names, j->count, spans, &count, &j->s->inside_words, err);
    for (int32_t k = 0; k < j->count && status == GM_OK; k++) {
        j->s->nested += j->names[k].found == 0;
        if (j->names[k].found < 0) blame(j, GM_SYNTHESIS_absent);
    }
    if (status == GM_OK && j->s->fault == GM_SYNTHESIS_FAULTS) status = fill_record(j, spans, count, err);
    gm_free(spans);
    return status;
}

static gm_status judge(judging *j, const cJSON *item, gm_err *err)
{
    gm_sentence *s = j->s;
    const cJSON *text = text_of(item);
    s->text = gm_strdup(text != NULL ? text->valuestring : "");
    if (s->text == NULL) return no_memory(err);
    GM_TRY(gm_words_of(s->text, strlen(s->text), &j->words, err));
    const int32_t length = gm_words_length(&j->words, s->text);
    if (text == NULL) s->fault = GM_SYNTHESIS_no_text;
    else if (length < j->rules->min_words || length == 0) s->fault = GM_SYNTHESIS_too_short;
    else if (length > j->rules->max_words) s->fault = GM_SYNTHESIS_too_long;
    if (s->fault == GM_SYNTHESIS_FAULTS) GM_TRY(take_names(j, item, err));
    return s->fault == GM_SYNTHESIS_FAULTS ? name_words(j, err) : GM_OK;
}

gm_status gm_synthesis_read(const char *text, size_t size, const gm_synthesis_rules *rules, gm_sentences *to, gm_err *err)
{
    cJSON *list;
    int32_t number = 0;
    GM_TRY(find_sentences(text, size, &list, err));
    gm_status status = GM_OK;
    for (const cJSON *c = list->child; c != NULL && status == GM_OK; c = c->next) {
        judging j = { .rules = rules };
        status = gm_grow((void **)&to->items, &to->capacity, to->count, sizeof *to->items, err);
        if (status != GM_OK) break;
        j.s = &to->items[to->count++];
        *j.s = (gm_sentence) { .number = ++number, .fault = GM_SYNTHESIS_FAULTS };
        status = judge(&j, c, err);
        gm_words_free(&j.words);
        for (int32_t k = 0; k < j.count; k++) gm_free(j.owned[k]);
    }
    cJSON_Delete(list);
    return status;
}

void gm_sentences_free(gm_sentences *s)
{
    for (size_t i = 0; i < s->count; i++) {
        gm_free(s->items[i].text);
        gm_record_free(&s->items[i].record);
    }
    gm_free(s->items);
    *s = (gm_sentences) { 0 };
}
