/* gmner page: predictions as an HTML page to look at (docs/images.md). */
#include <stdio.h>

#include "base/cli.h"
#include "page/page.h"

static int page_main(int argc, char **argv);
const gm_command gm_page_command = {
    "page", "shows predictions as an HTML page with pictures and boxes",
    "gmner page --pred FILE [--gold FILE] [--images FOLDER] --out FILE [--html-limit N]", page_main
};

static gm_status show(const char *pred_path, const char *gold_path, const gm_page_options *o, const char *out,
                      gm_err *err)
{
    gm_records pred = { 0 }, gold = { 0 };
    gm_status status = gm_records_load(pred_path, &pred, err);
    if (status == GM_OK && gold_path != NULL) status = gm_records_load(gold_path, &gold, err);
    if (status == GM_OK) status = gm_page_write(&pred, gold_path != NULL ? &gold : NULL, o, out, err);
    gm_records_free(&pred);
    gm_records_free(&gold);
    return status;
}

static int page_main(int argc, char **argv)
{
    gm_err err = { 0 };
    const char *pred = NULL, *gold = NULL, *out = NULL;
    gm_page_options o = { .how = { .iou = 0.5 } };
    int64_t limit = 200;
    bool done = false;
    int words = 0;
    gm_option options[] = {
        { "pred", GM_OPT_STR, &pred, "FILE", "predicted records, - for stdin", true },
        { "gold", GM_OPT_STR, &gold, "FILE", "gold records: adds scores, and what is right, wrong and missed", false },
        { "images", GM_OPT_STR, &o.images, "FOLDER", "the records' pictures", false },
        { "out", GM_OPT_STR, &out, "FILE", "the page, - for stdout", true },
        { "html-limit", GM_OPT_INT, &limit, "N", "samples shown, the first ones", false },
        { "note", GM_OPT_STR, &o.note, "TEXT", "a line under the title: what was predicted, what the pictures are",
          false },
    };
    gm_status status =
        gm_cli_parse(&gm_page_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && (limit < 0 || limit > 1000000))
        status = gm_fail(&err, GM_ERR_USAGE, "--html-limit is %lld; it lies between 0 and 1000000", (long long)limit);
    o.limit = (int32_t)limit;
    if (status == GM_OK) status = show(pred, gold, &o, out, &err);
    return gm_cli_finish(&gm_page_command, status, &err);
}
