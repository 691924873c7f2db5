/* What the trainer's tests share: small configurations, runs in process, and looks at what a run left behind. */
#ifndef GM_TESTS_TRAIN_TEST_H
#define GM_TESTS_TRAIN_TEST_H

#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/synth.h"
#include "train/trainer.h"

/* Three epochs of four steps; checkpoints only where an epoch ends. */
#define SMALL                                                                                                          \
    "data.format=synth", "encoder=tiny", "data.synth=24", "train.batch=6", "train.epochs=3", "train.lr=1e-3",          \
        "train.log_every=1", "train.save_every=100", "threads=2"

typedef const char *const *sets; /* ends with NULL */
#define SETS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* Good for the next few calls only. */
static inline char *path_of(const char *folder, const char *name)
{
    static char ring[8][1024];
    static int at;
    at = (at + 1) % 8;
    snprintf(ring[at], sizeof ring[at], "%s/%s", folder, name);
    return ring[at];
}

/* Trains by the settings and returns the status; `signal` is what the flag holds from the start. */
static inline gm_status train_with(const char *out, bool resume, int signal, sets all, gm_err *err)
{
    gm_config *config = NULL;
    volatile sig_atomic_t flag = signal;
    const gm_train_options o = { .out = out, .device = "cpu", .isa = "auto", .resume = resume, .signal = &flag };
    gm_log_set_level(GM_LOG_WARN);
    gm_status status = gm_config_create(&config, err);
    for (sets s = all; *s != NULL && status == GM_OK; s++) status = gm_config_set(config, *s, err);
    if (status == GM_OK) status = gm_train(config, &o, err);
    gm_config_destroy(config);
    return status;
}

static inline void train_ok(const char *out, bool resume, sets all)
{
    gm_err err = { 0 };
    assert_ok(train_with(out, resume, 0, all, &err));
}

static inline void train_fails(const char *out, bool resume, sets all, gm_status want, const char *text)
{
    gm_err err = { 0 };
    const gm_status got = train_with(out, resume, 0, all, &err);
    if (got != want || strstr(err.text, text) == NULL)
        fail_msg("expected %s with \"%s\", found %s: %s", gm_status_name(want), text, gm_status_name(got), err.text);
}

static inline bool same_bytes(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    gm_err err = { 0 };
    assert_ok(gm_file_read(a, &x, &n, &err));
    assert_ok(gm_file_read(b, &y, &m, &err));
    const bool same = n == m && memcmp(x, y, n) == 0;
    gm_free(x);
    gm_free(y);
    return same;
}

static inline void assert_same_file(const char *a, const char *b, const char *name)
{
    if (!same_bytes(path_of(a, name), path_of(b, name))) fail_msg("%s differs between %s and %s", name, a, b);
}

/* Every file of both checkpoints. */
static inline void assert_same_runs(const char *a, const char *b)
{
    static const char *const names[] = { "last/model.safetensors", "last/optimizer.safetensors",
                                         "last/state.json",        "last/vocab.txt",
                                         "last/config.json",       "last/gmner.json",
                                         "best/model.safetensors", "best/vocab.txt",
                                         "best/config.json",       "best/gmner.json" };
    for (size_t i = 0; i < GM_LEN(names); i++) assert_same_file(a, b, names[i]);
}

/* A number of out/last/state.json. */
static inline double state_number(const char *out, const char *key)
{
    char *text;
    size_t size;
    cJSON *root;
    gm_err err = { 0 };
    assert_ok(gm_file_read(path_of(out, "last/state.json"), &text, &size, &err));
    assert_ok(gm_json_parse(text, size, &root, &err));
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsNumber(item)) fail_msg("state.json has no number \"%s\": %s", key, text);
    const double x = item->valuedouble;
    cJSON_Delete(root);
    gm_free(text);
    return x;
}

/* out/metrics.jsonl without its times; the caller's. */
static inline char *metrics_without_times(const char *out)
{
    gm_lines lines;
    gm_buffer kept = { 0 };
    bool have;
    gm_err err = { 0 };
    assert_ok(gm_lines_open(&lines, path_of(out, "metrics.jsonl"), &err));
    for (;;) {
        assert_ok(gm_lines_next(&lines, &have, &err));
        if (!have) break;
        const char *time = strstr(lines.line, ",\"tokens_per_s\":");
        if (time == NULL) fail_msg("no tokens_per_s in %s", lines.line);
        assert_ok(gm_buffer_add(&kept, lines.line, (size_t)(time - lines.line), &err));
        assert_ok(gm_buffer_add(&kept, "\n", 1, &err));
    }
    gm_lines_close(&lines);
    return kept.data;
}

static inline void assert_same_metrics(const char *a, const char *b)
{
    char *x = metrics_without_times(a), *y = metrics_without_times(b);
    assert_string_equal(x, y);
    gm_free(x);
    gm_free(y);
}

static inline void append_to(const char *path, const char *text)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) < 0, 0);
    assert_int_equal(fclose(f), 0);
}

/* Writes synthetic records as `folder`/NAME.jsonl, NAME being the split's. */
static inline void synth_file(const char *folder, const char *split, int64_t count)
{
    gm_records all = { 0 };
    gm_buffer text = { 0 };
    gm_err err = { 0 };
    char name[16];
    snprintf(name, sizeof name, "%s.jsonl", split);
    assert_ok(gm_synth(&(gm_synth_options) { .split = split, .seed = 7, .count = count }, &all, &err));
    for (size_t i = 0; i < all.count; i++) assert_ok(gm_record_write(&all.items[i], &text, &err));
    gmt_write_file(path_of(folder, name), text.data, text.size);
    gm_buffer_free(&text);
    gm_records_free(&all);
}

/* Replaces the first `from` in a file by a text of any length. */
static inline void edit_file(const char *path, const char *from, const char *to)
{
    char *text;
    size_t size;
    gm_err err = { 0 };
    gm_buffer edited = { 0 };
    assert_ok(gm_file_read(path, &text, &size, &err));
    const char *at = strstr(text, from);
    if (at == NULL) fail_msg("%s does not hold %s", path, from);
    assert_ok(gm_buffer_add(&edited, text, (size_t)(at - text), &err));
    assert_ok(gm_buffer_printf(&edited, &err, "%s%s", to, at + strlen(from)));
    gmt_write_file(path, edited.data, edited.size);
    gm_buffer_free(&edited);
    gm_free(text);
}

#endif
