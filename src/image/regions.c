/* Candidate regions: the authors' .npz files, built-in windows, and how boxes are brought inside a picture. */
#include "image/regions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/image.h"
#include "image/npz.h"

enum { MAX_ROWS = 65536, MAX_WIDTH = 16384 };

void gm_regions_free(gm_regions *r)
{
    gm_free(r->box);
    gm_free(r->score);
    gm_free(r->feature);
    *r = (gm_regions) { 0 };
}

double gm_box_iou(gm_box a, gm_box b)
{
    const double width = fmin(a.x2, b.x2) - fmax(a.x1, b.x1), height = fmin(a.y2, b.y2) - fmax(a.y1, b.y1);
    if (!(width > 0.0) || !(height > 0.0)) return 0.0;
    const double both = width * height;
    return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both);
}

bool gm_box_clip(gm_box *box, int32_t width, int32_t height)
{
    const double right = width > 0 ? (double)width : (double)INFINITY, bottom = height > 0 ? (double)height : (double)INFINITY;
    if (!isfinite(box->x1) || !isfinite(box->y1) || !isfinite(box->x2) || !isfinite(box->y2)) return false;
    if (!(box->x2 > box->x1) || !(box->y2 > box->y1)) return false;
    *box = (gm_box) { fmax(box->x1, 0.0), fmax(box->y1, 0.0), fmin(box->x2, right), fmin(box->y2, bottom) };
    return box->x2 > box->x1 && box->y2 > box->y1;
}

int32_t gm_regions_clip(gm_regions *r, int32_t width, int32_t height)
{
    int32_t kept = 0;
    const size_t wide = (size_t)r->feature_width;
    for (int32_t i = 0; i < r->count; i++) {
        gm_box box = r->box[i];
        if (!gm_box_clip(&box, width, height)) continue;
        r->box[kept] = box;
        if (r->score != NULL) r->score[kept] = r->score[i];
        if (r->feature != NULL && kept != i)
            memcpy(r->feature + (size_t)kept * wide, r->feature + (size_t)i * wide, wide * sizeof *r->feature);
        kept++;
    }
    const int32_t dropped = r->count - kept;
    r->count = kept;
    r->width = width;
    r->height = height;
    return dropped;
}

int32_t gm_regions_propose(int32_t width, int32_t height, int32_t max, gm_box *box)
{
    static const struct { int8_t x1, y1, x2, y2; } windows[] = {
#define GM_WINDOW(x1, y1, x2, y2) { x1, y1, x2, y2 },
#include "image/region_windows.def"
#undef GM_WINDOW
    };
    const int32_t all = (int32_t)GM_LEN(windows), count = max < all ? max : all;
    const double w = width / 12.0, h = height / 12.0;
    for (int32_t i = 0; i < count; i++)
        box[i] = (gm_box) { windows[i].x1 * w, windows[i].y1 * h, windows[i].x2 * w, windows[i].y2 * h };
    if (count > 0) box[0] = (gm_box) { 0.0, 0.0, width, height }; /* 12 twelfths may round beside the side */
    return count;
}

/* Places of the best `max` of K scores, in the file's order; without scores the first ones. */
typedef struct ranked { float score; int32_t place; } ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static int by_place(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->place < y->place ? -1 : x->place > y->place;
}

void gm_regions_keep_best(gm_regions *r, int32_t max)
{
    ranked order[GM_REGIONS_MAX];
    const size_t wide = (size_t)r->feature_width;
    if (r->count <= max) return;
    if (r->score != NULL) {
        /* A window of the best so far: only max of them are ever held, whatever the file holds. */
        int32_t held = 0;
        for (int32_t i = 0; i < r->count; i++) {
            const ranked next = { r->score[i], i };
            if (held == max && by_score(&order[held - 1], &next) < 0) continue;
            int32_t at = held < max ? held++ : held - 1;
            for (; at > 0 && by_score(&next, &order[at - 1]) < 0; at--) order[at] = order[at - 1];
            order[at] = next;
        }
        qsort(order, (size_t)max, sizeof order[0], by_place);
    }
    for (int32_t k = 0; k < max; k++) {
        const int32_t i = r->score != NULL ? order[k].place : k;
        r->box[k] = r->box[i];
        if (r->score != NULL) r->score[k] = r->score[i];
        if (r->feature != NULL && k != i)
            memcpy(r->feature + (size_t)k * wide, r->feature + (size_t)i * wide, wide * sizeof *r->feature);
    }
    r->count = max;
}

/* What the file must hold and may hold. */
typedef struct arrays { gm_npy box, feature, score, count, width, height; } arrays;

static void free_arrays(arrays *a)
{
    gm_npy *all[] = { &a->box, &a->feature, &a->score, &a->count, &a->width, &a->height };
    for (size_t i = 0; i < GM_LEN(all); i++) gm_npy_free(all[i]);
}

static gm_status find_arrays(const char *place, const void *bytes, size_t size, arrays *a, gm_err *err)
{
    GM_TRY(gm_npz_find(place, bytes, size, "bounding_boxes", &a->box, err));
    if (a->box.bytes == NULL)
        return gm_fail(err, GM_ERR_FORMAT, "%s: holds no \"bounding_boxes\": is it a file of regions?", place);
    GM_TRY(gm_npz_find(place, bytes, size, "box_features", &a->feature, err));
    GM_TRY(gm_npz_find(place, bytes, size, "num_boxes", &a->count, err));
    GM_TRY(gm_npz_find(place, bytes, size, "image_w", &a->width, err));
    GM_TRY(gm_npz_find(place, bytes, size, "image_h", &a->height, err));
    GM_TRY(gm_npz_find(place, bytes, size, "scores", &a->score, err));
    if (a->score.bytes != NULL && a->score.columns == 1) return GM_OK;
    gm_npy_free(&a->score); /* scores of every class: not one number a box */
    GM_TRY(gm_npz_find(place, bytes, size, "objects_conf", &a->score, err));
    if (a->score.bytes != NULL && a->score.columns != 1) gm_npy_free(&a->score);
    return GM_OK;
}

/* A whole number that stands alone, or in an array of one. */
static gm_status take_whole(const char *place, const char *name, const gm_npy *a, int32_t low, int32_t high, int32_t *to, gm_err *err)
{
    if (a->rows != 1 || a->columns != 1)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"%s\" is [%zu, %zu], expected one number", place, name, a->rows, a->columns);
    const double x = gm_npy_at(a, 0, 0);
    if (!(x >= low && x <= high) || x != floor(x))
        return gm_fail(err, GM_ERR_DATA, "%s: \"%s\" is %g, expected a whole number from %d to %d", place, name, x, low, high);
    *to = (int32_t)x;
    return GM_OK;
}

static gm_status check_arrays(const char *place, const arrays *a, gm_regions *r, gm_err *err)
{
    if (a->box.columns != 4 || a->box.rows > MAX_ROWS)
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"bounding_boxes\" is [%zu, %zu], expected [boxes, 4] with at most %d boxes", place,
                       a->box.rows, a->box.columns, MAX_ROWS);
    if (a->feature.bytes != NULL &&
        (a->feature.dims != 2 || a->feature.rows != a->box.rows || a->feature.columns == 0 || a->feature.columns > MAX_WIDTH))
        return gm_fail(err, GM_ERR_FORMAT, "%s: \"box_features\" is [%zu, %zu], expected [%zu, 1 to %d]", place, a->feature.rows,
                       a->feature.columns, a->box.rows, MAX_WIDTH);
    if (a->score.bytes != NULL && a->score.rows != a->box.rows)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %zu scores for %zu boxes", place, a->score.rows, a->box.rows);
    r->count = (int32_t)a->box.rows;
    if (a->count.bytes != NULL) GM_TRY(take_whole(place, "num_boxes", &a->count, 0, r->count, &r->count, err));
    if (a->width.bytes != NULL) GM_TRY(take_whole(place, "image_w", &a->width, 1, GM_IMAGE_MAX_SIDE, &r->width, err));
    if (a->height.bytes != NULL) GM_TRY(take_whole(place, "image_h", &a->height, 1, GM_IMAGE_MAX_SIDE, &r->height, err));
    return GM_OK;
}

static gm_status take_floats(const char *place, const char *name, const gm_npy *a, int32_t rows, float **to, gm_err *err)
{
    float *x = gm_malloc(((size_t)rows * a->columns + 1) * sizeof *x);
    if (x == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for \"%s\"", place, name);
    *to = x;
    for (int32_t i = 0; i < rows; i++)
        for (size_t c = 0; c < a->columns; c++, x++) {
            *x = (float)gm_npy_at(a, (size_t)i, c);
            if (!isfinite(*x)) return gm_fail(err, GM_ERR_DATA, "%s: \"%s\" is %g at [%d, %zu]", place, name, *x, i, c);
        }
    return GM_OK;
}

static gm_status take_arrays(const char *place, const arrays *a, gm_regions *r, gm_err *err)
{
    GM_TRY(check_arrays(place, a, r, err));
    r->box = gm_malloc(((size_t)r->count + 1) * sizeof *r->box);
    if (r->box == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for %d boxes", place, r->count);
    for (int32_t i = 0; i < r->count; i++) {
        const size_t k = (size_t)i;
        r->box[i] = (gm_box) { gm_npy_at(&a->box, k, 0), gm_npy_at(&a->box, k, 1), gm_npy_at(&a->box, k, 2), gm_npy_at(&a->box, k, 3) };
    }
    if (a->score.bytes != NULL) GM_TRY(take_floats(place, "scores", &a->score, r->count, &r->score, err));
    if (a->feature.bytes == NULL) return GM_OK;
    r->feature_width = (int32_t)a->feature.columns;
    return take_floats(place, "box_features", &a->feature, r->count, &r->feature, err);
}

gm_status gm_regions_parse_npz(const char *place, const void *bytes, size_t size, int32_t max, gm_regions *to, int32_t *dropped,
                               gm_err *err)
{
    arrays a = { 0 };
    gm_regions r = { 0 };
    gm_status status = find_arrays(place, bytes, size, &a, err);
    if (status == GM_OK) status = take_arrays(place, &a, &r, err);
    free_arrays(&a);
    if (status != GM_OK) {
        gm_regions_free(&r);
        return status;
    }
    const int32_t gone = gm_regions_clip(&r, r.width, r.height);
    gm_regions_keep_best(&r, max);
    if (dropped != NULL) *dropped = gone;
    *to = r;
    return GM_OK;
}

gm_status gm_regions_read_npz(const char *path, int32_t max, gm_regions *to, int32_t *dropped, gm_err *err)
{
    char *bytes = NULL;
    size_t size = 0;
    GM_TRY(gm_image_load(path, &bytes, &size, err));
    const gm_status status = gm_regions_parse_npz(path, bytes, size, max, to, dropped, err);
    gm_free(bytes);
    return status;
}
