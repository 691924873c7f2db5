/* gmner merge: shard files of `gmner predict --shard I/N` become what one process would have written: one line of each shard
 * in turn, byte for byte as they stand. Nothing is written unless every record is answered exactly once, by shards that divide
 * the records in one way and, as far as their notes tell, come from one model. */
#include <string.h>

#include "base/cli.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/id_set.h"
#include "data/records.h"
#include "infer/shard.h"

typedef struct line { const char *text; size_t size, place; } line; /* size with its "\n"; place: which record it answers */

typedef struct part {
    const char *path;
    char *text;
    size_t size;
    line *lines;
    size_t count, capacity;
    bool has_note;
    gm_shard_note note;
} part;

typedef struct merging {
    const char *records_path;
    gm_records records;
    gm_id_set ids;
    part *parts;
    size_t count;
    size_t shards;       /* what the records were divided by */
    const part **holder; /* [shards] */
} merging;

static gm_status read_records(merging *m, gm_err *err)
{
    GM_TRY(gm_records_load(m->records_path, &m->records, err));
    for (size_t i = 0; i < m->records.count; i++) {
        size_t first;
        GM_TRY(gm_id_set_add(&m->ids, m->records.items[i].id, i, &first, err));
    }
    return GM_OK;
}

static bool has_same_words(const gm_record *a, const gm_record *b)
{
    if (a->token_count != b->token_count) return false;
    for (int32_t i = 0; i < a->token_count; i++)
        if (strcmp(a->tokens[i], b->tokens[i]) != 0) return false;
    return true;
}

/* Which record the line answers. */
static gm_status find_place(merging *m, const gm_record *r, size_t *place, gm_err *err)
{
    if (!gm_id_set_has(&m->ids, r->id)) return gm_fail(err, GM_ERR_DATA, "the id \"%s\" is not in %s", r->id, m->records_path);
    GM_TRY(gm_id_set_add(&m->ids, r->id, 0, place, err));
    if (!has_same_words(r, &m->records.items[*place]))
        return gm_fail(err, GM_ERR_DATA, "the words of \"%s\" are not those in %s: the shard was predicted from another file", r->id, m->records_path);
    return GM_OK;
}

static gm_status read_line(merging *m, part *p, const char *at, size_t size, gm_err *err)
{
    gm_record r = { 0 };
    if (at[size - 1] != '\n') return gm_fail(err, GM_ERR_DATA, "the line has no end: the file is cut; predict the shard again");
    GM_TRY(gm_grow((void **)&p->lines, &p->capacity, p->count, sizeof *p->lines, err));
    line *l = &p->lines[p->count];
    *l = (line){ .text = at, .size = size };
    gm_status status = gm_record_parse(at, size - 1, &r, err);
    if (status == GM_OK) status = find_place(m, &r, &l->place, err);
    gm_record_free(&r);
    if (status == GM_OK && p->count > 0 && l->place == l[-1].place)
        status = gm_fail(err, GM_ERR_DATA, "\"%s\" is answered in the line before already", m->records.items[l->place].id);
    if (status == GM_OK) p->count++;
    return status;
}

static gm_status read_part(merging *m, part *p, gm_err *err)
{
    GM_TRY(gm_file_read(p->path, &p->text, &p->size, err));
    for (const char *at = p->text, *end = at + p->size; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const size_t size = newline != NULL ? (size_t)(newline - at) + 1 : (size_t)(end - at);
        if (read_line(m, p, at, size, err) != GM_OK) return gm_fail_at(err, "%s:%zu", p->path, p->count + 1);
        at += size;
    }
    return gm_shard_note_read(p->path, &p->note, &p->has_note, err);
}

/* Notes say what the records were divided by; without one the smallest step from a line to the next does, and of shards of one
 * line their number. */
static size_t find_shards(const merging *m)
{
    size_t step = 0;
    for (size_t i = 0; i < m->count; i++) {
        const part *p = &m->parts[i];
        if (p->has_note) return (size_t)p->note.shard.count;
        if (p->count > 1 && p->lines[1].place > p->lines[0].place && (step == 0 || p->lines[1].place - p->lines[0].place < step))
            step = p->lines[1].place - p->lines[0].place;
    }
    return step > 0 ? step : m->count;
}

/* The lines of a part are records index, index + shards, ... to the last. */
static gm_status check_lines(const merging *m, const part *p, size_t index, gm_err *err)
{
    const gm_record *records = m->records.items;
    for (size_t k = 0; k < p->count; k++) {
        const size_t expected = index + k * m->shards, place = p->lines[k].place;
        if (place != expected)
            return gm_fail(err, GM_ERR_DATA, "%s:%zu: answers \"%s\", but the next record of shard %zu/%zu is \"%s\": a line is missing or stands twice; predict the shard again",
                           p->path, k + 1, records[place].id, index, m->shards, expected < m->records.count ? records[expected].id : "none");
    }
    const size_t next = index + p->count * m->shards;
    if (next < m->records.count)
        return gm_fail(err, GM_ERR_DATA, "%s: is cut: it ends before \"%s\", %zu records of shard %zu/%zu are there; predict the shard again", p->path,
                       records[next].id, p->count, index, m->shards);
    return GM_OK;
}

static gm_status check_note(const part *p, size_t index, size_t shards, gm_err *err)
{
    char sum[65];
    gm_sha256 h;
    if ((size_t)p->note.shard.index != index)
        return gm_fail(err, GM_ERR_DATA, "%s: holds shard %zu/%zu, but its note says %lld/%zu: was the note moved?", p->path, index, shards,
                       (long long)p->note.shard.index, shards);
    gm_sha256_begin(&h);
    gm_sha256_add(&h, p->text, p->size);
    gm_shard_hex(&h, sum);
    if (strcmp(sum, p->note.sha256) != 0)
        return gm_fail(err, GM_ERR_DATA, "%s: is not the file that %s.shard.json describes: predict the shard again", p->path, p->path);
    return GM_OK;
}

/* Gives the part its place among the shards. One without lines can only be told by its note. */
static gm_status place_part(merging *m, const part *p, gm_err *err)
{
    if (p->count == 0 && !p->has_note) return GM_OK;
    if (p->has_note && (size_t)p->note.shard.count != m->shards)
        return gm_fail(err, GM_ERR_DATA, "%s: is shard %lld/%lld, but others are of %zu shards: merge shards of one division", p->path,
                       (long long)p->note.shard.index, (long long)p->note.shard.count, m->shards);
    const size_t index = p->count > 0 ? p->lines[0].place : (size_t)p->note.shard.index;
    if (index >= m->shards)
        return gm_fail(err, GM_ERR_DATA, "%s: begins with \"%s\", record %zu, but of %zu shards each begins among the first %zu records: its beginning is missing, or it is of another division",
                       p->path, m->records.items[index].id, index, m->shards, m->shards);
    if (m->holder[index] != NULL)
        return gm_fail(err, GM_ERR_DATA, "%s and %s both hold shard %zu/%zu: name each shard once", m->holder[index]->path, p->path, index, m->shards);
    m->holder[index] = p;
    GM_TRY(check_lines(m, p, index, err));
    return p->has_note ? check_note(p, index, m->shards, err) : GM_OK;
}

static gm_status check_same(const part *a, const part *b, gm_err *err)
{
    if (strcmp(a->note.model, b->note.model) != 0)
        return gm_fail(err, GM_ERR_DATA, "%s and %s come from different models (%.12s and %.12s): predict all shards with one", a->path, b->path,
                       a->note.model, b->note.model);
    if (strcmp(a->note.settings, b->note.settings) != 0)
        return gm_fail(err, GM_ERR_DATA, "%s was predicted with \"%s\", %s with \"%s\": predict all shards alike (--cpu-isa makes unlike machines agree)",
                       a->path, a->note.settings, b->path, b->note.settings);
    return GM_OK;
}

static gm_status check_notes(const merging *m, gm_err *err)
{
    const part *first = NULL, *bare = NULL;
    for (size_t i = 0; i < m->count; i++) {
        const part *p = &m->parts[i];
        if (!p->has_note) bare = p;
        else if (first == NULL) first = p;
        else GM_TRY(check_same(first, p, err));
    }
    if (bare != NULL)
        gm_log(GM_LOG_WARN, "merge", "there is no %s.shard.json (gmner predict --out writes it): nobody knows whether all shards come from one model", bare->path);
    return GM_OK;
}

static gm_status check(merging *m, gm_err *err)
{
    m->shards = find_shards(m);
    m->holder = gm_calloc(m->shards, sizeof *m->holder);
    if (m->holder == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu shards", m->shards);
    for (size_t i = 0; i < m->count; i++) GM_TRY(place_part(m, &m->parts[i], err));
    for (size_t i = 0; i < m->shards && i < m->records.count; i++)
        if (m->holder[i] == NULL)
            return gm_fail(err, GM_ERR_DATA, "shard %zu/%zu is missing: none of the %zu files holds \"%s\"; gmner predict --shard %zu/%zu makes it", i, m->shards, m->count,
                           m->records.items[i].id, i, m->shards);
    return check_notes(m, err);
}

static gm_status write_all(const merging *m, const char *path, gm_err *err)
{
    gm_out out = { 0 };
    gm_status status = gm_out_open(&out, path, err);
    for (size_t i = 0; i < m->records.count && status == GM_OK; i++) {
        const line *l = &m->holder[i % m->shards]->lines[i / m->shards];
        status = gm_out_write(&out, l->text, l->size, err);
    }
    if (status == GM_OK) return gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

static gm_status merge(const char *records, const char *const *paths, int count, const char *to, gm_err *err)
{
    merging m = { .records_path = records, .count = (size_t)count };
    m.parts = gm_calloc(m.count, sizeof *m.parts);
    gm_status status = m.parts != NULL ? read_records(&m, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory for %d shards", count);
    for (size_t i = 0; i < m.count && status == GM_OK; i++) {
        m.parts[i].path = paths[i];
        status = read_part(&m, &m.parts[i], err);
    }
    if (status == GM_OK) status = check(&m, err);
    if (status == GM_OK) status = write_all(&m, to, err);
    if (status == GM_OK) gm_log(GM_LOG_INFO, "merge", "%zu records from %zu shards", m.records.count, m.shards);
    for (size_t i = 0; i < m.count && m.parts != NULL; i++) {
        gm_free(m.parts[i].lines);
        gm_free(m.parts[i].text);
    }
    gm_free((void *)m.holder);
    gm_free(m.parts);
    gm_id_set_free(&m.ids);
    gm_records_free(&m.records);
    return status;
}

static int merge_main(int argc, char **argv);
const gm_command gm_merge_command = { "merge", "join the shards of predictions of several processes",
                                      "gmner merge --records FILE [--out FILE] SHARD...", merge_main };

static int merge_main(int argc, char **argv)
{
    gm_err err = { 0 };
    const char *records = NULL, *to = "-";
    bool done = false;
    int count = 0;
    gm_option options[] = {
        { "records", GM_OPT_STR, &records, "FILE", "the records that were predicted, in their order", true },
        { "out", GM_OPT_STR, &to, "FILE", "where all predictions go (default stdout)", false },
    };
    const char **paths = gm_calloc((size_t)argc + 1, sizeof *paths);
    gm_status status = paths != NULL ? GM_OK : gm_fail(&err, GM_ERR_NOMEM, "out of memory for %d words", argc);
    if (status == GM_OK) status = gm_cli_parse(&gm_merge_command, options, (int)GM_LEN(options), paths, argc, &count, argc, argv, &done, &err);
    if (status == GM_OK && !done && count == 0) status = gm_fail(&err, GM_ERR_USAGE, "no shard is named: name the file of each");
    if (status == GM_OK && !done) status = merge(records, paths, count, to, &err);
    gm_free((void *)paths);
    return gm_cli_finish(&gm_merge_command, status, &err);
}
