#include "model/region.h"

#include <math.h>

#include "linear/linear_op.h"
#include "residual_norm/residual_norm_op.h"

static const gm_param_spec matrix = { .rate = GM_RATE_HEAD, .decays = true, .init = GM_INIT_NORMAL, .sigma = 0.02f };
static const gm_param_spec vector = { .rate = GM_RATE_HEAD, .cols = 1, .is_vector = true, .init = GM_INIT_ZERO };

static gm_status add(gm_params *ps, const char *name, int32_t rows, int32_t cols, gm_param_spec kind, gm_param **p, gm_err *err)
{
    kind.part[0] = name;
    kind.rows = rows;
    kind.cols = cols;
    return gm_params_add(ps, &kind, p, err);
}

gm_status gm_region_head_declare(gm_region_head *h, gm_params *ps, int32_t look, int32_t hidden, int32_t span, gm_err *err)
{
    gm_param_spec ones = vector;
    ones.init = GM_INIT_ONE;
    GM_TRY(add(ps, "region.visual.weight", hidden, look, matrix, &h->visual, err));
    GM_TRY(add(ps, "region.visual.bias", hidden, 1, vector, &h->visual_bias, err));
    GM_TRY(add(ps, "region.box.weight", hidden, GM_REGION_GEOMETRY, matrix, &h->box, err));
    GM_TRY(add(ps, "region.norm.weight", hidden, 1, ones, &h->norm, err));
    GM_TRY(add(ps, "region.norm.bias", hidden, 1, vector, &h->norm_bias, err));
    GM_TRY(add(ps, "region.query.weight", GM_REGION_KEY, span, matrix, &h->query, err));
    GM_TRY(add(ps, "region.key.weight", GM_REGION_KEY, hidden, matrix, &h->key, err));
    return add(ps, "region.null", 1, GM_REGION_KEY, matrix, &h->null, err);
}

static gm_status make_keys(const gm_region_head *h, gm_tape *t, const gm_batch *b, gm_tensor *look, gm_tensor **visual, gm_tensor **keys)
{
    gm_tensor *geometry, *seen, *placed;
    GM_TRY(gm_tape_given(t, &b->scene.regions, b->scene.geometry, GM_REGION_GEOMETRY, &geometry));
    GM_TRY(gm_op_linear(t, look, h->visual, h->visual_bias, GM_LINEAR_PLAIN, &seen));
    GM_TRY(gm_op_linear(t, geometry, h->box, NULL, GM_LINEAR_PLAIN, &placed));
    GM_TRY(gm_op_residual_norm(t, &b->scene.regions, placed, seen, h->norm, h->norm_bias, 1e-5f, (gm_norm_sites){ 0 }, NULL, visual));
    return gm_op_linear(t, *visual, h->key, NULL, GM_LINEAR_PLAIN, keys);
}

float gm_region_scale(void) { return 1.0f / sqrtf((float)GM_REGION_KEY); }

gm_status gm_region_head_forward(const gm_region_head *h, gm_tape *t, const gm_batch *b, const gm_asked *asked, gm_tensor *look, gm_tensor *spans,
                                 gm_tensor *words, gm_region_view *view, gm_region_result *result)
{
    const gm_region_batch batch = { .words = &b->words, .entities = &asked->pack, .regions = &b->scene.regions, .span = asked->span,
                                    .cu_scores = asked->cu_scores, .scores = asked->scores };
    gm_tensor *visual;
    GM_TRY(make_keys(h, t, b, look, &visual, &view->keys));
    GM_TRY(gm_op_linear(t, spans, h->query, NULL, GM_LINEAR_PLAIN, &view->query));
    if (h->debias.weight > 0.0f) GM_TRY(gm_op_region_triplet(t, &batch, words, visual, asked->iou, h->debias));
    return gm_op_region_scores(t, &batch, view->query, view->keys, h->null, gm_region_scale(), asked->target, result);
}
