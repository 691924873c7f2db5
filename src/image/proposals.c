/* Files of proposals: read whole, sorted by the pictures' names. */
#include "image/proposals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

enum { MAX_BOXES = 65536 };

void gm_proposal_free(gm_proposal *p)
{
    gm_free(p->image);
    gm_regions_free(&p->regions);
    *p = (gm_proposal) { 0 };
}

void gm_proposals_free(gm_proposals *all)
{
    for (size_t i = 0; i < all->count; i++) gm_proposal_free(&all->items[i]);
    gm_free(all->items);
    *all = (gm_proposals) { 0 };
}

static bool take_box(const cJSON *list, gm_box *box)
{
    double x[4];
    int n = 0;
    if (!cJSON_IsArray(list)) return false;
    for (const cJSON *v = list->child; v != NULL; v = v->next) {
        if (n == 4 || !cJSON_IsNumber(v)) return false;
        x[n++] = v->valuedouble;
    }
    *box = (gm_box) { x[0], x[1], x[2], x[3] };
    return n == 4;
}

static gm_status take_boxes(const cJSON *list, gm_regions *r, gm_err *err)
{
    if (!cJSON_IsArray(list)) return gm_fail(err, GM_ERR_DATA, "boxes: expected an array of [x1, y1, x2, y2]");
    const int count = cJSON_GetArraySize(list);
    if (count > MAX_BOXES) return gm_fail(err, GM_ERR_DATA, "boxes: there are %d; %d are the limit", count, MAX_BOXES);
    r->box = gm_malloc(((size_t)count + 1) * sizeof *r->box);
    if (r->box == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d boxes", count);
    for (const cJSON *v = list->child; v != NULL; v = v->next, r->count++)
        if (!take_box(v, &r->box[r->count]))
            return gm_fail(err, GM_ERR_DATA, "boxes[%d]: expected [x1, y1, x2, y2], four numbers", r->count);
    return GM_OK;
}

static gm_status take_scores(const cJSON *list, gm_regions *r, gm_err *err)
{
    int32_t n = 0;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != r->count)
        return gm_fail(err, GM_ERR_DATA, "scores: expected an array of %d numbers, one a box", r->count);
    r->score = gm_malloc(((size_t)r->count + 1) * sizeof *r->score);
    if (r->score == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %d scores", r->count);
    for (const cJSON *v = list->child; v != NULL; v = v->next, n++) {
        if (!cJSON_IsNumber(v) || !isfinite((float)v->valuedouble))
            return gm_fail(err, GM_ERR_DATA, "scores[%d]: expected a number", n);
        r->score[n] = (float)v->valuedouble;
    }
    return GM_OK;
}

static gm_status take_proposal(const cJSON *tree, gm_proposal *to, gm_err *err)
{
    if (!cJSON_IsObject(tree)) return gm_fail(err, GM_ERR_DATA, "expected an object {\"image\": name, \"boxes\": [...]}");
    const cJSON *image = cJSON_GetObjectItemCaseSensitive(tree, "image");
    if (!cJSON_IsString(image)) return gm_fail(err, GM_ERR_DATA, "image: expected the name of a picture");
    to->image = gm_strdup(image->valuestring);
    if (to->image == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the name of a picture");
    GM_TRY(take_boxes(cJSON_GetObjectItemCaseSensitive(tree, "boxes"), &to->regions, err));
    const cJSON *scores = cJSON_GetObjectItemCaseSensitive(tree, "scores");
    return scores == NULL || cJSON_IsNull(scores) ? GM_OK : take_scores(scores, &to->regions, err);
}

gm_status gm_proposal_parse(const char *line, size_t size, gm_proposal *to, gm_err *err)
{
    cJSON *tree = NULL;
    *to = (gm_proposal) { 0 };
    GM_TRY(gm_json_parse(line, size, &tree, err));
    const gm_status status = take_proposal(tree, to, err);
    cJSON_Delete(tree);
    if (status != GM_OK) gm_proposal_free(to);
    return status;
}

static int by_name(const void *a, const void *b)
{
    const gm_proposal *x = a, *y = b;
    const int names = strcmp(x->image, y->image);
    return names != 0 ? names : x->line < y->line ? -1 : x->line > y->line;
}

static gm_status sort_by_name(gm_proposals *all, const char *path, gm_err *err)
{
    if (all->count == 0) return gm_fail(err, GM_ERR_DATA, "%s: the file holds no proposals", path);
    qsort(all->items, all->count, sizeof all->items[0], by_name);
    for (size_t i = 1; i < all->count; i++)
        if (strcmp(all->items[i - 1].image, all->items[i].image) == 0)
            return gm_fail(err, GM_ERR_DATA, "%s:%lld: the picture \"%s\" stands in line %lld already", path,
                           (long long)all->items[i].line, all->items[i].image, (long long)all->items[i - 1].line);
    return GM_OK;
}

static gm_status add_line(gm_proposals *all, const gm_lines *l, gm_err *err)
{
    GM_TRY(gm_grow((void **)&all->items, &all->capacity, all->count, sizeof all->items[0], err));
    gm_proposal *p = &all->items[all->count];
    if (gm_proposal_parse(l->line, l->length, p, err) != GM_OK) return gm_fail_at(err, "%s:%lld", l->path, (long long)l->number);
    p->line = l->number;
    all->count++;
    return GM_OK;
}

gm_status gm_proposals_load(const char *path, gm_proposals *all, gm_err *err)
{
    gm_lines lines;
    bool have = false;
    *all = (gm_proposals) { 0 };
    GM_TRY(gm_lines_open(&lines, path, err));
    gm_status status = gm_lines_next(&lines, &have, err);
    while (status == GM_OK && have) {
        status = add_line(all, &lines, err);
        if (status == GM_OK) status = gm_lines_next(&lines, &have, err);
    }
    gm_lines_close(&lines);
    if (status == GM_OK) status = sort_by_name(all, path, err);
    if (status != GM_OK) gm_proposals_free(all);
    return status;
}

const gm_regions *gm_proposals_find(const gm_proposals *all, const char *image)
{
    size_t low = 0, high = all->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int names = strcmp(all->items[middle].image, image);
        if (names == 0) return &all->items[middle].regions;
        if (names < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}
