/* What the files of the page share. Inside src/page only. */
#ifndef GM_PAGE_PARTS_H
#define GM_PAGE_PARTS_H

#include "data/labels.h"
#include "page/page.h"

enum { GM_PAGE_COLORS = 10 }; /* classes t0 .. t9 of the style sheet */
extern const char gm_page_style[];

/* One sample as the page shows it. */
typedef struct gm_page_sample {
    const gm_record *pred, *gold; /* pred NULL: nothing was predicted; gold NULL: there is none */
    const gm_labels *types;       /* their order gives colours */
    const gm_page_options *o;
    bool has_scores, has_doubts;  /* whether any prediction of the page carries a score, an uncertainty */
    int32_t number;               /* from 1 */
} gm_page_sample;

/* All before what a page is about: the title is its heading, too. */
gm_status gm_page_head(gm_buffer *out, const char *title, gm_err *err);
/* Text as it may stand in HTML and XML, between tags or in quotes: & < > " ' as entities, and U+FFFD for the control
 * characters that neither form allows. */
gm_status gm_page_text(gm_buffer *out, const char *text, gm_err *err);
/* The name of an entity: its words with a blank between them. */
gm_status gm_page_name(gm_buffer *out, const gm_record *r, const gm_entity *e, gm_err *err);
/* The sentence, each entity in a <mark>, nested ones in each other; one that crosses another has none. */
gm_status gm_page_sentence(gm_buffer *out, const gm_record *r, const gm_labels *types, gm_err *err);
/* The picture with all boxes, or a line that says why there is none. */
gm_status gm_page_picture(gm_buffer *out, const gm_page_sample *s, bool *is_shown, gm_err *err);
/* The entities as a table: scores, bars of uncertainty, and with gold what is right, wrong and missed. */
gm_status gm_page_table(gm_buffer *out, const gm_page_sample *s, gm_err *err);

int gm_page_color(const gm_labels *types, const char *type); /* 0 .. GM_PAGE_COLORS - 1 */
bool gm_page_has_doubt(const gm_entity *e);

#endif
