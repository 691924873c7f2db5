/* metrics.jsonl, one object a line (docs/data-formats.md), and the scores on the dev set. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/progress.h"
#include "train/run.h"

static gm_status metrics_path(const gm_run *r, char **path, gm_err *err)
{
    *path = gm_path_join(r->options->out, "metrics.jsonl");
    return *path != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
}

/* True for a whole line that the checkpoint has seen. An epoch's last step may be saved before its evaluation, which is
 * then done again: of evaluations the epoch decides (guarded by a_line_of_an_unsaved_evaluation_is_cut). */
static bool is_known(const char *line, size_t n, const gm_progress_state *at)
{
    cJSON *root = NULL;
    if (gm_json_parse(line, n, &root, NULL) != GM_OK) return false;
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(root, "event");
    const bool is_eval = cJSON_IsString(event) && strcmp(event->valuestring, "eval") == 0;
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(root, is_eval ? "epoch" : "step");
    const bool known = cJSON_IsNumber(number) && number->valuedouble <= (double)(is_eval ? at->epoch : at->step);
    cJSON_Delete(root);
    return known;
}

/* Copies the lines up to the state: a killed run may have written more, its last line perhaps by half. */
static gm_status cut_back(const char *path, const gm_progress_state *at, gm_err *err)
{
    gm_lines in = { 0 };
    gm_out out = { 0 };
    bool have = true;
    GM_TRY(gm_lines_open(&in, path, err));
    gm_status status = gm_out_open(&out, path, err);
    while (status == GM_OK && (status = gm_lines_next(&in, &have, err)) == GM_OK && have) {
        if (!is_known(in.line, in.length, at)) break;
        status = gm_out_printf(&out, err, "%s\n", in.line);
    }
    if (status == GM_OK) status = gm_out_commit(&out, err);
    gm_out_abort(&out);
    gm_lines_close(&in);
    return status;
}

gm_status gm_run_open_metrics(gm_run *r, gm_err *err)
{
    char *path;
    GM_TRY(metrics_path(r, &path, err));
    gm_status status = gm_path_exists(path) ? cut_back(path, &r->at, err) : GM_OK;
    if (status == GM_OK && (r->metrics = fopen(path, "a")) == NULL)
        status = gm_fail(err, GM_ERR_IO, "%s: cannot be opened for writing: %s", path, strerror(errno));
    gm_free(path);
    return status;
}

static gm_status write_line(gm_run *r, const gm_buffer *line, gm_err *err)
{
    if (r->metrics == NULL) return GM_OK; /* rank 0 writes */
    if (fwrite(line->data, 1, line->size, r->metrics) == line->size && fflush(r->metrics) == 0) return GM_OK;
    return gm_fail(err, GM_ERR_IO,
                   "%s/metrics.jsonl: cannot be written: %s; free some space and start again with --resume",
                   r->options->out, strerror(errno));
}

/* Of several processes: what they have sent and waited since the last line. */
static gm_status put_traffic(gm_run *r, gm_buffer *line, gm_err *err)
{
    gm_comm_counts sum;
    if (r->ranks.size == 1) return GM_OK;
    GM_TRY(gm_ranks_traffic(r, &r->noted, &sum, err));
    r->noted = gm_comm_traffic(r->ranks.comm);
    return gm_buffer_printf(line, err, ",\"ranks\":%d,\"sent_dense\":%lld,\"sent_rows\":%lld,\"wait_s\":%.3f", r->ranks.size,
                            (long long)sum.sent[GM_TRAFFIC_DENSE], (long long)sum.sent[GM_TRAFFIC_ROWS], sum.wait_s);
}

gm_status gm_run_note_step(gm_run *r, double loss, gm_err *err)
{
    gm_buffer line = { 0 };
    gm_status status = gm_buffer_printf(&line, err,
                                        "{\"event\":\"step\",\"epoch\":%lld,\"step\":%lld,\"loss\":%.9g,\"grad_norm\":%"
                                        ".9g,\"lr\":%.9g,\"tokens_per_s\":%.1f",
                                        (long long)r->at.epoch + 1, (long long)r->at.step, loss, (double)r->norm,
                                        (double)r->step.rate[GM_RATE_ENCODER],
                                        r->train_s > 0 ? (double)r->train_pieces / r->train_s : 0.0);
    if (status == GM_OK) status = put_traffic(r, &line, err);
    if (status == GM_OK) status = gm_buffer_printf(&line, err, "}\n");
    if (status == GM_OK) status = write_line(r, &line, err);
    gm_buffer_free(&line);
    return status;
}

static gm_status put_scores(const gm_metrics *m, bool is_grounded, gm_buffer *line, gm_err *err)
{
    GM_TRY(gm_buffer_printf(line, err, "\"span\":"));
    GM_TRY(gm_score_json(m->span, line, err));
    GM_TRY(gm_buffer_printf(line, err, ",\"mner\":"));
    GM_TRY(gm_score_json(m->mner, line, err));
    if (!is_grounded) return GM_OK;
    GM_TRY(gm_buffer_printf(line, err, ",\"eeg\":"));
    GM_TRY(gm_score_json(m->eeg, line, err));
    GM_TRY(gm_buffer_printf(line, err, ",\"gmner\":"));
    return gm_score_json(m->gmner, line, err);
}

gm_status gm_run_note_eval(gm_run *r, const gm_metrics *m, const gm_metrics *average, gm_err *err)
{
    const bool is_grounded = r->look != NULL;
    gm_buffer line = { 0 };
    gm_status status = gm_buffer_printf(&line, err, "{\"event\":\"eval\",\"epoch\":%lld,\"step\":%lld,",
                                        (long long)r->at.epoch, (long long)r->at.step);
    if (status == GM_OK) status = put_scores(m, is_grounded, &line, err);
    if (status == GM_OK && average != NULL) status = gm_buffer_printf(&line, err, ",\"average\":{");
    if (status == GM_OK && average != NULL) status = put_scores(average, is_grounded, &line, err);
    if (status == GM_OK && average != NULL) status = gm_buffer_printf(&line, err, "}");
    if (status == GM_OK)
        status = gm_buffer_printf(&line, err, ",\"tokens_per_s\":%.1f}\n",
                                  r->epoch_s > 0 ? (double)r->epoch_pieces / r->epoch_s : 0.0);
    if (status == GM_OK) status = write_line(r, &line, err);
    gm_buffer_free(&line);
    return status;
}

/* Scores of what this process has predicted. */
static gm_status score_own(const gm_run *r, gm_entity *const *found, const int32_t *count, gm_metrics *m, gm_err *err)
{
    const size_t n = r->dev.records.count;
    gm_record *gold = gm_calloc(n, sizeof *gold), *records = gm_calloc(n, sizeof *records);
    size_t own = 0;
    gm_status status = gold != NULL && records != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu predictions", n);
    for (size_t i = 0; i < n && status == GM_OK; i++) {
        if (count[i] == GM_NOT_PREDICTED) continue;
        gold[own] = records[own] = r->dev.records.items[i]; /* shares id and tokens; only the entities are its own */
        records[own].entities = found[i];
        records[own++].entity_count = count[i];
    }
    const gm_records of = { .items = gold, .count = own, .capacity = n }, predicted = { .items = records, .count = own, .capacity = n };
    if (status == GM_OK && own > 0) status = gm_evaluate(&of, &predicted, &(gm_eval_options) { .iou = 0.5 }, m, err);
    gm_free(gold);
    gm_free(records);
    return status;
}

/* Counts of all processes: those of whole numbers, so that they are the same as one process's. */
static gm_status sum_scores(const gm_run *r, gm_metrics *m, gm_err *err)
{
    gm_score *const scores[] = { &m->span, &m->mner, &m->eeg, &m->gmner };
    int64_t counts[3 * GM_LEN(scores)];
    for (size_t i = 0; i < GM_LEN(scores); i++) {
        counts[3 * i] = scores[i]->tp;
        counts[3 * i + 1] = scores[i]->n_pred;
        counts[3 * i + 2] = scores[i]->n_gold;
    }
    GM_TRY(gm_comm_sum_counts(r->ranks.comm, counts, (int32_t)GM_LEN(counts), err));
    for (size_t i = 0; i < GM_LEN(scores); i++) *scores[i] = (gm_score){ counts[3 * i], counts[3 * i + 1], counts[3 * i + 2] };
    return GM_OK;
}

/* Each process predicts every so many-th batch of the dev set. */
static gm_status predict_own(gm_run *r, gm_entity **found, int32_t *count, gm_err *err)
{
    GM_TRY(gm_params_pack(&r->model.params, err));
    r->workers.part = r->ranks.rank;
    r->workers.parts = r->ranks.size;
    return gm_predict(&r->model, &r->workers, r->dev.samples, r->dev.records.count, (int32_t)gm_config_int(r->config, GM_KEY_TOKENS), found, count, err);
}

gm_status gm_run_evaluate(gm_run *r, gm_metrics *m, gm_err *err)
{
    const size_t n = r->dev.records.count;
    gm_entity **found = gm_calloc(n, sizeof *found);
    int32_t *count = gm_calloc(n, sizeof *count);
    gm_status status = found != NULL && count != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu predictions", n);
    if (status == GM_OK) status = predict_own(r, found, count, err);
    if (status == GM_OK) {
        status = score_own(r, found, count, m, err);
        for (size_t i = 0; i < n; i++) gm_entities_free(found[i], count[i]);
    }
    gm_params_unpack(&r->model.params); /* the next step changes the weights */
    gm_free((void *)found);
    gm_free(count);
    GM_TRY(gm_comm_agree(r->ranks.comm, status, err));
    return sum_scores(r, m, err);
}
