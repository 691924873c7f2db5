/* gmner report: what the stages of a pipeline did and what their endpoints took, as a page and as one JSON file. */
#include <string.h>

#include "base/cli.h"
#include "base/file.h"
#include "base/memory.h"
#include "page/stages.h"

static int report_main(int argc, char **argv);
const gm_command gm_report_command = { "report", "gathers the reports of stages: calls, tokens, cost, corrections, scores",
                                       "gmner report NAME=FILE... --out FILE.html [--json FILE] [--title TEXT]", report_main };

enum { PARTS = 64 };

typedef struct gathering {
    gm_stage_report part[PARTS];
    cJSON *root[PARTS];
    char *name[PARTS];
    int32_t count;
} gathering;

static gm_status take(gathering *g, const char *word, gm_err *err)
{
    const char *path = strchr(word, '=');
    char *text = NULL;
    size_t size = 0;
    if (path == NULL || path == word) return gm_fail(err, GM_ERR_USAGE, "\"%s\": expected NAME=FILE", word);
    const int32_t i = g->count++;
    g->name[i] = gm_strndup(word, (size_t)(path - word));
    if (g->name[i] == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a name");
    GM_TRY(gm_file_read(++path, &text, &size, err));
    gm_status status = gm_json_parse(text, size, &g->root[i], err);
    gm_free(text);
    if (status == GM_OK && !cJSON_IsObject(g->root[i])) status = gm_fail(err, GM_ERR_DATA, "expected one JSON object");
    g->part[i] = (gm_stage_report) { g->name[i], g->root[i] };
    return status == GM_OK ? GM_OK : gm_fail_at(err, "%s", path);
}

static gm_status write_json(const gathering *g, const char *path, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status = gm_stages_json(g->part, g->count, &b, err);
    if (status == GM_OK) status = gm_file_write(path, b.data, b.size, err);
    gm_buffer_free(&b);
    return status;
}

static int report_main(int argc, char **argv)
{
    const char *out = NULL, *json = NULL, *title = "Report", *words[PARTS];
    gathering g = { 0 };
    gm_option options[] = {
        { "out", GM_OPT_STR, &out, "FILE", "the page", true },
        { "json", GM_OPT_STR, &json, "FILE", "all reports and their sums in one file", false },
        { "title", GM_OPT_STR, &title, "TEXT", "heading of the page", false },
    };
    gm_err err = { 0 };
    bool done = false;
    int count = 0;
    gm_status status = gm_cli_parse(&gm_report_command, options, (int)GM_LEN(options), words, PARTS, &count, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && count == 0) status = gm_fail(&err, GM_ERR_USAGE, "expected reports: refine=out/refined/report.json");
    for (int i = 0; i < count && status == GM_OK; i++) status = take(&g, words[i], &err);
    if (status == GM_OK) status = gm_stages_page(title, g.part, g.count, out, &err);
    if (status == GM_OK && json != NULL) status = write_json(&g, json, &err);
    for (int32_t i = 0; i < g.count; i++) {
        cJSON_Delete(g.root[i]);
        gm_free(g.name[i]);
    }
    return gm_cli_finish(&gm_report_command, status, &err);
}
