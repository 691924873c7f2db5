/* gmner plan: what a run would need on other machines, before it is queued there: memory, time of a step and what ranks tell
 * each other. Counts come from the program's own step (model/plan.h) and from docs/ranks.md; rates from a table of hardware. */
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/config.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "infer/plan_hardware.h"
#include "model/plan.h"

/* Sizes that cannot be had without their weights, from the makers' config.json. */
static const struct {
    const char *name, *family;
    int vocabulary, hidden, layers, heads, ffn, positions, types;
} known[] = {
    { "bert-base", "bert", 30522, 768, 12, 12, 3072, 512, 2 },
    { "roberta-large", "roberta", 50265, 1024, 24, 16, 4096, 514, 1 },
    { "xlm-r-large", "xlm-roberta", 250002, 1024, 24, 16, 4096, 514, 1 },
};

typedef struct settings {
    const char *config, *model, *hardware, *table;
    gm_str_list sets;
    int64_t ranks, nodes, pieces, words;
    bool is_json;
} settings;

/* All that is printed; bytes and seconds, of one rank and one step. */
typedef struct estimate {
    gm_plan plan;
    int64_t shards, own_shards, workers, touched;
    double weights, gradients, moments, average, activations, received, memory;
    double flops, moved, sent_dense, sent;
    double products_s, memory_s, sent_s, step_s;
} estimate;

static gm_status model_text(const settings *s, const gm_config *c, gm_buffer *text, char **place, gm_err *err)
{
    const char *name = s->model != NULL ? s->model : gm_config_str(c, GM_KEY_ENCODER);
    for (size_t i = 0; i < GM_LEN(known); i++) {
        if (strcmp(name, known[i].name) != 0) continue;
        *place = gm_strdup(name);
        return gm_buffer_printf(text, err, "{\"model_type\": \"%s\", \"vocab_size\": %d, \"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
                                "\"intermediate_size\": %d, \"hidden_act\": \"gelu\", \"max_position_embeddings\": %d, \"type_vocab_size\": %d, \"layer_norm_eps\": 1e-5}",
                                known[i].family, known[i].vocabulary, known[i].hidden, known[i].layers, known[i].heads, known[i].ffn, known[i].positions, known[i].types);
    }
    *place = gm_path_join(name, "config.json");
    if (*place == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (!gm_path_exists(*place))
        return gm_fail(err, GM_ERR_USAGE, "--model is \"%s\"; it is bert-base, roberta-large, xlm-r-large or a folder with a config.json", name);
    char *bytes = NULL;
    size_t size;
    GM_TRY(gm_file_read(*place, &bytes, &size, err));
    const gm_status status = gm_buffer_add(text, bytes, size, err);
    gm_free(bytes);
    return status;
}

static gm_status make_model(const settings *s, const gm_config *c, gm_model *m, gm_err *err)
{
    gm_buffer text = { 0 };
    char *place = NULL;
    const char *labels = gm_labels_of_format(gm_config_str(c, GM_KEY_DATA_FORMAT)), *shape = gm_config_str(c, GM_KEY_SHAPE);
    gm_model_options o = { .head = strcmp(gm_config_str(c, GM_KEY_HEAD), "crf") == 0 ? GM_HEAD_CRF : GM_HEAD_SPAN,
                           .scheme = strcmp(gm_config_str(c, GM_KEY_TAGS), "bioes") == 0 ? GM_TAGS_BIOES : GM_TAGS_BIO,
                           .dense_embedding = gm_config_bool(c, GM_KEY_DENSE_EMBEDDING),
                           .recomputes = gm_config_bool(c, GM_KEY_CHECKPOINTING),
                           .max_len = (int32_t)gm_config_int(c, GM_KEY_MAX_LEN),
                           .dropout = (float)gm_config_num(c, GM_KEY_DROPOUT) };
    if (strcmp(gm_config_str(c, GM_KEY_VISION), "none") != 0 || gm_config_bool(c, GM_KEY_FINE))
        return gm_fail(err, GM_ERR_CONFIG, "plan: pictures and fine types are not counted yet; plan the text with --set vision=none --set fine=false");
    for (int i = 0; i < GM_SHAPE_USES; i++)
        if (strcmp(shape, gm_shape_use_names[i]) == 0) o.shape = (gm_shape_use)i;
    gm_status status = model_text(s, c, &text, &place, err);
    if (status == GM_OK) status = gm_model_create_bare(place, text.data, text.size, labels != NULL ? labels : "PER,LOC,ORG,OTHER", &o, m, err);
    gm_free(place);
    gm_buffer_free(&text);
    return status;
}

static double smaller(double a, double b) { return a < b ? a : b; }

static gm_status count(const settings *s, const gm_config *c, gm_float_type type, estimate *e, gm_err *err)
{
    gm_model m = { 0 };
    const int64_t batch = gm_config_int(c, GM_KEY_BATCH), asked = gm_config_int(c, GM_KEY_SHARDS);
    e->shards = asked > s->ranks ? asked : s->ranks; /* each rank needs one */
    e->own_shards = (e->shards + s->ranks - 1) / s->ranks;
    const gm_plan_load load = { (int32_t)((batch + e->shards - 1) / e->shards), (int32_t)s->pieces, (int32_t)s->words };
    GM_TRY(make_model(s, c, &m, err));
    const gm_status status = gm_plan_count(&m, type, &load, &e->plan, err);
    gm_model_destroy(&m);
    const int64_t rows = e->plan.table_cols > 0 ? e->plan.table / e->plan.table_cols : 0;
    e->touched = (int64_t)smaller((double)(batch * s->pieces), (double)rows);
    return status;
}

/* Memory of a rank. Every rank holds all weights and moments; gradients once a shard of its own. */
static void add_memory(const settings *s, const gm_config *c, gm_float_type type, const gm_hardware *h, estimate *e)
{
    const gm_plan *p = &e->plan;
    const double all = (double)p->parameters, trained = (double)(p->dense + p->table);
    const int64_t threads = gm_config_int(c, GM_KEY_THREADS);
    e->workers = !h->is_here ? 1 : threads < e->own_shards ? threads : e->own_shards;
    e->weights = 4.0 * all + (type == GM_BF16 ? 2.0 * (double)(p->dense + p->frozen) : 0.0);
    e->moments = 8.0 * trained;
    e->average = gm_config_num(c, GM_KEY_AVERAGE) > 0.0 && h->is_here ? 4.0 * trained : 0.0;
    e->gradients = 4.0 * (double)e->own_shards * ((double)p->dense + (double)(e->touched * p->table_cols));
    e->activations = (double)e->workers * (double)p->arena;
    /* What others send of the piece that this rank sums (docs/ranks.md); the launcher's library takes some more. */
    e->received = 4.0 * ((double)p->dense + (double)(e->touched * p->table_cols)) * (double)(s->ranks - 1) / (double)s->ranks;
    e->memory = e->weights + e->moments + e->average + e->gradients + e->activations + e->received;
}

/* Time of a step: products at the rate they reach, everything else at the speed of memory, transfers as if nothing went on
 * beside them. */
static void add_time(const settings *s, gm_float_type type, const gm_hardware *h, estimate *e)
{
    const gm_plan *p = &e->plan;
    const double ranks = (double)s->ranks, shards = (double)e->own_shards;
    const double rate = h->flops[type] / (h->is_here ? ranks : 1.0), bandwidth = h->bandwidth / (h->is_here ? ranks : 1.0);
    const double changed = (double)p->dense + (double)(e->touched * p->table_cols);
    e->flops = shards * (p->forward + p->backward);
    /* Each activation is written once and read twice; gradients are written, added and read; AdamW touches seven numbers. */
    e->moved = shards * 3.0 * (double)p->arena + shards * 12.0 * changed + 28.0 * changed / ranks;
    e->sent_dense = 2.0 * 4.0 * (double)p->dense * (ranks - 1.0) / ranks; /* docs/ranks.md */
    e->sent = e->sent_dense + 2.0 * 4.0 * (double)(e->touched * p->table_cols) * (ranks - 1.0) / ranks;
    e->products_s = rate > 0.0 ? e->flops / rate : 0.0;
    e->memory_s = e->moved / bandwidth;
    e->sent_s = ranks > 1.0 ? e->sent / (s->nodes > 1 ? h->network : h->link) : 0.0;
    e->step_s = e->products_s + e->memory_s + e->sent_s;
}

static void print_text(const settings *s, const gm_config *c, const gm_hardware *h, const estimate *e)
{
    const double pieces = (double)(gm_config_int(c, GM_KEY_BATCH) * s->pieces);
    printf("model        %.1f million parameters, %.1f of them trained as blocks, %.1f rows of the word embedding\n", 1e-6 * (double)e->plan.parameters,
           1e-6 * (double)e->plan.dense, 1e-6 * (double)e->plan.table);
    printf("hardware     %s (%s): %.2f TFLOP/s of products in %s, %.0f GB/s, %.0f GB\n", h->name, h->from,
           1e-12 * h->flops[strcmp(gm_config_str(c, GM_KEY_PRECISION), "bf16") == 0], gm_config_str(c, GM_KEY_PRECISION), 1e-9 * h->bandwidth, 1e-9 * h->memory);
    printf("step         %lld sentences of %lld pieces and %lld words in %lld shards on %lld ranks\n", (long long)gm_config_int(c, GM_KEY_BATCH), (long long)s->pieces,
           (long long)s->words, (long long)e->shards, (long long)s->ranks);
    printf("memory       %8.0f MB a rank: weights %.0f, moments %.0f, average %.0f, gradients of %lld shards %.0f, activations of %lld workers %.0f, received %.0f%s\n", 1e-6 * e->memory,
           1e-6 * e->weights, 1e-6 * e->moments, 1e-6 * e->average, (long long)e->own_shards, 1e-6 * e->gradients, (long long)e->workers, 1e-6 * e->activations, 1e-6 * e->received,
           e->memory * (h->is_here ? (double)s->ranks : 1.0) > h->memory ? "; it does NOT fit" : "");
    printf("products     %8.1f GFLOP a rank: %.1f ms\n", 1e-9 * e->flops, 1e3 * e->products_s);
    printf("memory moved %8.1f GB a rank: %.1f ms\n", 1e-9 * e->moved, 1e3 * e->memory_s);
    printf("sent         %8.1f MB a rank: %.1f ms (part of it goes on while the rank computes)\n", 1e-6 * e->sent, 1e3 * e->sent_s);
    printf("time         %8.1f ms a step, %.0f pieces/s\n", 1e3 * e->step_s, pieces / e->step_s);
}

static void print_json(const settings *s, const gm_hardware *h, const estimate *e)
{
    printf("{\"parameters\": %lld, \"dense\": %lld, \"table\": %lld, \"frozen\": %lld,\n", (long long)e->plan.parameters, (long long)e->plan.dense, (long long)e->plan.table,
           (long long)e->plan.frozen);
    printf(" \"hardware\": \"%s\", \"ranks\": %lld, \"shards\": %lld, \"workers\": %lld, \"touched_rows\": %lld,\n", h->name, (long long)s->ranks, (long long)e->shards,
           (long long)e->workers, (long long)e->touched);
    printf(" \"memory\": {\"weights\": %.0f, \"moments\": %.0f, \"average\": %.0f, \"gradients\": %.0f, \"activations\": %.0f, \"received\": %.0f, \"all\": %.0f, \"of\": %.0f},\n", e->weights, e->moments,
           e->average, e->gradients, e->activations, e->received, e->memory, h->memory);
    printf(" \"shard\": {\"forward_flops\": %.0f, \"backward_flops\": %.0f, \"arena\": %zu},\n", e->plan.forward, e->plan.backward, e->plan.arena);
    printf(" \"step\": {\"flops\": %.0f, \"moved\": %.0f, \"sent_dense\": %.0f, \"sent\": %.0f, \"products_s\": %.6g, \"memory_s\": %.6g, \"sent_s\": %.6g, \"s\": %.6g}}\n", e->flops, e->moved, e->sent_dense, e->sent,
           e->products_s, e->memory_s, e->sent_s, e->step_s);
}

static gm_status check(const settings *s, gm_err *err)
{
    if (s->ranks < 1 || s->ranks > 4096) return gm_fail(err, GM_ERR_USAGE, "--gpus is 1 to 4096, not %lld", (long long)s->ranks);
    if (s->nodes < 1 || s->nodes > s->ranks) return gm_fail(err, GM_ERR_USAGE, "--nodes is 1 to the number of ranks, not %lld", (long long)s->nodes);
    if (s->words < 1 || s->pieces < s->words + 2 || s->pieces > 4096)
        return gm_fail(err, GM_ERR_USAGE, "--pieces is at least --words and two, at most 4096; not %lld of %lld words", (long long)s->pieces, (long long)s->words);
    return GM_OK;
}

static gm_status plan(const settings *s, gm_config *c, gm_err *err)
{
    estimate e = { 0 };
    gm_hardware h;
    if (s->config != NULL) GM_TRY(gm_config_load(c, s->config, err));
    for (int i = 0; i < s->sets.count; i++) GM_TRY(gm_config_set(c, s->sets.items[i], err));
    GM_TRY(check(s, err));
    const gm_float_type type = strcmp(gm_config_str(c, GM_KEY_PRECISION), "bf16") == 0 ? GM_BF16 : GM_FP32;
    if (strcmp(s->hardware, "here") == 0) GM_TRY(gm_hardware_measure((int)gm_config_int(c, GM_KEY_THREADS), &h, err));
    else GM_TRY(gm_hardware_find(s->table, s->hardware, &h, err));
    if (h.flops[type] <= 0.0) return gm_fail(err, GM_ERR_CONFIG, "precision: %s has no %s", h.name, gm_config_str(c, GM_KEY_PRECISION));
    GM_TRY(count(s, c, type, &e, err));
    add_memory(s, c, type, &h, &e);
    add_time(s, type, &h, &e);
    if (s->is_json) print_json(s, &h, &e);
    else print_text(s, c, &h, &e);
    return GM_OK;
}

static int plan_main(int argc, char **argv);
const gm_command gm_plan_command = { "plan", "estimate memory, time and traffic of a training run, from counts",
                                     "gmner plan [CONFIG] [--gpus N] [--model NAME] [--hardware NAME]", plan_main };

static int plan_main(int argc, char **argv)
{
    gm_err err = { 0 };
    settings s = { .hardware = "here", .table = "configs/hardware.json", .ranks = 1, .nodes = 1, .pieces = 27, .words = 17 };
    bool done = false;
    int words = 0;
    gm_config *config = NULL;
    gm_option options[] = {
        { "model", GM_OPT_STR, &s.model, "NAME", "bert-base, roberta-large, xlm-r-large or a folder with config.json (default: the configuration's encoder)", false },
        { "gpus", GM_OPT_INT, &s.ranks, "N", "ranks, a GPU each; with --hardware here processes of this machine", false },
        { "nodes", GM_OPT_INT, &s.nodes, "N", "machines that they are spread over: with several, the network carries what is sent", false },
        { "hardware", GM_OPT_STR, &s.hardware, "NAME", "a name of the table, or here: this machine's processor, measured now", false },
        { "table", GM_OPT_STR, &s.table, "FILE", "table of hardware (default configs/hardware.json)", false },
        { "pieces", GM_OPT_INT, &s.pieces, "N", "pieces of a sentence, with both ends (default: Twitter-GMNER's mean in WordPiece)", false },
        { "words", GM_OPT_INT, &s.words, "N", "words of a sentence", false },
        { "set", GM_OPT_LIST, &s.sets, "KEY=VALUE", "overrides one key of the configuration", false },
        { "json", GM_OPT_FLAG, &s.is_json, NULL, "print JSON, in bytes and seconds", false },
    };
    gm_status status = gm_cli_parse(&gm_plan_command, options, (int)GM_LEN(options), &s.config, 1, &words, argc, argv, &done, &err);
    if (status == GM_OK && !done) status = gm_config_create(&config, &err);
    if (status == GM_OK && !done) status = plan(&s, config, &err);
    gm_config_destroy(config);
    gm_free((void *)s.sets.items);
    return gm_cli_finish(&gm_plan_command, status, &err);
}
