/* Drawn pictures for samples of synthetic records, made in memory: the gold boxes first among the regions, then windows of the
 * picture, as many as the sample's place says. Some samples have none. Fine classes by chance, some not known. */
#ifndef GM_TESTS_PICTURES_H
#define GM_TESTS_PICTURES_H

#include "tests/support/support.h"

#include "base/memory.h"
#include "cross_entropy/cross_entropy.h"
#include "image/paint.h"
#include "model/model.h"
#include "model/region_target.h"

#define PICTURES_FINE "first,second,third" /* the fine types of models in tests; no record needs to name them */

static inline void paint_crops(const gm_record *r, gm_picture *p, int32_t side)
{
    enum { MOST = 64 };
    gm_paint_object objects[MOST];
    gm_image image = { 0 };
    gm_err why = { 0 };
    const size_t bytes = (size_t)side * (size_t)side * 3;
    gm_paint_scene scene = { .image = r->image, .seed = 1, .width = p->regions.width, .height = p->regions.height, .objects = objects };
    for (int32_t i = 0; i < r->entity_count; i++)
        for (int32_t k = 0; k < r->entities[i].box_count && scene.count < MOST; k++)
            objects[scene.count++] = (gm_paint_object) { r->entities[i].boxes[k], r->entities[i].type, r->tokens[r->entities[i].start] };
    assert_int_equal(gm_paint(&scene, &image, &why), GM_OK);
    p->crops = gm_malloc((size_t)p->regions.count * bytes);
    assert_non_null(p->crops);
    for (int32_t k = 0; k < p->regions.count; k++)
        assert_int_equal(gm_image_resize_into(&image, p->regions.box[k], side, side, p->crops + (size_t)k * bytes, &why), GM_OK);
    gm_image_free(&image);
}

/* Places: 0 of 4 has no picture, 1 of 4 one region, the others all that the model takes. */
static inline int32_t regions_at(const gm_model *m, const gm_record *r, uint32_t place)
{
    if (place % 4 == 0 || r->image == NULL || r->width == 0) return 0;
    return place % 4 == 1 ? 1 : m->options.max_regions;
}

static inline void show_picture(const gm_model *m, gm_sample *s, uint32_t place)
{
    const gm_record *r = s->record;
    const int32_t most = regions_at(m, r, place);
    gm_picture *p = &s->picture;
    if (most == 0) return;
    gm_box *box = gm_calloc((size_t)most, sizeof *box);
    assert_non_null(box);
    int32_t count = 0;
    for (int32_t i = 0; i < r->entity_count; i++)
        for (int32_t k = 0; k < r->entities[i].box_count && count < most - 1; k++) box[count++] = r->entities[i].boxes[k];
    count += gm_regions_propose(r->width, r->height, most - count, box + count);
    p->regions = (gm_regions) { .count = count, .width = r->width, .height = r->height, .box = box };
    paint_crops(r, p, m->vit.config.image);
    if (s->gold_count == 0) return;
    const size_t row = (size_t)count + 1;
    p->target = gm_calloc((size_t)s->gold_count * row, sizeof *p->target);
    p->iou = gm_calloc((size_t)s->gold_count * row, sizeof *p->iou);
    assert_true(p->target != NULL && p->iou != NULL);
    for (int32_t i = 0, k = 0; i < r->entity_count; i++) {
        const gm_entity *e = &r->entities[i];
        if (e->end >= s->text.words) continue;
        gm_region_target(box, count, e->boxes, e->box_count, 0.5, p->target + (size_t)k * row, p->iou + (size_t)k * row);
        k++;
    }
}

static inline void name_fine_by_chance(gm_sample *s, uint32_t place)
{
    if (s->gold_count == 0) return;
    s->gold_fine = gm_malloc((size_t)s->gold_count);
    assert_non_null(s->gold_fine);
    for (int32_t k = 0; k < s->gold_count; k++) {
        const uint32_t type = gm_philox(8, (uint32_t)k, place, 0, gm_purpose(GM_SITE_TEST, 0, 0)).word[0] % 4;
        s->gold_fine[k] = type < 3 ? (uint8_t)type : GM_NO_LABEL;
    }
}

static inline void show_pictures(const gm_model *m, gm_sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (m->options.vision == GM_VISION_TINY) show_picture(m, &samples[i], (uint32_t)i);
        if (m->fine != NULL) name_fine_by_chance(&samples[i], (uint32_t)i);
    }
}

#endif
