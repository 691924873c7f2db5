#include "embedding_bag/embedding_bag_op.h"

#include "embedding_bag/embedding_bag.h"

typedef struct saved { const gm_tensor *x; const uint8_t *index; const gm_param *table; int32_t bag; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    gm_embedding_bag_grad a = { .dx = s->x->grad, .index = s->index, .n_rows = s->x->n, .capacity = s->x->capacity, .width = s->x->cols,
                                .bag = s->bag, .rows = s->table->spec.rows };
    if (s->x->grad == NULL) return GM_OK;
    GM_TRY(gm_tape_param_grad(t, s->table, &a.dtable, &a.add));
    return a.dtable != NULL ? t->k->embedding_bag.backward(&a, t->dev) : GM_OK;
}

gm_status gm_op_embedding_bag(gm_tape *t, gm_tensor *x, const uint8_t *index, int32_t bag, const gm_param *table)
{
    if (table->spec.cols != x->cols || table->spec.rows > UINT8_MAX + 1)
        return gm_fail(t->err, GM_ERR_SHAPE, "embedding_bag: \"%s\" is [%d, %d], expected at most %d rows of %d columns", table->spec.part[0],
                       table->spec.rows, table->spec.cols, UINT8_MAX + 1, x->cols);
    GM_TRY(t->k->embedding_bag.forward(&(gm_embedding_bag){ .x = x->data, .index = index, .table = table->master, .n_rows = x->n, .capacity = x->capacity,
                                                            .width = x->cols, .bag = bag, .rows = table->spec.rows }, t->dev));
    const saved s = { x, index, table, bag };
    return gm_tape_push(t, backward, &s, sizeof s);
}
