#include "model/vectors.h"

#include <math.h>
#include <string.h>

#include "backend/packed.h"
#include "base/bf16.h"
#include "base/file.h"
#include "base/memory.h"

/* ---- the encoder of texts ---- */

static gm_status read_config(const char *folder, gm_encoder_config *c, gm_err *err)
{
    char *path = gm_path_join(folder, "config.json"), *text = NULL;
    size_t size = 0;
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for a path") : gm_file_read(path, &text, &size, err);
    if (status == GM_OK) status = gm_encoder_read_config(path, text, size, c, err);
    gm_free(text);
    gm_free(path);
    return status;
}

/* Files of larger models carry the family's prefix before every name. */
static const char *prefix_of(const gm_encoder_config *c, const gm_safetensors *st)
{
    char full[128];
    snprintf(full, sizeof full, "%sembeddings.word_embeddings.weight", c->family->prefix);
    return gm_safetensors_find(st, full) != NULL ? c->family->prefix : "";
}

static gm_status read_weights(gm_text_encoder *e, const char *folder, gm_err *err)
{
    gm_safetensors *st = NULL;
    char *path = gm_path_join(folder, "model.safetensors");
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for a path") : gm_safetensors_open(path, &st, err);
    gm_free(path);
    if (status != GM_OK) return status;
    status = gm_encoder_declare(&e->encoder, &e->params, false, true, err);
    if (status == GM_OK) status = gm_params_allocate(&e->params, false, err);
    if (status == GM_OK) status = gm_params_load(&e->params, e->params.count, st, prefix_of(&e->encoder.config, st), err);
    gm_safetensors_close(st);
    return status;
}

static gm_status open_encoder(const char *folder, gm_workers *w, gm_text_encoder *e, gm_err *err)
{
    if (!gm_path_is_dir(folder))
        return gm_fail(err, GM_ERR_IO, "encoder: there is no folder %s; `tools/get-weights minilm` brings one to weights/minilm", folder);
    GM_TRY(read_config(folder, &e->encoder.config, err));
    GM_TRY(gm_tokenizer_load(folder, &e->tokenizer, err));
    if (gm_tokenizer_size(e->tokenizer) > e->encoder.config.vocabulary)
        return gm_fail(err, GM_ERR_FORMAT, "%s: the tokenizer has %d pieces, but config.json says \"vocab_size\" %d", folder, gm_tokenizer_size(e->tokenizer),
                       e->encoder.config.vocabulary);
    GM_TRY(read_weights(e, folder, err));
    const int32_t most = gm_encoder_max_len(&e->encoder.config);
    e->max_len = most < GM_VECTOR_PIECES ? most : GM_VECTOR_PIECES;
    GM_TRY(gm_workers_error(w, gm_params_place(&e->params, w->whole), err));
    return gm_params_pack(&e->params, err);
}

gm_status gm_text_encoder_open(const char *folder, gm_workers *w, gm_text_encoder *e, gm_err *err)
{
    *e = (gm_text_encoder){ 0 };
    gm_params_init_empty(&e->params);
    const gm_status status = open_encoder(folder, w, e, err);
    if (status != GM_OK) gm_text_encoder_close(e);
    return status;
}

void gm_text_encoder_close(gm_text_encoder *e)
{
    gm_tokenizer_destroy(e->tokenizer);
    gm_params_destroy(&e->params);
    *e = (gm_text_encoder){ 0 };
}

/* ---- vectors of texts ---- */

/* Begin, the text's pieces as far as they fit, end. */
static gm_status encode(const gm_text_encoder *e, const char *text, gm_encoded *to, gm_err *err)
{
    gm_pieces pieces = { 0 };
    const gm_special_ids special = gm_tokenizer_special(e->tokenizer);
    GM_TRY(gm_tokenizer_encode(e->tokenizer, text, strlen(text), &pieces, err));
    const int32_t room = e->max_len - 2, count = pieces.count < (size_t)room ? (int32_t)pieces.count : room;
    to->ids = gm_malloc(((size_t)count + 2) * sizeof *to->ids);
    if (to->ids == NULL) {
        gm_pieces_free(&pieces);
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for a text");
    }
    to->is_cut = pieces.count > (size_t)room;
    to->ids[to->count++] = special.begin;
    for (int32_t i = 0; i < count; i++) to->ids[to->count++] = pieces.items[i].id;
    to->ids[to->count++] = special.end;
    gm_pieces_free(&pieces);
    return GM_OK;
}

enum { BATCH_PIECES = 2048, BATCH_TEXTS = 256 };

typedef struct reading {
    const gm_text_encoder *encoder;
    const gm_sample *samples;
    const size_t *first;       /* [batches + 1] */
    float *to;
} reading;

/* A pass over the worker's batch; `states` in host memory until the next one. */
typedef struct text_pass { const gm_text_encoder *encoder; const char *states; } text_pass;

static gm_status run_texts(gm_worker *w, void *context)
{
    text_pass *p = context;
    gm_tensor *states;
    gm_tape_begin(&w->tape, NULL, 0.0f, NULL);
    GM_TRY(gm_encoder_forward(&p->encoder->encoder, &w->tape, &w->batch, &states));
    return gm_tape_fetch(&w->tape, states->data, (size_t)w->batch.tokens.rows * (size_t)states->cols * w->dev.element, &p->states);
}

/* The mean of `rows` states from row `at` on, of unit length. Sums in double: the order of the pieces then says nothing. */
static void put_mean(const char *states, size_t element, int32_t at, int32_t rows, int32_t width, float *to)
{
    double squares = 0.0;
    for (int32_t c = 0; c < width; c++) {
        double sum = 0.0;
        for (int32_t r = at; r < at + rows; r++) sum += (double)gm_activation_at(states + (size_t)r * (size_t)width * element, c, element);
        to[c] = (float)(sum / rows);
        squares += (double)to[c] * (double)to[c];
    }
    const double scale = 1.0 / sqrt(squares > 0.0 ? squares : 1.0);
    for (int32_t c = 0; c < width; c++) to[c] = (float)((double)to[c] * scale);
}

static gm_status read_batch(gm_worker *w, int32_t i, void *context)
{
    const reading *r = context;
    const gm_sample *samples[BATCH_TEXTS];
    const int32_t width = gm_text_encoder_width(r->encoder);
    text_pass pass = { .encoder = r->encoder };
    int32_t count = 0, pieces = 0, at = 0;
    for (size_t k = r->first[i]; k < r->first[i + 1]; k++) {
        samples[count++] = &r->samples[k];
        pieces += r->samples[k].text.count;
    }
    const bool is_exact = r->encoder->params.packed != NULL && gm_packed_serves(w->dev.element == 2 ? GM_BF16 : GM_FP32, pieces);
    GM_TRY(gm_batch_fill(&w->batch, samples, count, (gm_batch_options){ .is_exact = is_exact }, &w->err));
    if (!w->dev.memory->is_host) {
        size_t bytes;
        GM_TRY(gm_worker_measure(w, run_texts, &pass, &bytes));
        GM_TRY(gm_worker_reserve(w, bytes));
    }
    GM_TRY(run_texts(w, &pass));
    for (int32_t k = 0; k < count; at += samples[k++]->text.count)
        put_mean(pass.states, w->dev.element, at, samples[k]->text.count, width, r->to + (r->first[i] + (size_t)k) * (size_t)width);
    return GM_OK;
}

/* Where batches begin: of about BATCH_PIECES pieces, whatever the number of threads. */
static int32_t cut(const gm_sample *samples, size_t count, size_t *first)
{
    int32_t batches = 0, pieces = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || pieces + samples[i].text.count > BATCH_PIECES || i - first[batches - 1] == BATCH_TEXTS) {
            first[batches++] = i;
            pieces = 0;
        }
        pieces += samples[i].text.count;
    }
    first[batches] = count;
    return batches;
}

gm_status gm_text_vectors(const gm_text_encoder *e, gm_workers *w, const char *const *texts, size_t count, float *to, gm_err *err)
{
    gm_sample *samples = gm_calloc(count + 1, sizeof *samples);
    size_t *first = gm_malloc((count + 1) * sizeof *first);
    gm_status status = samples != NULL && first != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu texts", count);
    for (size_t i = 0; i < count && status == GM_OK; i++) status = encode(e, texts[i], &samples[i].text, err);
    if (status == GM_OK) {
        reading r = { e, samples, first, to };
        status = gm_workers_run(w, cut(samples, count, first), read_batch, &r, err);
    }
    for (size_t i = 0; samples != NULL && i < count; i++) gm_encoded_free(&samples[i].text);
    gm_free(samples);
    gm_free(first);
    return status;
}

/* ---- vectors of pictures ---- */

enum { PICTURES_AT_ONCE = 256 };

static gm_status look_at(gm_look *look, gm_workers *w, const gm_record *records, size_t count, gm_sample *samples, float *to, gm_err *err)
{
    const size_t width = (size_t)gm_look_width(look);
    for (size_t i = 0; i < count; i++) samples[i] = (gm_sample){ .record = &records[i] };
    const gm_status status = gm_look_take(look, w, samples, count, err);
    for (size_t i = 0; i < count; i++) {
        const gm_regions *r = &samples[i].picture.regions;
        if (status == GM_OK && r->count > 0 && r->feature != NULL) memcpy(to + i * width, r->feature, width * sizeof *to);
        gm_picture_free(&samples[i].picture);
    }
    return status;
}

gm_status gm_image_vectors(const gm_picture_vectors *o, const char *images, gm_workers *w, const gm_records *records, float **to, int32_t *width, gm_err *err)
{
    /* Of the proposals that are built in the first is the whole picture. */
    const gm_look_options options = { .images = images, .regions = "", .cache = o->cache, .max = 1, .kind = GM_VISION_FEATURES, .encoder = o->encoder };
    gm_look *look;
    *to = NULL;
    GM_TRY(gm_look_open(&options, &look, err));
    *width = gm_look_width(look);
    gm_sample *samples = gm_calloc(PICTURES_AT_ONCE, sizeof *samples);
    *to = gm_calloc(records->count * (size_t)*width + 1, sizeof **to);
    gm_status status = samples != NULL && *to != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for the vectors of pictures");
    for (size_t i = 0; i < records->count && status == GM_OK; i += PICTURES_AT_ONCE) {
        const size_t left = records->count - i, count = left < PICTURES_AT_ONCE ? left : PICTURES_AT_ONCE;
        status = look_at(look, w, &records->items[i], count, samples, *to + i * (size_t)*width, err);
    }
    if (status == GM_OK) gm_look_report(look);
    gm_look_close(look);
    gm_free(samples);
    if (status == GM_OK) return GM_OK;
    gm_free(*to);
    *to = NULL;
    return status;
}
