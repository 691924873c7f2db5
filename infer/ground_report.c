/* What gmner ground leaves in its folder. */
#include "infer/ground.h"

#include <math.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "eval/metrics.h"

static const char *const state_names[GROUND_STATES] = { "left", "without_entities", "never_grounded", "without_picture", "asked" };

/* ---- demonstrations ---- */

/* The likenesses of a record and a sample, and their weighted sum last. */
static void likenesses(const ground_job *job, size_t i, int32_t j, double out[GM_LIKENESSES + 1])
{
    const gm_similar *s = &job->similar;
    out[GM_LIKENESSES] = 0.0;
    for (int k = 0; k < GM_LIKENESSES; k++) {
        out[k] = s->of[k] != NULL ? (double)s->of[k][i * (size_t)s->cols + (size_t)j] : NAN;
        if (s->of[k] != NULL && s->high[k] > s->low[k]) out[GM_LIKENESSES] += s->weight[k] * (out[k] - s->low[k]) / (s->high[k] - s->low[k]);
    }
}

static gm_status put_number(gm_buffer *b, const char *name, double v, gm_err *err)
{
    if (isnan(v)) return gm_buffer_printf(b, err, ", \"%s\": null", name);
    return gm_buffer_printf(b, err, ", \"%s\": %.7g", name, v);
}

static gm_status put_demonstrations(const ground_job *job, size_t i, gm_buffer *b, gm_err *err)
{
    GM_TRY(gm_buffer_printf(b, err, "{\"id\": "));
    GM_TRY(gm_buffer_json_string(b, job->in.records.items[i].id, err));
    GM_TRY(gm_buffer_printf(b, err, ", \"demonstrations\": ["));
    for (int64_t k = 0; k < job->s->k; k++) {
        double v[GM_LIKENESSES + 1];
        const int32_t j = job->chosen[i * (size_t)job->s->k + (size_t)k];
        if (j < 0) break;
        likenesses(job, i, j, v);
        GM_TRY(gm_buffer_printf(b, err, "%s{\"id\": ", k > 0 ? ", " : ""));
        GM_TRY(gm_buffer_json_string(b, job->samples.items[j].id, err));
        GM_TRY(put_number(b, "score", v[GM_LIKENESSES], err));
        for (int m = 0; m < GM_LIKENESSES; m++) GM_TRY(put_number(b, gm_likeness_names[m], v[m], err));
        GM_TRY(gm_buffer_printf(b, err, "}"));
    }
    return gm_buffer_printf(b, err, "]}\n");
}

static gm_status write_demonstrations(const ground_job *job, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status = gm_buffer_add(&b, "", 0, err);
    for (size_t i = 0; i < job->in.count && status == GM_OK; i++)
        if (job->state[i] == GROUND_ASKED) status = put_demonstrations(job, i, &b, err);
    if (status == GM_OK) status = gm_file_write_in(job->s->out, "demonstrations.jsonl", b.data, b.size, err);
    gm_buffer_free(&b);
    return status;
}

/* ---- the report ---- */

static gm_status put_states(const ground_job *job, gm_buffer *b, gm_err *err)
{
    int64_t counts[GROUND_STATES] = { 0 }, refused = 0, failed = 0;
    for (size_t i = 0; i < job->in.count; i++) {
        counts[job->state[i]]++;
        if (job->state[i] != GROUND_ASKED || job->results[i].why == NULL) continue;
        failed += job->results[i].is_failed;
        refused += !job->results[i].is_failed;
    }
    GM_TRY(gm_buffer_printf(b, err, "\"samples\": %zu", job->in.count));
    for (int k = 0; k < GROUND_STATES; k++) GM_TRY(gm_buffer_printf(b, err, ", \"%s\": %lld", state_names[k], (long long)counts[k]));
    return gm_buffer_printf(b, err, ", \"answered\": %lld, \"refused\": %lld, \"failed\": %lld", (long long)(counts[GROUND_ASKED] - refused - failed), (long long)refused,
                            (long long)failed);
}

/* Entities of types that are never grounded whose boxes were taken: they are part of the corrections, but nobody was asked. */
static int64_t taken_boxes(const ground_job *job)
{
    int64_t taken = 0;
    for (size_t i = 0; i < job->in.count; i++)
        for (int32_t k = 0; k < job->in.records.items[i].entity_count; k++)
            taken += job->route.parts[job->route.first[i] + (size_t)k] != 0 && gm_is_never_grounded(&job->options, job->in.records.items[i].entities[k].type);
    return taken;
}

static int64_t count_grounded(const gm_records *all)
{
    int64_t n = 0;
    for (size_t i = 0; i < all->count; i++)
        for (int32_t k = 0; k < all->items[i].entity_count; k++) n += all->items[i].entities[k].box_count > 0;
    return n;
}

static gm_status put_entities(const ground_job *job, gm_buffer *b, gm_err *err)
{
    const gm_correct_counts n = gm_correct_count(job->c);
    const int64_t taken = taken_boxes(job);
    const int p = GM_PART_REGION;
    return gm_buffer_printf(b, err, ", \"entities\": %zu, \"region\": {\"asked\": %lld, \"corrected\": %lld, \"kept\": %lld, \"refused\": %lld, \"failed\": %lld}, "
                            "\"boxes_taken\": %lld, \"grounded_before\": %lld, \"grounded_after\": %lld", job->route.entities, (long long)(n.asked[p] - taken),
                            (long long)(n.corrected[p] - taken), (long long)n.kept[p], (long long)n.refused[p], (long long)n.failed[p], (long long)taken,
                            (long long)count_grounded(&job->in.records), (long long)count_grounded(job->now));
}

/* Mean, least and largest likeness of those that were shown. */
static gm_status put_likeness(const ground_job *job, gm_buffer *b, gm_err *err)
{
    double sum[GM_LIKENESSES + 1] = { 0 }, low[GM_LIKENESSES + 1], high[GM_LIKENESSES + 1], v[GM_LIKENESSES + 1];
    int64_t shown = 0, barred = 0;
    for (int m = 0; m <= GM_LIKENESSES; m++) low[m] = high[m] = NAN;
    for (size_t at = 0; job->chosen != NULL && at < job->in.count * (size_t)job->s->k; at++) {
        if (job->chosen[at] < 0) continue;
        likenesses(job, at / (size_t)job->s->k, job->chosen[at], v);
        shown++;
        for (int m = 0; m <= GM_LIKENESSES; m++) {
            sum[m] += v[m];
            low[m] = fmin(low[m], v[m]);
            high[m] = fmax(high[m], v[m]);
        }
    }
    for (size_t j = 0; job->is_barred != NULL && j < job->samples.count; j++) barred += job->is_barred[j];
    GM_TRY(gm_buffer_printf(b, err, ", \"demonstrations\": {\"samples\": %zu, \"shown\": %lld, \"without_picture\": %lld", job->samples.count, (long long)shown, (long long)barred));
    for (int m = 0; m <= GM_LIKENESSES && shown > 0; m++) {
        if (isnan(sum[m])) continue;
        const double mean = sum[m] / (double)shown;
        GM_TRY(gm_buffer_printf(b, err, ", \"%s\": {\"mean\": %.7g, \"min\": %.7g, \"max\": %.7g}", m < GM_LIKENESSES ? gm_likeness_names[m] : "score", mean, low[m], high[m]));
    }
    return gm_buffer_printf(b, err, "}");
}

static gm_status put_scores(const gm_records *gold, const gm_records *pred, const char *name, gm_buffer *b, gm_err *err)
{
    const gm_eval_options how = { .iou = 0.5 };
    gm_metrics m;
    GM_TRY(gm_evaluate(gold, pred, &how, &m, err));
    const struct { const char *name; gm_score score; } scores[] = { { "mner", m.mner }, { "eeg", m.eeg }, { "gmner", m.gmner } };
    gm_status status = gm_buffer_printf(b, err, ", \"%s\": {", name);
    for (size_t i = 0; i < GM_LEN(scores) && status == GM_OK; i++) {
        status = gm_buffer_printf(b, err, "%s\"%s\": ", i > 0 ? ", " : "", scores[i].name);
        if (status == GM_OK) status = gm_score_json(scores[i].score, b, err);
    }
    if (status == GM_OK) status = gm_buffer_printf(b, err, "}");
    gm_metrics_free(&m);
    return status;
}

static gm_status put_report(const ground_job *job, gm_buffer *b, gm_err *err)
{
    GM_TRY(gm_buffer_printf(b, err, "{"));
    GM_TRY(put_states(job, b, err));
    GM_TRY(put_entities(job, b, err));
    GM_TRY(put_likeness(job, b, err));
    if (job->s->stage.client != NULL) {
        GM_TRY(gm_buffer_printf(b, err, ", \"endpoint\": "));
        GM_TRY(gm_stage_report(&job->s->stage, b, err));
    }
    if (job->gold.count > 0) {
        GM_TRY(put_scores(&job->gold, &job->in.records, "before", b, err));
        GM_TRY(put_scores(&job->gold, job->now, "after", b, err));
    }
    return gm_buffer_printf(b, err, "}\n");
}

gm_status ground_write(ground_job *job, gm_err *err)
{
    gm_buffer report = { 0 };
    const gm_correct_counts n = gm_correct_count(job->c);
    GM_TRY(gm_make_dirs(job->s->out, err));
    GM_TRY(gm_kept_write(&job->in, job->c, job->now, job->s->out, err));
    GM_TRY(write_demonstrations(job, err));
    gm_status status = put_report(job, &report, err);
    if (status == GM_OK) status = gm_file_write_in(job->s->out, "report.json", report.data, report.size, err);
    gm_buffer_free(&report);
    if (status != GM_OK) return status;
    gm_log(GM_LOG_INFO, "ground", "%lld records asked about; boxes of %lld entities changed, %lld kept, %lld answers refused, %lld failed", (long long)job->asked,
           (long long)(n.corrected[GM_PART_REGION] - taken_boxes(job)), (long long)n.kept[GM_PART_REGION], (long long)n.refused[GM_PART_REGION], (long long)n.failed[GM_PART_REGION]);
    return GM_OK;
}
