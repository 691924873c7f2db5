#include "tensor/tensor.h"

#include <string.h>

#include "backend/device_memory.h"

/* One recorded operation; its saved struct stands behind it. */
typedef struct gm_node {
    struct gm_node *before;
    gm_backward backward;
    void *saved;
} gm_node;

void gm_tape_begin(gm_tape *t, gm_grads *grads, float dropout, double *loss)
{
    gm_arena_reset(t->arena);
    gm_arena_reset(t->notes);
    t->grads = grads;
    t->dropout = dropout;
    t->loss = loss;
    t->last = NULL;
}

static gm_status hand_out(gm_tape *t, const gm_arena *arena, void *block, void *to, size_t bytes)
{
    if (block == NULL)
        return gm_fail(t->err, GM_ERR_NOMEM, "a step needs more than the %zu bytes of its arena (%zu more): make batches smaller", arena->size, bytes);
    memcpy(to, &block, sizeof block);
    return GM_OK;
}

gm_status gm_tape_low(gm_tape *t, size_t bytes, void *block) { return hand_out(t, t->arena, gm_arena_low(t->arena, bytes), block, bytes); }
gm_status gm_tape_high(gm_tape *t, size_t bytes, void *block) { return hand_out(t, t->arena, gm_arena_high(t->arena, bytes), block, bytes); }
gm_status gm_tape_note(gm_tape *t, size_t bytes, void *block) { return hand_out(t, t->notes, gm_arena_low(t->notes, bytes), block, bytes); }

gm_status gm_tape_bring(gm_tape *t, const void *from, size_t bytes, void *block)
{
    if (t->dev->memory->is_host) {
        memcpy(block, &from, sizeof from);
        return GM_OK;
    }
    void *made;
    GM_TRY(gm_tape_low(t, bytes, &made));
    memcpy(block, &made, sizeof made);
    return t->dev->memory->upload(t->dev, made, from, bytes);
}

gm_status gm_tape_fetch(gm_tape *t, const void *from, size_t bytes, void *block)
{
    if (t->dev->memory->is_host) {
        memcpy(block, &from, sizeof from);
        return GM_OK;
    }
    void *made;
    GM_TRY(gm_tape_note(t, bytes, &made));
    memcpy(block, &made, sizeof made);
    GM_TRY(t->dev->memory->download(t->dev, made, from, bytes));
    return t->dev->memory->sync(t->dev);
}

static size_t tensor_bytes(const gm_tape *t, const gm_tensor *x) { return (size_t)x->capacity * (size_t)x->cols * t->dev->element; }

static gm_status make(gm_tape *t, gm_tensor shape, gm_tensor **y)
{
    GM_TRY(gm_tape_note(t, sizeof shape, y));
    GM_TRY(gm_tape_low(t, tensor_bytes(t, &shape), &shape.data));
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
    GM_TRY(gm_tape_note(t, sizeof **y, y));
    **y = *like;
    (*y)->data = data;
    (*y)->grad = NULL;
    (*y)->requires_grad = gm_tape_records(t);
    return GM_OK;
}

gm_status gm_tape_given(gm_tape *t, const gm_pack *p, const void *values, int32_t cols, gm_tensor **y)
{
    GM_TRY(gm_tape_note(t, sizeof **y, y));
    **y = (gm_tensor){ .n = p->n, .rows = p->rows, .capacity = p->capacity, .cols = cols };
    memcpy(&(*y)->data, &values, sizeof values); /* nobody writes into a tensor that has a maker already */
    return GM_OK;
}

gm_status gm_tape_move(gm_tape *t, const gm_tensor *from, gm_tensor *to)
{
    return t->dev->memory->copy(t->dev, to->data, from->data, tensor_bytes(t, from));
}

gm_status gm_tape_push(gm_tape *t, gm_backward backward, const void *saved, size_t bytes)
{
    if (!gm_tape_records(t)) return GM_OK;
    gm_node *node;
    GM_TRY(gm_tape_note(t, sizeof *node, &node));
    *node = (gm_node){ .before = t->last, .backward = backward };
    GM_TRY(gm_tape_note(t, bytes, &node->saved));
    memcpy(node->saved, saved, bytes);
    t->last = node;
    return GM_OK;
}

static gm_status layer_backward(gm_tape *t, void *layer) { return t->grads->on_layer(t, *(const int32_t *)layer, t->grads->listener); }

gm_status gm_tape_layer(gm_tape *t, int32_t layer)
{
    if (!gm_tape_records(t) || t->grads->on_layer == NULL) return GM_OK;
    return gm_tape_push(t, layer_backward, &layer, sizeof layer);
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
    if (x->grad != NULL && add == NULL)
        return gm_fail(t->err, GM_ERR_SHAPE, "a tensor [%d, %d] has two consumers, but the backward of one can only overwrite", x->rows, x->cols);
    if (x->grad == NULL) GM_TRY(gm_tape_high(t, tensor_bytes(t, x), &x->grad));
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
    return *grad != NULL && !add ? gm_grads_clear(t->grads, p, t->dev) : GM_OK;
}

gm_status gm_grads_clear(const gm_grads *g, const gm_param *p, gm_device *dev)
{
    float *from = p->spec.is_table ? g->rows : g->dense + p->offset;
    const size_t count = p->spec.is_table ? (size_t)g->touched * (size_t)p->spec.cols : p->count;
    return dev->memory->fill(dev, from, 0, count * sizeof *from);
}

gm_drop gm_tape_drop(const gm_tape *t, const gm_pack *p, gm_site site, int32_t layer)
{
    return (gm_drop){ .p = t->dropout, .site = (uint32_t)site, .layer = (uint32_t)layer, .key = p->key, .draw = p->draw };
}
