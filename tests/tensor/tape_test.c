/* The tape by small operations of its own: what is added and what overwritten, consumers, tails, frozen parameters,
 * and that prediction records nothing and keeps nothing. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "backend/backend.h"
#include "base/memory.h"
#include "tensor/tensor.h"

enum { ROWS = 3, ROOM = 8, COLS = 2, SIZE = ROOM * COLS };

static gm_err err;
static gm_arena arena, notes;
static gm_backend backend;
static gm_device device;
static double loss;
static const int32_t n_rows = ROWS;
static const gm_pack pack = { .n = &n_rows, .rows = ROWS, .capacity = ROOM, .sequences = 1 };
static gm_tape tape;

/* y = factor * x, element by element; with an order that tells which backward ran when. */
typedef struct saved {
    gm_tensor *x, *y;
    float factor;
    int *order, *runs;
    bool can_add;
} saved;

static gm_status scale_backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    void *dx;
    bool add = false;
    if (s->order != NULL) *s->order = (*s->runs)++;
    if (s->y->grad == NULL) return GM_OK;
    GM_TRY(gm_tape_grad(t, s->x, &dx, s->can_add ? &add : NULL));
    if (dx == NULL) return GM_OK;
    for (int i = 0; i < ROWS * COLS; i++) {
        const float g = s->factor * ((float *)s->y->grad)[i];
        ((float *)dx)[i] = add ? ((float *)dx)[i] + g : g;
    }
    return GM_OK;
}

static gm_status scale(gm_tape *t, gm_tensor *x, float factor, bool can_add, int *order, int *runs, gm_tensor **y)
{
    GM_TRY(gm_tape_like(t, x, x->cols, y));
    for (int i = 0; i < ROWS * COLS; i++) ((float *)(*y)->data)[i] = factor * ((float *)x->data)[i];
    const saved s = { x, *y, factor, order, runs, can_add };
    return gm_tape_push(t, scale_backward, &s, sizeof s);
}

static gm_tensor *input(void)
{
    gm_tensor *x;
    assert_ok(gm_tape_tensor(&tape, &pack, COLS, &x));
    for (int i = 0; i < ROWS * COLS; i++) ((float *)x->data)[i] = (float)(i + 1);
    return x;
}

static void seed(gm_tensor *y, float g)
{
    void *dy;
    assert_ok(gm_tape_grad(&tape, y, &dy, NULL));
    for (int i = 0; i < ROWS * COLS; i++) ((float *)dy)[i] = g;
}

static int set_up(void **state)
{
    (void)state;
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    assert_ok(gm_device_create(&backend, 1, &device, &err));
    assert_ok(gm_arena_init(&arena, 1 << 20, &err));
    assert_ok(gm_arena_init(&notes, 1 << 20, &err));
    tape = (gm_tape) { .dev = &device, .arena = &arena, .notes = &notes, .err = &err };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gm_arena_destroy(&arena);
    gm_arena_destroy(&notes);
    gm_device_destroy(&device);
    return 0;
}

static void begin(gm_grads *grads, float dropout) { gm_tape_begin(&tape, grads, dropout, &loss); }

static void two_consumers_add_up(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *a, *b;
    assert_ok(scale(&tape, x, 2.0f, true, NULL, NULL, &a));
    assert_ok(scale(&tape, x, 5.0f, true, NULL, NULL, &b));
    seed(a, 1.0f);
    seed(b, 10.0f);
    assert_ok(gm_tape_backward(&tape));
    for (int i = 0; i < ROWS * COLS; i++) assert_true(((float *)x->grad)[i] == 52.0f);
}

static void a_second_consumer_that_must_add_cannot_overwrite(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *a, *b;
    assert_ok(scale(&tape, x, 2.0f, false, NULL, NULL, &a));
    assert_ok(scale(&tape, x, 5.0f, false, NULL, NULL, &b));
    seed(a, 1.0f);
    seed(b, 1.0f);
    assert_int_equal(gm_tape_backward(&tape), GM_ERR_SHAPE);
    assert_string_equal(err.text, "a tensor [3, 2] has two consumers, but the backward of one can only overwrite");
}

static void the_walk_goes_in_reverse_and_once(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    int order[3] = { -1, -1, -1 }, runs = 0;
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *y[3];
    for (int k = 0; k < 3; k++) assert_ok(scale(&tape, k == 0 ? x : y[k - 1], 2.0f, true, &order[k], &runs, &y[k]));
    seed(y[2], 1.0f);
    assert_ok(gm_tape_backward(&tape));
    assert_true(order[0] == 2 && order[1] == 1 && order[2] == 0);
    assert_true(((float *)x->grad)[0] == 8.0f);
    assert_ok(gm_tape_backward(&tape));
    assert_int_equal(runs, 3);
}

typedef struct told { int32_t layer[4], runs_then[4], count; const int *runs; } told;

static gm_status tell(gm_tape *t, int32_t layer, void *listener)
{
    told *s = listener;
    assert_ptr_equal(t, &tape);
    s->layer[s->count] = layer;
    s->runs_then[s->count++] = *s->runs;
    return GM_OK;
}

/* Gradients of a layer stand when its end is told, and those of lower ones do not yet. */
static void the_walk_tells_of_each_layer_behind_its_operations(void **state)
{
    (void)state;
    int order[3] = { -1, -1, -1 }, runs = 0;
    told all = { .runs = &runs };
    gm_grads grads = { .on_layer = tell, .listener = &all };
    for (int pass = 0; pass < 2; pass++) {
        begin(&grads, 0.0f);
        gm_tensor *x = input(), *y[3];
        for (int k = 0; k < 3; k++) {
            if (k > 0) assert_ok(gm_tape_layer(&tape, k - 1));
            assert_ok(scale(&tape, k == 0 ? x : y[k - 1], 2.0f, true, &order[k], &runs, &y[k]));
        }
        seed(y[2], 1.0f);
        assert_ok(gm_tape_backward(&tape));
        grads.on_layer = NULL; /* nobody asks: nothing is told */
    }
    assert_int_equal(all.count, 2);
    assert_true(all.layer[0] == 1 && all.runs_then[0] == 1);
    assert_true(all.layer[1] == 0 && all.runs_then[1] == 2);
}

/* What nothing depends on gives no gradient to what it was made from. */
static void a_branch_that_ends_nowhere_gives_nothing(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *used, *unused;
    assert_ok(scale(&tape, x, 2.0f, true, NULL, NULL, &used));
    assert_ok(scale(&tape, x, 5.0f, true, NULL, NULL, &unused));
    seed(used, 1.0f);
    assert_ok(gm_tape_backward(&tape));
    assert_null(unused->grad);
    assert_true(((float *)x->grad)[0] == 2.0f);
}

static void a_tensor_that_needs_no_gradient_gets_none(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *y;
    x->requires_grad = false;
    assert_ok(scale(&tape, x, 2.0f, true, NULL, NULL, &y));
    seed(y, 1.0f);
    assert_ok(gm_tape_backward(&tape));
    assert_null(x->grad);
}

static void tensors_are_shaped_like_others(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *y, *view, *copy;
    assert_ok(gm_tape_like(&tape, x, 5, &y));
    assert_true(y->rows == ROWS && y->capacity == ROOM && y->cols == 5 && y->n == &n_rows);
    seed(x, 1.0f);
    assert_ok(gm_tape_view(&tape, x, y->data, &view));
    assert_true(view->data == y->data && view->cols == COLS && view->grad == NULL); /* a gradient of its own */
    assert_ok(gm_tape_like(&tape, x, COLS, &copy));
    assert_ok(gm_tape_move(&tape, x, copy));
    assert_memory_equal(copy->data, x->data, SIZE * sizeof(float));
}

/* Host and device share memory here: nothing is copied. */
static void what_the_host_has_needs_no_copy(void **state)
{
    (void)state;
    const int32_t there[] = { 1, 2, 3 };
    const int32_t *brought, *fetched;
    begin(NULL, 0.0f);
    assert_ok(gm_tape_bring(&tape, there, sizeof there, &brought));
    assert_ok(gm_tape_fetch(&tape, there, sizeof there, &fetched));
    assert_true(brought == there && fetched == there);
}

static void prediction_records_and_keeps_nothing(void **state)
{
    (void)state;
    int order = -1, runs = 0;
    begin(NULL, 0.0f);
    assert_false(gm_tape_records(&tape));
    gm_tensor *x = input(), *y;
    assert_false(x->requires_grad);
    assert_ok(scale(&tape, x, 2.0f, true, &order, &runs, &y));
    const gm_mark before = gm_arena_mark(&notes);
    const saved s = { x, y, 1.0f, &order, &runs, true };
    assert_ok(gm_tape_push(&tape, scale_backward, &s, sizeof s));
    assert_true(notes.low == before.low && notes.high == before.high);
    assert_null(tape.last);
    void *dx = x;
    bool add;
    assert_ok(gm_tape_grad(&tape, x, &dx, &add));
    assert_null(dx);
    assert_ok(gm_tape_backward(&tape));
    assert_int_equal(runs, 0);
}

static void begin_gives_all_memory_back(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    size_t used = 0;
    for (int round = 0; round < 3; round++) {
        const uint64_t before = gm_alloc_count();
        begin(&grads, 0.1f);
        assert_true(arena.low == 0 && arena.high == 0 && notes.low == 0 && tape.loss == &loss && tape.last == NULL);
        gm_tensor *x = input(), *y;
        assert_ok(scale(&tape, x, 2.0f, true, NULL, NULL, &y));
        seed(y, 1.0f);
        assert_ok(gm_tape_backward(&tape));
        assert_true(round == 0 || arena.low + arena.high == used);
        used = arena.low + arena.high;
        assert_true(gm_alloc_count() == before);
    }
}

static void a_full_arena_says_what_to_do(void **state)
{
    (void)state;
    gm_grads grads = { 0 };
    begin(&grads, 0.0f);
    gm_tensor *x = input(), *y;
    assert_int_equal(gm_tape_like(&tape, x, 1 << 20, &y), GM_ERR_NOMEM);
    assert_non_null(strstr(
        err.text, "a step needs more than the 1048576 bytes of its arena (33554432 more): make batches smaller"));
    void *block;
    assert_int_equal(gm_tape_high(&tape, (size_t)1 << 21, &block), GM_ERR_NOMEM);
}

static void parameters_overwrite_then_add(void **state)
{
    (void)state;
    float dense[8], rows[6];
    bool is_written[3] = { false, false, false };
    for (int i = 0; i < 8; i++) dense[i] = NAN;
    for (int i = 0; i < 6; i++) rows[i] = NAN;
    gm_grads grads = { .dense = dense, .rows = rows, .is_written = is_written, .touched = 3 };
    gm_param plain = { .spec = { .rows = 2, .cols = 2 }, .count = 4, .offset = 4, .index = 0 };
    gm_param table = { .spec = { .rows = 100, .cols = 2, .is_table = true }, .count = 200, .index = 1 };
    gm_param frozen = { .spec = { .rows = 2, .cols = 2, .is_frozen = true }, .count = 4, .index = 2 };
    begin(&grads, 0.0f);
    float *grad;
    bool add;
    assert_ok(gm_tape_param_grad(&tape, &plain, &grad, &add));
    assert_true(grad == dense + 4 && !add);
    assert_ok(gm_tape_param_grad(&tape, &plain, &grad, &add));
    assert_true(grad == dense + 4 && add);
    assert_ok(gm_tape_param_grad_zeroed(&tape, &table, &grad)); /* of the table the touched rows alone */
    assert_ptr_equal(grad, rows);
    for (int i = 0; i < 6; i++) assert_true(rows[i] == 0.0f);
    rows[2] = 5.0f;
    assert_ok(gm_tape_param_grad_zeroed(&tape, &table, &grad)); /* the second use adds */
    assert_true(rows[2] == 5.0f);
    assert_ok(gm_tape_param_grad(&tape, &frozen, &grad, &add));
    assert_true(grad == NULL && !add && !is_written[2]);
    assert_ok(gm_tape_param_grad_zeroed(&tape, &frozen, &grad));
    assert_null(grad);
    for (int i = 0; i < 8; i++) assert_true(isnan(dense[i])); /* nobody wrote there yet */
}

static void dropout_is_off_in_prediction(void **state)
{
    (void)state;
    const uint32_t key[] = { 9 }, draw[] = { 4 };
    const gm_pack p = { .key = key, .draw = draw };
    gm_grads grads = { 0 };
    begin(&grads, 0.25f);
    const gm_drop on = gm_tape_drop(&tape, &p, GM_SITE_FFN_OUT, 3);
    assert_true(on.p == 0.25f && on.site == GM_SITE_FFN_OUT && on.layer == 3 && on.key == key && on.draw == draw);
    begin(NULL, 0.0f);
    assert_true(gm_tape_drop(&tape, &p, GM_SITE_FFN_OUT, 3).p == 0.0f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_consumers_add_up),
        TEST(a_second_consumer_that_must_add_cannot_overwrite),
        TEST(the_walk_goes_in_reverse_and_once),
        TEST(the_walk_tells_of_each_layer_behind_its_operations),
        TEST(a_branch_that_ends_nowhere_gives_nothing),
        TEST(a_tensor_that_needs_no_gradient_gets_none),
        TEST(tensors_are_shaped_like_others),
        TEST(what_the_host_has_needs_no_copy),
        TEST(prediction_records_and_keeps_nothing),
        TEST(begin_gives_all_memory_back),
        TEST(a_full_arena_says_what_to_do),
        TEST(parameters_overwrite_then_add),
        TEST(dropout_is_off_in_prediction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
