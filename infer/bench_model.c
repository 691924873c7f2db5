/* The model that is timed: from a folder, or with random weights. Random ones are written as a Hugging Face folder and read
 * like any other, so that no second way to make a model exists. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "bench.h"
#include "model/tiny.h"

static const struct {
    const char *name;
    int32_t layers, hidden, heads, ffn, vocabulary;
} shapes[] = { { "minilm", 6, 384, 12, 1536, 30522 }, { "base", 12, 768, 12, 3072, 30522 }, { "tiny", 2, 64, 2, 256, 2400 } };

bool gm_bench_knows_shape(const char *shape)
{
    for (size_t i = 0; i < GM_LEN(shapes); i++)
        if (strcmp(shape, shapes[i].name) == 0) return true;
    return false;
}

static gm_status config_of(const char *shape, gm_buffer *json, gm_err *err)
{
    size_t i = 0;
    while (strcmp(shape, shapes[i].name) != 0) i++;
    return gm_buffer_printf(json, err,
                            "{\"model_type\": \"bert\", \"vocab_size\": %d, \"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
                            "\"intermediate_size\": %d, \"hidden_act\": \"gelu\", \"max_position_embeddings\": 512, \"type_vocab_size\": 2, "
                            "\"layer_norm_eps\": 1e-12, \"pad_token_id\": 0}\n",
                            shapes[i].vocabulary, shapes[i].hidden, shapes[i].layers, shapes[i].heads, shapes[i].ffn);
}

static gm_status write_weights(const char *folder, const gm_buffer *config, gm_err *err)
{
    gm_encoder encoder = { 0 };
    gm_params params;
    char *path = gm_path_join(folder, "model.safetensors");
    gm_params_init_empty(&params);
    gm_status status = path != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (status == GM_OK) status = gm_encoder_read_config("random", config->data, config->size, &encoder.config, err);
    if (status == GM_OK) status = gm_encoder_declare(&encoder, &params, false, false, err);
    if (status == GM_OK) status = gm_params_allocate(&params, false, err);
    if (status == GM_OK) {
        gm_params_randomise(&params, 0, 42);
        status = gm_params_save(&params, path, NULL, 0, err);
    }
    gm_params_destroy(&params);
    gm_free(path);
    return status;
}

static gm_status write_encoder(const char *folder, const char *shape, const gm_records *records, gm_err *err)
{
    gm_buffer config = { 0 };
    char *unused = NULL, *vocab = NULL;
    size_t unused_size, vocab_size = 0;
    gm_status status = config_of(shape, &config, err);
    if (status == GM_OK) status = gm_tiny_files(records, &unused, &unused_size, &vocab, &vocab_size, err);
    if (status == GM_OK) status = gm_file_write_in(folder, "config.json", config.data, config.size, err);
    if (status == GM_OK) status = gm_file_write_in(folder, "vocab.txt", vocab, vocab_size, err);
    if (status == GM_OK) status = write_weights(folder, &config, err);
    gm_buffer_free(&config);
    gm_free(unused);
    gm_free(vocab);
    return status;
}

static gm_status make_random(gm_bench *b, const gm_records *records, const char *labels, const gm_model_options *o, gm_err *err)
{
    const char *base = getenv("TMPDIR");
    const double began = gm_bench_now();
    char *folder = gm_path_join(base != NULL && base[0] != '\0' ? base : "/tmp", "gmner-bench-XXXXXX");
    if (folder == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    if (mkdtemp(folder) == NULL) {
        gm_fail(err, GM_ERR_IO, "%s: a folder for random weights cannot be made: %s; set TMPDIR, or give --encoder", folder, strerror(errno));
        gm_free(folder);
        return GM_ERR_IO;
    }
    gm_status status = write_encoder(folder, b->options->shape, records, err);
    b->aside_s += gm_bench_now() - began;
    if (status == GM_OK) status = gm_model_create(folder, labels, o, &b->run.model, err);
    gm_err ignored;
    const gm_status removed = gm_remove_tree(folder, status == GM_OK ? err : &ignored);
    gm_free(folder);
    return status == GM_OK ? removed : status;
}

gm_status gm_bench_make_model(gm_bench *b, const gm_records *records, gm_err *err)
{
    const gm_bench_options *o = b->options;
    const gm_model_options made = { .head = GM_HEAD_SPAN, .max_len = 128, .dropout = 0.1f, .seed = 42 };
    const bool trains = o->only == NULL || strcmp(o->only, "prediction") != 0;
    gm_buffer labels = { 0 };
    if (o->model != NULL) return gm_model_load(o->model, trains, &b->run.model, err);
    gm_status status = gm_run_label_list(b->config, records, &labels, err);
    if (status == GM_OK)
        status = o->encoder != NULL ? gm_model_create(o->encoder, labels.data, &made, &b->run.model, err)
                                    : make_random(b, records, labels.data, &made, err);
    gm_buffer_free(&labels);
    return status;
}
