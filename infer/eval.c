/* gmner eval: scores a file of predictions against gold records
 * (docs/evaluation.md). The report goes to stdout. */
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/log.h"
#include "eval/plots.h"
#include "eval/report.h"
#include "image/region_source.h"

static int eval_main(int argc, char **argv);
const gm_command gm_eval_command = { "eval", "scores predictions against gold records",
                                     "gmner eval --gold FILE --pred FILE [--json] [--match offset|name] "
                                     "[--iou-threshold X] [--iou-strict] [--compat unco|refineg] [--uncertainty] "
                                     "[--plots DIR] [--proposals PATH [--images DIR]] [--thresholds]",
                                     eval_main };

typedef struct settings {
    const char *gold, *pred, *match, *compat, *plots, *proposals, *images;
    bool is_json, with_uncertainty, with_thresholds;
    int64_t bins;
    double call_cost;
    gm_eval_options how;
    gm_compat_rule rule;
} settings;

/* All that one run of the command evaluates. */
typedef struct results {
    gm_records gold, pred;
    gm_metrics metrics;
    gm_compat compat;
    gm_verdicts verdicts;
    gm_doubts doubts;
    gm_delegation delegation;
    gm_grounding grounding;
    gm_report report;
} results;

static gm_status print(const gm_report *r, bool is_json, gm_err *err)
{
    gm_buffer text = { 0 };
    gm_status status = is_json ? gm_report_json(r, &text, err) : gm_report_table(r, &text, err);
    if (status == GM_OK && (fwrite(text.data, 1, text.size, stdout) != text.size || fflush(stdout) != 0))
        status = gm_fail(err, GM_ERR_IO, "stdout: the report of %zu bytes was not taken", text.size);
    gm_buffer_free(&text);
    return status;
}

static gm_status score_uncertainty(const settings *s, results *r, gm_err *err)
{
    int written = 0;
    GM_TRY(gm_judge(&r->gold, &r->pred, &s->how, &r->verdicts, err));
    GM_TRY(gm_doubts_score(&r->verdicts, (int32_t)s->bins, &r->doubts, err));
    r->report.doubts = &r->doubts;
    if (s->plots == NULL) return GM_OK;
    GM_TRY(gm_plots_write(&r->verdicts, &r->doubts, s->plots, &written, err));
    gm_log(GM_LOG_INFO, "eval", "%d plots in %s", written, s->plots);
    return GM_OK;
}

/* Regions of a record, as gm_ground asks for them. */
typedef struct offered { gm_region_source *source; gm_regions regions; } offered;

static gm_status regions_of(void *context, const gm_record *record, const gm_box **boxes, int32_t *count, gm_err *err)
{
    offered *o = context;
    gm_image_status why;
    gm_regions_free(&o->regions);
    GM_TRY(gm_region_source_get(o->source, record, &o->regions, NULL, &why, err));
    *boxes = o->regions.box;
    *count = o->regions.count;
    return GM_OK;
}

static gm_status score_grounding(const settings *s, results *r, gm_err *err)
{
    enum { SEED = 42 };
    const gm_region_source_options from = { .images = s->images, .regions = s->proposals, .cache = "", .max = GM_REGIONS_MAX };
    offered o = { 0 };
    GM_TRY(gm_region_source_open(&from, &o.source, err));
    const gm_status status = gm_ground(&r->gold, &r->pred, &s->how, SEED, regions_of, &o, &r->grounding, err);
    gm_regions_free(&o.regions);
    gm_region_source_close(o.source);
    r->report.grounding = &r->grounding;
    return status;
}

static gm_status score(const settings *s, results *r, gm_err *err)
{
    GM_TRY(gm_records_load(s->gold, &r->gold, err));
    GM_TRY(gm_records_load(s->pred, &r->pred, err));
    GM_TRY(gm_evaluate(&r->gold, &r->pred, &s->how, &r->metrics, err));
    r->report.metrics = &r->metrics;
    if (r->metrics.missing > 0)
        gm_log(GM_LOG_WARN, "eval",
               "%lld of %lld samples of %s are not in %s; they count as predicted "
               "without entities",
               (long long)r->metrics.missing, (long long)r->metrics.samples, s->gold, s->pred);
    if (s->compat != NULL) {
        GM_TRY(gm_evaluate_compat(&r->gold, &r->pred, s->rule, &r->compat, err));
        r->report.compat = &r->compat;
    }
    if (s->with_uncertainty || s->plots != NULL) GM_TRY(score_uncertainty(s, r, err));
    if (s->proposals != NULL) GM_TRY(score_grounding(s, r, err));
    if (s->with_thresholds) {
        GM_TRY(gm_thresholds_pick(&r->gold, &r->pred, &s->how, s->call_cost, &r->delegation, err));
        r->report.delegation = &r->delegation;
    }
    return print(&r->report, s->is_json, err);
}

static gm_status score_files(const settings *s, gm_err *err)
{
    results r = { 0 };
    const gm_status status = score(s, &r, err);
    gm_verdicts_free(&r.verdicts);
    gm_grounding_free(&r.grounding);
    gm_metrics_free(&r.metrics);
    gm_records_free(&r.gold);
    gm_records_free(&r.pred);
    return status;
}

static gm_status check(settings *s, gm_err *err)
{
    s->how.by_name = strcmp(s->match, "name") == 0;
    if (!s->how.by_name && strcmp(s->match, "offset") != 0)
        return gm_fail(err, GM_ERR_USAGE, "--match is \"%s\"; it is offset or name", s->match);
    if (strcmp(s->gold, "-") == 0 && strcmp(s->pred, "-") == 0)
        return gm_fail(err, GM_ERR_USAGE, "--gold and --pred are both stdin; give one of them as a file");
    if (s->compat != NULL && !gm_compat_find(s->compat, &s->rule))
        return gm_fail(err, GM_ERR_USAGE, "--compat is \"%s\"; it is unco or refineg", s->compat);
    if (s->bins < 1 || s->bins > GM_MAX_BINS)
        return gm_fail(err, GM_ERR_USAGE, "--bins is %lld; it is a whole number from 1 to %d", (long long)s->bins,
                       (int)GM_MAX_BINS);
    if (!(s->call_cost >= 0)) return gm_fail(err, GM_ERR_USAGE, "--call-cost is %g; it is a number from 0", s->call_cost);
    return GM_OK;
}

static int eval_main(int argc, char **argv)
{
    gm_err err = { 0 };
    bool done = false;
    int words = 0;
    settings s = { .match = "offset", .images = "", .bins = 10, .call_cost = 0.05, .how = { .iou = 0.5 } };
    gm_option options[] = {
        { "gold", GM_OPT_STR, &s.gold, "FILE", "gold records, - for stdin", true },
        { "pred", GM_OPT_STR, &s.pred, "FILE", "predicted records, - for stdin", true },
        { "json", GM_OPT_FLAG, &s.is_json, NULL, "print JSON with counts beside every ratio", false },
        { "match", GM_OPT_STR, &s.match, "offset|name", "what makes an entity the same: its word offsets, or its words",
          false },
        { "iou-threshold", GM_OPT_NUM, &s.how.iou, "X", "smallest IoU of a right region", false },
        { "iou-strict", GM_OPT_FLAG, &s.how.is_iou_strict, NULL, "ask for more than the threshold", false },
        { "compat", GM_OPT_STR, &s.compat, "unco|refineg", "also count as that public evaluator does", false },
        { "uncertainty", GM_OPT_FLAG, &s.with_uncertainty, NULL, "how well uncertainties tell wrong predictions from right",
          false },
        { "bins", GM_OPT_INT, &s.bins, "N", "bins of confidence for the calibration errors", false },
        { "plots", GM_OPT_STR, &s.plots, "DIR", "draw risk-coverage and reliability as PNG (needs gnuplot)", false },
        { "proposals", GM_OPT_STR, &s.proposals, "PATH",
          "also score other boxes for the same spans and types, from the proposals of `gmner regions` or .npz files", false },
        { "images", GM_OPT_STR, &s.images, "DIR", "with --proposals: pictures, for records that do not tell their size", false },
        { "thresholds", GM_OPT_FLAG, &s.with_thresholds, NULL, "pick thresholds of delegation on these predictions", false },
        { "call-cost", GM_OPT_NUM, &s.call_cost, "X", "points of F1 that a delegated percent costs", false },
    };
    gm_status status =
        gm_cli_parse(&gm_eval_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_eval_command, status, &err);
    status = check(&s, &err);
    if (status == GM_OK) status = score_files(&s, &err);
    return gm_cli_finish(&gm_eval_command, status, &err);
}
