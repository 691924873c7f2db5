/* Hidden states of the encoders against Hugging Face transformers: small random ones of each family that lie in the tree,
 * and 20 real tweets through MiniLM and MPNet (tests/golden/bert.py and encoders.py made all). The bound is the project's:
 * the largest difference divided by the root of the reference's mean square is at most 1e-4. The parts with real weights
 * are skipped without them or the tweets. */
#include "tests/model/model_test.h"

#include "data/readers.h"
#include "tensor/safetensors.h"

#define TWEETS "../shared/data/twitter-gmner/dev.txt"

static const double BOUND = 1e-4;

/* Samples of records, encoded by the model's own tokenizer. */
static gm_sample *samples_of(const gm_model *model, const gm_records *records, size_t count)
{
    gm_sample *s = gm_calloc(count, sizeof *s);
    assert_non_null(s);
    for (size_t i = 0; i < count; i++)
        assert_ok(gm_sample_make(&s[i], &records->items[i], model->tokenizer, &model->labels, model->options.max_len,
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

/* Pieces by the encoder's own tokenizer, where the golden file has them. */
static void same_ids(const cJSON *golden, const gm_sample *s, size_t count)
{
    static double want[512];
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(golden, "ids");
    for (size_t i = 0; i < count && ids != NULL; i++) {
        const int n = gmt_json_doubles(cJSON_GetArrayItem(ids, (int)i), want, (int)GM_LEN(want));
        assert_int_equal(s[i].text.count, n);
        for (int k = 0; k < n; k++) assert_int_equal(s[i].text.ids[k], (int)want[k]);
    }
}

static void small_encoder(const char *folder, int32_t max_len)
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
    const gm_status status = gm_model_create(folder, "A,B", &(gm_model_options) { .max_len = max_len }, &model, &err);
    if (status == GM_ERR_MISSING) { /* this build lacks a tokenizer */
        printf("left out: %s\n", err.text);
        cJSON_Delete(golden);
        return;
    }
    assert_ok(status);
    gm_records records = sentences_of(golden);
    gm_sample *s = samples_of(&model, &records, records.count);
    same_ids(golden, s, records.count);
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
    small_encoder("tests/golden/bert/h48", 16);
}

static void one_head_and_odd_sizes(void **state)
{
    (void)state;
    small_encoder("tests/golden/bert/h20", 16);
}

static void distances_near_and_in_every_bucket(void **state)
{
    (void)state;
    small_encoder("tests/golden/mpnet/h48", 46);
    small_encoder("tests/golden/mpnet/h20", 128);
}

static void positions_begin_behind_the_padding_piece(void **state)
{
    (void)state;
    small_encoder("tests/golden/roberta/h48", 46);
    small_encoder("tests/golden/xlm-roberta/h20", 62);
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

enum { SENTENCES = 20, MOST_HIDDEN = 768, KEPT = 64, MOST_TOKENS = 4096 };
static float first[SENTENCES * MOST_HIDDEN], picks[MOST_TOKENS * KEPT], tokens[SENTENCES], rms[SENTENCES];

/* Rows of `chosen`. */
static int64_t read_golden(const char *path, int32_t hidden)
{
    gm_safetensors *golden;
    assert_ok(gm_safetensors_open(path, &golden, &err));
    assert_ok(gm_safetensors_read_f32(golden, "first", SENTENCES, hidden, first, &err));
    assert_ok(gm_safetensors_read_f32(golden, "tokens", 1, SENTENCES, tokens, &err));
    assert_ok(gm_safetensors_read_f32(golden, "rms", 1, SENTENCES, rms, &err));
    const int64_t total = gm_safetensors_find(golden, "chosen")->shape[0];
    assert_true(total <= MOST_TOKENS);
    assert_ok(gm_safetensors_read_f32(golden, "chosen", total, KEPT, picks, &err));
    gm_safetensors_close(golden);
    return total;
}

/* The largest difference of one sentence, whose first token is `from`, divided by its rms. */
static double difference(const float *x, int32_t i, int32_t from, int32_t n, int32_t hidden)
{
    double squares = 0, worst = 0;
    for (int32_t e = 0; e < n * hidden; e++) squares += (double)x[e] * (double)x[e];
    assert_true(fabs(sqrt(squares / (n * hidden)) / (double)rms[i] - 1) <= BOUND);
    for (int32_t e = 0; e < hidden; e++) worst = fmax(worst, fabs((double)x[e] - (double)first[i * hidden + e]));
    for (int32_t t = 0; t < n; t++)
        for (int32_t k = 0; k < KEPT; k++) {
            const double got = (double)x[t * hidden + (int32_t)chosen((uint32_t)i, (uint32_t)t, (uint32_t)k, (uint32_t)hidden)];
            worst = fmax(worst, fabs(got - (double)picks[(from + t) * KEPT + k]));
        }
    return worst / (double)rms[i];
}

static void real_tweets(const char *folder, const char *golden)
{
    gm_model model;
    assert_ok(gm_model_create(folder, "PER,LOC,ORG,OTHER", &(gm_model_options) { .max_len = 128 }, &model, &err));
    const int32_t hidden = model.encoder.config.hidden;
    assert_true(hidden <= MOST_HIDDEN);
    const int64_t total = read_golden(golden, hidden);
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
        worst = fmax(worst, difference((const float *)states->data + (size_t)from * (size_t)hidden, i, from, n, hidden));
    }
    close_enough(worst, 1.0, folder);
    gm_batch_free(&batch);
    machine_close(&m);
    samples_free(s, SENTENCES);
    gm_records_free(&records);
    gm_model_destroy(&model);
}

static void real_tweets_through_minilm(void **state)
{
    (void)state;
    real_tweets("weights/minilm", "tests/golden/bert_minilm.safetensors");
}

static void real_tweets_through_mpnet(void **state)
{
    (void)state;
    real_tweets("weights/mpnet", "tests/golden/mpnet_base.safetensors");
}

int main(void)
{
    const struct CMUnitTest small[] = { cmocka_unit_test(three_heads_and_two_types), cmocka_unit_test(one_head_and_odd_sizes),
                                        cmocka_unit_test(distances_near_and_in_every_bucket),
                                        cmocka_unit_test(positions_begin_behind_the_padding_piece) };
    if (cmocka_run_group_tests(small, NULL, NULL) != 0) return 1;
    need(TWEETS, "data");
    need("weights/minilm/model.safetensors", "weights");
    const struct CMUnitTest minilm[] = { cmocka_unit_test(real_tweets_through_minilm) };
    if (cmocka_run_group_tests(minilm, NULL, NULL) != 0) return 1;
    need("weights/mpnet/model.safetensors", "mpnet");
    const struct CMUnitTest mpnet[] = { cmocka_unit_test(real_tweets_through_mpnet) };
    return cmocka_run_group_tests(mpnet, NULL, NULL);
}
