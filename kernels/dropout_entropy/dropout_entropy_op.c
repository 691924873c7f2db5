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

static gm_status check(gm_tape *t, const gm_sampled *s, const gm_tensor *x, int32_t classes, int32_t width)
{
    const int64_t last = (int64_t)s->step * (s->samples - 1) + s->entities->rows;
    if (classes > GM_ENTROPY_MAX_CLASSES || width > GM_ENTROPY_MAX_WIDTH)
        return gm_fail(t->err, GM_ERR_SHAPE, "dropout_entropy: %d classes of width %d, at most %d and %d are sampled", classes, width, GM_ENTROPY_MAX_CLASSES, GM_ENTROPY_MAX_WIDTH);
    if (x->cols != width || x->capacity < last)
        return gm_fail(t->err, GM_ERR_SHAPE, "dropout_entropy: x is [%d, %d], not [%lld, %d]", x->capacity, x->cols, (long long)last, width);
    return GM_OK;
}

static gm_dropout_entropy args(const gm_sampled *s, const gm_tensor *x, int32_t classes, gm_sample_sums sums)
{
    return (gm_dropout_entropy){ .x = x->data, .span = s->span, .token = s->entities->token, .cu_words = s->words->cu,
                                 .drop = { .p = s->p, .site = (uint32_t)s->site, .key = s->words->key }, .prob = sums.prob, .entropy = sums.entropy,
                                 .n_rows = s->entities->n, .scale = 1.0f, .first_draw = s->first_draw, .samples = s->samples, .step = s->step,
                                 .classes = classes, .capacity = s->entities->capacity, .width = x->cols };
}

gm_status gm_op_dropout_entropy(gm_tape *t, const gm_sampled *s, const gm_tensor *x, const gm_param *weight, const gm_param *bias, gm_sample_sums sums)
{
    GM_TRY(check(t, s, x, weight->spec.rows, weight->spec.cols));
    gm_dropout_entropy a = args(s, x, weight->spec.rows, sums);
    a.w = weight->weight;
    a.bias = bias->master;
    return t->k->dropout_entropy.forward(&a, t->dev);
}

gm_status gm_op_dropout_entropy_rows(gm_tape *t, const gm_sampled *s, const gm_tensor *x, const gm_sample_rows *rows, gm_sample_sums sums)
{
    GM_TRY(check(t, s, x, rows->most, rows->w->cols));
    gm_dropout_entropy a = args(s, x, rows->most, sums);
    a.w = rows->w->data;
    a.null = rows->null->master;
    a.cu_rows = rows->cu_rows;
    a.cu_scores = rows->cu_scores;
    a.scale = rows->scale;
    return t->k->dropout_entropy.forward(&a, t->dev);
}
