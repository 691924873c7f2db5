/* gmner eval: scores a file of predictions against gold records
 * (docs/evaluation.md). The report goes to stdout. */
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/log.h"
#include "eval/metrics.h"

static int eval_main(int argc, char **argv);
const gm_command gm_eval_command = { "eval", "scores predictions against gold records",
                                     "gmner eval --gold FILE --pred FILE [--json] [--match offset|name] "
                                     "[--iou-threshold X] [--iou-strict]",
                                     eval_main };

static gm_status report(const gm_metrics *m, bool is_json, gm_err *err)
{
    gm_buffer text = { 0 };
    gm_status status = is_json ? gm_metrics_json(m, &text, err) : gm_metrics_table(m, &text, err);
    if (status == GM_OK && (fwrite(text.data, 1, text.size, stdout) != text.size || fflush(stdout) != 0))
        status = gm_fail(err, GM_ERR_IO, "stdout: the report of %zu bytes was not taken", text.size);
    gm_buffer_free(&text);
    return status;
}

static gm_status score_files(const char *gold_path, const char *pred_path, const gm_eval_options *how, bool is_json,
                             gm_err *err)
{
    gm_records gold = { 0 }, pred = { 0 };
    gm_metrics m = { 0 };
    gm_status status = gm_records_load(gold_path, &gold, err);
    if (status == GM_OK) status = gm_records_load(pred_path, &pred, err);
    if (status == GM_OK) status = gm_evaluate(&gold, &pred, how, &m, err);
    if (status == GM_OK && m.missing > 0)
        gm_log(GM_LOG_WARN, "eval",
               "%lld of %lld samples of %s are not in %s; they count as predicted "
               "without entities",
               (long long)m.missing, (long long)m.samples, gold_path, pred_path);
    if (status == GM_OK) status = report(&m, is_json, err);
    gm_metrics_free(&m);
    gm_records_free(&gold);
    gm_records_free(&pred);
    return status;
}

static int eval_main(int argc, char **argv)
{
    gm_err err = { 0 };
    const char *gold = NULL, *pred = NULL, *match = "offset";
    bool is_json = false, done = false;
    int words = 0;
    gm_eval_options how = { .iou = 0.5 };
    gm_option options[] = {
        { "gold", GM_OPT_STR, &gold, "FILE", "gold records, - for stdin", true },
        { "pred", GM_OPT_STR, &pred, "FILE", "predicted records, - for stdin", true },
        { "json", GM_OPT_FLAG, &is_json, NULL, "print JSON with counts beside every ratio", false },
        { "match", GM_OPT_STR, &match, "offset|name", "what makes an entity the same: its word offsets, or its words",
          false },
        { "iou-threshold", GM_OPT_NUM, &how.iou, "X", "smallest IoU of a right region", false },
        { "iou-strict", GM_OPT_FLAG, &how.is_iou_strict, NULL, "ask for more than the threshold", false },
    };
    gm_status status =
        gm_cli_parse(&gm_eval_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_eval_command, status, &err);
    how.by_name = strcmp(match, "name") == 0;
    if (!how.by_name && strcmp(match, "offset") != 0)
        status = gm_fail(&err, GM_ERR_USAGE, "--match is \"%s\"; it is offset or name", match);
    else if (strcmp(gold, "-") == 0 && strcmp(pred, "-") == 0)
        status = gm_fail(&err, GM_ERR_USAGE, "--gold and --pred are both stdin; give one of them as a file");
    else
        status = score_files(gold, pred, &how, is_json, &err);
    return gm_cli_finish(&gm_eval_command, status, &err);
}
