/* Any line as a proposal: refused with a message, or a name and boxes, with a score each or none. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "image/proposals.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_err err = { 0 };
    gm_proposal p;
    if (gm_proposal_parse((const char *)data, size, &p, &err) != GM_OK) {
        if (err.text[0] == '\0' || p.image != NULL || p.regions.box != NULL) abort();
        return 0;
    }
    if (p.image == NULL || p.regions.count < 0) abort();
    for (int32_t i = 0; i < p.regions.count; i++)
        if (p.regions.score != NULL && !isfinite(p.regions.score[i])) abort();
    gm_regions_clip(&p.regions, 100, 100);
    gm_regions_keep_best(&p.regions, 3);
    if (p.regions.count > 3) abort();
    gm_proposal_free(&p);
    return 0;
}
