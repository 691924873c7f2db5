/* The note of a shard is one small JSON object, written before the file that it describes takes its name: a file under its own
 * name has its note, and the sum in the note tells a file of an earlier run from the one that was meant. */
#include "infer/shard.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/parse.h"

gm_status gm_shard_parse(const char *text, gm_shard *s, gm_err *err)
{
    char left[32];
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof left)
        return gm_fail(err, GM_ERR_USAGE, "--shard is i/n with i from 0, not \"%s\"", text);
    memcpy(left, text, (size_t)(slash - text));
    left[slash - text] = '\0';
    if (gm_parse_int(left, &s->index, err) != GM_OK || gm_parse_int(slash + 1, &s->count, err) != GM_OK ||
        s->index < 0 || s->index >= s->count)
        return gm_fail(err, GM_ERR_USAGE, "--shard is i/n with 0 <= i < n, not \"%s\"", text);
    return GM_OK;
}

void gm_shard_hex(gm_sha256 *h, char text[65])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[32];
    gm_sha256_end(h, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[64] = '\0';
}

void gm_shard_name_model(const gm_model *m, char text[65])
{
    gm_sha256 h;
    gm_sha256_begin(&h);
    for (int32_t i = 0; i < m->labels.count; i++) gm_sha256_add(&h, m->labels.names[i], strlen(m->labels.names[i]) + 1);
    for (int32_t i = 0; i < m->params.count; i++) {
        const gm_param *p = m->params.items[i];
        gm_sha256_add(&h, p->spec.part[0], strlen(p->spec.part[0]) + 1);
        gm_sha256_add(&h, p->value, p->count * sizeof *p->value);
    }
    gm_shard_hex(&h, text);
}

static char *note_path(const char *file)
{
    static const char ending[] = ".shard.json";
    const size_t n = strlen(file);
    char *path = gm_malloc(n + sizeof ending);
    if (path == NULL) return NULL;
    memcpy(path, file, n);
    memcpy(path + n, ending, sizeof ending);
    return path;
}

static gm_status write_note(const gm_shard_note *n, const char *path, gm_err *err)
{
    gm_out out = { 0 };
    GM_TRY(gm_out_open(&out, path, err));
    const gm_status status = gm_out_printf(&out, err,
                                           "{\"gmner_shard\": 1, \"index\": %lld, \"count\": %lld, \"records\": %lld,\n"
                                           " \"sha256\": \"%s\",\n \"model\": \"%s\",\n \"settings\": \"%s\"}\n",
                                           (long long)n->shard.index, (long long)n->shard.count, (long long)n->records, n->sha256, n->model,
                                           n->settings);
    if (status == GM_OK) return gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

gm_status gm_shard_note_write(const gm_shard_note *n, const char *file, gm_err *err)
{
    char *path = note_path(file);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = write_note(n, path, err);
    gm_free(path);
    return status;
}

static bool take_number(const cJSON *all, const char *key, int64_t *to)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(all, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0.0 && item->valuedouble <= 9e15)) return false;
    *to = (int64_t)item->valuedouble;
    return true;
}

static bool take_text(const cJSON *all, const char *key, char *to, size_t size)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(all, key);
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= size) return false;
    memcpy(to, item->valuestring, strlen(item->valuestring) + 1);
    return true;
}

static gm_status read_note(const char *path, gm_shard_note *n, gm_err *err)
{
    char *text = NULL;
    size_t size;
    cJSON *all = NULL;
    int64_t version = 0;
    GM_TRY(gm_file_read(path, &text, &size, err));
    gm_status status = gm_json_parse(text, size, &all, err);
    if (status != GM_OK) gm_fail_at(err, "%s", path);
    else if (!take_number(all, "gmner_shard", &version) || version != 1 || !take_number(all, "index", &n->shard.index) ||
             !take_number(all, "count", &n->shard.count) || n->shard.index >= n->shard.count || !take_number(all, "records", &n->records) ||
             !take_text(all, "sha256", n->sha256, sizeof n->sha256) || !take_text(all, "model", n->model, sizeof n->model) ||
             !take_text(all, "settings", n->settings, sizeof n->settings))
        status = gm_fail(err, GM_ERR_FORMAT, "%s: is no note of a shard that this version knows (gmner_shard 1): predict the shard again", path);
    cJSON_Delete(all);
    gm_free(text);
    return status;
}

gm_status gm_shard_note_read(const char *file, gm_shard_note *n, bool *found, gm_err *err)
{
    char *path = note_path(file);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    *found = gm_path_exists(path);
    const gm_status status = *found ? read_note(path, n, err) : GM_OK;
    gm_free(path);
    return status;
}
