/* Gradients of whole small models of every family with dropout on: against central differences of their own loss under the
 * same draw, one shard against the sum of two, layers computed twice against layers kept, and no parameter left without a
 * gradient. */
#include "tests/model/model_test.h"

#include "model/region_target.h"

enum { MAX_LEN = 46 };

#define TINY NULL
static const char *const encoders[] = { TINY, "tests/golden/mpnet/h48", "tests/golden/mpnet/h20", "tests/golden/roberta/h48",
                                        "tests/golden/xlm-roberta/h20" };

static const char *const lines[] = {
    "{\"id\":\"a\",\"tokens\":[\"anna\",\"met\",\"bob\",\"in\",\"new\",\"york\"],\"entities\":[{\"start\":0,\"end\":0,"
    "\"type\":\"PER\",\"fine\":\"singer\",\"boxes\":[[0,0,10,8]]},"
    "{\"start\":2,\"end\":2,\"type\":\"PER\",\"fine\":\"actor\",\"boxes\":[]},"
    "{\"start\":4,\"end\":5,\"type\":\"LOC\",\"boxes\":[[10,0,20,10],[20,0,30,9]]}]}",
    "{\"id\":\"b\",\"tokens\":[\"rain\"],\"entities\":[]}",
    "{\"id\":\"c\",\"tokens\":[\"the\",\"met\",\"in\",\"york\",\"is\",\"big\",\",\",\"anna\",\"says\",\"again\"],"
    "\"entities\":[{\"start\":0,\"end\":3,\"type\":\"LOC\",\"boxes\":[]},"
    "{\"start\":7,\"end\":7,\"type\":\"PER\",\"boxes\":[[0,0,9,9]]}]}",
    "{\"id\":\"d\",\"tokens\":[\"bob\",\"paints\",\"xylophones\"],\"entities\":[{\"start\":0,\"end\":0,\"type\":"
    "\"PER\",\"fine\":\"singer\",\"boxes\":[[30,0,40,9]]}]}",
    NULL,
};

/* A model whose weights are large enough for every part to matter, its data and a machine. */
typedef struct world {
    machine m;
    gm_model model;
    gm_dataset data;
    gm_touched touched;
    gm_batch batch;
    const gm_sample *picked[8];
    gm_grads scratch;
    float dropout;
} world;

/* Differences need a smooth loss: a bias of 4 with either sign keeps the span head's hidden units, whose sums are
 * then some 0.7, away from where ReLU bends, half of them on and half off. */
static void keep_off_zero(const gm_model *m)
{
    if (m->span.body.project == NULL) return;
    float *bias = m->span.body.bias->value;
    for (size_t e = 0; e < m->span.body.project->count; e++) m->span.body.project->value[e] *= 0.5f;
    for (size_t e = 0; m->span.out != NULL && e < m->span.out->count; e++) m->span.out->value[e] *= 0.5f;
    for (size_t e = 0; m->fine != NULL && e < m->fine->count; e++) m->fine->value[e] *= 0.5f;
    for (size_t e = 0; m->region.query != NULL && e < m->region.query->count; e++) m->region.query->value[e] *= 0.1f;
    for (int32_t e = 0; e < GM_SPAN_HIDDEN; e++) bias[e] += e % 2 ? 4.0f : -4.0f;
}

enum { FEATURE = 12, MOST_REGIONS = 4 };

/* Regions side by side, some that gold boxes lie in; one sentence has no picture. */
static void show_picture(const gm_model *m, gm_sample *s, uint32_t number)
{
    static const int32_t counts[] = { 3, 2, 0, 4 };
    const int32_t count = counts[number], side = m->options.vision == GM_VISION_TINY ? m->vit.config.image : 0;
    const size_t bytes = (size_t)count * (size_t)side * (size_t)side * 3, gold = (size_t)s->gold_count, row = (size_t)count + 1;
    gm_picture *p = &s->picture;
    if (count == 0) return;
    p->regions = (gm_regions){ .count = count, .width = 50, .height = 40, .box = gm_calloc((size_t)count, sizeof(gm_box)) };
    p->target = gm_calloc(gold * row + 1, sizeof *p->target);
    p->iou = gm_calloc(gold * row + 1, sizeof *p->iou);
    assert_true(p->regions.box != NULL && p->target != NULL && p->iou != NULL);
    for (int32_t k = 0; k < count; k++) p->regions.box[k] = (gm_box){ 10.0 * k, 0.0, 10.0 * k + 10.0, 10.0 };
    for (size_t k = 0; k < gold; k++) {
        const gm_entity *e = &s->record->entities[k];
        gm_region_target(p->regions.box, count, e->boxes, e->box_count, 0.5, p->target + k * row, p->iou + k * row);
    }
    if (side > 0) {
        p->crops = gm_malloc(bytes);
        assert_non_null(p->crops);
        for (size_t i = 0; i < bytes; i++) p->crops[i] = (uint8_t)(gm_philox(3, (uint32_t)i, number, 0, gm_purpose(GM_SITE_TEST, 0, 0)).word[0] >> 24);
        return;
    }
    p->regions.feature_width = FEATURE;
    p->regions.feature = gm_calloc((size_t)count * FEATURE, sizeof(float));
    assert_non_null(p->regions.feature);
    for (uint32_t i = 0; i < (uint32_t)count * FEATURE; i++) p->regions.feature[i] = normal(600 + number, i);
}

static const gm_labels fine_types = { .names = { "actor", "singer" }, .count = 2 };

static void show_pictures(world *w)
{
    int32_t seen = 0, typed = 0;
    assert_ok(gm_dataset_name_fine(&w->data, &fine_types, &err));
    for (uint32_t i = 0; i < w->data.records.count; i++) {
        gm_sample *s = &w->data.samples[i];
        show_picture(&w->model, s, i);
        for (int32_t k = 0; k < s->gold_count; k++) {
            seen += s->picture.regions.count > 0;
            typed += s->gold_fine[k] < fine_types.count;
        }
    }
    w->m.step.inv_entities = 1.0f / (float)seen;
    w->m.step.inv_typed = 1.0f / (float)typed;
    assert_true(seen == 4 && typed == 3);
}

/* `encoder` is a folder of the golden ones, or TINY; false where this build lacks its tokenizer. A model that sees pictures
 * knows fine types as well. */
static bool open_seeing(world *w, const char *encoder, gm_head_kind head, gm_vision_kind vision, bool dense_embedding, float dropout)
{
    *w = (world) { .dropout = dropout };
    machine_open(&w->m);
    gm_records records = records_of(lines);
    const gm_model_options o = { .head = head,
                                 .shape = GM_SHAPE_OF_BOTH,
                                 .scheme = GM_TAGS_BIO,
                                 .max_len = MAX_LEN,
                                 .seed = 5,
                                 .dropout = dropout,
                                 .vision = vision,
                                 .feature_width = vision == GM_VISION_FEATURES ? FEATURE : 0,
                                 .max_regions = MOST_REGIONS,
                                 .debias = { .margin = 5.0f, .weight = 0.5f }, /* wide enough for every pair to count */
                                 .fine = vision != GM_VISION_NONE ? "actor,singer" : NULL,
                                 .dense_embedding = dense_embedding };
    const gm_status status = encoder == TINY ? gm_model_create_tiny(&records, "PER,LOC", &o, &w->model, &err)
                                             : gm_model_create(encoder, "PER,LOC", &o, &w->model, &err);
    if (status == GM_ERR_MISSING) {
        printf("left out: %s\n", err.text);
        gm_records_free(&records);
        machine_close(&w->m);
        return false;
    }
    assert_ok(status);
    for (int32_t i = 0; i < w->model.params.count; i++) {
        gm_param *p = w->model.params.items[i];
        const float sigma = p->spec.is_vector ? 0.1f : 1.0f / sqrtf((float)p->spec.cols);
        for (size_t e = 0; e < p->count; e++)
            p->value[e] = (p->spec.init == GM_INIT_ONE ? 1.0f : 0.0f) + sigma * normal((uint32_t)i, (uint32_t)e);
    }
    keep_off_zero(&w->model);
    assert_ok(gm_dataset_make(&w->data, &records, w->model.tokenizer, &w->model.labels, MAX_LEN, &err));
    for (size_t i = 0; i < w->data.records.count; i++) w->picked[i] = &w->data.samples[i];
    assert_ok(gm_touched_make(&w->touched, w->model.encoder.config.vocabulary, &err));
    if (vision != GM_VISION_NONE) show_pictures(w);
    w->scratch = grads_make(&w->model.params, (int32_t)w->data.pieces);
    w->m.step.inv_words = 1.0f / (float)w->data.words;
    w->m.step.inv_sentences = 1.0f / (float)w->data.records.count;
    return true;
}

static bool open_world(world *w, const char *encoder, gm_head_kind head, bool dense_embedding, float dropout)
{
    return open_seeing(w, encoder, head, GM_VISION_NONE, dense_embedding, dropout);
}

static void close_world(world *w)
{
    grads_free(&w->scratch);
    gm_batch_free(&w->batch);
    gm_touched_free(&w->touched);
    gm_dataset_free(&w->data);
    gm_model_destroy(&w->model);
    machine_close(&w->m);
}

static void fill(world *w, int32_t from, int32_t count)
{
    gm_touched *touched = w->model.params.table != NULL ? &w->touched : NULL;
    assert_ok(
        gm_batch_fill(&w->batch, w->picked + from, count, (gm_batch_options) { .draw = 3, .touched = touched }, &err));
    if (gm_model_asks(&w->model)) assert_ok(gm_scene_fill(&w->batch, w->picked + from, count, gm_model_scene(&w->model), &err));
}

static double backward(world *w, gm_grads *g)
{
    machine_begin(&w->m, g, w->dropout);
    assert_ok(gm_model_loss(&w->model, &w->m.tape, &w->batch));
    assert_ok(gm_tape_backward(&w->m.tape));
    return w->m.loss;
}

/* The same loss without the walk back; dropout stays on. */
static double loss_of(world *w)
{
    memset(w->scratch.is_written, 0, (size_t)w->model.params.count * sizeof *w->scratch.is_written);
    machine_begin(&w->m, &w->scratch, w->dropout);
    assert_ok(gm_model_loss(&w->model, &w->m.tape, &w->batch));
    return w->m.loss;
}

/* Slope along a direction by central differences with steps h and 2h, extrapolated (error h^4). Its own error is
 * estimated by what the two steps differ by, plus the rounding of float32 losses divided by the step. */
static double slope(world *w, float *value, size_t count, const float *direction, double h, double *error)
{
    double at[4];
    float *kept = gm_malloc(count * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, value, count * sizeof *kept);
    static const double steps[] = { 1, -1, 2, -2 };
    for (int k = 0; k < 4; k++) {
        for (size_t e = 0; e < count; e++) value[e] = (float)((double)kept[e] + steps[k] * h * (double)direction[e]);
        at[k] = loss_of(w);
    }
    memcpy(value, kept, count * sizeof *kept);
    gm_free(kept);
    const double near = (at[0] - at[1]) / (2 * h), far = (at[2] - at[3]) / (4 * h),
                 noise = 16 * 0x1p-24 * fabs(at[0]) / h;
    *error = fabs(near - far) + noise;
    return (4 * near - far) / 3;
}

/* The gradient in the shape of its parameter; rows that the batch did not touch are zero. */
static float *whole_gradient(const world *w, const gm_param *p, const gm_grads *g)
{
    const size_t cols = (size_t)p->spec.cols;
    float *grad = gm_calloc(p->count, sizeof *grad);
    assert_non_null(grad);
    if (!p->spec.is_table) {
        memcpy(grad, g->dense + p->offset, p->count * sizeof *grad);
        return grad;
    }
    for (int32_t r = 0; r < g->touched; r++)
        memcpy(grad + (size_t)w->touched.row[r] * cols, g->rows + (size_t)r * cols, cols * sizeof *grad);
    return grad;
}

/* Of all comparisons: how many, and the mean of tolerance / |slope|, which says how much of an error would be seen. */
typedef struct sharpness {
    int singles, directions;
    double sum;
} sharpness;

static void check_slope(world *w, const gm_param *p, const float *grad, const float *direction, double h,
                        sharpness *all)
{
    double want = 0, error;
    for (size_t e = 0; e < p->count; e++) want += (double)grad[e] * (double)direction[e];
    const double got = slope(w, p->value, p->count, direction, h, &error);
    if (!(fabs(got - want) <= error))
        fail_msg("%s: the slope is %.6g, by differences %.6g +- %.2g", p->spec.part[0], want, got, error);
    all->sum += error / (fabs(want) + error);
}

/* One step along a random direction moves every element at once, so that no forgotten element can hide; single elements
 * then say where. A direction has length 1 and may step far: its elements hardly move. */
static void check_param(world *w, const gm_param *p, const gm_grads *g, sharpness *all)
{
    enum { SINGLES = 5 };
    const uint32_t stream = 1000 + (uint32_t)p->index;
    float *direction = gm_calloc(p->count, sizeof *direction), *grad = whole_gradient(w, p, g);
    assert_non_null(direction);
    double squares = 0;
    for (size_t e = 0; e < p->count; e++) {
        direction[e] = normal(stream, (uint32_t)e);
        squares += (double)direction[e] * (double)direction[e];
    }
    for (size_t e = 0; e < p->count; e++) direction[e] = (float)((double)direction[e] / sqrt(squares));
    check_slope(w, p, grad, direction, 0.05, all);
    all->directions++;
    for (uint32_t k = 0; k < SINGLES; k++) {
        const uint32_t random = gm_philox(9, k, stream, 0, gm_purpose(GM_SITE_TEST, 0, 0)).word[0];
        size_t e = random % p->count;
        /* Of the word table the rows that the batch touches, but one: that must have slope 0. */
        if (p->spec.is_table && k > 0)
            e = (size_t)w->touched.row[random % (uint32_t)g->touched] * (size_t)p->spec.cols + e % (size_t)p->spec.cols;
        memset(direction, 0, p->count * sizeof *direction);
        direction[e] = 1.0f;
        check_slope(w, p, grad, direction, 0.01, all);
        all->singles++;
    }
    gm_free(direction);
    gm_free(grad);
}

static void against_differences(const char *encoder, gm_head_kind head, gm_vision_kind vision)
{
    world w;
    if (!open_seeing(&w, encoder, head, vision, false, 0.1f)) return;
    gm_touched_begin(&w.touched);
    fill(&w, 0, (int32_t)w.data.records.count);
    gm_grads g = grads_make(&w.model.params, w.touched.count);
    assert_true(backward(&w, &g) == loss_of(&w)); /* the same draw, bit for bit */
    sharpness all = { 0 };
    for (int32_t i = 0; i < w.model.params.count; i++) check_param(&w, w.model.params.items[i], &g, &all);
    printf("%d directions and %d single parameters; tolerance %.2g of the slope on average\n", all.directions,
           all.singles, all.sum / (all.directions + all.singles));
    assert_true(all.singles >= 150);
    grads_free(&g);
    close_world(&w);
}

static void span_head_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < GM_LEN(encoders); i++) against_differences(encoders[i], GM_HEAD_SPAN, GM_VISION_NONE);
}

static void crf_head_against_differences(void **state)
{
    (void)state;
    against_differences(TINY, GM_HEAD_CRF, GM_VISION_NONE);
}

/* Regions, fine types and the debias loss, with either head in front. */
static void heads_of_entities_against_differences(void **state)
{
    (void)state;
    against_differences(TINY, GM_HEAD_SPAN, GM_VISION_FEATURES);
    against_differences(TINY, GM_HEAD_CRF, GM_VISION_FEATURES);
    against_differences(TINY, GM_HEAD_SPAN, GM_VISION_TINY);
}

/* Two shards share one list of touched rows, as in a training step. Their sums differ from the whole's by the order of
 * additions alone: some hundred terms of float32, so 1e-5 of the norm. */
static void shards_add_up(gm_head_kind head, gm_vision_kind vision)
{
    world w;
    open_seeing(&w, TINY, head, vision, false, 0.3f);
    const int32_t count = (int32_t)w.data.records.count, half = 1;
    gm_touched_begin(&w.touched);
    fill(&w, 0, count);
    const int32_t touched = w.touched.count;
    gm_grads whole = grads_make(&w.model.params, touched),
             part[2] = { grads_make(&w.model.params, touched), grads_make(&w.model.params, touched) };
    const double loss = backward(&w, &whole);
    gm_touched_begin(&w.touched);
    fill(&w, 0, half);
    const double first = backward(&w, &part[0]);
    fill(&w, half, count - half); /* the list goes on: slots stay those of the whole, as the order of samples does */
    assert_int_equal(w.touched.count, touched);
    const double second = backward(&w, &part[1]);
    assert_true(fabs(first + second - loss) <= 1e-6 * loss);
    for (int32_t i = 0; i < w.model.params.count; i++) {
        const gm_param *p = w.model.params.items[i];
        const size_t n = p->spec.is_table ? (size_t)touched * (size_t)p->spec.cols : p->count;
        const float *all = grad_of(&whole, p), *a = grad_of(&part[0], p), *b = grad_of(&part[1], p);
        double difference = 0, squares = 0;
        for (size_t e = 0; e < n; e++) {
            difference = fmax(difference, fabs((double)a[e] + (double)b[e] - (double)all[e]));
            squares += (double)all[e] * (double)all[e];
        }
        if (!(difference <= 1e-5 * sqrt(squares)))
            fail_msg("%s: shards differ by %.3g from a gradient of norm %.3g", p->spec.part[0], difference,
                     sqrt(squares));
    }
    for (int k = 0; k < 2; k++) grads_free(&part[k]);
    grads_free(&whole);
    close_world(&w);
}

static void shards_add_up_to_one(void **state)
{
    (void)state;
    shards_add_up(GM_HEAD_SPAN, GM_VISION_NONE);
    shards_add_up(GM_HEAD_CRF, GM_VISION_NONE);
    shards_add_up(GM_HEAD_SPAN, GM_VISION_TINY);
    shards_add_up(GM_HEAD_CRF, GM_VISION_FEATURES);
}

/* Buffers begin as NaN: whatever is written must be written whole. */
static void every_parameter_has_a_gradient(void **state)
{
    (void)state;
    for (size_t k = 0; k < 4 * GM_LEN(encoders); k++) {
        world w;
        if (!open_world(&w, encoders[k / 4], k % 2 ? GM_HEAD_CRF : GM_HEAD_SPAN, k / 2 % 2, 0.1f)) continue;
        gm_touched_begin(&w.touched);
        fill(&w, 0, (int32_t)w.data.records.count);
        gm_grads g = grads_make(&w.model.params, w.touched.count);
        memset(g.dense, 0xFF, w.model.params.dense_count * sizeof *g.dense);
        if (w.model.params.table != NULL)
            memset(g.rows, 0xFF, (size_t)g.touched * (size_t)w.model.params.table->spec.cols * sizeof *g.rows);
        backward(&w, &g);
        for (int32_t i = 0; i < w.model.params.count; i++) {
            const gm_param *p = w.model.params.items[i];
            assert_true(g.is_written[i]);
            float *grad = whole_gradient(&w, p, &g);
            double squares = 0;
            for (size_t e = 0; e < p->count; e++) squares += (double)grad[e] * (double)grad[e];
            if (!(squares > 0 && isfinite(squares)))
                fail_msg("%s: the gradient's norm is %g", p->spec.part[0], sqrt(squares));
            gm_free(grad);
        }
        grads_free(&g);
        close_world(&w);
    }
}

/* A dense table gets the rows of a touched one, and zeros between them. */
static void dense_table_equals_touched_rows(void **state)
{
    (void)state;
    world rows, dense;
    open_world(&rows, TINY, GM_HEAD_SPAN, false, 0.2f);
    open_world(&dense, TINY, GM_HEAD_SPAN, true, 0.2f);
    gm_touched_begin(&rows.touched);
    fill(&rows, 0, (int32_t)rows.data.records.count);
    fill(&dense, 0, (int32_t)dense.data.records.count);
    gm_grads g = grads_make(&rows.model.params, rows.touched.count), h = grads_make(&dense.model.params, 0);
    assert_true(backward(&rows, &g) == backward(&dense, &h));
    float *spread = whole_gradient(&rows, rows.model.encoder.word, &g);
    assert_memory_equal(spread, grad_of(&h, dense.model.encoder.word), rows.model.encoder.word->count * sizeof *spread);
    gm_free(spread);
    grads_free(&g);
    grads_free(&h);
    close_world(&rows);
    close_world(&dense);
}

/* Layers that keep their input alone: not a bit of the loss or of any gradient may differ, and the arena holds
 * less. */
static void recomputed_layers_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < GM_LEN(encoders); i++) {
        world w;
        if (!open_world(&w, encoders[i], GM_HEAD_SPAN, false, 0.3f)) continue;
        gm_touched_begin(&w.touched);
        fill(&w, 0, (int32_t)w.data.records.count);
        const size_t rows = (size_t)w.touched.count * (size_t)w.model.params.table->spec.cols;
        gm_grads kept = grads_make(&w.model.params, w.touched.count), twice = grads_make(&w.model.params, w.touched.count);
        const double loss = backward(&w, &kept);
        const size_t peak = w.m.arena.peak;
        w.m.arena.peak = 0;
        w.model.encoder.recomputes = true;
        assert_true(backward(&w, &twice) == loss);
        assert_memory_equal(twice.dense, kept.dense, w.model.params.dense_count * sizeof *kept.dense);
        assert_memory_equal(twice.rows, kept.rows, rows * sizeof *kept.rows);
        printf("%s, %d layers: %zu bytes of the arena, %zu with layers computed twice\n", encoders[i] != TINY ? encoders[i] : "tiny",
               w.model.encoder.config.layers, peak, w.m.arena.peak);
        assert_true(w.model.encoder.config.layers == 2 || w.m.arena.peak < peak); /* the last layer is kept in any case */
        grads_free(&kept);
        grads_free(&twice);
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(span_head_against_differences),
        cmocka_unit_test(crf_head_against_differences),
        cmocka_unit_test(heads_of_entities_against_differences),
        cmocka_unit_test(shards_add_up_to_one),
        cmocka_unit_test(every_parameter_has_a_gradient),
        cmocka_unit_test(dense_table_equals_touched_rows),
        cmocka_unit_test(recomputed_layers_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
