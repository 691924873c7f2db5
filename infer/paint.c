/* gmner paint: draws a picture for every record that names one (docs/images.md). All records are checked before the first
 * picture is drawn; each picture is written beside its name and renamed. */
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "data/id_set.h"
#include "image/paint.h"

static int paint_main(int argc, char **argv);
const gm_command gm_paint_command = { "paint", "draws pictures for records: stand-ins for photographs",
                                      "gmner paint --in FILE --out FOLDER [--seed S] [--threads N]", paint_main };

/* A picture, which several records may share: posts repeat pictures. */
typedef struct picture {
    gm_paint_scene scene;
    const char *id; /* of the first record that names it */
    size_t capacity;
} picture;

typedef struct pictures {
    picture *items;
    size_t count, capacity;
    int64_t objects, without, unsized;
} pictures;

static void free_pictures(pictures *p)
{
    for (size_t i = 0; i < p->count; i++) {
        gm_paint_scene *s = &p->items[i].scene;
        for (int32_t k = 0; k < s->count; k++) gm_free((void *)s->objects[k].name);
        gm_free(s->objects);
    }
    gm_free(p->items);
}

/* The words of an entity with a blank between them; NULL when out of memory. */
static char *name_of(const gm_record *r, const gm_entity *e)
{
    size_t room = 1;
    for (int32_t i = e->start; i <= e->end; i++) room += strlen(r->tokens[i]) + 1;
    char *name = gm_malloc(room);
    if (name == NULL) return NULL;
    size_t n = 0;
    for (int32_t i = e->start; i <= e->end; i++)
        n += (size_t)snprintf(name + n, room - n, "%s%s", i > e->start ? " " : "", r->tokens[i]);
    return name;
}

static gm_status add_entity(picture *p, const gm_record *r, const gm_entity *e, gm_err *err)
{
    gm_paint_scene *s = &p->scene;
    for (int32_t i = 0; i < e->box_count; i++) {
        GM_TRY(gm_grow((void **)&s->objects, &p->capacity, (size_t)s->count, sizeof *s->objects, err));
        char *name = name_of(r, e);
        if (name == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the objects of %s", s->image);
        s->objects[s->count++] = (gm_paint_object) { e->boxes[i], e->type, name };
    }
    return GM_OK;
}

static gm_status take_size(picture *p, const gm_record *r, gm_err *err)
{
    gm_paint_scene *s = &p->scene;
    if (r->width == 0) return GM_OK;
    if (s->width != 0 && (s->width != r->width || s->height != r->height))
        return gm_fail(err, GM_ERR_DATA, "record \"%s\": %s is %d x %d pixels, but record \"%s\" has it with %d x %d",
                       r->id, s->image, r->width, r->height, p->id, s->width, s->height);
    s->width = r->width;
    s->height = r->height;
    return GM_OK;
}

static gm_status add_record(pictures *all, gm_id_set *names, const gm_record *r, uint64_t seed, gm_err *err)
{
    size_t at;
    if (r->image == NULL) {
        all->without++;
        return GM_OK;
    }
    if (!gm_image_name_is_inside(r->image))
        return gm_fail(
            err, GM_ERR_DATA,
            "record \"%s\": the image \"%s\" would lie outside the output folder; expected a plain file name", r->id,
            r->image);
    GM_TRY(gm_id_set_add(names, r->image, all->count, &at, err));
    if (at == all->count) {
        GM_TRY(gm_grow((void **)&all->items, &all->capacity, all->count, sizeof *all->items, err));
        all->items[all->count++] = (picture) { .scene = { .image = r->image, .seed = seed }, .id = r->id };
    }
    picture *p = &all->items[at];
    GM_TRY(take_size(p, r, err));
    for (int32_t i = 0; i < r->entity_count; i++) GM_TRY(add_entity(p, r, &r->entities[i], err));
    return GM_OK;
}

static gm_status gather(const gm_records *records, uint64_t seed, pictures *all, gm_err *err)
{
    gm_id_set names = { 0 };
    gm_status status = GM_OK;
    for (size_t i = 0; i < records->count && status == GM_OK; i++)
        status = add_record(all, &names, &records->items[i], seed, err);
    gm_id_set_free(&names);
    for (size_t i = 0; i < all->count && status == GM_OK; i++) {
        gm_paint_scene *s = &all->items[i].scene;
        all->objects += s->count;
        all->unsized += s->width == 0;
        gm_paint_size(s);
        status = gm_paint_check(s, err);
        if (status != GM_OK) gm_fail_at(err, "record \"%s\"", all->items[i].id);
    }
    return status;
}

/* Folders in the name are made; the name has passed gm_image_name_is_inside. */
static gm_status make_parent(const char *path, gm_err *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = gm_strndup(path, (size_t)(slash - path));
    if (folder == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = gm_make_dirs(folder, err);
    gm_free(folder);
    return status;
}

static gm_status draw(const picture *p, const char *out, gm_err *err)
{
    gm_image image = { 0 };
    char *path = gm_path_join(out, p->scene.image);
    gm_status status = path != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (status == GM_OK && strchr(p->scene.image, '/') != NULL) status = make_parent(path, err);
    if (status == GM_OK) status = gm_paint(&p->scene, &image, err);
    if (status == GM_OK) status = gm_image_write_png(&image, path, err);
    if (status != GM_OK) gm_fail_at(err, "record \"%s\"", p->id);
    gm_image_free(&image);
    gm_free(path);
    return status;
}

/* Each picture depends on itself alone, so threads take them as they come. Of several failures the first picture's is told. */
static gm_status draw_all(const pictures *all, const char *out, int threads, gm_err *err)
{
    gm_progress progress;
    gm_status status = GM_OK;
    const int64_t count = (int64_t)all->count;
    int64_t done = 0, failed = count;
    gm_progress_start(&progress, "paint", count, 1000);
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        gm_err own = { 0 };
        gm_status drawn = GM_OK;
        bool goes_on;
#pragma omp critical(paint)
        goes_on = status == GM_OK || i < failed;
        if (goes_on) drawn = draw(&all->items[i], out, &own);
#pragma omp critical(paint)
        {
            if (drawn != GM_OK && i < failed) {
                failed = i;
                status = drawn;
                *err = own;
            }
            if (status == GM_OK) gm_progress_update(&progress, ++done, NULL);
        }
    }
    gm_progress_end(&progress);
    return status;
}

static gm_status paint(const char *in, const char *out, uint64_t seed, int threads, gm_err *err)
{
    gm_records records = { 0 };
    pictures all = { 0 };
    GM_TRY(gm_records_load(in, &records, err));
    gm_status status = gather(&records, seed, &all, err);
    if (status == GM_OK && all.count == 0)
        status = gm_fail(err, GM_ERR_DATA, "%s: none of %zu records names an image: there is nothing to draw", in,
                         records.count);
    if (status == GM_OK) status = gm_make_dirs(out, err);
    if (status == GM_OK) status = draw_all(&all, out, threads, err);
    if (status == GM_OK)
        gm_log(GM_LOG_INFO, "paint", "%zu drawn images in %s with %lld objects; %lld records name none", all.count, out,
               (long long)all.objects, (long long)all.without);
    if (status == GM_OK && all.unsized > 0)
        gm_log(GM_LOG_INFO, "paint",
               "%lld records give no size: theirs follows from the boxes, or is one of a few usual ones",
               (long long)all.unsized);
    free_pictures(&all);
    gm_records_free(&records);
    return status;
}

static int paint_main(int argc, char **argv)
{
    gm_err err = { 0 };
    const char *in = NULL, *out = NULL;
    uint64_t seed = 42;
    int64_t threads = 1;
    bool done = false;
    int words = 0;
    gm_option options[] = {
        { "in", GM_OPT_STR, &in, "FILE", "records, - for stdin", true },
        { "out", GM_OPT_STR, &out, "FOLDER", "where the pictures go, under the records' names", true },
        { "seed", GM_OPT_U64, &seed, "S", "seed of backgrounds, clutter and distractors", false },
        { "threads", GM_OPT_INT, &threads, "N", "pictures drawn at once; the pictures do not depend on it", false },
    };
    gm_status status =
        gm_cli_parse(&gm_paint_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && (threads < 1 || threads > 1024))
        status = gm_fail(&err, GM_ERR_USAGE, "--threads is %lld; it lies between 1 and 1024", (long long)threads);
    if (status == GM_OK) status = paint(in, out, seed, (int)threads, &err);
    return gm_cli_finish(&gm_paint_command, status, &err);
}
