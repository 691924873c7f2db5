#include "linear/linear_op.h"

#include "linear/linear.h"

typedef struct saved { gm_tensor *x, *y; const gm_param *w, *b; void *pre; gm_activation act; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    if (s->y->grad == NULL) return GM_OK;
    gm_linear_grad g = { .x = s->x->data, .w = s->w->weight, .pre = s->pre, .dy = s->y->grad, .act = s->act,
                         .rows = s->x->capacity, .in = s->x->cols, .out = s->y->cols };
    GM_TRY(gm_tape_grad(t, s->x, &g.dx, &g.add_dx));
    GM_TRY(gm_tape_param_grad(t, s->w, &g.dw, &g.add_dw));
    if (s->b != NULL) GM_TRY(gm_tape_param_grad(t, s->b, &g.db, &g.add_db));
    return t->k->linear.backward(&g, t->dev);
}

gm_status gm_op_linear(gm_tape *t, gm_tensor *x, const gm_param *w, const gm_param *b, gm_activation act, gm_tensor **y)
{
    const int32_t in = w->spec.cols, out = w->spec.rows;
    if (x->cols != in) return gm_fail(t->err, GM_ERR_SHAPE, "linear: \"%s\" is [%d, %d], its input has %d columns", w->spec.part[0], out, in, x->cols);
    void *pre = NULL;
    GM_TRY(gm_tape_like(t, x, out, y));
    if (act != GM_LINEAR_PLAIN && gm_tape_records(t)) GM_TRY(gm_tape_low(t, (size_t)x->capacity * (size_t)out * t->dev->element, &pre));
    GM_TRY(t->k->linear.forward(&(gm_linear){ .x = x->data, .w = w->weight, .packed = gm_tape_records(t) ? NULL : w->packed,
                                              .b = b != NULL ? b->master : NULL, .pre = pre, .y = (*y)->data, .act = act,
                                              .rows = x->capacity, .in = in, .out = out }, t->dev));
    const saved s = { x, *y, w, b, pre, act };
    return gm_tape_push(t, backward, &s, sizeof s);
}
