/* Vectors of texts against the golden states of small encoders and of MiniLM's real ones (tests/golden/sentences.py); vectors of
 * whole pictures against CLIP's golden projections. */
#include "tests/model/vit_test.h"

#include "data/readers.h"
#include "image/image.h"
#include "model/vectors.h"

#define TWEETS "../shared/data/twitter-gmner/dev.txt"

typedef struct crew { gm_backend backend; gm_workers workers; } crew;

static void crew_open(crew *c, int threads)
{
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &c->backend, &err));
    assert_ok(gm_workers_create(&c->workers, &c->backend, threads, &err));
}

static void near_to(const float *got, const double *want, int32_t width, double bound)
{
    for (int32_t c = 0; c < width; c++)
        if (!(fabs((double)got[c] - want[c]) <= bound)) fail_msg("number %d is %.9g, expected %.9g", c, (double)got[c], want[c]);
}

/* The mean of golden states, of unit length. */
static void mean_of(const double *states, int tokens, int32_t width, double *mean)
{
    double squares = 0;
    for (int32_t c = 0; c < width; c++) {
        mean[c] = 0;
        for (int t = 0; t < tokens; t++) mean[c] += states[t * width + c];
        squares += mean[c] * mean[c];
    }
    for (int32_t c = 0; c < width; c++) mean[c] /= sqrt(squares);
}

/* The sentences of the golden file as texts; each word is one piece there. */
static void as_the_golden_states(void **state)
{
    (void)state;
    static double states[8192], mean[64];
    cJSON *golden = golden_of("tests/golden/bert/h48");
    const cJSON *sentences = cJSON_GetObjectItemCaseSensitive(golden, "sentences"), *word;
    const int count = cJSON_GetArraySize(sentences);
    char texts[4][512];
    const char *list[4];
    int tokens[4];
    assert_true(count <= 4);
    for (int s = 0; s < count; s++) {
        int n = 0;
        tokens[s] = cJSON_GetArraySize(cJSON_GetArrayItem(sentences, s)) + 2;
        cJSON_ArrayForEach(word, cJSON_GetArrayItem(sentences, s)) n += snprintf(texts[s] + n, sizeof texts[s] - (size_t)n, "a%d ", word->valueint);
        list[s] = texts[s];
    }
    gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(golden, "states"), states, (int)GM_LEN(states));
    for (int threads = 1; threads <= 2; threads++) {
        crew c;
        gm_text_encoder e;
        crew_open(&c, threads);
        assert_ok(gm_text_encoder_open("tests/golden/bert/h48", &c.workers, &e, &err));
        const int32_t width = gm_text_encoder_width(&e);
        float got[4 * 64], alone[64];
        assert_int_equal(width, 48);
        assert_ok(gm_text_vectors(&e, &c.workers, list, (size_t)count, got, &err));
        const double *at = states;
        for (int s = 0; s < count; s++, at += tokens[s - 1] * width) {
            mean_of(at, tokens[s], width, mean);
            near_to(got + s * width, mean, width, 1e-5);
        }
        assert_ok(gm_text_vectors(&e, &c.workers, list + 1, 1, alone, &err));
        for (int32_t k = 0; k < width; k++) mean[k] = (double)alone[k];
        near_to(got + width, mean, width, 1e-5);
        assert_ok(gm_text_vectors(&e, &c.workers, list, 0, got, &err));
        gm_text_encoder_close(&e);
        gm_workers_destroy(&c.workers);
    }
    cJSON_Delete(golden);
}

/* Some 800 pieces where the encoder has 22 of a text, an empty text, and many more texts than a batch holds. */
static void long_empty_and_many_texts(void **state)
{
    (void)state;
    enum { MANY = 600 };
    static char text[4096];
    static const char *list[MANY];
    for (int i = 0; i < 800; i++) memcpy(text + 3 * i, "a1 ", 4);
    for (int i = 0; i < MANY; i++) list[i] = i % 3 == 0 ? "" : i % 3 == 1 ? text : "a5 a6";
    crew c;
    gm_text_encoder e;
    crew_open(&c, 2);
    assert_ok(gm_text_encoder_open("tests/golden/bert/h48", &c.workers, &e, &err));
    float *got = gm_malloc(MANY * 48 * sizeof *got);
    assert_ok(gm_text_vectors(&e, &c.workers, list, MANY, got, &err));
    for (int i = 3; i < MANY; i++)
        for (int k = 0; k < 48; k++) assert_true(fabs((double)got[i * 48 + k] - (double)got[i % 3 * 48 + k]) <= 1e-5);
    gm_free(got);
    gm_text_encoder_close(&e);
    gm_workers_destroy(&c.workers);
}

static void what_is_no_encoder_is_named(void **state)
{
    (void)state;
    crew c;
    gm_text_encoder e;
    crew_open(&c, 1);
    assert_int_equal(gm_text_encoder_open("tests/golden/none", &c.workers, &e, &err), GM_ERR_IO);
    assert_non_null(strstr(err.text, "there is no folder tests/golden/none"));
    assert_int_equal(gm_text_encoder_open("tests/golden/clip/whole", &c.workers, &e, &err), GM_ERR_MISSING);
    assert_non_null(strstr(err.text, "\"model_type\" is clip"));
    gm_workers_destroy(&c.workers);
}

static void as_sentence_transformers_say(void **state)
{
    (void)state;
    enum { SENTENCES = 20, WIDTH = 384 };
    static float want[SENTENCES * WIDTH], got[SENTENCES * WIDTH];
    gm_records all = { 0 };
    gm_import_counts counts;
    gm_safetensors *golden;
    assert_ok(gm_import_read(&(gm_import){ .format = "twitter-gmner", .text = TWEETS }, &all, &counts, &err));
    assert_ok(gm_safetensors_open("tests/golden/sentences_minilm.safetensors", &golden, &err));
    assert_ok(gm_safetensors_read_f32(golden, "vector", SENTENCES, WIDTH, want, &err));
    gm_safetensors_close(golden);
    const char *texts[SENTENCES];
    gm_buffer text[SENTENCES] = { { 0 } };
    for (int i = 0; i < SENTENCES; i++) {
        for (int32_t w = 0; w < all.items[i].token_count; w++) assert_ok(gm_buffer_printf(&text[i], &err, "%s%s", w > 0 ? " " : "", all.items[i].tokens[w]));
        texts[i] = text[i].data;
    }
    crew c;
    gm_text_encoder e;
    crew_open(&c, 2);
    assert_ok(gm_text_encoder_open("weights/minilm", &c.workers, &e, &err));
    assert_ok(gm_text_vectors(&e, &c.workers, texts, SENTENCES, got, &err));
    double worst = 0;
    for (int i = 0; i < SENTENCES * WIDTH; i++) {
        const double d = fabs((double)got[i] - (double)want[i]);
        assert_true(d <= 1e-5);
        worst = fmax(worst, d);
    }
    printf("largest difference from transformers %.3g\n", worst);
    for (int i = 0; i < SENTENCES; i++) gm_buffer_free(&text[i]);
    gm_text_encoder_close(&e);
    gm_workers_destroy(&c.workers);
    gm_records_free(&all);
}

/* A picture that has the encoder's size already is what the golden file's are. */
static void pictures_as_the_golden_projections(void **state)
{
    (void)state;
    enum { SIDE = 15, IMAGES = 3, WIDTH = 12 };
    static double want[IMAGES * WIDTH];
    char path[300];
    const char *folder = gmt_temp_dir();
    gm_records all = { 0 };
    cJSON *golden = golden_of("tests/golden/clip/whole");
    assert_int_equal(gmt_json_doubles(cJSON_GetObjectItemCaseSensitive(golden, "projected"), want, (int)GM_LEN(want)), IMAGES * WIDTH);
    gm_image image;
    assert_ok(gm_image_create(SIDE, SIDE, &image, &err));
    const size_t bytes = SIDE * SIDE * 3;
    for (size_t i = 0; i < IMAGES + 2; i++) {
        char line[256];
        snprintf(line, sizeof line, "{\"id\": \"%zu\", \"tokens\": [\"a\"], \"image\": \"%zu.png\", \"entities\": []}", i, i);
        gm_record r;
        assert_ok(gm_record_parse(line, strlen(line), &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
        snprintf(path, sizeof path, "%s/%zu.png", folder, i);
        for (size_t k = 0; k < bytes; k++) image.rgb[k] = pixel(i * bytes + k);
        if (i < IMAGES) assert_ok(gm_image_write_png(&image, path, &err));
        if (i == IMAGES) gmt_write_file(path, "no picture", 10);
    }
    gm_image_free(&image);
    crew c;
    float *got;
    int32_t width;
    crew_open(&c, 2);
    const gm_picture_vectors o = { .encoder = "tests/golden/clip/whole", .cache = "" };
    assert_ok(gm_image_vectors(&o, folder, &c.workers, &all, &got, &width, &err));
    assert_int_equal(width, WIDTH);
    for (int i = 0; i < IMAGES; i++) near_to(got + i * WIDTH, want + i * WIDTH, WIDTH, 1e-4);
    for (int k = IMAGES * WIDTH; k < (IMAGES + 2) * WIDTH; k++) assert_true(got[k] == 0.0f); /* broken, missing */
    gm_free(got);
    gm_workers_destroy(&c.workers);
    gm_records_free(&all);
    cJSON_Delete(golden);
}

int main(void)
{
    const struct CMUnitTest small[] = { cmocka_unit_test(as_the_golden_states), cmocka_unit_test(long_empty_and_many_texts),
                                        cmocka_unit_test(what_is_no_encoder_is_named), cmocka_unit_test(pictures_as_the_golden_projections) };
    if (cmocka_run_group_tests(small, NULL, NULL) != 0) return 1;
    need(TWEETS, "data");
    need("weights/minilm/model.safetensors", "weights");
    const struct CMUnitTest minilm[] = { cmocka_unit_test(as_sentence_transformers_say) };
    return cmocka_run_group_tests(minilm, NULL, NULL);
}
