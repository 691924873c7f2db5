/* One layer of the encoder of images against the fixture clip_layer: its output, the objective and all gradients, through the
 * encoder's own code. In the case with a prefix, keys and values of a text stand before the layer's own; the encoder has no
 * such thing, but attention takes keys of their own, so a small operation here puts both together. */
#include "tests/model/vit_test.h"

#include "attention/attention.h"
#include "linear/linear_op.h"
#include "model/vit_layer.h"
#include "residual_norm/residual_norm_op.h"

enum { TOKENS = 2, PREFIX = 2, KEYS = PREFIX + TOKENS, HIDDEN = 4, HEADS = 2, FFN = 6, ROOM = 32 };

static const cJSON *inputs, *expected;
static double tolerance;

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL) fail_msg("the fixture has no \"%s\"", key);
    return item;
}

static void numbers(const cJSON *object, const char *key, size_t count, double *to)
{
    assert_int_equal(gmt_json_doubles(member(object, key), to, (int)count), count);
}

static void set(float *to, const char *key, size_t count)
{
    double v[ROOM];
    numbers(inputs, key, count, v);
    for (size_t i = 0; i < count; i++) to[i] = (float)v[i];
}

static void compare(const float *got, const char *key, size_t count)
{
    double want[ROOM];
    numbers(expected, key, count, want);
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance)) fail_msg("%s[%zu] is %.9g, expected %.9g", key, i, (double)got[i], want[i]);
}

/* Attention whose keys and values begin with those of the prefix. */
typedef struct prefixed {
    gm_tensor *qkv, *y;
    float k[KEYS * HIDDEN], v[KEYS * HIDDEN], dk[KEYS * HIDDEN], dv[KEYS * HIDDEN], lse[TOKENS * HEADS];
} prefixed;

static const int32_t cu_q[] = { 0, TOKENS }, cu_k[] = { 0, KEYS };

static gm_status prefixed_backward(gm_tape *t, void *pointer)
{
    prefixed *s = *(prefixed **)pointer;
    void *grad;
    GM_TRY(gm_tape_grad(t, s->qkv, &grad, NULL));
    float *dqkv = grad;
    GM_TRY(t->k->attention.backward(&(gm_attention_grad) { .q = s->qkv->data, .k = s->k, .v = s->v, .q_stride = 3 * HIDDEN, .k_stride = HIDDEN,
                                                           .v_stride = HIDDEN, .cu_q = cu_q, .cu_k = cu_k, .scale = 1.0f / sqrtf(HIDDEN / HEADS),
                                                           .out = s->y->data, .dout = s->y->grad, .out_stride = HIDDEN, .lse = s->lse, .dq = dqkv, .dk = s->dk,
                                                           .dv = s->dv, .sequences = 1, .heads = HEADS, .width = HIDDEN / HEADS, .q_rows = TOKENS, .k_rows = KEYS }, t->dev));
    for (int r = 0; r < TOKENS; r++) {
        memcpy(dqkv + (3 * r + 1) * HIDDEN, s->dk + (PREFIX + r) * HIDDEN, HIDDEN * sizeof(float));
        memcpy(dqkv + (3 * r + 2) * HIDDEN, s->dv + (PREFIX + r) * HIDDEN, HIDDEN * sizeof(float));
    }
    return GM_OK;
}

static gm_status prefixed_attention(gm_tape *t, prefixed *s, gm_tensor *qkv, gm_tensor **y)
{
    const float *from = qkv->data;
    s->qkv = qkv;
    set(s->k, "pk", PREFIX * HIDDEN);
    set(s->v, "pv", PREFIX * HIDDEN);
    for (int r = 0; r < TOKENS; r++) {
        memcpy(s->k + (PREFIX + r) * HIDDEN, from + (3 * r + 1) * HIDDEN, HIDDEN * sizeof(float));
        memcpy(s->v + (PREFIX + r) * HIDDEN, from + (3 * r + 2) * HIDDEN, HIDDEN * sizeof(float));
    }
    GM_TRY(gm_tape_like(t, qkv, HIDDEN, &s->y));
    GM_TRY(t->k->attention.forward(&(gm_attention) { .q = from, .k = s->k, .v = s->v, .q_stride = 3 * HIDDEN, .k_stride = HIDDEN, .v_stride = HIDDEN, .cu_q = cu_q,
                                                     .cu_k = cu_k, .scale = 1.0f / sqrtf(HIDDEN / HEADS), .out = s->y->data, .out_stride = HIDDEN, .lse = s->lse,
                                                     .sequences = 1, .heads = HEADS, .width = HIDDEN / HEADS, .q_rows = TOKENS }, t->dev));
    *y = s->y;
    return gm_tape_push(t, prefixed_backward, &s, sizeof s);
}

/* The layer with its attention exchanged: what gm_vit_layer does otherwise. */
static gm_status layer_with_prefix(const gm_vit *v, gm_tape *t, const gm_pack *rows, prefixed *p, gm_vit_stream *s)
{
    const gm_encoder_layer *l = &v->layer[0], *next = &v->layer[1];
    gm_tensor *qkv, *mixed, *attended, *down;
    GM_TRY(gm_op_linear(t, s->norm, l->qkv, l->qkv_bias, GM_LINEAR_PLAIN, &qkv));
    GM_TRY(prefixed_attention(t, p, qkv, &mixed));
    GM_TRY(gm_op_linear(t, mixed, l->out, l->out_bias, GM_LINEAR_PLAIN, &attended));
    GM_TRY(gm_op_residual_norm(t, rows, attended, s->sum, l->norm2, l->norm2_bias, v->config.eps, (gm_norm_sites) { 0 }, &s->sum, &s->norm));
    GM_TRY(gm_layer_ffn(l, v->config.activation, t, s->norm, &down));
    return gm_op_residual_norm(t, rows, down, s->sum, next->norm1, next->norm1_bias, v->config.eps, (gm_norm_sites) { 0 }, &s->sum, &s->norm);
}

/* Which part of which parameter each of the fixture's names is. */
typedef struct named { const char *key; const gm_param *p; int32_t part, parts; } named;

static int name_all(const gm_encoder_layer *l, named *to)
{
    const named all[] = {
        { "Wq", l->qkv, 0, 3 },         { "Wk", l->qkv, 1, 3 },       { "Wv", l->qkv, 2, 3 },         { "bq", l->qkv_bias, 0, 3 },
        { "bk", l->qkv_bias, 1, 3 },    { "bv", l->qkv_bias, 2, 3 },  { "Wo", l->out, 0, 1 },         { "bo", l->out_bias, 0, 1 },
        { "g1", l->norm1, 0, 1 },       { "be1", l->norm1_bias, 0, 1 }, { "W1", l->up, 0, 1 },        { "b1", l->up_bias, 0, 1 },
        { "W2", l->down, 0, 1 },        { "b2", l->down_bias, 0, 1 }, { "g2", l->norm2, 0, 1 },       { "be2", l->norm2_bias, 0, 1 },
    };
    memcpy(to, all, sizeof all);
    return (int)GM_LEN(all);
}

/* The objective is the sum of weight_out times the sum that leaves the layer; the norm behind it gets a gradient of zero. */
static void walk_back(gm_tape *t, const gm_vit_stream *s)
{
    void *dsum, *dnorm;
    double objective = 0, want;
    assert_ok(gm_tape_grad(t, s->sum, &dsum, NULL));
    assert_ok(gm_tape_grad(t, s->norm, &dnorm, NULL));
    set(dsum, "weight_out", TOKENS * HIDDEN);
    memset(dnorm, 0, TOKENS * HIDDEN * sizeof(float));
    for (int i = 0; i < TOKENS * HIDDEN; i++) objective += (double)((float *)dsum)[i] * (double)((float *)s->sum->data)[i];
    numbers(expected, "objective", 1, &want);
    assert_true(fabs(objective - want) <= tolerance * TOKENS * HIDDEN); /* a sum of that many outputs */
    assert_ok(gm_tape_backward(t));
}

static void check(bool has_prefix)
{
    machine m;
    eye e = { .vit = { .config = { .image = 1, .patch = 1, .hidden = HIDDEN, .layers = 2, .heads = HEADS, .ffn = FFN, .activation = GM_LINEAR_QUICK_GELU, .eps = 1e-5f } } };
    named all[16];
    prefixed p;
    eye_declare(&e, "vision_model.", false);
    gm_params_randomise(&e.params, 0, 1);
    const int count = name_all(&e.vit.layer[0], all);
    for (int i = 0; i < count; i++) {
        const size_t size = all[i].p->count / (size_t)all[i].parts;
        set(all[i].p->value + (size_t)all[i].part * size, all[i].key, size);
    }
    machine_open(&m);
    const int32_t n = TOKENS;
    const gm_pack rows = { .cu = cu_q, .n = &n, .rows = TOKENS, .capacity = TOKENS, .sequences = 1 };
    gm_grads grads = grads_make(&e.params, 0);
    machine_begin(&m, &grads, 0.0f);
    gm_tensor *x;
    gm_vit_stream s;
    assert_ok(gm_tape_tensor(&m.tape, &rows, HIDDEN, &x));
    set(x->data, "x", TOKENS * HIDDEN);
    assert_ok(gm_vit_enter(&e.vit, &m.tape, &rows, x, &s));
    assert_ok(has_prefix ? layer_with_prefix(&e.vit, &m.tape, &rows, &p, &s) : gm_vit_layer(&e.vit, 0, &m.tape, &rows, &s));
    compare(s.sum->data, "out", TOKENS * HIDDEN);
    walk_back(&m.tape, &s);
    compare(x->grad, "grad_x", TOKENS * HIDDEN);
    if (has_prefix) {
        compare(p.dk, "grad_pk", PREFIX * HIDDEN);
        compare(p.dv, "grad_pv", PREFIX * HIDDEN);
    }
    for (int i = 0; i < count; i++) {
        char name[16];
        const size_t size = all[i].p->count / (size_t)all[i].parts;
        snprintf(name, sizeof name, "grad_%s", all[i].key);
        assert_true(grads.is_written[all[i].p->index]);
        compare(grad_of(&grads, all[i].p) + (size_t)all[i].part * size, name, size);
    }
    grads_free(&grads);
    machine_close(&m);
    eye_close(&e);
}

static void layer_matches_fixture(void **state)
{
    (void)state;
    const cJSON *fixture = gmt_fixture("clip_layer"), *one;
    int cases = 0;
    tolerance = member(fixture, "abs_tol_f32")->valuedouble;
    cJSON_ArrayForEach(one, member(fixture, "cases"))
    {
        inputs = member(one, "inputs");
        expected = member(one, "expected");
        check(cJSON_HasObjectItem(expected, "grad_pk"));
        cases++;
    }
    assert_int_equal(cases, 2);
}

int main(void)
{
    (void)gmt_fixture("clip_layer"); /* skips the program where there is none */
    const struct CMUnitTest tests[] = { cmocka_unit_test(layer_matches_fixture) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
