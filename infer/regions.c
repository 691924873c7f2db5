/* gmner regions: looks at the pictures of records and at what is proposed in them, before anybody trains on it: which
 * pictures are there, and how many gold boxes the proposals can reach at all. The proposals that were used are written. */
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/memory.h"
#include "base/progress.h"
#include "data/id_set.h"
#include "image/region_source.h"

static int regions_main(int argc, char **argv);
const gm_command gm_regions_command = { "regions", "counts pictures and proposed regions, and how many gold boxes these reach",
                                        "gmner regions --in FILE --out DIR [--images DIR] [--proposals X] [--max N] [--json]",
                                        regions_main };

#define WANTED_IOU 0.5

/* Entities with boxes, of one type; `name` belongs to a record. */
typedef struct reached {
    const char *name;
    int64_t entities, with_regions, covered;
} reached;

typedef struct looking {
    gm_region_source *source;
    gm_id_set written; /* pictures whose proposals stand in the file */
    gm_out file;
    reached *types;
    size_t count, capacity;
    reached all;
    int64_t records;
} looking;

static gm_status find_type(looking *l, const char *name, reached **type, gm_err *err)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->types[i].name, name) == 0) {
            *type = &l->types[i];
            return GM_OK;
        }
    GM_TRY(gm_grow((void **)&l->types, &l->capacity, l->count, sizeof *l->types, err));
    l->types[l->count] = (reached) { .name = name };
    *type = &l->types[l->count++];
    return GM_OK;
}

static bool is_covered(const gm_entity *e, const gm_regions *r)
{
    for (int32_t i = 0; i < e->box_count; i++)
        for (int32_t k = 0; k < r->count; k++)
            if (gm_box_iou(e->boxes[i], r->box[k]) >= WANTED_IOU) return true;
    return false;
}

static gm_status count_entities(looking *l, const gm_record *record, const gm_regions *r, gm_err *err)
{
    for (int32_t i = 0; i < record->entity_count; i++) {
        const gm_entity *e = &record->entities[i];
        const bool covered = is_covered(e, r);
        reached *type;
        if (e->box_count == 0) continue;
        GM_TRY(find_type(l, e->type, &type, err));
        reached *both[] = { type, &l->all };
        for (size_t k = 0; k < GM_LEN(both); k++) {
            both[k]->entities++;
            both[k]->with_regions += r->count > 0;
            both[k]->covered += covered;
        }
    }
    return GM_OK;
}

/* One line a picture, also where several records share it: a file of proposals names each once. */
static gm_status write_regions(looking *l, const gm_record *record, const gm_regions *r, gm_err *err)
{
    gm_buffer text = { 0 };
    size_t first = 0;
    const size_t place = l->written.count;
    if (r->count == 0) return GM_OK;
    GM_TRY(gm_id_set_add(&l->written, record->image, place, &first, err));
    if (first != place) return GM_OK;
    gm_status status = gm_buffer_printf(&text, err, "{\"image\": ");
    if (status == GM_OK) status = gm_buffer_json_string(&text, record->image, err);
    if (status == GM_OK) status = gm_buffer_printf(&text, err, ", \"size\": [%d, %d], \"boxes\": [", r->width, r->height);
    for (int32_t i = 0; i < r->count && status == GM_OK; i++)
        status = gm_buffer_printf(&text, err, "%s[%.9g, %.9g, %.9g, %.9g]", i > 0 ? ", " : "", r->box[i].x1, r->box[i].y1, r->box[i].x2,
                                  r->box[i].y2);
    for (int32_t i = 0; r->score != NULL && i < r->count && status == GM_OK; i++)
        status = gm_buffer_printf(&text, err, "%s%.9g", i > 0 ? ", " : "], \"scores\": [", (double)r->score[i]);
    if (status == GM_OK) status = gm_buffer_printf(&text, err, "]}\n");
    if (status == GM_OK) status = gm_out_write(&l->file, text.data, text.size, err);
    gm_buffer_free(&text);
    return status;
}

static gm_status look(looking *l, const gm_records *records, gm_err *err)
{
    gm_progress progress;
    gm_status status = GM_OK;
    gm_progress_start(&progress, "regions", (int64_t)records->count, 1000);
    for (size_t i = 0; i < records->count && status == GM_OK; i++) {
        const gm_record *record = &records->items[i];
        gm_image_status why;
        gm_regions r = { 0 };
        status = gm_region_source_get(l->source, record, &r, NULL, &why, err);
        if (status == GM_OK) status = count_entities(l, record, &r, err);
        if (status == GM_OK) status = write_regions(l, record, &r, err);
        gm_regions_free(&r);
        gm_progress_update(&progress, (int64_t)i + 1, NULL);
    }
    gm_progress_end(&progress);
    l->records = (int64_t)records->count;
    return status;
}

static double ratio(int64_t part, int64_t whole) { return whole > 0 ? (double)part / (double)whole : 0.0; }

static gm_status add_row(gm_buffer *text, const reached *t, bool is_json, bool is_last, gm_err *err)
{
    const double recall = ratio(t->covered, t->entities), within = ratio(t->covered, t->with_regions);
    if (!is_json)
        return gm_buffer_printf(text, err, "%-12s %9lld %13lld %9lld %8.4f %14.4f\n", t->name, (long long)t->entities,
                                (long long)t->with_regions, (long long)t->covered, recall, within);
    GM_TRY(gm_buffer_json_string(text, t->name, err));
    return gm_buffer_printf(text, err, ":{\"entities\":%lld,\"with_regions\":%lld,\"covered\":%lld,\"recall\":%.6f}%s",
                            (long long)t->entities, (long long)t->with_regions, (long long)t->covered, recall, is_last ? "" : ",");
}

static gm_status add_counts(gm_buffer *text, const looking *l, bool is_json, gm_err *err)
{
    const gm_region_counts c = gm_region_source_counts(l->source);
    const struct {
        const char *key, *name;
        int64_t count;
    } rows[] = { { "records", "records", l->records },
                 { "found", "pictures found", c.records[GM_IMAGE_FOUND] },
                 { "missing", "pictures missing", c.records[GM_IMAGE_MISSING] },
                 { "broken", "pictures broken", c.records[GM_IMAGE_BROKEN] },
                 { "no_proposals", "pictures without proposals", c.records[GM_IMAGE_NO_PROPOSALS] },
                 { "none", "records without a picture", c.records[GM_IMAGE_NONE] },
                 { "other_size", "pictures of another size", c.other_size },
                 { "boxes", "boxes", c.boxes },
                 { "dropped", "boxes empty or outside", c.dropped } };
    for (size_t i = 0; i < GM_LEN(rows); i++)
        GM_TRY(is_json ? gm_buffer_printf(text, err, "%s\"%s\":%lld", i > 0 ? "," : "{", rows[i].key, (long long)rows[i].count)
                       : gm_buffer_printf(text, err, "%-26s %9lld\n", rows[i].name, (long long)rows[i].count));
    return GM_OK;
}

static gm_status report(const looking *l, bool is_json, gm_err *err)
{
    gm_buffer text = { 0 };
    gm_status status = add_counts(&text, l, is_json, err);
    if (status == GM_OK)
        status = is_json ? gm_buffer_printf(&text, err, ",\"recall\":{")
                         : gm_buffer_printf(&text, err, "\n%-12s %9s %13s %9s %8s %14s\n", "gold boxes", "entities", "with regions",
                                            "covered", "recall", "where regions");
    for (size_t i = 0; i < l->count && status == GM_OK; i++) status = add_row(&text, &l->types[i], is_json, false, err);
    if (status == GM_OK) status = add_row(&text, &l->all, is_json, true, err);
    if (status == GM_OK && is_json) status = gm_buffer_printf(&text, err, "}}\n");
    if (status == GM_OK && (fwrite(text.data, 1, text.size, stdout) != text.size || fflush(stdout) != 0))
        status = gm_fail(err, GM_ERR_IO, "stdout: the report of %zu bytes was not taken", text.size);
    gm_buffer_free(&text);
    return status;
}

static gm_status look_and_write(looking *l, const char *in, const char *out, bool is_json, gm_err *err)
{
    gm_records records = { 0 };
    GM_TRY(gm_make_dirs(out, err));
    char *path = gm_path_join(out, "proposals.jsonl");
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_status status = gm_records_load(in, &records, err);
    if (status == GM_OK) status = gm_out_open(&l->file, path, err);
    if (status == GM_OK) {
        status = look(l, &records, err);
        if (status == GM_OK) status = gm_out_commit(&l->file, err);
        else gm_out_abort(&l->file);
    }
    if (status == GM_OK) status = report(l, is_json, err); /* names of types are the records' */
    gm_records_free(&records);
    gm_free(path);
    return status;
}

static int regions_main(int argc, char **argv)
{
    gm_err err = { 0 };
    const char *in = NULL, *out = NULL;
    gm_region_source_options how = { .images = "", .regions = "", .cache = "" };
    int64_t max = 32;
    bool is_json = false, done = false;
    int words = 0;
    gm_option options[] = {
        { "in", GM_OPT_STR, &in, "FILE", "records, - for stdin", true },
        { "out", GM_OPT_STR, &out, "DIR", "proposals.jsonl is written here", true },
        { "images", GM_OPT_STR, &how.images, "DIR", "pictures, each decoded whole; without it the records tell their sizes", false },
        { "proposals", GM_OPT_STR, &how.regions, "X", "folder of <image>.npz, or a .jsonl file; without it: built-in windows", false },
        { "max", GM_OPT_INT, &max, "N", "regions of a picture, the best by score (default 32)", false },
        { "json", GM_OPT_FLAG, &is_json, NULL, "print JSON", false },
    };
    looking l = { .all = { .name = "all" } };
    gm_status status = gm_cli_parse(&gm_regions_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_regions_command, status, &err);
    if (max < 1 || max > GM_REGIONS_MAX)
        status = gm_fail(&err, GM_ERR_USAGE, "--max: expected a whole number from 1 to %d, found %lld", GM_REGIONS_MAX, (long long)max);
    how.max = (int32_t)max;
    how.crop = how.images[0] != '\0'; /* pixels are asked for, so that every picture is decoded; none are taken */
    if (status == GM_OK) status = gm_region_source_open(&how, &l.source, &err);
    if (status == GM_OK) status = look_and_write(&l, in, out, is_json, &err);
    gm_region_source_close(l.source);
    gm_id_set_free(&l.written);
    gm_free(l.types);
    return gm_cli_finish(&gm_regions_command, status, &err);
}
