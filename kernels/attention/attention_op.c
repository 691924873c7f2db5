#include "attention/attention_op.h"

#include <math.h>

#include "attention/attention.h"

typedef struct saved {
    gm_tensor *qkv, *y;
    const gm_pack *tokens;
    gm_distances bias; /* all zero without one */
    gm_drop drop;
    float *lse;
    int32_t heads;
    float scale;
} saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    void *dqkv;
    if (s->y->grad == NULL) return GM_OK;
    GM_TRY(gm_tape_grad(t, s->qkv, &dqkv, NULL));
    if (dqkv == NULL) return GM_OK;
    const int32_t hidden = s->y->cols, rows = s->y->capacity;
    const size_t part = (size_t)hidden * t->dev->element;
    const char *q = s->qkv->data;
    char *dq = dqkv;
    return t->k->attention.backward(&(gm_attention_grad){
        .q = q, .k = q + part, .v = q + 2 * part, .q_stride = 3 * hidden, .k_stride = 3 * hidden, .v_stride = 3 * hidden,
        .cu_q = s->tokens->cu, .cu_k = s->tokens->cu, .bias = s->bias.bias, .bias_reach = s->bias.reach, .scale = s->scale,
        .drop = s->drop, .out = s->y->data, .dout = s->y->grad, .out_stride = hidden, .lse = s->lse, .dq = dq, .dk = dq + part,
        .dv = dq + 2 * part, .dbias = s->bias.grad,
        .sequences = s->tokens->sequences, .heads = s->heads, .width = hidden / s->heads, .q_rows = rows, .k_rows = rows }, t->dev);
}

gm_status gm_op_self_attention(gm_tape *t, const gm_pack *tokens, gm_tensor *qkv, int32_t heads, const gm_distances *bias, int32_t layer,
                               gm_tensor **y)
{
    const int32_t hidden = qkv->cols / 3;
    if (qkv->cols != 3 * hidden || hidden % heads != 0)
        return gm_fail(t->err, GM_ERR_SHAPE, "attention: %d columns are not q, k and v of %d heads", qkv->cols, heads);
    if (bias != NULL && bias->heads != heads)
        return gm_fail(t->err, GM_ERR_SHAPE, "attention: %d heads, but the bias by distance has %d", heads, bias->heads);
    saved s = { .qkv = qkv, .tokens = tokens, .bias = bias != NULL ? *bias : (gm_distances){ 0 }, .heads = heads, .scale = 1.0f / sqrtf((float)(hidden / heads)),
                .drop = gm_tape_drop(t, tokens, GM_SITE_ATTENTION, layer) };
    GM_TRY(gm_tape_like(t, qkv, hidden, &s.y));
    if (gm_tape_records(t)) GM_TRY(gm_tape_low(t, (size_t)qkv->capacity * (size_t)heads * sizeof(float), &s.lse));
    const char *q = qkv->data;
    const size_t part = (size_t)hidden * t->dev->element;
    GM_TRY(t->k->attention.forward(&(gm_attention){
        .q = q, .k = q + part, .v = q + 2 * part, .q_stride = qkv->cols, .k_stride = qkv->cols, .v_stride = qkv->cols,
        .cu_q = tokens->cu, .cu_k = tokens->cu, .bias = s.bias.bias, .bias_reach = s.bias.reach, .scale = s.scale, .drop = s.drop,
        .out = s.y->data, .out_stride = hidden, .lse = s.lse,
        .sequences = tokens->sequences, .heads = heads, .width = hidden / heads, .q_rows = qkv->capacity }, t->dev));
    *y = s.y;
    return gm_tape_push(t, backward, &s, sizeof s);
}
