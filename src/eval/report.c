/* The two forms of the report: a table for people and JSON for programs. Ratios in JSON have 12 significant digits and
 * stand beside the counts they come from; a mean without any member is null. */
#include "eval/report.h"

#include <math.h>
#include <string.h>

/* ---- the table ---- */

static gm_status table_line(gm_buffer *out, const char *score, const char *type, int width, gm_score s, gm_err *err)
{
    return gm_buffer_printf(out, err, "%-9s %-*s %9lld %9lld %9lld %9.4f %9.4f %9.4f\n", score, width, type,
                            (long long)s.tp, (long long)s.n_pred, (long long)s.n_gold, gm_precision(s), gm_recall(s),
                            gm_f1(s));
}

static gm_status table_types(gm_buffer *out, const char *score, bool is_gmner, const gm_type_table *t, int width,
                             gm_err *err)
{
    for (int32_t i = 0; i < t->count; i++)
        GM_TRY(table_line(out, score, t->items[i].type, width, is_gmner ? t->items[i].gmner : t->items[i].mner, err));
    return GM_OK;
}

/* A mean for people: "-" where there was nothing to take it from. */
static gm_status table_mean(gm_buffer *out, const char *name, double value, gm_err *err)
{
    if (isnan(value)) return gm_buffer_printf(out, err, "  %-22s %9s\n", name, "-");
    return gm_buffer_printf(out, err, "  %-22s %9.4f\n", name, value);
}

static int name_width(const gm_metrics *m)
{
    const gm_type_table *const tables[] = { &m->types, &m->fines };
    int width = 4;
    for (size_t t = 0; t < (m->with_fine > 0 ? 2u : 1u); t++) {
        for (int32_t i = 0; i < tables[t]->count; i++) {
            const int n = (int)strlen(tables[t]->items[i].type);
            if (n > width) width = n;
        }
    }
    return width;
}

static gm_status table_scores(const gm_metrics *m, gm_buffer *out, gm_err *err)
{
    const int width = name_width(m);
    GM_TRY(gm_buffer_printf(out, err, "%-9s %-*s %9s %9s %9s %9s %9s %9s\n", "score", width, "type", "tp", "n_pred",
                            "n_gold", "P", "R", "F1"));
    GM_TRY(table_line(out, "SPAN", "all", width, m->span, err));
    GM_TRY(table_line(out, "MNER", "all", width, m->mner, err));
    GM_TRY(table_line(out, "EEG", "all", width, m->eeg, err));
    GM_TRY(table_line(out, "GMNER", "all", width, m->gmner, err));
    if (m->with_fine > 0) GM_TRY(table_line(out, "fine-MNER", "all", width, m->fine_mner, err));
    if (m->with_fine > 0) GM_TRY(table_line(out, "FMNERG", "all", width, m->fmnerg, err));
    GM_TRY(table_types(out, "MNER", false, &m->types, width, err));
    GM_TRY(table_types(out, "GMNER", true, &m->types, width, err));
    if (m->with_fine > 0) GM_TRY(table_types(out, "fine-MNER", false, &m->fines, width, err));
    if (m->with_fine > 0) GM_TRY(table_types(out, "FMNERG", true, &m->fines, width, err));
    GM_TRY(gm_buffer_printf(out, err, "macro F1\n"));
    GM_TRY(table_mean(out, "MNER", m->macro_mner, err));
    GM_TRY(table_mean(out, "GMNER", m->macro_gmner, err));
    if (m->with_fine == 0) return GM_OK;
    GM_TRY(table_mean(out, "fine-MNER", m->macro_fine_mner, err));
    return table_mean(out, "FMNERG", m->macro_fmnerg, err);
}

static gm_status table_metrics(const gm_metrics *m, gm_buffer *out, gm_err *err)
{
    GM_TRY(table_scores(m, out, err));
    GM_TRY(gm_buffer_printf(out, err, "on %lld span-matched entities\n", (long long)m->matched));
    GM_TRY(table_mean(out, "type accuracy", m->type_accuracy, err));
    GM_TRY(table_mean(out, "groundable accuracy", m->groundable_accuracy, err));
    GM_TRY(table_mean(out, "region accuracy", m->region_accuracy, err));
    GM_TRY(table_mean(out, "mean IoU", m->mean_iou, err));
    if (m->groundable == 0)
        GM_TRY(
            gm_buffer_printf(out, err, "no gold entity has a box: EEG and GMNER say nothing about grounding here\n"));
    return gm_buffer_printf(out, err, "%lld samples, %lld of them without a prediction (counted as empty)\n",
                            (long long)m->samples, (long long)m->missing);
}

static gm_status table_compat(const gm_compat *c, gm_buffer *out, gm_err *err)
{
    const char *rule = gm_compat_name(c->rule);
    GM_TRY(gm_buffer_printf(
        out, err, "as %s's evaluator counts: a row for each box, not comparable with the scores above\n", rule));
    GM_TRY(table_line(out, "SPAN", rule, 7, c->span, err));
    GM_TRY(table_line(out, "MNER", rule, 7, c->mner, err));
    GM_TRY(table_line(out, "CLS", rule, 7, c->cls, err));
    GM_TRY(table_line(out, "EEG", rule, 7, c->eeg, err));
    GM_TRY(table_line(out, "GMNER", rule, 7, c->gmner, err));
    return gm_buffer_printf(
        out, err,
        "%lld samples with one side empty left out of EEG and GMNER, %lld predictions of unknown types left out\n",
        (long long)c->dropped_samples, (long long)c->dropped_predictions);
}

static gm_status table_cell(gm_buffer *out, double value, gm_err *err)
{
    if (isnan(value)) return gm_buffer_printf(out, err, " %8s", "-");
    return gm_buffer_printf(out, err, " %8.4f", value);
}

static gm_status table_doubt(const gm_doubt *d, gm_part part, gm_measure m, gm_buffer *out, gm_err *err)
{
    const gm_ranking *r = &d->ranking;
    const bool is_confidence = gm_measure_is_probability(m);
    const double cells[] = { r->auroc,
                             r->auroc_strict,
                             r->auprc,
                             r->aurc,
                             r->e_aurc,
                             is_confidence ? d->calibration.ece : (double)NAN,
                             is_confidence ? d->calibration.mce : (double)NAN,
                             is_confidence ? d->calibration.brier : (double)NAN };
    GM_TRY(gm_buffer_printf(out, err, "%-6s %-18s %7lld %7lld", gm_part_names[part], gm_measure_names[m],
                            (long long)r->right, (long long)r->wrong));
    for (size_t i = 0; i < GM_LEN(cells); i++) GM_TRY(table_cell(out, cells[i], err));
    return gm_buffer_printf(out, err, "\n");
}

static gm_status table_doubts(const gm_doubts *d, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err,
                            "uncertainty: of all predicted spans; of types and regions where the span is right\n"));
    GM_TRY(gm_buffer_printf(out, err, "%-6s %-18s %7s %7s %8s %8s %8s %8s %8s %8s %8s %8s\n", "part", "by", "right",
                            "wrong", "AUROC", "strict", "AUPRC", "AURC", "E-AURC", "ECE", "MCE", "Brier"));
    for (int part = 0; part < GM_PARTS; part++) {
        for (int m = 0; m < GM_MEASURES; m++) {
            const gm_doubt *one = &d->of[part][m];
            if (one->ranking.right + one->ranking.wrong > 0)
                GM_TRY(table_doubt(one, (gm_part)part, (gm_measure)m, out, err));
        }
    }
    return GM_OK;
}

static gm_status table_delegation(const gm_delegation *d, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err,
                            "thresholds: what is above them is delegated and put right\n%-6s %10s %9s %9s %9s\n",
                            "part", "threshold", "calls", "corrected", "wrong"));
    for (int part = 0; part < GM_PARTS; part++)
        GM_TRY(gm_buffer_printf(out, err, "%-6s %10.6f %9lld %9lld %9lld\n", gm_part_names[part],
                                d->thresholds.of[part], (long long)d->calls[part], (long long)d->corrected[part],
                                (long long)d->wrong[part]));
    return gm_buffer_printf(
        out, err, "of %lld predictions; GMNER F1 %.4f becomes %.4f, the calls cost %.2f points, gain %.2f points\n",
        (long long)d->predictions, gm_f1(d->before), gm_f1(d->after), d->cost, d->gain);
}

gm_status gm_report_table(const gm_report *r, gm_buffer *out, gm_err *err)
{
    GM_TRY(table_metrics(r->metrics, out, err));
    if (r->compat != NULL) GM_TRY(table_compat(r->compat, out, err));
    if (r->doubts != NULL) GM_TRY(table_doubts(r->doubts, out, err));
    if (r->grounding != NULL) GM_TRY(gm_grounding_table(r->grounding, out, err));
    return r->delegation != NULL ? table_delegation(r->delegation, out, err) : GM_OK;
}

/* ---- JSON ---- */

gm_status gm_score_json(gm_score s, gm_buffer *out, gm_err *err)
{
    return gm_buffer_printf(
        out, err, "{\"tp\":%lld,\"n_pred\":%lld,\"n_gold\":%lld,\"p\":%.12g,\"r\":%.12g,\"f1\":%.12g}", (long long)s.tp,
        (long long)s.n_pred, (long long)s.n_gold, gm_precision(s), gm_recall(s), gm_f1(s));
}

gm_status gm_report_score(gm_buffer *out, const char *before, gm_score s, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "%s", before));
    return gm_score_json(s, out, err);
}

gm_status gm_report_number(gm_buffer *out, const char *before, double value, gm_err *err)
{
    if (isnan(value)) return gm_buffer_printf(out, err, "%snull", before);
    return gm_buffer_printf(out, err, "%s%.12g", before, value);
}

static gm_status json_types(gm_buffer *out, const gm_type_table *t, const char *mner, const char *gmner, gm_err *err)
{
    for (int32_t i = 0; i < t->count; i++) {
        if (i > 0) GM_TRY(gm_buffer_printf(out, err, ","));
        GM_TRY(gm_buffer_json_string(out, t->items[i].type, err));
        GM_TRY(gm_buffer_printf(out, err, ":{\"%s\":", mner));
        GM_TRY(gm_score_json(t->items[i].mner, out, err));
        GM_TRY(gm_buffer_printf(out, err, ",\"%s\":", gmner));
        GM_TRY(gm_score_json(t->items[i].gmner, out, err));
        GM_TRY(gm_buffer_printf(out, err, "}"));
    }
    return gm_buffer_printf(out, err, "}");
}

static gm_status json_metrics(const gm_metrics *m, gm_buffer *out, gm_err *err)
{
    const bool has_fine = m->with_fine > 0;
    GM_TRY(gm_report_score(out, "\"span\":", m->span, err));
    GM_TRY(gm_report_score(out, ",\"mner\":", m->mner, err));
    GM_TRY(gm_report_score(out, ",\"eeg\":", m->eeg, err));
    GM_TRY(gm_report_score(out, ",\"gmner\":", m->gmner, err));
    if (has_fine) GM_TRY(gm_report_score(out, ",\"fine_mner\":", m->fine_mner, err));
    if (has_fine) GM_TRY(gm_report_score(out, ",\"fmnerg\":", m->fmnerg, err));
    GM_TRY(gm_buffer_printf(out, err, ",\"per_type\":{"));
    GM_TRY(json_types(out, &m->types, "mner", "gmner", err));
    if (has_fine) GM_TRY(gm_buffer_printf(out, err, ",\"per_fine_type\":{"));
    if (has_fine) GM_TRY(json_types(out, &m->fines, "fine_mner", "fmnerg", err));
    GM_TRY(gm_report_number(out, ",\"macro_f1\":{\"mner\":", m->macro_mner, err));
    GM_TRY(gm_report_number(out, ",\"gmner\":", m->macro_gmner, err));
    if (has_fine) GM_TRY(gm_report_number(out, ",\"fine_mner\":", m->macro_fine_mner, err));
    if (has_fine) GM_TRY(gm_report_number(out, ",\"fmnerg\":", m->macro_fmnerg, err));
    GM_TRY(gm_buffer_printf(out, err, "},\"span_matched\":{\"n\":%lld", (long long)m->matched));
    GM_TRY(gm_report_number(out, ",\"type_accuracy\":", m->type_accuracy, err));
    GM_TRY(gm_report_number(out, ",\"groundable_accuracy\":", m->groundable_accuracy, err));
    GM_TRY(gm_report_number(out, ",\"region_accuracy\":", m->region_accuracy, err));
    GM_TRY(gm_report_number(out, ",\"mean_iou\":", m->mean_iou, err));
    return gm_buffer_printf(out, err, "},\"groundable\":%lld,\"with_fine\":%lld,\"samples\":%lld,\"missing\":%lld",
                            (long long)m->groundable, (long long)m->with_fine, (long long)m->samples,
                            (long long)m->missing);
}

static gm_status json_compat(const gm_compat *c, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, ",\"compat\":{\"evaluator\":\"%s\"", gm_compat_name(c->rule)));
    GM_TRY(gm_report_score(out, ",\"span\":", c->span, err));
    GM_TRY(gm_report_score(out, ",\"mner\":", c->mner, err));
    GM_TRY(gm_report_score(out, ",\"cls\":", c->cls, err));
    GM_TRY(gm_report_score(out, ",\"eeg\":", c->eeg, err));
    GM_TRY(gm_report_score(out, ",\"gmner\":", c->gmner, err));
    return gm_buffer_printf(out, err, ",\"dropped_samples\":%lld,\"dropped_predictions\":%lld}",
                            (long long)c->dropped_samples, (long long)c->dropped_predictions);
}

static gm_status json_calibration(const gm_calibration *c, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_report_number(out, ",\"ece\":", c->ece, err));
    GM_TRY(gm_report_number(out, ",\"mce\":", c->mce, err));
    GM_TRY(gm_report_number(out, ",\"brier\":", c->brier, err));
    GM_TRY(gm_buffer_printf(out, err, ",\"bins\":["));
    for (int32_t i = 0; i < c->bin_count; i++) {
        const gm_bin *b = &c->bins[i];
        GM_TRY(gm_buffer_printf(out, err, "%s{\"n\":%lld", i > 0 ? "," : "", (long long)b->count));
        GM_TRY(gm_report_number(out, ",\"accuracy\":", b->count > 0 ? b->accuracy : (double)NAN, err));
        GM_TRY(gm_report_number(out, ",\"confidence\":", b->count > 0 ? b->confidence : (double)NAN, err));
        GM_TRY(gm_buffer_printf(out, err, "}"));
    }
    return gm_buffer_printf(out, err, "]");
}

static gm_status json_doubt(const gm_doubt *d, gm_measure m, gm_buffer *out, gm_err *err)
{
    const gm_ranking *r = &d->ranking;
    GM_TRY(gm_buffer_printf(out, err, ",\"%s\":{\"n_right\":%lld,\"n_wrong\":%lld", gm_measure_names[m],
                            (long long)r->right, (long long)r->wrong));
    GM_TRY(gm_report_number(out, ",\"auroc\":", r->auroc, err));
    GM_TRY(gm_report_number(out, ",\"auroc_strict\":", r->auroc_strict, err));
    GM_TRY(gm_report_number(out, ",\"auprc\":", r->auprc, err));
    GM_TRY(gm_report_number(out, ",\"aurc\":", r->aurc, err));
    GM_TRY(gm_report_number(out, ",\"e_aurc\":", r->e_aurc, err));
    if (gm_measure_is_probability(m)) GM_TRY(json_calibration(&d->calibration, out, err));
    return gm_buffer_printf(out, err, "}");
}

static gm_status json_doubts(const gm_doubts *d, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, ",\"uncertainty\":{"));
    for (int part = 0; part < GM_PARTS; part++) {
        GM_TRY(gm_buffer_printf(out, err, "%s\"%s\":{\"n_right\":%lld,\"n_wrong\":%lld", part > 0 ? "," : "",
                                gm_part_names[part], (long long)d->right[part], (long long)d->wrong[part]));
        for (int m = 0; m < GM_MEASURES; m++) GM_TRY(json_doubt(&d->of[part][m], (gm_measure)m, out, err));
        GM_TRY(gm_buffer_printf(out, err, "}"));
    }
    return gm_buffer_printf(out, err, "}");
}

static gm_status json_counts(const char *name, const int64_t count[GM_PARTS], gm_buffer *out, gm_err *err)
{
    return gm_buffer_printf(out, err, ",\"%s\":{\"span\":%lld,\"type\":%lld,\"region\":%lld}", name,
                            (long long)count[GM_PART_SPAN], (long long)count[GM_PART_TYPE],
                            (long long)count[GM_PART_REGION]);
}

static gm_status json_delegation(const gm_delegation *d, gm_buffer *out, gm_err *err)
{
    /* 17 digits: a threshold read back must separate the same predictions. */
    GM_TRY(gm_buffer_printf(out, err, ",\"thresholds\":{\"span\":%.17g,\"type\":%.17g,\"region\":%.17g",
                            d->thresholds.of[GM_PART_SPAN], d->thresholds.of[GM_PART_TYPE],
                            d->thresholds.of[GM_PART_REGION]));
    GM_TRY(json_counts("calls", d->calls, out, err));
    GM_TRY(json_counts("corrected", d->corrected, out, err));
    GM_TRY(json_counts("wrong", d->wrong, out, err));
    GM_TRY(gm_buffer_printf(out, err, ",\"predictions\":%lld", (long long)d->predictions));
    GM_TRY(gm_report_score(out, ",\"before\":", d->before, err));
    GM_TRY(gm_report_score(out, ",\"after\":", d->after, err));
    GM_TRY(gm_report_number(out, ",\"cost\":", d->cost, err));
    GM_TRY(gm_report_number(out, ",\"gain\":", d->gain, err));
    return gm_buffer_printf(out, err, "}");
}

gm_status gm_report_json(const gm_report *r, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "{"));
    GM_TRY(json_metrics(r->metrics, out, err));
    if (r->compat != NULL) GM_TRY(json_compat(r->compat, out, err));
    if (r->doubts != NULL) GM_TRY(json_doubts(r->doubts, out, err));
    if (r->grounding != NULL) {
        GM_TRY(gm_buffer_printf(out, err, ",\"grounding\":"));
        GM_TRY(gm_grounding_json(r->grounding, out, err));
    }
    if (r->delegation != NULL) GM_TRY(json_delegation(r->delegation, out, err));
    return gm_buffer_printf(out, err, "}\n");
}
