/* One optimiser step: samples are dealt to shards, workers take shards forwards and backwards, gradients are summed in a
 * fixed tree, clipped and applied. Nothing here depends on the number of threads. */
#include <math.h>
#include <string.h>

#include "adamw/adamw.h"
#include "base/memory.h"
#include "grad_norm/grad_norm.h"
#include "train/run.h"

/* Rows of the table that a step can touch at most. */
static int64_t most_touched(const gm_run *r)
{
    const int64_t pieces = gm_config_int(r->config, GM_KEY_BATCH) * gm_config_int(r->config, GM_KEY_MAX_LEN);
    const int64_t table = r->model.params.table != NULL ? r->model.params.table->spec.rows : 0;
    return pieces < table ? pieces : table;
}

static size_t table_cols(const gm_run *r)
{
    return r->model.params.table != NULL ? (size_t)r->model.params.table->spec.cols : 0;
}

static int64_t chunks(size_t count) { return (int64_t)((count + GM_NORM_CHUNK - 1) / GM_NORM_CHUNK); }

gm_status gm_run_make_buffers(gm_run *r, gm_err *err)
{
    const size_t shards = (size_t)r->shards, rows = (size_t)most_touched(r) * table_cols(r),
                 dense = r->model.params.dense_count;
    r->batch = gm_calloc(shards, sizeof *r->batch);
    r->grads = gm_calloc(shards, sizeof *r->grads);
    r->loss = gm_calloc(shards, sizeof *r->loss);
    r->dense = gm_calloc(shards, sizeof *r->dense);
    r->rows = gm_calloc(shards, sizeof *r->rows);
    r->partial = gm_calloc((size_t)(chunks(dense) + chunks(rows)), sizeof *r->partial);
    r->order = gm_calloc(r->train.records.count, sizeof *r->order);
    r->picked = gm_calloc((size_t)gm_config_int(r->config, GM_KEY_BATCH), sizeof *r->picked);
    bool all = r->batch != NULL && r->grads != NULL && r->loss != NULL && r->dense != NULL && r->rows != NULL &&
               r->partial != NULL && r->order != NULL && r->picked != NULL;
    for (size_t s = 0; s < shards && all; s++) {
        r->dense[s] = r->grads[s].dense = gm_calloc(dense, sizeof(float));
        r->rows[s] = r->grads[s].rows = gm_calloc(rows, sizeof(float)); /* zero pages until touched */
        r->grads[s].is_written = gm_calloc((size_t)r->model.params.count, sizeof(bool));
        all = r->grads[s].dense != NULL && r->grads[s].rows != NULL && r->grads[s].is_written != NULL;
    }
    if (!all)
        return gm_fail(err, GM_ERR_NOMEM,
                       "out of memory for the gradients of %zu shards of %zu parameters: lower train.shards", shards,
                       dense);
    return gm_touched_make(&r->touched, r->model.bert.config.vocabulary, err);
}

void gm_run_free_buffers(gm_run *r)
{
    for (int32_t s = 0; s < r->shards; s++) {
        if (r->batch != NULL) gm_batch_free(&r->batch[s]);
        if (r->grads == NULL) continue;
        gm_free(r->grads[s].dense);
        gm_free(r->grads[s].rows);
        gm_free(r->grads[s].is_written);
    }
    void *const blocks[] = { r->batch, r->grads, r->loss, r->dense, r->rows, r->partial, r->order, (void *)r->picked };
    for (size_t i = 0; i < GM_LEN(blocks); i++) gm_free(blocks[i]);
    gm_touched_free(&r->touched);
}

/* Fisher-Yates by Philox: the order depends on the seed and the epoch alone. */
void gm_run_shuffle(gm_run *r)
{
    const uint32_t n = (uint32_t)r->train.records.count;
    for (uint32_t i = 0; i < n; i++) r->order[i] = i;
    for (uint32_t i = n; i-- > 1;) {
        const gm_philox4 bits = gm_philox(r->step.seed, i, (uint32_t)r->at.epoch, 0, gm_purpose(GM_SITE_SHUFFLE, 0, 0));
        const uint32_t j = gm_below(bits.word[0], i + 1), kept = r->order[i];
        r->order[i] = r->order[j];
        r->order[j] = kept;
    }
}

/* Cuts the picked samples into runs of about equal pieces: sample i goes to the shard that the middle of its pieces falls in. */
static gm_status deal(gm_run *r, int32_t count, gm_err *err)
{
    int64_t total = 0, before = 0, words = 0;
    int32_t from = 0;
    for (int32_t i = 0; i < count; i++) {
        total += r->picked[i]->text.count;
        words += r->picked[i]->text.words;
    }
    gm_touched_begin(&r->touched);
    for (int32_t s = 0; s < r->shards; s++) {
        int32_t end = from;
        for (; end < count; end++) {
            const int64_t pieces = r->picked[end]->text.count;
            if ((2 * before + pieces) * r->shards >= 2 * total * (s + 1)) break;
            before += pieces;
        }
        GM_TRY(gm_batch_fill(&r->batch[s], r->picked + from, end - from,
                             (gm_batch_options) { .scheme = r->model.options.scheme,
                                                  .draw = (uint32_t)r->at.step + 1,
                                                  .touched = r->model.params.table != NULL ? &r->touched : NULL },
                             err));
        from = end;
    }
    for (int32_t s = 0; s < r->shards; s++) r->grads[s].touched = r->touched.count;
    r->step.inv_words = words > 0 ? 1.0f / (float)words : 0.0f;
    r->step.inv_sentences = 1.0f / (float)count;
    return GM_OK;
}

/* What no operation wrote is zero: the sums over shards read all of it. */
static void clear_unwritten(const gm_params *ps, gm_grads *g)
{
    for (int32_t i = 0; i < ps->count; i++) {
        const gm_param *p = ps->items[i];
        if (p->spec.is_frozen || g->is_written[i]) continue;
        if (p->spec.is_table)
            memset(g->rows, 0, (size_t)g->touched * (size_t)p->spec.cols * sizeof(float));
        else
            memset(g->dense + p->offset, 0, p->count * sizeof(float));
    }
}

static gm_status run_shard(gm_worker *w, int32_t s, void *context)
{
    gm_run *r = context;
    gm_grads *g = &r->grads[s];
    memset(g->is_written, 0, (size_t)r->model.params.count * sizeof(bool));
    gm_tape_begin(&w->tape, g, r->model.options.dropout);
    if (r->batch[s].tokens.sequences > 0) {
        GM_TRY(gm_model_loss(&r->model, &w->tape, &r->batch[s]));
        GM_TRY(gm_tape_backward(&w->tape));
    }
    r->loss[s] = w->tape.loss;
    clear_unwritten(&r->model.params, g);
    return GM_OK;
}

static gm_status sum_gradients(gm_run *r)
{
    const gm_params *ps = &r->model.params;
    const gm_grad_norm a = { .shard = { r->dense, r->rows },
                             .size = { (int64_t)ps->dense_count, (int64_t)r->touched.count * (int64_t)table_cols(r) },
                             .blocks = ps->table != NULL ? 2 : 1,
                             .shards = r->shards,
                             .partial = r->partial,
                             .max = (float)gm_config_num(r->config, GM_KEY_CLIP),
                             .norm = &r->norm,
                             .scale = &r->scale };
    return r->backend.kernels.grad_norm.forward(&a, &r->device);
}

static gm_adamw adamw_of(const gm_run *r, gm_rate rate, bool decays)
{
    return (gm_adamw) { .grad_scale = &r->scale,
                        .rate = rate,
                        .decay = decays ? (float)gm_config_num(r->config, GM_KEY_WEIGHT_DECAY) : 0.0f,
                        .beta1 = 0.9f,
                        .beta2 = 0.999f,
                        .eps = 1e-8f };
}

static gm_status update(gm_run *r)
{
    enum { WIDTH = 16 }; /* groups are multiples of it */
    gm_params *ps = &r->model.params;
    for (int32_t i = 0; i < ps->groups; i++) {
        const gm_group *g = &ps->group[i];
        const int32_t rows = (int32_t)(g->count / WIDTH);
        gm_adamw a = adamw_of(r, g->rate, g->decays);
        a.param = ps->value + g->offset;
        a.m = ps->m + g->offset;
        a.v = ps->v + g->offset;
        a.grad = r->dense[0] + g->offset;
        a.n_rows = &rows;
        a.capacity = rows;
        a.width = WIDTH;
        GM_TRY(r->backend.kernels.adamw.forward(&a, &r->device));
    }
    if (ps->table == NULL) return GM_OK;
    gm_adamw a = adamw_of(r, ps->table->spec.rate, ps->table->spec.decays);
    a.param = ps->table_value;
    a.m = ps->table_m;
    a.v = ps->table_v;
    a.grad = r->rows[0];
    a.row = r->touched.row;
    a.n_rows = &r->touched.count;
    a.capacity = r->touched.count;
    a.width = ps->table->spec.cols;
    return r->backend.kernels.adamw.forward(&a, &r->device);
}

/* Names the batch whose numbers went wrong; weights are as they were before the step. */
static gm_status not_finite(const gm_run *r, int32_t count, double loss, gm_err *err)
{
    gm_buffer ids = { 0 };
    int32_t named = 0; /* a message is bounded: what it leaves out, it counts */
    for (; named < count && ids.size < 600; named++)
        if (gm_buffer_printf(&ids, NULL, "%s%.60s", named > 0 ? " " : "", r->picked[named]->record->id) != GM_OK) break;
    if (named < count) (void)gm_buffer_printf(&ids, NULL, " and %d more", count - named);
    gm_fail(err, GM_ERR_NUMERIC,
            "step %lld: the loss is %g and the gradient norm %g; the weights were left as they were; lower train.lr or "
            "look at this batch: %s",
            (long long)r->at.step + 1, loss, (double)r->norm, ids.data != NULL ? ids.data : "");
    gm_buffer_free(&ids);
    return GM_ERR_NUMERIC;
}

gm_status gm_run_step(gm_run *r, int32_t count, double *loss, gm_err *err)
{
    const double factor = gm_schedule(r->at.step, r->total_steps, gm_config_num(r->config, GM_KEY_WARMUP));
    const gm_key rates[GM_RATE_COUNT] = {
        [GM_RATE_ENCODER] = GM_KEY_LR, [GM_RATE_HEAD] = GM_KEY_HEAD_LR, [GM_RATE_CRF] = GM_KEY_CRF_LR
    };
    for (gm_rate k = 0; k < GM_RATE_COUNT; k++) r->step.rate[k] = (float)(factor * gm_config_num(r->config, rates[k]));
    r->step.number = (int32_t)r->at.step + 1;
    GM_TRY(deal(r, count, err));
    GM_TRY(gm_workers_run(&r->workers, r->shards, run_shard, r, err));
    *loss = 0.0;
    for (int32_t s = 0; s < r->shards; s++) *loss += r->loss[s];
    if (sum_gradients(r) != GM_OK) return gm_fail_at(err, "gradients");
    if (!isfinite(*loss) || !isfinite(r->norm)) return not_finite(r, count, *loss, err);
    GM_TRY(update(r));
    r->at.step++;
    r->at.step_in_epoch++;
    return GM_OK;
}
