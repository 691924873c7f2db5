/* Questions as requests and answers as replies: the fixture's seven answers end in the states that it names, requests say what they should, the
 * order of answers changes nothing, and what was recorded answers as the endpoint did. */
#define _POSIX_C_SOURCE 200809L
#include "tests/eval/eval_test.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "image/image.h"
#include "mllm/asking.h"
#include "mllm/pick.h"
#include "tests/mllm/ask.h"

static const gm_route_options all = {
    .thresholds = { { 1, 1, 1 } }, .calls = -1, .share = 1, .asks = { true, true, true }
};

static const cJSON *get(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    if (v == NULL) fail_msg("the fixture has no \"%s\"", name);
    return v;
}

/* A folder with the picture a.png, 640 x 480. */
static const char *pictures(void)
{
    static char folder[600];
    char path[640];
    gm_image image;
    gm_err err = { 0 };
    snprintf(folder, sizeof folder, "%s/pictures", gmt_temp_dir());
    assert_ok(gm_make_dirs(folder, &err));
    snprintf(path, sizeof path, "%s/a.png", folder);
    assert_ok(gm_image_create(640, 480, &image, &err));
    assert_ok(gm_image_write_png(&image, path, &err));
    gm_image_free(&image);
    return folder;
}

static void unsure(gm_entity *e, double span, double type, double region)
{
    e->uncertainty.span_norm = span;
    e->uncertainty.type_norm = type;
    e->uncertainty.region_norm = region;
}

/* One run of corrections by asking. */
typedef struct run {
    gm_records pred;
    gm_type_set types;
    gm_mllm_endpoint endpoint;
    gm_route route;
    gm_corrections *c;
    gm_asking *asking;
    const gm_records *now;
} run;

static void begin(run *r, const gm_route_options *how, const char *types, const char *images, gm_recorded *record)
{
    gm_err err = { 0 };
    if (types != NULL)
        assert_ok(gm_type_set_parse(types, &r->types, &err));
    else
        assert_ok(gm_type_set_of(&r->pred, &r->types, &err));
    assert_ok(gm_route_make(&r->pred, how, &r->route, &err));
    assert_ok(gm_correct_begin(&r->pred, &r->route, &r->c, &err));
    const gm_asking_options o = { .endpoint = &r->endpoint,
                                  .prompts = "configs/prompts",
                                  .images = images,
                                  .types = &r->types,
                                  .thresholds = { { 0.4, 0.5, 0.3 } },
                                  .record = record };
    assert_ok(gm_asking_open(&o, &r->pred, r->c, &r->asking, &err));
}

static bool next(run *r, gm_mllm_request *request)
{
    gm_err err = { 0 };
    bool have;
    *request = (gm_mllm_request) { .temperature = -1, .seed = -1 };
    assert_ok(gm_asking_next(r->asking, request, &have, &err));
    return have;
}

static void got(run *r, const gm_mllm_request *request, gm_mllm_outcome outcome, const char *text)
{
    gm_err err = { 0 };
    const bool has_text = outcome <= GM_MLLM_CACHED;
    const gm_mllm_answer a = { .outcome = outcome,
                               .tag = request->tag,
                               .text = has_text ? text : "",
                               .text_bytes = has_text ? strlen(text) : 0,
                               .why = has_text ? "" : text };
    assert_ok(gm_asking_got(r->asking, &a, &err));
}

static void end(run *r)
{
    gm_err err = { 0 };
    assert_true(gm_correct_is_done(r->c));
    assert_ok(gm_correct_end(r->c, &r->now, &err));
}

static void drop(run *r)
{
    gm_asking_free(r->asking);
    gm_correct_free(r->c);
    gm_route_free(&r->route);
    gm_type_set_free(&r->types);
    gm_mllm_endpoint_free(&r->endpoint);
    gm_records_free(&r->pred);
}

static bool says(const gm_mllm_request *q, const char *words)
{
    if (q->system != NULL && strstr(q->system, words) != NULL) return true;
    for (int32_t i = 0; i < q->part_count; i++)
        if (q->parts[i].text != NULL && strstr(q->parts[i].text, words) != NULL) return true;
    return false;
}

static int32_t pictures_in(const gm_mllm_request *q)
{
    int32_t n = 0;
    for (int32_t i = 0; i < q->part_count; i++) n += q->parts[i].text == NULL;
    return n;
}

/* ---- the fixture ---- */

static gm_record record_of_unco(const cJSON *fixture)
{
    gm_record r = { .id = text("1"),
                    .tokens = gm_calloc(16, sizeof *r.tokens),
                    .image = text("a.png"),
                    .entities = gm_calloc(1, sizeof *r.entities) };
    const cJSON *it, *e = get(fixture, "entity");
    cJSON_ArrayForEach(it, get(fixture, "tokens")) r.tokens[r.token_count++] = text(it->valuestring);
    gm_entity *one = add_entity(&r, get(e, "start")->valueint, get(e, "type")->valuestring);
    one->end = get(e, "end")->valueint;
    return r;
}

static void state_of_unco(const cJSON *answer, const cJSON *fixture)
{
    const char *stage = get(answer, "stage")->valuestring;
    const cJSON *want = get(answer, "expect"), *start = cJSON_GetObjectItem(want, "start"),
                *type = cJSON_GetObjectItem(want, "type");
    const cJSON *box = cJSON_GetObjectItem(want, "box");
    const bool holds = strstr(get(answer, "answer")->valuestring, "Register") == NULL &&
                       strstr(get(answer, "answer")->valuestring, "NEWSPAPER") == NULL &&
                       cJSON_GetObjectItem(want, "unchanged") == NULL;
    gm_err err = { 0 };
    run r = { .endpoint = ask_nowhere(", \"coordinates\": \"pixels\"") };
    gm_record record = record_of_unco(fixture);
    unsure(&record.entities[0], strcmp(stage, "span") == 0 ? 0.5 : NAN, strcmp(stage, "type") == 0 ? 0.5 : NAN,
           strcmp(stage, "region") == 0 ? 0.5 : NAN);
    assert_ok(gm_records_add(&r.pred, &record, &err));
    begin(&r, &all, "PER,LOC,ORG,MISC", pictures(), NULL);
    gm_mllm_request q;
    assert_true(next(&r, &q));
    assert_true(says(&q, "Ardin Tribune"));
    got(&r, &q, GM_MLLM_ANSWERED, get(answer, "answer")->valuestring);
    assert_false(next(&r, &q));
    end(&r);
    const gm_entity *e = &r.now->items[0].entities[0];
    assert_int_equal(e->start, start != NULL ? start->valueint : 6);
    assert_int_equal(e->end, start != NULL ? get(want, "end")->valueint : 7);
    assert_string_equal(e->type, type != NULL ? type->valuestring : "LOC");
    assert_int_equal(e->box_count, cJSON_IsArray(box));
    double b[4];
    if (cJSON_IsArray(box)) {
        assert_int_equal(gmt_json_doubles(box, b, 4), 4);
        assert_memory_equal(&e->boxes[0], b, sizeof b);
    }
    assert_int_equal(strstr(e->extra, "refused") == NULL, holds);
    drop(&r);
}

static void answers_of_unco_end_in_their_states(void **state)
{
    (void)state;
    const cJSON *fixture = get(gmt_fixture("unco"), "correction"), *it;
    int seen = 0;
    cJSON_ArrayForEach(it, get(fixture, "answers"))
    {
        state_of_unco(it, fixture);
        seen++;
    }
    assert_int_equal(seen, 7);
}

/* ---- requests ---- */

/* Span, type and region of one entity: each request shows what the answer before has made of it. */
static void requests_say_what_they_should(void **state)
{
    (void)state;
    gm_err err = { 0 };
    run r = { .endpoint = ask_nowhere(", \"coordinates\": \"resized\", \"image\": {\"max_side\": 320}") };
    gm_record record = blank("7");
    gm_entity *e = add_entity(&record, 3, "PER");
    record.image = text("a.png");
    unsure(e, 0.625, 0.75, 0.875);
    e->boxes[e->box_count++] = (gm_box) { 100, 50, 300, 200 };
    assert_ok(gm_records_add(&r.pred, &record, &err));
    begin(&r, &all, NULL, pictures(), NULL);
    gm_mllm_request q;
    assert_true(next(&r, &q));
    assert_string_equal(q.id, "7:0:span");
    assert_true(q.temperature == 0.1 && says(&q, "Post: Mira and Mira met Mira Joss Joss today") &&
                says(&q, "Marked entity: met") && says(&q, "span: 0.62") && says(&q, "above 0.40"));
    assert_int_equal(pictures_in(&q), 0);
    assert_non_null(strstr(q.schema, "\"corrected_entity\":{\"type\":\"string\"}"));
    got(&r, &q, GM_MLLM_ANSWERED, "{\"reasoning_process\": \"\", \"corrected_entity\": \"Mira Joss\"}");
    assert_true(next(&r, &q));
    assert_true(says(&q, "Entity: Mira Joss") && says(&q, "Type so far: PER") && says(&q, "PER, LOC, ORG, OTHER") &&
                says(&q, "above 0.50"));
    assert_int_equal(pictures_in(&q), 1);
    assert_non_null(strstr(q.schema, "\"enum\":[\"PER\",\"LOC\",\"ORG\",\"OTHER\"]"));
    got(&r, &q, GM_MLLM_CACHED, "{\"corrected_type\": \"misc\"}");
    assert_true(next(&r, &q));
    assert_true(says(&q, "Type: OTHER") && says(&q, "Box so far: [50, 25, 150, 100]") &&
                says(&q, "is 320 wide and 240 high") && says(&q, "in pixels") && says(&q, "box: 0.88"));
    got(&r, &q, GM_MLLM_ANSWERED, "{\"corrected_bounding_box\": [10, 20, 110, 400]}");
    assert_false(next(&r, &q));
    end(&r);
    e = &r.now->items[0].entities[0];
    assert_true(e->start == 4 && e->end == 5 && strcmp(e->type, "OTHER") == 0 && e->box_count == 1);
    assert_true(e->boxes[0].x1 == 20 && e->boxes[0].y1 == 40 && e->boxes[0].x2 == 220 &&
                e->boxes[0].y2 == 480); /* clipped to the picture */
    drop(&r);
}

static void fine_types_are_asked_for_as_pairs(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *type, *fine;
    } cases[] = { { "location/city", "location", "city" },
                  { "Actor", "person", "actor" },
                  { "person", "person", "actor" },
                  { "other", "person", "actor" } };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        char answer[128];
        run r = { .endpoint = ask_nowhere("") };
        gm_record record = blank("7");
        add_entity(&record, 0, "person")->fine = text("actor");
        add_entity(&record, 2, "location")->fine = text("city");
        add_entity(&record, 5, "event")->fine = text("other");
        add_entity(&record, 6, "product")->fine = text("other");
        unsure(&record.entities[0], NAN, 0.5, NAN);
        assert_ok(gm_records_add(&r.pred, &record, &err));
        begin(&r, &all, NULL, NULL, NULL);
        gm_mllm_request q;
        assert_true(next(&r, &q));
        assert_true(says(&q, "Type so far: person/actor") &&
                    says(&q, "event/other, location/city, person/actor, product/other"));
        snprintf(answer, sizeof answer, "{\"corrected_type\": \"%s\"}", cases[i].answer);
        got(&r, &q, GM_MLLM_ANSWERED, answer);
        assert_false(next(&r, &q));
        end(&r);
        assert_string_equal(r.now->items[0].entities[0].type, cases[i].type);
        assert_string_equal(r.now->items[0].entities[0].fine, cases[i].fine);
        assert_int_equal(gm_correct_count(r.c).refused[GM_PART_TYPE],
                         i >= 2); /* a coarse one alone, and one of two meanings */
        drop(&r);
    }
}

static void types_come_from_the_predictions(void **state)
{
    (void)state;
    static const struct {
        const char *has, *all;
    } cases[] = { { "LOC,MISC", "LOC,MISC,PER,ORG" },
                  { "vessel,Vehicle", "Vehicle,vessel,aircraft,weapon,location,other" },
                  { "LOC,planet", "LOC,planet" } };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        gm_records pred = { 0 };
        gm_record record = blank("7");
        gm_labels has;
        gm_type_set s;
        char list[256] = "";
        assert_ok(gm_labels_parse(cases[i].has, &has, &err));
        for (int32_t k = 0; k < has.count; k++) add_entity(&record, k, has.names[k]);
        assert_ok(gm_records_add(&pred, &record, &err));
        assert_ok(gm_type_set_of(&pred, &s, &err));
        for (int32_t k = 0; k < s.shown.count; k++)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", k > 0 ? "," : "", s.shown.names[k]);
        assert_string_equal(list, cases[i].all);
        gm_type_set_free(&s);
        gm_labels_free(&has);
        gm_records_free(&pred);
    }
    gm_type_set s;
    gm_err err = { 0 };
    assert_int_equal(gm_type_set_parse("person/,x", &s, &err), GM_ERR_USAGE);
    assert_int_equal(gm_type_set_parse("a,,b", &s, &err), GM_ERR_DATA);
}

/* A picture that is missing: the type is asked without, the region not at all. */
static void a_missing_picture_is_reported(void **state)
{
    (void)state;
    static const char *const names[] = { "none.png", "../a.png", NULL };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        gm_err err = { 0 };
        run r = { .endpoint = ask_nowhere("") };
        gm_record record = blank("7");
        unsure(add_entity(&record, 0, "PER"), NAN, 0.5, 0.5);
        if (names[i] != NULL) record.image = text(names[i]);
        assert_ok(gm_records_add(&r.pred, &record, &err));
        begin(&r, &all, NULL, pictures(), NULL);
        gm_mllm_request q;
        assert_true(next(&r, &q));
        assert_int_equal(pictures_in(&q), 0);
        got(&r, &q, GM_MLLM_UNSENT, "the budget of calls is spent");
        assert_false(next(&r, &q));
        end(&r);
        assert_int_equal(gm_correct_count(r.c).failed[GM_PART_REGION], 1);
        assert_non_null(strstr(r.now->items[0].entities[0].extra,
                               "\"source\": \"local\", \"status\": \"failed\", \"why\": \"type: the budget of calls is "
                               "spent; region: there is no picture to look at\""));
        assert_int_equal(gm_asking_without_picture(r.asking), names[i] != NULL);
        drop(&r);
    }
}

/* ---- order, and recorded answers ---- */

enum { RECORDS = 12, IN_FLIGHT = 7 };

static void many(gm_records *pred)
{
    gm_err err = { 0 };
    for (int i = 0; i < RECORDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        gm_record record = blank(id);
        for (int k = 0; k < 1 + i % 3; k++) unsure(add_entity(&record, 2 * k, "PER"), 0.5, 0.25, 0.75);
        record.image = text(i % 4 > 0 ? "a.png" : "none.png");
        assert_ok(gm_records_add(pred, &record, &err));
    }
}

/* What the model says depends on the request alone; some answers do not hold, some do not come. */
static const char *answer_to(const gm_mllm_request *q, gm_mllm_outcome *outcome)
{
    static const char *const answers[] = { "{\"corrected_entity\": \"Mira and\"}",
                                           "{\"corrected_entity\": \"Null\"}",
                                           "I do not know",
                                           "{\"corrected_entity\": \"Joss\"}",
                                           "{\"corrected_type\": \"LOC\"}",
                                           "{\"corrected_type\": \"GOD\"}",
                                           "HTTP 503: Loading model",
                                           "{\"corrected_bounding_box\": [1, 2, 300, 400]}",
                                           "{\"corrected_bounding_box\": [300, 2, 1, 400]}",
                                           "{\"corrected_bounding_box\": \"Null\"}" };
    const char *part = strrchr(q->id, ':') + 1;
    const uint64_t h = gm_fnv1a(q->id);
    *outcome = h % 11 == 0 ? GM_MLLM_FAILED : GM_MLLM_ANSWERED;
    if (h % 11 == 0) return answers[6];
    if (strcmp(part, "span") == 0) return answers[h % 4];
    return strcmp(part, "type") == 0 ? answers[4 + h % 2] : answers[7 + h % 3];
}

static void pump(run *r, dice *d)
{
    struct {
        gm_mllm_request q;
        char id[64];
    } open[IN_FLIGHT];
    int count = 0;
    for (;;) {
        while (count < IN_FLIGHT && next(r, &open[count].q)) {
            snprintf(open[count].id, sizeof open[count].id, "%s", open[count].q.id);
            count++;
        }
        if (count == 0) return;
        const int i = (int)roll(d, (uint32_t)count);
        gm_mllm_outcome outcome;
        open[i].q.id = open[i].id;
        const char *said = answer_to(&open[i].q, &outcome);
        got(r, &open[i].q, outcome, said);
        open[i] = open[--count];
    }
}

static char *written(const gm_records *now)
{
    gm_err err = { 0 };
    gm_buffer b = { 0 };
    for (size_t i = 0; i < now->count; i++) assert_ok(gm_record_write(&now->items[i], &b, &err));
    return b.data;
}

static void the_order_of_answers_changes_nothing(void **state)
{
    (void)state;
    char *first = NULL;
    for (uint64_t seed = 0; seed < 8; seed++) {
        run r = { .endpoint = ask_nowhere("") };
        dice d = { seed, 0 };
        many(&r.pred);
        begin(&r, &all, NULL, pictures(), NULL);
        pump(&r, &d);
        end(&r);
        const gm_correct_counts n = gm_correct_count(r.c);
        for (int part = 0; part < GM_PARTS; part++)
            assert_int_equal(n.asked[part], n.corrected[part] + n.kept[part] + n.refused[part] + n.failed[part]);
        assert_int_equal(n.asked[0] + n.asked[1] + n.asked[2], 3 * 24);
        char *now = written(r.now);
        if (first != NULL) assert_string_equal(now, first);
        gm_free(first);
        first = now;
        drop(&r);
    }
    gm_free(first);
}

static void recorded_answers_answer_the_same(void **state)
{
    (void)state;
    char path[640];
    gm_err err = { 0 };
    gm_recorded *record, *again;
    gm_recorded_counts n;
    gm_corrections *c;
    const gm_records *now;
    dice d = { 5, 0 };
    run r = { .endpoint = ask_nowhere(", \"coordinates\": \"thousandths\"") };
    many(&r.pred);
    assert_ok(gm_type_set_parse("PER,LOC", &r.types, &err));
    assert_ok(gm_recorded_open(&r.pred, &r.types, &record, &err));
    gm_type_set_free(&r.types);
    begin(&r, &all, "PER,LOC", pictures(), record);
    pump(&r, &d);
    end(&r);
    char *want = written(r.now);
    snprintf(path, sizeof path, "%s/answers.jsonl", gmt_temp_dir());
    assert_ok(gm_recorded_write(record, path, &err));
    assert_ok(gm_recorded_open(&r.pred, &r.types, &again, &err));
    assert_ok(gm_recorded_read(again, path, &n, &err));
    assert_true(n.answers == 3 * 24 && n.strange == 0);
    for (int time = 0; time < 2; time++) {
        assert_ok(gm_correct_all(&r.pred, &r.route, gm_recorded_ask, again, &c, &now, &err));
        char *got_now = written(now);
        assert_string_equal(got_now, want);
        gm_free(got_now);
        gm_correct_free(c);
    }
    gm_free(want);
    gm_recorded_free(record);
    gm_recorded_free(again);
    drop(&r);
}

/* All that a run does, until something fails; what it has made is given back in any case. */
static gm_status run_all(const gm_records *pred, const gm_mllm_endpoint *e, const char *images, gm_err *err)
{
    gm_type_set types = { .is_fine = false };
    gm_recorded *recorded = NULL;
    gm_route route = { 0 };
    gm_corrections *c = NULL, *again = NULL;
    gm_asking *asking = NULL;
    const gm_records *now;
    gm_thresholds t;
    const gm_pick_options pick = { .calls = 2, .asks = { true, true, true } };
    gm_status status = gm_type_set_of(pred, &types, err);
    if (status == GM_OK) status = gm_route_make(pred, &all, &route, err);
    if (status == GM_OK) status = gm_correct_begin(pred, &route, &c, err);
    if (status == GM_OK) status = gm_recorded_open(pred, &types, &recorded, err);
    const gm_asking_options o = {
        .endpoint = e, .prompts = "configs/prompts", .images = images, .types = &types, .record = recorded
    };
    if (status == GM_OK) status = gm_asking_open(&o, pred, c, &asking, err);
    for (bool have = true; status == GM_OK && have;) {
        gm_mllm_request q = { .temperature = -1 };
        gm_mllm_outcome outcome;
        status = gm_asking_next(asking, &q, &have, err);
        if (status != GM_OK || !have) break;
        const char *said = answer_to(&q, &outcome);
        const gm_mllm_answer a = {
            .outcome = outcome, .tag = q.tag, .text = said, .text_bytes = strlen(said), .why = said
        };
        status = gm_asking_got(asking, &a, err);
    }
    if (status == GM_OK) status = gm_correct_end(c, &now, err);
    if (status == GM_OK) status = gm_correct_all(pred, &route, gm_recorded_ask, recorded, &again, &now, err);
    if (status == GM_OK) status = gm_pick_thresholds(pred, pred, &pick, gm_recorded_ask, recorded, &t, err);
    gm_correct_free(again);
    gm_asking_free(asking);
    gm_recorded_free(recorded);
    gm_correct_free(c);
    gm_route_free(&route);
    gm_type_set_free(&types);
    return status;
}

/* Whichever allocation fails, the run ends with a message, or without what was lost: an answer that cannot be read is refused. */
static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records pred = { 0 };
    gm_mllm_endpoint e = ask_nowhere("");
    const char *images = pictures();
    int failed = 0;
    gm_record record = blank("r1");
    unsure(add_entity(&record, 0, "PER"), 0.5, 0.25, 0.75);
    unsure(add_entity(&record, 2, "PER"), 0.5, 0.25, 0.75);
    record.image = text("a.png");
    assert_ok(gm_records_add(&pred, &record, &err));
    const uint64_t before = gm_alloc_count();
    assert_ok(run_all(&pred, &e, images, &err));
    const int64_t count = (int64_t)(gm_alloc_count() - before);
    for (int64_t k = 0; k < count; k++) {
        gm_alloc_fail_at(k);
        const gm_status status = run_all(&pred, &e, images, &err);
        gm_alloc_fail_at(-1);
        assert_true(status == GM_OK || status == GM_ERR_NOMEM);
        failed += status == GM_ERR_NOMEM;
    }
    assert_true(failed > 100);
    gm_mllm_endpoint_free(&e);
    gm_records_free(&pred);
}

/* Reads the lines against one sample: Mira and Mira met Mira Joss Joss today, with Mira (0), Mira (2), Joss (5). */
static gm_status read_lines(const char *lines, gm_record *out, gm_recorded_counts *n, gm_err *failed)
{
    char path[640];
    gm_err err = { 0 };
    gm_out o;
    gm_records pred = { 0 };
    gm_type_set types;
    gm_recorded *recorded;
    gm_route route;
    gm_corrections *c;
    const gm_records *now;
    gm_record record = blank("9");
    for (int k = 0; k < 3; k++) unsure(add_entity(&record, k < 2 ? 2 * k : 5, "PER"), 0.5, 0.5, 0.5);
    snprintf(path, sizeof path, "%s/lines.jsonl", gmt_temp_dir());
    assert_ok(gm_out_open(&o, path, &err));
    assert_ok(gm_out_write(&o, lines, strlen(lines), &err));
    assert_ok(gm_out_commit(&o, &err));
    assert_ok(gm_records_add(&pred, &record, &err));
    assert_ok(gm_type_set_of(&pred, &types, &err));
    assert_ok(gm_route_make(&pred, &all, &route, &err));
    assert_ok(gm_recorded_open(&pred, &types, &recorded, &err));
    const gm_status status = gm_recorded_read(recorded, path, n, &err);
    if (status == GM_OK) {
        gm_buffer b = { 0 };
        assert_ok(gm_correct_all(&pred, &route, gm_recorded_ask, recorded, &c, &now, &err));
        assert_ok(gm_record_write(&now->items[0], &b, &err));
        assert_ok(gm_record_parse(b.data, b.size - 1, out, &err));
        gm_buffer_free(&b);
        gm_correct_free(c);
    }
    *failed = err;
    gm_recorded_free(recorded);
    gm_route_free(&route);
    gm_type_set_free(&types);
    gm_records_free(&pred);
    return status;
}

static void the_log_of_unco_is_read(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_record r;
    gm_recorded_counts n;
    assert_ok(
        read_lines("{\"img_id\": \"9.jpg\", \"pre_entities\": [{\"entity\": \"Mira\", \"corrected_entity\": \"Mira "
                   "and\", \"type\": \"PER\", \"corrected_type\": \"LOC\", "
                   "\"region\": [], \"corrected_region\": [1, 2, 30, 40], \"type_reasoning\": \"x\"}, {\"entity\": "
                   "\"Mira\", \"corrected_entity\": \"Mira met\"}, "
                   "{\"entity\": \"Joss\", \"corrected_entity\": \"Boss\", \"corrected_region\": \"Null\"}, "
                   "{\"entity\": \"Nobody\", \"corrected_type\": \"LOC\"}]}\n"
                   "{\"img_id\": \"10\", \"pre_entities\": [{\"entity\": \"Mira\", \"corrected_type\": \"LOC\"}]}\n",
                   &r, &n, &err));
    assert_true(n.answers == 6 && n.strange == 2);
    assert_true(r.entities[0].start == 0 && r.entities[0].end == 1 && strcmp(r.entities[0].type, "LOC") == 0 &&
                r.entities[0].boxes[0].x2 == 30);
    assert_true(r.entities[1].start == 2 &&
                r.entities[1].end == 3); /* the second mention has words of its own, and type and region of the first */
    assert_true(strcmp(r.entities[1].type, "LOC") == 0 && r.entities[1].box_count == 1);
    assert_true(r.entities[2].start == 5 && r.entities[2].end == 5 && r.entities[2].box_count == 0);
    assert_non_null(strstr(r.entities[2].extra, "Boss"));
    assert_non_null(strstr(r.entities[2].extra, "type: no answer is recorded"));
    gm_record_free(&r);
}

static void bad_recorded_answers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *why;
    } cases[] = {
        { "{\"id\": \"9\", \"start\": 0, \"end\": 0, \"part\": \"span\"}\n", "lines.jsonl:1: expected \"id\"" },
        { "{\"id\": \"9\", \"part\": \"span\", \"text\": \"x\"}\n", "expected \"id\"" },
        { "{\"id\": \"9\", \"start\": 0, \"end\": 0, \"part\": \"spam\", \"text\": \"x\"}\n", "expected \"id\"" },
        { "{\"id\": \"9\", \"start\": 0, \"end\": 0, \"part\": \"span\", \"text\": \"x\"}\n{\"id\": \"9\", \"start\": "
          "0, \"end\": 0, \"part\": \"span\", \"text\": \"y\"}\n",
          "lines.jsonl:2: \"9\": the span of the entity at word 0 has an answer already" },
        { "{\"id\": \"9\", \"start\": 0, \"end\": 0, \"part\": \"region\", \"text\": \"x\", \"view\": {\"size\": [0, "
          "1], \"scale\": [1, 1], \"coordinates\": \"pixels\"}}\n",
          "view: expected" },
        { "{\"id\": \"9\", \"start\": 0, \"end\": 0, \"part\": \"region\", \"text\": \"x\", \"view\": {\"size\": [5, "
          "1], \"scale\": [1, 1], \"coordinates\": \"feet\"}}\n",
          "view: expected" },
        { "{\"img_id\": 9, \"pre_entities\": []}\n", "expected \"img_id\", a text" },
        { "{\"img_id\": \"9\", \"pre_entities\": [{\"corrected_type\": \"LOC\"}]}\n", "each needs \"entity\"" },
        { "nonsense\n", "lines.jsonl:1: 1:1" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        gm_record r;
        gm_recorded_counts n;
        assert_int_not_equal(read_lines(cases[i].lines, &r, &n, &err), GM_OK);
        if (strstr(err.text, cases[i].why) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].why);
    }
}

/* ---- thresholds ---- */

/* F1 with these thresholds, by correcting and scoring the whole file. */
static double f1_with(const gm_records *gold, const gm_records *pred, gm_oracle *oracle, const gm_thresholds *t,
                      gm_score_kind score, int64_t *calls)
{
    gm_err err = { 0 };
    gm_route_options o = all;
    gm_route route;
    gm_corrections *c;
    const gm_records *now;
    gm_metrics m;
    o.share = -1;
    o.thresholds = *t;
    assert_ok(gm_route_make(pred, &o, &route, &err));
    assert_ok(gm_correct_all(pred, &route, gm_oracle_ask, oracle, &c, &now, &err));
    assert_ok(gm_evaluate(gold, now, &by_offset, &m, &err));
    const double f1 = 100.0 * gm_f1(gm_score_of(&m, score));
    *calls = route.calls[0] + route.calls[1] + route.calls[2];
    gm_metrics_free(&m);
    gm_correct_free(c);
    gm_route_free(&route);
    return f1;
}

/* No single step of a threshold is better, and the limit on calls is kept. */
static void picked_thresholds_are_worth_their_calls(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        gm_err err = { 0 };
        gm_records gold = { 0 }, pred = { 0 };
        gm_oracle *oracle;
        gm_thresholds t;
        const gm_pick_options o = { .score = seed % 2 ? GM_SCORE_GMNER : GM_SCORE_MNER,
                                    .call_cost = 0.02 * (double)(seed % 4),
                                    .calls = seed % 3 ? -1 : 3,
                                    .asks = { true, true, true } };
        random_files(seed, &gold, &pred);
        add_numbers(seed, &pred);
        assert_ok(gm_oracle_open(&gold, &pred, true, &oracle, &err));
        int64_t count = 0, calls;
        for (size_t i = 0; i < pred.count; i++) count += pred.items[i].entity_count;
        if (gm_pick_thresholds(&gold, &pred, &o, gm_oracle_ask, oracle, &t, &err) == GM_OK) {
            const double f1 = f1_with(&gold, &pred, oracle, &t, o.score, &calls),
                         gain = f1 - o.call_cost * 100.0 * (double)calls / (double)count;
            assert_true(o.calls < 0 || calls <= o.calls);
            for (int step = 0; step < 27; step++) {
                gm_thresholds other = t;
                other.of[step / 9] = step % 9 / 8.0;
                const double b = f1_with(&gold, &pred, oracle, &other, o.score, &calls);
                if (o.calls < 0 || calls <= o.calls)
                    assert_true(b - o.call_cost * 100.0 * (double)calls / (double)count <= gain + 1e-9);
            }
        }
        gm_oracle_free(oracle);
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_unco_end_in_their_states),
        cmocka_unit_test(requests_say_what_they_should),
        cmocka_unit_test(fine_types_are_asked_for_as_pairs),
        cmocka_unit_test(types_come_from_the_predictions),
        cmocka_unit_test(a_missing_picture_is_reported),
        cmocka_unit_test(the_order_of_answers_changes_nothing),
        cmocka_unit_test(recorded_answers_answer_the_same),
        cmocka_unit_test(the_log_of_unco_is_read),
        cmocka_unit_test(bad_recorded_answers_are_refused),
        cmocka_unit_test(picked_thresholds_are_worth_their_calls),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    gm_log_set_level(GM_LOG_ERROR); /* missing pictures are warned of */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
