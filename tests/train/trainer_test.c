/* The trainer in process on small synthetic sets: what it promises about bits, stops and resumptions. */
#define _POSIX_C_SOURCE 200809L
#include "tests/train/train_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "model/model.h"

/* The processors without AVX-512 know fp32 alone. */
static bool is_known(const char *precision) { return strstr(precision, "bf16") == NULL || gm_backend_has_bf16(); }

static void threads_do_not_change_bits(void **state)
{
    static const char *const threads[] = { "threads=1", "threads=2", "threads=3" };
    static const char *const cases[][2] = { { "head=span", "precision=fp32" }, { "head=crf", "precision=fp32" },
                                            { "head=span", "precision=bf16" }, { "head=crf", "precision=bf16" } };
    (void)state;
    for (size_t c = 0; c < GM_LEN(cases); c++) {
        const char *out[GM_LEN(threads)];
        for (size_t i = 0; i < GM_LEN(threads) && is_known(cases[c][1]); i++) {
            out[i] = gmt_temp_dir();
            train_ok(out[i], false, SETS(SMALL, "train.shards=3", "train.epochs=1", cases[c][0], cases[c][1], threads[i]));
            if (i > 0) assert_same_runs(out[0], out[i]);
        }
    }
}

static void shards_do_change_bits(void **state)
{
    (void)state;
    const char *a = gmt_temp_dir(), *b = gmt_temp_dir();
    train_ok(a, false, SETS(SMALL, "train.epochs=1", "train.shards=1"));
    train_ok(b, false, SETS(SMALL, "train.epochs=1", "train.shards=2"));
    assert_false(same_bytes(path_of(a, "last/model.safetensors"), path_of(b, "last/model.safetensors")));
}

/* Twelve steps at once; five, then the rest; one by one with a stop in between each. */
static void stops_and_resumptions_do_not_change_bits(void **state)
{
    static const char *const heads[] = { "head=span", "head=crf", "precision=bf16", "train.average=0.5", "shape=both" };
    (void)state;
    for (size_t h = 0; h < GM_LEN(heads) && is_known(heads[h]); h++) {
        const char *whole = gmt_temp_dir(), *halves = gmt_temp_dir(), *steps = gmt_temp_dir();
        train_ok(whole, false, SETS(SMALL, heads[h]));
        train_ok(halves, false, SETS(SMALL, heads[h], "train.max_steps=5"));
        assert_int_equal(state_number(halves, "step"), 5);
        train_ok(halves, true, SETS(SMALL, heads[h], "threads=1"));
        assert_same_runs(whole, halves);
        assert_same_metrics(whole, halves);
        for (int k = 1; k <= 12; k++) {
            char limit[32];
            snprintf(limit, sizeof limit, "train.max_steps=%d", k);
            train_ok(steps, k > 1, SETS(SMALL, heads[h], limit));
        }
        assert_same_runs(whole, steps);
        assert_same_metrics(whole, steps);
    }
}

/* In bf16 as well, whose copy of the weights is made anew when an average has stood in their place. */
static void averages_leave_the_weights_alone(void **state)
{
    static const char *const precisions[] = { "precision=fp32", "precision=bf16" };
    (void)state;
    for (size_t p = 0; p < GM_LEN(precisions) && is_known(precisions[p]); p++) {
        const char *without = gmt_temp_dir(), *with = gmt_temp_dir();
        char *text;
        size_t size;
        gm_err err = { 0 };
        train_ok(without, false, SETS(SMALL, precisions[p], "shape=both"));
        train_ok(with, false, SETS(SMALL, precisions[p], "shape=both", "train.average=1"));
        assert_same_file(without, with, "last/model.safetensors");
        assert_ok(gm_file_read(path_of(with, "metrics.jsonl"), &text, &size, &err));
        assert_non_null(strstr(text, "\"average\":{\"span\":{"));
        gm_free(text);
        assert_ok(gm_file_read(path_of(without, "metrics.jsonl"), &text, &size, &err));
        assert_null(strstr(text, "average"));
        gm_free(text);
    }
}

static void a_signal_stops_behind_the_step_and_saves(void **state)
{
    static const struct {
        int number;
        gm_status status;
        const char *name;
    } signals[] = { { SIGTERM, GM_STOP_TERM, "SIGTERM" }, { SIGINT, GM_STOP_INT, "SIGINT" } };
    (void)state;
    const char *whole = gmt_temp_dir();
    train_ok(whole, false, SETS(SMALL));
    for (size_t i = 0; i < GM_LEN(signals); i++) {
        gm_err err = { 0 };
        const char *out = gmt_temp_dir();
        for (int k = 1; k <= 5; k++) { /* the fifth in the second epoch */
            assert_int_equal(train_with(out, k > 1, signals[i].number, SETS(SMALL), &err), signals[i].status);
            assert_non_null(strstr(err.text, signals[i].name));
            assert_int_equal(state_number(out, "step"), k);
        }
        train_ok(out, true, SETS(SMALL));
        assert_same_runs(whole, out);
        assert_same_metrics(whole, out);
    }
}

static void a_finished_run_resumed_does_nothing_and_says_so(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir(), *logs = gmt_temp_dir();
    train_ok(out, false, SETS(SMALL, "train.epochs=1"));
    struct stat before[3], after[3];
    static const char *const names[] = { "last/model.safetensors", "last/state.json", "best/model.safetensors" };
    for (size_t i = 0; i < GM_LEN(names); i++) assert_int_equal(stat(path_of(out, names[i]), &before[i]), 0);
    char *metrics = metrics_without_times(out), *text;
    size_t size;
    gm_err err = { 0 };
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    assert_non_null(freopen(path_of(logs, "log"), "w", stderr));
    gm_config *config;
    volatile sig_atomic_t flag = 0;
    gm_log_set_level(GM_LOG_INFO);
    gm_status status = gm_config_create(&config, &err);
    for (sets s = SETS(SMALL, "train.epochs=1"); *s != NULL && status == GM_OK; s++)
        status = gm_config_set(config, *s, &err);
    if (status == GM_OK)
        status = gm_train(
            config, &(gm_train_options) { .out = out, .device = "cpu", .isa = "auto", .resume = true, .signal = &flag },
            &err);
    gm_config_destroy(config);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    if (status != GM_OK) fail_msg("%s", err.text);
    assert_ok(gm_file_read(path_of(logs, "log"), &text, &size, &err));
    assert_non_null(strstr(text, "is finished already: nothing to do"));
    gm_free(text);
    for (size_t i = 0; i < GM_LEN(names); i++) { /* not even written anew */
        assert_int_equal(stat(path_of(out, names[i]), &after[i]), 0);
        assert_int_equal(before[i].st_ino, after[i].st_ino);
        assert_int_equal(before[i].st_mtim.tv_nsec, after[i].st_mtim.tv_nsec);
    }
    text = metrics_without_times(out);
    assert_string_equal(metrics, text);
    gm_free(text);
    gm_free(metrics);
}

static void metrics_are_cut_back_on_resume(void **state)
{
    (void)state;
    const char *whole = gmt_temp_dir(), *out = gmt_temp_dir();
    train_ok(whole, false, SETS(SMALL));
    train_ok(out, false, SETS(SMALL, "train.max_steps=3"));
    append_to(path_of(out, "metrics.jsonl"),
              "{\"event\":\"step\",\"epoch\":1,\"step\":4,\"loss\":9,\"grad_norm\":9,\"lr\":9,\"tokens_per_s\":1.0}\n"
              "{\"event\":\"eval\",\"epoch\":1,\"step\":4,\"span\":{\"tp\":1,\"tokens_per_s\":1.0}}\n"
              "{\"event\":\"step\",\"epoch\":2,\"st");
    train_ok(out, true, SETS(SMALL));
    assert_same_metrics(whole, out);
    assert_same_runs(whole, out);
}

/* A run folder whose checkpoint stands behind the last step of epoch 1, the evaluation not yet done. */
static const char *stopped_before_the_evaluation(void)
{
    gm_err err = { 0 };
    const char *out = gmt_temp_dir();
    train_ok(out, false, SETS(SMALL, "train.max_steps=3"));
    assert_int_equal(train_with(out, true, SIGTERM, SETS(SMALL), &err), GM_STOP_TERM);
    assert_int_equal(state_number(out, "step_in_epoch"), 4);
    assert_int_equal(state_number(out, "epoch"), 0);
    return out;
}

static void a_line_of_an_unsaved_evaluation_is_cut(void **state)
{
    (void)state;
    const char *whole = gmt_temp_dir(), *out = stopped_before_the_evaluation();
    train_ok(whole, false, SETS(SMALL));
    append_to(path_of(out, "metrics.jsonl"),
              "{\"event\":\"eval\",\"epoch\":1,\"step\":4,\"span\":{\"tp\":1},\"tokens_per_s\":1.0}\n");
    train_ok(out, true, SETS(SMALL));
    assert_same_metrics(whole, out);
    assert_same_runs(whole, out);
}

static void max_steps_at_an_epochs_end_still_evaluates(void **state)
{
    (void)state;
    const char *whole = gmt_temp_dir(), *out = stopped_before_the_evaluation();
    train_ok(whole, false, SETS(SMALL, "train.max_steps=4"));
    train_ok(out, true, SETS(SMALL, "train.max_steps=4"));
    assert_int_equal(state_number(out, "epoch"), 1);
    assert_same_metrics(whole, out);
    assert_same_runs(whole, out);
}

static void copy_file(const char *from, const char *to)
{
    char *bytes;
    size_t size;
    gm_err err = { 0 };
    assert_ok(gm_file_read(from, &bytes, &size, &err));
    gmt_write_file(to, bytes, size);
    gm_free(bytes);
}

/* Folders as a crash may leave them: half a checkpoint beside a whole one; and, on a file system that cannot exchange
 * folders, the moment when the old one has stepped aside. */
static void what_a_crash_left_is_put_right(void **state)
{
    (void)state;
    const char *whole = gmt_temp_dir(), *out = gmt_temp_dir();
    gm_err err = { 0 };
    train_ok(whole, false, SETS(SMALL));
    train_ok(out, false, SETS(SMALL, "train.max_steps=6"));
    assert_ok(gm_make_dirs(path_of(out, "last.part"), &err));
    gmt_write_file(path_of(out, "last.part/model.safetensors"), "half", 4);
    assert_int_equal(rename(path_of(out, "last"), path_of(out, "last.old.part")), 0);
    assert_int_equal(rename(path_of(out, "best"), path_of(out, "best.old.part")), 0);
    /* Behind step 6 nothing is left to do up to step 5: only the folders are put right. A new start would end at 5. */
    train_ok(out, true, SETS(SMALL, "train.max_steps=5"));
    assert_int_equal(state_number(out, "step"), 6);
    assert_true(gm_path_is_dir(path_of(out, "best")));
    static const char *const left[] = { "last.part", "last.old.part", "best.part", "best.old.part" };
    for (size_t i = 0; i < GM_LEN(left); i++) assert_false(gm_path_exists(path_of(out, left[i])));
    train_ok(out, true, SETS(SMALL));
    assert_same_runs(whole, out);
}

static void another_configuration_is_refused_with_both_values(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir();
    train_ok(out, false, SETS(SMALL, "train.max_steps=2"));
    train_fails(out, true, SETS(SMALL, "train.lr=2e-3"), GM_ERR_CONFIG,
                "train.lr is 0.002, but the run was started with 0.001");
    train_fails(out, true, SETS(SMALL, "head=crf"), GM_ERR_CONFIG,
                "head is \"crf\", but the run was started with \"span\"");
    train_fails(out, true, SETS(SMALL, "seed=18446744073709551615"), GM_ERR_CONFIG, "18446744073709551615");
    train_fails(out, false, SETS(SMALL), GM_ERR_USAGE, "holds a run already: add --resume");
    /* Keys that change no result may differ. */
    train_ok(out, true, SETS(SMALL, "train.max_steps=3", "threads=3", "train.save_every=1", "train.log_every=2"));
    assert_int_equal(state_number(out, "step"), 3);
}

#define FILES "data.format=records", "data.train=train.jsonl", "data.dev=dev.jsonl", root

static void changed_data_is_refused(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir(), *data = gmt_temp_dir();
    char root[1100], train[1100], dev[1100];
    snprintf(root, sizeof root, "data.root=%s", data);
    snprintf(train, sizeof train, "%s/train.jsonl", data);
    snprintf(dev, sizeof dev, "%s/dev.jsonl", data);
    synth_file(data, "train", 24);
    synth_file(data, "dev", 8);
    char *bytes[2];
    size_t size[2];
    gm_err err = { 0 };
    const sets all = SETS(SMALL, FILES, "train.max_steps=2");
    const sets longer = SETS(SMALL, FILES, "train.max_steps=3");
    train_ok(out, false, all);
    assert_ok(gm_file_read(train, &bytes[0], &size[0], &err));
    assert_ok(gm_file_read(dev, &bytes[1], &size[1], &err));
    edit_file(train, "synth-train-000003", "synth-train-900003");
    train_fails(out, true, longer, GM_ERR_DATA, "the data is not what this run was started with");
    gmt_write_file(train, bytes[0], size[0]);
    edit_file(train, "\"type\": \"PER\"", "\"type\": \"LOC\""); /* gold alone */
    train_fails(out, true, longer, GM_ERR_DATA, "the data is not what this run was started with");
    gmt_write_file(train, bytes[0], size[0]);
    edit_file(dev, "\"type\": \"PER\"", "\"type\": \"LOC\"");
    train_fails(out, true, longer, GM_ERR_DATA, "the data is not what this run was started with");
    gmt_write_file(dev, bytes[1], size[1]);
    train_ok(out, true, longer);
    gm_free(bytes[0]);
    gm_free(bytes[1]);
}

static void a_bad_state_is_refused(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir(), *kept = gmt_temp_dir();
    static const struct {
        const char *from, *to, *text;
    } cases[] = {
        { "\"step\": 2", "\"step\": 3", "do not make step 3" },
        { "\"step\": 2", "\"step\": -1", "\"step\" is missing or not a count" },
        { "\"gmner\": 1", "\"gmner\": 2", "\"gmner\" is 2, this release reads 1" },
        { "\"epoch\": 0", "\"epok\": 0", "\"epoch\" is missing" },
        { "}", "", "state.json" },
    };
    train_ok(out, false, SETS(SMALL, "train.max_steps=2"));
    copy_file(path_of(out, "last/state.json"), path_of(kept, "state"));
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        edit_file(path_of(out, "last/state.json"), cases[i].from, cases[i].to);
        train_fails(out, true, SETS(SMALL), GM_ERR_FORMAT, cases[i].text);
        copy_file(path_of(kept, "state"), path_of(out, "last/state.json"));
    }
    assert_int_equal(unlink(path_of(out, "last/optimizer.safetensors")), 0);
    train_fails(out, true, SETS(SMALL), GM_ERR_IO, "optimizer.safetensors");
}

static void checkpoints_without_run_json_are_not_written_over(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir();
    train_ok(out, false, SETS(SMALL, "train.epochs=1"));
    assert_int_equal(unlink(path_of(out, "run.json")), 0);
    train_fails(out, true, SETS(SMALL, "train.epochs=1"), GM_ERR_DATA, "holds last/ but no run.json");
    train_fails(out, false, SETS(SMALL, "train.epochs=1"), GM_ERR_DATA, "holds last/ but no run.json");
    assert_int_equal(state_number(out, "step"), 4);
}

/* Gives the row of one piece in last/model.safetensors numbers whose sum overflows. */
static void poison(const char *out, const char *piece)
{
    gm_model m;
    gm_err err = { 0 };
    assert_ok(gm_model_load(path_of(out, "last"), false, &m, &err));
    gm_pieces pieces = { 0 };
    assert_ok(gm_tokenizer_encode(m.tokenizer, piece, strlen(piece), &pieces, &err));
    if (pieces.count != 1) fail_msg("the vocabulary lacks %s", piece);
    const int32_t id = pieces.items[0].id;
    gm_pieces_free(&pieces);
    for (int32_t k = 0; k < m.encoder.config.hidden; k++) m.params.table->value[id * m.encoder.config.hidden + k] = 3e38f;
    assert_ok(gm_model_save(&m, path_of(out, "last"), &err));
    gm_model_destroy(&m);
}

static void a_loss_that_is_no_number_stops_with_the_batchs_ids(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir(), *data = gmt_temp_dir(), *kept = gmt_temp_dir();
    char root[1100], train[1100];
    gm_err err = { 0 };
    snprintf(root, sizeof root, "data.root=%s", data);
    snprintf(train, sizeof train, "%s/train.jsonl", data);
    synth_file(data, "train", 24);
    edit_file(train, "{\"id\": \"synth-train-000011\", \"tokens\": [",
              "{\"id\": \"the-culprit\", \"tokens\": [\"qwertyword\", ");
    const sets all =
        SETS(SMALL, "data.format=records", "data.train=train.jsonl", root, "train.save_every=1", "train.max_steps=1");
    const sets rest = SETS(SMALL, "data.format=records", "data.train=train.jsonl", root, "train.save_every=1");
    train_ok(out, false, all);
    poison(out, "qwertyword");
    const gm_status status = train_with(out, true, 0, rest, &err);
    long long step = 0;
    if (status != GM_ERR_NUMERIC || sscanf(err.text, "step %lld: the loss is", &step) != 1)
        fail_msg("%s: %s", gm_status_name(status), err.text);
    assert_non_null(strstr(err.text, "the-culprit"));
    int named = strstr(err.text, "the-culprit") != NULL;
    for (const char *at = err.text; (at = strstr(at, "synth-train-")) != NULL; at++) named++;
    assert_int_equal(named, 6);                            /* the whole batch, nothing else */
    assert_int_equal(state_number(out, "step"), step - 1); /* the newest checkpoint is the one before */
    static const char *const names[] = { "last/model.safetensors", "last/optimizer.safetensors", "last/state.json" };
    assert_ok(gm_make_dirs(path_of(kept, "last"), &err));
    for (size_t i = 0; i < GM_LEN(names); i++) copy_file(path_of(out, names[i]), path_of(kept, names[i]));
    gm_err again = { 0 };
    assert_int_equal(train_with(out, true, 0, rest, &again),
                     GM_ERR_NUMERIC); /* it loads, and fails in the same place */
    assert_string_equal(err.text, again.text);
    for (size_t i = 0; i < GM_LEN(names); i++) assert_same_file(out, kept, names[i]);
    assert_false(gm_path_exists(path_of(out, "last.part")));
}

static void the_switch_for_dense_embeddings_moves_every_row(void **state)
{
    static const char *const switches[] = { "train.dense_embedding=false", "train.dense_embedding=true" };
    (void)state;
    for (size_t i = 0; i < GM_LEN(switches); i++) {
        const char *out = gmt_temp_dir();
        gm_model before, after;
        gm_err err = { 0 };
        /* Decay alone moves a row that no sentence has: [MASK]'s. The first step's rate is 0, so one step changes none. */
        train_ok(out, false, SETS(SMALL, "train.weight_decay=0.5", "train.max_steps=1", switches[i]));
        assert_ok(gm_model_load(path_of(out, "last"), false, &before, &err));
        train_ok(out, true, SETS(SMALL, "train.weight_decay=0.5", switches[i]));
        assert_ok(gm_model_load(path_of(out, "last"), false, &after, &err));
        const int32_t h = before.encoder.config.hidden, sep = gm_tokenizer_special(before.tokenizer).end,
                      mask = sep + 1; /* of the tiny vocabulary */
        const float *x = before.encoder.word->value, *y = after.encoder.word->value;
        assert_int_equal(memcmp(x + mask * h, y + mask * h, (size_t)h * sizeof *x) != 0, i == 1);
        assert_true(memcmp(x + sep * h, y + sep * h, (size_t)h * sizeof *x) != 0); /* every sentence has it */
        gm_model_destroy(&before);
        gm_model_destroy(&after);
    }
}

static void patience_stops_early(void **state)
{
    (void)state;
    const char *out = gmt_temp_dir();
    const sets all = SETS(SMALL, "train.epochs=9", "train.lr=0", "train.head_lr=0", "train.patience=2");
    train_ok(out, false, all); /* nothing is learnt, so epoch 1 stays the best */
    assert_int_equal(state_number(out, "epoch"), 3);
    assert_int_equal(state_number(out, "best_epoch"), 1);
    train_ok(out, true, all);
    assert_int_equal(state_number(out, "epoch"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(shards_do_change_bits),
        cmocka_unit_test(stops_and_resumptions_do_not_change_bits),
        cmocka_unit_test(averages_leave_the_weights_alone),
        cmocka_unit_test(a_signal_stops_behind_the_step_and_saves),
        cmocka_unit_test(a_finished_run_resumed_does_nothing_and_says_so),
        cmocka_unit_test(metrics_are_cut_back_on_resume),
        cmocka_unit_test(a_line_of_an_unsaved_evaluation_is_cut),
        cmocka_unit_test(max_steps_at_an_epochs_end_still_evaluates),
        cmocka_unit_test(what_a_crash_left_is_put_right),
        cmocka_unit_test(another_configuration_is_refused_with_both_values),
        cmocka_unit_test(changed_data_is_refused),
        cmocka_unit_test(a_bad_state_is_refused),
        cmocka_unit_test(checkpoints_without_run_json_are_not_written_over),
        cmocka_unit_test(a_loss_that_is_no_number_stops_with_the_batchs_ids),
        cmocka_unit_test(the_switch_for_dense_embeddings_moves_every_row),
        cmocka_unit_test(patience_stops_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
