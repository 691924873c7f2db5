#include "model/vit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gather/gather_op.h"
#include "image_embedding/image_embedding_op.h"
#include "model/vit_layer.h"
#include "patches/patches_op.h"
#include "residual_norm/residual_norm_op.h"

static const gm_layer_names names = { .attention = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj" },
                                      .norm1 = "layer_norm1", .up = "mlp.fc1", .down = "mlp.fc2", .norm2 = "layer_norm2" };

/* How many letters of a prefix stand before "vision_model.", its end; all where it does not end so. */
static size_t outer(const char *prefix)
{
    static const char inner[] = "vision_model.";
    const size_t n = strlen(prefix), end = strlen(inner);
    return n >= end && strcmp(prefix + n - end, inner) == 0 ? n - end : n;
}

/* First values as CLIP's: the table of positions and the patches' filters .02, all else by the columns that are summed. */
static gm_status declare_embedding(gm_vit *v, const gm_declarer *d)
{
    static const char *const patch[GM_PARAM_MAX_PARTS] = { "embeddings.patch_embedding.weight" };
    static const char *const token[GM_PARAM_MAX_PARTS] = { "embeddings.class_embedding" };
    static const char *const position[GM_PARAM_MAX_PARTS] = { "embeddings.position_embedding.weight" };
    const gm_vit_config *c = &v->config;
    GM_TRY(gm_declare(d, token, c->hidden, 1, (gm_param_spec){ .is_vector = true, .init = GM_INIT_NORMAL, .sigma = d->sigma }, &v->class_token));
    GM_TRY(gm_declare(d, patch, c->hidden, 3 * c->patch * c->patch,
                      (gm_param_spec){ .decays = true, .side = c->patch, .init = GM_INIT_NORMAL, .sigma = 0.02f }, &v->patch));
    GM_TRY(gm_declare(d, position, 1 + gm_vit_patches(c), c->hidden, (gm_param_spec){ .decays = true, .init = GM_INIT_NORMAL, .sigma = 0.02f }, &v->position));
    return gm_declare_norm(d, "pre_layrnorm", c->hidden, &v->pre, &v->pre_bias); /* so it is spelt in the files */
}

gm_status gm_vit_declare(gm_vit *v, gm_params *ps, const char *prefix, bool is_frozen, gm_err *err)
{
    const gm_vit_config *c = &v->config;
    gm_declarer d = { .ps = ps, .rate = v->rate, .is_frozen = is_frozen, .sigma = 1.0f / sqrtf((float)c->hidden), .err = err };
    if (strlen(prefix) >= sizeof v->prefix) return gm_fail(err, GM_ERR_CONFIG, "\"%s\" is too long for the prefix of an image encoder's names", prefix);
    if (v->is_projected && c->projection == 0)
        return gm_fail(err, GM_ERR_CONFIG, "the image encoder has no projection: its config.json names no \"projection_dim\"");
    snprintf(v->prefix, sizeof v->prefix, "%s", prefix);
    snprintf(d.prefix, sizeof d.prefix, "%s", prefix);
    v->is_frozen = is_frozen;
    v->first_param = ps->count;
    GM_TRY(declare_embedding(v, &d));
    for (int32_t i = 0; i < c->layers; i++) {
        snprintf(d.prefix, sizeof d.prefix, "%sencoder.layers.%d.", prefix, i);
        GM_TRY(gm_declare_layer(&d, &names, c->hidden, c->ffn, &v->layer[i]));
    }
    snprintf(d.prefix, sizeof d.prefix, "%s", prefix);
    GM_TRY(gm_declare_norm(&d, "post_layernorm", c->hidden, &v->post, &v->post_bias));
    d.prefix[outer(prefix)] = '\0';
    if (v->is_projected) GM_TRY(gm_declare_matrix(&d, "visual_projection.weight", c->projection, c->hidden, &v->project));
    v->params = ps->count - v->first_param;
    return GM_OK;
}

/* What stands before the vision model's names in a file: its own files have nothing, those of larger models their names. */
static const char *prefix_in(const gm_vit *v, const gm_safetensors *st)
{
    const char *const known[] = { v->prefix, "vision_model.", "clip.vision_model.", "model.vision_model.", "clip_model.vision_model.", "" };
    for (size_t i = 0; i < GM_LEN(known); i++) {
        char name[128];
        snprintf(name, sizeof name, "%sembeddings.patch_embedding.weight", known[i]);
        if (gm_safetensors_find(st, name) != NULL) return known[i];
    }
    return known[1];
}

gm_status gm_vit_load(const gm_vit *v, gm_params *ps, const gm_safetensors *st, gm_err *err)
{
    const char *theirs = prefix_in(v, st);
    char ours_outside[sizeof v->prefix], theirs_outside[sizeof v->prefix];
    const int32_t inside = v->params - (v->is_projected ? 1 : 0);
    GM_TRY(gm_params_load_as(ps, v->first_param, inside, st, v->prefix, theirs, err));
    snprintf(ours_outside, sizeof ours_outside, "%.*s", (int)outer(v->prefix), v->prefix);
    snprintf(theirs_outside, sizeof theirs_outside, "%.*s", (int)outer(theirs), theirs);
    return gm_params_load_as(ps, v->first_param + inside, v->params - inside, st, ours_outside, theirs_outside, err);
}

/* sum + x and its norm. Dropout has no site here. */
static gm_status add(gm_tape *t, const gm_pack *rows, gm_tensor *x, gm_tensor *sum, const gm_param *w, const gm_param *b, float eps, gm_vit_stream *to)
{
    return gm_op_residual_norm(t, rows, x, sum, w, b, eps, (gm_norm_sites){ 0 }, &to->sum, &to->norm);
}

gm_status gm_vit_enter(const gm_vit *v, gm_tape *t, const gm_pack *rows, gm_tensor *x, gm_vit_stream *s)
{
    return add(t, rows, x, NULL, v->layer[0].norm1, v->layer[0].norm1_bias, v->config.eps, s);
}

static gm_status embed(const gm_vit *v, gm_tape *t, const gm_pack *images, const uint8_t *pixels, gm_pack **tokens, gm_vit_stream *s)
{
    const gm_vit_config *c = &v->config;
    gm_pixel_norm norm;
    gm_tensor *patches, *x, *first;
    memcpy(norm.mean, c->mean, sizeof norm.mean);
    memcpy(norm.std, c->std, sizeof norm.std);
    GM_TRY(gm_op_patches(t, images, pixels, c->image, c->patch, norm, tokens, &patches));
    GM_TRY(gm_op_linear(t, patches, v->patch, NULL, GM_LINEAR_PLAIN, &x));
    GM_TRY(gm_op_image_embedding(t, images, x, v->class_token, v->position));
    GM_TRY(gm_op_residual_norm(t, *tokens, x, NULL, v->pre, v->pre_bias, c->eps, (gm_norm_sites){ 0 }, NULL, &first));
    return gm_vit_enter(v, t, *tokens, first, s);
}

gm_status gm_vit_layer(const gm_vit *v, int32_t i, gm_tape *t, const gm_pack *rows, gm_vit_stream *s)
{
    const gm_vit_config *c = &v->config;
    const gm_encoder_layer *l = &v->layer[i], *next = &v->layer[i + 1];
    gm_tensor *attended, *down;
    GM_TRY(gm_layer_attention(l, i, c->heads, t, rows, NULL, s->norm, &attended));
    GM_TRY(add(t, rows, attended, s->sum, l->norm2, l->norm2_bias, c->eps, s));
    GM_TRY(gm_layer_ffn(l, c->activation, t, s->norm, &down));
    return add(t, rows, down, s->sum, next->norm1, next->norm1_bias, c->eps, s);
}

/* In prediction sum and norm move into the buffers that they came from, and the layer's memory is free again. */
static gm_status run_layers(const gm_vit *v, gm_tape *t, const gm_pack *tokens, gm_vit_stream *s)
{
    for (int32_t i = 0; i < v->config.layers - 1; i++) {
        const gm_mark mark = gm_arena_mark(t->arena);
        gm_vit_stream y = *s;
        GM_TRY(gm_vit_layer(v, i, t, tokens, &y));
        if (gm_tape_records(t)) {
            *s = y;
            continue;
        }
        GM_TRY(gm_tape_move(t, y.sum, s->sum));
        GM_TRY(gm_tape_move(t, y.norm, s->norm));
        gm_arena_release(t->arena, mark);
    }
    return GM_OK;
}

/* The last layer. Only its class tokens are asked for, so behind attention it works on them alone; an image's rows begin with
 * its class token, so their places are the offsets. */
static gm_status last_layer(const gm_vit *v, gm_tape *t, const gm_pack *tokens, const gm_pack *images, gm_vit_stream s, gm_tensor **states)
{
    const gm_vit_config *c = &v->config;
    const int32_t last = c->layers - 1;
    const gm_encoder_layer *l = &v->layer[last];
    gm_tensor *mixed, *of_class, *residual, *attended, *down;
    GM_TRY(gm_layer_mix(l, last, c->heads, t, tokens, NULL, s.norm, &mixed));
    GM_TRY(gm_op_gather(t, mixed, images, tokens->cu, 0, &of_class));
    GM_TRY(gm_op_gather(t, s.sum, images, tokens->cu, 0, &residual));
    GM_TRY(gm_op_linear(t, of_class, l->out, l->out_bias, GM_LINEAR_PLAIN, &attended));
    GM_TRY(add(t, images, attended, residual, l->norm2, l->norm2_bias, c->eps, &s));
    GM_TRY(gm_layer_ffn(l, c->activation, t, s.norm, &down));
    GM_TRY(add(t, images, down, s.sum, v->post, v->post_bias, c->eps, &s));
    *states = s.norm;
    return v->is_projected ? gm_op_linear(t, s.norm, v->project, NULL, GM_LINEAR_PLAIN, states) : GM_OK;
}

static gm_status run(const gm_vit *v, gm_tape *t, const gm_pack *images, const uint8_t *pixels, gm_tensor **states)
{
    gm_pack *tokens;
    gm_vit_stream s;
    GM_TRY(embed(v, t, images, pixels, &tokens, &s));
    GM_TRY(run_layers(v, t, tokens, &s));
    return last_layer(v, t, tokens, images, s, states);
}

/* All that is made on the way is given back. */
static gm_status predict(const gm_vit *v, gm_tape *t, const gm_pack *images, const uint8_t *pixels, gm_tensor **states)
{
    gm_tensor *made;
    GM_TRY(gm_tape_tensor(t, images, gm_vit_columns(v), states));
    const gm_mark mark = gm_arena_mark(t->arena);
    GM_TRY(run(v, t, images, pixels, &made));
    GM_TRY(gm_tape_move(t, made, *states));
    gm_arena_release(t->arena, mark);
    return GM_OK;
}

gm_status gm_vit_forward(const gm_vit *v, gm_tape *t, const gm_pack *images, const uint8_t *pixels, gm_tensor **states)
{
    gm_grads *const grads = t->grads;
    const float dropout = t->dropout;
    t->dropout = 0.0f; /* attention would take it, as the text's does */
    if (v->is_frozen) t->grads = NULL;
    const gm_status status = gm_tape_records(t) ? run(v, t, images, pixels, states) : predict(v, t, images, pixels, states);
    t->grads = grads;
    t->dropout = dropout;
    return status;
}
