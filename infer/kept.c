#include "infer/kept.h"

#include "base/file.h"
#include "base/memory.h"

static gm_status add_line(gm_kept *to, const gm_lines *l, gm_err *err)
{
    gm_record r;
    GM_TRY(gm_record_parse(l->line, l->length, &r, err));
    gm_status status = gm_records_add(&to->records, &r, err);
    gm_record_free(&r);
    if (status == GM_OK) status = gm_grow((void **)&to->lines, &to->capacity, to->count, sizeof *to->lines, err);
    if (status != GM_OK) return status;
    to->lines[to->count] = gm_strndup(l->line, l->length);
    return to->lines[to->count++] != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a line");
}

static gm_status read_lines(const char *path, gm_lines *l, gm_kept *to, gm_err *err)
{
    for (;;) {
        bool have;
        GM_TRY(gm_lines_next(l, &have, err));
        if (!have) break;
        if (add_line(to, l, err) != GM_OK) return gm_fail_at(err, "%s:%lld", path, (long long)l->number);
    }
    if (to->count == 0) return gm_fail(err, GM_ERR_DATA, "%s: the file holds no record", path);
    return gm_records_check_ids(&to->records, path, err);
}

gm_status gm_kept_read(const char *path, gm_kept *to, gm_err *err)
{
    gm_lines l;
    *to = (gm_kept){ .count = 0 };
    GM_TRY(gm_lines_open(&l, path, err));
    const gm_status status = read_lines(path, &l, to, err);
    gm_lines_close(&l);
    if (status != GM_OK) gm_kept_free(to);
    return status;
}

gm_status gm_kept_write(const gm_kept *k, const gm_corrections *c, const gm_records *now, const char *folder, gm_err *err)
{
    gm_out out = { 0 };
    gm_buffer b = { 0 };
    char *path = gm_path_join(folder, "predictions.jsonl");
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", folder) : gm_out_open(&out, path, err);
    for (size_t i = 0; i < k->count && status == GM_OK; i++) {
        b.size = 0;
        if (c != NULL && gm_correct_has_touched(c, i)) status = gm_record_write(&now->items[i], &b, err);
        else status = gm_buffer_printf(&b, err, "%s\n", k->lines[i]);
        if (status == GM_OK) status = gm_out_write(&out, b.data, b.size, err);
    }
    if (status == GM_OK) status = gm_out_commit(&out, err);
    else gm_out_abort(&out);
    gm_buffer_free(&b);
    gm_free(path);
    return status;
}

void gm_kept_free(gm_kept *k)
{
    gm_records_free(&k->records);
    for (size_t i = 0; i < k->count; i++) gm_free(k->lines[i]);
    gm_free(k->lines);
    *k = (gm_kept){ .count = 0 };
}
