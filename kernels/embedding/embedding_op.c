#include "embedding/embedding_op.h"

#include "embedding/embedding.h"

typedef struct saved { gm_tensor *y; const gm_pack *tokens; const int32_t *slot; const gm_param *word, *position, *type; int32_t offset; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    if (s->y->grad == NULL) return GM_OK;
    float *dword, *dposition, *dtype = NULL;
    GM_TRY(gm_tape_param_grad_zeroed(t, s->word, &dword));
    GM_TRY(gm_tape_param_grad_zeroed(t, s->position, &dposition));
    if (s->type != NULL) GM_TRY(gm_tape_param_grad_zeroed(t, s->type, &dtype));
    return t->k->embedding.backward(&(gm_embedding_grad){ .slot = s->slot, .token = s->tokens->token, .dout = s->y->grad, .dword = dword,
                                                          .dposition = dposition, .dtype = dtype, .n_tokens = s->tokens->n, .capacity = s->tokens->capacity,
                                                          .hidden = s->y->cols, .position_offset = s->offset }, t->dev);
}

gm_status gm_op_embedding(gm_tape *t, const gm_pack *tokens, const int32_t *ids, const int32_t *slot, const gm_param *word,
                          const gm_param *position, const gm_param *type, int32_t position_offset, gm_tensor **y)
{
    const int32_t hidden = word->spec.cols;
    if (position->spec.cols != hidden)
        return gm_fail(t->err, GM_ERR_SHAPE, "embedding: words have %d columns, positions %d", hidden, position->spec.cols);
    GM_TRY(gm_tape_tensor(t, tokens, hidden, y));
    GM_TRY(t->k->embedding.forward(&(gm_embedding){ .ids = ids, .token = tokens->token, .word = word->master, .position = position->master,
                                                    .type = type != NULL ? type->master : NULL, .out = (*y)->data, .n_tokens = tokens->n,
                                                    .capacity = tokens->capacity, .hidden = hidden, .position_offset = position_offset }, t->dev));
    const saved s = { *y, tokens, slot, word, position, type, position_offset };
    return gm_tape_push(t, backward, &s, sizeof s);
}
