/* Loss and gradients of whole models, span head and CRF head, against torch in float64 (tests/golden/bert.py,
 * encoders.py):
 * nothing of the reference shares a line with this program. Each gradient is compared by two numbers over all its
 * elements, a sum weighted by cosines and the norm. */
#include "tests/model/model_test.h"

typedef struct golden {
    cJSON *root;
    gm_model model;
    gm_dataset data;
    const char *name;
} golden;

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL) fail_msg("the golden file has no \"%s\"", key);
    return item;
}

static int at(const cJSON *array, int i) { return cJSON_GetArrayItem(array, i)->valueint; }

/* The golden sentences with their gold as records. */
static gm_records read_records(const cJSON *root)
{
    gm_records all = { 0 };
    const cJSON *sentence, *word, *span;
    int number = 0;
    cJSON_ArrayForEach(sentence, member(root, "sentences"))
    {
        gm_buffer line = { 0 };
        assert_ok(gm_buffer_printf(&line, &err, "{\"id\":\"s%d\",\"tokens\":[", number));
        cJSON_ArrayForEach(word, sentence)
            assert_ok(gm_buffer_printf(&line, &err, "%s\"a%d\"", word == sentence->child ? "" : ",", word->valueint));
        assert_ok(gm_buffer_printf(&line, &err, "],\"entities\":["));
        const char *comma = "";
        cJSON_ArrayForEach(span, member(root, "spans"))
        {
            if (at(span, 0) != number) continue;
            assert_ok(gm_buffer_printf(&line, &err, "%s{\"start\":%d,\"end\":%d,\"type\":\"%c\",\"boxes\":[]}", comma,
                                       at(span, 1), at(span, 2), 'A' + at(span, 3)));
            comma = ",";
        }
        assert_ok(gm_buffer_printf(&line, &err, "]}"));
        gm_record r = { 0 };
        assert_ok(gm_record_parse(line.data, line.size, &r, &err));
        assert_ok(gm_records_add(&all, &r, &err));
        gm_buffer_free(&line);
        number++;
    }
    return all;
}

/* The heads' weights by the script's formula. */
static void make_waves(const gm_model *m)
{
    for (int32_t i = m->encoder_params; i < m->params.count; i++) {
        const gm_param *p = m->params.items[i];
        const size_t share = p->count / (size_t)p->parts;
        for (int32_t k = 0; k < p->parts; k++) {
            double start = 0;
            for (const char *c = p->spec.part[k]; *c != '\0'; c++) start += (double)(unsigned char)*c;
            for (size_t e = 0; e < share; e++)
                p->value[(size_t)k * share + e] = (float)(0.3 * cos(start + 1.3 * (double)e));
        }
    }
}

/* false where this build lacks the encoder's tokenizer. */
static bool open_golden(golden *g, const char *folder, int32_t max_len, gm_head_kind head)
{
    char path[256], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/golden.json", folder);
    assert_ok(gm_file_read(path, &text, &size, &err));
    assert_ok(gm_json_parse(text, size, &g->root, &err));
    gm_free(text);
    g->name = head == GM_HEAD_CRF ? "crf" : "span";
    /* All rows of the word table get gradients, so that one sum covers it. */
    const gm_model_options o = { .head = head, .max_len = max_len, .dense_embedding = true };
    const gm_status status = gm_model_create(folder, "A,B", &o, &g->model, &err);
    if (status == GM_ERR_MISSING) {
        printf("left out: %s\n", err.text);
        cJSON_Delete(g->root);
        return false;
    }
    assert_ok(status);
    make_waves(&g->model);
    gm_records records = read_records(g->root);
    assert_ok(gm_dataset_make(&g->data, &records, g->model.tokenizer, &g->model.labels, max_len, &err));
    return true;
}

static void close_golden(golden *g)
{
    gm_dataset_free(&g->data);
    gm_model_destroy(&g->model);
    cJSON_Delete(g->root);
}

/* Gradients are float32 sums through some 30 operations: 2e-5 of the norm is ten times what is measured (the test
 * prints it), and a wrong factor or a lost row is far beyond it. A gradient that is zero in exact arithmetic (the keys'
 * bias) is judged against the norm of the whole. */
static double compare(const cJSON *want, const char *name, const float *got, size_t count, double whole)
{
    double dot = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        dot += (double)got[i] * cos(1 + 0.7 * (double)i);
        squares += (double)got[i] * (double)got[i];
    }
    const cJSON *pair = member(want, name);
    const double want_dot = cJSON_GetArrayItem(pair, 0)->valuedouble,
                 want_norm = cJSON_GetArrayItem(pair, 1)->valuedouble;
    const double scale = fmax(want_norm, 1e-3 * whole);
    const double off = fmax(fabs(dot - want_dot), fabs(sqrt(squares) - want_norm)) / scale;
    if (!(off <= 2e-5))
        fail_msg("%s: dot %.9g and norm %.9g, expected %.9g and %.9g", name, dot, sqrt(squares), want_dot, want_norm);
    return off;
}

static void check(const char *folder, int32_t max_len, gm_head_kind head)
{
    golden g = { 0 };
    if (!open_golden(&g, folder, max_len, head)) return;
    machine m;
    machine_open(&m);
    const gm_sample *picked[8];
    const int32_t count = (int32_t)g.data.records.count;
    for (int32_t i = 0; i < count; i++) picked[i] = &g.data.samples[i];
    gm_batch batch = { 0 };
    assert_ok(gm_batch_fill(&batch, picked, count, (gm_batch_options) { 0 }, &err));
    m.step.inv_words = 1.0f / (float)g.data.words;
    m.step.inv_sentences = 1.0f / (float)count;
    gm_grads grads = grads_make(&g.model.params, 0);
    machine_begin(&m, &grads, 0.0f);
    assert_ok(gm_model_loss(&g.model, &m.tape, &batch));
    const cJSON *want = member(member(g.root, "heads"), g.name), *gradients = member(want, "gradients"), *pair;
    const double loss = member(want, "loss")->valuedouble;
    if (!(fabs(m.loss - loss) <= 1e-5 * loss)) fail_msg("the loss is %.9g, expected %.9g", m.loss, loss);
    assert_ok(gm_tape_backward(&m.tape));

    double whole = 0, worst = 0;
    int32_t compared = 0;
    cJSON_ArrayForEach(pair, gradients) whole += pow(cJSON_GetArrayItem(pair, 1)->valuedouble, 2);
    for (int32_t i = 0; i < g.model.params.count; i++) {
        const gm_param *p = g.model.params.items[i];
        const size_t share = p->count / (size_t)p->parts;
        assert_true(grads.is_written[i]);
        for (int32_t k = 0; k < p->parts; k++, compared++)
            worst = fmax(
                worst, compare(gradients, p->spec.part[k], grad_of(&grads, p) + (size_t)k * share, share, sqrt(whole)));
    }
    assert_int_equal(compared, cJSON_GetArraySize(gradients));
    printf("%s, %s: loss off by %.2g, worst of %d gradients by %.2g of its norm\n", folder, g.name,
           fabs(m.loss - loss) / loss, compared, worst);
    grads_free(&grads);
    gm_batch_free(&batch);
    machine_close(&m);
    close_golden(&g);
}

static void check_all(gm_head_kind head)
{
    check("tests/golden/bert/h48", 16, head);
    check("tests/golden/bert/h20", 16, head);
    check("tests/golden/mpnet/h48", 46, head);
    check("tests/golden/mpnet/h20", 128, head);
    check("tests/golden/roberta/h48", 46, head);
    check("tests/golden/xlm-roberta/h20", 62, head);
}

static void span_head_equals_torch(void **state)
{
    (void)state;
    check_all(GM_HEAD_SPAN);
}

static void crf_head_equals_torch(void **state)
{
    (void)state;
    check_all(GM_HEAD_CRF);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(span_head_equals_torch),
                                        cmocka_unit_test(crf_head_equals_torch) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
