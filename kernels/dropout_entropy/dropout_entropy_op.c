#include "dropout_entropy/dropout_entropy_op.h"

#include "backend/device_memory.h"
#include "dropout_entropy/dropout_entropy.h"

gm_status gm_sample_sums_make(gm_tape *t, int32_t entities, int32_t classes, gm_sample_sums *sums)
{
    const size_t prob = (size_t)entities * (size_t)classes * sizeof(double), entropy = 2 * (size_t)entities * sizeof(double);
    GM_TRY(gm_tape_low(t, prob, &sums->prob));
    GM_TRY(gm_tape_low(t, entropy, &sums->entropy));
    GM_TRY(t->dev->memory->fill(t->dev, sums->prob, 0, prob));
    return t->dev->memory->fill(t->dev, sums->entropy, 0, entropy);
}

gm_status gm_op_dropout_entropy(gm_tape *t, const gm_sampled *s, const gm_tensor *x, const gm_param *weight, const gm_param *bias, gm_sample_sums sums)
{
    const int32_t classes = weight->spec.rows, width = weight->spec.cols;
    const int64_t last = (int64_t)s->step * (s->samples - 1) + s->entities->rows;
    if (classes > GM_ENTROPY_MAX_CLASSES || width > GM_ENTROPY_MAX_WIDTH)
        return gm_fail(t->err, GM_ERR_SHAPE, "dropout_entropy: %d classes of width %d, at most %d and %d are sampled", classes, width, GM_ENTROPY_MAX_CLASSES, GM_ENTROPY_MAX_WIDTH);
    if (x->cols != width || x->capacity < last)
        return gm_fail(t->err, GM_ERR_SHAPE, "dropout_entropy: x is [%d, %d], not [%lld, %d]", x->capacity, x->cols, (long long)last, width);
    return t->k->dropout_entropy.forward(&(gm_dropout_entropy){
        .x = x->data, .w = weight->weight, .bias = bias->master, .span = s->span, .token = s->entities->token, .cu_words = s->words->cu,
        .drop = { .p = s->p, .site = (uint32_t)s->site, .key = s->words->key }, .prob = sums.prob, .entropy = sums.entropy, .n_rows = s->entities->n,
        .scale = 1.0f, .first_draw = s->first_draw, .samples = s->samples, .step = s->step, .classes = classes, .capacity = s->entities->capacity, .width = width }, t->dev);
}
