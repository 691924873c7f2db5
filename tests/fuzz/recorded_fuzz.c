/* Recorded answers, a line of each as the input has it, about one sample: read, asked for, and put in. */
#include <stdlib.h>
#include <string.h>

#include "mllm/recorded.h"

static const char sample[] =
    "{\"id\": \"9\", \"tokens\": [\"Mira\", \"and\", \"Mira\", \"met\", \"Joss\"], \"entities\": ["
    "{\"start\": 0, \"end\": 0, \"type\": \"PER\", \"boxes\": [], \"uncertainty\": {\"span_norm\": 0.5, \"type_norm\": "
    "0.5, \"region_norm\": 0.5}},"
    "{\"start\": 2, \"end\": 2, \"type\": \"PER\", \"boxes\": [], \"uncertainty\": {\"span_norm\": 0.5, \"type_norm\": "
    "0.5, \"region_norm\": 0.5}},"
    "{\"start\": 4, \"end\": 4, \"type\": \"LOC\", \"boxes\": [], \"uncertainty\": {\"span_norm\": 0.5, \"type_norm\": "
    "0.5, \"region_norm\": 0.5}}]}";

static void need(bool is_so)
{
    if (!is_so) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const gm_route_options all = { .calls = -1, .share = 1, .asks = { true, true, true } };
    gm_err err;
    gm_record r;
    gm_records pred = { 0 };
    gm_type_set types;
    gm_recorded *recorded;
    gm_recorded_counts n = { 0 };
    gm_route route;
    gm_corrections *c;
    const gm_records *now;
    need(gm_record_parse(sample, strlen(sample), &r, &err) == GM_OK && gm_records_add(&pred, &r, &err) == GM_OK);
    need(gm_type_set_of(&pred, &types, &err) == GM_OK && gm_route_make(&pred, &all, &route, &err) == GM_OK);
    need(gm_recorded_open(&pred, &types, &recorded, &err) == GM_OK);
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) stop = end;
        (void)gm_recorded_take(recorded, at, (size_t)(stop - at), &n, &err);
        at = stop + (stop < end);
    }
    need(gm_correct_all(&pred, &route, gm_recorded_ask, recorded, &c, &now, &err) == GM_OK);
    for (int32_t k = 0; k < now->items[0].entity_count; k++) {
        const gm_entity *e = &now->items[0].entities[k];
        need(e->start >= 0 && e->start <= e->end && e->end < 5 && gm_labels_find(&types.shown, e->type) >= 0);
        for (int32_t i = 0; i < e->box_count; i++)
            need(e->boxes[i].x2 > e->boxes[i].x1 && e->boxes[i].y2 > e->boxes[i].y1);
    }
    gm_correct_free(c);
    gm_recorded_free(recorded);
    gm_route_free(&route);
    gm_type_set_free(&types);
    gm_records_free(&pred);
    return 0;
}
