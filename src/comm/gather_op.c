#include "comm/gather_op.h"

#include <string.h>

#include "backend/device_memory.h"

enum { GROUP = 999 };

typedef struct saved { gm_comm *comm; gm_tensor *x, *y; } saved;

static size_t floats_of(const gm_tensor *x) { return (size_t)x->rows * (size_t)x->cols; }

/* Each rank gets its own slice of everybody's gradient and adds them up. */
static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    const int32_t size = gm_comm_size(s->comm), rank = gm_comm_rank(s->comm);
    const size_t count = floats_of(s->x);
    const float *dy = s->y->grad;
    void *dx;
    float **slice, *room;
    bool add;
    GM_TRY(gm_tape_grad(t, s->x, &dx, &add));
    GM_TRY(gm_tape_note(t, (size_t)size * sizeof *slice, &slice));
    GM_TRY(gm_tape_note(t, ((size_t)size + 1) * count * sizeof *room, &room));
    memset(room, 0, ((size_t)size + 1) * count * sizeof *room);
    for (int32_t r = 0; r < size; r++) {
        slice[r] = room + (size_t)r * count;
        const float *theirs = dy != NULL ? dy + (size_t)r * count : room + (size_t)size * count; /* no gradient is a zero one */
        if (r == rank) {
            memcpy(slice[r], theirs, count * sizeof *dy);
            continue;
        }
        GM_TRY(gm_comm_receive(s->comm, r, GROUP, slice[r], count * sizeof *dy, t->err));
        GM_TRY(gm_comm_send(s->comm, r, GROUP, theirs, count * sizeof *dy, GM_TRAFFIC_OTHER, t->err));
    }
    GM_TRY(gm_comm_wait(s->comm, GROUP, t->err));
    gm_tree_sum(slice, size, (int64_t)count);
    for (size_t i = 0; dx != NULL && i < count; i++) ((float *)dx)[i] = add ? ((float *)dx)[i] + slice[0][i] : slice[0][i];
    return GM_OK;
}

/* Refuses what the ranks do not agree on before any of them waits for bytes that never come. */
static gm_status check_shapes(gm_tape *t, gm_comm *c, const gm_tensor *x)
{
    const int32_t mine[3] = { x->rows, x->cols, t->dev->memory->is_host && t->dev->element == sizeof(float) };
    const int32_t size = gm_comm_size(c);
    size_t *bytes;
    int32_t *all;
    GM_TRY(gm_tape_note(t, (size_t)size * sizeof *bytes, &bytes));
    GM_TRY(gm_tape_note(t, (size_t)size * sizeof mine, &all));
    for (int32_t r = 0; r < size; r++) bytes[r] = sizeof mine;
    GM_TRY(gm_comm_gather(c, mine, bytes, all, t->err));
    for (int32_t r = 0; r < size; r++) {
        if (all[3 * r] != mine[0] || all[3 * r + 1] != mine[1])
            return gm_fail(t->err, GM_ERR_SHAPE, "gather over ranks: [%d, %d] here, but [%d, %d] on rank %d", mine[0], mine[1], all[3 * r], all[3 * r + 1], r);
        if (!all[3 * r + 2]) return gm_fail(t->err, GM_ERR_DEVICE, "gather over ranks: works on the cpu in fp32 alone");
    }
    return GM_OK;
}

gm_status gm_op_gather_ranks(gm_tape *t, gm_comm *c, gm_tensor *x, gm_tensor **y)
{
    const int32_t size = gm_comm_size(c);
    gm_pack *all;
    size_t *bytes;
    int32_t *rows;
    GM_TRY(check_shapes(t, c, x));
    GM_TRY(gm_tape_note(t, sizeof *all, &all));
    GM_TRY(gm_tape_note(t, sizeof *rows, &rows));
    GM_TRY(gm_tape_note(t, (size_t)size * sizeof *bytes, &bytes));
    *rows = size * x->rows;
    *all = (gm_pack){ .n = rows, .rows = *rows, .capacity = *rows };
    for (int32_t r = 0; r < size; r++) bytes[r] = floats_of(x) * sizeof(float);
    GM_TRY(gm_tape_tensor(t, all, x->cols, y));
    GM_TRY(gm_comm_gather(c, x->data, bytes, (*y)->data, t->err));
    const saved s = { c, x, *y };
    return gm_tape_push(t, backward, &s, sizeof s);
}
