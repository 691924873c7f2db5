/* A file of proposals, one picture a line: {"image": name, "boxes": [[x1, y1, x2, y2], ...], "scores": [...]}. Scores may be
 * missing, other members are ignored. Inside src/image only. */
#ifndef GM_IMAGE_PROPOSALS_H
#define GM_IMAGE_PROPOSALS_H

#include "base/status.h"
#include "image/regions.h"

typedef struct gm_proposal {
    char *image;
    int64_t line;
    gm_regions regions; /* boxes as they stand in the file, and scores */
} gm_proposal;

typedef struct gm_proposals {
    gm_proposal *items; /* by name */
    size_t count, capacity;
} gm_proposals;

gm_status gm_proposals_load(const char *path, gm_proposals *all, gm_err *err);
const gm_regions *gm_proposals_find(const gm_proposals *all, const char *image); /* or NULL */
void gm_proposals_free(gm_proposals *all); /* takes an empty one */

/* One line; the message begins without a place. */
gm_status gm_proposal_parse(const char *line, size_t size, gm_proposal *to, gm_err *err);
void gm_proposal_free(gm_proposal *p);

#endif
