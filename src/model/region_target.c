#include "model/region_target.h"

#include <math.h>

/* Boxes without area overlap nothing. */
static double overlap(gm_box a, gm_box b)
{
    const double w = fmin(a.x2, b.x2) - fmax(a.x1, b.x1), h = fmin(a.y2, b.y2) - fmax(a.y1, b.y1);
    const double both = w > 0.0 && h > 0.0 ? w * h : 0.0;
    const double either = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both;
    return both > 0.0 ? both / either : 0.0;
}

static double best_overlap(gm_box region, const gm_box *box, int32_t box_count)
{
    double best = 0.0;
    for (int32_t i = 0; i < box_count; i++) best = fmax(best, overlap(region, box[i]));
    return best;
}

void gm_region_target(const gm_box *region, int32_t count, const gm_box *box, int32_t box_count, double keep_above, float *target, float *iou)
{
    double sum = 0.0;
    for (int32_t k = 0; k < count; k++) {
        const double best = best_overlap(region[k], box, box_count);
        iou[k] = (float)best;
        sum += best > keep_above ? best : 0.0;
    }
    for (int32_t k = 0; k < count; k++) {
        const double best = best_overlap(region[k], box, box_count);
        target[k] = best > keep_above ? (float)(best / sum) : 0.0f;
    }
    iou[count] = 0.0f;
    target[count] = sum > 0.0 ? 0.0f : 1.0f;
}
