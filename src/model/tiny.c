#include "model/tiny.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MAX_WORDS = 2000, MAX_WORD = 24 };

typedef struct word { char text[MAX_WORD + 1]; int32_t uses; } word;

static int by_text(const void *a, const void *b) { return strcmp(((const word *)a)->text, ((const word *)b)->text); }

static int by_uses(const void *a, const void *b)
{
    const word *x = a, *y = b;
    return x->uses != y->uses ? (x->uses < y->uses ? 1 : -1) : strcmp(x->text, y->text);
}

/* Letters of a word in lower case; false for what plain letters do not spell. */
static bool plain(const char *token, char *to)
{
    size_t n = 0;
    for (; token[n] != '\0'; n++) {
        if (n == MAX_WORD || !isalpha((unsigned char)token[n]) || (unsigned char)token[n] > 126) return false;
        to[n] = (char)tolower((unsigned char)token[n]);
    }
    to[n] = '\0';
    return n > 1;
}

/* All plain words of the records, each once with its number of uses, most used first. */
static gm_status count_words(const gm_records *records, word **words, size_t *count, gm_err *err)
{
    size_t capacity = 0, n = 0;
    *words = NULL;
    for (size_t i = 0; i < records->count; i++)
        for (int32_t k = 0; k < records->items[i].token_count; k++) {
            word w = { .uses = 1 };
            if (!plain(records->items[i].tokens[k], w.text)) continue;
            GM_TRY(gm_grow((void **)words, &capacity, n, sizeof **words, err));
            (*words)[n++] = w;
        }
    if (n == 0) return GM_OK;
    qsort(*words, n, sizeof **words, by_text);
    size_t kept = 0;
    for (size_t i = 1; i < n; i++) {
        if (strcmp((*words)[kept].text, (*words)[i].text) == 0)
            (*words)[kept].uses++;
        else
            (*words)[++kept] = (*words)[i];
    }
    *count = kept + 1;
    qsort(*words, *count, sizeof **words, by_uses);
    return GM_OK;
}

static gm_status add_vocab(const word *words, size_t count, gm_buffer *v, int32_t *pieces, gm_err *err)
{
    static const char *const specials[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
    *pieces = 0;
    for (size_t i = 0; i < GM_LEN(specials); i++, ++*pieces) GM_TRY(gm_buffer_printf(v, err, "%s\n", specials[i]));
    for (int c = '!'; c <= '~'; c++) {
        if (isupper(c)) continue;
        GM_TRY(gm_buffer_printf(v, err, "%c\n", c));
        ++*pieces;
        if (!isalnum(c)) continue;
        GM_TRY(gm_buffer_printf(v, err, "##%c\n", c));
        ++*pieces;
    }
    for (size_t i = 0; i < count && i < MAX_WORDS; i++, ++*pieces) GM_TRY(gm_buffer_printf(v, err, "%s\n", words[i].text));
    return GM_OK;
}

gm_status gm_tiny_files(const gm_records *records, char **config, size_t *config_size, char **vocab, size_t *vocab_size, gm_err *err)
{
    gm_buffer c = { 0 }, v = { 0 };
    word *words = NULL;
    size_t count = 0;
    int32_t pieces = 0;
    gm_status status = count_words(records, &words, &count, err);
    if (status == GM_OK) status = add_vocab(words, count, &v, &pieces, err);
    if (status == GM_OK)
        status = gm_buffer_printf(&c, err, "{\n  \"model_type\": \"bert\",\n  \"architectures\": [\"BertModel\"],\n  \"vocab_size\": %d,\n  \"hidden_size\": 64,\n"
                                  "  \"num_hidden_layers\": 2,\n  \"num_attention_heads\": 2,\n  \"intermediate_size\": 256,\n  \"hidden_act\": \"gelu\",\n"
                                  "  \"max_position_embeddings\": 512,\n  \"type_vocab_size\": 2,\n  \"layer_norm_eps\": 1e-12,\n  \"hidden_dropout_prob\": 0.1,\n"
                                  "  \"attention_probs_dropout_prob\": 0.1,\n  \"pad_token_id\": 0\n}\n", pieces);
    gm_free(words);
    if (status != GM_OK) {
        gm_buffer_free(&c);
        gm_buffer_free(&v);
        return status;
    }
    *config = c.data;
    *config_size = c.size;
    *vocab = v.data;
    *vocab_size = v.size;
    return GM_OK;
}
