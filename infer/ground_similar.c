/* Which labelled samples a record is shown with. */
#include "infer/ground.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "model/vectors.h"

/* Vectors of both sides. */
typedef struct vectors {
    gm_names names;
    float *name, *text[2], *image[2];
    int32_t text_width, image_width;
} vectors;

static void free_vectors(vectors *v)
{
    gm_names_free(&v->names);
    gm_free(v->name);
    for (int side = 0; side < 2; side++) {
        gm_free(v->text[side]);
        gm_free(v->image[side]);
    }
}

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for the vectors of samples"); }

static gm_status encode(const gm_text_encoder *e, gm_workers *w, const char *const *texts, size_t count, float **to, gm_err *err)
{
    *to = gm_malloc((count * (size_t)gm_text_encoder_width(e) + 1) * sizeof **to);
    return *to != NULL ? gm_text_vectors(e, w, texts, count, *to, err) : no_memory(err);
}

static gm_status encode_records(const gm_text_encoder *e, gm_workers *w, const gm_records *all, float **to, gm_err *err)
{
    char **texts = gm_calloc(all->count + 1, sizeof *texts);
    gm_status status = texts != NULL ? GM_OK : no_memory(err);
    for (size_t i = 0; i < all->count && status == GM_OK; i++) status = gm_words_text(&all->items[i], 0, all->items[i].token_count - 1, &texts[i], err);
    if (status == GM_OK) status = encode(e, w, (const char *const *)texts, all->count, to, err);
    for (size_t i = 0; texts != NULL && i < all->count; i++) gm_free(texts[i]);
    gm_free((void *)texts);
    return status;
}

static gm_status read_texts(const ground_job *job, gm_workers *w, vectors *v, gm_err *err)
{
    gm_text_encoder e;
    GM_TRY(gm_names_make(&job->in.records, &job->samples, &v->names, err));
    GM_TRY(gm_text_encoder_open(job->s->encoder, w, &e, err));
    v->text_width = gm_text_encoder_width(&e);
    gm_status status = encode_records(&e, w, &job->in.records, &v->text[0], err);
    if (status == GM_OK) status = encode_records(&e, w, &job->samples, &v->text[1], err);
    if (status == GM_OK) status = encode(&e, w, v->names.text, (size_t)v->names.count, &v->name, err);
    gm_text_encoder_close(&e);
    return status;
}

static gm_status look_at_pictures(const ground_job *job, gm_workers *w, vectors *v, gm_err *err)
{
    const ground_settings *s = job->s;
    if (s->vision == NULL) {
        gm_log(GM_LOG_INFO, "ground", "without --vision: samples are compared by texts and entities, and the weight of pictures falls away");
        return GM_OK;
    }
    const gm_picture_vectors o = { .encoder = s->vision, .cache = s->features };
    GM_TRY(gm_image_vectors(&o, s->images, w, &job->in.records, &v->image[0], &v->image_width, err));
    return gm_image_vectors(&o, s->sample_images, w, &job->samples, &v->image[1], &v->image_width, err);
}

static gm_status read_vectors(const ground_job *job, vectors *v, gm_err *err)
{
    gm_backend backend;
    gm_workers w = { 0 };
    GM_TRY(gm_backend_open(job->s->device, "auto", GM_FP32, &backend, err));
    GM_TRY(gm_workers_create(&w, &backend, (int32_t)job->s->threads, err));
    gm_status status = read_texts(job, &w, v, err);
    if (status == GM_OK) status = look_at_pictures(job, &w, v, err);
    gm_workers_destroy(&w);
    return status;
}

static gm_status make_room(ground_job *job, gm_err *err)
{
    const size_t n = job->samples.count + 1, all = (job->in.count + 1) * (size_t)(job->s->k + 1);
    job->sample_shown = gm_calloc(n, sizeof *job->sample_shown);
    job->is_barred = gm_calloc(n, sizeof *job->is_barred);
    job->is_known = gm_calloc(n, sizeof *job->is_known);
    job->is_barred_here = gm_calloc(n, sizeof *job->is_barred_here);
    job->row = gm_calloc(n, sizeof *job->row);
    job->chosen = gm_malloc(all * sizeof *job->chosen);
    if (job->sample_shown == NULL || job->is_barred == NULL || job->is_known == NULL || job->is_barred_here == NULL || job->row == NULL || job->chosen == NULL)
        return no_memory(err);
    for (size_t i = 0; i < all; i++) job->chosen[i] = -1;
    return GM_OK;
}

gm_status ground_compare(ground_job *job, gm_err *err)
{
    vectors v = { .name = NULL };
    GM_TRY(make_room(job, err));
    if (job->s->k == 0) return GM_OK;
    gm_status status = read_vectors(job, &v, err);
    if (status == GM_OK) {
        gm_similar_options o = job->s->similar;
        o.text_width = o.name_width = v.text_width;
        o.image_width = v.image_width;
        o.name = v.name;
        const gm_likes rows = { &job->in.records, v.text[0], v.image[0], v.names.of[0] }, cols = { &job->samples, v.text[1], v.image[1], v.names.of[1] };
        status = gm_similar_make(&rows, &cols, &o, &job->similar, err);
    }
    free_vectors(&v);
    return status;
}

/* Bars those of the best that cannot be shown; *changed: there was one. */
static gm_status look_at_best(ground_job *job, const int32_t *best, int32_t count, bool *changed, gm_err *err)
{
    *changed = false;
    for (int32_t i = 0; i < count; i++) {
        const int32_t j = best[i];
        const gm_record *r = &job->samples.items[j];
        if (job->is_known[j]) continue;
        GM_TRY(gm_shown_look(job->s->sample_images, r, &job->sample_shown[j], err));
        job->is_known[j] = true;
        job->is_barred[j] = job->is_barred_here[j] = job->sample_shown[j].path == NULL;
        if (!job->is_barred[j]) continue;
        *changed = true;
        gm_log(GM_LOG_DEBUG, "ground", "%s: no demonstration: %s", r->id, job->sample_shown[j].why);
    }
    return GM_OK;
}

gm_status ground_choose(ground_job *job, size_t i, int32_t *count, gm_err *err)
{
    int32_t *best = job->chosen + i * (size_t)job->s->k;
    bool changed = true;
    *count = 0;
    if (job->s->k == 0) return GM_OK;
    memcpy(job->is_barred_here, job->is_barred, job->samples.count * sizeof *job->is_barred);
    for (size_t j = 0; j < job->samples.count; j++)
        if (strcmp(job->samples.items[j].id, job->in.records.items[i].id) == 0) job->is_barred_here[j] = true;
    gm_similar_row(&job->similar, (int32_t)i, job->row);
    while (changed) {
        *count = gm_similar_best(job->row, job->is_barred_here, job->similar.cols, (int32_t)job->s->k, best);
        GM_TRY(look_at_best(job, best, *count, &changed, err));
    }
    for (int32_t k = *count; k < (int32_t)job->s->k; k++) best[k] = -1;
    return GM_OK;
}
