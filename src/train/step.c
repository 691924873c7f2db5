/* One optimiser step: samples are dealt to shards, workers take shards forwards and backwards, gradients are summed in a
 * fixed tree, clipped and applied. Nothing here depends on the number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adamw/adamw.h"
#include "base/memory.h"
#include "cross_entropy/cross_entropy.h"
#include "grad_norm/grad_norm.h"
#include "train/run.h"

/* A picked sample, its place among them and its shard. */
typedef struct gm_dealt { const gm_sample *sample; int32_t place, shard; } gm_dealt;

enum { BUCKET = 128 }; /* what a step of a device has room for is a multiple of it: few captured steps */

static int32_t up_to(int32_t count, int32_t unit) { return (count + unit - 1) / unit * unit; }

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

/* Where the numbers of a step's outcome lie, on either side. */
static float *norm_of(const gm_run *r, void *outcome) { return (float *)((double *)outcome + r->shards); }
static float *scale_of(const gm_run *r, void *outcome) { return norm_of(r, outcome) + 1; }

/* Device memory that begins as zeros: the gaps between parameters are summed like the rest. */
static gm_status take(gm_device *dev, size_t bytes, void *block)
{
    void *made;
    GM_TRY(dev->memory->alloc(dev, bytes, &made));
    memcpy(block, &made, sizeof made);
    return dev->memory->fill(dev, made, 0, bytes);
}

static gm_status make_lists(gm_run *r, gm_err *err)
{
    const size_t shards = (size_t)r->shards;
    r->batch = gm_calloc(shards, sizeof *r->batch);
    r->cut = gm_calloc(shards + 1, sizeof *r->cut);
    r->grads = gm_calloc(shards, sizeof *r->grads);
    r->dense = gm_calloc(shards, sizeof *r->dense);
    r->rows = gm_calloc(shards, sizeof *r->rows);
    r->order = gm_calloc(r->train.records.count, sizeof *r->order);
    r->picked = gm_calloc((size_t)gm_config_int(r->config, GM_KEY_BATCH), sizeof *r->picked);
    r->dealt = gm_calloc((size_t)gm_config_int(r->config, GM_KEY_BATCH), sizeof *r->dealt);
    r->dealt_pieces = gm_calloc(shards, sizeof *r->dealt_pieces);
    bool all = r->dealt != NULL && r->dealt_pieces != NULL && r->batch != NULL && r->cut != NULL && r->grads != NULL && r->dense != NULL && r->rows != NULL && r->order != NULL && r->picked != NULL;
    for (size_t s = 0; s < shards && all; s++) {
        r->grads[s].is_written = gm_calloc((size_t)r->model.params.count, sizeof(bool));
        all = r->grads[s].is_written != NULL;
    }
    return all ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for the batches of %zu shards: lower train.shards", shards);
}

static gm_status make_gradients(gm_run *r)
{
    gm_device *dev = r->workers.whole;
    const size_t rows = (size_t)most_touched(r) * table_cols(r), dense = r->model.params.dense_count;
    GM_TRY(take(dev, (size_t)(chunks(dense) + chunks(rows)) * sizeof *r->partial, &r->partial));
    for (int32_t s = r->ranks.first; s < r->ranks.end; s++) {
        GM_TRY(take(dev, dense * sizeof(float), &r->dense[s]));
        GM_TRY(take(dev, rows * sizeof(float), &r->rows[s]));
        r->grads[s].dense = r->dense[s];
        r->grads[s].rows = r->rows[s];
        r->grads[s].on_layer = r->ranks.size > 1 && r->ranks.is_host ? gm_ranks_passed : NULL;
        r->grads[s].listener = r;
    }
    return dev->memory->sync(dev);
}

/* What scenes of a step have room for. */
static gm_scene_options scene_room(const gm_run *r, int32_t entities, int32_t regions)
{
    gm_scene_options o = gm_model_scene(&r->model);
    o.entities = entities;
    o.regions = o.max_regions > 0 ? regions : 0;
    return o;
}

/* Pieces of a sample at most, or its entities where these are more: a shard has room for as many of both. */
static int32_t most_of_sample(const gm_run *r)
{
    int32_t most = r->model.options.max_len;
    for (size_t i = 0; i < r->train.records.count; i++)
        if (r->train.samples[i].gold_count > most) most = r->train.samples[i].gold_count;
    return most;
}

gm_status gm_run_make_buffers(gm_run *r, gm_err *err)
{
    gm_device *dev = r->workers.whole;
    const int32_t most = (int32_t)gm_config_int(r->config, GM_KEY_BATCH);
    const int32_t pieces = up_to(most * most_of_sample(r), BUCKET), regions = up_to(most * r->model.options.max_regions, BUCKET);
    GM_TRY(gm_ranks_begin(r, err));
    GM_TRY(make_lists(r, err));
    if (gm_workers_error(&r->workers, make_gradients(r), err) != GM_OK)
        return gm_fail_at(err, "gradients of %d shards of %zu parameters (train.shards)", r->shards, r->model.params.dense_count);
    GM_TRY(gm_ranks_make(r, most_touched(r) * (int64_t)table_cols(r), err));
    GM_TRY(gm_mirror_make(&r->touched_rows, ((size_t)most_touched(r) + 1) * sizeof(int32_t), dev, err));
    GM_TRY(gm_mirror_make(&r->outcome, (size_t)r->shards * sizeof(double) + 2 * sizeof(float), dev, err));
    for (int32_t s = 0; s < r->shards; s++) {
        r->batch[s].dev = dev;
        if (dev->memory->is_host) continue;
        GM_TRY(gm_batch_reserve(&r->batch[s], most, pieces, pieces, err)); /* graphs hold its address */
        if (gm_model_asks(&r->model)) GM_TRY(gm_scene_reserve(&r->batch[s].scene, most, scene_room(r, pieces, regions), dev, err));
    }
    return gm_touched_make(&r->touched, r->model.encoder.config.vocabulary, err);
}

gm_status gm_run_place(gm_run *r, gm_err *err) { return gm_workers_error(&r->workers, gm_params_place(&r->model.params, r->workers.whole), err); }

gm_status gm_run_fetch(gm_run *r, gm_err *err) { return gm_workers_error(&r->workers, gm_params_fetch(&r->model.params), err); }

void gm_run_free_buffers(gm_run *r)
{
    gm_device *dev = r->workers.whole;
    if (dev == NULL) return; /* nothing was made */
    if (dev->module != NULL) gm_replay_forget(&r->replay, &r->workers.items[0]);
    for (int32_t s = 0; s < r->shards; s++) {
        if (r->batch != NULL) gm_batch_free(&r->batch[s]);
        if (r->dense != NULL) dev->memory->release(dev, r->dense[s]);
        if (r->rows != NULL) dev->memory->release(dev, r->rows[s]);
        if (r->grads != NULL) gm_free(r->grads[s].is_written);
    }
    gm_ranks_free(r);
    dev->memory->release(dev, r->partial);
    gm_mirror_free(&r->touched_rows, dev);
    gm_mirror_free(&r->outcome, dev);
    void *const blocks[] = { r->batch, r->cut, r->grads, r->dense, r->rows, r->order, (void *)r->picked, r->dealt, r->dealt_pieces };
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

static int longest_first(const void *a, const void *b)
{
    const gm_dealt *x = a, *y = b;
    if (x->sample->text.count != y->sample->text.count) return x->sample->text.count > y->sample->text.count ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static int by_shard(const void *a, const void *b)
{
    const gm_dealt *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* Deals the picked samples to shards of equal pieces, as nearly as can be told: the longest first, each to the shard that has
 * least, for a step takes as long as its largest shard. Puts them in the order of shards, within a shard in the order in
 * which they were picked. Gives the pieces of the largest shard. */
static int32_t cut(gm_run *r, int32_t count)
{
    int32_t *pieces = r->dealt_pieces, largest = 0;
    memset(pieces, 0, (size_t)r->shards * sizeof *pieces);
    for (int32_t i = 0; i < count; i++) r->dealt[i] = (gm_dealt) { r->picked[i], i, 0 };
    qsort(r->dealt, (size_t)count, sizeof *r->dealt, longest_first);
    for (int32_t i = 0; i < count; i++) {
        int32_t least = 0;
        for (int32_t s = 1; s < r->shards; s++)
            if (pieces[s] < pieces[least]) least = s;
        r->dealt[i].shard = least;
        pieces[least] += r->dealt[i].sample->text.count;
    }
    qsort(r->dealt, (size_t)count, sizeof *r->dealt, by_shard);
    for (int32_t i = 0, s = 0; s <= r->shards; s++) {
        r->cut[s] = i;
        while (i < count && r->dealt[i].shard == s) i++;
        if (s < r->shards && pieces[s] > largest) largest = pieces[s];
    }
    for (int32_t i = 0; i < count; i++) r->picked[i] = r->dealt[i].sample;
    return largest;
}

static int32_t regions_of(const gm_sample *s) { return s->picture.regions.count; }
static int32_t entities_of(const gm_sample *s) { return s->gold_count; }

/* Of the shard that has most. */
static int32_t most_of_shards(const gm_run *r, int32_t (*of)(const gm_sample *))
{
    int32_t most = 0;
    for (int32_t s = 0; s < r->shards; s++) {
        int32_t count = 0;
        for (int32_t i = r->cut[s]; i < r->cut[s + 1]; i++) count += of(r->picked[i]);
        if (count > most) most = count;
    }
    return most;
}

/* Gold entities that heads are asked about: those whose pictures have regions, and those with a fine type. */
static void count_asked(gm_run *r, int32_t count)
{
    int64_t seen = 0, typed = 0;
    for (int32_t i = 0; i < count; i++) {
        const gm_sample *s = r->picked[i];
        for (int32_t k = 0; k < s->gold_count; k++) {
            if (s->gold[k].end - s->gold[k].start >= GM_SPAN_WIDTHS) continue;
            seen += s->picture.regions.count > 0;
            typed += s->gold_fine != NULL && s->gold_fine[k] != GM_NO_LABEL;
        }
    }
    r->step.inv_entities = seen > 0 ? (float)gm_config_num(r->config, GM_KEY_REGION_WEIGHT) / (float)seen : 0.0f;
    r->step.inv_typed = typed > 0 ? 1.0f / (float)typed : 0.0f;
}

static gm_status fill_shard(gm_run *r, int32_t s, gm_batch_options o, gm_scene_options scene, gm_err *err)
{
    const gm_sample *const *from = r->picked + r->cut[s];
    const int32_t count = r->cut[s + 1] - r->cut[s];
    const bool is_own = s >= r->ranks.first && s < r->ranks.end; /* of the others' shards the words and rows count */
    GM_TRY(gm_batch_fill(&r->batch[s], from, count, o, err));
    return is_own && gm_model_asks(&r->model) ? gm_scene_fill(&r->batch[s], from, count, scene, err) : GM_OK;
}

/* Fills the batches. On a device all have the same capacities, which depend on the bucket alone, so that its captured step
 * fits: a word has at least one piece, a shard at most all sentences. *bucket: pieces, and as many entities, that each shard
 * has room for, and regions, both in BUCKETs. */
static gm_status deal(gm_run *r, int32_t count, int32_t *bucket, gm_err *err)
{
    const bool is_device = !r->workers.whole->memory->is_host;
    gm_batch_options o = { .scheme = r->model.options.scheme, .draw = (uint32_t)r->at.step + 1,
                           .touched = r->model.params.table != NULL ? &r->touched : NULL };
    int64_t words = 0;
    const int32_t pieces = cut(r, count), entities = most_of_shards(r, entities_of);
    const int32_t room_of_pieces = up_to(entities > pieces ? entities : pieces, BUCKET), room_of_regions = up_to(most_of_shards(r, regions_of), BUCKET);
    *bucket = room_of_pieces / BUCKET | room_of_regions / BUCKET << 12;
    if (is_device) {
        o.tokens = o.words = room_of_pieces;
        o.sequences = (int32_t)gm_config_int(r->config, GM_KEY_BATCH);
    }
    gm_touched_begin(&r->touched);
    for (int32_t s = 0; s < r->shards; s++) {
        const gm_scene_options scene = is_device ? scene_room(r, room_of_pieces, room_of_regions) : gm_model_scene(&r->model);
        GM_TRY(gm_workers_error(&r->workers, fill_shard(r, s, o, scene, err), err));
        words += r->batch[s].words.rows;
    }
    const int64_t room = (int64_t)r->shards * room_of_pieces, most = most_touched(r);
    for (int32_t s = 0; s < r->shards; s++)
        r->grads[s].touched = !is_device ? r->touched.count : (int32_t)(room < most ? room : most);
    r->step.inv_words = words > 0 ? 1.0f / (float)words : 0.0f;
    r->step.inv_sentences = 1.0f / (float)count;
    count_asked(r, count);
    gm_ranks_start_step(r);
    return GM_OK;
}

/* The list of touched rows and the numbers of this step go to the device. */
static gm_status send_step(gm_run *r)
{
    int32_t *list = r->touched_rows.host;
    list[0] = r->touched.count;
    if (r->touched.count > 0) memcpy(list + 1, r->touched.row, (size_t)r->touched.count * sizeof *list);
    GM_TRY(gm_mirror_send(&r->touched_rows, ((size_t)r->touched.count + 1) * sizeof *list, r->workers.whole));
    return gm_workers_set_step(&r->workers, &r->step);
}

/* What no operation wrote is zero: the sums over shards read all of it. */
static gm_status clear_unwritten(const gm_params *ps, const gm_grads *g, gm_device *dev)
{
    for (int32_t i = 0; i < ps->count; i++)
        if (!ps->items[i]->spec.is_frozen && !g->is_written[i]) GM_TRY(gm_grads_clear(g, ps->items[i], dev));
    return GM_OK;
}

/* Shard i of this process's own. */
static gm_status run_shard(gm_worker *w, int32_t i, void *context)
{
    gm_run *r = context;
    const int32_t s = r->ranks.first + i;
    gm_grads *g = &r->grads[s];
    memset(g->is_written, 0, (size_t)r->model.params.count * sizeof(bool));
    gm_tape_begin(&w->tape, g, r->model.options.dropout, (double *)r->outcome.device + s);
    if (r->batch[s].tokens.capacity > 0) {
        GM_TRY(gm_model_loss(&r->model, &w->tape, &r->batch[s]));
        GM_TRY(gm_tape_backward(&w->tape));
    }
    GM_TRY(clear_unwritten(&r->model.params, g, w->tape.dev));
    return gm_ranks_passed(&w->tape, -1, r);
}

static gm_status measure_shards(gm_worker *w, void *context)
{
    const gm_run *r = context;
    for (int32_t i = 0; i < r->ranks.end - r->ranks.first; i++) GM_TRY(run_shard(w, i, context));
    return GM_OK;
}

static gm_status sum_gradients(gm_run *r)
{
    const gm_params *ps = &r->model.params;
    const gm_grad_norm a = { .shard = { r->dense, r->rows },
                             .size = { (int64_t)ps->dense_count, (int64_t)r->grads[0].touched * (int64_t)table_cols(r) },
                             .blocks = ps->table != NULL ? 2 : 1,
                             .shards = r->shards,
                             .partial = r->partial,
                             .loss = r->outcome.device,
                             .max = (float)gm_config_num(r->config, GM_KEY_CLIP),
                             .norm = norm_of(r, r->outcome.device),
                             .scale = scale_of(r, r->outcome.device) };
    return r->backend.kernels.grad_norm.forward(&a, r->workers.whole);
}

static gm_adamw adamw_of(const gm_run *r, gm_rate rate, bool decays)
{
    return (gm_adamw) { .grad_scale = scale_of(r, r->outcome.device),
                        .rate = rate,
                        .decay = decays ? (float)gm_config_num(r->config, GM_KEY_WEIGHT_DECAY) : 0.0f,
                        .beta1 = 0.9f,
                        .beta2 = 0.999f,
                        .eps = 1e-8f };
}

static gm_status update_dense(gm_run *r)
{
    enum { WIDTH = 16 }; /* groups are multiples of it */
    gm_params *ps = &r->model.params;
    gm_param_blocks *d = &ps->device;
    for (int32_t i = 0; i < ps->groups; i++) {
        const gm_group *g = &ps->group[i];
        gm_adamw a = adamw_of(r, g->rate, g->decays);
        a.param = d->value + g->offset;
        a.m = d->m + g->offset;
        a.v = d->v + g->offset;
        a.grad = r->dense[0] + g->offset;
        a.capacity = (int32_t)(g->count / WIDTH);
        a.width = WIDTH;
        a.copy = ps->copy != NULL ? (uint16_t *)ps->copy + g->offset : NULL;
        GM_TRY(r->backend.kernels.adamw.forward(&a, r->workers.whole));
    }
    return GM_OK;
}

static gm_status update_rows(gm_run *r)
{
    gm_params *ps = &r->model.params;
    gm_param_blocks *d = &ps->device;
    if (ps->table == NULL) return GM_OK;
    gm_adamw a = adamw_of(r, ps->table->spec.rate, ps->table->spec.decays);
    a.param = d->table_value;
    a.m = d->table_m;
    a.v = d->table_v;
    a.grad = r->rows[r->ranks.first];
    a.n_rows = r->touched_rows.device;
    a.row = a.n_rows + 1;
    a.capacity = r->grads[0].touched;
    a.width = ps->table->spec.cols;
    return r->backend.kernels.adamw.forward(&a, r->workers.whole);
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

/* Each rank updates what it has summed; rows of the table are few, and everybody updates all of them. */
static gm_status compute_with_others(gm_run *r, gm_err *err)
{
    GM_TRY(gm_ranks_sum(r, norm_of(r, r->outcome.host), scale_of(r, r->outcome.host), err));
    GM_TRY(gm_ranks_update(r, adamw_of, err));
    return gm_workers_error(&r->workers, update_rows(r), err);
}

/* All that a device does in a step, from the batches it holds to the new weights; of several processes, to their gradients. */
static gm_status compute(void *context, gm_err *err)
{
    gm_run *r = context;
    gm_device *dev = r->workers.whole;
    GM_TRY(gm_workers_error(&r->workers, dev->memory->fill(dev, r->outcome.device, 0, (size_t)r->shards * sizeof(double)), err));
    GM_TRY(gm_workers_run(&r->workers, r->ranks.end - r->ranks.first, run_shard, r, err));
    if (r->ranks.size > 1) return GM_OK; /* no captured step can wait for others */
    if (gm_workers_error(&r->workers, sum_gradients(r), err) != GM_OK) return gm_fail_at(err, "gradients");
    if (gm_workers_error(&r->workers, update_dense(r), err) != GM_OK || gm_workers_error(&r->workers, update_rows(r), err) != GM_OK) return gm_fail_at(err, "optimiser");
    return GM_OK;
}

/* The only wait of a step. Weights are the same as before it where a number went wrong: the factor of clipping is then 0. */
static gm_status take_outcome(gm_run *r, double *loss)
{
    gm_device *dev = r->workers.whole;
    GM_TRY(gm_mirror_bring(&r->outcome, r->outcome.bytes, dev));
    GM_TRY(dev->memory->sync(dev));
    *loss = 0.0;
    for (int32_t s = 0; s < r->shards; s++) *loss += ((const double *)r->outcome.host)[s];
    r->norm = *norm_of(r, r->outcome.host);
    return GM_OK;
}

static void set_rates(gm_run *r)
{
    const double factor = gm_schedule(r->at.step, r->total_steps, gm_config_num(r->config, GM_KEY_WARMUP));
    const gm_key rates[GM_RATE_COUNT] = {
        [GM_RATE_ENCODER] = GM_KEY_LR, [GM_RATE_HEAD] = GM_KEY_HEAD_LR, [GM_RATE_CRF] = GM_KEY_CRF_LR
    };
    for (gm_rate k = 0; k < GM_RATE_COUNT; k++) r->step.rate[k] = (float)(factor * gm_config_num(r->config, rates[k]));
    r->step.number = (int32_t)r->at.step + 1;
}

gm_status gm_run_step(gm_run *r, int32_t count, double *loss, gm_err *err)
{
    int32_t bucket;
    set_rates(r);
    GM_TRY(deal(r, count, &bucket, err));
    GM_TRY(gm_workers_error(&r->workers, send_step(r), err));
    GM_TRY(gm_replay_run(&r->replay, &r->workers.items[0], bucket, measure_shards, compute, r, err));
    if (r->ranks.size > 1) GM_TRY(compute_with_others(r, err));
    GM_TRY(gm_workers_error(&r->workers, take_outcome(r, loss), err));
    if (!isfinite(*loss) || !isfinite(r->norm)) return gm_comm_agree(r->ranks.comm, not_finite(r, count, *loss, err), err);
    r->at.step++;
    r->at.step_in_epoch++;
    return GM_OK;
}
