/* The rows of a run as a table or as JSON, beside those of an older run. Ratios are above 1 where the new run is better;
 * whether one is good enough is the reader's to judge: machines drift, and only runs side by side can be compared. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "bench.h"

static const char *model_of(const gm_bench_options *o) { return o->model != NULL ? o->model : o->encoder != NULL ? o->encoder : o->shape; }

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* The value of the same row in the older run; NAN where it has none. */
static double older_value(const cJSON *older, const gm_bench_row *row)
{
    const cJSON *item, *rows = cJSON_GetObjectItemCaseSensitive(older, "rows");
    cJSON_ArrayForEach(item, rows)
    {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, "value");
        if (strcmp(text_of(item, "part"), row->part) == 0 && strcmp(text_of(item, "name"), row->name) == 0 && strcmp(text_of(item, "unit"), row->unit) == 0 &&
            cJSON_IsNumber(value))
            return value->valuedouble;
    }
    return (double)NAN;
}

/* NAN where the older run lacks the row, or the row says what was done and not how fast. */
static double ratio_of(const cJSON *older, const gm_bench_row *row)
{
    const size_t n = strlen(row->unit);
    const double before = older != NULL ? older_value(older, row) : (double)NAN;
    if (strcmp(row->unit, "pieces") == 0) return (double)NAN;
    return n > 2 && strcmp(row->unit + n - 2, "/s") == 0 ? row->value / before : before / row->value;
}

static double per_second(const gm_bench_row *row, double work) { return work / (1e-6 * row->value) * 1e-9; }

static gm_status table_row(const gm_bench_row *row, const cJSON *older, gm_buffer *out, gm_err *err)
{
    const double ratio = ratio_of(older, row);
    GM_TRY(gm_buffer_printf(out, err, "  %-32s %12.*f %-12s", row->name, row->value < 10 ? 3 : 1, row->value, row->unit));
    if (!isnan(row->p90)) GM_TRY(gm_buffer_printf(out, err, " p90 %10.1f", row->p90));
    if (row->bytes > 0.0) GM_TRY(gm_buffer_printf(out, err, " %8.1f GB/s %8.1f GFLOP/s", per_second(row, row->bytes), per_second(row, row->flops)));
    if (!isnan(row->share)) GM_TRY(gm_buffer_printf(out, err, "   %.1f %% of %s", 100.0 * row->share, row->bytes > 0.0 ? "its product alone" : "it reached"));
    if (!isnan(ratio)) GM_TRY(gm_buffer_printf(out, err, "   x %.2f", ratio));
    return gm_buffer_printf(out, err, "\n");
}

static gm_status write_table(const gm_bench *b, const cJSON *older, gm_buffer *out, gm_err *err)
{
    const gm_bench_options *o = b->options;
    const char *part = "";
    GM_TRY(gm_buffer_printf(out, err, "%s, %s, %s (%s, %s), %lld threads, batches of %lld\n", model_of(o), o->precision, b->run.backend.name, b->run.backend.isa,
                            b->run.backend.library, (long long)o->threads, (long long)o->batch));
    for (size_t i = 0; i < b->count; i++) {
        if (strcmp(part, b->rows[i].part) != 0) GM_TRY(gm_buffer_printf(out, err, "%s\n", b->rows[i].part));
        part = b->rows[i].part;
        GM_TRY(table_row(&b->rows[i], older, out, err));
    }
    return GM_OK;
}

/* "model name" of /proc/cpuinfo; empty where that is not to be had. */
static void processor_name(char name[128])
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[512];
    name[0] = '\0';
    while (file != NULL && name[0] == '\0' && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) snprintf(name, 128, "%.*s", (int)strcspn(strchr(line, ':') + 2, "\n"), strchr(line, ':') + 2);
    if (file != NULL) (void)fclose(file);
}

static gm_status json_text(gm_buffer *out, const char *before, const char *text, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "%s", before));
    return gm_buffer_json_string(out, text, err);
}

static gm_status json_head(const gm_bench *b, gm_buffer *out, gm_err *err)
{
    const gm_bench_options *o = b->options;
    char processor[128];
    processor_name(processor);
    GM_TRY(json_text(out, "{\"gmner\": ", GM_VERSION, err));
    GM_TRY(json_text(out, ", \"processor\": ", processor, err));
    GM_TRY(json_text(out, ", \"device\": ", b->run.backend.name, err));
    GM_TRY(json_text(out, ", \"isa\": ", b->run.backend.isa, err));
    GM_TRY(json_text(out, ", \"library\": ", b->run.backend.library, err));
    GM_TRY(json_text(out, ", \"model\": ", model_of(o), err));
    GM_TRY(json_text(out, ", \"data\": ", o->data != NULL ? o->data : "synthetic", err));
    GM_TRY(json_text(out, ", \"precision\": ", o->precision, err));
    return gm_buffer_printf(out, err, ", \"threads\": %lld, \"batch\": %lld, \"shards\": %d, \"steps\": %lld, \"sentences\": %lld, \"tokens\": %lld,\n \"rows\": [",
                            (long long)o->threads, (long long)o->batch, b->run.shards, (long long)o->steps, (long long)o->sentences, (long long)o->tokens);
}

static gm_status json_number(gm_buffer *out, const char *key, double value, gm_err *err)
{
    return isfinite(value) ? gm_buffer_printf(out, err, ", \"%s\": %.6g", key, value) : GM_OK;
}

static gm_status json_row(const gm_bench_row *row, const cJSON *older, gm_buffer *out, gm_err *err)
{
    GM_TRY(json_text(out, "{\"part\": ", row->part, err));
    GM_TRY(json_text(out, ", \"name\": ", row->name, err));
    GM_TRY(json_text(out, ", \"unit\": ", row->unit, err));
    GM_TRY(json_number(out, "value", row->value, err));
    GM_TRY(json_number(out, "p90", row->p90, err));
    if (row->bytes > 0.0) {
        GM_TRY(json_number(out, "gb_per_s", per_second(row, row->bytes), err));
        GM_TRY(json_number(out, "gflop_per_s", per_second(row, row->flops), err));
    }
    GM_TRY(json_number(out, "gemm_share", row->share, err));
    GM_TRY(json_number(out, "ratio", ratio_of(older, row), err));
    return gm_buffer_printf(out, err, "}");
}

static gm_status write_json(const gm_bench *b, const cJSON *older, gm_buffer *out, gm_err *err)
{
    GM_TRY(json_head(b, out, err));
    for (size_t i = 0; i < b->count; i++) {
        GM_TRY(gm_buffer_printf(out, err, "%s\n  ", i > 0 ? "," : ""));
        GM_TRY(json_row(&b->rows[i], older, out, err));
    }
    return gm_buffer_printf(out, err, "]}\n");
}

/* Says where the older run was of something else; what to make of the ratios is then the reader's affair. */
static void name_differences(const gm_bench *b, const cJSON *older)
{
    const gm_bench_options *o = b->options;
    const struct { const char *key, *now; } texts[] = { { "model", model_of(o) },        { "data", o->data != NULL ? o->data : "synthetic" },
                                                        { "precision", o->precision },   { "device", b->run.backend.name },
                                                        { "isa", b->run.backend.isa },   { "library", b->run.backend.library } };
    const struct { const char *key; int64_t now; } numbers[] = { { "threads", o->threads }, { "batch", o->batch }, { "tokens", o->tokens } };
    for (size_t i = 0; i < GM_LEN(texts); i++)
        if (strcmp(text_of(older, texts[i].key), texts[i].now) != 0)
            gm_log(GM_LOG_WARN, "bench", "%s: %s is \"%s\" there and \"%s\" here", o->compare, texts[i].key, text_of(older, texts[i].key), texts[i].now);
    for (size_t i = 0; i < GM_LEN(numbers); i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(older, numbers[i].key);
        if (cJSON_IsNumber(item) && item->valuedouble != (double)numbers[i].now)
            gm_log(GM_LOG_WARN, "bench", "%s: %s is %g there and %lld here", o->compare, numbers[i].key, item->valuedouble, (long long)numbers[i].now);
    }
}

gm_status gm_bench_read_older(const char *path, cJSON **older, gm_err *err)
{
    char *text = NULL;
    size_t size;
    *older = NULL;
    GM_TRY(gm_file_read(path, &text, &size, err));
    gm_status status = gm_json_parse(text, size, older, err);
    gm_free(text);
    if (status == GM_OK && !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(*older, "rows")))
        status = gm_fail(err, GM_ERR_FORMAT, "there is no array \"rows\": give what `gmner bench --json` wrote");
    if (status == GM_OK) return GM_OK;
    cJSON_Delete(*older);
    *older = NULL;
    return gm_fail_at(err, "--compare %s", path);
}

gm_status gm_bench_report(const gm_bench *b, gm_err *err)
{
    gm_buffer out = { 0 };
    if (b->older != NULL) name_differences(b, b->older);
    gm_status status = b->options->json ? write_json(b, b->older, &out, err) : write_table(b, b->older, &out, err);
    if (status == GM_OK && (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout) != 0))
        status = gm_fail(err, GM_ERR_IO, "stdout: cannot be written: %s", strerror(errno));
    gm_buffer_free(&out);
    return status;
}
