/* Model folders: what is saved comes back and predicts the same, each way a folder can be bad has its message, and
 * every allocation on the way may fail. */
#include "tests/model/model_test.h"

#include "data/synth.h"
#include "model/worker.h"
#include "tensor/safetensors.h"

#define SMALL "tests/golden/bert/h20"

static const char *const names[] = { "gmner.json", "config.json", "vocab.txt", "model.safetensors" };

static const char *in(const char *folder, const char *name)
{
    static char path[4][1200];
    static int turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof path[0], "%s/%s", folder, name);
    return to;
}

static gm_records synth(int64_t count)
{
    gm_records all = { 0 };
    assert_ok(gm_synth(&(gm_synth_options) { .split = "train", .seed = 3, .count = count }, &all, &err));
    return all;
}

/* All predictions of a model as text, probabilities in full. */
static gm_buffer predictions(const gm_model *m, const gm_records *records)
{
    gm_buffer out = { 0 };
    gm_backend backend;
    gm_workers workers;
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, &backend, &err));
    assert_ok(gm_workers_create(&workers, &backend, 1, &err));
    gm_sample *s = gm_calloc(records->count, sizeof *s);
    gm_entity **entities = gm_calloc(records->count, sizeof *entities);
    int32_t *count = gm_calloc(records->count, sizeof *count);
    for (size_t i = 0; i < records->count; i++)
        assert_ok(gm_sample_make(&s[i], &records->items[i], m->tokenizer, &m->labels, m->options.max_len, false, &err));
    assert_ok(gm_predict(m, &workers, s, records->count, 256, entities, count, &err));
    for (size_t i = 0; i < records->count; i++) {
        for (int32_t k = 0; k < count[i]; k++)
            assert_ok(gm_buffer_printf(&out, &err, "%zu %d %d %s %.17g\n", i, entities[i][k].start, entities[i][k].end,
                                       entities[i][k].type, entities[i][k].score));
        gm_entities_free(entities[i], count[i]);
        gm_sample_free(&s[i]);
    }
    gm_free(s);
    gm_free(entities);
    gm_free(count);
    gm_workers_destroy(&workers);
    return out;
}

/* Weights that find entities in any text. */
static void stir(const gm_model *m)
{
    for (int32_t i = 0; i < m->params.count; i++) {
        const gm_param *p = m->params.items[i];
        const float sigma = p->spec.is_vector ? 0.1f : 1.0f / sqrtf((float)p->spec.cols);
        for (size_t e = 0; e < p->count; e++)
            p->value[e] = (p->spec.init == GM_INIT_ONE ? 1.0f : 0.0f) + sigma * normal((uint32_t)i, (uint32_t)e);
    }
}

static void same_file(const char *a, const char *b, const char *name)
{
    char *x, *y;
    size_t nx, ny;
    assert_ok(gm_file_read(in(a, name), &x, &nx, &err));
    assert_ok(gm_file_read(in(b, name), &y, &ny, &err));
    if (nx != ny || memcmp(x, y, nx) != 0) fail_msg("%s differs", name);
    gm_free(x);
    gm_free(y);
}

static void same_files(const char *a, const char *b)
{
    for (size_t i = 0; i < GM_LEN(names); i++) same_file(a, b, names[i]);
}

static void comes_back(const gm_model_options *o)
{
    const char *folder = gmt_temp_dir(), *again = gmt_temp_dir();
    gm_records records = synth(12);
    gm_model m, back;
    assert_ok(gm_model_create_tiny(&records, "PER,LOC,ORG,OTHER", o, &m, &err));
    stir(&m);
    assert_ok(gm_model_save(&m, folder, &err));
    assert_ok(gm_model_load(folder, false, &back, &err));
    assert_true(back.options.shape == o->shape);
    assert_true(back.options.head == o->head && back.options.scheme == o->scheme &&
                back.options.is_nested == o->is_nested);
    assert_true(back.options.max_len == o->max_len && back.options.dropout == o->dropout);
    assert_true(gm_tokenizer_is_uncased(back.tokenizer));
    assert_true(back.labels.count == 4 && strcmp(back.labels.names[3], "OTHER") == 0);
    assert_true(back.params.host.m == NULL);
    gm_buffer want = predictions(&m, &records), got = predictions(&back, &records);
    assert_true(want.size > 0); /* else nothing was compared */
    assert_string_equal(got.data, want.data);
    assert_ok(gm_model_save(&back, again, &err));
    same_files(folder, again);
    gm_model_destroy(&back);
    assert_ok(gm_model_load(folder, true, &back, &err));
    assert_true(back.params.host.m != NULL);
    gm_model_destroy(&back);
    gm_buffer_free(&want);
    gm_buffer_free(&got);
    gm_model_destroy(&m);
    gm_model_destroy(&m); /* takes a destroyed one */
    gm_records_free(&records);
}

static void span_models_come_back(void **state)
{
    (void)state;
    comes_back(&(gm_model_options) { .head = GM_HEAD_SPAN, .max_len = 64, .dropout = 0.1f, .seed = 1 });
    comes_back(&(gm_model_options) { .head = GM_HEAD_SPAN, .shape = GM_SHAPE_OF_WORDS, .max_len = 64, .seed = 1 });
    comes_back(&(gm_model_options) { .head = GM_HEAD_SPAN, .shape = GM_SHAPE_OF_BOTH, .max_len = 64, .seed = 1 });
    comes_back(&(gm_model_options) { .head = GM_HEAD_SPAN, .is_nested = true, .max_len = 100, .seed = 1 });
}

static void tag_models_come_back(void **state)
{
    (void)state;
    comes_back(
        &(gm_model_options) { .head = GM_HEAD_CRF, .scheme = GM_TAGS_BIO, .max_len = 64, .dropout = 0.3f, .seed = 1 });
    comes_back(&(gm_model_options) { .head = GM_HEAD_CRF, .scheme = GM_TAGS_BIOES, .max_len = 64, .seed = 1 });
    comes_back(&(gm_model_options) { .head = GM_HEAD_CRF, .shape = GM_SHAPE_OF_BOTH, .max_len = 64, .seed = 1 });
}

/* gmner.json of folders that were written before there were shapes lacks the key; another word is refused. */
static void folders_without_shapes_still_load(void **state)
{
    static const char key[] = "\"shape\": \"none\",";
    const char *folder = gmt_temp_dir();
    gm_model m, back;
    char *text;
    size_t size;
    (void)state;
    assert_ok(gm_model_create(SMALL, "A,B", &(gm_model_options) { .max_len = 16, .seed = 2 }, &m, &err));
    assert_ok(gm_model_save(&m, folder, &err));
    assert_ok(gm_file_read(in(folder, "gmner.json"), &text, &size, &err));
    char *at = strstr(text, key);
    assert_non_null(at);
    memset(at, ' ', sizeof key - 1);
    gmt_write_file(in(folder, "gmner.json"), text, size);
    assert_ok(gm_model_load(folder, false, &back, &err));
    assert_true(back.options.shape == GM_SHAPE_UNUSED && back.shape == NULL && back.encoder.shape == NULL);
    gm_model_destroy(&back);
    memcpy(at, "\"shape\": \"some\",", sizeof key - 1);
    gmt_write_file(in(folder, "gmner.json"), text, size);
    assert_int_equal(gm_model_load(folder, false, &back, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "\"shape\" is neither \"none\" nor \"word\" nor \"both\""));
    gm_free(text);
    gm_model_destroy(&m);
}

/* The tokenizer's files are carried as they came; no family needs the folder that it began with. */
static void family_comes_back(const char *encoder)
{
    const char *folder = gmt_temp_dir(), *again = gmt_temp_dir();
    gm_records records = synth(12);
    gm_model m, back;
    const gm_status status = gm_model_create(encoder, "PER,LOC,ORG,OTHER", &(gm_model_options) { .max_len = 46, .seed = 1 }, &m, &err);
    if (status == GM_ERR_MISSING) {
        printf("left out: %s\n", err.text);
        gm_records_free(&records);
        return;
    }
    assert_ok(status);
    stir(&m);
    assert_ok(gm_model_save(&m, folder, &err));
    assert_ok(gm_model_load(folder, false, &back, &err));
    assert_true(back.encoder.config.family == m.encoder.config.family);
    for (int32_t i = 0; i < gm_tokenizer_file_count(m.tokenizer); i++) same_file(encoder, folder, gm_tokenizer_file_at(m.tokenizer, i).name);
    gm_buffer want = predictions(&m, &records), got = predictions(&back, &records);
    assert_true(want.size > 0); /* else nothing was compared */
    assert_string_equal(got.data, want.data);
    assert_ok(gm_model_save(&back, again, &err));
    same_file(folder, again, "config.json");
    same_file(folder, again, "gmner.json");
    same_file(folder, again, "model.safetensors");
    gm_buffer_free(&want);
    gm_buffer_free(&got);
    gm_model_destroy(&m);
    gm_model_destroy(&back);
    gm_records_free(&records);
}

static void every_family_comes_back(void **state)
{
    (void)state;
    family_comes_back("tests/golden/mpnet/h48");
    family_comes_back("tests/golden/roberta/h48");
    family_comes_back("tests/golden/xlm-roberta/h20");
}

static void a_run_folder_means_its_best(void **state)
{
    (void)state;
    const char *run = gmt_temp_dir();
    gm_model m, back;
    assert_ok(gm_model_create(SMALL, "A,B", &(gm_model_options) { .max_len = 16, .seed = 2 }, &m, &err));
    assert_ok(gm_make_dirs(in(run, "best"), &err));
    assert_ok(gm_model_save(&m, in(run, "best"), &err));
    assert_ok(gm_model_load(run, false, &back, &err));
    assert_int_equal(back.labels.count, 2);
    gm_model_destroy(&back);
    gm_model_destroy(&m);
}

/* An encoder as BertForSomething saves it: "bert." before each name, a pooler, heads of its own; and it is cased. */
static void encoders_of_other_models_are_taken(void **state)
{
    (void)state;
    enum { MOST = 80 };
    const char *folder = gmt_temp_dir(), *out = gmt_temp_dir();
    gm_model m, plain;
    assert_ok(gm_model_create(SMALL, "A,B", &(gm_model_options) { .max_len = 16 }, &plain, &err));
    static char prefixed[MOST][128];
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(SMALL "/model.safetensors", &st, &err));
    gm_st_spec specs[MOST];
    int32_t count = 0;
    for (; count < gm_safetensors_count(st); count++) {
        const gm_st_entry *e = gm_safetensors_at(st, count);
        snprintf(prefixed[count], sizeof prefixed[0], "bert.%s", e->name);
        specs[count] = (gm_st_spec) { .name = prefixed[count], .dtype = e->dtype, .dims = e->dims, .data = e->data };
        memcpy(specs[count].shape, e->shape, sizeof e->shape);
    }
    float pooler[20 * 20], more[20] = { 4.0f };
    for (int i = 0; i < 400; i++) pooler[i] = (float)i;
    specs[count++] = (gm_st_spec) {
        .name = "bert.pooler.dense.weight", .dtype = GM_ST_F32, .dims = 2, .shape = { 20, 20 }, .data = pooler
    };
    specs[count++] =
        (gm_st_spec) { .name = "bert.pooler.dense.bias", .dtype = GM_ST_F32, .dims = 1, .shape = { 20 }, .data = more };
    specs[count++] =
        (gm_st_spec) { .name = "classifier.weight", .dtype = GM_ST_F32, .dims = 1, .shape = { 20 }, .data = more };
    assert_ok(gm_safetensors_write(in(folder, "model.safetensors"), specs, count, NULL, 0, &err));
    gm_safetensors_close(st);
    char *text;
    size_t size;
    for (int i = 1; i < 3; i++) {
        assert_ok(gm_file_read(in(SMALL, names[i]), &text, &size, &err));
        gmt_write_file(in(folder, names[i]), text, size);
        gm_free(text);
    }
    gmt_write_file(in(folder, "tokenizer_config.json"), "{\"do_lower_case\": false}", 24);

    assert_ok(gm_model_create(folder, "A,B", &(gm_model_options) { .max_len = 16 }, &m, &err));
    assert_int_equal(m.encoder_params, plain.encoder_params + 2);
    assert_memory_equal(m.encoder.layer[2].up->value, plain.encoder.layer[2].up->value,
                        m.encoder.layer[2].up->count * sizeof(float));
    assert_false(gm_tokenizer_is_uncased(m.tokenizer));
    const gm_param *kept = m.params.items[m.encoder_params - 2];
    assert_true(kept->spec.is_frozen && kept->value[399] == 399.0f);
    assert_ok(gm_model_save(&m, out, &err));
    gm_model_destroy(&m);
    assert_ok(gm_model_load(out, false, &m, &err)); /* names without the prefix now, the pooler along */
    assert_true(m.params.items[m.encoder_params - 2]->value[399] == 399.0f);
    assert_false(gm_tokenizer_is_uncased(m.tokenizer));
    assert_true(gm_path_exists(in(out, "tokenizer_config.json"))); /* for transformers */
    gm_model_destroy(&m);
    gm_model_destroy(&plain);
}

/* BERT's own files call weight and bias of a norm gamma and beta, as TensorFlow did. */
static void norms_of_older_files_are_taken(void **state)
{
    (void)state;
    enum { MOST = 80 };
    static char renamed[MOST][128];
    const char *folder = gmt_temp_dir();
    gm_safetensors *st;
    gm_st_spec specs[MOST];
    int32_t count = 0, norms = 0;
    assert_ok(gm_safetensors_open(SMALL "/model.safetensors", &st, &err));
    for (; count < gm_safetensors_count(st); count++) {
        const gm_st_entry *e = gm_safetensors_at(st, count);
        const char *norm = strstr(e->name, "LayerNorm.");
        const int before = norm != NULL ? (int)(norm - e->name) : (int)strlen(e->name);
        snprintf(renamed[count], sizeof renamed[0], "%.*s%s", before, e->name,
                 norm == NULL ? "" : strstr(norm, "weight") != NULL ? "LayerNorm.gamma" : "LayerNorm.beta");
        norms += norm != NULL;
        specs[count] = (gm_st_spec) { .name = renamed[count], .dtype = e->dtype, .dims = e->dims, .data = e->data };
        memcpy(specs[count].shape, e->shape, sizeof e->shape);
    }
    assert_true(norms == 14); /* of three layers and the embeddings */
    assert_ok(gm_safetensors_write(in(folder, "model.safetensors"), specs, count, NULL, 0, &err));
    gm_safetensors_close(st);
    for (int i = 1; i < 3; i++) {
        char *text;
        size_t size;
        assert_ok(gm_file_read(in(SMALL, names[i]), &text, &size, &err));
        gmt_write_file(in(folder, names[i]), text, size);
        gm_free(text);
    }
    gm_model m, plain;
    assert_ok(gm_model_create(SMALL, "A,B", &(gm_model_options) { .max_len = 16 }, &plain, &err));
    assert_ok(gm_model_create(folder, "A,B", &(gm_model_options) { .max_len = 16 }, &m, &err));
    assert_memory_equal(m.params.host.value, plain.params.host.value, m.params.dense_count * sizeof(float));
    gm_model_destroy(&m);
    gm_model_destroy(&plain);
}

/* A good folder, made once and copied for each fault. */
static const char *good_folder(void)
{
    static const char *folder;
    if (folder != NULL) return folder;
    folder = gmt_temp_dir();
    gm_model m;
    assert_ok(gm_model_create(SMALL, "A,B", &(gm_model_options) { .max_len = 16, .seed = 2 }, &m, &err));
    assert_ok(gm_model_save(&m, folder, &err));
    gm_model_destroy(&m);
    return folder;
}

static const char *copy_of_good(void)
{
    const char *to = gmt_temp_dir();
    for (size_t i = 0; i < GM_LEN(names); i++) {
        char *bytes;
        size_t size;
        assert_ok(gm_file_read(in(good_folder(), names[i]), &bytes, &size, &err));
        gmt_write_file(in(to, names[i]), bytes, size);
        gm_free(bytes);
    }
    return to;
}

/* Replaces the first `what` of a file by `with`. */
static void edit(const char *path, const char *what, const char *with)
{
    char *text;
    size_t size;
    assert_ok(gm_file_read(path, &text, &size, &err));
    char *at = strstr(text, what);
    if (at == NULL) fail_msg("%s holds no %s", path, what);
    gm_buffer b = { 0 };
    assert_ok(gm_buffer_add(&b, text, (size_t)(at - text), &err));
    assert_ok(gm_buffer_printf(&b, &err, "%s%s", with, at + strlen(what)));
    gmt_write_file(path, b.data, b.size);
    gm_buffer_free(&b);
    gm_free(text);
}

static void refused(const char *folder, gm_status status, const char *place, const char *message)
{
    gm_model m;
    const gm_status got = gm_model_load(folder, false, &m, &err);
    if (got != status)
        fail_msg("expected %s with \"%s\", got %s: %s", gm_status_name(status), message, gm_status_name(got),
                 got == GM_OK ? "" : err.text);
    if (strstr(err.text, message) == NULL || strstr(err.text, place) == NULL)
        fail_msg("expected \"%s ... %s\", got: %s", place, message, err.text);
    gm_model_destroy(&m); /* nothing is left in it */
}

typedef struct fault {
    const char *file, *what, *with;
    gm_status status;
    const char *message;
} fault;

static void check_faults(const fault *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *folder = copy_of_good();
        edit(in(folder, all[i].file), all[i].what, all[i].with);
        refused(folder, all[i].status, all[i].file, all[i].message);
    }
}

static void bad_encoder_configurations(void **state)
{
    (void)state;
#define C "config.json"
    static const fault all[] = {
        { C, "{", "", GM_ERR_FORMAT, "2:15: expected the end of the text" },
        { C, "{", "[", GM_ERR_FORMAT, "" },
        { C, "\"bert\"", "\"t5\"", GM_ERR_MISSING,
          "\"model_type\" is t5, this release knows bert, mpnet, roberta, xlm-roberta" },
        { C, "\"bert\"", "7", GM_ERR_MISSING, "\"model_type\" is not a string" },
        { C, "\"gelu\"", "\"gelu_new\"", GM_ERR_MISSING, "\"hidden_act\" is gelu_new" },
        { C, "{", "{\"position_embedding_type\": \"relative_key\",", GM_ERR_MISSING,
          "\"position_embedding_type\" is relative_key" },
        { C, "{", "{\"is_decoder\": true,", GM_ERR_MISSING, "\"is_decoder\" is true" },
        { C, "\"num_attention_heads\": 1", "\"num_attention_heads\": 3", GM_ERR_FORMAT,
          "\"hidden_size\" 20 is not a multiple of \"num_attention_heads\" 3" },
        { C, "\"num_attention_heads\": 1", "\"num_attention_heads\": 0", GM_ERR_FORMAT,
          "\"num_attention_heads\" is 0, expected a whole number from 1 to 1024" },
        { C, "\"hidden_size\": 20", "\"hidden_size\": 20.5", GM_ERR_FORMAT,
          "\"hidden_size\" is 20.5, expected a whole number" },
        { C, "\"hidden_size\": 20,", "", GM_ERR_FORMAT, "\"hidden_size\" is missing or not a number" },
        { C, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 49", GM_ERR_FORMAT,
          "\"num_hidden_layers\" is 49, expected a whole number from 1 to 48" },
        { C, "\"intermediate_size\": 28", "\"intermediate_size\": \"28\"", GM_ERR_FORMAT,
          "\"intermediate_size\" is missing or not a number" },
        { C, "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": \"1e-12\"", GM_ERR_FORMAT,
          "\"layer_norm_eps\" is not a number in [0, 1)" },
        { C, "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", GM_ERR_FORMAT,
          "\"layer_norm_eps\" is not a number in [0, 1)" },
    };
#undef C
    check_faults(all, GM_LEN(all));
    const char *folder = copy_of_good();
    edit(in(folder, "config.json"), "\"max_position_embeddings\": 16", "\"max_position_embeddings\": 15");
    refused(folder, GM_ERR_CONFIG, folder, "max_len is 16, but the encoder in");
    refused(folder, GM_ERR_CONFIG, folder, "has 15 positions");
}

/* What MPNet and RoBERTa have beside BERT's sizes. */
static void bad_configurations_of_families(void **state)
{
    (void)state;
#define SIZES "\"vocab_size\": 9, \"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 16"
    static const struct { const char *json; gm_status status; const char *message; } all[] = {
        { "{\"model_type\": \"mpnet\", \"max_position_embeddings\": 4, " SIZES "}", GM_ERR_FORMAT,
          "there/config.json: \"max_position_embeddings\" is 4, but positions begin at 2 and a sentence has at least 3 pieces" },
        { "{\"model_type\": \"mpnet\", \"relative_attention_num_buckets\": 16, \"max_position_embeddings\": 9, " SIZES "}", GM_ERR_MISSING,
          "there/config.json: \"relative_attention_num_buckets\" is 16, this release knows 32 only" },
        { "{\"model_type\": \"roberta\", \"max_position_embeddings\": 9, " SIZES "}", GM_ERR_FORMAT,
          "there/config.json: \"type_vocab_size\" is missing or not a number" },
        { "{\"model_type\": \"roberta\", \"type_vocab_size\": 1, \"pad_token_id\": 9, \"max_position_embeddings\": 9, " SIZES "}", GM_ERR_FORMAT,
          "there/config.json: \"pad_token_id\" is 9, expected a whole number from 0 to 8" },
    };
    gm_encoder_config c;
    for (size_t i = 0; i < GM_LEN(all); i++) {
        assert_int_equal(gm_encoder_read_config("there/config.json", all[i].json, strlen(all[i].json), &c, &err), all[i].status);
        assert_string_equal(err.text, all[i].message);
    }
    static const char good[] = "{\"model_type\": \"xlm-roberta\", \"type_vocab_size\": 1, \"pad_token_id\": 3, \"max_position_embeddings\": 9, "
                               "\"layer_norm_eps\": 1e-5, " SIZES "}";
    assert_ok(gm_encoder_read_config("good", good, sizeof good - 1, &c, &err));
    assert_true(c.first_position == 4 && gm_encoder_max_len(&c) == 5 && c.types == 1 && c.eps == 1e-5f);
    assert_string_equal(c.family->model_type, "xlm-roberta");
#undef SIZES
}

/* Older files leave out what is BERT's own. */
static void an_old_configuration_gets_defaults(void **state)
{
    (void)state;
    static const char old[] =
        "{\"vocab_size\": 9, \"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2,"
        "\"intermediate_size\": 16, \"max_position_embeddings\": 32, \"type_vocab_size\": 2}";
    gm_encoder_config c;
    assert_ok(gm_encoder_read_config("old", old, sizeof old - 1, &c, &err));
    assert_true(c.eps == 1e-12f && c.vocabulary == 9 && c.hidden == 8 && c.layers == 1 && c.heads == 2);
    assert_true(c.ffn == 16 && c.positions == 32 && c.types == 2);
}

static void bad_vocabularies(void **state)
{
    (void)state;
    static const fault all[] = {
        { "vocab.txt", "[CLS]\n", "", GM_ERR_FORMAT, "[CLS]" },
        { "vocab.txt", "a11\n", "a11\na12\n", GM_ERR_FORMAT, "18 pieces, but config.json says \"vocab_size\" 17" },
    };
    check_faults(all, GM_LEN(all));
}

static void bad_descriptions(void **state)
{
    (void)state;
#define G "gmner.json"
    static const fault all[] = {
        { G, "}", "", GM_ERR_FORMAT, ":" },
        { G, "\"gmner\": 1", "\"gmner\": 2", GM_ERR_FORMAT,
          "\"gmner\" is not 1: the folder was written by another release" },
        { G, "\"gmner\": 1", "\"gmner\": \"1\"", GM_ERR_FORMAT, "\"gmner\" is not 1" },
        { G, "\"gmner\": 1,", "", GM_ERR_FORMAT, "\"gmner\" is not 1" },
        { G, "\"span\"", "\"spam\"", GM_ERR_FORMAT, "\"head\" is neither \"span\" nor \"crf\"" },
        { G, "\"bio\"", "3", GM_ERR_FORMAT, "\"tags\" is neither \"bio\" nor \"bioes\"" },
        { G, "\"nested\": false", "\"nested\": 0", GM_ERR_FORMAT, "\"nested\" is missing or not a boolean" },
        { G, "\"nested\": false,", "", GM_ERR_FORMAT, "\"nested\" is missing or not a boolean" },
        { G, "\"max_len\": 16", "\"max_len\": 2", GM_ERR_FORMAT, "\"max_len\" is missing or not a number of pieces" },
        { G, "\"max_len\": 16", "\"max_len\": 8.5", GM_ERR_FORMAT, "\"max_len\" is missing or not a number of pieces" },
        { G, "\"max_len\": 16", "\"max_len\": 1e99", GM_ERR_FORMAT,
          "\"max_len\" is missing or not a number of pieces" },
        { G, "\"dropout\": 0", "\"dropout\": 1", GM_ERR_FORMAT, "\"dropout\" is missing or not in [0, 1)" },
        { G, "\"dropout\": 0", "\"dropout\": -0.5", GM_ERR_FORMAT, "\"dropout\" is missing or not in [0, 1)" },
        { G, "\"types\"", "\"kinds\"", GM_ERR_FORMAT, "\"types\" is not an array of names" },
        { G, "[\"A\", \"B\"]", "[]", GM_ERR_FORMAT, "\"types\" is not an array of names" },
        { G, "[\"A\", \"B\"]", "{\"A\": \"B\"}", GM_ERR_FORMAT, "\"types\" is not an array of names" },
        { G, "\"B\"", "2", GM_ERR_FORMAT, "\"types\" holds something that is not a string" },
        { G, "\"B\"", "\"A\"", GM_ERR_DATA, "the type \"A\" stands twice" },
        { G, "\"A\"", "\"\"", GM_ERR_DATA, "type 1 has an empty name" },
    };
#undef G
    check_faults(all, GM_LEN(all));
}

/* It once became two types, and then the shapes of the head did not fit. */
static void a_comma_in_a_type_is_part_of_its_name(void **state)
{
    (void)state;
    const char *folder = copy_of_good();
    edit(in(folder, "gmner.json"), "\"A\"", "\"A,C\"");
    gm_model m;
    assert_ok(gm_model_load(folder, false, &m, &err));
    assert_true(m.labels.count == 2 && strcmp(m.labels.names[0], "A,C") == 0);
    gm_model_destroy(&m);
}

static void missing_files(void **state)
{
    (void)state;
    for (size_t i = 1; i < GM_LEN(names); i++) {
        const char *folder = copy_of_good();
        assert_int_equal(remove(in(folder, names[i])), 0);
        refused(folder, GM_ERR_IO, names[i], "");
    }
    const char *folder = gmt_temp_dir();
    refused(folder, GM_ERR_IO, folder, "neither a model folder (no gmner.json) nor a run folder (no best/)");
    refused("no/such/folder", GM_ERR_IO, "no/such/folder", "neither a model folder");
    gm_model m;
    assert_int_equal(gm_model_create("no/such/encoder", "A", &(gm_model_options) { .max_len = 16 }, &m, &err),
                     GM_ERR_IO);
    assert_string_equal(err.text, "encoder: there is no folder no/such/encoder; `tools/get-weights minilm` brings the "
                                  "default one to weights/minilm");
    assert_int_equal(gm_model_create(SMALL, "A", &(gm_model_options) { .max_len = 17 }, &m, &err), GM_ERR_CONFIG);
    assert_string_equal(err.text, "max_len is 17, but the encoder in " SMALL " has 16 positions");
}

/* Writes the good folder's weights again: without tensor `skip`, and with one number of tensor `poison` as NaN. */
static const char *with_weights(const char *skip, const char *poison)
{
    enum { MOST = 80 };
    const char *folder = copy_of_good();
    gm_safetensors *st;
    assert_ok(gm_safetensors_open(in(good_folder(), "model.safetensors"), &st, &err));
    gm_st_spec specs[MOST];
    int32_t count = 0;
    float *changed = NULL;
    for (int32_t i = 0; i < gm_safetensors_count(st); i++) {
        const gm_st_entry *e = gm_safetensors_at(st, i);
        if (skip != NULL && strcmp(e->name, skip) == 0) continue;
        specs[count] = (gm_st_spec) { .name = e->name, .dtype = e->dtype, .dims = e->dims, .data = e->data };
        memcpy(specs[count].shape, e->shape, sizeof e->shape);
        if (poison != NULL && strcmp(e->name, poison) == 0) {
            changed = gm_malloc(e->bytes);
            memcpy(changed, e->data, e->bytes);
            changed[21] = NAN;
            specs[count].data = changed;
        }
        count++;
    }
    assert_ok(gm_safetensors_write(in(folder, "model.safetensors"), specs, count, NULL, 0, &err));
    gm_safetensors_close(st);
    gm_free(changed);
    return folder;
}

static void bad_weights(void **state)
{
    (void)state;
    const char *folder = with_weights("encoder.layer.1.attention.self.key.weight", NULL);
    refused(folder, GM_ERR_DATA, folder, "/model.safetensors: no tensor \"encoder.layer.1.attention.self.key.weight\"");
    assert_ptr_equal(strstr(err.text, folder), err.text);
    assert_null(strstr(err.text + 1, folder)); /* the path stood there twice */
    refused(with_weights("span.end.weight", NULL), GM_ERR_DATA, "model.safetensors", "span.end.weight");
    refused(with_weights(NULL, "encoder.layer.0.output.dense.weight"), GM_ERR_NUMERIC,
            "encoder.layer.0.output.dense.weight", "NaN");
    folder = copy_of_good();
    edit(in(folder, "config.json"), "\"intermediate_size\": 28", "\"intermediate_size\": 29");
    refused(folder, GM_ERR_SHAPE, "encoder.layer.0.intermediate.dense.weight", "28");
    folder = copy_of_good();
    edit(in(folder, "gmner.json"), "\"B\"", "\"B\", \"C\"");
    refused(folder, GM_ERR_SHAPE, "span.out.weight", "3");
    folder = copy_of_good();
    edit(in(folder, "gmner.json"), "\"span\"", "\"crf\"");
    refused(folder, GM_ERR_DATA, "model.safetensors", "crf.emit.weight");
    folder = copy_of_good();
    gmt_write_file(in(folder, "model.safetensors"), "", 0);
    refused(folder, GM_ERR_FORMAT, "model.safetensors", "is empty");
}

static gm_status create_save_load(const char *to, int what)
{
    gm_model m;
    if (what == 0)
        GM_TRY(gm_model_create(SMALL, "A,B", &(gm_model_options) { .max_len = 16 }, &m, &err));
    else
        GM_TRY(gm_model_load(good_folder(), what == 1, &m, &err));
    const gm_status status = what == 2 ? gm_model_save(&m, to, &err) : GM_OK;
    gm_model_destroy(&m);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const char *to = gmt_temp_dir();
    good_folder();
    for (int what = 0; what < 3; what++) {
        int64_t k = 0;
        for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
            gm_alloc_fail_at(k);
            status = create_save_load(to, what);
            gm_alloc_fail_at(-1);
            if (status != GM_OK && (status != GM_ERR_NOMEM || err.status != GM_ERR_NOMEM))
                fail_msg("allocation %lld gave %s: %s", (long long)k, gm_status_name(status), err.text);
        }
        assert_true(k > 100);
    }
    gm_records records = synth(2);
    int64_t k = 0;
    for (gm_status status = GM_ERR_NOMEM; status != GM_OK; k++) {
        gm_model m;
        gm_alloc_fail_at(k);
        status = gm_model_create_tiny(&records, "PER,LOC,ORG,OTHER",
                                      &(gm_model_options) { .head = GM_HEAD_CRF, .max_len = 16 }, &m, &err);
        gm_alloc_fail_at(-1);
        gm_model_destroy(&m);
        assert_true(status == GM_OK || status == GM_ERR_NOMEM);
    }
    assert_true(k > 50);
    gm_records_free(&records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(span_models_come_back),
        cmocka_unit_test(tag_models_come_back),
        cmocka_unit_test(folders_without_shapes_still_load),
        cmocka_unit_test(every_family_comes_back),
        cmocka_unit_test(a_run_folder_means_its_best),
        cmocka_unit_test(encoders_of_other_models_are_taken),
        cmocka_unit_test(norms_of_older_files_are_taken),
        cmocka_unit_test(bad_encoder_configurations),
        cmocka_unit_test(bad_configurations_of_families),
        cmocka_unit_test(an_old_configuration_gets_defaults),
        cmocka_unit_test(bad_vocabularies),
        cmocka_unit_test(bad_descriptions),
        cmocka_unit_test(a_comma_in_a_type_is_part_of_its_name),
        cmocka_unit_test(missing_files),
        cmocka_unit_test(bad_weights),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
