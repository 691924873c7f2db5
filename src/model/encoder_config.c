/* The families of encoders, and config.json of Hugging Face. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "model/encoder.h"

/* All of them call the rest of a layer as BERT does. */
#define LAYER(norm, q, k, v, o) .layer = { { q, k, v, o }, norm, "intermediate.dense", "output.dense", "output.LayerNorm" }
#define BERT_LAYER                                                                                                              \
    LAYER("attention.output.LayerNorm", "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")

/* The first one is meant where "model_type" is missing. */
static const gm_family families[] = {
    { .model_type = "bert", .prefix = "bert.", BERT_LAYER, .has_types = true, .pad = -1 },
    { .model_type = "mpnet",
      .prefix = "mpnet.",
      LAYER("attention.LayerNorm", "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
      .has_distances = true,
      .pad = 1 },
    { .model_type = "roberta", .prefix = "roberta.", BERT_LAYER, .has_types = true, .reads_pad = true, .pad = 1 },
    { .model_type = "xlm-roberta", .prefix = "roberta.", BERT_LAYER, .has_types = true, .reads_pad = true, .pad = 1 },
};

static gm_status read_size(const char *place, const cJSON *object, const char *key, int32_t least, int32_t most, int32_t *value, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) return gm_fail(err, GM_ERR_FORMAT, "%s: \"%s\" is missing or not a number", place, key);
    const double d = item->valuedouble;
    if (!(d >= least && d <= most) || floor(d) != d)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"%s\" is %g, expected a whole number from %d to %d", place, key, d, least, most);
    *value = (int32_t)d;
    return GM_OK;
}

/* A missing key passes: older files leave defaults out. */
static gm_status expect_text(const char *place, const cJSON *object, const char *key, const char *wanted, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL || (cJSON_IsString(item) && strcmp(item->valuestring, wanted) == 0)) return GM_OK;
    return gm_fail(err, GM_ERR_MISSING, "%s: \"%s\" is %s, this release knows \"%s\" only", place, key,
                   cJSON_IsString(item) ? item->valuestring : "not a string", wanted);
}

const gm_family *gm_family_find(const char *model_type)
{
    for (size_t i = 0; i < GM_LEN(families); i++)
        if (strcmp(model_type, families[i].model_type) == 0) return &families[i];
    return NULL;
}

static gm_status read_family(const char *place, const cJSON *root, const gm_family **family, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "model_type");
    const char *name = item == NULL ? families[0].model_type : cJSON_IsString(item) ? item->valuestring : NULL;
    gm_buffer known = { 0 };
    *family = name != NULL ? gm_family_find(name) : NULL;
    if (*family != NULL) return GM_OK;
    for (size_t i = 0; i < GM_LEN(families); i++) GM_TRY(gm_buffer_printf(&known, err, "%s%s", i > 0 ? ", " : "", families[i].model_type));
    gm_fail(err, GM_ERR_MISSING, "%s: \"model_type\" is %s, this release knows %s", place, name != NULL ? name : "not a string", known.data);
    gm_buffer_free(&known);
    return GM_ERR_MISSING;
}

static gm_status read_eps(const char *place, const cJSON *root, float *to, gm_err *err)
{
    const cJSON *eps = cJSON_GetObjectItemCaseSensitive(root, "layer_norm_eps");
    *to = cJSON_IsNumber(eps) ? (float)eps->valuedouble : 1e-12f; /* the default of all families where an older file leaves it out */
    if (eps == NULL || (cJSON_IsNumber(eps) && eps->valuedouble >= 0 && eps->valuedouble < 1)) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT, "%s: \"layer_norm_eps\" is not a number in [0, 1)", place);
}

/* What families have beside BERT's sizes. */
static gm_status read_family_fields(const char *place, const cJSON *root, gm_encoder_config *c, gm_err *err)
{
    int32_t pad = c->family->pad;
    if (c->family->has_types) GM_TRY(read_size(place, root, "type_vocab_size", 1, 1024, &c->types, err));
    if (c->family->reads_pad && cJSON_HasObjectItem(root, "pad_token_id"))
        GM_TRY(read_size(place, root, "pad_token_id", 0, c->vocabulary - 1, &pad, err));
    c->first_position = pad + 1;
    if (gm_encoder_max_len(c) < 3)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"max_position_embeddings\" is %d, but positions begin at %d and a sentence has at least 3 pieces", place,
                       c->positions, c->first_position);
    if (!c->family->has_distances || !cJSON_HasObjectItem(root, "relative_attention_num_buckets")) return GM_OK;
    int32_t buckets;
    GM_TRY(read_size(place, root, "relative_attention_num_buckets", 1, 1 << 20, &buckets, err));
    if (buckets == 32) return GM_OK; /* transformers takes no other number either */
    return gm_fail(err, GM_ERR_MISSING, "%s: \"relative_attention_num_buckets\" is %d, this release knows 32 only", place, buckets);
}

static gm_status read_fields(const char *place, const cJSON *root, gm_encoder_config *c, gm_err *err)
{
    if (!cJSON_IsObject(root)) return gm_fail(err, GM_ERR_FORMAT, "%s: expected a JSON object", place);
    GM_TRY(read_family(place, root, &c->family, err));
    GM_TRY(expect_text(place, root, "hidden_act", "gelu", err));
    GM_TRY(expect_text(place, root, "position_embedding_type", "absolute", err));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "is_decoder")))
        return gm_fail(err, GM_ERR_MISSING, "%s: \"is_decoder\" is true, this release knows encoders only", place);
    GM_TRY(read_size(place, root, "vocab_size", 4, 10000000, &c->vocabulary, err));
    GM_TRY(read_size(place, root, "hidden_size", 1, 65536, &c->hidden, err));
    GM_TRY(read_size(place, root, "num_hidden_layers", 1, GM_ENCODER_MAX_LAYERS, &c->layers, err));
    GM_TRY(read_size(place, root, "num_attention_heads", 1, 1024, &c->heads, err));
    GM_TRY(read_size(place, root, "intermediate_size", 1, 1 << 20, &c->ffn, err));
    GM_TRY(read_size(place, root, "max_position_embeddings", 3, 1 << 20, &c->positions, err));
    if (c->hidden % c->heads != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d", place, c->hidden, c->heads);
    GM_TRY(read_family_fields(place, root, c, err));
    return read_eps(place, root, &c->eps, err);
}

gm_status gm_encoder_read_config(const char *place, const char *json, size_t size, gm_encoder_config *c, gm_err *err)
{
    cJSON *root = NULL;
    *c = (gm_encoder_config){ 0 };
    if (gm_json_parse(json, size, &root, err) != GM_OK) return gm_fail_at(err, "%s", place);
    const gm_status status = read_fields(place, root, c, err);
    cJSON_Delete(root);
    return status;
}

int32_t gm_encoder_max_len(const gm_encoder_config *c) { return c->positions - c->first_position; }
