/* Fuzzes byte-level BPE. The first byte chooses what the rest is: 0 a text for a fixed vocabulary, 1 a merges.txt for a
 * fixed vocab.json, 2 a vocab.json for fixed merges. Besides crashes it looks for broken promises: ranges inside the
 * text and on character borders; the bytes of the pieces, joined, are the text; every text that is UTF-8 is encoded. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "text/bpe.h"

enum { TEXT, MERGES, VOCAB, MODES };
enum { FIRST_BYTE = 4, FIRST_MERGED = FIRST_BYTE + 256 };

static const gm_special_names names = { "<s>", "</s>", "<pad>", "<unk>" };
static const char merges[] = "#version: 0.2\na b\nab c\n\xC4\xA0 a\nc c\ncc c\n\xC4\xA0 \xC4\xA0\n\xC3\x83 \xC2\xA9\n";
/* What the merged pieces stand for, in the order of their ids. */
static const char *const merged[] = { "ab", "abc", " a", "cc", "ccc", "  ", "\xC3\xA9" };
static const char *const spelt[] = { "ab", "abc", "\\u0120a", "cc", "ccc", "\\u0120\\u0120", "\\u00c3\\u00a9" };
static unsigned char byte_of[256]; /* by id - FIRST_BYTE */
static char vocab[16384];

static void expect(bool claim, const char *what)
{
    if (claim) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

static void make_vocab(void)
{
    size_t at = (size_t)snprintf(vocab, sizeof vocab, "{\"<s>\":0,\"<pad>\":1,\"</s>\":2,\"<unk>\":3");
    unsigned next = 0x100, id = FIRST_BYTE;
    for (unsigned byte = 0; byte < 256; byte++) {
        const bool kept = (byte > ' ' && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        byte_of[id - FIRST_BYTE] = (unsigned char)byte;
        at += (size_t)snprintf(vocab + at, sizeof vocab - at, ",\"\\u%04x\":%u", kept ? byte : next++, id++);
    }
    for (size_t i = 0; i < GM_LEN(spelt); i++)
        at += (size_t)snprintf(vocab + at, sizeof vocab - at, ",\"%s\":%u", spelt[i], id++);
    snprintf(vocab + at, sizeof vocab - at, "}");
}

static gm_status parse(const char *v, size_t v_size, const char *m, size_t m_size, gm_bpe **b)
{
    gm_err err;
    const gm_bpe_source vocab_source = { "vocab.json", v, v_size }, merges_source = { "merges.txt", m, m_size };
    return gm_bpe_parse(&vocab_source, &merges_source, &names, b, &err);
}

static void check_ranges(const gm_pieces *p, const char *text, size_t n)
{
    int32_t last = 0;
    for (size_t i = 0; i < p->count; i++) {
        const gm_piece *piece = &p->items[i];
        expect(piece->start >= last && piece->end >= piece->start && (size_t)piece->end <= n, "ranges lie in the text, in order");
        expect((size_t)piece->start == n || (text[piece->start] & 0xC0) != 0x80, "a range begins a character");
        expect((size_t)piece->end == n || (text[piece->end] & 0xC0) != 0x80, "a range ends a character");
        last = piece->start;
    }
}

/* For the fixed vocabulary: what the pieces stand for is the text behind its blank. */
static void check_bytes(const gm_pieces *p, const char *text, size_t n)
{
    gm_buffer b = { 0 };
    gm_err err;
    for (size_t i = 0; i < p->count; i++) {
        const int32_t id = p->items[i].id;
        expect(id >= FIRST_BYTE && id < (int32_t)(FIRST_MERGED + GM_LEN(merged)), "ids are the vocabulary's, special ones excepted");
        const char *bytes = id < FIRST_MERGED ? (const char *)&byte_of[id - FIRST_BYTE] : merged[id - FIRST_MERGED];
        expect(gm_buffer_add(&b, bytes, id < FIRST_MERGED ? 1 : strlen(bytes), &err) == GM_OK, "memory");
    }
    const size_t shift = n > 0 && text[0] != ' ';
    expect(b.size == (n > 0 ? n + shift : 0), "pieces make up the text");
    expect(n == 0 || memcmp(b.data + shift, text, n) == 0, "pieces make up the text, byte by byte");
    gm_buffer_free(&b);
}

static void check_text(const gm_bpe *b, bool is_fixed, const char *text, size_t n)
{
    gm_bpe_memory *m;
    gm_pieces p = { 0 };
    gm_err err;
    size_t bad;
    expect(gm_bpe_memory_make(b, &m, &err) == GM_OK, "memory");
    const gm_status s = gm_bpe_encode(b, m, text, n, &p, &err);
    expect((s == GM_OK) == gm_utf8_valid(text, n, &bad), "UTF-8 without NUL is encoded, nothing else is");
    if (s == GM_OK) {
        check_ranges(&p, text, n);
        for (size_t i = 0; i < p.count; i++) expect(p.items[i].id >= 0 && p.items[i].id < gm_bpe_size(b), "ids are below the size");
        if (is_fixed) check_bytes(&p, text, n);
    }
    gm_pieces_free(&p);
    gm_bpe_memory_destroy(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gm_bpe *fixed;
    static const char text[] = "ab abc cccccc a\xC3\xA9  \xF0\x9F\x98\x80 don't 12";
    if (fixed == NULL) {
        make_vocab();
        if (parse(vocab, strlen(vocab), merges, sizeof merges - 1, &fixed) == GM_ERR_MISSING) exit(77);
        expect(fixed != NULL, "the fixed vocabulary loads");
    }
    if (size == 0) return 0;
    const char *rest = (const char *)data + 1;
    const int mode = data[0] % MODES;
    if (mode == TEXT) {
        check_text(fixed, true, rest, size - 1);
        return 0;
    }
    gm_bpe *b;
    const gm_status s = mode == MERGES ? parse(vocab, strlen(vocab), rest, size - 1, &b) : parse(rest, size - 1, merges, sizeof merges - 1, &b);
    expect((s == GM_OK) == (b != NULL), "a failure gives nothing");
    if (s == GM_OK) check_text(b, false, text, sizeof text - 1);
    gm_bpe_destroy(b);
    return 0;
}
