/* The parameter store: layout in groups, first values by name, files and moments, and every allocation that may
 * fail. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/philox.h"
#include "tensor/params.h"

static gm_err err;

static const gm_param_spec qkv = { .part = { "q.weight", "k.weight", "v.weight" },
                                   .rows = 9,
                                   .cols = 5,
                                   .decays = true,
                                   .init = GM_INIT_NORMAL,
                                   .sigma = 0.5f },
                           qkv_bias = { .part = { "q.bias", "k.bias", "v.bias" },
                                        .rows = 9,
                                        .cols = 1,
                                        .is_vector = true,
                                        .init = GM_INIT_ZERO },
                           words = { .part = { "words" },
                                     .rows = 40,
                                     .cols = 3,
                                     .decays = true,
                                     .is_table = true,
                                     .init = GM_INIT_NORMAL,
                                     .sigma = 0.02f },
                           norm = { .part = { "norm" }, .rows = 5, .cols = 1, .is_vector = true, .init = GM_INIT_ONE },
                           pooler = { .part = { "pooler" }, .rows = 2, .cols = 2, .is_frozen = true },
                           head = { .part = { "head" },
                                    .rows = 4,
                                    .cols = 5,
                                    .rate = GM_RATE_HEAD,
                                    .decays = true,
                                    .init = GM_INIT_UNIFORM,
                                    .sigma = 0.1f },
                           moves = { .part = { "moves" },
                                     .rows = 3,
                                     .cols = 3,
                                     .rate = GM_RATE_CRF,
                                     .init = GM_INIT_UNIFORM,
                                     .sigma = 0.1f };
static const gm_param_spec *const all[] = { &qkv, &head, &qkv_bias, &words, &moves, &pooler, &norm };
enum { ALL = 7 };

static gm_status make(gm_params *ps, const gm_param_spec *const *specs, int count, bool with_moments)
{
    gm_param *p;
    gm_params_init_empty(ps);
    for (int i = 0; i < count; i++) GM_TRY(gm_params_add(ps, specs[i], &p, &err));
    return gm_params_allocate(ps, with_moments, &err);
}

static gm_param *find(const gm_params *ps, const char *name)
{
    for (int32_t i = 0; i < ps->count; i++)
        if (strcmp(ps->items[i]->spec.part[0], name) == 0) return ps->items[i];
    fail_msg("no parameter \"%s\"", name);
    return NULL;
}

static void groups_are_contiguous(void **state)
{
    (void)state;
    gm_params ps;
    assert_ok(make(&ps, all, ALL, true));
    /* By rate, those that decay first: qkv | qkv_bias norm | head | moves; the table and the frozen stand elsewhere.
     * */
    static const struct {
        gm_rate rate;
        bool decays;
        size_t count;
    } want[] = {
        { GM_RATE_ENCODER, true, 48 },
        { GM_RATE_ENCODER, false, 32 },
        { GM_RATE_HEAD, true, 32 },
        { GM_RATE_CRF, false, 16 },
    };
    size_t at = 0;
    assert_int_equal(ps.groups, GM_LEN(want));
    for (int i = 0; i < ps.groups; i++) {
        assert_true(ps.group[i].rate == want[i].rate && ps.group[i].decays == want[i].decays);
        assert_true(ps.group[i].offset == at && ps.group[i].count == want[i].count);
        at += want[i].count;
    }
    assert_int_equal(ps.dense_count, at);
    static const struct {
        const char *name;
        int group;
    } where[] = { { "q.weight", 0 }, { "q.bias", 1 }, { "norm", 1 }, { "head", 2 }, { "moves", 3 } };
    for (size_t i = 0; i < GM_LEN(where); i++) {
        const gm_param *p = find(&ps, where[i].name);
        const gm_group *g = &ps.group[where[i].group];
        assert_true(p->offset >= g->offset && p->offset + p->count <= g->offset + g->count && p->offset % 16 == 0);
        assert_true(p->value == ps.host.value + p->offset && p->m == ps.host.m + p->offset && p->v == ps.host.v + p->offset);
    }
    assert_true(find(&ps, "norm")->offset >= find(&ps, "q.bias")->offset + 9); /* no overlap */
    const gm_param *w = find(&ps, "words"), *f = find(&ps, "pooler");
    assert_true(ps.table == w && w->value == ps.host.table_value && w->m == ps.host.table_m && w->v == ps.host.table_v);
    assert_true(f->value == ps.host.frozen && f->m == NULL && f->v == NULL);
    for (size_t i = 0; i < ps.dense_count; i++) assert_true(ps.host.m[i] == 0.0f && ps.host.v[i] == 0.0f);
    gm_params_destroy(&ps);
    gm_params_destroy(&ps); /* takes an empty one */
}

static void prediction_has_no_moments(void **state)
{
    (void)state;
    gm_params ps;
    assert_ok(make(&ps, all, ALL, false));
    assert_true(ps.host.m == NULL && ps.host.v == NULL && ps.host.table_m == NULL && ps.host.table_v == NULL);
    for (int32_t i = 0; i < ps.count; i++)
        assert_true(ps.items[i]->value != NULL && ps.items[i]->m == NULL && ps.items[i]->v == NULL);
    gm_params_destroy(&ps);
}

static void first_values_depend_on_name_not_order(void **state)
{
    (void)state;
    const gm_param_spec *backwards[ALL];
    for (int i = 0; i < ALL; i++) backwards[i] = all[ALL - 1 - i];
    gm_params a, b, other;
    assert_ok(make(&a, all, ALL, false));
    assert_ok(make(&b, backwards, ALL, false));
    assert_ok(make(&other, all, ALL, false));
    gm_params_randomise(&a, 0, 42);
    gm_params_randomise(&b, 0, 42);
    gm_params_randomise(&other, 0, 43);
    for (int32_t i = 0; i < a.count; i++) {
        const gm_param *p = a.items[i], *q = find(&b, p->spec.part[0]), *r = find(&other, p->spec.part[0]);
        assert_memory_equal(p->value, q->value, p->count * sizeof(float));
        if (p->spec.sigma > 0) assert_memory_not_equal(p->value, r->value, p->count * sizeof(float));
    }
    /* Parts are tensors of their own names: q, k and v differ, and each equals a parameter of that name alone. */
    const gm_param_spec alone = { .part = { "k.weight" }, .rows = 3, .cols = 5, .init = GM_INIT_NORMAL, .sigma = 0.5f };
    gm_params single;
    assert_ok(make(&single, (const gm_param_spec *[]) { &alone }, 1, false));
    gm_params_randomise(&single, 0, 42);
    assert_memory_equal(single.items[0]->value, find(&a, "q.weight")->value + 15, 15 * sizeof(float));
    assert_memory_not_equal(find(&a, "q.weight")->value, find(&a, "q.weight")->value + 15, 15 * sizeof(float));
    gm_params_destroy(&a);
    gm_params_destroy(&b);
    gm_params_destroy(&other);
    gm_params_destroy(&single);
}

static void first_values_have_their_spread(void **state)
{
    (void)state;
    const gm_param_spec wide = { .part = { "wide" }, .rows = 100, .cols = 100, .init = GM_INIT_NORMAL, .sigma = 0.02f };
    const gm_param_spec flat = { .part = { "flat" }, .rows = 100, .cols = 100, .init = GM_INIT_UNIFORM, .sigma = 0.1f };
    gm_params ps;
    assert_ok(make(&ps, (const gm_param_spec *[]) { &wide, &flat, &norm, &qkv_bias }, 4, false));
    gm_params_randomise(&ps, 0, 7);
    for (int k = 0; k < 2; k++) {
        const float *x = ps.items[k]->value;
        double mean = 0, squares = 0, most = 0;
        for (int i = 0; i < 10000; i++) {
            mean += (double)x[i] / 10000;
            squares += (double)x[i] * (double)x[i] / 10000;
            most = fmax(most, fabs((double)x[i]));
        }
        const double sigma = k == 0 ? 0.02 : 0.1 / sqrt(3.0);
        assert_true(fabs(mean) < 4 * sigma / 100 &&
                    fabs(sqrt(squares) / sigma - 1) < 0.04); /* four standard errors and more */
        assert_true(k == 0 ? most > 0.06 : most <= 0.1f && most > 0.0999);
    }
    for (size_t i = 0; i < 5; i++) assert_true(find(&ps, "norm")->value[i] == 1.0f);
    for (size_t i = 0; i < 9; i++) assert_true(find(&ps, "q.bias")->value[i] == 0.0f);
    gm_params_destroy(&ps);
}

/* `first` leaves what a file brings alone. */
static void randomise_begins_where_told(void **state)
{
    (void)state;
    gm_params ps;
    assert_ok(make(&ps, all, ALL, false));
    gm_params_randomise(&ps, 1, 42);
    for (size_t i = 0; i < ps.items[0]->count; i++) assert_true(ps.items[0]->value[i] == 0.0f);
    assert_true(ps.items[1]->value[0] != 0.0f);
    gm_params_destroy(&ps);
}

static const char *file(const char *name)
{
    static char path[1100];
    static const char *folder;
    if (folder == NULL) folder = gmt_temp_dir();
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void number(const gm_params *ps)
{
    for (int32_t i = 0; i < ps->count; i++)
        for (size_t e = 0; e < ps->items[i]->count; e++) {
            gm_param *p = ps->items[i];
            p->value[e] = (float)(100 * i) + (float)e;
            if (p->m == NULL) continue;
            p->m[e] = 0.5f + (float)(100 * i) + (float)e;
            p->v[e] = 0.25f + (float)(100 * i) + (float)e;
        }
}

static void files_hold_parts_and_give_them_back(void **state)
{
    (void)state;
    gm_params ps, back;
    assert_ok(make(&ps, all, ALL, true));
    assert_ok(make(&back, all, ALL, true));
    number(&ps);
    assert_ok(gm_params_save(&ps, file("w"), (const char *const[]) { "note", "here" }, 2, &err));
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file("w"), &st, &err));
    assert_int_equal(gm_safetensors_count(st), 11);
    assert_string_equal(gm_safetensors_metadata(st, "note"), "here");
    float k[15];
    assert_ok(gm_safetensors_read_f32(st, "k.weight", 3, 5, k, &err));
    for (int i = 0; i < 15; i++) assert_true(k[i] == (float)(15 + i)); /* the middle third of the rows */
    const gm_st_entry *matrix = gm_safetensors_find(st, "v.weight"), *vector = gm_safetensors_find(st, "v.bias");
    assert_true(matrix->dims == 2 && matrix->shape[0] == 3 && matrix->shape[1] == 5);
    assert_true(vector->dims == 1 && vector->shape[0] == 3);
    assert_ok(gm_params_load(&back, back.count, st, "", &err));
    gm_safetensors_close(st);
    for (int32_t i = 0; i < ps.count; i++)
        assert_memory_equal(ps.items[i]->value, back.items[i]->value, ps.items[i]->count * sizeof(float));
    gm_params_destroy(&ps);
    gm_params_destroy(&back);
}

static void moments_come_back(void **state)
{
    (void)state;
    gm_params ps, back;
    assert_ok(make(&ps, all, ALL, true));
    assert_ok(make(&back, all, ALL, true));
    number(&ps);
    assert_ok(gm_params_save_moments(&ps, file("m"), &err));
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file("m"), &st, &err));
    assert_int_equal(gm_safetensors_count(st), 20); /* two of each but the frozen one */
    assert_null(gm_safetensors_find(st, "exp_avg.pooler"));
    assert_non_null(gm_safetensors_find(st, "exp_avg.k.weight"));
    assert_ok(gm_params_load_moments(&back, st, &err));
    gm_safetensors_close(st);
    for (int32_t i = 0; i < ps.count; i++) {
        const gm_param *p = ps.items[i], *q = back.items[i];
        if (p->spec.is_frozen) continue;
        assert_memory_equal(p->m, q->m, p->count * sizeof(float));
        assert_memory_equal(p->v, q->v, p->count * sizeof(float));
    }
    gm_params_destroy(&ps);
    gm_params_destroy(&back);
}

/* Only the first `count`, under a prefix: an encoder inside a larger file. */
/* An average approaches the weights by its rate, changes places with them, and travels with the moments. */
static void averages_approach_the_weights(void **state)
{
    (void)state;
    gm_params ps, back;
    gm_safetensors *st;
    assert_ok(make(&ps, all, ALL, true));
    assert_ok(make(&back, all, ALL, true));
    number(&ps);
    assert_ok(gm_params_keep_average(&ps, &err));
    assert_ok(gm_params_keep_average(&back, &err));
    gm_params_average(&ps, 1.0f, 1); /* the first sample: the weights themselves */
    for (int32_t i = 0; i < ps.count; i++)
        for (size_t e = 0; e < ps.items[i]->count; e++) ps.items[i]->value[e] += 8.0f;
    gm_params_average(&ps, 0.25f, 3);
    assert_ok(gm_params_save_moments(&ps, file("a"), &err));
    assert_ok(gm_safetensors_open(file("a"), &st, &err));
    assert_int_equal(gm_safetensors_count(st), 30);
    assert_ok(gm_params_load_moments(&back, st, &err));
    gm_safetensors_close(st);
    assert_ok(gm_params_swap_average(&ps));
    for (int32_t i = 0; i < ps.count; i++) {
        const gm_param *p = ps.items[i];
        assert_true((p->average == NULL) == p->spec.is_frozen);
        for (size_t e = 0; e < p->count; e++) {
            const float first = (float)(100 * i) + (float)e;
            assert_true(p->value[e] == first + (p->spec.is_frozen ? 8.0f : 2.0f));
            if (p->average != NULL) assert_true(p->average[e] == first + 8.0f && back.items[i]->average[e] == first + 2.0f);
        }
    }
    gm_params_destroy(&ps);
    gm_params_destroy(&back);
}

static void loads_a_prefix_and_a_part(void **state)
{
    (void)state;
    const gm_param_spec inside = { .part = { "bert.norm" }, .rows = 5, .cols = 1, .is_vector = true };
    gm_params in, ps;
    assert_ok(make(&in, (const gm_param_spec *[]) { &inside }, 1, false));
    number(&in);
    assert_ok(gm_params_save(&in, file("p"), NULL, 0, &err));
    assert_ok(make(&ps, (const gm_param_spec *[]) { &norm, &head }, 2, false));
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file("p"), &st, &err));
    assert_ok(gm_params_load(&ps, 1, st, "bert.", &err));
    assert_true(ps.items[0]->value[4] == 4.0f);
    assert_true(gm_params_load(&ps, 2, st, "bert.", &err) != GM_OK);
    assert_non_null(strstr(err.text, "bert.head"));
    gm_safetensors_close(st);
    gm_params_destroy(&in);
    gm_params_destroy(&ps);
}

static void loads_under_another_prefix(void **state)
{
    (void)state;
    const gm_param_spec theirs = { .part = { "clip.vision.norm" }, .rows = 5, .cols = 1, .is_vector = true }, ours = { .part = { "image.norm" }, .rows = 5, .cols = 1, .is_vector = true };
    gm_params in, ps;
    assert_ok(make(&in, (const gm_param_spec *[]) { &theirs }, 1, false));
    number(&in);
    assert_ok(gm_params_save(&in, file("a"), NULL, 0, &err));
    assert_ok(make(&ps, (const gm_param_spec *[]) { &head, &ours }, 2, false));
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file("a"), &st, &err));
    assert_ok(gm_params_load_as(&ps, 1, 1, st, "image.", "clip.vision.", &err));
    assert_true(ps.items[1]->value[4] == 4.0f);
    gm_safetensors_close(st);
    gm_params_destroy(&in);
    gm_params_destroy(&ps);
}

/* Two filters of three channels and two by two pixels: the same numbers in the same order, in four dimensions. */
static void a_convolution_keeps_its_shape(void **state)
{
    (void)state;
    const gm_param_spec filters = { .part = { "conv.weight" }, .rows = 2, .cols = 12, .side = 2, .decays = true };
    gm_param_spec larger = filters;
    larger.side = 3;
    larger.cols = 27;
    gm_params ps, back, other;
    assert_ok(make(&ps, (const gm_param_spec *[]) { &filters }, 1, true));
    assert_ok(make(&back, (const gm_param_spec *[]) { &filters }, 1, true));
    assert_ok(make(&other, (const gm_param_spec *[]) { &larger }, 1, true));
    number(&ps);
    assert_ok(gm_params_save(&ps, file("c"), NULL, 0, &err));
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file("c"), &st, &err));
    const gm_st_entry *e = gm_safetensors_find(st, "conv.weight");
    assert_true(e->dims == 4 && e->shape[0] == 2 && e->shape[1] == 3 && e->shape[2] == 2 && e->shape[3] == 2);
    assert_ok(gm_params_load(&back, 1, st, "", &err));
    assert_memory_equal(ps.items[0]->value, back.items[0]->value, 24 * sizeof(float));
    assert_int_equal(gm_params_load(&other, 1, st, "", &err), GM_ERR_SHAPE);
    gm_safetensors_close(st);
    gm_params_destroy(&ps);
    gm_params_destroy(&back);
    gm_params_destroy(&other);
}

/* Products read the activations' type, also of a weight that nobody trains. */
static void frozen_weights_have_a_copy_in_bf16(void **state)
{
    (void)state;
    const gm_param_spec odd = { .part = { "odd" }, .rows = 1, .cols = 3, .is_frozen = true };
    gm_backend backend;
    gm_device dev;
    gm_params ps;
    assert_ok(make(&ps, (const gm_param_spec *[]) { &head, &odd, &pooler }, 3, false));
    number(&ps);
    if (!gm_backend_has_bf16()) {
        printf("left out: this machine does not multiply bf16\n");
        gm_params_destroy(&ps);
        return;
    }
    assert_ok(gm_backend_open("cpu", "auto", GM_BF16, &backend, &err));
    assert_ok(gm_device_create(&backend, 1, &dev, &err));
    dev.err = &err;
    assert_ok(gm_params_place(&ps, &dev));
    for (int32_t i = 0; i < ps.count; i++)
        for (size_t e = 0; e < ps.items[i]->count; e++) {
            uint32_t bits = (uint32_t)((const uint16_t *)ps.items[i]->weight)[e] << 16;
            float value;
            memcpy(&value, &bits, sizeof value);
            assert_true(fabsf(value - ps.items[i]->master[e]) <= 0x1p-8f * ps.items[i]->master[e]);
        }
    assert_true((uintptr_t)find(&ps, "pooler")->master % 64 == (uintptr_t)find(&ps, "odd")->master % 64);
    gm_params_unplace(&ps);
    assert_true(find(&ps, "pooler")->weight == find(&ps, "pooler")->master);
    gm_params_destroy(&ps);
    gm_device_destroy(&dev);
}

static void a_wrong_shape_names_the_part(void **state)
{
    (void)state;
    gm_param_spec wider = qkv;
    wider.cols = 6;
    gm_params ps, back;
    assert_ok(make(&ps, (const gm_param_spec *[]) { &qkv }, 1, true));
    assert_ok(make(&back, (const gm_param_spec *[]) { &wider }, 1, true));
    assert_ok(gm_params_save(&ps, file("s"), NULL, 0, &err));
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(file("s"), &st, &err));
    assert_int_equal(gm_params_load(&back, 1, st, "", &err), GM_ERR_SHAPE);
    assert_non_null(strstr(err.text, "q.weight"));
    assert_true(gm_params_load_moments(&back, st, &err) != GM_OK);
    assert_non_null(strstr(err.text, "exp_avg.q.weight"));
    gm_safetensors_close(st);
    gm_params_destroy(&ps);
    gm_params_destroy(&back);
}

static gm_status make_save_load(gm_params *ps)
{
    gm_safetensors *st = NULL;
    GM_TRY(make(ps, all, ALL, true));
    GM_TRY(gm_params_save(ps, file("k"), NULL, 0, &err));
    GM_TRY(gm_params_save_moments(ps, file("l"), &err));
    GM_TRY(gm_safetensors_open(file("l"), &st, &err));
    const gm_status status = gm_params_load_moments(ps, st, &err);
    gm_safetensors_close(st);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    (void)file("first"); /* the folder's name is no part of this */
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_params ps;
        gm_params_init_empty(&ps);
        gm_alloc_fail_at(k);
        status = make_save_load(&ps);
        gm_alloc_fail_at(-1);
        gm_params_destroy(&ps);
        if (status != GM_OK && status != GM_ERR_NOMEM) fail_msg("allocation %lld: %s", (long long)k, err.text);
    }
    assert_true(k > 50);
}

/* Packed copies are of all matrices, aligned, and gone when weights may change; elsewhere they read as the weights. */
static void packed_copies(void **state)
{
    (void)state;
    gm_params ps;
    gm_param *matrix, *vector, *table, *frozen, *odd;
    gm_backend backend;
    gm_device dev;
    gm_params_init_empty(&ps);
    assert_ok(gm_params_add(&ps, &(gm_param_spec){ .part = { "matrix" }, .rows = 3, .cols = 4, .init = GM_INIT_NORMAL, .sigma = 1.0f }, &matrix, &err));
    assert_ok(gm_params_add(&ps, &(gm_param_spec){ .part = { "odd" }, .rows = 40, .cols = 5, .init = GM_INIT_NORMAL, .sigma = 1.0f }, &odd, &err));
    assert_ok(gm_params_add(&ps, &(gm_param_spec){ .part = { "vector" }, .rows = 3, .cols = 1, .is_vector = true }, &vector, &err));
    assert_ok(gm_params_add(&ps, &(gm_param_spec){ .part = { "table" }, .rows = 6, .cols = 4, .is_table = true }, &table, &err));
    assert_ok(gm_params_add(&ps, &(gm_param_spec){ .part = { "frozen" }, .rows = 3, .cols = 4, .is_frozen = true }, &frozen, &err));
    assert_ok(gm_params_allocate(&ps, false, &err));
    gm_params_randomise(&ps, 0, 7);
    assert_ok(gm_params_pack(&ps, &err)); /* not placed yet: nothing to do */
    assert_null(matrix->packed);
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    assert_ok(gm_device_create(&backend, 2, &dev, &err));
    assert_ok(gm_params_place(&ps, &dev));
    for (int again = 0; again < 2; again++) {
        matrix->value[5] = (float)again;
        gm_alloc_fail_at(again == 0 ? 0 : -1);
        if (again == 0) assert_int_equal(gm_params_pack(&ps, &err), GM_ERR_NOMEM);
        gm_alloc_fail_at(-1);
        assert_ok(gm_params_pack(&ps, &err));
        assert_true(vector->packed == NULL && table->packed == NULL && frozen->packed != NULL);
        assert_true((uintptr_t)matrix->packed % 64 == 0 && (uintptr_t)odd->packed % 64 == 0);
        const float *first = matrix->packed, *second = odd->packed;
        for (int32_t row = 0; row < 3; row++)
            for (int32_t col = 0; col < 4; col++) assert_true(first[col * 32 + row] == matrix->value[row * 4 + col]);
        for (int32_t row = 0; row < 40; row++)
            for (int32_t col = 0; col < 5; col++) assert_true(second[(row / 32 * 5 + col) * 32 + row % 32] == odd->value[row * 5 + col]);
        assert_true(first[3] == 0.0f && second[5 * 32 + 8] == 0.0f);
    }
    gm_params_unpack(&ps);
    assert_true(matrix->packed == NULL && ps.packed == NULL);
    assert_ok(gm_params_pack(&ps, &err));
    gm_params_destroy(&ps); /* frees them as well */
    gm_device_destroy(&dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_contiguous),
        cmocka_unit_test(prediction_has_no_moments),
        cmocka_unit_test(first_values_depend_on_name_not_order),
        cmocka_unit_test(first_values_have_their_spread),
        cmocka_unit_test(randomise_begins_where_told),
        cmocka_unit_test(files_hold_parts_and_give_them_back),
        cmocka_unit_test(moments_come_back),
        cmocka_unit_test(averages_approach_the_weights),
        cmocka_unit_test(loads_a_prefix_and_a_part),
        cmocka_unit_test(loads_under_another_prefix),
        cmocka_unit_test(a_convolution_keeps_its_shape),
        cmocka_unit_test(frozen_weights_have_a_copy_in_bf16),
        cmocka_unit_test(a_wrong_shape_names_the_part),
        cmocka_unit_test(packed_copies),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
