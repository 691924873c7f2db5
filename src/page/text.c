/* Words of people, made safe to stand in a page. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "page/parts.h"

static const char *entity_of(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

/* Bytes of a character that a page may not hold, 0 for any other: controls below U+0020, U+007F to U+009F, which browsers
 * read as something else, and U+FFFE and U+FFFF. */
static size_t forbidden(const char *at)
{
    const unsigned char c = (unsigned char)at[0], next = c == 0 ? 0 : (unsigned char)at[1];
    if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7F) return 1;
    if (c == 0xC2 && next >= 0x80 && next <= 0x9F) return 2;
    if (c == 0xEF && next == 0xBF && ((unsigned char)at[2] == 0xBE || (unsigned char)at[2] == 0xBF)) return 3;
    return 0;
}

gm_status gm_page_text(gm_buffer *out, const char *text, gm_err *err)
{
    const char *plain = text;
    while (*text != '\0') {
        const char *instead = entity_of(*text);
        const size_t skip = instead != NULL ? 1 : forbidden(text);
        if (skip == 0) {
            text++;
            continue;
        }
        GM_TRY(gm_buffer_add(out, plain, (size_t)(text - plain), err));
        if (instead == NULL) instead = "\xEF\xBF\xBD";
        GM_TRY(gm_buffer_add(out, instead, strlen(instead), err));
        plain = text += skip;
    }
    return gm_buffer_add(out, plain, (size_t)(text - plain), err);
}

gm_status gm_page_head(gm_buffer *out, const char *title, gm_err *err)
{
    static const char before[] =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"/>\n<title>";
    GM_TRY(gm_buffer_add(out, before, sizeof before - 1, err));
    GM_TRY(gm_page_text(out, title, err));
    GM_TRY(gm_buffer_printf(out, err, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", gm_page_style));
    GM_TRY(gm_page_text(out, title, err));
    return gm_buffer_add(out, "</h1>\n", 6, err);
}

gm_status gm_page_name(gm_buffer *out, const gm_record *r, const gm_entity *e, gm_err *err)
{
    for (int32_t i = e->start; i <= e->end; i++) {
        if (i > e->start) GM_TRY(gm_buffer_add(out, " ", 1, err));
        GM_TRY(gm_page_text(out, r->tokens[i], err));
    }
    return GM_OK;
}

int gm_page_color(const gm_labels *types, const char *type)
{
    const int32_t at = gm_labels_find(types, type);
    return at < 0 ? GM_PAGE_COLORS - 1 : at % GM_PAGE_COLORS;
}

bool gm_page_has_doubt(const gm_entity *e)
{
    const gm_uncertainty *u = &e->uncertainty;
    return !(isnan(u->span) && isnan(u->type) && isnan(u->region) && isnan(u->span_norm) && isnan(u->type_norm) &&
             isnan(u->region_norm));
}

/* Whether entity b is to be opened before a: it begins earlier, or it is the longer one. */
static bool goes_before(const gm_entity *b, const gm_entity *a)
{
    return b->start != a->start ? b->start < a->start : b->end > a->end;
}

static gm_status open_mark(gm_buffer *out, const gm_entity *e, const gm_labels *types, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "<mark class=\"t%d\" data-type=\"", gm_page_color(types, e->type)));
    GM_TRY(gm_page_text(out, e->type, err));
    return gm_buffer_add(out, "\">", 2, err);
}

/* `order`: the entities by goes_before; `open`: those whose mark is open, the innermost last. */
static gm_status write_words(gm_buffer *out, const gm_record *r, const gm_labels *types, const gm_entity **order,
                             const gm_entity **open, gm_err *err)
{
    int32_t next = 0, depth = 0;
    for (int32_t i = 0; i < r->token_count; i++) {
        if (i > 0) GM_TRY(gm_buffer_add(out, " ", 1, err));
        for (; next < r->entity_count && order[next]->start <= i; next++) {
            const gm_entity *e = order[next];
            if (e->start < i || e->end >= r->token_count || (depth > 0 && e->end > open[depth - 1]->end)) continue;
            GM_TRY(open_mark(out, e, types, err));
            open[depth++] = e;
        }
        GM_TRY(gm_page_text(out, r->tokens[i], err));
        for (; depth > 0 && open[depth - 1]->end == i; depth--) GM_TRY(gm_buffer_add(out, "</mark>", 7, err));
    }
    return GM_OK;
}

gm_status gm_page_sentence(gm_buffer *out, const gm_record *r, const gm_labels *types, gm_err *err)
{
    const size_t count = (size_t)r->entity_count;
    const gm_entity **order = gm_calloc(2 * count + 1, sizeof *order);
    if (order == NULL) return gm_fail(err, GM_ERR_NOMEM, "page: no memory for the entities of \"%s\"", r->id);
    for (size_t i = 0; i < count; i++) {
        size_t k = i;
        for (; k > 0 && goes_before(&r->entities[i], order[k - 1]); k--) order[k] = order[k - 1];
        order[k] = &r->entities[i];
    }
    const gm_status status = write_words(out, r, types, order, order + count, err);
    gm_free(order);
    return status;
}
