/* Fuzzes SentencePiece behind its C names. The first byte chooses what the rest is: even, a text for the small model of
 * tests/golden/tokenizers; odd, a model for a fixed text. Besides crashes it looks for broken promises: ranges inside the
 * text, in order, on character borders; ids below the size; every text that is UTF-8 is encoded. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/sentencepiece.h"

static void expect(bool claim, const char *what)
{
    if (claim) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

static gm_sentencepiece *load_fixed(void)
{
    gm_sentencepiece *s;
    gm_err err;
    char *bytes = NULL;
    size_t size = 0;
    expect(gm_file_read("tests/golden/tokenizers/xlm_roberta/sentencepiece.bpe.model", &bytes, &size, &err) == GM_OK, "the small model is there");
    if (gm_sentencepiece_parse("fixed", bytes, size, &s, &err) == GM_ERR_MISSING) exit(77);
    gm_free(bytes);
    expect(s != NULL, "the small model loads");
    return s;
}

static void check_text(const gm_sentencepiece *s, const char *text, size_t n)
{
    gm_pieces p = { 0 };
    gm_err err;
    size_t bad;
    int32_t last = 0;
    const gm_status status = gm_sentencepiece_encode(s, text, n, &p, &err);
    expect((status == GM_OK) == gm_utf8_valid(text, n, &bad), "UTF-8 without NUL is encoded, nothing else is");
    for (size_t i = 0; i < p.count; i++) {
        const gm_piece *piece = &p.items[i];
        expect(piece->start >= last && piece->end >= piece->start && (size_t)piece->end <= n, "ranges lie in the text, in order");
        expect((size_t)piece->start == n || (text[piece->start] & 0xC0) != 0x80, "a range begins a character");
        expect((size_t)piece->end == n || (text[piece->end] & 0xC0) != 0x80, "a range ends a character");
        expect(piece->id >= 0 && piece->id < gm_sentencepiece_size(s), "ids are below the size");
        last = piece->start;
    }
    gm_pieces_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gm_sentencepiece *fixed;
    static const char text[] = "a tweet \xE4\xB8\xAD\xE5\x9B\xBD \xE2\x80\xA6 \xEF\xBC\xA1";
    if (fixed == NULL) fixed = load_fixed();
    if (size == 0) return 0;
    const char *rest = (const char *)data + 1;
    if (data[0] % 2 == 0) {
        check_text(fixed, rest, size - 1);
        return 0;
    }
    gm_sentencepiece *s;
    gm_err err;
    const gm_status status = gm_sentencepiece_parse("model", rest, size - 1, &s, &err);
    expect((status == GM_OK) == (s != NULL), "a failure gives nothing");
    if (status == GM_OK) {
        gm_pieces p = { 0 };
        /* A broken model may break its promises, but not the program. */
        (void)gm_sentencepiece_encode(s, text, sizeof text - 1, &p, &err);
        gm_pieces_free(&p);
    }
    gm_sentencepiece_destroy(s);
    return 0;
}
