/* Growing lists of pieces, and sentences made of words by whatever encodes a word. */
#include "text/pieces.h"

#include <string.h>

#include "base/json.h"
#include "base/memory.h"

void gm_pieces_free(gm_pieces *p)
{
    gm_free(p->items);
    *p = (gm_pieces){ 0 };
}

gm_status gm_pieces_add(gm_pieces *p, gm_piece piece, gm_err *err)
{
    GM_TRY(gm_grow((void **)&p->items, &p->capacity, p->count, sizeof *p->items, err));
    p->items[p->count++] = piece;
    return GM_OK;
}

gm_status gm_text_check(const char *text, size_t n, gm_err *err)
{
    size_t bad;
    if (n >= INT32_MAX)
        return gm_fail(err, GM_ERR_DATA, "a text of %zu bytes is too long: it must be below %d", n, INT32_MAX);
    if (gm_utf8_valid(text, n, &bad)) return GM_OK;
    return gm_fail(err, GM_ERR_DATA, "byte %zu (0x%02X): %s; the text must be UTF-8 without NUL", bad,
                   (unsigned)(unsigned char)text[bad], text[bad] == '\0' ? "a NUL" : "not UTF-8");
}

void gm_encoded_free(gm_encoded *e)
{
    gm_free(e->ids);
    gm_free(e->first_piece);
    *e = (gm_encoded){ 0 };
}

/* Appends word after word while it fits into `room` pieces, and writes where each begins. */
static gm_status add_words(const gm_word_encoder *encoder, char *const *words, int32_t count, size_t room,
                           gm_pieces *pieces, gm_encoded *out, gm_err *err)
{
    for (int32_t i = 0; i < count; i++) {
        const size_t before = pieces->count;
        if (encoder->encode(encoder->self, words[i], strlen(words[i]), pieces, err) != GM_OK)
            return gm_fail_at(err, "word %d", (int)i);
        if (pieces->count == before) GM_TRY(gm_pieces_add(pieces, (gm_piece){ encoder->special.unknown, 0, 0 }, err));
        if (pieces->count > room) {
            out->is_cut = true;
            pieces->count = i > 0 ? before : room;
            if (i > 0) return GM_OK;
        }
        out->first_piece[i] = (int32_t)before + 1;
        out->words = i + 1;
        if (out->is_cut) return GM_OK;
    }
    return GM_OK;
}

gm_status gm_encoded_make(const gm_word_encoder *encoder, char *const *words, int32_t count, int32_t max_len,
                          gm_encoded *out, gm_err *err)
{
    *out = (gm_encoded){ 0 };
    if (count < 0 || max_len < 3)
        return gm_fail(
            err, GM_ERR_SHAPE,
            "a sentence of %d words in %d pieces: expected no negative count and room for begin, one piece, end",
            (int)count, (int)max_len);
    gm_pieces pieces = { 0 };
    gm_status s = GM_OK;
    out->first_piece = gm_malloc((size_t)count * sizeof *out->first_piece);
    if (out->first_piece == NULL)
        s = gm_fail(err, GM_ERR_NOMEM, "out of memory for a sentence of %d words", (int)count);
    if (s == GM_OK) s = add_words(encoder, words, count, (size_t)max_len - 2, &pieces, out, err);
    if (s == GM_OK && (out->ids = gm_malloc((pieces.count + 2) * sizeof *out->ids)) == NULL)
        s = gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu pieces", pieces.count + 2);
    if (s == GM_OK) {
        out->count = (int32_t)pieces.count + 2;
        out->ids[0] = encoder->special.begin;
        for (size_t i = 0; i < pieces.count; i++) out->ids[i + 1] = pieces.items[i].id;
        out->ids[pieces.count + 1] = encoder->special.end;
    } else {
        gm_encoded_free(out);
    }
    gm_pieces_free(&pieces);
    return s;
}
