#include "model/look.h"

#include <string.h>

#include "base/bf16.h"
#include "base/log.h"
#include "base/memory.h"

struct gm_look {
    gm_region_source *source;
    gm_vit vit;               /* the frozen encoder, and its weights */
    gm_params params;
    bool has_encoder;
    char *folder;
    uint64_t weights;
};

/* FNV-1a of 64 bits over all weights: what names them in the cache and in model folders. */
static uint64_t hash_weights(const gm_params *ps)
{
    uint64_t h = 14695981039346656037u;
    for (int32_t i = 0; i < ps->count; i++)
        for (size_t k = 0; k < ps->items[i]->count; k++) {
            uint32_t bits;
            memcpy(&bits, &ps->items[i]->value[k], sizeof bits);
            h = (h ^ bits) * 1099511628211u;
        }
    return h;
}

static gm_status load_encoder(gm_look *l, const char *folder, gm_err *err)
{
    gm_safetensors *st = NULL;
    l->has_encoder = true;
    l->folder = gm_strdup(folder);
    if (l->folder == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (!gm_path_is_dir(folder)) return gm_fail(err, GM_ERR_IO, "vision: there is no folder %s", folder);
    char *path = gm_path_join(folder, "model.safetensors"), *own = gm_path_join(folder, "gmner.json");
    gm_status status = path == NULL || own == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for a path") : GM_OK;
    /* A model folder of ours: what was trained along with it. Its config.json is the text encoder's. */
    if (status == GM_OK) status = gm_path_exists(own) ? gm_vit_preset("vit-tiny", &l->vit.config, err) : gm_vit_read_folder(folder, &l->vit.config, err);
    l->vit.is_projected = l->vit.config.projection > 0;
    if (status == GM_OK) status = gm_safetensors_open(path, &st, err);
    gm_free(path);
    gm_free(own);
    if (status == GM_OK) status = gm_vit_declare(&l->vit, &l->params, "vision_model.", true, err);
    if (status == GM_OK) status = gm_params_allocate(&l->params, false, err);
    if (status == GM_OK) status = gm_vit_load(&l->vit, &l->params, st, err);
    gm_safetensors_close(st);
    if (status == GM_OK) l->weights = hash_weights(&l->params);
    return status;
}

/* Crops as large as the vision encoder reads them. */
static gm_status crop_side(const gm_look *l, gm_vision_kind kind, int32_t *side, gm_err *err)
{
    gm_vit_config tiny;
    *side = l->has_encoder ? l->vit.config.image : 0;
    if (kind != GM_VISION_TINY) return GM_OK;
    GM_TRY(gm_vit_preset("vit-tiny", &tiny, err));
    *side = tiny.image;
    return GM_OK;
}

static gm_status open_look(gm_look *l, const gm_look_options *o, gm_err *err)
{
    gm_region_source_options s = { .images = o->images, .regions = o->regions, .cache = o->cache, .max = o->max };
    gm_params_init_empty(&l->params);
    if (o->encoder != NULL) GM_TRY(load_encoder(l, o->encoder, err));
    GM_TRY(crop_side(l, o->kind, &s.crop, err));
    s.weights = l->weights;
    s.feature_width = l->has_encoder ? gm_vit_columns(&l->vit) : 0;
    if (!l->has_encoder) s.cache = "";
    if (s.crop > 0 && s.images[0] == '\0')
        return gm_fail(err, GM_ERR_CONFIG, "the model sees pictures: name their folder (data.images, or --images)");
    if (s.crop == 0 && s.regions[0] == '\0')
        return gm_fail(err, GM_ERR_CONFIG, "vision=features reads .npz files: name their folder (data.regions, or --regions)");
    GM_TRY(gm_region_source_open(&s, &l->source, err));
    if (s.crop == 0 && gm_region_source_feature_width(l->source) == 0)
        return gm_fail(err, GM_ERR_DATA, "%s: the files hold no features (\"box_features\"); vision=tiny or the folder of a CLIP computes them from data.images", s.regions);
    return GM_OK;
}

gm_status gm_look_open(const gm_look_options *o, gm_look **look, gm_err *err)
{
    *look = gm_calloc(1, sizeof **look);
    if (*look == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for pictures");
    const gm_status status = open_look(*look, o, err);
    if (status != GM_OK) {
        gm_look_close(*look);
        *look = NULL;
    }
    return status;
}

void gm_look_close(gm_look *l)
{
    if (l == NULL) return;
    gm_region_source_close(l->source);
    gm_params_destroy(&l->params);
    gm_free(l->folder);
    gm_free(l);
}

int32_t gm_look_width(const gm_look *l) { return l->has_encoder ? gm_vit_columns(&l->vit) : gm_region_source_feature_width(l->source); }

gm_status gm_look_tell(const gm_look *l, gm_model *m, gm_err *err)
{
    if (!l->has_encoder) return GM_OK;
    if (m->vision_folder != NULL) {
        if (m->vision_weights == l->weights) return GM_OK;
        return gm_fail(err, GM_ERR_DATA, "%s: not the weights that the model's features were computed with: they came from %s; name the right folder by --vision",
                       l->folder, m->vision_folder);
    }
    m->vision_weights = l->weights;
    m->vision_folder = gm_strdup(l->folder);
    return m->vision_folder != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
}

gm_status gm_look_open_for(gm_model *m, const char *images, const char *regions, const char *cache, const char *encoder, gm_look **look, gm_err *err)
{
    *look = NULL;
    if (m->options.vision == GM_VISION_NONE) return GM_OK;
    const gm_look_options o = { .images = images, .regions = regions, .cache = cache, .max = m->options.max_regions, .kind = m->options.vision,
                                .encoder = m->vision_folder == NULL || encoder == NULL ? m->vision_folder : encoder };
    GM_TRY(gm_look_open(&o, look, err));
    gm_status status = gm_look_tell(*look, m, err);
    if (status == GM_OK && m->options.vision == GM_VISION_FEATURES && gm_look_width(*look) != m->options.feature_width)
        status = gm_fail(err, GM_ERR_DATA, "%s: features of %d numbers, but the model reads %d", regions, gm_look_width(*look), m->options.feature_width);
    if (status != GM_OK) {
        gm_look_close(*look);
        *look = NULL;
    }
    return status;
}

/* Samples whose pictures are taken side by side. */
typedef struct taking { gm_look *look; gm_sample *samples; size_t count; } taking;

/* Features of one sample's crops, by a pass of the frozen encoder. */
typedef struct pass { const gm_vit *vit; const gm_picture *picture; float *to; } pass;

static gm_status run_encoder(gm_worker *w, void *context)
{
    const pass *p = context;
    const int32_t count = p->picture->regions.count, side = p->vit->config.image, capacity = (count + 15) / 16 * 16, columns = gm_vit_columns(p->vit);
    const size_t bytes = (size_t)capacity * (size_t)side * (size_t)side * 3;
    gm_pack images = { .rows = count, .capacity = capacity, .sequences = 1 };
    uint8_t *crops;
    const uint8_t *pixels;
    const char *values;
    int32_t *n;
    gm_tensor *states;
    gm_tape_begin(&w->tape, NULL, 0.0f, NULL);
    GM_TRY(gm_tape_note(&w->tape, bytes, &crops));
    GM_TRY(gm_tape_note(&w->tape, sizeof *n, &n));
    *n = count;
    memcpy(crops, p->picture->crops, (size_t)count * (size_t)side * (size_t)side * 3);
    GM_TRY(gm_tape_bring(&w->tape, crops, bytes, &pixels));
    GM_TRY(gm_tape_bring(&w->tape, n, sizeof *n, &images.n));
    GM_TRY(gm_vit_forward(p->vit, &w->tape, &images, pixels, &states));
    GM_TRY(gm_tape_fetch(&w->tape, states->data, (size_t)count * (size_t)columns * w->dev.element, &values));
    for (int32_t i = 0; i < count * columns; i++) p->to[i] = gm_activation_at(values, i, w->dev.element);
    return GM_OK;
}

static gm_status compute_features(gm_worker *w, const gm_look *l, gm_sample *s)
{
    gm_picture *p = &s->picture;
    const int32_t columns = gm_vit_columns(&l->vit);
    pass run = { &l->vit, p, gm_calloc((size_t)p->regions.count * (size_t)columns, sizeof(float)) };
    if (run.to == NULL) return gm_fail(&w->err, GM_ERR_NOMEM, "out of memory for the features of \"%s\"", s->record->id);
    gm_status status = GM_OK;
    if (!w->dev.memory->is_host) {
        size_t bytes;
        status = gm_worker_measure(w, run_encoder, &run, &bytes);
        if (status == GM_OK) status = gm_worker_reserve(w, bytes);
    }
    if (status == GM_OK) status = run_encoder(w, &run);
    p->regions.feature = run.to;
    p->regions.feature_width = columns;
    gm_free(p->crops);
    p->crops = NULL;
    return status == GM_OK ? gm_region_source_store(l->source, &p->regions, &w->err) : status;
}

static gm_status take_one(gm_worker *w, int32_t i, void *context)
{
    const taking *t = context;
    gm_sample *s = &t->samples[i];
    GM_TRY(gm_picture_take(s, t->look->source, &w->err));
    return t->look->has_encoder && s->picture.regions.count > 0 && s->picture.regions.feature == NULL ? compute_features(w, t->look, s) : GM_OK;
}

gm_status gm_look_take(gm_look *l, gm_workers *w, gm_sample *samples, size_t count, gm_err *err)
{
    taking t = { l, samples, count };
    if (l->has_encoder && l->params.placed == NULL) GM_TRY(gm_workers_error(w, gm_params_place(&l->params, w->whole), err));
    return gm_workers_run(w, (int32_t)count, take_one, &t, err);
}

void gm_look_report(const gm_look *l) { gm_region_source_report(l->source); }
