/* The operations that a model of pictures calls, at the shapes of a step or pass of configs/twitter-gmner.json: 16 regions a
 * sentence, each a picture of 32 x 32 pixels for the small vision encoder, and the entities of the sentences. Counted as in
 * bench_operations.c. */
#include "bench_shop.h"
#include "dropout_entropy/dropout_entropy.h"
#include "image_embedding/image_embedding.h"
#include "patches/patches.h"
#include "region_scores/region_scores.h"
#include "region_triplet/region_triplet.h"
#include "span_vector/span_vector.h"

enum { SAMPLES = 10 };

GM_SHOP_FORWARD(patches)
GM_SHOP_FORWARD(image_embedding)
GM_SHOP_BACKWARD(image_embedding)
GM_SHOP_FORWARD(span_vector)
GM_SHOP_BACKWARD(span_vector)
GM_SHOP_FORWARD(region_scores)
GM_SHOP_BACKWARD(region_scores)
GM_SHOP_FORWARD(region_triplet)
GM_SHOP_BACKWARD(region_triplet)
GM_SHOP_FORWARD(dropout_entropy)

/* Regions as images of the small vision encoder. */
static void bench_images(gm_shop *s)
{
    gm_vit_config c;
    if (s->status == GM_OK) gm_shop_fail(s, gm_vit_preset("vit-tiny", &c, s->err));
    if (s->status != GM_OK) return;
    const int32_t side = c.image, patch = c.patch, rows = 1 + gm_vit_patches(&c), width = c.hidden, columns = 3 * patch * patch;
    const double e = (double)s->worker->dev.element, images = (double)s->batch->scene.regions.rows, values = images * 3.0 * side * side;
    const double cells = images * rows * width, tables = 4.0 * (rows + 1) * width;
    gm_patches p[GM_SHOP_WORKERS];
    gm_image_embedding f[GM_SHOP_WORKERS];
    gm_image_embedding_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_scene *scene = &s->batch[w].scene;
        const gm_pack *r = &scene->regions;
        p[w] = (gm_patches){ .pixels = scene->crops, .scale = { 0.01f, 0.01f, 0.01f }, .out = gm_shop_acts(s, w, (int64_t)r->capacity * rows, columns),
                             .cu = gm_shop_same(s, w, (size_t)(r->capacity + 1) * sizeof(int32_t), 0), .n_rows = gm_shop_same(s, w, sizeof(int32_t), 0),
                             .n_images = r->n, .images = r->capacity, .side = side, .patch = patch };
        /* Zeros are added, so that x stays what it was however often this is called. */
        f[w] = (gm_image_embedding){ .x = gm_shop_acts(s, w, (int64_t)r->capacity * rows, width), .class_token = gm_shop_same(s, w, (size_t)width * sizeof(float), 0),
                                     .position = gm_shop_same(s, w, (size_t)(rows * width) * sizeof(float), 0), .n_images = r->n, .images = r->capacity,
                                     .rows = rows, .width = width };
        g[w] = (gm_image_embedding_grad){ .dx = f[w].x, .dclass_token = gm_shop_floats(s, w, width), .dposition = gm_shop_floats(s, w, (int64_t)rows * width),
                                          .n_images = r->n, .images = r->capacity, .rows = rows, .width = width };
    }
    gm_shop_show(s, "patches forward", patches_forward, p, sizeof *p, values + e * (values + images * columns), 2 * values, (double)NAN);
    gm_shop_show(s, "image_embedding forward", image_embedding_forward, f, sizeof *f, 2 * e * cells + tables, cells, (double)NAN);
    gm_shop_show(s, "image_embedding backward", image_embedding_backward, g, sizeof *g, e * cells + tables, cells, (double)NAN);
}

static void bench_span_vector(gm_shop *s)
{
    const int32_t hidden = GM_SPAN_HIDDEN, widths = GM_SPAN_WIDTHS;
    const double e = (double)s->worker->dev.element, cells = (double)s->batch->scene.gold.pack.rows * hidden, words = (double)s->batch->words.rows;
    gm_span_vector f[GM_SHOP_WORKERS];
    gm_span_vector_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_batch *b = &s->batch[w];
        const gm_asked *a = &b->scene.gold;
        const int32_t rows = a->pack.capacity;
        f[w] = (gm_span_vector){ .projected = gm_shop_acts(s, w, b->words.capacity, 2 * hidden), .width = gm_shop_floats(s, w, widths * hidden),
                                 .bias = gm_shop_floats(s, w, hidden), .span = a->span, .token = a->pack.token, .cu_words = b->words.cu,
                                 .drop = gm_shop_drop(&a->pack, GM_SITE_SPAN_HIDDEN), .y = gm_shop_acts(s, w, rows, hidden), .n_rows = a->pack.n,
                                 .capacity = rows, .hidden = hidden };
        g[w] = (gm_span_vector_grad){ .y = f[w].y, .dy = gm_shop_acts(s, w, rows, hidden), .span = a->span, .cu_words = b->words.cu, .cu_entities = a->pack.cu,
                                      .keep = 1.0f / (1.0f - f[w].drop.p), .dprojected = gm_shop_acts(s, w, b->words.capacity, 2 * hidden),
                                      .dwidth = gm_shop_floats(s, w, widths * hidden), .dbias = gm_shop_floats(s, w, hidden), .n_rows = a->pack.n,
                                      .sequences = a->pack.sequences, .capacity = rows, .words = b->words.capacity, .widths = widths, .hidden = hidden };
    }
    gm_shop_show(s, "span_vector forward", span_vector_forward, f, sizeof *f, 3 * e * cells, 4 * cells, (double)NAN);
    gm_shop_show(s, "span_vector backward", span_vector_backward, g, sizeof *g, 2 * e * (cells + words * hidden), 4 * cells, (double)NAN);
}

static void bench_region_scores(gm_shop *s)
{
    const int32_t width = GM_REGION_KEY;
    const gm_scene *first = &s->batch->scene;
    const double e = (double)s->worker->dev.element, rows = (double)(first->gold.pack.rows + first->regions.rows), places = (double)first->gold.scores;
    gm_region_scores f[GM_SHOP_WORKERS];
    gm_region_scores_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_scene *scene = &s->batch[w].scene;
        const gm_asked *a = &scene->gold;
        const gm_pack *p = &a->pack;
        f[w] = (gm_region_scores){ .q = gm_shop_acts(s, w, p->capacity, width), .keys = gm_shop_acts(s, w, scene->regions.capacity, width),
                                   .null = gm_shop_floats(s, w, width), .span = a->span, .token = p->token, .cu_words = s->batch[w].words.cu,
                                   .cu_regions = scene->regions.cu, .cu_scores = a->cu_scores, .drop = gm_shop_drop(p, GM_SITE_REGION_QUERY),
                                   .scale = gm_region_scale(), .prob = gm_shop_floats(s, w, a->scores),
                                   .argmax = gm_shop_same(s, w, (size_t)p->capacity * sizeof(int32_t), 0), .entropy = gm_shop_floats(s, w, p->capacity),
                                   .target = a->target, .inv_entities = gm_shop_one(s, w), .loss = gm_shop_same(s, w, sizeof(double), 0),
                                   .dscore = gm_shop_floats(s, w, a->scores), .n_rows = p->n, .capacity = p->capacity, .width = width };
        g[w] = (gm_region_scores_grad){ .q = f[w].q, .keys = f[w].keys, .null = f[w].null, .span = a->span, .token = p->token, .cu_words = f[w].cu_words,
                                        .cu_regions = f[w].cu_regions, .cu_entities = p->cu, .cu_scores = a->cu_scores, .drop = f[w].drop, .scale = f[w].scale,
                                        .dscore = f[w].dscore, .dq = gm_shop_acts(s, w, p->capacity, width),
                                        .dkeys = gm_shop_acts(s, w, scene->regions.capacity, width), .dnull = gm_shop_floats(s, w, width), .n_rows = p->n,
                                        .sequences = p->sequences, .capacity = p->capacity, .regions = scene->regions.capacity, .width = width };
    }
    gm_shop_show(s, "region_scores forward", region_scores_forward, f, sizeof *f, e * rows * width + 12 * places, 2 * places * width, (double)NAN);
    gm_shop_show(s, "region_scores backward", region_scores_backward, g, sizeof *g, 2 * e * rows * width + 4 * places, 4 * places * width, (double)NAN);
}

static void bench_region_triplet(gm_shop *s)
{
    const int32_t width = gm_shop_encoder(s)->hidden;
    const gm_scene *first = &s->batch->scene;
    const double e = (double)s->worker->dev.element, places = (double)(first->gold.scores - first->gold.pack.rows);
    const double anchors = 2.0 * 4.0 * first->gold.pack.rows * width, regions = e * first->regions.rows * width, words = e * s->batch->words.rows * width;
    gm_region_triplet f[GM_SHOP_WORKERS];
    gm_region_triplet_grad g[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_batch *b = &s->batch[w];
        const gm_scene *scene = &b->scene;
        const gm_asked *a = &scene->gold;
        const gm_pack *p = &a->pack;
        f[w] = (gm_region_triplet){ .h = gm_shop_acts(s, w, b->words.capacity, width), .v = gm_shop_acts(s, w, scene->regions.capacity, width), .span = a->span,
                                    .token = p->token, .cu_regions = scene->regions.cu, .cu_scores = a->cu_scores, .iou = a->iou, .margin = 0.5f, .weight = 0.6f,
                                    .inv_entities = gm_shop_one(s, w), .loss = gm_shop_same(s, w, sizeof(double), 0),
                                    .anchor = gm_shop_floats(s, w, (int64_t)p->capacity * width), .danchor = gm_shop_floats(s, w, (int64_t)p->capacity * width),
                                    .distance = gm_shop_floats(s, w, a->scores), .pull = gm_shop_floats(s, w, a->scores), .own = gm_shop_floats(s, w, a->scores),
                                    .n_rows = p->n, .capacity = p->capacity, .width = width };
        g[w] = (gm_region_triplet_grad){ .v = f[w].v, .span = a->span, .cu_words = b->words.cu, .cu_regions = f[w].cu_regions, .cu_entities = p->cu,
                                         .cu_scores = a->cu_scores, .anchor = f[w].anchor, .danchor = f[w].danchor, .pull = f[w].pull, .own = f[w].own,
                                         .dh = gm_shop_acts(s, w, b->words.capacity, width), .dv = gm_shop_acts(s, w, scene->regions.capacity, width),
                                         .sequences = p->sequences, .words = b->words.capacity, .regions = scene->regions.capacity, .width = width };
    }
    gm_shop_show(s, "region_triplet forward", region_triplet_forward, f, sizeof *f, words + regions + anchors + 16 * places, 8 * places * width, (double)NAN);
    gm_shop_show(s, "region_triplet backward", region_triplet_backward, g, sizeof *g, words + 2 * regions + anchors + 8 * places, 4 * places * width, (double)NAN);
}

/* Samples in the heads of a pass over the same entities: of their types, and of their regions. */
static void bench_dropout_entropy(gm_shop *s)
{
    const int32_t types = s->b->run.model.labels.count + 1, hidden = GM_SPAN_HIDDEN, key = GM_REGION_KEY;
    const gm_scene *first = &s->batch->scene;
    const double e = (double)s->worker->dev.element, rows = (double)first->gold.pack.rows, places = (double)first->gold.scores;
    gm_dropout_entropy t[GM_SHOP_WORKERS], r[GM_SHOP_WORKERS];
    GM_SHOP_EACH {
        const gm_scene *scene = &s->batch[w].scene;
        const gm_pack *p = &scene->gold.pack, *words = &s->batch[w].words;
        t[w] = (gm_dropout_entropy){ .x = gm_shop_acts(s, w, p->capacity, hidden), .w = gm_shop_acts(s, w, types, hidden), .bias = gm_shop_floats(s, w, types),
                                     .span = scene->gold.span, .token = p->token, .cu_words = words->cu, .drop = gm_shop_drop(p, GM_SITE_SPAN_HIDDEN),
                                     .prob = gm_shop_same(s, w, (size_t)(p->capacity * types) * sizeof(double), 0),
                                     .entropy = gm_shop_same(s, w, (size_t)p->capacity * 2 * sizeof(double), 0), .n_rows = p->n, .scale = 1.0f, .samples = SAMPLES,
                                     .classes = types, .capacity = p->capacity, .width = hidden };
        r[w] = t[w];
        r[w].x = gm_shop_acts(s, w, p->capacity, key);
        r[w].w = gm_shop_acts(s, w, scene->regions.capacity, key);
        r[w].bias = NULL;
        r[w].null = gm_shop_floats(s, w, key);
        r[w].cu_rows = scene->regions.cu;
        r[w].cu_scores = scene->gold.cu_scores;
        r[w].drop = gm_shop_drop(p, GM_SITE_REGION_QUERY);
        r[w].prob = gm_shop_same(s, w, (size_t)scene->gold.scores * sizeof(double), 0);
        r[w].scale = gm_region_scale();
        r[w].classes = scene->gold.pack.rows > 0 ? scene->gold.scores / scene->gold.pack.rows : 1;
        r[w].width = key;
    }
    gm_shop_show(s, "dropout_entropy types forward", dropout_entropy_forward, t, sizeof *t, e * (rows + types) * hidden + 16 * rows * (types + 2),
                 2.0 * SAMPLES * rows * types * hidden, (double)NAN);
    gm_shop_show(s, "dropout_entropy regions forward", dropout_entropy_forward, r, sizeof *r, e * (rows + first->regions.rows) * key + 16 * (places + 2 * rows),
                 2.0 * SAMPLES * places * key, (double)NAN);
}

void gm_bench_regions(gm_shop *s)
{
    static void (*const parts[])(gm_shop *) = { bench_images, bench_span_vector, bench_region_scores, bench_region_triplet, bench_dropout_entropy };
    for (size_t i = 0; i < GM_LEN(parts); i++) {
        parts[i](s);
        gm_shop_give_back(s);
    }
}
