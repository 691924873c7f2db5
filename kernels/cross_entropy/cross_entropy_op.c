#include "cross_entropy/cross_entropy_op.h"

gm_status gm_op_cross_entropy(gm_tape *t, gm_tensor *logits, const uint8_t *label, const float *scale)
{
    if (!gm_tape_records(t)) return GM_OK;
    if (logits->cols > GM_NO_LABEL) return gm_fail(t->err, GM_ERR_SHAPE, "cross_entropy: %d classes, at most %d have labels", logits->cols, GM_NO_LABEL);
    gm_cross_entropy a = { .logits = logits->data, .label = label, .scale = scale, .loss = t->loss, .rows = logits->capacity, .classes = logits->cols };
    GM_TRY(gm_tape_grad(t, logits, &a.dlogits, NULL));
    return t->k->cross_entropy.forward(&a, t->dev);
}
