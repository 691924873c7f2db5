#include "distance_bias/distance_bias_op.h"

#include "backend/device_memory.h"

typedef struct saved { gm_distances *y; const gm_param *table; gm_distance_buckets buckets; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    float *dtable;
    GM_TRY(gm_tape_param_grad_zeroed(t, s->table, &dtable));
    return t->k->distance_bias.backward(&(gm_distance_bias_grad){ .dbias = s->y->grad, .dtable = dtable, .buckets = s->buckets, .heads = s->y->heads },
                                        t->dev);
}

/* The gradient is made here, not where a layer first asks for it: a layer that is recomputed gives back all it took. */
gm_status gm_op_distance_bias(gm_tape *t, const gm_param *table, const gm_distance_buckets *buckets, gm_distances **y)
{
    const int32_t heads = table->spec.cols, reach = buckets->reach;
    const size_t bytes = (size_t)heads * (2 * (size_t)reach + 1) * sizeof(float);
    if (table->spec.rows != 2 * buckets->half)
        return gm_fail(t->err, GM_ERR_SHAPE, "distance_bias: \"%s\" has %d rows, its buckets are %d", table->spec.part[0], table->spec.rows, 2 * buckets->half);
    GM_TRY(gm_tape_note(t, sizeof **y, y));
    **y = (gm_distances){ .heads = heads, .reach = reach };
    GM_TRY(gm_tape_low(t, bytes, &(*y)->bias));
    GM_TRY(t->k->distance_bias.forward(&(gm_distance_bias){ .table = table->master, .bias = (*y)->bias, .buckets = *buckets, .heads = heads }, t->dev));
    if (!gm_tape_records(t) || table->spec.is_frozen) return GM_OK;
    GM_TRY(gm_tape_low(t, bytes, &(*y)->grad));
    GM_TRY(t->dev->memory->fill(t->dev, (*y)->grad, 0, bytes));
    const saved s = { *y, table, *buckets };
    return gm_tape_push(t, backward, &s, sizeof s);
}
