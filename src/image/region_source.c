/* Regions of records' pictures. After open nothing here changes but counters, which are atomic, and the cache's folder. */
#define _POSIX_C_SOURCE 200809L
#include "image/region_source.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/feature_cache.h"
#include "image/image.h"
#include "image/proposals.h"

enum { WARNINGS = 20, MAX_CROP = 1024 };

typedef enum proposing { BUILT_IN, FROM_NPZ, FROM_LINES } proposing;

struct gm_region_source {
    char *images, *regions, *cache;
    int32_t max, crop, feature_width;
    uint64_t weights;
    proposing from;
    gm_proposals proposals;
    _Atomic int64_t records[GM_IMAGE_STATUS_COUNT], boxes, dropped, other_size, from_cache, warned;
};

const char *gm_image_status_name(gm_image_status status)
{
    static const char *const names[] = { "found", "none", "missing", "broken", "no_proposals" };
    return names[status];
}

static bool ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* The width of the features in some .npz of the folder; every other file must then agree. */
static gm_status find_width(gm_region_source *s, gm_err *err)
{
    DIR *folder = opendir(s->regions);
    if (folder == NULL) return gm_fail(err, GM_ERR_IO, "%s: cannot open the folder: %s", s->regions, strerror(errno));
    gm_status status = GM_OK;
    bool have = false;
    for (const struct dirent *e; !have && status == GM_OK && (e = readdir(folder)) != NULL;) {
        if (!ends_with(e->d_name, ".npz")) continue;
        gm_regions r = { 0 };
        char *path = gm_path_join(s->regions, e->d_name);
        status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for a path")
                              : gm_regions_read_npz(path, 1, &r, NULL, err);
        s->feature_width = r.feature_width;
        have = status == GM_OK;
        if (status == GM_ERR_DATA || status == GM_ERR_FORMAT || status == GM_ERR_IO) status = GM_OK; /* a broken one: the next */
        gm_regions_free(&r);
        gm_free(path);
    }
    closedir(folder);
    if (status == GM_OK && !have)
        status = gm_fail(err, GM_ERR_DATA, "%s: no .npz in this folder can be read; expected <image>.npz, one a picture", s->regions);
    return status;
}

static gm_status open_proposals(gm_region_source *s, gm_err *err)
{
    if (s->regions[0] == '\0') return GM_OK;
    if (ends_with(s->regions, ".jsonl")) {
        s->from = FROM_LINES;
        return gm_proposals_load(s->regions, &s->proposals, err);
    }
    if (!gm_path_is_dir(s->regions))
        return gm_fail(err, GM_ERR_CONFIG, "regions: \"%s\" is neither a folder of <image>.npz nor a .jsonl file", s->regions);
    s->from = FROM_NPZ;
    return s->crop == 0 ? find_width(s, err) : GM_OK;
}

static gm_status check_options(const gm_region_source_options *o, gm_err *err)
{
    if (o->max < 1 || o->max > GM_REGIONS_MAX)
        return gm_fail(err, GM_ERR_CONFIG, "regions: %d a picture, expected 1 to %d", o->max, GM_REGIONS_MAX);
    if (o->crop < 0 || o->crop > MAX_CROP)
        return gm_fail(err, GM_ERR_CONFIG, "regions: crops of %d pixels, expected 0 to %d", o->crop, MAX_CROP);
    if (o->crop > 0 && o->images[0] == '\0')
        return gm_fail(err, GM_ERR_CONFIG, "regions: pixels are asked for, but no folder of pictures is named");
    if (o->images[0] != '\0' && !gm_path_is_dir(o->images))
        return gm_fail(err, GM_ERR_CONFIG, "images: there is no folder %s", o->images);
    if (o->cache[0] != '\0' && o->feature_width < 1)
        return gm_fail(err, GM_ERR_CONFIG, "regions: a cache needs the width of its features");
    return GM_OK;
}

gm_status gm_region_source_open(const gm_region_source_options *o, gm_region_source **source, gm_err *err)
{
    *source = NULL;
    GM_TRY(check_options(o, err));
    gm_region_source *s = gm_calloc(1, sizeof *s);
    if (s == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the source of regions");
    s->images = gm_strdup(o->images);
    s->regions = gm_strdup(o->regions);
    s->cache = gm_strdup(o->cache);
    s->max = o->max;
    s->crop = o->crop;
    s->weights = o->weights;
    s->feature_width = o->cache[0] != '\0' ? o->feature_width : 0;
    gm_status status = GM_OK;
    if (s->images == NULL || s->regions == NULL || s->cache == NULL)
        status = gm_fail(err, GM_ERR_NOMEM, "out of memory for the source of regions");
    if (status == GM_OK && o->cache[0] != '\0') status = gm_make_dirs(o->cache, err);
    if (status == GM_OK) status = open_proposals(s, err);
    if (status == GM_OK) *source = s;
    else gm_region_source_close(s);
    return status;
}

void gm_region_source_close(gm_region_source *s)
{
    if (s == NULL) return;
    gm_proposals_free(&s->proposals);
    gm_free(s->images);
    gm_free(s->regions);
    gm_free(s->cache);
    gm_free(s);
}

int32_t gm_region_source_feature_width(const gm_region_source *s) { return s->feature_width; }

/* One picture on its way; what it holds is given out or freed at the end. */
typedef struct asking {
    gm_region_source *s;
    const gm_record *record;
    gm_regions *regions;
    char *bytes;
    size_t size;
    gm_image image;
    uint8_t *crops;
    gm_image_status why;
    gm_err *err;
} asking;

/* A failure of this picture alone becomes its status and a line of the log; others stay failures. */
static gm_status forgive(asking *a, gm_status status, gm_image_status why)
{
    if (status == GM_OK || status == GM_ERR_NOMEM || status == GM_ERR_MISSING || status == GM_ERR_SHAPE) return status;
    a->why = why;
    const int64_t n = atomic_fetch_add(&a->s->warned, 1);
    if (n < WARNINGS) gm_log(GM_LOG_WARN, "images", "%s: %s; it goes on as text only", a->record->id, a->err->text);
    if (n == WARNINGS) gm_log(GM_LOG_WARN, "images", "further pictures that are missing or broken are counted only");
    return GM_OK;
}

static bool is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* "<folder>/<image><ending>"; a file that is not there makes the status `missing`. */
static gm_status find_file(asking *a, const char *folder, const char *ending, gm_image_status missing, char **path)
{
    gm_buffer name = { 0 };
    GM_TRY(gm_buffer_printf(&name, a->err, "%s/%s%s", folder, a->record->image, ending));
    *path = name.data;
    if (is_there(name.data)) return GM_OK;
    return forgive(a, gm_fail(a->err, GM_ERR_IO, "%s: there is no such file", name.data), missing);
}

/* The picture's bytes and size. */
static gm_status open_picture(asking *a)
{
    char *path = NULL;
    gm_status status = find_file(a, a->s->images, "", GM_IMAGE_MISSING, &path);
    if (status == GM_OK && a->why == GM_IMAGE_FOUND) {
        status = gm_image_load(path, &a->bytes, &a->size, a->err);
        if (status == GM_OK) status = gm_image_probe(path, a->bytes, a->size, &a->image.width, &a->image.height, a->err);
        status = forgive(a, status, GM_IMAGE_BROKEN);
    }
    gm_free(path);
    const gm_record *r = a->record;
    if (a->why == GM_IMAGE_FOUND && r->width > 0 && (r->width != a->image.width || r->height != a->image.height))
        atomic_fetch_add(&a->s->other_size, 1);
    return status;
}

static gm_status check_width(const asking *a, const char *path)
{
    if (a->regions->feature_width == a->s->feature_width) return GM_OK;
    return gm_fail(a->err, GM_ERR_SHAPE, "%s: features of %d numbers, other files of the folder have %d", path,
                   a->regions->feature_width, a->s->feature_width);
}

static gm_status read_npz(asking *a)
{
    char *path = NULL;
    int32_t dropped = 0;
    gm_status status = find_file(a, a->s->regions, ".npz", GM_IMAGE_NO_PROPOSALS, &path);
    if (status == GM_OK && a->why == GM_IMAGE_FOUND) {
        status = forgive(a, gm_regions_read_npz(path, a->s->max, a->regions, &dropped, a->err), GM_IMAGE_BROKEN);
        atomic_fetch_add(&a->s->dropped, dropped);
    }
    if (status == GM_OK && a->why == GM_IMAGE_FOUND && a->s->crop == 0) status = check_width(a, path);
    gm_free(path);
    if (a->s->crop == 0) return status;
    gm_free(a->regions->feature); /* pixels are what is asked for */
    a->regions->feature = NULL;
    a->regions->feature_width = 0;
    return status;
}

static gm_status copy_lines(asking *a)
{
    const gm_regions *found = gm_proposals_find(&a->s->proposals, a->record->image);
    gm_regions *r = a->regions;
    if (found == NULL)
        return forgive(a, gm_fail(a->err, GM_ERR_DATA, "%s: nothing is proposed for %s", a->s->regions, a->record->image),
                       GM_IMAGE_NO_PROPOSALS);
    r->box = gm_malloc(((size_t)found->count + 1) * sizeof *r->box);
    if (found->score != NULL) r->score = gm_malloc(((size_t)found->count + 1) * sizeof *r->score);
    if (r->box == NULL || (found->score != NULL && r->score == NULL))
        return gm_fail(a->err, GM_ERR_NOMEM, "out of memory for %d proposals", found->count);
    memcpy(r->box, found->box, (size_t)found->count * sizeof *r->box);
    if (found->score != NULL) memcpy(r->score, found->score, (size_t)found->count * sizeof *r->score);
    r->count = found->count;
    return GM_OK;
}

/* The picture's own size, else the proposals', else the record's. */
static gm_status find_size(asking *a, int32_t *width, int32_t *height)
{
    *width = a->image.width > 0 ? a->image.width : a->regions->width > 0 ? a->regions->width : a->record->width;
    *height = a->image.height > 0 ? a->image.height : a->regions->height > 0 ? a->regions->height : a->record->height;
    if (*width > 0 && *height > 0) return GM_OK;
    return forgive(a, gm_fail(a->err, GM_ERR_DATA, "the size of %s is not known: name the folder of pictures", a->record->image),
                   GM_IMAGE_NO_PROPOSALS);
}

/* Boxes within the picture. */
static gm_status propose(asking *a)
{
    gm_region_source *s = a->s;
    gm_regions *r = a->regions;
    int32_t width, height;
    if (s->from == FROM_NPZ) GM_TRY(read_npz(a));
    if (s->from == FROM_LINES) GM_TRY(copy_lines(a));
    /* Without crops the picture is opened only where nothing else tells its size. */
    const bool has_size = (r->width > 0 && r->height > 0) || (a->record->width > 0 && a->record->height > 0);
    if (a->why == GM_IMAGE_FOUND && s->crop == 0 && s->images[0] != '\0' && !has_size) GM_TRY(open_picture(a));
    if (a->why == GM_IMAGE_FOUND) GM_TRY(find_size(a, &width, &height));
    if (a->why != GM_IMAGE_FOUND) return GM_OK;
    if (s->from == BUILT_IN) {
        r->box = gm_malloc((size_t)s->max * sizeof *r->box);
        if (r->box == NULL) return gm_fail(a->err, GM_ERR_NOMEM, "out of memory for %d boxes", s->max);
        r->count = gm_regions_propose(width, height, s->max, r->box);
    }
    atomic_fetch_add(&s->dropped, gm_regions_clip(r, width, height));
    gm_regions_keep_best(r, s->max);
    if (r->count > 0) return GM_OK;
    return forgive(a, gm_fail(a->err, GM_ERR_DATA, "%s: no proposed box lies within its %d x %d pixels", a->record->image, width, height),
                   GM_IMAGE_NO_PROPOSALS);
}

static gm_status look_in_cache(asking *a)
{
    const gm_region_source *s = a->s;
    gm_regions *r = a->regions;
    bool have = false;
    if (s->cache[0] == '\0') return GM_OK;
    const int32_t sizes[] = { s->crop, s->feature_width, s->max };
    r->key[0] = gm_hash(GM_HASH_START, a->bytes, a->size);
    r->key[1] = gm_hash(gm_hash(GM_HASH_START, &s->weights, sizeof s->weights), sizes, sizeof sizes);
    r->key[1] = gm_hash(r->key[1], r->box, (size_t)r->count * sizeof *r->box);
    GM_TRY(gm_feature_cache_get(s->cache, s->feature_width, r, &have, a->err));
    if (have) atomic_fetch_add(&a->s->from_cache, 1);
    return GM_OK;
}

static gm_status cut_crops(asking *a, bool with_crops)
{
    const size_t side = (size_t)a->s->crop, bytes = 3 * side * side;
    GM_TRY(forgive(a, gm_image_decode(a->record->image, a->bytes, a->size, &a->image, a->err), GM_IMAGE_BROKEN));
    if (a->why != GM_IMAGE_FOUND || !with_crops) return GM_OK;
    a->crops = gm_malloc((size_t)a->regions->count * bytes);
    if (a->crops == NULL) return gm_fail(a->err, GM_ERR_NOMEM, "out of memory for %d crops", a->regions->count);
    for (int32_t i = 0; i < a->regions->count; i++)
        GM_TRY(gm_image_resize_into(&a->image, a->regions->box[i], a->s->crop, a->s->crop, a->crops + (size_t)i * bytes, a->err));
    return GM_OK;
}

static gm_status ask(asking *a, bool with_crops)
{
    if (a->record->image == NULL) {
        a->why = GM_IMAGE_NONE;
        return GM_OK;
    }
    if (!gm_image_name_is_inside(a->record->image))
        return forgive(a, gm_fail(a->err, GM_ERR_DATA, "\"%s\" is no name of a picture inside the folder", a->record->image),
                       GM_IMAGE_BROKEN);
    if (a->s->crop > 0) GM_TRY(open_picture(a));
    if (a->why == GM_IMAGE_FOUND) GM_TRY(propose(a));
    if (a->why == GM_IMAGE_FOUND && a->s->crop > 0) GM_TRY(look_in_cache(a));
    if (a->why == GM_IMAGE_FOUND && a->s->crop > 0 && a->regions->feature == NULL) GM_TRY(cut_crops(a, with_crops));
    return GM_OK;
}

gm_status gm_region_source_get(gm_region_source *s, const gm_record *record, gm_regions *regions, uint8_t **crops,
                               gm_image_status *why, gm_err *err)
{
    gm_err own = { 0 };
    asking a = { .s = s, .record = record, .regions = regions, .why = GM_IMAGE_FOUND, .err = &own };
    *regions = (gm_regions) { 0 };
    if (crops != NULL) *crops = NULL;
    const gm_status status = ask(&a, crops != NULL);
    gm_free(a.bytes);
    gm_image_free(&a.image);
    if (status != GM_OK || a.why != GM_IMAGE_FOUND) gm_regions_free(regions);
    if (status != GM_OK) {
        gm_free(a.crops);
        return gm_fail(err, status, "%s: %s", record->id, own.text);
    }
    atomic_fetch_add(&s->records[a.why], 1);
    atomic_fetch_add(&s->boxes, regions->count);
    if (crops != NULL) *crops = a.crops;
    *why = a.why;
    return GM_OK;
}

gm_status gm_region_source_store(gm_region_source *s, const gm_regions *r, gm_err *err)
{
    if (s->cache[0] == '\0' || r->count == 0) return GM_OK;
    if (r->feature == NULL || r->feature_width != s->feature_width)
        return gm_fail(err, GM_ERR_SHAPE, "features of %d numbers, the cache %s is of %d", r->feature != NULL ? r->feature_width : 0,
                       s->cache, s->feature_width);
    return gm_feature_cache_put(s->cache, r, err);
}

gm_region_counts gm_region_source_counts(const gm_region_source *s)
{
    gm_region_counts c = { .boxes = atomic_load(&s->boxes),
                           .dropped = atomic_load(&s->dropped),
                           .other_size = atomic_load(&s->other_size),
                           .from_cache = atomic_load(&s->from_cache) };
    for (int i = 0; i < GM_IMAGE_STATUS_COUNT; i++) c.records[i] = atomic_load(&s->records[i]);
    return c;
}

void gm_region_source_report(const gm_region_source *s)
{
    const gm_region_counts c = gm_region_source_counts(s);
    gm_log(GM_LOG_INFO, "images",
           "%lld pictures found, %lld missing, %lld broken, %lld without proposals, %lld records without a picture; %lld boxes, "
           "%lld left out as empty or outside; %lld from the cache",
           (long long)c.records[GM_IMAGE_FOUND], (long long)c.records[GM_IMAGE_MISSING], (long long)c.records[GM_IMAGE_BROKEN],
           (long long)c.records[GM_IMAGE_NO_PROPOSALS], (long long)c.records[GM_IMAGE_NONE], (long long)c.boxes, (long long)c.dropped,
           (long long)c.from_cache);
    if (c.other_size > 0)
        gm_log(GM_LOG_WARN, "images", "%lld pictures have another size than their records say: are these the pictures that were annotated?",
               (long long)c.other_size);
}
