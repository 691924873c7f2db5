/* A page to look at predictions with: one HTML file that holds everything, pictures included, and needs no script and no
 * network. It is well-formed XML too, so that programs can read it (docs/images.md). */
#ifndef GM_PAGE_PAGE_H
#define GM_PAGE_PAGE_H

#include "data/records.h"
#include "eval/compare.h"

typedef struct gm_page_options {
    const char *images;  /* folder of the pictures; NULL or "": the page has none */
    const char *note;    /* stands under the title: "drawn images"; or NULL */
    int32_t limit;       /* samples shown, the first ones; the counts at the top are of all */
    gm_eval_options how; /* what is right, where there is gold */
} gm_page_options;

/* gold may be NULL. With it the page has the scores of `gmner eval`, shows each sample in gold's order with what was missed,
 * and refuses what gm_evaluate refuses. A picture that is missing or broken is said in its place. Written beside `path` and
 * renamed. */
gm_status gm_page_write(const gm_records *pred, const gm_records *gold, const gm_page_options *o, const char *path,
                        gm_err *err);

#endif
