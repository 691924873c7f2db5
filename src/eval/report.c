/* The two forms of the report: a table for people and JSON for programs. Ratios in JSON have 12 significant digits and
 * stand beside the counts they come from; a mean without any member is null. */
#include <math.h>
#include <string.h>

#include "eval/metrics.h"

static gm_status table_line(gm_buffer *out, const char *score, const char *type, int width, gm_score s, gm_err *err)
{
    return gm_buffer_printf(out, err, "%-6s %-*s %9lld %9lld %9lld %9.4f %9.4f %9.4f\n", score, width, type,
                            (long long)s.tp, (long long)s.n_pred, (long long)s.n_gold, gm_precision(s), gm_recall(s),
                            gm_f1(s));
}

/* A mean for people: "-" where there was nothing to take it from. */
static gm_status table_mean(gm_buffer *out, const char *name, double value, gm_err *err)
{
    if (isnan(value)) return gm_buffer_printf(out, err, "  %-22s %9s\n", name, "-");
    return gm_buffer_printf(out, err, "  %-22s %9.4f\n", name, value);
}

gm_status gm_metrics_table(const gm_metrics *m, gm_buffer *out, gm_err *err)
{
    int width = 4;
    for (int32_t i = 0; i < m->type_count; i++) {
        const int n = (int)strlen(m->types[i].type);
        if (n > width) width = n;
    }
    GM_TRY(gm_buffer_printf(out, err, "%-6s %-*s %9s %9s %9s %9s %9s %9s\n", "score", width, "type", "tp", "n_pred",
                            "n_gold", "P", "R", "F1"));
    GM_TRY(table_line(out, "SPAN", "all", width, m->span, err));
    GM_TRY(table_line(out, "MNER", "all", width, m->mner, err));
    GM_TRY(table_line(out, "EEG", "all", width, m->eeg, err));
    GM_TRY(table_line(out, "GMNER", "all", width, m->gmner, err));
    for (int32_t i = 0; i < m->type_count; i++)
        GM_TRY(table_line(out, "MNER", m->types[i].type, width, m->types[i].mner, err));
    for (int32_t i = 0; i < m->type_count; i++)
        GM_TRY(table_line(out, "GMNER", m->types[i].type, width, m->types[i].gmner, err));
    GM_TRY(gm_buffer_printf(out, err, "macro F1\n"));
    GM_TRY(table_mean(out, "MNER", m->macro_mner, err));
    GM_TRY(table_mean(out, "GMNER", m->macro_gmner, err));
    GM_TRY(gm_buffer_printf(out, err, "on %lld span-matched entities\n", (long long)m->matched));
    GM_TRY(table_mean(out, "type accuracy", m->type_accuracy, err));
    GM_TRY(table_mean(out, "groundable accuracy", m->groundable_accuracy, err));
    GM_TRY(table_mean(out, "region accuracy", m->region_accuracy, err));
    GM_TRY(table_mean(out, "mean IoU", m->mean_iou, err));
    if (m->groundable == 0)
        GM_TRY(gm_buffer_printf(out, err, "no gold entity has a box: EEG and GMNER say nothing about grounding here\n"));
    return gm_buffer_printf(out, err, "%lld samples, %lld of them without a prediction (counted as empty)\n",
                            (long long)m->samples, (long long)m->missing);
}

gm_status gm_score_json(gm_score s, gm_buffer *out, gm_err *err)
{
    return gm_buffer_printf(
        out, err, "{\"tp\":%lld,\"n_pred\":%lld,\"n_gold\":%lld,\"p\":%.12g,\"r\":%.12g,\"f1\":%.12g}", (long long)s.tp,
        (long long)s.n_pred, (long long)s.n_gold, gm_precision(s), gm_recall(s), gm_f1(s));
}

static gm_status json_score(gm_buffer *out, const char *before, gm_score s, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "%s", before));
    return gm_score_json(s, out, err);
}

static gm_status json_mean(gm_buffer *out, const char *before, double value, gm_err *err)
{
    if (isnan(value)) return gm_buffer_printf(out, err, "%snull", before);
    return gm_buffer_printf(out, err, "%s%.12g", before, value);
}

gm_status gm_metrics_json(const gm_metrics *m, gm_buffer *out, gm_err *err)
{
    GM_TRY(json_score(out, "{\"span\":", m->span, err));
    GM_TRY(json_score(out, ",\"mner\":", m->mner, err));
    GM_TRY(json_score(out, ",\"eeg\":", m->eeg, err));
    GM_TRY(json_score(out, ",\"gmner\":", m->gmner, err));
    GM_TRY(gm_buffer_printf(out, err, ",\"per_type\":{"));
    for (int32_t i = 0; i < m->type_count; i++) {
        if (i > 0) GM_TRY(gm_buffer_printf(out, err, ","));
        GM_TRY(gm_buffer_json_string(out, m->types[i].type, err));
        GM_TRY(json_score(out, ":{\"mner\":", m->types[i].mner, err));
        GM_TRY(json_score(out, ",\"gmner\":", m->types[i].gmner, err));
        GM_TRY(gm_buffer_printf(out, err, "}"));
    }
    GM_TRY(json_mean(out, "},\"macro_f1\":{\"mner\":", m->macro_mner, err));
    GM_TRY(json_mean(out, ",\"gmner\":", m->macro_gmner, err));
    GM_TRY(gm_buffer_printf(out, err, "},\"span_matched\":{\"n\":%lld", (long long)m->matched));
    GM_TRY(json_mean(out, ",\"type_accuracy\":", m->type_accuracy, err));
    GM_TRY(json_mean(out, ",\"groundable_accuracy\":", m->groundable_accuracy, err));
    GM_TRY(json_mean(out, ",\"region_accuracy\":", m->region_accuracy, err));
    GM_TRY(json_mean(out, ",\"mean_iou\":", m->mean_iou, err));
    return gm_buffer_printf(out, err, "},\"groundable\":%lld,\"samples\":%lld,\"missing\":%lld}\n",
                            (long long)m->groundable, (long long)m->samples, (long long)m->missing);
}
