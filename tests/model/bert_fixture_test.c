/* One encoder layer against the fixture bert_layer: both halves forward, the objective and all gradients, through
 * the encoder's own code. The fixture's third token is padding. Here sequences are packed, so it is left out: the
 * numbers of the two real tokens must be the fixture's, and its gradient rows have no place to stand. */
#include "tests/model/model_test.h"

#include "model/encoder_layer.h"

enum { TOKENS = 2, HIDDEN = 4, FFN = 8, ROOM = 64 };

static const cJSON *inputs, *expected;
static double tolerance;

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL) fail_msg("the fixture has no \"%s\"", key);
    return item;
}

/* The first `count` numbers of a fixture's array. */
static void numbers(const cJSON *object, const char *key, size_t count, double *to)
{
    static double all[4 * ROOM];
    const int n = gmt_json_doubles(member(object, key), all, (int)GM_LEN(all));
    assert_true((size_t)n >= count);
    memcpy(to, all, count * sizeof *to);
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
        if (!(fabs((double)got[i] - want[i]) <= tolerance))
            fail_msg("%s[%zu] is %.9g, expected %.9g", key, i, (double)got[i], want[i]);
}

/* Which part of which parameter each of the fixture's names is. */
typedef struct named {
    const char *key;
    const gm_param *p;
    int32_t part, parts;
} named;

static int name_all(const gm_encoder_layer *l, named *to)
{
    const named all[] = {
        { "Wq", l->qkv, 0, 3 },         { "Wk", l->qkv, 1, 3 },       { "Wv", l->qkv, 2, 3 },
        { "bq", l->qkv_bias, 0, 3 },    { "bk", l->qkv_bias, 1, 3 },  { "bv", l->qkv_bias, 2, 3 },
        { "Wo", l->out, 0, 1 },         { "bo", l->out_bias, 0, 1 },  { "g1", l->norm1, 0, 1 },
        { "be1", l->norm1_bias, 0, 1 }, { "W1", l->up, 0, 1 },        { "b1", l->up_bias, 0, 1 },
        { "W2", l->down, 0, 1 },        { "b2", l->down_bias, 0, 1 }, { "g2", l->norm2, 0, 1 },
        { "be2", l->norm2_bias, 0, 1 },
    };
    memcpy(to, all, sizeof all);
    return (int)GM_LEN(all);
}

static size_t size_of(const named *n) { return n->p->count / (size_t)n->parts; }

static void layer_matches_fixture(void **state)
{
    (void)state;
    machine m;
    machine_open(&m);
    gm_params ps;
    gm_params_init_empty(&ps);
    gm_encoder bert = { .config = { .family = gm_family_find("bert"),
                                    .vocabulary = 4,
                                    .hidden = HIDDEN,
                                    .layers = 1,
                                    .heads = 2,
                                    .ffn = FFN,
                                    .positions = 3,
                                    .types = 1,
                                    .eps = 1e-12f } };
    assert_ok(gm_encoder_declare(&bert, &ps, false, false, &err));
    assert_ok(gm_params_allocate(&ps, false, &err));
    named all[16];
    const int count = name_all(&bert.layer[0], all);
    for (int i = 0; i < count; i++)
        set(all[i].p->value + (size_t)all[i].part * size_of(&all[i]), all[i].key, size_of(&all[i]));

    const int32_t cu[] = { 0, TOKENS }, n = TOKENS;
    const gm_token token[ROOM] = { { 0, 0 }, { 0, 1 } };
    const uint32_t key[] = { 0 };
    const gm_pack tokens = { cu, token, &n, key, key, TOKENS, ROOM, 1 };
    gm_grads grads = grads_make(&ps, 1);
    machine_begin(&m, &grads, 0.0f);
    gm_tensor *x, *x1, *y;
    void *dy;
    assert_ok(gm_tape_tensor(&m.tape, &tokens, HIDDEN, &x));
    memset(x->data, 0, (size_t)x->capacity * HIDDEN * sizeof(float)); /* rows behind the tokens are finite, as kernels leave them */
    set(x->data, "x", TOKENS * HIDDEN);
    assert_ok(gm_encoder_attention_block(&bert, 0, &m.tape, &tokens, NULL, x, &x1));
    compare(x1->data, "after_attention", TOKENS * HIDDEN);
    assert_ok(gm_encoder_ffn_block(&bert, 0, &m.tape, &tokens, x1, &y));
    compare(y->data, "out", TOKENS * HIDDEN);

    assert_ok(gm_tape_grad(&m.tape, y, &dy, NULL));
    memset(dy, 0, (size_t)y->capacity * HIDDEN * sizeof(float));
    set(dy, "weight_out", TOKENS * HIDDEN);
    double objective = 0, want;
    for (int i = 0; i < TOKENS * HIDDEN; i++) objective += (double)((float *)dy)[i] * (double)((float *)y->data)[i];
    numbers(expected, "objective", 1, &want);
    assert_true(fabs(objective - want) <= tolerance * TOKENS * HIDDEN); /* a sum of that many outputs */

    assert_ok(gm_tape_backward(&m.tape));
    compare(x->grad, "grad_x", TOKENS * HIDDEN);
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "grad_%s", all[i].key);
        assert_true(grads.is_written[all[i].p->index]);
        compare(grad_of(&grads, all[i].p) + (size_t)all[i].part * size_of(&all[i]), name, size_of(&all[i]));
    }
    /* Rows behind the tokens are the capacity's: they must have given nothing. */
    for (int i = TOKENS * HIDDEN; i < ROOM * HIDDEN; i++) assert_true(((float *)x->grad)[i] == 0.0f);
    grads_free(&grads);
    gm_params_destroy(&ps);
    machine_close(&m);
}

int main(void)
{
    const cJSON *fixture = gmt_fixture("bert_layer"), *first = member(fixture, "cases")->child;
    tolerance = member(fixture, "abs_tol_f32")->valuedouble;
    inputs = member(first, "inputs");
    expected = member(first, "expected");
    const struct CMUnitTest tests[] = { cmocka_unit_test(layer_matches_fixture) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
