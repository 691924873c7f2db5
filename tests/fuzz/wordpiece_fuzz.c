/* Fuzzes WordPiece. The first byte chooses: bit 0 lower case, bit 1 whether the rest is a text for a fixed vocabulary
 * or a vocabulary for a fixed text. Besides crashes it looks for broken promises: ranges inside the text, in order, on
 * character borders; words one by one give the text's ids; sentences within max_len. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "text/tokenizer.h"

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nab\n##b\n##c\ne\n##e\ni\n##i\n!\n"
                                 "\xE4\xB8\xAD\n##\xE3\x80\xAE\n"
                                 "\xE3\x80\xAE\n\xE1\x84\x80\n##\xE1\x85\xA1\n##bb\n##\xCE\xB1\n\xCE\xB1\n";
static const char text[] = "Ab [SEP] \xE4\xB8\xAD"
                           "e\xCC\x81!";

static void expect(bool claim, const char *what)
{
    if (claim) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

static gm_status load(const char *bytes, size_t n, bool lower_case, gm_tokenizer **w)
{
    gm_err err;
    return gm_tokenizer_parse_bert("vocab.txt", bytes, n, lower_case, w, &err);
}

static void check_ranges(const gm_pieces *p, const char *bytes, size_t n)
{
    int32_t last = 0;
    for (size_t i = 0; i < p->count; i++) {
        const gm_piece *piece = &p->items[i];
        expect(piece->start >= last && piece->end > piece->start && (size_t)piece->end <= n,
               "ranges lie in the text, in order");
        expect((bytes[piece->start] & 0xC0) != 0x80, "a range begins a character");
        expect((size_t)piece->end == n || (bytes[piece->end] & 0xC0) != 0x80, "a range ends a character");
        last = piece->start;
    }
}

/* Blanks always part words, so each stretch between them alone gives the same ids as inside the text. */
static void check_sentence(const gm_tokenizer *w, char *bytes, const gm_pieces *whole)
{
    enum { WORDS_MAX = 256, ROOM = 4096 };
    char *words[WORDS_MAX];
    int32_t count = 0;
    for (char *rest = bytes; rest != NULL;) {
        if (count == WORDS_MAX) return;
        words[count++] = rest;
        rest = strchr(rest, ' ');
        if (rest != NULL) *rest++ = '\0';
    }
    gm_encoded e;
    gm_err err;
    expect(gm_tokenizer_sentence(w, words, count, ROOM, &e, &err) == GM_OK, "words of a good text are good");
    expect(e.count <= ROOM && e.words <= count, "a sentence keeps its bounds");
    const int32_t unk = gm_tokenizer_special(w).unknown;
    size_t at = 0;
    for (int32_t i = 1; i + 1 < e.count; i++) {
        /* The [UNK] of a word without pieces has no partner in the text. */
        if (at < whole->count && whole->items[at].id == e.ids[i])
            at++;
        else
            expect(e.ids[i] == unk, "words one by one give the ids of the text");
    }
    expect(e.is_cut || at == whole->count, "words one by one give all the ids of the text");
    gm_encoded_free(&e);
    expect(gm_tokenizer_sentence(w, words, count, 5, &e, &err) == GM_OK && e.count <= 5,
           "a cut sentence keeps its bound");
    gm_encoded_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gm_tokenizer *fixed[2];
    if (size == 0) return 0;
    const bool lower_case = data[0] & 1, is_vocabulary = data[0] & 2;
    if (fixed[lower_case] == NULL)
        expect(load(vocabulary, sizeof vocabulary - 1, lower_case, &fixed[lower_case]) == GM_OK,
               "the fixed vocabulary loads");
    gm_tokenizer *w = fixed[lower_case];
    if (is_vocabulary && load((const char *)data + 1, size - 1, lower_case, &w) != GM_OK) return 0;
    char *input = is_vocabulary ? gm_strndup(text, sizeof text - 1) : gm_strndup((const char *)data + 1, size - 1);
    const size_t n = is_vocabulary ? sizeof text - 1 : size - 1;
    gm_pieces p = { 0 };
    gm_err err;
    size_t bad;
    const gm_status s = gm_tokenizer_encode(w, input, n, &p, &err);
    expect((s == GM_OK) == gm_utf8_valid(input, n, &bad), "UTF-8 without NUL is encoded, nothing else is");
    if (s == GM_OK) {
        check_ranges(&p, input, n);
        check_sentence(w, input, &p);
    }
    gm_pieces_free(&p);
    gm_free(input);
    if (is_vocabulary) gm_tokenizer_destroy(w);
    return 0;
}
