/* gmner refine: the parts of predictions that are unsure are handed to a corrector, and what it says is put in. Here the corrector is an oracle made
 * of gold, which tells what delegation could reach at best. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "mllm/correct.h"

static int refine_main(int argc, char **argv);
const gm_command gm_refine_command = { "refine", "has unsure parts of predictions corrected",
                                       "gmner refine --in FILE --gold FILE [--out DIR | --sweep] [--calls N | --share X | --threshold-span X ...]", refine_main };

enum { DRAWS = 20, STEPS = 10 };

typedef struct settings {
    const char *in, *out, *gold, *corrector;
    bool is_sweep, never_removes, without_regions;
    double share;
    int64_t calls;
    gm_thresholds thresholds;
} settings;

/* The predictions as records and as the lines that they came from: what is not touched is written out as it was. */
typedef struct input {
    gm_records pred, gold;
    char **lines;
    size_t count, capacity;
} input;

static gm_status add_line(input *in, const gm_lines *l, gm_err *err)
{
    gm_record r;
    GM_TRY(gm_record_parse(l->line, l->length, &r, err));
    gm_status status = gm_records_add(&in->pred, &r, err);
    gm_record_free(&r);
    if (status == GM_OK) status = gm_grow((void **)&in->lines, &in->capacity, in->count, sizeof *in->lines, err);
    if (status != GM_OK) return status;
    in->lines[in->count] = gm_strndup(l->line, l->length);
    return in->lines[in->count++] != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a line");
}

static gm_status read_lines(const char *path, gm_lines *l, input *in, gm_err *err)
{
    for (;;) {
        bool have;
        GM_TRY(gm_lines_next(l, &have, err));
        if (!have) break;
        if (add_line(in, l, err) != GM_OK) return gm_fail_at(err, "%s:%lld", path, (long long)l->number);
    }
    if (in->count == 0) return gm_fail(err, GM_ERR_DATA, "%s: the file holds no record", path);
    return gm_records_check_ids(&in->pred, path, err);
}

static gm_status read_input(const settings *s, input *in, gm_err *err)
{
    gm_lines l;
    GM_TRY(gm_lines_open(&l, s->in, err));
    const gm_status status = read_lines(s->in, &l, in, err);
    gm_lines_close(&l);
    if (status != GM_OK || s->gold == NULL) return status;
    return gm_records_load(s->gold, &in->gold, err);
}

static void free_input(input *in)
{
    gm_records_free(&in->pred);
    gm_records_free(&in->gold);
    for (size_t i = 0; i < in->count; i++) gm_free(in->lines[i]);
    gm_free(in->lines);
}

static gm_route_options route_of(const settings *s)
{
    return (gm_route_options){ .thresholds = s->thresholds, .calls = s->calls, .share = s->share, .asks = { true, true, !s->without_regions } };
}

/* ---- one run ---- */

static gm_status write_records(const input *in, const gm_corrections *c, const gm_records *now, const char *folder, gm_err *err)
{
    gm_out out = { 0 };
    gm_buffer b = { 0 };
    char *path = gm_path_join(folder, "predictions.jsonl");
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", folder) : gm_out_open(&out, path, err);
    for (size_t i = 0; i < in->count && status == GM_OK; i++) {
        b.size = 0;
        if (gm_correct_has_touched(c, i)) status = gm_record_write(&now->items[i], &b, err);
        else status = gm_buffer_printf(&b, err, "%s\n", in->lines[i]);
        if (status == GM_OK) status = gm_out_write(&out, b.data, b.size, err);
    }
    if (status == GM_OK) status = gm_out_commit(&out, err);
    else gm_out_abort(&out);
    gm_buffer_free(&b);
    gm_free(path);
    return status;
}

static gm_status add_scores(const gm_records *gold, const gm_records *pred, const char *name, gm_buffer *b, gm_err *err)
{
    const gm_eval_options how = { .iou = 0.5 };
    gm_metrics m;
    GM_TRY(gm_evaluate(gold, pred, &how, &m, err));
    gm_status status = gm_buffer_printf(b, err, ", \"%s\": {\"mner\": ", name);
    if (status == GM_OK) status = gm_score_json(m.mner, b, err);
    if (status == GM_OK) status = gm_buffer_printf(b, err, ", \"gmner\": ");
    if (status == GM_OK) status = gm_score_json(m.gmner, b, err);
    if (status == GM_OK) status = gm_buffer_printf(b, err, "}");
    gm_metrics_free(&m);
    return status;
}

static gm_status write_report(const input *in, const gm_route *route, const gm_corrections *c, const gm_records *now, const char *folder, gm_err *err)
{
    const gm_correct_counts n = gm_correct_count(c);
    gm_buffer b = { 0 };
    gm_out out = { 0 };
    char *path = gm_path_join(folder, "report.json");
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", folder) : GM_OK;
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "{\"samples\": %zu, \"entities\": %zu, \"delegated\": %zu", in->count, route->entities, route->delegated);
    for (int p = 0; p < GM_PARTS && status == GM_OK; p++)
        status = gm_buffer_printf(&b, err, ", \"%s\": {\"asked\": %lld, \"corrected\": %lld, \"kept\": %lld, \"refused\": %lld, \"failed\": %lld}", gm_part_names[p],
                                  (long long)n.asked[p], (long long)n.corrected[p], (long long)n.kept[p], (long long)n.refused[p], (long long)n.failed[p]);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, ", \"removed\": %lld, \"clashed\": %lld", (long long)n.removed, (long long)n.clashed);
    if (status == GM_OK && in->gold.count > 0) status = add_scores(&in->gold, &in->pred, "before", &b, err);
    if (status == GM_OK && in->gold.count > 0) status = add_scores(&in->gold, now, "after", &b, err);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "}\n");
    if (status == GM_OK) status = gm_out_open(&out, path, err);
    if (status == GM_OK) status = gm_out_write(&out, b.data, b.size, err);
    if (status == GM_OK) status = gm_out_commit(&out, err);
    else gm_out_abort(&out);
    gm_buffer_free(&b);
    gm_free(path);
    return status;
}

static gm_status no_corrector(void *user, const gm_question *q, gm_reply *reply, gm_err *err)
{
    (void)user;
    (void)q;
    (void)reply;
    return gm_fail(err, GM_ERR_USAGE, "something is delegated, but there is no corrector: give --gold FILE for the oracle, or --calls 0");
}

static gm_status refine(const settings *s, const input *in, gm_err *err)
{
    const gm_route_options how = route_of(s);
    gm_route route = { 0 };
    gm_corrections *c = NULL;
    gm_oracle *oracle = NULL;
    const gm_records *now;
    gm_status status = gm_make_dirs(s->out, err);
    if (status == GM_OK) status = gm_route_make(&in->pred, &how, &route, err);
    if (status == GM_OK && in->gold.count > 0) status = gm_oracle_open(&in->gold, &in->pred, !s->never_removes, &oracle, err);
    if (status == GM_OK) status = gm_correct_all(&in->pred, &route, oracle != NULL ? gm_oracle_ask : no_corrector, oracle, &c, &now, err);
    if (status == GM_OK) status = write_records(in, c, now, s->out, err);
    if (status == GM_OK) status = write_report(in, &route, c, now, s->out, err);
    if (status == GM_OK)
        gm_log(GM_LOG_INFO, "refine", "%zu of %zu entities delegated, %lld calls", route.delegated, route.entities,
               (long long)(route.calls[0] + route.calls[1] + route.calls[2]));
    gm_correct_free(c);
    gm_oracle_free(oracle);
    gm_route_free(&route);
    return status;
}

/* ---- the sweep ---- */

static gm_status f1_of(const input *in, const gm_route_options *how, gm_oracle *oracle, double *f1, gm_err *err)
{
    const gm_eval_options eval = { .iou = 0.5 };
    gm_route route;
    gm_corrections *c = NULL;
    const gm_records *now;
    gm_metrics m;
    GM_TRY(gm_route_make(&in->pred, how, &route, err));
    gm_status status = gm_correct_all(&in->pred, &route, gm_oracle_ask, oracle, &c, &now, err);
    if (status == GM_OK) status = gm_evaluate(&in->gold, now, &eval, &m, err);
    if (status == GM_OK) {
        *f1 = 100.0 * gm_f1(m.mner);
        gm_metrics_free(&m);
    }
    gm_correct_free(c);
    gm_route_free(&route);
    return status;
}

static gm_status sweep_row(const input *in, gm_route_options how, gm_oracle *oracle, gm_err *err)
{
    double by[2], sum = 0, squares = 0;
    for (int k = 0; k < 2; k++) {
        how.by = k == 0 ? GM_ROUTE_BY_UNCERTAINTY : GM_ROUTE_BY_SOFTMAX;
        GM_TRY(f1_of(in, &how, oracle, &by[k], err));
    }
    how.by = GM_ROUTE_BY_CHANCE;
    for (how.seed = 0; how.seed < DRAWS; how.seed++) {
        double f1;
        GM_TRY(f1_of(in, &how, oracle, &f1, err));
        sum += f1;
        squares += f1 * f1;
    }
    const double mean = sum / DRAWS, variance = fmax(0.0, (squares - sum * mean) / (DRAWS - 1));
    printf("%5.0f %%  %11.2f  %11.2f  %7.2f +- %.2f\n", 100.0 * how.share, by[0], by[1], mean, sqrt(variance));
    return GM_OK;
}

static gm_status sweep(const settings *s, const input *in, gm_err *err)
{
    gm_oracle *oracle;
    gm_route_options how = route_of(s);
    GM_TRY(gm_oracle_open(&in->gold, &in->pred, !s->never_removes, &oracle, err));
    gm_status status = GM_OK;
    how.calls = -1;
    printf("delegated  uncertainty  max-softmax  by chance (%d draws)     MNER F1, corrected by the oracle\n", (int)DRAWS);
    for (int step = 0; step <= STEPS && status == GM_OK; step++) {
        how.share = (double)step / STEPS;
        status = sweep_row(in, how, oracle, err);
    }
    gm_oracle_free(oracle);
    return status;
}

static gm_status check(const settings *s, gm_err *err)
{
    if (strcmp(s->corrector, "oracle") != 0) return gm_fail(err, GM_ERR_USAGE, "--corrector is \"%s\"; this release has oracle", s->corrector);
    if (s->is_sweep && s->gold == NULL) return gm_fail(err, GM_ERR_USAGE, "--sweep compares with gold: give --gold FILE");
    if (!s->is_sweep && s->out == NULL) return gm_fail(err, GM_ERR_USAGE, "--out DIR is missing: the corrected predictions go there");
    if (s->share > 1 || (s->share < 0 && s->share > -1)) return gm_fail(err, GM_ERR_USAGE, "--share is %g; it is 0 to 1", s->share);
    return GM_OK;
}

static int refine_main(int argc, char **argv)
{
    gm_err err = { 0 };
    bool done = false;
    int words = 0;
    settings s = { .corrector = "oracle", .share = -1, .calls = -1, .thresholds = { { 0.4, 0.5, 0.3 } } };
    gm_option options[] = {
        { "in", GM_OPT_STR, &s.in, "FILE", "predicted records with uncertainties, - for stdin", true },
        { "out", GM_OPT_STR, &s.out, "DIR", "folder of predictions.jsonl and report.json", false },
        { "corrector", GM_OPT_STR, &s.corrector, "oracle", "who corrects: oracle takes the answers from --gold", false },
        { "gold", GM_OPT_STR, &s.gold, "FILE", "gold records", false },
        { "calls", GM_OPT_INT, &s.calls, "N", "hand on at most so many parts, the least sure entities first", false },
        { "share", GM_OPT_NUM, &s.share, "X", "hand on this share of the entities, the least sure first", false },
        { "threshold-span", GM_OPT_NUM, &s.thresholds.of[GM_PART_SPAN], "X", "without a budget: hand spans on above this uncertainty", false },
        { "threshold-type", GM_OPT_NUM, &s.thresholds.of[GM_PART_TYPE], "X", "the same for types", false },
        { "threshold-region", GM_OPT_NUM, &s.thresholds.of[GM_PART_REGION], "X", "the same for regions", false },
        { "without-regions", GM_OPT_FLAG, &s.without_regions, NULL, "hand no regions on", false },
        { "keep-all", GM_OPT_FLAG, &s.never_removes, NULL, "the oracle takes no entity back", false },
        { "sweep", GM_OPT_FLAG, &s.is_sweep, NULL, "print the share delegated against F1 instead", false },
    };
    gm_status status = gm_cli_parse(&gm_refine_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_refine_command, status, &err);
    input in = { 0 };
    status = check(&s, &err);
    if (status == GM_OK) status = read_input(&s, &in, &err);
    if (status == GM_OK) status = s.is_sweep ? sweep(&s, &in, &err) : refine(&s, &in, &err);
    free_input(&in);
    return gm_cli_finish(&gm_refine_command, status, &err);
}
