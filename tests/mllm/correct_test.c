/* The hierarchy of corrections: what is asked sees what was answered, what is not asked never changes, the oracle makes all right. */
#include "tests/eval/eval_test.h"

#include "mllm/correct.h"

static const gm_route_options all = { .thresholds = { { 1, 1, 1 } }, .calls = -1, .share = 1, .asks = { true, true, true } };

static void line_of(const gm_record *r, gm_buffer *b)
{
    gm_err err = { 0 };
    b->size = 0;
    assert_ok(gm_record_write(r, b, &err));
}

static gm_entity *add(gm_record *r, int32_t start, int32_t end, double u)
{
    gm_entity *e = add_entity(r, start, "PER");
    e->end = end;
    e->uncertainty.span_norm = e->uncertainty.type_norm = e->uncertainty.region_norm = u;
    e->extra = text("\"source\": \"local\", \"status\": \"kept\", \"n\": 12345678901234567890");
    return e;
}

typedef struct script {
    const gm_reply *replies;
    int at;
    const char *seen[8];
} script;

static gm_status play(void *user, const gm_question *q, gm_reply *reply, gm_err *err)
{
    script *s = user;
    static char seen[8][64];
    (void)err;
    snprintf(seen[s->at], sizeof seen[0], "%d %s %d-%d %s %d", q->entity, gm_part_names[q->part], q->now->start, q->now->end, q->now->type, q->now->box_count);
    s->seen[s->at] = seen[s->at];
    *reply = s->replies[s->at++];
    return GM_OK;
}

static void each_part_sees_the_one_before(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records pred = { 0 };
    gm_record r = blank("a");
    gm_route route;
    gm_corrections *c;
    const gm_records *out;
    gm_buffer line = { 0 };
    const gm_box box = { 1, 2, 3, 4 };
    const gm_reply replies[] = { { .kind = GM_REPLY_SPAN, .start = 1, .end = 2 }, { .kind = GM_REPLY_TYPE, .type = "LOC" },
                                 { .kind = GM_REPLY_REGION, .boxes = &box, .box_count = 1 }, { .kind = GM_REPLY_REFUSED, .why = "no such words" },
                                 { .kind = GM_REPLY_KEEP }, { .kind = GM_REPLY_FAILED, .why = "time-out" } };
    script s = { .replies = replies };
    add(&r, 0, 1, 0.5);
    add(&r, 4, 4, 0.25);
    assert_ok(gm_records_add(&pred, &r, &err));
    assert_ok(gm_route_make(&pred, &all, &route, &err));
    assert_ok(gm_correct_all(&pred, &route, play, &s, &c, &out, &err));
    static const char *const want[] = { "0 span 0-1 PER 0", "0 type 1-2 PER 0", "0 region 1-2 LOC 0", "1 span 4-4 PER 0", "1 type 4-4 PER 0", "1 region 4-4 PER 0" };
    assert_int_equal(s.at, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(s.seen[i], want[i]);
    line_of(&out->items[0], &line);
    assert_non_null(strstr(line.data, "\"n\":12345678901234567890, \"source\": \"local+mllm\", \"status\": \"corrected\", \"before\": {\"start\": 0, \"end\": 1, \"type\": \"PER\", \"boxes\": []}"));
    assert_non_null(strstr(line.data, "\"status\": \"refused\", \"why\": \"span: no such words; region: time-out\""));
    assert_true(gm_correct_is_done(c));
    gm_correct_free(c);
    gm_route_free(&route);
    gm_records_free(&pred);
    gm_buffer_free(&line);
}

static void new_words_are_nobody_elses(void **state)
{
    (void)state;
    gm_err err = { 0 };
    gm_records pred = { 0 };
    gm_record r = blank("a");
    gm_route route;
    gm_corrections *c;
    const gm_records *out;
    const gm_reply to_next = { .kind = GM_REPLY_SPAN, .start = 0, .end = 2 };
    gm_route_options o = all;
    script s = { .replies = &to_next };
    add(&r, 0, 0, 0.5);
    add(&r, 2, 2, 0.25);
    o.calls = 1;
    assert_ok(gm_records_add(&pred, &r, &err));
    assert_ok(gm_route_make(&pred, &o, &route, &err));
    assert_ok(gm_correct_all(&pred, &route, play, &s, &c, &out, &err));
    assert_int_equal(out->items[0].entities[0].end, 0);
    assert_non_null(strstr(out->items[0].entities[0].extra, "\"status\": \"refused\", \"why\": \"span: its new words belong to another entity\""));
    assert_int_equal(gm_correct_count(c).clashed, 1);
    gm_correct_free(c);
    gm_route_free(&route);
    gm_records_free(&pred);
}

/* Gold entities that share a word with a prediction: no more can be found by correcting what was predicted. */
static int64_t within_reach(const gm_records *gold, const gm_records *pred)
{
    gm_err err = { 0 };
    gm_record_pair *pairs;
    int64_t missing, count = 0;
    assert_ok(gm_pair_records(gold, pred, &by_offset, &pairs, &missing, &err));
    for (size_t i = 0; i < gold->count; i++)
        for (int32_t g = 0; g < gold->items[i].entity_count; g++) {
            bool is_met = false;
            for (int32_t p = 0; pairs[i].pred != NULL && p < pairs[i].pred->entity_count; p++) {
                const gm_entity *a = &pairs[i].pred->entities[p], *b = &gold->items[i].entities[g];
                is_met = is_met || (a->start <= b->end && b->start <= a->end);
            }
            count += is_met;
        }
    gm_free(pairs);
    return count;
}

/* Whatever was predicted: all delegated to an oracle that may remove, precision is 1; not delegated, nothing changes. */
static void the_oracle_makes_all_right(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        gm_err err = { 0 };
        gm_records gold = { 0 }, pred = { 0 };
        random_files(seed, &gold, &pred);
        for (size_t i = 0; i < pred.count; i++)
            for (int32_t k = 0; k < pred.items[i].entity_count; k++) {
                gm_uncertainty *u = &pred.items[i].entities[k].uncertainty;
                u->span_norm = u->type_norm = u->region_norm = (double)((seed + (uint64_t)k) % 5 + 1) / 8.0;
            }
        for (int step = 0; step <= 2; step++) {
            gm_route_options o = all;
            gm_route route;
            gm_corrections *c;
            gm_oracle *oracle;
            const gm_records *out;
            gm_metrics m;
            gm_buffer a = { 0 }, b = { 0 };
            o.share = step / 2.0;
            assert_ok(gm_route_make(&pred, &o, &route, &err));
            assert_ok(gm_oracle_open(&gold, &pred, true, &oracle, &err));
            assert_ok(gm_correct_all(&pred, &route, gm_oracle_ask, oracle, &c, &out, &err));
            assert_ok(gm_evaluate(&gold, out, &by_offset, &m, &err));
            if (step == 2) assert_true(m.mner.tp == m.mner.n_pred && m.mner.tp <= within_reach(&gold, &pred));
            for (size_t i = 0; i < pred.count; i++) {
                if (gm_correct_has_touched(c, i)) continue;
                line_of(&pred.items[i], &a);
                line_of(&out->items[i], &b);
                assert_string_equal(a.data, b.data);
            }
            if (step == 0) assert_int_equal(route.delegated, 0);
            gm_metrics_free(&m);
            gm_buffer_free(&a);
            gm_buffer_free(&b);
            gm_correct_free(c);
            gm_oracle_free(oracle);
            gm_route_free(&route);
        }
        gm_records_free(&gold);
        gm_records_free(&pred);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_part_sees_the_one_before), cmocka_unit_test(new_words_are_nobody_elses),
                                        cmocka_unit_test(the_oracle_makes_all_right) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
