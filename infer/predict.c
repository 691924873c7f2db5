/* gmner predict: records in, the same records with the model's entities out, in the same order. Lines are answered as they
 * come: while input waits, records gather into packed batches; when none waits, what was gathered is answered. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/log.h"
#include "base/memory.h"
#include "infer/shard.h"
#include "model/look.h"
#include "page/page.h"

/* Lines read straight from a file descriptor, so that it can be asked whether another is waiting. */
typedef struct feed {
    const char *path;
    int fd;
    char *bytes;
    size_t at, end, capacity;
    int64_t line; /* number of the line that next_line gave last */
    bool is_done;
} feed;

static gm_status open_feed(feed *f, const char *path, gm_err *err)
{
    *f = (feed) { .path = strcmp(path, "-") == 0 ? "stdin" : path };
    f->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    return f->fd >= 0 ? GM_OK : gm_fail(err, GM_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
}

static void close_feed(feed *f)
{
    if (f->fd > STDIN_FILENO) close(f->fd);
    gm_free(f->bytes);
}

static gm_status read_more(feed *f, gm_err *err)
{
    if (f->at > 0) {
        memmove(f->bytes, f->bytes + f->at, f->end - f->at);
        f->end -= f->at;
        f->at = 0;
    }
    if (f->capacity - f->end < 65536) {
        const size_t wider = f->capacity ? 2 * f->capacity : 262144;
        char *moved = gm_realloc(f->bytes, wider);
        if (moved == NULL)
            return gm_fail(err, GM_ERR_NOMEM, "%s:%lld: out of memory for a line", f->path, (long long)f->line + 1);
        f->bytes = moved;
        f->capacity = wider;
    }
    ssize_t got;
    do got = read(f->fd, f->bytes + f->end, f->capacity - f->end - 1);
    while (got < 0 && errno == EINTR);
    if (got < 0) return gm_fail(err, GM_ERR_IO, "%s: cannot be read: %s", f->path, strerror(errno));
    f->is_done = got == 0;
    f->end += (size_t)got;
    return GM_OK;
}

static bool has_line(const feed *f) { return f->end > f->at && memchr(f->bytes + f->at, '\n', f->end - f->at) != NULL; }

/* Whether another line can be had without waiting for the writer. */
static bool line_waits(feed *f, gm_err *err)
{
    while (!has_line(f) && !f->is_done) {
        struct pollfd p = { .fd = f->fd, .events = POLLIN };
        if (poll(&p, 1, 0) <= 0) return false;
        if (read_more(f, err) != GM_OK) return false; /* met again by next_line */
    }
    return f->end > f->at;
}

/* The next line, without its end; *line NULL at the end of the input. Valid until the next call. */
static gm_status next_line(feed *f, char **line, size_t *size, gm_err *err)
{
    *line = NULL;
    while (!has_line(f) && !f->is_done) GM_TRY(read_more(f, err));
    if (f->end == f->at) return GM_OK;
    char *end = memchr(f->bytes + f->at, '\n', f->end - f->at);
    const size_t next = end != NULL ? (size_t)(end - f->bytes) + 1 : f->end;
    size_t n = (end != NULL ? next - 1 : next) - f->at;
    if (n > 0 && f->bytes[f->at + n - 1] == '\r') n--;
    *line = f->bytes + f->at;
    *size = n;
    f->at = next;
    f->line++;
    return GM_OK;
}

/* Records that wait for the model, and what is needed to answer them. */
typedef struct answering {
    const gm_model *model;
    gm_workers *workers;
    gm_look *look;   /* NULL: the model sees no pictures */
    gm_record *records;
    gm_sample *samples;
    gm_entity **entities;
    int32_t *found;
    size_t count, capacity;
    int64_t pieces, answered, cut;
    int32_t tokens; /* of a packed batch */
    gm_buffer kept; /* all answers, for the page */
    bool keeps;
    FILE *to;
    gm_sha256 sum;  /* of all answers, for the note of a shard */
} answering;

static gm_status make_room(answering *a, gm_err *err)
{
    if (a->count < a->capacity) return GM_OK;
    const size_t wider = a->capacity ? 2 * a->capacity : 256;
    const struct {
        void **array;
        size_t bytes;
    } all[] = { { (void **)&a->records, sizeof *a->records },
                { (void **)&a->samples, sizeof *a->samples },
                { (void **)&a->entities, sizeof *a->entities },
                { (void **)&a->found, sizeof *a->found } };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        void *moved = gm_realloc(*all[i].array, wider * all[i].bytes);
        if (moved == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu records", wider);
        *all[i].array = moved;
    }
    a->capacity = wider;
    return GM_OK;
}

static gm_status take_line(answering *a, const char *line, size_t size, gm_err *err)
{
    GM_TRY(make_room(a, err));
    GM_TRY(gm_record_parse(line, size, &a->records[a->count], err));
    a->count++;
    return GM_OK;
}

static gm_status write_answers(answering *a, gm_err *err)
{
    gm_buffer out = { 0 };
    gm_status status = GM_OK;
    for (size_t i = 0; i < a->count && status == GM_OK; i++) {
        gm_record answer = a->records[i]; /* the gold is not the model's to see: it is replaced */
        answer.entities = a->entities[i];
        answer.entity_count = a->found[i];
        status = gm_record_write(&answer, &out, err);
    }
    if (status == GM_OK && out.size > 0 && (fwrite(out.data, 1, out.size, a->to) != out.size || fflush(a->to) != 0))
        status = gm_fail(err, GM_ERR_IO, "%s: cannot be written: %s", a->to == stdout ? "stdout" : "--out", strerror(errno));
    if (status == GM_OK && out.size > 0) gm_sha256_add(&a->sum, out.data, out.size);
    if (status == GM_OK && a->keeps) status = gm_buffer_add(&a->kept, out.data, out.size, err);
    gm_buffer_free(&out);
    return status;
}

/* Answers all waiting records. */
static gm_status answer(answering *a, gm_err *err)
{
    size_t made = 0;
    gm_status status = GM_OK;
    for (; made < a->count && status == GM_OK; made++) {
        status = gm_sample_make(&a->samples[made], &a->records[made], a->model->tokenizer, &a->model->labels,
                                a->model->options.max_len, false, err);
        if (status != GM_OK) break;
        a->cut += a->samples[made].text.is_cut;
    }
    if (status == GM_OK && a->look != NULL) status = gm_look_take(a->look, a->workers, a->samples, made, err);
    if (status == GM_OK)
        status = gm_predict(a->model, a->workers, a->samples, a->count, a->tokens, a->entities, a->found, err);
    if (status == GM_OK) {
        status = write_answers(a, err);
        for (size_t i = 0; i < a->count; i++) gm_entities_free(a->entities[i], a->found[i]);
    }
    for (size_t i = 0; i < made; i++) gm_sample_free(&a->samples[i]);
    for (size_t i = 0; i < a->count; i++) gm_record_free(&a->records[i]);
    a->answered += (int64_t)a->count;
    a->count = 0;
    return status;
}

static gm_status answer_feed(answering *a, feed *f, gm_shard s, gm_err *err)
{
    enum { MAX_WAITING = 1024 };
    for (int64_t record = 0;; record++) {
        char *line;
        size_t size;
        GM_TRY(next_line(f, &line, &size, err));
        if (line == NULL && record == 0) return gm_fail(err, GM_ERR_DATA, "%s: the input holds no record", f->path);
        if (line == NULL) break;
        if (record % s.count == s.index && take_line(a, line, size, err) != GM_OK) {
            (void)answer(a, NULL); /* what came before the bad line is answered, however the lines came in */
            return gm_fail_at(err, "%s:%lld", f->path, (long long)f->line);
        }
        if (a->count >= MAX_WAITING || (a->count > 0 && !line_waits(f, err))) GM_TRY(answer(a, err));
    }
    return answer(a, err);
}

/* The answers as a page to look at. */
static gm_status write_page(const answering *a, const char *images, const char *path, gm_err *err)
{
    const gm_page_options o = { .images = images, .limit = 200, .how = { .iou = 0.5 } };
    gm_records all = { 0 };
    gm_status status = GM_OK;
    for (const char *line = a->kept.data, *end = line + a->kept.size; line < end && status == GM_OK;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        gm_record r = { 0 };
        status = gm_record_parse(line, (size_t)(next - line), &r, err);
        if (status == GM_OK) status = gm_records_add(&all, &r, err);
        line = next + 1;
    }
    if (status == GM_OK) status = gm_page_write(&all, NULL, &o, path, err);
    gm_records_free(&all);
    return status;
}

static void free_answering(answering *a)
{
    gm_buffer_free(&a->kept);
    for (size_t i = 0; i < a->count; i++) gm_record_free(&a->records[i]);
    gm_free(a->records);
    gm_free(a->samples);
    gm_free((void *)a->entities);
    gm_free(a->found);
}

typedef struct settings {
    const char *model, *in, *out, *device, *isa, *shard, *precision;
    const char *images, *regions, *features, *vision, *html;
    const char *layers; /* heads, a number or all */
    double dropout;
    int64_t threads, tokens, samples;
    uint64_t seed;
} settings;

static gm_status parse_sampling(const settings *o, gm_sampling *s, gm_err *err)
{
    int64_t layers;
    if (o->samples < 0 || o->samples > 1000000) return gm_fail(err, GM_ERR_USAGE, "--samples is 0 to 1000000, not %lld", (long long)o->samples);
    if (!(o->dropout >= 0.0 && o->dropout < 1.0)) return gm_fail(err, GM_ERR_USAGE, "--sample-dropout is at least 0 and below 1, not %g", o->dropout);
    *s = (gm_sampling){ .samples = (int32_t)o->samples, .p = (float)o->dropout };
    if (strcmp(o->layers, "heads") == 0) return GM_OK;
    s->layers = GM_SAMPLE_ALL;
    if (strcmp(o->layers, "all") == 0) return GM_OK;
    if (gm_parse_int(o->layers, &layers, err) != GM_OK || layers < 1 || layers > GM_ENCODER_MAX_LAYERS)
        return gm_fail(err, GM_ERR_USAGE, "--sample-layers is heads, all, or the number of last layers of the encoder, not \"%s\"", o->layers);
    s->layers = (int32_t)layers;
    return GM_OK;
}

/* The note beside the shard's file: what merging asks of all shards to be the same. */
static gm_status write_note(const settings *o, const gm_backend *b, const gm_model *m, gm_shard s, answering *a, gm_err *err)
{
    gm_shard_note note = { .shard = s, .records = a->answered };
    gm_shard_hex(&a->sum, note.sha256);
    gm_shard_name_model(m, note.model);
    (void)snprintf(note.settings, sizeof note.settings, "%s %s %s, %lld samples of %s at %g by seed %llu%s", b->name, b->isa, o->precision, (long long)o->samples,
                   o->layers, o->dropout, (unsigned long long)o->seed, a->look != NULL ? ", with pictures" : "");
    return gm_shard_note_write(&note, o->out, err);
}

/* Answers go to stdout as they are made, or to a file that has its name only when it is whole. */
static gm_status answer_into(const settings *o, const gm_backend *b, const gm_model *m, gm_shard s, answering *a, feed *f, gm_err *err)
{
    gm_out out = { 0 };
    a->to = stdout;
    gm_sha256_begin(&a->sum);
    if (o->out == NULL || strcmp(o->out, "-") == 0) return answer_feed(a, f, s, err);
    GM_TRY(gm_out_open(&out, o->out, err));
    a->to = out.file;
    gm_status status = answer_feed(a, f, s, err);
    if (status == GM_OK && o->shard != NULL) status = write_note(o, b, m, s, a, err);
    if (status == GM_OK) return gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

static gm_status predict(const settings *o, gm_err *err)
{
    gm_backend backend;
    gm_model model = { 0 };
    gm_workers workers = { 0 };
    feed f = { .fd = -1 };
    gm_look *look = NULL;
    gm_shard s = { 0, 1 };
    if (o->threads < 1 || o->threads > 1024)
        return gm_fail(err, GM_ERR_USAGE, "--threads is 1 to 1024, not %lld", (long long)o->threads);
    if (o->tokens < 16 || o->tokens > 1 << 20)
        return gm_fail(err, GM_ERR_USAGE, "--tokens is 16 to %d, not %lld", 1 << 20, (long long)o->tokens);
    if (o->shard != NULL) GM_TRY(gm_shard_parse(o->shard, &s, err));
    if (strcmp(o->precision, "fp32") != 0 && strcmp(o->precision, "bf16") != 0)
        return gm_fail(err, GM_ERR_USAGE, "--precision is fp32 or bf16, not \"%s\"", o->precision);
    gm_sampling sampling;
    GM_TRY(parse_sampling(o, &sampling, err));
    GM_TRY(gm_backend_open(o->device, o->isa, strcmp(o->precision, "bf16") == 0 ? GM_BF16 : GM_FP32, &backend, err));
    gm_status status = gm_model_load(o->model, false, &model, err);
    int32_t layer;
    if (status == GM_OK) status = gm_sampling_layer(&sampling, &model, &layer, err);
    if (status == GM_OK) status = gm_workers_create(&workers, &backend, (int32_t)o->threads, err);
    if (status == GM_OK) status = gm_workers_error(&workers, gm_workers_set_step(&workers, &(gm_step){ .seed = o->seed }), err);
    workers.sampling = sampling;
    if (status == GM_OK) status = gm_workers_error(&workers, gm_params_place(&model.params, workers.whole), err);
    if (status == GM_OK) status = gm_params_pack(&model.params, err);
    if (status == GM_OK) status = gm_look_open_for(&model, o->images, o->regions, o->features, o->vision, &look, err);
    if (status == GM_OK) status = open_feed(&f, o->in, err);
    answering a = { .model = &model, .workers = &workers, .look = look, .tokens = (int32_t)o->tokens, .keeps = o->html != NULL };
    if (status == GM_OK) status = answer_into(o, &backend, &model, s, &a, &f, err);
    if (status == GM_OK && o->html != NULL) status = write_page(&a, o->images, o->html, err);
    if (status == GM_OK)
        gm_log(GM_LOG_INFO, "predict", "%lld records, %lld of them cut at the model's length", (long long)a.answered,
               (long long)a.cut);
    if (status == GM_OK && look != NULL) gm_look_report(look);
    free_answering(&a);
    close_feed(&f);
    gm_look_close(look);
    gm_model_destroy(&model);
    gm_workers_destroy(&workers);
    return status;
}

static int predict_main(int argc, char **argv);
const gm_command gm_predict_command = { "predict", "find entities: records in, records with predictions out",
                                        "gmner predict --model DIR [--in FILE] < records.jsonl > predictions.jsonl",
                                        predict_main };

static int predict_main(int argc, char **argv)
{
    settings o = { .in = "-", .images = "", .regions = "", .features = "", .device = "cpu", .isa = "auto", .precision = "fp32", .threads = 2,
                   .tokens = 2048, .layers = "heads", .dropout = 0.1, .seed = 42 };
    gm_option options[] = {
        { "model", GM_OPT_STR, &o.model, "DIR", "run folder (its best/) or model folder", true },
        { "in", GM_OPT_STR, &o.in, "FILE", "records, one a line; - is stdin", false },
        { "out", GM_OPT_STR, &o.out, "FILE", "where predictions go when all are made, with a note for gmner merge beside a shard; default: stdout, as they are made", false },
        { "images", GM_OPT_STR, &o.images, "DIR", "folder of the pictures that records name, for a model that sees them", false },
        { "regions", GM_OPT_STR, &o.regions, "PATH", "proposals: folder of <image>.npz, or a .jsonl of boxes; else windows of several sizes", false },
        { "features", GM_OPT_STR, &o.features, "DIR", "folder where features of regions are kept from run to run", false },
        { "vision", GM_OPT_STR, &o.vision, "DIR", "the vision encoder whose features the model reads, where it is not where it was in training", false },
        { "html", GM_OPT_STR, &o.html, "FILE", "also write a page that shows the first 200 of them", false },
        { "shard", GM_OPT_STR, &o.shard, "I/N", "only every N-th record from the I-th on (I from 0)", false },
        { "threads", GM_OPT_INT, &o.threads, "N", "worker threads; results do not depend on it", false },
        { "tokens", GM_OPT_INT, &o.tokens, "N", "pieces of a packed batch", false },
        { "device", GM_OPT_STR, &o.device, "NAME", "cpu, cuda, sim or auto", false },
        { "precision", GM_OPT_STR, &o.precision, "NAME", "fp32 or bf16", false },
        { "samples", GM_OPT_INT, &o.samples, "T", "samples of dropout for the uncertainty of each entity; 0: none", false },
        { "sample-layers", GM_OPT_STR, &o.layers, "N", "heads, so many last layers of the encoder as well, or all", false },
        { "sample-dropout", GM_OPT_NUM, &o.dropout, "P", "probability of dropping in samples", false },
        { "sample-seed", GM_OPT_U64, &o.seed, "N", "seed of the samples", false },
        { "cpu-isa", GM_OPT_STR, &o.isa, "NAME", "instruction set of the cpu kernels: auto, v2, v3 or v4", false },
    };
    bool done = false;
    gm_err err = { 0 };
    gm_status status =
        gm_cli_parse(&gm_predict_command, options, (int)GM_LEN(options), NULL, 0, NULL, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK) status = predict(&o, &err);
    return gm_cli_finish(&gm_predict_command, status, &err);
}
