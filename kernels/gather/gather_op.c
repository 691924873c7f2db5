#include "gather/gather_op.h"

#include "gather/gather.h"

typedef struct saved { gm_tensor *x, *y; const gm_pack *words; const int32_t *index; gm_drop drop; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    void *dx;
    bool add;
    if (s->y->grad == NULL) return GM_OK;
    GM_TRY(gm_tape_grad(t, s->x, &dx, &add));
    if (dx == NULL) return GM_OK;
    return t->k->gather.backward(&(gm_gather_grad){ .dout = s->y->grad, .index = s->index, .token = s->words->token, .drop = s->drop, .dx = dx, .add = add,
                                                    .n_rows = s->words->n, .capacity = s->words->capacity, .source = s->x->capacity, .width = s->x->cols }, t->dev);
}

gm_status gm_op_gather(gm_tape *t, gm_tensor *x, const gm_pack *words, const int32_t *index, gm_site site, gm_tensor **y)
{
    const gm_drop drop = site ? gm_tape_drop(t, words, site, 0) : (gm_drop){ 0 };
    GM_TRY(gm_tape_tensor(t, words, x->cols, y));
    GM_TRY(t->k->gather.forward(&(gm_gather){ .x = x->data, .index = index, .token = words->token, .drop = drop, .out = (*y)->data,
                                              .n_rows = words->n, .capacity = words->capacity, .width = x->cols }, t->dev));
    const saved s = { x, *y, words, index, drop };
    return gm_tape_push(t, backward, &s, sizeof s);
}
