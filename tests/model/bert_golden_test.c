/* Hidden states of the encoder against Hugging Face transformers: small random encoders that lie in the tree, and 20
 * real tweets through MiniLM (tests/golden/bert.py made both). The bound is the project's: the largest difference
 * divided by the root of the reference's mean square is at most 1e-4. The part with MiniLM is skipped without its
 * weights or the tweets. */
#include "tests/model/model_test.h"

#include "data/readers.h"
#include "tensor/safetensors.h"

#define TWEETS "../shared/data/twitter-gmner/dev.txt"
#define WEIGHTS "weights/minilm/model.safetensors"

static const double BOUND = 1e-4;

/* Samples of records, encoded by the model's own tokenizer. */
static gm_sample *samples_of(const gm_model *model, const gm_records *records, size_t count)
{
    gm_sample *s = gm_calloc(count, sizeof *s);
    assert_non_null(s);
    for (size_t i = 0; i < count; i++)
        assert_ok(gm_sample_make(&s[i], &records->items[i], model->wordpiece, &model->labels, model->options.max_len,
                                 false, &err));
    return s;
}

static void samples_free(gm_sample *s, size_t count)
{
    for (size_t i = 0; i < count; i++) gm_sample_free(&s[i]);
    gm_free(s);
}

static void close_enough(double difference, double rms, const char *what)
{
    printf("%s: largest difference %.3g, %.3g of the reference's rms\n", what, difference, difference / rms);
    if (!(difference / rms <= BOUND)) fail_msg("%s: %.3g is beyond %g", what, difference / rms, BOUND);
}

static gm_records sentences_of(const cJSON *golden)
{
    gm_records all = { 0 };
    const cJSON *sentence, *word;
    int number = 0;
    cJSON_ArrayForEach(sentence, cJSON_GetObjectItemCaseSensitive(golden, "sentences"))
    {
        gm_buffer line = { 0 };
        assert_ok(gm_buffer_printf(&line, &err, "{\"id\":\"s%d\",\"entities\":[],\"tokens\":[", number++));
        cJSON_ArrayForEach(word, sentence)
            assert_ok(gm_buffer_printf(&line, &err, "%s\"a%d\"", word == sentence->child ? "" : ",", word->valueint));
        assert_ok(gm_buffer_printf(&line, &err, "]}"));
        gm_record r = { 0 };
        assert_ok(gm_record_parse(line.data, line.size, &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
        gm_buffer_free(&line);
    }
    return all;
}

static void small_encoder(const char *folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/golden.json", folder);
    char *text;
    size_t size;
    cJSON *golden;
    assert_ok(gm_file_read(path, &text, &size, &err));
    assert_ok(gm_json_parse(text, size, &golden, &err));
    gm_free(text);
    gm_model model;
    assert_ok(gm_model_create(folder, "A,B", &(gm_model_options) { .max_len = 16 }, &model, &err));
    gm_records records = sentences_of(golden);
    gm_sample *s = samples_of(&model, &records, records.count);
    const gm_sample *picked[8];
    for (size_t i = 0; i < records.count; i++) picked[i] = &s[i];
    machine m;
    machine_open(&m);
    gm_batch batch = { 0 };
    gm_tensor *states;
    machine_begin(&m, NULL, 0.0f);
    assert_ok(gm_batch_fill(&batch, picked, (int32_t)records.count, (gm_batch_options) { 0 }, &err));
    assert_ok(gm_encoder_forward(&model.encoder, &m.tape, &batch, &states));

    static double want[4096];
    const int count = gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(golden, "states"), want, (int)GM_LEN(want));
    assert_int_equal(count, states->rows * states->cols);
    double worst = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        const double d = fabs((double)((float *)states->data)[i] - want[i]);
        assert_true(d >= 0);
        worst = d > worst ? d : worst;
        squares += want[i] * want[i];
    }
    close_enough(worst, sqrt(squares / count), folder);
    gm_batch_free(&batch);
    machine_close(&m);
    samples_free(s, records.count);
    gm_records_free(&records);
    gm_model_destroy(&model);
    cJSON_Delete(golden);
}

static void three_heads_and_two_types(void **state)
{
    (void)state;
    small_encoder("tests/golden/bert/h48");
}

static void one_head_and_odd_sizes(void **state)
{
    (void)state;
    small_encoder("tests/golden/bert/h20");
}

/* As in the script. */
static uint32_t chosen(uint32_t sentence, uint32_t token, uint32_t k, uint32_t hidden)
{
    return ((sentence << 16 ^ token << 6 ^ k) * 2654435761u >> 8) % hidden;
}

static gm_records read_tweets(void)
{
    gm_records all = { 0 };
    gm_import_counts counts;
    assert_ok(gm_import_read(&(gm_import) { .format = "twitter-gmner", .text = TWEETS }, &all, &counts, &err));
    return all;
}

static void real_tweets_through_minilm(void **state)
{
    enum { SENTENCES = 20, HIDDEN = 384, KEPT = 64 };
    (void)state;
    static float first[SENTENCES * HIDDEN], picks[4096 * KEPT], tokens[SENTENCES], rms[SENTENCES];
    gm_safetensors *golden;
    assert_ok(gm_safetensors_open("tests/golden/bert_minilm.safetensors", &golden, &err));
    assert_ok(gm_safetensors_read_f32(golden, "first", SENTENCES, HIDDEN, first, &err));
    assert_ok(gm_safetensors_read_f32(golden, "tokens", 1, SENTENCES, tokens, &err));
    assert_ok(gm_safetensors_read_f32(golden, "rms", 1, SENTENCES, rms, &err));
    const int64_t total = gm_safetensors_find(golden, "chosen")->shape[0];
    assert_true(total <= 4096);
    assert_ok(gm_safetensors_read_f32(golden, "chosen", total, KEPT, picks, &err));
    gm_safetensors_close(golden);

    gm_model model;
    assert_ok(
        gm_model_create("weights/minilm", "PER,LOC,ORG,OTHER", &(gm_model_options) { .max_len = 128 }, &model, &err));
    gm_records records = read_tweets();
    assert_true(records.count >= SENTENCES);
    gm_sample *s = samples_of(&model, &records, SENTENCES);
    const gm_sample *picked[SENTENCES];
    for (int32_t i = 0; i < SENTENCES; i++) {
        picked[i] = &s[i];
        assert_int_equal(s[i].text.count, (int)tokens[i]);
    }
    machine m;
    machine_open(&m);
    gm_batch batch = { 0 };
    gm_tensor *states;
    machine_begin(&m, NULL, 0.0f);
    assert_ok(gm_batch_fill(&batch, picked, SENTENCES, (gm_batch_options) { 0 }, &err));
    assert_ok(gm_encoder_forward(&model.encoder, &m.tape, &batch, &states));
    assert_int_equal(states->rows, total);
    double worst = 0;
    for (int32_t i = 0; i < SENTENCES; i++) {
        const int32_t from = batch.tokens.cu[i], n = batch.tokens.cu[i + 1] - from;
        const float *x = (const float *)states->data + (size_t)from * HIDDEN;
        double squares = 0;
        for (int32_t e = 0; e < n * HIDDEN; e++) squares += (double)x[e] * (double)x[e];
        assert_true(fabs(sqrt(squares / (n * HIDDEN)) / (double)rms[i] - 1) <= BOUND);
        for (int32_t e = 0; e < HIDDEN; e++)
            worst = fmax(worst, fabs((double)x[e] - (double)first[i * HIDDEN + e]) / (double)rms[i]);
        for (int32_t t = 0; t < n; t++)
            for (int32_t k = 0; k < KEPT; k++) {
                const double got =
                    (double)x[(uint32_t)t * HIDDEN + chosen((uint32_t)i, (uint32_t)t, (uint32_t)k, HIDDEN)];
                worst = fmax(worst, fabs(got - (double)picks[(from + t) * KEPT + k]) / (double)rms[i]);
            }
    }
    close_enough(worst, 1.0, "weights/minilm, 20 tweets");
    gm_batch_free(&batch);
    machine_close(&m);
    samples_free(s, SENTENCES);
    gm_records_free(&records);
    gm_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest small[] = { cmocka_unit_test(three_heads_and_two_types),
                                        cmocka_unit_test(one_head_and_odd_sizes) };
    const int failed = cmocka_run_group_tests(small, NULL, NULL);
    if (failed != 0) return 1;
    need(WEIGHTS, "weights");
    need(TWEETS, "data");
    const struct CMUnitTest real[] = { cmocka_unit_test(real_tweets_through_minilm) };
    return cmocka_run_group_tests(real, NULL, NULL);
}
