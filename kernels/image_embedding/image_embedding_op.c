#include "image_embedding/image_embedding_op.h"

#include "image_embedding/image_embedding.h"

typedef struct saved { const gm_tensor *x; const gm_pack *images; const gm_param *class_token, *position; } saved;

static gm_status backward(gm_tape *t, void *pointer)
{
    const saved *s = pointer;
    gm_image_embedding_grad a = { .dx = s->x->grad, .n_images = s->images->n, .images = s->images->capacity, .rows = s->position->spec.rows,
                                  .width = s->x->cols };
    if (s->x->grad == NULL) return GM_OK;
    GM_TRY(gm_tape_param_grad(t, s->class_token, &a.dclass_token, &a.add_dclass_token));
    GM_TRY(gm_tape_param_grad(t, s->position, &a.dposition, &a.add_dposition));
    return a.dclass_token != NULL || a.dposition != NULL ? t->k->image_embedding.backward(&a, t->dev) : GM_OK;
}

gm_status gm_op_image_embedding(gm_tape *t, const gm_pack *images, gm_tensor *x, const gm_param *class_token, const gm_param *position)
{
    const int32_t rows = position->spec.rows;
    if (position->spec.cols != x->cols || class_token->spec.rows != x->cols || x->capacity != images->capacity * rows)
        return gm_fail(t->err, GM_ERR_SHAPE, "image_embedding: \"%s\" is [%d, %d] and \"%s\" has %d columns, but %d images have %d rows of %d", position->spec.part[0],
                       rows, position->spec.cols, class_token->spec.part[0], class_token->spec.rows, images->capacity, x->capacity, x->cols);
    GM_TRY(t->k->image_embedding.forward(&(gm_image_embedding){ .x = x->data, .class_token = class_token->master, .position = position->master,
                                                                .n_images = images->n, .images = images->capacity, .rows = rows, .width = x->cols }, t->dev));
    const saved s = { x, images, class_token, position };
    return gm_tape_push(t, backward, &s, sizeof s);
}
