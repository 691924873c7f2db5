/* gm_encoder_words gives the rows of gm_encoder_forward that belong to first pieces, dropout masks included. */
#include "tests/model/model_test.h"

#include "data/synth.h"
#include "model/model.h"

enum { SAMPLES = 6 };

static void the_rows_of_first_pieces(void **state)
{
    const float dropout[] = { 0.0f, 0.3f };
    gm_records records = { 0 };
    gm_model model;
    gm_sample samples[SAMPLES];
    const gm_sample *picked[SAMPLES];
    (void)state;
    assert_ok(gm_synth(&(gm_synth_options) { .split = "train", .seed = 5, .count = SAMPLES }, &records, &err));
    assert_ok(gm_model_create_tiny(&records, "PER,LOC,ORG,OTHER", &(gm_model_options) { .max_len = 48, .seed = 4 }, &model, &err));
    for (int i = 0; i < SAMPLES; i++) {
        assert_ok(gm_sample_make(&samples[i], &records.items[i], model.tokenizer, &model.labels, 48, false, &err));
        picked[i] = &samples[i];
    }
    for (size_t d = 0; d < GM_LEN(dropout); d++) {
        machine all, words;
        gm_batch batch = { 0 };
        gm_tensor *want, *got;
        gm_grads grads = grads_make(&model.params, 1);
        machine_open(&all);
        machine_open(&words);
        assert_ok(gm_batch_fill(&batch, picked, SAMPLES, (gm_batch_options) { .draw = 9 }, &err));
        assert_true(batch.words.rows < batch.tokens.rows - 2 * SAMPLES); /* some words have several pieces */
        machine_begin(&all, &grads, dropout[d]);
        machine_begin(&words, &grads, dropout[d]);
        assert_ok(gm_encoder_forward(&model.encoder, &all.tape, &batch, &want));
        assert_ok(gm_encoder_words(&model.encoder, &words.tape, &batch, &got));
        assert_true(got->rows == batch.words.rows && got->cols == want->cols);
        for (int32_t w = 0; w < got->rows; w++)
            for (int32_t c = 0; c < got->cols; c++) {
                const float x = ((float *)got->data)[w * got->cols + c], y = ((float *)want->data)[batch.first_piece[w] * want->cols + c];
                if (!(fabsf(x - y) <= 1e-5f)) fail_msg("dropout %g, word %d, column %d: %.9g, expected %.9g", (double)dropout[d], w, c, (double)x, (double)y);
            }
        gm_batch_free(&batch);
        grads_free(&grads);
        machine_close(&all);
        machine_close(&words);
    }
    for (int i = 0; i < SAMPLES; i++) gm_sample_free(&samples[i]);
    gm_model_destroy(&model);
    gm_records_free(&records);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_rows_of_first_pieces) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
