/* Segments of a pass that keep their input alone and are run again on the way back (Chen et al. 2016). Counters make
 * dropout the same both times, so results are, bit for bit, those of a pass that keeps everything. */
#include <string.h>

#include "backend/device_memory.h"
#include "tensor/tensor.h"

/* The context stands behind it. */
typedef struct saved { gm_tensor *x, *y; gm_segment segment; } saved;

/* Gives back all memory that was taken since. */
typedef struct marks { gm_mark arena, notes; } marks;
static marks mark(const gm_tape *t) { return (marks){ gm_arena_mark(t->arena), gm_arena_mark(t->notes) }; }
static void release(gm_tape *t, marks m)
{
    gm_arena_release(t->arena, m.arena);
    gm_arena_release(t->notes, m.notes);
}

/* All that read y has been walked back through when this runs: its memory takes the gradient of x, so that the
 * gradients of many segments take none. */
static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    gm_tensor *x, *y;
    if (s->y->grad == NULL) return GM_OK;
    const marks before = mark(t);
    t->last = NULL; /* whoever walks back has a node of its own in hand */
    GM_TRY(gm_tape_view(t, s->x, s->x->data, &x));
    GM_TRY(s->segment(t, x, s + 1, &y));
    y->grad = s->y->grad;
    GM_TRY(gm_tape_backward(t));
    if (x->grad != NULL && s->x->requires_grad) {
        if (s->x->grad != NULL)
            return gm_fail(t->err, GM_ERR_SHAPE, "the input [%d, %d] of a recomputed segment has a second consumer", s->x->rows, s->x->cols);
        GM_TRY(t->dev->memory->copy(t->dev, s->y->data, x->grad, (size_t)x->capacity * (size_t)x->cols * t->dev->element));
        s->x->grad = s->y->data;
    }
    release(t, before);
    return GM_OK;
}

gm_status gm_tape_recompute(gm_tape *t, gm_tensor *x, gm_segment segment, const void *context, size_t bytes, gm_tensor **y)
{
    saved *s;
    gm_tensor *kept, *made;
    gm_grads *grads = t->grads;
    GM_TRY(gm_tape_like(t, x, x->cols, &kept));
    GM_TRY(gm_tape_note(t, sizeof *s + bytes, &s));
    *s = (saved){ x, kept, segment };
    memcpy(s + 1, context, bytes);
    const marks before = mark(t);
    t->grads = NULL; /* nothing is recorded */
    gm_status status = segment(t, x, s + 1, &made);
    t->grads = grads;
    if (status == GM_OK && made->cols != x->cols)
        status = gm_fail(t->err, GM_ERR_SHAPE, "a recomputed segment makes %d columns of %d", made->cols, x->cols);
    if (status == GM_OK) status = gm_tape_move(t, made, kept);
    release(t, before);
    *y = kept;
    return status == GM_OK ? gm_tape_push(t, backward, s, sizeof *s + bytes) : status;
}
