/* Any bytes as a model's answer: a correction that holds, or a reason. */
#include <stdint.h>
#include <stdlib.h>

#include "eval/compare.h"
#include "mllm/answers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char w0[] = "Des", w1[] = "Ardin", w2[] = "Tribune", per[] = "PER", other[] = "other";
    char *words[] = { w0, w1, w2, w1 };
    const gm_record r = { .tokens = words, .token_count = 4 };
    const gm_labels labels = { .names = { per, other }, .count = 2 };
    const gm_mllm_view view = { 640, 480, 320, 240, 0.5, 0.5, GM_MLLM_COORDINATES_RESIZED };
    const char *text = (const char *)data;
    gm_box boxes[GM_ANSWER_BOXES];
    gm_grounded *list;
    gm_err err = { 0 };
    int32_t start = 1, end = 2, type = 0, count = 0;
    bool is_none;
    if (gm_answer_span(text, size, &r, &start, &end, &is_none, &err) != GM_OK && err.text[0] == '\0') abort();
    if (start < 0 || end < start || end >= 4) abort();
    if (gm_answer_type(text, size, &labels, &type, &err) == GM_OK && (type < 0 || type > 1)) abort();
    if (gm_answer_boxes(text, size, &view, boxes, &count, &err) == GM_OK)
        for (int32_t i = 0; i < count; i++)
            if (!gm_box_is_valid(boxes[i]) || boxes[i].x1 < 0 || boxes[i].y1 < 0 || boxes[i].x2 > 640 || boxes[i].y2 > 480) abort();
    if (gm_answer_grounding(text, size, &labels, &view, &list, &count, &err) != GM_OK) return 0;
    for (int32_t i = 0; i < count; i++)
        if (list[i].entity == NULL || list[i].type < 0 || list[i].type > 1) abort();
    gm_grounded_free(list, count);
    return 0;
}
