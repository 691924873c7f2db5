/* Three matrix products. The sum of the cosines of all pairs of names of two records is the product of the two sums of their
 * unit vectors, and the number of pairs of one type is the product of two rows of counts: so S_ent is one product of rows that
 * hold both, however many entities there are. */
#include "mllm/similar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/json.h"
#include "base/memory.h"
#include "data/labels.h"
#include "gemm.h"

const char *const gm_likeness_names[GM_LIKENESSES] = { "text", "image", "entity" };
const gm_similar_options gm_similar_usual = { .weight = { 0.4, 0.2, 0.6 }, .same_type = 0.8 };

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for the likeness of samples"); }

/* ---- names ---- */

static gm_status add_words(gm_buffer *b, const gm_record *r, int32_t first, int32_t last, gm_err *err)
{
    for (int32_t w = first; w <= last; w++) {
        if (w > first) GM_TRY(gm_buffer_add(b, " ", 1, err));
        GM_TRY(gm_buffer_add(b, r->tokens[w], strlen(r->tokens[w]), err));
    }
    return GM_OK;
}

gm_status gm_words_text(const gm_record *r, int32_t first, int32_t last, char **text, gm_err *err)
{
    gm_buffer b = { 0 };
    const gm_status status = add_words(&b, r, first, last, err);
    if (status != GM_OK) gm_buffer_free(&b);
    *text = b.data;
    return status;
}

static size_t count_entities(const gm_records *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->count; i++) n += (size_t)all->items[i].entity_count;
    return n;
}

typedef struct named { const char *text; int32_t side; size_t entity; } named;

static int by_text(const void *x, const void *y)
{
    const named *a = x, *b = y;
    const int order = strcmp(a->text, b->text);
    if (order != 0) return order;
    return a->side != b->side ? a->side - b->side : (a->entity > b->entity) - (a->entity < b->entity);
}

/* All names, a NUL behind each. */
static gm_status gather(const gm_records *const sides[2], gm_buffer *b, gm_err *err)
{
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < sides[side]->count; i++)
            for (int32_t k = 0; k < sides[side]->items[i].entity_count; k++) {
                const gm_entity *e = &sides[side]->items[i].entities[k];
                GM_TRY(add_words(b, &sides[side]->items[i], e->start, e->end, err));
                GM_TRY(gm_buffer_add(b, "", 1, err));
            }
    return GM_OK;
}

static void number(const named *list, size_t count, gm_names *to)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(list[i].text, list[i - 1].text) != 0) to->text[to->count++] = list[i].text;
        to->of[list[i].side][list[i].entity] = to->count - 1;
    }
}

gm_status gm_names_make(const gm_records *a, const gm_records *b, gm_names *to, gm_err *err)
{
    const gm_records *const sides[2] = { a, b };
    const size_t counts[2] = { count_entities(a), count_entities(b) }, all = counts[0] + counts[1];
    gm_buffer text = { 0 };
    *to = (gm_names){ 0 };
    named *list = gm_malloc((all + 1) * sizeof *list);
    to->text = gm_malloc((all + 1) * sizeof *to->text);
    for (int side = 0; side < 2; side++) to->of[side] = gm_malloc((counts[side] + 1) * sizeof(int32_t));
    gm_status status = list == NULL || to->text == NULL || to->of[0] == NULL || to->of[1] == NULL ? no_memory(err) : gather(sides, &text, err);
    if (status == GM_OK) {
        const char *at = text.data;
        for (size_t i = 0; i < all; i++, at += strlen(at) + 1) list[i] = (named){ at, i >= counts[0], i < counts[0] ? i : i - counts[0] };
        qsort(list, all, sizeof *list, by_text);
        number(list, all, to);
    }
    to->memory = text.data;
    gm_free(list);
    if (status != GM_OK) gm_names_free(to);
    return status;
}

void gm_names_free(gm_names *n)
{
    gm_free((void *)n->text);
    gm_free(n->of[0]);
    gm_free(n->of[1]);
    gm_free(n->memory);
    *n = (gm_names){ 0 };
}

/* ---- rows ---- */

/* One over the vector's length; 0 for a vector of zeros. */
static double inverse_length(const float *v, int32_t width)
{
    double squares = 0.0;
    for (int32_t c = 0; c < width; c++) squares += (double)v[c] * (double)v[c];
    return squares > 0.0 ? 1.0 / sqrt(squares) : squares; /* what is not a number stays so */
}

static gm_status not_finite(const gm_record *r, const char *what, gm_err *err)
{
    return gm_fail(err, GM_ERR_NUMERIC, "record \"%s\": the vector of its %s holds what is no number, or one too large", r->id, what);
}

/* Unit vectors of all records. */
static gm_status unit_rows(const gm_likes *side, const float *from, int32_t width, const char *what, float *to, gm_err *err)
{
    for (size_t i = 0; i < side->records->count; i++) {
        const float *v = from + i * (size_t)width;
        const double scale = inverse_length(v, width);
        if (!isfinite(scale)) return not_finite(&side->records->items[i], what, err);
        for (int32_t c = 0; c < width; c++) to[i * (size_t)width + (size_t)c] = (float)((double)v[c] * scale);
        for (int32_t c = 0; c < width; c++)
            if (!isfinite(v[c])) return not_finite(&side->records->items[i], what, err);
    }
    return GM_OK;
}

/* What a row of entities is made of. */
typedef struct entity_rows {
    const gm_similar_options *o;
    gm_labels types;          /* of both sides */
    int32_t width;            /* name_width + types.count */
    const double *scale;      /* [names] one over the length of each name's vector */
} entity_rows;

/* Sums of unit vectors, then `bonus` for each entity of a type. */
static gm_status sum_names(const gm_likes *side, const entity_rows *e, double bonus, float *to, gm_err *err)
{
    const int32_t *name = side->name;
    for (size_t i = 0; i < side->records->count; i++) {
        const gm_record *r = &side->records->items[i];
        float *row = to + i * (size_t)e->width;
        const double share = e->o->is_mean && r->entity_count > 0 ? 1.0 / r->entity_count : 1.0;
        memset(row, 0, (size_t)e->width * sizeof *row);
        for (int32_t k = 0; k < r->entity_count; k++, name++) {
            const float *v = e->o->name + (size_t)*name * (size_t)e->o->name_width;
            if (!isfinite(e->scale[*name])) return not_finite(r, "entities' names", err);
            for (int32_t c = 0; c < e->o->name_width; c++) row[c] += (float)((double)v[c] * e->scale[*name] * share);
            row[e->o->name_width + gm_labels_find(&e->types, r->entities[k].type)] += (float)(bonus * share);
        }
    }
    return GM_OK;
}

static gm_status gather_types(const gm_likes *side, gm_labels *types, gm_err *err)
{
    for (size_t i = 0; i < side->records->count; i++)
        for (int32_t k = 0; k < side->records->items[i].entity_count; k++) {
            const char *type = side->records->items[i].entities[k].type;
            if (gm_labels_find(types, type) < 0) GM_TRY(gm_labels_add(types, type, strlen(type), err));
        }
    return GM_OK;
}

static int32_t count_names(const gm_likes *side)
{
    int32_t most = 0;
    const size_t n = count_entities(side->records);
    for (size_t i = 0; i < n; i++)
        if (side->name[i] >= most) most = side->name[i] + 1;
    return most;
}

/* ---- products ---- */

static gm_status multiply(const float *a, const float *b, int32_t rows, int32_t cols, int32_t width, float **to, gm_device *dev, gm_err *err)
{
    *to = gm_calloc((size_t)rows * (size_t)cols + 1, sizeof **to);
    if (*to == NULL) return no_memory(err);
    if (rows == 0 || cols == 0 || width == 0) return GM_OK;
    return gm_gemm_run(&(gm_gemm){ .a = a, .b = b, .c = *to, .in = GM_FP32, .out = GM_FP32, .m = rows, .n = cols, .k = width, .b_transposed = true }, dev);
}

/* Room for one row a record on either side. */
typedef struct pair { float *a, *b; } pair;

static gm_status make_pair(const gm_likes *rows, const gm_likes *cols, int32_t width, pair *p, gm_err *err)
{
    p->a = gm_malloc((rows->records->count * (size_t)width + 1) * sizeof(float));
    p->b = gm_malloc((cols->records->count * (size_t)width + 1) * sizeof(float));
    return p->a != NULL && p->b != NULL ? GM_OK : no_memory(err);
}

static void free_pair(pair *p)
{
    gm_free(p->a);
    gm_free(p->b);
}

static gm_status cosines(const gm_likes *rows, const gm_likes *cols, gm_likeness of, int32_t width, gm_similar *to, gm_device *dev, gm_err *err)
{
    const char *what = of == GM_LIKENESS_TEXT ? "text" : "picture";
    pair p = { 0 };
    gm_status status = make_pair(rows, cols, width, &p, err);
    if (status == GM_OK) status = unit_rows(rows, of == GM_LIKENESS_TEXT ? rows->text : rows->image, width, what, p.a, err);
    if (status == GM_OK) status = unit_rows(cols, of == GM_LIKENESS_TEXT ? cols->text : cols->image, width, what, p.b, err);
    if (status == GM_OK) status = multiply(p.a, p.b, to->rows, to->cols, width, &to->of[of], dev, err);
    free_pair(&p);
    return status;
}

static gm_status pairs_of_entities(const gm_likes *rows, const gm_likes *cols, const gm_similar_options *o, gm_similar *to, gm_device *dev, gm_err *err)
{
    entity_rows e = { .o = o };
    pair p = { 0 };
    const int32_t a = count_names(rows), b = count_names(cols), names = a > b ? a : b;
    double *scale = gm_malloc(((size_t)names + 1) * sizeof *scale);
    gm_status status = scale != NULL ? gather_types(rows, &e.types, err) : no_memory(err);
    if (status == GM_OK) status = gather_types(cols, &e.types, err);
    for (int32_t i = 0; i < names && status == GM_OK; i++) scale[i] = inverse_length(o->name + (size_t)i * (size_t)o->name_width, o->name_width);
    e.scale = scale;
    e.width = o->name_width + e.types.count;
    if (status == GM_OK) status = make_pair(rows, cols, e.width, &p, err);
    if (status == GM_OK) status = sum_names(rows, &e, o->same_type, p.a, err);
    if (status == GM_OK) status = sum_names(cols, &e, 1.0, p.b, err);
    if (status == GM_OK) status = multiply(p.a, p.b, to->rows, to->cols, e.width, &to->of[GM_LIKENESS_ENTITY], dev, err);
    free_pair(&p);
    gm_labels_free(&e.types);
    gm_free(scale);
    return status;
}

gm_status gm_similar_make(const gm_likes *rows, const gm_likes *cols, const gm_similar_options *o, gm_similar *to, gm_err *err)
{
    gm_backend cpu;
    gm_device dev = { 0 };
    *to = (gm_similar){ .rows = (int32_t)rows->records->count, .cols = (int32_t)cols->records->count };
    memcpy(to->weight, o->weight, sizeof to->weight);
    GM_TRY(gm_backend_open("cpu", "auto", GM_FP32, &cpu, err));
    GM_TRY(gm_device_create(&cpu, 1, &dev, err)); /* one thread: the same bits everywhere, and 500 x 500 take milliseconds */
    dev.err = err;
    gm_status status = cosines(rows, cols, GM_LIKENESS_TEXT, o->text_width, to, &dev, err);
    if (status == GM_OK && rows->image != NULL && cols->image != NULL)
        status = cosines(rows, cols, GM_LIKENESS_IMAGE, o->image_width, to, &dev, err);
    if (status == GM_OK) status = pairs_of_entities(rows, cols, o, to, &dev, err);
    gm_device_destroy(&dev);
    if (status == GM_OK) gm_similar_measure(to);
    else gm_similar_free(to);
    return status;
}

/* ---- the sum ---- */

void gm_similar_measure(gm_similar *s)
{
    const size_t count = (size_t)s->rows * (size_t)s->cols;
    for (int k = 0; k < GM_LIKENESSES; k++) {
        s->low[k] = s->high[k] = 0.0;
        if (s->of[k] == NULL || count == 0) continue;
        float low = s->of[k][0], high = low;
        for (size_t i = 1; i < count; i++) {
            low = fminf(low, s->of[k][i]);
            high = fmaxf(high, s->of[k][i]);
        }
        s->low[k] = (double)low;
        s->high[k] = (double)high;
    }
}

void gm_similar_row(const gm_similar *s, int32_t i, double *row)
{
    for (int32_t j = 0; j < s->cols; j++) row[j] = 0.0;
    for (int k = 0; k < GM_LIKENESSES; k++) {
        if (s->of[k] == NULL || !(s->high[k] > s->low[k])) continue;
        const float *from = s->of[k] + (size_t)i * (size_t)s->cols;
        const double width = s->high[k] - s->low[k];
        for (int32_t j = 0; j < s->cols; j++) row[j] += s->weight[k] * (((double)from[j] - s->low[k]) / width);
    }
}

int32_t gm_similar_best(const double *row, const bool *is_barred, int32_t cols, int32_t k, int32_t *best)
{
    int32_t count = 0;
    for (int32_t j = 0; j < cols; j++) {
        if ((is_barred != NULL && is_barred[j]) || (count == k && (k == 0 || row[j] <= row[best[k - 1]]))) continue;
        int32_t at = count < k ? count++ : k - 1;
        for (; at > 0 && row[best[at - 1]] < row[j]; at--) best[at] = best[at - 1];
        best[at] = j;
    }
    return count;
}

void gm_similar_free(gm_similar *s)
{
    for (int k = 0; k < GM_LIKENESSES; k++) gm_free(s->of[k]);
    *s = (gm_similar){ 0 };
}
