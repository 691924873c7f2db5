/* What gm_plan_count counts: parameters against published numbers, flops against a formula written out here, memory against
 * the arena of a real step. */
#include "tests/model/model_test.h"

#include "model/plan.h"

static const char types[] = "PER,LOC,ORG,OTHER";
enum { TYPES = 4, HIDDEN = 256, WIDTHS = 8 }; /* of the span head */

static int64_t span_head(int64_t h) { return 2 * HIDDEN * h + WIDTHS * HIDDEN + HIDDEN + (TYPES + 1) * (HIDDEN + 1); }

typedef struct sizes { const char *family; int vocabulary, hidden, layers, heads, ffn, positions, types; int64_t published; } sizes;

static void bare(const sizes *s, gm_model *m)
{
    char json[512];
    const int n = snprintf(json, sizeof json, "{\"model_type\": \"%s\", \"vocab_size\": %d, \"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
                           "\"intermediate_size\": %d, \"hidden_act\": \"gelu\", \"max_position_embeddings\": %d, \"type_vocab_size\": %d, \"layer_norm_eps\": 1e-5}",
                           s->family, s->vocabulary, s->hidden, s->layers, s->heads, s->ffn, s->positions, s->types);
    assert_ok(gm_model_create_bare("a table", json, (size_t)n, types, &(gm_model_options) { .max_len = 128, .dropout = 0.1f }, m, &err));
}

/* Counts of `transformers` without the pooler. */
static const sizes bert = { "bert", 30522, 768, 12, 12, 3072, 512, 2, 108891648 }, large = { "xlm-roberta", 250002, 1024, 24, 16, 4096, 514, 1, 558840832 };

static void parameters_are_those_published(void **state)
{
    const sizes *const all[] = { &bert, &large };
    const gm_plan_load load = { 2, 18, 16 };
    (void)state;
    for (size_t i = 0; i < GM_LEN(all); i++) {
        gm_model m;
        gm_plan p;
        bare(all[i], &m);
        assert_ok(gm_plan_count(&m, GM_FP32, &load, &p, &err));
        assert_int_equal(p.parameters, all[i]->published + span_head(all[i]->hidden));
        assert_int_equal(p.table, (int64_t)all[i]->vocabulary * all[i]->hidden);
        const int64_t padding = p.dense + p.table + p.frozen - p.parameters;
        assert_true(padding >= 0 && padding < 64 * m.params.groups + 64);
        gm_model_destroy(&m);
    }
}

/* All layers see pieces; the last one goes on with words alone behind its attention. Capacities are multiples of 16, as these are. */
static void flops_follow_the_formula(void **state)
{
    const gm_plan_load load = { 16, 18, 16 };
    const double t = 16 * 18, w = 16 * 16, h = bert.hidden, f = bert.ffn, l = bert.layers;
    const double qkv = 6 * h * h, behind = 2 * h * h + 4 * h * f, head = 2 * w * h * 2 * HIDDEN;
    const double linear = l * t * qkv + (l - 1) * t * behind + w * behind + head;
    const double attention = l * 16 * 4 * 18 * 18 * h, logits = 2 * w * WIDTHS * HIDDEN * (TYPES + 2);
    gm_model m;
    gm_plan p;
    (void)state;
    bare(&bert, &m);
    assert_ok(gm_plan_count(&m, GM_FP32, &load, &p, &err));
    assert_true(fabs(p.forward / (linear + attention + logits) - 1.0) < 1e-12);
    assert_true(fabs(p.backward / (2 * linear + 2.5 * attention + 2 * logits) - 1.0) < 1e-12);
    gm_plan bf16;
    assert_ok(gm_plan_count(&m, GM_BF16, &load, &bf16, &err));
    assert_true(bf16.forward == p.forward && bf16.arena < p.arena);
    m.encoder.recomputes = true;
    gm_plan again;
    assert_ok(gm_plan_count(&m, GM_FP32, &load, &again, &err));
    assert_true(again.forward > 1.5 * p.forward && again.arena < p.arena / 2); /* the layers go forward twice */
    gm_model_destroy(&m);
}

static void memory_is_that_of_a_real_step(void **state)
{
    enum { SENTENCES = 8, WORDS = 5 };
    const char *lines[SENTENCES + 1] = { 0 };
    char text[SENTENCES][96];
    gm_sample samples[SENTENCES];
    const gm_sample *picked[SENTENCES];
    gm_batch batch = { 0 };
    gm_model m;
    gm_plan p;
    machine real;
    (void)state;
    for (int i = 0; i < SENTENCES; i++) {
        snprintf(text[i], sizeof text[i], "{\"id\": \"%d\", \"tokens\": [\"a\", \"b\", \"c\", \"d\", \"e\"], \"entities\": []}", i);
        lines[i] = text[i];
    }
    gm_records records = records_of(lines);
    assert_ok(gm_model_create_tiny(&records, types, &(gm_model_options) { .max_len = 48, .seed = 4, .dropout = 0.1f }, &m, &err));
    for (int i = 0; i < SENTENCES; i++) {
        assert_ok(gm_sample_make(&samples[i], &records.items[i], m.tokenizer, &m.labels, 48, true, &err));
        assert_true(samples[i].text.count == WORDS + 2 && samples[i].text.words == WORDS);
        picked[i] = &samples[i];
    }
    gm_grads grads = grads_make(&m.params, m.encoder.config.vocabulary);
    machine_open(&real);
    assert_ok(gm_batch_fill(&batch, picked, SENTENCES, (gm_batch_options) { .draw = 1 }, &err));
    machine_begin(&real, &grads, 0.1f);
    assert_ok(gm_model_loss(&m, &real.tape, &batch));
    assert_ok(gm_tape_backward(&real.tape));
    assert_ok(gm_plan_count(&m, GM_FP32, &(gm_plan_load) { SENTENCES, WORDS + 2, WORDS }, &p, &err));
    /* The device that does nothing shares no memory with the host: what is brought to it takes a little more there. */
    assert_true(p.arena >= real.arena.peak && p.arena - real.arena.peak <= real.arena.peak / 100);
    machine_close(&real);
    grads_free(&grads);
    gm_batch_free(&batch);
    for (int i = 0; i < SENTENCES; i++) gm_sample_free(&samples[i]);
    gm_model_destroy(&m);
    gm_records_free(&records);
}

static void what_is_not_counted_is_said(void **state)
{
    gm_model m;
    gm_plan p;
    (void)state;
    bare(&bert, &m);
    m.options.vision = GM_VISION_TINY;
    assert_int_equal(gm_plan_count(&m, GM_FP32, &(gm_plan_load) { 2, 18, 16 }, &p, &err), GM_ERR_CONFIG);
    assert_non_null(strstr(err.text, "are not counted yet"));
    m.options.vision = GM_VISION_NONE;
    gm_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(parameters_are_those_published), cmocka_unit_test(flops_follow_the_formula),
                                        cmocka_unit_test(memory_is_that_of_a_real_step), cmocka_unit_test(what_is_not_counted_is_said) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
