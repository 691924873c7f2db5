/* The tokenizers of MPNet, RoBERTa and XLM-R against Hugging Face `transformers`: tests/golden/tokenizers.json holds its
 * hashes of 8500 tweets and 22000 CCKS sentences and its pieces of nasty strings. MPNet's vocabulary is the real one, of
 * weights/mpnet/ (tools/get-weights mpnet); the other two are small ones beside the golden file. */
#include "tests/text/golden.h"

#include <stdlib.h>

#include "text/tokenizer.h"

enum { TEXTS, WORDS, COLUMNS = 4 };

static const cJSON *kind; /* the one under test */
static gm_tokenizer *tokenizer;

static void look(const sentence *s, block *b, counts *c)
{
    gm_pieces p = { 0 };
    assert_ok(gm_tokenizer_encode(tokenizer, s->text, s->length, &p, &err));
    add_pieces(&b->column[TEXTS], &p);
    c->pieces_of_texts += (int)p.count;
    gm_pieces_free(&p);
    add_words(tokenizer, s, b, WORDS, COLUMNS, c);
}

static void real_text_has_the_same_ids_and_bytes(void **state)
{
    (void)state;
    const cJSON *file;
    cJSON_ArrayForEach(file, field(kind, "files"))
    {
        assert_true(cJSON_GetArraySize(field(file, "ties")) * 1000 < field(file, "sentences")->valueint * 5);
        check_file(file, look);
    }
}

static void nasty_strings_have_the_same_pieces(void **state)
{
    (void)state;
    const cJSON *string;
    int count = 0;
    cJSON_ArrayForEach(string, field(kind, "strings"))
    {
        const char *text = field(string, "text")->valuestring;
        gm_pieces got = { 0 };
        assert_ok(gm_tokenizer_encode(tokenizer, text, strlen(text), &got, &err));
        compare_pieces(field(string, "what")->valuestring, field(kind, "kind")->valuestring, &got, field(string, "pieces"));
        gm_pieces_free(&got);
        count++;
    }
    assert_true(count + cJSON_GetArraySize(field(kind, "otherwise")) >= 74 && count >= 60);
}

static void the_folder_is_what_it_says(void **state)
{
    (void)state;
    assert_string_equal(gm_tokenizer_kind_name(gm_tokenizer_kind_of(tokenizer)), field(kind, "kind")->valuestring);
    assert_int_equal(gm_tokenizer_size(tokenizer), field(kind, "size")->valueint);
    assert_int_equal(gm_tokenizer_is_uncased(tokenizer), gm_tokenizer_kind_of(tokenizer) == GM_TOKENIZER_MPNET);
    const gm_special_ids s = gm_tokenizer_special(tokenizer);
    assert_int_equal(s.begin, 0);
    assert_int_equal(s.pad, 1);
    assert_int_equal(s.end, 2);
    assert_int_equal(s.unknown, gm_tokenizer_kind_of(tokenizer) == GM_TOKENIZER_MPNET ? 104 : 3);
}

/* False where the kind cannot be tested here: the reason is printed. */
static bool load_kind(void)
{
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, GM_SOURCE_DIR "/%s", field(kind, "folder")->valuestring);
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (!gm_path_exists(path)) {
        fprintf(stderr, "%s is missing: run tools/get-weights mpnet\n", folder);
        return false;
    }
    const gm_status status = gm_tokenizer_load(folder, &tokenizer, &err);
    if (status == GM_ERR_MISSING) fprintf(stderr, "%s\n", err.text);
    if (status != GM_OK && status != GM_ERR_MISSING) {
        fprintf(stderr, "failed: %s\n", err.text);
        exit(1);
    }
    return status == GM_OK;
}

static int skipped_code(void)
{
    const char *require = getenv("GM_REQUIRE");
    return require != NULL && strstr(require, "weights") != NULL ? 1 : 77;
}

int main(void)
{
    const struct CMUnitTest stored[] = {
        cmocka_unit_test(the_folder_is_what_it_says),
        cmocka_unit_test(nasty_strings_have_the_same_pieces),
    };
    const struct CMUnitTest read[] = { cmocka_unit_test(real_text_has_the_same_ids_and_bytes) };
    int result = 0, skipped = 0;
    read_golden("tokenizers.json");
    /* Real text comes after all that needs none: where it is missing, its reader ends the program as skipped. */
    for (int turn = 0; turn < 2 && result == 0; turn++)
        cJSON_ArrayForEach(kind, field(golden, "kinds"))
        {
            fprintf(stderr, "%s:\n", field(kind, "kind")->valuestring);
            if (load_kind())
                result |= turn == 0 ? cmocka_run_group_tests(stored, NULL, NULL) : cmocka_run_group_tests(read, NULL, NULL);
            else
                skipped = 1;
            gm_tokenizer_destroy(tokenizer);
            tokenizer = NULL;
        }
    cJSON_Delete(golden);
    return result != 0 ? 1 : skipped ? skipped_code() : 0;
}
