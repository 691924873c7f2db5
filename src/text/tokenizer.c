/* Which tokenizer a Hugging Face folder holds, and one way to call them all. A kind is a row of `kinds`: the names under
 * which its encoder and its class are known, its files, and how it is made of them. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/bpe.h"
#include "text/sentencepiece.h"
#include "text/wordpiece.h"

enum { FILES_MAX = 3 }; /* two of the vocabulary and tokenizer_config.json */
static const char settings_name[] = "tokenizer_config.json";

struct gm_tokenizer {
    gm_tokenizer_kind kind;
    gm_special_ids special;
    int32_t size;
    bool is_uncased;
    gm_wordpiece *wordpiece; /* of these three the kind's is set */
    gm_bpe *bpe;
    gm_sentencepiece *sentencepiece;
    gm_tokenizer_file files[FILES_MAX];
    int32_t file_count;
};

/* What tokenizer_config.json says; names point into the JSON tree. */
typedef struct settings {
    const char *class_name; /* NULL: says nothing */
    bool lower_case;
    gm_special_names names;
} settings;

typedef struct kind_row {
    const char *model_type, *class_name; /* of the class with and without "Fast" behind it */
    const char *vocabulary[2];           /* files; the second may be NULL */
    gm_special_names names;              /* unless tokenizer_config.json says otherwise */
    gm_status (*make)(gm_tokenizer *t, const char *folder, const settings *s, gm_err *err);
} kind_row;

/* ---- files ---- */

void gm_tokenizer_destroy(gm_tokenizer *t)
{
    if (t == NULL) return;
    gm_wordpiece_destroy(t->wordpiece);
    gm_bpe_destroy(t->bpe);
    gm_sentencepiece_destroy(t->sentencepiece);
    for (int32_t i = 0; i < t->file_count; i++) gm_free((void *)t->files[i].bytes);
    gm_free(t);
}

int32_t gm_tokenizer_file_count(const gm_tokenizer *t) { return t->file_count; }
gm_tokenizer_file gm_tokenizer_file_at(const gm_tokenizer *t, int32_t i) { return t->files[i]; }

/* Reads folder/name; *bytes is the caller's. */
static gm_status read_in(const char *folder, const char *name, char **bytes, size_t *size, gm_err *err)
{
    char *path = gm_path_join(folder, name);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = gm_file_read(path, bytes, size, err);
    gm_free(path);
    return status;
}

/* Reads folder/name into the files that the tokenizer keeps. `name` is one of this file's literals. */
static gm_status keep(gm_tokenizer *t, const char *folder, const char *name, gm_err *err)
{
    char *bytes = NULL;
    size_t size = 0;
    GM_TRY(read_in(folder, name, &bytes, &size, err));
    t->files[t->file_count++] = (gm_tokenizer_file){ name, bytes, size };
    return GM_OK;
}

static gm_status keep_copy(gm_tokenizer *t, const char *name, const char *bytes, size_t size, gm_err *err)
{
    char *copy = gm_strndup(bytes, size);
    if (copy == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for %s", name);
    t->files[t->file_count++] = (gm_tokenizer_file){ name, copy, size };
    return GM_OK;
}

static gm_status is_there(const char *folder, const char *name, bool *there, gm_err *err)
{
    char *path = gm_path_join(folder, name);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    *there = gm_path_exists(path);
    gm_free(path);
    return GM_OK;
}

/* ---- the kinds ---- */

static gm_status make_wordpiece(gm_tokenizer *t, const char *folder, const settings *s, gm_err *err)
{
    const gm_tokenizer_file *vocab = &t->files[0];
    char *place = gm_path_join(folder, vocab->name);
    if (place == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status =
        gm_wordpiece_parse_named(place, vocab->bytes, vocab->size, s->lower_case, &s->names, &t->wordpiece, err);
    gm_free(place);
    if (status != GM_OK) return status;
    t->special = gm_wordpiece_special(t->wordpiece);
    t->size = gm_wordpiece_size(t->wordpiece);
    t->is_uncased = s->lower_case;
    return GM_OK;
}

static gm_status make_bpe(gm_tokenizer *t, const char *folder, const settings *s, gm_err *err)
{
    char *places[2] = { gm_path_join(folder, t->files[0].name), gm_path_join(folder, t->files[1].name) };
    const bool have = places[0] != NULL && places[1] != NULL;
    gm_status status = have ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_bpe_source vocab = { places[0], t->files[0].bytes, t->files[0].size };
    const gm_bpe_source merges = { places[1], t->files[1].bytes, t->files[1].size };
    if (status == GM_OK) status = gm_bpe_parse(&vocab, &merges, &s->names, &t->bpe, err);
    gm_free(places[0]);
    gm_free(places[1]);
    if (status != GM_OK) return status;
    t->special = gm_bpe_special(t->bpe);
    t->size = gm_bpe_size(t->bpe);
    return GM_OK;
}

static gm_status make_sentencepiece(gm_tokenizer *t, const char *folder, const settings *s, gm_err *err)
{
    (void)s; /* fairseq's ids are fixed */
    char *place = gm_path_join(folder, t->files[0].name);
    if (place == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = gm_sentencepiece_parse(place, t->files[0].bytes, t->files[0].size, &t->sentencepiece, err);
    gm_free(place);
    if (status != GM_OK) return status;
    t->special = gm_sentencepiece_special(t->sentencepiece);
    t->size = gm_sentencepiece_size(t->sentencepiece);
    return GM_OK;
}

static const kind_row kinds[GM_TOKENIZER_KINDS] = {
    [GM_TOKENIZER_BERT] = { "bert", "BertTokenizer", { "vocab.txt", NULL }, { "[CLS]", "[SEP]", "[PAD]", "[UNK]" }, make_wordpiece },
    [GM_TOKENIZER_MPNET] = { "mpnet", "MPNetTokenizer", { "vocab.txt", NULL }, { "<s>", "</s>", "<pad>", "[UNK]" }, make_wordpiece },
    [GM_TOKENIZER_ROBERTA] = { "roberta", "RobertaTokenizer", { "vocab.json", "merges.txt" }, { "<s>", "</s>", "<pad>", "<unk>" }, make_bpe },
    [GM_TOKENIZER_XLM_ROBERTA] = { "xlm-roberta", "XLMRobertaTokenizer", { "sentencepiece.bpe.model", NULL }, { "<s>", "</s>", "<pad>", "<unk>" },
                                   make_sentencepiece },
};

const char *gm_tokenizer_kind_name(gm_tokenizer_kind kind) { return kinds[kind].model_type; }

/* The kind of a class name, "BertTokenizer" or "BertTokenizerFast"; GM_TOKENIZER_KINDS when it is of none. */
static gm_tokenizer_kind kind_of_class(const char *class_name)
{
    for (gm_tokenizer_kind k = 0; k < GM_TOKENIZER_KINDS; k++) {
        const size_t n = strlen(kinds[k].class_name);
        if (strncmp(class_name, kinds[k].class_name, n) != 0) continue;
        if (class_name[n] == '\0' || strcmp(class_name + n, "Fast") == 0) return k;
    }
    return GM_TOKENIZER_KINDS;
}

static gm_tokenizer_kind kind_of_model(const char *model_type)
{
    for (gm_tokenizer_kind k = 0; k < GM_TOKENIZER_KINDS; k++)
        if (strcmp(model_type, kinds[k].model_type) == 0) return k;
    return GM_TOKENIZER_KINDS;
}

static gm_status has_vocabulary(const char *folder, gm_tokenizer_kind kind, bool *has, gm_err *err)
{
    const char *const *names = kinds[kind].vocabulary;
    GM_TRY(is_there(folder, names[0], has, err));
    if (*has && names[1] != NULL) GM_TRY(is_there(folder, names[1], has, err));
    return GM_OK;
}

/* ---- what the JSON files say ---- */

/* Parses folder/name; *root stays NULL where there is no such file. The caller deletes it. */
static gm_status parse_json(const char *folder, const char *name, cJSON **root, gm_err *err)
{
    char *text = NULL;
    size_t size = 0;
    bool there;
    *root = NULL;
    GM_TRY(is_there(folder, name, &there, err));
    if (!there) return GM_OK;
    GM_TRY(read_in(folder, name, &text, &size, err));
    gm_status status = gm_json_parse(text, size, root, err);
    gm_free(text);
    if (status == GM_OK && !cJSON_IsObject(*root)) status = gm_fail(err, GM_ERR_FORMAT, "no object, expected {...}");
    if (status == GM_ERR_FORMAT) gm_fail_at(err, "%s/%s", folder, name);
    return status;
}

static const char *text_of(const cJSON *root, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, key));
}

/* A special piece is written as its name or as {"content": name, ...}; null and absent leave the kind's own. */
static gm_status read_name(const cJSON *root, const char *key, const char **name, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (item == NULL || cJSON_IsNull(item)) return GM_OK;
    if (cJSON_IsObject(item)) item = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (!cJSON_IsString(item))
        return gm_fail(err, GM_ERR_FORMAT, "\"%s\" is neither a piece nor an object with its \"content\"", key);
    *name = item->valuestring;
    return GM_OK;
}

/* A flag that may be null or absent. */
static gm_status read_flag(const cJSON *root, const char *key, bool *flag, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (item == NULL || cJSON_IsNull(item)) return GM_OK;
    if (!cJSON_IsBool(item)) return gm_fail(err, GM_ERR_FORMAT, "\"%s\" is neither true nor false", key);
    *flag = cJSON_IsTrue(item);
    return GM_OK;
}

/* WordPiece here drops accents when and only when it lowers the case, and always parts CJK characters. */
static gm_status read_settings(const cJSON *root, settings *s, gm_err *err)
{
    bool strips, parts_cjk = true;
    GM_TRY(read_flag(root, "do_lower_case", &s->lower_case, err));
    strips = s->lower_case;
    GM_TRY(read_flag(root, "strip_accents", &strips, err));
    GM_TRY(read_flag(root, "tokenize_chinese_chars", &parts_cjk, err));
    if (strips != s->lower_case)
        return gm_fail(err, GM_ERR_FORMAT, "\"strip_accents\" is %s, but \"do_lower_case\" is not: both or none are known",
                       strips ? "true" : "false");
    if (!parts_cjk) return gm_fail(err, GM_ERR_FORMAT, "\"tokenize_chinese_chars\" is false: only true is known");
    GM_TRY(read_name(root, "cls_token", &s->names.begin, err));
    GM_TRY(read_name(root, "sep_token", &s->names.end, err));
    GM_TRY(read_name(root, "pad_token", &s->names.pad, err));
    return read_name(root, "unk_token", &s->names.unknown, err);
}

/* See gm_tokenizer_load for the order of what counts. */
static gm_status find_kind(const char *folder, const char *class_name, const char *model_type, gm_tokenizer_kind *kind,
                           gm_err *err)
{
    bool has = false;
    *kind = class_name != NULL ? kind_of_class(class_name) : GM_TOKENIZER_KINDS;
    if (*kind != GM_TOKENIZER_KINDS) return GM_OK;
    const gm_tokenizer_kind asked = model_type != NULL ? kind_of_model(model_type) : GM_TOKENIZER_KINDS;
    *kind = asked;
    if (asked != GM_TOKENIZER_KINDS) GM_TRY(has_vocabulary(folder, asked, &has, err));
    for (gm_tokenizer_kind k = 0; k < GM_TOKENIZER_KINDS && !has; k++) {
        GM_TRY(has_vocabulary(folder, k, &has, err));
        if (has) *kind = k;
    }
    if (has || asked != GM_TOKENIZER_KINDS) return GM_OK; /* what is missing is named when it is read */
    return gm_fail(err, GM_ERR_FORMAT,
                   "%s: no tokenizer that this release knows: expected vocab.txt, vocab.json with merges.txt, or "
                   "sentencepiece.bpe.model (tokenizer.json alone is not read)",
                   folder);
}

/* ---- loading ---- */

static gm_status understand(gm_tokenizer *t, const char *folder, const cJSON *config, const cJSON *root, gm_err *err)
{
    settings s = { .class_name = text_of(root, "tokenizer_class"), .lower_case = true };
    GM_TRY(find_kind(folder, s.class_name, text_of(config, "model_type"), &t->kind, err));
    const kind_row *row = &kinds[t->kind];
    s.names = row->names;
    if (read_settings(root, &s, err) != GM_OK) return gm_fail_at(err, "%s/%s", folder, settings_name);
    for (int i = 0; i < 2 && row->vocabulary[i] != NULL; i++) GM_TRY(keep(t, folder, row->vocabulary[i], err));
    if (root != NULL) GM_TRY(keep(t, folder, settings_name, err));
    return row->make(t, folder, &s, err);
}

gm_status gm_tokenizer_load(const char *folder, gm_tokenizer **t, gm_err *err)
{
    cJSON *config = NULL, *root = NULL;
    *t = NULL;
    if (!gm_path_is_dir(folder))
        return gm_fail(err, GM_ERR_IO, "%s: there is no such folder; expected one with a tokenizer's files", folder);
    gm_tokenizer *made = gm_calloc(1, sizeof *made);
    gm_status status = made != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for the tokenizer", folder);
    if (status == GM_OK) status = parse_json(folder, "config.json", &config, err);
    if (status == GM_OK) status = parse_json(folder, settings_name, &root, err);
    if (status == GM_OK) status = understand(made, folder, config, root, err);
    cJSON_Delete(config);
    cJSON_Delete(root);
    if (status == GM_OK)
        *t = made;
    else
        gm_tokenizer_destroy(made);
    return status;
}

static gm_status make_bert(gm_tokenizer *t, const char *place, const char *vocab, size_t bytes, bool lower_case, gm_err *err)
{
    static const char cased[] = "{\"tokenizer_class\": \"BertTokenizer\", \"do_lower_case\": false}\n";
    t->kind = GM_TOKENIZER_BERT;
    GM_TRY(gm_wordpiece_parse(place, vocab, bytes, lower_case, &t->wordpiece, err));
    t->special = gm_wordpiece_special(t->wordpiece);
    t->size = gm_wordpiece_size(t->wordpiece);
    t->is_uncased = lower_case;
    GM_TRY(keep_copy(t, kinds[GM_TOKENIZER_BERT].vocabulary[0], vocab, bytes, err));
    return lower_case ? GM_OK : keep_copy(t, settings_name, cased, sizeof cased - 1, err);
}

gm_status gm_tokenizer_parse_bert(const char *place, const char *vocab, size_t bytes, bool lower_case, gm_tokenizer **t,
                                  gm_err *err)
{
    *t = NULL;
    gm_tokenizer *made = gm_calloc(1, sizeof *made);
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory for the tokenizer", place);
    const gm_status status = make_bert(made, place, vocab, bytes, lower_case, err);
    if (status == GM_OK)
        *t = made;
    else
        gm_tokenizer_destroy(made);
    return status;
}

gm_tokenizer_kind gm_tokenizer_kind_of(const gm_tokenizer *t) { return t->kind; }
int32_t gm_tokenizer_size(const gm_tokenizer *t) { return t->size; }
bool gm_tokenizer_is_uncased(const gm_tokenizer *t) { return t->is_uncased; }
gm_special_ids gm_tokenizer_special(const gm_tokenizer *t) { return t->special; }

/* ---- encoding ---- */

/* One caller's working space. */
typedef struct worker {
    const gm_tokenizer *t;
    gm_chars chars;
    gm_bpe_memory *bpe;
} worker;

static gm_status worker_make(const gm_tokenizer *t, worker *w, gm_err *err)
{
    *w = (worker){ .t = t };
    return t->bpe != NULL ? gm_bpe_memory_make(t->bpe, &w->bpe, err) : GM_OK;
}

static void worker_free(worker *w)
{
    gm_chars_free(&w->chars);
    gm_bpe_memory_destroy(w->bpe);
}

static gm_status encode(void *self, const char *text, size_t n, gm_pieces *out, gm_err *err)
{
    worker *w = self;
    const gm_tokenizer *t = w->t;
    if (t->bpe != NULL) return gm_bpe_encode(t->bpe, w->bpe, text, n, out, err);
    if (t->sentencepiece != NULL) return gm_sentencepiece_encode(t->sentencepiece, text, n, out, err);
    return gm_wordpiece_encode_with(t->wordpiece, &w->chars, text, n, out, err);
}

gm_status gm_tokenizer_encode(const gm_tokenizer *t, const char *text, size_t n, gm_pieces *out, gm_err *err)
{
    worker w;
    GM_TRY(worker_make(t, &w, err));
    const gm_status status = encode(&w, text, n, out, err);
    worker_free(&w);
    return status;
}

gm_status gm_tokenizer_sentence(const gm_tokenizer *t, char *const *words, int32_t count, int32_t max_len,
                                gm_encoded *out, gm_err *err)
{
    worker w;
    *out = (gm_encoded){ 0 };
    GM_TRY(worker_make(t, &w, err));
    const gm_word_encoder encoder = { encode, &w, t->special };
    const gm_status status = gm_encoded_make(&encoder, words, count, max_len, out, err);
    worker_free(&w);
    return status;
}
