/* The entities of a sample as a table. A bar is an uncertainty over its largest value, 0 to 1. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "page/parts.h"

static gm_status add(gm_buffer *out, const char *text, gm_err *err)
{
    return gm_buffer_add(out, text, strlen(text), err);
}

static gm_status add_head(gm_buffer *out, const gm_page_sample *s, gm_err *err)
{
    GM_TRY(add(out, "<table><thead><tr><th>#</th><th>entity</th><th>type</th>", err));
    GM_TRY(add(out, "<th>region</th>", err));
    if (s->gold != NULL) GM_TRY(add(out, "<th>gold</th>", err));
    if (s->has_scores) GM_TRY(add(out, "<th>score</th>", err));
    if (s->has_doubts) GM_TRY(add(out, "<th colspan=\"3\">uncertainty: span, type, region</th>", err));
    return add(out, "</tr></thead><tbody>", err);
}

static gm_status add_names(gm_buffer *out, const gm_page_sample *s, const gm_record *r, const gm_entity *e, gm_err *err)
{
    GM_TRY(add(out, "<td class=\"name\" dir=\"auto\">", err));
    GM_TRY(gm_page_name(out, r, e, err));
    GM_TRY(gm_buffer_printf(out, err, "</td><td><span class=\"type t%d\">", gm_page_color(s->types, e->type)));
    GM_TRY(gm_page_text(out, e->type, err));
    GM_TRY(add(out, "</span>", err));
    if (e->fine != NULL) {
        GM_TRY(add(out, " <small>", err));
        GM_TRY(gm_page_text(out, e->fine, err));
        GM_TRY(add(out, "</small>", err));
    }
    return add(out, "</td>", err);
}

/* norm: over its largest value; raw: in nats. Either may be absent. */
static gm_status add_bar(gm_buffer *out, const char *what, double norm, double raw, gm_err *err)
{
    if (isnan(norm) && isnan(raw)) return add(out, "<td></td>", err);
    GM_TRY(gm_buffer_printf(out, err, "<td class=\"bar\" title=\"uncertainty of the %s", what));
    if (!isnan(raw)) GM_TRY(gm_buffer_printf(out, err, ": %.4f nats", raw));
    GM_TRY(add(out, "\">", err));
    if (isnan(norm)) return gm_buffer_printf(out, err, "%.2f nats</td>", raw);
    return gm_buffer_printf(
        out, err, "<span class=\"track\"><span class=\"fill of-%s\" style=\"width:%.1f%%\"></span></span> %.2f</td>",
        what, 100.0 * fmin(1.0, fmax(0.0, norm)), norm);
}

static gm_status add_region(gm_buffer *out, const gm_entity *e, gm_err *err)
{
    GM_TRY(add(out, "<td>", err));
    if (e->box_count == 0)
        GM_TRY(add(out, "none", err));
    else
        GM_TRY(gm_buffer_printf(out, err, "%d box%s", (int)e->box_count, e->box_count > 1 ? "es" : ""));
    if (e->has_bad_box) GM_TRY(add(out, " (without inside)", err));
    if (!isnan(e->region_score)) GM_TRY(gm_buffer_printf(out, err, " (%.2f)", e->region_score));
    return add(out, "</td>", err);
}

/* What the gold says of a prediction: the entity of its key that agrees with it in most. */
static gm_status add_verdict(gm_buffer *out, const gm_page_sample *s, const gm_entity *e, gm_err *err)
{
    const gm_entity *best = NULL;
    unsigned most = 0;
    double iou = 0;
    for (int32_t i = 0; i < s->gold->entity_count; i++) {
        double overlap;
        const gm_entity *g = &s->gold->entities[i];
        const unsigned same =
            gm_compare(s->pred, e, s->gold, g, &s->o->how, &overlap) & (GM_SAME_KEY | GM_SAME_TYPE | GM_SAME_REGION);
        if (same <= most) continue;
        most = same;
        best = g;
        iou = overlap;
    }
    if (best == NULL) return add(out, "<td class=\"wrong\">no such entity</td>", err);
    const bool is_type = (most & GM_SAME_TYPE) != 0, is_region = (most & GM_SAME_REGION) != 0;
    if (is_type && is_region) return add(out, "<td class=\"right\">right</td>", err);
    GM_TRY(add(out, "<td class=\"wrong\">", err));
    if (!is_type) {
        GM_TRY(add(out, "type is ", err));
        GM_TRY(gm_page_text(out, best->type, err));
    }
    if (!is_region) {
        GM_TRY(add(out, is_type ? "" : ", ", err));
        if (best->box_count == 0)
            GM_TRY(add(out, "has no region", err));
        else if (e->box_count == 0)
            GM_TRY(add(out, "has a region", err));
        else
            GM_TRY(gm_buffer_printf(out, err, "region meets by %.2f", iou));
    }
    return add(out, "</td>", err);
}

static gm_status add_prediction(gm_buffer *out, const gm_page_sample *s, int32_t i, gm_err *err)
{
    const gm_entity *e = &s->pred->entities[i];
    const gm_uncertainty *u = &e->uncertainty;
    GM_TRY(gm_buffer_printf(out, err, "<tr data-entity=\"%d\"><td>%d</td>", (int)i + 1, (int)i + 1));
    GM_TRY(add_names(out, s, s->pred, e, err));
    GM_TRY(add_region(out, e, err));
    if (s->gold != NULL) GM_TRY(add_verdict(out, s, e, err));
    if (s->has_scores && isnan(e->score)) GM_TRY(add(out, "<td></td>", err));
    if (s->has_scores && !isnan(e->score)) GM_TRY(gm_buffer_printf(out, err, "<td>%.2f</td>", e->score));
    if (s->has_doubts) {
        GM_TRY(add_bar(out, "span", u->span_norm, u->span, err));
        GM_TRY(add_bar(out, "type", u->type_norm, u->type, err));
        GM_TRY(add_bar(out, "region", u->region_norm, u->region, err));
    }
    return add(out, "</tr>", err);
}

static bool is_found(const gm_page_sample *s, const gm_entity *g)
{
    for (int32_t i = 0; s->pred != NULL && i < s->pred->entity_count; i++)
        if (gm_compare(s->pred, &s->pred->entities[i], s->gold, g, &s->o->how, NULL) & GM_SAME_KEY) return true;
    return false;
}

static gm_status add_missed(gm_buffer *out, const gm_page_sample *s, const gm_entity *g, gm_err *err)
{
    GM_TRY(add(out, "<tr class=\"missed\"><td></td>", err));
    GM_TRY(add_names(out, s, s->gold, g, err));
    GM_TRY(add_region(out, g, err));
    GM_TRY(add(out, "<td class=\"wrong\">missed</td>", err));
    if (s->has_scores) GM_TRY(add(out, "<td></td>", err));
    if (s->has_doubts) GM_TRY(add(out, "<td colspan=\"3\"></td>", err));
    return add(out, "</tr>", err);
}

gm_status gm_page_table(gm_buffer *out, const gm_page_sample *s, gm_err *err)
{
    const int32_t count = s->pred != NULL ? s->pred->entity_count : 0,
                  gold_count = s->gold != NULL ? s->gold->entity_count : 0;
    if (count == 0 && gold_count == 0) return add(out, "<p class=\"none\">no entity</p>", err);
    GM_TRY(add_head(out, s, err));
    for (int32_t i = 0; i < count; i++) GM_TRY(add_prediction(out, s, i, err));
    for (int32_t i = 0; i < gold_count; i++)
        if (!is_found(s, &s->gold->entities[i])) GM_TRY(add_missed(out, s, &s->gold->entities[i], err));
    return add(out, "</tbody></table>", err);
}
