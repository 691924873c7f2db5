/* Which tokenizer a folder holds, what is refused and with what message, what is kept for other folders; sentences of
 * each kind; threads that share one; and that running out of memory anywhere is a clean error. */
#include "tests/support/support.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "text/tokenizer.h"

#define GOLDEN GM_SOURCE_DIR "/tests/golden/tokenizers/"
static const char bert_vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nA\n\xC3\xA9\n<s>\n</s>\n<pad>\n";
enum { PAD, UNK, CLS, SEP, A, B, UPPER_A, E_ACUTE, BEGIN, END, OTHER_PAD };

static gm_err err;
static int folders;

/* ---- folders made here ---- */

/* A new folder with these files: names and contents in turn, NULL at the end. */
static const char *folder_of(const char *const *files)
{
    static char folder[512];
    char path[1024];
    snprintf(folder, sizeof folder, "%s/%d", gmt_temp_dir(), folders++);
    assert_ok(gm_make_dirs(folder, &err));
    for (; files[0] != NULL; files += 2) {
        snprintf(path, sizeof path, "%s/%s", folder, files[0]);
        gmt_write_file(path, files[1], strlen(files[1]));
    }
    return folder;
}
#define FOLDER(...) folder_of((const char *const[]){ __VA_ARGS__, NULL })

static gm_tokenizer *load(const char *folder)
{
    gm_tokenizer *t;
    assert_ok(gm_tokenizer_load(folder, &t, &err));
    return t;
}

static void refuse(const char *folder, gm_status status, const char *message)
{
    gm_tokenizer *t = (gm_tokenizer *)&err; /* must be set to NULL */
    assert_int_equal(gm_tokenizer_load(folder, &t, &err), status);
    assert_null(t);
    if (strstr(err.text, message) == NULL) fail_msg("\"%s\" does not hold \"%s\"", err.text, message);
    if (strncmp(err.text, folder, strlen(folder)) != 0) fail_msg("\"%s\" does not begin with %s", err.text, folder);
}

static void check_kind(const char *folder, gm_tokenizer_kind kind)
{
    gm_tokenizer *t = load(folder);
    assert_string_equal(gm_tokenizer_kind_name(gm_tokenizer_kind_of(t)), gm_tokenizer_kind_name(kind));
    gm_tokenizer_destroy(t);
}

/* False, after saying so, where the build lacks the kind's library. */
static bool is_built(const char *folder)
{
    gm_tokenizer *t;
    const gm_status s = gm_tokenizer_load(folder, &t, &err);
    if (s != GM_OK && s != GM_ERR_MISSING) fail_msg("%s", err.text);
    if (s == GM_ERR_MISSING) fprintf(stderr, "not looked at: %s\n", err.text);
    gm_tokenizer_destroy(t);
    return s == GM_OK;
}

/* ---- which kind ---- */

static void the_class_decides_before_the_model_type(void **state)
{
    (void)state;
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"bert\"}"), GM_TOKENIZER_BERT);
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"mpnet\"}"), GM_TOKENIZER_MPNET);
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"roberta\"}",
                      "tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizerFast\"}"), GM_TOKENIZER_BERT);
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"bert\"}",
                      "tokenizer_config.json", "{\"tokenizer_class\": \"MPNetTokenizer\"}"), GM_TOKENIZER_MPNET);
}

static void where_the_class_says_nothing_the_model_type_decides(void **state)
{
    (void)state;
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"mpnet\"}",
                      "tokenizer_config.json", "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}"), GM_TOKENIZER_MPNET);
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"mpnet\"}",
                      "tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizerFaster\"}"), GM_TOKENIZER_MPNET);
}

static void the_files_decide_where_nothing_else_does(void **state)
{
    (void)state;
    check_kind(FOLDER("vocab.txt", bert_vocab), GM_TOKENIZER_BERT);
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"distilbert\"}"), GM_TOKENIZER_BERT);
    check_kind(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"roberta\"}"), GM_TOKENIZER_BERT);
}

static void an_encoder_of_one_kind_may_have_a_vocabulary_of_another(void **state)
{
    (void)state;
    char *model = NULL;
    size_t size = 0;
    if (!is_built(GOLDEN "xlm_roberta")) return;
    assert_ok(gm_file_read(GOLDEN "xlm_roberta/sentencepiece.bpe.model", &model, &size, &err));
    const char *folder = FOLDER("config.json", "{\"model_type\": \"bert\"}");
    char path[1024];
    snprintf(path, sizeof path, "%s/sentencepiece.bpe.model", folder);
    gmt_write_file(path, model, size);
    gm_free(model);
    check_kind(folder, GM_TOKENIZER_XLM_ROBERTA);
}

/* ---- what is refused ---- */

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    refuse("no/such/folder", GM_ERR_IO, "there is no such folder");
}

static void a_folder_without_a_tokenizer_is_refused(void **state)
{
    (void)state;
    static const char message[] = "no tokenizer that this release knows: expected vocab.txt";
    refuse(FOLDER("tokenizer.json", "{}"), GM_ERR_FORMAT, message);
    refuse(FOLDER("config.json", "{\"model_type\": \"t5\"}", "vocab.json", "{}"), GM_ERR_FORMAT, message);
}

static void the_missing_file_of_a_known_kind_is_named(void **state)
{
    (void)state;
    refuse(FOLDER("config.json", "{\"model_type\": \"bert\"}"), GM_ERR_IO, "/vocab.txt: ");
    refuse(FOLDER("config.json", "{\"model_type\": \"roberta\"}", "vocab.json", "{}"), GM_ERR_IO, "/merges.txt: ");
    refuse(FOLDER("config.json", "{\"model_type\": \"xlm-roberta\"}"), GM_ERR_IO, "/sentencepiece.bpe.model: ");
    refuse(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", "{\"tokenizer_class\": \"RobertaTokenizer\"}"),
           GM_ERR_IO, "/vocab.json: ");
}

static void bad_json_is_named_with_its_place(void **state)
{
    (void)state;
    refuse(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": }"), GM_ERR_FORMAT, "/config.json: 1:16: ");
    refuse(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", "{"), GM_ERR_FORMAT, "/tokenizer_config.json: 1:2: ");
    refuse(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", "[]"), GM_ERR_FORMAT,
           "/tokenizer_config.json: no object");
}

static void settings_that_are_not_known_are_refused(void **state)
{
    (void)state;
    static const struct { const char *json, *message; } cases[] = {
        { "{\"do_lower_case\": 1}", "\"do_lower_case\" is neither true nor false" },
        { "{\"do_lower_case\": false, \"strip_accents\": true}", "\"strip_accents\" is true, but \"do_lower_case\" is not" },
        { "{\"strip_accents\": false}", "\"strip_accents\" is false, but \"do_lower_case\" is not" },
        { "{\"tokenize_chinese_chars\": false}", "\"tokenize_chinese_chars\" is false" },
        { "{\"unk_token\": 7}", "\"unk_token\" is neither a piece nor an object" },
        { "{\"cls_token\": {\"lstrip\": true}}", "\"cls_token\" is neither a piece nor an object" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++)
        refuse(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", cases[i].json), GM_ERR_FORMAT, cases[i].message);
}

static void a_special_piece_that_the_vocabulary_lacks_is_named(void **state)
{
    (void)state;
    refuse(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", "{\"unk_token\": \"<unk>\"}"), GM_ERR_FORMAT,
           "vocab.txt: the piece <unk> is missing among 11");
    refuse(FOLDER("vocab.txt", "[UNK]\n<s>\n<pad>\n", "config.json", "{\"model_type\": \"mpnet\"}"), GM_ERR_FORMAT,
           "vocab.txt: the piece </s> is missing among 3");
}

static void refuse_model(const char *model, size_t size, const char *message)
{
    const char *folder = FOLDER("config.json", "{\"model_type\": \"xlm-roberta\"}");
    char path[1024];
    snprintf(path, sizeof path, "%s/sentencepiece.bpe.model", folder);
    gmt_write_file(path, model, size);
    refuse(folder, GM_ERR_FORMAT, message);
    assert_non_null(strstr(err.text, "/sentencepiece.bpe.model: "));
}

static void a_model_that_is_not_sentencepiece_is_refused(void **state)
{
    (void)state;
    if (!is_built(GOLDEN "xlm_roberta")) return;
    refuse_model("", 0, "a SentencePiece model without pieces");
    refuse_model("version https://git-lfs.github.com/spec/v1\n", 43, "byte 0 begins no whole field of a SentencePiece model");
    /* One good piece and a normaliser, but no <unk> */
    refuse_model("\x0A\x03\x0A\x01"
                 "a\x1A\x00", 7, "SentencePiece cannot read it");
}

static void a_model_that_is_cut_short_is_refused(void **state)
{
    (void)state;
    char *model = NULL;
    size_t size = 0;
    int between = 0, inside = 0;
    if (!is_built(GOLDEN "xlm_roberta")) return;
    assert_ok(gm_file_read(GOLDEN "xlm_roberta/sentencepiece.bpe.model", &model, &size, &err));
    for (size_t cut = 1; cut < 400; cut++) { /* between pieces, which the library takes for a whole file, and inside */
        refuse_model(model, cut, "cut short");
        between += strstr(err.text, "without its normaliser") != NULL;
        inside += strstr(err.text, "begins no whole field") != NULL;
    }
    refuse_model(model, size / 2, "cut short");
    gm_free(model);
    assert_true(between > 10 && inside > 100);
}

static void a_model_with_other_ids_is_refused(void **state)
{
    (void)state;
    char *model = NULL;
    size_t size = 0;
    if (!is_built(GOLDEN "xlm_roberta")) return;
    assert_ok(gm_file_read(GOLDEN "xlm_roberta/sentencepiece.bpe.model", &model, &size, &err));
    /* The second piece, "<s>" of type control, becomes "<S>": then there is no begin. */
    char *begin = memchr(model, 's', size);
    assert_memory_equal(begin - 1, "<s>", 3);
    *begin = 'S';
    refuse_model(model, size, "<unk> <s> </s> are 0 -1 2, expected 0 1 2");
    gm_free(model);
}

/* The first byte of the table of normalisation in the small model: behind the rule's name, a tag and a size. */
static char *table_of(char *model, size_t size)
{
    static const char name[] = "user_defined";
    for (char *at = model + size - sizeof name; at > model; at--) {
        if (memcmp(at, name, sizeof name - 1) != 0) continue;
        at += sizeof name - 1;
        assert_int_equal(*at++, 2 << 3 | 2);
        while ((unsigned char)*at >= 0x80) at++;
        return at + 1;
    }
    fail_msg("the small model has no table");
    return NULL;
}

/* Found by fuzzing: libsentencepiece 0.1.97 reads wild memory with each of these. */
static void a_damaged_table_is_refused(void **state)
{
    (void)state;
    char *model = NULL;
    size_t size = 0;
    if (!is_built(GOLDEN "xlm_roberta")) return;
    assert_ok(gm_file_read(GOLDEN "xlm_roberta/sentencepiece.bpe.model", &model, &size, &err));
    char *table = table_of(model, size);
    const size_t changed[] = { 0, 3, 4 + 2, 4 + 3, 4 + 4 * 'A' + 1 }; /* the trie's size, its root, the values' flag of a letter */
    for (size_t i = 0; i < GM_LEN(changed); i++) {
        const char before = table[changed[i]];
        table[changed[i]] = (char)0xFF;
        refuse_model(model, size, "the normaliser's table is damaged: fetch the file again");
        table[changed[i]] = before;
    }
    gm_free(model);
}

static void bad_text_is_refused_with_its_offset(void **state)
{
    (void)state;
    static const char *const all[] = { GOLDEN "roberta", GOLDEN "xlm_roberta" };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        if (!is_built(all[i])) continue;
        gm_tokenizer *t = load(all[i]);
        gm_pieces got = { 0 };
        assert_int_equal(gm_tokenizer_encode(t, "ab\xC3", 3, &got, &err), GM_ERR_DATA);
        assert_non_null(strstr(err.text, "byte 2 (0xC3): not UTF-8"));
        assert_int_equal(gm_tokenizer_encode(t, "a\0b", 3, &got, &err), GM_ERR_DATA);
        assert_non_null(strstr(err.text, "byte 1 (0x00): a NUL"));
        assert_int_equal(got.count, 0);
        gm_encoded e;
        assert_int_equal(gm_tokenizer_sentence(t, (char *[]){ "a", "\xFF" }, 2, 9, &e, &err), GM_ERR_DATA);
        assert_non_null(strstr(err.text, "word 1: byte 0 (0xFF)"));
        assert_null(e.ids);
        gm_tokenizer_destroy(t);
    }
}

/* ---- sentences ---- */

static void check_ids(const gm_tokenizer *t, const char *word, const int32_t *ids, int32_t count)
{
    gm_encoded e;
    assert_ok(gm_tokenizer_sentence(t, (char *[]){ (char *)word }, 1, 16, &e, &err));
    assert_int_equal(e.count, count);
    for (int32_t i = 0; i < count; i++) assert_int_equal(e.ids[i], ids[i]);
    gm_encoded_free(&e);
}
#define CHECK_IDS(t, word, ...) check_ids(t, word, (const int32_t[]){ __VA_ARGS__ }, (int32_t)(sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)))

static void each_kind_has_its_own_begin_and_end(void **state)
{
    (void)state;
    gm_tokenizer *bert = load(FOLDER("vocab.txt", bert_vocab));
    gm_tokenizer *mpnet = load(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"mpnet\"}"));
    CHECK_IDS(bert, "a", CLS, A, SEP);
    CHECK_IDS(mpnet, "a", BEGIN, A, END);
    CHECK_IDS(mpnet, "x", BEGIN, UNK, END);
    assert_int_equal(gm_tokenizer_special(mpnet).pad, OTHER_PAD);
    assert_int_equal(gm_tokenizer_special(bert).pad, PAD);
    gm_tokenizer_destroy(bert);
    gm_tokenizer_destroy(mpnet);
}

static void special_pieces_may_be_named_by_the_settings(void **state)
{
    (void)state;
    gm_tokenizer *t = load(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json",
                                  "{\"cls_token\": \"<s>\", \"sep_token\": {\"content\": \"</s>\"}, \"pad_token\": null}"));
    CHECK_IDS(t, "a", BEGIN, A, END);
    assert_int_equal(gm_tokenizer_special(t).pad, PAD);
    gm_tokenizer_destroy(t);
}

static void case_is_kept_where_the_settings_say_so(void **state)
{
    (void)state;
    gm_tokenizer *lower = load(FOLDER("vocab.txt", bert_vocab));
    gm_tokenizer *cased = load(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", "{\"do_lower_case\": false}"));
    CHECK_IDS(lower, "A", CLS, A, SEP);
    CHECK_IDS(cased, "A", CLS, UPPER_A, SEP);
    CHECK_IDS(cased, "\xC3\xA9", CLS, E_ACUTE, SEP);
    assert_true(gm_tokenizer_is_uncased(lower));
    assert_false(gm_tokenizer_is_uncased(cased));
    gm_tokenizer_destroy(lower);
    gm_tokenizer_destroy(cased);
}

static void words_without_pieces_and_cuts_are_the_same_for_all_kinds(void **state)
{
    (void)state;
    static const char *const all[] = { GOLDEN "roberta", GOLDEN "xlm_roberta" };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        if (!is_built(all[i])) continue;
        gm_tokenizer *t = load(all[i]);
        const int32_t unknown = gm_tokenizer_special(t).unknown;
        gm_encoded e;
        assert_ok(gm_tokenizer_sentence(t, (char *[]){ "", "qzxqzx", "" }, 3, 4, &e, &err));
        assert_int_equal(e.words, 1);
        assert_true(e.is_cut);
        assert_int_equal(e.count, 3);
        assert_int_equal(e.ids[0], 0);
        assert_int_equal(e.ids[1], unknown);
        assert_int_equal(e.ids[2], 2);
        gm_encoded_free(&e);
        assert_ok(gm_tokenizer_sentence(t, (char *[]){ "qzxqzxqzx" }, 1, 4, &e, &err));
        assert_int_equal(e.count, 4);
        assert_true(e.is_cut);
        gm_encoded_free(&e);
        assert_int_equal(gm_tokenizer_sentence(t, (char *[]){ "a" }, 1, 2, &e, &err), GM_ERR_SHAPE);
        gm_tokenizer_destroy(t);
    }
}

/* ---- files ---- */

static void check_file(const gm_tokenizer *t, int32_t i, const char *name, const char *text)
{
    const gm_tokenizer_file f = gm_tokenizer_file_at(t, i);
    assert_string_equal(f.name, name);
    assert_int_equal(f.size, strlen(text));
    assert_memory_equal(f.bytes, text, f.size);
}

static void the_files_are_kept_as_they_came(void **state)
{
    (void)state;
    static const char settings[] = "{\"do_lower_case\": false,   \"other\": 1}";
    gm_tokenizer *t = load(FOLDER("vocab.txt", bert_vocab, "tokenizer_config.json", settings, "other.txt", "x"));
    assert_int_equal(gm_tokenizer_file_count(t), 2);
    check_file(t, 0, "vocab.txt", bert_vocab);
    check_file(t, 1, "tokenizer_config.json", settings);
    gm_tokenizer_destroy(t);
}

static void a_vocabulary_in_memory_makes_files_that_make_it_again(void **state)
{
    (void)state;
    for (int lower = 0; lower < 2; lower++) {
        char vocab[sizeof bert_vocab];
        memcpy(vocab, bert_vocab, sizeof vocab);
        gm_tokenizer *t;
        assert_ok(gm_tokenizer_parse_bert("memory", vocab, sizeof vocab - 1, lower == 1, &t, &err));
        memset(vocab, 'x', sizeof vocab);
        check_file(t, 0, "vocab.txt", bert_vocab);
        assert_int_equal(gm_tokenizer_size(t), 11);
        const char *folder = FOLDER("config.json", "{\"model_type\": \"bert\"}");
        for (int32_t i = 0; i < gm_tokenizer_file_count(t); i++) {
            const gm_tokenizer_file f = gm_tokenizer_file_at(t, i);
            char path[1024];
            snprintf(path, sizeof path, "%s/%s", folder, f.name);
            gmt_write_file(path, f.bytes, f.size);
        }
        gm_tokenizer *again = load(folder);
        CHECK_IDS(t, "A", CLS, lower ? A : UPPER_A, SEP);
        CHECK_IDS(again, "A", CLS, lower ? A : UPPER_A, SEP);
        gm_tokenizer_destroy(t);
        gm_tokenizer_destroy(again);
    }
    gm_tokenizer *t;
    assert_int_equal(gm_tokenizer_parse_bert("memory", "a\na\n", 4, true, &t, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "memory:2: "));
    assert_null(t);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 200 };
typedef struct job {
    const gm_tokenizer *t;
    const gm_pieces *want;
    const char *text;
    int wrong;
} job;

static void *encode_again(void *user)
{
    job *j = user;
    for (int i = 0; i < ROUNDS; i++) {
        gm_pieces got = { 0 };
        gm_err own;
        const gm_status s = gm_tokenizer_encode(j->t, j->text, strlen(j->text), &got, &own);
        const bool same = s == GM_OK && got.count == j->want->count &&
                          memcmp(got.items, j->want->items, got.count * sizeof *got.items) == 0;
        j->wrong += !same;
        gm_pieces_free(&got);
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    static const char text[] = "RT @someone: Caf\xC3\xA9 in \xE5\x8C\x97\xE4\xBA\xAC, I'm 100% there \xF0\x9F\x98\x80 #now";
    const char *const all[] = { FOLDER("vocab.txt", bert_vocab), GOLDEN "roberta", GOLDEN "xlm_roberta" };
    for (size_t i = 0; i < GM_LEN(all); i++) {
        if (!is_built(all[i])) continue;
        gm_tokenizer *t = load(all[i]);
        gm_pieces want = { 0 };
        pthread_t threads[THREADS];
        job jobs[THREADS];
        assert_ok(gm_tokenizer_encode(t, text, strlen(text), &want, &err));
        assert_true(want.count > 10);
        for (int k = 0; k < THREADS; k++) {
            jobs[k] = (job){ t, &want, text, 0 };
            assert_int_equal(pthread_create(&threads[k], NULL, encode_again, &jobs[k]), 0);
        }
        for (int k = 0; k < THREADS; k++) {
            assert_int_equal(pthread_join(threads[k], NULL), 0);
            assert_int_equal(jobs[k].wrong, 0);
        }
        gm_pieces_free(&want);
        gm_tokenizer_destroy(t);
    }
}

/* ---- memory ---- */

static gm_status load_and_encode(const char *folder)
{
    gm_tokenizer *t = NULL;
    gm_encoded e = { 0 };
    gm_status s = gm_tokenizer_load(folder, &t, &err);
    if (s == GM_OK) s = gm_tokenizer_sentence(t, (char *[]){ "a", "b\xC3\xA9", "#abcdefgh" }, 3, 32, &e, &err);
    if (s != GM_OK) assert_null(e.ids);
    gm_encoded_free(&e);
    gm_tokenizer_destroy(t);
    return s;
}

/* Loads and encodes with each of the allocations failing in turn; returns how many there are. PCRE2 does without the
 * memory of its machine code, so a failure may be no error at all. */
static int64_t fail_each_allocation(const char *folder)
{
    const uint64_t before = gm_alloc_count();
    assert_ok(load_and_encode(folder));
    const int64_t count = (int64_t)(gm_alloc_count() - before);
    int64_t errors = 0;
    for (int64_t k = 0; k < count; k++) {
        gm_alloc_fail_at(k);
        const gm_status s = load_and_encode(folder);
        gm_alloc_fail_at(-1);
        if (s != GM_OK && s != GM_ERR_NOMEM) fail_msg("allocation %d: %s", (int)k, err.text);
        errors += s == GM_ERR_NOMEM;
    }
    assert_true(errors >= count - 16);
    return count;
}

static const char small_bpe_merges[] = "a b\n";

/* All bytes, the special pieces and "ab": a small vocabulary, since every allocation of it fails once. */
static const char *small_bpe(void)
{
    static char text[8192];
    size_t at = (size_t)snprintf(text, sizeof text, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"ab\": 4");
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++) {
        const bool kept = (byte > ' ' && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        at += (size_t)snprintf(text + at, sizeof text - at, ",\"\\u%04x\":%u", kept ? byte : next++, byte + 5);
    }
    snprintf(text + at, sizeof text - at, "}");
    return text;
}

static void running_out_of_memory_is_clean_for_all_kinds(void **state)
{
    (void)state;
    assert_true(fail_each_allocation(FOLDER("vocab.txt", bert_vocab, "config.json", "{\"model_type\": \"bert\"}",
                                            "tokenizer_config.json", "{\"do_lower_case\": false}")) > 20);
    if (is_built(GOLDEN "roberta"))
        assert_true(fail_each_allocation(FOLDER("vocab.json", small_bpe(), "merges.txt", small_bpe_merges)) > 256);
    if (is_built(GOLDEN "xlm_roberta")) assert_true(fail_each_allocation(GOLDEN "xlm_roberta") > 10);
    for (int64_t k = 0;; k++) {
        gm_tokenizer *t;
        gm_alloc_fail_at(k);
        const gm_status s = gm_tokenizer_parse_bert("memory", bert_vocab, sizeof bert_vocab - 1, false, &t, &err);
        gm_alloc_fail_at(-1);
        if (s != GM_OK) assert_int_equal(s, GM_ERR_NOMEM);
        gm_tokenizer_destroy(t);
        if (s == GM_OK) break;
        assert_null(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_class_decides_before_the_model_type),
        cmocka_unit_test(where_the_class_says_nothing_the_model_type_decides),
        cmocka_unit_test(the_files_decide_where_nothing_else_does),
        cmocka_unit_test(an_encoder_of_one_kind_may_have_a_vocabulary_of_another),
        cmocka_unit_test(a_missing_folder_is_named),
        cmocka_unit_test(a_folder_without_a_tokenizer_is_refused),
        cmocka_unit_test(the_missing_file_of_a_known_kind_is_named),
        cmocka_unit_test(bad_json_is_named_with_its_place),
        cmocka_unit_test(settings_that_are_not_known_are_refused),
        cmocka_unit_test(a_special_piece_that_the_vocabulary_lacks_is_named),
        cmocka_unit_test(a_model_that_is_not_sentencepiece_is_refused),
        cmocka_unit_test(a_model_that_is_cut_short_is_refused),
        cmocka_unit_test(a_model_with_other_ids_is_refused),
        cmocka_unit_test(a_damaged_table_is_refused),
        cmocka_unit_test(bad_text_is_refused_with_its_offset),
        cmocka_unit_test(each_kind_has_its_own_begin_and_end),
        cmocka_unit_test(special_pieces_may_be_named_by_the_settings),
        cmocka_unit_test(case_is_kept_where_the_settings_say_so),
        cmocka_unit_test(words_without_pieces_and_cuts_are_the_same_for_all_kinds),
        cmocka_unit_test(the_files_are_kept_as_they_came),
        cmocka_unit_test(a_vocabulary_in_memory_makes_files_that_make_it_again),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(running_out_of_memory_is_clean_for_all_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
