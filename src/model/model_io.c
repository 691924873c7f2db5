/* Making, reading and writing model folders. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "model/model.h"
#include "model/tiny.h"

enum { FORMAT_VERSION = 1 };

/* Reads folder/name; *bytes is the caller's. */
static gm_status read_in(const char *folder, const char *name, char **bytes, size_t *size, gm_err *err)
{
    char *path = gm_path_join(folder, name);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = gm_file_read(path, bytes, size, err);
    gm_free(path);
    return status;
}

/* Sizes of the encoder from the text that the model holds, checked against its tokenizer. */
static gm_status understand(gm_model *m, const char *folder, gm_err *err)
{
    gm_encoder_config *c = &m->encoder.config;
    char *config = gm_path_join(folder, "config.json");
    gm_status status = config != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (status == GM_OK) status = gm_encoder_read_config(config, m->config_json, m->config_size, c, err);
    if (status == GM_OK && gm_tokenizer_size(m->tokenizer) > c->vocabulary)
        status = gm_fail(err, GM_ERR_FORMAT, "%s/%s: %d pieces, but config.json says \"vocab_size\" %d", folder,
                         gm_tokenizer_file_at(m->tokenizer, 0).name, gm_tokenizer_size(m->tokenizer), c->vocabulary);
    if (status == GM_OK && m->options.max_len > gm_encoder_max_len(c))
        status = gm_fail(err, GM_ERR_CONFIG, "max_len is %d, but the encoder in %s has %d positions", m->options.max_len, folder, gm_encoder_max_len(c));
    gm_free(config);
    return status;
}

/* config.json and the tokenizer of a folder. */
static gm_status read_folder(gm_model *m, const char *folder, gm_err *err)
{
    GM_TRY(read_in(folder, "config.json", &m->config_json, &m->config_size, err));
    GM_TRY(gm_tokenizer_load(folder, &m->tokenizer, err));
    return understand(m, folder, err);
}

/* One table for the word before, the word and the one behind, in files three. */
static gm_status declare_shapes(gm_model *m, const char *const names[GM_SHAPE_BAG], const gm_param **table, gm_err *err)
{
    gm_param_spec spec = { .rows = GM_SHAPE_BAG * GM_SHAPES, .cols = m->encoder.config.hidden, .rate = GM_RATE_HEAD, .decays = true,
                           .init = GM_INIT_NORMAL, .sigma = 0.02f };
    for (int k = 0; k < GM_SHAPE_BAG; k++) spec.part[k] = names[k];
    gm_param *made;
    GM_TRY(gm_params_add(&m->params, &spec, &made, err));
    *table = made;
    return GM_OK;
}

static gm_status declare_fine(gm_model *m, gm_err *err)
{
    const gm_param_spec matrix = { .part = { "fine.out.weight" }, .rows = m->fine_labels.count, .cols = GM_SPAN_HIDDEN, .rate = GM_RATE_HEAD, .decays = true,
                                   .init = GM_INIT_NORMAL, .sigma = 0.02f };
    const gm_param_spec bias = { .part = { "fine.out.bias" }, .rows = m->fine_labels.count, .cols = 1, .rate = GM_RATE_HEAD, .is_vector = true, .init = GM_INIT_ZERO };
    GM_TRY(gm_params_add(&m->params, &matrix, &m->fine, err));
    return gm_params_add(&m->params, &bias, &m->fine_bias, err);
}

/* The heads that ask about entities. */
static gm_status declare_askers(gm_model *m, int32_t hidden, gm_err *err)
{
    const bool sees = m->options.vision != GM_VISION_NONE, is_fine = m->fine_labels.count > 0;
    int32_t look = m->options.feature_width;
    if ((sees || is_fine) && m->options.head == GM_HEAD_CRF) GM_TRY(gm_span_body_declare(&m->span.body, &m->params, hidden, err));
    if (m->options.vision == GM_VISION_TINY) {
        GM_TRY(gm_vit_preset("vit-tiny", &m->vit.config, err));
        m->vit.rate = GM_RATE_HEAD;
        look = gm_vit_columns(&m->vit);
        GM_TRY(gm_vit_declare(&m->vit, &m->params, "vision_model.", false, err));
    }
    m->region.debias = m->options.debias;
    if (sees) GM_TRY(gm_region_head_declare(&m->region, &m->params, look, hidden, GM_SPAN_HIDDEN, err));
    return is_fine ? declare_fine(m, err) : GM_OK;
}

static gm_status declare_all(gm_model *m, bool with_pooler, bool with_moments, gm_err *err)
{
    const int32_t hidden = m->encoder.config.hidden;
    m->encoder.recomputes = m->options.recomputes;
    GM_TRY(gm_encoder_declare(&m->encoder, &m->params, with_pooler, m->options.dense_embedding, err));
    m->encoder_params = m->params.count;
    static const char *const of_pieces[] = { "shape.piece.before.weight", "shape.piece.word.weight", "shape.piece.behind.weight" };
    static const char *const of_words[] = { "shape.word.before.weight", "shape.word.word.weight", "shape.word.behind.weight" };
    if (m->options.shape == GM_SHAPE_OF_BOTH) GM_TRY(declare_shapes(m, of_pieces, &m->encoder.shape, err));
    if (m->options.shape != GM_SHAPE_UNUSED) GM_TRY(declare_shapes(m, of_words, &m->shape, err));
    if (m->options.head == GM_HEAD_CRF)
        GM_TRY(gm_crf_head_declare(&m->crf, &m->params, hidden, m->labels.count, m->options.scheme, err));
    else
        GM_TRY(gm_span_head_declare(&m->span, &m->params, hidden, m->labels.count, err));
    GM_TRY(declare_askers(m, hidden, err));
    return gm_params_allocate(&m->params, with_moments, err);
}

static bool has_tensor(const gm_safetensors *st, const char *prefix, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return gm_safetensors_find(st, full) != NULL;
}

/* Files of BertForSomething carry "bert." before every name of the encoder. */
static const char *encoder_prefix(const gm_model *m, const gm_safetensors *st)
{
    const char *prefix = m->encoder.config.family->prefix;
    return has_tensor(st, prefix, "embeddings.word_embeddings.weight") ? prefix : "";
}

static gm_status load_encoder(gm_model *m, const gm_safetensors *st, gm_err *err)
{
    const char *prefix = encoder_prefix(m, st);
    GM_TRY(declare_all(m, has_tensor(st, prefix, "pooler.dense.weight"), true, err));
    gm_params_randomise(&m->params, m->encoder_params, m->options.seed);
    return gm_params_load(&m->params, m->encoder_params, st, prefix, err);
}

static gm_status open_weights(const char *folder, gm_safetensors **st, gm_err *err)
{
    char *path = gm_path_join(folder, "model.safetensors");
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = gm_safetensors_open(path, st, err);
    gm_free(path);
    return status;
}

static gm_status parse_labels(gm_model *m, const char *labels, gm_err *err)
{
    const char *fine = m->options.fine;
    m->options.fine = NULL; /* the caller's memory */
    GM_TRY(gm_labels_parse(labels, &m->labels, err));
    return fine != NULL ? gm_labels_parse(fine, &m->fine_labels, err) : GM_OK;
}

static gm_status create(const char *folder, const char *labels, gm_model *m, gm_err *err)
{
    gm_safetensors *st = NULL;
    if (!gm_path_is_dir(folder))
        return gm_fail(err, GM_ERR_IO, "encoder: there is no folder %s; `tools/get-weights minilm` brings the default one to weights/minilm", folder);
    GM_TRY(parse_labels(m, labels, err));
    GM_TRY(read_folder(m, folder, err));
    GM_TRY(open_weights(folder, &st, err));
    const gm_status status = load_encoder(m, st, err);
    gm_safetensors_close(st);
    return status;
}

gm_status gm_model_create(const char *folder, const char *labels, const gm_model_options *o, gm_model *m, gm_err *err)
{
    *m = (gm_model){ .options = *o };
    const gm_status status = create(folder, labels, m, err);
    if (status != GM_OK) gm_model_destroy(m);
    return status;
}

gm_status gm_model_create_bare(const char *place, const char *json, size_t size, const char *labels, const gm_model_options *o, gm_model *m, gm_err *err)
{
    *m = (gm_model){ .options = *o };
    gm_status status = parse_labels(m, labels, err);
    if (status == GM_OK) status = gm_encoder_read_config(place, json, size, &m->encoder.config, err);
    if (status == GM_OK) status = declare_all(m, false, true, err);
    if (status != GM_OK) gm_model_destroy(m);
    return status;
}

static gm_status create_tiny(const gm_records *records, const char *labels, gm_model *m, gm_err *err)
{
    char *vocab = NULL;
    size_t size = 0;
    GM_TRY(parse_labels(m, labels, err));
    GM_TRY(gm_tiny_files(records, &m->config_json, &m->config_size, &vocab, &size, err));
    const gm_status status = gm_tokenizer_parse_bert("tiny/vocab.txt", vocab, size, true, &m->tokenizer, err);
    gm_free(vocab);
    GM_TRY(status);
    GM_TRY(understand(m, "tiny", err));
    GM_TRY(declare_all(m, false, true, err));
    gm_params_randomise(&m->params, 0, m->options.seed);
    return GM_OK;
}

gm_status gm_model_create_tiny(const gm_records *records, const char *labels, const gm_model_options *o, gm_model *m, gm_err *err)
{
    *m = (gm_model){ .options = *o };
    const gm_status status = create_tiny(records, labels, m, err);
    if (status != GM_OK) gm_model_destroy(m);
    return status;
}

static gm_status write_names(const gm_labels *l, gm_buffer *out, gm_err *err)
{
    for (int32_t i = 0; i < l->count; i++) {
        if (i > 0) GM_TRY(gm_buffer_printf(out, err, ", "));
        GM_TRY(gm_buffer_json_string(out, l->names[i], err));
    }
    return GM_OK;
}

static gm_status write_vision(const gm_model *m, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, ",\n  \"vision\": { \"kind\": \"%s\", \"regions\": %d, \"width\": %d", gm_vision_names[m->options.vision],
                            m->options.max_regions, m->options.feature_width));
    if (m->vision_folder != NULL) {
        GM_TRY(gm_buffer_printf(out, err, ", \"encoder\": "));
        GM_TRY(gm_buffer_json_string(out, m->vision_folder, err));
        GM_TRY(gm_buffer_printf(out, err, ", \"weights\": \"%016llx\"", (unsigned long long)m->vision_weights));
    }
    return gm_buffer_printf(out, err, " }");
}

/* gmner.json: what the Hugging Face files do not say. */
static gm_status write_description(const gm_model *m, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "{\n  \"gmner\": %d,\n  \"head\": \"%s\",\n  \"tags\": \"%s\",\n  \"shape\": \"%s\",\n  \"nested\": %s,\n  \"max_len\": %d,\n  \"dropout\": %.9g,\n  \"types\": [",
                            FORMAT_VERSION, m->options.head == GM_HEAD_CRF ? "crf" : "span", m->options.scheme == GM_TAGS_BIOES ? "bioes" : "bio",
                            gm_shape_use_names[m->options.shape],
                            m->options.is_nested ? "true" : "false", m->options.max_len, (double)m->options.dropout));
    GM_TRY(write_names(&m->labels, out, err));
    GM_TRY(gm_buffer_printf(out, err, "]"));
    if (m->options.vision != GM_VISION_NONE) GM_TRY(write_vision(m, out, err));
    if (m->fine_labels.count > 0) {
        GM_TRY(gm_buffer_printf(out, err, ",\n  \"fine\": ["));
        GM_TRY(write_names(&m->fine_labels, out, err));
        GM_TRY(gm_buffer_printf(out, err, "]"));
    }
    return gm_buffer_printf(out, err, "\n}\n");
}

gm_status gm_model_save(const gm_model *m, const char *folder, gm_err *err)
{
    gm_buffer description = { 0 };
    char *weights = gm_path_join(folder, "model.safetensors");
    gm_status status = weights != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (status == GM_OK) status = write_description(m, &description, err);
    if (status == GM_OK) status = gm_params_save(&m->params, weights, NULL, 0, err);
    if (status == GM_OK) status = gm_file_write_in(folder, "config.json", m->config_json, m->config_size, err);
    for (int32_t i = 0; i < gm_tokenizer_file_count(m->tokenizer) && status == GM_OK; i++) {
        const gm_tokenizer_file f = gm_tokenizer_file_at(m->tokenizer, i);
        status = gm_file_write_in(folder, f.name, f.bytes, f.size, err);
    }
    if (status == GM_OK) status = gm_file_write_in(folder, "gmner.json", description.data, description.size, err);
    gm_buffer_free(&description);
    gm_free(weights);
    return status;
}

static bool read_flag(const cJSON *root, const char *key, bool *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsBool(item)) return false;
    *value = cJSON_IsTrue(item);
    return true;
}

/* A word among two: false when it is neither. */
static bool read_choice(const cJSON *root, const char *key, const char *no, const char *yes, bool *is_yes)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsString(item)) return false;
    *is_yes = strcmp(item->valuestring, yes) == 0;
    return *is_yes || strcmp(item->valuestring, no) == 0;
}

/* Folders written before there were shapes do not have the key: their models have none. */
static gm_status read_shape(const cJSON *root, gm_shape_use *use, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "shape");
    *use = GM_SHAPE_UNUSED;
    if (item == NULL) return GM_OK;
    for (gm_shape_use k = 0; k < GM_SHAPE_USES && cJSON_IsString(item); k++)
        if (strcmp(item->valuestring, gm_shape_use_names[k]) == 0) {
            *use = k;
            return GM_OK;
        }
    return gm_fail(err, GM_ERR_FORMAT, "\"shape\" is neither \"none\" nor \"word\" nor \"both\"");
}

static gm_status read_types(const cJSON *root, const char *key, gm_labels *labels, gm_err *err)
{
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsArray(types) || types->child == NULL) return gm_fail(err, GM_ERR_FORMAT, "\"%s\" is not an array of names", key);
    const cJSON *item;
    cJSON_ArrayForEach(item, types)
    {
        if (!cJSON_IsString(item)) return gm_fail(err, GM_ERR_FORMAT, "\"%s\" holds something that is not a string", key);
        GM_TRY(gm_labels_add(labels, item->valuestring, strlen(item->valuestring), err));
    }
    return GM_OK;
}

static bool read_count(const cJSON *root, const char *key, int32_t low, int32_t high, int32_t *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high) || floor(item->valuedouble) != item->valuedouble) return false;
    *value = (int32_t)item->valuedouble;
    return true;
}

/* Which encoder computes the features that the model reads; none where they came in files. */
static gm_status read_encoder(gm_model *m, const cJSON *vision, gm_err *err)
{
    const cJSON *folder = cJSON_GetObjectItemCaseSensitive(vision, "encoder"), *weights = cJSON_GetObjectItemCaseSensitive(vision, "weights");
    if (folder == NULL) return GM_OK;
    if (!cJSON_IsString(folder) || !cJSON_IsString(weights) || strspn(weights->valuestring, "0123456789abcdef") != 16 || strlen(weights->valuestring) != 16)
        return gm_fail(err, GM_ERR_FORMAT, "\"vision\": \"encoder\" and \"weights\" are not a folder and 16 hexadecimal digits");
    m->vision_weights = strtoull(weights->valuestring, NULL, 16);
    m->vision_folder = gm_strdup(folder->valuestring);
    return m->vision_folder != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
}

/* Folders of text models do not have the key. */
static gm_status read_vision(gm_model *m, const cJSON *vision, gm_err *err)
{
    const cJSON *kind = cJSON_GetObjectItemCaseSensitive(vision, "kind");
    if (vision == NULL) return GM_OK;
    for (gm_vision_kind k = GM_VISION_FEATURES; k < GM_VISION_KINDS && cJSON_IsString(kind); k++)
        if (strcmp(kind->valuestring, gm_vision_names[k]) == 0) m->options.vision = k;
    if (m->options.vision == GM_VISION_NONE) return gm_fail(err, GM_ERR_FORMAT, "\"vision\": \"kind\" is neither \"features\" nor \"tiny\"");
    if (!read_count(vision, "regions", 1, GM_MAX_REGIONS, &m->options.max_regions))
        return gm_fail(err, GM_ERR_FORMAT, "\"vision\": \"regions\" is not 1 to %d", GM_MAX_REGIONS);
    if (!read_count(vision, "width", m->options.vision == GM_VISION_FEATURES, 1 << 16, &m->options.feature_width))
        return gm_fail(err, GM_ERR_FORMAT, "\"vision\": \"width\" is not the width of a feature");
    return read_encoder(m, vision, err);
}

static gm_status read_description(gm_model *m, const cJSON *root, gm_err *err)
{
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "gmner"), *max_len = cJSON_GetObjectItemCaseSensitive(root, "max_len");
    const cJSON *dropout = cJSON_GetObjectItemCaseSensitive(root, "dropout");
    bool is_crf, is_bioes;
    if (!cJSON_IsNumber(version) || version->valuedouble != FORMAT_VERSION)
        return gm_fail(err, GM_ERR_FORMAT, "\"gmner\" is not %d: the folder was written by another release", FORMAT_VERSION);
    if (!read_choice(root, "head", "span", "crf", &is_crf)) return gm_fail(err, GM_ERR_FORMAT, "\"head\" is neither \"span\" nor \"crf\"");
    if (!read_choice(root, "tags", "bio", "bioes", &is_bioes)) return gm_fail(err, GM_ERR_FORMAT, "\"tags\" is neither \"bio\" nor \"bioes\"");
    GM_TRY(read_shape(root, &m->options.shape, err));
    if (!read_flag(root, "nested", &m->options.is_nested)) return gm_fail(err, GM_ERR_FORMAT, "\"nested\" is missing or not a boolean");
    if (!cJSON_IsNumber(max_len) || !(max_len->valuedouble >= 3 && max_len->valuedouble <= 1 << 20) || floor(max_len->valuedouble) != max_len->valuedouble)
        return gm_fail(err, GM_ERR_FORMAT, "\"max_len\" is missing or not a number of pieces");
    if (!cJSON_IsNumber(dropout) || !(dropout->valuedouble >= 0 && dropout->valuedouble < 1)) return gm_fail(err, GM_ERR_FORMAT, "\"dropout\" is missing or not in [0, 1)");
    m->options.head = is_crf ? GM_HEAD_CRF : GM_HEAD_SPAN;
    m->options.scheme = is_bioes ? GM_TAGS_BIOES : GM_TAGS_BIO;
    m->options.max_len = (int32_t)max_len->valuedouble;
    m->options.dropout = (float)dropout->valuedouble;
    GM_TRY(read_types(root, "types", &m->labels, err));
    if (cJSON_GetObjectItemCaseSensitive(root, "fine") != NULL) GM_TRY(read_types(root, "fine", &m->fine_labels, err));
    return read_vision(m, cJSON_GetObjectItemCaseSensitive(root, "vision"), err);
}

static gm_status load_description(gm_model *m, const char *folder, gm_err *err)
{
    char *text = NULL;
    size_t size = 0;
    cJSON *root = NULL;
    GM_TRY(read_in(folder, "gmner.json", &text, &size, err));
    gm_status status = gm_json_parse(text, size, &root, err);
    if (status == GM_OK) status = read_description(m, root, err);
    if (status != GM_OK && status != GM_ERR_NOMEM) status = gm_fail_at(err, "%s/gmner.json", folder);
    cJSON_Delete(root);
    gm_free(text);
    return status;
}

static gm_status load(const char *folder, bool for_training, gm_model *m, gm_err *err)
{
    gm_safetensors *st = NULL;
    GM_TRY(load_description(m, folder, err));
    GM_TRY(read_folder(m, folder, err));
    GM_TRY(open_weights(folder, &st, err));
    gm_status status = declare_all(m, has_tensor(st, "", "pooler.dense.weight"), for_training, err);
    if (status == GM_OK) status = gm_params_load(&m->params, m->params.count, st, "", err);
    gm_safetensors_close(st);
    return status;
}

gm_status gm_model_load(const char *folder, bool for_training, gm_model *m, gm_err *err)
{
    *m = (gm_model){ 0 };
    char *here = gm_path_join(folder, "gmner.json"), *best = gm_path_join(folder, "best");
    gm_status status = here != NULL && best != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (status == GM_OK && !gm_path_exists(here) && !gm_path_is_dir(best))
        status = gm_fail(err, GM_ERR_IO, "%s: neither a model folder (no gmner.json) nor a run folder (no best/)", folder);
    if (status == GM_OK) status = load(gm_path_exists(here) ? folder : best, for_training, m, err);
    gm_free(here);
    gm_free(best);
    if (status != GM_OK) gm_model_destroy(m);
    return status;
}
