#include "model/bert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attention/attention_op.h"
#include "base/json.h"
#include "embedding/embedding_op.h"
#include "linear/linear_op.h"
#include "model/bert_layer.h"
#include "residual_norm/residual_norm_op.h"

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

static gm_status read_fields(const char *place, const cJSON *root, gm_bert_config *c, gm_err *err)
{
    if (!cJSON_IsObject(root)) return gm_fail(err, GM_ERR_FORMAT, "%s: expected a JSON object", place);
    GM_TRY(expect_text(place, root, "model_type", "bert", err));
    GM_TRY(expect_text(place, root, "hidden_act", "gelu", err));
    GM_TRY(expect_text(place, root, "position_embedding_type", "absolute", err));
    GM_TRY(read_size(place, root, "vocab_size", 4, 10000000, &c->vocabulary, err));
    GM_TRY(read_size(place, root, "hidden_size", 1, 65536, &c->hidden, err));
    GM_TRY(read_size(place, root, "num_hidden_layers", 1, GM_BERT_MAX_LAYERS, &c->layers, err));
    GM_TRY(read_size(place, root, "num_attention_heads", 1, 1024, &c->heads, err));
    GM_TRY(read_size(place, root, "intermediate_size", 1, 1 << 20, &c->ffn, err));
    GM_TRY(read_size(place, root, "max_position_embeddings", 3, 1 << 20, &c->positions, err));
    GM_TRY(read_size(place, root, "type_vocab_size", 1, 1024, &c->types, err));
    if (c->hidden % c->heads != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d", place, c->hidden, c->heads);
    const cJSON *eps = cJSON_GetObjectItemCaseSensitive(root, "layer_norm_eps");
    c->eps = cJSON_IsNumber(eps) ? (float)eps->valuedouble : 1e-12f; /* BERT's own where an older file leaves it out */
    if (eps != NULL && !(cJSON_IsNumber(eps) && eps->valuedouble >= 0 && eps->valuedouble < 1))
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"layer_norm_eps\" is not a number in [0, 1)", place);
    return GM_OK;
}

gm_status gm_bert_read_config(const char *place, const char *json, size_t size, gm_bert_config *c, gm_err *err)
{
    cJSON *root = NULL;
    *c = (gm_bert_config){ 0 };
    if (gm_json_parse(json, size, &root, err) != GM_OK) return gm_fail_at(err, "%s", place);
    const gm_status status = read_fields(place, root, c, err);
    cJSON_Delete(root);
    return status;
}

/* Declares parameters of one model part under a common prefix. */
typedef struct declarer { gm_params *ps; char prefix[64]; gm_err *err; } declarer;

static gm_status declare(const declarer *d, const char *const *names, int32_t rows, int32_t cols, gm_param_spec kind, gm_param **p)
{
    char full[GM_PARAM_MAX_PARTS][128];
    kind.rows = rows;
    kind.cols = cols;
    kind.rate = GM_RATE_ENCODER;
    for (int k = 0; k < GM_PARAM_MAX_PARTS && names[k] != NULL; k++) {
        snprintf(full[k], sizeof full[k], "%s%s", d->prefix, names[k]);
        kind.part[k] = full[k];
    }
    return gm_params_add(d->ps, &kind, p, d->err);
}

static gm_status matrix(const declarer *d, const char *name, int32_t rows, int32_t cols, gm_param **p)
{
    const char *const names[GM_PARAM_MAX_PARTS] = { name };
    return declare(d, names, rows, cols, (gm_param_spec){ .decays = true, .init = GM_INIT_NORMAL, .sigma = 0.02f }, p);
}

static gm_status vector(const declarer *d, const char *name, int32_t size, gm_init_kind init, gm_param **p)
{
    const char *const names[GM_PARAM_MAX_PARTS] = { name };
    return declare(d, names, size, 1, (gm_param_spec){ .is_vector = true, .init = init }, p);
}

static gm_status norm(const declarer *d, const char *weight, const char *bias, int32_t size, gm_param **w, gm_param **b)
{
    GM_TRY(vector(d, weight, size, GM_INIT_ONE, w));
    return vector(d, bias, size, GM_INIT_ZERO, b);
}

static gm_status declare_layer(const declarer *d, const gm_bert_config *c, gm_bert_layer *l)
{
    static const char *const qkv[] = { "attention.self.query.weight", "attention.self.key.weight", "attention.self.value.weight" };
    static const char *const qkv_bias[] = { "attention.self.query.bias", "attention.self.key.bias", "attention.self.value.bias" };
    GM_TRY(declare(d, qkv, 3 * c->hidden, c->hidden, (gm_param_spec){ .decays = true, .init = GM_INIT_NORMAL, .sigma = 0.02f }, &l->qkv));
    GM_TRY(declare(d, qkv_bias, 3 * c->hidden, 1, (gm_param_spec){ .is_vector = true, .init = GM_INIT_ZERO }, &l->qkv_bias));
    GM_TRY(matrix(d, "attention.output.dense.weight", c->hidden, c->hidden, &l->out));
    GM_TRY(vector(d, "attention.output.dense.bias", c->hidden, GM_INIT_ZERO, &l->out_bias));
    GM_TRY(norm(d, "attention.output.LayerNorm.weight", "attention.output.LayerNorm.bias", c->hidden, &l->norm1, &l->norm1_bias));
    GM_TRY(matrix(d, "intermediate.dense.weight", c->ffn, c->hidden, &l->up));
    GM_TRY(vector(d, "intermediate.dense.bias", c->ffn, GM_INIT_ZERO, &l->up_bias));
    GM_TRY(matrix(d, "output.dense.weight", c->hidden, c->ffn, &l->down));
    GM_TRY(vector(d, "output.dense.bias", c->hidden, GM_INIT_ZERO, &l->down_bias));
    return norm(d, "output.LayerNorm.weight", "output.LayerNorm.bias", c->hidden, &l->norm2, &l->norm2_bias);
}

gm_status gm_bert_declare(gm_bert *bert, gm_params *ps, bool with_pooler, bool dense_embedding, gm_err *err)
{
    static const char *const word[GM_PARAM_MAX_PARTS] = { "embeddings.word_embeddings.weight" };
    const gm_bert_config *c = &bert->config;
    declarer d = { .ps = ps, .prefix = "", .err = err };
    GM_TRY(declare(&d, word, c->vocabulary, c->hidden, (gm_param_spec){ .decays = true, .is_table = !dense_embedding, .init = GM_INIT_NORMAL, .sigma = 0.02f }, &bert->word));
    GM_TRY(matrix(&d, "embeddings.position_embeddings.weight", c->positions, c->hidden, &bert->position));
    GM_TRY(matrix(&d, "embeddings.token_type_embeddings.weight", c->types, c->hidden, &bert->type));
    GM_TRY(norm(&d, "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias", c->hidden, &bert->norm, &bert->norm_bias));
    for (int32_t i = 0; i < c->layers; i++) {
        snprintf(d.prefix, sizeof d.prefix, "encoder.layer.%d.", i);
        GM_TRY(declare_layer(&d, c, &bert->layer[i]));
    }
    if (!with_pooler) return GM_OK;
    static const char *const pooler[] = { "pooler.dense.weight", NULL }, *const pooler_bias[] = { "pooler.dense.bias", NULL };
    gm_param *unused;
    d.prefix[0] = '\0';
    GM_TRY(declare(&d, pooler, c->hidden, c->hidden, (gm_param_spec){ .is_frozen = true }, &unused));
    return declare(&d, pooler_bias, c->hidden, 1, (gm_param_spec){ .is_frozen = true, .is_vector = true }, &unused);
}

gm_status gm_bert_attention_block(const gm_bert *bert, int32_t i, gm_tape *t, const gm_pack *tokens, gm_tensor *x, gm_tensor **x1)
{
    const gm_bert_layer *l = &bert->layer[i];
    gm_tensor *qkv, *mixed, *attended;
    GM_TRY(gm_op_linear(t, x, l->qkv, l->qkv_bias, GM_LINEAR_PLAIN, &qkv));
    GM_TRY(gm_op_self_attention(t, tokens, qkv, bert->config.heads, i, &mixed));
    GM_TRY(gm_op_linear(t, mixed, l->out, l->out_bias, GM_LINEAR_PLAIN, &attended));
    return gm_op_residual_norm(t, tokens, attended, x, l->norm1, l->norm1_bias, bert->config.eps,
                               (gm_norm_sites){ .drop = GM_SITE_ATTENTION_OUT, .layer = i }, NULL, x1);
}

gm_status gm_bert_ffn_block(const gm_bert *bert, int32_t i, gm_tape *t, const gm_pack *tokens, gm_tensor *x1, gm_tensor **y)
{
    const gm_bert_layer *l = &bert->layer[i];
    gm_tensor *up, *down;
    GM_TRY(gm_op_linear(t, x1, l->up, l->up_bias, GM_LINEAR_GELU, &up));
    GM_TRY(gm_op_linear(t, up, l->down, l->down_bias, GM_LINEAR_PLAIN, &down));
    return gm_op_residual_norm(t, tokens, down, x1, l->norm2, l->norm2_bias, bert->config.eps,
                               (gm_norm_sites){ .drop = GM_SITE_FFN_OUT, .layer = i }, NULL, y);
}

gm_status gm_bert_forward(const gm_bert *bert, gm_tape *t, const gm_batch *batch, gm_tensor **states)
{
    const gm_pack *tokens = &batch->tokens;
    gm_tensor *sum, *x;
    GM_TRY(gm_op_embedding(t, tokens, batch->ids, batch->slot, bert->word, bert->position, bert->type, 0, &sum));
    GM_TRY(gm_op_residual_norm(t, tokens, sum, NULL, bert->norm, bert->norm_bias, bert->config.eps,
                               (gm_norm_sites){ .drop_out = GM_SITE_EMBEDDING }, NULL, &x));
    for (int32_t i = 0; i < bert->config.layers; i++) {
        const gm_mark mark = gm_arena_mark(t->arena);
        gm_tensor *x1, *y;
        GM_TRY(gm_bert_attention_block(bert, i, t, tokens, x, &x1));
        GM_TRY(gm_bert_ffn_block(bert, i, t, tokens, x1, &y));
        if (gm_tape_records(t)) {
            x = y;
            continue;
        }
        /* Prediction: the states move into the buffer of the layer's input, and the layer's memory is free again. */
        GM_TRY(gm_tape_move(t, y, x));
        gm_arena_release(t->arena, mark);
    }
    *states = x;
    return GM_OK;
}
