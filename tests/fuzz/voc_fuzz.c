/* Any bytes as a box file: refused with a message, or objects with names and boxes that have an inside. */
#include <stdint.h>
#include <stdlib.h>

#include "data/readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_err err = { 0 };
    gm_voc voc;
    if (gm_voc_parse((const char *)data, size, &voc, &err) != GM_OK) {
        if (err.text[0] == '\0' || voc.count != 0 || voc.objects != NULL) abort();
        return 0;
    }
    for (int32_t i = 0; i < voc.count; i++) {
        const gm_voc_object *o = &voc.objects[i];
        if (o->name[0] == '\0' || !(o->box.x2 > o->box.x1 && o->box.y2 > o->box.y1)) abort();
    }
    if (voc.width < 0 || voc.height < 0) abort();
    gm_voc_free(&voc);
    return 0;
}
