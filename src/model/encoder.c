#include "model/encoder.h"

#include <stdio.h>
#include <string.h>

#include "embedding/embedding_op.h"
#include "embedding_bag/embedding_bag_op.h"
#include "gather/gather_op.h"
#include "model/encoder_layer.h"
#include "residual_norm/residual_norm_op.h"

/* Distances in MPNet's buckets: each up to 7 alone, then two buckets an octave, 15 for all from 91 on. Half of the 32 are for
 * keys at or before the query. transformers takes logarithms; where its buckets begin is what these numbers are. */
static const gm_distance_buckets distances = { .first = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91 }, .half = 16, .reach = 91 };

static gm_status declare_pooler(const gm_declarer *d, int32_t hidden)
{
    static const char *const weight[GM_PARAM_MAX_PARTS] = { "pooler.dense.weight" }, *const bias[GM_PARAM_MAX_PARTS] = { "pooler.dense.bias" };
    gm_param *unused;
    GM_TRY(gm_declare(d, weight, hidden, hidden, (gm_param_spec){ .is_frozen = true }, &unused));
    return gm_declare(d, bias, hidden, 1, (gm_param_spec){ .is_frozen = true, .is_vector = true }, &unused);
}

gm_status gm_encoder_declare(gm_encoder *e, gm_params *ps, bool with_pooler, bool dense_embedding, gm_err *err)
{
    static const char *const word[GM_PARAM_MAX_PARTS] = { "embeddings.word_embeddings.weight" };
    const gm_encoder_config *c = &e->config;
    gm_declarer d = { .ps = ps, .rate = GM_RATE_ENCODER, .sigma = 0.02f, .err = err };
    GM_TRY(gm_declare(&d, word, c->vocabulary, c->hidden, (gm_param_spec){ .decays = true, .is_table = !dense_embedding, .init = GM_INIT_NORMAL, .sigma = 0.02f }, &e->word));
    GM_TRY(gm_declare_matrix(&d, "embeddings.position_embeddings.weight", c->positions, c->hidden, &e->position));
    if (c->types > 0) GM_TRY(gm_declare_matrix(&d, "embeddings.token_type_embeddings.weight", c->types, c->hidden, &e->type));
    GM_TRY(gm_declare_norm(&d, "embeddings.LayerNorm", c->hidden, &e->norm, &e->norm_bias));
    if (c->family->has_distances) GM_TRY(gm_declare_matrix(&d, "encoder.relative_attention_bias.weight", 2 * distances.half, c->heads, &e->distance));
    for (int32_t i = 0; i < c->layers; i++) {
        snprintf(d.prefix, sizeof d.prefix, "encoder.layer.%d.", i);
        GM_TRY(gm_declare_layer(&d, &c->family->layer, c->hidden, c->ffn, &e->layer[i]));
    }
    d.prefix[0] = '\0';
    return with_pooler ? declare_pooler(&d, c->hidden) : GM_OK;
}

gm_status gm_encoder_attention_block(const gm_encoder *e, int32_t i, gm_tape *t, const gm_pack *tokens, const gm_distances *bias,
                                     gm_tensor *x, gm_tensor **x1)
{
    const gm_encoder_layer *l = &e->layer[i];
    gm_tensor *attended;
    GM_TRY(gm_layer_attention(l, i, e->config.heads, t, tokens, bias, x, &attended));
    return gm_op_residual_norm(t, tokens, attended, x, l->norm1, l->norm1_bias, e->config.eps,
                               (gm_norm_sites){ .drop = GM_SITE_ATTENTION_OUT, .layer = i }, NULL, x1);
}

gm_status gm_encoder_ffn_block(const gm_encoder *e, int32_t i, gm_tape *t, const gm_pack *tokens, gm_tensor *x1, gm_tensor **y)
{
    const gm_encoder_layer *l = &e->layer[i];
    gm_tensor *down;
    GM_TRY(gm_layer_ffn(l, GM_LINEAR_GELU, t, x1, &down));
    return gm_op_residual_norm(t, tokens, down, x1, l->norm2, l->norm2_bias, e->config.eps,
                               (gm_norm_sites){ .drop = GM_SITE_FFN_OUT, .layer = i }, NULL, y);
}

/* A layer as a segment of the tape. */
typedef struct layer_of { const gm_encoder *encoder; const gm_pack *tokens; const gm_distances *bias; int32_t number; } layer_of;

static gm_status run_layer(gm_tape *t, gm_tensor *x, const void *context, gm_tensor **y)
{
    const layer_of *l = context;
    gm_tensor *x1;
    GM_TRY(gm_encoder_attention_block(l->encoder, l->number, t, l->tokens, l->bias, x, &x1));
    return gm_encoder_ffn_block(l->encoder, l->number, t, l->tokens, x1, y);
}

/* Prediction: the states move into the buffer of the layer's input, and the layer's memory is free again. */
static gm_status predict_layer(gm_tape *t, gm_tensor *x, const layer_of *l)
{
    const gm_mark mark = gm_arena_mark(t->arena);
    gm_tensor *y;
    GM_TRY(run_layer(t, x, l, &y));
    GM_TRY(gm_tape_move(t, y, x));
    gm_arena_release(t->arena, mark);
    return GM_OK;
}

/* Pieces' states behind the embedding, and what attention adds by distance (NULL where the family has none). */
static gm_status embed(const gm_encoder *e, gm_tape *t, const gm_batch *batch, gm_distances **bias, gm_tensor **x)
{
    const gm_pack *tokens = &batch->tokens;
    gm_tensor *sum;
    *bias = NULL;
    GM_TRY(gm_op_embedding(t, tokens, batch->ids, batch->slot, e->word, e->position, e->type, e->config.first_position, &sum));
    if (e->shape != NULL) GM_TRY(gm_op_embedding_bag(t, sum, batch->token_shape, GM_SHAPE_BAG, e->shape));
    GM_TRY(gm_op_residual_norm(t, tokens, sum, NULL, e->norm, e->norm_bias, e->config.eps,
                               (gm_norm_sites){ .drop_out = GM_SITE_EMBEDDING }, NULL, x));
    return e->distance != NULL ? gm_op_distance_bias(t, e->distance, &distances, bias) : GM_OK;
}

/* Layers first .. end - 1 over *x. */
static gm_status run_layers(const gm_encoder *e, gm_tape *t, const gm_batch *batch, int32_t first, int32_t end, const gm_distances *bias, gm_tensor **x)
{
    for (int32_t i = first; i < end; i++) {
        const layer_of l = { e, &batch->tokens, bias, i };
        GM_TRY(gm_tape_layer(t, i));
        if (!gm_tape_records(t))
            GM_TRY(predict_layer(t, *x, &l));
        else if (e->recomputes)
            GM_TRY(gm_tape_recompute(t, *x, run_layer, &l, sizeof l, x));
        else
            GM_TRY(run_layer(t, *x, &l, x));
    }
    return GM_OK;
}

gm_status gm_encoder_forward(const gm_encoder *e, gm_tape *t, const gm_batch *batch, gm_tensor **states)
{
    gm_distances *bias;
    GM_TRY(embed(e, t, batch, &bias, states));
    return run_layers(e, t, batch, 0, e->config.layers, bias, states);
}

/* The last layer. Behind attention it works on each row alone, so it works on first pieces: with some 1.4 pieces a word that
 * is a twentieth less of a six-layer encoder's work. Masks are drawn for the pieces, so every number is the same. */
static gm_status last_of_words(const gm_encoder *e, gm_tape *t, const gm_batch *batch, const gm_distances *bias, gm_tensor *x, gm_tensor **states)
{
    const int32_t last = e->config.layers - 1;
    const gm_encoder_layer *l = &e->layer[last];
    gm_tensor *mixed, *first, *residual, *attended, *x1;
    GM_TRY(gm_tape_layer(t, last));
    GM_TRY(gm_layer_mix(l, last, e->config.heads, t, &batch->tokens, bias, x, &mixed));
    GM_TRY(gm_op_gather(t, mixed, &batch->words, batch->first_piece, 0, &first));
    GM_TRY(gm_op_gather(t, x, &batch->words, batch->first_piece, 0, &residual));
    GM_TRY(gm_op_linear(t, first, l->out, l->out_bias, GM_LINEAR_PLAIN, &attended));
    GM_TRY(gm_op_residual_norm(t, &batch->firsts, attended, residual, l->norm1, l->norm1_bias, e->config.eps,
                               (gm_norm_sites){ .drop = GM_SITE_ATTENTION_OUT, .layer = last }, NULL, &x1));
    return gm_encoder_ffn_block(e, last, t, &batch->firsts, x1, states);
}

gm_status gm_encoder_words(const gm_encoder *e, gm_tape *t, const gm_batch *batch, gm_tensor **states)
{
    gm_distances *bias;
    gm_tensor *x;
    GM_TRY(embed(e, t, batch, &bias, &x));
    GM_TRY(run_layers(e, t, batch, 0, e->config.layers - 1, bias, &x));
    return last_of_words(e, t, batch, bias, x, states);
}

/* Layers of prediction work in place, but the last one leaves its input as it is. */
gm_status gm_encoder_words_keeping(const gm_encoder *e, gm_tape *t, const gm_batch *batch, int32_t layer, gm_tensor **before, gm_tensor **states)
{
    const int32_t last = e->config.layers - 1;
    gm_distances *bias;
    gm_tensor *x;
    GM_TRY(embed(e, t, batch, &bias, &x));
    GM_TRY(run_layers(e, t, batch, 0, layer, bias, &x));
    *before = x;
    if (layer < last) {
        GM_TRY(gm_tape_like(t, x, x->cols, before));
        GM_TRY(gm_tape_move(t, x, *before));
    }
    GM_TRY(run_layers(e, t, batch, layer, last, bias, &x));
    return last_of_words(e, t, batch, bias, x, states);
}

gm_status gm_encoder_words_from(const gm_encoder *e, gm_tape *t, const gm_batch *batch, int32_t layer, gm_tensor *before, gm_tensor **states)
{
    gm_distances *bias = NULL;
    if (e->distance != NULL) GM_TRY(gm_op_distance_bias(t, e->distance, &distances, &bias));
    GM_TRY(run_layers(e, t, batch, layer, e->config.layers - 1, bias, &before));
    return last_of_words(e, t, batch, bias, before, states);
}
