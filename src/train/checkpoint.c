/* Checkpoints: best/ holds a model; last/ also moments and state.json, so that a run goes on with the same bits. A folder
 * is written beside its name, synced and exchanged in one step: at any moment there is one whole checkpoint. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/memory.h"
#include "base/philox.h"
#include "train/run.h"

enum { STATE_VERSION = 1 };

/* Keys that may differ between the runs of one training: none changes its result. */
static const char *const free_keys[] = { "threads", "train.save_every", "train.log_every", "train.max_steps",
                                         "train.checkpointing", "predict.tokens", "comm.timeout_s" };

static gm_status folder_path(const gm_run *r, const char *name, const char *suffix, char **path, gm_err *err)
{
    gm_buffer b = { 0 };
    GM_TRY(gm_buffer_printf(&b, err, "%s/%s%s", r->options->out, name, suffix));
    *path = b.data;
    return GM_OK;
}

static uint32_t mix(uint32_t h, uint32_t word) { return (h ^ word) * 16777619u; }

/* FNV-1a over ids, pieces and gold of all samples in order: tells whether the data is still what it was. */
static uint32_t mix_dataset(uint32_t h, const gm_dataset *d)
{
    for (size_t i = 0; i < d->records.count; i++) {
        const gm_sample *s = &d->samples[i];
        h = mix(mix(mix(h, s->key), (uint32_t)s->text.count), (uint32_t)s->gold_count);
        for (int32_t k = 0; k < s->text.count; k++) h = mix(h, (uint32_t)s->text.ids[k]);
        for (int32_t k = 0; k < s->gold_count; k++)
            h = mix(mix(mix(h, (uint32_t)s->gold[k].start), (uint32_t)s->gold[k].end), (uint32_t)s->gold[k].type);
    }
    return h;
}

/* The dev set counts too: it decides what best/ holds. */
static uint32_t data_key(const gm_run *r) { return mix_dataset(mix_dataset(2166136261u, &r->train), &r->dev); }

static gm_status write_state(const gm_run *r, const char *folder, gm_err *err)
{
    gm_out out = { 0 };
    char *path = gm_path_join(folder, "state.json");
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_status status = gm_out_open(&out, path, err);
    if (status == GM_OK)
        status = gm_out_printf(&out, err,
                               "{\"gmner\": %d, \"epoch\": %lld, \"step_in_epoch\": %lld, \"step\": %lld, \"best_f1\": "
                               "%.17g, \"best_epoch\": %lld, "
                               "\"epochs_without_gain\": %lld, \"data\": %u}\n",
                               STATE_VERSION, (long long)r->at.epoch, (long long)r->at.step_in_epoch,
                               (long long)r->at.step, r->at.best_f1, (long long)r->at.best_epoch,
                               (long long)r->at.epochs_without_gain, data_key(r));
    if (status == GM_OK) status = gm_out_commit(&out, err);
    gm_out_abort(&out);
    gm_free(path);
    return status;
}

static gm_status fill_folder(const gm_run *r, const char *folder, bool with_state, gm_err *err)
{
    GM_TRY(gm_remove_tree(folder, err));
    GM_TRY(gm_make_dirs(folder, err));
    GM_TRY(gm_model_save(&r->model, folder, err));
    if (!with_state) return GM_OK;
    char *path = gm_path_join(folder, "optimizer.safetensors");
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_status status = gm_params_save_moments(&r->model.params, path, err);
    gm_free(path);
    return status == GM_OK ? write_state(r, folder, err) : status;
}

static gm_status write_checkpoint(const gm_run *r, const char *name, bool with_state, gm_err *err)
{
    char *part = NULL, *final = NULL;
    gm_status status = folder_path(r, name, ".part", &part, err);
    if (status == GM_OK) status = folder_path(r, name, "", &final, err);
    if (status == GM_OK) status = fill_folder(r, part, with_state, err);
    if (status == GM_OK) status = gm_dir_replace(part, final, err);
    if (status != GM_OK && part != NULL) gm_remove_tree(part, NULL); /* a full disk gets its space back */
    gm_free(part);
    gm_free(final);
    return status;
}

/* Rank 0 writes; the others hear whether it could. */
static gm_status save(gm_run *r, const char *name, bool with_state, gm_err *err)
{
    if (with_state) GM_TRY(gm_ranks_gather_moments(r, err));
    GM_TRY(gm_run_fetch(r, err));
    return gm_comm_agree(r->ranks.comm, r->ranks.rank == 0 ? write_checkpoint(r, name, with_state, err) : GM_OK, err);
}

gm_status gm_run_save_best(gm_run *r, gm_err *err) { return save(r, "best", false, err); }
gm_status gm_run_save_last(gm_run *r, gm_err *err) { return save(r, "last", true, err); }

static gm_status take_count(const cJSON *root, const char *key, int64_t *value, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < 9e15) ||
        floor(item->valuedouble) != item->valuedouble)
        return gm_fail(err, GM_ERR_FORMAT, "\"%s\" is missing or not a count", key);
    *value = (int64_t)item->valuedouble;
    return GM_OK;
}

static gm_status read_state(gm_run *r, const cJSON *root, gm_err *err)
{
    int64_t version, data;
    GM_TRY(take_count(root, "gmner", &version, err));
    if (version != STATE_VERSION)
        return gm_fail(err, GM_ERR_FORMAT, "\"gmner\" is %lld, this release reads %d", (long long)version,
                       STATE_VERSION);
    GM_TRY(take_count(root, "epoch", &r->at.epoch, err));
    GM_TRY(take_count(root, "step_in_epoch", &r->at.step_in_epoch, err));
    GM_TRY(take_count(root, "step", &r->at.step, err));
    GM_TRY(take_count(root, "best_epoch", &r->at.best_epoch, err));
    GM_TRY(take_count(root, "epochs_without_gain", &r->at.epochs_without_gain, err));
    GM_TRY(take_count(root, "data", &data, err));
    const cJSON *best = cJSON_GetObjectItemCaseSensitive(root, "best_f1");
    if (!cJSON_IsNumber(best)) return gm_fail(err, GM_ERR_FORMAT, "\"best_f1\" is missing or not a number");
    r->at.best_f1 = best->valuedouble;
    if (data != (int64_t)data_key(r))
        return gm_fail(
            err, GM_ERR_DATA,
            "the data is not what this run was started with: put it back, or start a new run in another folder");
    if (r->at.step_in_epoch > r->steps_per_epoch ||
        r->at.step != r->at.epoch * r->steps_per_epoch + r->at.step_in_epoch)
        return gm_fail(err, GM_ERR_FORMAT,
                       "epoch %lld and step %lld of it do not make step %lld, for an epoch has %lld steps",
                       (long long)r->at.epoch, (long long)r->at.step_in_epoch, (long long)r->at.step,
                       (long long)r->steps_per_epoch);
    return GM_OK;
}

static gm_status load_state(gm_run *r, const char *folder, gm_err *err)
{
    char *path = gm_path_join(folder, "state.json"), *text = NULL;
    size_t size = 0;
    cJSON *root = NULL;
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_status status = gm_file_read(path, &text, &size, err);
    if (status == GM_OK &&
        ((status = gm_json_parse(text, size, &root, err)) != GM_OK || (status = read_state(r, root, err)) != GM_OK))
        status = gm_fail_at(err, "%s", path);
    cJSON_Delete(root);
    gm_free(text);
    gm_free(path);
    return status;
}

static gm_status load_tensors(gm_run *r, const char *folder, const char *name, bool are_moments, gm_err *err)
{
    gm_safetensors *st = NULL;
    char *path = gm_path_join(folder, name);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_status status = gm_safetensors_open(path, &st, err);
    if (status == GM_OK)
        status = are_moments ? gm_params_load_moments(&r->model.params, st, err)
                             : gm_params_load(&r->model.params, r->model.params.count, st, "", err);
    gm_safetensors_close(st);
    gm_free(path);
    return status;
}

/* Removes what a crash left while a checkpoint was written. On a file system that cannot exchange two folders a crash may
 * also have come while the old checkpoint had stepped aside: it takes its name again. */
static gm_status tidy(const gm_run *r, const char *name, gm_err *err)
{
    char *final = NULL, *part = NULL, *old = NULL;
    gm_status status = folder_path(r, name, "", &final, err);
    if (status == GM_OK) status = folder_path(r, name, ".part", &part, err);
    if (status == GM_OK) status = folder_path(r, name, ".old.part", &old, err);
    if (status == GM_OK && !gm_path_exists(final) && gm_path_is_dir(old) && rename(old, final) != 0)
        status = gm_fail(err, GM_ERR_IO, "%s: cannot take the name %s: %s", old, final, strerror(errno));
    if (status == GM_OK) status = gm_remove_tree(part, err);
    if (status == GM_OK) status = gm_remove_tree(old, err);
    gm_free(final);
    gm_free(part);
    gm_free(old);
    return status;
}

gm_status gm_run_load_last(gm_run *r, bool *found, gm_err *err)
{
    char *folder;
    GM_TRY(tidy(r, "last", err));
    GM_TRY(tidy(r, "best", err));
    GM_TRY(folder_path(r, "last", "", &folder, err));
    *found = gm_path_is_dir(folder);
    gm_status status = GM_OK;
    if (*found) status = load_state(r, folder, err);
    if (*found && status == GM_OK) status = load_tensors(r, folder, "model.safetensors", false, err);
    if (*found && status == GM_OK) status = load_tensors(r, folder, "optimizer.safetensors", true, err);
    gm_free(folder);
    return status;
}

gm_status gm_run_describe(const gm_run *r, gm_err *err)
{
    char *path = gm_path_join(r->options->out, "run.json"), *config = gm_config_json(r->config);
    gm_out out = { 0 };
    gm_status status =
        path != NULL && config != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for run.json");
    if (status == GM_OK) status = gm_out_open(&out, path, err);
    if (status == GM_OK)
        status = gm_out_printf(
            &out, err,
            "{\"gmner\": %d, \"version\": \"%s\", \"commit\": \"%s\", \"device\": \"%s\", \"cpu_isa\": \"%s\",\n "
            "\"library\": \"%s\", \"compiler\": \"%s\",\n"
            " \"train\": {\"samples\": %zu, \"pieces\": %lld, \"entities\": %lld, \"cut_sentences\": %lld},\n"
            " \"dev\": {\"samples\": %zu, \"pieces\": %lld, \"entities\": %lld, \"cut_sentences\": %lld},\n "
            "\"config\": %s}\n",
            STATE_VERSION, GM_VERSION, GM_COMMIT, r->backend.name, r->backend.isa, r->backend.library, __VERSION__,
            r->train.records.count, (long long)r->train.pieces, (long long)r->train.entities,
            (long long)r->train.cut_sentences, r->dev.records.count, (long long)r->dev.pieces,
            (long long)r->dev.entities, (long long)r->dev.cut_sentences, config);
    if (status == GM_OK) status = gm_out_commit(&out, err);
    gm_out_abort(&out);
    gm_free(path);
    gm_free(config);
    return status;
}

static bool may_differ(const char *key)
{
    for (size_t i = 0; i < GM_LEN(free_keys); i++)
        if (strcmp(key, free_keys[i]) == 0) return true;
    return false;
}

static gm_status compare(const gm_run *r, const cJSON *before, const cJSON *now, gm_err *err)
{
    const cJSON *key, *isa = cJSON_GetObjectItemCaseSensitive(before, "cpu_isa"),
                      *config = cJSON_GetObjectItemCaseSensitive(before, "config");
    const cJSON *device = cJSON_GetObjectItemCaseSensitive(before, "device");
    if (cJSON_IsString(device) && strcmp(device->valuestring, r->backend.name) != 0)
        return gm_fail(err, GM_ERR_CONFIG, "the run was started on the device %s, this is %s, which gives other bits: use --device %s",
                       device->valuestring, r->backend.name, device->valuestring);
    if (cJSON_IsString(isa) && strcmp(isa->valuestring, r->backend.isa) != 0)
        return gm_fail(
            err, GM_ERR_CONFIG,
            "the run was started on the instruction set %s, this is %s, which gives other bits: use --cpu-isa %s",
            isa->valuestring, r->backend.isa, isa->valuestring);
    cJSON_ArrayForEach(key, now)
    {
        const cJSON *was = cJSON_GetObjectItemCaseSensitive(config, key->string);
        if (was == NULL || may_differ(key->string) || cJSON_Compare(was, key, true)) continue;
        char *old = cJSON_PrintUnformatted(was), *new = cJSON_PrintUnformatted(key);
        gm_fail(err, GM_ERR_CONFIG, "%s is %s, but the run was started with %s: use that, or another --out",
                key->string, new != NULL ? new : "?", old != NULL ? old : "?");
        cJSON_free(old);
        cJSON_free(new);
        return GM_ERR_CONFIG;
    }
    return GM_OK;
}

gm_status gm_run_check_description(const gm_run *r, gm_err *err)
{
    char *path = gm_path_join(r->options->out, "run.json"), *text = NULL, *config = gm_config_json(r->config);
    size_t size = 0;
    cJSON *before = NULL, *now = NULL;
    gm_status status =
        path != NULL && config != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for run.json");
    if (status == GM_OK) status = gm_file_read(path, &text, &size, err);
    if (status == GM_OK) status = gm_json_parse(config, strlen(config), &now, err);
    if (status == GM_OK && ((status = gm_json_parse(text, size, &before, err)) != GM_OK ||
                            (status = compare(r, before, now, err)) != GM_OK))
        status = gm_fail_at(err, "%s", path);
    cJSON_Delete(before);
    cJSON_Delete(now);
    gm_free(text);
    gm_free(config);
    gm_free(path);
    return status;
}

/* What processes that train together must have in common, each part as a number. */
enum { PROGRAM, CONFIGURATION, DATA, PARTS };

static gm_status describe_task(const gm_run *r, uint32_t part[PARTS], gm_err *err)
{
    char *config = gm_config_json(r->config), *text = NULL;
    cJSON *keys = NULL;
    gm_buffer program = { 0 };
    gm_status status = config != NULL ? gm_json_parse(config, strlen(config), &keys, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory for the configuration");
    for (size_t i = 0; status == GM_OK && i < GM_LEN(free_keys); i++) cJSON_DeleteItemFromObjectCaseSensitive(keys, free_keys[i]);
    if (status == GM_OK && (text = cJSON_PrintUnformatted(keys)) == NULL) status = gm_fail(err, GM_ERR_NOMEM, "out of memory for the configuration");
    if (status == GM_OK) status = gm_buffer_printf(&program, err, "%s %s %s %s %s", GM_VERSION, GM_COMMIT, r->backend.name, r->backend.isa, r->backend.library);
    if (status == GM_OK) {
        part[PROGRAM] = gm_fnv1a(program.data);
        part[CONFIGURATION] = gm_fnv1a(text);
        part[DATA] = data_key(r);
    }
    gm_buffer_free(&program);
    cJSON_free(text);
    cJSON_Delete(keys);
    gm_free(config);
    return status;
}

gm_status gm_run_check_ranks(const gm_run *r, gm_err *err)
{
    static const char *const names[PARTS] = { "program, device or instruction set (--cpu-isa)", "configuration", "data" };
    const int32_t size = gm_comm_size(r->ranks.comm);
    if (size == 1) return GM_OK;
    uint32_t mine[PARTS] = { 0 };
    uint32_t *all = gm_malloc((size_t)size * sizeof mine);
    size_t *bytes = gm_malloc((size_t)size * sizeof *bytes);
    gm_status status = all != NULL && bytes != NULL ? describe_task(r, mine, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory for %d ranks", size);
    for (int32_t k = 0; status == GM_OK && k < size; k++) bytes[k] = sizeof mine;
    if (status == GM_OK) status = gm_comm_gather(r->ranks.comm, mine, bytes, all, err);
    for (int32_t i = 0; status == GM_OK && i < size * PARTS; i++)
        if (all[i] != all[i % PARTS]) status = gm_fail(err, GM_ERR_CONFIG, "rank %d differs from rank 0 in its %s: start all processes alike", i / PARTS, names[i % PARTS]);
    gm_free(all);
    gm_free(bytes);
    return status;
}
