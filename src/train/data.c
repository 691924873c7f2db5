/* The data that a configuration names. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "data/readers.h"
#include "data/synth.h"
#include "train/run.h"

static bool is_synth(const gm_config *c) { return strcmp(gm_config_str(c, GM_KEY_DATA_FORMAT), "synth") == 0; }

/* data.root/name, or name where there is no root; NULL for an unset key. */
static gm_status place(const gm_config *c, gm_key key, char **path, gm_err *err)
{
    const char *root = gm_config_str(c, GM_KEY_DATA_ROOT), *name = gm_config_str(c, key);
    *path = NULL;
    if (name[0] == '\0') return GM_OK;
    *path = root[0] != '\0' && name[0] != '/' ? gm_path_join(root, name) : gm_strdup(name);
    return *path != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
}

static gm_status read_file(const gm_config *c, const char *text, const char *boxes, const char *without,
                           const char *split, gm_records *all, gm_err *err)
{
    gm_import_counts n = { 0 };
    const gm_import what = {
        .format = gm_config_str(c, GM_KEY_DATA_FORMAT), .text = text, .boxes = boxes, .without = without, .split = split
    };
    GM_TRY(gm_import_read(&what, all, &n, err));
    gm_log(GM_LOG_INFO, "data", "%s: %lld samples, %lld words, %lld entities, %lld of them groundable", text,
           (long long)n.samples, (long long)n.words, (long long)n.entities, (long long)n.groundable);
    if (n.dropped > 0)
        gm_log(GM_LOG_INFO, "data", "%s: %lld samples left out because they stand in the dev set", text,
               (long long)n.dropped);
    return GM_OK;
}

static gm_status make_synth(const gm_config *c, gm_records *train, gm_records *dev, gm_err *err)
{
    const int64_t count = gm_config_int(c, GM_KEY_DATA_SYNTH);
    const uint64_t seed = gm_config_u64(c, GM_KEY_SEED);
    GM_TRY(gm_synth(&(gm_synth_options) { .split = "train", .seed = seed, .count = count }, train, err));
    return gm_synth(&(gm_synth_options) { .split = "dev", .seed = seed, .count = (count + 3) / 4 }, dev, err);
}

gm_status gm_run_read_records(const gm_config *c, gm_records *train, gm_records *dev, gm_err *err)
{
    char *text = NULL, *held_out = NULL, *boxes = NULL;
    if (is_synth(c)) return make_synth(c, train, dev, err);
    gm_status status = place(c, GM_KEY_DATA_TRAIN, &text, err);
    if (status == GM_OK) status = place(c, GM_KEY_DATA_DEV, &held_out, err);
    if (status == GM_OK) status = place(c, GM_KEY_DATA_BOXES, &boxes, err);
    if (status == GM_OK && text == NULL)
        status = gm_fail(err, GM_ERR_CONFIG, "data.train is not set: name the training file, or use data.format=synth");
    const bool is_ccks = strcmp(gm_config_str(c, GM_KEY_DATA_FORMAT), "ccks") == 0;
    if (status == GM_OK) status = read_file(c, text, boxes, is_ccks ? held_out : NULL, "train", train, err);
    if (status == GM_OK && held_out != NULL) status = read_file(c, held_out, boxes, NULL, "dev", dev, err);
    gm_free(text);
    gm_free(held_out);
    gm_free(boxes);
    return status;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* All types, or fine types, that occur, sorted. */
static gm_status collect_types(const gm_records *all, bool is_fine, gm_buffer *list, gm_err *err)
{
    const char *const kind = is_fine ? "fine type" : "entity";
    const char *names[GM_MAX_TYPES];
    int count = 0;
    for (size_t i = 0; i < all->count; i++)
        for (int32_t k = 0; k < all->items[i].entity_count; k++) {
            const char *type = is_fine ? all->items[i].entities[k].fine : all->items[i].entities[k].type;
            int at = 0;
            if (type == NULL) continue;
            while (at < count && strcmp(names[at], type) != 0) at++;
            if (at < count) continue;
            if (count == GM_MAX_TYPES)
                return gm_fail(err, GM_ERR_DATA, "the training data has more than %d %ss", GM_MAX_TYPES, is_fine ? kind : "entity type");
            names[count++] = type;
        }
    if (count == 0)
        return gm_fail(err, GM_ERR_DATA, "the training data has no %s at all: nothing can be learnt from it", kind);
    qsort(names, (size_t)count, sizeof *names, by_name);
    for (int i = 0; i < count; i++) GM_TRY(gm_buffer_printf(list, err, "%s%s", i > 0 ? "," : "", names[i]));
    return GM_OK;
}

gm_status gm_run_label_list(const gm_config *c, const gm_records *train, gm_buffer *list, gm_err *err)
{
    const char *fixed = gm_labels_of_format(gm_config_str(c, GM_KEY_DATA_FORMAT));
    return fixed != NULL ? gm_buffer_printf(list, err, "%s", fixed) : collect_types(train, false, list, err);
}

gm_status gm_run_fine_list(const gm_records *train, gm_buffer *list, gm_err *err) { return collect_types(train, true, list, err); }
