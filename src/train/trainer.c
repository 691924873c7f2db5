#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <signal.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "train/run.h"

static gm_shape_use shape_use(const gm_config *c)
{
    gm_shape_use use = 0;
    while (strcmp(gm_config_str(c, GM_KEY_SHAPE), gm_shape_use_names[use]) != 0) use++; /* the key has no other values */
    return use;
}

/* A folder computes features, which the model then reads. */
static gm_vision_kind vision_kind(const gm_config *c)
{
    for (gm_vision_kind k = 0; k < GM_VISION_KINDS; k++)
        if (strcmp(gm_config_str(c, GM_KEY_VISION), gm_vision_names[k]) == 0) return k;
    return GM_VISION_FEATURES;
}

static gm_model_options model_options(const gm_config *c)
{
    return (gm_model_options) { .head = strcmp(gm_config_str(c, GM_KEY_HEAD), "crf") == 0 ? GM_HEAD_CRF : GM_HEAD_SPAN,
                                .scheme =
                                    strcmp(gm_config_str(c, GM_KEY_TAGS), "bioes") == 0 ? GM_TAGS_BIOES : GM_TAGS_BIO,
                                .shape = shape_use(c),
                                .is_nested = gm_config_bool(c, GM_KEY_NESTED),
                                .dense_embedding = gm_config_bool(c, GM_KEY_DENSE_EMBEDDING),
                                .vision = vision_kind(c),
                                .max_regions = (int32_t)gm_config_int(c, GM_KEY_REGION_MAX),
                                .debias = { .margin = (float)gm_config_num(c, GM_KEY_REGION_MARGIN), .weight = (float)gm_config_num(c, GM_KEY_REGION_DEBIAS) },
                                .recomputes = gm_config_bool(c, GM_KEY_CHECKPOINTING),
                                .max_len = (int32_t)gm_config_int(c, GM_KEY_MAX_LEN),
                                .dropout = (float)gm_config_num(c, GM_KEY_DROPOUT),
                                .seed = gm_config_u64(c, GM_KEY_SEED) };
}

/* Where pictures come from, before the model is made: the width of features decides on its shape. */
static gm_status open_pictures(gm_run *r, gm_model_options *o, gm_err *err)
{
    const char *vision = gm_config_str(r->config, GM_KEY_VISION);
    if (o->vision == GM_VISION_NONE) return GM_OK;
    const gm_look_options look = { .images = gm_config_str(r->config, GM_KEY_DATA_IMAGES), .regions = gm_config_str(r->config, GM_KEY_DATA_REGIONS),
                                   .cache = gm_config_str(r->config, GM_KEY_DATA_FEATURES), .max = o->max_regions, .kind = o->vision,
                                   .encoder = o->vision == GM_VISION_FEATURES && strcmp(vision, "features") != 0 ? vision : NULL };
    GM_TRY(gm_look_open(&look, &r->look, err));
    o->feature_width = gm_look_width(r->look);
    return GM_OK;
}

static gm_status make_model(gm_run *r, const gm_records *train, gm_err *err)
{
    gm_buffer labels = { 0 }, fine = { 0 };
    gm_model_options o = model_options(r->config);
    const char *encoder = gm_config_str(r->config, GM_KEY_ENCODER);
    gm_status status = gm_run_label_list(r->config, train, &labels, err);
    if (status == GM_OK && gm_config_bool(r->config, GM_KEY_FINE)) status = gm_run_fine_list(train, &fine, err);
    if (status == GM_OK) status = open_pictures(r, &o, err);
    o.fine = fine.data;
    if (status == GM_OK)
        status = strcmp(encoder, "tiny") == 0 ? gm_model_create_tiny(train, labels.data, &o, &r->model, err)
                                              : gm_model_create(encoder, labels.data, &o, &r->model, err);
    gm_buffer_free(&labels);
    gm_buffer_free(&fine);
    if (status == GM_OK && r->look != NULL) status = gm_look_tell(r->look, &r->model, err);
    if (status == GM_OK && gm_config_num(r->config, GM_KEY_AVERAGE) > 0) status = gm_params_keep_average(&r->model.params, err);
    return status;
}

static void report_data(const gm_dataset *d, const char *name)
{
    gm_log(GM_LOG_INFO, "data",
           "%s: %zu samples, %lld pieces, gold count %lld; %lld sentences cut (%lld words, %lld entities lost), %lld "
           "entities wider than %d words",
           name, d->records.count, (long long)d->pieces, (long long)d->entities, (long long)d->cut_sentences,
           (long long)d->cut_words, (long long)d->lost_to_cut, (long long)d->lost_to_width, GM_SPAN_WIDTHS);
}

static gm_status make_data(gm_run *r, gm_records *train, gm_records *dev, gm_err *err)
{
    const int32_t max_len = r->model.options.max_len;
    if (gm_dataset_make(&r->train, train, r->model.tokenizer, &r->model.labels, max_len, err) != GM_OK)
        return gm_fail_at(err, "data.train");
    report_data(&r->train, "train");
    if (dev->count > 0) {
        if (gm_dataset_make(&r->dev, dev, r->model.tokenizer, &r->model.labels, max_len, err) != GM_OK)
            return gm_fail_at(err, "data.dev");
        report_data(&r->dev, "dev");
    }
    GM_TRY(gm_dataset_name_fine(&r->train, &r->model.fine_labels, err));
    const int64_t batch = gm_config_int(r->config, GM_KEY_BATCH);
    r->steps_per_epoch = ((int64_t)r->train.records.count + batch - 1) / batch;
    r->total_steps = r->steps_per_epoch * gm_config_int(r->config, GM_KEY_EPOCHS);
    return GM_OK;
}

/* All pictures are looked at once, before the first step; what the model reads of them stays in memory. */
static gm_status take_pictures(gm_run *r, gm_err *err)
{
    enum { AT_ONCE = 64 };
    gm_dataset *const sets[] = { &r->train, &r->dev };
    gm_progress bar;
    int64_t done = 0;
    gm_status status = GM_OK;
    gm_progress_start(&bar, "images", (int64_t)(r->train.records.count + r->dev.records.count), 2000);
    for (size_t k = 0; k < GM_LEN(sets); k++)
        for (size_t i = 0; i < sets[k]->records.count && status == GM_OK; i += AT_ONCE) {
            const size_t left = sets[k]->records.count - i, n = left < AT_ONCE ? left : AT_ONCE;
            status = gm_look_take(r->look, &r->workers, sets[k]->samples + i, n, err);
            done += (int64_t)n;
            gm_progress_update(&bar, done, NULL);
            if (status == GM_OK && *r->options->signal != 0) status = gm_fail(err, *r->options->signal == SIGINT ? GM_STOP_INT : GM_STOP_TERM, "stopped before the first step");
        }
    gm_progress_end(&bar);
    if (status == GM_OK) gm_look_report(r->look);
    return status;
}

static gm_status set_up(gm_run *r, gm_err *err)
{
    gm_records train = { 0 }, dev = { 0 };
    const int32_t threads = (int32_t)gm_config_int(r->config, GM_KEY_THREADS);
    r->shards = (int32_t)gm_config_int(r->config, GM_KEY_SHARDS);
    r->step.seed = gm_config_u64(r->config, GM_KEY_SEED);
    r->at.best_f1 = -1.0;
    const gm_float_type type = strcmp(gm_config_str(r->config, GM_KEY_PRECISION), "bf16") == 0 ? GM_BF16 : GM_FP32;
    GM_TRY(gm_backend_open(r->options->device, r->options->isa, type, &r->backend, err));
    gm_status status = gm_run_read_records(r->config, &train, &dev, err);
    if (status == GM_OK) status = make_model(r, &train, err);
    if (status == GM_OK) status = make_data(r, &train, &dev, err);
    gm_records_free(&train);
    gm_records_free(&dev);
    if (status == GM_OK) status = gm_workers_create(&r->workers, &r->backend, threads, err);
    if (status == GM_OK && r->look != NULL) status = take_pictures(r, err);
    return status == GM_OK ? gm_run_make_buffers(r, err) : status;
}

/* An epoch whose steps are done still has its evaluation to come, also when train.max_steps ends there (guarded by
 * max_steps_at_an_epochs_end_still_evaluates). */
static bool is_finished(const gm_run *r)
{
    const int64_t patience = gm_config_int(r->config, GM_KEY_PATIENCE),
                  limit = gm_config_int(r->config, GM_KEY_MAX_STEPS);
    return r->at.epoch >= gm_config_int(r->config, GM_KEY_EPOCHS) ||
           (patience > 0 && r->at.epochs_without_gain >= patience) ||
           (limit > 0 && r->at.step >= limit && r->at.step_in_epoch < r->steps_per_epoch);
}

/* Without run.json nobody can tell what the checkpoints in a folder belong to: they are not to be written over. */
static gm_status refuse_nameless_checkpoints(const gm_run *r, gm_err *err)
{
    static const char *const names[] = { "last", "best" };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        char *path = gm_path_join(r->options->out, names[i]);
        if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
        const bool is_there = gm_path_exists(path);
        gm_free(path);
        if (is_there)
            return gm_fail(err, GM_ERR_DATA, "%s holds %s/ but no run.json: put it back, or name another --out",
                           r->options->out, names[i]);
    }
    return GM_OK;
}

/* A new folder is described; a resumed one must describe the same run. */
static gm_status begin_or_resume(gm_run *r, gm_err *err)
{
    bool found = false;
    char *description = gm_path_join(r->options->out, "run.json");
    if (description == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const bool has_run = gm_path_exists(description);
    gm_free(description);
    if (!has_run) GM_TRY(refuse_nameless_checkpoints(r, err));
    if (has_run && !r->options->resume)
        return gm_fail(err, GM_ERR_USAGE,
                       "%s holds a run already: add --resume to go on with it, or name another --out", r->options->out);
    GM_TRY(gm_make_dirs(r->options->out, err));
    if (has_run) {
        GM_TRY(gm_run_check_description(r, err));
        GM_TRY(gm_run_load_last(r, &found, err));
    }
    if (found && is_finished(r))
        gm_log(GM_LOG_INFO, "train", "%s is finished already: nothing to do", r->options->out);
    else if (found)
        gm_log(GM_LOG_INFO, "train", "resumed behind step %lld (epoch %lld)", (long long)r->at.step,
               (long long)r->at.epoch + 1);
    else if (r->options->resume)
        gm_log(GM_LOG_INFO, "train", "%s holds no checkpoint: starting anew", r->options->out);
    if (!has_run) GM_TRY(gm_run_describe(r, err));
    return gm_run_open_metrics(r, err);
}

/* Of several processes, what any of them had got when the last step's outcomes were exchanged: all stop behind the same step. */
static int stop_signal(const gm_run *r) { return r->ranks.size > 1 ? r->ranks.signal : (int)*r->options->signal; }

static gm_status after_signal(gm_run *r, gm_err *err)
{
    const int number = stop_signal(r);
    GM_TRY(gm_run_save_last(r, err));
    gm_fail(err, number == SIGINT ? GM_STOP_INT : GM_STOP_TERM,
            "stopped by %s behind step %lld; all is saved: go on with --resume",
            number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "SIGUSR1", (long long)r->at.step);
    return gm_comm_agree(r->ranks.comm, err->status, err);
}

static gm_status log_step(gm_run *r, double loss, gm_err *err)
{
    if (r->at.step % gm_config_int(r->config, GM_KEY_LOG_EVERY) != 0) return GM_OK;
    GM_TRY(gm_run_note_step(r, loss, err));
    r->train_s = 0.0;
    r->train_pieces = 0;
    return GM_OK;
}

/* Steps of the epoch at hand, from where the state stands. */
static gm_status run_epoch(gm_run *r, gm_progress *bar, gm_err *err)
{
    const int64_t batch = gm_config_int(r->config, GM_KEY_BATCH), all = (int64_t)r->train.records.count;
    const int64_t save_every = gm_config_int(r->config, GM_KEY_SAVE_EVERY),
                  limit = gm_config_int(r->config, GM_KEY_MAX_STEPS);
    gm_run_shuffle(r);
    while (r->at.step_in_epoch < r->steps_per_epoch && (limit == 0 || r->at.step < limit)) {
        const int64_t from = r->at.step_in_epoch * batch, count = from + batch < all ? batch : all - from;
        const double start = gm_now_s();
        double loss;
        for (int64_t i = 0; i < count; i++) {
            r->picked[i] = &r->train.samples[r->order[from + i]];
            r->train_pieces += r->picked[i]->text.count;
            r->epoch_pieces += r->picked[i]->text.count;
        }
        GM_TRY(gm_run_step(r, (int32_t)count, &loss, err));
        GM_TRY(gm_run_average(r, err));
        const double took = gm_now_s() - start;
        r->train_s += took;
        r->epoch_s += took;
        char detail[128];
        snprintf(detail, sizeof detail, "epoch %lld loss %.4f norm %.2f lr %.2e %.0f pieces/s",
                 (long long)r->at.epoch + 1, loss, (double)r->norm, (double)r->step.rate[GM_RATE_ENCODER],
                 (double)r->train_pieces / r->train_s);
        gm_progress_update(bar, r->at.step, detail);
        GM_TRY(log_step(r, loss, err));
        if (stop_signal(r) != 0) return after_signal(r, err);
        if (r->at.step % save_every == 0) GM_TRY(gm_run_save_last(r, err));
    }
    return GM_OK;
}

static gm_status score_average(gm_run *r, gm_metrics *m, gm_err *err)
{
    GM_TRY(gm_run_swap_average(r, err));
    const gm_status status = gm_run_evaluate(r, m, err);
    return status == GM_OK ? gm_run_swap_average(r, err) : status;
}

/* What a model is chosen by: all that it tells. */
static gm_score chosen_by(const gm_run *r, const gm_metrics *m) { return r->look != NULL ? m->gmner : m->mner; }

static const char *chosen_name(const gm_run *r) { return r->look != NULL ? "GMNER" : "MNER"; }

static void log_scores(const gm_run *r, const gm_metrics *m, const gm_metrics *average)
{
    char beside[64] = "", grounded[64] = "";
    if (average != NULL) snprintf(beside, sizeof beside, "; averaged weights: %s F1 %.4f", chosen_name(r), gm_f1(chosen_by(r, average)));
    if (r->look != NULL) snprintf(grounded, sizeof grounded, "GMNER F1 %.4f, EEG F1 %.4f, ", gm_f1(m->gmner), gm_f1(m->eeg));
    gm_log(GM_LOG_INFO, "dev", "epoch %lld: %sMNER F1 %.4f (P %.4f R %.4f), span F1 %.4f, gold count %lld%s", (long long)r->at.epoch, grounded,
           gm_f1(m->mner), gm_precision(m->mner), gm_recall(m->mner), gm_f1(m->span), (long long)m->mner.n_gold, beside);
}

/* Scores the weights, and their average where there is one. *f1 is the better one's; the weights' own if they are equal. */
static gm_status score(gm_run *r, double *f1, bool *is_average, gm_err *err)
{
    gm_metrics m = { 0 }, average = { 0 };
    const gm_metrics *beside = r->model.params.average != NULL ? &average : NULL;
    gm_status status = gm_run_evaluate(r, &m, err);
    if (status == GM_OK && beside != NULL) status = score_average(r, &average, err);
    if (status == GM_OK) {
        log_scores(r, &m, beside);
        *is_average = beside != NULL && gm_f1(chosen_by(r, &average)) > gm_f1(chosen_by(r, &m));
        *f1 = gm_f1(chosen_by(r, *is_average ? &average : &m));
        status = gm_run_note_eval(r, &m, beside, err);
    }
    gm_metrics_free(&m);
    gm_metrics_free(&average);
    return status;
}

static gm_status keep_best(gm_run *r, bool is_average, gm_err *err)
{
    if (is_average) GM_TRY(gm_run_swap_average(r, err));
    GM_TRY(gm_run_save_best(r, err));
    return is_average ? gm_run_swap_average(r, err) : GM_OK;
}

/* Scores the model and keeps it where it is the best so far; without a dev set the newest is the best. */
static gm_status end_epoch(gm_run *r, gm_err *err)
{
    double f1 = 0.0;
    bool is_average = false;
    r->at.epoch++;
    r->at.step_in_epoch = 0;
    if (r->dev.records.count > 0) GM_TRY(score(r, &f1, &is_average, err));
    if (f1 > r->at.best_f1 || r->dev.records.count == 0) {
        r->at.best_f1 = f1;
        r->at.best_epoch = r->at.epoch;
        r->at.epochs_without_gain = 0;
        GM_TRY(keep_best(r, is_average, err));
    } else
        r->at.epochs_without_gain++;
    r->epoch_s = 0.0;
    r->epoch_pieces = 0;
    return gm_run_save_last(r, err);
}

/* What the user is told at the end; before the first whole epoch there is no best/ yet. */
static void report_end(const gm_run *r)
{
    if (r->at.best_epoch == 0)
        gm_log(
            GM_LOG_INFO, "train",
            "stopped by train.max_steps behind step %lld, before the first epoch was over; the model lies in %s/last",
            (long long)r->at.step, r->options->out);
    else if (r->dev.records.count == 0)
        gm_log(GM_LOG_INFO, "train", "finished: %lld steps; the model lies in %s/best", (long long)r->at.step,
               r->options->out);
    else
        gm_log(GM_LOG_INFO, "train", "finished: %lld steps; best %s F1 %.4f in epoch %lld; the model lies in %s/best",
               (long long)r->at.step, chosen_name(r), r->at.best_f1, (long long)r->at.best_epoch, r->options->out);
}

/* What one process cannot do stops all of them, with its message. Rank 0 alone looks at the run folder and writes there. */
static gm_status begin_together(gm_run *r, gm_err *err)
{
    gm_comm *comm = r->options->comm;
    GM_TRY(gm_comm_agree(comm, set_up(r, err), err));
    GM_TRY(gm_comm_agree(comm, gm_run_check_ranks(r, err), err));
    GM_TRY(gm_comm_agree(comm, r->ranks.rank == 0 ? begin_or_resume(r, err) : GM_OK, err));
    GM_TRY(gm_ranks_share_state(r, err));
    return gm_run_place(r, err);
}

static gm_status train(gm_run *r, gm_err *err)
{
    gm_progress bar;
    GM_TRY(begin_together(r, err));
    gm_progress_start(&bar, "train", r->total_steps, gm_config_int(r->config, GM_KEY_LOG_EVERY));
    gm_status status = GM_OK;
    while (status == GM_OK && !is_finished(r)) {
        status = run_epoch(r, &bar, err);
        if (status != GM_OK) break;
        status = r->at.step_in_epoch == r->steps_per_epoch
                     ? end_epoch(r, err)
                     : gm_run_save_last(r, err); /* cut short by train.max_steps */
    }
    gm_progress_end(&bar);
    if (status == GM_OK) status = gm_ranks_report(r, err);
    if (status == GM_OK) report_end(r);
    return status;
}

gm_status gm_train(const gm_config *config, const gm_train_options *o, gm_err *err)
{
    gm_run r = { .config = config, .options = o };
    gm_status status = train(&r, err);
    if (r.metrics != NULL && fclose(r.metrics) != 0 && status == GM_OK)
        status = gm_fail(err, GM_ERR_IO, "%s/metrics.jsonl: cannot be written", o->out);
    gm_run_free_buffers(&r);
    gm_look_close(r.look);
    gm_model_destroy(&r.model);
    gm_workers_destroy(&r.workers);
    gm_dataset_free(&r.train);
    gm_dataset_free(&r.dev);
    return status;
}
