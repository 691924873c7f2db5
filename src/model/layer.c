#include "model/layer.h"

#include <stdio.h>

#include "attention/attention_op.h"

enum { NAME = 128 };

gm_status gm_declare(const gm_declarer *d, const char *const *names, int32_t rows, int32_t cols, gm_param_spec kind, gm_param **p)
{
    char full[GM_PARAM_MAX_PARTS][2 * NAME];
    kind.rows = rows;
    kind.cols = cols;
    kind.rate = d->rate;
    kind.is_frozen = kind.is_frozen || d->is_frozen;
    for (int k = 0; k < GM_PARAM_MAX_PARTS && names[k] != NULL; k++) {
        snprintf(full[k], sizeof full[k], "%s%s", d->prefix, names[k]);
        kind.part[k] = full[k];
    }
    return gm_params_add(d->ps, &kind, p, d->err);
}

gm_status gm_declare_matrix(const gm_declarer *d, const char *name, int32_t rows, int32_t cols, gm_param **p)
{
    const char *const names[GM_PARAM_MAX_PARTS] = { name };
    return gm_declare(d, names, rows, cols, (gm_param_spec){ .decays = true, .init = GM_INIT_NORMAL, .sigma = d->sigma }, p);
}

gm_status gm_declare_vector(const gm_declarer *d, const char *name, int32_t size, gm_init_kind init, gm_param **p)
{
    const char *const names[GM_PARAM_MAX_PARTS] = { name };
    return gm_declare(d, names, size, 1, (gm_param_spec){ .is_vector = true, .init = init }, p);
}

/* name.weight and name.bias. */
static gm_status declare_dense(const gm_declarer *d, const char *name, int32_t rows, int32_t cols, gm_param **w, gm_param **b)
{
    char full[NAME];
    snprintf(full, sizeof full, "%s.weight", name);
    GM_TRY(gm_declare_matrix(d, full, rows, cols, w));
    snprintf(full, sizeof full, "%s.bias", name);
    return gm_declare_vector(d, full, rows, GM_INIT_ZERO, b);
}

gm_status gm_declare_norm(const gm_declarer *d, const char *name, int32_t size, gm_param **w, gm_param **b)
{
    char full[NAME];
    snprintf(full, sizeof full, "%s.weight", name);
    GM_TRY(gm_declare_vector(d, full, size, GM_INIT_ONE, w));
    snprintf(full, sizeof full, "%s.bias", name);
    return gm_declare_vector(d, full, size, GM_INIT_ZERO, b);
}

static gm_status declare_qkv(const gm_declarer *d, const gm_layer_names *names, int32_t hidden, gm_encoder_layer *l)
{
    char full[2][3][NAME];
    for (int k = 0; k < 3; k++) {
        snprintf(full[0][k], sizeof full[0][k], "%s.weight", names->attention[k]);
        snprintf(full[1][k], sizeof full[1][k], "%s.bias", names->attention[k]);
    }
    const char *const weight[] = { full[0][0], full[0][1], full[0][2] }, *const bias[] = { full[1][0], full[1][1], full[1][2] };
    GM_TRY(gm_declare(d, weight, 3 * hidden, hidden, (gm_param_spec){ .decays = true, .init = GM_INIT_NORMAL, .sigma = d->sigma }, &l->qkv));
    return gm_declare(d, bias, 3 * hidden, 1, (gm_param_spec){ .is_vector = true, .init = GM_INIT_ZERO }, &l->qkv_bias);
}

gm_status gm_declare_layer(const gm_declarer *d, const gm_layer_names *names, int32_t hidden, int32_t ffn, gm_encoder_layer *l)
{
    GM_TRY(declare_qkv(d, names, hidden, l));
    GM_TRY(declare_dense(d, names->attention[3], hidden, hidden, &l->out, &l->out_bias));
    GM_TRY(gm_declare_norm(d, names->norm1, hidden, &l->norm1, &l->norm1_bias));
    GM_TRY(declare_dense(d, names->up, ffn, hidden, &l->up, &l->up_bias));
    GM_TRY(declare_dense(d, names->down, hidden, ffn, &l->down, &l->down_bias));
    return gm_declare_norm(d, names->norm2, hidden, &l->norm2, &l->norm2_bias);
}

gm_status gm_layer_mix(const gm_encoder_layer *l, int32_t number, int32_t heads, gm_tape *t, const gm_pack *tokens, const gm_distances *bias,
                       gm_tensor *x, gm_tensor **mixed)
{
    gm_tensor *qkv;
    GM_TRY(gm_op_linear(t, x, l->qkv, l->qkv_bias, GM_LINEAR_PLAIN, &qkv));
    return gm_op_self_attention(t, tokens, qkv, heads, bias, number, mixed);
}

gm_status gm_layer_attention(const gm_encoder_layer *l, int32_t number, int32_t heads, gm_tape *t, const gm_pack *tokens,
                             const gm_distances *bias, gm_tensor *x, gm_tensor **attended)
{
    gm_tensor *mixed;
    GM_TRY(gm_layer_mix(l, number, heads, t, tokens, bias, x, &mixed));
    return gm_op_linear(t, mixed, l->out, l->out_bias, GM_LINEAR_PLAIN, attended);
}

gm_status gm_layer_ffn(const gm_encoder_layer *l, gm_activation act, gm_tape *t, gm_tensor *x, gm_tensor **y)
{
    gm_tensor *up;
    GM_TRY(gm_op_linear(t, x, l->up, l->up_bias, act, &up));
    return gm_op_linear(t, up, l->down, l->down_bias, GM_LINEAR_PLAIN, y);
}
