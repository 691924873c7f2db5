#include "tensor/tensor.h"

#include <string.h>

/* One recorded operation; its saved struct stands behind it in the arena. */
typedef struct gm_node {
    struct gm_node *before;
    gm_backward backward;
    void *saved;
} gm_node;

void gm_tape_begin(gm_tape *t, gm_grads *grads, float dropout)
{
    gm_arena_reset(t->arena);
    t->grads = grads;
    t->dropout = dropout;
    t->loss = 0.0;
    t->last = NULL;
}

static gm_status hand_out(gm_tape *t, void *block, void *to, size_t bytes)
{
    if (block == NULL)
        return gm_fail(t->err, GM_ERR_NOMEM, "a step needs more than the %zu bytes of its arena (%zu more): make batches smaller", t->arena->size, bytes);
    memcpy(to, &block, sizeof block);
    return GM_OK;
}

gm_status gm_tape_low(gm_tape *t, size_t bytes, void *block) { return hand_out(t, gm_arena_low(t->arena, bytes), block, bytes); }
gm_status gm_tape_high(gm_tape *t, size_t bytes, void *block) { return hand_out(t, gm_arena_high(t->arena, bytes), block, bytes); }

static size_t tensor_bytes(const gm_tensor *x) { return (size_t)x->capacity * (size_t)x->cols * sizeof(float); }

/* Rows behind the true count take part in products over the capacity: they must be finite, and zero in gradients. */
static void zero_tail(const gm_tensor *x, void *data)
{
    const size_t row = (size_t)x->cols * sizeof(float);
    memset((char *)data + (size_t)x->rows * row, 0, (size_t)(x->capacity - x->rows) * row);
}

static gm_status make(gm_tape *t, gm_tensor shape, gm_tensor **y)
{
    GM_TRY(gm_tape_low(t, sizeof shape, y));
    GM_TRY(gm_tape_low(t, tensor_bytes(&shape), &shape.data));
    zero_tail(&shape, shape.data);
    **y = shape;
    return GM_OK;
}

gm_status gm_tape_tensor(gm_tape *t, const gm_pack *p, int32_t cols, gm_tensor **y)
{
    return make(t, (gm_tensor){ .n = p->n, .rows = p->rows, .capacity = p->capacity, .cols = cols, .requires_grad = gm_tape_records(t) }, y);
}

gm_status gm_tape_like(gm_tape *t, const gm_tensor *x, int32_t cols, gm_tensor **y)
{
    return make(t, (gm_tensor){ .n = x->n, .rows = x->rows, .capacity = x->capacity, .cols = cols, .requires_grad = gm_tape_records(t) }, y);
}

gm_status gm_tape_view(gm_tape *t, const gm_tensor *like, void *data, gm_tensor **y)
{
    GM_TRY(gm_tape_low(t, sizeof **y, y));
    **y = *like;
    (*y)->data = data;
    (*y)->grad = NULL;
    (*y)->requires_grad = gm_tape_records(t);
    return GM_OK;
}

gm_status gm_tape_push(gm_tape *t, gm_backward backward, const void *saved, size_t bytes)
{
    if (!gm_tape_records(t)) return GM_OK;
    gm_node *node;
    GM_TRY(gm_tape_low(t, sizeof *node, &node));
    *node = (gm_node){ .before = t->last, .backward = backward };
    GM_TRY(gm_tape_low(t, bytes, &node->saved));
    memcpy(node->saved, saved, bytes);
    t->last = node;
    return GM_OK;
}

gm_status gm_tape_backward(gm_tape *t)
{
    for (gm_node *node = t->last; node != NULL; node = node->before) GM_TRY(node->backward(t, node->saved));
    t->last = NULL;
    return GM_OK;
}

gm_status gm_tape_grad(gm_tape *t, gm_tensor *x, void **grad, bool *add)
{
    *grad = NULL;
    if (add != NULL) *add = x->grad != NULL;
    if (!x->requires_grad) return GM_OK;
    if (x->grad == NULL) {
        GM_TRY(gm_tape_high(t, tensor_bytes(x), &x->grad));
        zero_tail(x, x->grad);
    } else if (add == NULL)
        return gm_fail(t->err, GM_ERR_SHAPE, "a tensor [%d, %d] has two consumers, but the backward of one can only overwrite", x->rows, x->cols);
    *grad = x->grad;
    return GM_OK;
}

gm_status gm_tape_param_grad(gm_tape *t, const gm_param *p, float **grad, bool *add)
{
    *grad = NULL;
    *add = false;
    if (p->spec.is_frozen) return GM_OK;
    *grad = p->spec.is_table ? t->grads->rows : t->grads->dense + p->offset;
    *add = t->grads->is_written[p->index];
    t->grads->is_written[p->index] = true;
    return GM_OK;
}

gm_status gm_tape_param_grad_zeroed(gm_tape *t, const gm_param *p, float **grad)
{
    bool add;
    GM_TRY(gm_tape_param_grad(t, p, grad, &add));
    const size_t count = p->spec.is_table ? (size_t)t->grads->touched * (size_t)p->spec.cols : p->count;
    if (*grad != NULL && !add) memset(*grad, 0, count * sizeof(float));
    return GM_OK;
}

gm_drop gm_tape_drop(const gm_tape *t, const gm_pack *p, gm_site site, int32_t layer)
{
    return (gm_drop){ .p = t->dropout, .site = (uint32_t)site, .layer = (uint32_t)layer, .key = p->key, .draw = p->draw };
}
