/* gmner export: records in the form that others take. */
#include <string.h>

#include "base/cli.h"
#include "data/ccks_json.h"
#include "data/tagged.h"

static int export_main(int argc, char **argv);
const gm_command gm_export_command = { "export", "writes records in the form of others (ccks-json conll)",
                                       "gmner export FORMAT --in FILE [--out FILE] [--all-boxes]", export_main };

static gm_status write_conll(const gm_records *all, gm_buffer *to, gm_err *err)
{
    for (size_t i = 0; i < all->count; i++) GM_TRY(gm_tagged_write(&all->items[i], to, err));
    return GM_OK;
}

static gm_status export(const char *format, const char *in, const char *out, bool has_all_boxes, gm_err *err)
{
    const bool is_json = strcmp(format, "ccks-json") == 0;
    gm_records all = { 0 };
    gm_buffer b = { 0 };
    if (!is_json && strcmp(format, "conll") != 0) return gm_fail(err, GM_ERR_USAGE, "\"%s\" is no format; there are ccks-json conll", format);
    if (!is_json && has_all_boxes) return gm_fail(err, GM_ERR_USAGE, "conll has no boxes: leave --all-boxes out");
    gm_status status = gm_records_load(in, &all, err);
    if (status == GM_OK) status = is_json ? gm_ccks_json_write(&all, has_all_boxes, &b, err) : write_conll(&all, &b, err);
    if (status == GM_OK) status = gm_file_write(out, b.data, b.size, err);
    gm_buffer_free(&b);
    gm_records_free(&all);
    return status;
}

static int export_main(int argc, char **argv)
{
    const char *format = NULL, *in = NULL, *out = "-";
    bool has_all_boxes = false, done = false;
    int words = 0;
    gm_err err = { 0 };
    gm_option options[] = {
        { "in", GM_OPT_STR, &in, "FILE", "records, - for stdin", true },
        { "out", GM_OPT_STR, &out, "FILE", "where the result goes (default: stdout)", false },
        { "all-boxes", GM_OPT_FLAG, &has_all_boxes, NULL, "ccks-json: an entry for each box of an entity, not for its first alone", false },
    };
    gm_status status = gm_cli_parse(&gm_export_command, options, (int)GM_LEN(options), &format, 1, &words, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && words == 0) status = gm_fail(&err, GM_ERR_USAGE, "expected a format: ccks-json conll");
    if (status == GM_OK) status = export(format, in, out, has_all_boxes, &err);
    return gm_cli_finish(&gm_export_command, status, &err);
}
