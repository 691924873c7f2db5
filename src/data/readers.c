/* The data sets by name: what each is made of, which options it takes, and the counts of what was read. */
#include "data/readers.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "data/ccks_json.h"
#include "data/id_set.h"
#include "data/tagged.h"

/* FMNERG's person is PER in records; older Twitter files say MISC where newer ones say OTHER. */
static const gm_tagged_format formats[] = {
    { "twitter-gmner", 2, true, "PER,LOC,ORG,OTHER,MISC", "MISC", "OTHER" },
    { "twitter-fmnerg", 3, true, "person,location,building,organization,product,art,event,other", "person", "PER" },
    { "ccks", 2, false, "aircraft,vehicle,weapon,vessel,location,other", NULL, NULL },
    { "conll", 0, false, NULL, NULL, NULL },
};

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for an import"); }

/* The file's name without folder and ending; gm_malloc'ed. */
static char *stem(const char *path)
{
    if (strcmp(path, "-") == 0) return gm_strdup("stdin");
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return gm_strndup(name, dot != NULL && dot > name ? (size_t)(dot - name) : strlen(name));
}

/* Words first..last with one of `between` between them; gm_malloc'ed. */
static char *join(const gm_record *r, int32_t first, int32_t last, char between)
{
    size_t room = 1;
    for (int32_t i = first; i <= last; i++) room += strlen(r->tokens[i]) + 1;
    char *text = gm_malloc(room), *at = text;
    if (text == NULL) return NULL;
    for (int32_t i = first; i <= last; i++) {
        const size_t n = strlen(r->tokens[i]);
        if (i > first) *at++ = between;
        memcpy(at, r->tokens[i], n);
        at += n;
    }
    *at = '\0';
    return text;
}

/* Gives the entity the boxes of its name. Names are compared as they stand: the published counts come out so. */
static gm_status give_boxes(gm_record *r, gm_entity *e, const gm_voc *voc, bool *is_used, gm_err *err)
{
    char *name = join(r, e->start, e->end, ' ');
    if (name == NULL) return no_memory(err);
    size_t capacity = 0;
    gm_status status = GM_OK;
    for (int32_t i = 0; i < voc->count && status == GM_OK; i++) {
        if (strcmp(voc->objects[i].name, name) != 0) continue;
        status = gm_grow((void **)&e->boxes, &capacity, (size_t)e->box_count, sizeof *e->boxes, err);
        if (status == GM_OK) e->boxes[e->box_count++] = voc->objects[i].box;
        is_used[i] = true;
    }
    gm_free(name);
    return status;
}

static gm_status match_boxes(gm_record *r, const gm_voc *voc, gm_import_counts *counts, gm_err *err)
{
    r->width = voc->width;
    r->height = voc->height;
    bool *is_used = gm_calloc((size_t)voc->count + 1, sizeof *is_used);
    if (is_used == NULL) return no_memory(err);
    gm_status status = GM_OK;
    for (int32_t i = 0; i < r->entity_count && status == GM_OK; i++)
        status = give_boxes(r, &r->entities[i], voc, is_used, err);
    for (int32_t i = 0; i < voc->count; i++) counts->boxes_unmatched += !is_used[i];
    gm_free(is_used);
    return status;
}

/* The box file of an image has its name with another ending. */
static char *box_path(const char *folder, const char *image)
{
    const size_t stem_len = strlen(image) - strlen(".jpg"), room = strlen(folder) + stem_len + sizeof "/.xml";
    char *path = gm_malloc(room);
    if (path != NULL) snprintf(path, room, "%s/%.*s.xml", folder, (int)stem_len, image);
    return path;
}

static gm_status add_boxes(const char *folder, gm_records *all, gm_import_counts *counts, gm_err *err)
{
    if (!gm_path_is_dir(folder))
        return gm_fail(err, GM_ERR_IO, "%s: expected a folder of XML files with boxes", folder);
    for (size_t i = 0; i < all->count; i++) {
        char *path = box_path(folder, all->items[i].image);
        if (path == NULL) return no_memory(err);
        gm_voc voc = { 0 };
        bool found = false;
        gm_status status = gm_voc_read(path, &voc, &found, err);
        gm_free(path);
        if (status == GM_OK && found) status = match_boxes(&all->items[i], &voc, counts, err);
        gm_voc_free(&voc);
        if (status != GM_OK) return status;
        if (found)
            counts->images_with_boxes++;
        else
            counts->images_without++;
    }
    return GM_OK;
}

/* Tokens hold no tab, so joined by tabs two sentences are equal only where all their words are. */
static gm_status collect_sentences(const gm_tagged_format *f, const char *path, gm_id_set *set, gm_err *err)
{
    gm_records other = { 0 };
    gm_import_counts ignored = { 0 };
    gm_status status = gm_tagged_read(f, path, "", &other, &ignored, err);
    for (size_t i = 0; i < other.count && status == GM_OK; i++) {
        size_t first;
        char *sentence = join(&other.items[i], 0, other.items[i].token_count - 1, '\t');
        status = sentence == NULL ? no_memory(err) : gm_id_set_add(set, sentence, i, &first, err);
        gm_free(sentence);
    }
    gm_records_free(&other);
    return status;
}

/* Ids were made before, so that a sentence has the same id with and without the other file. */
static gm_status drop_sentences(const gm_id_set *set, gm_records *all, gm_import_counts *counts, gm_err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < all->count; i++) {
        gm_record *r = &all->items[i];
        char *sentence = join(r, 0, r->token_count - 1, '\t');
        if (sentence == NULL) return no_memory(err);
        const bool is_other = gm_id_set_has(set, sentence);
        gm_free(sentence);
        const gm_record moved = *r;
        *r = (gm_record) { 0 };
        if (is_other) {
            gm_record gone = moved;
            gm_record_free(&gone);
            counts->dropped++;
        } else {
            all->items[kept++] = moved;
        }
    }
    all->count = kept;
    return GM_OK;
}

static gm_status drop_other_split(const gm_tagged_format *f, const gm_import *what, gm_records *all,
                                  gm_import_counts *counts, gm_err *err)
{
    gm_id_set set = { 0 };
    gm_status status = collect_sentences(f, what->without, &set, err);
    if (status == GM_OK) status = drop_sentences(&set, all, counts, err);
    gm_id_set_free(&set);
    if (status == GM_OK && all->count == 0)
        status = gm_fail(err, GM_ERR_DATA, "%s: every sentence stands in %s as well; none is left", what->text,
                         what->without);
    return status;
}

static gm_status read_tagged(const gm_tagged_format *f, const gm_import *what, gm_records *all,
                             gm_import_counts *counts, gm_err *err)
{
    char *made = what->split == NULL ? stem(what->text) : gm_strdup(what->split);
    if (made == NULL) return no_memory(err);
    size_t bad;
    gm_status status = GM_OK;
    if (!gm_utf8_valid(made, strlen(made), &bad))
        status =
            gm_fail(err, GM_ERR_USAGE, "%s: the name is not UTF-8 text and cannot begin ids; give a split", what->text);
    if (status == GM_OK) status = gm_tagged_read(f, what->text, made, all, counts, err);
    gm_free(made);
    if (status == GM_OK && what->without != NULL) status = drop_other_split(f, what, all, counts, err);
    if (status == GM_OK && what->boxes != NULL) status = add_boxes(what->boxes, all, counts, err);
    return status;
}

static void count_all(const gm_records *all, gm_import_counts *counts)
{
    counts->samples = (int64_t)all->count;
    for (size_t i = 0; i < all->count; i++) {
        const gm_record *r = &all->items[i];
        counts->words += r->token_count;
        counts->entities += r->entity_count;
        for (int32_t k = 0; k < r->entity_count; k++) {
            counts->groundable += r->entities[k].box_count > 0;
            counts->boxes += r->entities[k].box_count;
        }
    }
}

static bool is_ccks_json(const gm_import *what) { return strcmp(what->format, "ccks-json") == 0; }

static gm_status check_options(const gm_tagged_format *f, const gm_import *what, gm_err *err)
{
    if (what->text == NULL) return gm_fail(err, GM_ERR_USAGE, "%s: expected a text file", what->format);
    if (what->boxes != NULL && (f == NULL || !f->has_ids))
        return gm_fail(err, GM_ERR_USAGE, "%s has no box files beside its text: leave the folder of boxes out",
                       what->format);
    if (what->entities != NULL && !is_ccks_json(what))
        return gm_fail(err, GM_ERR_USAGE, "%s has its entities beside its words: leave the file of entities out", what->format);
    if (what->without != NULL && (f == NULL || f->has_ids))
        return gm_fail(err, GM_ERR_USAGE, "%s: sentences are dropped for ccks and conll only", what->format);
    return GM_OK;
}

gm_status gm_import_read(const gm_import *what, gm_records *all, gm_import_counts *counts, gm_err *err)
{
    *counts = (gm_import_counts) { 0 };
    const gm_tagged_format *f = NULL;
    for (size_t i = 0; i < GM_LEN(formats); i++)
        if (strcmp(formats[i].name, what->format) == 0) f = &formats[i];
    if (f == NULL && !is_ccks_json(what) && strcmp(what->format, "records") != 0)
        return gm_fail(err, GM_ERR_USAGE,
                       "\"%s\" is no format; there are twitter-gmner twitter-fmnerg ccks ccks-json conll records", what->format);
    GM_TRY(check_options(f, what, err));
    const gm_status status = is_ccks_json(what) ? gm_ccks_json_read(what->text, what->entities, all, counts, err)
                             : f == NULL        ? gm_records_load(what->text, all, err)
                                                : read_tagged(f, what, all, counts, err);
    if (status != GM_OK) {
        gm_records_free(all);
        return status;
    }
    count_all(all, counts);
    return GM_OK;
}
