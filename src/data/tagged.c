/* Reading and writing tagged text. Samples end at an empty line, at the next IMGID line or at the end of the file. Tags are read
 * leniently: an I- without its B- begins an entity and is counted, which gives the published entity counts; any other
 * surprise is an error with path:line. Tokens are taken as they stand, whatever characters they hold. */
#include "data/tagged.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "data/id_set.h"
#include "data/labels.h"

enum { MAX_WORDS = 1000000 }; /* of one sample: beyond it the empty lines are missing */

static const char letters[] = "BIES"; /* in the order of the BIOES tag numbers */

/* One file being read, and the sample that is being put together. */
typedef struct tagged {
    const gm_tagged_format *format;
    gm_lines lines;
    const char *prefix;
    gm_labels types;
    gm_id_set ids;
    gm_records *all;
    gm_import_counts *counts;
    int64_t samples; /* of this file */
    gm_record sample;
    int64_t id_line; /* where the sample's IMGID stands, 0 before one */
    int32_t *tag;    /* [words] BIOES numbers */
    char **fine;     /* [words] or NULL each */
    gm_span *span;   /* [words] */
    size_t token_capacity, tag_capacity, fine_capacity, span_capacity;
} tagged;

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for a sample"); }

static void forget_sample(tagged *t)
{
    for (int32_t i = 0; i < t->sample.token_count; i++) gm_free(t->fine[i]);
    gm_record_free(&t->sample);
    t->token_capacity = 0;
    t->id_line = 0;
}

/* Real sets repeat an id where one image stands in two posts. Ids are unique here, so a later one gets a number. */
static gm_status make_unique(tagged *t, gm_err *err)
{
    const size_t place = t->all->count;
    size_t first;
    GM_TRY(gm_id_set_add(&t->ids, t->sample.id, place, &first, err));
    if (first == place) return GM_OK;
    t->counts->ids_twice++;
    const size_t room = strlen(t->sample.id) + 24;
    char *longer = gm_malloc(room);
    if (longer == NULL) return no_memory(err);
    gm_status status = GM_OK;
    for (size_t n = 2; status == GM_OK && first != place; n++) {
        snprintf(longer, room, "%s-%zu", t->sample.id, n);
        status = gm_id_set_add(&t->ids, longer, place, &first, err);
    }
    gm_free(t->sample.id);
    t->sample.id = longer;
    return status;
}

static gm_status name_sample(tagged *t, gm_err *err)
{
    gm_record *r = &t->sample;
    if (t->format->has_ids) {
        const size_t room = strlen(r->id) + sizeof ".jpg";
        r->image = gm_malloc(room);
        if (r->image == NULL) return no_memory(err);
        snprintf(r->image, room, "%s.jpg", r->id);
        return make_unique(t, err);
    }
    const size_t room = strlen(t->prefix) + 32;
    r->id = gm_malloc(room);
    if (r->id == NULL) return no_memory(err);
    snprintf(r->id, room, "%s-%06lld", t->prefix, (long long)t->samples);
    return GM_OK;
}

static const char *spelled(const gm_tagged_format *f, const char *type)
{
    return f->from != NULL && strcmp(type, f->from) == 0 ? f->to : type;
}

static gm_status add_entities(tagged *t, gm_err *err)
{
    gm_record *r = &t->sample;
    const int32_t count = gm_tags_decode(GM_TAGS_BIOES, t->tag, r->token_count, t->span);
    if (count == 0) return GM_OK;
    r->entities = gm_calloc((size_t)count, sizeof *r->entities);
    if (r->entities == NULL) return no_memory(err);
    for (; r->entity_count < count; r->entity_count++) {
        const gm_span *s = &t->span[r->entity_count];
        gm_entity *e = &r->entities[r->entity_count];
        *e = (gm_entity) { .start = s->start, .end = s->end, .score = NAN, .region_score = NAN,
                           .uncertainty = gm_no_uncertainty };
        e->type = gm_strdup(spelled(t->format, t->types.names[s->type]));
        if (e->type == NULL) return no_memory(err);
        e->fine = t->fine[s->start];
        t->fine[s->start] = NULL;
        const char letter = letters[(t->tag[s->start] - 1) % 4];
        if (letter == 'I' || letter == 'E') t->counts->stray_tags++;
    }
    return GM_OK;
}

static gm_status end_sample(tagged *t, gm_err *err)
{
    if (t->sample.token_count == 0) {
        if (t->id_line == 0) return GM_OK;
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: the sample \"%s\" has no words", t->lines.path,
                       (long long)t->id_line, t->sample.id);
    }
    GM_TRY(name_sample(t, err));
    GM_TRY(add_entities(t, err));
    for (int32_t i = 0; i < t->sample.token_count; i++) {
        gm_free(t->fine[i]);
        t->fine[i] = NULL;
    }
    GM_TRY(gm_records_add(t->all, &t->sample, err));
    t->samples++;
    t->token_capacity = 0;
    t->id_line = 0;
    return GM_OK;
}

/* The id is also the name of the image and of its box file: it must not lead to another folder. */
static gm_status begin_sample(tagged *t, const char *id, gm_err *err)
{
    GM_TRY(end_sample(t, err));
    const long long line = (long long)t->lines.number;
    if (*id == '\0') return gm_fail(err, GM_ERR_DATA, "%s:%lld: no id behind IMGID:", t->lines.path, line);
    if (strpbrk(id, " \t\r/\\") != NULL)
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: the id \"%s\" holds white space or a slash", t->lines.path, line,
                       id);
    t->sample.id = gm_strdup(id);
    t->id_line = line;
    return t->sample.id == NULL ? no_memory(err) : GM_OK;
}

static gm_status find_type(tagged *t, const char *tag, const char *name, int32_t *type, gm_err *err)
{
    *type = gm_labels_find(&t->types, name);
    if (*type >= 0) return GM_OK;
    const long long line = (long long)t->lines.number;
    if (t->format->types != NULL)
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: the type of \"%s\" is unknown; %s has %s", t->lines.path, line, tag,
                       t->format->name, t->format->types);
    if (gm_labels_add(&t->types, name, strlen(name), err) != GM_OK)
        return gm_fail_at(err, "%s:%lld", t->lines.path, line);
    *type = t->types.count - 1;
    return GM_OK;
}

static gm_status read_tag(tagged *t, const char *tag, int32_t *number, gm_err *err)
{
    char letter;
    const char *name;
    int32_t type;
    if (!gm_tag_split(tag, &letter, &name))
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: \"%s\" is not a tag; expected O or B-, I-, E-, S- and a type",
                       t->lines.path, (long long)t->lines.number, tag);
    *number = 0;
    if (letter == 'O') return GM_OK;
    GM_TRY(find_type(t, tag, name, &type, err));
    *number = 1 + 4 * type + (int32_t)(strchr(letters, letter) - letters);
    return GM_OK;
}

/* The fine tag says the same as the coarse one about where entities begin and end. */
static gm_status read_fine(tagged *t, const char *tag, const char *fine_tag, char **fine, gm_err *err)
{
    char letter;
    const char *name;
    if (!gm_tag_split(fine_tag, &letter, &name) || letter != tag[0])
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: the fine tag \"%s\" does not go with the tag \"%s\"", t->lines.path,
                       (long long)t->lines.number, fine_tag, tag);
    if (letter == 'O') return GM_OK;
    *fine = gm_strdup(name);
    return *fine == NULL ? no_memory(err) : GM_OK;
}

/* Cuts the line at its tabs; column[2] stays NULL unless the format has a fine tag. */
static gm_status split_line(tagged *t, char *column[3], gm_err *err)
{
    const int32_t expected = t->format->columns;
    const long long line = (long long)t->lines.number;
    int32_t found = 1;
    char *last = t->lines.line;
    column[0] = last;
    column[2] = NULL;
    for (char *tab; (tab = strchr(last, '\t')) != NULL; found++) {
        *tab = '\0';
        last = tab + 1;
        if (found < 3) column[found] = last;
    }
    if (found == 1)
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: no tab in \"%.60s\"; expected a token, a tab and a tag",
                       t->lines.path, line, t->lines.line);
    if (expected > 0 && found != expected)
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: expected %d columns between tabs, found %d", t->lines.path, line,
                       expected, found);
    if (expected == 0) column[1] = last;
    if (expected != 3) column[2] = NULL;
    if (column[0][0] == '\0') return gm_fail(err, GM_ERR_DATA, "%s:%lld: no token before the tab", t->lines.path, line);
    return GM_OK;
}

static gm_status grow(tagged *t, gm_err *err)
{
    const size_t n = (size_t)t->sample.token_count;
    if (n == MAX_WORDS)
        return gm_fail(err, GM_ERR_DATA,
                       "%s:%lld: a sample of more than %d words; expected an empty line between samples", t->lines.path,
                       (long long)t->lines.number, MAX_WORDS);
    GM_TRY(gm_grow((void **)&t->sample.tokens, &t->token_capacity, n, sizeof *t->sample.tokens, err));
    GM_TRY(gm_grow((void **)&t->tag, &t->tag_capacity, n, sizeof *t->tag, err));
    GM_TRY(gm_grow((void **)&t->fine, &t->fine_capacity, n, sizeof *t->fine, err));
    return gm_grow((void **)&t->span, &t->span_capacity, n, sizeof *t->span, err);
}

static gm_status add_word(tagged *t, gm_err *err)
{
    char *column[3];
    gm_record *r = &t->sample;
    if (t->format->has_ids && t->id_line == 0)
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: expected IMGID:<id> before the words of a sample", t->lines.path,
                       (long long)t->lines.number);
    GM_TRY(split_line(t, column, err));
    GM_TRY(grow(t, err));
    const int32_t i = r->token_count;
    t->fine[i] = NULL;
    GM_TRY(read_tag(t, column[1], &t->tag[i], err));
    r->tokens[i] = gm_strdup(column[0]);
    if (r->tokens[i] == NULL) return no_memory(err);
    r->token_count++;
    return column[2] == NULL ? GM_OK : read_fine(t, column[1], column[2], &t->fine[i], err);
}

static gm_status read_line(tagged *t, gm_err *err)
{
    static const char mark[] = "IMGID:", order[] = "\xEF\xBB\xBF";
    gm_lines *l = &t->lines;
    size_t bad;
    if (!gm_utf8_valid(l->line, l->length, &bad))
        return gm_fail(err, GM_ERR_DATA, "%s:%lld: byte %zu of the line (0x%02X) is not UTF-8 text", l->path,
                       (long long)l->number, bad + 1, (unsigned char)l->line[bad]);
    if (l->number == 1 && strncmp(l->line, order, 3) == 0) memmove(l->line, l->line + 3, l->length + 1 - 3);
    if (l->line[0] == '\0') return end_sample(t, err);
    if (t->format->has_ids && strncmp(l->line, mark, sizeof mark - 1) == 0)
        return begin_sample(t, l->line + sizeof mark - 1, err);
    return add_word(t, err);
}

static gm_status read_all(tagged *t, const char *path, gm_err *err)
{
    if (t->format->types != NULL) GM_TRY(gm_labels_parse(t->format->types, &t->types, err));
    GM_TRY(gm_lines_open(&t->lines, path, err));
    for (bool have = true; have;) {
        GM_TRY(gm_lines_next(&t->lines, &have, err));
        GM_TRY(have ? read_line(t, err) : end_sample(t, err));
    }
    if (t->samples == 0) return gm_fail(err, GM_ERR_DATA, "%s: the file holds no sample", t->lines.path);
    return GM_OK;
}

gm_status gm_tagged_read(const gm_tagged_format *format, const char *path, const char *prefix, gm_records *all,
                         gm_import_counts *counts, gm_err *err)
{
    tagged t = { .format = format, .prefix = prefix, .all = all, .counts = counts };
    const gm_status status = read_all(&t, path, err);
    forget_sample(&t);
    gm_free(t.tag);
    gm_free(t.fine);
    gm_free(t.span);
    gm_labels_free(&t.types);
    gm_id_set_free(&t.ids);
    gm_lines_close(&t.lines);
    return status;
}

/* ---- writing ---- */

/* The entity that word w belongs to, or NULL; GM_ERR_DATA where there are two. */
static gm_status entity_at(const gm_record *r, int32_t w, const gm_entity **e, gm_err *err)
{
    *e = NULL;
    for (int32_t k = 0; k < r->entity_count; k++) {
        if (w < r->entities[k].start || w > r->entities[k].end) continue;
        if (*e != NULL)
            return gm_fail(err, GM_ERR_DATA, "record \"%s\": word %d belongs to two entities, which tags cannot say", r->id, w);
        *e = &r->entities[k];
    }
    return GM_OK;
}

gm_status gm_tagged_write(const gm_record *r, gm_buffer *to, gm_err *err)
{
    for (int32_t w = 0; w < r->token_count; w++) {
        const gm_entity *e;
        GM_TRY(entity_at(r, w, &e, err));
        if (strpbrk(r->tokens[w], "\t\r\n") != NULL)
            return gm_fail(err, GM_ERR_DATA, "record \"%s\": word %d holds a tab or a line's end", r->id, w);
        if (e == NULL) GM_TRY(gm_buffer_printf(to, err, "%s\tO\n", r->tokens[w]));
        else GM_TRY(gm_buffer_printf(to, err, "%s\t%c-%s\n", r->tokens[w], w == e->start ? 'B' : 'I', e->type));
    }
    return gm_buffer_printf(to, err, "\n");
}
