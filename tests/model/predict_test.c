/* A sample's prediction is its own: the same entities, with probabilities within 1e-5, whatever stands beside it in the
 * batch, and the same bits for any number of threads. */
#include "tests/model/predict_support.h"

static void predict(gm_model *m, const gm_records *from, const int32_t *order, int32_t tokens, int32_t threads, bool with_gold, answer *a)
{
    predict_on("cpu", m, from, order, tokens, threads, with_gold, a);
}

static void whatever_stands_beside(gm_head_kind head, bool is_nested)
{
    gm_model m = make_model(head, is_nested);
    answer want, got;
    int32_t backwards[SAMPLES], mixed[SAMPLES], found = 0;
    for (int32_t i = 0; i < SAMPLES; i++) {
        backwards[i] = SAMPLES - 1 - i;
        mixed[i] = i * 29 % SAMPLES;
    }
    predict(&m, &records, NULL, 200, 1, false, &want);
    for (int32_t i = 0; i < SAMPLES; i++) {
        found += want.count[i];
        for (int32_t k = 0; k < want.count[i]; k++) {
            const gm_entity *e = &want.entities[i][k];
            assert_true(e->start >= 0 && e->start <= e->end && e->end < records.items[i].token_count && e->score > 0 &&
                        e->score <= 1);
            assert_true(k == 0 || e[-1].start <= e->start);
        }
    }
    assert_true(found > SAMPLES);
    double worst = 0;
    predict(&m, &records, backwards, 200, 1, false, &got);
    worst = fmax(worst, same(&want, &got, 1e-5));
    predict(&m, &records, mixed, 333, 1, false, &got);
    worst = fmax(worst, same(&want, &got, 1e-5));
    predict(&m, &records, NULL, 1, 1, false,
            &got); /* one by one: a sample that exceeds the budget still gets a batch */
    worst = fmax(worst, same(&want, &got, 1e-5));
    predict(&m, &records, mixed, 1 << 20, 1, false, &got); /* all in one */
    worst = fmax(worst, same(&want, &got, 1e-5));
    printf("%d entities, probabilities within %.2g\n", found, worst);
    for (int32_t threads = 1; threads <= 3; threads++) {
        predict(&m, &records, NULL, 200, threads, false, &got);
        same(&want, &got, 0.0);
    }
    answer_free(&want);
    gm_model_destroy(&m);
}

static void spans_do_not_depend_on_company(void **state)
{
    (void)state;
    whatever_stands_beside(GM_HEAD_SPAN, false);
}

static void nested_spans_do_not_depend_on_company(void **state)
{
    (void)state;
    whatever_stands_beside(GM_HEAD_SPAN, true);
}

static void tags_do_not_depend_on_company(void **state)
{
    (void)state;
    whatever_stands_beside(GM_HEAD_CRF, false);
}

/* The CPU's own products: the same entities, and the same bits wherever batches are cut, however many threads share a batch or a
 * sentence's operations. */
static void packed_weights_give_the_same_whatever_stands_beside(void **state)
{
    static const int32_t tokens[] = { 1, 100, 333, 1 << 20 };
    (void)state;
    for (int head = 0; head < 2; head++) {
        gm_model m = make_model(head == 0 ? GM_HEAD_SPAN : GM_HEAD_CRF, false);
        answer plain, want, got;
        int32_t backwards[SAMPLES];
        for (int32_t i = 0; i < SAMPLES; i++) backwards[i] = SAMPLES - 1 - i;
        predict(&m, &records, NULL, 200, 1, false, &plain);
        has_packed = true;
        predict(&m, &records, NULL, 200, 1, false, &want);
        for (size_t k = 0; k < GM_LEN(tokens); k++)
            for (int32_t threads = 1; threads <= 3; threads++) {
                predict(&m, &records, threads == 2 ? backwards : NULL, tokens[k], threads, false, &got);
                same(&want, &got, 0.0);
            }
        has_packed = false;
        same(&plain, &want, 1e-5);
        answer_free(&plain);
        gm_model_destroy(&m);
    }
}

/* Processes that deal the batches among them: each sample is one's, and has the bits that one process gives it. */
static void parts_make_up_the_whole(void **state)
{
    (void)state;
    gm_model m = make_model(GM_HEAD_SPAN, false);
    answer want, got, all;
    predict(&m, &records, NULL, 200, 2, false, &want);
    for (parts = 1; parts <= 64; parts = parts < 4 ? parts + 1 : 4 * parts) { /* in the end more than batches */
        for (int32_t i = 0; i < SAMPLES; i++) all.count[i] = GM_NOT_PREDICTED;
        for (part = 0; part < parts; part++) {
            predict(&m, &records, NULL, 200, 2, false, &got);
            for (int32_t i = 0; i < SAMPLES; i++) {
                if (got.count[i] == GM_NOT_PREDICTED) continue;
                assert_int_equal(all.count[i], GM_NOT_PREDICTED); /* nobody else had it */
                all.count[i] = got.count[i];
                all.entities[i] = got.entities[i];
            }
        }
        same(&want, &all, 0.0);
    }
    part = parts = 0;
    answer_free(&want);
    gm_model_destroy(&m);
}

/* Gold must never reach a prediction: with it, and without any, the same bits. */
static void gold_changes_nothing(void **state)
{
    (void)state;
    gm_records bare = { 0 };
    assert_ok(gm_synth(&(gm_synth_options) { .split = "train", .seed = 3, .count = SAMPLES }, &bare, &err));
    for (size_t i = 0; i < bare.count; i++) {
        gm_entities_free(bare.items[i].entities, bare.items[i].entity_count);
        bare.items[i].entities = NULL;
        bare.items[i].entity_count = 0;
    }
    gm_model m = make_model(GM_HEAD_SPAN, false);
    answer want, got;
    predict(&m, &records, NULL, 200, 2, true, &want);
    predict(&m, &bare, NULL, 200, 2, false, &got);
    same(&want, &got, 0.0);
    predict(&m, &bare, NULL, 200, 2, true, &got);
    same(&want, &got, 0.0);
    answer_free(&want);
    gm_model_destroy(&m);
    gm_records_free(&bare);
}

static void no_samples_are_no_work(void **state)
{
    (void)state;
    gm_model m = make_model(GM_HEAD_SPAN, false);
    gm_backend backend;
    gm_workers workers;
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    assert_ok(gm_workers_create(&workers, &backend, 2, &err));
    gm_sample none;
    gm_entity *entities = NULL;
    int32_t count = 0;
    assert_ok(gm_predict(&m, &workers, &none, 0, 100, &entities, &count, &err));
    gm_workers_destroy(&workers);
    gm_model_destroy(&m);
}

/* Sentences without words and of one word stand among others. */
static void empty_sentences_have_no_entities(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        gm_model m = make_model(k ? GM_HEAD_CRF : GM_HEAD_SPAN, false);
        gm_backend backend;
        gm_workers workers;
        char *words[] = { (char[]) { "anna" } };
        const gm_record lines[] = { { .id = (char[]) { "e" } },
                                    { .id = (char[]) { "o" }, .tokens = words, .token_count = 1 },
                                    { .id = (char[]) { "f" } } };
        gm_sample s[3];
        gm_entity *entities[3];
        int32_t count[3];
        assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
        assert_ok(gm_workers_create(&workers, &backend, 1, &err));
        for (int i = 0; i < 3; i++)
            assert_ok(gm_sample_make(&s[i], &lines[i], m.tokenizer, &m.labels, MAX_LEN, false, &err));
        for (int32_t tokens = 1; tokens < 200; tokens += 100) {
            assert_ok(gm_predict(&m, &workers, s, 3, tokens, entities, count, &err));
            assert_true(count[0] == 0 && count[2] == 0 && count[1] <= 1);
            for (int i = 0; i < 3; i++) gm_entities_free(entities[i], count[i]);
        }
        for (int i = 0; i < 3; i++) gm_sample_free(&s[i]);
        gm_workers_destroy(&workers);
        gm_model_destroy(&m);
    }
}

/* A batch holds 4096 sentences at most, however many pieces it may hold. */
static void many_short_sentences_are_several_batches(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    gm_model m = make_model(GM_HEAD_SPAN, false);
    gm_backend backend;
    gm_workers workers;
    const gm_record nothing = { .id = (char[]) { "e" } };
    gm_sample *s = gm_calloc(MANY, sizeof *s);
    gm_entity **entities = gm_calloc(MANY, sizeof *entities);
    int32_t *count = gm_calloc(MANY, sizeof *count);
    assert_true(s != NULL && entities != NULL && count != NULL);
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    assert_ok(gm_workers_create(&workers, &backend, 1, &err));
    for (int i = 0; i < MANY; i++)
        assert_ok(gm_sample_make(&s[i], i % 1000 == 0 ? &records.items[i / 1000] : &nothing, m.tokenizer, &m.labels,
                                 MAX_LEN, false, &err));
    assert_ok(gm_predict(&m, &workers, s, MANY, 1 << 30, entities, count, &err));
    for (int i = 0; i < MANY; i++) {
        assert_true(i % 1000 == 0 ? count[i] > 0 : count[i] == 0);
        gm_entities_free(entities[i], count[i]);
        gm_sample_free(&s[i]);
    }
    gm_free(s);
    gm_free(entities);
    gm_free(count);
    gm_workers_destroy(&workers);
    gm_model_destroy(&m);
}

/* The error of the lowest failing job is the result, whichever worker met one first. */
static gm_status fails_beyond_two(gm_worker *w, int32_t i, void *context)
{
    (void)context;
    return i >= 2 ? gm_fail(&w->err, GM_ERR_DATA, "job %d", i) : GM_OK;
}

static void the_lowest_failing_job_is_named(void **state)
{
    (void)state;
    gm_backend backend;
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    for (int32_t threads = 1; threads <= 4; threads++) {
        gm_workers workers;
        assert_ok(gm_workers_create(&workers, &backend, threads, &err));
        assert_int_equal(gm_workers_run(&workers, 9, fails_beyond_two, NULL, &err), GM_ERR_DATA);
        assert_string_equal(err.text, "job 2");
        gm_workers_destroy(&workers);
    }
}

/* Two samples in two batches, by workers without a plan yet; the k-th allocation in it fails. */
static gm_status predict_two(const gm_model *m, const gm_backend *backend, const gm_sample *s, int64_t k)
{
    gm_workers workers;
    gm_entity *entities[2];
    int32_t count[2];
    assert_ok(gm_workers_create(&workers, backend, 2, &err));
    gm_alloc_fail_at(k);
    const gm_status status = gm_predict(m, &workers, s, 2, 1, entities, count, &err);
    gm_alloc_fail_at(-1);
    for (int i = 0; i < 2; i++) {
        if (status != GM_OK) assert_true(entities[i] == NULL && count[i] == 0);
        gm_entities_free(entities[i], count[i]);
    }
    gm_workers_destroy(&workers);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    gm_model m = make_model(GM_HEAD_CRF, false);
    gm_backend backend;
    gm_sample s[2];
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    for (int i = 0; i < 2; i++)
        assert_ok(gm_sample_make(&s[i], &records.items[i], m.tokenizer, &m.labels, MAX_LEN, false, &err));
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        status = predict_two(&m, &backend, s, k);
        if (status != GM_OK && status != GM_ERR_NOMEM)
            fail_msg("allocation %lld gave %s: %s", (long long)k, gm_status_name(status), err.text);
    }
    assert_true(k > 10);
    for (int i = 0; i < 2; i++) gm_sample_free(&s[i]);
    gm_model_destroy(&m);
}

/* Workers that cannot be made leave nothing behind. */
static void workers_may_not_come_about(void **state)
{
    (void)state;
    gm_backend backend;
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_workers workers;
        gm_alloc_fail_at(k);
        status = gm_workers_create(&workers, &backend, 3, &err);
        gm_alloc_fail_at(-1);
        if (status != GM_OK) assert_true(workers.items == NULL && workers.count == 0);
        gm_workers_destroy(&workers);
    }
    assert_true(k > 3);
}

int main(void)
{
    if (gm_synth(&(gm_synth_options) { .split = "train", .seed = 3, .count = SAMPLES }, &records, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_do_not_depend_on_company),
        cmocka_unit_test(nested_spans_do_not_depend_on_company),
        cmocka_unit_test(tags_do_not_depend_on_company),
        cmocka_unit_test(packed_weights_give_the_same_whatever_stands_beside),
        cmocka_unit_test(parts_make_up_the_whole),
        cmocka_unit_test(gold_changes_nothing),
        cmocka_unit_test(no_samples_are_no_work),
        cmocka_unit_test(empty_sentences_have_no_entities),
        cmocka_unit_test(many_short_sentences_are_several_batches),
        cmocka_unit_test(the_lowest_failing_job_is_named),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(workers_may_not_come_about),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gm_records_free(&records);
    return failed;
}
