/* Training really learns: 32 sentences by heart, with either head; and best/ holds the epoch that scored best. */
#include "tests/train/train_test.h"

/* Scored on what it was trained on. Ten epochs without a gain are enough once all is known. */
#define BY_HEART                                                                                                       \
    "data.format=records", "data.train=train.jsonl", "data.dev=train.jsonl", root, "encoder=tiny", "dropout=0",        \
        "train.epochs=30", "train.batch=4", "train.lr=2e-3", "train.head_lr=5e-3", "train.save_every=1000",            \
        "train.patience=10"

static void assert_known(const char *out)
{
    const double f1 = state_number(out, "best_f1");
    if (!(f1 > 0.99)) fail_msg("F1 %g on the 32 sentences it was trained on", f1);
}

static void spans(void **state)
{
    const char *data = gmt_temp_dir(), *out = gmt_temp_dir();
    char root[1100];
    (void)state;
    snprintf(root, sizeof root, "data.root=%s", data);
    synth_file(data, "train", 32);
    train_ok(out, false, SETS(BY_HEART, "head=span"));
    assert_known(out);
}

static void tags_and_best_is_the_best_epoch(void **state)
{
    const char *data = gmt_temp_dir(), *out = gmt_temp_dir(), *again = gmt_temp_dir();
    char root[1100], limit[64];
    (void)state;
    snprintf(root, sizeof root, "data.root=%s", data);
    synth_file(data, "train", 32);
    train_ok(out, false, SETS(BY_HEART, "head=crf"));
    assert_known(out);
    const double best = state_number(out, "best_epoch");
    assert_true(best < state_number(out, "epoch")); /* else the next lines compare nothing of interest */
    snprintf(limit, sizeof limit, "train.max_steps=%d", (int)best * 8);
    train_ok(again, false, SETS(BY_HEART, "head=crf", limit));
    if (!same_bytes(path_of(out, "best/model.safetensors"), path_of(again, "last/model.safetensors")))
        fail_msg("best/ is not the model behind epoch %g", best);
    assert_false(same_bytes(path_of(out, "best/model.safetensors"), path_of(out, "last/model.safetensors")));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(spans), cmocka_unit_test(tags_and_best_is_the_best_epoch) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
