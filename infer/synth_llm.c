/* gmner synth --llm: one request a labelled sample, and training data of what holds (stage 1 of ReFineG; docs/synthesis.md). Nothing is
 * written before all requests are done, so a stopped run leaves its answers in the cache and no half set. */
#include "infer/synth_llm.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/tagged.h"
#include "infer/stage.h"
#include "mllm/synthesis.h"

static const gm_command llm_command = { "synth", "has a language model write sentences like labelled ones, as training data",
                                        "gmner synth --llm --in FILE --endpoint FILE --out DIR [--cache FILE] [--sentences N] [--more N] ...",
                                        gm_synth_llm_main };

enum { TOKENS_A_SENTENCE = 120 }; /* 30 words and their entities as JSON, in scripts that take more tokens as well */

typedef struct settings {
    const char *in, *out, *types;
    int64_t sentences, more, min_words, max_words, max_tokens;
    double dev_share;
    uint64_t seed;
    bool is_llm, keeps_partial;
} settings;

/* What became of a sample's request. */
typedef struct fate {
    gm_mllm_outcome outcome;
    bool is_read;       /* there are sentences in its answer */
    char *why;          /* where there are not */
} fate;

typedef struct run {
    const settings *s;
    gm_stage stage;
    gm_records samples;
    gm_type_set types;
    gm_synthesis_order order;
    gm_synthesis_rules rules;
    char *schema, *id;
    gm_prompt_message message;
    size_t next;
    gm_sentences *made;  /* [samples] */
    fate *fates;         /* [samples] */
    bool *is_dev;        /* [samples] */
    gm_records train, dev;
    gm_synthesis_counts counts;
} run;

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for requests"); }

/* ---- asking ---- */

static gm_status next_request(void *user, gm_mllm_request *request, bool *have, gm_err *err)
{
    run *r = user;
    *have = r->next < r->samples.count;
    if (!*have) return GM_OK;
    const gm_record *sample = &r->samples.items[r->next];
    gm_buffer id = { 0 };
    gm_prompt_message_free(&r->message);
    gm_free(r->id);
    r->id = NULL;
    GM_TRY(gm_synthesis_message(&r->order, sample, &r->message, err));
    GM_TRY(gm_buffer_printf(&id, err, "%s:synth", sample->id));
    r->id = id.data;
    request->id = r->id;
    request->system = r->message.system;
    request->parts = r->message.parts;
    request->part_count = r->message.part_count;
    request->max_tokens = (int32_t)(r->s->max_tokens > 0 ? r->s->max_tokens : TOKENS_A_SENTENCE * (r->s->sentences + r->s->more));
    request->temperature = 0.1;
    request->schema_name = "sentences";
    request->schema = r->schema;
    request->tag = &r->fates[r->next++];
    return GM_OK;
}

static gm_status got_answer(void *user, const gm_mllm_answer *answer, gm_err *err)
{
    run *r = user;
    fate *f = answer->tag;
    gm_err why = { 0 };
    f->outcome = answer->outcome;
    if (answer->outcome <= GM_MLLM_CACHED) {
        const gm_status status = gm_synthesis_read(answer->text, answer->text_bytes, &r->rules, &r->made[f - r->fates], &why);
        if (status != GM_OK && status != GM_ERR_DATA) return gm_fail(err, status, "%s", why.text);
        f->is_read = status == GM_OK;
    }
    if (f->is_read) return GM_OK;
    f->why = gm_strdup(answer->outcome <= GM_MLLM_CACHED ? why.text : answer->why);
    return f->why != NULL ? GM_OK : no_memory(err);
}

/* ---- what is written ---- */

static gm_status write_file(const char *folder, const char *name, const gm_buffer *b, gm_err *err)
{
    return gm_file_write_in(folder, name, b->data != NULL ? b->data : "", b->size, err); /* a buffer that nothing was added to has no data */
}

/* A set as records and as tagged text. A set without a sentence is an empty file, which no command takes for data. */
static gm_status write_set(const char *folder, const char *name, const gm_records *set, gm_err *err)
{
    gm_buffer records = { 0 }, tagged = { 0 };
    gm_status status = GM_OK;
    char file[32];
    for (size_t i = 0; i < set->count && status == GM_OK; i++) {
        status = gm_record_write(&set->items[i], &records, err);
        if (status == GM_OK) status = gm_tagged_write(&set->items[i], &tagged, err);
    }
    snprintf(file, sizeof file, "%s.jsonl", name);
    if (status == GM_OK) status = write_file(folder, file, &records, err);
    snprintf(file, sizeof file, "%s.conll", name);
    if (status == GM_OK) status = write_file(folder, file, &tagged, err);
    gm_buffer_free(&records);
    gm_buffer_free(&tagged);
    return status;
}

/* A line for each sample that no sentence came of; *count of them. */
static gm_status write_failed(const run *r, int64_t *count, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status = GM_OK;
    *count = 0;
    for (size_t i = 0; i < r->samples.count && status == GM_OK; i++) {
        const fate *f = &r->fates[i];
        if (f->is_read) continue;
        (*count)++;
        status = gm_buffer_printf(&b, err, "{\"id\": ");
        if (status == GM_OK) status = gm_buffer_json_string(&b, r->samples.items[i].id, err);
        if (status == GM_OK)
            status = gm_buffer_printf(&b, err, ", \"outcome\": \"%s\", \"why\": ", f->outcome <= GM_MLLM_CACHED ? "unreadable" : gm_mllm_outcome_names[f->outcome]);
        if (status == GM_OK) status = gm_buffer_json_string(&b, f->why, err);
        if (status == GM_OK) status = gm_buffer_printf(&b, err, "}\n");
    }
    if (status == GM_OK) status = write_file(r->s->out, "failed.jsonl", &b, err);
    gm_buffer_free(&b);
    return status;
}

/* Entities of each type of the set, as the members of an object. */
static gm_status add_by_type(const run *r, gm_buffer *b, gm_err *err)
{
    const gm_records *const sets[] = { &r->train, &r->dev };
    for (int32_t k = 0; k < r->types.shown.count; k++) {
        int64_t count = 0;
        for (size_t s = 0; s < GM_LEN(sets); s++) {
            for (size_t i = 0; i < sets[s]->count; i++) {
                const gm_record *one = &sets[s]->items[i];
                for (int32_t e = 0; e < one->entity_count; e++)
                    count += strcmp(one->entities[e].type, r->types.coarse[k]) == 0 &&
                             (r->types.fine[k] == NULL || (one->entities[e].fine != NULL && strcmp(one->entities[e].fine, r->types.fine[k]) == 0));
            }
        }
        GM_TRY(gm_buffer_printf(b, err, k > 0 ? ", " : ""));
        GM_TRY(gm_buffer_json_string(b, r->types.shown.names[k], err));
        GM_TRY(gm_buffer_printf(b, err, ": %lld", (long long)count));
    }
    return GM_OK;
}

static gm_status add_report(const run *r, int64_t failed, gm_buffer *b, gm_err *err)
{
    const gm_synthesis_counts *c = &r->counts;
    GM_TRY(gm_buffer_printf(b, err, "{\"samples\": %zu, \"failed\": %lld, \"sentences\": {\"made\": %lld, \"kept\": %lld, \"train\": %lld, \"dev\": %lld, \"rejected\": {",
                            r->samples.count, (long long)failed, (long long)c->made, (long long)c->kept, (long long)c->train, (long long)c->dev));
    for (int f = 0; f < GM_SYNTHESIS_FAULTS; f++)
        GM_TRY(gm_buffer_printf(b, err, "%s\"%s\": %lld", f > 0 ? ", " : "", gm_synthesis_names[f], (long long)c->of[f]));
    GM_TRY(gm_buffer_printf(b, err, "}}, \"entities\": {\"kept\": %lld, \"by_type\": {", (long long)c->entities));
    GM_TRY(add_by_type(r, b, err));
    GM_TRY(gm_buffer_printf(b, err, "}, \"retyped\": %lld, \"nested\": %lld, \"inside_words\": %lld, \"left_out\": %lld}, \"endpoint\": ",
                            (long long)c->retyped, (long long)c->nested, (long long)c->inside_words, (long long)c->left_out));
    GM_TRY(gm_stage_report(&r->stage, b, err));
    return gm_buffer_printf(b, err, "}\n");
}

static gm_status write_all(run *r, gm_err *err)
{
    gm_buffer report = { 0 };
    int64_t failed;
    GM_TRY(gm_make_dirs(r->s->out, err));
    GM_TRY(write_set(r->s->out, "train", &r->train, err));
    GM_TRY(write_set(r->s->out, "dev", &r->dev, err));
    GM_TRY(write_failed(r, &failed, err));
    gm_status status = add_report(r, failed, &report, err);
    if (status == GM_OK) status = write_file(r->s->out, "report.json", &report, err);
    gm_buffer_free(&report);
    GM_TRY(status);
    gm_log(GM_LOG_INFO, "synth", "%lld sentences, %lld kept: %lld for training, %lld for development", (long long)r->counts.made,
           (long long)r->counts.kept, (long long)r->counts.train, (long long)r->counts.dev);
    if (failed > 0) gm_log(GM_LOG_WARN, "synth", "%lld of %zu samples got no sentences: %s/failed.jsonl names them", (long long)failed, r->samples.count, r->s->out);
    if (r->counts.train == 0)
        return gm_fail(err, GM_ERR_DATA, "%s: there is no sentence for training: report.json counts why, failed.jsonl names the requests that failed", r->s->out);
    return GM_OK;
}

/* ---- the run ---- */

static gm_status prepare(run *r, gm_err *err)
{
    char *folder;
    GM_TRY(gm_records_load(r->s->in, &r->samples, err));
    GM_TRY(r->s->types != NULL ? gm_type_set_parse(r->s->types, &r->types, err) : gm_type_set_of(&r->samples, &r->types, err));
    if (r->types.shown.count == 0)
        return gm_fail(err, GM_ERR_DATA, "%s: no sample has an entity, so there are no types to ask for: name them by --types", r->s->in);
    r->order.types = r->rules.types = &r->types;
    GM_TRY(gm_stage_prompts(&r->stage, &folder, err));
    gm_status status = gm_prompt_read(GM_PROMPT_synthesis, folder, &r->order.prompts[0], err);
    if (status == GM_OK) status = gm_prompt_read(GM_PROMPT_synthesis_empty, folder, &r->order.prompts[1], err);
    gm_free(folder);
    GM_TRY(status);
    GM_TRY(gm_synthesis_schema(&r->types, &r->schema, err));
    r->made = gm_calloc(r->samples.count, sizeof *r->made);
    r->fates = gm_calloc(r->samples.count, sizeof *r->fates);
    r->is_dev = gm_calloc(r->samples.count, sizeof *r->is_dev);
    return r->made == NULL || r->fates == NULL || r->is_dev == NULL ? no_memory(err) : GM_OK;
}

static void free_run(run *r)
{
    for (size_t i = 0; i < r->samples.count; i++) {
        if (r->made != NULL) gm_sentences_free(&r->made[i]);
        if (r->fates != NULL) gm_free(r->fates[i].why);
    }
    gm_free(r->made);
    gm_free(r->fates);
    gm_free(r->is_dev);
    gm_free(r->schema);
    gm_free(r->id);
    gm_prompt_message_free(&r->message);
    gm_prompt_free(&r->order.prompts[0]);
    gm_prompt_free(&r->order.prompts[1]);
    gm_type_set_free(&r->types);
    gm_records_free(&r->samples);
    gm_records_free(&r->train);
    gm_records_free(&r->dev);
    gm_stage_close(&r->stage);
}

static gm_status synthesise(run *r, gm_err *err)
{
    GM_TRY(prepare(r, err));
    GM_TRY(gm_stage_open(&r->stage, "synth", err));
    GM_TRY(gm_stage_ask(&r->stage, (int64_t)r->samples.count, next_request, got_answer, r, err));
    gm_stage_tell(&r->stage);
    if (r->stage.is_estimate) return GM_OK;
    GM_TRY(gm_synthesis_split(&r->samples, r->s->dev_share, r->s->seed, r->is_dev, err));
    GM_TRY(gm_synthesis_collect(&r->samples, r->made, r->is_dev, &r->train, &r->dev, &r->counts, err));
    return write_all(r, err);
}

static gm_status in_range(const char *option, int64_t value, int64_t least, int64_t most, gm_err *err)
{
    if (value >= least && value <= most) return GM_OK;
    return gm_fail(err, GM_ERR_USAGE, "%s is %lld; it is a whole number from %lld to %lld", option, (long long)value, (long long)least, (long long)most);
}

static gm_status check(const settings *s, const gm_stage *stage, gm_err *err)
{
    if (s->out == NULL && !stage->is_estimate) return gm_fail(err, GM_ERR_USAGE, "--out DIR is missing: the sentences go there");
    GM_TRY(in_range("--sentences", s->sentences, 1, 1000, err));
    GM_TRY(in_range("--more", s->more, 0, 1000, err));
    GM_TRY(in_range("--min-words", s->min_words, 1, 10000, err));
    GM_TRY(in_range("--max-words", s->max_words, s->min_words, 10000, err));
    GM_TRY(in_range("--max-tokens", s->max_tokens, 0, 1000000, err));
    if (s->dev_share >= 0 && s->dev_share < 1) return GM_OK;
    return gm_fail(err, GM_ERR_USAGE, "--dev-share is %g; it is 0 to below 1", s->dev_share);
}

bool gm_synth_wants_llm(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--llm") == 0) return true;
    return false;
}

int gm_synth_llm_main(int argc, char **argv)
{
    gm_err err = { 0 };
    bool done = false;
    int words = 0;
    settings s = { .sentences = 20, .more = 10, .min_words = 4, .max_words = 60, .dev_share = 0.25, .seed = 42 };
    run r = { .s = &s };
    gm_option options[] = {
        { "llm", GM_OPT_FLAG, &s.is_llm, NULL, "this", false },
        { "in", GM_OPT_STR, &s.in, "FILE", "labelled records", true },
        { "out", GM_OPT_STR, &s.out, "DIR", "folder of train, dev (.jsonl and .conll), failed.jsonl and report.json", false },
        GM_STAGE_OPTIONS(&r.stage),
        { "sentences", GM_OPT_INT, &s.sentences, "N", "sentences with the sample's entities (default 20)", false },
        { "more", GM_OPT_INT, &s.more, "N", "new names, and sentences with them (default 10)", false },
        { "types", GM_OPT_STR, &s.types, "LIST", "types, parted by commas (default: those of the records)", false },
        { "min-words", GM_OPT_INT, &s.min_words, "N", "shorter sentences are not taken (default 4)", false },
        { "max-words", GM_OPT_INT, &s.max_words, "N", "longer ones neither (default 60)", false },
        { "keep-partial", GM_OPT_FLAG, &s.keeps_partial, NULL, "where an entity does not hold, leave it out and take its sentence", false },
        { "dev-share", GM_OPT_NUM, &s.dev_share, "X", "share of the samples whose sentences go to dev (default 0.25)", false },
        { "seed", GM_OPT_U64, &s.seed, "S", "of the choice of these samples", false },
        { "max-tokens", GM_OPT_INT, &s.max_tokens, "N", "of an answer (default: 120 a sentence)", false },
    };
    gm_status status = gm_cli_parse(&llm_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status == GM_OK && !done) status = check(&s, &r.stage, &err);
    if (status == GM_OK && !done) {
        r.order.sentences = (int32_t)s.sentences;
        r.order.more = (int32_t)s.more;
        r.rules = (gm_synthesis_rules) { .min_words = (int32_t)s.min_words, .max_words = (int32_t)s.max_words, .keeps_partial = s.keeps_partial };
        status = synthesise(&r, &err);
        free_run(&r);
    }
    return gm_cli_finish(&llm_command, status, &err);
}
