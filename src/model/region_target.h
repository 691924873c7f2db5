/* What the regions of an image are to an entity: how well each covers one of its boxes, and the distribution that the
 * region head learns (docs/conventions.md, "Region head"). */
#ifndef GM_MODEL_REGION_TARGET_H
#define GM_MODEL_REGION_TARGET_H

#include "data/records.h"

/* iou [count + 1]: the largest over the entity's boxes; 0 for the null slot, which is last, and for boxes without area.
 * target [count + 1]: iou where above keep_above, divided by their sum; an entity without boxes, or that no region covers so
 * well, has all of it on the null slot. */
void gm_region_target(const gm_box *region, int32_t count, const gm_box *box, int32_t box_count, double keep_above, float *target, float *iou);

#endif
