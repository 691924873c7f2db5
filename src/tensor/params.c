#include "tensor/params.h"

#include <string.h>

#include "backend/device_memory.h"
#include "backend/packed.h"
#include "base/json.h"
#include "base/bf16.h"
#include "base/memory.h"
#include "base/philox.h"

void gm_params_init_empty(gm_params *ps) { *ps = (gm_params){ 0 }; }

/* The blocks one by one: what moves or frees one moves or frees them all. */
enum { BLOCKS = 7 };
typedef struct pair { float *host, **device; size_t count; } pair;
static void list_blocks(gm_params *ps, pair list[BLOCKS])
{
    const size_t dense = ps->dense_count, table = ps->table != NULL ? ps->table->count : 0;
    gm_param_blocks *h = &ps->host, *d = &ps->device;
    const pair all[BLOCKS] = { { h->value, &d->value, dense }, { h->m, &d->m, dense }, { h->v, &d->v, dense },
                                { h->table_value, &d->table_value, table }, { h->table_m, &d->table_m, table },
                                { h->table_v, &d->table_v, table }, { h->frozen, &d->frozen, ps->frozen_count } };
    memcpy(list, all, sizeof all);
}

/* Floats that a parameter takes of its block: starts are multiples of 16 for aligned vectors. */
static size_t room_of(const gm_param *p) { return (p->count + 15) / 16 * 16; }

/* Where kernels find each parameter, from the device's blocks. No product reads the table: it has no copy. */
static void aim(gm_params *ps)
{
    size_t frozen = 0;
    for (int32_t i = 0; i < ps->count; i++) {
        gm_param *p = ps->items[i];
        const void *copy = p->spec.is_frozen ? ps->frozen_copy : ps->copy;
        const size_t at = p->spec.is_frozen ? frozen : p->offset;
        p->master = p->spec.is_frozen ? ps->device.frozen + frozen : p->spec.is_table ? ps->device.table_value : ps->device.value + p->offset;
        p->weight = copy != NULL && !p->spec.is_table ? (const uint16_t *)copy + at : (const void *)p->master;
        frozen += p->spec.is_frozen ? room_of(p) : 0;
    }
}

void gm_params_unpack(gm_params *ps)
{
    for (int32_t i = 0; i < ps->count; i++) ps->items[i]->packed = NULL;
    gm_free(ps->packed);
    ps->packed = NULL;
}

static gm_float_type type_of(const gm_device *dev) { return dev->element == 2 ? GM_BF16 : GM_FP32; }

enum { ALIGNMENT = 64 }; /* of packed weights */

/* Of all matrices; the table's rows are no product's. */
static size_t packed_bytes(const gm_params *ps, const gm_param *p)
{
    if (p->spec.is_table || p->spec.is_vector) return 0;
    return (gm_packed_bytes(type_of(ps->placed), p->spec.rows, p->spec.cols) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

gm_status gm_params_pack(gm_params *ps, gm_err *err)
{
    size_t total = 0;
    if (ps->placed == NULL || !ps->placed->memory->is_host) return GM_OK;
    for (int32_t i = 0; i < ps->count; i++) total += packed_bytes(ps, ps->items[i]);
    if (ps->packed == NULL) ps->packed = gm_malloc(total + ALIGNMENT);
    if (ps->packed == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu bytes of packed weights", total);
    char *at = (char *)(((uintptr_t)ps->packed + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    for (int32_t i = 0; i < ps->count; i++) {
        gm_param *p = ps->items[i];
        const size_t bytes = packed_bytes(ps, p);
        if (bytes == 0) continue;
        gm_pack_weight(type_of(ps->placed), p->weight, p->spec.rows, p->spec.cols, at, ps->placed->threads);
        p->packed = at;
        at += bytes;
    }
    return GM_OK;
}

void gm_params_unplace(gm_params *ps)
{
    pair list[BLOCKS];
    gm_params_unpack(ps);
    if (ps->placed == NULL) return;
    list_blocks(ps, list);
    for (size_t i = 0; !ps->placed->memory->is_host && i < BLOCKS; i++) ps->placed->memory->release(ps->placed, *list[i].device);
    ps->placed->memory->release(ps->placed, ps->copy);
    ps->placed->memory->release(ps->placed, ps->frozen_copy);
    ps->copy = ps->frozen_copy = NULL;
    ps->placed = NULL;
    ps->device = ps->host;
    aim(ps);
}

void gm_params_destroy(gm_params *ps)
{
    gm_params_unplace(ps); /* first: it looks at the items */
    for (int32_t i = 0; i < ps->count; i++) {
        for (int32_t k = 0; k < ps->items[i]->parts; k++) gm_free((void *)(uintptr_t)ps->items[i]->spec.part[k]);
        gm_free(ps->items[i]);
    }
    float *const blocks[] = { ps->host.value, ps->host.m, ps->host.v, ps->host.table_value, ps->host.table_m, ps->host.table_v, ps->host.frozen,
                              ps->average, ps->table_average };
    for (size_t i = 0; i < GM_LEN(blocks); i++) gm_free(blocks[i]);
    gm_free(ps->items);
    *ps = (gm_params){ 0 };
}

gm_status gm_params_add(gm_params *ps, const gm_param_spec *spec, gm_param **p, gm_err *err)
{
    GM_TRY(gm_grow((void **)&ps->items, &ps->capacity, (size_t)ps->count, sizeof *ps->items, err));
    gm_param *made = gm_calloc(1, sizeof *made);
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a parameter");
    ps->items[ps->count] = made;
    made->spec = *spec;
    made->index = ps->count++;
    made->count = (size_t)spec->rows * (size_t)spec->cols;
    memset(made->spec.part, 0, sizeof made->spec.part);
    for (int32_t k = 0; k < GM_PARAM_MAX_PARTS && spec->part[k] != NULL; k++) {
        if ((made->spec.part[k] = gm_strdup(spec->part[k])) == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a name");
        made->parts++;
    }
    if (spec->is_table) ps->table = made;
    *p = made;
    return GM_OK;
}

static gm_status take(float **block, size_t count, gm_err *err)
{
    *block = gm_calloc(count + 16, sizeof(float));
    return *block != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu parameters", count);
}

/* The same for a block that will be used from end to end; of the table's moments only rows are that are touched. */
static gm_status take_all(float **block, size_t count, gm_err *err)
{
    GM_TRY(take(block, count, err));
    gm_use_large_pages(*block, count * sizeof **block);
    return GM_OK;
}

/* Gives each dense parameter its offset, group after group. */
static void lay_out(gm_params *ps)
{
    size_t at = 0;
    for (gm_rate rate = 0; rate < GM_RATE_COUNT; rate++)
        for (int decays = 1; decays >= 0; decays--) {
            gm_group *g = &ps->group[ps->groups];
            *g = (gm_group){ .rate = rate, .decays = decays, .offset = at };
            for (int32_t i = 0; i < ps->count; i++) {
                gm_param *p = ps->items[i];
                if (p->spec.is_frozen || p->spec.is_table || p->spec.rate != rate || p->spec.decays != (bool)decays) continue;
                p->offset = at;
                at += room_of(p);
            }
            g->count = at - g->offset;
            if (g->count > 0) ps->groups++;
        }
    ps->dense_count = at;
}

gm_status gm_params_allocate(gm_params *ps, bool with_moments, gm_err *err)
{
    lay_out(ps);
    for (int32_t i = 0; i < ps->count; i++) ps->frozen_count += ps->items[i]->spec.is_frozen ? room_of(ps->items[i]) : 0;
    const size_t table = ps->table != NULL ? ps->table->count : 0;
    gm_param_blocks *h = &ps->host;
    GM_TRY(take_all(&h->value, ps->dense_count, err));
    GM_TRY(take_all(&h->table_value, table, err));
    GM_TRY(take_all(&h->frozen, ps->frozen_count, err));
    if (with_moments) {
        GM_TRY(take_all(&h->m, ps->dense_count, err));
        GM_TRY(take_all(&h->v, ps->dense_count, err));
        GM_TRY(take(&h->table_m, table, err));
        GM_TRY(take(&h->table_v, table, err));
    }
    size_t frozen = 0;
    for (int32_t i = 0; i < ps->count; i++) {
        gm_param *p = ps->items[i];
        if (p->spec.is_frozen) {
            p->value = h->frozen + frozen;
            frozen += room_of(p);
        } else if (p->spec.is_table) {
            p->value = h->table_value;
            p->m = h->table_m;
            p->v = h->table_v;
        } else {
            p->value = h->value + p->offset;
            p->m = with_moments ? h->m + p->offset : NULL;
            p->v = with_moments ? h->v + p->offset : NULL;
        }
    }
    ps->device = ps->host;
    aim(ps);
    return GM_OK;
}

static gm_status fill_copy(gm_device *dev, void *copy, const float *from, size_t count)
{
    const bool is_host = dev->memory->is_host;
    uint16_t *half = is_host ? copy : gm_malloc(count * sizeof *half);
    if (half == NULL) return gm_fail(dev->err, GM_ERR_NOMEM, "out of memory for %zu parameters in bf16", count);
    #pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (size_t i = 0; i < count; i++) half[i] = gm_bf16_of(from[i]);
    if (is_host) return GM_OK;
    gm_status status = dev->memory->upload(dev, copy, half, count * sizeof *half);
    if (status == GM_OK) status = dev->memory->sync(dev);
    gm_free(half);
    return status;
}

/* Later AdamW keeps that of the dense block up to date. */
static gm_status make_copies(gm_params *ps, gm_device *dev)
{
    if (ps->dense_count > 0) {
        GM_TRY(dev->memory->alloc(dev, ps->dense_count * sizeof(uint16_t), &ps->copy));
        GM_TRY(fill_copy(dev, ps->copy, ps->host.value, ps->dense_count));
    }
    if (ps->frozen_count == 0) return GM_OK;
    GM_TRY(dev->memory->alloc(dev, ps->frozen_count * sizeof(uint16_t), &ps->frozen_copy));
    return fill_copy(dev, ps->frozen_copy, ps->host.frozen, ps->frozen_count);
}

gm_status gm_params_place(gm_params *ps, gm_device *dev)
{
    pair list[BLOCKS];
    ps->placed = dev;
    if (!dev->memory->is_host) ps->device = (gm_param_blocks){ 0 };
    list_blocks(ps, list);
    for (size_t i = 0; !dev->memory->is_host && i < BLOCKS; i++) {
        if (list[i].host == NULL) continue;
        void *made;
        GM_TRY(dev->memory->alloc(dev, list[i].count * sizeof(float), &made));
        *list[i].device = made;
        GM_TRY(dev->memory->upload(dev, made, list[i].host, list[i].count * sizeof(float)));
    }
    if (dev->element == 2) GM_TRY(make_copies(ps, dev));
    aim(ps);
    return dev->memory->sync(dev);
}

static gm_status fetch(gm_params *ps, bool with_moments)
{
    pair list[BLOCKS];
    gm_device *dev = ps->placed;
    if (dev == NULL || dev->memory->is_host) return GM_OK;
    list_blocks(ps, list);
    for (size_t i = 0; i < BLOCKS; i++) {
        const bool is_weight = list[i].host == ps->host.value || list[i].host == ps->host.table_value;
        if (list[i].host != NULL && (with_moments || is_weight))
            GM_TRY(dev->memory->download(dev, list[i].host, *list[i].device, list[i].count * sizeof(float)));
    }
    return dev->memory->sync(dev);
}

gm_status gm_params_fetch(gm_params *ps) { return fetch(ps, true); }
gm_status gm_params_fetch_weights(gm_params *ps) { return fetch(ps, false); }

static size_t table_count(const gm_params *ps) { return ps->table != NULL ? ps->table->count : 0; }

gm_status gm_params_keep_average(gm_params *ps, gm_err *err)
{
    GM_TRY(take(&ps->average, ps->dense_count, err));
    GM_TRY(take(&ps->table_average, table_count(ps), err));
    for (int32_t i = 0; i < ps->count; i++) {
        gm_param *p = ps->items[i];
        if (!p->spec.is_frozen) p->average = p->spec.is_table ? ps->table_average : ps->average + p->offset;
    }
    return GM_OK;
}

static void approach(float *restrict average, const float *restrict value, size_t count, float rate, int threads)
{
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < count; i++) average[i] += rate * (value[i] - average[i]);
}

void gm_params_average(gm_params *ps, float rate, int threads)
{
    approach(ps->average, ps->host.value, ps->dense_count, rate, threads);
    approach(ps->table_average, ps->host.table_value, table_count(ps), rate, threads);
}

static void swap(float *restrict a, float *restrict b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}

gm_status gm_params_swap_average(gm_params *ps)
{
    gm_device *dev = ps->placed;
    const size_t table = table_count(ps);
    GM_TRY(gm_params_fetch_weights(ps));
    swap(ps->average, ps->host.value, ps->dense_count);
    swap(ps->table_average, ps->host.table_value, table);
    if (dev == NULL) return GM_OK;
    if (!dev->memory->is_host) {
        GM_TRY(dev->memory->upload(dev, ps->device.value, ps->host.value, ps->dense_count * sizeof(float)));
        if (table > 0) GM_TRY(dev->memory->upload(dev, ps->device.table_value, ps->host.table_value, table * sizeof(float)));
    }
    if (ps->copy != NULL) GM_TRY(fill_copy(dev, ps->copy, ps->host.value, ps->dense_count));
    return dev->memory->sync(dev);
}

/* Numbers of one part: counter (index / 4, 0, FNV-1a of its name, site). */
static void randomise_part(const gm_param *p, const char *name, float *value, size_t count, uint64_t seed)
{
    const uint32_t key = gm_fnv1a(name), purpose = gm_purpose(GM_SITE_INIT, 0, 0);
    for (size_t i = 0; i < count; i += 4) {
        const gm_philox4 bits = gm_philox(seed, (uint32_t)(i / 4), 0, key, purpose);
        float four[4];
        if (p->spec.init == GM_INIT_NORMAL)
            gm_normal4(bits, four);
        else
            for (int k = 0; k < 4; k++) four[k] = 2.0f * gm_uniform(bits.word[k]) - 1.0f;
        for (size_t k = 0; k < 4 && i + k < count; k++) value[i + k] = p->spec.sigma * four[k];
    }
}

void gm_params_randomise(gm_params *ps, int32_t first, uint64_t seed)
{
    for (int32_t i = first; i < ps->count; i++) {
        const gm_param *p = ps->items[i];
        if (p->spec.init == GM_INIT_ZERO || p->spec.init == GM_INIT_ONE) {
            for (size_t k = 0; k < p->count; k++) p->value[k] = p->spec.init == GM_INIT_ONE ? 1.0f : 0.0f;
            continue;
        }
        const size_t share = p->count / (size_t)p->parts;
        for (int32_t k = 0; k < p->parts; k++)
            randomise_part(p, p->spec.part[k], p->value + (size_t)k * share, share, seed);
    }
}

/* Older files, BERT's own among them, call weight and bias of a norm gamma and beta. The name as the file has it. */
static gm_status name_in_file(const gm_safetensors *st, const char *prefix, const char *part, gm_buffer *name, gm_err *err)
{
    static const char *const older[][2] = { { "LayerNorm.weight", "LayerNorm.gamma" }, { "LayerNorm.bias", "LayerNorm.beta" } };
    const size_t n = strlen(part);
    for (size_t i = 0; i < GM_LEN(older); i++) {
        const size_t end = strlen(older[i][0]);
        if (n < end || strcmp(part + n - end, older[i][0]) != 0) continue;
        GM_TRY(gm_buffer_printf(name, err, "%s%.*s%s", prefix, (int)(n - end), part, older[i][1]));
        if (gm_safetensors_find(st, name->data) != NULL) return GM_OK;
        name->size = 0;
    }
    return gm_buffer_printf(name, err, "%s%s", prefix, part);
}

/* Reads all parts of one parameter, from tensors called prefix + part without its first `skip` letters, to `to`. */
static gm_status read_parts(const gm_param *p, const gm_safetensors *st, size_t skip, const char *prefix, float *to, gm_err *err)
{
    const int32_t rows = p->spec.rows / p->parts, cols = p->spec.side > 0 ? p->spec.side : p->spec.cols;
    const int64_t length = (int64_t)rows * p->spec.cols;
    for (int32_t k = 0; k < p->parts; k++) {
        gm_buffer name = { 0 };
        gm_status status = name_in_file(st, prefix, p->spec.part[k] + skip, &name, err);
        if (status == GM_OK)
            status = gm_safetensors_read_f32(st, name.data, length / cols, cols, to + (size_t)k * (size_t)length, err);
        gm_buffer_free(&name);
        GM_TRY(status);
    }
    return GM_OK;
}

gm_status gm_params_load(gm_params *ps, int32_t count, const gm_safetensors *st, const char *prefix, gm_err *err)
{
    return gm_params_load_as(ps, 0, count, st, "", prefix, err);
}

gm_status gm_params_load_as(gm_params *ps, int32_t first, int32_t count, const gm_safetensors *st, const char *ours, const char *theirs, gm_err *err)
{
    for (int32_t i = first; i < first + count; i++) GM_TRY(read_parts(ps->items[i], st, strlen(ours), theirs, ps->items[i]->value, err));
    return GM_OK;
}

gm_status gm_params_load_moments(gm_params *ps, const gm_safetensors *st, gm_err *err)
{
    for (int32_t i = 0; i < ps->count; i++) {
        const gm_param *p = ps->items[i];
        if (p->spec.is_frozen) continue;
        GM_TRY(read_parts(p, st, 0, "exp_avg.", p->m, err));
        GM_TRY(read_parts(p, st, 0, "exp_avg_sq.", p->v, err));
        if (p->average != NULL) GM_TRY(read_parts(p, st, 0, "average.", p->average, err));
    }
    return GM_OK;
}

/* Tensors of a file under construction; names are owned where they carry a prefix. */
typedef struct spec_list {
    gm_st_spec *items;
    size_t count, capacity;
} spec_list;

static gm_status add_parts(spec_list *list, const gm_param *p, const char *prefix, const float *from, gm_err *err)
{
    const int32_t rows = p->spec.rows / p->parts, side = p->spec.side;
    for (int32_t k = 0; k < p->parts; k++) {
        GM_TRY(gm_grow((void **)&list->items, &list->capacity, list->count, sizeof *list->items, err));
        gm_buffer name = { 0 };
        GM_TRY(gm_buffer_printf(&name, err, "%s%s", prefix, p->spec.part[k]));
        const int64_t length = (int64_t)rows * p->spec.cols;
        gm_st_spec *s = &list->items[list->count++];
        *s = (gm_st_spec){ .name = name.data, .dtype = GM_ST_F32, .dims = 2, .shape = { rows, p->spec.cols }, .data = from + (size_t)k * (size_t)length };
        if (p->spec.is_vector) {
            s->dims = 1;
            s->shape[0] = length;
        } else if (side > 0) {
            s->dims = 4;
            s->shape[1] = p->spec.cols / (side * side);
            s->shape[2] = s->shape[3] = side;
        }
    }
    return GM_OK;
}

static void spec_list_free(spec_list *list)
{
    for (size_t i = 0; i < list->count; i++) gm_free((void *)(uintptr_t)list->items[i].name);
    gm_free(list->items);
}

gm_status gm_params_save(const gm_params *ps, const char *path, const char *const *metadata, int32_t metadata_count, gm_err *err)
{
    spec_list list = { 0 };
    gm_status status = GM_OK;
    for (int32_t i = 0; i < ps->count && status == GM_OK; i++) status = add_parts(&list, ps->items[i], "", ps->items[i]->value, err);
    if (status == GM_OK) status = gm_safetensors_write(path, list.items, (int32_t)list.count, metadata, metadata_count, err);
    spec_list_free(&list);
    return status;
}

gm_status gm_params_save_moments(const gm_params *ps, const char *path, gm_err *err)
{
    spec_list list = { 0 };
    gm_status status = GM_OK;
    for (int32_t i = 0; i < ps->count && status == GM_OK; i++) {
        const gm_param *p = ps->items[i];
        if (p->spec.is_frozen) continue;
        status = add_parts(&list, p, "exp_avg.", p->m, err);
        if (status == GM_OK) status = add_parts(&list, p, "exp_avg_sq.", p->v, err);
        if (status == GM_OK && p->average != NULL) status = add_parts(&list, p, "average.", p->average, err);
    }
    if (status == GM_OK) status = gm_safetensors_write(path, list.items, (int32_t)list.count, NULL, 0, err);
    spec_list_free(&list);
    return status;
}
