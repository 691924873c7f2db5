/* Reports as tables. Nothing here knows a stage: the form of its report says how it is shown. */
#include "page/stages.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "page/parts.h"

/* ---- sums ---- */

static double number_of(const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

gm_stage_total gm_stages_sum(const gm_stage_report *parts, int32_t count)
{
    gm_stage_total t = { 0 };
    for (int32_t i = 0; i < count; i++) {
        const cJSON *e = cJSON_GetObjectItemCaseSensitive(parts[i].report, "endpoint");
        t.requests += number_of(e, "requests");
        t.calls += number_of(e, "calls");
        t.retries += number_of(e, "retries");
        t.cached += number_of(e, "cached");
        t.refused += number_of(e, "refused");
        t.failed += number_of(e, "failed");
        t.unsent += number_of(e, "unsent");
        t.tokens_in += number_of(e, "tokens_in");
        t.tokens_out += number_of(e, "tokens_out");
        t.cost += number_of(e, "cost");
        t.seconds += number_of(e, "seconds");
    }
    return t;
}

gm_status gm_stages_json(const gm_stage_report *parts, int32_t count, gm_buffer *to, gm_err *err)
{
    const gm_stage_total t = gm_stages_sum(parts, count);
    GM_TRY(gm_buffer_printf(to, err,
                            "{\"total\": {\"requests\": %.0f, \"calls\": %.0f, \"retries\": %.0f, \"cached\": %.0f, \"refused\": %.0f, \"failed\": %.0f, "
                            "\"unsent\": %.0f, \"tokens_in\": %.0f, \"tokens_out\": %.0f, \"cost\": %.10g, \"seconds\": %.3f}, \"stages\": {",
                            t.requests, t.calls, t.retries, t.cached, t.refused, t.failed, t.unsent, t.tokens_in, t.tokens_out, t.cost, t.seconds));
    for (int32_t i = 0; i < count; i++) {
        char *text = cJSON_PrintUnformatted(parts[i].report);
        if (text == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the report of %s", parts[i].name);
        gm_status status = gm_buffer_printf(to, err, "%s", i > 0 ? ", " : "");
        if (status == GM_OK) status = gm_buffer_json_string(to, parts[i].name, err);
        if (status == GM_OK) status = gm_buffer_printf(to, err, ": %s", text);
        cJSON_free(text);
        GM_TRY(status);
    }
    return gm_buffer_add(to, "}}\n", 3, err);
}

/* ---- values ---- */

static gm_status add(gm_buffer *out, const char *text, gm_err *err) { return gm_buffer_add(out, text, strlen(text), err); }

/* "tokens_in" reads as "tokens in". */
static gm_status add_key(gm_buffer *out, const char *key, gm_err *err)
{
    char text[128];
    snprintf(text, sizeof text, "%s", key);
    for (char *at = text; *at != '\0'; at++)
        if (*at == '_') *at = ' ';
    return gm_page_text(out, text, err);
}

static gm_status add_value(gm_buffer *out, const cJSON *v, gm_err *err)
{
    if (cJSON_GetObjectItemCaseSensitive(v, "f1") != NULL)
        return gm_buffer_printf(out, err, "F1 %.2f (P %.2f, R %.2f)", 100 * number_of(v, "f1"), 100 * number_of(v, "p"), 100 * number_of(v, "r"));
    if (cJSON_IsString(v)) return gm_page_text(out, v->valuestring, err);
    if (cJSON_IsNumber(v)) return gm_buffer_printf(out, err, v->valuedouble == floor(v->valuedouble) ? "%.0f" : "%.4g", v->valuedouble);
    if (cJSON_IsNull(v)) return add(out, "-", err);
    if (cJSON_IsBool(v)) return add(out, cJSON_IsTrue(v) ? "yes" : "no", err);
    for (const cJSON *c = v->child; c != NULL; c = c->next) {
        if (c->string != NULL) {
            GM_TRY(add_key(out, c->string, err));
            GM_TRY(add(out, " ", err));
        }
        GM_TRY(add_value(out, c, err));
        if (c->next != NULL) GM_TRY(add(out, ", ", err));
    }
    return GM_OK;
}

/* ---- tables ---- */

enum { COLUMNS = 10 }; /* an object of more members is shown as cards, not as a row */

static bool is_row(const cJSON *v) { return cJSON_IsObject(v) && v->child != NULL && cJSON_GetArraySize(v) <= COLUMNS; }

static bool has_form_of(const cJSON *a, const cJSON *b)
{
    const cJSON *x = a->child, *y = b->child;
    while (x != NULL && y != NULL && strcmp(x->string, y->string) == 0) x = x->next, y = y->next;
    return x == NULL && y == NULL;
}

/* Rows of one form from `first` on; *next is the first that is not one of them. */
static gm_status add_table(gm_buffer *out, const cJSON *first, const cJSON **next, gm_err *err)
{
    GM_TRY(add(out, "<div class=\"scroll\"><table>\n<thead><tr><th></th>", err));
    for (const cJSON *c = first->child; c != NULL; c = c->next) {
        GM_TRY(add(out, "<th>", err));
        GM_TRY(add_key(out, c->string, err));
        GM_TRY(add(out, "</th>", err));
    }
    GM_TRY(add(out, "</tr></thead>\n<tbody>\n", err));
    for (; first != NULL && is_row(first) && has_form_of(first, *next); first = first->next) {
        GM_TRY(add(out, "<tr><th>", err));
        if (first->string != NULL) GM_TRY(add_key(out, first->string, err));
        GM_TRY(add(out, "</th>", err));
        for (const cJSON *c = first->child; c != NULL; c = c->next) {
            GM_TRY(add(out, "<td>", err));
            GM_TRY(add_value(out, c, err));
            GM_TRY(add(out, "</td>", err));
        }
        GM_TRY(add(out, "</tr>\n", err));
    }
    *next = first;
    return add(out, "</tbody></table></div>\n", err);
}

static gm_status add_card(gm_buffer *out, const cJSON *v, gm_err *err)
{
    GM_TRY(add(out, "<div><dt>", err));
    GM_TRY(add_key(out, v->string, err));
    GM_TRY(add(out, "</dt><dd>", err));
    GM_TRY(add_value(out, v, err));
    return add(out, "</dd></div>", err);
}

static bool is_list_of_rows(const cJSON *v) { return cJSON_IsArray(v) && v->child != NULL && is_row(v->child); }
static bool is_card(const cJSON *v) { return !cJSON_IsObject(v) && !is_list_of_rows(v); }

static gm_status add_heading(gm_buffer *out, const char *text, gm_err *err)
{
    GM_TRY(add(out, "<h2>", err));
    GM_TRY(add_key(out, text, err));
    return add(out, "</h2>\n", err);
}

static gm_status add_cards(gm_buffer *out, const cJSON *object, gm_err *err)
{
    GM_TRY(add(out, "<dl>", err));
    for (const cJSON *v = object->child; v != NULL; v = v->next)
        if (is_card(v)) GM_TRY(add_card(out, v, err));
    return add(out, "</dl>\n", err);
}

static gm_status add_lists(gm_buffer *out, const cJSON *object, gm_err *err)
{
    for (const cJSON *v = object->child; v != NULL;) {
        const cJSON *next = v;
        if (is_row(v)) {
            GM_TRY(add_table(out, v, &next, err));
            v = next;
            continue;
        }
        if (is_list_of_rows(v)) {
            next = v->child;
            GM_TRY(add_heading(out, v->string, err));
            GM_TRY(add_table(out, v->child, &next, err));
        } else if (cJSON_IsObject(v) && v->child != NULL) {
            GM_TRY(add_heading(out, v->string, err));
            GM_TRY(add(out, "<dl>", err));
            for (const cJSON *c = v->child; c != NULL; c = c->next) GM_TRY(add_card(out, c, err));
            GM_TRY(add(out, "</dl>\n", err));
        }
        v = v->next;
    }
    return GM_OK;
}

static gm_status add_part(gm_buffer *out, const gm_stage_report *p, gm_err *err)
{
    GM_TRY(add(out, "<section data-stage=\"", err));
    GM_TRY(gm_page_text(out, p->name, err));
    GM_TRY(add(out, "\">\n<h1 class=\"stage\">", err));
    GM_TRY(gm_page_text(out, p->name, err));
    GM_TRY(add(out, "</h1>\n", err));
    GM_TRY(add_cards(out, p->report, err));
    GM_TRY(add_lists(out, p->report, err));
    return add(out, "</section>\n", err);
}

static gm_status add_all(gm_buffer *out, const char *title, const gm_stage_report *parts, int32_t count, gm_err *err)
{
    const gm_stage_total t = gm_stages_sum(parts, count);
    GM_TRY(gm_page_head(out, title, err));
    GM_TRY(gm_buffer_printf(out, err,
                            "<dl class=\"total\"><div><dt>calls</dt><dd>%.0f</dd></div><div><dt>from the cache</dt><dd>%.0f</dd></div>"
                            "<div><dt>tokens of requests</dt><dd>%.0f</dd></div><div><dt>tokens of answers</dt><dd>%.0f</dd></div>"
                            "<div><dt>cost</dt><dd>%.4g</dd></div></dl>\n",
                            t.calls, t.cached, t.tokens_in, t.tokens_out, t.cost));
    for (int32_t i = 0; i < count; i++) GM_TRY(add_part(out, &parts[i], err));
    return add(out, "</body>\n</html>\n", err);
}

gm_status gm_stages_page(const char *title, const gm_stage_report *parts, int32_t count, const char *path, gm_err *err)
{
    gm_buffer out = { 0 };
    gm_status status = add_all(&out, title, parts, count, err);
    if (status == GM_OK) status = gm_file_write(path, out.data, out.size, err);
    gm_buffer_free(&out);
    return status;
}
